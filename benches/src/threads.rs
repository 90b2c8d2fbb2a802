//! What a benchmark asks of the operating system about its threads.

use std::time::Duration;

/// CPU time, user and kernel, that the calling thread has used. Zero where it cannot be had.
#[cfg(target_os = "linux")]
pub fn cpu_time() -> Duration {
    read(rustix::time::ClockId::ThreadCPUTime)
}

/// CPU time, user and kernel, that all threads of the process have used, those that have ended
/// included. Zero where it cannot be had.
#[cfg(target_os = "linux")]
pub fn process_cpu_time() -> Duration {
    read(rustix::time::ClockId::ProcessCPUTime)
}

#[cfg(target_os = "linux")]
fn read(clock: rustix::time::ClockId) -> Duration {
    let time = rustix::time::clock_gettime(clock);
    Duration::new(
        time.tv_sec.try_into().expect("not negative"),
        time.tv_nsec.try_into().expect("less than a second"),
    )
}

/// CPU time, user and kernel, that the calling thread has used. Zero where it cannot be had.
#[cfg(not(target_os = "linux"))]
pub fn cpu_time() -> Duration {
    Duration::ZERO
}

/// CPU time, user and kernel, that all threads of the process have used. Zero where it cannot be had.
#[cfg(not(target_os = "linux"))]
pub fn process_cpu_time() -> Duration {
    Duration::ZERO
}

/// Binds the calling thread to one CPU, if there are two and the process may use them.
#[cfg(target_os = "linux")]
pub fn pin_to(cpu: usize) {
    use rustix::thread::{CpuSet, sched_setaffinity};
    if std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 1) {
        let mut set = CpuSet::new();
        set.set(cpu);
        // Refused in a container that owns other CPUs: then as the scheduler likes.
        let _ = sched_setaffinity(None, &set);
    }
}

/// Does nothing on this platform.
#[cfg(not(target_os = "linux"))]
pub fn pin_to(_cpu: usize) {}
