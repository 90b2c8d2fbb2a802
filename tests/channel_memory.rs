//! What the channels with many senders and the pipe allocate: little when idle, nothing per message, and a
//! burst's memory comes back.

#![cfg(not(landbridge_loom))]

mod channel_support;
#[path = "support/counting.rs"]
mod counting;

use std::{pin::pin, task::Poll};

use channel_support::poll;
use landbridge::channel;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

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
    let (bytes, _ends) = live(|| channel::pipe(1 << 20));
    assert!(bytes <= 4608, "{bytes} bytes");
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

/// The buffers that come back are all that a steady stream of bytes needs, whichever calls it is made of.
#[test]
fn a_pipe_in_steady_use_allocates_nothing() {
    const SIZE: usize = 4096;
    let (mut writer, mut reader) = channel::pipe(8 * SIZE);
    let mut target = [0; SIZE];
    let mut round = || {
        for _ in 0..4 {
            let mut buffer = writer.empty();
            buffer.resize(SIZE, 1);
            assert!(poll(writer.send(&mut buffer)).is_ready());
            assert!(poll(writer.write(&[2; SIZE])).is_ready());
        }
        assert!(poll(writer.write(&[3; SIZE])).is_pending());
        for _ in 0..2 {
            let Poll::Ready(Some(buffer)) = poll(reader.recv()) else {
                panic!("there is a buffer");
            };
            reader.give_back(buffer);
            for _ in 0..3 {
                assert!(poll(reader.read(&mut target)).is_ready());
            }
        }
        for _ in 0..20 {
            assert!(poll(writer.write(&[4; 5])).is_ready());
        }
        assert!(poll(reader.read_exact(&mut target[..100])).is_ready());
        assert!(poll(reader.recv()).is_pending());
    };
    round();
    assert_eq!(calls(|| (0..100).for_each(|_| round())), 0);
}

/// The writer may live on for long, and what nobody will read is not to wait for its end.
#[test]
fn a_reader_that_goes_frees_what_was_not_read() {
    let (mut writer, reader) = channel::pipe(1 << 20);
    assert!(poll(writer.write(&[1; 100])).is_ready());
    writer.try_send(&mut vec![2; 1000]).unwrap();
    assert!(poll(writer.write(&[3; 10_000])).is_ready());
    let (bytes, ()) = live(|| drop(reader));
    assert!(bytes <= -11_100, "{bytes} bytes");
}
