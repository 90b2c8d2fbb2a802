//! Objects on the disk, on Compio. Nothing in here is `Send` but what is shared, and nothing knows of gRPC.
//!
//! ```text
//! DIR/lock        held while a process serves DIR
//! DIR/incoming/   unfinished uploads; whatever is here at the start is removed
//! DIR/objects/    a file for each object: its generation, its length, its bytes
//! ```
//!
//! An upload is written to `incoming`, synced, renamed into `objects`, and the directory is synced: an object is
//! there as a whole or not at all, also after a crash, and for good once its upload has been answered.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use compio::{
    BufResult,
    fs::{File, OpenOptions},
    io::{AsyncReadAt, AsyncReadAtExt, AsyncWriteAtExt},
};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

/// What stands in a file before the object, in bytes.
const HEAD: usize = 16;
/// The longest name, in bytes.
const LONGEST_NAME: usize = 200;

/// What an object is called: safe as a file name, whatever the file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name(String);

impl FromStr for Name {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let known = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
        if text.is_empty()
            || text.len() > LONGEST_NAME
            || text.starts_with('.')
            || !text.bytes().all(known)
        {
            return Err(StoreError::Name);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("a name has 1 to {LONGEST_NAME} of `a-z 0-9 - _ .`, and no dot at its beginning")]
    Name,
    #[error("there is no such object")]
    NotFound,
    #[error("the object is not what the caller said it must be")]
    Precondition,
    #[error("the object is larger than the {limit} bytes that are taken")]
    TooLarge { limit: u64 },
    #[error("too much is under way")]
    Busy,
    #[error("the disk is full")]
    Full,
    #[error("the file of the object is damaged")]
    Damaged,
    #[error("the storage failed: {0}")]
    Io(io::Error),
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotFound,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            io::ErrorKind::UnexpectedEof => Self::Damaged,
            _ => Self::Io(error),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) length: u64,
    /// Another one for each upload.
    pub(crate) generation: u64,
}

/// What must be so for a change to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Must {
    #[default]
    Anything,
    Be(u64),
    Exist,
    NotExist,
}

impl Must {
    fn check(self, there: Option<Meta>) -> Result<(), StoreError> {
        let so = match self {
            Self::Anything => true,
            Self::Be(generation) => there.is_some_and(|meta| meta.generation == generation),
            Self::Exist => there.is_some(),
            Self::NotExist => there.is_none(),
        };
        if so {
            Ok(())
        } else {
            Err(StoreError::Precondition)
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The largest object, in bytes.
    pub(crate) object: u64,
    /// Operations at the same time.
    pub(crate) in_flight: usize,
}

/// The storage; shared by all workers.
pub(crate) struct Store {
    objects: PathBuf,
    incoming: PathBuf,
    limits: Limits,
    permits: Arc<Semaphore>,
    uploads: AtomicU64,
    generation: AtomicU64,
    /// Held while an object appears or goes. Tokio's `sync` types need no runtime.
    changing: Mutex<()>,
    /// Uploads that were taken back.
    pub(crate) undone: AtomicU64,
    _lock: fs::File,
}

impl Store {
    /// Blocks: for the start only.
    pub(crate) fn open(dir: &Path, limits: Limits) -> io::Result<Self> {
        let (objects, incoming) = (dir.join("objects"), dir.join("incoming"));
        fs::create_dir_all(&objects)?;
        fs::create_dir_all(&incoming)?;
        // Two processes would take each other's uploads for left-overs. The lock goes with the process, however
        // it ends.
        let lock = fs::File::create(dir.join("lock"))?;
        lock.try_lock()?;
        for entry in fs::read_dir(&incoming)? {
            fs::remove_file(entry?.path())?;
        }
        fs::File::open(dir)?.sync_all()?;
        Ok(Self {
            objects,
            incoming,
            limits,
            permits: Arc::new(Semaphore::new(limits.in_flight)),
            uploads: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            changing: Mutex::new(()),
            undone: AtomicU64::new(0),
            _lock: lock,
        })
    }

    /// COPY: back-pressure that a client can see. A queue would only make everybody wait.
    pub(crate) fn begin(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        let permits = Arc::clone(&self.permits);
        permits.try_acquire_owned().map_err(|_| StoreError::Busy)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.limits.in_flight - self.permits.available_permits()
    }

    pub(crate) async fn stat(&self, name: &Name) -> Result<Meta, StoreError> {
        Ok(self.get(name).await?.meta)
    }

    /// The object as it is now, whatever becomes of its name.
    pub(crate) async fn get(&self, name: &Name) -> Result<Object, StoreError> {
        let file = File::open(self.path(name)).await?;
        let BufResult(read, head) = file.read_exact_at([0; HEAD], 0).await;
        read?;
        let (generation, length) = head.split_at(8);
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).unwrap_or(0);
        let meta = Meta {
            generation: number(generation),
            length: number(length),
        };
        Ok(Object {
            file,
            meta,
            position: 0,
        })
    }

    pub(crate) async fn delete(&self, name: &Name, must: Must) -> Result<(), StoreError> {
        let _changing = self.changing.lock().await;
        must.check(Some(self.stat(name).await?))?;
        compio::fs::remove_file(self.path(name)).await?;
        sync_dir(&self.objects).await
    }

    /// A new upload. It must be [committed](Upload::commit) or [undone](Upload::undo): to do so takes I/O, which a
    /// destructor cannot do.
    pub(crate) async fn upload(self: &Arc<Self>) -> Result<Upload, StoreError> {
        let number = self.uploads.fetch_add(1, Relaxed);
        let path = self.incoming.join(number.to_string());
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .await?;
        Ok(Upload {
            store: Arc::clone(self),
            path,
            file,
            length: 0,
        })
    }

    /// Says early what [`Upload::commit`] would say after the last byte.
    pub(crate) async fn check(&self, name: &Name, must: Must) -> Result<(), StoreError> {
        match must {
            Must::Anything => Ok(()),
            must => must.check(self.there(name).await?),
        }
    }

    async fn there(&self, name: &Name) -> Result<Option<Meta>, StoreError> {
        match self.stat(name).await {
            Ok(meta) => Ok(Some(meta)),
            Err(StoreError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn path(&self, name: &Name) -> PathBuf {
        self.objects.join(&name.0)
    }

    /// The time, and never the same one twice.
    fn next_generation(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = u64::try_from(now.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX);
        let next = |last: u64| Some(now.max(last + 1));
        match self.generation.fetch_update(Relaxed, Relaxed, next) {
            Ok(last) | Err(last) => now.max(last + 1),
        }
    }
}

/// An object on its way out.
pub(crate) struct Object {
    file: File,
    pub(crate) meta: Meta,
    position: u64,
}

impl Object {
    /// The next bytes, at most `length` of them; none at the end.
    pub(crate) async fn next(&mut self, length: usize) -> Result<Bytes, StoreError> {
        let left = self.meta.length - self.position;
        let length = usize::try_from(left).map_or(length, |left| length.min(left));
        if length == 0 {
            return Ok(Bytes::new());
        }
        let place = self.position + HEAD as u64;
        let buffer = Vec::with_capacity(length);
        let BufResult(read, buffer) = self.file.read_at(buffer, place).await;
        // A file that was cut short is never taken for the end of the object.
        match read? {
            0 => Err(StoreError::Damaged),
            read => {
                self.position += read as u64;
                Ok(buffer.into())
            }
        }
    }
}

/// An object on its way in.
pub(crate) struct Upload {
    store: Arc<Store>,
    path: PathBuf,
    file: File,
    length: u64,
}

impl Upload {
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    pub(crate) async fn write(&mut self, chunk: Bytes) -> Result<(), StoreError> {
        let end = self.length + chunk.len() as u64;
        let limit = self.store.limits.object;
        if end > limit {
            return Err(StoreError::TooLarge { limit });
        }
        // `Bytes` is an owned buffer: the kernel writes from the memory that hyper has read the message into.
        let place = self.length + HEAD as u64;
        let BufResult(written, _chunk) = self.file.write_all_at(chunk, place).await;
        written?;
        self.length = end;
        Ok(())
    }

    /// Gives the upload its name. Whether it has replaced another object.
    pub(crate) async fn commit(
        mut self,
        name: &Name,
        must: Must,
    ) -> Result<(Meta, bool), StoreError> {
        match self.place(name, must).await {
            Ok(done) => Ok(done),
            Err(error) => {
                self.undo().await;
                Err(error)
            }
        }
    }

    async fn place(&mut self, name: &Name, must: Must) -> Result<(Meta, bool), StoreError> {
        let meta = Meta {
            length: self.length,
            generation: self.store.next_generation(),
        };
        let mut head = Vec::with_capacity(HEAD);
        head.extend(meta.generation.to_be_bytes());
        head.extend(meta.length.to_be_bytes());
        let BufResult(written, _head) = self.file.write_all_at(head, 0).await;
        written?;
        self.file.sync_all().await?;

        let _changing = self.store.changing.lock().await;
        let there = self.store.there(name).await?;
        must.check(there)?;
        compio::fs::rename(&self.path, self.store.path(name)).await?;
        sync_dir(&self.store.objects).await?;
        Ok((meta, there.is_some()))
    }

    /// Leaves nothing behind. (If even this fails, the next start removes it.)
    pub(crate) async fn undo(self) {
        _ = self.file.close().await;
        _ = compio::fs::remove_file(&self.path).await;
        self.store.undone.fetch_add(1, Relaxed);
    }
}

/// Makes the names in a directory durable.
async fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    let dir = File::open(dir).await?;
    dir.sync_all().await?;
    Ok(dir.close().await?)
}
