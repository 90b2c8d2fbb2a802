use std::{io, time::Duration};

use axum::http::StatusCode;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, future::try_join_all};
use landbridge::CompioPool;

use super::{files, server};
use crate::{
    demo::{Demo, DemoError, Held, Object},
    name::ObjectName,
    server::{Config, Server},
    store::{Limits, Store, StoreError},
};

fn name(text: &str) -> ObjectName {
    ObjectName::new(text).unwrap()
}

async fn put(store: &Store, text: &str, content: &[u8]) {
    let mut upload = store.put(&name(text), None).unwrap();
    upload.write(Bytes::copy_from_slice(content)).await.unwrap();
    upload.finish().await.unwrap();
}

async fn read(store: &Store, text: &str) -> Vec<u8> {
    let download = store.get(&name(text), None).await.unwrap();
    download.try_collect::<Vec<_>>().await.unwrap().concat()
}

/// The system's words for a full disk must reach the client as 507, not as 500.
#[test]
fn a_full_disk_is_told_apart_from_a_broken_one() {
    // ENOSPC; and EDQUOT, whose number differs between systems.
    let mut full = vec![io::Error::from_raw_os_error(28)];
    if cfg!(target_os = "linux") {
        full.push(io::Error::from_raw_os_error(122));
    }
    full.push(io::ErrorKind::StorageFull.into());
    full.push(io::ErrorKind::QuotaExceeded.into());
    for error in full {
        assert!(matches!(StoreError::from(error), StoreError::Full));
    }
    // EIO.
    let broken = StoreError::from(io::Error::from_raw_os_error(5));
    assert!(matches!(broken, StoreError::Io(_)));
}

/// The object that is replaced stays whole, and the space of the upload is given back.
#[tokio::test]
async fn an_upload_that_is_dropped_leaves_nothing_behind() {
    let (server, dir) = server(|_| {}).await;
    let store = server.store();
    put(store, "old", b"as it was").await;
    for text in ["old", "new"] {
        let mut upload = store.put(&name(text), Some(1000)).unwrap();
        upload.write(Bytes::from_static(b"half")).await.unwrap();
        drop(upload);
    }
    store.idle().await;
    assert!(files(dir.path(), "incoming").is_empty());
    assert_eq!(files(dir.path(), "objects").len(), 1);
    assert_eq!(read(store, "old").await, b"as it was");
    assert_eq!(store.used(), 9);
}

/// Two uploads to one name: never a mixture, never counted twice.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_of_concurrent_uploads_to_a_name_wins_as_a_whole() {
    let (server, dir) = server(|config| config.threads = Some(3)).await;
    let store = server.store();
    try_join_all((0_u8..24).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut upload = store.put(&name("same"), None).unwrap();
            for _ in 0..=n {
                upload.write(Bytes::from(vec![n; 1000])).await.unwrap();
            }
            upload.finish().await.unwrap();
        })
    }))
    .await
    .unwrap();
    let content = read(store, "same").await;
    assert_eq!(content.len(), (usize::from(content[0]) + 1) * 1000);
    assert!(content.iter().all(|byte| *byte == content[0]));
    assert_eq!(store.used(), content.len() as u64);
    assert!(files(dir.path(), "incoming").is_empty());
    store.delete(&name("same")).await.unwrap();
    assert_eq!(store.used(), 0);
}

/// A download goes on with the object that it has begun with.
#[tokio::test]
async fn a_download_does_not_see_that_its_object_is_replaced() {
    let (server, _dir) = server(|_| {}).await;
    let store = server.store();
    // More than is read ahead.
    let old = vec![1; 8 << 20];
    put(store, "x", &old).await;
    let mut download = store.get(&name("x"), None).await.unwrap();
    let mut content = download.next().await.unwrap().unwrap().to_vec();
    put(store, "x", b"new").await;
    store.delete(&name("x")).await.unwrap();
    while let Some(chunk) = download.next().await {
        content.extend(chunk.unwrap());
    }
    assert!(content == old, "{} bytes", content.len());
}

/// A file that is cut short under a download: the stream must fail, not just end.
#[tokio::test]
async fn a_download_that_ends_too_early_is_an_error() {
    let (server, dir) = server(|_| {}).await;
    let store = server.store();
    put(store, "x", &vec![1; 8 << 20]).await;
    let mut download = store.get(&name("x"), None).await.unwrap();
    download.next().await.unwrap().unwrap();
    let file = files(dir.path(), "objects").remove(0);
    std::fs::File::options()
        .write(true)
        .open(file)
        .unwrap()
        .set_len(10)
        .unwrap();
    let rest: Vec<_> = download.collect().await;
    assert!(rest.last().unwrap().is_err());
}

/// What a crash has left is removed, what was stored is kept and counted, foreign files are neither.
#[tokio::test]
async fn a_restart_removes_unfinished_uploads() {
    let (server, dir) = server(|_| {}).await;
    put(server.store(), "kept", b"12345").await;
    assert!(server.drain(Duration::from_secs(10)).await);
    std::fs::write(dir.path().join("incoming/0.part"), "half").unwrap();
    std::fs::write(dir.path().join("objects/.Foreign"), "not ours").unwrap();

    let server = Server::start(&Config::new(dir.path())).await.unwrap();
    assert!(files(dir.path(), "incoming").is_empty());
    assert_eq!(server.store().used(), 5);
    let listed = server.store().list(None, 10).await.unwrap();
    assert_eq!(listed, [(name("kept"), 5)]);
}

/// A second process would remove the uploads of the first.
#[tokio::test]
async fn a_directory_has_one_server() {
    let (first, dir) = server(|_| {}).await;
    assert!(Server::start(&Config::new(dir.path())).await.is_err());
    assert!(first.drain(Duration::from_secs(10)).await);
    drop(Server::start(&Config::new(dir.path())).await.unwrap());
}

/// Space is promised before it is used, so that uploads side by side cannot overshoot.
#[tokio::test]
async fn capacity_holds_for_uploads_under_way() {
    let (server, _dir) = server(|config| config.limits.capacity = 100).await;
    let store = server.store();
    let first = store.put(&name("a"), Some(60)).unwrap();
    assert!(matches!(
        store.put(&name("b"), Some(60)),
        Err(StoreError::Full)
    ));
    let mut second = store.put(&name("b"), None).unwrap();
    // The job refuses; the write may still find room in the channel.
    _ = second.write(Bytes::from(vec![0; 60])).await;
    assert!(matches!(second.finish().await, Err(StoreError::Full)));
    drop(first);
    store.idle().await;
    assert_eq!(store.used(), 0);
    put(store, "b", &[0; 100]).await;
}

/// Everybody who still has a handle is told, rather than left waiting.
#[tokio::test]
async fn a_store_without_its_pool_says_that_it_is_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let pool = CompioPool::builder().threads(1).build().unwrap();
    let store = Store::open(dir.path(), pool.clone(), Limits::default())
        .await
        .unwrap();
    put(&store, "x", b"1").await;
    pool.shutdown().await;
    let x = name("x");
    assert!(matches!(store.stat(&x).await, Err(StoreError::Stopped)));
    assert!(matches!(
        store.get(&x, None).await.err(),
        Some(StoreError::Stopped)
    ));
    assert!(matches!(
        store.list(None, 1).await,
        Err(StoreError::Stopped)
    ));
    assert!(matches!(store.delete(&x).await, Err(StoreError::Stopped)));
    let mut upload = store.put(&x, None).unwrap();
    upload.write(Bytes::from_static(b"2")).await.unwrap_err();
    assert!(matches!(upload.finish().await, Err(StoreError::Stopped)));
    assert_eq!((store.in_flight(), store.used()), (0, 1));
}

/// A job that gives up in the middle: its stream must not look whole either.
#[tokio::test]
async fn a_download_that_nobody_reads_ends_with_an_error() {
    let (server, _dir) = server(|config| config.limits.stall = Duration::from_millis(50)).await;
    let store = server.store();
    put(store, "x", &vec![1; 8 << 20]).await;
    let download = store.get(&name("x"), None).await.unwrap();
    store.idle().await;
    let chunks: Vec<_> = download.collect().await;
    assert!(chunks.len() > 1 && chunks[0].is_ok());
    assert!(chunks.last().unwrap().is_err());
}

/// A client that stands still must not hold its place for ever: with enough of them the store would
/// refuse everybody else.
#[tokio::test]
async fn clients_that_stand_still_lose_their_place() -> Result<(), DemoError> {
    let (server, dir) = server(|config| config.limits.stall = Duration::from_millis(50)).await;
    let demo = Demo::new(server.addr())?;
    let object = Object::new("demo-x", 1, 32 << 20).await?;
    demo.put(&object, true, StatusCode::CREATED).await?;
    let unread = demo
        .object(reqwest::Method::GET, &object.name)
        .send()
        .await?;
    let held = Held::new(&demo, "demo-held", None).await?;
    // Both have a place; and lose it, though neither goes away.
    demo.until("object_store_operations_in_flight", 0).await?;
    assert!(
        unread.bytes().await.is_err(),
        "a download that was cut off must not look whole"
    );
    assert_eq!(held.finish().await?.status(), StatusCode::REQUEST_TIMEOUT);
    assert!(files(dir.path(), "incoming").is_empty());
    Ok(())
}
