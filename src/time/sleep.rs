use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::runtime::{Handle, Id};

use super::{Instant, OnCompio, after, now, on_compio};

/// Waits until `duration` has passed, by the timer of whichever runtime polls.
///
/// What [`tokio::time::sleep`] is on Tokio and `compio::time::sleep` on Compio; never earlier than asked
/// for, and as much later as that timer is: Tokio's counts in milliseconds.
///
/// # Where it runs
///
/// See [the module](crate::time#where-it-runs).
///
/// # Cancel safety
///
/// Dropping it takes the timer back.
///
/// # Panics
///
/// Polled outside of both runtimes' contexts, or on a Tokio without `enable_time`.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use landbridge::time::sleep;
///
/// # fn main() -> std::io::Result<()> {
/// let compio = compio::runtime::Runtime::new()?;
/// let start = Instant::now();
/// compio.block_on(sleep(Duration::from_millis(2)));
/// assert!(start.elapsed() >= Duration::from_millis(2));
/// # Ok(())
/// # }
/// ```
pub fn sleep(duration: Duration) -> Sleep {
    Sleep::until(after(now(), duration))
}

/// Waits until `deadline`, by the timer of whichever runtime polls; see [`sleep()`].
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep::until(deadline)
}

pin_project! {
    /// A wait for a deadline; from [`sleep()`] and [`sleep_until`].
    ///
    /// It allocates nothing. Once it was ready it stays so, until it is [`reset`](Self::reset).
    #[must_use = "futures do nothing unless polled"]
    #[project(!Unpin)]
    pub struct Sleep {
        deadline: Instant,
        #[pin]
        state: State,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State {
        /// No timer is set.
        Idle,
        Compio {
            timer: OnCompio,
            // What the timer is set for: the deadline may have been changed since.
            armed: Instant,
        },
        Tokio {
            #[pin]
            timer: tokio::time::Sleep,
            // Whose timer it is.
            runtime: Id,
        },
        Elapsed,
    }
}

impl Sleep {
    fn until(deadline: Instant) -> Self {
        Self {
            deadline,
            state: State::Idle,
        }
    }

    /// When it is over.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether the deadline has passed.
    pub fn is_elapsed(&self) -> bool {
        matches!(self.state, State::Elapsed) || self.deadline <= now()
    }

    /// Waits for another deadline, also after it was ready.
    ///
    /// A task that waits is woken no later than at the later of the two deadlines. To be woken at the new
    /// one where that is earlier, poll again: Compio's timer is not set anew before, though Tokio's is.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{pin::pin, time::Duration};
    ///
    /// use landbridge::time::{Instant, sleep};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// compio::runtime::Runtime::new()?.block_on(async {
    ///     let mut sleep = pin!(sleep(Duration::from_secs(3600)));
    ///     sleep.as_mut().reset(Instant::now() + Duration::from_millis(1));
    ///     sleep.await;
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn reset(self: Pin<&mut Self>, deadline: Instant) {
        let mut this = self.project();
        *this.deadline = deadline;
        match this.state.as_mut().project() {
            // It may be somebody else's thread, so the timer stays, and the next poll looks.
            StateProjection::Idle | StateProjection::Compio { .. } => {}
            StateProjection::Tokio { timer, .. } => timer.reset(deadline),
            StateProjection::Elapsed => this.state.set(State::Idle),
        }
    }

    fn poll_on_compio(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let deadline = *this.deadline;
        if !matches!(*this.state, State::Compio { .. }) {
            this.state.set(State::Compio {
                timer: OnCompio::default(),
                armed: deadline,
            });
        }
        let StateProjection::Compio { timer, armed } = this.state.as_mut().project() else {
            unreachable!("set above");
        };
        // One that is set too early goes on, and is set anew when it is over: a deadline that is put off
        // over and over, as time-outs of connections are, costs nothing then.
        if *armed > deadline {
            timer.clear();
            *armed = deadline;
        }
        loop {
            match timer.poll((*armed).into_std(), cx) {
                None => no_runtime(),
                Some(Poll::Pending) => return Poll::Pending,
                Some(Poll::Ready(())) if *armed < deadline => *armed = deadline,
                Some(Poll::Ready(())) => break,
            }
        }
        this.state.set(State::Elapsed);
        Poll::Ready(())
    }

    fn poll_on_tokio(self: Pin<&mut Self>, here: Id, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        if !matches!(*this.state, State::Tokio { runtime, .. } if runtime == here) {
            this.state.set(State::Tokio {
                timer: tokio::time::sleep_until(*this.deadline),
                runtime: here,
            });
        }
        let StateProjection::Tokio { timer, .. } = this.state.as_mut().project() else {
            unreachable!("set above");
        };
        let polled = timer.poll(cx);
        if polled.is_ready() {
            this.state.set(State::Elapsed);
        }
        polled
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if matches!(self.state, State::Elapsed) {
            return Poll::Ready(());
        }
        if on_compio() {
            return self.poll_on_compio(cx);
        }
        match Handle::try_current() {
            Ok(tokio) => {
                let here = tokio.id();
                drop(tokio);
                self.poll_on_tokio(here, cx)
            }
            Err(_) => no_runtime(),
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

#[cold]
fn no_runtime() -> ! {
    panic!(
        "a timer of `landbridge::time` was polled outside of the context of a Compio or a Tokio \
         runtime, one of which has to drive it"
    )
}
