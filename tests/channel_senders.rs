//! What holds for every channel with many senders: how it ends, what becomes of its messages, whom it
//! wakes, and what it takes from code that panics.

#![cfg(not(landbridge_loom))]

mod channel_support;

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    rc::Rc,
    sync::{Arc, Mutex},
    task::{Context, Poll, Wake, Waker},
    thread,
};

use channel_support::{
    Drops, Wakes,
    ends::{ENDS, WAITS},
    poll, poll_once,
};
use futures::{Stream, StreamExt, executor::block_on};
use landbridge::channel::{self, SendError, TryRecvError, Wait, Weight};

/// A message that weighs 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct M(usize);

impl Weight for M {
    fn weight(&self) -> usize {
        1
    }
}

/// Polls that a cancelled future may have had.
const POLLS: usize = 4;
/// In a row, before the neighbours have their turn: documented.
const BUDGET: usize = 128;

/// The tests for every kind of channel; each opens one, and puts a value in without waiting.
macro_rules! channels {
    ($($tests:item)*) => {
        mod unbounded {
            use super::*;
            use channel::unbounded::{Receiver, Sender};

            fn open<T: Weight>() -> (Sender<T>, Receiver<T>) {
                channel::unbounded()
            }

            fn open_with<T: Weight>(wait: Wait) -> (Sender<T>, Receiver<T>) {
                channel::builder().wait(wait).unbounded()
            }

            fn put<T: Weight>(tx: &Sender<T>, value: T) -> Result<(), T> {
                tx.send(value).map_err(|SendError(value)| value)
            }

            async fn send<T: Weight>(tx: &Sender<T>, value: T) -> Result<(), SendError<T>> {
                tx.send(value)
            }

            async fn send_all<T: Weight>(
                tx: &Sender<T>,
                values: impl IntoIterator<Item = T>,
            ) -> Result<(), SendError<T>> {
                tx.send_all(values)
            }

            $($tests)*
        }

        mod mpsc {
            use super::*;
            use channel::mpsc::{Receiver, Sender};

            fn open<T: Weight>() -> (Sender<T>, Receiver<T>) {
                channel::mpsc(1 << 16)
            }

            /// A bound that is reached all the time.
            fn open_with<T: Weight>(wait: Wait) -> (Sender<T>, Receiver<T>) {
                channel::builder().wait(wait).capacity(3).mpsc()
            }

            fn put<T: Weight>(tx: &Sender<T>, value: T) -> Result<(), T> {
                tx.try_send(value).map_err(channel::TrySendError::into_inner)
            }

            async fn send<T: Weight>(tx: &Sender<T>, value: T) -> Result<(), SendError<T>> {
                tx.send(value).await
            }

            async fn send_all<T: Weight>(
                tx: &Sender<T>,
                values: impl IntoIterator<Item = T>,
            ) -> Result<(), SendError<T>> {
                tx.send_all(values).await
            }

            $($tests)*
        }

        mod weighted {
            use super::*;
            use channel::weighted::{Receiver, Sender};

            fn open<T: Weight>() -> (Sender<T>, Receiver<T>) {
                channel::builder().bytes(1 << 20).mpsc()
            }

            /// A bound that is reached all the time.
            fn open_with<T: Weight>(wait: Wait) -> (Sender<T>, Receiver<T>) {
                channel::builder().wait(wait).bytes(3).mpsc()
            }

            fn put<T: Weight>(tx: &Sender<T>, value: T) -> Result<(), T> {
                tx.try_send(value).map_err(channel::TrySendError::into_inner)
            }

            async fn send<T: Weight>(tx: &Sender<T>, value: T) -> Result<(), SendError<T>> {
                tx.send(value).await
            }

            async fn send_all<T: Weight>(
                tx: &Sender<T>,
                values: impl IntoIterator<Item = T>,
            ) -> Result<(), SendError<T>> {
                tx.send_all(values).await
            }

            $($tests)*
        }
    };
}

channels! {
    /// A service that stops must not lose the requests it has accepted.
    #[test]
    fn a_receiver_drains_what_was_sent_before_the_close_and_then_sees_none() {
        let (tx, mut rx) = open();
        put(&tx, M(1)).unwrap();
        put(&tx, M(2)).unwrap();
        rx.close();
        assert_eq!(put(&tx, M(3)), Err(M(3)));
        assert_eq!(poll(rx.recv()), Poll::Ready(Some(M(1))));
        assert_eq!(rx.try_recv(), Ok(M(2)));
        assert_eq!(poll(rx.recv()), Poll::Ready(None));
        assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
        assert_eq!(poll(rx.recv_many(&mut Vec::new(), 1)), Poll::Ready(0));
        assert_eq!(rx.blocking_recv(), None);
    }

    /// One of several senders going away is no end; the last one is.
    #[test]
    fn the_last_sender_that_is_dropped_closes_the_channel() {
        let (tx, mut rx) = open();
        let other = tx.clone();
        assert!(tx.same_channel(&other) && !tx.same_channel(&open().0));
        drop(tx);
        assert!(!rx.is_closed());
        put(&other, M(1)).unwrap();
        let (wakes, waker) = Wakes::new();
        assert_eq!(rx.try_recv(), Ok(M(1)));
        assert!(poll_once(&waker, rx.recv()).is_pending());
        drop(other);
        assert_eq!(wakes.count(), 1);
        assert!(rx.is_closed());
        assert_eq!(poll(rx.recv()), Poll::Ready(None));
    }

    /// Whoever sends to nobody wants to try elsewhere with the same value.
    #[test]
    fn every_way_to_send_gives_the_value_back_after_the_close() {
        let (tx, rx) = open();
        drop(rx);
        assert!(tx.is_closed());
        assert_eq!(put(&tx, M(1)), Err(M(1)));
        assert_eq!(poll(send(&tx, M(2))), Poll::Ready(Err(SendError(M(2)))));
        let mut values = [M(3), M(4)].into_iter();
        let sent = poll(send_all(&tx, &mut values));
        assert_eq!(sent, Poll::Ready(Err(SendError(M(3)))));
        assert_eq!(values.next(), Some(M(4)));
    }

    /// Producers that have nothing to send right now still want to know that they can stop.
    #[test]
    fn closed_wakes_everybody_who_waits_for_it() {
        for by_drop in [false, true] {
            let (tx, mut rx) = open::<M>();
            let other = tx.clone();
            let watchers = [tx.closed(), other.closed(), tx.closed()];
            let mut watchers = watchers.map(Box::pin);
            let wakes = std::array::from_fn::<_, 3, _>(|_| Wakes::new());
            for (watcher, (_, waker)) in watchers.iter_mut().zip(&wakes) {
                let mut cx = Context::from_waker(waker);
                assert!(watcher.as_mut().poll(&mut cx).is_pending());
                assert!(watcher.as_mut().poll(&mut cx).is_pending());
            }
            let [first, gives_up, last] = watchers;
            drop(gives_up);
            let rx = if by_drop {
                drop(rx);
                None
            } else {
                rx.close();
                Some(rx)
            };
            assert_eq!(wakes.each_ref().map(|(wakes, _)| wakes.count()), [1, 0, 1]);
            assert!(poll(first).is_ready() && poll(last).is_ready());
            assert!(poll(tx.closed()).is_ready());
            drop(rx);
        }
    }

    /// A thread that panics drops its sender as it unwinds; the receiver must not wait for it.
    #[test]
    fn a_receiver_sees_the_end_of_a_sender_that_panics() {
        let (tx, mut rx) = open();
        let sender = thread::spawn(move || {
            put(&tx, M(1)).unwrap();
            panic!("on purpose");
        });
        assert_eq!(rx.blocking_recv(), Some(M(1)));
        assert_eq!(rx.blocking_recv(), None);
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
        impl Weight for Panics {
            fn weight(&self) -> usize {
                1
            }
        }
        let drops = Drops::new(6);
        let (tx, mut rx) = open();
        for number in 0..6 {
            assert!(put(&tx, Panics(drops.clone(), number)).is_ok());
        }
        // Some lie in the queue, some with the receiver.
        drop(rx.try_recv().unwrap());
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(rx)));
        assert!(dropped.is_err());
        drops.assert_all_once();
        assert!(tx.is_closed());
        assert_eq!(tx.len(), 0);
    }

    /// A waker belongs to the other side: its panic must cost this side neither message nor thread.
    #[test]
    fn a_waker_that_panics_costs_the_other_side_nothing() {
        let panicking = Waker::from(Arc::new(Panicking));
        let (tx, mut rx) = open();
        assert!(poll_once(&panicking, rx.recv()).is_pending());
        assert_eq!(put(&tx, M(1)), Ok(()));
        assert_eq!(rx.try_recv(), Ok(M(1)));

        assert!(poll_once(&panicking, rx.recv()).is_pending());
        assert_eq!(poll(send_all(&tx, [M(2), M(3)])), Poll::Ready(Ok(())));
        assert_eq!(rx.try_recv(), Ok(M(2)));

        let (wakes, waker) = Wakes::new();
        let (mut first, mut second) = (pin!(tx.closed()), pin!(tx.closed()));
        assert!(first.as_mut().poll(&mut Context::from_waker(&panicking)).is_pending());
        assert!(second.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        rx.close();
        assert_eq!(wakes.count(), 1);
    }

    /// An executor may poll right in the waker; a lock held meanwhile would be taken twice.
    #[test]
    fn a_waker_may_use_the_channel_at_once() {
        struct Reenters(Mutex<(Receiver<M>, Vec<M>)>);
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
        let (tx, rx) = open();
        let reenters = Arc::new(Reenters(Mutex::new((rx, Vec::new()))));
        reenters.clone().wake();
        for value in 0..3 {
            put(&tx, M(value)).unwrap();
        }
        assert_eq!(reenters.0.lock().unwrap().1, [M(0), M(1), M(2)]);
        // The receiver's waker is the receiver's owner.
        reenters.0.lock().unwrap().0.close();
        drop(tx);
    }

    /// A wake-up costs a hundred times as much as a message.
    #[test]
    fn a_batch_makes_one_wake_up_and_a_receiver_that_is_awake_none() {
        let (tx, mut rx) = open();
        let (wakes, waker) = Wakes::new();
        put(&tx, M(0)).unwrap();
        assert_eq!(poll_once(&waker, rx.recv()), Poll::Ready(Some(M(0))));
        put(&tx, M(1)).unwrap();
        assert_eq!(wakes.count(), 0, "nobody slept");
        assert_eq!(rx.try_recv(), Ok(M(1)));

        assert!(poll_once(&waker, rx.recv()).is_pending());
        for value in 0..8 {
            put(&tx, M(value)).unwrap();
        }
        assert_eq!(wakes.count(), 1);
    }

    /// It is the batch that is to wake the receiver, not its first message, or there is no batch.
    #[test]
    fn send_all_wakes_the_receiver_when_all_is_there() {
        let (tx, mut rx) = open();
        let (wakes, waker) = Wakes::new();
        assert!(poll_once(&waker, rx.recv()).is_pending());
        let values = (0..10).map(M).inspect(|_| assert_eq!(wakes.count(), 0));
        assert_eq!(poll(send_all(&tx, values)), Poll::Ready(Ok(())));
        assert_eq!(wakes.count(), 1);
        let mut received = Vec::new();
        assert_eq!(poll(rx.recv_many(&mut received, 100)), Poll::Ready(10));
        assert_eq!(received, (0..10).map(M).collect::<Vec<_>>());
    }

    /// The receiver must not sleep on messages that are there, whatever becomes of the iterator.
    #[test]
    fn an_iterator_that_panics_has_sent_what_it_gave_before() {
        let (tx, mut rx) = open();
        let (wakes, waker) = Wakes::new();
        assert!(poll_once(&waker, rx.recv()).is_pending());
        let values = (0..10).map(|value| {
            assert!(value < 3, "on purpose");
            M(value)
        });
        assert!(catch_unwind(AssertUnwindSafe(|| poll(send_all(&tx, values)))).is_err());
        wakes.wait_for_one();
        assert_eq!(rx.len(), 3);
        assert_eq!(poll(rx.recv()), Poll::Ready(Some(M(0))));
        assert_eq!(put(&tx, M(3)), Ok(()));
        assert_eq!(rx.by_ref().take(3).collect::<Vec<_>>().now(), [M(1), M(2), M(3)]);
    }

    /// A task that moves between executors, or a `select!` in another task, brings a new waker.
    #[test]
    fn the_task_that_polled_last_is_the_one_that_is_woken() {
        let (tx, mut rx) = open();
        let ((first, first_waker), (last, last_waker)) = (Wakes::new(), Wakes::new());
        assert!(poll_once(&first_waker, rx.recv()).is_pending());
        assert!(poll_once(&last_waker, rx.recv()).is_pending());
        put(&tx, M(1)).unwrap();
        assert_eq!((first.count(), last.count()), (0, 1));
    }

    /// A waker keeps its task's memory; the other end may live for long.
    #[test]
    fn an_end_that_is_gone_keeps_no_waker_and_wakes_nobody() {
        let (tx, mut rx) = open::<M>();
        let (wakes, waker) = Wakes::new();
        assert!(poll_once(&waker, rx.recv()).is_pending());
        drop(waker);
        assert_eq!(Arc::strong_count(&wakes), 2);
        drop(rx);
        assert_eq!((Arc::strong_count(&wakes), wakes.count()), (1, 0));
        drop(tx);

        let (tx, rx) = open::<M>();
        let (wakes, waker) = Wakes::new();
        assert!(poll_once(&waker, tx.closed()).is_pending());
        drop(waker);
        assert_eq!(Arc::strong_count(&wakes), 1);
        drop((tx, rx));
    }

    /// Values without a size must be counted and dropped all the same.
    #[test]
    fn values_without_a_size_pass() {
        thread_local!(static DROPPED: Cell<usize> = const { Cell::new(0) });
        struct Nothing;
        impl Drop for Nothing {
            fn drop(&mut self) {
                DROPPED.set(DROPPED.get() + 1);
            }
        }
        impl Weight for Nothing {
            fn weight(&self) -> usize {
                0
            }
        }
        let (tx, mut rx) = open();
        for _ in 0..3000 {
            assert!(put(&tx, Nothing).is_ok());
        }
        assert_eq!((tx.len(), rx.len(), DROPPED.get()), (3000, 3000, 0));
        assert!(rx.try_recv().is_ok());
        assert_eq!((tx.len(), DROPPED.get()), (2999, 1));
        drop(rx);
        assert_eq!(DROPPED.get(), 3000);
    }

    /// Adaptors of `futures` size their buffers by it.
    #[test]
    fn the_size_hint_of_the_stream_is_exact_once_closed() {
        let (tx, rx) = open();
        put(&tx, M(1)).unwrap();
        assert_eq!(rx.size_hint(), (1, None));
        drop(tx);
        assert_eq!(rx.size_hint(), (1, Some(1)));
        assert_eq!(block_on(rx.collect::<Vec<_>>()), [M(1)]);
    }

    /// Within one thread, Compio's own values, which are `!Send`, must pass.
    #[test]
    fn values_that_are_not_send_pass_within_a_thread() {
        let (tx, mut rx) = open();
        let value = Rc::new(M(1));
        block_on(async {
            send(&tx, value.clone()).await.unwrap();
            assert!(Rc::ptr_eq(&rx.recv().await.unwrap(), &value));
        });
    }

    /// A registry that holds senders must not keep what it lists open.
    #[test]
    fn a_weak_sender_keeps_nothing_open_and_comes_back_while_there_is_a_sender() {
        let (tx, mut rx) = open();
        let weak = tx.downgrade();
        let second = weak.clone().upgrade().expect("there is a sender");
        assert!(second.same_channel(&tx));
        drop(tx);
        put(&second, M(1)).unwrap();
        assert!(!rx.is_closed());
        drop(second);
        assert!(rx.is_closed() && weak.upgrade().is_none());
        assert_eq!(rx.try_recv(), Ok(M(1)));
        assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
        drop(rx);
        // The messages are gone with the receiver, whoever else is left.
        assert!(weak.upgrade().is_none());
    }

    /// A closed channel has nothing to keep a value for.
    #[test]
    fn what_nobody_has_received_is_dropped_with_the_receiver_and_not_later() {
        let drops = Drops::new(200);
        let (tx, mut rx) = open();
        for number in 0..100 {
            put(&tx, drops.value(number)).unwrap();
        }
        // The first hundred are with the receiver now, all but this one.
        assert_eq!(rx.try_recv().unwrap().number, 0);
        for number in 100..200 {
            put(&tx, drops.value(number)).unwrap();
        }
        drop(rx);
        drops.assert_all_once();
        drop(tx);
    }

    /// `select!` drops the arms that lose, at any time.
    #[test]
    fn a_recv_cancelled_at_any_poll_has_taken_nothing_unless_it_was_ready() {
        for many in [false, true] {
            for sent_at in 1..POLLS {
                for polls in 0..POLLS {
                    let drops = Drops::new(2);
                    let (tx, mut rx) = open();
                    let mut values = Some([drops.value(0), drops.value(1)]);
                    let mut received = Vec::new();
                    {
                        let mut waits: Pin<Box<dyn Future<Output = Option<_>>>> = if many {
                            Box::pin(async {
                                rx.recv_many(&mut received, 5).await;
                                None
                            })
                        } else {
                            Box::pin(rx.recv())
                        };
                        let mut last = None;
                        for poll in 0..polls {
                            if poll == sent_at {
                                for value in values.take().unwrap() {
                                    put(&tx, value).unwrap();
                                }
                            }
                            if let Poll::Ready(value) = waits.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                                assert!(polls > sent_at);
                                last = value;
                                break;
                            }
                        }
                        drop(waits);
                        received.extend(last);
                    }
                    let expected = match (polls > sent_at, many) {
                        (false, _) => 0,
                        (true, false) => 1,
                        (true, true) => 2,
                    };
                    assert_eq!(received.len(), expected);
                    for value in values.into_iter().flatten() {
                        put(&tx, value).unwrap();
                    }
                    while let Ok(value) = rx.try_recv() {
                        received.push(value);
                    }
                    let numbers: Vec<_> = received.iter().map(|value| value.number).collect();
                    assert_eq!(numbers, [0, 1]);
                    drop(received);
                    drops.assert_all_once();
                }
            }
        }
    }

    /// Callers use the count and the vector's length as one.
    #[test]
    fn recv_many_appends_what_is_there_up_to_its_maximum() {
        let (tx, mut rx) = open();
        let mut received = vec![M(100)];
        assert_eq!(poll(rx.recv_many(&mut received, 0)), Poll::Ready(0));
        assert!(poll(rx.recv_many(&mut received, 5)).is_pending());
        for value in 0..7 {
            put(&tx, M(value)).unwrap();
        }
        assert_eq!(poll(rx.recv_many(&mut received, 5)), Poll::Ready(5));
        assert_eq!(poll(rx.recv_many(&mut received, 5)), Poll::Ready(2));
        assert_eq!(received[1..], std::array::from_fn::<_, 7, _>(M));
    }

    /// The pause must come with its own wake-up, be just one poll long, and lose nothing.
    #[test]
    fn after_128_messages_one_poll_makes_way_and_is_woken() {
        // A task is known by its waker's address, so that each is kept.
        let tasks = [Wakes::new(), Wakes::new()];
        for (many, (wakes, waker)) in [false, true].into_iter().zip(tasks) {
            let (tx, mut rx) = open();
            for message in 0..2 * BUDGET {
                put(&tx, M(message)).unwrap();
            }
            let mut received = Vec::new();
            if many {
                assert_eq!(poll_once(&waker, rx.recv_many(&mut received, usize::MAX)), Poll::Ready(BUDGET));
            } else {
                for message in 0..BUDGET {
                    assert_eq!(poll_once(&waker, rx.recv()), Poll::Ready(Some(M(message))));
                }
            }
            assert_eq!(wakes.count(), 0);
            assert_eq!(poll_once(&waker, rx.recv()), Poll::Pending);
            assert_eq!(wakes.count(), 1);
            assert_eq!(poll_once(&waker, rx.recv()), Poll::Ready(Some(M(BUDGET))));
            // What does not wait for anything has no budget.
            assert!((BUDGET + 1..2 * BUDGET).all(|message| rx.try_recv() == Ok(M(message))));
        }
    }

    /// Every kind of sleeper, woken by every other kind: what loom cannot see, such as an eventfd.
    #[test]
    fn all_messages_of_several_senders_arrive_in_order_on_every_runtime() {
        const EACH: usize = 400;
        for wait in WAITS {
            for receiver in ENDS {
                let (tx, mut rx) = open_with(wait);
                let senders: Vec<_> = ENDS.into_iter().enumerate().map(|(which, end)| {
                    let tx = tx.clone();
                    end.run(async move {
                        for message in 0..EACH {
                            if message % 5 == 4 {
                                send_all(&tx, [M(message * 10 + which)]).await.unwrap();
                            } else {
                                send(&tx, M(message * 10 + which)).await.unwrap();
                            }
                        }
                    })
                }).collect();
                drop(tx);
                let received = receiver.run(async move {
                    let mut next = [0; ENDS.len()];
                    let mut batch = Vec::new();
                    loop {
                        match rx.recv().await {
                            Some(message) => batch.push(message),
                            None => break,
                        }
                        rx.recv_many(&mut batch, 3).await;
                        for M(message) in batch.drain(..) {
                            assert_eq!(message / 10, next[message % 10]);
                            next[message % 10] += 1;
                        }
                    }
                    next
                });
                for sender in senders {
                    sender.join().unwrap();
                }
                assert_eq!(received.join().unwrap(), [EACH; ENDS.len()], "{receiver:?}, {wait:?}");
            }
        }
    }

    /// A long stream in both directions: a wake-up that is lost once in a thousand times shows here.
    #[test]
    fn a_hundred_thousand_messages_pass_between_both_runtimes() {
        const MESSAGES: usize = 100_000;
        for (from, to) in [(ENDS[0], ENDS[2]), (ENDS[2], ENDS[0])] {
            let (tx, mut rx) = open_with(Wait::Adaptive);
            let sender = from.run(async move {
                for message in 0..MESSAGES {
                    send(&tx, M(message)).await.unwrap();
                }
            });
            let receiver = to.run(async move {
                for message in 0..MESSAGES {
                    assert_eq!(rx.recv().await, Some(M(message)));
                }
                rx.recv().await
            });
            sender.join().unwrap();
            assert_eq!(receiver.join().unwrap(), None);
        }
    }

    /// Threads without a runtime are welcome at either end.
    #[test]
    fn plain_threads_send_and_receive() {
        let (tx, mut rx) = open_with(Wait::Park);
        let threads: Vec<_> = (0..2).map(|_| {
            let tx = tx.clone();
            thread::spawn(move || {
                for message in 0..500 {
                    block_on(send(&tx, M(message))).unwrap();
                }
            })
        }).collect();
        drop(tx);
        let received = std::iter::from_fn(|| rx.blocking_recv()).count();
        assert_eq!(received, 1000);
        for thread in threads {
            thread.join().unwrap();
        }
    }

    /// A receiver that stops in the middle: what was said to be sent was received, to the last message.
    #[test]
    fn a_close_from_afar_loses_nothing_that_was_said_to_be_sent() {
        for receiver in ENDS {
            let (tx, mut rx) = open_with(Wait::Adaptive);
            let senders: Vec<_> = [ENDS[0], ENDS[2]].into_iter().map(|end| {
                let tx = tx.clone();
                end.run(async move {
                    let mut sent = 0;
                    while send(&tx, M(sent)).await.is_ok() {
                        sent += 1;
                        if sent.is_multiple_of(100) {
                            // An endless loop without a wait is no good neighbour.
                            thread::yield_now();
                        }
                    }
                    tx.closed().await;
                    sent
                })
            }).collect();
            drop(tx);
            let received = receiver.run(async move {
                for _ in 0..50 {
                    assert!(rx.recv().await.is_some());
                }
                rx.close();
                50 + rx.count().await
            });
            let sent: usize = senders.into_iter().map(|sender| sender.join().unwrap()).sum();
            assert_eq!(sent, received.join().unwrap(), "{receiver:?}");
        }
    }
}

struct Panicking;

impl Wake for Panicking {
    fn wake(self: Arc<Self>) {
        panic!("on purpose");
    }
}

trait Now: Future + Sized {
    /// The output of a future that is ready.
    fn now(self) -> Self::Output {
        match poll(self) {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("it is not ready"),
        }
    }
}

impl<F: Future> Now for F {}
