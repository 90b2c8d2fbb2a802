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
//! - A batch is begun with `BATCH` in `tail`, which fails when the channel was closed first, and
//!   published with one compare-and-swap, closed or not: it was begun before the close, so the consumer
//!   waits for its end before it says `Closed`. A consumer that is dropped does not wait, but takes the
//!   flag away, and the producer drops the batch for it. So no value that a batch has taken from its
//!   iterator is ever refused.
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

use super::{
    memory,
    sleeper::{Bed, Sleeper},
};
use crate::{
    error::{SendError, TryRecvError, TrySendError},
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
/// In `tail`: the producer is filling slots, and will publish them also after a close. Set by the
/// producer, and taken away by it, or by a consumer that is dropped.
const BATCH: usize = 4;
/// An index counts in the bits above the flags, and wraps.
const STEP: usize = 8;

const fn index(word: usize) -> usize {
    word & !(STEP - 1)
}

/// Whether the index of this `tail` moves no more.
const fn is_sealed(tail: usize) -> bool {
    tail & (CLOSED | BATCH) == CLOSED
}

/// The two ends of a new ring for `capacity` messages, at least one.
///
/// # Panics
///
/// Panics if the ring does not fit into the address space.
pub(super) fn ring<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    ring_into(capacity, Bed::Own(Sleeper::new()))
}

/// A ring whose consumer sleeps in `bed`.
pub(super) fn ring_into<T>(capacity: usize, bed: Bed) -> (Producer<T>, Consumer<T>) {
    ring_at(capacity, bed, 0)
}

/// Its first message has this index.
fn ring_at<T>(capacity: usize, bed: Bed, first: usize) -> (Producer<T>, Consumer<T>) {
    let capacity = capacity.max(1);
    let count = capacity
        .checked_next_power_of_two()
        .filter(|count| *count <= usize::MAX / STEP / 2)
        .expect("the channel's capacity does not fit into the address space");
    // Values without a size need no slots of their own, and there may be more than can be counted.
    let kept = if size_of::<T>() == 0 { 1 } else { count };
    let shared = Arc::new(Shared {
        tail: Padded(AtomicUsize::new(first)),
        head: Padded(AtomicUsize::new(first)),
        high_water: Padded(AtomicUsize::new(0)),
        producer: Padded(Sleeper::new()),
        consumer: Padded(bed),
        slots: Slots(memory::slots(kept, |_| {
            UnsafeCell::new(MaybeUninit::uninit())
        })),
        span: capacity * STEP,
    });
    (
        Producer {
            shared: shared.clone(),
            tail: first,
            head: first,
            high_water: 0,
        },
        Consumer {
            shared,
            head: first,
            tail: first,
        },
    )
}

struct Shared<T> {
    tail: Padded<AtomicUsize>,
    head: Padded<AtomicUsize>,
    /// In steps, like the indices. Written by the producer, and rarely.
    high_water: Padded<AtomicUsize>,
    producer: Padded<Sleeper>,
    consumer: Padded<Bed>,
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
// two threads use a slot at once is upheld by `Producer::push`, `Batch`, `Consumer::pop` and
// `Consumer::pop_into`, the only callers.
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
    /// How many messages have been pushed, which wraps.
    #[inline]
    pub(super) fn passed(&self) -> usize {
        self.tail / STEP
    }

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
        self.mark_high_water();
        if seen & PARKED != 0 {
            self.shared.consumer.wake();
        }
        Ok(())
    }

    #[inline]
    fn mark_high_water(&mut self) {
        let len = self.tail.wrapping_sub(self.head);
        if len > self.high_water {
            self.high_water = len;
            self.shared.high_water.0.store(len, Relaxed);
        }
    }

    /// Moves values into the ring until it is full or they have come to an end, and publishes them as
    /// one; what has been taken from the iterator when that panics, too.
    ///
    /// # Errors
    ///
    /// If the channel is closed; then nothing has been taken from the iterator.
    pub(super) fn push_batch(
        &mut self,
        values: &mut impl Iterator<Item = T>,
    ) -> Result<Pushed, SendError<()>> {
        let mut seen = self.tail;
        // Relaxed: nothing is published by it.
        while let Err(now) =
            self.shared
                .tail
                .0
                .compare_exchange(seen, seen | BATCH, Relaxed, Relaxed)
        {
            if now & CLOSED != 0 {
                return Err(SendError(()));
            }
            seen = now;
        }
        let mut batch = Batch {
            next: self.tail,
            producer: self,
        };
        let mut at_end = false;
        while !at_end && batch.has_room() {
            match values.next() {
                Some(value) => batch.put(value),
                None => at_end = true,
            }
        }
        Ok(Pushed {
            count: batch.len(),
            at_end,
        })
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

    /// Nothing is pushed any more. There is no batch, which would have this end borrowed.
    pub(super) fn close(&mut self) {
        self.shared.tail.0.fetch_or(CLOSED, Release);
        self.shared.consumer.wake();
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
        self.close();
        self.shared.producer.forget();
    }
}

/// What came of a batch.
pub(super) struct Pushed {
    pub(super) count: usize,
    /// The iterator said that there is no more.
    pub(super) at_end: bool,
}

/// Values that are in their slots and not yet published; dropping it publishes them.
struct Batch<'a, T> {
    producer: &'a mut Producer<T>,
    /// The index after the last of them; the first is at the producer's own.
    next: usize,
}

impl<T> Batch<'_, T> {
    fn len(&self) -> usize {
        self.next.wrapping_sub(self.producer.tail) / STEP
    }

    fn has_room(&mut self) -> bool {
        let Producer { shared, head, .. } = &*self.producer;
        self.next.wrapping_sub(*head) < shared.span || {
            self.producer.see_head();
            self.next.wrapping_sub(self.producer.head) < self.producer.shared.span
        }
    }

    /// To be called when there is room.
    fn put(&mut self, value: T) {
        debug_assert!(self.next.wrapping_sub(self.producer.head) < self.producer.shared.span);
        // SAFETY: `has_room` saw (with Acquire) a head that is less than the capacity behind, so the
        // consumer is done with the slot; it will not touch it again before the tail has passed it,
        // which only the end of this batch does, and only this end writes.
        unsafe { self.producer.shared.slots.put(self.next, value) };
        self.next = self.next.wrapping_add(STEP);
    }

    /// The consumer is gone: what it would have dropped is dropped here.
    #[cold]
    fn drop_values(&mut self) {
        let (first, slots) = (self.producer.tail, &self.producer.shared.slots);
        crate::unwind::drop_all((0..self.len()).map(|i| {
            // SAFETY: `put` put a value there, which was not published, so the slot is still this
            // end's alone; the tail stays where it is, so it counts as empty. `drop_all` goes through
            // them once.
            unsafe { slots.take(first.wrapping_add(i * STEP)) }
        }));
    }
}

impl<T> Drop for Batch<'_, T> {
    fn drop(&mut self) {
        if self.next.wrapping_sub(self.producer.head) > self.producer.high_water {
            // As in `push`.
            self.producer.see_head();
        }
        let Shared { tail, consumer, .. } = &*self.producer.shared;
        let moves = self.next != self.producer.tail;
        let mut seen = self.producer.tail | BATCH;
        loop {
            if seen & BATCH == 0 {
                return self.drop_values();
            }
            let closed = seen & CLOSED;
            // Where there is nothing new to see, whoever sleeps goes on sleeping.
            let parked = if moves || closed != 0 {
                0
            } else {
                seen & PARKED
            };
            match tail
                .0
                .compare_exchange(seen, self.next | closed | parked, Release, Relaxed)
            {
                Ok(_) => {
                    if (seen & PARKED) != parked {
                        consumer.wake();
                    }
                    break;
                }
                Err(now) => seen = now,
            }
        }
        self.producer.tail = self.next;
        self.producer.mark_high_water();
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
            self.see_tail()?;
        }
        // SAFETY: the tail that was seen (with Acquire) is past this index, so the producer has put a
        // value there and is done with the slot; it will not touch it again before the head has
        // passed it, which only the swap below does, and only this end writes.
        let value = unsafe { self.shared.slots.take(self.head) };
        self.publish(self.head.wrapping_add(STEP));
        Ok(value)
    }

    /// Pops up to `max` messages as one, at least one, and appends them to `buffer`; how many.
    pub(super) fn pop_many(
        &mut self,
        buffer: &mut Vec<T>,
        max: usize,
    ) -> Result<usize, TryRecvError> {
        let count = self.available(max)?;
        self.pop_into(buffer, count, |value| value);
        Ok(count)
    }

    /// How many messages [`pop_into`](Self::pop_into) may take, at least one; no more than `max` are
    /// looked for.
    pub(super) fn available(&mut self, max: usize) -> Result<usize, TryRecvError> {
        if self.seen() < max {
            self.see_tail()?;
        }
        Ok(max.min(self.seen()))
    }

    /// How many messages [`pop_into`](Self::pop_into) may take, without looking again.
    pub(super) fn seen(&self) -> usize {
        self.tail.wrapping_sub(self.head) / STEP
    }

    /// Pops `count` messages as one, of those that [`available`](Self::available) has counted, and
    /// appends what `wrap` makes of each to `buffer`.
    pub(super) fn pop_into<U>(&mut self, buffer: &mut Vec<U>, count: usize, wrap: impl Fn(T) -> U) {
        assert!(count <= self.seen(), "more than there are");
        // May panic; nothing has been taken yet.
        buffer.reserve(count);
        let first = self.head;
        // Before the first is taken: whatever might end this early, none is taken twice.
        self.head = first.wrapping_add(count * STEP);
        let slots = &self.shared.slots;
        buffer.extend((0..count).map(|i| {
            // SAFETY: as in `pop`: the tail that was seen is past these indices (the assertion), and
            // the head that the producer sees is not before it is published below. This end's own is,
            // so they count as empty from now on; each is taken once.
            wrap(unsafe { slots.take(first.wrapping_add(i * STEP)) })
        }));
        self.publish(self.head);
    }

    /// Looks how far the producer is. An error: there is nothing to pop.
    ///
    /// Acquire: what the producer put into the slots before it published is there.
    #[inline]
    fn see_tail(&mut self) -> Result<(), TryRecvError> {
        let tail = self.shared.tail.0.load(Acquire);
        self.tail = index(tail);
        if self.head != self.tail {
            Ok(())
        } else if is_sealed(tail) {
            Err(TryRecvError::Closed)
        } else {
            Err(TryRecvError::Empty)
        }
    }

    /// What is before `head` has been taken out.
    #[inline]
    fn publish(&mut self, head: usize) {
        self.head = head;
        if self.shared.head.0.swap(head, Release) & PARKED != 0 {
            self.shared.producer.wake();
        }
    }

    /// How many messages have been popped, which wraps.
    #[inline]
    pub(super) fn passed(&self) -> usize {
        self.head / STEP
    }

    /// Whether [`pop`](Self::pop) would not say `Empty`.
    #[inline]
    pub(super) fn is_ready(&self) -> bool {
        self.is_ready_at(self.shared.tail.0.load(Relaxed))
    }

    #[inline]
    fn is_ready_at(&self, tail: usize) -> bool {
        index(tail) != self.head || is_sealed(tail)
    }

    /// Arranges for a wake-up once there is a message or the channel is closed. False: there may be
    /// already. To be called when the ring was empty.
    pub(super) fn park(&mut self, waker: &Waker) -> bool {
        self.shared.consumer.register(waker);
        self.park_registered()
    }

    /// The same where the waker is in its place.
    pub(super) fn park_registered(&mut self) -> bool {
        // As in `Producer::park`; the close is a flag in the same word, so it fails this too.
        let mut seen = self.head;
        while let Err(now) =
            self.shared
                .tail
                .0
                .compare_exchange(seen, seen | PARKED, Relaxed, Relaxed)
        {
            if self.is_ready_at(now) {
                return false;
            }
            if now & PARKED != 0 {
                return true;
            }
            // A batch has been begun.
            seen = now;
        }
        true
    }

    pub(super) fn close(&mut self) {
        self.shared.tail.0.fetch_or(CLOSED, Release);
        self.shared.producer.wake();
    }

    /// Whether there will be no more messages than there are.
    pub(super) fn is_sealed(&self) -> bool {
        is_sealed(self.shared.tail.0.load(Acquire))
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
    /// Nothing is pushed after the close, so what is dropped here is all there is. Of a batch that is
    /// under way the producer is told, by taking its flag away.
    fn drop(&mut self) {
        let tail = &self.shared.tail.0;
        let mut seen = self.tail;
        while let Err(now) = tail.compare_exchange(seen, (seen | CLOSED) & !BATCH, Release, Relaxed)
        {
            seen = now;
        }
        self.shared.producer.wake();
        crate::unwind::drop_all(std::iter::from_fn(|| self.pop().ok()));
        self.shared.consumer.forget_own();
    }
}

#[cfg(all(test, not(landbridge_loom)))]
mod tests {
    use super::*;

    /// Through the wrap of the index, which a busy channel comes to within seconds where a `usize` has 32 bits.
    #[test]
    fn messages_arrive_once_and_in_order_where_the_index_wraps() {
        for capacity in [1, 2, 3, 5, 8, 64] {
            for before in 0..20_usize {
                let first = 0_usize.wrapping_sub(before * STEP);
                let (mut tx, mut rx) = ring_at(capacity, Bed::Own(Sleeper::new()), first);
                let (mut sent, mut received) = (0, Vec::new());
                for turn in 0..20 {
                    // One by one, and as a batch.
                    while turn % 2 == 0 && tx.push(sent).is_ok() {
                        sent += 1;
                    }
                    let pushed = tx.push_batch(&mut (sent..)).unwrap().count;
                    sent += pushed;
                    assert_eq!((tx.len(), rx.len()), (capacity, capacity));
                    if turn % 3 == 0 {
                        received.extend(rx.pop());
                    }
                    _ = rx.pop_many(&mut received, capacity);
                    assert_eq!(rx.len(), 0);
                }
                assert!(received.into_iter().eq(0..sent));
                assert_eq!(tx.high_water(), capacity);
                drop(tx);
                assert_eq!(rx.pop(), Err(TryRecvError::Closed));
            }
        }
    }
}
