//! `shutdown` drains: it takes nothing new and loses nothing old.

mod support;

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::Waker,
    thread,
    time::Duration,
};

use futures::channel::oneshot;
use landbridge::{error::JoinError, pool::Shutdown, test_util::both};
use support::{Tally, assert_lives, block_on, eventually, for_each_driver, hold, poll_once};

/// Started, waiting for I/O, waiting for somebody else, and queued: all of it is finished.
#[test]
fn shutdown_finishes_started_and_queued_work() {
    for_each_driver(|builder| {
        both(async || {
            let pool = builder().threads(2).build().unwrap();
            let (go, may_go) = oneshot::channel::<()>();
            let done = Arc::new(AtomicUsize::new(0));
            let mut handles = Vec::new();
            let seen = done.clone();
            handles.push(pool.spawn(async move || {
                may_go.await.unwrap();
                seen.fetch_add(1, Ordering::SeqCst);
            }));
            let held = hold(&pool);
            for _ in 0..200 {
                let seen = done.clone();
                handles.push(pool.spawn(async move || {
                    compio::time::sleep(Duration::from_millis(1)).await;
                    compio::fs::metadata("Cargo.toml").await.unwrap();
                    seen.fetch_add(1, Ordering::SeqCst);
                }));
            }
            let mut shutdown = pool.shutdown();
            assert!(!pool.is_shutdown(), "nothing happens before the first poll");
            assert!(
                futures::future::poll_immediate(&mut shutdown)
                    .await
                    .is_none()
            );
            assert!(pool.is_shutdown());
            drop(held);
            go.send(()).unwrap();
            shutdown.await;
            assert_eq!(done.load(Ordering::SeqCst), 201);
            for handle in handles {
                assert!(handle.is_finished());
                handle.await.unwrap();
            }
            let metrics = pool.metrics();
            assert_eq!(metrics.total(|worker| worker.in_flight as u64), 0);
            assert_eq!(metrics.total(|worker| worker.leaked_runtimes), 0);
        });
    });
}

/// While it drains, newcomers are refused, from outside and from inside; those inside go on.
#[test]
fn a_pool_that_drains_refuses_new_work_from_everywhere() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (go, may_go) = oneshot::channel::<()>();
        let inner = pool.clone();
        let handle = pool.spawn(async move || {
            may_go.await.unwrap();
            let refused = inner.run(async || ()).await;
            matches!(refused, Err(JoinError::RuntimeGone))
        });
        assert_lives(&pool);
        let mut shutdown = pool.shutdown();
        assert!(poll_once(&mut shutdown, Waker::noop()).is_pending());
        assert!(matches!(
            block_on(pool.run(async || ())),
            Err(JoinError::RuntimeGone)
        ));
        assert!(matches!(
            block_on(pool.clone().spawn(async || ())),
            Err(JoinError::RuntimeGone)
        ));
        go.send(()).unwrap();
        block_on(shutdown);
        assert!(block_on(handle).unwrap());
    });
}

/// A signal handler and the end of `main` may both call it.
#[test]
fn shutdown_may_be_called_twice_and_by_many_at_once() {
    for_each_driver(|builder| {
        both(async || {
            let pool = builder().threads(2).build().unwrap();
            let (go, may_go) = oneshot::channel::<()>();
            let handle = pool.spawn(async move || may_go.await.unwrap());
            let threads = (0..4)
                .map(|_| {
                    let pool = pool.clone();
                    thread::spawn(move || block_on(pool.shutdown()))
                })
                .collect::<Vec<_>>();
            let mut all = futures::future::join_all((0..4).map(|_| pool.shutdown()));
            assert!(futures::future::poll_immediate(&mut all).await.is_none());
            go.send(()).unwrap();
            all.await;
            handle.await.unwrap();
            pool.shutdown().await;
            for thread in threads {
                thread.join().unwrap();
            }
        });
    });
}

/// A job that shuts its own pool down would wait for itself if it were waited for.
#[test]
fn a_job_may_shut_its_own_pool_down_and_goes_on() {
    for_each_driver(|builder| {
        for threads in [1, 3] {
            let pool = builder().threads(threads).build().unwrap();
            let (go, may_go) = oneshot::channel::<()>();
            let others = Arc::new(AtomicUsize::new(0));
            let seen = others.clone();
            let other = pool.spawn(async move || {
                may_go.await.unwrap();
                compio::time::sleep(Duration::from_millis(2)).await;
                seen.fetch_add(1, Ordering::SeqCst);
            });
            let (inner, seen) = (pool.clone(), others.clone());
            let caller = pool.spawn(async move || {
                go.send(()).unwrap();
                inner.shutdown().await;
                let drained = seen.load(Ordering::SeqCst);
                // It goes on, and may still wait for its runtime.
                compio::time::sleep(Duration::from_millis(2)).await;
                inner.shutdown().await;
                drained
            });
            assert_eq!(block_on(caller).unwrap(), 1, "the others are waited for");
            block_on(other).unwrap();
            block_on(pool.shutdown());
        }
    });
}

/// Two jobs, on different workers, that shut their pool down: neither may wait for the other.
#[test]
fn several_jobs_may_shut_their_own_pool_down_at_once() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).build().unwrap();
        let callers = (0..6)
            .map(|_| {
                let inner = pool.clone();
                pool.spawn(async move || inner.shutdown().await)
            })
            .collect::<Vec<_>>();
        let mut refused = 0;
        for caller in callers {
            match block_on(caller) {
                Ok(()) => {}
                Err(JoinError::RuntimeGone) => refused += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        assert!(refused < 6);
        block_on(pool.shutdown());
    });
}

/// A job of one pool that shuts the other down waits for all of it.
#[test]
fn a_job_of_another_pool_waits_for_the_whole_end() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).build().unwrap();
        let other = builder().build().unwrap();
        let tally = Tally::new();
        let release = hold(&pool);
        for _ in 0..20 {
            let counted = tally.make();
            drop(pool.spawn(async move || {
                support::yield_now().await;
                drop(counted);
            }));
        }
        let inner = pool.clone();
        let seen = tally.clone();
        let caller = other.spawn(async move || {
            inner.shutdown().await;
            seen.alive()
        });
        drop(release);
        assert_eq!(block_on(caller).unwrap(), 0);
        assert_lives(&other);
    });
}

/// Giving up the wait does not take the shutdown back; while there are other clones it drains on.
#[test]
fn a_shutdown_dropped_half_way_goes_on() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (go, may_go) = oneshot::channel::<()>();
        let handle = pool.spawn(async move || may_go.await.unwrap());
        assert_lives(&pool);
        let mut shutdown = pool.shutdown();
        assert!(poll_once(&mut shutdown, Waker::noop()).is_pending());
        drop(shutdown);
        assert!(pool.is_shutdown());
        go.send(()).unwrap();
        block_on(handle).unwrap();
        block_on(pool.shutdown());
    });
}

/// A shutdown that was never polled has done nothing.
#[test]
fn a_shutdown_dropped_before_its_first_poll_does_nothing() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        drop(pool.shutdown());
        assert!(!pool.is_shutdown());
        assert_lives(&pool);
    });
}

/// The future of the shutdown is a clone like any other: it keeps what it drains from being cancelled,
/// and when it is dropped as the last one, what still runs is.
#[test]
fn a_shutdown_that_holds_the_last_clone_drains_and_cancels_when_dropped() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (go, may_go) = oneshot::channel::<()>();
        let handle = pool.spawn(async move || may_go.await.unwrap());
        assert_lives(&pool);
        let mut shutdown = pool.shutdown();
        drop(pool);
        assert!(poll_once(&mut shutdown, Waker::noop()).is_pending());
        go.send(()).unwrap();
        block_on(shutdown);
        block_on(handle).unwrap();

        let pool = builder().build().unwrap();
        let handle = pool.spawn(async || pending::<()>().await);
        assert_lives(&pool);
        let mut shutdown = pool.shutdown();
        drop(pool);
        assert!(poll_once(&mut shutdown, Waker::noop()).is_pending());
        drop(shutdown);
        assert!(matches!(block_on(handle), Err(JoinError::RuntimeGone)));
    });
}

/// Work that is cancelled while the pool drains is done with, too.
#[test]
fn aborts_during_a_drain_let_it_finish() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).build().unwrap();
        let handles = (0..100)
            .map(|_| pool.spawn(async || pending::<()>().await))
            .collect::<Vec<_>>();
        let mut shutdown = pool.shutdown();
        assert!(poll_once(&mut shutdown, Waker::noop()).is_pending());
        for handle in &handles {
            handle.abort();
        }
        block_on(shutdown);
        for handle in handles {
            assert!(matches!(block_on(handle), Err(JoinError::Cancelled)));
        }
    });
}

/// A shutdown that waits is woken through whatever waker it was last polled with.
#[test]
fn a_shutdown_that_moves_between_tasks_is_woken_where_it_is() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let release = hold(&pool);
        let mut shutdown = pool.shutdown();
        let [first, last] = [support::CountingWaker::new(), support::CountingWaker::new()];
        assert!(poll_once(&mut shutdown, &Waker::from(first)).is_pending());
        assert!(poll_once(&mut shutdown, &Waker::from(last.clone())).is_pending());
        drop(release);
        last.wait_for(1);
        assert!(poll_once(&mut shutdown, Waker::noop()).is_ready());
    });
}

/// What a job started with Compio's own `spawn` is not waited for, and says so in the docs.
#[test]
fn compios_own_tasks_are_not_waited_for() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let tally = Tally::new();
        let counted = tally.make();
        let (tell, told) = mpsc::channel::<()>();
        block_on(pool.run(async move || {
            compio::runtime::spawn(async move {
                let _counted = counted;
                pending::<()>().await;
                tell.send(()).unwrap();
            })
            .detach();
        }))
        .unwrap();
        block_on(pool.shutdown());
        assert_eq!(tally.alive(), 0);
        assert!(told.recv().is_err());
    });
}

/// Submitters that race with the shutdown: each gets its result or a refusal, none hangs, and every
/// closure is dropped.
#[test]
fn submitters_that_race_with_a_shutdown_get_a_result_or_a_refusal() {
    for_each_driver(|builder| {
        for _ in 0..20 {
            let pool = builder().threads(2).build().unwrap();
            let tally = Tally::new();
            let ran = Arc::new(AtomicUsize::new(0));
            let accepted = Arc::new(AtomicUsize::new(0));
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        loop {
                            let (counted, seen) = (tally.make(), ran.clone());
                            let result = block_on(pool.spawn(async move || {
                                seen.fetch_add(1, Ordering::SeqCst);
                                drop(counted);
                            }));
                            match result {
                                Ok(()) => accepted.fetch_add(1, Ordering::SeqCst),
                                Err(JoinError::RuntimeGone) => break,
                                Err(other) => panic!("{other:?}"),
                            };
                        }
                    });
                }
                eventually("some are through", || accepted.load(Ordering::SeqCst) > 10);
                block_on(pool.shutdown());
            });
            assert_eq!(ran.load(Ordering::SeqCst), accepted.load(Ordering::SeqCst));
            assert_eq!(tally.alive(), 0);
        }
    });
}

/// A job that is handed a shutdown which has begun elsewhere would otherwise wait for its own end.
#[test]
fn a_shutdown_that_moves_into_a_job_waits_for_the_other_jobs_only() {
    for_each_driver(|builder| {
        let _watchdog = support::watchdog();
        let pool = builder().build().unwrap();
        let (hand_over, handed_over) = oneshot::channel::<Shutdown>();
        let job = pool.spawn(async move || {
            handed_over.await.unwrap().await;
            7
        });
        let mut shutdown = pool.shutdown();
        assert!(poll_once(&mut shutdown, Waker::noop()).is_pending());
        hand_over.send(shutdown).unwrap();
        assert_eq!(block_on(job).unwrap(), 7);
        block_on(pool.shutdown());
    });
}

/// Outside of the pool a shutdown is over when everything is, whoever began it.
#[test]
fn a_shutdown_that_moves_out_of_a_job_waits_for_that_job() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (hand_over, handed_over) = oneshot::channel::<Shutdown>();
        let (go, may_go) = oneshot::channel::<()>();
        let inner = pool.clone();
        let job = pool.spawn(async move || {
            let mut shutdown = inner.shutdown();
            assert!(poll_once(&mut shutdown, Waker::noop()).is_pending());
            hand_over.send(shutdown).unwrap();
            may_go.await.unwrap();
        });
        let mut shutdown = block_on(handed_over).unwrap();
        for _ in 0..10_000 {
            assert!(poll_once(&mut shutdown, Waker::noop()).is_pending());
            thread::yield_now();
        }
        go.send(()).unwrap();
        block_on(shutdown);
        assert!(job.is_finished());
    });
}

/// A pool may drain for long: it keeps the waker of the last poll, and none of those who gave up.
#[test]
fn a_shutdown_keeps_one_waker_and_none_when_dropped() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let release = hold(&pool);
        let mut shutdown = pool.shutdown();
        let wakers = [(); 3].map(|()| support::CountingWaker::new());
        for waker in &wakers {
            assert!(poll_once(&mut shutdown, &Waker::from(waker.clone())).is_pending());
        }
        assert_eq!(wakers.each_ref().map(Arc::strong_count), [1, 1, 2]);
        drop(shutdown);
        assert_eq!(wakers.each_ref().map(Arc::strong_count), [1, 1, 1]);
        drop(release);
        block_on(pool.shutdown());
        assert_eq!(wakers.each_ref().map(|waker| waker.wakes()), [0, 0, 0]);
    });
}
