//! A timer of Tokio's that wakes a task of its.

use std::{
    pin::Pin,
    task::{Context, Waker},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// Set and polled in Tokio's context, outside of any task's budget.
#[derive(Debug)]
pub(super) struct Alarm {
    sleep: Pin<Box<Option<Sleep>>>,
}

impl Alarm {
    pub(super) fn new() -> Self {
        Self {
            sleep: Box::pin(None),
        }
    }

    /// When it goes off or has gone off, if it is set.
    pub(super) fn at(&self) -> Option<Instant> {
        (*self.sleep).as_ref().map(Sleep::deadline)
    }

    pub(super) fn has_gone_off(&self) -> bool {
        (*self.sleep).as_ref().is_some_and(Sleep::is_elapsed)
    }

    /// Wakes `task` at that time.
    pub(super) fn set(&mut self, at: Instant, task: &Waker) {
        self.sleep.set(Some(sleep_until(at)));
        let mut cx = Context::from_waker(task);
        if let Some(sleep) = self.sleep.as_mut().as_pin_mut()
            && sleep.poll(&mut cx).is_ready()
        {
            task.wake_by_ref();
        }
    }

    pub(super) fn clear(&mut self) {
        self.sleep.set(None);
    }
}
