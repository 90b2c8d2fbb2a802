//! What the demonstration cannot show about itself.

pub(crate) mod child;
mod deploy;
mod end_to_end;
mod flags;
mod storage;
