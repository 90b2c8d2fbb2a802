use std::{
    future::{Future, IntoFuture},
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::task::coop;

use super::{Elapsed, Instant, Sleep, sleep, sleep_until};

/// Waits for `future`, for no longer than `duration`.
///
/// What [`tokio::time::timeout`] is on Tokio and `compio::time::timeout` on Compio. The future is polled
/// first each time, so one that is ready at once is `Ok`, also where the time is zero.
///
/// # Where it runs
///
/// The future is polled and dropped where this is. The timer is set once the future has to wait; see
/// [the module](crate::time#where-it-runs).
///
/// # Cancel safety
///
/// That of the future, which is dropped with this. Where the time is up, it is dropped with the
/// [`Timeout`], or taken out by [`into_inner`](Timeout::into_inner) before.
///
/// # Errors
///
/// [`Elapsed`] if the time is up and the future is not ready.
///
/// # Panics
///
/// When the future has to wait outside of both runtimes' contexts, or on a Tokio without `enable_time`;
/// and when the future panics.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use landbridge::time::timeout;
///
/// # fn main() -> std::io::Result<()> {
/// compio::runtime::Runtime::new()?.block_on(async {
///     assert_eq!(timeout(Duration::from_secs(3600), async { 42 }).await, Ok(42));
///     let never = std::future::pending::<()>();
///     assert!(timeout(Duration::from_millis(1), never).await.is_err());
/// });
/// # Ok(())
/// # }
/// ```
pub fn timeout<F: IntoFuture>(duration: Duration, future: F) -> Timeout<F::IntoFuture> {
    Timeout {
        future: future.into_future(),
        sleep: sleep(duration),
    }
}

/// Waits for `future`, for no longer than until `deadline`; see [`timeout()`].
pub fn timeout_at<F: IntoFuture>(deadline: Instant, future: F) -> Timeout<F::IntoFuture> {
    Timeout {
        future: future.into_future(),
        sleep: sleep_until(deadline),
    }
}

pin_project! {
    /// A future and the time it has; from [`timeout()`] and [`timeout_at`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Timeout<F> {
        #[pin]
        future: F,
        #[pin]
        sleep: Sleep,
    }
}

impl<F> Timeout<F> {
    /// The future.
    pub fn get_ref(&self) -> &F {
        &self.future
    }

    /// The future.
    pub fn get_mut(&mut self) -> &mut F {
        &mut self.future
    }

    /// The future, without its bound.
    pub fn into_inner(self) -> F {
        self.future
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let budget_before = coop::has_budget_remaining();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        let elapsed = if budget_before && !coop::has_budget_remaining() {
            // On Tokio, a future that uses up the task's budget each time would never be timed out.
            pin!(coop::unconstrained(this.sleep)).poll(cx)
        } else {
            this.sleep.poll(cx)
        };
        elapsed.map(|()| Err(Elapsed::new()))
    }
}
