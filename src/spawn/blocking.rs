//! Work that blocks a thread.

use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use super::handover::Handover;
use crate::{
    error::JoinError,
    pool::{Blocking, CompioPool, Refusal, Work},
    unwind::{self, catch, swallow},
};

/// The future of [`CompioPool::run_blocking`].
///
/// Lazy: nothing is submitted before the first poll. It does not keep the pool alive.
#[must_use = "the work is not submitted unless this is awaited"]
pub struct RunBlocking<F, T> {
    state: State<F, T>,
}

enum State<F, T> {
    Idle {
        threads: Arc<Blocking>,
        work: F,
    },
    Waiting {
        threads: Arc<Blocking>,
        call: Arc<Call<F, T>>,
        /// In the queue; there is none if the work was refused.
        place: Option<u64>,
    },
    Done,
}

impl CompioPool {
    /// Runs `work`, which may block, and waits for its result.
    ///
    /// For what has no asynchronous form, or takes a CPU for long: in a job it would hold up every other
    /// job of its worker.
    ///
    /// # Where it runs
    ///
    /// On a thread of the pool's that does nothing else meanwhile, outside of both runtimes' contexts. At
    /// most [`blocking_threads`](crate::pool::Builder::blocking_threads) closures run at once; further
    /// ones wait in the order in which they were submitted. A closure that waits for another one can so
    /// wait for ever. Signals of the process do not reach these threads.
    ///
    /// The output may be dropped by the caller.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before the closure has begun drops the closure uncalled. Once it runs nothing
    /// can stop it: it goes on to its end, and its output is dropped on its thread.
    ///
    /// A [`shutdown`](CompioPool::shutdown) waits for closures that are queued or run. Dropping the pool
    /// drops those that are queued; those that run go on by themselves, and their results still arrive.
    ///
    /// # Errors
    ///
    /// [`JoinError::Panicked`] with the payload if the closure panicked,
    /// [`JoinError::NoBlockingThreads`] if the pool may have no thread for it, or the operating system
    /// refuses the first, [`JoinError::RuntimeGone`] if the pool has been shut down or is gone.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = landbridge::CompioPool::builder().threads(1).build()?;
    /// let entries = pool
    ///     .run_blocking(|| std::fs::read_dir(".").map(Iterator::count))
    ///     .await??;
    /// assert!(entries > 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn run_blocking<F, T>(&self, work: F) -> RunBlocking<F, T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        RunBlocking::new(Arc::clone(self.blocking()), work)
    }
}

impl<F, T> RunBlocking<F, T> {
    pub(crate) fn new(threads: Arc<Blocking>, work: F) -> Self {
        Self {
            state: State::Idle { threads, work },
        }
    }
}

// Nothing in it is pinned: the closure is moved before it is called.
impl<F, T> Unpin for RunBlocking<F, T> {}

impl<F, T> Future for RunBlocking<F, T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let State::Idle { .. } = this.state {
            let State::Idle { threads, work } = mem::replace(&mut this.state, State::Done) else {
                unreachable!("just seen");
            };
            let call = Arc::new(Call::new(work));
            let place = threads
                .submit(Arc::clone(&call) as Arc<dyn Work>)
                .map_err(|why| call.refuse(why))
                .ok();
            this.state = State::Waiting {
                threads,
                call,
                place,
            };
        }
        let State::Waiting { call, .. } = &this.state else {
            panic!("polled after it was ready");
        };
        let result = call.result.poll(cx);
        if result.is_ready() {
            this.state = State::Done;
        }
        result
    }
}

impl<F, T> Drop for RunBlocking<F, T> {
    fn drop(&mut self) {
        let State::Waiting {
            threads,
            call,
            place,
        } = mem::replace(&mut self.state, State::Done)
        else {
            return;
        };
        let (result, waker) = call.result.let_go();
        swallow(|| drop(result));
        swallow(|| drop(waker));
        if let Some(withdrawn) = place.and_then(|place| threads.withdraw(place)) {
            drop(withdrawn);
            swallow(|| drop(call.take()));
        }
    }
}

impl<F, T> fmt::Debug for RunBlocking<F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Idle { .. } => "not submitted",
            State::Waiting { .. } => "waiting",
            State::Done => "done",
        };
        f.debug_tuple("RunBlocking").field(&state).finish()
    }
}

/// What waits in the queue, and its result.
struct Call<F, T> {
    /// Until it is called, or dropped uncalled.
    work: Mutex<Option<F>>,
    /// Between the call and the hand-over.
    outcome: Mutex<Option<Result<T, JoinError>>>,
    result: Handover<Result<T, JoinError>>,
}

impl<F, T> Call<F, T> {
    fn new(work: F) -> Self {
        Self {
            work: Mutex::new(Some(work)),
            outcome: Mutex::new(None),
            result: Handover::new(),
        }
    }

    fn take(&self) -> Option<F> {
        take(&self.work)
    }

    fn complete(&self, result: Result<T, JoinError>) {
        match self.result.complete(result) {
            Ok(Some(waker)) => unwind::wake(waker),
            Ok(None) => {}
            Err(unwanted) => swallow(|| drop(unwanted)),
        }
    }
}

impl<F, T> Work for Call<F, T>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    fn run(&self) {
        if let Some(work) = self.take() {
            let outcome = catch(work).map_err(JoinError::panicked);
            *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        }
    }

    fn finish(&self) {
        if let Some(outcome) = take(&self.outcome) {
            self.complete(outcome);
        }
    }

    fn refuse(&self, why: Refusal) {
        let error = match catch(|| drop(self.take())) {
            Err(payload) => JoinError::panicked(payload),
            Ok(()) => match why {
                Refusal::Closed => JoinError::RuntimeGone,
                Refusal::CutOff => JoinError::Cancelled,
                Refusal::NoThreads => JoinError::NoBlockingThreads,
            },
        };
        self.complete(Err(error));
    }
}

/// Takes what is there; whoever drops it does so without the lock.
fn take<V>(slot: &Mutex<Option<V>>) -> Option<V> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}
