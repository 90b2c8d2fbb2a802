//! The ring beside a plain queue: whatever is done to both, they agree.

#![cfg(not(landbridge_loom))]

mod channel_support;

use std::{collections::VecDeque, task::Poll};

use channel_support::{Drops, poll};
use landbridge::channel::{self, SendError, TryRecvError, TrySendError, Wait};
use proptest::{collection::vec, prelude::*};

#[derive(Clone, Copy, Debug)]
enum Operation {
    TrySend,
    Send,
    Reserve,
    ReserveAndDrop,
    TryReserve,
    /// As many values, of which each stands for a number of its own.
    SendAll(usize),
    TryRecv,
    Recv,
    RecvMany(usize),
    Close,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => Just(Operation::TrySend),
        4 => Just(Operation::Send),
        3 => Just(Operation::Reserve),
        2 => Just(Operation::ReserveAndDrop),
        2 => Just(Operation::TryReserve),
        3 => (0_usize..12).prop_map(Operation::SendAll),
        6 => Just(Operation::TryRecv),
        4 => Just(Operation::Recv),
        3 => (0_usize..12).prop_map(Operation::RecvMany),
        1 => Just(Operation::Close),
    ]
}

proptest! {
    // A counterexample belongs into a test, not into a file of seeds.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A ring with an off-by-one at the wrap or at the bound is the classic silent corruption.
    #[test]
    fn every_sequence_of_operations_agrees_with_a_queue(
        capacity in 0_usize..9,
        operations in vec(operation(), 0..200),
    ) {
        let (mut tx, mut rx) = channel::builder().capacity(capacity).wait(Wait::Park).spsc();
        let capacity = capacity.max(1);
        let mut queue = VecDeque::new();
        let (mut closed, mut high_water) = (false, 0);
        for (value, operation) in operations.into_iter().enumerate() {
            let full = queue.len() == capacity;
            let mut sent = false;
            match operation {
                Operation::TrySend => {
                    let result = tx.try_send(value);
                    sent = result.is_ok();
                    prop_assert_eq!(result, match (closed, full) {
                        (true, _) => Err(TrySendError::Closed(value)),
                        (false, true) => Err(TrySendError::Full(value)),
                        (false, false) => Ok(()),
                    });
                }
                Operation::Send => {
                    let result = poll(tx.send(value));
                    sent = result == Poll::Ready(Ok(()));
                    prop_assert_eq!(result, match (closed, full) {
                        (true, _) => Poll::Ready(Err(SendError(value))),
                        (false, true) => Poll::Pending,
                        (false, false) => Poll::Ready(Ok(())),
                    });
                }
                Operation::Reserve | Operation::ReserveAndDrop => match poll(tx.reserve()) {
                    Poll::Pending => prop_assert!(full && !closed),
                    Poll::Ready(Err(SendError(()))) => prop_assert!(closed),
                    Poll::Ready(Ok(_)) => prop_assert!(!full && !closed),
                },
                Operation::TryReserve => match tx.try_reserve() {
                    Ok(permit) => {
                        prop_assert!(!full && !closed);
                        permit.send(value).unwrap();
                        sent = true;
                    }
                    Err(TrySendError::Closed(())) => prop_assert!(closed),
                    Err(TrySendError::Full(())) => prop_assert!(full && !closed),
                },
                Operation::SendAll(count) => {
                    // Told apart from those of other operations.
                    let all = (1..=count).map(|n| value * 100 + n).collect::<Vec<_>>();
                    let mut left = all.iter().copied();
                    let result = poll(tx.send_all(&mut left));
                    let fit = if closed { 0 } else { count.min(capacity - queue.len()) };
                    queue.extend(&all[..fit]);
                    prop_assert_eq!(result, match (fit == count, closed) {
                        (true, _) => Poll::Ready(Ok(())),
                        (false, true) => Poll::Ready(Err(SendError(all[0]))),
                        (false, false) => Poll::Pending,
                    });
                    let refused = usize::from(fit < count && closed);
                    prop_assert_eq!(left.collect::<Vec<_>>(), &all[fit + refused..]);
                }
                Operation::RecvMany(max) => {
                    let mut received = vec![usize::MAX];
                    let result = poll(rx.recv_many(&mut received, max));
                    let count = max.min(queue.len());
                    prop_assert_eq!(result, if count == 0 && max > 0 && !closed {
                        Poll::Pending
                    } else {
                        Poll::Ready(count)
                    });
                    let expected = queue.drain(..count);
                    prop_assert_eq!(&received[1..], expected.collect::<Vec<_>>());
                }
                Operation::TryRecv => {
                    let expected = queue.pop_front().ok_or(if closed {
                        TryRecvError::Closed
                    } else {
                        TryRecvError::Empty
                    });
                    prop_assert_eq!(rx.try_recv(), expected);
                }
                Operation::Recv => {
                    let expected = match queue.pop_front() {
                        None if !closed => Poll::Pending,
                        value => Poll::Ready(value),
                    };
                    prop_assert_eq!(poll(rx.recv()), expected);
                }
                Operation::Close => {
                    rx.close();
                    closed = true;
                }
            }
            if matches!(operation, Operation::Reserve) && !full && !closed {
                // As one step, since a permit borrows the sender.
                let result = poll(async { tx.reserve().await.unwrap().send(value) });
                prop_assert_eq!(result, Poll::Ready(Ok(())));
                sent = true;
            }
            if sent {
                queue.push_back(value);
            }
            high_water = high_water.max(queue.len());
            prop_assert_eq!((tx.len(), rx.len()), (queue.len(), queue.len()));
            prop_assert_eq!((tx.is_empty(), rx.is_empty()), (queue.is_empty(), queue.is_empty()));
            prop_assert_eq!((tx.is_closed(), rx.is_closed()), (closed, closed));
            prop_assert_eq!((tx.high_water(), rx.high_water()), (high_water, high_water));
            prop_assert_eq!((tx.capacity(), rx.capacity()), (capacity, capacity));
        }
    }

    /// A leak or a double drop of messages, wherever in the ring they lie when the ends go.
    #[test]
    fn every_value_is_dropped_exactly_once_whichever_end_goes_first(
        capacity in 1_usize..6,
        lap in 0_usize..20,
        left in 0_usize..6,
        sender_first: bool,
    ) {
        let left = left.min(capacity);
        let drops = Drops::new(lap + left);
        let (mut tx, mut rx) = channel::spsc(capacity);
        for number in 0..lap {
            tx.try_send(drops.value(number)).unwrap();
            prop_assert_eq!(rx.try_recv().unwrap().number, number);
        }
        for number in lap..lap + left {
            tx.try_send(drops.value(number)).unwrap();
            prop_assert_eq!(drops.of(number), 0);
        }
        if sender_first {
            drop(tx);
            drop(rx);
        } else {
            drop(rx);
            // At once, not when the sender goes too.
            drops.assert_all_once();
            drop(tx);
        }
        drops.assert_all_once();
    }
}
