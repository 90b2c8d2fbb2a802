//! What hyper's timer allocates.

#[path = "support/counting.rs"]
#[allow(dead_code, reason = "others count bytes too")]
mod counting;
mod io_support;

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Waker},
    time::{Duration, Instant},
};

use hyper::rt::Timer;
use io_support::on_each_driver;
use landbridge::hyper::CompioTimer;

const SLEEPS: usize = 1000;
const HOUR: Duration = Duration::from_secs(3600);

fn poll<F: Future<Output = ()> + ?Sized>(mut sleep: Pin<Box<F>>) -> Pin<Box<F>> {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(sleep.as_mut().poll(&mut cx).is_pending());
    sleep
}

/// The allocations of the second time: what is kept is there then.
fn steadily(mut run: impl FnMut()) -> usize {
    run();
    let before = counting::calls();
    run();
    counting::calls() - before
}

/// The box is hyper's: its trait returns one. A server sets a sleep for every request.
#[test]
fn a_sleep_allocates_its_box_and_nothing_else() {
    on_each_driver(|| async {
        let one_by_one = steadily(|| (0..SLEEPS).for_each(|_| drop(poll(CompioTimer.sleep(HOUR)))));
        assert_eq!(one_by_one, SLEEPS);

        let mut many = Vec::with_capacity(SLEEPS);
        let mut ours = || {
            many.extend((0..SLEEPS).map(|_| poll(CompioTimer.sleep(HOUR))));
            many.clear();
        };
        let ours = steadily(&mut ours);
        let mut many = Vec::with_capacity(SLEEPS);
        let compios = steadily(|| {
            many.extend((0..SLEEPS).map(|_| poll(Box::pin(compio::time::sleep(HOUR)))));
            many.clear();
        });
        assert!(
            ours <= compios,
            "{ours} allocations, Compio's own {compios}"
        );
    });
}

/// hyper resets a connection's one sleep for each keep-alive.
#[test]
fn a_reset_allocates_nothing() {
    on_each_driver(|| async {
        let mut sleep = CompioTimer.sleep(HOUR);
        let resets = steadily(|| {
            for _ in 0..SLEEPS {
                CompioTimer.reset(&mut sleep, Instant::now() + HOUR);
                let mut cx = Context::from_waker(Waker::noop());
                assert!(sleep.as_mut().poll(&mut cx).is_pending());
            }
        });
        assert_eq!(resets, 0);
    });
}
