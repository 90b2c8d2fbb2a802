//! Every public error of this crate.

#[cfg(feature = "pool")]
pub use crossing::{
    AttachError, BuildError, DefaultIsSet, HostError, JoinError, NoDefaultPool, NoSuchWorker,
    NotOnWorker, OnThreadError, PanicPayload, TokioGone, TrySpawnError,
};
#[cfg(all(feature = "fs", unix))]
pub use files::{CloseError, Misaligned};
#[cfg(feature = "pool")]
pub use handoff::{HandoffError, NotHandedOver};
pub use messages::{RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError};
#[cfg(all(feature = "net", unix))]
pub use nested::NestedBlockOn;
#[cfg(all(feature = "net", unix))]
pub use sockets::ReuniteError;
#[cfg(feature = "pool")]
pub use time::Elapsed;

#[cfg(feature = "pool")]
mod crossing {
    use std::{
        any::Any,
        fmt, io,
        sync::{Mutex, PoisonError},
    };

    use crate::pool::{Driver, Placement};

    /// Why a piece of work on the other runtime has no result.
    ///
    /// Converts into [`io::Error`], so that a function that returns `io::Result` can use `?` on both
    /// the crossing and what it brought back.
    ///
    /// The guide: [work on the other side](crate::guide::spawning).
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
        /// The work was to block a thread, and there is none for it: the pool was built with
        /// `blocking_threads(0)`, or the operating system refused its first such thread.
        #[error("the pool has no thread for work that blocks")]
        NoBlockingThreads,
        /// The hosted object was taken by [`Remote::finish`](crate::spawn::Remote::finish).
        #[error("the hosted object was taken by `finish`")]
        Finished,
    }

    /// What Compio's drivers panic with when an operation needs a blocking thread and may have none.
    const NEEDS_BLOCKING_THREAD: &str = "the thread pool is needed but no worker thread is running";

    impl JoinError {
        pub(crate) fn panicked(payload: Box<dyn Any + Send>) -> Self {
            // An operation of Compio's that a job tried: an error with a name, not somebody's mistake.
            if text(&*payload) == Some(NEEDS_BLOCKING_THREAD) {
                return Self::NoBlockingThreads;
            }
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
                JoinError::Cancelled
                | JoinError::Panicked(_)
                | JoinError::Finished
                | JoinError::NoBlockingThreads => io::ErrorKind::Other,
            };
            Self::new(kind, error)
        }
    }

    /// There is a default pool already; from [`CompioPool::set_default`](crate::CompioPool::set_default).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
    #[error("there is a default pool already")]
    #[non_exhaustive]
    pub struct DefaultIsSet;

    /// There is no default pool: [`CompioPool::set_default`](crate::CompioPool::set_default) was never
    /// called. Comes inside an [`io::Error`] from what needs one.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
    #[error("there is no default pool: call `CompioPool::set_default` first, or name a pool")]
    #[non_exhaustive]
    pub struct NoDefaultPool;

    impl From<NoDefaultPool> for io::Error {
        fn from(error: NoDefaultPool) -> Self {
            Self::other(error)
        }
    }

    /// Why there is no hosted object; from [`CompioPool::host`](crate::CompioPool::host).
    ///
    /// Converts into [`io::Error`] if the error of opening does: that error itself, then. `Infallible` does
    /// not; for an opening that cannot fail, take [`io::Error`] as its error.
    #[derive(Debug, thiserror::Error)]
    pub enum HostError<E> {
        /// Opening it failed.
        #[error("the object to be hosted could not be opened")]
        Open(#[source] E),
        /// Opening it did not come to an end.
        #[error("the object to be hosted was not opened")]
        Join(#[from] JoinError),
    }

    impl<E> From<HostError<E>> for io::Error
    where
        E: Into<Self>,
    {
        fn from(error: HostError<E>) -> Self {
            match error {
                HostError::Open(error) => error.into(),
                HostError::Join(error) => error.into(),
            }
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
    ///
    /// Converts into [`io::Error`], of the kind `WouldBlock` or `BrokenPipe`; the closure is dropped then,
    /// and what the error keeps is a `TrySpawnError<()>`.
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

    impl<F> From<TrySpawnError<F>> for io::Error {
        fn from(error: TrySpawnError<F>) -> Self {
            match error {
                TrySpawnError::Full(_) => {
                    Self::new(io::ErrorKind::WouldBlock, TrySpawnError::Full(()))
                }
                TrySpawnError::Closed(_) => {
                    Self::new(io::ErrorKind::BrokenPipe, TrySpawnError::Closed(()))
                }
            }
        }
    }

    /// The pool has no worker of that index.
    ///
    /// Converts into [`io::Error`], of the kind `InvalidInput`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
    #[error("there is no worker {index}: the pool has {workers}")]
    #[non_exhaustive]
    pub struct NoSuchWorker {
        /// What was asked for.
        pub index: usize,
        /// How many workers there are; indices are below it.
        pub workers: usize,
    }

    impl From<NoSuchWorker> for io::Error {
        fn from(error: NoSuchWorker) -> Self {
            Self::new(io::ErrorKind::InvalidInput, error)
        }
    }

    /// The calling thread runs no Compio runtime that landbridge knows.
    ///
    /// Converts into [`io::Error`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
    #[error("this thread is not a worker of a pool, nor on an attached runtime")]
    #[non_exhaustive]
    pub struct NotOnWorker;

    impl From<NotOnWorker> for io::Error {
        fn from(error: NotOnWorker) -> Self {
            Self::other(error)
        }
    }

    /// Why a value that stays on its thread cannot be used; from
    /// [`OnThread`](crate::context::OnThread).
    ///
    /// Converts into [`io::Error`].
    #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
    #[non_exhaustive]
    pub enum OnThreadError {
        /// This is not its thread.
        #[error("it stays on thread {home}, and this is thread {here}")]
        #[non_exhaustive]
        Elsewhere {
            /// The name, if it has one, and the id of its thread.
            home: String,
            /// The same of this one.
            here: String,
        },
        /// It was dropped with the worker, or the attached runtime, that it was made on, or with its thread.
        #[error("it is gone, with the runtime that it was made on")]
        Gone,
    }

    impl From<OnThreadError> for io::Error {
        fn from(error: OnThreadError) -> Self {
            Self::other(error)
        }
    }

    /// The Tokio runtime in whose context something waits is gone; from
    /// [`InTokio`](crate::context::InTokio).
    ///
    /// Converts into [`io::Error`], of the kind `BrokenPipe`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
    #[error("the Tokio runtime in whose context this is was shut down{}", if *.never_driven {
        "; no thread had driven it while something waited there"
    } else {
        ""
    })]
    #[non_exhaustive]
    pub struct TokioGone {
        /// It is a `current_thread` runtime, and no thread was in its `block_on` between the first time that
        /// something had to wait in its context and its end.
        pub never_driven: bool,
    }

    impl From<TokioGone> for io::Error {
        fn from(error: TokioGone) -> Self {
            Self::new(io::ErrorKind::BrokenPipe, error)
        }
    }

    /// Why there is no handle to a Compio runtime that is not a pool's.
    ///
    /// Converts into [`io::Error`].
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

    impl From<AttachError> for io::Error {
        fn from(error: AttachError) -> Self {
            Self::other(error)
        }
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
        /// `Placement::Cores` without a core.
        #[error("a placement on chosen cores needs at least one core")]
        NoCores,
        /// `Placement::Cores` names a CPU that does not exist, or that this process may not use.
        #[error("core {core} does not exist, or this process may not use it")]
        CoreUnavailable {
            /// The first such core of the list.
            core: usize,
        },
        /// This platform does not let a thread be bound to a CPU.
        #[error("this platform does not have the placement {0:?}")]
        PlacementUnsupported(Placement),
        /// The operating system does not say which CPUs this process may use.
        #[error("cannot find out which cores this process may use")]
        Affinity {
            /// What the operating system said.
            source: io::Error,
        },
        /// The operating system refused a worker its CPU.
        #[error("cannot bind worker thread {worker} to core {core}")]
        Pin {
            /// The index of the worker.
            worker: usize,
            /// The core that it was to stay on.
            core: usize,
            /// What the operating system said.
            source: io::Error,
        },
        /// The operating system refused a thread.
        #[error("cannot start worker thread {worker}")]
        Thread {
            /// The index of the worker that could not be started.
            worker: usize,
            /// What the operating system said.
            source: io::Error,
        },
        /// No thread can have a stack of so many bytes.
        #[error("a stack of {0} bytes is more than there can be")]
        StackSize(usize),
        /// The closure given to `on_thread_start` panicked.
        #[error("the start hook of worker thread {worker} panicked: {panic}")]
        ThreadStart {
            /// The index of the worker; of several, the lowest.
            worker: usize,
            /// What it panicked with.
            panic: PanicPayload,
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
                BuildError::NoThreads
                | BuildError::NothingInFlight
                | BuildError::ThreadName(_)
                | BuildError::NoCores
                | BuildError::StackSize(_)
                | BuildError::CoreUnavailable { .. } => io::ErrorKind::InvalidInput,
                BuildError::ThreadStart { .. } => io::ErrorKind::Other,
                BuildError::PlacementUnsupported(_) => io::ErrorKind::Unsupported,
                BuildError::Affinity { source }
                | BuildError::Pin { source, .. }
                | BuildError::Thread { source, .. }
                | BuildError::Driver { source, .. } => source.kind(),
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

    #[cfg(feature = "pool")]
    impl<T> TrySendError<T> {
        /// What it means to whoever has waited until his time was up.
        pub(crate) fn after_waiting(self) -> SendTimeoutError<T> {
            match self {
                Self::Full(value) => SendTimeoutError::Timeout(value),
                Self::Closed(value) => SendTimeoutError::Closed(value),
            }
        }
    }

    /// Why a value was not sent in time, with the value.
    #[derive(Clone, Copy, Error, PartialEq, Eq)]
    pub enum SendTimeoutError<T> {
        /// There was no room until the time was up.
        #[error("the channel stayed full until the time was up")]
        Timeout(T),
        /// Nothing is received any more.
        #[error("the channel is closed")]
        Closed(T),
    }

    impl<T> SendTimeoutError<T> {
        /// The value that was not sent.
        pub fn into_inner(self) -> T {
            match self {
                Self::Timeout(value) | Self::Closed(value) => value,
            }
        }
    }

    impl<T> fmt::Debug for SendTimeoutError<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(match self {
                Self::Timeout(_) => "Timeout(..)",
                Self::Closed(_) => "Closed(..)",
            })
        }
    }

    impl<T> From<SendError<T>> for SendTimeoutError<T> {
        fn from(SendError(value): SendError<T>) -> Self {
            Self::Closed(value)
        }
    }

    /// Why no message was received in time.
    #[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
    pub enum RecvTimeoutError {
        /// None came until the time was up.
        #[error("the channel stayed empty until the time was up")]
        Timeout,
        /// There will be none any more: the channel is closed, and what was sent has been received.
        #[error("the channel is closed and empty")]
        Closed,
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

    #[cfg(feature = "pool")]
    impl TryRecvError {
        /// What it means to whoever has waited until his time was up.
        pub(crate) fn after_waiting(self) -> RecvTimeoutError {
            match self {
                Self::Empty => RecvTimeoutError::Timeout,
                Self::Closed => RecvTimeoutError::Closed,
            }
        }
    }
}

#[cfg(feature = "pool")]
mod time {
    use std::io;

    /// The time is up; from [`time::timeout`](crate::time::timeout()).
    ///
    /// Converts into [`io::Error`], of the kind [`TimedOut`](io::ErrorKind::TimedOut).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
    #[error("deadline has elapsed")]
    pub struct Elapsed(());

    impl Elapsed {
        pub(crate) fn new() -> Self {
            Self(())
        }
    }

    impl From<Elapsed> for io::Error {
        fn from(elapsed: Elapsed) -> Self {
            Self::new(io::ErrorKind::TimedOut, elapsed)
        }
    }
}

#[cfg(all(feature = "fs", unix))]
mod files {
    use std::io;

    use crate::fs::File;

    /// Why a file is not closed, or was not closed without loss; from [`File::close`].
    #[derive(Debug, thiserror::Error)]
    #[non_exhaustive]
    pub enum CloseError {
        /// It has clones, so it stays open. Here it is back.
        #[error("the file has clones, which keep it open")]
        Shared(File),
        /// The descriptor is closed, but something that was written may be lost.
        #[error(transparent)]
        Io(#[from] io::Error),
    }

    /// What direct I/O was asked for is not aligned as the file system wants it. Comes inside an
    /// [`io::Error`] of kind [`InvalidInput`](io::ErrorKind::InvalidInput). Everything in bytes.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
    #[non_exhaustive]
    pub enum Misaligned {
        /// The position in the file.
        #[error(
            "direct I/O on this file wants positions that are multiples of {alignment} bytes, and \
             {position} is not"
        )]
        #[non_exhaustive]
        Position {
            /// It.
            position: u64,
            /// What it must be a multiple of.
            alignment: usize,
        },
        /// The length of a buffer, or of one of several.
        #[error(
            "direct I/O on this file wants buffers whose lengths are multiples of {alignment} bytes, and \
             {length} is not"
        )]
        #[non_exhaustive]
        Length {
            /// It.
            length: usize,
            /// What it must be a multiple of.
            alignment: usize,
        },
        /// The address of a buffer.
        #[error(
            "direct I/O on this file wants buffers at addresses that are multiples of {alignment} bytes, as \
             those of an `AlignedBuf` are"
        )]
        #[non_exhaustive]
        Buffer {
            /// What it must be a multiple of.
            alignment: usize,
        },
    }

    impl From<Misaligned> for io::Error {
        fn from(error: Misaligned) -> Self {
            Self::new(io::ErrorKind::InvalidInput, error)
        }
    }

    impl From<CloseError> for io::Error {
        fn from(error: CloseError) -> Self {
            match error {
                CloseError::Shared(_) => Self::new(io::ErrorKind::ResourceBusy, error.to_string()),
                CloseError::Io(error) => error,
            }
        }
    }
}

#[cfg(feature = "pool")]
mod handoff {
    use std::{error, fmt, io};

    /// Why an object was not handed over, with the object, which can be used as before; from
    /// [`landbridge::handoff`](crate::handoff).
    ///
    /// Converts into [`io::Error`]; the object is dropped then.
    pub struct HandoffError<S> {
        error: io::Error,
        object: S,
    }

    impl<S> HandoffError<S> {
        #[cfg_attr(
            not(any(feature = "net", all(feature = "fs", unix))),
            expect(dead_code, reason = "nothing to hand over")
        )]
        pub(crate) const fn new(error: io::Error, object: S) -> Self {
            Self { error, object }
        }

        /// What went wrong. [`NotHandedOver`] is inside, if it was not the operating system or the runtime
        /// that refused.
        #[must_use]
        pub const fn error(&self) -> &io::Error {
            &self.error
        }

        /// The kind of what went wrong.
        #[must_use]
        pub fn kind(&self) -> io::ErrorKind {
            self.error.kind()
        }

        /// Why, if it was neither the operating system nor the runtime that refused.
        #[must_use]
        pub fn reason(&self) -> Option<NotHandedOver> {
            self.error.get_ref()?.downcast_ref().copied()
        }

        /// The object.
        #[must_use]
        pub fn into_object(self) -> S {
            self.object
        }

        /// What went wrong, and the object.
        #[must_use]
        pub fn into_parts(self) -> (io::Error, S) {
            (self.error, self.object)
        }
    }

    impl<S> From<HandoffError<S>> for io::Error {
        fn from(error: HandoffError<S>) -> Self {
            error.error
        }
    }

    impl<S> fmt::Debug for HandoffError<S> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("HandoffError")
                .field("error", &self.error)
                .finish_non_exhaustive()
        }
    }

    impl<S> fmt::Display for HandoffError<S> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "not handed over: {}", self.error)
        }
    }

    impl<S> error::Error for HandoffError<S> {
        fn source(&self) -> Option<&(dyn error::Error + 'static)> {
            Some(&self.error)
        }
    }

    /// What stood against a hand-off. Comes inside the [`io::Error`] of a [`HandoffError`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
    #[non_exhaustive]
    pub enum NotHandedOver {
        /// A clone uses the object, or an operation does that the kernel has not given back yet.
        #[error("a clone or an operation in flight still uses it")]
        InUse,
        /// It was to go to Compio, and this is not within a Compio runtime.
        #[error("there is no Compio runtime here")]
        NoCompio,
        /// It was to go to Tokio, or is a file of Tokio's, and this is not within Tokio's context.
        #[error("there is no Tokio runtime in whose context this is")]
        NoTokio,
        /// It was to go to a Tokio runtime that was built without `enable_io`.
        #[error("the I/O of the Tokio runtime in whose context this is is not enabled")]
        NoTokioIo,
        /// It is a file of Tokio's that has no position, such as a FIFO: what was read ahead for a read that
        /// was dropped could neither be given back nor be seen.
        #[error(
            "what Tokio may have read ahead of it cannot be given back, since it has no cursor"
        )]
        NoCursor,
        /// It belongs to a completion port, which keeps what it has.
        #[error("it belongs to a completion port for good")]
        Bound,
    }

    impl From<NotHandedOver> for io::Error {
        fn from(error: NotHandedOver) -> Self {
            let kind = match error {
                NotHandedOver::InUse => io::ErrorKind::ResourceBusy,
                NotHandedOver::NoCursor | NotHandedOver::Bound => io::ErrorKind::Unsupported,
                NotHandedOver::NoCompio | NotHandedOver::NoTokio | NotHandedOver::NoTokioIo => {
                    io::ErrorKind::Other
                }
            };
            Self::new(kind, error)
        }
    }
}

#[cfg(all(feature = "net", unix))]
mod sockets {
    use crate::remote::{OwnedReadHalf, OwnedWriteHalf, Stream};

    /// The halves are of different streams; here they are back. From
    /// [`OwnedReadHalf::reunite`](crate::remote::OwnedReadHalf::reunite).
    #[derive(Debug, thiserror::Error)]
    #[error("the halves are of different streams")]
    pub struct ReuniteError<S: Stream>(pub OwnedReadHalf<S>, pub OwnedWriteHalf<S>);
}

#[cfg(all(feature = "net", unix))]
mod nested {
    use std::fmt;

    /// A runtime was to be driven where one is being driven already; here is the future back. From
    /// [`DualRuntime::try_block_on`](crate::context::DualRuntime::try_block_on).
    #[derive(thiserror::Error)]
    #[error("`block_on` of a `DualRuntime` was called where this thread drives a runtime already")]
    pub struct NestedBlockOn<F>(pub F);

    impl<F> fmt::Debug for NestedBlockOn<F> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("NestedBlockOn(..)")
        }
    }
}
