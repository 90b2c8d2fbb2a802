//! What waiting costs: CPU time, and the time of others on the same thread.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use landbridge::channel::{self, Wait};

use super::{Channel, cross};
use crate::threads::process_cpu_time;

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

/// CPU milliseconds of the process for each second in which so many channels carry nothing.
pub(super) fn idle_channels(channels: usize, milliseconds: u64) -> f64 {
    /// So that it pays to look, and the looks in vain that follow are counted too.
    const MESSAGES: u64 = 100;
    let (mut senders, mut receivers): (Vec<_>, Vec<_>) =
        (0..channels).map(|_| channel::spsc::<u64>(16)).unzip();
    let (spent, was_spent) = std::sync::mpsc::channel();
    cross(
        async move {
            for tx in &mut senders {
                for message in 0..MESSAGES {
                    tx.send(message).await.expect("a receiver");
                }
            }
            let (start, before) = (Instant::now(), process_cpu_time());
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            let cpu = process_cpu_time() - before;
            let per_second = cpu.as_secs_f64() * 1e3 / start.elapsed().as_secs_f64();
            spent.send(per_second).expect("a listener");
        },
        async move {
            let receiving = receivers.drain(..).map(|mut rx| {
                compio::runtime::spawn(async move {
                    let mut received = 0;
                    while rx.recv().await.is_some() {
                        received += 1;
                    }
                    assert_eq!(received, MESSAGES);
                })
            });
            for task in receiving.collect::<Vec<_>>() {
                task.await.expect("no panic");
            }
        },
    );
    was_spent.recv().expect("a result")
}

/// How late, in microseconds at the 99th percentile, a sleep of a millisecond ends beside a receiver.
pub(super) fn neighbour_p99(wait: Wait, times: usize) -> f64 {
    const NAP: Duration = Duration::from_millis(1);
    let (mut tx, mut rx) = channel::builder().capacity(64).wait(wait).spsc::<u64>();
    let enough = Arc::new(AtomicBool::new(false));
    let is_enough = enough.clone();
    let (late, was_late) = std::sync::mpsc::channel();
    cross(
        async move {
            let mut message = 0;
            while !is_enough.load(Ordering::Relaxed) {
                tx.send(message).await.expect("a receiver");
                message += 1;
            }
        },
        async move {
            let neighbour = compio::runtime::spawn(async move {
                let mut delays = Vec::with_capacity(times);
                for _ in 0..times {
                    let start = Instant::now();
                    compio::time::sleep(NAP).await;
                    delays.push(start.elapsed().saturating_sub(NAP));
                }
                enough.store(true, Ordering::Relaxed);
                delays.sort_unstable();
                late.send(delays[times * 99 / 100]).expect("a listener");
            });
            while rx.recv().await.is_some() {}
            neighbour.await.expect("no panic");
        },
    );
    was_late.recv().expect("a result").as_secs_f64() * 1e6
}
