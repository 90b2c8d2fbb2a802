//! Streams from several senders.

use std::ops::Range;

use landbridge::channel::{self, Wait};

use super::{Measured, cross};

/// A channel of `u64` with many senders that is measured here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Many {
    /// `landbridge::channel::mpsc`, with its wait policy.
    Ours(Wait),
    /// `tokio::sync::mpsc`.
    Tokio,
    /// `flume`.
    Flume,
    /// `async-channel`.
    AsyncChannel,
    /// `kanal`.
    Kanal,
    /// `crossfire`'s `mpsc`.
    Crossfire,
}

impl Many {
    /// All but ours.
    pub const PEERS: [Self; 5] = [
        Self::Tokio,
        Self::Flume,
        Self::AsyncChannel,
        Self::Kanal,
        Self::Crossfire,
    ];

    /// Sends `messages` through a channel for `capacity` of them, from four tasks.
    pub fn measure(self, capacity: usize, messages: u64) -> Measured {
        /// The channels differ in the names of their methods only.
        macro_rules! cross_from_four {
            ($channel:expr, $send:ident, $recv:ident) => {{
                #[allow(unused_mut, reason = "some receivers are shared")]
                let (tx, mut rx) = $channel;
                let send = move |messages: Range<u64>| {
                    let tx = tx.clone();
                    async move {
                        for message in messages {
                            tx.$send(message).await.expect("a receiver");
                        }
                    }
                };
                let receive = async move {
                    let mut sum = 0;
                    for _ in 0..messages {
                        // An `Option` of some, a `Result` of others.
                        sum += rx.$recv().await.into_iter().sum::<u64>();
                    }
                    assert_eq!(sum, (0..messages).sum());
                };
                cross(four_tasks(messages, send), receive)
            }};
        }
        match self {
            Self::Ours(wait) => {
                let builder = channel::builder().capacity(capacity).wait(wait);
                cross_from_four!(builder.mpsc::<u64>(), send, recv)
            }
            Self::Tokio => {
                cross_from_four!(tokio::sync::mpsc::channel::<u64>(capacity), send, recv)
            }
            Self::Flume => {
                cross_from_four!(flume::bounded::<u64>(capacity), send_async, recv_async)
            }
            Self::AsyncChannel => {
                cross_from_four!(async_channel::bounded::<u64>(capacity), send, recv)
            }
            Self::Kanal => {
                cross_from_four!(kanal::bounded_async::<u64>(capacity), send, recv)
            }
            Self::Crossfire => {
                cross_from_four!(crossfire::mpsc::bounded_async::<u64>(capacity), send, recv)
            }
        }
    }
}

/// Four tasks on the runtime where this is polled, each with its share of the messages.
async fn four_tasks<F>(messages: u64, send: impl Fn(Range<u64>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let share = |task: u64| messages * task / 4;
    let tasks: Vec<_> = (0..4)
        .map(|task| tokio::spawn(send(share(task)..share(task + 1))))
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
}

/// One side of the row `channel.mpsc4_cap64`: wall time per message in nanoseconds.
pub fn nanos_per_message_of_four(channel: Many, messages: u64) -> f64 {
    channel.measure(64, messages).wall.as_nanos() as f64 / messages as f64
}
