//! What is done to a path without opening it.

use std::{
    ffi::CString,
    fs::{Metadata, Permissions},
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use compio::{
    driver::{
        OpCode,
        op::{CreateDir, CurrentDir, HardLink, Mode, Rename, Symlink, Unlink},
    },
    runtime::submit,
};

use super::{
    Fs,
    op::{Op, RunOp, has_ring},
};
use crate::{
    error::JoinError,
    pool::{Blocking, DriverKind},
    spawn::RunBlocking,
};

impl Fs {
    /// What is known about what `path` leads to, links followed; as `tokio::fs::metadata`.
    ///
    /// # Errors
    ///
    /// What the file system says; [`JoinError`] inside if the pool is gone or has no blocking threads.
    pub async fn metadata(&self, path: impl AsRef<Path>) -> io::Result<Metadata> {
        self.block_at(path, |path| std::fs::metadata(path)).await
    }

    /// What is known about `path` itself, which may be a link; as `tokio::fs::symlink_metadata`.
    ///
    /// # Errors
    ///
    /// As [`metadata`](Self::metadata).
    pub async fn symlink_metadata(&self, path: impl AsRef<Path>) -> io::Result<Metadata> {
        self.block_at(path, |path| std::fs::symlink_metadata(path))
            .await
    }

    /// Whether there is anything where `path` leads to, links followed; as `tokio::fs::try_exists`.
    ///
    /// # Errors
    ///
    /// As [`metadata`](Self::metadata), but for what is not there: that is the answer.
    pub async fn try_exists(&self, path: impl AsRef<Path>) -> io::Result<bool> {
        self.block_at(path, |path| path.try_exists()).await
    }

    /// The absolute path of the same file without links, `.` and `..`; as `tokio::fs::canonicalize`.
    ///
    /// # Errors
    ///
    /// As [`metadata`](Self::metadata).
    pub async fn canonicalize(&self, path: impl AsRef<Path>) -> io::Result<PathBuf> {
        self.block_at(path, |path| std::fs::canonicalize(path))
            .await
    }

    /// Where the link `path` leads to; as `tokio::fs::read_link`.
    ///
    /// # Errors
    ///
    /// As [`metadata`](Self::metadata).
    pub async fn read_link(&self, path: impl AsRef<Path>) -> io::Result<PathBuf> {
        self.block_at(path, |path| std::fs::read_link(path)).await
    }

    /// Changes who may do what with what `path` leads to; as `tokio::fs::set_permissions`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves it undone, unless it has been begun.
    ///
    /// # Errors
    ///
    /// As [`metadata`](Self::metadata).
    pub async fn set_permissions(
        &self,
        path: impl AsRef<Path>,
        permissions: Permissions,
    ) -> io::Result<()> {
        self.block_at(path, move |path| {
            std::fs::set_permissions(path, permissions)
        })
        .await
    }

    /// Makes a directory; as `tokio::fs::create_dir`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves it undone, unless it has been begun.
    ///
    /// # Errors
    ///
    /// What the file system says; [`JoinError`] inside if the pool is gone, or has neither a ring nor
    /// blocking threads.
    pub async fn create_dir(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let path = path.as_ref().to_owned();
        let op = |path| CreateDir::new(CurrentDir, path, Mode::from_bits_retain(0o777));
        let op = c_path(&path).map(op);
        self.ring_or_thread(op, move || std::fs::create_dir(path))
            .await
    }

    /// Makes a directory, and those above it that are not there; as `tokio::fs::create_dir_all`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves it undone, unless it has been begun: then it goes on to its end.
    ///
    /// # Errors
    ///
    /// As [`metadata`](Self::metadata). Some of the directories may have been made.
    pub async fn create_dir_all(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.block_at(path, |path| std::fs::create_dir_all(path))
            .await
    }

    /// Removes what is not a directory; as `tokio::fs::remove_file`.
    ///
    /// # Cancel safety
    ///
    /// As [`create_dir`](Self::create_dir).
    ///
    /// # Errors
    ///
    /// As [`create_dir`](Self::create_dir).
    pub async fn remove_file(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let path = path.as_ref().to_owned();
        let op = c_path(&path).map(|path| Unlink::new(CurrentDir, path, false));
        self.ring_or_thread(op, move || std::fs::remove_file(path))
            .await
    }

    /// Removes an empty directory; as `tokio::fs::remove_dir`.
    ///
    /// # Cancel safety
    ///
    /// As [`create_dir`](Self::create_dir).
    ///
    /// # Errors
    ///
    /// As [`create_dir`](Self::create_dir).
    pub async fn remove_dir(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let path = path.as_ref().to_owned();
        let op = c_path(&path).map(|path| Unlink::new(CurrentDir, path, true));
        self.ring_or_thread(op, move || std::fs::remove_dir(path))
            .await
    }

    /// Removes a directory with all that is in it, without following links; as
    /// `tokio::fs::remove_dir_all`.
    ///
    /// # Cancel safety
    ///
    /// As [`create_dir_all`](Self::create_dir_all).
    ///
    /// # Errors
    ///
    /// As [`metadata`](Self::metadata). Some of it may have been removed.
    pub async fn remove_dir_all(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.block_at(path, |path| std::fs::remove_dir_all(path))
            .await
    }

    /// Gives `from` the name `to`, in place of what may have it; as `tokio::fs::rename`.
    ///
    /// # Cancel safety
    ///
    /// As [`create_dir`](Self::create_dir).
    ///
    /// # Errors
    ///
    /// As [`create_dir`](Self::create_dir).
    pub async fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
        let (from, to) = (from.as_ref().to_owned(), to.as_ref().to_owned());
        let op =
            c_paths(&from, &to).map(|(from, to)| Rename::new(CurrentDir, from, CurrentDir, to));
        self.ring_or_thread(op, move || std::fs::rename(from, to))
            .await
    }

    /// Gives the file `original` the further name `link`; as `tokio::fs::hard_link`.
    ///
    /// # Cancel safety
    ///
    /// As [`create_dir`](Self::create_dir).
    ///
    /// # Errors
    ///
    /// As [`create_dir`](Self::create_dir).
    pub async fn hard_link(
        &self,
        original: impl AsRef<Path>,
        link: impl AsRef<Path>,
    ) -> io::Result<()> {
        let (original, link) = (original.as_ref().to_owned(), link.as_ref().to_owned());
        let op = c_paths(&original, &link)
            .map(|(original, link)| HardLink::new(CurrentDir, original, CurrentDir, link));
        self.ring_or_thread(op, move || std::fs::hard_link(original, link))
            .await
    }

    /// Makes `link` lead to `original`, which need not be there; as `tokio::fs::symlink`.
    ///
    /// # Cancel safety
    ///
    /// As [`create_dir`](Self::create_dir).
    ///
    /// # Errors
    ///
    /// As [`create_dir`](Self::create_dir).
    pub async fn symlink(
        &self,
        original: impl AsRef<Path>,
        link: impl AsRef<Path>,
    ) -> io::Result<()> {
        let (original, link) = (original.as_ref().to_owned(), link.as_ref().to_owned());
        let op = c_paths(&original, &link)
            .map(|(original, link)| Symlink::new(original, CurrentDir, link));
        self.ring_or_thread(op, move || std::os::unix::fs::symlink(original, link))
            .await
    }
}

impl Fs {
    /// `f` on one of the pool's blocking threads.
    pub(super) async fn block<T: Send + 'static>(
        &self,
        f: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        self.check_open()?;
        RunBlocking::new(Arc::clone(self.shared().blocking()), f).await?
    }

    async fn block_at<T: Send + 'static>(
        &self,
        path: impl AsRef<Path>,
        f: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let path = path.as_ref().to_owned();
        self.block(move || f(&path)).await
    }

    /// `op` if the pool has rings, else `f` on one of its blocking threads, without a worker in between.
    async fn ring_or_thread<O: OpCode + Send + 'static>(
        &self,
        op: io::Result<O>,
        f: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let op = op?;
        if !self.has_rings() {
            return self.block(f).await;
        }
        let op = OnRing {
            op,
            f,
            threads: Arc::clone(self.shared().blocking()),
        };
        RunOp::new(self.shared(), op).await
    }

    /// Whether a worker is likely to have a ring; [`has_ring`] knows it for the one that it runs on.
    pub(super) fn has_rings(&self) -> bool {
        self.shared().pick().driver != DriverKind::Polling
    }

    /// For what would otherwise be done without asking the pool.
    pub(super) fn check_open(&self) -> io::Result<()> {
        match self.shared().is_closed() {
            true => Err(JoinError::RuntimeGone.into()),
            false => Ok(()),
        }
    }
}

/// One operation of Compio's whose result is that it succeeded.
struct OnRing<O, F> {
    op: O,
    /// The same for a worker without a ring.
    f: F,
    threads: Arc<Blocking>,
}

impl<O, F> Op for OnRing<O, F>
where
    O: OpCode + Send + 'static,
    F: FnOnce() -> io::Result<()> + Send + 'static,
{
    type Output = io::Result<()>;

    async fn run(self) -> Self::Output {
        if has_ring() {
            return submit(self.op).await.0.map(drop);
        }
        RunBlocking::new(self.threads, self.f).await?
    }

    fn refused(self, error: JoinError) -> Self::Output {
        Err(error.into())
    }

    fn lost(error: JoinError) -> Self::Output {
        Err(error.into())
    }
}

/// The path for the kernel; std's error for one that cannot be.
pub(super) fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "file name contained an unexpected NUL byte",
        )
    })
}

fn c_paths(a: &Path, b: &Path) -> io::Result<(CString, CString)> {
    Ok((c_path(a)?, c_path(b)?))
}
