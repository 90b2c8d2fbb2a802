//! Who may hand a pool more work, and who has to wait for that.
//!
//! A pool with a bound on what is in flight counts every job from its admission to its end. What comes
//! above the bound waits in one queue, oldest first: callers that wait themselves ([`Waiting::Caller`])
//! and jobs of callers that do not ([`Waiting::Job`]). Whoever ends a job hands its place to the oldest
//! in the queue; a place is never free while somebody waits for one.
//!
//! Imports neither runtime: loom drives it alone (`docs/loom.md`).

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    task::{Context, Poll, Waker},
};

use crate::{
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
        lock,
    },
    unwind::swallow,
};

/// Whether a pool takes work, and how much.
#[derive(Debug)]
pub(crate) struct Admission<J> {
    open: AtomicBool,
    /// `None`: as much as there is, and nothing is counted.
    bound: Option<usize>,
    state: Mutex<State<J>>,
}

#[derive(Debug)]
struct State<J> {
    open: bool,
    /// Admitted and not ended. More than the bound where a job of the pool hands it more work.
    in_flight: usize,
    waiting: BTreeMap<u64, Waiting<J>>,
    /// How many of those who wait are jobs.
    jobs: usize,
    /// Callers whose turn has come and who have not been polled since.
    granted: BTreeSet<u64>,
    /// The number of the next one that waits.
    next: u64,
}

#[derive(Debug)]
enum Waiting<J> {
    Caller(Waker),
    Job(J),
}

/// Why work is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Full,
    Closed,
}

/// A caller's number in the queue, once it is in it.
#[derive(Debug, Default)]
pub(crate) struct Ticket(Option<u64>);

/// Who has the place that became free.
#[derive(Debug)]
#[must_use]
pub(crate) enum Next<J> {
    Nobody,
    /// To be woken, not under a lock.
    Caller(Waker),
    /// To be queued for its worker.
    Job(J),
}

/// What became of a job whose caller does not wait.
#[derive(Debug)]
pub(crate) enum Offered<J> {
    /// To be queued for its worker now.
    Admitted(J),
    /// It waits here.
    Waits,
    Closed(J),
}

impl<J> Admission<J> {
    /// `bound` is the most that may be in flight; `None` for no bound.
    pub(crate) fn new(bound: Option<usize>) -> Self {
        Self {
            open: AtomicBool::new(true),
            bound,
            state: Mutex::new(State {
                open: true,
                in_flight: 0,
                waiting: BTreeMap::new(),
                jobs: 0,
                granted: BTreeSet::new(),
                next: 0,
            }),
        }
    }

    /// Whether new work is taken. What slips in past a close is finished or refused by the worker's
    /// inbox.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether jobs are counted, and each that was admitted must be [released](Self::release).
    pub(crate) fn is_bounded(&self) -> bool {
        self.bound.is_some()
    }

    /// A place without waiting.
    pub(crate) fn try_admit(&self) -> Result<(), Refused> {
        let Some(bound) = self.bound else {
            return if self.is_open() {
                Ok(())
            } else {
                Err(Refused::Closed)
            };
        };
        let mut state = self.lock();
        if !state.open {
            Err(Refused::Closed)
        } else if state.in_flight < bound {
            state.in_flight += 1;
            Ok(())
        } else {
            Err(Refused::Full)
        }
    }

    /// A place above the bound if need be: for a job of the pool itself, which would wait for its own
    /// end otherwise. Whether the pool takes work at all.
    pub(crate) fn force(&self) -> bool {
        if self.bound.is_none() {
            return self.is_open();
        }
        let mut state = self.lock();
        if state.open {
            state.in_flight += 1;
        }
        state.open
    }

    /// A place for `job`, or a place in the queue.
    pub(crate) fn offer(&self, job: J) -> Offered<J> {
        let Some(bound) = self.bound else {
            return if self.is_open() {
                Offered::Admitted(job)
            } else {
                Offered::Closed(job)
            };
        };
        let mut state = self.lock();
        if !state.open {
            Offered::Closed(job)
        } else if state.in_flight < bound {
            state.in_flight += 1;
            Offered::Admitted(job)
        } else {
            let number = state.number();
            state.waiting.insert(number, Waiting::Job(job));
            state.jobs += 1;
            Offered::Waits
        }
    }

    /// A job that was admitted has ended, or its caller has changed its mind.
    pub(crate) fn release(&self) -> Next<J> {
        let bound = self.bound.expect("only a bounded pool counts");
        let mut state = self.lock();
        state.in_flight -= 1;
        if state.in_flight >= bound {
            return Next::Nobody;
        }
        match state.waiting.pop_first() {
            None => Next::Nobody,
            Some((number, Waiting::Caller(waker))) => {
                state.in_flight += 1;
                state.granted.insert(number);
                Next::Caller(waker)
            }
            Some((_, Waiting::Job(job))) => {
                state.jobs -= 1;
                state.in_flight += 1;
                Next::Job(job)
            }
        }
    }

    /// Takes no more work; callers that wait are returned, to be woken. Jobs that wait stay: they were
    /// taken before.
    #[must_use]
    pub(crate) fn close(&self) -> Vec<Waker> {
        self.open.store(false, Ordering::Relaxed);
        let mut state = self.lock();
        state.open = false;
        state
            .waiting
            .extract_if(.., |_, waiting| matches!(waiting, Waiting::Caller(_)))
            .filter_map(|(_, waiting)| match waiting {
                Waiting::Caller(waker) => Some(waker),
                Waiting::Job(_) => None,
            })
            .collect()
    }

    /// Takes waiting jobs out of the queue: they were never admitted.
    pub(crate) fn take_jobs(&self, mut which: impl FnMut(&J) -> bool) -> Vec<J> {
        if self.bound.is_none() {
            return Vec::new();
        }
        let mut state = self.lock();
        let jobs: Vec<J> = state
            .waiting
            .extract_if(
                ..,
                |_, waiting| matches!(waiting, Waiting::Job(job) if which(job)),
            )
            .filter_map(|(_, waiting)| match waiting {
                Waiting::Job(job) => Some(job),
                Waiting::Caller(_) => None,
            })
            .collect();
        state.jobs -= jobs.len();
        jobs
    }

    /// How many jobs wait, and how many callers.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        if self.bound.is_none() {
            return (0, 0);
        }
        let state = self.lock();
        let jobs = state.jobs;
        (jobs, state.waiting.len() - jobs)
    }

    /// Ready with a place, which must then be [released](Self::release), or with the news that the pool
    /// is closed. Pending, the caller is in the queue until the ticket is ready or
    /// [given up](Self::give_up).
    pub(crate) fn poll(
        &self,
        ticket: &mut Ticket,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Refused>> {
        let Some(bound) = self.bound else {
            return Poll::Ready(self.try_admit());
        };
        // Cloned before the lock and dropped after it: both run foreign code.
        let waker = cx.waker().clone();
        let mut state = self.lock();
        let Some(number) = ticket.0 else {
            if !state.open {
                return Poll::Ready(Err(Refused::Closed));
            }
            if state.in_flight < bound {
                state.in_flight += 1;
                return Poll::Ready(Ok(()));
            }
            let number = state.number();
            state.waiting.insert(number, Waiting::Caller(waker));
            ticket.0 = Some(number);
            return Poll::Pending;
        };
        if let Some(waiting) = state.waiting.get_mut(&number) {
            let before = mem::replace(waiting, Waiting::Caller(waker));
            drop(state);
            drop(before);
            return Poll::Pending;
        }
        ticket.0 = None;
        Poll::Ready(if state.granted.remove(&number) {
            Ok(())
        } else {
            Err(Refused::Closed)
        })
    }

    /// Leaves the queue; a place that the ticket had been given goes to the next.
    pub(crate) fn give_up(&self, ticket: &mut Ticket) -> Next<J> {
        let Some(number) = ticket.0.take() else {
            return Next::Nobody;
        };
        let mut state = self.lock();
        let granted = state.granted.remove(&number);
        let waiting = state.waiting.remove(&number);
        drop(state);
        swallow(|| drop(waiting));
        if granted {
            self.release()
        } else {
            Next::Nobody
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<J>> {
        lock(&self.state)
    }
}

impl<J> State<J> {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}
