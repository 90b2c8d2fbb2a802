//! Work sent from Tokio to a Compio thread, and its result back.

use std::{num::NonZeroUsize, sync::Arc, time::Instant};

use compio_dispatcher::Dispatcher;

use crate::Row;

/// The rows of this group.
pub const ROWS: &[Row] = &[];

/// Operations that are under way at once in a burst.
pub const BURST: usize = 64;

/// The runtime that sends the work: two workers, as on the smallest machine that shows a crossing.
///
/// # Panics
/// When the threads cannot be started.
pub fn tokio_side() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a Tokio runtime starts")
}

/// The peer: one thread that runs Compio.
///
/// # Panics
/// When the thread cannot be started.
pub fn dispatcher() -> Arc<Dispatcher> {
    let dispatcher = Dispatcher::builder()
        .worker_threads(NonZeroUsize::MIN)
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

fn each(start: Instant, operations: u64) -> f64 {
    start.elapsed().as_secs_f64() * 1e6 / operations as f64
}
