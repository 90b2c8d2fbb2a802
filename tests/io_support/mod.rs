//! What the tests of the shims share.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake};

use compio::driver::{DriverType, ProactorBuilder};
use compio::runtime::{Runtime, RuntimeBuilder};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A Compio runtime on this driver; none where the kernel refuses the ring.
pub fn runtime_on(driver: DriverType) -> Option<Runtime> {
    let mut proactor = ProactorBuilder::new();
    proactor.driver_type(driver);
    match RuntimeBuilder::new().with_proactor(proactor).build() {
        Ok(runtime) => Some(runtime),
        Err(error) if driver == DriverType::IoUring => {
            eprintln!("skipped on io_uring: {error}");
            None
        }
        Err(error) => panic!("no polling driver: {error}"),
    }
}

/// Runs the body on both drivers, with Tokio's context beside it for sockets of Tokio's.
pub fn on_each_driver<F: Future<Output = ()>>(body: impl Fn() -> F) {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let _context = tokio.enter();
    for driver in [DriverType::Poll, DriverType::IoUring] {
        if let Some(runtime) = runtime_on(driver) {
            runtime.block_on(body());
        }
    }
}

/// Lets everything that can run on this thread run, the driver included.
pub async fn settle() {
    for _ in 0..20 {
        let mut yielded = false;
        std::future::poll_fn(|cx| {
            if yielded {
                return Poll::Ready(());
            }
            yielded = true;
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

/// What a waker may do that is an executor of its own: panics, and says that it was woken.
#[derive(Debug, Default)]
pub struct Panics(AtomicBool);

impl Panics {
    pub fn was_woken(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
        panic!("in the waker");
    }
}

/// Bytes in which no stretch repeats soon.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i ^ (i >> 8).wrapping_mul(31) ^ (i >> 16)) as u8)
        .collect()
}

/// A stream that gives and takes a few bytes at a time, and puts off every other call.
#[derive(Debug)]
pub struct Hostile<S> {
    stream: S,
    read_turn: usize,
    write_turn: usize,
}

impl<S> Hostile<S> {
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            read_turn: 0,
            write_turn: 0,
        }
    }
}

fn put_off(turn: &mut usize, cx: &Context<'_>) -> bool {
    *turn += 1;
    let put_off = *turn % 2 == 1;
    if put_off {
        cx.waker().wake_by_ref();
    }
    put_off
}

impl<S: AsyncRead + Unpin> AsyncRead for Hostile<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if put_off(&mut self.read_turn, cx) {
            return Poll::Pending;
        }
        let limit = 1 + self.read_turn % 97;
        let mut part = buf.take(limit);
        let result = Pin::new(&mut self.stream).poll_read(cx, &mut part);
        let count = part.filled().len();
        fill(buf, count);
        result
    }
}

/// Advances `buf` over bytes that a `take` of it has initialised.
fn fill(buf: &mut ReadBuf<'_>, count: usize) {
    #[expect(
        unsafe_code,
        reason = "a part of a `ReadBuf` cannot tell it what was initialised"
    )]
    // SAFETY: the caller has filled `count` bytes through `ReadBuf::take`.
    unsafe {
        buf.assume_init(count);
    }
    buf.advance(count);
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Hostile<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if put_off(&mut self.write_turn, cx) {
            return Poll::Pending;
        }
        let limit = (1 + self.write_turn % 101).min(buf.len());
        Pin::new(&mut self.stream).poll_write(cx, &buf[..limit])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if put_off(&mut self.write_turn, cx) {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if put_off(&mut self.write_turn, cx) {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
