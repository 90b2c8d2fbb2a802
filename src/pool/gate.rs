//! Where those wait who wait for a pool's end.

use std::{
    sync::{Mutex, PoisonError},
    task::{Context, Poll, Waker},
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
    waiting: Vec<(End, Waker)>,
}

impl Gate {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            state: Mutex::new(State {
                undrained: workers,
                running: workers,
                waiting: Vec::new(),
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

    pub(crate) fn poll(&self, end: End, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.is(end) {
            return Poll::Ready(());
        }
        let known = state
            .waiting
            .iter()
            .any(|(other, waker)| *other == end && waker.will_wake(cx.waker()));
        if !known {
            state.waiting.push((end, cx.waker().clone()));
        }
        Poll::Pending
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        let woken = {
            let mut state = self.lock();
            change(&mut state);
            let (drained, ended) = (state.is(End::Drained), state.is(End::Ended));
            state
                .waiting
                .extract_if(.., |(end, _)| match end {
                    End::Drained => drained,
                    End::Ended => ended,
                })
                .collect::<Vec<_>>()
        };
        for (_, waker) in woken {
            crate::unwind::swallow(|| waker.wake());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // No panic can happen under the lock but for a failed allocation; the state is whole then.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is(&self, end: End) -> bool {
        match end {
            End::Drained => self.undrained == 0,
            End::Ended => self.running == 0,
        }
    }
}
