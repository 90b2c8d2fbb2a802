//! What the demonstration cannot show about itself.

use std::ffi::OsString;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;
use crate::demo::{Identity, Plan};

/// The template is what it says only while all of it runs.
#[tokio::test(flavor = "multi_thread")]
async fn the_demonstration_ends_well() {
    let plan = Plan {
        workers: 2,
        rounds: 1,
        requests: 50,
    };
    let mut out = Vec::new();
    demo::run(&plan, &mut out).await.unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(out.lines().last().unwrap().starts_with("ok: "), "{out}");
}

/// What hangs must not hold up the end for ever.
#[tokio::test(flavor = "multi_thread")]
async fn what_takes_longer_than_the_grace_is_cut_off() {
    let identity = Identity::new().unwrap();
    let mut config = demo::config(2, &identity);
    config.grace = Duration::from_millis(20);
    let app = App::default();
    let server = Server::start(config, app.clone()).unwrap();
    let url = format!("https://localhost:{}/slow", server.addr().port());
    let client = identity.client(server.addr()).build().unwrap();
    let slow = tokio::spawn(client.get(url).send());
    app.asked.notified().await;
    assert!(!server.drain().await);
    assert!(slow.await.unwrap().is_err());
}

/// Clients that come and come must not keep the listeners open: a server under load has to end, too.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_keep_coming_do_not_hold_up_the_end() {
    let identity = Identity::new().unwrap();
    let server = Server::start(demo::config(2, &identity), App::default()).unwrap();
    let addr = server.addr();
    for _ in 0..4 {
        tokio::spawn(async move { while TcpStream::connect(addr).await.is_ok() {} });
    }
    let ended = tokio::time::timeout(Duration::from_secs(15), server.drain()).await;
    assert!(ended.expect("it ends"));
}

/// A client that never says hello is not waited for: it has asked for nothing yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_never_ends_is_cut_off_with_the_grace() {
    let identity = Identity::new().unwrap();
    let mut config = demo::config(1, &identity);
    config.grace = Duration::from_millis(20);
    let server = Server::start(config, App::default()).unwrap();
    let mut silent = TcpStream::connect(server.addr()).await.unwrap();
    let served = server.drain_each().await;
    assert_eq!(served[0].as_ref().unwrap().connections, 1);
    // An end or a reset: nobody is there.
    assert!(!matches!(silent.read(&mut [0; 1]).await, Ok(1..)));
}

/// Behind a proxy that has the certificates: without TLS, both protocols on one port.
#[tokio::test(flavor = "multi_thread")]
async fn without_tls_both_protocols_are_answered() {
    let identity = Identity::new().unwrap();
    let mut config = demo::config(1, &identity);
    config.tls = None;
    let server = Server::start(config, App::default()).unwrap();
    let url = format!("http://{}/version", server.addr());
    let old = reqwest::Client::builder().no_proxy().build().unwrap();
    let new = reqwest::Client::builder()
        .no_proxy()
        .http2_prior_knowledge();
    for (client, version) in [(old, "HTTP/1.1"), (new.build().unwrap(), "HTTP/2.0")] {
        let answer = client.get(&url).send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), version);
    }
    assert!(server.drain().await);
}

/// Two protocols' worth of bytes that are neither.
#[tokio::test(flavor = "multi_thread")]
async fn nonsense_ends_its_own_connection_only() {
    let identity = Identity::new().unwrap();
    let server = Server::start(demo::config(1, &identity), App::default()).unwrap();
    let mut client = TcpStream::connect(server.addr()).await.unwrap();
    client.write_all(&[0xff; 1000]).await.unwrap();
    _ = client.read_to_end(&mut Vec::new()).await;
    let url = format!("https://localhost:{}/hello", server.addr().port());
    let good = identity.client(server.addr()).build().unwrap();
    assert!(good.get(url).send().await.unwrap().status().is_success());
    drop(good);
    assert!(server.drain().await);
}

/// Certificates come as files, and a wrong file is to be named.
#[test]
fn tls_comes_from_pem_files() {
    let dir = std::env::temp_dir().join(format!("hyper_on_compio-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    let identity = Identity::new().unwrap();
    std::fs::write(&cert, &identity.pem.0).unwrap();
    std::fs::write(&key, &identity.pem.1).unwrap();
    assert!(tls::from_files(&cert, &key).is_ok());
    let error = tls::from_files(&cert, &cert).map(drop).unwrap_err();
    assert!(error.to_string().contains("cert.pem"), "{error}");
    let error = tls::from_files(&dir.join("none"), &key)
        .map(drop)
        .unwrap_err();
    assert!(error.to_string().contains("none"), "{error}");
    std::fs::remove_dir_all(&dir).unwrap();
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
        &["--cert", "a"],
        &["--cert", "a", "--key", "b"],
    ] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
    assert!(parse(&["--help"]).unwrap().is_none());
    let options = parse(&["--listen", "127.0.0.1:0", "--cert=a", "--key=b"])
        .unwrap()
        .unwrap();
    assert!(options.serve.unwrap().tls.is_some());
}
