//! Using one runtime's things where the other's are asked for, without a hop.
//!
//! The guide: [contexts](crate::guide::contexts).
//!
//! | you have | you need | use |
//! |---|---|---|
//! | a future, stream or I/O object that must stay on its thread | one that is `Send`, for a library that asks for it there | [`OnThread`] |
//! | one on a Compio thread, or on any | the context of a Tokio runtime: its sockets, timers, threads that block | [`InTokio`], from [`in_tokio`](InTokioExt::in_tokio) |
//! | code that is not asynchronous | the same | [`with`] |
//! | a program of one thread | both runtimes on it | `DualRuntime` (feature `net`, on Unix) |

#[cfg(all(feature = "net", unix))]
pub(crate) mod dual;
mod in_tokio;
mod on_thread;
mod watch;

#[cfg(all(feature = "net", unix))]
pub use dual::{DualBuilder, DualRuntime};
pub use in_tokio::{InTokio, InTokioExt, in_tokio, with};
#[cfg(feature = "hyper")]
pub(crate) use in_tokio::{Side, must};
pub use on_thread::OnThread;
