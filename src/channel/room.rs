//! The room in a channel that is bounded by weight, and who waits for it.
//!
//! One word has the room that is free, and two flags: that somebody waits, and that the channel is
//! closed. While nobody waits, room is taken and given back with one read-modify-write each. Who finds
//! too little queues up under the lock, sets the flag, and looks again, in the same instruction: so
//! either it sees the room that is given back, or who gives it back sees the flag.
//!
//! While the flag is set, nobody takes room past those who wait. Room that is given back is handed over
//! under the lock, to the first in the queue, as long as there is enough for it. Who leaves the queue
//! hands over too: what it was given, and its turn.
//!
//! The word decides about numbers only, and publishes nothing, so all of it is `Relaxed`: messages go
//! through the queue's lock.
//!
//! The module imports no runtime: loom and the tests drive it alone.

use std::task::{Context, Poll, Waker};

use super::waiters::Waiters;
use crate::{
    pad::Padded,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering::Relaxed},
        lock,
    },
    unwind::{self, swallow},
};

/// In the word: nothing is taken any more. Set under the lock, never cleared.
const CLOSED: usize = 1;
/// In the word: somebody waits. Set and cleared under the lock.
const WAITED_FOR: usize = 2;
/// The room is counted in the bits above the flags.
const UNIT: usize = 4;

/// The largest bound.
pub(super) const MOST: usize = usize::MAX / UNIT;

/// How many are woken before the lock is taken again.
const AT_ONCE: usize = 16;

pub(super) struct Room {
    word: Padded<AtomicUsize>,
    bound: usize,
    high_water: AtomicUsize,
    waiters: Mutex<Waiters<Waiter>>,
}

enum Waiter {
    Waits {
        weight: usize,
        waker: Waker,
    },
    /// Out of its turn already: it has its room.
    Has {
        weight: usize,
    },
}

/// Why there is no room now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Full,
    Closed,
}

/// To be woken once the lock is given up; no allocation.
#[derive(Default)]
struct Wakers([Option<Waker>; AT_ONCE]);

impl Wakers {
    fn wake(self) {
        for waker in self.0.into_iter().flatten() {
            // Its panic is not this side's to carry.
            unwind::wake(waker);
        }
    }
}

const fn room(word: usize) -> usize {
    word / UNIT
}

impl Room {
    /// `bound` is from 1 to [`MOST`].
    pub(super) fn new(bound: usize) -> Self {
        Self {
            word: Padded(AtomicUsize::new(bound * UNIT)),
            bound,
            high_water: AtomicUsize::new(0),
            waiters: Mutex::new(Waiters::new()),
        }
    }

    pub(super) fn bound(&self) -> usize {
        self.bound
    }

    /// How much is taken.
    pub(super) fn taken(&self) -> usize {
        self.bound - room(self.word.0.load(Relaxed))
    }

    /// The most that has been taken at once.
    pub(super) fn high_water(&self) -> usize {
        self.high_water.load(Relaxed)
    }

    /// Takes room for `weight`, which is from 1 to the bound, if it is there and nobody waits.
    #[inline]
    pub(super) fn try_take(&self, weight: usize) -> Result<(), Refused> {
        let mut word = self.word.0.load(Relaxed);
        loop {
            if word & CLOSED != 0 {
                return Err(Refused::Closed);
            }
            if word & WAITED_FOR != 0 || room(word) < weight {
                return Err(Refused::Full);
            }
            match self.exchange(word, weight) {
                Ok(()) => return Ok(()),
                Err(now) => word = now,
            }
        }
    }

    /// Takes room that is there in `word`.
    fn exchange(&self, word: usize, weight: usize) -> Result<(), usize> {
        let rest = word - weight * UNIT;
        self.word.0.compare_exchange(word, rest, Relaxed, Relaxed)?;
        let taken = self.bound - room(rest);
        if taken > self.high_water.load(Relaxed) {
            self.high_water.fetch_max(taken, Relaxed);
        }
        Ok(())
    }

    /// Whether [`try_take`](Self::try_take) would not say `Full`.
    pub(super) fn is_ready(&self, weight: usize) -> bool {
        let word = self.word.0.load(Relaxed);
        word & CLOSED != 0 || (word & WAITED_FOR == 0 && room(word) >= weight)
    }

    /// Whether there are others in front.
    pub(super) fn has_line(&self) -> bool {
        self.word.0.load(Relaxed) & WAITED_FOR != 0
    }

    /// Gives room back.
    #[inline]
    pub(super) fn give(&self, weight: usize) {
        let before = self.word.0.fetch_add(weight * UNIT, Relaxed);
        if before & WAITED_FOR != 0 {
            self.hand_over(self.lock());
        }
    }

    /// Gives those in front what there is for them, and wakes them.
    #[cold]
    fn hand_over<'a>(&'a self, mut waiters: MutexGuard<'a, Waiters<Waiter>>) {
        loop {
            let mut wakers = Wakers::default();
            let more = self.hand_to_some(&mut waiters, &mut wakers);
            drop(waiters);
            wakers.wake();
            if !more {
                return;
            }
            waiters = self.lock();
        }
    }

    /// Whether there may be more of them.
    fn hand_to_some(&self, waiters: &mut Waiters<Waiter>, wakers: &mut Wakers) -> bool {
        for woken in &mut wakers.0 {
            let Some((key, &Waiter::Waits { weight, .. })) = waiters.front() else {
                self.word.0.fetch_and(!WAITED_FOR, Relaxed);
                return false;
            };
            let mut word = self.word.0.load(Relaxed);
            loop {
                // After the close they are told, and take nothing.
                if word & CLOSED != 0 || room(word) < weight {
                    return false;
                }
                match self.exchange(word, weight) {
                    Ok(()) => break,
                    Err(now) => word = now,
                }
            }
            waiters.unqueue(key);
            if let Some(waiter) = waiters.get_mut(key)
                && let Waiter::Waits { waker, .. } =
                    std::mem::replace(waiter, Waiter::Has { weight })
            {
                *woken = Some(waker);
            }
        }
        true
    }

    /// Nobody takes any more, and whoever waits is told.
    pub(super) fn close(&self) {
        let mut waiters = self.lock();
        self.word.0.fetch_or(CLOSED, Relaxed);
        // They are told, too, and give nothing back any more.
        let had = waiters.unqueued().map(|waiter| match waiter {
            Waiter::Has { weight } => *weight,
            Waiter::Waits { .. } => 0,
        });
        self.word.0.fetch_add(had.sum::<usize>() * UNIT, Relaxed);
        let waiters_now = waiters.take();
        drop(waiters);
        for waiter in waiters_now {
            if let Waiter::Waits { waker, .. } = waiter {
                unwind::wake(waker);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiters<Waiter>> {
        lock(&self.waiters)
    }

    fn is_closed(&self) -> bool {
        self.word.0.load(Relaxed) & CLOSED != 0
    }
}

/// A turn in the queue for room of a certain weight. Dropped before it is over, it leaves no trace.
pub(super) struct Turn<'a> {
    room: &'a Room,
    weight: usize,
    key: Option<usize>,
}

impl<'a> Turn<'a> {
    /// `weight` is from 1 to the bound.
    pub(super) fn new(room: &'a Room, weight: usize) -> Self {
        Self {
            room,
            weight,
            key: None,
        }
    }

    /// Whether this waits in the queue.
    pub(super) fn is_queued(&self) -> bool {
        self.key.is_some()
    }

    /// `Ok`: the room is the caller's.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        let waker = cx.waker().clone();
        let mut waiters = self.room.lock();
        // Its destructor may panic, and what is taken here would be lost.
        let done = |waiters, waker| {
            drop(waiters);
            swallow(|| drop(waker));
        };
        if self.room.is_closed() {
            done(waiters, waker);
            return Poll::Ready(Err(Refused::Closed));
        }
        let old = match self.key {
            Some(key) => match waiters.get_mut(key) {
                Some(Waiter::Waits { waker: old, .. }) => Some(std::mem::replace(old, waker)),
                Some(Waiter::Has { .. }) | None => {
                    waiters.remove(key);
                    self.key = None;
                    done(waiters, waker);
                    return Poll::Ready(Ok(()));
                }
            },
            None => {
                let mut word = self.room.word.0.fetch_or(WAITED_FOR, Relaxed);
                while waiters.is_empty() && room(word) >= self.weight {
                    match self.room.exchange(word | WAITED_FOR, self.weight) {
                        Ok(()) => {
                            self.room.word.0.fetch_and(!WAITED_FOR, Relaxed);
                            done(waiters, waker);
                            return Poll::Ready(Ok(()));
                        }
                        Err(now) => word = now,
                    }
                }
                let weight = self.weight;
                self.key = Some(waiters.push(Waiter::Waits { weight, waker }));
                None
            }
        };
        drop(waiters);
        drop(old);
        Poll::Pending
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let Some(key) = self.key else {
            return;
        };
        let mut waiters = self.room.lock();
        let left = waiters.remove(key);
        if self.room.is_closed() {
            drop(waiters);
            return;
        }
        if let Some(Waiter::Has { .. }) = left {
            self.room.word.0.fetch_add(self.weight * UNIT, Relaxed);
        }
        // There may be room enough for who is in front now.
        self.room.hand_over(waiters);
        drop(left);
    }
}
