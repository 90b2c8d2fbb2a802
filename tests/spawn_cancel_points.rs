//! Cancelled everywhere: each waiting future is dropped after each number of polls, and each piece of
//! work at each of its await points. Nothing leaks, nothing is dropped twice, nothing hangs.

mod support;

use std::{
    future::{Future, pending},
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::Waker,
    thread,
    time::Duration,
};

use futures::channel::oneshot;
use landbridge::{CompioPool, TokioHandleExt, error::JoinError};
use support::{
    OnDrop, Tally, assert_lives, block_on, eventually, for_each_driver, poll_once, poll_times,
    watchdog,
};

const POLLS: usize = 5;

/// Polls `future` up to `polls` times, whether it was woken or not, and drops it. Calls `turn` before
/// each poll and before the drop.
fn drop_after<F: Future>(polls: usize, future: F, mut turn: impl FnMut(usize)) -> bool {
    let mut future = Box::pin(future);
    for poll in 0..polls {
        turn(poll);
        if poll_once(&mut future, Waker::noop()).is_ready() {
            return true;
        }
    }
    turn(polls);
    false
}

/// For each number of polls, and for the work finishing before each of them: the waiting future is
/// dropped, and whatever crossed is dropped once.
fn each_way(
    pool: &CompioPool,
    wait: impl Fn(&CompioPool, Box<dyn FnOnce() -> Work + Send>, usize, &mut dyn FnMut(usize)) -> bool,
    goes_on: bool,
) {
    for polls in 0..POLLS {
        for finish_at in 0..=POLLS {
            let (captures, outputs) = (Tally::new(), Tally::new());
            let (go, may_go) = oneshot::channel::<()>();
            let mut go = Some(go);
            let (capture, made) = (captures.make(), outputs.clone());
            let ran = Arc::new(AtomicUsize::new(0));
            let seen = ran.clone();
            let work = Box::new(move || -> Work {
                Box::pin(async move {
                    let _capture = capture;
                    let _local = Rc::new(());
                    support::yield_now().await;
                    if may_go.await.is_err() {
                        pending::<()>().await;
                    }
                    seen.fetch_add(1, Ordering::SeqCst);
                    made.make()
                })
            });
            let ready = wait(pool, work, polls, &mut |poll| {
                if poll == finish_at {
                    _ = go.take().unwrap().send(());
                    // Now and then it gets through before the next poll.
                    if finish_at % 2 == 0 {
                        eventually("the work ends or is gone", || {
                            ran.load(Ordering::SeqCst) == 1 || captures.alive() == 0 || poll == 0
                        });
                    }
                }
            });
            if goes_on && !ready {
                // Nobody waits any more; the work does not know.
                if let Some(go) = go.take() {
                    _ = go.send(());
                }
            }
            drop(go);
            eventually("captures", || captures.alive() == 0);
            eventually("outputs", || outputs.alive() == 0);
            assert_eq!(captures.made(), 1);
        }
    }
    assert_lives(pool);
}

type Work = std::pin::Pin<Box<dyn Future<Output = support::Counted>>>;

/// `run`: the work is cancelled with it.
#[test]
fn run_may_be_dropped_after_any_number_of_polls() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        each_way(
            &pool,
            |pool, work, polls, turn| drop_after(polls, pool.run(work), turn),
            false,
        );
        assert_eq!(pool.metrics().workers[0].in_flight, 0);
    });
}

/// `JoinHandle`: the work goes on.
#[test]
fn a_join_handle_may_be_dropped_after_any_number_of_polls() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        each_way(
            &pool,
            |pool, work, polls, turn| drop_after(polls, pool.spawn(work), turn),
            true,
        );
    });
}

/// `cancel`: from the first poll on the work is cancelled, also if the wait for it is given up.
#[test]
fn a_cancel_may_be_dropped_after_any_number_of_polls() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        each_way(
            &pool,
            |pool, work, polls, turn| drop_after(polls, pool.spawn(work).cancel(), turn),
            true,
        );
    });
}

/// `shutdown`: not taken back, whenever it is dropped; nothing that runs is lost while there is
/// another clone.
#[test]
fn a_shutdown_may_be_dropped_after_any_number_of_polls() {
    for_each_driver(|builder| {
        for polls in 0..POLLS {
            for finish_at in 0..=POLLS {
                let pool = builder().build().unwrap();
                let (go, may_go) = oneshot::channel::<()>();
                let mut go = Some(go);
                let handle = pool.spawn(async move || may_go.await.is_ok());
                drop_after(polls, pool.shutdown(), |poll| {
                    if poll == finish_at {
                        go.take().unwrap().send(()).unwrap();
                    }
                });
                assert_eq!(pool.is_shutdown(), polls > 0);
                if let Some(go) = go.take() {
                    go.send(()).unwrap();
                }
                assert!(block_on(handle).unwrap());
                block_on(pool.shutdown());
            }
        }
    });
}

/// `TokioHandleExt::run`, on a runtime of several threads and in place.
#[test]
fn a_run_on_tokio_may_be_dropped_after_any_number_of_polls() {
    let _watchdog = watchdog();
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let each = |handle: tokio::runtime::Handle| {
        for polls in 0..POLLS {
            for finish_at in 0..=POLLS {
                let tally = Tally::new();
                let (go, may_go) = oneshot::channel::<()>();
                let mut go = Some(go);
                let (local, outputs) = (tally.make(), tally.clone());
                let run = handle.run(async move {
                    let _local = local;
                    support::yield_now().await;
                    _ = may_go.await;
                    outputs.make()
                });
                drop_after(polls, run, |poll| {
                    if poll == finish_at {
                        _ = go.take().unwrap().send(());
                    }
                });
                eventually("all is dropped", || tally.alive() == 0);
            }
        }
    };
    each(tokio.handle().clone());
    let handle = tokio.handle().clone();
    block_on(tokio.spawn(async move { each(handle) })).unwrap();
}

/// The polite waiter: polled only when woken, dropped after its k-th poll. Each wake-up must lead
/// somewhere: two polls are enough for any of them.
#[test]
fn two_polls_are_enough_for_a_waiter_that_is_polled_only_when_woken() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let slow = async || {
            compio::time::sleep(Duration::from_millis(1)).await;
            7
        };
        for _ in 0..20 {
            assert_eq!(poll_times(pool.run(slow), 2).unwrap().unwrap(), 7);
            assert_eq!(poll_times(pool.spawn(slow), 2).unwrap().unwrap(), 7);
            let endless = pool.spawn(async || pending::<()>().await);
            assert!(poll_times(endless.cancel(), 2).unwrap().is_err());
        }
        poll_times(pool.shutdown(), 2).unwrap();
    });
}

/// How a job may lose its life.
#[derive(Clone, Copy, Debug)]
enum Death {
    Abort,
    Cancel,
    DropRun,
    DropPool,
    Panic,
}

/// The work stops at its k-th await point, for each k, holding what it has acquired so far; then it
/// dies, each way there is. All of it is given back, on its own worker, and nothing after that point
/// has run.
#[test]
fn work_may_be_cancelled_at_each_of_its_await_points() {
    const POINTS: usize = 6;

    for_each_driver(|builder| {
        for point in 0..POINTS {
            for death in [
                Death::Abort,
                Death::Cancel,
                Death::DropRun,
                Death::DropPool,
                Death::Panic,
            ] {
                let pool = builder().build().unwrap();
                let reached = Arc::new(AtomicUsize::new(0));
                let graves = Arc::new(Mutex::new(Vec::new()));
                let (seen, drops) = (reached.clone(), graves.clone());
                let (kill, killed) = oneshot::channel::<()>();
                let work = async move || {
                    let home = thread::current().id();
                    let mut held = Vec::new();
                    let mut killed = Some(killed);
                    for n in 0..POINTS {
                        let drops = drops.clone();
                        held.push(OnDrop::new(move || {
                            let here = thread::current().id();
                            drops.lock().unwrap().push((n, home == here));
                        }));
                        seen.fetch_add(1, Ordering::SeqCst);
                        if n == point {
                            match killed.take().unwrap().await {
                                Ok(()) => std::panic::resume_unwind(Box::new(())),
                                Err(oneshot::Canceled) => pending::<()>().await,
                            }
                        }
                        match n % 4 {
                            0 => support::yield_now().await,
                            1 => compio::time::sleep(Duration::from_micros(10)).await,
                            2 => drop(compio::fs::metadata("Cargo.toml").await.unwrap()),
                            _ => drop(compio::runtime::spawn(async {}).await),
                        }
                    }
                };
                let is_there = || {
                    eventually("the point", || reached.load(Ordering::SeqCst) == point + 1);
                };
                match death {
                    Death::Abort => {
                        let handle = pool.spawn(work);
                        is_there();
                        handle.abort();
                        assert!(matches!(block_on(handle), Err(JoinError::Cancelled)));
                    }
                    Death::Cancel => {
                        let handle = pool.spawn(work);
                        is_there();
                        assert!(matches!(
                            block_on(handle.cancel()),
                            Err(JoinError::Cancelled)
                        ));
                        assert_eq!(graves.lock().unwrap().len(), point + 1);
                    }
                    Death::DropRun => {
                        let mut run = pool.run(work);
                        assert!(poll_once(&mut run, Waker::noop()).is_pending());
                        is_there();
                        drop(run);
                    }
                    Death::DropPool => {
                        let handle = pool.spawn(work);
                        is_there();
                        drop(pool);
                        assert!(matches!(block_on(handle), Err(JoinError::RuntimeGone)));
                    }
                    Death::Panic => {
                        let handle = pool.spawn(work);
                        is_there();
                        kill.send(()).unwrap();
                        assert!(matches!(block_on(handle), Err(JoinError::Panicked(_))));
                    }
                }
                eventually("all is given back", || {
                    graves.lock().unwrap().len() == point + 1
                });
                assert!(graves.lock().unwrap().iter().all(|(_, at_home)| *at_home));
                assert_eq!(reached.load(Ordering::SeqCst), point + 1);
            }
        }
    });
}
