//! A task of a worker, whatever its type.
//!
//! `async_task` puts a task's state, future and waker in one allocation, and lets its user put
//! *metadata* there too. Ours begins with a [`Header`]: the link that the inbox needs, the worker
//! that the task belongs to, and how to get back to the typed `Runnable`. A [`Job`] is one pointer to
//! that header and owns the task's `Runnable`, so that queues of jobs allocate nothing.

#![expect(
    unsafe_code,
    reason = "one queue holds runnables of every type, as a pointer and a table of functions"
)]

use std::{fmt, mem::ManuallyDrop, panic::Location, ptr, ptr::NonNull, sync::Arc, task::Waker};

use async_task::Runnable;

use super::{inbox::Node, random, worker::Shared};
use crate::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, Ordering};

/// The task's future may exist: from here on the task is polled and dropped on its worker only.
/// Set by the worker at the first poll, or at birth for a task that was made on the worker.
const STARTED: u8 = 1;
/// Somebody asked for the task's cancellation. Never cleared.
const CANCELLED: u8 = 1 << 1;
/// The task has a place in its pool's [`Admission`](super::admission::Admission), to be given back at
/// its end. Set before the task is queued for its worker, if the pool counts at all.
const ADMITTED: u8 = 1 << 2;
/// The task is this crate's own, made for something of the user's: nobody waits for it, and it is over
/// soon after that is gone.
const BACKGROUND: u8 = 1 << 3;
/// The task is this crate's own, and waits for something on behalf of whoever asks, for as long as its
/// worker lives: it is in flight for nobody, and is dropped with the worker.
const RESIDENT: u8 = 1 << 4;

/// Of so many jobs the times of one are measured, by chance. That takes three readings of the clock, each
/// a twentieth of all that a crossing costs. By chance, because bursts have a period too.
const SAMPLED: u32 = 16;
/// In [`Header::since`]: another thread than its worker made the task.
const CROSSES: u64 = 1;
/// In [`Header::since`]: the task's times are measured.
const MEASURED: u64 = 1 << 1;

/// What every task's metadata begins with.
pub(crate) struct Header {
    next: AtomicPtr<Header>,
    /// `Runnable::into_raw` of this task; the same at every call. Null until the first job.
    runnable: AtomicPtr<()>,
    table: &'static Table,
    flags: AtomicU8,
    /// Since when the task has been queued, if that is measured, and once it is started since when it
    /// runs: by its worker's clock, above two flags. Written by who queues it, then by the worker.
    since: AtomicU64,
    home: Arc<Shared>,
    /// Where the user's code asked for the task.
    origin: &'static Location<'static>,
}

/// The operations of a job that depend on the type of its task.
struct Table {
    run: unsafe fn(NonNull<()>),
    waker: unsafe fn(NonNull<()>) -> Waker,
    drop: unsafe fn(NonNull<()>),
    abandon: unsafe fn(NonNull<()>),
}

/// A task's metadata.
///
/// # Safety
///
/// `header` returns a reference into `self`, the same at every call.
pub(crate) unsafe trait Metadata: Send + Sync + 'static {
    fn header(&self) -> &Header;

    /// Tells the one who waits that the worker is gone. The future is not touched.
    fn abandon(&self);
}

// SAFETY: `next` is a field; only `Inbox` uses it.
unsafe impl Node for Header {
    fn next(&self) -> &AtomicPtr<Self> {
        &self.next
    }
}

impl Header {
    pub(crate) fn new<M: Metadata>(
        home: Arc<Shared>,
        crosses: bool,
        origin: &'static Location<'static>,
    ) -> Self {
        Self {
            next: AtomicPtr::new(ptr::null_mut()),
            runnable: AtomicPtr::new(ptr::null_mut()),
            table: const {
                &Table {
                    run: run::<M>,
                    waker: waker::<M>,
                    drop: drop_runnable::<M>,
                    abandon: abandon::<M>,
                }
            },
            flags: AtomicU8::new(0),
            since: AtomicU64::new(if crosses { CROSSES } else { 0 }),
            home,
            origin,
        }
    }

    pub(crate) fn home(&self) -> &Arc<Shared> {
        &self.home
    }

    pub(crate) fn set_started(&self) {
        self.flags.fetch_or(STARTED, Ordering::Relaxed);
    }

    pub(crate) fn is_started(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & STARTED != 0
    }

    /// Where the user's code asked for the task.
    pub(crate) fn origin(&self) -> &'static Location<'static> {
        self.origin
    }

    /// Before the task is queued, by who queues it.
    pub(crate) fn set_queued(&self) {
        if random().is_multiple_of(SAMPLED) {
            self.set_since(self.home.clock().now(), true);
        }
    }

    /// By the worker, when it starts the task: how long that was queued, if its times are measured.
    pub(crate) fn starts(&self) -> Option<u64> {
        let clock = self.home.clock();
        let measured = self.is_measured();
        let now = if measured { clock.read() } else { clock.last() };
        let queued = now.saturating_sub(self.since());
        self.set_since(now, measured);
        measured.then_some(queued)
    }

    /// By the worker, when the task has ended: how long that took, if its times are measured.
    pub(crate) fn ends(&self) -> Option<u64> {
        let clock = self.home.clock();
        self.is_measured().then(|| clock.read() - self.since())
    }

    /// Since when the task runs, once it is started. If its times are not measured, the worker's last
    /// reading before that.
    pub(crate) fn since(&self) -> u64 {
        self.since.load(Ordering::Relaxed) >> 2
    }

    fn is_measured(&self) -> bool {
        self.since.load(Ordering::Relaxed) & MEASURED != 0
    }

    /// Whether another thread than its worker made it.
    pub(crate) fn crosses(&self) -> bool {
        self.since.load(Ordering::Relaxed) & CROSSES != 0
    }

    fn set_since(&self, now: u64, measured: bool) {
        let flags = if measured { MEASURED } else { 0 };
        let crosses = self.since.load(Ordering::Relaxed) & CROSSES;
        self.since
            .store(now << 2 | flags | crosses, Ordering::Relaxed);
    }

    /// Before the task is queued, by who queues it.
    pub(crate) fn set_admitted(&self) {
        self.flags.fetch_or(ADMITTED, Ordering::Relaxed);
    }

    /// Before the task is queued.
    pub(crate) fn set_background(&self) {
        self.flags.fetch_or(BACKGROUND, Ordering::Relaxed);
    }

    pub(crate) fn is_background(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & BACKGROUND != 0
    }

    /// Before the task is queued. It is in the background, too.
    pub(crate) fn set_resident(&self) {
        self.flags
            .fetch_or(RESIDENT | BACKGROUND, Ordering::Relaxed);
    }

    pub(crate) fn is_resident(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & RESIDENT != 0
    }

    /// Takes the task's place in its pool's admission away; whether there was one, to be given back.
    pub(crate) fn take_admitted(&self) -> bool {
        self.is_admitted() && self.flags.fetch_and(!ADMITTED, Ordering::Relaxed) & ADMITTED != 0
    }

    /// Whether the task has a place in its pool's admission.
    pub(crate) fn is_admitted(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & ADMITTED != 0
    }

    /// The caller wakes the task afterwards; that orders the flag before the poll that looks at it.
    pub(crate) fn set_cancelled(&self) {
        self.flags.fetch_or(CANCELLED, Ordering::Release);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.flags.load(Ordering::Acquire) & CANCELLED != 0
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header")
            .field("started", &self.is_started())
            .field("cancelled", &self.is_cancelled())
            .field("origin", &format_args!("{}", self.origin))
            .finish_non_exhaustive()
    }
}

/// Owns the `Runnable` of one task.
///
/// Dropping it drops the task's future: on its worker, or anywhere while it has not been started.
pub(crate) struct Job(NonNull<Header>);

// SAFETY: a job is a `Runnable<M>` with `M: Metadata`, so `Send + Sync`; `async_task` makes that
// runnable `Send`. That the future in it may not be is what `Header::is_started` is for: see
// `spawn::task`, which is where tasks are made.
unsafe impl Send for Job {}

impl Job {
    pub(crate) fn new<M: Metadata>(runnable: Runnable<M>) -> Self {
        let header = NonNull::from(runnable.metadata().header());
        let raw = runnable.into_raw();
        let job = Self(header);
        job.header().runnable.store(raw.as_ptr(), Ordering::Relaxed);
        job
    }

    /// The pointer that an [`Inbox`](super::inbox::Inbox) holds; [`from_node`](Self::from_node) makes
    /// it a job again.
    pub(crate) fn into_node(self) -> NonNull<Header> {
        ManuallyDrop::new(self).0
    }

    /// # Safety
    ///
    /// `node` is from [`into_node`](Self::into_node), and this is the only job made of it since.
    pub(crate) unsafe fn from_node(node: NonNull<Header>) -> Self {
        Self(node)
    }

    pub(crate) fn header(&self) -> &Header {
        // SAFETY: the header is in the task's allocation, which the runnable that this job owns
        // keeps alive.
        unsafe { self.0.as_ref() }
    }

    /// Polls the task once. Only its worker calls it.
    pub(crate) fn run(self) {
        let run = self.header().table.run;
        let raw = self.into_raw();
        // SAFETY: the table and the runnable are of the same task (`new`), and `into_raw` has made
        // this call the runnable's only owner.
        unsafe { run(raw) }
    }

    /// A hold on the task for those who do not run it.
    pub(crate) fn hold(&self) -> Hold {
        let waker = self.header().table.waker;
        Hold {
            header: self.0,
            // SAFETY: as in `run`; the runnable stays this job's.
            waker: unsafe { waker(self.raw()) },
        }
    }

    /// Whether this is the job of the task that `hold` holds.
    pub(crate) fn is_of(&self, hold: &Hold) -> bool {
        self.0 == hold.header
    }

    /// Drops the job where it is, if its future was never started; else tells the one who waits, and
    /// leaks it: this is not its worker. Returns whether it was leaked.
    pub(crate) fn discard(self) -> bool {
        let leak = self.header().is_started();
        if leak {
            let abandon = self.header().table.abandon;
            let raw = self.into_raw();
            // SAFETY: as in `run`.
            unsafe { abandon(raw) }
        }
        leak
    }

    fn into_raw(self) -> NonNull<()> {
        let raw = self.raw();
        std::mem::forget(self);
        raw
    }

    fn raw(&self) -> NonNull<()> {
        NonNull::new(self.header().runnable.load(Ordering::Relaxed))
            .expect("a job is made of a runnable")
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let drop = self.header().table.drop;
        let raw = self.raw();
        // SAFETY: as in `run`; this job is not used again.
        unsafe { drop(raw) }
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Job").field(self.header()).finish()
    }
}

/// A task's header and waker: keeps the task's memory, and its future until it is finished.
#[derive(Clone)]
pub(crate) struct Hold {
    header: NonNull<Header>,
    waker: Waker,
}

// SAFETY: a header is `Send + Sync`, all its fields being so, and a waker is; the pointer is only ever
// read through (`header`).
unsafe impl Send for Hold {}
// SAFETY: as above.
unsafe impl Sync for Hold {}

impl Hold {
    /// Of a task that is being polled with `waker`, which must be the task's own.
    ///
    /// # Safety
    ///
    /// `header` is in the metadata of the very task that `waker` wakes.
    pub(crate) unsafe fn new(header: &Header, waker: Waker) -> Self {
        Self {
            header: NonNull::from(header),
            waker,
        }
    }

    pub(crate) fn header(&self) -> &Header {
        // SAFETY: the header is in the task's allocation, which the task's waker keeps alive (`new`,
        // `Job::hold`).
        unsafe { self.header.as_ref() }
    }

    /// Has the task see that it was cancelled; does not wait for that.
    pub(crate) fn cancel(&self) {
        self.header().set_cancelled();
        self.wake();
    }

    pub(crate) fn wake(&self) {
        self.waker.wake_by_ref();
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hold").field(self.header()).finish()
    }
}

/// # Safety
///
/// For this and those below: `raw` is from `Runnable::<M>::into_raw` and owned by the caller.
unsafe fn run<M: Metadata>(raw: NonNull<()>) {
    // SAFETY: this function's contract.
    let runnable = unsafe { Runnable::<M>::from_raw(raw) };
    runnable.run();
}

/// # Safety
///
/// See [`run`]; it stays the caller's.
unsafe fn waker<M: Metadata>(raw: NonNull<()>) -> Waker {
    // SAFETY: this function's contract; the guard keeps the second owner from being dropped.
    let runnable = ManuallyDrop::new(unsafe { Runnable::<M>::from_raw(raw) });
    runnable.waker()
}

/// # Safety
///
/// See [`run`].
unsafe fn drop_runnable<M: Metadata>(raw: NonNull<()>) {
    // SAFETY: this function's contract.
    drop(unsafe { Runnable::<M>::from_raw(raw) });
}

/// # Safety
///
/// See [`run`].
unsafe fn abandon<M: Metadata>(raw: NonNull<()>) {
    // SAFETY: this function's contract.
    let runnable = unsafe { Runnable::<M>::from_raw(raw) };
    runnable.metadata().abandon();
    std::mem::forget(runnable);
}
