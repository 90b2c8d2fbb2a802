//! Models of the wait for a pool's end; see `docs/loom.md` for what each has been seen to catch.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use loom::{
    future::block_on,
    model,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::gate::{End, Gate, Ticket};

/// Waits as a `shutdown` does.
async fn wait(gate: &Gate, end: End) {
    let mut ticket = Ticket::default();
    poll_fn(|cx| gate.poll(&mut ticket, end, cx)).await;
    gate.forget(&ticket);
}

/// Two workers end, one of which had no time to drain first: both ends come, in order, and whoever
/// waits for one hears of it.
#[test]
fn who_waits_for_an_end_is_woken_by_the_last_worker() {
    model(|| {
        let gate = Arc::new(Gate::new(2));
        let (drained, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let workers = [true, false].map(|drains| {
            let (gate, drained, ended) = (gate.clone(), drained.clone(), ended.clone());
            thread::spawn(move || {
                drained.fetch_add(1, Ordering::Relaxed);
                if drains {
                    gate.drained();
                }
                ended.fetch_add(1, Ordering::Relaxed);
                gate.ended(drains);
            })
        });
        block_on(wait(&gate, End::Drained));
        assert_eq!(
            drained.load(Ordering::Relaxed),
            2,
            "a drain before its time"
        );
        block_on(wait(&gate, End::Ended));
        assert_eq!(ended.load(Ordering::Relaxed), 2, "an end before its time");
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

/// One who waits and leaves, woken or not, takes no wake-up from another.
#[test]
fn one_who_gives_up_strands_nobody() {
    model(|| {
        let gate = Arc::new(Gate::new(1));
        let worker = {
            let gate = gate.clone();
            thread::spawn(move || gate.ended(false))
        };
        let gives_up = {
            let gate = gate.clone();
            thread::spawn(move || {
                let mut ticket = Ticket::default();
                _ = block_on(poll_fn(|cx| {
                    Poll::Ready(gate.poll(&mut ticket, End::Ended, cx))
                }));
                gate.forget(&ticket);
            })
        };
        block_on(wait(&gate, End::Ended));
        worker.join().unwrap();
        gives_up.join().unwrap();
    });
}

/// A wait that is polled from one task and then from another wakes the one that polled last.
#[test]
fn a_wait_that_moves_wakes_where_it_is() {
    model(|| {
        let gate = Arc::new(Gate::new(1));
        let worker = {
            let gate = gate.clone();
            thread::spawn(move || gate.ended(false))
        };
        let mut waits = pin!(wait(&gate, End::Ended));
        let first = block_on(poll_fn(|cx| Poll::Ready(waits.as_mut().poll(cx))));
        if first.is_pending() {
            // Another `block_on`, and with it another waker.
            block_on(waits);
        }
        worker.join().unwrap();
    });
}
