//! `CompioAsTokio` over streams made to trouble it.

mod io_support;

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};

use compio::BufResult;
use compio::buf::{IoBuf, IoBufMut};
use compio::io::{AsyncRead, AsyncWrite};
use io_support::{Panics, on_each_driver, pattern, runtime_on, settle};
use landbridge::io::{CompioAsTokio, CompioReadAsTokio, CompioWriteAsTokio};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite as _, AsyncWriteExt};

/// A read in flight that looks at its stream when it is dropped.
struct Touchy {
    bytes: Box<[u8; 64]>,
    drops: Rc<Cell<usize>>,
}

struct TouchOnDrop<'a>(&'a mut Touchy);

impl Drop for TouchOnDrop<'_> {
    fn drop(&mut self) {
        // A use after free if the stream went first.
        self.0.bytes[0] = self.0.bytes[0].wrapping_add(self.0.bytes[63]);
        self.0.drops.set(self.0.drops.get() + 1);
    }
}

impl AsyncRead for Touchy {
    async fn read<B: IoBufMut>(&mut self, buf: B) -> BufResult<usize, B> {
        let _touch = TouchOnDrop(self);
        pending::<()>().await;
        BufResult(Ok(0), buf)
    }
}

impl AsyncWrite for Touchy {
    async fn write<B: IoBuf>(&mut self, buf: B) -> BufResult<usize, B> {
        let _touch = TouchOnDrop(self);
        pending::<()>().await;
        BufResult(Ok(0), buf)
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn touchy() -> (Touchy, Rc<Cell<usize>>) {
    let drops = Rc::new(Cell::new(0));
    let stream = Touchy {
        bytes: Box::new([1; 64]),
        drops: drops.clone(),
    };
    (stream, drops)
}

/// Compio's own adapter frees the stream first; under AddressSanitizer this is how one sees it.
#[test]
fn a_read_in_flight_is_dropped_before_the_stream_it_borrows() {
    on_each_driver(|| async {
        let (stream, drops) = touchy();
        let mut reader = CompioReadAsTokio::new(stream);
        assert!(poll_once(reader.read_u8()).is_pending());
        drop(reader);
        assert_eq!(drops.get(), 1);
    });
}

/// The same for writes, whose operation the helper also knows; the runtime's end drops it.
#[test]
fn a_write_in_flight_is_dropped_before_the_stream_it_borrows() {
    let (stream, drops) = touchy();
    let runtime = runtime_on(compio::driver::DriverType::Poll).unwrap();
    runtime.block_on(async {
        let mut writer = CompioWriteAsTokio::new(stream);
        writer.write_all(b"never out").await.unwrap();
        settle().await;
    });
    drop(runtime);
    assert_eq!(drops.get(), 1);
}

/// What a [`Scripted`] stream does, call by call.
#[derive(Debug)]
enum Does {
    Take(usize),
    Fail(io::ErrorKind),
    Claim(usize),
    Panic,
    Wait,
}

/// A writer that follows a script, and takes everything once that is over.
#[derive(Clone, Debug, Default)]
struct Scripted {
    script: Rc<RefCell<std::collections::VecDeque<Does>>>,
    taken: Rc<RefCell<Vec<u8>>>,
    shutdowns: Rc<Cell<usize>>,
    flushes: Rc<Cell<usize>>,
}

impl Scripted {
    fn new(script: impl IntoIterator<Item = Does>) -> Self {
        let new = Self::default();
        new.script.borrow_mut().extend(script);
        new
    }
}

impl AsyncWrite for Scripted {
    async fn write<B: IoBuf>(&mut self, buf: B) -> BufResult<usize, B> {
        // Never done at once: what is awaited is what shims get wrong.
        yield_now().await;
        let does = self.script.borrow_mut().pop_front();
        let bytes = buf.as_init();
        let result = match does.unwrap_or(Does::Take(usize::MAX)) {
            Does::Take(count) => {
                let count = count.min(bytes.len());
                self.taken.borrow_mut().extend_from_slice(&bytes[..count]);
                Ok(count)
            }
            Does::Fail(kind) => Err(kind.into()),
            Does::Claim(count) => Ok(count),
            Does::Panic => panic!("as the script says"),
            Does::Wait => pending().await,
        };
        BufResult(result, buf)
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.flushes.set(self.flushes.get() + 1);
        Ok(())
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        self.shutdowns.set(self.shutdowns.get() + 1);
        Ok(())
    }
}

async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    let mut future = std::pin::pin!(future);
    future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}

/// A stream may take one byte at a time; the caller was told that all are on their way.
#[test]
fn the_rest_of_a_short_write_goes_out_unpolled() {
    on_each_driver(|| async {
        let stream = Scripted::new((0..50).map(|_| Does::Take(1)));
        let mut writer = CompioWriteAsTokio::new(stream.clone());
        let data = pattern(100);
        assert_eq!(writer.write(&data).await.unwrap(), 100);
        while stream.taken.borrow().len() < 100 {
            yield_now().await;
        }
        assert_eq!(*stream.taken.borrow(), data);
        drop(writer);
    });
}

/// Told never, a message is lost in silence; told twice, a retry is counted as a second failure.
#[test]
fn a_late_error_is_told_once_by_the_next_write_flush_or_shutdown() {
    on_each_driver(|| async {
        for told_by in 0..3 {
            let stream = Scripted::new([Does::Take(3), Does::Fail(io::ErrorKind::ConnectionReset)]);
            let mut writer = CompioWriteAsTokio::new(stream.clone());
            writer.write_all(b"abcdef").await.unwrap();
            settle().await;
            let told = match told_by {
                0 => writer.write_all(b"more").await,
                1 => writer.flush().await,
                _ => writer.shutdown().await,
            };
            assert_eq!(told.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
            writer.flush().await.unwrap();
            // What comes after lost bytes would be out of place.
            let refused = writer.write(b"more").await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::BrokenPipe);
            writer.shutdown().await.unwrap();
            assert_eq!(stream.shutdowns.get(), 1);
            assert_eq!(*stream.taken.borrow(), b"abc");
        }
    });
}

/// The error belongs to whoever waits when it comes.
#[test]
fn an_error_wakes_the_flush_that_waits_for_it() {
    on_each_driver(|| async {
        let stream = Scripted::new([Does::Fail(io::ErrorKind::TimedOut)]);
        let mut writer = CompioWriteAsTokio::new(stream);
        writer.write_all(b"abc").await.unwrap();
        let error = writer.flush().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        writer.flush().await.unwrap();
    });
}

/// A signal is not a failure.
#[test]
fn an_interrupted_write_is_taken_up_again() {
    on_each_driver(|| async {
        let script = [Does::Fail(io::ErrorKind::Interrupted), Does::Take(2)];
        let stream = Scripted::new(script);
        let mut writer = CompioWriteAsTokio::new(stream.clone());
        writer.write_all(b"abcdef").await.unwrap();
        writer.flush().await.unwrap();
        assert_eq!(*stream.taken.borrow(), b"abcdef");
    });
}

/// Safe streams can lie about their counts; nothing worse than an error may come of it.
#[test]
fn a_write_that_claims_too_much_is_an_error() {
    on_each_driver(|| async {
        for claim in [4, usize::MAX] {
            let mut writer = CompioWriteAsTokio::new(Scripted::new([Does::Claim(claim)]));
            writer.write_all(b"abc").await.unwrap();
            let error = writer.flush().await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
        let mut writer = CompioWriteAsTokio::new(Scripted::new([Does::Take(0)]));
        writer.write_all(b"abc").await.unwrap();
        assert_eq!(
            writer.flush().await.unwrap_err().kind(),
            io::ErrorKind::WriteZero
        );
    });
}

/// A loop that dies takes the helper with it; the shim may live on in a value of the thread's.
#[test]
fn a_flush_fails_once_the_runtime_is_gone() {
    let runtime = runtime_on(compio::driver::DriverType::Poll).unwrap();
    let mut writer = runtime.block_on(async {
        let mut writer = CompioWriteAsTokio::new(Scripted::new([Does::Wait]));
        writer.write_all(b"abc").await.unwrap();
        settle().await;
        assert!(poll_once(writer.flush()).is_pending());
        writer
    });
    drop(runtime);
    for _ in 0..2 {
        match poll_once(writer.flush()) {
            Poll::Ready(Err(error)) => assert_eq!(error.kind(), io::ErrorKind::BrokenPipe),
            other => panic!("{other:?}"),
        }
        assert!(matches!(poll_once(writer.write(b"x")), Poll::Ready(Err(_))));
        assert!(matches!(poll_once(writer.shutdown()), Poll::Ready(Err(_))));
    }
}

/// The first write needs a runtime for its helper: an error, since it can be one.
#[test]
fn a_write_outside_of_a_runtime_is_an_error() {
    let mut writer = CompioWriteAsTokio::new(Vec::new());
    assert!(matches!(poll_once(writer.write(b"x")), Poll::Ready(Err(_))));
    let (stream, error) = writer.into_parts().expect("it is as it was");
    assert!(stream.is_empty() && error.is_none());
}

/// Somebody catches panics, and then flushes.
#[test]
fn after_a_panic_of_the_stream_nobody_waits_for_it() {
    on_each_driver(|| async {
        let mut writer = CompioWriteAsTokio::new(Scripted::new([Does::Panic]));
        writer.write_all(b"abc").await.unwrap();
        let flush = std::panic::AssertUnwindSafe(async {
            loop {
                if let Err(error) = writer.flush().await {
                    return error;
                }
            }
        });
        // The panic comes up in whoever polls the stream at that time, here or in the helper.
        let _ = futures::FutureExt::catch_unwind(flush).await;
        assert!(writer.flush().await.is_err());
        assert!(writer.write(b"x").await.is_err());
    });
}

/// A reader that follows a script.
struct ScriptedReader(std::vec::IntoIter<io::Result<Vec<u8>>>);

impl AsyncRead for ScriptedReader {
    async fn read<B: IoBufMut>(&mut self, buf: B) -> BufResult<usize, B> {
        match self.0.next() {
            Some(Ok(bytes)) if bytes == b"lie" => BufResult(Ok(usize::MAX), buf),
            Some(Ok(bytes)) => {
                let BufResult(count, buf) = AsyncRead::read(&mut &bytes[..], buf).await;
                assert_eq!(
                    *count.as_ref().unwrap(),
                    bytes.len(),
                    "a test with too long a step"
                );
                BufResult(count, buf)
            }
            Some(Err(error)) => BufResult(Err(error), buf),
            None => BufResult(Ok(0), buf),
        }
    }
}

/// A datagram-like stream goes on after an error; and an error must not look like the end.
#[test]
fn a_read_error_is_told_once_and_reading_goes_on() {
    on_each_driver(|| async {
        let mut reader = CompioReadAsTokio::new(ScriptedReader(
            vec![
                Ok(b"one".to_vec()),
                Err(io::ErrorKind::ConnectionAborted.into()),
                Err(io::ErrorKind::Interrupted.into()),
                Ok(b"lie".to_vec()),
                Ok(b"two".to_vec()),
            ]
            .into_iter(),
        ));
        let mut room = [0; 8];
        assert_eq!(reader.read(&mut room).await.unwrap(), 3);
        let error = reader.read(&mut room).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        let error = reader.read(&mut room).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(reader.read(&mut room).await.unwrap(), 3);
        assert_eq!(&room[..3], b"two");
        assert_eq!(reader.read(&mut room).await.unwrap(), 0);
    });
}

/// Line protocols would copy once more without it.
#[test]
fn lines_are_read_from_the_buffer_itself() {
    on_each_driver(|| async {
        let mut reader = CompioReadAsTokio::new(&b"one\ntwo\nthree"[..]);
        let mut lines = Vec::new();
        let mut line = String::new();
        while reader.read_line(&mut line).await.unwrap() > 0 {
            lines.push(std::mem::take(&mut line));
        }
        assert_eq!(lines, ["one\n", "two\n", "three"]);
    });
}

/// A protocol switch: what came behind the header is the next protocol's.
#[test]
fn parts_hold_every_byte_that_was_not_consumed() {
    on_each_driver(|| async {
        static SOURCE: LazyLock<Vec<u8>> = LazyLock::new(|| pattern(10_000));
        let data = &SOURCE[..];
        let mut stream = CompioAsTokio::new((data, Vec::new()));
        let mut head = vec![0; 3_000];
        stream.read_exact(&mut head).await.unwrap();
        stream.write_all(b"switching").await.unwrap();
        let parts = stream.into_parts_when_idle().await.unwrap();
        let all = [&head[..], &parts.unread, parts.reader].concat();
        assert!(all == data);
        assert_eq!(parts.writer, b"switching");
        assert!(!parts.ended && !parts.shut_down);
    });
}

/// A read in flight has the stream: it cannot be taken out, only waited for.
#[test]
fn parts_with_a_read_in_flight_come_back_whole() {
    on_each_driver(|| async {
        let (ours, peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let ours = compio::net::UnixStream::from_std(ours).unwrap();
        let mut stream = CompioAsTokio::new(ours);
        assert!(poll_once(stream.read_u8()).is_pending());
        let stream = stream.into_parts().unwrap_err().into_inner();
        io::Write::write_all(&mut &peer, b"late").unwrap();
        let parts = stream.into_parts_when_idle().await.unwrap();
        assert_eq!(parts.unread, b"late");
    });
}

/// The same for a write; the bytes accepted are not given back, they go out.
#[test]
fn parts_with_a_write_in_flight_come_back_whole() {
    on_each_driver(|| async {
        let stream = Scripted::new([Does::Take(1)]);
        let mut shim = CompioAsTokio::new((&b""[..], stream.clone()));
        shim.write_all(b"abc").await.unwrap();
        let shim = shim.into_parts().unwrap_err().into_inner();
        shim.into_parts_when_idle().await.unwrap();
        assert_eq!(*stream.taken.borrow(), b"abc");
    });
}

/// Errors and ends that nobody was told are part of what a shim holds.
#[test]
fn parts_hold_the_error_and_the_end() {
    on_each_driver(|| async {
        let writer = Scripted::new([Does::Fail(io::ErrorKind::ConnectionReset)]);
        let mut shim = CompioAsTokio::new((&b""[..], writer));
        assert_eq!(shim.read(&mut [0; 4]).await.unwrap(), 0);
        shim.write_all(b"abc").await.unwrap();
        settle().await;
        let parts = shim.into_parts().unwrap();
        assert!(parts.ended);
        let error = parts.write_error.unwrap();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    });
}

/// A stream with a buffer of its own needs the flush handed on, and once is enough.
#[test]
fn a_flush_reaches_the_stream_once() {
    on_each_driver(|| async {
        let stream = Scripted::default();
        let mut writer = CompioWriteAsTokio::new(stream.clone());
        for turn in 1..4 {
            writer.write_all(b"abc").await.unwrap();
            writer.flush().await.unwrap();
            writer.flush().await.unwrap();
            assert_eq!(stream.flushes.get(), turn);
        }
    });
}

/// A connection that has said all it had to say is closed by its drop, not by the helper's next turn.
#[test]
fn a_dropped_shim_gives_its_stream_up_at_once_if_nothing_is_in_flight() {
    on_each_driver(|| async {
        let stream = Scripted::default();
        let alive = Rc::downgrade(&stream.taken);
        let mut writer = CompioWriteAsTokio::new(stream);
        writer.write_all(b"abc").await.unwrap();
        writer.flush().await.unwrap();
        drop(writer);
        assert!(alive.upgrade().is_none());
    });
}

fn _the_shims_are_unpin<S: compio::io::util::Splittable>()
where
    CompioAsTokio<S>: Unpin,
{
    fn unpin<T: Unpin>() {}
    unpin::<Pin<Box<CompioAsTokio<S>>>>();
}

/// A writer with a buffer of its own, whose flush fails the first time.
struct FullOnce {
    failures: usize,
    flushed: Rc<Cell<usize>>,
}

impl AsyncWrite for FullOnce {
    async fn write<B: IoBuf>(&mut self, buf: B) -> BufResult<usize, B> {
        let count = buf.buf_len();
        BufResult(Ok(count), buf)
    }

    async fn flush(&mut self) -> io::Result<()> {
        if self.failures > 0 {
            self.failures -= 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.flushed.set(self.flushed.get() + 1);
        Ok(())
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The bytes are still in the stream's buffer: `Ok` without another attempt would lose them.
#[test]
fn a_flush_after_one_that_failed_flushes() {
    on_each_driver(|| async {
        let flushed = Rc::new(Cell::new(0));
        let mut writer = CompioWriteAsTokio::new(FullOnce {
            failures: 2,
            flushed: flushed.clone(),
        });
        writer.write_all(b"abc").await.unwrap();
        for _ in 0..2 {
            let error = writer.flush().await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
        writer.flush().await.unwrap();
        assert_eq!(flushed.get(), 1);
        writer.shutdown().await.unwrap();
        assert_eq!(flushed.get(), 1);
    });
}

/// A writer whose flush waits to be let go and then fails, and whose next write fails as well.
struct FailsTwice(Rc<Cell<bool>>, usize);

impl AsyncWrite for FailsTwice {
    async fn write<B: IoBuf>(&mut self, buf: B) -> BufResult<usize, B> {
        self.1 += 1;
        match self.1 {
            2 => BufResult(Err(io::ErrorKind::ConnectionReset.into()), buf),
            _ => BufResult(Ok(buf.buf_len()), buf),
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        while !self.0.get() {
            yield_now().await;
        }
        Err(io::ErrorKind::StorageFull.into())
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A flush that was given up fails, and then the write behind it: whoever tries the flush again must
/// not hear that all is well.
#[test]
fn two_errors_that_nobody_was_told_are_both_told() {
    on_each_driver(|| async {
        let go = Rc::new(Cell::new(false));
        let mut writer = CompioWriteAsTokio::new(FailsTwice(go.clone(), 0));
        writer.write_all(b"abc").await.unwrap();
        assert!(poll_once(writer.flush()).is_pending());
        settle().await;
        writer.write_all(b"def").await.unwrap();
        go.set(true);
        settle().await;
        let first = writer.flush().await.unwrap_err();
        assert_eq!(first.kind(), io::ErrorKind::StorageFull);
        let second = writer.flush().await.unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::ConnectionReset);
        writer.flush().await.unwrap();
    });
}

/// Writes to a place that is seen from outside, once it may go.
struct Gated {
    go: Rc<Cell<bool>>,
    written: Rc<RefCell<Vec<u8>>>,
}

impl AsyncWrite for Gated {
    async fn write<B: IoBuf>(&mut self, buf: B) -> BufResult<usize, B> {
        while !self.go.get() {
            yield_now().await;
        }
        self.written.borrow_mut().extend_from_slice(buf.as_init());
        BufResult(Ok(buf.buf_len()), buf)
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A waker may be an executor of its own. Its panic is not the end of what it has accepted bytes from.
#[test]
fn a_waker_that_panics_loses_no_accepted_byte() {
    on_each_driver(|| async {
        let (go, written) = (Rc::new(Cell::new(false)), Rc::default());
        let gated = Gated {
            go: go.clone(),
            written: Rc::clone(&written),
        };
        let mut writer = CompioWriteAsTokio::with_capacity(gated, 4);
        writer.write_all(b"abcdefgh").await.unwrap();
        settle().await;
        let panics = Arc::new(Panics::default());
        let waker = Waker::from(panics.clone());
        let full = Pin::new(&mut writer).poll_write(&mut Context::from_waker(&waker), b"i");
        assert!(full.is_pending());
        go.set(true);
        while !panics.was_woken() {
            settle().await;
        }
        writer.flush().await.unwrap();
        assert_eq!(*written.borrow(), b"abcdefgh");
    });
}
