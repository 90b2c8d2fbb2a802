//! Calls from a worker, and how work is spread over workers.

mod support;

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use futures::channel::oneshot;
use landbridge::{CompioPool, error::JoinError};
use support::{block_on, eventually, for_each_driver, hold};
use tokio::sync::Semaphore;

/// The worker that would have to do the work is the one that waits for it.
#[test]
fn run_and_spawn_on_the_own_single_thread_pool_do_not_deadlock() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let inner = pool.clone();
        let here = block_on(pool.run(async move || {
            let here = thread::current().id();
            let there = inner.run(async || thread::current().id()).await.unwrap();
            let also = inner.spawn(async || thread::current().id()).await.unwrap();
            assert_eq!(inner.metrics().workers[0].crossings_in, 1);
            (here == there && here == also, inner)
        }))
        .unwrap()
        .0;
        assert!(here);
    });
}

/// A library inside a job calls a library that calls a job.
#[test]
fn runs_may_be_nested_three_deep() {
    for_each_driver(|builder| {
        for threads in [1, 2] {
            let pool = builder().threads(threads).build().unwrap();
            let [one, two, three] = [pool.clone(), pool.clone(), pool.clone()];
            let depth = block_on(pool.run(async move || {
                let inner = one.run(async move || {
                    let inner = two.run(async move || {
                        let inner = three.run(async || {
                            compio::fs::metadata("Cargo.toml").await.unwrap();
                            1
                        });
                        inner.await.unwrap() + 1
                    });
                    inner.await.unwrap() + 1
                });
                inner.await.unwrap() + 1
            }));
            assert_eq!(depth.unwrap(), 4);
        }
    });
}

/// Two pools that call each other, each with one worker that waits for the other.
#[test]
fn two_pools_may_call_each_other_both_ways() {
    async fn bounce(from: CompioPool, to: CompioPool, left: u32) -> Result<u32, JoinError> {
        if left == 0 {
            return Ok(0);
        }
        let (back, again) = (from.clone(), to.clone());
        let rest = to
            .run(move || Box::pin(bounce(again, back, left - 1)) as Boxed)
            .await?;
        Ok(rest? + 1)
    }
    type Boxed = std::pin::Pin<Box<dyn Future<Output = Result<u32, JoinError>>>>;

    for_each_driver(|builder| {
        let [near, far] = [builder().build().unwrap(), builder().build().unwrap()];
        let there = near.spawn({
            let (near, far) = (near.clone(), far.clone());
            move || bounce(near, far, 20)
        });
        let back = far.spawn({
            let (near, far) = (near.clone(), far.clone());
            move || bounce(far, near, 20)
        });
        assert_eq!(block_on(there).unwrap().unwrap(), 20);
        assert_eq!(block_on(back).unwrap().unwrap(), 20);
    });
}

/// Cancelling the outer work cancels the inner, on the same worker and on another pool's.
#[test]
fn dropping_the_outer_run_cancels_the_nested_ones() {
    for_each_driver(|builder| {
        let [near, far] = [builder().build().unwrap(), builder().build().unwrap()];
        let tally = support::Tally::new();
        let (started, is_started) = oneshot::channel();
        let (inner, deeper, counted) = (far.clone(), near.clone(), tally.make());
        let handle = near.spawn(async move || {
            let middle = inner.run(async move || {
                let innermost = deeper.run(async move || {
                    let _counted = counted;
                    started.send(()).unwrap();
                    std::future::pending::<()>().await;
                });
                innermost.await
            });
            _ = middle.await;
        });
        block_on(is_started).unwrap();
        assert!(matches!(
            block_on(handle.cancel()),
            Err(JoinError::Cancelled)
        ));
        eventually("the innermost is dropped", || tally.alive() == 0);
    });
}

/// A worker that somebody blocks (it should not happen, and does) keeps what was given to it waiting,
/// and nothing else.
#[test]
fn a_blocked_worker_does_not_hold_up_work_picked_for_another() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).build().unwrap();
        let release = hold(&pool);
        // The blocked one has something in flight and loses every choice; so none of these waits.
        for n in 0..100 {
            assert_eq!(block_on(pool.run(async move || n)).unwrap(), n);
        }
        drop(release);
    });
}

/// Two random choices come close to the best; one random choice, or always the same worker, would not.
#[test]
fn unaddressed_load_is_spread_over_all_workers() {
    for_each_driver(|builder| {
        let pool = builder().threads(4).build().unwrap();
        let handles = (0..400)
            .map(|_| pool.spawn(async || std::future::pending::<()>().await))
            .collect::<Vec<_>>();
        let loads = pool.metrics().workers;
        let (most, least) = loads.iter().fold((0, usize::MAX), |(most, least), worker| {
            (most.max(worker.in_flight), least.min(worker.in_flight))
        });
        assert_eq!(
            loads.iter().map(|worker| worker.in_flight).sum::<usize>(),
            400
        );
        assert!(most - least <= 20, "{most} and {least}");
        drop(handles);
    });
}

/// Callers on one thread after the other, one job at a time: nobody's first choice may be fixed.
#[test]
fn idle_workers_all_get_their_share() {
    for_each_driver(|builder| {
        let pool = builder().threads(4).build().unwrap();
        let seen = Mutex::new(HashSet::new());
        for _ in 0..8 {
            thread::scope(|scope| {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let worker = block_on(pool.run(async || thread::current().id())).unwrap();
                        seen.lock().unwrap().insert(worker);
                    }
                });
            });
        }
        assert_eq!(seen.lock().unwrap().len(), 4);
    });
}

/// Called from a worker, the own worker is one of the two candidates: less loaded, it keeps its work
/// (and pays no wake-up); more loaded, it gives work away.
#[test]
fn a_worker_keeps_its_own_work_while_it_has_least_to_do() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).build().unwrap();
        let inner = pool.clone();
        let spread = block_on(pool.run(async move || {
            // None may end before all are given out, or a quick neighbour would always have least to do.
            let all_given = Arc::new(Semaphore::new(0));
            let handles = (0..100)
                .map(|_| {
                    let all_given = all_given.clone();
                    inner.spawn(async move || {
                        _ = all_given.acquire().await;
                        thread::current().id()
                    })
                })
                .collect::<Vec<_>>();
            all_given.close();
            let mut places = HashSet::new();
            for handle in handles {
                places.insert(handle.await.unwrap());
            }
            places.len()
        }));
        assert_eq!(spread.unwrap(), 2);

        // The other is busy with a job that blocks it.
        let idle = || {
            pool.metrics()
                .workers
                .iter()
                .all(|worker| worker.in_flight == 0)
        };
        eventually("nothing is in flight", idle);
        let release = hold(&pool);
        let inner = pool.clone();
        let stayed = block_on(pool.run(async move || {
            let mut stayed = 0;
            for _ in 0..20 {
                let here = thread::current().id();
                let there = inner.run(async || thread::current().id()).await.unwrap();
                stayed += usize::from(here == there);
            }
            stayed
        }))
        .unwrap();
        // At the first it is a tie of one job each, which the own worker wins.
        assert_eq!(stayed, 20);
        drop(release);
    });
}

/// One greedy task that is always ready must leave room for its neighbours, for timers and I/O.
#[test]
fn a_task_that_is_always_ready_does_not_starve_its_neighbours() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let stop = Arc::new(AtomicUsize::new(0));
        let greedy = (0..100)
            .map(|_| {
                let stop = stop.clone();
                pool.spawn(async move || {
                    while stop.load(Ordering::Relaxed) == 0 {
                        support::yield_now().await;
                    }
                })
            })
            .collect::<Vec<_>>();
        block_on(pool.run(async || {
            compio::time::sleep(std::time::Duration::from_millis(1)).await;
            compio::fs::read("Cargo.toml").await.unwrap();
            compio::runtime::spawn(async { support::yield_now().await })
                .await
                .unwrap();
        }))
        .unwrap();
        stop.store(1, Ordering::Relaxed);
        for handle in greedy {
            block_on(handle).unwrap();
        }
    });
}

/// What a shim has accepted goes out by itself: on the runtime that its stream belongs to, and so also
/// while a job blocks its worker with a runtime of its own.
#[test]
fn a_shim_is_seen_through_on_the_runtime_that_it_was_made_on() {
    use std::io::{Read as _, Write as _};

    use landbridge::io::IntoTokioIo as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// More than the buffers of two sockets hold.
    const SIZE: usize = 12 << 20;

    for_each_driver(|builder| {
        let _watchdog = support::watchdog();
        for nested in [false, true] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let peer = thread::spawn(move || {
                let mut peer = listener.accept().unwrap().0;
                peer.read_exact(&mut vec![0; SIZE]).unwrap();
                peer.write_all(b"k").unwrap();
            });
            let pool = builder().build().unwrap();
            let inner = pool.clone();
            let talk = async move || {
                let stream = compio::net::TcpStream::connect(address).await.unwrap();
                let mut stream = stream.into_tokio_io();
                stream.write_all(&vec![1; SIZE]).await.unwrap();
                // The shim's helper is no job of the pool's: a shutdown does not wait for it.
                assert_eq!(inner.metrics().workers[0].in_flight, 1);
                stream.read_u8().await.unwrap()
            };
            let answer = block_on(pool.run(async move || {
                if nested {
                    let runtime = compio::runtime::Runtime::new().unwrap();
                    runtime.block_on(talk())
                } else {
                    talk().await
                }
            }));
            assert_eq!(answer.unwrap(), b'k');
            peer.join().unwrap();
        }
    });
}
