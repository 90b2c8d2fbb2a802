//! Models of the ring, the room and the line of senders, under every interleaving that loom can make.
//!
//! Each has been seen to fail: `docs/loom.md` has the mutations. A wake-up that is lost shows as a
//! deadlock, which loom reports; so does an access to a slot that another thread may be using.

use std::{
    pin::pin,
    sync::atomic::{AtomicUsize as Count, Ordering::Relaxed},
    task::{Context, Poll, Wake, Waker},
};

use futures::future::join;
use loom::{future::block_on, thread};

use crate::channel::{
    self, TryRecvError, TrySendError,
    loom_support::{counted, poll_and_drop},
};

/// Counts how often it is woken.
struct Wakes(Count);

impl Wake for Wakes {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// For models with three threads, or many steps, where three preemptions take minutes.
fn with_two_preemptions(model: impl Fn() + Sync + Send + 'static) {
    with_preemptions(2, model);
}

fn with_preemptions(most: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(
        builder
            .preemption_bound
            .map_or(most, |bound| bound.min(most)),
    );
    builder.check(model);
}

/// A receiver that sleeps is woken by the next message, whoever's it is, and by the last sender's end.
#[test]
fn no_wake_up_of_the_receiver_is_lost() {
    with_two_preemptions(|| {
        let (tx, mut rx) = channel::mpsc(2);
        let other = tx.clone();
        let receiver = thread::spawn(move || {
            block_on(async {
                let (first, second) = (rx.recv().await, rx.recv().await);
                assert_eq!(first.unwrap() + second.unwrap(), 3);
                assert_eq!(rx.recv().await, None);
            });
        });
        let sender = thread::spawn(move || assert!(other.try_send(1).is_ok()));
        assert!(tx.try_send(2).is_ok());
        drop(tx);
        sender.join().unwrap();
        receiver.join().unwrap();
    });
}

/// The same with one sender, and more preemptions.
#[test]
fn no_wake_up_of_the_receiver_is_lost_by_one_sender() {
    loom::model(|| {
        let (tx, mut rx) = channel::mpsc(2);
        let receiver = thread::spawn(move || {
            block_on(async {
                assert_eq!(rx.recv().await, Some(1));
                assert_eq!(rx.recv().await, Some(2));
                assert_eq!(rx.recv().await, None);
            });
        });
        tx.try_send(1).unwrap();
        tx.try_send(2).unwrap();
        drop(tx);
        receiver.join().unwrap();
    });
}

/// A receiver that sleeps is woken when the last of its senders goes, whichever that is.
#[test]
fn the_end_of_the_last_sender_wakes_the_receiver() {
    loom::model(|| {
        let (tx, mut rx) = channel::mpsc::<u32>(1);
        let other = tx.clone();
        let sender = thread::spawn(move || drop(other));
        let receiver = thread::spawn(move || assert_eq!(block_on(rx.recv()), None));
        drop(tx);
        sender.join().unwrap();
        receiver.join().unwrap();
    });
}

/// A channel that has been closed for want of senders has none later.
#[test]
fn a_weak_sender_is_upgraded_before_the_last_one_goes_or_never() {
    loom::model(|| {
        let (tx, mut rx) = channel::mpsc(1);
        let weak = tx.downgrade();
        let upgraded = thread::spawn(move || weak.upgrade().map(|tx| tx.try_send(1)));
        drop(tx);
        let received = block_on(rx.recv());
        let upgraded = upgraded.join().unwrap();
        assert_eq!(upgraded, received.map(|_| Ok(())));
    });
}

/// A sender that sleeps at a full channel is woken by the next message that is taken out.
#[test]
fn no_wake_up_of_a_sender_is_lost() {
    loom::model(|| {
        let (tx, mut rx) = channel::mpsc(1);
        let sender = thread::spawn(move || {
            block_on(async {
                for value in 0..3 {
                    tx.send(value).await.unwrap();
                }
            });
            tx
        });
        // The receiver never sleeps here, so that only its swap of the head can wake the sender.
        let mut received = 0;
        while received < 3 {
            match rx.try_recv() {
                Ok(value) => {
                    assert_eq!(value, received);
                    received += 1;
                }
                Err(_) => thread::yield_now(),
            }
        }
        drop(sender.join().unwrap());
    });
}

/// Two senders over two laps of the ring: each value arrives once, each sender's in order.
#[test]
fn no_value_of_two_senders_is_lost_or_doubled_over_two_laps() {
    with_preemptions(1, || {
        let ([a, b, c], drops) = counted();
        let (tx, mut rx) = channel::mpsc(2);
        let senders = [(vec![a, b], tx.clone()), (vec![c], tx)].map(|(values, tx)| {
            thread::spawn(move || {
                block_on(async {
                    for value in values {
                        assert!(tx.send(value).await.is_ok());
                    }
                });
            })
        });
        let mut received = Vec::new();
        block_on(async {
            while let Some(value) = rx.recv().await {
                received.push(value.0);
            }
        });
        for sender in senders {
            sender.join().unwrap();
        }
        let place = |value| received.iter().position(|received| *received == value);
        assert_eq!(received.len(), 3);
        assert!(place(0) < place(1) && place(2).is_some(), "{received:?}");
        drops.assert_all_once();
    });
}

/// One slot for two senders: whoever finds none waits, and each is woken.
#[test]
fn two_senders_share_one_slot() {
    with_two_preemptions(|| {
        let (tx, mut rx) = channel::mpsc(1);
        let senders = [(1, tx.clone()), (2, tx)].map(|(value, tx)| {
            thread::spawn(move || block_on(async { tx.send(value).await.unwrap() }))
        });
        block_on(async {
            let (first, second) = (rx.recv().await, rx.recv().await);
            assert_eq!(first.unwrap() + second.unwrap(), 3);
            assert_eq!(rx.recv().await, None);
        });
        for sender in senders {
            sender.join().unwrap();
        }
    });
}

/// Two that wait at once: each is called when the one before it has been received, and in order.
#[test]
fn every_sender_in_the_line_is_called_in_its_order() {
    with_two_preemptions(|| {
        let (tx, mut rx) = channel::mpsc(1);
        tx.try_send(0).unwrap();
        let senders = thread::spawn(move || {
            let (first, second) = block_on(join(tx.send(1), tx.send(2)));
            assert!(first.is_ok() && second.is_ok());
        });
        block_on(async {
            for value in 0..3 {
                assert_eq!(rx.recv().await, Some(value));
            }
        });
        senders.join().unwrap();
    });
}

/// A message is seen by whoever received it, over a lap and without a wait: the orderings of a slot.
#[test]
fn a_slot_is_used_by_one_thread_at_a_time() {
    with_two_preemptions(|| {
        let (values, drops) = counted::<4>();
        let (tx, mut rx) = channel::mpsc(2);
        let sender = thread::spawn(move || {
            block_on(async {
                for value in values {
                    assert!(tx.send(value).await.is_ok());
                }
            });
        });
        block_on(async {
            for i in 0..4 {
                assert_eq!(rx.recv().await.map(|value| value.0), Some(i));
            }
            assert!(rx.recv().await.is_none());
        });
        sender.join().unwrap();
        drops.assert_all_once();
    });
}

/// Room that one sender collects is fit for the other: the orderings of the room.
#[test]
fn room_that_one_sender_collects_is_fit_for_the_other() {
    with_two_preemptions(|| {
        let (tx, mut rx) = channel::mpsc(2);
        tx.try_send(1).unwrap();
        tx.try_send(2).unwrap();
        let other = tx.clone();
        let senders = [tx, other].map(|tx| thread::spawn(move || tx.try_send(3).is_ok()));
        assert_eq!((rx.try_recv(), rx.try_recv()), (Ok(1), Ok(2)));
        let sent = senders.map(|sender| sender.join().unwrap());
        let sent = sent.into_iter().filter(|sent| *sent).count();
        assert_eq!(std::iter::from_fn(|| rx.try_recv().ok()).count(), sent);
    });
}

/// Two senders that collect at once: the unit that the receiver freed is there once.
#[test]
fn what_is_freed_is_collected_once() {
    with_two_preemptions(|| {
        let (tx, mut rx) = channel::mpsc(1);
        tx.try_send(1).unwrap();
        let senders = [tx.clone(), tx].map(|tx| thread::spawn(move || tx.try_send(2).is_ok()));
        assert_eq!(rx.try_recv(), Ok(1));
        let sent = senders.map(|sender| sender.join().unwrap());
        let sent = sent.into_iter().filter(|sent| *sent).count();
        assert!(sent <= 1);
        assert_eq!(std::iter::from_fn(|| rx.try_recv().ok()).count(), sent);
    });
}

/// A sender that sleeps at a full channel gets its value back when the receiver closes, or goes.
#[test]
fn a_close_wakes_sleeping_senders() {
    for by_drop in [false, true] {
        with_two_preemptions(move || {
            let ([first, second, third], drops) = counted();
            let (tx, mut rx) = channel::mpsc(1);
            assert!(tx.try_send(first).is_ok());
            let senders = [(second, tx.clone()), (third, tx)].map(|(value, tx)| {
                thread::spawn(move || assert!(block_on(tx.send(value)).is_err()))
            });
            if by_drop {
                drop(rx);
            } else {
                rx.close();
                for sender in senders {
                    sender.join().unwrap();
                }
                assert!(rx.try_recv().is_ok());
                assert!(rx.try_recv().is_err());
                return drops.assert_all_once();
            }
            for sender in senders {
                sender.join().unwrap();
            }
            drops.assert_all_once();
        });
    }
}

/// Whoever waits for the close only is woken by it.
#[test]
fn no_wake_up_by_the_close_is_lost() {
    loom::model(|| {
        let (tx, rx) = channel::mpsc::<u32>(1);
        let watcher = thread::spawn(move || block_on(tx.closed()));
        drop(rx);
        watcher.join().unwrap();
    });
}

/// A send that says `Ok` was before the close and is received; one that says `Err` has its value. What is
/// being put in when the channel closes is waited for.
#[test]
fn a_value_sent_as_the_channel_closes_is_received_or_given_back() {
    with_two_preemptions(|| {
        let (values, drops) = counted::<2>();
        let (tx, mut rx) = channel::mpsc(2);
        let other = tx.clone();
        let mut txs = [Some(tx), Some(other)];
        let senders = values.map(|value| {
            let tx = txs[value.0].take().unwrap();
            thread::spawn(move || usize::from(tx.try_send(value).is_ok()))
        });
        rx.close();
        let received = block_on(async {
            let mut received = 0;
            while rx.recv().await.is_some() {
                received += 1;
            }
            received
        });
        assert_eq!(rx.try_recv().map(drop), Err(TryRecvError::Closed));
        let sent: usize = senders.map(|sender| sender.join().unwrap()).iter().sum();
        assert_eq!(sent, received);
        drops.assert_all_once();
    });
}

/// Whatever is in the channel when the receiver goes is dropped once, by one side or the other; nothing
/// gets in afterwards, and nobody waits.
#[test]
fn a_value_sent_as_the_receiver_is_dropped_is_dropped_once() {
    with_two_preemptions(|| {
        let (values, drops) = counted::<2>();
        let (tx, rx) = channel::mpsc(2);
        let other = tx.clone();
        let mut txs = [Some(tx), Some(other)];
        let senders = values.map(|value| {
            let tx = txs[value.0].take().unwrap();
            thread::spawn(move || drop(tx.try_send(value)))
        });
        drop(rx);
        for sender in senders {
            sender.join().unwrap();
        }
        drops.assert_all_once();
    });
}

/// Room that is handed to a sender which is dropped goes to the next one, or is free.
#[test]
fn a_pending_send_that_is_dropped_passes_its_turn_on() {
    with_two_preemptions(|| {
        let (tx, mut rx) = channel::mpsc(1);
        let other = tx.clone();
        let dropped = thread::spawn(move || poll_and_drop(tx.send(1)).is_ready());
        let sender = thread::spawn(move || block_on(other.send(2)).unwrap());
        let mut received = Vec::new();
        block_on(async {
            while let Some(value) = rx.recv().await {
                received.push(value);
            }
        });
        let sent = dropped.join().unwrap();
        sender.join().unwrap();
        received.sort();
        assert_eq!(received, if sent { vec![1, 2] } else { vec![2] });
    });
}

/// The same where both are in the line before the receiver makes room.
#[test]
fn a_waiter_that_goes_as_it_is_called_passes_its_turn_on() {
    loom::model(|| {
        let (tx, mut rx) = channel::mpsc(1);
        tx.try_send(0).unwrap();
        let (first, second) = (tx.clone(), tx);
        let receiver = thread::spawn(move || {
            assert_eq!(rx.try_recv(), Ok(0));
            rx
        });
        block_on(async {
            let mut cx = Context::from_waker(Waker::noop());
            let mut waits = Box::pin(first.send(1));
            let waits_no_longer = waits.as_mut().poll(&mut cx).is_ready();
            let mut next = pin!(second.reserve());
            if waits_no_longer {
                return;
            }
            let polled = next.as_mut().poll(&mut cx).is_ready();
            drop(waits);
            if !polled {
                drop(next.await.unwrap());
            }
        });
        drop(receiver.join().unwrap());
    });
}

/// A line that has been left is no line: the next sender finds the room.
#[test]
fn a_waiter_that_goes_leaves_no_line_behind() {
    loom::model(|| {
        let (tx, mut rx) = channel::mpsc(1);
        tx.try_send(0).unwrap();
        let receiver = thread::spawn(move || {
            assert_eq!(rx.try_recv(), Ok(0));
            rx
        });
        let sent = poll_and_drop(tx.send(1)).is_ready();
        let mut rx = receiver.join().unwrap();
        assert_eq!(rx.try_recv().is_ok(), sent);
        assert_eq!(tx.try_send(2), Ok(()));
    });
}

/// A permit that is dropped gives its room to the sender that waits for it.
#[test]
fn a_permit_that_is_dropped_gives_its_room_back() {
    loom::model(|| {
        let (tx, mut rx) = channel::mpsc(1);
        let permit = tx.clone().reserve_owned();
        let Poll::Ready(Ok(permit)) = poll_and_drop(permit) else {
            panic!("there is room");
        };
        let dropped = thread::spawn(move || drop(permit));
        block_on(tx.send(1)).unwrap();
        assert_eq!(rx.try_recv(), Ok(1));
        dropped.join().unwrap();
        drop(tx);
        assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    });
}

/// What a permit sends is received, and what it cannot send comes back, whenever the channel closes.
#[test]
fn a_permit_sends_or_gives_back_as_the_channel_closes() {
    loom::model(|| {
        let (values, drops) = counted::<1>();
        let [value] = values;
        let (tx, mut rx) = channel::mpsc(1);
        let sender = thread::spawn(move || match tx.try_reserve() {
            Ok(permit) => usize::from(permit.send(value).is_ok()),
            Err(error) => {
                assert_eq!(error, TrySendError::Closed(()));
                0
            }
        });
        rx.close();
        let received = usize::from(block_on(rx.recv()).is_some());
        assert_eq!(sender.join().unwrap(), received);
        drops.assert_all_once();
    });
}

/// A batch wakes a receiver that sleeps, once; and it sleeps for none of it.
#[test]
fn a_batch_wakes_the_receiver_once() {
    loom::model(|| {
        let (tx, mut rx) = channel::mpsc(2);
        let wakes = std::sync::Arc::new(Wakes(Count::new(0)));
        let waker = Waker::from(wakes.clone());
        let sender = thread::spawn(move || {
            block_on(tx.send_all([1, 2])).unwrap();
            tx
        });
        let first = pin!(rx.recv()).poll(&mut Context::from_waker(&waker));
        let tx = sender.join().unwrap();
        let woken = wakes.0.load(Relaxed);
        assert_eq!(woken, usize::from(first.is_pending()));
        drop(tx);
        let rest = if first.is_ready() { 1 } else { 2 };
        assert_eq!(std::iter::from_fn(|| rx.try_recv().ok()).count(), rest);
    });
}

/// A batch that does not fit wakes the receiver before it waits.
#[test]
fn a_batch_that_does_not_fit_goes_on_when_there_is_room() {
    with_two_preemptions(|| {
        let (tx, mut rx) = channel::mpsc(1);
        let sender = thread::spawn(move || block_on(tx.send_all([0, 1, 2])).unwrap());
        block_on(async {
            for value in 0..3 {
                assert_eq!(rx.recv().await, Some(value));
            }
            assert_eq!(rx.recv().await, None);
        });
        sender.join().unwrap();
    });
}

/// One batch that is taken out wakes every sender for which it makes room.
#[test]
fn a_batch_that_is_received_wakes_every_sender_that_has_room_now() {
    with_two_preemptions(|| {
        let (tx, mut rx) = channel::mpsc(2);
        tx.try_send(1).unwrap();
        tx.try_send(2).unwrap();
        let senders =
            [tx.clone(), tx].map(|tx| thread::spawn(move || block_on(tx.send(3)).unwrap()));
        let mut received = Vec::new();
        assert_eq!(block_on(rx.recv_many(&mut received, 2)), 2);
        assert_eq!(received, [1, 2]);
        for sender in senders {
            sender.join().unwrap();
        }
        assert_eq!(block_on(rx.recv_many(&mut received, 9)), 2);
    });
}

/// A pending `recv` that is dropped has taken nothing, and the next one is woken all the same.
#[test]
fn a_pending_recv_that_is_dropped_leaves_no_trace() {
    loom::model(|| {
        let (tx, mut rx) = channel::mpsc(2);
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
        tx.try_send(1).unwrap();
        tx.try_send(2).unwrap();
        assert_eq!(receiver.join().unwrap(), [1, 2]);
    });
}

/// A permit may be older than a lap: its slot has been used by others meanwhile, and the receiver is done with
/// what they put there.
#[test]
fn a_permit_that_is_older_than_a_lap_has_a_slot_that_is_done_with() {
    with_preemptions(1, || {
        let (tx, mut rx) = channel::mpsc::<u32>(2);
        let permit = block_on(tx.clone().reserve_owned()).unwrap();
        let late = thread::spawn(move || drop(permit.send(3)));
        let others = thread::spawn(move || {
            block_on(async {
                tx.send(1).await.unwrap();
                tx.send(2).await.unwrap();
            });
        });
        let received = block_on(async {
            let mut received = 0;
            while rx.recv().await.is_some() {
                received += 1;
            }
            received
        });
        assert_eq!(received, 3);
        late.join().unwrap();
        others.join().unwrap();
    });
}
