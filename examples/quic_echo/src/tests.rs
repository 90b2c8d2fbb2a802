//! What the demonstration cannot show about itself.

use std::{ffi::OsString, future::Future};

use quinn::{ConnectionError, ReadError, ReadExactError, WriteError};
use tokio::net::UdpSocket;

use super::*;
use crate::{
    config::code,
    demo::{Identity, echo, next, pattern},
};

/// What hangs is a failure.
async fn bounded<F: Future>(test: F) -> F::Output {
    let done = tokio::time::timeout(Duration::from_secs(60), test).await;
    done.expect("it ends")
}

fn going_away(why: &ConnectionError) -> bool {
    matches!(why, ConnectionError::ApplicationClosed(close) if close.error_code == code::GOING_AWAY)
}

/// The template is what it says only while all of it runs.
#[tokio::test(flavor = "multi_thread")]
async fn the_demonstration_ends_well() {
    let plan = Plan {
        workers: 2,
        rounds: 1,
        requests: 50,
        mib: 1,
    };
    let mut out = Vec::new();
    bounded(demo::run(&plan, &mut out)).await.unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(out.lines().last().unwrap().starts_with("ok: "), "{out}");
}

/// A client that never comes to an end must not hold up the server's for ever.
#[tokio::test(flavor = "multi_thread")]
async fn what_takes_longer_than_the_grace_is_cut_off_and_told_why() {
    bounded(async {
        let identity = Identity::new().unwrap();
        let mut config = identity.config(2, Limits::default()).unwrap();
        config.grace = Duration::from_millis(20);
        let server = Server::start(config).await.unwrap();
        let client = identity.client(server.addr());
        let (_endpoint, connection) = client.connect().await.unwrap();
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        send.write_all(b"hello").await.unwrap();
        recv.read_exact(&mut [0; 5]).await.unwrap();

        let drained = server.drain().await.unwrap();
        assert!(!drained.finished);
        assert_eq!((drained.stats.streams, drained.stats.streams_open), (1, 0));
        let read = recv.read_exact(&mut [0; 1]).await;
        let Err(ReadExactError::ReadError(ReadError::ConnectionLost(why))) = read else {
            panic!("{read:?}");
        };
        assert!(going_away(&why), "{why}");
    })
    .await;
}

/// Connections on which nothing happens are the usual ones: an end must not wait for them, and they are to be told.
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_told_and_do_not_hold_up_the_end() {
    bounded(async {
        let identity = Identity::new().unwrap();
        let server = Server::start(identity.config(2, Limits::default()).unwrap());
        let server = server.await.unwrap();
        let client = identity.client(server.addr());
        let mut connections = Vec::new();
        for _ in 0..4 {
            let (endpoint, connection) = client.connect().await.unwrap();
            echo(connection.clone(), pattern(10)).await.unwrap();
            connections.push((endpoint, connection));
        }
        let drained = server.drain().await.unwrap();
        assert!(drained.finished);
        assert_eq!((drained.stats.accepted, drained.stats.ended), (4, 4));
        for (_endpoint, connection) in connections {
            let why = connection.closed().await;
            assert!(going_away(&why), "{why}");
        }
    })
    .await;
}

/// A client that sends and does not read its answers fills buffers; they are to be had back.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_takes_too_long_is_given_up_and_its_connection_goes_on() {
    bounded(async {
        let identity = Identity::new().unwrap();
        let limits = Limits {
            stream_time: Duration::from_secs(1),
            ..Limits::default()
        };
        let server = Server::start(identity.config(1, limits).unwrap());
        let server = server.await.unwrap();
        let client = identity.client(server.addr());
        let (_endpoint, connection) = client.connect().await.unwrap();
        let (mut send, recv) = connection.open_bi().await.unwrap();
        let written = send.write_all(&pattern(32 << 20)).await;
        assert_eq!(written, Err(WriteError::Stopped(code::TOO_SLOW)));
        drop(recv);
        echo(connection.clone(), pattern(10)).await.unwrap();
        connection.close(0_u8.into(), b"");
        let drained = server.drain().await.unwrap();
        assert!(drained.finished);
        assert_eq!(drained.stats.streams_failed, 1);
        assert_eq!(drained.stats.streams_open, 0);
    })
    .await;
}

/// Anybody can send anything to a UDP socket.
#[tokio::test(flavor = "multi_thread")]
async fn nonsense_disturbs_nobody() {
    bounded(async {
        let identity = Identity::new().unwrap();
        let server = Server::start(identity.config(1, Limits::default()).unwrap());
        let server = server.await.unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for first in 0..=u8::MAX {
            let mut datagram = pattern(1200);
            datagram[0] = first;
            socket.send_to(&datagram, server.addr()).await.unwrap();
            // One of no bytes too, where they are kept away: see `listen.rs`.
            let least = usize::from(!cfg!(target_os = "linux"));
            let little = &datagram[..least + usize::from(first) % 40];
            socket.send_to(little, server.addr()).await.unwrap();
        }
        let client = identity.client(server.addr());
        let (_endpoint, connection) = client.connect().await.unwrap();
        echo(connection.clone(), pattern(1000)).await.unwrap();
        connection.close(0_u8.into(), b"");
        assert!(server.drain().await.unwrap().finished);
    })
    .await;
}

/// The log is made of them, and of nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn each_connection_is_told_of_once_and_why_it_ended() {
    bounded(async {
        let identity = Identity::new().unwrap();
        let server = Server::start(identity.config(2, Limits::default()).unwrap());
        let mut server = server.await.unwrap();
        let mut ends = server.ends().unwrap();
        assert!(server.ends().is_none());
        let client = identity.client(server.addr());
        let (endpoint, connection) = client.connect().await.unwrap();
        connection.close(7_u8.into(), b"enough");
        let end = next(&mut ends).await.unwrap();
        assert_eq!(end.peer, endpoint.local_addr().unwrap());
        assert!(end.why.to_string().contains("enough"), "{}", end.why);
        let (_endpoint, _connection) = client.connect().await.unwrap();
        assert!(server.drain().await.unwrap().finished);
        let end = next(&mut ends).await.unwrap();
        assert_eq!(end.why, compio_quic::ConnectionError::LocallyClosed);
        assert!(ends.recv().await.is_none(), "the log ends with the server");
    })
    .await;
}

/// Certificates come as files, and a wrong file is to be named.
#[test]
fn certificate_and_key_come_from_pem_files() {
    let dir = std::env::temp_dir().join(format!("quic_echo-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    let identity = Identity::new().unwrap();
    std::fs::write(&cert, &identity.pem.0).unwrap();
    std::fs::write(&key, &identity.pem.1).unwrap();
    let load = |cert, key| config::from_files(cert, key, &Limits::default()).map(drop);
    assert!(load(&cert, &key).is_ok());
    let error = load(&cert, &cert).unwrap_err();
    assert!(error.to_string().contains("cert.pem"), "{error}");
    let error = load(&dir.join("none"), &key).unwrap_err();
    assert!(error.to_string().contains("none"), "{error}");
    std::fs::remove_dir_all(&dir).unwrap();
}

/// An address that is taken is an error where the server is started, and not of a worker later on.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_is_told_at_the_start() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let identity = Identity::new().unwrap();
    let mut config = identity.config(2, Limits::default()).unwrap();
    config.listen = taken.local_addr().unwrap();
    let started = Server::start(config).await.map(drop);
    assert!(matches!(started, Err(server::StartError::Listen(..))));
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
        &["--rounds"],
        &["--listen", "here"],
        &["--listen", "127.0.0.1:0"],
        &["--cert", "a", "--key", "b"],
    ] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
    assert!(parse(&["--help"]).unwrap().is_none());
    let options = parse(&["--listen", "127.0.0.1:0", "--cert=a", "--key=b"])
        .unwrap()
        .unwrap();
    assert!(options.serve.is_some());
}
