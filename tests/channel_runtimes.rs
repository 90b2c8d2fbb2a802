//! The real runtimes at either end, in every pairing: what loom cannot see, such as an eventfd.

#![cfg(not(landbridge_loom))]

mod channel_support;

use std::sync::mpsc;

use channel_support::ends::{End, WAITS, every_pair};
use futures::{FutureExt, StreamExt};
use landbridge::channel::{self, Wait};

/// Sends through a ring that is always full or empty, so that both ends sleep all the time.
fn all_arrive_in_order(wait: Wait) {
    const MESSAGES: usize = 1500;
    every_pair(|sender, receiver| {
        for capacity in [1, 7] {
            let (mut tx, mut rx) = channel::builder().capacity(capacity).wait(wait).spsc();
            let sent = sender.run(async move {
                for message in 0..MESSAGES {
                    tx.send(Box::new(message)).await.unwrap();
                }
            });
            let received = receiver.run(async move {
                let mut next = 0;
                while let Some(message) = rx.recv().await {
                    assert_eq!(*message, next);
                    next += 1;
                }
                next
            });
            sent.join().unwrap();
            assert_eq!(
                received.join().unwrap(),
                MESSAGES,
                "{sender:?} -> {receiver:?}"
            );
        }
    });
}

/// Each end sleeps at once: every message may be a wake-up, of each kind of sleeper by each other.
#[test]
fn all_messages_arrive_in_order_between_any_two_runtimes_with_park() {
    all_arrive_in_order(Wait::Park);
}

/// The default, whose looks race with what the other end does.
#[test]
fn all_messages_arrive_in_order_between_any_two_runtimes_with_adaptive() {
    all_arrive_in_order(Wait::Adaptive);
}

/// The longest looks.
#[test]
fn all_messages_arrive_in_order_between_any_two_runtimes_with_spin() {
    all_arrive_in_order(WAITS[2]);
}

/// A request and its answer: each end sleeps until the other has woken it, so a lost wake-up hangs.
#[test]
fn a_request_is_answered_between_any_two_runtimes() {
    for wait in WAITS {
        every_pair(|client, server| {
            let (mut ask, mut asked) = channel::builder().capacity(1).wait(wait).spsc::<u32>();
            let (mut answer, mut answers) = channel::builder().capacity(1).wait(wait).spsc();
            let client = client.run(async move {
                for question in 0..200 {
                    ask.send(question).await.unwrap();
                    assert_eq!(answers.next().await, Some(question + 1));
                }
            });
            let server = server.run(async move {
                while let Some(question) = asked.next().await {
                    answer.send(question + 1).await.unwrap();
                }
            });
            client.join().unwrap();
            server.join().unwrap();
        });
    }
}

/// A close from afar is the last wake-up of a channel; who misses it waits for ever.
#[test]
fn a_close_is_seen_between_any_two_runtimes() {
    for wait in WAITS {
        every_pair(|sender, receiver| {
            let (mut tx, mut rx) = channel::builder().capacity(2).wait(wait).spsc();
            let sent = sender.run(async move {
                let mut sent = 0;
                while tx.send(sent).await.is_ok() {
                    sent += 1;
                }
                tx.closed().await;
                sent
            });
            let received = receiver.run(async move {
                for expected in 0..50 {
                    assert_eq!(rx.recv().await, Some(expected));
                }
                rx.close();
                50 + rx.count().await
            });
            assert_eq!(sent.join().unwrap(), received.join().unwrap());
        });
    }
}

/// `select!` over a channel drops a pending `recv` or `reserve` each time the other arm wins.
#[test]
fn waits_that_lose_a_select_lose_no_message_between_any_two_runtimes() {
    const MESSAGES: usize = 300;
    every_pair(|sender, receiver| {
        let (mut tx, mut rx) = channel::spsc(2);
        let (mut ticks, mut ticked) = channel::spsc(1);
        let sent = sender.run(async move {
            let mut message = 0;
            while message < MESSAGES {
                let room = tokio::select! {
                    biased;
                    permit = tx.reserve() => {
                        permit.unwrap().send(message).unwrap();
                        true
                    }
                    // Ready at the second poll: a wait is begun, and dropped.
                    () = second_poll() => false,
                };
                message += usize::from(room);
                if message.is_multiple_of(3) {
                    let _ = ticks.try_send(());
                }
            }
        });
        let received = receiver.run(async move {
            let mut received = Vec::new();
            loop {
                tokio::select! {
                    biased;
                    tick = ticked.next() => {
                        if tick.is_none() {
                            break;
                        }
                    }
                    message = rx.next() => received.extend(message),
                }
            }
            while let Some(message) = rx.recv().await {
                received.push(message);
            }
            received
        });
        sent.join().unwrap();
        assert_eq!(received.join().unwrap(), (0..MESSAGES).collect::<Vec<_>>());
    });
}

async fn second_poll() {
    let mut polled = false;
    futures::future::poll_fn(|cx| {
        if std::mem::replace(&mut polled, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

/// Ends are moved: opened by one thread, used by others, one after the other.
#[test]
fn a_handle_that_moves_to_another_runtime_is_woken_there() {
    for (first, then) in [
        (End::TokioMultiThread, End::CompioIoUring),
        (End::CompioPolling, End::TokioCurrentThread),
    ] {
        let (mut tx, mut rx) = channel::spsc(1);
        let (polled, was_polled) = mpsc::channel();
        // Leaves a waker of the first runtime behind.
        let mut rx = first
            .run(async move {
                assert!(rx.recv().now_or_never().is_none());
                polled.send(()).unwrap();
                rx
            })
            .join()
            .unwrap();
        was_polled.recv().unwrap();
        let received = then.run(async move { rx.recv().await });
        tx.try_send(7).unwrap();
        assert_eq!(received.join().unwrap(), Some(7));
    }
}
