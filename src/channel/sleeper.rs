use std::{ops::Deref, task::Waker};

use crate::{
    sync::{Arc, Mutex, MutexGuard, lock},
    unwind,
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
            unwind::wake(waker);
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

/// Where the consumer of a ring sleeps: in a place of the ring's own, or in one that it shares with the
/// other rings of the same receiver, any of which wakes it, and only one.
///
/// A flag in each ring says that its producer has to look here. Where another ring has ended the sleep, the
/// flag outlives it. A producer that meets such a flag finds the place empty; or it finds the waker of a
/// later sleep, and takes it, as it has a message for that one. If it was here before that waker was, then
/// the lock tells the consumer, which looks at the ring after it has left the waker, of the message.
pub(super) enum Bed {
    Own(Sleeper),
    Shared(Arc<Sleeper>),
}

impl Bed {
    /// The ring has no consumer any more; the others may.
    pub(super) fn forget_own(&self) {
        if let Self::Own(sleeper) = self {
            sleeper.forget();
        }
    }
}

impl Deref for Bed {
    type Target = Sleeper;

    fn deref(&self) -> &Sleeper {
        match self {
            Self::Own(sleeper) => sleeper,
            Self::Shared(sleeper) => sleeper,
        }
    }
}
