//! Run Tokio and Compio in one process, and move from one to the other a module at a time.

#[cfg(feature = "pool")]
pub use compio;

pub mod channel;
pub mod error;
#[cfg(feature = "shim")]
pub mod io;
#[cfg(feature = "pool")]
pub mod rt;
mod sync;

pub use channel::Wait;
