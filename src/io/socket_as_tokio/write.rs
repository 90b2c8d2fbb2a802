//! The write direction: the kernel takes it now, or nothing has happened.

use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::link::Link;
use super::socket::{CompioSocket, send, send_vectored, shut_down};
use crate::channel::budget::{self, Budget};

/// One direction of a socket. Its link is given to every call, and is always the same.
#[derive(Debug)]
pub(super) struct Writer {
    /// The socket was full when somebody tried last.
    full: bool,
    shut: bool,
    budget: Budget,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self {
            full: false,
            shut: false,
            budget: Budget::new(),
        }
    }

    /// What is left behind where a writer was taken away: nothing to shut down.
    pub(super) fn done() -> Self {
        Self {
            shut: true,
            ..Self::new()
        }
    }

    pub(super) fn poll_write<S: CompioSocket>(
        &mut self,
        link: &Link<S>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(link, cx, || send(&link.socket, bytes))
    }

    pub(super) fn poll_write_vectored<S: CompioSocket>(
        &mut self,
        link: &Link<S>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if slices.iter().all(|slice| slice.is_empty()) {
            // As with Tokio: the kernel asks the socket for nothing then, be it shut down or not.
            ready!(self.budget.poll_proceed(cx));
            return Poll::Ready(Ok(0));
        }
        self.poll_send(link, cx, || send_vectored(&link.socket, slices))
    }

    fn poll_send<S: CompioSocket>(
        &mut self,
        link: &Link<S>,
        cx: &mut Context<'_>,
        mut send: impl FnMut() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            if self.full {
                ready!(self.poll_room(link, cx))?;
            }
            ready!(self.budget.poll_proceed(cx));
            match send() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.full = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return Poll::Ready(result),
            }
            budget::give_back();
        }
    }

    fn poll_room<S: CompioSocket>(
        &mut self,
        link: &Link<S>,
        cx: &Context<'_>,
    ) -> Poll<io::Result<()>> {
        match link.poll_writable(cx) {
            Poll::Ready(room) => {
                // After an error too: nothing else would tell.
                self.full = false;
                Poll::Ready(room)
            }
            Poll::Pending => Poll::Pending,
        }
    }

    pub(super) fn shut_down<S: CompioSocket>(&mut self, link: &Link<S>) -> io::Result<()> {
        if !self.shut {
            shut_down(&link.socket)?;
            self.shut = true;
        }
        Ok(())
    }

    pub(super) fn is_shut(&self) -> bool {
        self.shut
    }
}

/// The write half of a [`SocketAsTokio`](super::SocketAsTokio).
///
/// The contract is that of [`SocketAsTokio`](super::SocketAsTokio). Dropping it sends the end of
/// the stream, as dropping the write half of a socket of Tokio's does.
///
/// # Where it runs
///
/// On the thread that made it, within the Compio runtime that its socket belongs to.
///
/// # Cancel safety
///
/// Dropping a write that has not said how much it took has written nothing.
pub struct SocketWriteAsTokio<S: CompioSocket> {
    pub(super) link: Rc<Link<S>>,
    pub(super) writer: Writer,
}

impl<S: CompioSocket> SocketWriteAsTokio<S> {
    /// The socket.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        &self.link.socket
    }
}

impl<S: CompioSocket> tokio::io::AsyncWrite for SocketWriteAsTokio<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.writer.poll_write(&this.link, cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.writer.poll_write_vectored(&this.link, cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        Poll::Ready(this.writer.shut_down(&this.link))
    }
}

impl<S: CompioSocket> Drop for SocketWriteAsTokio<S> {
    fn drop(&mut self) {
        // There is nobody to tell.
        let _ = self.writer.shut_down(&self.link);
    }
}

impl<S: CompioSocket> AsFd for SocketWriteAsTokio<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.socket.as_fd()
    }
}

impl<S: CompioSocket> fmt::Debug for SocketWriteAsTokio<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SocketWriteAsTokio")
            .field(&self.writer)
            .finish()
    }
}
