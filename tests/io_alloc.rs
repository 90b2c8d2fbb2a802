//! What the shims allocate: nothing per operation, and little while idle.

mod io_support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::task::{Context, Waker};

use compio::BufResult;
use compio::buf::IntoInner;
use compio::buf::IoBuf;
use compio::driver::DriverType;
use compio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use compio::net::UnixStream;
use compio::runtime::Runtime;
use io_support::{on_each_driver, settle};
use landbridge::io::{
    CompioAsTokio, IntoTokioIo, SocketAsTokio, TokioAsCompio, copy_bidirectional,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Counts what this thread allocates; each test of a binary has a thread of its own.
struct Counting;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
    static LIVE: Cell<isize> = const { Cell::new(0) };
    /// Calls for half a kibibyte or more: buffers, not the drivers' entries.
    static BUFFERS: Cell<usize> = const { Cell::new(0) };
    /// Calls for what `copy_bidirectional` copies through, small or large.
    static COPIED_THROUGH: Cell<usize> = const { Cell::new(0) };
}

fn count(calls: usize, bytes: isize) {
    let _ = CALLS.try_with(|c| c.set(c.get() + calls));
    let _ = LIVE.try_with(|l| l.set(l.get() + bytes));
    if bytes >= 512 {
        let _ = BUFFERS.try_with(|b| b.set(b.get() + 1));
    }
    if bytes == 8 << 10 || bytes >= 64 << 10 {
        let _ = COPIED_THROUGH.try_with(|c| c.set(c.get() + 1));
    }
}

#[expect(unsafe_code, reason = "an allocator is unsafe to write")]
// SAFETY: everything is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as isize);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(0, -(layout.size() as isize));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(1, new_size as isize - layout.size() as isize);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn pair() -> (UnixStream, UnixStream) {
    let (one, other) = StdUnixStream::pair().unwrap();
    (
        UnixStream::from_std(one).unwrap(),
        UnixStream::from_std(other).unwrap(),
    )
}

const ROUNDS: usize = 500;

/// The peer's part of a round; the same beside both.
async fn ask(peer: &mut UnixStream, mut buffer: Vec<u8>, len: usize) -> Vec<u8> {
    buffer.clear();
    buffer.resize(len, 7);
    let BufResult(sent, buffer) = peer.write_all(buffer).await;
    sent.unwrap();
    buffer
}

async fn native(len: usize) -> usize {
    let (mut ours, mut peer) = pair();
    let (mut a, mut b) = (Vec::with_capacity(len), Vec::with_capacity(len));
    let mut before = 0;
    for round in 0..2 * ROUNDS {
        if round == ROUNDS {
            before = CALLS.get();
        }
        a = ask(&mut peer, a, len).await;
        b.clear();
        let BufResult(got, filled) = ours.read_exact(b.slice(..len)).await;
        got.unwrap();
        let BufResult(sent, sent_buffer) = ours.write_all(filled).await;
        sent.unwrap();
        b = sent_buffer.into_inner();
        a.clear();
        let BufResult(got, answer) = peer.read_exact(a.slice(..len)).await;
        got.unwrap();
        a = answer.into_inner();
    }
    CALLS.get() - before
}

async fn shimmed(len: usize) -> usize {
    let (ours, peer) = pair();
    echoed(CompioAsTokio::new(ours), peer, len).await
}

async fn echoed<S>(mut ours: S, mut peer: UnixStream, len: usize) -> usize
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let (mut a, mut b) = (Vec::with_capacity(len), vec![0; len]);
    let mut before = 0;
    for round in 0..2 * ROUNDS {
        if round == ROUNDS {
            before = CALLS.get();
        }
        a = ask(&mut peer, a, len).await;
        ours.read_exact(&mut b).await.unwrap();
        ours.write_all(&b).await.unwrap();
        ours.flush().await.unwrap();
        a.clear();
        let BufResult(got, answer) = peer.read_exact(a.slice(..len)).await;
        got.unwrap();
        a = answer.into_inner();
    }
    CALLS.get() - before
}

/// A box per operation is what the shims that exist cost most.
#[test]
fn compio_as_tokio_allocates_nothing_per_operation() {
    on_each_driver(|| async {
        let (native, shimmed) = (native(64).await, shimmed(64).await);
        assert!(
            shimmed <= native,
            "{shimmed} allocations, natively {native}"
        );
    });
}

/// Bytes go between the kernel and the caller; only a wait is an operation.
#[test]
fn socket_as_tokio_allocates_nothing_per_operation() {
    on_each_driver(|| async {
        let native = native(64).await;
        let (ours, peer) = pair();
        let shimmed = echoed(SocketAsTokio::new(ours), peer, 64).await;
        assert!(
            shimmed <= native,
            "{shimmed} allocations, natively {native}"
        );
    });
}

/// The kernel takes and fills the caller's memory, however much that is.
#[test]
fn socket_as_tokio_holds_no_byte_that_a_peer_does_not_read() {
    on_each_driver(|| async {
        let (ours, _peer) = pair();
        let mut ours = SocketAsTokio::new(ours);
        let bytes = vec![7; 1 << 20];
        let mut cx = Context::from_waker(Waker::noop());
        let before = LIVE.get();
        for _ in 0..1000 {
            let _ = std::pin::pin!(ours.write(&bytes)).poll(&mut cx);
        }
        let held = LIVE.get() - before;
        assert!(held < 4096, "{held} bytes");
    });
}

/// Large messages take several reads each where Compio takes one; their buffers must come from
/// the thread's spares.
#[test]
fn compio_as_tokio_allocates_no_buffer_per_large_message() {
    on_each_driver(|| async {
        shimmed(20_000).await;
        let (buffers, live) = (BUFFERS.get(), LIVE.get());
        shimmed(20_000).await;
        let (buffers, live) = (BUFFERS.get() - buffers, LIVE.get() - live);
        // A few to set the stream up, none of them per message, none of them kept.
        assert!(
            buffers < 20,
            "{buffers} buffers for {} messages",
            2 * ROUNDS
        );
        assert!(live < 1024, "{live} bytes more after the same again");
    });
}

/// The buffer is the caller's, so there is nothing to allocate.
#[test]
fn tokio_as_compio_allocates_nothing_at_all() {
    on_each_driver(|| async {
        let (ours, mut peer) = tokio::io::duplex(1024);
        let mut ours = TokioAsCompio::new(ours);
        let mut buffer = Vec::with_capacity(64);
        let mut before = 0;
        for round in 0..2 * ROUNDS {
            if round == ROUNDS {
                before = CALLS.get();
            }
            peer.write_all(&[7; 64]).await.unwrap();
            buffer.clear();
            let BufResult(got, filled) = ours.read(buffer).await;
            got.unwrap();
            let BufResult(sent, filled) = ours.write_all(filled).await;
            sent.unwrap();
            buffer = filled;
            peer.read_exact(&mut [0; 64]).await.unwrap();
        }
        assert_eq!(CALLS.get() - before, 0);
    });
}

/// Files allocate beside Compio's own operations only what the first of each kind needs.
#[cfg(unix)]
#[test]
fn file_as_tokio_allocates_nothing_per_operation() {
    use compio::io::{AsyncReadAtExt as _, AsyncWriteAtExt as _};
    use tokio::io::AsyncSeekExt as _;

    async fn file() -> compio::fs::File {
        let file = tempfile::tempfile().unwrap();
        landbridge::handoff::file_to_compio(file).await.unwrap()
    }

    /// Without what the polling driver makes room for events with, as often as it happens to look for some.
    fn calls() -> usize {
        match Runtime::with_current(|runtime| runtime.driver_type()) {
            DriverType::Poll => CALLS.get() - BUFFERS.get(),
            _ => CALLS.get(),
        }
    }

    on_each_driver(|| async {
        let mut native = file().await;
        let mut buffer = vec![7; 4096];
        let mut before = 0;
        for round in 0..2 * ROUNDS {
            if round == ROUNDS {
                before = calls();
            }
            let BufResult(written, same) = native.write_all_at(buffer, 0).await;
            written.unwrap();
            let BufResult(read, same) = native.read_exact_at(same, 0).await;
            read.unwrap();
            buffer = same;
        }
        let natively = calls() - before;

        let mut shimmed = file().await.into_tokio_io();
        for round in 0..2 * ROUNDS {
            if round == ROUNDS {
                before = calls();
            }
            shimmed.write_all(&buffer).await.unwrap();
            shimmed.flush().await.unwrap();
            shimmed.rewind().await.unwrap();
            shimmed.read_exact(&mut buffer).await.unwrap();
            shimmed.rewind().await.unwrap();
        }
        let shimmed = calls() - before;
        // Nor is it the same each time how often its blocking pool starts a thread. One for each operation would be
        // four times this.
        let by_chance = match Runtime::with_current(|runtime| runtime.driver_type()) {
            DriverType::Poll => ROUNDS / 2,
            _ => 0,
        };
        assert!(
            shimmed <= natively + by_chance,
            "{shimmed} allocations, natively {natively}"
        );
    });
}

/// Bursts and small messages by turns: the buffers change hands, and none is made.
#[test]
fn copying_makes_no_buffer_for_a_piece() {
    on_each_driver(|| async {
        let (one, other) = StdUnixStream::pair().unwrap();
        one.set_nonblocking(true).unwrap();
        other.set_nonblocking(true).unwrap();
        let mut left = tokio::net::UnixStream::from_std(one).unwrap();
        let mut client = tokio::net::UnixStream::from_std(other).unwrap();
        let (right, mut server) = pair();
        let exchange = async {
            let mut buffers = 0;
            let (message, mut answer) = (vec![7; 100_000], vec![0; 100_000]);
            let mut there = Vec::with_capacity(message.len());
            for round in 0..4 * 20 {
                if round == 20 {
                    buffers = COPIED_THROUGH.get();
                }
                let len = [100_000, 64, 9_000, 8_192][round % 4];
                let sent = client.write_all(&message[..len]);
                let echoed = async {
                    there.clear();
                    let BufResult(got, filled) = server
                        .read_exact(std::mem::take(&mut there).slice(..len))
                        .await;
                    got.unwrap();
                    let BufResult(sent, filled) = server.write_all(filled).await;
                    sent.unwrap();
                    there = filled.into_inner();
                };
                let (sent, ()) = futures::future::join(sent, echoed).await;
                sent.unwrap();
                client.read_exact(&mut answer[..len]).await.unwrap();
            }
            let buffers = COPIED_THROUGH.get() - buffers;
            client.shutdown().await.unwrap();
            compio::io::AsyncWrite::shutdown(&mut server).await.unwrap();
            buffers
        };
        let copied = copy_bidirectional(&mut left, &right);
        let (buffers, copied) = futures::future::join(exchange, copied).await;
        assert_eq!(copied.unwrap().0, 20 * (100_000 + 64 + 9_000 + 8_192));
        assert_eq!(buffers, 0);
    });
}

/// A server has many more idle connections than busy ones.
#[test]
fn an_idle_shim_holds_at_most_a_kibibyte_more_than_a_native_stream() {
    const STREAMS: usize = 100;
    on_each_driver(|| async {
        let mut kept = Vec::with_capacity(3 * STREAMS);
        let mut idle: Vec<std::pin::Pin<Box<dyn Future<Output = ()>>>> =
            Vec::with_capacity(2 * STREAMS);
        let mut cx = Context::from_waker(Waker::noop());

        let mut native = Vec::with_capacity(STREAMS);
        for _ in 0..STREAMS {
            let before = LIVE.get();
            let (mut ours, peer) = pair();
            kept.push(peer);
            idle.push(Box::pin(async move {
                let _ = ours.read(Vec::with_capacity(64)).await;
            }));
            assert!(idle.last_mut().unwrap().as_mut().poll(&mut cx).is_pending());
            native.push(LIVE.get() - before);
        }

        // The spare buffers belong to the thread.
        shimmed(30_000).await;
        // After bytes both ways, a large burst among them: idle again, not unused.
        let mut shim = Vec::with_capacity(STREAMS);
        for _ in 0..STREAMS {
            let before = LIVE.get();
            let (ours, mut peer) = pair();
            let mut ours = CompioAsTokio::new(ours);
            for len in [64, 30_000, 64] {
                peer = compio::runtime::spawn(async move {
                    peer.write_all(vec![7; len]).await.unwrap();
                    let BufResult(got, _) = peer.read_exact(Vec::with_capacity(len)).await;
                    got.unwrap();
                    peer
                })
                .await_with(&mut ours, len)
                .await;
            }
            kept.push(peer);
            idle.push(Box::pin(async move {
                let _ = ours.read(&mut [0; 64]).await;
            }));
            assert!(idle.last_mut().unwrap().as_mut().poll(&mut cx).is_pending());
            settle().await;
            shim.push(LIVE.get() - before);
        }
        let (native, shim) = (median(native), median(shim));
        eprintln!("idle: {native} bytes natively, {shim} with the shim");
        assert!(
            shim <= native + 1024,
            "{native} bytes natively, {shim} with the shim"
        );
    });
}

/// The driver's tables grow by leaps, which belong to no stream.
fn median(mut bytes: Vec<isize>) -> isize {
    bytes.sort_unstable();
    bytes[bytes.len() / 2]
}

/// The same bound for the sockets' own shim, which is well below it.
#[test]
fn an_idle_socket_holds_at_most_a_kibibyte_more_than_a_native_one() {
    const STREAMS: usize = 100;
    type Idle = std::pin::Pin<Box<dyn Future<Output = ()>>>;
    fn waiting(
        streams: Vec<UnixStream>,
        idle: &mut Vec<Idle>,
        read: impl Fn(UnixStream) -> Idle,
    ) -> isize {
        let mut cx = Context::from_waker(Waker::noop());
        let before = LIVE.get();
        for stream in streams {
            let mut future = read(stream);
            assert!(future.as_mut().poll(&mut cx).is_pending());
            idle.push(future);
        }
        (LIVE.get() - before) / STREAMS as isize
    }
    on_each_driver(|| async {
        let mut idle = Vec::with_capacity(2 * STREAMS);
        let pairs = || (0..STREAMS).map(|_| pair()).unzip::<_, _, Vec<_>, Vec<_>>();
        let (ours, _peers) = pairs();
        let native = waiting(ours, &mut idle, |mut ours| {
            Box::pin(async move {
                let _ = ours.read(Vec::with_capacity(64)).await;
            })
        });
        let (ours, _peers) = pairs();
        let shimmed = waiting(ours, &mut idle, |ours| {
            let mut ours = SocketAsTokio::new(ours);
            Box::pin(async move {
                let _ = ours.read(&mut [0; 64]).await;
            })
        });
        eprintln!("idle: {native} bytes natively, {shimmed} with the socket's shim");
        assert!(
            shimmed <= native + 1024,
            "{native} bytes natively, {shimmed} with the shim"
        );
    });
}

trait AwaitWith {
    async fn await_with(self, ours: &mut CompioAsTokio<UnixStream>, len: usize) -> UnixStream;
}

impl AwaitWith for compio::runtime::JoinHandle<UnixStream> {
    /// Echoes one message, then takes the peer back.
    async fn await_with(self, ours: &mut CompioAsTokio<UnixStream>, len: usize) -> UnixStream {
        let mut message = vec![0; len];
        ours.read_exact(&mut message).await.unwrap();
        ours.write_all(&message).await.unwrap();
        ours.flush().await.unwrap();
        self.await.unwrap()
    }
}
