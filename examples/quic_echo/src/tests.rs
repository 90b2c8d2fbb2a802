//! What the demonstration cannot show about itself.
