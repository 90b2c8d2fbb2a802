//! The cursor of an open file: reads, writes and seeks, one after the other.
//!
//! The position is the operating system's own, so that appending, FIFOs and descriptors shared with others
//! are as they should be. What was read for a reader that then went away lies before it, for the next.
//!
//! The invariants: of all clones together, at most one operation is under way. Whoever waits for its end
//! took a seat in [`Turns`] before he looked at it under the lock, and every end wakes all who sit there.
//! No foreign code runs under a lock: wakers are cloned, woken and dropped outside.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    io::{self, IoSlice, Seek, SeekFrom},
    mem,
    ops::{Deref, DerefMut},
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    panic::Location,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker, ready},
};

use compio::buf::{IntoInner, IoBuf};
use tokio::io::{AsyncRead, AsyncSeek, AsyncWrite, ReadBuf};

use super::{
    File, Fs,
    file::{Inner, Read, Write},
    op::{Op, has_ring},
    owner::Owner,
    pace,
    sys::{self, Position},
};
use crate::{
    error::JoinError,
    io::buf::BufError,
    spawn::{JoinHandle, RunBlocking, spawn},
    unwind,
};

/// How many bytes one operation carries at most: what tokio's files do.
const MAX_BUF_SIZE: usize = 2 << 20;

/// More than any disk wants.
const ALIGNMENT: usize = 4 << 10;

impl File {
    /// A file that std has open, on the default pool; as `tokio::fs::File::from_std`. Its cursor stays
    /// where it is.
    ///
    /// # Errors
    ///
    /// [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there is none.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use landbridge::fs::File;
    /// use tokio::io::AsyncReadExt;
    ///
    /// let pool = landbridge::CompioPool::builder().threads(1).build()?;
    /// pool.set_default()?;
    ///
    /// let mut file = File::from_std(std::fs::File::open("Cargo.toml")?)?;
    /// let mut text = String::new();
    /// file.read_to_string(&mut text).await?;
    /// assert!(text.contains("[package]"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_std(file: std::fs::File) -> io::Result<Self> {
        Ok(Fs::of_default()?.from_std(file))
    }

    /// The file for std, once what the cursor has under way is done; as `tokio::fs::File::into_std`.
    /// The cursor is after the last byte that was given to a reader.
    ///
    /// With clones, or operations that were dropped and are still with the kernel, it is a duplicate of
    /// the descriptor. A write that failed and was not reported yet is not reported any more:
    /// [`flush`](tokio::io::AsyncWriteExt::flush) first.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the file.
    ///
    /// # Errors
    ///
    /// What the operating system says to the duplicate.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::io::Read;
    ///
    /// use landbridge::fs::Fs;
    /// use tokio::io::AsyncReadExt;
    ///
    /// let pool = landbridge::CompioPool::builder().threads(1).build()?;
    /// let mut file = Fs::new(&pool).open("Cargo.toml").await?;
    /// let mut start = [0; 10];
    /// file.read_exact(&mut start).await?;
    ///
    /// let mut rest = String::new();
    /// file.into_std().await?.read_to_string(&mut rest)?;
    /// assert_eq!(rest, std::fs::read_to_string("Cargo.toml")?[10..]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn into_std(self) -> io::Result<std::fs::File> {
        self.quiet().await;
        match self.try_into_std() {
            Ok(file) => Ok(file),
            Err(file) => {
                let Inner { owner, cursor, .. } = &**file.inner();
                cursor.discard(owner.file());
                let duplicate = owner.file().try_clone()?;
                owner.share_position();
                Ok(duplicate)
            }
        }
    }

    /// How many bytes one operation of the cursor carries at most; as
    /// `tokio::fs::File::max_buf_size`. 2 MiB, unless [set](Self::set_max_buf_size).
    #[must_use]
    pub fn max_buf_size(&self) -> usize {
        self.seat.max_buf_size
    }

    /// Sets how many bytes one operation of the cursor carries at most, through this handle and its
    /// future clones; as `tokio::fs::File::set_max_buf_size`.
    ///
    /// # Panics
    ///
    /// If it is 0.
    #[track_caller]
    pub fn set_max_buf_size(&mut self, max_buf_size: usize) {
        assert!(max_buf_size > 0, "`max_buf_size` must be greater than 0");
        self.seat.max_buf_size = max_buf_size;
    }

    /// Waits for what the cursor has under way; an error of a write that nobody was told of yet.
    pub(super) async fn settle(&self) -> io::Result<()> {
        self.quiet().await;
        match self.inner().cursor.lock().failed.take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// [`settle`](Self::settle); then the operating system's position is that of the cursor, and nothing
    /// that was read before is kept.
    pub(super) async fn settle_exactly(&self) -> io::Result<()> {
        self.settle().await?;
        let inner = self.inner();
        inner.cursor.lock().discard(inner.owner.file())
    }

    /// Waits for what the cursor has under way. Errors of writes are kept for who asks.
    pub(super) async fn quiet(&self) {
        let mut seat = self.seat.clone();
        poll_fn(|cx| {
            let mut turn = ready!(self.inner().poll_turn(&mut seat, Role::Other, cx));
            turn.keep_failure();
            Poll::Ready(())
        })
        .await;
    }
}

impl Fs {
    /// A file that std has open, driven by this pool; as `tokio::fs::File::from_std`. Its cursor stays
    /// where it is.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::io::Write;
    ///
    /// use landbridge::fs::Fs;
    /// use tokio::io::{AsyncReadExt, AsyncSeekExt};
    ///
    /// let pool = landbridge::CompioPool::builder().threads(1).build()?;
    /// let mut file = tempfile::tempfile()?;
    /// file.write_all(b"from std")?;
    ///
    /// let mut file = Fs::new(&pool).from_std(file);
    /// assert_eq!(file.stream_position().await?, 8);
    /// file.rewind().await?;
    /// let mut text = String::new();
    /// file.read_to_string(&mut text).await?;
    /// assert_eq!(text, "from std");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn from_std(&self, file: std::fs::File) -> File {
        let file = File::new(file, Arc::clone(self.shared()), self.nowait());
        // It may be one of several descriptors.
        file.inner().owner.share_position();
        file
    }
}

/// A duplicate of it, made by whatever way, has the same position: use one cursor or the other. Only that of
/// a file that came [from std](Fs::from_std), or went there as a duplicate, is kept as the kernel's own
/// `read(2)` and `write(2)` keep it, whoever else moves it.
impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner().owner.as_fd()
    }
}

impl AsRawFd for File {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// From the cursor, as `tokio::fs::File` reads. What is in the page cache is copied at once, on the
/// calling thread, if it is not more than the [limit](Fs::nowait_limit).
///
/// # Cancel safety
///
/// A read that was dropped half-way goes on; the next one gets its bytes.
///
/// # Errors
///
/// What the file system says; [`JoinError`] inside if the pool is gone.
impl AsyncRead for File {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        dst: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { inner, seat } = self.get_mut();
        ready!(pace::poll_turn(cx));
        loop {
            let mut turn = ready!(inner.poll_turn(seat, Role::Read, cx));
            match turn.end.take() {
                Some(End::Read(Err(error))) => return Poll::Ready(Err(error)),
                // The end of the file.
                Some(End::Read(Ok(0))) => return Poll::Ready(Ok(())),
                end => turn.end = end,
            }
            turn.keep_failure();
            if turn.has_unread() || dst.remaining() == 0 {
                turn.copy_to(dst);
                return Poll::Ready(Ok(()));
            }
            let wanted = dst.remaining().min(seat.max_buf_size);
            let now = inner.read_now_with(wanted, |file| {
                sys::read_unfilled(file, dst, wanted, Position::Cursor, sys::Blocking::No)
            });
            if let Some(read) = now {
                return Poll::Ready(read.map(drop));
            }
            turn.begin_read(&inner.owner, seat.id, wanted);
        }
    }
}

/// To the cursor, as `tokio::fs::File` writes: the bytes are taken, at most
/// [`max_buf_size`](Self::max_buf_size) of them, and are on their way when the call returns. `flush` waits
/// until they are with the file system; `shutdown` does no more than that.
///
/// # Cancel safety
///
/// A write that was dropped before it was ready has taken nothing. What was taken is written, also if the
/// file is dropped then; not if the pool is.
///
/// # Errors
///
/// What the file system says, [`JoinError`] inside if the pool is gone: once, to the next write, `flush`,
/// `shutdown`, [`sync_all`](Self::sync_all), [`sync_data`](Self::sync_data), [`set_len`](Self::set_len) or
/// [`close`](Self::close), of whichever clone.
impl AsyncWrite for File {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        src: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(src)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { inner, seat } = self.get_mut();
        let mut turn = ready!(inner.poll_written(seat, cx))?;
        if slices.iter().all(|slice| slice.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        if inner.owner.pool().is_closed() {
            return Poll::Ready(Err(JoinError::RuntimeGone.into()));
        }
        turn.discard(inner.owner.file())?;
        let n = turn.begin_write(&inner.owner, seat, slices);
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { inner, seat } = self.get_mut();
        inner.poll_written(seat, cx).map_ok(drop)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

/// Of the cursor, as `tokio::fs::File` seeks. A position after the file's end is none of the errors.
///
/// `start_seek` is an error while an operation of the same handle is under way; those of its clones are
/// waited for by `poll_complete`.
///
/// # Cancel safety
///
/// A seek that was dropped half-way may have happened.
///
/// # Errors
///
/// What the file system says. A seek from the end is done on one of the pool's blocking threads:
/// [`JoinError`] inside if there is none, or the pool is gone.
impl AsyncSeek for File {
    fn start_seek(self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        let Self { inner, seat } = self.get_mut();
        let mut state = inner.cursor.lock();
        let by_this_handle = |busy: &Busy| busy.by == seat.id;
        if seat.seek.is_some() || state.busy.as_ref().is_some_and(by_this_handle) {
            return Err(io::Error::other(
                "other file operation is pending, call poll_complete before start_seek",
            ));
        }
        seat.turns.expect(seat.id);
        match state.busy {
            None => state.begin_seek(&inner.owner, &inner.cursor.waker, seat.id, to),
            Some(_) => seat.seek = Some(to),
        }
        Ok(())
    }

    fn poll_complete(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        let Self { inner, seat } = self.get_mut();
        loop {
            if let Some(result) = seat.turns.sought(seat.id) {
                return Poll::Ready(result);
            }
            let mut turn = ready!(inner.poll_turn(seat, Role::Seek, cx));
            match turn.end.take() {
                Some(End::Seek(result)) => return Poll::Ready(result),
                None => return Poll::Ready(Ok(turn.position)),
                end => turn.end = end,
            }
            turn.keep_failure();
        }
    }
}

/// What the clones of a file share.
pub(super) struct Cursor {
    state: Mutex<State>,
    turns: Arc<Turns>,
    /// `turns`, as who is woken by an operation's end.
    waker: Waker,
}

impl Default for Cursor {
    fn default() -> Self {
        let turns = Arc::<Turns>::default();
        Self {
            state: Mutex::default(),
            waker: Waker::from(Arc::clone(&turns)),
            turns,
        }
    }
}

impl Cursor {
    /// For the first handle. Its clones have their own.
    pub(super) fn seat(&self) -> Seat {
        Seat::new(&self.turns, MAX_BUF_SIZE)
    }

    /// Whether an operation is still under way. One that has come to its end meanwhile is not, and is
    /// seen to.
    pub(super) fn is_busy(&self) -> bool {
        let mut state = self.lock();
        let Some(by) = state.busy.as_ref().map(|busy| busy.by) else {
            return false;
        };
        match state.poll_end(&mut Context::from_waker(&self.waker)) {
            Poll::Pending => return true,
            Poll::Ready(End::Read(_)) => {}
            Poll::Ready(End::Write(written)) => state.failed = written.err(),
            Poll::Ready(End::Seek(sought)) => self.turns.bring(by, sought),
        }
        false
    }

    /// A read that is under way, though nobody waits for it, is not to hold anybody up.
    pub(super) fn give_up_read(&self) {
        let mut state = self.lock();
        let read = state
            .busy
            .take_if(|busy| matches!(busy.doing, Doing::Read(_)));
        drop(state);
        // Cancels it.
        drop(read);
    }

    /// Moves the operating system's position to where the cursor is, for who goes on without it.
    pub(super) fn discard(&self, file: &std::fs::File) {
        // What has no position keeps none.
        _ = self.lock().discard(file);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing of it is ever half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor")
            .field("busy", &self.lock().busy.is_some())
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// Ready when nothing is under way: what just came to its end, if it was this poll that found it so.
    fn poll_turn<'a>(
        &'a self,
        seat: &mut Seat,
        role: Role,
        cx: &mut Context<'_>,
    ) -> Poll<Turn<'a>> {
        let mut waits = false;
        let mut by_cursor = Context::from_waker(&self.cursor.waker);
        loop {
            let mut state = self.cursor.lock();
            let Some(by) = state.busy.as_ref().map(|busy| busy.by) else {
                let Some(to) = seat.seek.take() else {
                    let stale = waits.then(|| seat.turns.leave(seat.id, role)).flatten();
                    return Poll::Ready(Turn::new(state, None, stale));
                };
                state.begin_seek(&self.owner, &self.cursor.waker, seat.id, to);
                continue;
            };
            if !waits {
                // A waker is foreign.
                drop(state);
                seat.turns.wait(seat.id, role, cx.waker());
                waits = true;
                continue;
            }
            let end = ready!(state.poll_end(&mut by_cursor));
            let stale = seat.turns.leave(seat.id, role);
            match end {
                End::Seek(result) if by != seat.id => {
                    seat.turns.bring(by, result);
                    drop(state);
                    drop(stale);
                    waits = false;
                }
                end if seat.seek.is_some() => {
                    if let End::Write(Err(error)) = end {
                        state.failed = Some(error);
                    }
                    drop(state);
                    drop(stale);
                    waits = false;
                }
                end => return Poll::Ready(Turn::new(state, Some(end), stale)),
            }
        }
    }

    /// [`poll_turn`](Self::poll_turn) of those who are told of writes that failed.
    fn poll_written<'a>(
        &'a self,
        seat: &mut Seat,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Turn<'a>>> {
        if let Some(error) = self.cursor.lock().failed.take() {
            return Poll::Ready(Err(error));
        }
        let mut turn = ready!(self.poll_turn(seat, Role::Write, cx));
        turn.keep_failure();
        match turn.failed.take() {
            Some(error) => Poll::Ready(Err(error)),
            None => Poll::Ready(Ok(turn)),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    busy: Option<Busy>,
    /// What was read. Its first `taken` bytes have been given to readers.
    read: Vec<u8>,
    taken: usize,
    /// For the next operation.
    spare: Vec<u8>,
    /// What became of a write, until somebody is told.
    failed: Option<io::Error>,
    /// Where the last seek led.
    position: u64,
}

/// What is under way.
#[derive(Debug)]
struct Busy {
    /// The handle that began it.
    by: u64,
    doing: Doing,
}

#[derive(Debug)]
enum Doing {
    Read(Cancelled<(io::Result<usize>, Vec<u8>)>),
    /// Goes on without its handle.
    Write(JoinHandle<(io::Result<()>, Vec<u8>)>),
    Seek(RunBlocking<SeekFromEnd, io::Result<u64>>),
    /// A seek that was done at once.
    Sought(Option<io::Result<u64>>),
}

type SeekFromEnd = Box<dyn FnOnce() -> io::Result<u64> + Send>;

/// How an operation ended. The bytes of a read are in the state.
#[derive(Debug)]
enum End {
    Read(io::Result<usize>),
    Write(io::Result<()>),
    Seek(io::Result<u64>),
}

impl State {
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let Some(Busy { doing, .. }) = &mut self.busy else {
            unreachable!("only called while something is under way")
        };
        let end = match doing {
            Doing::Read(read) => {
                let (result, buffer) = ready!(read.poll(cx)).unwrap_or_else(lost);
                match result {
                    Ok(n) => (self.taken, self.read) = (buffer.len() - n, buffer),
                    Err(_) => self.spare = buffer,
                }
                End::Read(result)
            }
            Doing::Write(write) => {
                let (result, buffer) = ready!(Pin::new(write).poll(cx)).unwrap_or_else(lost);
                self.spare = buffer;
                End::Write(result)
            }
            Doing::Seek(seek) => {
                let result = ready!(Pin::new(seek).poll(cx)).unwrap_or_else(|e| Err(e.into()));
                End::Seek(result)
            }
            Doing::Sought(result) => End::Seek(result.take().expect("taken once")),
        };
        if let End::Seek(Ok(position)) = end {
            self.position = position;
        }
        self.busy = None;
        Poll::Ready(end)
    }

    fn begin_read(&mut self, owner: &Arc<Owner>, by: u64, wanted: usize) {
        let buffer = self.buffer(wanted);
        let owner = Arc::clone(owner);
        let pool = Arc::clone(owner.pool());
        let read = spawn(
            pool.pick(),
            move || read(owner, buffer, wanted),
            Location::caller(),
        );
        self.busy = Some(Busy {
            by,
            doing: Doing::Read(Cancelled(read)),
        });
    }

    /// How many bytes of `slices` it has taken.
    fn begin_write(&mut self, owner: &Arc<Owner>, seat: &Seat, slices: &[IoSlice<'_>]) -> usize {
        let all = slices
            .iter()
            .fold(0, |all: usize, slice| all.saturating_add(slice.len()));
        let n = all.min(seat.max_buf_size);
        let mut buffer = self.buffer(n);
        let start = buffer.len();
        for slice in slices {
            let room = start + n - buffer.len();
            buffer.extend_from_slice(&slice[..room.min(slice.len())]);
        }
        let owner = Arc::clone(owner);
        let pool = Arc::clone(owner.pool());
        let write = spawn(
            pool.pick(),
            move || write_all(owner, buffer, start),
            Location::caller(),
        );
        self.busy = Some(Busy {
            by: seat.id,
            doing: Doing::Write(write),
        });
        n
    }

    /// For so many bytes from its length on, which is where direct I/O may want them to begin.
    fn buffer(&mut self, wanted: usize) -> Vec<u8> {
        let mut buffer = mem::take(&mut self.spare);
        buffer.clear();
        buffer.reserve(wanted.saturating_add(ALIGNMENT));
        buffer.resize(buffer.as_ptr().align_offset(ALIGNMENT), 0);
        buffer
    }

    /// From the start and from where it is, the kernel only sets a number. The file's end it may have to
    /// ask a server for.
    fn begin_seek(&mut self, owner: &Arc<Owner>, waker: &Waker, by: u64, to: SeekFrom) {
        let doing = match (self.discard(owner.file()), to) {
            (Err(error), _) => Doing::Sought(Some(Err(error))),
            (Ok(()), SeekFrom::End(_)) => {
                let threads = Arc::clone(owner.pool().blocking());
                let owner = Arc::clone(owner);
                let seek: SeekFromEnd = Box::new(move || owner.file().seek(to));
                let mut seek = RunBlocking::new(threads, seek);
                match Pin::new(&mut seek).poll(&mut Context::from_waker(waker)) {
                    Poll::Ready(done) => {
                        Doing::Sought(Some(done.unwrap_or_else(|e| Err(e.into()))))
                    }
                    Poll::Pending => Doing::Seek(seek),
                }
            }
            (Ok(()), _) => Doing::Sought(Some(owner.file().seek(to))),
        };
        self.busy = Some(Busy { by, doing });
    }

    fn unread(&self) -> &[u8] {
        &self.read[self.taken..]
    }

    fn has_unread(&self) -> bool {
        !self.unread().is_empty()
    }

    fn copy_to(&mut self, dst: &mut ReadBuf<'_>) {
        let n = self.unread().len().min(dst.remaining());
        dst.put_slice(&self.unread()[..n]);
        self.taken += n;
        if !self.has_unread() {
            self.forget_read();
        }
    }

    /// Gives what was read, and not asked for since, back to the file. What has no positions, such as a
    /// FIFO, takes nothing back: it stays for the next reader.
    fn discard(&mut self, mut file: &std::fs::File) -> io::Result<()> {
        if !self.has_unread() {
            return Ok(());
        }
        let back = SeekFrom::Current(-(self.unread().len() as i64));
        match file.seek(back) {
            Err(error) if error.kind() == io::ErrorKind::NotSeekable => Ok(()),
            Err(error) => Err(error),
            Ok(_) => {
                self.forget_read();
                Ok(())
            }
        }
    }

    /// Nothing of it is wanted any more; the memory is.
    fn forget_read(&mut self) {
        self.spare = mem::take(&mut self.read);
        self.taken = 0;
    }
}

fn lost<T>(error: JoinError) -> (io::Result<T>, Vec<u8>) {
    (Err(error.into()), Vec::new())
}

/// Once, to the buffer's end.
async fn read(
    owner: Arc<Owner>,
    mut buffer: Vec<u8>,
    wanted: usize,
) -> (io::Result<usize>, Vec<u8>) {
    loop {
        let place = Place::of(&owner, false);
        let start = buffer.len();
        let slice = buffer.slice(start..start + wanted);
        let read = Read::new(Arc::clone(&owner), slice, place.position());
        let done = match place {
            Place::Shared => read.run_on_a_thread().await,
            _ => read.run().await,
        };
        match done {
            Ok((n, slice)) => {
                place.advance(owner.file(), n);
                return (Ok(n), slice.into_inner());
            }
            Err(error) => match again(error.map_buffer(IntoInner::into_inner)) {
                Ok(same) => buffer = same,
                Err((error, buffer)) => return (Err(error), buffer),
            },
        }
    }
}

async fn write_all(
    owner: Arc<Owner>,
    mut buffer: Vec<u8>,
    start: usize,
) -> (io::Result<()>, Vec<u8>) {
    let mut written = start;
    while written < buffer.len() {
        let place = Place::of(&owner, true);
        let rest = buffer.slice(written..);
        let write = Write::new(Arc::clone(&owner), rest, place.position());
        let done = match place {
            Place::Shared => write.run_on_a_thread().await,
            _ => write.run().await,
        };
        match done {
            Ok((0, rest)) => return (Err(io::ErrorKind::WriteZero.into()), rest.into_inner()),
            Ok((n, rest)) => {
                place.advance(owner.file(), n);
                written += n;
                buffer = rest.into_inner();
            }
            Err(error) => match again(error.map_buffer(IntoInner::into_inner)) {
                Ok(same) => buffer = same,
                Err((error, buffer)) => return (Err(error), buffer),
            },
        }
    }
    (Ok(()), buffer)
}

/// Where the cursor is, for an operation on the worker that this runs on.
///
/// A ring does take "at the cursor", but leaves the cursor where it was if an error cuts the operation
/// short, and with direct I/O. So where there are positions, it is told the position, and the cursor is
/// moved afterwards.
#[derive(Clone, Copy)]
enum Place {
    /// There, and the cursor is moved afterwards.
    At(u64),
    /// The kernel moves it, if there is one.
    Cursor,
    /// Others may move it meanwhile, and only `read(2)` and `write(2)` keep them out.
    Shared,
}

impl Place {
    fn of(owner: &Owner, to_write: bool) -> Self {
        let mut file = owner.file();
        // What is appended goes to the end in any case, and only the kernel knows where that was.
        if !has_ring() || (to_write && sys::appends(file)) {
            return Self::Cursor;
        }
        match file.stream_position() {
            Ok(_) if owner.shares_position() => Self::Shared,
            Ok(position) => Self::At(position),
            Err(_) => Self::Cursor,
        }
    }

    const fn position(self) -> Position {
        match self {
            Self::At(position) => Position::At(position),
            Self::Cursor | Self::Shared => Position::Cursor,
        }
    }

    fn advance(self, mut file: &std::fs::File, bytes: usize) {
        if let Self::At(position) = self {
            // It had a position before, and this is one.
            _ = file.seek(SeekFrom::Start(position + bytes as u64));
        }
    }
}

/// The buffer, if it was only a signal; else the error.
fn again(error: BufError<Vec<u8>>) -> Result<Vec<u8>, (io::Error, Vec<u8>)> {
    match error.into_parts() {
        (error, Some(buffer)) if error.kind() == io::ErrorKind::Interrupted => Ok(buffer),
        (error, buffer) => Err((error, buffer.unwrap_or_default())),
    }
}

/// Work that is cancelled when nobody waits for it any more, though it is begun at once.
#[derive(Debug)]
struct Cancelled<T>(JoinHandle<T>);

impl<T> Cancelled<T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Drop for Cancelled<T> {
    fn drop(&mut self) {
        if !self.0.is_finished() {
            self.0.abort();
        }
    }
}

/// Nothing is under way, and nobody else begins anything, until this is dropped.
struct Turn<'a> {
    state: MutexGuard<'a, State>,
    end: Option<End>,
    /// Foreign: dropped after the lock.
    _stale: Option<Waker>,
}

impl<'a> Turn<'a> {
    const fn new(state: MutexGuard<'a, State>, end: Option<End>, stale: Option<Waker>) -> Self {
        Self {
            state,
            end,
            _stale: stale,
        }
    }

    /// If a write has failed, that is for whoever is to be told.
    fn keep_failure(&mut self) {
        if let Some(End::Write(Err(error))) = self.end.take() {
            self.state.failed = Some(error);
        }
    }
}

impl Deref for Turn<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Turn<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

/// What a handle waits as: a reader and a writer of one handle may be two tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Read,
    Write,
    Seek,
    Other,
}

/// What each handle has for itself.
pub(super) struct Seat {
    id: u64,
    turns: Arc<Turns>,
    max_buf_size: usize,
    /// To be begun at the end of another handle's operation.
    seek: Option<SeekFrom>,
}

impl Seat {
    fn new(turns: &Arc<Turns>, max_buf_size: usize) -> Self {
        Self {
            id: turns.next_id.fetch_add(1, Ordering::Relaxed),
            turns: Arc::clone(turns),
            max_buf_size,
            seek: None,
        }
    }
}

impl Clone for Seat {
    fn clone(&self) -> Self {
        Self::new(&self.turns, self.max_buf_size)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.turns.forget(self.id);
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").field("id", &self.id).finish()
    }
}

/// Who waits for the end of what is under way.
#[derive(Debug, Default)]
struct Turns {
    next_id: AtomicU64,
    seats: Mutex<Seats>,
}

#[derive(Debug, Default)]
struct Seats {
    /// No seat and role twice.
    waiting: VecDeque<(u64, Role, Waker)>,
    /// The seeks of those who live, and what became of them if another handle saw it.
    seeks: Vec<(u64, Option<io::Result<u64>>)>,
}

impl Turns {
    /// Whoever waits in this role of this seat is the next to be told; nobody is told twice.
    fn wait(&self, seat: u64, role: Role, waker: &Waker) {
        let mut clone = None;
        loop {
            let mut seats = self.lock();
            let mut all = seats.waiting.iter_mut();
            let place = all.find(|(of, as_what, _)| (*of, *as_what) == (seat, role));
            if let Some((.., there)) = &place
                && there.will_wake(waker)
            {
                return;
            }
            let Some(waker) = clone.take() else {
                drop(seats);
                clone = Some(waker.clone());
                continue;
            };
            match place {
                Some((.., there)) => {
                    let replaced = mem::replace(there, waker);
                    drop(seats);
                    drop(replaced);
                }
                None => seats.waiting.push_back((seat, role, waker)),
            }
            return;
        }
    }

    /// Does not wait any more.
    fn leave(&self, seat: u64, role: Role) -> Option<Waker> {
        let mut seats = self.lock();
        let mut all = seats.waiting.iter();
        let place = all.position(|(of, as_what, _)| (*of, *as_what) == (seat, role))?;
        seats.waiting.remove(place).map(|(.., waker)| waker)
    }

    /// The seat's handle is gone.
    fn forget(&self, seat: u64) {
        let mut seats = self.lock();
        seats.seeks.retain(|(of, _)| *of != seat);
        let mut gone = Vec::new();
        while let Some(place) = seats.waiting.iter().position(|(of, ..)| *of == seat) {
            gone.extend(seats.waiting.remove(place));
        }
        drop(seats);
        drop(gone);
    }

    /// A seek of this seat is begun, or will be.
    fn expect(&self, seat: u64) {
        let mut seats = self.lock();
        match seats.seeks.iter_mut().find(|(of, _)| *of == seat) {
            Some((_, result)) => *result = None,
            None => seats.seeks.push((seat, None)),
        }
    }

    /// What became of the seek of another seat, if that is still there.
    fn bring(&self, seat: u64, sought: io::Result<u64>) {
        let mut seats = self.lock();
        if let Some((_, result)) = seats.seeks.iter_mut().find(|(of, _)| *of == seat) {
            *result = Some(sought);
        }
    }

    /// What became of this seat's seek, if another one brought it.
    fn sought(&self, seat: u64) -> Option<io::Result<u64>> {
        let mut seats = self.lock();
        let (_, result) = seats.seeks.iter_mut().find(|(of, _)| *of == seat)?;
        result.take()
    }

    fn lock(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Turns {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Who comes meanwhile has seen the end himself, or waits for another.
        let all = self.lock().waiting.len();
        for _ in 0..all {
            let Some((.., waker)) = self.lock().waiting.pop_front() else {
                break;
            };
            unwind::wake(waker);
        }
    }
}
