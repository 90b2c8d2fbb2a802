//! Messages from a task on Tokio to a task on a Compio thread.
//!
//! The same for every channel: Tokio's multi-thread runtime with one worker, pinned to CPU 0, and a
//! thread pinned to CPU 1 that runs Compio with its defaults. Pinned, because with both on one CPU
//! (which the scheduler of a small machine likes to try) there is nothing to measure but the scheduler.
//! On a machine with one CPU nothing is pinned.

mod many;
mod stream;
mod trips;
mod waiting;

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use landbridge::channel::{self, Wait};

use self::trips::{PingPong, nanos_per_trip};
pub use self::{
    many::{Many, nanos_per_message_of_four},
    stream::{Channel, nanos_per_message},
    waiting::{idle_cpu, trickle_cpu},
};
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
        name: "channel.ping_pong_spin",
        unit: "ns/trip",
        peer_name: "tokio mpsc",
        goal: Some(0.01),
        doc: "the same with `Wait::Spin` of a millisecond on both sides.",
        round: |config| {
            let trips = config.operations(TRIPS);
            let wait = Wait::Spin(Duration::from_millis(1));
            config.both(
                |_| nanos_per_trip(PingPong::Ours(wait), trips),
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
        name: "channel.trickle_cpu",
        unit: "CPU us/message",
        peer_name: "the same with Park",
        goal: Some(1.25),
        doc: "a message every millisecond from Tokio's timer, `Wait::Adaptive` beside `Wait::Park`; CPU time of \
              the Compio thread for each message.",
        round: |config| {
            let messages = config.operations(500);
            let per_message = |wait| trickle_cpu(Channel::Ours(wait), messages) * 1e3;
            config.both(|_| per_message(Wait::Adaptive), |_| per_message(Wait::Park))
        },
    },
    Row {
        name: "channel.idle_cpu",
        unit: "CPU ms/s",
        peer_name: "budget",
        goal: Some(1.0),
        doc: "CPU time of the whole process for each second in which 1 000 open channels, each with a receiving \
              task on the Compio thread and `Wait::Adaptive`, carry nothing, after each has carried some \
              messages. The budget is 1.",
        round: |config| (waiting::idle_channels(1_000, config.operations(500)), 1.0),
    },
    Row {
        name: "channel.neighbour_p99",
        unit: "us",
        peer_name: "the same beside Park",
        goal: Some(1.25),
        doc: "how late a task that sleeps for a millisecond at a time wakes up beside a task on the same Compio \
              thread that receives a stream with `Wait::Adaptive`, and with `Wait::Park`; 99th percentile.",
        round: |config| {
            let times = config.operations(500) as usize;
            config.both(
                |_| waiting::neighbour_p99(Wait::Adaptive, times),
                |_| waiting::neighbour_p99(Wait::Park, times),
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

/// Round trips in one round of the ping-pong.
const TRIPS: u64 = 5_000;

/// Messages in one round: some tens of milliseconds of the slowest peer.
pub const MESSAGES: u64 = 100_000;

/// What a run of a channel took, without starting the runtimes.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// From the first message sent to the last one received.
    pub wall: Duration,
    /// Of the Compio thread, in user and kernel, meanwhile. Zero where it cannot be had.
    pub receiver_cpu: Duration,
}

/// One side of the row `channel.memory`.
fn bytes_kept_by<T>(channel: impl FnOnce() -> T) -> f64 {
    let counted = live_during(async { channel() });
    let (bytes, _channel) = futures::executor::block_on(counted);
    bytes as f64
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
    let sender = tokio.spawn(send);
    let (end, receiver_cpu) = receiver.join().expect("no panic");
    tokio.block_on(sender).expect("no panic");
    Measured {
        wall: end - start,
        receiver_cpu,
    }
}
