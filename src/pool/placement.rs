//! Which CPUs the workers run on.
//!
//! Everything is checked before any thread is started: a core that cannot be had is a name in an
//! error, not a worker that has quietly gone elsewhere.

use std::{fmt, io};

use crate::error::BuildError;

/// Where a pool's workers run.
///
/// # Errors
///
/// Elsewhere than on Linux, [`Pinned`](Self::Pinned) and [`Cores`](Self::Cores) make
/// [`build`](super::Builder::build) fail with [`BuildError::PlacementUnsupported`].
///
/// # Examples
///
/// ```
/// use landbridge::{CompioPool, error::BuildError, pool::Placement};
///
/// let impossible = CompioPool::builder()
///     .placement(Placement::Cores(vec![1_000_000]))
///     .build();
/// # #[cfg(target_os = "linux")]
/// assert!(matches!(
///     impossible,
///     Err(BuildError::CoreUnavailable { core: 1_000_000 })
/// ));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Placement {
    /// Wherever the operating system puts them, among the CPUs that the thread which builds the pool
    /// may use.
    #[default]
    Floating,
    /// Each worker stays on one CPU of those that the process may use: the first worker on the first,
    /// and so on, from the start again when there are more workers than CPUs.
    ///
    /// A thread that Compio starts for what its driver cannot do without blocking stays on the CPU of
    /// the worker that needed it first. Those of [`run_blocking`](crate::CompioPool::run_blocking) float.
    ///
    /// Beside other threads that need the same CPU a pinned worker waits where a floating one would
    /// move away; and two pools of a process that are both pinned share the first CPUs.
    Pinned,
    /// Worker `i` stays on CPU `cores[i % cores.len()]`, numbered as the operating system does.
    Cores(Vec<usize>),
}

impl Placement {
    /// Finds a CPU for each worker, or says why there is none.
    pub(super) fn plan(&self) -> Result<Plan, BuildError> {
        let chosen = match self {
            Self::Floating => return Ok(Plan::default()),
            Self::Cores(cores) if cores.is_empty() => return Err(BuildError::NoCores),
            Self::Pinned => None,
            Self::Cores(cores) => Some(cores),
        };
        let allowed = match allowed() {
            Ok(allowed) => allowed,
            Err(source) if source.kind() == io::ErrorKind::Unsupported => {
                return Err(BuildError::PlacementUnsupported(self.clone()));
            }
            Err(source) => return Err(BuildError::Affinity { source }),
        };
        let cores = match chosen {
            None => allowed.clone(),
            Some(cores) => {
                if let Some(&core) = cores.iter().find(|core| !allowed.contains(core)) {
                    return Err(BuildError::CoreUnavailable { core });
                }
                cores.clone()
            }
        };
        Ok(Plan { cores })
    }
}

/// The outcome of [`Placement::plan`]: the workers' CPUs, none if they float.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    cores: Vec<usize>,
}

impl Plan {
    /// Where worker `index` stays, if anywhere.
    pub(super) fn core(&self, index: usize) -> Option<usize> {
        let round = index.checked_rem(self.cores.len())?;
        Some(self.cores[round])
    }
}

/// The calling thread stays on `core` from now on.
pub(super) fn pin(core: usize) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::thread::{CpuSet, sched_setaffinity};

        let mut set = CpuSet::new();
        set.set(core);
        Ok(sched_setaffinity(None, &set)?)
    }
    #[cfg(not(target_os = "linux"))]
    {
        _ = core;
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The CPUs that a thread may use.
#[derive(Clone)]
pub(super) struct Mask {
    #[cfg(target_os = "linux")]
    set: rustix::thread::CpuSet,
}

impl Mask {
    /// The calling thread's, where there is such a thing.
    pub(super) fn current() -> Option<Self> {
        #[cfg(target_os = "linux")]
        {
            let set = rustix::thread::sched_getaffinity(None).ok()?;
            Some(Self { set })
        }
        #[cfg(not(target_os = "linux"))]
        None
    }

    /// Gives it to the calling thread.
    pub(super) fn apply(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        rustix::thread::sched_setaffinity(None, &self.set)?;
        Ok(())
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mask").finish_non_exhaustive()
    }
}

/// The CPUs that this process may use, in ascending order.
///
/// A mask belongs to a thread. Those of the main thread and of the caller together are the process's:
/// either of them alone may have been pinned by its program to less.
fn allowed() -> io::Result<Vec<usize>> {
    #[cfg(target_os = "linux")]
    {
        use rustix::{
            process::getpid,
            thread::{CpuSet, sched_getaffinity},
        };

        let own = sched_getaffinity(None)?;
        // The main thread may have ended.
        let main = sched_getaffinity(Some(getpid())).unwrap_or(own);
        let may = |core: &usize| own.is_set(*core) || main.is_set(*core);
        Ok((0..CpuSet::MAX_CPU).filter(may).collect())
    }
    #[cfg(not(target_os = "linux"))]
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, not(landbridge_loom)))]
mod tests {
    use super::*;

    /// More workers than CPUs must not leave the rest of them unpinned.
    #[test]
    fn the_round_begins_again_when_every_core_has_a_worker() {
        let plan = Plan { cores: vec![4, 7] };
        let cores: Vec<_> = (0..5).map(|index| plan.core(index)).collect();
        assert_eq!(cores, [4, 7, 4, 7, 4].map(Some));
        assert_eq!(Plan::default().core(3), None);
    }
}
