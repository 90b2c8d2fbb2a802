//! Prints every ratio.
fn main() {}
