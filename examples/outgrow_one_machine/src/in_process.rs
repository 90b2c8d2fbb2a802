//! The queue of one process: a landbridge channel. This is where a service begins.
//!
//! | | |
//! |---|---|
//! | more jobs than workers | wait in the channel, and the producer with them when it is full |
//! | a job that was taken | is its worker's until the process ends |
//! | the process ends | what was not done is forgotten |

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use landbridge::{
    channel::{
        self, mpsc,
        unbounded::{Receiver, Sender},
    },
    time::timeout,
};
use tokio::sync::Mutex;

use crate::{
    job::{Job, Verdict},
    queue::{Consumer, Producer, QueueError, Taken, WAIT},
};

/// One end for Tokio, the other for any number of Compio workers.
pub(crate) fn queue(capacity: usize) -> (Feeder, Worker) {
    let (jobs, incoming) = channel::mpsc(capacity);
    // As many as there were jobs: with a bound, workers and producer might wait for each other.
    let (verdicts, outgoing) = channel::unbounded();
    let worker = Worker {
        jobs: Arc::new(Mutex::new(incoming)),
        verdicts,
    };
    (
        Feeder {
            jobs,
            verdicts: outgoing,
        },
        worker,
    )
}

pub(crate) struct Feeder {
    jobs: mpsc::Sender<Job>,
    verdicts: Receiver<(String, Verdict)>,
}

impl Producer for Feeder {
    async fn put(&mut self, jobs: Vec<Job>) -> Result<(), QueueError> {
        for job in jobs {
            let sent = self.jobs.send(job).await;
            sent.map_err(|_| QueueError::Closed)?;
        }
        Ok(())
    }

    async fn verdicts(mut self, number: usize) -> Result<BTreeMap<String, Verdict>, QueueError> {
        drop(self.jobs);
        let mut all = BTreeMap::new();
        while all.len() < number {
            let (path, verdict) = self.verdicts.recv().await.ok_or(QueueError::Closed)?;
            all.insert(path, verdict);
        }
        Ok(all)
    }
}

/// One worker's end; clones share the channel.
#[derive(Clone)]
pub(crate) struct Worker {
    /// A channel has one receiver; whoever has the lock is it. Tokio's `Mutex` works on any runtime.
    jobs: Arc<Mutex<mpsc::Receiver<Job>>>,
    verdicts: Sender<(String, Verdict)>,
}

impl Consumer for Worker {
    /// The path.
    type Lease = String;

    async fn take(&mut self) -> Result<Taken<String>, QueueError> {
        // Dropping a `recv` loses nothing.
        let taken = timeout(WAIT, async { self.jobs.lock().await.recv().await }).await;
        Ok(match taken {
            Ok(Some(job)) => {
                let path = job.path.clone();
                Taken::Job(job, path)
            }
            Ok(None) => Taken::End,
            Err(_) => Taken::NothingYet,
        })
    }

    async fn keep(&mut self, _: &String) -> Result<bool, QueueError> {
        Ok(true)
    }

    fn keep_every(&self) -> Duration {
        Duration::MAX
    }

    async fn done(&mut self, path: &String, verdict: &Verdict) -> Result<bool, QueueError> {
        let sent = self.verdicts.send((path.clone(), verdict.clone()));
        sent.map_err(|_| QueueError::Closed)?;
        Ok(true)
    }
}
