//! What the demonstration does not show.
