//! What does it cost to send a trivial closure from a Tokio task to a Compio thread and to await its
//! result?
//!
//! Baselines: a Tokio spawn on the same runtime and a Compio spawn on the same thread (no crossing at
//! all: what cannot be beaten), then what a user would reach for instead of landbridge:
//! compio-dispatcher, and a flume channel of boxed closures with a oneshot for each answer.
//!
//! Left out: closures that do I/O (group `io`), more workers than one, and the cost in CPU time. A
//! thread that looks before it sleeps pays for a short round trip with CPU time; the `Park` line shows
//! what is left without it.

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use landbridge::Wait;
use landbridge_benches::spawn::{
    BURST, Cpus, bursts, dispatch, dispatcher, pool, round_trips, tokio_side,
};
use landbridge_benches::{by_hand::Loop, spawn as side};

/// Times `one` on a task of `runtime`, since a task is where a program crosses from.
fn on_tokio<F>(
    runtime: &tokio::runtime::Runtime,
    iterations: u64,
    one: impl FnMut() -> F + Send + 'static,
) -> Duration
where
    F: Future<Output = u64> + Send + 'static,
{
    let task = runtime.spawn(round_trips(iterations, one));
    total(runtime.block_on(task).expect("no panic"), iterations)
}

fn bursts_on_tokio<F>(
    runtime: &tokio::runtime::Runtime,
    iterations: u64,
    start_one: impl FnMut() -> F + Send + 'static,
) -> Duration
where
    F: Future<Output = u64> + Send + 'static,
{
    let task = runtime.spawn(bursts(iterations, start_one));
    total(
        runtime.block_on(task).expect("no panic"),
        iterations * BURST as u64,
    )
}

fn total(microseconds_each: f64, operations: u64) -> Duration {
    Duration::from_secs_f64(microseconds_each * operations as f64 / 1e6)
}

fn spawn(criterion: &mut Criterion) {
    let runtime = tokio_side(Cpus::Any);
    let handle = runtime.handle().clone();
    let peer = dispatcher(Cpus::Any);
    let by_hand = Loop::start(Cpus::Any);

    let mut group = criterion.benchmark_group("spawn/round_trip");
    group.bench_function("raw tokio spawn", |bencher| {
        bencher.iter_custom(|iterations| {
            let handle = handle.clone();
            on_tokio(&runtime, iterations, move || {
                let task = handle.spawn(async { 1 });
                async move { task.await.expect("no panic") }
            })
        });
    });
    group.bench_function("raw compio spawn", |bencher| {
        let compio = compio::runtime::Runtime::new().expect("a Compio runtime starts");
        bencher.iter_custom(|iterations| {
            let each = compio.block_on(round_trips(iterations, || async {
                compio::runtime::spawn(async { 1 }).await.expect("no panic")
            }));
            total(each, iterations)
        });
    });
    group.bench_function("compio-dispatcher", |bencher| {
        bencher.iter_custom(|iterations| {
            let peer = peer.clone();
            on_tokio(&runtime, iterations, move || dispatch(&peer))
        });
    });
    group.bench_function("flume and oneshot", |bencher| {
        bencher.iter_custom(|iterations| {
            let by_hand = by_hand.clone();
            on_tokio(&runtime, iterations, move || by_hand.send())
        });
    });
    for (name, wait) in [
        ("ours, Park", Wait::Park),
        ("ours, Adaptive", Wait::Adaptive),
    ] {
        let pool = pool(wait, Cpus::Any);
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let pool = pool.clone();
                on_tokio(&runtime, iterations, move || side::run(&pool))
            });
        });
    }
    group.finish();

    // One iteration is a burst of 64.
    let mut group = criterion.benchmark_group("spawn/burst64");
    group.bench_function("compio-dispatcher", |bencher| {
        bencher.iter_custom(|iterations| {
            let peer = peer.clone();
            bursts_on_tokio(&runtime, iterations, move || dispatch(&peer))
        });
    });
    group.bench_function("flume and oneshot", |bencher| {
        bencher.iter_custom(|iterations| {
            let by_hand = by_hand.clone();
            bursts_on_tokio(&runtime, iterations, move || by_hand.send())
        });
    });
    for (name, wait) in [
        ("ours, Park", Wait::Park),
        ("ours, Adaptive", Wait::Adaptive),
    ] {
        let pool = pool(wait, Cpus::Any);
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let pool = pool.clone();
                bursts_on_tokio(&runtime, iterations, move || side::spawn(&pool))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, spawn);
criterion_main!(benches);
