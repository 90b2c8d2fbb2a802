use std::{
    cell::{Cell, RefCell},
    fmt,
    future::Future,
    mem,
    panic::Location,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use pin_project_lite::pin_project;

use super::Flavor;
use crate::{
    error::JoinError,
    pool::{Shared, home_here, schedule},
    spawn::{JoinHandle, task},
    unwind::{self, catch, discard, swallow},
};

/// Starts `future` on this thread, on whichever runtime drives it; it goes on by itself.
///
/// Neither the future nor its output need be `Send`.
///
/// # Where it runs
///
/// It is polled and dropped on the calling thread only. Which runtime has it is decided at each call:
/// Compio if its context is set, which it is while that thread drives it, else Tokio:
///
/// | called on | it is a task of | at the end |
/// |---|---|---|
/// | a worker of a [`CompioPool`](crate::CompioPool) | the pool: in its metrics, beyond any `max_in_flight` | [`shutdown`](crate::CompioPool::shutdown) waits for it; what cuts jobs off cuts it off |
/// | a runtime that is [attached](crate::CompioHandle::attach) | that handle's | dropped with the runtime |
/// | a `DualRuntime` | its own | dropped with the runtime |
/// | another Compio runtime | Compio's own | dropped with the runtime |
/// | Tokio, in a `LocalSet` or a local runtime | Tokio's own | dropped with its `LocalSet` |
///
/// Wherever it is, a panic of it stays in it, and dropping the handle lets it go on.
///
/// # Panics
///
/// Where neither runtime's context is set, and on Tokio outside of a `LocalSet` or a local runtime: as
/// both runtimes' own functions of that name do.
///
/// # Examples
///
/// ```
/// use std::rc::Rc;
///
/// use landbridge::rt;
///
/// async fn twice(value: Rc<u32>) -> u32 {
///     rt::spawn_local(async move { *value * 2 }).await.unwrap()
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let compio = compio::runtime::Runtime::new()?;
/// assert_eq!(compio.block_on(twice(Rc::new(21))), 42);
///
/// let tokio = tokio::runtime::Builder::new_current_thread().build()?;
/// let tasks = tokio::task::LocalSet::new();
/// assert_eq!(tasks.block_on(&tokio, twice(Rc::new(21))), 42);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn spawn_local<F>(future: F) -> LocalJoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    if let Some(home) = home_here() {
        let output = Rc::new(Cell::new(None));
        let slot = Rc::clone(&output);
        let done = spawn_at_home(
            &home,
            async move { slot.set(Some(future.await)) },
            Location::caller(),
        );
        return LocalJoinHandle(Inner::Ours { done, output });
    }
    let (task, result) = Foreign::new(future);
    match Flavor::current() {
        Some(Flavor::Compio) => compio::runtime::spawn(task).detach(),
        Some(Flavor::Tokio) => drop(tokio::task::spawn_local(task)),
        None => panic!("`spawn_local` needs the context of a Compio or a Tokio runtime"),
    }
    LocalJoinHandle(Inner::Foreign(result))
}

/// The result of a task that stays on this thread; from [`spawn_local`].
///
/// Resolves to what the task returned, or to a [`JoinError`]: it panicked, was aborted, or its runtime
/// ended first. Dropping it lets the task go on, whichever runtime has it.
///
/// # Cancel safety
///
/// Polling it in a `select!` and going on later loses nothing.
///
/// # Panics
///
/// When polled again after it was ready.
#[must_use = "dropping the handle lets the task go on; say so with `drop`"]
pub struct LocalJoinHandle<T>(Inner<T>);

enum Inner<T> {
    /// A task of a pool's worker or an attached runtime. The output may not cross threads, so it does
    /// not take the way of the result.
    Ours {
        done: JoinHandle<()>,
        output: Rc<Cell<Option<T>>>,
    },
    Foreign(Rc<Outcome<T>>),
}

impl<T> LocalJoinHandle<T> {
    /// Asks for the task's cancellation; does not wait for it.
    ///
    /// The handle then resolves to [`JoinError::Cancelled`], or to the output if the task had it
    /// already, or to the panic if the future's destructor panics.
    pub fn abort(&self) {
        match &self.0 {
            Inner::Ours { done, .. } => done.abort(),
            Inner::Foreign(outcome) => outcome.cancel(),
        }
    }

    /// Cancels the task and waits until its future has been dropped.
    ///
    /// Returns the output if the task had finished before it could be cancelled.
    ///
    /// # Errors
    ///
    /// [`JoinError::Cancelled`] when it was cancelled; otherwise what the task ended with.
    ///
    /// # Cancel safety
    ///
    /// Nothing happens before the first poll. Dropping the future later leaves the cancellation under
    /// way and forgets about it.
    pub async fn cancel(self) -> Result<T, JoinError> {
        self.abort();
        self.await
    }

    /// Whether the task has ended, and the handle would resolve at once; not to be asked once it has.
    pub fn is_finished(&self) -> bool {
        match &self.0 {
            Inner::Ours { done, .. } => done.is_finished(),
            Inner::Foreign(outcome) => outcome.is_done(),
        }
    }
}

impl<T> Unpin for LocalJoinHandle<T> {}

impl<T> Future for LocalJoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Inner::Ours { done, output } => Pin::new(done).poll(cx).map_ok(|()| {
                output
                    .take()
                    .expect("a task that is done has left its output")
            }),
            Inner::Foreign(outcome) => outcome.poll(cx),
        }
    }
}

impl<T> Drop for LocalJoinHandle<T> {
    fn drop(&mut self) {
        // A result that nobody wants any more: its destructor's panic is nobody's either.
        swallow(|| match &self.0 {
            Inner::Ours { output, .. } => drop(output.take()),
            Inner::Foreign(outcome) => outcome.let_go(),
        });
    }
}

impl<T> fmt::Debug for LocalJoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalJoinHandle")
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

/// Starts a helper of something that lives on this thread, in Compio's context; it goes on by itself.
///
/// On a worker or an attached runtime it is a task of ours: a wake-up from another thread goes through
/// the inbox. It is nobody's work: in no metrics, and the pool's shutdown does not wait for it, only for
/// what it has [under way](crate::pool::UnderWay). On another Compio runtime, also one that a job runs
/// inside itself, it is a task of Compio's.
#[track_caller]
pub(crate) fn spawn_helper(helper: impl Future<Output = ()> + 'static) {
    match home_here() {
        Some(home) => schedule(task::new_local_resident(
            &home,
            || helper,
            Location::caller(),
        )),
        None => compio::runtime::spawn(helper).detach(),
    }
}

fn spawn_at_home(
    home: &std::sync::Arc<Shared>,
    future: impl Future<Output = ()> + 'static,
    origin: &'static Location<'static>,
) -> JoinHandle<()> {
    let (job, task) = task::new_local(home, || future, origin);
    let handle = JoinHandle::new(task, &job);
    schedule(job);
    handle
}

/// What became of a task of the runtime's own.
struct Outcome<T> {
    stage: RefCell<Stage<T>>,
    cancelled: Cell<bool>,
    /// Wakes the task, to have it see that it was cancelled.
    task: Cell<Option<Waker>>,
}

enum Stage<T> {
    Running(Option<Waker>),
    Done(Result<T, JoinError>),
    Over,
}

impl<T> Outcome<T> {
    fn cancel(&self) {
        self.cancelled.set(true);
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    fn is_done(&self) -> bool {
        matches!(*self.stage.borrow(), Stage::Done(_))
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        let waker = cx.waker().clone();
        let mut stage = self.stage.borrow_mut();
        let next = match *stage {
            Stage::Running(_) => Stage::Running(Some(waker)),
            Stage::Done(_) => Stage::Over,
            Stage::Over => panic!("polled after it was ready"),
        };
        let before = mem::replace(&mut *stage, next);
        // What is dropped below may come back here.
        drop(stage);
        match before {
            Stage::Done(result) => Poll::Ready(result),
            Stage::Running(_) | Stage::Over => Poll::Pending,
        }
    }

    fn complete(&self, result: Result<T, JoinError>) {
        let before = self.stage.replace(Stage::Done(result));
        match before {
            Stage::Running(Some(waker)) => unwind::wake(waker),
            // Nobody waits any more.
            Stage::Over => swallow(|| self.let_go()),
            Stage::Running(None) | Stage::Done(_) => {}
        }
    }

    fn let_go(&self) {
        let before = self.stage.replace(Stage::Over);
        drop(before);
    }
}

pin_project! {
    /// A task of a runtime that is not ours: catches every panic, and can be cancelled.
    struct Foreign<F>
    where
        F: Future,
    {
        // Taken out when it is over.
        #[pin]
        future: Option<F>,
        outcome: Rc<Outcome<F::Output>>,
    }

    impl<F> PinnedDrop for Foreign<F>
    where
        F: Future,
    {
        fn drop(this: Pin<&mut Self>) {
            if this.future.is_some() {
                let why = if this.outcome.cancelled.get() {
                    JoinError::Cancelled
                } else {
                    JoinError::RuntimeGone
                };
                this.end(Err(why));
            }
        }
    }
}

impl<F: Future> Foreign<F> {
    fn new(future: F) -> (Self, Rc<Outcome<F::Output>>) {
        let outcome = Rc::new(Outcome {
            stage: RefCell::new(Stage::Running(None)),
            cancelled: Cell::new(false),
            task: Cell::new(None),
        });
        let task = Self {
            future: Some(future),
            outcome: Rc::clone(&outcome),
        };
        (task, outcome)
    }

    /// Drops the future, then hands the result over.
    fn end(self: Pin<&mut Self>, result: Result<F::Output, JoinError>) {
        let mut this = self.project();
        let dropped = catch(|| this.future.set(None));
        let task = this.outcome.task.take();
        swallow(|| drop(task));
        let result = match (result, dropped) {
            (result, Ok(())) => result,
            (Err(JoinError::Panicked(first)), Err(second)) => {
                discard(second);
                Err(JoinError::Panicked(first))
            }
            (result, Err(payload)) => {
                swallow(|| drop(result));
                Err(JoinError::panicked(payload))
            }
        };
        this.outcome.complete(result);
    }
}

impl<F: Future> Future for Foreign<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.as_mut().project();
        if this.outcome.cancelled.get() {
            self.end(Err(JoinError::Cancelled));
            return Poll::Ready(());
        }
        let Some(future) = this.future.as_pin_mut() else {
            return Poll::Ready(());
        };
        let before = this.outcome.task.replace(Some(cx.waker().clone()));
        swallow(|| drop(before));
        match catch(|| future.poll(cx)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => self.end(Ok(output)),
            Err(payload) => self.end(Err(JoinError::panicked(payload))),
        }
        Poll::Ready(())
    }
}
