//! One direction of a socket: what those who use it know, and who waits.
//!
//! Whoever wants to read or write simply tries, on its own thread. Only when the kernel has answered "not
//! now" does it leave its waker here and, if nobody watches the socket yet, has a watch set up on the
//! worker. The watch tells of what happens with [`event`](Direction::event).
//!
//! All there is to know is in one word, so that every race is decided by one read-modify-write of it:
//!
//! | bit | |
//! |---|---|
//! | [`READY`] | a try may be worth it |
//! | [`MORE`] | the kernel has said that behind what can be read now there is something else: the end, an error, what comes after urgent data. A try that took all has not taken that |
//! | [`ARMED`] | there is a watch, or one is on its way: the next event comes without anybody's doing |
//! | [`GONE`] | there will be no events any more |
//! | [`LEFT`] | nobody uses the socket any more |
//! | [`FAILED`] | the watch could not be set up; why is beside the wakers |
//! | [`EVENT`] and above | how many events there were |
//!
//! A try that found nothing takes `READY` back only if no event has come since it looked: the count tells.
//! A waiter leaves its waker first and looks at the word afterwards; an event changes the word first and
//! takes the wakers afterwards. So one of the two sees the other.
//!
//! Imports neither runtime: loom drives it alone (`docs/loom.md`).

use std::{
    fmt, io,
    task::{Context, Poll, Waker},
};

use slab::Slab;

use crate::{
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
        lock,
    },
    unwind,
};

const READY: usize = 1;
const MORE: usize = 1 << 1;
const ARMED: usize = 1 << 2;
const GONE: usize = 1 << 3;
const LEFT: usize = 1 << 4;
const FAILED: usize = 1 << 5;
const EVENT: usize = 1 << 6;

/// With any of these there is nothing to wait for.
const NO_WAIT: usize = READY | MORE | GONE | FAILED;

/// So many bytes are moved in a row before the task's neighbours get their turn: about 100 µs.
const IN_A_ROW: usize = 512 << 10;

/// What a call costs at least, however little it moves, and whatever comes of it: so 128 in a row.
const AT_LEAST: usize = 4 << 10;

pub(super) struct Direction {
    word: AtomicUsize,
    /// Bytes moved in a row.
    spent: AtomicUsize,
    waiters: Mutex<Waiters>,
}

struct Waiters {
    /// Of the traits with `poll` in their names: of several callers the last one counts.
    last: Option<Waker>,
    /// Of the functions that are awaited: all of them count. Empty while its owner was woken.
    others: Slab<Option<Waker>>,
    /// What the watch is woken with when the socket is dropped.
    watch: Option<Waker>,
    failed: Option<io::Error>,
}

/// The word as it was before a try.
#[derive(Clone, Copy)]
pub(super) struct Seen(usize);

/// What a watch knows of an event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    /// Behind what can be read now there is something else, of which there will be no other event.
    pub(super) more: bool,
    /// The watch ends with it.
    pub(super) last: bool,
    /// The watch ends with it if the event before has not been seen to yet.
    pub(super) last_if_unneeded: bool,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// The event before had been seen to, so that somebody may have waited for this one.
    pub(super) needed: bool,
    /// The watch is over: the next one who waits sets up another.
    pub(super) over: bool,
}

/// Where a waiter leaves its waker.
#[derive(Debug)]
pub(super) enum Seat {
    /// In the place of the last one who polled.
    Last,
    /// In a place of its own, once it has one; to be given back with [`Direction::stand_up`].
    Own(Option<usize>),
}

impl Direction {
    /// Worth a try.
    pub(super) fn new() -> Self {
        Self::with(READY)
    }

    /// Not worth a try before something has happened.
    #[cfg(all(test, landbridge_loom))]
    pub(super) fn waiting() -> Self {
        Self::with(0)
    }

    fn with(word: usize) -> Self {
        Self {
            word: AtomicUsize::new(word),
            spent: AtomicUsize::new(0),
            waiters: Mutex::new(Waiters {
                last: None,
                others: Slab::new(),
                watch: None,
                failed: None,
            }),
        }
    }

    // ---- those who use the socket ------------------------------------------------------------------

    /// Ready when a try is worth it. Otherwise the waker is left in `seat`, and `arm` is called if somebody
    /// has to set up the watch.
    pub(super) fn poll_ready(
        &self,
        seat: &mut Seat,
        cx: &mut Context<'_>,
        arm: impl FnOnce(),
    ) -> Poll<io::Result<Seen>> {
        let word = self.word.load(Ordering::Acquire);
        if word & NO_WAIT != 0 {
            return Poll::Ready(self.seen(word));
        }
        self.spent.store(0, Ordering::Relaxed);
        self.sit_down(seat, cx);
        // Of an event that took the wakers before ours was there, the lock has told.
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            if word & NO_WAIT != 0 {
                return Poll::Ready(self.seen(word));
            }
            if word & ARMED != 0 {
                return Poll::Pending;
            }
            match self.word.compare_exchange_weak(
                word,
                word | ARMED,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => {
                    arm();
                    return Poll::Pending;
                }
                Err(now) => word = now,
            }
        }
    }

    /// What there is to know, without waiting.
    pub(super) fn look(&self) -> Seen {
        Seen(self.word.load(Ordering::Acquire))
    }

    /// The try that followed had to wait. Whether waiting is of any use: not if the worker is gone.
    pub(super) fn not_now(&self, seen: Seen) -> bool {
        // Whatever the watch has said before, the kernel knows better now.
        self.take_back(seen, READY | MORE);
        seen.0 & GONE == 0
    }

    /// The try that followed got less than it could take, so that the next one would have to wait: it need
    /// not find out. Only if the watch tells of all that happens from now on; otherwise the try may find
    /// what came meanwhile, and is the cheaper way.
    pub(super) fn took_all(&self, seen: Seen) {
        if seen.0 & ARMED != 0 {
            // An end that was told of is not told of again.
            self.take_back(seen, READY);
        }
    }

    fn take_back(&self, seen: Seen, bits: usize) {
        let mut word = self.word.load(Ordering::Relaxed);
        while word / EVENT == seen.0 / EVENT {
            // Acquire and release as in `event`: it is one chain.
            match self.word.compare_exchange_weak(
                word,
                word & !bits,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
    }

    fn seen(&self, word: usize) -> io::Result<Seen> {
        if word & FAILED != 0 {
            self.word.fetch_and(!FAILED, Ordering::AcqRel);
            if let Some(error) = self.lock().failed.take() {
                return Err(error);
            }
        }
        Ok(Seen(word))
    }

    fn sit_down(&self, seat: &mut Seat, cx: &mut Context<'_>) {
        if self.lock().at(seat).will_wake(cx) {
            return;
        }
        // A waker's clone and destructor may run anything, so not under the lock.
        let waker = cx.waker().clone();
        let before = self.lock().at(seat).0.replace(waker);
        drop(before);
    }

    /// The waiter goes away.
    pub(super) fn stand_up(&self, seat: &mut Seat) {
        if let Seat::Own(place) = seat
            && let Some(place) = place.take()
        {
            let waker = self.lock().others.try_remove(place);
            drop(waker);
        }
    }

    /// Whether the neighbours are to have their turn first; a wake-up is on its way then.
    pub(super) fn poll_proceed(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.spent.load(Ordering::Relaxed) < IN_A_ROW {
            return Poll::Ready(());
        }
        self.spent.store(0, Ordering::Relaxed);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// A call is over: with bytes, with nothing, or with an error that the next call may well meet again.
    pub(super) fn called(&self) {
        self.spend(AT_LEAST);
    }

    /// So many bytes were moved by a call.
    pub(super) fn moved(&self, bytes: usize) {
        self.spend(bytes.saturating_sub(AT_LEAST));
    }

    /// Not exact if several do so at once.
    fn spend(&self, bytes: usize) {
        let spent = self.spent.load(Ordering::Relaxed);
        self.spent
            .store(spent.saturating_add(bytes), Ordering::Relaxed);
    }

    /// Nobody uses the socket any more: the watch ends.
    pub(super) fn leave(&self) {
        self.word.fetch_or(LEFT, Ordering::AcqRel);
        let watch = self.lock().watch.take();
        if let Some(watch) = watch {
            watch.wake();
        }
    }

    // ---- the watch ---------------------------------------------------------------------------------

    /// Something has happened.
    pub(super) fn event(&self, event: Event) -> Told {
        let mut word = self.word.load(Ordering::Relaxed);
        let told = loop {
            let needed = word & READY == 0;
            let over = event.last || event.last_if_unneeded && !needed;
            let mut new = word.wrapping_add(EVENT) | READY;
            if event.more {
                new |= MORE;
            }
            if over {
                new &= !ARMED;
            }
            match self
                .word
                .compare_exchange_weak(word, new, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => break Told { needed, over },
                Err(now) => word = now,
            }
        };
        self.wake(told.over);
        told
    }

    /// The watch could not be set up, or not be kept; the next one who waits is told, and may try again.
    pub(super) fn fail(&self, error: io::Error) {
        let before = self.lock().failed.replace(error);
        drop(before);
        // In this order: whoever sees the failure and then waits is woken below, or arms.
        self.word.fetch_or(FAILED, Ordering::AcqRel);
        self.word.fetch_and(!ARMED, Ordering::AcqRel);
        self.wake(true);
    }

    /// There will be no events any more: the worker is gone.
    pub(super) fn gone(&self) {
        self.word.fetch_or(GONE, Ordering::AcqRel);
        self.wake(true);
    }

    /// Whether nobody uses the socket any more; if somebody does, the watch is woken when that changes.
    pub(super) fn poll_left(&self, cx: &mut Context<'_>) -> Poll<()> {
        let before = {
            let mut waiters = self.lock();
            let watch = &mut waiters.watch;
            if Place(watch).will_wake(cx) {
                None
            } else {
                watch.replace(cx.waker().clone())
            }
        };
        drop(before);
        if self.has_left() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn has_left(&self) -> bool {
        self.word.load(Ordering::Acquire) & LEFT != 0
    }

    /// `over`: the watch is, and need not be woken. The next one, which may be on its way, has not run yet:
    /// it runs on the same thread.
    fn wake(&self, over: bool) {
        let mut waiters = self.lock();
        let watch = if over { waiters.watch.take() } else { None };
        let last = waiters.last.take();
        let mut others = waiters.others.iter_mut();
        let first = others.find_map(|(_, waker)| waker.take());
        let rest: Vec<_> = others.filter_map(|(_, waker)| waker.take()).collect();
        drop(waiters);
        drop(watch);
        // Foreign code.
        for waker in last.into_iter().chain(first).chain(rest) {
            unwind::wake(waker);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiters> {
        lock(&self.waiters)
    }
}

impl Waiters {
    fn at(&mut self, seat: &mut Seat) -> Place<'_> {
        Place(match seat {
            Seat::Last => &mut self.last,
            Seat::Own(place) => {
                let place = *place.get_or_insert_with(|| self.others.insert(None));
                &mut self.others[place]
            }
        })
    }
}

struct Place<'a>(&'a mut Option<Waker>);

impl Place<'_> {
    fn will_wake(&self, cx: &Context<'_>) -> bool {
        matches!(&*self.0, Some(waker) if waker.will_wake(cx.waker()))
    }
}

impl fmt::Debug for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.word.load(Ordering::Relaxed);
        f.debug_struct("Direction")
            .field("ready", &(word & READY != 0))
            .field("armed", &(word & ARMED != 0))
            .field("gone", &(word & GONE != 0))
            .finish_non_exhaustive()
    }
}
