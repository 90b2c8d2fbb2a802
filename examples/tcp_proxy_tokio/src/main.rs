//! A TCP proxy on Tokio: weights, health checks, a limit, reload, an access log, a drain. This is "before":
//! `tcp_proxy_compio` is the same program with its data path moved to Compio, and `diff -r` of the two folders is
//! the migration. `docs/migrating.md` goes through it step by step.
//!
//! ```text
//! cargo run --release --example tcp_proxy_tokio                       # shows and checks itself, and ends
//! cargo run --release --example tcp_proxy_tokio -- --config proxy.toml
//! kill -HUP PID                                                       # reads the file again
//! ```
//!
//! What to copy is marked `COPY`:
//!
//! | file | shows | copy |
//! |---|---|---|
//! | `config.rs` | TOML with typed errors that name the line | the file |
//! | `balance.rs` | smooth weighted turns; a reload keeps what is known of a backend | the file |
//! | `count.rs`, `session.rs` | guards: counts and log lines that survive cancellation | the files |
//! | `health.rs` | who is up | the file |
//! | `log.rs` | batches by size or by age, whichever is first | the file |
//! | `relay.rs` | the data path: half-close carried through, a reset passed on as one | the file |
//! | `proxy.rs` | the control plane: accepting with a limit, reload, drain with a bound | the file |
//! | `demo.rs`, `tests.rs` | the checks, which `tcp_proxy_suite` has for both programs | nothing |
//!
//! What a request costs here, and there, is in the header of `tcp_proxy_compio`.

#[cfg(not(unix))]
compile_error!("SIGHUP and SIGTERM are for Unix; `--exclude tcp_proxy_tokio` builds the rest");

mod balance;
mod config;
mod count;
mod demo;
mod health;
mod log;
mod proxy;
mod relay;
mod session;
#[cfg(test)]
mod tests;

use std::{future::Future, io, num::NonZero, path::PathBuf, process::ExitCode, thread};

use tcp_proxy_suite::Plan;
use tokio::{runtime::Runtime, signal::unix};

use config::Config;
use proxy::Proxy;

const HELP: &str = "\
A TCP proxy. Without --config it starts backends and itself on loopback, checks what it promises, prints what a
request costs and ends.

  --config FILE    serve by this file until Ctrl-C or SIGTERM; SIGHUP reads it again
  --workers N      with --config: threads that move bytes (default: one for each CPU)
  --clients N      connections of the demonstration's load (default: 32)
  --requests N     requests on each of them (default: 2000)
  --help           this text
";

type Error = Box<dyn std::error::Error + Send + Sync>;

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

fn run(options: Options) -> Result<(), Error> {
    let tokio = runtime(options.workers)?;
    tokio.block_on(async {
        let asked = asked_to_end()?;
        let Some(file) = options.config else {
            let mut out = io::stdout();
            return tokio::select! {
                done = demo::run(options.plan, &mut out) => done,
                () = asked => Err("interrupted".into()),
            };
        };
        let proxy = Proxy::start(Config::read(&file)?).await?;
        println!("listening on {}", proxy.addr());
        let reloads = proxy.reload_on_hangup(&file)?;
        tokio::select! {
            () = asked => {}
            () = reloads => {}
        }
        match proxy.stop().await.cut_off {
            0 => println!("drained"),
            late => println!("cut off {late} that took too long"),
        }
        Ok(())
    })
}

/// Everything runs on these threads.
fn runtime(workers: usize) -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name("proxy")
        .enable_all()
        .build()
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
    config: Option<PathBuf>,
    workers: usize,
    plan: Plan,
}

impl Options {
    /// `None` for `--help`.
    fn parse(mut args: lexopt::Parser) -> Result<Option<Self>, lexopt::Error> {
        use lexopt::Arg;

        let mut options = Self {
            config: None,
            workers: cpus(),
            plan: Plan {
                clients: 32,
                requests: 2000,
            },
        };
        while let Some(arg) = args.next()? {
            match arg {
                Arg::Long("config") => options.config = Some(PathBuf::from(args.value()?)),
                Arg::Long("workers") => options.workers = number(&mut args)?,
                Arg::Long("clients") => options.plan.clients = number(&mut args)?,
                Arg::Long("requests") => options.plan.requests = number(&mut args)?,
                Arg::Long("help") | Arg::Short('h') => return Ok(None),
                _ => return Err(arg.unexpected()),
            }
        }
        if options.config.is_none() && options.workers != cpus() {
            return Err("--workers is for --config".into());
        }
        Ok(Some(options))
    }
}

fn cpus() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

fn number(args: &mut lexopt::Parser) -> Result<usize, lexopt::Error> {
    use lexopt::ValueExt;

    args.value()?.parse_with(|text| match text.parse() {
        Ok(number @ 1..=65_536) => Ok(number),
        _ => Err("a number from 1 to 65536"),
    })
}
