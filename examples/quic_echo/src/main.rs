//! QUIC on Compio: streams and datagrams, an endpoint for each core; the client is quinn on Tokio.

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
  --mib N          MiB that each of its clients sends in a round (default: 8)
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
            mib: 8,
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
