//! Static files over HTTP from Compio: ranges, validators, a limiter of Tokio's, and nothing outside of the root.
//!
//! ```text
//! cargo run --release --example file_server                       # shows and checks itself, and ends
//! cargo run --release --example file_server -- --listen 127.0.0.1:8080 --root ./public
//! ```
//!
//! For whoever has `tower-http`'s `ServeDir` or an nginx beside the program, and wants the files from the same
//! threads as the rest of a Compio program. What a migrating code base copies is marked `COPY`:
//!
//! | file | shows | copy |
//! |---|---|---|
//! | `path.rs` | names that are decoded once, `openat2` beneath the root, the page cache before the blocking threads | the file |
//! | `files.rs` | answers: streams, ranges, `ETag`, `If-Range`; a place at Tokio's `Semaphore` for each | the file |
//! | `stall.rs` | clients that do not take their answers | the file |
//! | `server.rs`, `listen.rs` | hyper on Compio, an accept loop for each worker, a graceful end | the files |
//! | `range.rs` | `Range: bytes=` | the file |
//! | `demo.rs` | the clients, the checks and the figures | nothing |
//!
//! | Tokio | Compio |
//! |---|---|
//! | `ReaderStream::new(tokio::fs::File)` | `landbridge::fs::File::read_stream` |
//! | `tokio::task::spawn_blocking(open)` | `RESOLVE_CACHED` here and now, else `CompioPool::run_blocking` |
//! | `tokio::sync::Semaphore` | the same, as it is |
//! | `tokio::time::timeout` | `landbridge::time::timeout` |
//!
//! Limits: HTTP/1 without TLS (`hyper_on_compio` has both); one range at a time; no listing of directories; files whose
//! names begin with a dot are not there, but for `.well-known`; symbolic links have to be relative, and stay beneath the
//! root.
//!
//! Measured by the demonstration, on a virtual machine of 2 processors (Linux 6.18, ext4), not quiet; 2 workers, 16
//! clients on a third thread that share the processors with them; files that are in the page cache:
//!
//! | | us of CPU of the server's threads, each | |
//! |---|---|---|
//! | a file of 20 bytes | 19 to 20 | up to 40 000 files/s |
//! | a file of 24 MiB | 6 700 to 6 900 | 1.1 to 1.2 GiB/s |

#[cfg(not(unix))]
compile_error!("`landbridge::fs` is for Unix; `--exclude file_server` builds the rest");

mod demo;
mod files;
mod listen;
mod path;
mod range;
mod server;
mod stall;
#[cfg(test)]
mod tests;

use std::{
    future::Future, io, net::SocketAddr, num::NonZero, path::PathBuf, process::ExitCode, thread,
};

use tokio::signal::unix;

use demo::Plan;
use server::{Config, Server};

const HELP: &str = "\
Static files over HTTP, from Compio. Without --listen it makes a directory, serves it, asks for what is there and
for what is not, checks every answer, prints figures and ends.

  --listen ADDR    serve on ADDR (host:port) until Ctrl-C, then answer what was asked before
  --root DIR       what to serve (with --listen)
  --workers N      threads that serve (default: one for each CPU)
  --places N       files that are sent at the same time (default: 64)
  --requests N     small files of the demonstration's measurement (default: 20000)
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

/// Tokio is here for the signals, and for the demonstration's clients. The server has no use for its runtime.
fn run(options: Options) -> Result<(), Error> {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("clients")
        .enable_all()
        .build()?;
    tokio.block_on(async {
        let asked = asked_to_end()?;
        let Some(config) = options.serve else {
            let mut out = io::stdout();
            return tokio::select! {
                done = demo::run(&options.plan, &mut out) => Ok(done?),
                () = asked => Err("interrupted".into()),
            };
        };
        let server = Server::start(config)?;
        println!("listening on {}", server.addr());
        asked.await;
        let how = if server.drain().await? {
            "drained"
        } else {
            "cut off what took too long"
        };
        println!("{how}");
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
    serve: Option<Config>,
    plan: Plan,
}

impl Options {
    /// `None` for `--help`.
    fn parse(mut args: lexopt::Parser) -> Result<Option<Self>, lexopt::Error> {
        use lexopt::{Arg, ValueExt};

        let (mut listen, mut root, mut places) = (None::<SocketAddr>, None, None);
        let mut plan = Plan {
            workers: thread::available_parallelism().map_or(1, NonZero::get),
            requests: 20_000,
        };
        while let Some(arg) = args.next()? {
            match arg {
                Arg::Long("listen") => listen = Some(args.value()?.parse()?),
                Arg::Long("root") => root = Some(PathBuf::from(args.value()?)),
                Arg::Long("workers") => plan.workers = number(&mut args, 1024)?,
                Arg::Long("places") => places = Some(number(&mut args, 1_000_000)?),
                Arg::Long("requests") => plan.requests = number(&mut args, 100_000_000)?,
                Arg::Long("help") | Arg::Short('h') => return Ok(None),
                _ => return Err(arg.unexpected()),
            }
        }
        let serve = match (listen, root) {
            (Some(listen), Some(root)) => {
                let mut config = Config::new(listen, root, plan.workers);
                config.places = places.unwrap_or(config.places);
                Some(config)
            }
            (None, None) if places.is_none() => None,
            (None, None) => return Err("--places is for --listen".into()),
            _ => return Err("--listen and --root belong together".into()),
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
