//! How both runtimes are driven by one thread.
//!
//! Tokio's loop is the loop, and its `epoll_wait` the only place where the thread sleeps. All of it runs in
//! Compio's context. Compio is driven in *turns*: its tasks and our jobs are run, its driver is given what they
//! have asked for and asked what has completed. A turn is taken
//!
//! - whenever Tokio is about to sleep, from its `on_thread_park`. This is the usual way, and it does not matter
//!   who has started what: a task of Tokio's that has left an operation in Compio's queue, or has woken a task of
//!   Compio's, has done so before Tokio sleeps.
//! - by a task on Tokio, the *pump*, when Tokio does not come to sleep. It is woken by the driver's descriptor,
//!   which is in Tokio's epoll, by jobs from other threads, by a timer of Tokio's for Compio's next one, and for
//!   what nothing tells (an operation that a task of Tokio's has left) by the *tick*, a timer that is set while
//!   the thread is awake.
//!
//! A turn ends with a flush, which hands everything to the kernel and has whoever wakes Compio from then on write
//! to its eventfd: so the descriptor gets readable, and Tokio wakes.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    panic::resume_unwind,
    pin::pin,
    rc::Rc,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use compio::runtime::Runtime;
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::Instant,
};

use super::{alarm::Alarm, descriptor::Descriptor};
use crate::{
    pool::{Driven, DriverKind},
    unwind::{catch, discard},
};

/// How long what nothing tells may wait while Tokio does not come to sleep; Tokio's timers add one of their own.
const TICK: Duration = Duration::from_millis(1);

/// An alarm for one of Compio's timers that goes off so much after it is as good: Tokio's own count milliseconds.
const SLACK: Duration = Duration::from_micros(100);

/// Turns for which the kernel is asked whether something has completed, after something had. A completion may
/// come without a word: it interrupts Tokio's `epoll_wait`, which only the next one tells of.
const ATTENTION: u8 = 32;

thread_local! {
    /// What this thread drives.
    static HERE: RefCell<Option<Rc<Turns>>> = const { RefCell::new(None) };
}

/// What this thread drives, if it drives both runtimes.
pub(super) fn here() -> Option<Rc<Turns>> {
    HERE.try_with(|here| here.borrow().clone()).ok().flatten()
}

/// Whether this thread drives both runtimes.
pub(crate) fn is_here() -> bool {
    HERE.try_with(|here| here.borrow().is_some())
        .unwrap_or(false)
}

/// Compio's side has its turn soon, though a task of Tokio's is about to ask for another one.
pub(crate) fn make_way() {
    if let Some(turns) = here() {
        turns.events.wake_pump();
    }
}

/// Tokio's `on_thread_park`.
pub(super) fn on_park() {
    if let Some(turns) = here() {
        turns.before_sleep();
    }
}

/// Tokio's `on_thread_unpark`.
pub(super) fn on_unpark() {
    if let Some(turns) = here() {
        turns.after_sleep();
    }
}

/// The task on Tokio. `Send`, since what it needs is the thread's.
pub(super) async fn pump() {
    let turns = poll_fn(|cx| {
        if let Some(turns) = here() {
            turns.pump(cx);
        }
        Poll::Pending
    });
    // Compio's tasks would use up the pump's budget together, and the first of them all of it.
    tokio::task::coop::unconstrained(turns).await
}

/// Makes this thread drive that, until dropped.
#[derive(Debug)]
pub(super) struct Here(());

impl Here {
    pub(super) fn enter(turns: Rc<Turns>) -> Self {
        // A driver that was not looked at for long, or never, may have anything.
        turns.must_look.set(true);
        HERE.with(|here| here.replace(Some(turns)));
        Self(())
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        let turns = HERE.with(RefCell::take);
        drop(turns);
    }
}

#[derive(Debug)]
pub(super) struct Turns {
    pub(super) compio: Runtime,
    pub(super) jobs: Driven,
    /// Wakes Compio's driver.
    driver: Waker,
    is_ring: bool,
    descriptor: AsyncFd<Descriptor>,
    events: Arc<Events>,
    /// `events`, as what the descriptor wakes.
    on_event: Waker,
    /// For the next of Compio's timers.
    timer: RefCell<Alarm>,
    tick: RefCell<Alarm>,
    ticking: Cell<Ticking>,
    /// Jobs in one turn, and tasks of Compio's own between two looks.
    interval: usize,
    /// Compio's driver counts as awake: waking it takes no system call.
    is_awake: Cell<bool>,
    /// Something has to be seen that nothing else tells of.
    must_look: Cell<bool>,
    /// Tasks of Compio's own wait to be run.
    has_tasks: Cell<bool>,
    /// Turns left for which the kernel is asked.
    attention: Cell<u8>,
    /// What a waker that Compio's driver has called panicked with, on its way to `block_on`.
    panic: RefCell<Option<Box<dyn Any + Send>>>,
    /// Wakes the future that was given to `block_on`.
    root: RefCell<Option<Waker>>,
}

/// What is known of the tick. It is off only while the thread sleeps for good.
///
/// Tokio's driver ends its next sleep at once when a timer is set that is earlier than all others: such a sleep
/// says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ticking {
    Off,
    /// Set; there was no sleep since.
    Fresh,
    On,
    /// As `Fresh`, after a sleep that the tick had ended.
    FreshIdle,
    /// As `On`, and nothing is known to have happened since the last tick.
    Idle,
}

/// What the driver's descriptor wakes.
#[derive(Debug)]
struct Events {
    /// There was an event.
    any: AtomicBool,
    /// The thread sleeps, and takes a turn before it does so again.
    asleep: AtomicBool,
    pump: OnceLock<Waker>,
}

impl Events {
    fn wake_pump(&self) {
        // There from the pump's first poll on, which is before the first sleep.
        if let Some(pump) = self.pump.get() {
            pump.wake_by_ref();
        }
    }
}

impl Wake for Events {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.any.store(true, Ordering::Relaxed);
        if !self.asleep.load(Ordering::Relaxed) {
            self.wake_pump();
        }
    }
}

impl Turns {
    /// Called in Tokio's context.
    pub(super) fn new(compio: Runtime, kind: DriverKind, interval: usize) -> std::io::Result<Self> {
        #[allow(
            deprecated,
            reason = "its successor is unsafe, and not in every Tokio; `Descriptor` keeps the descriptor open"
        )]
        let descriptor =
            AsyncFd::with_interest(Descriptor::new(compio.clone()), Interest::READABLE)?;
        let events = Arc::new(Events {
            // As if: the first look also asks for the first event.
            any: AtomicBool::new(true),
            asleep: AtomicBool::new(false),
            pump: OnceLock::new(),
        });
        Ok(Self {
            jobs: Driven::new(kind, &compio),
            driver: compio.waker(),
            is_ring: compio.driver_type().is_iouring(),
            compio,
            descriptor,
            on_event: Waker::from(Arc::clone(&events)),
            events,
            timer: RefCell::new(Alarm::new()),
            tick: RefCell::new(Alarm::new()),
            ticking: Cell::new(Ticking::Off),
            interval,
            is_awake: Cell::new(false),
            must_look: Cell::new(true),
            has_tasks: Cell::new(false),
            attention: Cell::new(0),
            panic: RefCell::new(None),
            root: RefCell::new(None),
        })
    }

    /// The future for Tokio's `block_on`. A panic that a turn has met comes out here.
    pub(super) async fn drive<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|cx| {
            let mut root = self.root.borrow_mut();
            if !root.as_ref().is_some_and(|root| root.will_wake(cx.waker())) {
                *root = Some(cx.waker().clone());
            }
            drop(root);
            let panic = self.panic.borrow_mut().take();
            if let Some(panic) = panic {
                resume_unwind(panic);
            }
            let polled = future.as_mut().poll(cx);
            if self.jobs.has_jobs() {
                // Should it have yielded, then to them.
                self.events.wake_pump();
            }
            polled
        })
        .await
    }

    fn before_sleep(&self) {
        let more = self.guarded_turn() | self.set_timer();
        if more {
            // Tokio does not sleep while it has a task to run.
            self.events.wake_pump();
        }
        if self.ticking.get() == Ticking::Idle {
            self.tick.borrow_mut().clear();
            self.ticking.set(Ticking::Off);
        }
        self.events.asleep.store(true, Ordering::Relaxed);
    }

    fn after_sleep(&self) {
        self.events.asleep.store(false, Ordering::Relaxed);
        if self.tick.borrow().has_gone_off() {
            // Whatever has been missed, for instance because a queue of the kernel's was full.
            self.must_look.set(true);
            self.set_tick(Ticking::FreshIdle);
            return;
        }
        match self.ticking.get() {
            Ticking::Off => self.set_tick(Ticking::Fresh),
            Ticking::FreshIdle => self.ticking.set(Ticking::Idle),
            Ticking::Fresh | Ticking::Idle => self.ticking.set(Ticking::On),
            Ticking::On => {}
        }
    }

    fn pump(&self, cx: &mut Context<'_>) {
        // A task's waker is always the same.
        self.events.pump.get_or_init(|| {
            self.jobs.set_pump(cx.waker().clone());
            cx.waker().clone()
        });
        let gone_off = self.tick.borrow().has_gone_off();
        if gone_off || self.ticking.get() == Ticking::Off {
            // All there can be is looked for.
            self.must_look.set(true);
            self.set_tick(Ticking::Fresh);
        }
        if self.guarded_turn() | self.set_timer() {
            // Once more, but not before Tokio has looked at its own driver.
            let again = pin!(tokio::task::yield_now());
            _ = again.poll(cx);
        }
    }

    fn set_tick(&self, ticking: Ticking) {
        if let Some(pump) = self.events.pump.get() {
            self.tick.borrow_mut().set(Instant::now() + TICK, pump);
            self.ticking.set(ticking);
        }
    }

    /// Has Tokio wake the pump for Compio's next timer; whether it is due.
    fn set_timer(&self) -> bool {
        let mut alarm = self.timer.borrow_mut();
        if alarm.has_gone_off() {
            alarm.clear();
        }
        // An alarm that is not needed any more is left: it goes off in vain, once.
        let Some(left) = self.compio.current_timeout() else {
            return false;
        };
        if left.is_zero() {
            return true;
        }
        if let Some(at) = Instant::now().checked_add(left)
            && let Some(pump) = self.events.pump.get()
            && alarm.at().is_none_or(|set| set > at + SLACK)
        {
            alarm.set(at, pump);
        }
        false
    }

    /// A turn whose panic does not end it all.
    ///
    /// Wakers of anybody's are called during a turn, and one that panics would take Tokio's driver along if it
    /// unwound through Tokio's hook, or the pump. It gets out of `block_on` instead, from where that may be left.
    fn guarded_turn(&self) -> bool {
        catch(|| self.turn()).unwrap_or_else(|panic| {
            // How far it has come is not known. Compio has taken every timer that was due out of its list and
            // has not woken all of them; whoever asks finds his over.
            self.is_awake.set(true);
            self.must_look.set(true);
            self.jobs.wake_all();
            let unseen = self.panic.borrow_mut().replace(panic);
            if let Some(unseen) = unseen {
                discard(unseen);
            }
            if let Some(root) = &*self.root.borrow() {
                root.wake_by_ref();
            }
            true
        })
    }

    /// Runs what is there, gives the driver what was asked of it, and takes what has completed, within bounds;
    /// whether there may be more to do at once. If not, everything that comes wakes Tokio.
    fn turn(&self) -> bool {
        let mut left = self.interval;
        self.run(&mut left);
        if self.look() {
            self.run(&mut left);
            // What was run has asked for more, which may have completed at once, as a write to a socket does.
            self.look();
            self.run(&mut left);
        }
        let mut notified = self.flush();
        if notified {
            // Something was woken while the driver counted as awake. It may have been run since, or be what
            // only a look shows.
            self.must_look.set(true);
            self.look();
            self.run(&mut left);
            notified = self.flush();
            self.must_look.set(notified);
        }
        let jobs_wait = !self.jobs.try_sleep();
        notified || jobs_wait || self.has_tasks.get()
    }

    fn run(&self, left: &mut usize) {
        self.jobs.run(left);
        self.has_tasks.set(self.compio.run());
    }

    /// Hands what was asked of the driver to the kernel; whether the driver had been woken. The next to do so
    /// makes its descriptor readable.
    fn flush(&self) -> bool {
        self.is_awake.set(false);
        self.compio.flush()
    }

    /// Polls Compio's driver, if there is a reason to; whether there was.
    fn look(&self) -> bool {
        let event = self.take_event();
        let is_due = || self.compio.current_timeout() == Some(Duration::ZERO);
        let must = self.must_look.take() || self.is_awake.get() || is_due();
        let completed = event || !must && self.ask();
        if completed {
            self.attention.set(ATTENTION);
        }
        if !completed && !must {
            return false;
        }
        // A ring that has nothing and was not woken has the thread sleep for a moment (`docs/upstream.md`). While
        // the driver is awake, to wake it is no system call.
        if self.is_ring && (!completed || self.is_awake.get()) {
            self.driver.wake_by_ref();
        }
        self.compio.poll_with(Some(Duration::ZERO));
        self.is_awake.set(true);
        true
    }

    /// Whether the kernel says that something has completed; it is asked only while that has been so lately.
    fn ask(&self) -> bool {
        let attention = self.attention.get();
        if attention == 0 {
            return false;
        }
        self.attention.set(attention - 1);
        self.descriptor.get_ref().is_readable()
    }

    /// Whether the descriptor has become readable; the next time is told then, too.
    fn take_event(&self) -> bool {
        if !self.events.any.load(Ordering::Relaxed) {
            return false;
        }
        let mut cx = Context::from_waker(&self.on_event);
        // An error is Tokio's end, which is not during a turn.
        while let Poll::Ready(Ok(mut ready)) = self.descriptor.poll_read_ready(&mut cx) {
            ready.clear_ready();
        }
        self.events.any.store(false, Ordering::Relaxed);
        true
    }
}
