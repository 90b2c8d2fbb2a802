//! The slots between many senders and one receiver, and how a message goes through one.
//!
//! Which slot is whose is decided elsewhere ([`Room`]). A slot has a byte that says how far it is:
//!
//! - One bit says whether the message is there. Its meaning turns over with each lap of the ring, so the
//!   receiver, who knows the lap, need not write to a slot that it has emptied.
//! - `PARKED`: the receiver sleeps until this slot is filled. It sets that on the slot which it waits for,
//!   so that only the sender that fills this one pays for the wake-up.
//! - `ABANDONED`: the receiver is gone; whoever fills the slot gets the value back.
//!
//! A sender publishes with a swap, which takes the flags. So of a fill and a receiver that goes to sleep,
//! or goes, one is first, and the other sees it.
//!
//! The module imports no runtime: loom and the tests drive it alone.

#![allow(
    unsafe_code,
    reason = "a slot is written by one thread and read by another without a lock, and may be empty"
)]

use std::{mem::MaybeUninit, task::Waker};

use super::room::{Closed, MOST, Refused, Room};
use crate::{
    channel::memory,
    error::TryRecvError,
    sync::{
        Arc, UnsafeCell,
        atomic::{
            AtomicU8,
            Ordering::{AcqRel, Acquire, Relaxed},
        },
    },
};

/// In a slot's byte: whether there is a message, in the sense of the lap.
const THERE: u8 = 1;
/// In a slot's byte: the receiver sleeps.
const PARKED: u8 = 2;
/// In a slot's byte: the receiver is gone.
const ABANDONED: u8 = 4;

/// How far the receiver looks ahead when it finds a message. It has just got hold of the cache line, and
/// the senders take it away again.
const AHEAD: u64 = if cfg!(landbridge_loom) { 1 } else { 32 };

/// A ring for `capacity` messages, at least one; its first index is `start`.
///
/// # Panics
///
/// Panics if the capacity is beyond [`MOST`], or the ring does not fit into the address space.
pub(super) fn ring<T>(capacity: usize, start: u32) -> (Producer<T>, Consumer<T>) {
    let capacity = capacity.max(1);
    assert!(
        capacity <= MOST,
        "the channel's capacity of {capacity} does not fit: at most {MOST}"
    );
    let shared = Arc::new(Shared {
        room: Room::new(capacity as u32, start),
        slots: Slots::new(capacity, start),
    });
    let consumer = Consumer {
        shared: shared.clone(),
        head: start.into(),
        there: start.into(),
    };
    (Producer { shared }, consumer)
}

pub(super) struct Shared<T> {
    pub(super) room: Room,
    slots: Slots<T>,
}

/// The slots, at an index modulo their number, which is a power of two.
///
/// Apart from each other, because a byte beside a word would take as much memory as the word.
struct Slots<T> {
    bytes: Box<[AtomicU8]>,
    values: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

// SAFETY: a shared `Slots` is only used to move values from the thread that fills a slot to the one that
// has the consumer (or back to where it came from), which `T: Send` allows; never does a thread see
// another's `&T`. That no two threads use a slot at once is upheld by `Claim::fill` and `Consumer`, the
// only callers.
unsafe impl<T: Send> Sync for Slots<T> {}

impl<T> Slots<T> {
    fn new(capacity: usize, start: u32) -> Self {
        let count = capacity.next_power_of_two();
        let mut bytes = memory::slots(count, |_| AtomicU8::new(0));
        for ahead in 0..count as u32 {
            let index = start.wrapping_add(ahead);
            bytes[index as usize & (count - 1)] = AtomicU8::new(there(index, count) ^ THERE);
        }
        Self {
            bytes,
            values: memory::slots(count, |_| UnsafeCell::new(MaybeUninit::uninit())),
        }
    }

    fn byte(&self, index: u32) -> &AtomicU8 {
        &self.bytes[index as usize & (self.bytes.len() - 1)]
    }

    fn value(&self, index: u32) -> &UnsafeCell<MaybeUninit<T>> {
        &self.values[index as usize & (self.values.len() - 1)]
    }

    /// What [`THERE`] is in the byte of this index when the message is there.
    fn there(&self, index: u32) -> u8 {
        there(index, self.bytes.len())
    }

    fn is_there(&self, index: u32, byte: u8) -> bool {
        byte & THERE == self.there(index)
    }

    /// # Safety
    ///
    /// The slot of `index` is empty, and the caller alone may use it.
    unsafe fn put(&self, index: u32, value: T) {
        self.value(index).with_mut(|slot| {
            // SAFETY: the pointer is valid, and nobody else uses the slot: the caller's promise.
            unsafe { slot.cast::<T>().write(value) }
        });
    }

    /// # Safety
    ///
    /// The slot of `index` holds a message, the caller alone may use it, and treats it as empty from
    /// now on.
    unsafe fn take(&self, index: u32) -> T {
        self.value(index).with_mut(|slot| {
            // SAFETY: the pointer is valid, there is a value behind it, nobody else uses the slot, and
            // it will not be read again before it is written: the caller's promises.
            unsafe { slot.cast::<T>().read() }
        })
    }
}

/// 1 on the first lap, 0 on the next, and so on; also where the index wraps, since the number of laps
/// until then is even.
fn there(index: u32, slots: usize) -> u8 {
    let lap = index >> slots.trailing_zeros();
    (lap as u8 & THERE) ^ THERE
}

/// Keeps the channel open.
pub(super) struct Producer<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Producer<T> {
    #[inline]
    pub(super) fn room(&self) -> &Room {
        &self.shared.room
    }

    /// A slot for one message, if there is room.
    #[inline]
    pub(super) fn claim(&self) -> Result<Claim<'_, T>, Refused> {
        self.room().claim().map(|index| self.claimed(index))
    }

    /// A slot for the room that the caller has reserved.
    pub(super) fn claim_reserved(&self) -> Result<Claim<'_, T>, Closed> {
        self.room()
            .claim_reserved()
            .map(|index| self.claimed(index))
    }

    fn claimed(&self, index: u32) -> Claim<'_, T> {
        Claim {
            shared: &self.shared,
            index,
        }
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    pub(super) fn downgrade(&self) -> WeakProducer<T> {
        WeakProducer {
            shared: self.shared.clone(),
        }
    }
}

impl<T> Clone for Producer<T> {
    fn clone(&self) -> Self {
        // This one is there, so this is never refused.
        self.room().enter();
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        self.room().exit();
    }
}

/// Does not keep the channel open.
pub(super) struct WeakProducer<T> {
    shared: Arc<Shared<T>>,
}

impl<T> WeakProducer<T> {
    pub(super) fn upgrade(&self) -> Option<Producer<T>> {
        self.shared.room.enter().then(|| Producer {
            shared: self.shared.clone(),
        })
    }
}

impl<T> Clone for WeakProducer<T> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

/// A slot that is to be filled at once: the receiver cannot get past it.
#[must_use]
pub(super) struct Claim<'a, T> {
    shared: &'a Shared<T>,
    index: u32,
}

impl<T> Claim<'_, T> {
    /// Whether the receiver sleeps until now, and is to be woken; or the value, if it is gone.
    #[inline]
    pub(super) fn fill(self, value: T) -> Result<bool, T> {
        let Shared { slots, .. } = self.shared;
        // SAFETY: `Room` gave this index to nobody else, for a unit of room: so the receiver is done with
        // the slot's last message, which was seen (with Acquire) by whoever put the unit where it was
        // taken from. The receiver does not touch the slot before the swap below has told it to.
        unsafe { slots.put(self.index, value) };
        // Release, for the value. Acquire, so that a sleeping receiver's waker and a gone one's end are
        // seen.
        let was = slots.byte(self.index).swap(slots.there(self.index), AcqRel);
        if was & ABANDONED != 0 {
            // SAFETY: the value was put there above. The receiver set the flag before it saw the message,
            // and does not come back to the slot; nobody else has its index.
            return Err(unsafe { slots.take(self.index) });
        }
        Ok(was & PARKED != 0)
    }
}

/// The end that takes messages out. There is one, and it is not `Clone`.
pub(super) struct Consumer<T> {
    shared: Arc<Shared<T>>,
    /// The index of the next message; counted, never to wrap.
    head: u64,
    /// The messages before this index are known to be there.
    there: u64,
}

impl<T> Consumer<T> {
    pub(super) fn room(&self) -> &Room {
        &self.shared.room
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Result<T, TryRecvError> {
        let value = self.take()?;
        self.free();
        Ok(value)
    }

    /// Takes a message, but leaves its room taken until [`free`](Self::free).
    ///
    /// `Empty` also where a slot is claimed and not filled yet, be the channel closed or not.
    #[inline]
    pub(super) fn take(&mut self) -> Result<T, TryRecvError> {
        if self.head == self.there && !self.look_ahead() {
            return Err(if self.room().is_end(self.head) {
                TryRecvError::Closed
            } else {
                TryRecvError::Empty
            });
        }
        // SAFETY: the message was seen to be there (with Acquire), and its sender is done with the slot.
        // Nobody touches it before its room has been freed, which only `free` does, and only this end
        // calls that. The head moves on, so the message is not taken again.
        let value = unsafe { self.shared.slots.take(self.head as u32) };
        self.head += 1;
        Ok(value)
    }

    /// Gives room back for all that was taken.
    #[inline]
    pub(super) fn free(&mut self) {
        self.shared.room.free(self.head);
    }

    /// Whether there is a message; notes how many.
    fn look_ahead(&mut self) -> bool {
        // A whole lap ahead, the byte would tell of this lap.
        let end = self.head + AHEAD.min(self.shared.slots.bytes.len() as u64);
        while self.there < end && self.is_there(self.there as u32) {
            self.there += 1;
        }
        self.there > self.head
    }

    #[inline]
    fn is_there(&self, index: u32) -> bool {
        let slots = &self.shared.slots;
        slots.is_there(index, slots.byte(index).load(Acquire))
    }

    /// How many messages have been popped, which wraps.
    #[inline]
    pub(super) fn passed(&self) -> usize {
        self.head as usize
    }

    /// Whether there is a message.
    #[inline]
    pub(super) fn has_message(&self) -> bool {
        self.head < self.there || self.is_there(self.head as u32)
    }

    /// Whether the channel is closed and everything has been received.
    #[inline]
    pub(super) fn is_end(&self) -> bool {
        self.room().is_end(self.head)
    }

    /// Arranges for a wake-up once there is a message or the channel is closed. False: there may be
    /// already. To be called when there was none.
    pub(super) fn park(&mut self, waker: &Waker) -> bool {
        self.room().sleeper().register(waker);
        let slots = &self.shared.slots;
        let index = self.head as u32;
        let empty = slots.there(index) ^ THERE;
        // The waker is in place, so whoever takes the flag finds it. Relaxed: the lock it lies under
        // orders the two, whichever side comes first.
        let parked = slots
            .byte(index)
            .compare_exchange(empty, empty | PARKED, Relaxed, Relaxed);
        if let Err(now) = parked
            && now != empty | PARKED
        {
            return false;
        }
        // The last sender sets the flag of the close and then takes the waker under its lock: either it
        // finds this waker, or its flag is seen here.
        !self.is_end()
    }
}

impl<T> Drop for Consumer<T> {
    /// Nothing is claimed after the close. What has been claimed is dropped here, if it is there by now;
    /// else its sender gets it back.
    fn drop(&mut self) {
        self.shared.room.close();
        crate::unwind::drop_all(std::iter::from_fn(|| {
            while !self.is_end() {
                let (index, slots) = (self.head as u32, &self.shared.slots);
                self.head += 1;
                let was = slots.byte(index).fetch_or(ABANDONED, AcqRel);
                if slots.is_there(index, was) {
                    // SAFETY: the message was there (seen with Acquire), its sender is done with the
                    // slot, and no other message follows, since the channel is closed. The head moves on.
                    return Some(unsafe { slots.take(index) });
                }
            }
            // There is nothing in the channel, as far as the senders can tell.
            self.free();
            None
        }));
        self.room().sleeper().forget();
    }
}

#[cfg(all(test, not(landbridge_loom)))]
mod tests {
    use super::*;

    /// Through the wrap of the index, which takes a minute of a busy channel's time to come to.
    #[test]
    fn messages_arrive_once_and_in_order_where_the_index_wraps() {
        for capacity in [1, 2, 3, 5, 8, 64] {
            for before in 0..20 {
                let (tx, mut rx) = ring::<u32>(capacity, u32::MAX - before);
                let (mut sent, mut received) = (0, 0);
                for _ in 0..100 {
                    while let Ok(claim) = tx.claim() {
                        assert_eq!(claim.fill(sent), Ok(false));
                        sent += 1;
                    }
                    assert_eq!(sent - received, capacity as u32);
                    assert_eq!(tx.room().len(), capacity as u32);
                    while let Ok(value) = rx.pop() {
                        assert_eq!(value, received);
                        received += 1;
                    }
                    assert_eq!((sent, tx.room().len()), (received, 0));
                }
                assert_eq!(tx.room().high_water(), capacity as u32);
                drop(tx);
                assert_eq!(rx.pop(), Err(TryRecvError::Closed));
            }
        }
    }

    /// A sender that is held up after it has claimed its slot must hold up nobody else, for ever or not.
    #[test]
    fn a_slot_that_is_claimed_and_not_filled_is_waited_for() {
        let (tx, mut rx) = ring(4, 0);
        let (first, second) = (tx.claim().unwrap(), tx.claim().unwrap());
        assert_eq!(second.fill(2), Ok(false));
        assert_eq!(rx.pop(), Err(TryRecvError::Empty));
        rx.room().close();
        assert_eq!(rx.pop(), Err(TryRecvError::Empty), "it is not the end");
        assert!(rx.park(Waker::noop()));
        assert_eq!(first.fill(1), Ok(true), "its receiver is woken");
        assert_eq!((rx.pop(), rx.pop()), (Ok(1), Ok(2)));
        assert_eq!(rx.pop(), Err(TryRecvError::Closed));
    }

    /// The receiver does not wait for it when it goes; and the value must not be lost.
    #[test]
    fn a_slot_that_is_filled_when_the_receiver_is_gone_gives_its_value_back() {
        let (tx, rx) = ring(4, u32::MAX);
        let (first, second) = (tx.claim().unwrap(), tx.claim().unwrap());
        assert_eq!(second.fill("second"), Ok(false));
        drop(rx);
        assert_eq!(tx.room().len(), 0);
        assert_eq!(first.fill("first"), Err("first"));
    }
}
