//! Buffers of shims that are busy, shared by all shims of a thread.
//!
//! An idle shim must be small and a busy one must not allocate. Both hold if a buffer belongs to
//! the thread while nobody's bytes are in it.

use std::cell::RefCell;

/// The capacity of the buffer that waits in an idle shim's read.
///
/// What else a shim holds is some 900 bytes, and all of it together may be 1 KiB.
pub(crate) const SMALL: usize = 96;
pub(super) const MIDDLE: usize = 8 * 1024;
/// The default bound of one buffer.
pub(crate) const LARGE: usize = 64 * 1024;

/// At most 4.6 MiB a thread: 48 KiB small, 512 KiB middle, 4 MiB large. Fewer large ones, and a few dozen
/// busy shims would have the allocator give their pages back to the system and fetch them again.
pub(super) const KEPT: [(usize, usize); 3] = [(SMALL, 512), (MIDDLE, 64), (LARGE, 64)];

thread_local! {
    static SPARE: RefCell<Spare> = const { RefCell::new(Spare::new()) };
}

/// An empty buffer of at least `capacity` bytes, from this thread's spares if it has one.
pub(crate) fn take(capacity: usize) -> Vec<u8> {
    SPARE
        .try_with(|spare| spare.borrow_mut().take(capacity))
        .unwrap_or_else(|_| Vec::with_capacity(capacity))
}

/// Takes a buffer that carries nobody's bytes any more.
pub(crate) fn give_back(buffer: Vec<u8>) {
    // While the thread ends there is nobody to keep it for: it is freed.
    let _ = SPARE.try_with(|spare| spare.borrow_mut().give_back(buffer));
}

/// Empty buffers in three sizes, a bounded number of bytes of each.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    classes: [Class; KEPT.len()],
}

#[derive(Debug, Default)]
struct Class {
    buffers: Vec<Vec<u8>>,
    /// The sum of the capacities: a buffer may be nearly twice as large as its class says.
    bytes: usize,
}

impl Spare {
    pub(crate) const fn new() -> Self {
        Self {
            classes: [const {
                Class {
                    buffers: Vec::new(),
                    bytes: 0,
                }
            }; KEPT.len()],
        }
    }

    pub(crate) fn take(&mut self, capacity: usize) -> Vec<u8> {
        match KEPT.iter().position(|(size, _)| *size >= capacity) {
            Some(class) => self.classes[class]
                .take()
                .unwrap_or_else(|| Vec::with_capacity(KEPT[class].0)),
            None => Vec::with_capacity(capacity),
        }
    }

    pub(crate) fn give_back(&mut self, mut buffer: Vec<u8>) {
        // The largest class that the buffer can serve; one beyond the classes would be a large
        // allocation kept for the sake of a small need, so it is freed.
        if buffer.capacity() >= 2 * LARGE {
            return;
        }
        let Some(class) = KEPT
            .iter()
            .rposition(|(size, _)| buffer.capacity() >= *size)
        else {
            return;
        };
        let (size, most) = KEPT[class];
        buffer.clear();
        self.classes[class].give_back(buffer, size * most);
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn kept(&self) -> impl Iterator<Item = &[Vec<u8>]> {
        self.classes.iter().map(|class| &*class.buffers)
    }
}

impl Class {
    fn take(&mut self) -> Option<Vec<u8>> {
        let buffer = self.buffers.pop()?;
        self.bytes -= buffer.capacity();
        Some(buffer)
    }

    fn give_back(&mut self, buffer: Vec<u8>, bound: usize) {
        if self.bytes + buffer.capacity() <= bound {
            self.bytes += buffer.capacity();
            self.buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A buffer that comes back too small for its class would make the next read a short one
    /// for ever.
    #[test]
    fn a_spare_buffer_is_empty_and_as_large_as_asked() {
        let mut spare = Spare::new();
        for capacity in [0, 1, SMALL, SMALL + 1, MIDDLE, LARGE, 3 * LARGE] {
            for _ in 0..3 {
                let mut buffer = spare.take(capacity);
                assert!(buffer.is_empty() && buffer.capacity() >= capacity);
                buffer.extend_from_slice(b"somebody's bytes");
                spare.give_back(buffer);
            }
        }
    }

    /// Spares are memory that no socket asked for: their sum is bounded.
    #[test]
    fn the_spares_of_a_thread_are_bounded() {
        let mut spare = Spare::new();
        for _ in 0..2_000 {
            spare.give_back(Vec::with_capacity(SMALL));
            spare.give_back(Vec::with_capacity(LARGE));
            spare.give_back(Vec::with_capacity(8 * LARGE));
        }
        let kept: usize = spare.kept().flatten().map(Vec::capacity).sum();
        assert!(kept <= 4_864 * 1024, "{kept} bytes kept");
    }
}
