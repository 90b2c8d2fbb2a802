//! What timers allocate in the long run: nothing that the runtime's own do not.

#[path = "support/counting.rs"]
#[allow(dead_code, reason = "others count bytes too")]
mod counting;
mod io_support;

use std::{
    future::{Future, pending},
    pin::{Pin, pin},
    task::{Context, Waker},
    time::Duration,
};

use io_support::on_each_driver;
use landbridge::time::{self, sleep, timeout};

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
    let before = counting::calls();
    run();
    counting::calls() - before
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
