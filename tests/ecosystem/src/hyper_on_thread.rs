//! What asks for `Send` around hyper, on a Compio thread, with `OnThread` around what is not: upgrades of
//! HTTP/1, hyper-util's pooled client, axum's router.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    sync::mpsc,
    task::{Context, Poll},
    thread,
};

use crate::hyper_support::{collect, drive, everywhere, get as request, say_path, sockets};
use crate::io_support::pattern;
use crate::support::{block_on, drivers, watchdog};
use axum::{
    Router,
    body::Body,
    extract::{State, WebSocketUpgrade},
    response::IntoResponse,
    routing::{any, get},
};
use bytes::Bytes;
use compio::net::{TcpListener, TcpStream};
use futures::{FutureExt, SinkExt, StreamExt, channel::oneshot, future::LocalBoxFuture};
use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode, Uri,
    body::{Frame, Incoming, SizeHint},
    client::conn::http1 as client,
    header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE},
    server::conn::http1 as server,
    service::service_fn,
    upgrade::Upgraded,
};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::TokioIo,
    server::conn::auto,
    service::TowerToHyperService,
};
use landbridge::{
    CompioPool,
    context::OnThread,
    error::OnThreadError,
    hyper::{CompioTimer, LocalExecutor},
    io::IntoTokioIo,
    rt::spawn_local,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};

type Socket = OnThread<<TcpStream as IntoTokioIo>::Io>;

/// A Compio socket that is `Send`, as hyper takes it.
fn io(socket: TcpStream) -> TokioIo<Socket> {
    TokioIo::new(OnThread::new(socket.into_tokio_io()))
}

/// Answers an upgrade, and gives the stream behind it to `then`.
fn switch<F: Future<Output = ()> + 'static>(
    mut request: Request<Incoming>,
    then: impl FnOnce(Upgraded) -> F + 'static,
) -> Response<Full<Bytes>> {
    let mut response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "upgrade")
        .header(UPGRADE, &request.headers()[UPGRADE]);
    if let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY) {
        response = response.header(SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()));
    }
    let upgraded = hyper::upgrade::on(&mut request);
    drop(spawn_local(
        async move { then(upgraded.await.unwrap()).await },
    ));
    response.body(Full::default()).unwrap()
}

fn shout_please() -> Request<Full<Bytes>> {
    let mut request = request("/");
    let headers = request.headers_mut();
    headers.insert(CONNECTION, "upgrade".parse().unwrap());
    headers.insert(UPGRADE, "shout".parse().unwrap());
    request
}

async fn shout(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await.unwrap();
    text.make_ascii_uppercase();
    stream.write_all(&text).await.unwrap();
    stream.shutdown().await.unwrap();
}

async fn say_and_hear(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    stream.write_all(b"over the bridge").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "OVER THE BRIDGE");
}

/// hyper boxes the stream of an upgrade as `Send`: without the wrapper, `with_upgrades` is not there.
#[test]
fn with_upgrades_of_both_sides_hands_over_a_stream_that_works() {
    everywhere(|| async {
        let (near, far) = sockets().await;
        let service = service_fn(async |request| {
            let response = switch(request, |upgraded| shout(TokioIo::new(upgraded)));
            Ok::<_, Infallible>(response)
        });
        let connection = server::Builder::new().serve_connection(io(far), service);
        let server = drive(connection.with_upgrades());
        // The other way round it is one, too.
        let near = OnThread::new(TokioIo::new(near.into_tokio_io()));
        let (mut sender, connection) = client::handshake(near).await.unwrap();
        let connection = drive(connection.with_upgrades());
        let response = sender.send_request(shout_please()).await.unwrap();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        let upgraded = hyper::upgrade::on(response).await.unwrap();
        say_and_hear(TokioIo::new(upgraded)).await;
        server.await.unwrap().unwrap();
        connection.await.unwrap().unwrap();
    });
}

/// The stream itself is still to be had, for its addresses, its options, and without a look into a table for
/// each poll.
#[test]
fn an_upgraded_stream_gives_the_socket_back() {
    everywhere(|| async {
        let (near, far) = sockets().await;
        let there = far.local_addr().unwrap();
        let service = service_fn(async |request| {
            let response = switch(request, |upgraded| shout(TokioIo::new(upgraded)));
            Ok::<_, Infallible>(response)
        });
        let connection = server::Builder::new().serve_connection(io(far), service);
        drop(drive(connection.with_upgrades()));
        let (mut sender, connection) = client::handshake(io(near)).await.unwrap();
        drop(drive(connection.with_upgrades()));
        let response = sender.send_request(shout_please()).await.unwrap();
        let upgraded = hyper::upgrade::on(response).await.unwrap();
        let parts = upgraded.downcast::<TokioIo<Socket>>().unwrap();
        assert!(parts.read_buf.is_empty());
        let socket = parts.io.into_inner().into_inner().unwrap();
        assert_eq!(socket.get_ref().peer_addr().unwrap(), there);
        say_and_hear(socket).await;
    });
}

/// What most upgrades are: a WebSocket, here beside requests of both protocols on one port.
#[test]
fn a_websocket_goes_through_serve_connection_with_upgrades() {
    async fn serve(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        if !request.headers().contains_key(UPGRADE) {
            return say_path(request).await;
        }
        Ok(switch(request, async |upgraded| {
            let upgraded = TokioIo::new(upgraded);
            let mut socket = WebSocketStream::from_raw_socket(upgraded, Role::Server, None).await;
            while let Some(message) = socket.next().await {
                let message = message.unwrap();
                if message.is_text() || message.is_binary() {
                    socket.send(message).await.unwrap();
                }
            }
        }))
    }

    everywhere(|| async {
        let serve_on = |socket| {
            let mut builder = auto::Builder::new(LocalExecutor);
            builder.http1().timer(CompioTimer);
            let connection = builder.serve_connection_with_upgrades(io(socket), service_fn(serve));
            drive(connection.into_owned())
        };
        let (near, far) = sockets().await;
        let server = serve_on(far);
        let (mut socket, response) = client_async("ws://localhost/", near.into_tokio_io())
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        for size in [0, 1, 126, 65_536, 1 << 20] {
            let message = Message::binary(pattern(size));
            socket.send(message.clone()).await.unwrap();
            assert!(socket.next().await.unwrap().unwrap() == message);
        }
        socket.close(None).await.unwrap();
        while socket.next().await.is_some() {}
        server.await.unwrap().unwrap();

        let (near, far) = sockets().await;
        let server = serve_on(far);
        let shaken = hyper::client::conn::http2::handshake(LocalExecutor, io(near)).await;
        let (mut sender, connection) = shaken.unwrap();
        drop(drive(connection));
        let response = sender.send_request(request("http://here/2")).await.unwrap();
        assert_eq!(collect(response).await, "/2");
        drop(sender);
        server.await.unwrap().unwrap();
    });
}

/// An `Upgraded` is `Send`, and the first thing that many do with it is `tokio::spawn`. That cannot work, so it has
/// to say why; and the connection must not stay open for it.
#[test]
fn an_upgraded_stream_is_an_error_elsewhere_and_closed_at_home() {
    let _watchdog = watchdog();
    for driver in drivers() {
        let pool = CompioPool::builder().threads(1).driver(driver).build();
        let pool = pool.unwrap();
        let (told, tell) = mpsc::channel();
        let served = pool.run(async move || {
            let (mut near, far) = sockets().await;
            let service = service_fn(move |request| {
                let told = told.clone();
                let response = switch(request, async move |upgraded| {
                    drop(thread::spawn(move || {
                        let mut stream = TokioIo::new(upgraded);
                        let error = block_on(stream.read_u8()).unwrap_err();
                        told.send(error).unwrap();
                    }));
                });
                futures::future::ready(Ok::<_, Infallible>(response))
            });
            let connection = server::Builder::new().serve_connection(io(far), service);
            drop(drive(connection.with_upgrades()));
            let ask = "GET / HTTP/1.1\r\nhost: here\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
            compio::io::AsyncWriteExt::write_all(&mut near, ask)
                .await
                .unwrap();
            let mut answer = String::new();
            near.into_tokio_io()
                .read_to_string(&mut answer)
                .await
                .unwrap();
            assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        });
        block_on(served).unwrap();
        let error = tell.recv().unwrap();
        assert!(error.get_ref().unwrap().is::<OnThreadError>(), "{error:?}");
        block_on(pool.shutdown());
    }
}

/// What hyper-util's client asks of a connection beside I/O. `TokioIo` around it has the rest.
struct Connects(Socket);

impl Connection for Connects {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Connects {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connects {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// hyper-util's connector: the socket and the future of connecting stay, and both are `Send`.
#[derive(Clone)]
struct Connector(SocketAddr);

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Connects>;
    type Error = io::Error;
    type Future = OnThread<LocalBoxFuture<'static, io::Result<TokioIo<Connects>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let address = self.0;
        let connecting = async move {
            let socket = TcpStream::connect(address).await?;
            Ok(TokioIo::new(Connects(OnThread::new(
                socket.into_tokio_io(),
            ))))
        };
        OnThread::new(connecting.boxed_local())
    }
}

fn pooled(address: SocketAddr, http2: bool) -> Client<Connector, Full<Bytes>> {
    Client::builder(LocalExecutor)
        .pool_timer(CompioTimer)
        .timer(CompioTimer)
        .http2_only(http2)
        .build(Connector(address))
}

/// Serves by hyper-util's builder, and counts its connections, until it is dropped.
struct Server {
    address: SocketAddr,
    accepted: Rc<Cell<usize>>,
    _stop: oneshot::Sender<()>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Rc::new(Cell::new(0));
        let count = Rc::clone(&accepted);
        let (stop, mut stopped) = oneshot::channel();
        drop(spawn_local(async move {
            loop {
                let (socket, _) = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap(),
                    _ = &mut stopped => return,
                };
                count.set(count.get() + 1);
                let service = service_fn(async |request: Request<Incoming>| {
                    if request.headers().contains_key(UPGRADE) {
                        let response = switch(request, |upgraded| shout(TokioIo::new(upgraded)));
                        return Ok(response);
                    }
                    say_path(request).await
                });
                let builder = auto::Builder::new(LocalExecutor);
                let connection = builder.serve_connection_with_upgrades(io(socket), service);
                drop(drive(connection.into_owned()));
            }
        }));
        Self {
            address,
            accepted,
            _stop: stop,
        }
    }
}

/// The client with a pool of connections, as far more people use than hyper's own connections.
#[test]
fn hyper_utils_client_keeps_its_connections_on_a_compio_thread() {
    fn asks_for_send<F: Future + Send>(future: F) -> F {
        future
    }
    everywhere(|| async {
        for http2 in [false, true] {
            let server = Server::start().await;
            let (address, accepted) = (server.address, &server.accepted);
            let client = pooled(address, http2);
            for n in 0..5 {
                let uri = format!("http://{address}/{n}").parse().unwrap();
                let response = asks_for_send(client.get(uri)).await.unwrap();
                assert_eq!(collect(response).await, format!("/{n}"));
            }
            assert_eq!(accepted.get(), 1);
            let at_once = (0..8).map(async |n| {
                let uri = format!("http://{address}/{n}").parse().unwrap();
                collect(client.get(uri).await.unwrap()).await
            });
            let answers = futures::future::join_all(at_once).await;
            assert!((0..8).eq(answers.iter().map(|path| {
                let path = std::str::from_utf8(path).unwrap();
                path[1..].parse::<i32>().unwrap()
            })));
            assert_eq!(accepted.get() == 1, http2);
        }
    });
}

/// The client starts its connections with upgrades, whether anybody wants one or not.
#[test]
fn hyper_utils_client_upgrades_a_connection() {
    everywhere(|| async {
        let server = Server::start().await;
        let mut request = shout_please();
        *request.uri_mut() = format!("http://{}/", server.address).parse().unwrap();
        let response = pooled(server.address, false)
            .request(request)
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        let upgraded = hyper::upgrade::on(response).await.unwrap();
        say_and_hear(TokioIo::new(upgraded)).await;
    });
}

/// A service that nobody could move: what a migrated handler looks like at first.
#[derive(Clone)]
struct Counts(Rc<Cell<usize>>);

impl tower::Service<Request<Body>> for Counts {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = LocalBoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        let count = Rc::clone(&self.0);
        async move {
            count.set(count.get() + 1);
            compio::time::sleep(std::time::Duration::from_millis(1)).await;
            let text = Rc::new(format!("asked {} times", count.get()));
            // A body that is not `Send` either.
            let body = Body::new(OnThread::new(Says(Some(text))));
            Ok(Response::new(body))
        }
        .boxed_local()
    }
}

struct Says(Option<Rc<String>>);

impl hyper::body::Body for Says {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let text = self.0.take();
        Poll::Ready(text.map(|text| Ok(Frame::data(Bytes::from(text.as_bytes().to_vec())))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |text| text.len() as u64))
    }
}

/// Serves `router` on one connection, and gives the client of it.
async fn serve(router: Router) -> client::SendRequest<Full<Bytes>> {
    let (near, far) = sockets().await;
    let service = TowerToHyperService::new(router);
    drop(spawn_local(async move {
        let builder = auto::Builder::new(LocalExecutor);
        _ = builder
            .serve_connection_with_upgrades(io(far), service)
            .await;
    }));
    let (sender, connection) = client::handshake(io(near)).await.unwrap();
    drop(drive(connection.with_upgrades()));
    sender
}

/// axum asks for `Send` of services, of states, and of the futures and bodies of handlers.
#[test]
fn axums_router_takes_what_stays_on_its_thread() {
    type Visits = OnThread<Rc<RefCell<Vec<String>>>>;

    async fn visit(State(visits): State<Visits>, uri: Uri) -> String {
        let stays = async move {
            let text = compio::fs::read("Cargo.toml").await.unwrap();
            let visit = move |visits: &Rc<RefCell<Vec<String>>>| {
                visits.borrow_mut().push(uri.path().to_owned());
                visits.borrow().len()
            };
            let visits = visits.with(visit).unwrap();
            format!("{visits} visits, {} bytes", text.len())
        };
        OnThread::new(stays).await
    }

    everywhere(|| async {
        let visits: Rc<RefCell<Vec<String>>> = Rc::default();
        let router = Router::new()
            .route("/visit", get(visit))
            .with_state(OnThread::new(Rc::clone(&visits)))
            .route_service("/count", OnThread::new(Counts(Rc::default())));
        let mut sender = serve(router).await;
        for n in 1..=3 {
            let response = sender.send_request(request("/count")).await.unwrap();
            let text = format!("asked {n} times");
            assert_eq!(response.headers()["content-length"], text.len().to_string());
            assert_eq!(collect(response).await, text);
        }
        let response = sender.send_request(request("/visit")).await.unwrap();
        let text = collect(response).await;
        assert!(text.starts_with(b"1 visits, "), "{text:?}");
        assert_eq!(*visits.borrow(), ["/visit"]);
    });
}

/// Elsewhere a service panics as a future does, and a body says nothing of itself.
#[test]
fn elsewhere_a_service_panics_and_a_body_has_no_size() {
    let mut service = OnThread::new(Counts(Rc::default()));
    let body = OnThread::new(Says(Some(Rc::default())));
    assert_eq!(hyper::body::Body::size_hint(&body).exact(), Some(0));
    let panics = thread::scope(|scope| {
        let other = scope.spawn(|| {
            assert_eq!(hyper::body::Body::size_hint(&body).exact(), None);
            assert!(!hyper::body::Body::is_end_stream(&body));
            drop(tower::Service::call(&mut service, Request::default()));
        });
        other.join().unwrap_err()
    });
    let text = panics.downcast_ref::<String>().unwrap();
    assert!(text.contains("it stays on thread"), "{text}");
}

/// hyper's traits have errors, as Tokio's have.
#[test]
fn elsewhere_a_stream_of_hypers_is_an_error() {
    let (one, _other) = tokio::io::duplex(8);
    let stream = OnThread::new(TokioIo::new(one));
    assert!(hyper::rt::Write::is_write_vectored(&stream));
    let mut stream = TokioIo::new(stream);
    thread::scope(|scope| {
        scope.spawn(|| {
            block_on(async {
                let errors = [
                    stream.read_u8().await.unwrap_err(),
                    stream.write_u8(1).await.unwrap_err(),
                    stream
                        .write_vectored(&[io::IoSlice::new(b"1")])
                        .await
                        .unwrap_err(),
                    stream.flush().await.unwrap_err(),
                    stream.shutdown().await.unwrap_err(),
                ];
                for error in errors {
                    assert!(error.get_ref().unwrap().is::<OnThreadError>(), "{error:?}");
                }
                assert!(!stream.is_write_vectored());
            });
        });
    });
}

/// axum's own WebSockets start a task on Tokio, where the stream is not. Who tries it is told so; on Compio's
/// thread the upgrade itself does.
#[test]
fn axums_websockets_say_that_their_task_is_on_another_thread() {
    async fn of_axum(upgrade: WebSocketUpgrade, told: mpsc::Sender<String>) -> impl IntoResponse {
        upgrade.on_upgrade(async move |mut socket| {
            let error = socket.recv().await.unwrap().unwrap_err();
            told.send(error.to_string()).unwrap();
        })
    }
    async fn by_hand(mut request: axum::extract::Request) -> impl IntoResponse {
        let accept = derive_accept_key(request.headers()[SEC_WEBSOCKET_KEY].as_bytes());
        let upgraded = hyper::upgrade::on(&mut request);
        drop(spawn_local(async move {
            let upgraded = TokioIo::new(upgraded.await.unwrap());
            let mut socket = WebSocketStream::from_raw_socket(upgraded, Role::Server, None).await;
            let message = socket.next().await.unwrap().unwrap();
            socket.send(message).await.unwrap();
            socket.close(None).await.unwrap();
        }));
        let headers = [
            (CONNECTION, "upgrade".to_owned()),
            (UPGRADE, "websocket".to_owned()),
            (SEC_WEBSOCKET_ACCEPT, accept),
        ];
        (StatusCode::SWITCHING_PROTOCOLS, headers)
    }

    let _watchdog = watchdog();
    let tokio = tokio::runtime::Runtime::new().unwrap();
    for driver in drivers() {
        let pool = CompioPool::builder()
            .threads(1)
            .driver(driver)
            .tokio(tokio.handle().clone());
        let pool = pool.build().unwrap();
        let (told, tell) = mpsc::channel();
        let work = pool.run(async move || {
            let router = Router::new()
                .route("/axum", any(move |upgrade| of_axum(upgrade, told)))
                .route("/hand", any(by_hand));
            let connect = async |path: &str| {
                let (near, far) = sockets().await;
                let service = TowerToHyperService::new(router.clone());
                let builder = auto::Builder::new(LocalExecutor);
                let connection = builder.serve_connection_with_upgrades(io(far), service);
                drop(drive(connection.into_owned()));
                let uri = format!("ws://localhost{path}");
                let (socket, _) = client_async(uri, near.into_tokio_io()).await.unwrap();
                socket
            };
            let mut socket = connect("/hand").await;
            let message = Message::text("over the bridge");
            socket.send(message.clone()).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), message);

            // The other end is closed, without a word.
            let mut socket = connect("/axum").await;
            assert!(socket.next().await.unwrap().is_err());
        });
        block_on(work).unwrap();
        let error = tell.recv().unwrap();
        assert!(error.contains("it stays on thread"), "{error}");
        block_on(pool.shutdown());
    }
}
