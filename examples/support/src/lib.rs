//! What the demonstrations of the templates share: what a piece of work has cost, and a process's own signals
//! for tests. No template needs it once it is copied.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// What some work has cost this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Cost {
    /// By the clock.
    pub wall: Duration,
    /// On all processors together; nothing where it is not known.
    pub cpu: Duration,
}

impl Cost {
    /// What one of `times` has cost.
    ///
    /// # Panics
    ///
    /// If `times` is 0.
    #[must_use]
    pub fn each(self, times: u32) -> Self {
        Self {
            wall: self.wall / times,
            cpu: self.cpu / times,
        }
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>9.1} us  {:>9.1} us of CPU",
            micros(self.wall),
            micros(self.cpu)
        )
    }
}

/// In microseconds, as tables show them.
#[must_use]
pub fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// Measures a [`Cost`].
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    wall: Instant,
    cpu: Duration,
}

impl Stopwatch {
    /// From now on.
    #[must_use]
    pub fn start() -> Self {
        Self {
            cpu: cpu_of_process(),
            wall: Instant::now(),
        }
    }

    /// What it has cost since then.
    #[must_use]
    pub fn stop(self) -> Cost {
        Cost {
            wall: self.wall.elapsed(),
            cpu: cpu_of_process().saturating_sub(self.cpu),
        }
    }
}

/// The median, of each figure for itself: rounds that are run in turns are not disturbed by what else the
/// machine does.
///
/// # Panics
///
/// If there is none.
#[must_use]
pub fn median(costs: &[Cost]) -> Cost {
    let middle = |figure: fn(&Cost) -> Duration| {
        let mut figures: Vec<_> = costs.iter().map(figure).collect();
        figures.sort_unstable();
        figures[figures.len() / 2]
    };
    Cost {
        wall: middle(|cost| cost.wall),
        cpu: middle(|cost| cost.cpu),
    }
}

/// How long this process has been on a processor.
#[must_use]
pub fn cpu_of_process() -> Duration {
    #[cfg(unix)]
    return cpu(rustix::time::ClockId::ProcessCPUTime);
    #[cfg(not(unix))]
    Duration::ZERO
}

/// How long this thread has been on a processor.
#[must_use]
pub fn cpu_of_thread() -> Duration {
    #[cfg(unix)]
    return cpu(rustix::time::ClockId::ThreadCPUTime);
    #[cfg(not(unix))]
    Duration::ZERO
}

/// How long the threads of this process whose names begin with `name` have been on a processor, those that
/// have ended left out; nothing where the system does not tell.
#[must_use]
pub fn cpu_of_threads(name: &str) -> Option<Duration> {
    let mut sum = None;
    for thread in std::fs::read_dir("/proc/self/task").ok()? {
        let dir = thread.ok()?.path();
        // A thread that ends meanwhile has no files any more.
        let (Ok(comm), Ok(stat)) = (
            std::fs::read_to_string(dir.join("comm")),
            std::fs::read_to_string(dir.join("schedstat")),
        ) else {
            continue;
        };
        if comm.starts_with(name) {
            let nanos = stat.split(' ').next()?.parse().ok()?;
            *sum.get_or_insert(Duration::ZERO) += Duration::from_nanos(nanos);
        }
    }
    sum
}

#[cfg(unix)]
fn cpu(clock: rustix::time::ClockId) -> Duration {
    let spent = rustix::time::clock_gettime(clock);
    Duration::new(
        spent.tv_sec.try_into().unwrap_or(0),
        spent.tv_nsec.try_into().unwrap_or(0),
    )
}

/// Sends this process SIGTERM, for a test of what listens to it.
///
/// # Errors
///
/// What the system says.
#[cfg(unix)]
pub fn terminate_this_process() -> std::io::Result<()> {
    signal_this_process(rustix::process::Signal::TERM)
}

/// Sends this process SIGHUP, as an operator does for a reload.
///
/// # Errors
///
/// What the system says.
#[cfg(unix)]
pub fn hang_up_this_process() -> std::io::Result<()> {
    signal_this_process(rustix::process::Signal::HUP)
}

#[cfg(unix)]
fn signal_this_process(signal: rustix::process::Signal) -> std::io::Result<()> {
    let this = rustix::process::getpid();
    Ok(rustix::process::kill_process(this, signal)?)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// A table of costs is of no use if the clock behind it stands still.
    #[test]
    fn work_costs_time_and_a_processor() {
        let watch = Stopwatch::start();
        let mut sum = 0_u64;
        while cpu_of_thread() < Duration::from_millis(5) {
            sum = std::hint::black_box(sum + 1);
        }
        let cost = watch.stop();
        assert!(cost.wall > Duration::ZERO);
        assert!(cost.cpu > Duration::ZERO);
    }

    /// What a server costs is told apart from its clients by the names of its threads.
    #[test]
    #[cfg(target_os = "linux")]
    fn threads_are_told_apart_by_their_names() {
        let busy = std::thread::Builder::new().name("cpu-busy-7".to_owned());
        let spent = busy.spawn(|| {
            while cpu_of_thread() < Duration::from_millis(5) {}
            (cpu_of_threads("cpu-busy"), cpu_of_threads("cpu-none"))
        });
        let (busy, none) = spent.unwrap().join().unwrap();
        // What the scheduler has not yet added is at most a tick.
        assert!(busy.is_none_or(|spent| spent < Duration::from_secs(60)));
        assert_eq!(none, None);
    }

    /// One round in which the machine did something else is not the answer.
    #[test]
    fn the_median_leaves_out_what_sticks_out() {
        let cost = |wall| Cost {
            wall: Duration::from_micros(wall),
            cpu: Duration::from_micros(wall * 2),
        };
        assert_eq!(median(&[cost(3), cost(900), cost(1)]), cost(3));
    }
}
