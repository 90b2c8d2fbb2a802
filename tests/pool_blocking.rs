//! Closures that block: where they run, how many at once, and what becomes of them at every end.

#![cfg(target_os = "linux")]

mod support;

use std::{
    collections::HashSet,
    panic::panic_any,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::Waker,
    thread,
};

use compio::runtime::Runtime;
use futures::future::join_all;
use landbridge::{CompioPool, Driver, JoinError, error, pool::Placement, spawn::RunBlocking};
use support::{
    OnDrop, Tally, assert_lives, block_on, eventually, for_each_driver, in_child, poll_once,
    seccomp, threads_named, watchdog,
};
use tokio::runtime::Handle;

fn pool(blocking_threads: usize) -> CompioPool {
    CompioPool::builder()
        .threads(1)
        .driver(Driver::Polling)
        .blocking_threads(blocking_threads)
        .build()
        .unwrap()
}

/// A closure that runs until the sender is dropped; it has begun when this returns.
fn occupy<T: Send + 'static>(
    pool: &CompioPool,
    then: impl FnOnce() -> T + Send + 'static,
) -> (
    RunBlocking<impl FnOnce() -> T + Send + 'static, T>,
    mpsc::Sender<()>,
) {
    let (release, wait) = mpsc::channel::<()>();
    let (begun, has_begun) = mpsc::channel();
    let mut run = pool.run_blocking(move || {
        begun.send(()).unwrap();
        _ = wait.recv();
        then()
    });
    assert!(poll_once(&mut run, Waker::noop()).is_pending());
    has_begun.recv().unwrap();
    (run, release)
}

/// The threads are the pool's own: a listing shows whose they are, and neither runtime is there to be
/// blocked by mistake.
#[test]
fn a_closure_runs_on_a_thread_of_the_pools_name_outside_of_both_runtimes() {
    for_each_driver(|builder| {
        let tokio = tokio::runtime::Runtime::new().unwrap();
        let pool = builder()
            .thread_name("files")
            .tokio(tokio.handle().clone())
            .build()
            .unwrap();
        let caller = thread::current().id();
        let closure = move || {
            assert_ne!(thread::current().id(), caller);
            assert!(Runtime::try_with_current(|_| ()).is_err());
            assert!(Handle::try_current().is_err());
            thread::current().name().map(str::to_owned)
        };
        let name = block_on(pool.run_blocking(closure));
        assert_eq!(name.unwrap().as_deref(), Some("files-blocking"));
        let inside = pool.clone();
        let name = block_on(pool.run(async move || inside.run_blocking(closure).await));
        assert_eq!(name.unwrap().unwrap().as_deref(), Some("files-blocking"));
    });
}

/// The bound is what keeps a burst of requests from starting a thread each; and below it, nobody waits.
#[test]
fn as_many_run_at_once_as_there_may_be_threads_and_no_more() {
    let _watchdog = watchdog();
    let pool = pool(3);
    let (release, wait) = mpsc::channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let mut runs: Vec<_> = (0..60)
        .map(|index| {
            let (wait, running, most) = (wait.clone(), running.clone(), most.clone());
            pool.run_blocking(move || {
                let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                _ = wait.lock().unwrap().recv();
                running.fetch_sub(1, Ordering::SeqCst);
                index
            })
        })
        .collect();
    for run in &mut runs {
        assert!(poll_once(run, Waker::noop()).is_pending());
    }
    eventually("three run", || running.load(Ordering::SeqCst) == 3);
    let metrics = pool.metrics();
    assert_eq!((metrics.blocking_queued, metrics.blocking_running), (57, 3));
    drop(release);
    let results: Result<Vec<_>, _> = block_on(join_all(runs)).into_iter().collect();
    assert!(results.unwrap().into_iter().eq(0..60));
    assert_eq!(most.load(Ordering::SeqCst), 3);
    let metrics = pool.metrics();
    assert_eq!((metrics.blocking_queued, metrics.blocking_running), (0, 0));
}

/// Whoever has waited longest is served first.
#[test]
fn queued_closures_begin_in_the_order_in_which_they_came() {
    let _watchdog = watchdog();
    let pool = pool(1);
    let (first, release) = occupy(&pool, || ());
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut runs: Vec<_> = (0..50)
        .map(|index| {
            let order = order.clone();
            pool.run_blocking(move || order.lock().unwrap().push(index))
        })
        .collect();
    for run in &mut runs {
        assert!(poll_once(run, Waker::noop()).is_pending());
    }
    drop(release);
    block_on(first).unwrap();
    block_on(join_all(runs));
    assert!(order.lock().unwrap().iter().copied().eq(0..50));
}

/// A thread that is there and idle is used again; otherwise a service would start one per request.
#[test]
fn an_idle_thread_is_used_again() {
    let _watchdog = watchdog();
    let pool = pool(100);
    let mut threads = HashSet::new();
    // A result is there a moment before its thread is idle, so not every time.
    let used_again = (0..100).any(|_| {
        let thread = block_on(pool.run_blocking(|| thread::current().id()));
        !threads.insert(thread.unwrap())
    });
    assert!(used_again);
}

/// The payload is the caller's to look at, and the thread must live for the next closure.
#[test]
fn a_panic_comes_back_with_its_payload_and_ends_no_thread() {
    let _watchdog = watchdog();
    let pool = pool(1);
    for round in 0..10 {
        let lost: Result<(), _> = block_on(pool.run_blocking(move || panic_any(round)));
        let Err(JoinError::Panicked(panic)) = lost else {
            panic!("{lost:?}");
        };
        assert_eq!(panic.into_inner().downcast_ref(), Some(&round));
        assert_eq!(block_on(pool.run_blocking(|| 42)).unwrap(), 42);
    }
}

/// Like every future: nothing happens to one that is only made.
#[test]
fn nothing_is_submitted_before_the_first_poll() {
    let _watchdog = watchdog();
    let pool = pool(1);
    let tally = Tally::new();
    let counted = tally.make();
    let run = pool.run_blocking(move || drop(counted));
    assert_eq!(pool.metrics().blocking_queued, 0);
    drop(run);
    assert_eq!(tally.alive(), 0);
}

/// A client that goes away while its request is queued must not cost a thread's time later.
#[test]
fn dropped_before_it_has_begun_the_closure_is_dropped_at_once_and_uncalled() {
    let _watchdog = watchdog();
    let pool = pool(1);
    let (first, release) = occupy(&pool, || ());
    let tally = Tally::new();
    let called = Arc::new(AtomicBool::new(false));
    let mut queued: Vec<_> = (0..3)
        .map(|_| {
            let (counted, called) = (tally.make(), called.clone());
            let mut run = pool.run_blocking(move || {
                called.store(true, Ordering::SeqCst);
                drop(counted);
            });
            assert!(poll_once(&mut run, Waker::noop()).is_pending());
            run
        })
        .collect();
    drop(queued.remove(1));
    assert_eq!(tally.alive(), 2);
    assert_eq!(pool.metrics().blocking_queued, 2);
    drop(queued);
    assert_eq!((tally.alive(), pool.metrics().blocking_queued), (0, 0));
    drop(release);
    block_on(first).unwrap();
    assert_eq!(block_on(pool.run_blocking(|| 42)).unwrap(), 42);
    assert!(!called.load(Ordering::SeqCst));
}

/// Nothing can stop a thread; what nobody waits for must neither leak nor take the thread along.
#[test]
fn dropped_while_it_runs_the_closure_goes_on_and_its_output_is_dropped_there() {
    let _watchdog = watchdog();
    let pool = pool(1);
    let (dropped, was_dropped) = mpsc::channel();
    let (run, release) = occupy(&pool, move || {
        let here = thread::current().id();
        OnDrop::new(move || {
            dropped.send((here, thread::current().id())).unwrap();
            panic!("in the output's destructor");
        })
    });
    drop(run);
    assert_eq!(pool.metrics().blocking_running, 1);
    drop(release);
    let (ran_on, dropped_on) = was_dropped.recv().unwrap();
    assert_eq!(ran_on, dropped_on);
    assert_eq!(block_on(pool.run_blocking(|| 42)).unwrap(), 42);
}

/// A shutdown drains: a file that is being written behind the scenes must be whole afterwards.
#[test]
fn a_shutdown_waits_for_what_is_queued_and_what_runs_and_refuses_the_rest() {
    let _watchdog = watchdog();
    let pool = CompioPool::builder()
        .threads(1)
        .thread_name("drains")
        .blocking_threads(1)
        .build()
        .unwrap();
    let (first, release) = occupy(&pool, || 1);
    let mut second = pool.run_blocking(|| 2);
    assert!(poll_once(&mut second, Waker::noop()).is_pending());
    let mut shutdown = pool.shutdown();
    assert!(poll_once(&mut shutdown, Waker::noop()).is_pending());
    let tally = Tally::new();
    let counted = tally.make();
    let late = block_on(pool.run_blocking(move || drop(counted)));
    assert!(matches!(late, Err(JoinError::RuntimeGone)));
    assert_eq!((tally.alive(), tally.made()), (0, 1));
    eventually("the workers are gone", || threads_named("drains-0") == 0);
    assert!(poll_once(&mut shutdown, Waker::noop()).is_pending());
    drop(release);
    block_on(shutdown);
    let metrics = pool.metrics();
    assert_eq!((metrics.blocking_queued, metrics.blocking_running), (0, 0));
    assert_eq!(
        poll_once(&mut { first }, Waker::noop()).map(Result::unwrap),
        std::task::Poll::Ready(1)
    );
    assert_eq!(
        poll_once(&mut second, Waker::noop()).map(Result::unwrap),
        std::task::Poll::Ready(2)
    );
}

/// Waiting for a result must not keep the pool; without it what has not begun never will.
#[test]
fn a_dropped_pool_drops_queued_closures_and_lets_running_ones_answer() {
    in_child(
        "a_dropped_pool_drops_queued_closures_and_lets_running_ones_answer",
        || {
            let pool = pool(1);
            let (running, release) = occupy(&pool, || 42);
            let tally = Tally::new();
            let queued: Vec<_> = (0..5)
                .map(|_| {
                    let counted = tally.make();
                    // A destructor that panics must not keep the others from being told.
                    let bomb = OnDrop::new(|| panic!("in a capture's destructor"));
                    let mut run = pool.run_blocking(move || {
                        let _captured = (bomb, counted);
                        unreachable!("the pool is gone");
                    });
                    assert!(poll_once(&mut run, Waker::noop()).is_pending());
                    run
                })
                .collect();
            drop(pool);
            for run in queued {
                let result: Result<(), _> = block_on(run);
                assert!(matches!(result, Err(JoinError::Panicked(_))), "{result:?}");
            }
            assert_eq!(tally.alive(), 0);
            drop(release);
            assert_eq!(block_on(running).unwrap(), 42);
            eventually("no thread is left", || threads_named("landbridge") == 0);
        },
    );
}

/// Whoever drops the last clone may be an async thread: nothing of the user's runs there, however long
/// it takes.
#[test]
fn dropping_the_pool_runs_no_destructor_of_a_queued_closure() {
    let _watchdog = support::watchdog();
    let pool = pool(1);
    let (running, release) = occupy(&pool, || ());
    let (tell, told) = std::sync::mpsc::channel();
    let on_drop = OnDrop::new(move || tell.send(std::thread::current().id()).unwrap());
    let mut queued = pool.run_blocking(move || drop(on_drop));
    assert!(poll_once(&mut queued, Waker::noop()).is_pending());
    drop(pool);
    assert_ne!(told.recv().unwrap(), std::thread::current().id());
    assert!(matches!(block_on(queued), Err(JoinError::RuntimeGone)));
    drop(release);
    block_on(running).unwrap();
}

/// What has not begun when the time is up does not begin, on the blocking threads as on the workers.
#[test]
fn shutdown_timeout_cuts_off_queued_closures() {
    let _watchdog = support::watchdog();
    let pool = pool(1);
    let (running, release) = occupy(&pool, || 1);
    let queued: Vec<_> = (0..3)
        .map(|_| {
            let mut run = pool.run_blocking(|| unreachable!("the time is up"));
            assert!(poll_once(&mut run, Waker::noop()).is_pending());
            run
        })
        .collect();
    let mut shutdown = pool.shutdown_timeout(std::time::Duration::ZERO);
    assert!(poll_once(&mut shutdown, Waker::noop()).is_pending());
    drop(release);
    assert_eq!(block_on(shutdown), 3);
    assert_eq!(block_on(running).unwrap(), 1);
    for run in queued {
        let result: Result<(), _> = block_on(run);
        assert!(matches!(result, Err(JoinError::Cancelled)), "{result:?}");
    }
}

/// A closure that calls its own pool would wait for its own end at the bound, as a job would.
#[test]
fn a_closure_of_a_bounded_pool_is_never_kept_waiting_by_it() {
    let _watchdog = support::watchdog();
    let pool = CompioPool::builder()
        .threads(1)
        .max_in_flight(1)
        .build()
        .unwrap();
    let inner = pool.clone();
    let sum = pool.run(async move || {
        let again = inner.clone();
        let run = inner.run_blocking(move || block_on(again.run(async || 1)));
        run.await.unwrap().unwrap() + 1
    });
    assert_eq!(block_on(sum).unwrap(), 2);
}

/// Threads that wait for work do so without end only as long as there is a pool.
#[test]
fn idle_threads_end_with_the_pool() {
    in_child("idle_threads_end_with_the_pool", || {
        for dropped in [false, true] {
            let pool = pool(8);
            let held: Vec<_> = (0..4).map(|_| occupy(&pool, || ())).collect();
            assert_eq!(threads_named("landbridge-bloc"), 4);
            for (run, release) in held {
                drop(release);
                block_on(run).unwrap();
            }
            if dropped {
                drop(pool);
            } else {
                block_on(pool.shutdown());
            }
            eventually("no thread is left", || threads_named("landbridge") == 0);
        }
    });
}

/// A closure that ends its own pool (a signal handler's thread does) must not wait for itself, nor for
/// those that wait for its thread.
#[test]
fn a_closure_may_wait_for_the_shutdown_of_its_own_pool() {
    let _watchdog = watchdog();
    let pool = pool(1);
    let (release, wait) = mpsc::channel::<()>();
    let inside = pool.clone();
    let mut ends = pool.run_blocking(move || {
        _ = wait.recv();
        block_on(inside.shutdown());
        42
    });
    assert!(poll_once(&mut ends, Waker::noop()).is_pending());
    let mut queued = pool.run_blocking(|| 43);
    assert!(poll_once(&mut queued, Waker::noop()).is_pending());
    drop(release);
    assert_eq!(block_on(ends).unwrap(), 42);
    assert_eq!(block_on(queued).unwrap(), 43);
    block_on(pool.shutdown());
}

/// A shutdown that is awaited by a job waits for the blocking threads too, and the job goes on.
#[test]
fn a_job_that_waits_for_the_shutdown_waits_for_blocking_work() {
    let _watchdog = watchdog();
    let pool = pool(1);
    let (running, release) = occupy(&pool, || ());
    let done = Arc::new(AtomicBool::new(false));
    let (inside, flag) = (pool.clone(), done.clone());
    let job = pool.spawn(async move || {
        inside.shutdown().await;
        flag.store(true, Ordering::SeqCst);
    });
    eventually("it has begun", || pool.is_shutdown());
    assert!(!done.load(Ordering::SeqCst));
    drop(release);
    block_on(job).unwrap();
    block_on(running).unwrap();
    block_on(pool.shutdown());
}

/// Who forbids blocking gets an error in each place where something would have blocked, and no worker
/// dies of it.
#[test]
fn without_blocking_threads_there_is_an_error_and_the_pool_goes_on() {
    for_each_driver(|builder| {
        let pool = builder().blocking_threads(0).build().unwrap();
        let tally = Tally::new();
        for _ in 0..10 {
            let counted = tally.make();
            let mut run = pool.run_blocking(move || drop(counted));
            let refused = poll_once(&mut run, Waker::noop());
            let std::task::Poll::Ready(Err(error @ JoinError::NoBlockingThreads)) = refused else {
                panic!("{refused:?}");
            };
            assert!(error.to_string().contains("no thread"), "{error}");
            assert_eq!(tally.alive(), 0);

            // A name lookup has no ring operation.
            let lookup = pool.run(async || {
                compio::net::TcpStream::connect("localhost:1")
                    .await
                    .map(drop)
            });
            let looked_up = block_on(lookup);
            assert!(
                matches!(looked_up, Err(JoinError::NoBlockingThreads)),
                "{looked_up:?}"
            );
            let spawned = pool.run(async || compio::runtime::spawn_blocking(|| ()).await.is_err());
            assert!(block_on(spawned).unwrap());
            assert_lives(&pool);
        }
        if !support::uses_io_uring(&pool) {
            let read = block_on(pool.run(async || compio::fs::read("Cargo.toml").await));
            assert!(matches!(read, Err(JoinError::NoBlockingThreads)));
        }
        block_on(pool.shutdown());
        let metrics = pool.metrics();
        assert_eq!(metrics.total(|worker| worker.leaked_runtimes), 0);
        assert!(metrics.total(|worker| worker.panicked) >= 10);
    });
}

/// A driver that finds all threads busy burns its CPU and runs nothing else: closures must never bring it
/// there.
#[test]
fn closures_that_block_for_long_take_no_thread_from_compios_own_operations() {
    for_each_driver(|builder| {
        let pool = builder().blocking_threads(1).build().unwrap();
        let (running, release) = occupy(&pool, || ());
        let mut queued = pool.run_blocking(|| ());
        assert!(poll_once(&mut queued, Waker::noop()).is_pending());
        let inside = block_on(pool.run(async || {
            assert!(!compio::fs::read("Cargo.toml").await.unwrap().is_empty());
            compio::runtime::spawn_blocking(|| 42).await.unwrap()
        }));
        assert_eq!(inside.unwrap(), 42);
        drop(release);
        block_on(running).unwrap();
        block_on(queued).unwrap();
    });
}

/// A container that is out of threads: the closure comes back as an error, and is tried again by whoever
/// wants to; with one thread there already, it does the work of all.
#[test]
fn a_refused_thread_loses_no_closure() {
    let _watchdog = watchdog();
    let pool = pool(8);
    let tally = Tally::new();
    seccomp::without_threads(|| {
        for _ in 0..3 {
            let counted = tally.make();
            let refused = block_on(pool.run_blocking(move || drop(counted)));
            assert!(
                matches!(refused, Err(JoinError::NoBlockingThreads)),
                "{refused:?}"
            );
        }
        assert_eq!((tally.made(), tally.alive()), (3, 0));
    });
    let (first, release) = occupy(&pool, || thread::current().id());
    seccomp::without_threads(|| {
        let mut runs: Vec<_> = (0..10)
            .map(|_| pool.run_blocking(|| thread::current().id()))
            .collect();
        for run in &mut runs {
            assert!(poll_once(run, Waker::noop()).is_pending());
        }
        assert_eq!(pool.metrics().blocking_queued, 10);
        drop(release);
        let only = block_on(first).unwrap();
        for run in runs {
            assert_eq!(block_on(run).unwrap(), only);
        }
    });
    block_on(pool.shutdown());
}

/// A pinned worker that asks for a thread must not bind it to its own CPU, where it is to get work off.
#[test]
fn blocking_threads_of_a_pinned_pool_float_whoever_asks_for_them() {
    let _watchdog = watchdog();
    let mask = || {
        let set = rustix::thread::sched_getaffinity(None).unwrap();
        (0..rustix::thread::CpuSet::MAX_CPU)
            .filter(|cpu| set.is_set(*cpu))
            .collect::<Vec<_>>()
    };
    let own = mask();
    let pool = CompioPool::builder()
        .threads(1)
        .placement(Placement::Pinned)
        .build()
        .unwrap();
    let inside = pool.clone();
    let masks = block_on(pool.run(async move || {
        let blocking = inside.run_blocking(mask).await.unwrap();
        (mask(), blocking)
    }));
    let (worker, blocking) = masks.unwrap();
    assert_eq!(worker.len(), 1);
    assert_eq!(blocking, own);
}

/// A handler that runs there would interrupt the very calls that may take long.
#[test]
fn signals_of_the_process_are_blocked_on_blocking_threads() {
    let _watchdog = watchdog();
    let blocked = || {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
        u64::from_str_radix(mask.unwrap().trim(), 16).unwrap()
    };
    let before = blocked();
    let there = block_on(pool(1).run_blocking(blocked)).unwrap();
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGUSR1, libc::SIGCHLD] {
        assert_ne!(there & (1 << (signal - 1)), 0, "{there:x}");
    }
    assert_eq!(there & (1 << (libc::SIGSEGV - 1)), 0);
    assert_eq!(blocked(), before);
}

/// A function that returns `io::Result` may use `?` on this error too.
#[test]
fn the_error_turns_into_an_io_error() {
    let error = std::io::Error::from(error::JoinError::NoBlockingThreads);
    assert!(error.to_string().contains("no thread"));
}

/// Everything at once: many callers, futures dropped at any moment, and a pool that goes away under them.
/// Every closure is called or dropped, and everybody gets an answer.
#[test]
fn under_load_every_closure_is_called_or_dropped_and_every_waiter_answered() {
    in_child(
        "under_load_every_closure_is_called_or_dropped_and_every_waiter_answered",
        || {
            for round in 0..40 {
                let pool = pool(1 + round % 4);
                let tally = Tally::new();
                thread::scope(|scope| {
                    for caller in 0..3 {
                        let (pool, tally) = (pool.clone(), tally.clone());
                        scope.spawn(move || {
                            for turn in 0..60 {
                                let counted = tally.make();
                                let mut run = pool.run_blocking(move || drop(counted));
                                if (turn + caller) % 3 == 0 {
                                    _ = poll_once(&mut run, Waker::noop());
                                    continue;
                                }
                                match block_on(run) {
                                    Ok(()) | Err(JoinError::RuntimeGone) => {}
                                    Err(error) => panic!("{error:?}"),
                                }
                                if round % 2 == 0 && caller == 0 && turn == 30 {
                                    let mut shutdown = pool.shutdown();
                                    _ = poll_once(&mut shutdown, Waker::noop());
                                }
                            }
                        });
                    }
                });
                if round % 3 == 0 {
                    block_on(pool.shutdown());
                    assert_eq!(tally.alive(), 0);
                }
                drop(pool);
                eventually("every closure is gone", || tally.alive() == 0);
                eventually("no thread is left", || threads_named("landbridge") == 0);
            }
        },
    );
}
