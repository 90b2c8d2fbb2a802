//! Question: what does a shim cost a server for each message?
//!
//! Baselines: for `TokioAsCompio`, the Tokio socket as it is; for `CompioAsTokio`, Compio's own
//! `AsyncStream` with tokio-util's `compat` around it, on the same tuned runtime. Compio's own
//! traits stand beside them. Measured is CPU time of the server's thread, 64 bytes a message, 64
//! connections. Left out: the client's side, accepting, latency, and large transfers.

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use landbridge_benches::io;

type Row = (&'static str, fn(usize) -> f64);

fn echo(c: &mut Criterion) {
    let mut group = c.benchmark_group("io/echo");
    group.sample_size(10);
    let rows: [Row; 5] = [
        ("TokioAsCompio", io::tokio_as_compio_echo),
        ("tokio", io::plain_tokio_echo),
        ("CompioAsTokio", io::compio_as_tokio_echo),
        ("compio AsyncStream + compat", io::async_stream_echo),
        ("compio", io::plain_compio_echo),
    ];
    for (name, row) in rows {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|messages| {
                // Whole rounds, and enough of them; scaled to the messages asked for.
                let rounds = (messages as usize / io::CONNECTIONS).max(200);
                Duration::from_nanos((row(rounds) * messages as f64) as u64)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, echo);
criterion_main!(benches);
