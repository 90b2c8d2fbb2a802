//! One crossing: a closure out, its result back.
//!
//! | from | to | how |
//! |---|---|---|
//! | anywhere | a Compio worker | [`CompioPool::run`], [`CompioPool::spawn`] |
//! | anywhere | a thread that may block | [`CompioPool::run_blocking`] |
//! | anywhere | Tokio | [`TokioHandleExt::run`] |
//!
//! What both directions promise:
//!
//! | event | `run` | `spawn` and its [`JoinHandle`] |
//! |---|---|---|
//! | the waiting future or the handle is dropped | the work is cancelled | the work goes on |
//! | [`abort`](JoinHandle::abort), [`cancel`](JoinHandle::cancel) | – | cancelled; `cancel` resolves when the future has been dropped over there |
//! | the work panics | [`JoinError::Panicked`](crate::error::JoinError::Panicked), payload kept; the worker lives on | the same |
//! | the pool or runtime goes away first | [`JoinError::RuntimeGone`](crate::error::JoinError::RuntimeGone) | the same |
//! | the work was cancelled | [`JoinError::Cancelled`](crate::error::JoinError::Cancelled) | the same |

mod blocking;
mod handover;
mod join;
#[cfg(all(test, landbridge_loom))]
mod loom_handover;
mod run;
pub(crate) mod task;
mod to_tokio;

use std::future::Future;

pub use blocking::RunBlocking;
pub use join::JoinHandle;
pub use run::Run;
pub use to_tokio::{RunOnTokio, TokioHandleExt};

use crate::pool::{CompioPool, schedule};

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
    /// shut down before.
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
    pub fn run<F, Fut>(&self, work: F) -> Run<F, Fut>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future + 'static,
        Fut::Output: Send + 'static,
    {
        Run::new(self.shared().clone(), work)
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
    pub fn spawn<F, Fut>(&self, work: F) -> JoinHandle<Fut::Output>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future + 'static,
        Fut::Output: Send + 'static,
    {
        let pool = self.shared();
        let (job, task) = task::new(pool.pick(), work);
        let handle = JoinHandle::new(task, &job);
        if pool.is_open() {
            schedule(job);
        } else {
            // Never started, so it may be dropped here; that tells the handle.
            drop(job);
        }
        handle
    }
}
