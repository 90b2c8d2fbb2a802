//! What the other runtime, and code for both, costs where one stays where one is.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};

use crate::{Row, threads::cpu_time};

/// The rows of this group.
pub const ROWS: &[Row] = &[
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
