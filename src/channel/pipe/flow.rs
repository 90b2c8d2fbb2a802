//! How much is under way in a pipe, and the writer that waits for less.
//!
//! One word has what is under way and two flags: that the writer waits, and that the reader takes no
//! more. Only the writer adds, and only after it has seen that there is room, so room never goes away
//! under it. A writer that waits leaves its waker and what it needs, then sets the flag with a
//! compare-and-swap from the word in which it saw too little room: so either it sees what the reader has
//! released, or the reader sees the flag. The reader wakes it only when what it needs is there, or the
//! reading of one heavy chunk in small pieces would be a wake-up each.
//!
//! A chunk takes what its unread bytes weigh, and no less than a share of the bound: so many small chunks
//! cannot pile up, and a ring with as many slots as there are shares is never full. So bytes and chunks are
//! one count, with one way to wait for it. A chunk that is heavier than the bound takes all of it.
//!
//! The module imports no runtime: loom and the tests drive it alone.

use std::task::Waker;

use crate::{
    channel::sleeper::Sleeper,
    pad::Padded,
    sync::atomic::{
        AtomicUsize,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
};

/// In the word: the reader takes no more. Never cleared.
const CLOSED: usize = 1;
/// In the word: the writer sleeps until there is room for what it needs.
const PARKED: usize = 2;
/// What is under way is counted in the bits above the flags.
const UNIT: usize = 4;

/// The largest bound.
const MOST: usize = usize::MAX / UNIT;

/// So many chunks at once, at most: their slots, both ways and where they gather, are about 2.3 KiB.
const SHARES: usize = 32;

pub(super) struct Flow {
    word: Padded<AtomicUsize>,
    /// What the writer that waits needs. Written before the flag is set, read by who sees it.
    needed: AtomicUsize,
    writer: Sleeper,
    bound: usize,
    share: usize,
}

impl Flow {
    pub(super) fn new(bound: usize) -> Self {
        let bound = bound.clamp(1, MOST);
        Self {
            word: Padded(AtomicUsize::new(0)),
            needed: AtomicUsize::new(0),
            writer: Sleeper::new(),
            bound,
            share: bound.div_ceil(SHARES),
        }
    }

    pub(super) fn bound(&self) -> usize {
        self.bound
    }

    /// What a chunk takes at least.
    pub(super) fn share(&self) -> usize {
        self.share
    }

    /// The most chunks that are under way at once.
    pub(super) fn chunks(&self) -> usize {
        self.bound / self.share
    }

    /// What a chunk takes of which so many bytes are unread.
    pub(super) fn weight(&self, unread: usize) -> usize {
        if unread == 0 {
            0
        } else {
            // A share is never more than the bound.
            unread.clamp(self.share, self.bound)
        }
    }

    /// How many bytes a chunk may have now; 0 if not even one would fit. Asked by the writer, whose
    /// alone it is to make it less.
    pub(super) fn room(&self) -> usize {
        let room = self.bound - self.word.0.load(Acquire) / UNIT;
        if room < self.share { 0 } else { room }
    }

    pub(super) fn has_room(&self, weight: usize) -> bool {
        self.bound - self.word.0.load(Acquire) / UNIT >= weight
    }

    /// The writer's, when there is room.
    pub(super) fn take(&self, weight: usize) {
        let before = self.word.0.fetch_add(weight * UNIT, Relaxed);
        debug_assert!(before / UNIT + weight <= self.bound);
    }

    /// The reader's, for what was read; the writer's, for what it could not send.
    pub(super) fn give(&self, weight: usize) {
        if weight == 0 {
            return;
        }
        // Release: the buffer that came free was given back before. Acquire: of what is needed.
        let before = self.word.0.fetch_sub(weight * UNIT, AcqRel);
        if before & PARKED != 0 && self.is_enough(before - weight * UNIT) {
            self.wake();
        }
    }

    /// What is needed may be that of an earlier wait, and then the flag was there before the writer last
    /// looked at the word: it has seen what is released here, or will set the flag anew, after it.
    fn is_enough(&self, word: usize) -> bool {
        self.bound - word / UNIT >= self.needed.load(Relaxed)
    }

    #[cold]
    fn wake(&self) {
        // The one who takes the flag away wakes.
        if self.word.0.fetch_and(!PARKED, Relaxed) & PARKED != 0 {
            self.writer.wake();
        }
    }

    /// Arranges for a wake-up once there is room for `weight`, or the reader takes no more. False: it may be
    /// so already.
    pub(super) fn park(&self, weight: usize, waker: &Waker) -> bool {
        self.writer.register(waker);
        self.needed.store(weight, Relaxed);
        let mut word = self.word.0.load(Acquire);
        loop {
            if word & CLOSED != 0 || self.bound - word / UNIT >= weight {
                return false;
            }
            // Written also where the flag is there: whoever reads the word from now on sees what is needed.
            match self
                .word
                .0
                .compare_exchange(word, word | PARKED, Release, Acquire)
            {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
    }

    /// Arranges for a wake-up once the reader takes no more. False: it does not.
    pub(super) fn watch_close(&self, waker: &Waker) -> bool {
        self.writer.register(waker);
        // Closing sets the flag and then takes the waker under its lock: either it finds this waker, or its
        // flag is seen here.
        self.word.0.load(Acquire) & CLOSED == 0
    }

    /// The reader takes no more. Release: the chunks' ring was closed before.
    pub(super) fn close(&self) {
        self.word.0.fetch_or(CLOSED, Release);
        self.writer.wake();
    }

    /// Lets go of the writer's task.
    pub(super) fn forget(&self) {
        self.writer.forget();
    }
}
