//! Sockets of `landbridge::remote` when things go wrong: an error where one is due, never a hang, nothing lost.
#![cfg(all(target_os = "linux", feature = "net"))]

mod support;

use std::{
    future::Future,
    io::{self, ErrorKind, Read, Write},
    os::fd::AsRawFd,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use landbridge::{
    CompioPool, JoinError,
    remote::{ListenOptions, Net, TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream},
};
use support::{
    CountingWaker, block_on, descriptor_count, eventually, eventually_async, for_each_driver, hold,
    in_child, poll_times,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

fn is_gone(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(inner, Some(JoinError::RuntimeGone))
}

/// Every call that may have to wait, each of which does.
struct Waiting {
    calls: Vec<Pin<Box<dyn Future<Output = io::Error>>>>,
    _peers: Vec<Box<dyn std::any::Any>>,
}

impl Waiting {
    fn new(net: &Net) -> Self {
        let mut calls: Vec<Pin<Box<dyn Future<Output = io::Error>>>> = Vec::new();
        let mut peers: Vec<Box<dyn std::any::Any>> = Vec::new();

        let (near, far) = tcp_pair(net);
        peers.push(Box::new(far));
        let (mut reader, mut writer) = near.into_split();
        calls.push(Box::pin(async move {
            reader.read(&mut [0; 8]).await.unwrap_err()
        }));
        calls.push(Box::pin(async move {
            loop {
                if let Err(error) = writer.write(&[0; 65536]).await {
                    return error;
                }
            }
        }));
        let (near, far) = UnixStream::pair_in(net).unwrap();
        peers.push(Box::new(far));
        calls.push(Box::pin(async move { near.readable().await.unwrap_err() }));
        for reuse_port in [false, true] {
            let mut options = ListenOptions::new();
            options.reuse_port(reuse_port);
            let listener = block_on(options.bind_in(net, "127.0.0.1:0")).unwrap();
            calls.push(Box::pin(
                async move { listener.accept().await.unwrap_err() },
            ));
        }
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind_in(net, directory.path().join("socket")).unwrap();
        peers.push(Box::new(directory));
        calls.push(Box::pin(
            async move { listener.accept().await.unwrap_err() },
        ));
        let socket = block_on(UdpSocket::bind_in(net, "127.0.0.1:0")).unwrap();
        calls.push(Box::pin(async move {
            socket.recv_from(&mut [0; 8]).await.unwrap_err()
        }));
        // Nobody accepts, and the backlog is full: the rest wait to be connected.
        let full = block_on(ListenOptions::new().backlog(1).bind_in(net, "127.0.0.1:0")).unwrap();
        let address = full.local_addr().unwrap();
        peers.push(Box::new(full));
        for _ in 0..2 {
            peers.push(Box::new(std::net::TcpStream::connect(address).unwrap()));
        }
        let connecting = net.clone();
        calls.push(Box::pin(async move {
            TcpStream::connect_in(&connecting, address)
                .await
                .unwrap_err()
        }));
        // A clone of the pool must not be among what waits.
        let last = calls.len() - 1;
        assert!(poll_all(&mut calls[..last]).is_pending());
        assert!(poll_all(&mut calls[last..]).is_pending());
        Self {
            calls,
            _peers: peers,
        }
    }

    /// The net in the last of them would keep the pool alive.
    fn without_connect(mut self) -> Self {
        self.calls.pop();
        self
    }

    fn all_gone(self) {
        for call in self.calls {
            let error = block_on(call);
            assert!(is_gone(&error), "{error:?}");
        }
    }
}

fn poll_all(calls: &mut [Pin<Box<dyn Future<Output = io::Error>>>]) -> Poll<()> {
    let mut cx = Context::from_waker(Waker::noop());
    for call in calls {
        if let Poll::Ready(error) = call.as_mut().poll(&mut cx) {
            panic!("{error:?}");
        }
    }
    Poll::Pending
}

fn tcp_pair(net: &Net) -> (TcpStream, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let far = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let near = TcpStream::from_std_in(net, listener.accept().unwrap().0).unwrap();
    (near, far)
}

/// A shutdown that waited for a read of an idle connection would wait for ever, and so would the read.
#[test]
fn a_shutdown_waits_for_no_socket_and_tells_those_who_wait() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).build().unwrap();
        let waiting = Waiting::new(&Net::new(&pool));
        assert_eq!(pool.metrics().total(|worker| worker.in_flight as u64), 0);
        block_on(pool.shutdown());
        waiting.all_gone();
    });
}

/// The same when the time is up for a job that goes on and on.
#[test]
fn a_shutdown_that_is_cut_off_tells_those_who_wait() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).build().unwrap();
        let waiting = Waiting::new(&Net::new(&pool));
        let endless = pool.spawn(async || std::future::pending::<()>().await);
        // Jobs are cut off, and counted; sockets are not jobs.
        assert_eq!(block_on(pool.shutdown_timeout(Duration::from_millis(1))), 1);
        assert!(block_on(endless).is_err());
        waiting.all_gone();
    });
}

/// Sockets do not keep a pool alive.
#[test]
fn a_pool_that_is_dropped_tells_those_who_wait() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).build().unwrap();
        let waiting = Waiting::new(&Net::new(&pool)).without_connect();
        drop(pool);
        waiting.all_gone();
    });
}

/// One worker's end is not its pool's, but it is its sockets'.
#[test]
fn a_worker_that_dies_tells_those_who_wait() {
    struct BadWaker;

    impl Wake for BadWaker {
        fn wake(self: Arc<Self>) {
            std::panic::resume_unwind(Box::new("in wake"));
        }
    }

    for_each_driver(|builder| {
        let pool = builder().threads(2).build().unwrap();
        let waiting = Waiting::new(&Net::on(&pool.worker(1).unwrap()));
        let victim = pool.worker(1).unwrap().spawn(async || {
            let mut sleep = Box::pin(compio::time::sleep(Duration::from_millis(1)));
            let waker = Waker::from(Arc::new(BadWaker));
            _ = sleep.as_mut().poll(&mut Context::from_waker(&waker));
            compio::time::sleep(Duration::from_secs(3_600)).await;
        });
        assert!(matches!(block_on(victim), Err(JoinError::RuntimeGone)));
        waiting.all_gone();
        // New ones go to the other.
        block_on(async {
            let (mut near, mut far) = tcp_pair(&Net::new(&pool));
            far.write_all(b"x").unwrap();
            assert_eq!(near.read_u8().await.unwrap(), b'x');
        });
    });
}

/// What has arrived has arrived: a service that ends may still answer what it has read.
#[test]
fn without_a_pool_what_need_not_wait_still_works() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let net = Net::new(&pool);
        let (mut near, mut far) = tcp_pair(&net);
        let (mut armed, mut far_armed) = tcp_pair(&net);
        assert!(poll_read(&mut armed).is_pending());
        block_on(pool.shutdown());
        block_on(async {
            for (near, far) in [(&mut near, &mut far), (&mut armed, &mut far_armed)] {
                far.write_all(b"request").unwrap();
                let mut request = [0; 7];
                eventually_async("it arrives", || {
                    near.try_read(&mut []).is_ok() && near.peek(&mut [0]).now_ok()
                })
                .await;
                near.read_exact(&mut request).await.unwrap();
                assert!(is_gone(&near.read(&mut [0]).await.unwrap_err()));
                near.write_all(b"answer").await.unwrap();
                near.flush().await.unwrap();
                near.shutdown().await.unwrap();
                let mut answer = String::new();
                far.read_to_string(&mut answer).unwrap();
                assert_eq!(answer, "answer");
            }
            let refused = [
                TcpStream::connect_in(&net, "127.0.0.1:1").await.err(),
                TcpListener::bind_in(&net, "127.0.0.1:0").await.err(),
                UnixStream::pair_in(&net).err(),
                UnixListener::bind_in(&net, "landbridge-none").err(),
                UdpSocket::bind_in(&net, "127.0.0.1:0").await.err(),
            ];
            for error in refused {
                assert!(is_gone(&error.unwrap()));
            }
            assert!(!std::path::Path::new("landbridge-none").exists());
        });
    });
}

trait NowOk {
    fn now_ok(self) -> bool;
}

impl<T, F: Future<Output = io::Result<T>>> NowOk for F {
    fn now_ok(self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        matches!(pin!(self).poll(&mut cx), Poll::Ready(Ok(_)))
    }
}

fn poll_read(stream: &mut (impl AsyncRead + Unpin)) -> Poll<io::Result<()>> {
    let mut cx = Context::from_waker(Waker::noop());
    Pin::new(stream).poll_read(&mut cx, &mut ReadBuf::new(&mut [0; 8]))
}

/// With the default pool missing there is an error that says so.
#[test]
fn without_a_default_pool_there_is_an_error() {
    let error = block_on(TcpStream::connect("127.0.0.1:1")).unwrap_err();
    assert!(error.to_string().contains("default pool"), "{error}");
}

/// Programs try again, or elsewhere.
#[test]
fn a_refused_connection_is_an_error_and_the_next_address_is_tried() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let net = Net::new(&pool);
        block_on(async {
            let closed = std::net::TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap();
            let error = TcpStream::connect_in(&net, closed).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            let listener = TcpListener::bind_in(&net, "localhost:0").await.unwrap();
            let open = listener.local_addr().unwrap();
            let stream = TcpStream::connect_in(&net, [closed, open]).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), open);

            let error = UnixStream::connect_in(&net, "no/such/socket")
                .await
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound);
            let error = TcpStream::connect_in(&net, "no port").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            let error = TcpStream::connect_in(&net, [].as_slice())
                .await
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        });
    });
}

/// A peer that is gone in the middle: told once, to who reads; then it is the end.
#[test]
fn a_reset_is_told_once_to_the_call_that_meets_it() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let net = Net::new(&pool);
        block_on(async {
            let (mut near, far) = tcp_pair(&net);
            let counting = CountingWaker::new();
            let waker = Waker::from(Arc::clone(&counting));
            let mut cx = Context::from_waker(&waker);
            let polled = Pin::new(&mut near).poll_read(&mut cx, &mut ReadBuf::new(&mut [0; 8]));
            assert!(polled.is_pending());
            reset(far);
            counting.wait_for(1);
            let error = near.read(&mut [0; 8]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            assert_eq!(near.read(&mut [0; 8]).await.unwrap(), 0);
            let error = near.write(&[1]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
            near.shutdown().await.unwrap();
            near.flush().await.unwrap();
        });
    });
}

/// The same to who writes, while the peer does not read.
#[test]
fn a_reset_ends_a_write_that_waits() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let net = Net::new(&pool);
        let (mut near, far) = tcp_pair(&net);
        let mut writing = Box::pin(async move {
            loop {
                if let Err(error) = near.write(&[0; 65536]).await {
                    return error;
                }
            }
        });
        assert!(support::poll_once(&mut writing, Waker::noop()).is_pending());
        reset(far);
        assert_eq!(block_on(writing).kind(), ErrorKind::ConnectionReset);
    });
}

fn reset(stream: std::net::TcpStream) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    set_option(&stream, libc::SO_LINGER, &linger);
    drop(stream);
}

fn set_option<T>(stream: &std::net::TcpStream, option: i32, value: &T) {
    set_option_of(stream, libc::SOL_SOCKET, option, value);
}

fn set_option_of<T>(socket: &impl AsRawFd, level: i32, option: i32, value: &T) {
    #[expect(unsafe_code, reason = "std has no such option")]
    // SAFETY: a live descriptor, and a value of the size that is told.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as u32,
        )
    };
    assert_eq!(done, 0);
}

/// Back-pressure: what the kernel does not take waits with the writer, and none of it is lost.
#[test]
fn a_peer_that_does_not_read_stops_the_writer_and_gets_everything_in_the_end() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (mut near, mut far) = tcp_pair(&Net::new(&pool));
        let mut taken = 0;
        let mut cx = Context::from_waker(Waker::noop());
        let bytes: Vec<u8> = (0..=255).cycle().take(256 * 256).collect();
        while let Poll::Ready(n) =
            Pin::new(&mut near).poll_write(&mut cx, &bytes[taken % 256..][..256 * 255])
        {
            taken += n.unwrap();
            assert!(taken < 64 << 20, "there is no end to what is taken");
        }
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            far.read_to_end(&mut all).unwrap();
            all
        });
        let rest = &bytes[taken % 256..];
        block_on(async {
            near.write_all(rest).await.unwrap();
            near.shutdown().await.unwrap();
        });
        let all = reader.join().unwrap();
        assert_eq!(all.len(), taken + rest.len());
        let in_order = |(at, byte): (usize, &u8)| *byte == (at % 256) as u8;
        assert!(all.iter().enumerate().all(in_order));
    });
}

/// What comes with the last bytes, or after them, must not be waited for: there is no event of its own.
#[test]
fn an_end_that_came_with_the_last_bytes_is_seen() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let net = Net::new(&pool);
        for _ in 0..50 {
            let (mut near, mut far) = tcp_pair(&net);
            let counting = CountingWaker::new();
            let waker = Waker::from(Arc::clone(&counting));
            let mut cx = Context::from_waker(&waker);
            let mut room = [0; 64];
            let polled = Pin::new(&mut near).poll_read(&mut cx, &mut ReadBuf::new(&mut room));
            assert!(polled.is_pending());
            {
                // The worker sees both at once.
                let _held = hold(&pool);
                far.write_all(b"last").unwrap();
                drop(far);
            }
            counting.wait_for(1);
            block_on(async {
                let mut text = Vec::new();
                near.read_to_end(&mut text).await.unwrap();
                assert_eq!(text, b"last");
            });
        }
    });
}

/// A read stops at urgent data, with more behind it; the rest must come without a further event.
#[test]
fn what_comes_after_urgent_data_is_not_waited_for() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let net = Net::new(&pool);
        let (mut near, mut far) = tcp_pair(&net);
        let counting = CountingWaker::new();
        let waker = Waker::from(Arc::clone(&counting));
        let mut cx = Context::from_waker(&waker);
        let polled = Pin::new(&mut near).poll_read(&mut cx, &mut ReadBuf::new(&mut [0; 64]));
        assert!(polled.is_pending());
        {
            let _held = hold(&pool);
            far.write_all(b"before").unwrap();
            #[expect(unsafe_code, reason = "std sends nothing urgent")]
            // SAFETY: a live descriptor and one byte that is there.
            let sent =
                unsafe { libc::send(far.as_raw_fd(), c"!".as_ptr().cast(), 1, libc::MSG_OOB) };
            assert_eq!(sent, 1);
            far.write_all(b"after").unwrap();
        }
        counting.wait_for(1);
        block_on(async {
            let mut text = [0; 64];
            let mut got = 0;
            while got < 11 {
                got += near.read(&mut text[got..]).await.unwrap();
            }
            assert_eq!(&text[..got], b"beforeafter");
        });
    });
}

/// An error that was told of is over for datagrams: neither told again nor looked for all the time.
#[test]
fn a_datagram_socket_goes_on_after_an_error() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let net = Net::new(&pool);
        block_on(async {
            let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            let address = peer.local_addr().unwrap();
            drop(peer);
            let socket = UdpSocket::bind_in(&net, "127.0.0.1:0").await.unwrap();
            socket.connect(address).await.unwrap();
            assert!(pending_now(socket.recv(&mut [0; 8])));
            socket.send(b"?").await.unwrap();
            let error = socket.recv(&mut [0; 8]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            let peer = std::net::UdpSocket::bind(address).unwrap();
            let answer = async {
                let mut room = [0; 8];
                let n = socket.recv(&mut room).await.unwrap();
                room[..n].to_vec()
            };
            let mut answer = pin!(answer);
            assert!(futures::poll_now(answer.as_mut()).is_pending());
            peer.send_to(b"!", socket.local_addr().unwrap()).unwrap();
            assert_eq!(answer.await, b"!");
        });
    });
}

mod futures {
    use super::*;

    pub(super) fn poll_now<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }
}

fn pending_now<F: Future>(future: F) -> bool {
    futures::poll_now(pin!(future)).is_pending()
}

/// `select!` drops accepts all the time.
#[test]
fn an_accept_that_is_dropped_loses_no_connection() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).build().unwrap();
        let net = Net::new(&pool);
        for reuse_port in [false, true] {
            let mut options = ListenOptions::new();
            options.reuse_port(reuse_port);
            let listener = block_on(options.bind_in(&net, "127.0.0.1:0")).unwrap();
            let address = listener.local_addr().unwrap();
            let mut peers = Vec::new();
            let mut accepted = Vec::new();
            for n in 0..40_u8 {
                accepted.extend(poll_times(listener.accept(), 1));
                let mut peer = std::net::TcpStream::connect(address).unwrap();
                peer.write_all(&[n]).unwrap();
                peers.push(peer);
                // Dropped after one poll, or two, or accepted.
                accepted.extend(poll_times(listener.accept(), usize::from(n % 3)));
            }
            while accepted.len() < 40 {
                accepted.push(block_on(listener.accept()));
            }
            let mut seen: Vec<_> = accepted
                .into_iter()
                .map(|accepted| block_on(accepted.unwrap().0.read_u8()).unwrap())
                .collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..40).collect::<Vec<_>>());
        }
    });
}

/// Several tasks may accept from one listener; a wake-up that is used up by one that goes away, or that gets
/// nothing, must not be the others' loss.
#[test]
fn all_who_wait_for_one_socket_are_served() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let net = Net::new(&pool);
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .unwrap();
        tokio.block_on(async {
            let socket = Arc::new(UdpSocket::bind_in(&net, "127.0.0.1:0").await.unwrap());
            let address = socket.local_addr().unwrap();
            for _ in 0..20 {
                let waiting: Vec<_> = (0..8)
                    .map(|_| {
                        let socket = Arc::clone(&socket);
                        tokio::spawn(async move {
                            let mut room = [0; 8];
                            socket.recv_from(&mut room).await.unwrap();
                            room[0]
                        })
                    })
                    .collect();
                let dropped = Arc::clone(&socket);
                let dropped = tokio::spawn(async move {
                    _ = dropped.peek_from(&mut [0; 8]).await;
                });
                let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
                for n in 0..4 {
                    sender.send_to(&[n], address).unwrap();
                }
                dropped.abort();
                for n in 4..8 {
                    sender.send_to(&[n], address).unwrap();
                }
                let mut seen = Vec::new();
                for task in waiting {
                    seen.push(task.await.unwrap());
                }
                seen.sort_unstable();
                assert_eq!(seen, (0..8).collect::<Vec<_>>());
            }
        });
    });
}

/// With no descriptor left a connection cannot be taken; it must be there when one is free again.
#[test]
fn with_no_descriptor_left_a_connection_waits() {
    in_child("with_no_descriptor_left_a_connection_waits", || {
        let start = descriptor_count();
        for_each_driver(|builder| {
            eventually("no pool is left", || descriptor_count() <= start);
            let pool = builder().build().unwrap();
            let net = Net::new(&pool);
            let listener = block_on(TcpListener::bind_in(&net, "127.0.0.1:0")).unwrap();
            let address = listener.local_addr().unwrap();
            let mut accept = Box::pin(listener.accept());
            assert!(support::poll_once(&mut accept, Waker::noop()).is_pending());
            drop(accept);
            let mut peer = std::net::TcpStream::connect(address).unwrap();
            peer.write_all(b"x").unwrap();
            let before = limit_descriptors(256);
            let mut all = Vec::new();
            while let Ok(file) = std::fs::File::open("/dev/null") {
                all.push(file);
            }
            let error = block_on(listener.accept()).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
            let error = block_on(TcpStream::connect_in(&net, address)).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
            drop(all);
            limit_descriptors(before);
            let (mut stream, _) = block_on(listener.accept()).unwrap();
            assert_eq!(block_on(stream.read_u8()).unwrap(), b'x');
            block_on(pool.shutdown());
        });
    });
}

/// Nor can the worker watch a socket then as it otherwise does; whoever waits must get the datagram all the same.
#[test]
fn with_no_descriptor_left_one_can_wait_for_a_datagram() {
    in_child(
        "with_no_descriptor_left_one_can_wait_for_a_datagram",
        || {
            for driver in support::drivers() {
                let pool = CompioPool::builder().threads(1).driver(driver);
                let pool = pool.build().unwrap();
                support::assert_lives(&pool);
                let net = Net::new(&pool);
                let socket = block_on(UdpSocket::bind_in(&net, "127.0.0.1:0")).unwrap();
                let before = limit_descriptors(256);
                let mut all = Vec::new();
                while let Ok(file) = std::fs::File::open("/dev/null") {
                    all.push(file);
                }
                let mut room = [0; 8];
                let mut receive = Box::pin(socket.recv(&mut room));
                assert!(support::poll_once(&mut receive, Waker::noop()).is_pending());
                let address = socket.local_addr().unwrap();
                socket.try_send_to(b"x", address).unwrap();
                assert_eq!(block_on(receive).unwrap(), 1);
                drop(all);
                limit_descriptors(before);
            }
        },
    );
}

/// A connection that cannot be handed over is still one.
#[test]
fn with_no_descriptor_left_a_hand_off_gives_the_socket_back() {
    in_child(
        "with_no_descriptor_left_a_hand_off_gives_the_socket_back",
        || {
            for driver in support::drivers() {
                let pool = CompioPool::builder().threads(1).driver(driver);
                let pool = pool.build().unwrap();
                let net = Net::new(&pool);
                let (mut near, mut far) = tcp_pair(&net);
                let (mut here, mut there) = UnixStream::pair_in(&net).unwrap();
                // A worker has them, too.
                assert!(poll_read(&mut near).is_pending());
                assert!(poll_read(&mut here).is_pending());
                support::assert_lives(&pool);
                let (idle, _far) = tcp_pair(&net);
                let before = limit_descriptors(256);
                let mut all = Vec::new();
                while let Ok(file) = std::fs::File::open("/dev/null") {
                    all.push(file);
                }
                let error = near.into_std().unwrap_err();
                assert_eq!(error.error().raw_os_error(), Some(libc::EMFILE));
                let mut near = error.into_object();
                let mut here = here.into_std().unwrap_err().into_object();
                // Nobody else has this one.
                idle.into_std().unwrap();
                drop(all);
                limit_descriptors(before);
                far.write_all(b"x").unwrap();
                assert_eq!(block_on(near.read_u8()).unwrap(), b'x');
                block_on(there.write_u8(b'x')).unwrap();
                assert_eq!(block_on(here.read_u8()).unwrap(), b'x');
            }
        },
    );
}

/// An error that waits to be fetched by other means stays, and a poll tells of it each time.
#[test]
fn a_datagram_socket_with_a_queue_of_errors_is_woken_only_for_datagrams() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        queue_of_errors(&Net::new(&pool), || support::assert_lives(&pool));
    });
    let _watchdog = support::watchdog();
    let runtime = compio::runtime::Runtime::new().unwrap();
    let net = Net::on(&runtime.enter(landbridge::CompioHandle::attach).unwrap());
    queue_of_errors(&net, || {
        runtime.block_on(compio::time::sleep(Duration::from_micros(1)));
    });
}

/// `turn`: the worker looks at what its driver has.
fn queue_of_errors(net: &Net, turn: impl Fn()) {
    let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = peer.local_addr().unwrap();
    drop(peer);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    set_option_of(&socket, libc::SOL_IP, libc::IP_RECVERR, &1);
    socket.connect(address).unwrap();
    let socket = UdpSocket::from_std_in(net, socket).unwrap();
    let counting = CountingWaker::new();
    let waker = Waker::from(Arc::clone(&counting));
    let mut cx = Context::from_waker(&waker);
    socket.try_send(b"?").unwrap();
    let error = socket.try_recv(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let mut memory = [0; 8];
    let mut room = ReadBuf::new(&mut memory);
    let mut seen = 0;
    let mut in_vain = 0;
    assert!(socket.poll_recv(&mut cx, &mut room).is_pending());
    for _ in 0..200 {
        turn();
        if counting.wakes() > seen {
            seen = counting.wakes();
            in_vain += 1;
            assert!(socket.poll_recv(&mut cx, &mut room).is_pending());
        }
    }
    assert!(in_vain <= 3, "woken {in_vain} times in vain");
    let peer = std::net::UdpSocket::bind(address).unwrap();
    for n in 1..4 {
        peer.send_to(b"!", socket.local_addr().unwrap()).unwrap();
        eventually("it is woken", || {
            turn();
            counting.wakes() > seen
        });
        seen = counting.wakes();
        assert!(socket.poll_recv(&mut cx, &mut room).is_ready());
        assert_eq!(room.filled(), &b"!!!"[..n]);
        while socket.poll_recv(&mut cx, &mut room).is_ready() {}
    }
}

/// The soft limit; the one before.
fn limit_descriptors(count: u64) -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current.unwrap_or(u64::MAX);
    limit.current = Some(count);
    setrlimit(Resource::Nofile, limit).unwrap();
    before
}

/// The watch of a socket has its descriptor, too, and Compio loses cancels when its queue of 1 024 is full.
#[test]
fn thousands_of_sockets_dropped_at_once_are_all_closed() {
    in_child(
        "thousands_of_sockets_dropped_at_once_are_all_closed",
        || {
            let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
            limit_descriptors(hard.unwrap_or(10_000).min(10_000));
            let count = usize::try_from(hard.unwrap_or(10_000).min(10_000) / 2 - 200)
                .unwrap()
                .min(3_000);
            let start = descriptor_count();
            for_each_driver(|builder| {
                eventually("no pool is left", || descriptor_count() <= start);
                let pool = builder().build().unwrap();
                support::assert_lives(&pool);
                let net = Net::new(&pool);
                let before = descriptor_count();
                let mut near = Vec::new();
                let mut far = Vec::new();
                for _ in 0..count {
                    let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
                    let mut one = UnixStream::from_std_in(&net, one).unwrap();
                    assert!(poll_read(&mut one).is_pending());
                    near.push(one);
                    far.push(other);
                }
                // All of them are watched.
                support::assert_lives(&pool);
                drop(near);
                for mut far in far {
                    assert_eq!(far.read(&mut [0]).unwrap(), 0);
                }
                eventually("every socket is closed", || descriptor_count() == before);
                // Before they are watched.
                let _held = hold(&pool);
                let (one, mut other) = std::os::unix::net::UnixStream::pair().unwrap();
                let mut one = UnixStream::from_std_in(&net, one).unwrap();
                assert!(poll_read(&mut one).is_pending());
                drop((one, _held));
                assert_eq!(other.read(&mut [0]).unwrap(), 0);
            });
        },
    );
}

/// Whoever awaits a call may go away after any poll.
#[test]
fn calls_may_be_dropped_after_any_poll() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let net = Net::new(&pool);
        let listener = block_on(TcpListener::bind_in(&net, "127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        for polls in 0..4 {
            drop(poll_times(TcpStream::connect_in(&net, address), polls));
            drop(poll_times(
                TcpStream::connect_in(&net, ("localhost", address.port())),
                polls,
            ));
            let (mut near, mut far) = tcp_pair(&net);
            for byte in 0..20 {
                far.write_all(&[byte]).unwrap();
                let mut one = [0];
                let read = poll_times(near.read(&mut one), polls.min(1));
                if read.is_none() {
                    block_on(near.read(&mut one)).unwrap();
                }
                assert_eq!(one, [byte]);
            }
        }
        // What was connected, and is gone.
        while futures::poll_now(pin!(listener.accept())).is_ready() {}
        support::assert_lives(&pool);
    });
}

/// Nothing of the pool's is needed to send what was written, or to close.
#[test]
fn what_was_written_arrives_though_the_pool_is_dropped_first() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (mut near, mut far) = tcp_pair(&Net::new(&pool));
        assert!(poll_read(&mut near).is_pending());
        block_on(near.write_all(&[7; 100_000])).unwrap();
        drop(pool);
        drop(near);
        let mut all = Vec::new();
        far.read_to_end(&mut all).unwrap();
        assert_eq!(all, [7; 100_000]);
    });
}

/// An executor in the pool's own worker must not wait for itself.
#[test]
fn a_workers_own_tasks_may_use_sockets_that_it_watches() {
    for_each_driver(|builder| {
        let pool: CompioPool = builder().build().unwrap();
        let net = Net::on(&pool.worker(0).unwrap());
        let echoed = block_on(pool.run(async move || {
            let (mut one, mut other) = UnixStream::pair_in(&net)?;
            let ask = async {
                let mut byte = 0;
                for _ in 0..100 {
                    one.write_u8(byte).await?;
                    byte = one.read_u8().await? + 1;
                }
                io::Result::Ok(byte)
            };
            let echo = async {
                for _ in 0..100 {
                    let byte = other.read_u8().await?;
                    other.write_u8(byte).await?;
                }
                io::Result::Ok(())
            };
            tokio::try_join!(ask, echo)
        }));
        assert_eq!(echoed.unwrap().unwrap().0, 100);
    });
}

/// A runtime that landbridge did not start is dropped by whoever started it, and nobody looks first whether
/// there is an event on its way (fault 15 of `docs/upstream.md`; AddressSanitizer sees it).
#[test]
fn an_attached_runtime_may_be_dropped_with_events_on_their_way() {
    let _watchdog = support::watchdog();
    for _ in 0..20 {
        let runtime = compio::runtime::Runtime::new().unwrap();
        let net = Net::on(&runtime.enter(landbridge::CompioHandle::attach).unwrap());
        let (mut near, mut far) = tcp_pair(&net);
        assert!(poll_read(&mut near).is_pending());
        // The watch is set up, and has told once.
        runtime.block_on(async {
            far.write_all(b"x").unwrap();
            near.read_u8().await.unwrap();
            assert!(poll_read(&mut near).is_pending());
            compio::time::sleep(Duration::from_millis(1)).await;
        });
        for _ in 0..5 {
            far.write_all(b"x").unwrap();
            runtime.flush();
        }
        drop(runtime);
        let all_there = |n: &io::Result<usize>| matches!(n, Ok(5));
        eventually("it has arrived", || {
            let mut room = [0; 8];
            let mut peek = pin!(near.peek(&mut room));
            matches!(futures::poll_now(peek.as_mut()), Poll::Ready(n) if all_there(&n))
        });
        assert_eq!(block_on(near.read(&mut [0; 8])).unwrap(), 5);
        assert!(is_gone(&block_on(near.read(&mut [0; 8])).unwrap_err()));
    }
}

/// The same at the end of a pool, which may not leave such events in the queue.
#[test]
fn a_pool_may_be_dropped_with_events_on_their_way() {
    for_each_driver(|builder| {
        for _ in 0..20 {
            let pool = builder().build().unwrap();
            let net = Net::new(&pool);
            let mut pairs: Vec<_> = (0..8).map(|_| tcp_pair(&net)).collect();
            for (near, _) in &mut pairs {
                assert!(poll_read(near).is_pending());
            }
            support::assert_lives(&pool);
            let held = hold(&pool);
            for turn in 0..40 {
                pairs[turn % 8].1.write_all(b"x").unwrap();
            }
            drop((net, pool));
            drop(held);
            for (near, far) in pairs {
                drop(far);
                let mut near = near.into_std().unwrap();
                near.set_nonblocking(false).unwrap();
                let mut all = Vec::new();
                near.read_to_end(&mut all).unwrap();
                assert_eq!(all, b"xxxxx");
            }
        }
    });
}
