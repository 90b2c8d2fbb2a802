//! The way back of empty buffers.

use crate::{
    channel::ring::{Consumer, Producer, ring},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// The two ends of a way back for so many buffers, which keeps no more than `most` bytes of them, or one.
pub(super) fn spares(buffers: usize, most: usize) -> (Giver, Taker) {
    let (giver, taker) = ring(buffers);
    let kept = Arc::new(AtomicUsize::new(0));
    (
        Giver {
            ring: giver,
            kept: kept.clone(),
            most,
        },
        Taker { ring: taker, kept },
    )
}

/// The reader's end.
pub(super) struct Giver {
    ring: Producer<Vec<u8>>,
    /// The capacity of what is on its way, which a small write that takes a large buffer would otherwise
    /// keep alive for ever. It decides nothing else.
    kept: Arc<AtomicUsize>,
    most: usize,
}

impl Giver {
    /// Takes a buffer that the reader is done with. One that is too many is dropped.
    pub(super) fn give(&mut self, mut buffer: Vec<u8>) {
        let size = buffer.capacity();
        let kept = self.kept.load(Relaxed);
        if size == 0 || (kept > 0 && kept.saturating_add(size) > self.most) {
            return;
        }
        buffer.clear();
        // Before it is to be had, so that the count never falls below zero.
        self.kept.fetch_add(size, Relaxed);
        if self.ring.push(buffer).is_err() {
            self.kept.fetch_sub(size, Relaxed);
        }
    }
}

/// The writer's end.
pub(super) struct Taker {
    ring: Consumer<Vec<u8>>,
    kept: Arc<AtomicUsize>,
}

impl Taker {
    /// An empty buffer that came back.
    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        let buffer = self.ring.pop().ok()?;
        self.kept.fetch_sub(buffer.capacity(), Relaxed);
        Some(buffer)
    }
}
