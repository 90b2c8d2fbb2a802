//! Copying between a stream of one runtime and a stream of the other.

mod io_support;
mod support;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use compio::BufResult;
use compio::buf::{IoBuf, IoBufMut};
use compio::io::AsyncWriteExt as _;
use io_support::{Hostile, on_each_driver, pattern, settle};
use landbridge::io::{TokioAsCompio, copy, copy_bidirectional, copy_bidirectional_with_sizes};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

fn tcp_pair() -> (std::net::TcpStream, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let one = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}

fn tokio_tcp(stream: std::net::TcpStream) -> tokio::net::TcpStream {
    stream.set_nonblocking(true).unwrap();
    tokio::net::TcpStream::from_std(stream).unwrap()
}

/// A Tokio stream and a Compio stream to copy between, and the peers of both, all sockets.
fn sockets() -> (
    (tokio::net::TcpStream, compio::net::TcpStream),
    (tokio::net::TcpStream, tokio::net::TcpStream),
) {
    let (client, tokio) = tcp_pair();
    let (server, compio) = tcp_pair();
    let compio = compio::net::TcpStream::from_std(compio).unwrap();
    (
        (tokio_tcp(tokio), compio),
        (tokio_tcp(client), tokio_tcp(server)),
    )
}

async fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx).is_pending())).await
}

/// The bytes of both directions, the counts, and that one end does not end the other.
#[test]
fn both_directions_end_each_for_itself() {
    const THERE: usize = 3_000_001;
    const BACK: usize = 2_000_003;
    let _watchdog = support::watchdog();
    for client_ends_first in [true, false] {
        on_each_driver(async || {
            let ((mut tokio, mut compio), (mut client, mut server)) = sockets();
            let (there, back) = (pattern(THERE), pattern(BACK));
            let (first, second, first_bytes, second_bytes) = if client_ends_first {
                (&mut client, &mut server, &there, &back)
            } else {
                (&mut server, &mut client, &back, &there)
            };
            let peers = async {
                let mut got = Vec::new();
                let sent = async {
                    first.write_all(first_bytes).await.unwrap();
                    first.shutdown().await.unwrap();
                };
                let received = async {
                    second.read_to_end(&mut got).await.unwrap();
                };
                futures::future::join(sent, received).await;
                assert!(got == *first_bytes);

                // Only now anything goes back.
                got.clear();
                let sent = async {
                    second.write_all(second_bytes).await.unwrap();
                    second.shutdown().await.unwrap();
                };
                let received = async {
                    first.read_to_end(&mut got).await.unwrap();
                };
                futures::future::join(sent, received).await;
                assert!(got == *second_bytes);
            };
            let copied = copy_bidirectional(&mut tokio, &mut compio);
            let (copied, ()) = futures::future::join(copied, peers).await;
            assert_eq!(copied.unwrap(), (THERE as u64, BACK as u64));
            // Both streams are still the caller's.
            tokio.local_addr().unwrap();
            compio.local_addr().unwrap();
        });
    }
}

/// Streams that give little, take little and put off every other call, and buffers of every size against them.
#[test]
fn streams_that_do_little_at_a_time_are_copied_whole() {
    let _watchdog = support::watchdog();
    futures::executor::block_on(async {
        for size in [1, 7, 100, 65_536] {
            let (tokio, mut client) = tokio::io::duplex(50);
            let (compio, mut server) = tokio::io::duplex(70);
            let mut tokio = Hostile::new(tokio);
            let compio = TokioAsCompio::new(Hostile::new(compio));
            let (there, back) = (pattern(5_000), pattern(4_000));
            let exchange = async |stream: &mut tokio::io::DuplexStream, out: &[u8], len| {
                let (mut reader, mut writer) = tokio::io::split(stream);
                let mut got = Vec::new();
                let sent = async {
                    writer.write_all(out).await.unwrap();
                    writer.shutdown().await.unwrap();
                };
                let received = async {
                    reader.read_to_end(&mut got).await.unwrap();
                };
                futures::future::join(sent, received).await;
                assert_eq!(got.len(), len);
                got
            };
            let copied = copy_bidirectional_with_sizes(&mut tokio, compio, size, size);
            let client = exchange(&mut client, &there, back.len());
            let server = exchange(&mut server, &back, there.len());
            let (copied, client, server) = futures::future::join3(copied, client, server).await;
            assert_eq!(copied.unwrap(), (5_000, 4_000));
            assert_eq!((client, server), (back, there));
        }
    });
}

/// A size may come from a configuration.
#[test]
fn buffers_that_there_is_no_memory_for_are_an_error() {
    futures::executor::block_on(async {
        for (there, back) in [(usize::MAX, 1), (1, usize::MAX)] {
            let (mut tokio, _client) = tokio::io::duplex(64);
            let (compio, _server) = tokio::io::duplex(64);
            let compio = TokioAsCompio::new(compio);
            let copied = copy_bidirectional_with_sizes(&mut tokio, compio, there, back).await;
            assert_eq!(copied.unwrap_err().kind(), io::ErrorKind::OutOfMemory);
        }
    });
}

/// One direction of a connection that breaks must not wait for the other, which may never end.
#[test]
fn a_reset_ends_both_directions() {
    let _watchdog = support::watchdog();
    on_each_driver(async || {
        let ((mut tokio, mut compio), (client, server)) = sockets();
        let mut copying = pin!(copy_bidirectional(&mut tokio, &mut compio));
        assert!(is_pending(&mut copying).await);
        client.set_zero_linger().unwrap();
        drop(client);
        let error = copying.await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        drop(server);

        let ((mut tokio, mut compio), (client, server)) = sockets();
        let mut copying = pin!(copy_bidirectional(&mut tokio, &mut compio));
        assert!(is_pending(&mut copying).await);
        server.set_zero_linger().unwrap();
        drop(server);
        let error = copying.await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        drop(client);
    });
}

/// A peer that stops reading stops the copying: what is on its way is a buffer, not the rest of the stream.
#[test]
fn a_peer_that_does_not_read_holds_the_other_up() {
    futures::executor::block_on(async {
        let (mut tokio, mut client) = tokio::io::duplex(1024);
        let (compio, server) = tokio::io::duplex(1024);
        let mut copying = pin!(copy_bidirectional_with_sizes(
            &mut tokio,
            TokioAsCompio::new(compio),
            1024,
            1024
        ));
        let bytes = pattern(1 << 20);
        let mut sent = 0;
        loop {
            assert!(is_pending(&mut copying).await);
            let mut write = pin!(client.write(&bytes[sent..]));
            match poll_fn(|cx| Poll::Ready(write.as_mut().poll(cx))).await {
                Poll::Ready(count) => sent += count.unwrap(),
                Poll::Pending => break,
            }
        }
        assert!(sent <= 3 * 1024, "{sent} bytes are on their way");
        drop(server);
    });
}

/// Dropped half-way, at any point: nothing of either stream is broken, and a ring gives its buffers back.
#[test]
fn dropped_after_any_poll_it_leaves_both_streams_usable() {
    on_each_driver(async || {
        for polls in 0..12 {
            let ((mut tokio, mut compio), (mut client, mut server)) = sockets();
            client.write_all(&pattern(100_000)).await.unwrap();
            server.write_all(&pattern(100_000)).await.unwrap();
            {
                let mut copying = pin!(copy_bidirectional(&mut tokio, &mut compio));
                for _ in 0..polls {
                    assert!(is_pending(&mut copying).await);
                    settle().await;
                }
            }
            settle().await;
            tokio.write_all(b"tokio").await.unwrap();
            compio.write_all(&b"compio"[..]).await.unwrap();
            drop(tokio);
            drop(compio);
            let mut got = Vec::new();
            // What is unread here may make it a reset.
            _ = client.read_to_end(&mut got).await;
            got.clear();
            _ = server.read_to_end(&mut got).await;
        }
    });
}

/// Somebody may answer only what has been flushed.
#[test]
fn what_a_writer_holds_is_flushed_while_the_reader_waits() {
    let _watchdog = support::watchdog();
    futures::executor::block_on(async {
        // Into a Tokio writer.
        let (mut source, reader) = tokio::io::duplex(64);
        let (writer, mut sink) = tokio::io::duplex(64);
        let mut reader = TokioAsCompio::new(reader);
        let mut writer = tokio::io::BufWriter::new(writer);
        {
            let mut copying = pin!(copy(&mut reader, &mut writer));
            source.write_all(b"ping").await.unwrap();
            assert!(is_pending(&mut copying).await);
            let mut got = [0; 4];
            let mut read = pin!(sink.read_exact(&mut got));
            assert!(!is_pending(&mut read).await);
            drop(source);
            assert_eq!(copying.await.unwrap(), 4);
        }

        // Into a Compio writer.
        let (mut source, mut reader) = tokio::io::duplex(64);
        let (writer, mut sink) = tokio::io::duplex(64);
        let mut writer = compio::io::BufWriter::new(TokioAsCompio::new(writer));
        {
            let mut copying = pin!(copy(&mut reader, &mut writer));
            source.write_all(b"ping").await.unwrap();
            assert!(is_pending(&mut copying).await);
            let mut got = [0; 4];
            let mut read = pin!(sink.read_exact(&mut got));
            assert!(!is_pending(&mut read).await);
            source.write_all(b" and the end").await.unwrap();
            drop(source);
            assert_eq!(copying.await.unwrap(), 16);
        }
        let mut got = [0; 12];
        let mut read = pin!(sink.read_exact(&mut got));
        assert!(!is_pending(&mut read).await);
        assert_eq!(&got, b" and the end");
    });
}

/// What never has to wait would otherwise never let go of its thread.
#[test]
fn endless_streams_let_their_neighbours_run() {
    let _watchdog = support::watchdog();
    futures::executor::block_on(async {
        let mut endless = tokio::io::AsyncReadExt::take(tokio::io::repeat(7), 1 << 30);
        let mut sink = Liar(Ok(None));
        let mut copying = pin!(copy(&mut endless, &mut sink));
        assert!(is_pending(&mut copying).await);

        let mut endless = Liar(Ok(None));
        let mut sink = tokio::io::sink();
        let mut copying = pin!(copy(&mut endless, &mut sink));
        assert!(is_pending(&mut copying).await);
    });
}

/// Anybody may have written a stream.
#[test]
fn a_stream_that_lies_is_an_error() {
    futures::executor::block_on(async {
        let kind = async |lie: io::Result<Option<usize>>| {
            let lie = || lie.as_ref().copied().map_err(|e| e.kind().into());
            let read = copy(&mut Liar(lie()), &mut tokio::io::sink()).await;
            let written = copy(&mut &b"text"[..], &mut Liar(lie())).await;
            (read.map_err(|e| e.kind()), written.map_err(|e| e.kind()))
        };
        let invalid = Err(io::ErrorKind::InvalidData);
        assert_eq!(kind(Ok(Some(1 << 30))).await, (invalid, invalid));
        assert_eq!(
            kind(Ok(Some(0))).await,
            (Ok(0), Err(io::ErrorKind::WriteZero))
        );
        let denied = Err(io::ErrorKind::PermissionDenied);
        let error = io::ErrorKind::PermissionDenied.into();
        assert_eq!(kind(Err(error)).await, (denied, denied));

        let error = copy(&mut &b"text"[..], &mut TakesNothing).await;
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::WriteZero);
    });
}

/// Says it read or wrote so many bytes; as many as there is room for, if none.
struct Liar(io::Result<Option<usize>>);

impl Liar {
    fn says(&self, truth: usize) -> io::Result<usize> {
        match &self.0 {
            Ok(lie) => Ok(lie.unwrap_or(truth)),
            Err(error) => Err(error.kind().into()),
        }
    }
}

impl compio::io::AsyncRead for Liar {
    async fn read<B: IoBufMut>(&mut self, buf: B) -> BufResult<usize, B> {
        let mut buf = buf;
        let truth = buf.buf_capacity();
        if matches!(self.0, Ok(None)) {
            let BufResult(result, buf) =
                compio::io::AsyncRead::read(&mut &[7; 1 << 16][..], buf).await;
            return BufResult(result, buf);
        }
        BufResult(self.says(truth), buf)
    }
}

impl compio::io::AsyncWrite for Liar {
    async fn write<B: IoBuf>(&mut self, buf: B) -> BufResult<usize, B> {
        BufResult(self.says(buf.buf_len()), buf)
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct TakesNothing;

impl AsyncWrite for TakesNothing {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(0))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
