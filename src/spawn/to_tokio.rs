//! The other direction: work on Tokio's threads, awaited from Compio.

use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures::{Stream, stream::FusedStream};
use pin_project_lite::pin_project;
use tokio::{
    runtime::{Handle, Id},
    task::{
        AbortHandle as TokioAbortHandle, JoinError as TokioJoinError, JoinHandle as TokioJoinHandle,
    },
};

use super::{
    JoinHandle,
    join::look_again,
    stream::{Items, produce},
    trace::across,
};
use crate::{
    channel::Wait,
    error::JoinError,
    unwind::{catch, swallow},
};

/// Runs work on a Tokio runtime from anywhere, a Compio task in particular.
///
/// Unstructured work needs no bridge: `Handle::spawn` of Tokio works from any thread, and its handle
/// may be awaited on any runtime. [`spawn_across`](Self::spawn_across) is for where this crate's
/// [`JoinHandle`] is wanted.
///
/// The guide: [work on the other side](crate::guide::spawning).
pub trait TokioHandleExt: sealed::Sealed {
    /// Runs `future` on the Tokio runtime and waits for it.
    ///
    /// Lazy: nothing is spawned before the first poll.
    ///
    /// # Where it runs
    ///
    /// On the threads of the runtime behind the handle, where it may use all that needs Tokio's
    /// context. Awaited by a task of that very runtime it is polled in place, as a part of that task,
    /// from its first poll on: moved elsewhere after that, it is polled there, in Tokio's context.
    /// The output may be dropped by the caller.
    ///
    /// A `current_thread` runtime makes progress only while somebody drives it, with `block_on`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the returned future aborts the work: Tokio drops it at its next await point, and does
    /// not say when that has happened.
    ///
    /// # Errors
    ///
    /// [`JoinError::Panicked`] with the payload if the work panicked, [`JoinError::RuntimeGone`] if
    /// the runtime was shut down first, or had been before.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use landbridge::TokioHandleExt;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let tokio = tokio::runtime::Runtime::new()?;
    /// let handle = tokio.handle().clone();
    /// let answer = compio::runtime::Runtime::new()?.block_on(async move {
    ///     handle
    ///         .run(async {
    ///             tokio::time::sleep(Duration::from_millis(1)).await;
    ///             42
    ///         })
    ///         .await
    /// })?;
    /// assert_eq!(answer, 42);
    /// # Ok(())
    /// # }
    /// ```
    fn run<F>(&self, future: F) -> RunOnTokio<F>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static;

    /// Runs `stream` on the Tokio runtime, and yields its items here. Structured: it ends with what is
    /// returned.
    ///
    /// Lazy, bounded and ended as [`CompioPool::stream`](crate::CompioPool::stream) is.
    ///
    /// # Where it runs
    ///
    /// On the threads of the runtime behind the handle, in a task of its own: also when a task of that
    /// very runtime asks for it. The items may be dropped anywhere.
    ///
    /// # Cancel safety
    ///
    /// Waiting for an item and giving up loses nothing. Dropping what is returned aborts the stream over
    /// there, and drops the items that are on their way.
    ///
    /// # Errors
    ///
    /// The last item is [`JoinError::Panicked`] if the stream panicked, [`JoinError::RuntimeGone`] if the
    /// runtime was shut down first, or had been before. All items made before that come first.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use futures::{StreamExt, TryStreamExt, stream};
    /// use landbridge::TokioHandleExt;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let tokio = tokio::runtime::Runtime::new()?;
    /// let handle = tokio.handle().clone();
    /// let ticks = compio::runtime::Runtime::new()?.block_on(async move {
    ///     let ticks = stream::iter(0..3).then(async |n| {
    ///         tokio::time::sleep(Duration::from_millis(1)).await;
    ///         n
    ///     });
    ///     handle.run_stream(ticks).try_collect::<Vec<_>>().await
    /// })?;
    /// assert_eq!(ticks, [0, 1, 2]);
    /// # Ok(())
    /// # }
    /// ```
    fn run_stream<S>(&self, stream: S) -> RunStreamOnTokio<S>
    where
        S: Stream + Send + 'static,
        S::Item: Send + 'static;

    /// Starts `future` on the Tokio runtime; it goes on by itself.
    ///
    /// What [`CompioPool::spawn`](crate::CompioPool::spawn) is for the other direction, with the same
    /// handle and its promises; so that code which keeps handles need not know which side the work is on.
    ///
    /// # Where it runs
    ///
    /// On the threads of the runtime behind the handle.
    ///
    /// # Errors
    ///
    /// The handle resolves to [`JoinError::RuntimeGone`] if the runtime is shut down before the work is
    /// done, or had been before.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use landbridge::{TokioHandleExt, error::JoinError};
    ///
    /// let tokio = tokio::runtime::Runtime::new()?;
    /// let handle = tokio.handle().clone();
    /// compio::runtime::Runtime::new()?.block_on(async move {
    ///     assert_eq!(handle.spawn_across(async { 42 }).await?, 42);
    ///
    ///     let endless = handle.spawn_across(std::future::pending::<()>());
    ///     assert!(matches!(endless.cancel().await, Err(JoinError::Cancelled)));
    ///     Ok::<_, JoinError>(())
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    fn spawn_across<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static;
}

impl TokioHandleExt for Handle {
    fn run<F>(&self, future: F) -> RunOnTokio<F>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        RunOnTokio {
            state: State::Idle {
                handle: self.clone(),
                future: Some(future),
            },
        }
    }

    fn run_stream<S>(&self, stream: S) -> RunStreamOnTokio<S>
    where
        S: Stream + Send + 'static,
        S::Item: Send + 'static,
    {
        RunStreamOnTokio {
            state: StreamState::Idle {
                handle: self.clone(),
                stream,
            },
            items: Items::new(),
        }
    }

    #[track_caller]
    fn spawn_across<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        JoinHandle::on_tokio(OnTokio {
            work: self.spawn(future),
            runtime: self.id(),
            aborted: Arc::default(),
        })
    }
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for tokio::runtime::Handle {}
}

pin_project! {
    /// The future of [`TokioHandleExt::run`].
    #[must_use = "the work is not spawned unless this is awaited"]
    pub struct RunOnTokio<F: Future> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F: Future> {
        Idle { handle: Handle, future: Option<F> },
        Here { handle: Handle, #[pin] future: F },
        There { work: Aborting<F::Output> },
        Done,
    }
}

/// Aborts when dropped, as Tokio's own handle does not.
struct Aborting<T>(TokioJoinHandle<T>);

impl<T> Drop for Aborting<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<F> Future for RunOnTokio<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    type Output = Result<F::Output, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        if let StateProjection::Idle { handle, future } = state.as_mut().project() {
            let future = future.take().expect("taken once");
            let next = if is_task_of(handle) {
                State::Here {
                    handle: handle.clone(),
                    future,
                }
            } else {
                State::There {
                    work: Aborting(handle.spawn(across(future))),
                }
            };
            state.set(next);
        }
        let result = match state.as_mut().project() {
            StateProjection::Here { handle, future } => {
                // Nearly always there already. But a task of another runtime may have entered this
                // one's context, for that poll alone.
                let _context = handle.enter();
                match catch(|| future.poll(cx)) {
                    Ok(polled) => polled.map(Ok),
                    Err(payload) => Poll::Ready(Err(JoinError::panicked(payload))),
                }
            }
            StateProjection::There { work } => {
                if !work.0.is_finished() {
                    look_again(Wait::Adaptive, || work.0.is_finished());
                }
                Pin::new(&mut work.0)
                    .poll(cx)
                    .map(|result| result.map_err(from_tokio))
            }
            StateProjection::Idle { .. } | StateProjection::Done => {
                panic!("polled after it was ready")
            }
        };
        let Poll::Ready(result) = result else {
            return Poll::Pending;
        };
        // The work is dropped before its result is seen; its destructor may panic.
        match catch(|| state.set(State::Done)) {
            Ok(()) => Poll::Ready(result),
            Err(payload) => {
                swallow(|| drop(result));
                Poll::Ready(Err(JoinError::panicked(payload)))
            }
        }
    }
}

/// The items of a stream on Tokio; from [`TokioHandleExt::run_stream`].
///
/// Lazy: nothing is spawned before the first poll.
#[must_use = "nothing is streamed unless this is polled"]
pub struct RunStreamOnTokio<S: Stream> {
    state: StreamState<S>,
    items: Items<S::Item>,
}

enum StreamState<S> {
    Idle { handle: Handle, stream: S },
    There { work: Aborting<()> },
    Done,
}

impl<S: Stream> RunStreamOnTokio<S> {
    /// As [`RunStream::capacity`](super::RunStream::capacity).
    pub fn capacity(mut self, items: usize) -> Self {
        self.items.set_capacity(items);
        self
    }
}

// Nothing in it is pinned: the stream is moved to Tokio before it is polled.
impl<S: Stream> Unpin for RunStreamOnTokio<S> {}

impl<S> Stream for RunStreamOnTokio<S>
where
    S: Stream + Send + 'static,
    S::Item: Send + 'static,
{
    type Item = Result<S::Item, JoinError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { state, items } = &mut *self;
        if let StreamState::Idle { .. } = state {
            let StreamState::Idle { handle, stream } = mem::replace(state, StreamState::Done)
            else {
                unreachable!("just seen");
            };
            let sender = items.start(Wait::Adaptive);
            *state = StreamState::There {
                work: Aborting(handle.spawn(produce(stream, sender))),
            };
        }
        items.poll_next(cx, |cx| {
            let StreamState::There { work } = state else {
                unreachable!("it has been spawned, and its result is taken once");
            };
            let result = Pin::new(&mut work.0).poll(cx);
            if result.is_ready() {
                *state = StreamState::Done;
            }
            result.map(|result| result.map_err(from_tokio))
        })
    }
}

impl<S> FusedStream for RunStreamOnTokio<S>
where
    S: Stream + Send + 'static,
    S::Item: Send + 'static,
{
    fn is_terminated(&self) -> bool {
        self.items.is_over()
    }
}

impl<S: Stream> fmt::Debug for RunStreamOnTokio<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            StreamState::Idle { .. } => "not spawned",
            StreamState::There { .. } => "streaming",
            StreamState::Done => "done",
        };
        f.debug_tuple("RunStreamOnTokio").field(&state).finish()
    }
}

/// What a [`JoinHandle`] has of work on Tokio.
pub(super) struct OnTokio<T> {
    work: TokioJoinHandle<T>,
    runtime: Id,
    /// Tokio says the same of work that was aborted and of work whose runtime went away.
    aborted: Arc<AtomicBool>,
}

impl<T> OnTokio<T> {
    pub(super) fn is_finished(&self) -> bool {
        self.work.is_finished()
    }

    pub(super) fn abort_handle(&self) -> AbortOnTokio {
        AbortOnTokio {
            work: self.work.abort_handle(),
            aborted: Arc::clone(&self.aborted),
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        // The only thread of a runtime cannot finish the work while it looks.
        if !is_thread_of(self.runtime) && !self.is_finished() {
            look_again(Wait::Adaptive, || self.is_finished());
        }
        Pin::new(&mut self.work).poll(cx).map(|result| {
            result.map_err(|error| match from_tokio(error) {
                JoinError::RuntimeGone if self.aborted.load(Ordering::Relaxed) => {
                    JoinError::Cancelled
                }
                other => other,
            })
        })
    }
}

/// What an [`AbortHandle`](super::AbortHandle) has of work on Tokio.
#[derive(Clone, Debug)]
pub(super) struct AbortOnTokio {
    work: TokioAbortHandle,
    aborted: Arc<AtomicBool>,
}

impl AbortOnTokio {
    pub(super) fn abort(&self) {
        if self.work.is_finished() {
            return;
        }
        // Before the abort, which hands it on to whoever sees the work end because of that.
        self.aborted.store(true, Ordering::Relaxed);
        self.work.abort();
    }
}

/// Whether the caller is a task of `handle`'s runtime, so that polling here is polling there.
///
/// A Tokio context alone does not say so: it may have been entered by a thread that Compio drives.
fn is_task_of(handle: &Handle) -> bool {
    tokio::task::try_id().is_some() && is_thread_of(handle.id())
}

/// Whether this thread is in the context of that runtime, and Compio does not drive it.
fn is_thread_of(runtime: Id) -> bool {
    Handle::try_current().is_ok_and(|current| current.id() == runtime)
        && compio::runtime::Runtime::try_with_current(|_| ()).is_err()
}

/// Nobody is left to see that a dropped [`Aborting`] has aborted the work: for all others it was the
/// runtime's end that cancelled it.
fn from_tokio(error: TokioJoinError) -> JoinError {
    match error.try_into_panic() {
        Ok(payload) => JoinError::panicked(payload),
        Err(_) => JoinError::RuntimeGone,
    }
}

impl<F: Future> fmt::Debug for RunOnTokio<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Idle { .. } => "not spawned",
            State::Here { .. } => "in place",
            State::There { .. } => "waiting",
            State::Done => "done",
        };
        f.debug_tuple("RunOnTokio").field(&state).finish()
    }
}
