//! A stream whose client has to take what is written to it. COPY: the file.
//!
//! hyper has a timeout for the head of a request, and none for a client that does not read its answer: that would be
//! a file, a connection and a place at the limiter for ever. As nginx's `send_timeout` it is for each wait, not
//! for the whole answer.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use landbridge::time::{Sleep, sleep};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pin_project! {
    /// Ends with [`TimedOut`](io::ErrorKind::TimedOut) when a write waits too long.
    pub(crate) struct Impatient<S> {
        #[pin]
        inner: S,
        // While a write waits.
        #[pin]
        waiting: Option<Sleep>,
        patience: Duration,
    }
}

impl<S> Impatient<S> {
    pub(crate) fn new(inner: S, patience: Duration) -> Self {
        Self {
            inner,
            waiting: None,
            patience,
        }
    }

    fn poll_patiently<T>(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut this = self.project();
        let polled = poll(this.inner, cx);
        if polled.is_ready() {
            this.waiting.set(None);
            return polled;
        }
        if this.waiting.is_none() {
            this.waiting.set(Some(sleep(*this.patience)));
        }
        let waiting = this.waiting.as_mut().as_pin_mut();
        match waiting.map(|waiting| waiting.poll(cx)) {
            Some(Poll::Ready(())) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            _ => Poll::Pending,
        }
    }
}

impl<S: AsyncRead> AsyncRead for Impatient<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.project().inner.poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite> AsyncWrite for Impatient<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_patiently(cx, |inner, cx| inner.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_patiently(cx, |inner, cx| inner.poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_patiently(cx, |inner, cx| inner.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_patiently(cx, |inner, cx| inner.poll_shutdown(cx))
    }
}
