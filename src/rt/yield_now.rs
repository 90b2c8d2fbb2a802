use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

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
/// Who waits for a socket or a timer is a neighbour as well, but for a runtime to see that the wait is
/// over it has to look, and it does not do so at each turn: Compio, Tokio and a pool's worker do after 61
/// turns of tasks, unless set otherwise, and when there is nothing else to run. `tokio::task::yield_now` has
/// Tokio look earlier if all that could run has yielded; it never returns, though, in an executor's
/// `block_on` inside a task of Tokio's, which this does.
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
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
