//! What the demonstration cannot show about itself.

use std::{
    ffi::OsString,
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    time::Duration,
};

use landbridge::CompioPool;
use rustix::io::Errno;

use super::*;
use crate::{
    demo::Site,
    path::{Name, NameError, Root},
};

/// Longer than a test takes, unless it hangs.
const LONG: Duration = Duration::from_secs(120);

/// The template is what it says only while all of it runs.
#[tokio::test(flavor = "multi_thread")]
async fn the_demonstration_ends_well() {
    let plan = Plan {
        workers: 2,
        requests: 200,
    };
    let mut out = Vec::new();
    let done = tokio::time::timeout(LONG, demo::run(&plan, &mut out)).await;
    done.expect("it ends").unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(out.lines().last().unwrap().starts_with("ok: "), "{out}");
}

/// A name is decoded once: what is looked at is what is opened.
#[test]
fn names_are_taken_apart_once() {
    for (path, name) in [
        ("/", "index.html"),
        ("/a/", "a/index.html"),
        ("/a/b.txt", "a/b.txt"),
        ("/a%20b", "a b"),
        ("/a%2fb", "a/b"),
        ("/%252e%252e", "%2e%2e"),
        ("/a..b", "a..b"),
        ("/.well-known/a", ".well-known/a"),
    ] {
        assert_eq!(Name::parse(path).unwrap().as_str(), name, "{path}");
    }
    for (path, error) in [
        ("", NameError::Malformed),
        ("*", NameError::Malformed),
        ("a", NameError::Malformed),
        ("/%", NameError::Malformed),
        ("/%2", NameError::Malformed),
        ("/%2x", NameError::Malformed),
        ("/%ä", NameError::Malformed),
        ("/a%00", NameError::Malformed),
        ("/a\\b", NameError::Malformed),
        ("/a%5cb", NameError::Malformed),
        ("/..", NameError::Outside),
        ("/../", NameError::Outside),
        ("/a/../b", NameError::Outside),
        ("/a%2f..%2fb", NameError::Outside),
        ("/.%2e/", NameError::Outside),
        ("/.", NameError::None),
        ("/a/./b", NameError::None),
        ("/a//b", NameError::None),
        ("//", NameError::None),
        ("/.env", NameError::None),
        ("/...", NameError::None),
        ("/%ff", NameError::None),
    ] {
        assert_eq!(Name::parse(path), Err(error), "{path}");
    }
}

/// Where the kernel has no `openat2`, less is served, and not more.
#[tokio::test]
async fn nothing_leads_out_of_the_root_with_openat2_or_without() {
    let site = Site::new().unwrap();
    let root = Root::open(&site.root()).unwrap();
    let pool = CompioPool::builder().threads(1).build().unwrap();
    for (path, with, without) in [
        ("/index.html", None, None),
        ("/sub/", None, None),
        ("/inside", None, Some(Errno::LOOP)),
        ("/outside", Some(Errno::XDEV), Some(Errno::LOOP)),
        ("/absolute", Some(Errno::XDEV), Some(Errno::LOOP)),
        // Of a directory that is to be one and is a link the kernel says that it is none.
        ("/up/secret", Some(Errno::XDEV), Some(Errno::NOTDIR)),
        ("/loop", Some(Errno::LOOP), Some(Errno::LOOP)),
        ("/none", Some(Errno::NOENT), Some(Errno::NOENT)),
        ("/index.html/a", Some(Errno::NOTDIR), Some(Errno::NOTDIR)),
    ] {
        let name = Name::parse(path).unwrap();
        let errno = |found: io::Result<_>| {
            let error: io::Error = found.map(drop).err()?;
            Some(Errno::from_io_error(&error).unwrap())
        };
        if cfg!(target_os = "linux") {
            // The second time it is in memory.
            for _ in 0..2 {
                assert_eq!(errno(root.find(&pool, &name).await), with, "{path}");
            }
        }
        assert_eq!(errno(root.find_without_openat2(&name)), without, "{path}");
    }
    for special in ["/fifo", "/sub"] {
        let name = Name::parse(special).unwrap();
        for found in [
            root.find(&pool, &name).await,
            root.find_without_openat2(&name),
        ] {
            assert_eq!(found.unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }
}

fn start(root: &Path, change: impl FnOnce(&mut Config)) -> Server {
    let mut config = Config::new(([127, 0, 0, 1], 0).into(), root.to_path_buf(), 1);
    change(&mut config);
    Server::start(config).unwrap()
}

/// Sends a request and reads what comes until the end, on a thread that may block.
async fn ask(
    server: &Server,
    request: &'static str,
    then: impl FnOnce() + Send + 'static,
) -> Vec<u8> {
    let addr = server.addr();
    let ask = tokio::task::spawn_blocking(move || {
        let mut socket = TcpStream::connect(addr).unwrap();
        socket.set_read_timeout(Some(LONG)).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = vec![0; 1];
        socket.read_exact(&mut answer).unwrap();
        then();
        // A reset is an end, too.
        _ = socket.read_to_end(&mut answer);
        answer
    });
    ask.await.unwrap()
}

/// A client that was promised more bytes than there are must not take the next answer for the rest of this one.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_cut_while_it_is_sent_ends_the_connection() {
    const LENGTH: u64 = 1 << 30;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    fs::File::create(&path).unwrap().set_len(LENGTH).unwrap();
    let server = start(dir.path(), |_| {});
    let cut = move || {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(1000).unwrap();
    };
    let answer = ask(&server, "GET /a HTTP/1.1\r\nhost: x\r\n\r\n", cut).await;
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    assert!((answer.len() as u64) < LENGTH);
    assert!(server.drain().await.unwrap());
}

/// Places that are not given back are fewer for everybody else.
#[tokio::test(flavor = "multi_thread")]
async fn every_place_is_free_again_however_a_request_ends() {
    let site = Site::new().unwrap();
    let server = start(&site.root(), |config| config.places = 2);
    for request in [
        "GET /index.html HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "HEAD /index.html HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "GET /none HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "GET /fifo HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "GET /small HTTP/1.1\r\nhost: x\r\nrange: bytes=5000-\r\nconnection: close\r\n\r\n",
        "GET /small HTTP/1.1\r\nhost: x\r\nif-none-match: *\r\nconnection: close\r\n\r\n",
    ] {
        ask(&server, request, || {}).await;
    }
    // One that goes away in the midst of it.
    let mut socket = TcpStream::connect(server.addr()).unwrap();
    socket
        .write_all(b"GET /large.bin HTTP/1.1\r\nhost: x\r\n\r\n")
        .unwrap();
    drop(socket);
    let files = server.files.clone();
    assert!(server.drain().await.unwrap());
    assert_eq!(files.free_places(), 2);
}

/// What hangs must not hold up the end for ever.
#[tokio::test(flavor = "multi_thread")]
async fn what_takes_longer_than_the_grace_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let file = fs::File::create(dir.path().join("a")).unwrap();
    file.set_len(1 << 30).unwrap();
    let server = start(dir.path(), |config| {
        config.grace = Duration::from_millis(20)
    });
    let mut socket = TcpStream::connect(server.addr()).unwrap();
    let begun = tokio::task::spawn_blocking(move || {
        socket
            .write_all(b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n")
            .unwrap();
        socket.read_exact(&mut [0; 1]).unwrap();
        socket
    });
    let socket = begun.await.unwrap();
    assert!(!server.drain().await.unwrap());
    drop(socket);
}

/// Whoever forgets to drain must not be left with threads and a port for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_dropped_lets_go_of_everything() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), |_| {});
    let mut socket = TcpStream::connect(server.addr()).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    let addr = server.addr();
    drop(server);
    let ended = tokio::task::spawn_blocking(move || {
        let ended = !matches!(socket.read(&mut [0; 1]), Ok(1..));
        while TcpStream::connect(addr).is_ok() {
            std::thread::yield_now();
        }
        ended
    });
    let ended = tokio::time::timeout(LONG, ended).await;
    assert!(ended.expect("it ends").unwrap());
}

/// What an orchestrator sends. The only test here that is sent a signal, since it is sent to all of them.
#[tokio::test(flavor = "multi_thread")]
async fn sigterm_is_what_main_waits_for() {
    let asked = asked_to_end().unwrap();
    examples_support::terminate_this_process().unwrap();
    asked.await;
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
        &["--root", "/tmp"],
        &["--places", "3"],
        &["--listen", "here", "--root", "/tmp"],
    ] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
    assert!(parse(&["--help"]).unwrap().is_none());
    let options = parse(&["--listen", "127.0.0.1:0", "--root=a", "--places=3"]);
    assert_eq!(options.unwrap().unwrap().serve.unwrap().places, 3);
}
