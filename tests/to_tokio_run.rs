//! `TokioHandleExt::run`: work on Tokio's threads, awaited from anywhere, with the promises of the
//! other direction.

mod support;

use std::{
    cell::Cell,
    future::pending,
    io,
    panic::{AssertUnwindSafe, catch_unwind, panic_any},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Poll, Waker},
    thread,
    time::Duration,
};

use futures::{FutureExt, channel::oneshot};
use landbridge::{TokioHandleExt, error::JoinError, test_util::both};
use support::{OnDrop, Tally, block_on, eventually, for_each_driver, poll_once, watchdog};
use tokio::runtime::{Builder, Handle, Runtime};

fn tokio_runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// A current-thread runtime and a thread that drives it until the sender is dropped.
fn driven_current_thread() -> (Handle, oneshot::Sender<()>, thread::JoinHandle<()>) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    let (stop, stopped) = oneshot::channel();
    let driver = thread::spawn(move || _ = runtime.block_on(stopped));
    (handle, stop, driver)
}

fn is_gone<T>(result: Result<T, JoinError>) -> bool {
    matches!(result, Err(JoinError::RuntimeGone))
}

/// What it is for: timers and everything else that needs Tokio's reactor, from a Compio task.
#[test]
fn work_runs_with_tokios_reactor_and_its_result_comes_back_to_every_runtime() {
    let _watchdog = watchdog();
    let tokio = tokio_runtime();
    let handle = tokio.handle();
    both(async || {
        let here = thread::current().id();
        let there = handle
            .run(async {
                tokio::time::sleep(Duration::from_millis(1)).await;
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
                let address = listener.local_addr()?;
                let (near, far) =
                    tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
                assert_eq!(near?.local_addr()?, far?.1);
                Ok::<_, io::Error>(thread::current().id())
            })
            .await
            .unwrap()
            .unwrap();
        assert_ne!(here, there);
    });
}

/// The other direction of the main job: a job of the pool that needs a Tokio-only crate.
#[test]
fn work_may_be_run_on_tokio_from_a_job_of_the_pool() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let tokio = tokio_runtime();
        let handle = tokio.handle().clone();
        let text = block_on(pool.run(async move || {
            let name = handle
                .run(async {
                    tokio::task::yield_now().await;
                    Handle::current().id()
                })
                .await?;
            assert_eq!(name, handle.id());
            Ok::<_, JoinError>("back")
        }));
        assert_eq!(text.unwrap().unwrap(), "back");
    });
}

/// Lazy, as `run` of the pool is: without a poll there is nothing.
#[test]
fn nothing_is_spawned_before_the_first_poll() {
    let _watchdog = watchdog();
    let tokio = tokio_runtime();
    let tally = Tally::new();
    let (value, called) = (tally.make(), Arc::new(AtomicBool::new(false)));
    let seen = called.clone();
    let run = tokio.handle().run(async move {
        seen.store(true, Ordering::SeqCst);
        drop(value);
    });
    assert!(format!("{run:?}").contains("not spawned"));
    assert_eq!(tokio.metrics().num_alive_tasks(), 0);
    drop(run);
    assert_eq!(tally.alive(), 0);
    assert!(!called.load(Ordering::SeqCst));
}

/// Structured: the work ends with the one who waits for it.
#[test]
fn dropping_the_future_aborts_the_work() {
    let _watchdog = watchdog();
    let tokio = tokio_runtime();
    let handle = tokio.handle();
    both(async || {
        let tally = Tally::new();
        let value = tally.make();
        let (started, is_started) = oneshot::channel();
        let run = handle.run(async move {
            let _value = value;
            started.send(()).unwrap();
            pending::<()>().await;
        });
        let run = Box::pin(run);
        let futures::future::Either::Right((Ok(()), run)) =
            futures::future::select(run, is_started).await
        else {
            panic!("it never ends")
        };
        drop(run);
        eventually("it is dropped", || tally.alive() == 0);
    });
}

/// A panic stays a value, and Tokio's worker lives on.
#[test]
fn a_panic_of_the_work_comes_back_with_its_payload() {
    let _watchdog = watchdog();
    let tokio = tokio_runtime();
    let handle = tokio.handle();
    both(async || {
        let error = handle.run(async { panic_any(7_u32) }).await.unwrap_err();
        let JoinError::Panicked(panic) = error else {
            panic!("{error:?}");
        };
        assert_eq!(panic.into_inner().downcast_ref::<u32>(), Some(&7));
        let error = handle.run(async { panic!("with text") }).await.unwrap_err();
        assert!(error.to_string().contains("with text"));
        assert_eq!(handle.run(async { 1 }).await.unwrap(), 1);
    });
}

/// Tokio catches what a destructor throws; here too it must reach the waiter, or nobody, but not end
/// anything.
#[test]
fn a_destructor_that_panics_over_there_harms_nobody() {
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            if !thread::panicking() {
                panic!("in the destructor");
            }
        }
    }

    let _watchdog = watchdog();
    let tokio = tokio_runtime();
    let handle = tokio.handle();
    both(async || {
        // The future's, when it is aborted.
        let (started, is_started) = oneshot::channel();
        let run = Box::pin(handle.run(async move {
            let _bomb = Bomb;
            started.send(()).unwrap();
            pending::<()>().await;
        }));
        drop(futures::future::select(run, is_started).await);
        // The output's, which nobody takes.
        let (started, is_started) = oneshot::channel();
        let run = Box::pin(handle.run(async move {
            started.send(()).unwrap();
            Bomb
        }));
        match futures::future::select(run, is_started).await {
            futures::future::Either::Right((_, run)) => drop(run),
            // Taken after all.
            futures::future::Either::Left((output, _)) => std::mem::forget(output),
        }
        assert_eq!(handle.run(async { 1 }).await.unwrap(), 1);
    });
}

/// A Tokio runtime that is dropped while Compio waits, with work that is started and work that is not.
#[test]
fn a_runtime_that_is_shut_down_in_the_middle_resolves_every_waiter() {
    let _watchdog = watchdog();
    both(async || {
        let tokio = tokio_runtime();
        let handle = tokio.handle().clone();
        let tally = Tally::new();
        let runs = (0..100).map(|n| {
            let value = tally.make();
            handle.run(async move {
                let _value = value;
                if n % 2 == 0 {
                    tokio::time::sleep(Duration::from_secs(3_600)).await;
                } else {
                    pending::<()>().await;
                }
            })
        });
        let mut runs = futures::future::join_all(runs.collect::<Vec<_>>());
        assert!(futures::future::poll_immediate(&mut runs).await.is_none());
        tokio.shutdown_background();
        for result in runs.await {
            assert!(is_gone(result));
        }
        eventually("all is dropped", || tally.alive() == 0);
        // And afterwards.
        let value = tally.make();
        assert!(is_gone(handle.run(async move { drop(value) }).await));
        assert_eq!(tally.alive(), 0);
    });
}

/// The same on a runtime of one thread, which is dropped by the thread that drives it.
#[test]
fn a_current_thread_runtime_runs_the_work_and_its_end_resolves_the_waiters() {
    let _watchdog = watchdog();
    both(async || {
        let (handle, stop, driver) = driven_current_thread();
        let there = handle.run(async { thread::current().id() }).await.unwrap();
        assert_eq!(there, driver.thread().id());
        let waiting = handle.run(pending::<()>());
        let mut waiting = Box::pin(waiting);
        assert!(
            futures::future::poll_immediate(&mut waiting)
                .await
                .is_none()
        );
        drop(stop);
        assert!(is_gone(waiting.await));
        driver.join().unwrap();
        assert!(is_gone(handle.run(async {}).await));
    });
}

tokio::task_local! {
    static MARK: u32;
}

/// A hop to where one is already would be a detour; that it is none shows in the task-local, the task
/// id, and in that the runtime has one task.
#[test]
fn a_task_of_that_very_runtime_polls_in_place() {
    let _watchdog = watchdog();
    let tokio = tokio_runtime();
    let handle = tokio.handle().clone();
    let task = tokio.spawn(MARK.scope(7, async move {
        let outer = tokio::task::id();
        let run = handle.run(async move {
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert_eq!(Handle::current().metrics().num_alive_tasks(), 1);
            (tokio::task::id(), MARK.try_get().ok())
        });
        let mut run = Box::pin(run);
        assert!(poll_once(&mut run, Waker::noop()).is_pending());
        assert!(format!("{run:?}").contains("in place"));
        let (inner, mark) = run.await.unwrap();
        assert_eq!((inner, mark), (outer, Some(7)));
    }));
    block_on(task).unwrap();
}

/// In place, the promises are the same: a panic is an error and not the caller's end, dropping drops.
#[test]
fn in_place_a_panic_is_an_error_too_and_a_drop_drops_at_once() {
    struct Twice;

    impl Future for Twice {
        type Output = ();

        fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<()> {
            Poll::Ready(())
        }
    }

    impl Drop for Twice {
        fn drop(&mut self) {
            if !thread::panicking() {
                panic!("in the destructor");
            }
        }
    }

    let _watchdog = watchdog();
    let tokio = tokio_runtime();
    let handle = tokio.handle().clone();
    let task = tokio.spawn(async move {
        let error = handle.run(async { panic!("in place") }).await.unwrap_err();
        assert!(error.to_string().contains("in place"));
        let error = handle.run(Twice).await.unwrap_err();
        assert!(error.to_string().contains("in the destructor"));
        let tally = Tally::new();
        let value = tally.make();
        let mut run = Box::pin(handle.run(async move {
            let _value = value;
            pending::<()>().await;
        }));
        assert!(poll_once(&mut run, Waker::noop()).is_pending());
        drop(run);
        assert_eq!(tally.alive(), 0);
    });
    block_on(task).unwrap();
}

/// Tokio's context alone does not make a Tokio task: a thread that Compio drives may have entered it,
/// and in place the work would wait on a thread that no Tokio scheduler looks after.
#[test]
fn a_compio_thread_that_entered_tokios_context_is_not_in_place() {
    for_each_driver(|builder| {
        let tokio = tokio_runtime();
        let pool = builder().build().unwrap();
        let handle = tokio.handle().clone();
        let moved = block_on(pool.run(async move || {
            let here = thread::current().id();
            let mut run = {
                let _context = handle.enter();
                let mut run = Box::pin(handle.run(async { thread::current().id() }));
                _ = poll_once(&mut run, Waker::noop())
                    .map(|there| assert_ne!(there.unwrap(), here));
                Box::pin(handle.run(async { thread::current().id() }))
            };
            (&mut run).await.unwrap() != here
        }));
        assert!(moved.unwrap());
        // And a Compio runtime inside a Tokio task.
        let handle = tokio.handle().clone();
        let task = tokio.spawn(async move {
            tokio::task::block_in_place(|| {
                let here = tokio::task::id();
                let compio = compio::runtime::Runtime::new().unwrap();
                let there = compio
                    .block_on(handle.run(async { tokio::task::id() }))
                    .unwrap();
                assert_ne!(here, there);
            });
        });
        block_on(task).unwrap();
    });
}

/// A task of one runtime that has entered another's context: the work belongs on the other, whose
/// timers and tasks it names.
#[test]
fn a_task_of_another_runtime_that_entered_the_context_sees_the_right_runtime() {
    let _watchdog = watchdog();
    let [near, far] = [tokio_runtime(), tokio_runtime()];
    let handle = far.handle().clone();
    let task = near.spawn(async move {
        let mut run = Box::pin(handle.run(async {
            let first = Handle::current().id();
            support::yield_now().await;
            (first, Handle::current().id())
        }));
        {
            let _context = handle.enter();
            if let Poll::Ready(result) = poll_once(&mut run, Waker::noop()) {
                return (result.unwrap(), handle.id());
            }
        }
        (run.await.unwrap(), handle.id())
    });
    let ((first, second), wanted) = block_on(task).unwrap();
    assert_eq!(first, wanted);
    assert_eq!(second, wanted);
}

/// Every way in which synchronous code on Tokio's own threads waits for asynchronous work.
#[test]
fn it_may_be_waited_for_from_blocking_code_of_that_runtime() {
    let _watchdog = watchdog();
    let tokio = tokio_runtime();
    let handle = tokio.handle().clone();
    let work = || async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Handle::current().id()
    };
    let wanted = handle.id();
    // The runtime's own `block_on` and the handle's, on a plain thread.
    assert_eq!(tokio.block_on(handle.run(work())).unwrap(), wanted);
    assert_eq!(handle.block_on(handle.run(work())).unwrap(), wanted);
    assert_eq!(block_on(handle.run(work())).unwrap(), wanted);
    let inner = handle.clone();
    let task = handle.spawn_blocking(move || {
        (
            inner.block_on(inner.run(work())).unwrap(),
            block_on(inner.run(work())).unwrap(),
        )
    });
    assert_eq!(block_on(task).unwrap(), (wanted, wanted));
    let inner = handle.clone();
    let task = handle.spawn(async move {
        tokio::task::block_in_place(|| {
            (
                inner.block_on(inner.run(work())).unwrap(),
                block_on(inner.run(work())).unwrap(),
            )
        })
    });
    assert_eq!(block_on(task).unwrap(), (wanted, wanted));
}

/// From a plain thread, with a plain executor, and woken properly: no look may replace the wake-up.
#[test]
fn the_waiter_is_woken_exactly_through_its_waker() {
    let _watchdog = watchdog();
    let tokio = tokio_runtime();
    for _ in 0..50 {
        let (go, may_go) = oneshot::channel::<()>();
        let counting = support::CountingWaker::new();
        let mut run = Box::pin(tokio.handle().run(may_go.map(Result::unwrap)));
        assert!(poll_once(&mut run, &Waker::from(counting.clone())).is_pending());
        go.send(()).unwrap();
        counting.wait_for(1);
        assert!(poll_once(&mut run, Waker::noop()).is_ready());
        assert_eq!(counting.wakes(), 1);
    }
}

/// Outputs that nobody takes, and what the work holds, are dropped exactly once.
#[test]
fn everything_is_dropped_exactly_once_whoever_lets_go_first() {
    let _watchdog = watchdog();
    let tokio = tokio_runtime();
    let handle = tokio.handle();
    let (locals, outputs) = (Tally::new(), Tally::new());
    let ran = Arc::new(AtomicUsize::new(0));
    both(async || {
        for n in 0..200 {
            let (local, outputs) = (locals.make(), outputs.clone());
            let ran = ran.clone();
            let mut run = Box::pin(handle.run(async move {
                let _local = local;
                for _ in 0..n % 3 {
                    tokio::task::yield_now().await;
                }
                ran.fetch_add(1, Ordering::SeqCst);
                outputs.make()
            }));
            match n % 4 {
                0 => {}
                1 => _ = poll_once(&mut run, Waker::noop()),
                2 => {
                    _ = poll_once(&mut run, Waker::noop());
                    thread::yield_now();
                }
                _ => drop(run.await.unwrap()),
            }
        }
        eventually("locals", || locals.alive() == 0);
        eventually("outputs", || outputs.alive() == 0);
    });
    assert!(ran.load(Ordering::SeqCst) >= 200);
}

/// There and back again: a pool's job waits for Tokio, whose task waits for the pool, and so on.
#[test]
fn runs_may_be_nested_across_both_runtimes() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let tokio = tokio_runtime();
        let handle = tokio.handle().clone();
        let depth = block_on(pool.run({
            let pool = pool.clone();
            async move || {
                let inner = handle.clone();
                handle
                    .run(async move {
                        pool.run(async move || inner.run(async { 1 }).await.unwrap() + 1)
                            .await
                            .unwrap()
                            + 1
                    })
                    .await
                    .unwrap()
                    + 1
            }
        }));
        assert_eq!(depth.unwrap(), 4);
    });
}

/// The pool's job is cancelled: so is what it waits for on Tokio.
#[test]
fn cancelling_a_job_aborts_what_it_runs_on_tokio() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let tokio = tokio_runtime();
        let handle = tokio.handle().clone();
        let (tell, told) = mpsc::channel();
        let (started, is_started) = oneshot::channel();
        let job = pool.spawn(async move || {
            handle
                .run(async move {
                    let _mark = OnDrop::new(move || tell.send(thread::current().id()).unwrap());
                    started.send(()).unwrap();
                    pending::<()>().await;
                })
                .await
        });
        block_on(is_started).unwrap();
        assert!(matches!(block_on(job.cancel()), Err(JoinError::Cancelled)));
        told.recv().unwrap();
    });
}

/// Polled again after it was ready: told so, no hang.
#[test]
fn polling_after_the_end_panics() {
    let _watchdog = watchdog();
    let tokio = tokio_runtime();
    let mut run = Box::pin(tokio.handle().run(async {}));
    block_on(&mut run).unwrap();
    assert!(format!("{run:?}").contains("done"));
    let polled = Cell::new(false);
    let again = catch_unwind(AssertUnwindSafe(|| {
        polled.set(true);
        _ = poll_once(&mut run, Waker::noop());
    }));
    assert!(polled.get() && again.is_err());
}
