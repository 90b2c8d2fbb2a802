//! One chosen worker.

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use super::{CompioPool, Shared, Target, WorkerMetrics, attach::attached_here, with_local};
use crate::error::{NoSuchWorker, NotOnWorker};

/// One Compio runtime to run work on: a chosen worker of a pool, or a runtime of somebody else's.
///
/// From [`CompioPool::worker`], [`CompioPool::worker_for`], [`CompioPool::workers`],
/// [`CompioHandle::current`] and [`CompioHandle::attach`]. It has the pool's [`run`](Self::run),
/// [`spawn`](Self::spawn), [`try_spawn`](Self::try_spawn), [`run_batch`](Self::run_batch),
/// [`stream`](Self::stream) and [`host`](Self::host), with the same promises; only the choice of the
/// worker is gone. It keeps neither pool nor runtime alive.
///
/// The guide: [work on the other side](crate::guide::spawning).
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = landbridge::CompioPool::builder().threads(2).thread_name("w").build()?;
/// let name = || async { std::thread::current().name().map(str::to_owned) };
/// assert_eq!(pool.worker(1)?.run(name).await?.as_deref(), Some("w-1"));
/// assert!(pool.worker(2).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct CompioHandle {
    worker: Arc<Shared>,
}

impl CompioHandle {
    pub(crate) fn new(worker: Arc<Shared>) -> Self {
        Self { worker }
    }

    /// The attached runtime in whose context this is called, or else the worker or attached runtime
    /// whose job calls it.
    ///
    /// # Errors
    ///
    /// [`NotOnWorker`] anywhere else.
    pub fn current() -> Result<Self, NotOnWorker> {
        attached_here()
            .or_else(|| with_local(|local| Arc::clone(&local.shared)))
            .map(Self::new)
            .ok_or(NotOnWorker)
    }

    /// The worker's index in its pool; 0 for an attached runtime.
    pub fn index(&self) -> usize {
        self.worker.index
    }

    /// What this worker or attached runtime has done so far.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = landbridge::CompioPool::builder().threads(2).build()?;
    /// let worker = pool.worker(1)?;
    /// worker.run(async || ()).await?;
    /// assert_eq!(worker.metrics().completed, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn metrics(&self) -> WorkerMetrics {
        self.worker.metrics()
    }

    /// Whether work is refused: the pool has been shut down or is gone, or this worker or runtime is.
    pub fn is_closed(&self) -> bool {
        self.worker.is_ending() || !self.worker.admission.is_open()
    }

    pub(crate) fn target(&self) -> Target {
        Target::Worker(Arc::clone(&self.worker))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.worker
    }
}

impl fmt::Debug for CompioHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompioHandle")
            .field("worker", &self.worker.index)
            .field("closed", &self.is_closed())
            .finish()
    }
}

impl CompioPool {
    /// The worker of that index: from 0, below the number of threads.
    ///
    /// # Errors
    ///
    /// [`NoSuchWorker`] if the pool has fewer.
    pub fn worker(&self, index: usize) -> Result<CompioHandle, NoSuchWorker> {
        let workers = &self.shared().workers;
        workers.get(index).map_or(
            Err(NoSuchWorker {
                index,
                workers: workers.len(),
            }),
            |worker| Ok(CompioHandle::new(Arc::clone(worker))),
        )
    }

    /// The worker for a key: the same for equal keys, for as long as the pool lives.
    ///
    /// What is kept per key then needs no lock: all work for the key runs on one thread.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = landbridge::CompioPool::builder().threads(4).build()?;
    /// assert_eq!(pool.worker_for("a").index(), pool.worker_for("a").index());
    /// # Ok(())
    /// # }
    /// ```
    pub fn worker_for<K>(&self, key: &K) -> CompioHandle
    where
        K: Hash + ?Sized,
    {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let workers = &self.shared().workers;
        // Lossless enough: there are far fewer workers than hashes.
        let index = hasher.finish() as usize % workers.len();
        CompioHandle::new(Arc::clone(&workers[index]))
    }

    /// All workers, by their indices.
    pub fn workers(&self) -> impl ExactSizeIterator<Item = CompioHandle> + Clone + '_ {
        self.shared()
            .workers
            .iter()
            .map(|worker| CompioHandle::new(Arc::clone(worker)))
    }
}
