//! What a context allocates: nothing, once somebody has waited in it.
#![cfg(feature = "pool")]

mod context_support;
mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    future::{Future, pending, ready},
    pin::pin,
    task::{Context, Waker},
};

use context_support::tokio_runtime;
use landbridge::context::{self, InTokioExt};

/// Counts what this thread allocates; each test of a binary has a thread of its own.
struct Counting;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
}

#[expect(unsafe_code, reason = "an allocator is unsafe to write")]
// SAFETY: everything is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A request is wrapped for each, often inside of another: nothing is boxed for any of them.
#[test]
fn neither_wrapping_nor_polling_nor_dropping_allocates() {
    let tokio = tokio_runtime();
    let mut cx = Context::from_waker(Waker::noop());
    let mut first = pin!(pending::<()>().in_tokio(tokio.handle()));
    assert!(first.as_mut().poll(&mut cx).is_pending());
    // Room for those below in the runtime's watch.
    let mut second = Box::pin(pending::<()>().in_tokio(tokio.handle()));
    assert!(second.as_mut().poll(&mut cx).is_pending());
    drop(second);

    let before = CALLS.get();
    for _ in 0..1000 {
        let mut waits = pin!(pending::<()>().in_tokio(tokio.handle()));
        for _ in 0..3 {
            assert!(waits.as_mut().poll(&mut cx).is_pending());
        }
        let nested = ready(()).in_tokio(tokio.handle());
        assert!(
            pin!(nested.in_tokio(tokio.handle()))
                .poll(&mut cx)
                .is_ready()
        );
        context::with(tokio.handle(), || ());
    }
    assert_eq!(CALLS.get() - before, 0);
}
