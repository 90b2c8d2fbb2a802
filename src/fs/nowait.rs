//! Whether a read may be tried on the caller's thread.

/// A copy of more than this would hold up the caller's neighbours: about 50 µs.
const LIMIT: usize = 256 << 10;

/// Whether to ask, before the ring, for what is in the page cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nowait {
    /// At most so many bytes are copied on the caller's thread.
    limit: usize,
}

impl Default for Nowait {
    fn default() -> Self {
        Self { limit: LIMIT }
    }
}

impl Nowait {
    pub(super) const fn up_to(limit: usize) -> Self {
        Self { limit }
    }

    pub(super) const fn is_on(self) -> bool {
        self.limit > 0
    }

    pub(super) const fn allows(self, bytes: usize) -> bool {
        bytes <= self.limit && self.is_on()
    }
}
