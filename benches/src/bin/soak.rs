//! Crosses at the highest rate with everything that may go wrong on the way, and checks that nothing is
//! lost and nothing left behind.
//!
//! Tasks on Tokio give work to two pools, which give work to each other and back to Tokio. Some of it is
//! cancelled, by every way there is and at random times; some panics; some waits for a timer or reads a
//! file; and now and then a pool comes and goes with work under way. A first part warms up; then
//! everything is drained and looked at; then the second part runs, and is drained and looked at too.
//!
//! The sum is exact because it is kept twice: by the one who gives, and by the pool's metrics.

use std::{
    any::Any,
    io::Write,
    path::{Path, PathBuf},
    pin::pin,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use compio::io::AsyncReadAt;
use futures::{FutureExt, future::join_all, poll};
use landbridge::{CompioPool, JoinHandle, TokioHandleExt, error::JoinError, pool::PoolMetrics};
use tokio::runtime::Handle;

const USAGE: &str = "\
usage: soak [--seconds N]

  --seconds N   how long to give work, the warm-up included; 60 if not given
  --help        this text

Ends with a line that begins with `ok:`, or with one for each fault and exit code 1.
";

/// Tasks that give work at the same time.
const GIVERS: u64 = 32;
/// Jobs that a giver has under way at once, at most.
const BATCH: usize = 64;
/// The part of the time that is the warm-up.
const WARM_UP: u32 = 4;
/// How long everything that is under way may take to end, once nobody gives more.
const DRAIN: Duration = Duration::from_secs(30);
/// How long threads that are not needed any more may take to leave: Compio's blocking threads wait a
/// minute for more work.
const LEAVE: Duration = Duration::from_secs(75);
/// How much more resident memory is no fault: what an allocator keeps for each thread that has come and
/// gone differs from run to run, but does not grow with the number of crossings. A leak of two bytes for
/// each crossing would be more after ten million.
const MEMORY: u64 = 16 << 20;
/// Of a panic that is meant.
const MEANT: &str = "meant";
/// Bytes of the file that jobs read.
const FILE: usize = 4096;

type Fault = String;

fn main() -> ExitCode {
    let seconds = match parse(std::env::args().skip(1)) {
        Ok(Some(seconds)) => seconds,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(fault) => {
            eprint!("soak: {fault}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let time = Duration::from_secs(seconds);
    // Something that hangs is a fault too, and would never say so itself.
    let (done, is_done) = mpsc::channel::<()>();
    thread::spawn(move || {
        if is_done.recv_timeout(time + (DRAIN + LEAVE) * 2) == Err(RecvTimeoutError::Timeout) {
            eprintln!("soak: it hangs");
            std::process::exit(1);
        }
    });
    silence_what_is_meant();
    let faults = soak(time);
    drop(done);
    for fault in &faults {
        eprintln!("soak: {fault}");
    }
    if faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn parse(mut given: impl Iterator<Item = String>) -> Result<Option<u64>, Fault> {
    let mut seconds = 60;
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--seconds" => {
                seconds = given
                    .next()
                    .and_then(|number| number.parse().ok())
                    .filter(|seconds| *seconds > 0)
                    .ok_or("--seconds needs a whole number above 0")?;
            }
            "--help" | "-h" => return Ok(None),
            _ => return Err(format!("unknown argument {argument:?}")),
        }
    }
    Ok(Some(seconds))
}

/// Panics by the thousand are part of it; one that is not meant is still told.
fn silence_what_is_meant() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !is_meant(panic.payload()) {
            usual(panic);
        }
    }));
}

fn is_meant(payload: &(dyn Any + Send)) -> bool {
    payload.downcast_ref::<&str>() == Some(&MEANT)
}

fn soak(time: Duration) -> Vec<Fault> {
    let file = TemporaryFile::new();
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a Tokio runtime starts");
    let sides = ["first", "second"].map(|name| Side::new(name, 2));
    let everything = Everything {
        sides: Arc::new(sides),
        tokio: tokio.handle().clone(),
        file: file.0.as_path().into(),
        tally: Arc::default(),
    };
    let mut faults = Vec::new();
    let start = Instant::now();
    tokio.block_on(everything.run_until(start + time / WARM_UP, &mut faults));
    let (warm, sides) = (Looked::at_rest(None), Arc::clone(&everything.sides));
    tokio.block_on(everything.run_until(start + time, &mut faults));
    let end = Looked::at_rest(Some(&warm));
    let took = start.elapsed();

    println!("{:12} {:>12} {:>12}", "", "warm", "end");
    for (name, warm, end) in [
        ("threads", warm.threads, end.threads),
        ("descriptors", warm.descriptors, end.descriptors),
        ("memory KiB", warm.memory >> 10, end.memory >> 10),
    ] {
        println!("{name:12} {warm:>12} {end:>12}");
    }
    println!(
        "\n{:12} {:>12} {:>12} {:>12} {:>12} {:>12}",
        "pool", "given", "completed", "cancelled", "panicked", "in flight"
    );
    for side in &*sides {
        let sum = Sum::of(&side.pool.metrics());
        println!(
            "{:12} {:>12} {:>12} {:>12} {:>12} {:>12}",
            side.name,
            side.given(),
            sum.completed,
            sum.cancelled,
            sum.panicked,
            sum.in_flight
        );
    }
    let tally = &everything.tally;
    let short_lived = tally.short_lived.load(Ordering::Relaxed);
    let to_tokio = tally.to_tokio.load(Ordering::Relaxed);
    println!(
        "\nshort-lived pools: {}, jobs given to them: {short_lived}, jobs given to Tokio: {to_tokio}",
        tally.pools.load(Ordering::Relaxed)
    );

    if end.threads > warm.threads {
        faults.push(format!("threads: {} -> {}", warm.threads, end.threads));
    }
    if end.descriptors > warm.descriptors {
        faults.push(format!(
            "descriptors: {} -> {}",
            warm.descriptors, end.descriptors
        ));
    }
    if end.memory > warm.memory + MEMORY {
        faults.push(format!("memory: {} -> {} bytes", warm.memory, end.memory));
    }
    if faults.is_empty() {
        let crossings = sides.iter().map(Side::given).sum::<u64>() + short_lived + to_tokio;
        println!(
            "ok: {crossings} crossings in {:.1} s, {:.0} a second",
            took.as_secs_f64(),
            crossings as f64 / took.as_secs_f64()
        );
    }
    let _ = std::io::stdout().flush();
    faults
}

/// A pool that lives as long as the soak, and how much it was given.
#[derive(Debug)]
struct Side {
    name: &'static str,
    pool: CompioPool,
    given: AtomicU64,
}

impl Side {
    fn new(name: &'static str, threads: usize) -> Self {
        let pool = CompioPool::builder()
            .threads(threads)
            .thread_name(name)
            .build()
            .expect("a pool starts");
        Self {
            name,
            pool,
            given: AtomicU64::new(0),
        }
    }

    fn given(&self) -> u64 {
        self.given.load(Ordering::Relaxed)
    }

    /// The work of a `run` is given at its first poll, so whoever calls this does poll.
    fn note(&self, jobs: usize) {
        self.given.fetch_add(jobs as u64, Ordering::Relaxed);
    }

    fn spawn<F, Fut>(&self, work: F) -> JoinHandle<Fut::Output>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future + 'static,
        Fut::Output: Send + 'static,
    {
        self.note(1);
        self.pool.spawn(work)
    }

    /// Waits until nothing is under way; whether the sum is exact then.
    async fn drained(&self) -> Result<(), Fault> {
        let deadline = Instant::now() + DRAIN;
        loop {
            let sum = Sum::of(&self.pool.metrics());
            if sum.in_flight == 0 || Instant::now() > deadline {
                return sum.check(self.name, self.given());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// What became of the work of a pool.
struct Sum {
    completed: u64,
    cancelled: u64,
    panicked: u64,
    in_flight: u64,
    leaked: u64,
}

impl Sum {
    fn of(metrics: &PoolMetrics) -> Self {
        Self {
            completed: metrics.total(|worker| worker.completed),
            cancelled: metrics.total(|worker| worker.cancelled),
            panicked: metrics.total(|worker| worker.panicked),
            in_flight: metrics.total(|worker| worker.in_flight as u64),
            leaked: metrics.total(|worker| worker.leaked_tasks + worker.leaked_runtimes),
        }
    }

    fn check(&self, name: &str, given: u64) -> Result<(), Fault> {
        let ended = self.completed + self.cancelled + self.panicked;
        if ended == given && self.in_flight == 0 && self.leaked == 0 {
            return Ok(());
        }
        Err(format!(
            "pool {name}: given {given}, but completed {} + cancelled {} + panicked {} = {ended}, in \
             flight {}, leaked {}",
            self.completed, self.cancelled, self.panicked, self.in_flight, self.leaked
        ))
    }
}

#[derive(Debug, Default)]
struct Tally {
    pools: AtomicU64,
    short_lived: AtomicU64,
    to_tokio: AtomicU64,
}

#[derive(Clone, Debug)]
struct Everything {
    sides: Arc<[Side; 2]>,
    tokio: Handle,
    file: Arc<Path>,
    tally: Arc<Tally>,
}

impl Everything {
    /// Gives work until `deadline`, then waits until all of it has ended.
    async fn run_until(&self, deadline: Instant, faults: &mut Vec<Fault>) {
        let mut tasks: Vec<_> = (0..GIVERS)
            .map(|seed| tokio::spawn(self.clone().give(seed, deadline)))
            .collect();
        tasks.push(tokio::spawn(self.clone().come_and_go(deadline)));
        for task in tasks {
            match task.await {
                Ok(Ok(())) => {}
                Ok(Err(fault)) => faults.push(fault),
                Err(panic) => faults.push(format!("a giver panicked: {panic}")),
            }
        }
        for side in &*self.sides {
            if let Err(fault) = side.drained().await {
                faults.push(fault);
            }
        }
    }

    async fn give(self, seed: u64, deadline: Instant) -> Result<(), Fault> {
        let mut random = Random::new(seed);
        while Instant::now() < deadline {
            let (here, there) = (random.below(2), random.below(1000));
            let side = &self.sides[here];
            match there {
                0..400 => self.spawn_batch(side, &mut random).await?,
                400..800 => self.run_batch(side, &mut random).await?,
                800..820 => panics(side, &mut random).await?,
                820..870 => timers(side, &mut random).await?,
                870..900 => self.files(side).await?,
                900..950 => self.on_tokio(side, &mut random).await?,
                _ => self.back_and_forth(here, &mut random).await?,
            }
        }
        Ok(())
    }

    /// Handles: awaited, dropped, aborted, cancelled, at random times.
    async fn spawn_batch(&self, side: &Side, random: &mut Random) -> Result<(), Fault> {
        let handles: Vec<_> = (0..1 + random.below(BATCH))
            .map(|i| {
                let turns = random.turns();
                let job = side.spawn(move || async move {
                    yield_now(turns).await;
                    i
                });
                (i, job)
            })
            .collect();
        for (i, handle) in handles {
            yield_now(random.turns()).await;
            match random.below(8) {
                0 => drop(handle),
                1 => {
                    handle.abort();
                    done_or_cancelled(handle.await, i)?;
                }
                2 => done_or_cancelled(handle.cancel().await, i)?,
                // Dropped half-way: the cancellation goes on.
                3 => drop(poll!(pin!(handle.cancel()))),
                _ => done(handle.await, i)?,
            }
        }
        Ok(())
    }

    /// Structured: dropped after some turns, before or after the work has ended.
    async fn run_batch(&self, side: &Side, random: &mut Random) -> Result<(), Fault> {
        let n = 1 + random.below(BATCH);
        let drop_some = random.below(4) == 0;
        let runs: Vec<_> = (0..n)
            .map(|i| {
                let turns = random.turns();
                let patience = drop_some.then(|| random.below(8));
                let run = side.pool.run(move || async move {
                    yield_now(turns).await;
                    i
                });
                async move {
                    let mut run = pin!(run);
                    let Some(patience) = patience else {
                        return done(run.await, i);
                    };
                    for _ in 0..=patience {
                        if let Poll::Ready(result) = poll!(run.as_mut()) {
                            return done(result, i);
                        }
                        yield_now(1).await;
                    }
                    Ok(())
                }
            })
            .collect();
        side.note(n);
        // One that is never polled gives nothing.
        drop(side.pool.run(|| async {}));
        join_all(runs).await.into_iter().collect()
    }

    /// What the kernel does for us, also with its caller gone meanwhile.
    async fn files(&self, side: &Side) -> Result<(), Fault> {
        let jobs: Vec<_> = (0..8)
            .map(|i| {
                let path = Arc::clone(&self.file);
                let job = side.spawn(move || async move {
                    let length = compio::fs::metadata(&path).await?.len();
                    let file = compio::fs::File::open(&path).await?;
                    let (n, bytes) = file.read_at(Vec::with_capacity(FILE), 0).await.into();
                    let (n, bytes): (usize, Vec<u8>) = (n?, bytes);
                    file.close().await?;
                    Ok::<_, std::io::Error>((length, n, bytes[FILE - 1]))
                });
                (i, job)
            })
            .collect();
        for (i, job) in jobs {
            if i % 4 == 3 {
                if let Err(error) = job.cancel().await {
                    only_cancelled(error)?;
                }
                continue;
            }
            let read = job.await.map_err(|error| error.to_string())?;
            let read = read.map_err(|error| format!("a file: {error}"))?;
            if read != (FILE as u64, FILE, b'x') {
                return Err(format!("a file was read as {read:?}"));
            }
        }
        Ok(())
    }

    /// From a job on a pool back to Tokio, sometimes given up.
    async fn on_tokio(&self, side: &Side, random: &mut Random) -> Result<(), Fault> {
        let jobs: Vec<_> = (0..BATCH / 4)
            .map(|i| {
                let (tokio, turns) = (self.tokio.clone(), random.turns());
                let tally = Arc::clone(&self.tally);
                let give_up = random.below(8) == 0;
                let job = side.spawn(move || async move {
                    tally.to_tokio.fetch_add(1, Ordering::Relaxed);
                    let mut answer = pin!(tokio.run(async move {
                        for _ in 0..turns {
                            tokio::task::yield_now().await;
                        }
                        i
                    }));
                    if give_up {
                        return match poll!(answer.as_mut()) {
                            Poll::Ready(answer) => answer,
                            Poll::Pending => Ok(i),
                        };
                    }
                    answer.await
                });
                (i, job)
            })
            .collect();
        for (i, job) in jobs {
            done(job.await.and_then(|inner| inner), i)?;
        }
        Ok(())
    }

    /// A job of one pool waits for a job of the other, which waits for one of the first.
    async fn back_and_forth(&self, here: usize, random: &mut Random) -> Result<(), Fault> {
        let jobs: Vec<_> = (0..BATCH / 8)
            .map(|i| {
                let (sides, turns) = (Arc::clone(&self.sides), random.turns());
                let job = self.sides[here].spawn(move || async move {
                    let side = &sides[1 - here];
                    side.note(1);
                    let back = Arc::clone(&sides);
                    let run = side.pool.run(move || async move {
                        yield_now(turns).await;
                        back[here].spawn(move || async move { i }).await
                    });
                    run.await.and_then(|inner| inner)
                });
                (i, job, random.below(8) == 0)
            })
            .collect();
        for (i, job, cancel) in jobs {
            if cancel {
                done_or_cancelled(job.cancel().await.and_then(|inner| inner), i)?;
            } else {
                done(job.await.and_then(|inner| inner), i)?;
            }
        }
        Ok(())
    }

    /// Pools that end with work under way: half of them drained, half of them dropped.
    async fn come_and_go(self, deadline: Instant) -> Result<(), Fault> {
        let mut random = Random::new(GIVERS);
        while Instant::now() < deadline {
            let side = Side::new("short-lived", 1 + random.below(2));
            let jobs: Vec<_> = (0..random.below(4 * BATCH))
                .map(|i| {
                    let turns = random.turns();
                    let sleeps = i % 8 == 0;
                    side.spawn(move || async move {
                        yield_now(turns).await;
                        if sleeps {
                            compio::time::sleep(Duration::from_millis(1)).await;
                        }
                        i
                    })
                })
                .collect();
            self.tally.pools.fetch_add(1, Ordering::Relaxed);
            self.tally
                .short_lived
                .fetch_add(side.given(), Ordering::Relaxed);
            let drained = random.below(2) == 0;
            if drained {
                side.pool.shutdown().await;
                Sum::of(&side.pool.metrics()).check(side.name, side.given())?;
            } else {
                drop(side);
            }
            for (i, job) in jobs.into_iter().enumerate() {
                match job.await {
                    Err(JoinError::RuntimeGone) if !drained => {}
                    other => done(other, i)?,
                }
            }
            tokio::time::sleep(Duration::from_millis(random.below(100) as u64)).await;
        }
        Ok(())
    }
}

/// In the closure, in the future, after a while.
async fn panics(side: &Side, random: &mut Random) -> Result<(), Fault> {
    let turns = random.turns();
    let jobs: [JoinHandle<()>; 2] = [
        side.spawn(|| {
            std::panic::panic_any(MEANT);
            #[expect(unreachable_code, reason = "it says what the closure would return")]
            async {}
        }),
        side.spawn(move || async move {
            yield_now(turns).await;
            std::panic::panic_any(MEANT);
        }),
    ];
    for job in jobs {
        let meant = match job.await {
            Err(JoinError::Panicked(payload)) => is_meant(&*payload.into_inner()),
            _ => false,
        };
        if !meant {
            return Err("a panic came back as something else".into());
        }
    }
    Ok(())
}

/// Timers that fire, and timers whose job is gone before that.
async fn timers(side: &Side, random: &mut Random) -> Result<(), Fault> {
    let jobs: Vec<_> = (0..BATCH / 4)
        .map(|i| {
            let time = Duration::from_micros(random.below(500) as u64);
            let job = side.spawn(move || compio::time::sleep(time).map(move |()| i));
            (i, job, random.below(2) == 0)
        })
        .collect();
    for (i, job, cancel) in jobs {
        if cancel {
            done_or_cancelled(job.cancel().await, i)?;
        } else {
            done(job.await, i)?;
        }
    }
    Ok(())
}

fn done(result: Result<usize, JoinError>, expected: usize) -> Result<(), Fault> {
    match result {
        Ok(value) if value == expected => Ok(()),
        other => Err(format!("{other:?} instead of {expected}")),
    }
}

fn done_or_cancelled(result: Result<usize, JoinError>, expected: usize) -> Result<(), Fault> {
    match result {
        Err(error) => only_cancelled(error),
        other => done(other, expected),
    }
}

fn only_cancelled(error: JoinError) -> Result<(), Fault> {
    match error {
        JoinError::Cancelled => Ok(()),
        other => Err(format!("{other:?} instead of `Cancelled`")),
    }
}

/// Lets the neighbours run so many times, on any runtime.
async fn yield_now(turns: usize) {
    for _ in 0..turns {
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
}

/// Good enough for picking (xorshift, Marsaglia 2003), and the same at every run.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        // Not 0, and different from the first number on.
        Self((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }

    /// Mostly none: work that is done at once is what comes in masses.
    fn turns(&mut self) -> usize {
        self.below(8).saturating_sub(5)
    }
}

/// What the process holds of the system.
struct Looked {
    threads: u64,
    descriptors: u64,
    memory: u64,
}

impl Looked {
    /// Looks once threads of pools that were dropped have ended: when nothing has changed for a second
    /// and, if there is an earlier look, no more is there than was then. What stays shows by the time
    /// running out. Less is no fault: Compio's blocking threads come as they are needed and leave.
    fn at_rest(earlier: Option<&Self>) -> Self {
        let deadline = Instant::now() + LEAVE;
        let mut looked = Self::now();
        let mut since = Instant::now();
        while Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
            let next = Self::now();
            let same = (next.threads, next.descriptors) == (looked.threads, looked.descriptors);
            if !same {
                since = Instant::now();
            }
            looked = next;
            let no_more = earlier.is_none_or(|earlier| {
                looked.threads <= earlier.threads && looked.descriptors <= earlier.descriptors
            });
            if no_more && since.elapsed() >= Duration::from_secs(1) {
                break;
            }
        }
        looked
    }

    #[cfg(target_os = "linux")]
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").expect("it is mounted");
        let number = |name| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
                .expect("the kernel tells")
        };
        let descriptors = std::fs::read_dir("/proc/self/fd").expect("it is mounted");
        Self {
            threads: number("Threads:"),
            descriptors: descriptors.count() as u64,
            memory: number("VmRSS:") << 10,
        }
    }

    /// Cannot be had here: then only the sums are checked.
    #[cfg(not(target_os = "linux"))]
    fn now() -> Self {
        Self {
            threads: 0,
            descriptors: 0,
            memory: 0,
        }
    }
}

/// Removed at the end.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn new() -> Self {
        let name = format!("landbridge-soak-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, [b'x'; FILE]).expect("room for a small file");
        Self(path)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
