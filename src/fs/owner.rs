//! Who closes a file's descriptor: the last of its handles and of the operations in flight, on a worker.

use std::{
    fs::File as StdFile,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    panic::Location,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use compio::{driver::op::CloseFile, runtime::submit};
use tokio::sync::oneshot;

use super::{
    direct::Direct,
    op::{blocking, has_ring},
    sys,
};
use crate::{
    pool::{Blocking, PoolShared},
    spawn::spawn,
};

/// An open file. Operations in flight hold it, too, so that the descriptor is not given to another file
/// under them.
#[derive(Debug)]
pub(super) struct Owner {
    /// There until the end.
    file: Option<StdFile>,
    pool: Arc<PoolShared>,
    /// Whoever waits for the close.
    report: Mutex<Option<oneshot::Sender<io::Result<()>>>>,
    /// Whether the file system can say what is in the page cache, as far as is known.
    nowait: AtomicBool,
    /// Whether other descriptors may have the same position.
    shares_position: AtomicBool,
    /// What is to be aligned, if it was opened for direct I/O.
    direct: Option<Direct>,
}

impl Owner {
    pub(super) fn new(file: StdFile, pool: Arc<PoolShared>) -> Self {
        let direct = sys::is_direct(&file).then(|| Direct::of(&file));
        // A direct read goes to the disk whatever is in the page cache, and the kernel waits for the disk
        // in spite of `RWF_NOWAIT`, which spares it waits for locks and for metadata only.
        let nowait = cfg!(target_os = "linux") && direct.is_none();
        Self {
            file: Some(file),
            pool,
            report: Mutex::new(None),
            nowait: AtomicBool::new(nowait),
            shares_position: AtomicBool::new(false),
            direct,
        }
    }

    pub(super) fn file(&self) -> &StdFile {
        self.file.as_ref().expect("it is there until the end")
    }

    pub(super) fn pool(&self) -> &Arc<PoolShared> {
        &self.pool
    }

    pub(super) fn direct(&self) -> Option<Direct> {
        self.direct
    }

    /// Whether it is worth asking for what is in the page cache.
    pub(super) fn may_nowait(&self) -> bool {
        self.nowait.load(Ordering::Relaxed)
    }

    /// The file system cannot say: nobody need ask again.
    pub(super) fn cannot_nowait(&self) {
        self.nowait.store(false, Ordering::Relaxed);
    }

    pub(super) fn shares_position(&self) -> bool {
        self.shares_position.load(Ordering::Relaxed)
    }

    /// From now on other descriptors may have it.
    pub(super) fn share_position(&self) {
        self.shares_position.store(true, Ordering::Relaxed);
    }

    /// What becomes of the close that the last owner's end brings about.
    pub(super) fn report(&self) -> oneshot::Receiver<io::Result<()>> {
        let (sender, receiver) = oneshot::channel();
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }

    /// The file, if nobody else holds it; nothing is closed then.
    pub(super) fn into_file(self: Arc<Self>) -> Result<StdFile, Arc<Self>> {
        let mut owner = Arc::try_unwrap(self)?;
        Ok(owner.file.take().expect("it is there until the end"))
    }
}

impl AsFd for Owner {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file().as_fd()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let Some(file) = self.file.take() else { return };
        let closing = Closing {
            fd: Some(file.into()),
            report: self
                .report
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        };
        if self.pool.is_closed() {
            // There may be no worker any more: closed here.
            return;
        }
        let threads = Arc::clone(self.pool.blocking());
        // Goes on without its handle.
        drop(spawn(
            self.pool.pick(),
            move || closing.run(threads),
            Location::caller(),
        ));
    }
}

/// A descriptor on its way to be closed: here and now, if it gets no further.
struct Closing {
    fd: Option<OwnedFd>,
    report: Option<oneshot::Sender<io::Result<()>>>,
}

impl Closing {
    async fn run(mut self, threads: Arc<Blocking>) {
        let Some(fd) = self.fd.take() else { return };
        let result = if has_ring() {
            submit(CloseFile::new(fd)).await.0.map(drop)
        } else {
            match blocking(threads, Some(fd), |fd| fd.take().map_or(Ok(()), sys::close)).await {
                (Ok(result), _) => result,
                (Err(_), fd) => fd.flatten().map_or(Ok(()), sys::close),
            }
        };
        self.tell(result);
    }

    fn tell(&mut self, result: io::Result<()>) {
        if let Some(report) = self.report.take() {
            // Nobody may wait any more.
            _ = report.send(result);
        }
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        if let Some(fd) = self.fd.take() {
            let result = sys::close(fd);
            self.tell(result);
        }
    }
}
