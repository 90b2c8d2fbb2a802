//! Compio's files behind Tokio's traits.

mod engine;

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice, SeekFrom};
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use compio::fs::File;
use compio::runtime::Runtime;
use tokio::io::{AsyncRead, AsyncSeek, AsyncWrite, ReadBuf};

use self::engine::{End, Engine, Order};
use super::compio_as_tokio::InFlight;

/// How many bytes one operation carries at most, unless it is set: what Tokio's files do.
const MAX_BUF_SIZE: usize = 2 << 20;

/// A Compio file that speaks Tokio's [`AsyncRead`], [`AsyncWrite`] and [`AsyncSeek`], as `tokio::fs::File` does.
///
/// - One cursor for reads and writes. It begins where the operating system has it: at the start of a file that
///   Compio opened, where the last owner left it with one that was
///   [handed over](crate::handoff::file_to_compio).
/// - One operation at a time: whatever comes while one is under way waits for it first.
/// - The end of the file is not sticky: what is appended later is read later.
/// - A write takes at most [`max_buf_size`](Self::max_buf_size) bytes and is on its way when it returns, though
///   nobody polls the file any more, and also if it is dropped then, as long as the runtime is driven: a pool's
///   shutdown waits for it; before a runtime of your own is dropped, flush (Tokio's files outlive theirs for one
///   operation). `flush` waits until they are with the file system; `shutdown` does no more than that. Nothing is
///   synced.
/// - A write that failed is told once, to the next write, flush or shutdown.
/// - What is appended (`O_APPEND`) goes to the end, and the cursor with it.
///
/// One copy each way, through a buffer that belongs to the shim and is as large as the largest operation was. No
/// allocation per operation beyond what Compio makes itself.
///
/// It is for files that have positions: others, such as a FIFO or a terminal, are refused. A pipe of Compio's goes
/// through [`CompioReadAsTokio`](super::CompioReadAsTokio) or [`CompioWriteAsTokio`](super::CompioWriteAsTokio).
///
/// The guide: [streams and buffers](crate::guide::io).
///
/// # Where it runs
///
/// On the thread that made it, within the Compio runtime that the file belongs to: it is not `Send`. The first
/// write starts one helper task there, which ends with the shim. For files that are used from everywhere there is
/// [`landbridge::fs`](crate::fs).
///
/// # Cancel safety
///
/// A read that is dropped half-way goes on; the next one gets its bytes, and a write or a seek goes back to
/// before them. A write that was dropped before it was ready has taken nothing. A seek that is dropped half-way
/// may have happened.
///
/// # Errors
///
/// What the file system says. Outside of a Compio runtime, and once the file's own is gone, everything that has to
/// do with the file is an error.
///
/// # Examples
///
/// ```
/// use landbridge::io::IntoTokioIo;
/// use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
///
/// # compio::runtime::Runtime::new()?.block_on(async {
/// let directory = tempfile::tempdir()?;
/// let mut options = compio::fs::OpenOptions::new();
/// options.read(true).write(true).create(true);
/// let file = options.open(directory.path().join("file")).await?;
///
/// let mut file = file.into_tokio_io();
/// file.write_all(b"over the bridge").await?;
/// file.rewind().await?;
/// let mut text = String::new();
/// file.read_to_string(&mut text).await?;
/// assert_eq!(text, "over the bridge");
///
/// let (file, error) = file.into_parts().expect("nothing is in flight");
/// assert_eq!(file.metadata().await?.len(), 15);
/// assert!(error.is_none());
/// # std::io::Result::Ok(()) })?;
/// # std::io::Result::Ok(())
/// ```
pub struct FileAsTokio {
    file: File,
    engine: Rc<Engine>,
    under_way: Option<Doing>,
    /// Where the next operation begins: after what is in `read`. None for what has no positions.
    position: Option<u64>,
    /// What was read. Its first `taken` bytes have been given to readers.
    read: Vec<u8>,
    taken: usize,
    /// For the next operation.
    spare: Vec<u8>,
    /// What became of a write, until somebody is told.
    failed: Option<io::Error>,
    /// A seek that was done at once, until somebody asks.
    sought: Option<io::Result<u64>>,
    /// Where the last seek led.
    last: u64,
    max_buf_size: usize,
    appends: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Read,
    Write,
    /// So far from the end, which is being asked for.
    Seek(i64),
}

impl FileAsTokio {
    /// Wraps a file; the cursor begins where the operating system has it.
    #[must_use]
    pub fn new(file: File) -> Self {
        Self {
            engine: Engine::new(file.clone()),
            under_way: None,
            position: place::current(&file),
            read: Vec::new(),
            taken: 0,
            spare: Vec::new(),
            failed: None,
            sought: None,
            last: 0,
            max_buf_size: MAX_BUF_SIZE,
            appends: place::appends(&file),
            file,
        }
    }

    /// How many bytes one operation carries at most; as `tokio::fs::File::max_buf_size`. 2 MiB, unless
    /// [set](Self::set_max_buf_size).
    #[must_use]
    pub fn max_buf_size(&self) -> usize {
        self.max_buf_size
    }

    /// Sets how many bytes one operation carries at most; as `tokio::fs::File::set_max_buf_size`.
    ///
    /// # Panics
    ///
    /// If it is 0.
    #[track_caller]
    pub fn set_max_buf_size(&mut self, max_buf_size: usize) {
        assert!(max_buf_size > 0, "`max_buf_size` must be greater than 0");
        self.max_buf_size = max_buf_size;
    }

    /// The file, for what is not about the cursor: `metadata`, `sync_all`, calls with a position. What was
    /// written here may still be under way: flush first.
    #[must_use]
    pub fn get_ref(&self) -> &File {
        &self.file
    }

    /// The file, and an error of a write that nobody was told. The operating system's cursor is where this one
    /// was, so that a [hand-off](crate::handoff::file_to_std) takes it along.
    ///
    /// # Errors
    ///
    /// Gives the shim back while an operation is in flight: flush first, or use
    /// [`into_parts_when_idle`](Self::into_parts_when_idle).
    #[expect(
        clippy::result_large_err,
        reason = "it is the shim itself, as large as it came"
    )]
    pub fn into_parts(mut self) -> Result<(File, Option<io::Error>), InFlight<Self>> {
        self.see_to_end();
        if self.under_way.is_some() {
            return Err(InFlight(self));
        }
        self.give_back_unread();
        if let Some(position) = self.position {
            // It was there before, or the kernel has read or written there.
            _ = place::seek(&self.file, SeekFrom::Start(position), position);
        }
        Ok((self.file.clone(), self.failed.take()))
    }

    /// [`into_parts`](Self::into_parts), once no operation is in flight.
    ///
    /// # Cancel safety
    ///
    /// Dropping this drops the shim.
    ///
    /// # Errors
    ///
    /// Gives the shim back if what it waits for can never come, because the runtime is gone.
    pub async fn into_parts_when_idle(
        mut self,
    ) -> Result<(File, Option<io::Error>), InFlight<Self>> {
        poll_fn(|cx| {
            let end = ready!(self.poll_end(cx));
            self.keep_failure(end);
            Poll::Ready(())
        })
        .await;
        self.into_parts()
    }

    fn unread(&self) -> &[u8] {
        &self.read[self.taken..]
    }

    /// The cursor back to before what was read for nobody.
    fn give_back_unread(&mut self) {
        let unread = self.unread().len() as u64;
        self.position = self.position.map(|position| position - unread);
        self.forget_read();
    }

    /// Nothing of it is wanted any more; the memory is.
    fn forget_read(&mut self) {
        if self.read.capacity() > self.spare.capacity() {
            self.spare = mem::take(&mut self.read);
        }
        self.read.clear();
        self.taken = 0;
    }

    /// An empty buffer of this capacity at least.
    fn buffer(&mut self, capacity: usize) -> Vec<u8> {
        let mut buffer = mem::take(&mut self.spare);
        buffer.clear();
        buffer.reserve(capacity);
        buffer
    }

    fn begin(&mut self, doing: Doing, order: Order) {
        self.under_way = Some(doing);
        self.engine.order(order);
    }

    /// Ready when nothing is under way: what just came to its end, if it was this poll that found it so.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Option<End>> {
        let Some(doing) = self.under_way else {
            return Poll::Ready(None);
        };
        let end = match self.engine.delivery() {
            Some(end) => end,
            None => {
                let end = match doing {
                    Doing::Write => ready!(self.engine.poll_helper(cx)),
                    Doing::Read | Doing::Seek(_) => ready!(self.engine.poll_here(cx)),
                };
                end.unwrap_or_else(|error| match doing {
                    Doing::Read => End::Read(Err(error), Vec::new()),
                    Doing::Write => End::Write(Err(error), self.position.unwrap_or(0), Vec::new()),
                    Doing::Seek(_) => End::Size(Err(error)),
                })
            }
        };
        Poll::Ready(Some(self.note(doing, end)))
    }

    /// Notes what has come to its end meanwhile, without waiting for anything.
    fn see_to_end(&mut self) {
        if let Some(doing) = self.under_way
            && let Some(end) = self.engine.delivery()
        {
            let end = self.note(doing, end);
            self.keep_failure(Some(end));
        }
    }

    /// What an end means for the cursor and the buffers.
    fn note(&mut self, doing: Doing, mut end: End) -> End {
        self.under_way = None;
        match &mut end {
            End::Read(result, buffer) => {
                let buffer = mem::take(buffer);
                if let Ok(count) = result {
                    self.position = self.position.map(|position| position + *count as u64);
                    (self.read, self.taken) = (buffer, 0);
                } else {
                    self.spare = buffer;
                }
            }
            End::Write(_, after, buffer) => {
                self.position = Some(*after);
                self.spare = mem::take(buffer);
            }
            End::Size(size) => {
                let Doing::Seek(offset) = doing else {
                    unreachable!("only a seek asks for it")
                };
                // Too far is for the kernel to say, and before the start is the same to it.
                let to = |size: u64| SeekFrom::Start(size.wrapping_add_signed(offset));
                let size = mem::replace(size, Ok(None));
                let sought = size.map(|size| size.map_or(SeekFrom::End(offset), to));
                self.sought = Some(sought.and_then(|to| self.seek_now(to)));
            }
        }
        end
    }

    /// A failure of a write is for those who write.
    fn keep_failure(&mut self, end: Option<End>) {
        if let Some(End::Write(Err(error), ..)) = end {
            self.failed = Some(error);
        }
    }

    /// [`poll_end`](Self::poll_end) of those who are told of writes that failed.
    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        match ready!(self.poll_end(cx)) {
            Some(End::Write(Err(error), ..)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Where the next operation begins.
    fn place(&self) -> io::Result<u64> {
        if Runtime::try_with_current(|_| ()).is_err() {
            return Err(io::Error::other(
                "a Compio file is used outside of a Compio runtime",
            ));
        }
        self.position.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::Unsupported,
                "this file has no positions, so it has no cursor",
            )
        })
    }

    fn seek_now(&mut self, to: SeekFrom) -> io::Result<u64> {
        let sought = place::seek(&self.file, to, self.place()?)?;
        self.position = Some(sought);
        Ok(sought)
    }
}

impl AsyncRead for FileAsTokio {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        dst: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match ready!(this.poll_end(cx)) {
                Some(End::Read(Err(error), _)) => return Poll::Ready(Err(error)),
                // The end of the file.
                Some(End::Read(Ok(0), _)) => return Poll::Ready(Ok(())),
                end => this.keep_failure(end),
            }
            if !this.unread().is_empty() || dst.remaining() == 0 {
                let count = this.unread().len().min(dst.remaining());
                dst.put_slice(&this.unread()[..count]);
                this.taken += count;
                if this.unread().is_empty() {
                    this.forget_read();
                }
                return Poll::Ready(Ok(()));
            }
            let wanted = dst.remaining().min(this.max_buf_size);
            let at = this.place()?;
            this.forget_read();
            let buffer = this.buffer(wanted);
            let order = Order::Read { buffer, wanted, at };
            this.begin(Doing::Read, order);
        }
    }
}

impl AsyncWrite for FileAsTokio {
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
        let this = self.get_mut();
        ready!(this.poll_written(cx))?;
        let offered = slices
            .iter()
            .fold(0, |sum: usize, slice| sum.saturating_add(slice.len()));
        let count = offered.min(this.max_buf_size);
        if count == 0 {
            return Poll::Ready(Ok(0));
        }
        this.give_back_unread();
        let at = this.place()?;
        this.engine.start_helper()?;
        let mut buffer = this.buffer(count);
        for slice in slices {
            let room = count - buffer.len();
            buffer.extend_from_slice(&slice[..room.min(slice.len())]);
        }
        let appends = this.appends;
        let order = Order::Write {
            buffer,
            at,
            appends,
        };
        this.begin(Doing::Write, order);
        this.engine.submit(cx);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_written(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

impl AsyncSeek for FileAsTokio {
    fn start_seek(self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        let this = self.get_mut();
        if this.under_way.is_some() {
            return Err(io::Error::other(
                "other file operation is pending, call poll_complete before start_seek",
            ));
        }
        this.give_back_unread();
        match to {
            // A network's file system may have to ask for it.
            SeekFrom::End(offset) => {
                this.place()?;
                this.begin(Doing::Seek(offset), Order::Size);
            }
            to => this.sought = Some(this.seek_now(to)),
        }
        Ok(())
    }

    fn poll_complete(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        let this = self.get_mut();
        loop {
            if let Some(sought) = this.sought.take() {
                if let Ok(position) = sought {
                    this.last = position;
                }
                return Poll::Ready(sought);
            }
            match ready!(this.poll_end(cx)) {
                None => return Poll::Ready(Ok(this.last)),
                end => this.keep_failure(end),
            }
        }
    }
}

impl super::IntoTokioIo for File {
    type Io = FileAsTokio;

    fn into_tokio_io(self) -> FileAsTokio {
        FileAsTokio::new(self)
    }
}

impl Drop for FileAsTokio {
    fn drop(&mut self) {
        self.engine.close();
    }
}

impl fmt::Debug for FileAsTokio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileAsTokio")
            .field("file", &self.file)
            .field("position", &self.position)
            .field("under_way", &self.under_way)
            .finish_non_exhaustive()
    }
}

/// Where the operating system has the cursor.
#[cfg(unix)]
mod place {
    use std::io::{self, SeekFrom};

    use compio::fs::File;
    use rustix::fs::{OFlags, SeekFrom as To, fcntl_getfl, seek as lseek, tell};

    pub(super) fn current(file: &File) -> Option<u64> {
        tell(file).ok()
    }

    pub(super) fn appends(file: &File) -> bool {
        fcntl_getfl(file).is_ok_and(|flags| flags.contains(OFlags::APPEND))
    }

    /// The kernel only sets a number, and knows which it will not have.
    pub(super) fn seek(file: &File, to: SeekFrom, from: u64) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(position) => To::Start(position),
            SeekFrom::End(offset) => To::End(offset),
            SeekFrom::Current(offset) => {
                lseek(file, To::Start(from))?;
                To::Current(offset)
            }
        };
        Ok(lseek(file, to)?)
    }
}

/// There is no cursor but this one.
#[cfg(not(unix))]
mod place {
    use std::io::{self, SeekFrom};

    use compio::fs::File;

    pub(super) fn current(_file: &File) -> Option<u64> {
        Some(0)
    }

    pub(super) fn appends(_file: &File) -> bool {
        false
    }

    pub(super) fn seek(_file: &File, to: SeekFrom, from: u64) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(offset) => from.checked_add_signed(offset),
            SeekFrom::End(_) => None,
        };
        position
            .filter(|position| i64::try_from(*position).is_ok())
            .ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}
