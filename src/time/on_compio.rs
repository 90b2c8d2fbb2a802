//! A timer of Compio's, held by something that may change threads.
//!
//! Compio's timers belong to one runtime on one thread. So the timer itself stays there, in a table of
//! that thread, and what changes threads is only the number of its place: [`OnCompio`], which is
//! `Send + Sync` for that reason and without a word about it.
//!
//! Polled on another thread, or in another runtime of the same thread, it is set there anew, for the
//! same deadline. What it leaves behind on another thread is put on that thread's list, and goes when
//! that thread next sets a timer, or with the runtime. Until then, or until the deadline if that is
//! earlier, the runtime there keeps the waker it was last polled with.
//!
//! A runtime takes its timers with it when it ends, by a helper task that does nothing else: a timer
//! that its owner still has keeps nothing of a runtime that is gone.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::{self, Future},
    pin::Pin,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Instant,
};

use compio::driver::{AsRawFd, RawFd};
use compio::runtime::Runtime;
use pin_project_lite::pin_project;
use slab::Slab;

use crate::unwind::swallow;

/// Timers that are not set which a thread keeps, so that setting one need not allocate.
const SPARES: usize = 1024;

/// A timer of whichever Compio runtime polled it last; none before the first poll.
#[derive(Debug, Default)]
pub(crate) struct OnCompio(Option<Place>);

impl OnCompio {
    /// Waits until `deadline`, which is to be the same at each poll until [`clear`](Self::clear).
    ///
    /// `None` where no Compio runtime's context is set. Polled again after it was ready, it begins
    /// anew.
    pub(crate) fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Option<Poll<()>> {
        let driver = Runtime::try_with_current(|runtime| runtime.as_raw_fd()).ok()?;
        THREAD
            .try_with(|thread| thread.poll(&mut self.0, deadline, driver, cx))
            .ok()
    }

    /// Takes the timer back, wherever it was set.
    pub(crate) fn clear(&mut self) {
        if let Some(place) = self.0.take() {
            place.leave();
        }
    }
}

impl Drop for OnCompio {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Where a timer is set. Owned: the entry stays until this leaves it, or its runtime ends.
#[derive(Debug)]
struct Place {
    thread: u64,
    home: u64,
    key: usize,
}

impl Place {
    /// None if the runtime has ended, and then the key may be another one's.
    fn entry<'a>(&self, set: &'a mut Slab<Entry>) -> Option<&'a mut Entry> {
        set.get_mut(self.key)
            .filter(|entry| entry.home == self.home)
    }

    fn leave(self) {
        // A thread that has no table any more has dropped what was in it.
        let here = THREAD.try_with(|thread| {
            let here = thread.id == self.thread;
            if here {
                thread.remove(&self);
            }
            here
        });
        if here != Ok(true) {
            leave_elsewhere(self);
        }
    }
}

/// By thread, the places that were left from other threads. A thread without an entry has ended.
static LEFT: Mutex<BTreeMap<u64, Vec<Place>>> = Mutex::new(BTreeMap::new());

/// Counts what was ever put there, so that a thread need not lock to see that there is nothing new.
static EVER_LEFT: AtomicUsize = AtomicUsize::new(0);

fn left() -> MutexGuard<'static, BTreeMap<u64, Vec<Place>>> {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cold]
fn leave_elsewhere(place: Place) {
    let mut left = left();
    if let Some(places) = left.get_mut(&place.thread) {
        places.push(place);
        EVER_LEFT.fetch_add(1, Ordering::Release);
    }
}

thread_local! {
    static THREAD: Thread = Thread::new();
}

/// A thread's table.
///
/// Nothing of it is borrowed while foreign code runs, which a waker's clone and drop are: that may come
/// back here.
struct Thread {
    id: u64,
    homes: RefCell<Vec<Home>>,
    set: RefCell<Slab<Entry>>,
    spare: RefCell<Vec<Pin<Box<dyn Timer>>>>,
    /// The [`EVER_LEFT`] that has been looked after.
    collected: Cell<usize>,
}

struct Entry {
    /// Whose timer it is.
    home: u64,
    /// Taken out while it is polled.
    timer: Option<Pin<Box<dyn Timer>>>,
}

/// A runtime that has, or had, timers of ours.
struct Home {
    id: u64,
    /// Means no other runtime while this one lives, and with it the helper.
    driver: RawFd,
}

/// Is dropped with its runtime.
struct Helper {
    home: u64,
}

impl Drop for Helper {
    fn drop(&mut self) {
        // A thread that has no table any more has dropped what was in it.
        _ = THREAD.try_with(|thread| thread.end(self.home));
    }
}

impl Thread {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);

        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        left().insert(id, Vec::new());
        Self {
            id,
            homes: RefCell::default(),
            set: RefCell::default(),
            spare: RefCell::default(),
            collected: Cell::new(0),
        }
    }

    fn poll(
        &self,
        place: &mut Option<Place>,
        deadline: Instant,
        driver: RawFd,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let home = self.home(driver);
        let taken = place.as_ref().and_then(|place| self.take(place, home));
        let mut timer = taken.unwrap_or_else(|| {
            if let Some(elsewhere) = place.take() {
                elsewhere.leave();
            }
            self.collect();
            let mut timer = self.spare.borrow_mut().pop().unwrap_or_else(new_timer);
            timer.as_mut().set(deadline);
            let entry = Entry { home, timer: None };
            *place = Some(Place {
                thread: self.id,
                home,
                key: self.set.borrow_mut().insert(entry),
            });
            timer
        });
        let polled = timer.as_mut().poll(cx);
        if let Some(here) = place
            && let Some(entry) = here.entry(&mut self.set.borrow_mut())
        {
            entry.timer = Some(timer);
        }
        if polled.is_ready()
            && let Some(here) = place.take()
        {
            self.remove(&here);
        }
        polled
    }

    /// The runtime with that driver, which is the current one.
    fn home(&self, driver: RawFd) -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(0);

        let known = self
            .homes
            .borrow()
            .iter()
            .find(|it| it.driver == driver)
            .map(|it| it.id);
        known.unwrap_or_else(|| {
            let id = NEXT.fetch_add(1, Ordering::Relaxed);
            self.homes.borrow_mut().push(Home { id, driver });
            let helper = Helper { home: id };
            crate::rt::spawn_helper(async move {
                let _helper = helper;
                future::pending().await
            });
            id
        })
    }

    /// The timer of that place, if it is one of this runtime's.
    fn take(&self, place: &Place, home: u64) -> Option<Pin<Box<dyn Timer>>> {
        if (place.thread, place.home) != (self.id, home) {
            return None;
        }
        // None if its last poll panicked.
        place.entry(&mut self.set.borrow_mut())?.timer.take()
    }

    fn remove(&self, place: &Place) {
        let mut set = self.set.borrow_mut();
        if place.entry(&mut set).is_none() {
            return;
        }
        let entry = set.remove(place.key);
        drop(set);
        if let Some(mut timer) = entry.timer {
            timer.as_mut().clear();
            let mut spare = self.spare.borrow_mut();
            if spare.len() < SPARES {
                spare.push(timer);
            }
        }
    }

    /// Removes what a runtime leaves.
    fn end(&self, home: u64) {
        self.homes.borrow_mut().retain(|it| it.id != home);
        let mut set = self.set.borrow_mut();
        let of_it = |(key, entry): (usize, &Entry)| (entry.home == home).then_some(key);
        let keys: Vec<_> = set.iter().filter_map(of_it).collect();
        let entries: Vec<_> = keys.into_iter().map(|key| set.remove(key)).collect();
        drop(set);
        for entry in entries {
            swallow(|| drop(entry));
        }
    }

    /// Removes what has been left from other threads.
    fn collect(&self) {
        let ever_left = EVER_LEFT.load(Ordering::Acquire);
        if self.collected.replace(ever_left) == ever_left {
            return;
        }
        let places = left().get_mut(&self.id).map(std::mem::take);
        for place in places.unwrap_or_default() {
            swallow(|| self.remove(&place));
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        left().remove(&self.id);
        for entry in self.set.take().drain() {
            swallow(|| drop(entry));
        }
    }
}

/// Compio's sleep, whose type has no name, in a box that can be used again.
trait Timer {
    fn set(self: Pin<&mut Self>, deadline: Instant);

    fn clear(self: Pin<&mut Self>);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()>;
}

pin_project! {
    struct Reused<M, F> {
        make: M,
        #[pin]
        sleep: Option<F>,
    }
}

fn new_timer() -> Pin<Box<dyn Timer>> {
    fn reused<M: Fn(Instant) -> F, F>(make: M) -> Reused<M, F> {
        Reused { make, sleep: None }
    }

    Box::pin(reused(compio::time::sleep_until))
}

impl<M, F> Timer for Reused<M, F>
where
    M: Fn(Instant) -> F,
    F: Future<Output = ()>,
{
    fn set(self: Pin<&mut Self>, deadline: Instant) {
        let mut this = self.project();
        this.sleep.set(Some((this.make)(deadline)));
    }

    fn clear(self: Pin<&mut Self>) {
        self.project().sleep.set(None);
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.project().sleep.as_pin_mut();
        sleep.expect("polled while it is set").poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server may start and end threads for years.
    #[test]
    fn a_thread_that_has_ended_has_no_list() {
        let id = || THREAD.with(|thread| thread.id);
        let own = id();
        assert!(left().contains_key(&own));
        let ended = std::thread::spawn(id).join().unwrap();
        assert!(!left().contains_key(&ended));
        leave_elsewhere(Place {
            thread: ended,
            home: 0,
            key: 0,
        });
        assert!(!left().contains_key(&ended));
    }
}
