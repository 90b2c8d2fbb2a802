//! The same work on every worker.

mod support;

use std::{
    future::pending,
    panic::resume_unwind,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::Waker,
    thread,
};

use landbridge::{CompioHandle, error::JoinError, test_util::both};
use support::{OnDrop, Tally, assert_lives, block_on, eventually, for_each_driver, poll_once};

/// One call on each worker, on its own thread, and the results where they belong.
#[test]
fn every_worker_is_asked_once_and_answers_in_its_place() {
    for_each_driver(|builder| {
        both(async || {
            let pool = builder().threads(4).build().unwrap();
            let calls = Arc::new(AtomicUsize::new(0));
            let seen = calls.clone();
            let results = pool.broadcast(move |index| {
                let stays = Rc::new(index);
                seen.fetch_add(1, Ordering::SeqCst);
                async move {
                    // The later the worker, the earlier its answer.
                    for _ in 0..(4 - *stays) * 10 {
                        support::yield_now().await;
                    }
                    (
                        *stays,
                        CompioHandle::current().unwrap().index(),
                        thread::current().id(),
                    )
                }
            });
            let results = results
                .await
                .into_iter()
                .map(Result::unwrap)
                .collect::<Vec<_>>();
            let places = results.iter().map(|(index, worker, _)| (*index, *worker));
            assert_eq!(places.collect::<Vec<_>>(), [(0, 0), (1, 1), (2, 2), (3, 3)]);
            let mut threads = results
                .iter()
                .map(|(.., thread)| *thread)
                .collect::<Vec<_>>();
            threads.dedup();
            assert_eq!(threads.len(), 4);
            assert_eq!(calls.load(Ordering::SeqCst), 4);
        });
    });
}

/// Like `run`.
#[test]
fn a_broadcast_does_nothing_before_its_first_poll() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).build().unwrap();
        let tally = Tally::new();
        let counted = tally.make();
        drop(pool.broadcast(move |_| {
            _ = &counted;
            async {}
        }));
        assert_eq!(tally.alive(), 0);
        let completed = pool
            .metrics()
            .workers
            .iter()
            .map(|w| w.completed)
            .sum::<u64>();
        assert_eq!(completed, 0);
    });
}

/// One share's misfortune is its own.
#[test]
fn a_share_that_panics_costs_the_others_nothing() {
    for_each_driver(|builder| {
        let pool = builder().threads(3).build().unwrap();
        let results = block_on(pool.broadcast(async |index| {
            support::yield_now().await;
            if index == 1 {
                resume_unwind(Box::new("the middle one"));
            }
            index
        }));
        assert!(matches!(
            &results[..],
            [Ok(0), Err(JoinError::Panicked(_)), Ok(2)]
        ));
        let results = block_on(pool.broadcast(|index| -> std::future::Ready<usize> {
            if index == 0 {
                resume_unwind(Box::new(()))
            } else {
                std::future::ready(index)
            }
        }));
        assert!(matches!(
            &results[..],
            [Err(JoinError::Panicked(_)), Ok(1), Ok(2)]
        ));
        assert_lives(&pool);
    });
}

/// Structured: every share ends with the one who waits, on its own thread.
#[test]
fn a_dropped_broadcast_is_cancelled_on_every_worker() {
    for_each_driver(|builder| {
        let pool = builder().threads(3).build().unwrap();
        for polls in 0..3 {
            let (started, graves) = (
                Arc::new(AtomicUsize::new(0)),
                Arc::new(Mutex::new(Vec::new())),
            );
            let tally = Tally::new();
            let (seen, drops, counted) = (started.clone(), graves.clone(), tally.make());
            let mut broadcast = pool.broadcast(move |index| {
                _ = &counted;
                let (drops, home) = (drops.clone(), thread::current().id());
                let grave = OnDrop::new(move || {
                    assert_eq!(home, thread::current().id());
                    drops.lock().unwrap().push(index);
                });
                seen.fetch_add(1, Ordering::SeqCst);
                async move {
                    let _grave = grave;
                    // One is done, and its result is not wanted any more.
                    if index > 0 {
                        pending::<()>().await;
                    }
                }
            });
            for _ in 0..polls {
                assert!(poll_once(&mut broadcast, Waker::noop()).is_pending());
                eventually("all have begun", || started.load(Ordering::SeqCst) == 3);
            }
            drop(broadcast);
            eventually("the closure is gone", || tally.alive() == 0);
            let expected = if polls == 0 { 0 } else { 3 };
            eventually("all are dropped", || {
                graves.lock().unwrap().len() == expected
            });
            assert_eq!(started.load(Ordering::SeqCst), expected);
        }
        assert_lives(&pool);
    });
}

/// A place for each share, one after the other: a bound below the number of workers is no deadlock.
#[test]
fn a_broadcast_gets_through_a_bound_below_the_number_of_workers() {
    for_each_driver(|builder| {
        let pool = builder().threads(3).max_in_flight(1).build().unwrap();
        let results = block_on(pool.broadcast(async |index| {
            support::yield_now().await;
            index
        }));
        assert!(matches!(&results[..], [Ok(0), Ok(1), Ok(2)]));
        // Also from a job of the pool, which holds the only place.
        let inner = pool.clone();
        let results = block_on(pool.run(async move || inner.broadcast(async |index| index).await));
        assert!(matches!(&results.unwrap()[..], [Ok(0), Ok(1), Ok(2)]));
        assert!(pool.try_spawn(async || ()).is_ok());
    });
}

/// Never a hang: not when the pool goes while shares run, and not when it had gone before.
#[test]
fn a_pool_that_goes_away_ends_every_share() {
    for_each_driver(|builder| {
        let pool = builder().threads(3).build().unwrap();
        let started = Arc::new(AtomicUsize::new(0));
        let seen = started.clone();
        let work = move |index| {
            seen.fetch_add(1, Ordering::SeqCst);
            async move {
                if index > 0 {
                    pending::<()>().await;
                }
            }
        };
        let mut running = pool.broadcast(work.clone());
        let late = pool.broadcast(work);
        assert!(poll_once(&mut running, Waker::noop()).is_pending());
        eventually("all have begun", || started.load(Ordering::SeqCst) == 3);
        eventually("the first has ended", || {
            pool.metrics().workers[0].completed == 1
        });
        drop(pool);
        let results = block_on(running);
        assert!(matches!(
            &results[..],
            [
                Ok(()),
                Err(JoinError::RuntimeGone),
                Err(JoinError::RuntimeGone)
            ]
        ));
        let results = block_on(late);
        assert_eq!(results.len(), 3);
        assert!(
            results
                .iter()
                .all(|result| matches!(result, Err(JoinError::RuntimeGone)))
        );
    });
}
