//! What hyper asks of a runtime, on Compio: for servers and clients of hyper 1, hyper-util, axum and
//! tonic on Compio's threads.
//!
//! | hyper asks for | on Compio | it costs |
//! |---|---|---|
//! | `rt::Read + rt::Write` | hyper-util's `TokioIo` around [`into_tokio_io()`](crate::io::IntoTokioIo) of a socket, or around any other of the [shims](crate::io) | what the shim does |
//! | `rt::Executor`, for HTTP/2 | [`LocalExecutor`] | one task for each stream, as anywhere |
//! | `rt::Timer`, for timeouts | [`CompioTimer`] | one allocation a sleep, which the trait asks for |
//!
//! hyper itself starts no task and listens to no port, so everything stays on the thread that accepted
//! the connection, and services and their futures need not be `Send`. What goes by another way:
//!
//! - A whole server that starts its own tasks on Tokio, as `axum::serve` and tonic's `Server` do.
//!   Serve connection by connection instead, as below: an axum `Router`, and tonic's `Routes` by
//!   `into_axum_router`, are services for that.
//! - What asks a stream to be `Send`, which the shims are not: HTTP/1's `with_upgrades`, hyper-util's
//!   `serve_connection_with_upgrades` and `client::legacy`. Put [`OnThread`](crate::context::OnThread) around
//!   it, within `TokioIo` or without, as [below](#an-upgrade). Or do without, and take the stream back from an HTTP/1
//!   connection by `without_shutdown`. HTTP/2's upgrades work as they are.
//! - hyper-util's `client::legacy` with its `HttpConnector`, which connects by Tokio. Give it a connector of
//!   your own: a tower service whose future is an `OnThread`, and whose connection is an `OnThread` in a type of
//!   yours that is hyper-util's `Connection`, in `TokioIo`. `LocalExecutor` is its executor, [`CompioTimer`] its
//!   `pool_timer`. Make one for each thread. A connector for tonic's `Endpoint::connect_with_connector` is
//!   simpler: it asks for no `Connection`, and `LocalExecutor` is what its `executor` takes.
//! - What axum's `Router` asks to be `Send`, though nobody sends it: an `OnThread` around a service or a body is
//!   one, and so are the futures that handlers return; one around an `Rc` will do as a state. Make the router on
//!   the worker then, since its clones clone what is in it.
//! - axum's `WebSocketUpgrade`, which does send the stream, to a task of its own on Tokio. Serve it over
//!   `landbridge::remote`'s sockets; on a Compio thread use `hyper::upgrade::on` and
//!   [`spawn_local`](crate::rt::spawn_local), as below.
//! - Handlers that call for Tokio's reactor, its timer or `tokio::spawn`. Give the pool a Tokio
//!   [`Handle`](crate::pool::Builder::tokio), or cross over to it with
//!   [`TokioHandleExt::run`](crate::TokioHandleExt::run).
//!
//! # A server on a pool
//!
//! Each worker accepts from the same socket and keeps what it has accepted.
//!
//! ```
//! # #[cfg(not(feature = "net"))]
//! # fn main() {}
//! # #[cfg(feature = "net")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::{net, time::Duration};
//!
//! use axum::{Router, extract::Path, routing::get};
//! use compio::net::TcpListener;
//! use hyper_util::{rt::TokioIo, server::conn::auto, service::TowerToHyperService};
//! use landbridge::{
//!     CompioPool,
//!     hyper::{CompioTimer, LocalExecutor},
//!     io::IntoTokioIo,
//!     rt::spawn_local,
//! };
//!
//! async fn accept(listener: TcpListener, router: Router) -> std::io::Result<()> {
//!     let mut builder = auto::Builder::new(LocalExecutor);
//!     builder
//!         .http1()
//!         .timer(CompioTimer)
//!         .header_read_timeout(Duration::from_secs(10));
//!     builder.http2().timer(CompioTimer);
//!     let service = TowerToHyperService::new(router);
//!     loop {
//!         let (socket, _peer) = listener.accept().await?;
//!         let io = TokioIo::new(socket.into_tokio_io());
//!         let connection = builder.serve_connection(io, service.clone()).into_owned();
//!         drop(spawn_local(async move {
//!             if let Err(error) = connection.await {
//!                 eprintln!("a connection ended: {error}");
//!             }
//!         }));
//!     }
//! }
//!
//! let router = Router::new().route(
//!     "/hello/{name}",
//!     get(async |Path(name): Path<String>| format!("hello {name}\n")),
//! );
//! let listener = net::TcpListener::bind("127.0.0.1:0")?;
//! let address = listener.local_addr()?;
//!
//! let pool = CompioPool::builder().threads(2).build()?;
//! for worker in pool.workers() {
//!     let (listener, router) = (listener.try_clone()?, router.clone());
//!     drop(worker.spawn(async move || accept(TcpListener::from_std(listener)?, router).await));
//! }
//!
//! // A client that knows nothing of all this.
//! use std::io::{Read, Write};
//! let mut client = net::TcpStream::connect(address)?;
//! client.write_all(b"GET /hello/you HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n")?;
//! let mut answer = String::new();
//! client.read_to_string(&mut answer)?;
//! assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"));
//! assert!(answer.ends_with("hello you\n"));
//! # Ok(())
//! # }
//! ```
//!
//! # A client
//!
//! hyper's own connections; both are to be driven, here by a task of their own.
//!
//! ```
//! # #[cfg(not(feature = "net"))]
//! # fn main() {}
//! # #[cfg(feature = "net")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::convert::Infallible;
//!
//! use compio::net::{TcpListener, TcpStream};
//! use http_body_util::{BodyExt, Empty};
//! use hyper::{
//!     Request, Response,
//!     body::{Bytes, Incoming},
//!     client, server,
//!     service::service_fn,
//! };
//! use hyper_util::rt::TokioIo;
//! use landbridge::{hyper::LocalExecutor, io::IntoTokioIo, rt::spawn_local};
//!
//! async fn version(request: Request<Incoming>) -> Result<Response<String>, Infallible> {
//!     Ok(Response::new(format!("{:?}", request.version())))
//! }
//!
//! compio::runtime::Runtime::new()?.block_on(async {
//!     let listener = TcpListener::bind("127.0.0.1:0").await?;
//!     let address = listener.local_addr()?;
//!     drop(spawn_local(async move {
//!         let http1 = TokioIo::new(listener.accept().await?.0.into_tokio_io());
//!         let connection = server::conn::http1::Builder::new();
//!         drop(spawn_local(connection.serve_connection(http1, service_fn(version))));
//!         let http2 = TokioIo::new(listener.accept().await?.0.into_tokio_io());
//!         let connection = server::conn::http2::Builder::new(LocalExecutor);
//!         drop(spawn_local(connection.serve_connection(http2, service_fn(version))));
//!         std::io::Result::Ok(())
//!     }));
//!     let request = || Request::get("http://localhost/").body(Empty::<Bytes>::new());
//!
//!     let io = TokioIo::new(TcpStream::connect(address).await?.into_tokio_io());
//!     let (mut sender, connection) = client::conn::http1::handshake(io).await?;
//!     drop(spawn_local(connection));
//!     let response = sender.send_request(request()?).await?;
//!     assert_eq!(response.collect().await?.to_bytes(), "HTTP/1.1");
//!
//!     let io = TokioIo::new(TcpStream::connect(address).await?.into_tokio_io());
//!     let (mut sender, connection) = client::conn::http2::handshake(LocalExecutor, io).await?;
//!     drop(spawn_local(connection));
//!     let response = sender.send_request(request()?).await?;
//!     assert_eq!(response.collect().await?.to_bytes(), "HTTP/2.0");
//!     Ok(())
//! })
//! # }
//! ```
//!
//! # An upgrade
//!
//! The stream goes over to another protocol, and stays on its thread: an `Upgraded` is `Send`, but reading or
//! writing elsewhere is an error. `downcast` gives the socket back.
//!
//! ```
//! # #[cfg(not(feature = "net"))]
//! # fn main() {}
//! # #[cfg(feature = "net")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::convert::Infallible;
//!
//! use compio::net::{TcpListener, TcpStream};
//! use hyper::{Request, Response, StatusCode, body::Incoming, client, server, service::service_fn, upgrade};
//! use hyper_util::rt::TokioIo;
//! use landbridge::{context::OnThread, io::IntoTokioIo, rt::spawn_local};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! async fn echo(mut request: Request<Incoming>) -> Result<Response<String>, Infallible> {
//!     let upgrade = upgrade::on(&mut request);
//!     drop(spawn_local(async move {
//!         let (mut reader, mut writer) = tokio::io::split(TokioIo::new(upgrade.await?));
//!         tokio::io::copy(&mut reader, &mut writer).await?;
//!         Ok::<_, Box<dyn std::error::Error>>(())
//!     }));
//!     let mut response = Response::new(String::new());
//!     *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
//!     response.headers_mut().insert("upgrade", "echo".parse().expect("a value"));
//!     Ok(response)
//! }
//!
//! /// A socket that is `Send` and stays where it is.
//! fn io(socket: TcpStream) -> TokioIo<OnThread<<TcpStream as IntoTokioIo>::Io>> {
//!     TokioIo::new(OnThread::new(socket.into_tokio_io()))
//! }
//!
//! compio::runtime::Runtime::new()?.block_on(async {
//!     let listener = TcpListener::bind("127.0.0.1:0").await?;
//!     let address = listener.local_addr()?;
//!     drop(spawn_local(async move {
//!         let connection = server::conn::http1::Builder::new()
//!             .serve_connection(io(listener.accept().await?.0), service_fn(echo));
//!         connection.with_upgrades().await?;
//!         Ok::<_, Box<dyn std::error::Error>>(())
//!     }));
//!
//!     let socket = io(TcpStream::connect(address).await?);
//!     let (mut sender, connection) = client::conn::http1::handshake(socket).await?;
//!     drop(spawn_local(connection.with_upgrades()));
//!     let request = Request::get("/").header("connection", "upgrade").header("upgrade", "echo");
//!     let response = sender.send_request(request.body(String::new())?).await?;
//!     let mut stream = TokioIo::new(upgrade::on(response).await?);
//!     stream.write_all(b"over the bridge").await?;
//!     let mut text = [0; 15];
//!     stream.read_exact(&mut text).await?;
//!     assert_eq!(&text, b"over the bridge");
//!     Ok(())
//! })
//! # }
//! ```

mod executor;
mod in_tokio;
mod on_thread;
mod timer;

pub use executor::LocalExecutor;
pub use timer::CompioTimer;
