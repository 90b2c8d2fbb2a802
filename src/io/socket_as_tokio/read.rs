//! The read direction: what is there is received into the caller's memory.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;

use super::link::Link;
use super::socket::{CompioSocket, receive};
use crate::channel::budget::{self, Budget};

/// One direction of a socket. Its link is given to every call, and is always the same.
#[derive(Debug)]
pub(super) struct Reader {
    /// There may be something in the socket: worth a look before waiting.
    look: bool,
    /// The end, or a failure, is among what is there or behind it.
    closing: bool,
    ended: bool,
    budget: Budget,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self {
            look: true,
            closing: false,
            ended: false,
            budget: Budget::new(),
        }
    }

    pub(super) fn poll_read<S: CompioSocket>(
        &mut self,
        link: &Link<S>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if self.ended {
            ready!(self.budget.poll_proceed(cx));
            return Poll::Ready(Ok(()));
        }
        loop {
            if !self.look {
                ready!(self.poll_news(link, cx))?;
            }
            ready!(self.budget.poll_proceed(cx));
            let received = receive(&link.socket, buf);
            match received {
                Ok(0) => self.ended = true,
                Ok(_) => self.look = buf.remaining() == 0 || self.closing || !S::SHORT_IS_ALL,
                Err(ref error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.look = false;
                    budget::give_back();
                    continue;
                }
                Err(ref error) if error.kind() == io::ErrorKind::Interrupted => {
                    budget::give_back();
                    continue;
                }
                Err(_) => {}
            }
            return Poll::Ready(received.map(|_| ()));
        }
    }

    fn poll_news<S: CompioSocket>(
        &mut self,
        link: &Link<S>,
        cx: &Context<'_>,
    ) -> Poll<io::Result<()>> {
        match link.poll_readable(cx) {
            Poll::Ready(news) => {
                // After an error too: nothing else would tell.
                self.look = true;
                self.closing |= news?;
                Poll::Ready(Ok(()))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    pub(super) fn ended(&self) -> bool {
        self.ended
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
/// Dropping a read loses nothing: what was not received is in the socket.
pub struct SocketReadAsTokio<S: CompioSocket> {
    pub(super) link: Rc<Link<S>>,
    pub(super) reader: Reader,
}

impl<S: CompioSocket> SocketReadAsTokio<S> {
    /// The socket.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        &self.link.socket
    }
}

impl<S: CompioSocket> tokio::io::AsyncRead for SocketReadAsTokio<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.reader.poll_read(&this.link, cx, buf)
    }
}

impl<S: CompioSocket> AsFd for SocketReadAsTokio<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.socket.as_fd()
    }
}

impl<S: CompioSocket> fmt::Debug for SocketReadAsTokio<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SocketReadAsTokio")
            .field(&self.reader)
            .finish()
    }
}
