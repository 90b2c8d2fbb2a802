//! What the demonstration cannot show about itself.

mod checks;
pub(crate) mod child;
mod end_to_end;
mod flags;
mod leases;
