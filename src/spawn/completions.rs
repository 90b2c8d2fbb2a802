//! Where the results of many tasks gather for one who waits for them.
//!
//! Each task adds its result once; the receiving side takes all there are, or sleeps until there is
//! one, or lets go of them. Of the results that come during one sleep only the first wakes. Imports
//! neither runtime: loom drives it alone (`docs/loom.md`).

use std::{
    collections::VecDeque,
    mem,
    task::{Context, Poll, Waker},
};

use crate::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering},
    lock,
};

#[derive(Debug)]
pub(crate) struct Completions<V> {
    /// Whether there is something to take; lets a waiting side look without taking the lock.
    ready: AtomicBool,
    state: Mutex<State<V>>,
}

#[derive(Debug)]
struct State<V> {
    values: VecDeque<V>,
    /// To be woken by the next value.
    waiting: Option<Waker>,
    /// The receiving side has let go: whatever comes is not wanted.
    unwanted: bool,
}

impl<V> Completions<V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            ready: AtomicBool::new(false),
            state: Mutex::new(State {
                values: VecDeque::with_capacity(capacity),
                waiting: None,
                unwanted: false,
            }),
        }
    }

    /// Adds `value` and returns who is to be told; or hands it back, if nobody wants it.
    ///
    /// The caller wakes, after this and not under any lock.
    pub(crate) fn add(&self, value: V) -> Result<Option<Waker>, V> {
        let mut state = self.lock();
        if state.unwanted {
            return Err(value);
        }
        state.values.push_back(value);
        self.ready.store(true, Ordering::Release);
        Ok(state.waiting.take())
    }

    /// Whether there is something; a look without the lock.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Moves what there is to `into`, which is empty, or leaves a waker for [`add`](Self::add).
    pub(crate) fn poll(&self, into: &mut VecDeque<V>, cx: &mut Context<'_>) -> Poll<()> {
        // Cloned before the lock and dropped after it: both run foreign code.
        let mut waker = (!self.is_ready()).then(|| cx.waker().clone());
        let mut state = self.lock();
        let taken = if state.values.is_empty() {
            waker.get_or_insert_with(|| cx.waker().clone());
            mem::swap(&mut state.waiting, &mut waker);
            Poll::Pending
        } else {
            mem::swap(&mut state.values, into);
            self.ready.store(false, Ordering::Relaxed);
            Poll::Ready(())
        };
        drop(state);
        drop(waker);
        taken
    }

    /// The receiving side lets go; what is there comes back, and the waker that was left. All that is
    /// foreign, and dropping it is up to the caller.
    pub(crate) fn let_go(&self) -> (VecDeque<V>, Option<Waker>) {
        let mut state = self.lock();
        state.unwanted = true;
        (mem::take(&mut state.values), state.waiting.take())
    }

    fn lock(&self) -> MutexGuard<'_, State<V>> {
        lock(&self.state)
    }
}
