//! A line of tasks that wait, first come first served.
//!
//! It lies under a lock. No waker is cloned, dropped or woken in here: each comes in and goes out by
//! value, so that its owner's code runs outside of the lock.

use std::{mem, task::Waker};

use crate::unwind;

/// No place.
const NONE: u32 = u32::MAX;

/// A slab whose used places are linked in the order in which they came, so that any of them leaves at
/// once; places are used again, so that a line that does not grow allocates nothing.
#[derive(Debug)]
pub(super) struct Waiters {
    places: Vec<Place>,
    first: u32,
    last: u32,
    /// The first of the unused places, which are linked by `next`.
    free: u32,
}

#[derive(Debug)]
struct Place {
    state: State,
    before: u32,
    next: u32,
}

#[derive(Debug)]
enum State {
    Free,
    /// In the line.
    Waiting(Waker),
    /// No longer in the line; the place is kept until its owner has seen that.
    Called,
}

/// A place in a line. Its owner gives it back with [`Waiters::leave`].
#[derive(Debug)]
pub(super) struct Key(u32);

impl Waiters {
    pub(super) const fn new() -> Self {
        Self {
            places: Vec::new(),
            first: NONE,
            last: NONE,
            free: NONE,
        }
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.first == NONE
    }

    /// Joins at the end.
    pub(super) fn join(&mut self, waker: Waker) -> Key {
        let place = Place {
            state: State::Waiting(waker),
            before: self.last,
            next: NONE,
        };
        let at = if self.free == NONE {
            let at = u32::try_from(self.places.len()).unwrap_or(NONE);
            assert_ne!(at, NONE, "fewer than 2^32 tasks wait");
            self.places.push(place);
            at
        } else {
            let at = self.free;
            self.free = mem::replace(self.place(at), place).next;
            at
        };
        match self.last {
            NONE => self.first = at,
            last => self.place(last).next = at,
        }
        self.last = at;
        Key(at)
    }

    /// Calls the first in the line. The waker is to be woken once the lock is free.
    pub(super) fn call(&mut self) -> Option<Waker> {
        if self.first == NONE {
            return None;
        }
        let at = self.first;
        self.unlink(at);
        match mem::replace(&mut self.place(at).state, State::Called) {
            State::Waiting(waker) => Some(waker),
            State::Free | State::Called => unreachable!("who is in the line waits"),
        }
    }

    pub(super) fn is_called(&self, key: &Key) -> bool {
        matches!(self.places[key.0 as usize].state, State::Called)
    }

    /// Whether a call would wake `waker`.
    pub(super) fn has_waker(&self, key: &Key, waker: &Waker) -> bool {
        match &self.places[key.0 as usize].state {
            State::Waiting(own) => own.will_wake(waker),
            State::Free | State::Called => false,
        }
    }

    /// A call wakes `waker` from now on. What comes back is to be dropped once the lock is free: the
    /// waker so far, or this one, if its owner has been called.
    pub(super) fn replace_waker(&mut self, key: &Key, waker: Waker) -> Waker {
        match &mut self.place(key.0).state {
            State::Waiting(own) => mem::replace(own, waker),
            State::Free | State::Called => waker,
        }
    }

    /// Gives the place back. The waker, to be dropped once the lock is free, if the owner was not
    /// called.
    pub(super) fn leave(&mut self, key: Key) -> Option<Waker> {
        let Key(at) = key;
        let state = mem::replace(&mut self.place(at).state, State::Free);
        if matches!(state, State::Waiting(_)) {
            self.unlink(at);
        }
        self.place(at).next = self.free;
        self.free = at;
        match state {
            State::Waiting(waker) => Some(waker),
            State::Free | State::Called => None,
        }
    }

    fn unlink(&mut self, at: u32) {
        let &mut Place { before, next, .. } = self.place(at);
        match before {
            NONE => self.first = next,
            before => self.place(before).next = next,
        }
        match next {
            NONE => self.last = before,
            next => self.place(next).before = before,
        }
    }

    fn place(&mut self, at: u32) -> &mut Place {
        &mut self.places[at as usize]
    }
}

/// Wakers on their way from under a lock, a handful at a time.
pub(super) struct Called {
    wakers: [Option<Waker>; Self::MANY],
    len: usize,
}

impl Called {
    const MANY: usize = 16;

    pub(super) const fn new() -> Self {
        Self {
            wakers: [const { None }; Self::MANY],
            len: 0,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.len == Self::MANY
    }

    /// To be called when there is room.
    pub(super) fn push(&mut self, waker: Waker) {
        self.wakers[self.len] = Some(waker);
        self.len += 1;
    }

    /// To be called without a lock.
    pub(super) fn wake(self) {
        for waker in self.wakers.into_iter().flatten() {
            // Its panic is not this side's to carry.
            unwind::wake(waker);
        }
    }
}

#[cfg(all(test, not(landbridge_loom)))]
mod tests {
    use std::{
        collections::VecDeque,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::Relaxed},
        },
        task::Wake,
    };

    use proptest::{collection::vec, prelude::*};

    use super::*;

    struct Log(usize, Arc<AtomicUsize>);

    impl Wake for Log {
        fn wake(self: Arc<Self>) {
            self.1.store(self.0, Relaxed);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// A link that is wrong loses a waiter, who then waits for ever.
        #[test]
        fn a_line_agrees_with_a_queue(steps in vec((0_u8..3, any::<prop::sample::Index>()), 0..100)) {
            let woken = Arc::new(AtomicUsize::new(usize::MAX));
            let mut line = Waiters::new();
            let (mut waiting, mut called) = (VecDeque::new(), Vec::new());
            let mut most = 0;
            for (number, (step, at)) in steps.into_iter().enumerate() {
                match step {
                    0 => {
                        let waker = Arc::new(Log(number, woken.clone())).into();
                        waiting.push_back((number, line.join(waker)));
                    }
                    1 => {
                        let waker = line.call();
                        prop_assert_eq!(waker.is_some(), !waiting.is_empty());
                        if let Some((first, key)) = waiting.pop_front() {
                            waker.unwrap().wake();
                            prop_assert_eq!(woken.load(Relaxed), first);
                            called.push(key);
                        }
                    }
                    _ if !called.is_empty() => {
                        let key = called.swap_remove(at.index(called.len()));
                        prop_assert!(line.is_called(&key));
                        prop_assert!(line.leave(key).is_none());
                    }
                    _ if !waiting.is_empty() => {
                        let (_, key) = waiting.remove(at.index(waiting.len())).unwrap();
                        prop_assert!(!line.is_called(&key));
                        prop_assert!(line.leave(key).is_some());
                    }
                    _ => {}
                }
                most = most.max(waiting.len() + called.len());
                prop_assert_eq!(line.is_empty(), waiting.is_empty());
                prop_assert_eq!(line.places.len(), most);
            }
        }
    }
}
