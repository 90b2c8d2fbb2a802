//! Futures with a bound on their time, on both runtimes.

mod support;

use std::{
    future::{pending, ready},
    io,
    pin::Pin,
    rc::Rc,
    task::Waker,
    time::Duration,
};

use landbridge::{
    test_util::both,
    time::{Elapsed, Instant, Timeout, timeout, timeout_at},
};
use support::{poll_once, watchdog};

const HOUR: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(5);

/// What it is for.
#[test]
fn a_future_that_takes_too_long_is_an_error_and_one_that_does_not_is_its_output() {
    let _watchdog = watchdog();
    both(async || {
        let start = Instant::now();
        assert!(timeout(SOON, pending::<()>()).await.is_err());
        assert!(start.elapsed() >= SOON);
        assert!(timeout_at(start + 3 * SOON, pending::<()>()).await.is_err());
        assert!(start.elapsed() >= 3 * SOON);
        assert_eq!(timeout(HOUR, landbridge::time::sleep(SOON)).await, Ok(()));
        assert_eq!(timeout(Duration::MAX, ready(7)).await, Ok(7));
    });
}

/// Time that is up is no reason to throw away what is there.
#[test]
fn a_future_that_is_ready_wins_over_time_that_is_up() {
    let _watchdog = watchdog();
    both(async || {
        assert_eq!(timeout(Duration::ZERO, ready(1)).await, Ok(1));
        let long_past = Instant::now();
        landbridge::time::sleep(SOON).await;
        assert_eq!(timeout_at(long_past, ready(2)).await, Ok(2));
        assert!(timeout(Duration::ZERO, pending::<()>()).await.is_err());
    });
}

/// `?` in a function that returns `io::Result` is where most of them are.
#[test]
fn elapsed_is_an_io_error_of_its_kind() {
    let _watchdog = watchdog();
    both(async || {
        async fn read() -> io::Result<u32> {
            Ok(timeout(Duration::ZERO, pending()).await?)
        }
        let error = read().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.get_ref().unwrap().is::<Elapsed>());
    });
}

/// The future is the caller's: a bound must neither keep it nor drop it early.
#[test]
fn the_future_goes_with_its_timeout_or_is_given_back() {
    let _watchdog = watchdog();
    both(async || {
        let alive = Rc::new(());
        let mut future = {
            let alive = Rc::clone(&alive);
            Box::pin(async move {
                pending::<()>().await;
                drop(alive);
            })
        };
        let mut bounded: Timeout<&mut Pin<Box<_>>> = timeout(SOON, &mut future);
        assert!(poll_once(&mut Pin::new(bounded.get_mut()), Waker::noop()).is_pending());
        let future_again = bounded.into_inner();
        assert!(timeout(SOON, future_again).await.is_err());
        assert_eq!(Rc::strong_count(&alive), 2);

        let mut bounded = Box::pin(timeout(SOON, future));
        assert!(bounded.as_mut().await.is_err());
        assert_eq!(Rc::strong_count(&alive), 2);
        drop(bounded);
        assert_eq!(Rc::strong_count(&alive), 1);
    });
}

/// A busy loop that yields to Tokio's budget only is what a time-out is needed for most.
#[test]
fn a_future_that_uses_up_tokios_budget_is_timed_out() {
    let _watchdog = watchdog();
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    tokio.block_on(async {
        let busy = async {
            loop {
                tokio::task::consume_budget().await;
            }
        };
        let timed_out: Result<(), Elapsed> = timeout(SOON, busy).await;
        assert!(timed_out.is_err());
    });
}
