//! One thread, both runtimes.

mod alarm;
mod builder;
mod descriptor;
mod turn;

use std::{cell::Cell, fmt, future::Future, io, panic::resume_unwind, rc::Rc, thread};

use compio::runtime::Runtime;
use tokio::runtime::Handle;

pub use builder::DualBuilder;
use turn::{Here, Turns, here};
pub(crate) use turn::{is_here, make_way};

use super::{in_tokio::with_if_possible, with};
use crate::{
    CompioHandle,
    error::NestedBlockOn,
    pool::{local, wait_until_quiet},
    rt::{self, LocalJoinHandle},
    unwind::{catch, discard, swallow},
};

/// A Tokio runtime of the flavour `current_thread` and a Compio runtime, on one thread: what runs here may use both.
///
/// For a program, or a thread of one, that needs the one's libraries and the other's I/O and nothing of the two to
/// cross threads. Sockets, timers and tasks of both work side by side, in one future too.
///
/// The guide: [contexts](crate::guide::contexts).
///
/// # Where it runs
///
/// On the thread that calls [`block_on`](Self::block_on), while that is in it; the runtime itself stays on the thread
/// that has built it. Everything that is polled there is in the context of both runtimes, whoever has started it:
///
/// | started with | it is a task of | at the end of the runtime |
/// |---|---|---|
/// | [`DualRuntime::spawn_local`], [`rt::spawn_local`] | the runtime's own, as on an [attached](CompioHandle::attach) one | dropped, who waits gets [`RuntimeGone`](crate::error::JoinError::RuntimeGone) |
/// | `compio::runtime::spawn` | Compio's | dropped |
/// | `tokio::spawn`, and in a `LocalSet` `tokio::task::spawn_local` | Tokio's | dropped, who waits gets Tokio's `JoinError` |
/// | [`handle`](Self::handle), from any thread | as the first | as the first |
///
/// The first are the ones to take: what may be said of jobs on a pool holds for them, panics and wake-ups from
/// other threads included. What works with either runtime ([`landbridge::time`](crate::time), and
/// [`rt`](crate::rt)) takes Compio here, since Compio's context is set. A future of Compio's is not `Send`, so for
/// `tokio::spawn` it has to be put into [`OnThread`](super::OnThread).
///
/// # Whose turn it is
///
/// The thread sleeps in Tokio's driver, which Compio's wakes. Before it sleeps Compio's side has its turn, however
/// busy Tokio was; when both have something to do all the time, it is by turns of
/// [`event_interval`](DualBuilder::event_interval) polls. Only what nothing tells waits longer: an operation or timer
/// of Compio's that a task of Tokio's starts, and a task of the runtime's own that it wakes, while Tokio always has
/// something else to do, is begun after two milliseconds and the `event_interval` polls after which Tokio looks at its
/// timers. Compio's timers go off as exactly as Tokio's, in whole
/// milliseconds.
///
/// Tokio makes its tasks yield when they have done much without waiting (its budget). That holds for the future
/// given to `block_on` and for Tokio's tasks; those of Compio's and the runtime's own yield when they wait.
///
/// Tokio's clock, if it is paused (`tokio::time::pause`), is not Compio's: while one of Compio's timers is set, the
/// thread does not sleep, and Tokio's clock runs ahead; it does so by a millisecond or two at each sleep of the thread,
/// too. And since a paused clock stands still while Tokio has something to run, Compio's timers do not go off then: a
/// test with a paused clock has to wait for them, not to yield in a loop.
///
/// # The end
///
/// Dropping it drops every task, in the context of both, and waits for closures that Tokio's blocking threads are
/// running, as dropping a Tokio runtime does (not in the context of a runtime, where nothing may wait), and until the kernel is done with what was in flight, as a pool's worker
/// does: ten seconds at most, then the driver is leaked with the buffers.
///
/// # Examples
///
/// ```
/// use compio::io::AsyncReadExt as _;
/// use landbridge::context::DualRuntime;
/// use tokio::io::AsyncWriteExt as _;
///
/// let dual = DualRuntime::new()?;
/// let text = dual.block_on(async {
///     // A listener of Compio's, a client of Tokio's.
///     let listener = compio::net::TcpListener::bind("127.0.0.1:0").await?;
///     let address = listener.local_addr()?;
///     let client = tokio::spawn(async move {
///         let mut stream = tokio::net::TcpStream::connect(address).await?;
///         stream.write_all(b"bridge").await
///     });
///     let (mut stream, _) = listener.accept().await?;
///     let compio::BufResult(read, text) = stream.read_exact([0; 6]).await;
///     read?;
///     client.await??;
///     std::io::Result::Ok(text)
/// })?;
/// assert_eq!(&text, b"bridge");
/// # std::io::Result::Ok(())
/// ```
pub struct DualRuntime {
    // Both are there until it is dropped.
    tokio: Option<tokio::runtime::Runtime>,
    turns: Option<Rc<Turns>>,
}

const THERE: &str = "the runtime is there until it is dropped";

impl DualRuntime {
    /// Sets both runtimes up, with the best driver there is for Compio.
    ///
    /// # Errors
    ///
    /// What the operating system says, if it refuses.
    pub fn new() -> io::Result<Self> {
        Self::builder().build()
    }

    /// Sets both runtimes up as one likes.
    pub fn builder() -> DualBuilder {
        DualBuilder::new()
    }

    fn from_parts(tokio: tokio::runtime::Runtime, turns: Rc<Turns>) -> Self {
        Self {
            tokio: Some(tokio),
            turns: Some(turns),
        }
    }

    fn tokio(&self) -> &tokio::runtime::Runtime {
        self.tokio.as_ref().expect(THERE)
    }

    fn turns(&self) -> &Rc<Turns> {
        self.turns.as_ref().expect(THERE)
    }

    /// Drives both runtimes until `future` is ready, and returns its output.
    ///
    /// Tasks that are not done go on at the next call.
    ///
    /// # Panics
    ///
    /// When `future` does, and where a runtime is driven on this thread already:
    /// [`try_block_on`](Self::try_block_on) returns an error there.
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        match self.try_block_on(future) {
            Ok(output) => output,
            Err(nested) => panic!("{nested}"),
        }
    }

    /// Drives both runtimes until `future` is ready, unless this thread drives a runtime already.
    ///
    /// # Errors
    ///
    /// [`NestedBlockOn`] with the future, when called where this thread drives a runtime: in the context of a Compio
    /// runtime, in `block_on` of a `DualRuntime` or of a Tokio runtime, and in a task of Tokio's. (Only Tokio knows
    /// whether its context is one that may not block, and says so by a panic, which is caught: the panic hook reports
    /// it, and a program that aborts on a panic does.)
    ///
    /// # Panics
    ///
    /// When `future` does, and when a waker does that Compio's driver has called. Tasks are not affected, and the
    /// runtime may be driven again; except that Compio, after the latter, may not have woken others for what happened
    /// at that moment: a task of Compio's own for its timer, and with the polling driver anyone for his operation. (The
    /// runtime's own tasks look again.)
    ///
    /// # Examples
    ///
    /// ```
    /// use landbridge::context::DualRuntime;
    ///
    /// let (outer, inner) = (DualRuntime::new()?, DualRuntime::new()?);
    /// let refused = outer.block_on(async { inner.try_block_on(async { 42 }) });
    /// let future = refused.unwrap_err().0;
    /// assert_eq!(inner.block_on(future), 42);
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn try_block_on<F: Future>(&self, future: F) -> Result<F::Output, NestedBlockOn<F>> {
        if drives_compio() {
            return Err(NestedBlockOn(future));
        }
        let turns = self.turns();
        let future = Cell::new(Some(future));
        let driven = {
            let _jobs = turns.jobs.enter();
            let _here = Here::enter(Rc::clone(turns));
            let root = async {
                let future = future.take().expect("an `async` block runs once");
                turns.drive(future).await
            };
            turns.compio.enter(|| catch(|| self.tokio().block_on(root)))
        };
        match (driven, future.into_inner()) {
            (Ok(output), _) => Ok(output),
            (Err(refusal), Some(future)) => {
                discard(refusal);
                Err(NestedBlockOn(future))
            }
            (Err(panic), None) => resume_unwind(panic),
        }
    }

    /// Calls `f` in the context of both runtimes, without driving them: for what has to be made there.
    pub fn enter<R>(&self, f: impl FnOnce() -> R) -> R {
        let turns = self.turns();
        let _jobs = turns.jobs.enter();
        turns.compio.enter(|| with(self.tokio().handle(), f))
    }

    /// Starts `future` on this runtime; it goes on by itself, while the runtime is driven.
    ///
    /// Neither the future nor its output need be `Send`. In what runs here already,
    /// [`rt::spawn_local`] does the same.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use landbridge::context::DualRuntime;
    ///
    /// let dual = DualRuntime::new()?;
    /// let task = dual.spawn_local(async {
    ///     tokio::time::sleep(Duration::from_millis(1)).await;
    ///     compio::fs::read("Cargo.toml").await
    /// });
    /// assert!(!dual.block_on(task).unwrap()?.is_empty());
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn spawn_local<F>(&self, future: F) -> LocalJoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let turns = self.turns();
        let _jobs = turns.jobs.enter();
        turns.compio.enter(|| rt::spawn_local(future))
    }

    /// A handle with which any thread gives this one work.
    ///
    /// What is said of [attached](CompioHandle::attach) runtimes holds: while nobody drives this one, callers wait.
    #[must_use]
    pub fn handle(&self) -> CompioHandle {
        self.turns().jobs.handle()
    }

    /// The handle of the Tokio runtime. One task there is the runtime's own.
    #[must_use]
    pub fn tokio_handle(&self) -> &Handle {
        self.tokio().handle()
    }
}

/// Whether this thread drives a Compio runtime, as a `DualRuntime` does.
fn drives_compio() -> bool {
    here().is_some() || local().is_some() || Runtime::try_with_current(|_| ()).is_ok()
}

impl Drop for DualRuntime {
    fn drop(&mut self) {
        let (Some(tokio), Some(turns)) = (self.tokio.take(), self.turns.take()) else {
            return;
        };
        let handle = tokio.handle().clone();
        let compio = turns.compio.clone();
        // In the context of a Tokio runtime that may or may not be one that blocks.
        let nested = drives_compio() || Handle::try_current().is_ok();
        let ended = {
            let _jobs = turns.jobs.enter();
            compio.enter(|| {
                swallow(|| with_if_possible(&handle, || turns.jobs.end(&compio)));
                catch(|| {
                    if nested {
                        // To wait would be to block a runtime.
                        tokio.shutdown_background();
                    } else {
                        drop(tokio);
                    }
                })
            })
        };
        let is_quiet = compio.enter(|| wait_until_quiet(&compio));
        // Takes the descriptor out of Tokio's driver.
        swallow(|| drop(turns));
        if is_quiet {
            swallow(|| with_if_possible(&handle, || drop(compio)));
        } else {
            std::mem::forget(compio);
        }
        match ended {
            Ok(()) => {}
            Err(panic) if thread::panicking() => discard(panic),
            Err(panic) => resume_unwind(panic),
        }
    }
}

impl fmt::Debug for DualRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DualRuntime").finish_non_exhaustive()
    }
}
