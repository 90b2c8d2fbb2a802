//! Files that are read or written as a whole: opened, used and closed in one crossing, or none.

use std::{
    ffi::CString,
    fs::File as StdFile,
    io::{self, Read, Write},
    os::fd::OwnedFd,
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use compio::{
    buf::{BufResult, IntoInner, IoBuf},
    driver::op::{CloseFile, CurrentDir, FileStat, Mode, OFlags, OpenFile},
    runtime::submit,
};

use super::{
    Fs,
    nowait::Nowait,
    op::{Op, RunOp, has_ring},
    options::is_for_a_thread,
    owner::Owner,
    pace,
    paths::c_path,
    sys::{self, Position},
};
use crate::{error::JoinError, pool::PoolShared, spawn::RunBlocking};

/// What is for one operation of the ring: the worker looks after its other tasks between two. A copy of
/// so much takes about 100 µs.
const CHUNK: usize = 1 << 20;

/// For files that do not say how long they are, such as those of `/proc`.
const UNKNOWN: usize = 8 << 10;

/// For the look whether a file has grown meanwhile.
const PROBE: usize = 32;

impl Fs {
    /// All of a file; as `tokio::fs::read`.
    ///
    /// What is in the page cache is copied at once, on the calling thread, if it is not more than the
    /// [limit](Self::nowait_limit).
    ///
    /// # Errors
    ///
    /// What the file system says; [`JoinError`] inside if the pool is gone, or has neither a ring nor
    /// blocking threads.
    pub async fn read(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        self.check_open()?;
        let path = path.as_ref();
        pace::turn().await;
        let (opened, bytes) = match read_cached(self.nowait(), path)? {
            Cached::All(bytes) => {
                pace::spend(bytes.len());
                return Ok(bytes);
            }
            Cached::Start(file, bytes) => (Some(file), bytes),
            Cached::Nothing => (None, Vec::new()),
        };
        let read = ReadWhole {
            path: c_path(path)?,
            opened,
            bytes,
            pool: Arc::clone(self.shared()),
        };
        if self.has_rings() {
            return RunOp::new(self.shared(), read).await;
        }
        self.block(|| read.block()).await
    }

    /// All of a file, which must be UTF-8; as `tokio::fs::read_to_string`.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read); [`InvalidData`](io::ErrorKind::InvalidData) if it is not UTF-8.
    pub async fn read_to_string(&self, path: impl AsRef<Path>) -> io::Result<String> {
        // The words are std's.
        let invalid = |_| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "stream did not contain valid UTF-8",
            )
        };
        String::from_utf8(self.read(path).await?).map_err(invalid)
    }

    /// Makes `contents` all that is in a file, which is made if it is not there; as `tokio::fs::write`.
    ///
    /// The bytes are copied first. [`write_atomic`](Self::write_atomic) is for those that must not be
    /// found half-written.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the file empty, or with a part of the contents.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read). Some of the bytes may have been written.
    pub async fn write(
        &self,
        path: impl AsRef<Path>,
        contents: impl AsRef<[u8]>,
    ) -> io::Result<()> {
        let write = WriteWhole {
            path: c_path(path.as_ref())?,
            bytes: Bytes::copy_from_slice(contents.as_ref()),
            pool: Arc::clone(self.shared()),
        };
        if self.has_rings() {
            return RunOp::new(self.shared(), write).await;
        }
        self.block(|| write.block()).await
    }

    /// Makes `to` a copy of the file `from`, permissions included: how many bytes; as
    /// `tokio::fs::copy`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves it undone, unless it has been begun: then it goes on to its end.
    ///
    /// # Errors
    ///
    /// What the file system says; [`JoinError`] inside if the pool is gone or has no blocking threads.
    pub async fn copy(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<u64> {
        let (from, to) = (from.as_ref().to_owned(), to.as_ref().to_owned());
        self.block(move || std::fs::copy(from, to)).await
    }
}

/// How far one comes without waiting for a disk.
enum Cached {
    All(Vec<u8>),
    /// The file's cursor is after the bytes.
    Start(StdFile, Vec<u8>),
    Nothing,
}

fn read_cached(nowait: Nowait, path: &Path) -> io::Result<Cached> {
    if !nowait.is_on() {
        return Ok(Cached::Nothing);
    }
    let Some(file) = sys::open_cached(path, READ) else {
        return Ok(Cached::Nothing);
    };
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        // What reading says; it cannot be asked without waiting.
        return Err(io::Error::from_raw_os_error(libc::EISDIR));
    }
    let mut bytes = Vec::new();
    match usize::try_from(metadata.len()) {
        // One more, so that the end is seen without growing.
        Ok(len) if nowait.allows(len) => bytes.reserve_exact((len + 1).max(PROBE)),
        _ => return Ok(Cached::Start(file, bytes)),
    }
    loop {
        let filled = bytes.len();
        if filled == bytes.capacity() {
            // It grows under our hands.
            if !nowait.allows(filled) {
                return Ok(Cached::Start(file, bytes));
            }
            bytes.reserve(PROBE);
        }
        let mut rest = bytes.slice(filled..);
        let read = sys::read_buffer(&file, &mut rest, Position::Cursor, sys::Blocking::No);
        bytes = rest.into_inner();
        match read {
            Ok(0) => return Ok(Cached::All(bytes)),
            Ok(_) => {}
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Unsupported => {
                    return Ok(Cached::Start(file, bytes));
                }
                _ => return Err(error),
            },
        }
    }
}

const READ: i32 = libc::O_RDONLY | libc::O_CLOEXEC;
const WRITE: i32 = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_CLOEXEC;

struct ReadWhole {
    path: CString,
    opened: Option<StdFile>,
    /// What was read from it.
    bytes: Vec<u8>,
    pool: Arc<PoolShared>,
}

impl ReadWhole {
    fn block(self) -> io::Result<Vec<u8>> {
        let mut file = match self.opened {
            Some(file) => file,
            None => StdFile::open(sys_path(&self.path))?,
        };
        let mut bytes = self.bytes;
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl Op for ReadWhole {
    type Output = io::Result<Vec<u8>>;

    async fn run(self) -> Self::Output {
        let is_for_a_thread = || is_for_a_thread(sys_path(&self.path), READ, &self.pool);
        if !has_ring() || (self.opened.is_none() && is_for_a_thread()) {
            let threads = Arc::clone(self.pool.blocking());
            return RunBlocking::new(threads, || self.block()).await?;
        }
        let file = match self.opened {
            Some(file) => file,
            None => open(self.path, READ).await?,
        };
        let owner = Arc::new(Owner::new(file, self.pool));
        let read = read_all(&owner, self.bytes).await;
        // Nothing was written that could be lost.
        _ = close(owner).await;
        read
    }

    fn refused(self, error: JoinError) -> Self::Output {
        Err(error.into())
    }

    fn lost(error: JoinError) -> Self::Output {
        Err(error.into())
    }
}

struct WriteWhole {
    path: CString,
    bytes: Bytes,
    pool: Arc<PoolShared>,
}

impl WriteWhole {
    fn block(self) -> io::Result<()> {
        let mut file = StdFile::create(sys_path(&self.path))?;
        file.write_all(&self.bytes)?;
        sys::close(file.into())
    }
}

impl Op for WriteWhole {
    type Output = io::Result<()>;

    async fn run(self) -> Self::Output {
        if !has_ring() || is_for_a_thread(sys_path(&self.path), WRITE, &self.pool) {
            let threads = Arc::clone(self.pool.blocking());
            return RunBlocking::new(threads, || self.block()).await?;
        }
        let owner = Arc::new(Owner::new(open(self.path, WRITE).await?, self.pool));
        let written = write_all(&owner, self.bytes).await;
        // Also after an error: who removes the file then has its room back.
        let closed = close(owner).await;
        written.and(closed)
    }

    fn refused(self, error: JoinError) -> Self::Output {
        Err(error.into())
    }

    fn lost(error: JoinError) -> Self::Output {
        Err(error.into())
    }
}

/// On the ring of the worker that this runs on.
async fn open(path: CString, flags: i32) -> io::Result<StdFile> {
    let flags = OFlags::from_bits_retain(flags.cast_unsigned());
    let mode = Mode::from_bits_retain(0o666);
    let BufResult(opened, op) = submit(OpenFile::new(CurrentDir, path, flags, mode)).await;
    opened?;
    let fd: OwnedFd = op.into_inner();
    Ok(fd.into())
}

/// On the ring of the worker that this runs on: all that is behind `bytes`.
async fn read_all(owner: &Arc<Owner>, mut bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    let BufResult(known, stat) = submit(FileStat::new(Arc::clone(owner))).await;
    let len = known.map_or(0, |_| stat.into_inner().st_size);
    let rest = usize::try_from(len)
        .unwrap_or(usize::MAX)
        .saturating_sub(bytes.len());
    bytes.try_reserve_exact(match rest {
        0 => UNKNOWN,
        rest => rest.saturating_add(1),
    })?;
    loop {
        let filled = bytes.len();
        if filled == bytes.capacity() {
            bytes.try_reserve(PROBE)?;
        }
        let end = bytes.capacity().min(filled + CHUNK);
        let at = Position::At(filled as u64);
        let BufResult(n, rest) =
            sys::ring_read(Arc::clone(owner), bytes.slice(filled..end), at).await;
        bytes = rest.into_inner();
        if n? == 0 {
            return Ok(bytes);
        }
    }
}

/// On the ring of the worker that this runs on.
async fn write_all(owner: &Arc<Owner>, bytes: Bytes) -> io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        let end = bytes.len().min(written + CHUNK);
        // Not at the cursor: where the kernel takes a part of a write only, it does not move it.
        let at = Position::At(written as u64);
        let chunk = Bytes::slice(&bytes, written..end);
        let BufResult(n, _) = sys::ring_write(Arc::clone(owner), chunk, at).await;
        match n? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            n => written += n,
        }
    }
    Ok(())
}

/// On the ring of the worker that this runs on, here and now if no operation has it any more.
async fn close(owner: Arc<Owner>) -> io::Result<()> {
    match owner.into_file() {
        Ok(file) => submit(CloseFile::new(file.into())).await.0.map(drop),
        Err(_) => Ok(()),
    }
}

fn sys_path(path: &CString) -> &Path {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    Path::new(OsStr::from_bytes(path.as_bytes()))
}
