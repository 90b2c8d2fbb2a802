//! Both runtimes' traits.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use compio_buf::{BufResult, IoBuf, IoBufMut, IoVectoredBuf, IoVectoredBufMut};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

use super::{Reader, Writer};
use crate::io::TokioAsCompio;

/// A pending read that is dropped has read nothing. No errors.
impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() > 0 && ready!(this.poll_chunk(cx)) {
            this.copy_to(buf);
        }
        Poll::Ready(Ok(()))
    }
}

/// What is at hand is the rest of one buffer, as it was written.
///
/// # Panics
///
/// `consume` panics if it is told more than there was.
impl AsyncBufRead for Reader {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        ready!(this.poll_chunk(cx));
        // Empty at the end.
        Poll::Ready(Ok(this.unread()))
    }

    fn consume(self: Pin<&mut Self>, amt: usize) {
        self.get_mut().consume(amt);
    }
}

/// A pending write that is dropped has written nothing. Flushing does nothing: what is written is there to
/// be read.
///
/// # Errors
///
/// `BrokenPipe` if the reader is closed or gone, and after a shutdown.
impl AsyncWrite for Writer {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .poll_write_slices(cx, buf.len(), std::iter::once(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let total = bufs
            .iter()
            .fold(0_usize, |sum, slice| sum.saturating_add(slice.len()));
        self.get_mut()
            .poll_write_slices(cx, total, bufs.iter().map(|slice| &**slice))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().shut_down();
        Poll::Ready(Ok(()))
    }
}

// Through the shim, which keeps nothing between two calls here: no vectored call of these meets an error
// after its first bytes.

/// As Tokio's trait, with owned buffers.
impl compio_io::AsyncRead for Reader {
    async fn read<B: IoBufMut>(&mut self, buf: B) -> BufResult<usize, B> {
        compio_io::AsyncRead::read(&mut TokioAsCompio::new(self), buf).await
    }

    async fn read_vectored<V: IoVectoredBufMut>(&mut self, buf: V) -> BufResult<usize, V> {
        compio_io::AsyncRead::read_vectored(&mut TokioAsCompio::new(self), buf).await
    }
}

/// As Tokio's trait, with owned buffers. They come back to the caller, so what is in them is copied;
/// [`send`](Writer::send) is without a copy.
impl compio_io::AsyncWrite for Writer {
    async fn write<B: IoBuf>(&mut self, buf: B) -> BufResult<usize, B> {
        compio_io::AsyncWrite::write(&mut TokioAsCompio::new(self), buf).await
    }

    async fn write_vectored<V: IoVectoredBuf>(&mut self, buf: V) -> BufResult<usize, V> {
        compio_io::AsyncWrite::write_vectored(&mut TokioAsCompio::new(self), buf).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        self.shut_down();
        Ok(())
    }
}
