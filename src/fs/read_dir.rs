//! What is in a directory, read in chunks.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fmt,
    fs::{FileType, Metadata},
    future::{Future, poll_fn},
    io, mem,
    os::unix::fs::DirEntryExt,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use super::Fs;
use crate::{pool::Blocking, spawn::RunBlocking};

/// As many entries are read at a time; Tokio's.
const CHUNK: usize = 32;

impl Fs {
    /// What is in a directory, in no order; as `tokio::fs::read_dir`.
    ///
    /// # Errors
    ///
    /// What the file system says; [`JoinError`](crate::JoinError) inside if the pool is gone or has no
    /// blocking threads.
    pub async fn read_dir(&self, path: impl AsRef<Path>) -> io::Result<ReadDir> {
        let path = path.as_ref().to_owned();
        let threads = Arc::clone(self.shared().blocking());
        let first = self.block({
            let threads = Arc::clone(&threads);
            move || Ok(Chunk::default().next(std::fs::read_dir(path)?, &threads))
        });
        Ok(ReadDir {
            state: State::Idle(first.await?),
            threads,
        })
    }
}

/// What is in a directory, entry by entry; as `tokio::fs::ReadDir`.
///
/// It does not keep the pool alive.
#[must_use = "nothing is read unless it is asked for"]
pub struct ReadDir {
    state: State,
    threads: Arc<Blocking>,
}

impl ReadDir {
    /// The next entry; none at the end.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no entry.
    ///
    /// # Errors
    ///
    /// What the file system says; [`JoinError`](crate::JoinError) inside if the pool is gone, after which
    /// there are no more entries.
    pub async fn next_entry(&mut self) -> io::Result<Option<DirEntry>> {
        poll_fn(|cx| self.poll_next_entry(cx)).await
    }

    /// [`next_entry`](Self::next_entry), polled: the waker of the last call is woken.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn poll_next_entry(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<DirEntry>>> {
        loop {
            match &mut self.state {
                State::Idle(chunk) => {
                    if let Some(entry) = chunk.entries.pop_front() {
                        return Poll::Ready(entry.map(Some));
                    }
                    let Some(rest) = chunk.rest.take() else {
                        return Poll::Ready(Ok(None));
                    };
                    let (chunk, threads) = (mem::take(chunk), Arc::clone(&self.threads));
                    let next: Next = Box::new(move || chunk.next(rest, &threads));
                    let threads = Arc::clone(&self.threads);
                    self.state = State::Reading(RunBlocking::new(threads, next));
                }
                State::Reading(next) => {
                    let (chunk, lost) = match ready!(Pin::new(next).poll(cx)) {
                        Ok(chunk) => (chunk, None),
                        Err(error) => (Chunk::default(), Some(error)),
                    };
                    self.state = State::Idle(chunk);
                    if let Some(error) = lost {
                        return Poll::Ready(Err(error.into()));
                    }
                }
            }
        }
    }
}

impl fmt::Debug for ReadDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Idle(chunk) if chunk.entries.is_empty() && chunk.rest.is_none() => "at the end",
            State::Idle(_) => "idle",
            State::Reading(_) => "reading",
        };
        f.debug_tuple("ReadDir").field(&state).finish()
    }
}

/// What is in a directory under one name; as `tokio::fs::DirEntry`.
///
/// It does not keep the pool alive.
pub struct DirEntry {
    std: Arc<std::fs::DirEntry>,
    /// Where the directory says it.
    file_type: Option<FileType>,
    threads: Arc<Blocking>,
}

impl DirEntry {
    /// The directory's path, as it was given, with the name.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.std.path()
    }

    /// The name.
    #[must_use]
    pub fn file_name(&self) -> OsString {
        self.std.file_name()
    }

    /// The number of the file in its file system, as the directory has it.
    #[must_use]
    pub fn ino(&self) -> u64 {
        self.std.ino()
    }

    /// What is known about it; if it is a link, about the link.
    ///
    /// # Errors
    ///
    /// What the file system says; [`JoinError`](crate::JoinError) inside if the pool is gone.
    pub async fn metadata(&self) -> io::Result<Metadata> {
        let std = Arc::clone(&self.std);
        RunBlocking::new(Arc::clone(&self.threads), move || std.metadata()).await?
    }

    /// What it is; if it is a link, that. Known already on most file systems.
    ///
    /// # Errors
    ///
    /// As [`metadata`](Self::metadata).
    pub async fn file_type(&self) -> io::Result<FileType> {
        if let Some(file_type) = self.file_type {
            return Ok(file_type);
        }
        let std = Arc::clone(&self.std);
        RunBlocking::new(Arc::clone(&self.threads), move || std.file_type()).await?
    }
}

impl fmt::Debug for DirEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DirEntry").field(&self.path()).finish()
    }
}

/// `Sync`, so that [`ReadDir`] is.
type Next = Box<dyn FnOnce() -> Chunk + Send + Sync>;

enum State {
    Idle(Chunk),
    Reading(RunBlocking<Next, Chunk>),
}

#[derive(Default)]
struct Chunk {
    entries: VecDeque<io::Result<DirEntry>>,
    /// There may be more.
    rest: Option<std::fs::ReadDir>,
}

impl Chunk {
    /// The next one, in place of this, whose memory it takes over.
    fn next(mut self, mut rest: std::fs::ReadDir, threads: &Arc<Blocking>) -> Self {
        for _ in 0..CHUNK {
            let Some(entry) = rest.next() else {
                return self;
            };
            let failed = entry.is_err();
            self.entries.push_back(entry.map(|std| DirEntry {
                file_type: std.file_type().ok(),
                std: Arc::new(std),
                threads: Arc::clone(threads),
            }));
            if failed {
                break;
            }
        }
        self.rest = Some(rest);
        self
    }
}
