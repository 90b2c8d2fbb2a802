//! What every worker is doing now, for the day when something hangs.
//!
//! A worker that hangs cannot be asked. So it leaves a note of what it is doing, in one word, and its
//! registry says what else it has begun; both are read here from outside. Nothing of the user's is run
//! for that, nor dropped, and no lock is held for longer than a few hundred entries take.

use std::{
    collections::BTreeMap,
    fmt,
    panic::Location,
    sync::atomic::{AtomicPtr, AtomicUsize, Ordering},
    time::Duration,
};

use super::{CompioPool, PoolShared, Shared, builder::DriverKind};

/// Entries of a registry that are read under one lock: a few tens of microseconds at worst, as each
/// lies in memory of its own.
const ENTRIES_PER_LOCK: usize = 256;

/// What a pool is doing now; from [`CompioPool::dump`].
///
/// Its `Display` is meant to be read by a person, in a log; its shape may change at any time.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PoolDump {
    /// One entry for each worker, by its index.
    pub workers: Vec<WorkerDump>,
    /// Jobs of `spawn` that wait because `max_in_flight` are in flight.
    pub pending: usize,
    /// Callers of `run` and its like that wait because `max_in_flight` are in flight.
    pub waiting: usize,
}

impl PoolDump {
    /// The age of the oldest job that was begun and has not ended, since its first poll.
    pub fn oldest(&self) -> Option<Duration> {
        self.workers.iter().filter_map(WorkerDump::oldest).max()
    }
}

impl fmt::Display for PoolDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let in_flight = self.workers.iter().map(|worker| worker.in_flight);
        write!(
            f,
            "workers: {}, in flight: {}, pending: {}, callers waiting: {}",
            self.workers.len(),
            in_flight.sum::<usize>(),
            self.pending,
            self.waiting
        )?;
        for worker in &self.workers {
            write!(f, "\n{worker}")?;
        }
        Ok(())
    }
}

/// One worker's share of a [`PoolDump`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WorkerDump {
    /// The worker's index in its pool.
    pub index: usize,
    /// What the worker drives its I/O with.
    pub driver: DriverKind,
    /// What the thread is doing.
    pub activity: Activity,
    /// How long it has been doing that; for a job that runs, with at most fifteen polls of jobs that
    /// came right before it.
    pub since: Duration,
    /// Jobs that were given to the worker and are not finished: queued, running or waiting.
    pub in_flight: usize,
    /// Jobs that were given to the worker and that it has not begun.
    pub queued: usize,
    /// The jobs that were begun and have not ended, by where they were asked for; the most numerous
    /// first.
    pub begun: Vec<OriginDump>,
}

impl WorkerDump {
    /// The age of the oldest job that was begun and has not ended, since its first poll.
    pub fn oldest(&self) -> Option<Duration> {
        self.begun.iter().map(|origin| origin.oldest).max()
    }
}

impl fmt::Display for WorkerDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "worker {} ({:?}): {} for {:.1?}; {} in flight, {} queued",
            self.index, self.driver, self.activity, self.since, self.in_flight, self.queued
        )?;
        for origin in &self.begun {
            write!(f, "\n  {origin}")?;
        }
        Ok(())
    }
}

/// What a worker's thread is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activity {
    /// It sleeps until there is something to do.
    Asleep,
    /// It polls a job, or drops its future. One that stays here for long blocks its thread, and all
    /// the worker's other jobs with it.
    Running {
        /// Where the job was asked for.
        origin: &'static Location<'static>,
    },
    /// It is between two jobs: in its driver, or looking for work before it sleeps.
    Awake,
    /// The thread is gone.
    Ended,
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asleep => f.write_str("asleep"),
            Self::Running { origin } => write!(f, "running the job from {origin}"),
            Self::Awake => f.write_str("awake between jobs"),
            Self::Ended => f.write_str("ended"),
        }
    }
}

/// The jobs that were asked for at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OriginDump {
    /// The place: of the call of `run`, `spawn` and so on.
    pub origin: &'static Location<'static>,
    /// How many.
    pub count: usize,
    /// The age of the oldest, since its first poll.
    pub oldest: Duration,
}

impl fmt::Display for OriginDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            origin,
            count,
            oldest,
        } = self;
        write!(f, "{count} from {origin}, the oldest for {oldest:.1?}")
    }
}

impl CompioPool {
    /// What every worker is doing now, for the day when something hangs.
    ///
    /// Does not need the workers for it: it works while all of them are blocked. It runs nothing of
    /// the jobs, and takes no lock for long; but it looks at every job that was begun, so call it when
    /// something is wrong rather than all the time. [`metrics`](Self::metrics) is for that.
    ///
    /// Read while the pool goes on, the figures may be off by what happens meanwhile. A worker looks at
    /// the clock once in sixteen polls of jobs, so that an age may be too high by what those took.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::{sync::mpsc, thread};
    ///
    /// use landbridge::pool::Activity;
    ///
    /// let pool = landbridge::CompioPool::builder().threads(1).build()?;
    /// let (started, has_started) = mpsc::channel();
    /// let (go, may_go) = mpsc::channel::<()>();
    /// let job = pool.spawn(async move || {
    ///     started.send(()).unwrap();
    ///     // Blocks its thread, as no job should.
    ///     may_go.recv().unwrap();
    /// });
    /// has_started.recv()?;
    ///
    /// let dump = pool.dump();
    /// let Activity::Running { origin } = dump.workers[0].activity else {
    ///     panic!("it runs");
    /// };
    /// assert_eq!(origin.file(), file!());
    /// println!("{dump}");
    ///
    /// go.send(())?;
    /// job.await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// prints
    ///
    /// ```text
    /// workers: 1, in flight: 1, pending: 0, callers waiting: 0
    /// worker 0 (IoUringTuned): running the job from src/main.rs:10:16 for 31.2µs; 1 in flight, 0 queued
    ///   1 from src/main.rs:10:16, the oldest for 31.2µs
    /// ```
    pub fn dump(&self) -> PoolDump {
        self.shared().dump()
    }
}

impl PoolShared {
    fn dump(&self) -> PoolDump {
        let (pending, waiting) = self.admission.waiting();
        PoolDump {
            workers: self.workers.iter().map(|worker| worker.dump()).collect(),
            pending,
            waiting,
        }
    }
}

impl Shared {
    fn dump(&self) -> WorkerDump {
        let now = self.clock().now();
        let age = |since: u64| Duration::from_nanos(now.saturating_sub(since));
        let (activity, since) = self.activity();
        let mut begun = BTreeMap::new();
        let mut begun_count = 0;
        let mut note_begun = |origin, since: u64| {
            begun_count += 1;
            let (count, oldest) = begun.entry(origin).or_insert((0, since));
            *count += 1;
            *oldest = since.min(*oldest);
        };
        // Not in the registry yet.
        if let Doing::First(origin) = self.own.0.note.read() {
            note_begun(origin, self.clock().last());
        }
        self.for_each_begun(note_begun);
        let mut begun = begun
            .into_iter()
            .map(|(origin, (count, oldest))| OriginDump {
                origin,
                count,
                oldest: age(oldest),
            })
            .collect::<Vec<_>>();
        begun.sort_by_key(|origin| std::cmp::Reverse(origin.count));
        let in_flight = self.in_flight();
        WorkerDump {
            index: self.index,
            driver: self.driver,
            activity,
            since: age(since),
            in_flight,
            queued: in_flight.saturating_sub(begun_count),
            begun,
        }
    }

    fn activity(&self) -> (Activity, u64) {
        // Under the lock a job's entry cannot go: as long as the note names it, it is the note's.
        let registry = self.registry();
        let activity = match self.own.0.note.read() {
            Doing::Nothing => Activity::Awake,
            Doing::Asleep => Activity::Asleep,
            Doing::Ended => Activity::Ended,
            Doing::First(origin) => Activity::Running { origin },
            Doing::Job(key) => registry.get(key).map_or(Activity::Awake, |job| {
                let origin = job.header().origin();
                Activity::Running { origin }
            }),
        };
        drop(registry);
        (activity, self.clock().last())
    }

    /// A job that is there all the while keeps its key, so that it is seen exactly once.
    fn for_each_begun(&self, mut each: impl FnMut(&'static Location<'static>, u64)) {
        let mut seen = Vec::with_capacity(ENTRIES_PER_LOCK);
        for first in (0..).step_by(ENTRIES_PER_LOCK) {
            let registry = self.registry();
            if first >= registry.capacity() {
                return;
            }
            let keys = first..first + ENTRIES_PER_LOCK;
            seen.extend(keys.filter_map(|key| {
                let header = registry.get(key)?.header();
                (!header.is_resident()).then(|| (header.origin(), header.since()))
            }));
            drop(registry);
            for (origin, since) in seen.drain(..) {
                each(origin, since);
            }
        }
    }
}

/// What a worker says about itself, so that it need not be asked.
#[derive(Debug, Default)]
pub(crate) struct Note {
    word: AtomicUsize,
    /// With [`Doing::First`].
    origin: AtomicPtr<Location<'static>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    Nothing,
    Asleep,
    Ended,
    /// A job from there, for the first time.
    First(&'static Location<'static>),
    /// The job with that key in the registry.
    Job(usize),
}

impl Note {
    /// For the worker alone. A job is written after it was entered into the registry and overwritten
    /// before it is taken out.
    pub(crate) fn write(&self, doing: Doing) {
        let word = match doing {
            Doing::Nothing => 0,
            Doing::Asleep => 1,
            Doing::Ended => 2,
            Doing::First(origin) => {
                let origin = std::ptr::from_ref(origin).cast_mut();
                self.origin.store(origin, Ordering::Relaxed);
                3
            }
            Doing::Job(key) => key + 4,
        };
        // Release: with the word goes the origin, or a later one.
        self.word.store(word, Ordering::Release);
    }

    #[expect(unsafe_code, reason = "there is no atomic reference")]
    pub(super) fn read(&self) -> Doing {
        match self.word.load(Ordering::Acquire) {
            0 => Doing::Nothing,
            1 => Doing::Asleep,
            2 => Doing::Ended,
            3 => {
                let origin = self.origin.load(Ordering::Relaxed);
                // SAFETY: only `write` stores to it, `'static` references and nothing else; it did so
                // before it stored this word for the first time.
                Doing::First(unsafe { &*origin })
            }
            key => Doing::Job(key - 4),
        }
    }
}
