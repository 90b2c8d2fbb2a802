//! What the counters say, and what a pool does when it has nothing to do.

mod support;

use std::{
    future::pending,
    task::Waker,
    time::{Duration, Instant},
};

use futures::{FutureExt, channel::oneshot};
use landbridge::{
    CompioPool, Wait,
    error::JoinError,
    pool::{Activity, DriverKind, WorkerMetrics},
    test_util::both,
};
use support::{
    CountingWaker, assert_lives, block_on, drivers, eventually, for_each_driver, hold, poll_once,
};

fn one(pool: &CompioPool) -> WorkerMetrics {
    pool.metrics().workers.swap_remove(0)
}

/// A snapshot of a pool that rests, asleep.
fn asleep(pool: &CompioPool, parks: u64) -> WorkerMetrics {
    eventually("the worker sleeps", || one(pool).parks >= parks);
    one(pool)
}

/// Counters that operators alarm on must add up exactly.
#[test]
fn the_counters_add_up_exactly_for_a_known_sequence() {
    for_each_driver(|builder| {
        let pool = builder().idle(Wait::Park).build().unwrap();
        let before = asleep(&pool, 1);
        assert_eq!(before.in_flight, 0);
        assert_eq!(
            (before.completed, before.cancelled, before.panicked),
            (0, 0, 0)
        );
        assert_eq!((before.crossings_in, before.wakeups_sent), (0, 0));

        let release = hold(&pool);
        assert_eq!(one(&pool).wakeups_sent, 1);
        let completed = (0..5)
            .map(|n| pool.spawn(async move || n))
            .collect::<Vec<_>>();
        let panicked = (0..3)
            .map(|_| pool.spawn(async || -> () { std::panic::resume_unwind(Box::new(())) }))
            .collect::<Vec<_>>();
        let aborted = (0..4)
            .map(|_| pool.spawn(async || pending::<()>().await))
            .collect::<Vec<_>>();
        // Cancelled before they are begun.
        let mut dropped = (0..2)
            .map(|_| pool.run(async || pending::<()>().await))
            .collect::<Vec<_>>();
        for run in &mut dropped {
            assert!(poll_once(run, Waker::noop()).is_pending());
        }
        let now = one(&pool);
        assert_eq!((now.in_flight, now.queued), (15, 14));
        drop(dropped);
        for handle in &aborted {
            handle.abort();
        }
        drop(release);
        for (n, handle) in completed.into_iter().enumerate() {
            assert_eq!(block_on(handle).unwrap(), n);
        }
        for handle in panicked {
            assert!(matches!(block_on(handle), Err(JoinError::Panicked(_))));
        }
        for handle in aborted {
            assert!(matches!(block_on(handle), Err(JoinError::Cancelled)));
        }
        // The last result is there a moment before it is counted as one that left.
        let after = asleep(&pool, before.parks + 1);
        assert_eq!((after.in_flight, after.queued), (0, 0));
        assert_eq!(after.completed, 6);
        assert_eq!(after.panicked, 3);
        assert_eq!(after.cancelled, 6);
        assert_eq!(after.crossings_in, 15);
        assert_eq!(after.wakeups_sent, 1);
        assert_eq!(after.wakeups_saved, 14);
        // Nobody wants the result of what `hold` has begun, nor of what was dropped.
        assert_eq!(after.crossings_out, 12);
        assert!(after.callers_woken <= 12);
        assert_eq!(after.leaked_tasks + after.leaked_runtimes, 0);
    });
}

/// What the docs promise as a sum is what dashboards subtract: it must hold at any time of rest, also
/// with jobs in every state.
#[test]
fn what_was_given_is_what_ended_and_what_is_in_flight() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let mut given = 0;
        let mut held = Vec::new();
        for round in 1..=3 {
            held.extend((0..round).map(|_| pool.spawn(async || pending::<()>().await)));
            for n in 0..10_u8 {
                let work = async move || {
                    if n == 3 {
                        std::panic::resume_unwind(Box::new(()))
                    }
                };
                assert_eq!(block_on(pool.run(work)).is_err(), n == 3);
            }
            assert!(block_on(held.pop().unwrap().cancel()).is_err());
            let release = hold(&pool);
            held.extend((0..2).map(|_| pool.spawn(async || pending::<()>().await)));
            given += round + 10 + 1 + 2;

            let now = one(&pool);
            let ended = now.completed + now.cancelled + now.panicked;
            assert_eq!(given, ended + now.in_flight as u64);
            assert_eq!(now.queued, 2);
            drop(release);
            eventually("they are begun", || one(&pool).queued == 0);
        }
        assert!(one(&pool).in_flight > 0);
        drop(held);
    });
}

/// So many that some are measured: all but once in ten to the fourteen.
const MANY: usize = 500;

/// Latencies must be of the right things: the wait in the queue of one, the running of the other.
#[test]
fn the_time_in_the_queue_and_the_time_of_running_are_kept_apart() {
    for_each_driver(|builder| {
        let start = Instant::now();
        let pool = builder().build().unwrap();
        let other = builder().build().unwrap();
        // In the queue for long, and then over at once.
        let release = hold(&pool);
        let before = Instant::now();
        let late = (0..MANY).map(|_| pool.spawn(async || ()));
        let late = late.collect::<Vec<_>>();
        let queued = Instant::now();
        // Longer than all of them take.
        while queued.elapsed() < Duration::from_millis(50) {
            assert_lives(&other);
        }
        let waited = queued.elapsed();
        let released = Instant::now();
        drop(release);
        for job in late {
            block_on(job).unwrap();
        }
        let ran_at_most = released.elapsed();
        let waited_at_most = before.elapsed();
        let now = one(&pool);
        let n = now.enqueue_to_start.count();
        assert!((1..MANY as u64).contains(&n), "{n}");
        // `hold` is perhaps measured too, and did not wait.
        assert!(now.enqueue_to_start.sum() >= waited * (n as u32 - 1));
        assert!(now.enqueue_to_start.sum() <= waited_at_most * n as u32);
        assert_eq!(now.start_to_finish.count(), n);
        assert!(now.start_to_finish.sum() <= ran_at_most * n as u32 + start.elapsed());

        // Begun at once, but long under way.
        let (go, may_go) = oneshot::channel::<()>();
        let may_go = may_go.shared();
        let before = Instant::now();
        let long = (0..MANY).map(|_| {
            let may_go = may_go.clone();
            pool.spawn(async move || may_go.await.unwrap())
        });
        let long = long.collect::<Vec<_>>();
        eventually("they are begun", || one(&pool).queued == 0);
        let begun = one(&pool);
        let m = begun.enqueue_to_start.count() - n;
        assert!(m > 0);
        assert_eq!(begun.start_to_finish, now.start_to_finish);
        let all_begun = Instant::now();
        assert_lives(&other);
        let took = all_begun.elapsed();
        go.send(()).unwrap();
        for job in long {
            block_on(job).unwrap();
        }
        let took_at_most = before.elapsed();
        let after = one(&pool);
        assert_eq!(after.start_to_finish.count(), n + m);
        let running = after.start_to_finish.sum() - begun.start_to_finish.sum();
        assert!(running >= took * m as u32 && running <= took_at_most * m as u32);
        assert_eq!(after.enqueue_to_start, begun.enqueue_to_start);
        let all = pool.metrics();
        assert_eq!(all.enqueue_to_start(), after.enqueue_to_start);
        assert_eq!(all.start_to_finish(), after.start_to_finish);
    });
}

/// Busy is not asleep: it is what an operator sizes a pool by.
#[test]
fn a_worker_is_busy_while_it_is_held_and_not_while_it_sleeps() {
    for_each_driver(|builder| {
        let start = Instant::now();
        let pool = builder().idle(Wait::Park).build().unwrap();
        let release = hold(&pool);
        let before = one(&pool).busy;
        let from = Instant::now();
        assert_lives(&builder().build().unwrap());
        let held = from.elapsed();
        let after = one(&pool).busy;
        assert!(after >= before + held, "{before:?} + {held:?}: {after:?}");
        let parks = one(&pool).parks;
        drop(release);

        eventually("it sleeps", || {
            one(&pool).parks > parks && pool.dump().workers[0].activity == Activity::Asleep
        });
        let asleep = one(&pool).busy;
        assert!(asleep >= after && asleep <= start.elapsed());
        assert_lives(&builder().build().unwrap());
        assert_eq!(one(&pool).busy, asleep);
        assert_lives(&pool);
        assert!(one(&pool).busy > asleep);
        block_on(pool.shutdown());
        let end = one(&pool).busy;
        assert_lives(&builder().build().unwrap());
        assert_eq!(one(&pool).busy, end);
    });
}

/// The way back is half of the cost of a crossing; a job of the worker's own does not cross.
#[test]
fn results_that_leave_the_worker_are_crossings_out() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (go, may_go) = oneshot::channel::<()>();
        let inner = pool.clone();
        let mut waited_for = pool.spawn(async move || {
            // Handed over on this very thread.
            inner.spawn(async || ()).await.unwrap();
            may_go.await.unwrap();
        });
        let waker = CountingWaker::new();
        assert!(poll_once(&mut waited_for, &Waker::from(waker.clone())).is_pending());
        go.send(()).unwrap();
        waker.wait_for(1);
        block_on(waited_for).unwrap();
        // There before anybody asks.
        let first = pool.spawn(async || ());
        eventually("it is done", || first.is_finished());
        block_on(first).unwrap();
        // Not wanted.
        drop(hold(&pool));
        assert_lives(&pool);
        block_on(pool.shutdown());
        let after = one(&pool);
        assert_eq!(after.completed, 5);
        assert_eq!(after.crossings_out, 3);
        assert!((1..=2).contains(&after.callers_woken), "{after:?}");
    });
}

/// A wake from another thread is a crossing too; one from the same worker is not.
#[test]
fn wakes_from_elsewhere_are_crossings_and_local_ones_are_not() {
    for_each_driver(|builder| {
        let pool = builder().idle(Wait::Park).build().unwrap();
        let (go, may_go) = oneshot::channel::<()>();
        let handle = pool.spawn(async move || {
            for _ in 0..10 {
                support::yield_now().await;
            }
            may_go.await.unwrap();
        });
        eventually("it waits", || {
            one(&pool).queued == 0 && one(&pool).crossings_in == 1
        });
        let parks = one(&pool).parks;
        assert_lives(&pool);
        let before = asleep(&pool, parks + 1);
        go.send(()).unwrap();
        block_on(handle).unwrap();
        let after = one(&pool);
        assert_eq!(after.crossings_in, before.crossings_in + 1);
        assert_eq!(after.wakeups_sent + after.wakeups_saved, after.crossings_in);
    });
}

/// A shut-down pool can still be read, and has nothing in flight.
#[test]
fn metrics_outlive_the_workers() {
    for_each_driver(|builder| {
        let pool = builder().threads(3).build().unwrap();
        let handles = (0..30)
            .map(|n| pool.spawn(async move || n))
            .collect::<Vec<_>>();
        block_on(pool.shutdown());
        drop(handles);
        let metrics = pool.metrics();
        assert_eq!(metrics.workers.len(), 3);
        assert_eq!(metrics.total(|worker| worker.completed), 30);
        assert_eq!(metrics.total(|worker| worker.in_flight as u64), 0);
        // What comes too late leaves no trace in what is in flight.
        assert!(block_on(pool.spawn(async || ())).is_err());
        assert_eq!(pool.metrics().total(|worker| worker.in_flight as u64), 0);
    });
}

/// What was asked for is what there is; and it is said what `Auto` has become.
#[test]
fn the_metrics_name_the_driver() {
    for driver in drivers() {
        let _watchdog = support::watchdog();
        let pool = CompioPool::builder()
            .threads(2)
            .driver(driver)
            .build()
            .unwrap();
        let expected = match driver {
            landbridge::Driver::IoUring => DriverKind::IoUringTuned,
            _ => DriverKind::Polling,
        };
        assert!(
            pool.metrics()
                .workers
                .iter()
                .all(|worker| worker.driver == expected)
        );
        let inside = block_on(pool.run(async || {
            compio::runtime::Runtime::with_current(|runtime| runtime.driver_type().is_polling())
        }));
        assert_eq!(inside.unwrap(), expected == DriverKind::Polling);
    }
}

/// The proactor closure has the last word, also on the driver; the metrics must not claim another.
#[test]
fn the_metrics_name_the_driver_also_when_the_proactor_closure_chose_it() {
    let _watchdog = support::watchdog();
    let pool = CompioPool::builder()
        .threads(1)
        .proactor(|proactor| {
            proactor.driver_type(compio::driver::DriverType::Poll);
        })
        .build()
        .unwrap();
    assert_eq!(one(&pool).driver, DriverKind::Polling);
}

fn works_with(wait: Wait) {
    for_each_driver(|builder| {
        let pool = builder().threads(2).idle(wait).build().unwrap();
        both(async || {
            for n in 0..50 {
                assert_eq!(pool.run(async move || n).await.unwrap(), n);
                let handle = pool.spawn(async move || {
                    compio::time::sleep(Duration::from_micros(50)).await;
                    n
                });
                assert_eq!(handle.await.unwrap(), n);
            }
            let bytes = pool.run(async || compio::fs::read("Cargo.toml").await);
            assert!(!bytes.await.unwrap().unwrap().is_empty());
        });
        block_on(pool.shutdown());
    });
}

/// Sleep at once: two wake-ups for each round trip, and nothing else.
#[test]
fn a_pool_works_when_it_parks_at_once() {
    works_with(Wait::Park);
}

/// The default.
#[test]
fn a_pool_works_when_it_looks_again_adaptively() {
    works_with(Wait::Adaptive);
}

/// For a CPU of its own; a spinning worker must still see its driver's completions and its orders.
#[test]
fn a_pool_works_when_it_spins() {
    works_with(Wait::Spin(Duration::from_micros(200)));
}

/// A worker that spins for an hour obeys an order at once, and sees I/O and timers meanwhile.
#[test]
fn a_worker_that_would_spin_for_an_hour_still_sees_its_driver_and_its_orders() {
    for_each_driver(|builder| {
        let pool = builder()
            .idle(Wait::Spin(Duration::from_secs(3_600)))
            .build()
            .unwrap();
        block_on(pool.run(async || {
            compio::time::sleep(Duration::from_millis(1)).await;
            compio::fs::read("Cargo.toml").await.unwrap();
        }))
        .unwrap();
        assert_eq!(one(&pool).parks, 0);
        block_on(pool.shutdown());
    });
}

/// An idle pool costs no CPU: it sleeps, and stays asleep.
#[test]
fn an_idle_worker_sleeps_and_stays_asleep() {
    for_each_driver(|builder| {
        for wait in [Wait::Park, Wait::Adaptive] {
            let pool = builder().idle(wait).build().unwrap();
            let other = builder().build().unwrap();
            assert_lives(&pool);
            eventually("it sleeps", || one(&pool).parks >= 1);
            // Time that is not measured but filled: another pool does a hundred jobs meanwhile.
            let mut parks = one(&pool).parks;
            for _ in 0..100 {
                assert_lives(&other);
                let now = one(&pool).parks;
                // The second sleep is the one after `assert_lives`.
                assert!(now <= parks + 1);
                parks = parks.max(now);
            }
            assert!(parks <= 3, "woken {parks} times for nothing");
        }
    });
}
