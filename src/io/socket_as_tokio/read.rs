//! The read direction: what is there is received into the caller's memory; else the socket is
//! watched.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use compio::driver::op::Interest;
use tokio::io::ReadBuf;

use super::link::Link;
use super::socket::{CompioSocket, receive};
use super::watch::{Watch, poll_watch};
use crate::channel::budget::Budget;

/// One direction of a socket. The socket itself is given to every call, and is always the same.
pub(super) struct Reader<S: CompioSocket> {
    /// There was nothing when somebody looked last.
    watch: Option<Watch<S>>,
    /// There may be something in the socket: worth a look before waiting.
    look: bool,
    ended: bool,
    budget: Budget,
}

impl<S: CompioSocket> Reader<S> {
    pub(super) fn new() -> Self {
        Self {
            watch: None,
            look: true,
            ended: false,
            budget: Budget::new(),
        }
    }

    pub(super) fn poll_read(
        &mut self,
        link: &Link<S>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 || self.ended {
            return Poll::Ready(Ok(()));
        }
        loop {
            if !self.look {
                self.begin_watch(link)?;
            }
            ready!(poll_watch(&mut self.watch, cx))?;
            ready!(self.budget.poll_proceed(cx));
            match receive(&link.socket, buf) {
                Ok(0) => self.ended = true,
                // Not filled most likely means that this was all; if not, the watch tells at once.
                Ok(_) => self.look = buf.remaining() == 0,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.look = false;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Poll::Ready(Err(error)),
            }
            self.budget.spend();
            return Poll::Ready(Ok(()));
        }
    }

    /// From here on it is the watch that says when to look.
    fn begin_watch(&mut self, link: &Link<S>) -> io::Result<()> {
        self.look = true;
        self.watch = Some(Watch::begin(link, Interest::Readable)?);
        self.budget.refill();
        Ok(())
    }

    /// Lets the driver let go of the socket. Nothing is lost: the next read looks.
    pub(super) fn stop_watching(&mut self) {
        self.watch = None;
    }

    pub(super) fn check_home(&self) -> io::Result<()> {
        self.watch.as_ref().map_or(Ok(()), Watch::check_home)
    }

    pub(super) fn ended(&self) -> bool {
        self.ended
    }
}

impl<S: CompioSocket> fmt::Debug for Reader<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("watched", &self.watch.is_some())
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
/// Dropping a read loses nothing: what was not received is in the socket.
pub struct SocketReadAsTokio<S: CompioSocket> {
    pub(super) link: Link<S>,
    pub(super) reader: Reader<S>,
}

impl<S: CompioSocket> SocketReadAsTokio<S> {
    /// The socket.
    #[must_use]
    pub const fn get_ref(&self) -> &S {
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
