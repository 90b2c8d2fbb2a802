//! The pool goes away first: whoever waits is told, and never hangs.

mod support;

use std::{
    cell::RefCell,
    future::{Future, pending},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use futures::{channel::oneshot, executor::block_on};
use landbridge::{CompioPool, error::JoinError, test_util::both};
use support::{
    OnDrop, Tally, assert_lives, eventually, eventually_async, for_each_driver, hold, poll_once,
};

fn is_gone<T>(result: Result<T, JoinError>) -> bool {
    matches!(result, Err(JoinError::RuntimeGone))
}

/// The promise that matters most: a Tokio task that waits for a pool that somebody drops.
#[test]
fn a_pool_dropped_while_its_work_runs_resolves_every_waiter() {
    for_each_driver(|builder| {
        both(async || {
            let pool = builder().threads(2).build().unwrap();
            let started = Arc::new(AtomicUsize::new(0));
            let tally = Tally::new();
            let work = || {
                let (seen, counted) = (started.clone(), tally.make());
                async move || {
                    let _counted = counted;
                    seen.fetch_add(1, Ordering::SeqCst);
                    pending::<()>().await;
                }
            };
            let handles = (0..100).map(|_| pool.spawn(work())).collect::<Vec<_>>();
            let runs = (0..100).map(|_| pool.run(work())).collect::<Vec<_>>();
            let mut runs = futures::future::join_all(runs);
            assert!(futures::future::poll_immediate(&mut runs).await.is_none());
            eventually_async("all are started", || started.load(Ordering::SeqCst) == 200).await;
            drop(pool);
            for handle in handles {
                assert!(is_gone(handle.await));
            }
            for result in runs.await {
                assert!(is_gone(result));
            }
            assert_eq!(tally.alive(), 0);
        });
    });
}

/// What stands in the queue when the pool goes is dropped all the same. The turn of the loop that is
/// under way may still begin some of it; each waiter learns which way it went.
#[test]
fn a_pool_dropped_with_work_queued_resolves_every_waiter() {
    for_each_driver(|builder| {
        both(async || {
            let pool = builder().build().unwrap();
            let release = hold(&pool);
            let called = Arc::new(AtomicUsize::new(0));
            let tally = Tally::new();
            let work = || {
                let (seen, counted) = (called.clone(), tally.make());
                async move || {
                    let _counted = counted;
                    seen.fetch_add(1, Ordering::SeqCst);
                }
            };
            let handles = (0..500).map(|_| pool.spawn(work())).collect::<Vec<_>>();
            let runs = (0..500).map(|_| pool.run(work())).collect::<Vec<_>>();
            let mut runs = futures::future::join_all(runs);
            assert!(futures::future::poll_immediate(&mut runs).await.is_none());
            drop(pool);
            drop(release);
            let mut results = futures::future::join_all(handles).await;
            results.append(&mut runs.await);
            let (done, gone): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
            assert_eq!(done.len(), called.load(Ordering::SeqCst));
            assert!(gone.len() > 500, "one turn of the loop, not all of them");
            assert!(gone.into_iter().all(is_gone));
            assert_eq!(tally.alive(), 0);
        });
    });
}

/// What waits must not keep the pool going, or it would wait for itself.
#[test]
fn neither_a_handle_nor_a_run_keeps_the_pool_alive() {
    for_each_driver(|builder| {
        let ended = Arc::new(AtomicUsize::new(0));
        let pool = builder().build().unwrap();
        let seen = ended.clone();
        let handle = pool.spawn(async move || {
            let _mark = OnDrop::new(move || {
                seen.fetch_add(1, Ordering::SeqCst);
            });
            pending::<()>().await;
        });
        let lazy = pool.run(async || ());
        let mut waiting = pool.run(async || pending::<()>().await);
        assert!(poll_once(&mut waiting, Waker::noop()).is_pending());
        assert_lives(&pool);
        drop(pool);
        eventually("the job is dropped", || ended.load(Ordering::SeqCst) == 1);
        assert!(is_gone(block_on(handle)));
        assert!(is_gone(block_on(lazy)));
        assert!(is_gone(block_on(waiting)));
    });
}

/// Late callers get an answer, and their closure back in the only way there is: it is dropped, there
/// and then, without being called.
#[test]
fn after_the_shutdown_run_and_spawn_are_refused_and_the_closure_is_dropped_uncalled() {
    for_each_driver(|builder| {
        both(async || {
            let pool = builder().build().unwrap();
            pool.shutdown().await;
            assert!(pool.is_shutdown());
            let here = thread::current().id();
            let called = Arc::new(AtomicBool::new(false));
            let places = Arc::new(Mutex::new(Vec::new()));
            let work = || {
                let (seen, places) = (called.clone(), places.clone());
                let mark = OnDrop::new(move || {
                    places.lock().unwrap().push(thread::current().id());
                });
                async move || {
                    let _mark = mark;
                    seen.store(true, Ordering::SeqCst);
                }
            };
            assert!(is_gone(pool.run(work()).await));
            let handle = pool.spawn(work());
            assert!(handle.is_finished());
            assert!(is_gone(handle.await));
            assert_eq!(*places.lock().unwrap(), [here, here]);
            assert!(!called.load(Ordering::SeqCst));
            assert_eq!(pool.metrics().workers[0].in_flight, 0);
        });
    });
}

/// The last clone may be dropped by a job of the pool itself: the worker must not wait for itself,
/// and must not drop the job that it is polling.
#[test]
fn the_last_clone_may_be_dropped_by_a_job_of_the_pool() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (tell, told) = mpsc::channel();
        let inner = pool.clone();
        let (go, may_go) = oneshot::channel::<()>();
        let handle = pool.spawn(async move || {
            may_go.await.unwrap();
            drop(inner);
            tell.send("went on").unwrap();
            pending::<()>().await;
        });
        drop(pool);
        go.send(()).unwrap();
        assert_eq!(told.recv(), Ok("went on"));
        assert!(is_gone(block_on(handle)));
    });
}

/// The same from within a destructor at the pool's own end, with the pool in the captures of a job
/// that never started.
#[test]
fn a_pool_that_is_held_by_its_own_queued_job_ends_with_it() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let other = builder().build().unwrap();
        let release = hold(&pool);
        let inner = pool.clone();
        let handle = pool.spawn(async move || drop(inner));
        // Both pools hold each other, and one holds itself.
        let held = pool.clone();
        let theirs = other.spawn(async move || {
            let _held = held;
            pending::<()>().await;
        });
        drop(pool);
        drop(release);
        block_on(handle).unwrap();
        drop(other);
        assert!(is_gone(block_on(theirs)));
    });
}

/// Dropping is signalling: it must not block the thread of an async runtime for as long as a job is
/// busy.
#[test]
fn dropping_the_last_clone_does_not_wait_for_a_busy_worker() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let release = hold(&pool);
        let handle = pool.spawn(async || ());
        // Would never return if it waited: the worker is released only below.
        drop(pool);
        assert!(!handle.is_finished());
        drop(release);
        _ = block_on(handle);
    });
}

/// A destructor is code like any other: it may wake its own task, give work to the very pool that is
/// ending, or start something on the worker's Compio runtime.
#[test]
fn destructors_may_use_the_pool_while_it_ends() {
    struct Busy {
        pool: CompioPool,
        waker: RefCell<Option<Waker>>,
        tally: Tally,
        outcomes: Arc<Mutex<Vec<bool>>>,
    }

    impl Future for &Busy {
        type Output = ();

        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            *self.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        }
    }

    impl Drop for Busy {
        fn drop(&mut self) {
            let waker = self.waker.take().expect("it was polled");
            waker.wake_by_ref();
            let counted = self.tally.make();
            let spawned = self.pool.spawn(async move || drop(counted));
            let counted = self.tally.make();
            let mut run = self.pool.run(async move || drop(counted));
            let polled = poll_once(&mut run, &waker);
            let counted = self.tally.make();
            let inner = self.pool.clone();
            compio::runtime::spawn(async move {
                let _mark = OnDrop::new(move || {
                    let refused = inner.spawn(async move || drop(counted));
                    assert!(is_gone(block_on(refused)));
                });
                compio::time::sleep(Duration::from_secs(3_600)).await;
            })
            .detach();
            let mut outcomes = self.outcomes.lock().unwrap();
            outcomes.push(spawned.is_finished() && is_gone(block_on(spawned)));
            outcomes.push(matches!(polled, Poll::Ready(Err(JoinError::RuntimeGone))));
            waker.wake();
        }
    }

    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let tally = Tally::new();
        let outcomes = Arc::new(Mutex::new(Vec::new()));
        let handles = (0..10)
            .map(|_| {
                let (inner, tally, outcomes) = (pool.clone(), tally.clone(), outcomes.clone());
                pool.spawn(async move || {
                    let busy = Busy {
                        pool: inner,
                        waker: RefCell::default(),
                        tally,
                        outcomes,
                    };
                    (&busy).await;
                })
            })
            .collect::<Vec<_>>();
        assert_lives(&pool);
        // `drop` would not do: the jobs hold clones. Dropping half-way lets go of the last but those.
        let release = hold(&pool);
        let mut shutdown = pool.shutdown();
        assert!(poll_once(&mut shutdown, Waker::noop()).is_pending());
        for handle in &handles {
            handle.abort();
        }
        drop(release);
        block_on(shutdown);
        for handle in handles {
            assert!(matches!(block_on(handle), Err(JoinError::Cancelled)));
        }
        let outcomes = outcomes.lock().unwrap();
        assert_eq!(outcomes.len(), 20);
        assert!(outcomes.iter().all(|refused| *refused));
        assert_eq!(tally.alive(), 0);
    });
}

/// Compio's own `spawn` inside a job bypasses the pool: such a task is dropped at the pool's end, with
/// its I/O in flight, on its own thread.
#[cfg(unix)]
#[test]
fn inner_tasks_of_compio_with_io_in_flight_are_dropped_with_the_pool() {
    use compio::io::AsyncRead;

    for_each_driver(|builder| {
        for shut_down in [false, true] {
            let pool = builder().build().unwrap();
            let tally = Tally::new();
            let places = Arc::new(Mutex::new(Vec::new()));
            let mut peers = Vec::new();
            for _ in 0..50 {
                let (near, far) = support::socket_pair();
                peers.push(far);
                let (counted, places) = (tally.make(), places.clone());
                let started = pool.run(async move || {
                    let mut near = compio::net::UnixStream::from_std(near).unwrap();
                    let home = thread::current().id();
                    compio::runtime::spawn(async move {
                        let _mark = OnDrop::new(move || {
                            let here = thread::current().id();
                            places.lock().unwrap().push((home, here));
                            drop(counted);
                        });
                        _ = near.read(Vec::with_capacity(4_096)).await;
                    })
                    .detach();
                    support::yield_now().await;
                });
                block_on(started).unwrap();
            }
            assert_eq!(tally.alive(), 50);
            if shut_down {
                block_on(pool.shutdown());
                assert_eq!(tally.alive(), 0);
            } else {
                drop(pool);
                eventually("they are dropped", || tally.alive() == 0);
            }
            for (home, grave) in &*places.lock().unwrap() {
                assert_eq!(home, grave);
            }
            drop(peers);
        }
    });
}

/// Handles and wakers outlive the pool: every call on them must still be harmless.
#[test]
fn handles_and_wakers_are_harmless_after_the_pool_is_gone() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (send, receive) = mpsc::channel();
        let handle = pool.spawn(move || {
            std::future::poll_fn(move |cx: &mut Context<'_>| -> Poll<()> {
                _ = send.send(cx.waker().clone());
                Poll::Pending
            })
        });
        let waker = receive.recv().unwrap();
        let clone = waker.clone();
        drop(pool);
        eventually("it is over", || handle.is_finished());
        handle.abort();
        waker.wake_by_ref();
        waker.wake();
        handle.abort();
        assert!(is_gone(block_on(handle)));
        clone.wake();
    });
}

/// The pool and the work may end at the same moment: the result is either, and nothing hangs or is
/// lost. Many rounds, for many interleavings.
#[test]
fn work_that_ends_while_the_pool_is_dropped_gives_its_output_or_runtime_gone() {
    for_each_driver(|builder| {
        let tally = Tally::new();
        for round in 0..100 {
            let pool = builder().build().unwrap();
            let (go, may_go) = oneshot::channel::<()>();
            let counted = tally.make();
            let handle = pool.spawn(async move || {
                may_go.await.unwrap();
                counted
            });
            if round % 2 == 0 {
                assert_lives(&pool);
            }
            thread::scope(|scope| {
                scope.spawn(move || _ = go.send(()));
                scope.spawn(move || drop(pool));
                match block_on(handle) {
                    Ok(_) | Err(JoinError::RuntimeGone) => {}
                    Err(other) => panic!("{other:?}"),
                }
            });
        }
        eventually("all are dropped", || tally.alive() == 0);
    });
}
