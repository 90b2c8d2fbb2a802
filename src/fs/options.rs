//! How a file is opened.

use std::{
    ffi::CString,
    fs::File as StdFile,
    io,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use compio::{
    buf::IntoInner,
    driver::op::{CurrentDir, Mode, OFlags, OpenFile},
    runtime::submit,
};

#[cfg(target_os = "linux")]
use super::local::Kind;
use super::{
    File, Fs,
    nowait::Nowait,
    op::{Op, RunOp, has_ring},
    pace, sys,
};
use crate::{error::JoinError, pool::PoolShared, spawn::RunBlocking};

/// How a file is opened; as `tokio::fs::OpenOptions`.
///
/// The guide: [files](crate::guide::files).
#[derive(Clone, Debug)]
pub struct OpenOptions {
    read: bool,
    write: bool,
    append: bool,
    truncate: bool,
    create: bool,
    create_new: bool,
    custom_flags: i32,
    direct: bool,
    mode: u32,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl OpenOptions {
    /// Nothing is allowed yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            read: false,
            write: false,
            append: false,
            truncate: false,
            create: false,
            create_new: false,
            custom_flags: 0,
            direct: false,
            mode: 0o666,
        }
    }

    /// To read from it.
    pub const fn read(&mut self, read: bool) -> &mut Self {
        self.read = read;
        self
    }

    /// To write to it.
    pub const fn write(&mut self, write: bool) -> &mut Self {
        self.write = write;
        self
    }

    /// To write to its end, wherever that is at the time.
    pub const fn append(&mut self, append: bool) -> &mut Self {
        self.append = append;
        self
    }

    /// To empty it first.
    pub const fn truncate(&mut self, truncate: bool) -> &mut Self {
        self.truncate = truncate;
        self
    }

    /// To make it if it is not there.
    pub const fn create(&mut self, create: bool) -> &mut Self {
        self.create = create;
        self
    }

    /// To make it; an error if it is there.
    pub const fn create_new(&mut self, create_new: bool) -> &mut Self {
        self.create_new = create_new;
        self
    }

    /// Who may do what with the file if it is made, before the process's mask; 0o666 otherwise.
    pub const fn mode(&mut self, mode: u32) -> &mut Self {
        self.mode = mode;
        self
    }

    /// Further flags of `open(2)`. The access modes among them are left out.
    pub const fn custom_flags(&mut self, flags: i32) -> &mut Self {
        self.custom_flags = flags;
        self
    }

    /// Past the page cache, to and from the disk itself (`O_DIRECT`): buffers, lengths and positions must
    /// then be aligned as the file system wants it; see [`AlignedBuf`](super::AlignedBuf).
    #[cfg(target_os = "linux")]
    pub const fn direct(&mut self, direct: bool) -> &mut Self {
        self.direct = direct;
        self
    }

    /// Opens the file, on the default pool; as `tokio::fs::OpenOptions::open`.
    ///
    /// # Errors
    ///
    /// What the file system says, also for options that do not go together;
    /// [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there is none.
    pub async fn open(&self, path: impl AsRef<Path>) -> io::Result<File> {
        self.open_in(&Fs::of_default()?, path).await
    }

    /// Opens the file, on the pool of `fs`.
    ///
    /// A file that is only read, and that the kernel finds without asking a disk, is opened at once, on
    /// the calling thread.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves no descriptor open, but may leave the file that was made.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); [`JoinError`] inside if the pool is gone.
    pub async fn open_in(&self, fs: &Fs, path: impl AsRef<Path>) -> io::Result<File> {
        let path = path.as_ref();
        let flags = self.flags()?;
        let pool = fs.shared();
        if pool.is_closed() {
            return Err(JoinError::RuntimeGone.into());
        }
        let cached = if self.is_read_only() && fs.nowait().is_on() {
            pace::turn().await;
            sys::open_cached(path, flags)
        } else {
            None
        };
        match cached {
            Some(file) => {
                pace::spend(0);
                Ok(File::new(file, Arc::clone(pool), fs.nowait()))
            }
            None => {
                let op = Open {
                    path: path.to_owned(),
                    options: self.clone(),
                    flags,
                    pool: Arc::clone(pool),
                    nowait: fs.nowait(),
                };
                RunOp::new(pool, op).await
            }
        }
    }

    const fn is_read_only(&self) -> bool {
        !(self.write || self.append || self.truncate || self.create || self.create_new)
            && self.further_flags() & libc::O_CREAT == 0
    }

    /// The flags of `open(2)`; the same combinations are errors as with std's options.
    pub(super) fn flags(&self) -> io::Result<i32> {
        let access = match (self.read, self.write, self.append) {
            (true, false, false) => libc::O_RDONLY,
            (false, true, false) => libc::O_WRONLY,
            (true, true, false) => libc::O_RDWR,
            (false, _, true) => libc::O_WRONLY | libc::O_APPEND,
            (true, _, true) => libc::O_RDWR | libc::O_APPEND,
            (false, false, false) => return Err(invalid()),
        };
        let writes = self.write || self.append;
        if !writes && (self.truncate || self.create || self.create_new) {
            return Err(invalid());
        }
        if self.append && self.truncate && !self.create_new {
            return Err(invalid());
        }
        let creation = match (self.create, self.truncate, self.create_new) {
            (_, _, true) => libc::O_CREAT | libc::O_EXCL,
            (true, true, false) => libc::O_CREAT | libc::O_TRUNC,
            (true, false, false) => libc::O_CREAT,
            (false, true, false) => libc::O_TRUNC,
            (false, false, false) => 0,
        };
        Ok(libc::O_CLOEXEC | access | creation | self.further_flags())
    }

    const fn further_flags(&self) -> i32 {
        #[cfg(target_os = "linux")]
        let direct = if self.direct { libc::O_DIRECT } else { 0 };
        #[cfg(not(target_os = "linux"))]
        let direct = 0;
        (self.custom_flags & !libc::O_ACCMODE) | direct
    }

    fn to_std(&self) -> std::fs::OpenOptions {
        let mut options = std::fs::OpenOptions::new();
        options
            .read(self.read)
            .write(self.write)
            .append(self.append)
            .truncate(self.truncate)
            .create(self.create)
            .create_new(self.create_new)
            .mode(self.mode)
            .custom_flags(self.further_flags());
        options
    }
}

fn invalid() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "these options do not go together",
    )
}

pub(super) struct Open {
    pub(super) path: PathBuf,
    pub(super) options: OpenOptions,
    pub(super) flags: i32,
    pub(super) pool: Arc<PoolShared>,
    pub(super) nowait: Nowait,
}

impl Open {
    /// Opens it, on a worker, for somebody who stays there.
    pub(super) async fn open(&self) -> io::Result<StdFile> {
        if has_ring() && !is_for_a_thread(&self.path, self.flags, &self.pool) {
            // std's error for such a path.
            let path = CString::new(self.path.as_os_str().as_bytes()).map_err(|_| {
                io::Error::new(io::ErrorKind::InvalidInput, "a NUL byte in the path")
            })?;
            let flags = OFlags::from_bits_retain(self.flags.cast_unsigned());
            let mode = Mode::from_bits_retain(self.options.mode as _);
            let opened = submit(OpenFile::new(CurrentDir, path, flags, mode)).await;
            opened.0?;
            let fd: OwnedFd = opened.1.into_inner();
            return Ok(fd.into());
        }
        let threads = Arc::clone(self.pool.blocking());
        let (options, path) = (self.options.to_std(), self.path.clone());
        RunBlocking::new(threads, move || options.open(path)).await?
    }
}

/// Whether the ring must not open it: what is in the kernel's caches it opens at once, on the worker, with
/// `O_NONBLOCK`. A FIFO, or the like, is then open without waiting for the other end; and a file system that
/// waits for others has the worker wait.
pub(super) fn is_for_a_thread(path: &Path, flags: i32, pool: &PoolShared) -> bool {
    #[cfg(target_os = "linux")]
    if flags & libc::O_PATH == 0 {
        return match sys::kind_cached(path, flags) {
            Some(Kind::Special) => flags & libc::O_NONBLOCK == 0,
            Some(Kind::Foreign) => pool.blocking().has_threads(),
            Some(Kind::Local) | None => false,
        };
    }
    _ = (path, flags, pool);
    false
}

impl Op for Open {
    /// Not the descriptor alone: if nobody waits any more, it is closed as any other file is, and not by
    /// who drops the result.
    type Output = io::Result<File>;

    async fn run(self) -> Self::Output {
        let file = self.open().await?;
        Ok(File::new(file, self.pool, self.nowait))
    }

    fn refused(self, error: JoinError) -> Self::Output {
        Err(error.into())
    }

    fn lost(error: JoinError) -> Self::Output {
        Err(error.into())
    }
}
