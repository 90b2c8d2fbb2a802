//! A Compio program that must use a crate for Tokio: a small gateway whose clients ask for an object in a line
//! of text, and get it from an HTTP server, by reqwest.
//!
//! ```text
//! cargo run --release --example tokio_crate_from_compio     # shows and checks itself, and ends
//! cargo run --release --example tokio_crate_from_compio -- --listen 127.0.0.1:7000 --upstream http://127.0.0.1:8080/
//! echo /index.html | nc -q 1 127.0.0.1 7000
//! ```
//!
//! The program's own thread is Compio's: it accepts the clients there. reqwest needs Tokio's reactor, its timer
//! and its `tokio::spawn`, so a Tokio runtime of one thread stands beside it, and there are three ways to
//! get from the one to the other. What a Compio code base copies is marked `COPY`:
//!
//! | file | shows | copy |
//! |---|---|---|
//! | `fetch.rs` | `TokioHandleExt::run` and `in_tokio`, and the errors of each | one of the two functions |
//! | `gateway.rs` | hand-off of an accepted socket; an end that answers what was asked | `hand_off`, `Gateway::serve` |
//! | `main.rs` | the two runtimes side by side, signals | `run`, `asked_to_end` |
//! | `demo.rs` | the server, the clients, the checks and the figures | nothing |
//!
//! | way | what it is | it replaces | take it |
//! |---|---|---|---|
//! | `run` | the request is a task of Tokio's, awaited on Compio | a thread with a channel each way, `reqwest::blocking` in `spawn_blocking` | by default: nothing of Tokio's holds up a Compio thread |
//! | `in-tokio` | the request is polled on the Compio thread, in Tokio's context | a second runtime in each Compio thread | if the future is not `Send`, or borrows |
//! | `hand-off` | the accepted socket is given to Tokio, with the whole of its connection | accepting on two ports | if a connection does nothing but what Tokio is needed for |
//!
//! Measured by the demonstration, on a virtual machine of 2 processors (Linux 6.18), not quite quiet; medians of 41 rounds
//! in turns. Clients, gateway and HTTP server are in the one process, on two threads; with Tokio alone they are on
//! one, where nothing ever has to be woken, so what the ways cost beyond that is the most that they can cost.
//!
//! | | crossing alone | one request at a time | 16 clients, CPU for a request |
//! |---|---|---|---|
//! | Tokio alone | | 51 us | 53 us |
//! | `run` | 7 to 60 us: two wake-ups, dear when both sides sleep | 159 to 213 us | 64 to 77 us |
//! | `in-tokio` | 0.07 us | 157 to 195 us | 63 to 66 us |
//! | `hand-off` | 5 us, once for a connection | 51 us | 54 us |
//!
//! `in-tokio` has no hop of its own, but reqwest has: it drives its connections in tasks on Tokio's threads, which
//! wake the Compio thread. So with reqwest the two cost alike, and `run` asks less of the future's author. For
//! what needs no more than Tokio's timer or a socket of its own, `in-tokio` has no hop at all.

#[cfg(not(unix))]
compile_error!("SIGTERM is for Unix; `--exclude tokio_crate_from_compio` builds the rest");

mod demo;
mod fetch;
mod gateway;
#[cfg(test)]
mod tests;

use std::{future::Future, io, net::SocketAddr, process::ExitCode, time::Duration};

use landbridge::{CompioHandle, context};
use reqwest::Url;
use tokio::{runtime::Handle, signal::unix};

use fetch::Fetcher;
use gateway::{Gateway, Way};

const HELP: &str = "\
A gateway on Compio that fetches with reqwest, which is for Tokio. Without --listen it starts an HTTP server
and itself, asks for some thousand objects in each way, checks every answer, prints what it cost and ends.

  --listen ADDR     serve on ADDR (host:port) until Ctrl-C, then answer what was asked before
  --upstream URL    the HTTP server (with --listen)
  --way NAME        run, in-tokio or hand-off (with --listen; default: run)
  --rounds N        how often the demonstration measures (default: 15)
  --help            this text
";

/// How long a request may go on after Ctrl-C.
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

/// COPY: the two runtimes. Tokio's has a thread of its own to be driven by: one suffices for what merely waits
/// for the network.
fn run(options: Options) -> Result<(), Error> {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("tokio")
        .enable_all()
        .build()?;
    let compio = compio::runtime::Runtime::new()?;
    compio.block_on(async {
        // From here on `spawn_local` on this thread is the handle's. On a `CompioPool` there is no need to.
        let _attached = CompioHandle::attach()?;
        let stop = asked_to_end(tokio.handle())?;
        match options.serve {
            Some(serve) => {
                let fetcher = Fetcher::new(serve.upstream, tokio.handle().clone())?;
                let gateway = Gateway::bind(serve.listen, fetcher, serve.way).await?;
                println!("listening on {}", gateway.addr());
                let finished = gateway.serve(stop, GRACE).await;
                println!(
                    "{}",
                    if finished {
                        "drained"
                    } else {
                        "cut off what took too long"
                    }
                );
                Ok(())
            }
            None => {
                let mut out = io::stdout();
                tokio::select! {
                    done = demo::run(tokio.handle(), options.rounds, &mut out) => Ok(done?),
                    () = stop => Err("interrupted".into()),
                }
            }
        }
    })
}

/// COPY: Ctrl-C or SIGTERM, from now on, awaited on any runtime: what Tokio's signals need its context for is
/// to be registered.
fn asked_to_end(tokio: &Handle) -> io::Result<impl Future<Output = ()> + use<>> {
    let (mut interrupt, mut terminate) = context::with(tokio, || {
        let interrupt = unix::signal(unix::SignalKind::interrupt())?;
        let terminate = unix::signal(unix::SignalKind::terminate())?;
        io::Result::Ok((interrupt, terminate))
    })?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

struct Options {
    serve: Option<Serve>,
    rounds: usize,
}

struct Serve {
    listen: SocketAddr,
    upstream: Url,
    way: Way,
}

impl Options {
    /// `None` for `--help`.
    fn parse(mut args: lexopt::Parser) -> Result<Option<Self>, lexopt::Error> {
        use lexopt::{Arg, ValueExt};

        let (mut listen, mut upstream, mut way, mut rounds) = (None, None, None, 15);
        while let Some(arg) = args.next()? {
            match arg {
                Arg::Long("listen") => listen = Some(args.value()?.parse()?),
                Arg::Long("upstream") => upstream = Some(args.value()?.parse()?),
                Arg::Long("way") => {
                    let name = args.value()?.string()?;
                    let known = Way::ALL.into_iter().find(|way| way.name() == name);
                    way = Some(known.ok_or_else(|| format!("there is no way {name:?}"))?);
                }
                Arg::Long("rounds") => {
                    rounds = args.value()?.parse_with(|text| match text.parse() {
                        Ok(rounds @ 1..=1000) => Ok(rounds),
                        _ => Err("from 1 to 1000"),
                    })?;
                }
                Arg::Long("help") | Arg::Short('h') => return Ok(None),
                _ => return Err(arg.unexpected()),
            }
        }
        let serve = match (listen, upstream) {
            (Some(listen), Some(upstream)) => Some(Serve {
                listen,
                upstream,
                way: way.unwrap_or(Way::Run),
            }),
            (None, None) if way.is_none() => None,
            _ => return Err("--listen and --upstream belong together, --way to them".into()),
        };
        Ok(Some(Self { serve, rounds }))
    }
}
