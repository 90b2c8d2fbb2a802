//! Channels between the two sides, and the wait policy that every crossing shares.

mod wait;

pub(crate) use wait::Look;
pub use wait::Wait;
