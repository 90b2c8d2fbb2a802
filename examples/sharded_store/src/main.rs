//! A key-value store, a shard for each core: Redis's protocol in front, a mesh between, a log with group commit
//! behind.
//!
//! ```text
//! cargo run --release --example sharded_store                       # shows and checks itself, and ends
//! cargo run --release --example sharded_store -- --listen 127.0.0.1:6379 --data /tmp/store
//! redis-cli set greeting hello
//! redis-benchmark -t set,get,incr -P 16
//! ```
//!
//! For programs in the style of glommio and Seastar: each worker is pinned to its core and owns a part of the
//! keys, so no key has a lock. Each worker accepts connections for itself; what they ask of another worker's key
//! goes over `channel::mesh`, and the answer comes back by a oneshot. What a migrating code base copies is marked
//! `COPY`:
//!
//! | file | shows | copy |
//! |---|---|---|
//! | `server.rs` | pinned workers, an accept loop for each, the mesh handed out, an end without loss | the file |
//! | `worker.rs` | `worker_for` and the lanes, back-pressure, the group commit | the file |
//! | `shard.rs` | what a shard keeps; nobody is told what a crash could take back | the file, with your data |
//! | `store.rs`, `record.rs` | recovery: torn ends are cut off, other damage is refused, another number of shards is fine | the files |
//! | `connection.rs`, `resp.rs` | pipelining with bounds, hostile input, slow clients | the files |
//! | `command.rs` | the commands | the shape |
//! | `listen.rs` | sockets that share an address | the file |
//! | `demo.rs` | the load, the kills, the checks and the figures | nothing |
//!
//! Limits: strings without expiry; a command with several keys is done key by key; a shard's keys have to fit in
//! memory; a log grows until the next start, which shortens it, and needs room for a second one until then. Damage in the
//! very last group of a log looks as a torn end does, and is cut off as one.
//!
//! | glommio | here |
//! |---|---|
//! | `LocalExecutorPoolBuilder`, `PoolPlacement` | `CompioPool::builder()`, `Placement::Pinned` |
//! | `channel_mesh::MeshBuilder::full` | `channel::mesh` |
//! | `glommio::spawn_local`, `LocalExecutor` | `rt::spawn_local`, a worker of the pool |
//! | `DmaStreamWriter` | `compio::fs::File`, with a group that gathers while another one is written |
//!
//! Measured by the demonstration, on a virtual machine of 2 processors (Linux 6.18, ext4), not quiet; `redis-benchmark`
//! with 50 clients has one of them for itself. Thousands of requests/s, the range of three runs; beside it Redis
//! 7.0 with `appendfsync always`, which promises the same:
//!
//! | | SET | GET | INCR |
//! |---|---|---|---|
//! | 2 shards, one request at a time | 39 to 48 | 59 to 61 | 41 to 46 |
//! | Redis, one request at a time | 62 to 73 | 89 to 100 | 63 to 73 |
//! | 2 shards, 16 at a time | 181 to 394 | 373 to 676 | 237 to 400 |
//! | Redis, 16 at a time | 219 to 392 | 459 to 909 | 275 to 444 |
//!
//! So a processor's worth of this template is not a processor's worth of Redis, and with two, of which the load takes
//! one, sharding cannot show what it is for: half of the commands cross over, and both shards wait for the same disk.
//! 16 records share a wait for it, in the mean. Measure on your own cores.

#[cfg(not(unix))]
compile_error!("`SO_REUSEPORT` is for Unix; `--exclude sharded_store` builds the rest");

mod command;
mod connection;
mod demo;
mod listen;
mod record;
mod resp;
mod server;
mod shard;
mod store;
#[cfg(test)]
mod tests;
mod worker;

use std::{
    env,
    ffi::OsString,
    future::Future,
    io::{self, Write},
    net::SocketAddr,
    num::NonZero,
    path::PathBuf,
    process::{Command, ExitCode},
    thread,
};

use tokio::signal::unix;

use demo::Plan;
use server::{Config, Server};

const HELP: &str = "\
A key-value store with Redis's protocol. Without --listen it starts itself as another process, loads that, kills
it, starts it again, checks that nothing is lost that was acknowledged, prints figures and ends.

  --listen ADDR    serve on ADDR (host:port) until Ctrl-C, then answer what was asked before
  --data DIR       where the logs are (with --listen)
  --workers N      shards, each with a thread (default: one for each CPU)
  --floating       do not pin the threads
  --kills N        how often the demonstration kills (default: 3)
  --requests N     requests of a measurement (default: 20000)
  --help           this text
";

type Error = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let options = match Options::parse(lexopt::Parser::from_env()) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{error}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Tokio is here for the signals, and for the demonstration's clients. The server has no use for it.
fn run(options: Options) -> Result<(), Error> {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    tokio.block_on(async {
        let asked = asked_to_end()?;
        let Some(config) = options.serve else {
            let itself = env::current_exe()?;
            let child = |args: &[OsString]| {
                let mut command = Command::new(&itself);
                command.args(args);
                command
            };
            let mut out = io::stdout();
            return tokio::select! {
                done = demo::run(&options.plan, &child, &mut out) => Ok(done?),
                () = asked => Err("interrupted".into()),
            };
        };
        serve(config, asked, &mut io::stdout()).await
    })
}

async fn serve(
    config: Config,
    asked: impl Future<Output = ()>,
    out: &mut impl Write,
) -> Result<(), Error> {
    let server = Server::start(config).await?;
    let found = server.found();
    if found.cut_off > 0 {
        writeln!(
            out,
            "cut off {} bytes that were never finished",
            found.cut_off
        )?;
    }
    writeln!(
        out,
        "recovered {} keys of {} records",
        found.keys, found.records
    )?;
    writeln!(out, "listening on {}", server.addr())?;
    tokio::select! {
        () = asked => {}
        () = server.failed() => {}
    }
    let in_time = server.drain().await?;
    let how = if in_time {
        "drained"
    } else {
        "cut off what took too long"
    };
    writeln!(out, "{how}")?;
    Ok(())
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

struct Options {
    serve: Option<Config>,
    plan: Plan,
}

impl Options {
    /// `None` for `--help`.
    fn parse(mut args: lexopt::Parser) -> Result<Option<Self>, lexopt::Error> {
        use lexopt::{Arg, ValueExt};

        let (mut listen, mut data, mut floating) = (None::<SocketAddr>, None, false);
        let mut plan = Plan {
            workers: thread::available_parallelism().map_or(1, NonZero::get),
            kills: 3,
            requests: 20_000,
        };
        while let Some(arg) = args.next()? {
            match arg {
                Arg::Long("listen") => listen = Some(args.value()?.parse()?),
                Arg::Long("data") => data = Some(PathBuf::from(args.value()?)),
                Arg::Long("workers") => plan.workers = number(&mut args, 1024)?,
                Arg::Long("kills") => plan.kills = number(&mut args, 1000)?,
                Arg::Long("requests") => plan.requests = number(&mut args, 100_000_000)?,
                Arg::Long("floating") => floating = true,
                Arg::Long("help") | Arg::Short('h') => return Ok(None),
                _ => return Err(arg.unexpected()),
            }
        }
        let serve = match (listen, data) {
            (Some(listen), Some(data)) => {
                let mut config = Config::new(listen, data, plan.workers);
                config.pinned &= !floating;
                Some(config)
            }
            (None, None) => None,
            _ => return Err("--listen and --data belong together".into()),
        };
        Ok(Some(Self { serve, plan }))
    }
}

fn number(args: &mut lexopt::Parser, most: usize) -> Result<usize, lexopt::Error> {
    use lexopt::ValueExt;

    args.value()?.parse_with(|text| {
        let number = text.parse().ok();
        let number = number.filter(|number| (1..=most).contains(number));
        number.ok_or_else(|| format!("a number from 1 to {most}"))
    })
}
