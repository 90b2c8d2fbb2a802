use std::collections::VecDeque;

/// A queue without a bound, in chunks: it never moves more than a chunk when it grows, and gives its
/// memory back as it is emptied.
///
/// Two chunks at most are kept when it is empty.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Chunks<T> {
    /// The oldest messages; while there are no more than a chunk, all.
    first: VecDeque<T>,
    /// The chunks after that; none is empty.
    more: VecDeque<VecDeque<T>>,
    spare: Option<VecDeque<T>>,
}

/// Messages of a full chunk: about 8 KiB, and few in a model, so that it gets to the next one.
const fn chunk<T>() -> usize {
    if cfg!(landbridge_loom) {
        return 1;
    }
    match 8192_usize.checked_div(size_of::<T>()) {
        None | Some(1024..) => 1024,
        Some(..32) => 32,
        Some(messages) => messages,
    }
}

/// So many chunks may be listed without giving back the list's own memory.
const LISTED: usize = 64;

impl<T> Chunks<T> {
    pub(super) const fn new() -> Self {
        Self {
            first: VecDeque::new(),
            more: VecDeque::new(),
            spare: None,
        }
    }

    #[inline]
    pub(super) fn push(&mut self, value: T) {
        let last = self.more.back_mut().unwrap_or(&mut self.first);
        if last.len() < chunk::<T>() {
            last.push_back(value);
        } else {
            self.push_chunk(value);
        }
    }

    #[cold]
    fn push_chunk(&mut self, value: T) {
        let mut chunk = self
            .spare
            .take()
            .unwrap_or_else(|| VecDeque::with_capacity(chunk::<T>()));
        chunk.push_back(value);
        self.more.push_back(chunk);
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<T> {
        if let Some(value) = self.first.pop_front() {
            return Some(value);
        }
        self.pop_chunk()
    }

    #[cold]
    fn pop_chunk(&mut self) -> Option<T> {
        let next = self.more.pop_front()?;
        self.spare = Some(std::mem::replace(&mut self.first, next));
        if self.more.is_empty() && self.more.capacity() > LISTED {
            self.more = VecDeque::new();
        }
        self.first.pop_front()
    }

    /// Exchanges what is in the two. Where both have a chunk at most, nothing else is touched.
    #[inline]
    pub(super) fn swap(&mut self, other: &mut Self) {
        std::mem::swap(&mut self.first, &mut other.first);
        if !self.more.is_empty() || !other.more.is_empty() {
            std::mem::swap(&mut self.more, &mut other.more);
            std::mem::swap(&mut self.spare, &mut other.spare);
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        // What is after the first chunk comes into its place only when somebody asks for it.
        self.first.is_empty() && self.more.is_empty()
    }
}

#[cfg(all(test, not(landbridge_loom)))]
mod tests {
    use super::*;

    fn capacity<T>(chunks: &Chunks<T>) -> usize {
        let spare = chunks.spare.as_ref().map_or(0, VecDeque::capacity);
        let more: usize = chunks.more.iter().map(VecDeque::capacity).sum();
        chunks.first.capacity() + more + spare
    }

    /// A burst must not cost its memory for ever, and a channel that is never used none at all.
    #[test]
    fn at_most_two_chunks_are_kept_after_a_burst() {
        let mut chunks = Chunks::new();
        assert_eq!(capacity(&chunks), 0);
        for value in 0..1_000_000_u64 {
            chunks.push(value);
        }
        for value in 0..1_000_000 {
            assert_eq!(chunks.pop(), Some(value));
        }
        assert_eq!(chunks.pop(), None);
        assert!(chunks.is_empty());
        assert!(capacity(&chunks) <= 2 * chunk::<u64>());
        assert!(chunks.more.capacity() <= LISTED);
    }

    /// Every allocation is made under a lock that others may wait for.
    #[test]
    fn what_stays_within_two_chunks_allocates_nothing_more() {
        let mut chunks = Chunks::new();
        let lap = |chunks: &mut Chunks<u64>| {
            for value in 0..2 * chunk::<u64>() as u64 {
                chunks.push(value);
            }
            while chunks.pop().is_some() {}
            capacity(chunks)
        };
        let after_one = lap(&mut chunks);
        for _ in 0..10 {
            assert_eq!(lap(&mut chunks), after_one);
        }
    }

    /// Whatever the size of a message, a chunk is a sensible number of them.
    #[test]
    fn chunks_are_bounded_for_every_size() {
        assert_eq!(chunk::<()>(), 1024);
        assert_eq!(chunk::<u64>(), 1024);
        assert_eq!(chunk::<[u64; 4]>(), 256);
        assert_eq!(chunk::<[u8; 100_000]>(), 32);
    }
}
