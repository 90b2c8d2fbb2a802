//! The same work on every worker.

use std::{
    fmt,
    future::Future,
    mem,
    panic::Location,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use super::{
    run::{Crossing, refuse},
    task,
};
use crate::{
    error::JoinError,
    pool::{CompioPool, Target},
};

/// The future of [`CompioPool::broadcast`].
///
/// Lazy: nothing is submitted before the first poll. It is `Send + 'static` whatever the work's
/// futures are, and does not keep the pool alive.
#[must_use = "the work is not submitted unless this is awaited"]
pub struct Broadcast<F, T> {
    /// By the workers' indices.
    shares: Vec<Share<F, T>>,
}

/// What one worker does.
enum Share<F, T> {
    Waiting(Crossing<(Arc<F>, usize), T>),
    Done(Result<T, JoinError>),
    Taken,
}

// Nothing in it is pinned: the closure is moved to the workers before it is called.
impl<F, T> Unpin for Broadcast<F, T> {}

impl<F, T> Future for Broadcast<F, T>
where
    F: AsyncFn(usize) -> T + Send + Sync + 'static,
    T: Send + 'static,
{
    type Output = Vec<Result<T, JoinError>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut all_done = true;
        for share in &mut self.shares {
            let Share::Waiting(crossing) = share else {
                continue;
            };
            // None is looked for: that would hold up the submission of the next.
            let submitted = crossing.poll_submit(cx, |home, (work, index), origin| {
                task::new(home, move || async move { work(index).await }, origin)
            });
            let polled = match submitted {
                Poll::Ready(Ok(())) => crossing.poll_result(|work| work.poll_quietly(cx)),
                Poll::Ready(Err(work)) => Poll::Ready(Err(refuse(work))),
                Poll::Pending => Poll::Pending,
            };
            match polled {
                Poll::Ready(result) => *share = Share::Done(result),
                Poll::Pending => all_done = false,
            }
        }
        if !all_done {
            return Poll::Pending;
        }
        let take = |share: &mut _| match mem::replace(share, Share::Taken) {
            Share::Done(result) => result,
            Share::Waiting(_) | Share::Taken => panic!("polled after it was ready"),
        };
        Poll::Ready(self.shares.iter_mut().map(take).collect())
    }
}

impl<F, T> fmt::Debug for Broadcast<F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_waiting = |share: &&_| matches!(share, Share::Waiting(_));
        f.debug_struct("Broadcast")
            .field("workers", &self.shares.len())
            .field("waiting", &self.shares.iter().filter(is_waiting).count())
            .finish()
    }
}

impl CompioPool {
    /// Runs `work` on every worker, and waits for all of them: to set something up on each thread, or to
    /// ask each.
    ///
    /// `work` is called with the worker's index. What the workers returned comes in that order, one
    /// result for each: a share that panicked costs the others nothing.
    ///
    /// Lazy: nothing is submitted before the first poll. The future is `Send + 'static` and does not
    /// keep the pool alive. In a bounded pool each share waits for a place of its own, and may be done
    /// before another has begun: shares that wait for each other may wait for ever there.
    ///
    /// # Where it runs
    ///
    /// Each call of the closure, and the future that it returns, on its own worker. The closure is
    /// shared by all of them, so it must be `Sync`, too, and is dropped by whoever has it last.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future *requests* the cancellation of every share.
    ///
    /// # Errors
    ///
    /// Each result is what [`run`](Self::run) would have said.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::cell::Cell;
    ///
    /// thread_local! {
    ///     static SHARD: Cell<Option<usize>> = const { Cell::new(None) };
    /// }
    ///
    /// let pool = landbridge::CompioPool::builder().threads(3).build()?;
    /// for result in pool.broadcast(async |index| SHARD.set(Some(index))).await {
    ///     result?;
    /// }
    /// assert_eq!(pool.worker(2)?.run(async || SHARD.get()).await?, Some(2));
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn broadcast<F, T>(&self, work: F) -> Broadcast<F, T>
    where
        F: AsyncFn(usize) -> T + Send + Sync + 'static,
        T: Send + 'static,
    {
        let (work, origin) = (Arc::new(work), Location::caller());
        let share = |worker: crate::CompioHandle| {
            let call = (Arc::clone(&work), worker.index());
            let target = Target::Worker(Arc::clone(worker.shared()));
            Share::Waiting(Crossing::new(target, call, origin))
        };
        Broadcast {
            shares: self.workers().map(share).collect(),
        }
    }
}
