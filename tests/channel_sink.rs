//! A sender as a `Sink`: for code that is generic over where its items go.

#![cfg(not(landbridge_loom))]

mod channel_support;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, Waker},
    thread,
};

use channel_support::{Drops, Wakes, poll, poll_once};
use futures::{Sink, SinkExt, StreamExt, executor::block_on, stream};
use landbridge::channel::{self, SendError, TryRecvError, TrySendError};

fn poll_ready<T>(
    tx: &mut channel::spsc::Sender<T>,
    waker: &Waker,
) -> Poll<Result<(), SendError<()>>> {
    Pin::new(tx).poll_ready(&mut Context::from_waker(waker))
}

/// `forward` is what most use a sink for; it closes the sink at the end.
#[test]
fn a_stream_forwarded_into_a_sender_arrives_and_ends_the_channel() {
    let (tx, mut rx) = channel::spsc(2);
    let (keep, kept) = std::sync::mpsc::channel();
    let sender = thread::spawn(move || {
        let mut tx = tx;
        block_on(stream::iter(0..100).map(Ok).forward(&mut tx)).unwrap();
        // It is the close that ends the stream, not the drop.
        keep.send(tx).unwrap();
    });
    assert!(
        block_on(rx.by_ref().collect::<Vec<_>>())
            .into_iter()
            .eq(0..100)
    );
    let mut tx = kept.recv().unwrap();
    assert!(tx.is_closed());
    assert_eq!(tx.try_send(1), Err(TrySendError::Closed(1)));
    sender.join().unwrap();
}

/// Room that was promised stays: only the sender itself could take it.
#[test]
fn a_sink_that_is_ready_takes_one_item_without_waiting() {
    let (mut tx, mut rx) = channel::spsc(1);
    assert_eq!(poll_ready(&mut tx, Waker::noop()), Poll::Ready(Ok(())));
    assert_eq!(poll_ready(&mut tx, Waker::noop()), Poll::Ready(Ok(())));
    Pin::new(&mut tx).start_send(1).unwrap();
    let (wakes, waker) = Wakes::new();
    assert!(poll_ready(&mut tx, &waker).is_pending());
    assert_eq!(poll(SinkExt::flush(&mut tx)), Poll::Ready(Ok(())));
    assert_eq!(rx.try_recv(), Ok(1));
    assert_eq!(wakes.count(), 1);
    assert_eq!(poll_ready(&mut tx, Waker::noop()), Poll::Ready(Ok(())));
}

/// What is refused is dropped, once: a sink's error has no room for it.
#[test]
fn a_closed_channel_is_an_error_of_the_sink() {
    let drops = Drops::new(1);
    let (mut tx, mut rx) = channel::spsc(1);
    assert_eq!(poll_ready(&mut tx, Waker::noop()), Poll::Ready(Ok(())));
    rx.close();
    assert_eq!(
        Pin::new(&mut tx).start_send(drops.value(0)),
        Err(SendError(()))
    );
    drops.assert_all_once();
    assert_eq!(
        poll_ready(&mut tx, Waker::noop()),
        Poll::Ready(Err(SendError(())))
    );
    assert_eq!(poll(SinkExt::close(&mut tx)), Poll::Ready(Ok(())));
}

/// A receiver that sleeps is told, and drains first.
#[test]
fn closing_the_sink_wakes_the_receiver() {
    let (mut tx, mut rx) = channel::spsc::<u32>(2);
    let (wakes, waker) = Wakes::new();
    assert!(poll_once(&waker, rx.recv()).is_pending());
    assert_eq!(poll(SinkExt::close(&mut tx)), Poll::Ready(Ok(())));
    assert_eq!(wakes.count(), 1);
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
}

/// Contrary to the contract of `Sink`, and not an item lost in silence.
#[test]
fn an_item_for_which_there_is_no_room_is_a_panic() {
    let (mut tx, mut rx) = channel::spsc(1);
    Pin::new(&mut tx).start_send(1).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| Pin::new(&mut tx).start_send(2))).is_err());
    assert_eq!(rx.try_recv(), Ok(1));
}
