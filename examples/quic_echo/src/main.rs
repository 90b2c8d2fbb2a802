//! QUIC on Compio: streams and datagrams, an endpoint for each core; the client is quinn on Tokio.
//!
//! ```text
//! cargo run --release --example quic_echo                       # shows and checks itself, and ends
//! cargo run --release --example quic_echo -- --listen 127.0.0.1:4433 --cert cert.pem --key key.pem
//! ```
//!
//! compio-quic and quinn are two drivers of one protocol, quinn-proto: its configuration, limits and error codes
//! are the same types on both sides, and they are spoken to in the same process here. What differs is that nothing of
//! compio-quic leaves its thread, so the server is an endpoint for each worker of a pool, and Tokio, which has the
//! signals and the log, has a `Remote` of each. What a migrating code base copies is marked `COPY`:
//!
//! | file | shows | copy |
//! |---|---|---|
//! | `server.rs` | an endpoint for each worker behind a `Remote`, figures without atomics, a graceful end | the file |
//! | `connection.rs` | streams and datagrams of a connection, limits, typed errors, a goodbye | the file, with a service of yours |
//! | `listen.rs` | UDP sockets that share an address | the file |
//! | `config.rs` | certificate, ALPN, the limits that QUIC keeps, ring as the provider | the file |
//! | `client.rs` | a client by quinn on Tokio | for clients |
//! | `on_tokio.rs` | what it replaces: the same by quinn on Tokio | nothing |
//! | `demo.rs` | the load, the checks and the figures | nothing |
//!
//! | quinn on Tokio | compio-quic on a pool |
//! |---|---|
//! | `Endpoint::server(config, addr)` | `worker.host(..)`, `Endpoint::new(socket, ..)` on each worker |
//! | `endpoint.accept()`, `tokio::spawn` | `endpoint.wait_incoming()`, `rt::spawn_local` |
//! | `open_bi().await` | `open_bi_wait().await` (`open_bi()` does not wait) |
//! | `read_datagram`, `read_to_end(limit)` | `recv_datagram`; `read_chunk` and a count of one's own |
//! | `endpoint.close(..)`, `wait_idle()` | `endpoint.close(..)`, `shutdown()` by `Remote::finish` |
//!
//! What to know:
//!
//! - The kernel shares *addresses* out. All connections of one client socket are one worker's; a client whose address
//!   changes (Wi-Fi, NAT) is another's and is lost, so `migration` is off. Behind a balancer that has few addresses
//!   the workers are not loaded evenly.
//! - QUIC has no "no more requests, please": the goodbye on a stream of its own is this protocol's. A stream that comes
//!   later is refused with a code that says that nothing was done for it.
//! - Who closes a connection first takes along what the other side has not got: hence `stopped()` after `finish()`.
//! - A peer that vanishes is noticed after `Limits::idle`, and not before. A client that is to keep a quiet connection
//!   sets `keep_alive_interval`.
//!
//! What to know of compio-quic 0.8.2, gone around here (the last two by its source, the rest was seen):
//!
//! - A UDP datagram of no bytes makes the endpoint panic, and it is silent from then on: `listen.rs` has the kernel
//!   drop them, on Linux.
//! - Dropping a `closed()` before it is done (a `select!`, a timeout) stops the connection's driver: every stream of it
//!   hangs. A second `closed()` beside the first panics. `accept_bi` tells the end as well.
//! - Each poll of a waiting `accept_bi`, `recv_datagram`, `open_bi_wait` or `wait_incoming` leaves a waker behind until
//!   one is served: one task for each, not a `select!` of them. A `wait_incoming` that has been dropped swallows the
//!   wake-up of the next.
//! - The last `Connection` that is dropped closes it only if no stream is left: close it by `close`.
//! - It never looks for a larger packet than 1200 bytes on Linux; a network that one knows may be told by
//!   `TransportConfig::initial_mtu`.
//! - `read_to_end` has no limit.
//! - `ServerBuilder` takes 0-RTT data, and panics in a build with two TLS providers: `config.rs` goes without it.
//!
//! Measured by the demonstration, on a virtual machine of 2 processors (Linux 6.18) that others were using; 8 clients
//! on a third thread, 5 rounds in turns, the range of the medians of five runs (of three with one thread). The CPU time
//! is that of the server's threads; the clients and the neighbours share its processors, so what goes by the clock says
//! less.
//!
//! | | Compio / Tokio by the clock | us of CPU, Tokio | us of CPU, Compio |
//! |---|---|---|---|
//! | a round trip of 64 bytes, a stream each; 2 threads | 0.86 to 1.08 | 14 to 18 | 17 to 21 |
//! | a MiB (of 4 there and back); 2 threads | 0.84 to 1.05 | 1230 to 1640 | 1750 to 2200 |
//! | a round trip; 1 thread | 0.67 to 0.81 | 11 to 12 | 14 to 15 |
//! | a MiB; 1 thread | 0.50 to 0.89 | 1060 to 1230 | 1780 to 1860 |
//!
//! So this is not the way to a faster server. What differs is that compio-quic asks the kernel for one datagram, or one
//! batch of equal ones, where quinn asks for 32, has one batch of a connection on its way at a time, and sends smaller
//! packets (which is not it: with larger ones the figures are the same). It is the way for a program that has its data on
//! Compio's threads already, and would otherwise pay a crossing for each stream.

#[cfg(not(unix))]
compile_error!("`SO_REUSEPORT` is for Unix; `--exclude quic_echo` builds the rest");

mod client;
mod config;
mod connection;
mod demo;
mod listen;
mod on_tokio;
mod server;
#[cfg(test)]
mod tests;

use std::{
    future::Future, io, net::SocketAddr, num::NonZero, path::PathBuf, process::ExitCode, thread,
    time::Duration,
};

use tokio::signal::unix;

use config::Limits;
use demo::Plan;
use server::{Config, Server};

const HELP: &str = "\
A QUIC server on Compio that sends back what it gets, on streams and in datagrams. Without --listen it makes a
certificate, starts itself and the same server by quinn on Tokio, checks itself with quinn as the client, prints the
figures and ends.

  --listen ADDR    serve on ADDR (host:port) until Ctrl-C, then finish what is under way
  --cert PATH      the certificates, PEM (with --listen)
  --key PATH       the private key, PEM (with --listen)
  --workers N      threads that serve (default: one for each CPU)
  --rounds N       how often the demonstration measures (default: 5)
  --requests N     round trips of each of its clients in a round (default: 1000)
  --mib N          MiB that each of its clients sends in a round (default: 4)
  --help           this text
";

/// How long streams may go on after Ctrl-C.
const GRACE: Duration = Duration::from_secs(10);

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

/// Tokio is here for the signals, the log, and the demonstration's clients.
fn run(options: Options) -> Result<(), Error> {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("clients")
        .enable_all()
        .build()?;
    tokio.block_on(async {
        let asked = asked_to_end()?;
        let Some(serve) = options.serve else {
            let mut out = io::stdout();
            return tokio::select! {
                done = demo::run(&options.plan, &mut out) => Ok(done?),
                () = asked => Err("interrupted".into()),
            };
        };
        let limits = Limits::default();
        let mut server = Server::start(Config {
            listen: serve.listen,
            workers: options.plan.workers,
            quic: config::from_files(&serve.cert, &serve.key, &limits)?,
            limits,
            grace: GRACE,
        })
        .await?;
        println!("listening on {}", server.addr());
        let log = server.ends().map(|mut ends| {
            tokio::spawn(async move {
                while let Some(end) = ends.recv().await {
                    let what = if end.established {
                        ""
                    } else {
                        " in its handshake"
                    };
                    println!("{}{what}: {}", end.peer, end.why);
                }
            })
        });
        asked.await;
        let drained = server.drain().await?;
        if let Some(log) = log {
            log.await?;
        }
        println!(
            "{}: {:?}",
            if drained.finished {
                "drained"
            } else {
                "cut off what took too long"
            },
            drained.stats
        );
        Ok(())
    })
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
    serve: Option<Serve>,
    plan: Plan,
}

struct Serve {
    listen: SocketAddr,
    cert: PathBuf,
    key: PathBuf,
}

impl Options {
    /// `None` for `--help`.
    fn parse(mut args: lexopt::Parser) -> Result<Option<Self>, lexopt::Error> {
        use lexopt::{Arg, ValueExt};

        let (mut listen, mut cert, mut key) = (None, None, None);
        let mut plan = Plan {
            workers: thread::available_parallelism().map_or(1, NonZero::get),
            rounds: 5,
            requests: 1000,
            mib: 4,
        };
        while let Some(arg) = args.next()? {
            match arg {
                Arg::Long("listen") => listen = Some(args.value()?.parse()?),
                Arg::Long("cert") => cert = Some(PathBuf::from(args.value()?)),
                Arg::Long("key") => key = Some(PathBuf::from(args.value()?)),
                Arg::Long("workers") => plan.workers = number(&mut args)?,
                Arg::Long("rounds") => plan.rounds = number(&mut args)?,
                Arg::Long("requests") => plan.requests = number(&mut args)?,
                Arg::Long("mib") => plan.mib = number(&mut args)?,
                Arg::Long("help") | Arg::Short('h') => return Ok(None),
                _ => return Err(arg.unexpected()),
            }
        }
        let serve = match (listen, cert, key) {
            (Some(listen), Some(cert), Some(key)) => Some(Serve { listen, cert, key }),
            (None, None, None) => None,
            _ => return Err("--listen, --cert and --key belong together".into()),
        };
        Ok(Some(Self { serve, plan }))
    }
}

fn number(args: &mut lexopt::Parser) -> Result<usize, lexopt::Error> {
    use lexopt::ValueExt;

    args.value()?.parse_with(|text| match text.parse() {
        Ok(number @ 1..=65_536) => Ok(number),
        _ => Err("a number from 1 to 65536"),
    })
}
