//! Time of whichever runtime polls: for code that serves both.
//!
//! The guide: [contexts](crate::guide::contexts).
//!
//! # When to use this
//!
//! Where `tokio::time` or `compio::time` would do but the code does not know which of the two drives
//! it, or may be moved from one to the other. The names and shapes are those of `tokio::time`; so are
//! [`Instant`] and [`MissedTickBehavior`].
//!
//! ```
//! use std::time::Duration;
//!
//! use landbridge::time::{Elapsed, timeout};
//!
//! async fn answer_in_time(answer: impl Future<Output = u32>) -> Result<u32, Elapsed> {
//!     timeout(Duration::from_millis(5), answer).await
//! }
//!
//! # fn main() -> std::io::Result<()> {
//! let compio = compio::runtime::Runtime::new()?;
//! assert_eq!(compio.block_on(answer_in_time(async { 42 })), Ok(42));
//! assert!(compio.block_on(answer_in_time(std::future::pending())).is_err());
//!
//! let tokio = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
//! assert_eq!(tokio.block_on(answer_in_time(async { 42 })), Ok(42));
//! assert!(tokio.block_on(answer_in_time(std::future::pending())).is_err());
//! # Ok(())
//! # }
//! ```
//!
//! # Where it runs
//!
//! The rule, at each poll: the timer is Compio's if Compio's context is set, which it is only while that
//! thread drives it, else Tokio's if Tokio's context is set. So it is Compio's on a pool's worker, also
//! on one that was given a Tokio with [`tokio`](crate::pool::Builder::tokio). In neither context a poll
//! panics and says so; so it does where Tokio was built without `enable_time`.
//!
//! Everything here may be made, reset and dropped anywhere, and is `Send` and `Sync`. A duration counts
//! from the call that it is given to, not from the first poll; one that is too long for the clock is
//! taken as thirty years.
//!
//! # What becomes of a pending sleep that moves
//!
//! It keeps its deadline. Polled in another runtime than before, be it of the other kind or of the same,
//! it is set there anew, and what is left of it in the old one wakes nobody or wakes in vain. That the
//! old runtime has ended does not matter. A move that is not followed by a poll leaves the sleep where it
//! was: the task that polled it there is woken.
//!
//! A sleep that outlives the Compio runtime it was polled in keeps a little of it, the last waker and a
//! descriptor among that, until it is polled elsewhere or dropped. Dropped on another thread, that is given
//! back when the first thread next sets a timer, or ends.
//!
//! # Tokio's paused clock
//!
//! On Tokio, `tokio::time::pause` and `advance` work on these timers as on Tokio's own. Compio's clock is
//! not paused by that: where Compio's context is set, durations are measured by the system's clock, though
//! [`Instant::now`] answers with Tokio's if a Tokio's context is set too.

mod interval;
mod on_compio;
mod sleep;
mod timeout;

pub use interval::{Interval, interval, interval_at};
pub(crate) use on_compio::OnCompio;
pub use sleep::{Sleep, sleep, sleep_until};
pub use timeout::{Timeout, timeout, timeout_at};
pub use tokio::time::{Instant, MissedTickBehavior};

pub use crate::error::Elapsed;

use std::time::Duration;

use compio::runtime::Runtime;

/// What Tokio takes for ever, too.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// Whether a timer that is polled here and now is to be Compio's.
fn on_compio() -> bool {
    Runtime::try_with_current(|_| ()).is_ok()
}

/// By the clock of the timer that would be set here.
fn now() -> Instant {
    if on_compio() {
        std::time::Instant::now().into()
    } else {
        Instant::now()
    }
}

fn after(start: Instant, duration: Duration) -> Instant {
    let far = || start.checked_add(FAR);
    start.checked_add(duration).or_else(far).unwrap_or(start)
}
