//! Threads and descriptors: what a pool takes it gives back, whatever was in flight.
//!
//! Each test runs in a process of its own, because that is whose threads and descriptors are counted.

#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "raises the limit of descriptors")]

mod support;

use std::{
    future::pending,
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Waker,
    time::Duration,
};

use compio::io::AsyncRead;
use landbridge::{CompioPool, JoinHandle, error::JoinError};
use support::{
    assert_lives, block_on, descriptor_count, eventually, for_each_driver, in_child, poll_once,
    socket_pair, thread_count, threads_named,
};

/// Lets this process have as many descriptors as it may, and says how many pairs of sockets that is
/// enough for; 5 000, where the machine allows it.
fn pairs() -> usize {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is written to and alive.
    let done = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    assert_eq!(done, 0);
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: plain numbers.
    let done = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(done, 0);
    let room = usize::try_from(limit.rlim_max).unwrap_or(usize::MAX);
    (room.saturating_sub(200) / 2).min(5_000)
}

/// Waits until other pools, the one that looked for io_uring among them, are gone, and with them all
/// descriptors that were not there at `start`.
fn settle(start: usize) {
    eventually("no pool is left", || {
        threads_named("landbridge") == 0 && descriptor_count() <= start
    });
}

/// So many reads that nobody will ever answer, each a job of its own; and the other ends.
fn pending_reads(pool: &CompioPool, count: usize) -> (Vec<JoinHandle<()>>, Vec<UnixStream>) {
    let waiting = Arc::new(AtomicUsize::new(0));
    let mut peers = Vec::with_capacity(count);
    let handles = (0..count)
        .map(|_| {
            let (near, far) = socket_pair();
            peers.push(far);
            let waiting = waiting.clone();
            pool.spawn(async move || {
                let mut near = compio::net::UnixStream::from_std(near).unwrap();
                let mut read = std::pin::pin!(near.read(Vec::with_capacity(512)));
                assert!(futures::future::poll_immediate(&mut read).await.is_none());
                waiting.fetch_add(1, Ordering::SeqCst);
                _ = read.await;
            })
        })
        .collect();
    eventually("all wait", || waiting.load(Ordering::SeqCst) == count);
    (handles, peers)
}

/// Programs that make pools as they go (tests do) must not run out of anything.
#[test]
fn threads_and_descriptors_are_given_back_a_hundred_times_over() {
    in_child(
        "threads_and_descriptors_are_given_back_a_hundred_times_over",
        || {
            let start = descriptor_count();
            for_each_driver(|builder| {
                let build = || builder().threads(2).thread_name("again").build().unwrap();
                settle(start);
                // Whatever is set up once in a process is set up now.
                let pool = build();
                assert_lives(&pool);
                block_on(pool.shutdown());
                drop(pool);
                eventually("the first pool is gone", || threads_named("again") == 0);
                let threads = thread_count();
                let descriptors = descriptor_count();
                for round in 0..100 {
                    let pool = build();
                    assert_lives(&pool);
                    let waits = pool.spawn(async || pending::<()>().await);
                    let (near, far) = socket_pair();
                    let reads = pool.spawn(async move || {
                        let mut near = compio::net::UnixStream::from_std(near).unwrap();
                        _ = near.read(Vec::with_capacity(64)).await;
                    });
                    assert_lives(&pool);
                    match round % 3 {
                        0 => drop(pool),
                        1 => {
                            waits.abort();
                            reads.abort();
                            block_on(pool.shutdown());
                            drop(pool);
                        }
                        _ => {
                            let mut shutdown = pool.shutdown();
                            drop(pool);
                            assert!(poll_once(&mut shutdown, Waker::noop()).is_pending());
                            drop(shutdown);
                        }
                    }
                    assert!(block_on(waits).is_err());
                    assert!(block_on(reads).is_err());
                    drop(far);
                    // Not `==`: a watchdog of before may have been among them.
                    eventually("the threads end", || thread_count() <= threads);
                    eventually("the descriptors are closed", || {
                        descriptor_count() <= descriptors
                    });
                }
            });
        },
    );
}

/// The shutdown resolves when all is given back, not at some time afterwards: the next line of the
/// caller may bind the same address.
#[test]
fn when_a_shutdown_resolves_every_descriptor_is_closed() {
    in_child(
        "when_a_shutdown_resolves_every_descriptor_is_closed",
        || {
            let start = descriptor_count();
            for_each_driver(|builder| {
                settle(start);
                let before = descriptor_count();
                for _ in 0..20 {
                    let pool = builder().threads(2).build().unwrap();
                    let (near, far) = socket_pair();
                    let handle = pool.spawn(async move || {
                        let mut near = compio::net::UnixStream::from_std(near).unwrap();
                        _ = near.read(Vec::with_capacity(64)).await;
                    });
                    assert_lives(&pool);
                    drop(far);
                    block_on(pool.shutdown());
                    assert!(handle.is_finished());
                    // The bell itself belongs to whoever may still ring.
                    drop((handle, pool));
                    assert_eq!(descriptor_count(), before);
                }
            });
        },
    );
}

/// Compio loses cancels when its submission queue of 1 024 is full: 5 000 reads dropped at once left
/// 3 976 sockets open for good. Here the pool lives on.
#[test]
fn thousands_of_reads_aborted_at_once_leave_no_descriptor_behind() {
    in_child(
        "thousands_of_reads_aborted_at_once_leave_no_descriptor_behind",
        || {
            let count = pairs();
            let start = descriptor_count();
            for_each_driver(|builder| {
                settle(start);
                let pool = builder().build().unwrap();
                assert_lives(&pool);
                let before = descriptor_count();
                let (handles, peers) = pending_reads(&pool, count);
                assert!(descriptor_count() >= before + 2 * count);
                for handle in &handles {
                    handle.abort();
                }
                for handle in handles {
                    assert!(matches!(block_on(handle), Err(JoinError::Cancelled)));
                }
                drop(peers);
                // The kernel's answers to the cancels are still to come.
                eventually("every socket is closed", || descriptor_count() == before);
                assert_lives(&pool);
                block_on(pool.shutdown());
            });
        },
    );
}

/// The same with `run`: the waiting futures are dropped, as a server does when its clients go away.
#[test]
fn thousands_of_runs_dropped_at_once_leave_no_descriptor_behind() {
    in_child(
        "thousands_of_runs_dropped_at_once_leave_no_descriptor_behind",
        || {
            let count = pairs();
            let start = descriptor_count();
            for_each_driver(|builder| {
                settle(start);
                let pool = builder().build().unwrap();
                assert_lives(&pool);
                let before = descriptor_count();
                let waiting = Arc::new(AtomicUsize::new(0));
                let mut peers = Vec::new();
                let mut runs = Vec::new();
                for _ in 0..count {
                    let (near, far) = socket_pair();
                    peers.push(far);
                    let waiting = waiting.clone();
                    let mut run = pool.run(async move || {
                        let mut near = compio::net::UnixStream::from_std(near).unwrap();
                        let mut read = std::pin::pin!(near.read(Vec::with_capacity(512)));
                        assert!(futures::future::poll_immediate(&mut read).await.is_none());
                        waiting.fetch_add(1, Ordering::SeqCst);
                        _ = read.await;
                    });
                    assert!(poll_once(&mut run, Waker::noop()).is_pending());
                    runs.push(run);
                }
                eventually("all wait", || waiting.load(Ordering::SeqCst) == count);
                drop(runs);
                eventually("near ends are closed", || {
                    descriptor_count() == before + count
                });
                drop(peers);
                assert_eq!(descriptor_count(), before);
                assert_lives(&pool);
                block_on(pool.shutdown());
            });
        },
    );
}

/// The same at the pool's end, both ways to get there.
#[test]
fn a_pool_that_ends_with_thousands_of_reads_in_flight_leaves_no_descriptor_behind() {
    in_child(
        "a_pool_that_ends_with_thousands_of_reads_in_flight_leaves_no_descriptor_behind",
        || {
            let count = pairs();
            let start = descriptor_count();
            for_each_driver(|builder| {
                settle(start);
                let before = descriptor_count();
                let pool = builder().thread_name("ends").build().unwrap();
                let (handles, peers) = pending_reads(&pool, count);
                drop(pool);
                for handle in handles {
                    assert!(matches!(block_on(handle), Err(JoinError::RuntimeGone)));
                }
                eventually("the worker ends", || threads_named("ends") == 0);
                drop(peers);
                assert_eq!(descriptor_count(), before);
            });
        },
    );
}

/// Readiness on both sides: a read that waits when its worker ends must be cancelled, not waited for.
#[test]
fn a_read_that_never_completes_does_not_hold_up_the_pools_end() {
    in_child(
        "a_read_that_never_completes_does_not_hold_up_the_pools_end",
        || {
            for_each_driver(|builder| {
                let pool = builder().thread_name("held").build().unwrap();
                let (handles, peers) = pending_reads(&pool, 3);
                let metrics = pool.clone();
                let mut shutdown = pool.shutdown();
                assert!(poll_once(&mut shutdown, Waker::noop()).is_pending());
                for handle in &handles {
                    handle.abort();
                }
                block_on(shutdown);
                assert_eq!(metrics.metrics().workers[0].leaked_runtimes, 0);
                drop(peers);
            });
        },
    );
}

/// A job that keeps several operations and a timer going at once, dropped as a whole.
#[test]
fn a_job_with_many_operations_in_flight_gives_everything_back() {
    in_child(
        "a_job_with_many_operations_in_flight_gives_everything_back",
        || {
            let start = descriptor_count();
            for_each_driver(|builder| {
                settle(start);
                let before = descriptor_count();
                let pool = builder().thread_name("many").build().unwrap();
                let (nears, fars): (Vec<_>, Vec<_>) = (0..400).map(|_| socket_pair()).unzip();
                let (waiting, is_waiting) = futures::channel::oneshot::channel();
                let handle = pool.spawn(async move || {
                    let reads = nears.into_iter().map(|near| {
                        Box::pin(async move {
                            let mut near = compio::net::UnixStream::from_std(near).unwrap();
                            _ = near.read(Vec::with_capacity(512)).await;
                        })
                    });
                    let all = futures::future::join_all(reads);
                    let sleep = compio::time::sleep(Duration::from_secs(3_600));
                    let mut both = std::pin::pin!(futures::future::join(all, sleep));
                    assert!(futures::future::poll_immediate(&mut both).await.is_none());
                    waiting.send(()).unwrap();
                    both.await;
                });
                block_on(is_waiting).unwrap();
                assert!(matches!(
                    block_on(handle.cancel()),
                    Err(JoinError::Cancelled)
                ));
                assert_lives(&pool);
                drop(pool);
                eventually("the worker ends", || threads_named("many") == 0);
                drop(fars);
                assert_eq!(descriptor_count(), before);
            });
        },
    );
}
