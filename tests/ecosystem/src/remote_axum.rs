//! Libraries written for Tokio's sockets, unchanged, over those of `landbridge::remote`.

use std::{convert::Infallible, io, net::SocketAddr, rc::Rc, time::Duration};

use crate::support::{block_on, for_each_driver};
use axum::{
    Router,
    extract::ws::{
        Message::{Binary, Text},
        WebSocketUpgrade,
    },
    response::IntoResponse,
    routing::get,
};
use futures::{FutureExt, SinkExt, StreamExt};
use hyper::{Request, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use landbridge::{
    context::OnThread,
    remote::{Net, TcpListener, TcpStream},
};
use tokio_tungstenite::{client_async, tungstenite::Message};

/// All that axum asks for.
struct Accepts(TcpListener);

impl axum::serve::Listener for Accepts {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.0.accept().await {
                Ok(accepted) => return accepted,
                // As axum does with Tokio's.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

async fn ask(net: &Net, address: SocketAddr, requests: usize) -> String {
    let stream = TcpStream::connect_in(net, address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let mut last = String::new();
    for _ in 0..requests {
        sender.ready().await.unwrap();
        let request = Request::get("/hello").header("host", "here");
        let request = request.body(String::new()).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        last = text(answer.into_body()).await;
    }
    drop(sender);
    connection.await.unwrap().unwrap();
    last
}

async fn text(body: Incoming) -> String {
    let mut body = axum::body::Body::new(body).into_data_stream();
    let mut text = Vec::new();
    while let Some(chunk) = body.next().await {
        text.extend_from_slice(&chunk.unwrap());
    }
    String::from_utf8(text).unwrap()
}

/// axum's own `serve`, on Tokio's threads.
#[test]
fn axum_serves_on_tokio() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).build().unwrap();
        let net = Net::new(&pool);
        let tokio = tokio::runtime::Runtime::new().unwrap();
        tokio.block_on(async {
            let listener = TcpListener::bind_in(&net, "127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let router = Router::new().route("/hello", get(|| async { "from the other side" }));
            let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
            let server =
                axum::serve(Accepts(listener), router).with_graceful_shutdown(stopped.map(drop));
            let server = tokio::spawn(server.into_future());
            for answer in futures::future::join_all((0..8).map(|_| ask(&net, address, 20))).await {
                assert_eq!(answer, "from the other side");
            }
            stop.send(()).unwrap();
            server.await.unwrap().unwrap();
        });
    });
}

/// axum takes the stream of a WebSocket to a task of its own on Tokio, which no shim over Compio's sockets allows.
#[test]
fn axums_websockets_work_on_tokio() {
    async fn echo(upgrade: WebSocketUpgrade) -> impl IntoResponse {
        upgrade.on_upgrade(async |mut socket| {
            while let Some(Ok(message)) = socket.recv().await {
                if let Text(_) | Binary(_) = message {
                    socket.send(message).await.unwrap();
                }
            }
        })
    }
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let net = Net::new(&pool);
        let tokio = tokio::runtime::Runtime::new().unwrap();
        tokio.block_on(async {
            let listener = TcpListener::bind_in(&net, "127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let router = Router::new().route("/", get(echo));
            let server = tokio::spawn(axum::serve(Accepts(listener), router).into_future());
            let stream = TcpStream::connect_in(&net, address).await.unwrap();
            let (mut socket, _) = client_async("ws://localhost/", stream).await.unwrap();
            for size in [0, 1, 126, 65_536, 1 << 20] {
                let message = Message::binary(vec![7; size]);
                socket.send(message.clone()).await.unwrap();
                assert!(socket.next().await.unwrap().unwrap() == message);
            }
            socket.close(None).await.unwrap();
            while socket.next().await.is_some() {}
            server.abort();
        });
    });
}

/// HTTP/2 has one task for each stream, and asks for `Send` of all of them; here with a handler that is made
/// of what stays on its thread, inside a worker of the pool.
#[test]
fn hyper_serves_on_a_worker_with_handlers_that_stay_there() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let net = Net::new(&pool);
        let there = net.clone();
        let serve = pool.run(async move || {
            let listener = TcpListener::bind_in(&there, "127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            drop(landbridge::rt::spawn_local(async move {
                let (stream, _) = listener.accept().await.unwrap();
                let service = hyper::service::service_fn(|_: Request<Incoming>| {
                    fn asks_for_send<F: Future + Send + 'static>(future: F) -> F {
                        future
                    }
                    asks_for_send(OnThread::new(async {
                        let stays = Rc::new(());
                        let text = compio::fs::read("Cargo.toml").await.unwrap();
                        drop(stays);
                        let text = String::from_utf8(text).unwrap();
                        Ok::<_, Infallible>(hyper::Response::new(text))
                    }))
                });
                let http = hyper::server::conn::http1::Builder::new();
                let connection = http.serve_connection(TokioIo::new(stream), service);
                connection.await.unwrap();
            }));
            address
        });
        let address = block_on(serve).unwrap();
        let tokio = tokio::runtime::Runtime::new().unwrap();
        let answer = tokio.block_on(ask(&net, address, 3));
        assert!(answer.contains("[package]"));
    });
}

/// Over one connection, many requests at once.
#[test]
fn http2_goes_through() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let net = Net::new(&pool);
        let tokio = tokio::runtime::Runtime::new().unwrap();
        tokio.block_on(async {
            let listener = TcpListener::bind_in(&net, "127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = tokio::spawn(async move {
                let (stream, _) = listener.accept().await.unwrap();
                let service = hyper::service::service_fn(async |request: Request<Incoming>| {
                    let text = text(request.into_body()).await;
                    Ok::<_, Infallible>(hyper::Response::new(text))
                });
                let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                _ = http.serve_connection(TokioIo::new(stream), service).await;
            });
            let stream = TcpStream::connect_in(&net, address).await.unwrap();
            let http =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
            let (sender, connection) = http.await.unwrap();
            let connection = tokio::spawn(connection);
            let answers = (0..50).map(|n| {
                let mut sender = sender.clone();
                async move {
                    let message = format!("{n}:").repeat(5_000);
                    let request = Request::post("http://here/").body(message.clone()).unwrap();
                    let answer = sender.send_request(request).await.unwrap();
                    assert_eq!(text(answer.into_body()).await, message);
                }
            });
            futures::future::join_all(answers).await;
            drop(sender);
            connection.await.unwrap().unwrap();
            server.abort();
        });
    });
}
