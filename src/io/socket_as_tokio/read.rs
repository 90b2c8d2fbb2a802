//! The read direction: one small operation in flight, and the rest without one.
//!
//! On a ring, a read that has to wait leaves a small buffer with the kernel, since that is the
//! cheapest way to be woken *and* have a small message. What is more than that is then received
//! straight into the caller's memory. On a polling driver an operation is a wait for readiness
//! in any case, so that is all that is left there, and every byte goes straight to the caller.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use compio::BufResult;
use compio::buf::IntoInner;
use compio::driver::op::{Interest, PollOnce, Recv, RecvFlags};
use compio::driver::{Extra, PollFirst};
use compio::runtime::{Runtime, Submit};
use tokio::io::ReadBuf;

use super::home::{Home, current};
use super::socket::{CompioSocket, receive};
use crate::channel::budget::Budget;

/// The buffer that waits in an idle shim's read.
///
/// It holds most requests of most protocols; an idle shim may hold 1 KiB in all.
const SMALL: usize = 512;

type Small = Box<[u8; SMALL]>;

/// One direction of a socket. The socket itself is given to every call, and is always the same.
pub(super) struct Reader<S: CompioSocket> {
    /// Not here while it is in flight, nor before it was needed.
    buffer: Option<Small>,
    /// The bytes `at..end` of the buffer are not yet read.
    at: usize,
    end: usize,
    waiting: Option<Waiting<S>>,
    /// There may be something in the socket: worth a look before waiting.
    look: bool,
    ended: bool,
    /// Met after bytes of the same read, which were told first.
    error: Option<io::Error>,
    budget: Budget,
}

/// What the driver does for us. Owns a reference to the socket, and the buffer.
struct Waiting<S: CompioSocket> {
    operation: Operation<S>,
    home: Home,
}

enum Operation<S: CompioSocket> {
    Receive(Submit<Recv<Small, S>, Extra>),
    Readiness(Submit<PollOnce<S>>),
}

impl<S: CompioSocket> Reader<S> {
    pub(super) fn new() -> Self {
        Self {
            buffer: None,
            at: 0,
            end: 0,
            waiting: None,
            look: true,
            ended: false,
            error: None,
            budget: Budget::new(),
        }
    }

    pub(super) fn poll_read(
        &mut self,
        socket: &S,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if !self.unread().is_empty() {
                self.hand_out(buf);
                if self.look && self.unread().is_empty() {
                    self.top_up(socket, buf);
                }
                return Poll::Ready(Ok(()));
            }
            if let Some(error) = self.error.take() {
                return Poll::Ready(Err(error));
            }
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            if self.waiting.is_some() {
                ready!(self.poll_waiting(cx))?;
            } else if self.look {
                ready!(self.budget.poll_proceed(cx));
                if self.receive(socket, buf)? {
                    self.budget.spend();
                    return Poll::Ready(Ok(()));
                }
            } else {
                self.waiting = Some(current(|runtime| self.start(socket, runtime))?);
            }
        }
    }

    /// Waits for the operation in flight, and starts none.
    pub(super) fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.in_flight() {
            if let Err(error) = ready!(self.poll_waiting(cx)) {
                if self.in_flight() {
                    return Poll::Ready(Err(error));
                }
                self.error = Some(error);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whether the kernel may be about to hand over bytes that nobody has seen.
    pub(super) fn in_flight(&self) -> bool {
        let operation = self.waiting.as_ref().map(|waiting| &waiting.operation);
        matches!(operation, Some(Operation::Receive(_)))
    }

    pub(super) fn unread(&self) -> &[u8] {
        match &self.buffer {
            Some(buffer) => &buffer[self.at..self.end],
            None => &[],
        }
    }

    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// The unread bytes and an error that nobody was told, at the end of the shim.
    pub(super) fn into_rest(mut self) -> (Vec<u8>, Option<io::Error>) {
        (self.unread().to_vec(), self.error.take())
    }

    fn hand_out(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.unread().len().min(buf.remaining());
        buf.put_slice(&self.unread()[..count]);
        self.at += count;
    }

    /// Receives behind bytes that are already there; whatever else that brings is for the next
    /// read.
    fn top_up(&mut self, socket: &S, buf: &mut ReadBuf<'_>) {
        if buf.remaining() == 0 {
            return;
        }
        if let Err(error) = self.receive(socket, buf) {
            self.error = Some(error);
        }
    }

    /// Receives straight into the caller's memory: whether that has brought bytes or the end.
    fn receive(&mut self, socket: &S, buf: &mut ReadBuf<'_>) -> io::Result<bool> {
        match receive(socket, buf) {
            Ok(0) => {
                self.ended = true;
                Ok(true)
            }
            Ok(_) => {
                // Not filled means that the socket is empty, or it will be said when we wait.
                self.look = buf.remaining() == 0;
                Ok(true)
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => {
                    self.look = false;
                    Ok(false)
                }
                io::ErrorKind::Interrupted => Ok(false),
                _ => Err(error),
            },
        }
    }

    /// Nothing is there, so the kernel is told to wait first, before it tries.
    fn start(&mut self, socket: &S, runtime: &Runtime) -> Waiting<S> {
        self.budget.refill();
        let socket = socket.clone();
        let operation = if runtime.driver_type().is_polling() {
            Operation::Readiness(runtime.submit(PollOnce::new(socket, Interest::Readable)))
        } else {
            let buffer = self.buffer.take().unwrap_or_else(|| Box::new([0; SMALL]));
            let mut receive = Recv::new(socket, buffer, RecvFlags::empty());
            receive.poll_first();
            Operation::Receive(runtime.submit(receive).with_extra())
        };
        Waiting {
            operation,
            home: Home::of(runtime),
        }
    }

    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(waiting) = &mut self.waiting else {
            return Poll::Ready(Ok(()));
        };
        waiting.home.check()?;
        let result = match &mut waiting.operation {
            Operation::Readiness(readiness) => {
                let BufResult(result, _) = ready!(Pin::new(readiness).poll(cx));
                self.look = true;
                result.map(|_| ())
            }
            Operation::Receive(receive) => {
                let (BufResult(result, op), extra) = ready!(Pin::new(receive).poll(cx));
                self.buffer = Some(op.into_inner());
                result.map(|count| self.arrived(count, &extra))
            }
        };
        self.waiting = None;
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }

    fn arrived(&mut self, count: usize, extra: &Extra) {
        self.at = 0;
        self.end = count.min(SMALL);
        self.ended = count == 0;
        // The ring says whether it left something behind, for the sockets that can tell it.
        self.look = self.end == SMALL || extra.sock_nonempty().unwrap_or(false);
    }
}

impl<S: CompioSocket> fmt::Debug for Reader<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("unread", &self.unread().len())
            .field("in_flight", &self.in_flight())
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// The read half of a [`SocketAsTokio`](super::SocketAsTokio).
///
/// The contract is that of [`SocketAsTokio`](super::SocketAsTokio). Dropping it leaves the other
/// half as it is.
///
/// # Where it runs
///
/// On the thread that made it, within the Compio runtime that its socket belongs to.
///
/// # Cancel safety
///
/// Dropping a read loses nothing. Dropping the half cancels the operation in flight, and what it
/// brings then is lost.
pub struct SocketReadAsTokio<S: CompioSocket> {
    pub(super) socket: S,
    pub(super) reader: Reader<S>,
}

impl<S: CompioSocket> SocketReadAsTokio<S> {
    /// The socket. What is read from it directly is missing here.
    #[must_use]
    pub const fn get_ref(&self) -> &S {
        &self.socket
    }
}

impl<S: CompioSocket> tokio::io::AsyncRead for SocketReadAsTokio<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.reader.poll_read(&this.socket, cx, buf)
    }
}

impl<S: CompioSocket> AsFd for SocketReadAsTokio<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl<S: CompioSocket> fmt::Debug for SocketReadAsTokio<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SocketReadAsTokio")
            .field(&self.reader)
            .finish()
    }
}
