//! The end of a worker, and of a pool.
//!
//! Compio's runtime may not simply be dropped: its driver frees the buffers of operations that the
//! kernel may still be writing to (`docs/upstream.md`). So a worker first drops its tasks, a few at a
//! time so that no cancel is lost for want of room in the ring, then waits until the kernel has
//! answered for every operation, and only then drops the runtime. A runtime for which the kernel does
//! not answer in time is leaked, and counted.

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use compio::runtime::Runtime;

use super::{
    CompioPool,
    gate::{End, Ticket},
    quiet,
    worker::{Command, Local, Worker, forget_local},
};
use crate::unwind::{catch, discard, swallow};

/// Tasks dropped between two looks at the driver. Each may leave one cancel per operation in a
/// submission queue of 1024 entries by default; a full queue loses them.
const DROPS_PER_DRIVER_POLL: usize = 32;
/// Rounds of waking and dropping. A destructor may start new tasks; one that always does is cut off.
const ROUNDS: usize = 64;

/// Ends a worker after its loop. Whatever it still has is dropped here, on its own thread.
pub(crate) fn end(worker: Worker) {
    let was_drained = worker.is_drained();
    let (runtime, local, gate) = worker.leave();
    local.shared.set_ending();
    // A driver that panicked did so in the worker's sleep.
    local.shared.wakes_up();
    let quiet = runtime.enter(|| {
        drop_tasks(&runtime, &local);
        // From here on nothing can be added.
        local.close();
        local.drop_unadmitted(false);
        drop_queued(&runtime, &local);
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
    local.shared.rests();
    drop(local);
    gate.ended(was_drained);
}

/// Drops every task, started or not.
fn drop_tasks(runtime: &Runtime, local: &Rc<Local>) {
    for _ in 0..ROUNDS {
        local.collect();
        local.wake_all();
        drop_queued(runtime, local);
        if local.active() == 0 && local.is_idle() {
            break;
        }
    }
}

fn drop_queued(runtime: &Runtime, local: &Local) {
    // A driver that fails must not keep the tasks from being dropped: somebody waits for each.
    let flush = || swallow(|| runtime.poll_with(Some(Duration::ZERO)));
    let mut dropped = 0;
    while let Some(job) = local.queue.pop() {
        drop(job);
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
}

impl Shutdown {
    pub(crate) fn new(pool: CompioPool) -> Self {
        Self {
            pool,
            ordered: false,
            ticket: Ticket::default(),
        }
    }
}

impl Future for Shutdown {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // At each poll: whoever waits may have moved into a job of this pool since, or out of one.
        let end = if self.pool.shared().exempt_current_job() {
            End::Drained
        } else {
            End::Ended
        };
        if !self.ordered {
            self.ordered = true;
            self.pool.shared().order(Command::Drain);
        }
        let Self { pool, ticket, .. } = &mut *self;
        pool.shared().gate.poll(ticket, end, cx)
    }
}

impl Drop for Shutdown {
    fn drop(&mut self) {
        self.pool.shared().gate.forget(&self.ticket);
    }
}
