//! Shutdowns that jobs of the very pool wait for, and what else is at the edge of an end.

mod support;

use std::{
    cell::Cell,
    future::pending,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::Waker,
    time::Duration,
};

use futures::channel::oneshot;
use landbridge::{CompioPool, JoinError, pool::Activity, rt};
use support::{
    OnDrop, Tally, block_on, eventually, for_each_driver, in_child_that_leaks, poll_once, yield_now,
};

/// A service that shuts itself down from the connection that asked for it: the stream's own helper is
/// not something to wait for.
#[cfg(feature = "net")]
#[test]
fn a_job_with_a_written_shim_may_shut_its_pool_down() {
    use landbridge::io::IntoTokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    for_each_driver(|builder| {
        for with_timeout in [false, true] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let pool = builder().build().unwrap();
            let inner = pool.clone();
            let job = pool.spawn(async move || {
                let stream = compio::net::TcpStream::connect(address).await.unwrap();
                let mut stream = stream.into_tokio_io();
                stream.write_all(b"before").await.unwrap();
                stream.flush().await.unwrap();
                if with_timeout {
                    inner.shutdown_timeout(Duration::ZERO).await;
                } else {
                    inner.shutdown().await;
                }
                stream.write_all(b" after").await.unwrap();
                stream.shutdown().await.unwrap();
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).await.unwrap();
                answer
            });
            let (mut peer, _) = listener.accept().unwrap();
            let mut seen = String::new();
            std::io::Read::read_to_string(&mut peer, &mut seen).unwrap();
            assert_eq!(seen, "before after");
            drop(peer);
            assert_eq!(block_on(job).unwrap(), b"");
            block_on(pool.shutdown());
        }
    });
}

/// The pending job needs the place of the job that waits for it.
#[test]
fn a_job_that_waits_for_the_shutdown_gives_its_place_to_those_who_wait_for_one() {
    for_each_driver(|builder| {
        let pool = builder().max_in_flight(1).build().unwrap();
        let inner = pool.clone();
        let (go, may_go) = oneshot::channel::<()>();
        let first = pool.spawn(async move || {
            may_go.await.unwrap();
            inner.shutdown().await;
            1
        });
        let second = pool.spawn(async || 2);
        go.send(()).unwrap();
        assert_eq!(block_on(second).unwrap(), 2);
        assert_eq!(block_on(first).unwrap(), 1);
        block_on(pool.shutdown());
    });
}

/// Two jobs that each hold a place and wait for the end of all others.
#[test]
fn two_jobs_of_a_bounded_pool_may_wait_for_its_shutdown() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).max_in_flight(2).build().unwrap();
        let both = Arc::new(tokio::sync::Barrier::new(2));
        let jobs = [0, 1].map(|index| {
            let inner = pool.clone();
            let both = both.clone();
            pool.worker(index).unwrap().spawn(async move || {
                both.wait().await;
                inner.shutdown().await;
            })
        });
        for job in jobs {
            block_on(job).unwrap();
        }
        block_on(pool.shutdown());
    });
}

/// A job that waited for a shutdown, or gave up waiting, is a job like any other afterwards.
#[test]
fn a_job_that_no_longer_waits_for_the_shutdown_is_cut_off_like_others() {
    for_each_driver(|builder| {
        for gives_up in [false, true] {
            let pool = builder().build().unwrap();
            let inner = pool.clone();
            let (tell, told) = mpsc::channel();
            let other = pool.spawn(async || pending::<()>().await);
            let job = pool.spawn(async move || {
                if gives_up {
                    let mut shutdown = inner.shutdown();
                    assert!(
                        futures::future::poll_immediate(&mut shutdown)
                            .await
                            .is_none()
                    );
                } else {
                    assert_eq!(inner.shutdown_timeout(Duration::ZERO).await, 1);
                }
                drop(inner);
                tell.send(()).unwrap();
                pending::<()>().await;
            });
            told.recv().unwrap();
            if gives_up {
                assert_eq!(block_on(pool.shutdown_timeout(Duration::ZERO)), 2);
                assert!(matches!(block_on(job), Err(JoinError::Cancelled)));
            } else {
                // Its time was up before, for all but it.
                drop(pool);
                assert!(block_on(job).is_err());
            }
            assert!(matches!(block_on(other), Err(JoinError::Cancelled)));
        }
    });
}

/// The job goes on, and so does what it starts: after the cut as after a drain.
#[test]
fn what_a_job_starts_after_its_own_shutdown_timeout_is_not_cut_off() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let inner = pool.clone();
        let endless = pool.spawn(async || pending::<()>().await);
        let job = pool.spawn(async move || {
            assert_eq!(inner.shutdown_timeout(Duration::ZERO).await, 1);
            rt::spawn_local(async {
                yield_now().await;
                7
            })
            .await
            .unwrap()
        });
        assert_eq!(block_on(job).unwrap(), 7);
        assert!(matches!(block_on(endless), Err(JoinError::Cancelled)));
    });
}

/// The number is of jobs, not of what the crate does for them; a destructor that panics is no way out.
#[test]
fn shutdown_timeout_counts_the_users_jobs() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let remote = block_on(pool.host(async || Ok::<_, ()>(Cell::new(5)))).unwrap();
        let (tell, told) = mpsc::channel();
        let also = tell.clone();
        let job = pool.spawn(async move || {
            let _hosted = remote;
            tell.send(()).unwrap();
            pending::<()>().await;
        });
        let bomb = pool.spawn(async move || {
            let _bomb = OnDrop::new(|| panic!("in a destructor"));
            also.send(()).unwrap();
            pending::<()>().await;
        });
        told.recv().unwrap();
        told.recv().unwrap();
        assert_eq!(block_on(pool.shutdown_timeout(Duration::ZERO)), 2);
        assert!(matches!(block_on(job), Err(JoinError::Cancelled)));
        assert!(matches!(block_on(bomb), Err(JoinError::Panicked(_))));
    });
}

/// A handle that somebody keeps in a list is a little memory; a descriptor each would be the end of a
/// server.
#[cfg(target_os = "linux")]
#[test]
fn handles_of_a_dead_pool_hold_no_descriptor() {
    support::in_child("handles_of_a_dead_pool_hold_no_descriptor", || {
        let make = || {
            let pool = CompioPool::builder().threads(1).build().unwrap();
            let job = pool.spawn(async || 1);
            let kept = (
                job.abort_handle(),
                pool.worker(0).unwrap(),
                pool.downgrade(),
            );
            block_on(job).unwrap();
            block_on(pool.shutdown());
            kept
        };
        let mut kept = vec![make()];
        let before = support::descriptor_count();
        kept.extend((0..20).map(|_| make()));
        assert_eq!(support::descriptor_count(), before);
        drop(kept);
    });
}

/// A destructor that always starts another task is cut off, and the worker ends.
#[test]
fn a_destructor_that_always_starts_another_task_does_not_keep_the_worker() {
    struct Again(Arc<AtomicUsize>);

    impl Drop for Again {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
            let again = Self(self.0.clone());
            drop(rt::spawn_local(async move {
                let _again = again;
                pending::<()>().await;
            }));
        }
    }

    in_child_that_leaks(
        "a_destructor_that_always_starts_another_task_does_not_keep_the_worker",
        || {
            for_each_driver(|builder| {
                let pool = builder().build().unwrap();
                let drops = Arc::new(AtomicUsize::new(0));
                let again = Again(drops.clone());
                let job = pool.spawn(async move || {
                    let _again = again;
                    pending::<()>().await;
                });
                let worker = pool.worker(0).unwrap();
                let begun = || pool.metrics().total(|worker| worker.queued as u64) == 0;
                eventually("it waits", begun);
                drop(pool);
                assert!(matches!(block_on(job), Err(JoinError::RuntimeGone)));
                eventually("the worker has ended", || {
                    let metrics = worker.metrics();
                    !metrics.alive && metrics.leaked_tasks > 0
                });
                assert!(drops.load(Ordering::Relaxed) > 1);
            });
        },
    );
}

/// Where a worker hangs is what a dump is for, and a destructor is where one hangs unseen.
#[test]
fn a_dump_shows_the_job_whose_destructor_blocks() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (tell, told) = mpsc::channel();
        let (release, wait) = mpsc::channel::<()>();
        let tally = Tally::new();
        let counted = tally.make();
        let mut run = pool.run(async move || {
            let _blocks = OnDrop::new(move || {
                tell.send(()).unwrap();
                _ = wait.recv();
                drop(counted);
            });
            pending::<()>().await;
        });
        assert!(poll_once(&mut run, Waker::noop()).is_pending());
        eventually("it has begun", || {
            pool.metrics().total(|worker| worker.queued as u64) == 0
        });
        drop(run);
        told.recv().unwrap();
        let dump = pool.dump();
        assert!(
            matches!(dump.workers[0].activity, Activity::Running { origin } if origin.file() == file!()),
            "{dump}"
        );
        drop(release);
        eventually("it is dropped", || tally.alive() == 0);
    });
}

/// A shutdown that loses a `select!` goes on, and then waits for that job as for any other.
#[test]
fn a_shutdown_inside_of_select_may_lose_and_the_drain_goes_on() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let inner = pool.clone();
        let (go, may_go) = oneshot::channel::<()>();
        let seen = Arc::new(AtomicBool::new(false));
        let other = {
            let seen = seen.clone();
            pool.spawn(async move || {
                may_go.await.unwrap();
                seen.store(true, Ordering::Relaxed);
            })
        };
        let job = pool.spawn(async move || {
            let mut shutdown = pin!(inner.shutdown());
            // Polled, then left: the drain is under way, and waits for this job, too.
            assert!(
                futures::future::poll_immediate(&mut shutdown)
                    .await
                    .is_none()
            );
            go.send(()).unwrap();
            3
        });
        assert_eq!(block_on(job).unwrap(), 3);
        block_on(other).unwrap();
        block_on(pool.shutdown());
        assert!(seen.load(Ordering::Relaxed));
    });
}
