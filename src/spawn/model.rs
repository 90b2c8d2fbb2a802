//! A stand-in for a worker inside a `loom::model`.
//!
//! There are no workers under `--cfg landbridge_loom`: a Compio driver is no loom thread. What a model
//! of somebody's own code needs is a [`JoinHandle`] and somebody who completes it; that is here.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    task::{Context, Poll},
};

use loom::future::{AtomicWaker, block_on};

use super::{handover::Handover, join::JoinHandle};
use crate::{
    error::JoinError,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Runs `future` on a loom thread of its own; the handle is what
/// [`CompioPool::spawn`](crate::CompioPool::spawn) gives, with the same promises.
///
/// Only under `--cfg landbridge_loom`, and only inside `loom::model`. `tests/loom_user.rs` shows a model
/// of a user's own.
///
/// # Panics
///
/// Outside of a model. A panic of the future is the model's.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let task = InModel {
        result: Arc::new(Handover::new()),
        control: AbortInModel(Arc::new(Control {
            cancelled: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        })),
    };
    let (result, control) = (task.result.clone(), task.control.clone());
    loom::thread::spawn(move || {
        let outcome = control.run(future);
        if let Ok(Some(waker)) = result.complete(outcome) {
            waker.wake();
        }
    });
    JoinHandle::in_model(task)
}

/// What `async_task` and our cell do for a real task, by their contract: a task that is woken is polled
/// once more, sees what was written before the wake, and is never polled by two at once.
struct Control {
    cancelled: AtomicBool,
    waker: AtomicWaker,
}

/// Asks for the cancellation of work in a model.
#[derive(Clone)]
pub(super) struct AbortInModel(Arc<Control>);

impl AbortInModel {
    /// The future is dropped before its result is seen, as on a worker.
    fn run<T>(&self, future: impl Future<Output = T>) -> Result<T, JoinError> {
        let mut future = pin!(future);
        block_on(poll_fn(|cx| {
            self.0.waker.register_by_ref(cx.waker());
            if self.0.cancelled.load(Ordering::Acquire) {
                return Poll::Ready(Err(JoinError::Cancelled));
            }
            future.as_mut().poll(cx).map(Ok)
        }))
    }

    pub(super) fn abort(&self) {
        self.0.cancelled.store(true, Ordering::Release);
        self.0.waker.wake();
    }
}

impl fmt::Debug for AbortInModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AbortInModel").finish_non_exhaustive()
    }
}

/// What a [`JoinHandle`] has of work in a model.
pub(super) struct InModel<T> {
    result: Arc<Handover<Result<T, JoinError>>>,
    control: AbortInModel,
}

impl<T> InModel<T> {
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        self.result.poll(cx)
    }

    pub(super) fn is_finished(&self) -> bool {
        self.result.is_done()
    }

    pub(super) fn abort_handle(&self) -> AbortInModel {
        self.control.clone()
    }
}

impl<T> Drop for InModel<T> {
    fn drop(&mut self) {
        drop(self.result.let_go());
    }
}
