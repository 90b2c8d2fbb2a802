//! The demonstration: drives the server with a real client, and checks everything that comes back.
//!
//! Nothing in here is for copying. The client streams in both directions, as the server does, and knows
//! the content of every object from its seed alone, so that neither side keeps an object in memory.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fmt, fs,
    io::{self, Write},
    net::SocketAddr,
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use landbridge::pool::PoolMetrics;
use reqwest::{
    Body, Client, Method, RequestBuilder, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE, RETRY_AFTER},
};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    task::JoinHandle,
};

use crate::{
    metrics::Histogram,
    name::ObjectName,
    server::{Config, Server, StartError},
};

/// How much the demonstration does.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Objects, besides those with odd names and odd lengths.
    pub(crate) objects: u64,
    /// The largest object, in bytes; the server refuses more.
    pub(crate) largest: u64,
    /// Requests at a time.
    pub(crate) at_once: usize,
    /// If it takes longer than this, something hangs.
    pub(crate) timeout: Duration,
}

impl Plan {
    pub(crate) fn full() -> Self {
        Self {
            objects: 300,
            largest: 64 << 20,
            at_once: 32,
            timeout: Duration::from_secs(300),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error("{0}")]
    Mismatch(String),
    #[error("a request failed: {}", chain(.0))]
    Client(#[from] reqwest::Error),
    #[error("{0}")]
    Start(#[from] StartError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("a task of the demonstration failed: {0}")]
    Task(#[from] tokio::task::JoinError),
    #[error("not done after {0:?}")]
    Timeout(Duration),
}

pub(crate) type Result<T, E = DemoError> = std::result::Result<T, E>;

/// Runs everything; the last line that it writes is `ok: ...`.
pub(crate) async fn run(mut config: Config, plan: &Plan, out: &mut impl Write) -> Result<()> {
    let started = Instant::now();
    config.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.limits.object = plan.largest;
    let all = async {
        let stats = Arc::new(Stats::default());
        let server = Server::start(&config).await?;
        let demo = Demo::with_stats(server.addr(), Arc::clone(&stats))?;
        demo.clear().await?;

        writeln!(out, "load: {} at a time", plan.at_once)?;
        let objects = load(&demo, plan).await?;
        demo.check_list(&objects).await?;
        writeln!(out, "refusals")?;
        names_are_stored_or_refused(&demo).await?;
        methods_and_ranges(&demo, &objects).await?;
        too_large(&demo, plan.largest).await?;
        limits(&config).await?;
        writeln!(out, "requests that are killed half-way")?;
        killed_uploads_leave_nothing(&demo, &config.dir, &objects).await?;
        killed_downloads_end(&demo, &objects).await?;
        let first = server.store().pool().metrics();
        writeln!(out, "drain, restart, and everything once more")?;
        let late = drain(server, &demo).await?;

        let server = Server::start(&config).await?;
        let demo = Demo::with_stats(server.addr(), Arc::clone(&stats))?;
        let objects: BTreeMap<_, _> = objects
            .into_iter()
            .chain([(late.name.clone(), late)])
            .collect();
        let bytes = demo.verify(&objects, plan.at_once).await?;
        let second = server.store().pool().metrics();
        if !server.drain(Duration::from_secs(10)).await {
            return mismatch("an idle server did not drain");
        }
        expect_empty(&config.dir.join("incoming"))?;
        stats.print(out)?;
        print_pool(out, &[first, second])?;
        writeln!(out, "{:.1} s", started.elapsed().as_secs_f64())?;
        writeln!(out, "ok: {} objects, {bytes} bytes verified", objects.len())?;
        Ok(())
    };
    tokio::time::timeout(plan.timeout, all)
        .await
        .map_err(|_| DemoError::Timeout(plan.timeout))?
}

// ---------------------------------------------------------------------------------------------------
// The load.

/// An object as it should be.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) name: ObjectName,
    seed: u64,
    length: u64,
    digest: Vec<u8>,
}

impl Object {
    pub(crate) async fn new(name: &str, seed: u64, length: u64) -> Result<Self> {
        let name = ObjectName::new(name)
            .map_err(|error| DemoError::Mismatch(format!("{name:?}: {error}")))?;
        Ok(Self {
            name,
            seed,
            length,
            digest: digest(seed, 0..length).await,
        })
    }
}

/// Lengths at which something may go wrong: ends of pages, chunks and buffers.
const LENGTHS: [u64; 14] = [
    0,
    1,
    2,
    4095,
    4096,
    4097,
    65_535,
    65_536,
    262_143,
    262_144,
    262_145,
    1 << 20,
    (1 << 20) + 1,
    5_000_003,
];

/// Names that only a store with a careful encoding keeps apart.
fn odd_names() -> Vec<String> {
    let mut names: Vec<_> = [
        "Case",
        "case",
        "CASE",
        "..",
        "%2e%2e",
        "%252F",
        "a b+c",
        "?x=1&y=2",
        "#fragment",
        "\\..\\up",
        "\n\t\u{7f}",
        "\u{fc}ber/\u{2603}",
        "u\u{308}ber",
        "~!$&'()*,;=:@",
        "con.txt.",
    ]
    .iter()
    .map(|name| format!("demo-{}", name.replace('/', "-")))
    .collect();
    names.push("demo-".to_owned() + &"l".repeat(250));
    names
}

/// Stores, replaces, reads, reads in part and deletes, many objects at a time; what is there at the end.
async fn load(demo: &Demo, plan: &Plan) -> Result<BTreeMap<ObjectName, Object>> {
    let mut lengths: Vec<(String, u64)> = Vec::new();
    // The largest first: it takes longest.
    for part in [1, 4, 4, 2] {
        lengths.push((format!("demo-large-{}", lengths.len()), plan.largest / part));
    }
    lengths.extend(LENGTHS.map(|length| (format!("demo-edge-{length}"), length.min(plan.largest))));
    lengths.extend((0_u64..).zip(odd_names()).map(|(n, name)| (name, 1000 + n)));
    for n in 0..plan.objects {
        // Spread evenly over the orders of magnitude up to 1 MiB.
        let random = splitmix(n);
        let length = (1 << (random % 21)) + (random >> 32) % (1 << (random % 21));
        lengths.push((format!("demo-{n:04}"), length.min(plan.largest)));
    }
    let work = (0_u64..).zip(lengths).map(|(n, (name, length))| {
        let demo = demo.clone();
        async move { tokio::spawn(async move { one(&demo, n, &name, length).await }).await? }
    });
    let mut objects = BTreeMap::new();
    let mut results = stream::iter(work).buffer_unordered(plan.at_once);
    while let Some(left) = results.next().await {
        objects.extend(left?.map(|object| (object.name.clone(), object)));
    }
    Ok(objects)
}

/// The life of one object; what is left of it.
async fn one(demo: &Demo, n: u64, name: &str, length: u64) -> Result<Option<Object>> {
    let mut object = Object::new(name, n, length).await?;
    // Every other upload says its length, the rest are chunked.
    let declared = n.is_multiple_of(2);
    demo.put(&object, declared, StatusCode::CREATED).await?;
    demo.get(&object).await?;
    if n % 3 == 2 {
        object = Object::new(name, n + 1_000_000, length / 2 + n).await?;
        demo.put(&object, !declared, StatusCode::NO_CONTENT).await?;
        demo.get(&object).await?;
    }
    demo.head(&object).await?;
    if n % 4 < 2 && object.length > 0 {
        let length = object.length;
        let middle = length / 3..(length / 3 + 300_000).min(length);
        demo.range(
            &object,
            middle.clone(),
            &format!("{}-{}", middle.start, middle.end - 1),
        )
        .await?;
        let tail = length.saturating_sub(1000)..length;
        demo.range(&object, tail.clone(), "-1000").await?;
        demo.range(&object, tail.clone(), &format!("{}-", tail.start))
            .await?;
    }
    if name.len() == 9 && n % 5 == 4 {
        demo.delete(&object.name, StatusCode::NO_CONTENT).await?;
        demo.delete(&object.name, StatusCode::NOT_FOUND).await?;
        let gone = demo.object(Method::GET, &object.name).send().await?;
        expect(&gone, StatusCode::NOT_FOUND)?;
        return Ok(None);
    }
    Ok(Some(object))
}

// ---------------------------------------------------------------------------------------------------
// The refusals.

/// What reqwest would never send: so it is written to the socket as it is.
async fn names_are_stored_or_refused(demo: &Demo) -> Result<()> {
    let long = format!("demo-{}", "x".repeat(251));
    for name in [
        "",
        ".",
        "..",
        "%2e%2e",
        "%2E%2E",
        ".%2e",
        "../demo",
        "../../etc/passwd",
        "demo/x",
        "/",
        "demo/",
        "demo%2Fx",
        "demo%2fx",
        "%2e%2e%2fdemo",
        "demo%00",
        "%00",
        "%ff",
        "%c0%af",
        "demo%",
        "demo%zz",
        "demo?x=1",
        "demo\u{fc}",
        &long,
    ] {
        for method in ["PUT", "GET", "HEAD", "DELETE"] {
            let body = if method == "PUT" {
                "Content-Length: 1\r\n\r\nx"
            } else {
                "\r\n"
            };
            let head = format!(
                "{method} /objects/{name} HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n{body}"
            );
            let mut socket = TcpStream::connect(demo.addr).await?;
            socket.write_all(head.as_bytes()).await?;
            let mut answer = Vec::new();
            socket.read_to_end(&mut answer).await?;
            let answer = String::from_utf8_lossy(&answer);
            if !answer.starts_with("HTTP/1.1 400 ") {
                return mismatch(format!(
                    "{method} {name:?} was answered with {answer:?}, not 400"
                ));
            }
        }
    }
    Ok(())
}

async fn methods_and_ranges(demo: &Demo, objects: &BTreeMap<ObjectName, Object>) -> Result<()> {
    let Some(object) = objects.values().find(|object| object.length > 10_000) else {
        return mismatch("there is no object to read from");
    };
    let post = demo.object(Method::POST, &object.name).send().await?;
    expect(&post, StatusCode::METHOD_NOT_ALLOWED)?;
    let unknown = demo
        .client
        .get(format!("{}/elsewhere", demo.base))
        .send()
        .await?;
    expect(&unknown, StatusCode::NOT_FOUND)?;
    for probe in ["healthz", "readyz"] {
        let url = format!("{}/{probe}", demo.base);
        expect(&demo.client.get(url).send().await?, StatusCode::OK)?;
    }

    let length = object.length;
    for range in [format!("bytes={length}-"), "bytes=-0".into()] {
        let answer = demo
            .object(Method::GET, &object.name)
            .header(RANGE, &range)
            .send()
            .await?;
        expect(&answer, StatusCode::RANGE_NOT_SATISFIABLE)?;
        expect_header(
            &answer,
            CONTENT_RANGE.as_str(),
            &format!("bytes */{length}"),
        )?;
    }
    // Not valid, or more than one: the whole object.
    for range in ["bytes=5-4", "bytes=x", "lines=1-2", "bytes=0-1,3-4"] {
        let answer = demo
            .object(Method::GET, &object.name)
            .header(RANGE, range)
            .send()
            .await?;
        expect(&answer, StatusCode::OK)?;
        check_digest(answer, length, &object.digest).await?;
    }
    // Changes that depend on a condition would be lost updates, if the condition were ignored.
    let conditional = demo
        .object(Method::PUT, &object.name)
        .header("If-None-Match", "*")
        .body("x");
    expect(&conditional.send().await?, StatusCode::NOT_IMPLEMENTED)?;
    demo.get(object).await
}

async fn too_large(demo: &Demo, largest: u64) -> Result<()> {
    for declared in [true, false] {
        let object = Object {
            name: name("demo-too-large")?,
            seed: 0,
            length: largest + 1,
            digest: Vec::new(),
        };
        demo.put(&object, declared, StatusCode::PAYLOAD_TOO_LARGE)
            .await?;
        let gone = demo.object(Method::GET, &object.name).send().await?;
        expect(&gone, StatusCode::NOT_FOUND)?;
    }
    Ok(())
}

/// 507 and 503, on a server with room for one object and two requests.
async fn limits(config: &Config) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut config = config.clone();
    config.dir = dir.path().to_owned();
    config.limits.capacity = 200_000;
    config.limits.in_flight = 2;
    let server = Server::start(&config).await?;
    let demo = Demo::new(server.addr())?;
    let first = Object::new("demo-first", 1, 120_000).await?;
    let second = Object::new("demo-second", 2, 120_000).await?;
    demo.put(&first, true, StatusCode::CREATED).await?;
    for declared in [true, false] {
        demo.put(&second, declared, StatusCode::INSUFFICIENT_STORAGE)
            .await?;
    }
    demo.get(&first).await?;
    demo.delete(&first.name, StatusCode::NO_CONTENT).await?;
    demo.put(&second, false, StatusCode::CREATED).await?;

    let held = [
        Held::new(&demo, "demo-held-0", None).await?,
        Held::new(&demo, "demo-held-1", None).await?,
    ];
    demo.until("object_store_operations_in_flight", 2).await?;
    let refused = demo.object(Method::GET, &second.name).send().await?;
    expect(&refused, StatusCode::SERVICE_UNAVAILABLE)?;
    expect_header(&refused, RETRY_AFTER.as_str(), "1")?;
    demo.put(&first, true, StatusCode::SERVICE_UNAVAILABLE)
        .await?;
    for held in held {
        expect(&held.finish().await?, StatusCode::CREATED)?;
    }
    demo.get(&second).await?;
    if !server.drain(Duration::from_secs(10)).await {
        return mismatch("the small server did not drain");
    }
    Ok(())
}

// ---------------------------------------------------------------------------------------------------
// Clients that go away, and the server's own end.

async fn killed_uploads_leave_nothing(
    demo: &Demo,
    dir: &Path,
    objects: &BTreeMap<ObjectName, Object>,
) -> Result<()> {
    let incoming = dir.join("incoming");
    let Some(old) = objects.values().next() else {
        return mismatch("there is no object to replace");
    };
    let new = name("demo-killed")?;
    // With a length and without: the server sees two quite different ends.
    for length in [Some(1_000_000), None] {
        for name in [&new, &old.name] {
            let held = Held::new(demo, name.as_str(), length).await?;
            let begun = |_: &str| fs::read_dir(&incoming).is_ok_and(|mut dir| dir.next().is_some());
            demo.wait_for("an unfinished upload on the disk", begun)
                .await?;
            held.kill().await;
            demo.until("object_store_operations_in_flight", 0).await?;
            expect_empty(&incoming)?;
        }
        let gone = demo.object(Method::GET, &new).send().await?;
        expect(&gone, StatusCode::NOT_FOUND)?;
        demo.get(old).await?;
    }
    Ok(())
}

async fn killed_downloads_end(demo: &Demo, objects: &BTreeMap<ObjectName, Object>) -> Result<()> {
    let Some(large) = objects.values().max_by_key(|object| object.length) else {
        return mismatch("there is no object to read");
    };
    for _ in 0..4 {
        let mut answer = demo.object(Method::GET, &large.name).send().await?;
        expect(&answer, StatusCode::OK)?;
        answer.chunk().await?;
        drop(answer);
        demo.until("object_store_operations_in_flight", 0).await?;
    }
    Ok(())
}

/// Ends the server in the middle of an upload; the object that this has left.
async fn drain(server: Server, demo: &Demo) -> Result<Object> {
    let held = Held::new(demo, "demo-late", None).await?;
    demo.until("object_store_operations_in_flight", 1).await?;
    let mut kept = Kept::connect(demo.addr).await?;
    let before = kept.get("/readyz").await?;
    if !before.starts_with("HTTP/1.1 200 ") {
        return mismatch(format!("/readyz was answered with {before:?}"));
    }
    let draining = tokio::spawn(server.drain(Duration::from_secs(30)));
    // The connection was there before: it is told. New ones are not made any more, as soon as the
    // listener is gone.
    let told = Instant::now();
    while !kept.get("/readyz").await?.starts_with("HTTP/1.1 503 ")
        || TcpStream::connect(demo.addr).await.is_ok()
    {
        if told.elapsed() > Duration::from_secs(30) {
            return mismatch("the server does not begin to drain");
        }
    }
    let alive = kept.get("/healthz").await?;
    if !alive.starts_with("HTTP/1.1 200 ") {
        return mismatch(format!("/healthz was answered with {alive:?}"));
    }
    let refused = kept.get("/objects/demo-0000").await?;
    if !refused.starts_with("HTTP/1.1 503 ")
        || !refused.to_lowercase().contains("\r\nretry-after: 1\r\n")
    {
        return mismatch(format!("a draining server answered {refused:?}"));
    }
    let digest = held.digest();
    let (name, length) = (held.name.clone(), held.length());
    expect(&held.finish().await?, StatusCode::CREATED)?;
    if !draining.await? {
        return mismatch("the server cut off an upload that was about to end");
    }
    Ok(Object {
        name,
        seed: Held::SEED,
        length,
        digest,
    })
}

/// An upload that stands still after its first part.
pub(crate) struct Held {
    pub(crate) name: ObjectName,
    rest: mpsc::Sender<Bytes>,
    answer: JoinHandle<reqwest::Result<Response>>,
}

impl Held {
    const SEED: u64 = 77;
    const PART: u64 = 20_000;

    pub(crate) async fn new(demo: &Demo, text: &str, length: Option<u64>) -> Result<Self> {
        let name = name(text)?;
        let (rest, mut parts) = mpsc::channel(1);
        let first = stream::iter(content(Self::SEED, 0..Self::PART));
        let rest_of_it = stream::poll_fn(move |cx| parts.poll_recv(cx));
        let body = Body::wrap_stream(first.chain(rest_of_it).map(Ok::<_, Infallible>));
        let mut request = demo.object(Method::PUT, &name).body(body);
        if let Some(length) = length {
            request = request.header(CONTENT_LENGTH, length);
        }
        Ok(Self {
            name,
            rest,
            answer: tokio::spawn(request.send()),
        })
    }

    pub(crate) fn length(&self) -> u64 {
        2 * Self::PART
    }

    fn digest(&self) -> Vec<u8> {
        let mut hash = Sha256::new();
        content(Self::SEED, 0..self.length()).for_each(|chunk| hash.update(chunk));
        hash.finalize().to_vec()
    }

    pub(crate) async fn finish(self) -> Result<Response> {
        for chunk in content(Self::SEED, Self::PART..self.length()) {
            // If nobody takes it, the answer tells why.
            _ = self.rest.send(chunk).await;
        }
        drop(self.rest);
        Ok(self.answer.await??)
    }

    /// Goes away, as a client does whose process ends: the connection is closed.
    pub(crate) async fn kill(self) {
        self.answer.abort();
        _ = self.answer.await;
        // Until the connection has let go of the body: were `rest` dropped before, the body would
        // end, and the upload with it, as if it were whole.
        self.rest.closed().await;
    }
}

/// A connection that is kept, and used again.
pub(crate) struct Kept(TcpStream);

impl Kept {
    pub(crate) async fn connect(addr: SocketAddr) -> Result<Self> {
        Ok(Self(TcpStream::connect(addr).await?))
    }

    /// The head of the answer.
    pub(crate) async fn get(&mut self, target: &str) -> Result<String> {
        let request = format!("GET {target} HTTP/1.1\r\nHost: demo\r\n\r\n");
        self.0.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let length = head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, length)| length.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        self.0.read_exact(&mut body).await?;
        Ok(head)
    }
}

// ---------------------------------------------------------------------------------------------------
// The client.

#[derive(Clone)]
pub(crate) struct Demo {
    client: Client,
    addr: SocketAddr,
    base: String,
    stats: Arc<Stats>,
}

impl Demo {
    pub(crate) fn new(addr: SocketAddr) -> Result<Self> {
        Self::with_stats(addr, Arc::default())
    }

    fn with_stats(addr: SocketAddr, stats: Arc<Stats>) -> Result<Self> {
        Ok(Self {
            client: Client::builder().no_proxy().build()?,
            addr,
            base: format!("http://{addr}"),
            stats,
        })
    }

    pub(crate) fn object(&self, method: Method, name: &ObjectName) -> RequestBuilder {
        let url = format!("{}/objects/{}", self.base, name.to_path_segment());
        self.client.request(method, url)
    }

    pub(crate) async fn put(
        &self,
        object: &Object,
        declared: bool,
        status: StatusCode,
    ) -> Result<()> {
        let chunks = stream::iter(content(object.seed, 0..object.length));
        let mut request = self
            .object(Method::PUT, &object.name)
            .body(Body::wrap_stream(chunks.map(Ok::<_, Infallible>)));
        if declared {
            request = request.header(CONTENT_LENGTH, object.length);
        }
        let started = Instant::now();
        let answer = request.send().await?;
        expect(&answer, status)?;
        if status.is_success() {
            self.stats.put.record(started, object.length);
        }
        Ok(())
    }

    pub(crate) async fn get(&self, object: &Object) -> Result<()> {
        let started = Instant::now();
        let answer = self.object(Method::GET, &object.name).send().await?;
        expect(&answer, StatusCode::OK)?;
        expect_header(&answer, "content-length", &object.length.to_string())?;
        check_digest(answer, object.length, &object.digest).await?;
        self.stats.get.record(started, object.length);
        Ok(())
    }

    async fn range(&self, object: &Object, range: Range<u64>, text: &str) -> Result<()> {
        let expected = digest(object.seed, range.clone()).await;
        let started = Instant::now();
        let request = self.object(Method::GET, &object.name);
        let answer = request
            .header(RANGE, format!("bytes={text}"))
            .send()
            .await?;
        expect(&answer, StatusCode::PARTIAL_CONTENT)?;
        let (first, last, all) = (range.start, range.end - 1, object.length);
        expect_header(
            &answer,
            CONTENT_RANGE.as_str(),
            &format!("bytes {first}-{last}/{all}"),
        )?;
        let length = range.end - range.start;
        check_digest(answer, length, &expected).await?;
        self.stats.range.record(started, length);
        Ok(())
    }

    pub(crate) async fn head(&self, object: &Object) -> Result<()> {
        let started = Instant::now();
        let answer = self.object(Method::HEAD, &object.name).send().await?;
        self.stats.head.record(started, 0);
        expect(&answer, StatusCode::OK)?;
        expect_header(&answer, "content-length", &object.length.to_string())
    }

    async fn delete(&self, name: &ObjectName, status: StatusCode) -> Result<()> {
        let started = Instant::now();
        let answer = self.object(Method::DELETE, name).send().await?;
        self.stats.delete.record(started, 0);
        expect(&answer, status)
    }

    /// All objects of the demonstration, page by page.
    pub(crate) async fn list(&self) -> Result<Vec<(ObjectName, u64)>> {
        // Small, so that there are several pages.
        const PAGE: usize = 50;

        let mut objects = Vec::new();
        let mut after = String::new();
        loop {
            let url = format!("{}/objects?limit={PAGE}{after}", self.base);
            let started = Instant::now();
            let answer = self.client.get(url).send().await?;
            expect(&answer, StatusCode::OK)?;
            let page = answer.text().await?;
            self.stats.list.record(started, page.len() as u64);
            for line in page.lines() {
                let object = line.split_once(' ').and_then(|(length, name)| {
                    Some((ObjectName::from_raw_path(name).ok()?, length.parse().ok()?))
                });
                let Some((name, length)) = object else {
                    return mismatch(format!("the list has a line {line:?}"));
                };
                objects.push((name, length));
            }
            match objects.last() {
                Some((last, _)) if page.lines().count() == PAGE => {
                    after = format!("&after={}", last.to_path_segment());
                }
                _ => break,
            }
        }
        objects.retain(|(name, _)| name.as_str().starts_with("demo-"));
        Ok(objects)
    }

    /// Removes what an earlier run has left in the same directory.
    async fn clear(&self) -> Result<()> {
        for (name, _) in self.list().await? {
            expect(
                &self.object(Method::DELETE, &name).send().await?,
                StatusCode::NO_CONTENT,
            )?;
        }
        Ok(())
    }

    async fn check_list(&self, objects: &BTreeMap<ObjectName, Object>) -> Result<()> {
        let expected = objects
            .values()
            .map(|object| (object.name.clone(), object.length));
        let (expected, listed): (Vec<_>, _) = (expected.collect(), self.list().await?);
        if listed == expected {
            return Ok(());
        }
        let different = expected.iter().zip(&listed).find(|(a, b)| a != b);
        mismatch(format!(
            "{} objects are listed, {} expected; the first difference: {different:?}",
            listed.len(),
            expected.len()
        ))
    }

    /// Reads everything again; the number of bytes.
    async fn verify(&self, objects: &BTreeMap<ObjectName, Object>, at_once: usize) -> Result<u64> {
        self.check_list(objects).await?;
        let reads = objects.values().cloned().map(|object| {
            let demo = self.clone();
            async move {
                let length = object.length;
                tokio::spawn(async move { demo.get(&object).await }).await??;
                Ok::<_, DemoError>(length)
            }
        });
        let mut reads = stream::iter(reads).buffer_unordered(at_once);
        let mut bytes = 0;
        while let Some(length) = reads.next().await {
            bytes += length?;
        }
        Ok(bytes)
    }

    pub(crate) async fn metrics(&self) -> Result<String> {
        let answer = self
            .client
            .get(format!("{}/metrics", self.base))
            .send()
            .await?;
        expect(&answer, StatusCode::OK)?;
        Ok(answer.text().await?)
    }

    /// Asks the server until one of its metrics has the value.
    pub(crate) async fn until(&self, metric: &str, value: u64) -> Result<()> {
        let line = format!("{metric} {value}");
        let found = |metrics: &str| metrics.lines().any(|found| found == line);
        self.wait_for(&line, found).await
    }

    /// Asks the server for its metrics until the condition holds.
    pub(crate) async fn wait_for(
        &self,
        what: &str,
        mut condition: impl FnMut(&str) -> bool,
    ) -> Result<()> {
        let started = Instant::now();
        while !condition(&self.metrics().await?) {
            if started.elapsed() > Duration::from_secs(30) {
                return mismatch(format!("waited in vain for: {what}"));
            }
        }
        Ok(())
    }
}

fn name(text: &str) -> Result<ObjectName> {
    ObjectName::new(text).map_err(|error| DemoError::Mismatch(format!("{text:?}: {error}")))
}

fn mismatch<T>(what: impl Into<String>) -> Result<T> {
    Err(DemoError::Mismatch(what.into()))
}

fn expect(answer: &Response, status: StatusCode) -> Result<()> {
    if answer.status() == status {
        return Ok(());
    }
    let (found, url) = (answer.status(), answer.url());
    mismatch(format!("{url} was answered with {found}, not {status}"))
}

fn expect_header(answer: &Response, name: &str, value: &str) -> Result<()> {
    let found = answer.headers().get(name);
    if found.is_some_and(|found| found.as_bytes() == value.as_bytes()) {
        return Ok(());
    }
    mismatch(format!(
        "{}: {name} is {found:?}, not {value:?}",
        answer.url()
    ))
}

fn expect_empty(dir: &Path) -> Result<()> {
    match fs::read_dir(dir)?.next() {
        None => Ok(()),
        Some(entry) => mismatch(format!("{} was left behind", entry?.path().display())),
    }
}

async fn check_digest(mut answer: Response, length: u64, expected: &[u8]) -> Result<()> {
    let url = answer.url().clone();
    let mut hash = Sha256::new();
    let mut found = 0;
    while let Some(chunk) = answer.chunk().await? {
        found += chunk.len() as u64;
        hash.update(chunk);
    }
    if found != length {
        return mismatch(format!("{url} has {found} bytes, not {length}"));
    }
    if hash.finalize()[..] != *expected {
        return mismatch(format!(
            "{url}: the {length} bytes are not those that were stored"
        ));
    }
    Ok(())
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

// ---------------------------------------------------------------------------------------------------
// Content that is known from its seed and its place.

const BLOCK: u64 = 64 * 1024;

fn splitmix(state: u64) -> u64 {
    let mut z = state.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn block(seed: u64, index: u64) -> Bytes {
    let start = splitmix(splitmix(seed) ^ index);
    (0..BLOCK / 8)
        .flat_map(|n| splitmix(start.wrapping_add(n)).to_le_bytes())
        .collect()
}

/// The bytes of an object, from anywhere to anywhere, in chunks.
fn content(seed: u64, range: Range<u64>) -> impl Iterator<Item = Bytes> + Send + 'static {
    let blocks = range.start / BLOCK..range.end.div_ceil(BLOCK);
    blocks.map(move |index| {
        let first = index * BLOCK;
        let from = range.start.saturating_sub(first) as usize;
        let to = (range.end - first).min(BLOCK) as usize;
        block(seed, index).slice(from..to)
    })
}

async fn digest(seed: u64, range: Range<u64>) -> Vec<u8> {
    let mut hash = Sha256::new();
    for chunk in content(seed, range) {
        hash.update(chunk);
        // Other requests are under way on this thread.
        tokio::task::yield_now().await;
    }
    hash.finalize().to_vec()
}

// ---------------------------------------------------------------------------------------------------
// The table.

#[derive(Default)]
struct Stats {
    put: Op,
    get: Op,
    range: Op,
    head: Op,
    delete: Op,
    list: Op,
}

#[derive(Default)]
struct Op {
    times: Histogram,
    bytes: AtomicU64,
}

impl Op {
    fn record(&self, started: Instant, bytes: u64) {
        self.times.record(started.elapsed());
        self.bytes.fetch_add(bytes, Relaxed);
    }
}

impl Stats {
    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "\n{:8}{:>10}{:>12}{:>12}{:>12}",
            "", "requests", "bytes", "p50", "p99"
        )?;
        for (name, op) in [
            ("PUT", &self.put),
            ("GET", &self.get),
            ("range", &self.range),
            ("HEAD", &self.head),
            ("DELETE", &self.delete),
            ("list", &self.list),
        ] {
            let (count, bytes) = (op.times.count(), op.bytes.load(Relaxed));
            let [p50, p99] = [0.5, 0.99].map(|q| Millis(op.times.quantile(q)));
            writeln!(
                out,
                "{name:8}{count:>10}{:>12}{p50:>12}{p99:>12}",
                Mebi(bytes)
            )?;
        }
        Ok(())
    }
}

fn print_pool(out: &mut impl Write, pools: &[PoolMetrics]) -> io::Result<()> {
    let workers = || pools.iter().flat_map(|pool| &pool.workers);
    let crossings: u64 = workers().map(|worker| worker.crossings_in).sum();
    let sent: u64 = workers().map(|worker| worker.wakeups_sent).sum();
    let saved: u64 = workers().map(|worker| worker.wakeups_saved).sum();
    let threads = pools.first().map_or(0, |pool| pool.workers.len());
    let driver = workers()
        .next()
        .map_or("none".to_owned(), |worker| format!("{:?}", worker.driver));
    writeln!(out, "\nstorage threads {threads}, driver {driver}")?;
    writeln!(
        out,
        "crossings {crossings}, wake-ups sent {sent}, saved {saved}"
    )
}

struct Millis(Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:.2} ms", self.0.as_secs_f64() * 1e3))
    }
}

struct Mebi(u64);

impl fmt::Display for Mebi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:.1} MiB", self.0 as f64 / f64::from(1 << 20)))
    }
}
