//! Models of a batch's way back; see `docs/loom.md` for what each has been seen to catch.

use std::{collections::VecDeque, future::poll_fn};

use loom::{
    future::block_on,
    model,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::completions::Completions;

/// Adds; whether that woke somebody.
fn add<V: std::fmt::Debug>(completions: &Completions<V>, value: V) -> bool {
    match completions.add(value) {
        Ok(Some(waker)) => {
            waker.wake();
            true
        }
        _ => false,
    }
}

/// No lost wake-up and no lost result, in whatever order two tasks end; and no wake-up but the one of
/// a sleep.
#[test]
fn the_receiver_gets_every_result() {
    model(|| {
        let completions = Arc::new(Completions::new(2));
        let tasks = [1, 2].map(|value| {
            let completions = completions.clone();
            thread::spawn(move || add(&completions, value))
        });
        let (mut got, mut sleeps) = (Vec::new(), 0);
        while got.len() < 2 {
            let mut values = VecDeque::new();
            block_on(poll_fn(|cx| {
                let polled = completions.poll(&mut values, cx);
                sleeps += usize::from(polled.is_pending());
                polled
            }));
            got.extend(values);
        }
        let wakes = tasks
            .into_iter()
            .filter_map(|task| task.join().unwrap().then_some(()))
            .count();
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
        assert!(wakes <= sleeps);
    });
}

/// A look that says "ready" is true: the value is there for the poll that follows.
#[test]
fn what_looks_ready_can_be_taken() {
    model(|| {
        let completions = Arc::new(Completions::new(1));
        let task = {
            let completions = completions.clone();
            thread::spawn(move || add(&completions, 7))
        };
        if completions.is_ready() {
            let mut values = VecDeque::new();
            block_on(poll_fn(|cx| {
                std::task::Poll::Ready(assert!(completions.poll(&mut values, cx).is_ready()))
            }));
            assert_eq!(values, [7]);
            assert!(!completions.is_ready(), "taken");
        }
        task.join().unwrap();
    });
}

/// A result that nobody wants any more is dropped once, by one side or the other.
#[test]
fn an_unwanted_result_is_dropped_once() {
    #[derive(Debug)]
    struct Counted(Arc<AtomicUsize>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    model(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        let completions = Arc::new(Completions::new(1));
        let task = {
            let completions = completions.clone();
            let value = Counted(drops.clone());
            thread::spawn(move || completions.add(value).is_err())
        };
        let (values, _) = completions.let_go();
        let unwanted = task.join().unwrap();
        assert_eq!(values.len() + usize::from(unwanted), 1);
        drop(values);
        assert_eq!(drops.load(Ordering::Relaxed), 1);
    });
}
