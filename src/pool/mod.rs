//! The Compio side as a service: threads that run Compio, callable from anywhere.
//!
//! ```text
//!  any thread                         a worker thread
//!  ----------                         ---------------
//!  run / spawn ---- job ----> inbox --> run queue --> poll --> Compio's driver
//!  a task's waker -- job -->    |            ^                      |
//!                               | asleep?    +---- completions -----+
//!                               +--> doorbell (one system call)
//!  JoinHandle <----------- result (hand-over cell, one wake-up)
//! ```
//!
//! | room | concept |
//! |---|---|
//! | `builder`, `placement`, `signals` | how a pool is set up |
//! | `worker` | the loop of one thread, and what other threads may do to it |
//! | `inbox`, `doorbell` | the way in, and waking a sleeper |
//! | `job`, `run_queue` | a task without its type, and which one is next |
//! | `blocking` | threads for closures that block |
//! | `gate`, `shutdown`, `quiet` | the end |
//! | `metrics` | counters |
//!
//! How a closure becomes a job and how its result comes back is [`spawn`](crate::spawn)'s business.

mod blocking;
mod builder;
mod doorbell;
mod gate;
mod inbox;
mod job;
#[cfg(all(test, landbridge_loom))]
mod loom_inbox;
mod metrics;
mod placement;
mod quiet;
mod run_queue;
mod shutdown;
mod signals;
mod worker;

use std::{
    cell::Cell,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

pub use builder::{Builder, Driver, DriverKind};
pub use metrics::{PoolMetrics, WorkerMetrics};
pub use placement::Placement;
pub use shutdown::Shutdown;

pub(crate) use blocking::{Blocking, Refusal, Work};
use gate::Gate;
pub(crate) use job::{Header, Job, Metadata};
use worker::Command;
pub(crate) use worker::{Local, Shared, schedule, with_local};

/// Threads that run Compio, callable from anywhere.
///
/// A pool is a cheap handle: clones share the threads. `run` and `spawn` take a closure to one of the
/// threads and bring back what its future returned, its panic, or the news that it was cancelled.
///
/// # Where it runs
///
/// The closure is called, and the future that it returns is polled and dropped, on one worker thread
/// and no other; so the future need not be `Send`. The closure must be `Send`, to get there, and the
/// output must be, to get back; the output may be dropped by the caller.
///
/// Without an address, work goes to the less loaded of two workers that are picked at random, or,
/// called from a worker of this pool, of that worker and another.
///
/// # Cancel safety
///
/// | what is dropped | what becomes of the work |
/// |---|---|
/// | the future of [`run`](Self::run) | cancelled |
/// | the [`JoinHandle`](crate::JoinHandle) of [`spawn`](Self::spawn) | goes on (as with Tokio and std; Compio's own handle cancels) |
/// | the last clone of the pool | cancelled; who waits gets [`RuntimeGone`](crate::error::JoinError::RuntimeGone) |
///
/// Cancelling drops the future on its worker. An operation that the kernel has in flight is cancelled
/// too, and its buffer stays alive until the kernel has let go of it, also at the pool's end.
///
/// # Panics
///
/// A panic of the work stays in the work: its worker lives on. With `panic = "abort"` there is
/// nothing to catch, and the process ends as it does for any panic.
///
/// A waker of the user's own that an operation of Compio was polled with is called by the driver, not
/// by the work. If it panics its worker ends, and what runs there gets
/// [`RuntimeGone`](crate::error::JoinError::RuntimeGone).
///
/// # Examples
///
/// ```
/// use landbridge::CompioPool;
///
/// #[tokio::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let pool = CompioPool::builder().threads(1).build()?;
///     let length = pool
///         .run(|| async { compio::fs::metadata("Cargo.toml").await.map(|data| data.len()) })
///         .await??;
///     assert_eq!(length, std::fs::metadata("Cargo.toml")?.len());
///     pool.shutdown().await;
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct CompioPool {
    alive: Arc<KeepAlive>,
}

impl CompioPool {
    /// A builder with the defaults.
    pub fn builder() -> Builder {
        Builder::new()
    }

    fn new(shared: PoolShared) -> Self {
        Self {
            alive: Arc::new(KeepAlive {
                shared: Arc::new(shared),
            }),
        }
    }

    /// Takes no more work, finishes what there is, and ends the workers.
    ///
    /// Resolves when every worker has dropped everything it had, its driver included. Work that is
    /// submitted from the first poll on gets [`RuntimeGone`](crate::error::JoinError::RuntimeGone).
    /// Calling it again, also from elsewhere, waits for the same end.
    ///
    /// Awaited by a job of this very pool, it waits for all *other* jobs and lets the calling job go
    /// on; the workers end once it has returned. A job that waits for the calling job is one of those
    /// others: the two then wait for each other for ever. So do closures given to
    /// [`run_blocking`](Self::run_blocking), which a shutdown waits for as it does for jobs.
    ///
    /// Tasks that a job started with Compio's own `spawn` are not waited for: they are dropped when
    /// the jobs are done.
    ///
    /// # Cancel safety
    ///
    /// Nothing happens before the first poll. Dropping the future afterwards does not stop the
    /// shutdown; but if it held the last clone of the pool, what still runs is cancelled.
    pub fn shutdown(&self) -> Shutdown {
        Shutdown::new(self.clone())
    }

    /// Whether the pool takes no more work.
    pub fn is_shutdown(&self) -> bool {
        !self.shared().is_open()
    }

    /// What the pool has done so far; cheap, and always on.
    pub fn metrics(&self) -> PoolMetrics {
        let (blocking_queued, blocking_running) = self.shared().blocking.gauges();
        PoolMetrics {
            blocking_queued,
            blocking_running,
            workers: self
                .shared()
                .workers
                .iter()
                .map(|worker| worker.metrics())
                .collect(),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<PoolShared> {
        &self.alive.shared
    }

    pub(crate) fn blocking(&self) -> &Arc<Blocking> {
        &self.shared().blocking
    }
}

impl fmt::Debug for CompioPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompioPool")
            .field("workers", &self.shared().workers.len())
            .field("open", &self.shared().is_open())
            .finish()
    }
}

/// Dropped with the last clone of the pool.
#[derive(Debug)]
struct KeepAlive {
    shared: Arc<PoolShared>,
}

impl Drop for KeepAlive {
    fn drop(&mut self) {
        // Only signals: the workers end by themselves, so that this never blocks an async thread.
        self.shared.order(Command::Stop);
    }
}

/// What a pool's handles, waiting or not, share; it does not keep the workers going.
#[derive(Debug)]
pub(crate) struct PoolShared {
    workers: Box<[Arc<Shared>]>,
    blocking: Arc<Blocking>,
    open: AtomicBool,
    gate: Arc<Gate>,
}

impl PoolShared {
    fn new(workers: Box<[Arc<Shared>]>, blocking: Arc<Blocking>, gate: Arc<Gate>) -> Self {
        Self {
            workers,
            blocking,
            open: AtomicBool::new(true),
            gate,
        }
    }

    /// Whether new work is taken. One that slips in past a close is finished or refused by the
    /// worker's inbox.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    fn order(&self, command: Command) {
        self.open.store(false, Ordering::Relaxed);
        for worker in &self.workers {
            worker.order(command);
        }
        self.blocking.close(command == Command::Stop);
    }

    /// See [`Local::exempt_current`]; whether the caller is a job of this pool, or a closure on one of
    /// its blocking threads.
    fn exempt_current_job(&self) -> bool {
        self.blocking.exempt_current()
            || with_local(|local| {
                let ours = self.own_index(local).is_some();
                ours && local.exempt_current()
            }) == Some(true)
    }

    /// The worker that unaddressed work goes to: of two, the one with less to do.
    ///
    /// Two random choices come close to knowing the least loaded of all (Mitzenmacher, "The Power of
    /// Two Choices in Randomized Load Balancing", 2001).
    pub(crate) fn pick(&self) -> &Arc<Shared> {
        let n = self.workers.len();
        if n == 1 {
            return &self.workers[0];
        }
        let first = with_local(|local| self.own_index(local))
            .flatten()
            .unwrap_or_else(|| random_below(n));
        let mut second = random_below(n - 1);
        if second >= first {
            second += 1;
        }
        let [first, second] = [first, second].map(|index| &self.workers[index]);
        let load = |worker: &Shared| worker.counts.in_flight.load(Ordering::Relaxed);
        let picked = if load(second) < load(first) {
            second
        } else {
            first
        };
        if picked.is_ending() {
            let mut others = self.workers.iter();
            return others.find(|worker| !worker.is_ending()).unwrap_or(picked);
        }
        picked
    }

    fn own_index(&self, local: &Local) -> Option<usize> {
        let index = local.shared.index;
        self.workers
            .get(index)
            .is_some_and(|worker| Arc::ptr_eq(worker, &local.shared))
            .then_some(index)
    }
}

/// A number below `n`, good enough for spreading load (xorshift, Marsaglia 2003).
fn random_below(n: usize) -> usize {
    thread_local! {
        static STATE: Cell<u32> = const { Cell::new(0) };
    }
    let x = STATE.with(|state| {
        let mut x = state.get();
        if x == 0 {
            // Different for each thread, never 0.
            x = (std::ptr::from_ref(state).addr() as u32) | 1;
        }
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        state.set(x);
        x
    });
    x as usize % n
}
