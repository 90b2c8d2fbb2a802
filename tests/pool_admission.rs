//! `max_in_flight`: who waits, in which order, and that no place is ever lost.

mod support;

use std::{
    future::pending,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Poll, Waker},
};

use futures::{channel::oneshot, future::join_all};
use landbridge::{
    CompioPool,
    error::{BuildError, JoinError, TrySpawnError},
};
use support::{
    CountingWaker, Tally, block_on, eventually, for_each_driver, hold, poll_once, poll_times,
    yield_now,
};

/// A job that ends when the returned sender is used or dropped.
fn occupy(pool: &CompioPool) -> oneshot::Sender<()> {
    let (leave, wait) = oneshot::channel();
    drop(pool.spawn(async move || _ = wait.await));
    leave
}

fn is_full(pool: &CompioPool) -> bool {
    matches!(pool.try_spawn(async || ()), Err(TrySpawnError::Full(_)))
}

/// A bound of nothing would be a pool that never does anything, and never says so.
#[test]
fn a_bound_of_nothing_is_an_error() {
    let refused = CompioPool::builder().max_in_flight(0).build();
    assert!(matches!(refused, Err(BuildError::NothingInFlight)));
}

/// The bound is what keeps memory bounded: it holds for everything that comes from outside.
#[test]
fn no_more_is_in_flight_than_allowed() {
    for_each_driver(|builder| {
        for bound in [1, 3] {
            let pool = builder().threads(2).max_in_flight(bound).build().unwrap();
            let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let work = || {
                let (now, most) = (now.clone(), most.clone());
                async move || {
                    let here = now.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(here, Ordering::SeqCst);
                    yield_now().await;
                    now.fetch_sub(1, Ordering::SeqCst);
                }
            };
            let spawned = (0..100).map(|_| pool.spawn(work())).collect::<Vec<_>>();
            let run = (0..100).map(|_| pool.run(work()));
            assert!(block_on(join_all(run)).into_iter().all(|done| done.is_ok()));
            assert!(
                block_on(join_all(spawned))
                    .into_iter()
                    .all(|done| done.is_ok())
            );
            assert!(most.load(Ordering::SeqCst) <= bound);
            assert_eq!(pool.metrics().total(|worker| worker.completed), 200);
            assert!(pool.try_spawn(async || ()).is_ok(), "no place is lost");
        }
    });
}

/// Shedding load needs the request back, to answer it.
#[test]
fn try_spawn_gives_the_closure_back() {
    for_each_driver(|builder| {
        let pool = builder().max_in_flight(1).build().unwrap();
        let leave = occupy(&pool);
        let tally = Tally::new();
        let counted = tally.make();
        let refused = pool.try_spawn(async move || drop(counted)).unwrap_err();
        assert!(refused.is_full() && !refused.is_closed());
        assert_eq!(tally.alive(), 1);
        drop(leave);
        let mut work = refused.into_inner();
        // Until the occupant has gone.
        let handle = loop {
            match pool.try_spawn(work) {
                Ok(handle) => break handle,
                Err(again) => work = again.into_inner(),
            }
        };
        block_on(handle).unwrap();
        assert_eq!(tally.alive(), 0);
        block_on(pool.shutdown());
        let closed = pool.try_spawn(async || ()).unwrap_err();
        assert!(closed.is_closed() && !closed.is_full());
    });
}

/// `spawn` never waits, so what it was given must wait somewhere that can be seen.
#[test]
fn what_is_spawned_above_the_bound_is_seen_to_wait() {
    for_each_driver(|builder| {
        let pool = builder().max_in_flight(1).build().unwrap();
        let leave = occupy(&pool);
        let spawned = (0..5).map(|_| pool.spawn(async || ())).collect::<Vec<_>>();
        let mut run = pool.run(async || ());
        assert!(poll_once(&mut run, Waker::noop()).is_pending());
        let metrics = pool.metrics();
        assert_eq!((metrics.pending, metrics.waiting), (5, 1));
        assert!(spawned.iter().all(|handle| !handle.is_finished()));
        drop(leave);
        assert!(
            block_on(join_all(spawned))
                .into_iter()
                .all(|done| done.is_ok())
        );
        block_on(run).unwrap();
        let metrics = pool.metrics();
        assert_eq!((metrics.pending, metrics.waiting), (0, 0));
    });
}

/// The oldest is never overtaken, whichever way it was handed in.
#[test]
fn places_go_to_those_who_wait_in_their_order() {
    for_each_driver(|builder| {
        let pool = builder().max_in_flight(1).build().unwrap();
        let leave = occupy(&pool);
        let order = Arc::new(Mutex::new(Vec::new()));
        let note = |number| {
            let order = order.clone();
            async move || order.lock().unwrap().push(number)
        };
        let (mut run, mut spawned) = (Vec::new(), Vec::new());
        for number in 0..20 {
            if number % 3 == 0 {
                spawned.push(pool.spawn(note(number)));
            } else {
                let mut waiting = pool.run(note(number));
                assert!(poll_once(&mut waiting, Waker::noop()).is_pending());
                run.push(waiting);
            }
        }
        drop(leave);
        block_on(join_all(run));
        block_on(join_all(spawned));
        assert_eq!(*order.lock().unwrap(), (0..20).collect::<Vec<_>>());
    });
}

/// A place that was granted to somebody who has gone meanwhile would be lost for good.
#[test]
fn a_caller_that_gives_up_passes_its_place_on() {
    for_each_driver(|builder| {
        let pool = builder().max_in_flight(1).build().unwrap();
        let leave = occupy(&pool);
        let woken = CountingWaker::new();
        let mut first = pool.run(async || 1);
        let mut second = pool.run(async || 2);
        let third = pool.spawn(async || 3);
        assert!(poll_once(&mut first, &Waker::from(woken.clone())).is_pending());
        assert!(poll_once(&mut second, Waker::noop()).is_pending());
        drop(leave);
        woken.wait_for(1);
        // Its turn has come, and it does not take it.
        drop(first);
        // This one has not been given its turn, and leaves the queue.
        drop(pool.run(async || 4));
        assert_eq!(block_on(second).unwrap(), 2);
        assert_eq!(block_on(third).unwrap(), 3);
    });
}

/// A job that waits for another of its own pool would wait for its own end.
#[test]
fn a_job_of_the_pool_is_never_kept_waiting() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).max_in_flight(1).build().unwrap();
        let inner = pool.clone();
        let sum = block_on(pool.run(async move || {
            let spawned = inner.spawn(async || 1);
            let chosen = inner.worker(1).unwrap().spawn(async || 2);
            let run = inner.run(async || 4).await.unwrap();
            assert!(is_full(&inner), "they are counted all the same");
            run + spawned.await.unwrap() + chosen.await.unwrap()
        }));
        assert_eq!(sum.unwrap(), 7);
        eventually("all places are free", || !is_full(&pool));
    });
}

/// Cancelling must not take as long as what is in flight.
#[test]
fn what_waits_for_a_place_is_cancelled_at_once() {
    for_each_driver(|builder| {
        let pool = builder().max_in_flight(1).build().unwrap();
        let endless = pool.spawn(async || pending::<()>().await);
        let tally = Tally::new();
        let [first, second] = [tally.make(), tally.make()];
        let handle = pool.spawn(async move || drop(first));
        let aborted = pool.spawn(async move || drop(second));
        assert!(matches!(
            block_on(handle.cancel()),
            Err(JoinError::Cancelled)
        ));
        aborted.abort_handle().abort();
        assert_eq!(tally.alive(), 0);
        assert!(matches!(block_on(aborted), Err(JoinError::Cancelled)));
        assert_eq!(pool.metrics().pending, 0);
        assert_eq!(pool.metrics().total(|worker| worker.cancelled), 2);
        assert!(block_on(endless.cancel()).is_err());
    });
}

/// What was accepted is finished: waiting for a place is the pool's business, not the caller's.
#[test]
fn shutdown_finishes_what_waits_for_a_place() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).max_in_flight(1).build().unwrap();
        let leave = occupy(&pool);
        let spawned = (0..50)
            .map(|n| pool.spawn(async move || n))
            .collect::<Vec<_>>();
        let mut run = pool.run(async || ());
        assert!(poll_once(&mut run, Waker::noop()).is_pending());
        let mut shutdown = pin!(pool.shutdown());
        assert!(poll_once(&mut shutdown, Waker::noop()).is_pending());
        // It was not accepted yet.
        assert!(matches!(block_on(run), Err(JoinError::RuntimeGone)));
        drop(leave);
        block_on(shutdown);
        for (n, handle) in spawned.into_iter().enumerate() {
            assert_eq!(block_on(handle).unwrap(), n);
        }
    });
}

/// A worker with nothing to do but to wait for a job that waits for its place must see that the job is
/// gone, or the shutdown never ends.
#[test]
fn aborting_what_waits_for_a_place_lets_a_drain_finish() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).max_in_flight(1).build().unwrap();
        let (leave, wait) = oneshot::channel::<()>();
        drop(pool.worker(0).unwrap().spawn(async move || _ = wait.await));
        let waits = pool.worker(1).unwrap().spawn(async || ());
        let parks = || pool.metrics().workers[1].parks;
        // It has never had anything to do, and sleeps but once until it is told to drain.
        eventually("the other worker sleeps", || parks() > 0);
        let before = parks();
        let mut shutdown = pin!(pool.shutdown());
        assert!(poll_once(&mut shutdown, Waker::noop()).is_pending());
        eventually("the other worker sleeps in its drain", || parks() > before);
        assert!(matches!(
            block_on(waits.cancel()),
            Err(JoinError::Cancelled)
        ));
        drop(leave);
        block_on(shutdown);
    });
}

/// However many wait for a worker that is gone, each is refused, and does not wait for its place first.
#[test]
fn fifty_thousand_may_wait_for_a_worker_that_dies() {
    struct BadWaker;

    impl std::task::Wake for BadWaker {
        fn wake(self: Arc<Self>) {
            std::panic::resume_unwind(Box::new("in wake"));
        }
    }

    for_each_driver(|builder| {
        let pool = builder().threads(2).max_in_flight(1).build().unwrap();
        // From a job of the pool, so that it needs no place.
        let kill = pool.clone();
        let (leave, wait) = oneshot::channel::<()>();
        let occupant = pool.worker(0).unwrap().spawn(async move || {
            let killed = kill.worker(1).unwrap().spawn(async || {
                let mut sleep = Box::pin(compio::time::sleep(std::time::Duration::from_millis(1)));
                let waker = Waker::from(Arc::new(BadWaker));
                _ = sleep
                    .as_mut()
                    .poll(&mut std::task::Context::from_waker(&waker));
                pending::<()>().await;
            });
            _ = wait.await;
            matches!(killed.await, Err(JoinError::RuntimeGone))
        });
        let to_the_dead = || {
            let worker = pool.worker(1).unwrap();
            (0..50_000).map(move |_| worker.spawn(async || pending::<()>().await))
        };
        let before = to_the_dead().collect::<Vec<_>>();
        eventually("the worker is gone", || !pool.metrics().workers[1].alive);
        let after = to_the_dead().collect::<Vec<_>>();
        let run = pool.worker(1).unwrap().run(async || ());
        assert!(matches!(block_on(run), Err(JoinError::RuntimeGone)));
        for handle in before.into_iter().chain(after) {
            assert!(matches!(block_on(handle), Err(JoinError::RuntimeGone)));
        }
        // All that while the one place is taken.
        assert!(is_full(&pool));
        drop(leave);
        assert!(block_on(occupant).unwrap());
        eventually("the place is free", || !is_full(&pool));
    });
}

/// Whoever waits for a pool that is gone would wait for ever.
#[test]
fn dropping_the_pool_ends_what_waits_for_a_place() {
    for_each_driver(|builder| {
        let pool = builder().max_in_flight(1).build().unwrap();
        let endless = pool.spawn(async || pending::<()>().await);
        let tally = Tally::new();
        let spawned = (0..5)
            .map(|_| {
                let counted = tally.make();
                pool.spawn(async move || drop(counted))
            })
            .collect::<Vec<_>>();
        let mut run = pool.run(async || ());
        assert!(poll_once(&mut run, Waker::noop()).is_pending());
        drop(pool);
        for handle in spawned {
            assert!(matches!(block_on(handle), Err(JoinError::RuntimeGone)));
        }
        assert!(matches!(block_on(run), Err(JoinError::RuntimeGone)));
        assert!(matches!(block_on(endless), Err(JoinError::RuntimeGone)));
        assert_eq!((tally.made(), tally.alive()), (5, 0));
    });
}

/// A job may end in many ways; each of them gives its place back.
#[test]
fn every_end_of_a_job_gives_its_place_back() {
    for_each_driver(|builder| {
        let pool = builder().max_in_flight(2).build().unwrap();
        let both_are_free = || {
            let in_flight = || pool.metrics().total(|worker| worker.in_flight as u64);
            eventually("nothing is in flight", || in_flight() == 0);
            let two = [occupy(&pool), occupy(&pool)];
            assert_eq!(pool.metrics().pending, 0, "no place was lost");
            assert!(is_full(&pool), "none is there twice");
            drop(two);
            eventually("nothing is in flight", || in_flight() == 0);
        };
        assert!(block_on(pool.run(async || panic!("as it should"))).is_err());
        both_are_free();
        assert!(block_on(pool.spawn(async || pending::<()>().await).cancel()).is_err());
        both_are_free();
        // Cancelled before it began.
        let release = hold(&pool);
        let never = pool.try_spawn(async || ()).unwrap();
        never.abort();
        drop(release);
        assert!(matches!(block_on(never), Err(JoinError::Cancelled)));
        both_are_free();
        for polls in 0..6 {
            poll_times(pool.run(async || yield_now().await), polls);
            both_are_free();
        }
    });
}

/// Dropped at any moment, a caller neither keeps a place nor loses somebody else's.
#[test]
fn no_place_is_lost_whoever_gives_up_when() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).max_in_flight(2).build().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let pool = &pool;
                scope.spawn(move || {
                    for round in 0..300 {
                        let polls = (round * 7 + thread) % 5;
                        poll_times(pool.run(async || yield_now().await), polls);
                        if round % 3 == 0 {
                            pool.spawn(async || yield_now().await).abort();
                        }
                    }
                });
            }
        });
        eventually("nothing is in flight", || {
            pool.metrics().total(|worker| worker.in_flight as u64) == 0
        });
        let metrics = pool.metrics();
        assert_eq!((metrics.pending, metrics.waiting), (0, 0));
        let occupants = [occupy(&pool), occupy(&pool)];
        assert!(is_full(&pool));
        drop(occupants);
        block_on(pool.run(async || ())).unwrap();
    });
}

/// A bound of one is a lock around the whole pool; it must be a fair one.
#[test]
fn twenty_thousand_jobs_pass_through_one_place() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).max_in_flight(1).build().unwrap();
        let release = hold(&pool);
        let next = Arc::new(AtomicUsize::new(0));
        let handles = (0..20_000)
            .map(|n| {
                let next = next.clone();
                pool.spawn(async move || next.fetch_add(1, Ordering::SeqCst) == n)
            })
            .collect::<Vec<_>>();
        drop(release);
        for handle in handles {
            assert!(block_on(handle).unwrap(), "nobody is overtaken");
        }
        assert!(matches!(
            poll_once(&mut pool.run(async || ()), Waker::noop()),
            Poll::Pending | Poll::Ready(Ok(()))
        ));
    });
}
