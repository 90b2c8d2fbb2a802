use std::task::Waker;

use crate::{
    sync::{Mutex, MutexGuard, lock},
    unwind::swallow,
};

/// Where a side leaves its waker before it sleeps.
///
/// A lock, because it is taken only by a side that is about to sleep and by one that is about to make
/// the wake-up, either of which costs a hundred times as much; and because its order of acquisition
/// spares the rest of the protocol its fences. Nobody else's code runs under it: wakers are cloned
/// before and dropped or woken after.
pub(super) struct Sleeper(Mutex<Option<Waker>>);

impl Sleeper {
    pub(super) fn new() -> Self {
        Self(Mutex::new(None))
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
            // Its panic is not this side's to carry, and the message in hand goes on.
            swallow(|| waker.wake());
        }
    }

    /// Lets go of the task that will not sleep here again.
    pub(super) fn forget(&self) {
        let waker = self.lock().take();
        drop(waker);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Waker>> {
        lock(&self.0)
    }
}
