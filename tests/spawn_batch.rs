//! Many closures at once, and their results as they come.

mod support;

use std::{
    collections::HashSet,
    future::pending,
    panic::resume_unwind,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
};

use futures::{Stream, StreamExt, channel::oneshot, stream::FusedStream};
use landbridge::{CompioHandle, CompioPool, error::JoinError, spawn::RunBatch};
use support::{
    CountingWaker, OnDrop, Tally, assert_lives, block_on, eventually, for_each_driver, hold,
    yield_now,
};

fn poll_next<S: Stream + Unpin>(stream: &mut S, waker: &Waker) -> Poll<Option<S::Item>> {
    Pin::new(stream).poll_next(&mut Context::from_waker(waker))
}

fn collect<T: Send + 'static>(batch: RunBatch<T>) -> Vec<Result<T, JoinError>> {
    block_on(batch.collect())
}

/// What it is for: each result once, and which job's it is.
#[test]
fn every_job_of_a_batch_brings_its_result() {
    for_each_driver(|builder| {
        for threads in [1, 3] {
            let pool = builder().threads(threads).build().unwrap();
            let jobs = (0..500).map(|n| {
                async move || {
                    if n % 7 == 0 {
                        compio::fs::metadata("Cargo.toml").await.unwrap();
                    }
                    n
                }
            });
            let batch = pool.run_batch(jobs).enumerate_jobs();
            assert_eq!(batch.size_hint(), (500, Some(500)));
            let mut got: Vec<_> = block_on(batch.collect::<Vec<_>>());
            got.sort_by_key(|(job, _)| *job);
            for (n, (job, result)) in got.into_iter().enumerate() {
                assert_eq!((job, result.unwrap()), (n, n));
            }
        }
    });
}

/// A loop over nothing is no special case for the caller.
#[test]
fn an_empty_batch_ends_at_once() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let mut batch = pool.run_batch(std::iter::empty::<fn() -> std::future::Ready<()>>());
        assert_eq!(batch.size_hint(), (0, Some(0)));
        for _ in 0..2 {
            assert!(matches!(
                poll_next(&mut batch, Waker::noop()),
                Poll::Ready(None)
            ));
        }
    });
}

/// A query engine's batch may be that large.
#[test]
fn a_hundred_thousand_jobs_all_come_back() {
    const JOBS: usize = 100_000;

    for_each_driver(|builder| {
        let pool = builder().threads(2).build().unwrap();
        let sum: usize = block_on(
            pool.run_batch((0..JOBS).map(|n| async move || n))
                .map(Result::unwrap)
                .fold(0, async |sum, n| sum + n),
        );
        assert_eq!(sum, JOBS * (JOBS - 1) / 2);
        let metrics = pool.metrics();
        assert_eq!(metrics.total(|worker| worker.completed), JOBS as u64);
        assert_eq!(metrics.total(|worker| worker.in_flight as u64), 0);
    });
}

/// The slowest job must not hold the others' results back.
#[test]
fn results_come_in_the_order_of_completion() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..4).map(|_| oneshot::channel::<usize>()).unzip();
        let jobs = receivers
            .into_iter()
            .map(|receiver| async move || receiver.await.unwrap());
        let mut batch = pool.run_batch(jobs);
        assert!(poll_next(&mut batch, Waker::noop()).is_pending());
        for (n, sender) in senders.into_iter().enumerate().rev() {
            sender.send(n).unwrap();
            assert_eq!(block_on(batch.next()).unwrap().unwrap(), n);
        }
        assert!(block_on(batch.next()).is_none());
    });
}

/// All of a worker's share goes in with one ring, whether it sleeps or not.
#[test]
fn a_worker_is_rung_once_for_its_whole_share() {
    for_each_driver(|builder| {
        let pool = builder()
            .threads(2)
            .idle(landbridge::Wait::Park)
            .build()
            .unwrap();
        eventually("both workers sleep", || {
            pool.metrics().workers.iter().all(|worker| worker.parks > 0)
        });
        let before = pool.metrics();
        let held = collect(pool.run_batch((0..64).map(|n| async move || n)));
        assert_eq!(held.len(), 64);
        let after = pool.metrics();
        for (before, after) in before.workers.iter().zip(&after.workers) {
            assert_eq!(after.crossings_in - before.crossings_in, 32);
            assert!(after.wakeups_sent - before.wakeups_sent <= 1);
        }
    });
}

/// Each worker's share, in order: what the docs say of the distribution.
#[test]
fn jobs_are_dealt_out_to_all_workers_in_turn() {
    for_each_driver(|builder| {
        let pool = builder().threads(3).build().unwrap();
        let starts = Arc::new(Mutex::new(Vec::new()));
        let jobs = (0..30).map(|n| {
            let starts = Arc::clone(&starts);
            async move || {
                let worker = CompioHandle::current().unwrap().index();
                starts.lock().unwrap().push((worker, n));
            }
        });
        assert_eq!(collect(pool.run_batch(jobs)).len(), 30);
        let starts = starts.lock().unwrap();
        for worker in 0..3 {
            let own = starts.iter().filter(|(at, _)| *at == worker);
            let own: Vec<i32> = own.map(|(_, n)| *n).collect();
            assert_eq!(own.len(), 10);
            assert!(own.windows(2).all(|pair| pair[1] == pair[0] + 3), "{own:?}");
        }
    });
}

/// A chosen worker's batch stays there.
#[test]
fn a_handles_batch_runs_on_its_runtime() {
    for_each_driver(|builder| {
        let pool = builder().threads(3).build().unwrap();
        let jobs = (0..30).map(|_| async || CompioHandle::current().unwrap().index());
        let workers: HashSet<_> = collect(pool.worker(2).unwrap().run_batch(jobs))
            .into_iter()
            .map(Result::unwrap)
            .collect();
        assert_eq!(workers, HashSet::from([2]));
    });
}

/// Structured, like `run`: nothing happens before the first poll.
#[test]
fn a_batch_that_is_not_polled_does_nothing() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let tally = Tally::new();
        let called = Arc::new(AtomicUsize::new(0));
        let batch = pool.run_batch((0..10).map(|_| {
            let (counted, called) = (tally.make(), Arc::clone(&called));
            async move || {
                let _counted = counted;
                called.fetch_add(1, Ordering::SeqCst);
            }
        }));
        assert_lives(&pool);
        drop(batch);
        assert_eq!(tally.alive(), 0);
        assert_eq!(called.load(Ordering::SeqCst), 0);
        assert_eq!(pool.metrics().workers[0].completed, 1);
    });
}

/// One job's panic is that job's result.
#[test]
fn panics_are_results_of_their_own_jobs() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let jobs = (0..30).map(|n| {
            async move || match n % 3 {
                0 => panic!("of job {n}"),
                1 => drop(OnDrop::new(|| panic!("in a destructor"))),
                _ => {}
            }
        });
        let results: Vec<_> = block_on(pool.run_batch(jobs).enumerate_jobs().collect());
        assert_eq!(results.len(), 30);
        for (n, result) in results {
            match result {
                Ok(()) => assert_eq!(n % 3, 2),
                Err(JoinError::Panicked(panic)) if n % 3 == 0 => {
                    assert_eq!(panic.message().unwrap(), format!("of job {n}"));
                }
                Err(JoinError::Panicked(_)) => assert_eq!(n % 3, 1),
                Err(other) => panic!("{other}"),
            }
        }
        let metrics = pool.metrics();
        assert_eq!(metrics.workers[0].panicked, 20);
        assert_eq!(metrics.workers[0].completed, 10);
        assert_lives(&pool);
    });
}

/// Wherever a caller gives up, every job is dropped once, on its worker, and none is left in flight.
#[test]
fn dropping_a_batch_at_any_poll_count_cancels_the_rest() {
    for_each_driver(|builder| {
        for max_in_flight in [None, Some(1), Some(3)] {
            for polls in 0..14 {
                let mut pool = builder().threads(2);
                if let Some(max) = max_in_flight {
                    pool = pool.max_in_flight(max);
                }
                let pool = pool.build().unwrap();
                let tally = Tally::new();
                let mut batch = pool.run_batch((0..10).map(|n| {
                    let counted = tally.make();
                    async move || {
                        let _counted = counted;
                        if n == 7 {
                            pending::<()>().await;
                        }
                        yield_now().await;
                    }
                }));
                let counting = CountingWaker::new();
                let waker = Waker::from(Arc::clone(&counting));
                let mut results = 0;
                for _ in 0..polls {
                    let wakes = counting.wakes();
                    match poll_next(&mut batch, &waker) {
                        Poll::Ready(Some(result)) => {
                            result.unwrap();
                            results += 1;
                        }
                        Poll::Ready(None) => unreachable!("one never ends"),
                        // The endless one may hold the only place, or be all that is left.
                        Poll::Pending
                            if results == 9 || max_in_flight == Some(1) && results == 7 => {}
                        Poll::Pending => counting.wait_for(wakes + 1),
                    }
                }
                drop(batch);
                eventually("all is dropped", || tally.alive() == 0);
                eventually("the accounts are done", || {
                    pool.metrics().total(|worker| worker.in_flight as u64) == 0
                });
                assert_lives(&pool);
                assert_eq!(pool.metrics().waiting, 0);
            }
        }
    });
}

/// With the smallest bound the batch still gets through, and never has more in flight than that.
#[test]
fn a_batch_larger_than_the_pools_bound_gets_through() {
    for_each_driver(|builder| {
        for max in [1, 3] {
            let pool = builder().threads(2).max_in_flight(max).build().unwrap();
            let in_flight = Arc::new(AtomicUsize::new(0));
            let most = Arc::new(AtomicUsize::new(0));
            let jobs = (0..200).map(|n| {
                let (in_flight, most) = (Arc::clone(&in_flight), Arc::clone(&most));
                async move || {
                    let now = in_flight.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    yield_now().await;
                    in_flight.fetch_sub(1, Ordering::SeqCst);
                    n
                }
            });
            let results = collect(pool.run_batch(jobs));
            let seen: HashSet<i32> = results.into_iter().map(Result::unwrap).collect();
            assert_eq!(seen.len(), 200);
            assert!(most.load(Ordering::SeqCst) <= max);
            // All places are back.
            let places: Vec<_> = (0..max)
                .map(|_| pool.try_spawn(async || pending::<()>().await).unwrap())
                .collect();
            assert!(pool.try_spawn(async || ()).is_err());
            drop(places);
        }
    });
}

/// At the bound a job that waited for a place would wait for its own end.
#[test]
fn a_batch_from_a_job_of_the_pool_does_not_deadlock() {
    for_each_driver(|builder| {
        for threads in [1, 2] {
            let pool = builder().threads(threads).max_in_flight(1).build().unwrap();
            let inner = pool.clone();
            let sum = block_on(pool.run(async move || {
                let batch = inner.run_batch((0..50).map(|n| async move || n));
                let sum = batch.map(Result::unwrap).fold(0, async |sum, n| sum + n);
                (sum.await, inner)
            }));
            assert_eq!(sum.unwrap().0, 50 * 49 / 2);
            assert!(pool.try_spawn(async || ()).is_ok(), "all places are back");
        }
    });
}

/// A shutdown finishes what was submitted, refuses the rest, and leaves nobody waiting.
#[test]
fn a_shutdown_in_the_middle_finishes_what_was_submitted() {
    for_each_driver(|builder| {
        let pool = builder().max_in_flight(4).build().unwrap();
        let release = hold(&pool);
        let mut batch = pool
            .run_batch((0..10).map(|n| async move || n))
            .enumerate_jobs();
        assert!(poll_next(&mut batch, Waker::noop()).is_pending());
        assert_eq!(pool.metrics().waiting, 1);
        let mut shutdown = pool.shutdown();
        assert!(support::poll_once(&mut shutdown, Waker::noop()).is_pending());
        drop(release);
        let results: Vec<_> = block_on(batch.collect());
        assert_eq!(results.len(), 10);
        for (job, result) in results {
            match result {
                Ok(n) => assert!(n == job && n < 3, "beside the one that holds the worker"),
                Err(JoinError::RuntimeGone) => assert!(job >= 3),
                Err(other) => panic!("{other}"),
            }
        }
        block_on(shutdown);
        let late = collect(pool.run_batch((0..3).map(|n| async move || n)));
        assert_eq!(late.len(), 3);
        for result in late {
            assert!(matches!(result, Err(JoinError::RuntimeGone)));
        }
    });
}

/// Never a hang: the pool goes away with a batch in every stage.
#[test]
fn a_pool_that_is_dropped_ends_its_batches() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).build().unwrap();
        let tally = Tally::new();
        let mut batch = pool.run_batch((0..20).map(|n| {
            let counted = tally.make();
            async move || {
                let _counted = counted;
                if n >= 10 {
                    pending::<()>().await;
                }
            }
        }));
        for _ in 0..10 {
            block_on(batch.next()).unwrap().unwrap();
        }
        drop(pool);
        let rest = collect(batch);
        assert_eq!(rest.len(), 10);
        for result in rest {
            assert!(matches!(result, Err(JoinError::RuntimeGone)));
        }
        assert_eq!(tally.alive(), 0);
    });
}

/// Nobody but the receiver may be told how often it wakes up in vain.
#[test]
fn results_that_come_while_the_receiver_sleeps_wake_it_once() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let release = hold(&pool);
        let mut batch = pool.run_batch((0..100).map(|n| async move || n));
        let counting = CountingWaker::new();
        let waker = Waker::from(Arc::clone(&counting));
        assert!(poll_next(&mut batch, &waker).is_pending());
        drop(release);
        // The last one that the worker has is behind them all.
        block_on(pool.run(async || ())).unwrap();
        assert_eq!(counting.wakes(), 1);
        for _ in 0..100 {
            assert!(matches!(
                poll_next(&mut batch, &waker),
                Poll::Ready(Some(Ok(_)))
            ));
        }
        assert_eq!(counting.wakes(), 1);
    });
}

/// A batch may be polled on one thread and then on another, with another waker.
#[test]
fn a_batch_may_move_between_threads() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (sender, receiver) = oneshot::channel::<()>();
        let mut batch = pool.run_batch([async move || receiver.await.unwrap()]);
        assert!(poll_next(&mut batch, Waker::noop()).is_pending());
        let other = thread::spawn(move || block_on(batch.next()).unwrap());
        sender.send(()).unwrap();
        other.join().unwrap().unwrap();
    });
}

/// What nobody takes is dropped, whatever its destructor does.
#[test]
fn results_that_panic_when_they_are_dropped_do_not_harm_the_others() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let tally = Tally::new();
        let jobs = (0..10).map(|_| {
            let counted = tally.make();
            async move || {
                OnDrop::new(move || {
                    drop(counted);
                    panic!("in an output");
                })
            }
        });
        let release = hold(&pool);
        let mut batch = pool.run_batch(jobs);
        assert!(poll_next(&mut batch, Waker::noop()).is_pending());
        drop(release);
        block_on(pool.run(async || ())).unwrap();
        drop(batch);
        eventually("all is dropped", || tally.alive() == 0);
        assert_lives(&pool);
    });
}

/// Two panics at once would abort the process, and a batch drops many closures at once.
#[test]
fn closures_that_panic_when_they_are_dropped_unsubmitted_are_all_dropped() {
    for_each_driver(|builder| {
        let pool = builder().max_in_flight(1).build().unwrap();
        for polled in [false, true] {
            let release = hold(&pool);
            let tally = Tally::new();
            let mut batch = pool.run_batch((0..10).map(|_| {
                let counted = tally.make();
                let bomb =
                    OnDrop::new(|| resume_unwind(Box::new(OnDrop::new(|| panic!("in a payload")))));
                async move || drop((counted, bomb))
            }));
            if polled {
                assert!(poll_next(&mut batch, Waker::noop()).is_pending());
            }
            drop(batch);
            assert_eq!(tally.alive(), 0);
            drop(release);
            assert_lives(&pool);
        }
    });
}

/// `select_next_some` and its like ask.
#[test]
fn a_batch_says_when_it_is_over() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let mut batch = pool.run_batch((0..2).map(|n| async move || n));
        let mut named = pool.run_batch([async || ()]).enumerate_jobs();
        assert!(!batch.is_terminated() && !named.is_terminated());
        block_on(async {
            batch.select_next_some().await.unwrap();
            assert!(!batch.is_terminated());
            batch.select_next_some().await.unwrap();
            assert_eq!(named.select_next_some().await.0, 0);
        });
        assert!(batch.is_terminated() && named.is_terminated());
        assert!(block_on(batch.next()).is_none());
    });
}

/// As with `run`, an attached runtime is no different.
#[test]
fn a_batch_on_an_attached_runtime_comes_back() {
    let _watchdog = support::watchdog();
    compio::runtime::Runtime::new().unwrap().block_on(async {
        let handle = CompioHandle::attach().unwrap();
        let inside = handle.run_batch((0..200).map(|n| async move || n));
        let sum = inside.map(Result::unwrap).fold(0, async |sum, n| sum + n);
        assert_eq!(sum.await, 200 * 199 / 2);
        let outside = thread::spawn(move || {
            collect(handle.run_batch((0..200).map(|n| async move || n))).len()
        });
        while !outside.is_finished() {
            yield_now().await;
        }
        assert_eq!(outside.join().unwrap(), 200);
    });
}

/// The pool that a batch was made with may be gone before its first poll.
#[test]
fn a_batch_does_not_keep_its_pool_alive() {
    let _watchdog = support::watchdog();
    let pool = CompioPool::builder().threads(1).build().unwrap();
    let batch = pool.run_batch([async || ()]);
    drop(pool);
    let results = collect(batch);
    assert!(matches!(results[..], [Err(JoinError::RuntimeGone)]));
}
