//! Wakes across threads, far more than Compio's own queue holds: that one has 64 places and spins when
//! they are taken, and two threads that fill each other's stand still for ever.

mod support;

use std::{
    cell::Cell,
    future::poll_fn,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Poll, Waker},
};

use futures::StreamExt;
use landbridge::test_util::both;
use support::{block_on, eventually, for_each_driver};

const TASKS: usize = 2_000;

/// A thousand tasks on each side, each of which wakes its partner on the other side; every turn of a
/// loop sends thousands of wakes to a thread that is itself busy sending.
#[test]
fn two_pools_that_wake_each_other_by_the_thousand_do_not_stand_still() {
    for_each_driver(|builder| {
        let [near, far] = [builder().build().unwrap(), builder().build().unwrap()];
        let mut handles = Vec::new();
        for _ in 0..TASKS {
            let (to_far, mut from_near) = futures::channel::mpsc::unbounded::<u32>();
            let (to_near, mut from_far) = futures::channel::mpsc::unbounded::<u32>();
            handles.push(near.spawn(async move || {
                let mut last = 0;
                for n in 0..20 {
                    to_far.unbounded_send(n).unwrap();
                    last = from_far.next().await.unwrap();
                }
                last
            }));
            handles.push(far.spawn(async move || {
                let mut last = 0;
                while let Some(n) = from_near.next().await {
                    last = n;
                    _ = to_near.unbounded_send(n);
                }
                last
            }));
        }
        for handle in handles {
            assert_eq!(block_on(handle).unwrap(), 19);
        }
    });
}

/// A wake under a lock that the woken side needs as well: a wake that waits for room would wait for
/// the one who waits for the lock.
#[test]
fn wakes_under_a_lock_that_the_woken_side_takes_too_do_not_deadlock() {
    struct Room {
        wakers: Vec<Waker>,
        turn: usize,
    }

    for_each_driver(|builder| {
        let pools = [builder().build().unwrap(), builder().build().unwrap()];
        let room = Arc::new(Mutex::new(Room {
            wakers: Vec::new(),
            turn: 0,
        }));
        let tasks = 500;
        let handles = (0..2 * tasks)
            .map(|n| {
                let room = room.clone();
                pools[n % 2].spawn(async move || {
                    for _ in 0..5 {
                        let seen = Cell::new(None);
                        poll_fn(|cx| {
                            let mut room = room.lock().unwrap();
                            match seen.get() {
                                None => {
                                    seen.set(Some(room.turn));
                                    room.wakers.push(cx.waker().clone());
                                    if room.wakers.len() < 2 * tasks {
                                        return Poll::Pending;
                                    }
                                    // The last one wakes all of them, the lock in its hand.
                                    room.turn += 1;
                                    for waker in std::mem::take(&mut room.wakers) {
                                        waker.wake_by_ref();
                                    }
                                    Poll::Ready(())
                                }
                                Some(turn) if turn == room.turn => Poll::Pending,
                                Some(_) => Poll::Ready(()),
                            }
                        })
                        .await;
                    }
                })
            })
            .collect::<Vec<_>>();
        for handle in handles {
            block_on(handle).unwrap();
        }
        assert_eq!(room.lock().unwrap().turn, 5);
    });
}

/// A burst from Tokio, the usual case: thousands of tasks of one worker are woken at once while the
/// worker is busy, and each exactly as often as it has to be.
#[test]
fn a_burst_of_wakes_to_a_busy_worker_is_not_lost_and_does_not_block_the_waker() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let started = Arc::new(AtomicUsize::new(0));
        let (senders, handles): (Vec<_>, Vec<_>) = (0..TASKS)
            .map(|_| {
                let (send, receive) = tokio::sync::oneshot::channel::<()>();
                let seen = started.clone();
                let handle = pool.spawn(async move || {
                    seen.fetch_add(1, Ordering::SeqCst);
                    receive.await.unwrap();
                });
                (send, handle)
            })
            .unzip();
        eventually("all wait", || started.load(Ordering::SeqCst) == TASKS);
        let release = support::hold(&pool);
        // Would not get through here if a wake could wait for the worker.
        for sender in senders {
            sender.send(()).unwrap();
        }
        assert!(!handles[0].is_finished());
        drop(release);
        for handle in handles {
            block_on(handle).unwrap();
        }
        assert_eq!(pool.metrics().workers[0].in_flight, 0);
    });
}

/// Ten thousand submissions to a worker that does not run: the way in is not bounded, does not block,
/// and keeps their order.
#[test]
fn ten_thousand_jobs_queue_up_for_a_busy_worker_and_start_in_order() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let release = support::hold(&pool);
        let order = Arc::new(Mutex::new(Vec::new()));
        let handles = (0..10_000)
            .map(|n| {
                let order = order.clone();
                pool.spawn(async move || order.lock().unwrap().push(n))
            })
            .collect::<Vec<_>>();
        let metrics = pool.metrics().workers.swap_remove(0);
        assert_eq!(metrics.in_flight, 10_001);
        assert_eq!(metrics.queued, 10_000);
        drop(release);
        for handle in handles {
            block_on(handle).unwrap();
        }
        assert!(order.lock().unwrap().iter().copied().eq(0..10_000));
    });
}

/// Both directions of waking under load, with the waiting side on each runtime in turn.
#[test]
fn a_ping_pong_between_every_runtime_and_a_worker_loses_no_wake() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        both(async || {
            let (to_pool, mut from_here) = tokio::sync::mpsc::channel::<u32>(1);
            let (to_here, mut from_pool) = tokio::sync::mpsc::channel::<u32>(1);
            let echo = pool.spawn(async move || {
                while let Some(n) = from_here.recv().await {
                    to_here.send(n + 1).await.unwrap();
                }
            });
            for n in 0..500 {
                to_pool.send(n).await.unwrap();
                assert_eq!(from_pool.recv().await, Some(n + 1));
            }
            drop(to_pool);
            echo.await.unwrap();
        });
    });
}
