//! What does a message from Tokio to Compio cost, when there are many?
//!
//! A stream of `u64` from a task on Tokio's multi-thread runtime to a task on a Compio thread, each
//! thread pinned to a CPU of its own, through a channel for 64 messages: so small that the two move in
//! lock step unless they wait for each other awake. An element is a message.
//!
//! Baseline: `tokio::sync::mpsc`, which works on Compio too. Beside it what else a user would pick, and
//! our own channel with `Wait::Park`, which shows how much of the difference is the wait policy. The same
//! with four senders, each in a task of its own on the same worker.
//!
//! Left out: starting the runtimes; batched receives, which the peers do not all have; and what the
//! looks cost the neighbours of a waiting task (a bound, proven by the tests of `Wait`).

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use landbridge::channel::Wait;
use landbridge_benches::channel::{Channel, MESSAGES, Many};

fn stream_cap64(c: &mut Criterion) {
    let mut group = c.benchmark_group("channel/tokio_to_compio_cap64");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(3))
        .throughput(Throughput::Elements(MESSAGES));
    for (name, channel) in [
        ("tokio_mpsc", Channel::Tokio),
        ("flume", Channel::Flume),
        ("async_channel", Channel::AsyncChannel),
        ("futures_mpsc", Channel::Futures),
        ("landbridge_park", Channel::Ours(Wait::Park)),
        ("landbridge_adaptive", Channel::Ours(Wait::Adaptive)),
    ] {
        group.bench_function(name, |b| {
            b.iter_custom(|rounds| {
                (0..rounds)
                    .map(|_| channel.measure(64, MESSAGES, None).wall)
                    .sum()
            });
        });
    }
    group.finish();
}

fn four_senders_cap64(c: &mut Criterion) {
    let mut group = c.benchmark_group("channel/four_tokio_tasks_to_compio_cap64");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(3))
        .throughput(Throughput::Elements(MESSAGES));
    for (name, channel) in [
        ("tokio_mpsc", Many::Tokio),
        ("flume", Many::Flume),
        ("async_channel", Many::AsyncChannel),
        ("kanal", Many::Kanal),
        ("crossfire", Many::Crossfire),
        ("landbridge_park", Many::Ours(Wait::Park)),
        ("landbridge_adaptive", Many::Ours(Wait::Adaptive)),
    ] {
        group.bench_function(name, |b| {
            b.iter_custom(|rounds| {
                (0..rounds)
                    .map(|_| channel.measure(64, MESSAGES).wall)
                    .sum()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, stream_cap64, four_senders_cap64);
criterion_main!(benches);
