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
//! - What asks a stream to be `Send`, which the shims are not: hyper-util's `client::legacy`, HTTP/1's
//!   `with_upgrades` and `serve_connection_with_upgrades`. For another protocol on an HTTP/1
//!   connection take the stream back from it, by `without_shutdown`. HTTP/2's upgrades work as they
//!   are.
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

mod executor;
mod on_thread;
mod timer;

pub use executor::LocalExecutor;
pub use timer::CompioTimer;
