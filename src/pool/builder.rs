//! Setting up a pool.

use std::{
    fmt, io,
    num::NonZero,
    sync::{Arc, mpsc},
    thread,
};

use compio::{
    driver::{AsyncifyPool, DriverType, ProactorBuilder, op::OpCodeFlag},
    runtime::Runtime,
};
use tokio::runtime::Handle;

use super::{
    CompioPool, PoolShared,
    admission::Admission,
    blocking::{self, Blocking},
    gate::Gate,
    job::Job,
    placement::{Mask, Placement, pin},
    shutdown, signals,
    worker::{Command, EVENT_INTERVAL, Shared, Worker},
};
use crate::{
    channel::Wait,
    error::{BuildError, PanicPayload},
    unwind::{catch, swallow},
};

type Tune = Arc<dyn Fn(&mut ProactorBuilder) + Send + Sync>;
type Hook = Arc<dyn Fn(usize) + Send + Sync>;

/// No stack can be larger than what a pointer offset can express; minus room for rounding up.
const MAX_STACK: usize = isize::MAX as usize / 2;

/// Four times what was seen to be enough for a worker without a job, in a debug build.
const MIN_STACK: usize = 256 << 10;

/// As many as Compio's own drivers start at most.
const BLOCKING_THREADS: usize = 256;

/// What a pool drives its I/O with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Driver {
    /// The best there is: io_uring with tuned flags, else io_uring as Compio sets it up, else polling.
    /// Elsewhere than on Linux, the platform's own.
    ///
    /// [`WorkerMetrics::driver`](super::WorkerMetrics::driver) says what it has become.
    #[default]
    Auto,
    /// io_uring with tuned flags (`IORING_SETUP_COOP_TASKRUN`, `IORING_SETUP_TASKRUN_FLAG`: Linux
    /// 5.19), or an error: a sandbox may refuse it, and other platforms do not have it.
    IoUring,
    /// epoll, kqueue: readiness, then the call. Runs everywhere but on Windows.
    Polling,
}

/// What a worker drives its I/O with: the outcome of [`Driver`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DriverKind {
    /// io_uring with the tuned flags.
    IoUringTuned,
    /// io_uring as Compio sets it up.
    IoUring,
    /// epoll or kqueue.
    Polling,
    /// Windows' completion port.
    Iocp,
}

/// Configures and builds a [`CompioPool`]; from [`CompioPool::builder`].
///
/// The guide: [work on the other side](crate::guide::spawning).
///
/// ```
/// use landbridge::{CompioPool, Wait};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = CompioPool::builder()
///     .threads(2)
///     .thread_name("storage")
///     .idle(Wait::Adaptive)
///     .proactor(|proactor| {
///         proactor.capacity(4096);
///     })
///     .build()?;
/// assert_eq!(pool.metrics().workers.len(), 2);
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct Builder {
    threads: usize,
    placement: Placement,
    thread_name: String,
    driver: Driver,
    tune: Option<Tune>,
    tokio: Option<Handle>,
    idle: Wait,
    max_in_flight: Option<usize>,
    event_interval: usize,
    blocking_threads: usize,
    stack_size: Option<usize>,
    on_start: Option<Hook>,
    on_stop: Option<Hook>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            threads: default_threads(),
            placement: Placement::default(),
            thread_name: "landbridge".to_owned(),
            driver: Driver::default(),
            tune: None,
            tokio: None,
            idle: Wait::default(),
            max_in_flight: None,
            event_interval: EVENT_INTERVAL,
            blocking_threads: BLOCKING_THREADS,
            stack_size: None,
            on_start: None,
            on_stop: None,
        }
    }

    /// How many workers.
    ///
    /// By default one for each four CPUs that the process may use, at least one and at most four: a
    /// pool usually stands beside a Tokio runtime with one thread for each CPU, and a worker that
    /// waits for the kernel needs little of one (the measurement is in `docs/design.md`). Counted are
    /// the CPUs in the affinity mask of the thread that asks for the builder, on Linux no more of them
    /// than a container's CPU limit (its cgroup quota) amounts to: see
    /// [`available_parallelism`](std::thread::available_parallelism).
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Which CPUs the workers run on; wherever the operating system puts them by default.
    pub fn placement(mut self, placement: Placement) -> Self {
        self.placement = placement;
        self
    }

    /// What the workers' threads are called: `name-0`, `name-1`, ...; `landbridge` by default.
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.thread_name = name.into();
        self
    }

    /// What drives the workers' I/O.
    pub fn driver(mut self, driver: Driver) -> Self {
        self.driver = driver;
        self
    }

    /// Has the last word on how each worker's driver is set up.
    ///
    /// Called for each worker, on its own thread, for each driver that is tried; and once beforehand,
    /// for the blocking threads, which all workers share.
    pub fn proactor(mut self, tune: impl Fn(&mut ProactorBuilder) + Send + Sync + 'static) -> Self {
        self.tune = Some(Arc::new(tune));
        self
    }

    /// Enters a Tokio runtime's context on every worker, so that jobs may use what needs one:
    /// `tokio::spawn`, `tokio::time`, Tokio's sockets.
    ///
    /// The context is there for the whole life of the worker's thread: for the hooks, and for the
    /// destructors of what is dropped at the pool's end, too. Tasks that a job spawns with Tokio run on
    /// Tokio's threads; the pool's shutdown does not wait for them.
    ///
    /// The pool does not keep the Tokio runtime going. Once that has been shut down, what jobs ask of
    /// it fails as it does on Tokio itself, some of it by a panic, which stays in the job; everything
    /// else goes on. A `current_thread` runtime makes progress only while somebody drives it.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// #[tokio::main]
    /// async fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     let pool = landbridge::CompioPool::builder()
    ///         .threads(1)
    ///         .tokio(tokio::runtime::Handle::current())
    ///         .build()?;
    ///     let answer = pool
    ///         .run(async || {
    ///             tokio::time::sleep(Duration::from_millis(1)).await;
    ///             tokio::spawn(async { 42 }).await
    ///         })
    ///         .await??;
    ///     assert_eq!(answer, 42);
    ///     Ok(())
    /// }
    /// ```
    pub fn tokio(mut self, handle: Handle) -> Self {
        self.tokio = Some(handle);
        self
    }

    /// What a worker does when it has nothing to do, and what those do who wait for its results.
    pub fn idle(mut self, wait: Wait) -> Self {
        self.idle = wait;
        self
    }

    /// The most jobs that may be in flight in the whole pool: queued, running or waiting for I/O. By
    /// default there is no bound.
    ///
    /// Above it, `run` waits, `try_spawn` refuses, and what `spawn` is given waits in a list that
    /// [`PoolMetrics::pending`](super::PoolMetrics::pending) shows. Places go to those who wait in the
    /// order in which they came.
    ///
    /// Calls made by a job itself, or by a closure of [`run_blocking`](CompioPool::run_blocking), count but
    /// never wait: the job would otherwise wait for its own end. What a job waits for elsewhere (a Tokio
    /// task, a runtime nested in it) waits for a place like anybody.
    ///
    /// A future whose turn has come keeps its place until it is polled or dropped: do not set a `run` aside
    /// and wait for another in the same task.
    pub fn max_in_flight(mut self, jobs: usize) -> Self {
        self.max_in_flight = Some(jobs);
        self
    }

    /// After how many jobs a busy worker looks at its driver: for completed I/O and timers that are due.
    ///
    /// 61 by default, as in Compio's own loop. Less brings I/O forward, more saves system calls. 0 is
    /// taken for 1.
    pub fn event_interval(mut self, jobs: usize) -> Self {
        self.event_interval = jobs.max(1);
        self
    }

    /// How many closures of [`run_blocking`](CompioPool::run_blocking) may run at once, on all workers'
    /// behalf; 256 by default.
    ///
    /// A thread is started when a closure comes and all are busy; idle for ten seconds it ends. They are
    /// called like the workers, with `blocking` for the index.
    ///
    /// What Compio's driver cannot do without blocking (a name lookup, some file operations; with the
    /// polling driver everything it does with files) has threads of its own, as many again but at least
    /// one for each worker: however many closures run, no driver waits for a thread because of them.
    /// [`proactor`](Self::proactor) can set that limit apart from this one.
    ///
    /// With 0 there are neither: `run_blocking` gives
    /// [`JoinError::NoBlockingThreads`](crate::JoinError::NoBlockingThreads), and so does a job in which
    /// an operation of Compio's needs such a thread. Compio has no error for that, but panics in the
    /// job, which ends; the panic hook reports it. In a task of Compio's own `spawn`, its
    /// `spawn_blocking` among them, it is that task which ends, with Compio's `JoinError`.
    ///
    /// # Examples
    ///
    /// ```
    /// use landbridge::JoinError;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = landbridge::CompioPool::builder()
    ///     .threads(1)
    ///     .blocking_threads(0)
    ///     .build()?;
    /// let refused = pool.run_blocking(|| 42).await;
    /// assert!(matches!(refused, Err(JoinError::NoBlockingThreads)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn blocking_threads(mut self, threads: usize) -> Self {
        self.blocking_threads = threads;
        self
    }

    /// The stack of each worker's thread, in bytes; std's default otherwise (2 MiB, or what the
    /// environment variable `RUST_MIN_STACK` says).
    ///
    /// The threads of [`run_blocking`](CompioPool::run_blocking) get the same; those that Compio starts
    /// have std's default. Less than 256 KiB is taken for that, since setting up a driver needs some. It is jobs that use the
    /// stack: their futures live on the heap, but are polled here.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// Called on each worker's thread before its first job, with the worker's index.
    ///
    /// It runs where jobs do: inside the Compio runtime's context, and Tokio's if there is one
    /// ([`tokio`](Self::tokio)). [`build`](Self::build) waits for it. If it panics, `build` fails with
    /// [`BuildError::ThreadStart`]; `on_thread_stop` is called for the other workers only then.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::cell::Cell;
    ///
    /// thread_local!(static SHARD: Cell<usize> = const { Cell::new(usize::MAX) });
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = landbridge::CompioPool::builder()
    ///     .threads(1)
    ///     .on_thread_start(|worker| SHARD.set(worker))
    ///     .build()?;
    /// assert_eq!(pool.run(async || SHARD.get()).await?, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_thread_start(mut self, hook: impl Fn(usize) + Send + Sync + 'static) -> Self {
        self.on_start = Some(Arc::new(hook));
        self
    }

    /// Called on each worker's thread after its last job is gone, with the worker's index; also when a
    /// panic of the driver has ended the worker.
    ///
    /// It runs where jobs did: inside the Compio runtime's context, and Tokio's if there is one. What it
    /// starts there is dropped. A panic of it ends there. A [`shutdown`](CompioPool::shutdown) waits for
    /// it; so a hook that waits for the shutdown waits for ever.
    pub fn on_thread_stop(mut self, hook: impl Fn(usize) + Send + Sync + 'static) -> Self {
        self.on_stop = Some(Arc::new(hook));
        self
    }

    /// Starts the workers.
    ///
    /// Blocks until each has set up its driver: a few milliseconds. That is for the start of a
    /// program; in an async task of a busy runtime use its `spawn_blocking`.
    ///
    /// On Unix the pool's threads, and those that they start, block every signal that may be sent to the
    /// process: its handlers run on other threads, and no handler interrupts a job. A program that
    /// samples itself with a timer's `SIGPROF` has to unblock it, in
    /// [`on_thread_start`](Self::on_thread_start).
    ///
    /// # Errors
    ///
    /// [`BuildError`] says what was wrong. No thread is left behind then.
    ///
    /// # Panics
    ///
    /// If the closure given to [`proactor`](Self::proactor) panics, or makes Compio panic: by asking for a
    /// driver that the platform does not have, for example.
    pub fn build(self) -> Result<CompioPool, BuildError> {
        if self.threads == 0 {
            return Err(BuildError::NoThreads);
        }
        if self.max_in_flight == Some(0) {
            return Err(BuildError::NothingInFlight);
        }
        if self.thread_name.contains('\0') {
            return Err(BuildError::ThreadName(self.thread_name));
        }
        // std would panic, or wrap around when it rounds up to whole pages.
        if let Some(bytes) = self.stack_size.filter(|bytes| *bytes > MAX_STACK) {
            return Err(BuildError::StackSize(bytes));
        }
        let plan = self.placement.plan()?;
        // The blocking threads have an end of their own, as one more worker.
        let gate = Arc::new(Gate::new(self.threads.saturating_add(1)));
        let admission = Arc::new(Admission::new(self.max_in_flight));
        let blocking = self.compio_blocking_threads();
        let closures = Arc::new(Blocking::new(
            blocking::Config {
                limit: self.blocking_threads,
                name: format!("{}-blocking", self.thread_name),
                stack_size: self.stack_bytes(),
                mask: Mask::current(),
            },
            Arc::clone(&admission),
            Arc::clone(&gate),
        ));
        let mut started = Started::default();
        let mut starting = Vec::new();
        // All threads first, then all answers: their set-ups run side by side.
        for index in 0..self.threads {
            let (answer, ready) = mpsc::sync_channel(1);
            let setup = Setup {
                index,
                core: plan.core(index),
                driver: self.driver,
                tune: self.tune.clone(),
                tokio: self.tokio.clone(),
                idle: self.idle,
                event_interval: self.event_interval,
                on_start: self.on_start.clone(),
                on_stop: self.on_stop.clone(),
                blocking: blocking.clone(),
                closures: Arc::clone(&closures),
                admission: Arc::clone(&admission),
                gate: Arc::clone(&gate),
            };
            let mut thread = thread::Builder::new().name(format!("{}-{index}", self.thread_name));
            if let Some(bytes) = self.stack_bytes() {
                thread = thread.stack_size(bytes);
            }
            match signals::kept_away(|| thread.spawn(move || setup.run(&answer))) {
                Ok(thread) => {
                    started.threads.push(thread);
                    starting.push(ready);
                }
                Err(source) => {
                    started.await_all(starting);
                    started.end();
                    return Err(BuildError::Thread {
                        worker: index,
                        source,
                    });
                }
            }
        }
        if let Some(refusal) = started.await_all(starting) {
            started.end();
            return Err(refusal);
        }
        Ok(CompioPool::new(PoolShared::new(
            started.keep(),
            admission,
            closures,
            gate,
        )))
    }

    fn stack_bytes(&self) -> Option<usize> {
        self.stack_size.map(|bytes| bytes.max(MIN_STACK))
    }

    /// Compio's pool of threads for what its driver cannot do without blocking; none is started here.
    fn compio_blocking_threads(&self) -> AsyncifyPool {
        let mut proactor = ProactorBuilder::new();
        proactor.thread_pool_limit(match self.blocking_threads {
            0 => 0,
            // A driver spins while all are busy.
            threads => threads.max(self.threads),
        });
        if let Some(tune) = &self.tune {
            tune(&mut proactor);
        }
        proactor.create_or_get_thread_pool()
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("threads", &self.threads)
            .field("placement", &self.placement)
            .field("thread_name", &self.thread_name)
            .field("driver", &self.driver)
            .field("tokio", &self.tokio.is_some())
            .field("idle", &self.idle)
            .field("max_in_flight", &self.max_in_flight)
            .field("event_interval", &self.event_interval)
            .field("blocking_threads", &self.blocking_threads)
            .field("stack_size", &self.stack_size)
            .finish_non_exhaustive()
    }
}

fn default_threads() -> usize {
    thread::available_parallelism()
        .map_or(1, NonZero::get)
        .div_ceil(4)
        .min(4)
}

type Answer = Result<Arc<Shared>, BuildError>;

/// The workers of a pool that is being built; ends them again unless they are kept.
#[derive(Default)]
struct Started {
    threads: Vec<thread::JoinHandle<()>>,
    workers: Vec<Arc<Shared>>,
}

impl Started {
    /// Takes every worker's answer; the first refusal is returned.
    fn await_all(&mut self, starting: Vec<mpsc::Receiver<Answer>>) -> Option<BuildError> {
        let mut refusal = None;
        for (worker, ready) in starting.into_iter().enumerate() {
            match ready.recv() {
                Ok(Ok(shared)) => self.workers.push(shared),
                Ok(Err(error)) => {
                    refusal.get_or_insert(error);
                }
                // The thread panicked: the user's `proactor` did. The panic goes on in `drop`.
                Err(mpsc::RecvError) => {
                    refusal.get_or_insert(BuildError::Thread {
                        worker,
                        source: io::Error::other("the set-up panicked"),
                    });
                }
            }
        }
        refusal
    }

    /// Ends what was started; goes on with the panic of a set-up, if there was one. Said, rather than
    /// left to the end of a scope: a panic there would leak the value that is being returned.
    fn end(self) {
        drop(self);
    }

    fn keep(mut self) -> Box<[Arc<Shared>]> {
        self.threads.clear();
        std::mem::take(&mut self.workers).into_boxed_slice()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        for worker in &self.workers {
            worker.order(Command::Stop);
        }
        let mut panic = None;
        for thread in self.threads.drain(..) {
            if let Err(payload) = thread.join() {
                panic = Some(payload);
            }
        }
        if let Some(payload) = panic.filter(|_| !thread::panicking()) {
            std::panic::resume_unwind(payload);
        }
    }
}

/// What a new thread needs to become a worker.
struct Setup {
    index: usize,
    core: Option<usize>,
    driver: Driver,
    tune: Option<Tune>,
    tokio: Option<Handle>,
    idle: Wait,
    event_interval: usize,
    on_start: Option<Hook>,
    on_stop: Option<Hook>,
    blocking: AsyncifyPool,
    closures: Arc<Blocking>,
    admission: Arc<Admission<Job>>,
    gate: Arc<Gate>,
}

impl Setup {
    fn run(self, answer: &mpsc::SyncSender<Answer>) {
        let tokio = self.tokio.clone();
        // For the life of the thread, not poll by poll: destructors and Compio's own tasks see it too,
        // and a job that keeps a guard of its own across an await cannot make ours panic in the loop.
        let context = tokio.as_ref().map(Handle::enter);
        self.work(answer);
        // Tokio panics if a job has leaked a guard.
        swallow(|| drop(context));
    }

    fn work(self, answer: &mpsc::SyncSender<Answer>) {
        let (kind, runtime) = match self.prepare() {
            Ok(prepared) => prepared,
            Err(error) => {
                _ = answer.send(Err(error));
                return;
            }
        };
        let Self {
            index,
            tune,
            idle,
            event_interval,
            on_start,
            on_stop,
            closures,
            admission,
            gate,
            ..
        } = self;
        let shared = Arc::new(Shared::new(index, kind, idle, runtime.waker(), admission));
        let mut worker = Worker::new(
            runtime.clone(),
            Arc::clone(&shared),
            gate,
            closures,
            event_interval,
        );
        let started = catch(|| {
            runtime.enter(|| {
                if let Some(hook) = &on_start {
                    hook(index);
                }
            });
        });
        // A shutdown waits for `end`: the user's closures are to be gone by then.
        swallow(|| drop((tune, on_start)));
        if let Err(payload) = started {
            drop(runtime);
            shutdown::end(worker, None::<fn()>);
            _ = answer.send(Err(BuildError::ThreadStart {
                worker: index,
                panic: PanicPayload::new(payload),
            }));
            return;
        }
        _ = answer.send(Ok(shared));
        // Jobs catch their own panics; what comes through is a failure of the driver, which ends
        // this worker, and the hook has reported it.
        swallow(|| runtime.enter(|| worker.run()));
        drop(runtime);
        shutdown::end(worker, on_stop.map(|hook| move || hook(index)));
    }

    fn prepare(&self) -> Result<(DriverKind, Runtime), BuildError> {
        // First of all, so that what the driver allocates is close to the worker's CPU.
        if let Some(core) = self.core {
            pin(core).map_err(|source| BuildError::Pin {
                worker: self.index,
                core,
                source,
            })?;
        }
        self.runtime().map_err(|source| BuildError::Driver {
            worker: self.index,
            driver: self.driver,
            source,
        })
    }

    fn runtime(&self) -> io::Result<(DriverKind, Runtime)> {
        compio_runtime(self.driver, EVENT_INTERVAL, |proactor| {
            if let Some(tune) = &self.tune {
                tune(proactor);
            }
            proactor.reuse_thread_pool(self.blocking.clone());
        })
    }
}

/// A Compio runtime on the best driver that `driver` allows. `tune` has the last word on each that is tried;
/// `event_interval` is of Compio's own tasks.
pub(crate) fn compio_runtime(
    driver: Driver,
    event_interval: usize,
    tune: impl Fn(&mut ProactorBuilder),
) -> io::Result<(DriverKind, Runtime)> {
    let mut last = io::Error::from(io::ErrorKind::Unsupported);
    for kind in attempts(driver) {
        let mut proactor = ProactorBuilder::new();
        // Naming an opcode makes Compio ask now, once in a process and with a descriptor that it
        // needs for it, what the kernel can do. Left to the first operation that question may
        // fail, and then nothing works, the proof included that the kernel is done at the end.
        match kind {
            DriverKind::IoUringTuned => {
                proactor
                    .driver_type(DriverType::IoUring)
                    .detect_opcode_support(OpCodeFlag::Read)
                    .coop_taskrun(true)
                    .taskrun_flag(true);
            }
            DriverKind::IoUring => {
                proactor
                    .driver_type(DriverType::IoUring)
                    .detect_opcode_support(OpCodeFlag::Read);
            }
            DriverKind::Polling => {
                proactor.driver_type(DriverType::Poll);
            }
            DriverKind::Iocp => {}
        }
        tune(&mut proactor);
        let mut builder = Runtime::builder();
        builder
            .with_proactor(proactor)
            .event_interval(event_interval);
        match builder.build() {
            Ok(runtime) => return Ok((outcome(*kind, runtime.driver_type()), runtime)),
            Err(error) => last = why_refused(*kind, error),
        }
    }
    Err(last)
}

/// The operating system's own answer, where Compio keeps it to itself: its question about opcodes needs
/// a ring, too, and where that is refused it says no more than that an opcode is not supported.
fn why_refused(attempt: DriverKind, error: io::Error) -> io::Error {
    #[cfg(target_os = "linux")]
    if error.raw_os_error().is_none()
        && matches!(attempt, DriverKind::IoUringTuned | DriverKind::IoUring)
        && let Err(cause) = io_uring::IoUring::new(2)
    {
        return cause;
    }
    _ = attempt;
    error
}

/// What an attempt has become: the user's `proactor` has the last word on the driver, too.
fn outcome(attempt: DriverKind, driver: DriverType) -> DriverKind {
    if driver.is_polling() {
        DriverKind::Polling
    } else if driver.is_iocp() {
        DriverKind::Iocp
    } else if attempt == DriverKind::IoUringTuned {
        attempt
    } else {
        DriverKind::IoUring
    }
}

/// What to try for a driver, in order.
fn attempts(driver: Driver) -> &'static [DriverKind] {
    use DriverKind::{IoUring, IoUringTuned, Iocp, Polling};

    match driver {
        Driver::Auto if cfg!(target_os = "linux") => &[IoUringTuned, IoUring, Polling],
        Driver::Auto if cfg!(windows) => &[Iocp],
        Driver::Auto => &[Polling],
        Driver::IoUring if cfg!(target_os = "linux") => &[IoUringTuned],
        Driver::Polling if cfg!(not(windows)) => &[Polling],
        Driver::IoUring | Driver::Polling => &[],
    }
}
