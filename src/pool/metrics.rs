//! What a pool has done so far.
//!
//! The worker alone writes what it counts, with a load and a store. Counters count everything; times are
//! measured for one job in sixteen, since reading the clock three times for each would cost more than
//! all the counting (`docs/design.md`).

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use super::{
    builder::DriverKind,
    dump::Note,
    histogram::{Histogram, Recorder},
};

/// A snapshot of a pool's counters, from [`CompioPool::metrics`](super::CompioPool::metrics).
///
/// Counters only grow, all but `in_flight`, `queued`, `pending`, `waiting` and those of blocking work,
/// which say what there is now, and `wakeups_saved`, which is a difference. Those of different workers,
/// and different counters of one worker, are read one after the other, so that a busy pool's snapshot
/// may be off by what happened meanwhile.
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
///
/// The sums are exact when nothing happens meanwhile. What was given to the worker is
/// `completed + cancelled + panicked + in_flight`.
///
/// The two histograms are of the same jobs: one in sixteen of those that were begun, picked by chance.
#[derive(Clone, Debug)]
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
    /// Jobs that panicked, or ended as
    /// [`NoBlockingThreads`](crate::error::JoinError::NoBlockingThreads), which is a panic of Compio's.
    pub panicked: u64,
    /// What reached the worker from other threads: new jobs, and wake-ups of its tasks.
    pub crossings_in: u64,
    /// Results that left the worker for other threads: of jobs that another thread gave it and that it
    /// began, whatever they ended with, unless whoever could have waited for it had let go.
    pub crossings_out: u64,
    /// Crossings in that had to wake the worker with a system call.
    pub wakeups_sent: u64,
    /// Crossings in that found the worker awake, or already woken.
    pub wakeups_saved: u64,
    /// Crossings out that found a task waiting, and woke it; the others were there before anybody asked.
    pub callers_woken: u64,
    /// How often the worker went to sleep in its driver.
    pub parks: u64,
    /// How often looking again before sleeping found something.
    pub looks_paid: u64,
    /// How long the worker has been awake: at work, in its driver without waiting for it, or looking
    /// for work before it sleeps.
    pub busy: Duration,
    /// How long jobs waited for their first poll since they were queued for the worker. The wait for a
    /// place below [`max_in_flight`](super::Builder::max_in_flight) comes before that. Of one job in
    /// sixteen.
    pub enqueue_to_start: Histogram,
    /// How long jobs took from their first poll to their end, whatever that was: until their future
    /// was dropped. Of one job in sixteen.
    pub start_to_finish: Histogram,
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

    /// How long jobs waited for their first poll, over all workers; see
    /// [`WorkerMetrics::enqueue_to_start`].
    pub fn enqueue_to_start(&self) -> Histogram {
        self.merged(|worker| &worker.enqueue_to_start)
    }

    /// How long jobs took from their first poll to their end, over all workers; see
    /// [`WorkerMetrics::start_to_finish`].
    pub fn start_to_finish(&self) -> Histogram {
        self.merged(|worker| &worker.start_to_finish)
    }

    fn merged(&self, which: impl Fn(&WorkerMetrics) -> &Histogram) -> Histogram {
        let mut all = Histogram::default();
        for worker in &self.workers {
            all.merge(which(worker));
        }
        all
    }
}

/// Counted by everybody.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Jobs that were given to the worker. What is in flight is a difference, so that those who give
    /// and the worker do not write to one line for every job.
    pub(crate) given: AtomicU64,
    /// Cancelled, or refused, before the first poll.
    pub(crate) never_begun: AtomicU64,
    pub(crate) leaked_tasks: AtomicU64,
    /// Cancelled because a shutdown's time was up.
    pub(crate) cut_off: AtomicUsize,
    /// Sockets that this worker watches.
    #[cfg(all(feature = "net", unix))]
    pub(crate) sockets: AtomicUsize,
}

/// Counted by the worker alone: a load and a store, no read-modify-write.
#[derive(Debug, Default)]
pub(crate) struct Own {
    pub(crate) completed: Counter,
    pub(crate) cancelled: Counter,
    pub(crate) panicked: Counter,
    /// Tasks in the registry that are [residents](super::Header::is_resident).
    pub(crate) residents: Counter,
    pub(crate) crossings_in: Counter,
    pub(crate) crossings_out: Counter,
    pub(crate) callers_woken: Counter,
    pub(crate) parks: Counter,
    pub(crate) looks_paid: Counter,
    pub(crate) leaked_runtimes: Counter,
    pub(crate) enqueue_to_start: Recorder,
    pub(crate) start_to_finish: Recorder,
    pub(crate) clock: Clock,
    pub(crate) note: Note,
}

/// What time it is for a worker, and how much of it the worker was awake.
///
/// Times are nanoseconds since the worker's beginning; they last for 292 years, as one bit of a word is
/// kept for other things.
#[derive(Debug)]
pub(crate) struct Clock {
    epoch: Instant,
    /// The worker's last reading.
    last: AtomicU64,
    /// While the worker is awake, twice the time that it has slept; while it sleeps, twice the time that
    /// it has been awake, and one. One word, so that nobody ever sees half of a change.
    slept_or_awake: AtomicU64,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            last: AtomicU64::new(0),
            slept_or_awake: AtomicU64::new(0),
        }
    }
}

impl Clock {
    /// The time; anybody may ask.
    pub(crate) fn now(&self) -> u64 {
        // Lossless for as long as a process lives.
        self.epoch.elapsed().as_nanos() as u64
    }

    /// Reads the time and remembers it. For the worker alone, as all that writes here.
    pub(crate) fn read(&self) -> u64 {
        let now = self.now();
        self.last.store(now, Ordering::Relaxed);
        now
    }

    /// The time of the last reading.
    pub(crate) fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    pub(crate) fn falls_asleep(&self) {
        let (asleep, slept) = self.slept_or_awake();
        if !asleep {
            let awake = self.read() - slept;
            self.slept_or_awake.store(awake << 1 | 1, Ordering::Relaxed);
        }
    }

    pub(crate) fn wakes_up(&self) {
        let (asleep, awake) = self.slept_or_awake();
        if asleep {
            let slept = self.read() - awake;
            self.slept_or_awake.store(slept << 1, Ordering::Relaxed);
        }
    }

    /// How long the worker has been awake.
    pub(crate) fn busy(&self) -> Duration {
        let nanos = match self.slept_or_awake() {
            (true, awake) => awake,
            (false, slept) => self.now().saturating_sub(slept),
        };
        Duration::from_nanos(nanos)
    }

    fn slept_or_awake(&self) -> (bool, u64) {
        let word = self.slept_or_awake.load(Ordering::Relaxed);
        (word & 1 == 1, word >> 1)
    }
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

    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }
}
