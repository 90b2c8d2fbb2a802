//! A server that fails on schedule, on Tokio, and what a client makes of it. Nothing in here is for copying.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io::{self, Write},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::future::join_all;
use hyper::Method;
use landbridge::{CompioPool, JoinError};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};

use crate::{
    client::{self, Client, Policy},
    error::{AttemptError, CallError},
};

/// Longer than anything here takes, unless it hangs.
const LONG: Duration = Duration::from_secs(60);
/// Calls at the same time, of the load.
const AT_ONCE: usize = 16;

#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error("{0}")]
    Mismatch(String),
    #[error("the client's thread: {0}")]
    Client(#[from] JoinError),
    #[error("it takes too long: {0}")]
    Hangs(&'static str),
    #[error("{0}")]
    Io(#[from] io::Error),
}

pub(crate) type Result<T, E = DemoError> = std::result::Result<T, E>;

/// Runs everything; the last line that it writes is `ok: ...`.
pub(crate) async fn run(pool: &CompioPool, calls: usize, out: &mut impl Write) -> Result<()> {
    writeln!(out, "failures that pass, and failures that do not")?;
    what_passes_is_tried_again(pool, out).await?;
    what_does_not_pass_is_not_tried_again(pool).await?;
    nothing_is_done_twice(pool).await?;
    writeln!(out, "servers that want to be left alone, or never answer")?;
    the_server_says_when(pool).await?;
    a_deadline_is_one(pool).await?;
    writeln!(out, "a server that is down")?;
    an_open_circuit_spares_the_server(pool).await?;
    let (attempts, failures) = load(pool, calls, out).await?;
    writeln!(
        out,
        "ok: {calls} calls, all answered, in {attempts} attempts of which {failures} had to fail"
    )?;
    Ok(())
}

fn check(holds: bool, what: &str) -> Result<()> {
    if holds {
        Ok(())
    } else {
        Err(DemoError::Mismatch(what.to_owned()))
    }
}

async fn bounded<T>(what: &'static str, work: impl Future<Output = T>) -> Result<T> {
    let done = timeout(LONG, work).await;
    done.map_err(|_| DemoError::Hangs(what))
}

/// What waits for nothing that this does not want to see.
pub(crate) fn policy() -> Policy {
    Policy {
        attempt: Duration::from_secs(20),
        deadline: Duration::from_secs(40),
        attempts: 6,
        backoff: (Duration::from_millis(2), Duration::from_millis(10)),
        failures: 100,
        open: Duration::from_millis(200),
        max_body: 1 << 16,
    }
}

// ---------------------------------------------------------------------------------------------------
// The server.

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Answer,
    /// Answered, and the connection is closed, which is not said before.
    AnswerAndClose,
    Status(u16),
    /// `Retry-After`, in seconds.
    Busy(u64),
    Reset,
    HalfAnswer,
    Nonsense,
    /// More than is wanted.
    Flood,
    Silence,
}

#[derive(Debug, Default)]
struct Script {
    acts: VecDeque<Act>,
    /// What was asked for.
    seen: Vec<String>,
    /// Nothing is answered any more.
    down: bool,
}

pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    script: Arc<Mutex<Script>>,
    accepting: JoinHandle<()>,
}

impl Server {
    /// After the schedule it answers as it should.
    pub(crate) async fn start(acts: impl IntoIterator<Item = Act>) -> Result<Self> {
        Self::start_on(([127, 0, 0, 1], 0).into(), acts).await
    }

    async fn start_on(addr: SocketAddr, acts: impl IntoIterator<Item = Act>) -> Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let script = Arc::new(Mutex::new(Script {
            acts: acts.into_iter().collect(),
            seen: Vec::new(),
            down: false,
        }));
        let addr = listener.local_addr()?;
        let shared = Arc::clone(&script);
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(serve(socket, Arc::clone(&shared)));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self {
            addr,
            script,
            accepting,
        })
    }

    /// From now on it refuses connections, and breaks those that it has.
    async fn stop(mut self) {
        lock(&self.script).down = true;
        self.accepting.abort();
        // The error says that it was.
        _ = (&mut self.accepting).await;
    }

    /// The requests so far, as `METHOD path`.
    pub(crate) fn seen(&self) -> Vec<String> {
        lock(&self.script).seen.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock(script: &Mutex<Script>) -> std::sync::MutexGuard<'_, Script> {
    script.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The errors are those of clients that went away.
async fn serve(mut socket: TcpStream, script: Arc<Mutex<Script>>) -> io::Result<()> {
    let mut input = Vec::new();
    loop {
        // Requests without a body, or with one of four bytes.
        let end = loop {
            if let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") {
                let body = if input.starts_with(b"POST") { 4 } else { 0 };
                if input.len() >= end + 4 + body {
                    break end + 4 + body;
                }
            }
            if socket.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
        };
        let request: Vec<_> = input.drain(..end).collect();
        let line = String::from_utf8_lossy(&request);
        let mut words = line.split(' ');
        let seen = format!(
            "{} {}",
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default()
        );
        let act = {
            let mut script = lock(&script);
            if script.down {
                return Ok(());
            }
            script.seen.push(seen.clone());
            script.acts.pop_front().unwrap_or(Act::Answer)
        };
        let length = seen.len();
        let text = match act {
            Act::Answer | Act::AnswerAndClose => {
                format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{seen}")
            }
            Act::Status(status) => format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n"),
            Act::Busy(seconds) => {
                format!("HTTP/1.1 503 Busy\r\nretry-after: {seconds}\r\ncontent-length: 0\r\n\r\n")
            }
            Act::HalfAnswer => {
                format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\nhalf")
            }
            Act::Nonsense => "220 smtp.example.com ESMTP\r\n".repeat(3),
            Act::Flood => {
                let flood = "a".repeat(1 << 18);
                format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{flood}",
                    flood.len()
                )
            }
            Act::Reset => {
                // With what was sent unread or not: no end, but a reset.
                socket.set_zero_linger()?;
                return Ok(());
            }
            Act::Silence => {
                // Until the client goes.
                while socket.read_buf(&mut input).await? > 0 {}
                return Ok(());
            }
        };
        socket.write_all(text.as_bytes()).await?;
        if matches!(act, Act::AnswerAndClose | Act::HalfAnswer | Act::Nonsense) {
            return Ok(());
        }
    }
}

// ---------------------------------------------------------------------------------------------------
// The client.

/// One call, and what it took.
#[derive(Debug)]
pub(crate) struct Called {
    pub(crate) outcome: Result<Bytes, CallError>,
    pub(crate) attempts: u64,
    pub(crate) pauses: Vec<Duration>,
}

/// One call of a new client.
pub(crate) async fn call(
    pool: &CompioPool,
    server: SocketAddr,
    policy: Policy,
    method: Method,
) -> Result<Called> {
    let called = pool.run(async move || {
        let client = Client::new(server, server.to_string(), policy);
        let body = if method == Method::POST { "post" } else { "" };
        let outcome = client.call(method, "/a", Bytes::from(body)).await;
        Called {
            outcome,
            attempts: client.stats.attempts.get(),
            pauses: client.stats.pauses.take(),
        }
    });
    Ok(bounded("a call", called).await??)
}

async fn what_passes_is_tried_again(pool: &CompioPool, out: &mut impl Write) -> Result<()> {
    let acts = [
        Act::Status(503),
        Act::Reset,
        Act::HalfAnswer,
        Act::Status(429),
        Act::Status(504),
    ];
    let server = Server::start(acts).await?;
    let called = call(pool, server.addr, policy(), Method::GET).await?;
    check(
        matches!(&called.outcome, Ok(body) if body == "GET /a"),
        &format!("{called:?}"),
    )?;
    check(called.attempts == 6 && server.seen().len() == 6, "attempts")?;
    // Each at least what the backoff says, and at most twice that.
    let least = client::pauses(&policy());
    let pauses = called.pauses.iter().zip(&least);
    check(
        called.pauses.len() == 5
            && pauses
                .into_iter()
                .all(|(pause, least)| pause >= least && *pause <= *least * 2),
        &format!("{:?} are not {least:?} with jitter", called.pauses),
    )?;
    writeln!(out, "  pauses {:.1?}, of {least:.1?}", called.pauses)?;

    // One failure more than attempts.
    let acts = [Act::Status(502); 7];
    let server = Server::start(acts).await?;
    let called = call(pool, server.addr, policy(), Method::GET).await?;
    check(
        matches!(called.outcome, Err(CallError::GaveUp { attempts: 6, .. })),
        &format!("{called:?}"),
    )
}

async fn what_does_not_pass_is_not_tried_again(pool: &CompioPool) -> Result<()> {
    for act in [
        Act::Status(400),
        Act::Status(404),
        Act::Status(500),
        Act::Status(301),
        Act::Nonsense,
        Act::Flood,
    ] {
        let server = Server::start([act]).await?;
        let called = call(pool, server.addr, policy(), Method::GET).await?;
        check(
            matches!(called.outcome, Err(CallError::Permanent(_))) && called.attempts == 1,
            &format!("{act:?}: {called:?}"),
        )?;
    }
    Ok(())
}

async fn nothing_is_done_twice(pool: &CompioPool) -> Result<()> {
    // Nobody knows whether it was done.
    for act in [Act::Reset, Act::HalfAnswer, Act::Status(504)] {
        let server = Server::start([act]).await?;
        let called = call(pool, server.addr, policy(), Method::POST).await?;
        check(
            matches!(called.outcome, Err(CallError::Permanent(_))) && server.seen().len() == 1,
            &format!("{act:?}: {called:?}"),
        )?;
    }
    // The server says that it was not.
    let server = Server::start([Act::Status(503), Act::Status(429)]).await?;
    let called = call(pool, server.addr, policy(), Method::POST).await?;
    check(
        called.outcome.is_ok() && called.attempts == 3,
        &format!("{called:?}"),
    )
}

async fn the_server_says_when(pool: &CompioPool) -> Result<()> {
    let server = Server::start([Act::Busy(1)]).await?;
    let called = call(pool, server.addr, policy(), Method::GET).await?;
    check(
        called.outcome.is_ok() && called.pauses == [Duration::from_secs(1)],
        &format!("{called:?}"),
    )?;
    // Longer than there is time: its answer is told at once.
    let server = Server::start([Act::Busy(3600)]).await?;
    let called = call(pool, server.addr, policy(), Method::GET).await?;
    check(
        matches!(
            called.outcome,
            Err(CallError::GaveUp {
                attempts: 1,
                last: AttemptError::Status(..)
            })
        ),
        &format!("{called:?}"),
    )
}

async fn a_deadline_is_one(pool: &CompioPool) -> Result<()> {
    let server = Server::start([Act::Silence, Act::Silence]).await?;
    let mut policy = policy();
    (policy.attempt, policy.deadline) = (LONG, Duration::from_millis(50));
    let called = call(pool, server.addr, policy, Method::GET).await?;
    check(
        matches!(called.outcome, Err(CallError::Deadline { attempts: 1 })),
        &format!("{called:?}"),
    )?;
    // An attempt has one of its own.
    let server = Server::start([Act::Silence, Act::Silence]).await?;
    (policy.attempt, policy.deadline) = (Duration::from_millis(50), LONG);
    let called = call(pool, server.addr, policy, Method::GET).await?;
    check(
        called.outcome.is_ok() && called.attempts == 3,
        &format!("{called:?}"),
    )
}

async fn an_open_circuit_spares_the_server(pool: &CompioPool) -> Result<()> {
    let server = Server::start([]).await?;
    let addr = server.addr;
    let mut policy = policy();
    policy.failures = 4;
    policy.open = Duration::from_secs(1);
    let worker = pool.worker(0).map_err(io::Error::from)?;
    let client =
        worker.host(async move || Ok::<_, Infallible>(Client::new(addr, addr.to_string(), policy)));
    let client = client.await.map_err(io::Error::other)?;
    let call = async || {
        let called = client.call(async move |client: &Client| {
            let outcome = client.call(Method::GET, "/a", Bytes::new()).await;
            (outcome, client.stats.attempts.get())
        });
        Ok::<_, DemoError>(bounded("a call", called).await??)
    };
    check(call().await?.0.is_ok(), "it is not up")?;
    bounded("the server's end", server.stop()).await?;
    // Refused, until the breaker has seen enough.
    let attempts = loop {
        match call().await? {
            (Err(CallError::CircuitOpen), attempts) => break attempts,
            (Err(CallError::GaveUp { .. }), _) => {}
            (other, _) => check(false, &format!("{other:?} of a server that is down"))?,
        }
    };
    // It is up again, and is left alone for its time.
    let server = Server::start_on(addr, []).await?;
    let open = Instant::now();
    let mut rejected = 1;
    let attempts_then = loop {
        match call().await? {
            (Err(CallError::CircuitOpen), attempts_now) => {
                check(attempts_now == attempts, "it was tried")?;
                rejected += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            (Ok(_), attempts_now) => break attempts_now,
            (other, _) => check(false, &format!("{other:?} of a server that is up"))?,
        }
        check(open.elapsed() < LONG, "it stays open")?;
    };
    check(
        rejected > 1 && attempts_then == attempts + 1 && server.seen().len() == 1,
        "the circuit was not open",
    )?;
    Ok(())
}

/// Many calls at once, of which every third attempt fails in one way or another.
async fn load(pool: &CompioPool, calls: usize, out: &mut impl Write) -> Result<(u64, usize)> {
    let failures = [
        Act::Status(503),
        Act::Reset,
        Act::HalfAnswer,
        Act::AnswerAndClose,
    ];
    let acts = (0..calls).map(|n| match n % 3 {
        0 => failures[n / 3 % failures.len()],
        _ => Act::Answer,
    });
    let acts: Vec<_> = acts.collect();
    let failing = acts
        .iter()
        .filter(|act| !matches!(act, Act::Answer | Act::AnswerAndClose));
    let failing = failing.count();
    let server = Server::start(acts).await?;
    let addr = server.addr;
    let begun = Instant::now();
    let done = pool.run(async move || {
        let mut policy = policy();
        // By chance one call may have all the failures of a while.
        policy.attempts = 50;
        let client = &Client::new(addr, addr.to_string(), policy);
        let each = (0..AT_ONCE).map(|n| async move {
            for call in (n..calls).step_by(AT_ONCE) {
                let path = format!("/{call}");
                let outcome = client.call(Method::GET, &path, Bytes::new()).await;
                if !matches!(&outcome, Ok(body) if *body == format!("GET {path}")) {
                    return Some(format!("{path}: {outcome:?}"));
                }
            }
            None
        });
        let wrong = join_all(each).await.into_iter().flatten().next();
        let stats = &client.stats;
        (wrong, stats.attempts.get(), stats.connections.get())
    });
    let (wrong, attempts, connections) = bounded("the load", done).await??;
    if let Some(wrong) = wrong {
        return Err(DemoError::Mismatch(wrong));
    }
    check(
        attempts as usize >= calls + failing && server.seen().len() <= attempts as usize,
        "attempts are not counted",
    )?;
    writeln!(
        out,
        "\n{calls} calls, {AT_ONCE} at once: {:.2} attempts and {:.2} connections for each, {:.0} calls/s\n",
        attempts as f64 / calls as f64,
        connections as f64 / calls as f64,
        calls as f64 / begun.elapsed().as_secs_f64(),
    )?;
    Ok((attempts, failing))
}
