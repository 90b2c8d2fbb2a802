//! Streams from one sender.

use std::time::Duration;

use landbridge::channel::{self, Wait};

use super::{Measured, cross};

/// A channel of `u64` that is measured here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// `landbridge::channel::spsc`, with its wait policy.
    Ours(Wait),
    /// The same, adaptive, filled with `send_all`, and received with `recv_many` by so many at a time;
    /// with one at a time by `recv`.
    OursInBatches(usize),
    /// `crossfire::spsc`.
    Crossfire,
    /// `tokio::sync::mpsc`.
    Tokio,
    /// `flume`.
    Flume,
    /// `async-channel`.
    AsyncChannel,
    /// `futures::channel::mpsc`.
    Futures,
    /// `landbridge::channel::unbounded`, with its receiver's wait policy.
    OursUnbounded(Wait),
    /// `tokio::sync::mpsc::unbounded_channel`.
    TokioUnbounded,
    /// `flume::unbounded`.
    FlumeUnbounded,
}

impl Channel {
    /// Sends `messages` through a channel for `capacity` of them, if it has a bound, with `gap` between
    /// two.
    pub fn measure(self, capacity: usize, messages: u64, gap: Option<Duration>) -> Measured {
        /// The channels differ in the names of their methods only, and in whether a send may wait.
        macro_rules! cross_one_by_one {
            ($channel:expr, $send:ident $(.$wait:tt)?, $recv:ident) => {{
                #[allow(unused_mut, reason = "some ends are used by reference")]
                let (mut tx, mut rx) = $channel;
                cross(
                    async move {
                        for message in 0..messages {
                            pause(gap).await;
                            tx.$send(message)$(.$wait)?.expect("a receiver");
                        }
                    },
                    async move {
                        for message in 0..messages {
                            // An `Option` of some, a `Result` of others.
                            assert!(rx.$recv().await.into_iter().eq([message]));
                        }
                    },
                )
            }};
        }
        match self {
            Self::Ours(wait) => {
                let builder = channel::builder().capacity(capacity).wait(wait);
                cross_one_by_one!(builder.spsc::<u64>(), send.await, recv)
            }
            Self::OursInBatches(max) => {
                assert!(gap.is_none(), "a batch has no gaps");
                in_batches(capacity, messages, max)
            }
            Self::Crossfire => {
                let channel = crossfire::spsc::bounded_async::<u64>(capacity);
                cross_one_by_one!(channel, send.await, recv)
            }
            Self::Tokio => {
                let channel = tokio::sync::mpsc::channel::<u64>(capacity);
                cross_one_by_one!(channel, send.await, recv)
            }
            Self::Flume => {
                let channel = flume::bounded::<u64>(capacity);
                cross_one_by_one!(channel, send_async.await, recv_async)
            }
            Self::AsyncChannel => {
                let channel = async_channel::bounded::<u64>(capacity);
                cross_one_by_one!(channel, send.await, recv)
            }
            Self::Futures => {
                use futures::{SinkExt, StreamExt};
                let channel = futures::channel::mpsc::channel::<u64>(capacity);
                cross_one_by_one!(channel, feed.await, next)
            }
            Self::OursUnbounded(wait) => {
                let builder = channel::builder().recv_wait(wait);
                cross_one_by_one!(builder.unbounded::<u64>(), send, recv)
            }
            Self::TokioUnbounded => {
                let channel = tokio::sync::mpsc::unbounded_channel::<u64>();
                cross_one_by_one!(channel, send, recv)
            }
            Self::FlumeUnbounded => cross_one_by_one!(flume::unbounded::<u64>(), send, recv_async),
        }
    }
}

fn in_batches(capacity: usize, messages: u64, max: usize) -> Measured {
    let (mut tx, mut rx) = channel::builder().capacity(capacity).spsc();
    cross(
        async move { tx.send_all(0..messages).await.expect("a receiver") },
        async move {
            if max == 1 {
                for message in 0..messages {
                    assert_eq!(rx.recv().await, Some(message));
                }
                return;
            }
            let mut next = 0;
            let mut batch = Vec::with_capacity(max);
            while rx.recv_many(&mut batch, max).await > 0 {
                for message in batch.drain(..) {
                    assert_eq!(message, next);
                    next += 1;
                }
            }
            assert_eq!(next, messages);
        },
    )
}

/// One side of the rows of streams, for any channel: wall time per message in nanoseconds.
pub fn nanos_per_message(channel: Channel, capacity: usize, messages: u64) -> f64 {
    let measured = channel.measure(capacity, messages, None);
    measured.wall.as_nanos() as f64 / messages as f64
}

async fn pause(gap: Option<Duration>) {
    if let Some(gap) = gap {
        tokio::time::sleep(gap).await;
    }
}
