//! What the demonstration cannot show about itself.

use std::ffi::OsString;

use hyper::StatusCode;

use super::*;
use crate::{
    demo::{Act, Server, call, policy},
    error::{AttemptError, CallError},
};

/// Longer than a test takes, unless it hangs.
const LONG: Duration = Duration::from_secs(120);

fn pool() -> CompioPool {
    CompioPool::builder().threads(1).build().unwrap()
}

/// The template is what it says only while all of it runs.
#[tokio::test(flavor = "multi_thread")]
async fn the_demonstration_ends_well() {
    let mut out = Vec::new();
    let pool = pool();
    let done = tokio::time::timeout(LONG, demo::run(&pool, 200, &mut out)).await;
    done.expect("it ends").unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(out.lines().last().unwrap().starts_with("ok: "), "{out}");
}

/// A request that is repeated although it was done may pay twice.
#[test]
fn only_what_is_harmless_is_repeated() {
    let refused = || AttemptError::Connect(io::ErrorKind::ConnectionRefused.into());
    let status = |status| AttemptError::Status(StatusCode::from_u16(status).unwrap(), None);
    for (error, get, post) in [
        (refused(), true, true),
        (
            AttemptError::Connect(io::ErrorKind::PermissionDenied.into()),
            false,
            false,
        ),
        (AttemptError::Timeout, true, false),
        (status(429), true, true),
        (status(503), true, true),
        (status(502), true, false),
        (status(504), true, false),
        (status(408), true, false),
        (status(500), false, false),
        (status(404), false, false),
        (status(302), false, false),
    ] {
        for (method, repeated) in [
            (Method::GET, get),
            (Method::PUT, get),
            (Method::DELETE, get),
            (Method::POST, post),
            (Method::PATCH, post),
        ] {
            assert_eq!(error.may_repeat(&method), repeated, "{method}: {error}");
        }
    }
}

/// A server that is told nothing goes on with what nobody wants.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_dropped_ends_its_connection() {
    let server = Server::start([Act::Silence]).await.unwrap();
    let pool = pool();
    let addr = server.addr;
    let calling = tokio::spawn({
        let pool = pool.clone();
        async move { call(&pool, addr, policy(), Method::GET).await }
    });
    let asked = async {
        while server.seen().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, asked).await.expect("it asks");
    calling.abort();
    assert!(calling.await.unwrap_err().is_cancelled());
    // Jobs and connections that are still there would hold it up.
    tokio::time::timeout(LONG, pool.shutdown())
        .await
        .expect("it ends");
}

/// A server closes what is idle whenever it likes; that is nobody's failure.
#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_that_was_closed_costs_no_post() {
    let acts = [Act::AnswerAndClose; 20];
    let server = Server::start(acts).await.unwrap();
    let addr = server.addr;
    let pool = pool();
    let calls = pool.run(async move || {
        let client = Client::new(addr, addr.to_string(), policy());
        for n in 0..20 {
            let (method, body) = match n % 2 {
                0 => (Method::GET, ""),
                _ => (Method::POST, "post"),
            };
            client.call(method, "/a", Bytes::from(body)).await.unwrap();
        }
    });
    tokio::time::timeout(LONG, calls)
        .await
        .expect("it ends")
        .unwrap();
}

/// A server may say any number: no sum of it and the time may end the client.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_wants_to_be_left_alone_for_ever_is_given_up() {
    let server = Server::start([Act::Busy(u64::MAX)]).await.unwrap();
    let pool = pool();
    let called = call(&pool, server.addr, policy(), Method::GET);
    let called = tokio::time::timeout(LONG, called).await.expect("it ends");
    assert!(matches!(
        called.unwrap().outcome,
        Err(CallError::GaveUp { attempts: 1, .. })
    ));
}

/// One attempt means one.
#[tokio::test(flavor = "multi_thread")]
async fn one_attempt_is_not_repeated() {
    let server = Server::start([Act::Status(503)]).await.unwrap();
    let mut policy = policy();
    policy.attempts = 1;
    let called = call(&pool(), server.addr, policy, Method::GET)
        .await
        .unwrap();
    assert!(matches!(
        called.outcome,
        Err(CallError::GaveUp { attempts: 1, .. })
    ));
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
        &["--get", "127.0.0.1:80"],
        &["--get", "https://127.0.0.1/"],
        &["--get", "http:///a"],
        &["--attempts", "0"],
        &["--deadline", "soon"],
    ] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
    assert!(parse(&["--help"]).unwrap().is_none());
    let options = parse(&["--get", "http://[::1]:81/a?b=c", "--deadline=5"]);
    let options = options.unwrap().unwrap();
    let get = options.get.unwrap();
    assert_eq!(get.server, "[::1]:81".parse().unwrap());
    assert_eq!((&*get.host, &*get.path), ("[::1]:81", "/a?b=c"));
    assert_eq!(options.policy.deadline, Duration::from_millis(5));
}
