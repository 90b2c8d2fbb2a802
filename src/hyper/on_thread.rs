//! Services, bodies and streams that stay on their thread, for what asks for `Send` though it sends nothing.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use ::hyper::{
    body::{Body, Frame, SizeHint},
    rt::{Read, ReadBufCursor, Write},
};
use tower_service::Service;

use crate::context::OnThread;

/// With the feature `hyper`. The futures of the service stay on the thread, too.
///
/// # Panics
///
/// On another thread, and once the service is gone.
impl<Request, S> Service<Request> for OnThread<S>
where
    S: Service<Request, Future: 'static> + Unpin + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = OnThread<S::Future>;

    #[track_caller]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.must(|service| service.get_mut().poll_ready(cx))
    }

    #[track_caller]
    fn call(&mut self, request: Request) -> Self::Future {
        OnThread::new(self.must(|service| service.get_mut().call(request)))
    }
}

/// With the feature `hyper`.
///
/// # Panics
///
/// When it is polled on another thread, and once the body is gone.
impl<B: Body + 'static> Body for OnThread<B> {
    type Data = B::Data;
    type Error = B::Error;

    #[track_caller]
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.must(|body| body.poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.with(B::is_end_stream).unwrap_or(false)
    }

    fn size_hint(&self) -> SizeHint {
        self.with(B::size_hint).unwrap_or_default()
    }
}

/// With the feature `hyper`. On another thread, and once the stream is gone, an error.
impl<S: Read + 'static> Read for OnThread<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.with_pin_mut(|stream| stream.poll_read(cx, buffer))?
    }
}

/// With the feature `hyper`. On another thread, and once the stream is gone, an error.
impl<S: Write + 'static> Write for OnThread<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.with_pin_mut(|stream| stream.poll_write(cx, bytes))?
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with_pin_mut(|stream| stream.poll_flush(cx))?
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with_pin_mut(|stream| stream.poll_shutdown(cx))?
    }

    fn is_write_vectored(&self) -> bool {
        self.with(S::is_write_vectored).unwrap_or(false)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.with_pin_mut(|stream| stream.poll_write_vectored(cx, slices))?
    }
}
