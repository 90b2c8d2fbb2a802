//! Work sent from one runtime's threads to the other's, and its result back.

use std::{
    cell::Cell,
    num::NonZeroUsize,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use compio_dispatcher::Dispatcher;
use futures::{StreamExt, executor::block_on, future::join_all};
use landbridge::{CompioHandle, CompioPool, TokioHandleExt, Wait};
use tokio::sync::{Notify, futures::OwnedNotified};

use crate::{
    Config, Row, allocations, by_hand, server,
    threads::{pin_to, process_cpu_time},
};

/// What the pool's thread is called.
const WORKER: &str = "measured";

/// The rows of this group.
pub const ROWS: &[Row] = &[
    Row {
        name: "spawn.round_trip",
        unit: "us/op",
        peer_name: "compio-dispatcher",
        goal: Some(0.10),
        doc: "from a task on Tokio: send a trivial closure to the one Compio thread and await its result, back \
              to back; wall time. Ours is `run` on a pool with `Wait::Adaptive`. Tokio's threads are pinned to \
              one CPU and Compio's to another, on both sides.",
        round: |config| {
            config.both(
                |config| run_round_trips(config, Wait::Adaptive, Cpus::Apart),
                |config| dispatcher_round_trips(config, Cpus::Apart),
            )
        },
    },
    Row {
        name: "spawn.burst64",
        unit: "us/op",
        peer_name: "compio-dispatcher",
        goal: Some(0.45),
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
        name: "spawn.attached_round_trip",
        unit: "us/op",
        peer_name: "own loop: flume, oneshot",
        goal: Some(0.60),
        doc: "spawn.round_trip to a Compio runtime that is not ours: on both sides a thread of its own with \
              `Runtime::block_on`. Ours is `run` of `CompioHandle::attach`; the peer's main future takes boxed \
              closures from a flume channel, runs each as a task, and answers through a oneshot. Pinned as \
              spawn.round_trip.",
        round: |config| {
            config.both(
                |config| attached_round_trips(config, Cpus::Apart),
                |config| by_hand::loop_round_trips(config, Cpus::Apart),
            )
        },
    },
    Row {
        name: "spawn.host_call",
        unit: "us/op",
        peer_name: "own loop: flume, oneshot",
        goal: Some(0.25),
        doc: "from a task on Tokio: a trivial call of an object that lives on a Compio thread, back to back; wall \
              time. Ours is `Remote::call` on a pool with `Wait::Adaptive`; the peer's loop owns the object, takes \
              requests from a flume channel and answers through a oneshot. Pinned as spawn.round_trip.",
        round: |config| {
            config.both(
                |config| host_calls(config, Cpus::Apart),
                |config| by_hand::owner_round_trips(config, Cpus::Apart),
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
                |config| run_round_trips(config, Wait::Adaptive, Cpus::Any),
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
    Row {
        name: "spawn.round_trip_park",
        unit: "us/op",
        peer_name: "compio-dispatcher",
        goal: Some(1.05),
        doc: "spawn.round_trip with `Wait::Park`: neither side looks before it sleeps, so that what is left \
              are two wake-ups by the kernel, as with the peer. Pinned as spawn.round_trip.",
        round: |config| {
            config.both(
                |config| run_round_trips(config, Wait::Park, Cpus::Apart),
                |config| dispatcher_round_trips(config, Cpus::Apart),
            )
        },
    },
    Row {
        name: "spawn.burst64_cpu",
        unit: "CPU us/op",
        peer_name: "compio-dispatcher",
        goal: Some(0.60),
        doc: "spawn.burst64 in CPU time, user and kernel, of all threads of the process \
              (CLOCK_PROCESS_CPUTIME_ID), for each one; looking before a sleep is paid for here. Pinned as \
              spawn.round_trip.",
        round: |config| {
            config.both(
                |config| spawn_bursts_cpu(config, Cpus::Apart),
                |config| dispatcher_bursts_cpu(config, Cpus::Apart),
            )
        },
    },
    Row {
        name: "spawn.allocations",
        unit: "allocs/op",
        peer_name: "budget",
        goal: Some(1.0),
        doc: "allocations from the heap, by any thread, for each `run` of spawn.round_trip, after a thousand \
              others; the budget is 2. Pinned as spawn.round_trip.",
        round: |config| (run_allocations(config), 2.0),
    },
    Row {
        name: "spawn.syscalls_busy",
        unit: "calls/op",
        peer_name: "budget",
        goal: Some(1.0),
        doc: "system calls that wake the worker, for each crossing of 64 `run`s at a time, while a job of the \
              worker's own keeps it busy (it works for 5 us, lets others run, and again); \
              `wakeups_sent` over `crossings` of the pool's metrics. The pool has `Wait::Park`, so that \
              nothing but the work keeps it awake. The budget is 0.05. Pinned as spawn.round_trip.",
        round: |config| (busy_wakeups(config), 0.05),
    },
    Row {
        name: "spawn.to_tokio_round_trip",
        unit: "us/op",
        peer_name: "Handle::spawn under compio",
        goal: Some(0.75),
        doc: "the other direction: from a job on a pool's worker, `handle.run(f).await` of a trivial future, \
              back to back; wall time. The peer is `handle.spawn(f).await` in `Runtime::block_on` of \
              Compio's own runtime, on a thread of its own. Pinned as spawn.round_trip.",
        round: |config| {
            config.both(
                |config| to_tokio_round_trips(config, Cpus::Apart),
                |config| plain_to_tokio_round_trips(config, Cpus::Apart),
            )
        },
    },
    Row {
        name: "spawn.outstanding_100k",
        unit: "us/op",
        peer_name: "tokio's Handle::spawn",
        goal: Some(1.25),
        doc: "from a task on Tokio: send 100 000 jobs that all wait for one event, let it happen, and await \
              them all; wall time for each one. Ours is `spawn` on a pool of one; the peer is `Handle::spawn` \
              on another Tokio runtime with one worker, where the pool's is. Pinned as spawn.round_trip.",
        round: |config| {
            config.both(
                |_| spawn_outstanding(Cpus::Apart),
                |_| tokio_outstanding(Cpus::Apart),
            )
        },
    },
    Row {
        name: "spawn.idle_cpu",
        unit: "CPU ms/s",
        peer_name: "budget",
        goal: Some(1.0),
        doc: "CPU time of the whole process (CLOCK_PROCESS_CPUTIME_ID) for each second in which a pool of 4 \
              with `Wait::Adaptive` has nothing to do, from the moment when its last work ended. The budget \
              is 1. Nothing is pinned.",
        round: |config| (idle_cpu(config), 1.0),
    },
    Row {
        name: "spawn.server_p99",
        unit: "us",
        peer_name: "compio-dispatcher",
        goal: Some(0.80),
        doc: "99th percentile of the latency of an HTTP/1 server (hyper on Tokio with two workers, over \
              loopback) whose handler sends a trivial closure to the one Compio thread and awaits its \
              result; 64 connections, each asking again as soon as it has its answer, from one thread. Ours \
              is `run`. Nothing is pinned.",
        round: |config| {
            config.both(
                |config| {
                    let pool = pool(Wait::Adaptive, Cpus::Any);
                    server::p99(config.operations(1_000), move || run(&pool))
                },
                |config| {
                    let peer = dispatcher(Cpus::Any);
                    server::p99(config.operations(1_000), move || dispatch(&peer))
                },
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
    pub(crate) const TOKIO: usize = 0;
    pub(crate) const COMPIO: usize = 1;
}

/// Operations that are under way at once in a burst.
pub const BURST: usize = 64;
/// Operations that are under way at once where there are very many.
const OUTSTANDING: usize = 100_000;

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

fn run_round_trips(config: &Config, wait: Wait, cpus: Cpus) -> f64 {
    let pool = pool(wait, cpus);
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

fn spawn_bursts_cpu(config: &Config, cpus: Cpus) -> f64 {
    let pool = pool(Wait::Adaptive, cpus);
    let measured = bursts_cpu(config.operations(1_000), move || spawn(&pool));
    on_tokio(cpus, measured)
}

fn dispatcher_bursts_cpu(config: &Config, cpus: Cpus) -> f64 {
    let peer = dispatcher(cpus);
    let measured = bursts_cpu(config.operations(1_000), move || dispatch(&peer));
    on_tokio(cpus, measured)
}

/// As [`bursts`], but microseconds of CPU time. A few come first, in which what the other side left
/// behind ends.
async fn bursts_cpu<F>(count: u64, mut start_one: impl FnMut() -> F) -> f64
where
    F: Future<Output = u64>,
{
    bursts(count / 10, &mut start_one).await;
    let before = process_cpu_time();
    bursts(count, start_one).await;
    let spent = process_cpu_time() - before;
    spent.as_secs_f64() * 1e6 / (count * BURST as u64) as f64
}

fn run_allocations(config: &Config) -> f64 {
    let pool = pool(Wait::Adaptive, Cpus::Apart);
    let operations = config.operations(10_000);
    on_tokio(Cpus::Apart, async move {
        round_trips(1_000, || run(&pool)).await;
        let (count, _) = allocations::during(round_trips(operations, || run(&pool))).await;
        count as f64 / operations as f64
    })
}

fn busy_wakeups(config: &Config) -> f64 {
    thread_local! {
        static BUSY: Cell<bool> = const { Cell::new(true) };
    }
    let pool = pool(Wait::Park, Cpus::Apart);
    let rounds = config.operations(500);
    on_tokio(Cpus::Apart, async move {
        let busy = pool.spawn(|| async {
            while BUSY.get() {
                let start = Instant::now();
                while start.elapsed() < Duration::from_micros(5) {
                    std::hint::spin_loop();
                }
                yield_now().await;
            }
        });
        // It has begun once another job behind it has an answer.
        run(&pool).await;
        let before = pool.metrics();
        for _ in 0..rounds {
            join_all((0..BURST).map(|_| run(&pool))).await;
        }
        let after = pool.metrics();
        pool.run(|| async { BUSY.set(false) })
            .await
            .expect("no panic");
        busy.await.expect("no panic");
        let crossings = after.total(|w| w.crossings_in) - before.total(|w| w.crossings_in);
        assert!(crossings >= rounds * BURST as u64);
        let wakeups = after.total(|w| w.wakeups_sent) - before.total(|w| w.wakeups_sent);
        wakeups as f64 / crossings as f64
    })
}

/// Lets the neighbours run, on any runtime.
async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

fn to_tokio_round_trips(config: &Config, cpus: Cpus) -> f64 {
    let runtime = tokio_side(cpus);
    let pool = pool(Wait::Adaptive, cpus);
    let (handle, operations) = (runtime.handle().clone(), config.operations(10_000));
    let measured = pool.run(move || {
        round_trips(operations, move || {
            let answer = handle.run(async { 1 });
            async move { answer.await.expect("an answer") }
        })
    });
    block_on(measured).expect("no panic")
}

fn plain_to_tokio_round_trips(config: &Config, cpus: Cpus) -> f64 {
    let runtime = tokio_side(cpus);
    let (handle, operations) = (runtime.handle().clone(), config.operations(10_000));
    let measured = thread::spawn(move || {
        if cpus == Cpus::Apart {
            pin_to(Cpus::COMPIO);
        }
        let compio = compio::runtime::Runtime::new().expect("a Compio runtime starts");
        compio.block_on(round_trips(operations, move || {
            let answer = handle.spawn(async { 1 });
            async move { answer.await.expect("an answer") }
        }))
    });
    measured.join().expect("no panic")
}

fn spawn_outstanding(cpus: Cpus) -> f64 {
    let pool = pool(Wait::Adaptive, cpus);
    on_tokio(
        cpus,
        outstanding(move |event| {
            let answer = pool.spawn(|| async {
                event.await;
                1
            });
            async move { answer.await.expect("an answer") }
        }),
    )
}

fn tokio_outstanding(cpus: Cpus) -> f64 {
    let other = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .on_thread_start(move || {
            if cpus == Cpus::Apart {
                pin_to(Cpus::COMPIO);
            }
        })
        .build()
        .expect("a Tokio runtime starts");
    let handle = other.handle().clone();
    on_tokio(
        cpus,
        outstanding(move |event| {
            let answer = handle.spawn(async {
                event.await;
                1
            });
            async move { answer.await.expect("an answer") }
        }),
    )
}

/// Starts [`OUTSTANDING`] jobs that wait for one event, which happens when the last has been sent, and
/// awaits them all; microseconds of wall time for each.
async fn outstanding<F>(mut start_one: impl FnMut(OwnedNotified) -> F) -> f64
where
    F: Future<Output = u64>,
{
    let event = Arc::new(Notify::new());
    let mut under_way = Vec::with_capacity(OUTSTANDING);
    let start = Instant::now();
    // What is told of the event are those who were made before it, polled or not.
    under_way.extend((0..OUTSTANDING).map(|_| start_one(event.clone().notified_owned())));
    event.notify_waiters();
    for one in under_way {
        assert_eq!(one.await, 1);
    }
    each(start, OUTSTANDING as u64)
}

fn idle_cpu(config: &Config) -> f64 {
    let pool = CompioPool::builder()
        .threads(4)
        .build()
        .expect("a pool starts");
    // Until it pays to look, so that the looks in vain that follow are counted too.
    for _ in 0..100 {
        block_on(join_all((0..BURST).map(|_| run(&pool))));
    }
    let (start, before) = (Instant::now(), process_cpu_time());
    thread::sleep(Duration::from_millis(config.operations(500)));
    let spent = process_cpu_time() - before;
    spent.as_secs_f64() * 1e3 / start.elapsed().as_secs_f64()
}

fn attached_round_trips(config: &Config, cpus: Cpus) -> f64 {
    let (send, attached) = std::sync::mpsc::channel();
    let (stop, stopped) = futures::channel::oneshot::channel::<()>();
    let foreign = thread::spawn(move || {
        if cpus == Cpus::Apart {
            pin_to(Cpus::COMPIO);
        }
        let runtime = compio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let handle = CompioHandle::attach().expect("a Compio runtime");
            send.send(handle).expect("somebody waits");
            _ = stopped.await;
        });
    });
    let handle = attached.recv().expect("the thread lives");
    let spent = on_tokio(
        cpus,
        round_trips(config.operations(10_000), move || {
            let answer = handle.run(|| async { 1 });
            async move { answer.await.expect("an answer") }
        }),
    );
    drop(stop);
    foreign.join().expect("no panic");
    spent
}

fn host_calls(config: &Config, cpus: Cpus) -> f64 {
    let pool = pool(Wait::Adaptive, cpus);
    let operations = config.operations(10_000);
    on_tokio(cpus, async move {
        let counter = pool
            .host(async || Ok::<_, std::convert::Infallible>(Cell::new(0_u64)))
            .await
            .expect("an object");
        round_trips(operations, || {
            let answer = counter.call(async |counter: &Cell<u64>| {
                counter.set(counter.get() + 1);
                1
            });
            async move { answer.await.expect("an answer") }
        })
        .await
    })
}

/// On a task, not in `block_on`: a task is where a program crosses from.
pub(crate) fn on_tokio(cpus: Cpus, measured: impl Future<Output = f64> + Send + 'static) -> f64 {
    let runtime = tokio_side(cpus);
    let task = runtime.spawn(measured);
    runtime.block_on(task).expect("no panic")
}

fn each(start: Instant, operations: u64) -> f64 {
    start.elapsed().as_secs_f64() * 1e6 / operations as f64
}
