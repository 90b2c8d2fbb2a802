//! What a pool does on its threads besides running jobs: hooks, Tokio's context, stack, interval.

#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "signals and their masks")]

mod support;

use std::{
    future::{pending, poll_fn},
    io,
    io::Write,
    os::unix::process::CommandExt,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, ThreadId},
    time::Duration,
};

use compio::{io::AsyncRead, runtime::Runtime};
use landbridge::{CompioPool, JoinError, TokioHandleExt, error::BuildError};
use support::{
    OnDrop, assert_lives, block_on, descriptor_count, eventually, for_each_driver, hold, in_child,
    in_child_that_leaks, in_child_with, socket_pair, threads_named, watchdog,
};
use tokio::runtime::Handle;

/// Something that happened, where.
type Log = Arc<Mutex<Vec<(&'static str, usize, ThreadId)>>>;

fn note(log: &Log, what: &'static str, worker: usize) {
    log.lock()
        .unwrap()
        .push((what, worker, thread::current().id()));
}

fn in_compio() -> bool {
    Runtime::try_with_current(|_| ()).is_ok()
}

fn tokio_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("on-tokio")
        .enable_all()
        .build()
        .unwrap()
}

/// A thread-local that a hook sets up must be there for the first job, and torn down after the last.
#[test]
fn hooks_run_on_every_worker_before_its_first_job_and_after_its_last() {
    for_each_driver(|builder| {
        let log = Log::default();
        let [started, stopped] = [(); 2].map(|()| log.clone());
        let pool = builder()
            .threads(3)
            .on_thread_start(move |worker| {
                assert!(in_compio());
                note(&started, "start", worker);
            })
            .on_thread_stop(move |worker| {
                assert!(in_compio());
                note(&stopped, "stop", worker);
            })
            .build()
            .unwrap();
        assert_eq!(log.lock().unwrap().len(), 3, "all have started");
        let jobs: Vec<_> = (0..30)
            .map(|_| {
                let log = log.clone();
                pool.spawn(async move || {
                    let name = thread::current().name().unwrap().to_owned();
                    let worker = name.rsplit('-').next().unwrap().parse().unwrap();
                    note(&log, "job", worker);
                    let _last = OnDrop::new(|| note(&log, "job", worker));
                    pending::<()>().await;
                })
            })
            .collect();
        eventually("all jobs wait", || log.lock().unwrap().len() == 33);
        drop(pool);
        for job in jobs {
            assert!(matches!(block_on(job), Err(JoinError::RuntimeGone)));
        }
        eventually("all have stopped", || {
            let log = log.lock().unwrap();
            log.iter().filter(|entry| entry.0 == "stop").count() == 3
        });
        let log = log.lock().unwrap();
        for worker in 0..3 {
            let own: Vec<_> = log.iter().filter(|entry| entry.1 == worker).collect();
            assert!(own.iter().all(|entry| entry.2 == own[0].2), "one thread");
            let (first, last) = (own[0].0, own[own.len() - 1].0);
            assert_eq!((first, last), ("start", "stop"));
            assert!(own[1..own.len() - 1].iter().all(|entry| entry.0 == "job"));
        }
    });
}

/// What a stop hook writes (statistics, a file) has been written when the shutdown is over.
#[test]
fn a_shutdown_waits_for_the_stop_hooks() {
    for_each_driver(|builder| {
        let stopped = Arc::new(AtomicUsize::new(0));
        let count = stopped.clone();
        let pool = builder()
            .threads(3)
            .on_thread_stop(move |_| {
                thread::yield_now();
                count.fetch_add(1, Ordering::SeqCst);
            })
            .build()
            .unwrap();
        block_on(pool.shutdown());
        assert_eq!(stopped.load(Ordering::SeqCst), 3);
        assert_eq!(Arc::strong_count(&stopped), 1, "the hook is gone, too");
    });
}

/// A hook that cannot do its work must not leave a pool that is half set up, nor a caller that waits.
#[test]
fn a_start_hook_that_panics_fails_the_build_whole_and_names_the_worker() {
    in_child(
        "a_start_hook_that_panics_fails_the_build_whole_and_names_the_worker",
        || {
            for_each_driver(|builder| {
                eventually("other pools are gone", || threads_named("landbridge") == 0);
                let before = descriptor_count();
                let log = Log::default();
                let [started, stopped] = [(); 2].map(|()| log.clone());
                let error = builder()
                    .threads(4)
                    .thread_name("badhook")
                    .on_thread_start(move |worker| {
                        assert_ne!(worker, 2, "not this one");
                        note(&started, "start", worker);
                    })
                    .on_thread_stop(move |worker| note(&stopped, "stop", worker))
                    .build()
                    .unwrap_err();
                let BuildError::ThreadStart { worker: 2, panic } = &error else {
                    panic!("{error:?}");
                };
                assert!(panic.message().unwrap().contains("not this one"));
                assert!(error.to_string().contains("not this one"), "{error}");
                assert_eq!(io::Error::from(error).kind(), io::ErrorKind::Other);
                // `build` has joined them; the listing may see one in its last moments.
                eventually("no thread is left", || threads_named("badhook") == 0);
                assert_eq!(descriptor_count(), before);
                let log = log.lock().unwrap();
                for worker in [0, 1, 3] {
                    let own = log.iter().filter(|entry| entry.1 == worker);
                    assert!(own.map(|entry| entry.0).eq(["start", "stop"]));
                }
                assert_eq!(log.len(), 6, "none for the one that has not started");
            });
        },
    );
}

/// The last thing a thread does must not keep others from knowing that it has ended.
#[test]
fn a_stop_hook_that_panics_holds_nothing_up() {
    for_each_driver(|builder| {
        let pool = builder()
            .threads(2)
            .thread_name("badstop")
            .on_thread_stop(|_| panic!("in the hook"))
            .build()
            .unwrap();
        assert_lives(&pool);
        block_on(pool.shutdown());
        let metrics = pool.metrics();
        assert_eq!(metrics.total(|worker| worker.leaked_runtimes), 0);
        eventually("no thread is left", || threads_named("badstop") == 0);
    });
}

/// A hook that undoes what the start hook did must not be skipped in the one case where a worker has
/// ended badly.
#[test]
fn the_stop_hook_runs_also_when_a_panic_has_ended_the_worker() {
    struct Bomb;

    impl Wake for Bomb {
        fn wake(self: Arc<Self>) {
            panic!("in a waker that the driver calls");
        }
    }

    for_each_driver(|builder| {
        let stopped = Arc::new(AtomicUsize::new(0));
        let count = stopped.clone();
        let pool = builder()
            .on_thread_stop(move |_| _ = count.fetch_add(1, Ordering::SeqCst))
            .build()
            .unwrap();
        let (near, mut far) = socket_pair();
        let (waiting, is_waiting) = futures::channel::oneshot::channel();
        let job = pool.spawn(async move || {
            let mut near = compio::net::UnixStream::from_std(near).unwrap();
            let mut read = pin!(near.read(Vec::with_capacity(8)));
            let bomb = Waker::from(Arc::new(Bomb));
            let polled = read.as_mut().poll(&mut Context::from_waker(&bomb));
            assert!(polled.is_pending());
            waiting.send(()).unwrap();
            pending::<()>().await;
        });
        block_on(is_waiting).unwrap();
        far.write_all(b"x").unwrap();
        assert!(matches!(block_on(job), Err(JoinError::RuntimeGone)));
        block_on(pool.shutdown());
        assert_eq!(stopped.load(Ordering::SeqCst), 1);
    });
}

/// A hook may start what a job may; at the pool's end that is dropped like everything else.
#[test]
fn what_the_hooks_start_runs_and_is_dropped_with_the_pool() {
    for_each_driver(|builder| {
        let (ran, did_run) = std::sync::mpsc::channel();
        let alive = Arc::new(());
        let [first, second] = [(); 2].map(|()| alive.clone());
        let pool = builder()
            .on_thread_start(move |_| {
                let (ran, alive) = (ran.clone(), first.clone());
                compio::runtime::spawn(async move {
                    ran.send(()).unwrap();
                    pending::<()>().await;
                    drop(alive);
                })
                .detach();
            })
            .on_thread_stop(move |_| {
                let alive = second.clone();
                compio::runtime::spawn(async move {
                    pending::<()>().await;
                    drop(alive);
                })
                .detach();
            })
            .build()
            .unwrap();
        did_run.recv().unwrap();
        block_on(pool.shutdown());
        assert_eq!(Arc::strong_count(&alive), 1);
    });
}

/// Who sets an interval wants I/O looked at that often among many jobs, no less, and no more.
#[test]
fn a_busy_worker_looks_at_its_driver_after_as_many_jobs_as_was_said() {
    /// Remembers how many jobs had run when it was woken.
    struct Snapshot {
        ran: Arc<AtomicUsize>,
        at_wake: AtomicUsize,
    }

    impl Wake for Snapshot {
        fn wake(self: Arc<Self>) {
            let ran = self.ran.load(Ordering::SeqCst);
            self.at_wake.fetch_min(ran, Ordering::SeqCst);
        }
    }

    const JOBS: usize = 1_000;

    for_each_driver(|builder| {
        for interval in [0, 1, 8, 200] {
            let pool = builder().event_interval(interval).build().unwrap();
            let (near, mut far) = socket_pair();
            let ran = Arc::new(AtomicUsize::new(0));
            let snapshot = Arc::new(Snapshot {
                ran: ran.clone(),
                at_wake: AtomicUsize::new(usize::MAX),
            });
            let (waiting, is_waiting) = futures::channel::oneshot::channel();
            let waker = Waker::from(snapshot.clone());
            let reader = pool.spawn(async move || {
                let mut near = compio::net::UnixStream::from_std(near).unwrap();
                let mut read = pin!(near.read(Vec::with_capacity(8)));
                let polled = read.as_mut().poll(&mut Context::from_waker(&waker));
                assert!(polled.is_pending());
                waiting.send(()).unwrap();
                pending::<()>().await;
            });
            block_on(is_waiting).unwrap();
            let release = hold(&pool);
            // The first of them makes the read ready; the driver is what sees that.
            drop(pool.spawn(async move || far.write_all(b"x").unwrap()));
            let jobs: Vec<_> = (0..JOBS)
                .map(|_| {
                    let ran = ran.clone();
                    pool.spawn(async move || _ = ran.fetch_add(1, Ordering::SeqCst))
                })
                .collect();
            drop(release);
            for job in jobs {
                block_on(job).unwrap();
            }
            eventually("the read is answered", || {
                snapshot.at_wake.load(Ordering::SeqCst) != usize::MAX
            });
            let at_wake = snapshot.at_wake.load(Ordering::SeqCst);
            let interval = interval.max(1);
            // io_uring may say so one look later than the kernel knew.
            assert!(
                (interval - 1..3 * interval).contains(&at_wake),
                "{at_wake} jobs with an interval of {interval}"
            );
            reader.abort();
        }
    });
}

/// Deep recursion in a job, as parsers have it: the default's 2 MiB would overflow, and take the process
/// along.
#[test]
fn a_job_has_the_stack_that_was_asked_for() {
    #[inline(never)]
    fn use_stack() -> usize {
        let room = [1_u8; 24 << 20];
        std::hint::black_box(&room)
            .iter()
            .filter(|byte| **byte == 1)
            .count()
    }

    in_child("a_job_has_the_stack_that_was_asked_for", || {
        let pool = CompioPool::builder()
            .threads(1)
            .stack_size(32 << 20)
            .build()
            .unwrap();
        assert_eq!(block_on(pool.run(async || use_stack())).unwrap(), 24 << 20);
    });
}

/// A number from a configuration file, again: too little is made enough, too much is an error.
#[test]
fn a_stack_size_that_cannot_be_is_raised_or_an_error() {
    let _watchdog = watchdog();
    for bytes in [0, 1] {
        let pool = CompioPool::builder().threads(1).stack_size(bytes).build();
        assert_lives(&pool.unwrap());
    }
    for bytes in [usize::MAX, isize::MAX as usize] {
        let error = CompioPool::builder()
            .threads(1)
            .stack_size(bytes)
            .build()
            .unwrap_err();
        assert!(matches!(error, BuildError::StackSize(said) if said == bytes));
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidInput);
    }
    // More than there is, though not more than there could be: the operating system's to refuse.
    let error = CompioPool::builder()
        .threads(1)
        .stack_size(isize::MAX as usize / 4)
        .build()
        .unwrap_err();
    assert!(matches!(error, BuildError::Thread { worker: 0, .. }));
}

/// The point of the option: crates made for Tokio work inside a job.
#[test]
fn a_job_may_use_tokios_timer_tasks_and_sockets() {
    let tokio = tokio_runtime();
    for_each_driver(|builder| {
        let pool = builder().tokio(tokio.handle().clone()).build().unwrap();
        let answer = block_on(pool.run(async || {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let client = tokio::spawn(tokio::net::TcpStream::connect(address));
            listener.accept().await.unwrap();
            client.await.unwrap().unwrap();
            // And Compio's own beside it.
            compio::time::sleep(Duration::from_millis(1)).await;
            let on = tokio::spawn(async { thread::current().name().map(str::to_owned) });
            (on.await.unwrap().unwrap(), Handle::current().id())
        }));
        assert_eq!(
            answer.unwrap(),
            ("on-tokio".to_owned(), tokio.handle().id())
        );
    });
}

/// Nobody asked for a Tokio runtime: none must turn up, not even the one that the pool was built on.
#[test]
fn without_it_a_worker_has_no_tokio_context() {
    let tokio = tokio_runtime();
    let _context = tokio.enter();
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        assert!(!block_on(pool.run(async || Handle::try_current().is_ok())).unwrap());
    });
}

/// A client of a Tokio crate looks its runtime up when it is dropped, too, and panics if there is none.
#[test]
fn hooks_and_destructors_at_the_pools_end_see_tokios_context() {
    let tokio = tokio_runtime();
    for_each_driver(|builder| {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let look = |what: &'static str| {
            let seen = seen.clone();
            move || {
                let here = Handle::try_current().map(|handle| handle.id()).ok();
                seen.lock().unwrap().push((what, here));
            }
        };
        let (start, stop) = (look("start"), look("stop"));
        let (started, queued, inner) = (look("started"), look("queued"), look("inner"));
        let pool = builder()
            .tokio(tokio.handle().clone())
            .on_thread_start(move |_| start())
            .on_thread_stop(move |_| stop())
            .build()
            .unwrap();
        let job = pool.spawn(async move || {
            let _last = OnDrop::new(started);
            // A task of Compio's own is dropped last of all, with its runtime.
            let inner = OnDrop::new(inner);
            compio::runtime::spawn(async move {
                pending::<()>().await;
                drop(inner);
            })
            .detach();
            pending::<()>().await;
        });
        assert_lives(&pool);
        let release = hold(&pool);
        let queued = OnDrop::new(queued);
        let waits = pool.spawn(async move || drop(queued));
        drop(pool);
        drop(release);
        _ = block_on(job);
        _ = block_on(waits);
        eventually("all are gone", || seen.lock().unwrap().len() == 5);
        let id = Some(tokio.handle().id());
        assert!(seen.lock().unwrap().iter().all(|(_, here)| *here == id));
    });
}

/// A worker with Tokio's context is no thread of Tokio's: work for Tokio must go there all the same.
#[test]
fn running_on_tokio_from_such_a_worker_really_goes_there() {
    let tokio = tokio_runtime();
    for_each_driver(|builder| {
        let pool = builder().tokio(tokio.handle().clone()).build().unwrap();
        let handle = tokio.handle().clone();
        let names = block_on(pool.run(async move || {
            let here = thread::current().id();
            let there = handle.run(async { thread::current().id() }).await.unwrap();
            (here, there)
        }));
        let (here, there) = names.unwrap();
        assert_ne!(here, there);
    });
}

/// The order in which a program drops its runtimes is an accident: the pool must live through it, and
/// tell whoever asks the dead one.
#[test]
fn when_the_tokio_runtime_is_dropped_its_calls_fail_and_the_pool_goes_on() {
    for_each_driver(|builder| {
        let tokio = tokio_runtime();
        let handle = tokio.handle().clone();
        let pool = builder().tokio(handle.clone()).build().unwrap();
        let (waiting, is_waiting) = futures::channel::oneshot::channel();
        let sleeper = pool.spawn(async move || {
            let mut sleep = pin!(tokio::time::sleep(Duration::from_secs(3_600)));
            assert!(futures::future::poll_immediate(&mut sleep).await.is_none());
            waiting.send(()).unwrap();
            sleep.await;
        });
        block_on(is_waiting).unwrap();
        drop(tokio);
        // Tokio wakes its timers when it goes; polled again they panic.
        assert!(matches!(block_on(sleeper), Err(JoinError::Panicked(_))));
        let spawned = block_on(pool.run(async || tokio::spawn(async {}).await));
        assert!(spawned.unwrap().unwrap_err().is_cancelled());
        let slept = block_on(pool.run(async || tokio::time::sleep(Duration::from_millis(1)).await));
        assert!(matches!(slept, Err(JoinError::Panicked(_))));
        let ran = block_on(pool.run(async move || handle.run(async {}).await));
        assert!(matches!(ran.unwrap(), Err(JoinError::RuntimeGone)));
        assert_lives(&pool);
        block_on(pool.run(async || compio::time::sleep(Duration::from_millis(1)).await)).unwrap();
        block_on(pool.shutdown());
        assert_eq!(pool.metrics().workers[0].leaked_runtimes, 0);
    });
}

/// A job's future may keep Tokio's guard across an await, since it need not be `Send`: another job's
/// polls come in between, and Tokio wants guards dropped in order.
#[test]
fn a_job_that_keeps_or_leaks_a_guard_of_tokios_does_not_end_its_worker() {
    in_child_that_leaks(
        "a_job_that_keeps_or_leaks_a_guard_of_tokios_does_not_end_its_worker",
        || {
            let (tokio, other) = (tokio_runtime(), tokio_runtime());
            for_each_driver(|builder| {
                let pool = builder().tokio(tokio.handle().clone()).build().unwrap();
                let handle = other.handle().clone();
                let keeps = pool.spawn(async move || {
                    let _guard = handle.enter();
                    let mut polled = false;
                    poll_fn(|cx| {
                        if std::mem::replace(&mut polled, true) {
                            return Poll::Ready(());
                        }
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    })
                    .await;
                });
                block_on(keeps).unwrap();
                let handle = other.handle().clone();
                block_on(pool.run(async move || std::mem::forget(handle.enter()))).unwrap();
                assert_lives(&pool);
                block_on(pool.shutdown());
                assert_eq!(pool.metrics().workers[0].leaked_runtimes, 0);
            });
        },
    );
}

/// A thread's blocked signals, and whether they are blocked there.
fn blocked(task: &std::path::Path) -> u64 {
    let status = std::fs::read_to_string(task.join("status")).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
    u64::from_str_radix(mask.unwrap().trim(), 16).unwrap()
}

fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// What one thread or another may be chosen for, and what only the thread itself can be meant by.
const SENT: [i32; 9] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGQUIT,
    libc::SIGCHLD,
    libc::SIGALRM,
    libc::SIGPIPE,
    libc::SIGUSR1,
    libc::SIGUSR2,
];
const OWN: [i32; 7] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGSYS,
];

/// A handler on a worker would interrupt its system calls and use its stack. The driver's blocking
/// threads are started by the workers.
#[test]
fn signals_of_the_process_are_blocked_on_workers_and_blocking_threads_only() {
    let _watchdog = watchdog();
    let here = || blocked("/proc/thread-self".as_ref());
    let before = here();
    for_each_driver(|builder| {
        let pool = builder().threads(2).build().unwrap();
        assert_eq!(here(), before, "the caller's mask is its own");
        let masks = block_on(pool.run(async move || {
            let inside =
                compio::runtime::spawn_blocking(move || blocked("/proc/thread-self".as_ref()));
            [blocked("/proc/thread-self".as_ref()), inside.await.unwrap()]
        }));
        for mask in masks.unwrap() {
            assert!(
                SENT.iter().all(|signal| mask & bit(*signal) != 0),
                "{mask:x}"
            );
            assert!(
                OWN.iter().all(|signal| mask & bit(*signal) == 0),
                "{mask:x}"
            );
        }
    });
}

/// Masks change for a moment while threads are started: also when one is refused the caller's own must
/// come back.
#[test]
fn a_build_that_fails_leaves_the_callers_signals_alone() {
    let _watchdog = watchdog();
    let before = blocked("/proc/thread-self".as_ref());
    for bytes in [isize::MAX as usize / 4, usize::MAX] {
        let built = CompioPool::builder().stack_size(bytes).build();
        assert!(built.is_err());
        assert_eq!(blocked("/proc/thread-self".as_ref()), before);
    }
}

/// Blocks or unblocks `SIGUSR1` for the calling thread.
fn mask_usr1(how: libc::c_int) -> io::Result<()> {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: room for a set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: a set, by the call before.
    unsafe { libc::sigaddset(set.as_mut_ptr(), libc::SIGUSR1) };
    // SAFETY: a set, by the calls before.
    let failed = unsafe { libc::pthread_sigmask(how, set.as_ptr(), std::ptr::null_mut()) };
    match failed {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

static HANDLED_BY: AtomicUsize = AtomicUsize::new(0);

extern "C" fn remember_thread(_: libc::c_int) {
    // SAFETY: it only reads this thread's number, and may be called in a handler.
    let thread = unsafe { libc::gettid() };
    HANDLED_BY.store(thread as usize, Ordering::SeqCst);
}

/// The same, seen from the signal's side: where the workers are the only threads that have not blocked
/// a signal on purpose, it waits for one that takes it.
#[test]
fn a_handler_runs_on_another_thread_than_the_workers() {
    in_child_with(
        "a_handler_runs_on_another_thread_than_the_workers",
        |command| {
            // Blocked in the whole process from its start: the harness's threads do not take it.
            // SAFETY: the closure makes system calls only.
            unsafe { command.pre_exec(|| mask_usr1(libc::SIG_BLOCK)) };
        },
        || {
            let handler: extern "C" fn(libc::c_int) = remember_thread;
            // SAFETY: the handler does only what a handler may.
            let done = unsafe { libc::signal(libc::SIGUSR1, handler as libc::sighandler_t) };
            assert_ne!(done, libc::SIG_ERR);
            // Not inherited from the thread that builds, which would take it.
            mask_usr1(libc::SIG_UNBLOCK).unwrap();
            let pool = CompioPool::builder().threads(4).build().unwrap();
            mask_usr1(libc::SIG_BLOCK).unwrap();
            let process = std::process::id().cast_signed();
            // SAFETY: a signal of this process to itself, which has a handler.
            let done = unsafe { libc::kill(process, libc::SIGUSR1) };
            assert_eq!(done, 0);
            // A worker that could take it has by now, or does as it wakes up.
            for _ in 0..100 {
                assert_lives(&pool);
            }
            assert_eq!(HANDLED_BY.load(Ordering::SeqCst), 0);
            mask_usr1(libc::SIG_UNBLOCK).unwrap();
            // SAFETY: it only reads this thread's number.
            let own = unsafe { libc::gettid() } as usize;
            assert_eq!(HANDLED_BY.load(Ordering::SeqCst), own);
        },
    );
}
