//! What a shim knows about its own buffers, apart from any runtime.
//!
//! Nothing here imports Tokio or Compio, so a fuzzer or a model can drive these alone.

#[cfg(any(all(test, not(landbridge_loom)), fuzzing))]
pub(crate) mod model;
mod read;
mod spare;
mod write;

pub(crate) use read::{ReadSide, ReadStep};
use spare::MIDDLE;
pub(crate) use spare::{LARGE, SMALL, give_back, take};
pub(crate) use write::{Job, Wish, WriteSide};
