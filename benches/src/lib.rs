//! What the measurements share.

pub mod io;
