//! A timer of Compio's, held by something that may change threads.
//!
//! Compio's timers belong to one runtime on one thread. So the timer itself stays there, in a table of
//! that thread, and what changes threads is only the number of its place: [`OnCompio`], which is
//! `Send + Sync` for that reason and without a word about it.
//!
//! Polled on another thread, or in another runtime of the same thread, it is set there anew, for the
//! same deadline. What it leaves behind on another thread is put on that thread's list, and goes when
//! that thread next sets a timer, or with the thread. Until then, or until the deadline if that is
//! earlier, the runtime there keeps the waker it was last polled with.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Instant,
};

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
        let runtime = Runtime::try_with_current(Runtime::waker).ok()?;
        THREAD
            .try_with(|thread| thread.poll(&mut self.0, deadline, runtime, cx))
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

/// Where a timer is set. Owned: the entry stays until this leaves it.
#[derive(Debug)]
struct Place {
    thread: u64,
    key: usize,
}

impl Place {
    fn leave(self) {
        // A thread that has no table any more has dropped what was in it.
        let here = THREAD.try_with(|thread| {
            let here = thread.id == self.thread;
            if here {
                thread.remove(self.key);
            }
            here
        });
        if here != Ok(true) {
            leave_elsewhere(&self);
        }
    }
}

/// By thread, the places that were left from other threads. A thread without an entry has ended.
static LEFT: Mutex<BTreeMap<u64, Vec<usize>>> = Mutex::new(BTreeMap::new());

/// Counts what was ever put there, so that a thread need not lock to see that there is nothing new.
static EVER_LEFT: AtomicUsize = AtomicUsize::new(0);

fn left() -> MutexGuard<'static, BTreeMap<u64, Vec<usize>>> {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cold]
fn leave_elsewhere(place: &Place) {
    let mut left = left();
    if let Some(keys) = left.get_mut(&place.thread) {
        keys.push(place.key);
        EVER_LEFT.fetch_add(1, Ordering::Release);
    }
}

thread_local! {
    static THREAD: Thread = Thread::new();
}

/// A thread's table.
///
/// Nothing of it is borrowed while foreign code runs, which a waker's clone and drop are: that may come
/// back here. (Compio's own table is: a waker that drops a timer when it is woken or dropped panics there.)
struct Thread {
    id: u64,
    set: RefCell<Slab<Entry>>,
    spare: RefCell<Vec<Pin<Box<dyn Timer>>>>,
    /// The [`EVER_LEFT`] that has been looked after.
    collected: Cell<usize>,
}

struct Entry {
    /// Whose timer it is. Kept, so that no other runtime's waker has the same address meanwhile.
    runtime: Waker,
    /// Taken out while it is polled.
    timer: Option<Pin<Box<dyn Timer>>>,
}

impl Thread {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);

        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        left().insert(id, Vec::new());
        Self {
            id,
            set: RefCell::default(),
            spare: RefCell::default(),
            collected: Cell::new(0),
        }
    }

    fn poll(
        &self,
        place: &mut Option<Place>,
        deadline: Instant,
        runtime: Waker,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let taken = place.as_ref().and_then(|place| self.take(place, &runtime));
        let (key, mut timer) = taken.unwrap_or_else(|| {
            if let Some(elsewhere) = place.take() {
                elsewhere.leave();
            }
            self.collect();
            let mut timer = self.spare.borrow_mut().pop().unwrap_or_else(new_timer);
            timer.as_mut().set(deadline);
            let entry = Entry {
                runtime,
                timer: None,
            };
            let key = self.set.borrow_mut().insert(entry);
            *place = Some(Place {
                thread: self.id,
                key,
            });
            (key, timer)
        });
        let polled = timer.as_mut().poll(cx);
        self.set.borrow_mut()[key].timer = Some(timer);
        if polled.is_ready() {
            *place = None;
            self.remove(key);
        }
        polled
    }

    /// The timer of that place, if it is one of this runtime's.
    fn take(&self, place: &Place, runtime: &Waker) -> Option<(usize, Pin<Box<dyn Timer>>)> {
        if place.thread != self.id {
            return None;
        }
        let mut set = self.set.borrow_mut();
        let entry = &mut set[place.key];
        // The vtable of equal wakers may differ.
        if entry.runtime.data() != runtime.data() {
            return None;
        }
        // None if its last poll panicked.
        Some((place.key, entry.timer.take()?))
    }

    fn remove(&self, key: usize) {
        let entry = self.set.borrow_mut().remove(key);
        if let Some(mut timer) = entry.timer {
            timer.as_mut().clear();
            let mut spare = self.spare.borrow_mut();
            if spare.len() < SPARES {
                spare.push(timer);
            }
        }
    }

    /// Removes what has been left from other threads.
    fn collect(&self) {
        let ever_left = EVER_LEFT.load(Ordering::Acquire);
        if self.collected.replace(ever_left) == ever_left {
            return;
        }
        let keys = left().get_mut(&self.id).map(std::mem::take);
        for key in keys.unwrap_or_default() {
            swallow(|| self.remove(key));
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
        leave_elsewhere(&Place {
            thread: ended,
            key: 0,
        });
        assert!(!left().contains_key(&ended));
    }
}
