//! Models of a receiver that sleeps on several lanes at once, under every interleaving that loom can make.
//!
//! Each lane is the ring, which has models of its own. Each model here has been seen to fail:
//! `docs/loom.md` has the mutations. A wake-up that is lost shows as a deadlock.

use std::{future::poll_fn, task::Poll};

use loom::{future::block_on, thread};

use super::{Receiver, spsc};
use crate::{
    channel::{
        Wait,
        loom_support::{counted, poll_and_drop},
    },
    error::{SendError, TryRecvError},
};

/// The lanes of two peers, and the receiver at their end.
fn two_lanes<T>(capacity: usize) -> (spsc::Sender<T>, spsc::Sender<T>, Receiver<T>) {
    let mut rx = Receiver::new(2, 3, capacity, Wait::Park);
    let (one, other) = (rx.lane(0, Wait::Park), rx.lane(1, Wait::Park));
    (one, other, rx)
}

/// Three threads: with three preemptions it takes minutes.
fn model_of_three(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(builder.preemption_bound.map_or(2, |most| most.min(2)));
    builder.check(model);
}

/// Whichever lane a message comes by, it wakes who sleeps on all.
#[test]
fn a_message_on_any_lane_wakes_the_receiver() {
    model_of_three(|| {
        let (mut one, mut other, mut rx) = two_lanes(1);
        // They come back: their end must not be what the receiver is woken by.
        let one = thread::spawn(move || {
            one.try_send('a').unwrap();
            one
        });
        let other = thread::spawn(move || {
            other.try_send('b').unwrap();
            other
        });
        let mut received = block_on(async { [rx.recv().await, rx.recv().await] });
        received.sort();
        assert_eq!(received, [Some((0, 'a')), Some((1, 'b'))]);
        drop((one.join().unwrap(), other.join().unwrap()));
    });
}

/// A lane that did not end the last sleep has its flag still, and wakes from the next sleep.
#[test]
fn a_lane_that_did_not_end_the_last_sleep_ends_the_next() {
    loom::model(|| {
        let (mut one, mut other, mut rx) = two_lanes(2);
        let senders = thread::spawn(move || {
            other.try_send(1).unwrap();
            one.try_send(2).unwrap();
            other.try_send(3).unwrap();
            (one, other)
        });
        let mut received = Vec::new();
        block_on(async {
            for _ in 0..3 {
                received.extend(rx.recv().await);
            }
        });
        received.sort();
        assert_eq!(received, [(0, 2), (1, 1), (1, 3)]);
        drop(senders.join().unwrap());
    });
}

/// The last lane's end is the end of all, whichever is the last.
#[test]
fn the_end_of_the_last_lane_wakes_the_receiver() {
    model_of_three(|| {
        let (mut one, other, mut rx) = two_lanes(1);
        let one = thread::spawn(move || one.try_send('a').unwrap());
        let other = thread::spawn(move || drop(other));
        block_on(async {
            assert_eq!(rx.recv().await, Some((0, 'a')));
            assert_eq!(rx.recv().await, None);
        });
        one.join().unwrap();
        other.join().unwrap();
    });
}

/// A lane that is let go of between two polls takes no waker with it: the sleep is that of all lanes.
#[test]
fn the_end_of_a_lane_leaves_the_sleep_on_the_others() {
    loom::model(|| {
        let (one, mut other, mut rx) = two_lanes(1);
        let senders = thread::spawn(move || {
            drop(one);
            other.try_send('b').unwrap();
            other
        });
        let received = block_on(poll_fn(|cx| {
            let polled = rx.poll_recv(cx);
            if polled.is_ready() {
                return polled;
            }
            // May find that the one lane has ended.
            match rx.try_recv() {
                Ok(received) => Poll::Ready(Some(received)),
                Err(TryRecvError::Empty) => Poll::Pending,
                Err(TryRecvError::Closed) => Poll::Ready(None),
            }
        }));
        assert_eq!(received, Some((1, 'b')));
        drop(senders.join().unwrap());
    });
}

/// A pending `recv` that is dropped has taken nothing, and the next one is woken all the same.
#[test]
fn a_pending_recv_that_is_dropped_leaves_no_trace() {
    loom::model(|| {
        let (mut one, mut other, mut rx) = two_lanes(1);
        let senders = thread::spawn(move || {
            one.try_send('a').unwrap();
            other.try_send('b').unwrap();
            (one, other)
        });
        let mut received = Vec::new();
        if let Poll::Ready(first) = poll_and_drop(rx.recv()) {
            received.extend(first);
        }
        block_on(async {
            while received.len() < 2 {
                received.extend(rx.recv().await);
            }
        });
        received.sort();
        assert_eq!(received, [(0, 'a'), (1, 'b')]);
        drop(senders.join().unwrap());
    });
}

/// A batch of several lanes gives the room of each back, and takes each message once.
#[test]
fn a_batch_of_all_lanes_wakes_the_senders_that_wait() {
    loom::model(|| {
        let ([first, second, third], drops) = counted();
        let (mut one, mut other, mut rx) = two_lanes(1);
        assert!(other.try_send(third).is_ok());
        let sender = thread::spawn(move || {
            block_on(async {
                assert!(one.send(first).await.is_ok());
                assert!(one.send(second).await.is_ok());
            });
            one
        });
        let mut received = Vec::new();
        block_on(async {
            while received.len() < 3 {
                assert_ne!(rx.recv_many(&mut received, 2).await, 0);
            }
        });
        let of_one = received.iter().filter(|(from, _)| *from == 0);
        assert!(of_one.map(|(_, value)| value.0).eq([0, 1]));
        drop((sender.join().unwrap(), received));
        drops.assert_all_once();
    });
}

/// Each sender that waits gets its value back, by a close or by a receiver that goes.
#[test]
fn a_close_wakes_the_sender_of_every_lane() {
    for by_drop in [false, true] {
        model_of_three(move || {
            let (one, other, mut rx) = two_lanes(1);
            let senders = [one, other].map(|mut tx| {
                tx.try_send(1).unwrap();
                thread::spawn(move || {
                    assert_eq!(block_on(tx.send(2)), Err(SendError(2)));
                })
            });
            if by_drop {
                drop(rx);
            } else {
                rx.close();
            }
            for sender in senders {
                sender.join().unwrap();
            }
        });
    }
}

/// What the receiver does not live to receive is dropped once, whichever lane it is in.
#[test]
fn a_value_sent_as_the_receiver_is_dropped_is_dropped_once() {
    loom::model(|| {
        let ([first, second], drops) = counted();
        let (mut one, mut other, mut rx) = two_lanes(1);
        assert!(poll_and_drop(poll_fn(|cx| rx.poll_recv(cx))).is_pending());
        let senders = thread::spawn(move || {
            let _ = one.try_send(first);
            let _ = other.try_send(second);
            (one, other)
        });
        drop(rx);
        let senders = senders.join().unwrap();
        drops.assert_all_once();
        drop(senders);
    });
}
