//! What a pool has done so far.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::builder::DriverKind;

/// A snapshot of a pool's counters, from [`CompioPool::metrics`](super::CompioPool::metrics).
///
/// Counters only grow, all but `in_flight`, `queued` and those of blocking work, which say what there
/// is now, and `wakeups_saved`, which is a difference. Those of different workers, and different counters of one
/// worker, are read one after the other, so that a busy pool's snapshot may be off by what happened
/// meanwhile.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PoolMetrics {
    /// One entry for each worker, by its index.
    pub workers: Vec<WorkerMetrics>,
    /// Jobs of `spawn` that wait because `max_in_flight` are in flight. Each is in its worker's
    /// `in_flight` and `queued`, too.
    pub pending: usize,
    /// Callers of `run` and its like that wait because `max_in_flight` are in flight.
    pub waiting: usize,
    /// Closures given to [`run_blocking`](crate::CompioPool::run_blocking) that wait for a thread.
    pub blocking_queued: usize,
    /// Closures given to `run_blocking` that run.
    pub blocking_running: usize,
}

/// One worker's share of [`PoolMetrics`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct WorkerMetrics {
    /// What the worker drives its I/O with.
    pub driver: DriverKind,
    /// Whether the worker takes work. It does not once its pool has ended, nor if its driver failed: the
    /// pool then goes on with the others.
    pub alive: bool,
    /// Jobs that were given to the worker and are not finished: queued, running or waiting.
    pub in_flight: usize,
    /// Jobs that were given to the worker and that it has not begun.
    pub queued: usize,
    /// Jobs that ran to their end.
    pub completed: u64,
    /// Jobs that ended because they were cancelled, or because the pool went away; begun or not.
    pub cancelled: u64,
    /// Jobs that panicked.
    pub panicked: u64,
    /// What reached the worker from other threads: new jobs, and wake-ups of its tasks.
    pub crossings: u64,
    /// Crossings that had to wake the worker with a system call.
    pub wakeups_sent: u64,
    /// Crossings that found the worker awake, or already woken.
    pub wakeups_saved: u64,
    /// How often the worker went to sleep in its driver.
    pub parks: u64,
    /// How often looking again before sleeping found something.
    pub looks_paid: u64,
    /// Tasks that woke up after their worker was gone; leaked, because only it may drop them.
    pub leaked_tasks: u64,
    /// 1 if the worker could not prove that the kernel was done with its buffers, and leaked its
    /// runtime rather than free them.
    pub leaked_runtimes: u64,
}

impl PoolMetrics {
    /// The sum of one counter over all workers.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = landbridge::CompioPool::builder().threads(2).build()?;
    /// assert_eq!(pool.metrics().total(|worker| worker.completed), 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn total(&self, counter: impl Fn(&WorkerMetrics) -> u64) -> u64 {
        self.workers.iter().map(counter).sum()
    }
}

/// Counted by everybody.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) in_flight: AtomicUsize,
    /// Cancelled, or refused, before the first poll.
    pub(crate) never_begun: AtomicU64,
    pub(crate) leaked_tasks: AtomicU64,
    /// Cancelled because a shutdown's time was up.
    pub(crate) cut_off: AtomicUsize,
}

/// Counted by the worker alone: a load and a store, no read-modify-write.
#[derive(Debug, Default)]
pub(crate) struct Own {
    pub(crate) completed: Counter,
    pub(crate) cancelled: Counter,
    pub(crate) panicked: Counter,
    pub(crate) crossings: Counter,
    pub(crate) parks: Counter,
    pub(crate) looks_paid: Counter,
    pub(crate) leaked_runtimes: Counter,
}

/// Written by one thread, read by any.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0
            .store(self.0.load(Ordering::Relaxed) + n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
