//! What the channels with many senders allocate: little when idle, nothing per message, and a burst's
//! memory comes back.

#![cfg(not(landbridge_loom))]

mod channel_support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    pin::pin,
};

use channel_support::poll;
use landbridge::channel;

/// Counts what this thread allocates; each test of a binary has a thread of its own.
struct Counting;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

fn count(calls: usize, bytes: isize) {
    let _ = CALLS.try_with(|c| c.set(c.get() + calls));
    let _ = LIVE.try_with(|l| l.set(l.get() + bytes));
}

#[expect(unsafe_code, reason = "an allocator is unsafe to write")]
// SAFETY: everything is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as isize);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(0, -(layout.size() as isize));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(1, new_size as isize - layout.size() as isize);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `f` leaves allocated, with what it returns.
fn live<T>(f: impl FnOnce() -> T) -> (isize, T) {
    let before = LIVE.get();
    let kept = f();
    (LIVE.get() - before, kept)
}

fn calls(f: impl FnOnce()) -> usize {
    let before = CALLS.get();
    f();
    CALLS.get() - before
}

/// A server has a channel for each connection, most of them idle.
#[test]
fn an_idle_channel_is_small() {
    let (bytes, _ends) = live(channel::unbounded::<u64>);
    assert!(bytes <= 768, "{bytes} bytes");
    let (bytes, _ends) = live(|| channel::builder().bytes(1 << 20).mpsc::<Vec<u8>>());
    assert!(bytes <= 1280, "{bytes} bytes");
}

/// One bad minute must not cost the memory of it for ever.
#[test]
fn the_memory_of_a_burst_comes_back() {
    const BURST: u64 = 1_000_000;
    let (tx, mut rx) = channel::unbounded();
    for _ in 0..3 {
        let (bytes, ()) = live(|| {
            for message in 0..BURST {
                tx.send(message).unwrap();
            }
        });
        assert!(bytes >= 7_000_000, "{bytes} bytes");
        let (bytes, ()) = live(|| {
            for message in 0..BURST / 2 {
                assert_eq!(rx.try_recv(), Ok(message));
            }
        });
        // While it is emptied, not only in the end.
        assert!(bytes <= -3_500_000, "{bytes} bytes");
        for message in BURST / 2..BURST {
            assert_eq!(rx.try_recv(), Ok(message));
        }
        // What two empty queues keep.
        assert!(rx.try_recv().is_err());
        let kept = LIVE.get();
        assert!(kept <= 48 << 10, "{kept} bytes");
    }
    let before = LIVE.get();
    drop((tx, rx));
    assert!(LIVE.get() < before);
}

/// An allocation under the lock is time that others wait.
#[test]
fn a_channel_in_steady_use_allocates_nothing() {
    let (tx, mut rx) = channel::unbounded();
    let round = |rx: &mut channel::unbounded::Receiver<u64>| {
        for message in 0..900 {
            tx.send(message).unwrap();
        }
        while rx.try_recv().is_ok() {}
        assert!(poll(rx.recv()).is_pending());
    };
    round(&mut rx);
    round(&mut rx);
    assert_eq!(calls(|| (0..10).for_each(|_| round(&mut rx))), 0);
}

/// Waiting for room is what a sender at a bound does all the time.
#[test]
fn senders_that_wait_allocate_nothing_in_steady_use() {
    let (tx, mut rx) = channel::builder().bytes(2).mpsc();
    let mut round = || {
        tx.try_send([0_u8; 2]).unwrap();
        {
            let mut first = pin!(tx.send([0; 2]));
            let mut second = pin!(tx.send([0; 2]));
            assert!(poll(first.as_mut()).is_pending());
            assert!(poll(second.as_mut()).is_pending());
            rx.try_recv().unwrap();
            assert!(poll(first.as_mut()).is_ready());
        }
        rx.try_recv().unwrap();
    };
    round();
    round();
    assert_eq!(calls(|| (0..100).for_each(|_| round())), 0);
}
