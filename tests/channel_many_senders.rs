//! What is to be said of a channel only when it has more than one sender, or takes more than one message
//! at a time.

#![cfg(not(landbridge_loom))]

mod channel_support;

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread,
};

use channel_support::{Drops, Wakes, ends::ENDS, poll, poll_once};
use futures::{FutureExt, SinkExt, StreamExt, executor::block_on};
use landbridge::channel::{
    self, SendError, TryRecvError, TrySendError, Wait,
    mpsc::{OwnedPermit, Permit, Sender},
};
use proptest::{collection::vec, prelude::*, sample::Index};

type BoxedSend<'a> = Pin<Box<dyn Future<Output = Result<(), SendError<usize>>> + 'a>>;

/// Sends that wait, in this order, each with a waker that counts.
fn waiting<'a>(
    tx: &'a Sender<usize>,
    values: impl IntoIterator<Item = usize>,
) -> VecDeque<(BoxedSend<'a>, Arc<Wakes>, Waker)> {
    values
        .into_iter()
        .map(|value| {
            let (wakes, waker) = Wakes::new();
            let mut send: BoxedSend<'_> = Box::pin(tx.send(value));
            assert!(
                send.as_mut()
                    .poll(&mut Context::from_waker(&waker))
                    .is_pending()
            );
            (send, wakes, waker)
        })
        .collect()
}

/// Otherwise a sender of a busy channel may wait for ever.
#[test]
fn senders_get_room_in_the_order_in_which_they_came() {
    let (tx, mut rx) = channel::mpsc(2);
    tx.try_send(0).unwrap();
    tx.try_send(1).unwrap();
    let mut sends = waiting(&tx, 2..40);
    for value in 2..40 {
        assert_eq!(rx.try_recv(), Ok(value - 2));
        let woken: Vec<_> = sends.iter().map(|(_, wakes, _)| wakes.count()).collect();
        assert_eq!(woken.iter().sum::<usize>(), 1);
        let (mut send, _, waker) = sends.pop_front().unwrap();
        assert_eq!(woken[0], 1, "the first in the line");
        assert_eq!(tx.try_send(99), Err(TrySendError::Full(99)));
        let sent = send.as_mut().poll(&mut Context::from_waker(&waker));
        assert_eq!(sent, Poll::Ready(Ok(())));
    }
    assert_eq!((rx.try_recv(), rx.try_recv()), (Ok(38), Ok(39)));
    assert_eq!(tx.try_send(99), Ok(()), "the line is empty");
}

/// A newcomer that finds room for which another has waited would starve the latter.
#[test]
fn a_newcomer_does_not_overtake_a_sender_that_was_woken_and_has_not_come_yet() {
    let (tx, mut rx) = channel::mpsc(1);
    tx.try_send(0).unwrap();
    let mut sends = waiting(&tx, [1]);
    assert_eq!(rx.try_recv(), Ok(0));
    assert_eq!(tx.try_send(2), Err(TrySendError::Full(2)));
    assert!(poll(tx.send(2)).is_pending());
    assert!(matches!(tx.try_reserve(), Err(TrySendError::Full(()))));
    let (mut send, ..) = sends.pop_front().unwrap();
    assert_eq!(poll(&mut send), Poll::Ready(Ok(())));
    assert_eq!(rx.try_recv(), Ok(1));
}

/// Whoever leaves the line must leave it whole, wherever he stood, called or not.
#[test]
fn a_sender_that_leaves_the_line_costs_no_other_its_turn() {
    for called in 0..3 {
        for leaves in 0..4 {
            let (tx, mut rx) = channel::mpsc(3);
            for value in 0..3 {
                tx.try_send(value).unwrap();
            }
            let mut sends = waiting(&tx, 3..7);
            for value in 0..called {
                assert_eq!(rx.try_recv(), Ok(value));
            }
            drop(sends.remove(leaves));
            for value in called..3 {
                assert_eq!(rx.try_recv(), Ok(value));
            }
            let mut expected: Vec<_> = (3..7).collect();
            expected.remove(leaves);
            for (mut send, wakes, waker) in sends {
                assert_eq!(wakes.count(), 1);
                let sent = send.as_mut().poll(&mut Context::from_waker(&waker));
                assert_eq!(sent, Poll::Ready(Ok(())));
            }
            let received: Vec<_> = std::iter::from_fn(|| rx.try_recv().ok()).collect();
            assert_eq!(received, expected);
            for value in 0..3 {
                tx.try_send(value).unwrap();
            }
            assert!(tx.try_send(3).is_err(), "no room was gained");
        }
    }
}

/// A channel with a line of senders that is closed must not keep one of them.
#[test]
fn a_close_wakes_every_sender_and_gives_every_value_back() {
    for by_drop in [false, true] {
        let (tx, mut rx) = channel::mpsc(1);
        tx.try_send(0).unwrap();
        // More than are woken at a time.
        let sends = waiting(&tx, 1..50);
        let (closed, closed_waker) = Wakes::new();
        let mut watch = pin!(tx.closed());
        let mut cx = Context::from_waker(&closed_waker);
        assert!(watch.as_mut().poll(&mut cx).is_pending());
        let rx = if by_drop {
            drop(rx);
            None
        } else {
            rx.close();
            Some(rx)
        };
        for (value, (mut send, wakes, _)) in (1..).zip(sends) {
            assert_eq!(wakes.count(), 1);
            assert_eq!(poll(&mut send), Poll::Ready(Err(SendError(value))));
        }
        assert_eq!(closed.count(), 1);
        assert!(watch.as_mut().poll(&mut cx).is_ready());
        drop(rx);
    }
}

/// The channel ends with its last sender, whether that is a handle, a permit or an upgraded weak handle.
#[test]
fn the_last_sender_closes_the_channel_and_a_weak_one_does_not_count() {
    let (tx, mut rx) = channel::mpsc(4);
    let weak = tx.downgrade();
    let clone = tx.clone();
    drop(tx);
    let upgraded = weak.upgrade().unwrap();
    drop(clone);
    let permit = block_on(upgraded.reserve_owned()).unwrap();
    let (wakes, waker) = Wakes::new();
    assert!(poll_once(&waker, rx.recv()).is_pending());
    assert!(!rx.is_closed());
    let last = permit.send(1).unwrap();
    assert_eq!(wakes.count(), 1);
    assert_eq!(rx.try_recv(), Ok(1));
    assert!(poll_once(&waker, rx.recv()).is_pending());
    drop(last);
    assert_eq!(wakes.count(), 2);
    assert!(rx.is_closed());
    assert!(weak.upgrade().is_none() && weak.clone().upgrade().is_none());
    assert_eq!(block_on(rx.recv()), None);
}

/// A channel is for sharing: `&Sender` from many threads as well as clones.
#[test]
fn a_sender_may_be_used_by_many_threads_at_once() {
    const EACH: usize = 3000;
    for (capacity, wait) in [(1, Wait::Park), (3, Wait::Adaptive), (64, Wait::Adaptive)] {
        let (tx, mut rx) = channel::builder()
            .capacity(capacity)
            .wait(wait)
            .mpsc::<(usize, usize)>();
        thread::scope(|scope| {
            let shared = &tx;
            for thread in 0..4 {
                let clone = tx.clone();
                scope.spawn(move || {
                    let tx = if thread % 2 == 0 { shared } else { &clone };
                    for message in 0..EACH {
                        tx.blocking_send((thread, message)).unwrap();
                    }
                });
            }
            let mut next = [0; 4];
            for _ in 0..4 * EACH {
                let (thread, message) = rx.blocking_recv().unwrap();
                assert_eq!(message, next[thread]);
                next[thread] += 1;
            }
        });
        assert!(tx.is_empty() && tx.high_water() <= capacity);
        drop(tx);
        assert_eq!(rx.blocking_recv(), None);
    }
}

/// Senders come and go, wait and give up, reserve and send in batches, on threads of their own; what said
/// `Ok` arrives once, what did not is dropped.
#[test]
fn nothing_is_lost_or_doubled_by_senders_that_give_up() {
    const EACH: usize = 400;
    let drops = Drops::new(4 * EACH);
    let (tx, mut rx) = channel::mpsc(3);
    let senders: Vec<_> = (0..4)
        .map(|thread| {
            let (tx, drops) = (tx.clone(), drops.clone());
            thread::spawn(move || {
                let mut sent = Vec::new();
                for message in thread * EACH..(thread + 1) * EACH {
                    let value = drops.value(message);
                    let ok = match message % 5 {
                        // A wait that is given up after a poll.
                        0 => tx
                            .send(value)
                            .now_or_never()
                            .is_some_and(|sent| sent.is_ok()),
                        1 => tx.try_send(value).is_ok(),
                        2 => block_on(async { tx.reserve().await.unwrap().send(value) }).is_ok(),
                        3 => block_on(tx.send_all([value])).is_ok(),
                        _ => {
                            let _ = tx.reserve().now_or_never();
                            block_on(tx.send(value)).is_ok()
                        }
                    };
                    sent.extend(ok.then_some(message));
                }
                sent
            })
        })
        .collect();
    drop(tx);
    let mut received = Vec::new();
    let mut batch = Vec::new();
    while block_on(rx.recv_many(&mut batch, 2)) > 0 {
        received.extend(batch.drain(..).map(|value| value.number));
        received.extend(rx.try_recv().map(|value| value.number));
    }
    let mut sent = Vec::new();
    for sender in senders {
        sent.extend(sender.join().unwrap());
    }
    received.sort_unstable();
    assert_eq!(received, sent);
    drops.assert_all_once();
}

/// Room for which a permit was given out must not be given out again.
#[test]
fn permits_hold_their_room_until_they_are_spent_or_dropped() {
    let (tx, mut rx) = channel::mpsc(3);
    let permit = tx.try_reserve().unwrap();
    let owned = block_on(tx.clone().reserve_owned()).unwrap();
    assert_eq!(tx.try_send(1), Ok(()));
    assert_eq!(tx.try_send(2), Err(TrySendError::Full(2)));
    assert_eq!((rx.len(), rx.high_water()), (1, 1));
    permit.send(2).unwrap();
    let again = owned.send(3).unwrap();
    assert!(again.same_channel(&tx));
    assert_eq!(rx.high_water(), 3);
    for value in 1..4 {
        assert_eq!(rx.try_recv(), Ok(value));
    }
    // Dropped or released, it is there for whoever waits.
    for release in [false, true] {
        for value in 0..2 {
            tx.try_send(value).unwrap();
        }
        let owned = block_on(tx.clone().reserve_owned()).unwrap();
        let mut sends = waiting(&tx, [9]);
        if release {
            assert!(owned.release().same_channel(&tx));
        } else {
            drop(owned);
        }
        let (mut send, wakes, _) = sends.pop_front().unwrap();
        assert_eq!(wakes.count(), 1);
        assert_eq!(poll(&mut send), Poll::Ready(Ok(())));
        assert_eq!(std::iter::from_fn(|| rx.try_recv().ok()).count(), 3);
    }
    rx.close();
    assert!(matches!(tx.try_reserve(), Err(TrySendError::Closed(()))));
    assert!(block_on(tx.clone().reserve_owned()).is_err());
}

/// A permit from before the close, of either kind.
#[test]
fn permits_give_their_value_back_after_the_close() {
    let (tx, mut rx) = channel::mpsc(2);
    let permit = tx.try_reserve().unwrap();
    let owned = block_on(tx.clone().reserve_owned()).unwrap();
    rx.close();
    assert_eq!(block_on(rx.recv()), None);
    assert_eq!(permit.send(1), Err(SendError(1)));
    assert_eq!(owned.send(2).err(), Some(SendError(2)));
}

/// That is what batches are for.
#[test]
fn a_batch_wakes_the_receiver_once_and_takes_no_more_than_fits() {
    let (tx, mut rx) = channel::mpsc(8);
    let (wakes, waker) = Wakes::new();
    assert!(poll_once(&waker, rx.recv()).is_pending());
    assert_eq!(poll(tx.send_all(0..8)), Poll::Ready(Ok(())));
    assert_eq!(wakes.count(), 1);
    let mut buffer = Vec::new();
    assert_eq!(poll(rx.recv_many(&mut buffer, 100)), Poll::Ready(8));

    assert!(poll_once(&waker, rx.recv()).is_pending());
    let mut rest = 8..20;
    let mut batch = Box::pin(tx.send_all(&mut rest));
    assert!(poll(&mut batch).is_pending());
    assert_eq!((wakes.count(), rx.len()), (2, 8), "it waits for room");
    assert_eq!(poll(rx.recv_many(&mut buffer, 3)), Poll::Ready(3));
    assert!(poll(&mut batch).is_pending());
    assert_eq!(rx.len(), 8);
    drop(batch);
    assert_eq!(rest, 19..20);
}

/// Values that were not taken from the iterator belong to its owner.
#[test]
fn a_batch_that_is_refused_or_dropped_leaves_the_rest_in_its_iterator() {
    let (tx, mut rx) = channel::mpsc(2);
    let mut rest = 0..10;
    assert!(poll(tx.send_all(&mut rest)).is_pending());
    assert_eq!(rest, 2..10);
    assert_eq!((rx.try_recv(), rx.try_recv()), (Ok(0), Ok(1)));
    rx.close();
    assert_eq!(poll(tx.send_all(&mut rest)), Poll::Ready(Err(SendError(2))));
    assert_eq!(rest, 3..10);
}

/// `select!` drops the arms that lose, at any time: each value is sent once or still in the iterator; and
/// what is received is a beginning of it all.
#[test]
fn a_batch_cancelled_at_any_poll_has_sent_a_beginning_of_it() {
    for polls in 0..8 {
        let drops = Drops::new(6);
        let (tx, mut rx) = channel::mpsc(2);
        let mut values = (0..6).map(|number| drops.value(number));
        let mut received = Vec::new();
        {
            let mut batch = pin!(tx.send_all(&mut values));
            for poll_number in 0..polls {
                // Every other time there is no room yet.
                if poll_number % 2 == 1 {
                    received.extend(rx.try_recv().map(|value| value.number));
                }
                if poll(batch.as_mut()).is_ready() {
                    break;
                }
            }
        }
        received.extend(std::iter::from_fn(|| rx.try_recv().ok()).map(|value| value.number));
        let left: Vec<_> = values.map(|value| value.number).collect();
        assert_eq!(received, (0..received.len()).collect::<Vec<_>>());
        assert_eq!(received.len() + left.len(), 6, "none was in its hands");
        drops.assert_all_once();
        // No room was lost.
        assert!(tx.try_reserve().is_ok_and(|_| tx.try_reserve().is_ok()));
    }
}

/// A batch that nobody waited for stays where it is.
#[test]
fn a_recv_many_cancelled_at_any_poll_has_taken_nothing_unless_it_was_ready() {
    for sent_at in 1..5 {
        for polls in 0..5 {
            let (tx, mut rx) = channel::mpsc(2);
            let mut buffer = Vec::new();
            let mut ready = false;
            {
                let mut receive = pin!(rx.recv_many(&mut buffer, 8));
                for poll_number in 0..polls {
                    if poll_number == sent_at {
                        block_on(tx.send_all(0..2)).unwrap();
                    }
                    if poll(receive.as_mut()).is_ready() {
                        ready = true;
                        break;
                    }
                }
            }
            assert_eq!(ready, polls > sent_at);
            assert_eq!(buffer.len(), if ready { 2 } else { 0 });
            assert!(rx.is_empty());
        }
    }
}

/// An iterator is somebody else's code: a receiver must hear of what was sent before it failed.
#[test]
fn an_iterator_that_panics_costs_no_message_its_wake_up() {
    let (tx, mut rx) = channel::mpsc(8);
    let (wakes, waker) = Wakes::new();
    assert!(poll_once(&waker, rx.recv()).is_pending());
    let values = (0..4).inspect(|value| assert_ne!(*value, 2, "on purpose"));
    assert!(catch_unwind(AssertUnwindSafe(|| poll(tx.send_all(values)))).is_err());
    wakes.wait_for_one();
    let mut buffer = Vec::new();
    assert_eq!(poll(rx.recv_many(&mut buffer, 9)), Poll::Ready(2));
    assert_eq!(buffer, [0, 1]);
}

/// A batch of any length shares its thread.
#[test]
fn a_long_batch_makes_way_for_its_neighbours() {
    let (tx, mut rx) = channel::mpsc(1000);
    let (wakes, waker) = Wakes::new();
    let mut batch = pin!(tx.send_all(0..1000));
    let mut polls = 0;
    while batch
        .as_mut()
        .poll(&mut Context::from_waker(&waker))
        .is_pending()
    {
        polls += 1;
        assert_eq!((wakes.count(), rx.len()), (polls, polls * 128));
    }
    assert_eq!(polls, 1000 / 128);

    let (wakes, waker) = Wakes::new();
    let mut polls = 0;
    let mut buffer = Vec::new();
    let mut received = 0;
    while received < 1000 {
        match poll_once(&waker, rx.recv_many(&mut buffer, 500)) {
            Poll::Ready(many) => received += many,
            Poll::Pending => {
                polls += 1;
                assert_eq!((wakes.count(), received % 128), (polls, 0));
            }
        }
    }
    assert_eq!(polls, 1000 / 128);
    assert!(buffer.into_iter().eq(0..1000));
}

/// One message more than fits is one too many for the caller's memory.
#[test]
fn recv_many_appends_what_there_is_up_to_its_bound() {
    let (tx, mut rx) = channel::mpsc(8);
    let mut buffer = vec![7];
    assert_eq!(poll(rx.recv_many(&mut buffer, 0)), Poll::Ready(0));
    assert!(poll(rx.recv_many(&mut buffer, 4)).is_pending());
    block_on(tx.send_all(0..6)).unwrap();
    assert_eq!(poll(rx.recv_many(&mut buffer, 4)), Poll::Ready(4));
    assert_eq!(rx.len(), 2);
    assert_eq!(poll(rx.recv_many(&mut buffer, usize::MAX)), Poll::Ready(2));
    assert_eq!(buffer, [7, 0, 1, 2, 3, 4, 5]);
    drop(tx);
    assert_eq!(poll(rx.recv_many(&mut buffer, 4)), Poll::Ready(0));
}

/// A batch that is taken out wakes as many senders as it makes room for, no more.
#[test]
fn recv_many_wakes_every_sender_for_which_it_makes_room() {
    let (tx, mut rx) = channel::mpsc(40);
    block_on(tx.send_all(0..40)).unwrap();
    let sends = waiting(&tx, 40..90);
    let mut buffer = Vec::new();
    assert_eq!(poll(rx.recv_many(&mut buffer, 30)), Poll::Ready(30));
    for (number, (mut send, wakes, waker)) in sends.into_iter().enumerate() {
        assert_eq!(wakes.count(), usize::from(number < 30));
        let sent = send.as_mut().poll(&mut Context::from_waker(&waker));
        assert_eq!(sent.is_ready(), number < 30);
    }
    assert_eq!(rx.len(), 40);
}

struct Panicking;

impl Wake for Panicking {
    fn wake(self: Arc<Self>) {
        panic!("on purpose");
    }
}

/// A waker belongs to one sender: its panic must cost no other its wake-up.
#[test]
fn a_waker_that_panics_costs_no_other_sender_its_turn() {
    for close in [false, true] {
        let (tx, mut rx) = channel::mpsc(2);
        block_on(tx.send_all(0..2)).unwrap();
        let panicking = Waker::from(Arc::new(Panicking));
        let mut first = pin!(tx.send(2));
        assert!(
            first
                .as_mut()
                .poll(&mut Context::from_waker(&panicking))
                .is_pending()
        );
        let mut sends = waiting(&tx, [3]);
        let mut buffer = Vec::new();
        if close {
            rx.close();
        } else {
            assert_eq!(poll(rx.recv_many(&mut buffer, 2)), Poll::Ready(2));
        }
        let (mut second, wakes, _) = sends.pop_front().unwrap();
        assert_eq!(wakes.count(), 1);
        assert_eq!(
            poll(&mut second).map(|sent| sent.is_ok()),
            Poll::Ready(!close)
        );
    }
}

/// A sender that waits brings its newest waker, as any future does.
#[test]
fn a_sender_that_waits_is_woken_through_its_last_waker_and_keeps_none() {
    let (tx, mut rx) = channel::mpsc(1);
    tx.try_send(0).unwrap();
    let ((first, first_waker), (last, last_waker)) = (Wakes::new(), Wakes::new());
    let mut send = Box::pin(tx.send(1));
    for waker in [&first_waker, &last_waker] {
        let sent = send.as_mut().poll(&mut Context::from_waker(waker));
        assert!(sent.is_pending());
    }
    drop(first_waker);
    assert_eq!(Arc::strong_count(&first), 1);
    rx.try_recv().unwrap();
    assert_eq!((first.count(), last.count()), (0, 1));
    drop((send, last_waker));
    assert_eq!(Arc::strong_count(&last), 1);

    let (wakes, waker) = Wakes::new();
    assert!(poll_once(&waker, tx.closed()).is_pending());
    drop(waker);
    assert_eq!(Arc::strong_count(&wakes), 1);
}

/// Nothing to store is still something to count.
#[test]
fn values_without_a_size_are_counted() {
    let (tx, mut rx) = channel::mpsc(3);
    for _ in 0..3 {
        tx.try_send(()).unwrap();
    }
    assert!(tx.try_send(()).is_err());
    drop(tx);
    assert_eq!(block_on(rx.by_ref().count()), 3);
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
}

#[derive(Clone, Debug)]
enum Step {
    TrySend,
    TryReserve,
    /// Joins the line, if there is one.
    Send,
    PollSend(Index),
    DropSend(Index),
    SpendPermit(Index),
    DropPermit(Index),
    SendAll(usize),
    TryRecv,
    RecvMany(usize),
    Clone,
    DropClone,
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::TrySend),
        3 => Just(Step::TryReserve),
        6 => Just(Step::Send),
        6 => any::<Index>().prop_map(Step::PollSend),
        3 => any::<Index>().prop_map(Step::DropSend),
        2 => any::<Index>().prop_map(Step::SpendPermit),
        2 => any::<Index>().prop_map(Step::DropPermit),
        2 => (0_usize..5).prop_map(Step::SendAll),
        8 => Just(Step::TryRecv),
        3 => (0_usize..5).prop_map(Step::RecvMany),
        1 => Just(Step::Clone),
        1 => Just(Step::DropClone),
        1 => Just(Step::Close),
    ]
}

/// A send in the line: its number, its value, whether it has been handed room.
struct Waits<'a> {
    send: BoxedSend<'a>,
    value: usize,
    called: bool,
}

/// The channel beside what it is meant to be: a queue, a count of room, and a line.
struct Model {
    capacity: usize,
    queue: VecDeque<usize>,
    permits: usize,
    closed: bool,
}

impl Model {
    fn room(&self, line: &[Waits<'_>]) -> usize {
        let called = line.iter().filter(|waits| waits.called).count();
        self.capacity - self.queue.len() - self.permits - called
    }

    /// Room that is free is handed to those who wait, in their order.
    fn call(&self, line: &mut [Waits<'_>]) {
        for place in 0..line.len() {
            if self.room(line) == 0 {
                break;
            }
            line[place].called = true;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Room that is counted twice is memory beyond the bound; room that is lost is a channel that stops.
    #[test]
    fn every_sequence_of_steps_agrees_with_a_queue_and_a_line(
        capacity in 1_usize..6,
        steps in vec(step(), 0..150),
    ) {
        let (tx, mut rx) = channel::builder().capacity(capacity).wait(Wait::Park).mpsc();
        let mut model = Model { capacity, queue: VecDeque::new(), permits: 0, closed: false };
        let mut line: Vec<Waits<'_>> = Vec::new();
        let mut permits: Vec<Permit<'_, usize>> = Vec::new();
        let mut clones = vec![tx.clone()];
        for (value, step) in steps.into_iter().enumerate() {
            let room = model.room(&line);
            let expected = match (model.closed, room) {
                (true, _) => Err(TrySendError::Closed(value)),
                (false, 0) => Err(TrySendError::Full(value)),
                (false, _) => Ok(()),
            };
            match step {
                Step::TrySend => {
                    prop_assert_eq!(tx.try_send(value), expected);
                    if expected.is_ok() {
                        model.queue.push_back(value);
                    }
                }
                Step::TryReserve => {
                    let permit = tx.try_reserve();
                    prop_assert_eq!(permit.is_ok(), expected.is_ok());
                    if let Ok(permit) = permit {
                        permits.push(permit);
                        model.permits += 1;
                    }
                }
                Step::Send => {
                    let mut send: BoxedSend<'_> = Box::pin(tx.send(value));
                    match poll(&mut send) {
                        Poll::Pending => {
                            prop_assert!(matches!(expected, Err(TrySendError::Full(_))));
                            line.push(Waits { send, value, called: false });
                        }
                        Poll::Ready(Ok(())) => {
                            prop_assert!(expected.is_ok());
                            model.queue.push_back(value);
                        }
                        Poll::Ready(Err(SendError(back))) => {
                            prop_assert!(model.closed && back == value);
                        }
                    }
                }
                Step::PollSend(at) if !line.is_empty() => {
                    let at = at.index(line.len());
                    match poll(&mut line[at].send) {
                        Poll::Pending => prop_assert!(!line[at].called && !model.closed),
                        Poll::Ready(Ok(())) => {
                            let waits = line.remove(at);
                            prop_assert!(waits.called && !model.closed);
                            model.queue.push_back(waits.value);
                        }
                        Poll::Ready(Err(SendError(back))) => {
                            prop_assert!(model.closed);
                            prop_assert_eq!(line.remove(at).value, back);
                        }
                    }
                }
                Step::DropSend(at) if !line.is_empty() => {
                    drop(line.remove(at.index(line.len())));
                }
                Step::SpendPermit(at) if !permits.is_empty() => {
                    let permit = permits.swap_remove(at.index(permits.len()));
                    model.permits -= 1;
                    if model.closed {
                        prop_assert_eq!(permit.send(value), Err(SendError(value)));
                    } else {
                        prop_assert_eq!(permit.send(value), Ok(()));
                        model.queue.push_back(value);
                    }
                }
                Step::DropPermit(at) if !permits.is_empty() => {
                    drop(permits.swap_remove(at.index(permits.len())));
                    model.permits -= 1;
                }
                Step::SendAll(many) => {
                    let mut values = value * 1000..value * 1000 + many;
                    let sent = poll(tx.send_all(&mut values));
                    let fit = if model.closed { 0 } else { room.min(many) };
                    if fit == many {
                        prop_assert_eq!(sent, Poll::Ready(Ok(())));
                    } else if model.closed {
                        prop_assert_eq!(sent, Poll::Ready(Err(SendError(value * 1000))));
                    } else {
                        prop_assert_eq!(sent, Poll::Pending);
                    }
                    model.queue.extend(value * 1000..value * 1000 + fit);
                }
                Step::TryRecv => {
                    let expected = model.queue.pop_front().ok_or(if model.closed {
                        TryRecvError::Closed
                    } else {
                        TryRecvError::Empty
                    });
                    prop_assert_eq!(rx.try_recv(), expected);
                }
                Step::RecvMany(max) => {
                    let mut buffer = Vec::new();
                    let received = poll(rx.recv_many(&mut buffer, max));
                    let expected: Vec<_> = (0..max).map_while(|_| model.queue.pop_front()).collect();
                    if expected.is_empty() && max > 0 && !model.closed {
                        prop_assert_eq!(received, Poll::Pending);
                    } else {
                        prop_assert_eq!(received, Poll::Ready(expected.len()));
                    }
                    prop_assert_eq!(buffer, expected);
                }
                Step::Clone => clones.push(tx.clone()),
                Step::DropClone => drop(clones.pop()),
                Step::Close => {
                    rx.close();
                    model.closed = true;
                }
                _ => {}
            }
            if !model.closed {
                model.call(&mut line);
            }
            prop_assert_eq!((tx.len(), rx.len()), (model.queue.len(), model.queue.len()));
            prop_assert!(tx.high_water() >= tx.len() && tx.high_water() <= capacity);
        }
    }
}

/// A sink that was ready, or waits, holds room or a place in the line, which must not go with it.
#[test]
fn a_sink_that_goes_gives_back_its_room_and_its_place() {
    let (tx, mut rx) = channel::mpsc(1);
    let mut cx = Context::from_waker(Waker::noop());
    for by_close in [false, true] {
        let mut ready = tx.clone().into_sink();
        assert!(ready.poll_ready_unpin(&mut cx).is_ready());
        assert!(ready.poll_ready_unpin(&mut cx).is_ready());
        let mut waits = tx.clone().into_sink();
        assert!(waits.poll_ready_unpin(&mut cx).is_pending());
        let mut sends = waiting(&tx, [1]);
        for mut sink in [waits, ready] {
            if by_close {
                assert!(sink.poll_close_unpin(&mut cx).is_ready());
                assert!(sink.start_send_unpin(2).is_err());
            }
        }
        let (mut send, wakes, _) = sends.pop_front().unwrap();
        assert_eq!(wakes.count(), 1);
        assert_eq!(poll(&mut send), Poll::Ready(Ok(())));
        assert_eq!(rx.try_recv(), Ok(1));
    }
    // The usual way, and the end.
    let sent = block_on(tx.clone().into_sink().send(3));
    assert_eq!((sent, rx.try_recv()), (Ok(()), Ok(3)));
    rx.close();
    assert_eq!(block_on(tx.into_sink().send(4)), Err(SendError(())));
}

/// `OwnedPermit` is for structures; it must not need the lifetime of anything.
#[test]
fn an_owned_permit_may_be_kept_anywhere() {
    fn keep<T: 'static>(value: T) -> T {
        value
    }
    let (tx, mut rx) = channel::mpsc(1);
    let permit: OwnedPermit<_> = keep(block_on(tx.reserve_owned()).unwrap());
    assert!(permit.send(1).is_ok());
    assert_eq!((block_on(rx.recv()), block_on(rx.recv())), (Some(1), None));
}

/// The usual shape: many tasks everywhere, one that collects. Each sender waits for room all the time, and
/// in one line with those of the other runtimes.
#[test]
fn senders_on_every_runtime_reach_one_receiver() {
    const EACH: usize = 400;
    for receiver in ENDS {
        for (capacity, wait) in [(1, Wait::Park), (3, Wait::Adaptive)] {
            let (tx, mut rx) = channel::builder().capacity(capacity).wait(wait).mpsc();
            let senders = ENDS.map(|sender| {
                let tx = tx.clone();
                sender.run(async move {
                    for message in 0..EACH {
                        tx.send((sender as usize, Box::new(message))).await.unwrap();
                    }
                })
            });
            drop(tx);
            let received = receiver.run(async move {
                let (mut next, mut batch) = ([0; ENDS.len()], Vec::new());
                while rx.recv_many(&mut batch, 2).await > 0 {
                    for (sender, message) in batch.drain(..) {
                        assert_eq!(*message, next[sender]);
                        next[sender] += 1;
                    }
                }
                next
            });
            for sender in senders {
                sender.join().unwrap();
            }
            assert_eq!(received.join().unwrap(), [EACH; ENDS.len()], "{receiver:?}");
        }
    }
}

/// Senders that wait, on every runtime, when the receiver goes: each is woken, with its value.
#[test]
fn a_receiver_that_goes_wakes_the_senders_of_every_runtime() {
    for receiver in ENDS {
        let (tx, mut rx) = channel::mpsc(1);
        let senders = ENDS.map(|sender| {
            let tx = tx.clone();
            sender.run(async move {
                let mut sent = 0;
                while let Ok(()) = tx.send(Box::new(sent)).await {
                    sent += 1;
                }
                tx.closed().await;
                sent
            })
        });
        let received = receiver.run(async move {
            for _ in 0..50 {
                assert!(rx.recv().await.is_some());
            }
            rx.close();
            50 + rx.count().await
        });
        let sent: usize = senders.map(|sender| sender.join().unwrap()).iter().sum();
        assert_eq!(sent, received.join().unwrap(), "{receiver:?}");
    }
}
