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

use super::{
    CompioPool, PoolShared,
    gate::Gate,
    placement::{Placement, pin},
    shutdown,
    worker::{Command, Shared, Worker},
};
use crate::{channel::Wait, error::BuildError, unwind::swallow};

type Tune = Arc<dyn Fn(&mut ProactorBuilder) + Send + Sync>;

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
    idle: Wait,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            threads: default_threads(),
            placement: Placement::default(),
            thread_name: "landbridge".to_owned(),
            driver: Driver::default(),
            tune: None,
            idle: Wait::default(),
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

    /// What a worker does when it has nothing to do, and what those do who wait for its results.
    pub fn idle(mut self, wait: Wait) -> Self {
        self.idle = wait;
        self
    }

    /// Starts the workers.
    ///
    /// Blocks until each has set up its driver: a few milliseconds. That is for the start of a
    /// program; in an async task of a busy runtime use its `spawn_blocking`.
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
        if self.thread_name.contains('\0') {
            return Err(BuildError::ThreadName(self.thread_name));
        }
        let plan = self.placement.plan()?;
        let gate = Arc::new(Gate::new(self.threads));
        let blocking = self.blocking_threads();
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
                idle: self.idle,
                blocking: blocking.clone(),
                gate: Arc::clone(&gate),
            };
            match thread::Builder::new()
                .name(format!("{}-{index}", self.thread_name))
                .spawn(move || setup.run(&answer))
            {
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
        Ok(CompioPool::new(PoolShared::new(started.keep(), gate)))
    }

    /// Compio's pool of threads for what its driver cannot do without blocking; none is started here.
    fn blocking_threads(&self) -> AsyncifyPool {
        let mut proactor = ProactorBuilder::new();
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
            .field("idle", &self.idle)
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
    idle: Wait,
    blocking: AsyncifyPool,
    gate: Arc<Gate>,
}

impl Setup {
    fn run(self, answer: &mpsc::SyncSender<Answer>) {
        let (kind, runtime) = match self.prepare() {
            Ok(prepared) => prepared,
            Err(error) => {
                _ = answer.send(Err(error));
                return;
            }
        };
        let shared = Arc::new(Shared::new(self.index, kind, self.idle, runtime.waker()));
        let mut worker = Worker::new(runtime.clone(), Arc::clone(&shared), self.gate);
        _ = answer.send(Ok(shared));
        // Jobs catch their own panics; what comes through is a failure of the driver, which ends
        // this worker, and the hook has reported it.
        swallow(|| runtime.enter(|| worker.run()));
        drop(runtime);
        shutdown::end(worker);
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
        let mut last = io::Error::from(io::ErrorKind::Unsupported);
        for kind in attempts(self.driver) {
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
            if let Some(tune) = &self.tune {
                tune(&mut proactor);
            }
            proactor.reuse_thread_pool(self.blocking.clone());
            match Runtime::builder().with_proactor(proactor).build() {
                Ok(runtime) => return Ok((outcome(*kind, runtime.driver_type()), runtime)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
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
