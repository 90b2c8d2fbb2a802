//! hyper on Compio: HTTP/1 and HTTP/2 over TLS, a thread for each core that accepts for itself.
//!
//! ```text
//! cargo run --release --example hyper_on_compio                       # shows and checks itself, and ends
//! cargo run --release --example hyper_on_compio -- --listen 127.0.0.1:8443 --cert cert.pem --key key.pem
//! curl --cacert cert.pem https://localhost:8443/hello
//! ```
//!
//! hyper brings no runtime along: it wants streams with `hyper::rt`'s traits, an executor for the streams of
//! HTTP/2, and a timer. rustls wants streams with Tokio's traits. `landbridge` gives Compio's sockets both, so a
//! connection is accepted, decrypted, read and answered on one thread, and nothing of it need be `Send`. What
//! a migrating code base copies is marked `COPY`:
//!
//! | file | shows | copy |
//! |---|---|---|
//! | `server.rs` | an accept loop for each worker, TLS, both protocols, a graceful end | the file |
//! | `listen.rs` | sockets that share an address | the file |
//! | `tls.rs` | certificate and key from PEM files, ALPN | the file |
//! | `app.rs` | a service | the shape of `answer` |
//! | `on_tokio.rs` | what it replaces: the same on Tokio | nothing |
//! | `demo.rs` | the load, the checks and the figures | nothing |
//!
//! | Tokio | Compio |
//! |---|---|
//! | `TokioIo::new(tls.accept(socket))` | `TokioIo::new(tls.accept(socket.into_tokio_io()))` |
//! | `TokioExecutor`, `TokioTimer` | `LocalExecutor`, `CompioTimer` |
//! | `tokio::spawn(connection)` | `rt::spawn_local(connection)` |
//! | one listener, any thread | `SO_REUSEPORT`, a listener for each worker |
//!
//! Measured by the demonstration, on a virtual machine of 2 processors (Linux 6.18), not quite quiet; 2 threads each, 8
//! clients on a third, over TLS; the range of the medians of three runs of 5 rounds in turns. The CPU time is that
//! of the server's threads; the clients share its processors, so the requests/s say less.
//!
//! | | requests/s, Compio / Tokio | us of CPU, Tokio | us of CPU, Compio |
//! |---|---|---|---|
//! | HTTP/1.1, one request at a time on each connection | 0.90 to 0.99 | 11.4 to 12.1 | 14.2 to 15.1 |
//! | HTTP/2, 8 at a time | 1.03 to 1.20 | 9.5 to 10.9 | 5.3 to 6.4 |
//!
//! HTTP/2 gains: a connection and its streams are tasks of one thread, where on Tokio they move between two. HTTP/1
//! with one request at a time pays, though it makes no more system calls (for a request one to read, one to write,
//! a third of one to wait). Most of it is the second thread: of 8 clients each worker has four, and wakes for one or
//! two of them where Tokio serves more in one turn of one thread. With `--workers 1` on both sides the requests/s are
//! at 1.03 and 1.14, and the CPU at 12.7 beside 11.3 and 11.9 beside 11.2: what is left is a wait of two calls, one
//! of the ring and one that fetches what the sockets have to tell.

#[cfg(not(unix))]
compile_error!("`SO_REUSEPORT` is for Unix; `--exclude hyper_on_compio` builds the rest");

mod app;
mod demo;
mod listen;
mod on_tokio;
mod server;
#[cfg(test)]
mod tests;
mod tls;

use std::{
    future::Future, io, net::SocketAddr, num::NonZero, path::PathBuf, process::ExitCode, thread,
    time::Duration,
};

use tokio::signal::unix;

use app::App;
use demo::Plan;
use server::{Config, Server};

const HELP: &str = "\
An HTTP server, hyper on Compio, with TLS. Without --listen it makes a certificate, starts itself and the same
server on Tokio, asks both by reqwest, checks every answer, prints the figures and ends.

  --listen ADDR    serve on ADDR (host:port) until Ctrl-C, then answer what was asked before
  --cert PATH      the certificates, PEM (with --listen; without: no TLS)
  --key PATH       the private key, PEM
  --workers N      threads that serve (default: one for each CPU)
  --rounds N       how often the demonstration measures (default: 5)
  --requests N     requests of each of its clients in a round (default: 1000)
  --help           this text
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

/// Tokio is here for the signals, and for the demonstration's clients. The server has no use for it.
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
        let tls = match &serve.tls {
            Some((certificates, key)) => Some(tls::from_files(certificates, key)?),
            None => None,
        };
        let config = Config {
            listen: serve.listen,
            workers: options.plan.workers,
            tls,
            grace: GRACE,
        };
        let server = Server::start(config, App::default())?;
        println!("listening on {}", server.addr());
        asked.await;
        let finished = server.drain().await;
        println!(
            "{}",
            if finished {
                "drained"
            } else {
                "cut off what took too long"
            }
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
    tls: Option<(PathBuf, PathBuf)>,
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
        };
        while let Some(arg) = args.next()? {
            match arg {
                Arg::Long("listen") => listen = Some(args.value()?.parse()?),
                Arg::Long("cert") => cert = Some(PathBuf::from(args.value()?)),
                Arg::Long("key") => key = Some(PathBuf::from(args.value()?)),
                Arg::Long("workers") => plan.workers = number(&mut args)?,
                Arg::Long("rounds") => plan.rounds = number(&mut args)?,
                Arg::Long("requests") => plan.requests = number(&mut args)?,
                Arg::Long("help") | Arg::Short('h') => return Ok(None),
                _ => return Err(arg.unexpected()),
            }
        }
        let tls = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => return Err("--cert and --key belong together".into()),
        };
        let serve = match listen {
            Some(listen) => Some(Serve { listen, tls }),
            None if tls.is_some() => return Err("--cert and --key are for --listen".into()),
            None => None,
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
