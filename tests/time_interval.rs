//! Ticks on both runtimes.

mod support;

use std::{
    panic::catch_unwind,
    pin::pin,
    task::{Poll, Waker},
    time::Duration,
};

use landbridge::{
    test_util::both,
    time::{Instant, Interval, MissedTickBehavior, interval, interval_at},
};
use support::{poll_once, watchdog};

const SOON: Duration = Duration::from_millis(5);
const SECOND: Duration = Duration::from_secs(1);

const BEHAVIORS: [MissedTickBehavior; 3] = [
    MissedTickBehavior::Burst,
    MissedTickBehavior::Delay,
    MissedTickBehavior::Skip,
];

fn poll_tick(ticks: &mut Interval) -> Poll<Instant> {
    poll_once(&mut pin!(ticks.tick()), Waker::noop())
}

/// What it is for.
#[test]
fn ticks_are_a_period_apart_and_the_first_is_at_once() {
    let _watchdog = watchdog();
    both(async || {
        let start = Instant::now();
        let mut ticks = interval(SOON);
        assert_eq!(ticks.period(), SOON);
        let first = ticks.tick().await;
        assert!(first >= start);
        for n in 1..4 {
            let tick = ticks.tick().await;
            assert_eq!(tick, first + n * SOON);
            assert!(Instant::now() >= tick);
        }
        let mut later = interval_at(start + 6 * SOON, SOON);
        assert_eq!(later.tick().await, start + 6 * SOON);
        assert!(start.elapsed() >= 6 * SOON);
    });
}

/// A job that is moved from Tokio must find its ticks as they were: the same script on Tokio's own
/// interval and on ours, under a clock that stands still.
#[test]
fn missed_ticks_are_what_they_are_on_tokio() {
    let _watchdog = watchdog();
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    tokio.block_on(async {
        for behavior in BEHAVIORS {
            let mut theirs = tokio::time::interval(SECOND);
            let mut ours = interval(SECOND);
            theirs.set_missed_tick_behavior(behavior);
            ours.set_missed_tick_behavior(behavior);
            assert_eq!(ours.missed_tick_behavior(), behavior);
            // In milliseconds: on time, a little late, missed by the margin, by less, by much.
            for advance in [0, 1000, 1004, 1006, 300, 2500, 1, 700, 10_250, 500, 1000] {
                tokio::time::advance(Duration::from_millis(advance)).await;
                for _ in 0..4 {
                    let their = poll_once(&mut pin!(theirs.tick()), Waker::noop());
                    assert_eq!(poll_tick(&mut ours), their, "{behavior:?}");
                }
            }
            theirs.reset();
            ours.reset();
            assert_eq!(ours.tick().await, theirs.tick().await);
            theirs.reset_after(SECOND / 3);
            ours.reset_after(SECOND / 3);
            assert_eq!(ours.tick().await, theirs.tick().await);
            theirs.reset_immediately();
            ours.reset_immediately();
            assert_eq!(ours.tick().await, theirs.tick().await);
            let then = Instant::now() + 3 * SECOND;
            theirs.reset_at(then);
            ours.reset_at(then);
            assert_eq!(ours.tick().await, then);
            assert_eq!(theirs.tick().await, then);
        }
    });
}

/// The same where there is no clock to stop: a period so long that the test is over before the next.
#[test]
fn missed_ticks_are_made_up_for_delayed_or_skipped() {
    const PERIOD: Duration = Duration::from_secs(3600);

    let _watchdog = watchdog();
    both(async || {
        for behavior in BEHAVIORS {
            let Some(start) = Instant::now().checked_sub(PERIOD * 5 / 2) else {
                // The machine has just been started.
                continue;
            };
            let mut ticks = interval_at(start, PERIOD);
            ticks.set_missed_tick_behavior(behavior);
            assert_eq!(poll_tick(&mut ticks), Poll::Ready(start));
            if behavior == MissedTickBehavior::Burst {
                assert_eq!(poll_tick(&mut ticks), Poll::Ready(start + PERIOD));
                assert_eq!(poll_tick(&mut ticks), Poll::Ready(start + 2 * PERIOD));
            }
            assert!(poll_tick(&mut ticks).is_pending());
        }
    });
}

/// `select!` drops the tick that loses, each time round.
#[test]
fn a_tick_that_is_dropped_is_not_used_up() {
    let _watchdog = watchdog();
    both(async || {
        let start = Instant::now() + SOON;
        let mut ticks = interval_at(start, SOON);
        while poll_tick(&mut ticks).is_pending() {
            landbridge::time::sleep(SOON / 5).await;
        }
        assert_eq!(ticks.tick().await, start + SOON);
    });
}

/// As Tokio's: it would tick without end.
#[test]
fn a_period_of_zero_is_refused() {
    assert!(catch_unwind(|| interval(Duration::ZERO)).is_err());
    assert!(catch_unwind(|| interval_at(Instant::now(), Duration::ZERO)).is_err());
}

/// "Once, and never again" is said in this way.
#[test]
fn the_longest_period_ticks_once() {
    let _watchdog = watchdog();
    both(async || {
        let mut ticks = interval(Duration::MAX);
        ticks.tick().await;
        assert!(poll_tick(&mut ticks).is_pending());
    });
}
