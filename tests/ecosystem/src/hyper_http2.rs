//! hyper's HTTP/2, both sides of it on a Compio thread, its tasks started by our executor.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    pin::pin,
    rc::Rc,
    time::Duration,
};

use crate::hyper_support::{collect, drive, echo, everywhere, get, io, say_path, sockets};
use crate::io_support::pattern;
use crate::support::{block_on, for_each_driver};
use bytes::Bytes;
use compio::net::TcpStream;
use futures::{
    StreamExt,
    channel::{mpsc, oneshot},
    future::{join_all, poll_fn},
};
use http_body_util::{Empty, Full, StreamBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    client::conn::http2 as client,
    server::conn::http2 as server,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use landbridge::{
    CompioHandle,
    hyper::{CompioTimer, LocalExecutor},
    io::IntoTokioIo,
    rt::spawn_local,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

type Client = client::SendRequest<Full<Bytes>>;

async fn connect(socket: TcpStream) -> Client {
    let (sender, connection) = client::handshake(LocalExecutor, io(socket)).await.unwrap();
    drop(drive(connection));
    sender
}

fn builder() -> server::Builder<LocalExecutor> {
    server::Builder::new(LocalExecutor)
}

/// Each stream is a task of its own, whose future is not `Send`.
#[test]
fn many_streams_of_one_connection_are_served_at_once() {
    const STREAMS: usize = 50;

    everywhere(|| async {
        let (near, far) = sockets().await;
        let arrived = Rc::new(Cell::new(0));
        let (all, all_arrived) = oneshot::channel::<()>();
        let (all, all_arrived) = (
            Rc::new(Cell::new(Some(all))),
            futures::FutureExt::shared(all_arrived),
        );
        let service = service_fn(move |request| {
            arrived.set(arrived.get() + 1);
            if arrived.get() == STREAMS {
                all.take().unwrap().send(()).unwrap();
            }
            let all_arrived = all_arrived.clone();
            async move {
                all_arrived.await.unwrap();
                say_path(request).await
            }
        });
        let server = drive(builder().serve_connection(io(far), service));
        let client = connect(near).await;
        let requests = (0..STREAMS).map(|stream| {
            let mut client = client.clone();
            async move {
                let path = format!("/{stream}");
                let response = client.send_request(get(&path)).await.unwrap();
                assert_eq!(collect(response).await, path);
            }
        });
        join_all(requests).await;
        drop(client);
        server.await.unwrap().unwrap();
    });
}

/// Past every window of flow control, in both directions at once.
#[test]
fn large_bodies_of_several_streams_are_echoed_while_they_are_sent() {
    everywhere(|| async {
        let (near, far) = sockets().await;
        let server = drive(builder().serve_connection(io(far), service_fn(echo)));
        let (client, connection) = client::handshake(LocalExecutor, io(near)).await.unwrap();
        drop(drive(connection));
        let sent = Bytes::from(pattern(1 << 20));
        let echoes = (0..4).map(|_| {
            let (mut client, sent) = (client.clone(), sent.clone());
            async move {
                let body = sent.clone();
                let pieces = futures::stream::iter((0..16).map(move |i| {
                    let piece = body.slice(i << 16..(i + 1) << 16);
                    Ok::<_, Infallible>(Frame::data(piece))
                }));
                let request = Request::post("http://localhost/").body(StreamBody::new(pieces));
                let response = client.send_request(request.unwrap()).await.unwrap();
                assert!(collect(response).await == sent);
            }
        });
        join_all(echoes).await;
        drop(client);
        server.await.unwrap().unwrap();
    });
}

/// The error of one request must not be the error of its connection.
#[test]
fn a_panic_of_the_service_ends_its_stream_only() {
    everywhere(|| async {
        let (near, far) = sockets().await;
        let service = service_fn(async |request: Request<Incoming>| {
            assert_ne!(request.uri().path(), "/panic", "as it was asked to");
            say_path(request).await
        });
        let server = drive(builder().serve_connection(io(far), service));
        let mut client = connect(near).await;
        assert!(client.send_request(get("/panic")).await.is_err());
        let response = client.send_request(get("/on")).await.unwrap();
        assert_eq!(collect(response).await, "/on");
        drop(client);
        server.await.unwrap().unwrap();
    });
}

/// Upgrades of HTTP/2 ask nothing of the socket: the tunnel is a stream of the connection.
#[test]
fn a_connect_request_becomes_a_tunnel() {
    everywhere(|| async {
        let (near, far) = sockets().await;
        let service = service_fn(async |request: Request<Incoming>| {
            assert_eq!(request.method(), Method::CONNECT);
            drop(spawn_local(async move {
                let tunnel = hyper::upgrade::on(request).await.unwrap();
                let (mut from, mut to) = tokio::io::split(TokioIo::new(tunnel));
                tokio::io::copy(&mut from, &mut to).await.unwrap();
                to.shutdown().await.unwrap();
            }));
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        });
        let server = drive(builder().serve_connection(io(far), service));
        let (mut client, connection) = client::handshake(LocalExecutor, io(near)).await.unwrap();
        drop(drive(connection));
        let request = Request::connect("localhost:80").body(Empty::<Bytes>::new());
        let response = client.send_request(request.unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let tunnel = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
        let (mut from, mut to) = tokio::io::split(tunnel);
        let sent = pattern(300_000);
        let mut got = Vec::new();
        let send = async {
            to.write_all(&sent).await.unwrap();
            to.shutdown().await.unwrap();
        };
        let (_, received) = tokio::join!(send, from.read_to_end(&mut got));
        received.unwrap();
        assert!(got == sent);
        drop((client, from, to));
        server.await.unwrap().unwrap();
    });
}

/// A peer that is gone without a word is found out by pings that nobody answers.
#[test]
fn a_client_that_answers_no_ping_is_cut_off() {
    everywhere(|| async {
        let (near, far) = sockets().await;
        let mut builder = builder();
        builder
            .timer(CompioTimer)
            .keep_alive_interval(Duration::from_millis(10))
            .keep_alive_timeout(Duration::from_millis(10));
        let server = drive(builder.serve_connection(io(far), service_fn(say_path)));
        let mut client = near.into_tokio_io();
        // The preface and empty settings; then silence.
        client
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        client
            .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
            .await
            .unwrap();
        let error = server.await.unwrap().unwrap_err();
        assert!(error.is_timeout(), "{error:?}");
        let mut said = Vec::new();
        _ = client.read_to_end(&mut said).await;
    });
}

/// The same pings, answered, go on for as long as the connection is wanted.
#[test]
fn a_client_that_answers_its_pings_is_kept() {
    everywhere(|| async {
        const INTERVAL: Duration = Duration::from_millis(5);

        let (near, far) = sockets().await;
        let mut builder = builder();
        builder
            .timer(CompioTimer)
            .keep_alive_interval(INTERVAL)
            .keep_alive_timeout(Duration::from_secs(20));
        let server = drive(builder.serve_connection(io(far), service_fn(say_path)));
        let mut client = connect(near).await;
        for _ in 0..3 {
            compio::time::sleep(4 * INTERVAL).await;
            let response = client.send_request(get("/")).await.unwrap();
            assert_eq!(collect(response).await, "/");
        }
        drop(client);
        server.await.unwrap().unwrap();
    });
}

/// What a deployment does: streams under way finish, new ones go elsewhere.
#[test]
fn a_graceful_shutdown_lets_the_streams_under_way_finish() {
    everywhere(|| async {
        let (near, far) = sockets().await;
        let (arrived, mut arrivals) = mpsc::unbounded();
        let (go_on, may_go_on) = oneshot::channel::<()>();
        let may_go_on = RefCell::new(Some(may_go_on));
        let service = service_fn(move |request| {
            let may_go_on = may_go_on.take().expect("one request");
            let arrived = arrived.clone();
            async move {
                arrived.unbounded_send(()).unwrap();
                may_go_on.await.unwrap();
                say_path(request).await
            }
        });
        let (shut_down, is_shut_down) = oneshot::channel::<()>();
        let server = drive(async move {
            let mut connection = pin!(builder().serve_connection(io(far), service));
            let mut is_shut_down = pin!(is_shut_down);
            let mut told = false;
            poll_fn(|cx| {
                if !told && is_shut_down.as_mut().poll(cx).is_ready() {
                    told = true;
                    connection.as_mut().graceful_shutdown();
                }
                connection.as_mut().poll(cx)
            })
            .await
        });
        let mut client = connect(near).await;
        let response = drive(client.send_request(get("/last")));
        arrivals.next().await.unwrap();
        shut_down.send(()).unwrap();
        crate::io_support::settle().await;
        assert!(!server.is_finished());
        go_on.send(()).unwrap();
        assert_eq!(collect(response.await.unwrap().unwrap()).await, "/last");
        server.await.unwrap().unwrap();
        assert!(client.send_request(get("/late")).await.is_err());
    });
}

/// With Compio's own `spawn` they would be in no metrics, and a shutdown would not know of them.
#[test]
fn the_streams_under_way_are_tasks_of_the_pool() {
    const STREAMS: usize = 10;

    for_each_driver(|pool| {
        let pool = pool().build().unwrap();
        block_on(pool.run(async || {
            let (near, far) = sockets().await;
            let (arrived, arrivals) = mpsc::unbounded();
            let (go_on, may_go_on) = oneshot::channel::<()>();
            let may_go_on = futures::FutureExt::shared(may_go_on);
            let service = service_fn(move |request| {
                let may_go_on = may_go_on.clone();
                arrived.unbounded_send(()).unwrap();
                async move {
                    may_go_on.await.unwrap();
                    say_path(request).await
                }
            });
            drop(drive(builder().serve_connection(io(far), service)));
            let mut client = connect(near).await;
            crate::io_support::settle().await;
            let in_flight = || CompioHandle::current().unwrap().metrics().in_flight;
            let idle = in_flight();
            let requests = (0..STREAMS).map(|_| client.send_request(get("/")));
            let requests = join_all(requests.collect::<Vec<_>>());
            let look = async {
                assert_eq!(arrivals.take(STREAMS).count().await, STREAMS);
                assert!(in_flight() >= idle + STREAMS);
                go_on.send(()).unwrap();
            };
            let (answers, ()) = tokio::join!(requests, look);
            answers.into_iter().for_each(|answer| drop(answer.unwrap()));
        }))
        .unwrap();
        block_on(pool.shutdown());
    });
}

/// Rolling a pool over: the answer is sent before the worker ends.
#[test]
fn a_pools_shutdown_waits_for_the_streams_under_way() {
    for_each_driver(|pool| {
        let pool = pool().build().unwrap();
        let (arrived, has_arrived) = oneshot::channel();
        let (go_on, may_go_on) = oneshot::channel::<()>();
        let (answered, is_answered) = oneshot::channel();
        block_on(pool.run(async move || {
            let (near, far) = sockets().await;
            let waits = RefCell::new(Some((arrived, may_go_on)));
            let service = service_fn(move |request| {
                let (arrived, may_go_on) = waits.take().expect("one request");
                async move {
                    arrived.send(()).unwrap();
                    may_go_on.await.unwrap();
                    say_path(request).await
                }
            });
            drop(drive(builder().serve_connection(io(far), service)));
            let mut client = connect(near).await;
            drop(spawn_local(async move {
                let response = client.send_request(get("/")).await.unwrap();
                answered.send(collect(response).await).unwrap();
            }));
        }))
        .unwrap();
        block_on(has_arrived).unwrap();
        let shutdown = std::thread::spawn(move || block_on(pool.shutdown()));
        go_on.send(()).unwrap();
        assert_eq!(block_on(is_answered).unwrap(), "/");
        shutdown.join().unwrap();
    });
}

/// A runtime of one's own, attached: hyper's tasks are that handle's.
#[test]
fn an_attached_runtime_serves_too() {
    let _watchdog = crate::support::watchdog();
    crate::io_support::on_each_driver(|| async {
        let handle = CompioHandle::attach().unwrap();
        let (near, far) = sockets().await;
        let server = drive(builder().serve_connection(io(far), service_fn(say_path)));
        let mut client = connect(near).await;
        let response = client.send_request(get("/")).await.unwrap();
        assert_eq!(collect(response).await, "/");
        assert!(handle.metrics().in_flight > 0);
        drop(client);
        server.await.unwrap().unwrap();
    });
}

/// Code that serves both runtimes: the same executor on Tokio's local tasks, over Tokio's sockets.
#[test]
fn the_executor_serves_on_a_local_set_of_tokios() {
    let _watchdog = crate::support::watchdog();
    let tokio = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&tokio, async {
        let (near, far) = tokio::io::duplex(1000);
        let server = drive(builder().serve_connection(TokioIo::new(far), service_fn(say_path)));
        let (mut client, connection) =
            client::handshake::<_, _, Full<Bytes>>(LocalExecutor, TokioIo::new(near))
                .await
                .unwrap();
        drop(drive(connection));
        let response = client.send_request(get("/")).await.unwrap();
        assert_eq!(collect(response).await, "/");
        drop(client);
        server.await.unwrap().unwrap();
    });
}
