//! The same file read in four ways, with as many workers each, which take the next range when they have done
//! one, and keep their buffers for all of them.

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use compio::{
    BufResult,
    buf::{IntoInner, IoBuf},
    io::AsyncReadAt,
};
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, FuturesOrdered},
};
use indicatif::ProgressBar;
use landbridge::{CompioPool, JoinError};
use tokio::{
    io::{AsyncReadExt, AsyncSeekExt},
    task,
};
use tokio_util::sync::CancellationToken;

use crate::tally::{Counter, Question, Tally};

/// Bytes of a read: enough to make its system call cheap, little enough for the cache of a processor.
pub(crate) const PIECE: usize = 256 << 10;
/// Reads of a worker that are under way at once, where more than one can be: the next pieces come while one is
/// counted.
const AHEAD: usize = 4;
/// What a worker takes at a time.
const RANGE: u64 = 16 << 20;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ScanError {
    #[error("cannot open {0}: {1}")]
    Open(PathBuf, #[source] io::Error),
    #[error("cannot read {0} at byte {1}: {2}")]
    Read(PathBuf, u64, #[source] io::Error),
    #[error("interrupted")]
    Interrupted,
    #[error("a worker of the pool: {0}")]
    Worker(#[from] JoinError),
    #[error("a task: {0}")]
    Task(#[from] task::JoinError),
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    #[error("a thread panicked")]
    Panicked,
}

pub(crate) type Result<T, E = ScanError> = std::result::Result<T, E>;

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Compio,
    Landbridge,
    Tokio,
    Threads,
}

impl Way {
    pub(crate) const ALL: [Self; 4] = [Self::Compio, Self::Landbridge, Self::Tokio, Self::Threads];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Compio => "compio",
            Self::Landbridge => "landbridge-fs",
            Self::Tokio => "tokio-fs",
            Self::Threads => "threads",
        }
    }
}

/// One scan; clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Scan {
    path: Arc<Path>,
    length: u64,
    question: Question,
    range: u64,
    piece: usize,
    /// Where the next range begins.
    next: Arc<AtomicU64>,
    bar: ProgressBar,
    stop: CancellationToken,
}

impl Scan {
    pub(crate) fn new(
        path: &Path,
        length: u64,
        question: Question,
        bar: ProgressBar,
        stop: CancellationToken,
    ) -> Self {
        Self {
            path: path.into(),
            length,
            question,
            range: RANGE,
            piece: PIECE,
            next: Arc::default(),
            bar,
            stop,
        }
    }

    /// Other sizes, for tests of what is at their ends.
    #[cfg(test)]
    pub(crate) fn sizes(mut self, range: u64, piece: usize) -> Self {
        (self.range, self.piece) = (range, piece);
        self
    }

    /// Asks with `workers` workers of their kind; on Compio it is the pool that says how many.
    pub(crate) async fn run(self, way: Way, pool: &CompioPool, workers: usize) -> Result<Tally> {
        match way {
            Way::Compio => self.on_compio(pool).await,
            Way::Landbridge => self.by_landbridge(pool, workers).await,
            Way::Tokio => self.on_tokio(workers).await,
            Way::Threads => {
                let threads = task::spawn_blocking(move || self.on_threads(workers));
                threads.await?
            }
        }
    }

    /// COPY: a job on each worker of the pool. The closure crosses over once; the future that it makes, and the
    /// file, and the reads under way stay on the worker.
    async fn on_compio(self, pool: &CompioPool) -> Result<Tally> {
        let each = pool.broadcast(async move |_worker| self.compio_worker().await);
        let mut sum = Tally::default();
        for tally in each.await {
            sum.add(tally??);
        }
        Ok(sum)
    }

    /// COPY: reads ahead with buffers that come back. Each goes to the kernel with its read, comes out with the
    /// bytes, is counted, and goes in again with the next read; the kernel writes straight into it.
    async fn compio_worker(&self) -> Result<Tally> {
        let file = compio::fs::File::open(&self.path).await;
        let file = file.map_err(|error| self.cannot_open(error))?;
        let mut spare: Vec<_> = (0..AHEAD).map(|_| Vec::with_capacity(self.piece)).collect();
        let mut sum = Tally::default();
        while let Some(range) = self.next_range() {
            let mut counter = Counter::new(&range, self.question);
            let mut at = Counter::first(&range);
            let mut reads = FuturesOrdered::new();
            loop {
                // Past its end, for the rest of its last line, one piece after the other.
                while at < range.end || reads.is_empty() {
                    let Some(buffer) = spare.pop() else {
                        break;
                    };
                    reads.push_back(read_piece(&file, buffer, at));
                    at += self.piece as u64;
                }
                let Some((from, BufResult(read, buffer))) = reads.next().await else {
                    break;
                };
                let read = read.map_err(|error| self.cannot_read(from, error))?;
                let done = counter.take(&buffer).is_break() || read < self.piece;
                spare.push(buffer);
                if done {
                    break;
                }
                self.look_up()?;
            }
            // What was read ahead for nothing. Buffers of reads that are dropped are gone with them.
            while let Some((_, BufResult(_, buffer))) = reads.next().await {
                spare.push(buffer);
            }
            self.done(&range);
            sum.add(counter.finish());
        }
        Ok(sum)
    }

    /// COPY: with `landbridge::fs` in place of `tokio::fs`, where the code stays on Tokio: a stream of pieces that
    /// is read ahead, in buffers that are used again once nobody has a piece any more.
    async fn by_landbridge(self, pool: &CompioPool, workers: usize) -> Result<Tally> {
        let fs = landbridge::fs::Fs::new(pool);
        self.on_tasks(workers, move |scan| {
            let fs = fs.clone();
            async move {
                let file = fs.open(&scan.path).await;
                let file = file.map_err(|error| scan.cannot_open(error))?;
                let mut sum = Tally::default();
                while let Some(range) = scan.next_range() {
                    let mut counter = Counter::new(&range, scan.question);
                    let mut at = Counter::first(&range);
                    // The second stream is for the rest of the last line, which is seldom more than one piece.
                    'range: for part in [at..range.end, range.end..u64::MAX] {
                        let mut pieces = file.read_stream(part, scan.piece);
                        while let Some(piece) = pieces.next().await {
                            let piece = piece.map_err(|error| scan.cannot_read(at, error))?;
                            at += piece.len() as u64;
                            if counter.take(&piece).is_break() {
                                break 'range;
                            }
                            scan.look_up()?;
                        }
                    }
                    scan.done(&range);
                    sum.add(counter.finish());
                }
                Ok(sum)
            }
        })
        .await
    }

    /// What it replaces: each read is a trip to Tokio's blocking threads, and a copy.
    async fn on_tokio(self, workers: usize) -> Result<Tally> {
        self.on_tasks(workers, async |scan| {
            let file = tokio::fs::File::open(&scan.path).await;
            let mut file = file.map_err(|error| scan.cannot_open(error))?;
            file.set_max_buf_size(scan.piece);
            let mut buffer = Vec::with_capacity(scan.piece);
            let mut sum = Tally::default();
            while let Some(range) = scan.next_range() {
                let mut counter = Counter::new(&range, scan.question);
                let mut at = Counter::first(&range);
                let sought = file.seek(io::SeekFrom::Start(at)).await;
                sought.map_err(|error| scan.cannot_read(at, error))?;
                loop {
                    buffer.clear();
                    let read = file.read_buf(&mut buffer).await;
                    let read = read.map_err(|error| scan.cannot_read(at, error))?;
                    at += read as u64;
                    if read == 0 || counter.take(&buffer).is_break() {
                        break;
                    }
                    scan.look_up()?;
                }
                scan.done(&range);
                sum.add(counter.finish());
            }
            Ok(sum)
        })
        .await
    }

    async fn on_tasks<F, R>(self, workers: usize, worker: F) -> Result<Tally>
    where
        F: Fn(Self) -> R,
        R: Future<Output = Result<Tally>> + Send + 'static,
    {
        let tasks = (0..workers).map(|_| task::spawn(worker(self.clone())));
        let tasks: Vec<_> = tasks.collect();
        stream::iter(tasks)
            .then(async |task| task.await?)
            .try_fold(Tally::default(), async |mut sum, tally| {
                sum.add(tally);
                Ok(sum)
            })
            .await
    }

    /// What it is measured by: nothing is cheaper than one system call for each piece, if a thread may wait.
    fn on_threads(self, workers: usize) -> Result<Tally> {
        thread::scope(|threads| {
            let start = |_| {
                let worker = || self.thread();
                thread::Builder::new().spawn_scoped(threads, worker)
            };
            let started: Vec<_> = (0..workers).map(start).collect();
            let mut sum = Tally::default();
            for thread in started {
                let thread = thread.map_err(ScanError::Thread)?;
                sum.add(thread.join().map_err(|_| ScanError::Panicked)??);
            }
            Ok(sum)
        })
    }

    fn thread(&self) -> Result<Tally> {
        use std::os::unix::fs::FileExt;

        let file = std::fs::File::open(&self.path).map_err(|error| self.cannot_open(error))?;
        let mut buffer = vec![0; self.piece];
        let mut sum = Tally::default();
        while let Some(range) = self.next_range() {
            let mut counter = Counter::new(&range, self.question);
            let mut at = Counter::first(&range);
            loop {
                let read = match file.read_at(&mut buffer, at) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    read => read.map_err(|error| self.cannot_read(at, error))?,
                };
                at += read as u64;
                if read == 0 || counter.take(&buffer[..read]).is_break() {
                    break;
                }
                self.look_up()?;
            }
            self.done(&range);
            sum.add(counter.finish());
        }
        Ok(sum)
    }

    fn next_range(&self) -> Option<Range<u64>> {
        let start = self.next.fetch_add(self.range, Relaxed);
        (start < self.length).then(|| start..self.length.min(start + self.range))
    }

    fn done(&self, range: &Range<u64>) {
        self.bar.inc(range.end - range.start);
    }

    /// Between two pieces.
    fn look_up(&self) -> Result<()> {
        if self.stop.is_cancelled() {
            return Err(ScanError::Interrupted);
        }
        Ok(())
    }

    fn cannot_open(&self, error: io::Error) -> ScanError {
        ScanError::Open(self.path.to_path_buf(), error)
    }

    fn cannot_read(&self, at: u64, error: io::Error) -> ScanError {
        ScanError::Read(self.path.to_path_buf(), at, error)
    }
}

/// COPY: fills the buffer, except at the end of the file: a read may give less than it was asked for at any time.
async fn read_piece(
    file: &compio::fs::File,
    mut buffer: Vec<u8>,
    at: u64,
) -> (u64, BufResult<usize, Vec<u8>>) {
    buffer.clear();
    while buffer.len() < buffer.capacity() {
        let from = buffer.len();
        let BufResult(read, slice) = file.read_at(buffer.slice(from..), at + from as u64).await;
        buffer = slice.into_inner();
        match read {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => return (at, BufResult(Err(error), buffer)),
        }
    }
    (at, BufResult(Ok(buffer.len()), buffer))
}
