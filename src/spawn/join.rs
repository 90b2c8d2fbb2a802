//! Waiting for a piece of work on a worker.

use std::{
    cell::RefCell,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use async_task::Task;

use super::task::Cell;
use crate::{
    channel::{Look, Wait},
    error::JoinError,
    pool::{Hold, Job},
    unwind::swallow,
};

/// The result of work that goes on by itself; from [`CompioPool::spawn`](crate::CompioPool::spawn).
///
/// Resolves to what the work returned, or to a [`JoinError`]. Dropping it lets the work go on, as
/// with Tokio's handle and std's; Compio's own handle cancels on drop.
///
/// # Where it runs
///
/// It may be awaited, sent and dropped anywhere. While it waits it may look again for up to 20 µs
/// before it lets its task sleep, as the pool's [`Wait`](crate::Wait) says.
///
/// # Cancel safety
///
/// Polling it in a `select!` and going on later loses nothing.
///
/// # Panics
///
/// When polled again after it was ready.
#[must_use = "dropping the handle lets the work go on; say so with `drop`"]
pub struct JoinHandle<T> {
    /// Taken only in `drop`.
    task: Option<Task<(), Cell<T>>>,
    /// To have the work see that it was cancelled.
    hold: Hold,
}

impl<T> JoinHandle<T> {
    pub(crate) fn new(task: Task<(), Cell<T>>, job: &Job) -> Self {
        Self {
            task: Some(task),
            hold: job.hold(),
        }
    }

    /// Asks for the work's cancellation; does not wait for it.
    ///
    /// The handle then resolves to [`JoinError::Cancelled`], or to the output if the work had it
    /// already, or to the panic if the future's destructor panics.
    pub fn abort(&self) {
        abort(&self.hold);
    }

    /// A handle that can [`abort`](Self::abort) the work and nothing else, for others to keep.
    pub fn abort_handle(&self) -> AbortHandle {
        AbortHandle {
            hold: self.hold.clone(),
        }
    }

    /// Cancels the work and waits until its future has been dropped on its worker.
    ///
    /// Returns the output if the work had finished before it could be cancelled.
    ///
    /// # Errors
    ///
    /// [`JoinError::Cancelled`] when it was cancelled; otherwise what the work ended with.
    ///
    /// # Cancel safety
    ///
    /// Nothing happens before the first poll. Dropping the future later leaves the cancellation under
    /// way and forgets about it.
    pub async fn cancel(self) -> Result<T, JoinError> {
        self.abort();
        self.await
    }

    /// Whether the handle would resolve at once.
    pub fn is_finished(&self) -> bool {
        self.cell().result.is_done()
    }

    fn cell(&self) -> &Cell<T> {
        self.task.as_ref().expect("taken in drop only").metadata()
    }
}

impl<T> Unpin for JoinHandle<T> {}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.cell().poll(cx)
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        let task = self.task.take().expect("taken in drop only");
        let_go(&task);
        task.detach();
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

/// Asks for the cancellation of work; from [`JoinHandle::abort_handle`].
///
/// It does not keep the work going, nor wait for it. It keeps some memory of the task until it is
/// dropped.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use landbridge::error::JoinError;
///
/// let pool = landbridge::CompioPool::builder().threads(1).build()?;
/// let endless = pool.spawn(async || std::future::pending::<()>().await);
/// let abort = endless.abort_handle();
/// std::thread::spawn(move || abort.abort());
/// assert!(matches!(endless.await, Err(JoinError::Cancelled)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct AbortHandle {
    hold: Hold,
}

impl AbortHandle {
    /// As [`JoinHandle::abort`]; does nothing once the work is finished.
    pub fn abort(&self) {
        abort(&self.hold);
    }
}

fn abort(hold: &Hold) {
    hold.cancel();
    // It may not even be queued for its worker, which then would not see it for a long time.
    let home = hold.header().home();
    for job in home.admission.take_jobs(|job| job.is_of(hold)) {
        swallow(|| drop(job));
    }
}

/// The result of work that is cancelled with its waiter: what [`Run`](super::Run) waits with.
pub(super) struct Scoped<T>(Option<Task<(), Cell<T>>>);

impl<T> Scoped<T> {
    pub(super) fn new(task: Task<(), Cell<T>>) -> Self {
        Self(Some(task))
    }

    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        let task = self.0.as_ref().expect("taken in drop only");
        task.metadata().poll(cx)
    }
}

impl<T> Drop for Scoped<T> {
    fn drop(&mut self) {
        let task = self.0.take().expect("taken in drop only");
        // Tells a future that is dropped because of this from one that lost its worker.
        task.metadata().header.set_cancelled();
        let_go(&task);
        // Cancels: `async_task` queues the task once more if need be, for its worker to drop it.
        drop(task);
    }
}

/// Nobody will take the result; one that is there already is dropped here. A panic of that, or of the
/// destructor of the waiter's waker, must not decide what becomes of the work.
fn let_go<T>(task: &Task<(), Cell<T>>) {
    let (result, waker) = task.metadata().result.let_go();
    swallow(|| drop(result));
    swallow(|| drop(waker));
}

impl<T> Cell<T> {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        let home = self.header.home();
        // The worker cannot finish it while it is busy looking.
        if !self.result.is_done() && !home.is_this_thread() {
            look_again(home.wait, || self.result.is_done());
        }
        self.result.poll(cx)
    }
}

/// Looks for a result a little longer before letting the caller's task sleep, if that has been paying
/// on this thread.
pub(super) fn look_again(wait: Wait, found: impl FnMut() -> bool) {
    thread_local! {
        static LOOK: RefCell<Look> = const { RefCell::new(Look::new(Wait::Adaptive)) };
    }
    match wait {
        Wait::Adaptive => {
            _ = LOOK.try_with(|look| look.borrow_mut().look(found));
        }
        other => {
            Look::new(other).look(found);
        }
    }
}
