use std::{sync::mpsc, time::Duration};

use axum::http::StatusCode;
use futures::channel::oneshot;
use landbridge::Driver;
use prometheus_parse::{Scrape, Value};

use super::{files, server};
use crate::{
    demo::{self, Demo, DemoError, Held, Kept, Object, Plan},
    server::Config,
};

async fn demonstrate(driver: Driver, threads: usize) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::new(dir.path());
    config.driver = driver;
    config.threads = Some(threads);
    let plan = Plan {
        objects: 40,
        largest: 4 << 20,
        at_once: 16,
        timeout: Duration::from_secs(300),
    };
    // Twice, in the same directory: the second run finds what the first has left.
    for _ in 0..2 {
        let mut out = Vec::new();
        let result = demo::run(config.clone(), &plan, &mut out).await;
        let out = String::from_utf8(out).unwrap();
        result.unwrap_or_else(|error| panic!("{error}, after:\n{out}"));
        let last = out.lines().last().unwrap();
        assert!(
            last.starts_with("ok: ") && last.ends_with(" bytes verified"),
            "{out}"
        );
    }
}

/// The main job, smaller, on the best driver there is.
#[tokio::test(flavor = "multi_thread")]
async fn the_demonstration_ends_with_ok() {
    demonstrate(Driver::Auto, 2).await;
}

/// The same where io_uring is refused.
#[tokio::test(flavor = "multi_thread")]
async fn the_demonstration_ends_with_ok_on_the_polling_driver() {
    demonstrate(Driver::Polling, 1).await;
}

/// A demonstration that checks nothing would say ok as well.
#[tokio::test]
async fn the_demonstration_notices_a_changed_byte_and_a_missing_one() -> Result<(), DemoError> {
    let (server, dir) = server(|_| {}).await;
    let demo = Demo::new(server.addr())?;
    let object = Object::new("demo-x", 1, 100_000).await?;
    demo.put(&object, true, StatusCode::CREATED).await?;
    demo.get(&object).await?;

    let file = files(dir.path(), "objects").remove(0);
    let content = std::fs::read(&file)?;
    let mut changed = content.clone();
    changed[77_777] ^= 1;
    std::fs::write(&file, &changed)?;
    assert!(matches!(
        demo.get(&object).await,
        Err(DemoError::Mismatch(_))
    ));
    std::fs::write(&file, &content[1..])?;
    assert!(matches!(
        demo.get(&object).await,
        Err(DemoError::Mismatch(_))
    ));
    std::fs::write(&file, &content)?;
    demo.get(&object).await
}

/// After the grace period nobody holds up the end; and what was cut off leaves nothing behind.
#[tokio::test]
async fn a_drain_cuts_off_what_does_not_end() -> Result<(), DemoError> {
    let (server, dir) = server(|_| {}).await;
    let demo = Demo::new(server.addr())?;
    let object = Object::new("demo-x", 1, 32 << 20).await?;
    demo.put(&object, true, StatusCode::CREATED).await?;
    let unread = demo
        .object(reqwest::Method::GET, &object.name)
        .send()
        .await?;
    let held = Held::new(&demo, "demo-held", None).await?;
    demo.until("object_store_operations_in_flight", 2).await?;
    assert!(!server.drain(Duration::ZERO).await);
    assert!(unread.bytes().await.is_err());
    if let Ok(answer) = held.finish().await {
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    assert!(files(dir.path(), "incoming").is_empty());
    assert_eq!(files(dir.path(), "objects").len(), 1);
    Ok(())
}

/// A client of a storage that stands still must be told, and the operator see which part it is.
#[tokio::test]
async fn a_storage_that_does_not_answer_is_a_503_and_no_dead_process() -> Result<(), DemoError> {
    let (server, dir) = server(|config| {
        config.threads = Some(1);
        config.limits.answer = Duration::from_millis(50);
    })
    .await;
    let demo = Demo::new(server.addr())?;
    let object = Object::new("demo-x", 1, 1000).await?;
    demo.put(&object, true, StatusCode::CREATED).await?;

    let (free, held) = mpsc::channel::<()>();
    let (holds, is_held) = oneshot::channel();
    let holder = server.store().pool().spawn(async move || {
        _ = holds.send(());
        held.recv()
    });
    is_held.await.unwrap();
    let mut kept = Kept::connect(server.addr()).await?;
    assert!(kept.get("/healthz").await?.starts_with("HTTP/1.1 200 "));
    assert!(kept.get("/readyz").await?.starts_with("HTTP/1.1 503 "));
    let delete = demo.object(reqwest::Method::DELETE, &object.name);
    let late = delete.send().await?;
    assert_eq!(late.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(late.headers()["retry-after"], "1");

    // The deletion had been asked for, and takes place.
    drop(free);
    assert!(holder.await.unwrap().is_err());
    demo.until("object_store_operations_in_flight", 0).await?;
    assert!(files(dir.path(), "objects").is_empty());
    assert!(kept.get("/readyz").await?.starts_with("HTTP/1.1 200 "));
    assert!(server.drain(Duration::from_secs(30)).await);
    Ok(())
}

/// What no scraper understands, nobody sees.
#[tokio::test]
async fn a_scraper_understands_the_metrics() -> Result<(), DemoError> {
    let (server, _dir) = server(|_| {}).await;
    let demo = Demo::new(server.addr())?;
    let object = Object::new("demo-x", 1, 1000).await?;
    demo.put(&object, true, StatusCode::CREATED).await?;
    demo.get(&object).await?;
    let page = reqwest::get(format!("http://{}/metrics", server.addr())).await?;
    let format = page.headers()["content-type"].to_str().unwrap();
    assert!(format.starts_with("text/plain; version=0.0.4"), "{format}");
    let text = page.text().await?;
    let lines = text.lines().map(|line| Ok(line.to_owned()));
    let scraped = Scrape::parse(lines)?;
    for runtime in ["tokio", "crossing", "compio"] {
        let latency = scraped.samples.iter().find(|sample| {
            sample.metric == "object_store_latency_seconds"
                && sample.labels.get("runtime") == Some(runtime)
        });
        let Value::Summary(quantiles) = &latency.unwrap().value else {
            panic!("{latency:?}");
        };
        assert_eq!(quantiles.len(), 3, "{runtime}");
    }
    let value = |name: &str, label: &str, is: &str| {
        let mut samples = scraped.samples.iter();
        let sample = samples.find(|it| it.metric == name && it.labels.get(label) == Some(is));
        match sample.map(|sample| &sample.value) {
            Some(Value::Counter(value) | Value::Gauge(value)) => *value,
            other => panic!("{name}: {other:?}"),
        }
    };
    assert_eq!(value("object_store_responses_total", "status", "2xx"), 2.0);
    assert!(value("object_store_wakeups_total", "kind", "sent") >= 0.0);
    assert!(value("object_store_queue_depth", "runtime", "compio") >= 0.0);
    assert_eq!(value("object_store_bytes", "kind", "used"), 1000.0);
    assert!(server.drain(Duration::from_secs(30)).await);
    Ok(())
}
