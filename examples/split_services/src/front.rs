//! The front process: axum on Tokio. COPY: the shape of `put` and `get`, and [`Refusal`].
//!
//! | request | answers |
//! |---|---|
//! | `PUT /objects/{name}` | 201 new, 204 replaced; `If-Match`, `If-None-Match: *` |
//! | `GET`, `HEAD /objects/{name}` | 200 |
//! | `DELETE /objects/{name}` | 204; `If-Match` |
//! | `GET /healthz` | 200: the process lives, and need not be started again |
//! | `GET /readyz` | 200; 503 while it is ending, or when the storage takes no calls: send others here no more |
//!
//! `X-Timeout-Ms` gives a request a shorter time than `--timeout` does, for all of it, bodies included.
//!
//! | the storage says | the client is told |
//! |---|---|
//! | `NOT_FOUND` | 404 |
//! | `FAILED_PRECONDITION` | 412 |
//! | `OUT_OF_RANGE` | 413 |
//! | `INVALID_ARGUMENT`, `ABORTED` | 400 |
//! | `RESOURCE_EXHAUSTED`, with `RetryInfo` | 429, with `Retry-After` |
//! | `UNAVAILABLE`, or nothing: it is not there | 503, with `Retry-After` |
//! | `DEADLINE_EXCEEDED`, or nothing in time | 504; a change may have been made |
//! | anything else | 502 |

use std::{convert::Infallible, io, net::SocketAddr, path::PathBuf, pin::pin, time::Duration};

use axum::{
    Router,
    body::{Body, BodyDataStream, HttpBody},
    extract::{Path, Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
        header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
    routing::{any, get},
    serve::ListenerExt,
};
use bytes::Bytes;
use futures::{
    FutureExt, SinkExt, StreamExt,
    channel::mpsc,
    future::{Either, select},
    stream,
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle, time::timeout};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

use crate::{
    deadline::Deadline,
    link::{self, Link, LinkError},
    proto::{
        DeleteRequest, GetReply, GetRequest, Meta, Precondition, PutEnd, PutHead, PutRequest,
        StatRequest, get_reply, precondition::Must, put_request::Part,
    },
    service::RETRY_AFTER as LATER,
};

/// How long requests may go on when the process is asked to end.
pub(crate) const GRACE: Duration = Duration::from_secs(20);
pub(crate) const HEALTHZ: &str = "/healthz";
pub(crate) const READYZ: &str = "/readyz";
/// What a client sends that wants its answer sooner.
pub(crate) const X_TIMEOUT_MS: HeaderName = HeaderName::from_static("x-timeout-ms");
/// How long the storage may take to say that it is well.
pub(crate) const CHECK: Duration = Duration::from_secs(1);
/// The largest chunk in a message, in bytes; tonic takes messages of up to 4 MiB.
const CHUNK: usize = 256 * 1024;
/// How long connections have to end when everything was cut off.
const CLOSE: Duration = Duration::from_secs(1);
/// How much of a refused upload is read after the answer, so that the client gets to read it.
const LINGER: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) storage: PathBuf,
    pub(crate) connections: usize,
    /// For each request.
    pub(crate) timeout: Duration,
}

impl Config {
    pub(crate) fn new(listen: SocketAddr, storage: impl Into<PathBuf>) -> Self {
        Self {
            listen,
            storage: storage.into(),
            connections: 2,
            timeout: Duration::from_secs(30),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum FrontError {
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// How far the front has come. Only goes on, never back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    /// No new connections; what was asked goes on.
    Draining,
    /// What still goes on is cut off.
    Closing,
}

/// A front that runs. Dropped without [`drain`](Self::drain), it cuts everything off.
pub(crate) struct Front {
    addr: SocketAddr,
    phase: watch::Sender<Phase>,
    serving: JoinHandle<io::Result<()>>,
}

impl Front {
    /// Needs no storage to start: it says 503 until there is one.
    pub(crate) async fn start(config: &Config) -> Result<Self, FrontError> {
        let listen = |error| FrontError::Listen(config.listen, error);
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let addr = listener.local_addr().map_err(listen)?;
        // Head and body of an answer come from two messages, and are two writes: without this, the second waits
        // for the client's acknowledgement of the first, 40 ms.
        let listener = listener.tap_io(|socket| _ = socket.set_nodelay(true));
        let (phase, now) = watch::channel(Phase::Serving);
        let app = App {
            link: Link::new(&config.storage, config.connections)?,
            timeout: config.timeout,
            phase: now,
        };
        let serve = axum::serve(listener, router(app.clone()))
            .with_graceful_shutdown(async move { app.reached(Phase::Draining).await });
        Ok(Self {
            addr,
            phase,
            serving: tokio::spawn(serve.into_future()),
        })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends the front: no new connections, and what was asked before has `grace` to be answered. Whether it was.
    pub(crate) async fn drain(mut self, grace: Duration) -> bool {
        self.phase.send_replace(Phase::Draining);
        let finished = timeout(grace, &mut self.serving).await.is_ok();
        if !finished {
            // Connections are tasks of their own: to abort `serving` alone would leave them at their work.
            self.phase.send_replace(Phase::Closing);
            _ = timeout(CLOSE, &mut self.serving).await;
            self.serving.abort();
        }
        finished
    }
}

#[derive(Clone)]
struct App {
    link: Link,
    timeout: Duration,
    phase: watch::Receiver<Phase>,
}

fn router(app: App) -> Router {
    Router::new()
        .route(HEALTHZ, get(async || "ok\n"))
        .route(READYZ, get(readyz))
        .route("/objects/{name}", any(object))
        .with_state(app)
}

/// COPY: readiness is not liveness. The front is no better for being killed when its storage is away.
async fn readyz(State(app): State<App>) -> Result<&'static str, Refusal> {
    if *app.phase.borrow() >= Phase::Draining {
        return Err(Status::unavailable("the front is ending").into());
    }
    match app.link.is_serving(CHECK).await {
        Ok(true) => Ok("ready\n"),
        Ok(false) => Err(Status::unavailable("the storage is ending").into()),
        Err(_) => Err(Status::unavailable("the storage is not there").into()),
    }
}

async fn object(State(app): State<App>, Path(name): Path<String>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut body = body.into_data_stream();
    let headers = &parts.headers;
    let answer = async {
        let deadline = app.deadline(headers)?;
        match parts.method {
            Method::PUT => app.put(name, headers, &mut body, deadline).await,
            Method::GET => app.get(name, deadline).await,
            Method::HEAD => app.head(name, deadline).await,
            Method::DELETE => app.delete(name, headers, deadline).await,
            _ => Err(Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "not for objects",
            )),
        }
    };
    let answer = tokio::select! {
        answer = answer => answer,
        // With the call goes what the storage does for it.
        () = app.reached(Phase::Closing) => Err(Status::unavailable("the front is ending").into()),
    };
    match answer {
        Ok(response) => response,
        Err(refusal) => refusal.into_response_after(body),
    }
}

impl App {
    /// Resolves when the front comes to `phase`.
    async fn reached(&self, phase: Phase) {
        // An error: the front was dropped, and cuts everything off.
        _ = self.phase.clone().wait_for(|now| *now >= phase).await;
    }

    fn deadline(&self, headers: &HeaderMap) -> Result<Deadline, Refusal> {
        let Some(text) = headers.get(X_TIMEOUT_MS) else {
            return Ok(Deadline::after(self.timeout));
        };
        let millis = text.to_str().ok().and_then(|text| text.parse().ok());
        let millis = millis
            .ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, "x-timeout-ms is a number"))?;
        Ok(Deadline::after(
            self.timeout.min(Duration::from_millis(millis)),
        ))
    }

    /// COPY: a body goes across chunk by chunk, and no faster than the storage takes it.
    async fn put(
        &self,
        name: String,
        headers: &HeaderMap,
        body: &mut BodyDataStream,
        deadline: Deadline,
    ) -> Result<Response, Refusal> {
        let (messages, incoming) = mpsc::channel(0);
        let head = PutHead {
            name,
            precondition: precondition(headers)?,
        };
        let mut storage = self.link.storage();
        let answer = link::call(deadline, storage.put(deadline.carry(incoming))).boxed();
        let feed = pin!(feed(body, head, messages));
        let answer = match select(answer, feed).await {
            // Without its body, too: the storage has refused.
            Either::Left((answer, _feed)) => answer,
            Either::Right((_, answer)) => answer.await,
        };
        let reply = answer?.into_inner();
        let meta = reply.meta.unwrap_or_default();
        let status = if reply.replaced {
            StatusCode::NO_CONTENT
        } else {
            StatusCode::CREATED
        };
        Ok((status, [(ETAG, tag(&meta)?)]).into_response())
    }

    async fn get(&self, name: String, deadline: Deadline) -> Result<Response, Refusal> {
        let mut storage = self.link.storage();
        let mut replies = link::call(deadline, async {
            let asked = deadline.carry(GetRequest { name });
            Ok(storage.get(asked).await?.into_inner())
        })
        .await?;
        let first = link::call(deadline, replies.message()).await?;
        let Some(get_reply::Part::Head(meta)) = first.and_then(|reply| reply.part) else {
            return Err(Status::internal("the storage has not said what it sends").into());
        };
        let cut = self.clone();
        let bytes = stream::unfold(Some(replies), move |replies| next(replies, deadline))
            .take_until(async move { cut.reached(Phase::Closing).await });
        // Cut off, it is shorter than its length, and the client sees it.
        let mut response = Response::new(Body::from_stream(bytes));
        describe(response.headers_mut(), &meta)?;
        Ok(response)
    }

    async fn head(&self, name: String, deadline: Deadline) -> Result<Response, Refusal> {
        let mut storage = self.link.storage();
        let asked = deadline.carry(StatRequest { name });
        let meta = link::call(deadline, storage.stat(asked))
            .await?
            .into_inner();
        let mut response = Response::new(Body::empty());
        describe(response.headers_mut(), &meta)?;
        Ok(response)
    }

    async fn delete(
        &self,
        name: String,
        headers: &HeaderMap,
        deadline: Deadline,
    ) -> Result<Response, Refusal> {
        let mut storage = self.link.storage();
        let asked = deadline.carry(DeleteRequest {
            name,
            precondition: precondition(headers)?,
        });
        link::call(deadline, storage.delete(asked)).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }
}

/// Why an upload's messages have ended before their end.
enum Broken {
    /// The storage takes no more. Its answer says why.
    Storage,
    /// The client is gone, or its body is broken: without an end, nothing is stored.
    Client,
}

/// One head, chunks, one end; and no message more, whatever the end was.
async fn feed(
    body: &mut BodyDataStream,
    head: PutHead,
    mut messages: mpsc::Sender<PutRequest>,
) -> Result<(), Broken> {
    let mut send = async |part| {
        let sent = messages.send(PutRequest { part: Some(part) }).await;
        sent.map_err(|_| Broken::Storage)
    };
    let mut length = 0;
    send(Part::Head(head)).await?;
    while let Some(frame) = body.next().await {
        let mut frame = frame.map_err(|_| Broken::Client)?;
        length += frame.len() as u64;
        while !frame.is_empty() {
            let chunk = frame.split_to(frame.len().min(CHUNK));
            send(Part::Chunk(chunk)).await?;
        }
    }
    send(Part::End(PutEnd { length })).await
}

/// The next bytes of a download. An error after the head was sent can only break the connection off; the length in
/// the head is what tells the client. The storage looks at the deadline, too, but one that stands still cannot.
async fn next(
    replies: Option<Streaming<GetReply>>,
    deadline: Deadline,
) -> Option<(Result<Bytes, Status>, Option<Streaming<GetReply>>)> {
    let mut replies = replies?;
    match link::call(deadline, replies.message()).await {
        Ok(Some(GetReply {
            part: Some(get_reply::Part::Chunk(chunk)),
        })) => Some((Ok(chunk), Some(replies))),
        Ok(None) => None,
        Ok(Some(_)) => Some((Err(Status::internal("a head in the middle")), None)),
        Err(status) => Some((Err(status), None)),
    }
}

fn describe(headers: &mut HeaderMap, meta: &Meta) -> Result<(), Refusal> {
    headers.insert(CONTENT_LENGTH, HeaderValue::from(meta.length));
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(ETAG, tag(meta)?);
    Ok(())
}

fn tag(meta: &Meta) -> Result<HeaderValue, Refusal> {
    let tag = format!("\"{:x}\"", meta.generation);
    HeaderValue::try_from(tag).map_err(|_| Status::internal("no entity tag").into())
}

/// One of the forms that a change can be tied to. A precondition that is ignored is a lost update: what is not
/// understood is refused.
fn precondition(headers: &HeaderMap) -> Result<Option<Precondition>, Refusal> {
    let unknown = || Refusal::new(StatusCode::BAD_REQUEST, "one entity tag, or *");
    let text = |name: HeaderName| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => value.to_str().map(Some).map_err(|_| unknown()),
            _ => Err(unknown()),
        }
    };
    let must = match (text(IF_MATCH)?, text(IF_NONE_MATCH)?) {
        (None, None) => return Ok(None),
        (Some("*"), None) => Must::Exist(true),
        (None, Some("*")) => Must::NotExist(true),
        (Some(tag), None) => {
            let hex = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
            let generation = hex.and_then(|hex| u64::from_str_radix(hex, 16).ok());
            Must::BeGeneration(generation.ok_or_else(unknown)?)
        }
        _ => return Err(unknown()),
    };
    Ok(Some(Precondition { must: Some(must) }))
}

/// A request that is not carried out, and what the client is told.
struct Refusal {
    status: StatusCode,
    message: String,
    retry_after: Option<Duration>,
}

impl Refusal {
    fn new(status: StatusCode, message: impl ToString) -> Self {
        Self {
            status,
            message: message.to_string(),
            retry_after: None,
        }
    }

    /// Answers at once, and reads on for a while after it: a server that closes a connection with unread input makes
    /// the kernel reset it, and the client may lose the answer with it.
    fn into_response_after(self, body: BodyDataStream) -> Response {
        if body.is_end_stream() {
            return self.into_response();
        }
        let message = format!("{}\n", self.message);
        let until = tokio::time::Instant::now() + LINGER;
        let rest = stream::unfold(body, move |mut body| async move {
            match tokio::time::timeout_at(until, body.next()).await {
                Ok(Some(Ok(_))) => Some((Bytes::new(), body)),
                _ => None,
            }
        });
        // Nothing of the rest is sent.
        let rest = rest.filter(|chunk| std::future::ready(!chunk.is_empty()));
        let answer = stream::once(std::future::ready(Bytes::from(message))).chain(rest);
        let mut response = self.into_response();
        response.headers_mut().remove(CONTENT_LENGTH);
        *response.body_mut() = Body::from_stream(answer.map(Ok::<_, Infallible>));
        response
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, format!("{}\n", self.message)).into_response();
        if let Some(after) = self.retry_after {
            // In whole seconds, and at least one.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }
}

/// COPY: the one place where codes of gRPC become codes of HTTP.
impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        let (code, retry_after) = match status.code() {
            Code::NotFound => (StatusCode::NOT_FOUND, None),
            Code::FailedPrecondition => (StatusCode::PRECONDITION_FAILED, None),
            Code::OutOfRange => (StatusCode::PAYLOAD_TOO_LARGE, None),
            Code::InvalidArgument | Code::Aborted => (StatusCode::BAD_REQUEST, None),
            Code::ResourceExhausted => {
                let told = status
                    .get_details_retry_info()
                    .and_then(|info| info.retry_delay);
                (StatusCode::TOO_MANY_REQUESTS, told)
            }
            Code::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, Some(LATER)),
            Code::DeadlineExceeded => (StatusCode::GATEWAY_TIMEOUT, None),
            _ => (StatusCode::BAD_GATEWAY, None),
        };
        Self {
            retry_after,
            ..Self::new(code, status.message())
        }
    }
}
