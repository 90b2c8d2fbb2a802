//! The other process, the clients, the kills, the checks and the figures. Nothing in here is for copying.

use std::{
    collections::HashMap,
    ffi::OsString,
    io::{self, Write},
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use redis::{AsyncConnectionConfig, aio::MultiplexedConnection};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdout},
    sync::Notify,
    task::JoinSet,
    time::timeout,
};

use crate::record;

/// Clients that write while the server is killed; they share connections.
const CLIENTS: usize = 24;
const CONNECTIONS: usize = 8;
/// Keys of each client, one of which is a counter.
const KEYS: usize = 16;
/// Longer than anything here takes, unless it hangs.
const LONG: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error("{0}")]
    Mismatch(String),
    #[error("a client: {0}")]
    Client(#[from] redis::RedisError),
    #[error("the server ended before it listened")]
    NotListening,
    #[error("it takes too long: {0}")]
    Hangs(&'static str),
    #[error("a task: {0}")]
    Task(#[from] tokio::task::JoinError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

pub(crate) type Result<T, E = DemoError> = std::result::Result<T, E>;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Shards.
    pub(crate) workers: usize,
    pub(crate) kills: usize,
    /// Of a measurement; none without.
    pub(crate) requests: usize,
}

/// Runs everything; the last line that it writes is `ok: ...`. `child` makes a process that does what this program
/// does with those arguments.
pub(crate) async fn run(
    plan: &Plan,
    child: &impl Fn(&[OsString]) -> Command,
    out: &mut impl Write,
) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let start = |workers| Process::start(child, dir.path(), workers);

    writeln!(out, "every command, pipelines, hostile clients")?;
    let server = start(plan.workers).await?;
    commands_are_answered(&server).await?;
    pipelines_are_answered_in_order(&server).await?;
    hostile_clients_are_turned_away(&server).await?;
    redis_cli_is_served(&server, out).await?;
    server.terminate().await?;

    let mut ledgers = vec![Ledger::default(); CLIENTS];
    let (mut acknowledged, mut checked) = (0, 0);
    for kill in 1..=plan.kills {
        let server = start(plan.workers).await?;
        checked += verify(&server, &mut ledgers).await?;
        let load = Load::start(&server, ledgers).await?;
        load.wait_for(CLIENTS * 20 * kill).await?;
        server.kill().await?;
        let (done, after) = load.end().await?;
        acknowledged += done;
        ledgers = after;
        check(
            ledgers.iter().any(Ledger::is_in_doubt),
            "nothing was under way when it was killed",
        )?;
        writeln!(out, "kill {kill}: {done} writes were acknowledged")?;
        tear(dir.path())?;
    }
    // Another number of shards: the keys have other homes.
    let server = start(plan.workers + 1).await?;
    check(server.cut_off > 0, "it has not seen the torn records")?;
    checked += verify(&server, &mut ledgers).await?;

    let load = Load::start(&server, ledgers).await?;
    load.wait_for(CLIENTS * 20).await?;
    server.terminate().await?;
    let (done, mut ledgers) = load.end().await?;
    acknowledged += done;
    writeln!(
        out,
        "SIGTERM: {done} writes were acknowledged, and it drained"
    )?;
    let server = start(plan.workers).await?;
    check(server.cut_off == 0, "a drain has torn a record")?;
    checked += verify(&server, &mut ledgers).await?;
    server.terminate().await?;

    if plan.requests > 0 {
        figures(plan, child, out).await?;
    }
    writeln!(
        out,
        "ok: {acknowledged} acknowledged writes over {} kills, {checked} values checked, nothing lost",
        plan.kills
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

/// Nothing that is waited for here may hang, or the whole would.
async fn bounded<T>(what: &'static str, work: impl Future<Output = T>) -> Result<T> {
    let done = timeout(LONG, work).await;
    done.map_err(|_| DemoError::Hangs(what))
}

// ---------------------------------------------------------------------------------------------------
// The server, in a process of its own.

pub(crate) struct Process {
    child: Child,
    /// What it says.
    lines: Lines<BufReader<ChildStdout>>,
    pub(crate) addr: SocketAddr,
    /// How many bytes it has cut off its logs.
    cut_off: u64,
}

impl Process {
    async fn start(
        child: &impl Fn(&[OsString]) -> Command,
        data: &Path,
        workers: usize,
    ) -> Result<Self> {
        let mut args = ["--listen", "127.0.0.1:0", "--workers"]
            .map(OsString::from)
            .to_vec();
        args.push(workers.to_string().into());
        args.extend(["--data".into(), data.into()]);
        let mut command = tokio::process::Command::from(child(&args));
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let Some(stdout) = child.stdout.take() else {
            return Err(DemoError::NotListening);
        };
        let mut lines = BufReader::new(stdout).lines();
        let mut cut_off = 0;
        while let Some(line) = bounded("the server's start", lines.next_line()).await?? {
            if let Some((_, rest)) = line.split_once("cut off ") {
                let bytes = rest.split(' ').next().and_then(|bytes| bytes.parse().ok());
                cut_off = bytes.unwrap_or(0);
            }
            if let Some((_, addr)) = line.split_once("listening on ")
                && let Ok(addr) = addr.parse()
            {
                return Ok(Self {
                    child,
                    lines,
                    addr,
                    cut_off,
                });
            }
        }
        Err(DemoError::NotListening)
    }

    /// As `kill -9` does.
    async fn kill(mut self) -> Result<()> {
        self.child.start_kill()?;
        bounded("the end of a killed process", self.child.wait()).await??;
        Ok(())
    }

    /// Asks it to end, as an orchestrator does.
    async fn terminate(mut self) -> Result<()> {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        let id = id.and_then(rustix::process::Pid::from_raw);
        let Some(id) = id else {
            return Err(DemoError::Mismatch("it has ended by itself".to_owned()));
        };
        rustix::process::kill_process(id, rustix::process::Signal::TERM)
            .map_err(io::Error::from)?;
        let mut drained = false;
        while let Some(line) = bounded("a drain", self.lines.next_line()).await?? {
            drained |= line.contains("drained");
        }
        let status = bounded("a drained server's end", self.child.wait()).await??;
        check(status.success() && drained, "it did not drain")
    }

    async fn client(&self) -> Result<MultiplexedConnection> {
        connect(self.addr).await
    }
}

async fn connect(addr: SocketAddr) -> Result<MultiplexedConnection> {
    let client = redis::Client::open(format!("redis://{addr}/"))?;
    // Half a second is its own default: a slow disk may need more.
    let config = AsyncConnectionConfig::new()
        .set_response_timeout(Some(LONG))
        .set_connection_timeout(Some(LONG));
    Ok(client
        .get_multiplexed_async_connection_with_config(&config)
        .await?)
}

// ---------------------------------------------------------------------------------------------------
// What is checked once.

async fn commands_are_answered(server: &Process) -> Result<()> {
    use redis::cmd;

    let mut client = server.client().await?;
    let client = &mut client;
    let text: String = cmd("PING").query_async(client).await?;
    check(text == "PONG", "PING")?;
    let text: String = cmd("ECHO").arg("a\r\nb").query_async(client).await?;
    check(text == "a\r\nb", "ECHO")?;
    let none: Option<String> = cmd("GET").arg("none").query_async(client).await?;
    check(none.is_none(), "GET of what is not there")?;
    let large = vec![0xa5_u8; 900_000];
    () = cmd("SET")
        .arg("large")
        .arg(&large)
        .query_async(client)
        .await?;
    let back: Vec<u8> = cmd("GET").arg("large").query_async(client).await?;
    check(back == large, "GET of a large value")?;

    let names: Vec<_> = (0..20).map(|n| format!("key:{n}")).collect();
    let mut mset = cmd("MSET");
    for (n, name) in names.iter().enumerate() {
        mset.arg(name).arg(n);
    }
    () = mset.query_async(client).await?;
    let values: Vec<i64> = cmd("MGET").arg(&names).query_async(client).await?;
    check(values == (0..20).collect::<Vec<_>>(), "MGET, in its order")?;
    let (there, gone): (i64, i64) = redis::pipe()
        .cmd("EXISTS")
        .arg(&names)
        .arg("none")
        .cmd("DEL")
        .arg(&names)
        .arg("none")
        .query_async(client)
        .await?;
    check(there == 20 && gone == 20, "EXISTS and DEL")?;
    let mut sum = 0;
    for _ in 0..5 {
        sum = cmd("INCR").arg("counter").query_async(client).await?;
    }
    check(sum == 5, "INCR")?;
    let sum: i64 = cmd("DECRBY")
        .arg("counter")
        .arg(7)
        .query_async(client)
        .await?;
    check(sum == -2, "DECRBY")?;
    for (wrong, says) in [
        (cmd("INCR").arg("large"), "not an integer"),
        (cmd("GET").arg("a").arg("b"), "wrong number of arguments"),
        (
            cmd("SET").arg("a").arg("b").arg("EX").arg(1),
            "syntax error",
        ),
        (cmd("NONSENSE").arg("\r\n+OK"), "unknown command"),
        (cmd("SELECT").arg(3), "out of range"),
    ] {
        match wrong.query_async::<redis::Value>(client).await {
            Err(error) if error.to_string().contains(says) => {}
            other => check(false, &format!("{says} was expected, and not {other:?}"))?,
        }
    }
    let keys: i64 = cmd("DBSIZE").query_async(client).await?;
    check(keys == 2, "DBSIZE")
}

/// What it answers to `request`, until it closes.
async fn raw(addr: SocketAddr, request: &[u8]) -> Result<Vec<u8>> {
    let mut socket = TcpStream::connect(addr).await?;
    let mut answer = Vec::new();
    let whole = async {
        socket.write_all(request).await?;
        socket.read_to_end(&mut answer).await
    };
    bounded("an answer", whole).await??;
    Ok(answer)
}

async fn pipelines_are_answered_in_order(server: &Process) -> Result<()> {
    // More than it has under way at once, over all shards, in pieces that end anywhere.
    let mut request = Vec::new();
    let mut expected = Vec::new();
    for n in 0..2000 {
        let (key, value) = (format!("pipeline:{}", n % 7), n.to_string());
        let (k, v) = (key.len(), value.len());
        request.extend(format!("*3\r\n$3\r\nSET\r\n${k}\r\n{key}\r\n${v}\r\n{value}\r\n").bytes());
        request.extend(format!("*2\r\n$3\r\nGET\r\n${k}\r\n{key}\r\n").bytes());
        request.extend(format!("ECHO {n}\r\n").bytes());
        expected.extend(format!("+OK\r\n${v}\r\n{value}\r\n${v}\r\n{value}\r\n").bytes());
    }
    request.extend(b"*1\r\n$4\r\nQUIT\r\n");
    expected.extend(b"+OK\r\n");
    let socket = TcpStream::connect(server.addr).await?;
    let (mut read, mut write) = socket.into_split();
    let writing = async {
        for piece in request.chunks(997) {
            write.write_all(piece).await?;
        }
        io::Result::Ok(())
    };
    let mut answer = Vec::new();
    let (written, read) = bounded("a pipeline", async {
        tokio::join!(writing, read.read_to_end(&mut answer))
    })
    .await?;
    written?;
    read?;
    check(answer == expected, "a pipeline's answers are others")
}

async fn hostile_clients_are_turned_away(server: &Process) -> Result<()> {
    let nested = b"*1\r\n".repeat(100_000);
    let line = vec![b'a'; 10_000];
    for (request, says) in [
        (&b"*1\r\n$-5\r\n"[..], "invalid bulk length"),
        (b"*1000000\r\n", "invalid multibulk length"),
        (b"*x\r\n", "invalid multibulk length"),
        (b"*2\r\n$3\r\nGET\r\n$1073741824\r\n", "too big request"),
        (b"*1\r\n$4\r\nPINGPING\r\n", "expected"),
        (b"*1\r\n:5\r\n", "expected '$', got ':'"),
        (&nested, "expected '$', got '*'"),
        (&line, "too big inline request"),
        // What was right before it is answered before it.
        (b"PING\r\n*1\r\n+PING\r\n", "+PONG\r\n-ERR Protocol error"),
    ] {
        let answer = raw(server.addr, request).await?;
        let answer = String::from_utf8_lossy(&answer);
        check(
            answer.contains(says),
            &format!("{says:?} was expected, and not {answer:?}"),
        )?;
    }
    let mut client = server.client().await?;
    let text: String = redis::cmd("PING").query_async(&mut client).await?;
    check(text == "PONG", "it serves nobody else any more")
}

/// The tool that everybody has at hand, if it is at hand.
async fn redis_cli_is_served(server: &Process, out: &mut impl Write) -> Result<()> {
    if !is_installed("redis-cli") {
        writeln!(out, "redis-cli is not installed: left out")?;
        return Ok(());
    }
    let mut said = String::new();
    for args in [
        &["SET", "from", "redis-cli"][..],
        &["GET", "from"],
        &["INCR", "times"],
        &["MGET", "from", "none"],
    ] {
        said += &run_tool("redis-cli", server.addr, args).await?;
    }
    check(
        said == "OK\nredis-cli\n1\nredis-cli\n\n",
        &format!("redis-cli says {said:?}"),
    )
}

// ---------------------------------------------------------------------------------------------------
// The load that is killed.

/// What one client knows of its keys; nobody else writes them.
#[derive(Clone, Debug, Default)]
struct Ledger {
    /// What was acknowledged.
    sure: HashMap<String, i64>,
    /// What was asked for and not acknowledged, `None` for a deletion: it may have been done or not.
    doubt: HashMap<String, Option<i64>>,
    /// The most that was read of the counter, by another client.
    seen: i64,
    next: i64,
}

impl Ledger {
    fn is_in_doubt(&self) -> bool {
        !self.doubt.is_empty()
    }

    /// The next write, and what it makes of which keys.
    fn next(&mut self, client: usize) -> (redis::Cmd, Vec<(String, Option<i64>)>) {
        self.next += 1;
        let number = self.next;
        let key = |n: i64| format!("{client}:{}", 1 + n % (KEYS as i64 - 1));
        match number % 8 {
            0 => {
                let mut del = redis::cmd("DEL");
                del.arg(key(number / 8));
                (del, vec![(key(number / 8), None)])
            }
            1 | 2 => {
                let mut incr = redis::cmd("INCR");
                incr.arg(counter(client));
                let sum = self.sure.get(&counter(client)).map_or(0, |sum| *sum) + 1;
                (incr, vec![(counter(client), Some(sum))])
            }
            3 => {
                let mut mset = redis::cmd("MSET");
                let keys: Vec<_> = (0..3).map(|n| key(number + n)).collect();
                for key in &keys {
                    mset.arg(key).arg(number);
                }
                let becomes = keys.into_iter().map(|key| (key, Some(number)));
                (mset, becomes.collect())
            }
            _ => {
                let mut set = redis::cmd("SET");
                set.arg(key(number)).arg(number);
                (set, vec![(key(number), Some(number))])
            }
        }
    }

    fn note(&mut self, becomes: Vec<(String, Option<i64>)>) {
        for (key, value) in becomes {
            match value {
                Some(value) => _ = self.sure.insert(key, value),
                None => _ = self.sure.remove(&key),
            }
        }
    }
}

fn counter(client: usize) -> String {
    format!("{client}:0")
}

struct Load {
    clients: JoinSet<(usize, Ledger)>,
    reader: tokio::task::JoinHandle<Vec<i64>>,
    progress: Arc<Progress>,
}

#[derive(Default)]
struct Progress {
    acknowledged: AtomicUsize,
    more: Notify,
}

impl Load {
    async fn start(server: &Process, ledgers: Vec<Ledger>) -> Result<Self> {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(server.client().await?);
        }
        let progress = Arc::new(Progress::default());
        let mut clients = JoinSet::new();
        for (client, ledger) in ledgers.into_iter().enumerate() {
            let connection = connections[client % CONNECTIONS].clone();
            let progress = Arc::clone(&progress);
            clients.spawn(async move {
                let ledger = write_until_the_end(client, ledger, connection, &progress).await;
                (client, ledger)
            });
        }
        Ok(Self {
            clients,
            reader: tokio::spawn(read_until_the_end(server.client().await?)),
            progress,
        })
    }

    /// Waits for so many acknowledged writes.
    async fn wait_for(&self, writes: usize) -> Result<()> {
        let enough = async {
            while self.progress.acknowledged.load(Relaxed) < writes {
                self.progress.more.notified().await;
            }
        };
        bounded("the load", enough).await
    }

    /// After the server's end: how many writes were acknowledged, and which.
    async fn end(self) -> Result<(usize, Vec<Ledger>)> {
        let mut ledgers = bounded("the clients' end", self.clients.join_all()).await?;
        ledgers.sort_unstable_by_key(|(client, _)| *client);
        let seen = bounded("the reader's end", self.reader).await??;
        let ledgers = ledgers.into_iter().zip(seen).map(|((_, ledger), seen)| {
            let seen = seen.max(ledger.seen);
            Ledger { seen, ..ledger }
        });
        Ok((self.progress.acknowledged.load(Relaxed), ledgers.collect()))
    }
}

async fn write_until_the_end(
    client: usize,
    mut ledger: Ledger,
    mut connection: MultiplexedConnection,
    progress: &Progress,
) -> Ledger {
    loop {
        let (write, becomes) = ledger.next(client);
        match write.query_async::<redis::Value>(&mut connection).await {
            Ok(_) => {
                ledger.note(becomes);
                progress.acknowledged.fetch_add(1, Relaxed);
                progress.more.notify_one();
            }
            Err(_) => {
                ledger.doubt.extend(becomes);
                return ledger;
            }
        }
    }
}

/// Reads all counters, again and again: what it has seen of each must not be lost either.
async fn read_until_the_end(mut connection: MultiplexedConnection) -> Vec<i64> {
    let mut seen = vec![0; CLIENTS];
    let counters: Vec<_> = (0..CLIENTS).map(counter).collect();
    let mut read = redis::cmd("MGET");
    read.arg(counters);
    while let Ok(values) = read.query_async::<Vec<Option<i64>>>(&mut connection).await {
        for (seen, value) in seen.iter_mut().zip(values) {
            *seen = value.unwrap_or(0).max(*seen);
        }
    }
    seen
}

/// Each key has what was acknowledged last, or what was asked for after that; and from now on that is sure.
async fn verify(server: &Process, ledgers: &mut [Ledger]) -> Result<usize> {
    let mut connection = server.client().await?;
    for (client, ledger) in ledgers.iter_mut().enumerate() {
        let keys: Vec<_> = (0..KEYS).map(|n| format!("{client}:{n}")).collect();
        let mut read = redis::cmd("MGET");
        let values: Vec<Option<i64>> = read.arg(&keys).query_async(&mut connection).await?;
        for (key, value) in keys.into_iter().zip(values) {
            let sure = ledger.sure.get(&key).copied();
            let doubt = ledger.doubt.get(&key).copied();
            check(
                value == sure || Some(value) == doubt,
                &format!("{key} is {value:?}, and should be {sure:?}, or perhaps {doubt:?}"),
            )?;
            if key == counter(client) {
                let seen = ledger.seen;
                check(
                    value.unwrap_or(0) >= seen,
                    &format!("{key} is {value:?}, and {seen} has been read"),
                )?;
            }
            ledger.note(vec![(key, value)]);
        }
        ledger.doubt.clear();
    }
    Ok(CLIENTS * KEYS)
}

/// Leaves half a record at the end of each log, as a loss of power would: a killed process has given its bytes to
/// the kernel already.
fn tear(dir: &Path) -> Result<()> {
    let current = std::fs::read_to_string(dir.join("CURRENT"))?;
    let generation = current.split(' ').next().unwrap_or_default();
    for log in std::fs::read_dir(dir.join(generation))? {
        let mut record = Vec::new();
        record::push(&mut record, b"0:1", Some(b"never written as a whole"));
        let mut log = std::fs::OpenOptions::new().append(true).open(log?.path())?;
        log.write_all(&record[..record.len() - 3])?;
    }
    Ok(())
}

// ---------------------------------------------------------------------------------------------------
// The figures.

fn is_installed(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(tool).is_file())
}

async fn run_tool(tool: &str, addr: SocketAddr, args: &[&str]) -> Result<String> {
    let mut command = tokio::process::Command::new(tool);
    let run = command
        .args(["-h", &addr.ip().to_string(), "-p", &addr.port().to_string()])
        .args(args)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = bounded("a tool", run).await??;
    check(
        output.status.success(),
        &format!("{tool} fails: {output:?}"),
    )?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What `redis-benchmark` says about this server, and about Redis itself if that is there, with as durable a log.
async fn figures(
    plan: &Plan,
    child: &impl Fn(&[OsString]) -> Command,
    out: &mut impl Write,
) -> Result<()> {
    if !is_installed("redis-benchmark") {
        writeln!(out, "redis-benchmark is not installed: no figures")?;
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let server = Process::start(child, dir.path(), plan.workers).await?;
    let redis_dir = tempfile::tempdir()?;
    let redis = Redis::start(redis_dir.path()).await?;
    let mut servers = vec![(format!("{} shards", plan.workers), server.addr)];
    match &redis {
        Some(redis) => servers.push(("redis-server".to_owned(), redis.addr)),
        None => writeln!(
            out,
            "redis-server is not installed: nothing to compare with"
        )?,
    }
    writeln!(
        out,
        "\nrequests/s, by redis-benchmark, 50 clients; a write is answered when it is on the disk"
    )?;
    for pipeline in ["1", "16"] {
        for (name, addr) in &servers {
            let requests = plan.requests.to_string();
            let args = ["-t", "set,get,incr", "-r", "100000", "-n", &requests];
            let args = [&args[..], &["-P", pipeline, "--csv"]].concat();
            let said = run_tool("redis-benchmark", *addr, &args).await?;
            // "SET","12345.67",...
            let rates = said.lines().skip(1).filter_map(|line| {
                let mut fields = line.split(',').map(|field| field.trim_matches('"'));
                let (name, rate) = (fields.next()?, fields.next()?.parse::<f64>().ok()?);
                Some(format!("{name} {rate:>8.0}"))
            });
            let rates = rates.collect::<Vec<_>>().join("   ");
            check(
                rates.contains("SET"),
                "redis-benchmark prints something else",
            )?;
            writeln!(out, "{name:>12}, {pipeline:>2} at a time:  {rates}")?;
        }
    }
    let info: String = redis::cmd("INFO")
        .query_async(&mut server.client().await?)
        .await?;
    let figure = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|figure| figure.parse::<f64>().ok())
            .unwrap_or(f64::NAN)
    };
    writeln!(
        out,
        "{:.1} records for each time it waits for the disk, {:.0} % of the commands asked of another shard\n",
        figure("log_records:") / figure("log_syncs:"),
        100.0 * figure("forwarded:") / figure("total_commands_processed:"),
    )?;
    server.terminate().await?;
    drop(redis);
    Ok(())
}

/// Redis itself, to compare with.
struct Redis {
    _child: Child,
    addr: SocketAddr,
}

impl Redis {
    async fn start(dir: &Path) -> Result<Option<Self>> {
        if !is_installed("redis-server") {
            return Ok(None);
        }
        // Somebody else may take the port before it does; then it ends.
        for _ in 0..10 {
            let free = std::net::TcpListener::bind("127.0.0.1:0")?;
            let addr = free.local_addr()?;
            drop(free);
            let mut command = tokio::process::Command::new("redis-server");
            command
                .args(["--bind", "127.0.0.1", "--port", &addr.port().to_string()])
                .args(["--appendonly", "yes", "--appendfsync", "always"])
                .args(["--save", "", "--dir"])
                .arg(dir);
            let mut child = command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .kill_on_drop(true)
                .spawn()?;
            let itself = child.id().map(|id| format!("process_id:{id}\r\n"));
            let ready = async {
                while child.try_wait()?.is_none() {
                    let info = async {
                        let mut client = connect(addr).await?;
                        let info: String = redis::cmd("INFO").query_async(&mut client).await?;
                        Ok::<_, DemoError>(info)
                    };
                    if let (Ok(info), Some(itself)) = (info.await, &itself)
                        && info.contains(itself)
                    {
                        return Ok(true);
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                io::Result::Ok(false)
            };
            if bounded("redis-server", ready).await?? {
                return Ok(Some(Self {
                    _child: child,
                    addr,
                }));
            }
        }
        Ok(None)
    }
}
