//! Models of a result's way back; see `docs/loom.md` for what each has been seen to catch.

use std::{future::poll_fn, task::Poll};

use loom::{
    future::block_on,
    model,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::handover::Handover;

fn complete<T: std::fmt::Debug>(handover: &Handover<T>, value: T) {
    if let Ok(Some(waker)) = handover.complete(value) {
        waker.wake();
    }
}

/// No lost wake-up: whoever waits gets the value, however its polls and the completion interleave.
#[test]
fn a_waiting_side_always_gets_the_value() {
    model(|| {
        let handover = Arc::new(Handover::new());
        let worker = {
            let handover = handover.clone();
            thread::spawn(move || complete(&handover, 42))
        };
        assert_eq!(block_on(poll_fn(|cx| handover.poll(cx))), 42);
        worker.join().unwrap();
    });
}

/// A look that says "done" is true: the value is there for the poll that follows.
#[test]
fn what_looks_done_is_ready() {
    model(|| {
        let handover = Arc::new(Handover::new());
        let worker = {
            let handover = handover.clone();
            thread::spawn(move || complete(&handover, 42))
        };
        if handover.is_done() {
            let polled = block_on(poll_fn(|cx| Poll::Ready(handover.poll(cx))));
            assert_eq!(polled, Poll::Ready(42));
        }
        worker.join().unwrap();
    });
}

/// A result that nobody wants any more is dropped once, by one side or the other.
#[test]
fn an_unwanted_value_is_dropped_once() {
    #[derive(Debug)]
    struct Counted(Arc<AtomicUsize>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    model(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        let handover = Arc::new(Handover::new());
        let worker = {
            let handover = handover.clone();
            let value = Counted(drops.clone());
            thread::spawn(move || drop(handover.complete(value)))
        };
        drop(handover.let_go());
        worker.join().unwrap();
        assert_eq!(drops.load(Ordering::Relaxed), 1);
    });
}

/// A handle's promises, over the stand-in for a task (`spawn::model`).
mod handle {
    use super::{AtomicUsize, Ordering, block_on, model};
    use crate::{error::JoinError, spawn::model::spawn};
    use loom::{sync::Arc, thread};

    struct Counted(Arc<AtomicUsize>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// However a cancellation and the end of the work interleave: one outcome, and the future is gone
    /// when it is seen.
    #[test]
    fn a_cancelled_future_is_gone_when_its_end_is_seen() {
        model(|| {
            let drops = Arc::new(AtomicUsize::new(0));
            let counted = Counted(drops.clone());
            let handle = spawn(async move {
                let _counted = counted;
                std::future::pending::<()>().await;
            });
            assert!(matches!(
                block_on(handle.cancel()),
                Err(JoinError::Cancelled)
            ));
            assert_eq!(drops.load(Ordering::Relaxed), 1);
        });
    }

    /// An abort from another thread wakes the one who waits, or comes too late.
    #[test]
    fn an_abort_and_an_end_leave_one_outcome() {
        model(|| {
            let handle = spawn(async { 42 });
            let abort = handle.abort_handle();
            let aborts = thread::spawn(move || abort.abort());
            let outcome = block_on(handle);
            assert!(matches!(outcome, Ok(42) | Err(JoinError::Cancelled)));
            aborts.join().unwrap();
        });
    }

    /// A handle that is dropped leaves the work alone.
    #[test]
    fn a_dropped_handle_lets_the_work_go_on() {
        model(|| {
            let (mut tell, mut told) = crate::channel::spsc::<usize>(1);
            drop(spawn(async move { tell.send(1).await.is_ok() }));
            assert_eq!(block_on(told.recv()), Some(1));
        });
    }
}
