//! Connections that end badly: told once, by the call that a user of Tokio expects.
//!
//! Every case runs over Tokio's own stream too: what that does is what is expected. A shim with
//! buffers of its own may tell it one call later, but never twice and never not at all.

#![cfg(target_os = "linux")]

mod io_support;
mod support;

use std::future::poll_fn;
use std::io;
use std::net::TcpStream as StdStream;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use compio::driver::DriverType;
use io_support::{on_each_driver, runtime_on, settle};
use landbridge::io::{CompioAsTokio, IntoCompioIo, IntoTokioIo, TokioAsCompio};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

trait Stream: AsyncRead + AsyncWrite + Unpin + 'static {}
impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Stream for S {}

fn tcp_pair() -> (StdStream, StdStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let one = StdStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}

fn tokio_tcp(stream: StdStream) -> tokio::net::TcpStream {
    stream.set_nonblocking(true).unwrap();
    tokio::net::TcpStream::from_std(stream).unwrap()
}

fn compio_tcp(stream: StdStream) -> compio::net::TcpStream {
    compio::net::TcpStream::from_std(stream).unwrap()
}

/// Closes so that the other side gets a reset.
fn reset(peer: StdStream) {
    rustix::net::sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
    drop(peer);
}

mod fixture {
    use super::*;

    pub(super) fn tokio_itself(stream: StdStream) -> impl Stream {
        tokio_tcp(stream)
    }

    pub(super) fn compio_as_tokio(stream: StdStream) -> impl Stream {
        CompioAsTokio::new(compio_tcp(stream))
    }

    pub(super) fn compio_halves_as_tokio(stream: StdStream) -> impl Stream {
        let (reader, writer) = CompioAsTokio::new(compio_tcp(stream)).into_split();
        tokio::io::join(reader, writer)
    }

    pub(super) fn into_tokio_io(stream: StdStream) -> impl Stream {
        compio_tcp(stream).into_tokio_io()
    }

    pub(super) fn into_tokio_io_in_halves(stream: StdStream) -> impl Stream {
        let (reader, writer) = compio_tcp(stream).into_tokio_io().into_split();
        tokio::io::join(reader, writer)
    }

    pub(super) fn tokio_over_compio_over_tokio(stream: StdStream) -> impl Stream {
        CompioAsTokio::new(tokio_tcp(stream).into_compio_io())
    }
}

mod case {
    use super::*;

    pub(super) async fn a_reset_in_mid_read_is_told_once_and_then_it_is_the_end(
        mut ours: impl Stream,
        peer: StdStream,
    ) {
        {
            let mut byte = [0];
            let mut read = pin!(ours.read(&mut byte));
            assert!(now(read.as_mut()).is_pending());
            settle().await;
            reset(peer);
            let error = read.await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
        for _ in 0..3 {
            assert_eq!(ours.read(&mut [0]).await.unwrap(), 0);
        }
    }

    pub(super) async fn a_reset_that_nobody_waited_for_is_told_to_the_next_read(
        mut ours: impl Stream,
        peer: StdStream,
    ) {
        reset(peer);
        settle().await;
        let error = ours.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(ours.read(&mut [0]).await.unwrap(), 0);
    }

    pub(super) async fn what_came_before_a_reset_is_read_before_it(
        mut ours: impl Stream,
        peer: StdStream,
    ) {
        io::Write::write_all(&mut &peer, b"last words").unwrap();
        // Received, before the reset can overtake it.
        let mut words = [0; 10];
        ours.read_exact(&mut words[..4]).await.unwrap();
        reset(peer);
        ours.read_exact(&mut words[4..]).await.unwrap();
        assert_eq!(&words, b"last words");
        let error = ours.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(ours.read(&mut [0]).await.unwrap(), 0);
    }

    pub(super) async fn a_reset_in_mid_write_is_told_once_and_then_the_pipe_is_broken(
        mut ours: impl Stream,
        peer: StdStream,
    ) {
        fill(&mut ours).await;
        let mut told = {
            let mut write = pin!(ours.write(b"there is no room for this"));
            let at_once = now(write.as_mut());
            reset(peer);
            match at_once {
                Poll::Ready(result) => result,
                Poll::Pending => write.await,
            }
        };
        // The kernel may have moved bytes meanwhile, and have had room after all.
        while told.is_ok() {
            told = ours.write(b"nor for this").await;
        }
        assert_eq!(told.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        for _ in 0..3 {
            let error = ours.write(b"nor for this").await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        }
    }

    pub(super) async fn a_reset_in_mid_flush_is_told_once(mut ours: impl Stream, peer: StdStream) {
        fill(&mut ours).await;
        let mut told = Vec::new();
        {
            let mut flush = pin!(ours.flush());
            let at_once = now(flush.as_mut());
            reset(peer);
            told.push(match at_once {
                Poll::Ready(result) => result,
                Poll::Pending => flush.await,
            });
        }
        told.push(ours.flush().await);
        // The kernel may have had room after all, and then it is told a write later.
        while told.iter().all(Result::is_ok) {
            told.push(ours.write(b"x").await.map(drop));
        }
        for _ in 0..2 {
            told.push(ours.write(b"x").await.map(drop));
        }
        told.push(ours.flush().await);
        told_once(&told);
    }

    pub(super) async fn a_reset_in_mid_shutdown_is_told_once(
        mut ours: impl Stream,
        peer: StdStream,
    ) {
        fill(&mut ours).await;
        {
            let mut shutdown = pin!(ours.shutdown());
            let at_once = now(shutdown.as_mut());
            reset(peer);
            match at_once {
                // Nothing was waited for, and so there is nothing to tell: sent is sent.
                Poll::Ready(result) => result.unwrap(),
                Poll::Pending => {
                    let error = shutdown.await.unwrap_err();
                    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
                }
            }
        }
        // It is told to the direction that reads as well, or that has been told already.
        let mut rest = Vec::new();
        let read = ours.read_to_end(&mut rest).await;
        assert!(read.is_ok() || read.unwrap_err().kind() == io::ErrorKind::ConnectionReset);
        ours.flush().await.unwrap();
        assert_eq!(
            ours.write(b"x").await.unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
    }

    pub(super) async fn a_peer_that_only_sends_is_no_error(mut ours: impl Stream, peer: StdStream) {
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(ours.read(&mut [0]).await.unwrap(), 0);
        ours.write_all(b"still open").await.unwrap();
        ours.shutdown().await.unwrap();
        let mut text = String::new();
        io::Read::read_to_string(&mut &peer, &mut text).unwrap();
        assert_eq!(text, "still open");
    }
}

/// One reset among the results of flushes and writes, and after it nothing but broken pipes.
fn told_once(results: &[io::Result<()>]) {
    let kinds = results.iter().filter_map(|result| result.as_ref().err());
    let kinds: Vec<_> = kinds.map(io::Error::kind).collect();
    assert_eq!(kinds[0], io::ErrorKind::ConnectionReset, "{results:?}");
    assert!(
        kinds[1..]
            .iter()
            .all(|kind| *kind == io::ErrorKind::BrokenPipe),
        "{results:?}"
    );
    assert!(kinds.len() > 1, "{results:?}");
}

fn now<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Writes as much as buffers and kernel take while nobody reads.
async fn fill(stream: &mut impl Stream) {
    let bytes = vec![7; 1 << 16];
    let mut idle = 0;
    while idle < 3 {
        match now(pin!(stream.write(&bytes)).as_mut()) {
            Poll::Ready(result) => {
                result.unwrap();
                idle = 0;
            }
            Poll::Pending => {
                settle().await;
                idle += 1;
            }
        }
    }
}

macro_rules! errors {
    ($($fixture:ident),* $(,)?) => {$(
        mod $fixture {
            use super::*;

            errors!(@ $fixture:
                /// Told never, half a file looks like a whole one.
                a_reset_in_mid_read_is_told_once_and_then_it_is_the_end
                /// Servers look at their connections now and then only.
                a_reset_that_nobody_waited_for_is_told_to_the_next_read
                /// An error that overtakes bytes loses them.
                what_came_before_a_reset_is_read_before_it
                /// Whoever waits for room is the one to be told.
                a_reset_in_mid_write_is_told_once_and_then_the_pipe_is_broken
                /// Whoever flushes relies on it before he acknowledges.
                a_reset_in_mid_flush_is_told_once
                /// The last chance to hear that the message did not arrive.
                a_reset_in_mid_shutdown_is_told_once
                /// Half-closed is not broken.
                a_peer_that_only_sends_is_no_error
            );
        }
    )*};
    (@ $fixture:ident: $($(#[$attribute:meta])* $case:ident)*) => {$(
        $(#[$attribute])*
        #[test]
        fn $case() {
            let _watchdog = support::watchdog();
            on_each_driver(|| async {
                let (ours, peer) = tcp_pair();
                let ours = fixture::$fixture(ours);
                let mut case = pin!(case::$case(ours, peer));
                poll_fn(|cx| case.as_mut().poll(cx)).await;
            });
        }
    )*};
}

errors!(
    tokio_itself,
    compio_as_tokio,
    compio_halves_as_tokio,
    into_tokio_io,
    into_tokio_io_in_halves,
    tokio_over_compio_over_tokio,
);

/// Unix sockets have no reset of their own: one is told to whoever has sent what was never read.
mod unix {
    use std::os::unix::net::UnixStream as StdStream;

    use super::*;

    async fn unread(mut ours: impl Stream, peer: StdStream) {
        ours.write_all(b"nobody reads this").await.unwrap();
        ours.flush().await.unwrap();
        drop(peer);
        let error = ours.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(ours.read(&mut [0]).await.unwrap(), 0);
        // Accepted or not: a flush later it has been told.
        for _ in 0..2 {
            let mut write = async || {
                ours.write_all(b"nor this").await?;
                ours.flush().await
            };
            assert_eq!(write().await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        }
    }

    fn compio_unix(stream: StdStream) -> compio::net::UnixStream {
        compio::net::UnixStream::from_std(stream).unwrap()
    }

    fn tokio_unix(stream: StdStream) -> tokio::net::UnixStream {
        stream.set_nonblocking(true).unwrap();
        tokio::net::UnixStream::from_std(stream).unwrap()
    }

    /// A server that fails a request closes without having read all of it.
    #[test]
    fn a_peer_that_goes_without_having_read_is_told_as_tokio_tells_it() {
        let _watchdog = support::watchdog();
        on_each_driver(|| async {
            let pair = || StdStream::pair().unwrap();
            let (ours, peer) = pair();
            unread(tokio_unix(ours), peer).await;
            let (ours, peer) = pair();
            unread(compio_unix(ours).into_tokio_io(), peer).await;
            let (ours, peer) = pair();
            unread(CompioAsTokio::new(compio_unix(ours)), peer).await;
            let (ours, peer) = pair();
            let (reader, writer) = tokio_unix(ours).into_split();
            let ours = (reader.into_compio_io(), writer.into_compio_io());
            unread(CompioAsTokio::new(ours), peer).await;
        });
    }
}

/// The shims of Compio's streams stay on their thread; what can go wrong is their runtime.
mod runtimes {
    use super::*;

    /// Checks it outside of any runtime, and on another one than its own.
    fn elsewhere(check: impl Fn(DriverType, &mut dyn FnMut(&mut dyn FnMut()))) {
        for driver in [DriverType::Poll, DriverType::IoUring] {
            if let Some(other) = runtime_on(driver) {
                check(driver, &mut |polls| polls());
                check(driver, &mut |polls| other.enter(polls));
            }
        }
    }

    /// The error of a future that is to have one now.
    fn error_of<T: std::fmt::Debug>(future: impl Future<Output = io::Result<T>>) -> String {
        match now(pin!(future)) {
            Poll::Ready(Err(error)) => error.to_string(),
            other => panic!("{other:?} is not an error"),
        }
    }

    /// It would wait for ever: nobody runs the driver that has the operation.
    #[test]
    fn a_read_in_flight_polled_where_its_runtime_does_not_run_is_an_error() {
        elsewhere(|driver, enter| {
            for gone in [false, true] {
                let mut runtime = runtime_on(driver);
                let (ours, peer) = tcp_pair();
                let mut ours = runtime.as_ref().unwrap().block_on(async {
                    let mut ours = CompioAsTokio::new(compio_tcp(ours));
                    assert!(now(pin!(ours.read_u8())).is_pending());
                    ours
                });
                if gone {
                    drop(runtime.take());
                }
                io::Write::write_all(&mut &peer, b"x").unwrap();
                enter(&mut || {
                    for _ in 0..2 {
                        let told = error_of(ours.read_u8());
                        assert!(told.contains("Compio runtime"), "{told}");
                        let told = error_of(poll_fn(|cx| ours.poll_idle(cx)));
                        assert!(told.contains("Compio runtime"), "{told}");
                    }
                });
                // Nothing was lost by it.
                if let Some(runtime) = runtime {
                    assert_eq!(runtime.block_on(ours.read_u8()).unwrap(), b'x');
                }
            }
        });
    }

    /// Compio's own sockets panic there.
    #[test]
    fn a_read_that_is_begun_outside_of_a_runtime_is_an_error() {
        for driver in [DriverType::Poll, DriverType::IoUring] {
            let Some(runtime) = runtime_on(driver) else {
                continue;
            };
            let (ours, peer) = tcp_pair();
            let mut ours = runtime.block_on(async { CompioAsTokio::new(compio_tcp(ours)) });
            let told = error_of(ours.read_u8());
            assert!(told.contains("outside of a Compio runtime"), "{told}");
            io::Write::write_all(&mut &peer, b"x").unwrap();
            assert_eq!(runtime.block_on(ours.read_u8()).unwrap(), b'x');
        }
    }

    /// The same for what is written, flushed and shut down; nothing is accepted there that could not
    /// go out.
    #[test]
    fn a_write_polled_where_its_runtime_does_not_run_is_an_error() {
        elsewhere(|driver, enter| {
            for gone in [false, true] {
                let mut runtime = runtime_on(driver);
                let (ours, _peer) = tcp_pair();
                let mut ours = runtime.as_ref().unwrap().block_on(async {
                    let mut ours = CompioAsTokio::new(compio_tcp(ours));
                    fill(&mut ours).await;
                    ours
                });
                if gone {
                    drop(runtime.take());
                }
                enter(&mut || {
                    for _ in 0..2 {
                        let told = [
                            error_of(ours.write(b"x")),
                            error_of(ours.flush()),
                            error_of(ours.shutdown()),
                            error_of(poll_fn(|cx| ours.poll_idle(cx))),
                        ];
                        for told in told {
                            assert!(told.contains("Compio runtime"), "{told}");
                        }
                    }
                });
            }
        });
    }

    /// An idle shim has nothing in flight that could be found out by waiting for it.
    #[test]
    fn an_idle_stream_is_not_written_on_another_runtime() {
        elsewhere(|driver, enter| {
            let runtime = runtime_on(driver).unwrap();
            let (ours, mut peer) = tcp_pair();
            let mut ours = runtime.block_on(async {
                let mut ours = CompioAsTokio::new(compio_tcp(ours));
                ours.write_all(b"ours").await.unwrap();
                ours.flush().await.unwrap();
                ours
            });
            enter(&mut || {
                let told = error_of(ours.write(b"theirs"));
                assert!(told.contains("Compio runtime"), "{told}");
            });
            runtime.block_on(async {
                ours.write_all(b", too").await.unwrap();
                ours.shutdown().await.unwrap();
            });
            let mut text = String::new();
            io::Read::read_to_string(&mut peer, &mut text).unwrap();
            assert_eq!(text, "ours, too");
        });
    }

    /// What has been read can be had anywhere; no runtime is asked for it.
    #[test]
    fn what_is_buffered_is_read_anywhere() {
        elsewhere(|driver, enter| {
            let runtime = runtime_on(driver).unwrap();
            let mut ours = runtime.block_on(async {
                let mut ours = CompioAsTokio::new((&b"three"[..], Vec::new()));
                ours.read_u8().await.unwrap();
                ours
            });
            drop(runtime);
            enter(&mut || {
                let mut rest = [0; 4];
                assert!(matches!(
                    now(pin!(ours.read_exact(&mut rest))),
                    Poll::Ready(Ok(4))
                ));
                assert_eq!(&rest, b"hree");
            });
        });
    }

    /// Tokio says it itself, and the shim passes it on.
    #[test]
    fn a_tokio_stream_without_its_runtime_is_an_error() {
        let tokio = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (ours, _peer) = tcp_pair();
        let ours = {
            let _context = tokio.enter();
            tokio_tcp(ours)
        };
        let mut ours = TokioAsCompio::new(ours);
        drop(tokio);
        use compio::io::{AsyncRead, AsyncWrite};
        let told = error_of(async { ours.read(vec![0; 1]).await.0 });
        assert!(told.contains("shutdown") || told.contains("gone"), "{told}");
        let told = error_of(async { ours.write(vec![0; 1]).await.0 });
        assert!(told.contains("shutdown") || told.contains("gone"), "{told}");
    }
}
