//! Run Tokio and Compio in one process, and move from one to the other a module at a time.
//!
//! Tokio is readiness-based, borrows your buffer for a moment and moves `Send` tasks between threads.
//! Compio is completion-based, owns your buffer until the kernel is done with it, and never moves a
//! task off its thread. Everything here exists to cross that line without losing a byte, a wake-up, a
//! panic or a cancellation.
//!
//! ```text
//!   Tokio's threads                                        a pool's threads (Compio)
//!  +---------------------------+                          +---------------------------+
//!  |  pool.run(|| async ..)  --|--- closure (Send) ------>|--> future (need not be    |
//!  |  pool.spawn(..)         <-|--- output (Send), -------|--  Send) lives and dies   |
//!  |                           |    panic, cancellation   |    on one thread          |
//!  |                           |                          |                           |
//!  |  future (Send) lives here<|--- future (Send) --------|-- handle.run(async ..)    |
//!  |                         --|--- output, panic ------->|                           |
//!  |                           |                          |                           |
//!  |  spsc::Sender  -----------|--- messages ------------>|--> spsc::Receiver         |
//!  +---------------------------+                          +---------------------------+
//!     TokioAsCompio: a Tokio stream                          CompioAsTokio: a Compio stream
//!     with Compio's traits, in place                         with Tokio's traits, in place
//! ```
//!
//! # Which tool
//!
//! | your situation | use | cost |
//! |---|---|---|
//! | work belongs on Compio's threads | [`CompioPool::run`](pool::CompioPool::run), [`CompioPool::spawn`](pool::CompioPool::spawn) | one allocation, at most one wake-up each way |
//! | many pieces of it at once | [`CompioPool::run_batch`](pool::CompioPool::run_batch), [`broadcast`](pool::CompioPool::broadcast) | one allocation each, one wake-up for each worker |
//! | something that is not `Send` is to be used from everywhere | [`CompioPool::host`](pool::CompioPool::host), [`Remote`] | the same for each call |
//! | what comes from Compio comes piece by piece | [`CompioPool::stream`](pool::CompioPool::stream) | at most a wake-up for each batch |
//! | something blocks its thread | [`CompioPool::run_blocking`](pool::CompioPool::run_blocking) | a thread of the pool's own |
//! | files, under the names of `tokio::fs` | [`fs`](fs/index.html) (feature `fs`, on Unix) | what is in the page cache: no hop; else one crossing |
//! | code for `tokio::net` is to have its sockets watched by Compio | [`remote`](remote/index.html) (feature `net`, on Unix) | nothing while there is something to do; a wake-up for each wait |
//! | your Compio threads are your own | [`CompioHandle::attach`](pool::CompioHandle::attach) | as with a pool |
//! | work belongs on Tokio's threads | [`TokioHandleExt::run`], [`run_stream`](TokioHandleExt::run_stream) | one crossing |
//! | a client or another future for Tokio is to run on a Compio thread | [`context::in_tokio`](context::in_tokio()) | no hop; the context is entered for each poll |
//! | one thread needs both all the time | [`context::DualRuntime`](context/struct.DualRuntime.html) (feature `net`, on Unix) | no hop; one loop for both reactors |
//! | something that must stay on its thread, where a library asks for `Send` | [`context::OnThread`] | three allocations, once; no hop |
//! | a library serves both runtimes | [`rt`], [`time`], [`channel`] | no hop |
//! | a stream of Compio's is to be used by a crate for Tokio | [`into_tokio_io`](io::IntoTokioIo) | no hop; a socket without a copy, other streams with one |
//! | a stream of Tokio's is to be used by code for Compio | [`into_compio_io`](io::IntoCompioIo), [`io::TokioAsCompio`] | no hop, no copy |
//! | a socket, pipe or file is to belong to the other runtime | [`handoff`] | once, a few system calls |
//! | the bytes of one stream go to one of the other runtime's | [`io::copy_bidirectional`] | no hop, no copy beside the one buffer |
//! | hyper, axum or tonic is to serve on Compio's threads | [`hyper`](hyper/index.html) (feature `hyper`) | no hop |
//! | the two sides just talk | [`channel::spsc`](channel::spsc()), [`channel::mpsc`](channel::mpsc()), [`channel::mesh`](channel::mesh()) | a wake-up when the other side sleeps |
//! | bytes stream from one side to the other | [`channel::pipe`](channel::pipe()) | the same; owned buffers without a copy |
//! | a pool is to be watched | [`CompioPool::metrics`](pool::CompioPool::metrics), [`dump`](pool::CompioPool::dump), features `metrics` and `tracing` | always on; memory that the workers write anyway |
//! | a test is to hold on both runtimes | [`test_util::both`](test_util/fn.both.html) (feature `test-util`) | |
//!
//! # The guides
//!
//! | to | read |
//! |---|---|
//! | send work to the other side, and size a pool | [work on the other side](guide::spawning) |
//! | stay on a thread, and know when a crossing is better | [contexts](guide::contexts) |
//! | move a module that reads and writes files | [files](guide::files) |
//! | put a stream of one runtime under a crate of the other's | [streams and buffers](guide::io) |
//! | choose a channel | [channels](guide::channels) |
//! | know what goes wrong in bridges written by hand | [pitfalls](guide::pitfalls) |
//! | know what else there is, and when it is better | [beside others](guide::comparison) |
//! | find an answer | [questions](guide::faq), and [all guides](guide) |
//!
//! # From Tokio to Compio and back
//!
//! The closure crosses, so it is `Send`; its future is made, polled and dropped over there, and need not be.
//!
//! ```
//! use landbridge::CompioPool;
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let pool = CompioPool::builder().threads(1).build()?;
//!     let path = "Cargo.toml";
//!     let manifest = pool
//!         .run(async move || compio::fs::read(path).await)
//!         .await??;
//!     assert!(manifest.starts_with(b"["));
//!     pool.shutdown().await;
//!     Ok(())
//! }
//! ```
//!
//! # From Compio to Tokio and back
//!
//! A future for Tokio is `Send`, and crosses as it is.
//!
//! ```
//! use std::time::Duration;
//!
//! use landbridge::TokioHandleExt;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let tokio = tokio::runtime::Runtime::new()?;
//!     let handle = tokio.handle().clone();
//!     let answer = compio::runtime::Runtime::new()?.block_on(async move {
//!         handle
//!             .run(async {
//!                 tokio::time::sleep(Duration::from_millis(1)).await;
//!                 42
//!             })
//!             .await
//!     })?;
//!     assert_eq!(answer, 42);
//!     Ok(())
//! }
//! ```
//!
//! # Features
//!
//! `pool`, `net` and `fs` are on by default. `pool` is the crossing in both directions, always with Compio's
//! polling driver beside io_uring (`polling` names what it has anyway); `net` adds the shims' traits to
//! the sockets of both runtimes, their hand-off, and `remote`, sockets for Tokio code on a pool; `fs` is files;
//! `shim` alone is the shims without either runtime; `test-util` is `test_util::both`. `hyper`, off by default,
//! is what hyper asks of a runtime: an executor and a timer.
//!
//! Off by default, to see what goes on: `metrics` publishes a pool's figures through the `metrics` facade
//! (`CompioPool::metrics_reporter`), and so to any exporter. `tracing` makes a span for each crossing
//! (target `landbridge::cross`, level `INFO`), a child of the caller's, in which the work is polled and
//! dropped; and for each job the `runtime.spawn` span of Tokio's convention (target `tokio::task`, level
//! `TRACE`), so that a console shows it. A filter on those targets turns either off.
//!
//! [`compio`] is re-exported: the types in this crate's signatures are that
//! version's. Compio's feature `sync` is neither enabled nor assumed.
//!
//! # Platforms
//!
//! Linux with io_uring, or with epoll where io_uring is refused; macOS and the BSDs with kqueue; Windows
//! with its completion port. The oldest Rust is 1.95, which is Compio's.

#[cfg(feature = "pool")]
pub use compio;

pub mod channel;
#[cfg(feature = "pool")]
pub mod context;
pub mod error;
#[cfg(all(feature = "fs", unix))]
pub mod fs;
#[cfg(doc)]
pub mod guide;
#[cfg(feature = "hyper")]
pub mod hyper;
#[cfg(feature = "shim")]
pub mod io;
mod pad;
#[cfg(feature = "pool")]
pub mod pool;
#[cfg(all(feature = "net", unix))]
pub mod remote;
#[cfg(feature = "pool")]
pub mod rt;
#[cfg(feature = "pool")]
pub mod spawn;
mod sync;
#[cfg(feature = "test-util")]
pub mod test_util;
#[cfg(feature = "pool")]
pub mod time;
mod unwind;

pub use channel::Wait;
#[cfg(feature = "pool")]
pub use error::JoinError;
#[cfg(feature = "pool")]
pub use io::handoff;
#[cfg(feature = "pool")]
pub use pool::{CompioHandle, CompioPool, Driver};
#[cfg(feature = "pool")]
pub use spawn::{AbortHandle, JoinHandle, Remote, TokioHandleExt};
