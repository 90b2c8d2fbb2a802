//! `TokioAsCompio`: Compio's own helpers over Tokio's streams.

mod io_support;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use compio::BufResult;
use compio::buf::IoBuf;
use compio::io::util::Splittable;
use compio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy};
use io_support::{Hostile, on_each_driver, pattern};
use landbridge::io::{IntoCompioIo, TokioAsCompio};
use tokio::io::ReadBuf;

/// Compio's `copy`, `write_all` and `read_to_end` as a program uses them.
#[test]
fn compio_helpers_echo_a_mebibyte_over_tokio_tcp() {
    on_each_driver(|| async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (mut reader, mut writer) = listener.accept().await.unwrap().0.into_compio_io().split();
        let echo = compio::runtime::spawn(async move {
            let count = copy(&mut reader, &mut writer).await.unwrap();
            writer.shutdown().await.unwrap();
            count
        });

        let (reader, writer) = client.into_split();
        let (mut reader, mut writer) = (reader.into_compio_io(), writer.into_compio_io());
        let data = pattern(1 << 20);
        let sent = data.clone();
        let send = async {
            writer.write_all(sent).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let BufResult(count, echoed) = tokio::join!(send, reader.read_to_end(Vec::new())).1;
        assert_eq!(count.unwrap(), 1 << 20);
        assert!(echoed == data);
        assert_eq!(echo.await.unwrap(), 1 << 20);
    });
}

/// The same over a stream that chops and delays.
#[test]
fn a_hostile_stream_arrives_in_order() {
    on_each_driver(|| async {
        let (left, right) = tokio::io::duplex(100);
        let mut left = TokioAsCompio::new(Hostile::new(left));
        let mut right = TokioAsCompio::new(Hostile::new(right));
        let data = pattern(30_000);
        let halves = [data[..10_000].to_vec(), data[10_000..].to_vec()];
        let send = async {
            left.write_vectored_all(halves).await.unwrap();
            left.shutdown().await.unwrap();
        };
        let BufResult(count, got) = tokio::join!(send, right.read_to_end(Vec::new())).1;
        count.unwrap();
        assert!(got == data);
    });
}

/// Compio reads into a buffer from its start, whatever it holds, and never shortens it.
#[test]
fn a_read_lands_at_the_start_of_the_buffer_and_grows_it() {
    futures::executor::block_on(async {
        for (before, after) in [
            (&b""[..], &b"new"[..]),
            (b"ab", b"new"),
            (b"abcdef", b"newdef"),
        ] {
            let mut stream = TokioAsCompio::new(&b"new"[..]);
            let mut buffer = Vec::with_capacity(16);
            buffer.extend_from_slice(before);
            let start = buffer.as_ptr();
            let (count, buffer) = stream.read(buffer).await.unwrap();
            assert_eq!((count, &buffer[..]), (3, after));
            assert_eq!(start, buffer.as_ptr());
        }
    });
}

/// `append` and `read_exact` hand over windows of a buffer.
#[test]
fn a_read_fills_only_the_window_it_was_given() {
    futures::executor::block_on(async {
        let mut stream = TokioAsCompio::new(&b"0123456789"[..]);
        let (_, buffer) = stream.read(b"........".to_vec().slice(2..5)).await.unwrap();
        assert_eq!(buffer.into_inner(), b"..012...");
        let mut some = Vec::with_capacity(16);
        some.extend_from_slice(b"ab");
        let (_, buffer) = stream.append(some).await.unwrap();
        assert!(buffer.starts_with(b"ab3"));
    });
    use compio::buf::IntoInner;
}

/// Asked for nothing, a stream must not be waited for.
#[test]
fn a_buffer_without_capacity_reads_nothing_at_once() {
    futures::executor::block_on(async {
        let (mut stream, _peer) = {
            let (ours, peer) = tokio::io::duplex(8);
            (ours.into_compio_io(), peer)
        };
        assert_eq!(stream.read(Vec::new()).await.unwrap().0, 0);
        assert_eq!(
            stream
                .read_vectored([Vec::new(), Vec::new()])
                .await
                .unwrap()
                .0,
            0
        );
    });
}

/// Vectored reads are for headers and bodies: the second buffer is the point.
#[test]
fn a_vectored_read_goes_on_to_the_next_buffer() {
    futures::executor::block_on(async {
        let mut stream = TokioAsCompio::new(&b"headbody"[..]);
        let buffers = [Vec::with_capacity(4), Vec::new(), Vec::with_capacity(16)];
        let (count, buffers) = stream.read_vectored(buffers).await.unwrap();
        assert_eq!(count, 8);
        assert_eq!(buffers, [&b"head"[..], b"", b"body"]);
    });
}

/// Compio's own sockets look at the sum of lengths, and so hide bytes read into an empty buffer
/// before a full one.
#[test]
fn a_vectored_read_shows_every_byte_whatever_the_buffers_held() {
    futures::executor::block_on(async {
        let mut stream = TokioAsCompio::new(&b"abc"[..]);
        let buffers = [Vec::with_capacity(8), b"already full".to_vec()];
        let (count, buffers) = stream.read_vectored(buffers).await.unwrap();
        assert_eq!((count, &buffers[0][..]), (3, &b"abc"[..]));
        assert_eq!(buffers[1], b"already full");
    });
}

/// Whoever reads into the same buffers again and again would have fewer and fewer bytes of room, as Compio sees it.
#[test]
fn a_vectored_read_makes_no_buffer_shorter() {
    futures::executor::block_on(async {
        let mut stream = TokioAsCompio::new(&b"abcdefabcdef"[..]);
        let more = b"0123456789".to_vec();
        let buffers = [Vec::with_capacity(4), more.clone(), b"behind".to_vec()];
        let (count, buffers) = stream.read_vectored(buffers).await.unwrap();
        assert_eq!(count, 12);
        assert_eq!(buffers, [&b"abcd"[..], b"efabcdef89", b"behind"]);

        let mut stream = TokioAsCompio::new(&b"abcdef"[..]);
        let buffers = (Vec::with_capacity(4), (more, (b"behind".to_vec(),)));
        let (count, (first, (second, (third,)))) = stream.read_vectored(buffers).await.unwrap();
        assert_eq!((count, &first[..]), (6, &b"abcd"[..]));
        assert_eq!(
            (&second[..], &third[..]),
            (&b"ef23456789"[..], &b"behind"[..])
        );
    });
}

/// A tuple's buffers can be told one length, for all: what was read is seen, whatever that costs those behind it.
#[test]
fn a_vectored_read_into_a_tuple_shows_every_byte() {
    futures::executor::block_on(async {
        let mut stream = TokioAsCompio::new(&b"abcdefg"[..]);
        let buffers = (vec![0; 4], (b"0123456789".to_vec(),));
        let (count, (first, (second,))) = stream.read_vectored(buffers).await.unwrap();
        assert_eq!((count, &first[..]), (7, &b"abcd"[..]));
        assert_eq!(second, b"efg3456789", "nothing had to grow");

        let mut stream = TokioAsCompio::new(&b"ab"[..]);
        let buffers = (Vec::with_capacity(4), (b"0123456789".to_vec(),));
        let (count, (first, (second,))) = stream.read_vectored(buffers).await.unwrap();
        assert_eq!((count, &first[..]), (2, &b"ab"[..]));
        assert_eq!(second, b"", "as it is said");
    });
}

/// A socket that was reset: what was sent before, the error once, and then an end like any other.
struct Reset(Vec<io::Result<&'static [u8]>>);

impl tokio::io::AsyncRead for Reset {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(
            self.0
                .pop()
                .unwrap_or(Ok(b""))
                .map(|bytes| buf.put_slice(bytes)),
        )
    }
}

/// Or half a file would look like a whole one.
#[test]
fn an_error_after_the_first_bytes_of_a_vectored_read_is_told_by_the_next() {
    futures::executor::block_on(async {
        for vectored in [false, true] {
            let reset = Err(io::ErrorKind::ConnectionReset.into());
            let mut stream = TokioAsCompio::new(Reset(vec![reset, Ok(b"half")]));
            let buffers = [Vec::with_capacity(4), Vec::with_capacity(4)];
            let (count, buffers) = stream.read_vectored(buffers).await.unwrap();
            assert_eq!((count, &buffers[0][..]), (4, &b"half"[..]));
            assert_eq!(stream.read(Vec::new()).await.unwrap().0, 0);
            let told = if vectored {
                stream.read_vectored([Vec::with_capacity(4)]).await.0
            } else {
                stream.read(Vec::with_capacity(4)).await.0
            };
            assert_eq!(told.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
            assert_eq!(stream.read(Vec::with_capacity(4)).await.unwrap().0, 0);
        }
    });
}

/// A writer without slices that takes three bytes, then fails once, then goes on.
#[derive(Default)]
struct FailsAfterThree(usize);

impl tokio::io::AsyncWrite for FailsAfterThree {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0 += 1;
        match self.0 {
            2 => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            _ => Poll::Ready(Ok(buf.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Somebody who takes the count for all there is to know would go on after a loss.
#[test]
fn an_error_after_the_first_bytes_of_a_vectored_write_is_told_once_by_the_next_call() {
    futures::executor::block_on(async {
        for told_by in 0..4 {
            let mut stream = TokioAsCompio::new(FailsAfterThree::default());
            let buffers = vec![b"one".to_vec(), b"two".to_vec()];
            let BufResult(count, buffers) = stream.write_vectored(buffers).await;
            assert_eq!(count.unwrap(), 3);
            let told = match told_by {
                0 => stream.write(b"two").await.0.map(drop),
                1 => stream.write_vectored(buffers).await.0.map(drop),
                2 => stream.flush().await,
                _ => stream.shutdown().await,
            };
            assert_eq!(told.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
            stream.flush().await.unwrap();
            assert_eq!(stream.write(b"two").await.0.unwrap(), 3);
        }
    });
}

/// A stream that fails.
struct Fails;

impl tokio::io::AsyncRead for Fails {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
    }
}

impl tokio::io::AsyncWrite for Fails {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Buffers are reused across errors.
#[test]
fn a_failed_call_gives_the_buffer_back() {
    futures::executor::block_on(async {
        let mut stream = TokioAsCompio::new(Fails);
        let BufResult(result, buffer) = stream.read(b"mine".to_vec()).await;
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(buffer, b"mine");
        let BufResult(result, buffer) = stream.write_vectored(vec![buffer, b"too".to_vec()]).await;
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(buffer, [&b"mine"[..], b"too"]);
    });
}

/// A stream that puts another buffer in the place of the one it was given.
struct Swaps;

impl tokio::io::AsyncRead for Swaps {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        *buf = ReadBuf::new(&mut []);
        Poll::Ready(Ok(()))
    }
}

/// Safe code can do it, and the count would then cover bytes that nobody wrote.
#[test]
#[should_panic(expected = "another buffer")]
fn a_stream_that_fills_another_buffer_is_found_out() {
    let mut stream = TokioAsCompio::new(Swaps);
    let _ = futures::executor::block_on(stream.read(Vec::with_capacity(16)));
}

/// `select!` on the Compio side drops reads as well.
#[test]
fn a_dropped_read_has_read_nothing() {
    on_each_driver(|| async {
        let (ours, peer) = tokio::io::duplex(64);
        let (mut ours, mut peer) = (ours.into_compio_io(), peer.into_compio_io());
        {
            let mut read = std::pin::pin!(ours.read(Vec::with_capacity(8)));
            let mut cx = Context::from_waker(std::task::Waker::noop());
            assert!(read.as_mut().poll(&mut cx).is_pending());
            peer.write_all("abc").await.unwrap();
        }
        let (_, buffer) = ours.read(Vec::with_capacity(8)).await.unwrap();
        assert_eq!(buffer, b"abc");
    });
}

/// Polling libraries and `setsockopt` want the descriptor.
#[cfg(unix)]
#[test]
fn the_descriptor_is_passed_through() {
    use std::os::fd::{AsFd, AsRawFd};
    on_each_driver(|| async {
        let (ours, _peer) = tokio::net::UnixStream::pair().unwrap();
        let fd = ours.as_raw_fd();
        let ours = TokioAsCompio::new(ours);
        assert_eq!((ours.as_raw_fd(), ours.as_fd().as_raw_fd()), (fd, fd));
        assert_eq!(ours.get_ref().as_raw_fd(), fd);
        assert_eq!(ours.into_inner().as_raw_fd(), fd);
    });
}
