//! Two processes: a front that speaks HTTP, on Tokio, and a storage service on Compio; gRPC over a Unix socket
//! between them.
//!
//! ```text
//! cargo run --release --example split_services                        # shows and checks itself, and ends
//! cargo run --release --example split_services -- storage --socket /tmp/split.sock --dir data &
//! cargo run --release --example split_services -- front --listen 127.0.0.1:8080 --storage /tmp/split.sock &
//! curl -T picture.jpg http://127.0.0.1:8080/objects/picture.jpg
//! ```
//!
//! For a system that moves its storage out of the process: because it is to be started again, limited, secured or
//! scaled by itself, or because only one of the two may use io_uring. The front stays what it was; the storage is
//! Compio throughout, also its server: hyper and tonic's `Routes` on the shims, where tonic's own `Server` would want
//! Tokio. What is copied is marked `COPY`:
//!
//! | file | shows | copy |
//! |---|---|---|
//! | `proto/storage.proto`, `build.rs` | messages with an end marker, the codes; compiled without `protoc` | the files |
//! | `server.rs` | tonic's services on Compio over a Unix socket, connections shared out, a graceful end | the file |
//! | `service.rs` | streams in and out, taken back when the caller goes away, errors to codes | the shape of `put` and `get` |
//! | `deadline.rs` | `grpc-timeout`, carried and obeyed | the file |
//! | `link.rs` | the front's connections, which come again by themselves; codes that can be trusted | the file |
//! | `front.rs` | bodies to messages and back, codes to HTTP's | the shape of `put` and `get`, `Refusal` |
//! | `store.rs` | objects on the disk by Compio | the shape |
//! | `deploy/` | Dockerfiles, `compose.yaml`, Kubernetes; what io_uring needs there | the folder |
//! | `demo.rs` | the load, kills and checks, the figures | nothing |
//!
//! | in one process (see `object_store`) | in two |
//! |---|---|
//! | `pool.run(..)`, `fs.metadata(..)` | a call of the generated client |
//! | a channel of chunks, an end marker | a stream of messages, an end marker |
//! | `timeout(..)` around the crossing | `grpc-timeout`: the other side knows, too, and stops working |
//! | `StoreError` | `Status`; what happened on the way there is `UNAVAILABLE` |
//! | dropping the future cancels | so it does: HTTP/2 resets the stream, tonic drops the call |
//!
//! Measured by the demonstration, on a virtual machine of 2 processors (Linux 6.18) with other work on it: the range of
//! the medians of 5 rounds in turns, six runs with io_uring and four where a seccomp filter refuses it. One request at a
//! time, 4096 bytes from a file; the front has a thread for each processor, the storage 2; the CPU time is that of the
//! front's process, the client in it included.
//!
//! | | io_uring, a request | us of CPU | polling, a request |
//! |---|---|---|---|
//! | the same storage in this process, by `pool.run` | 18 to 64 us | 18 to 48 | 48 to 63 us |
//! | in the other process, by gRPC | 152 to 184 us | 86 to 123 | 181 to 271 us |
//! | the front alone (`/healthz`), by HTTP | 58 to 96 us | 58 to 86 | 46 to 55 us |
//! | front and storage, by HTTP | 276 to 359 us | 180 to 278 | 234 to 576 us |
//! | upload of 48 MiB, until it is on the disk | 138 to 374 MiB/s | | 126 to 325 MiB/s |
//! | download of 48 MiB | 310 to 449 MiB/s | | 161 to 316 MiB/s |
//!
//! The storage is started again, and answers, within 20 ms. So the second process costs about 120 us for each request,
//! several times what the crossing within one costs: most of it is HTTP/2 and tonic, and wake-ups on both sides. If
//! nothing asks for two processes, take one.
//!
//! Three things that are easy to overlook, and that the demonstration has met: hyper's server wants `TCP_NODELAY` (or
//! the body of each small answer comes 40 ms late), tonic's client tells its own timeout as `CANCELLED` and a killed
//! peer as `UNKNOWN`, and to abort `axum::serve` leaves its connections alive.

#[cfg(not(unix))]
compile_error!("Unix sockets and signals; `--exclude split_services` builds the rest");

mod deadline;
mod demo;
mod front;
mod link;
mod server;
mod service;
mod store;
#[cfg(test)]
mod tests;

/// What `build.rs` has made of `proto/storage.proto`.
mod proto {
    #![allow(unreachable_pub, reason = "generated")]

    tonic::include_proto!("landbridge.split.v1");
}

use std::{
    ffi::OsString, future::Future, io, net::SocketAddr, path::PathBuf, process::ExitCode, thread,
    time::Duration,
};

use landbridge::Driver;
use tokio::{
    runtime::{self, Runtime},
    signal::unix,
};

use demo::Plan;
use front::Front;
use link::Link;
use server::Server;

const HELP: &str = "\
A front on Tokio and a storage service on Compio, in two processes. Without a command the front starts the storage,
drives both, kills the storage, starts it again, checks every answer, prints the figures and ends.

  storage                the storage service, until SIGTERM or Ctrl-C; then it answers what was asked before
    --socket PATH        where it listens
    --dir DIR            where the objects are
    --threads N          its workers (default: as landbridge's pools have it)
    --driver NAME        auto, io-uring or polling (default: auto)
    --in-flight N        refuse more operations at a time (default: 64)
    --max-object BYTES   refuse larger objects (default: 5 GiB)
    --until-stdin-closes end with whoever started it, too
  front                  the HTTP front
    --listen ADDR        where it listens
    --storage PATH       the storage's socket
    --connections N      to it; as many as it has workers (default: 2)
    --threads N          of Tokio's (default: one for each CPU)
    --timeout MILLIS     for a request (default: 30000)
  probe                  whether the storage serves, for an orchestrator: by its exit code
    --storage PATH       the storage's socket
    --live               whether it answers at all
  --rounds N             how often the demonstration measures (default: 5)
  --help                 this text
";

/// How long a probe waits; an orchestrator's own limit is to be longer.
const PROBE: Duration = Duration::from_secs(1);

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

fn run(command: Command) -> Result<(), Error> {
    match command {
        Command::Storage(config, until_stdin_closes) => {
            // Tokio is here for the signals. The storage has no use for it.
            let tokio = runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            tokio.block_on(serve_storage(&config, until_stdin_closes))
        }
        Command::Front(config, threads) => tokio_with(threads)?.block_on(async {
            let asked = asked_to_end()?;
            let front = Front::start(&config).await?;
            println!("listening on http://{}", front.addr());
            asked.await;
            println!("draining");
            say_drained(front.drain(front::GRACE).await);
            Ok(())
        }),
        Command::Probe { storage, live } => {
            let tokio = runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            tokio.block_on(async {
                let serves = Link::new(&storage, 1)?.is_serving(PROBE).await?;
                // Not ready is alive: a storage that is ending is not to be killed for it.
                if serves || live {
                    Ok(())
                } else {
                    Err("it takes no calls".into())
                }
            })
        }
        Command::Demo(plan) => {
            let runtime = tokio_with(None)?;
            let done = runtime.block_on(async {
                let asked = asked_to_end()?;
                let mut out = io::stdout();
                tokio::select! {
                    done = demo::run(&plan, &mut out) => Ok(done?),
                    () = asked => Err("interrupted".into()),
                }
            });
            // Connections of the clients may still be there.
            runtime.shutdown_background();
            done
        }
    }
}

async fn serve_storage(config: &server::Config, until_stdin_closes: bool) -> Result<(), Error> {
    let asked = asked_to_end()?;
    let server = Server::start(config).await?;
    println!(
        "listening on {}, {}",
        config.socket.display(),
        server.driver()
    );
    let alone = async {
        match until_stdin_closes {
            true => stdin_closed().await,
            false => std::future::pending().await,
        }
    };
    tokio::select! {
        () = asked => {}
        () = alone => {}
    }
    println!("draining");
    say_drained(server.drain(server::GRACE).await?);
    Ok(())
}

fn say_drained(finished: bool) {
    println!(
        "{}",
        if finished {
            "drained"
        } else {
            "cut off what took too long"
        }
    );
}

fn tokio_with(threads: Option<usize>) -> io::Result<Runtime> {
    let mut builder = runtime::Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads);
    }
    builder.enable_all().build()
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
    Demo(Plan),
    Storage(server::Config, bool),
    Front(front::Config, Option<usize>),
    Probe { storage: PathBuf, live: bool },
}

impl Command {
    /// `None` for `--help`.
    fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Option<Self>, lexopt::Error> {
        use lexopt::{Arg, ValueExt};

        let mut args = lexopt::Parser::from_args(args);
        let mut command = None;
        let (mut socket, mut dir, mut storage, mut threads) = (None, None, None, None);
        let (mut listen, mut timeout, mut connections) = (None, None, None);
        let (mut driver, mut in_flight, mut max_object) = (None, None, None);
        let (mut until_stdin_closes, mut live, mut rounds) = (false, false, None);
        while let Some(arg) = args.next()? {
            let name = match &arg {
                Arg::Long(name) => (*name).to_owned(),
                Arg::Short('h') => return Ok(None),
                Arg::Value(value) if command.is_none() => {
                    command = Some(value.clone().string()?);
                    continue;
                }
                _ => return Err(arg.unexpected()),
            };
            // What belongs to another command is not taken in silence.
            match (command.as_deref(), name.as_str()) {
                (_, "help") => return Ok(None),
                (None, "rounds") => rounds = Some(number(&mut args, 1000)?),
                (Some("storage"), "socket") => socket = Some(PathBuf::from(args.value()?)),
                (Some("storage"), "dir") => dir = Some(PathBuf::from(args.value()?)),
                (Some("storage"), "driver") => {
                    driver = Some(args.value()?.parse_with(|name| match name {
                        "auto" => Ok(Driver::Auto),
                        "io-uring" => Ok(Driver::IoUring),
                        "polling" => Ok(Driver::Polling),
                        _ => Err("auto, io-uring or polling"),
                    })?);
                }
                (Some("storage"), "in-flight") => in_flight = Some(number(&mut args, 1 << 20)?),
                (Some("storage"), "max-object") => max_object = Some(number(&mut args, u64::MAX)?),
                (Some("storage"), "until-stdin-closes") => until_stdin_closes = true,
                (Some("storage" | "front"), "threads") => {
                    threads = Some(number(&mut args, 1024)? as usize)
                }
                (Some("front"), "listen") => listen = Some(args.value()?.parse::<SocketAddr>()?),
                (Some("front"), "timeout") => timeout = Some(number(&mut args, 1 << 32)?),
                (Some("front"), "connections") => {
                    connections = Some(number(&mut args, 1024)? as usize)
                }
                (Some("front" | "probe"), "storage") => {
                    storage = Some(PathBuf::from(args.value()?))
                }
                (Some("probe"), "live") => live = true,
                _ => return Err(lexopt::Error::UnexpectedOption(format!("--{name}"))),
            }
        }
        let lacks =
            |option: &'static str| move || lexopt::Error::from(format!("{option} is missing"));
        Ok(Some(match command.as_deref() {
            None => Self::Demo(Plan {
                rounds: rounds.map_or(5, |rounds| rounds as usize),
                ..Plan::full()
            }),
            Some("storage") => {
                let socket = socket.ok_or_else(lacks("--socket"))?;
                let mut config = server::Config::new(socket, dir.ok_or_else(lacks("--dir"))?);
                config.threads = threads;
                config.driver = driver.unwrap_or(config.driver);
                config.limits.object = max_object.unwrap_or(config.limits.object);
                config.limits.in_flight = in_flight.map_or(config.limits.in_flight, |n| n as usize);
                Self::Storage(config, until_stdin_closes)
            }
            Some("front") => {
                let listen = listen.ok_or_else(lacks("--listen"))?;
                let mut config =
                    front::Config::new(listen, storage.ok_or_else(lacks("--storage"))?);
                config.connections = connections.unwrap_or(config.connections);
                config.timeout = timeout.map_or(config.timeout, Duration::from_millis);
                Self::Front(config, threads)
            }
            Some("probe") => Self::Probe {
                storage: storage.ok_or_else(lacks("--storage"))?,
                live,
            },
            Some(other) => return Err(format!("there is no command {other:?}").into()),
        }))
    }
}

fn number(args: &mut lexopt::Parser, most: u64) -> Result<u64, lexopt::Error> {
    use lexopt::ValueExt;

    args.value()?.parse_with(|text| match text.parse() {
        Ok(number) if (1..=most).contains(&number) => Ok(number),
        _ => Err(format!("a number from 1 to {most}")),
    })
}
