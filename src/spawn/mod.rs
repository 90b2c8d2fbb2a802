//! One crossing: a closure out, its result back.
//!
//! The guide: [work on the other side](crate::guide::spawning).
//!
//! | from | to | how |
//! |---|---|---|
//! | anywhere | a Compio worker | [`CompioPool::run`], [`CompioPool::spawn`] |
//! | anywhere | a thread that may block | [`CompioPool::run_blocking`] |
//! | anywhere | every Compio worker | [`CompioPool::broadcast`] |
//! | a stream on a Compio worker | anywhere | [`CompioPool::stream`] |
//! | anywhere | an object that stays on a Compio worker | [`CompioPool::host`], [`Remote`] |
//! | anywhere | Compio workers, many at once | [`CompioPool::run_batch`] |
//! | anywhere | a Compio runtime that is not a pool's | [`CompioHandle::attach`], [`CompioHandle::run`], [`CompioHandle::spawn`] |
//! | anywhere | Tokio | [`TokioHandleExt::run`], [`TokioHandleExt::spawn_across`] |
//! | a stream on Tokio | anywhere | [`TokioHandleExt::run_stream`] |
//!
//! What both directions promise:
//!
//! | event | `run` | `spawn` and its [`JoinHandle`] | on an [attached](CompioHandle::attach) runtime |
//! |---|---|---|---|
//! | the waiting future or the handle is dropped | the work is cancelled | the work goes on | the same |
//! | [`abort`](JoinHandle::abort), [`cancel`](JoinHandle::cancel) | – | cancelled; `cancel` resolves when the future has been dropped over there | the same, once somebody drives the runtime: see the last row |
//! | the work panics | [`JoinError::Panicked`](crate::error::JoinError::Panicked), payload kept; the worker lives on | the same | the same |
//! | the pool or runtime goes away first | [`JoinError::RuntimeGone`](crate::error::JoinError::RuntimeGone) | the same | the same; at the thread's end if Compio leaks its tasks |
//! | the work was cancelled | [`JoinError::Cancelled`](crate::error::JoinError::Cancelled) | the same | the same |
//! | nobody drives the runtime | cannot be | cannot be | the caller waits; a job that was never begun is not dropped until somebody does |
//!
//! What is not `spawn` promises what `run` does: a call of a [`Remote`], a stream, a batch, each share of
//! a broadcast.

mod batch;
pub(crate) mod blocking;
mod broadcast;
mod completions;
mod handover;
mod join;
#[cfg(all(test, landbridge_loom))]
mod loom_completions;
#[cfg(all(test, landbridge_loom))]
mod loom_handover;
#[cfg(landbridge_loom)]
pub mod model;
mod remote;
pub(crate) mod run;
mod stream;
pub(crate) mod task;
mod to_tokio;
mod trace;

use std::{future::Future, panic::Location, sync::Arc};

pub use batch::{EnumerateJobs, RunBatch};
pub use blocking::RunBlocking;
pub use broadcast::Broadcast;
pub use join::{AbortHandle, JoinHandle};
pub use remote::{Call, CallMut, Finish, Host, Remote};
pub use run::Run;
pub use stream::RunStream;
pub use to_tokio::{RunOnTokio, RunStreamOnTokio, TokioHandleExt};

use crate::{
    error::TrySpawnError,
    pool::{CompioHandle, CompioPool, Offered, Refused, Shared, Target, admitted, is_own},
};

impl CompioPool {
    /// Runs `work` on a worker and waits for it. Structured: the work ends with the future.
    ///
    /// Lazy: nothing is submitted before the first poll. The future is `Send + 'static` and does not
    /// keep the pool alive.
    ///
    /// Costs one allocation (two if the future has 2 KiB or more), and at most one wake-up each way.
    ///
    /// # Where it runs
    ///
    /// See [`CompioPool`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future *requests* the cancellation of the work and does not wait for it. Work that
    /// was not started is dropped without its closure being called. To wait until the work has really
    /// been dropped, use [`spawn`](Self::spawn) and [`JoinHandle::cancel`].
    ///
    /// # Errors
    ///
    /// [`JoinError`](crate::error::JoinError): the work panicked, or the pool went away, or had been
    /// shut down before, or a [`shutdown_timeout`](Self::shutdown_timeout) cut the work off
    /// ([`Cancelled`](crate::error::JoinError::Cancelled)).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = landbridge::CompioPool::builder().threads(1).build()?;
    /// // What is not `Send` may be used inside: it never leaves its worker.
    /// let sum = pool
    ///     .run(async || {
    ///         let parts = std::rc::Rc::new([1, 2, 3]);
    ///         parts.iter().sum::<i32>()
    ///     })
    ///     .await?;
    /// assert_eq!(sum, 6);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn run<F, Fut>(&self, work: F) -> Run<F, Fut>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future + 'static,
        Fut::Output: Send + 'static,
    {
        Run::new(
            Target::Pool(self.shared().clone()),
            work,
            Location::caller(),
        )
    }

    /// Starts `work` on a worker; it goes on by itself.
    ///
    /// Never waits, so that it may be called anywhere.
    ///
    /// # Where it runs
    ///
    /// See [`CompioPool`].
    ///
    /// # Errors
    ///
    /// The handle resolves to [`JoinError::RuntimeGone`](crate::error::JoinError::RuntimeGone) if the
    /// pool has been shut down; the closure is dropped without being called then.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use landbridge::error::JoinError;
    ///
    /// let pool = landbridge::CompioPool::builder().threads(1).build()?;
    /// let answer = pool.spawn(async || 42);
    /// assert_eq!(answer.await?, 42);
    ///
    /// let endless = pool.spawn(async || std::future::pending::<()>().await);
    /// assert!(matches!(endless.cancel().await, Err(JoinError::Cancelled)));
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn<F, Fut>(&self, work: F) -> JoinHandle<Fut::Output>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future + 'static,
        Fut::Output: Send + 'static,
    {
        spawn(self.shared().pick(), work, Location::caller())
    }

    /// [`spawn`](Self::spawn) if there is room for it now; the closure back if not.
    ///
    /// # Where it runs
    ///
    /// See [`CompioPool`].
    ///
    /// # Errors
    ///
    /// [`Full`](TrySpawnError::Full) if as much is in flight as
    /// [`max_in_flight`](crate::pool::Builder::max_in_flight) allows,
    /// [`Closed`](TrySpawnError::Closed) if the pool takes no more work.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use landbridge::error::TrySpawnError;
    ///
    /// let pool = landbridge::CompioPool::builder().threads(1).max_in_flight(1).build()?;
    /// let work = async || std::future::pending::<()>().await;
    /// let endless = pool.try_spawn(work)?;
    /// let Err(TrySpawnError::Full(work)) = pool.try_spawn(work) else {
    ///     unreachable!()
    /// };
    /// assert!(endless.cancel().await.is_err());
    /// assert!(pool.try_spawn(work).is_ok());
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn try_spawn<F, Fut>(&self, work: F) -> Result<JoinHandle<Fut::Output>, TrySpawnError<F>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future + 'static,
        Fut::Output: Send + 'static,
    {
        try_spawn(self.shared().pick(), work, Location::caller())
    }

    /// Runs many closures and brings back their results as they come. Structured: the jobs end with
    /// the stream.
    ///
    /// Cheaper than as many [`run`](Self::run)s: a worker gets its jobs many at a time. One that sleeps
    /// is woken once for up to 64 of them, and for each further time as many. The results of one sleep
    /// of the receiver wake it once. One allocation for each job (two if its future has 2 KiB or more).
    ///
    /// Lazy: the closures are collected at once, but nothing is submitted before the stream is first
    /// polled. Where [`max_in_flight`](crate::pool::Builder::max_in_flight) leaves no room for all, the
    /// rest is submitted as places become free and the stream is polled. Called from a job of the pool it
    /// never waits for places.
    ///
    /// # Where it runs
    ///
    /// See [`CompioPool`]. The jobs are dealt out to all workers in turn, beginning with the one that
    /// a single job would go to; one that is busy for long holds up its share. Each worker starts its
    /// own in their order.
    ///
    /// # Cancel safety
    ///
    /// See [`RunBatch`].
    ///
    /// # Errors
    ///
    /// Each result on its own is what that job's [`run`](Self::run) would be.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use futures::TryStreamExt;
    ///
    /// let pool = landbridge::CompioPool::builder().threads(2).build()?;
    /// let sizes: Vec<u64> = pool
    ///     .run_batch(["Cargo.toml", "README.md"].map(|path| {
    ///         async move || compio::fs::metadata(path).await.unwrap().len()
    ///     }))
    ///     .try_collect()
    ///     .await?;
    /// assert_eq!(sizes.len(), 2);
    /// assert!(sizes.iter().all(|size| *size > 0));
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn run_batch<I, F, Fut>(&self, jobs: I) -> RunBatch<Fut::Output>
    where
        I: IntoIterator<Item = F>,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future + 'static,
        Fut::Output: Send + 'static,
    {
        let target = Target::Pool(self.shared().clone());
        RunBatch::new(target, jobs, Location::caller())
    }
}

impl CompioHandle {
    /// As [`CompioPool::run`], on this runtime.
    #[track_caller]
    pub fn run<F, Fut>(&self, work: F) -> Run<F, Fut>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future + 'static,
        Fut::Output: Send + 'static,
    {
        Run::new(self.target(), work, Location::caller())
    }

    /// As [`CompioPool::spawn`], on this runtime.
    #[track_caller]
    pub fn spawn<F, Fut>(&self, work: F) -> JoinHandle<Fut::Output>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future + 'static,
        Fut::Output: Send + 'static,
    {
        spawn(self.shared(), work, Location::caller())
    }

    /// As [`CompioPool::try_spawn`], on this runtime.
    ///
    /// # Errors
    ///
    /// As there; [`Closed`](TrySpawnError::Closed) also if this worker has ended before its pool did.
    #[track_caller]
    pub fn try_spawn<F, Fut>(&self, work: F) -> Result<JoinHandle<Fut::Output>, TrySpawnError<F>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future + 'static,
        Fut::Output: Send + 'static,
    {
        try_spawn(self.shared(), work, Location::caller())
    }

    /// As [`CompioPool::run_batch`], on this runtime, which starts the jobs in their order.
    #[track_caller]
    pub fn run_batch<I, F, Fut>(&self, jobs: I) -> RunBatch<Fut::Output>
    where
        I: IntoIterator<Item = F>,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future + 'static,
        Fut::Output: Send + 'static,
    {
        RunBatch::new(self.target(), jobs, Location::caller())
    }
}

pub(crate) fn spawn<F, Fut>(
    home: &Arc<Shared>,
    work: F,
    origin: &'static Location<'static>,
) -> JoinHandle<Fut::Output>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future + 'static,
    Fut::Output: Send + 'static,
{
    let (job, task) = task::new(home, work, origin);
    let handle = JoinHandle::new(task, &job);
    let admission = &home.admission;
    let offered = if home.is_ending() {
        Offered::Closed(job)
    } else if !is_own(admission) {
        admission.offer(job)
    } else if admission.force() {
        Offered::Admitted(job)
    } else {
        Offered::Closed(job)
    };
    match offered {
        Offered::Admitted(job) => admitted(home, job),
        // Its worker may have ended meanwhile, and not have seen it.
        Offered::Waits if home.is_ending() => handle.leave_the_queue(),
        Offered::Waits => {}
        // Never started, so it may be dropped here; that tells the handle.
        Offered::Closed(job) => drop(job),
    }
    handle
}

fn try_spawn<F, Fut>(
    home: &Arc<Shared>,
    work: F,
    origin: &'static Location<'static>,
) -> Result<JoinHandle<Fut::Output>, TrySpawnError<F>>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future + 'static,
    Fut::Output: Send + 'static,
{
    if home.is_ending() {
        return Err(TrySpawnError::Closed(work));
    }
    match home.admission.try_admit() {
        Ok(()) => {
            let (job, task) = task::new(home, work, origin);
            let handle = JoinHandle::new(task, &job);
            admitted(home, job);
            Ok(handle)
        }
        Err(Refused::Full) => Err(TrySpawnError::Full(work)),
        Err(Refused::Closed) => Err(TrySpawnError::Closed(work)),
    }
}
