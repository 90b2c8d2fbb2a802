//! The certificate, the checks and the figures. Nothing in here is for copying.

use std::{
    io::{self, Write},
    net::SocketAddr,
    time::Duration,
};

use bytes::Bytes;
use examples_support::{Cost, Stopwatch, cpu_of_threads, median, micros};
use futures::{
    FutureExt,
    future::{join_all, try_join_all},
};
use landbridge::channel::mpsc;
use quinn::{
    ClosedStream, Connection, ConnectionError, ReadError, ReadExactError, SendDatagramError,
    TransportErrorCode, VarInt, WriteError,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::{task::spawn_blocking, time::timeout};

use crate::{
    client::{Client, ClientError},
    config::{self, ConfigError, Limits, code},
    connection::{Ended, GOODBYE},
    on_tokio::OnTokio,
    server::{Config, Server, StartError},
};

/// Connections of a round.
const CLIENTS: usize = 8;
/// What a round trip carries.
const SMALL: usize = 64;
const GRACE: Duration = Duration::from_secs(10);
/// Where a peer vanishes.
const IDLE: Duration = Duration::from_secs(1);
/// A datagram that is not there after so long is sent once more.
const LATE: Duration = Duration::from_millis(300);
/// What takes longer has come to a stop.
const TOO_LONG: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error("{0}")]
    Mismatch(String),
    #[error("it came to a stop: {0}")]
    Stuck(#[from] tokio::time::error::Elapsed),
    #[error("{0}")]
    Start(#[from] StartError),
    #[error("a worker: {0}")]
    Worker(#[from] landbridge::JoinError),
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("the certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("a client: {0}")]
    Client(#[from] ClientError),
    #[error("a connection: {0}")]
    Connection(#[from] ConnectionError),
    #[error("a client's stream: {0}")]
    Write(#[from] WriteError),
    #[error("a client's stream: {0}")]
    Read(#[from] ReadError),
    #[error("a client's stream: {0}")]
    ReadExact(#[from] ReadExactError),
    #[error("a client's stream: {0}")]
    Closed(#[from] ClosedStream),
    #[error("a client's datagram: {0}")]
    Datagram(#[from] SendDatagramError),
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
    /// Round trips of each client in each round.
    pub(crate) requests: usize,
    /// MiB of each client in each round.
    pub(crate) mib: usize,
}

/// A certificate for `localhost` that only its own clients believe.
pub(crate) struct Identity {
    pub(crate) chain: CertificateDer<'static>,
    key: Vec<u8>,
    #[cfg(test)]
    pub(crate) pem: (String, String),
}

impl Identity {
    pub(crate) fn new() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        Ok(Self {
            chain: made.cert.der().clone(),
            key: made.signing_key.serialize_der(),
            #[cfg(test)]
            pem: (made.cert.pem(), made.signing_key.serialize_pem()),
        })
    }

    pub(crate) fn config(&self, workers: usize, limits: Limits) -> Result<Config> {
        Ok(Config {
            listen: ([127, 0, 0, 1], 0).into(),
            workers,
            quic: self.quic(&limits)?,
            limits,
            grace: GRACE,
        })
    }

    fn quic(&self, limits: &Limits) -> Result<quinn::ServerConfig> {
        let key = PrivatePkcs8KeyDer::from(self.key.clone());
        Ok(config::server(
            vec![self.chain.clone()],
            key.into(),
            limits,
        )?)
    }

    pub(crate) fn client(&self, server: SocketAddr) -> Client {
        Client::new(server, self.chain.clone())
    }
}

/// Runs everything, on Tokio; the last line that it writes is `ok: ...`.
pub(crate) async fn run(plan: &Plan, out: &mut impl Write) -> Result<()> {
    let workers = plan.workers;
    let identity = Identity::new()?;
    writeln!(out, "streams: many, a large one, half closed; datagrams")?;
    let back = timeout(TOO_LONG, everything_comes_back(workers, &identity)).await??;
    writeln!(
        out,
        "  {} bytes verified, {} of {DATAGRAMS} datagrams at the first attempt",
        back.bytes, back.datagrams
    )?;
    writeln!(
        out,
        "limits: streams of a connection, bytes of a stream, connections"
    )?;
    timeout(TOO_LONG, limits_are_kept(&identity)).await??;
    writeln!(out, "refused: another protocol, certificate, name")?;
    timeout(TOO_LONG, strangers_are_refused(workers, &identity)).await??;
    writeln!(out, "a client vanishes")?;
    timeout(TOO_LONG, a_lost_client_leaves_nothing_behind(&identity)).await??;
    writeln!(out, "the server vanishes")?;
    let seen = timeout(TOO_LONG, a_lost_server_is_noticed(&identity)).await??;
    writeln!(out, "  its client was told: {seen}")?;
    writeln!(out, "an end with streams under way")?;
    timeout(TOO_LONG, what_is_under_way_finishes(workers, &identity)).await??;
    let round_trips = timeout(TOO_LONG, compare(plan, &identity, out)).await??;
    writeln!(
        out,
        "ok: {round_trips} round trips verified, peers were lost and found out, both ends were graceful"
    )?;
    Ok(())
}

// ---------------------------------------------------------------------------------------------------
// What is checked once.

/// How many are sent before the first answer is waited for.
const DATAGRAMS: usize = 32;

struct Back {
    bytes: usize,
    datagrams: usize,
}

async fn everything_comes_back(workers: usize, identity: &Identity) -> Result<Back> {
    let server = Server::start(identity.config(workers, Limits::default())?).await?;
    let (endpoint, connection) = identity.client(server.addr()).connect().await?;

    // Several at once, one of them large, none of the same length.
    let lengths = (0..16).map(|i| i * 10_007).chain([8 << 20]);
    let echoes = lengths.map(|len| echo(connection.clone(), pattern(len)));
    let mut bytes = try_join_all(echoes).await?.into_iter().sum();

    // A conversation: what was sent is answered before the end, and after it there is an answer still.
    let (mut send, mut recv) = connection.open_bi().await?;
    for line in ["who goes there\n", "a friend\n"] {
        send.write_all(line.as_bytes()).await?;
        let mut answer = vec![0; line.len()];
        recv.read_exact(&mut answer).await?;
        check(answer == line.as_bytes(), "the answer is another")?;
        bytes += line.len();
    }
    let rest = pattern(1 << 20);
    let sent = rest.clone();
    let sending = tokio::spawn(async move {
        send.write_all(&sent).await?;
        send.finish()?;
        Ok::<_, DemoError>(())
    });
    check(
        recv.read_to_end(rest.len() + 1).await.ok() == Some(rest),
        "half closed, the rest is another",
    )?;
    sending.await??;
    bytes += 1 << 20;

    let datagrams = datagrams(&connection).await?;

    connection.close(0_u8.into(), b"done");
    endpoint.wait_idle().await;
    let drained = server.drain().await?;
    check(drained.finished, "it did not drain")?;
    let stats = drained.stats;
    check(
        stats.streams == 18 && stats.streams_failed == 0,
        "a stream failed",
    )?;
    check(stats.streams_open == 0, "a stream was left")?;
    check(stats.bytes == bytes as u64, "the server counts other bytes")?;
    Ok(Back { bytes, datagrams })
}

/// One stream there and back, every byte compared; writes and reads at the same time, since nobody keeps what is not
/// read.
pub(crate) async fn echo(connection: Connection, data: Vec<u8>) -> Result<usize> {
    let (mut send, mut recv) = connection.open_bi().await?;
    let sending = async {
        send.write_all(&data).await?;
        send.finish()?;
        Ok::<_, DemoError>(())
    };
    let receiving = async {
        let mut at = 0;
        while let Some(chunk) = recv.read_chunk(usize::MAX, true).await? {
            let expected = data.get(at..at + chunk.bytes.len());
            check(expected == Some(&chunk.bytes), "the echo is another")?;
            at += chunk.bytes.len();
        }
        check(at == data.len(), "the echo ends too soon")
    };
    tokio::try_join!(sending, receiving)?;
    Ok(data.len())
}

pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + (i >> 8) + len) as u8).collect()
}

/// They may be lost, so each is sent until it has come back; how many came back at once.
async fn datagrams(connection: &Connection) -> Result<usize> {
    let largest = connection
        .max_datagram_size()
        .ok_or_else(|| mismatch("no datagrams"))?;
    let make = |i: usize, attempt: u8| {
        let mut data = pattern(largest / 2);
        data[0] = i as u8;
        data[1] = attempt;
        Bytes::from(data)
    };
    let mut missing: Vec<usize> = (0..DATAGRAMS).collect();
    let mut first = 0;
    for attempt in 0..20 {
        for &i in &missing {
            connection.send_datagram_wait(make(i, attempt)).await?;
        }
        // Of no consequence for the result: what comes too late is sent once more.
        while !missing.is_empty()
            && let Ok(datagram) = timeout(LATE, connection.read_datagram()).await
        {
            let datagram = datagram?;
            let [i, of, ..] = datagram[..] else {
                return Err(mismatch("a datagram is too short"));
            };
            check(datagram == make(i.into(), of), "a datagram is another")?;
            first += usize::from(of == 0);
            missing.retain(|&other| other != usize::from(i));
        }
        if missing.is_empty() {
            break;
        }
    }
    check(missing.is_empty(), "datagrams do not come back")?;
    check(first > 0, "all datagrams were lost at first")?;
    Ok(first)
}

async fn limits_are_kept(identity: &Identity) -> Result<()> {
    let limits = Limits {
        connections: 2,
        streams: 3,
        message: 100_000,
        ..Limits::default()
    };
    let server = Server::start(identity.config(1, limits)?).await?;
    let client = identity.client(server.addr());
    let (_, connection) = client.connect().await?;

    let mut open = Vec::new();
    for _ in 0..limits.streams {
        open.push(connection.open_bi().await?);
    }
    check(
        connection.open_bi().now_or_never().is_none(),
        "a stream too many",
    )?;
    // One of them ends, and there is room for another.
    let (mut send, mut recv) = open.remove(0);
    send.write_all(b"last words").await?;
    send.finish()?;
    check(
        recv.read_to_end(100).await.ok().as_deref() == Some(b"last words"),
        "not the last words",
    )?;
    drop(open);
    check(
        echo(connection.clone(), pattern(100_000)).await? == 100_000,
        "not as much as allowed",
    )?;

    let too_large = echo(connection.clone(), pattern(100_001)).await;
    check(
        matches!(
            too_large,
            Err(DemoError::Write(WriteError::Stopped(code::TOO_LARGE)))
                | Err(DemoError::Read(ReadError::Reset(code::TOO_LARGE)))
        ),
        "a stream was larger than allowed",
    )?;
    // Of one stream only, and the connection goes on.
    echo(connection.clone(), pattern(10)).await?;

    // The second one has to show that its address is its own; the third is one too many.
    let (_, second) = client.connect().await?;
    let third = client.connect().await;
    check(
        is_closed_with(&third, TransportErrorCode::CONNECTION_REFUSED),
        "a connection too many",
    )?;
    second.close(0_u8.into(), b"");
    connection.close(0_u8.into(), b"");
    let drained = server.drain().await?;
    check(drained.finished, "it did not drain")?;
    check(drained.stats.refused == 1, "the refusal was not counted")?;
    check(
        drained.stats.retried == 1,
        "an address was taken for granted",
    )?;
    check(drained.stats.accepted == 2, "another number of connections")
}

fn is_closed_with<T>(result: &Result<T, ClientError>, code: TransportErrorCode) -> bool {
    let Err(ClientError::Connection(ConnectionError::ConnectionClosed(close))) = result else {
        return false;
    };
    close.error_code == code
}

async fn strangers_are_refused(workers: usize, identity: &Identity) -> Result<()> {
    let mut server = Server::start(identity.config(workers, Limits::default())?).await?;
    let mut ends = server.ends().ok_or_else(|| mismatch("no ends"))?;
    let good = identity.client(server.addr());
    let mut other_protocol = good.clone();
    other_protocol.alpn = b"h3".to_vec();
    let refused = other_protocol.connect().await;
    // TLS's alert 120: no application protocol.
    check(
        is_closed_with(&refused, TransportErrorCode::crypto(120)),
        "another protocol was accepted",
    )?;
    let end = next(&mut ends).await?;
    check(!end.established, "it was accepted after all")?;

    let unbelieving = Identity::new()?.client(server.addr());
    let mut other_name = good.clone();
    other_name.name = "elsewhere".to_owned();
    for stranger in [unbelieving, other_name] {
        let refused = stranger.connect().await;
        check(
            matches!(
                refused,
                Err(ClientError::Connection(ConnectionError::TransportError(_)))
            ),
            "it was believed",
        )?;
        // The server is told; for it, the handshake may have been over by then.
        let end = next(&mut ends).await?;
        check(
            matches!(end.why, compio_quic::ConnectionError::ConnectionClosed(_)),
            "the server was not told",
        )?;
    }
    // They disturb nobody.
    let (_, connection) = good.connect().await?;
    echo(connection.clone(), pattern(1000)).await?;
    connection.close(0_u8.into(), b"");
    check(server.drain().await?.finished, "it did not drain")
}

pub(crate) async fn next(ends: &mut mpsc::Receiver<Ended>) -> Result<Ended> {
    let end = ends.recv().await;
    end.ok_or_else(|| mismatch("the server is gone"))
}

async fn a_lost_client_leaves_nothing_behind(identity: &Identity) -> Result<()> {
    let limits = Limits {
        idle: IDLE,
        ..Limits::default()
    };
    let mut server = Server::start(identity.config(1, limits)?).await?;
    let mut ends = server.ends().ok_or_else(|| mismatch("no ends"))?;
    let client = identity.client(server.addr());
    spawn_blocking(move || vanish(&client)).await??;
    let end = next(&mut ends).await?;
    check(
        end.established && end.why == compio_quic::ConnectionError::TimedOut,
        "it has ended otherwise",
    )?;
    let stats = server.stats().await?;
    check(
        stats.lost == 1 && stats.streams == 2,
        "lost, but not found out",
    )?;
    check(stats.accepted == stats.ended, "a connection was left")?;
    check(stats.streams_open == 0, "a stream was left")?;
    check(server.drain().await?.finished, "it did not drain")
}

/// A client whose runtime goes, with two streams under way and nothing said.
fn vanish(client: &Client) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let left = runtime.block_on(async {
        let (endpoint, connection) = client.connect().await?;
        let mut streams = Vec::new();
        for _ in 0..2 {
            let (mut send, mut recv) = connection.open_bi().await?;
            send.write_all(b"hello").await?;
            recv.read_exact(&mut [0; 5]).await?;
            streams.push((send, recv));
        }
        Ok::<_, DemoError>((endpoint, connection, streams))
    })?;
    // In this order: what is dropped has nobody to say so.
    drop(runtime);
    drop(left);
    Ok(())
}

/// What its client is told.
async fn a_lost_server_is_noticed(identity: &Identity) -> Result<ConnectionError> {
    let server = Server::start(identity.config(1, Limits::default())?).await?;
    let mut client = identity.client(server.addr());
    client.idle = IDLE;
    let (_, connection) = client.connect().await?;
    let (mut send, mut recv) = connection.open_bi().await?;
    send.write_all(b"hello").await?;
    recv.read_exact(&mut [0; 5]).await?;
    drop(server);
    let read = recv.read_exact(&mut [0; 1]).await;
    let Err(ReadExactError::ReadError(ReadError::ConnectionLost(seen))) = read else {
        return Err(mismatch("the stream goes on"));
    };
    check(connection.closed().await == seen, "two reasons for one end")?;
    Ok(seen)
}

async fn what_is_under_way_finishes(workers: usize, identity: &Identity) -> Result<()> {
    let server = Server::start(identity.config(workers, Limits::default())?).await?;
    let client = identity.client(server.addr());
    let (_, connection) = client.connect().await?;
    let data = pattern(3 << 20);
    let (mut send, mut recv) = connection.open_bi().await?;
    send.write_all(&data[..1000]).await?;
    let mut back = vec![0; 1000];
    recv.read_exact(&mut back).await?;

    let draining = tokio::spawn(server.drain());
    let mut told = connection.accept_uni().await?;
    check(
        told.read_to_end(100).await.ok().as_deref() == Some(GOODBYE),
        "not a goodbye",
    )?;
    let refused = echo(connection.clone(), pattern(10)).await;
    check(
        matches!(
            refused,
            Err(DemoError::Write(WriteError::Stopped(code::GOING_AWAY)))
                | Err(DemoError::Read(ReadError::Reset(code::GOING_AWAY)))
        ),
        "a stream was taken after the goodbye",
    )?;
    check(
        is_closed_with(
            &client.connect().await,
            TransportErrorCode::CONNECTION_REFUSED,
        ),
        "a connection was taken after the goodbye",
    )?;
    check(!draining.is_finished(), "it did not wait")?;

    let rest = data.clone();
    let sending = tokio::spawn(async move {
        send.write_all(&rest[1000..]).await?;
        send.finish()?;
        Ok::<_, DemoError>(())
    });
    let rest = recv.read_to_end(data.len()).await;
    sending.await??;
    back.extend(rest.map_err(|error| mismatch(&error.to_string()))?);
    check(back == data, "the echo is another")?;

    let why = connection.closed().await;
    check(
        matches!(&why, ConnectionError::ApplicationClosed(close) if close.error_code == code::GOING_AWAY),
        "not told why",
    )?;
    let drained = draining.await??;
    check(drained.finished, "something was cut off")?;
    check(
        drained.stats.streams == 1 && drained.stats.streams_failed == 0,
        "a stream failed",
    )
}

fn check(holds: bool, what: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(mismatch(what)) }
}

fn mismatch(what: &str) -> DemoError {
    DemoError::Mismatch(what.to_owned())
}

// ---------------------------------------------------------------------------------------------------
// The load.

/// The two loads, in turns on both servers; how many round trips there were.
async fn compare(plan: &Plan, identity: &Identity, out: &mut impl Write) -> Result<usize> {
    let Plan {
        workers,
        rounds,
        requests,
        mib,
    } = *plan;
    writeln!(
        out,
        "{rounds} rounds in turns, {workers} threads each, {CLIENTS} clients"
    )?;
    let limits = Limits::default();
    let compio = Server::start(identity.config(workers, limits)?).await?;
    let tokio = OnTokio::start(workers, identity.quic(&limits)?, limits.stream_time)?;
    let servers = [(tokio.addr(), "on-tokio"), (compio.addr(), "on-compio")];
    let (mut small, mut large) = ([vec![], vec![]], [vec![], vec![]]);
    for _ in 0..rounds {
        for (s, (addr, threads)) in servers.into_iter().enumerate() {
            let client = identity.client(addr);
            small[s].push(load(&client, threads, SMALL, requests).await?);
            large[s].push(load(&client, threads, mib << 20, 1).await?);
        }
    }
    drop(tokio);
    print(out, &small, &large, mib)?;
    let shares = compio.shares().await?;
    writeln!(out, "connections of each worker: {shares:?}")?;
    if cfg!(target_os = "linux") && shares.iter().sum::<u64>() >= 40 * workers as u64 {
        check(!shares.contains(&0), "a worker has had none")?;
    }
    let drained = compio.drain().await?;
    check(drained.finished, "connections were cut off")?;
    check(drained.stats.streams_failed == 0, "a stream failed")?;
    Ok(2 * rounds * CLIENTS * (requests + 1))
}

/// What one of `times` streams of each client has cost; of the processor's time what the server's threads have had,
/// where that is known.
async fn load(client: &Client, threads: &str, len: usize, times: usize) -> Result<Cost> {
    // Handshakes are not what is compared.
    let clients = try_join_all((0..CLIENTS).map(|_| client.connect())).await?;
    let before = cpu_of_threads(threads);
    let watch = Stopwatch::start();
    let all = clients.iter().map(|(_, connection)| {
        let connection = connection.clone();
        tokio::spawn(async move {
            for _ in 0..times {
                echo(connection.clone(), pattern(len)).await?;
            }
            Ok::<_, DemoError>(())
        })
    });
    for done in try_join_all(all).await? {
        done?;
    }
    let cost = watch.stop();
    let cpu = cpu_of_threads(threads).zip(before);
    for (_, connection) in &clients {
        connection.close(VarInt::from_u32(0), b"done");
    }
    join_all(clients.iter().map(|(endpoint, _)| endpoint.wait_idle())).await;
    let cost = Cost {
        cpu: cpu.map_or(cost.cpu, |(after, before)| after.saturating_sub(before)),
        ..cost
    };
    Ok(cost.each((CLIENTS * times) as u32))
}

fn print(
    out: &mut impl Write,
    small: &[Vec<Cost>; 2],
    large: &[Vec<Cost>; 2],
    mib: usize,
) -> io::Result<()> {
    let of = if cpu_of_threads("").is_some() {
        "of the server's threads"
    } else {
        "of the whole process"
    };
    writeln!(
        out,
        "\n          round trips/s  us of CPU     MiB/s  us of CPU for a MiB, {of}"
    )?;
    let small = small.each_ref().map(|costs| median(costs));
    let large = large.each_ref().map(|costs| median(costs));
    // There and back.
    let moved = 2 * mib as u32;
    let large = large.map(|cost| cost.each(moved));
    let rate = |cost: Cost| 1.0 / cost.wall.as_secs_f64();
    for (name, (small, large)) in ["Tokio", "Compio"].iter().zip(small.into_iter().zip(large)) {
        writeln!(
            out,
            "{name:8}  {:>13.0}  {:>9.1}  {:>8.1}  {:>9.1}",
            rate(small),
            micros(small.cpu),
            rate(large),
            micros(large.cpu)
        )?;
    }
    let [of_small, of_large] = [small, large].map(|[tokio, compio]| {
        (
            tokio.wall.as_secs_f64() / compio.wall.as_secs_f64(),
            compio.cpu.as_secs_f64() / tokio.cpu.as_secs_f64(),
        )
    });
    writeln!(
        out,
        "C. / T.   {:>13.2}  {:>9.2}  {:>8.2}  {:>9.2}\n",
        of_small.0, of_small.1, of_large.0, of_large.1
    )
}
