//! How a closure becomes a job.
//!
//! The task's one allocation is made by whoever submits it and holds, side by side, `async_task`'s
//! state, the [`Cell`] (the inbox's link and the hand-over of the result) and the [`Body`]. The body
//! is the closure until the worker polls it for the first time, and from then on the future that the
//! closure returned.

#![expect(
    unsafe_code,
    reason = "`async_task` leaves it to us where a future that is not `Send` is polled and dropped"
)]

use std::{
    future::Future,
    marker::PhantomData,
    panic::Location,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Waker},
};

use async_task::{Builder, Task};
use pin_project_lite::pin_project;

use super::{handover::Handover, trace::Trace};
use crate::{
    error::JoinError,
    pool::{Doing, Header, Hold, Job, Metadata, Shared, local, release, schedule, with_local},
    unwind::{self, catch, discard, swallow},
};

/// The way back of a task's result.
pub(crate) trait WayBack<T>: Send + Sync + 'static {
    /// Hands the result over. The waker, if somebody is to be told, is woken by the caller; a result
    /// that nobody wants comes back.
    fn complete(&self, result: Result<T, JoinError>)
    -> Result<Option<Waker>, Result<T, JoinError>>;
}

impl<T: Send + 'static> WayBack<T> for Handover<Result<T, JoinError>> {
    fn complete(
        &self,
        result: Result<T, JoinError>,
    ) -> Result<Option<Waker>, Result<T, JoinError>> {
        Handover::complete(self, result)
    }
}

/// A task's metadata: what it shares with those who wait for it.
#[derive(Debug)]
pub(crate) struct Cell<T, R = Handover<Result<T, JoinError>>> {
    pub(crate) header: Header,
    pub(crate) result: R,
    /// It is the way back that has the output, if anything has.
    output: PhantomData<fn() -> T>,
}

// SAFETY: `header` is a field.
unsafe impl<T: 'static, R: WayBack<T>> Metadata for Cell<T, R> {
    fn header(&self) -> &Header {
        &self.header
    }

    fn abandon(&self) {
        if self.header.is_admitted() {
            release(self.header.home());
        }
        self.finish(Err(JoinError::RuntimeGone), false);
    }
}

impl<T, R: WayBack<T>> Cell<T, R> {
    /// Hands the result over and tells the one who waits. Panics of foreign code stay here.
    ///
    /// `by_worker`: it is the worker that calls, for a task that it began.
    fn finish(&self, result: Result<T, JoinError>, by_worker: bool) {
        let waker = match self.result.complete(result) {
            Ok(waker) => waker,
            Err(unwanted) => return swallow(|| drop(unwanted)),
        };
        if by_worker && self.header.crosses() {
            let own = &self.header.home().own.0;
            // Only now is it known; so whoever takes the result may be a moment ahead of these two.
            own.crossings_out.add(1);
            own.callers_woken.add(waker.is_some().into());
        }
        if let Some(waker) = waker {
            unwind::wake(waker);
        }
    }
}

/// What becomes a future on a worker: a closure, or what is given back if that never comes to pass.
pub(crate) trait Begin<Fut: Future> {
    fn begin(self) -> Fut;

    /// It is never begun, for this reason; what the one who waits is told.
    fn refuse(self, error: JoinError) -> Result<Fut::Output, JoinError>;
}

impl<F, Fut> Begin<Fut> for F
where
    F: FnOnce() -> Fut,
    Fut: Future,
{
    fn begin(self) -> Fut {
        self()
    }

    fn refuse(self, error: JoinError) -> Result<Fut::Output, JoinError> {
        drop(self);
        Err(error)
    }
}

/// Makes a task of a closure that may be called on another thread: on `home`, at its first poll.
pub(crate) fn new<F, Fut>(
    home: &Arc<Shared>,
    work: F,
    origin: &'static Location<'static>,
) -> (Job, Task<(), Cell<Fut::Output>>)
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future + 'static,
    Fut::Output: Send + 'static,
{
    begin(home, work, origin)
}

/// [`new`], of what may be given back.
pub(crate) fn begin<F, Fut>(
    home: &Arc<Shared>,
    work: F,
    origin: &'static Location<'static>,
) -> (Job, Task<(), Cell<Fut::Output>>)
where
    F: Begin<Fut> + Send + 'static,
    Fut: Future + 'static,
    Fut::Output: Send + 'static,
{
    home.counts.0.given.fetch_add(1, Ordering::Relaxed);
    let trace = Trace::crossing(home, origin, size_of::<Fut>());
    // SAFETY: the future may not be `Send`. Until the body's first poll there is no future, only the
    // closure, which is `Send`. From then on the task is marked as started, and `pool` polls and
    // drops started tasks on their worker only: `schedule` queues them for it and leaks them when it
    // is gone, and the worker's end (`pool::shutdown`) drops every one before it closes the inbox, those
    // included that another thread is about to queue.
    // `schedule` is `Send + Sync`, and everything is `'static`.
    unsafe { spawn(home, work, Handover::new(), !home.is_here(), origin, trace) }
}

/// [`new`], with another way back.
pub(crate) fn new_with<F, Fut, R>(
    home: &Arc<Shared>,
    work: F,
    result: R,
    origin: &'static Location<'static>,
) -> (Job, Task<(), Cell<Fut::Output, R>>)
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future + 'static,
    Fut::Output: Send + 'static,
    R: WayBack<Fut::Output>,
{
    home.counts.0.given.fetch_add(1, Ordering::Relaxed);
    let trace = Trace::crossing(home, origin, size_of::<Fut>());
    // SAFETY: as in `new`.
    unsafe { spawn(home, work, result, !home.is_here(), origin, trace) }
}

/// Makes a task of a closure that stays on this thread, which is `home`.
pub(crate) fn new_local<F, Fut>(
    home: &Arc<Shared>,
    work: F,
    origin: &'static Location<'static>,
) -> (Job, Task<(), Cell<Fut::Output>>)
where
    F: FnOnce() -> Fut + 'static,
    Fut: Future + 'static,
    Fut::Output: Send + 'static,
{
    debug_assert!(home.is_this_thread());
    home.counts.0.given.fetch_add(1, Ordering::Relaxed);
    let trace = Trace::local(origin, size_of::<Fut>());
    // SAFETY: as in `new`, but the closure is not `Send` either: the task is marked as started below,
    // before anybody else can know of it.
    let (job, task) = unsafe { spawn(home, work, Handover::new(), false, origin, trace) };
    job.header().set_queued();
    job.header().set_started();
    (job, task)
}

/// Makes a job of a closure that waits on behalf of others, for as long as its worker lives: nobody's work,
/// so it is in no metrics and no span, takes no place in a pool, and a shutdown drops it with the worker.
#[cfg(all(feature = "net", unix))]
pub(crate) fn new_resident<F, Fut>(
    home: &Arc<Shared>,
    work: F,
    origin: &'static Location<'static>,
) -> Job
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = ()> + 'static,
{
    // SAFETY: as in `begin`.
    let (job, task) = unsafe { spawn(home, work, Handover::new(), false, origin, Trace::none()) };
    job.header().set_resident();
    task.detach();
    job
}

/// [`new_resident`], of a closure that stays on this thread, which is `home`.
pub(crate) fn new_local_resident<F, Fut>(
    home: &Arc<Shared>,
    work: F,
    origin: &'static Location<'static>,
) -> Job
where
    F: FnOnce() -> Fut + 'static,
    Fut: Future<Output = ()> + 'static,
{
    debug_assert!(home.is_this_thread());
    // SAFETY: as in `new_local`.
    let (job, task) = unsafe { spawn(home, work, Handover::new(), false, origin, Trace::none()) };
    job.header().set_resident();
    job.header().set_started();
    task.detach();
    job
}

/// # Safety
///
/// The closure, and the future that it returns unless the task has never been polled, are used and
/// dropped on `home`'s thread only.
unsafe fn spawn<F, Fut, R>(
    home: &Arc<Shared>,
    work: F,
    result: R,
    crosses: bool,
    origin: &'static Location<'static>,
    trace: Trace,
) -> (Job, Task<(), Cell<Fut::Output, R>>)
where
    F: Begin<Fut> + 'static,
    Fut: Future + 'static,
    Fut::Output: Send + 'static,
    R: WayBack<Fut::Output>,
{
    let cell = Cell {
        header: Header::new::<Cell<Fut::Output, R>>(Arc::clone(home), crosses, origin),
        result,
        output: PhantomData,
    };
    let builder = Builder::new().metadata(cell);
    // SAFETY: this function's contract.
    let (runnable, task) = unsafe {
        builder.spawn_unchecked(
            move |cell| Body {
                stage: Stage::Closure { work: Some(work) },
                cell,
                begun: false,
                key: None,
                trace,
            },
            |runnable| schedule(Job::new(runnable)),
        )
    };
    (Job::new(runnable), task)
}

pin_project! {
    #[project = BodyProjection]
    /// What a task polls. Catches every panic of the work: `async_task` would end the process for
    /// one in a destructor.
    struct Body<'a, F, Fut, R>
    where
        F: Begin<Fut>,
        Fut: Future,
        Fut::Output: 'static,
        R: WayBack<Fut::Output>,
    {
        #[pin]
        stage: Stage<F, Fut>,
        cell: &'a Cell<Fut::Output, R>,
        // Polled at least once.
        begun: bool,
        // The entry in the worker's registry, from the end of the first poll until the end of the task.
        key: Option<usize>,
        trace: Trace,
    }

    impl<F, Fut, R> PinnedDrop for Body<'_, F, Fut, R>
    where
        F: Begin<Fut>,
        Fut: Future,
        Fut::Output: 'static,
        R: WayBack<Fut::Output>,
    {
        fn drop(this: Pin<&mut Self>) {
            // After `poll` has returned ready there is nothing left to do here.
            if !matches!(this.stage, Stage::Over) {
                this.end(Err(Unfinished::Dropped));
            }
        }
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<F, Fut> {
        Closure { work: Option<F> },
        Future { #[pin] future: Fut },
        Over,
    }
}

/// Why there is no output.
enum Unfinished {
    Cancelled,
    Dropped,
    Panicked(Box<dyn std::any::Any + Send>),
}

impl<F, Fut, R> Future for Body<'_, F, Fut, R>
where
    F: Begin<Fut>,
    Fut: Future,
    Fut::Output: 'static,
    R: WayBack<Fut::Output>,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.begun {
            self.as_mut().start();
        }
        let header = &self.cell.header;
        let home = header.home();
        home.own.0.note.write(match self.key {
            Some(key) => Doing::Job(key),
            None => Doing::First(header.origin()),
        });
        if header.is_cancelled() {
            self.end(Err(Unfinished::Cancelled));
            return Poll::Ready(());
        }
        let local = local().expect("tasks are polled by their worker");
        let BodyProjection { stage, trace, .. } = self.as_mut().project();
        let polled = local.polling(header, || catch(|| trace.enter(|| stage.poll(cx))));
        match polled {
            Ok(Poll::Pending) => {
                if self.key.is_none() {
                    // SAFETY: a body is polled by its own task's runnable only, with that task's
                    // waker, and its cell is that task's metadata (`spawn`).
                    let hold = unsafe { Hold::new(header, cx.waker().clone()) };
                    *self.as_mut().project().key = Some(local.register(hold));
                }
                home.own.0.note.write(Doing::Nothing);
                // The shutdown that it waits for may wait for jobs that wait for its place.
                if local.is_exempt(header) && header.take_admitted() {
                    release(home);
                }
                return Poll::Pending;
            }
            Ok(Poll::Ready(output)) => self.end(Ok(output)),
            Err(payload) => self.end(Err(Unfinished::Panicked(payload))),
        }
        Poll::Ready(())
    }
}

impl<F, Fut, R> Body<'_, F, Fut, R>
where
    F: Begin<Fut>,
    Fut: Future,
    Fut::Output: 'static,
    R: WayBack<Fut::Output>,
{
    /// Called at the first poll.
    fn start(self: Pin<&mut Self>) {
        let this = self.project();
        *this.begun = true;
        let header = &this.cell.header;
        // What is made here, by a job that goes on, is not cut off with what was there before.
        let made_here = header.is_started() || header.is_background();
        header.set_started();
        let home = header.home();
        if home.is_cut_off() && !made_here {
            header.set_cancelled();
        }
        if let Some(queued) = header.starts() {
            home.own.0.enqueue_to_start.record(queued);
        }
    }

    /// Drops the work, closes its spans, does the accounts, then hands the result over: whoever sees
    /// the result may rely on the future's being gone and on the counters.
    fn end(mut self: Pin<&mut Self>, outcome: Result<Fut::Output, Unfinished>) {
        let unfinished = matches!(outcome, Err(Unfinished::Cancelled | Unfinished::Dropped));
        if self.begun && matches!(outcome, Err(Unfinished::Dropped)) {
            let header = &self.cell.header;
            header.home().own.0.note.write(match self.key {
                Some(key) => Doing::Job(key),
                None => Doing::First(header.origin()),
            });
        }
        let error = match &outcome {
            Err(Unfinished::Dropped) if !self.cell.header.is_cancelled() => {
                Some(JoinError::RuntimeGone)
            }
            Err(Unfinished::Cancelled | Unfinished::Dropped) => Some(JoinError::Cancelled),
            Ok(_) | Err(Unfinished::Panicked(_)) => None,
        };
        let dropped = catch(|| {
            let this = self.as_mut().project();
            this.trace.enter(|| this.stage.end(error))
        });
        let this = self.project();
        this.trace.close();
        let home = this.cell.header.home();
        let result = match (outcome, dropped) {
            (Ok(output), Ok(_)) => Ok(output),
            (Err(Unfinished::Cancelled | Unfinished::Dropped), Ok(Some(refused))) => refused,
            (Err(Unfinished::Panicked(first)), dropped) => {
                if let Err(second) = dropped {
                    discard(second);
                }
                Err(JoinError::panicked(first))
            }
            (outcome, Err(payload)) => {
                swallow(|| drop(outcome));
                Err(JoinError::panicked(payload))
            }
            (Err(Unfinished::Cancelled | Unfinished::Dropped), Ok(None)) => {
                unreachable!("there is an error to be told")
            }
        };
        let begun = *this.begun;
        let resident = this.cell.header.is_resident();
        if begun {
            if let Some(took) = this.cell.header.ends() {
                home.own.0.start_to_finish.record(took);
            }
            let count = match &result {
                Err(JoinError::Panicked(_) | JoinError::NoBlockingThreads) => &home.own.0.panicked,
                Ok(_) if !unfinished => &home.own.0.completed,
                Ok(_) | Err(_) => &home.own.0.cancelled,
            };
            if !resident {
                // Only the worker gets here: the task has been started.
                count.add(1);
            }
            home.own.0.note.write(Doing::Nothing);
            let (key, header) = (this.key.take(), &this.cell.header);
            with_local(|local| {
                local.forget(header);
                if let Some(key) = key {
                    local.deregister(key);
                }
            });
        } else if !resident {
            // Whoever drops a job that was never begun. Release: whoever sees this end sees the job's
            // beginning, too.
            home.counts.0.never_begun.fetch_add(1, Ordering::Release);
        }
        if unfinished && home.is_cut_off() && !this.cell.header.is_background() {
            home.counts.0.cut_off.fetch_add(1, Ordering::Relaxed);
        }
        if !home.is_here() {
            // It may be draining, and this the last that it waits for.
            home.nudge();
        }
        if this.cell.header.is_admitted() {
            release(home);
        }
        this.cell.finish(result, begun);
    }
}

impl<F, Fut> Stage<F, Fut>
where
    F: Begin<Fut>,
    Fut: Future,
{
    /// Drops what there is; what the one who waits is told, if there is an error to be told.
    fn end(
        mut self: Pin<&mut Self>,
        error: Option<JoinError>,
    ) -> Option<Result<Fut::Output, JoinError>> {
        let unbegun = match self.as_mut().project() {
            StageProjection::Closure { work } => work.take(),
            StageProjection::Future { .. } | StageProjection::Over => None,
        };
        // `Pin::set` drops the old value in place and writes the new one even if that panics.
        self.set(Self::Over);
        let error = error?;
        Some(match unbegun {
            Some(work) => work.refuse(error),
            None => Err(error),
        })
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Fut::Output> {
        if let StageProjection::Closure { work } = self.as_mut().project() {
            let work = work.take().expect("the closure is called once");
            let future = work.begin();
            self.set(Self::Future { future });
        }
        match self.project() {
            StageProjection::Future { future } => future.poll(cx),
            StageProjection::Closure { .. } | StageProjection::Over => {
                unreachable!("polled after it was over")
            }
        }
    }
}
