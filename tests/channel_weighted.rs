//! The bound by weight: what fits, who is first, and what becomes of the room of those who leave.

#![cfg(not(landbridge_loom))]

mod channel_support;

use std::{
    cell::Cell,
    collections::VecDeque,
    mem::ManuallyDrop,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    ptr,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, RawWaker, RawWakerVTable, Waker},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use channel_support::{Drops, Wakes, ends::ENDS, poll, poll_once};
use landbridge::channel::{self, SendError, TrySendError, Wait, Weight, weighted};
use proptest::{collection::vec, prelude::*};

/// A message, and what it weighs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct W(usize, usize);

impl Weight for W {
    fn weight(&self) -> usize {
        self.1
    }
}

fn open(bound: usize) -> (weighted::Sender<W>, weighted::Receiver<W>) {
    channel::builder().wait(Wait::Park).bytes(bound).mpsc()
}

fn poll_pinned<T>(future: Pin<&mut (impl Future<Output = T> + ?Sized)>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// What the docs say about the types that everybody has.
#[test]
fn bytes_and_text_weigh_their_length_wherever_they_lie() {
    fn weight(value: impl Weight) -> usize {
        value.weight()
    }
    assert_eq!(weight(Bytes::from_static(b"abc")), 3);
    assert_eq!(weight(BytesMut::with_capacity(100)), 0);
    assert_eq!(weight(Vec::<u8>::with_capacity(100)), 0);
    assert_eq!(weight(vec![0_u8; 5]), 5);
    assert_eq!(weight(vec![0_u8; 5].into_boxed_slice()), 5);
    assert_eq!(weight(&[0_u8; 5][..]), 5);
    assert_eq!(weight([0_u8; 5]), 5);
    assert_eq!(weight("f\u{fc}nf"), 5);
    assert_eq!(weight(String::from("abc")), 3);
    assert_eq!(weight(Box::<str>::from("abc")), 3);
    assert_eq!(weight(Rc::<[u8]>::from([1, 2])), 2);
    assert_eq!(weight(Arc::new(vec![1, 2])), 2);
    assert_eq!(weight(Some("abc")) + weight(None::<&str>), 3);
    assert_eq!(weight(Ok::<_, String>("abc")), 3);
    assert_eq!(weight(Err::<&str, _>("abc")), 0);
}

/// The bound is what keeps the process alive: it holds to the byte.
#[test]
fn the_bound_is_exact() {
    let (tx, mut rx) = open(10);
    tx.try_send(W(0, 4)).unwrap();
    tx.try_send(W(1, 5)).unwrap();
    assert_eq!((tx.weight(), tx.capacity(), tx.len()), (9, 10, 2));
    assert_eq!(tx.try_send(W(2, 2)), Err(TrySendError::Full(W(2, 2))));
    tx.try_send(W(3, 1)).unwrap();
    assert_eq!(tx.try_send(W(4, 1)), Err(TrySendError::Full(W(4, 1))));
    assert_eq!(rx.try_recv(), Ok(W(0, 4)));
    assert_eq!(tx.try_send(W(5, 4)), Ok(()));
    assert_eq!((rx.weight(), rx.high_water()), (10, 10));
}

/// Refusing it would make the largest message a matter of configuration; documented.
#[test]
fn an_item_heavier_than_the_bound_is_admitted_alone() {
    let (tx, mut rx) = open(10);
    tx.try_send(W(0, 1)).unwrap();
    assert_eq!(tx.try_send(W(1, 11)), Err(TrySendError::Full(W(1, 11))));
    let mut heavy = pin!(tx.send(W(1, 1000)));
    assert!(poll_pinned(heavy.as_mut()).is_pending());
    rx.try_recv().unwrap();
    assert_eq!(poll_pinned(heavy.as_mut()), Poll::Ready(Ok(())));
    // Alone: nothing comes beside it, not even what weighs nothing.
    assert_eq!(tx.try_send(W(2, 1)), Err(TrySendError::Full(W(2, 1))));
    assert_eq!(tx.try_send(W(2, 0)), Err(TrySendError::Full(W(2, 0))));
    assert_eq!(rx.try_recv(), Ok(W(1, 1000)));
    assert_eq!(tx.try_send(W(2, 10)), Ok(()));
}

/// A peer that sends empty frames must not fill memory with them; documented.
#[test]
fn messages_that_weigh_nothing_are_bounded_too() {
    let (tx, mut rx) = open(3);
    for number in 0..3 {
        tx.try_send(W(number, 0)).unwrap();
    }
    assert_eq!(tx.try_send(W(3, 0)), Err(TrySendError::Full(W(3, 0))));
    rx.try_recv().unwrap();
    let permit = tx.try_reserve(0).unwrap();
    assert!(permit.send(W(3, 1)).is_ok());
    assert_eq!(tx.weight(), 3);
}

/// A bound that nobody can reach is as good as any: it must neither overflow nor admit nothing.
#[test]
fn any_bound_is_taken_as_the_nearest_that_there_is() {
    let (tx, _rx) = open(0);
    assert_eq!(tx.capacity(), 1);
    assert_eq!(tx.try_send(W(0, 5)), Ok(()));
    assert!(tx.try_send(W(0, 0)).is_err());

    let (tx, mut rx) = open(usize::MAX);
    assert_eq!(tx.capacity(), usize::MAX / 4);
    assert_eq!(tx.try_send(W(0, usize::MAX)), Ok(()));
    assert!(tx.try_send(W(1, 1)).is_err());
    rx.try_recv().unwrap();
    assert_eq!(tx.try_send(W(1, 1)), Ok(()));
}

/// Otherwise a stream of light messages keeps a heavy one out for ever.
#[test]
fn a_light_newcomer_does_not_overtake_a_heavy_one_that_waits() {
    let (tx, mut rx) = open(10);
    tx.try_send(W(0, 6)).unwrap();
    let mut heavy = pin!(tx.send(W(1, 8)));
    assert!(poll_pinned(heavy.as_mut()).is_pending());
    // There is room for these, but not before it.
    assert_eq!(tx.try_send(W(2, 1)), Err(TrySendError::Full(W(2, 1))));
    assert!(matches!(tx.try_reserve(1), Err(TrySendError::Full(()))));
    let mut light = pin!(tx.send(W(2, 1)));
    let mut last = pin!(tx.send(W(3, 2)));
    assert!(poll_pinned(light.as_mut()).is_pending());
    assert!(poll_pinned(last.as_mut()).is_pending());

    rx.try_recv().unwrap();
    // In the order of their coming, whoever is polled first: there was room for all but the last.
    assert!(poll_pinned(last.as_mut()).is_pending());
    assert_eq!(poll_pinned(light.as_mut()), Poll::Ready(Ok(())));
    assert_eq!(poll_pinned(heavy.as_mut()), Poll::Ready(Ok(())));
    assert_eq!(tx.weight(), 9);
    assert_eq!(rx.try_recv(), Ok(W(2, 1)));
    assert_eq!(poll_pinned(last.as_mut()), Poll::Ready(Ok(())));
}

/// A heavy one that gives up held up those behind it for nothing.
#[test]
fn who_leaves_the_front_lets_in_those_behind_it() {
    for granted in [false, true] {
        let (tx, mut rx) = open(10);
        tx.try_send(W(0, 5)).unwrap();
        let mut heavy = Box::pin(tx.send(W(1, 9)));
        assert!(poll_pinned(heavy.as_mut()).is_pending());
        let waits = [W(2, 5), W(3, 5), W(4, 5)].map(|value| Box::pin(tx.send(value)));
        let wakes = std::array::from_fn::<_, 3, _>(|_| Wakes::new());
        let mut waits = waits;
        for (wait, (_, waker)) in waits.iter_mut().zip(&wakes) {
            assert!(
                wait.as_mut()
                    .poll(&mut Context::from_waker(waker))
                    .is_pending()
            );
        }
        if granted {
            // It has its room, and does not know yet.
            rx.try_recv().unwrap();
            assert_eq!(tx.weight(), 9);
        }
        drop(heavy);
        let woken = wakes.each_ref().map(|(wakes, _)| wakes.count());
        assert_eq!(woken, if granted { [1, 1, 0] } else { [1, 0, 0] });
        assert_eq!(tx.weight(), 10);
        // One from the middle takes nobody with it.
        let [first, second, last] = waits;
        drop(second);
        drop(first);
        drop(last);
        assert_eq!(tx.weight(), if granted { 0 } else { 5 });
        assert!(tx.try_send(W(5, 5)).is_ok());
    }
}

/// Many light ones fit where a heavy one was; all are woken, and each once.
#[test]
fn one_heavy_message_makes_way_for_many_light_ones() {
    const MANY: usize = 100;
    let (tx, mut rx) = open(MANY);
    tx.try_send(W(0, MANY)).unwrap();
    let (wakes, waker) = Wakes::new();
    let mut sends: Vec<_> = (0..MANY).map(|n| Box::pin(tx.send(W(n, 1)))).collect();
    for send in &mut sends {
        assert!(
            send.as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
    }
    rx.try_recv().unwrap();
    assert_eq!(wakes.count(), MANY);
    for send in sends {
        assert_eq!(poll(send), Poll::Ready(Ok(())));
    }
    assert_eq!(tx.weight(), MANY);
    // And back: the room of a batch is given back as one, and lets a heavy one in.
    let (wakes, waker) = Wakes::new();
    let mut heavy = pin!(tx.send(W(0, MANY)));
    assert!(
        heavy
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    let mut received = Vec::new();
    assert_eq!(poll(rx.recv_many(&mut received, MANY)), Poll::Ready(MANY));
    assert_eq!((wakes.count(), tx.weight()), (1, MANY));
    assert_eq!(poll_pinned(heavy.as_mut()), Poll::Ready(Ok(())));
}

/// Otherwise senders at a full channel hang when the consumer shuts down.
#[test]
fn a_close_wakes_all_senders_that_wait_and_gives_their_values_back() {
    for by_drop in [false, true] {
        let (tx, mut rx) = open(2);
        tx.try_send(W(0, 2)).unwrap();
        let (wakes, waker) = Wakes::new();
        let mut cx = Context::from_waker(&waker);
        let mut sends: Vec<_> = (0..40).map(|n| Box::pin(tx.send(W(n, 1)))).collect();
        for send in &mut sends {
            assert!(send.as_mut().poll(&mut cx).is_pending());
        }
        let mut reserve = pin!(tx.reserve(1));
        assert!(reserve.as_mut().poll(&mut cx).is_pending());
        drop(sends.remove(20));
        let rx = if by_drop {
            drop(rx);
            None
        } else {
            rx.close();
            Some(rx)
        };
        assert_eq!(wakes.count(), 40);
        for send in sends {
            assert!(matches!(poll(send), Poll::Ready(Err(SendError(W(_, 1))))));
        }
        assert!(matches!(
            poll_pinned(reserve),
            Poll::Ready(Err(SendError(())))
        ));
        drop(rx);
    }
}

/// Room that is handed over just before the close is no message yet.
#[test]
fn a_sender_that_has_room_when_the_channel_closes_has_its_value_back() {
    let (tx, mut rx) = open(2);
    tx.try_send(W(0, 2)).unwrap();
    let mut send = pin!(tx.send(W(1, 1)));
    let mut reserve = pin!(tx.reserve(1));
    assert!(poll_pinned(send.as_mut()).is_pending());
    assert!(poll_pinned(reserve.as_mut()).is_pending());
    rx.try_recv().unwrap();
    rx.close();
    assert_eq!(poll(rx.recv()), Poll::Ready(None));
    assert_eq!(poll_pinned(send), Poll::Ready(Err(SendError(W(1, 1)))));
    assert!(matches!(poll_pinned(reserve), Poll::Ready(Err(_))));
}

/// A permit is room, and no more than was asked for.
#[test]
fn a_permit_sends_what_it_is_for_and_gives_back_the_rest() {
    let (tx, mut rx) = open(10);
    let permit = tx.try_reserve(7).unwrap();
    assert_eq!((permit.weight(), tx.weight()), (7, 7));
    assert_eq!(permit.send(W(0, 8)), Err(TrySendError::Full(W(0, 8))));
    assert_eq!(tx.weight(), 0);

    let (wakes, waker) = Wakes::new();
    let permit = tx.try_reserve(7).unwrap();
    let mut send = pin!(tx.send(W(1, 8)));
    assert!(
        send.as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    assert_eq!(permit.send(W(0, 2)), Ok(()));
    assert_eq!(wakes.count(), 1);
    assert_eq!(poll_pinned(send), Poll::Ready(Ok(())));
    assert_eq!(rx.try_recv(), Ok(W(0, 2)));
    assert_eq!(rx.try_recv(), Ok(W(1, 8)));

    // For what is heavier than the bound too.
    let permit = tx.try_reserve(50).unwrap();
    assert_eq!((permit.weight(), tx.weight()), (50, 10));
    assert_eq!(permit.send(W(2, 40)), Ok(()));
    assert_eq!(tx.weight(), 10);
    rx.try_recv().unwrap();
    assert_eq!(tx.weight(), 0);

    let permit = tx.try_reserve(5).unwrap();
    rx.close();
    assert_eq!(poll(rx.recv()), Poll::Ready(None));
    assert_eq!(permit.send(W(3, 1)), Err(TrySendError::Closed(W(3, 1))));
    assert!(matches!(tx.try_reserve(1), Err(TrySendError::Closed(()))));
}

/// One wake-up for what fits, then the sender waits in the queue like any other.
#[test]
fn send_all_sends_what_fits_and_waits_with_the_rest() {
    let (tx, mut rx) = open(4);
    let (wakes, waker) = Wakes::new();
    assert!(poll_once(&waker, rx.recv()).is_pending());
    let mut values = (0..7).map(|n| W(n, 2));
    {
        let mut all = pin!(tx.send_all(&mut values));
        assert!(poll_pinned(all.as_mut()).is_pending());
        assert_eq!((wakes.count(), tx.len()), (1, 2));
        assert_eq!(rx.try_recv(), Ok(W(0, 2)));
        assert_eq!(tx.try_send(W(9, 1)), Err(TrySendError::Full(W(9, 1))));
        assert!(poll_pinned(all.as_mut()).is_pending());
        assert_eq!(rx.try_recv(), Ok(W(1, 2)));
    }
    // The one that it waited with is lost, and documented; the rest is not.
    assert_eq!(values.next(), Some(W(4, 2)));
    assert_eq!(rx.try_recv(), Ok(W(2, 2)));
    assert_eq!((rx.weight(), rx.len()), (0, 0));

    tx.try_send(W(5, 4)).unwrap();
    {
        let mut all = pin!(tx.send_all(&mut values));
        assert!(poll_pinned(all.as_mut()).is_pending());
        rx.close();
        assert_eq!(poll_pinned(all), Poll::Ready(Err(SendError(W(5, 2)))));
    }
    assert_eq!(values.next(), Some(W(6, 2)));
}

/// A sender that always finds room would otherwise starve its thread.
#[test]
fn a_sender_makes_way_after_128_messages() {
    let (tx, mut rx) = open(1000);
    let (wakes, waker) = Wakes::new();
    for message in 0..128 {
        let sent = poll_once(&waker, tx.send(W(message, 1)));
        assert_eq!(sent, Poll::Ready(Ok(())));
    }
    assert_eq!(wakes.count(), 0);
    assert!(poll_once(&waker, tx.reserve(1)).is_pending());
    assert_eq!(wakes.count(), 1);
    // A batch is many messages, and a pause in the middle of it holds none of them back.
    let (receiver_wakes, receiver) = Wakes::new();
    while rx.try_recv().is_ok() {}
    assert!(poll_once(&receiver, rx.recv()).is_pending());
    let mut all = pin!(tx.send_all((0..200).map(|n| W(n, 1))));
    let mut cx = Context::from_waker(&waker);
    assert!(all.as_mut().poll(&mut cx).is_pending());
    assert_eq!(
        (wakes.count(), receiver_wakes.count(), rx.len()),
        (2, 1, 128)
    );
    assert_eq!(all.as_mut().poll(&mut cx), Poll::Ready(Ok(())));
    assert_eq!(rx.len(), 200);
}

/// `select!` drops the arms that lose, at any time: a value must be sent once or dropped once.
#[test]
fn a_send_cancelled_at_any_poll_has_sent_its_value_or_dropped_it() {
    const POLLS: usize = 5;
    for room_at in 1..POLLS {
        for polls in 0..POLLS {
            let drops = Drops::new(4);
            let (tx, mut rx) = channel::builder().wait(Wait::Park).bytes(2).mpsc();
            let mut left = Vec::new();
            for number in 0..2 {
                tx.try_send(drops.value(number)).unwrap();
            }
            let mut sent = false;
            {
                let mut send = Box::pin(tx.send(drops.value(2)));
                for poll in 0..polls {
                    if poll == room_at {
                        left.push(rx.try_recv().unwrap().number);
                    }
                    if poll_pinned(send.as_mut()).is_ready() {
                        sent = true;
                        break;
                    }
                }
            }
            assert_eq!(sent, polls > room_at);
            assert_eq!(drops.of(2), usize::from(!sent));
            // The channel is as good as before: the room is neither lost nor doubled.
            left.extend(rx.try_recv().ok().map(|value| value.number));
            tx.try_send(drops.value(3)).unwrap();
            while let Ok(value) = rx.try_recv() {
                left.push(value.number);
            }
            assert_eq!(
                left,
                if sent {
                    vec![0, 1, 2, 3]
                } else {
                    vec![0, 1, 3]
                }
            );
            assert_eq!(tx.weight(), 0);
            drops.assert_all_once();
        }
    }
}

/// `reserve` is what the docs send those to who must not lose a value.
#[test]
fn a_reserve_cancelled_at_any_poll_costs_no_room() {
    const POLLS: usize = 5;
    for room_at in 0..POLLS {
        for polls in 0..POLLS {
            let (tx, mut rx) = open(2);
            tx.try_send(W(0, 2)).unwrap();
            {
                let mut reserve = pin!(tx.reserve(2));
                for poll in 0..polls {
                    if poll == room_at {
                        rx.try_recv().unwrap();
                    }
                    if let Poll::Ready(permit) = poll_pinned(reserve.as_mut()) {
                        assert_eq!((poll, permit.unwrap().weight()), (room_at, 2));
                        break;
                    }
                }
            }
            let _ = rx.try_recv();
            assert_eq!(tx.weight(), 0);
            assert_eq!(tx.try_send(W(1, 2)), Ok(()));
        }
    }
}

/// Several senders and weights over both runtimes, each cancelled again and again: no room is lost.
#[test]
fn waits_that_lose_a_select_lose_no_room_between_the_runtimes() {
    const EACH: usize = 100;
    for receiver in ENDS {
        let (tx, mut rx) = channel::builder().bytes(10).mpsc();
        let senders: Vec<_> = ENDS
            .into_iter()
            .map(|end| {
                let tx = tx.clone();
                end.run(async move {
                    let mut message = 0;
                    while message < EACH {
                        let weight = message % 13;
                        let permit = {
                            let reserve = pin!(tx.reserve(weight));
                            match futures::future::select(reserve, pin!(second_poll())).await {
                                futures::future::Either::Left((permit, _)) => Some(permit.unwrap()),
                                futures::future::Either::Right(_) => None,
                            }
                        };
                        if let Some(permit) = permit {
                            permit.send(W(message, weight)).unwrap();
                            message += 1;
                        }
                    }
                })
            })
            .collect();
        let received = receiver.run(async move {
            let mut received = Vec::new();
            while rx.recv_many(&mut received, 3).await > 0 {}
            (received.len(), rx.weight(), rx.high_water())
        });
        for sender in senders {
            sender.join().unwrap();
        }
        drop(tx);
        assert_eq!(received.join().unwrap(), (EACH * ENDS.len(), 0, 10));
    }
}

async fn second_poll() {
    let mut polled = false;
    futures::future::poll_fn(|cx| {
        if std::mem::replace(&mut polled, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[derive(Clone, Debug)]
enum Operation {
    TrySend(usize),
    Send(usize),
    GiveUp(usize),
    Reserve(usize),
    UsePermit(usize),
    DropPermit,
    Recv,
    RecvMany(usize),
    Close,
}

fn operation() -> impl Strategy<Value = Operation> {
    let weight = prop_oneof![8 => 0_usize..6, 1 => 6_usize..30];
    prop_oneof![
        4 => weight.clone().prop_map(Operation::TrySend),
        8 => weight.clone().prop_map(Operation::Send),
        3 => any::<usize>().prop_map(Operation::GiveUp),
        3 => weight.clone().prop_map(Operation::Reserve),
        2 => weight.prop_map(Operation::UsePermit),
        2 => Just(Operation::DropPermit),
        8 => Just(Operation::Recv),
        2 => (0_usize..5).prop_map(Operation::RecvMany),
        1 => Just(Operation::Close),
    ]
}

type Sending<'a> = Pin<Box<dyn Future<Output = Result<(), SendError<W>>> + 'a>>;

proptest! {
    // A counterexample belongs into a test, not into a file of seeds.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Any mix of senders that come, wait and leave: the room adds up, and the order is kept.
    #[test]
    fn every_sequence_of_operations_agrees_with_a_plain_model(
        bound in 0_usize..9,
        operations in vec(operation(), 0..150),
    ) {
        let (tx, mut rx) = open(bound);
        let bound = bound.max(1);
        let takes = |weight: usize| weight.clamp(1, bound);
        let mut free = bound;
        let mut high_water = 0;
        let mut queue: VecDeque<W> = VecDeque::new();
        let mut waiting: VecDeque<(W, Sending<'_>)> = VecDeque::new();
        let mut permits: Vec<(usize, weighted::Permit<'_, W>)> = Vec::new();
        let mut closed = false;
        for (number, operation) in operations.into_iter().enumerate() {
            match operation {
                Operation::TrySend(weight) => {
                    let value = W(number, weight);
                    let expected = if closed {
                        Err(TrySendError::Closed(value.clone()))
                    } else if !waiting.is_empty() || free < takes(weight) {
                        Err(TrySendError::Full(value.clone()))
                    } else {
                        free -= takes(weight);
                        queue.push_back(value.clone());
                        Ok(())
                    };
                    prop_assert_eq!(tx.try_send(value), expected);
                }
                Operation::Send(weight) => {
                    let value = W(number, weight);
                    let mut send: Sending<'_> = Box::pin(tx.send(value.clone()));
                    let mut sent = poll_pinned(send.as_mut());
                    if sent.is_pending() && (closed || waiting.is_empty() && free >= takes(weight)) {
                        // The neighbours' turn.
                        sent = poll_pinned(send.as_mut());
                    }
                    if closed {
                        prop_assert_eq!(sent, Poll::Ready(Err(SendError(value))));
                    } else if waiting.is_empty() && free >= takes(weight) {
                        prop_assert_eq!(sent, Poll::Ready(Ok(())));
                        free -= takes(weight);
                        queue.push_back(value);
                    } else {
                        prop_assert!(sent.is_pending());
                        waiting.push_back((value, send));
                    }
                }
                Operation::GiveUp(which) => {
                    if !waiting.is_empty() {
                        waiting.remove(which % waiting.len());
                    }
                }
                Operation::Reserve(weight) => match tx.try_reserve(weight) {
                    Ok(permit) => {
                        prop_assert!(!closed && waiting.is_empty() && free >= takes(weight));
                        free -= takes(weight);
                        permits.push((weight, permit));
                    }
                    Err(TrySendError::Closed(())) => prop_assert!(closed),
                    Err(TrySendError::Full(())) => {
                        prop_assert!(!closed && (!waiting.is_empty() || free < takes(weight)));
                    }
                },
                Operation::UsePermit(weight) => {
                    if let Some((reserved, permit)) = permits.pop() {
                        let value = W(number, weight);
                        free += takes(reserved);
                        let expected = if weight > reserved.max(1) {
                            Err(TrySendError::Full(value.clone()))
                        } else if closed {
                            Err(TrySendError::Closed(value.clone()))
                        } else {
                            free -= takes(weight);
                            queue.push_back(value.clone());
                            Ok(())
                        };
                        prop_assert_eq!(permit.send(value), expected);
                    }
                }
                Operation::DropPermit => {
                    if let Some((reserved, _)) = permits.pop() {
                        free += takes(reserved);
                    }
                }
                Operation::Recv => {
                    let value = queue.pop_front();
                    free += value.as_ref().map_or(0, |value| takes(value.1));
                    prop_assert_eq!(rx.try_recv().ok(), value);
                }
                Operation::RecvMany(max) => {
                    let max = max.min(queue.len());
                    let expected: Vec<_> = queue.drain(..max).collect();
                    free += expected.iter().map(|value| takes(value.1)).sum::<usize>();
                    let mut received = Vec::new();
                    if max > 0 && poll(rx.recv_many(&mut received, max)).is_pending() {
                        // The neighbours' turn.
                        prop_assert!(poll(rx.recv_many(&mut received, max)).is_ready());
                    }
                    while received.len() < max {
                        received.push(rx.try_recv().unwrap());
                    }
                    prop_assert_eq!(received, expected);
                }
                Operation::Close => {
                    // Once in a while, or most of a run would be about nothing else.
                    if number.is_multiple_of(7) {
                        rx.close();
                        closed = true;
                    }
                }
            }
            high_water = high_water.max(bound - free);
            if closed {
                for (value, send) in waiting.drain(..) {
                    prop_assert_eq!(poll(send), Poll::Ready(Err(SendError(value))));
                }
            }
            while let Some((value, _)) = waiting.front()
                && free >= takes(value.1)
            {
                let (value, send) = waiting.pop_front().unwrap();
                prop_assert_eq!(poll(send), Poll::Ready(Ok(())));
                free -= takes(value.1);
                queue.push_back(value);
                high_water = high_water.max(bound - free);
            }
            for (_, send) in &mut waiting {
                prop_assert!(poll_pinned(send.as_mut()).is_pending());
            }
            prop_assert_eq!((tx.len(), rx.len()), (queue.len(), queue.len()));
            prop_assert_eq!((tx.weight(), rx.weight()), (bound - free, bound - free));
            prop_assert!(tx.high_water() >= high_water && tx.high_water() <= bound);
            prop_assert_eq!((tx.is_closed(), rx.is_closed()), (closed, closed));
        }
    }
}

/// A receiver that cannot let go of its own waker must not leave senders behind that nobody wakes.
#[test]
fn a_close_reaches_the_senders_though_the_receivers_waker_panics_as_it_is_dropped() {
    struct PanicsInDrop;
    impl std::task::Wake for PanicsInDrop {
        fn wake(self: std::sync::Arc<Self>) {}
    }
    impl Drop for PanicsInDrop {
        fn drop(&mut self) {
            panic!("in the waker's destructor");
        }
    }

    let (tx, mut rx) = channel::builder().bytes(1).mpsc::<&str>();
    let _taken = tx.try_reserve(1).unwrap();
    let (wakes, waker) = Wakes::new();
    let mut send = std::pin::pin!(tx.send("x"));
    let cx = &mut std::task::Context::from_waker(&waker);
    assert!(send.as_mut().poll(cx).is_pending());

    let panics = std::sync::Arc::new(PanicsInDrop);
    assert!(poll_once(&panics.clone().into(), rx.recv()).is_pending());
    // The channel has the last one.
    drop(panics);
    let closed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| rx.close()));
    assert!(closed.is_err());
    assert_eq!(wakes.count(), 1);
    assert!(send.as_mut().poll(cx).is_ready());
}

/// What a message weighs may change, or cost something to find out: the docs say that it is asked once.
#[test]
fn a_message_is_weighed_once_however_it_is_sent() {
    #[derive(Debug)]
    struct Asked(Rc<Cell<usize>>);

    impl Weight for Asked {
        fn weight(&self) -> usize {
            self.0.set(self.0.get() + 1);
            1
        }
    }

    let runtime = compio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let asked: Vec<_> = (0..6).map(|_| Rc::new(Cell::new(0))).collect();
        let message = |n: usize| Asked(Rc::clone(&asked[n]));
        let (tx, mut rx) = channel::builder().bytes(2).mpsc();
        tx.send(message(0)).await.unwrap();
        tx.try_send(message(1)).unwrap();
        assert!(tx.try_send(message(2)).is_err());
        let late = tx.send_timeout(message(3), Duration::from_millis(1)).await;
        assert!(late.is_err());
        rx.recv().await;
        rx.recv().await;
        // The last two wait for the room of others.
        let mut all = pin!(tx.send_all((2..6).map(message)));
        while poll_pinned(all.as_mut()).is_pending() {
            while rx.try_recv().is_ok() {}
        }
        let asked: Vec<_> = asked.iter().map(|asked| asked.get()).collect();
        assert_eq!(asked, [1, 1, 2, 2, 1, 1]);
    });
}

/// Monitoring reads it, also at the end.
#[test]
fn what_a_receiver_takes_with_it_weighs_nothing_any_more() {
    let (tx, rx) = open(10);
    tx.try_send(W(1, 7)).unwrap();
    let permit = tx.try_reserve(2).unwrap();
    drop(rx);
    assert_eq!(tx.weight(), 2);
    assert!(permit.send(W(2, 1)).is_err());
    assert_eq!(tx.weight(), 0);
}

/// Room that was on its way to a sender that waits belongs to nobody after the close.
#[test]
fn a_sender_that_was_called_as_the_channel_closed_holds_no_room() {
    for cancelled in [false, true] {
        let (tx, mut rx) = open(10);
        tx.try_send(W(1, 7)).unwrap();
        let mut send = Box::pin(tx.send(W(2, 7)));
        assert!(poll_pinned(send.as_mut()).is_pending());
        assert_eq!(rx.try_recv(), Ok(W(1, 7)));
        assert_eq!(tx.weight(), 7);
        rx.close();
        if !cancelled {
            assert!(poll_pinned(send.as_mut()).is_ready());
        }
        drop(send);
        assert_eq!((tx.weight(), tx.len()), (0, 0));
    }
}

/// A waker's destructor is foreign code.
#[test]
fn a_waker_that_panics_as_it_is_dropped_takes_no_room_along() {
    static TABLE: RawWakerVTable = RawWakerVTable::new(
        |_| RawWaker::new(ptr::null(), &TABLE),
        |_| {},
        |_| {},
        |_| panic!("in the waker's destructor"),
    );
    #[expect(
        unsafe_code,
        reason = "one whose every clone panics has a table of its own"
    )]
    // SAFETY: the functions have no use for the pointer.
    let bad = ManuallyDrop::new(unsafe { Waker::new(ptr::null(), &TABLE) });

    let (tx, mut rx) = open(10);
    tx.try_send(W(1, 7)).unwrap();
    let mut reserve = Box::pin(tx.reserve(7));
    assert!(poll_pinned(reserve.as_mut()).is_pending());
    assert_eq!(rx.try_recv(), Ok(W(1, 7)));
    let polled = catch_unwind(AssertUnwindSafe(|| {
        let polled = reserve.as_mut().poll(&mut Context::from_waker(&bad));
        drop(polled);
    }));
    drop(polled);
    drop(reserve);
    assert_eq!(tx.weight(), 0);
    assert!(tx.try_send(W(2, 10)).is_ok());
}
