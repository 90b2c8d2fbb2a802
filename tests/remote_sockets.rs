//! Sockets of `landbridge::remote`, used from Tokio: what `tokio::net`'s are used for.
#![cfg(all(unix, feature = "net"))]

mod support;

use std::{
    collections::HashSet,
    future::poll_fn,
    io::{self, IoSlice, Read, Write},
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    task::{Context, Wake, Waker},
    thread,
};

use landbridge::{
    CompioHandle,
    error::ReuniteError,
    remote::{ListenOptions, Net, TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream},
};
use support::{block_on, eventually, for_each_driver, watchdog};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};

fn tokio_threads(body: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap()
        .block_on(body);
}

/// The first thing anybody expects, of tasks that Tokio moves from thread to thread.
#[test]
fn many_connections_echo_from_tasks_of_tokios() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).build().unwrap();
        let net = Net::new(&pool);
        tokio_threads(async {
            let listener = TcpListener::bind_in(&net, "127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = tokio::spawn(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    stream.set_nodelay(true).unwrap();
                    assert!(stream.nodelay().unwrap());
                    tokio::spawn(async move {
                        let (mut reader, mut writer) = stream.split();
                        tokio::io::copy(&mut reader, &mut writer).await.unwrap();
                        writer.shutdown().await.unwrap();
                    });
                }
            });
            let clients: Vec<_> = (0..20_u8)
                .map(|n| {
                    let net = net.clone();
                    tokio::spawn(async move {
                        let mut stream = TcpStream::connect_in(&net, address).await.unwrap();
                        assert_eq!(stream.peer_addr().unwrap(), address);
                        for turn in 0..50 {
                            let message = vec![n; 1 + turn * 37];
                            stream.write_all(&message).await.unwrap();
                            let mut answer = vec![0; message.len()];
                            stream.read_exact(&mut answer).await.unwrap();
                            assert_eq!(answer, message);
                        }
                        stream.shutdown().await.unwrap();
                        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
                    })
                })
                .collect();
            for client in clients {
                client.await.unwrap();
            }
            server.abort();
        });
    });
}

/// The same between processes of one machine, in halves that are tasks of their own.
#[test]
fn halves_work_in_tasks_of_their_own_and_may_be_put_together_again() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let net = Net::new(&pool);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        tokio_threads(async {
            let listener = UnixListener::bind_in(&net, &path).unwrap();
            let there = UnixStream::connect_in(&net, &path).await.unwrap();
            let (here, _) = listener.accept().await.unwrap();
            assert_eq!(there.peer_addr().unwrap().as_pathname(), Some(&*path));

            let (mut from_here, to_here) = here.into_split();
            let (mut from_there, mut to_there) = there.into_split();
            let waiting = tokio::spawn(async move {
                let mut word = [0; 4];
                from_here.read_exact(&mut word).await.unwrap();
                (word, from_here)
            });
            to_there.write_all(b"word").await.unwrap();
            let (word, from_here) = waiting.await.unwrap();
            assert_eq!(&word, b"word");

            let ReuniteError(from_here, to_there) = from_here.reunite(to_there).unwrap_err();
            let mut here = to_here.reunite(from_here).unwrap();
            here.write_all(b"back").await.unwrap();
            // A half that is forgotten does not end its direction; one that is dropped does.
            drop(to_there);
            assert_eq!(here.read(&mut [0]).await.unwrap(), 0);
            let (_, to_there) = here.into_split();
            to_there.forget();
            let mut rest = Vec::new();
            from_there.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, b"back");
        });
    });
}

/// Notes which thread wakes it: the worker that watches.
struct Notes(Mutex<HashSet<String>>);

impl Wake for Notes {
    fn wake(self: Arc<Self>) {
        let thread = thread::current();
        let name = thread.name().unwrap_or("?").to_owned();
        self.0.lock().unwrap().insert(name);
    }
}

fn who_watches(streams: &mut [(TcpStream, std::net::TcpStream)]) -> Vec<String> {
    let watches = |stream: &mut (TcpStream, std::net::TcpStream)| {
        let (near, far) = stream;
        let notes = Arc::new(Notes(Mutex::default()));
        let waker = Waker::from(Arc::clone(&notes));
        let mut cx = Context::from_waker(&waker);
        let near = std::pin::Pin::new(near);
        let polled = near.poll_read(&mut cx, &mut ReadBuf::new(&mut [0; 8]));
        assert!(polled.is_pending());
        far.write_all(b"x").unwrap();
        eventually("it is woken", || !notes.0.lock().unwrap().is_empty());
        notes.0.lock().unwrap().drain().next().unwrap()
    };
    streams.iter_mut().map(watches).collect()
}

/// One worker that watches everything would be the bottleneck of the whole program.
#[test]
fn connections_are_handed_round_the_workers() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).thread_name("w").build().unwrap();
        let net = Net::new(&pool);
        let listener = block_on(TcpListener::bind_in(&net, "127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let mut streams: Vec<_> = (0..10)
            .map(|_| {
                let far = std::net::TcpStream::connect(address).unwrap();
                (block_on(listener.accept()).unwrap().0, far)
            })
            .collect();
        let watchers = who_watches(&mut streams);
        for name in ["w-0", "w-1"] {
            let watched = watchers.iter().filter(|watcher| *watcher == name).count();
            // The listener is one of eleven.
            assert!((4..=6).contains(&watched), "{watchers:?}");
        }

        let net = Net::on(&pool.worker(1).unwrap());
        let listener = block_on(TcpListener::bind_in(&net, "127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let mut streams: Vec<_> = (0..4)
            .map(|_| {
                let far = std::net::TcpStream::connect(address).unwrap();
                (block_on(listener.accept()).unwrap().0, far)
            })
            .collect();
        assert_eq!(who_watches(&mut streams), ["w-1"; 4]);
    });
}

/// The kernel deals connections out by their addresses: of 64, each of two sockets gets some, whatever their
/// workers have besides.
#[test]
#[cfg(target_os = "linux")]
fn with_a_listening_socket_for_each_worker_every_connection_is_accepted() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).thread_name("w").build().unwrap();
        let net = Net::new(&pool);
        let mut options = ListenOptions::new();
        options.reuse_port(true);
        let listener = block_on(options.bind_in(&net, "127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let busy = Net::on(&pool.worker(0).unwrap());
        let _busy: Vec<_> = (0..70).map(|_| UnixStream::pair_in(&busy)).collect();
        let mut accept = Box::pin(listener.accept());
        assert!(support::poll_once(&mut accept, Waker::noop()).is_pending());
        let far: Vec<_> = (0..64)
            .map(|_| std::net::TcpStream::connect(address).unwrap())
            .collect();
        let mut near = vec![block_on(accept).unwrap()];
        near.extend((1..64).map(|_| block_on(listener.accept()).unwrap()));
        let mut streams: Vec<_> = far
            .into_iter()
            .map(|far| {
                let peer = far.local_addr().unwrap();
                let at = near.iter().position(|(_, from)| *from == peer).unwrap();
                (near.swap_remove(at).0, far)
            })
            .collect();
        let watchers: HashSet<_> = who_watches(&mut streams).into_iter().collect();
        assert_eq!(watchers.len(), 2, "{watchers:?}");
        assert!(listener.into_std().is_err());
    });
}

/// Sockets come from anywhere, an inherited descriptor say, and may have to go on elsewhere.
#[test]
fn sockets_come_from_std_and_go_back_with_every_byte() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let net = Net::new(&pool);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = TcpListener::from_std_in(&net, listener).unwrap();
        let mut far = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut near, from) = block_on(listener.accept()).unwrap();
        assert_eq!(from, far.local_addr().unwrap());
        far.write_all(b"one,two").unwrap();
        block_on(async {
            let mut first = [0; 4];
            near.read_exact(&mut first).await.unwrap();
            assert_eq!(&first, b"one,");
        });
        let mut near = near.into_std().unwrap();
        near.set_nonblocking(false).unwrap();
        far.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = String::new();
        near.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "two");
        near.write_all(b"bye").unwrap();
        drop(near);
        far.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "twobye");

        let listener = listener.into_std().unwrap();
        listener.set_nonblocking(false).unwrap();
        let _far = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.accept().unwrap();
    });
}

/// Programs ask first, and then do it themselves.
#[test]
fn what_is_ready_can_be_tried() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let net = Net::new(&pool);
        let (one, other) = UnixStream::pair_in(&net).unwrap();
        let mut room = [0; 8];
        let error = one.try_read(&mut room).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        block_on(async {
            let (ready, ()) = tokio::join!(one.readable(), async {
                other.writable().await.unwrap();
                let slices = [IoSlice::new(b"ov"), IoSlice::new(b"er")];
                assert_eq!(other.try_write_vectored(&slices).unwrap(), 4);
            });
            ready.unwrap();
            assert_eq!(one.try_read(&mut room).unwrap(), 4);
            assert_eq!(&room[..4], b"over");
            // More slices than a call of the kernel's takes.
            let many = vec![IoSlice::new(b"x"); 3_000];
            let n = other.try_write_vectored(&many).unwrap();
            assert!(n >= 1_000, "{n}");
            let full = loop {
                if let Err(error) = other.try_write(&[0; 65_536]) {
                    break error;
                }
            };
            assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
            assert!(one.take_error().unwrap().is_none());
        });
    });
}

/// Datagrams from several tasks at once, to and from anybody and to and from one.
#[test]
fn datagrams_go_both_ways() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let net = Net::new(&pool);
        tokio_threads(async {
            let bind = || UdpSocket::bind_in(&net, ("127.0.0.1", 0));
            let (one, other) = (bind().await.unwrap(), bind().await.unwrap());
            let to = other.local_addr().unwrap();
            let echo = tokio::spawn(async move {
                for _ in 0..100 {
                    let mut room = [0; 64];
                    let (n, from) = other.recv_from(&mut room).await.unwrap();
                    assert_eq!(other.send_to(&room[..n], from).await.unwrap(), n);
                }
                other
            });
            for n in 0..100_u8 {
                let to_string = to.to_string();
                let sent = if n % 2 == 0 {
                    one.send_to(&[n; 33], to_string).await
                } else {
                    one.send_to(&[n; 33], to).await
                };
                assert_eq!(sent.unwrap(), 33);
                let mut room = [0; 64];
                let (got, from) = one.recv_from(&mut room).await.unwrap();
                assert_eq!((&room[..got], from), ([n; 33].as_slice(), to));
            }
            let other = echo.await.unwrap();
            one.connect(to).await.unwrap();
            assert_eq!(one.peer_addr().unwrap(), to);
            one.send(b"last").await.unwrap();
            let mut room = [0; 8];
            let (n, from) = other.peek_from(&mut room).await.unwrap();
            assert_eq!(
                (&room[..n], from),
                (b"last".as_slice(), one.local_addr().unwrap())
            );
            assert_eq!(other.try_recv_from(&mut room).unwrap().0, 4);
            assert_eq!(other.try_send_to(b"ok", from).unwrap(), 2);
            assert_eq!(one.recv(&mut room).await.unwrap(), 2);
        });
    });
}

/// What Tokio's sockets have besides is used in places, and must do the same.
#[test]
fn datagrams_can_be_peeked_tried_and_polled() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let net = Net::new(&pool);
        block_on(async {
            let bind = || UdpSocket::bind_in(&net, ("127.0.0.1", 0));
            let (one, other) = (bind().await.unwrap(), bind().await.unwrap());
            let to = other.local_addr().unwrap();
            one.connect(to).await.unwrap();
            let (ready, ()) = tokio::join!(other.readable(), async {
                one.writable().await.unwrap();
                assert_eq!(one.try_send(b"first").unwrap(), 5);
            });
            ready.unwrap();
            let mut room = [0; 8];
            assert_eq!(other.peek(&mut room).await.unwrap(), 5);
            assert_eq!(other.try_recv(&mut room).unwrap(), 5);
            assert_eq!(&room[..5], b"first");
            let error = other.try_recv(&mut room).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);

            let mut room = ReadBuf::new(&mut room);
            let (from, ()) =
                tokio::join!(poll_fn(|cx| other.poll_recv_from(cx, &mut room)), async {
                    let n = poll_fn(|cx| one.poll_send(cx, b"se")).await;
                    assert_eq!(n.unwrap(), 2);
                });
            let from = from.unwrap();
            assert_eq!(from, one.local_addr().unwrap());
            let n = poll_fn(|cx| other.poll_send_to(cx, b"back", from)).await;
            assert_eq!(n.unwrap(), 4);
            poll_fn(|cx| one.poll_recv(cx, &mut room)).await.unwrap();
            assert_eq!(room.filled(), b"seback");
        });
    });
}

/// Options go to the socket that is meant.
#[test]
fn the_options_of_datagrams_are_the_systems() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let net = Net::new(&pool);
        let socket = block_on(UdpSocket::bind_in(&net, "0.0.0.0:0")).unwrap();
        socket.set_ttl(9).unwrap();
        assert_eq!(socket.ttl().unwrap(), 9);
        socket.set_multicast_ttl_v4(3).unwrap();
        assert_eq!(socket.multicast_ttl_v4().unwrap(), 3);
        socket.set_multicast_loop_v4(false).unwrap();
        assert!(!socket.multicast_loop_v4().unwrap());
        let group = Ipv4Addr::new(224, 0, 0, 123);
        // The second time it is a member already, which the system says.
        let join = || socket.join_multicast_v4(group, Ipv4Addr::LOCALHOST);
        join().unwrap();
        join().unwrap_err();
        socket
            .leave_multicast_v4(group, Ipv4Addr::LOCALHOST)
            .unwrap();
        socket
            .leave_multicast_v4(group, Ipv4Addr::LOCALHOST)
            .unwrap_err();
    });
}

/// Servers let in whom they know.
#[test]
fn a_unix_stream_says_who_its_peer_is() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (near, _far) = UnixStream::pair_in(&Net::new(&pool)).unwrap();
        let peer = near.peer_cred().unwrap();
        assert_eq!(peer.uid(), rustix::process::geteuid().as_raw());
        assert_eq!(peer.gid(), rustix::process::getegid().as_raw());
        #[cfg(target_os = "linux")]
        assert_eq!(peer.pid(), i32::try_from(std::process::id()).ok());
    });
}

/// As Tokio's: no buffer at all is no write.
#[test]
fn a_write_of_no_slices_is_nothing_even_at_the_end() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (mut near, _far) = UnixStream::pair_in(&Net::new(&pool)).unwrap();
        block_on(async {
            poll_fn(|cx| near.poll_write_ready(cx)).await.unwrap();
            near.shutdown().await.unwrap();
            assert_eq!(near.write_vectored(&[]).await.unwrap(), 0);
            near.write(b"x").await.unwrap_err();
            drop(_far);
            poll_fn(|cx| near.poll_read_ready(cx)).await.unwrap();
        });
    });
}

/// A runtime of one's own can watch, too.
#[test]
fn an_attached_runtime_watches_sockets() {
    let _watchdog = watchdog();
    compio::runtime::Runtime::new().unwrap().block_on(async {
        let net = Net::on(&CompioHandle::attach().unwrap());
        let listener = TcpListener::bind_in(&net, "localhost:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let elsewhere = thread::spawn(move || {
            block_on(async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut word = [0; 4];
                stream.read_exact(&mut word).await.unwrap();
                stream.write_all(&word).await.unwrap();
            });
        });
        let mut stream = TcpStream::connect_in(&net, address).await.unwrap();
        stream.write_all(b"word").await.unwrap();
        let mut word = [0; 4];
        stream.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"word");
        elsewhere.join().unwrap();
    });
}
