//! What the demonstration cannot show about itself.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    rc::Rc,
    sync::Arc,
    task::Poll::Ready,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use landbridge::{CompioPool, time::timeout};
use tokio::sync::oneshot;

use super::*;
use crate::{
    record::Next,
    shard::{GROUP, Op, Outcome, Refusal, Shard, When},
    store::{Map, Store, StoreError, replay},
    worker::{Home, Pending},
};

const ARGS: &str = "SHARDED_STORE_ARGS";
/// Longer than a test takes, unless it hangs.
const LONG: Duration = Duration::from_secs(120);

/// The template is what it says only while all of it runs.
#[tokio::test(flavor = "multi_thread")]
async fn the_demonstration_ends_well() {
    let plan = Plan {
        workers: 2,
        kills: 2,
        requests: 500,
    };
    let itself = env::current_exe().unwrap();
    let child = |args: &[OsString]| {
        let mut command = Command::new(&itself);
        command
            .args(["--exact", "--nocapture", "tests::the_other_process_serves"])
            .env(ARGS, args.join("\n".as_ref()));
        command
    };
    let mut out = Vec::new();
    let done = tokio::time::timeout(LONG, demo::run(&plan, &child, &mut out)).await;
    done.expect("it ends").unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(out.lines().last().unwrap().starts_with("ok: "), "{out}");
}

/// Not a test: the process that the demonstration starts, when the demonstration is one.
#[tokio::test(flavor = "multi_thread")]
async fn the_other_process_serves() {
    let Ok(args) = env::var(ARGS) else {
        return;
    };
    let asked = asked_to_end().unwrap();
    let options = Options::parse(lexopt::Parser::from_args(args.lines())).unwrap();
    let config = options.unwrap().serve.unwrap();
    serve(config, asked, &mut io::stdout()).await.unwrap();
}

// ---------------------------------------------------------------------------------------------------
// Records and recovery.

/// A crash may end a log at any byte, and leave anything after it. What is before it must be found, and nothing else.
#[test]
fn whatever_is_left_of_a_record_is_not_taken_for_one() {
    let mut log = Vec::new();
    record::push(&mut log, b"key", Some(b"value"));
    let size = log.len();
    assert_eq!(
        record::next(&log),
        Next::Record(b"key", Some(b"value"), size)
    );
    for cut in 0..size {
        assert_eq!(record::next(&log[..cut]), Next::Short, "{cut}");
    }
    for at in 0..size {
        for bit in 0..8 {
            let mut wrong = log.clone();
            wrong[at] ^= 1 << bit;
            assert!(!matches!(record::next(&wrong), Next::Record(..)), "{at}");
        }
    }
    // Blocks that were given to the file and never written.
    assert_eq!(record::next(&[0; 64]), Next::Bad);
    let mut deletion = Vec::new();
    record::push(&mut deletion, b"", None);
    assert_eq!(
        record::next(&deletion),
        Next::Record(b"", None, deletion.len())
    );
}

fn pool(workers: usize) -> CompioPool {
    CompioPool::builder().threads(workers).build().unwrap()
}

/// What a start of `workers` shards finds: all keys, and how many bytes it has cut off. Waits for the lock: a process
/// that is being started has this one's descriptors for a moment, and the demonstration starts some.
async fn recovered(dir: &Path, workers: usize) -> Result<(Map, u64), StoreError> {
    let free = async {
        loop {
            match try_recovered(dir, workers).await {
                Err(StoreError::InUse(_)) => tokio::task::yield_now().await,
                other => return other,
            }
        }
    };
    tokio::time::timeout(LONG, free).await.expect("it is free")
}

async fn try_recovered(dir: &Path, workers: usize) -> Result<(Map, u64), StoreError> {
    let pool = pool(workers);
    let store = Store::open(dir, &pool).await?;
    let (parts, found) = store.recover(&pool).await?;
    let mut all = Map::new();
    for (index, part) in parts.into_iter().enumerate() {
        for (key, value) in part.map {
            assert_eq!(pool.worker_for(&*key).index(), index);
            all.insert(key, value);
        }
    }
    pool.shutdown().await;
    Ok((all, found.cut_off))
}

fn append(dir: &Path, shard: usize, bytes: &[u8]) {
    let current = fs::read_to_string(dir.join("CURRENT")).unwrap();
    let generation = current.split(' ').next().unwrap();
    let path = dir.join(generation).join(shard.to_string());
    let mut log = fs::OpenOptions::new().append(true).open(path).unwrap();
    log.write_all(bytes).unwrap();
}

fn map(pairs: &[(&'static str, &'static str)]) -> Map {
    let pairs = pairs
        .iter()
        .map(|(key, value)| (Bytes::from(*key), Bytes::from(*value)));
    pairs.collect()
}

/// The later record counts; a torn one does not, and does not come back with the next start.
#[tokio::test]
async fn a_start_finds_what_was_written_and_cuts_off_what_was_torn() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(recovered(dir.path(), 1).await.unwrap(), (Map::new(), 0));
    let mut log = Vec::new();
    for (key, value) in [
        ("a", Some("1")),
        ("b", Some("1")),
        ("a", Some("2")),
        ("b", None),
        ("c", Some("")),
    ] {
        record::push(&mut log, key.as_bytes(), value.map(str::as_bytes));
    }
    let whole = log.len();
    record::push(&mut log, b"torn", Some(b"torn"));
    log.pop();
    append(dir.path(), 0, &log);
    let expected = map(&[("a", "2"), ("c", "")]);
    let torn = (log.len() - whole) as u64;
    assert_eq!(
        recovered(dir.path(), 1).await.unwrap(),
        (expected.clone(), torn)
    );
    assert_eq!(recovered(dir.path(), 1).await.unwrap(), (expected, 0));
}

/// A machine with other cores, or a toolchain with another hash, must find its keys.
#[tokio::test]
async fn another_number_of_shards_finds_the_same_keys() {
    let dir = tempfile::tempdir().unwrap();
    recovered(dir.path(), 3).await.unwrap();
    let mut expected = Map::new();
    for n in 0..300 {
        let mut record = Vec::new();
        let (key, value) = (format!("key {n}"), format!("value {n}"));
        record::push(&mut record, key.as_bytes(), Some(value.as_bytes()));
        append(dir.path(), n % 3, &record);
        expected.insert(key.into(), value.into());
    }
    for workers in [1, 4, 2] {
        assert_eq!(
            recovered(dir.path(), workers).await.unwrap(),
            (expected.clone(), 0)
        );
    }
}

/// What was acknowledged may not vanish because a disk has lost it: the operator has to know.
#[tokio::test]
async fn damage_that_no_crash_can_have_made_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    recovered(dir.path(), 1).await.unwrap();
    let mut log = Vec::new();
    record::push(&mut log, b"good", Some(b"good"));
    let bad = log.len();
    while log.len() < 8 << 20 {
        record::push(&mut log, b"key", Some(&[7; 100_000]));
    }
    log[bad + 9] ^= 1;
    let before = fs::metadata(dir.path().join("1").join("0")).unwrap().len();
    append(dir.path(), 0, &log);
    match recovered(dir.path(), 1).await {
        Err(StoreError::Damaged(_, at, _)) => assert_eq!(at, before + bad as u64),
        other => panic!("{other:?}"),
    }
    let path = dir.path().join("not a log");
    fs::write(&path, "something else").unwrap();
    let pool = pool(1);
    let replayed = pool.run(async move || replay(&path).await);
    assert!(matches!(
        replayed.await.unwrap(),
        Err(StoreError::NotALog(_))
    ));
}

/// A bit that flips in a small log, or near the end of a large one, is not a crash either: to cut off there would throw
/// away what was acknowledged after it.
#[tokio::test]
async fn damage_before_the_last_group_is_refused_however_little_follows() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), |config| config.workers = 1).await;
    client(&server, |mut socket| {
        for n in 0..10 {
            // Each waits for its answer, and so is a group.
            write!(socket, "SET key{n} value{n}\r\n").unwrap();
            let mut answer = [0; 5];
            socket.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"+OK\r\n");
        }
    })
    .await;
    assert!(server.drain().await.unwrap());

    let current = fs::read_to_string(dir.path().join("CURRENT")).unwrap();
    let log = dir
        .path()
        .join(current.split(' ').next().unwrap())
        .join("0");
    let good = fs::read(&log).unwrap();
    let flipped = |what: &[u8]| {
        let mut bad = good.clone();
        let at = bad.windows(what.len()).position(|bytes| bytes == what);
        bad[at.unwrap()] ^= 1;
        fs::write(&log, bad).unwrap();
    };
    for what in [b"value0", b"value5", b"value8"] {
        flipped(what);
        let found = recovered(dir.path(), 1).await;
        assert!(matches!(found, Err(StoreError::Damaged(..))), "{found:?}");
    }
    // Nothing says that the last one was whole: a crash may leave it so.
    flipped(b"value9");
    let (keys, cut_off) = recovered(dir.path(), 1).await.unwrap();
    assert_eq!(keys.len(), 9);
    assert!(cut_off > 0);
    // What a start has written itself, it has written before it counted.
    let log = dir.path().join("2").join("0");
    let mut bad = fs::read(&log).unwrap();
    let last = bad.len() - 40;
    bad[last] ^= 1;
    fs::write(&log, bad).unwrap();
    let found = recovered(dir.path(), 1).await;
    assert!(matches!(found, Err(StoreError::Damaged(..))), "{found:?}");
}

/// Clients choose their values: what looks like a mark in one of them must say nothing of the log.
#[test]
fn a_mark_is_one_only_where_it_says_to_be() {
    let mut log = b"what was torn".to_vec();
    let at = 100 + log.len() as u64;
    record::push_mark(&mut log, at, 90);
    log.extend_from_slice(b"and torn again");
    assert_eq!(record::marked(&log, 100), 90);
    assert_eq!(record::marked(&log, 101), 0);
    log[20] ^= 1;
    assert_eq!(record::marked(&log, 100), 0);
}

/// Power may fail in a start as well, and what it has left must not get in the next one's way.
#[tokio::test]
async fn a_start_that_was_interrupted_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    recovered(dir.path(), 2).await.unwrap();
    let mut record = Vec::new();
    record::push(&mut record, b"a", Some(b"1"));
    append(dir.path(), 0, &record);
    for left in ["0", "2", "3"] {
        fs::create_dir(dir.path().join(left)).unwrap();
        fs::write(dir.path().join(left).join("0"), "half a log").unwrap();
    }
    assert_eq!(
        recovered(dir.path(), 2).await.unwrap().0,
        map(&[("a", "1")])
    );
    let mut left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    left.retain(|entry| entry.as_ref().unwrap().path().is_dir());
    assert_eq!(left.len(), 1, "{left:?}");
    fs::write(dir.path().join("CURRENT"), "nonsense").unwrap();
    let nonsense = recovered(dir.path(), 2).await;
    assert!(matches!(nonsense, Err(StoreError::Current(_))));
}

/// Two processes that append to the same logs would destroy them.
#[tokio::test]
async fn a_directory_is_used_by_one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let first = start(dir.path(), |_| {}).await;
    let second = try_recovered(dir.path(), 1).await;
    assert!(matches!(second, Err(StoreError::InUse(_))));
    assert!(first.drain().await.unwrap());
    recovered(dir.path(), 1).await.unwrap();
}

// ---------------------------------------------------------------------------------------------------
// A shard.

fn told(shard: &mut Shard, key: &str, op: Op) -> oneshot::Receiver<Outcome> {
    let (outcome, when) = shard.execute(key.as_bytes(), op);
    let (answer, told) = oneshot::channel();
    shard.tell(answer, outcome, when);
    told
}

fn set(value: &'static str) -> Op {
    Op::Set(Bytes::from(value))
}

/// A reader that has seen a value has been promised it, as its writer has.
#[test]
fn nobody_is_told_what_is_not_on_the_disk() {
    let mut shard = Shard::new(map(&[("old", "1")]), usize::MAX);
    let mut first = told(&mut shard, "a", set("1"));
    let (group, records) = shard.take_off(Vec::new()).unwrap();
    assert_eq!(records, 1);
    assert!(matches!(
        record::next(&group),
        Next::Record(b"a", Some(b"1"), _)
    ));
    // While the first group flies, the second one gathers.
    let mut second = told(&mut shard, "b", set("2"));
    let mut of_first = told(&mut shard, "a", Op::Get);
    let mut of_second = told(&mut shard, "b", Op::Exists);
    let mut of_old = told(&mut shard, "old", Op::Get);
    let old = Outcome::Value(Some(Bytes::from("1")));
    assert_eq!(of_old.try_recv().unwrap(), old);
    for told in [&mut first, &mut second, &mut of_first, &mut of_second] {
        assert!(told.try_recv().is_err());
    }
    shard.landed();
    assert_eq!(first.try_recv().unwrap(), Outcome::Done);
    assert!(matches!(
        of_first.try_recv().unwrap(),
        Outcome::Value(Some(_))
    ));
    assert!(second.try_recv().is_err() && of_second.try_recv().is_err());
    // That something is gone, or is no number, is something that is seen, too.
    let mut gone = told(&mut shard, "old", Op::Delete);
    let mut still_gone = told(&mut shard, "old", Op::Delete);
    assert!(gone.try_recv().is_err() && still_gone.try_recv().is_err());
    shard.take_off(group).unwrap();
    shard.landed();
    assert_eq!(of_second.try_recv().unwrap(), Outcome::Number(1));
    assert_eq!(gone.try_recv().unwrap(), Outcome::Number(1));
    assert_eq!(still_gone.try_recv().unwrap(), Outcome::Number(0));
    assert!(shard.take_off(Vec::new()).is_err());
}

/// After a failed `fdatasync` the kernel may say that all is well: what it has lost is lost.
#[test]
fn after_the_log_has_failed_nothing_is_promised_any_more() {
    let mut shard = Shard::new(map(&[("old", "1")]), usize::MAX);
    let mut flying = told(&mut shard, "a", set("1"));
    shard.take_off(Vec::new()).unwrap();
    let mut gathering = told(&mut shard, "b", set("2"));
    shard.fail();
    let failed = Outcome::Refused(Refusal::LogFailed);
    assert_eq!(flying.try_recv().unwrap(), failed);
    assert_eq!(gathering.try_recv().unwrap(), failed);
    for (key, op) in [
        ("a", Op::Get),
        ("b", Op::Get),
        ("old", set("2")),
        ("old", Op::Delete),
    ] {
        assert_eq!(
            shard.execute(key.as_bytes(), op),
            (failed.clone(), When::Now)
        );
    }
    let old = Outcome::Value(Some(Bytes::from("1")));
    assert_eq!(shard.execute(b"old", Op::Get), (old, When::Now));
    assert!(shard.take_off(Vec::new()).is_err() && !shard.is_full());
}

/// Memory that a client can fill without a bound ends the process for all of them.
#[test]
fn a_full_shard_takes_nothing_more_and_lets_itself_be_emptied() {
    let mut shard = Shard::new(Map::new(), 1000);
    let (done, _) = shard.execute(b"a", Op::Set(vec![0; 850].into()));
    assert_eq!(done, Outcome::Done);
    let full = Outcome::Refused(Refusal::Full);
    assert_eq!(shard.execute(b"b", set("1")).0, full);
    assert_eq!(shard.execute(b"b", Op::Add(1)).0, full);
    // In its place there is room, and no more than there was.
    assert_eq!(
        shard.execute(b"a", Op::Set(vec![1; 850].into())).0,
        Outcome::Done
    );
    assert_eq!(shard.execute(b"a", Op::Delete).0, Outcome::Number(1));
    assert_eq!(shard.execute(b"b", set("1")).0, Outcome::Done);
}

/// Numbers go wrong at their ends.
#[test]
fn counters_do_not_wrap() {
    let mut shard = Shard::new(
        map(&[("most", "9223372036854775807"), ("text", "+1")]),
        10_000,
    );
    let refused = |refusal| (Outcome::Refused(refusal), When::Now);
    assert_eq!(
        shard.execute(b"most", Op::Add(1)),
        refused(Refusal::Overflow)
    );
    assert_eq!(
        shard.execute(b"text", Op::Add(1)),
        refused(Refusal::NotANumber)
    );
    assert_eq!(
        shard.execute(b"most", Op::Add(-7)).0,
        Outcome::Number(i64::MAX - 7)
    );
}

// ---------------------------------------------------------------------------------------------------
// A worker.

fn home(shard: Shard) -> Rc<Home> {
    Rc::new(Home::new(0, shard, Arc::new([Default::default()])))
}

/// While the disk is busy, clients wait, and memory does not grow.
#[tokio::test]
async fn a_full_group_holds_up_writers_and_not_readers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let pool = pool(1);
    let ran = pool.run(async move || {
        let home = home(Shard::new(map(&[("old", "1")]), usize::MAX));
        let mut told = Vec::new();
        // The second one makes it full.
        for key in ["a", "b"] {
            let value = Op::Set(vec![0; GROUP / 2].into());
            told.push(home.ask(key.as_bytes(), value).await);
        }
        let mut more = std::pin::pin!(home.ask(b"more", set("1")));
        let waits = std::future::poll_fn(|cx| Ready(more.as_mut().poll(cx).is_pending()));
        assert!(waits.await);
        let read = home.ask(b"old", Op::Get).await;
        assert!(matches!(read, Pending::Ready(Outcome::Value(Some(_)))));

        let file = compio::fs::File::create(&path).await.unwrap();
        let log = landbridge::rt::spawn_local(Rc::clone(&home).write_log(file, 0));
        told.push(more.await);
        home.end();
        for told in told {
            assert_eq!(told.outcome().await, Outcome::Done);
        }
        log.await.unwrap().unwrap();
    });
    timeout(LONG, ran).await.expect("it ends").unwrap();
}

/// A disk that is full is not a reason to say that something is on it.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_log_that_cannot_be_written_is_told_to_who_waits() {
    let pool = pool(1);
    let ran = pool.run(async || {
        let home = home(Shard::new(Map::new(), usize::MAX));
        let mut options = compio::fs::OpenOptions::new();
        let full = options.write(true).open("/dev/full").await.unwrap();
        let log = landbridge::rt::spawn_local(Rc::clone(&home).write_log(full, 0));
        let failed = Outcome::Refused(Refusal::LogFailed);
        assert_eq!(home.ask(b"a", set("1")).await.outcome().await, failed);
        let error = log.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(home.ask(b"b", set("1")).await.outcome().await, failed);
    });
    timeout(LONG, ran).await.expect("it ends").unwrap();
}

// ---------------------------------------------------------------------------------------------------
// Requests.

/// Requests come in pieces that end anywhere.
#[test]
fn a_request_is_taken_when_all_of_it_is_there_and_not_before() {
    for request in [
        &b"*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n"[..],
        b"*1\r\n$0\r\n\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b"SET a  b\r\n",
        b"PING\n",
        b"\r\n",
    ] {
        for cut in 0..request.len() {
            let mut input = BytesMut::from(&request[..cut]);
            assert!(resp::next(&mut input).unwrap().is_none(), "{cut}");
            assert_eq!(input.len(), cut);
        }
        let mut input = BytesMut::from(request);
        input.extend_from_slice(b"*1");
        assert!(resp::next(&mut input).unwrap().is_some());
        assert_eq!(&input[..], b"*1");
    }
}

/// What is refused here and taken there, or the other way round, would be a hole. The outside is looked at by this
/// template, the inside by its crate.
#[test]
fn no_bytes_are_too_strange() {
    let words: [&[u8]; 14] = [
        b"*",
        b"$",
        b"1",
        b"2",
        b"-",
        b"3",
        b"\r\n",
        b"\n",
        b"\r",
        b"GET",
        b"\0",
        b"+",
        b"99999999",
        b":",
    ];
    let mut state = 1_u32;
    for _ in 0..200_000 {
        let mut input = BytesMut::new();
        for _ in 0..8 {
            // xorshift
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            input.extend_from_slice(words[state as usize % words.len()]);
        }
        let before = input.clone();
        match resp::next(&mut input) {
            Ok(None) => assert_eq!(input, before),
            Ok(Some(_)) => assert!(input.len() < before.len()),
            Err(resp::ProtocolError::Coding(error)) => panic!("{before:?}: {error}"),
            Err(_) => {}
        }
    }
}

/// Limits are for what a client announces, too.
#[test]
fn a_request_that_will_be_too_large_is_refused_at_once() {
    for request in [
        format!("*2\r\n$3\r\nGET\r\n${}\r\n", resp::MAX_REQUEST),
        format!("*{}\r\n", resp::MAX_ARGS + 1),
        format!("*1\r\n${}\r\n", i64::MAX),
        "a ".repeat(resp::MAX_ARGS + 1) + "\r\n",
    ] {
        assert!(
            resp::next(&mut BytesMut::from(&*request)).is_err(),
            "{request}"
        );
    }
}

// ---------------------------------------------------------------------------------------------------
// The server.

async fn start(dir: &Path, change: impl FnOnce(&mut Config)) -> Server {
    let mut config = Config::new(([127, 0, 0, 1], 0).into(), dir.to_path_buf(), 2);
    config.pinned = false;
    change(&mut config);
    Server::start(config).await.unwrap()
}

/// Runs a client that may block on a thread of its own.
async fn client<T: Send + 'static>(
    server: &Server,
    client: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> T {
    let addr = server.addr();
    let run = tokio::task::spawn_blocking(move || {
        let socket = TcpStream::connect(addr).unwrap();
        socket.set_read_timeout(Some(LONG)).unwrap();
        socket.set_write_timeout(Some(LONG)).unwrap();
        client(socket)
    });
    run.await.unwrap()
}

/// Half a request holds a buffer, for as long as it may.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_in_the_midst_of_a_request_is_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), |config| {
        config.stall = Duration::from_millis(50)
    })
    .await;
    client(&server, |mut socket| {
        socket.write_all(b"*2\r\n$3\r\nGET\r\n").unwrap();
        assert_eq!(socket.read(&mut [0; 64]).unwrap(), 0);
    })
    .await;
    assert!(server.drain().await.unwrap());
}

/// A byte now and then is not progress: thousands of buffers would be held by next to nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_trickles_its_request_is_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), |config| {
        config.stall = Duration::from_millis(300)
    })
    .await;
    client(&server, |mut socket| {
        socket
            .write_all(b"*2\r\n$4\r\nECHO\r\n$1000000\r\n")
            .unwrap();
        // Slow, but never as slow as it may be at most.
        let begun = std::time::Instant::now();
        while socket.write_all(b"x").is_ok() {
            assert!(begun.elapsed() < LONG, "it is never let go");
            std::thread::sleep(Duration::from_millis(5));
        }
    })
    .await;
    assert!(server.drain().await.unwrap());
}

/// A small request may ask for much more than there is memory, by asking for the same value again and again.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_sent_while_it_is_made() {
    const TIMES: usize = 600;

    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), |_| {}).await;
    client(&server, |mut socket| {
        let value = "v".repeat(1_000_000);
        let set = format!(
            "*3\r\n$3\r\nSET\r\n$1\r\na\r\n${}\r\n{value}\r\n",
            value.len()
        );
        socket.write_all(set.as_bytes()).unwrap();
        let get = format!("MGET{}\r\nQUIT\r\n", " a".repeat(TIMES));
        socket.write_all(get.as_bytes()).unwrap();
        let taken = io::copy(&mut socket, &mut io::sink()).unwrap() as usize;
        let one = "$1000000\r\n".len() + value.len() + 2;
        assert_eq!(taken, "+OK\r\n*600\r\n+OK\r\n".len() + TIMES * one);
    })
    .await;
    assert!(server.drain().await.unwrap());
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak: usize = peak
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    assert!(peak < 300_000, "{peak} KiB of memory");
}

/// Any page in a browser on this machine can have it send what it likes to a port of this machine.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_a_browser_ends_the_connection_before_its_body() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), |_| {}).await;
    for head in ["POST / HTTP/1.1\r\n", "GET /\r\nHost: localhost\r\n"] {
        client(&server, move |mut socket| {
            let request = format!("{head}\r\nSET stolen 1\r\n");
            socket.write_all(request.as_bytes()).unwrap();
            let mut said = String::new();
            socket.read_to_string(&mut said).unwrap();
            assert!(said.ends_with("-ERR this is not HTTP\r\n"), "{said}");
        })
        .await;
    }
    assert!(server.drain().await.unwrap());
}

/// Sockets that share an address share it with any other process of the same user: its clients would be told that keys
/// are not there.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_served_by_one_store_at_a_time() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = start(dir.path(), |_| {}).await;
    let mut config = Config::new(server.addr(), other.path().to_path_buf(), 1);
    config.pinned = false;
    let second = Server::start(config).await;
    assert!(matches!(second, Err(server::StartError::Listen(..))));
    assert!(server.drain().await.unwrap());
}

/// Answers that nobody takes must not pile up.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_no_answers_is_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), |config| {
        config.stall = Duration::from_millis(50)
    })
    .await;
    client(&server, |mut socket| {
        let value = "v".repeat(500_000);
        let set = format!(
            "*3\r\n$3\r\nSET\r\n$1\r\na\r\n${}\r\n{value}\r\n",
            value.len()
        );
        socket.write_all(set.as_bytes()).unwrap();
        // As many as it takes until nobody reads them any more.
        while socket.write_all(&b"GET a\r\n".repeat(1000)).is_ok() {}
    })
    .await;
    assert!(server.drain().await.unwrap());
}

/// Each connection is a buffer and a descriptor.
#[tokio::test(flavor = "multi_thread")]
async fn more_clients_than_there_may_be_are_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), |config| {
        (config.workers, config.max_connections) = (1, 1);
    })
    .await;
    let mut first = TcpStream::connect(server.addr()).unwrap();
    first.write_all(b"PING\r\n").unwrap();
    let first = tokio::task::spawn_blocking(move || {
        first.read_exact(&mut [0; 7]).unwrap();
        first
    });
    let first = first.await.unwrap();
    client(&server, |mut socket| {
        let mut said = String::new();
        socket.read_to_string(&mut said).unwrap();
        assert_eq!(said, "-ERR max number of clients reached\r\n");
    })
    .await;
    drop(first);
    assert!(server.drain().await.unwrap());
}

/// What was sent before the end, all of it or none, is done and answered: by the end of the connection a client
/// knows which.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_before_a_drain_is_there_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), |_| {}).await;
    let addr = server.addr();
    let mut socket = TcpStream::connect(addr).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    let writer = tokio::task::spawn_blocking(move || {
        let mut answered = 0;
        loop {
            let request = format!("SET key:{answered} {answered}\r\n");
            let mut answer = [0; 5];
            if socket.write_all(request.as_bytes()).is_err()
                || socket.read_exact(&mut answer).is_err()
            {
                return answered;
            }
            assert_eq!(&answer, b"+OK\r\n");
            answered += 1;
        }
    });
    client(&server, |mut socket| {
        // Until the writer is at work.
        loop {
            socket.write_all(b"EXISTS key:100\r\n").unwrap();
            let mut answer = [0; 4];
            socket.read_exact(&mut answer).unwrap();
            if &answer == b":1\r\n" {
                return;
            }
        }
    })
    .await;
    assert!(server.drain().await.unwrap());
    let answered = writer.await.unwrap();
    let (keys, cut_off) = recovered(dir.path(), 2).await.unwrap();
    assert_eq!(cut_off, 0);
    assert!(keys.len() == answered || keys.len() == answered + 1);
}

/// Whoever forgets to drain must not be left with threads and a lock for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_dropped_lets_go_of_everything() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), |_| {}).await;
    let mut socket = TcpStream::connect(server.addr()).unwrap();
    drop(server);
    let ended = tokio::task::spawn_blocking(move || {
        socket.set_read_timeout(Some(LONG)).unwrap();
        !matches!(socket.read(&mut [0; 1]), Ok(1..))
    });
    assert!(ended.await.unwrap());
    recovered(dir.path(), 1).await.unwrap();
}

/// Whoever mistypes an option must not get the demonstration instead.
#[test]
fn wrong_options_are_refused() {
    let parse = |args: &[&str]| {
        let args = args.iter().map(OsString::from);
        Options::parse(lexopt::Parser::from_args(args))
    };
    for wrong in [
        &["--nonsense"][..],
        &["--workers", "0"],
        &["--listen", "127.0.0.1:0"],
        &["--data", "/tmp"],
        &["--listen", "here", "--data", "/tmp"],
    ] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
    assert!(parse(&["--help"]).unwrap().is_none());
    let options = parse(&[
        "--listen",
        "127.0.0.1:0",
        "--data=a",
        "--workers=3",
        "--floating",
    ]);
    let config = options.unwrap().unwrap().serve.unwrap();
    assert_eq!((config.workers, config.pinned), (3, false));
}
