//! The files, the clients, the checks and the figures. Nothing in here is for copying.

use std::{
    fs,
    io::{self, Write},
    net::SocketAddr,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    time::{Duration, SystemTime},
};

use examples_support::{Stopwatch, cpu_of_threads, micros};
use futures::future::try_join_all;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, header};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::server::{Config, Server, StartError, WorkerError};

/// Bytes of the large file; odd, so that its end is in the midst of a piece.
const LARGE: usize = (24 << 20) + 4321;
/// Longer than anything here takes, unless it hangs.
const LONG: Duration = Duration::from_secs(60);
const CLIENTS: usize = 16;

#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error("{0}")]
    Mismatch(String),
    #[error("{0}")]
    Start(#[from] StartError),
    #[error("{0}")]
    Worker(#[from] WorkerError),
    #[error("a client: {0:?}")]
    Client(#[from] reqwest::Error),
    #[error("a task: {0}")]
    Task(#[from] tokio::task::JoinError),
    #[error("it takes too long: {0}")]
    Hangs(&'static str),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("a FIFO: {0}")]
    Fifo(#[from] rustix::io::Errno),
}

pub(crate) type Result<T, E = DemoError> = std::result::Result<T, E>;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Threads that serve.
    pub(crate) workers: usize,
    /// Small files of the measurement.
    pub(crate) requests: usize,
}

/// Runs everything; the last line that it writes is `ok: ...`.
pub(crate) async fn run(plan: &Plan, out: &mut impl Write) -> Result<()> {
    let site = Site::new()?;
    let server = Server::start(config(&site, plan.workers))?;
    let client = client(server.addr())?;

    writeln!(out, "whole files, parts of them, versions of them")?;
    whole_files_are_sent(&client, &site).await?;
    let parts = parts_are_sent(&client, &site).await?;
    versions_are_told_apart(&client, &site).await?;
    writeln!(out, "what is not there, and what is not to be had")?;
    let refused = nothing_else_is_sent(&client, &site, server.addr()).await?;
    writeln!(out, "clients that are too slow, and too many")?;
    slow_clients_are_cut_off(&site, plan.workers).await?;
    figures(plan, &client, &site, out).await?;
    writeln!(out, "an end with a download under way")?;
    a_drain_finishes_downloads(&client, &site, server).await?;
    writeln!(
        out,
        "ok: {parts} parts verified, {refused} hostile requests refused, nothing outside of the root was sent"
    )?;
    Ok(())
}

fn config(site: &Site, workers: usize) -> Config {
    Config::new(([127, 0, 0, 1], 0).into(), site.root(), workers)
}

fn check(holds: bool, what: &str) -> Result<()> {
    if holds {
        Ok(())
    } else {
        Err(DemoError::Mismatch(what.to_owned()))
    }
}

/// Nothing that is waited for here may hang, or the whole would.
async fn bounded<T>(what: &'static str, work: impl Future<Output = T>) -> Result<T> {
    let done = timeout(LONG, work).await;
    done.map_err(|_| DemoError::Hangs(what))
}

// ---------------------------------------------------------------------------------------------------
// What is served.

/// A directory with a root in it, and a secret beside that.
pub(crate) struct Site {
    dir: tempfile::TempDir,
    large: Vec<u8>,
    /// Whether there are files that this process cannot read: not as root.
    locked: bool,
}

const SECRET: &str = "the secret";

impl Site {
    pub(crate) fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("sub/.well-known"))?;
        fs::create_dir(root.join(".git"))?;
        fs::write(dir.path().join("secret"), SECRET)?;
        fs::write(root.join(".git/config"), SECRET)?;
        fs::write(root.join("sub/.well-known/key"), "key")?;
        fs::write(root.join("index.html"), "<title>hello</title>")?;
        fs::write(root.join("sub/index.html"), "sub")?;
        fs::write(root.join("small"), vec![7; 4096])?;
        fs::write(root.join("empty"), "")?;
        fs::write(root.join("name with ä %2e"), "strange")?;
        // xorshift
        let mut state = 88_172_645_463_325_252_u64;
        let mut large = Vec::with_capacity(LARGE + 8);
        while large.len() < LARGE {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            large.extend_from_slice(&state.to_le_bytes());
        }
        large.truncate(LARGE);
        fs::write(root.join("large.bin"), &large)?;
        symlink("sub/index.html", root.join("inside"))?;
        symlink("../secret", root.join("outside"))?;
        symlink(dir.path().join("secret"), root.join("absolute"))?;
        symlink("..", root.join("up"))?;
        symlink("loop", root.join("loop"))?;
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.join("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o644),
            0,
        )?;
        fs::write(root.join("locked"), SECRET)?;
        fs::set_permissions(root.join("locked"), fs::Permissions::from_mode(0o000))?;
        let locked = fs::read(root.join("locked")).is_err();
        // As if they had been there for a while: then their tags are strong.
        for name in ["large.bin", "small", "index.html"] {
            set_age(&root.join(name), Duration::from_secs(3600))?;
        }
        Ok(Self { dir, large, locked })
    }

    pub(crate) fn root(&self) -> std::path::PathBuf {
        self.dir.path().join("root")
    }
}

fn set_age(path: &Path, age: Duration) -> io::Result<()> {
    let file = fs::OpenOptions::new().write(true).open(path)?;
    file.set_modified(SystemTime::now() - age)
}

// ---------------------------------------------------------------------------------------------------
// What is checked.

/// A client of one server: it takes any host for it.
pub(crate) struct Asks {
    client: Client,
    addr: SocketAddr,
}

pub(crate) fn client(addr: SocketAddr) -> Result<Asks> {
    let client = Client::builder().no_proxy().timeout(LONG).build()?;
    Ok(Asks { client, addr })
}

impl Asks {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("http://{}{path}", self.addr))
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }
}

fn said(answer: &Response, name: header::HeaderName) -> String {
    let value = answer.headers().get(name);
    let value = value.and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

async fn whole_files_are_sent(client: &Asks, site: &Site) -> Result<()> {
    let downloads = (0..CLIENTS).map(async |_| {
        let answer = client.get("/large.bin").send().await?;
        check(answer.status() == StatusCode::OK, "large: its status")?;
        check(answer.bytes().await? == site.large, "large: its bytes")
    });
    try_join_all(downloads).await?;
    for (path, kind, text) in [
        ("/", "text/html; charset=utf-8", "<title>hello</title>"),
        ("/sub/", "text/html; charset=utf-8", "sub"),
        ("/inside", "application/octet-stream", "sub"),
        ("/empty", "application/octet-stream", ""),
        ("/sub/.well-known/key", "application/octet-stream", "key"),
        (
            "/name%20with%20%C3%A4%20%252e",
            "application/octet-stream",
            "strange",
        ),
        (
            "/index.html?query=1",
            "text/html; charset=utf-8",
            "<title>hello</title>",
        ),
    ] {
        let answer = client.get(path).send().await?;
        check(answer.status() == StatusCode::OK, path)?;
        check(said(&answer, header::CONTENT_TYPE) == kind, path)?;
        check(answer.text().await? == text, path)?;
    }
    let answer = client.request(Method::HEAD, "/large.bin").send().await?;
    check(answer.status() == StatusCode::OK, "HEAD: its status")?;
    let length = said(&answer, header::CONTENT_LENGTH);
    check(length == LARGE.to_string(), "HEAD: its length")?;
    check(answer.bytes().await?.is_empty(), "HEAD: a body")
}

async fn parts_are_sent(client: &Asks, site: &Site) -> Result<usize> {
    let end = LARGE - 1;
    let mut parts = vec![
        ("bytes=0-0".to_owned(), 0..1),
        (format!("bytes={end}-"), end..LARGE),
        (format!("bytes=100-{}", u64::MAX), 100..LARGE),
        ("bytes=-10".to_owned(), LARGE - 10..LARGE),
    ];
    for n in 0..200 {
        let first = n * 104_729 % LARGE;
        let last = (first + n * n * 17).min(end);
        parts.push((format!("bytes={first}-{last}"), first..last + 1));
    }
    let all = parts.iter().map(async |(header, range)| {
        let answer = client.get("/large.bin").header(header::RANGE, header);
        let answer = answer.send().await?;
        check(answer.status() == StatusCode::PARTIAL_CONTENT, header)?;
        let expected = format!("bytes {}-{}/{LARGE}", range.start, range.end - 1);
        check(said(&answer, header::CONTENT_RANGE) == expected, header)?;
        check(answer.bytes().await? == site.large[range.clone()], header)
    });
    try_join_all(all).await?;

    let beyond = client.get("/small").header(header::RANGE, "bytes=4096-");
    let beyond = beyond.send().await?;
    check(beyond.status() == StatusCode::RANGE_NOT_SATISFIABLE, "416")?;
    check(
        said(&beyond, header::CONTENT_RANGE) == "bytes */4096",
        "416",
    )?;
    // Several at once, what is no range, and any with HEAD: the whole file.
    for (method, range) in [
        (Method::GET, "bytes=0-1,3-4"),
        (Method::GET, "lines=1-2"),
        (Method::HEAD, "bytes=0-1"),
    ] {
        let answer = client
            .request(method, "/small")
            .header(header::RANGE, range);
        let answer = answer.send().await?;
        check(answer.status() == StatusCode::OK, range)?;
        check(said(&answer, header::CONTENT_LENGTH) == "4096", range)?;
    }
    Ok(parts.len())
}

async fn versions_are_told_apart(client: &Asks, site: &Site) -> Result<()> {
    let answer = client.get("/small").send().await?;
    let tag = said(&answer, header::ETAG);
    let date = said(&answer, header::LAST_MODIFIED);
    check(
        tag.starts_with('"') && !date.is_empty(),
        "it has no version",
    )?;
    let weak = format!("W/{tag}");
    let several = format!("\"other\", {tag}");
    let not_modified = StatusCode::NOT_MODIFIED;
    for (name, value, status) in [
        (header::IF_NONE_MATCH, &*tag, not_modified),
        (header::IF_NONE_MATCH, &weak, not_modified),
        (header::IF_NONE_MATCH, &several, not_modified),
        (header::IF_NONE_MATCH, "*", not_modified),
        (header::IF_NONE_MATCH, "\"other\"", StatusCode::OK),
        (header::IF_MODIFIED_SINCE, &date, not_modified),
        (
            header::IF_MODIFIED_SINCE,
            "Thu, 01 Jan 1970 00:00:00 GMT",
            StatusCode::OK,
        ),
        (header::IF_MODIFIED_SINCE, "nonsense", StatusCode::OK),
    ] {
        let answer = client.get("/small").header(&name, value).send().await?;
        check(answer.status() == status, &format!("{name}: {value}"))?;
        check(said(&answer, header::ETAG) == tag, "another tag")?;
    }
    // A part of this version, or the whole of another one.
    for (condition, status) in [
        (&*tag, StatusCode::PARTIAL_CONTENT),
        (&date, StatusCode::PARTIAL_CONTENT),
        (&weak, StatusCode::OK),
        ("\"other\"", StatusCode::OK),
        ("Thu, 01 Jan 1970 00:00:00 GMT", StatusCode::OK),
    ] {
        let answer = client
            .get("/small")
            .header(header::RANGE, "bytes=0-9")
            .header(header::IF_RANGE, condition);
        check(answer.send().await?.status() == status, condition)?;
    }
    // Written again, with the same length and date.
    fs::write(site.root().join("small"), vec![8; 4096])?;
    set_age(&site.root().join("small"), Duration::from_secs(3600))?;
    let answer = client.get("/small").header(header::IF_NONE_MATCH, &tag);
    check(
        answer.send().await?.status() == StatusCode::OK,
        "an old tag",
    )?;
    // So new that it may be written again within the same tick.
    fs::write(site.root().join("small"), vec![9; 4096])?;
    let answer = client.get("/small").send().await?;
    check(
        said(&answer, header::ETAG).starts_with("W/"),
        "a new file's tag",
    )
}

/// What it answers to some bytes, until it closes.
async fn raw(addr: SocketAddr, request: &str) -> Result<String> {
    let mut socket = TcpStream::connect(addr).await?;
    let mut answer = Vec::new();
    let whole = async {
        socket.write_all(request.as_bytes()).await?;
        socket.read_to_end(&mut answer).await
    };
    bounded("an answer", whole).await??;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

async fn nothing_else_is_sent(client: &Asks, site: &Site, addr: SocketAddr) -> Result<usize> {
    // By hand: a client would mend most of it before it sends it.
    let mut hostile = vec![
        ("/../secret", "403"),
        ("/sub/../../secret", "403"),
        ("/sub/..", "403"),
        ("/%2e%2e/secret", "403"),
        ("/%2E%2e%2Fsecret", "403"),
        ("/sub/%2e%2e/%2e%2e/secret", "403"),
        // Decoded once, they are names.
        ("/%252e%252e/secret", "404"),
        ("/%252e%252e%252fsecret", "404"),
        ("/%c0%ae%c0%ae/secret", "404"),
        ("/..%5csecret", "400"),
        ("/..%00/secret", "400"),
        ("/index.html%00.png", "400"),
        ("/%zz", "400"),
        ("/index.html%2", "400"),
        ("/outside", "403"),
        ("/absolute", "403"),
        ("/up/secret", "403"),
        ("/up/root/index.html", "403"),
        ("/loop", "403"),
        ("//etc/passwd", "404"),
        ("/sub//index.html", "404"),
        ("/./index.html", "404"),
        ("/.git/config", "404"),
        ("/sub", "404"),
        ("/fifo", "404"),
        ("/index.html/", "404"),
        ("/none", "404"),
        ("http://other/../secret", "403"),
    ];
    if site.locked {
        hostile.push(("/locked", "403"));
    }
    for (path, status) in &hostile {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = raw(addr, &request).await?;
        let expected = format!("HTTP/1.1 {status} ");
        check(
            answer.starts_with(&expected) && !answer.contains(SECRET),
            &format!("{path}: {answer}"),
        )?;
    }
    let long = format!("/{}", "a".repeat(5000));
    check(
        client.get(&long).send().await?.status() == StatusCode::NOT_FOUND,
        "a long name",
    )?;
    for method in [Method::PUT, Method::DELETE, Method::POST, Method::OPTIONS] {
        let answer = client
            .request(method, "/index.html")
            .body("x")
            .send()
            .await?;
        check(answer.status() == StatusCode::METHOD_NOT_ALLOWED, "405")?;
        check(said(&answer, header::ALLOW) == "GET, HEAD", "405")?;
    }
    let nonsense = raw(addr, "nonsense\r\n\r\n").await?;
    check(nonsense.starts_with("HTTP/1.1 400"), "nonsense is answered")?;
    Ok(hostile.len() + 6)
}

/// Asks for the large file, and takes nothing of it but its beginning.
async fn take_nothing(addr: SocketAddr) -> Result<TcpStream> {
    let mut socket = TcpStream::connect(addr).await?;
    socket
        .write_all(b"GET /sparse HTTP/1.1\r\nhost: x\r\n\r\n")
        .await?;
    let mut begun = [0; 15];
    bounded("an answer's beginning", socket.read_exact(&mut begun)).await??;
    check(begun.starts_with(b"HTTP/1.1 200"), "it is not sent")?;
    Ok(socket)
}

async fn slow_clients_are_cut_off(site: &Site, workers: usize) -> Result<()> {
    const PLACES: usize = 3;
    // More than all the buffers in between together.
    fs::File::create(site.root().join("sparse"))?.set_len(1 << 30)?;
    let mut config = config(site, workers);
    config.places = PLACES;
    config.queue = Duration::from_millis(50);
    config.head = Duration::from_millis(200);
    config.stall = Duration::from_millis(1000);
    let server = Server::start(config)?;
    let addr = server.addr();
    let client = client(addr)?;

    // Who holds all places without taking anything gives them back, if not of its own will.
    let slow = try_join_all((0..PLACES).map(|_| take_nothing(addr))).await?;
    let answer = client.get("/small").send().await?;
    check(answer.status() == StatusCode::SERVICE_UNAVAILABLE, "no 503")?;
    check(said(&answer, header::RETRY_AFTER) == "1", "no Retry-After")?;
    let free = async {
        loop {
            let answer = client.get("/small").send().await?;
            if answer.status() == StatusCode::OK {
                return Ok::<_, DemoError>(());
            }
        }
    };
    bounded("a place", free).await??;
    // Neither half a head nor silence is waited for.
    for begun in ["GET /small HTTP/1.1\r\nhost:", ""] {
        let answer = raw(addr, begun).await?;
        check(!answer.contains("200 OK"), "half a head was answered")?;
    }
    // By then all of them have been given up.
    check(server.drain().await?, "it did not drain")?;
    for mut slow in slow {
        let read = async {
            let mut sum = 0_u64;
            let mut buffer = vec![0; 1 << 16];
            loop {
                match slow.read(&mut buffer).await {
                    Ok(0) | Err(_) => return sum,
                    Ok(read) => sum += read as u64,
                }
            }
        };
        let got = bounded("the end of a slow client", read).await?;
        check(got < 1 << 30, "it was sent all of it")?;
    }
    Ok(())
}

async fn a_drain_finishes_downloads(client: &Asks, site: &Site, server: Server) -> Result<()> {
    let mut download = client.get("/large.bin").send().await?;
    let draining = tokio::spawn(server.drain());
    let gone = async {
        while TcpStream::connect(client.addr).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    bounded("the listeners' end", gone).await?;
    let mut at = 0;
    while let Some(piece) = download.chunk().await? {
        check(site.large[at..].starts_with(&piece), "a drained download")?;
        at += piece.len();
    }
    check(at == LARGE, "a download was cut off")?;
    check(
        bounded("a drain", draining).await???,
        "something was cut off",
    )
}

// ---------------------------------------------------------------------------------------------------
// The figures.

async fn figures(plan: &Plan, client: &Asks, site: &Site, out: &mut impl Write) -> Result<()> {
    let Plan { workers, requests } = *plan;
    let each = requests.div_ceil(CLIENTS);
    let rounds = requests.div_ceil(2000);
    writeln!(out, "\n{workers} workers, {CLIENTS} clients")?;
    for (path, each, size) in [
        ("/index.html", each, 20),
        ("/large.bin", rounds.div_ceil(CLIENTS), site.large.len()),
    ] {
        let before = cpu_of_threads("files");
        let watch = Stopwatch::start();
        let all = (0..CLIENTS).map(async |_| {
            for _ in 0..each {
                let mut answer = client.get(path).send().await?;
                let mut length = 0;
                while let Some(piece) = answer.chunk().await? {
                    length += piece.len();
                }
                check(length == size, "another length")?;
            }
            Ok::<_, DemoError>(())
        });
        try_join_all(all).await?;
        let cost = watch.stop();
        let files = CLIENTS * each;
        let cpu = cpu_of_threads("files").zip(before);
        let cpu = cpu.map_or(cost.cpu, |(after, before)| after.saturating_sub(before));
        writeln!(
            out,
            "{path:>12}: {:>8.0} files/s, {:>7.0} MiB/s, {:>8.1} us of CPU each of the server's threads",
            files as f64 / cost.wall.as_secs_f64(),
            (files * size) as f64 / cost.wall.as_secs_f64() / f64::from(1 << 20),
            micros(cpu / files as u32),
        )?;
    }
    writeln!(out)?;
    Ok(())
}
