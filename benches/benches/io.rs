//! Question: what does a shim cost a server for each message?
//!
//! Baselines: for `TokioAsCompio`, the Tokio socket as it is; for `CompioAsTokio`, Compio's own
//! `AsyncStream` with tokio-util's `compat` around it, on the same tuned runtime; for
//! `SocketAsTokio`, Compio's own traits and Tokio's sockets. Measured is CPU time of the server's
//! thread, 64 bytes a message, 64 connections. Left out: the client's side, accepting, latency, and
//! large transfers.

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use landbridge_benches::{
    Config,
    io::{self, Cost, Load},
};

type Row = (&'static str, fn(Load) -> Cost);

fn echo(c: &mut Criterion) {
    let mut group = c.benchmark_group("io/echo");
    group.sample_size(10);
    let rows: [Row; 6] = [
        ("SocketAsTokio", io::into_tokio_io),
        ("compio", io::plain_compio),
        ("tokio", io::plain_tokio),
        ("CompioAsTokio", io::compio_as_tokio),
        ("compio AsyncStream + compat", io::async_stream),
        ("TokioAsCompio", io::tokio_as_compio),
    ];
    for (name, row) in rows {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|messages| {
                // Whole rounds, and enough of them; scaled to the messages asked for.
                let mut load = Load::echo64(&Config::new(false));
                load.rounds = (messages as usize / load.connections).max(200);
                Duration::from_nanos((row(load) * messages as f64) as u64)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, echo);
criterion_main!(benches);
