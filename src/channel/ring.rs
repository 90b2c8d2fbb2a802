//! The ring: its slots, the two words that say what is in them, and who sleeps.
//!
//! Two words carry the whole protocol. `tail` belongs to the producer and `head` to the consumer;
//! only its owner moves a word's index. The other side may only set a flag in it: `PARKED` when it
//! goes to sleep until the index moves, and in `tail` also `CLOSED`. So each decision that could race
//! is a read-modify-write of one word:
//!
//! - A push publishes with a compare-and-swap from the index without flags. It fails, and the value
//!   comes back, when the channel was closed first: what was pushed before the close is drained, and
//!   nothing is ever pushed after it.
//! - A pop publishes with a swap, which also takes the flag that says the producer sleeps.
//! - A side parks with a compare-and-swap from the index it has seen. It fails when the index has
//!   moved.
//!
//! One uncontended read-modify-write per message is what a full fence would cost too (without one,
//! store buffers lose wake-ups); in exchange there is no second word to order against.
//!
//! The module imports no runtime: loom and the tests drive it alone.

#![allow(
    unsafe_code,
    reason = "a slot is written by one thread and read by another without a lock, and may be empty"
)]

use std::{mem::MaybeUninit, task::Waker};

use super::sleeper::Sleeper;
use crate::{
    error::{TryRecvError, TrySendError},
    pad::Padded,
    sync::{
        Arc, UnsafeCell,
        atomic::{
            AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

/// In `tail`: nothing is pushed any more. Set by either side, never cleared.
const CLOSED: usize = 1;
/// In `tail`: the consumer sleeps until the index moves. In `head`: the producer does.
const PARKED: usize = 2;
/// An index counts in the bits above the flags, and wraps.
const STEP: usize = 4;

const fn index(word: usize) -> usize {
    word & !(STEP - 1)
}

/// The two ends of a new ring for `capacity` messages, at least one.
///
/// # Panics
///
/// Panics if the ring does not fit into the address space.
pub(super) fn ring<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    let capacity = capacity.max(1);
    let slots = capacity
        .checked_next_power_of_two()
        .filter(|slots| *slots <= usize::MAX / STEP / 2)
        .expect("the channel's capacity does not fit into the address space");
    // Values without a size need no slots of their own, and there may be more than can be counted.
    let kept = if size_of::<T>() == 0 { 1 } else { slots };
    let shared = Arc::new(Shared {
        tail: Padded(AtomicUsize::new(0)),
        head: Padded(AtomicUsize::new(0)),
        high_water: Padded(AtomicUsize::new(0)),
        producer: Padded(Sleeper::new()),
        consumer: Padded(Sleeper::new()),
        slots: Slots(
            (0..kept)
                .map(|_| UnsafeCell::new(MaybeUninit::uninit()))
                .collect(),
        ),
        span: capacity * STEP,
    });
    (
        Producer {
            shared: shared.clone(),
            tail: 0,
            head: 0,
            high_water: 0,
        },
        Consumer {
            shared,
            head: 0,
            tail: 0,
        },
    )
}

struct Shared<T> {
    tail: Padded<AtomicUsize>,
    head: Padded<AtomicUsize>,
    /// In steps, like the indices. Written by the producer, and rarely.
    high_water: Padded<AtomicUsize>,
    producer: Padded<Sleeper>,
    consumer: Padded<Sleeper>,
    slots: Slots<T>,
    /// The capacity in steps.
    span: usize,
}

impl<T> Shared<T> {
    fn is_closed(&self) -> bool {
        self.tail.0.load(Acquire) & CLOSED != 0
    }

    fn len(&self) -> usize {
        let head = index(self.head.0.load(Acquire));
        let tail = index(self.tail.0.load(Acquire));
        // The head may have moved on before the tail was read.
        tail.wrapping_sub(head).min(self.span) / STEP
    }

    fn high_water(&self) -> usize {
        self.high_water.0.load(Relaxed) / STEP
    }
}

/// One message per index from `head` to `tail`; every other slot is empty.
///
/// Where `T` has no size, all indices share one slot: nothing is read from it or written to it.
struct Slots<T>(Box<[UnsafeCell<MaybeUninit<T>>]>);

// SAFETY: a shared `Slots` is only used to move values from the thread that has the producer to the
// one that has the consumer, which `T: Send` allows; never does a thread see another's `&T`. That no
// two threads use a slot at once is upheld by `Producer::push` and `Consumer::pop`, the only callers.
unsafe impl<T: Send> Sync for Slots<T> {}

impl<T> Slots<T> {
    fn slot(&self, index: usize) -> &UnsafeCell<MaybeUninit<T>> {
        // The number of slots is a power of two, so this holds across the wrap of the index.
        &self.0[(index / STEP) & (self.0.len() - 1)]
    }

    /// # Safety
    ///
    /// The slot of `index` is empty, and the caller alone may use it.
    unsafe fn put(&self, index: usize, value: T) {
        self.slot(index).with_mut(|slot| {
            // SAFETY: the pointer is valid, and nobody else uses the slot: the caller's promise.
            unsafe { slot.cast::<T>().write(value) }
        });
    }

    /// # Safety
    ///
    /// The slot of `index` holds a message, the caller alone may use it, and treats it as empty from
    /// now on.
    unsafe fn take(&self, index: usize) -> T {
        self.slot(index).with_mut(|slot| {
            // SAFETY: the pointer is valid, there is a value behind it, nobody else uses the slot, and
            // it will not be read again before it is written: the caller's promises.
            unsafe { slot.cast::<T>().read() }
        })
    }
}

/// The end that pushes. There is one, and it is not `Clone`.
pub(super) struct Producer<T> {
    shared: Arc<Shared<T>>,
    /// The index in `shared.tail`, which only this end moves.
    tail: usize,
    /// The consumer's index as last seen: it may be further by now, never back.
    head: usize,
    high_water: usize,
}

impl<T> Producer<T> {
    /// Whether a message fits. Only this end can change the answer back to no.
    #[inline]
    pub(super) fn has_room(&mut self) -> bool {
        self.tail.wrapping_sub(self.head) < self.shared.span || {
            self.see_head();
            self.tail.wrapping_sub(self.head) < self.shared.span
        }
    }

    /// Acquire: what the consumer read from a slot it read before the slot counts as empty here.
    fn see_head(&mut self) {
        self.head = index(self.shared.head.0.load(Acquire));
    }

    #[inline]
    pub(super) fn push(&mut self, value: T) -> Result<(), TrySendError<T>> {
        if !self.has_room() {
            return Err(if self.is_closed() {
                TrySendError::Closed(value)
            } else {
                TrySendError::Full(value)
            });
        }
        let next = self.tail.wrapping_add(STEP);
        if next.wrapping_sub(self.head) > self.high_water {
            // The stale head makes the ring look fuller than it is, so look again before believing
            // it. As the mark rises this is needed ever less often.
            self.see_head();
        }
        // SAFETY: `has_room` saw (with Acquire) a head that is less than the capacity behind, so the
        // consumer is done with the slot; it will not touch it again before the tail has passed it,
        // which only the compare-and-swap below does, and only this end writes.
        unsafe { self.shared.slots.put(self.tail, value) };

        let mut seen = self.tail;
        while let Err(now) = self
            .shared
            .tail
            .0
            .compare_exchange(seen, next, Release, Relaxed)
        {
            if now & CLOSED != 0 {
                // SAFETY: the value was put there above and was not published, so the slot is still
                // this end's alone; the tail stays where it is, so it counts as empty.
                return Err(TrySendError::Closed(unsafe {
                    self.shared.slots.take(self.tail)
                }));
            }
            seen = now;
        }
        self.tail = next;
        let len = next.wrapping_sub(self.head);
        if len > self.high_water {
            self.high_water = len;
            self.shared.high_water.0.store(len, Relaxed);
        }
        if seen & PARKED != 0 {
            self.shared.consumer.wake();
        }
        Ok(())
    }

    /// Arranges for a wake-up once there is room or the channel is closed. False: there may be
    /// already. To be called when there was no room.
    pub(super) fn park(&mut self, waker: &Waker) -> bool {
        if !self.watch_close(waker) {
            return false;
        }
        let full = self.tail.wrapping_sub(self.shared.span);
        let parked = full | PARKED;
        // The waker is in place, so whoever takes the flag finds it. Relaxed: the lock it lies under
        // orders the two, whichever side comes first.
        match self
            .shared
            .head
            .0
            .compare_exchange(full, parked, Relaxed, Relaxed)
        {
            Ok(_) => true,
            Err(now) => now == parked,
        }
    }

    /// Arranges for a wake-up once the channel is closed. False: it is.
    pub(super) fn watch_close(&mut self, waker: &Waker) -> bool {
        self.shared.producer.register(waker);
        // Closing sets the flag and then takes the waker under its lock: either it finds this waker,
        // or its flag is seen here.
        !self.is_closed()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }

    pub(super) fn len(&self) -> usize {
        self.shared.len()
    }

    pub(super) fn high_water(&self) -> usize {
        self.shared.high_water()
    }

    pub(super) fn capacity(&self) -> usize {
        self.shared.span / STEP
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        self.shared.tail.0.fetch_or(CLOSED, Release);
        self.shared.consumer.wake();
        self.shared.producer.forget();
    }
}

/// The end that pops. There is one, and it is not `Clone`.
pub(super) struct Consumer<T> {
    shared: Arc<Shared<T>>,
    /// The index in `shared.head`, which only this end moves.
    head: usize,
    /// The producer's index as last seen: it may be further by now, never back.
    tail: usize,
}

impl<T> Consumer<T> {
    #[inline]
    pub(super) fn pop(&mut self) -> Result<T, TryRecvError> {
        if self.head == self.tail {
            // Acquire: what the producer put into the slots before it published is there.
            let tail = self.shared.tail.0.load(Acquire);
            self.tail = index(tail);
            if self.head == self.tail {
                return Err(if tail & CLOSED != 0 {
                    TryRecvError::Closed
                } else {
                    TryRecvError::Empty
                });
            }
        }
        // SAFETY: the tail that was seen (with Acquire) is past this index, so the producer has put a
        // value there and is done with the slot; it will not touch it again before the head has
        // passed it, which only the swap below does, and only this end writes.
        let value = unsafe { self.shared.slots.take(self.head) };
        self.head = self.head.wrapping_add(STEP);
        if self.shared.head.0.swap(self.head, Release) & PARKED != 0 {
            self.shared.producer.wake();
        }
        Ok(value)
    }

    /// Whether [`pop`](Self::pop) would not say `Empty`.
    #[inline]
    pub(super) fn is_ready(&self) -> bool {
        self.shared.tail.0.load(Relaxed) & !PARKED != self.head
    }

    /// Arranges for a wake-up once there is a message or the channel is closed. False: there may be
    /// already. To be called when the ring was empty.
    pub(super) fn park(&mut self, waker: &Waker) -> bool {
        self.shared.consumer.register(waker);
        let parked = self.head | PARKED;
        // As in `Producer::park`; the close is a flag in the same word, so it fails this too.
        match self
            .shared
            .tail
            .0
            .compare_exchange(self.head, parked, Relaxed, Relaxed)
        {
            Ok(_) => true,
            Err(now) => now == parked,
        }
    }

    pub(super) fn close(&mut self) {
        self.shared.tail.0.fetch_or(CLOSED, Release);
        self.shared.producer.wake();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }

    pub(super) fn len(&self) -> usize {
        self.shared.len()
    }

    pub(super) fn high_water(&self) -> usize {
        self.shared.high_water()
    }

    pub(super) fn capacity(&self) -> usize {
        self.shared.span / STEP
    }
}

impl<T> Drop for Consumer<T> {
    /// Nothing is pushed after the close, so what is dropped here is all there is.
    fn drop(&mut self) {
        self.close();
        crate::unwind::drop_all(std::iter::from_fn(|| self.pop().ok()));
        self.shared.consumer.forget();
    }
}
