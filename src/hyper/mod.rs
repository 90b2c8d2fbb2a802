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
//!   What tonic's `Server` does beside is yours then: it reads the header `grpc-timeout`, and its `Routes` do not
//!   (`examples/split_services` has the few lines).
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
// `tests/ecosystem` runs them, since it has the crates they need.
#![cfg_attr(not(doctest), doc = include_str!("examples.md"))]

mod executor;
mod in_tokio;
mod on_thread;
mod timer;

pub use executor::LocalExecutor;
pub use timer::CompioTimer;
