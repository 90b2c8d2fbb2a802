//! What the other runtime, and code for both, costs where one stays where one is.

use std::{
    future::{Future, poll_fn},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use landbridge::context::InTokioExt;

use crate::{Row, threads::cpu_time};

/// The rows of this group.
pub const ROWS: &[Row] = &[
    Row {
        name: "context.in_tokio_poll",
        unit: "ns/poll",
        peer_name: "Handle::enter by hand",
        goal: Some(1.10),
        doc: "a future that does nothing but wait is polled over and over on a Compio runtime: \
              `in_tokio` beside a future that enters the handle around the inner poll; the thread's CPU time.",
        round: |config| {
            let polls = config.operations(POLLS);
            let tokio = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .build()
                .expect("a Tokio runtime starts");
            let handle = tokio.handle();
            let compio = compio::runtime::Runtime::new().expect("a Compio runtime starts");
            compio.block_on(async {
                config.both(
                    |_| nanos_per_poll(polls, waits().in_tokio(handle)),
                    |_| {
                        let mut inner = pin!(waits());
                        let by_hand = poll_fn(|cx| {
                            let _context = handle.enter();
                            inner.as_mut().poll(cx)
                        });
                        nanos_per_poll(polls, by_hand)
                    },
                )
            })
        },
    },
    Row {
        name: "context.sleep_tokio",
        unit: "ns/sleep",
        peer_name: "tokio::time::sleep",
        goal: Some(1.15),
        doc: "a sleep is made, polled once and dropped on Tokio's current-thread runtime: \
              `landbridge::time::sleep` beside Tokio's own; the thread's CPU time.",
        round: |config| {
            let sleeps = config.operations(SLEEPS);
            let tokio = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .expect("a Tokio runtime starts");
            tokio.block_on(async {
                config.both(
                    |_| nanos_per_sleep(sleeps, landbridge::time::sleep),
                    |_| nanos_per_sleep(sleeps, tokio::time::sleep),
                )
            })
        },
    },
    Row {
        name: "context.sleep_compio",
        unit: "ns/sleep",
        peer_name: "compio::time::sleep",
        goal: Some(1.15),
        doc: "the same on a Compio runtime, beside Compio's own.",
        round: |config| {
            let sleeps = config.operations(SLEEPS);
            let compio = compio::runtime::Runtime::new().expect("a Compio runtime starts");
            compio.block_on(async {
                config.both(
                    |_| nanos_per_sleep(sleeps, landbridge::time::sleep),
                    |_| nanos_per_sleep(sleeps, compio::time::sleep),
                )
            })
        },
    },
];

/// Polls in one round: some tens of milliseconds.
const POLLS: u64 = 1_000_000;

async fn waits() {
    poll_fn(|_| black_box(Poll::Pending)).await
}

fn nanos_per_poll(polls: u64, future: impl Future<Output = ()>) -> f64 {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    let start = cpu_time();
    for _ in 0..polls {
        assert!(future.as_mut().poll(&mut cx).is_pending());
    }
    (cpu_time() - start).as_nanos() as f64 / polls as f64
}

/// Sleeps in one round: some tens of milliseconds.
const SLEEPS: u64 = 200_000;

/// Long enough that none ends.
const LONG: Duration = Duration::from_secs(3600);

fn nanos_per_sleep<F: Future<Output = ()>>(sleeps: u64, sleep: impl Fn(Duration) -> F) -> f64 {
    let start = cpu_time();
    for _ in 0..sleeps {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(pin!(sleep(LONG)).poll(&mut cx).is_pending());
    }
    (cpu_time() - start).as_nanos() as f64 / sleeps as f64
}
