//! Structured work: cancelled with the one who waits for it.

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    mem,
    panic::Location,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use async_task::Task;

use super::{
    join::Scoped,
    task::{self, Cell},
};
use crate::{
    error::JoinError,
    pool::{Job, Place, Shared, Target, admitted},
    unwind::catch,
};

/// The future of [`CompioPool::run`](crate::CompioPool::run) and [`CompioHandle::run`](crate::CompioHandle::run).
///
/// Lazy: nothing is submitted before the first poll. It is `Send + 'static` whatever the work's
/// future is, and does not keep the pool alive.
#[must_use = "the work is not submitted unless this is awaited"]
pub struct Run<F, Fut: Future> {
    crossing: Crossing<F, Fut::Output>,
    /// The future exists on its worker only.
    future: PhantomData<fn() -> Fut>,
}

impl<F, Fut: Future> Run<F, Fut> {
    pub(super) fn new(target: Target, work: F, origin: &'static Location<'static>) -> Self {
        Self {
            crossing: Crossing::new(target, work, origin),
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
        self.crossing.poll(cx, task::new)
    }
}

impl<F, Fut: Future> fmt::Debug for Run<F, Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.crossing.fmt_as("Run", f)
    }
}

/// A worker, the work, and where the user's code asked for it, to the task that is made of them.
///
/// A function, given at each poll, and not a part of the crossing: so the types of the futures that
/// wait for one need not name the task's closure.
pub(crate) trait Start<W, T>:
    FnOnce(&Arc<Shared>, W, &'static Location<'static>) -> (Job, Task<(), Cell<T>>)
{
}

impl<W, T, S> Start<W, T> for S where
    S: FnOnce(&Arc<Shared>, W, &'static Location<'static>) -> (Job, Task<(), Cell<T>>)
{
}

/// Work that is not submitted, then waited for: what every structured call is made of.
pub(crate) enum Crossing<W, T> {
    /// Before it is submitted, waiting for its place in the pool perhaps.
    Idle {
        place: Place,
        work: W,
        origin: &'static Location<'static>,
    },
    Waiting(Scoped<T>),
    Done,
}

impl<W, T> Crossing<W, T> {
    pub(crate) fn new(target: Target, work: W, origin: &'static Location<'static>) -> Self {
        Self::Idle {
            place: Place::new(target),
            work,
            origin,
        }
    }

    #[inline]
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        start: impl Start<W, T>,
    ) -> Poll<Result<T, JoinError>> {
        if let Err(work) = ready!(self.poll_submit(cx, start)) {
            return Poll::Ready(Err(refuse(work)));
        }
        self.poll_result(|waiting| waiting.poll(cx))
    }

    /// Ready once the work has been submitted, or, with the work, if it never will be.
    #[inline]
    pub(crate) fn poll_submit(
        &mut self,
        cx: &mut Context<'_>,
        start: impl Start<W, T>,
    ) -> Poll<Result<(), W>> {
        let Self::Idle { place, .. } = self else {
            return Poll::Ready(Ok(()));
        };
        let has_place = ready!(place.poll(cx));
        let Self::Idle {
            place,
            work,
            origin,
        } = mem::replace(self, Self::Done)
        else {
            unreachable!("just seen");
        };
        if !has_place {
            return Poll::Ready(Err(work));
        }
        let home = place.target().pick();
        let (job, task) = start(home, work, origin);
        *self = Self::Waiting(Scoped::new(task));
        admitted(home, job);
        Poll::Ready(Ok(()))
    }

    /// The result of what was submitted, asked for with `poll`.
    #[inline]
    pub(crate) fn poll_result(
        &mut self,
        poll: impl FnOnce(&mut Scoped<T>) -> Poll<Result<T, JoinError>>,
    ) -> Poll<Result<T, JoinError>> {
        let Self::Waiting(waiting) = self else {
            panic!("polled after it was ready");
        };
        let result = poll(waiting);
        if result.is_ready() {
            *self = Self::Done;
        }
        result
    }

    /// What a future that waits for this has to say of itself.
    pub(super) fn fmt_as(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self {
            Self::Idle { .. } => "not submitted",
            Self::Waiting(_) => "waiting",
            Self::Done => "done",
        };
        f.debug_tuple(name).field(&state).finish()
    }
}

/// Drops work that was never submitted; why it was not.
pub(super) fn refuse<W>(work: W) -> JoinError {
    match catch(|| drop(work)) {
        Ok(()) => JoinError::RuntimeGone,
        Err(payload) => JoinError::panicked(payload),
    }
}
