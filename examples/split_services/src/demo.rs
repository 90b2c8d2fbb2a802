//! The demonstration: everything that is claimed of the two processes, seen from an HTTP client.

mod child;

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use axum::http::{
    HeaderValue, Method, StatusCode,
    header::{ETAG, IF_MATCH, IF_NONE_MATCH, RETRY_AFTER},
};
use bytes::Bytes;
use examples_support::{Cost, Stopwatch, median};
use futures::{SinkExt, StreamExt, TryStreamExt, channel::mpsc, stream};
use landbridge::CompioPool;
use reqwest::{Body, Client, RequestBuilder, Response};
use tokio::task::JoinHandle;

use crate::{
    deadline::Deadline,
    front::{self, Front, FrontError, HEALTHZ, READYZ, X_TIMEOUT_MS},
    link::{Link, LinkError},
    proto::{GetRequest, StatusReply, StatusRequest, get_reply},
    store::{Limits, Must, Name, Store, StoreError},
};
use child::Child;

/// Operations at a time that the storage is started with.
const IN_FLIGHT: usize = 12;
/// Connections between the two, and workers of the storage.
const CONNECTIONS: usize = 2;
/// What a large body is sent in.
const PIECE: usize = 100_000;
/// What is measured with.
const SMALL: usize = 4096;

/// How much is done.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) objects: usize,
    /// The large object, in bytes: larger than a message may be, and the largest that is taken.
    pub(crate) large: usize,
    pub(crate) rounds: usize,
    /// Requests in a round.
    pub(crate) requests: usize,
    /// More arguments of the storage.
    pub(crate) storage: &'static [&'static str],
    /// For the whole.
    pub(crate) timeout: Duration,
}

impl Plan {
    pub(crate) fn full() -> Self {
        Self {
            objects: 100,
            large: 48 << 20,
            rounds: 5,
            requests: 500,
            storage: &[],
            timeout: Duration::from_secs(60),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error("{0}")]
    Mismatch(String),
    #[error("not done after {0:?}")]
    Late(Duration),
    #[error(transparent)]
    Front(#[from] FrontError),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("the storage: {0}")]
    Storage(#[from] tonic::Status),
    #[error("a request: {0:?}")]
    Request(#[from] reqwest::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Task(#[from] tokio::task::JoinError),
    #[error("the storage in this process: {0}")]
    Store(#[from] StoreError),
    #[error("the pool of this process: {0}")]
    Pool(#[from] landbridge::error::BuildError),
    #[error("a job of this process: {0}")]
    Job(#[from] landbridge::JoinError),
}

type Result<T, E = DemoError> = std::result::Result<T, E>;

pub(crate) async fn run(plan: &Plan, out: &mut impl Write) -> Result<()> {
    let done = tokio::time::timeout(plan.timeout, demonstrate(plan, out)).await;
    done.unwrap_or(Err(DemoError::Late(plan.timeout)))
}

async fn demonstrate(plan: &Plan, out: &mut impl Write) -> Result<()> {
    let dir = tempfile::Builder::new()
        .prefix("split_services-")
        .tempdir()?;
    let mut demo = Demo::start(plan, dir.path().to_owned()).await?;
    writeln!(
        out,
        "two processes: the front is {}, the storage {}",
        std::process::id(),
        demo.status().await?.driver
    )?;

    let mut verified = demo.load(plan).await?;
    writeln!(
        out,
        "load: {} objects written, replaced and read, {verified} bytes",
        plan.objects
    )?;
    verified += demo.large(plan).await?;
    writeln!(
        out,
        "streams: {} bytes in and out, where a message may have 4 MiB",
        plan.large
    )?;
    demo.connections_are_shared_out().await?;

    demo.codes(plan).await?;
    writeln!(out, "codes: 400, 404, 412, 413 carried across")?;
    demo.too_much().await?;
    writeln!(
        out,
        "codes: 429 with Retry-After for what comes beyond {IN_FLIGHT} operations, none of which is lost"
    )?;
    demo.deadlines().await?;
    writeln!(
        out,
        "deadlines: 504, and the storage has stopped, too, and taken back what was begun"
    )?;

    demo.killed_and_started_again(plan, out).await?;
    demo.terminated(plan).await?;
    writeln!(
        out,
        "SIGTERM: an upload under way was finished, new requests were told 503, it ended well"
    )?;

    demo.measure(plan, out).await?;
    demo.end().await?;
    writeln!(
        out,
        "ok: {verified} bytes verified through two processes, one of them killed"
    )?;
    Ok(())
}

pub(crate) struct Demo {
    dir: PathBuf,
    /// None while there is none.
    storage: Option<Child>,
    addr: SocketAddr,
    front: Option<Front>,
    /// A way to the storage that is not the front's.
    link: Link,
    client: Client,
    /// What is stored.
    objects: Vec<(String, Bytes)>,
}

impl Demo {
    pub(crate) async fn start(plan: &Plan, dir: PathBuf) -> Result<Self> {
        let storage = start_storage(&dir, plan).await?;
        let mut config = front::Config::new(([127, 0, 0, 1], 0).into(), dir.join("storage.sock"));
        config.connections = CONNECTIONS;
        let front = Front::start(&config).await?;
        Ok(Self {
            storage: Some(storage),
            addr: front.addr(),
            front: Some(front),
            link: Link::new(&config.storage, 1)?,
            client: Client::builder().no_proxy().build()?,
            objects: Vec::new(),
            dir,
        })
    }

    #[cfg(test)]
    pub(crate) fn storage(&self) -> Result<&Child> {
        let storage = self.storage.as_ref();
        storage.ok_or_else(|| DemoError::Mismatch("there is no storage".to_owned()))
    }

    pub(crate) fn take_front(&mut self) -> Result<Front> {
        let front = self.front.take();
        front.ok_or_else(|| DemoError::Mismatch("there is no front".to_owned()))
    }

    fn take_storage(&mut self) -> Result<Child> {
        let storage = self.storage.take();
        storage.ok_or_else(|| DemoError::Mismatch("there is no storage".to_owned()))
    }

    pub(crate) async fn end(mut self) -> Result<()> {
        let storage = self.take_storage()?;
        // A connection that a client keeps, and that is idle, does not hold up the end.
        if !self.take_front()?.drain(front::GRACE).await {
            return mismatch("the front has not ended in time");
        }
        storage.terminate()?;
        check(
            storage.ended().await?.success(),
            || "the storage has not ended well",
        )
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("http://{}{path}", self.addr);
        self.client.request(method, url)
    }

    pub(crate) fn object(&self, method: Method, name: &str) -> RequestBuilder {
        self.request(method, &format!("/objects/{name}"))
    }

    pub(crate) async fn put(
        &self,
        name: &str,
        content: &Bytes,
        status: StatusCode,
    ) -> Result<HeaderValue> {
        let answer = self
            .object(Method::PUT, name)
            .body(content.clone())
            .send()
            .await?;
        tag(&expect(answer, status)?)
    }

    /// Reads an object, and compares.
    pub(crate) async fn get(&self, name: &str, content: &Bytes) -> Result<u64> {
        let answer = self.object(Method::GET, name).send().await?;
        let got = expect(answer, StatusCode::OK)?.bytes().await?;
        check(got == content, || format!("{name} is not what was stored"))?;
        Ok(got.len() as u64)
    }

    pub(crate) async fn status(&self) -> Result<StatusReply> {
        Ok(self
            .link
            .storage()
            .status(StatusRequest {})
            .await?
            .into_inner())
    }

    /// Waits until the storage says so. Bounded by the plan's timeout.
    pub(crate) async fn until(&self, so: impl Fn(&StatusReply) -> bool) -> Result<()> {
        while !so(&self.status().await?) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// Many objects at a time, of many lengths.
    async fn load(&mut self, plan: &Plan) -> Result<u64> {
        let lengths = [0, 1, 1000, 65_537, 300_000, 1 << 20];
        let work = (0..plan.objects).map(|n| {
            let this = &*self;
            async move {
                let (name, length) = (format!("object-{n}"), lengths[n % lengths.len()]);
                let first = content(n as u64, length);
                let second = content(!(n as u64), length / 2 + n);
                let old = this.put(&name, &first, StatusCode::CREATED).await?;
                let mut bytes = this.get(&name, &first).await?;
                let new = this.put(&name, &second, StatusCode::NO_CONTENT).await?;
                bytes += this.get(&name, &second).await?;
                check(old != new, || "two uploads have the same entity tag")?;
                let head = this.object(Method::HEAD, &name).send().await?;
                let head = expect(head, StatusCode::OK)?;
                check(
                    head.content_length() == Some(0)
                        || head.headers()["content-length"] == second.len().to_string(),
                    || format!("HEAD of {name} tells another length"),
                )?;
                Ok::<_, DemoError>(((name, second), bytes))
            }
        });
        let mut results = stream::iter(work).buffer_unordered(IN_FLIGHT - 2);
        let (mut objects, mut verified) = (Vec::new(), 0);
        while let Some((object, bytes)) = results.try_next().await? {
            objects.push(object);
            verified += bytes;
        }
        drop(results);
        self.objects = objects;
        Ok(verified)
    }

    /// An object larger than a message, in pieces, and without a length told before.
    async fn large(&mut self, plan: &Plan) -> Result<u64> {
        let large = content(7, plan.large);
        let pieces = stream::iter(pieces(&large).map(Ok::<_, io::Error>).collect::<Vec<_>>());
        let put = self
            .object(Method::PUT, "large")
            .body(Body::wrap_stream(pieces));
        expect(put.send().await?, StatusCode::CREATED)?;
        let mut answer = expect(
            self.object(Method::GET, "large").send().await?,
            StatusCode::OK,
        )?;
        let mut place = 0;
        while let Some(chunk) = answer.chunk().await? {
            let expected = large.get(place..place + chunk.len());
            check(expected == Some(&chunk[..]), || {
                format!("the large object is another at byte {place}")
            })?;
            place += chunk.len();
        }
        check(place == large.len(), || "the large object is cut short")?;
        self.objects.push(("large".to_owned(), large));
        Ok(place as u64)
    }

    /// A gRPC client has one connection for all its calls: the storage must not have given all to one worker.
    async fn connections_are_shared_out(&self) -> Result<()> {
        let connections = self.status().await?.connections;
        let (most, least) = (connections.iter().max(), connections.iter().min());
        check(
            most.zip(least)
                .is_some_and(|(most, least)| most - least <= 1),
            || format!("the workers have {connections:?} connections"),
        )
    }

    async fn codes(&self, plan: &Plan) -> Result<()> {
        for method in [Method::GET, Method::HEAD, Method::DELETE] {
            let answer = self.object(method, "none").send().await?;
            expect(answer, StatusCode::NOT_FOUND)?;
        }
        expect(
            self.object(Method::GET, ".hidden").send().await?,
            StatusCode::BAD_REQUEST,
        )?;

        let one = content(1, 10);
        let old = self.put("tied", &one, StatusCode::CREATED).await?;
        let tied = |tag: &HeaderValue| {
            self.object(Method::PUT, "tied")
                .header(IF_MATCH, tag)
                .body(one.clone())
        };
        let answer = expect(tied(&old).send().await?, StatusCode::NO_CONTENT)?;
        let new = tag(&answer)?;
        // Somebody else's change was in between: a lost update, if it were not refused.
        expect(tied(&old).send().await?, StatusCode::PRECONDITION_FAILED)?;
        let only_new = self
            .object(Method::PUT, "tied")
            .header(IF_NONE_MATCH, "*")
            .body(one.clone());
        expect(only_new.send().await?, StatusCode::PRECONDITION_FAILED)?;
        let delete = |tag: &HeaderValue| self.object(Method::DELETE, "tied").header(IF_MATCH, tag);
        expect(delete(&old).send().await?, StatusCode::PRECONDITION_FAILED)?;
        expect(delete(&new).send().await?, StatusCode::NO_CONTENT)?;

        // It is refused in the middle, and the client still gets to read why.
        let too_large = content(2, plan.large + 1);
        let undone = self.status().await?.uploads_undone;
        let answer = self
            .object(Method::PUT, "too-large")
            .body(too_large)
            .send()
            .await?;
        expect(answer, StatusCode::PAYLOAD_TOO_LARGE)?;
        self.until(|status| status.uploads_undone > undone).await
    }

    async fn too_much(&mut self) -> Result<()> {
        let mut held = Vec::new();
        for n in 0..IN_FLIGHT {
            held.push(self.hold(&format!("held-{n}"), None).await?);
        }
        self.until(|status| status.in_flight == IN_FLIGHT as u64)
            .await?;
        let refused = self.object(Method::GET, "large").send().await?;
        check(
            refused
                .headers()
                .get(RETRY_AFTER)
                .is_some_and(|after| after == "1"),
            || "429 without Retry-After",
        )?;
        expect(refused, StatusCode::TOO_MANY_REQUESTS)?;
        // Nor does a readiness probe take a place.
        expect(
            self.request(Method::GET, READYZ).send().await?,
            StatusCode::OK,
        )?;
        for held in held {
            let (name, content, answer) = held.finish().await?;
            expect(answer, StatusCode::CREATED)?;
            self.get(&name, &content).await?;
            self.objects.push((name, content));
        }
        Ok(())
    }

    async fn deadlines(&self) -> Result<()> {
        let before = self.status().await?;
        let held = self.hold("late", Some(150)).await?;
        let answer = held.answer.await??;
        expect(answer, StatusCode::GATEWAY_TIMEOUT)?;
        // The storage was told by the deadline that it knows, or by the front that let go: whichever came first.
        self.until(|status| status.in_flight == 0 && status.uploads_undone > before.uploads_undone)
            .await?;
        expect(
            self.object(Method::HEAD, "late").send().await?,
            StatusCode::NOT_FOUND,
        )?;
        let late = self.object(Method::GET, "large").header(X_TIMEOUT_MS, 0);
        expect(late.send().await?, StatusCode::GATEWAY_TIMEOUT).map(drop)
    }

    async fn killed_and_started_again(&mut self, plan: &Plan, out: &mut impl Write) -> Result<()> {
        let held = self.hold("cut-off", None).await?;
        self.until(|status| status.in_flight == 1).await?;
        self.take_storage()?.kill().await?;

        expect(held.answer.await??, StatusCode::SERVICE_UNAVAILABLE)?;
        for _ in 0..2 * CONNECTIONS {
            let answer = self.object(Method::GET, "large").send().await?;
            check(
                answer.headers().contains_key(RETRY_AFTER),
                || "503 without Retry-After",
            )?;
            expect(answer, StatusCode::SERVICE_UNAVAILABLE)?;
        }
        expect(
            self.request(Method::GET, READYZ).send().await?,
            StatusCode::SERVICE_UNAVAILABLE,
        )?;
        expect(
            self.request(Method::GET, HEALTHZ).send().await?,
            StatusCode::OK,
        )?;
        writeln!(
            out,
            "SIGKILL: 503 with Retry-After, the upload under way included; not ready, and alive"
        )?;

        let again = Stopwatch::start();
        self.storage = Some(start_storage(&self.dir, plan).await?);
        // At once, on every connection: nobody has told the front.
        for _ in 0..2 * CONNECTIONS {
            expect(
                self.object(Method::HEAD, "large").send().await?,
                StatusCode::OK,
            )?;
        }
        let again = again.stop().wall;
        expect(
            self.request(Method::GET, READYZ).send().await?,
            StatusCode::OK,
        )?;
        expect(
            self.object(Method::HEAD, "cut-off").send().await?,
            StatusCode::NOT_FOUND,
        )?;
        let left = std::fs::read_dir(self.dir.join("data/incoming"))?.count();
        check(left == 0, || "an upload that was cut off has left a file")?;
        for (name, content) in &self.objects {
            self.get(name, content).await?;
        }
        writeln!(
            out,
            "started again: recovered after {again:.0?}, every object is there, and nothing of the one cut off"
        )?;
        Ok(())
    }

    async fn terminated(&mut self, plan: &Plan) -> Result<()> {
        let held = self.hold("in-time", None).await?;
        self.until(|status| status.in_flight == 1).await?;
        let mut storage = self.take_storage()?;
        storage.terminate()?;
        storage.says("draining").await?;
        // It may still have heard of a request or two; none is lost without a word.
        while self.object(Method::HEAD, "large").send().await?.status()
            != StatusCode::SERVICE_UNAVAILABLE
        {}
        let (name, content, answer) = held.finish().await?;
        expect(answer, StatusCode::CREATED)?;
        storage.says("drained").await?;
        check(
            storage.ended().await?.success(),
            || "the storage has not ended well",
        )?;

        self.storage = Some(start_storage(&self.dir, plan).await?);
        self.get(&name, &content).await?;
        self.objects.push((name, content));
        Ok(())
    }

    /// What the second process costs, in turns with the same storage in this one.
    async fn measure(&self, plan: &Plan, out: &mut impl Write) -> Result<()> {
        let small = content(3, SMALL);
        self.put("small", &small, StatusCode::CREATED).await?;
        let here = Here::open(&self.dir.join("here"), &small).await?;
        let mut costs = [const { Vec::new() }; 4];
        let mut transfers = [const { Vec::new() }; 2];
        let large = content(9, plan.large);
        let times = u32::try_from(plan.requests).unwrap_or(u32::MAX);
        for _ in 0..plan.rounds {
            let watch = Stopwatch::start();
            for _ in 0..times {
                check(
                    here.get().await? == small,
                    || "the object of this process is another",
                )?;
            }
            costs[0].push(watch.stop().each(times));
            let watch = Stopwatch::start();
            for _ in 0..times {
                check(
                    self.get_by_grpc("small").await? == small,
                    || "small is another by gRPC",
                )?;
            }
            costs[1].push(watch.stop().each(times));
            let watch = Stopwatch::start();
            for _ in 0..times {
                expect(
                    self.request(Method::GET, HEALTHZ).send().await?,
                    StatusCode::OK,
                )?
                .bytes()
                .await?;
            }
            costs[2].push(watch.stop().each(times));
            let watch = Stopwatch::start();
            for _ in 0..times {
                self.get("small", &small).await?;
            }
            costs[3].push(watch.stop().each(times));

            let watch = Stopwatch::start();
            let answer = self
                .object(Method::PUT, "transfer")
                .body(large.clone())
                .send()
                .await?;
            check(
                answer.status().is_success(),
                || "the large upload was refused",
            )?;
            transfers[0].push(watch.stop());
            let watch = Stopwatch::start();
            self.get("transfer", &large).await?;
            transfers[1].push(watch.stop());
        }
        here.pool.shutdown().await;

        writeln!(
            out,
            "one at a time, {SMALL} bytes, median of {} rounds; CPU is that of the front's process:",
            plan.rounds
        )?;
        let names = [
            "the storage in this process, by pool.run",
            "the storage's process, by gRPC",
            "the front alone, by HTTP (/healthz)",
            "both, by HTTP",
        ];
        for (name, costs) in names.iter().zip(&costs) {
            writeln!(out, "  {name:<42} {}", median(costs))?;
        }
        for (name, costs) in ["upload", "download"].iter().zip(&transfers) {
            let Cost { wall, .. } = median(costs);
            let rate = plan.large as f64 / f64::from(1 << 20) / wall.as_secs_f64();
            writeln!(
                out,
                "  {name} of {} MiB through both, durable: {rate:.0} MiB/s",
                plan.large >> 20
            )?;
        }
        Ok(())
    }

    async fn get_by_grpc(&self, name: &str) -> Result<Bytes> {
        let asked = Deadline::after(Duration::from_secs(10)).carry(GetRequest {
            name: name.to_owned(),
        });
        let mut replies = self.link.storage().get(asked).await?.into_inner();
        let mut got = Bytes::new();
        while let Some(reply) = replies.message().await? {
            if let Some(get_reply::Part::Chunk(chunk)) = reply.part {
                got = chunk;
            }
        }
        Ok(got)
    }

    /// An upload that has begun, and waits for its last piece.
    pub(crate) async fn hold(&self, name: &str, millis: Option<u64>) -> Result<Held> {
        let content = content(name.len() as u64, 300_000);
        let (mut pieces, body) = mpsc::channel(0);
        let mut put = self.object(Method::PUT, name);
        if let Some(millis) = millis {
            put = put.header(X_TIMEOUT_MS, millis);
        }
        let body = Body::wrap_stream(body.map(Ok::<Bytes, io::Error>));
        let answer = tokio::spawn(put.body(body).send());
        let first = content.slice(..content.len() / 2);
        // An error: there is an answer already.
        _ = pieces.send(first).await;
        Ok(Held {
            name: name.to_owned(),
            content,
            pieces,
            answer,
        })
    }
}

pub(crate) struct Held {
    name: String,
    content: Bytes,
    pieces: mpsc::Sender<Bytes>,
    answer: JoinHandle<reqwest::Result<Response>>,
}

impl Held {
    pub(crate) async fn finish(mut self) -> Result<(String, Bytes, Response)> {
        let rest = self.content.slice(self.content.len() / 2..);
        _ = self.pieces.send(rest).await;
        drop(self.pieces);
        Ok((self.name, self.content, self.answer.await??))
    }
}

/// The same storage, in this process: what the second process is compared with.
struct Here {
    pool: CompioPool,
    store: Arc<Store>,
    name: Name,
}

impl Here {
    async fn open(dir: &std::path::Path, small: &Bytes) -> Result<Self> {
        let limits = Limits {
            object: u64::MAX,
            in_flight: IN_FLIGHT,
        };
        std::fs::create_dir_all(dir)?;
        let store = Arc::new(Store::open(dir, limits)?);
        let pool = CompioPool::builder()
            .threads(CONNECTIONS)
            .thread_name("here")
            .build()?;
        let name: Name = "small".parse()?;
        let (to, named, small) = (Arc::clone(&store), name.clone(), small.clone());
        let put = pool.run(async move || {
            let mut upload = to.upload().await?;
            upload.write(small).await?;
            upload.commit(&named, Must::Anything).await
        });
        put.await??;
        Ok(Self { pool, store, name })
    }

    async fn get(&self) -> Result<Bytes> {
        let (store, name) = (Arc::clone(&self.store), self.name.clone());
        let got = self
            .pool
            .run(async move || store.get(&name).await?.next(SMALL).await);
        Ok(got.await??)
    }
}

async fn start_storage(dir: &std::path::Path, plan: &Plan) -> Result<Child> {
    let (threads, in_flight, most) = (
        CONNECTIONS.to_string(),
        IN_FLIGHT.to_string(),
        plan.large.to_string(),
    );
    let mut more = vec![
        "--threads",
        &threads,
        "--in-flight",
        &in_flight,
        "--max-object",
        &most,
    ];
    more.extend(plan.storage);
    Ok(Child::start(&dir.join("storage.sock"), &dir.join("data"), &more).await?)
}

fn pieces(content: &Bytes) -> impl Iterator<Item = Bytes> {
    let starts = (0..content.len()).step_by(PIECE);
    starts.map(|start| content.slice(start..content.len().min(start + PIECE)))
}

/// Bytes that are nowhere the same.
pub(crate) fn content(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

fn tag(answer: &Response) -> Result<HeaderValue> {
    let tag = answer.headers().get(ETAG).cloned();
    tag.ok_or_else(|| DemoError::Mismatch("an answer without an entity tag".to_owned()))
}

pub(crate) fn expect(answer: Response, status: StatusCode) -> Result<Response> {
    check(answer.status() == status, || {
        format!(
            "{} was answered with {}, not {status}",
            answer.url(),
            answer.status()
        )
    })?;
    Ok(answer)
}

fn check<S: Into<String>>(so: bool, what: impl FnOnce() -> S) -> Result<()> {
    if so { Ok(()) } else { mismatch(what()) }
}

fn mismatch<T>(what: impl Into<String>) -> Result<T> {
    Err(DemoError::Mismatch(what.into()))
}
