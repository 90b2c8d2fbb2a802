use std::{
    sync::atomic::{AtomicU8, Ordering::Relaxed},
    task::{Context, Poll},
};

/// Answers in a row before the task makes way for its neighbours; Tokio's number.
const IN_A_ROW: u8 = 128;

/// Makes a task that never has to wait let its neighbours run now and then.
///
/// Own counting, also on Tokio: it needs no feature, is the same on every runtime, and is bounded just
/// as Tokio's budget is. One forced pause in 128 messages is not measurable.
#[derive(Debug)]
pub(crate) struct Budget(u8);

impl Budget {
    pub(crate) const fn new() -> Self {
        Self(IN_A_ROW)
    }

    /// `Pending`, with a wake-up on its way, when it is the neighbours' turn.
    #[inline]
    pub(crate) fn poll_proceed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.0 == 0 {
            self.refill();
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// An answer was given without waiting.
    #[inline]
    pub(crate) fn spend(&mut self) {
        self.0 -= 1;
    }

    /// So many answers were given as one.
    pub(crate) fn spend_many(&mut self, answers: usize) {
        self.0 = u8::try_from(answers).map_or(0, |answers| self.0.saturating_sub(answers));
    }

    /// Whether it is the neighbours' turn.
    pub(crate) fn is_spent(&self) -> bool {
        self.0 == 0
    }

    /// The task waits, so its neighbours run anyway.
    pub(crate) fn refill(&mut self) {
        self.0 = IN_A_ROW;
    }

    /// To be given to [`has_not_waited`](Self::has_not_waited).
    #[cfg(feature = "pool")]
    pub(crate) fn left(&self) -> u8 {
        self.0
    }

    /// The task was to wait, but its time was over at once: an answer like any other.
    #[cfg(feature = "pool")]
    pub(crate) fn has_not_waited(&mut self, left: u8) {
        self.0 = left.saturating_sub(1);
    }
}

/// A [`Budget`] for a handle that is used through `&self`.
///
/// It is meant for one task at a time. Several that share a handle share its budget, and may count each
/// other's answers twice or not at all: each still makes way before long. (std's atomic also in a model:
/// it decides nothing that a model is about.)
#[derive(Debug)]
pub(crate) struct SharedBudget(AtomicU8);

impl SharedBudget {
    pub(crate) const fn new() -> Self {
        Self(AtomicU8::new(IN_A_ROW))
    }

    /// One for a further handle, which begins where this one is. Making it counts as an answer here: a task
    /// that makes a handle for each message makes way, too.
    pub(crate) fn another(&self) -> Self {
        let left = self.0.load(Relaxed);
        // The new handle's first answer waits then, in this one's place.
        self.0
            .store(left.checked_sub(1).unwrap_or(IN_A_ROW), Relaxed);
        Self(AtomicU8::new(left))
    }

    #[inline]
    pub(crate) fn poll_proceed(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_spent() {
            self.refill();
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    #[inline]
    pub(crate) fn is_spent(&self) -> bool {
        self.0.load(Relaxed) == 0
    }

    #[inline]
    pub(crate) fn spend(&self) {
        self.0
            .store(self.0.load(Relaxed).saturating_sub(1), Relaxed);
    }

    pub(crate) fn refill(&self) {
        self.0.store(IN_A_ROW, Relaxed);
    }

    /// See [`Budget::left`].
    #[cfg(feature = "pool")]
    pub(crate) fn left(&self) -> u8 {
        self.0.load(Relaxed)
    }

    /// See [`Budget::has_not_waited`].
    #[cfg(feature = "pool")]
    pub(crate) fn has_not_waited(&self, left: u8) {
        self.0.store(left.saturating_sub(1), Relaxed);
    }
}
