//! How often the heap was asked for memory, and how much of it is held.
//!
//! A binary that counts makes [`Counting`] its global allocator. Outside of [`during`] that costs every
//! call one load of a flag that nobody writes, on both sides of a row alike.

#![expect(unsafe_code, reason = "a global allocator is an unsafe trait")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
};

static ON: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicU64 = AtomicU64::new(0);
/// Bytes taken less bytes given back while counting was on.
static LIVE: AtomicI64 = AtomicI64::new(0);

/// The system's allocator, with a counter that can be switched on.
#[derive(Clone, Copy, Debug)]
pub struct Counting;

// SAFETY: every call is passed on to `System` as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(1, layout.size(), 0);
        // SAFETY: the caller keeps `GlobalAlloc::alloc`'s contract, which is `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(1, layout.size(), 0);
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note(1, new_size, layout.size());
        // SAFETY: as in `alloc`; `block` came from `System`, by way of the methods above.
        unsafe { System.realloc(block, layout, new_size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        note(0, 0, layout.size());
        // SAFETY: as in `realloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

fn note(calls: u64, taken: usize, given_back: usize) {
    if ON.load(Ordering::Relaxed) {
        COUNT.fetch_add(calls, Ordering::Relaxed);
        LIVE.fetch_add(taken as i64 - given_back as i64, Ordering::Relaxed);
    }
}

/// Bytes that all threads hold more after `work` than before it, and what it returned. One call at a
/// time.
///
/// # Panics
/// As [`during`].
pub async fn live_during<T>(work: impl Future<Output = T>) -> (i64, T) {
    let before = LIVE.load(Ordering::Relaxed);
    let (_, result) = during(work).await;
    (LIVE.load(Ordering::Relaxed) - before, result)
}

/// Allocations and reallocations of all threads while `work` runs, and what it returned. One call at a
/// time.
///
/// # Panics
/// If [`Counting`] is not the global allocator: a zero would be a lie.
pub async fn during<T>(work: impl Future<Output = T>) -> (u64, T) {
    ON.store(true, Ordering::Relaxed);
    let before = COUNT.load(Ordering::Relaxed);
    drop(std::hint::black_box(Box::new(1_u8)));
    let own = COUNT.load(Ordering::Relaxed) - before;
    assert!(own > 0, "`Counting` is not the global allocator");
    let result = work.await;
    ON.store(false, Ordering::Relaxed);
    (COUNT.load(Ordering::Relaxed) - before - 1, result)
}
