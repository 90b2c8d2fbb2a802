//! Who may send: the room in the channel, and the senders that wait for it.
//!
//! Room is counted out in units, one for each message that the channel may hold. At any time each unit
//! is in one place:
//!
//! - in `tail`, free for the next sender to take;
//! - with a sender: a permit, or a waiter that was called and has not come yet;
//! - with the message for which it was spent;
//! - freed: the receiver has moved `head` past the message, and nobody has collected the unit yet. That
//!   is the distance from `collected` to `head`.
//!
//! So a sender that takes a unit from `tail` and moves the index of the same word by one has a slot that
//! nobody else uses; there is no second word to be compared with, and an index that wraps while a sender
//! is held up does no harm. Senders collect what was freed when `tail` has none left, all of it at once:
//! the receiver's cache line is read once in a while and not once for each message.
//!
//! Senders that find no room wait in a line under a lock. Two flags lead there: `WAITING` in `tail`, which
//! changes only under the lock and says that the line is not empty, keeps newcomers from overtaking and
//! sends everybody who has a unit to give to the line; `STARVED` in `head` makes the receiver collect and
//! hand over what it frees. A waiter sets `STARVED` after it has joined the line, and then collects once
//! more itself: either it sees what the receiver freed last, or the receiver's next swap sees the flag.
//!
//! A unit is handed over: whoever is called owns it, and passes it on if he does not come for it.

use std::task::{Context, Poll, Waker};

use super::waiters::{Called, Key, Waiters};
use crate::{
    channel::sleeper::Sleeper,
    pad::Padded,
    sync::{
        Mutex,
        atomic::{
            AtomicU32, AtomicU64, AtomicUsize,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
        lock,
    },
};

/// In `tail`: nothing is sent any more. Never cleared.
const CLOSED: u64 = 1;
/// In `tail`: the line is not empty.
const WAITING: u64 = 2;
/// In `tail`: one unit of room; the count has 30 bits.
const UNIT: u64 = 4;
/// In `tail`: one message; the index has the upper 32 bits, and wraps.
const MESSAGE: u64 = 1 << 32;
/// What the count of units can tell, and half of what the index can.
pub(super) const MOST: usize = 1 << 29;

/// In `head`: senders wait for what is freed next.
const STARVED: u64 = 1;
/// In `head`: one message. These are counted, never to wrap.
const FREED: u64 = 2;

const fn index(tail: u64) -> u32 {
    (tail >> 32) as u32
}

const fn units(tail: u64) -> u32 {
    (tail as u32) >> 2
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Full,
    Closed,
}

/// The channel is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed;

pub(super) struct Room {
    senders: Padded<SenderSide>,
    receiver: Padded<ReceiverSide>,
}

#[repr(C)]
struct SenderSide {
    tail: AtomicU64,
    /// The count in `head` up to which freed room has been collected.
    collected: AtomicU64,
    high_water: AtomicU32,
    capacity: u32,
    /// How many there are that keep the channel open.
    handles: AtomicUsize,
    lines: Mutex<Lines>,
}

struct Lines {
    /// For room.
    room: Waiters,
    /// For the close.
    close: Waiters,
}

struct ReceiverSide {
    /// How many messages have been taken out, and whether senders wait for more of that.
    head: AtomicU64,
    sleeper: Sleeper,
}

impl Room {
    /// For `capacity` messages, the first of which has the index `start`; one sender.
    pub(super) fn new(capacity: u32, start: u32) -> Self {
        let tail = MESSAGE * u64::from(start) + UNIT * u64::from(capacity);
        Self {
            senders: Padded(SenderSide {
                tail: AtomicU64::new(tail),
                collected: AtomicU64::new(start.into()),
                high_water: AtomicU32::new(0),
                capacity,
                handles: AtomicUsize::new(1),
                lines: Mutex::new(Lines {
                    room: Waiters::new(),
                    close: Waiters::new(),
                }),
            }),
            receiver: Padded(ReceiverSide {
                head: AtomicU64::new(FREED * u64::from(start)),
                sleeper: Sleeper::new(),
            }),
        }
    }

    /// Spends a unit on the next message, whose index this is. The caller fills its slot, and does
    /// nothing before that.
    #[inline]
    pub(super) fn claim(&self) -> Result<u32, Refused> {
        let tail = self.take(MESSAGE)?;
        Ok(self.claimed(tail))
    }

    /// Takes a unit: the caller's now.
    pub(super) fn reserve(&self) -> Result<(), Refused> {
        self.take(0).map(drop)
    }

    /// Takes a unit and moves the index, in one step; the word before that.
    #[inline]
    fn take(&self, step: u64) -> Result<u64, Refused> {
        let SenderSide { tail, .. } = &self.senders.0;
        let mut now = tail.load(Relaxed);
        loop {
            if now & (CLOSED | WAITING) != 0 {
                return Err(if now & CLOSED != 0 {
                    Refused::Closed
                } else {
                    Refused::Full
                });
            }
            // Room that nobody has collected makes the channel look fuller than it is; so it is collected
            // before the mark is believed to rise. As the mark rises this is needed ever less often.
            if units(now) == 0 || self.used(now) >= self.high_water() {
                if self.collect() {
                    now = tail.load(Relaxed);
                    continue;
                }
                if units(now) == 0 {
                    // The close may have come first, and says more.
                    return Err(if self.is_closed() {
                        Refused::Closed
                    } else {
                        Refused::Full
                    });
                }
            }
            // Acquire: whoever put the unit there had seen that the receiver was done with its slot.
            // Release: see `claim_reserved`.
            match tail.compare_exchange_weak(now, now.wrapping_add(step) - UNIT, AcqRel, Relaxed) {
                Ok(_) => return Ok(now),
                Err(changed) => now = changed,
            }
        }
    }

    /// Spends a unit that the caller has.
    #[inline]
    pub(super) fn claim_reserved(&self) -> Result<u32, Closed> {
        let SenderSide { tail, .. } = &self.senders.0;
        let mut now = tail.load(Relaxed);
        while now & CLOSED == 0 {
            // The unit may be older than a lap, and its slot have been used since: by whoever claimed there, who
            // had seen the receiver done with it, and released that here.
            match tail.compare_exchange_weak(now, now.wrapping_add(MESSAGE), AcqRel, Relaxed) {
                Ok(_) => return Ok(self.claimed(now)),
                Err(changed) => now = changed,
            }
        }
        Err(Closed)
    }

    /// Notes how full the channel is with a message that was claimed when `tail` was this. Its index.
    #[inline]
    fn claimed(&self, tail: u64) -> u32 {
        let index = index(tail);
        // Without a permit that is taken along, the first message counts as used by now.
        if self.used(tail) >= self.high_water() {
            self.note_len(index);
        }
        index
    }

    #[cold]
    fn note_len(&self, index: u32) {
        let len = index.wrapping_add(1).wrapping_sub(self.head() as u32);
        self.senders.0.high_water.fetch_max(len, Relaxed);
    }

    /// Units that are not free in `tail`: at least as many as there are messages.
    fn used(&self, tail: u64) -> u32 {
        self.senders.0.capacity - units(tail)
    }

    /// Gives units that the caller has to whoever is next.
    pub(super) fn give(&self, many: u32) {
        let SenderSide { tail, .. } = &self.senders.0;
        let mut now = tail.load(Relaxed);
        // After the close nobody needs room, and who is called then has none.
        while now & CLOSED == 0 {
            if now & WAITING != 0 {
                return self.call(many, false);
            }
            // Release, for the slots: see `take`.
            match tail.compare_exchange_weak(now, now + UNIT * u64::from(many), Release, Relaxed) {
                Ok(_) => return,
                Err(changed) => now = changed,
            }
        }
    }

    /// Collects what was freed for whoever is next. False if there was nothing.
    fn collect(&self) -> bool {
        let many = self.take_freed();
        if many > 0 {
            self.give(many);
        }
        many > 0
    }

    /// Takes what was freed and not collected.
    fn take_freed(&self) -> u32 {
        let SenderSide { collected, .. } = &self.senders.0;
        // Acquire, so that a head that is read afterwards is not behind it.
        let mut from = collected.load(Acquire);
        loop {
            // Acquire: the receiver is done with the slots before its head.
            let head = self.head();
            if head == from {
                return 0;
            }
            match collected.compare_exchange(from, head, AcqRel, Acquire) {
                // Never more than the capacity, since each is a unit.
                Ok(_) => return (head - from) as u32,
                Err(changed) => from = changed,
            }
        }
    }

    /// Hands units over to those who wait, in their order; what is left over is free.
    fn call(&self, mut many: u32, by_receiver: bool) {
        let SenderSide { tail, lines, .. } = &self.senders.0;
        loop {
            let mut called = Called::new();
            let mut lines = lock(lines);
            let waited = !lines.room.is_empty();
            while many > 0
                && !called.is_full()
                && let Some(waker) = lines.room.call()
            {
                called.push(waker);
                many -= 1;
            }
            if lines.room.is_empty() {
                // In one step: when newcomers need not queue any more, they find the room.
                let flag = if waited { WAITING } else { 0 };
                tail.fetch_add((UNIT * u64::from(many)).wrapping_sub(flag), Release);
                many = 0;
            } else if many == 0 && by_receiver {
                // The receiver alone moves the head, so nothing is freed before this.
                self.receiver.0.head.fetch_or(STARVED, Relaxed);
            }
            drop(lines);
            called.wake();
            if many == 0 {
                return;
            }
        }
    }

    /// Whether a sender that found no room should try again: it has been given back, or freed, or the
    /// channel is closed.
    #[inline]
    pub(super) fn has_changed(&self) -> bool {
        let tail = self.senders.0.tail.load(Relaxed);
        tail & CLOSED != 0
            || tail & WAITING == 0
                && (units(tail) > 0 || self.head() != self.senders.0.collected.load(Relaxed))
    }

    /// Whether senders wait for room. It is of no use then to look for some.
    pub(super) fn has_line(&self) -> bool {
        self.senders.0.tail.load(Relaxed) & WAITING != 0
    }

    /// The receiver is done with everything before `head`.
    #[inline]
    pub(super) fn free(&self, head: u64) {
        // Release, for the slots: see `take_freed`.
        if self.receiver.0.head.swap(head * FREED, Release) & STARVED != 0 {
            self.feed();
        }
    }

    #[cold]
    fn feed(&self) {
        self.call(self.take_freed(), true);
    }

    /// Nothing is sent from now on. Wakes every sender that waits.
    pub(super) fn close(&self) {
        let SenderSide { tail, lines, .. } = &self.senders.0;
        // Before the lock: who joins a line later than it is emptied here sees the flag.
        tail.fetch_or(CLOSED, AcqRel);
        let mut done = false;
        while !done {
            let mut called = Called::new();
            let mut lines = lock(lines);
            let waited = !lines.room.is_empty();
            while !called.is_full()
                && let Some(waker) = lines.room.call().or_else(|| lines.close.call())
            {
                called.push(waker);
            }
            if waited && lines.room.is_empty() {
                tail.fetch_sub(WAITING, Relaxed);
            }
            done = lines.room.is_empty() && lines.close.is_empty();
            drop(lines);
            called.wake();
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.senders.0.tail.load(Acquire) & CLOSED != 0
    }

    /// Whether the channel is closed and `head` is its end.
    #[inline]
    pub(super) fn is_end(&self, head: u64) -> bool {
        let tail = self.senders.0.tail.load(Acquire);
        tail & CLOSED != 0 && index(tail) == head as u32
    }

    pub(super) fn len(&self) -> u32 {
        let head = self.head();
        let tail = self.senders.0.tail.load(Acquire);
        // The head may have moved on before the tail was read.
        index(tail)
            .wrapping_sub(head as u32)
            .min(self.senders.0.capacity)
    }

    /// How many messages have been taken out.
    #[inline]
    fn head(&self) -> u64 {
        self.receiver.0.head.load(Acquire) / FREED
    }

    #[inline]
    pub(super) fn high_water(&self) -> u32 {
        self.senders.0.high_water.load(Relaxed)
    }

    pub(super) fn capacity(&self) -> u32 {
        self.senders.0.capacity
    }

    /// Where the receiver leaves its waker.
    pub(super) fn sleeper(&self) -> &Sleeper {
        &self.receiver.0.sleeper
    }

    /// One more sender keeps the channel open. False if there was none left.
    pub(super) fn enter(&self) -> bool {
        let SenderSide { handles, .. } = &self.senders.0;
        let mut now = handles.load(Relaxed);
        while now > 0 {
            match handles.compare_exchange_weak(now, now + 1, Relaxed, Relaxed) {
                Ok(_) => return true,
                Err(changed) => now = changed,
            }
        }
        false
    }

    /// A sender is gone. The last one closes the channel.
    pub(super) fn exit(&self) {
        if self.senders.0.handles.fetch_sub(1, AcqRel) == 1 {
            self.close();
            self.sleeper().wake();
        }
    }
}

/// A place in the line for room, or none yet.
pub(super) type Place = Option<Key>;

/// A place in the line that is given back, and the unit passed on, if it is dropped.
pub(super) struct Turn<'a> {
    room: &'a Room,
    key: Place,
}

/// What became of a sender's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turned {
    /// One unit is the caller's; or the channel has been closed.
    Called,
    /// There was room, or the close, before there was a line.
    TryAgain,
}

impl<'a> Turn<'a> {
    pub(super) const fn new(room: &'a Room) -> Self {
        Self { room, key: None }
    }

    pub(super) fn place(&mut self) -> &mut Place {
        &mut self.key
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.room.leave(&mut self.key);
    }
}

impl Room {
    /// Joins the line, waits there, and takes over the unit when called.
    pub(super) fn poll_turn(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<Turned> {
        if place.is_none() {
            let Some(key) = self.join(cx.waker()) else {
                return Poll::Ready(Turned::TryAgain);
            };
            *place = Some(key);
            self.receiver.0.head.fetch_or(STARVED, Relaxed);
            // What was freed before the receiver could see that flag.
            if !self.collect() {
                return Poll::Pending;
            }
        }
        self.poll_called(place, cx.waker())
    }

    fn poll_called(&self, place: &mut Place, waker: &Waker) -> Poll<Turned> {
        let SenderSide { lines, .. } = &self.senders.0;
        let Some(key) = &*place else {
            unreachable!("it is in the line");
        };
        let mut line = lock(lines);
        if !line.room.is_called(key) {
            if line.room.has_waker(key, waker) {
                return Poll::Pending;
            }
            drop(line);
            let waker = waker.clone();
            line = lock(lines);
            let old = line.room.replace_waker(key, waker);
            let called = line.room.is_called(key);
            drop(line);
            drop(old);
            if !called {
                return Poll::Pending;
            }
            line = lock(lines);
        }
        if let Some(key) = place.take() {
            line.room.leave(key);
        }
        Poll::Ready(Turned::Called)
    }

    /// Joins the line for room. `None`: there is some, or the channel is closed.
    fn join(&self, waker: &Waker) -> Option<Key> {
        let SenderSide { tail, lines, .. } = &self.senders.0;
        let waker = waker.clone();
        let mut lines = lock(lines);
        let mut now = tail.load(Relaxed);
        while now & CLOSED == 0 && units(now) == 0 {
            // Whoever has a unit to give sees the flag, or changes the word and fails this.
            match tail.compare_exchange_weak(now, now | WAITING, Relaxed, Relaxed) {
                Ok(_) => return Some(lines.room.join(waker)),
                Err(changed) => now = changed,
            }
        }
        drop(lines);
        drop(waker);
        None
    }

    /// Leaves the line, and passes the unit on that came meanwhile.
    #[inline]
    pub(super) fn leave(&self, place: &mut Place) {
        if let Some(key) = place.take() {
            self.leave_line(key);
        }
    }

    #[cold]
    fn leave_line(&self, key: Key) {
        let SenderSide { tail, lines, .. } = &self.senders.0;
        let mut lines = lock(lines);
        let waker = lines.room.leave(key);
        if waker.is_some() && lines.room.is_empty() {
            tail.fetch_sub(WAITING, Relaxed);
        }
        drop(lines);
        match waker {
            Some(waker) => drop(waker),
            None => self.give(1),
        }
    }
}

/// Waits for the close.
pub(super) struct Watch<'a> {
    room: &'a Room,
    key: Option<Key>,
}

impl<'a> Watch<'a> {
    pub(super) const fn new(room: &'a Room) -> Self {
        Self { room, key: None }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.room.is_closed() {
            return Poll::Ready(());
        }
        let SenderSide { lines, .. } = &self.room.senders.0;
        let waker = cx.waker().clone();
        let mut lines = lock(lines);
        let old = match &self.key {
            Some(key) => Some(lines.close.replace_waker(key, waker)),
            // The close sets its flag and then empties the line under its lock.
            None if self.room.is_closed() => {
                drop(lines);
                drop(waker);
                return Poll::Ready(());
            }
            None => {
                self.key = Some(lines.close.join(waker));
                None
            }
        };
        let called = self
            .key
            .as_ref()
            .is_some_and(|key| lines.close.is_called(key));
        drop(lines);
        drop(old);
        if called {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            let waker = lock(&self.room.senders.0.lines).close.leave(key);
            drop(waker);
        }
    }
}
