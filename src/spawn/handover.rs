//! Where a result changes hands.
//!
//! One side completes it once; the other polls for it, or lets go of it. Imports neither runtime:
//! loom drives it alone (`docs/loom.md`).

use std::{
    mem,
    task::{Context, Poll, Waker},
};

use crate::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering},
    lock,
};

/// A cell for one value on its way from one thread to another.
#[derive(Debug)]
pub(crate) struct Handover<T> {
    /// Set once the slot has been completed; lets a waiting side look without taking the lock.
    done: AtomicBool,
    slot: Mutex<Slot<T>>,
}

#[derive(Debug)]
enum Slot<T> {
    /// Nobody has polled since the last wake-up.
    Empty,
    /// To be woken by `complete`.
    Waiting(Waker),
    Full(T),
    /// Taken out.
    Taken,
    /// The receiving side has let go: whatever comes is not wanted.
    Unwanted,
}

impl<T> Handover<T> {
    pub(crate) fn new() -> Self {
        Self {
            done: AtomicBool::new(false),
            slot: Mutex::new(Slot::Empty),
        }
    }

    /// Hands `value` over and returns who is to be told; or hands it back, if nobody wants it or
    /// there was one before.
    ///
    /// The caller wakes, after this and not under any lock.
    pub(crate) fn complete(&self, value: T) -> Result<Option<Waker>, T> {
        let mut slot = self.lock();
        match &*slot {
            Slot::Empty | Slot::Waiting(_) => {
                let before = mem::replace(&mut *slot, Slot::Full(value));
                self.done.store(true, Ordering::Release);
                drop(slot);
                match before {
                    Slot::Waiting(waker) => Ok(Some(waker)),
                    _ => Ok(None),
                }
            }
            Slot::Full(_) | Slot::Taken | Slot::Unwanted => Err(value),
        }
    }

    /// Whether it has been completed; a look without the lock.
    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    /// Takes the value, or leaves a waker for [`complete`](Self::complete).
    ///
    /// # Panics
    ///
    /// If the value was taken before, or let go of.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<T> {
        let mut waker = None;
        loop {
            let mut slot = self.lock();
            match &mut *slot {
                Slot::Waiting(left) if left.will_wake(cx.waker()) => return Poll::Pending,
                Slot::Full(_) => match mem::replace(&mut *slot, Slot::Taken) {
                    Slot::Full(value) => {
                        drop(slot);
                        return Poll::Ready(value);
                    }
                    _ => unreachable!("just seen"),
                },
                Slot::Taken | Slot::Unwanted => panic!("polled after it was ready"),
                Slot::Empty | Slot::Waiting(_) => {}
            }
            // A waker's clone and destructor may run anything, so not under the lock.
            if let Some(waker) = waker.take() {
                let replaced = mem::replace(&mut *slot, Slot::Waiting(waker));
                drop(slot);
                drop(replaced);
                return Poll::Pending;
            }
            drop(slot);
            waker = Some(cx.waker().clone());
        }
    }

    /// The receiving side lets go; a value that is already there comes back, or the waker that was
    /// left. Both are foreign, and dropping them is up to the caller.
    pub(crate) fn let_go(&self) -> (Option<T>, Option<Waker>) {
        let mut slot = self.lock();
        let before = mem::replace(&mut *slot, Slot::Unwanted);
        drop(slot);
        match before {
            Slot::Full(value) => (Some(value), None),
            Slot::Waiting(waker) => (None, Some(waker)),
            Slot::Empty | Slot::Taken | Slot::Unwanted => (None, None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slot<T>> {
        lock(&self.slot)
    }
}
