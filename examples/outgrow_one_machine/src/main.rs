//! Background jobs that outgrow their machine: a queue that begins as a channel, and goes on as a stream of Redis.
//!
//! ```text
//! cargo run --release --example outgrow_one_machine      # shows and checks itself, and ends
//! sha256sum * > SUMS                                      # and then in one process:
//! cargo run --release --example outgrow_one_machine -- here --dir . --sums SUMS
//! # or, on as many machines as see the files:
//! cargo run --release --example outgrow_one_machine -- work --redis redis://127.0.0.1:6379 --dir .
//! cargo run --release --example outgrow_one_machine -- produce --redis redis://127.0.0.1:6379 --sums SUMS
//! ```
//!
//! The jobs are those of an object store (see `object_store`): files are read from end to end, on Compio, and must
//! still have the checksum that they had. Both queues are behind the same two traits, so the workers are the same
//! code, and the move is one line where the queue is made. The `redis` crate is for Tokio; it is used from Compio's
//! workers, with no hop but its own. What is copied is marked `COPY`:
//!
//! | file | shows | copy |
//! |---|---|---|
//! | `queue.rs` | the two traits: take, keep, done | the file |
//! | `in_process.rs` | the channel behind them | the file |
//! | `streams.rs` | Redis Streams behind them: leases, what a dead worker leaves, acknowledged once | the file |
//! | `work.rs` | workers on a pool that do not know which it is | the shape |
//! | `job.rs` | jobs and verdicts | nothing: yours are others |
//! | `demo.rs` | processes that are killed, and the checks | nothing |
//!
//! | in one process | on many machines |
//! |---|---|
//! | `channel::mpsc(capacity)` | a stream, a group of consumers |
//! | a full channel holds the producer up | a stream grows: look at `XLEN` |
//! | a worker that panics costs its job | so it does |
//! | a process that dies takes all jobs with it | its jobs are somebody else's after a lease |
//! | a job is done once | begun at least once, acknowledged once: it must bear to be begun again |
//!
//! Measured by the demonstration, on a virtual machine of 2 processors (Linux 6.18, Redis 7.0 on it), not quite quiet; the
//! range of six runs' medians of 5 rounds. A job reads a file of 16 bytes; 2 workers on Compio; CPU without Redis's own.
//!
//! | queue | a job | us of CPU |
//! |---|---|---|
//! | a channel | 16 to 19 us, nearly all of it the file | 18 to 24 |
//! | a stream of Redis | 132 to 217 us: three questions, one after the other | 80 to 169 |
//!
//! So a job that takes a millisecond does not notice the move, and one of a few microseconds should be a batch of them.

#[cfg(not(unix))]
compile_error!("SIGTERM is for Unix; `--exclude outgrow_one_machine` builds the rest");

mod demo;
mod in_process;
mod job;
mod queue;
mod streams;
#[cfg(test)]
mod tests;
mod work;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    ffi::OsString,
    fs,
    future::Future,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Duration,
};

use landbridge::CompioPool;
use tokio::{
    runtime::{self, Handle},
    signal::unix,
    sync::watch,
};

use demo::Plan;
use job::{Job, Verdict};
use queue::Producer;
use work::crew;

const HELP: &str = "\
Verifies checksums, by workers on Compio: in one process, or in many that share a stream of Redis. Without a command it
does both with files and a Redis server of its own, kills one of the processes, checks every verdict and ends.

  here                   in one process
    --dir DIR            where the files are
    --sums FILE          what they are to be, as `sha256sum` writes it
    --threads N          workers (default: as landbridge's pools have it)
  produce                puts the jobs, waits for the verdicts, and prints those that are not well
    --redis URL          redis://host:port or redis+unix:///path
    --sums FILE
    --name NAME          of the queue (default: scrub)
  work                   does jobs until SIGTERM or Ctrl-C; what was begun is finished
    --redis URL
    --dir DIR
    --name NAME
    --threads N
    --consumer NAME      nobody else's (default: made of the process's number and the time)
    --lease MILLIS       after so long without a sign of life, a job is somebody else's (default: 30000)
    --journal            keep a list in Redis of who began and who ended what
    --until-stdin-closes end with whoever started it, too
  --help                 this text
";

type Error = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let command = match Command::parse(std::env::args_os().skip(1)) {
        Ok(Some(command)) => command,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{error}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// COPY: the two runtimes. One thread of Tokio's suffices for the connections to Redis.
fn run(command: Command) -> Result<(), Error> {
    let tokio = runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    tokio.block_on(async {
        let asked = asked_to_end()?;
        match command {
            Command::Demo => {
                let (plan, mut out) = (Plan::full(), io::stdout());
                tokio::select! {
                    done = demo::run(&plan, &mut out) => Ok(done?),
                    () = asked => Err("interrupted".into()),
                }
            }
            Command::Here { dir, sums, threads } => {
                let jobs = job::parse_sums(&fs::read_to_string(sums)?)?;
                let pool = pool(threads)?;
                let verdicts = tokio::select! {
                    verdicts = in_one_process(&pool, &dir, jobs) => verdicts?,
                    () = asked => return Err("interrupted".into()),
                };
                pool.shutdown().await;
                say(&verdicts)
            }
            Command::Produce { redis, sums } => {
                let jobs = job::parse_sums(&fs::read_to_string(sums)?)?;
                let number = jobs.len();
                let mut feeder = streams::Feeder::new(redis, Handle::current())?;
                let verdicts = async {
                    feeder.put(jobs).await?;
                    feeder.verdicts(number).await
                };
                tokio::select! {
                    verdicts = verdicts => say(&verdicts?),
                    () = asked => Err("interrupted; the jobs are in Redis".into()),
                }
            }
            Command::Work(work) => {
                let pool = pool(work.threads)?;
                let (stop, stopped) = watch::channel(false);
                let alone = async {
                    match work.until_stdin_closes {
                        true => stdin_closed().await,
                        false => std::future::pending().await,
                    }
                };
                let asked = async {
                    tokio::select! {
                        () = asked => {}
                        () = alone => {}
                    }
                    println!("draining");
                    stop.send_replace(true);
                    std::future::pending::<Infallible>().await
                };
                let (tokio, redis, consumer) = (Handle::current(), work.redis, work.consumer);
                let crew = crew(&pool, &work.dir, stopped, move |index| {
                    let consumer = format!("{consumer}-{index}");
                    streams::Worker::new(redis.clone(), consumer, tokio.clone())
                });
                println!("working");
                let tally = tokio::select! {
                    tally = crew => tally?,
                    never = asked => match never {},
                };
                pool.shutdown().await;
                println!("done: {}, too late: {}", tally.done, tally.late);
                Ok(())
            }
        }
    })
}

fn pool(threads: Option<usize>) -> Result<CompioPool, landbridge::error::BuildError> {
    let builder = CompioPool::builder().thread_name("scrub");
    match threads {
        Some(threads) => builder.threads(threads).build(),
        None => builder.build(),
    }
}

/// COPY: this is how it begins. What changes later is where the two ends come from.
async fn in_one_process(
    pool: &CompioPool,
    dir: &Path,
    jobs: Vec<Job>,
) -> Result<BTreeMap<String, Verdict>, work::CrewError> {
    let (mut feeder, worker) = in_process::queue(64);
    let (_stop, stopped) = watch::channel(false);
    let number = jobs.len();
    let crew = crew(pool, dir, stopped, move |_index| Ok(worker.clone()));
    let verdicts = async {
        feeder.put(jobs).await?;
        Ok(feeder.verdicts(number).await?)
    };
    let (_tally, verdicts) = tokio::try_join!(crew, verdicts)?;
    Ok(verdicts)
}

/// As `sha256sum -c` does it.
fn say(verdicts: &BTreeMap<String, Verdict>) -> Result<(), Error> {
    let mut wrong = 0;
    for (path, verdict) in verdicts {
        if *verdict != Verdict::Intact {
            wrong += 1;
            println!("{path}: {verdict}");
        }
    }
    match wrong {
        0 => {
            println!("{} files, all intact", verdicts.len());
            Ok(())
        }
        _ => Err(format!("{wrong} of {} files are not what they were", verdicts.len()).into()),
    }
}

/// COPY: Ctrl-C or SIGTERM, from now on.
fn asked_to_end() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = unix::signal(unix::SignalKind::interrupt())?;
    let mut terminate = unix::signal(unix::SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Whoever holds the other end is gone, however it ended. A thread, since a read of standard input cannot be called
/// off; it ends with the process.
async fn stdin_closed() {
    let (closed, is_closed) = tokio::sync::oneshot::channel();
    thread::spawn(move || {
        _ = io::copy(&mut io::stdin(), &mut io::sink());
        _ = closed.send(());
    });
    _ = is_closed.await;
}

#[derive(Debug)]
enum Command {
    Demo,
    Here {
        dir: PathBuf,
        sums: PathBuf,
        threads: Option<usize>,
    },
    Produce {
        redis: streams::Config,
        sums: PathBuf,
    },
    Work(Work),
}

#[derive(Debug)]
struct Work {
    redis: streams::Config,
    dir: PathBuf,
    threads: Option<usize>,
    consumer: String,
    until_stdin_closes: bool,
}

impl Command {
    /// `None` for `--help`.
    fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Option<Self>, lexopt::Error> {
        use lexopt::{Arg, ValueExt};

        let mut args = lexopt::Parser::from_args(args);
        let mut command = None;
        let (mut dir, mut sums, mut redis, mut name) = (None, None, None, None);
        let (mut threads, mut consumer, mut lease) = (None, None, None);
        let (mut journal, mut until_stdin_closes) = (false, false);
        while let Some(arg) = args.next()? {
            let option = match &arg {
                Arg::Long(name) => (*name).to_owned(),
                Arg::Short('h') => return Ok(None),
                Arg::Value(value) if command.is_none() => {
                    command = Some(value.clone().string()?);
                    continue;
                }
                _ => return Err(arg.unexpected()),
            };
            // What belongs to another command is not taken in silence.
            match (command.as_deref(), option.as_str()) {
                (_, "help") => return Ok(None),
                (Some("here" | "work"), "dir") => dir = Some(PathBuf::from(args.value()?)),
                (Some("here" | "produce"), "sums") => sums = Some(PathBuf::from(args.value()?)),
                (Some("here" | "work"), "threads") => {
                    threads = Some(number(&mut args, 1024)? as usize)
                }
                (Some("produce" | "work"), "redis") => redis = Some(args.value()?.string()?),
                (Some("produce" | "work"), "name") => name = Some(args.value()?.string()?),
                (Some("work"), "consumer") => consumer = Some(args.value()?.string()?),
                (Some("work"), "lease") => lease = Some(number(&mut args, 1 << 32)?),
                (Some("work"), "journal") => journal = true,
                (Some("work"), "until-stdin-closes") => until_stdin_closes = true,
                _ => return Err(lexopt::Error::UnexpectedOption(format!("--{option}"))),
            }
        }
        let lacks =
            |option: &'static str| move || lexopt::Error::from(format!("{option} is missing"));
        let redis = redis.ok_or_else(lacks("--redis")).map(|url| {
            let mut config = streams::Config::new(url);
            config.name = name.unwrap_or(config.name);
            config.lease = lease.map_or(config.lease, Duration::from_millis);
            config.journal = journal;
            config
        });
        Ok(Some(match command.as_deref() {
            None => Self::Demo,
            Some("here") => Self::Here {
                dir: dir.ok_or_else(lacks("--dir"))?,
                sums: sums.ok_or_else(lacks("--sums"))?,
                threads,
            },
            Some("produce") => Self::Produce {
                redis: redis?,
                sums: sums.ok_or_else(lacks("--sums"))?,
            },
            Some("work") => Self::Work(Work {
                redis: redis?,
                dir: dir.ok_or_else(lacks("--dir"))?,
                threads,
                consumer: consumer.unwrap_or_else(somebody),
                until_stdin_closes,
            }),
            Some(other) => return Err(format!("there is no command {other:?}").into()),
        }))
    }
}

/// A name that nobody else has, on no machine.
fn somebody() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    format!(
        "{:x}-{:x}",
        now.unwrap_or_default().as_nanos(),
        std::process::id()
    )
}

fn number(args: &mut lexopt::Parser, most: u64) -> Result<u64, lexopt::Error> {
    use lexopt::ValueExt;

    args.value()?.parse_with(|text| match text.parse() {
        Ok(number) if (1..=most).contains(&number) => Ok(number),
        _ => Err(format!("a number from 1 to {most}")),
    })
}
