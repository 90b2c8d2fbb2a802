//! A pool's figures through the `metrics` facade, for whatever exporter the program has.
//!
//! The pool counts by itself, whether anybody looks or not; the facade is told from time to time what has
//! come to be, by whoever wants that. So no crossing ever waits for an exporter's locks. Counters are set
//! to what they are; of the latencies each report gives the samples that came since the one before, each
//! as the middle of its bucket.

use std::{fmt, sync::Arc, time::Duration};

use ::metrics::{
    Label, SharedString, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

use super::{CompioPool, PoolShared, histogram::Histogram, metrics::WorkerMetrics};

/// Publishes a pool's [`metrics`](CompioPool::metrics) through the [`metrics`](::metrics) facade; from
/// [`CompioPool::metrics_reporter`]. Feature `metrics`.
///
/// | name | kind | labels | |
/// |---|---|---|---|
/// | `landbridge_pool_jobs_total` | counter | `outcome` | `completed`, `cancelled`, `panicked` |
/// | `landbridge_pool_crossings_total` | counter | `direction` | `in`, `out` |
/// | `landbridge_pool_wakeups_sent_total`, `.._wakeups_saved_total` | counter | | of crossings in |
/// | `landbridge_pool_callers_woken_total` | counter | | of crossings out |
/// | `landbridge_pool_parks_total`, `.._looks_paid_total` | counter | | |
/// | `landbridge_pool_busy_microseconds_total` | counter | | |
/// | `landbridge_pool_leaked_total` | counter | `what` | `tasks`, `runtimes` |
/// | `landbridge_pool_in_flight`, `.._queued` | gauge | | |
/// | `landbridge_pool_enqueue_to_start_seconds`, `.._start_to_finish_seconds` | histogram | | of one job in sixteen |
/// | `landbridge_pool_pending`, `.._waiting` | gauge | no `worker` | |
///
/// All have the label `pool`, and all but the last two `worker`, the index. What each says is with the
/// field of the same name in [`WorkerMetrics`] or [`PoolMetrics`](super::PoolMetrics). Counters of the
/// facade are whole numbers; that is why `busy` is not in seconds. A sample of a latency is the middle of
/// its bucket, at most an eighth off.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # futures::executor::block_on(async {
/// let pool = landbridge::CompioPool::builder().threads(1).build()?;
/// let exporter = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
/// let page = exporter.handle();
/// metrics::set_global_recorder(exporter)?;
///
/// let mut reporter = pool.metrics_reporter("storage");
/// pool.run(async || ()).await?;
/// // Every few seconds, or whenever the page is asked for.
/// reporter.report();
/// assert!(page.render().contains(
///     r#"landbridge_pool_jobs_total{pool="storage",worker="0",outcome="completed"} 1"#
/// ));
/// # Ok(())
/// # })
/// # }
/// ```
pub struct MetricsReporter {
    pool: Arc<PoolShared>,
    name: SharedString,
    /// What the latest report gave, for each worker; `None` before the first.
    reported: Option<Vec<Latencies>>,
}

#[derive(Clone, Default)]
struct Latencies {
    enqueue_to_start: Histogram,
    start_to_finish: Histogram,
}

impl MetricsReporter {
    /// Tells the facade what the pool has done, to the recorder that is in force here and now.
    ///
    /// # Panics
    ///
    /// If that recorder does.
    pub fn report(&mut self) {
        let metrics = self.pool.metrics();
        let reported = self.reported.get_or_insert_with(|| {
            describe();
            vec![Latencies::default(); metrics.workers.len()]
        });
        let pool = Label::new("pool", self.name.clone());
        for (index, (worker, reported)) in metrics.workers.into_iter().zip(reported).enumerate() {
            let labels = Labels(vec![pool.clone(), Label::new("worker", index.to_string())]);
            labels.report(worker, reported);
        }
        let labels = vec![pool];
        gauge!("landbridge_pool_pending", labels.clone()).set(metrics.pending as f64);
        gauge!("landbridge_pool_waiting", labels).set(metrics.waiting as f64);
    }
}

impl fmt::Debug for MetricsReporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsReporter")
            .field("pool", &self.name)
            .finish_non_exhaustive()
    }
}

impl CompioPool {
    /// Publishes the pool's metrics through the [`metrics`] facade, each with `name` as its
    /// label `pool`. Feature `metrics`.
    ///
    /// It does not keep the pool alive, and reports its last figures when the pool is gone. One for each
    /// pool is enough: two of them would both give every latency.
    pub fn metrics_reporter(&self, name: impl Into<String>) -> MetricsReporter {
        MetricsReporter {
            pool: Arc::clone(self.shared()),
            name: name.into().into(),
            reported: None,
        }
    }
}

/// Of one worker.
struct Labels(Vec<Label>);

impl Labels {
    fn report(&self, worker: WorkerMetrics, reported: &mut Latencies) {
        let plain = || self.0.clone();
        for (outcome, jobs) in [
            ("completed", worker.completed),
            ("cancelled", worker.cancelled),
            ("panicked", worker.panicked),
        ] {
            counter!("landbridge_pool_jobs_total", self.and("outcome", outcome)).absolute(jobs);
        }
        for (direction, crossings) in [("in", worker.crossings_in), ("out", worker.crossings_out)] {
            let labels = self.and("direction", direction);
            counter!("landbridge_pool_crossings_total", labels).absolute(crossings);
        }
        for (what, leaked) in [
            ("tasks", worker.leaked_tasks),
            ("runtimes", worker.leaked_runtimes),
        ] {
            counter!("landbridge_pool_leaked_total", self.and("what", what)).absolute(leaked);
        }
        // Below 2^64 for half a million years.
        let busy = worker.busy.as_micros() as u64;
        for (name, count) in [
            ("landbridge_pool_wakeups_sent_total", worker.wakeups_sent),
            ("landbridge_pool_wakeups_saved_total", worker.wakeups_saved),
            ("landbridge_pool_callers_woken_total", worker.callers_woken),
            ("landbridge_pool_parks_total", worker.parks),
            ("landbridge_pool_looks_paid_total", worker.looks_paid),
            ("landbridge_pool_busy_microseconds_total", busy),
        ] {
            counter!(name, plain()).absolute(count);
        }
        gauge!("landbridge_pool_in_flight", plain()).set(worker.in_flight as f64);
        gauge!("landbridge_pool_queued", plain()).set(worker.queued as f64);
        let now = Latencies {
            enqueue_to_start: worker.enqueue_to_start,
            start_to_finish: worker.start_to_finish,
        };
        for (name, now, before) in [
            (
                "landbridge_pool_enqueue_to_start_seconds",
                &now.enqueue_to_start,
                &reported.enqueue_to_start,
            ),
            (
                "landbridge_pool_start_to_finish_seconds",
                &now.start_to_finish,
                &reported.start_to_finish,
            ),
        ] {
            let samples = histogram!(name, plain());
            for (now, before) in now.buckets().zip(before.buckets()) {
                let new = now.count - before.count;
                if new > 0 {
                    let middle = match now.below {
                        Duration::MAX => now.from,
                        below => (now.from + below) / 2,
                    };
                    samples.record_many(middle.as_secs_f64(), new as usize);
                }
            }
        }
        *reported = now;
    }

    fn and(&self, key: &'static str, value: &'static str) -> Vec<Label> {
        let mut labels = self.0.clone();
        labels.push(Label::new(key, value));
        labels
    }
}

fn describe() {
    for (name, text) in [
        ("landbridge_pool_jobs_total", "Jobs that have ended."),
        (
            "landbridge_pool_crossings_total",
            "What came from other threads, and results that went back.",
        ),
        (
            "landbridge_pool_wakeups_sent_total",
            "Crossings in that had to wake the worker.",
        ),
        (
            "landbridge_pool_wakeups_saved_total",
            "Crossings in that found the worker awake.",
        ),
        (
            "landbridge_pool_callers_woken_total",
            "Crossings out that had to wake a task.",
        ),
        (
            "landbridge_pool_parks_total",
            "How often the worker went to sleep.",
        ),
        (
            "landbridge_pool_looks_paid_total",
            "How often looking again before sleeping found something.",
        ),
        (
            "landbridge_pool_leaked_total",
            "What could not be freed safely.",
        ),
    ] {
        describe_counter!(name, Unit::Count, text);
    }
    describe_counter!(
        "landbridge_pool_busy_microseconds_total",
        Unit::Microseconds,
        "How long the worker has been awake."
    );
    for (name, text) in [
        ("landbridge_pool_in_flight", "Jobs that are not finished."),
        ("landbridge_pool_queued", "Jobs that are not begun."),
        (
            "landbridge_pool_pending",
            "Jobs that wait for a place in the pool.",
        ),
        (
            "landbridge_pool_waiting",
            "Callers that wait for a place in the pool.",
        ),
    ] {
        describe_gauge!(name, Unit::Count, text);
    }
    for (name, text) in [
        (
            "landbridge_pool_enqueue_to_start_seconds",
            "How long jobs were queued for their worker.",
        ),
        (
            "landbridge_pool_start_to_finish_seconds",
            "How long jobs took once they were begun.",
        ),
    ] {
        describe_histogram!(name, Unit::Seconds, text);
    }
}
