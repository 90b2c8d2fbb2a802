//! The runtime behind the handle is shut down while something waits in its context: never a hang.
#![cfg(all(feature = "pool", unix))]

mod context_support;
mod support;

use std::{
    future::{Future, pending, poll_fn},
    io,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, mpsc},
    task::{Poll, Waker},
    thread,
    time::Duration,
};

use context_support::{compio_runtime, message, tokio_runtime};
use futures::{FutureExt, StreamExt, stream};
use landbridge::{
    context::{InTokio, InTokioExt},
    error::TokioGone,
};
use support::{CountingWaker, drivers, in_child, poll_once, watchdog};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{self, Handle},
    signal::unix::{SignalKind, signal},
};

const HOUR: Duration = Duration::from_secs(3600);

/// What Tokio says, and what we do.
fn names_the_cause(text: &str) -> bool {
    text.contains("shut down") || text.contains("shutdown") || text.contains("shutting down")
}

/// Ways to end a runtime.
const ENDS: [fn(runtime::Runtime); 3] = [drop, runtime::Runtime::shutdown_background, |tokio| {
    tokio.shutdown_timeout(HOUR)
}];

type Waits = Pin<Box<dyn Future<Output = io::Result<()>>>>;

/// Polls what `make` made until it waits, then has its runtime shut down by another thread; the message of the
/// error or the panic it ends with.
fn end_while_waiting(make: impl Fn(&Handle) -> InTokio<Waits>) -> Vec<String> {
    let mut said = Vec::new();
    for driver in drivers() {
        for end in ENDS {
            let _watchdog = watchdog();
            let tokio = tokio_runtime();
            let (waits, is_waiting) = mpsc::channel();
            let mut future = AssertUnwindSafe(make(tokio.handle())).catch_unwind();
            let ending = thread::spawn(move || {
                is_waiting.recv().unwrap();
                end(tokio);
            });
            let mut polls = 0;
            let result = compio_runtime(driver).block_on(poll_fn(|cx| {
                let polled = future.poll_unpin(cx);
                polls += 1;
                if polls == 1 {
                    assert!(polled.is_pending());
                    waits.send(()).unwrap();
                }
                polled
            }));
            ending.join().unwrap();
            said.push(match result {
                Ok(Ok(())) => "it came to its end".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(panic) => message(&*panic).to_owned(),
            });
        }
    }
    said
}

fn waits(
    future: impl Future<Output = io::Result<()>> + 'static,
    handle: &Handle,
) -> InTokio<Waits> {
    let future: Waits = Box::pin(future);
    future.in_tokio(handle)
}

/// A timer of a runtime that is gone never fires.
#[test]
fn a_timer_that_waits_panics_and_says_why() {
    let said = end_while_waiting(|handle| {
        waits(
            async {
                tokio::time::sleep(HOUR).await;
                Ok(())
            },
            handle,
        )
    });
    assert!(said.iter().all(|text| names_the_cause(text)), "{said:?}");
}

/// Nobody watches a socket of a runtime that is gone.
#[test]
fn a_socket_that_waits_says_why() {
    let said = end_while_waiting(|handle| {
        waits(
            async {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                listener.accept().await.map(drop)
            },
            handle,
        )
    });
    assert!(said.iter().all(|text| names_the_cause(text)), "{said:?}");
}

/// Signals come by way of a table of the process: Tokio itself says nothing to whoever waits for one.
#[test]
fn a_signal_that_is_waited_for_is_no_hang() {
    let said = end_while_waiting(|handle| {
        waits(
            async {
                signal(SignalKind::user_defined2())?.recv().await;
                Ok(())
            },
            handle,
        )
    });
    for text in said {
        assert_eq!(
            text,
            "cannot wait any longer: the Tokio runtime in whose context this is was shut down"
        );
    }
}

/// Nor does it of anything that is not its own.
#[test]
fn whatever_waits_is_no_hang() {
    let said = end_while_waiting(|handle| waits(pending(), handle));
    assert!(said.iter().all(|text| names_the_cause(text)), "{said:?}");
}

/// What Tokio's threads had to do, they do no more.
#[test]
fn a_task_that_is_waited_for_is_no_hang() {
    let said = end_while_waiting(|handle| {
        waits(async { Ok(tokio::spawn(pending::<()>()).await?) }, handle)
    });
    for text in said {
        assert!(
            names_the_cause(&text) || text.contains("cancelled"),
            "{text}"
        );
    }
}

/// I/O has errors: a panic there would be a surprise to whoever handles them.
#[test]
fn io_that_waits_is_an_error() {
    for driver in drivers() {
        let _watchdog = watchdog();
        let tokio = tokio_runtime();
        let (near, far) = tokio::io::duplex(1);
        let (mut read, mut write) = tokio::io::split(near.in_tokio(tokio.handle()));
        let mut ending = Some(tokio);
        let (reading, writing) = compio_runtime(driver).block_on(async {
            let mut byte = [0];
            let mut reading = Box::pin(read.read(&mut byte));
            let mut writing = Box::pin(write.write_all(b"more than fits"));
            poll_fn(|cx| {
                assert!(reading.poll_unpin(cx).is_pending());
                assert!(writing.poll_unpin(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            let tokio = ending.take().unwrap();
            let ending = thread::spawn(|| drop(tokio));
            let both = tokio::join!(reading, writing);
            ending.join().unwrap();
            both
        });
        drop(far);
        for error in [reading.unwrap_err(), writing.unwrap_err()] {
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
            let gone: &TokioGone = error.get_ref().unwrap().downcast_ref().unwrap();
            assert!(!gone.never_driven, "{gone}");
        }
    }
}

/// The two sides of a stream are two tasks', and each must be woken.
#[test]
fn each_side_of_a_stream_is_woken() {
    let _watchdog = watchdog();
    let tokio = tokio_runtime();
    let (near, _far) = tokio::io::duplex(1);
    let (mut read, mut write) = tokio::io::split(near.in_tokio(tokio.handle()));
    let wakers = [CountingWaker::new(), CountingWaker::new()];
    let mut byte = [0];
    let mut reading = Box::pin(read.read(&mut byte));
    let mut writing = Box::pin(write.write_all(b"more than fits"));
    let [reader, writer] = wakers
        .each_ref()
        .map(|waker| Waker::from(Arc::clone(waker)));
    assert!(poll_once(&mut reading, &reader).is_pending());
    assert!(poll_once(&mut writing, &writer).is_pending());
    drop(tokio);
    assert_eq!(wakers.each_ref().map(|waker| waker.wakes()), [1, 1]);
}

/// A handle outlives its runtime easily.
#[test]
fn what_begins_when_the_runtime_is_gone_is_no_hang() {
    for driver in drivers() {
        let _watchdog = watchdog();
        let tokio = tokio_runtime();
        let handle = tokio.handle().clone();
        drop(tokio);
        let beginnings: [fn() -> Waits; 6] = [
            || {
                Box::pin(async {
                    tokio::time::sleep(HOUR).await;
                    Ok(())
                })
            },
            || Box::pin(async { TcpStream::connect("127.0.0.1:1").await.map(drop) }),
            || Box::pin(async { Ok(tokio::spawn(pending::<()>()).await?) }),
            || Box::pin(async { Ok(tokio::task::spawn_blocking(|| ()).await?) }),
            || {
                Box::pin(async {
                    signal(SignalKind::user_defined2())?.recv().await;
                    Ok(())
                })
            },
            || Box::pin(pending()),
        ];
        for begin in beginnings {
            let future = AssertUnwindSafe(begin().in_tokio(&handle)).catch_unwind();
            let said = match compio_runtime(driver).block_on(future) {
                Ok(result) => result.unwrap_err().to_string(),
                Err(panic) => message(&*panic).to_owned(),
            };
            assert!(
                names_the_cause(&said) || said.contains("cancelled") || said.contains("gone"),
                "{said}"
            );
        }
    }
}

/// What is ready needs nobody to wake it.
#[test]
fn what_need_not_wait_goes_on_when_the_runtime_is_gone() {
    let _watchdog = watchdog();
    let tokio = tokio_runtime();
    let handle = tokio.handle().clone();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let mut received = Box::pin(receiver.in_tokio(&handle));
    assert!(poll_once(&mut received, Waker::noop()).is_pending());
    drop(tokio);
    sender.send(42).unwrap();
    assert_eq!(poll_once(&mut received, Waker::noop()), Poll::Ready(Ok(42)));

    let mut items = stream::iter(0..3).in_tokio(&handle);
    let items = compio::runtime::Runtime::new().unwrap().block_on(async {
        let mut seen = Vec::new();
        while let Some(item) = items.next().await {
            seen.push(item);
        }
        seen
    });
    assert_eq!(items, [0, 1, 2]);
}

fn current_thread() -> runtime::Runtime {
    runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// What is said to something that waits, once it is woken by the end of its runtime.
fn end_after(meanwhile: impl FnOnce(&runtime::Runtime)) -> TokioGone {
    let _watchdog = watchdog();
    let tokio = current_thread();
    let (near, _far) = tokio::io::duplex(8);
    let mut near = near.in_tokio(tokio.handle());
    let wakes = CountingWaker::new();
    let waker = Waker::from(Arc::clone(&wakes));
    let mut byte = [0];
    assert!(poll_once(&mut Box::pin(near.read(&mut byte)), &waker).is_pending());
    meanwhile(&tokio);
    drop(tokio);
    assert_eq!(wakes.wakes(), 1);
    let Poll::Ready(Err(error)) = poll_once(&mut Box::pin(near.read(&mut byte)), &waker) else {
        panic!("it waits for nobody");
    };
    *error.get_ref().unwrap().downcast_ref().unwrap()
}

/// It cannot be told from one that has nothing to do; but when it ends, that was the cause.
#[test]
fn a_current_thread_runtime_that_nobody_drove_is_named() {
    let gone = end_after(|_| ());
    assert!(gone.never_driven);
    let text = gone.to_string();
    assert!(text.contains("no thread had driven it"), "{text}");
}

/// The wrong cause would send somebody on a long search.
#[test]
fn a_current_thread_runtime_that_was_driven_is_not_blamed() {
    let gone = end_after(|tokio| tokio.block_on(tokio::task::yield_now()));
    assert!(!gone.never_driven);

    // Nor is one that was gone before anything waited there.
    let handle = current_thread().handle().clone();
    let (near, _far) = tokio::io::duplex(8);
    let mut near = near.in_tokio(&handle);
    let mut byte = [0];
    let polled = poll_once(&mut Box::pin(near.read(&mut byte)), Waker::noop());
    let Poll::Ready(Err(error)) = polled else {
        panic!("it waits for nobody");
    };
    let gone: &TokioGone = error.get_ref().unwrap().downcast_ref().unwrap();
    assert!(!gone.never_driven);
}

/// As long as it lives, somebody may come to drive it.
#[test]
fn a_current_thread_runtime_may_be_driven_later() {
    for driver in drivers() {
        let _watchdog = watchdog();
        let tokio = current_thread();
        let handle = tokio.handle().clone();
        let (done, is_done) = tokio::sync::oneshot::channel::<()>();
        let mut sleep = Box::pin(tokio_sleep().in_tokio(&handle));
        compio_runtime(driver).block_on(async {
            let begun = poll_fn(|cx| Poll::Ready(sleep.poll_unpin(cx).is_pending())).await;
            assert!(begun);
            let driving = thread::spawn(move || {
                _ = tokio.block_on(is_done);
            });
            sleep.await;
            drop(done);
            driving.join().unwrap();
        });
    }
}

async fn tokio_sleep() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// An ordinary panic ends many a runtime, and Compio ends the process when a thread that unwinds wakes one of its own
/// tasks.
#[test]
fn a_runtime_that_ends_in_a_panic_does_not_end_the_process() {
    in_child(
        "a_runtime_that_ends_in_a_panic_does_not_end_the_process",
        || {
            let (waits, is_waiting) = mpsc::channel();
            let (to_waiter, handle) = mpsc::channel::<Handle>();
            let owner = thread::spawn(move || {
                let tokio = current_thread();
                to_waiter.send(tokio.handle().clone()).unwrap();
                tokio.block_on(async { tokio::task::yield_now().await });
                is_waiting.recv().unwrap();
                panic!("an ordinary panic");
            });
            let handle = handle.recv().unwrap();
            compio::runtime::Runtime::new()
                .unwrap()
                .block_on(async move {
                    // Nothing of Tokio's tells whoever waits for this.
                    let (_far, mut near) = tokio::io::duplex(1);
                    let read = async move { near.read_u8().await };
                    let read = AssertUnwindSafe(read.in_tokio(&handle)).catch_unwind();
                    let task = compio::runtime::spawn(read);
                    landbridge::rt::yield_now().await;
                    waits.send(()).unwrap();
                    assert!(task.await.unwrap().is_err(), "it cannot end in time");
                });
            assert!(owner.join().is_err());
        },
    );
}
