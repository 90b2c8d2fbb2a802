//! Latency histograms, and the text of `GET /metrics`.
//!
//! Both runtimes write to the same histograms: a few relaxed atomic additions, so it does not matter
//! which thread records. Copy what you lack; a code base that has a metrics crate keeps it.

use std::{
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::store::Store;

/// Sub-buckets for each power of two: a quantile is off by an eighth at most.
const FINE: u64 = 8;
const BUCKETS: usize = 512;

/// Durations, in buckets that grow with what they hold.
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Histogram {
    pub(crate) const fn new() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            nanos: AtomicU64::new(0),
        }
    }

    pub(crate) fn record(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get(bucket_of(nanos)) {
            bucket.fetch_add(1, Relaxed);
        }
        self.nanos.fetch_add(nanos, Relaxed);
    }

    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Relaxed)).sum()
    }

    pub(crate) fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Relaxed))
    }

    /// The duration that a share `q` of all stays below; zero if there is none.
    pub(crate) fn quantile(&self, q: f64) -> Duration {
        let rank = (self.count() as f64 * q).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            seen += bucket.load(Relaxed);
            if seen >= rank {
                return Duration::from_nanos(lower_end(index + 1));
            }
        }
        Duration::ZERO
    }
}

fn bucket_of(nanos: u64) -> usize {
    if nanos < FINE {
        return nanos as usize;
    }
    let octave = u64::from(nanos.ilog2()) - 3;
    (octave * FINE + (nanos >> octave)) as usize
}

fn lower_end(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * FINE {
        return bucket;
    }
    let octave = bucket / FINE - 1;
    let end = u128::from(FINE + bucket % FINE) << octave;
    u64::try_from(end).unwrap_or(u64::MAX)
}

/// What the process measures of itself.
pub(crate) struct Metrics {
    /// On Tokio: from the head of a request to the head of its response.
    pub(crate) requests: Histogram,
    /// In the store: from an operation's place among the others to its end, with all that it streams.
    pub(crate) storage: Histogram,
    /// Responses by the first digit of their status.
    pub(crate) responses: [AtomicU64; 6],
}

impl Metrics {
    pub(crate) const fn new() -> Self {
        Self {
            requests: Histogram::new(),
            storage: Histogram::new(),
            responses: [const { AtomicU64::new(0) }; 6],
        }
    }
}

/// The text format that Prometheus reads.
pub(crate) fn render(store: &Store) -> String {
    let mut text = String::new();
    // Writing to a `String` cannot fail.
    _ = write(&mut text, store);
    text
}

fn write(out: &mut String, store: &Store) -> std::fmt::Result {
    let metrics = store.metrics();
    let pool = store.pool().metrics();
    writeln!(
        out,
        "# HELP object_store_latency_seconds Time spent in each runtime, and between them"
    )?;
    writeln!(out, "# TYPE object_store_latency_seconds summary")?;
    let (requests, storage) = (&metrics.requests, &metrics.storage);
    // From handing work to the pool until it starts there: the pool knows.
    let crossing = pool.enqueue_to_start();
    let quantile = |q| requests.quantile(q);
    summary(out, "tokio", quantile, requests.count(), requests.sum())?;
    let quantile = |q| crossing.quantile(q);
    summary(out, "crossing", quantile, crossing.count(), crossing.sum())?;
    let quantile = |q| storage.quantile(q);
    summary(out, "compio", quantile, storage.count(), storage.sum())?;

    let tokio = tokio::runtime::Handle::current().metrics();
    writeln!(
        out,
        "# HELP object_store_queue_depth Tasks and jobs that wait for a thread"
    )?;
    writeln!(out, "# TYPE object_store_queue_depth gauge")?;
    let depth = tokio.global_queue_depth();
    writeln!(out, "object_store_queue_depth{{runtime=\"tokio\"}} {depth}")?;
    for (index, worker) in pool.workers.iter().enumerate() {
        let depth = worker.queued;
        writeln!(
            out,
            "object_store_queue_depth{{runtime=\"compio\",worker=\"{index}\"}} {depth}"
        )?;
    }
    writeln!(out, "# TYPE object_store_tasks gauge")?;
    writeln!(
        out,
        "object_store_tasks{{runtime=\"tokio\"}} {}",
        tokio.num_alive_tasks()
    )?;
    for (index, worker) in pool.workers.iter().enumerate() {
        let tasks = worker.in_flight;
        writeln!(
            out,
            "object_store_tasks{{runtime=\"compio\",worker=\"{index}\"}} {tasks}"
        )?;
    }

    writeln!(out, "# TYPE object_store_crossings_total counter")?;
    writeln!(
        out,
        "object_store_crossings_total {}",
        pool.total(|worker| worker.crossings_in)
    )?;
    writeln!(out, "# TYPE object_store_wakeups_total counter")?;
    let (sent, saved) = (
        pool.total(|worker| worker.wakeups_sent),
        pool.total(|worker| worker.wakeups_saved),
    );
    writeln!(out, "object_store_wakeups_total{{kind=\"sent\"}} {sent}")?;
    writeln!(out, "object_store_wakeups_total{{kind=\"saved\"}} {saved}")?;

    writeln!(out, "# TYPE object_store_responses_total counter")?;
    for (class, count) in metrics.responses.iter().enumerate().skip(1) {
        let count = count.load(Relaxed);
        writeln!(
            out,
            "object_store_responses_total{{status=\"{class}xx\"}} {count}"
        )?;
    }
    writeln!(out, "# TYPE object_store_operations_in_flight gauge")?;
    writeln!(
        out,
        "object_store_operations_in_flight {}",
        store.in_flight()
    )?;
    writeln!(out, "# TYPE object_store_bytes gauge")?;
    writeln!(out, "object_store_bytes{{kind=\"used\"}} {}", store.used())?;
    writeln!(
        out,
        "object_store_bytes{{kind=\"capacity\"}} {}",
        store.limits().capacity
    )
}

fn summary(
    out: &mut String,
    runtime: &str,
    quantile: impl Fn(f64) -> Duration,
    count: u64,
    sum: Duration,
) -> std::fmt::Result {
    let name = "object_store_latency_seconds";
    for q in [0.5, 0.9, 0.99] {
        let seconds = quantile(q).as_secs_f64();
        writeln!(
            out,
            "{name}{{runtime=\"{runtime}\",quantile=\"{q}\"}} {seconds}"
        )?;
    }
    let sum = sum.as_secs_f64();
    writeln!(out, "{name}_sum{{runtime=\"{runtime}\"}} {sum}")?;
    writeln!(out, "{name}_count{{runtime=\"{runtime}\"}} {count}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bucket's place must be found again from its number, or every quantile is wrong.
    #[test]
    fn a_bucket_holds_what_lies_between_its_ends() {
        let values = (0..64).flat_map(|shift| {
            [0, 1, 3].map(|more| (1_u64 << shift).saturating_add(more << (shift / 2)))
        });
        for nanos in values.chain([0, 7, 8, 15, 16, 17, u64::MAX]) {
            let bucket = bucket_of(nanos);
            assert!(bucket < BUCKETS, "{nanos}");
            assert!(lower_end(bucket) <= nanos, "{nanos} in {bucket}");
            assert!(
                nanos < lower_end(bucket + 1) || lower_end(bucket + 1) == u64::MAX,
                "{nanos} in {bucket}"
            );
        }
    }

    /// The table and `/metrics` show nothing else.
    #[test]
    fn quantiles_are_off_by_an_eighth_at_most() {
        let histogram = Histogram::new();
        assert_eq!(histogram.quantile(0.5), Duration::ZERO);
        for micros in 1..=1000 {
            histogram.record(Duration::from_micros(micros));
        }
        for (q, exact) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = histogram.quantile(q).as_secs_f64() * 1e6;
            assert!(
                found >= exact && found <= exact * 1.126,
                "{q}: {found} of {exact}"
            );
        }
        assert_eq!(
            (histogram.count(), histogram.sum()),
            (1000, Duration::from_micros(500_500))
        );
    }
}
