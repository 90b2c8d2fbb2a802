//! What a sandbox or a limit refuses: a driver, a descriptor, locked memory. A pool falls back or says
//! what is missing, and goes on with what it has.
//!
//! Each test runs in a process of its own, for which the system call is refused as a container's profile
//! refuses it: to every thread, for good.

#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "limits of the process")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use compio::{
    buf::BufResult,
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use landbridge::{CompioPool, Driver, JoinError, error::BuildError, pool::DriverKind};
use support::{
    assert_lives, block_on, descriptor_count, eventually, for_each_driver, has_io_uring, in_child,
    in_child_that_leaks, seccomp, socket_pair, threads_named,
};

/// A file, a connection and a timer: what a pool is for.
fn assert_works(pool: &CompioPool) {
    let file = pool.run(async || compio::fs::read("Cargo.toml").await);
    let manifest = std::fs::read("Cargo.toml").unwrap();
    assert_eq!(block_on(file).unwrap().unwrap(), manifest);

    let echo = pool.run(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let client = TcpStream::connect(listener.local_addr()?);
        let (accepted, client) = futures::future::join(listener.accept(), client).await;
        let (mut server, mut client) = (accepted?.0, client?);
        client.write_all(b"there and back").await.0?;
        let BufResult(read, bytes) = server.read_exact(Vec::with_capacity(14)).await;
        read?;
        server.write_all(bytes).await.0?;
        let BufResult(read, bytes) = client.read_exact(Vec::with_capacity(14)).await;
        read.map(|()| bytes)
    });
    let echoed: std::io::Result<Vec<u8>> = block_on(echo).unwrap();
    assert_eq!(echoed.unwrap(), b"there and back");

    let nap = Duration::from_millis(5);
    let slept = pool.run(async move || {
        let start = Instant::now();
        compio::time::sleep(nap).await;
        start.elapsed()
    });
    assert!(block_on(slept).unwrap() >= nap);
}

fn set_limit(resource: libc::__rlimit_resource_t, soft: u64) {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is written to and alive.
    let done = unsafe { libc::getrlimit(resource, &raw mut limit) };
    assert_eq!(done, 0);
    limit.rlim_cur = soft.min(limit.rlim_max);
    // SAFETY: plain numbers.
    let done = unsafe { libc::setrlimit(resource, &raw const limit) };
    assert_eq!(done, 0);
}

fn io_uring_is_refused_with(errno: i32) {
    seccomp::refuse_everywhere(libc::SYS_io_uring_setup, errno);

    let auto = CompioPool::builder().threads(2).build().unwrap();
    let metrics = auto.metrics();
    let mut kinds = metrics.workers.iter().map(|worker| worker.driver);
    assert!(kinds.all(|kind| kind == DriverKind::Polling), "{metrics:?}");
    assert_works(&auto);

    let before = descriptor_count();
    let error = CompioPool::builder()
        .threads(2)
        .thread_name("noring")
        .driver(Driver::IoUring)
        .build()
        .unwrap_err();
    let BuildError::Driver {
        worker: 0,
        driver: Driver::IoUring,
        source,
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!(source.raw_os_error(), Some(errno));
    eventually("no thread is left", || threads_named("noring") == 0);
    assert_eq!(descriptor_count(), before);

    assert_works(&auto);
    block_on(auto.shutdown());
    assert_eq!(auto.metrics().total(|worker| worker.leaked_runtimes), 0);
}

/// Docker's default profile.
#[test]
fn where_io_uring_is_forbidden_auto_polls_and_io_uring_says_eperm() {
    in_child(
        "where_io_uring_is_forbidden_auto_polls_and_io_uring_says_eperm",
        || io_uring_is_refused_with(libc::EPERM),
    );
}

/// An old kernel, or gVisor.
#[test]
fn where_io_uring_is_unknown_auto_polls_and_io_uring_says_enosys() {
    in_child(
        "where_io_uring_is_unknown_auto_polls_and_io_uring_says_enosys",
        || io_uring_is_refused_with(libc::ENOSYS),
    );
}

/// What a kernel before 5.12 says when a ring would exceed the limit of locked memory.
#[test]
fn where_there_is_no_memory_for_a_ring_auto_polls_and_io_uring_says_enomem() {
    in_child(
        "where_there_is_no_memory_for_a_ring_auto_polls_and_io_uring_says_enomem",
        || io_uring_is_refused_with(libc::ENOMEM),
    );
}

/// A privileged start followed by a sandbox: rings that are there already go on, new pools do without.
#[test]
fn a_ring_that_is_there_outlives_the_refusal_of_new_ones() {
    in_child(
        "a_ring_that_is_there_outlives_the_refusal_of_new_ones",
        || {
            if !has_io_uring() {
                return;
            }
            let old = CompioPool::builder().threads(1).build().unwrap();
            seccomp::refuse_everywhere(libc::SYS_io_uring_setup, libc::EPERM);
            assert!(support::uses_io_uring(&old));
            assert_works(&old);
            let new = CompioPool::builder().threads(1).build().unwrap();
            assert!(!support::uses_io_uring(&new));
            assert_works(&new);
            block_on(old.shutdown());
            assert_works(&new);
        },
    );
}

/// A driver that stops working altogether: its worker cannot go on, but whoever waits for it must hear of
/// that, and so must the shutdown.
#[test]
fn a_driver_that_fails_while_it_runs_ends_its_worker_and_hangs_nobody() {
    in_child_that_leaks(
        "a_driver_that_fails_while_it_runs_ends_its_worker_and_hangs_nobody",
        || {
            if !has_io_uring() {
                return;
            }
            let stopped = Arc::new(AtomicUsize::new(0));
            let count = stopped.clone();
            let pool = CompioPool::builder()
                .threads(1)
                .driver(Driver::IoUring)
                .on_thread_stop(move |_| _ = count.fetch_add(1, Ordering::SeqCst))
                .build()
                .unwrap();
            let (waiting, is_waiting) = futures::channel::oneshot::channel();
            let job = pool.spawn(async move || {
                waiting.send(()).unwrap();
                std::future::pending::<()>().await;
            });
            block_on(is_waiting).unwrap();
            seccomp::refuse_everywhere(libc::SYS_io_uring_enter, libc::EPERM);
            // Wakes it up, if it sleeps; it may still be answered.
            _ = block_on(pool.run(async || {}));
            assert!(matches!(block_on(job), Err(JoinError::RuntimeGone)));
            assert_eq!(block_on(pool.run_blocking(|| 42)).unwrap(), 42);
            block_on(pool.shutdown());
            assert_eq!(stopped.load(Ordering::SeqCst), 1);
        },
    );
}

/// A server at its limit of descriptors: new connections are errors, those that are there are served, and
/// when some are closed all is well again.
#[test]
fn exhausted_descriptors_are_errors_of_the_operations_and_the_pool_serves_on() {
    in_child(
        "exhausted_descriptors_are_errors_of_the_operations_and_the_pool_serves_on",
        || {
            for_each_driver(|builder| {
                set_limit(libc::RLIMIT_NOFILE, 1_024);
                let pool = builder().build().unwrap();
                // Whatever is set up at the first use is set up now.
                assert_works(&pool);
                let (near, far) = socket_pair();
                let (taken, is_taken) = futures::channel::oneshot::channel();
                let (go_on, may_go_on) = futures::channel::oneshot::channel::<()>();
                let connection = pool.spawn(async move || {
                    let mut near = compio::net::UnixStream::from_std(near).unwrap();
                    taken.send(()).unwrap();
                    _ = may_go_on.await;
                    near.write_all(b"served").await.0
                });
                block_on(is_taken).unwrap();
                set_limit(libc::RLIMIT_NOFILE, 0);
                for _ in 0..10 {
                    let opened = block_on(
                        pool.run(async || compio::fs::File::open("Cargo.toml").await.map(drop)),
                    );
                    let error = opened.unwrap().unwrap_err();
                    assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
                    let bound = block_on(
                        pool.run(async || TcpListener::bind("127.0.0.1:0").await.map(drop)),
                    );
                    let error = bound.unwrap().unwrap_err();
                    assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
                }
                go_on.send(()).unwrap();
                block_on(connection).unwrap().unwrap();
                let mut bytes = [0; 6];
                std::io::Read::read_exact(&mut { far }, &mut bytes).unwrap();
                assert_eq!(&bytes, b"served");
                assert_eq!(block_on(pool.run_blocking(|| 42)).unwrap(), 42);
                block_on(pool.run(async || compio::time::sleep(Duration::from_millis(1)).await))
                    .unwrap();
                set_limit(libc::RLIMIT_NOFILE, 1_024);
                assert_works(&pool);
                block_on(pool.shutdown());
                assert_eq!(pool.metrics().workers[0].leaked_runtimes, 0);
            });
        },
    );
}

/// The same while a pool is built beside one that serves: the new one is an error, the old one goes on.
#[test]
fn a_pool_that_finds_no_descriptors_leaves_the_others_alone() {
    in_child(
        "a_pool_that_finds_no_descriptors_leaves_the_others_alone",
        || {
            for_each_driver(|builder| {
                set_limit(libc::RLIMIT_NOFILE, 1_024);
                let pool = builder().build().unwrap();
                assert_works(&pool);
                let before = descriptor_count();
                set_limit(libc::RLIMIT_NOFILE, 0);
                let hooked = Arc::new(AtomicUsize::new(0));
                let count = hooked.clone();
                let built = builder()
                    .threads(3)
                    .thread_name("nofile")
                    .on_thread_start(move |_| _ = count.fetch_add(1, Ordering::SeqCst))
                    .build();
                let Err(BuildError::Driver {
                    worker: 0, source, ..
                }) = built
                else {
                    panic!("{built:?}");
                };
                assert_eq!(source.raw_os_error(), Some(libc::EMFILE));
                assert_eq!(hooked.load(Ordering::SeqCst), 0);
                assert_lives(&pool);
                set_limit(libc::RLIMIT_NOFILE, 1_024);
                eventually("no thread is left", || threads_named("nofile") == 0);
                assert_eq!(descriptor_count(), before);
                assert_works(&pool);
            });
        },
    );
}

/// The limit that containers set low by default. Kernels since 5.12 do not count a ring against it; on
/// the others `Auto` does without. Either way there is a pool, and it works.
#[test]
fn without_locked_memory_there_is_still_a_pool_that_works() {
    in_child(
        "without_locked_memory_there_is_still_a_pool_that_works",
        || {
            set_limit(libc::RLIMIT_MEMLOCK, 0);
            let pool = CompioPool::builder().threads(2).build().unwrap();
            assert_works(&pool);
            match CompioPool::builder()
                .threads(1)
                .driver(Driver::IoUring)
                .build()
            {
                Ok(ring) => assert_works(&ring),
                Err(BuildError::Driver { worker: 0, .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
            assert_works(&pool);
            block_on(pool.shutdown());
            assert_eq!(pool.metrics().total(|worker| worker.leaked_runtimes), 0);
        },
    );
}
