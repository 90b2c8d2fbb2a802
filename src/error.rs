//! Every public error of this crate.

#[cfg(feature = "pool")]
pub use crossing::{
    AttachError, BuildError, JoinError, NoSuchWorker, NotOnWorker, PanicPayload, TrySpawnError,
};
pub use messages::{SendError, TryRecvError, TrySendError};

#[cfg(feature = "pool")]
mod crossing {
    use std::{
        any::Any,
        fmt, io,
        sync::{Mutex, PoisonError},
    };

    use crate::pool::Driver;

    /// Why a piece of work on the other runtime has no result.
    ///
    /// Converts into [`io::Error`], so that a function that returns `io::Result` can use `?` on both
    /// the crossing and what it brought back.
    ///
    /// ```
    /// # use landbridge::{CompioPool, error::JoinError};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = CompioPool::builder().threads(1).build()?;
    /// let lost: Result<(), _> = pool.run(|| async { panic!("over there") }).await;
    /// let Err(JoinError::Panicked(panic)) = lost else {
    ///     unreachable!()
    /// };
    /// assert_eq!(panic.message().as_deref(), Some("over there"));
    /// # Ok(())
    /// # }
    /// ```
    #[derive(Debug, thiserror::Error)]
    #[non_exhaustive]
    pub enum JoinError {
        /// The work panicked: its closure, its future, or the destructor of its future.
        #[error("the work panicked on the other runtime: {0}")]
        Panicked(PanicPayload),
        /// The work was cancelled.
        #[error("the work was cancelled")]
        Cancelled,
        /// The pool or runtime that had the work went away before the work was done.
        #[error("the runtime that had the work went away")]
        RuntimeGone,
    }

    impl JoinError {
        pub(crate) fn panicked(payload: Box<dyn Any + Send>) -> Self {
            Self::Panicked(PanicPayload::new(payload))
        }

        /// Goes on with the panic of the work on this thread.
        ///
        /// # Errors
        ///
        /// Gives the error back if the work did not panic.
        ///
        /// # Panics
        ///
        /// With the payload of the work's panic, if it panicked. The panic hook is not called again.
        pub fn resume_unwind(self) -> Self {
            match self {
                Self::Panicked(panic) => std::panic::resume_unwind(panic.into_inner()),
                other => other,
            }
        }
    }

    impl From<JoinError> for io::Error {
        fn from(error: JoinError) -> Self {
            let kind = match error {
                JoinError::RuntimeGone => io::ErrorKind::BrokenPipe,
                // Not `Interrupted`: whoever sees that tries again.
                JoinError::Cancelled | JoinError::Panicked(_) => io::ErrorKind::Other,
            };
            Self::new(kind, error)
        }
    }

    /// What a panic was called with.
    ///
    /// A payload is `Send` but not `Sync`; it is kept behind a lock, so that an error that carries it
    /// is both, as error types of applications demand.
    pub struct PanicPayload(Mutex<Box<dyn Any + Send>>);

    impl PanicPayload {
        pub(crate) fn new(payload: Box<dyn Any + Send>) -> Self {
            Self(Mutex::new(payload))
        }

        /// The payload, for [`std::panic::resume_unwind`] or a downcast.
        pub fn into_inner(self) -> Box<dyn Any + Send> {
            self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
        }

        /// The message, if the panic had one: what `panic!` with a text makes.
        pub fn message(&self) -> Option<String> {
            let payload = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            text(&**payload).map(str::to_owned)
        }
    }

    impl fmt::Display for PanicPayload {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let message = self.message();
            f.write_str(message.as_deref().unwrap_or("a payload that is no text"))
        }
    }

    impl fmt::Debug for PanicPayload {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_tuple("PanicPayload")
                .field(&self.to_string())
                .finish()
        }
    }

    fn text(payload: &(dyn Any + Send)) -> Option<&str> {
        payload
            .downcast_ref::<&'static str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
    }

    /// Why work was not taken, with the closure.
    #[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
    pub enum TrySpawnError<F> {
        /// As much is in flight as the pool's `max_in_flight` allows.
        #[error("the pool has as much in flight as it may have")]
        Full(F),
        /// The pool or runtime takes no more work.
        #[error("the pool takes no more work")]
        Closed(F),
    }

    impl<F> TrySpawnError<F> {
        /// The closure that was not taken.
        pub fn into_inner(self) -> F {
            match self {
                Self::Full(work) | Self::Closed(work) => work,
            }
        }

        /// Whether a later attempt may succeed.
        pub fn is_full(&self) -> bool {
            matches!(self, Self::Full(_))
        }

        /// Whether the pool takes no more work at all.
        pub fn is_closed(&self) -> bool {
            matches!(self, Self::Closed(_))
        }
    }

    impl<F> fmt::Debug for TrySpawnError<F> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(match self {
                Self::Full(_) => "Full(..)",
                Self::Closed(_) => "Closed(..)",
            })
        }
    }

    /// The pool has no worker of that index.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
    #[error("there is no worker {index}: the pool has {workers}")]
    #[non_exhaustive]
    pub struct NoSuchWorker {
        /// What was asked for.
        pub index: usize,
        /// How many workers there are; indices are below it.
        pub workers: usize,
    }

    /// The calling thread runs no Compio runtime that landbridge knows.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
    #[error("this thread is not a worker of a pool, nor on an attached runtime")]
    #[non_exhaustive]
    pub struct NotOnWorker;

    /// Why there is no handle to a Compio runtime that is not a pool's.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
    #[non_exhaustive]
    pub enum AttachError {
        /// The caller is not in the context of a Compio runtime.
        #[error("not in the context of a Compio runtime")]
        NoRuntime,
        /// The thread is about to end, and drops what it has.
        #[error("the thread is about to end")]
        ThreadEnds,
    }

    /// Why a pool could not be built. No thread is left behind.
    #[derive(Debug, thiserror::Error)]
    #[non_exhaustive]
    pub enum BuildError {
        /// `threads(0)`: a pool without workers could run nothing.
        #[error("a pool needs at least one thread")]
        NoThreads,
        /// `max_in_flight(0)`: nothing could ever be in flight.
        #[error("at least one job must be allowed in flight")]
        NothingInFlight,
        /// The thread name has a NUL byte, which the operating system takes for its end.
        #[error("the thread name {0:?} has a NUL byte")]
        ThreadName(String),
        /// The operating system refused a thread.
        #[error("cannot start worker thread {worker}")]
        Thread {
            /// The index of the worker that could not be started.
            worker: usize,
            /// What the operating system said.
            source: io::Error,
        },
        /// No driver could be set up: for [`Driver::Auto`] none of them all, else the one asked for.
        #[error("cannot set up the I/O driver of worker {worker} ({driver:?})")]
        Driver {
            /// The index of the worker whose driver it is.
            worker: usize,
            /// What was asked for.
            driver: Driver,
            /// What the last attempt failed with.
            source: io::Error,
        },
    }

    impl From<BuildError> for io::Error {
        fn from(error: BuildError) -> Self {
            let kind = match &error {
                BuildError::NoThreads | BuildError::NothingInFlight | BuildError::ThreadName(_) => {
                    io::ErrorKind::InvalidInput
                }
                BuildError::Thread { source, .. } | BuildError::Driver { source, .. } => {
                    source.kind()
                }
            };
            Self::new(kind, error)
        }
    }
}
mod messages {
    use std::fmt;

    use thiserror::Error;

    // ---- channel ---------------------------------------------------------------------------------------

    /// The channel is closed; the value that was not sent.
    #[derive(Clone, Copy, Error, PartialEq, Eq)]
    #[error("the channel is closed")]
    pub struct SendError<T>(pub T);

    impl<T> fmt::Debug for SendError<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("SendError").finish_non_exhaustive()
        }
    }

    /// Why a value was not sent at once, with the value.
    #[derive(Clone, Copy, Error, PartialEq, Eq)]
    pub enum TrySendError<T> {
        /// There is no room at the moment.
        #[error("the channel is full")]
        Full(T),
        /// Nothing is received any more.
        #[error("the channel is closed")]
        Closed(T),
    }

    impl<T> TrySendError<T> {
        /// The value that was not sent.
        pub fn into_inner(self) -> T {
            match self {
                Self::Full(value) | Self::Closed(value) => value,
            }
        }

        /// Whether a later attempt may succeed.
        pub fn is_full(&self) -> bool {
            matches!(self, Self::Full(_))
        }

        /// Whether the channel is closed.
        pub fn is_closed(&self) -> bool {
            matches!(self, Self::Closed(_))
        }
    }

    impl<T> fmt::Debug for TrySendError<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(match self {
                Self::Full(_) => "Full(..)",
                Self::Closed(_) => "Closed(..)",
            })
        }
    }

    impl<T> From<SendError<T>> for TrySendError<T> {
        fn from(SendError(value): SendError<T>) -> Self {
            Self::Closed(value)
        }
    }

    /// Why no message was received at once.
    #[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
    pub enum TryRecvError {
        /// There is none at the moment.
        #[error("the channel is empty")]
        Empty,
        /// There will be none any more: the channel is closed, and what was sent has been received.
        #[error("the channel is closed and empty")]
        Closed,
    }
}
