//! Small borrowed writes, which gather in a buffer that is already under way.
//!
//! The first begins a buffer, which lies here, and sends a mark through the ring: a chunk without capacity.
//! Until the reader comes to the mark, and as long as nothing else is sent after it, further small writes
//! go behind the first. They need no slot and no wake-up. The buffer takes a share of the bound from its
//! beginning and never holds more than that, so there is nothing to be counted either.
//!
//! A lock, because either side may be at the buffer. Under it bytes are copied, at most [`MOST`] of them; nothing
//! is allocated, freed or woken.

use std::{collections::VecDeque, mem};

use crate::sync::{Mutex, MutexGuard, lock};

/// A buffer gathers no more.
pub(super) const MOST: usize = 8 * 1024;

/// A buffer for each mark that is in the ring, and one whose mark the reader has just taken out.
pub(super) struct Gathered(Mutex<VecDeque<Vec<u8>>>);

impl Gathered {
    /// For so many marks.
    pub(super) fn new(marks: usize) -> Self {
        Self(Mutex::new(VecDeque::with_capacity(marks)))
    }

    /// The writer's, before it sends the mark.
    pub(super) fn begin(&self, buffer: Vec<u8>) {
        self.lock().push_back(buffer);
    }

    /// The writer's, when the mark was refused.
    pub(super) fn take_back(&self) {
        let buffer = self.lock().pop_back();
        drop(buffer);
    }

    /// The writer's, if the mark was the last that it sent: `total` bytes go behind what is there, if the
    /// reader has not taken that out, and it becomes no more than `most`, for which it has capacity.
    pub(super) fn append<'a>(
        &self,
        total: usize,
        slices: impl Iterator<Item = &'a [u8]>,
        most: usize,
    ) -> bool {
        let mut buffers = self.lock();
        let Some(last) = buffers
            .back_mut()
            .filter(|last| last.len().saturating_add(total) <= most)
        else {
            return false;
        };
        slices.for_each(|slice| last.extend_from_slice(slice));
        true
    }

    /// The reader's, at a mark.
    pub(super) fn take(&self) -> Vec<u8> {
        let buffer = self.lock().pop_front();
        debug_assert!(buffer.is_some(), "a buffer for each mark");
        buffer.unwrap_or_default()
    }

    /// The reader's, when it will not come to any mark.
    pub(super) fn clear(&self) {
        let buffers = mem::take(&mut *self.lock());
        drop(buffers);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Vec<u8>>> {
        lock(&self.0)
    }
}
