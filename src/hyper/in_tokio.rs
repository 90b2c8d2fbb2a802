//! Services in the context of a Tokio runtime.

use std::task::{Context, Poll};

use tower_service::Service;

use crate::context::InTokio;

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
