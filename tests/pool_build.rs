//! What can go wrong when a pool is built is an error with a name, and leaves nothing behind.

#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "system calls that a sandbox would make")]

mod support;

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use landbridge::{CompioPool, Driver, error::BuildError, pool::DriverKind};
use support::{
    assert_lives, block_on, descriptor_count, eventually, for_each_driver, in_child, seccomp,
    threads_named, watchdog,
};

/// A number from a configuration file.
#[test]
fn a_pool_of_no_threads_is_an_error() {
    let _watchdog = watchdog();
    let error = CompioPool::builder().threads(0).build().unwrap_err();
    assert!(matches!(error, BuildError::NoThreads));
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidInput);
}

/// std panics for such a name; a pool's name may come from a configuration file too.
#[test]
fn a_thread_name_with_a_nul_byte_is_an_error() {
    let _watchdog = watchdog();
    let error = CompioPool::builder()
        .thread_name("sto\0rage")
        .build()
        .unwrap_err();
    let BuildError::ThreadName(name) = &error else {
        panic!("{error:?}");
    };
    assert_eq!(name, "sto\0rage");
    assert!(!error.to_string().contains('\0'), "it goes into a log");
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidInput);
}

/// A name may be empty, long, or not ASCII: the operating system cuts it, and nothing more.
#[test]
fn any_other_name_will_do() {
    let _watchdog = watchdog();
    for name in [
        "",
        "a name of more than fifteen bytes",
        "Speicher-für-alles",
    ] {
        let pool = CompioPool::builder()
            .threads(2)
            .thread_name(name)
            .build()
            .unwrap();
        let names = block_on(pool.run(async || thread::current().name().map(str::to_owned)));
        let own = names.unwrap().unwrap();
        assert!(
            own == format!("{name}-0") || own == format!("{name}-1"),
            "{own}"
        );
    }
}

/// Containers limit the number of threads. The workers that were started must end again.
#[test]
fn a_refused_thread_is_an_error_that_leaves_no_thread_behind() {
    let _watchdog = watchdog();
    seccomp::without_threads(|| {
        let error = CompioPool::builder()
            .threads(3)
            .thread_name("refused")
            .build()
            .unwrap_err();
        let BuildError::Thread { worker, source } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(*worker, 0);
        assert_eq!(source.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::WouldBlock);
    });
    assert_eq!(threads_named("refused"), 0);
}

/// The same when it is not the first thread that is refused: those before it are up and running, with
/// a driver each, and must be gone when the error comes back.
#[test]
fn a_thread_refused_half_way_leaves_neither_threads_nor_descriptors() {
    in_child(
        "a_thread_refused_half_way_leaves_neither_threads_nor_descriptors",
        || {
            let before = descriptor_count();
            let caller = thread::current().id();
            let once = std::sync::Once::new();
            // The first worker that gets so far takes the right to start threads away.
            let built = CompioPool::builder()
                .threads(500)
                .driver(Driver::Polling)
                .thread_name("halfway")
                .proactor(move |_| {
                    if thread::current().id() != caller {
                        once.call_once(seccomp::refuse_threads_everywhere);
                    }
                })
                .build();
            let error = built.unwrap_err();
            let BuildError::Thread { worker, .. } = &error else {
                panic!("{error:?}");
            };
            assert!(*worker > 0);
            eventually("no thread is left", || threads_named("halfway") == 0);
            assert_eq!(descriptor_count(), before);
        },
    );
}

/// Docker's default profile refuses io_uring with EPERM, older kernels with ENOSYS. `Auto` promises to
/// work there, and to say what it has become.
#[test]
fn auto_falls_back_to_polling_where_io_uring_is_refused_and_says_so() {
    let _watchdog = watchdog();
    for errno in [libc::EPERM, libc::ENOSYS] {
        seccomp::without(libc::SYS_io_uring_setup, errno, || {
            let pool = CompioPool::builder().threads(2).build().unwrap();
            let metrics = pool.metrics();
            assert!(
                metrics
                    .workers
                    .iter()
                    .all(|worker| worker.driver == DriverKind::Polling)
            );
            let bytes = block_on(pool.run(async || compio::fs::read("Cargo.toml").await));
            assert!(!bytes.unwrap().unwrap().is_empty());
            block_on(pool.shutdown());
        });
    }
}

/// Who asks for io_uring wants to know that there is none, not a slower program.
#[test]
fn io_uring_where_it_is_refused_is_an_error_that_names_the_cause() {
    let _watchdog = watchdog();
    for errno in [libc::EPERM, libc::ENOSYS] {
        seccomp::without(libc::SYS_io_uring_setup, errno, || {
            let error = CompioPool::builder()
                .threads(3)
                .thread_name("noring")
                .driver(Driver::IoUring)
                .build()
                .unwrap_err();
            let BuildError::Driver { driver, source, .. } = &error else {
                panic!("{error:?}");
            };
            assert_eq!(*driver, Driver::IoUring);
            assert_eq!(source.raw_os_error(), Some(errno));
            assert_eq!(
                io::Error::from(error).kind(),
                io::Error::from_raw_os_error(errno).kind()
            );
        });
    }
    // `build` joins them; the listing may see one in its last moments.
    eventually("no thread is left", || threads_named("noring") == 0);
}

/// A kernel before 5.19 refuses the tuned flags with EINVAL. `Auto` then takes a plain ring; here the
/// filter cannot tell the flags apart, so that only what `IoUring` says is checked.
#[test]
fn io_uring_without_the_tuned_flags_is_an_error() {
    let _watchdog = watchdog();
    seccomp::without(libc::SYS_io_uring_setup, libc::EINVAL, || {
        let built = CompioPool::builder()
            .threads(1)
            .driver(Driver::IoUring)
            .build();
        assert!(matches!(built, Err(BuildError::Driver { worker: 0, .. })));
        let pool = CompioPool::builder().threads(1).build().unwrap();
        assert_eq!(pool.metrics().workers[0].driver, DriverKind::Polling);
    });
}

/// Every driver needs descriptors; where there are none left, that is what the error says, and the
/// workers that had got theirs give them back.
#[test]
fn exhausted_descriptors_are_a_driver_error_and_everything_is_given_back() {
    in_child(
        "exhausted_descriptors_are_a_driver_error_and_everything_is_given_back",
        || {
            for driver in [Driver::Auto, Driver::IoUring, Driver::Polling] {
                if driver == Driver::IoUring && !support::has_io_uring() {
                    continue;
                }
                eventually("the other pool is gone", || {
                    threads_named("landbridge") == 0
                });
                for spare in 0..12 {
                    let before = descriptor_count();
                    // The listing has one of its own open.
                    let limit = libc::rlimit {
                        rlim_cur: (before - 1 + spare) as u64,
                        rlim_max: 20_000,
                    };
                    // SAFETY: plain numbers.
                    let done = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
                    assert_eq!(done, 0);
                    let built = CompioPool::builder()
                        .threads(8)
                        .thread_name("nofile")
                        .driver(driver)
                        .build();
                    let limit = libc::rlimit {
                        rlim_cur: 1_024,
                        rlim_max: 20_000,
                    };
                    // SAFETY: plain numbers.
                    let done = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
                    assert_eq!(done, 0);
                    let error = built.unwrap_err();
                    let BuildError::Driver {
                        source,
                        driver: asked,
                        ..
                    } = &error
                    else {
                        panic!("{error:?}");
                    };
                    assert_eq!(*asked, driver);
                    assert_eq!(source.raw_os_error(), Some(libc::EMFILE), "{source}");
                    assert_eq!(
                        descriptor_count(),
                        before,
                        "{driver:?} with {spare} to spare"
                    );
                    eventually("no thread is left", || threads_named("nofile") == 0);
                }
            }
            assert_lives(&CompioPool::builder().threads(2).build().unwrap());
        },
    );
}

/// A pool that got the last descriptors there were must still be able to end: the proof that the
/// kernel is done with its buffers may not need another one.
#[test]
fn a_pool_that_got_the_last_descriptors_ends_and_leaks_nothing() {
    in_child(
        "a_pool_that_got_the_last_descriptors_ends_and_leaks_nothing",
        || {
            let limit_to = |descriptors: usize| {
                let limit = libc::rlimit {
                    rlim_cur: descriptors as u64,
                    rlim_max: 20_000,
                };
                // SAFETY: plain numbers.
                let done = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
                assert_eq!(done, 0);
            };
            let before = descriptor_count();
            let mut built = 0;
            for limit in 0..before + 12 {
                limit_to(limit);
                let pool = CompioPool::builder().threads(1).build();
                if let Ok(pool) = &pool {
                    built += 1;
                    block_on(pool.shutdown());
                    let worker = pool.metrics().workers.swap_remove(0);
                    assert_eq!(worker.leaked_runtimes, 0, "{worker:?}");
                }
                limit_to(1_024);
                drop(pool);
                assert_eq!(descriptor_count(), before);
            }
            assert!(built > 0);
        },
    );
}

/// The closure's panic is the caller's own; it comes through, and no thread stays behind. Once it is
/// called on the caller's thread and once on each worker's.
#[test]
fn a_proactor_closure_that_panics_panics_in_build_and_leaves_no_thread() {
    for_each_driver(|builder| {
        for good_calls in 0..4 {
            let calls = Arc::new(AtomicUsize::new(0));
            let seen = calls.clone();
            let built = catch_unwind(AssertUnwindSafe(|| {
                builder()
                    .threads(3)
                    .thread_name("badtune")
                    .proactor(move |_| {
                        if seen.fetch_add(1, Ordering::SeqCst) == good_calls {
                            panic!("in the closure");
                        }
                    })
                    .build()
            }));
            let Err(payload) = built else {
                panic!("it was built");
            };
            assert_eq!(payload.downcast_ref(), Some(&"in the closure"));
            eventually("no thread is left", || threads_named("badtune") == 0);
        }
    });
}

/// The closure is called on each worker's thread, after our own settings: it has the last word.
#[test]
fn the_proactor_closure_is_called_for_every_worker() {
    for_each_driver(|builder| {
        let places = Arc::new(std::sync::Mutex::new(std::collections::HashSet::new()));
        let seen = places.clone();
        let pool = builder()
            .threads(3)
            .proactor(move |proactor| {
                seen.lock().unwrap().insert(thread::current().id());
                proactor.capacity(64);
            })
            .build()
            .unwrap();
        assert_eq!(
            places.lock().unwrap().len(),
            4,
            "three workers and the caller"
        );
        assert_lives(&pool);
    });
}

/// The defaults: a few threads beside a full Tokio, not one for each core.
#[test]
fn the_defaults_build_a_pool_that_works() {
    let _watchdog = watchdog();
    let pool = CompioPool::builder().build().unwrap();
    let workers = pool.metrics().workers.len();
    let cpus = thread::available_parallelism().unwrap().get();
    assert!((1..=4).contains(&workers) && workers <= cpus);
    assert_lives(&pool);
    let name = block_on(pool.run(async || thread::current().name().map(str::to_owned)));
    assert!(name.unwrap().unwrap().starts_with("landbridge-"));
}
