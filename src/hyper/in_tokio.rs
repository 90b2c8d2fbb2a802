//! Services, bodies and streams in the context of a Tokio runtime.

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

use crate::context::{InTokio, Side, must};

/// With the feature `hyper`. The futures of the service are in the context, too.
///
/// # Panics
///
/// When it would have to wait and the runtime is gone.
impl<Request, S: Service<Request>> Service<Request> for InTokio<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = InTokio<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.poll_unpinned(cx, S::poll_ready)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let future = self.with_mut(|service| service.call(request));
        crate::context::in_tokio(self.handle(), future)
    }
}

/// With the feature `hyper`.
///
/// # Panics
///
/// When it would have to wait and the runtime is gone.
impl<B: Body> Body for InTokio<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.poll_with(Side::Read, cx, B::poll_frame).map(must)
    }

    fn is_end_stream(&self) -> bool {
        self.get_ref().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.get_ref().size_hint()
    }
}

/// With the feature `hyper`. An error when it would have to wait and the runtime is gone.
impl<S: Read> Read for InTokio<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_with(Side::Read, cx, |stream, cx| stream.poll_read(cx, buffer))?
    }
}

/// With the feature `hyper`. An error when it would have to wait and the runtime is gone.
impl<S: Write> Write for InTokio<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_with(Side::Write, cx, |stream, cx| stream.poll_write(cx, bytes))?
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_with(Side::Write, cx, S::poll_flush)?
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_with(Side::Write, cx, S::poll_shutdown)?
    }

    fn is_write_vectored(&self) -> bool {
        self.get_ref().is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_with(Side::Write, cx, |stream, cx| {
            stream.poll_write_vectored(cx, slices)
        })?
    }
}
