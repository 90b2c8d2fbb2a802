//! What a waiting side does before it sleeps.
//!
//! Putting a thread to sleep and waking it again costs far more than anything else a crossing does
//! (about 6 µs for the one who wakes and 20 µs until the sleeper runs, on a virtual machine). So a
//! side that is about to sleep may look once more for a short while. The look is bounded, because it
//! holds up the sleeper's neighbours on the same thread.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// After this long a look ends, at the next reading of the clock: with what comes on top (see
/// [`UNTIMED`]) at most 20 µs, about what one sleep and wake-up costs.
const LOOK: Duration = Duration::from_micros(16);
/// What a few looks take that no reading of the clock sees: those before the first one, and those after
/// the deadline.
const UNTIMED: Duration = Duration::from_micros(3);
/// A look that found nothing is followed by a pause at least this many times as long: at most 5 % of
/// the time is spent on looks that do not pay.
const PAUSE_FACTOR: u32 = 20;
/// So many looks may be in vain before the first pause: one hiccup of the scheduler is no reason to
/// sleep through the next twenty messages.
const GRACE: u32 = 4;
/// The pause doubles with every further look that finds nothing, up to this.
const LONGEST_PAUSE: Duration = Duration::from_millis(10);
/// For so long a look keeps the CPU to itself; then it offers it to other threads between its turns,
/// since whoever is looked for may be waiting for this very CPU. A round trip between two awake threads
/// takes less than this.
///
/// An offer that takes as long as this was accepted: the CPU is shared with somebody who has work to
/// do. Sleeping is better then, found or not, and the look counts as one that did not pay.
const YIELD_AFTER: Duration = Duration::from_micros(1);
/// Looks between two readings of the clock, each with one hint to the CPU after it.
const LOOKS_PER_READING: usize = 16;
/// The most hints between two looks, where that pays: about a microsecond where a hint takes 28 ns (AMD EPYC) or
/// 45 (Intel since Skylake).
///
/// Whoever looks takes the cache line away from whoever is writing there. In a stream that costs the other side more
/// than the message, so it is left alone until there are about as many messages as hints were given.
const MOST_HINTS: usize = 32;

/// What a side does when it has nothing to do: sleep at once, or look again for a while first.
///
/// The same policy serves a pool's idle worker, the waiting side of a crossing and both sides of a
/// channel.
///
/// An adaptive look keeps its CPU for a microsecond and from then on offers it to other threads
/// between its turns; the 20 µs are time of this thread.
///
/// | policy | costs | use it |
/// |---|---|---|
/// | `Park` | two wake-ups for each round trip | on one CPU, or where every CPU is taken |
/// | `Adaptive` | at most 20 µs in one poll, and at most 5 % of the time while it does not pay | by default |
/// | `Spin` | up to the given time of one CPU, whenever there is nothing to do | for the lowest latency on a CPU of its own |
///
/// Measured from a Tokio task to a Compio thread, a CPU each, on a virtual machine with two (Linux
/// 6.18) and nothing else to do: wall time per message of a stream through a channel for 64 messages,
/// medians of 11 interleaved rounds, beside `tokio::sync::mpsc`; and what the receiving thread uses of
/// its CPU while nothing comes, and while a message comes every millisecond.
///
/// | | stream | of Tokio's | no messages | 1000 messages/s |
/// |---|---|---|---|---|
/// | `Park` | 773 ns | 1.1 | 0.01 % | 1.4 % |
/// | `Adaptive` | 23 ns | 0.03 | 0.01 % | 1.5 % |
/// | `Spin(50 µs)` | 31 ns | 0.04 | 0.01 % | 4.1 % |
/// | `tokio::sync::mpsc` | 761 ns | 1 | | 1.3 % |
///
/// That needs two CPUs that are free for the two threads. Where they must share one, the other side
/// cannot do anything while this one looks: `Adaptive` notices and parks, `Spin` does not.
///
/// An idle worker of a pool looks for up to 60 µs rather than 20: its own tasks do not wait for that,
/// because they end the look.
///
/// The guide: [channels](crate::guide::channels).
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

/// A [`Look`] for a handle that is used through `&self` and may be cloned: it is read before a look and written after
/// it, and locked for no longer. Of two looks at once the last to end is remembered.
///
/// A handle that lives for a single message learns nothing, and would begin anew each time. So the first look of each
/// handle goes by what the first looks of the others have come to; from then on it has an experience of its own.
#[derive(Debug)]
pub(crate) struct SharedLook {
    wait: Wait,
    own: Mutex<Option<Look>>,
    /// Of all first looks. From the first one or the second handle on: an idle channel has no memory for it.
    first: OnceLock<Arc<Mutex<Look>>>,
}

impl SharedLook {
    pub(crate) const fn new(wait: Wait) -> Self {
        Self {
            wait,
            own: Mutex::new(None),
            first: OnceLock::new(),
        }
    }

    /// One for another handle.
    pub(crate) fn another(&self) -> Self {
        Self {
            wait: self.wait,
            own: Mutex::new(None),
            first: OnceLock::from(Arc::clone(self.first())),
        }
    }

    /// One for a wait that lasts no longer than `duration`, where that makes a difference.
    #[cfg(feature = "pool")]
    pub(crate) fn bound_by(&self, duration: Duration) -> Option<Self> {
        let mut look = Look::new(self.wait);
        look.bound_by(duration);
        look.until.is_some().then(|| Self {
            wait: self.wait,
            own: Mutex::new(Some(look)),
            first: OnceLock::new(),
        })
    }

    /// See [`Look::look`].
    pub(crate) fn look(&self, found: impl FnMut() -> bool) -> bool {
        if cfg!(landbridge_loom) || self.wait == Wait::Park {
            return false;
        }
        let own = lock(&self.own).clone();
        let is_first = own.is_none();
        let mut look = own.unwrap_or_else(|| lock(self.first()).clone());
        let found = look.look(found);
        if is_first {
            lock(self.first()).clone_from(&look);
        }
        *lock(&self.own) = Some(look);
        found
    }

    fn first(&self) -> &Arc<Mutex<Look>> {
        self.first
            .get_or_init(|| Arc::new(Mutex::new(Look::new(self.wait))))
    }
}

// std's, also in a model: it is not held while anything happens that a model is about.
fn lock<T>(look: &Mutex<T>) -> MutexGuard<'_, T> {
    look.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One waiting side's memory of whether looking again has paid.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    wait: Wait,
    /// How long an adaptive look goes on.
    bound: Duration,
    /// Spent in vain since a look last paid, and not yet made up for by a pause.
    debt: Duration,
    pause: Duration,
    paused_until: Option<Instant>,
    /// Hints between two looks.
    hints: usize,
    /// How many messages had passed at the last look.
    passed: usize,
    /// The end of a wait with a bound on its time: no look goes on after it.
    until: Option<Instant>,
}

impl Look {
    pub(crate) const fn new(wait: Wait) -> Self {
        Self::with_bound(wait, LOOK)
    }

    /// For a side whose neighbours do not wait while it looks.
    pub(crate) const fn with_bound(wait: Wait, bound: Duration) -> Self {
        Self {
            wait,
            bound,
            debt: Duration::ZERO,
            pause: Duration::ZERO,
            paused_until: None,
            hints: 1,
            passed: 0,
            until: None,
        }
    }

    /// From now on no look goes on for longer than `duration`. Makes a difference to those only that have no bound
    /// of ours.
    #[cfg(feature = "pool")]
    pub(crate) fn bound_by(&mut self, duration: Duration) {
        if let Wait::Spin(_) = self.wait {
            self.until = Instant::now().checked_add(duration);
        }
    }

    #[cfg(feature = "pool")]
    pub(crate) fn unbound(&mut self) {
        self.until = None;
    }

    /// [`look`](Self::look) of an end that counts its messages, wrapping: in a stream it leaves more time between
    /// two looks than where one message is waited for at a time.
    pub(crate) fn look_after(&mut self, passed: usize, found: impl FnMut() -> bool) -> bool {
        let since = passed.wrapping_sub(self.passed);
        self.passed = passed;
        if since > self.hints {
            self.hints = (self.hints * 2).min(MOST_HINTS);
        } else if since < self.hints / 2 {
            self.hints /= 2;
        }
        self.look(found)
    }

    /// Calls `found` until it says yes or the look is over; whether it said yes.
    ///
    /// Allocates nothing and makes no system call but those of `found`.
    pub(crate) fn look(&mut self, found: impl FnMut() -> bool) -> bool {
        // A model has no clock, and looking adds nothing to its interleavings.
        if cfg!(landbridge_loom) || self.wait == Wait::Park {
            return false;
        }
        self.look_with(single_cpu(), Instant::now, found)
    }

    /// What the last look found was not what looking is for: it counts as having found nothing.
    #[cfg_attr(
        not(feature = "pool"),
        expect(dead_code, reason = "only a worker calls it")
    )]
    pub(crate) fn did_not_pay(&mut self) {
        if self.wait == Wait::Adaptive {
            self.in_vain(self.bound, Instant::now());
        }
    }

    fn look_with(
        &mut self,
        single_cpu: bool,
        mut now: impl FnMut() -> Instant,
        mut found: impl FnMut() -> bool,
    ) -> bool {
        let hints = self.hints;
        match self.wait {
            Wait::Park => false,
            Wait::Spin(bound) => {
                let start = now();
                // A time that the clock cannot tell never comes.
                let ends = [start.checked_add(bound), self.until];
                let deadline = ends.into_iter().flatten().min();
                look_until(start, deadline, hints, now, found).found
            }
            Wait::Adaptive => {
                if single_cpu {
                    return false;
                }
                if let Some(until) = self.paused_until {
                    if now() < until {
                        return false;
                    }
                } else if look_a_few_times(hints, &mut found) {
                    // While it pays, it often pays at once, and then the clock is not even read.
                    self.debt = Duration::ZERO;
                    return true;
                }
                let start = now();
                let outcome = look_until(start, Some(start + self.bound), hints, now, found);
                if outcome.found && !outcome.shared {
                    self.debt = Duration::ZERO;
                    self.pause = Duration::ZERO;
                    self.paused_until = None;
                } else {
                    self.in_vain(outcome.end - start + UNTIMED, outcome.end);
                }
                outcome.found
            }
        }
    }

    fn in_vain(&mut self, spent: Duration, end: Instant) {
        self.debt += spent;
        if self.pause.is_zero() && self.debt < self.bound * GRACE {
            return;
        }
        self.pause = (self.pause * 2)
            .min(LONGEST_PAUSE)
            .max(self.debt * PAUSE_FACTOR);
        self.debt = Duration::ZERO;
        self.paused_until = Some(end + self.pause);
    }
}

struct Outcome {
    found: bool,
    /// Another thread took the CPU when it was offered.
    shared: bool,
    end: Instant,
}

fn look_until(
    start: Instant,
    deadline: Option<Instant>,
    hints: usize,
    mut now: impl FnMut() -> Instant,
    mut found: impl FnMut() -> bool,
) -> Outcome {
    let mut shared = false;
    loop {
        let found = look_a_few_times(hints, &mut found);
        let end = now();
        if found || deadline.is_some_and(|deadline| end >= deadline) {
            return Outcome { found, shared, end };
        }
        if end - start >= YIELD_AFTER {
            thread::yield_now();
            shared |= now() - end >= YIELD_AFTER;
        }
    }
}

fn look_a_few_times(hints: usize, found: &mut impl FnMut() -> bool) -> bool {
    (0..(LOOKS_PER_READING / hints).max(1)).any(|_| {
        let found = found();
        if !found {
            (0..hints).for_each(|_| std::hint::spin_loop());
        }
        found
    })
}

/// Whether this process has one CPU, be it by a quota or by an affinity.
fn single_cpu() -> bool {
    static SINGLE: OnceLock<bool> = OnceLock::new();
    *SINGLE.get_or_init(|| {
        let one = thread::available_parallelism().is_ok_and(|cpus| cpus.get() == 1);
        // Perhaps it is just this thread that is pinned to a CPU; then its neighbours decide.
        one && !(allowed_cpus("thread-self") == Some(1) && allowed_cpus("self") > Some(1))
    })
}

/// How many CPUs the kernel allows the calling thread (`thread-self`) or the main thread (`self`).
/// `None` where there is no such file.
fn allowed_cpus(whose: &str) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{whose}/status")).ok()?;
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed:"))?;
    Some(
        mask.chars()
            .filter_map(|digit| digit.to_digit(16))
            .map(u32::count_ones)
            .sum(),
    )
}

#[cfg(all(test, not(landbridge_loom)))]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A clock that only the looks themselves drive: each takes 100 ns, a reading 25 ns.
    struct Clock {
        start: Instant,
        elapsed: Cell<Duration>,
    }

    impl Clock {
        fn new() -> Self {
            Self {
                start: Instant::now(),
                elapsed: Cell::default(),
            }
        }

        fn pass(&self, time: Duration) {
            self.elapsed.set(self.elapsed.get() + time);
        }

        /// The answer, and how long the look took.
        fn time(&self, look: &mut Look, mut found: impl FnMut() -> bool) -> (bool, Duration) {
            let before = self.elapsed.get();
            let now = || {
                self.pass(Duration::from_nanos(25));
                self.start + self.elapsed.get()
            };
            let found = look.look_with(false, now, || {
                self.pass(Duration::from_nanos(100));
                found()
            });
            (found, self.elapsed.get() - before)
        }
    }

    const READING: Duration = Duration::from_nanos(25);

    /// The neighbours of a waiting task wait with it: this is the bound that the docs promise them.
    #[test]
    fn an_adaptive_look_is_over_within_20_us() {
        let clock = Clock::new();
        let mut look = Look::new(Wait::Adaptive);
        for _ in 0..1000 {
            let (found, took) = clock.time(&mut look, || false);
            assert!(!found);
            assert!(took <= Duration::from_micros(20), "{took:?}");
            clock.pass(Duration::from_millis(100));
        }
    }

    /// A channel that is polled over and over with nothing in it must not burn the thread.
    #[test]
    fn looks_that_do_not_pay_take_at_most_5_percent_of_the_time() {
        for gap in [0, 1, 10, 100, 1_000, 10_000] {
            let clock = Clock::new();
            let mut look = Look::new(Wait::Adaptive);
            let mut looking = Duration::ZERO;
            while clock.elapsed.get() < Duration::from_millis(200) {
                let (_, took) = clock.time(&mut look, || false);
                if took > READING {
                    // What the grace allows is made up for by the pause that follows it, and a pause
                    // that has just begun counts in full.
                    let until_now = clock.elapsed.get() + look.pause;
                    looking += took;
                    let grace = look.bound * (GRACE + 1);
                    assert!(
                        looking.saturating_sub(grace) * 20 <= until_now,
                        "{looking:?} of {until_now:?}"
                    );
                }
                clock.pass(Duration::from_micros(gap) + READING);
            }
        }
    }

    /// A clone for each message is a common way to send.
    #[test]
    fn handles_that_live_for_one_look_learn_from_each_other() {
        let parent = SharedLook::new(Wait::Adaptive);
        let looked = (0..1000).filter(|_| {
            let mut looks = 0;
            parent.another().look(|| {
                looks += 1;
                false
            });
            looks > 0
        });
        assert!(looked.count() <= 100);
    }

    /// Quiet means quiet: a long silence makes the looks rarer and rarer.
    #[test]
    fn a_side_that_stays_idle_looks_ever_more_rarely() {
        let clock = Clock::new();
        let mut look = Look::new(Wait::Adaptive);
        let mut looks = 0;
        while clock.elapsed.get() < Duration::from_secs(1) {
            let (_, took) = clock.time(&mut look, || false);
            looks += u32::from(took > READING);
            clock.pass(Duration::from_micros(100));
        }
        assert!(looks <= 110, "{looks} looks in a second");
    }

    /// While it pays, every wait begins with a look, or the first slow message would turn it off.
    #[test]
    fn a_look_that_paid_is_repeated_and_ends_the_pause() {
        let clock = Clock::new();
        let mut look = Look::new(Wait::Adaptive);
        while look.pause.is_zero() {
            assert!(!clock.time(&mut look, || false).0);
        }
        assert!(!clock.time(&mut look, || true).0, "it pauses");
        clock.pass(LONGEST_PAUSE);
        for _ in 0..100 {
            let mut left = 40;
            let (found, _) = clock.time(&mut look, || {
                left -= 1;
                left == 0
            });
            assert!(found);
        }
    }

    /// Each look at a stream takes the cache line from whoever writes there; a round trip waits for each.
    #[test]
    fn a_stream_is_looked_at_less_often_and_a_round_trip_as_soon_as_may_be() {
        let mut look = Look::new(Wait::Spin(Duration::ZERO));
        let mut passed = usize::MAX - 500;
        let mut see = |look: &mut Look, messages: usize| {
            passed = passed.wrapping_add(messages);
            look.look_after(passed, || true);
            look.hints
        };
        see(&mut look, 0);
        for _ in 0..20 {
            see(&mut look, 1000);
        }
        assert_eq!(look.hints, MOST_HINTS);
        // Not so many that a small channel is full long before.
        let of_twelve = (0..20).map(|_| see(&mut look, 12)).last();
        assert!(of_twelve <= Some(2 * 12), "{of_twelve:?}");
        let one_by_one = (0..20).map(|_| see(&mut look, 1)).last();
        assert!(one_by_one <= Some(3), "{one_by_one:?}");
        let nothing = (0..20).map(|_| see(&mut look, 0)).last();
        assert_eq!(nothing, Some(1));
    }

    /// On one CPU the other side cannot do anything while this one looks.
    #[test]
    fn adaptive_does_not_look_on_one_cpu() {
        let mut look = Look::new(Wait::Adaptive);
        let found = look.look_with(true, Instant::now, || panic!("it looked"));
        assert!(!found);
    }

    /// `Park` promises no look at all.
    #[test]
    fn park_does_not_look() {
        assert!(!Look::new(Wait::Park).look(|| panic!("it looked")));
    }

    /// `Spin` is for those who pay for latency: it never pauses.
    #[test]
    fn spin_looks_for_its_time_every_time() {
        let clock = Clock::new();
        let bound = Duration::from_micros(50);
        let mut look = Look::new(Wait::Spin(bound));
        for _ in 0..10 {
            let (found, took) = clock.time(&mut look, || false);
            assert!(!found);
            assert!(took >= bound && took < bound + UNTIMED * 2, "{took:?}");
        }
    }

    /// "For ever" is a time that somebody will ask for; the clock cannot tell when that is over.
    #[test]
    fn spin_may_be_longer_than_the_clock_can_tell() {
        let clock = Clock::new();
        let mut left = 1000;
        let (found, _) = clock.time(&mut Look::new(Wait::Spin(Duration::MAX)), || {
            left -= 1;
            left == 0
        });
        assert!(found);
    }

    /// A pinned worker is the rule on a pool; its own affinity must not turn everybody's looks off.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_cpus_of_the_process_can_be_counted() {
        assert!(allowed_cpus("self") >= Some(1));
        assert!(allowed_cpus("thread-self") >= Some(1));
    }
}
