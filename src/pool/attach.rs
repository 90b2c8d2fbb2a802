//! A Compio runtime whose loop is not ours.
//!
//! The inbox of such a runtime is looked into by the *pump*: one task of Compio's own that runs our
//! jobs a few at a time and, when there are none, marks the inbox asleep. The doorbell wakes the pump.
//! So one sleep takes at most one entry of Compio's queue of wake-ups from other threads, which holds
//! 64 and spins when it is full.
//!
//! The invariant: jobs are polled and dropped while the thread's worker is this one, which it is
//! during the pump's poll and during [`Attached::end`] only. Elsewhere on the thread the inbox is the
//! way in, as it is for any other thread.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use compio::runtime::Runtime;

use super::{
    CompioHandle,
    builder::DriverKind,
    shutdown::drop_all,
    worker::{EVENT_INTERVAL, Local, Shared, enter, local},
};
use crate::{
    error::AttachError,
    unwind::{self, swallow},
};

thread_local! {
    /// The runtimes of this thread that are attached, and have not ended.
    static ATTACHED: Table = const { Table(RefCell::new(Vec::new())) };
}

impl CompioHandle {
    /// A handle to the Compio runtime that this is called on, which landbridge need not have started.
    ///
    /// For programs that own their Compio threads: a sharded server, an actor system, a framework's
    /// arbiters. On a runtime that is attached already, and on a pool's worker, this is the handle that
    /// there is.
    ///
    /// What an attached runtime does not get, because its loop is not landbridge's:
    ///
    /// - It does not look again before it sleeps, whatever the [`Wait`](crate::Wait); callers that wait
    ///   for its results do, as with the default.
    /// - Its ring has the flags that its owner gave it.
    /// - Its metrics know no parks.
    /// - A wake-up of it when it is asleep goes through Compio's own queue, which holds 64 and makes the
    ///   caller spin when others have filled it. All further work and wake-ups until it has woken go
    ///   past that queue.
    /// - Nobody waits at its end until the kernel is done with the buffers of what was in flight: what
    ///   Compio does there is Compio's (`docs/upstream.md`).
    ///
    /// Work is done while the runtime is driven, by `block_on` or otherwise. While nobody drives it,
    /// callers wait.
    ///
    /// The runtime's end ends it all: every job that it has is dropped, on its thread, and who waits
    /// gets [`RuntimeGone`](crate::error::JoinError::RuntimeGone). So does a panic that leaves its
    /// `block_on`, since Compio drops all tasks then; the runtime may be attached once more afterwards.
    /// If the runtime is dropped by a thread that is unwinding, or is never dropped, it ends with
    /// its thread: Compio leaks its tasks.
    ///
    /// # Errors
    ///
    /// [`AttachError`] outside of a Compio runtime's context.
    ///
    /// # Examples
    ///
    /// ```
    /// use landbridge::CompioHandle;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let runtime = compio::runtime::Runtime::new()?;
    /// let handle = runtime.enter(CompioHandle::attach)?;
    /// let here = std::thread::current().id();
    /// let caller = std::thread::spawn(move || {
    ///     let there = handle.run(async || std::thread::current().id());
    ///     futures::executor::block_on(there)
    /// });
    /// runtime.block_on(async {
    ///     // Whatever this thread has to do; here, nothing but waiting for the caller.
    ///     while !caller.is_finished() {
    ///         compio::time::sleep(std::time::Duration::from_millis(1)).await;
    ///     }
    /// });
    /// assert_eq!(caller.join().unwrap()?, here);
    /// assert!(CompioHandle::attach().is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn attach() -> Result<Self, AttachError> {
        if let Some(home) = home_here() {
            return Ok(Self::new(home));
        }
        Runtime::try_with_current(|runtime| {
            let attached = Attached::new(runtime);
            let entered = ATTACHED.try_with(|table| table.0.borrow_mut().push(attached.clone()));
            if entered.is_err() {
                return Err(AttachError::ThreadEnds);
            }
            let handle = Self::new(Arc::clone(&attached.local.shared));
            runtime.spawn(Pump::new(attached)).detach();
            Ok(handle)
        })
        .unwrap_or(Err(AttachError::NoRuntime))
    }
}

/// The worker whose runtime is this thread's current one: a pool's, or an attached one.
pub(crate) fn home_here() -> Option<Arc<Shared>> {
    Runtime::try_with_current(|runtime| {
        let innermost = local().filter(|local| local.shared.is_driven_by(runtime));
        innermost
            .map(|local| Arc::clone(&local.shared))
            .or_else(|| find(|shared| shared.is_driven_by(runtime)))
    })
    .ok()
    .flatten()
}

/// The attached runtime that is this thread's current one.
pub(super) fn attached_here() -> Option<Arc<Shared>> {
    // No runtime is asked while none is attached: that fails where its driver is being polled.
    let any = ATTACHED.try_with(|table| !table.0.borrow().is_empty());
    if any != Ok(true) {
        return None;
    }
    Runtime::try_with_current(|runtime| find(|shared| shared.is_driven_by(runtime)))
        .ok()
        .flatten()
}

/// Whether `shared` is of a runtime that is attached on this thread.
pub(super) fn is_here(shared: &Shared) -> bool {
    find(|other| std::ptr::eq(other, shared)).is_some()
}

fn find(which: impl Fn(&Shared) -> bool) -> Option<Arc<Shared>> {
    ATTACHED
        .try_with(|table| {
            let table = table.0.borrow();
            let mut all = table.iter().map(|attached| &attached.local.shared);
            all.find(|shared| which(shared)).map(Arc::clone)
        })
        .ok()
        .flatten()
}

/// Ends with the thread what has not ended before: runtimes that were leaked, or whose tasks Compio
/// has leaked.
#[derive(Debug)]
struct Table(RefCell<Vec<Rc<Attached>>>);

impl Drop for Table {
    fn drop(&mut self) {
        for attached in self.0.take() {
            attached.end();
        }
    }
}

/// What a thread has of a runtime that is attached.
#[derive(Debug)]
struct Attached {
    local: Rc<Local>,
    ended: Cell<bool>,
}

impl Attached {
    fn new(runtime: &Runtime) -> Rc<Self> {
        let driver = runtime.driver_type();
        let kind = if driver.is_polling() {
            DriverKind::Polling
        } else if driver.is_iocp() {
            DriverKind::Iocp
        } else {
            DriverKind::IoUring
        };
        Rc::new(Self {
            local: Local::new(Arc::new(Shared::attached(kind, runtime.waker()))),
            ended: Cell::new(false),
        })
    }

    /// Drops everything there is, on this thread, and refuses what comes.
    fn end(&self) {
        if self.ended.replace(true) {
            return;
        }
        let shared = &self.local.shared;
        shared.set_ending();
        for waker in shared.admission.close() {
            unwind::wake(waker);
        }
        shared.set_pump(None);
        {
            let _local = enter(Rc::clone(&self.local));
            // Only hands the cancels on. A look at what has completed would wake tasks of Compio's in
            // the middle of its dropping them.
            let flush = || swallow(|| _ = Runtime::try_with_current(Runtime::flush));
            drop_all(&self.local, flush, None::<fn()>);
        }
        shared.dismantle_doorbell();
        _ = ATTACHED.try_with(|table| {
            let mut table = table.0.borrow_mut();
            table.retain(|attached| !std::ptr::eq(&**attached, self));
        });
    }
}

/// The task that looks into an attached runtime's inbox.
#[derive(Debug)]
struct Pump {
    attached: Rc<Attached>,
    /// What the doorbell has.
    waker: Option<Waker>,
}

impl Pump {
    fn new(attached: Rc<Attached>) -> Self {
        Self {
            attached,
            waker: None,
        }
    }
}

impl Future for Pump {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let local = &this.attached.local;
        if !matches!(&this.waker, Some(waker) if waker.will_wake(cx.waker())) {
            this.waker = Some(cx.waker().clone());
            local.shared.set_pump(this.waker.clone());
        }
        let _local = enter(Rc::clone(local));
        local.collect();
        for _ in 0..EVENT_INTERVAL {
            if local.is_look_due() {
                break;
            }
            match local.queue.pop() {
                Some(job) => job.run(),
                None => break,
            }
        }
        if !local.try_sleep() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        // With the runtime, or after a panic that left its `block_on`. Compio ends the process for a
        // panic that gets out of here.
        swallow(|| self.attached.end());
    }
}
