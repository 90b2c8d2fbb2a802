//! Memory for a channel's slots.

/// So many slots.
///
/// # Panics
///
/// If there is no memory for them: `collect` would end the process.
pub(super) fn slots<T>(count: usize, make: impl FnMut(usize) -> T) -> Box<[T]> {
    let mut slots = Vec::new();
    if let Err(error) = slots.try_reserve_exact(count) {
        panic!("no memory for a channel of {count} messages: {error}");
    }
    slots.extend((0..count).map(make));
    slots.into_boxed_slice()
}
