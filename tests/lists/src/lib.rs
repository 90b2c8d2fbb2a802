//! What the lists of `docs/clippy` are to find. Nothing here is run, and without a list nothing is found.

#![allow(clippy::drop_non_drop, clippy::let_underscore_future, unused_imports)]

#[cfg(unix)]
pub mod outside;
#[cfg(unix)]
pub mod tokio_io;
