//! The read half: one long-lived future owns the stream, polled by whoever reads.

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use compio_buf::{BufResult, IoBuf};
use compio_io::AsyncRead;
use tokio::io::ReadBuf;

use super::window::Window;
use crate::io::home::Home;
use crate::io::state::{LARGE, ReadSide, ReadStep};

/// The read half of [`CompioAsTokio`](super::CompioAsTokio), or a Compio stream that is only
/// read.
///
/// The contract is that of [`CompioAsTokio`](super::CompioAsTokio). Nothing runs beside it: the
/// operation in flight is polled by whoever polls the reader, and its bytes wait in the reader if
/// nobody does.
///
/// # Where it runs
///
/// On the thread that made it, within the Compio runtime that its stream belongs to.
///
/// # Cancel safety
///
/// Dropping a read loses nothing. Dropping the reader cancels the operation in flight.
///
/// # Examples
///
/// ```
/// use landbridge::io::CompioReadAsTokio;
/// use tokio::io::AsyncReadExt;
///
/// # compio::runtime::Runtime::new().unwrap().block_on(async {
/// let mut reader = CompioReadAsTokio::new(&b"over the bridge"[..]);
/// let mut text = String::new();
/// reader.read_to_string(&mut text).await?;
/// assert_eq!(text, "over the bridge");
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
pub struct CompioReadAsTokio<R> {
    side: ReadSide,
    desk: Rc<Desk>,
    /// Where the operation in flight was begun.
    home: Option<Home>,
    /// Owns the stream, and the buffer while it is in flight. Gone after a panic in it.
    reading: Option<Pin<Box<dyn Future<Output = R>>>>,
}

/// Where reader and future hand each other the buffer.
#[derive(Default)]
struct Desk {
    order: Cell<Option<(Vec<u8>, usize)>>,
    delivery: Cell<Option<(io::Result<usize>, Vec<u8>)>>,
    give_up_the_stream: Cell<bool>,
}

/// Reads as ordered, until it is told to give the stream back.
///
/// The future of a read borrows `stream`, so it is dropped before it, wherever this one is dropped.
async fn read_loop<R: AsyncRead>(mut stream: R, desk: Rc<Desk>) -> R {
    let mut window = Box::new(Window::default());
    while let Some((mut buffer, limit)) = next_order(&desk).await {
        buffer.clear();
        window.set(buffer.slice(..limit));
        loop {
            let BufResult(result, same) = stream.read(window).await;
            window = same;
            if !matches!(&result, Err(e) if e.kind() == io::ErrorKind::Interrupted) {
                desk.delivery.set(Some((result, window.take())));
                break;
            }
        }
    }
    stream
}

/// No waker is kept: whoever leaves an order polls the loop right after.
async fn next_order(desk: &Desk) -> Option<(Vec<u8>, usize)> {
    poll_fn(|_| match desk.order.take() {
        Some(order) => Poll::Ready(Some(order)),
        None if desk.give_up_the_stream.get() => Poll::Ready(None),
        None => Poll::Pending,
    })
    .await
}

impl<R: AsyncRead + 'static> CompioReadAsTokio<R> {
    /// Wraps a stream whose reads ask for at most 64 KiB.
    #[must_use]
    pub fn new(stream: R) -> Self {
        Self::with_capacity(stream, LARGE)
    }

    /// Wraps a stream whose reads ask for at most `capacity` bytes, and for at least one.
    #[must_use]
    pub fn with_capacity(stream: R, capacity: usize) -> Self {
        let desk = Rc::new(Desk::default());
        Self {
            side: ReadSide::new(capacity),
            home: None,
            reading: Some(Box::pin(read_loop(stream, desk.clone()))),
            desk,
        }
    }
}

impl<R> CompioReadAsTokio<R> {
    /// The bytes that have been read from the stream and not yet from here.
    #[must_use]
    pub fn buffer(&self) -> &[u8] {
        self.side.unread()
    }

    pub(super) fn can_be_taken(&self) -> bool {
        !self.side.in_flight() && self.reading.is_some()
    }

    pub(super) fn ended(&self) -> bool {
        self.side.ended()
    }

    /// Waits for the operation in flight, and starts none.
    pub(super) fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.side.in_flight() && self.reading.is_some() {
            self.poll_loop(cx)
        } else {
            Poll::Ready(Ok(()))
        }
    }

    /// The stream, the unread bytes and an error that no read was told.
    ///
    /// # Errors
    ///
    /// Gives the reader back while a read is in flight.
    pub fn into_parts(self) -> Result<(R, Vec<u8>, Option<io::Error>), super::InFlight<Self>> {
        self.take().map_err(super::InFlight)
    }

    pub(super) fn take(mut self) -> Result<(R, Vec<u8>, Option<io::Error>), Self> {
        if self.side.in_flight() {
            return Err(self);
        }
        let Some(mut reading) = self.reading.take() else {
            return Err(self);
        };
        self.desk.give_up_the_stream.set(true);
        match reading
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(stream) => {
                let (unread, error) = self.side.into_rest();
                Ok((stream, unread, error))
            }
            Poll::Pending => unreachable!("the loop waits for an order or for an operation"),
        }
    }

    /// Ready when there are unread bytes (`true`) or the stream has ended (`false`).
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            match self.side.step() {
                ReadStep::Data => return Poll::Ready(Ok(true)),
                ReadStep::End => return Poll::Ready(Ok(false)),
                ReadStep::Failed(error) => return Poll::Ready(Err(error)),
                ReadStep::Wait => {}
                ReadStep::Order if self.reading.is_none() => {}
                ReadStep::Order => {
                    self.home = Some(Home::here()?);
                    self.desk.order.set(Some(self.side.order()));
                }
            }
            if self.reading.is_none() {
                return Poll::Ready(Err(io::Error::other("a read on this stream has panicked")));
            }
            ready!(self.poll_loop(cx))?;
        }
    }

    /// Polls the operation in flight, where it can make progress.
    fn poll_loop(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.home.as_ref().map_or(Ok(()), Home::check)?;
        // Not in its place while it is polled, so a panic leaves the reader without it.
        let Some(mut reading) = self.reading.take() else {
            return Poll::Ready(Ok(()));
        };
        let _pending_or_given_up = reading.as_mut().poll(cx);
        self.reading = Some(reading);
        match self.desk.delivery.take() {
            Some((result, buffer)) => {
                self.side.deliver(result, buffer);
                Poll::Ready(Ok(()))
            }
            None => Poll::Pending,
        }
    }
}

impl<R> tokio::io::AsyncRead for CompioReadAsTokio<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() > 0 && ready!(this.poll_data(cx))? {
            let unread = this.side.unread();
            let count = unread.len().min(buf.remaining());
            buf.put_slice(&unread[..count]);
            this.side.consume(count);
        }
        Poll::Ready(Ok(()))
    }
}

impl<R> tokio::io::AsyncBufRead for CompioReadAsTokio<R> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        ready!(this.poll_data(cx))?;
        Poll::Ready(Ok(this.side.unread()))
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        self.get_mut().side.consume(amount);
    }
}

/// The stream is never pinned in its own right: the box that owns it is.
impl<R> Unpin for CompioReadAsTokio<R> {}

impl<R> fmt::Debug for CompioReadAsTokio<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompioReadAsTokio")
            .field("unread", &self.side.unread().len())
            .field("in_flight", &self.side.in_flight())
            .field("ended", &self.side.ended())
            .finish_non_exhaustive()
    }
}
