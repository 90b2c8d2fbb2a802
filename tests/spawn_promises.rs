//! The table of promises of `run` and `spawn`: what comes back, and what becomes of the work when
//! somebody loses interest in it.

mod support;

use std::{
    cell::{Cell, RefCell},
    error::Error,
    future::{Future, pending, ready},
    io,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Waker},
    thread,
};

use futures::channel::oneshot;
use landbridge::{
    CompioHandle, CompioPool, JoinHandle,
    error::{AttachError, JoinError, NoSuchWorker, NotOnWorker, TrySpawnError},
    test_util::both,
};
use support::{
    CountingWaker, OnDrop, Tally, assert_lives, block_on, eventually, eventually_async,
    for_each_driver, hold, poll_once,
};

/// The first thing everybody relies on, from every runtime that may wait.
#[test]
fn run_and_spawn_bring_back_the_result_on_every_runtime() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).build().unwrap();
        both(async || {
            let text = String::from("over");
            assert_eq!(
                pool.run(|| ready(text + " there")).await.unwrap(),
                "over there"
            );
            let handle = pool.spawn(async || 42);
            assert_eq!(handle.await.unwrap(), 42);
            let error: Result<(), io::Error> = pool
                .run(async || Err(io::Error::from(io::ErrorKind::NotFound)))
                .await
                .unwrap();
            assert_eq!(error.unwrap_err().kind(), io::ErrorKind::NotFound);
        });
    });
}

/// Real I/O of Compio, not only futures that are ready: the worker drives its driver.
#[test]
fn work_may_use_files_timers_and_sockets_of_compio() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        both(async || {
            let bytes = pool
                .run(async || compio::fs::read("Cargo.toml").await)
                .await
                .unwrap()
                .unwrap();
            assert_eq!(bytes, std::fs::read("Cargo.toml").unwrap());
            pool.run(async || compio::time::sleep(std::time::Duration::from_millis(2)).await)
                .await
                .unwrap();
            let met = pool
                .run(async || {
                    let listener = compio::net::TcpListener::bind("127.0.0.1:0").await?;
                    let address = listener.local_addr()?;
                    let near = compio::net::TcpStream::connect(address);
                    let (near, far) = futures::future::join(near, listener.accept()).await;
                    Ok::<_, io::Error>(near?.local_addr()? == far?.1)
                })
                .await
                .unwrap();
            assert!(met.unwrap());
        });
    });
}

/// The closure is `FnOnce() -> Fut`, which is what both spellings are; `AsyncFnOnce` would shut out
/// the older one.
#[test]
fn closures_that_return_async_blocks_and_async_closures_both_work() {
    async fn named() -> u8 {
        3
    }

    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let text = String::from("moved");
        let other = text.clone();
        block_on(async {
            assert_eq!(pool.run(|| async { 1 }).await.unwrap(), 1);
            assert_eq!(pool.run(async || 2).await.unwrap(), 2);
            assert_eq!(pool.run(named).await.unwrap(), 3);
            assert_eq!(
                pool.run(move || async move { text }).await.unwrap(),
                "moved"
            );
            assert_eq!(pool.run(async move || other).await.unwrap(), "moved");
            assert_eq!(pool.spawn(|| async { 1 }).await.unwrap(), 1);
            assert_eq!(pool.spawn(async || 2).await.unwrap(), 2);
            assert_eq!(pool.spawn(named).await.unwrap(), 3);
        });
    });
}

/// What Compio's own types are. Only the closure and the output have to cross.
#[test]
fn a_future_that_is_not_send_may_be_used_inside() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        both(async || {
            let sum = pool
                .run(async || {
                    let shared = Rc::new(RefCell::new(Vec::new()));
                    for n in 0..4 {
                        shared.borrow_mut().push(n);
                        support::yield_now().await;
                    }
                    shared.borrow().iter().sum::<i32>()
                })
                .await
                .unwrap();
            assert_eq!(sum, 6);
        });
    });
}

/// `run` is lazy, as every future of Rust: what is not polled does not happen, and the closure is
/// dropped where it is.
#[test]
fn a_run_dropped_before_its_first_poll_never_calls_its_closure() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let called = Arc::new(AtomicBool::new(false));
        let dropped_on = Arc::new(std::sync::Mutex::new(None));
        let (seen, place) = (called.clone(), dropped_on.clone());
        let mark = OnDrop::new(move || *place.lock().unwrap() = Some(thread::current().id()));
        drop(pool.run(async move || {
            seen.store(true, Ordering::SeqCst);
            drop(mark);
        }));
        assert_eq!(*dropped_on.lock().unwrap(), Some(thread::current().id()));
        assert_lives(&pool);
        assert!(!called.load(Ordering::SeqCst));
        assert_eq!(pool.metrics().total(|worker| worker.completed), 1);
    });
}

/// Structured concurrency: work does not outlive the one who waits for it; and its future is not
/// `Send`, so that it must die where it lived.
#[test]
fn dropping_run_cancels_the_work_and_drops_it_on_its_worker() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        both(async || {
            let (started, is_started) = oneshot::channel();
            let (ended, has_ended) = oneshot::channel();
            let run = pool.run(async move || {
                let home = thread::current().id();
                let _mark = OnDrop::new(move || {
                    _ = ended.send((home, thread::current().id()));
                });
                started.send(()).unwrap();
                pending::<()>().await;
            });
            let run = futures::future::select(run, is_started);
            let futures::future::Either::Right((Ok(()), run)) = run.await else {
                panic!("it never ends")
            };
            drop(run);
            let (home, grave) = has_ended.await.expect("it is dropped");
            assert_eq!(home, grave);
        });
    });
}

/// Cancelling something that waits in a queue must not begin it.
#[test]
fn dropping_run_while_it_is_queued_never_calls_its_closure() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let tally = Tally::new();
        let called = Arc::new(AtomicBool::new(false));
        let release = hold(&pool);
        let (value, seen) = (tally.make(), called.clone());
        let mut run = pool.run(async move || {
            seen.store(true, Ordering::SeqCst);
            drop(value);
        });
        assert!(poll_once(&mut run, Waker::noop()).is_pending());
        drop(run);
        drop(release);
        eventually("the closure is dropped", || tally.alive() == 0);
        assert_lives(&pool);
        assert!(!called.load(Ordering::SeqCst));
    });
}

/// Tokio's and std's convention; Compio's own handle cancels, which is why it is said so loudly.
#[test]
fn dropping_the_handle_lets_the_work_go_on() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        both(async || {
            let (go, may_go) = oneshot::channel::<()>();
            let (tell, told) = oneshot::channel();
            drop(pool.spawn(async move || {
                may_go.await.unwrap();
                tell.send("done").unwrap();
            }));
            go.send(()).unwrap();
            assert_eq!(told.await, Ok("done"));
        });
    });
}

/// `spawn` is eager: it does not wait for somebody to wait.
#[test]
fn spawned_work_runs_though_nobody_polls_its_handle() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (tell, told) = mpsc::channel();
        let handle = pool.spawn(async move || tell.send(1).unwrap());
        assert_eq!(told.recv(), Ok(1));
        eventually("the handle knows", || handle.is_finished());
        block_on(handle).unwrap();
    });
}

/// `abort` asks; the handle says how it ended.
#[test]
fn aborted_work_resolves_to_cancelled() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        both(async || {
            let handle = pool.spawn(async || pending::<()>().await);
            handle.abort();
            assert!(matches!(handle.await, Err(JoinError::Cancelled)));
        });
    });
}

/// The handle's waiter is asleep when the abort comes from elsewhere: it must be woken.
#[test]
fn an_abort_wakes_a_handle_that_is_being_awaited() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let counting = CountingWaker::new();
        let waker = Waker::from(counting.clone());
        let mut handle = pool.spawn(async || pending::<()>().await);
        assert!(poll_once(&mut handle, &waker).is_pending());
        handle.abort();
        handle.abort();
        counting.wait_for(1);
        assert!(matches!(
            poll_once(&mut handle, &waker),
            Poll::Ready(Err(JoinError::Cancelled))
        ));
        assert_eq!(counting.wakes(), 1);
    });
}

/// An aborted job that has not begun must not begin.
#[test]
fn aborting_queued_work_never_calls_its_closure() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let tally = Tally::new();
        let called = Arc::new(AtomicBool::new(false));
        let release = hold(&pool);
        let (value, seen) = (tally.make(), called.clone());
        let handle = pool.spawn(async move || {
            seen.store(true, Ordering::SeqCst);
            drop(value);
        });
        handle.abort();
        drop(release);
        assert!(matches!(block_on(handle), Err(JoinError::Cancelled)));
        assert!(!called.load(Ordering::SeqCst));
        assert_eq!(tally.alive(), 0);
    });
}

/// What `cancel` is for: afterwards the files are closed, the locks free.
#[test]
fn cancel_resolves_only_when_the_future_has_been_dropped_over_there() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        both(async || {
            let dropped = Arc::new(AtomicBool::new(false));
            let (started, is_started) = oneshot::channel();
            let mark = dropped.clone();
            let handle = pool.spawn(async move || {
                let _mark = OnDrop::new(move || {
                    // Time for a `cancel` that does not wait to be caught at it.
                    for _ in 0..1_000 {
                        thread::yield_now();
                    }
                    mark.store(true, Ordering::SeqCst);
                });
                started.send(()).unwrap();
                pending::<()>().await;
            });
            is_started.await.unwrap();
            assert!(matches!(handle.cancel().await, Err(JoinError::Cancelled)));
            assert!(dropped.load(Ordering::SeqCst));
        });
    });
}

/// `cancel` is an async function: nothing before its first poll, and then the work is gone even if the
/// wait for it is given up.
#[test]
fn cancel_begins_with_its_first_poll_and_outlives_its_drop() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let tally = Tally::new();
        let (go, may_go) = oneshot::channel::<()>();
        let value = tally.make();
        let handle = pool.spawn(async move || {
            let _value = value;
            _ = may_go.await;
        });
        let cancel = Box::pin(handle.cancel());
        assert_lives(&pool);
        assert_eq!(tally.alive(), 1);
        // Never polled: the handle in it is dropped, which lets the work go on.
        drop(cancel);
        assert_lives(&pool);
        assert_eq!(tally.alive(), 1);
        go.send(()).unwrap();
        eventually("it ends by itself", || tally.alive() == 0);

        let value = tally.make();
        let release = hold(&pool);
        let handle = pool.spawn(async move || {
            let _value = value;
            pending::<()>().await;
        });
        let mut cancel = Box::pin(handle.cancel());
        assert!(poll_once(&mut cancel, Waker::noop()).is_pending());
        drop(cancel);
        drop(release);
        eventually("it is cancelled", || tally.alive() == 0);
    });
}

/// Work that was faster than its cancellation is not lost.
#[test]
fn abort_and_cancel_after_the_finish_give_the_output() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        both(async || {
            let handle = pool.spawn(async || String::from("kept"));
            eventually_async("it is finished", || handle.is_finished()).await;
            handle.abort();
            assert!(handle.is_finished());
            assert_eq!(handle.await.unwrap(), "kept");
            let handle = pool.spawn(async || String::from("kept"));
            eventually_async("it is finished", || handle.is_finished()).await;
            assert_eq!(handle.cancel().await.unwrap(), "kept");
        });
    });
}

/// Work that aborts itself from inside, with its own handle in its hands.
#[test]
fn work_may_abort_itself() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (give, take) = oneshot::channel::<JoinHandle<()>>();
        let (tell, told) = oneshot::channel();
        let handle = pool.spawn(async move || {
            let own = take.await.unwrap();
            own.abort();
            assert!(!own.is_finished());
            tell.send(own).map_err(|_| ()).unwrap();
            pending::<()>().await;
        });
        give.send(handle).map_err(|_| ()).unwrap();
        let handle = block_on(told).unwrap();
        assert!(matches!(block_on(handle), Err(JoinError::Cancelled)));
    });
}

/// `is_finished` is what tells a supervisor without waiting; it must not be true too early, nor say
/// no once the handle would be ready.
#[test]
fn is_finished_tells_whether_the_handle_would_resolve_at_once() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (go, may_go) = oneshot::channel::<()>();
        let mut handle = pool.spawn(async move || may_go.await.unwrap());
        assert_lives(&pool);
        assert!(!handle.is_finished());
        assert!(format!("{handle:?}").contains("finished: false"));
        go.send(()).unwrap();
        eventually("it is finished", || handle.is_finished());
        assert!(format!("{handle:?}").contains("finished: true"));
        assert!(poll_once(&mut handle, Waker::noop()).is_ready());
    });
}

/// A handle that moves between tasks is polled with one waker after the other; the last one counts,
/// and an older one must not be troubled.
#[test]
fn only_the_waker_of_the_last_poll_is_woken_and_only_once() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (go, may_go) = oneshot::channel::<()>();
        let mut handle = pool.spawn(async move || may_go.await.unwrap());
        let [first, second] = [CountingWaker::new(), CountingWaker::new()];
        for waker in [&first, &second, &first, &second] {
            assert!(poll_once(&mut handle, &Waker::from(waker.clone())).is_pending());
        }
        go.send(()).unwrap();
        second.wait_for(1);
        assert!(poll_once(&mut handle, Waker::noop()).is_ready());
        assert_eq!(first.wakes(), 0);
        assert_eq!(second.wakes(), 1);
        assert_eq!(Arc::strong_count(&first), 1, "an old waker is let go of");
    });
}

/// Losing a race in a `select!` must not lose the result.
#[test]
fn a_handle_that_lost_a_select_may_be_awaited_later() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        both(async || {
            let (go, may_go) = oneshot::channel::<()>();
            let mut handle = pool.spawn(async move || {
                may_go.await.unwrap();
                7
            });
            for _ in 0..3 {
                let lost = futures::future::select(&mut handle, ready(()));
                assert!(matches!(lost.await, futures::future::Either::Right(_)));
            }
            go.send(()).unwrap();
            assert_eq!(handle.await.unwrap(), 7);
        });
    });
}

/// The result must be seen after the future is gone: whoever has it may delete the file, or reuse the
/// address, that the future held.
#[test]
fn the_future_is_gone_before_its_result_is_seen() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        both(async || {
            for _ in 0..50 {
                let tally = Tally::new();
                let (closure, inner) = (tally.make(), tally.make());
                let polled = Cell::new(false);
                let run = pool.run(move || {
                    let held = (closure, inner);
                    std::future::poll_fn(move |cx: &mut Context<'_>| {
                        _ = &held;
                        if polled.replace(true) {
                            return Poll::Ready(());
                        }
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    })
                });
                run.await.unwrap();
                assert_eq!(tally.alive(), 0);
            }
        });
    });
}

/// A future far larger than a page is boxed on the way; nothing may depend on its size.
#[test]
fn large_futures_and_outputs_cross_whole() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let big = [7_u8; 20_000];
        let back = block_on(pool.run(async move || {
            support::yield_now().await;
            big
        }))
        .unwrap();
        assert!(back.iter().all(|byte| *byte == 7));
        #[repr(align(256))]
        struct Aligned(u8);
        let back = block_on(pool.run(async || {
            let aligned = Aligned(1);
            support::yield_now().await;
            assert_eq!((&raw const aligned).addr() % 256, 0);
            aligned
        }))
        .unwrap();
        assert_eq!(back.0, 1);
    });
}

/// `?` in a function that returns `io::Result`, or `Box<dyn Error + Send + Sync>`, on both the
/// crossing and what it brought back; and never `Interrupted`, which invites a retry for ever.
#[test]
fn a_join_error_becomes_an_io_error_that_nobody_retries() {
    fn is_error<E: Error + Send + Sync + 'static>() {}
    is_error::<JoinError>();

    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let panicked = block_on(pool.run(async || panic!("with {}", "text"))).unwrap_err();
        let cancelled = {
            let handle = pool.spawn(async || pending::<()>().await);
            block_on(handle.cancel()).unwrap_err()
        };
        let gone = {
            block_on(pool.shutdown());
            block_on(pool.run(async || ())).unwrap_err()
        };
        assert!(panicked.to_string().contains("with text"));
        for (error, kind) in [
            (panicked, io::ErrorKind::Other),
            (cancelled, io::ErrorKind::Other),
            (gone, io::ErrorKind::BrokenPipe),
        ] {
            let text = error.to_string();
            let error = io::Error::from(error);
            assert_eq!(error.kind(), kind);
            assert_ne!(error.kind(), io::ErrorKind::Interrupted);
            assert_eq!(error.to_string(), text);
            let inner = error.get_ref().expect("the error is kept");
            assert!(inner.is::<JoinError>());
        }
    });
}

/// As above, for what is refused before there is any work: asking for a worker, attaching, submitting.
#[test]
fn what_is_refused_before_it_starts_becomes_an_io_error_too() {
    fn attach() -> io::Result<CompioHandle> {
        Ok(CompioHandle::attach()?)
    }
    fn current() -> io::Result<CompioHandle> {
        Ok(CompioHandle::current()?)
    }
    fn worker(pool: &CompioPool, index: usize) -> io::Result<CompioHandle> {
        Ok(pool.worker(index)?)
    }
    fn submit(pool: &CompioPool, tally: &Tally) -> io::Result<JoinHandle<()>> {
        let counted = tally.make();
        Ok(pool.try_spawn(async move || {
            let _counted = counted;
            pending().await
        })?)
    }

    let here = attach().unwrap_err();
    assert_eq!(here.kind(), io::ErrorKind::Other);
    assert!(here.get_ref().unwrap().is::<AttachError>());
    let here = current().unwrap_err();
    assert_eq!(here.kind(), io::ErrorKind::Other);
    assert!(here.get_ref().unwrap().is::<NotOnWorker>());

    for_each_driver(|builder| {
        let pool = builder().max_in_flight(1).build().unwrap();
        let none = worker(&pool, 1).unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::InvalidInput);
        assert!(none.get_ref().unwrap().is::<NoSuchWorker>());

        let tally = Tally::new();
        let first = submit(&pool, &tally).unwrap();
        let full = submit(&pool, &tally).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(
            full.get_ref().unwrap().downcast_ref(),
            Some(&TrySpawnError::Full(()))
        );
        assert_eq!(tally.alive(), 1, "the closure is dropped");
        block_on(first.cancel()).unwrap_err();
        block_on(pool.shutdown());
        let closed = submit(&pool, &tally).unwrap_err();
        assert_eq!(closed.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(
            closed.get_ref().unwrap().downcast_ref(),
            Some(&TrySpawnError::Closed(()))
        );
        assert_eq!(tally.alive(), 0);
    });
}

/// Many callers at once, from every kind of thread; nothing mixed up between them.
#[test]
fn a_thousand_runs_at_once_each_get_their_own_result() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).build().unwrap();
        both(async || {
            let runs = (0..1_000_u32).map(|n| {
                pool.run(async move || {
                    if n % 3 == 0 {
                        support::yield_now().await;
                    }
                    n
                })
            });
            let back = futures::future::try_join_all(runs).await.unwrap();
            assert!(back.into_iter().eq(0..1_000));
        });
    });
}

/// The handle may be polled by another thread than the one that made it.
#[test]
fn a_handle_may_be_awaited_and_dropped_on_another_thread() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let count = Arc::new(AtomicUsize::new(0));
        let threads = (0..8).map(|n| {
            let seen = count.clone();
            let handle = pool.spawn(async move || {
                seen.fetch_add(1, Ordering::SeqCst);
                n
            });
            thread::spawn(move || {
                if n % 2 == 0 {
                    assert_eq!(block_on(handle).unwrap(), n);
                } else {
                    drop(handle);
                }
            })
        });
        for thread in threads.collect::<Vec<_>>() {
            thread.join().unwrap();
        }
        eventually("all ran", || count.load(Ordering::SeqCst) == 8);
    });
}

/// Polled again after it was ready: a bug of the caller's, which is told so, and does not hang.
#[test]
fn polling_after_the_end_panics_and_does_not_hang() {
    fn polled_twice<F: Future + Unpin>(mut future: F) {
        block_on(&mut future);
        let again = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            _ = poll_once(&mut future, Waker::noop());
        }));
        assert!(again.is_err());
    }

    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        polled_twice(pool.run(async || ()));
        polled_twice(pool.spawn(async || ()));
        assert_lives(&pool);
    });
}
