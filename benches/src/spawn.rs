//! Work sent from Tokio to a Compio thread, and its result back.

use std::{num::NonZeroUsize, sync::Arc, thread, time::Instant};

use compio_dispatcher::Dispatcher;
use futures::StreamExt;
use landbridge::{CompioPool, Wait};

use crate::{Config, Row, threads::pin_to};

/// What the pool's thread is called.
const WORKER: &str = "measured";

/// The rows of this group.
pub const ROWS: &[Row] = &[
    Row {
        name: "spawn.round_trip",
        unit: "us/op",
        peer_name: "compio-dispatcher",
        goal: Some(0.20),
        doc: "from a task on Tokio: send a trivial closure to the one Compio thread and await its result, back \
              to back; wall time. Ours is `run` on a pool with `Wait::Adaptive`. Tokio's threads are pinned to \
              one CPU and Compio's to another, on both sides.",
        round: |config| {
            config.both(
                |config| run_round_trips(config, Cpus::Apart),
                |config| dispatcher_round_trips(config, Cpus::Apart),
            )
        },
    },
    Row {
        name: "spawn.burst64",
        unit: "us/op",
        peer_name: "compio-dispatcher",
        goal: Some(0.60),
        doc: "the same, but 64 are sent before the first is awaited, and then the next 64; wall time for \
              each one. Ours is `spawn`. Pinned as above.",
        round: |config| {
            config.both(
                |config| spawn_bursts(config, Cpus::Apart),
                |config| dispatcher_bursts(config, Cpus::Apart),
            )
        },
    },
    Row {
        name: "spawn.batch64",
        unit: "us/op",
        peer_name: "compio-dispatcher",
        goal: Some(0.35),
        doc: "spawn.burst64, but ours is `run_batch` of the 64. Pinned as above.",
        round: |config| {
            config.both(
                |config| run_batches(config, Cpus::Apart),
                |config| dispatcher_bursts(config, Cpus::Apart),
            )
        },
    },
    Row {
        name: "spawn.round_trip_floating",
        unit: "us/op",
        peer_name: "compio-dispatcher",
        goal: None,
        doc: "spawn.round_trip with nothing pinned. On a small virtual machine the scheduler likes to put the \
              two threads on one CPU, where neither can do anything while the other looks.",
        round: |config| {
            config.both(
                |config| run_round_trips(config, Cpus::Any),
                |config| dispatcher_round_trips(config, Cpus::Any),
            )
        },
    },
    Row {
        name: "spawn.burst64_floating",
        unit: "us/op",
        peer_name: "compio-dispatcher",
        goal: None,
        doc: "spawn.burst64 with nothing pinned.",
        round: |config| {
            config.both(
                |config| spawn_bursts(config, Cpus::Any),
                |config| dispatcher_bursts(config, Cpus::Any),
            )
        },
    },
];

/// Where the two sides of a crossing run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cpus {
    /// Tokio on one CPU, Compio on another.
    Apart,
    /// As the scheduler likes.
    Any,
}

impl Cpus {
    const TOKIO: usize = 0;
    const COMPIO: usize = 1;
}

/// Operations that are under way at once in a burst.
pub const BURST: usize = 64;

/// The runtime that sends the work: two workers, as on the smallest machine that shows a crossing.
///
/// # Panics
/// When the threads cannot be started.
pub fn tokio_side(cpus: Cpus) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .on_thread_start(move || {
            if cpus == Cpus::Apart {
                pin_to(Cpus::TOKIO);
            }
        })
        .build()
        .expect("a Tokio runtime starts")
}

/// The peer: one thread that runs Compio.
///
/// # Panics
/// When the thread cannot be started.
pub fn dispatcher(cpus: Cpus) -> Arc<Dispatcher> {
    let dispatcher = Dispatcher::builder()
        .worker_threads(NonZeroUsize::MIN)
        .thread_affinity(move |_| {
            (cpus == Cpus::Apart)
                .then_some(Cpus::COMPIO)
                .into_iter()
                .collect()
        })
        .build()
        .expect("a dispatcher starts");
    Arc::new(dispatcher)
}

/// The peer's crossing, which is under way once this returns.
///
/// # Panics
/// When the dispatcher's thread is gone.
pub fn dispatch(dispatcher: &Dispatcher) -> impl Future<Output = u64> + Send + use<> {
    let answer = dispatcher.dispatch(|| async { 1 }).expect("a live thread");
    async move { answer.await.expect("an answer") }
}

/// Our side: one thread that runs Compio.
///
/// # Panics
/// When the thread cannot be started.
pub fn pool(idle: Wait, cpus: Cpus) -> CompioPool {
    CompioPool::builder()
        .threads(1)
        .idle(idle)
        .thread_name(WORKER)
        // Called on the worker among others, which is all that is needed here.
        .proactor(move |_| {
            let name = thread::current().name().map(str::to_owned);
            if cpus == Cpus::Apart && name.is_some_and(|name| name.starts_with(WORKER)) {
                pin_to(Cpus::COMPIO);
            }
        })
        .build()
        .expect("a pool starts")
}

/// Our structured crossing, which begins when it is polled.
pub fn run(pool: &CompioPool) -> impl Future<Output = u64> + Send + use<> {
    let answer = pool.run(|| async { 1 });
    async move { answer.await.expect("an answer") }
}

/// Our crossing that is under way once this returns.
pub fn spawn(pool: &CompioPool) -> impl Future<Output = u64> + Send + use<> {
    let answer = pool.spawn(|| async { 1 });
    async move { answer.await.expect("an answer") }
}

/// Runs `one` to its end, again and again, on a Tokio task; microseconds of wall time for each.
///
/// # Panics
/// When one of them does.
pub async fn round_trips<F>(operations: u64, mut one: impl FnMut() -> F) -> f64
where
    F: Future<Output = u64>,
{
    let start = Instant::now();
    for _ in 0..operations {
        assert_eq!(one().await, 1);
    }
    each(start, operations)
}

/// Starts [`BURST`] of them, then awaits them all, again and again; microseconds of wall time for
/// each single one.
///
/// # Panics
/// When one of them does.
pub async fn bursts<F>(bursts: u64, mut start_one: impl FnMut() -> F) -> f64
where
    F: Future<Output = u64>,
{
    let mut under_way = Vec::with_capacity(BURST);
    let start = Instant::now();
    for _ in 0..bursts {
        under_way.extend((0..BURST).map(|_| start_one()));
        for one in under_way.drain(..) {
            assert_eq!(one.await, 1);
        }
    }
    each(start, bursts * BURST as u64)
}

/// Runs [`BURST`] jobs as one batch, again and again; microseconds of wall time for each job.
///
/// # Panics
/// When a job does.
pub async fn batches(batches: u64, pool: CompioPool) -> f64 {
    let start = Instant::now();
    for _ in 0..batches {
        let mut results = pool.run_batch((0..BURST).map(|_| || async { 1 }));
        while let Some(result) = results.next().await {
            assert_eq!(result.expect("an answer"), 1);
        }
    }
    each(start, batches * BURST as u64)
}

fn run_round_trips(config: &Config, cpus: Cpus) -> f64 {
    let pool = pool(Wait::Adaptive, cpus);
    on_tokio(
        cpus,
        round_trips(config.operations(10_000), move || run(&pool)),
    )
}

fn dispatcher_round_trips(config: &Config, cpus: Cpus) -> f64 {
    let peer = dispatcher(cpus);
    on_tokio(
        cpus,
        round_trips(config.operations(10_000), move || dispatch(&peer)),
    )
}

fn spawn_bursts(config: &Config, cpus: Cpus) -> f64 {
    let pool = pool(Wait::Adaptive, cpus);
    on_tokio(cpus, bursts(config.operations(1_000), move || spawn(&pool)))
}

fn run_batches(config: &Config, cpus: Cpus) -> f64 {
    let pool = pool(Wait::Adaptive, cpus);
    on_tokio(cpus, batches(config.operations(1_000), pool))
}

fn dispatcher_bursts(config: &Config, cpus: Cpus) -> f64 {
    let peer = dispatcher(cpus);
    on_tokio(
        cpus,
        bursts(config.operations(1_000), move || dispatch(&peer)),
    )
}

/// On a task, not in `block_on`: a task is where a program crosses from.
fn on_tokio(cpus: Cpus, measured: impl Future<Output = f64> + Send + 'static) -> f64 {
    let runtime = tokio_side(cpus);
    let task = runtime.spawn(measured);
    runtime.block_on(task).expect("no panic")
}

fn each(start: Instant, operations: u64) -> f64 {
    start.elapsed().as_secs_f64() * 1e6 / operations as f64
}
