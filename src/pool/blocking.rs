//! Threads for work that blocks.
//!
//! Our own, not Compio's: its pool starts threads without a name, panics when the operating system
//! refuses one, and makes a driver spin when all are busy (`docs/upstream.md`). Apart from each other
//! neither can hold the other up: a closure that blocks for an hour takes no thread from a driver.
//!
//! The invariant: while something is queued there is a thread that will look at the queue before it
//! sleeps or ends. Every count changes under one lock, together with the queue; no foreign code runs
//! under it.

use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::{admission::Admission, gate::Gate, job::Job, placement, signals};
use crate::unwind::swallow;

/// How long an idle thread stays: what Tokio's do.
const KEEP: Duration = Duration::from_secs(10);

/// A piece of work in the queue. No method panics.
pub(crate) trait Work: Send + Sync {
    /// Does it, and keeps the result.
    fn run(&self);
    /// Hands the result over.
    fn finish(&self);
    /// Will never be run, for this reason.
    fn refuse(&self, why: Refusal);
}

/// Why a piece of work is not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The pool takes no more, or went away.
    Closed,
    /// The time of the pool's shutdown is up.
    CutOff,
    /// There is no thread, and there will be none.
    NoThreads,
}

/// What the threads are like.
#[derive(Debug)]
pub(super) struct Config {
    /// How many there may be.
    pub(super) limit: usize,
    pub(super) name: String,
    pub(super) stack_size: Option<usize>,
    /// The CPUs that they may use: whoever starts one may be pinned, and would be inherited from.
    pub(super) mask: Option<placement::Mask>,
}

#[derive(Debug)]
pub(crate) struct Blocking {
    config: Config,
    admission: Arc<Admission<Job>>,
    /// Knows of this as of one more worker.
    gate: Arc<Gate>,
    state: Mutex<State>,
    /// Told of new work, and of the end.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// By the order in which it came.
    queue: BTreeMap<u64, Arc<dyn Work>>,
    next: u64,
    /// Started, or about to be.
    threads: usize,
    /// Of these, how many wait for work; one that was told of some still counts.
    idle: usize,
    /// Closures that run.
    running: usize,
    /// The same until their results are handed over.
    unfinished: usize,
    /// Of these, how many wait for the pool's shutdown themselves.
    exempt: usize,
    closed: bool,
    /// What is queued is refused from now on.
    stopped: bool,
    /// What is queued then is refused.
    deadline: Option<Instant>,
    /// How many were refused for that.
    cut_off: usize,
    drained: bool,
    ended: bool,
}

thread_local! {
    /// Which pool's blocking thread this is, and whether its closure waits for the pool's shutdown.
    static HERE: Cell<(usize, bool)> = const { Cell::new((0, false)) };
}

impl Blocking {
    pub(super) fn new(config: Config, admission: Arc<Admission<Job>>, gate: Arc<Gate>) -> Self {
        Self {
            config,
            admission,
            gate,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Whether there may be any.
    #[cfg(all(feature = "fs", target_os = "linux"))]
    pub(crate) const fn has_threads(&self) -> bool {
        self.config.limit > 0
    }

    /// Queues `work`; its place in the queue, for [`withdraw`](Self::withdraw).
    pub(crate) fn submit(self: &Arc<Self>, work: Arc<dyn Work>) -> Result<u64, Refusal> {
        if self.config.limit == 0 {
            return Err(Refusal::NoThreads);
        }
        let mut state = self.lock();
        if state.closed {
            return Err(Refusal::Closed);
        }
        let place = state.next;
        state.next += 1;
        state.queue.insert(place, work);
        if state.queue.len() <= state.idle {
            drop(state);
            self.changed.notify_one();
        } else if state.threads < self.config.limit {
            state.threads += 1;
            drop(state);
            self.start_thread();
        }
        Ok(place)
    }

    /// Takes queued work back; nothing, if it has been begun.
    pub(crate) fn withdraw(&self, place: u64) -> Option<Arc<dyn Work>> {
        let mut state = self.lock();
        let work = state.queue.remove(&place);
        self.note_progress(state);
        work
    }

    /// Takes no more; what is queued is done still, or refused if this is a stop: by the threads here or
    /// by a worker, whoever comes first, and not by the caller, who may be an async thread.
    pub(super) fn close(&self, stop: bool) {
        let mut state = self.lock();
        state.closed = true;
        state.stopped |= stop;
        self.note_progress(state);
        self.changed.notify_all();
    }

    /// What is queued at that time, or earlier if that was said before, is refused.
    pub(super) fn set_deadline(&self, deadline: Instant) {
        let mut state = self.lock();
        let earlier = state.deadline.map_or(deadline, |at| at.min(deadline));
        state.deadline = Some(earlier);
    }

    /// Refuses what is queued, if its pool was stopped or its time is up.
    pub(super) fn refuse_queued(&self) {
        let mut state = self.lock();
        let Some(why) = state.refusal() else {
            return;
        };
        let refused = std::mem::take(&mut state.queue);
        if why == Refusal::CutOff {
            state.cut_off += refused.len();
        }
        // Until they know it the pool has not ended.
        state.unfinished += refused.len();
        drop(state);
        let n = refused.len();
        for work in refused.into_values() {
            work.refuse(why);
            swallow(|| drop(work));
        }
        let mut state = self.lock();
        state.unfinished -= n;
        self.note_progress(state);
    }

    /// How many closures never began because the time was up.
    pub(super) fn cut_off(&self) -> usize {
        self.lock().cut_off
    }

    /// A shutdown does not wait for the closure that waits for it; whether the caller is one.
    pub(super) fn exempt_current(self: &Arc<Self>) -> bool {
        let (here, exempt) = HERE.get();
        if here != self.id() {
            return false;
        }
        if !exempt {
            HERE.set((here, true));
            let mut state = self.lock();
            state.exempt += 1;
            // It waits for what is queued, which may wait for its thread.
            let needs_thread = state.queue.len() > state.idle;
            if needs_thread {
                state.threads += 1;
            }
            self.note_progress(state);
            if needs_thread {
                self.start_thread();
            }
        }
        true
    }

    /// How many closures are queued, and how many run.
    pub(super) fn gauges(&self) -> (usize, usize) {
        let state = self.lock();
        (state.queue.len(), state.running)
    }

    fn start_thread(self: &Arc<Self>) {
        let pool = Arc::clone(self);
        let mut thread = thread::Builder::new().name(self.config.name.clone());
        if let Some(bytes) = self.config.stack_size {
            thread = thread.stack_size(bytes);
        }
        if signals::kept_away(|| thread.spawn(move || pool.work())).is_ok() {
            return;
        }
        let mut state = self.lock();
        state.threads -= 1;
        // Otherwise another thread will come to it.
        let stranded = if state.threads == 0 {
            std::mem::take(&mut state.queue)
        } else {
            BTreeMap::new()
        };
        self.note_progress(state);
        for work in stranded.into_values() {
            work.refuse(Refusal::NoThreads);
        }
    }

    /// What a thread does.
    fn work(&self) {
        if let Some(mask) = &self.config.mask {
            // Refused, it is still a thread that can do the work.
            _ = mask.apply();
        }
        let mut state = self.lock();
        loop {
            if state.refusal().is_some() && !state.queue.is_empty() {
                drop(state);
                self.refuse_queued();
                state = self.lock();
                continue;
            }
            if let Some((_, work)) = state.queue.pop_first() {
                state.running += 1;
                state.unfinished += 1;
                drop(state);
                self.run(&*work);
                swallow(|| drop(work));
                state = self.lock();
                continue;
            }
            if state.closed {
                break;
            }
            state.idle += 1;
            let (mut now, timeout) = self
                .changed
                .wait_timeout(state, KEEP)
                .unwrap_or_else(PoisonError::into_inner);
            now.idle -= 1;
            state = now;
            if timeout.timed_out() && state.queue.is_empty() {
                break;
            }
        }
        state.threads -= 1;
        self.note_progress(state);
    }

    fn run(&self, work: &dyn Work) {
        HERE.set((self.id(), false));
        work.run();
        let (_, exempt) = HERE.replace((0, false));
        // Whoever sees the result may rely on the gauges; whoever sees the pool drained, on the result.
        self.lock().running -= 1;
        work.finish();
        let mut state = self.lock();
        state.unfinished -= 1;
        state.exempt -= usize::from(exempt);
        self.note_progress(state);
    }

    /// Tells the gate what it has waited for, once.
    fn note_progress(&self, mut state: MutexGuard<'_, State>) {
        if !state.closed || state.ended {
            return;
        }
        let nothing_queued = state.queue.is_empty();
        let drains = nothing_queued && state.unfinished == state.exempt && !state.drained;
        let ends = nothing_queued && state.threads == 0 && state.unfinished == 0;
        let was_drained = state.drained;
        state.drained |= drains || ends;
        state.ended = ends;
        drop(state);
        if ends {
            self.gate.ended(was_drained);
        } else if drains {
            self.gate.drained();
        }
    }

    /// The pool's address, so to say: it has one admission, and one of these.
    fn id(&self) -> usize {
        std::ptr::from_ref(&*self.admission).addr()
    }

    /// No code that may panic runs under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Why what is queued is not to be run, if it is not.
    fn refusal(&self) -> Option<Refusal> {
        let due = |deadline| Instant::now() >= deadline;
        if self.stopped {
            Some(Refusal::Closed)
        } else if self.deadline.is_some_and(due) {
            Some(Refusal::CutOff)
        } else {
            None
        }
    }
}

/// Whether the caller is a closure on a blocking thread of the pool with that admission.
pub(super) fn is_closure_of(admission: &Admission<Job>) -> bool {
    HERE.get().0 == std::ptr::from_ref(admission).addr()
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("queued", &self.queue.len())
            .field("threads", &self.threads)
            .field("running", &self.running)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}
