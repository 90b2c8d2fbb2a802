//! A pool's figures as a real exporter of the `metrics` facade shows them.

mod support;

use std::future::pending;

use landbridge::CompioPool;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use support::{block_on, eventually, for_each_driver, hold};

/// One line of the page: `name{labels} value`.
fn value(page: &str, series: &str) -> f64 {
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} is not in\n{page}"))
        .parse()
        .unwrap()
}

fn exporter() -> (PrometheusRecorder, PrometheusHandle) {
    let recorder = PrometheusBuilder::new()
        .set_buckets(&[1e-7, 1.0, 1e6])
        .unwrap()
        .build_recorder();
    let handle = recorder.handle();
    (recorder, handle)
}

fn of_worker(name: &str) -> String {
    format!("landbridge_pool_{name}{{pool=\"storage\",worker=\"0\"}}")
}

fn with(name: &str, label: &str) -> String {
    format!("landbridge_pool_{name}{{pool=\"storage\",worker=\"0\",{label}}}")
}

/// A dashboard shows what the exporter prints: every figure must get there, under its name, unchanged.
#[test]
fn every_figure_is_on_the_exporters_page() {
    for_each_driver(|builder| {
        let pool = builder().max_in_flight(600).build().unwrap();
        let (recorder, handle) = exporter();
        let mut reporter = pool.metrics_reporter("storage");
        let report = |reporter: &mut landbridge::pool::MetricsReporter| {
            metrics::with_local_recorder(&recorder, || reporter.report());
            handle.render()
        };

        let release = hold(&pool);
        let jobs = (0..500).map(|n| pool.spawn(async move || n));
        let jobs = jobs.collect::<Vec<_>>();
        let page = report(&mut reporter);
        assert_eq!(value(&page, &of_worker("in_flight")), 501.0);
        assert_eq!(value(&page, &of_worker("queued")), 500.0);
        assert_eq!(
            value(&page, "landbridge_pool_pending{pool=\"storage\"}"),
            0.0
        );
        assert_eq!(
            value(&page, &with("jobs_total", "outcome=\"completed\"")),
            0.0
        );

        drop(release);
        for (n, job) in jobs.into_iter().enumerate() {
            assert_eq!(block_on(job).unwrap(), n);
        }
        let panics = pool.spawn(async || -> () { std::panic::resume_unwind(Box::new(())) });
        assert!(block_on(panics).is_err());
        let endless = pool.spawn(async || pending::<()>().await);
        assert!(block_on(endless.cancel()).is_err());
        let held = (0..603).map(|_| pool.spawn(async || pending::<()>().await));
        let held = held.collect::<Vec<_>>();
        eventually("they are begun", || pool.metrics().workers[0].queued == 3);

        let page = report(&mut reporter);
        let worker = &pool.metrics().workers[0];
        for (series, expected) in [
            (with("jobs_total", "outcome=\"completed\""), 501),
            (with("jobs_total", "outcome=\"panicked\""), 1),
            (with("jobs_total", "outcome=\"cancelled\""), 1),
            (
                with("crossings_total", "direction=\"in\""),
                worker.crossings_in,
            ),
            (with("crossings_total", "direction=\"out\""), 502),
            (with("leaked_total", "what=\"tasks\""), 0),
            (of_worker("wakeups_sent_total"), worker.wakeups_sent),
            (of_worker("wakeups_saved_total"), worker.wakeups_saved),
            (of_worker("callers_woken_total"), worker.callers_woken),
            (of_worker("in_flight"), 603),
            (of_worker("queued"), 3),
            ("landbridge_pool_pending{pool=\"storage\"}".to_owned(), 3),
            ("landbridge_pool_waiting{pool=\"storage\"}".to_owned(), 0),
            (
                of_worker("enqueue_to_start_seconds_count"),
                worker.enqueue_to_start.count(),
            ),
            (
                of_worker("start_to_finish_seconds_count"),
                worker.start_to_finish.count(),
            ),
        ] {
            assert_eq!(value(&page, &series), expected as f64, "{series}");
        }
        let exact = worker.enqueue_to_start.sum().as_secs_f64();
        let said = value(&page, &of_worker("enqueue_to_start_seconds_sum"));
        // The shortest are all in the bucket up to 128 ns.
        let slack = exact / 8.0 + 128e-9 * worker.enqueue_to_start.count() as f64;
        assert!(worker.enqueue_to_start.count() > 0);
        assert!((said - exact).abs() <= slack, "{said} for {exact}");
        assert!(
            value(&page, &of_worker("busy_microseconds_total")) <= worker.busy.as_micros() as f64
        );
        assert!(
            page.contains("# TYPE landbridge_pool_jobs_total counter"),
            "{page}"
        );
        assert!(
            page.contains("# TYPE landbridge_pool_in_flight gauge"),
            "{page}"
        );
        assert!(
            page.contains("# TYPE landbridge_pool_start_to_finish_seconds histogram"),
            "{page}"
        );
        assert!(
            page.contains("# HELP landbridge_pool_jobs_total Jobs that have ended."),
            "{page}"
        );
        drop(held);
    });
}

/// Each sample once, however often a page is asked for.
#[test]
fn a_report_gives_only_what_is_new() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (recorder, handle) = exporter();
        let mut reporter = pool.metrics_reporter("storage");
        for _ in 0..3 {
            for _ in 0..500 {
                block_on(pool.run(async || ())).unwrap();
            }
            for _ in 0..2 {
                metrics::with_local_recorder(&recorder, || reporter.report());
                let counted = pool.metrics().start_to_finish().count();
                let said = value(
                    &handle.render(),
                    &of_worker("start_to_finish_seconds_count"),
                );
                assert!(counted > 0);
                assert_eq!(said, counted as f64);
            }
        }
    });
}

/// The last figures are often those that matter; and a reporter in a task must not keep a pool going.
#[test]
fn a_reporter_outlives_its_pool_and_does_not_keep_it() {
    let _watchdog = support::watchdog();
    let pool = CompioPool::builder().threads(2).build().unwrap();
    let weak = pool.downgrade();
    let mut reporter = pool.metrics_reporter("storage");
    let job = pool
        .worker(0)
        .unwrap()
        .spawn(async || pending::<()>().await);
    drop(pool);
    assert!(weak.upgrade().is_none());
    assert!(block_on(job).is_err());
    let (recorder, handle) = exporter();
    metrics::with_local_recorder(&recorder, || reporter.report());
    let cancelled = with("jobs_total", "outcome=\"cancelled\"");
    assert_eq!(value(&handle.render(), &cancelled), 1.0);
}
