//! What becomes of a pending sleep that moves from one runtime to another.

mod support;

use std::{cell::RefCell, pin::Pin, rc::Rc, sync::Arc, task::Waker, thread, time::Duration};

use compio::driver::{DriverType, ProactorBuilder};
use landbridge::time::{Instant, Interval, Sleep, interval_at, sleep, sleep_until, timeout};
use support::{CountingWaker, poll_once, watchdog};

const HOUR: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(5);

/// A runtime that may be polled in without being driven.
enum Runtime {
    Tokio(tokio::runtime::Runtime),
    Compio(compio::runtime::Runtime),
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    TokioMultiThread,
    TokioCurrentThread,
    CompioIoUring,
    CompioPolling,
}

const KINDS: [Kind; 4] = [
    Kind::TokioMultiThread,
    Kind::TokioCurrentThread,
    Kind::CompioIoUring,
    Kind::CompioPolling,
];

impl Kind {
    fn runtime(self) -> Runtime {
        match self {
            Self::TokioMultiThread => Runtime::Tokio(
                tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(1)
                    .enable_time()
                    .build()
                    .unwrap(),
            ),
            Self::TokioCurrentThread => Runtime::Tokio(
                tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .build()
                    .unwrap(),
            ),
            Self::CompioIoUring => Runtime::compio(DriverType::IoUring),
            Self::CompioPolling => Runtime::compio(DriverType::Poll),
        }
    }
}

impl Runtime {
    fn compio(driver: DriverType) -> Self {
        let with = |driver| {
            compio::runtime::Runtime::builder()
                .with_proactor(ProactorBuilder::new().driver_type(driver).clone())
                .build()
        };
        // Where io_uring is refused the other driver is tested twice.
        Self::Compio(with(driver).or_else(|_| with(DriverType::Poll)).unwrap())
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        match self {
            Self::Tokio(tokio) => tokio.block_on(future),
            Self::Compio(compio) => compio.block_on(future),
        }
    }

    /// Polls once, and does not drive what is set by that. A short sleep may be over by then.
    fn begin(&self, sleep: &mut Pin<Box<Sleep>>, waker: &Waker) {
        let polled = match self {
            Self::Tokio(tokio) => {
                let _context = tokio.enter();
                poll_once(sleep, waker)
            }
            Self::Compio(compio) => compio.enter(|| poll_once(sleep, waker)),
        };
        assert!(polled.is_pending() || sleep.is_elapsed());
    }
}

/// From each kind of runtime to each, a second one of the same kind included.
fn every_move(test: impl Fn(Runtime, Runtime)) {
    let _watchdog = watchdog();
    for from in KINDS {
        for to in KINDS {
            eprintln!("from {from:?} to {to:?}");
            test(from.runtime(), to.runtime());
        }
    }
}

/// Nobody drives the first any more: a sleep that stayed there would never end.
#[test]
fn a_sleep_that_moves_ends_where_it_is_polled() {
    every_move(|from, to| {
        let start = Instant::now();
        let mut sleep = Box::pin(sleep_until(start + SOON));
        from.begin(&mut sleep, Waker::noop());
        to.block_on(&mut sleep);
        assert!(start.elapsed() >= SOON);
    });
}

/// A runtime that ends takes its timers with it, not what has moved away from it.
#[test]
fn a_sleep_survives_the_runtime_that_it_was_set_in() {
    every_move(|from, to| {
        let mut sleep = Box::pin(sleep(SOON));
        from.begin(&mut sleep, Waker::noop());
        drop(from);
        to.block_on(&mut sleep);
    });
}

/// It may come back: then it is set once more, and not taken for the one that was there.
#[test]
fn a_sleep_that_goes_to_and_fro_ends() {
    every_move(|from, to| {
        let mut sleep = Box::pin(sleep(4 * SOON));
        for _ in 0..3 {
            from.begin(&mut sleep, Waker::noop());
            to.begin(&mut sleep, Waker::noop());
        }
        from.block_on(&mut sleep);
    });
}

/// A task is moved with what it waits for: to a thread where another runtime runs.
#[test]
fn a_sleep_that_moves_to_another_thread_ends_there() {
    every_move(|from, to| {
        let start = Instant::now();
        let mut sleep = Box::pin(sleep(2 * SOON));
        from.begin(&mut sleep, Waker::noop());
        let kind = matches!(to, Runtime::Tokio(_));
        let there = thread::spawn(move || {
            // A Compio runtime stays on its thread.
            if kind {
                Kind::TokioMultiThread.runtime().block_on(sleep);
            } else {
                Kind::CompioIoUring.runtime().block_on(sleep);
            }
        });
        there.join().unwrap();
        assert!(start.elapsed() >= 2 * SOON);
    });
}

/// What stayed behind must not keep the task of the first runtime for an hour.
#[test]
fn a_sleep_that_moves_on_its_thread_leaves_no_waker_behind() {
    every_move(|from, to| {
        let waker = CountingWaker::new();
        let mut sleep = Box::pin(sleep(HOUR));
        from.begin(&mut sleep, &waker.clone().into());
        assert_eq!(Arc::strong_count(&waker), 2);
        to.begin(&mut sleep, Waker::noop());
        assert_eq!(Arc::strong_count(&waker), 1);
    });
}

/// A service lives longer than the runtimes it is polled in, of which a panic may drop one: Compio leaves such
/// a one's tasks behind, and the next gets its driver's number.
#[test]
fn a_sleep_ends_in_the_runtime_after_one_that_was_dropped_by_a_panic() {
    let _watchdog = watchdog();
    for kind in KINDS {
        let panicked = std::panic::catch_unwind(|| {
            let runtime = kind.runtime();
            runtime.block_on(sleep(SOON));
            panic!("an ordinary panic");
        });
        assert!(panicked.is_err());
        let mut service = Box::pin(sleep(4 * SOON));
        for _ in 0..3 {
            let healthy = kind.runtime();
            healthy.begin(&mut service, Waker::noop());
        }
        kind.runtime().block_on(service);
    }
}

/// "A last attempt": nothing may be started on a runtime that ends.
#[test]
fn a_sleep_may_be_polled_in_a_destructor_as_its_runtime_ends() {
    struct PollsInDrop(Option<Pin<Box<Sleep>>>, Rc<RefCell<Vec<Pin<Box<Sleep>>>>>);
    impl Drop for PollsInDrop {
        fn drop(&mut self) {
            let mut sleep = self.0.take().unwrap();
            _ = poll_once(&mut sleep, Waker::noop());
            self.1.borrow_mut().push(sleep);
        }
    }

    let _watchdog = watchdog();
    for kind in [Kind::CompioIoUring, Kind::CompioPolling] {
        for early in [false, true] {
            let Runtime::Compio(runtime) = kind.runtime() else {
                unreachable!("it is Compio's");
            };
            let kept = Rc::default();
            runtime.block_on(async {
                if early {
                    sleep(SOON).await;
                }
                for _ in 0..2 {
                    let task = PollsInDrop(Some(Box::pin(sleep(4 * SOON))), Rc::clone(&kept));
                    compio::runtime::spawn(async move {
                        let _task = task;
                        std::future::pending::<()>().await
                    })
                    .detach();
                }
                compio::time::sleep(SOON).await;
            });
            drop(runtime);
            let next = kind.runtime();
            let kept = kept.take();
            assert_eq!(kept.len(), 2);
            for sleep in kept {
                next.block_on(sleep);
            }
        }
    }
}

/// A sleep reset between two polls in two runtimes has one deadline: the last.
#[test]
fn a_sleep_that_is_reset_before_it_moves_waits_for_the_new_deadline() {
    every_move(|from, to| {
        for first in [SOON, HOUR] {
            let mut sleep = Box::pin(sleep(first));
            from.begin(&mut sleep, Waker::noop());
            let then = Instant::now() + 2 * SOON;
            sleep.as_mut().reset(then);
            to.block_on(&mut sleep);
            assert!(Instant::now() >= then);
        }
    });
}

/// Time-outs and ticks move as sleeps do.
#[test]
fn a_timeout_and_an_interval_move_too() {
    every_move(|from, to| {
        let mut bounded = Box::pin(timeout(SOON, std::future::pending::<()>()));
        let start = Instant::now();
        let mut ticks: Interval = interval_at(start, SOON);
        let next = from.block_on(async {
            let timed_out = poll_once(&mut bounded, Waker::noop()).is_ready();
            assert_eq!(ticks.tick().await, start);
            let ticked = poll_once(&mut Box::pin(ticks.tick()), Waker::noop()).is_ready();
            // On a machine that is busy with something else.
            if timed_out {
                bounded = Box::pin(timeout(SOON, std::future::pending()));
            }
            start + SOON * if ticked { 2 } else { 1 }
        });
        drop(from);
        to.block_on(async {
            assert!(bounded.await.is_err());
            assert_eq!(ticks.tick().await, next);
        });
    });
}
