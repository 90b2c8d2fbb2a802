//! The front: axum on Tokio.
//!
//! **Copy the shape**: each handler awaits the store as it would await any other service; nothing in
//! here knows on which runtime the storage runs.
//!
//! | request | answers |
//! |---|---|
//! | `PUT /objects/{name}` | 201 new, 204 replaced; 400, 408, 413, 501, 507 |
//! | `GET /objects/{name}` | 200, 206 for one range; 404, 416 |
//! | `HEAD /objects/{name}` | 200; 404 |
//! | `DELETE /objects/{name}` | 204; 404 |
//! | `GET /objects?after=NAME&limit=N` | 200, a line for each object: its length, a space, its name percent-encoded. At most 1000 lines; the next page comes after the last name |
//! | `GET /healthz` | 200: the process lives, and need not be started again |
//! | `GET /readyz` | 200; 503 while shutting down, or when the storage does not answer: send others here no more |
//! | `GET /metrics` | 200, Prometheus' text format |
//!
//! Any of them: 503 with `Retry-After` when too much is under way, the storage takes too long to answer, or
//! the server is shutting down, and 500 when the disk or a job fails.

use std::{
    convert::Infallible,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant, UNIX_EPOCH},
};

use axum::{
    Router,
    body::{Body, BodyDataStream, HttpBody},
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode,
        header::{
            ACCEPT_RANGES, ALLOW, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_MATCH,
            IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE, RETRY_AFTER,
            X_CONTENT_TYPE_OPTIONS,
        },
    },
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::{
    sync::watch,
    time::{timeout, timeout_at},
};

use crate::{
    metrics,
    name::{NameError, ObjectName},
    range::Wanted,
    store::{Meta, Store, StoreError},
};

/// The longest page of a list, in objects.
const LONGEST_PAGE: usize = 1000;
/// How much of a refused upload is read after the answer, so that the client gets to read it.
const LINGER: Duration = Duration::from_secs(5);

/// How far the server has come. Only goes on, never back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Serving,
    /// New requests are refused, those under way go on.
    Draining,
    /// What is still under way is cut off.
    Closing,
}

/// What every handler sees.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) store: Store,
    pub(crate) phase: watch::Receiver<Phase>,
}

impl App {
    fn is_draining(&self) -> bool {
        *self.phase.borrow() >= Phase::Draining
    }

    /// Resolves when the server comes to `phase`.
    pub(crate) async fn reached(&self, phase: Phase) {
        // An error means that the server is gone altogether.
        _ = self.phase.clone().wait_for(|now| *now >= phase).await;
    }
}

pub(crate) fn router(app: App) -> Router {
    // Names are taken from the raw path, so that no router, extractor or middleware has decoded or
    // normalised it before: the catch-all sees slashes and `..`, and refuses them.
    let objects = Router::new()
        .route("/objects", get(list))
        .route("/objects/", any(object))
        .route("/objects/{*raw}", any(object))
        .layer(middleware::from_fn_with_state(
            app.clone(),
            refuse_when_draining,
        ));
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render_metrics))
        .merge(objects)
        .layer(middleware::from_fn_with_state(app.clone(), measure))
        .with_state(app)
}

async fn object(State(app): State<App>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let length = body.size_hint().exact();
    let mut body = body.into_data_stream();
    let raw = parts.uri.path().strip_prefix("/objects/").unwrap_or("");
    let result = async {
        // A `?` that should have been `%3F` would otherwise be cut off the name.
        if parts.uri.query().is_some() {
            return Err(Refusal::from(NameError::Unescaped));
        }
        let name = ObjectName::from_raw_path(raw)?;
        let headers = &parts.headers;
        match parts.method {
            Method::PUT => put(&app, &name, headers, length, &mut body).await,
            Method::GET => download(&app, &name, headers).await,
            Method::HEAD => head(&app, &name).await,
            Method::DELETE => delete(&app, &name, headers).await,
            _ => Err(
                Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "not for objects")
                    .with(ALLOW, HeaderValue::from_static("GET, HEAD, PUT, DELETE")),
            ),
        }
    };
    match result.await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response_after(body),
    }
}

/// COPY: a body goes across chunk by chunk; returning early, or being dropped because the client went
/// away, drops the upload, and that breaks it off.
async fn put(
    app: &App,
    name: &ObjectName,
    headers: &HeaderMap,
    length: Option<u64>,
    body: &mut BodyDataStream,
) -> Result<Response, Refusal> {
    refuse_preconditions(headers)?;
    if headers.contains_key(CONTENT_RANGE) {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "an object is stored as a whole",
        ));
    }
    let mut upload = app.store.put(name, length)?;
    loop {
        let next = timeout(app.store.limits().stall, body.next());
        let chunk = tokio::select! {
            biased;
            chunk = next => chunk,
            () = app.reached(Phase::Closing) => return Err(StoreError::Stopped.into()),
        };
        match chunk {
            Ok(Some(Ok(chunk))) => {
                if upload.write(chunk).await.is_err() {
                    break;
                }
            }
            Ok(Some(Err(_))) => {
                return Err(Refusal::new(
                    StatusCode::BAD_REQUEST,
                    "the body is broken off",
                ));
            }
            Ok(None) => break,
            Err(_) => {
                return Err(Refusal::new(
                    StatusCode::REQUEST_TIMEOUT,
                    "the body stands still",
                ));
            }
        }
    }
    let stored = upload.finish().await?;
    Ok(if stored.replaced {
        StatusCode::NO_CONTENT.into_response()
    } else {
        StatusCode::CREATED.into_response()
    })
}

async fn download(app: &App, name: &ObjectName, headers: &HeaderMap) -> Result<Response, Refusal> {
    let wanted = wanted(headers);
    let download = app.store.get(name, wanted).await?;
    let mut response = Response::new(());
    describe(response.headers_mut(), &download.meta);
    let length = HeaderValue::from(download.left());
    response.headers_mut().insert(CONTENT_LENGTH, length);
    if let Some(range) = &download.range {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let (first, last) = (range.start, range.end.saturating_sub(1));
        let content = format!("bytes {first}-{last}/{}", download.meta.length);
        if let Ok(content) = HeaderValue::try_from(content) {
            response.headers_mut().insert(CONTENT_RANGE, content);
        }
    }
    let cut = app.clone();
    let body = download.take_until(async move { cut.reached(Phase::Closing).await });
    Ok(response.map(|()| Body::from_stream(body)))
}

async fn head(app: &App, name: &ObjectName) -> Result<Response, Refusal> {
    let meta = app.store.stat(name).await?;
    let mut response = Response::new(Body::empty());
    describe(response.headers_mut(), &meta);
    let length = HeaderValue::from(meta.length);
    response.headers_mut().insert(CONTENT_LENGTH, length);
    Ok(response)
}

async fn delete(app: &App, name: &ObjectName, headers: &HeaderMap) -> Result<Response, Refusal> {
    refuse_preconditions(headers)?;
    app.store.delete(name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn list(State(app): State<App>, request: Request) -> Result<Response, Refusal> {
    let (after, limit) = page(request.uri().query().unwrap_or(""))?;
    let objects = app.store.list(after, limit).await?;
    let mut text = String::new();
    for (name, length) in objects {
        text.push_str(&format!("{length} {}\n", name.to_path_segment()));
    }
    Ok(text.into_response())
}

/// COPY: readiness is not liveness. A storage that is overloaded gets better if it is sent less, and not if
/// it is killed.
async fn readyz(State(app): State<App>) -> Result<&'static str, Refusal> {
    if app.is_draining() {
        return Err(StoreError::Stopped.into());
    }
    app.store.answers().await?;
    Ok("ready\n")
}

async fn render_metrics(State(app): State<App>) -> impl IntoResponse {
    let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(CONTENT_TYPE, format)], metrics::render(&app.store))
}

async fn refuse_when_draining(State(app): State<App>, request: Request, next: Next) -> Response {
    if app.is_draining() {
        let body = request.into_body().into_data_stream();
        return Refusal::from(StoreError::Stopped).into_response_after(body);
    }
    next.run(request).await
}

async fn measure(State(app): State<App>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let response = next.run(request).await;
    let metrics = app.store.metrics();
    metrics.requests.record(started.elapsed());
    let class = usize::from(response.status().as_u16() / 100);
    if let Some(count) = metrics.responses.get(class) {
        count.fetch_add(1, Relaxed);
    }
    response
}

fn describe(headers: &mut HeaderMap, meta: &Meta) {
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Weak: two uploads of the same length within one tick of the file system's clock look alike.
    let age = meta.modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    let tag = format!("W/\"{:x}-{:x}\"", age.as_nanos(), meta.length);
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(ETAG, tag);
    }
}

/// The one valid range that a request asks for; anything else is ignored, as RFC 9110 says.
fn wanted(headers: &HeaderMap) -> Option<Wanted> {
    // `If-Range` needs a strong validator, and there is none: the client gets the whole object.
    if headers.contains_key(IF_RANGE) {
        return None;
    }
    let mut ranges = headers.get_all(RANGE).iter();
    match (ranges.next(), ranges.next()) {
        (Some(range), None) => Wanted::parse(range.to_str().ok()?),
        _ => None,
    }
}

/// A precondition that is ignored is a lost update: refused, since they are not kept.
fn refuse_preconditions(headers: &HeaderMap) -> Result<(), Refusal> {
    if [IF_MATCH, IF_NONE_MATCH, IF_UNMODIFIED_SINCE]
        .iter()
        .any(|name| headers.contains_key(name))
    {
        return Err(Refusal::new(
            StatusCode::NOT_IMPLEMENTED,
            "there are no conditional changes",
        ));
    }
    Ok(())
}

fn page(query: &str) -> Result<(Option<ObjectName>, usize), Refusal> {
    let (mut after, mut limit) = (None, LONGEST_PAGE);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("after", name)) => after = Some(ObjectName::from_raw_path(name)?),
            Some(("limit", number)) => match number.parse() {
                Ok(number) if (1..=LONGEST_PAGE).contains(&number) => limit = number,
                _ => {
                    return Err(Refusal::new(
                        StatusCode::BAD_REQUEST,
                        "the limit is 1 to 1000",
                    ));
                }
            },
            _ => {
                return Err(Refusal::new(
                    StatusCode::BAD_REQUEST,
                    "only `after` and `limit`",
                ));
            }
        }
    }
    Ok((after, limit))
}

/// A request that is not carried out, and what the client is told.
struct Refusal {
    status: StatusCode,
    message: String,
    header: Option<(axum::http::HeaderName, HeaderValue)>,
}

impl Refusal {
    fn new(status: StatusCode, message: impl ToString) -> Self {
        Self {
            status,
            message: message.to_string(),
            header: None,
        }
    }

    fn with(self, name: axum::http::HeaderName, value: HeaderValue) -> Self {
        Self {
            header: Some((name, value)),
            ..self
        }
    }

    /// Answers at once, and reads on for a while after it.
    ///
    /// A server that closes a connection with unread input makes the kernel reset it, and the client
    /// may lose the answer with it.
    fn into_response_after(self, body: BodyDataStream) -> Response {
        if body.is_end_stream() {
            return self.into_response();
        }
        let message = format!("{}\n", self.message);
        let until = tokio::time::Instant::now() + LINGER;
        let rest = stream::unfold(body, move |mut body| async move {
            match timeout_at(until, body.next()).await {
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
        response.headers_mut().extend(self.header);
        response
    }
}

impl From<NameError> for Refusal {
    fn from(error: NameError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }
}

/// COPY: the one place where what can go wrong in the storage becomes what a client is told.
impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let status = match &error {
            StoreError::NotFound => StatusCode::NOT_FOUND,
            StoreError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            StoreError::Full => StatusCode::INSUFFICIENT_STORAGE,
            StoreError::Range { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            StoreError::Busy | StoreError::Late | StoreError::Stopped => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            StoreError::Aborted => StatusCode::BAD_REQUEST,
            StoreError::Io(_) | StoreError::Job(_) => {
                // For the log; the client need not know the paths in it.
                eprintln!("{error}");
                return Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the storage failed");
            }
        };
        let refusal = Self::new(status, &error);
        match error {
            StoreError::Range { length } => {
                match HeaderValue::try_from(format!("bytes */{length}")) {
                    Ok(all) => refusal.with(CONTENT_RANGE, all),
                    Err(_) => refusal,
                }
            }
            StoreError::Busy | StoreError::Late | StoreError::Stopped => {
                refusal.with(RETRY_AFTER, HeaderValue::from_static("1"))
            }
            _ => refusal,
        }
    }
}
