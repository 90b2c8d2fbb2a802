//! What the benches share.

pub mod channel;
