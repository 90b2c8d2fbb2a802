//! Both ends of a queue of jobs, whatever is between them. COPY: the file.
//!
//! A job is *taken*, *kept* while it is worked on, and *done*: then it is acknowledged, and its verdict recorded, in
//! one step. A job that was taken and is neither kept nor done is somebody else's after a while. So every job is done
//! at least once, and acknowledged once; work on a job may therefore begin more than once, and must bear that.

use std::{collections::BTreeMap, time::Duration};

use crate::job::{Job, JobError, Verdict};

/// How long [`Consumer::take`] waits for a job at most.
pub(crate) const WAIT: Duration = Duration::from_millis(200);

#[derive(Debug, thiserror::Error)]
pub(crate) enum QueueError {
    #[error("the other end of the queue is gone")]
    Closed,
    #[error("Redis: {0}")]
    Redis(#[from] redis::RedisError),
    #[error("what Redis has is not ours: {0}")]
    Foreign(#[from] JobError),
}

impl QueueError {
    /// Whether it may go better later.
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::Redis(error) => {
                error.is_io_error() || error.is_timeout() || error.is_connection_dropped()
            }
            Self::Closed | Self::Foreign(_) => false,
        }
    }
}

/// What has come of asking for a job.
#[derive(Debug)]
pub(crate) enum Taken<L> {
    Job(Job, L),
    /// None has come within [`WAIT`]: time to look whether one is to stop.
    NothingYet,
    /// None will come.
    End,
}

/// Where jobs come from.
pub(crate) trait Producer {
    /// Waits while there is no room.
    async fn put(&mut self, jobs: Vec<Job>) -> Result<(), QueueError>;

    /// Waits for the verdicts of that many different paths. No job can be put after it.
    async fn verdicts(self, number: usize) -> Result<BTreeMap<String, Verdict>, QueueError>;
}

/// Where jobs go. Each worker has one of its own.
///
/// It lives on its worker's thread, so its futures need not be `Send`.
pub(crate) trait Consumer {
    /// That a job is this worker's, for a while.
    type Lease;

    /// The next job. To be waited for to its end: a job that was on its way to a future that is dropped is found again
    /// only when its lease is over.
    async fn take(&mut self) -> Result<Taken<Self::Lease>, QueueError>;

    /// Before the work begins, and then [every so often](Self::keep_every): whether the job is still this worker's.
    async fn keep(&mut self, lease: &Self::Lease) -> Result<bool, QueueError>;

    fn keep_every(&self) -> Duration;

    /// Acknowledges the job, and records what came of it. Whether this was the first to do so; nothing is recorded
    /// otherwise.
    async fn done(&mut self, lease: &Self::Lease, verdict: &Verdict) -> Result<bool, QueueError>;
}
