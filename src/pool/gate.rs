//! Where those wait who wait for a pool's end.

use std::task::{Context, Poll, Waker};

use crate::{
    sync::{Mutex, MutexGuard, lock},
    unwind::{self, swallow},
};

/// Which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing is left but the jobs that wait for the shutdown themselves.
    Drained,
    /// Every worker is gone.
    Ended,
}

#[derive(Debug)]
pub(crate) struct Gate {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    undrained: usize,
    running: usize,
    waiting: Vec<Waiting>,
    /// The number of the next [`Ticket`].
    next: u64,
}

#[derive(Debug)]
struct Waiting {
    who: u64,
    end: End,
    waker: Waker,
}

/// One who waits: a later poll replaces what an earlier one left.
#[derive(Debug, Default)]
pub(crate) struct Ticket(Option<u64>);

impl Gate {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            state: Mutex::new(State {
                undrained: workers,
                running: workers,
                waiting: Vec::new(),
                next: 0,
            }),
        }
    }

    /// A worker says, once, that it has drained.
    pub(crate) fn drained(&self) {
        self.update(|state| state.undrained -= 1);
    }

    /// A worker says, once and last, that it has ended; whether it had said that it has drained.
    pub(crate) fn ended(&self, was_drained: bool) {
        self.update(|state| {
            state.running -= 1;
            if !was_drained {
                state.undrained -= 1;
            }
        });
    }

    pub(crate) fn poll(&self, ticket: &mut Ticket, end: End, cx: &mut Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone();
        let mut state = self.lock();
        if state.is(end) {
            return Poll::Ready(());
        }
        let who = *ticket.0.get_or_insert_with(|| {
            state.next += 1;
            state.next
        });
        let before = state.take(who);
        state.waiting.push(Waiting { who, end, waker });
        drop(state);
        // A waker's destructor may run anything, so not under the lock.
        drop(before);
        Poll::Pending
    }

    /// Lets go of the waker of one who waits no more.
    pub(crate) fn forget(&self, ticket: &Ticket) {
        let waiting = ticket.0.and_then(|who| self.lock().take(who));
        swallow(|| drop(waiting));
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        let woken = {
            let mut state = self.lock();
            change(&mut state);
            let (drained, ended) = (state.is(End::Drained), state.is(End::Ended));
            state
                .waiting
                .extract_if(.., |waiting| match waiting.end {
                    End::Drained => drained,
                    End::Ended => ended,
                })
                .collect::<Vec<_>>()
        };
        for Waiting { waker, .. } in woken {
            unwind::wake(waker);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn take(&mut self, who: u64) -> Option<Waiting> {
        let place = self.waiting.iter().position(|waiting| waiting.who == who)?;
        Some(self.waiting.swap_remove(place))
    }

    fn is(&self, end: End) -> bool {
        match end {
            End::Drained => self.undrained == 0,
            End::Ended => self.running == 0,
        }
    }
}
