//! For code that serves both runtimes.

use std::{future::Future, panic::Location};

use crate::{
    pool::{home_here, schedule},
    spawn::task,
};

/// Starts `future` on this thread, in Compio's context; it goes on by itself.
///
/// On a worker or an attached runtime it is a task of ours: a wake-up from another thread goes through
/// the inbox, and the pool's shutdown waits for it. On another Compio runtime, also one that a job runs
/// inside itself, it is a task of Compio's.
pub(crate) fn spawn_local_detached(future: impl Future<Output = ()> + 'static) {
    match home_here() {
        Some(home) => {
            let (job, task) = task::new_local(&home, || future, Location::caller());
            task.detach();
            schedule(job);
        }
        None => compio::runtime::spawn(future).detach(),
    }
}
