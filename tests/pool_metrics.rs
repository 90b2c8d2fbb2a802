//! What the counters say, and what a pool does when it has nothing to do.

mod support;

use std::{future::pending, task::Waker, time::Duration};

use futures::channel::oneshot;
use landbridge::{
    CompioPool, Wait,
    error::JoinError,
    pool::{DriverKind, WorkerMetrics},
    test_util::both,
};
use support::{assert_lives, block_on, drivers, eventually, for_each_driver, hold, poll_once};

fn one(pool: &CompioPool) -> WorkerMetrics {
    pool.metrics().workers[0]
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
        assert_eq!((before.crossings, before.wakeups_sent), (0, 0));

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
        let after = asleep(&pool, before.parks + 1);
        assert_eq!((after.in_flight, after.queued), (0, 0));
        assert_eq!(after.completed, 6);
        assert_eq!(after.panicked, 3);
        assert_eq!(after.cancelled, 6);
        assert_eq!(after.crossings, 15);
        assert_eq!(after.wakeups_sent, 1);
        assert_eq!(after.wakeups_saved, 14);
        assert_eq!(after.leaked_tasks + after.leaked_runtimes, 0);
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
            one(&pool).queued == 0 && one(&pool).crossings == 1
        });
        let parks = one(&pool).parks;
        assert_lives(&pool);
        let before = asleep(&pool, parks + 1);
        go.send(()).unwrap();
        block_on(handle).unwrap();
        let after = one(&pool);
        assert_eq!(after.crossings, before.crossings + 1);
        assert_eq!(after.wakeups_sent + after.wakeups_saved, after.crossings);
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
