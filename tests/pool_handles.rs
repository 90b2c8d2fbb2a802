//! Choosing a worker, and handles that do not keep the pool alive.

mod support;

use std::{collections::HashSet, thread, time::Duration};

use landbridge::{
    CompioHandle,
    error::{JoinError, TrySpawnError},
};
use support::{Tally, block_on, eventually, for_each_driver, hold};

/// Sharded state is only safe without locks if its work always lands on its worker.
#[test]
fn work_for_a_chosen_worker_runs_there_and_nowhere_else() {
    for_each_driver(|builder| {
        let pool = builder().threads(3).thread_name("chosen").build().unwrap();
        for index in 0..3 {
            let worker = pool.worker(index).unwrap();
            assert_eq!(worker.index(), index);
            let name = async || thread::current().name().map(str::to_owned);
            let expected = Some(format!("chosen-{index}"));
            assert_eq!(block_on(worker.run(name)).unwrap(), expected);
            assert_eq!(block_on(worker.spawn(name)).unwrap(), expected);
            assert_eq!(block_on(worker.try_spawn(name).unwrap()).unwrap(), expected);
        }
        assert_eq!(
            pool.workers()
                .map(|worker| worker.index())
                .collect::<Vec<_>>(),
            [0, 1, 2]
        );
    });
}

/// An index from a configuration file must not bring a service down.
#[test]
fn a_worker_that_does_not_exist_is_an_error_that_says_how_many_there_are() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).build().unwrap();
        let error = pool.worker(2).unwrap_err();
        assert_eq!((error.index, error.workers), (2, 2));
        assert_eq!(error.to_string(), "there is no worker 2: the pool has 2");
    });
}

/// Per-key state lives on one worker; keys that all land on one would leave the others idle.
#[test]
fn equal_keys_share_a_worker_and_different_ones_spread() {
    for_each_driver(|builder| {
        let pool = builder().threads(4).build().unwrap();
        let place = |key: u32| pool.worker_for(&key).index();
        let again = pool.clone();
        assert!((0..100).all(|key| place(key) == again.worker_for(&key).index()));
        // As a borrowed key and as an owned one.
        assert_eq!(
            pool.worker_for("key").index(),
            pool.worker_for(&"key".to_owned()).index()
        );
        assert_eq!((0..100).map(place).collect::<HashSet<_>>().len(), 4);
    });
}

/// Code deep inside a job can stay on its worker without being handed the pool.
#[test]
fn a_job_finds_its_own_worker() {
    assert_eq!(
        CompioHandle::current().unwrap_err().to_string(),
        "this thread is not a worker of a pool, nor on an attached runtime"
    );
    for_each_driver(|builder| {
        let pool = builder().threads(2).build().unwrap();
        let (index, same) = block_on(pool.worker(1).unwrap().run(async || {
            let here = CompioHandle::current().unwrap();
            let there = here.run(async || thread::current().id()).await.unwrap();
            (here.index(), there == thread::current().id())
        }))
        .unwrap();
        assert_eq!((index, same), (1, true));
    });
}

/// A handle in some cache must not keep threads going that the program has let go of.
#[test]
fn a_workers_handle_does_not_keep_the_pool_alive() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let worker = pool.worker(0).unwrap();
        assert!(!worker.is_closed());
        let waiting = worker.spawn(async || std::future::pending::<()>().await);
        drop(pool);
        assert!(matches!(block_on(waiting), Err(JoinError::RuntimeGone)));
        assert!(worker.is_closed());
        let tally = Tally::new();
        let counted = tally.make();
        assert!(matches!(
            worker.try_spawn(async move || drop(counted)),
            Err(TrySpawnError::Closed(_))
        ));
        assert_eq!(tally.alive(), 0);
        assert!(matches!(
            block_on(worker.run(async || ())),
            Err(JoinError::RuntimeGone)
        ));
        assert!(matches!(
            block_on(worker.spawn(async || ())),
            Err(JoinError::RuntimeGone)
        ));
    });
}

/// A background task that holds the pool weakly lets the program end.
#[test]
fn a_weak_pool_is_a_pool_while_there_is_one() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let weak = pool.downgrade();
        let clone = weak.upgrade().unwrap();
        drop(pool);
        assert_eq!(block_on(clone.run(async || 1)).unwrap(), 1);
        drop(clone);
        assert!(weak.upgrade().is_none());
        assert!(weak.clone().upgrade().is_none());
    });
}

/// A supervisor aborts what others wait for; the handle itself may have been moved away long ago.
#[test]
fn an_abort_handle_outlives_its_work_and_cancels_it_once() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let tally = Tally::new();
        let counted = tally.make();
        let endless = pool.spawn(async move || {
            let _counted = counted;
            std::future::pending::<()>().await;
        });
        let abort = endless.abort_handle();
        drop(endless);
        abort.clone().abort();
        eventually("the work is dropped", || tally.alive() == 0);
        abort.abort();
        assert_eq!(pool.metrics().total(|worker| worker.cancelled), 1);

        let done = pool.spawn(async || 1);
        let abort = done.abort_handle();
        eventually("it is done", || done.is_finished());
        abort.abort();
        assert_eq!(block_on(done).unwrap(), 1);
        drop(pool);
        abort.abort();
    });
}

/// What ends in time is finished; what does not is cancelled, dropped on its worker, and counted.
#[test]
fn shutdown_timeout_says_how_many_it_cut_off() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).thread_name("cut").build().unwrap();
        let tally = Tally::new();
        let quick = (0..10)
            .map(|n| pool.spawn(async move || n))
            .collect::<Vec<_>>();
        let endless = (0..7)
            .map(|_| {
                let counted = tally.make();
                pool.spawn(async move || {
                    let _here = support::OnDrop::new(|| {
                        assert!(thread::current().name().unwrap().starts_with("cut-"));
                    });
                    let _counted = counted;
                    std::future::pending::<()>().await;
                })
            })
            .collect::<Vec<_>>();
        assert_eq!(
            block_on(pool.shutdown_timeout(Duration::from_millis(20))),
            7
        );
        assert_eq!(tally.alive(), 0);
        for (n, handle) in quick.into_iter().enumerate() {
            assert_eq!(block_on(handle).unwrap(), n);
        }
        for handle in endless {
            assert!(matches!(block_on(handle), Err(JoinError::Cancelled)));
        }
        assert_eq!(pool.metrics().total(|worker| worker.in_flight as u64), 0);
    });
}

/// A drain that is done does not wait for the rest of its time.
#[test]
fn shutdown_timeout_that_is_not_needed_cuts_nothing_off() {
    for_each_driver(|builder| {
        for timeout in [Duration::MAX, Duration::from_secs(3600)] {
            let pool = builder().build().unwrap();
            let done = pool.spawn(async || support::yield_now().await);
            assert_eq!(block_on(pool.shutdown_timeout(timeout)), 0);
            block_on(done).unwrap();
        }
    });
}

/// What has not begun does not begin after the time is up, wherever it waits.
#[test]
fn shutdown_timeout_cuts_off_what_has_not_begun() {
    for_each_driver(|builder| {
        let pool = builder().max_in_flight(3).build().unwrap();
        let release = hold(&pool);
        let tally = Tally::new();
        let handles = (0..5)
            .map(|_| {
                let counted = tally.make();
                pool.spawn(async move || {
                    let _counted = counted;
                    unreachable!("the time is up");
                })
            })
            .collect::<Vec<_>>();
        assert_eq!(pool.metrics().pending, 3);
        let mut shutdown = pool.shutdown_timeout(Duration::ZERO);
        assert!(support::poll_once(&mut shutdown, std::task::Waker::noop()).is_pending());
        drop(release);
        assert_eq!(block_on(shutdown), 5);
        assert_eq!(tally.alive(), 0);
        for handle in handles {
            assert!(matches!(block_on(handle), Err(JoinError::Cancelled)));
        }
    });
}

/// One worker that is blocked does not keep the others from what the time asks for.
#[test]
fn shutdown_timeout_cuts_off_what_waits_behind_a_blocked_worker() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).max_in_flight(1).build().unwrap();
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let (held, is_held) = std::sync::mpsc::channel();
        drop(pool.worker(0).unwrap().spawn(async move || {
            held.send(()).unwrap();
            _ = wait.recv();
        }));
        is_held.recv().unwrap();
        let waits = pool.worker(1).unwrap().spawn(async || ());
        let mut shutdown = pool.shutdown_timeout(Duration::ZERO);
        assert!(support::poll_once(&mut shutdown, std::task::Waker::noop()).is_pending());
        assert!(matches!(block_on(waits), Err(JoinError::Cancelled)));
        drop(release);
        assert_eq!(block_on(shutdown), 1);
    });
}

/// The job that ends the pool goes on; the others do not.
#[test]
fn shutdown_timeout_from_a_job_spares_that_job() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let endless = pool.spawn(async || std::future::pending::<()>().await);
        let inner = pool.clone();
        let cut = pool.run(async move || {
            let cut = inner.shutdown_timeout(Duration::from_millis(1)).await;
            // Still on the worker, with a driver that works.
            compio::time::sleep(Duration::from_millis(1)).await;
            cut
        });
        assert_eq!(block_on(cut).unwrap(), 1);
        assert!(matches!(block_on(endless), Err(JoinError::Cancelled)));
        block_on(pool.shutdown());
    });
}

/// Two who end the pool at once must not wait for the more patient one.
#[test]
fn the_earlier_of_two_timeouts_counts() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let endless = pool.spawn(async || std::future::pending::<()>().await);
        let mut patient = pool.shutdown_timeout(Duration::from_secs(3600));
        assert!(support::poll_once(&mut patient, std::task::Waker::noop()).is_pending());
        assert_eq!(block_on(pool.shutdown_timeout(Duration::from_millis(1))), 1);
        assert_eq!(block_on(patient), 1);
        assert!(matches!(block_on(endless), Err(JoinError::Cancelled)));
    });
}
