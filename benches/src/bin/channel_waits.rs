//! Prints what each wait policy costs: the figures in the docs of `Wait`.
//!
//! Throughput is measured in interleaved rounds, of which the medians are printed.

use std::time::Duration;

use landbridge::channel::Wait;
use landbridge_benches::channel::{Channel, MESSAGES, idle_cpu, nanos_per_message, trickle_cpu};

const ROUNDS: usize = 11;
const WAITS: [Wait; 3] = [
    Wait::Park,
    Wait::Adaptive,
    Wait::Spin(Duration::from_micros(50)),
];

fn main() {
    let channels = [
        Channel::Tokio,
        Channel::Flume,
        Channel::AsyncChannel,
        Channel::Futures,
        Channel::Ours(WAITS[0]),
        Channel::Ours(WAITS[1]),
        Channel::Ours(WAITS[2]),
    ];
    let mut rounds = channels.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (channel, nanos) in channels.iter().zip(&mut rounds) {
            nanos.push(nanos_per_message(*channel, 64, MESSAGES));
        }
    }
    println!("{ROUNDS} rounds of {MESSAGES} messages, capacity 64");
    for (channel, nanos) in channels.iter().zip(&rounds) {
        let ratios = nanos
            .iter()
            .zip(&rounds[0])
            .map(|(ours, tokio)| ours / tokio);
        println!(
            "{:28} {:8.1} ns/message (min {:.1}, max {:.1}), {:.3} of tokio's mpsc",
            format!("{channel:?}"),
            median(nanos.clone()),
            nanos.iter().copied().fold(f64::INFINITY, f64::min),
            nanos.iter().copied().fold(0.0, f64::max),
            median(ratios.collect()),
        );
    }
    for wait in WAITS {
        println!(
            "{:28} idle {:.4} % of a CPU, 1000 messages/s {:.2} %",
            format!("{wait:?}"),
            idle_cpu(wait, Duration::from_secs(1)) * 100.0,
            trickle_cpu(Channel::Ours(wait), 1000) * 100.0,
        );
    }
    println!(
        "{:28} 1000 messages/s {:.2} %",
        "tokio's mpsc",
        trickle_cpu(Channel::Tokio, 1000) * 100.0,
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
