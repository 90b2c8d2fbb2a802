//! The end of a worker, and of a pool.
//!
//! Compio's runtime may not simply be dropped: its driver frees the buffers of operations that the
//! kernel may still be writing to (`docs/upstream.md`). So a worker first drops its tasks, then the
//! objects it hosts, a few at a time so that no cancel is lost for want of room in the ring, then waits
//! until the kernel has answered for every operation, and only then drops the runtime. A runtime for which the kernel does
//! not answer in time is leaked, and counted.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    thread,
    time::{Duration, Instant},
};

use super::{
    CompioPool,
    gate::{End, Ticket},
    objects, quiet,
    worker::{Command, Local, Worker, forget_local, look_at_driver},
};
use crate::unwind::{catch, discard, swallow};

/// Tasks dropped between two looks at the driver. Each may leave one cancel per operation in a
/// submission queue of 1024 entries by default; a full queue loses them.
const DROPS_PER_DRIVER_POLL: usize = 32;
/// Rounds of waking and dropping. A destructor may start new tasks; one that always does is cut off.
const ROUNDS: usize = 64;
/// How long tasks are waited for whose wake-up has begun on another thread. It ends by itself, as soon as
/// that thread has the CPU; the bound is for what must not be, a driver or a task that is under way here.
const WAKES_ARRIVE: Duration = Duration::from_secs(1);

/// Ends a worker after its loop. Whatever it still has is dropped here, on its own thread; then the
/// user's `stopping` is called.
pub(crate) fn end(worker: Worker, stopping: Option<impl FnOnce()>) {
    let was_drained = worker.is_drained();
    let (runtime, local, gate, blocking) = worker.leave();
    local.shared.set_ending();
    blocking.refuse_queued();
    // A driver that panicked did so in the worker's sleep.
    local.shared.wakes_up();
    let quiet = runtime.enter(|| {
        // A driver that fails must not keep the tasks from being dropped: somebody waits for each.
        let driver = runtime.waker();
        let flush = || swallow(|| look_at_driver(&runtime, &driver));
        drop_all(&local, flush, stopping);
        // A panic here comes from the driver itself; what it was about to free is leaked.
        catch(|| quiet::wait_until_quiet(&runtime)).unwrap_or_else(|payload| {
            discard(payload);
            false
        })
    });
    forget_local();
    if quiet {
        // Drops what jobs started with Compio's own `spawn`, too: its operations are over by now.
        swallow(|| drop(runtime));
    } else {
        local.shared.own.0.leaked_runtimes.add(1);
        std::mem::forget(runtime);
    }
    local.shared.dismantle_doorbell();
    local.shared.rests();
    drop(local);
    gate.ended(was_drained);
}

/// Drops everything that lives here and closes the inbox. In between the user's `stopping` is called.
/// `flush` hands the driver's cancels to the kernel.
pub(super) fn drop_all(local: &Local, flush: impl Fn(), stopping: Option<impl FnOnce()>) {
    drop_tasks(local, &flush);
    // After the tasks, which use them.
    drop_hosted(local, &flush);
    if let Some(stopping) = stopping {
        swallow(stopping);
        // What it has started, though its pool is ending.
        drop_tasks(local, &flush);
        drop_hosted(local, &flush);
    }
    // From here on nothing can be added.
    local.close();
    local.drop_unadmitted(false);
    for _ in 0..ROUNDS {
        drop_queued(local, &flush);
    }
    // What a destructor that always starts a task has left.
    while let Some(job) = local.queue.pop() {
        local.shared.refuse(job);
    }
}

fn drop_tasks(local: &Local, flush: &impl Fn()) {
    for _ in 0..ROUNDS {
        local.collect();
        local.wake_all();
        drop_queued(local, flush);
        if local.is_idle() {
            break;
        }
    }
    // What is left is being woken by another thread, which has marked the task and not queued it yet.
    let begun = Instant::now();
    while local.active() > 0 && begun.elapsed() < WAKES_ARRIVE {
        thread::yield_now();
        local.collect();
        if !local.queue.is_empty() {
            drop_queued(local, flush);
        }
    }
}

/// Drops the objects that live here for handles elsewhere. No task is left that could make more.
fn drop_hosted(local: &Local, flush: &impl Fn()) {
    drop_each(local.evict_all(), flush);
    for _ in 0..ROUNDS {
        let objects = objects::evict_those_of(&local.shared);
        if objects.is_empty() {
            break;
        }
        drop_each(objects.into_iter(), flush);
    }
}

/// Drops what is queued now: a destructor may queue more.
fn drop_queued(local: &Local, flush: &impl Fn()) {
    let queued = (0..local.queue.len()).map_while(|_| local.queue.pop());
    drop_each(queued, flush);
}

/// Drops one after the other, and has the driver send the cancels that this leaves, before they are
/// too many for it.
fn drop_each<T>(values: impl Iterator<Item = T>, flush: &impl Fn()) {
    let mut dropped = 0;
    for value in values {
        swallow(|| drop(value));
        dropped += 1;
        if dropped % DROPS_PER_DRIVER_POLL == 0 {
            flush();
        }
    }
    flush();
}

/// Waits for a pool's end, which it brings about; see [`CompioPool::shutdown_timeout`].
#[derive(Debug)]
#[must_use = "a shutdown does nothing unless it is awaited"]
pub struct ShutdownTimeout {
    shutdown: Shutdown,
    timeout: Duration,
}

impl ShutdownTimeout {
    pub(crate) fn new(pool: CompioPool, timeout: Duration) -> Self {
        Self {
            shutdown: Shutdown::new(pool),
            timeout,
        }
    }
}

impl Future for ShutdownTimeout {
    type Output = usize;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<usize> {
        let first = !self.shutdown.ordered;
        let polled = Pin::new(&mut self.shutdown).poll(cx);
        let pool = self.shutdown.pool.shared();
        if first
            // One that is too far off to be told never comes.
            && let Some(deadline) = Instant::now().checked_add(self.timeout)
        {
            pool.order_cut_off(deadline);
        }
        polled.map(|()| pool.cut_off())
    }
}

/// Waits for a pool's end; see [`CompioPool::shutdown`].
#[derive(Debug)]
#[must_use = "a shutdown does nothing unless it is awaited"]
pub struct Shutdown {
    /// Keeps the pool from being dropped, which would cancel what is to be drained.
    pool: CompioPool,
    ordered: bool,
    ticket: Ticket,
    /// The job of this pool that was found waiting here, by its address: it is exempt once for this.
    exempt: Option<usize>,
}

impl Shutdown {
    pub(crate) fn new(pool: CompioPool) -> Self {
        Self {
            pool,
            ordered: false,
            ticket: Ticket::default(),
            exempt: None,
        }
    }

    /// Whether the caller is a job of the pool, which it then does not wait for. At each poll: whoever
    /// waits may have moved into a job of this pool since, or out of one.
    fn is_in_own_job(&mut self) -> bool {
        let shared = self.pool.shared();
        let before = self.exempt;
        let here = shared.with_own_job(|local, job| {
            if before != Some(job) {
                local.exempt(job);
            }
            job
        });
        self.exempt = here.or(before);
        here.is_some() || shared.exempt_closure()
    }

    /// The job goes on, and is like any other from here on.
    fn is_over(&mut self) {
        if let Some(exempt) = self.exempt.take() {
            self.pool.shared().with_own_job(|local, job| {
                if job == exempt {
                    local.unexempt(job);
                }
            });
        }
    }
}

impl Future for Shutdown {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let end = if self.is_in_own_job() {
            End::Drained
        } else {
            End::Ended
        };
        if !self.ordered {
            self.ordered = true;
            self.pool.shared().order(Command::Drain);
        }
        let Self { pool, ticket, .. } = &mut *self;
        let polled = pool.shared().gate.poll(ticket, end, cx);
        if polled.is_ready() {
            self.is_over();
        }
        polled
    }
}

impl Drop for Shutdown {
    fn drop(&mut self) {
        self.pool.shared().gate.forget(&self.ticket);
        self.is_over();
    }
}
