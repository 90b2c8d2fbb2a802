//! The only place that knows whether atomics, locks and cells are std's or loom's.
//!
//! Code that loom models imports from here and from nowhere else.

#![allow(unused_imports)]

#[cfg(not(landbridge_loom))]
pub(crate) use std::{
    hint::spin_loop,
    sync::{Arc, Mutex, MutexGuard, atomic},
};

#[cfg(landbridge_loom)]
pub(crate) use loom::{
    hint::spin_loop,
    sync::{Arc, Mutex, MutexGuard, atomic},
};

/// Locks, also after a panic: for state that no panic under the lock can leave half changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
