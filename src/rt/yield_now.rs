use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    ptr,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll, Waker},
};

use tokio::task::LocalSet;

use super::Flavor;
#[cfg(all(feature = "net", unix))]
use crate::context::dual;
use crate::pool::make_way;

/// Lets the neighbours run: other tasks of the thread, and what waits in the same task beside it.
///
/// The task that awaits it goes to the end of its runtime's queue. For loops that compute for long, or
/// that may go on for long without ever having to wait.
///
/// # Where it runs
///
/// On whatever polls it; it needs neither runtime's context. In neither, it wakes its task and is
/// pending once, which any executor takes as "the others first".
///
/// Who waits for a socket or a timer is a neighbour as well: a task that yields runs again after the runtime
/// has looked whether such a wait is over. This holds for tasks of Tokio's, of Compio's, of a pool, of an
/// [attached](crate::CompioHandle::attach) runtime and of a `DualRuntime`; at the latest, a runtime looks after 61
/// turns of tasks, unless set otherwise. Unlike `tokio::task::yield_now`, this returns also where another
/// executor blocks on it inside a task of Tokio's; but not in a `LocalSet` that is driven there, whose tasks cannot be
/// told from the scheduler's own, which has to come back to its loop.
///
/// # Cancel safety
///
/// Dropping it forgets nothing but a wake-up, which may still come.
///
/// # Examples
///
/// ```
/// use std::{cell::Cell, rc::Rc};
///
/// use landbridge::rt;
///
/// async fn neighbourly() {
///     let turns = Rc::new(Cell::new(0));
///     let seen = Rc::clone(&turns);
///     let neighbour = rt::spawn_local(async move { seen.set(seen.get() + 1) });
///     assert_eq!(turns.get(), 0);
///     rt::yield_now().await;
///     assert_eq!(turns.get(), 1);
///     neighbour.await.unwrap();
/// }
///
/// # fn main() -> std::io::Result<()> {
/// compio::runtime::Runtime::new()?.block_on(neighbourly());
///
/// let tokio = tokio::runtime::Builder::new_current_thread().build()?;
/// tokio::task::LocalSet::new().block_on(&tokio, neighbourly());
/// # Ok(())
/// # }
/// ```
pub fn yield_now() -> YieldNow {
    YieldNow { yielded: false }
}

/// One turn for the neighbours; from [`yield_now`].
///
/// Pending at the first poll, and ready from then on.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        let flavor = Flavor::current();
        if (flavor == Some(Flavor::Tokio) || is_on_both()) && is_of_tokios_task(cx.waker()) {
            // Wakes the task after the next look at the driver. That is Tokio's scheduler's to do, and
            // nothing is left for the future to do: what it would return is ours to say.
            _ = pin!(tokio::task::yield_now()).poll(cx);
            #[cfg(all(feature = "net", unix))]
            dual::make_way();
            return Poll::Pending;
        }
        if flavor == Some(Flavor::Compio) {
            make_way();
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Whether what polls may be either side of a `DualRuntime`.
fn is_on_both() -> bool {
    #[cfg(all(feature = "net", unix))]
    return dual::is_here();
    #[cfg(not(all(feature = "net", unix)))]
    return false;
}

/// Whether Tokio's scheduler is what polls.
///
/// Tokio's own `yield_now` has it wake the task, when it comes back to its loop. It never does if what polls
/// is another executor's `block_on` inside of a task, and no variable of the thread tells. The waker does: all
/// of Tokio's tasks have the same table of functions, which is a `static` of Tokio's, so that it has one
/// address. If one day it has not, this says no, and the task is woken at once.
fn is_of_tokios_task(waker: &Waker) -> bool {
    static TASKS: AtomicUsize = AtomicUsize::new(0);

    let table = |waker: &Waker| ptr::from_ref(waker.vtable()).addr();
    if TASKS.load(Ordering::Relaxed) == 0 {
        // A set of tasks can be polled by hand, anywhere.
        let set = LocalSet::new();
        set.spawn_local(poll_fn(move |cx| {
            TASKS.store(table(cx.waker()), Ordering::Relaxed);
            Poll::Ready(())
        }));
        _ = pin!(set).poll(&mut Context::from_waker(Waker::noop()));
    }
    table(waker) == TASKS.load(Ordering::Relaxed)
}
