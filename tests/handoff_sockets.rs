//! Sockets and pipes that move from one runtime to the other while they are in use.
#![cfg(unix)]

mod io_support;
mod support;

use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::pin::pin;
use std::task::Poll;

use compio::BufResult;
use compio::driver::ToSharedFd;
use compio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use compio::runtime::Runtime;
use io_support::{on_each_driver, pattern, settle};
use landbridge::handoff::{self, HandoffError, NotHandedOver};
use rustix::fs::{OFlags, fcntl_getfl};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn tcp_pair() -> (std::net::TcpStream, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let one = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}

fn unix_pair() -> (
    std::os::unix::net::UnixStream,
    std::os::unix::net::UnixStream,
) {
    std::os::unix::net::UnixStream::pair().unwrap()
}

fn is_nonblocking(object: impl AsFd) -> bool {
    fcntl_getfl(object).unwrap().contains(OFlags::NONBLOCK)
}

fn driver_polls() -> bool {
    Runtime::with_current(|runtime| runtime.driver_type().is_polling())
}

async fn compio_reads(stream: &mut impl AsyncRead, len: usize) -> Vec<u8> {
    let BufResult(result, bytes) = stream.read_exact(Vec::with_capacity(len)).await;
    result.unwrap();
    bytes
}

async fn tokio_reads(stream: &mut (impl tokio::io::AsyncRead + Unpin), len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

async fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
    poll_fn(|cx| Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx).is_pending())).await
}

/// Tells `S` of its error, which must be this one, and gives the object back.
fn refused<S, T>(result: Result<T, HandoffError<S>>, why: NotHandedOver) -> S {
    let Err(error) = result else {
        panic!("handed over, against {why:?}");
    };
    assert_eq!(error.reason(), Some(why));
    error.into_object()
}

macro_rules! streams_move {
    ($name:ident, $pair:ident, $to_compio:ident, $to_tokio:ident, $to_std:ident) => {
        /// What the kernel has received and nobody has read yet is the part of a connection that a move is most
        /// likely to lose, or to hand out twice.
        #[test]
        fn $name() {
            let _watchdog = support::watchdog();
            on_each_driver(async || {
                const STEP: usize = 10_000;
                let (mut peer, stream) = $pair();
                let bytes = pattern(7 * STEP);
                peer.write_all(&bytes).unwrap();

                let mut parts = bytes.chunks(STEP);
                let mut stream = handoff::$to_tokio(stream).unwrap();
                assert!(is_nonblocking(&stream));
                assert_eq!(tokio_reads(&mut stream, STEP).await, parts.next().unwrap());

                let mut stream = handoff::$to_compio(stream).unwrap();
                assert_eq!(is_nonblocking(&stream), driver_polls());
                assert_eq!(compio_reads(&mut stream, STEP).await, parts.next().unwrap());

                let mut stream = handoff::$to_tokio(stream).unwrap();
                assert!(is_nonblocking(&stream));
                assert_eq!(tokio_reads(&mut stream, STEP).await, parts.next().unwrap());

                let mut stream = handoff::$to_std(stream).unwrap();
                assert!(!is_nonblocking(&stream));
                let mut part = [0; STEP];
                stream.read_exact(&mut part).unwrap();
                assert_eq!(part, parts.next().unwrap());

                let mut stream = handoff::$to_compio(stream).unwrap();
                assert_eq!(compio_reads(&mut stream, STEP).await, parts.next().unwrap());

                let mut stream = handoff::$to_std(stream).unwrap();
                assert!(!is_nonblocking(&stream));
                stream.read_exact(&mut part).unwrap();
                assert_eq!(part, parts.next().unwrap());

                // The other direction, and the end: nobody has kept a duplicate.
                let mut stream = handoff::$to_compio(stream).unwrap();
                stream.write_all(&b"from Compio, "[..]).await.unwrap();
                let mut stream = handoff::$to_tokio(stream).unwrap();
                stream.write_all(b"from Tokio").await.unwrap();
                assert_eq!(tokio_reads(&mut stream, STEP).await, parts.next().unwrap());
                drop(stream);
                let mut said = String::new();
                peer.read_to_string(&mut said).unwrap();
                assert_eq!(said, "from Compio, from Tokio");
            });
        }
    };
}

streams_move!(
    a_tcp_stream_loses_no_byte_on_its_way_to_and_fro,
    tcp_pair,
    tcp_to_compio,
    tcp_to_tokio,
    tcp_to_std
);
streams_move!(
    a_unix_stream_loses_no_byte_on_its_way_to_and_fro,
    unix_pair,
    unix_to_compio,
    unix_to_tokio,
    unix_to_std
);

/// A ring's read of a descriptor in the wrong mode ends with `WouldBlock` at once, and one of Tokio's blocks its
/// thread: only what has to wait shows it.
#[test]
fn a_read_that_must_wait_waits_on_its_new_runtime() {
    let _watchdog = support::watchdog();
    on_each_driver(async || {
        let (mut peer, stream) = tcp_pair();
        let mut stream = handoff::tcp_to_compio(handoff::tcp_to_tokio(stream).unwrap()).unwrap();
        {
            let mut read = pin!(stream.read(Vec::with_capacity(16)));
            assert!(is_pending(&mut read).await);
            peer.write_all(b"late").unwrap();
            assert_eq!(read.await.unwrap().1, b"late");
        }
        settle().await;
        let mut stream = handoff::tcp_to_tokio(stream).unwrap();
        let mut bytes = [0; 5];
        let mut read = pin!(stream.read_exact(&mut bytes));
        assert!(is_pending(&mut read).await);
        peer.write_all(b"later").unwrap();
        read.await.unwrap();
        assert_eq!(&bytes, b"later");
    });
}

/// A clone would go on reading from the other side of the bridge, and each would get a part of the bytes.
#[test]
fn a_stream_with_a_clone_stays_and_goes_once_it_is_alone() {
    let _watchdog = support::watchdog();
    on_each_driver(async || {
        let (mut peer, stream) = tcp_pair();
        let stream = handoff::tcp_to_compio(stream).unwrap();
        let clone = stream.clone();
        let mut stream = refused(handoff::tcp_to_tokio(stream), NotHandedOver::InUse);
        peer.write_all(b"still here").unwrap();
        assert_eq!(compio_reads(&mut stream, 10).await, b"still here");

        // Asking twice changes nothing.
        let stream = refused(handoff::tcp_to_std(stream), NotHandedOver::InUse);
        let stream = refused(handoff::tcp_to_std(stream), NotHandedOver::InUse);

        drop(clone);
        let poller = stream.to_poll_fd().unwrap();
        let stream = refused(handoff::tcp_to_std(stream), NotHandedOver::InUse);
        drop(poller);
        let shared = stream.to_shared_fd();
        let stream = refused(handoff::tcp_to_std(stream), NotHandedOver::InUse);
        drop(shared);
        let (reader, writer) = stream.into_split();
        let reader = refused(handoff::tcp_to_std(reader), NotHandedOver::InUse);
        drop(writer);

        settle().await;
        let mut stream = handoff::tcp_to_std(reader).unwrap();
        peer.write_all(b"alone").unwrap();
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"alone");
    });
}

/// Compio's own `close` counts too; the answer must not disturb it, nor be wrong after it.
#[test]
fn a_refused_stream_still_closes_as_compio_closes() {
    let _watchdog = support::watchdog();
    on_each_driver(async || {
        let (mut peer, stream) = tcp_pair();
        let stream = handoff::tcp_to_compio(stream).unwrap();
        let clone = stream.clone();
        let stream = refused(handoff::tcp_to_std(stream), NotHandedOver::InUse);
        let mut closing = pin!(stream.close());
        assert!(is_pending(&mut closing).await);
        let clone = refused(handoff::tcp_to_std(clone), NotHandedOver::InUse);
        assert!(is_pending(&mut closing).await);
        drop(clone);
        closing.await.unwrap();
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    });
}

/// A dropped read is cancelled, but until the kernel says so it may still take the bytes that the new owner
/// waits for.
#[test]
fn a_stream_with_a_read_in_flight_stays_until_the_kernel_has_given_it_back() {
    let _watchdog = support::watchdog();
    on_each_driver(async || {
        let (mut peer, stream) = tcp_pair();
        let mut stream = handoff::tcp_to_compio(stream).unwrap();
        {
            let mut read = pin!(stream.read(Vec::with_capacity(16)));
            assert!(is_pending(&mut read).await);
        }
        let mut stream = refused(handoff::tcp_to_tokio(stream), NotHandedOver::InUse);
        let mut stream = loop {
            match handoff::tcp_to_tokio(stream) {
                Ok(stream) => break stream,
                Err(error) => stream = error.into_object(),
            }
            settle().await;
        };
        peer.write_all(b"every byte").unwrap();
        assert_eq!(tokio_reads(&mut stream, 10).await, b"every byte");
    });
}

macro_rules! goes_every_way {
    ($object:expr, $to_compio:ident, $to_tokio:ident, $to_std:ident) => {{
        let object = handoff::$to_std($object).unwrap();
        assert!(!is_nonblocking(&object));
        let object = handoff::$to_compio(object).unwrap();
        assert_eq!(is_nonblocking(&object), driver_polls());
        // A clone of each kind is seen.
        let clone = object.clone();
        let object = refused(handoff::$to_compio(object), NotHandedOver::InUse);
        let object = refused(handoff::$to_tokio(object), NotHandedOver::InUse);
        let object = refused(handoff::$to_std(object), NotHandedOver::InUse);
        assert_eq!(is_nonblocking(&object), driver_polls());
        drop(clone);
        let object = handoff::$to_compio(object).unwrap();
        let object = handoff::$to_tokio(object).unwrap();
        assert!(is_nonblocking(&object));
        let object = handoff::$to_tokio(object).unwrap();
        let object = handoff::$to_compio(object).unwrap();
        assert_eq!(is_nonblocking(&object), driver_polls());
        let object = handoff::$to_std(object).unwrap();
        assert!(!is_nonblocking(&object));
        let object = handoff::$to_tokio(object).unwrap();
        assert!(is_nonblocking(&object));
        handoff::$to_std(object).unwrap()
    }};
}

/// Nine ways for each of seven kinds: a mode that is wrong on one of them is a busy loop, or a thread that blocks.
#[test]
fn each_kind_goes_every_way_and_stays_while_it_has_a_clone() {
    let _watchdog = support::watchdog();
    on_each_driver(async || {
        let (mut peer, tcp) = tcp_pair();
        let mut tcp = goes_every_way!(tcp, tcp_to_compio, tcp_to_tokio, tcp_to_std);
        peer.write_all(b"tcp").unwrap();
        let mut word = [0; 3];
        tcp.read_exact(&mut word).unwrap();
        assert_eq!(&word, b"tcp");

        let (mut peer, unix) = unix_pair();
        let mut unix = goes_every_way!(unix, unix_to_compio, unix_to_tokio, unix_to_std);
        peer.write_all(b"unx").unwrap();
        unix.read_exact(&mut word).unwrap();
        assert_eq!(&word, b"unx");

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = goes_every_way!(
            listener,
            tcp_listener_to_compio,
            tcp_listener_to_tokio,
            tcp_listener_to_std
        );
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.accept().unwrap();

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let listener = goes_every_way!(
            listener,
            unix_listener_to_compio,
            unix_listener_to_tokio,
            unix_listener_to_std
        );
        let _client = std::os::unix::net::UnixStream::connect(&path).unwrap();
        listener.accept().unwrap();

        let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let udp = goes_every_way!(udp, udp_to_compio, udp_to_tokio, udp_to_std);
        peer.send_to(b"udp", udp.local_addr().unwrap()).unwrap();
        assert_eq!(udp.recv(&mut word).unwrap(), 3);

        let (reader, writer) = std::io::pipe().unwrap();
        let mut reader = goes_every_way!(
            reader,
            pipe_receiver_to_compio,
            pipe_receiver_to_tokio,
            pipe_receiver_to_std
        );
        let mut writer = goes_every_way!(
            writer,
            pipe_sender_to_compio,
            pipe_sender_to_tokio,
            pipe_sender_to_std
        );
        writer.write_all(b"pip").unwrap();
        reader.read_exact(&mut word).unwrap();
        assert_eq!(&word, b"pip");
    });
}

/// A dropped `accept` may still take a connection with it, and a dropped `recv` a datagram.
#[test]
fn listeners_and_udp_sockets_stay_until_the_kernel_has_given_back_what_was_dropped() {
    let _watchdog = support::watchdog();
    on_each_driver(async || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let listener = handoff::tcp_listener_to_compio(listener).unwrap();
        {
            let mut accept = pin!(listener.accept());
            assert!(is_pending(&mut accept).await);
        }
        let mut listener = refused(
            handoff::tcp_listener_to_tokio(listener),
            NotHandedOver::InUse,
        );
        let listener = loop {
            match handoff::tcp_listener_to_tokio(listener) {
                Ok(listener) => break listener,
                Err(error) => listener = error.into_object(),
            }
            settle().await;
        };
        let client = std::net::TcpStream::connect(address).unwrap();
        let (_, who) = listener.accept().await.unwrap();
        assert_eq!(who, client.local_addr().unwrap());

        let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let socket = handoff::udp_to_compio(socket).unwrap();
        {
            let mut receive = pin!(socket.recv(Vec::with_capacity(8)));
            assert!(is_pending(&mut receive).await);
        }
        let mut socket = refused(handoff::udp_to_tokio(socket), NotHandedOver::InUse);
        let socket = loop {
            match handoff::udp_to_tokio(socket) {
                Ok(socket) => break socket,
                Err(error) => socket = error.into_object(),
            }
            settle().await;
        };
        peer.send_to(b"every one", address).unwrap();
        assert_eq!(socket.recv(&mut [0; 16]).await.unwrap(), 9);
    });
}

/// Connections that wait in the backlog are accepted by whoever has the listener next.
#[test]
fn a_listener_takes_its_backlog_along() {
    let _watchdog = support::watchdog();
    on_each_driver(async || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connect = || std::net::TcpStream::connect(address).unwrap();

        let _waiting = [connect(), connect(), connect()];
        let listener = handoff::tcp_listener_to_tokio(listener).unwrap();
        listener.accept().await.unwrap();
        let listener = handoff::tcp_listener_to_compio(listener).unwrap();
        assert_eq!(is_nonblocking(&listener), driver_polls());
        listener.accept().await.unwrap();
        settle().await;
        let listener = handoff::tcp_listener_to_std(listener).unwrap();
        listener.accept().unwrap();

        let listener = handoff::tcp_listener_to_compio(listener).unwrap();
        {
            let mut accept = pin!(listener.accept());
            assert!(is_pending(&mut accept).await);
            let _late = connect();
            accept.await.unwrap();
        }
        settle().await;
        let listener = handoff::tcp_listener_to_tokio(listener).unwrap();
        let mut accept = pin!(listener.accept());
        assert!(is_pending(&mut accept).await);
        let _later = connect();
        accept.await.unwrap();
    });
}

/// The same for a listener with a path.
#[test]
fn a_unix_listener_takes_its_backlog_along() {
    let _watchdog = support::watchdog();
    on_each_driver(async || {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let connect = || std::os::unix::net::UnixStream::connect(&path).unwrap();

        let _waiting = [connect(), connect(), connect()];
        let listener = handoff::unix_listener_to_compio(listener).unwrap();
        listener.accept().await.unwrap();
        settle().await;
        let listener = handoff::unix_listener_to_tokio(listener).unwrap();
        listener.accept().await.unwrap();
        let listener = handoff::unix_listener_to_std(listener).unwrap();
        listener.accept().unwrap();
    });
}

/// Datagrams in the socket's queue are each given out once.
#[test]
fn a_udp_socket_takes_its_queue_along() {
    let _watchdog = support::watchdog();
    on_each_driver(async || {
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        for word in ["one", "two", "three"] {
            peer.send_to(word.as_bytes(), address).unwrap();
        }
        let mut bytes = [0; 8];
        let socket = handoff::udp_to_tokio(socket).unwrap();
        assert_eq!(socket.recv(&mut bytes).await.unwrap(), 3);
        let socket = handoff::udp_to_compio(socket).unwrap();
        let (_, word) = socket.recv(Vec::with_capacity(8)).await.unwrap();
        assert_eq!(word, b"two");
        settle().await;
        let socket = handoff::udp_to_std(socket).unwrap();
        let len = socket.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..len], b"three");
    });
}

/// A ring reads a pipe by a plain read, which answers `WouldBlock` in non-blocking mode instead of waiting.
#[test]
fn the_ends_of_a_pipe_move_with_what_is_in_it() {
    let _watchdog = support::watchdog();
    on_each_driver(async || {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut writer = handoff::pipe_sender_to_tokio(writer).unwrap();
        writer.write_all(b"one, two, ").await.unwrap();
        let mut writer = handoff::pipe_sender_to_compio(writer).unwrap();
        assert_eq!(is_nonblocking(&writer), driver_polls());
        writer.write_all(&b"three, "[..]).await.unwrap();

        let mut reader = handoff::pipe_receiver_to_tokio(reader).unwrap();
        assert_eq!(tokio_reads(&mut reader, 5).await, b"one, ");
        let mut reader = handoff::pipe_receiver_to_compio(reader).unwrap();
        assert_eq!(is_nonblocking(&reader), driver_polls());
        assert_eq!(compio_reads(&mut reader, 5).await, b"two, ");
        settle().await;
        let mut reader = handoff::pipe_receiver_to_std(reader).unwrap();
        assert!(!is_nonblocking(&reader));
        let mut bytes = [0; 7];
        reader.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"three, ");

        settle().await;
        let mut writer = handoff::pipe_sender_to_std(writer).unwrap();
        let mut reader = handoff::pipe_receiver_to_compio(reader).unwrap();
        {
            let mut read = pin!(reader.read(Vec::with_capacity(8)));
            assert!(is_pending(&mut read).await);
            writer.write_all(b"four").unwrap();
            assert_eq!(read.await.unwrap().1, b"four");
        }
        drop(writer);
        let (end, _) = reader.read(Vec::with_capacity(1)).await.unwrap();
        assert_eq!(end, 0);
    });
}

/// The same for a pipe that Compio made, with a clone and a read in flight.
#[test]
fn an_end_of_a_pipe_that_is_in_use_stays() {
    let _watchdog = support::watchdog();
    on_each_driver(async || {
        let (mut reader, mut writer) = compio::fs::pipe::anonymous().await.unwrap();
        let clone = writer.clone();
        writer = refused(handoff::pipe_sender_to_std(writer), NotHandedOver::InUse);
        drop(clone);
        {
            let mut read = pin!(reader.read(Vec::with_capacity(16)));
            assert!(is_pending(&mut read).await);
        }
        let mut reader = refused(handoff::pipe_receiver_to_std(reader), NotHandedOver::InUse);
        let mut reader = loop {
            match handoff::pipe_receiver_to_tokio(reader) {
                Ok(reader) => break reader,
                Err(error) => reader = error.into_object(),
            }
            settle().await;
        };
        writer.write_all(&b"every byte"[..]).await.unwrap();
        assert_eq!(tokio_reads(&mut reader, 10).await, b"every byte");
    });
}

/// Both runtimes' own ways panic here. A server that lost its context must not lose its connections too.
#[test]
fn without_the_other_runtime_there_is_an_error_and_the_object() {
    let _watchdog = support::watchdog();
    let (mut peer, stream) = tcp_pair();
    let stream = refused(handoff::tcp_to_tokio(stream), NotHandedOver::NoTokio);
    let mut stream = refused(handoff::tcp_to_compio(stream), NotHandedOver::NoCompio);
    assert!(!is_nonblocking(&stream));
    peer.write_all(b"still here").unwrap();
    let mut bytes = [0; 10];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"still here");

    // A Compio stream, within its runtime, and no Tokio.
    Runtime::new().unwrap().block_on(async {
        let stream = handoff::tcp_to_compio(stream).unwrap();
        let mode = is_nonblocking(&stream);
        let mut stream = refused(handoff::tcp_to_tokio(stream), NotHandedOver::NoTokio);
        assert_eq!(is_nonblocking(&stream), mode);
        stream.write_all(&b"and here"[..]).await.unwrap();
    });
    assert_eq!(peer.read(&mut bytes).unwrap(), 8);
}

/// Tokio only says so by a panic, half-way through, with the socket in its hands.
#[test]
fn a_tokio_runtime_without_io_is_an_error_and_the_object_is_as_it_was() {
    let _watchdog = support::watchdog();
    let tokio = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let _context = tokio.enter();
    let (mut peer, stream) = tcp_pair();
    let stream = refused(handoff::tcp_to_tokio(stream), NotHandedOver::NoTokioIo);
    assert!(!is_nonblocking(&stream));
    Runtime::new().unwrap().block_on(async {
        let stream = handoff::tcp_to_compio(stream).unwrap();
        let mode = is_nonblocking(&stream);
        let mut stream = refused(handoff::tcp_to_tokio(stream), NotHandedOver::NoTokioIo);
        assert_eq!(is_nonblocking(&stream), mode);
        let mut read = pin!(stream.read(Vec::with_capacity(16)));
        assert!(is_pending(&mut read).await);
        peer.write_all(b"still here").unwrap();
        assert_eq!(read.await.unwrap().1, b"still here");
    });
}

/// A context outlives its runtime, whose reactor takes nothing any more; a stream outlives it too, and gets out.
#[test]
fn a_tokio_runtime_that_is_gone_takes_nothing_and_keeps_nothing() {
    let _watchdog = support::watchdog();
    let gone = tokio::runtime::Runtime::new().unwrap();
    let handle = gone.handle().clone();
    let (mut peer, stream) = tcp_pair();
    let stream = {
        let _context = gone.enter();
        handoff::tcp_to_tokio(stream).unwrap()
    };
    peer.write_all(b"from before").unwrap();
    drop(gone);

    let _context = handle.enter();
    let mut stream = handoff::tcp_to_std(stream).unwrap();
    let mut bytes = [0; 11];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"from before");

    let error = handoff::tcp_to_tokio(stream).unwrap_err();
    assert_eq!(error.reason(), None);
    let mut stream = error.into_object();
    assert!(!is_nonblocking(&stream));
    stream.write_all(b"still here").unwrap();
}

/// From one Tokio runtime to another, and from one Compio thread to another, by way of std.
#[test]
fn a_stream_moves_between_runtimes_of_one_kind() {
    let _watchdog = support::watchdog();
    let (mut peer, stream) = tcp_pair();
    let one = tokio::runtime::Runtime::new().unwrap();
    let stream = one.block_on(async { handoff::tcp_to_tokio(stream).unwrap() });
    let other = tokio::runtime::Runtime::new().unwrap();
    let stream = other.block_on(async move {
        let mut stream = handoff::tcp_to_tokio(stream).unwrap();
        one.shutdown_background();
        peer.write_all(b"over the bridge").unwrap();
        assert_eq!(tokio_reads(&mut stream, 4).await, b"over");
        handoff::tcp_to_std(stream).unwrap()
    });
    let stream = Runtime::new().unwrap().block_on(async {
        let mut stream = handoff::tcp_to_compio(stream).unwrap();
        assert_eq!(compio_reads(&mut stream, 4).await, b" the");
        settle().await;
        handoff::tcp_to_std(stream).unwrap()
    });
    std::thread::spawn(|| {
        Runtime::new().unwrap().block_on(async {
            let mut stream = handoff::tcp_to_compio(stream).unwrap();
            assert_eq!(compio_reads(&mut stream, 7).await, b" bridge");
        });
    })
    .join()
    .unwrap();
}
