//! A channel for which there is no memory.

#![cfg(not(landbridge_loom))]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    panic::catch_unwind,
    ptr,
};

use landbridge::channel;

/// More than this at once cannot be had.
const MOST: usize = 1 << 24;

struct Little;

#[expect(unsafe_code, reason = "an allocator is unsafe to write")]
// SAFETY: what is not refused is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Little {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > MOST {
            return ptr::null_mut();
        }
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Little = Little;

/// A capacity that comes from a configuration file must not end the process.
#[test]
fn a_capacity_without_memory_is_a_panic() {
    const MESSAGES: usize = MOST / size_of::<u64>();
    drop(channel::spsc::<u64>(MESSAGES));
    assert!(catch_unwind(|| channel::spsc::<u64>(MESSAGES + 1)).is_err());
    drop(channel::mpsc::<u64>(MESSAGES));
    assert!(catch_unwind(|| channel::mpsc::<u64>(MESSAGES + 1)).is_err());
    assert!(catch_unwind(|| channel::mpsc::<()>(MOST + 1)).is_err());
    drop(channel::mesh::<u64>(2, MESSAGES));
    assert!(catch_unwind(|| channel::mesh::<u64>(2, MESSAGES + 1)).is_err());
}
