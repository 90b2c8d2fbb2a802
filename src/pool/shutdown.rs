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
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use compio::runtime::Runtime;

use super::{
    CompioPool,
    gate::End,
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
    let leak = {
        let mut quiet = false;
        // A panic here can only come from Compio's driver; what it was about to free is leaked.
        if let Err(payload) = catch(|| {
            runtime.enter(|| {
                drop_tasks(&runtime, &local);
                drop_compio_tasks(&runtime);
                quiet = quiet::wait_until_quiet(&runtime);
            });
        }) {
            discard(payload);
        }
        !quiet
    };
    let shared = Arc::clone(&local.shared);
    close(&local);
    forget_local();
    drop(local);
    if leak {
        shared.own.leaked_runtimes.add(1);
        std::mem::forget(runtime);
    } else {
        swallow(|| drop(runtime));
    }
    gate.ended(was_drained);
}

/// Drops every task, started or not, and closes the inbox.
fn drop_tasks(runtime: &Runtime, local: &Rc<Local>) {
    for _ in 0..ROUNDS {
        local.collect();
        local.wake_all();
        let mut dropped = 0;
        while let Some(job) = local.queue.pop() {
            drop(job);
            dropped += 1;
            if dropped % DROPS_PER_DRIVER_POLL == 0 {
                runtime.poll_with(Some(Duration::ZERO));
            }
        }
        runtime.poll_with(Some(Duration::ZERO));
        if local.queue.is_empty() && local.active() == 0 {
            break;
        }
    }
    close(local);
}

/// From here on nothing can be added from outside, and what was not started may go anywhere.
fn close(local: &Local) {
    local.close();
    while let Some(job) = local.queue.pop() {
        drop(job);
    }
}

/// Drops what the user started with Compio's own `spawn`.
///
/// Compio offers no call for it short of dropping the runtime, which would drop the driver too. But
/// its `block_on` promises to clear the executor when the future panics; resuming an unwind panics
/// without troubling the panic hook.
fn drop_compio_tasks(runtime: &Runtime) {
    swallow(|| runtime.block_on(async { std::panic::resume_unwind(Box::new(())) }));
}

/// Waits for a pool's end; see [`CompioPool::shutdown`].
#[derive(Debug)]
#[must_use = "a shutdown does nothing unless it is awaited"]
pub struct Shutdown {
    /// Keeps the pool from being dropped, which would cancel what is to be drained.
    pool: CompioPool,
    end: Option<End>,
}

impl Shutdown {
    pub(crate) fn new(pool: CompioPool) -> Self {
        Self { pool, end: None }
    }
}

impl Future for Shutdown {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let end = match self.end {
            Some(end) => end,
            None => {
                let shared = self.pool.shared();
                let end = if shared.exempt_current_job() {
                    End::Drained
                } else {
                    End::Ended
                };
                self.end = Some(end);
                self.pool.shared().order(Command::Drain);
                end
            }
        };
        self.pool.shared().gate.poll(end, cx)
    }
}
