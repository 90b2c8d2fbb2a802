use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use crate::channel::{Look, budget::Budget};

/// What a handle that is shared by reference remembers: its budget, and whether looking has paid.
///
/// Two threads that use the same handle at once may forget a message or a look of one of them, which
/// harms nobody. So no atomic of the fast path is more than a load or a store; and std's are enough, since
/// there is nothing for a model to find in them.
#[derive(Debug)]
pub(super) struct Patience {
    budget: AtomicU8,
    look: Mutex<Look>,
}

impl Patience {
    pub(super) fn new(look: Look) -> Self {
        Self {
            budget: AtomicU8::new(Budget::new().left()),
            look: Mutex::new(look),
        }
    }

    /// As [`Budget::poll_proceed`].
    #[inline]
    pub(super) fn poll_proceed(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut budget = self.budget();
        let proceed = budget.poll_proceed(cx);
        if proceed.is_pending() {
            self.set_budget(&budget);
        }
        proceed
    }

    /// Whether [`poll_proceed`](Self::poll_proceed) would let the caller proceed.
    #[inline]
    pub(super) fn may_proceed(&self) -> bool {
        self.budget().left() > 0
    }

    /// As [`Budget::spend`].
    #[inline]
    pub(super) fn spend(&self) {
        let mut budget = self.budget();
        // Another thread may have come in between.
        if budget.left() > 0 {
            budget.spend();
            self.set_budget(&budget);
        }
    }

    /// As [`Budget::refill`].
    pub(super) fn refill(&self) {
        self.set_budget(&Budget::new());
    }

    /// As [`Look::look`]. Nothing is locked meanwhile.
    pub(super) fn look(&self, found: impl FnMut() -> bool) -> bool {
        let mut look = self.remembered();
        let found = look.look(found);
        *self.look.lock().unwrap_or_else(PoisonError::into_inner) = look;
        found
    }

    fn remembered(&self) -> Look {
        self.look
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    #[inline]
    fn budget(&self) -> Budget {
        Budget::with(self.budget.load(Relaxed))
    }

    #[inline]
    fn set_budget(&self, budget: &Budget) {
        self.budget.store(budget.left(), Relaxed);
    }
}

impl Clone for Patience {
    /// A new handle knows what the old one has found out: one that lives for a single message would
    /// otherwise begin anew each time.
    fn clone(&self) -> Self {
        Self::new(self.remembered())
    }
}
