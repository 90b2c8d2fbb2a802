//! Copying from one runtime's stream to the other's.
//!
//! The buffer is Compio's to own, so it is made once and goes to and fro: Compio's stream has it for the time
//! of an operation, Tokio's reads into it and writes from it in place. There is no other buffer.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use compio_buf::{BufResult, IntoInner, IoBuf};
use compio_io::util::Splittable;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::progress::after_write;

/// What a buffer has while it waits for little: what `tokio::io::copy` has.
const SMALL: usize = 8 * 1024;
/// What it has once a read has filled that, for as long as reads bring a quarter of it.
const LARGE: usize = 256 * 1024;

/// So many large buffers a thread keeps, 2 MiB, for whoever needs one next.
const KEPT: usize = 8;

/// So many buffers in a row are copied before the task's neighbours get their turn.
const IN_A_ROW: u32 = 32;

/// Copies all of a reader into a writer, one of them Tokio's and the other Compio's, until the reader ends,
/// and flushes the writer; how many bytes that was. As [`tokio::io::copy`], across the line.
///
/// No copy between the two but for the one buffer, which Compio's side owns while it uses it: 8 KiB, and 256 KiB
/// while there is that much to copy. A thread keeps up to 8 large ones for all that it copies, so nothing is
/// allocated for a piece of the stream. When the reader has nothing at hand, the writer is flushed.
///
/// # Where it runs
///
/// Where Compio's stream may be used: on its thread, within its runtime. Tokio's stream wakes it from there.
///
/// # Cancel safety
///
/// Dropping it loses what has been read and not yet written. What has been written stays written.
///
/// # Errors
///
/// That of the side that failed first. [`WriteZero`](io::ErrorKind::WriteZero) if the writer takes nothing;
/// [`InvalidData`](io::ErrorKind::InvalidData) if a stream says that it did more than it was asked to.
///
/// # Panics
///
/// Only if one of the streams panics.
///
/// # Examples
///
/// ```
/// use landbridge::io;
///
/// # futures::executor::block_on(async {
/// let (mut tokio, mut peer) = tokio::io::duplex(64);
/// let mut compio = &b"over the bridge"[..];
///
/// assert_eq!(io::copy(&mut compio, &mut tokio).await?, 15);
/// drop(tokio);
/// let mut compio = Vec::new();
/// assert_eq!(io::copy(&mut peer, &mut compio).await?, 15);
/// assert_eq!(compio, b"over the bridge");
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
pub async fn copy<R, W, Way>(reader: &mut R, writer: &mut W) -> io::Result<u64>
where
    R: CopyTo<W, Way> + ?Sized,
    W: ?Sized,
{
    reader.copy_to(writer, SMALL, LARGE).await
}

/// Copies between a Tokio stream and a Compio stream in both directions, until both have ended; how many bytes
/// went from Tokio's to Compio's, and back. As [`tokio::io::copy_bidirectional`], across the line.
///
/// When one side ends, the other is flushed and shut down, and the way back goes on.
///
/// Compio's stream is given as what splits into independent halves: a socket by reference, so that it is there
/// afterwards, or a tuple `(reader, writer)`. A stream whose halves share a lock will not do: a read that waits
/// would hold up every write.
///
/// Each direction has a buffer of its own, as [`copy`] has it.
///
/// The guide: [streams and buffers](crate::guide::io).
///
/// # Where it runs
///
/// Where Compio's stream may be used: on its thread, within its runtime. Tokio's stream wakes it from there.
///
/// # Cancel safety
///
/// Dropping it loses what has been read and not yet written, in both directions; with Compio's stream that may
/// include what a read in flight brings. What has been written stays written.
///
/// # Errors
///
/// That of the side that failed first; both directions end with it. Otherwise as [`copy`].
///
/// # Panics
///
/// Only if one of the streams panics.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "net")]
/// # {
/// use compio::net::{TcpListener, TcpStream};
/// use landbridge::io;
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # compio::runtime::Runtime::new()?.block_on(async {
/// // A gateway: who comes in by Tokio goes on by Compio.
/// let upstream = TcpListener::bind("127.0.0.1:0").await?;
/// let mut compio = TcpStream::connect(upstream.local_addr()?).await?;
/// let (mut tokio, mut client) = tokio::io::duplex(64);
///
/// # let (_, copied) = futures::future::join(async {
/// client.write_all(b"question").await?;
/// client.shutdown().await?;
/// # let (mut server, _) = upstream.accept().await?;
/// # use compio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
/// # let (_, question) = server.read_to_end(Vec::new()).await.unwrap();
/// # assert_eq!(question, b"question");
/// # server.write_all(b"answer!").await.unwrap();
/// # server.shutdown().await?;
/// # std::io::Result::Ok(()) }, async {
/// let (there, back) = io::copy_bidirectional(&mut tokio, &mut compio).await?;
/// # std::io::Result::Ok((there, back)) }).await;
/// # let (there, back) = copied?;
/// assert_eq!((there, back), (8, 7));
/// # std::io::Result::Ok(()) })?;
/// # }
/// # std::io::Result::Ok(())
/// ```
pub async fn copy_bidirectional<A, B>(tokio: &mut A, compio: B) -> io::Result<(u64, u64)>
where
    A: AsyncRead + AsyncWrite + Unpin + ?Sized,
    B: Splittable,
    B::ReadHalf: compio_io::AsyncRead,
    B::WriteHalf: compio_io::AsyncWrite,
{
    both_ways(tokio, compio, [(SMALL, LARGE); 2]).await
}

/// [`copy_bidirectional`] with buffers of these sizes, in bytes, from the start: that of the way from Tokio to
/// Compio, and that of the way back.
///
/// # Errors
///
/// [`OutOfMemory`](io::ErrorKind::OutOfMemory) if there is none for buffers of these sizes. Otherwise as
/// [`copy_bidirectional`].
///
/// # Panics
///
/// If one of them is 0. Otherwise only if one of the streams panics.
pub async fn copy_bidirectional_with_sizes<A, B>(
    tokio: &mut A,
    compio: B,
    to_compio: usize,
    to_tokio: usize,
) -> io::Result<(u64, u64)>
where
    A: AsyncRead + AsyncWrite + Unpin + ?Sized,
    B: Splittable,
    B::ReadHalf: compio_io::AsyncRead,
    B::WriteHalf: compio_io::AsyncWrite,
{
    assert!(to_compio > 0, "`to_compio` must be greater than 0");
    assert!(to_tokio > 0, "`to_tokio` must be greater than 0");
    both_ways(
        tokio,
        compio,
        [(to_compio, to_compio), (to_tokio, to_tokio)],
    )
    .await
}

async fn both_ways<A, B>(
    tokio: &mut A,
    compio: B,
    [there, back]: [(usize, usize); 2],
) -> io::Result<(u64, u64)>
where
    A: AsyncRead + AsyncWrite + Unpin + ?Sized,
    B: Splittable,
    B::ReadHalf: compio_io::AsyncRead,
    B::WriteHalf: compio_io::AsyncWrite,
{
    let (mut from_compio, mut to_compio) = compio.split();
    let tokio = RefCell::new(tokio);
    let (mut from_tokio, mut to_tokio) = (Half(&tokio), Half(&tokio));
    let there = async {
        let count = from_tokio.copy_to(&mut to_compio, there.0, there.1).await?;
        compio_io::AsyncWrite::shutdown(&mut to_compio).await?;
        Ok(count)
    };
    let back = async {
        let count = from_compio.copy_to(&mut to_tokio, back.0, back.1).await?;
        to_tokio.shutdown().await?;
        Ok(count)
    };
    futures::future::try_join(pin!(there), pin!(back)).await
}

/// A reader of one runtime that can be copied to a writer of the other: any can.
///
/// `Way` is [`ToCompio`] or [`ToTokio`], and follows from the two unless both speak the traits of both runtimes.
/// Not to be implemented elsewhere.
#[expect(
    private_bounds,
    reason = "sealed, and the work itself is nobody else's"
)]
pub trait CopyTo<W: ?Sized, Way>: Copying<W, Way> {}

impl<R: Copying<W, Way> + ?Sized, W: ?Sized, Way> CopyTo<W, Way> for R {}

trait Copying<W: ?Sized, Way> {
    async fn copy_to(&mut self, writer: &mut W, small: usize, large: usize) -> io::Result<u64>;
}

/// From Tokio to Compio; see [`CopyTo`].
#[derive(Debug)]
pub enum ToCompio {}

/// From Compio to Tokio; see [`CopyTo`].
#[derive(Debug)]
pub enum ToTokio {}

impl<R, W> Copying<W, ToCompio> for R
where
    R: AsyncRead + Unpin + ?Sized,
    W: compio_io::AsyncWrite + ?Sized,
{
    async fn copy_to(&mut self, writer: &mut W, small: usize, large: usize) -> io::Result<u64> {
        let mut chunk = Chunk::new(small, large)?;
        let mut unflushed = false;
        loop {
            chunk.make_room().await;
            let read = poll_fn(|cx| match poll_read(self, cx, &mut chunk.buffer) {
                // Somebody may wait for what the writer holds before he sends anything more.
                Poll::Pending if unflushed => Poll::Ready(None),
                read => read.map(Some),
            });
            let Some(read) = read.await else {
                writer.flush().await?;
                unflushed = false;
                continue;
            };
            if read? == 0 {
                writer.flush().await?;
                return Ok(chunk.copied);
            }
            let buffer = write_to_compio(writer, std::mem::take(&mut chunk.buffer)).await?;
            chunk.written(buffer);
            unflushed = true;
        }
    }
}

impl<R, W> Copying<W, ToTokio> for R
where
    R: compio_io::AsyncRead + ?Sized,
    W: AsyncWrite + Unpin + ?Sized,
{
    async fn copy_to(&mut self, writer: &mut W, small: usize, large: usize) -> io::Result<u64> {
        let mut chunk = Chunk::new(small, large)?;
        let mut unflushed = false;
        loop {
            chunk.make_room().await;
            let mut read = pin!(self.read(std::mem::take(&mut chunk.buffer)));
            // Tokio's flush knows nothing of the read, so it is flushed while that is in flight.
            let read = poll_fn(|cx| {
                let read = read.as_mut().poll(cx);
                if read.is_pending() && unflushed {
                    ready!(Pin::new(&mut *writer).poll_flush(cx))?;
                    unflushed = false;
                }
                read.map(io::Result::Ok)
            });
            let BufResult(count, buffer) = read.await?;
            chunk.buffer = buffer;
            let count = match count {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                count => count?,
            };
            if count > chunk.buffer.len() {
                return Err(too_much());
            }
            chunk.buffer.truncate(count);
            if count == 0 {
                writer.flush().await?;
                return Ok(chunk.copied);
            }
            write_to_tokio(writer, &chunk.buffer).await?;
            let buffer = std::mem::take(&mut chunk.buffer);
            chunk.written(buffer);
            unflushed = true;
        }
    }
}

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// The buffer of a direction, and what went through it.
struct Chunk {
    buffer: Vec<u8>,
    /// The small one, while `buffer` is a large one.
    small: Vec<u8>,
    is_large: bool,
    wants_large: bool,
    sizes: (usize, usize),
    copied: u64,
    in_a_row: u32,
}

impl Chunk {
    fn new(small: usize, large: usize) -> io::Result<Self> {
        let mut buffer = Vec::new();
        // The size may be the user's.
        buffer.try_reserve_exact(small)?;
        Ok(Self {
            buffer,
            small: Vec::new(),
            is_large: false,
            wants_large: false,
            sizes: (small, large),
            copied: 0,
            in_a_row: 0,
        })
    }

    /// An empty buffer for the next read; lets the neighbours run now and then, since what is always ready never
    /// waits.
    async fn make_room(&mut self) {
        self.buffer.clear();
        if self.wants_large != self.is_large {
            self.swap();
        }
        if self.in_a_row == IN_A_ROW {
            self.in_a_row = 0;
            let mut yielded = false;
            poll_fn(|cx| {
                if std::mem::replace(&mut yielded, true) {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
        }
    }

    fn swap(&mut self) {
        self.is_large = self.wants_large;
        let next = if self.is_large {
            // While the thread ends there are none.
            let spare = SPARE.try_with(|spare| spare.borrow_mut().pop());
            let spare = spare.ok().flatten();
            spare.unwrap_or_else(|| Vec::with_capacity(LARGE))
        } else {
            std::mem::take(&mut self.small)
        };
        let before = std::mem::replace(&mut self.buffer, next);
        if self.is_large {
            self.small = before;
        } else {
            keep(before);
        }
    }

    /// `buffer` is back, with what has been written still in it.
    fn written(&mut self, buffer: Vec<u8>) {
        let count = buffer.len();
        self.copied += count as u64;
        self.in_a_row += 1;
        let (small, large) = self.sizes;
        self.wants_large = small < large && count >= if self.is_large { large / 4 } else { small };
        self.buffer = buffer;
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if self.is_large {
            keep(std::mem::take(&mut self.buffer));
        }
    }
}

/// A large buffer, for the thread's next; or none, if it was with the kernel.
fn keep(mut buffer: Vec<u8>) {
    buffer.clear();
    _ = SPARE.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        if buffer.capacity() >= LARGE && spare.len() < KEPT {
            spare.push(buffer);
        }
    });
}

/// Into what `buffer` has left, uninitialised as it is.
fn poll_read<R: AsyncRead + Unpin + ?Sized>(
    reader: &mut R,
    cx: &mut Context<'_>,
    buffer: &mut Vec<u8>,
) -> Poll<io::Result<usize>> {
    loop {
        // Between polls of Tokio's streams nothing is kept, so the future need not be either.
        match ready!(pin!(reader.read_buf(buffer)).poll(cx)) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            result => return Poll::Ready(result),
        }
    }
}

/// All of `buffer`, which comes back whole.
async fn write_to_compio<W: compio_io::AsyncWrite + ?Sized>(
    writer: &mut W,
    buffer: Vec<u8>,
) -> io::Result<Vec<u8>> {
    let len = buffer.len();
    let mut done = 0;
    let mut rest = buffer.slice(..);
    loop {
        let BufResult(result, same) = writer.write(rest).await;
        let buffer = same.into_inner();
        if let Some(result) = after_write(result, &mut done, len) {
            return result.map(|()| buffer);
        }
        rest = buffer.slice(done..);
    }
}

async fn write_to_tokio<W: AsyncWrite + Unpin + ?Sized>(
    writer: &mut W,
    buffer: &[u8],
) -> io::Result<()> {
    let mut done = 0;
    loop {
        let result = poll_fn(|cx| Pin::new(&mut *writer).poll_write(cx, &buffer[done..])).await;
        if let Some(result) = after_write(result, &mut done, buffer.len()) {
            return result;
        }
    }
}

fn too_much() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the stream says it read more than it put into the buffer",
    )
}

/// A stream that two directions of one task use in turn: borrowed for a poll, never across one.
struct Half<'a, 'b, S: ?Sized>(&'a RefCell<&'b mut S>);

impl<S: AsyncRead + Unpin + ?Sized> AsyncRead for Half<'_, '_, S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut **self.0.borrow_mut()).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin + ?Sized> AsyncWrite for Half<'_, '_, S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut **self.0.borrow_mut()).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut **self.0.borrow_mut()).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut **self.0.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut **self.0.borrow_mut()).poll_shutdown(cx)
    }
}
