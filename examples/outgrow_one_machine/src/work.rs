//! The workers, on Compio: the same for every queue. COPY: the shape of `work`.

use std::{
    io,
    path::{Component, Path, PathBuf},
    pin::pin,
    time::Duration,
};

use compio::{BufResult, fs::File, io::AsyncReadAt};
use landbridge::{
    CompioPool, JoinError,
    rt::spawn_local,
    time::{sleep, timeout},
};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::{
    job::{Job, Verdict},
    queue::{Consumer, QueueError, Taken},
};

/// How much is read from a file at once.
const CHUNK: usize = 256 * 1024;
/// After something temporary: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What a worker has done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) done: u64,
    /// Begun, and acknowledged by somebody else.
    pub(crate) late: u64,
}

/// Works until the queue ends, or it is to stop. A job that was begun is finished.
pub(crate) async fn work<Q: Consumer>(
    mut queue: Q,
    root: PathBuf,
    stop: watch::Receiver<bool>,
) -> Result<Tally, QueueError> {
    let mut tally = Tally::default();
    let mut pause = FIRST_PAUSE;
    // An error: whoever could have said so is gone.
    while !*stop.borrow() && stop.has_changed().is_ok() {
        match next(&mut queue, &root, &mut tally).await {
            Ok(true) => pause = FIRST_PAUSE,
            Ok(false) => break,
            Err(error) if error.is_temporary() => {
                eprintln!("{error}; again in {pause:?}");
                sleep(pause).await;
                pause = LONGEST_PAUSE.min(pause * 2);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(tally)
}

/// Whether there may be more.
async fn next<Q: Consumer>(
    queue: &mut Q,
    root: &Path,
    tally: &mut Tally,
) -> Result<bool, QueueError> {
    let (job, lease) = match queue.take().await? {
        Taken::Job(job, lease) => (job, lease),
        Taken::NothingYet => return Ok(true),
        Taken::End => return Ok(false),
    };
    // It may have taken long to get here: what is acknowledged meanwhile is not begun again.
    if !queue.keep(&lease).await? {
        return Ok(true);
    }
    let root = root.to_owned();
    // A task of its own, so that a job that panics is one that cannot be done, and the worker goes on.
    let mut scrubbing = pin!(spawn_local(async move { scrub(&root, &job).await }));
    let verdict = loop {
        match timeout(queue.keep_every(), scrubbing.as_mut()).await {
            Ok(Ok(verdict)) => break verdict,
            Ok(Err(panicked)) => break Verdict::Unreadable(panicked.to_string()),
            // Whether it is still ours or not, it is nearly done: the first to acknowledge it has done it.
            Err(_) => _ = queue.keep(&lease).await?,
        }
    };
    match queue.done(&lease, &verdict).await? {
        true => tally.done += 1,
        false => tally.late += 1,
    }
    Ok(true)
}

/// Reads the whole file, and compares.
pub(crate) async fn scrub(root: &Path, job: &Job) -> Verdict {
    // A path from elsewhere does not lead out of the directory.
    let path = Path::new(&job.path);
    let stays = path
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if job.path.is_empty() || !stays {
        return Verdict::Unreadable("the path leads out of the directory".to_owned());
    }
    match digest(&root.join(path)).await {
        Ok(digest) if digest == job.sha256 => Verdict::Intact,
        Ok(_) => Verdict::Damaged,
        Err(error) => Verdict::Unreadable(error.kind().to_string()),
    }
}

async fn digest(path: &Path) -> io::Result<String> {
    let file = File::open(path).await?;
    let mut digest = Sha256::new();
    let mut buffer = Vec::with_capacity(CHUNK);
    let mut place = 0;
    loop {
        buffer.clear();
        let BufResult(read, filled) = file.read_at(buffer, place).await;
        buffer = filled;
        match read? {
            0 => break,
            read => place += read as u64,
        }
        digest.update(&buffer);
    }
    file.close().await?;
    Ok(format!("{:x}", digest.finalize()))
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum CrewError {
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error("a worker: {0}")]
    Worker(#[from] JoinError),
}

/// COPY: a worker on each thread of the pool, each with its own end of the queue, which is made there.
pub(crate) async fn crew<Q, F>(
    pool: &CompioPool,
    root: &Path,
    stop: watch::Receiver<bool>,
    end: F,
) -> Result<Tally, CrewError>
where
    Q: Consumer + 'static,
    F: Fn(usize) -> Result<Q, QueueError> + Send + Sync + 'static,
{
    let root = root.to_owned();
    let each = pool.broadcast(move |index| {
        let (end, root, stop) = (end(index), root.clone(), stop.clone());
        async move { work(end?, root, stop).await }
    });
    let mut whole = Tally::default();
    for tally in each.await {
        let tally = tally??;
        whole.done += tally.done;
        whole.late += tally.late;
    }
    Ok(whole)
}
