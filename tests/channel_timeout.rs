//! Sends and receives with a bound on their time, by the timer of whichever runtime polls.

#![cfg(not(landbridge_loom))]

mod channel_support;
mod support;

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use channel_support::{Drops, poll};
use landbridge::{
    channel::{self, RecvTimeoutError, SendTimeoutError, Wait, Weight},
    test_util::both,
};
use support::watchdog;

const HOUR: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(5);

const POLLS: usize = 4;

#[derive(Debug, PartialEq, Eq)]
struct Unit(usize);

impl Weight for Unit {
    fn weight(&self) -> usize {
        1
    }
}

/// The tests for every channel with a bound: on the number of messages, or on what they weigh.
macro_rules! channels {
    ($($name:ident: $channel:expr,)*) => {$(
        #[allow(unused_mut, reason = "some senders are used by reference")]
        mod $name {
            use super::*;

            macro_rules! bounded {
                ($capacity:expr) => { ($channel)($capacity) };
            }

            /// What it is for.
            #[test]
            fn a_full_or_empty_channel_times_out_with_the_value_and_no_earlier() {
                let _watchdog = watchdog();
                both(async || {
                    let start = Instant::now();
                    let (mut tx, mut rx) = bounded!(1);
                    assert_eq!(rx.recv_timeout(SOON).await, Err(RecvTimeoutError::Timeout));
                    assert!(start.elapsed() >= SOON);
                    assert_eq!(tx.send_timeout(Unit(1), SOON).await, Ok(()));
                    let refused = tx.send_timeout(Unit(2), SOON).await;
                    assert_eq!(refused, Err(SendTimeoutError::Timeout(Unit(2))));
                    assert!(start.elapsed() >= 2 * SOON);
                    assert_eq!(rx.recv_timeout(SOON).await, Ok(Unit(1)));
                });
            }

            /// A time-out is no close, and a close is no time-out: who retries must know.
            #[test]
            fn a_close_is_told_apart_from_a_timeout() {
                let _watchdog = watchdog();
                both(async || {
                    let (mut tx, mut rx) = bounded!(2);
                    tx.send_timeout(Unit(1), HOUR).await.unwrap();
                    rx.close();
                    assert_eq!(
                        tx.send_timeout(Unit(2), HOUR).await,
                        Err(SendTimeoutError::Closed(Unit(2)))
                    );
                    assert_eq!(rx.recv_timeout(HOUR).await, Ok(Unit(1)));
                    assert_eq!(rx.recv_timeout(HOUR).await, Err(RecvTimeoutError::Closed));

                    let (mut tx, mut rx) = bounded!(1);
                    tx.try_send(Unit(1)).unwrap();
                    let closer = thread::spawn(move || {
                        assert_eq!(rx.len(), 1);
                        rx.close();
                    });
                    assert_eq!(
                        tx.send_timeout(Unit(2), HOUR).await,
                        Err(SendTimeoutError::Closed(Unit(2)))
                    );
                    closer.join().unwrap();
                });
            }

            /// A wait that ends well must end when the other side has acted, not at its time.
            #[test]
            fn who_waits_with_a_timeout_is_woken_by_the_other_side() {
                let _watchdog = watchdog();
                both(async || {
                    let (mut tx, mut rx) = bounded!(1);
                    let (mut back, mut came_back) = bounded!(1);
                    let echo = thread::spawn(move || {
                        while let Some(message) = rx.blocking_recv() {
                            back.blocking_send(message).unwrap();
                        }
                    });
                    for message in 0..100 {
                        tx.send_timeout(Unit(message), HOUR).await.unwrap();
                        assert_eq!(came_back.recv_timeout(HOUR).await, Ok(Unit(message)));
                    }
                    drop(tx);
                    assert_eq!(
                        came_back.recv_timeout(HOUR).await,
                        Err(RecvTimeoutError::Closed)
                    );
                    echo.join().unwrap();
                });
            }

            /// "Now or never", each time: also when it is the neighbours' turn.
            #[test]
            fn no_time_at_all_is_enough_for_what_is_there() {
                let _watchdog = watchdog();
                both(async || {
                    let (mut tx, mut rx) = bounded!(1000);
                    for message in 0..1000 {
                        assert_eq!(tx.send_timeout(Unit(message), Duration::ZERO).await, Ok(()));
                    }
                    for message in 0..1000 {
                        assert_eq!(rx.recv_timeout(Duration::ZERO).await, Ok(Unit(message)));
                    }
                });
            }

            /// `select!` drops the arms that lose, at any time: a value must be sent once or dropped once.
            #[test]
            fn a_timed_wait_cancelled_at_any_poll_loses_nothing_but_its_own_value() {
                let _watchdog = watchdog();
                both(async || {
                    for polls in 0..POLLS {
                        let drops = Drops::new(2);
                        let (mut tx, mut rx) = bounded!(1);
                        tx.try_send(drops.value(0)).unwrap();
                        let cx = &mut Context::from_waker(Waker::noop());
                        {
                            let mut sending = pin!(tx.send_timeout(drops.value(1), HOUR));
                            for _ in 0..polls {
                                assert!(sending.as_mut().poll(cx).is_pending());
                            }
                        }
                        assert_eq!((drops.of(0), drops.of(1)), (0, 1));
                        assert_eq!(rx.try_recv().unwrap().number, 0);
                        {
                            let mut receiving = pin!(rx.recv_timeout(HOUR));
                            for _ in 0..polls {
                                assert!(receiving.as_mut().poll(cx).is_pending());
                            }
                        }
                        drops.assert_all_once();
                        let (mut tx, mut rx) = (tx, rx);
                        let drops = Drops::new(1);
                        tx.try_send(drops.value(0)).unwrap();
                        assert!(poll(rx.recv_timeout(HOUR)).is_ready());
                        drops.assert_all_once();
                    }
                });
            }
        }
    )*};
}

channels! {
    spsc: channel::spsc,
    mpsc: channel::mpsc,
    weighted: |bound| channel::builder().bytes(bound).mpsc(),
}

/// What is never full can still be empty.
#[test]
fn an_unbounded_channel_times_out_too() {
    let _watchdog = watchdog();
    both(async || {
        let start = Instant::now();
        let (tx, mut rx) = channel::unbounded();
        assert_eq!(rx.recv_timeout(SOON).await, Err(RecvTimeoutError::Timeout));
        assert!(start.elapsed() >= SOON);
        for message in 0..1000 {
            tx.send(message).unwrap();
        }
        for message in 0..1000 {
            assert_eq!(rx.recv_timeout(Duration::ZERO).await, Ok(message));
        }
        let sender = thread::spawn(move || tx.send(1000).unwrap());
        assert_eq!(rx.recv_timeout(HOUR).await, Ok(1000));
        sender.join().unwrap();
        assert_eq!(rx.recv_timeout(HOUR).await, Err(RecvTimeoutError::Closed));
    });
}

/// The looks of `Spin` would otherwise hold the timer up, here for ever.
#[test]
fn a_wait_that_spins_ends_in_time() {
    let _watchdog = watchdog();
    let builder = || channel::builder().wait(Wait::Spin(Duration::MAX));
    both(async || {
        macro_rules! times_out {
            ($channel:expr) => {{
                #[allow(unused_mut, reason = "some senders are used by reference")]
                let (mut tx, mut rx) = $channel;
                let start = Instant::now();
                assert_eq!(rx.recv_timeout(SOON).await, Err(RecvTimeoutError::Timeout));
                tx.try_send(Unit(1)).unwrap();
                let refused = tx.send_timeout(Unit(2), SOON).await;
                assert_eq!(refused, Err(SendTimeoutError::Timeout(Unit(2))));
                assert!(start.elapsed() >= 2 * SOON);
                assert_eq!(rx.recv_timeout(SOON).await, Ok(Unit(1)));
                (tx, rx)
            }};
        }
        let (tx, mut rx) = times_out!(builder().capacity(1).spsc());
        // A time that was given up is not the next wait's.
        let sender = thread::spawn(move || {
            let mut tx = tx;
            thread::sleep(SOON);
            tx.try_send(Unit(3))
        });
        assert_eq!(poll(&mut pin!(rx.recv())), Poll::Ready(Some(Unit(3))));
        sender.join().unwrap().unwrap();
        times_out!(builder().capacity(1).mpsc());
        times_out!(builder().bytes(1).mpsc());
        let (_tx, mut rx) = builder().unbounded::<()>();
        assert_eq!(rx.recv_timeout(SOON).await, Err(RecvTimeoutError::Timeout));
        let mut members = builder().mesh::<()>(2);
        let (_, rx) = members[0].halves();
        assert_eq!(rx.recv_timeout(SOON).await, Err(RecvTimeoutError::Timeout));
    });
}

/// A time-out that would need a runtime says so; what is there needs none.
#[test]
fn a_plain_thread_is_told_that_it_has_no_timer() {
    let _watchdog = watchdog();
    let (mut tx, mut rx) = channel::spsc(1);
    futures::executor::block_on(async {
        assert_eq!(tx.send_timeout(1, SOON).await, Ok(()));
        assert_eq!(rx.recv_timeout(SOON).await, Ok(1));
    });
    let waits = thread::spawn(move || futures::executor::block_on(rx.recv_timeout(SOON)));
    assert!(waits.join().is_err());
}
