//! The only place that knows whether atomics, locks and cells are std's or loom's.
//!
//! Code that loom models imports from here and from nowhere else.

#[cfg(not(landbridge_loom))]
pub(crate) use std::sync::{Arc, Mutex, MutexGuard, atomic};

#[cfg(landbridge_loom)]
pub(crate) use loom::{
    cell::UnsafeCell,
    sync::{Arc, Mutex, MutexGuard, atomic},
};

/// Locks, also after a panic: for state that no panic under the lock can leave half changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// std's cell behind loom's interface, under which loom checks that accesses never overlap.
#[cfg(not(landbridge_loom))]
#[derive(Debug)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(landbridge_loom))]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, access: impl FnOnce(*mut T) -> R) -> R {
        access(self.0.get())
    }
}

/// Blocks this thread until `future` is ready.
#[cfg(not(landbridge_loom))]
pub(crate) use futures::executor::block_on;
#[cfg(landbridge_loom)]
pub(crate) use loom::future::block_on;
