//! Messages from a task on Tokio to a task on a Compio thread.
//!
//! The same for every channel: Tokio's multi-thread runtime with one worker, pinned to CPU 0, and a
//! thread pinned to CPU 1 that runs Compio with its defaults. Pinned, because with both on one CPU
//! (which the scheduler of a small machine likes to try) there is nothing to measure but the scheduler.
//! On a machine with one CPU nothing is pinned.

use std::{
    ops::Range,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use landbridge::channel::{self, Wait};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{
    Config, Row,
    allocations::live_during,
    threads::{cpu_time, pin_to},
};

/// The rows of this group.
pub const ROWS: &[Row] = &[
    Row {
        name: "channel.spsc_cap64",
        unit: "ns/message",
        peer_name: "tokio mpsc",
        goal: Some(0.15),
        doc: "a stream of u64 from a task on Tokio with one worker to a task on a Compio thread, capacity \
              64; wall time for each message. The two threads are pinned to a CPU each.",
        round: |config| streams(config, 64, Channel::Ours(Wait::Adaptive), Channel::Tokio),
    },
    Row {
        name: "channel.spsc_cap64_park",
        unit: "ns/message",
        peer_name: "tokio mpsc",
        goal: Some(1.0),
        doc: "the same with `Wait::Park`, so that both sides sleep as Tokio's do.",
        round: |config| streams(config, 64, Channel::Ours(Wait::Park), Channel::Tokio),
    },
    Row {
        name: "channel.spsc_cap1024",
        unit: "ns/message",
        peer_name: "crossfire spsc",
        goal: Some(1.5),
        doc: "the same with `Wait::Adaptive` and a capacity of 1024.",
        round: |config| {
            streams(
                config,
                1024,
                Channel::Ours(Wait::Adaptive),
                Channel::Crossfire,
            )
        },
    },
    Row {
        name: "channel.spsc_cap1024_tokio",
        unit: "ns/message",
        peer_name: "tokio mpsc",
        goal: Some(0.20),
        doc: "the same beside Tokio's.",
        round: |config| streams(config, 1024, Channel::Ours(Wait::Adaptive), Channel::Tokio),
    },
    Row {
        name: "channel.ping_pong",
        unit: "ns/trip",
        peer_name: "tokio mpsc",
        goal: Some(1.05),
        doc: "one u64 there and one back, over two channels for one message, from a task on Tokio with one \
              worker to a task on a Compio thread, `Wait::Adaptive`; wall time for each round trip. The \
              two threads are pinned to a CPU each.",
        round: |config| {
            let trips = config.operations(TRIPS);
            config.both(
                |_| nanos_per_trip(PingPong::Ours(Wait::Adaptive), trips),
                |_| nanos_per_trip(PingPong::Tokio, trips),
            )
        },
    },
    Row {
        name: "channel.recv_many64",
        unit: "ns/message",
        peer_name: "our own recv",
        goal: Some(0.60),
        doc: "the stream with a capacity of 1024, sent by `send_all` on both sides, received by \
              `recv_many` with at most 64 at a time beside `recv`.",
        round: |config| {
            streams(
                config,
                1024,
                Channel::OursInBatches(64),
                Channel::OursInBatches(1),
            )
        },
    },
    Row {
        name: "channel.mpsc4_cap64",
        unit: "ns/message",
        peer_name: "the best of tokio, flume, async-channel, kanal, crossfire",
        goal: Some(0.60),
        doc: "the same stream from four tasks on that worker, each with a sender of its own; the peer is \
              whichever is the best of them in that round.",
        round: |config| {
            let messages = config.operations(MESSAGES);
            config.both(
                |_| nanos_per_message_of_four(Many::Ours(Wait::Adaptive), messages),
                |_| {
                    let peers = Many::PEERS.iter();
                    peers
                        .map(|peer| nanos_per_message_of_four(*peer, messages))
                        .fold(f64::INFINITY, f64::min)
                },
            )
        },
    },
    Row {
        name: "channel.memory",
        unit: "bytes",
        peer_name: "tokio mpsc",
        goal: Some(1.5),
        doc: "what an idle channel for 64 messages of a usize keeps on the heap, with one sender.",
        round: |config| {
            config.both(
                |_| bytes_kept_by(|| channel::mpsc::<usize>(64)),
                |_| bytes_kept_by(|| tokio::sync::mpsc::channel::<usize>(64)),
            )
        },
    },
    Row {
        name: "channel.pipe_64k",
        unit: "us/MiB",
        peer_name: "tokio::io::duplex",
        goal: Some(0.50),
        doc: "bytes in chunks of 64 KiB from a task on Tokio with one worker to a task on a Compio thread, at \
              most 256 KiB under way: ours in owned buffers that come back, the peer's by `write_all` and \
              `read_exact`. The writer fills each chunk anew, the reader looks at its ends. CPU time of both \
              threads for each MiB. The two threads are pinned to a CPU each.",
        round: |config| {
            let mebibytes = config.operations(MEBIBYTES);
            config.both(
                |_| cpu_per_mebibyte(Bytes::Ours, 64 * 1024, 64 * 1024, mebibytes),
                |_| cpu_per_mebibyte(Bytes::Duplex, 64 * 1024, 64 * 1024, mebibytes),
            )
        },
    },
    Row {
        name: "channel.pipe_64k_borrowed",
        unit: "us/MiB",
        peer_name: "tokio::io::duplex",
        goal: None,
        doc: "the same through Tokio's traits on both sides.",
        round: |config| {
            let mebibytes = config.operations(MEBIBYTES);
            config.both(
                |_| cpu_per_mebibyte(Bytes::OursBorrowed, 64 * 1024, 64 * 1024, mebibytes),
                |_| cpu_per_mebibyte(Bytes::Duplex, 64 * 1024, 64 * 1024, mebibytes),
            )
        },
    },
    Row {
        name: "channel.pipe_small",
        unit: "us/MiB",
        peer_name: "tokio::io::duplex",
        goal: None,
        doc: "the same by `write_all` of 64 bytes and `read_exact` of 4 KiB.",
        round: |config| {
            let mebibytes = config.operations(MEBIBYTES / 16);
            config.both(
                |_| cpu_per_mebibyte(Bytes::OursBorrowed, 64, 4096, mebibytes),
                |_| cpu_per_mebibyte(Bytes::Duplex, 64, 4096, mebibytes),
            )
        },
    },
    Row {
        name: "channel.unbounded",
        unit: "ns/message",
        peer_name: "the best of tokio, flume",
        goal: Some(0.80),
        doc: "a stream of u64 from a task on Tokio with one worker to a task on a Compio thread, without a \
              bound; wall time for each message, until the last is received. The two threads are pinned to \
              a CPU each. The peer is the faster one of the round.",
        round: |config| {
            let messages = config.operations(MESSAGES);
            config.both(
                |_| nanos_per_message(Channel::OursUnbounded(Wait::Adaptive), 64, messages),
                |_| {
                    let tokio = nanos_per_message(Channel::TokioUnbounded, 64, messages);
                    tokio.min(nanos_per_message(Channel::FlumeUnbounded, 64, messages))
                },
            )
        },
    },
];

fn streams(config: &Config, capacity: usize, ours: Channel, peer: Channel) -> (f64, f64) {
    let messages = config.operations(MESSAGES);
    config.both(
        |_| nanos_per_message(ours, capacity, messages),
        |_| nanos_per_message(peer, capacity, messages),
    )
}

/// MiB in one round of the pipe.
const MEBIBYTES: u64 = 256;

/// Round trips in one round of the ping-pong.
const TRIPS: u64 = 5_000;

/// Messages in one round: some tens of milliseconds of the slowest peer.
pub const MESSAGES: u64 = 100_000;

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
        match self {
            Self::Ours(wait) => {
                let (mut tx, mut rx) = channel::builder().capacity(capacity).wait(wait).spsc();
                cross(
                    async move {
                        for message in 0..messages {
                            pause(gap).await;
                            tx.send(message).await.expect("a receiver");
                        }
                    },
                    async move {
                        for message in 0..messages {
                            assert_eq!(rx.recv().await, Some(message));
                        }
                    },
                )
            }
            Self::OursInBatches(max) => {
                let (mut tx, mut rx) = channel::builder().capacity(capacity).spsc();
                cross(
                    async move {
                        assert!(gap.is_none(), "a batch has no gaps");
                        tx.send_all(0..messages).await.expect("a receiver");
                    },
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
            Self::Crossfire => {
                let (tx, rx) = crossfire::spsc::bounded_async(capacity);
                cross(
                    async move {
                        for message in 0..messages {
                            pause(gap).await;
                            tx.send(message).await.expect("a receiver");
                        }
                    },
                    async move {
                        for message in 0..messages {
                            assert_eq!(rx.recv().await, Ok(message));
                        }
                    },
                )
            }
            Self::Tokio => {
                let (tx, mut rx) = tokio::sync::mpsc::channel(capacity);
                cross(
                    async move {
                        for message in 0..messages {
                            pause(gap).await;
                            tx.send(message).await.expect("a receiver");
                        }
                    },
                    async move {
                        for message in 0..messages {
                            assert_eq!(rx.recv().await, Some(message));
                        }
                    },
                )
            }
            Self::Flume => {
                let (tx, rx) = flume::bounded(capacity);
                cross(
                    async move {
                        for message in 0..messages {
                            pause(gap).await;
                            tx.send_async(message).await.expect("a receiver");
                        }
                    },
                    async move {
                        for message in 0..messages {
                            assert_eq!(rx.recv_async().await, Ok(message));
                        }
                    },
                )
            }
            Self::AsyncChannel => {
                let (tx, rx) = async_channel::bounded(capacity);
                cross(
                    async move {
                        for message in 0..messages {
                            pause(gap).await;
                            tx.send(message).await.expect("a receiver");
                        }
                    },
                    async move {
                        for message in 0..messages {
                            assert_eq!(rx.recv().await, Ok(message));
                        }
                    },
                )
            }
            Self::Futures => {
                use futures::{SinkExt, StreamExt};
                let (mut tx, mut rx) = futures::channel::mpsc::channel(capacity);
                cross(
                    async move {
                        for message in 0..messages {
                            pause(gap).await;
                            tx.feed(message).await.expect("a receiver");
                        }
                    },
                    async move {
                        for message in 0..messages {
                            assert_eq!(rx.next().await, Some(message));
                        }
                    },
                )
            }
            Self::OursUnbounded(wait) => {
                let (tx, mut rx) = channel::builder().recv_wait(wait).unbounded();
                cross(
                    async move {
                        for message in 0..messages {
                            pause(gap).await;
                            tx.send(message).expect("a receiver");
                        }
                    },
                    async move {
                        for message in 0..messages {
                            assert_eq!(rx.recv().await, Some(message));
                        }
                    },
                )
            }
            Self::TokioUnbounded => {
                let (tx, mut rx) = tokio::sync::mpsc::unbounded_channel();
                cross(
                    async move {
                        for message in 0..messages {
                            pause(gap).await;
                            tx.send(message).expect("a receiver");
                        }
                    },
                    async move {
                        for message in 0..messages {
                            assert_eq!(rx.recv().await, Some(message));
                        }
                    },
                )
            }
            Self::FlumeUnbounded => {
                let (tx, rx) = flume::unbounded();
                cross(
                    async move {
                        for message in 0..messages {
                            pause(gap).await;
                            tx.send(message).expect("a receiver");
                        }
                    },
                    async move {
                        for message in 0..messages {
                            assert_eq!(rx.recv_async().await, Ok(message));
                        }
                    },
                )
            }
        }
    }
}

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

/// What a run of a channel took, without starting the runtimes.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// From the first message sent to the last one received.
    pub wall: Duration,
    /// Of the Compio thread, in user and kernel, meanwhile. Zero where it cannot be had.
    pub receiver_cpu: Duration,
    /// The same of Tokio's worker.
    pub sender_cpu: Duration,
}

/// One side of the rows of streams, for any channel: wall time per message in nanoseconds.
pub fn nanos_per_message(channel: Channel, capacity: usize, messages: u64) -> f64 {
    let measured = channel.measure(capacity, messages, None);
    measured.wall.as_nanos() as f64 / messages as f64
}

/// One side of the row `channel.mpsc4_cap64`: wall time per message in nanoseconds.
pub fn nanos_per_message_of_four(channel: Many, messages: u64) -> f64 {
    channel.measure(64, messages).wall.as_nanos() as f64 / messages as f64
}

/// One side of the row `channel.memory`.
fn bytes_kept_by<T>(channel: impl FnOnce() -> T) -> f64 {
    let counted = live_during(async { channel() });
    let (bytes, _channel) = futures::executor::block_on(counted);
    bytes as f64
}

/// A stream of bytes that is measured by its CPU time.
#[derive(Clone, Copy, Debug)]
enum Bytes {
    /// By owned buffers.
    Ours,
    /// By Tokio's traits.
    OursBorrowed,
    Duplex,
}

/// At most so much is under way.
const UNDER_WAY: usize = 256 * 1024;

/// What the rows of the pipe measure: CPU time of both threads in microseconds. The reader looks at both ends
/// of what it has read.
fn cpu_per_mebibyte(stream: Bytes, written: usize, read: usize, mebibytes: u64) -> f64 {
    let total = mebibytes as usize * 1024 * 1024;
    let measured = match stream {
        Bytes::Ours => {
            let (mut writer, mut reader) = channel::pipe(UNDER_WAY);
            cross(
                async move {
                    for chunk in 0..total / written {
                        let mut buffer = writer.empty();
                        buffer.resize(written, chunk as u8);
                        writer.send(&mut buffer).await.expect("a reader");
                    }
                },
                async move {
                    for chunk in 0..total / written {
                        let buffer = reader.recv().await.expect("a chunk");
                        check(&buffer, chunk, chunk);
                        reader.give_back(buffer);
                    }
                },
            )
        }
        Bytes::OursBorrowed => {
            let (writer, reader) = channel::pipe(UNDER_WAY);
            borrowed(writer, reader, total, written, read)
        }
        Bytes::Duplex => {
            let (writer, reader) = tokio::io::duplex(UNDER_WAY);
            borrowed(writer, reader, total, written, read)
        }
    };
    (measured.sender_cpu + measured.receiver_cpu).as_secs_f64() * 1e6 / mebibytes as f64
}

/// `total` bytes by `write_all` and `read_exact`, so many at a time; `read` is a multiple of `written`.
fn borrowed(
    mut writer: impl AsyncWrite + Unpin + Send + 'static,
    mut reader: impl AsyncRead + Unpin + Send + 'static,
    total: usize,
    written: usize,
    read: usize,
) -> Measured {
    cross(
        async move {
            let mut buffer = vec![0; written];
            for chunk in 0..total / written {
                buffer.fill(chunk as u8);
                writer.write_all(&buffer).await.expect("a reader");
            }
        },
        async move {
            let mut buffer = vec![0; read];
            let each = read / written;
            for chunk in 0..total / read {
                reader.read_exact(&mut buffer).await.expect("a chunk");
                check(&buffer, chunk * each, (chunk + 1) * each - 1);
            }
        },
    )
}

fn check(buffer: &[u8], first: usize, last: usize) {
    let expected = (Some(first as u8), Some(last as u8));
    assert_eq!((buffer.first().copied(), buffer.last().copied()), expected);
}

/// A pair of channels that is measured by round trips.
#[derive(Clone, Copy, Debug)]
enum PingPong {
    Ours(Wait),
    Tokio,
}

fn nanos_per_trip(channel: PingPong, trips: u64) -> f64 {
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

/// How much of a CPU the Compio thread uses while a receiver waits for nothing, as a share of the time.
pub fn idle_cpu(wait: Wait, time: Duration) -> f64 {
    let (tx, mut rx) = channel::builder().wait(wait).spsc::<u64>();
    let measured = cross(
        async move {
            tokio::time::sleep(time).await;
            drop(tx);
        },
        async move { assert_eq!(rx.recv().await, None) },
    );
    measured.receiver_cpu.as_secs_f64() / measured.wall.as_secs_f64()
}

/// How much of a CPU the Compio thread uses to receive `messages`, one every millisecond.
pub fn trickle_cpu(channel: Channel, messages: u64) -> f64 {
    let measured = channel.measure(64, messages, Some(Duration::from_millis(1)));
    measured.receiver_cpu.as_secs_f64() / measured.wall.as_secs_f64()
}

async fn pause(gap: Option<Duration>) {
    if let Some(gap) = gap {
        tokio::time::sleep(gap).await;
    }
}

/// Runs `send` as a task on Tokio and `receive` as a task on a Compio thread, to the end of both.
fn cross(
    send: impl Future<Output = ()> + Send + 'static,
    receive: impl Future<Output = ()> + Send + 'static,
) -> Measured {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .on_thread_start(|| pin_to(0))
        .build()
        .expect("a Tokio runtime starts");
    let (ready, is_ready) = mpsc::channel();
    let receiver = thread::spawn(move || {
        pin_to(1);
        let compio = compio::runtime::Runtime::new().expect("a Compio runtime starts");
        compio.block_on(async {
            ready.send(()).expect("a listener");
            let cpu = cpu_time();
            compio::runtime::spawn(receive).await.expect("no panic");
            (Instant::now(), cpu_time() - cpu)
        })
    });
    is_ready.recv().expect("a thread that starts");
    let start = Instant::now();
    let sender = tokio.spawn(async {
        let cpu = cpu_time();
        send.await;
        cpu_time() - cpu
    });
    let (end, receiver_cpu) = receiver.join().expect("no panic");
    let sender_cpu = tokio.block_on(sender).expect("no panic");
    Measured {
        wall: end - start,
        receiver_cpu,
        sender_cpu,
    }
}
