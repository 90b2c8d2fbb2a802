//! Making way for the neighbours.
//!
//! An end that never has to wait would keep its thread to itself. So answers are counted, and after some there is a
//! *pause*: `Pending`, with a wake-up that is on its way already. Own counting, also on Tokio: it needs no feature, is
//! the same on every runtime, and is bounded just as Tokio's budget is. One pause in 128 messages is not measurable.
//!
//! What is counted are a *task's* answers, whichever ends they come from, by the thread: another task's waker begins
//! anew, since then there was a switch. So a clone for each message, or a `select!` over many ends, makes no difference.
//! In a pause every end of the task is pending, or else a `select!` would go on with the next. It is over when an
//! end is polled that has been pending in it before: then the task has been away. Code that only ever asks new ends
//! would never get there, so it is over after a number of answers, too.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    task::{Context, Poll, Waker},
};

/// Answers in a row before the task makes way for its neighbours; Tokio's number.
const IN_A_ROW: u8 = 128;

/// Ends that are pending in a pause; more than a `select!` has, as a rule.
const ENDS: u8 = 32;

/// A thread's account of the task that it runs.
struct Turn {
    /// By the address of its waker's data.
    task: Cell<usize>,
    /// Answers until the pause.
    left: Cell<u8>,
    /// The number of the pause that comes next, or that this is.
    pause: Cell<u32>,
    /// Ends that may still be pending in it.
    ends: Cell<u8>,
}

thread_local! {
    static TURN: Turn = const {
        Turn {
            task: Cell::new(0),
            left: Cell::new(IN_A_ROW),
            pause: Cell::new(1),
            ends: Cell::new(ENDS),
        }
    };
}

impl Turn {
    fn begin(&self) {
        self.left.set(IN_A_ROW);
        self.ends.set(ENDS);
        self.pause.set(self.pause.get().wrapping_add(1));
    }
}

/// An end's part in it: the last pause that it was pending in.
///
/// (std's atomic also in a model: it decides nothing that a model is about.)
#[derive(Debug)]
pub(crate) struct Budget(AtomicU32);

impl Budget {
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// `Pending`, with a wake-up on its way, when it is the neighbours' turn; else an answer is counted, which is
    /// [given back](give_back) if there is none.
    #[inline]
    pub(crate) fn poll_proceed(&self, cx: &Context<'_>) -> Poll<()> {
        // A model's threads are one thread, and are to do the same each time.
        if cfg!(landbridge_loom) {
            return Poll::Ready(());
        }
        TURN.with(|turn| {
            let task = cx.waker().data().addr();
            // One that wakes nobody has no data, whoever made it; and who is not woken does not come back.
            if turn.task.get() != task || task == 0 {
                turn.task.set(task);
                turn.begin();
            }
            if let Some(left) = turn.left.get().checked_sub(1) {
                turn.left.set(left);
                return Poll::Ready(());
            }
            self.poll_pause(turn, cx.waker())
        })
    }

    /// [`poll_proceed`](Self::poll_proceed), and nothing is counted.
    pub(crate) fn poll_turn(&self, cx: &Context<'_>) -> Poll<()> {
        let polled = self.poll_proceed(cx);
        if polled.is_ready() {
            give_back();
        }
        polled
    }

    #[cold]
    fn poll_pause(&self, turn: &Turn, waker: &Waker) -> Poll<()> {
        let pause = turn.pause.get();
        let was_away = self.0.load(Relaxed) == pause || turn.ends.get() == 0;
        if was_away {
            turn.begin();
            turn.left.set(IN_A_ROW - 1);
            return Poll::Ready(());
        }
        self.0.store(pause, Relaxed);
        turn.ends.set(turn.ends.get() - 1);
        waker.wake_by_ref();
        Poll::Pending
    }
}

/// What was to be answered waits. After [`Budget::poll_proceed`], in the same poll.
pub(crate) fn give_back() {
    TURN.with(|turn| turn.left.set((turn.left.get() + 1).min(IN_A_ROW)));
}

/// So many answers were given beside those that are counted.
pub(crate) fn spend_many(answers: usize) {
    TURN.with(|turn| {
        let left =
            u8::try_from(answers).map_or(0, |answers| turn.left.get().saturating_sub(answers));
        turn.left.set(left);
    });
}

/// The neighbours have waited for long enough.
#[cfg(feature = "pool")]
pub(crate) fn exhaust() {
    TURN.with(|turn| turn.left.set(0));
}

/// How many answers may still be given in this poll, beside the one that is counted.
#[inline]
pub(crate) fn left() -> usize {
    if cfg!(landbridge_loom) {
        return IN_A_ROW.into();
    }
    TURN.with(|turn| turn.left.get().into())
}
