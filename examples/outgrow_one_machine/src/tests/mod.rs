//! What the demonstration cannot show about itself.

pub(crate) mod child;
