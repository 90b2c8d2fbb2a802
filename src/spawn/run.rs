//! Structured work: cancelled with the one who waits for it.

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    mem,
    panic::Location,
    pin::Pin,
    task::{Context, Poll, ready},
};

use super::{join::Scoped, task};
use crate::{
    error::JoinError,
    pool::{Place, Target, admitted},
    unwind::catch,
};

/// The future of [`CompioPool::run`](crate::CompioPool::run) and [`CompioHandle::run`](crate::CompioHandle::run).
///
/// Lazy: nothing is submitted before the first poll. It is `Send + 'static` whatever the work's
/// future is, and does not keep the pool alive.
#[must_use = "the work is not submitted unless this is awaited"]
pub struct Run<F, Fut: Future> {
    state: State<F, Fut::Output>,
    /// The future exists on its worker only.
    future: PhantomData<fn() -> Fut>,
}

enum State<F, T> {
    /// Before it is submitted, waiting for its place in the pool perhaps.
    Idle {
        place: Place,
        work: F,
        origin: &'static Location<'static>,
    },
    Waiting(Scoped<T>),
    Done,
}

impl<F, Fut: Future> Run<F, Fut> {
    pub(super) fn new(target: Target, work: F, origin: &'static Location<'static>) -> Self {
        Self {
            state: State::Idle {
                place: Place::new(target),
                work,
                origin,
            },
            future: PhantomData,
        }
    }
}

// Nothing in it is pinned: the closure is moved to the worker before it is called.
impl<F, Fut: Future> Unpin for Run<F, Fut> {}

impl<F, Fut> Future for Run<F, Fut>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future + 'static,
    Fut::Output: Send + 'static,
{
    type Output = Result<Fut::Output, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let State::Idle { place, .. } = &mut this.state {
            let has_place = ready!(place.poll(cx));
            let State::Idle {
                place,
                work,
                origin,
            } = mem::replace(&mut this.state, State::Done)
            else {
                unreachable!("just seen");
            };
            if !has_place {
                let refused = match catch(|| drop(work)) {
                    Ok(()) => JoinError::RuntimeGone,
                    Err(payload) => JoinError::panicked(payload),
                };
                return Poll::Ready(Err(refused));
            }
            let (job, task) = task::new(place.target().pick(), work, origin);
            this.state = State::Waiting(Scoped::new(task));
            admitted(job);
        }
        let State::Waiting(waiting) = &this.state else {
            panic!("polled after it was ready");
        };
        let result = waiting.poll(cx);
        if result.is_ready() {
            this.state = State::Done;
        }
        result
    }
}

impl<F, Fut: Future> fmt::Debug for Run<F, Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Idle { .. } => "not submitted",
            State::Waiting(_) => "waiting",
            State::Done => "done",
        };
        f.debug_tuple("Run").field(&state).finish()
    }
}
