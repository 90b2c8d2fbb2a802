//! Tokio's context around what is polled elsewhere.

use std::{
    fmt,
    future::Future,
    io::{self, IoSlice},
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{Sink, Stream, stream::FusedStream};
use pin_project_lite::pin_project;
use tokio::{
    io::{AsyncBufRead, AsyncRead, AsyncSeek, AsyncWrite, ReadBuf},
    runtime::Handle,
};

use super::watch::Watcher;
use crate::error::TokioGone;

/// Calls `f` in the context of the Tokio runtime behind `handle`.
///
/// For code that is not asynchronous and looks the context up: what `tokio::spawn`, `tokio::time::sleep` and the
/// constructors of many a client do. Calls may be nested, of different runtimes too; the context before is back
/// when `f` has returned or panicked. It is a closure and not a guard so that it cannot be held across an await,
/// where the context would stay with the thread instead of going with the task.
///
/// The guide: [contexts](crate::guide::contexts).
///
/// # Where it runs
///
/// Here and now.
///
/// # Panics
///
/// When `f` does, and on a thread that is about to end and has dropped its thread-local values.
///
/// # Examples
///
/// ```
/// use landbridge::context;
///
/// let tokio = tokio::runtime::Runtime::new()?;
/// assert!(tokio::runtime::Handle::try_current().is_err());
/// let task = context::with(tokio.handle(), || tokio::spawn(async { 42 }));
/// assert_eq!(compio::runtime::Runtime::new()?.block_on(task)?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn with<R>(handle: &Handle, f: impl FnOnce() -> R) -> R {
    let _context = handle.enter();
    f()
}

/// Puts `value` into the context of the Tokio runtime behind `handle`: [`InTokioExt::in_tokio`] as a function.
///
/// The guide: [contexts](crate::guide::contexts).
pub fn in_tokio<T>(handle: &Handle, value: T) -> InTokio<T> {
    InTokio {
        value: Some(value),
        handle: handle.clone(),
        reader: Watcher::default(),
        writer: Watcher::default(),
    }
}

/// Puts anything into the context of a Tokio runtime.
///
/// The guide: [contexts](crate::guide::contexts).
pub trait InTokioExt: Sized {
    /// Puts it into the context of the Tokio runtime behind `handle`: it is polled where it is, and may use what
    /// needs that runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use landbridge::context::InTokioExt;
    ///
    /// let tokio = tokio::runtime::Runtime::new()?;
    /// let compio = compio::runtime::Runtime::new()?;
    /// let text = compio.block_on(
    ///     async {
    ///         tokio::time::sleep(Duration::from_millis(1)).await;
    ///         compio::fs::read("Cargo.toml").await
    ///     }
    ///     .in_tokio(tokio.handle()),
    /// )?;
    /// assert!(text.starts_with(b"["));
    /// # std::io::Result::Ok(())
    /// ```
    fn in_tokio(self, handle: &Handle) -> InTokio<Self> {
        in_tokio(handle, self)
    }
}

impl<T> InTokioExt for T {}

pin_project! {
    /// Something that is polled where it is, in the context of a Tokio runtime; from [`InTokioExt::in_tokio`] and
    /// [`in_tokio`].
    ///
    /// A future, a stream, a sink and whatever implements Tokio's I/O traits is so in the wrapper, too; with the
    /// feature `hyper` also what implements hyper's, a tower service, whose futures are in the context as well, and
    /// the body of an HTTP message. Anything else is reached with [`with_ref`](Self::with_ref) and
    /// [`with_mut`](Self::with_mut). Nothing is boxed.
    ///
    /// # Where it runs
    ///
    /// On the thread that polls the wrapper, with the context entered for each poll and for the drop of the value.
    /// Nothing of it is on the runtime's threads, except what it spawns there and the runtime's own part: its
    /// reactor, its timers, its threads for what blocks. They call the task's waker from there. On a
    /// [pool's](crate::CompioPool) workers that takes the worker's inbox; on another Compio runtime it takes
    /// Compio's own queue.
    ///
    /// What needs the context when it is made (`tokio::time::sleep`, reqwest's `send` with a timeout) is to be made
    /// inside: `async { request.send().await }.in_tokio(&handle)`. Likewise a task of this thread that the value
    /// starts is not polled through the wrapper and needs one of its own.
    ///
    /// Compio's context is not touched: Compio's operations work in the wrapper as around it, and where both can
    /// do it, as in [`landbridge::time`](crate::time), it is Compio that does.
    ///
    /// # When the runtime is gone
    ///
    /// The wrapper does not keep the runtime alive, only its handle. When the runtime is shut down, whoever waits
    /// in its context is woken. What then is ready is returned, Tokio's own errors and panics above all: its
    /// sockets say "A Tokio 1.x context was found, but it is being shutdown", its timers panic with it, what was to
    /// run on its threads was cancelled. What would still have to wait does not, even if it waits for something
    /// else:
    ///
    /// | what | once the runtime is gone, instead of waiting |
    /// |---|---|
    /// | Tokio's and hyper's I/O traits | [`TokioGone`] inside the [`io::Error`] |
    /// | a future, a stream, a sink, a service, a body | a panic with the same message |
    ///
    /// To hear of that, the first that has to wait in a runtime's context starts one task there, which does
    /// nothing; it is in the runtime's metrics. The end is heard when the runtime drops its tasks, so with
    /// `shutdown_background` not before a worker of its has come to its next await point.
    ///
    /// # A `current_thread` runtime
    ///
    /// It makes progress only while some thread is in its `block_on`. While there is none, its timers and sockets
    /// wake nobody, and that cannot be told from a runtime that has nothing to do: take a multi-thread runtime, if
    /// only of one worker, where no thread drives it for good. If it is shut down without ever having been driven,
    /// [`TokioGone`] says so. In particular, do not block the very thread that drives it on a Compio runtime that
    /// waits for it.
    ///
    /// # Cancel safety
    ///
    /// That of the value.
    ///
    /// # Panics
    ///
    /// As above; where the value does; and on a thread that is about to end and has dropped its thread-local
    /// values, except that the wrapper may be dropped there, without the context then.
    ///
    /// # Examples
    ///
    /// ```
    /// use landbridge::context::in_tokio;
    /// use tokio::{io::{AsyncReadExt, AsyncWriteExt}, net::{TcpListener, TcpStream}};
    ///
    /// let tokio = tokio::runtime::Runtime::new()?;
    /// let compio = compio::runtime::Runtime::new()?;
    /// // A client and a server of Tokio's sockets, both on this thread.
    /// compio.block_on(in_tokio(tokio.handle(), async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let mut near = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (mut far, _) = listener.accept().await?;
    ///     near.write_all(b"bridge").await?;
    ///     let mut text = [0; 6];
    ///     far.read_exact(&mut text).await?;
    ///     assert_eq!(&text, b"bridge");
    ///     std::io::Result::Ok(())
    /// }))?;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use = "nothing is polled unless this is"]
    pub struct InTokio<T> {
        // There until it is dropped, or taken out of a wrapper that goes then.
        #[pin]
        value: Option<T>,
        handle: Handle,
        // The two sides of an I/O object may be two tasks'. All but sinks and writers are the first.
        reader: Watcher,
        writer: Watcher,
    }

    impl<T> PinnedDrop for InTokio<T> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if mem::needs_drop::<T>() {
                with_if_possible(this.handle, || this.value.set(None));
            }
        }
    }
}

/// [`with`], but without the context on a thread that is about to end.
pub(super) fn with_if_possible<R>(handle: &Handle, f: impl FnOnce() -> R) -> R {
    match Handle::try_current() {
        Err(error) if error.is_thread_local_destroyed() => f(),
        _ => with(handle, f),
    }
}

const THERE: &str = "the value is there until the wrapper goes";

/// Who waits; see the wrapper's watchers.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    Read,
    Write,
}

impl<T> InTokio<T> {
    /// The handle of the runtime.
    #[must_use]
    pub const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The value, outside of the context.
    #[must_use]
    pub fn get_ref(&self) -> &T {
        self.value.as_ref().expect(THERE)
    }

    /// The value, outside of the context.
    #[must_use]
    pub fn get_mut(&mut self) -> &mut T {
        self.value.as_mut().expect(THERE)
    }

    /// The value, outside of the context.
    #[must_use]
    pub fn get_pin_mut(self: Pin<&mut Self>) -> Pin<&mut T> {
        self.project().value.as_pin_mut().expect(THERE)
    }

    /// The value. Whoever drops it now sees to the context.
    #[must_use]
    pub fn into_inner(mut self) -> T {
        self.value.take().expect(THERE)
    }

    /// Calls `f` with the value, in the context.
    pub fn with_ref<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        with(&self.handle, || f(self.get_ref()))
    }

    /// Calls `f` with the value, in the context.
    pub fn with_mut<R>(&mut self, f: impl FnOnce(&mut T) -> R) -> R {
        let value = self.value.as_mut().expect(THERE);
        with(&self.handle, || f(value))
    }

    /// Calls `f` with the value, in the context.
    pub fn with_pin_mut<R>(self: Pin<&mut Self>, f: impl FnOnce(Pin<&mut T>) -> R) -> R {
        let this = self.project();
        with(this.handle, || f(this.value.as_pin_mut().expect(THERE)))
    }

    /// Polls in the context; an error if that would have to wait and the runtime is gone.
    #[inline]
    pub(crate) fn poll_with<'a, R>(
        self: Pin<&'a mut Self>,
        side: Side,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&'a mut T>, &mut Context<'_>) -> Poll<R>,
    ) -> Poll<Result<R, TokioGone>> {
        let this = self.project();
        let value = this.value.as_pin_mut().expect(THERE);
        let polled = with(this.handle, || poll(value, cx));
        let watcher = match side {
            Side::Read => this.reader,
            Side::Write => this.writer,
        };
        match polled {
            Poll::Ready(result) => Poll::Ready(Ok(result)),
            Poll::Pending => match watcher.wait(this.handle, cx.waker()) {
                Ok(()) => Poll::Pending,
                Err(gone) => Poll::Ready(Err(gone)),
            },
        }
    }

    /// For a trait that pins nothing and knows no error.
    #[cfg(feature = "hyper")]
    pub(crate) fn poll_unpinned<R>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut T, &mut Context<'_>) -> Poll<R>,
    ) -> Poll<R> {
        let polled = self.with_mut(|value| poll(value, cx));
        if polled.is_pending() {
            must(self.reader.wait(&self.handle, cx.waker()));
        }
        polled
    }
}

/// For traits that know no error.
pub(crate) fn must<R>(result: Result<R, TokioGone>) -> R {
    match result {
        Ok(result) => result,
        Err(gone) => panic!("cannot wait any longer: {gone}"),
    }
}

impl<T: Clone> Clone for InTokio<T> {
    /// Clones the value, in the context.
    fn clone(&self) -> Self {
        in_tokio(&self.handle, self.with_ref(T::clone))
    }
}

impl<T: fmt::Debug> fmt::Debug for InTokio<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InTokio")
            .field("value", &self.value.as_ref())
            .field("runtime", &self.handle.id())
            .finish_non_exhaustive()
    }
}

impl<F: Future> Future for InTokio<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.poll_with(Side::Read, cx, F::poll).map(must)
    }
}

impl<S: Stream> Stream for InTokio<S> {
    type Item = S::Item;

    #[inline]
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.poll_with(Side::Read, cx, S::poll_next).map(must)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.get_ref().size_hint()
    }
}

impl<S: FusedStream> FusedStream for InTokio<S> {
    fn is_terminated(&self) -> bool {
        self.get_ref().is_terminated()
    }
}

impl<Item, S: Sink<Item>> Sink<Item> for InTokio<S> {
    type Error = S::Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.poll_with(Side::Write, cx, S::poll_ready).map(must)
    }

    fn start_send(self: Pin<&mut Self>, item: Item) -> Result<(), S::Error> {
        self.with_pin_mut(|sink| sink.start_send(item))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.poll_with(Side::Write, cx, S::poll_flush).map(must)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.poll_with(Side::Write, cx, S::poll_close).map(must)
    }
}

impl<S: AsyncRead> AsyncRead for InTokio<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_with(Side::Read, cx, |stream, cx| stream.poll_read(cx, buffer))?
    }
}

impl<S: AsyncBufRead> AsyncBufRead for InTokio<S> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        self.poll_with(Side::Read, cx, S::poll_fill_buf)?
    }

    fn consume(self: Pin<&mut Self>, bytes: usize) {
        self.with_pin_mut(|stream| stream.consume(bytes));
    }
}

impl<S: AsyncWrite> AsyncWrite for InTokio<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_with(Side::Write, cx, |stream, cx| stream.poll_write(cx, bytes))?
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_with(Side::Write, cx, |stream, cx| {
            stream.poll_write_vectored(cx, slices)
        })?
    }

    fn is_write_vectored(&self) -> bool {
        self.get_ref().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_with(Side::Write, cx, S::poll_flush)?
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_with(Side::Write, cx, S::poll_shutdown)?
    }
}

impl<S: AsyncSeek> AsyncSeek for InTokio<S> {
    fn start_seek(self: Pin<&mut Self>, to: io::SeekFrom) -> io::Result<()> {
        self.with_pin_mut(|file| file.start_seek(to))
    }

    fn poll_complete(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        self.poll_with(Side::Read, cx, S::poll_complete)?
    }
}
