//! Panics stay where they belong: in the work that panicked. The waiter is told, the payload is kept,
//! the worker lives on; and nothing of it ever ends the process.

#![allow(unsafe_code, reason = "a waker with a table of its own")]

mod support;

use std::{
    future::{Future, pending},
    panic::{AssertUnwindSafe, catch_unwind, panic_any},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker},
};

use futures::channel::oneshot;
use landbridge::{error::JoinError, test_util::both};
use support::{
    OnDrop, Tally, assert_lives, block_on, eventually, for_each_driver, hold, poll_once,
};

/// Panics when it is dropped, if not already in a panic.
struct Bomb(&'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("{}", self.0);
        }
    }
}

/// Panics whenever it is dropped, also in the middle of a panic's cleaning up.
struct Mine;

impl Drop for Mine {
    fn drop(&mut self) {
        panic!("mine");
    }
}

#[track_caller]
fn message<T>(result: Result<T, JoinError>) -> String {
    match result {
        Err(JoinError::Panicked(panic)) => panic.message().expect("a text"),
        Err(other) => panic!("not a panic: {other:?}"),
        Ok(_) => panic!("no panic"),
    }
}

/// The three places of a panic that a user thinks of first.
#[test]
fn a_panic_in_closure_or_future_reaches_the_waiter_and_the_worker_lives_on() {
    fn bad() -> std::future::Ready<()> {
        panic!("in the closure");
    }

    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let runtimes = std::cell::Cell::new(0);
        both(async || {
            runtimes.set(runtimes.get() + 1);
            assert_eq!(message(pool.run(bad).await), "in the closure");
            assert_eq!(message(pool.spawn(bad).await), "in the closure");
            let late = async || {
                support::yield_now().await;
                panic!("in the future");
            };
            let result: Result<(), _> = pool.run(late).await;
            assert_eq!(message(result), "in the future");
            let result: Result<(), _> = pool.spawn(late).await;
            assert_eq!(message(result), "in the future");
            assert_eq!(pool.run(async || 1).await.unwrap(), 1);
        });
        let panicked = pool.metrics().total(|worker| worker.panicked);
        assert_eq!(panicked, 4 * runtimes.get());
    });
}

/// `async_task` ends the process for a destructor that panics; the body of a task keeps that away
/// from it.
#[test]
fn a_destructor_that_panics_at_completion_turns_the_result_into_the_panic() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let tally = Tally::new();
        let (output, counted) = (tally.make(), tally.make());
        // Not a local of an async block, whose end would be inside of the poll.
        let held = (Bomb("in the destructor"), counted);
        let mut output = Some(output);
        let run = pool.run(move || {
            std::future::poll_fn(move |_| {
                _ = &held;
                Poll::Ready(output.take())
            })
        });
        assert_eq!(message(block_on(run)), "in the destructor");
        assert_eq!(tally.alive(), 0, "the output that nobody gets is dropped");
        assert_lives(&pool);
    });
}

/// The same while it is being cancelled: the one who waits for the cancellation learns of it.
#[test]
fn a_destructor_that_panics_during_a_cancel_is_reported_to_the_canceller() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        both(async || {
            let (started, is_started) = oneshot::channel();
            let handle = pool.spawn(async move || {
                let _bomb = Bomb("in the destructor");
                started.send(()).unwrap();
                pending::<()>().await;
            });
            is_started.await.unwrap();
            assert_eq!(message(handle.cancel().await), "in the destructor");
            assert_eq!(pool.run(async || 1).await.unwrap(), 1);
        });
    });
}

/// A `run` that is dropped leaves nobody to tell; the destructor's panic must not get further.
#[test]
fn a_destructor_that_panics_with_nobody_waiting_harms_nobody() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (started, is_started) = oneshot::channel();
        let tally = Tally::new();
        let counted = tally.make();
        let mut run = pool.run(async move || {
            let _held = (Bomb("in the destructor"), counted);
            started.send(()).unwrap();
            pending::<()>().await;
        });
        assert!(poll_once(&mut run, Waker::noop()).is_pending());
        block_on(is_started).unwrap();
        drop(run);
        eventually("it is dropped", || tally.alive() == 0);
        assert_lives(&pool);
        assert_eq!(pool.metrics().total(|worker| worker.panicked), 1);
    });
}

/// Two panics of one job: the first is the cause and is reported, the second must not end the
/// process.
#[test]
fn a_future_that_panics_and_whose_destructor_panics_too_reports_the_first() {
    struct Twice(Mine);

    impl Future for Twice {
        type Output = ();

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            panic!("first");
        }
    }

    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        assert_eq!(message(block_on(pool.run(|| Twice(Mine)))), "first");
        assert_eq!(message(block_on(pool.spawn(|| Twice(Mine)))), "first");
        assert_lives(&pool);
    });
}

/// A closure that is cancelled in the queue is dropped by the worker; its captures may panic too.
#[test]
fn a_queued_closure_whose_destructor_panics_harms_nobody() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let release = hold(&pool);
        let bomb = Bomb("in the closure's captures");
        let aborted = pool.spawn(move || {
            drop(bomb);
            pending::<()>()
        });
        aborted.abort();
        let bomb = Bomb("in the closure's captures");
        let mut run = pool.run(move || {
            drop(bomb);
            pending::<()>()
        });
        assert!(poll_once(&mut run, Waker::noop()).is_pending());
        drop(run);
        drop(release);
        assert_eq!(message(block_on(aborted)), "in the closure's captures");
        assert_lives(&pool);
    });
}

/// An output that nobody wants is dropped by the pool, on whatever thread that happens: before the
/// handle was let go of, or after.
#[test]
fn an_unclaimed_output_whose_destructor_panics_harms_nobody() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        // The handle is dropped first: the worker finds nobody.
        let (go, may_go) = oneshot::channel::<()>();
        let tally = Tally::new();
        let counted = tally.make();
        drop(pool.spawn(async move || {
            may_go.await.unwrap();
            (Bomb("output"), counted)
        }));
        go.send(()).unwrap();
        eventually("the output is dropped", || tally.alive() == 0);
        assert_lives(&pool);

        // The output is there first: whoever drops the handle drops it.
        let counted = tally.make();
        let handle = pool.spawn(async move || (Bomb("output"), counted));
        eventually("it is finished", || handle.is_finished());
        drop(handle);
        assert_eq!(tally.alive(), 0);

        // The same with `run`, which was woken and is not polled any more.
        let counted = tally.make();
        let release = hold(&pool);
        let mut run = pool.run(async move || (Bomb("output"), counted));
        assert!(poll_once(&mut run, Waker::noop()).is_pending());
        drop(release);
        eventually("it has run", || {
            pool.metrics().total(|worker| worker.completed) == 5
        });
        drop(run);
        eventually("the output is dropped", || tally.alive() == 0);
        assert_lives(&pool);
    });
}

/// The waker belongs to the waiter; what it does must not reach the worker.
#[test]
fn a_waiters_waker_that_panics_harms_nobody_but_itself() {
    struct BadWaker(AtomicUsize);

    impl Wake for BadWaker {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
            panic!("in wake");
        }
    }

    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let bad = Arc::new(BadWaker(AtomicUsize::new(0)));
        let waker = Waker::from(bad.clone());
        for n in 1..=3 {
            let (go, may_go) = oneshot::channel::<()>();
            let mut handle = pool.spawn(async move || may_go.await.unwrap());
            assert!(poll_once(&mut handle, &waker).is_pending());
            go.send(()).unwrap();
            eventually("it is woken", || bad.0.load(Ordering::SeqCst) == n);
            assert_lives(&pool);
            block_on(handle).unwrap();
        }
        // And of one who waits for the pool's end.
        let release = hold(&pool);
        let mut shutdown = pool.shutdown();
        assert!(poll_once(&mut shutdown, &waker).is_pending());
        drop(release);
        block_on(pool.shutdown());
        block_on(shutdown);
    });
}

/// A waker may panic when it is dropped as well: on the worker when it has been used, in the waiter's
/// hands when it is replaced or the handle is dropped. Dropping the handle still lets the work go on.
#[test]
fn a_waker_whose_destructor_panics_neither_cancels_nor_kills() {
    struct FragileWaker;

    impl Wake for FragileWaker {
        fn wake(self: Arc<Self>) {}
    }

    impl Drop for FragileWaker {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                panic!("in the waker's destructor");
            }
        }
    }

    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        // On the worker.
        let (go, may_go) = oneshot::channel::<()>();
        let mut handle = pool.spawn(async move || may_go.await.unwrap());
        let waker = Waker::from(Arc::new(FragileWaker));
        assert!(poll_once(&mut handle, &waker).is_pending());
        // The handle's clone is now the last one, and dies on the worker.
        drop(waker);
        go.send(()).unwrap();
        eventually("it is finished", || handle.is_finished());
        block_on(handle).unwrap();
        assert_lives(&pool);

        // In the hands of whoever drops the handle.
        let (go, may_go) = oneshot::channel::<()>();
        let tally = Tally::new();
        let counted = tally.make();
        let finished = Arc::new(AtomicUsize::new(0));
        let seen = finished.clone();
        let mut handle = pool.spawn(async move || {
            let _counted = counted;
            may_go.await.unwrap();
            seen.fetch_add(1, Ordering::SeqCst);
        });
        assert!(poll_once(&mut handle, &Waker::from(Arc::new(FragileWaker))).is_pending());
        _ = catch_unwind(AssertUnwindSafe(|| drop(handle)));
        go.send(()).unwrap();
        eventually("the work ends", || tally.alive() == 0);
        assert_eq!(finished.load(Ordering::SeqCst), 1, "it was not cancelled");
        assert_lives(&pool);
    });
}

/// A waker whose `clone` panics: that is the waiter's panic, and the handle can be polled again.
#[test]
fn a_waker_that_cannot_be_cloned_leaves_the_handle_whole() {
    fn clone(_: *const ()) -> RawWaker {
        panic!("in clone");
    }
    fn nothing(_: *const ()) {}
    static TABLE: RawWakerVTable = RawWakerVTable::new(clone, nothing, nothing, nothing);

    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        // SAFETY: the functions of the table touch nothing.
        let waker = unsafe { Waker::from_raw(RawWaker::new(std::ptr::null(), &TABLE)) };
        let (go, may_go) = oneshot::channel::<()>();
        let mut handle = pool.spawn(async move || may_go.await.unwrap());
        let polled = catch_unwind(AssertUnwindSafe(|| {
            _ = poll_once(&mut handle, &waker);
        }));
        assert!(polled.is_err());
        go.send(()).unwrap();
        block_on(handle).unwrap();
    });
}

/// A panic's payload is a value like another: a test framework, or a caller that wants to go on with
/// the panic, needs the very one.
#[test]
fn the_payload_is_kept_and_resume_unwind_gives_it_back() {
    #[derive(Debug, PartialEq)]
    struct Payload(u32);

    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fail = async || -> () { panic_any(Payload(7)) };
        let Err(JoinError::Panicked(panic)) = block_on(pool.run(fail)) else {
            panic!("no panic");
        };
        assert_eq!(panic.message(), None);
        assert!(panic.to_string().contains("no text"));
        assert_eq!(
            panic.into_inner().downcast_ref::<Payload>(),
            Some(&Payload(7))
        );
        let error = block_on(pool.run(fail)).unwrap_err();
        let resumed = catch_unwind(AssertUnwindSafe(|| {
            _ = error.resume_unwind();
        }));
        assert_eq!(
            resumed.unwrap_err().downcast_ref::<Payload>(),
            Some(&Payload(7))
        );
        let cancelled = JoinError::Cancelled.resume_unwind();
        assert!(matches!(cancelled, JoinError::Cancelled));
    });
}

/// The worst payload: dropping it panics, with a payload of its own. If nobody takes it, the pool has
/// to drop it.
#[test]
fn a_payload_whose_own_drop_panics_harms_nobody() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fail = async || -> () { panic_any(Mine) };
        // Taken, and not dropped here.
        let error = block_on(pool.run(fail)).unwrap_err();
        std::mem::forget(error);
        // Dropped on the worker.
        drop(pool.spawn(fail));
        assert_lives(&pool);
        // Dropped with the handle.
        let handle = pool.spawn(fail);
        eventually("it is finished", || handle.is_finished());
        drop(handle);
        // A destructor's panic, after the future's.
        let handle = pool.spawn(async || {
            let _also = OnDrop::new(|| {
                if !std::thread::panicking() {
                    panic_any(Mine);
                }
            });
            pending::<()>().await;
        });
        assert_lives(&pool);
        handle.abort();
        eventually("it is finished", || handle.is_finished());
        drop(handle);
        assert_lives(&pool);
    });
}

/// A worker that has seen a hundred panics is as good as a new one.
#[test]
fn a_hundred_panics_leave_the_worker_as_it_was() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let good = (0..100)
            .map(|n| pool.spawn(async move || n))
            .collect::<Vec<_>>();
        let bad = (0..100)
            .map(|n| {
                pool.spawn(async move || {
                    if n % 2 == 0 {
                        support::yield_now().await;
                    }
                    std::panic::resume_unwind(Box::new(n));
                })
            })
            .collect::<Vec<_>>();
        for (n, handle) in good.into_iter().enumerate() {
            assert_eq!(block_on(handle).unwrap(), n);
        }
        for (n, handle) in bad.into_iter().enumerate() {
            let Err(JoinError::Panicked(panic)) = block_on(handle) else {
                panic!("no panic");
            };
            assert_eq!(panic.into_inner().downcast_ref(), Some(&(n as i32)));
        }
        let metrics = pool.metrics();
        assert_eq!(metrics.total(|worker| worker.panicked), 100);
        assert_eq!(metrics.workers[0].in_flight, 0);
        assert_lives(&pool);
    });
}

/// A waker of the user's own may stand between the work and the driver (`FuturesUnordered` has one);
/// when it panics, it does so in the middle of the driver, and that worker is lost. Nobody hangs, the
/// rest of the pool takes over (a dead worker has nothing to do and must not be everybody's choice),
/// and the pool can be shut down.
#[test]
fn a_worker_that_dies_is_not_given_work_any_more() {
    struct BadWaker;

    impl Wake for BadWaker {
        fn wake(self: Arc<Self>) {
            std::panic::resume_unwind(Box::new("in wake"));
        }
    }

    for_each_driver(|builder| {
        let pool = builder().threads(2).build().unwrap();
        let victim = pool.spawn(async || {
            let mut sleep = Box::pin(compio::time::sleep(std::time::Duration::from_millis(1)));
            let waker = Waker::from(Arc::new(BadWaker));
            _ = sleep.as_mut().poll(&mut Context::from_waker(&waker));
            compio::time::sleep(std::time::Duration::from_secs(3_600)).await;
        });
        assert!(matches!(block_on(victim), Err(JoinError::RuntimeGone)));
        for n in 0..100 {
            assert_eq!(
                block_on(pool.run(async move || n)).expect("the pool works"),
                n
            );
        }
        block_on(pool.shutdown());
    });
}

/// A pool that has ended refuses the closure by dropping it; what that panics with is the work's panic.
#[test]
fn a_refused_closure_that_panics_when_dropped_is_an_error() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        block_on(pool.shutdown());
        let work = || {
            let bomb = Bomb("refused");
            async move || drop(bomb)
        };
        for refused in [block_on(pool.run(work())), block_on(pool.spawn(work()))] {
            let Err(JoinError::Panicked(panic)) = refused else {
                panic!("{refused:?}");
            };
            assert_eq!(panic.message().as_deref(), Some("refused"));
        }
    });
}
