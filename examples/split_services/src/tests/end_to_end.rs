//! The demonstration, smaller; and that it can fail.

use std::{future::Future, time::Duration};

use axum::http::{Method, StatusCode, header::RETRY_AFTER};
use rustix::process::Signal;

use crate::{
    Link,
    demo::{self, Demo, DemoError, Plan, content, expect},
    front::{self, READYZ, X_TIMEOUT_MS},
};

fn plan(storage: &'static [&'static str]) -> Plan {
    Plan {
        objects: 12,
        large: 6 << 20,
        rounds: 1,
        requests: 10,
        storage,
        timeout: Duration::from_secs(50),
    }
}

/// A hang is to be a failure.
async fn bounded<T>(test: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(Duration::from_secs(60), test).await;
    done.expect("it ends")
}

async fn demonstrate(storage: &'static [&'static str]) {
    let mut out = Vec::new();
    let result = demo::run(&plan(storage), &mut out).await;
    let out = String::from_utf8(out).unwrap();
    result.unwrap_or_else(|error| panic!("{error}, after:\n{out}"));
    assert!(out.lines().last().unwrap().starts_with("ok: "), "{out}");
}

/// The main job, on the best driver there is.
#[tokio::test(flavor = "multi_thread")]
async fn the_demonstration_ends_with_ok() {
    demonstrate(&[]).await;
}

/// The same where io_uring is refused.
#[tokio::test(flavor = "multi_thread")]
async fn the_demonstration_ends_with_ok_on_the_polling_driver() {
    demonstrate(&["--driver", "polling"]).await;
}

/// A demonstration that checks nothing would say ok as well.
#[tokio::test(flavor = "multi_thread")]
async fn the_demonstration_notices_a_changed_byte_and_a_missing_one() -> Result<(), DemoError> {
    bounded(async {
        let dir = tempfile::tempdir()?;
        let demo = Demo::start(&plan(&[]), dir.path().to_owned()).await?;
        let object = content(1, 100_000);
        demo.put("x", &object, StatusCode::CREATED).await?;
        demo.get("x", &object).await?;
        let file = dir.path().join("data/objects/x");
        let stored = std::fs::read(&file)?;
        let mut changed = stored.clone();
        changed[77_777] ^= 1;
        std::fs::write(&file, changed)?;
        assert!(matches!(
            demo.get("x", &object).await,
            Err(DemoError::Mismatch(_))
        ));
        // The end is never taken for one: the connection is broken off before it.
        std::fs::write(&file, &stored[..stored.len() - 1])?;
        assert!(matches!(
            demo.get("x", &object).await,
            Err(DemoError::Request(_))
        ));
        std::fs::write(&file, &stored)?;
        demo.get("x", &object).await?;
        demo.end().await
    })
    .await
}

/// A storage that neither works nor goes away: the front's own time is all that there is.
#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_stands_still_is_a_504_and_not_ready() -> Result<(), DemoError> {
    bounded(async {
        let dir = tempfile::tempdir()?;
        let demo = Demo::start(&plan(&[]), dir.path().to_owned()).await?;
        let object = content(1, 1000);
        demo.put("x", &object, StatusCode::CREATED).await?;
        demo.storage()?.stop()?;
        let asked = demo.object(Method::GET, "x").header(X_TIMEOUT_MS, 100);
        expect(asked.send().await?, StatusCode::GATEWAY_TIMEOUT)?;
        let ready = demo.request(Method::GET, READYZ).send().await?;
        assert!(ready.headers().contains_key(RETRY_AFTER));
        expect(ready, StatusCode::SERVICE_UNAVAILABLE)?;
        demo.storage()?.send(Signal::CONT)?;
        demo.get("x", &object).await?;
        demo.end().await
    })
    .await
}

/// Nor in the midst of an object: its client would wait for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_download_ends_at_its_deadline_when_the_storage_stands_still() -> Result<(), DemoError> {
    bounded(async {
        let dir = tempfile::tempdir()?;
        // More than there is room for on the way.
        let plan = Plan {
            large: 32 << 20,
            ..plan(&[])
        };
        let demo = Demo::start(&plan, dir.path().to_owned()).await?;
        let object = content(1, plan.large);
        demo.put("x", &object, StatusCode::CREATED).await?;
        let asked = demo.object(Method::GET, "x").header(X_TIMEOUT_MS, 5000);
        let answer = asked.send().await?;
        assert_eq!(answer.status(), StatusCode::OK);
        demo.storage()?.stop()?;
        // Shorter than its head has said.
        assert!(answer.bytes().await.is_err());
        demo.storage()?.send(Signal::CONT)?;
        demo.get("x", &object).await?;
        demo.end().await
    })
    .await
}

/// SIGTERM to the front: what was asked is answered, and who comes then is refused; or it is cut off.
#[tokio::test(flavor = "multi_thread")]
async fn the_front_finishes_what_was_asked_or_cuts_it_off() -> Result<(), DemoError> {
    bounded(async {
        for (grace, finishes) in [(front::GRACE, true), (Duration::from_millis(20), false)] {
            let dir = tempfile::tempdir()?;
            let mut demo = Demo::start(&plan(&[]), dir.path().to_owned()).await?;
            let held = demo.hold("held", None).await?;
            demo.until(|status| status.in_flight == 1).await?;
            let front = demo.take_front()?;
            let addr = front.addr();
            let drained = tokio::spawn(front.drain(grace));
            while tokio::net::TcpStream::connect(addr).await.is_ok() {}
            if finishes {
                let (_, _, answer) = held.finish().await?;
                expect(answer, StatusCode::CREATED)?;
            }
            assert_eq!(drained.await?, finishes);
            // Nothing is left over there.
            demo.until(|status| status.in_flight == 0).await?;
            let uploads = demo.status().await?.uploads_undone;
            assert_eq!(uploads, u64::from(!finishes));
        }
        Ok(())
    })
    .await
}

/// What an orchestrator asks, by its exit code: before, while and after there is a storage.
#[tokio::test(flavor = "multi_thread")]
async fn a_probe_tells_whether_the_storage_serves() -> Result<(), DemoError> {
    bounded(async {
        let dir = tempfile::tempdir()?;
        let socket = dir.path().join("storage.sock");
        let probe = Link::new(&socket, 1)?;
        assert!(probe.is_serving(crate::PROBE).await.is_err());
        let demo = Demo::start(&plan(&[]), dir.path().to_owned()).await?;
        assert!(probe.is_serving(crate::PROBE).await?);
        demo.end().await?;
        assert!(probe.is_serving(crate::PROBE).await.is_err());
        Ok(())
    })
    .await
}
