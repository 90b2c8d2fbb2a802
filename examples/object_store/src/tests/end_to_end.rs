use std::time::Duration;

use axum::http::StatusCode;
use landbridge::Driver;

use super::{files, server};
use crate::{
    demo::{self, Demo, DemoError, Held, Object, Plan},
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
