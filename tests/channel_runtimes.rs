//! The real runtimes at either end, in every pairing: what loom cannot see, such as an eventfd.

#![cfg(not(landbridge_loom))]

mod channel_support;

use std::{sync::mpsc, thread};

use channel_support::ends::{ENDS, End, WAITS, every_pair};
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

/// Batches of all sizes, so that each end sleeps at times and each batch races with one of the other's.
#[test]
fn batches_arrive_whole_and_in_order_between_any_two_runtimes() {
    const MESSAGES: usize = 3000;
    for wait in WAITS {
        every_pair(|sender, receiver| {
            let (mut tx, mut rx) = channel::builder().capacity(5).wait(wait).spsc();
            let sent = sender.run(async move {
                let mut messages = (0..MESSAGES).map(Box::new);
                for size in (0..12).cycle() {
                    if messages.len() == 0 {
                        break;
                    }
                    tx.send_all(messages.by_ref().take(size)).await.unwrap();
                }
            });
            let received = receiver.run(async move {
                let mut received = Vec::new();
                for max in (1..8).cycle() {
                    if rx.recv_many(&mut received, max).await == 0 {
                        break;
                    }
                }
                received
            });
            sent.join().unwrap();
            let received = received.join().unwrap();
            assert!(received.into_iter().map(|it| *it).eq(0..MESSAGES));
        });
    }
}

/// A close at any moment of a batch: what was sent is received, and what is not is with the sender.
#[test]
fn a_close_among_batches_loses_nothing_between_any_two_runtimes() {
    for closed_after in [0, 1, 7, 30] {
        every_pair(|sender, receiver| {
            let (mut tx, mut rx) = channel::spsc(4);
            let sent = sender.run(async move {
                let mut messages = 0..;
                let channel::SendError(refused) = tx.send_all(&mut messages).await.unwrap_err();
                assert_eq!(messages.start, refused + 1);
                refused
            });
            let received = receiver.run(async move {
                let mut received = Vec::new();
                while received.len() < closed_after {
                    rx.recv_many(&mut received, 3).await;
                }
                rx.close();
                while rx.recv_many(&mut received, 3).await > 0 {}
                received
            });
            let received = received.join().unwrap();
            assert!(received.into_iter().eq(0..sent.join().unwrap()));
        });
    }
}

/// A thread that has no runtime talks to one that has, in both directions.
#[test]
fn a_plain_thread_sends_and_receives_blocking_to_and_from_any_runtime() {
    const MESSAGES: u32 = 500;
    for wait in WAITS {
        for end in ENDS {
            let channel = || channel::builder().capacity(2).wait(wait).spsc();
            let ((mut tx, mut rx), (mut back, mut came_back)) = (channel(), channel());
            let echo = end.run(async move {
                while let Some(message) = rx.recv().await {
                    back.send(message).await.unwrap();
                }
            });
            let sender = thread::spawn(move || {
                for message in 0..MESSAGES {
                    tx.blocking_send(message).unwrap();
                }
            });
            for message in 0..MESSAGES {
                assert_eq!(came_back.blocking_recv(), Some(message));
            }
            assert_eq!(came_back.blocking_recv(), None);
            sender.join().unwrap();
            echo.join().unwrap();
        }
    }
}

/// A thread that is blocked has nobody else to tell it that the other side is gone.
#[test]
fn a_blocked_thread_sees_the_end_of_the_other_side_on_any_runtime() {
    for end in ENDS {
        let (mut tx, mut rx) = channel::spsc::<u32>(1);
        let blocked = thread::spawn(move || (tx.blocking_send(1), tx.blocking_send(2)));
        end.run(async move {
            while rx.is_empty() {
                second_poll().await;
            }
            rx.close();
        })
        .join()
        .unwrap();
        assert_eq!(
            blocked.join().unwrap(),
            (Ok(()), Err(channel::SendError(2)))
        );

        let (tx, mut rx) = channel::spsc::<u32>(1);
        let blocked = thread::spawn(move || rx.blocking_recv());
        end.run(async move { drop(tx) }).join().unwrap();
        assert_eq!(blocked.join().unwrap(), None);
    }
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
