//! What sockets of `landbridge::remote` allocate: nothing for a message, and little while idle.
#![cfg(all(target_os = "linux", feature = "net"))]

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    io::{Read, Write},
    pin::Pin,
    sync::atomic::{AtomicIsize, AtomicUsize, Ordering},
    task::{Context, Poll, Waker},
};

use landbridge::{
    Driver,
    remote::{Net, TcpStream},
};
use support::{block_on, eventually, in_child, watchdog};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};

/// Counts what the whole process allocates: each test has one of its own.
struct Counting;

static CALLS: AtomicUsize = AtomicUsize::new(0);
static LIVE: AtomicIsize = AtomicIsize::new(0);

fn count(calls: usize, bytes: isize) {
    CALLS.fetch_add(calls, Ordering::Relaxed);
    LIVE.fetch_add(bytes, Ordering::Relaxed);
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

fn tcp_pair(net: &Net) -> (TcpStream, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let far = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    far.set_nodelay(true).unwrap();
    let near = TcpStream::from_std_in(net, listener.accept().unwrap().0).unwrap();
    near.set_nodelay(true).unwrap();
    (near, far)
}

/// One allocation for each message is what a server spends its time on.
#[test]
fn on_a_ring_a_message_that_is_waited_for_allocates_nothing() {
    const ROUNDS: usize = 2_000;

    in_child(
        "on_a_ring_a_message_that_is_waited_for_allocates_nothing",
        || {
            if !support::has_io_uring() {
                return;
            }
            let pool = landbridge::CompioPool::builder().threads(1);
            let pool = pool.driver(Driver::IoUring).build().unwrap();
            let (mut near, mut far) = tcp_pair(&Net::new(&pool));
            let peer = std::thread::spawn(move || {
                let mut message = [0; 64];
                for _ in 0..ROUNDS + 100 {
                    far.write_all(&message).unwrap();
                    far.read_exact(&mut message).unwrap();
                }
            });
            let mut before = 0;
            for round in 0..ROUNDS + 100 {
                if round == 100 {
                    before = CALLS.load(Ordering::Relaxed);
                }
                block_on(async {
                    let mut room = [0; 256];
                    let n = near.read(&mut room).await.unwrap();
                    near.write_all(&room[..n]).await.unwrap();
                });
            }
            let calls = CALLS.load(Ordering::Relaxed) - before;
            peer.join().unwrap();
            // The harness, and a watch that was set up again because a thread was not given its turn.
            assert!(
                calls < ROUNDS / 50,
                "{calls} allocations for {ROUNDS} messages"
            );
        },
    );
}

/// Most connections of most servers are idle.
#[test]
fn a_connection_that_waits_holds_little_memory() {
    const SOCKETS: usize = 200;

    in_child("a_connection_that_waits_holds_little_memory", || {
        for driver in support::drivers() {
            let _watchdog = watchdog();
            let pool = landbridge::CompioPool::builder().threads(1);
            let pool = pool.driver(driver).build().unwrap();
            let net = Net::new(&pool);
            let mut all = Vec::with_capacity(SOCKETS);
            let mut cx = Context::from_waker(Waker::noop());
            let wait = |near: &mut TcpStream, cx: &mut Context<'_>| {
                Pin::new(near).poll_read(cx, &mut ReadBuf::new(&mut [0; 64]))
            };
            let mut first = tcp_pair(&net);
            assert_eq!(wait(&mut first.0, &mut cx).map(|_| ()), Poll::Pending);
            support::assert_lives(&pool);
            let before = LIVE.load(Ordering::Relaxed);
            for _ in 0..SOCKETS {
                let (mut near, far) = tcp_pair(&net);
                assert!(wait(&mut near, &mut cx).is_pending());
                all.push((near, far));
            }
            support::assert_lives(&pool);
            let each = (LIVE.load(Ordering::Relaxed) - before) / SOCKETS as isize;
            eprintln!("{driver:?}: {each} bytes for each connection that waits");
            assert!(each < 1_300, "{each} bytes");
            drop((first, all));
            eventually("everything is given back", || {
                LIVE.load(Ordering::Relaxed) - before < 100 * 1024
            });
        }
    });
}
