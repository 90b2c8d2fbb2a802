//! The demonstration: files of which some are damaged, both queues, and a process that is killed at its work.

pub(crate) mod process;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write},
    path::Path,
    time::Duration,
};

use examples_support::{Cost, Stopwatch, median};
use landbridge::CompioPool;
use redis::{AsyncCommands, aio::MultiplexedConnection, cmd};
use rustix::process::Signal;
use sha2::{Digest, Sha256};
use tokio::{runtime::Handle, sync::watch};

use crate::{
    in_one_process,
    job::{Job, JobError, Verdict, parse_sums},
    queue::{Producer, QueueError},
    streams::{self, Config},
    work::{CrewError, crew},
};
use process::{Redis, Worker};

/// Worker processes at a time, and workers in each.
const PROCESSES: usize = 3;
const THREADS: usize = 2;

/// How much is done.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) files: usize,
    /// The longest file, in bytes.
    pub(crate) longest: usize,
    pub(crate) lease: Duration,
    pub(crate) rounds: usize,
    /// Jobs in a round.
    pub(crate) jobs: usize,
    /// A name on `PATH`.
    pub(crate) redis: &'static str,
    /// For the whole.
    pub(crate) timeout: Duration,
}

impl Plan {
    pub(crate) fn full() -> Self {
        Self {
            files: 240,
            longest: 1 << 20,
            lease: Duration::from_secs(1),
            rounds: 5,
            jobs: 500,
            redis: "redis-server",
            timeout: Duration::from_secs(60),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error("{0}")]
    Mismatch(String),
    #[error("not done after {0:?}")]
    Late(Duration),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Crew(#[from] CrewError),
    #[error(transparent)]
    Sums(#[from] JobError),
    #[error("Redis: {0}")]
    Redis(#[from] redis::RedisError),
    #[error(transparent)]
    Pool(#[from] landbridge::error::BuildError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

type Result<T, E = DemoError> = std::result::Result<T, E>;

pub(crate) async fn run(plan: &Plan, out: &mut impl Write) -> Result<()> {
    let done = tokio::time::timeout(plan.timeout, demonstrate(plan, out)).await;
    done.unwrap_or(Err(DemoError::Late(plan.timeout)))
}

async fn demonstrate(plan: &Plan, out: &mut impl Write) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("outgrow-").tempdir()?;
    let files = dir.path().join("files");
    fs::create_dir(&files)?;
    let (jobs, expected, bytes) = make_files(plan, &files)?;
    writeln!(
        out,
        "{} files, {bytes} bytes; some are damaged, one is gone",
        jobs.len()
    )?;

    let pool = CompioPool::builder()
        .threads(THREADS)
        .thread_name("scrub")
        .build()?;
    let watch = Stopwatch::start();
    let verdicts = in_one_process(&pool, &files, jobs.clone()).await?;
    check_verdicts(&verdicts, &expected)?;
    writeln!(
        out,
        "one process, a channel: every verdict is right, after {:.0?}",
        watch.stop().wall
    )?;

    let Some(redis) = Redis::start(plan.redis, dir.path()).await? else {
        pool.shutdown().await;
        writeln!(
            out,
            "Redis: skipped, there is no {} on PATH (Debian: apt-get install redis-server)",
            plan.redis
        )?;
        writeln!(
            out,
            "ok: {} verdicts by a channel; the part with Redis was skipped",
            expected.len()
        )?;
        return Ok(());
    };
    let again = shared(plan, &redis, &files, jobs, &expected, out).await?;
    measure(plan, &pool, &redis, &files, out).await?;
    pool.shutdown().await;
    writeln!(
        out,
        "ok: {} verdicts by a channel and by {PROCESSES} processes, one of them killed; {again} begun again, none lost, none acknowledged twice",
        expected.len()
    )?;
    Ok(())
}

/// Files of many lengths, their checksums as they were, and what is to be found out.
fn make_files(plan: &Plan, dir: &Path) -> Result<(Vec<Job>, BTreeMap<String, Verdict>, usize)> {
    let (mut sums, mut expected, mut bytes) = (String::new(), BTreeMap::new(), 0);
    for n in 0..plan.files {
        let name = format!("file-{n:04}");
        let length = (n * 7919 * 4096) % plan.longest;
        let mut content: Vec<u8> = (0..length)
            .map(|at| (at.wrapping_mul(n + 3) >> 3) as u8)
            .collect();
        sums += &format!("{:x}  {name}\n", Sha256::digest(&content));
        let verdict = match n % 50 {
            // One bit, somewhere.
            17 if length > 0 => {
                content[length * 2 / 3] ^= 4;
                Verdict::Damaged
            }
            _ if n == plan.files / 2 => Verdict::Unreadable(io::ErrorKind::NotFound.to_string()),
            _ => Verdict::Intact,
        };
        if !matches!(verdict, Verdict::Unreadable(_)) {
            fs::write(dir.join(&name), &content)?;
        }
        bytes += length;
        expected.insert(name, verdict);
    }
    Ok((parse_sums(&sums)?, expected, bytes))
}

/// Several processes share the work, and one is killed at it. How many jobs were begun again.
async fn shared(
    plan: &Plan,
    redis: &Redis,
    files: &Path,
    jobs: Vec<Job>,
    expected: &BTreeMap<String, Verdict>,
    out: &mut impl Write,
) -> Result<usize> {
    let watch = Stopwatch::start();
    let config = Config::new(&*redis.url);
    let mut own = redis::Client::open(&*redis.url)?
        .get_multiplexed_async_connection()
        .await?;
    let (lease, threads) = (plan.lease.as_millis().to_string(), THREADS.to_string());
    let more = ["--lease", &lease, "--threads", &threads];
    let start = async |name: String| Worker::start(&name, &redis.url, files, &more).await;
    let mut workers = Vec::new();
    for n in 1..PROCESSES {
        workers.push(start(format!("worker-{n}")).await?);
    }
    let mut number = 0;
    let killed = loop {
        // It waits for jobs as the others do, so that it gets its part of them.
        let victim = start(format!("victim-{number}")).await?;
        let mut feeder = streams::Feeder::new(config.clone(), Handle::current())?;
        feeder.put(jobs.clone()).await?;
        let killed = kill_at_work(victim, &config, &mut own).await?;
        check_verdicts(&feeder.verdicts(jobs.len()).await?, expected)?;
        number += jobs.len();
        // Or it was just between two jobs: once more.
        if !killed.is_empty() {
            break killed;
        }
    };
    writeln!(
        out,
        "one process was killed with {} of its jobs in its hands",
        killed.len()
    )?;

    // Asked to end, they end well; and Redis has nothing more to do.
    for worker in &workers {
        worker.send(Signal::TERM)?;
    }
    for worker in workers {
        let name = worker.name.clone();
        check(worker.ended().await?.success(), || {
            format!("{name} has not ended well")
        })?;
    }
    let left = left(&config, &mut own).await?;
    check(left == 0, || format!("{left} jobs are still in the stream"))?;
    check(
        pending(&config, &mut own).await?.is_empty(),
        || "somebody still has a job in his hands",
    )?;

    let journal: Vec<String> = own.lrange(config.journal(), 0, -1).await?;
    let begun_again = check_journal(&journal, number)?;
    check(
        killed.is_subset(&begun_again),
        || "a job of the killed one was not begun again",
    )?;
    writeln!(
        out,
        "{PROCESSES} processes, a stream of Redis: every verdict is right, after {:.0?}; the killed one's jobs were done by the others",
        watch.stop().wall
    )?;
    Ok(begun_again.len())
}

/// The ids of the jobs that it had begun, and nobody has acknowledged.
async fn kill_at_work(
    worker: Worker,
    config: &Config,
    own: &mut MultiplexedConnection,
) -> Result<BTreeSet<String>> {
    let name = worker.name.clone();
    // Unless the others have been quicker, and it gets none.
    while begun_by(&name, config, own).await?.is_empty() && left(config, own).await? > 0 {}
    worker.kill().await?;
    // What it had sent is with Redis, and comes before what is asked now.
    let begun = begun_by(&name, config, own).await?;
    let pending = pending(config, own).await?;
    Ok(begun.intersection(&pending).cloned().collect())
}

async fn left(config: &Config, own: &mut MultiplexedConnection) -> Result<usize> {
    Ok(cmd("XLEN").arg(config.jobs()).query_async(own).await?)
}

async fn begun_by(
    name: &str,
    config: &Config,
    own: &mut MultiplexedConnection,
) -> Result<BTreeSet<String>> {
    let journal: Vec<String> = own.lrange(config.journal(), 0, -1).await?;
    let his = journal
        .iter()
        .filter(|line| line.starts_with("kept ") && line.contains(name));
    Ok(his
        .filter_map(|line| line.split(' ').nth(1))
        .map(str::to_owned)
        .collect())
}

/// What was taken and is not acknowledged.
async fn pending(config: &Config, own: &mut MultiplexedConnection) -> Result<BTreeSet<String>> {
    let mut pending = cmd("XPENDING");
    pending
        .arg(config.jobs())
        .arg(streams::GROUP)
        .arg("-")
        .arg("+")
        .arg(10_000);
    let pending: Vec<(String, String, u64, u64)> = pending.query_async(own).await?;
    Ok(pending.into_iter().map(|(id, ..)| id).collect())
}

/// What each queue costs for a job that is nearly nothing: a file of 16 bytes, one worker, one job after another.
async fn measure(
    plan: &Plan,
    pool: &CompioPool,
    redis: &Redis,
    files: &Path,
    out: &mut impl Write,
) -> Result<()> {
    let content = b"sixteen bytes: x";
    let sha256 = format!("{:x}", Sha256::digest(content));
    let mut jobs = Vec::new();
    for n in 0..plan.jobs {
        let path = format!("small-{n}");
        fs::write(files.join(&path), content)?;
        let sha256 = sha256.clone();
        jobs.push(Job { path, sha256 });
    }
    let times = u32::try_from(plan.jobs).unwrap_or(u32::MAX);
    let (mut channel, mut stream) = (Vec::new(), Vec::new());
    for round in 0..plan.rounds {
        let watch = Stopwatch::start();
        let verdicts = in_one_process(pool, files, jobs.clone()).await?;
        channel.push(watch.stop().each(times));
        check(verdicts.len() == jobs.len(), || "a verdict is missing")?;

        let mut config = Config::new(&*redis.url);
        config.name = format!("measured-{round}");
        let mut feeder = streams::Feeder::new(config.clone(), Handle::current())?;
        let watch = Stopwatch::start();
        feeder.put(jobs.clone()).await?;
        let (stop, stopped) = watch::channel(false);
        let tokio = Handle::current();
        let crew = crew(pool, files, stopped, move |index| {
            streams::Worker::new(config.clone(), format!("here-{index}"), tokio.clone())
        });
        let verdicts = async {
            let verdicts = feeder.verdicts(plan.jobs).await?;
            let cost = watch.stop().each(times);
            stop.send_replace(true);
            Ok((verdicts, cost))
        };
        let (_tally, (verdicts, cost)) =
            tokio::try_join!(async { Ok::<_, DemoError>(crew.await?) }, verdicts)?;
        stream.push(cost);
        check(verdicts.len() == jobs.len(), || "a verdict is missing")?;
    }
    writeln!(
        out,
        "a job of 16 bytes, {THREADS} workers in this process, median of {} rounds; CPU without that of Redis:",
        plan.rounds
    )?;
    let say = |out: &mut dyn Write, name: &str, costs: &[Cost]| {
        writeln!(out, "  {name:<22} {}", median(costs))
    };
    say(out, "a channel", &channel)?;
    say(out, "a stream of Redis", &stream)?;
    Ok(())
}

pub(crate) fn check_verdicts(
    got: &BTreeMap<String, Verdict>,
    expected: &BTreeMap<String, Verdict>,
) -> Result<()> {
    for (path, verdict) in expected {
        check(got.get(path) == Some(verdict), || {
            format!(
                "{path} is {verdict}, and was said to be {:?}",
                got.get(path)
            )
        })?;
    }
    check(
        got.len() == expected.len(),
        || "there are verdicts that nobody has asked for",
    )
}

/// The order is Redis's: each line was written in one step with what it tells. Which jobs were begun by two.
pub(crate) fn check_journal(journal: &[String], number: usize) -> Result<BTreeSet<String>> {
    let (mut begun, mut done) = (BTreeMap::<_, BTreeSet<_>>::new(), BTreeSet::new());
    for line in journal {
        let mut words = line.split(' ');
        let (Some(what), Some(id), Some(who)) = (words.next(), words.next(), words.next()) else {
            return mismatch(format!("{line:?} is no line of the journal"));
        };
        if what == "done" {
            check(done.insert(id), || format!("{id} was acknowledged twice"))?;
            check(begun.contains_key(id), || {
                format!("{id} was acknowledged and never begun")
            })?;
        } else {
            check(!done.contains(id), || {
                format!("{id} was begun again after it was acknowledged")
            })?;
            begun.entry(id).or_default().insert(who);
        }
    }
    check(done.len() == number, || {
        format!("{} of {number} jobs were acknowledged", done.len())
    })?;
    let twice = begun.into_iter().filter(|(_, who)| who.len() > 1);
    Ok(twice.map(|(id, _)| id.to_owned()).collect())
}

fn check<S: Into<String>>(so: bool, what: impl FnOnce() -> S) -> Result<()> {
    if so { Ok(()) } else { mismatch(what()) }
}

fn mismatch<T>(what: impl Into<String>) -> Result<T> {
    Err(DemoError::Mismatch(what.into()))
}
