//! Messages sent and received by the batch: one wake-up, and nothing lost at a close.

#![cfg(not(landbridge_loom))]

mod channel_support;

use std::{
    cell::RefCell,
    iter,
    panic::{AssertUnwindSafe, catch_unwind},
    task::{Context, Poll, Waker},
};

use channel_support::{Drops, Wakes, cancel_after, poll, poll_once};
use futures::StreamExt;
use landbridge::channel::{self, SendError, TryRecvError, TrySendError};

/// What a batch is for: a wake-up costs a hundred times what a message does.
#[test]
fn a_batch_wakes_the_other_side_once() {
    let (mut tx, mut rx) = channel::spsc(8);
    let (wakes, waker) = Wakes::new();
    assert!(poll_once(&waker, rx.recv()).is_pending());
    assert_eq!(poll(tx.send_all(0..8)), Poll::Ready(Ok(())));
    assert_eq!(wakes.count(), 1);

    let (wakes, waker) = Wakes::new();
    assert!(poll_once(&waker, tx.send_all(8..10)).is_pending());
    let mut received = Vec::new();
    assert_eq!(poll(rx.recv_many(&mut received, 5)), Poll::Ready(5));
    assert_eq!(wakes.count(), 1);
    assert_eq!(received, [0, 1, 2, 3, 4]);
}

/// Who has nothing new to see sleeps on.
#[test]
fn a_batch_of_nothing_wakes_nobody() {
    let (mut tx, mut rx) = channel::spsc::<u32>(8);
    let (wakes, waker) = Wakes::new();
    assert!(poll_once(&waker, rx.recv()).is_pending());
    assert_eq!(poll(tx.send_all([])), Poll::Ready(Ok(())));
    // This one does not say that it is empty, so a batch is begun.
    let nothing = iter::repeat_n(1, 3).filter(|_| false);
    assert_eq!(poll(tx.send_all(nothing)), Poll::Ready(Ok(())));
    assert_eq!(wakes.count(), 0);
    tx.try_send(1).unwrap();
    assert_eq!(wakes.count(), 1);
}

/// More than there is room for goes over in turns.
#[test]
fn a_batch_larger_than_the_channel_is_sent_as_room_comes() {
    let (mut tx, mut rx) = channel::spsc(3);
    let mut sending = Box::pin(tx.send_all(0..10));
    let mut received = Vec::new();
    while sending
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
        .is_pending()
    {
        assert_eq!(rx.len(), 3);
        assert_eq!(poll(rx.recv_many(&mut received, 2)), Poll::Ready(2));
    }
    drop(sending);
    drop(tx);
    while poll(rx.recv_many(&mut received, 2)) != Poll::Ready(0) {}
    assert_eq!(received, (0..10).collect::<Vec<_>>());
    assert_eq!(rx.high_water(), 3);
}

/// Code that sends what has gathered must not wait when nothing has.
#[test]
fn nothing_is_sent_at_once_also_into_a_full_or_closed_channel() {
    let (mut tx, mut rx) = channel::spsc(1);
    tx.try_send(1).unwrap();
    assert_eq!(poll(tx.send_all([])), Poll::Ready(Ok(())));
    // Also when the end of the iterator and of the room come together.
    rx.try_recv().unwrap();
    assert_eq!(poll(tx.send_all([2])), Poll::Ready(Ok(())));
    rx.close();
    assert_eq!(poll(tx.send_all([])), Poll::Ready(Ok(())));
    assert_eq!(
        poll(tx.send_all(iter::once(3).filter(|_| false))),
        Poll::Ready(Ok(()))
    );
}

/// Messages sent to nobody are wanted elsewhere: one comes back, the others were not touched.
#[test]
fn a_closed_channel_refuses_one_value_and_leaves_the_rest_in_the_iterator() {
    for sent_before in 0..3 {
        let (mut tx, mut rx) = channel::spsc(3);
        for value in 0..sent_before {
            tx.try_send(value).unwrap();
        }
        rx.close();
        let mut rest = 10..20;
        assert_eq!(
            poll(tx.send_all(&mut rest)),
            Poll::Ready(Err(SendError(10)))
        );
        assert_eq!(rest, 11..20);
    }
    // Also where it is full, and where it waits for room.
    let (mut tx, mut rx) = channel::spsc(2);
    let mut rest = 0..10;
    let mut sending = Box::pin(tx.send_all(&mut rest));
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(sending.as_mut().poll(cx).is_pending());
    rx.close();
    assert_eq!(sending.as_mut().poll(cx), Poll::Ready(Err(SendError(2))));
    drop(sending);
    assert_eq!(rest, 3..10);
    assert_eq!((rx.try_recv(), rx.try_recv()), (Ok(0), Ok(1)));
}

/// The close comes while the batch is taken from its iterator, which here makes it itself: what has been
/// taken was taken before the receiver is told that there is no more.
#[test]
fn a_close_in_the_middle_of_a_batch_lets_the_batch_through() {
    let (mut tx, rx) = channel::spsc(4);
    let rx = RefCell::new(rx);
    let (wakes, waker) = Wakes::new();
    let mut values = (0..10).inspect(|value| {
        if *value == 2 {
            let mut rx = rx.borrow_mut();
            rx.close();
            assert!(rx.is_closed());
            // Not the end yet, so that somebody who asks waits for it.
            assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
            assert!(poll_once(&waker, rx.recv()).is_pending());
            assert_eq!(futures::Stream::size_hint(&*rx), (0, None));
        }
    });
    assert_eq!(
        poll(tx.send_all(&mut values)),
        Poll::Ready(Err(SendError(4)))
    );
    assert_eq!(values.next(), Some(5));
    assert_eq!(wakes.count(), 1);
    let rx = rx.into_inner();
    assert_eq!(futures::Stream::size_hint(&rx), (4, Some(4)));
    let Poll::Ready(received) = poll(rx.collect::<Vec<_>>()) else {
        panic!("closed");
    };
    assert_eq!(received, [0, 1, 2, 3]);
}

/// A batch that turns out to be empty ends too: the receiver waits for that.
#[test]
fn a_close_in_the_middle_of_an_empty_batch_ends_the_channel() {
    let (mut tx, rx) = channel::spsc::<u32>(4);
    let rx = RefCell::new(rx);
    let (wakes, waker) = Wakes::new();
    let nothing = iter::once(1).filter(|_| {
        rx.borrow_mut().close();
        assert!(poll_once(&waker, rx.borrow_mut().recv()).is_pending());
        false
    });
    assert_eq!(poll(tx.send_all(nothing)), Poll::Ready(Ok(())));
    assert_eq!(wakes.count(), 1);
    assert_eq!(rx.borrow_mut().try_recv(), Err(TryRecvError::Closed));
}

/// A receiver that goes in the middle of a batch can drop neither more than was published nor later
/// than it goes: the sender does it.
#[test]
fn a_receiver_dropped_in_the_middle_of_a_batch_loses_each_value_once() {
    for in_the_ring in 0..3 {
        let drops = Drops::new(10);
        let (mut tx, rx) = channel::spsc(6);
        let rx = RefCell::new(Some(rx));
        for number in 0..in_the_ring {
            tx.try_send(drops.value(number)).unwrap();
        }
        let mut values = (in_the_ring..10).map(|number| {
            if number == 4 {
                rx.take();
            }
            drops.value(number)
        });
        let Poll::Ready(Err(SendError(refused))) = poll(tx.send_all(&mut values)) else {
            panic!("closed");
        };
        // The room of the receiver's end counts for the batch.
        let first_refused = refused.number;
        assert!(first_refused >= 6, "{first_refused}");
        for number in 0..10 {
            assert_eq!(drops.of(number), usize::from(number < first_refused));
        }
        drop((refused, values.by_ref().count(), tx));
        drops.assert_all_once();
    }
}

/// The iterator is the caller's code, and may do anything.
#[test]
fn what_an_iterator_gave_before_it_panicked_is_sent() {
    let (mut tx, mut rx) = channel::spsc(8);
    let (wakes, waker) = Wakes::new();
    assert!(poll_once(&waker, rx.recv()).is_pending());
    let panics = (0..8).inspect(|value| assert!(*value < 3, "the third is too much"));
    assert!(catch_unwind(AssertUnwindSafe(|| poll(tx.send_all(panics)))).is_err());
    wakes.wait_for_one();
    assert_eq!(poll(tx.send_all([3])), Poll::Ready(Ok(())));
    drop(tx);
    assert_eq!(poll(rx.collect::<Vec<_>>()), Poll::Ready(vec![0, 1, 2, 3]));
}

/// A destructor that panics must not leak the others of the batch.
#[test]
fn a_panicking_destructor_in_a_lost_batch_leaks_nothing() {
    struct Panics(channel_support::Counted);

    impl Drop for Panics {
        fn drop(&mut self) {
            assert_ne!(self.0.number, 1, "this one panics");
        }
    }

    let drops = Drops::new(4);
    let (mut tx, rx) = channel::spsc(8);
    let rx = RefCell::new(Some(rx));
    let values = (0..4).map(|number| {
        rx.take();
        Panics(drops.value(number))
    });
    assert!(catch_unwind(AssertUnwindSafe(|| poll(tx.send_all(values)).is_ready())).is_err());
    drops.assert_all_once();
}

/// `recv_many` in a loop ends at 0: it must not mean anything else.
#[test]
fn recv_many_gives_one_to_max_messages_and_none_only_at_the_end() {
    let (mut tx, mut rx) = channel::spsc(8);
    let mut received = vec![100];
    assert_eq!(poll(rx.recv_many(&mut received, 0)), Poll::Ready(0));
    assert!(poll(rx.recv_many(&mut received, 4)).is_pending());
    assert_eq!(poll(tx.send_all(0..6)), Poll::Ready(Ok(())));
    assert_eq!(poll(rx.recv_many(&mut received, 4)), Poll::Ready(4));
    assert_eq!(
        poll(rx.recv_many(&mut received, usize::MAX)),
        Poll::Ready(2)
    );
    assert_eq!(received, [100, 0, 1, 2, 3, 4, 5]);
    tx.try_send(6).unwrap();
    drop(tx);
    assert_eq!(poll(rx.recv_many(&mut received, 4)), Poll::Ready(1));
    assert_eq!(poll(rx.recv_many(&mut received, 4)), Poll::Ready(0));
}

/// An index of a message without a size is no slot.
#[test]
fn messages_without_a_size_go_over_in_batches() {
    let (mut tx, mut rx) = channel::spsc(5);
    assert!(poll(tx.send_all([(); 12])).is_pending());
    let mut received = Vec::new();
    assert_eq!(poll(rx.recv_many(&mut received, 4)), Poll::Ready(4));
    assert_eq!(poll(rx.recv_many(&mut received, 4)), Poll::Ready(1));
}

/// Batches must not be a way around the neighbours' turn.
#[test]
fn neighbours_run_after_as_many_messages_in_batches_as_one_by_one() {
    let (mut tx, mut rx) = channel::spsc(1024);
    let (wakes, waker) = Wakes::new();
    let mut received = Vec::new();
    assert_eq!(poll_once(&waker, tx.send_all(0..128)), Poll::Ready(Ok(())));
    // Here it is theirs, and the task is woken to go on after it.
    assert!(poll_once(&waker, tx.send_all([1, 2])).is_pending());
    assert_eq!(wakes.count(), 1);
    assert_eq!(poll_once(&waker, tx.send_all([1, 2])), Poll::Ready(Ok(())));

    let (wakes, waker) = Wakes::new();
    for _ in 0..8 {
        assert_eq!(
            poll_once(&waker, rx.recv_many(&mut received, 16)),
            Poll::Ready(16)
        );
    }
    assert!(poll_once(&waker, rx.recv_many(&mut received, 16)).is_pending());
    assert_eq!(wakes.count(), 1);
    assert_eq!(
        poll_once(&waker, rx.recv_many(&mut received, 16)),
        Poll::Ready(2)
    );
}

const POLLS: usize = 6;

/// What is sent is received, and what is not is still with the caller, wherever it is dropped.
#[test]
fn a_send_all_cancelled_at_any_poll_has_sent_what_it_took() {
    for polls in 0..POLLS {
        let drops = Drops::new(8);
        let (mut tx, mut rx) = channel::spsc(2);
        let mut received = Vec::new();
        let mut values = (0..8).map(|number| drops.value(number));
        let sent = cancel_after(polls, tx.send_all(&mut values), |_| {
            received.extend(rx.try_recv().ok().map(|value| value.number));
            received.extend(rx.try_recv().ok().map(|value| value.number));
        });
        assert_eq!(sent.is_some(), polls >= 4);
        while let Ok(value) = rx.try_recv() {
            received.push(value.number);
        }
        received.extend(values.map(|value| value.number));
        assert_eq!(received, (0..8).collect::<Vec<_>>());
        drops.assert_all_once();
    }
}

/// The messages go to the next one who asks.
#[test]
fn a_recv_many_cancelled_at_any_poll_has_taken_nothing_unless_it_was_ready() {
    for sent_at in 1..POLLS {
        for polls in 0..POLLS {
            let drops = Drops::new(3);
            let (mut tx, mut rx) = channel::spsc(4);
            let mut taken = Vec::new();
            let mut poll_number = 0;
            let mut values = (0..3).map(|number| drops.value(number));
            let received = cancel_after(polls, rx.recv_many(&mut taken, 2), |_| {
                poll_number += 1;
                if poll_number == sent_at {
                    assert!(poll(tx.send_all(values.by_ref())).is_ready());
                }
            });
            assert_eq!(received, (polls > sent_at).then_some(2));
            assert_eq!(taken.len(), received.unwrap_or(0));
            assert!(poll(tx.send_all(values)).is_ready());
            while let Ok(value) = rx.try_recv() {
                taken.push(value);
            }
            let numbers: Vec<_> = taken.iter().map(|value| value.number).collect();
            assert_eq!(numbers, [0, 1, 2]);
            drop(taken);
            drops.assert_all_once();
        }
    }
}

/// Room that is asked for without waiting.
#[test]
fn try_reserve_says_full_or_closed_or_keeps_room() {
    let (mut tx, mut rx) = channel::spsc(1);
    drop(tx.try_reserve().unwrap());
    tx.try_reserve().unwrap().send(1).unwrap();
    assert_eq!(tx.try_reserve().unwrap_err(), TrySendError::Full(()));
    assert_eq!(rx.try_recv(), Ok(1));
    let permit = tx.try_reserve().unwrap();
    rx.close();
    assert_eq!(permit.send(2), Err(SendError(2)));
    assert_eq!(tx.try_reserve().unwrap_err(), TrySendError::Closed(()));
}
