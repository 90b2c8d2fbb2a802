//! What timers allocate in the long run: nothing that the runtime's own do not.

mod io_support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    future::{Future, pending},
    pin::{Pin, pin},
    task::{Context, Waker},
    time::Duration,
};

use io_support::on_each_driver;
use landbridge::time::{self, sleep, timeout};

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

const SLEEPS: usize = 1000;
const HOUR: Duration = Duration::from_secs(3600);

/// Polls once; whether it waits.
fn poll_here<F: Future>(future: Pin<&mut F>) -> bool {
    future
        .poll(&mut Context::from_waker(Waker::noop()))
        .is_pending()
}

/// The allocations of the second time: what is kept is there then.
fn steadily(mut run: impl FnMut()) -> usize {
    run();
    let before = CALLS.get();
    run();
    CALLS.get() - before
}

/// A time-out for each request, a million times a minute.
#[test]
fn sleeps_and_timeouts_allocate_nothing_one_after_the_other() {
    on_each_driver(|| async {
        let sleeps = steadily(|| {
            for _ in 0..SLEEPS {
                assert!(poll_here(pin!(sleep(HOUR))));
                assert!(poll_here(pin!(timeout(HOUR, pending::<()>()))));
            }
        });
        assert_eq!(sleeps, 0);
    });
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    tokio.block_on(async {
        let sleeps = steadily(|| {
            for _ in 0..SLEEPS {
                assert!(poll_here(pin!(sleep(HOUR))));
                assert!(poll_here(pin!(timeout(HOUR, pending::<()>()))));
            }
        });
        assert_eq!(sleeps, 0);
    });
}

/// A connection's time-out is put off with each request.
#[test]
fn a_sleep_that_is_put_off_allocates_nothing() {
    on_each_driver(|| async {
        let mut sleep = pin!(sleep(HOUR));
        let resets = steadily(|| {
            for n in 0..SLEEPS as u32 {
                let minutes = Duration::from_secs(60) * (n % 100);
                sleep.as_mut().reset(time::Instant::now() + minutes + HOUR);
                assert!(poll_here(sleep.as_mut()));
            }
        });
        assert_eq!(resets, 0);
    });
}
