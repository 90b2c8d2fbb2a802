//! Run Tokio and Compio in one process, and move from one to the other a module at a time.

#[cfg(feature = "pool")]
pub use compio;

pub mod channel;
pub mod error;
#[cfg(feature = "shim")]
pub mod io;
mod pad;
#[cfg(feature = "pool")]
pub mod pool;
#[cfg(feature = "pool")]
pub(crate) mod rt;
#[cfg(feature = "pool")]
pub mod spawn;
mod sync;
#[cfg(feature = "test-util")]
pub mod test_util;
mod unwind;

pub use channel::Wait;
#[cfg(feature = "pool")]
pub use error::JoinError;
#[cfg(feature = "pool")]
pub use pool::{CompioPool, Driver};
#[cfg(feature = "pool")]
pub use spawn::{JoinHandle, TokioHandleExt};
