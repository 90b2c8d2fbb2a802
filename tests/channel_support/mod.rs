//! Values that count their drops and wakers that count their calls.

#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod ends;

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
};

use landbridge::channel::Weight;

/// How often each of a number of values has been dropped.
#[derive(Clone, Debug)]
pub(crate) struct Drops(Arc<[AtomicUsize]>);

impl Drops {
    pub(crate) fn new(values: usize) -> Self {
        Self((0..values).map(|_| AtomicUsize::new(0)).collect())
    }

    pub(crate) fn value(&self, number: usize) -> Counted {
        Counted {
            number,
            drops: self.clone(),
        }
    }

    pub(crate) fn of(&self, number: usize) -> usize {
        self.0[number].load(SeqCst)
    }

    #[track_caller]
    pub(crate) fn assert_all_once(&self) {
        for (number, drops) in self.0.iter().enumerate() {
            assert_eq!(drops.load(SeqCst), 1, "drops of value {number}");
        }
    }
}

#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) number: usize,
    drops: Drops,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.drops.0[self.number].fetch_add(1, SeqCst);
    }
}

impl Weight for Counted {
    fn weight(&self) -> usize {
        1
    }
}

/// Counts how often it is woken.
#[derive(Debug, Default)]
pub(crate) struct Wakes(AtomicUsize);

impl Wakes {
    pub(crate) fn new() -> (Arc<Self>, Waker) {
        let wakes = Arc::new(Self::default());
        (wakes.clone(), wakes.into())
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(SeqCst)
    }

    /// Waits for the wake-up of a thread that unwinds, which comes from another one. Without it, the test hangs.
    #[allow(dead_code, reason = "not every test that includes this has such a one")]
    pub(crate) fn wait_for_one(&self) {
        while self.count() == 0 {
            std::thread::yield_now();
        }
        assert_eq!(self.count(), 1);
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// Polls once and drops the future.
pub(crate) fn poll_once<T>(waker: &Waker, future: impl Future<Output = T>) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(waker))
}

/// Polls once with a waker that does nothing, and drops the future.
pub(crate) fn poll<T>(future: impl Future<Output = T>) -> Poll<T> {
    poll_once(Waker::noop(), future)
}

/// Polls `future` up to `polls` times, calling `between` before each poll but the first, then drops it.
pub(crate) fn cancel_after<T>(
    polls: usize,
    future: impl Future<Output = T>,
    mut between: impl FnMut(usize),
) -> Option<T> {
    let mut future = pin!(future);
    for poll in 0..polls {
        if poll > 0 {
            between(poll);
        }
        if let Poll::Ready(output) = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            return Some(output);
        }
    }
    None
}
