//! Clients that exist for Tokio only, unchanged inside Compio tasks: over their own sockets of Tokio's, with the
//! tasks that they spawn on the Tokio runtime.

use std::{convert::Infallible, net::SocketAddr, panic::AssertUnwindSafe, time::Duration};

use crate::context_support::{compio_runtime, everywhere, message, tokio_runtime};
use crate::{
    plain_codec::Plain,
    servers::Server,
    support::{drivers, watchdog},
};
use bytes::Bytes;
use futures::{
    FutureExt, SinkExt, StreamExt, TryStreamExt,
    future::{Either, select, try_join_all},
};
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Request, Response, StatusCode, Version, body::Body, body::Incoming,
    http::uri::PathAndQuery, service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use landbridge::{
    context::{InTokioExt, in_tokio},
    rt::spawn_local,
};
use tokio::{net::TcpListener, runtime};
use tonic::{Code, client::Grpc, transport::Endpoint};
use tower::{Service, ServiceExt};

/// Sends bodies back, over HTTP/1 and HTTP/2; as gRPC sees it, with success. On a Tokio runtime of its own.
struct Peer {
    address: SocketAddr,
    _runtime: runtime::Runtime,
}

impl Peer {
    fn new() -> Self {
        let runtime = tokio_runtime();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        drop(runtime.spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                drop(tokio::spawn(async move {
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let service = service_fn(echo);
                    // The client may go when it likes.
                    _ = builder
                        .serve_connection(TokioIo::new(socket), service)
                        .await;
                }));
            }
        }));
        Self {
            address,
            _runtime: runtime,
        }
    }
}

async fn echo(
    request: Request<Incoming>,
) -> Result<Response<impl Body<Data = Bytes, Error = hyper::Error>>, Infallible> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    if request.uri().path() == "/never" {
        std::future::pending::<()>().await;
    }
    let refuse = request.uri().path() == "/refuse";
    let body = request.into_body();
    let body = body.with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert("content-type", "application/grpc".parse().unwrap());
    if refuse {
        headers.insert("grpc-status", "16".parse().unwrap());
    }
    Ok(response)
}

fn http_client(http2: bool) -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new())
        .pool_idle_timeout(Duration::from_secs(60))
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .http2_only(http2)
        .build_http()
}

fn pattern(len: usize) -> Bytes {
    (0..len).map(|i| (i % 251) as u8).collect()
}

/// What reqwest is made of: a pool of connections, each with a task of its own on Tokio, timers, name resolution
/// on a blocking thread.
#[test]
fn hyper_utils_client_gets_over_http1_and_http2() {
    let peer = Peer::new();
    let address = peer.address;
    for http2 in [false, true] {
        everywhere(move |handle| async move {
            let client = http_client(http2);
            let get = async |len| {
                let request = Request::post(format!("http://localhost:{}/", address.port()));
                let request = request.body(Full::from(pattern(len))).unwrap();
                let response = client.request(request).await.unwrap();
                assert_eq!(response.status(), StatusCode::OK);
                let version = if http2 {
                    Version::HTTP_2
                } else {
                    Version::HTTP_11
                };
                assert_eq!(response.version(), version);
                let body = response.into_body().collect().await.unwrap();
                assert!(body.to_bytes() == pattern(len));
            };
            let requests = async {
                // One after the other on one connection, then many at once.
                for len in [0, 1, 100_000] {
                    get(len).await;
                }
                futures::future::join_all((0..20).map(|i| get(i * 5000))).await;
            };
            requests.in_tokio(&handle).await;
        });
    }
}

/// The client that most have: it spawns its connections, and has a timer for each request.
#[test]
fn reqwest_gets_over_http1_and_http2() {
    let peer = Peer::new();
    let port = peer.address.port();
    for http2 in [false, true] {
        everywhere(move |handle| async move {
            let client = reqwest::Client::builder().no_proxy();
            let client = if http2 {
                client.http2_prior_knowledge()
            } else {
                client.http1_only()
            };
            let client = client.timeout(Duration::from_secs(30)).build().unwrap();
            let post = async |len| {
                let request = client.post(format!("http://localhost:{port}/"));
                let response = request.body(pattern(len)).send().await.unwrap();
                let response = response.error_for_status().unwrap();
                assert_eq!(response.version() == Version::HTTP_2, http2);
                assert!(response.bytes().await.unwrap() == pattern(len));
            };
            let requests = async {
                for len in [0, 1, 100_000] {
                    post(len).await;
                }
                futures::future::join_all((0..20).map(|i| post(i * 5000))).await;
            };
            requests.in_tokio(&handle).await;

            // A request that is dropped half way, and one that has no answer, are no harm to the next.
            // With a timeout `send` needs the context at once, before its future is polled.
            let never = async |limit| {
                let request = client.get(format!("http://localhost:{port}/never"));
                request.timeout(limit).send().await
            };
            let dropped = Box::pin(never(Duration::from_secs(30)).in_tokio(&handle));
            let meanwhile = Box::pin(post(1).in_tokio(&handle));
            match select(dropped, meanwhile).await {
                Either::Left((answer, _)) => panic!("{answer:?}"),
                Either::Right(((), dropped)) => drop(dropped),
            }
            let hasty = never(Duration::from_millis(1)).in_tokio(&handle);
            let error = hasty.await.unwrap_err();
            assert!(error.is_timeout(), "{error:?}");
            post(1).in_tokio(&handle).await;
        });
    }
}

/// A request that has no timeout, and whose connection was a task of the runtime that is gone.
#[test]
fn a_request_in_flight_ends_with_the_runtime() {
    let peer = Peer::new();
    let url = |path| format!("http://{}/{path}", peer.address);
    for driver in drivers() {
        let _watchdog = watchdog();
        let tokio = tokio_runtime();
        let handle = tokio.handle().clone();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let get = |path| {
            let request = client.get(url(path));
            let response = async { request.send().await.map(drop) }.in_tokio(&handle);
            Box::pin(AssertUnwindSafe(response).catch_unwind())
        };
        compio_runtime(driver).block_on(async {
            let Either::Right((answered, waits)) = select(get("never"), get("")).await else {
                panic!("nobody answers that");
            };
            answered.unwrap().unwrap();
            let ending = std::thread::spawn(|| drop(tokio));
            match waits.await {
                Ok(result) => assert!(result.unwrap_err().is_request()),
                Err(panic) => assert!(message(&*panic).contains("shut down"), "{panic:?}"),
            }
            ending.join().unwrap();
        });
    }
}

/// A tower stack is made for the service that it is around, not for each of its requests.
#[test]
fn a_client_is_a_service_in_the_context() {
    let peer = Peer::new();
    let address = peer.address;
    everywhere(move |handle| async move {
        let mut client = in_tokio(&handle, http_client(false));
        for _ in 0..3 {
            let request = Request::get(format!("http://{address}/"));
            let request = request.body(Full::default()).unwrap();
            let response = client.ready().await.unwrap().call(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
        }
    });
}

/// tonic's channel spawns its connection and its buffer, and has timers of its own.
#[test]
fn a_tonic_client_calls_and_streams() {
    let peer = Peer::new();
    let address = peer.address;
    everywhere(move |handle| async move {
        let calls = async {
            let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
            let endpoint = endpoint.timeout(Duration::from_secs(30));
            let channel = endpoint.connect().await.unwrap();
            let mut client = Grpc::new(channel);
            for text in ["one", "two"] {
                client.ready().await.unwrap();
                let path = PathAndQuery::from_static("/echo");
                let request = tonic::Request::new(Bytes::from(text));
                let answer = client.unary(request, path, Plain).await.unwrap();
                assert_eq!(answer.into_inner(), text);
            }

            client.ready().await.unwrap();
            let (mut ask, questions) = futures::channel::mpsc::channel(1);
            let path = PathAndQuery::from_static("/echo");
            let streaming = client.streaming(tonic::Request::new(questions), path, Plain);
            let mut answers = streaming.await.unwrap().into_inner();
            for i in 0..20 {
                ask.send(pattern(i * 1000)).await.unwrap();
                assert!(answers.next().await.unwrap().unwrap() == pattern(i * 1000));
            }
            drop(ask);
            assert!(answers.next().await.is_none());

            client.ready().await.unwrap();
            let path = PathAndQuery::from_static("/refuse");
            let request = tonic::Request::new(Bytes::new());
            let refused = client.unary(request, path, Plain).await.unwrap_err();
            assert_eq!(refused.code(), Code::Unauthenticated);
        };
        calls.in_tokio(&handle).await;
    });
}

/// Its own connection, by name, with its timeouts; the task that drives it stays here, in the context.
#[test]
fn a_postgres_client_connects_and_queries() {
    let Some(server) = Server::postgres() else {
        return;
    };
    let port = server.address.port();
    everywhere(move |handle| async move {
        let mut config = tokio_postgres::Config::new();
        config.host("localhost").port(port);
        config.user("postgres").dbname("postgres");
        config.connect_timeout(Duration::from_secs(30));
        let connected = config.connect(tokio_postgres::NoTls).in_tokio(&handle);
        let (client, connection) = connected.await.unwrap();
        let connection = spawn_local(connection.in_tokio(&handle));

        let queries = (0..100_i64).map(|i| {
            let client = &client;
            async move {
                let row = client.query_one("SELECT $1::BIGINT * 2", &[&i]).await?;
                Ok::<i64, tokio_postgres::Error>(row.get(0))
            }
        });
        let doubled = try_join_all(queries).await.unwrap();
        assert_eq!(doubled, (0..100).map(|i| i * 2).collect::<Vec<_>>());
        let rows = client.query_raw::<_, i32, _>("SELECT generate_series(1, 1000)", []);
        let rows: Vec<_> = rows.await.unwrap().try_collect().await.unwrap();
        assert_eq!(rows.len(), 1000);

        // A connection of its own, which the client makes where it is.
        let cancel = client.cancel_token();
        let waits = client.batch_execute("SELECT pg_sleep(600)");
        let cancels = async {
            let connected = config.connect(tokio_postgres::NoTls).in_tokio(&handle);
            let (watcher, connection) = connected.await.unwrap();
            drop(spawn_local(connection.in_tokio(&handle)));
            let active = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'";
            while watcher.query(active, &[]).await.unwrap().is_empty() {}
            let cancelling = cancel.cancel_query(tokio_postgres::NoTls);
            cancelling.in_tokio(&handle).await.unwrap();
        };
        let (waited, ()) = futures::future::join(waits, cancels).await;
        assert!(waited.unwrap_err().code().is_some());

        drop(client);
        connection.await.unwrap().unwrap();
    });
}

/// Its driver is a task on Tokio; the commands' futures have timers.
#[test]
fn a_redis_client_connects_and_commands() {
    use redis::AsyncCommands;

    let Some(server) = Server::redis() else {
        return;
    };
    let address = server.address;
    everywhere(move |handle| async move {
        let commands = async {
            let client = redis::Client::open(format!("redis://{address}/")).unwrap();
            let mut connection = client.get_multiplexed_async_connection().await.unwrap();
            let sets = (0..50_usize).map(|id| {
                let mut connection = connection.clone();
                async move {
                    let value = pattern(if id == 20 { 1 << 20 } else { id * 31 }).to_vec();
                    () = connection.set(id, &value).await?;
                    let back: Vec<u8> = connection.get(id).await?;
                    assert!(back == value);
                    redis::RedisResult::Ok(())
                }
            });
            try_join_all(sets).await.unwrap();
            let (first, sum): (i64, i64) = redis::pipe()
                .atomic()
                .del("counter")
                .ignore()
                .incr("counter", 2)
                .incr("counter", 40)
                .query_async(&mut connection)
                .await
                .unwrap();
            assert_eq!((first, sum), (2, 42));
        };
        commands.in_tokio(&handle).await;
    });
}
