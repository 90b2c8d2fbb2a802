//! The demonstration: an HTTP server, the gateway in each of its ways, and clients that check what they get.
//!
//! Nothing in here is for copying.

use std::{
    io::{self, Write},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use axum::{Router, extract::Path, http::StatusCode, routing::get};
use examples_support::{Cost, Stopwatch, median, micros};
use futures::future::try_join_all;
use landbridge::{
    JoinError, TokioHandleExt, context,
    context::InTokioExt,
    handoff,
    rt::{LocalJoinHandle, spawn_local},
};
use reqwest::Url;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::Notify,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    fetch::{FetchError, Fetcher},
    gateway::{Ending, Gateway, GatewayError, Way},
};

/// Requests of a round, one after the other.
const REQUESTS: u32 = 200;
/// Clients of a round that ask at the same time, each so much.
const CLIENTS: u32 = 16;
const EACH: u32 = 25;
/// Crossings of a round with nothing to do on the other side.
const EMPTY: u32 = 500;
const HANDED: u32 = 50;
const GRACE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error("{0}")]
    Mismatch(String),
    #[error("{0}")]
    Gateway(#[from] GatewayError),
    #[error("{0}")]
    Fetch(#[from] FetchError),
    #[error("the HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("a task failed: {0}")]
    Task(#[from] JoinError),
}

pub(crate) type Result<T, E = DemoError> = std::result::Result<T, E>;

/// Runs everything, from a Compio runtime; the last line that it writes is `ok: ...`.
pub(crate) async fn run(tokio: &Handle, rounds: usize, out: &mut impl Write) -> Result<()> {
    let upstream = Upstream::start(tokio).await?;
    let served = Served::all(&upstream, tokio).await?;

    writeln!(out, "errors, and an end with a request under way")?;
    for way in Way::ALL {
        errors_come_back(&upstream, tokio, way).await?;
        what_was_asked_is_answered(&upstream, tokio, way).await?;
    }
    a_runtime_that_is_gone_is_an_error(&upstream).await?;

    writeln!(out, "{rounds} rounds in turns")?;
    let mut crossings = [const { Vec::new() }; 3];
    let mut one = [const { Vec::new() }; 4];
    let mut many = [const { Vec::new() }; 4];
    let mut checked = 0;
    for _ in 0..rounds {
        crossings[0].push(empty_by_run(tokio).await?);
        crossings[1].push(empty_in_tokio(tokio).await);
        crossings[2].push(hand_over_and_back(tokio).await?);
        for (n, gateway) in served.iter().enumerate() {
            one[n].push(one_at_a_time(tokio, gateway.addr).await?);
            many[n].push(many_at_a_time(tokio, gateway.addr).await?);
            checked += REQUESTS + CLIENTS * EACH;
        }
    }
    print_crossings(out, &crossings)?;
    print_requests(out, &served, &one, &many)?;
    for gateway in served {
        gateway.end().await?;
    }
    writeln!(
        out,
        "ok: {checked} answers verified, each way ended as it should"
    )?;
    Ok(())
}

// ---------------------------------------------------------------------------------------------------
// The HTTP server.

/// An object's bytes, which only its number tells.
fn content(n: u32) -> Vec<u8> {
    (0..n % 5000).map(|i| (i * 31 + n) as u8).collect()
}

struct Upstream {
    url: Url,
    /// A request for `/slow` has come.
    asked: Arc<Notify>,
    /// It may be answered.
    go_on: Arc<Notify>,
    _stop: DropGuard,
}

impl Upstream {
    async fn start(tokio: &Handle) -> Result<Self> {
        let (asked, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (has_asked, may_go_on) = (Arc::clone(&asked), Arc::clone(&go_on));
        let routes = Router::new()
            .route("/{n}", get(async |Path(n): Path<u32>| content(n)))
            .route(
                "/slow",
                get(async move || {
                    has_asked.notify_one();
                    may_go_on.notified().await;
                    content(77)
                }),
            )
            .route("/broken", get(async || StatusCode::INTERNAL_SERVER_ERROR));
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let listener = tokio.run(TcpListener::bind("127.0.0.1:0")).await??;
        let url = format!("http://{}/", listener.local_addr()?);
        tokio.spawn(async move {
            let server = axum::serve(listener, routes).into_future();
            stopped.run_until_cancelled(server).await
        });
        Ok(Self {
            url: url.parse().map_err(|_| mismatch("not an address"))?,
            asked,
            go_on,
            _stop: stop.drop_guard(),
        })
    }
}

// ---------------------------------------------------------------------------------------------------
// The gateways.

/// One that serves.
struct Served {
    name: &'static str,
    addr: SocketAddr,
    stop: CancellationToken,
    serving: LocalJoinHandle<bool>,
}

impl Served {
    async fn start(server: &Url, tokio: &Handle, way: Way) -> Result<Self> {
        let fetcher = Fetcher::new(server.clone(), tokio.clone())?;
        let gateway = Gateway::bind(([127, 0, 0, 1], 0).into(), fetcher, way).await?;
        let stop = CancellationToken::new();
        Ok(Self {
            name: way.name(),
            addr: gateway.addr(),
            serving: spawn_local(gateway.serve(stop.clone().cancelled_owned(), GRACE)),
            stop,
        })
    }

    /// What is compared with: it is accepted on Tokio, and Compio has no part in it.
    async fn on_tokio(server: &Url, tokio: &Handle) -> Result<Self> {
        let fetcher = Fetcher::new(server.clone(), tokio.clone())?;
        let listener = tokio.run(TcpListener::bind("127.0.0.1:0")).await??;
        let addr = listener.local_addr()?;
        let (stop, ending) = (CancellationToken::new(), Ending::default());
        let stopped = stop.clone();
        let accepts = tokio.run(async move {
            let accept = async {
                while let Ok((socket, _)) = listener.accept().await {
                    _ = socket.set_nodelay(true);
                    tokio::spawn(ending.on_tokio(socket, fetcher.clone()));
                }
            };
            stopped.run_until_cancelled(accept).await;
            ending.end(GRACE).await
        });
        Ok(Self {
            name: "Tokio alone",
            addr,
            stop,
            serving: spawn_local(async move { accepts.await.unwrap_or(false) }),
        })
    }

    async fn all(upstream: &Upstream, tokio: &Handle) -> Result<Vec<Self>> {
        let mut served = vec![Self::on_tokio(&upstream.url, tokio).await?];
        for way in Way::ALL {
            served.push(Self::start(&upstream.url, tokio, way).await?);
        }
        Ok(served)
    }

    async fn end(self) -> Result<()> {
        self.stop.cancel();
        check(self.serving.await?, || {
            format!("{} did not drain", self.name)
        })
    }
}

// ---------------------------------------------------------------------------------------------------
// The clients, on Tokio.

struct Client(BufReader<TcpStream>);

impl Client {
    async fn connect(addr: SocketAddr) -> Result<Self> {
        let socket = TcpStream::connect(addr).await?;
        socket.set_nodelay(true)?;
        Ok(Self(BufReader::new(socket)))
    }

    async fn ask(&mut self, path: &str) -> Result<()> {
        Ok(self.0.write_all(format!("{path}\n").as_bytes()).await?)
    }

    /// The object, or the gateway's words; nothing at the end.
    async fn answer(&mut self) -> Result<Option<Result<Vec<u8>, String>>> {
        let mut line = String::new();
        if self.0.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        if let Some(why) = line.strip_prefix("error ") {
            return Ok(Some(Err(why.to_owned())));
        }
        let length = line.strip_prefix("ok ").and_then(|text| text.parse().ok());
        let mut body = vec![0; length.ok_or_else(|| mismatch(line))?];
        self.0.read_exact(&mut body).await?;
        Ok(Some(Ok(body)))
    }

    async fn expect(&mut self, n: u32) -> Result<()> {
        let answer = self.answer().await?;
        check(answer == Some(Ok(content(n))), || {
            format!("/{n} is not what it should be")
        })
    }

    async fn get(&mut self, n: u32) -> Result<()> {
        self.ask(&format!("/{n}")).await?;
        self.expect(n).await
    }

    async fn refused(&mut self, path: &str, why: &str) -> Result<()> {
        self.ask(path).await?;
        match self.answer().await? {
            Some(Err(said)) if said.contains(why) => Ok(()),
            other => Err(mismatch(format!("{path}: {other:?}, not {why:?}"))),
        }
    }
}

async fn one_at_a_time(tokio: &Handle, addr: SocketAddr) -> Result<Cost> {
    tokio
        .run(async move {
            let mut client = Client::connect(addr).await?;
            client.get(0).await?;
            let watch = Stopwatch::start();
            for n in 0..REQUESTS {
                client.get(n).await?;
            }
            Ok(watch.stop().each(REQUESTS))
        })
        .await?
}

async fn many_at_a_time(tokio: &Handle, addr: SocketAddr) -> Result<Cost> {
    tokio
        .run(async move {
            let watch = Stopwatch::start();
            let clients = (0..CLIENTS).map(async |c| {
                let mut client = Client::connect(addr).await?;
                for n in 0..EACH {
                    client.get(c * EACH + n).await?;
                }
                Ok::<_, DemoError>(())
            });
            try_join_all(clients).await?;
            Ok(watch.stop().each(CLIENTS * EACH))
        })
        .await?
}

// ---------------------------------------------------------------------------------------------------
// What a crossing costs when there is nothing to do on the other side.

async fn empty_by_run(tokio: &Handle) -> Result<Cost> {
    let watch = Stopwatch::start();
    for n in 0..EMPTY {
        let back = tokio.run(async move { n }).await?;
        check(back == n, || "another future's result".to_owned())?;
    }
    Ok(watch.stop().each(EMPTY))
}

async fn empty_in_tokio(tokio: &Handle) -> Cost {
    let watch = Stopwatch::start();
    for n in 0..EMPTY {
        std::hint::black_box(async move { n }.in_tokio(tokio).await);
    }
    watch.stop().each(EMPTY)
}

/// To Tokio and to Compio again, so that there is a socket for the next time: half of it is one hand-off.
async fn hand_over_and_back(tokio: &Handle) -> Result<Cost> {
    let listener = compio::net::TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    let (near, far) = tokio::join!(compio::net::TcpStream::connect(addr), listener.accept());
    let (mut near, _far) = (near?, far?);
    let watch = Stopwatch::start();
    for _ in 0..HANDED {
        let there =
            context::with(tokio, || handoff::tcp_to_tokio(near)).map_err(io::Error::from)?;
        let back = context::with(tokio, || handoff::tcp_to_compio(there));
        near = back.map_err(io::Error::from)?;
    }
    Ok(watch.stop().each(2 * HANDED))
}

// ---------------------------------------------------------------------------------------------------
// What is checked once.

async fn errors_come_back(upstream: &Upstream, tokio: &Handle, way: Way) -> Result<()> {
    let served = Served::start(&upstream.url, tokio, way).await?;
    let addr = served.addr;
    tokio
        .run(async move {
            let mut client = Client::connect(addr).await?;
            client.refused("/none/such", "404").await?;
            client.refused("/broken", "500").await?;
            client.refused("//elsewhere/1", "not a path").await?;
            client.refused("1", "not a path").await?;
            // None of that was the connection's end.
            client.get(4999).await
        })
        .await??;
    served.end().await?;

    // Nobody listens there any more.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let nobody = format!("http://{nobody}/")
        .parse()
        .map_err(|_| mismatch("an address"))?;
    let served = Served::start(&nobody, tokio, way).await?;
    let addr = served.addr;
    tokio
        .run(async move { Client::connect(addr).await?.refused("/1", "refused").await })
        .await??;
    served.end().await
}

async fn what_was_asked_is_answered(upstream: &Upstream, tokio: &Handle, way: Way) -> Result<()> {
    let served = Served::start(&upstream.url, tokio, way).await?;
    let addr = served.addr;
    let client = tokio.spawn_across(async move {
        let mut client = Client::connect(addr).await?;
        client.ask("/slow").await?;
        client.expect(77).await?;
        // Then the gateway closes, in order.
        client.ask("/1").await?;
        let end = client.answer().await?;
        check(end.is_none(), || format!("{end:?} after the end"))
    });
    upstream.asked.notified().await;
    served.stop.cancel();
    let refused = async || {
        // The listener goes once the loop has turned.
        while compio::net::TcpStream::connect(addr).await.is_ok() {
            compio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    refused().await;
    check(!served.serving.is_finished(), || {
        "it did not wait".to_owned()
    })?;
    upstream.go_on.notify_one();
    client.await??;
    served.end().await
}

/// The other runtime is another's: `run` says that it is gone.
async fn a_runtime_that_is_gone_is_an_error(upstream: &Upstream) -> Result<()> {
    let other = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let fetcher = Fetcher::new(upstream.url.clone(), other.handle().clone())?;
    check(fetcher.by_run("/9").await? == content(9), || {
        "/9".to_owned()
    })?;
    other.shutdown_background();
    match fetcher.by_run("/9").await {
        Err(FetchError::Crossing(JoinError::RuntimeGone)) => Ok(()),
        result => Err(mismatch(format!("{result:?} of a runtime that is gone"))),
    }
}

fn mismatch(what: impl Into<String>) -> DemoError {
    DemoError::Mismatch(what.into())
}

fn check(holds: bool, what: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(mismatch(what())) }
}

// ---------------------------------------------------------------------------------------------------
// The figures.

fn print_crossings(out: &mut impl Write, rounds: &[Vec<Cost>; 3]) -> io::Result<()> {
    writeln!(out, "\ncrossing alone                    us   us of CPU")?;
    let names = [
        "run(async {})",
        "async {}.in_tokio()",
        "hand-off of a socket, once",
    ];
    for (name, costs) in names.iter().zip(rounds) {
        let cost = median(costs);
        writeln!(
            out,
            "{name:26} {:>9.2}   {:>9.2}",
            micros(cost.wall),
            micros(cost.cpu)
        )?;
    }
    Ok(())
}

fn print_requests(
    out: &mut impl Write,
    served: &[Served],
    one: &[Vec<Cost>; 4],
    many: &[Vec<Cost>; 4],
) -> io::Result<()> {
    writeln!(
        out,
        "\n              one request at a time         {CLIENTS} clients"
    )?;
    writeln!(
        out,
        "request       us   us of CPU  than Tokio   requests/s   us of CPU  than Tokio"
    )?;
    let beside = |cost: Cost, alone: &[Cost]| {
        let alone = median(alone).cpu.as_secs_f64();
        (cost.cpu.as_secs_f64() / alone - 1.0) * 100.0
    };
    for (n, served) in served.iter().enumerate() {
        let (single, at_once) = (median(&one[n]), median(&many[n]));
        writeln!(
            out,
            "{:11} {:>6.0}   {:>6.0}   {:>+8.0} %   {:>10.0}   {:>6.0}   {:>+8.0} %",
            served.name,
            micros(single.wall),
            micros(single.cpu),
            beside(single, &one[0]),
            1.0 / at_once.wall.as_secs_f64(),
            micros(at_once.cpu),
            beside(at_once, &many[0]),
        )?;
    }
    writeln!(out)
}
