//! hyper's timer on Compio: sleeps that are `Send`, made of timers that are not.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Barrier, mpsc},
    task::{Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use crate::io_support::on_each_driver;
use crate::support::{CountingWaker, poll_once, watchdog};
use compio::runtime::Runtime;
use futures::future::{Either, select};
use hyper::rt::{Sleep, Timer};
use hyper_util::rt::TokioTimer;
use landbridge::hyper::CompioTimer;

const HOUR: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(5);

type AnySleep = Pin<Box<dyn Sleep>>;

fn hour() -> AnySleep {
    CompioTimer.sleep(HOUR)
}

/// Polls once, within `runtime`.
fn begin(runtime: &Runtime, sleep: &mut AnySleep, waker: &Waker) {
    assert!(runtime.enter(|| poll_once(sleep, waker)).is_pending());
}

/// A waker, and what counts who has it.
fn counted() -> (Arc<CountingWaker>, Waker) {
    let counting = CountingWaker::new();
    (Arc::clone(&counting), Waker::from(counting))
}

/// What it is for.
#[test]
fn a_sleep_ends_no_earlier_than_its_deadline() {
    let _watchdog = watchdog();
    on_each_driver(|| async {
        let start = Instant::now();
        CompioTimer.sleep(SOON).await;
        assert!(start.elapsed() >= SOON);
        CompioTimer.sleep_until(start + 3 * SOON).await;
        assert!(start.elapsed() >= 3 * SOON);
        // Long past.
        CompioTimer.sleep_until(start).await;
    });
}

/// hyper resets one sleep over and over for a connection's keep-alive, in both directions.
#[test]
fn a_sleep_that_is_reset_waits_for_its_new_deadline_only() {
    let _watchdog = watchdog();
    on_each_driver(|| async {
        let mut sleep = hour();
        assert!(poll_once(&mut sleep, Waker::noop()).is_pending());
        let start = Instant::now();
        CompioTimer.reset(&mut sleep, start + SOON);
        sleep.as_mut().await;
        assert!(start.elapsed() >= SOON);

        CompioTimer.reset(&mut sleep, Instant::now() + SOON);
        let (counting, waker) = counted();
        assert!(poll_once(&mut sleep, &waker).is_pending());
        CompioTimer.reset(&mut sleep, Instant::now() + HOUR);
        CompioTimer.sleep(4 * SOON).await;
        assert_eq!(counting.wakes(), 0);
        assert!(poll_once(&mut sleep, &waker).is_pending());
    });
}

/// A future that a `select!` polls once more must not wait for another hour.
#[test]
fn a_sleep_that_has_ended_stays_so_until_it_is_reset() {
    let _watchdog = watchdog();
    on_each_driver(|| async {
        let mut sleep = CompioTimer.sleep(SOON);
        sleep.as_mut().await;
        assert!(poll_once(&mut sleep, Waker::noop()).is_ready());
        CompioTimer.reset(&mut sleep, Instant::now() + HOUR);
        assert!(poll_once(&mut sleep, Waker::noop()).is_pending());
    });
}

/// Each poll may come from another task.
#[test]
fn the_waker_of_the_last_poll_is_the_one_that_is_woken() {
    let _watchdog = watchdog();
    on_each_driver(|| async {
        let (first, first_waker) = counted();
        let (last, last_waker) = counted();
        let mut sleep = CompioTimer.sleep(SOON);
        assert!(poll_once(&mut sleep, &first_waker).is_pending());
        assert!(poll_once(&mut sleep, &last_waker).is_pending());
        CompioTimer.sleep(4 * SOON).await;
        assert_eq!((first.wakes(), last.wakes()), (0, 1));
        assert!(poll_once(&mut sleep, &last_waker).is_ready());
    });
}

/// A builder's timer may be swapped, and hyper hands whatever sleep it has to the new one.
#[test]
fn a_sleep_of_another_timer_is_replaced_when_it_is_reset() {
    let _watchdog = watchdog();
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let mut sleep = {
        let _context = tokio.enter();
        TokioTimer::new().sleep(HOUR)
    };
    CompioTimer.reset(&mut sleep, Instant::now());
    Runtime::new().unwrap().block_on(sleep);
}

/// hyper has no way to be told, and a timeout that never comes would be worse.
#[test]
fn a_sleep_polled_outside_of_compio_panics_with_the_cause() {
    fn panics(sleep: &mut AnySleep) {
        let polled = catch_unwind(AssertUnwindSafe(|| poll_once(sleep, Waker::noop())));
        let panic = polled.unwrap_err();
        let message = panic.downcast_ref::<&str>().unwrap();
        assert!(message.contains("CompioTimer"), "{message}");
        assert!(message.contains("TokioTimer"), "{message}");
    }

    let _watchdog = watchdog();
    let mut sleep = hour();
    panics(&mut sleep);
    let tokio = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    tokio.block_on(async { panics(&mut sleep) });
    // Also after it was set somewhere; and nothing is broken by it.
    let runtime = Runtime::new().unwrap();
    begin(&runtime, &mut sleep, Waker::noop());
    panics(&mut sleep);
    CompioTimer.reset(&mut sleep, Instant::now() + SOON);
    runtime.block_on(sleep);
}

/// The trait says `Send`, so somebody will; the old thread need not be running its loop any more.
#[test]
fn a_sleep_polled_on_another_thread_ends_there() {
    let _watchdog = watchdog();
    on_each_driver(|| async {
        let start = Instant::now();
        let mut sleep = CompioTimer.sleep(4 * SOON);
        assert!(poll_once(&mut sleep, Waker::noop()).is_pending());
        let there = thread::spawn(move || Runtime::new().unwrap().block_on(sleep));
        // Blocks this thread's loop.
        there.join().unwrap();
        assert!(start.elapsed() >= 4 * SOON);
    });
}

/// One thread may have several runtimes, one after the other and one inside the other; a timer of one
/// that nobody drives never fires.
#[test]
fn a_sleep_polled_in_another_runtime_of_the_thread_ends_there() {
    let _watchdog = watchdog();
    // Freed and made anew, a runtime may well lie where the one before lay.
    let mut sleep = CompioTimer.sleep(20 * SOON);
    for _ in 0..20 {
        let runtime = Runtime::new().unwrap();
        begin(&runtime, &mut sleep, Waker::noop());
    }
    let idle = Runtime::new().unwrap();
    begin(&idle, &mut sleep, Waker::noop());
    Runtime::new().unwrap().block_on(sleep);
}

/// What the thread keeps for a sleep that has left it is a task's waker, and so the task.
#[test]
fn what_a_sleep_left_on_its_thread_goes_when_the_next_timer_is_set_there() {
    let _watchdog = watchdog();
    let runtime = Runtime::new().unwrap();
    let (counting, waker) = counted();
    let mut moved = hour();
    let mut dropped = hour();
    begin(&runtime, &mut moved, &waker);
    begin(&runtime, &mut dropped, &waker);
    drop(waker);
    assert_eq!(Arc::strong_count(&counting), 3);

    let elsewhere = thread::spawn(move || {
        drop(dropped);
        begin(&Runtime::new().unwrap(), &mut moved, Waker::noop());
        moved
    });
    let mut moved = elsewhere.join().unwrap();
    begin(&runtime, &mut hour(), Waker::noop());
    assert_eq!(Arc::strong_count(&counting), 1);

    // It comes back, and goes here at once.
    let waker = Waker::from(Arc::clone(&counting));
    begin(&runtime, &mut moved, &waker);
    drop(waker);
    assert_eq!(Arc::strong_count(&counting), 2);
    drop(moved);
    assert_eq!(Arc::strong_count(&counting), 1);
}

/// The same, where no next timer ever comes.
#[test]
fn what_a_sleep_left_on_its_thread_goes_with_the_thread() {
    let _watchdog = watchdog();
    let (counting, waker) = counted();
    let (send, receive) = mpsc::channel();
    let thread = thread::spawn(move || {
        let runtime = Runtime::new().unwrap();
        let mut sleep = hour();
        begin(&runtime, &mut sleep, &waker);
        send.send(sleep).unwrap();
    });
    let sleep = receive.recv().unwrap();
    thread.join().unwrap();
    assert_eq!(Arc::strong_count(&counting), 1);
    // Its place is no more.
    drop(sleep);
}

/// hyper's connection may outlive the runtime that polled it: it is dropped wherever it lies.
#[test]
fn a_sleep_may_be_dropped_after_its_runtime() {
    let _watchdog = watchdog();
    let (counting, waker) = counted();
    let mut sleep = hour();
    begin(&Runtime::new().unwrap(), &mut sleep, &waker);
    drop(waker);
    drop(sleep);
    assert_eq!(Arc::strong_count(&counting), 1);
}

/// A waker's destructor may drop the last of a task, and with it other sleeps of the same thread.
#[test]
fn a_sleep_may_be_dropped_by_the_waker_of_another() {
    use std::{sync::Mutex, task::Wake};

    /// Has another sleep, which goes with it.
    struct Owns {
        _other: Mutex<AnySleep>,
    }

    impl Wake for Owns {
        fn wake(self: Arc<Self>) {}
    }

    let _watchdog = watchdog();
    let runtime = Runtime::new().unwrap();
    // Not within the timers of one runtime: Compio's own would not survive that.
    let other_runtime = Runtime::new().unwrap();
    for replace in [true, false] {
        let mut other = hour();
        begin(&other_runtime, &mut other, Waker::noop());
        let waker = Waker::from(Arc::new(Owns {
            _other: Mutex::new(other),
        }));
        let mut sleep = hour();
        begin(&runtime, &mut sleep, &waker);
        drop(waker);
        if replace {
            begin(&runtime, &mut sleep, Waker::noop());
        }
        drop(sleep);
    }
    runtime.block_on(CompioTimer.sleep(SOON));
}

/// "For ever" is said in this way.
#[test]
fn the_longest_duration_neither_ends_nor_holds_up_others() {
    let _watchdog = watchdog();
    on_each_driver(|| async {
        let for_ever = CompioTimer.sleep(Duration::MAX);
        match select(for_ever, CompioTimer.sleep(SOON)).await {
            Either::Left(_) => panic!("it ended"),
            Either::Right(((), mut for_ever)) => {
                assert!(poll_once(&mut for_ever, Waker::noop()).is_pending());
                // Alone, so that the driver is given that very timeout.
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

/// Everything at once: sleeps go round and round between threads while they come to their end, some
/// reset, some dropped.
#[test]
fn no_sleep_is_lost_among_threads() {
    const THREADS: usize = 4;
    const SLEEPS: usize = 200;

    let _watchdog = watchdog();
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..THREADS).map(|_| mpsc::channel::<AnySleep>()).unzip();
    let barrier = Arc::new(Barrier::new(THREADS));
    let threads: Vec<_> = receivers
        .into_iter()
        .enumerate()
        .map(|(index, receiver)| {
            let next = senders[(index + 1) % THREADS].clone();
            let barrier = Arc::clone(&barrier);
            thread::spawn(move || {
                let runtime = Runtime::new().unwrap();
                let mut ended = 0;
                for round in 0..SLEEPS {
                    let until = Duration::from_micros((round * 37 % 5000) as u64);
                    next.send(CompioTimer.sleep(until)).unwrap();
                    let mut sleep = receiver.recv().unwrap();
                    match runtime.enter(|| poll_once(&mut sleep, Waker::noop())) {
                        Poll::Ready(()) => ended += 1,
                        Poll::Pending if round % 7 == 0 => drop(sleep),
                        Poll::Pending if round % 5 == 0 => {
                            CompioTimer.reset(&mut sleep, Instant::now() + SOON);
                            next.send(sleep).unwrap();
                        }
                        Poll::Pending => next.send(sleep).unwrap(),
                    }
                }
                barrier.wait();
                drop(next);
                // What is under way now ends here, with the runtime driven.
                for sleep in receiver.try_iter() {
                    runtime.block_on(sleep);
                    ended += 1;
                }
                ended
            })
        })
        .collect();
    drop(senders);
    let ended: usize = threads.into_iter().map(|t| t.join().unwrap()).sum();
    assert!(ended > 0);
}
