//! One operation on a worker, whose operands are given back if it is never begun.

use std::{
    future::Future,
    panic::Location,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use crate::{
    error::JoinError,
    pool::{Blocking, DriverKind, PoolShared, Target, with_local},
    spawn::{
        RunBlocking,
        run::Crossing,
        task::{self, Begin},
    },
};

/// What is done on a worker.
pub(super) trait Op: Send + Sized + 'static {
    type Output: Send + 'static;

    /// Does it, on a worker.
    fn run(self) -> impl Future<Output = Self::Output> + 'static;

    /// It was never begun.
    fn refused(self, error: JoinError) -> Self::Output;

    /// It was begun, and did not come back.
    fn lost(error: JoinError) -> Self::Output;
}

/// Structured, as [`CompioPool::run`](crate::CompioPool::run): dropped, it is cancelled.
#[must_use = "the operation is not begun unless this is awaited"]
pub(super) struct RunOp<O: Op> {
    crossing: Crossing<O, O::Output>,
}

impl<O: Op> RunOp<O> {
    #[track_caller]
    pub(super) fn new(pool: &Arc<PoolShared>, op: O) -> Self {
        let target = Target::Pool(Arc::clone(pool));
        Self {
            crossing: Crossing::new(target, op, Location::caller()),
        }
    }
}

// Nothing in it is pinned: the operands are moved to the worker before they are used.
impl<O: Op> Unpin for RunOp<O> {}

impl<O: Op> Future for RunOp<O> {
    type Output = O::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let start =
            |home: &_, op: O, origin| task::begin(home, Unbegun { op, run: O::run }, origin);
        if let Err(op) = ready!(self.crossing.poll_submit(cx, start)) {
            return Poll::Ready(op.refused(JoinError::RuntimeGone));
        }
        let result = ready!(self.crossing.poll_result(|waiting| waiting.poll(cx)));
        Poll::Ready(result.unwrap_or_else(O::lost))
    }
}

/// An operation on its way to a worker: given back, if it is never begun there.
struct Unbegun<O, R> {
    op: O,
    run: R,
}

impl<O, R, Fut> Begin<Fut> for Unbegun<O, R>
where
    O: Op,
    R: FnOnce(O) -> Fut,
    Fut: Future<Output = O::Output>,
{
    fn begin(self) -> Fut {
        (self.run)(self.op)
    }

    fn refuse(self, error: JoinError) -> Result<O::Output, JoinError> {
        Ok(self.op.refused(error))
    }
}

/// Calls `f` with the buffer on one of the pool's blocking threads, and brings both back; the buffer also
/// if there is no such thread.
pub(super) async fn blocking<B, T>(
    threads: Arc<Blocking>,
    buffer: B,
    f: impl FnOnce(&mut B) -> T + Send + 'static,
) -> (Result<T, JoinError>, Option<B>)
where
    B: Send + 'static,
    T: Send + 'static,
{
    let place = Arc::new(Mutex::new(Some(buffer)));
    let inside = Arc::clone(&place);
    let work = move || {
        let mut buffer = lock(&inside).take();
        let outcome = buffer.as_mut().map(f);
        *lock(&inside) = buffer;
        outcome
    };
    let result = RunBlocking::new(threads, work).await;
    let buffer = lock(&place).take();
    let result = result.map(|outcome| outcome.expect("nobody else takes it"));
    (result, buffer)
}

/// Whether the worker that this runs on has a ring; what it cannot do without blocking is for the pool's
/// blocking threads otherwise.
pub(super) fn has_ring() -> bool {
    with_local(|local| {
        matches!(
            local.shared.driver,
            DriverKind::IoUring | DriverKind::IoUringTuned
        )
    }) == Some(true)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
