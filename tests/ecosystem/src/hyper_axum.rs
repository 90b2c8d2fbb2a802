//! axum's `Router` on Compio's threads, connection by connection, through hyper-util's builder.

use std::{
    net::{SocketAddr, TcpListener as StdTcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::hyper_support::{collect, drive, io};
use crate::io_support::{on_each_driver, pattern};
use crate::support::{block_on, drivers, watchdog};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, State},
    routing::{get, post},
};
use compio::net::{TcpListener, TcpStream};
use futures::{StreamExt, channel::mpsc, future::join_all};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, StatusCode, body::Incoming, client::conn};
use hyper_util::{
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use landbridge::{
    CompioPool, Driver, JoinHandle,
    hyper::{CompioTimer, LocalExecutor},
    rt::spawn_local,
};
use tokio::sync::watch;

/// A pool that serves on every worker.
struct Server {
    pool: CompioPool,
    address: SocketAddr,
    stop: watch::Sender<()>,
    shares: Vec<JoinHandle<()>>,
}

impl Server {
    fn start(driver: Driver, router: &Router) -> Self {
        let pool = CompioPool::builder().threads(2).driver(driver).build();
        let pool = pool.unwrap();
        let listener = StdTcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(());
        let shares = pool.workers().map(|worker| {
            let listener = listener.try_clone().unwrap();
            let (router, stopped) = (router.clone(), stopped.clone());
            worker.spawn(async move || {
                let listener = TcpListener::from_std(listener).unwrap();
                accept(listener, router, stopped).await;
            })
        });
        Self {
            shares: shares.collect(),
            pool,
            address,
            stop,
        }
    }

    fn end(self) {
        drop(self.stop);
        for share in block_on(join_all(self.shares)) {
            share.unwrap();
        }
        block_on(self.pool.shutdown());
    }
}

async fn accept(listener: TcpListener, router: Router, mut stopped: watch::Receiver<()>) {
    let graceful = GracefulShutdown::new();
    let service = TowerToHyperService::new(router);
    loop {
        let (socket, _) = tokio::select! {
            accepted = listener.accept() => accepted.unwrap(),
            _ = stopped.changed() => break,
        };
        let (watcher, service) = (graceful.watcher(), service.clone());
        drop(spawn_local(async move {
            let mut builder = auto::Builder::new(LocalExecutor);
            builder.http1().timer(CompioTimer);
            builder.http2().timer(CompioTimer);
            let connection = builder.serve_connection(io(socket), service);
            // A client that goes away is no matter of the server's.
            _ = watcher.watch(connection.into_owned()).await;
        }));
    }
    drop(listener);
    graceful.shutdown().await;
}

/// Runs `test` against a server on each driver, from clients on each driver.
fn against<F: Future<Output = ()>>(router: &Router, test: impl Fn(SocketAddr) -> F) {
    let _watchdog = watchdog();
    for driver in drivers() {
        let server = Server::start(driver, router);
        on_each_driver(|| test(server.address));
        server.end();
    }
}

enum Client {
    Http1(conn::http1::SendRequest<Full<Bytes>>),
    Http2(conn::http2::SendRequest<Full<Bytes>>),
}

impl Client {
    async fn both(address: SocketAddr) -> [Self; 2] {
        let socket = TcpStream::connect(address).await.unwrap();
        let (http1, connection) = conn::http1::handshake(io(socket)).await.unwrap();
        drop(drive(connection));
        let socket = TcpStream::connect(address).await.unwrap();
        let shaken = conn::http2::handshake(LocalExecutor, io(socket)).await;
        let (http2, connection) = shaken.unwrap();
        drop(drive(connection));
        [Self::Http1(http1), Self::Http2(http2)]
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Self::Http2(sender) => sender.send_request(request).await,
        }
    }
}

fn request(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let request = Request::post(format!("http://localhost{path}")).header("host", "localhost");
    request.body(Full::new(body.into())).unwrap()
}

/// What most people mean by "can I use it": routes, extractors, state, both protocols on one port.
#[test]
fn a_router_serves_both_protocols_on_one_port() {
    let greeted = Arc::new(AtomicUsize::new(0));
    let router = Router::new()
        .route(
            "/greet/{name}",
            post(
                async |State(greeted): State<Arc<AtomicUsize>>, Path(name): Path<String>| {
                    greeted.fetch_add(1, Ordering::Relaxed);
                    format!("hello {name}")
                },
            ),
        )
        .with_state(Arc::clone(&greeted));
    let expected = AtomicUsize::new(0);
    against(&router, async |address| {
        for mut client in Client::both(address).await {
            for name in ["one", "two"] {
                let response = client.send(request(&format!("/greet/{name}"), "")).await;
                let body = collect(response.unwrap()).await;
                assert_eq!(body, format!("hello {name}"));
                expected.fetch_add(1, Ordering::Relaxed);
            }
            let response = client.send(request("/nowhere", "")).await.unwrap();
            assert_eq!(response.status(), StatusCode::NOT_FOUND);
        }
    });
    let expected = expected.into_inner();
    assert_eq!(greeted.load(Ordering::Relaxed), expected);
    assert!(expected >= 4);
}

/// Bodies as they come, by axum's own body type, larger than any buffer.
#[test]
fn a_handler_streams_a_large_body_back() {
    let echo = async |body: Body| Body::from_stream(body.into_data_stream());
    let router = Router::new().route("/", post(echo));
    let sent = Bytes::from(pattern(2 << 20));
    against(&router, async |address| {
        for mut client in Client::both(address).await {
            let response = client.send(request("/", sent.clone())).await.unwrap();
            assert!(collect(response).await == sent);
        }
    });
}

/// A response that never ends is read as long as somebody wants it, and dropped with its client.
#[test]
fn a_stream_of_events_ends_with_its_client() {
    let (dropped, is_dropped) = mpsc::unbounded();
    let events = get(async move || {
        let guard = crate::support::OnDrop::new(move || dropped.unbounded_send(()).unwrap());
        let events = futures::stream::repeat_with(move || {
            let _guard = &guard;
            Ok::<_, std::convert::Infallible>("event\n")
        });
        Body::from_stream(events)
    });
    let router = Router::new().route("/", events);
    let is_dropped = tokio::sync::Mutex::new(is_dropped);
    against(&router, async |address| {
        for mut client in Client::both(address).await {
            let mut request = request("/", "");
            *request.method_mut() = hyper::Method::GET;
            let mut response = client.send(request).await.unwrap();
            let frame = response.frame().await.unwrap().unwrap();
            assert!(frame.into_data().unwrap().starts_with(b"event\n"));
            drop((response, client));
            is_dropped.lock().await.next().await.unwrap();
        }
    });
}

/// Rolling a service over: nobody's request is cut off.
#[test]
fn a_graceful_shutdown_answers_what_is_under_way() {
    let _watchdog = watchdog();
    for driver in drivers() {
        let (arrived, mut arrivals) = mpsc::unbounded();
        let (go_on, may_go_on) = watch::channel(false);
        let wait = post(async move || {
            arrived.unbounded_send(()).unwrap();
            let mut may_go_on = may_go_on.clone();
            may_go_on.wait_for(|go_on| *go_on).await.unwrap();
            "done"
        });
        let server = Server::start(driver, &Router::new().route("/", wait));
        let address = server.address;
        let (ended, has_ended) = std::sync::mpsc::channel();
        let runtime = compio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let mut requests = Vec::new();
            for mut client in Client::both(address).await {
                requests.push(spawn_local(async move {
                    let response = client.send(request("/", "")).await.unwrap();
                    collect(response).await
                }));
                arrivals.next().await.unwrap();
            }
            let end = std::thread::spawn(move || {
                server.end();
                ended.send(()).unwrap();
            });
            // Refused, or reset in the backlog: the listener goes before the requests do.
            while let Ok(socket) = TcpStream::connect(address).await {
                drop(socket);
            }
            assert!(has_ended.try_recv().is_err());
            go_on.send(true).unwrap();
            for request in requests {
                assert_eq!(request.await.unwrap(), "done");
            }
            end.join().unwrap();
        });
    }
}
