//! Models of the queue without a bound, in chunks of one message.
//!
//! Each has been seen to fail: `docs/loom.md` has the mutations.

use std::task::Poll;

use loom::{future::block_on, thread};

use super::loom_support::{counted, poll_and_drop};
use crate::channel::{self, TryRecvError};

/// A receiver that sleeps is woken by the next message, and by the end of the last sender.
#[test]
fn no_wake_up_of_the_receiver_is_lost() {
    loom::model(|| {
        let (tx, mut rx) = channel::unbounded();
        let receiver = thread::spawn(move || {
            block_on(async {
                assert_eq!(rx.recv().await, Some(1));
                assert_eq!(rx.recv().await, Some(2));
                assert_eq!(rx.recv().await, None);
            });
        });
        tx.send(1).unwrap();
        tx.send(2).unwrap();
        drop(tx);
        receiver.join().unwrap();
    });
}

/// Two senders at once: each message arrives once, a sender's own in their order, over several chunks,
/// and the end comes with the last of the senders, whichever that is.
#[test]
fn messages_of_two_senders_arrive_once_and_then_the_end() {
    loom::model(|| {
        let ([a0, a1, b0], drops) = counted();
        let (tx, mut rx) = channel::unbounded();
        let other = tx.clone();
        let first = thread::spawn(move || {
            assert!(tx.send(a0).is_ok());
            assert!(tx.send(a1).is_ok());
        });
        let second = thread::spawn(move || assert!(other.send(b0).is_ok()));
        let received = block_on(async {
            let mut received = Vec::new();
            while let Some(value) = rx.recv().await {
                received.push(value.0);
            }
            received
        });
        first.join().unwrap();
        second.join().unwrap();
        assert!(matches!(received[..], [0, 1, 2] | [0, 2, 1] | [2, 0, 1]));
        drops.assert_all_once();
    });
}

/// A batch wakes the receiver when it is complete, and that is enough.
#[test]
fn a_batch_wakes_the_receiver() {
    loom::model(|| {
        let (tx, mut rx) = channel::unbounded();
        let receiver = thread::spawn(move || {
            block_on(async {
                let mut received = Vec::new();
                while received.len() < 3 {
                    assert!(rx.recv_many(&mut received, 2).await > 0);
                }
                received
            })
        });
        tx.send_all(0..3).unwrap();
        assert_eq!(receiver.join().unwrap(), [0, 1, 2]);
        // Only now: its end is not what wakes the receiver.
        drop(tx);
    });
}

/// A send that says `Ok` was before the close and is received; one that says `Err` has its value.
#[test]
fn a_value_sent_as_the_channel_closes_is_received_or_given_back() {
    loom::model(|| {
        let ([first, second], drops) = counted();
        let (tx, mut rx) = channel::unbounded();
        let sender = thread::spawn(move || {
            let first = tx.send(first).is_ok();
            let second = tx.send(second).is_ok();
            usize::from(first) + usize::from(second)
        });
        rx.close();
        let mut received = 0;
        loop {
            match rx.try_recv() {
                Ok(value) => {
                    assert_eq!(value.0, received);
                    received += 1;
                }
                Err(error) => break assert_eq!(error, TryRecvError::Closed),
            }
        }
        assert_eq!(sender.join().unwrap(), received);
        drops.assert_all_once();
    });
}

/// A receiver that is told of the end has had every message: also where it does not sleep.
#[test]
fn the_end_is_told_after_the_last_message() {
    loom::model(|| {
        let (tx, mut rx) = channel::unbounded();
        let sender = thread::spawn(move || tx.send(1).unwrap());
        let mut received = 0;
        loop {
            match rx.try_recv() {
                Ok(_) => received += 1,
                Err(TryRecvError::Empty) => thread::yield_now(),
                Err(TryRecvError::Closed) => break,
            }
        }
        assert_eq!(received, 1);
        sender.join().unwrap();
    });
}

/// Whatever is in the queue when the receiver goes is dropped, once; nothing gets in afterwards.
#[test]
fn a_value_sent_as_the_receiver_is_dropped_is_dropped_once() {
    loom::model(|| {
        let (values, drops) = counted::<2>();
        let (tx, rx) = channel::unbounded();
        let sender = thread::spawn(move || {
            let sent = values.map(|value| tx.send(value).is_ok());
            (sent, tx)
        });
        drop(rx);
        let (_, tx) = sender.join().unwrap();
        drops.assert_all_once();
        drop(tx);
    });
}

/// Whoever waits for the close only is woken by it; one that gave up is no hindrance.
#[test]
fn no_wake_up_by_the_close_is_lost() {
    loom::model(|| {
        let (tx, rx) = channel::unbounded::<u32>();
        let other = tx.clone();
        let watcher = thread::spawn(move || block_on(tx.closed()));
        let gives_up = thread::spawn(move || {
            let _ = poll_and_drop(other.closed());
            block_on(other.closed());
        });
        drop(rx);
        watcher.join().unwrap();
        gives_up.join().unwrap();
    });
}

/// A pending `recv` that is dropped has taken nothing, and the next one is woken all the same.
#[test]
fn a_pending_recv_that_is_dropped_leaves_no_trace() {
    loom::model(|| {
        let (tx, mut rx) = channel::unbounded();
        let receiver = thread::spawn(move || {
            let mut received = Vec::new();
            if let Poll::Ready(value) = poll_and_drop(rx.recv()) {
                received.extend(value);
            }
            block_on(async {
                while received.len() < 2 {
                    received.extend(rx.recv().await);
                }
            });
            received
        });
        tx.send(1).unwrap();
        tx.send(2).unwrap();
        assert_eq!(receiver.join().unwrap(), [1, 2]);
    });
}

/// A weak sender that races the end of the last one becomes a sender before it, or none.
#[test]
fn a_weak_sender_becomes_one_before_the_end_or_never() {
    loom::model(|| {
        let (tx, mut rx) = channel::unbounded();
        let weak = tx.downgrade();
        let upgrades = thread::spawn(move || match weak.upgrade() {
            Some(tx) => {
                // The receiver is there, so the channel is open.
                tx.send(1).unwrap();
                true
            }
            None => false,
        });
        drop(tx);
        let received = block_on(async {
            let first = rx.recv().await;
            if first.is_some() {
                assert_eq!(rx.recv().await, None);
            }
            first.is_some()
        });
        assert_eq!(upgrades.join().unwrap(), received);
    });
}
