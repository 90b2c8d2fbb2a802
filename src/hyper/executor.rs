use std::future::Future;

use ::hyper::rt::Executor;

use crate::rt;

/// Starts hyper's tasks on the thread that they are started on; none of them need be `Send`.
///
/// What `TokioExecutor` of hyper-util is on Tokio: for hyper's `server::conn::http2::Builder`,
/// hyper-util's `server::conn::auto::Builder`, and `client::conn::http2::handshake`. HTTP/1 alone needs
/// none.
///
/// # Where it runs
///
/// Where [`rt::spawn_local`] starts it: on a pool's worker it is a task of the pool, which
/// [`shutdown`](crate::CompioPool::shutdown) waits for. A panic of a task stays in that task; of
/// HTTP/2, it ends that stream.
///
/// # Panics
///
/// Where [`rt::spawn_local`] does: if neither runtime's context is set, and on Tokio outside of a
/// `LocalSet` or a local runtime.
///
/// # Examples
///
/// ```
/// use hyper::rt::Executor;
/// use landbridge::hyper::LocalExecutor;
///
/// let compio = compio::runtime::Runtime::new()?;
/// compio.block_on(async {
///     let (done, is_done) = futures::channel::oneshot::channel();
///     let not_send = std::rc::Rc::new(42);
///     LocalExecutor.execute(async move {
///         _ = done.send(*not_send);
///     });
///     assert_eq!(is_done.await, Ok(42));
/// });
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalExecutor;

impl<F> Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    #[track_caller]
    fn execute(&self, future: F) {
        drop(rt::spawn_local(future));
    }
}
