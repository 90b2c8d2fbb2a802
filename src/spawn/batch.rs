//! Many closures out, their results back as a stream.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    panic::Location,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    vec,
};

use async_task::Task;
use futures::{Stream, stream::FusedStream};

use super::{
    completions::Completions,
    join::look_again,
    task::{self, Cell, WayBack},
};
use crate::{
    error::JoinError,
    pool::{Job, Place, Shared, Target},
    unwind::{catch, drop_all, swallow},
};

/// Results that there is room for from the beginning: about a page of memory, for small outputs.
const RESERVE: usize = 64;

/// The results of [`CompioPool::run_batch`](crate::CompioPool::run_batch) and
/// [`CompioHandle::run_batch`](crate::CompioHandle::run_batch), in the order in which they come.
///
/// One `Result<T, JoinError>` for each job, then the end.
///
/// Lazy: the closures have been collected, but nothing is submitted before the first poll. It is `Send + 'static` whatever the jobs' futures
/// are, and does not keep the pool alive.
///
/// # Cancel safety
///
/// Waiting for the next result may be given up and begun again; no result is lost. Dropping the stream
/// *requests* the cancellation of the jobs that are not done and does not wait for it; closures that
/// were not submitted are dropped where the stream is. A panic of their destructors ends there: there
/// may be several.
#[must_use = "the jobs are not submitted unless this is polled"]
pub struct RunBatch<T> {
    /// What has not been submitted; gone once everything has.
    jobs: Option<Box<dyn Jobs<T>>>,
    place: Place,
    results: Arc<Results<T>>,
    /// What was submitted, by its index, until its result has been taken.
    tasks: Vec<Option<BatchTask<T>>>,
    /// Taken, and not given out yet.
    ready: VecDeque<(usize, Result<T, JoinError>)>,
    /// Results that have not been given out.
    left: usize,
}

type Results<T> = Completions<(usize, Result<T, JoinError>)>;
type BatchTask<T> = Task<(), Cell<T, Slot<T>>>;

impl<T: Send + 'static> RunBatch<T> {
    pub(super) fn new<I, F, Fut>(
        target: Target,
        jobs: I,
        origin: &'static Location<'static>,
    ) -> Self
    where
        I: IntoIterator<Item = F>,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = T> + 'static,
    {
        let jobs: Vec<F> = jobs.into_iter().collect();
        let left = jobs.len();
        Self {
            jobs: Some(Box::new(Closures {
                closures: jobs.into_iter(),
                origin,
            })),
            place: Place::new(target),
            results: Arc::new(Completions::new(left.min(RESERVE))),
            tasks: Vec::new(),
            ready: VecDeque::new(),
            left,
        }
    }

    /// The same with each job's index: its place in what was given to `run_batch`, from 0.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use futures::StreamExt;
    ///
    /// let pool = landbridge::CompioPool::builder().threads(1).build()?;
    /// let mut squares = [0; 4];
    /// let mut results = pool
    ///     .run_batch((0..4).map(|n| move || async move { n * n }))
    ///     .enumerate_jobs();
    /// while let Some((job, square)) = results.next().await {
    ///     squares[job] = square?;
    /// }
    /// assert_eq!(squares, [0, 1, 4, 9]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn enumerate_jobs(self) -> EnumerateJobs<T> {
        EnumerateJobs { batch: self }
    }

    fn poll_result(&mut self, cx: &mut Context<'_>) -> Poll<Option<(usize, Result<T, JoinError>)>> {
        if self.jobs.is_some() {
            self.submit(cx);
        }
        loop {
            if let Some((index, result)) = self.ready.pop_front() {
                self.left -= 1;
                if let Some(task) = self.tasks.get_mut(index).and_then(Option::take) {
                    task.detach();
                }
                return Poll::Ready(Some((index, result)));
            }
            if self.left == 0 {
                return Poll::Ready(None);
            }
            let target = self.place.target();
            // A worker cannot finish anything while it is busy looking.
            if !self.results.is_ready() && !target.is_here() {
                look_again(target.wait(), || self.results.is_ready());
            }
            ready!(self.results.poll(&mut self.ready, cx));
        }
    }

    /// Hands in as many jobs as there are places for.
    fn submit(&mut self, cx: &mut Context<'_>) {
        let Self {
            jobs, place, tasks, ..
        } = self;
        let Some(left) = jobs else { return };
        if tasks.is_empty() {
            tasks.reserve_exact(left.left());
        }
        let mut workers = Vec::new();
        while left.left() > 0 {
            match place.poll(cx) {
                Poll::Pending => return,
                Poll::Ready(true) => {}
                Poll::Ready(false) => {
                    while let Some(error) = left.refuse() {
                        self.ready.push_back((tasks.len(), Err(error)));
                        tasks.push(None);
                    }
                    break;
                }
            }
            if workers.is_empty() {
                workers = place.target().deal();
            }
            let index = tasks.len();
            let turn = index % workers.len();
            let slot = Slot {
                results: Arc::clone(&self.results),
                index,
            };
            let (job, task) = left.start(workers[turn].home(), slot);
            tasks.push(Some(task));
            workers[turn].push(job);
        }
        self.jobs = None;
    }
}

impl<T: Send + 'static> Stream for RunBatch<T> {
    type Item = Result<T, JoinError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_result(cx)
            .map(|next| next.map(|(_, result)| result))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T: Send + 'static> FusedStream for RunBatch<T> {
    fn is_terminated(&self) -> bool {
        self.left == 0
    }
}

// Nothing in it is pinned: the closures are moved to their workers before they are called.
impl<T> Unpin for RunBatch<T> {}

impl<T> Drop for RunBatch<T> {
    fn drop(&mut self) {
        for task in self.tasks.iter().flatten() {
            // Tells a future that is dropped because of this from one that lost its worker.
            task.metadata().header.set_cancelled();
        }
        // Of what is dropped here, nothing may decide what becomes of the jobs by its panic.
        let (values, waker) = self.results.let_go();
        let ready = std::mem::take(&mut self.ready);
        swallow(|| drop_all(ready.into_iter().chain(values)));
        swallow(|| drop(waker));
        // Cancels: `async_task` queues each task once more if need be, for its worker to drop it.
        self.tasks.clear();
        // One by one: a second panic while the first unwinds would abort the process.
        if let Some(mut jobs) = self.jobs.take() {
            while let Some(error) = jobs.refuse() {
                swallow(|| drop(error));
            }
        }
    }
}

impl<T> fmt::Debug for RunBatch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunBatch")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

/// [`RunBatch`] with each job's index; from [`RunBatch::enumerate_jobs`].
#[derive(Debug)]
#[must_use = "the jobs are not submitted unless this is polled"]
pub struct EnumerateJobs<T> {
    batch: RunBatch<T>,
}

impl<T: Send + 'static> Stream for EnumerateJobs<T> {
    type Item = (usize, Result<T, JoinError>);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.batch.poll_result(cx)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.batch.size_hint()
    }
}

impl<T: Send + 'static> FusedStream for EnumerateJobs<T> {
    fn is_terminated(&self) -> bool {
        self.batch.is_terminated()
    }
}

/// Where one job's result goes.
struct Slot<T> {
    results: Arc<Results<T>>,
    index: usize,
}

impl<T: Send + 'static> WayBack<T> for Slot<T> {
    fn complete(
        &self,
        result: Result<T, JoinError>,
    ) -> Result<Option<Waker>, Result<T, JoinError>> {
        self.results
            .add((self.index, result))
            .map_err(|(_, result)| result)
    }
}

/// Closures that have not been submitted, without their type.
trait Jobs<T>: Send {
    fn left(&self) -> usize;

    /// Makes a task of the next one.
    fn start(&mut self, home: &Arc<Shared>, slot: Slot<T>) -> (Job, BatchTask<T>);

    /// Drops the next one, if there is one; what its result is then.
    fn refuse(&mut self) -> Option<JoinError>;
}

struct Closures<F> {
    closures: vec::IntoIter<F>,
    origin: &'static Location<'static>,
}

impl<T, F, Fut> Jobs<T> for Closures<F>
where
    T: Send + 'static,
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = T> + 'static,
{
    fn left(&self) -> usize {
        self.closures.len()
    }

    fn start(&mut self, home: &Arc<Shared>, slot: Slot<T>) -> (Job, BatchTask<T>) {
        let work = self.closures.next().expect("there is one left");
        task::new_with(home, work, slot, self.origin)
    }

    fn refuse(&mut self) -> Option<JoinError> {
        let work = self.closures.next()?;
        Some(match catch(|| drop(work)) {
            Ok(()) => JoinError::RuntimeGone,
            Err(payload) => JoinError::panicked(payload),
        })
    }
}
