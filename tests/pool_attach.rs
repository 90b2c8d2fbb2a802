//! Compio runtimes that landbridge did not start.

mod support;

use std::{
    cell::Cell,
    future::{pending, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Poll, Waker},
    thread,
};

use compio::{
    driver::{DriverType, ProactorBuilder},
    runtime::Runtime,
};
use futures::{channel::oneshot, future::join_all};
use landbridge::{
    CompioHandle, CompioPool, TokioHandleExt,
    error::{AttachError, JoinError, TrySpawnError},
    pool::DriverKind,
};
use support::{OnDrop, Tally, block_on, in_child, in_child_that_leaks, watchdog, yield_now};

/// What Compio's threads are woken by at most, in one go.
const COMPIOS_QUEUE: usize = 64;

fn runtime_on(driver: DriverType) -> Runtime {
    let proactor = ProactorBuilder::new().driver_type(driver).clone();
    Runtime::builder().with_proactor(proactor).build().unwrap()
}

/// Calls `test` once for each driver, under a watchdog.
fn for_each_driver(test: impl Fn(DriverType)) {
    let mut drivers = vec![DriverType::Poll];
    if support::has_io_uring() {
        drivers.push(DriverType::IoUring);
    }
    for driver in drivers {
        let _watchdog = watchdog();
        let run = catch_unwind(AssertUnwindSafe(|| test(driver)));
        if let Err(payload) = run {
            eprintln!("while the runtime ran on {driver:?}");
            std::panic::resume_unwind(payload);
        }
    }
}

/// A runtime on a thread of its own, attached and driven until it is told to end.
struct Host {
    handle: CompioHandle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Host {
    fn new(driver: DriverType) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = runtime_on(driver);
            runtime.block_on(async {
                tell.send(CompioHandle::attach().unwrap()).unwrap();
                _ = stopped.await;
            });
        });
        Self {
            handle: told.recv().unwrap(),
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    fn id(&self) -> thread::ThreadId {
        self.thread.as_ref().unwrap().thread().id()
    }

    /// Ends the runtime and waits until it has.
    fn end(mut self) {
        self.stop_and_join();
    }

    fn stop_and_join(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.stop_and_join();
        }
    }
}

/// Keeps the host's thread from doing anything until the sender is dropped.
fn hold(host: &Host) -> mpsc::Sender<()> {
    let (release, wait) = mpsc::channel::<()>();
    let (held, is_held) = mpsc::channel();
    drop(host.handle.spawn(async move || {
        held.send(()).unwrap();
        _ = wait.recv();
    }));
    is_held.recv().unwrap();
    release
}

/// The point of it: work from all sides on threads that the program owns.
#[test]
fn work_comes_from_tokio_from_threads_and_from_the_runtime_itself() {
    for_each_driver(|driver| {
        let host = Host::new(driver);
        let here = host.id();
        let work = || async {
            compio::fs::metadata("Cargo.toml").await.unwrap();
            thread::current().id()
        };

        let tokio = tokio::runtime::Runtime::new().unwrap();
        let handle = host.handle.clone();
        let from_tokio = tokio.block_on(async {
            tokio::spawn(async move {
                [
                    handle.run(work).await.unwrap(),
                    handle.spawn(work).await.unwrap(),
                    handle.try_spawn(work).unwrap().await.unwrap(),
                ]
            })
            .await
            .unwrap()
        });
        assert_eq!(from_tokio, [here; 3]);

        assert_eq!(block_on(host.handle.run(work)).unwrap(), here);

        // From the runtime itself, where waiting for oneself must not be a deadlock.
        let inner = host.handle.clone();
        let from_inside = block_on(host.handle.run(async move || {
            [
                inner.run(work).await.unwrap(),
                inner.spawn(work).await.unwrap(),
                inner.try_spawn(work).unwrap().await.unwrap(),
            ]
        }));
        assert_eq!(from_inside.unwrap(), [here; 3]);

        // From one of its plain tasks, which are not ours.
        let inner = host.handle.clone();
        let from_a_plain_task = block_on(host.handle.run(async move || {
            let task = compio::runtime::spawn(async move { inner.run(work).await.unwrap() });
            task.await.unwrap()
        }));
        assert_eq!(from_a_plain_task.unwrap(), here);
    });
}

/// The other direction, from an attached runtime's job.
#[test]
fn a_job_may_run_on_tokio_and_come_back() {
    for_each_driver(|driver| {
        let host = Host::new(driver);
        let tokio = tokio::runtime::Runtime::new().unwrap();
        let (there, back) = (tokio.handle().clone(), host.handle.clone());
        let sum = block_on(host.handle.run(async move || {
            let on_tokio = there.run(async move { back.run(async || 40).await.unwrap() + 1 });
            on_tokio.await.unwrap() + 1
        }));
        assert_eq!(sum.unwrap(), 42);
    });
}

/// Called in the wrong place it must say so.
#[test]
fn attaching_outside_of_a_runtime_is_an_error() {
    assert_eq!(CompioHandle::attach().unwrap_err(), AttachError::NoRuntime);
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let error = tokio.block_on(async { CompioHandle::attach().unwrap_err() });
    assert_eq!(error, AttachError::NoRuntime);
}

/// Two libraries that attach the same runtime must not fight over it.
#[test]
fn attaching_twice_gives_the_same_handle() {
    for_each_driver(|driver| {
        let host = Host::new(driver);
        let again = block_on(host.handle.run(async || CompioHandle::attach().unwrap())).unwrap();
        let in_a_task = block_on(host.handle.run(async || {
            compio::runtime::spawn(async { CompioHandle::attach().unwrap() })
                .await
                .unwrap()
        }))
        .unwrap();
        let before = host.handle.metrics().completed;
        block_on(again.run(async || ())).unwrap();
        block_on(in_a_task.run(async || ())).unwrap();
        assert_eq!(host.handle.metrics().completed, before + 2);
    });
}

/// A library that attaches wherever it is must not put a second inbox on a worker.
#[test]
fn a_worker_of_a_pool_that_attaches_gets_its_own_handle() {
    let _watchdog = watchdog();
    let pool = CompioPool::builder().threads(2).build().unwrap();
    let handle = block_on(
        pool.worker(1)
            .unwrap()
            .run(async || CompioHandle::attach().unwrap()),
    )
    .unwrap();
    assert_eq!(handle.index(), 1);
    block_on(handle.run(async || ())).unwrap();
    assert_eq!(pool.metrics().workers[1].completed, 2);
}

/// `current` is how code deep down finds its way back.
#[test]
fn the_current_handle_is_known_in_jobs_and_in_plain_tasks() {
    for_each_driver(|driver| {
        let runtime = runtime_on(driver);
        let other = runtime_on(driver);
        runtime.block_on(async {
            assert!(CompioHandle::current().is_err(), "not attached yet");
            let handle = CompioHandle::attach().unwrap();
            let is_this = |current: CompioHandle| {
                let before = handle.metrics().crossings_in;
                drop(current.spawn(async || ()));
                async move |handle: CompioHandle| {
                    while handle.metrics().crossings_in == before {
                        yield_now().await;
                    }
                }
            };
            // In the future of `block_on`, in a job and in a plain task.
            is_this(CompioHandle::current().unwrap())(handle.clone()).await;
            let in_job = handle.run(async || CompioHandle::current().unwrap());
            is_this(in_job.await.unwrap())(handle.clone()).await;
            let in_task = compio::runtime::spawn(async { CompioHandle::current().unwrap() });
            is_this(in_task.await.unwrap())(handle.clone()).await;
        });
        other.block_on(async {
            assert!(CompioHandle::current().is_err(), "another runtime");
        });
        assert!(CompioHandle::current().is_err(), "outside");
    });
}

/// A user chooses by these whether the runtime keeps up.
#[test]
fn metrics_count_what_an_attached_runtime_has_done() {
    for_each_driver(|driver| {
        let host = Host::new(driver);
        block_on(host.handle.run(async || ())).unwrap();
        let panics = host.handle.run(async || panic!("counted"));
        assert!(block_on(panics).is_err());
        let endless = host.handle.spawn(async || pending::<()>().await);
        assert_eq!(host.handle.metrics().in_flight, 1);
        assert!(block_on(endless.cancel()).is_err());
        let metrics = host.handle.metrics();
        let kind = match driver {
            DriverType::Poll => DriverKind::Polling,
            _ => DriverKind::IoUring,
        };
        assert_eq!(metrics.driver, kind);
        assert_eq!(
            (metrics.completed, metrics.panicked, metrics.cancelled),
            (1, 1, 1)
        );
        assert_eq!((metrics.in_flight, metrics.leaked_tasks), (0, 0));
        assert_eq!(metrics.parks, 0, "not ours to count");
        assert_eq!(host.handle.index(), 0);
    });
}

/// The promise table's first row.
#[test]
fn dropping_a_run_cancels_and_dropping_a_handle_does_not() {
    for_each_driver(|driver| {
        let host = Host::new(driver);
        let (dropped, is_dropped) = mpsc::channel();
        let (started, is_started) = oneshot::channel();
        let mut run = host.handle.run(async move || {
            let _dropped = OnDrop::new(move || dropped.send(thread::current().id()).unwrap());
            started.send(()).unwrap();
            pending::<()>().await;
        });
        assert!(support::poll_once(&mut run, Waker::noop()).is_pending());
        block_on(is_started).unwrap();
        drop(run);
        assert_eq!(is_dropped.recv().unwrap(), host.id());

        let (go_on, may_go_on) = oneshot::channel::<()>();
        let (done, is_done) = mpsc::channel();
        drop(host.handle.spawn(async move || {
            may_go_on.await.unwrap();
            done.send(()).unwrap();
        }));
        go_on.send(()).unwrap();
        is_done.recv().unwrap();
    });
}

/// The promise table's second row: the future is gone, over there, when `cancel` resolves.
#[test]
fn abort_and_cancel_drop_the_future_on_its_own_thread() {
    for_each_driver(|driver| {
        let host = Host::new(driver);
        let there = Arc::new(Mutex::new(None));
        let seen = Arc::clone(&there);
        let handle = host.handle.spawn(async move || {
            let _dropped = OnDrop::new(move || {
                *seen.lock().unwrap() = Some(thread::current().id());
            });
            pending::<()>().await;
        });
        // So that it has begun.
        block_on(host.handle.run(async || ())).unwrap();
        let result = block_on(handle.cancel());
        assert!(matches!(result, Err(JoinError::Cancelled)));
        assert_eq!(*there.lock().unwrap(), Some(host.id()));

        let handle = host.handle.spawn(async || pending::<()>().await);
        handle.abort();
        assert!(matches!(block_on(handle), Err(JoinError::Cancelled)));
    });
}

/// The promise table's third row: one job's panic is not the runtime's.
#[test]
fn a_panic_stays_in_its_job() {
    for_each_driver(|driver| {
        let host = Host::new(driver);
        let panics = host.handle.run(async || panic!("over there"));
        let Err(JoinError::Panicked(panic)) = block_on(panics) else {
            panic!("it panicked");
        };
        assert_eq!(panic.message().as_deref(), Some("over there"));
        let in_drop = host.handle.run(async || {
            let _panics = OnDrop::new(|| panic!("in a destructor"));
        });
        assert!(matches!(block_on(in_drop), Err(JoinError::Panicked(_))));
        assert_eq!(block_on(host.handle.run(async || 42)).unwrap(), 42);
    });
}

/// Never a hang: whatever state a job is in when its runtime ends.
#[test]
fn everybody_gets_runtime_gone_when_the_runtime_ends() {
    for_each_driver(|driver| {
        let host = Host::new(driver);
        let handle = host.handle.clone();
        let here = host.id();
        let tally = Tally::new();
        let right_thread = Arc::new(AtomicUsize::new(0));
        let mut jobs: Vec<_> = (0..100)
            .map(|_| {
                let counted = tally.make();
                let right_thread = Arc::clone(&right_thread);
                handle.spawn(async move || {
                    let _counted = counted;
                    let _dropped = OnDrop::new(move || {
                        if thread::current().id() == here {
                            right_thread.fetch_add(1, Ordering::SeqCst);
                        }
                    });
                    pending::<()>().await;
                })
            })
            .collect();
        let mut run = handle.run(async || pending::<()>().await);
        assert!(support::poll_once(&mut run, Waker::noop()).is_pending());
        block_on(handle.run(async || ())).unwrap();
        // These never begin.
        let release = hold(&host);
        let (ended, thread) = (handle.clone(), thread::spawn(move || host.end()));
        jobs.extend((0..100).map(|_| {
            let counted = tally.make();
            ended.spawn(async move || {
                let _counted = counted;
                pending::<()>().await;
            })
        }));
        drop(release);
        thread.join().unwrap();
        for result in block_on(join_all(jobs)) {
            assert!(matches!(result, Err(JoinError::RuntimeGone)));
        }
        assert!(matches!(block_on(run), Err(JoinError::RuntimeGone)));
        assert_eq!(right_thread.load(Ordering::SeqCst), 100);
        assert_eq!(tally.alive(), 0);
        // And whoever comes later.
        assert!(handle.is_closed());
        assert!(matches!(
            block_on(handle.run(async || ())),
            Err(JoinError::RuntimeGone)
        ));
        assert!(matches!(
            block_on(handle.spawn(async || ())),
            Err(JoinError::RuntimeGone)
        ));
        assert!(matches!(
            handle.try_spawn(async || ()),
            Err(TrySpawnError::Closed(_))
        ));
        let metrics = handle.metrics();
        assert_eq!((metrics.in_flight, metrics.leaked_tasks), (0, 0));
    });
}

/// A destructor that spawns, wakes and panics at the end is still no hang and no leak.
#[test]
fn destructors_at_the_end_may_spawn_wake_and_panic() {
    for_each_driver(|driver| {
        let host = Host::new(driver);
        let handle = host.handle.clone();
        let late = Arc::new(Mutex::new(None));
        let (slot, again) = (Arc::clone(&late), handle.clone());
        let (wake, woken) = oneshot::channel::<()>();
        let waits = handle.spawn(async move || {
            _ = woken.await;
            pending::<()>().await;
        });
        let panics = handle.spawn(async move || {
            let _at_the_end = OnDrop::new(move || {
                assert!(CompioHandle::current().is_ok(), "inside of it still");
                *slot.lock().unwrap() = Some(again.spawn(async || pending::<()>().await));
                wake.send(()).unwrap();
                panic!("in a destructor");
            });
            pending::<()>().await;
        });
        block_on(handle.run(async || ())).unwrap();
        host.end();
        assert!(matches!(block_on(panics), Err(JoinError::Panicked(_))));
        assert!(matches!(block_on(waits), Err(JoinError::RuntimeGone)));
        let late = late.lock().unwrap().take().unwrap();
        assert!(matches!(block_on(late), Err(JoinError::RuntimeGone)));
    });
}

/// The kernel has an operation in flight when the runtime is dropped.
#[cfg(unix)]
#[test]
fn a_runtime_may_end_with_a_read_in_flight() {
    use std::io::Read;

    for_each_driver(|driver| {
        let host = Host::new(driver);
        let (mut peer, socket) = support::socket_pair();
        let dropped_on = Arc::new(Mutex::new(None));
        let seen = Arc::clone(&dropped_on);
        let read = host.handle.spawn(async move || {
            let _dropped = OnDrop::new(move || {
                *seen.lock().unwrap() = Some(thread::current().id());
            });
            socket.set_nonblocking(true).unwrap();
            let mut socket = compio::net::UnixStream::from_std(socket).unwrap();
            let buffer = Vec::with_capacity(4096);
            compio::io::AsyncRead::read(&mut socket, buffer).await
        });
        block_on(host.handle.run(async || ())).unwrap();
        let here = host.id();
        host.end();
        assert!(matches!(block_on(read), Err(JoinError::RuntimeGone)));
        assert_eq!(*dropped_on.lock().unwrap(), Some(here));
        // Its socket is closed, too.
        assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
    });
}

/// A burst at a thread that is busy: were each a wake-up of Compio's own, the 65th would wait for the
/// thread, and here that waits for the burst.
#[test]
fn work_for_a_busy_runtime_never_waits_for_compios_queue() {
    for_each_driver(|driver| {
        let host = Host::new(driver);
        let release = hold(&host);
        let before = host.handle.metrics().wakeups_sent;
        let jobs: Vec<_> = (0..COMPIOS_QUEUE * 20)
            .map(|n| host.handle.spawn(async move || n))
            .collect();
        assert_eq!(host.handle.metrics().wakeups_sent, before);
        drop(release);
        for (n, job) in jobs.into_iter().enumerate() {
            assert_eq!(block_on(job).unwrap(), n);
        }
    });
}

/// The inbox's promise, with the pump asleep or awake at any moment.
#[test]
fn a_hundred_thousand_wakes_from_eight_threads_all_arrive() {
    const THREADS: usize = 8;
    const WAKES: usize = 12_500;

    for_each_driver(|driver| {
        let host = Host::new(driver);
        let arrived = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let (handle, arrived) = (host.handle.clone(), Arc::clone(&arrived));
                thread::spawn(move || {
                    let (wakers, waiting) = mpsc::channel::<Waker>();
                    let job = handle.spawn(async move || {
                        for _ in 0..WAKES {
                            let mut sent = false;
                            poll_fn(|cx| {
                                if sent {
                                    return Poll::Ready(());
                                }
                                sent = true;
                                wakers.send(cx.waker().clone()).unwrap();
                                Poll::Pending
                            })
                            .await;
                            arrived.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                    for waker in waiting {
                        waker.wake();
                    }
                    block_on(job).unwrap();
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(arrived.load(Ordering::Relaxed), THREADS * WAKES);
    });
}

/// With Compio's own wake-ups this stands still: each fills the other's queue and waits for room.
#[test]
fn two_attached_runtimes_may_wake_each_other_without_bound() {
    const OUTSTANDING: usize = COMPIOS_QUEUE * 4;

    for_each_driver(|driver| {
        let [near, far] = [Host::new(driver), Host::new(driver)];
        let volley = |from: &Host, to: &Host| {
            let to = to.handle.clone();
            from.handle.spawn(async move || {
                for _ in 0..20 {
                    let calls: Vec<_> = (0..OUTSTANDING)
                        .map(|n| to.spawn(async move || n))
                        .collect();
                    let sum: usize = join_all(calls).await.into_iter().map(Result::unwrap).sum();
                    assert_eq!(sum, OUTSTANDING * (OUTSTANDING - 1) / 2);
                }
            })
        };
        let (there, back) = (volley(&near, &far), volley(&far, &near));
        block_on(there).unwrap();
        block_on(back).unwrap();
    });
}

/// Synchronous code in a job may drive a runtime of its own; each job belongs to the right one.
#[test]
fn a_runtime_nested_in_a_job_may_be_attached() {
    async fn nested(driver: DriverType, outer: CompioHandle) -> (u32, usize) {
        let inner = runtime_on(driver);
        let inner_completed = inner.block_on(async {
            let here = CompioHandle::attach().unwrap();
            let answer = here.run({
                let outer = outer.clone();
                async move || {
                    // To the outer runtime, which cannot run it before this returns.
                    drop(outer.spawn(async || ()));
                    yield_now().await;
                    42
                }
            });
            assert_eq!(answer.await.unwrap(), 42);
            here.metrics().completed
        });
        drop(inner);
        // The outer one is the current one again, with its local run queue.
        let answer = outer.run(async || 42).await.unwrap();
        (answer, inner_completed as usize)
    }

    for_each_driver(|driver| {
        let host = Host::new(driver);
        let pool = CompioPool::builder().threads(1).build().unwrap();
        for outer in [host.handle.clone(), pool.worker(0).unwrap()] {
            let handle = outer.clone();
            let before = outer.metrics().crossings_in;
            let result = block_on(outer.run(move || nested(driver, handle))).unwrap();
            assert_eq!(result, (42, 1));
            block_on(outer.run(async || ())).unwrap();
            // Two jobs of this thread's, and what the inner runtime's job sent through the inbox.
            assert_eq!(outer.metrics().crossings_in, before + 3);
        }
    });
}

/// Wake-ups between jobs of one runtime stay off its inbox.
#[test]
fn jobs_of_an_attached_runtime_wake_each_other_without_the_inbox() {
    for_each_driver(|driver| {
        let host = Host::new(driver);
        let inner = host.handle.clone();
        let crossings = block_on(host.handle.run(async move || {
            for _ in 0..100 {
                let (sender, receiver) = oneshot::channel();
                let waits = inner.spawn(async move || receiver.await.unwrap());
                yield_now().await;
                sender.send(7).unwrap();
                assert_eq!(waits.await.unwrap(), 7);
            }
            inner.metrics().crossings_in
        }));
        assert_eq!(crossings.unwrap(), 1);
    });
}

/// A job that never lets go of the run queue shares the thread with the runtime's own tasks.
#[test]
fn plain_tasks_get_their_turn_beside_busy_jobs() {
    for_each_driver(|driver| {
        let host = Host::new(driver);
        let done = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&done);
        let busy = host.handle.spawn(async move || {
            while !seen.load(Ordering::Relaxed) {
                yield_now().await;
            }
        });
        let plain = host.handle.spawn(async move || {
            compio::runtime::spawn(async move {
                compio::time::sleep(std::time::Duration::from_millis(1)).await;
                done.store(true, Ordering::Relaxed);
            })
            .await
            .unwrap();
        });
        block_on(plain).unwrap();
        block_on(busy).unwrap();
    });
}

/// Compio drops every task when its `block_on` panics, and the runtime may be used again.
#[test]
fn a_panic_out_of_block_on_ends_what_was_attached_and_it_may_be_attached_again() {
    for_each_driver(|driver| {
        let runtime = runtime_on(driver);
        let mut first = None;
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async {
                let handle = CompioHandle::attach().unwrap();
                first = Some(handle.spawn(async || pending::<()>().await));
                yield_now().await;
                panic!("out of block_on");
            });
        }));
        assert!(unwound.is_err());
        let first = first.unwrap();
        assert!(matches!(block_on(first), Err(JoinError::RuntimeGone)));
        let answer = runtime.block_on(async {
            let handle = CompioHandle::attach().unwrap();
            handle.run(async || 42).await
        });
        assert_eq!(answer.unwrap(), 42);
    });
}

/// Compio leaks its tasks if a thread that is unwinding drops the runtime; a leaked runtime is never
/// dropped. Who waits must hear of it all the same.
#[test]
fn what_compio_leaks_ends_with_its_thread() {
    in_child_that_leaks("what_compio_leaks_ends_with_its_thread", || {
        for_each_driver(|driver| {
            what_is_leaked_ends_with_its_thread(driver, true);
            what_is_leaked_ends_with_its_thread(driver, false);
        });
    });
}

fn what_is_leaked_ends_with_its_thread(driver: DriverType, unwinds: bool) {
    let (tell, told) = mpsc::channel();
    let tally = Tally::new();
    let counted = tally.make();
    let thread = thread::spawn(move || {
        let runtime = runtime_on(driver);
        runtime.block_on(async {
            let handle = CompioHandle::attach().unwrap();
            let job = handle.spawn(async move || {
                let _counted = counted;
                pending::<()>().await;
            });
            yield_now().await;
            tell.send((handle, job)).unwrap();
        });
        assert!(
            !unwinds,
            "outside of block_on, with the runtime on the stack"
        );
        std::mem::forget(runtime);
    });
    let (handle, job) = told.recv().unwrap();
    assert!(matches!(block_on(job), Err(JoinError::RuntimeGone)));
    _ = thread.join();
    assert!(handle.is_closed());
    assert_eq!(tally.alive(), 0);
    assert_eq!(handle.metrics().leaked_tasks, 0);
}

/// Compio ends the process for such a wake-up of its own tasks, and the pump is one.
#[test]
fn a_wake_from_a_thread_that_unwinds_does_not_end_the_process() {
    in_child(
        "a_wake_from_a_thread_that_unwinds_does_not_end_the_process",
        || {
            for_each_driver(|driver| {
                for _ in 0..20 {
                    let host = Host::new(driver);
                    let (sender, receiver) = oneshot::channel::<()>();
                    let job = host.handle.spawn(async move || receiver.await.is_err());
                    block_on(host.handle.run(async || ())).unwrap();
                    let unwinds = thread::spawn(move || {
                        let _sender = sender;
                        panic!("an ordinary panic");
                    });
                    assert!(block_on(job).unwrap());
                    assert!(unwinds.join().is_err());
                }
            });
        },
    );
}

/// Nothing that is not `Send` may be touched elsewhere, whoever wakes, cancels or drops.
#[test]
fn what_is_not_send_stays_on_the_runtimes_thread() {
    for_each_driver(|driver| {
        let host = Host::new(driver);
        let jobs: Vec<_> = (0..200)
            .map(|n| {
                host.handle.spawn(async move || {
                    let here = thread::current().id();
                    let stays = Rc::new(Cell::new(n));
                    let _dropped = OnDrop::new({
                        let stays = Rc::clone(&stays);
                        move || {
                            assert_eq!(thread::current().id(), here);
                            stays.set(0);
                        }
                    });
                    if n % 2 == 0 {
                        pending::<()>().await;
                    }
                    yield_now().await;
                    stays.get()
                })
            })
            .collect();
        for (n, job) in jobs.into_iter().enumerate() {
            if n % 2 == 0 {
                let result = block_on(job.cancel());
                assert!(matches!(result, Err(JoinError::Cancelled)), "{result:?}");
            } else {
                assert_eq!(block_on(job).unwrap(), n);
            }
        }
    });
}

/// A runtime that nobody drives does nothing, and goes on where it stopped.
#[test]
fn callers_wait_while_nobody_drives_the_runtime() {
    for_each_driver(|driver| {
        let runtime = runtime_on(driver);
        let handle = runtime.enter(CompioHandle::attach).unwrap();
        let job = handle.spawn(async || 42);
        assert!(!job.is_finished());
        assert_eq!(runtime.block_on(job).unwrap(), 42);
        // Asleep now, and rung from this very thread while it is not driven.
        let again = handle.spawn(async || 43);
        assert!(!again.is_finished());
        assert_eq!(runtime.block_on(again).unwrap(), 43);
    });
}

/// The usual way to start Compio.
#[compio::test]
async fn compios_own_macro_makes_a_runtime_that_can_be_attached() {
    let _watchdog = watchdog();
    let handle = CompioHandle::attach().unwrap();
    let caller = thread::spawn(move || block_on(handle.run(async || thread::current().id())));
    while !caller.is_finished() {
        yield_now().await;
    }
    assert_eq!(caller.join().unwrap().unwrap(), thread::current().id());
}

/// A runtime per test case, per request, ...: the table of the attached must not grow.
#[test]
fn runtimes_that_come_and_go_on_one_thread_leave_nothing_behind() {
    for_each_driver(|driver| {
        for n in 0..50 {
            let runtime = runtime_on(driver);
            runtime.block_on(async {
                let handle = CompioHandle::attach().unwrap();
                assert_eq!(handle.metrics().completed, 0, "a dead one's handle");
                assert_eq!(handle.run(async move || n).await.unwrap(), n);
            });
        }
    });
}
