use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use super::{FAR, Instant, MissedTickBehavior, Sleep, after, now, sleep_until};

/// A tick that is later than this was missed; Tokio's number.
const LATE: Duration = Duration::from_millis(5);

/// Ticks every `period`, first at once, by the timer of whichever runtime polls.
///
/// # Where it runs
///
/// See [the module](crate::time#where-it-runs).
///
/// # Panics
///
/// If `period` is zero.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use landbridge::time::interval;
///
/// # fn main() -> std::io::Result<()> {
/// compio::runtime::Runtime::new()?.block_on(async {
///     let start = Instant::now();
///     let mut ticks = interval(Duration::from_millis(1));
///     let first = ticks.tick().await;
///     ticks.tick().await;
///     assert_eq!(ticks.tick().await - first, Duration::from_millis(2));
///     assert!(start.elapsed() >= Duration::from_millis(2));
/// });
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn interval(period: Duration) -> Interval {
    interval_at(now(), period)
}

/// Ticks every `period`, first at `start`; see [`interval()`].
///
/// # Panics
///
/// If `period` is zero.
#[track_caller]
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    assert!(!period.is_zero(), "`period` must be non-zero.");
    Interval {
        sleep: Box::pin(sleep_until(start)),
        period,
        missed: MissedTickBehavior::default(),
    }
}

/// Ticks; from [`interval()`] and [`interval_at`].
///
/// One allocation when it is made, none for a tick.
#[derive(Debug)]
pub struct Interval {
    sleep: Pin<Box<Sleep>>,
    period: Duration,
    missed: MissedTickBehavior,
}

impl Interval {
    /// Waits for the next tick; the time for which it was set.
    ///
    /// # Cancel safety
    ///
    /// A `tick` that is dropped before it was ready has used up no tick.
    ///
    /// # Panics
    ///
    /// Polled outside of both runtimes' contexts, or on a Tokio without `enable_time`.
    pub async fn tick(&mut self) -> Instant {
        poll_fn(|cx| self.poll_tick(cx)).await
    }

    /// [`tick`](Self::tick) for hand-written futures: `Pending` arranges for a wake-up of the task that
    /// polled last.
    pub fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<Instant> {
        ready!(self.sleep.as_mut().poll(cx));
        let tick = self.sleep.deadline();
        let now = now();
        let next = if now > after(tick, LATE) {
            self.after_missed(tick, now)
        } else {
            after(tick, self.period)
        };
        self.sleep.as_mut().reset(next);
        Poll::Ready(tick)
    }

    fn after_missed(&self, tick: Instant, now: Instant) -> Instant {
        match self.missed {
            MissedTickBehavior::Burst => after(tick, self.period),
            MissedTickBehavior::Delay => after(now, self.period),
            MissedTickBehavior::Skip => {
                let late = (now - tick).as_nanos() % self.period.as_nanos();
                // Less than the time since the tick, which fits if that does.
                let late = u64::try_from(late).map_or(FAR, Duration::from_nanos);
                after(now, self.period.saturating_sub(late))
            }
        }
    }

    /// The next tick is a period from now.
    pub fn reset(&mut self) {
        self.reset_after(self.period);
    }

    /// The next tick is now.
    pub fn reset_immediately(&mut self) {
        self.reset_at(now());
    }

    /// The next tick is in `time`.
    pub fn reset_after(&mut self, time: Duration) {
        self.reset_at(after(now(), time));
    }

    /// The next tick is at `deadline`.
    pub fn reset_at(&mut self, deadline: Instant) {
        self.sleep.as_mut().reset(deadline);
    }

    /// What becomes of ticks for which nobody waited in time.
    pub fn missed_tick_behavior(&self) -> MissedTickBehavior {
        self.missed
    }

    /// Sets what becomes of ticks for which nobody waited in time. At first they are made up for at once
    /// ([`Burst`](MissedTickBehavior::Burst)).
    pub fn set_missed_tick_behavior(&mut self, behavior: MissedTickBehavior) {
        self.missed = behavior;
    }

    /// From tick to tick.
    pub fn period(&self) -> Duration {
        self.period
    }
}
