//! What a waiting side does before it sleeps.
//!
//! Putting a thread to sleep and waking it again costs far more than anything else a crossing does
//! (about 6 µs for the one who wakes and 20 µs until the sleeper runs, on a virtual machine). So a
//! side that is about to sleep may look once more for a short while. The look is bounded, because it
//! holds up the sleeper's neighbours on the same thread.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

/// The longest a single adaptive look may take: about what one sleep and wake-up costs.
const LOOK: Duration = Duration::from_micros(20);
/// A look that found nothing is followed by a pause at least this many times as long: at most 5 % of
/// the time is spent on looks that do not pay.
const PAUSE_FACTOR: u32 = 20;
/// The pause doubles with every further look that finds nothing, up to this.
const LONGEST_PAUSE: Duration = Duration::from_millis(10);
/// So much may be spent on looks in vain before the first pause: one hiccup of the scheduler is no
/// reason to sleep through the next twenty messages.
const GRACE: Duration = Duration::from_micros(60);
/// For so long a look keeps the CPU to itself; then it lets other threads have it between its turns,
/// since whoever is looked for may be waiting for this very CPU. A round trip between two awake threads
/// takes less than this.
const YIELD_AFTER: Duration = Duration::from_micros(1);
/// Looks between two readings of the clock.
const LOOKS_PER_READING: u32 = 16;

/// What a side does when it has nothing to do: sleep at once, or look again for a while first.
///
/// The same policy serves a pool's idle worker ([`idle`](crate::pool::Builder::idle)), the waiting
/// side of a crossing and both sides of a channel.
///
/// | policy | costs | use it |
/// |---|---|---|
/// | `Park` | two wake-ups for each round trip | on one CPU, or where every CPU is taken |
/// | `Adaptive` | at most 20 µs in one poll, and at most 5 % of the time while it does not pay | by default |
/// | `Spin` | up to the given time of one CPU, whenever there is nothing to do | for the lowest latency on a CPU of its own |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wait {
    /// Sleep at once.
    Park,
    /// Look again before sleeping, as long as that has been paying.
    ///
    /// On a process with one CPU this is [`Park`](Self::Park).
    #[default]
    Adaptive,
    /// Always look again for this long before sleeping.
    ///
    /// Whatever else the thread has to do waits meanwhile.
    Spin(Duration),
}

/// One waiting side's memory of whether looking again has paid.
#[derive(Debug)]
pub(crate) struct Look {
    wait: Wait,
    /// Spent in vain since a look last paid, and not yet made up for by a pause.
    debt: Duration,
    pause: Duration,
    paused_until: Option<Instant>,
}

impl Look {
    pub(crate) const fn new(wait: Wait) -> Self {
        Self {
            wait,
            debt: Duration::ZERO,
            pause: Duration::ZERO,
            paused_until: None,
        }
    }

    /// Calls `found` until it says yes or the look is over; whether it said yes.
    ///
    /// Allocates nothing and makes no system call but those of `found`.
    pub(crate) fn look(&mut self, mut found: impl FnMut() -> bool) -> bool {
        match self.wait {
            Wait::Park => false,
            Wait::Spin(bound) => look_for(bound, Instant::now(), &mut found).is_none(),
            Wait::Adaptive => {
                if single_cpu() {
                    return false;
                }
                let start = Instant::now();
                if self.paused_until.is_some_and(|until| start < until) {
                    return false;
                }
                match look_for(LOOK, start, &mut found) {
                    None => {
                        self.debt = Duration::ZERO;
                        self.pause = Duration::ZERO;
                        self.paused_until = None;
                        true
                    }
                    Some(end) => {
                        self.in_vain(end - start, end);
                        false
                    }
                }
            }
        }
    }

    /// What the last look found was not what looking is for: it counts as having found nothing.
    #[cfg_attr(
        not(feature = "pool"),
        expect(dead_code, reason = "only a worker calls it")
    )]
    pub(crate) fn did_not_pay(&mut self) {
        self.in_vain(LOOK, Instant::now());
    }

    fn in_vain(&mut self, spent: Duration, end: Instant) {
        self.debt += spent;
        if self.pause.is_zero() && self.debt < GRACE {
            return;
        }
        self.pause = (self.pause * 2)
            .min(LONGEST_PAUSE)
            .max(self.debt * PAUSE_FACTOR);
        self.debt = Duration::ZERO;
        self.paused_until = Some(end + self.pause);
    }
}

/// `None` when found; else the time at which the look ended.
fn look_for(bound: Duration, start: Instant, found: &mut impl FnMut() -> bool) -> Option<Instant> {
    loop {
        for _ in 0..LOOKS_PER_READING {
            if found() {
                return None;
            }
            std::hint::spin_loop();
        }
        let now = Instant::now();
        if now - start >= bound {
            return Some(now);
        }
        if now - start >= YIELD_AFTER {
            std::thread::yield_now();
        }
    }
}

fn single_cpu() -> bool {
    static SINGLE: OnceLock<bool> = OnceLock::new();
    *SINGLE.get_or_init(|| std::thread::available_parallelism().is_ok_and(|n| n.get() == 1))
}
