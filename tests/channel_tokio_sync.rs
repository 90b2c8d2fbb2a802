//! What the two sides talk through while a job runs: everything in `tokio::sync` works in a job of the
//! pool, on either driver, beside a task on Tokio or on a Compio runtime of its own, and the other way
//! round. None of it needs Tokio's context; where it is given none, as here, that is the proof.

#![cfg(not(landbridge_loom))]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use landbridge::{
    channel::{broadcast, oneshot, watch},
    test_util::both,
};
use support::{block_on, for_each_driver};
use tokio::{
    sync::{Barrier, Mutex, Notify, OnceCell, RwLock, Semaphore, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// One value, once.
#[test]
fn oneshot_works_in_a_job() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        both(async || {
            for n in 0..50 {
                let (ask, asked) = oneshot::channel();
                let (answer, answered) = oneshot::channel();
                let job = pool.spawn(async move || {
                    answer.send(asked.await.unwrap() + 1).unwrap();
                });
                ask.send(n).unwrap();
                assert_eq!(answered.await.unwrap(), n + 1);
                job.await.unwrap();
            }
        });
    });
}

/// A queue that fills up, so that both sides wait for each other.
#[test]
fn mpsc_works_in_a_job_with_back_pressure() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        both(async || {
            let (send, mut receive) = mpsc::channel(2);
            let job = pool.spawn(async move || {
                let mut sum = 0;
                while let Some(n) = receive.recv().await {
                    sum += n;
                }
                sum
            });
            for n in 0..200_u64 {
                send.send(n).await.unwrap();
            }
            drop(send);
            assert_eq!(job.await.unwrap(), 199 * 200 / 2);

            let (send, mut receive) = mpsc::channel(1);
            let job = pool.spawn(async move || {
                for n in 0..200_u64 {
                    send.send(n).await.unwrap();
                }
            });
            for n in 0..200 {
                assert_eq!(receive.recv().await, Some(n));
            }
            assert_eq!(receive.recv().await, None);
            job.await.unwrap();
        });
    });
}

/// A permit that is not lost when nobody waits yet.
#[test]
fn notify_works_in_a_job() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        both(async || {
            let [there, back] = [Arc::new(Notify::new()), Arc::new(Notify::new())];
            let job = {
                let (there, back) = (there.clone(), back.clone());
                pool.spawn(async move || {
                    for _ in 0..100 {
                        there.notified().await;
                        back.notify_one();
                    }
                })
            };
            for _ in 0..100 {
                there.notify_one();
                back.notified().await;
            }
            job.await.unwrap();
        });
    });
}

/// Jobs and tasks share a bound; and a job that is cancelled in the queue of the semaphore, or with a
/// permit in its hand, gives it back.
#[test]
fn semaphore_works_in_jobs_and_cancelled_jobs_give_their_permits_back() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).build().unwrap();
        both(async || {
            let permits = Arc::new(Semaphore::new(3));
            let inside = Arc::new(AtomicUsize::new(0));
            let jobs = (0..60)
                .map(|n| {
                    let (permits, inside) = (permits.clone(), inside.clone());
                    let job = pool.spawn(async move || {
                        let _permit = permits.acquire_owned().await.unwrap();
                        assert!(inside.fetch_add(1, Ordering::SeqCst) < 3);
                        let _leave = support::OnDrop::new(|| {
                            inside.fetch_sub(1, Ordering::SeqCst);
                        });
                        support::yield_now().await;
                        compio::time::sleep(Duration::from_micros(20)).await;
                    });
                    if n % 3 == 0 {
                        job.abort();
                    }
                    job
                })
                .collect::<Vec<_>>();
            let _own = permits.acquire().await.unwrap();
            for job in jobs {
                _ = job.await;
            }
            assert_eq!(permits.available_permits(), 2);
        });
    });
}

/// The latest value, and the end of its sender.
#[test]
fn watch_works_in_a_job() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        both(async || {
            let (send, mut receive) = watch::channel(0);
            let (acknowledge, mut acknowledged) = mpsc::channel(1);
            let job = pool.spawn(async move || {
                let mut last = 0;
                while receive.changed().await.is_ok() {
                    last = *receive.borrow_and_update();
                    acknowledge.send(last).await.unwrap();
                }
                last
            });
            for n in 1..=50 {
                send.send(n).unwrap();
                assert_eq!(acknowledged.recv().await, Some(n));
            }
            drop(send);
            assert_eq!(job.await.unwrap(), 50);
        });
    });
}

/// Many receivers, some in jobs, some not.
#[test]
fn broadcast_works_in_jobs() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).build().unwrap();
        both(async || {
            let (send, mut own) = broadcast::channel(128);
            let jobs = (0..10)
                .map(|_| {
                    let mut receive = send.subscribe();
                    pool.spawn(async move || {
                        let mut sum = 0;
                        while let Ok(n) = receive.recv().await {
                            sum += n;
                        }
                        sum
                    })
                })
                .collect::<Vec<_>>();
            for n in 0..100 {
                send.send(n).unwrap();
                assert_eq!(own.recv().await, Ok(n));
            }
            drop(send);
            for job in jobs {
                assert_eq!(job.await.unwrap(), 99 * 100 / 2);
            }
        });
    });
}

/// Locks that are held across an await, on both sides at once.
#[test]
fn mutex_rwlock_and_barrier_work_in_jobs() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).build().unwrap();
        both(async || {
            let count = Arc::new(Mutex::new(0));
            let shared = Arc::new(RwLock::new(0));
            let barrier = Arc::new(Barrier::new(11));
            let jobs = (0..10)
                .map(|_| {
                    let (count, shared) = (count.clone(), shared.clone());
                    let barrier = barrier.clone();
                    pool.spawn(async move || {
                        for _ in 0..20 {
                            let mut count = count.lock().await;
                            let before = *count;
                            support::yield_now().await;
                            *count = before + 1;
                            drop(count);
                            *shared.write().await += 1;
                        }
                        barrier.wait().await;
                        *shared.read().await
                    })
                })
                .collect::<Vec<_>>();
            for _ in 0..20 {
                let mut count = count.lock().await;
                let before = *count;
                support::yield_now().await;
                *count = before + 1;
            }
            barrier.wait().await;
            assert_eq!(*count.lock().await, 220);
            for job in jobs {
                assert_eq!(job.await.unwrap(), 200);
            }
        });
    });
}

/// Tokio's own tasks on the far side: woken from a job, and joined from one.
#[test]
fn a_tokio_join_handle_may_be_awaited_in_a_job() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let tokio = tokio::runtime::Runtime::new().unwrap();
        for n in 0..50 {
            let (go, may_go) = oneshot::channel::<()>();
            let task = tokio.spawn(async move {
                may_go.await.unwrap();
                tokio::time::sleep(Duration::from_micros(100)).await;
                n
            });
            let job = pool.spawn(async move || {
                go.send(()).unwrap();
                task.await.unwrap()
            });
            assert_eq!(block_on(job).unwrap(), n);
        }
    });
}

/// Whoever comes first opens the file, everybody else waits for it, on whichever runtime.
#[test]
fn once_cell_is_filled_once_by_a_job_or_by_the_caller() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).build().unwrap();
        both(async || {
            let cell = Arc::new(OnceCell::new());
            let opened = Arc::new(AtomicUsize::new(0));
            let open = async |cell: &OnceCell<usize>, opened: &AtomicUsize| {
                let open = async || {
                    support::yield_now().await;
                    opened.fetch_add(1, Ordering::SeqCst)
                };
                *cell.get_or_init(open).await
            };
            let jobs = (0..10)
                .map(|_| {
                    let (cell, opened) = (cell.clone(), opened.clone());
                    pool.spawn(async move || open(&cell, &opened).await)
                })
                .collect::<Vec<_>>();
            assert_eq!(open(&cell, &opened).await, 0);
            for job in jobs {
                assert_eq!(job.await.unwrap(), 0);
            }
            assert_eq!(opened.load(Ordering::SeqCst), 1);

            // One that is cancelled while it fills the cell leaves that to the next.
            let cell = Arc::new(OnceCell::<u32>::new());
            let (begun, has_begun) = oneshot::channel();
            let stuck = {
                let cell = cell.clone();
                pool.spawn(async move || {
                    cell.get_or_init(async || {
                        begun.send(()).unwrap();
                        std::future::pending().await
                    })
                    .await
                    .to_owned()
                })
            };
            has_begun.await.unwrap();
            stuck.abort();
            assert_eq!(*cell.get_or_init(async || 7).await, 7);
        });
    });
}

/// Its tasks run on Tokio, whose handle it is given; the set itself may be anywhere.
#[test]
fn join_set_is_filled_and_joined_in_a_job() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_time()
            .build()
            .unwrap();
        let handle = tokio.handle().clone();
        let job = pool.spawn(async move || {
            let mut tasks = JoinSet::new();
            for n in 0..50_u64 {
                let task = async move {
                    tokio::time::sleep(Duration::from_micros(n * 10)).await;
                    n
                };
                tasks.spawn_on(task, &handle);
            }
            let mut sum = 0;
            while let Some(joined) = tasks.join_next().await {
                sum += joined.unwrap();
            }

            // Dropped or aborted, it takes its tasks along, and says so.
            tasks.spawn_on(std::future::pending(), &handle);
            tasks.abort_all();
            assert!(tasks.join_next().await.unwrap().unwrap_err().is_cancelled());
            let (alive, ended) = oneshot::channel::<()>();
            let task = async move {
                let _alive = alive;
                std::future::pending().await
            };
            tasks.spawn_on(task, &handle);
            drop(tasks);
            assert!(ended.await.is_err());
            sum
        });
        assert_eq!(block_on(job).unwrap(), 49 * 50 / 2);
    });
}

/// One word ends the work on both sides.
#[test]
fn a_cancellation_token_reaches_jobs_and_tasks() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).build().unwrap();
        both(async || {
            let root = CancellationToken::new();
            let jobs = (0..10)
                .map(|_| {
                    let child = root.child_token();
                    pool.spawn(async move || child.cancelled().await)
                })
                .collect::<Vec<_>>();
            root.cancel();
            root.cancelled().await;
            for job in jobs {
                job.await.unwrap();
            }

            // And from a job to the one who waits here.
            let token = CancellationToken::new();
            let guard = token.clone().drop_guard();
            let job = pool.spawn(async move || drop(guard));
            let ended = token.run_until_cancelled(std::future::pending::<()>());
            assert_eq!(ended.await, None);
            job.await.unwrap();
        });
    });
}
