//! The contract of every stream shim, case by case, over every kind of stream and on both drivers.
//!
//! Compio's sockets are `SocketAsTokio`, and `CompioAsTokio` again. Over Tokio's streams that one
//! stands on `TokioAsCompio`, so that both shims carry every byte there.

mod io_support;
mod support;
mod tls_support;

use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use io_support::{Hostile, on_each_driver, pattern, settle};
use landbridge::channel;
use landbridge::io::{CompioAsTokio, IntoCompioIo, IntoTokioIo, TokioAsCompio};
use landbridge::rt::spawn_local;
use tls_support::handshake;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

trait Stream: AsyncRead + AsyncWrite + Unpin + 'static {}
impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Stream for S {}

fn tcp_pair() -> (std::net::TcpStream, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let one = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}

fn tokio_tcp(stream: std::net::TcpStream) -> tokio::net::TcpStream {
    stream.set_nonblocking(true).unwrap();
    tokio::net::TcpStream::from_std(stream).unwrap()
}

#[cfg(unix)]
fn tokio_unix(stream: std::os::unix::net::UnixStream) -> tokio::net::UnixStream {
    stream.set_nonblocking(true).unwrap();
    tokio::net::UnixStream::from_std(stream).unwrap()
}

mod fixture {
    use super::*;

    pub(super) fn compio_tcp() -> (impl Stream, impl Stream) {
        let (ours, peer) = tcp_pair();
        let ours = compio::net::TcpStream::from_std(ours).unwrap();
        (ours.into_tokio_io(), tokio_tcp(peer))
    }

    pub(super) fn compio_tcp_buffered() -> (impl Stream, impl Stream) {
        let (ours, peer) = tcp_pair();
        let ours = compio::net::TcpStream::from_std(ours).unwrap();
        (CompioAsTokio::new(ours), tokio_tcp(peer))
    }

    /// The halves as one stream again, each moved on its own.
    #[cfg(unix)]
    pub(super) fn compio_tcp_in_halves() -> (impl Stream, impl Stream) {
        let (ours, peer) = tcp_pair();
        let ours = compio::net::TcpStream::from_std(ours).unwrap();
        let (reader, writer) = ours.into_tokio_io().into_split();
        (tokio::io::join(reader, writer), tokio_tcp(peer))
    }

    pub(super) fn tokio_tcp_twice() -> (impl Stream, impl Stream) {
        let (ours, peer) = tcp_pair();
        let ours = tokio_tcp(ours).into_compio_io();
        (CompioAsTokio::new(ours), tokio_tcp(peer))
    }

    #[cfg(unix)]
    pub(super) fn compio_unix() -> (impl Stream, impl Stream) {
        let (ours, peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let ours = compio::net::UnixStream::from_std(ours).unwrap();
        (ours.into_tokio_io(), tokio_unix(peer))
    }

    #[cfg(unix)]
    pub(super) fn compio_unix_buffered() -> (impl Stream, impl Stream) {
        let (ours, peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let ours = compio::net::UnixStream::from_std(ours).unwrap();
        (CompioAsTokio::new(ours), tokio_unix(peer))
    }

    #[cfg(unix)]
    pub(super) fn tokio_unix_twice() -> (impl Stream, impl Stream) {
        let (ours, peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let (reader, writer) = tokio_unix(ours).into_split();
        let ours = (reader.into_compio_io(), writer.into_compio_io());
        (CompioAsTokio::new(ours), tokio_unix(peer))
    }

    pub(super) fn hostile_pipe() -> (impl Stream, impl Stream) {
        let (ours, peer) = tokio::io::duplex(4096);
        let ours = TokioAsCompio::new(Hostile::new(ours));
        (CompioAsTokio::with_capacity(ours, 3000), peer)
    }

    pub(super) fn hostile_pipe_and_tiny_buffers() -> (impl Stream, impl Stream) {
        let (ours, peer) = tokio::io::duplex(11);
        let ours = TokioAsCompio::new(Hostile::new(ours));
        (CompioAsTokio::with_capacity(ours, 1), peer)
    }

    /// Two pipes of `channel::pipe`, through Tokio's traits.
    pub(super) fn channel_pipes() -> (impl Stream, impl Stream) {
        let ((our_writer, peer_reader), (peer_writer, our_reader)) =
            (channel::pipe(4096), channel::pipe(4096));
        (
            tokio::io::join(our_reader, our_writer),
            tokio::io::join(peer_reader, peer_writer),
        )
    }

    /// The same with ours through Compio's traits.
    pub(super) fn channel_pipes_of_compio() -> (impl Stream, impl Stream) {
        let ((our_writer, peer_reader), (peer_writer, our_reader)) =
            (channel::pipe(4096), channel::pipe(4096));
        (
            CompioAsTokio::new((our_reader, our_writer)),
            tokio::io::join(peer_reader, peer_writer),
        )
    }

    /// Tokio's TLS over a shim over Compio's socket.
    pub(super) async fn tls_over_compio() -> (impl Stream, impl Stream) {
        let (ours, peer) = tcp_pair();
        let ours = compio::net::TcpStream::from_std(ours).unwrap();
        handshake(ours.into_tokio_io(), tokio_tcp(peer)).await
    }

    pub(super) async fn tls_over_compio_buffered() -> (impl Stream, impl Stream) {
        let (ours, peer) = tcp_pair();
        let ours = compio::net::TcpStream::from_std(ours).unwrap();
        handshake(CompioAsTokio::new(ours), tokio_tcp(peer)).await
    }

    pub(super) async fn tls_over_hostile_pipe() -> (impl Stream, impl Stream) {
        let (ours, peer) = tokio::io::duplex(4096);
        let ours = CompioAsTokio::with_capacity(TokioAsCompio::new(Hostile::new(ours)), 3000);
        handshake(ours, peer).await
    }

    /// There TLS has to keep bytes to itself, until it is flushed.
    pub(super) async fn tls_over_narrow_pipe_made_owned() -> (impl Stream, impl Stream) {
        let (ours, peer) = tokio::io::duplex(1000);
        let (ours, peer) = handshake(Hostile::new(ours), peer).await;
        (CompioAsTokio::new(TokioAsCompio::new(ours)), peer)
    }

    /// Tokio's TLS over Tokio's socket, handed to a Compio program, and that to a Tokio library.
    pub(super) async fn tls_over_tokio_made_owned() -> (impl Stream, impl Stream) {
        let (ours, peer) = tcp_pair();
        let (ours, peer) = handshake(tokio_tcp(ours), tokio_tcp(peer)).await;
        (CompioAsTokio::new(TokioAsCompio::new(ours)), peer)
    }
}

mod case {
    use super::*;

    pub(super) async fn bytes_arrive_in_order_both_ways(ours: impl Stream, peer: impl Stream) {
        let data = pattern(200_000);
        let (mut our_reader, mut our_writer) = tokio::io::split(ours);
        let (mut peer_reader, mut peer_writer) = tokio::io::split(peer);
        let there = async {
            our_writer.write_all(&data).await.unwrap();
            our_writer.shutdown().await.unwrap();
        };
        let back = async {
            peer_writer.write_all(&data).await.unwrap();
            peer_writer.shutdown().await.unwrap();
        };
        let (mut at_peer, mut at_ours) = (Vec::new(), Vec::new());
        let (_, _, a, b) = tokio::join!(
            there,
            back,
            peer_reader.read_to_end(&mut at_peer),
            our_reader.read_to_end(&mut at_ours)
        );
        a.unwrap();
        b.unwrap();
        assert!(at_peer == data && at_ours == data);
    }

    pub(super) async fn a_read_returns_as_soon_as_there_is_something(
        mut ours: impl Stream,
        mut peer: impl Stream,
    ) {
        for length in [1, 5, 8] {
            peer.write_all(&pattern(length)).await.unwrap();
            let (mut room, mut got) = (vec![0; 100_000], 0);
            while got < length {
                let count = ours.read(&mut room[got..]).await.unwrap();
                assert!(count > 0);
                got += count;
            }
            assert_eq!(room[..got], pattern(length));
        }
    }

    pub(super) async fn a_dropped_read_loses_nothing(mut ours: impl Stream, mut peer: impl Stream) {
        for turn in 0..20_u8 {
            assert!(poll_read(&mut ours, &mut [0; 8]).is_pending());
            peer.write_all(&[turn]).await.unwrap();
            if turn % 2 == 0 {
                settle().await;
            }
            let mut byte = [0];
            ours.read_exact(&mut byte).await.unwrap();
            assert_eq!(byte, [turn]);
        }
    }

    pub(super) async fn a_pending_read_may_be_repeated_with_another_buffer(
        mut ours: impl Stream,
        mut peer: impl Stream,
    ) {
        let mut first = [0; 100];
        let mut second = [0; 1];
        assert!(poll_read(&mut ours, &mut first).is_pending());
        assert!(poll_read(&mut ours, &mut second).is_pending());
        peer.write_all(b"abc").await.unwrap();
        ours.read_exact(&mut second).await.unwrap();
        let mut rest = [0; 2];
        ours.read_exact(&mut rest).await.unwrap();
        assert_eq!((second, rest, first), (*b"a", *b"bc", [0; 100]));
    }

    pub(super) async fn the_last_waker_is_the_one_that_is_woken(
        mut ours: impl Stream,
        mut peer: impl Stream,
    ) {
        // A poll with somebody else's waker first; the task's own must replace it.
        assert!(poll_read(&mut ours, &mut [0; 8]).is_pending());
        let read = async {
            let mut byte = [0];
            ours.read_exact(&mut byte).await.unwrap();
            byte
        };
        let write = async {
            settle().await;
            peer.write_all(b"x").await.unwrap();
        };
        assert_eq!(tokio::join!(read, write).0, *b"x");
    }

    pub(super) async fn an_accepted_write_is_on_its_way_without_a_flush(
        mut ours: impl Stream,
        mut peer: impl Stream,
    ) {
        let data = pattern(60_000);
        let count = ours.write(&data).await.unwrap();
        // Nobody polls the shim from here on, and it has to send short writes one after another.
        let mut at_peer = vec![0; count];
        peer.read_exact(&mut at_peer).await.unwrap();
        assert!(at_peer == data[..count]);
        drop(ours);
    }

    pub(super) async fn a_pending_write_may_be_repeated_with_other_bytes(
        mut ours: impl Stream,
        mut peer: impl Stream,
    ) {
        let mut accepted = Vec::new();
        let mut turn = 0_u8;
        // As much as buffers and kernel take while nobody reads.
        loop {
            turn = turn.wrapping_add(1);
            let bytes = vec![turn; 4096];
            match poll_write(&mut ours, &bytes) {
                Poll::Ready(count) => accepted.extend_from_slice(&bytes[..count]),
                Poll::Pending => {
                    settle().await;
                    if poll_write(&mut ours, b"").is_ready() && accepted.len() > 5_000_000 {
                        break;
                    }
                    // Still no room after everything ran: the offer was not taken.
                    match poll_write(&mut ours, b"other bytes") {
                        Poll::Ready(count) => accepted.extend_from_slice(&b"other bytes"[..count]),
                        Poll::Pending => break,
                    }
                }
            }
        }
        let finish = async {
            ours.write_all(b"the end").await.unwrap();
            ours.shutdown().await.unwrap();
        };
        let mut at_peer = Vec::new();
        tokio::join!(finish, peer.read_to_end(&mut at_peer))
            .1
            .unwrap();
        accepted.extend_from_slice(b"the end");
        assert!(
            at_peer == accepted,
            "{} of {}",
            at_peer.len(),
            accepted.len()
        );
    }

    pub(super) async fn a_vectored_write_takes_more_than_the_first_slice(
        mut ours: impl Stream,
        mut peer: impl Stream,
    ) {
        assert!(ours.is_write_vectored());
        let slices = [b"".as_slice(), b"ov", b"er", b"", b" the bridge"].map(IoSlice::new);
        let count = ours.write_vectored(&slices).await.unwrap();
        ours.flush().await.unwrap();
        let mut at_peer = vec![0; count];
        peer.read_exact(&mut at_peer).await.unwrap();
        assert_eq!(at_peer, b"over the bridge"[..count]);
        // A buffer of one byte has room for no more than one.
        assert!(count == 15 || count == 1, "{count}");
    }

    pub(super) async fn a_shutdown_ends_the_sending_direction_only(
        mut ours: impl Stream,
        mut peer: impl Stream,
    ) {
        ours.write_all(b"request").await.unwrap();
        for _ in 0..3 {
            ours.shutdown().await.unwrap();
            ours.flush().await.unwrap();
        }
        assert!(ours.write(b"late").await.is_err());
        let mut request = Vec::new();
        peer.read_to_end(&mut request).await.unwrap();
        assert_eq!(request, b"request");

        peer.write_all(b"answer").await.unwrap();
        let mut answer = [0; 6];
        ours.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
    }

    pub(super) async fn the_end_of_a_stream_is_sticky(
        mut ours: impl Stream,
        mut peer: impl Stream,
    ) {
        peer.write_all(b"last").await.unwrap();
        peer.shutdown().await.unwrap();
        let mut text = Vec::new();
        ours.read_to_end(&mut text).await.unwrap();
        assert_eq!(text, b"last");
        for _ in 0..3 {
            assert_eq!(ours.read(&mut [0; 8]).await.unwrap(), 0);
        }
    }

    pub(super) async fn a_waiting_read_does_not_hold_up_writes(
        ours: impl Stream,
        mut peer: impl Stream,
    ) {
        let (mut reader, mut writer) = tokio::io::split(ours);
        let read = spawn_local(async move {
            let mut byte = [0];
            reader.read_exact(&mut byte).await.unwrap();
            byte
        });
        settle().await;
        let write = spawn_local(async move {
            writer.write_all(b"first").await.unwrap();
            writer.flush().await.unwrap();
            writer
        });
        let mut at_peer = [0; 5];
        peer.read_exact(&mut at_peer).await.unwrap();
        peer.write_all(b"x").await.unwrap();
        assert_eq!(read.await.unwrap(), *b"x");
        write.await.unwrap();
    }

    pub(super) async fn a_dropped_stream_sends_what_it_accepted_and_closes(
        mut ours: impl Stream,
        mut peer: impl Stream,
    ) {
        let data = pattern(50_000);
        let count = ours.write(&data).await.unwrap();
        drop(ours);
        let mut at_peer = Vec::new();
        peer.read_to_end(&mut at_peer).await.unwrap();
        assert!(at_peer == data[..count]);
    }

    pub(super) async fn a_stream_dropped_with_a_read_in_flight_closes(
        mut ours: impl Stream,
        mut peer: impl Stream,
    ) {
        assert!(poll_read(&mut ours, &mut [0; 8]).is_pending());
        ours.write_all(b"x").await.unwrap();
        drop(ours);
        let mut at_peer = Vec::new();
        peer.read_to_end(&mut at_peer).await.unwrap();
        assert_eq!(at_peer, b"x");
    }

    pub(super) async fn a_flush_returns_when_everything_is_out(
        mut ours: impl Stream,
        mut peer: impl Stream,
    ) {
        let data = pattern(100_000);
        let send = async {
            ours.write_all(&data).await.unwrap();
            ours.flush().await.unwrap();
            ours
        };
        let mut at_peer = vec![0; data.len()];
        let (_ours, received) = tokio::join!(send, peer.read_exact(&mut at_peer));
        received.unwrap();
        assert!(at_peer == data);
    }
}

fn poll_read(stream: &mut impl Stream, buffer: &mut [u8]) -> Poll<usize> {
    let mut buffer = ReadBuf::new(buffer);
    let mut cx = Context::from_waker(Waker::noop());
    Pin::new(stream)
        .poll_read(&mut cx, &mut buffer)
        .map(|result| {
            result.unwrap();
            buffer.filled().len()
        })
}

fn poll_write(stream: &mut impl Stream, bytes: &[u8]) -> Poll<usize> {
    let mut cx = Context::from_waker(Waker::noop());
    Pin::new(stream)
        .poll_write(&mut cx, bytes)
        .map(Result::unwrap)
}

macro_rules! contract {
    ($on:path: $($(#[$attribute:meta])* $fixture:ident),* $(,)?) => {$(
        $(#[$attribute])*
        mod $fixture {
            use super::*;

            contract!(@ $on, { fixture::$fixture() }:
                /// The first thing anybody expects of a stream.
                bytes_arrive_in_order_both_ways
                /// A shim that waits to fill its buffer stalls every request-response protocol.
                a_read_returns_as_soon_as_there_is_something
                /// `select!` drops reads all the time.
                a_dropped_read_loses_nothing
                /// Tokio's readers may come back with any buffer; the kernel keeps the first one.
                a_pending_read_may_be_repeated_with_another_buffer
                /// A stream moved to another task would sleep for ever.
                the_last_waker_is_the_one_that_is_woken
                /// Programs written for Tokio's sockets do not flush.
                an_accepted_write_is_on_its_way_without_a_flush
                /// A shim that remembers the bytes of a pending write sends them twice or instead.
                a_pending_write_may_be_repeated_with_other_bytes
                /// One slice a call makes a packet of every header.
                a_vectored_write_takes_more_than_the_first_slice
                /// Half-closed connections are how many protocols say "that was all".
                a_shutdown_ends_the_sending_direction_only
                /// A read after the end must not wait for ever.
                the_end_of_a_stream_is_sticky
                /// One lock over both directions is a deadlock with most peers.
                a_waiting_read_does_not_hold_up_writes
                /// `write_all` and drop is how a last message is sent.
                a_dropped_stream_sends_what_it_accepted_and_closes
                /// A read in flight must not keep the socket open.
                a_stream_dropped_with_a_read_in_flight_closes
                /// Whoever flushes relies on it before he acknowledges.
                a_flush_returns_when_everything_is_out
            );
        }
    )*};
    (@ $on:path, $pair:block: $($(#[$attribute:meta])* $case:ident)*) => {$(
        $(#[$attribute])*
        #[test]
        fn $case() {
            let _watchdog = support::watchdog();
            $on(|| async {
                let (ours, peer) = $pair;
                let mut case = pin!(case::$case(ours, peer));
                poll_fn(|cx| case.as_mut().poll(cx)).await;
            });
        }
    )*};
}

contract!(
    on_each_driver: compio_tcp,
    compio_tcp_buffered,
    #[cfg(unix)]
    compio_tcp_in_halves,
    tokio_tcp_twice,
    #[cfg(unix)]
    compio_unix,
    #[cfg(unix)]
    compio_unix_buffered,
    #[cfg(unix)]
    tokio_unix_twice,
    hostile_pipe,
    hostile_pipe_and_tiny_buffers,
    channel_pipes,
    channel_pipes_of_compio,
);

/// What holds of TLS as well. Without a flush it may keep bytes to itself, and its end is a message:
/// what a stream dropped without a shutdown would send, it does not.
macro_rules! tls_contract {
    ($($fixture:ident),* $(,)?) => {$(
        mod $fixture {
            use super::*;

            contract!(@ on_each_driver, { fixture::$fixture().await }:
                /// The first thing anybody expects of a stream.
                bytes_arrive_in_order_both_ways
                /// A shim that waits to fill its buffer stalls every request-response protocol.
                a_read_returns_as_soon_as_there_is_something
                /// `select!` drops reads all the time.
                a_dropped_read_loses_nothing
                /// A record that arrives late belongs to whoever reads next.
                a_pending_read_may_be_repeated_with_another_buffer
                /// A stream moved to another task would sleep for ever.
                the_last_waker_is_the_one_that_is_woken
                /// One slice a call makes a record of every header.
                a_vectored_write_takes_more_than_the_first_slice
                /// Half-closed connections are how many protocols say "that was all".
                a_shutdown_ends_the_sending_direction_only
                /// A read after the end must not wait for ever.
                the_end_of_a_stream_is_sticky
                /// One lock over both directions is a deadlock with most peers.
                a_waiting_read_does_not_hold_up_writes
                /// Whoever flushes relies on it before he acknowledges.
                a_flush_returns_when_everything_is_out
            );
        }
    )*};
}

tls_contract!(
    tls_over_compio,
    tls_over_compio_buffered,
    tls_over_hostile_pipe,
    tls_over_tokio_made_owned,
    tls_over_narrow_pipe_made_owned,
);

/// Sockets of a pool's, used from Tokio.
#[cfg(unix)]
mod remote {
    use std::cell::RefCell;

    use landbridge::remote::{Net, TcpStream, UnixStream};
    use landbridge::{CompioPool, Driver};

    use super::*;

    thread_local! {
        static NET: RefCell<Option<Net>> = const { RefCell::new(None) };
    }

    fn with_net<R>(f: impl FnOnce(&Net) -> R) -> R {
        NET.with_borrow(|net| f(net.as_ref().unwrap()))
    }

    /// Runs the body on Tokio, beside a pool on each driver.
    pub(super) fn from_tokio<F: Future<Output = ()>>(body: impl Fn() -> F) {
        for driver in [Driver::Polling, Driver::IoUring] {
            let pool = CompioPool::builder().threads(1).driver(driver).build();
            let pool = match pool {
                Ok(pool) => pool,
                Err(error) if driver == Driver::IoUring => {
                    eprintln!("skipped on io_uring: {error}");
                    continue;
                }
                Err(error) => panic!("no polling driver: {error}"),
            };
            NET.set(Some(Net::new(&pool)));
            let tokio = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            tokio::task::LocalSet::new().block_on(&tokio, body());
            NET.set(None);
        }
    }

    mod fixture {
        use super::*;

        pub(super) fn remote_tcp() -> (impl Stream, impl Stream) {
            let (ours, peer) = tcp_pair();
            let ours = with_net(|net| TcpStream::from_std_in(net, ours)).unwrap();
            (ours, tokio_tcp(peer))
        }

        pub(super) fn remote_tcp_in_halves() -> (impl Stream, impl Stream) {
            let (ours, peer) = tcp_pair();
            let ours = with_net(|net| TcpStream::from_std_in(net, ours)).unwrap();
            let (reader, writer) = ours.into_split();
            (tokio::io::join(reader, writer), tokio_tcp(peer))
        }

        pub(super) fn remote_tcp_both_ends() -> (impl Stream, impl Stream) {
            let (ours, peer) = tcp_pair();
            let remote = |stream| with_net(|net| TcpStream::from_std_in(net, stream)).unwrap();
            (remote(ours), remote(peer))
        }

        pub(super) fn remote_unix() -> (impl Stream, impl Stream) {
            let (ours, peer) = std::os::unix::net::UnixStream::pair().unwrap();
            let ours = with_net(|net| UnixStream::from_std_in(net, ours)).unwrap();
            (ours, tokio_unix(peer))
        }
    }

    contract!(
        from_tokio: remote_tcp,
        remote_tcp_in_halves,
        remote_tcp_both_ends,
        remote_unix,
    );
}
