//! Services and bodies that stay on their thread, for routers that ask for `Send`.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use ::hyper::body::{Body, Frame, SizeHint};
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
