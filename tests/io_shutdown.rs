//! What the end of a pool, or of a runtime, means for a shim: it waits for bytes, not for shims.
#![cfg(target_os = "linux")]

mod io_support;
mod support;

use std::any::Any;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::Read;
use std::os::unix::net::UnixStream as StdStream;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use compio::driver::DriverType;
use compio::net::UnixStream;
use futures::channel::oneshot;
use io_support::{pattern, runtime_on, settle};
use landbridge::context::OnThread;
use landbridge::io::{CompioAsTokio, IntoTokioIo, SocketAsTokio};
use landbridge::{CompioPool, Remote};
use support::{block_on, for_each_driver};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

fn pair() -> (UnixStream, StdStream) {
    let (ours, peer) = StdStream::pair().unwrap();
    (UnixStream::from_std(ours).unwrap(), peer)
}

/// A socket that waits, for nobody: it has said so to the runtime's helper.
async fn waiting_socket() -> (SocketAsTokio<UnixStream>, StdStream) {
    let (ours, peer) = pair();
    let mut ours = ours.into_tokio_io();
    let mut room = [0; 8];
    let polled = Pin::new(&mut ours).poll_read(
        &mut Context::from_waker(Waker::noop()),
        &mut ReadBuf::new(&mut room),
    );
    assert!(polled.is_pending());
    settle().await;
    (ours, peer)
}

async fn written_stream() -> (CompioAsTokio<UnixStream>, StdStream) {
    let (ours, peer) = pair();
    let mut ours = CompioAsTokio::new(ours);
    ours.write_all(b"x").await.unwrap();
    ours.flush().await.unwrap();
    (ours, peer)
}

async fn written_file() -> (landbridge::io::FileAsTokio, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let file = compio::fs::File::create(directory.path().join("file")).await;
    let mut file = file.unwrap().into_tokio_io();
    file.write_all(b"x").await.unwrap();
    file.flush().await.unwrap();
    (file, directory)
}

async fn idle_shims() -> Vec<Box<dyn Any>> {
    vec![
        Box::new(waiting_socket().await),
        Box::new(written_stream().await),
        Box::new(written_file().await),
    ]
}

/// A pool of connections to a database is a hosted object with idle sockets. Its pool must be able to end.
#[test]
fn hosted_shims_that_are_idle_do_not_hold_up_a_shutdown() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let hosted: Remote<Vec<Box<dyn Any>>> =
            block_on(pool.host(async || Ok::<_, ()>(idle_shims().await))).unwrap();
        block_on(pool.shutdown());
        drop(hosted);
    });
}

/// The same of what waits for its thread's end only.
#[test]
fn idle_shims_that_stay_on_a_worker_do_not_hold_up_its_shutdown() {
    thread_local! {
        static KEPT: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
    }
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let kept = block_on(pool.run(async || {
            let shims = idle_shims().await;
            KEPT.with(|kept| kept.borrow_mut().extend(shims));
            let (ready, is_ready) = oneshot::channel();
            compio::runtime::spawn(async move {
                let shims = idle_shims().await;
                ready.send(()).unwrap();
                std::future::pending::<()>().await;
                drop(shims);
            })
            .detach();
            is_ready.await.unwrap();
            OnThread::new(idle_shims().await)
        }));
        let kept = kept.unwrap();
        block_on(pool.shutdown());
        drop(kept);
    });
}

/// An idle shim is nobody's work, so it is not in the figures by which work is placed either.
#[test]
fn an_idle_shim_is_not_in_flight() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let hosted = block_on(pool.host(async || Ok::<_, ()>(idle_shims().await))).unwrap();
        assert_eq!(pool.metrics().workers[0].in_flight, 0);
        assert_eq!(block_on(pool.shutdown_timeout(Duration::MAX)), 0);
        drop(hosted);
    });
}

/// More than the socket holds, accepted by a shim whose owner is on the worker for good.
const MUCH: usize = 1 << 20;

type Stream = RefCell<CompioAsTokio<UnixStream>>;

/// A hosted shim that has taken more than its peer's socket holds.
fn busy_stream(pool: &CompioPool) -> (Remote<Stream>, StdStream) {
    let (ours, peer) = StdStream::pair().unwrap();
    let hosted = block_on(pool.host(async move || {
        let ours = UnixStream::from_std(ours).unwrap();
        let mut ours = CompioAsTokio::with_capacity(ours, MUCH);
        ours.write_all(&pattern(MUCH)).await.unwrap();
        settle().await;
        Ok::<_, ()>(RefCell::new(ours))
    }));
    (hosted.unwrap(), peer)
}

fn all_of(mut peer: StdStream) -> Vec<u8> {
    let mut all = Vec::new();
    peer.read_to_end(&mut all).unwrap();
    all
}

/// An accepted byte is sent, also if the pool is being shut down while the peer has not read yet.
#[test]
fn what_a_stream_has_accepted_goes_out_before_a_shutdown() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (hosted, peer) = busy_stream(&pool);
        let mut shutdown = pool.shutdown();
        let begun = support::poll_once(&mut shutdown, Waker::noop());
        assert!(begun.is_pending());
        let reader = std::thread::spawn(move || all_of(peer));
        block_on(shutdown);
        assert!(reader.join().unwrap() == pattern(MUCH));
        drop(hosted);
    });
}

/// The same of a file.
#[test]
fn what_a_file_has_accepted_is_written_before_a_shutdown() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let hosted = block_on(pool.host({
            let path = path.clone();
            async move || {
                let file = compio::fs::File::create(path).await.unwrap();
                let mut file = file.into_tokio_io();
                file.write_all(&pattern(MUCH)).await.unwrap();
                Ok::<_, ()>(RefCell::new(file))
            }
        }));
        block_on(pool.shutdown());
        assert!(std::fs::read(path).unwrap() == pattern(MUCH));
        drop(hosted);
    });
}

/// A peer that never reads must not keep a pool from ending that has been given a time for it. What is cut off is
/// no job.
#[test]
fn a_shutdown_with_an_end_does_not_wait_for_a_peer_that_takes_nothing() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (hosted, peer) = busy_stream(&pool);
        let cut_off = block_on(pool.shutdown_timeout(Duration::from_millis(20)));
        assert_eq!(cut_off, 0);
        drop(hosted);
        let sent = all_of(peer);
        assert!(!sent.is_empty() && pattern(MUCH).starts_with(&sent));
    });
}

/// A job that waits for the shutdown is not kept waiting by a peer: it may be the one who has to read.
#[test]
fn a_job_that_shuts_its_pool_down_does_not_wait_for_bytes() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (hosted, peer) = busy_stream(&pool);
        let own = pool.clone();
        let job = pool.run(async move || {
            own.shutdown().await;
            std::thread::spawn(move || all_of(peer))
        });
        let reader = block_on(job).unwrap();
        block_on(pool.shutdown());
        assert!(reader.join().unwrap() == pattern(MUCH));
        drop(hosted);
    });
}

/// A program's last words: written, and nothing more is driven. What the socket takes at once must not be lost for
/// want of a turn of the loop.
#[test]
fn what_a_dropped_stream_has_begun_is_with_the_kernel_when_its_runtime_ends() {
    for driver in [DriverType::Poll, DriverType::IoUring] {
        let Some(runtime) = runtime_on(driver) else {
            continue;
        };
        let peer = runtime.block_on(async {
            let (ours, peer) = pair();
            let mut ours = CompioAsTokio::new(ours);
            ours.write_all(b"bye").await.unwrap();
            peer
        });
        drop(runtime);
        assert_eq!(all_of(peer), b"bye", "on {driver:?}");
    }
}

/// Handing it over must not lose a wake-up that came from another thread meanwhile.
#[test]
fn handing_over_forgets_no_wake_up() {
    for driver in [DriverType::Poll, DriverType::IoUring] {
        let _watchdog = support::watchdog();
        let Some(runtime) = runtime_on(driver) else {
            continue;
        };
        runtime.block_on(async {
            let (ours, peer) = pair();
            let mut ours = CompioAsTokio::with_capacity(ours, MUCH);
            ours.write_all(&pattern(MUCH)).await.unwrap();
            let (tell, mut told) = oneshot::channel();
            settle().await;
            compio::runtime::spawn(async move { drop(ours) }).detach();
            let (mut tell, mut turn) = (Some(tell), 0);
            poll_fn(|cx| {
                turn += 1;
                if turn == 1 {
                    // The stream is dropped now, and then the runtime goes on, for the helper.
                    return Poll::Pending;
                }
                let polled = Pin::new(&mut told).poll(cx);
                if let Some(tell) = tell.take() {
                    // Woken before the helper has its turn, and for what has been polled already.
                    let elsewhere = std::thread::spawn(move || tell.send(()).unwrap());
                    elsewhere.join().unwrap();
                }
                polled
            })
            .await
            .unwrap();
            // Had that waited for something else to happen, the time for these bytes would be over.
            let all = compio::runtime::spawn_blocking(move || all_of(peer)).await;
            assert!(all.unwrap() == pattern(MUCH));
        });
    }
}
