//! How often the heap was asked for memory.
//!
//! A binary that counts makes [`Counting`] its global allocator. Outside of [`during`] that costs every
//! call one load of a flag that nobody writes, on both sides of a row alike.

#![expect(unsafe_code, reason = "a global allocator is an unsafe trait")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

static ON: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, with a counter that can be switched on.
#[derive(Clone, Copy, Debug)]
pub struct Counting;

// SAFETY: every call is passed on to `System` as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller keeps `GlobalAlloc::alloc`'s contract, which is `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note();
        // SAFETY: as in `alloc`; `block` came from `System`, by way of the methods above.
        unsafe { System.realloc(block, layout, new_size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as in `realloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

fn note() {
    if ON.load(Ordering::Relaxed) {
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
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
