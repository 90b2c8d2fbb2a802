use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use ::hyper::rt::{Sleep, Timer};

use crate::time::OnCompio;

/// hyper's timeouts, by the timer of the Compio runtime that polls them.
///
/// What `TokioTimer` of hyper-util is on Tokio: for the builders' `timer`, without which hyper refuses
/// `header_read_timeout`, `keep_alive_interval` and their like.
///
/// A sleep costs one allocation, which hyper's trait asks for. It is `Send + Sync`, as that trait asks
/// too, though Compio's timers are not: polled on another thread, or in another runtime, it is set
/// there anew for the same deadline. What it leaves behind goes when that thread next sets a timer, or
/// at the deadline.
///
/// # Where it runs
///
/// In a Compio runtime's context; a pool's worker has it. A sleep may be made, reset and dropped
/// anywhere. A time too far away for an [`Instant`] is taken as thirty years.
///
/// # Panics
///
/// A sleep panics when it is polled outside of a Compio runtime's context.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use hyper::rt::Timer;
/// use landbridge::hyper::CompioTimer;
///
/// # fn main() -> std::io::Result<()> {
/// let start = Instant::now();
/// let mut sleep = CompioTimer.sleep(Duration::from_secs(3600));
/// CompioTimer.reset(&mut sleep, start + Duration::from_millis(5));
/// compio::runtime::Runtime::new()?.block_on(sleep);
/// assert!(start.elapsed() >= Duration::from_millis(5));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct CompioTimer;

impl Timer for CompioTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        /// What Tokio takes for ever, too.
        const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

        let now = Instant::now();
        self.sleep_until(now.checked_add(duration).unwrap_or_else(|| now + FAR))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(CompioSleep::until(deadline))
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, new_deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<CompioSleep>() {
            Some(mut ours) => ours.set(CompioSleep::until(new_deadline)),
            None => *sleep = self.sleep_until(new_deadline),
        }
    }
}

struct CompioSleep {
    deadline: Instant,
    timer: OnCompio,
}

impl CompioSleep {
    fn until(deadline: Instant) -> Self {
        Self {
            deadline,
            timer: OnCompio::default(),
        }
    }
}

impl Sleep for CompioSleep {}

impl Future for CompioSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        // Once it was ready, the deadline has passed, and it is ready at once.
        this.timer.poll(this.deadline, cx).unwrap_or_else(|| {
            panic!(
                "a sleep of `landbridge::hyper::CompioTimer` was polled outside of a Compio \
                 runtime's context; on Tokio, use `TokioTimer` of hyper-util"
            )
        })
    }
}
