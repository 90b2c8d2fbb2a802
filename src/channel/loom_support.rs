//! What the models of channels share.

use std::{
    pin::pin,
    sync::atomic::{AtomicUsize as Count, Ordering::Relaxed},
    task::{Context, Poll, Waker},
};

/// A value that counts its drops. std's atomics, so that counting adds nothing to the model.
pub(super) struct Counted(pub(super) usize, std::sync::Arc<[Count]>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.1[self.0].fetch_add(1, Relaxed);
    }
}

pub(super) struct Drops(std::sync::Arc<[Count]>);

pub(super) fn counted<const N: usize>() -> ([Counted; N], Drops) {
    let drops: std::sync::Arc<[Count]> = (0..N).map(|_| Count::new(0)).collect();
    (
        std::array::from_fn(|i| Counted(i, drops.clone())),
        Drops(drops),
    )
}

impl Drops {
    #[track_caller]
    pub(super) fn assert_all_once(&self) {
        for (i, drops) in self.0.iter().enumerate() {
            assert_eq!(drops.load(Relaxed), 1, "drops of value {i}");
        }
    }
}

/// Polls once, as a task that is gone before it is woken.
pub(super) fn poll_and_drop<T>(future: impl Future<Output = T>) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}
