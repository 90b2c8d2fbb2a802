use std::task::Waker;

use super::{pad::Padded, panics};
use crate::sync::{Mutex, MutexGuard};

/// Where a side leaves its waker before it sleeps.
///
/// A lock, because it is taken only by a side that is about to sleep and by one that is about to make
/// the wake-up, either of which costs a hundred times as much; and because its order of acquisition
/// spares the rest of the protocol its fences. Nobody else's code runs under it: wakers are cloned
/// before and dropped or woken after.
pub(super) struct Sleeper(Padded<Mutex<Option<Waker>>>);

impl Sleeper {
    pub(super) fn new() -> Self {
        Self(Padded(Mutex::new(None)))
    }

    /// From now on [`wake`](Self::wake) wakes `waker`.
    pub(super) fn register(&self, waker: &Waker) {
        let same = self.lock().as_ref().is_some_and(|old| old.will_wake(waker));
        // Between the two locks the waker may be taken, and then it is woken: as good as registered,
        // for the caller polls again.
        if !same {
            let waker = waker.clone();
            let old = self.lock().replace(waker);
            drop(old);
        }
    }

    pub(super) fn wake(&self) {
        let waker = self.lock().take();
        if let Some(waker) = waker {
            panics::wake(waker);
        }
    }

    /// Lets go of the task that will not sleep here again.
    pub(super) fn forget(&self) {
        let waker = self.lock().take();
        drop(waker);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Waker>> {
        self.0
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
