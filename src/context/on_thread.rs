//! `Send` for what stays where it is.
//!
//! The value is in a table of its thread's; the wrapper has the key. So it is `Send` and `Sync` without a word
//! about safety: nobody can get at the value from elsewhere, by mistake or otherwise.

use std::{
    any::type_name,
    cell::RefCell,
    fmt,
    future::Future,
    io::{self, IoSlice},
    marker::PhantomData,
    panic::Location,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    thread::{self, Thread},
};

use futures::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncSeek, AsyncWrite, ReadBuf};

use crate::{
    error::OnThreadError,
    pool::{
        Shared,
        objects::{self, Key},
        schedule,
    },
    spawn::{JoinHandle, task},
};

/// A value that stays on its thread, in a wrapper that is `Send` and `Sync` whatever the value is: for
/// libraries that ask for `Send` (axum, tonic, hyper-util) inside a Compio thread, where nothing is ever sent.
///
/// A future, a stream, a sink, and whatever implements Tokio's I/O traits is so in the wrapper, too; with the
/// feature `hyper` also what implements hyper's, a tower service, whose futures stay as well, and the body of an
/// HTTP message. Not [`AsyncBufRead`](tokio::io::AsyncBufRead), which would lend the value's own buffer. Anything
/// else is reached with [`with`](Self::with) and [`with_mut`](Self::with_mut).
///
/// The guide: [contexts](crate::guide::contexts).
///
/// # Where it runs
///
/// The value is polled, used and dropped on the thread that [`new`](Self::new) was called on, and on no other.
/// The wrapper may go anywhere. Used on another thread, it is an error where the trait has one:
///
/// | what is done | elsewhere, or once the value is gone |
/// |---|---|
/// | Tokio's and hyper's I/O traits | [`OnThreadError`] inside the [`io::Error`] |
/// | [`with`](Self::with), [`with_mut`](Self::with_mut), [`with_pin_mut`](Self::with_pin_mut) | [`OnThreadError`] |
/// | [`into_inner`](Self::into_inner) | the wrapper back |
/// | a future, a stream, a sink, a service, a body, `clone` | a panic that names both threads |
///
/// # When the value is dropped
///
/// | what happens | the value is dropped |
/// |---|---|
/// | the wrapper is dropped on the value's thread | there and then |
/// | it is dropped elsewhere, and the value was made on a worker of a pool or on an [attached](crate::CompioHandle::attach) runtime | on its thread, by a job, soon after |
/// | it is dropped elsewhere otherwise | with its thread: until then, the value stays |
/// | the worker or the attached runtime ends before | with it, in its context |
/// | the thread ends before | with it |
///
/// If the thread is never joined and the process ends, or it has no destructors of thread-local values, it is
/// leaked.
///
/// # Panics
///
/// [`new`](Self::new) on a thread that is about to end and has dropped its thread-local values.
///
/// # Examples
///
/// ```
/// use std::rc::Rc;
///
/// use landbridge::context::OnThread;
///
/// // What a library asks of a handler.
/// fn boxed(handler: impl Future<Output = usize> + Send + 'static) -> futures::future::BoxFuture<'static, usize> {
///     Box::pin(handler)
/// }
///
/// let length = compio::runtime::Runtime::new()?.block_on(boxed(OnThread::new(async {
///     let stays = Rc::new(());
///     let text = compio::fs::read("Cargo.toml").await.unwrap();
///     drop(stays);
///     text.len()
/// })));
/// assert!(length > 0);
/// # std::io::Result::Ok(())
/// ```
pub struct OnThread<T: 'static> {
    /// None once the value was taken out.
    key: Option<Key>,
    home: Arc<Home>,
    /// The value is not here.
    value: PhantomData<fn(T) -> T>,
}

/// Where the value is.
struct Home {
    thread: Thread,
    /// The way there, if there is one.
    inbox: Option<Arc<Shared>>,
    /// Where the user's code made the wrapper.
    origin: &'static Location<'static>,
}

/// The value's place. It is pinned whether it need be or not.
type Slot<T> = RefCell<Pin<Box<T>>>;

impl<T: 'static> OnThread<T> {
    /// Keeps `value` on this thread.
    ///
    /// # Panics
    ///
    /// On a thread that is about to end and has dropped its thread-local values.
    #[track_caller]
    pub fn new(value: T) -> Self {
        let slot: Rc<Slot<T>> = Rc::new(RefCell::new(Box::pin(value)));
        let Some((key, inbox)) = objects::keep(slot) else {
            panic!("`OnThread::new` on a thread that is about to end");
        };
        Self {
            key: Some(key),
            home: Arc::new(Home {
                thread: thread::current(),
                inbox,
                origin: Location::caller(),
            }),
            value: PhantomData,
        }
    }

    /// Whether this is the value's thread, and the value still there.
    #[must_use]
    pub fn is_here(&self) -> bool {
        self.slot().is_ok()
    }

    /// Calls `f` with the value.
    ///
    /// # Errors
    ///
    /// [`OnThreadError`] on any thread but the value's, and once the value is gone; `f` is not called then.
    pub fn with<R>(&self, f: impl FnOnce(&T) -> R) -> Result<R, OnThreadError> {
        let slot = self.slot()?;
        let value = slot.borrow();
        Ok(f(&value))
    }

    /// Calls `f` with the value.
    ///
    /// # Errors
    ///
    /// As [`with`](Self::with).
    pub fn with_mut<R>(&mut self, f: impl FnOnce(&mut T) -> R) -> Result<R, OnThreadError>
    where
        T: Unpin,
    {
        self.with_pin_mut(|value| f(value.get_mut()))
    }

    /// Calls `f` with the value, which stays where it is in memory until it is dropped.
    ///
    /// # Errors
    ///
    /// As [`with`](Self::with).
    pub fn with_pin_mut<R>(
        &mut self,
        f: impl FnOnce(Pin<&mut T>) -> R,
    ) -> Result<R, OnThreadError> {
        let slot = self.slot()?;
        let mut value = slot.borrow_mut();
        Ok(f(value.as_mut()))
    }

    /// The value.
    ///
    /// # Errors
    ///
    /// The wrapper, on any thread but the value's, and once the value is gone.
    pub fn into_inner(mut self) -> Result<T, Self>
    where
        T: Unpin,
    {
        if !self.is_here() {
            return Err(self);
        }
        let object = self.key.take().and_then(objects::evict);
        let object = object.expect("just seen");
        let slot: Rc<Slot<T>> = object.downcast().expect("the type it was made with");
        match Rc::try_unwrap(slot) {
            Ok(slot) => Ok(*Pin::into_inner(slot.into_inner())),
            Err(_) => unreachable!("calls have it for their own time only, and borrow the wrapper"),
        }
    }

    fn slot(&self) -> Result<Rc<Slot<T>>, OnThreadError> {
        match self.key.and_then(objects::get) {
            Some(object) => Ok(object.downcast().expect("the type it was made with")),
            None => Err(self.home.why_not()),
        }
    }

    /// [`with_pin_mut`](Self::with_pin_mut), for traits that know no error.
    #[track_caller]
    pub(crate) fn must<R>(&mut self, f: impl FnOnce(Pin<&mut T>) -> R) -> R {
        match self.with_pin_mut(f) {
            Ok(result) => result,
            Err(error) => panic!("{} is not usable: {error}", type_name::<T>()),
        }
    }
}

impl Home {
    fn is_here(&self) -> bool {
        thread::current().id() == self.thread.id()
    }

    #[cold]
    fn why_not(&self) -> OnThreadError {
        if self.is_here() {
            return OnThreadError::Gone;
        }
        OnThreadError::Elsewhere {
            home: describe(&self.thread),
            here: describe(&thread::current()),
        }
    }
}

fn describe(thread: &Thread) -> String {
    match thread.name() {
        Some(name) => format!("{name:?} ({:?})", thread.id()),
        None => format!("{:?}", thread.id()),
    }
}

impl<T: 'static> Drop for OnThread<T> {
    fn drop(&mut self) {
        let Some(key) = self.key.take() else { return };
        if self.home.is_here() {
            drop(objects::evict(key));
        } else if let Some(inbox) = &self.home.inbox {
            let evict = move || async move { drop(objects::evict(key)) };
            let (job, task) = task::new(inbox, evict, self.home.origin);
            job.header().set_background();
            // Nobody waits; a panic of the value's destructor goes with the result.
            drop(JoinHandle::new(task, &job));
            // Not by way of the admission, as for objects that are hosted. A worker that is gone has dropped
            // the value already.
            schedule(job);
        }
    }
}

impl<T: Clone + 'static> Clone for OnThread<T> {
    /// Clones the value, on its thread.
    ///
    /// # Panics
    ///
    /// On another thread, and once the value is gone.
    #[track_caller]
    fn clone(&self) -> Self {
        match self.with(T::clone) {
            Ok(value) => Self::new(value),
            Err(error) => panic!("{} is not usable: {error}", type_name::<T>()),
        }
    }
}

impl<T: 'static> fmt::Debug for OnThread<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnThread")
            .field("value", &type_name::<T>())
            .field("thread", &self.home.thread)
            .finish()
    }
}

impl<F: Future + 'static> Future for OnThread<F> {
    type Output = F::Output;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.must(|future| future.poll(cx))
    }
}

impl<S: Stream + 'static> Stream for OnThread<S> {
    type Item = S::Item;

    #[track_caller]
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.must(|stream| stream.poll_next(cx))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let hint = self.with(|stream| stream.size_hint());
        hint.unwrap_or((0, None))
    }
}

impl<Item, S: Sink<Item> + 'static> Sink<Item> for OnThread<S> {
    type Error = S::Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.must(|sink| sink.poll_ready(cx))
    }

    fn start_send(mut self: Pin<&mut Self>, item: Item) -> Result<(), S::Error> {
        self.must(|sink| sink.start_send(item))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.must(|sink| sink.poll_flush(cx))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.must(|sink| sink.poll_close(cx))
    }
}

impl<S: AsyncRead + 'static> AsyncRead for OnThread<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.with_pin_mut(|stream| stream.poll_read(cx, buffer))?
    }
}

impl<S: AsyncWrite + 'static> AsyncWrite for OnThread<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.with_pin_mut(|stream| stream.poll_write(cx, bytes))?
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.with_pin_mut(|stream| stream.poll_write_vectored(cx, slices))?
    }

    /// As the value says; elsewhere, it is not.
    fn is_write_vectored(&self) -> bool {
        let said = self.with(|stream| stream.is_write_vectored());
        said.unwrap_or(false)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with_pin_mut(|stream| stream.poll_flush(cx))?
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with_pin_mut(|stream| stream.poll_shutdown(cx))?
    }
}

impl<S: AsyncSeek + 'static> AsyncSeek for OnThread<S> {
    fn start_seek(mut self: Pin<&mut Self>, to: io::SeekFrom) -> io::Result<()> {
        self.with_pin_mut(|stream| stream.start_seek(to))?
    }

    fn poll_complete(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        self.with_pin_mut(|stream| stream.poll_complete(cx))?
    }
}
