//! Round trips over two channels.

use landbridge::channel::{self, Wait};

use super::cross;

/// A pair of channels that is measured by round trips.
#[derive(Clone, Copy, Debug)]
pub(super) enum PingPong {
    Ours(Wait),
    Tokio,
}

pub(super) fn nanos_per_trip(channel: PingPong, trips: u64) -> f64 {
    let measured = match channel {
        PingPong::Ours(wait) => {
            let channel = || channel::builder().capacity(1).wait(wait).spsc();
            let ((mut ask, mut asked), (mut answer, mut answered)) = (channel(), channel());
            cross(
                async move {
                    for trip in 0..trips {
                        ask.send(trip).await.expect("a receiver");
                        assert_eq!(answered.recv().await, Some(trip));
                    }
                },
                async move {
                    while let Some(trip) = asked.recv().await {
                        answer.send(trip).await.expect("a receiver");
                    }
                },
            )
        }
        PingPong::Tokio => {
            let channel = || tokio::sync::mpsc::channel(1);
            let ((ask, mut asked), (answer, mut answered)) = (channel(), channel());
            cross(
                async move {
                    for trip in 0..trips {
                        ask.send(trip).await.expect("a receiver");
                        assert_eq!(answered.recv().await, Some(trip));
                    }
                },
                async move {
                    while let Some(trip) = asked.recv().await {
                        answer.send(trip).await.expect("a receiver");
                    }
                },
            )
        }
    };
    measured.wall.as_nanos() as f64 / trips as f64
}
