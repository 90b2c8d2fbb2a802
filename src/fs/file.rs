//! An open file.

use std::{
    fs::{Metadata, Permissions},
    io,
    path::Path,
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use compio::{
    buf::{BufResult, IntoInner, IoBuf, IoBufMut, IoVectoredBuf, IoVectoredBufMut},
    driver::op,
    runtime::submit,
};

use super::{
    Fs, OpenOptions,
    cursor::{Cursor, Seat},
    nowait::Nowait,
    op::{Op, RunOp, blocking, has_ring},
    owner::Owner,
    pace,
    sys::{self, Position},
};
use crate::{
    error::{CloseError, JoinError},
    io::buf::BufError,
    pool::PoolShared,
    spawn::RunBlocking,
};

/// More than that is not allocated because somebody asks for it, but because the file has it.
const LARGE: usize = 1 << 20;

/// An open file, driven by a [`CompioPool`](crate::CompioPool) and used from anywhere.
///
/// Clones are the same open file: they share one cursor, as those of [`std::fs::File::try_clone`] do.
/// The calls that take a position neither use nor move it.
///
/// The guide: [files](crate::guide::files).
#[derive(Clone, Debug)]
pub struct File {
    pub(super) inner: Arc<Inner>,
    pub(super) seat: Seat,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) owner: Arc<Owner>,
    pub(super) nowait: Nowait,
    pub(super) cursor: Cursor,
}

impl File {
    pub(super) fn new(file: std::fs::File, pool: Arc<PoolShared>, nowait: Nowait) -> Self {
        let cursor = Cursor::default();
        Self {
            seat: cursor.seat(),
            inner: Arc::new(Inner {
                owner: Arc::new(Owner::new(file, pool)),
                nowait,
                cursor,
            }),
        }
    }

    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// Opens a file for reading, on the default pool; as `tokio::fs::File::open`.
    ///
    /// # Errors
    ///
    /// What the file system says, kind and code;
    /// [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there is none.
    pub async fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Fs::of_default()?.open(path).await
    }

    /// Opens a file for writing, on the default pool: made if it is not there, emptied if it is; as
    /// `tokio::fs::File::create`.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        Fs::of_default()?.create(path).await
    }

    /// Makes a file and opens it for reading and writing, on the default pool; an error if it is there;
    /// as `tokio::fs::File::create_new`.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn create_new(path: impl AsRef<Path>) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        options.open(path).await
    }

    /// How a file may be opened; as `tokio::fs::File::options`.
    #[must_use]
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }

    /// Reads into `buffer` from its start, up to its capacity, what is at byte `position` of the file:
    /// how many bytes, and the buffer. None at the end of the file; fewer than asked for at any time.
    ///
    /// What is in the page cache is copied at once, on the calling thread, if it is not more than the
    /// [limit](Fs::nowait_limit); the rest is for the ring.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the read; the buffer goes with it, when the kernel lets go of it.
    ///
    /// # Errors
    ///
    /// What the file system says; [`JoinError`] inside if the pool is gone;
    /// [`Misaligned`](crate::error::Misaligned) inside if direct I/O wants another position or buffer.
    pub async fn read_at<B: IoBufMut + Send>(
        &self,
        mut buffer: B,
        position: u64,
    ) -> Result<(usize, B), BufError<B>> {
        if let Some(direct) = self.inner.owner.direct()
            && let Err(error) = direct.check_read(&mut buffer, position)
        {
            return Err(BufError::new(error, Some(buffer)));
        }
        pace::turn().await;
        let position = Position::At(position);
        match self.inner.read_now(&mut buffer, position) {
            Some(Ok(n)) => Ok((n, buffer)),
            Some(Err(error)) => Err(BufError::new(error, Some(buffer))),
            None => self.inner.read(buffer, position).await,
        }
    }

    /// Fills `buffer` up to its capacity with what is at byte `position` of the file.
    ///
    /// # Cancel safety
    ///
    /// As [`read_at`](Self::read_at).
    ///
    /// # Errors
    ///
    /// As [`read_at`](Self::read_at), and [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) if the file
    /// ends before.
    pub async fn read_exact_at<B: IoBufMut + Send>(
        &self,
        buffer: B,
        position: u64,
    ) -> Result<B, BufError<B>> {
        let (mut buffer, mut filled) = (buffer, 0);
        let wanted = buffer.buf_capacity();
        while filled < wanted {
            if self.inner.is_at_end(filled) {
                return Err(BufError::new(ends_early(wanted - filled), Some(buffer)));
            }
            let read = self.read_at(
                buffer.slice(filled..),
                position.saturating_add(filled as u64),
            );
            match read.await {
                Ok((0, rest)) => {
                    let error = ends_early(wanted - filled);
                    return Err(BufError::new(error, Some(rest.into_inner())));
                }
                Ok((n, rest)) => {
                    filled += n;
                    buffer = rest.into_inner();
                }
                Err(error) => return Err(error.map_buffer(IntoInner::into_inner)),
            }
        }
        Ok(buffer)
    }

    /// The `len` bytes at byte `position` of the file; fewer if it ends before, however many are asked for.
    /// With direct I/O the position and the length must be aligned, but need not be within the file.
    ///
    /// # Cancel safety
    ///
    /// As [`read_at`](Self::read_at).
    ///
    /// # Errors
    ///
    /// What the file system says; [`JoinError`] inside if the pool is gone.
    pub async fn read_bytes_at(&self, len: usize, position: u64) -> io::Result<Bytes> {
        if let Some(direct) = self.inner.owner.direct() {
            let buffer = self.read_up_to(direct.buffer(len)?, len, position).await?;
            return Ok(buffer.freeze());
        }
        if len <= LARGE {
            let buffer = self.read_up_to(BytesMut::with_capacity(len), len, position);
            return Ok(buffer.await?.freeze());
        }
        // Not as much memory as is asked for: as the file has, as far as is known.
        let known = sys::known_len(self.inner.owner.file()).map(|end| end.saturating_sub(position));
        let known = usize::try_from(known.unwrap_or(0)).unwrap_or(usize::MAX);
        let mut buffer = Vec::new();
        let (mut wanted, mut more) = (len.min(known.max(LARGE)), LARGE);
        loop {
            buffer.try_reserve_exact(wanted - buffer.len())?;
            buffer = self.read_up_to(buffer, wanted, position).await?;
            if buffer.len() < wanted || wanted == len {
                return Ok(buffer.into());
            }
            // It has grown, or is about to end.
            wanted = len.min(wanted.saturating_add(more));
            more = more.saturating_mul(2);
        }
    }

    /// Fills a buffer up to `len` bytes, or with as many as there are, the first of them at `position`.
    async fn read_up_to<B: IoBufMut + Send>(
        &self,
        mut buffer: B,
        len: usize,
        position: u64,
    ) -> io::Result<B> {
        while buffer.buf_len() < len {
            let filled = buffer.buf_len();
            if self.inner.is_at_end(filled) {
                break;
            }
            let read = self.read_at(
                buffer.slice(filled..len),
                position.saturating_add(filled as u64),
            );
            let (n, rest) = read.await?;
            buffer = rest.into_inner();
            if n == 0 {
                break;
            }
        }
        Ok(buffer)
    }

    /// Reads into `buffers`, one after the other, as [`read_at`](Self::read_at) does into one.
    ///
    /// # Cancel safety
    ///
    /// As [`read_at`](Self::read_at).
    ///
    /// # Errors
    ///
    /// As [`read_at`](Self::read_at).
    pub async fn read_vectored_at<B: IoVectoredBufMut + Send>(
        &self,
        mut buffers: B,
        position: u64,
    ) -> Result<(usize, B), BufError<B>> {
        if let Some(direct) = self.inner.owner.direct()
            && let Err(error) = direct.check_read_vectored(&mut buffers, position)
        {
            return Err(BufError::new(error, Some(buffers)));
        }
        let op = ReadVectored {
            owner: Arc::clone(&self.inner.owner),
            buffers,
            position: Position::At(position),
        };
        RunOp::new(self.inner.owner.pool(), op).await
    }

    /// Writes bytes from the start of `buffer` to byte `position` of the file: how many, and the buffer.
    /// Fewer than there are at any time. A file that was opened to append gets them at its end.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the write, which may have happened already.
    ///
    /// # Errors
    ///
    /// What the file system says; [`JoinError`] inside if the pool is gone;
    /// [`Misaligned`](crate::error::Misaligned) inside if direct I/O wants another position or buffer.
    pub async fn write_at<B: IoBuf + Send>(
        &self,
        buffer: B,
        position: u64,
    ) -> Result<(usize, B), BufError<B>> {
        if let Some(direct) = self.inner.owner.direct()
            && let Err(error) = direct.check_write(&buffer, position)
        {
            return Err(BufError::new(error, Some(buffer)));
        }
        self.inner.write(buffer, Position::At(position)).await
    }

    /// Writes all of `buffer` to byte `position` of the file.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the write; any part of it may have happened already.
    ///
    /// # Errors
    ///
    /// As [`write_at`](Self::write_at), and [`WriteZero`](io::ErrorKind::WriteZero) if the file takes no
    /// more. Some of the bytes may have been written.
    pub async fn write_all_at<B: IoBuf + Send>(
        &self,
        buffer: B,
        position: u64,
    ) -> Result<B, BufError<B>> {
        let (mut buffer, mut written) = (buffer, 0);
        while written < buffer.buf_len() {
            let write = self.write_at(
                buffer.slice(written..),
                position.saturating_add(written as u64),
            );
            match write.await {
                Ok((0, rest)) => {
                    let error = io::ErrorKind::WriteZero.into();
                    return Err(BufError::new(error, Some(rest.into_inner())));
                }
                Ok((n, rest)) => {
                    written += n;
                    buffer = rest.into_inner();
                }
                Err(error) => return Err(error.map_buffer(IntoInner::into_inner)),
            }
        }
        Ok(buffer)
    }

    /// [`write_all_at`](Self::write_all_at) of what can be made into [`Bytes`].
    ///
    /// # Cancel safety
    ///
    /// As there.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn write_bytes_at(&self, bytes: impl Into<Bytes>, position: u64) -> io::Result<()> {
        self.write_all_at(bytes.into(), position).await?;
        Ok(())
    }

    /// [`write_all_at`](Self::write_all_at), and then [`sync_data`](Self::sync_data): the bytes are on the
    /// disk when this returns. For logs and pages that must be there before the next step.
    ///
    /// # Where it runs
    ///
    /// In one crossing, on one of the pool's blocking threads. The kernel syncs on a thread in any case, and
    /// a ring would have it start one of its own, after the write.
    ///
    /// # Cancel safety
    ///
    /// Dropped before a thread has begun with it, it does not happen; afterwards it is done to its end, and
    /// nobody is told.
    ///
    /// # Errors
    ///
    /// As [`write_all_at`](Self::write_all_at), and [`JoinError::NoBlockingThreads`] inside where there are
    /// none. After any error what is at `position` is unknown.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use landbridge::fs::Fs;
    ///
    /// let pool = landbridge::CompioPool::builder().threads(1).build()?;
    /// let log = std::env::temp_dir().join(format!("landbridge-doc-{}", std::process::id()));
    /// let file = Fs::new(&pool).create(&log).await?;
    /// let record = file.write_synced_at(b"begin;".to_vec(), 0).await?;
    /// file.write_synced_at("commit;", record.len() as u64).await?;
    /// assert_eq!(std::fs::read(&log)?, b"begin;commit;");
    /// # std::fs::remove_file(&log)?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn write_synced_at<B: IoBuf + Send>(
        &self,
        buffer: B,
        position: u64,
    ) -> Result<B, BufError<B>> {
        let owner = Arc::clone(&self.inner.owner);
        if let Some(direct) = owner.direct()
            && let Err(error) = direct.check_write(&buffer, position)
        {
            return Err(BufError::new(error, Some(buffer)));
        }
        let threads = Arc::clone(owner.pool().blocking());
        let done = blocking(threads, buffer, move |buffer| {
            sys::write_all(owner.file(), (*buffer).as_init(), position)?;
            owner.file().sync_data()
        });
        match done.await {
            (Ok(Ok(())), Some(buffer)) => Ok(buffer),
            (Ok(Ok(())), None) => unreachable!("who answers has the buffer"),
            (Ok(Err(error)), buffer) => Err(BufError::new(error, buffer)),
            (Err(error), buffer) => Err(BufError::new(error.into(), buffer)),
        }
    }

    /// Writes from `buffers`, one after the other, as [`write_at`](Self::write_at) does from one.
    ///
    /// # Cancel safety
    ///
    /// As [`write_at`](Self::write_at).
    ///
    /// # Errors
    ///
    /// As [`write_at`](Self::write_at).
    pub async fn write_vectored_at<B: IoVectoredBuf + Send>(
        &self,
        buffers: B,
        position: u64,
    ) -> Result<(usize, B), BufError<B>> {
        if let Some(direct) = self.inner.owner.direct()
            && let Err(error) = direct.check_write_vectored(&buffers, position)
        {
            return Err(BufError::new(error, Some(buffers)));
        }
        let op = WriteVectored {
            owner: Arc::clone(&self.inner.owner),
            buffers,
            position: Position::At(position),
        };
        RunOp::new(self.inner.owner.pool(), op).await
    }

    /// Waits until everything written is on the disk, with what is known about the file; as
    /// `tokio::fs::File::sync_all`.
    ///
    /// # Errors
    ///
    /// What the file system says, also of a write through the cursor that failed since;
    /// [`JoinError`] inside if the pool is gone.
    pub async fn sync_all(&self) -> io::Result<()> {
        self.settle().await?;
        self.inner.sync(false).await
    }

    /// [`sync_all`](Self::sync_all) without what is not needed to read the bytes again, such as the time
    /// of the last change.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn sync_data(&self) -> io::Result<()> {
        self.settle().await?;
        self.inner.sync(true).await
    }

    /// Cuts the file off, or fills it up with zeros, at `len` bytes; as `tokio::fs::File::set_len`.
    ///
    /// # Errors
    ///
    /// As [`sync_all`](Self::sync_all).
    pub async fn set_len(&self, len: u64) -> io::Result<()> {
        self.settle_exactly().await?;
        self.inner.block(move |file| file.set_len(len)).await
    }

    /// What is known about the file.
    ///
    /// # Errors
    ///
    /// What the file system says; [`JoinError`] inside if the pool is gone.
    pub async fn metadata(&self) -> io::Result<Metadata> {
        self.inner.block(std::fs::File::metadata).await
    }

    /// Changes who may do what with the file.
    ///
    /// # Errors
    ///
    /// As [`metadata`](Self::metadata).
    pub async fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        self.inner
            .block(move |file| file.set_permissions(permissions))
            .await
    }
}

impl File {
    /// Another handle to the same open file, as a clone is, once what the cursor has under way is done; as
    /// `tokio::fs::File::try_clone`.
    ///
    /// # Errors
    ///
    /// None: nothing of the operating system's is duplicated.
    pub async fn try_clone(&self) -> io::Result<Self> {
        self.quiet().await;
        Ok(self.clone())
    }

    /// The file for std; as `tokio::fs::File::try_into_std`. The cursor is after the last byte that was
    /// given to a reader.
    ///
    /// See [`into_std`](Self::into_std) for one that waits.
    ///
    /// # Errors
    ///
    /// The file, unchanged, if there are clones, or something is under way, also what was dropped and is
    /// still with the kernel.
    pub fn try_into_std(self) -> Result<std::fs::File, Self> {
        let Self { inner, seat } = self;
        if inner.cursor.is_busy() {
            return Err(Self { inner, seat });
        }
        let Inner {
            owner,
            nowait,
            cursor,
        } = match Arc::try_unwrap(inner) {
            Ok(inner) => inner,
            Err(inner) => return Err(Self { inner, seat }),
        };
        cursor.discard(owner.file());
        owner.into_file().map_err(|owner| Self {
            inner: Arc::new(Inner {
                owner,
                nowait,
                cursor,
            }),
            seat,
        })
    }

    /// Closes the file on a worker and waits for it. Dropping the last clone closes it there as well, and
    /// tells nobody what went wrong.
    ///
    /// What was written is not on the disk for that: see [`sync_all`](Self::sync_all).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the file.
    ///
    /// # Errors
    ///
    /// [`CloseError::Shared`] with the file if it has clones; else what became of writes through the
    /// cursor and of the close.
    pub async fn close(self) -> Result<(), CloseError> {
        if Arc::strong_count(&self.inner) == 1 {
            self.inner.cursor.give_up_read();
        }
        let settled = self.settle().await;
        let inner = match Arc::try_unwrap(self.inner) {
            Ok(inner) => inner,
            Err(inner) => {
                let seat = self.seat;
                return Err(CloseError::Shared(Self { inner, seat }));
            }
        };
        let report = inner.owner.report();
        drop(inner);
        // Nobody is left to tell: a worker that ended with the close under way.
        let closed = report
            .await
            .unwrap_or_else(|_| Err(JoinError::RuntimeGone.into()));
        settled?;
        Ok(closed?)
    }
}

impl Inner {
    /// The read, if it can be done here and now.
    pub(super) fn read_now(
        &self,
        buffer: &mut impl IoBufMut,
        position: Position,
    ) -> Option<io::Result<usize>> {
        let wanted = buffer.buf_capacity();
        self.read_now_with(wanted, |file| {
            sys::read_buffer(file, buffer, position, sys::Blocking::No)
        })
    }

    /// `read` of `wanted` bytes with [`sys::Blocking::No`], if that may work; what it says, unless that is
    /// only that it did not.
    pub(super) fn read_now_with(
        &self,
        wanted: usize,
        read: impl FnOnce(&std::fs::File) -> io::Result<usize>,
    ) -> Option<io::Result<usize>> {
        if !self.nowait.allows(wanted) || !self.owner.may_nowait() || self.owner.pool().is_closed()
        {
            return None;
        }
        match read(self.owner.file()) {
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => None,
                io::ErrorKind::Unsupported => {
                    self.owner.cannot_nowait();
                    None
                }
                _ => Some(Err(error)),
            },
            Ok(n) => {
                pace::spend(n);
                Some(Ok(n))
            }
        }
    }

    /// Whether a read that brought `filled` bytes so far has seen the end of the file, and what follows
    /// could not even be asked for.
    fn is_at_end(&self, filled: usize) -> bool {
        let direct = self.owner.direct();
        direct.is_some_and(|direct| direct.is_at_end(filled))
    }

    pub(super) fn read<B: IoBufMut + Send>(&self, buffer: B, position: Position) -> RunOp<Read<B>> {
        let op = Read::new(Arc::clone(&self.owner), buffer, position);
        RunOp::new(self.owner.pool(), op)
    }

    pub(super) fn write<B: IoBuf + Send>(&self, buffer: B, position: Position) -> RunOp<Write<B>> {
        let op = Write::new(Arc::clone(&self.owner), buffer, position);
        RunOp::new(self.owner.pool(), op)
    }

    async fn sync(&self, data_only: bool) -> io::Result<()> {
        let op = Sync {
            owner: Arc::clone(&self.owner),
            data_only,
        };
        RunOp::new(self.owner.pool(), op).await
    }

    /// `f` on one of the pool's blocking threads.
    pub(super) async fn block<T: Send + 'static>(
        &self,
        f: impl FnOnce(&std::fs::File) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let owner = Arc::clone(&self.owner);
        let threads = Arc::clone(owner.pool().blocking());
        RunBlocking::new(threads, move || f(owner.file())).await?
    }
}

pub(super) struct Read<B> {
    owner: Arc<Owner>,
    buffer: B,
    position: Position,
}

impl<B> Read<B> {
    pub(super) const fn new(owner: Arc<Owner>, buffer: B, position: Position) -> Self {
        Self {
            owner,
            buffer,
            position,
        }
    }
}

impl<B: IoBufMut + Send> Op for Read<B> {
    type Output = Result<(usize, B), BufError<B>>;

    async fn run(self) -> Self::Output {
        let Self {
            owner,
            buffer,
            position,
        } = self;
        if has_ring() {
            return with_buffer(sys::ring_read(owner, buffer, position).await);
        }
        Self::new(owner, buffer, position).run_on_a_thread().await
    }

    fn refused(self, error: JoinError) -> Self::Output {
        Err(BufError::new(error.into(), Some(self.buffer)))
    }

    fn lost(error: JoinError) -> Self::Output {
        Err(BufError::new(error.into(), None))
    }
}

impl<B: IoBufMut + Send> Read<B> {
    /// One of the pool's blocking threads.
    pub(super) async fn run_on_a_thread(self) -> Result<(usize, B), BufError<B>> {
        let Self {
            owner,
            buffer,
            position,
        } = self;
        let threads = Arc::clone(owner.pool().blocking());
        brought_back(
            blocking(threads, buffer, move |buffer| {
                sys::read_buffer(owner.file(), buffer, position, sys::Blocking::Yes)
            })
            .await,
        )
    }
}

pub(super) struct ReadVectored<B> {
    owner: Arc<Owner>,
    buffers: B,
    position: Position,
}

impl<B: IoVectoredBufMut + Send> Op for ReadVectored<B> {
    type Output = Result<(usize, B), BufError<B>>;

    async fn run(self) -> Self::Output {
        let Self {
            owner,
            buffers,
            position,
        } = self;
        if has_ring() {
            return with_buffer(sys::ring_read_vectored(owner, buffers, position).await);
        }
        let threads = Arc::clone(owner.pool().blocking());
        brought_back(
            blocking(threads, buffers, move |buffers| {
                sys::read_vectored(owner.file(), buffers, position)
            })
            .await,
        )
    }

    fn refused(self, error: JoinError) -> Self::Output {
        Err(BufError::new(error.into(), Some(self.buffers)))
    }

    fn lost(error: JoinError) -> Self::Output {
        Err(BufError::new(error.into(), None))
    }
}

pub(super) struct Write<B> {
    owner: Arc<Owner>,
    buffer: B,
    position: Position,
}

impl<B> Write<B> {
    pub(super) const fn new(owner: Arc<Owner>, buffer: B, position: Position) -> Self {
        Self {
            owner,
            buffer,
            position,
        }
    }
}

impl<B: IoBuf + Send> Op for Write<B> {
    type Output = Result<(usize, B), BufError<B>>;

    async fn run(self) -> Self::Output {
        let Self {
            owner,
            buffer,
            position,
        } = self;
        if has_ring() {
            return with_buffer(sys::ring_write(owner, buffer, position).await);
        }
        Self::new(owner, buffer, position).run_on_a_thread().await
    }

    fn refused(self, error: JoinError) -> Self::Output {
        Err(BufError::new(error.into(), Some(self.buffer)))
    }

    fn lost(error: JoinError) -> Self::Output {
        Err(BufError::new(error.into(), None))
    }
}

impl<B: IoBuf + Send> Write<B> {
    /// One of the pool's blocking threads.
    pub(super) async fn run_on_a_thread(self) -> Result<(usize, B), BufError<B>> {
        let Self {
            owner,
            buffer,
            position,
        } = self;
        let threads = Arc::clone(owner.pool().blocking());
        brought_back(
            blocking(threads, buffer, move |buffer| {
                sys::write_slices(owner.file(), &[(*buffer).as_init()], position)
            })
            .await,
        )
    }
}

pub(super) struct WriteVectored<B> {
    owner: Arc<Owner>,
    buffers: B,
    position: Position,
}

impl<B: IoVectoredBuf + Send> Op for WriteVectored<B> {
    type Output = Result<(usize, B), BufError<B>>;

    async fn run(self) -> Self::Output {
        let Self {
            owner,
            buffers,
            position,
        } = self;
        if has_ring() {
            return with_buffer(sys::ring_write_vectored(owner, buffers, position).await);
        }
        let threads = Arc::clone(owner.pool().blocking());
        brought_back(
            blocking(threads, buffers, move |buffers| {
                let slices: Vec<_> = (*buffers).iter_slice().collect();
                sys::write_slices(owner.file(), &slices, position)
            })
            .await,
        )
    }

    fn refused(self, error: JoinError) -> Self::Output {
        Err(BufError::new(error.into(), Some(self.buffers)))
    }

    fn lost(error: JoinError) -> Self::Output {
        Err(BufError::new(error.into(), None))
    }
}

struct Sync {
    owner: Arc<Owner>,
    data_only: bool,
}

impl Op for Sync {
    type Output = io::Result<()>;

    async fn run(self) -> Self::Output {
        let Self { owner, data_only } = self;
        if has_ring() {
            return submit(op::Sync::new(owner, data_only)).await.0.map(drop);
        }
        let threads = Arc::clone(owner.pool().blocking());
        let sync = move || match data_only {
            true => owner.file().sync_data(),
            false => owner.file().sync_all(),
        };
        RunBlocking::new(threads, sync).await?
    }

    fn refused(self, error: JoinError) -> Self::Output {
        Err(error.into())
    }

    fn lost(error: JoinError) -> Self::Output {
        Err(error.into())
    }
}

fn ends_early(missing: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        format!("the file ends {missing} bytes before the buffer does"),
    )
}

fn with_buffer<B>(done: BufResult<usize, B>) -> Result<(usize, B), BufError<B>> {
    match done {
        BufResult(Ok(n), buffer) => Ok((n, buffer)),
        BufResult(Err(error), buffer) => Err(BufError::new(error, Some(buffer))),
    }
}

fn brought_back<B>(
    done: (Result<io::Result<usize>, JoinError>, Option<B>),
) -> Result<(usize, B), BufError<B>> {
    match done {
        (Ok(Ok(n)), Some(buffer)) => Ok((n, buffer)),
        (Ok(Ok(_)), None) => unreachable!("who answers has the buffer"),
        (Ok(Err(error)), buffer) => Err(BufError::new(error, buffer)),
        (Err(error), buffer) => Err(BufError::new(error.into(), buffer)),
    }
}
