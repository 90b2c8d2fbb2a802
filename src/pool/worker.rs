//! One thread of a pool: its loop, and what others may do to it.
//!
//! The loop drives Compio's runtime through its public low-level calls rather than `block_on`, so
//! that it owns the moment of going to sleep: only then is the worker marked asleep, and only then
//! does a producer pay for a wake-up.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    mem::{self, ManuallyDrop},
    rc::Rc,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    task::Waker,
    time::{Duration, Instant},
};

use compio::runtime::Runtime;
use slab::Slab;

use super::{
    admission::{Admission, Next},
    attach,
    blocking::Blocking,
    builder::DriverKind,
    doorbell::Doorbell,
    dump::Doing,
    gate::Gate,
    inbox::{Inbox, Push, PushAll, Stack},
    job::{Header, Hold, Job},
    metrics,
    run_queue::RunQueue,
};
use crate::{
    channel::{Look, Wait},
    pad::Padded,
    unwind,
};

/// Jobs between two looks at the driver, while there are jobs, unless the builder says otherwise: what
/// Compio's own loop does.
pub(crate) const EVENT_INTERVAL: usize = 61;
/// Turns of a look between two looks at the driver. A turn is a few nanoseconds to a few tens; asking
/// the kernel costs a few hundred, and with `coop_taskrun` no completion arrives without it.
const LOOKS_PER_DRIVER_POLL: u32 = 64;

/// Polls of jobs between two readings of the clock: what is known of the time at which a job began is so
/// many polls old at most. A reading costs about 25 ns, and the rest of a trivial job a few hundred.
const POLLS_PER_READING: usize = 16;

/// How long an idle worker looks before it sleeps: as long as a caller takes that had to be woken with
/// this worker's last result and comes back with more work (about 25 µs from a CPU that sleeps, on a
/// virtual machine, and twice that at worst). The worker's own tasks do not wait for it: they end the
/// look.
const LOOK: Duration = Duration::from_micros(60);

/// Jobs of a batch that are sent together at first: making so many takes about as long as the worker
/// takes to notice.
const CHUNK: usize = 8;
/// The same to a worker that sleeps: it takes longer to wake than these take to be made.
const CHUNK_FOR_A_SLEEPER: usize = 64;

/// What the worker is to do. Only ever raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Command {
    Run = 0,
    /// Finish what was taken on, then end.
    Drain = 1,
    /// Cancel what runs and end.
    Stop = 2,
}

/// What other threads see of a worker.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) index: usize,
    pub(crate) driver: DriverKind,
    /// For those who wait for this worker's results.
    pub(crate) wait: Wait,
    /// Written by everybody; apart from what the worker writes.
    inbox: Padded<Inbox<Header>>,
    doorbell: Doorbell,
    command: AtomicU8,
    /// When a drain that is not done is cut off.
    deadline: Mutex<Option<Instant>>,
    /// The deadline has passed: what has not begun does not begin.
    cut_off: AtomicBool,
    /// Its loop is over, whatever ended it.
    ending: AtomicBool,
    /// Its pool's.
    pub(crate) admission: Arc<Admission<Job>>,
    /// Every task that was polled and is not finished, so that the worker's end can reach them all.
    registry: Mutex<Slab<Hold>>,
    /// Written by whoever gives work; apart from what whoever only wakes it writes.
    pub(crate) counts: Padded<metrics::Shared>,
    pub(crate) own: Padded<metrics::Own>,
}

impl Shared {
    pub(crate) fn new(
        index: usize,
        driver: DriverKind,
        wait: Wait,
        waker: Waker,
        admission: Arc<Admission<Job>>,
    ) -> Self {
        let doorbell = Doorbell::new(waker);
        Self::with_doorbell(index, driver, wait, doorbell, admission)
    }

    /// Of a runtime whose loop is not ours: `waker` is its driver's.
    pub(crate) fn attached(driver: DriverKind, waker: Waker) -> Self {
        Self::with_doorbell(
            0,
            driver,
            Wait::Adaptive,
            Doorbell::for_pump(waker),
            Arc::new(Admission::new(None)),
        )
    }

    /// Whether its loop is not ours, nor its runtime's end.
    pub(crate) fn is_attached(&self) -> bool {
        self.doorbell.is_for_pump()
    }

    fn with_doorbell(
        index: usize,
        driver: DriverKind,
        wait: Wait,
        doorbell: Doorbell,
        admission: Arc<Admission<Job>>,
    ) -> Self {
        Self {
            index,
            driver,
            wait,
            inbox: Padded(Inbox::new()),
            doorbell,
            command: AtomicU8::new(Command::Run as u8),
            deadline: Mutex::new(None),
            cut_off: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            admission,
            registry: Mutex::default(),
            counts: Padded(metrics::Shared::default()),
            own: Padded(metrics::Own::default()),
        }
    }

    pub(crate) fn order(&self, command: Command) {
        self.command.fetch_max(command as u8, Ordering::Relaxed);
        self.nudge();
    }

    /// Cuts a drain off at `deadline`, or earlier if that was ordered before.
    pub(crate) fn order_cut_off(&self, deadline: Instant) {
        let mut at = self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        *at = Some(at.map_or(deadline, |earlier| earlier.min(deadline)));
        drop(at);
        self.nudge();
    }

    fn deadline(&self) -> Option<Instant> {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what has not begun is to be cancelled instead.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.cut_off.load(Ordering::Relaxed)
    }

    /// Has the worker look at its orders and its counts again.
    pub(crate) fn nudge(&self) {
        if self.inbox.0.nudge() {
            self.doorbell.ring();
        }
    }

    pub(super) fn registry(&self) -> MutexGuard<'_, Slab<Hold>> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gets rid of a job that came when the worker was gone.
    pub(super) fn refuse(&self, job: Job) {
        if job.discard() {
            self.counts.0.leaked_tasks.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn command(&self) -> Command {
        match self.command.load(Ordering::Relaxed) {
            0 => Command::Run,
            1 => Command::Drain,
            _ => Command::Stop,
        }
    }

    /// Whether work that is given to it now would be refused. A worker that ends before its pool does
    /// has nothing to do, and would otherwise be everybody's first choice.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    pub(crate) fn set_ending(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// Whether the calling thread runs this worker's jobs at this moment, so that they can go on its
    /// run queue.
    pub(crate) fn is_here(&self) -> bool {
        with_local(|local| std::ptr::eq(&*local.shared, self)) == Some(true)
    }

    /// Whether this worker's jobs run on the calling thread, at this moment or at another.
    pub(crate) fn is_this_thread(&self) -> bool {
        self.is_here() || attach::is_here(self)
    }

    /// See [`Doorbell::dismantle`].
    pub(crate) fn dismantle_doorbell(&self) {
        self.doorbell.dismantle();
    }

    /// See [`Doorbell::set_pump`].
    pub(crate) fn set_pump(&self, waker: Option<Waker>) {
        self.doorbell.set_pump(waker);
    }

    pub(super) fn in_flight(&self) -> usize {
        let own = &self.own.0;
        // The ends first: a job that ends meanwhile must not make the difference negative.
        let begun_and_ended = own.completed.get() + own.cancelled.get() + own.panicked.get();
        let ended = begun_and_ended + self.counts.0.never_begun.load(Ordering::Acquire);
        let given = self.counts.0.given.load(Ordering::Relaxed);
        usize::try_from(given.saturating_sub(ended)).unwrap_or(usize::MAX)
    }

    /// Jobs that have begun and are not finished.
    fn begun(&self) -> usize {
        let first = matches!(self.own.0.note.read(), Doing::First(_));
        let residents = usize::try_from(self.own.0.residents.get()).unwrap_or(usize::MAX);
        let tasks = self.registry().len() + usize::from(first);
        tasks.saturating_sub(residents)
    }

    pub(crate) fn clock(&self) -> &metrics::Clock {
        &self.own.0.clock
    }

    fn falls_asleep(&self) {
        self.clock().falls_asleep();
        self.own.0.note.write(Doing::Asleep);
    }

    pub(crate) fn wakes_up(&self) {
        self.clock().wakes_up();
        self.own.0.note.write(Doing::Nothing);
    }

    /// The worker's last word.
    pub(crate) fn rests(&self) {
        self.clock().falls_asleep();
        self.own.0.note.write(Doing::Ended);
    }

    /// Whether `runtime` is this worker's own.
    pub(crate) fn is_driven_by(&self, runtime: &Runtime) -> bool {
        self.doorbell.wakes(&runtime.waker())
    }

    pub(crate) fn metrics(&self) -> metrics::WorkerMetrics {
        let in_flight = self.in_flight();
        let own = &self.own.0;
        let crossings_in = own.crossings_in.get();
        let wakeups_sent = self.doorbell.rings();
        metrics::WorkerMetrics {
            driver: self.driver,
            alive: !self.is_ending(),
            in_flight,
            queued: in_flight.saturating_sub(self.begun()),
            completed: own.completed.get(),
            cancelled: own.cancelled.get() + self.counts.0.never_begun.load(Ordering::Relaxed),
            panicked: own.panicked.get(),
            crossings_in,
            crossings_out: own.crossings_out.get(),
            wakeups_sent,
            wakeups_saved: crossings_in.saturating_sub(wakeups_sent),
            callers_woken: own.callers_woken.get(),
            parks: own.parks.get(),
            looks_paid: own.looks_paid.get(),
            busy: own.clock.busy(),
            enqueue_to_start: own.enqueue_to_start.snapshot(),
            start_to_finish: own.start_to_finish.snapshot(),
            leaked_tasks: self.counts.0.leaked_tasks.load(Ordering::Relaxed),
            leaked_runtimes: own.leaked_runtimes.get(),
        }
    }
}

/// Puts a job on its worker's queue: the local one without a system call when the caller is that
/// worker, else through the inbox.
///
/// Never blocks and never drops a started job: this is what every waker ends in.
pub(crate) fn schedule(job: Job) {
    // The job may have run and be gone before the ring: keep its worker.
    let home = Arc::clone(job.header().home());
    deliver(&home, job);
}

fn deliver(home: &Arc<Shared>, job: Job) {
    let mut job = Some(job);
    with_local(|local| {
        if let Some(here) = job.take_if(|_| Arc::ptr_eq(home, &local.shared)) {
            local.queue.push(here);
        }
    });
    if let Some(job) = job {
        send(home, job);
    }
}

/// Gives back the place of a task of `home` that was admitted and has ended.
pub(crate) fn release(home: &Arc<Shared>) {
    thread_local! {
        /// What is still to be released, while a release is under way on this thread.
        static OWED: RefCell<Option<Vec<Arc<Shared>>>> = const { RefCell::new(None) };
    }
    // The next job may end at once, refused by a worker that is gone, and release in its turn: not
    // one inside the other, as there may be any number of them.
    let nested = OWED.try_with(|owed| match &mut *owed.borrow_mut() {
        Some(owed) => {
            owed.push(Arc::clone(home));
            true
        }
        none => {
            *none = Some(Vec::new());
            false
        }
    });
    if nested == Ok(true) {
        return;
    }
    let mut next = Some(Arc::clone(home));
    while let Some(home) = next {
        pass_on(home.admission.release());
        next = OWED
            .try_with(|owed| owed.borrow_mut().as_mut().and_then(Vec::pop))
            .ok()
            .flatten();
    }
    _ = OWED.try_with(|owed| owed.take());
}

/// Gives a place in a pool to the one whose turn it is.
pub(crate) fn pass_on(next: Next<Job>) {
    match next {
        Next::Nobody => {}
        Next::Caller(waker) => unwind::wake(waker),
        Next::Job(job) => admitted(&Arc::clone(job.header().home()), job),
    }
}

/// Queues a job that has just been given its place.
pub(crate) fn admitted(home: &Arc<Shared>, job: Job) {
    let header = job.header();
    if home.admission.is_bounded() {
        header.set_admitted();
    }
    header.set_queued();
    deliver(home, job);
}

/// Jobs for one worker that have their places, to be queued together.
#[derive(Debug)]
pub(crate) struct Batch {
    home: Arc<Shared>,
    /// For a worker whose own thread this is.
    local: Option<Rc<Local>>,
    stack: Stack<Header>,
    /// In the stack.
    unsent: usize,
    /// How many are sent together next.
    chunk: usize,
}

impl Batch {
    pub(crate) fn new(home: Arc<Shared>) -> Self {
        let local = local().filter(|local| Arc::ptr_eq(&local.shared, &home));
        Self {
            home,
            local,
            stack: Stack::new(),
            unsent: 0,
            chunk: CHUNK,
        }
    }

    pub(crate) fn home(&self) -> &Arc<Shared> {
        &self.home
    }

    /// Adds a job of this worker's that has just been given its place.
    ///
    /// A worker that is awake begins while the rest is being made; one that sleeps is left to, until
    /// there is enough for it that it will not sleep again before the rest comes.
    #[expect(unsafe_code, reason = "see `send`")]
    pub(crate) fn push(&mut self, job: Job) {
        if self.home.admission.is_bounded() {
            job.header().set_admitted();
        }
        job.header().set_queued();
        match &self.local {
            Some(local) => return local.queue.push(job),
            // SAFETY: as in `send`; until `send` below the job is in no queue but this one.
            None => unsafe { self.stack.push(job.into_node()) },
        }
        self.unsent += 1;
        if self.unsent >= self.chunk
            && (self.unsent >= CHUNK_FOR_A_SLEEPER || !self.home.inbox.0.is_asleep())
        {
            self.send();
            // Ever more at once: should the worker be done with each before the next comes, it still
            // is not rung often.
            self.chunk *= 2;
        }
    }

    /// Queues them all, with one ring at most.
    #[expect(unsafe_code, reason = "see `send`")]
    pub(crate) fn send(&mut self) {
        self.unsent = 0;
        match self.home.inbox.0.push_all(mem::take(&mut self.stack)) {
            PushAll::Queued => {}
            PushAll::Ring => self.home.doorbell.ring(),
            PushAll::Closed(nodes) => {
                for node in nodes {
                    // SAFETY: one of those that were pushed, handed back once.
                    let job = unsafe { Job::from_node(node) };
                    self.home.refuse(job);
                }
            }
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.send();
    }
}

#[expect(
    unsafe_code,
    reason = "the inbox holds jobs as pointers to their headers"
)]
fn send(home: &Shared, job: Job) {
    // SAFETY: a job's header lives as long as its runnable, which the pointer stands for until
    // `from_node` below or in `Local::collect`.
    match unsafe { home.inbox.0.push(job.into_node()) } {
        Push::Queued => {}
        Push::Ring => home.doorbell.ring(),
        Push::Closed(node) => {
            // SAFETY: the very node that was pushed, handed back.
            let job = unsafe { Job::from_node(node) };
            home.refuse(job);
        }
    }
}

/// What the worker's own thread has of it.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) shared: Arc<Shared>,
    pub(crate) queue: RunQueue,
    /// The task that is being polled, by the address of its header.
    current: Cell<Option<usize>>,
    /// Tasks that wait for this pool's shutdown, which therefore does not wait for them; and how often
    /// each does.
    exempt: RefCell<Vec<(usize, usize)>>,
    /// Registered tasks that are [in the background](Header::is_background).
    background: Cell<usize>,
    /// How many shims have bytes [under way](super::UnderWay).
    under_way: Rc<Cell<usize>>,
    /// What is under way went with the time of a drain: it is not waited for any more.
    gives_up: Cell<bool>,
    /// Objects that stay here, for handles elsewhere; see [`Remote`](crate::spawn::Remote).
    hosted: RefCell<Slab<Rc<dyn Any>>>,
    /// So many jobs may still run before a look at the driver, for the sake of a task that [makes
    /// way](make_way); far more than there can be where there is none.
    before_look: Cell<usize>,
}

fn address(task: &Header) -> usize {
    std::ptr::from_ref(task).addr()
}

thread_local! {
    /// The innermost, where runtimes are nested: a job may drive a runtime that is attached.
    ///
    /// Not dropped with the thread, so that it is there for those who are: whoever sets it unsets it.
    static LOCAL: ManuallyDrop<RefCell<Option<Rc<Local>>>> =
        const { ManuallyDrop::new(RefCell::new(None)) };
}

/// Calls `f` with this thread's worker, if this is one. `f` runs nobody else's code: that might come
/// to [`enter`].
pub(crate) fn with_local<R>(f: impl FnOnce(&Local) -> R) -> Option<R> {
    LOCAL.with(|local| local.borrow().as_deref().map(f))
}

/// This thread's worker, if this is one.
pub(crate) fn local() -> Option<Rc<Local>> {
    LOCAL.with(|local| local.borrow().clone())
}

/// The task that is being polled yields, and is about to go to the end of the queue: before it comes to the
/// front again, the driver is looked at, as who waits for it is a neighbour too.
pub(crate) fn make_way() {
    with_local(|local| {
        let ahead = local.queue.len();
        local.before_look.set(local.before_look.get().min(ahead));
    });
}

/// Makes this thread that worker until the guard is dropped.
pub(crate) fn enter(local: Rc<Local>) -> Entered {
    Entered {
        outer: LOCAL.with(|current| current.replace(Some(local))),
    }
}

/// See [`enter`].
#[derive(Debug)]
#[must_use]
pub(crate) struct Entered {
    outer: Option<Rc<Local>>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let inner = LOCAL.with(|local| local.replace(self.outer.take()));
        drop(inner);
    }
}

impl Local {
    pub(crate) fn new(shared: Arc<Shared>) -> Rc<Self> {
        Rc::new(Self {
            shared,
            queue: RunQueue::default(),
            current: Cell::new(None),
            exempt: RefCell::default(),
            background: Cell::new(0),
            under_way: Rc::default(),
            gives_up: Cell::new(false),
            hosted: RefCell::default(),
            before_look: Cell::new(usize::MAX),
        })
    }

    /// Counts a job that is about to run; whether the driver is to be looked at before that.
    pub(super) fn is_look_due(&self) -> bool {
        let left = self.before_look.get();
        self.before_look.set(left.wrapping_sub(1));
        left == 0
    }

    /// Enters a task into the worker's registry: one that was not finished by its first poll.
    pub(crate) fn register(&self, task: Hold) -> usize {
        if task.header().is_resident() {
            self.shared.own.0.residents.set(self.residents() + 1);
        } else if task.header().is_background() {
            self.background.set(self.background.get() + 1);
        }
        self.shared.registry().insert(task)
    }

    pub(crate) fn deregister(&self, key: usize) {
        let task = self.shared.registry().try_remove(key);
        if let Some(header) = task.as_ref().map(Hold::header) {
            if header.is_resident() {
                self.shared.own.0.residents.set(self.residents() - 1);
            } else if header.is_background() {
                self.background.set(self.background.get() - 1);
            }
        }
        drop(task);
    }

    /// The count of shims that have bytes [under way](super::UnderWay).
    pub(super) fn under_way(&self) -> Rc<Cell<usize>> {
        Rc::clone(&self.under_way)
    }

    fn residents(&self) -> u64 {
        self.shared.own.0.residents.get()
    }

    /// Polls with `task` as the current one.
    pub(crate) fn polling<R>(&self, task: &Header, poll: impl FnOnce() -> R) -> R {
        let outer = self.current.replace(Some(address(task)));
        let result = poll();
        self.current.set(outer);
        result
    }

    /// The task that is being polled.
    pub(crate) fn current(&self) -> Option<usize> {
        self.current.get()
    }

    /// The pool's shutdown will not wait for that task, which waits for it.
    pub(crate) fn exempt(&self, task: usize) {
        let mut exempt = self.exempt.borrow_mut();
        match exempt.iter_mut().find(|(other, _)| *other == task) {
            Some((_, times)) => *times += 1,
            None => exempt.push((task, 1)),
        }
    }

    /// The task waits for the shutdown once less.
    pub(crate) fn unexempt(&self, task: usize) {
        let mut exempt = self.exempt.borrow_mut();
        if let Some((_, times)) = exempt.iter_mut().find(|(other, _)| *other == task) {
            *times -= 1;
        }
        exempt.retain(|(_, times)| *times > 0);
    }

    /// Whether the task waits for the pool's shutdown.
    pub(crate) fn is_exempt(&self, task: &Header) -> bool {
        let exempt = self.exempt.borrow();
        exempt.iter().any(|(other, _)| *other == address(task))
    }

    /// The task is over.
    pub(crate) fn forget(&self, task: &Header) {
        let mut exempt = self.exempt.borrow_mut();
        if !exempt.is_empty() {
            exempt.retain(|(other, _)| *other != address(task));
        }
    }

    /// Keeps an object until it is [evicted](Self::evict) by the key, or the worker ends.
    pub(crate) fn host(&self, object: Rc<dyn Any>) -> usize {
        self.hosted.borrow_mut().insert(object)
    }

    pub(crate) fn hosted(&self, key: usize) -> Option<Rc<dyn Any>> {
        self.hosted.borrow().get(key).cloned()
    }

    /// Returned, to be dropped when the registry is not borrowed: its destructor may come back here.
    pub(crate) fn evict(&self, key: usize) -> Option<Rc<dyn Any>> {
        self.hosted.borrow_mut().try_remove(key)
    }

    /// As [`evict`](Self::evict), all of them.
    pub(crate) fn evict_all(&self) -> impl Iterator<Item = Rc<dyn Any>> + use<> {
        self.hosted.take().into_iter().map(|(_, object)| object)
    }

    /// Moves what came from other threads to the run queue; how much that was.
    #[expect(unsafe_code, reason = "see `send`")]
    pub(crate) fn collect(&self) -> usize {
        let mut n = 0;
        for node in self.shared.inbox.0.take() {
            // SAFETY: `send` pushed it with `into_node`, and the inbox gives each node out once.
            self.queue.push(unsafe { Job::from_node(node) });
            n += 1;
        }
        if n > 0 {
            self.shared.own.0.crossings_in.add(n as u64);
        }
        n
    }

    /// Refuses all further jobs; those that were still in the inbox go to the run queue.
    #[expect(unsafe_code, reason = "see `send`")]
    pub(crate) fn close(&self) {
        for node in self.shared.inbox.0.close() {
            // SAFETY: as in `collect`.
            self.queue.push(unsafe { Job::from_node(node) });
        }
    }

    /// Marks the inbox asleep, unless something waits to be run: the next job rings.
    pub(crate) fn try_sleep(&self) -> bool {
        self.queue.is_empty() && self.shared.inbox.0.try_sleep()
    }

    /// Whether nothing waits to be run.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.shared.inbox.0.is_empty()
    }

    pub(crate) fn active(&self) -> usize {
        self.shared.registry().len()
    }

    /// Puts every task on the run queue that is not there already.
    pub(crate) fn wake_all(&self) {
        for task in self.tasks() {
            task.wake();
        }
    }

    /// Drops what waits for a place in the pool and would have run here: it was never begun.
    pub(crate) fn drop_unadmitted(&self, cancelled: bool) {
        let home = &self.shared;
        let here = |job: &Job| Arc::ptr_eq(job.header().home(), home);
        for job in home.admission.take_jobs(here) {
            if cancelled {
                job.header().set_cancelled();
            }
            drop(job);
        }
    }

    /// When the time of a drain is up, cancels everything but the tasks that wait for the shutdown;
    /// whether it was now.
    fn cut_off_in_time(&self) -> bool {
        let due = |deadline| Instant::now() >= deadline;
        if self.shared.is_cut_off() || !self.shared.deadline().is_some_and(due) {
            return false;
        }
        self.shared.cut_off.store(true, Ordering::Relaxed);
        // What is in the background belongs to those who go on, if there are any.
        let spares_background = !self.exempt.borrow().is_empty();
        self.gives_up.set(!spares_background);
        for task in self.tasks() {
            let header = task.header();
            let spared = spares_background && header.is_background();
            if !spared && !self.is_exempt(header) {
                task.cancel();
            }
        }
        self.drop_unadmitted(true);
        true
    }

    /// A copy of the registry: waking and dropping may run a foreign destructor, and that may come
    /// back here.
    fn tasks(&self) -> Vec<Hold> {
        let registry = self.shared.registry();
        registry.iter().map(|(_, task)| task.clone()).collect()
    }

    /// Jobs that were given to this worker and have not ended, wherever they wait, and shims with bytes
    /// under way; and how many of them a shutdown by a job does not wait for: those who wait for it, and
    /// what is in the background.
    fn unfinished(&self) -> (usize, usize) {
        let under_way = if self.gives_up.get() {
            0
        } else {
            self.under_way.get()
        };
        let exempt = self.exempt.borrow().len() + self.background.get();
        (self.shared.in_flight() + under_way, exempt + under_way)
    }
}

/// The loop of one worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) runtime: Runtime,
    pub(crate) local: Rc<Local>,
    /// Wakes the runtime's driver.
    driver: Waker,
    gate: Arc<Gate>,
    blocking: Arc<Blocking>,
    look: Look,
    /// Jobs between two looks at the driver; not 0.
    event_interval: usize,
    drained: bool,
    /// What was in flight when it was last seen that the worker is not over.
    seen_in_flight: usize,
}

impl Worker {
    /// Makes this thread a worker.
    pub(crate) fn new(
        runtime: Runtime,
        shared: Arc<Shared>,
        gate: Arc<Gate>,
        blocking: Arc<Blocking>,
        event_interval: usize,
    ) -> Self {
        let look = Look::with_bound(shared.wait, LOOK);
        let local = Local::new(shared);
        LOCAL.with(|current| current.replace(Some(Rc::clone(&local))));
        Self {
            driver: runtime.waker(),
            runtime,
            local,
            gate,
            blocking,
            look,
            event_interval,
            drained: false,
            seen_in_flight: 0,
        }
    }

    /// Runs until the pool wants it to end. Called inside the runtime's context.
    pub(crate) fn run(&mut self) {
        // Jobs that ran since the driver was last looked at.
        let mut unpolled = 0;
        loop {
            let command = self.local.shared.command();
            self.local.collect();
            unpolled += self.run_batch();
            let compio_has_more = self.runtime.run();
            if self.is_over(command) {
                return;
            }
            if compio_has_more || !self.local.queue.is_empty() || unpolled >= self.event_interval {
                look_at_driver(&self.runtime, &self.driver);
                unpolled = 0;
            } else if self.local.shared.inbox.0.is_empty() && !self.look_again(command) {
                self.park(command);
                unpolled = 0;
            }
        }
    }

    fn run_batch(&self) -> usize {
        for ran in 0..self.event_interval {
            match self.local.shared.command() {
                Command::Run => {}
                Command::Drain => self.cut_off_in_time(),
                // A pool that is gone starts nothing more.
                Command::Stop => return ran,
            }
            if self.local.is_look_due() {
                break;
            }
            let Some(job) = self.local.queue.pop() else {
                return ran;
            };
            if ran.is_multiple_of(POLLS_PER_READING) {
                self.local.shared.clock().read();
            }
            job.run();
        }
        self.event_interval
    }

    fn cut_off_in_time(&self) {
        if self.local.cut_off_in_time() {
            self.blocking.refuse_queued();
        }
    }

    fn is_over(&mut self, command: Command) -> bool {
        match command {
            Command::Run => false,
            Command::Stop => true,
            Command::Drain => {
                self.cut_off_in_time();
                let idle = self.local.is_idle();
                let (in_flight, exempt) = self.local.unfinished();
                if idle && !self.drained && in_flight == exempt {
                    self.drained = true;
                    self.gate.drained();
                }
                self.seen_in_flight = in_flight;
                idle && in_flight == 0
            }
        }
    }

    /// Looks for work a little longer before sleeping, if that has been paying; whether to go on
    /// without sleeping.
    fn look_again(&mut self, command: Command) -> bool {
        let Self {
            runtime,
            local,
            look,
            driver,
            ..
        } = self;
        let mut turn = 0_u32;
        let mut driver_had_something = false;
        let found = look.look(|| {
            if !local.shared.inbox.0.is_empty() || local.shared.command() != command {
                return true;
            }
            turn += 1;
            if turn.is_multiple_of(LOOKS_PER_DRIVER_POLL) {
                look_at_driver(runtime, driver);
                driver_had_something = runtime.run() || !local.queue.is_empty();
            }
            driver_had_something
        });
        if driver_had_something {
            // Waiting for the kernel is better done asleep: only work from other threads is worth
            // keeping a CPU for.
            look.did_not_pay();
        } else if found {
            local.shared.own.0.looks_paid.add(1);
        }
        found
    }

    /// Sleeps in the driver, until it has something, a timer fires or somebody rings.
    fn park(&mut self, command: Command) {
        let shared = &self.local.shared;
        if !shared.inbox.0.try_sleep() || shared.command() != command {
            return;
        }
        let mut timeout = self.runtime.current_timeout();
        if command == Command::Drain {
            // A job that another thread dropped meanwhile may have been the last.
            if self.local.unfinished().0 != self.seen_in_flight {
                return;
            }
            if let Some(deadline) = shared.deadline().filter(|_| !shared.is_cut_off()) {
                let left = deadline.saturating_duration_since(Instant::now());
                timeout = Some(timeout.map_or(left, |timer| timer.min(left)));
            }
        }
        shared.own.0.parks.add(1);
        shared.falls_asleep();
        self.runtime.poll_with(timeout);
        shared.wakes_up();
        // `collect`, which follows, marks the worker awake.
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.drained
    }

    /// The parts that the worker's end needs.
    pub(crate) fn leave(self) -> (Runtime, Rc<Local>, Arc<Gate>, Arc<Blocking>) {
        (self.runtime, self.local, self.gate, self.blocking)
    }
}

/// Polls the driver without waiting, inside the runtime's context.
///
/// A timeout of zero alone has Compio wait in the kernel for a completion until a timer of zero goes off,
/// which puts the thread to sleep for 16 µs (`docs/upstream.md`). A driver that was woken beforehand
/// does not wait at all, and this takes 0.2 µs.
pub(super) fn look_at_driver(runtime: &Runtime, driver: &Waker) {
    driver.wake_by_ref();
    runtime.poll_with(Some(Duration::ZERO));
}

/// This thread is no worker any more: wake-ups of its tasks find its inbox closed.
pub(crate) fn forget_local() {
    let local = LOCAL.with(|local| local.take());
    drop(local);
}
