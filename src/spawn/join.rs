//! Waiting for a piece of work on a worker.

use std::{
    cell::RefCell,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use async_task::Task;

#[cfg(landbridge_loom)]
use super::model::{AbortInModel, InModel};
use super::{
    task::Cell,
    to_tokio::{AbortOnTokio, OnTokio},
};
use crate::{
    channel::{Look, Wait},
    error::JoinError,
    pool::{Hold, Job},
    unwind::swallow,
};

/// The result of work that goes on by itself; from [`CompioPool::spawn`](crate::CompioPool::spawn) and
/// [`TokioHandleExt::spawn_across`](super::TokioHandleExt::spawn_across).
///
/// Resolves to what the work returned, or to a [`JoinError`]. Dropping it lets the work go on, as
/// with Tokio's handle and std's; Compio's own handle cancels on drop.
///
/// The guide: [work on the other side](crate::guide::spawning).
///
/// # Where it runs
///
/// It may be awaited, sent and dropped anywhere. While it waits it may look again for up to 20 µs
/// before it lets its task sleep, as the pool's [`Wait`](crate::Wait) says; adaptively, for work on
/// Tokio.
///
/// # Cancel safety
///
/// Polling it in a `select!` and going on later loses nothing.
///
/// # Panics
///
/// When polled again after it was ready.
#[must_use = "dropping the handle lets the work go on; say so with `drop`"]
pub struct JoinHandle<T>(Side<T>);

/// Where the work is.
enum Side<T> {
    Worker(OnWorker<T>),
    Tokio(OnTokio<T>),
    #[cfg(landbridge_loom)]
    Model(InModel<T>),
}

impl<T> JoinHandle<T> {
    pub(crate) fn new(task: Task<(), Cell<T>>, job: &Job) -> Self {
        Self(Side::Worker(OnWorker {
            task: Some(task),
            hold: job.hold(),
            taken: false,
        }))
    }

    pub(super) fn on_tokio(work: OnTokio<T>) -> Self {
        Self(Side::Tokio(work))
    }

    #[cfg(landbridge_loom)]
    pub(super) fn in_model(work: InModel<T>) -> Self {
        Self(Side::Model(work))
    }

    /// Asks for the work's cancellation; does not wait for it.
    ///
    /// The handle then resolves to [`JoinError::Cancelled`], or to the output if the work had it
    /// already, or to the panic if the future's destructor panics.
    pub fn abort(&self) {
        match &self.0 {
            Side::Worker(work) => abort(&work.hold),
            Side::Tokio(work) => work.abort_handle().abort(),
            #[cfg(landbridge_loom)]
            Side::Model(work) => work.abort_handle().abort(),
        }
    }

    /// A handle that can [`abort`](Self::abort) the work and nothing else, for others to keep.
    pub fn abort_handle(&self) -> AbortHandle {
        AbortHandle(match &self.0 {
            Side::Worker(work) => Abort::Worker(work.hold.clone()),
            Side::Tokio(work) => Abort::Tokio(work.abort_handle()),
            #[cfg(landbridge_loom)]
            Side::Model(work) => Abort::Model(work.abort_handle()),
        })
    }

    /// Cancels the work and waits until its future has been dropped over there.
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
        match &self.0 {
            Side::Worker(work) => work.cell().result.is_done(),
            Side::Tokio(work) => work.is_finished(),
            #[cfg(landbridge_loom)]
            Side::Model(work) => work.is_finished(),
        }
    }

    /// Drops work that waits for its place in the pool.
    pub(super) fn leave_the_queue(&self) {
        if let Side::Worker(work) = &self.0 {
            leave_the_queue(&work.hold);
        }
    }
}

impl<T> Unpin for JoinHandle<T> {}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Side::Worker(work) => work.poll(cx),
            Side::Tokio(work) => work.poll(cx),
            #[cfg(landbridge_loom)]
            Side::Model(work) => work.poll(cx),
        }
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
pub struct AbortHandle(Abort);

#[derive(Clone, Debug)]
enum Abort {
    Worker(Hold),
    Tokio(AbortOnTokio),
    #[cfg(landbridge_loom)]
    Model(AbortInModel),
}

impl AbortHandle {
    /// As [`JoinHandle::abort`]; does nothing once the work is finished.
    pub fn abort(&self) {
        match &self.0 {
            Abort::Worker(hold) => abort(hold),
            Abort::Tokio(work) => work.abort(),
            #[cfg(landbridge_loom)]
            Abort::Model(work) => work.abort(),
        }
    }
}

/// What a [`JoinHandle`] has of work on a worker.
struct OnWorker<T> {
    /// Taken only in `drop`.
    task: Option<Task<(), Cell<T>>>,
    /// To have the work see that it was cancelled.
    hold: Hold,
    /// The result was taken: nothing is left to let go of.
    taken: bool,
}

impl<T> OnWorker<T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        let polled = self.cell().poll(cx);
        self.taken |= polled.is_ready();
        polled
    }

    fn cell(&self) -> &Cell<T> {
        self.task.as_ref().expect("taken in drop only").metadata()
    }
}

impl<T> Drop for OnWorker<T> {
    fn drop(&mut self) {
        let task = self.task.take().expect("taken in drop only");
        if !self.taken {
            let_go(&task);
        }
        task.detach();
    }
}

fn abort(hold: &Hold) {
    hold.cancel();
    // It may not even be queued for its worker, which then would not see it for a long time.
    leave_the_queue(hold);
}

fn leave_the_queue(hold: &Hold) {
    // The list is searched from its beginning: not for what is known to be out of it.
    if hold.header().is_admitted() {
        return;
    }
    let home = hold.header().home();
    for job in home.admission.take_jobs(|job| job.is_of(hold)) {
        swallow(|| drop(job));
    }
}

/// The result of work that is cancelled with its waiter: what [`Run`](super::Run) waits with.
pub(crate) struct Scoped<T> {
    /// Taken only in `drop`.
    task: Option<Task<(), Cell<T>>>,
    /// The result was taken: nothing is left to let go of, nor to cancel.
    taken: bool,
}

impl<T> Scoped<T> {
    pub(super) fn new(task: Task<(), Cell<T>>) -> Self {
        Self {
            task: Some(task),
            taken: false,
        }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        let polled = self.cell().poll(cx);
        self.taken |= polled.is_ready();
        polled
    }

    /// [`poll`](Self::poll) without looking again before sleep.
    pub(super) fn poll_quietly(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        let polled = self.cell().result.poll(cx);
        self.taken |= polled.is_ready();
        polled
    }

    fn cell(&self) -> &Cell<T> {
        self.task.as_ref().expect("taken in drop only").metadata()
    }
}

impl<T> Drop for Scoped<T> {
    fn drop(&mut self) {
        let task = self.task.take().expect("taken in drop only");
        if self.taken {
            task.detach();
            return;
        }
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
