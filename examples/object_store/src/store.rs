//! The storage: plain `async` functions that Tokio calls and that work on a [`CompioPool`].
//!
//! **This is the file to copy.** In a service that uses `tokio::fs`, questions and downloads keep their
//! shape and ask [`Fs`] instead. What must come to its end whoever waits for it, and what does many
//! steps on a file, crosses once, with a closure, and all its I/O then happens where the completions
//! arrive.
//!
//! | what a migrating code base copies | where |
//! |---|---|
//! | one question, one answer | [`Store::stat`]: `fs.metadata` |
//! | a stream out: reading ahead, but not far, and not for ever | [`Store::get`], [`Download`]: `file.read_stream` |
//! | a walk through a directory, on a thread that may block | [`Store::list`]: `pool.run_blocking` |
//! | a crossing that must finish, whoever waits for it | [`Store::delete`]: `pool.spawn` |
//! | a stream in: the caller feeds, the job writes, and an abort is not an end | [`Store::put`], [`Upload`], `write_object` |
//! | refuse rather than queue | `Store::begin` |
//! | one type of error for both sides | [`StoreError`] |
//!
//! What is on disk:
//!
//! ```text
//! DIR/lock        held while a process serves DIR
//! DIR/incoming/   unfinished uploads; whatever is here at the start is removed
//! DIR/objects/    one file for each object, see name.rs
//! ```
//!
//! An upload is written to `incoming`, synced, renamed into `objects`, and the directory is synced: an
//! object is there as a whole or not at all, also after a crash, and is there for good once its PUT
//! has been answered. Of uploads to the same name the last to be renamed wins.

use std::{
    collections::BTreeMap,
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use compio::{
    BufResult,
    fs::{File, OpenOptions},
    io::AsyncWriteAtExt,
};
use futures::{Stream, StreamExt};
use landbridge::{
    CompioPool, JoinError,
    channel::{
        self,
        spsc::{Receiver, Sender},
    },
    fs::{Fs, ReadStream},
};
use tokio::{
    sync::{Mutex, OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    metrics::Metrics,
    name::ObjectName,
    range::{Unsatisfiable, Wanted},
};

/// How much is read from a file at once, in bytes.
const CHUNK: usize = 256 * 1024;
/// How many chunks may wait for whoever takes them, for each request.
const CHUNKS_AHEAD: usize = 4;

/// What a store refuses to go beyond.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// The largest object, in bytes.
    pub(crate) object: u64,
    /// All objects and unfinished uploads together, in bytes.
    pub(crate) capacity: u64,
    /// Operations at the same time.
    pub(crate) in_flight: usize,
    /// How long a client may leave its upload or download standing still.
    pub(crate) stall: Duration,
    /// How long a client waits for the storage: for its place there and for the answer, not for the bytes.
    pub(crate) answer: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            object: 5 << 30,
            capacity: u64::MAX,
            in_flight: 256,
            stall: Duration::from_secs(30),
            answer: Duration::from_secs(30),
        }
    }
}

/// Why the store did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("there is no such object")]
    NotFound,
    #[error("the object is larger than the {limit} bytes that are taken")]
    TooLarge { limit: u64 },
    #[error("the storage is full")]
    Full,
    #[error("the object has {length} bytes, and none in that range")]
    Range { length: u64 },
    #[error("too many operations are under way")]
    Busy,
    /// What was to change the disk goes on all the same.
    #[error("the storage has not answered in time")]
    Late,
    #[error("the store is shutting down")]
    Stopped,
    /// The sending side went away before the end.
    #[error("the upload was broken off")]
    Aborted,
    #[error("the storage failed: {0}")]
    Io(io::Error),
    #[error("the storage job failed: {0}")]
    Job(JoinError),
}

// A full disk is the client's business (507), every other failure of it is ours (500). Errors of `Fs`
// are what the disk says, or have a `JoinError` inside.
impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        let error = match error.downcast::<JoinError>() {
            Ok(crossing) => return crossing.into(),
            Err(disk) => disk,
        };
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            io::ErrorKind::FileTooLarge => Self::TooLarge {
                limit: i64::MAX as u64,
            },
            _ => Self::Io(error),
        }
    }
}

// The crossing itself can fail in two ways that a service must tell apart: it was shut down, or there
// is a bug.
impl From<JoinError> for StoreError {
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::RuntimeGone => Self::Stopped,
            other => Self::Job(other),
        }
    }
}

/// What is known of an object without reading it.
#[derive(Clone, Debug)]
pub(crate) struct Meta {
    pub(crate) length: u64,
    pub(crate) modified: SystemTime,
}

/// What an upload has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Whether there was an object of that name before.
    pub(crate) replaced: bool,
}

/// A handle to the storage; clones share it.
#[derive(Clone)]
pub(crate) struct Store {
    pool: CompioPool,
    fs: Fs,
    shared: Arc<Shared>,
}

/// What jobs on the pool and handlers on Tokio both see: everything in here is `Send + Sync`.
struct Shared {
    dirs: Dirs,
    limits: Limits,
    permits: Arc<Semaphore>,
    used: AtomicU64,
    uploads: AtomicU64,
    /// Held while a file in `objects` appears or goes, so that `used` stays right. Tokio's `sync`
    /// types work on any runtime.
    changing: Mutex<()>,
    metrics: Metrics,
    _lock: fs::File,
}

impl Store {
    /// Opens the store in `dir`, and removes what a crash has left there.
    pub(crate) async fn open(
        dir: &Path,
        pool: CompioPool,
        limits: Limits,
    ) -> Result<Self, StoreError> {
        let dirs = Dirs {
            objects: dir.join("objects"),
            incoming: dir.join("incoming"),
        };
        let (lock, used) = {
            let (dir, dirs) = (dir.to_owned(), dirs.clone());
            pool.run_blocking(move || prepare(&dir, &dirs)).await??
        };
        Ok(Self {
            fs: Fs::new(&pool),
            pool,
            shared: Arc::new(Shared {
                dirs,
                permits: Arc::new(Semaphore::new(limits.in_flight)),
                used: AtomicU64::new(used),
                limits,
                uploads: AtomicU64::new(0),
                changing: Mutex::new(()),
                metrics: Metrics::new(),
                _lock: lock,
            }),
        })
    }

    /// What is known of an object.
    pub(crate) async fn stat(&self, name: &ObjectName) -> Result<Meta, StoreError> {
        let _operation = self.begin()?;
        // COPY: one question, one answer.
        let meta = self.fs.metadata(self.object(name));
        let meta = self.in_time(async { meta.await.map_err(or_not_found) });
        Meta::new(&meta.await?)
    }

    /// Removes an object, for good: the directory is synced before this returns.
    pub(crate) async fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        let operation = self.begin()?;
        let path = self.object(name);
        // COPY: `spawn` goes on when its handle is dropped. What has begun to change the disk is
        // finished, and counted, whether the client waits for it or not. The closure is `Send`, the
        // future that it makes need not be: it never leaves its worker.
        let removed = self.pool.spawn(async move || {
            let shared = &operation.shared;
            {
                let _changing = shared.changing.lock().await;
                let meta = compio::fs::metadata(&path).await.map_err(or_not_found)?;
                compio::fs::remove_file(&path).await.map_err(or_not_found)?;
                shared.release(meta.len());
            }
            sync_dir(&shared.dirs.objects).await
        });
        self.in_time(async { removed.await? }).await
    }

    /// At most `limit` objects and their lengths, in the order of their names' bytes, from the first
    /// one `after` the given name on.
    ///
    /// Reads the whole directory for each page, and keeps no more than a page of it in memory.
    pub(crate) async fn list(
        &self,
        after: Option<ObjectName>,
        limit: usize,
    ) -> Result<Vec<(ObjectName, u64)>, StoreError> {
        let operation = self.begin()?;
        // COPY: what blocks for long has threads of its own, and one walk is one crossing.
        let walk = move || page(&operation.shared.dirs.objects, after.as_ref(), limit);
        self.in_time(async { Ok(self.pool.run_blocking(walk).await??) })
            .await
    }

    /// Begins to store an object, of `length` bytes if that is known.
    ///
    /// Nothing can be seen of it before [`Upload::finish`].
    pub(crate) fn put(&self, name: &ObjectName, length: Option<u64>) -> Result<Upload, StoreError> {
        let operation = self.begin()?;
        let mut space = Space::new(Arc::clone(&self.shared));
        space.grow_to(length.unwrap_or(0))?;
        let path = self.object(name);
        let (pieces, incoming) = channel::spsc(CHUNKS_AHEAD);
        // COPY: a stream in. The job owns the file and never leaves its worker; the chunks follow
        // through a bounded channel, so a slow disk slows the client down instead of filling memory.
        let job = self
            .pool
            .spawn(move || write_object(operation, path, incoming, space));
        Ok(Upload {
            pieces,
            job,
            answer: self.shared.limits.answer,
        })
    }

    /// Opens an object, or the part of it that is wanted.
    pub(crate) async fn get(
        &self,
        name: &ObjectName,
        wanted: Option<Wanted>,
    ) -> Result<Download, StoreError> {
        let operation = self.begin()?;
        let opened = async {
            let file = self.fs.open(self.object(name)).await;
            let file = file.map_err(or_not_found)?;
            let meta = file.metadata().await?;
            Ok((file, meta))
        };
        let (file, meta) = self.in_time(opened).await?;
        let meta = Meta::new(&meta)?;
        let length = meta.length;
        let range = wanted.map_or(Ok(None), |wanted| wanted.resolve(length));
        let range = range.map_err(|Unsatisfiable| StoreError::Range { length })?;
        let sent = range.clone().unwrap_or(0..length);
        let left = sent.end - sent.start;
        let (chunks, incoming) = channel::spsc(CHUNKS_AHEAD);
        // COPY: a stream out. The file stays what it was when it was opened, even if its name is given
        // to another meanwhile.
        let bytes = file.read_stream(sent, CHUNK);
        tokio::spawn(feed(operation, bytes, chunks));
        Ok(Download {
            meta,
            range,
            left,
            chunks: incoming,
        })
    }

    /// Whether the storage answers: a job crosses, and comes back.
    pub(crate) async fn answers(&self) -> Result<(), StoreError> {
        self.in_time(async { Ok(self.pool.run(async || ()).await?) })
            .await
    }

    /// COPY: a bound on the crossing, where the client is told. Dropping the future cancels what only asks;
    /// what was spawned goes on.
    async fn in_time<T>(
        &self,
        answer: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let answer = timeout(self.shared.limits.answer, answer).await;
        answer.unwrap_or(Err(StoreError::Late))
    }

    /// Resolves when no operation is under way, and keeps out new ones until then.
    pub(crate) async fn idle(&self) {
        let all = u32::try_from(self.shared.limits.in_flight).unwrap_or(u32::MAX);
        // An error means that the semaphore was closed, which nobody does.
        _ = self.shared.permits.acquire_many(all).await;
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.shared.limits.in_flight - self.shared.permits.available_permits()
    }

    /// Bytes of all objects and unfinished uploads.
    pub(crate) fn used(&self) -> u64 {
        self.shared.used.load(Relaxed)
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    pub(crate) fn pool(&self) -> &CompioPool {
        &self.pool
    }

    /// COPY: back-pressure that a client can see. A queue would only make everybody wait.
    fn begin(&self) -> Result<Operation, StoreError> {
        let permits = Arc::clone(&self.shared.permits);
        Ok(Operation {
            _permit: permits.try_acquire_owned().map_err(|_| StoreError::Busy)?,
            shared: Arc::clone(&self.shared),
            begun: Instant::now(),
        })
    }

    fn object(&self, name: &ObjectName) -> PathBuf {
        self.shared.dirs.objects.join(name.to_file_name())
    }
}

/// What is under way: it has its place, and is measured, until this is dropped, wherever that happens.
/// (A closure that uses a part of it takes all of it: it has a destructor.)
struct Operation {
    shared: Arc<Shared>,
    begun: Instant,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Operation {
    fn drop(&mut self) {
        self.shared.metrics.storage.record(self.begun.elapsed());
    }
}

/// An object on its way in. Dropped before [`finish`](Self::finish), it leaves nothing behind.
pub(crate) struct Upload {
    pieces: Sender<Piece>,
    job: landbridge::JoinHandle<Result<Stored, StoreError>>,
    /// How long the job may take for the rest when everything has been sent.
    answer: Duration,
}

/// What an upload sends across.
enum Piece {
    Chunk(Bytes),
    /// COPY: without an end marker, a client that went away in mid-body would look like one that is
    /// done: both close the channel.
    End,
}

/// The job on the pool takes no more; [`Upload::finish`] says why.
#[derive(Debug)]
pub(crate) struct Refused;

impl Upload {
    /// Sends a chunk across, once there is room for it. The bytes are not copied.
    pub(crate) async fn write(&mut self, chunk: Bytes) -> Result<(), Refused> {
        self.pieces
            .send(Piece::Chunk(chunk))
            .await
            .map_err(|_| Refused)
    }

    /// Waits until the object is on the disk under its name; or says why it will not be.
    pub(crate) async fn finish(mut self) -> Result<Stored, StoreError> {
        let stored = async {
            // If the job is gone, its result tells why.
            _ = self.pieces.send(Piece::End).await;
            self.job.await?
        };
        let stored = timeout(self.answer, stored).await;
        stored.unwrap_or(Err(StoreError::Late))
    }
}

/// An object on its way out: a stream of its bytes. Dropped early, it ends the task that reads.
pub(crate) struct Download {
    pub(crate) meta: Meta,
    /// What is sent of the object, if not all of it.
    pub(crate) range: Option<Range<u64>>,
    left: u64,
    chunks: Receiver<io::Result<Bytes>>,
}

impl Download {
    /// How many bytes are still to come.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }
}

impl Stream for Download {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.left == 0 {
            return Poll::Ready(None);
        }
        this.chunks.poll_recv(cx).map(|chunk| match chunk {
            Some(Ok(chunk)) => {
                this.left = this.left.saturating_sub(chunk.len() as u64);
                Some(Ok(chunk))
            }
            // Nobody feeds it any more, or the file was cut short: never to be taken for the end of the
            // object.
            None => {
                this.left = 0;
                Some(Err(io::ErrorKind::UnexpectedEof.into()))
            }
            failed => failed,
        })
    }
}

/// COPY: a body alone could not tell a client that reads nothing: nobody asks for its next chunk. So a
/// task of its own reads ahead until the channel is full, and gives the client's place away if it stays
/// full.
async fn feed(operation: Operation, mut bytes: ReadStream, mut chunks: Sender<io::Result<Bytes>>) {
    let stall = operation.shared.limits.stall;
    while let Some(chunk) = bytes.next().await {
        if !matches!(timeout(stall, chunks.send(chunk)).await, Ok(Ok(()))) {
            // The client is gone, or reads nothing. What it has left of the stream ends too early.
            return;
        }
    }
}

impl Meta {
    fn new(meta: &fs::Metadata) -> Result<Self, StoreError> {
        Ok(Self {
            length: meta.len(),
            modified: meta.modified()?,
        })
    }
}

// ---------------------------------------------------------------------------------------------------
// From here on, everything runs on the pool.

/// COPY: the whole of a durable, atomic write.
async fn write_object(
    operation: Operation,
    path: PathBuf,
    incoming: Receiver<Piece>,
    space: Space,
) -> Result<Stored, StoreError> {
    let shared = &operation.shared;
    let number = shared.uploads.fetch_add(1, Relaxed);
    let temporary = shared.dirs.incoming.join(format!("{number}.part"));
    let written = async {
        receive(&temporary, incoming, space)
            .await?
            .commit(shared, &temporary, &path)
            .await
    }
    .await;
    match written {
        Ok(stored) => {
            sync_dir(&shared.dirs.objects).await?;
            Ok(stored)
        }
        Err(error) => {
            // Whatever went wrong, the client's disappearance included: nothing is left behind. (If
            // even this fails, the next start removes it.)
            _ = compio::fs::remove_file(&temporary).await;
            Err(error)
        }
    }
}

/// Writes what comes in to a new file, until the end marker, and syncs it.
async fn receive(
    temporary: &Path,
    mut incoming: Receiver<Piece>,
    mut space: Space,
) -> Result<Space, StoreError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(temporary)
        .await?;
    let mut length = 0;
    loop {
        match incoming.recv().await {
            Some(Piece::Chunk(chunk)) => {
                let end = length + chunk.len() as u64;
                space.grow_to(end)?;
                // `Bytes` is an owned buffer: the kernel writes from the very memory that hyper has
                // read the request into.
                let BufResult(written, _chunk) = file.write_all_at(chunk, length).await;
                written?;
                length = end;
            }
            Some(Piece::End) => break,
            None => return Err(StoreError::Aborted),
        }
    }
    file.sync_all().await?;
    file.close().await?;
    space.shrink_to(length);
    Ok(space)
}

/// Makes the names in a directory durable. Works on both drivers: Compio opens a directory like a file.
async fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    let dir = File::open(dir).await?;
    dir.sync_all().await?;
    Ok(dir.close().await?)
}

fn or_not_found(error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::NotFound => StoreError::NotFound,
        _ => error.into(),
    }
}

/// Room on the disk that an upload has been promised; given back unless the upload is committed.
struct Space {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Space {
    fn new(shared: Arc<Shared>) -> Self {
        Self { shared, bytes: 0 }
    }

    fn grow_to(&mut self, bytes: u64) -> Result<(), StoreError> {
        let Limits {
            object, capacity, ..
        } = self.shared.limits;
        if bytes > object {
            return Err(StoreError::TooLarge { limit: object });
        }
        let Some(more) = bytes.checked_sub(self.bytes) else {
            return Ok(());
        };
        self.shared
            .used
            .fetch_update(Relaxed, Relaxed, |used| {
                used.checked_add(more).filter(|sum| *sum <= capacity)
            })
            .map_err(|_| StoreError::Full)?;
        self.bytes = bytes;
        Ok(())
    }

    fn shrink_to(&mut self, bytes: u64) {
        self.shared.release(self.bytes.saturating_sub(bytes));
        self.bytes = self.bytes.min(bytes);
    }

    /// Gives the file its name.
    async fn commit(
        mut self,
        shared: &Shared,
        temporary: &Path,
        path: &Path,
    ) -> Result<Stored, StoreError> {
        let _changing = shared.changing.lock().await;
        let old = match compio::fs::metadata(path).await {
            Ok(meta) => Some(meta.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        compio::fs::rename(temporary, path).await?;
        self.bytes = 0;
        shared.release(old.unwrap_or(0));
        Ok(Stored {
            replaced: old.is_some(),
        })
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.shared.release(self.bytes);
    }
}

impl Shared {
    fn release(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Relaxed);
    }
}

/// The directories of a store.
#[derive(Clone)]
struct Dirs {
    objects: PathBuf,
    incoming: PathBuf,
}

/// Makes the directories, takes the lock, removes unfinished uploads, and adds up what is stored.
fn prepare(dir: &Path, dirs: &Dirs) -> io::Result<(fs::File, u64)> {
    fs::create_dir_all(&dirs.objects)?;
    fs::create_dir_all(&dirs.incoming)?;
    let lock = fs::File::create(dir.join("lock"))?;
    // Two processes would take each other's uploads for left-overs. The lock ends with the process,
    // however it ends.
    lock.try_lock().map_err(|error| match error {
        fs::TryLockError::WouldBlock => io::Error::new(
            io::ErrorKind::ResourceBusy,
            "another process serves this directory",
        ),
        fs::TryLockError::Error(error) => error,
    })?;
    for entry in fs::read_dir(&dirs.incoming)? {
        fs::remove_file(entry?.path())?;
    }
    let mut used = 0;
    for_each_object(&dirs.objects, |_, length| used += length)?;
    fs::File::open(dir)?.sync_all()?;
    Ok((lock, used))
}

fn page(
    dir: &Path,
    after: Option<&ObjectName>,
    limit: usize,
) -> io::Result<Vec<(ObjectName, u64)>> {
    let mut page = BTreeMap::new();
    for_each_object(dir, |name, length| {
        if after.is_none_or(|after| name > *after) {
            page.insert(name, length);
            if page.len() > limit {
                page.pop_last();
            }
        }
    })?;
    Ok(page.into_iter().collect())
}

fn for_each_object(dir: &Path, mut f: impl FnMut(ObjectName, u64)) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Some(name) = entry
            .file_name()
            .to_str()
            .and_then(ObjectName::from_file_name)
        else {
            continue;
        };
        match entry.metadata() {
            Ok(meta) => f(name, meta.len()),
            // Deleted meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
