//! What the channels with many senders allocate: little when idle, nothing per message, and a burst's
//! memory comes back.

#![cfg(not(landbridge_loom))]

mod channel_support;
#[path = "support/counting.rs"]
mod counting;

use std::pin::pin;

use channel_support::poll;
use landbridge::channel;

/// What `f` leaves allocated, with what it returns.
fn live<T>(f: impl FnOnce() -> T) -> (isize, T) {
    let before = counting::live();
    let kept = f();
    (counting::live() - before, kept)
}

fn calls(f: impl FnOnce()) -> usize {
    let before = counting::calls();
    f();
    counting::calls() - before
}

/// A server has a channel for each connection, most of them idle.
#[test]
fn an_idle_channel_is_small() {
    let (bytes, _ends) = live(channel::unbounded::<u64>);
    assert!(bytes <= 768, "{bytes} bytes");
    let (bytes, _ends) = live(|| channel::builder().bytes(1 << 20).mpsc::<Vec<u8>>());
    assert!(bytes <= 1280, "{bytes} bytes");
}

/// One bad minute must not cost the memory of it for ever.
#[test]
fn the_memory_of_a_burst_comes_back() {
    const BURST: u64 = 1_000_000;
    let (tx, mut rx) = channel::unbounded();
    for _ in 0..3 {
        let (bytes, ()) = live(|| {
            for message in 0..BURST {
                tx.send(message).unwrap();
            }
        });
        assert!(bytes >= 7_000_000, "{bytes} bytes");
        let (bytes, ()) = live(|| {
            for message in 0..BURST / 2 {
                assert_eq!(rx.try_recv(), Ok(message));
            }
        });
        // While it is emptied, not only in the end.
        assert!(bytes <= -3_500_000, "{bytes} bytes");
        for message in BURST / 2..BURST {
            assert_eq!(rx.try_recv(), Ok(message));
        }
        // What two empty queues keep.
        assert!(rx.try_recv().is_err());
        let kept = counting::live();
        assert!(kept <= 48 << 10, "{kept} bytes");
    }
    let before = counting::live();
    drop((tx, rx));
    assert!(counting::live() < before);
}

/// An allocation under the lock is time that others wait.
#[test]
fn a_channel_in_steady_use_allocates_nothing() {
    let (tx, mut rx) = channel::unbounded();
    let round = |rx: &mut channel::unbounded::Receiver<u64>| {
        for message in 0..900 {
            tx.send(message).unwrap();
        }
        while rx.try_recv().is_ok() {}
        assert!(poll(rx.recv()).is_pending());
    };
    round(&mut rx);
    round(&mut rx);
    assert_eq!(calls(|| (0..10).for_each(|_| round(&mut rx))), 0);
}

/// Waiting for room is what a sender at a bound does all the time.
#[test]
fn senders_that_wait_allocate_nothing_in_steady_use() {
    let (tx, mut rx) = channel::builder().bytes(2).mpsc();
    let mut round = || {
        tx.try_send([0_u8; 2]).unwrap();
        {
            let mut first = pin!(tx.send([0; 2]));
            let mut second = pin!(tx.send([0; 2]));
            assert!(poll(first.as_mut()).is_pending());
            assert!(poll(second.as_mut()).is_pending());
            rx.try_recv().unwrap();
            assert!(poll(first.as_mut()).is_ready());
        }
        rx.try_recv().unwrap();
    };
    round();
    round();
    assert_eq!(calls(|| (0..100).for_each(|_| round())), 0);
}
