//! Files used from Tokio: driven by a pool, or by Tokio's blocking threads.
//!
//! The peer is in its best form: one `pread` in each `spawn_blocking`, on a file that all share, into a
//! buffer that is used again. Both sides' callers are tasks of a Tokio runtime with two workers; ours has
//! a pool of one worker beside it. Nothing is pinned. The file of 1 GiB (16 MiB in a quick run) lies
//! beside this program, on a real device, and was just written: it is in the page cache. Left out:
//! opening it, and starting the threads.

use std::{
    fs::{self, File as StdFile},
    future::Future,
    io::{SeekFrom, Write},
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use compio::buf::{IntoInner, IoBuf};
use futures::{Stream, StreamExt, stream};
use landbridge::{
    CompioPool,
    fs::{File, Fs},
};
use tokio::task::{JoinSet, spawn_blocking};
use tokio_util::io::ReaderStream;

use crate::{
    Config, Row,
    spawn::{Cpus, tokio_side},
    threads::process_cpu_time,
};

/// The rows of this group.
pub const ROWS: &[Row] = &[
    Row {
        name: "fs.read4k_cached_qd1",
        unit: "us/read",
        peer_name: "spawn_blocking pread",
        goal: Some(0.10),
        doc: "4 KiB at a random page of a file that is in the page cache, one read after the other; wall time.",
        round: |config| {
            let reads = config.operations(10_000);
            config.both(
                |config| ours(config, Pages::Cached, move |read| reading(1, reads, read)),
                |config| peer(config, Pages::Cached, move |read| reading(1, reads, read)),
            )
        },
    },
    Row {
        name: "fs.read4k_cached_qd64",
        unit: "us/read",
        peer_name: "spawn_blocking pread",
        goal: Some(0.40),
        doc: "the same from 64 tasks at once, each one read after the other; wall time for each read.",
        round: |config| {
            let reads = config.operations(50_000);
            config.both(
                |config| ours(config, Pages::Cached, move |read| reading(64, reads, read)),
                |config| peer(config, Pages::Cached, move |read| reading(64, reads, read)),
            )
        },
    },
    Row {
        name: "fs.read4k_cached_qd64_cpu",
        unit: "CPU us/read",
        peer_name: "spawn_blocking pread",
        goal: Some(0.25),
        doc: "fs.read4k_cached_qd64; CPU time of the whole process for each read.",
        round: |config| {
            let reads = config.operations(50_000);
            config.both(
                |config| {
                    ours(config, Pages::Cached, move |read| {
                        cpu(reading(64, reads, read), reads)
                    })
                },
                |config| {
                    peer(config, Pages::Cached, move |read| {
                        cpu(reading(64, reads, read), reads)
                    })
                },
            )
        },
    },
    Row {
        name: "fs.read4k_ring_qd64",
        unit: "us/read",
        peer_name: "spawn_blocking pread",
        goal: Some(0.50),
        doc: "fs.read4k_cached_qd64 with `nowait_limit(0)`: every read of ours crosses to the worker and goes \
              through its ring.",
        round: |config| {
            let reads = config.operations(50_000);
            config.both(
                |config| {
                    ours(config, Pages::Crossing, move |read| {
                        reading(64, reads, read)
                    })
                },
                |config| {
                    peer(config, Pages::Crossing, move |read| {
                        reading(64, reads, read)
                    })
                },
            )
        },
    },
    Row {
        name: "fs.read4k_direct_qd64",
        unit: "us/read",
        peer_name: "spawn_blocking pread",
        goal: Some(0.90),
        doc: "fs.read4k_cached_qd64 with `O_DIRECT` on both sides: every read is the disk's.",
        round: |config| {
            let reads = config.operations(10_000);
            config.both(
                |config| ours(config, Pages::Direct, move |read| reading(64, reads, read)),
                |config| peer(config, Pages::Direct, move |read| reading(64, reads, read)),
            )
        },
    },
    Row {
        name: "fs.read4k_direct_qd64_cpu",
        unit: "CPU us/read",
        peer_name: "spawn_blocking pread",
        goal: None,
        doc: "fs.read4k_direct_qd64; CPU time of the whole process for each read.",
        round: |config| {
            let reads = config.operations(10_000);
            config.both(
                |config| {
                    ours(config, Pages::Direct, move |read| {
                        cpu(reading(64, reads, read), reads)
                    })
                },
                |config| {
                    peer(config, Pages::Direct, move |read| {
                        cpu(reading(64, reads, read), reads)
                    })
                },
            )
        },
    },
    Row {
        name: "fs.ranges20k",
        unit: "us/range",
        peer_name: "spawn_blocking pread",
        goal: Some(0.25),
        doc: "20 000 ranges of 8 KiB with gaps of 40 KiB of one file that is in the page cache, as `Bytes` in \
              their order (in a quick run as many as its file has). Ours is one call of `read_ranges`; the \
              peer has 64 reads in flight. Wall time for each range, dropping the answers included.",
        round: |config| config.both(ranges, blocking_ranges),
    },
    Row {
        name: "fs.small_files",
        unit: "us/file",
        peer_name: "tokio::fs::read",
        goal: Some(1.0),
        doc: "open, read and close 1 000 files of 4 KiB that are in the page cache, 64 at once from one task; \
              wall time for each file.",
        round: |config| config.both(small_files, tokio_small_files),
    },
    Row {
        name: "fs.write_sync",
        unit: "us/write",
        peer_name: "spawn_blocking pwrite, fdatasync",
        goal: Some(1.0),
        doc: "4 KiB written over what is there, then fdatasync, again and again, by 16 tasks with a file each; \
              wall time for each write with its sync. Ours is `write_synced_at`.",
        round: |config| config.both(write_sync, blocking_write_sync),
    },
    Row {
        name: "fs.stream_cpu",
        unit: "CPU us/MiB",
        peer_name: "tokio_util ReaderStream",
        goal: Some(0.80),
        doc: "the whole file as a stream of chunks of 256 KiB, each dropped before the next is asked for; CPU time \
              of the whole process for each MiB. The peer is `ReaderStream` over `tokio::fs::File`.",
        round: |config| config.both(stream_cpu, reader_stream_cpu),
    },
    Row {
        name: "fs.threads",
        unit: "threads",
        peer_name: "spawn_blocking pread",
        goal: Some(0.25),
        doc: "threads of the process, at most, while 256 tasks read 4 KiB each with `O_DIRECT`; Tokio's own two \
              and the program's first are counted on both sides.",
        round: |config| {
            let reads = config.operations(10_000);
            config.both(
                |config| ours(config, Pages::Direct, move |read| threads(reads, read)),
                |config| peer(config, Pages::Direct, move |read| threads(reads, read)),
            )
        },
    },
    Row {
        name: "fs.tokio_uring",
        unit: "us/range",
        peer_name: "tokio::fs on io_uring",
        goal: Some(0.25),
        doc: "fs.ranges20k; the peer's 64 tasks have a `tokio::fs::File` each, since it has no call that takes a \
              position, and seek and read exactly the range.",
        round: |config| config.both(ranges, tokio_uring_ranges),
    },
];

/// What a read of a row reads.
pub const PAGE: usize = 4096;
/// Bytes of the large file.
const LARGE: u64 = 1 << 30;
/// The same in a quick run.
const QUICK_LARGE: u64 = 16 << 20;
/// Small files.
const SMALL: usize = 1000;
/// Files that are written to.
const WRITTEN: usize = 16;

/// What this machine or this build lacks for a row.
pub fn why_not(row: &Row, config: &Config) -> Option<String> {
    match row.name {
        "fs.read4k_direct_qd64" | "fs.read4k_direct_qd64_cpu" | "fs.threads" => {
            Files::of(config).direct().err()
        }
        "fs.tokio_uring" if cfg!(not(all(tokio_unstable, target_os = "linux"))) => Some(
            "needs Linux and a build of its own, with RUSTFLAGS=\"--cfg tokio_unstable\"".into(),
        ),
        _ => None,
    }
}

/// Removes the files that the rows share.
pub fn clean_up() {
    let files = FILES.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(files) = files {
        // In the worst case they stay in the build directory.
        _ = fs::remove_dir_all(&files.directory);
    }
}

/// Made once for all rows.
static FILES: Mutex<Option<Arc<Files>>> = Mutex::new(None);

#[derive(Debug)]
struct Files {
    directory: PathBuf,
    large: PathBuf,
    len: u64,
    small: Vec<PathBuf>,
    written: Vec<PathBuf>,
}

impl Files {
    fn of(config: &Config) -> Arc<Self> {
        let mut files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(files.get_or_insert_with(|| Arc::new(Self::new(config))))
    }

    fn new(config: &Config) -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let directory = program.with_file_name(format!("overhead-fs-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("the build directory can be written to");
        let large = directory.join("large");
        let len = if config.quick { QUICK_LARGE } else { LARGE };
        fill(&large, len);
        let named = |name: &str, count: usize| -> Vec<PathBuf> {
            let paths = (0..count).map(|n| directory.join(format!("{name}-{n}")));
            paths.inspect(|path| fill(path, PAGE as u64)).collect()
        };
        let (small, written) = (named("small", SMALL), named("written", WRITTEN));
        for path in [&large].into_iter().chain(&written) {
            let file = StdFile::open(path).expect("just made");
            // Or the kernel would write it while the rows are measured.
            file.sync_all().expect("a disk");
        }
        Self {
            directory,
            large,
            len,
            small,
            written,
        }
    }

    /// The large file, past the page cache; what is in the way otherwise.
    #[cfg(target_os = "linux")]
    fn direct(&self) -> Result<StdFile, String> {
        use std::os::unix::fs::OpenOptionsExt;

        let flags = rustix::fs::OFlags::DIRECT.bits().cast_signed();
        let file = fs::OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(&self.large)
            .map_err(|error| format!("O_DIRECT is refused: {error}"))?;
        file.read_exact_at(Page::new().bytes(), 0)
            .map_err(|error| format!("a page cannot be read with O_DIRECT: {error}"))?;
        Ok(file)
    }

    #[cfg(not(target_os = "linux"))]
    fn direct(&self) -> Result<StdFile, String> {
        Err("there is no O_DIRECT here".into())
    }
}

fn fill(path: &Path, len: u64) {
    let piece: Vec<u8> = (0..len.min(1 << 20)).map(|n| (n % 251) as u8).collect();
    let mut file = StdFile::create(path).expect("the build directory can be written to");
    for _ in 0..len / piece.len() as u64 {
        file.write_all(&piece).expect("room on the disk");
    }
}

/// How the large file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pages {
    Cached,
    /// With nothing done on the caller's thread.
    Crossing,
    Direct,
}

/// Room for a page, where direct I/O may write it.
#[derive(Debug)]
struct Page {
    memory: Vec<u8>,
    start: usize,
}

impl Page {
    fn new() -> Self {
        let memory = vec![0; 2 * PAGE];
        let start = memory.as_ptr().align_offset(PAGE);
        Self { memory, start }
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + PAGE]
    }
}

/// One read: of a page, at a byte of the file.
trait Read: Clone + Send + 'static {
    /// Pages in the file.
    fn pages(&self) -> u64;

    fn read(&self, page: Page, at: u64) -> impl Future<Output = Page> + Send;
}

#[derive(Clone, Debug)]
struct Ours {
    file: File,
    pages: u64,
}

impl Read for Ours {
    fn pages(&self) -> u64 {
        self.pages
    }

    async fn read(&self, page: Page, at: u64) -> Page {
        let Page { memory, start } = page;
        let slice = memory.slice(start..start + PAGE);
        let read = self.file.read_exact_at(slice, at).await;
        let memory = read.expect("the file is long enough").into_inner();
        Page { memory, start }
    }
}

#[derive(Clone, Debug)]
struct Peer {
    file: Arc<StdFile>,
    pages: u64,
}

impl Read for Peer {
    fn pages(&self) -> u64 {
        self.pages
    }

    async fn read(&self, mut page: Page, at: u64) -> Page {
        let file = Arc::clone(&self.file);
        let read = spawn_blocking(move || {
            file.read_exact_at(page.bytes(), at)
                .expect("the file is long enough");
            page
        });
        read.await.expect("no panic")
    }
}

fn pool() -> CompioPool {
    CompioPool::builder()
        .threads(1)
        .build()
        .expect("a pool starts")
}

/// Runs what `measure` makes of our way to read, on Tokio.
fn ours<F>(config: &Config, pages: Pages, measure: impl FnOnce(Ours) -> F) -> f64
where
    F: Future<Output = f64> + Send + 'static,
{
    let files = Files::of(config);
    let pool = pool();
    let fs = match pages {
        Pages::Crossing => Fs::new(&pool).nowait_limit(0),
        _ => Fs::new(&pool),
    };
    let mut options = File::options();
    options.read(true);
    #[cfg(target_os = "linux")]
    options.direct(pages == Pages::Direct);
    let file = futures::executor::block_on(options.open_in(&fs, &files.large));
    let file = file.expect("the file is there");
    on_tokio(measure(Ours {
        file,
        pages: files.len / PAGE as u64,
    }))
}

/// The same of the peer's way.
fn peer<F>(config: &Config, pages: Pages, measure: impl FnOnce(Peer) -> F) -> f64
where
    F: Future<Output = f64> + Send + 'static,
{
    let files = Files::of(config);
    let file = match pages {
        Pages::Direct => files.direct().expect("seen to work"),
        _ => StdFile::open(&files.large).expect("the file is there"),
    };
    on_tokio(measure(Peer {
        file: Arc::new(file),
        pages: files.len / PAGE as u64,
    }))
}

fn on_tokio<F>(measured: F) -> F::Output
where
    F: Future<Output: Send> + Send + 'static,
{
    let tokio = tokio_side(Cpus::Any);
    tokio
        .block_on(tokio.spawn(measured))
        .expect("a measurement")
}

/// Microseconds of wall time for each of so many reads, by so many tasks.
async fn reading(tasks: u64, reads: u64, read: impl Read) -> f64 {
    let start = Instant::now();
    let mut reading = JoinSet::new();
    for task in 0..tasks {
        let read = read.clone();
        reading.spawn(async move {
            let (mut page, mut random) = (Page::new(), Random::new(task));
            for _ in 0..reads / tasks {
                page = read
                    .read(page, random.below(read.pages()) * PAGE as u64)
                    .await;
            }
        });
    }
    reading.join_all().await;
    each(start, reads)
}

/// Threads of the process, at most, while 256 tasks read.
async fn threads(reads: u64, read: impl Read) -> f64 {
    const TASKS: u64 = 256;

    let mut reading = JoinSet::new();
    for task in 0..TASKS {
        let read = read.clone();
        reading.spawn(async move {
            let (mut page, mut random) = (Page::new(), Random::new(task));
            let mut most = 0;
            for _ in 0..(reads / TASKS).max(2) {
                page = read
                    .read(page, random.below(read.pages()) * PAGE as u64)
                    .await;
                // One of many is enough to look.
                if task % 64 == 0 {
                    let threads = fs::read_dir("/proc/self/task");
                    most = most.max(threads.map_or(0, Iterator::count));
                }
            }
            most
        });
    }
    let most = reading.join_all().await.into_iter().max();
    most.unwrap_or(0) as f64
}

/// Microseconds of the process's CPU time, instead of what `measured` says, for each operation.
async fn cpu(measured: impl Future<Output = f64>, operations: u64) -> f64 {
    let before = process_cpu_time();
    measured.await;
    (process_cpu_time() - before).as_secs_f64() * 1e6 / operations as f64
}

/// Bytes in a range.
const RANGE: u64 = 8 << 10;
/// From one range's start to the next.
const STRIDE: u64 = 48 << 10;
/// Ranges read in one call.
const RANGES: u64 = 20_000;

impl Files {
    fn ranges(&self) -> Vec<Range<u64>> {
        (0..RANGES.min(self.len / STRIDE))
            .map(|n| n * STRIDE..n * STRIDE + RANGE)
            .collect()
    }
}

fn ranges(config: &Config) -> f64 {
    let files = Files::of(config);
    let pool = pool();
    let file = futures::executor::block_on(Fs::new(&pool).open(&files.large));
    let file = file.expect("the file is there");
    on_tokio(async move {
        let ranges = files.ranges();
        let start = Instant::now();
        let answers = file.read_ranges(&ranges).await.expect("a disk");
        assert!(answers.iter().all(|answer| answer.len() as u64 == RANGE));
        drop(answers);
        each(start, ranges.len() as u64)
    })
}

fn blocking_ranges(config: &Config) -> f64 {
    let files = Files::of(config);
    let file = Arc::new(StdFile::open(&files.large).expect("the file is there"));
    on_tokio(async move {
        let ranges = files.ranges();
        let start = Instant::now();
        let answers: Vec<Bytes> = stream::iter(ranges.clone().into_iter().map(|range| {
            let (file, at) = (Arc::clone(&file), range.start);
            let read = spawn_blocking(move || {
                let mut answer = vec![0; RANGE as usize];
                file.read_exact_at(&mut answer, at).expect("a disk");
                Bytes::from(answer)
            });
            async move { read.await.expect("no panic") }
        }))
        .buffered(AT_ONCE)
        .collect()
        .await;
        assert!(answers.iter().all(|answer| answer.len() as u64 == RANGE));
        drop(answers);
        each(start, ranges.len() as u64)
    })
}

fn tokio_uring_ranges(config: &Config) -> f64 {
    use tokio::io::{AsyncReadExt, AsyncSeekExt};

    let files = Files::of(config);
    on_tokio(async move {
        let ranges = files.ranges();
        let mut opened = Vec::new();
        for _ in 0..AT_ONCE {
            let file = tokio::fs::File::open(&files.large).await;
            opened.push(file.expect("the file is there"));
        }
        let start = Instant::now();
        let mut reading = JoinSet::new();
        for (n, mut file) in opened.into_iter().enumerate() {
            let own: Vec<_> = ranges.iter().skip(n).step_by(AT_ONCE).cloned().collect();
            reading.spawn(async move {
                let mut answers = Vec::with_capacity(own.len());
                for range in own {
                    let mut answer = vec![0; RANGE as usize];
                    file.seek(SeekFrom::Start(range.start))
                        .await
                        .expect("a disk");
                    file.read_exact(&mut answer).await.expect("a disk");
                    answers.push(Bytes::from(answer));
                }
                (n, answers)
            });
        }
        // Who has task and place has the order.
        let mut answers = reading.join_all().await;
        answers.sort_by_key(|(task, _)| *task);
        drop(answers);
        each(start, ranges.len() as u64)
    })
}

/// Bytes in a chunk of a stream.
const CHUNK: usize = 256 << 10;

fn stream_cpu(config: &Config) -> f64 {
    let files = Files::of(config);
    let pool = pool();
    let file = futures::executor::block_on(Fs::new(&pool).open(&files.large));
    let file = file.expect("the file is there");
    on_tokio(streaming(files.len, async move || {
        file.read_stream(.., CHUNK)
    }))
}

fn reader_stream_cpu(config: &Config) -> f64 {
    let files = Files::of(config);
    let path = files.large.clone();
    on_tokio(streaming(files.len, async move || {
        let file = tokio::fs::File::open(path).await;
        ReaderStream::with_capacity(file.expect("the file is there"), CHUNK)
    }))
}

async fn streaming<S>(len: u64, open: impl AsyncFnOnce() -> S) -> f64
where
    S: Stream<Item = std::io::Result<Bytes>> + Unpin,
{
    let mut stream = open().await;
    let (before, mut streamed) = (process_cpu_time(), 0);
    while let Some(chunk) = stream.next().await {
        streamed += chunk.expect("a disk").len() as u64;
    }
    assert_eq!(streamed, len);
    (process_cpu_time() - before).as_secs_f64() * 1e6 / (len >> 20) as f64
}

/// Files read at once.
const AT_ONCE: usize = 64;

fn small_files(config: &Config) -> f64 {
    let files = Files::of(config);
    let pool = pool();
    let fs = Fs::new(&pool);
    on_tokio(read_all(files, move |path| {
        let fs = fs.clone();
        async move { fs.read(path).await.expect("the file is there").len() }
    }))
}

fn tokio_small_files(config: &Config) -> f64 {
    let files = Files::of(config);
    on_tokio(read_all(files, |path| async move {
        tokio::fs::read(path)
            .await
            .expect("the file is there")
            .len()
    }))
}

async fn read_all<F>(files: Arc<Files>, read: impl Fn(PathBuf) -> F) -> f64
where
    F: Future<Output = usize>,
{
    let start = Instant::now();
    let read = stream::iter(files.small.iter().cloned())
        .map(read)
        .buffer_unordered(AT_ONCE)
        .fold(0, async |sum, len| sum + len)
        .await;
    assert_eq!(read, SMALL * PAGE);
    each(start, SMALL as u64)
}

fn write_sync(config: &Config) -> f64 {
    let files = Files::of(config);
    let pool = pool();
    let fs = Fs::new(&pool);
    let mut options = File::options();
    options.write(true);
    let opened = files.written.iter().map(|path| {
        let file = futures::executor::block_on(options.open_in(&fs, path));
        file.expect("the file is there")
    });
    let opened: Vec<_> = opened.collect();
    let times = config.operations(20);
    on_tokio(writing(opened, times, |file, page| async move {
        let page = file.write_synced_at(page, 0).await.expect("a disk");
        (file, page)
    }))
}

fn blocking_write_sync(config: &Config) -> f64 {
    let files = Files::of(config);
    let opened = files.written.iter().map(|path| {
        let file = fs::OpenOptions::new().write(true).open(path);
        file.expect("the file is there")
    });
    let opened: Vec<_> = opened.collect();
    let times = config.operations(20);
    on_tokio(writing(opened, times, |file, page| async move {
        let write = spawn_blocking(move || {
            file.write_all_at(&page, 0).expect("a disk");
            file.sync_data().expect("a disk");
            (file, page)
        });
        write.await.expect("no panic")
    }))
}

async fn writing<T, F>(
    files: Vec<T>,
    times: u64,
    write: impl Fn(T, Vec<u8>) -> F + Copy + Send + 'static,
) -> f64
where
    T: Send + 'static,
    F: Future<Output = (T, Vec<u8>)> + Send,
{
    let start = Instant::now();
    let mut writing = JoinSet::new();
    for mut file in files {
        writing.spawn(async move {
            let mut page = vec![7; PAGE];
            for _ in 0..times {
                (file, page) = write(file, page).await;
            }
        });
    }
    writing.join_all().await;
    each(start, times * WRITTEN as u64)
}

fn each(start: Instant, operations: u64) -> f64 {
    start.elapsed().as_secs_f64() * 1e6 / operations as f64
}

/// Which pages are read: the same on both sides.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
