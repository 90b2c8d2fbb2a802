//! The jobs of a Compio runtime whose loop is this crate's, but not a worker's: `DualRuntime`'s.
//!
//! To everybody else it is an attached runtime: an inbox, and a pump that the doorbell wakes. The pump is
//! whatever the loop says it is, and jobs are polled and dropped while the thread's worker is this one, which
//! the loop sees to with [`Driven::enter`].

use std::{rc::Rc, sync::Arc, task::Waker};

use compio::runtime::Runtime;

use super::{
    CompioHandle,
    builder::DriverKind,
    quiet,
    shutdown::drop_all,
    worker::{Entered, Local, Shared, enter, look_at_driver},
};
use crate::unwind::{self, catch, discard, swallow};

#[derive(Debug)]
pub(crate) struct Driven {
    local: Rc<Local>,
}

impl Driven {
    pub(crate) fn new(kind: DriverKind, runtime: &Runtime) -> Self {
        Self {
            local: Local::new(Arc::new(Shared::attached(kind, runtime.waker()))),
        }
    }

    pub(crate) fn handle(&self) -> CompioHandle {
        CompioHandle::new(Arc::clone(&self.local.shared))
    }

    /// Whom the doorbell wakes. To be set before the first [`try_sleep`](Self::try_sleep).
    pub(crate) fn set_pump(&self, pump: Waker) {
        self.local.shared.set_pump(Some(pump));
    }

    /// Makes this thread the worker that these jobs belong to, until the guard is dropped.
    pub(crate) fn enter(&self) -> Entered {
        enter(Rc::clone(&self.local))
    }

    /// Runs jobs, `left` at most, which is lowered by each.
    pub(crate) fn run(&self, left: &mut usize) {
        self.local.collect();
        while *left > 0 && !self.local.is_look_due() {
            let Some(job) = self.local.queue.pop() else {
                break;
            };
            *left -= 1;
            job.run();
        }
    }

    /// Whether a job of this thread's waits to be run.
    pub(crate) fn has_jobs(&self) -> bool {
        !self.local.queue.is_empty()
    }

    /// Has every job look again at what it waits for.
    pub(crate) fn wake_all(&self) {
        self.local.wake_all();
    }

    /// Has the next job from another thread ring, unless something waits to be run.
    pub(crate) fn try_sleep(&self) -> bool {
        self.local.try_sleep()
    }

    /// Drops every job and refuses what comes. Called as the thread's worker, in the runtime's context.
    pub(crate) fn end(&self, runtime: &Runtime) {
        let shared = &self.local.shared;
        shared.set_ending();
        for waker in shared.admission.close() {
            unwind::wake(waker);
        }
        let driver = runtime.waker();
        let flush = || swallow(|| look_at_driver(runtime, &driver));
        drop_all(&self.local, flush, None::<fn()>);
        shared.dismantle_doorbell();
    }
}

/// Cancels what is in flight and waits for the kernel; whether the runtime may be dropped. In its context.
pub(crate) fn wait_until_quiet(runtime: &Runtime) -> bool {
    catch(|| quiet::wait_until_quiet(runtime)).unwrap_or_else(|payload| {
        discard(payload);
        false
    })
}
