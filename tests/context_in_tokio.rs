//! `InTokio`: the context is there for each poll and for the drop, and at no other time.
#![cfg(feature = "pool")]

mod context_support;
mod support;

use std::{
    cell::Cell,
    convert::Infallible,
    future::{Future, pending, poll_fn},
    io,
    marker::PhantomPinned,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use context_support::{everywhere, message, tokio_runtime};
use futures::{FutureExt, Sink, SinkExt, Stream, StreamExt, stream::FusedStream};
use hyper::body::{Frame, SizeHint};
use landbridge::context::{self, InTokio, InTokioExt, in_tokio};
use support::{OnDrop, Tally, poll_once, watchdog};
use tokio::{
    io::{
        AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncSeek, AsyncSeekExt,
        AsyncWrite, AsyncWriteExt, BufReader, ReadBuf,
    },
    runtime::{Handle, Id},
};
use tower_service::Service;

fn here() -> Option<Id> {
    Handle::try_current().ok().map(|handle| handle.id())
}

/// Everything at once; says where it is called, and fails elsewhere.
struct Everything {
    home: Id,
    calls: Rc<Cell<usize>>,
    _pinned: PhantomPinned,
}

impl Everything {
    fn new(home: &Handle) -> (Self, Rc<Cell<usize>>) {
        let calls = Rc::default();
        let everything = Self {
            home: home.id(),
            calls: Rc::clone(&calls),
            _pinned: PhantomPinned,
        };
        (everything, calls)
    }

    fn called(&self) {
        assert_eq!(here(), Some(self.home));
        self.calls.set(self.calls.get() + 1);
    }
}

impl Drop for Everything {
    fn drop(&mut self) {
        self.called();
    }
}

impl Clone for Everything {
    fn clone(&self) -> Self {
        self.called();
        Self {
            home: self.home,
            calls: Rc::clone(&self.calls),
            _pinned: PhantomPinned,
        }
    }
}

impl Future for Everything {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        self.called();
        Poll::Ready(())
    }
}

impl Stream for Everything {
    type Item = u8;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<u8>> {
        self.called();
        Poll::Ready(Some(7))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (7, None)
    }
}

impl FusedStream for Everything {
    fn is_terminated(&self) -> bool {
        true
    }
}

impl Sink<u8> for Everything {
    type Error = Infallible;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.called();
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, _: u8) -> Result<(), Infallible> {
        self.called();
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.called();
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.called();
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Everything {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.called();
        buffer.put_slice(b"7");
        Poll::Ready(Ok(()))
    }
}

impl AsyncBufRead for Everything {
    fn poll_fill_buf(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        self.called();
        Poll::Ready(Ok(b"seven"))
    }

    fn consume(self: Pin<&mut Self>, _: usize) {
        self.called();
    }
}

impl AsyncWrite for Everything {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.called();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.called();
        Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.called();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.called();
        Poll::Ready(Ok(()))
    }
}

impl AsyncSeek for Everything {
    fn start_seek(self: Pin<&mut Self>, _: io::SeekFrom) -> io::Result<()> {
        self.called();
        Ok(())
    }

    fn poll_complete(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<u64>> {
        self.called();
        Poll::Ready(Ok(7))
    }
}

impl hyper::body::Body for Everything {
    type Data = &'static [u8];
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<&'static [u8]>, Infallible>>> {
        self.called();
        Poll::Ready(Some(Ok(Frame::data(b"seven"))))
    }

    fn is_end_stream(&self) -> bool {
        true
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(5)
    }
}

impl hyper::rt::Read for Everything {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.called();
        buffer.put_slice(b"7");
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Everything {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.called();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.called();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.called();
        Poll::Ready(Ok(()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.called();
        Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()))
    }
}

impl Service<u8> for Everything {
    type Response = ();
    type Error = Infallible;
    type Future = Asks;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.called();
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: u8) -> Asks {
        self.called();
        Asks(self.home)
    }
}

struct Asks(Id);

impl Future for Asks {
    type Output = Result<(), Infallible>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        assert_eq!(here(), Some(self.0));
        Poll::Ready(Ok(()))
    }
}

async fn hyper_methods(mut wrapped: Pin<&mut InTokio<Everything>>) -> io::Result<()> {
    use hyper::{body::Body, rt};

    let frame = poll_fn(|cx| wrapped.as_mut().poll_frame(cx)).await;
    assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), b"seven");
    assert!(wrapped.is_end_stream());
    assert_eq!(Body::size_hint(&*wrapped).exact(), Some(5));

    let mut bytes = [0; 2];
    let mut buffer = rt::ReadBuf::new(&mut bytes);
    poll_fn(|cx| rt::Read::poll_read(wrapped.as_mut(), cx, buffer.unfilled())).await?;
    assert_eq!(buffer.filled(), b"7");
    let written = poll_fn(|cx| rt::Write::poll_write(wrapped.as_mut(), cx, b"seven")).await?;
    assert_eq!(written, 5);
    let slices = [io::IoSlice::new(b"se"), io::IoSlice::new(b"ven")];
    let written =
        poll_fn(|cx| rt::Write::poll_write_vectored(wrapped.as_mut(), cx, &slices)).await?;
    assert_eq!(written, 5);
    assert!(rt::Write::is_write_vectored(&*wrapped));
    poll_fn(|cx| rt::Write::poll_flush(wrapped.as_mut(), cx)).await?;
    poll_fn(|cx| rt::Write::poll_shutdown(wrapped.as_mut(), cx)).await
}

/// A method that was forgotten would panic in some client, on some rare path.
#[test]
fn the_context_is_there_for_every_method_of_every_trait_and_for_the_drop() {
    everywhere(|handle| async move {
        let (value, calls) = Everything::new(&handle);
        let mut wrapped = Box::pin(value.in_tokio(&handle));

        wrapped.as_mut().await;
        assert_eq!(wrapped.next().await, Some(7));
        assert_eq!(Stream::size_hint(&wrapped), (7, None));
        assert!(FusedStream::is_terminated(&wrapped));
        // `feed` is ready and send; `flush` and `close` themselves.
        wrapped.feed(7).await.unwrap();
        SinkExt::flush(&mut wrapped).await.unwrap();
        SinkExt::<u8>::close(&mut wrapped).await.unwrap();
        assert_eq!(calls.replace(0), 6);

        assert_eq!(wrapped.read_u8().await.unwrap(), b'7');
        assert_eq!(wrapped.fill_buf().await.unwrap(), b"seven");
        wrapped.as_mut().consume(1);
        assert_eq!(wrapped.write(b"seven").await.unwrap(), 5);
        let slices = [io::IoSlice::new(b"se"), io::IoSlice::new(b"ven")];
        assert_eq!(wrapped.write_vectored(&slices).await.unwrap(), 5);
        assert!(wrapped.is_write_vectored());
        AsyncWriteExt::flush(&mut wrapped).await.unwrap();
        wrapped.shutdown().await.unwrap();
        assert_eq!(calls.replace(0), 7);

        // Two of each: tokio first waits for a seek that may be under way.
        assert_eq!(wrapped.seek(io::SeekFrom::Start(7)).await.unwrap(), 7);
        assert_eq!(calls.replace(0), 3);

        hyper_methods(wrapped.as_mut()).await.unwrap();
        assert_eq!(calls.replace(0), 6);

        let clone = (*wrapped).clone();
        assert_eq!(calls.replace(0), 1);
        drop(wrapped);
        assert_eq!(calls.replace(0), 1);

        let mut service = clone;
        poll_fn(|cx| Service::poll_ready(&mut service, cx))
            .await
            .unwrap();
        service.call(7).await.unwrap();
        assert_eq!(calls.replace(0), 2);
        service.with_ref(Everything::called);
        service.with_mut(|value| value.called());
        pin!(service).with_pin_mut(|value| value.called());
        assert_eq!(calls.replace(0), 4);
    });
}

/// Both runtimes' things in one future is what it is for.
#[test]
fn compios_own_things_work_inside() {
    everywhere(|handle| async move {
        let both = async {
            let task = tokio::spawn(async { 40 });
            let text = compio::fs::read("Cargo.toml").await.unwrap();
            assert!(text.starts_with(b"["));
            let two = compio::runtime::spawn(async { 2 }).await.unwrap();
            landbridge::time::sleep(std::time::Duration::from_millis(1)).await;
            task.await.unwrap() + two
        };
        assert_eq!(in_tokio(&handle, both).await, 42);
    });
}

/// A library that is polled in one's context may have one of its own.
#[test]
fn contexts_may_be_nested() {
    let _watchdog = watchdog();
    let (one, two) = (tokio_runtime(), tokio_runtime());
    let (first, second) = (Some(one.handle().id()), Some(two.handle().id()));
    let nested = async {
        assert_eq!(here(), first);
        async { assert_eq!(here(), second) }
            .in_tokio(two.handle())
            .await;
        assert_eq!(here(), first);
    };
    nested.in_tokio(one.handle()).now_or_never().unwrap();

    let seen = context::with(one.handle(), || {
        let inner = context::with(two.handle(), here);
        (here(), inner, here())
    });
    assert_eq!(seen, (first, second, first));
    assert_eq!(here(), None);
}

/// The thread goes on with other tasks.
#[test]
fn a_panic_leaves_no_context_behind() {
    fn panics<T>() -> T {
        panic!("on purpose")
    }

    let tokio = tokio_runtime();
    let result = catch_unwind(|| context::with(tokio.handle(), panics::<()>));
    assert_eq!(message(&*result.unwrap_err()), "on purpose");
    assert_eq!(here(), None);

    let mut future = Box::pin(poll_fn(|_| -> Poll<()> { panics() }).in_tokio(tokio.handle()));
    let result = catch_unwind(AssertUnwindSafe(|| poll_once(&mut future, Waker::noop())));
    assert!(result.is_err());
    assert_eq!(here(), None);

    let dropped = OnDrop::new(panics::<()>).in_tokio(tokio.handle());
    assert!(catch_unwind(AssertUnwindSafe(|| drop(dropped))).is_err());
    assert_eq!(here(), None);
}

/// Clients spawn and set timers in their destructors, on whatever path they are dropped.
#[test]
fn a_future_dropped_half_way_is_dropped_in_the_context() {
    everywhere(|handle| async move {
        for polls in 0..3 {
            let home = handle.id();
            let tells = OnDrop::new(move || {
                assert_eq!(here(), Some(home));
                drop(tokio::spawn(async {}));
            });
            let tally = Tally::new();
            let counted = tally.make();
            let mut future = Box::pin(
                async move {
                    let _counted = counted;
                    let _tells = tells;
                    pending::<()>().await;
                }
                .in_tokio(&handle),
            );
            for _ in 0..polls {
                assert!(poll_once(&mut future, Waker::noop()).is_pending());
            }
            drop(future);
            assert_eq!(tally.alive(), 0);
        }
    });
}

/// What is taken out is dropped once, by whoever has it.
#[test]
fn a_value_taken_out_is_whole() {
    let tokio = tokio_runtime();
    let tally = Tally::new();
    let mut wrapped = tally.make().in_tokio(tokio.handle());
    _ = wrapped.get_ref();
    _ = wrapped.get_mut();
    let value = wrapped.into_inner();
    assert_eq!(tally.alive(), 1);
    drop(value);
    assert_eq!(tally.alive(), 0);
}

/// A stream's reader and writer are often two tasks: neither may take the other's place.
#[test]
fn an_io_object_may_be_split() {
    everywhere(|handle| async move {
        let (near, far) = tokio::io::duplex(3);
        let (mut read, mut write) = tokio::io::split(near.in_tokio(&handle));
        let (mut echo_read, mut echo_write) = tokio::io::split(far);
        let text = vec![b'7'; 1000];
        let (copied, written, back) = tokio::join!(
            async {
                let copied = tokio::io::copy(&mut echo_read, &mut echo_write).await;
                echo_write.shutdown().await.unwrap();
                copied
            },
            async {
                write.write_all(&text).await?;
                write.shutdown().await
            },
            async {
                let mut back = String::new();
                let mut read = BufReader::new(&mut read);
                read.read_line(&mut back).await.map(|_| back)
            },
        );
        assert_eq!(copied.unwrap(), 1000);
        written.unwrap();
        assert_eq!(back.unwrap().as_bytes(), text);
    });
}

/// A task's future moves from waker to waker; only the last counts, and none is kept for ever.
#[test]
fn no_waker_outlives_the_wrapper() {
    let _watchdog = watchdog();
    let tokio = tokio_runtime();
    let wakers: Vec<_> = (0..3).map(|_| support::CountingWaker::new()).collect();
    let mut future = Box::pin(pending::<()>().in_tokio(tokio.handle()));
    for counting in &wakers {
        let waker = Waker::from(std::sync::Arc::clone(counting));
        for _ in 0..2 {
            assert!(poll_once(&mut future, &waker).is_pending());
        }
    }
    let kept = wakers
        .iter()
        .map(|waker| std::sync::Arc::strong_count(waker) - 1);
    // Ours, and the runtime's watch's.
    assert_eq!(kept.collect::<Vec<_>>(), [0, 0, 2]);
    drop(future);
    assert_eq!(std::sync::Arc::strong_count(&wakers[2]), 1);
    drop(tokio);
    assert!(wakers.iter().all(|waker| waker.wakes() == 0));
}
