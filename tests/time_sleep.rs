//! Sleeps on both runtimes: the same behaviour wherever they are polled.

mod support;

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::{Poll, Waker},
    thread,
    time::Duration,
};

use futures::future::{Either, select};
use landbridge::{
    CompioPool,
    test_util::both,
    time::{Instant, Sleep, interval, sleep, sleep_until, timeout},
};
use support::{CountingWaker, poll_once, watchdog};

const HOUR: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(5);

fn boxed(duration: Duration) -> Pin<Box<Sleep>> {
    Box::pin(sleep(duration))
}

fn paused_tokio() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

/// What it is for.
#[test]
fn a_sleep_ends_no_earlier_than_its_deadline() {
    let _watchdog = watchdog();
    both(async || {
        let start = Instant::now();
        sleep(SOON).await;
        assert!(start.elapsed() >= SOON);
        sleep_until(start + 3 * SOON).await;
        assert!(start.elapsed() >= 3 * SOON);
        // Long past.
        sleep_until(start).await;
        sleep(Duration::ZERO).await;
    });
}

/// On a worker, with and without a Tokio beside it, it is Compio's.
#[test]
fn a_sleep_ends_on_a_worker() {
    let _watchdog = watchdog();
    let tokio = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for builder in [
        CompioPool::builder(),
        CompioPool::builder().tokio(tokio.handle().clone()),
    ] {
        let pool = builder.threads(1).build().unwrap();
        futures::executor::block_on(pool.run(async || sleep(SOON).await)).unwrap();
    }
}

/// The rule for who has both contexts: a Tokio that nobody drives, or that has no timers, must not win.
#[test]
fn compio_wins_where_both_contexts_are_set() {
    let _watchdog = watchdog();
    // Nobody drives it, its clock stands still, and it would fire nothing.
    let tokio = paused_tokio();
    let _context = tokio.enter();
    compio::runtime::Runtime::new().unwrap().block_on(async {
        let start = std::time::Instant::now();
        sleep(SOON).await;
        assert!(start.elapsed() >= SOON);
        let never = std::future::pending::<()>();
        assert!(timeout(SOON, never).await.is_err());
        let mut ticks = interval(SOON);
        let first = ticks.tick().await;
        assert_eq!(ticks.tick().await, first + SOON);
        assert!(start.elapsed() >= 3 * SOON);
    });
}

/// Tests of a whole day run in no time with it.
#[test]
fn tokios_paused_clock_moves_a_sleep() {
    let _watchdog = watchdog();
    paused_tokio().block_on(async {
        let start = Instant::now();
        sleep(HOUR).await;
        assert_eq!(start.elapsed(), HOUR);

        let mut sleep = boxed(HOUR);
        assert!(poll_once(&mut sleep, Waker::noop()).is_pending());
        tokio::time::advance(HOUR / 2).await;
        assert!(poll_once(&mut sleep, Waker::noop()).is_pending());
        assert!(!sleep.is_elapsed());
        tokio::time::advance(HOUR / 2).await;
        assert!(sleep.is_elapsed());
        assert!(poll_once(&mut sleep, Waker::noop()).is_ready());
    });
}

/// The issue of a sleep that nobody drives is a hang, and a hang has no message.
#[test]
fn a_timer_polled_outside_of_both_contexts_panics_with_the_cause() {
    fn message(poll: impl FnOnce()) -> String {
        let panic = catch_unwind(AssertUnwindSafe(poll)).unwrap_err();
        panic.downcast::<String>().map_or_else(
            |panic| panic.downcast::<&str>().unwrap().to_string(),
            |it| *it,
        )
    }

    fn panics(poll: impl FnOnce()) {
        let message = message(poll);
        for part in ["landbridge::time", "Compio", "Tokio"] {
            assert!(message.contains(part), "{message}");
        }
    }

    let _watchdog = watchdog();
    let poll = |sleep: &mut Pin<Box<Sleep>>| {
        let _ = poll_once(sleep, Waker::noop());
    };
    let mut sleep = boxed(HOUR);
    panics(|| poll(&mut sleep));
    panics(|| poll(&mut Box::pin(self::sleep(Duration::ZERO))));
    panics(|| {
        let _ = poll_once(
            &mut Box::pin(timeout(HOUR, std::future::pending::<()>())),
            Waker::noop(),
        );
    });
    panics(|| {
        let mut ticks = interval(SOON);
        let _ = poll_once(&mut pin!(ticks.tick()), Waker::noop());
    });
    // Also after it was set somewhere; and nothing is broken by it.
    let compio = compio::runtime::Runtime::new().unwrap();
    compio.enter(|| poll(&mut sleep));
    panics(|| poll(&mut sleep));
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    tokio.block_on(async { poll(&mut sleep) });
    panics(|| poll(&mut sleep));
    sleep.as_mut().reset(Instant::now() + SOON);
    compio.block_on(&mut sleep);

    // Tokio's own words for this.
    let without_timers = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let message = message(|| without_timers.block_on(self::sleep(HOUR)));
    assert!(message.contains("enable_time"), "{message}");
}

/// What needs no timer needs no runtime.
#[test]
fn a_future_that_is_ready_needs_no_runtime_for_its_timeout() {
    let _watchdog = watchdog();
    let ready = futures::executor::block_on(timeout(Duration::ZERO, async { 1 }));
    assert_eq!(ready, Ok(1));
}

/// A `select!` in a loop polls it once more, and must not wait for another hour.
#[test]
fn a_sleep_that_has_ended_stays_so_until_it_is_reset() {
    let _watchdog = watchdog();
    both(async || {
        let mut sleep = boxed(SOON);
        sleep.as_mut().await;
        assert!(sleep.is_elapsed());
        assert!(poll_once(&mut sleep, Waker::noop()).is_ready());
        let deadline = Instant::now() + HOUR;
        sleep.as_mut().reset(deadline);
        assert_eq!(sleep.deadline(), deadline);
        assert!(!sleep.is_elapsed());
        assert!(poll_once(&mut sleep, Waker::noop()).is_pending());
    });
}

/// An idle time-out is put off with each request, and brought forward at a shutdown.
#[test]
fn a_sleep_that_is_reset_waits_for_its_new_deadline() {
    let _watchdog = watchdog();
    both(async || {
        let start = Instant::now();
        for first in [start + SOON, start + HOUR] {
            for polled in [false, true] {
                let mut sleep = Box::pin(sleep_until(first));
                if polled {
                    let _ = poll_once(&mut sleep, Waker::noop());
                }
                let then = Instant::now() + 2 * SOON;
                sleep.as_mut().reset(then);
                sleep.as_mut().await;
                assert!(Instant::now() >= then);
            }
        }
    });
}

/// Somebody else may put a sleep off, who does not poll it: then nobody would arm it again.
#[test]
fn a_task_that_waits_is_woken_though_somebody_else_put_the_sleep_off() {
    /// Polled only when it was woken, whatever its neighbours in a `join!` do.
    async fn as_a_task(future: impl Future<Output = ()>) {
        use futures::stream::{FuturesUnordered, StreamExt};

        let mut alone: FuturesUnordered<_> = [future].into_iter().collect();
        alone.next().await;
    }

    let _watchdog = watchdog();
    both(async || {
        for first in times() {
            let sleep = RefCell::new(boxed(first));
            let begun = Cell::new(false);
            let waits = poll_fn(|cx| {
                let polled = sleep.borrow_mut().as_mut().poll(cx);
                begun.set(begun.get() || polled.is_pending());
                polled
            });
            let put_off = Instant::now() + 2 * first;
            let puts_off = async { sleep.borrow_mut().as_mut().reset(put_off) };
            tokio::join!(as_a_task(waits), puts_off);
            if begun.get() {
                assert!(Instant::now() >= put_off);
                break;
            }
        }
    });
}

/// Times for a test whose first steps must be over within them: again and longer, until they were.
fn times() -> impl Iterator<Item = Duration> {
    std::iter::successors(Some(SOON), |time| Some(2 * *time))
}

/// Each poll may come from another task.
#[test]
fn the_waker_of_the_last_poll_is_the_one_that_is_woken() {
    let _watchdog = watchdog();
    both(async || {
        for time in times() {
            let [first, last] = [CountingWaker::new(), CountingWaker::new()];
            let mut asleep = boxed(time);
            if poll_once(&mut asleep, &first.clone().into()).is_pending()
                && poll_once(&mut asleep, &last.clone().into()).is_pending()
            {
                sleep(2 * time).await;
                assert_eq!((first.wakes(), last.wakes()), (0, 1));
                assert_eq!(poll_once(&mut asleep, Waker::noop()), Poll::Ready(()));
                break;
            }
        }
    });
}

/// A dropped timer that fires wakes a task for nothing, or keeps it alive for an hour.
#[test]
fn a_sleep_that_is_dropped_lets_go_of_its_waker() {
    let _watchdog = watchdog();
    both(async || {
        let waker = CountingWaker::new();
        let mut asleep = boxed(SOON);
        let _ = poll_once(&mut asleep, &waker.clone().into());
        drop(asleep);
        assert_eq!(std::sync::Arc::strong_count(&waker), 1);
        sleep(4 * SOON).await;
        assert_eq!(waker.wakes(), 0);
    });
}

/// "For ever" is said in this way.
#[test]
fn the_longest_duration_neither_ends_nor_holds_up_others() {
    let _watchdog = watchdog();
    both(async || {
        match select(boxed(Duration::MAX), boxed(SOON)).await {
            Either::Left(_) => panic!("it ended"),
            Either::Right(((), mut for_ever)) => {
                assert!(poll_once(&mut for_ever, Waker::noop()).is_pending());
                // Alone, so that the driver is given that very time.
                let (wake, is_woken) = futures::channel::oneshot::channel();
                let waking = thread::spawn(move || wake.send(()));
                assert!(matches!(
                    select(for_ever, is_woken).await,
                    Either::Right((Ok(()), _))
                ));
                waking.join().unwrap().unwrap();
            }
        }
    });
}
