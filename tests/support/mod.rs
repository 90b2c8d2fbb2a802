//! What the tests share.
//!
//! A test that waits runs under a watchdog: a promise of this crate is "never a hang", and a hang must
//! be a failure of its own, with a name, not a job that somebody kills after an hour.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "a module of every test binary, each of which uses a part of it"
)]

use std::{
    future::Future,
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    process::Command,
    sync::{
        Arc, Once,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use landbridge::{
    CompioPool, Driver,
    pool::{Builder, DriverKind},
};

#[cfg(target_os = "linux")]
pub mod seccomp;

/// Far longer than anything here takes, on a machine that is busy with something else too.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Ends the process with a message unless dropped in time: nothing less stops a thread that hangs.
#[must_use]
pub struct Watchdog {
    _alive: mpsc::Sender<()>,
}

pub fn watchdog() -> Watchdog {
    watchdog_for(PATIENCE)
}

pub fn watchdog_for(limit: Duration) -> Watchdog {
    let name = thread::current().name().unwrap_or("?").to_owned();
    let (alive, gone) = mpsc::channel::<()>();
    thread::Builder::new()
        .name("watchdog".to_owned())
        .spawn(move || {
            if gone.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                // Not `eprintln`, which the test harness catches and would not live to print.
                _ = writeln!(
                    std::io::stderr(),
                    "the watchdog bites: {name} still runs after {limit:?}"
                );
                std::process::exit(101);
            }
        })
        .expect("a watchdog");
    Watchdog { _alive: alive }
}

/// Whether this machine lets a process use io_uring; where it does not, a note says so.
pub fn has_io_uring() -> bool {
    static NOTE: Once = Once::new();
    match CompioPool::builder()
        .threads(1)
        .driver(Driver::IoUring)
        .build()
    {
        Ok(_) => true,
        Err(error) => {
            NOTE.call_once(|| eprintln!("not run on io_uring: {error:?}"));
            false
        }
    }
}

/// The drivers to test on: all that this machine has.
pub fn drivers() -> Vec<Driver> {
    let mut drivers = vec![Driver::Polling];
    if has_io_uring() {
        drivers.insert(0, Driver::IoUring);
    }
    drivers
}

/// Calls `test` once for each driver, under a watchdog, with a builder of one worker.
///
/// The builder is a function, for tests that need more pools than one.
pub fn for_each_driver(test: impl Fn(&dyn Fn() -> Builder)) {
    for driver in drivers() {
        let _watchdog = watchdog();
        let run = catch_unwind(AssertUnwindSafe(|| {
            test(&|| CompioPool::builder().threads(1).driver(driver));
        }));
        if let Err(payload) = run {
            eprintln!("while the pool ran on {driver:?}");
            std::panic::resume_unwind(payload);
        }
    }
}

pub fn block_on<F: Future>(future: F) -> F::Output {
    futures::executor::block_on(future)
}

/// Polls once.
pub fn poll_once<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// Polls at most `polls` times, waiting for a wake-up between them, then drops the future; the output,
/// if it came to that.
pub fn poll_times<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let counting = CountingWaker::new();
    let waker = Waker::from(Arc::clone(&counting));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    for poll in 0..polls {
        if poll > 0 {
            counting.wait_for(poll);
        }
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return Some(output);
        }
    }
    None
}

/// Waits, politely, until it is so.
#[track_caller]
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE / 2, "never came true: {what}");
        thread::yield_now();
    }
}

/// The same in an async context that has neighbours to be polite to.
pub async fn eventually_async(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE / 2, "never came true: {what}");
        thread::yield_now();
        yield_now().await;
    }
}

/// Lets others run; works on any runtime.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Counts its wake-ups.
#[derive(Default)]
pub struct CountingWaker {
    wakes: AtomicUsize,
}

impl CountingWaker {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn wakes(&self) -> usize {
        self.wakes.load(Ordering::SeqCst)
    }

    pub fn wait_for(&self, wakes: usize) {
        eventually("a wake-up", || self.wakes() >= wakes);
    }
}

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wakes.fetch_add(1, Ordering::SeqCst);
    }
}

/// Counts values that were made and dropped.
#[derive(Clone, Default)]
pub struct Tally(Arc<TallyCounts>);

#[derive(Default)]
struct TallyCounts {
    made: AtomicUsize,
    dropped: AtomicUsize,
}

impl Tally {
    pub fn new() -> Self {
        Self::default()
    }

    /// A value that is counted.
    pub fn make(&self) -> Counted {
        self.0.made.fetch_add(1, Ordering::SeqCst);
        Counted {
            tally: self.clone(),
            gone: AtomicBool::new(false),
        }
    }

    pub fn made(&self) -> usize {
        self.0.made.load(Ordering::SeqCst)
    }

    pub fn dropped(&self) -> usize {
        self.0.dropped.load(Ordering::SeqCst)
    }

    pub fn alive(&self) -> usize {
        self.made() - self.dropped()
    }
}

pub struct Counted {
    tally: Tally,
    gone: AtomicBool,
}

impl Drop for Counted {
    fn drop(&mut self) {
        assert!(!self.gone.swap(true, Ordering::SeqCst), "dropped twice");
        self.tally.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

/// Calls a closure when it is dropped.
pub struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> OnDrop<F> {
    pub fn new(f: F) -> Self {
        Self(Some(f))
    }
}

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(f) = self.0.take() {
            f();
        }
    }
}

/// Holds a worker's thread until the returned sender is dropped or used: what is given to the pool
/// meanwhile is queued and not started.
pub fn hold(pool: &CompioPool) -> mpsc::Sender<()> {
    let (release, wait) = mpsc::channel();
    let (held, is_held) = mpsc::channel();
    drop(pool.spawn(async move || {
        held.send(()).expect("the test waits");
        _ = wait.recv();
    }));
    is_held.recv().expect("the worker runs it");
    release
}

/// Asserts that the pool still takes work and finishes it.
#[track_caller]
pub fn assert_lives(pool: &CompioPool) {
    assert_eq!(
        block_on(pool.run(async || 42)).expect("the worker lives"),
        42
    );
}

pub fn uses_io_uring(pool: &CompioPool) -> bool {
    pool.metrics().workers[0].driver != DriverKind::Polling
}

/// How many threads of this process have a name that begins with `prefix`.
#[cfg(target_os = "linux")]
pub fn threads_named(prefix: &str) -> usize {
    count_threads(|task| {
        // A thread may end between the listing and the reading.
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.starts_with(prefix))
    })
}

#[cfg(target_os = "linux")]
pub fn thread_count() -> usize {
    count_threads(|_| true)
}

/// The kernel cuts a listing short when the thread it has come to ends meanwhile; so the longest of
/// several counts.
#[cfg(target_os = "linux")]
fn count_threads(which: impl Fn(&std::fs::DirEntry) -> bool) -> usize {
    let count = || {
        let tasks = std::fs::read_dir("/proc/self/task").expect("this process has threads");
        tasks.flatten().filter(|task| which(task)).count()
    };
    (0..4).map(|_| count()).max().unwrap_or(0)
}

#[cfg(target_os = "linux")]
pub fn descriptor_count() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// Runs `body` in a process of its own: this test binary once more, with this test alone.
///
/// For what belongs to the whole process: its threads, its descriptors, its limits, whether it
/// survives. `test` is the calling test's name, with its path within the binary.
pub fn in_child(test: &str, body: impl FnOnce()) {
    in_child_with(test, |_| {}, body);
}

/// The same, for what leaks by its nature: AddressSanitizer is told not to look for it.
pub fn in_child_that_leaks(test: &str, body: impl FnOnce()) {
    let prepare = |child: &mut Command| {
        child.env("ASAN_OPTIONS", "detect_leaks=0");
    };
    in_child_with(test, prepare, body);
}

/// The same, with a say in how the process is started.
pub fn in_child_with(test: &str, prepare: impl FnOnce(&mut Command), body: impl FnOnce()) {
    const MARK: &str = "LANDBRIDGE_TEST_CHILD";

    if std::env::var_os(MARK).is_some_and(|name| name == test) {
        let _watchdog = watchdog();
        body();
        return;
    }
    let mut command = Command::new(std::env::current_exe().expect("this test binary"));
    command
        .args(["--exact", test, "--test-threads=1", "--nocapture"])
        .env(MARK, test);
    prepare(&mut command);
    let output = command.output().expect("the test binary starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{test} in a process of its own: {}\n{said}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr),
    );
}

/// A TCP or Unix stream's worth of test: two connected sockets of std's, both blocking.
#[cfg(unix)]
pub fn socket_pair() -> (
    std::os::unix::net::UnixStream,
    std::os::unix::net::UnixStream,
) {
    std::os::unix::net::UnixStream::pair().expect("a pair of sockets")
}
