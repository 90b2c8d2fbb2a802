//! The certificate, the clients, the checks and the figures. Nothing in here is for copying.

use std::{
    io::{self, Write},
    net::SocketAddr,
    time::Duration,
};

use examples_support::{Cost, Stopwatch, cpu_of_threads, median, micros};
use futures::future::try_join_all;
use reqwest::{Certificate, Client, ClientBuilder, StatusCode, Version};
use tokio_rustls::{TlsAcceptor, rustls::pki_types::PrivatePkcs8KeyDer};

use crate::{
    app::App,
    on_tokio::OnTokio,
    server::{Config, Server, StartError, WorkerError},
    tls::{self, TlsError},
};

/// Connections of a round.
const CLIENTS: usize = 8;
/// Requests at the same time on each of them, with HTTP/2.
const STREAMS: usize = 8;
const GRACE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error("{0}")]
    Mismatch(String),
    #[error("{0}")]
    Start(#[from] StartError),
    #[error("{0}")]
    Worker(#[from] WorkerError),
    #[error("{0}")]
    Tls(#[from] TlsError),
    #[error("the certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("a client: {0:?}")]
    Client(#[from] reqwest::Error),
    #[error("a task: {0}")]
    Task(#[from] tokio::task::JoinError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

pub(crate) type Result<T, E = DemoError> = std::result::Result<T, E>;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Threads that serve.
    pub(crate) workers: usize,
    pub(crate) rounds: usize,
    /// Of each client in each round.
    pub(crate) requests: usize,
}

/// A certificate for `localhost` that only its own clients believe.
pub(crate) struct Identity {
    pub(crate) acceptor: TlsAcceptor,
    #[cfg(test)]
    pub(crate) pem: (String, String),
    certificate: Certificate,
}

impl Identity {
    pub(crate) fn new() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let chain = made.cert.der().clone();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        Ok(Self {
            certificate: Certificate::from_der(&chain)?,
            #[cfg(test)]
            pem: (made.cert.pem(), made.signing_key.serialize_pem()),
            acceptor: tls::acceptor(vec![chain], key.into())?,
        })
    }

    /// What a client of the server at `addr` begins with.
    pub(crate) fn client(&self, addr: SocketAddr) -> ClientBuilder {
        plain_client(addr).add_root_certificate(self.certificate.clone())
    }
}

fn plain_client(addr: SocketAddr) -> ClientBuilder {
    Client::builder()
        .use_rustls_tls()
        .tls_built_in_root_certs(false)
        .no_proxy()
        .resolve("localhost", addr)
        .timeout(Duration::from_secs(30))
}

pub(crate) fn config(workers: usize, identity: &Identity) -> Config {
    Config {
        listen: ([127, 0, 0, 1], 0).into(),
        workers,
        tls: Some(identity.acceptor.clone()),
        grace: GRACE,
    }
}

/// Runs everything, on Tokio; the last line that it writes is `ok: ...`.
pub(crate) async fn run(plan: &Plan, out: &mut impl Write) -> Result<()> {
    let Plan {
        workers,
        rounds,
        requests,
    } = *plan;
    let identity = Identity::new()?;

    writeln!(out, "both protocols, wrong requests, wrong clients")?;
    both_protocols_are_answered(workers, &identity).await?;
    writeln!(out, "an end with requests under way")?;
    what_was_asked_is_answered(workers, &identity, Version::HTTP_11).await?;
    what_was_asked_is_answered(workers, &identity, Version::HTTP_2).await?;

    writeln!(
        out,
        "{rounds} rounds in turns, {workers} threads each, {CLIENTS} clients"
    )?;
    let compio = Server::start(config(workers, &identity), App::default())?;
    let on_tokio = OnTokio::start(workers, identity.acceptor.clone(), App::default())?;
    let mut table = Table::default();
    for _ in 0..rounds {
        for (p, protocol) in PROTOCOLS.into_iter().enumerate() {
            for (s, (addr, threads)) in
                [(on_tokio.addr(), "on-tokio"), (compio.addr(), "on-compio")]
                    .into_iter()
                    .enumerate()
            {
                table.rows[p][s].push(load(&identity, addr, protocol, threads, requests).await?);
            }
        }
    }
    drop(on_tokio);
    table.print(out)?;
    let mut connections = Vec::new();
    for worker in compio.drain_each().await {
        let worker = worker?;
        check(worker.finished, "connections were cut off")?;
        connections.push(worker.connections);
    }
    writeln!(out, "connections of each worker: {connections:?}")?;
    if cfg!(target_os = "linux") && connections.iter().sum::<usize>() >= 40 * workers {
        check(!connections.contains(&0), "a worker has had none")?;
    }
    let requests = rounds * PROTOCOLS.len() * 2 * CLIENTS * requests;
    writeln!(
        out,
        "ok: {requests} answers verified, both ends were graceful"
    )?;
    Ok(())
}

// ---------------------------------------------------------------------------------------------------
// What is checked once.

async fn both_protocols_are_answered(workers: usize, identity: &Identity) -> Result<()> {
    let server = Server::start(config(workers, identity), App::default())?;
    let url = |path: &str| format!("https://localhost:{}{path}", server.addr().port());
    let both = identity.client(server.addr()).build()?;
    let old = identity.client(server.addr()).http1_only().build()?;
    for (client, version, name) in [
        (&both, Version::HTTP_2, "HTTP/2.0"),
        (&old, Version::HTTP_11, "HTTP/1.1"),
    ] {
        let answer = client.get(url("/version")).send().await?;
        check(answer.version() == version, "another version was agreed on")?;
        check(
            answer.text().await? == name,
            "the server sees another version",
        )?;

        let body: Vec<u8> = (0..3 << 20)
            .map(|i: u32| (i * 7 + (i >> 8)) as u8)
            .collect();
        let echo = client.post(url("/echo")).body(body.clone()).send().await?;
        check(echo.bytes().await? == body, "the echo is another")?;
        let length = client
            .post(url("/length"))
            .body(body[..100_000].to_vec())
            .send()
            .await?;
        check(length.text().await? == "100000", "not the length")?;

        for (request, status) in [
            (client.get(url("/none")), StatusCode::NOT_FOUND),
            (client.delete(url("/hello")), StatusCode::METHOD_NOT_ALLOWED),
            (client.get(url("/hello")), StatusCode::OK),
        ] {
            check(request.send().await?.status() == status, "another status")?;
        }
    }
    // Who does not believe it, and who speaks without TLS, disturbs nobody.
    let unbelieving = plain_client(server.addr()).build()?;
    check(
        unbelieving.get(url("/hello")).send().await.is_err(),
        "it was believed",
    )?;
    let plain = format!("http://localhost:{}/hello", server.addr().port());
    check(
        both.get(plain).send().await.is_err(),
        "it was answered without TLS",
    )?;
    check(
        both.get(url("/hello")).send().await?.text().await? == "hello\n",
        "no hello",
    )?;
    drop((both, old, unbelieving));
    check(server.drain().await, "it did not drain")
}

pub(crate) async fn what_was_asked_is_answered(
    workers: usize,
    identity: &Identity,
    version: Version,
) -> Result<()> {
    let app = App::default();
    let server = Server::start(config(workers, identity), app.clone())?;
    let addr = server.addr();
    let client = identity.client(addr);
    let client = match version {
        Version::HTTP_2 => client.build()?,
        _ => client.http1_only().build()?,
    };
    let url = |path: &str| format!("https://localhost:{}{path}", addr.port());
    let slow = tokio::spawn(client.get(url("/slow")).send());
    app.asked.notified().await;
    let draining = tokio::spawn(server.drain());
    // The listeners go, and the request does not.
    while tokio::net::TcpStream::connect(addr).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    check(!draining.is_finished(), "it did not wait")?;
    app.go_on.notify_one();
    let answer = slow.await??;
    check(answer.version() == version, "another version was agreed on")?;
    check(answer.text().await? == "at last\n", "another answer")?;
    check(draining.await?, "something was cut off")?;
    check(
        client.get(url("/hello")).send().await.is_err(),
        "it still serves",
    )
}

fn check(holds: bool, what: &str) -> Result<()> {
    if holds {
        Ok(())
    } else {
        Err(DemoError::Mismatch(what.to_owned()))
    }
}

// ---------------------------------------------------------------------------------------------------
// The load.

const PROTOCOLS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// What a request has cost; of the processor's time what the server's threads have had, where that is known.
async fn load(
    identity: &Identity,
    addr: SocketAddr,
    protocol: Version,
    threads: &str,
    each: usize,
) -> Result<Cost> {
    let url = format!("https://localhost:{}/hello", addr.port());
    let clients = (0..CLIENTS).map(|_| match protocol {
        Version::HTTP_2 => identity.client(addr).build(),
        _ => identity.client(addr).http1_only().build(),
    });
    let clients = clients.collect::<reqwest::Result<Vec<_>>>()?;
    // Handshakes are not what is compared.
    try_join_all(clients.iter().map(|client| get(client, &url, protocol))).await?;
    let before = cpu_of_threads(threads);
    let watch = Stopwatch::start();
    let streams = if protocol == Version::HTTP_2 {
        STREAMS
    } else {
        1
    };
    let all = clients.iter().flat_map(|client| {
        (0..streams).map(|stream| {
            let requests = each / streams + usize::from(stream < each % streams);
            let (client, url) = (client.clone(), url.clone());
            tokio::spawn(async move {
                for _ in 0..requests {
                    get(&client, &url, protocol).await?;
                }
                Ok::<_, DemoError>(())
            })
        })
    });
    for requests in try_join_all(all).await? {
        requests?;
    }
    let cost = watch.stop();
    let cpu = cpu_of_threads(threads).zip(before);
    let cost = Cost {
        cpu: cpu.map_or(cost.cpu, |(after, before)| after.saturating_sub(before)),
        ..cost
    };
    Ok(cost.each((CLIENTS * each) as u32))
}

async fn get(client: &Client, url: &str, protocol: Version) -> Result<()> {
    let answer = client.get(url).send().await?;
    check(
        answer.version() == protocol,
        "another version was agreed on",
    )?;
    check(answer.bytes().await? == "hello\n", "another answer")
}

#[derive(Default)]
struct Table {
    /// Protocol by server.
    rows: [[Vec<Cost>; 2]; 2],
}

impl Table {
    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let of = if cpu_of_threads("").is_some() {
            "of the server's threads"
        } else {
            "of the whole process"
        };
        writeln!(out, "\n                    requests/s   us of CPU, {of}")?;
        for (protocol, [tokio, compio]) in PROTOCOLS.iter().zip(&self.rows) {
            let (tokio, compio) = (median(tokio), median(compio));
            for (name, cost) in [("Tokio", tokio), ("Compio", compio)] {
                let rate = 1.0 / cost.wall.as_secs_f64();
                writeln!(
                    out,
                    "{protocol:?} on {name:6}  {rate:>10.0}   {:>9.1}",
                    micros(cost.cpu)
                )?;
            }
            let wall = tokio.wall.as_secs_f64() / compio.wall.as_secs_f64();
            let cpu = compio.cpu.as_secs_f64() / tokio.cpu.as_secs_f64();
            writeln!(out, "  Compio / Tokio    {wall:>10.2}   {cpu:>9.2}")?;
        }
        writeln!(out)
    }
}
