//! How a channel ends, what becomes of its messages, and what it takes from code that panics.

#![cfg(not(landbridge_loom))]

mod channel_support;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    rc::Rc,
    sync::{Arc, Mutex},
    task::{Context, Poll, Wake, Waker},
    thread,
};

use channel_support::{Drops, Wakes, poll, poll_once};
use futures::{Stream, StreamExt, executor::block_on};
use landbridge::channel::{self, SendError, TryRecvError, TrySendError};

/// A service that stops must not lose the requests it has accepted.
#[test]
fn a_receiver_drains_what_was_sent_before_the_close_and_then_sees_none() {
    let (mut tx, mut rx) = channel::spsc(4);
    tx.try_send(1).unwrap();
    tx.try_send(2).unwrap();
    rx.close();
    assert_eq!(tx.try_send(3), Err(TrySendError::Closed(3)));
    assert_eq!(poll(rx.recv()), Poll::Ready(Some(1)));
    assert_eq!(rx.try_recv(), Ok(2));
    assert_eq!(poll(rx.recv()), Poll::Ready(None));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
}

/// The end of the sender is the usual end of a stream.
#[test]
fn a_sender_that_is_dropped_closes_the_channel() {
    let (mut tx, mut rx) = channel::spsc(4);
    tx.try_send(1).unwrap();
    assert!(!rx.is_closed());
    drop(tx);
    assert!(rx.is_closed());
    assert_eq!(block_on(rx.by_ref().collect::<Vec<_>>()), [1]);
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
}

/// Whoever sends to nobody wants to try elsewhere with the same value.
#[test]
fn every_way_to_send_gives_the_value_back_after_the_close() {
    let (mut tx, rx) = channel::spsc(4);
    drop(rx);
    assert!(tx.is_closed());
    assert_eq!(poll(tx.send("send")), Poll::Ready(Err(SendError("send"))));
    assert_eq!(tx.try_send("try"), Err(TrySendError::Closed("try")));
    assert!(matches!(
        poll(tx.reserve()),
        Poll::Ready(Err(SendError(())))
    ));
}

/// "Full" invites to try again later, for ever if the channel is in fact closed.
#[test]
fn a_channel_that_is_full_and_closed_reports_the_close() {
    let (mut tx, mut rx) = channel::spsc(1);
    tx.try_send(1).unwrap();
    rx.close();
    assert_eq!(tx.try_send(2), Err(TrySendError::Closed(2)));
    assert_eq!(poll(tx.send(3)), Poll::Ready(Err(SendError(3))));
}

/// A receiver that was told `None` may free what a late message would need.
#[test]
fn a_permit_from_before_the_close_gives_the_value_back() {
    let (mut tx, mut rx) = channel::spsc(1);
    let Poll::Ready(Ok(permit)) = poll(tx.reserve()) else {
        panic!("there is room");
    };
    rx.close();
    assert_eq!(poll(rx.recv()), Poll::Ready(None));
    assert_eq!(permit.send("late"), Err(SendError("late")));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
}

/// Otherwise a sender at a full channel hangs when the consumer shuts down.
#[test]
fn a_close_wakes_the_sender_that_waits_for_room() {
    for by_drop in [false, true] {
        let (mut tx, mut rx) = channel::spsc(1);
        tx.try_send(1).unwrap();
        let (wakes, waker) = Wakes::new();
        let mut send = pin!(tx.send(2));
        let mut cx = Context::from_waker(&waker);
        assert!(send.as_mut().poll(&mut cx).is_pending());
        let rx = if by_drop {
            drop(rx);
            None
        } else {
            rx.close();
            Some(rx)
        };
        assert_eq!(wakes.count(), 1);
        assert_eq!(send.as_mut().poll(&mut cx), Poll::Ready(Err(SendError(2))));
        drop(rx);
    }
}

/// Producers that have nothing to send right now still want to know that they can stop.
#[test]
fn closed_resolves_when_the_receiver_closes_or_goes() {
    for by_drop in [false, true] {
        let (mut tx, mut rx) = channel::spsc::<u32>(1);
        let (wakes, waker) = Wakes::new();
        {
            let mut closed = pin!(tx.closed());
            let mut cx = Context::from_waker(&waker);
            assert!(closed.as_mut().poll(&mut cx).is_pending());
            if by_drop {
                drop(rx);
            } else {
                rx.close();
            }
            assert_eq!(wakes.count(), 1);
            assert!(closed.as_mut().poll(&mut cx).is_ready());
        }
        assert!(poll(tx.closed()).is_ready());
    }
}

/// A thread that panics drops its sender as it unwinds; the receiver must not wait for it.
#[test]
fn a_receiver_sees_the_end_of_a_sender_that_panics() {
    let (mut tx, mut rx) = channel::spsc(4);
    let sender = thread::spawn(move || {
        tx.try_send("before").unwrap();
        panic!("on purpose");
    });
    block_on(async {
        assert_eq!(rx.recv().await, Some("before"));
        assert_eq!(rx.recv().await, None);
    });
    assert!(sender.join().is_err());
}

/// Also when the values themselves misbehave: every one is dropped, and the panic is not hidden.
#[test]
fn values_that_panic_when_dropped_cost_no_other_value_its_drop() {
    struct Panics(Drops, usize);
    impl Drop for Panics {
        fn drop(&mut self) {
            drop(self.0.value(self.1));
            assert!(self.1.is_multiple_of(2), "on purpose");
        }
    }
    let drops = Drops::new(6);
    let (mut tx, rx) = channel::spsc(8);
    for number in 0..6 {
        assert!(tx.try_send(Panics(drops.clone(), number)).is_ok());
    }
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(rx)));
    assert!(dropped.is_err());
    drops.assert_all_once();
    assert!(tx.is_closed());
    assert_eq!(tx.len(), 0);
}

struct Panicking;

impl Wake for Panicking {
    fn wake(self: Arc<Self>) {
        panic!("on purpose");
    }
}

/// A waker belongs to the other side: its panic must cost this side neither message nor thread.
#[test]
fn a_waker_that_panics_costs_the_other_side_nothing() {
    let panicking = Waker::from(Arc::new(Panicking));

    let (mut tx, mut rx) = channel::spsc(1);
    assert!(poll_once(&panicking, rx.recv()).is_pending());
    assert_eq!(tx.try_send("sent"), Ok(()));

    assert!(poll_once(&panicking, tx.send("pending")).is_pending());
    assert_eq!(rx.try_recv(), Ok("sent"));

    assert_eq!(tx.try_send("next"), Ok(()));
    assert!(poll_once(&panicking, tx.send("pending")).is_pending());
    rx.close();
    assert_eq!(rx.try_recv(), Ok("next"));
    assert!(tx.is_closed());
}

/// An executor may poll right in the waker; a lock held meanwhile would be taken twice.
#[test]
fn a_waker_may_use_the_channel_at_once() {
    struct Reenters(Mutex<(channel::spsc::Receiver<u32>, Vec<u32>)>);
    impl Wake for Reenters {
        fn wake(self: Arc<Self>) {
            let waker = Waker::from(self.clone());
            let mut guard = self.0.lock().unwrap();
            let (rx, received) = &mut *guard;
            while let Poll::Ready(Some(value)) = poll_once(&waker, rx.recv()) {
                received.push(value);
            }
        }
    }
    let (mut tx, rx) = channel::spsc(1);
    let reenters = Arc::new(Reenters(Mutex::new((rx, Vec::new()))));
    reenters.clone().wake();
    for value in 0..3 {
        tx.try_send(value).unwrap();
    }
    assert_eq!(reenters.0.lock().unwrap().1, [0, 1, 2]);
    drop(tx);
}

/// A wake-up costs a hundred times as much as a message.
#[test]
fn a_batch_makes_one_wake_up_and_a_side_that_is_awake_none() {
    let (mut tx, mut rx) = channel::spsc(8);
    let (wakes, waker) = Wakes::new();
    tx.try_send(0).unwrap();
    assert_eq!(poll_once(&waker, rx.recv()), Poll::Ready(Some(0)));
    tx.try_send(1).unwrap();
    assert_eq!(wakes.count(), 0, "nobody slept");
    assert_eq!(rx.try_recv(), Ok(1));

    assert!(poll_once(&waker, rx.recv()).is_pending());
    for value in 0..8 {
        tx.try_send(value).unwrap();
    }
    assert_eq!(wakes.count(), 1);

    let (wakes, waker) = Wakes::new();
    let mut send = pin!(tx.send(8));
    assert!(
        send.as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    for value in 0..8 {
        assert_eq!(rx.try_recv(), Ok(value));
    }
    assert_eq!(wakes.count(), 1);
}

/// Room for one is room: a sender that waits for a half-empty ring may wait for ever.
#[test]
fn a_single_free_slot_wakes_the_sender() {
    let (mut tx, mut rx) = channel::spsc(64);
    for value in 0..64 {
        tx.try_send(value).unwrap();
    }
    let (wakes, waker) = Wakes::new();
    let mut send = pin!(tx.send(64));
    let mut cx = Context::from_waker(&waker);
    assert!(send.as_mut().poll(&mut cx).is_pending());
    assert_eq!(rx.try_recv(), Ok(0));
    assert_eq!(wakes.count(), 1);
    assert_eq!(send.as_mut().poll(&mut cx), Poll::Ready(Ok(())));
}

/// A task that moves between executors, or a `select!` in another task, brings a new waker.
#[test]
fn the_task_that_polled_last_is_the_one_that_is_woken() {
    let (mut tx, mut rx) = channel::spsc(1);
    let ((first, first_waker), (last, last_waker)) = (Wakes::new(), Wakes::new());
    assert!(poll_once(&first_waker, rx.recv()).is_pending());
    assert!(poll_once(&last_waker, rx.recv()).is_pending());
    tx.try_send(1).unwrap();
    assert_eq!((first.count(), last.count()), (0, 1));

    let ((first, first_waker), (last, last_waker)) = (Wakes::new(), Wakes::new());
    let mut send = pin!(tx.send(2));
    for waker in [&first_waker, &last_waker] {
        assert!(
            send.as_mut()
                .poll(&mut Context::from_waker(waker))
                .is_pending()
        );
    }
    rx.try_recv().unwrap();
    assert_eq!((first.count(), last.count()), (0, 1));
}

/// A waker keeps its task's memory; the other end may live for long.
#[test]
fn an_end_that_is_gone_keeps_no_waker() {
    let (mut tx, mut rx) = channel::spsc(1);
    let (wakes, waker) = Wakes::new();
    assert!(poll_once(&waker, rx.recv()).is_pending());
    drop((rx, waker));
    assert_eq!(Arc::strong_count(&wakes), 1);

    assert!(tx.try_send(1).is_err());

    let (mut tx, rx) = channel::spsc(1);
    let (wakes, waker) = Wakes::new();
    assert!(poll_once(&waker, tx.closed()).is_pending());
    tx.try_send(1).unwrap();
    drop((tx, waker));
    assert_eq!(Arc::strong_count(&wakes), 1);
    drop(rx);
}

/// Documented: a rendezvous could not keep the promises about cancellation.
#[test]
fn capacity_zero_is_taken_as_one() {
    let (mut tx, mut rx) = channel::spsc(0);
    assert_eq!(tx.capacity(), 1);
    assert_eq!(tx.try_send(1), Ok(()));
    assert_eq!(tx.try_send(2), Err(TrySendError::Full(2)));
    assert_eq!(rx.try_recv(), Ok(1));
}

/// Documented, and better than a process that is killed while it allocates.
#[test]
#[should_panic = "does not fit"]
fn a_capacity_beyond_the_address_space_panics() {
    let _ = channel::spsc::<()>(usize::MAX);
}

/// Memory is bounded by what was asked for, not by the power of two that the ring rounds it to.
#[test]
fn the_bound_is_exact_on_every_lap() {
    let (mut tx, mut rx) = channel::spsc(5);
    for lap in 0..100 {
        for value in 0..5 {
            tx.try_send((lap, value)).unwrap();
        }
        assert_eq!(tx.try_send((lap, 5)), Err(TrySendError::Full((lap, 5))));
        for value in 0..5 {
            assert_eq!(rx.try_recv(), Ok((lap, value)));
        }
    }
    assert_eq!(rx.high_water(), 5);
}

/// Adaptors of `futures` size their buffers by it.
#[test]
fn the_size_hint_of_the_stream_is_exact_once_closed() {
    let (mut tx, rx) = channel::spsc(4);
    tx.try_send(1).unwrap();
    assert_eq!(rx.size_hint(), (1, None));
    drop(tx);
    assert_eq!(rx.size_hint(), (1, Some(1)));
    assert_eq!(block_on(rx.collect::<Vec<_>>()), [1]);
}

/// Within one thread, Compio's own values, which are `!Send`, must pass.
#[test]
fn values_that_are_not_send_pass_within_a_thread() {
    let (mut tx, mut rx) = channel::spsc(2);
    let value = Rc::new(1);
    block_on(async {
        tx.send(value.clone()).await.unwrap();
        assert!(Rc::ptr_eq(&rx.recv().await.unwrap(), &value));
    });
}

/// An error is printed by code that knows nothing about the value in it.
#[test]
fn errors_print_without_their_value() {
    struct Opaque;
    fn is_error(error: impl std::error::Error) -> (String, String) {
        (error.to_string(), format!("{error:?}"))
    }
    let closed = "the channel is closed".to_string();
    assert_eq!(is_error(SendError(Opaque)).0, closed);
    assert_eq!(
        is_error(TrySendError::Closed(Opaque)),
        (closed, "Closed(..)".into())
    );
    assert_eq!(
        is_error(TrySendError::Full(Opaque)).0,
        "the channel is full"
    );
}
