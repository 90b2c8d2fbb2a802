//! Futures that are dropped half way, at every point where they can be.

#![cfg(not(landbridge_loom))]

mod channel_support;

use std::{
    pin::pin,
    task::{Context, Waker},
};

use channel_support::{Drops, Wakes, cancel_after, poll_once};
use landbridge::channel::{self, SendError};

const CAPACITY: usize = 2;
/// Enough to fill the ring, to wait, to get room, and to finish.
const POLLS: usize = 5;

/// `select!` drops the arms that lose, at any time: a value must be sent once or dropped once.
#[test]
fn a_send_cancelled_at_any_poll_has_sent_its_value_or_dropped_it() {
    for room_at in 1..POLLS {
        for polls in 0..POLLS {
            let drops = Drops::new(CAPACITY + 2);
            let (mut tx, mut rx) = channel::spsc(CAPACITY);
            for number in 0..CAPACITY {
                tx.try_send(drops.value(number)).unwrap();
            }
            let mut received = Vec::new();
            let sent = cancel_after(polls, tx.send(drops.value(CAPACITY)), |poll| {
                if poll == room_at {
                    received.push(rx.try_recv().unwrap().number);
                }
            });
            assert_eq!(sent.is_some(), polls > room_at);
            assert_eq!(drops.of(CAPACITY), usize::from(sent.is_none()));

            // The channel is as good as before.
            received.extend(rx.try_recv().ok().map(|value| value.number));
            tx.try_send(drops.value(CAPACITY + 1)).unwrap();
            while let Ok(value) = rx.try_recv() {
                received.push(value.number);
            }
            let mut expected = vec![0, 1, 2, 3];
            expected.retain(|number| *number != CAPACITY || sent.is_some());
            assert_eq!(received, expected);
            drops.assert_all_once();
        }
    }
}

/// The same for a receiver: the message goes to the next `recv`.
#[test]
fn a_recv_cancelled_at_any_poll_has_taken_nothing_unless_it_was_ready() {
    for sent_at in 1..POLLS {
        for polls in 0..POLLS {
            let drops = Drops::new(1);
            let (mut tx, mut rx) = channel::spsc(CAPACITY);
            let mut value = Some(drops.value(0));
            let received = cancel_after(polls, rx.recv(), |poll| {
                if poll == sent_at {
                    tx.try_send(value.take().unwrap()).unwrap();
                }
            });
            assert_eq!(received.is_some(), polls > sent_at);
            if let Some(value) = value {
                tx.try_send(value).unwrap();
            }
            match received {
                Some(value) => assert_eq!(value.unwrap().number, 0),
                None => assert_eq!(rx.try_recv().unwrap().number, 0),
            }
            assert!(rx.try_recv().is_err());
            drops.assert_all_once();
        }
    }
}

/// `reserve` is what the docs send those to who must not lose a value.
#[test]
fn a_reserve_cancelled_at_any_poll_costs_neither_value_nor_room() {
    for room_at in 1..POLLS {
        for polls in 0..POLLS {
            let drops = Drops::new(CAPACITY + 1);
            let (mut tx, mut rx) = channel::spsc(CAPACITY);
            for number in 0..CAPACITY {
                tx.try_send(drops.value(number)).unwrap();
            }
            let value = drops.value(CAPACITY);
            let permit = cancel_after(polls, tx.reserve(), |poll| {
                if poll == room_at {
                    rx.try_recv().unwrap();
                }
            });
            assert_eq!(permit.is_some(), polls > room_at);
            match permit {
                Some(permit) => permit.unwrap().send(value).unwrap(),
                None => {
                    let _ = rx.try_recv();
                    tx.try_send(value).unwrap();
                }
            }
            let mut last = None;
            while let Ok(value) = rx.try_recv() {
                last = Some(value.number);
            }
            assert_eq!(last, Some(CAPACITY));
            drops.assert_all_once();
        }
    }
}

/// The wake-up that a dropped future has asked for belongs to the next one, not to nobody.
#[test]
fn a_wait_after_a_cancelled_wait_is_woken() {
    let (mut tx, mut rx) = channel::spsc(1);
    let (wakes, waker) = Wakes::new();
    assert!(poll_once(Waker::noop(), rx.recv()).is_pending());
    assert!(poll_once(&waker, rx.recv()).is_pending());
    tx.try_send(1).unwrap();
    assert_eq!(wakes.count(), 1);

    let (wakes, waker) = Wakes::new();
    assert!(poll_once(Waker::noop(), tx.send(2)).is_pending());
    assert!(poll_once(Waker::noop(), tx.closed()).is_pending());
    let mut reserve = pin!(tx.reserve());
    assert!(
        reserve
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    assert_eq!(rx.try_recv(), Ok(1));
    assert_eq!(wakes.count(), 1);
}

/// A send that waits when the channel closes has its value to give back, not to drop.
#[test]
fn a_send_that_waits_when_the_channel_closes_gives_its_value_back() {
    for polls in 1..POLLS {
        let drops = Drops::new(2);
        let (mut tx, mut rx) = channel::spsc(1);
        tx.try_send(drops.value(0)).unwrap();
        let result = cancel_after(polls, tx.send(drops.value(1)), |poll| {
            if poll == 2 {
                rx.close();
            }
        });
        match result {
            Some(Err(SendError(value))) => assert_eq!(value.number, 1),
            other => assert!(other.is_none() && polls <= 2),
        }
        drop(rx);
        drops.assert_all_once();
    }
}
