//! An HTTP client on Compio that tries again: exponential backoff with jitter, a deadline, a circuit breaker.
//!
//! ```text
//! cargo run --release --example retrying_client                       # shows and checks itself, and ends
//! cargo run --release --example retrying_client -- --get http://127.0.0.1:8080/index.html
//! ```
//!
//! For whoever has `reqwest` with `reqwest-middleware`, or `tower`'s layers, around a client on Tokio, and wants the
//! same from a Compio thread. What a migrating code base copies is marked `COPY`:
//!
//! | file | shows | copy |
//! |---|---|---|
//! | `client.rs` | attempts, pauses, the deadline, the breaker; hyper's client on Compio, connections that are kept | the file |
//! | `error.rs` | temporary or permanent; what may be asked twice | the file |
//! | `main.rs` | a client on a worker of a pool, cancelled by Ctrl-C | `fetch` |
//! | `demo.rs` | a server that fails on schedule, the checks and the figures | nothing |
//!
//! | Tokio | Compio |
//! |---|---|
//! | `backon`, which sleeps by `tokio::time` | `backon` with `.sleep(landbridge::time::sleep)` |
//! | `tokio::time::timeout` | `landbridge::time::timeout`, `timeout_at` |
//! | `TokioIo::new(socket)` | `TokioIo::new(socket.into_tokio_io())` |
//! | `tokio::spawn(connection)` | `rt::spawn_local(connection)` |
//!
//! Limits: one server, HTTP/1 without TLS (`hyper_on_compio` has TLS). The breaker is a client's own: threads that are
//! to share what they have learned clone its `StateMachine`. When a breaker tries again, it lets all calls through
//! until the first one fails.
//!
//! Measured by the demonstration, on a virtual machine of 2 processors (Linux 6.18), not quite quiet: 2000 calls, 16 at
//! once, of which every third meets a 503, a reset, half an answer or a connection that is closed, are all answered
//! with 1.25 attempts and 0.34 connections for each.

#[cfg(not(unix))]
compile_error!("its signals are Unix's; `--exclude retrying_client` builds the rest");

mod client;
mod demo;
mod error;
#[cfg(test)]
mod tests;

use std::{
    future::Future,
    io,
    net::{SocketAddr, ToSocketAddrs},
    process::ExitCode,
    time::Duration,
};

use bytes::Bytes;
use hyper::{Method, Uri};
use landbridge::CompioPool;
use tokio::signal::unix;

use client::{Client, Policy};

const HELP: &str = "\
An HTTP client that tries again, on Compio. Without --get it starts a server that fails on schedule, calls it, checks
what comes of it, prints figures and ends.

  --get URL         fetch http://HOST[:PORT]/PATH, and print it
  --attempts N      at most (default: 6)
  --deadline MS     of all attempts together (default: 10000)
  --calls N         of the demonstration's load (default: 2000)
  --help            this text
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

/// Tokio is here for the signals, and for the demonstration's server. The client has no use for it.
fn run(options: Options) -> Result<(), Error> {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let pool = CompioPool::builder()
        .threads(1)
        .thread_name("client")
        .build()?;
    tokio.block_on(async {
        let asked = asked_to_end()?;
        let work = async {
            match options.get {
                Some(get) => fetch(&pool, get, options.policy).await,
                None => Ok(demo::run(&pool, options.calls, &mut io::stdout()).await?),
            }
        };
        let done = tokio::select! {
            done = work => done,
            // Dropping a call is its end; the server sees that its connection is closed.
            () = asked => Err("interrupted".into()),
        };
        pool.shutdown().await;
        done
    })
}

/// COPY: the closure crosses over to the client's thread, and the answer comes back; the client itself never moves.
async fn fetch(pool: &CompioPool, get: Get, policy: Policy) -> Result<(), Error> {
    let body = pool.run(async move || {
        let client = Client::new(get.server, get.host, policy);
        client.call(Method::GET, &get.path, Bytes::new()).await
    });
    let body = body.await??;
    io::Write::write_all(&mut io::stdout(), &body)?;
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
    get: Option<Get>,
    policy: Policy,
    calls: usize,
}

#[derive(Debug)]
struct Get {
    server: SocketAddr,
    host: String,
    path: String,
}

impl Get {
    /// Looks the host up, before anything runs that must not wait.
    fn parse(url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
        let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(format!("{url} is not http://HOST[:PORT]/PATH"));
        };
        // An IPv6 address has brackets here, and none there.
        let host = authority.host().trim_matches(['[', ']']);
        let found = (host, authority.port_u16().unwrap_or(80)).to_socket_addrs();
        let server = found.map_err(|error| format!("{host}: {error}"))?.next();
        Ok(Self {
            server: server.ok_or_else(|| format!("{host} has no address"))?,
            host: authority.to_string(),
            path: uri
                .path_and_query()
                .map_or("/", |path| path.as_str())
                .to_owned(),
        })
    }
}

impl Options {
    /// `None` for `--help`.
    fn parse(mut args: lexopt::Parser) -> Result<Option<Self>, lexopt::Error> {
        use lexopt::{Arg, ValueExt};

        let mut options = Self {
            get: None,
            policy: Policy::default(),
            calls: 2000,
        };
        while let Some(arg) = args.next()? {
            match arg {
                Arg::Long("get") => options.get = Some(Get::parse(&args.value()?.string()?)?),
                Arg::Long("attempts") => options.policy.attempts = number(&mut args, 1000)?,
                Arg::Long("deadline") => {
                    let millis = number(&mut args, 86_400_000)?;
                    options.policy.deadline = Duration::from_millis(millis as u64);
                }
                Arg::Long("calls") => options.calls = number(&mut args, 10_000_000)?,
                Arg::Long("help") | Arg::Short('h') => return Ok(None),
                _ => return Err(arg.unexpected()),
            }
        }
        Ok(Some(options))
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
