//! A client that tries again, on one Compio thread. COPY: the file.
//!
//! | what | whose | why |
//! |---|---|---|
//! | exponential backoff with jitter | `backon` | clients that failed together shall not come back together |
//! | circuit breaker | `failsafe` | a server that is down is not helped by attempts, nor are those who wait for them |
//! | time limits of an attempt and of the call | `landbridge::time` | Tokio's timers do not run on Compio |
//! | HTTP/1 | hyper, over `into_tokio_io` | |
//!
//! None of these crates brings a runtime along; `backon` is told how to sleep.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBuilder, Retryable};
use bytes::Bytes;
use compio::net::TcpStream;
use failsafe::{
    StateMachine,
    backoff::{self, Constant},
    failure_policy::{self, ConsecutiveFailures},
    futures::CircuitBreaker,
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    header,
};
use hyper_util::rt::TokioIo;
use landbridge::{
    io::IntoTokioIo,
    rt::spawn_local,
    time::{Instant, sleep, timeout, timeout_at},
};

use crate::error::{AttemptError, CallError};

/// Connections that are kept for the next request.
const IDLE: usize = 16;

/// How patient a client is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// Of one attempt, from connecting to the last byte.
    pub(crate) attempt: Duration,
    /// Of a call with all its attempts.
    pub(crate) deadline: Duration,
    pub(crate) attempts: usize,
    /// Before the second attempt, and at most before any; up to twice as long, by chance.
    pub(crate) backoff: (Duration, Duration),
    /// So many failures one after the other open the circuit.
    pub(crate) failures: u32,
    /// For how long.
    pub(crate) open: Duration,
    /// Bytes of an answer.
    pub(crate) max_body: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            attempt: Duration::from_secs(2),
            deadline: Duration::from_secs(10),
            attempts: 6,
            backoff: (Duration::from_millis(50), Duration::from_secs(2)),
            failures: 10,
            open: Duration::from_secs(2),
            max_body: 1 << 20,
        }
    }
}

/// What a client has done.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) calls: Cell<u64>,
    pub(crate) attempts: Cell<u64>,
    pub(crate) connections: Cell<u64>,
    /// Not even tried.
    pub(crate) rejected: Cell<u64>,
    /// The pauses of the last call.
    pub(crate) pauses: RefCell<Vec<Duration>>,
}

/// A client of one server. Not `Send`: it stays on its thread, as its connections do.
pub(crate) struct Client {
    server: SocketAddr,
    host: String,
    policy: Policy,
    breaker: StateMachine<ConsecutiveFailures<Constant>, ()>,
    idle: Rc<RefCell<Vec<SendRequest<Full<Bytes>>>>>,
    pub(crate) stats: Stats,
}

impl Client {
    pub(crate) fn new(server: SocketAddr, host: String, policy: Policy) -> Self {
        // Its others are for whole seconds.
        let open = backoff::constant(policy.open);
        let failures = failure_policy::consecutive_failures(policy.failures, open);
        Self {
            server,
            host,
            policy,
            breaker: failsafe::Config::new().failure_policy(failures).build(),
            idle: Rc::default(),
            stats: Stats::default(),
        }
    }

    /// COPY: one call, with as many attempts as are worth it before the deadline. Dropping it drops the attempt that is
    /// under way, and its connection.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Bytes, CallError> {
        let deadline = Instant::now() + self.policy.deadline;
        let attempts = Cell::new(0);
        count(&self.stats.calls);
        self.stats.pauses.borrow_mut().clear();

        let attempt = || {
            attempts.set(attempts.get() + 1);
            let attempt = self.attempt(method.clone(), path, body.clone());
            // Only what the server is to blame for counts against it.
            self.breaker
                .call_with(|error: &AttemptError| error.is_temporary(), attempt)
        };
        let backoff = ExponentialBuilder::new()
            .with_min_delay(self.policy.backoff.0)
            .with_max_delay(self.policy.backoff.1)
            .with_max_times(self.policy.attempts.saturating_sub(1))
            .with_jitter();
        let trying = attempt
            .retry(backoff)
            .sleep(sleep)
            .when(|error| match error {
                // At once: whoever calls may have something better to do than to wait.
                failsafe::Error::Rejected => false,
                failsafe::Error::Inner(error) => error.may_repeat(&method),
            })
            .adjust(|error, pause| {
                let wanted = match error {
                    failsafe::Error::Inner(error) => error.retry_after(),
                    failsafe::Error::Rejected => None,
                };
                let pause = pause?.max(wanted.unwrap_or_default());
                // The last error says more than that the deadline has passed while nothing was tried.
                // It may be any number: so not `now + pause`.
                (pause < deadline.saturating_duration_since(Instant::now())).then_some(pause)
            })
            .notify(|_, pause| self.stats.pauses.borrow_mut().push(pause));
        match timeout_at(deadline, trying).await {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(failsafe::Error::Rejected)) => {
                count(&self.stats.rejected);
                Err(CallError::CircuitOpen)
            }
            Ok(Err(failsafe::Error::Inner(last))) if last.may_repeat(&method) => {
                Err(CallError::GaveUp {
                    attempts: attempts.get(),
                    last,
                })
            }
            Ok(Err(failsafe::Error::Inner(error))) => Err(CallError::Permanent(error)),
            Err(_) => Err(CallError::Deadline {
                attempts: attempts.get(),
            }),
        }
    }

    async fn attempt(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Bytes, AttemptError> {
        count(&self.stats.attempts);
        let whole = timeout(self.policy.attempt, async {
            let mut connection = self.connection(&method).await?;
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header(header::HOST, &self.host)
                .body(Full::new(body));
            // Names that are none were refused with the options.
            let request = request.map_err(|error| AttemptError::Body(error.into()))?;
            let answer = connection.send_request(request).await.map_err(sorted)?;
            let body = self.body(answer).await?;
            let mut idle = self.idle.borrow_mut();
            if idle.len() < IDLE {
                idle.push(connection);
            }
            Ok(body)
        });
        whole.await.unwrap_or(Err(AttemptError::Timeout))
    }

    /// One that was kept, or a new one: what may not be asked twice is not asked on a connection that the server may be
    /// about to close.
    async fn connection(&self, method: &Method) -> Result<SendRequest<Full<Bytes>>, AttemptError> {
        while method.is_idempotent() {
            let kept = self.idle.borrow_mut().pop();
            let Some(mut kept) = kept else { break };
            // It may be closed by now.
            if kept.ready().await.is_ok() {
                return Ok(kept);
            }
        }
        count(&self.stats.connections);
        let socket = TcpStream::connect(self.server).await;
        let socket = socket.map_err(AttemptError::Connect)?;
        _ = socket.set_nodelay(true);
        let stream = TokioIo::new(Box::pin(socket.into_tokio_io()));
        let (requests, connection) = http1::handshake(stream).await.map_err(sorted)?;
        // Ends with the last of `requests`; its error is that of the request.
        drop(spawn_local(async move { _ = connection.await }));
        Ok(requests)
    }

    async fn body(&self, answer: Response<Incoming>) -> Result<Bytes, AttemptError> {
        let status = answer.status();
        if !status.is_success() {
            // In seconds; a date would be this machine's clock against the server's.
            let after = answer.headers().get(header::RETRY_AFTER);
            let after = after.and_then(|after| after.to_str().ok()?.parse().ok());
            return Err(AttemptError::Status(status, after.map(Duration::from_secs)));
        }
        let body = Limited::new(answer.into_body(), self.policy.max_body).collect();
        Ok(body.await.map_err(AttemptError::Body)?.to_bytes())
    }
}

fn sorted(error: hyper::Error) -> AttemptError {
    if error.is_canceled() {
        AttemptError::Unsent(error)
    } else if error.is_parse() {
        AttemptError::Nonsense(error)
    } else {
        AttemptError::Broken(error)
    }
}

fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

/// The pauses before a number of attempts that all fail, for who wants to see them.
pub(crate) fn pauses(policy: &Policy) -> Vec<Duration> {
    let builder = ExponentialBuilder::new()
        .with_min_delay(policy.backoff.0)
        .with_max_delay(policy.backoff.1)
        .with_max_times(policy.attempts.saturating_sub(1));
    builder.build().collect()
}
