//! `OnThread`: the wrapper goes anywhere, the value nowhere.
#![cfg(feature = "pool")]

mod support;

use std::{
    cell::{Cell, RefCell},
    future::{Future, pending, ready},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    rc::Rc,
    sync::{Arc, Mutex, mpsc},
    task::{Context, Poll, Waker},
    thread::{self, ThreadId},
};

use futures::{SinkExt, StreamExt};
use landbridge::{CompioHandle, context::OnThread, error::OnThreadError};
use support::{Tally, assert_lives, block_on, eventually, for_each_driver, watchdog};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Says where it is dropped.
struct Tells {
    at: Arc<Mutex<Vec<ThreadId>>>,
    _not_send: Rc<()>,
}

impl Tells {
    fn new() -> (Self, Arc<Mutex<Vec<ThreadId>>>) {
        let at = Arc::default();
        let tells = Self {
            at: Arc::clone(&at),
            _not_send: Rc::default(),
        };
        (tells, at)
    }
}

impl Drop for Tells {
    fn drop(&mut self) {
        self.at.lock().unwrap().push(thread::current().id());
    }
}

fn elsewhere<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| {
        let other = thread::Builder::new().name("elsewhere".into());
        other.spawn_scoped(scope, f).unwrap().join().unwrap()
    })
}

fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<String>().unwrap()
}

/// What it is for: a handler made of things of Compio's, given to a library that asks for `Send`.
#[test]
fn a_future_that_stays_is_send_and_runs_where_it_was_made() {
    fn asks_for_send<F: Future + Send + Sync + 'static>(future: F) -> F {
        future
    }
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let text = block_on(pool.run(async || {
            let stays = Rc::new(Cell::new(0));
            let handler = asks_for_send(OnThread::new(async move {
                let text = compio::fs::read("Cargo.toml").await.unwrap();
                stays.set(text.len());
                stays.get()
            }));
            handler.await
        }));
        assert!(text.unwrap() > 0);
    });
}

/// The value of another thread must never be touched, and whoever tries wants to know what was wrong.
#[test]
fn elsewhere_everything_is_an_error_or_a_panic_that_names_both_threads() {
    let mut shared = OnThread::new(Cell::new(1));
    elsewhere(|| {
        assert!(!shared.is_here());
        let error = shared.with(Cell::get).unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(error, OnThreadError::Elsewhere { .. }),
            "{error:?}"
        );
        assert!(
            text.contains("\"elsewhere\"") && text.contains("this is"),
            "{text}"
        );
        assert!(shared.with_mut(|value| value.set(2)).is_err());
        assert!(shared.with_pin_mut(|value| Cell::set(&value, 2)).is_err());
        assert!(format!("{shared:?}").contains("Cell<i32>"));
    });
    assert_eq!(shared.with(Cell::get), Ok(1));

    let mut future = OnThread::new(ready(()));
    let mut stream = OnThread::new(futures::stream::iter([1]));
    let mut sink = OnThread::new(futures::sink::drain::<u8>());
    let cloned = OnThread::new(Rc::new(()));
    elsewhere(|| {
        let mut cx = Context::from_waker(Waker::noop());
        let mut panics = vec![
            catch_unwind(AssertUnwindSafe(|| _ = pin!(&mut future).poll(&mut cx))),
            catch_unwind(AssertUnwindSafe(|| _ = stream.poll_next_unpin(&mut cx))),
            catch_unwind(AssertUnwindSafe(|| _ = sink.poll_ready_unpin(&mut cx))),
            catch_unwind(AssertUnwindSafe(|| _ = sink.start_send_unpin(1))),
            catch_unwind(AssertUnwindSafe(|| _ = sink.poll_flush_unpin(&mut cx))),
            catch_unwind(AssertUnwindSafe(|| _ = sink.poll_close_unpin(&mut cx))),
            catch_unwind(AssertUnwindSafe(|| drop(OnThread::clone(&cloned)))),
        ];
        for panic in panics.drain(..) {
            let panic = panic.unwrap_err();
            let text = message(&*panic);
            assert!(
                text.contains("\"elsewhere\"") && text.contains("it stays on thread"),
                "{text}"
            );
        }
        assert_eq!(futures::Stream::size_hint(&stream), (0, None));
    });
    assert_eq!(futures::Stream::size_hint(&stream), (1, Some(1)));
    block_on(future);
    assert_eq!(block_on(stream.next()), Some(1));
}

/// I/O has errors: a panic there would be a surprise to whoever handles them.
#[test]
fn elsewhere_io_is_an_error() {
    let (one, _other) = tokio::io::duplex(8);
    let mut stream = OnThread::new(one);
    let mut file = OnThread::new(io::Cursor::new(vec![1, 2, 3]));
    elsewhere(|| {
        block_on(async {
            let mut byte = [0];
            let errors = [
                stream.read(&mut byte).await.unwrap_err(),
                stream.write(&byte).await.unwrap_err(),
                stream.flush().await.unwrap_err(),
                stream.shutdown().await.unwrap_err(),
                tokio::io::AsyncSeekExt::rewind(&mut file)
                    .await
                    .unwrap_err(),
            ];
            for error in errors {
                let inner = error.get_ref().unwrap();
                assert!(inner.is::<OnThreadError>(), "{error:?}");
            }
            assert!(!tokio::io::AsyncWrite::is_write_vectored(&stream));
        });
    });
}

/// At home it is as if it were not there.
#[test]
fn at_home_io_goes_through() {
    let (one, other) = tokio::io::duplex(8);
    let (mut one, mut other) = (OnThread::new(one), OnThread::new(other));
    block_on(async {
        one.write_all(b"bridge").await.unwrap();
        one.shutdown().await.unwrap();
        let mut text = String::new();
        other.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "bridge");
    });
    let sum = Rc::new(Cell::new(0));
    let sink = futures::sink::unfold(Rc::clone(&sum), |sum, item| async move {
        sum.set(sum.get() + item);
        Ok::<_, std::convert::Infallible>(sum)
    });
    let mut sink = OnThread::new(Box::pin(sink));
    block_on(sink.send_all(&mut futures::stream::iter([Ok(1), Ok(2)]))).unwrap();
    assert_eq!(sum.get(), 3);
}

/// Most libraries drop what they have on whatever thread they like.
#[test]
fn dropped_elsewhere_a_value_of_a_worker_goes_home() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (tells, at) = block_on(pool.run(async || {
            let (tells, at) = Tells::new();
            (OnThread::new(tells), (at, thread::current().id()))
        }))
        .unwrap();
        let (at, home) = at;
        drop(tells);
        eventually("the value is dropped", || !at.lock().unwrap().is_empty());
        assert_eq!(*at.lock().unwrap(), [home]);
        assert_lives(&pool);
    });
}

/// The same for a runtime that landbridge did not start.
#[test]
fn dropped_elsewhere_a_value_of_an_attached_runtime_goes_home() {
    let _watchdog = watchdog();
    compio::runtime::Runtime::new().unwrap().block_on(async {
        let _handle = CompioHandle::attach().unwrap();
        let (tells, at) = Tells::new();
        let tells = OnThread::new(tells);
        elsewhere(move || drop(tells));
        while at.lock().unwrap().is_empty() {
            compio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        assert_eq!(*at.lock().unwrap(), [thread::current().id()]);
    });
}

/// Nobody comes by on such a thread to drop it; but it must not be dropped elsewhere, nor for ever be kept.
#[test]
fn dropped_elsewhere_a_value_of_any_other_thread_goes_with_its_thread() {
    let (at, home) = elsewhere(|| {
        let (tells, at) = Tells::new();
        let tells = OnThread::new(tells);
        let home = thread::current().id();
        elsewhere(move || drop(tells));
        assert!(at.lock().unwrap().is_empty());
        (at, home)
    });
    // Scoped threads are joined by their result, and their thread-local values may go a moment later.
    eventually("the thread's values are dropped", || {
        !at.lock().unwrap().is_empty()
    });
    assert_eq!(*at.lock().unwrap(), [home]);
}

/// A wrapper in a `static`, or in a task of Tokio's, outlives many a pool.
#[test]
fn a_value_is_dropped_with_its_worker_and_the_wrapper_says_that_it_is_gone() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (wrapper, at, home) = block_on(pool.run(async || {
            let (tells, at) = Tells::new();
            (OnThread::new(tells), at, thread::current().id())
        }))
        .unwrap();
        block_on(pool.shutdown());
        assert_eq!(*at.lock().unwrap(), [home]);
        assert!(wrapper.with(|_| ()).is_err());
        drop(wrapper);
        assert_eq!(at.lock().unwrap().len(), 1);
    });
}

/// Places in the table are used again.
#[test]
fn a_wrapper_whose_value_is_gone_does_not_get_at_another() {
    let _watchdog = watchdog();
    let runtime = compio::runtime::Runtime::new().unwrap();
    let first = runtime.block_on(async {
        CompioHandle::attach().unwrap();
        OnThread::new(1_u8)
    });
    drop(runtime);
    assert_eq!(first.with(|value| *value), Err(OnThreadError::Gone));
    let second = OnThread::new(2_u8);
    assert_eq!(first.with(|value| *value), Err(OnThreadError::Gone));
    let first = first.into_inner().unwrap_err();
    drop(first);
    assert_eq!(second.with(|value| *value), Ok(2));
    assert_eq!(second.into_inner().unwrap(), 2);
}

/// `select!` in a library drops futures half-way, and their I/O with them.
#[test]
fn a_future_dropped_half_way_elsewhere_drops_its_operation_at_home() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let tally = Tally::new();
        let counted = tally.make();
        let (half_way, is_half_way) = mpsc::channel();
        let task = pool.spawn(async move || {
            let mut future = OnThread::new(async move {
                let _counted = counted;
                let _not_send = Rc::new(());
                compio::time::sleep(std::time::Duration::from_secs(3600)).await;
            });
            std::future::poll_fn(|cx| {
                assert!(pin!(&mut future).poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            half_way.send(future).unwrap();
        });
        let future = is_half_way.recv().unwrap();
        block_on(task).unwrap();
        assert_eq!(tally.alive(), 1);
        drop(future);
        eventually("the future is dropped", || tally.alive() == 0);
        assert_lives(&pool);
    });
}

/// Somebody else's destructor must not take a worker, or the process, with it.
#[test]
fn a_destructor_that_panics_at_home_hurts_nobody() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let make = || block_on(pool.run(async || OnThread::new(Panics))).unwrap();
        drop(make());
        assert_lives(&pool);
        let late = make();
        block_on(pool.shutdown());
        drop(late);
    });
    // With its thread.
    elsewhere(|| {
        let panics = OnThread::new(Panics);
        elsewhere(move || drop(panics));
    });
}

/// A destructor may use, make and drop others.
#[test]
fn a_destructor_may_come_back() {
    struct Nested {
        inner: RefCell<Option<OnThread<Rc<u8>>>>,
        seen: Arc<Mutex<Vec<u8>>>,
    }
    impl Drop for Nested {
        fn drop(&mut self) {
            let inner = self.inner.take().unwrap();
            if let Ok(value) = inner.with(|value| **value) {
                self.seen.lock().unwrap().push(value);
            }
            let again = catch_unwind(|| OnThread::new(3_u8));
            drop(again);
        }
    }
    let seen: Arc<Mutex<Vec<u8>>> = Arc::default();
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let for_it = Arc::clone(&seen);
        let nested = block_on(pool.run(async move || {
            OnThread::new(Nested {
                inner: RefCell::new(Some(OnThread::new(Rc::new(7)))),
                seen: for_it,
            })
        }))
        .unwrap();
        drop(nested);
        eventually("the destructor is called", || {
            !seen.lock().unwrap().is_empty()
        });
        assert_eq!(seen.lock().unwrap().drain(..).collect::<Vec<_>>(), [7]);
    });
    // At the thread's end, when the table is going.
    let late = Arc::clone(&seen);
    let held = elsewhere(move || {
        OnThread::new(Nested {
            inner: RefCell::new(Some(OnThread::new(Rc::new(7)))),
            seen: late,
        })
    });
    drop(held);
}

/// A pinned value must not move, nor go before it was dropped.
#[test]
fn a_value_stays_where_it_is_in_memory() {
    let mut pinned = OnThread::new((0_u8, std::marker::PhantomPinned));
    let before = pinned
        .with_pin_mut(|value| std::ptr::from_ref(&*value).addr())
        .unwrap();
    let mut moved = Box::new(pinned);
    let after = moved
        .with_pin_mut(|value| std::ptr::from_ref(&*value).addr())
        .unwrap();
    assert_eq!(before, after);
}

/// Nothing of what was put in is left behind.
#[test]
fn values_are_dropped_exactly_once() {
    let tally = Tally::new();
    let value = OnThread::new(tally.make());
    drop(value);
    let taken = OnThread::new(tally.make()).into_inner();
    assert_eq!(tally.alive(), 1);
    drop(taken.ok().unwrap());
    let never = OnThread::new({
        let counted = tally.make();
        async move {
            let _counted = counted;
            pending::<()>().await;
        }
    });
    drop(never);
    assert_eq!((tally.made(), tally.alive()), (3, 0));
}
