//! The Compio side as a service: threads that run Compio, callable from anywhere.
//!
//! The guide: [work on the other side](crate::guide::spawning).
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
//! | `handle` | one chosen worker |
//! | `attach` | a runtime whose loop is not ours |
//! | `admission` | who may hand in more work, and who waits for that |
//! | `inbox`, `doorbell` | the way in, and waking a sleeper |
//! | `job`, `run_queue` | a task without its type, and which one is next |
//! | `blocking` | threads for closures that block |
//! | `objects` | what stays on its thread, for handles that do not |
//! | `gate`, `shutdown`, `quiet`, `under_way` | the end |
//! | `metrics`, `histogram` | counters, and how long things took |
//! | `reporter` | the counters through the `metrics` facade |
//! | `dump` | what every worker is doing now |
//!
//! How a closure becomes a job and how its result comes back is [`spawn`](crate::spawn)'s business.

mod admission;
mod attach;
mod blocking;
mod builder;
mod default;
mod doorbell;
#[cfg(all(feature = "net", unix))]
mod driven;
mod dump;
mod gate;
mod handle;
mod histogram;
mod inbox;
mod job;
#[cfg(all(test, landbridge_loom))]
mod loom_admission;
#[cfg(all(test, landbridge_loom))]
mod loom_gate;
#[cfg(all(test, landbridge_loom))]
mod loom_inbox;
mod metrics;
pub(crate) mod objects;
mod placement;
mod quiet;
#[cfg(feature = "metrics")]
mod reporter;
mod run_queue;
mod shutdown;
mod signals;
mod under_way;
mod worker;

use std::{
    cell::Cell,
    fmt,
    sync::{Arc, Weak, atomic::Ordering},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use admission::{Admission, Ticket};
pub(crate) use admission::{Offered, Refused};
pub(crate) use attach::home_here;
#[cfg(all(feature = "net", unix))]
pub(crate) use builder::compio_runtime;
pub use builder::{Builder, Driver, DriverKind};
#[cfg(all(any(feature = "fs", feature = "net"), unix))]
pub(crate) use default::default_pool;
#[cfg(all(feature = "net", unix))]
pub(crate) use driven::{Driven, wait_until_quiet};
pub(crate) use dump::Doing;
pub use dump::{Activity, OriginDump, PoolDump, WorkerDump};
pub use handle::CompioHandle;
pub use histogram::{Bucket, Histogram};
pub use metrics::{PoolMetrics, WorkerMetrics};
pub use placement::Placement;
#[cfg(feature = "metrics")]
pub use reporter::MetricsReporter;
pub use shutdown::{Shutdown, ShutdownTimeout};

use crate::{channel::Wait, unwind};
pub(crate) use blocking::{Blocking, Refusal, Work};
use gate::Gate;
pub(crate) use job::{Header, Hold, Job, Metadata};
pub(crate) use under_way::UnderWay;
use worker::Command;
#[cfg(all(feature = "net", unix))]
pub(crate) use worker::EVENT_INTERVAL;
pub(crate) use worker::{
    Batch, Local, Shared, admitted, local, make_way, pass_on, release, schedule, with_local,
};

/// Threads that run Compio, callable from anywhere.
///
/// A pool is a cheap handle: clones share the threads. `run` and `spawn` take a closure to one of the
/// threads and bring back what its future returned, its panic, or the news that it was cancelled.
///
/// The guide: [work on the other side](crate::guide::spawning).
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
    /// Resolves when every worker has dropped everything it had, its driver included; all but the jobs'
    /// thread-local values, which go when the thread ends, a moment later. Work that is submitted from
    /// the first poll on gets [`RuntimeGone`](crate::error::JoinError::RuntimeGone). Calling it again,
    /// also from elsewhere, waits for the same end.
    ///
    /// With [`max_in_flight`](Builder::max_in_flight): callers of `run`, `call`, `stream` and `run_batch`
    /// that still wait for a place get `RuntimeGone`, so a batch may be done in part; jobs of `spawn`
    /// that wait are finished.
    ///
    /// A [`stream`](Self::stream) whose consumer does not take its items holds the shutdown up: drop it,
    /// or drain it beside the shutdown. So do bytes that [`CompioAsTokio`](crate::io::CompioAsTokio) or
    /// `FileAsTokio` has accepted, wherever on a worker it is, until they are out, and a flush or a shutdown
    /// of its stream that has begun, until that is over; idle, it does not.
    ///
    /// Awaited by a job of this very pool, it waits for all *other* jobs and lets the calling job go
    /// on; the workers end once it has returned. A job that waits for the calling job is one of those
    /// others: the two then wait for each other for ever. So do closures given to
    /// [`run_blocking`](Self::run_blocking), which a shutdown waits for as it does for jobs.
    ///
    /// Tasks that a job started with Compio's own `spawn` are not waited for: they are dropped when
    /// the jobs are done, and their shims have nothing under way: one that goes on writing to such a shim
    /// holds the shutdown up as long as it does. Awaited by such a task, this knows of no job that called it: if a job awaits
    /// the task, the two wait for each other for ever.
    ///
    /// # Cancel safety
    ///
    /// Nothing happens before the first poll. Dropping the future afterwards does not stop the
    /// shutdown; but if it held the last clone of the pool, what still runs is cancelled.
    pub fn shutdown(&self) -> Shutdown {
        Shutdown::new(self.clone())
    }

    /// [`shutdown`](Self::shutdown) with an end: what is not done within `timeout` is cancelled.
    ///
    /// Resolves to how many jobs were cut off; those who wait for them get
    /// [`Cancelled`](crate::error::JoinError::Cancelled). Needs no timer of the caller's runtime: the
    /// workers keep the time, from the first poll on. Of two timeouts the earlier one counts.
    ///
    /// A job that blocks its thread cannot be cut off: its worker, and so this, waits until it lets go.
    ///
    /// # Cancel safety
    ///
    /// As [`shutdown`](Self::shutdown): dropped after the first poll, the drain and its cut-off go on.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// use landbridge::error::JoinError;
    ///
    /// let pool = landbridge::CompioPool::builder().threads(1).build()?;
    /// let endless = pool.spawn(async || std::future::pending::<()>().await);
    /// assert_eq!(pool.shutdown_timeout(Duration::from_millis(10)).await, 1);
    /// assert!(matches!(endless.await, Err(JoinError::Cancelled)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn shutdown_timeout(&self, timeout: Duration) -> ShutdownTimeout {
        ShutdownTimeout::new(self.clone(), timeout)
    }

    /// Whether the pool takes no more work.
    pub fn is_shutdown(&self) -> bool {
        !self.shared().admission.is_open()
    }

    /// A handle that does not keep the pool alive.
    pub fn downgrade(&self) -> WeakPool {
        WeakPool {
            alive: Arc::downgrade(&self.alive),
        }
    }

    /// What the pool has done so far; cheap, and always on.
    ///
    /// # Metrics
    ///
    /// | to see | look at |
    /// |---|---|
    /// | whether the pool has enough threads | `busy`, which grows by a second a second when it has not; `queued`, and `enqueue_to_start` |
    /// | what the work takes | `start_to_finish` |
    /// | what crossing costs | `wakeups_sent` of `crossings_in` and `callers_woken` of `crossings_out`: the wake-ups that were paid for |
    /// | whether looking again before sleeping pays | `looks_paid` beside `parks` |
    /// | whether work ends as it should | `completed`, `cancelled`, `panicked` |
    /// | whether callers are held up by `max_in_flight` | `pending`, `waiting` |
    ///
    /// Counters count everything. Times are measured for one job in sixteen, picked by chance, because
    /// reading the clock for all of them would cost a tenth of a crossing. A snapshot reads memory that
    /// the workers write, and asks nobody: take one as often as you like. To see what hangs there is
    /// [`dump`](Self::dump).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = landbridge::CompioPool::builder().threads(2).build()?;
    /// for n in 0..100 {
    ///     pool.run(async move || n).await?;
    /// }
    /// let metrics = pool.metrics();
    /// assert_eq!(metrics.total(|worker| worker.completed), 100);
    /// println!("99 % were begun within {:?}", metrics.enqueue_to_start().quantile(0.99));
    /// # Ok(())
    /// # }
    /// ```
    pub fn metrics(&self) -> PoolMetrics {
        self.shared().metrics()
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
            .field("open", &!self.is_shutdown())
            .finish()
    }
}

/// A [`CompioPool`] that may be gone; from [`CompioPool::downgrade`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = landbridge::CompioPool::builder().threads(1).build()?;
/// let weak = pool.downgrade();
/// assert!(weak.upgrade().is_some());
/// drop(pool);
/// assert!(weak.upgrade().is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct WeakPool {
    alive: Weak<KeepAlive>,
}

impl WeakPool {
    /// The pool, unless its last clone has been dropped.
    pub fn upgrade(&self) -> Option<CompioPool> {
        self.alive.upgrade().map(|alive| CompioPool { alive })
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
    admission: Arc<Admission<Job>>,
    blocking: Arc<Blocking>,
    gate: Arc<Gate>,
}

impl PoolShared {
    fn new(
        workers: Box<[Arc<Shared>]>,
        admission: Arc<Admission<Job>>,
        blocking: Arc<Blocking>,
        gate: Arc<Gate>,
    ) -> Self {
        Self {
            workers,
            admission,
            blocking,
            gate,
        }
    }

    fn metrics(&self) -> PoolMetrics {
        let (pending, waiting) = self.admission.waiting();
        let (blocking_queued, blocking_running) = self.blocking.gauges();
        PoolMetrics {
            workers: self.workers.iter().map(|worker| worker.metrics()).collect(),
            pending,
            waiting,
            blocking_queued,
            blocking_running,
        }
    }

    fn order(&self, command: Command) {
        for waker in self.admission.close() {
            unwind::wake(waker);
        }
        // Before the workers, who look at it when they end.
        self.blocking.close(command == Command::Stop);
        for worker in &self.workers {
            worker.order(command);
        }
    }

    fn order_cut_off(&self, deadline: Instant) {
        self.blocking.set_deadline(deadline);
        for worker in &self.workers {
            worker.order_cut_off(deadline);
        }
    }

    fn cut_off(&self) -> usize {
        let cut_off = |worker: &Arc<Shared>| worker.counts.0.cut_off.load(Ordering::Relaxed);
        self.workers.iter().map(cut_off).sum::<usize>() + self.blocking.cut_off()
    }

    /// Whether the caller is a closure on one of the pool's blocking threads, for which a shutdown then
    /// does not wait.
    fn exempt_closure(&self) -> bool {
        self.blocking.exempt_current()
    }

    /// Calls `f` with the worker and the task of it that is being polled, if that is one of this pool.
    fn with_own_job<R>(&self, f: impl FnOnce(&Local, usize) -> R) -> Option<R> {
        with_local(|local| {
            self.own_index(local)?;
            Some(f(local, local.current()?))
        })
        .flatten()
    }

    #[cfg(all(any(feature = "fs", feature = "net"), unix))]
    pub(crate) fn blocking(&self) -> &Arc<Blocking> {
        &self.blocking
    }

    #[cfg(all(any(feature = "fs", feature = "net"), unix))]
    pub(crate) fn is_closed(&self) -> bool {
        !self.admission.is_open()
    }

    /// The worker that unaddressed work goes to: of two, the one with less to do.
    ///
    /// Two random choices come close to knowing the least loaded of all (Mitzenmacher, "The Power of
    /// Two Choices in Randomized Load Balancing", 2001).
    pub(crate) fn pick(&self) -> &Arc<Shared> {
        self.pick_by(Shared::in_flight)
    }

    /// The worker that a socket goes to, in the same way: of two, the one that watches fewer.
    #[cfg(all(feature = "net", unix))]
    pub(crate) fn pick_for_socket(&self) -> &Arc<Shared> {
        self.pick_by(|worker| worker.counts.0.sockets.load(Ordering::Relaxed))
    }

    fn pick_by(&self, load: impl Fn(&Shared) -> usize) -> &Arc<Shared> {
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

/// Where work is to go.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// Any worker of the pool.
    Pool(Arc<PoolShared>),
    /// That one.
    Worker(Arc<Shared>),
}

impl Target {
    fn admission(&self) -> &Admission<Job> {
        match self {
            Self::Pool(pool) => &pool.admission,
            Self::Worker(worker) => &worker.admission,
        }
    }

    /// Whether new work is refused.
    #[cfg(all(feature = "net", unix))]
    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::Pool(pool) => pool.is_closed(),
            Self::Worker(worker) => !worker.admission.is_open() || worker.is_ending(),
        }
    }

    /// The worker that a socket goes to.
    #[cfg(all(feature = "net", unix))]
    pub(crate) fn pick_for_socket(&self) -> &Arc<Shared> {
        match self {
            Self::Pool(pool) => pool.pick_for_socket(),
            Self::Worker(worker) => worker,
        }
    }

    /// All the workers that are meant.
    #[cfg(all(feature = "net", unix))]
    pub(crate) fn workers(&self) -> &[Arc<Shared>] {
        match self {
            Self::Pool(pool) => &pool.workers,
            Self::Worker(worker) => std::slice::from_ref(worker),
        }
    }

    /// Whether the one worker that is meant is gone.
    fn is_ending(&self) -> bool {
        matches!(self, Self::Worker(worker) if worker.is_ending())
    }

    pub(crate) fn pick(&self) -> &Arc<Shared> {
        match self {
            Self::Pool(pool) => pool.pick(),
            Self::Worker(worker) => worker,
        }
    }

    /// Whether some of these workers' jobs run on the calling thread.
    pub(crate) fn is_here(&self) -> bool {
        match self {
            Self::Pool(pool) => with_local(|local| pool.own_index(local).is_some()) == Some(true),
            Self::Worker(worker) => worker.is_this_thread(),
        }
    }

    /// For those who wait for these workers' results.
    pub(crate) fn wait(&self) -> Wait {
        match self {
            Self::Pool(pool) => pool.workers[0].wait,
            Self::Worker(worker) => worker.wait,
        }
    }

    /// The workers that many jobs are dealt out to, in turn: all that take work, from the one on that
    /// a single job would go to.
    pub(crate) fn deal(&self) -> Vec<Batch> {
        let first = self.pick();
        let Self::Pool(pool) = self else {
            return vec![Batch::new(Arc::clone(first))];
        };
        let (before, after) = pool.workers.split_at(first.index);
        let mut workers: Vec<_> = after
            .iter()
            .chain(before)
            .filter(|worker| !worker.is_ending())
            .map(|worker| Batch::new(Arc::clone(worker)))
            .collect();
        if workers.is_empty() {
            workers.push(Batch::new(Arc::clone(first)));
        }
        workers
    }
}

/// Whether the caller is a job of the very pool, which is never kept waiting for a place.
pub(crate) fn is_own(admission: &Admission<Job>) -> bool {
    blocking::is_closure_of(admission)
        || with_local(|local| std::ptr::eq(&*local.shared.admission, admission)) == Some(true)
}

/// A caller's wait for a place in a pool.
#[derive(Debug)]
pub(crate) struct Place {
    target: Target,
    ticket: Ticket,
}

impl Place {
    pub(crate) fn new(target: Target) -> Self {
        Self {
            target,
            ticket: Ticket::default(),
        }
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Ready with whether there is one: the pool may take no more work. Jobs for it are then
    /// [`admitted`].
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let admission = self.target.admission();
        if self.target.is_ending() {
            return Poll::Ready(false);
        }
        if !admission.is_bounded() {
            return Poll::Ready(admission.is_open());
        }
        if is_own(admission) {
            // Waited elsewhere before, perhaps, and moved into a job of the pool since.
            pass_on(admission.give_up(&mut self.ticket));
            return Poll::Ready(admission.force());
        }
        admission
            .poll(&mut self.ticket, cx)
            .map(|place| place.is_ok())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        pass_on(self.target.admission().give_up(&mut self.ticket));
    }
}

/// A number below `n`.
fn random_below(n: usize) -> usize {
    random() as usize % n
}

/// Good enough for spreading load and for sampling (xorshift, Marsaglia 2003); never 0.
fn random() -> u32 {
    thread_local! {
        static STATE: Cell<u32> = const { Cell::new(0) };
    }
    STATE.with(|state| {
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
    })
}
