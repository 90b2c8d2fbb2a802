//! The other direction: work on Tokio's threads, awaited from Compio.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tokio::{
    runtime::Handle,
    task::{JoinError as TokioJoinError, JoinHandle as TokioJoinHandle},
};

use super::{join::look_again, trace::across};
use crate::{
    channel::Wait,
    error::JoinError,
    unwind::{catch, swallow},
};

/// Runs work on a Tokio runtime from anywhere, a Compio task in particular.
///
/// Unstructured work needs no bridge: `Handle::spawn` of Tokio works from any thread, and its handle
/// may be awaited on any runtime.
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

/// Whether the caller is a task of `handle`'s runtime, so that polling here is polling there.
///
/// A Tokio context alone does not say so: it may have been entered by a thread that Compio drives.
fn is_task_of(handle: &Handle) -> bool {
    tokio::task::try_id().is_some()
        && Handle::try_current().is_ok_and(|current| current.id() == handle.id())
        && compio::runtime::Runtime::try_with_current(|_| ()).is_err()
}

/// Nobody but a dropped [`Aborting`] aborts the work: it was the runtime's end that cancelled it.
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
