//! The queue of many processes: a stream of Redis, and a group of consumers. COPY: the file.
//!
//! The `redis` crate is for Tokio: its connection is a task there, its timers are Tokio's. Its futures are polled on
//! the Compio worker all the same, in Tokio's context ([`in_tokio`]): between the two is the client's own channel.
//!
//! | key | is |
//! |---|---|
//! | `{NAME}:jobs` | the stream; a job that is done is deleted from it |
//! | `{NAME}:verdicts:RUN` | a hash, by path; goes after a day |
//! | `{NAME}:journal` | with `--journal`: who began and who ended what, in order |
//!
//! | what happens | is |
//! |---|---|
//! | a job is taken | `XREADGROUP`, or `XAUTOCLAIM` of what somebody has left standing for longer than a lease |
//! | kept | a script: is it still mine, then set its clock back (`XCLAIM .. JUSTID`) |
//! | done | a script: if it is I who acknowledges it (`XACK`), delete it and record the verdict |
//!
//! What Redis has is as durable as it is told to be (`appendonly`, replicas): that is the operator's choice.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use landbridge::{
    context::in_tokio,
    time::{Instant, sleep},
};
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, aio::MultiplexedConnection, cmd};
use tokio::runtime::Handle;

use crate::{
    job::{Job, Verdict},
    queue::{Consumer, Producer, QueueError, Taken, WAIT},
};

/// The group that all workers belong to.
pub(crate) const GROUP: &str = "workers";
/// How often a job is begun at most.
pub(crate) const MOST_BEGINNINGS: u64 = 5;
/// How long Redis may take to answer; [`WAIT`] included.
const ANSWER: Duration = Duration::from_secs(5);
/// How often a producer asks for what has come.
const ASK: Duration = Duration::from_millis(20);
/// Jobs that are put at a time.
const BATCH: usize = 500;

/// Is the job still mine? Then I have it for another lease.
const KEEP: &str = "
local mine = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)
if #mine == 0 or mine[1][2] ~= ARGV[2] then return 0 end
redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3], 'JUSTID')
if ARGV[4] ~= '' then redis.call('RPUSH', KEYS[2], ARGV[4]) end
return 1";

/// Whoever acknowledges records, and nobody else.
const DONE: &str = "
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('XDEL', KEYS[1], ARGV[2])
redis.call('HSET', KEYS[3], ARGV[3], ARGV[4])
redis.call('EXPIRE', KEYS[3], 86400)
if ARGV[5] ~= '' then redis.call('RPUSH', KEYS[2], ARGV[5]) end
return 1";

/// What every end of a queue is made with.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// `redis://host:port`, or `redis+unix:///path`.
    pub(crate) url: String,
    pub(crate) name: String,
    /// After so long without a word of its worker, a job is somebody else's.
    pub(crate) lease: Duration,
    pub(crate) journal: bool,
}

impl Config {
    pub(crate) fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            name: "scrub".to_owned(),
            lease: Duration::from_secs(30),
            journal: false,
        }
    }

    // The braces have a cluster keep all of them in one place.
    pub(crate) fn jobs(&self) -> String {
        format!("{{{}}}:jobs", self.name)
    }

    fn verdicts(&self, run: &str) -> String {
        format!("{{{}}}:verdicts:{run}", self.name)
    }

    pub(crate) fn journal(&self) -> String {
        format!("{{{}}}:journal", self.name)
    }
}

/// A connection that is made when it is needed, and again after it has broken.
struct Connection {
    client: Client,
    tokio: Handle,
    config: Config,
    made: Option<MultiplexedConnection>,
}

impl Connection {
    fn new(config: Config, tokio: Handle) -> Result<Self, QueueError> {
        Ok(Self {
            client: Client::open(&*config.url)?,
            tokio,
            config,
            made: None,
        })
    }

    async fn ask<T: FromRedisValue>(&mut self, question: &Cmd) -> Result<T, QueueError> {
        let mut connection = match self.made.clone() {
            Some(made) => made,
            None => self.connect().await?,
        };
        // COPY: polled here, on Compio, in the context of Tokio.
        let answer = in_tokio(&self.tokio, question.query_async(&mut connection)).await;
        if matches!(&answer, Err(error) if error.is_unrecoverable_error()) {
            self.made = None;
        }
        Ok(answer?)
    }

    async fn connect(&mut self) -> Result<MultiplexedConnection, QueueError> {
        let timing = AsyncConnectionConfig::new().set_response_timeout(Some(ANSWER));
        let made = self
            .client
            .get_multiplexed_async_connection_with_config(&timing);
        let mut made = in_tokio(&self.tokio, made).await?;
        let mut create = cmd("XGROUP");
        create
            .arg("CREATE")
            .arg(self.config.jobs())
            .arg(GROUP)
            .arg(0)
            .arg("MKSTREAM");
        match in_tokio(&self.tokio, create.query_async::<()>(&mut made)).await {
            Err(error) if error.code() != Some("BUSYGROUP") => return Err(error.into()),
            // It was there.
            _ => {}
        }
        Ok(self.made.insert(made).clone())
    }
}

/// Puts jobs, and waits for their verdicts.
pub(crate) struct Feeder {
    redis: Connection,
    /// What tells this feeder's jobs from others'.
    run: String,
}

impl Feeder {
    pub(crate) fn new(config: Config, tokio: Handle) -> Result<Self, QueueError> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Ok(Self {
            redis: Connection::new(config, tokio)?,
            run: format!("{}-{}", now.as_millis(), std::process::id()),
        })
    }
}

impl Producer for Feeder {
    async fn put(&mut self, jobs: Vec<Job>) -> Result<(), QueueError> {
        let stream = self.redis.config.jobs();
        for batch in jobs.chunks(BATCH) {
            // One script, and so all of the batch or nothing of it.
            let mut put = cmd("EVAL");
            put.arg("for i = 2, #ARGV, 2 do redis.call('XADD', KEYS[1], '*', 'run', ARGV[1], 'path', ARGV[i], 'sha256', ARGV[i + 1]) end")
                .arg(1)
                .arg(&stream)
                .arg(&self.run);
            for job in batch {
                put.arg(&job.path).arg(&job.sha256);
            }
            self.redis.ask::<()>(&put).await?;
        }
        Ok(())
    }

    async fn verdicts(mut self, number: usize) -> Result<BTreeMap<String, Verdict>, QueueError> {
        let key = self.redis.config.verdicts(&self.run);
        let mut count = cmd("HLEN");
        count.arg(&key);
        loop {
            match self.redis.ask::<usize>(&count).await {
                Ok(there) if there >= number => break,
                // The workers go on without us.
                Err(error) if !error.is_temporary() => return Err(error),
                _ => sleep(ASK).await,
            }
        }
        let mut all = cmd("HGETALL");
        all.arg(&key);
        let all: BTreeMap<String, String> = self.redis.ask(&all).await?;
        let read = |(path, verdict): (String, String)| Ok((path, verdict.parse()?));
        all.into_iter().map(read).collect()
    }
}

/// An entry of a stream: its id, and its fields.
type Entry = (String, HashMap<String, String>);

/// One worker's end. It has a connection of its own, since it waits on it.
pub(crate) struct Worker {
    redis: Connection,
    consumer: String,
    /// When to look again for what others have left.
    look: Instant,
    place: String,
}

/// That a job is this worker's.
#[derive(Debug)]
pub(crate) struct Lease {
    id: String,
    run: String,
    path: String,
}

impl Worker {
    /// The consumer's name must be nobody else's.
    pub(crate) fn new(config: Config, consumer: String, tokio: Handle) -> Result<Self, QueueError> {
        Ok(Self {
            redis: Connection::new(config, tokio)?,
            consumer,
            look: Instant::now(),
            place: "0-0".to_owned(),
        })
    }

    /// What somebody has left standing for longer than a lease.
    async fn claim(&mut self) -> Result<Option<Entry>, QueueError> {
        if Instant::now() < self.look {
            return Ok(None);
        }
        let lease = self.redis.config.lease;
        let mut claim = cmd("XAUTOCLAIM");
        claim
            .arg(self.redis.config.jobs())
            .arg(GROUP)
            .arg(&self.consumer)
            .arg(lease.as_millis() as u64)
            .arg(&self.place)
            .arg("COUNT")
            .arg(1);
        let (place, mut claimed, _deleted): (String, Vec<Entry>, Vec<String>) =
            self.redis.ask(&claim).await?;
        if place == "0-0" && claimed.is_empty() {
            self.look = Instant::now() + lease / 2;
        }
        self.place = place;
        Ok(claimed.pop())
    }

    async fn wait(&mut self) -> Result<Option<Entry>, QueueError> {
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP")
            .arg(GROUP)
            .arg(&self.consumer)
            .arg("COUNT")
            .arg(1)
            .arg("BLOCK")
            .arg(WAIT.as_millis() as u64)
            .arg("STREAMS")
            .arg(self.redis.config.jobs())
            .arg(">");
        let read: Option<Vec<(String, Vec<Entry>)>> = self.redis.ask(&read).await?;
        let entries = read
            .into_iter()
            .flatten()
            .flat_map(|(_stream, entries)| entries);
        Ok(entries.last())
    }

    async fn beginnings(&mut self, id: &str) -> Result<u64, QueueError> {
        let mut pending = cmd("XPENDING");
        pending
            .arg(self.redis.config.jobs())
            .arg(GROUP)
            .arg(id)
            .arg(id)
            .arg(1);
        let pending: Vec<(String, String, u64, u64)> = self.redis.ask(&pending).await?;
        Ok(pending
            .first()
            .map_or(0, |(_id, _consumer, _idle, times)| *times))
    }

    fn note(&self, what: &str, id: &str) -> String {
        match self.redis.config.journal {
            true => format!("{what} {id} {}", self.consumer),
            false => String::new(),
        }
    }
}

impl Consumer for Worker {
    type Lease = Lease;

    async fn take(&mut self) -> Result<Taken<Lease>, QueueError> {
        let (entry, again) = match self.claim().await? {
            Some(entry) => (Some(entry), true),
            None => (self.wait().await?, false),
        };
        let Some((id, mut fields)) = entry else {
            return Ok(Taken::NothingYet);
        };
        let mut field = |name| fields.remove(name).unwrap_or_default();
        let (run, path, sha256) = (field("run"), field("path"), field("sha256"));
        let lease = Lease {
            id,
            run,
            path: path.clone(),
        };
        if again && self.beginnings(&lease.id).await? > MOST_BEGINNINGS {
            self.done(&lease, &Verdict::GivenUp).await?;
            return Ok(Taken::NothingYet);
        }
        Ok(Taken::Job(Job { path, sha256 }, lease))
    }

    async fn keep(&mut self, lease: &Lease) -> Result<bool, QueueError> {
        let mut keep = cmd("EVAL");
        keep.arg(KEEP)
            .arg(2)
            .arg(self.redis.config.jobs())
            .arg(self.redis.config.journal())
            .arg(GROUP)
            .arg(&self.consumer)
            .arg(&lease.id)
            .arg(self.note("kept", &lease.id));
        self.redis.ask(&keep).await
    }

    fn keep_every(&self) -> Duration {
        self.redis.config.lease / 4
    }

    async fn done(&mut self, lease: &Lease, verdict: &Verdict) -> Result<bool, QueueError> {
        let config = &self.redis.config;
        let mut done = cmd("EVAL");
        done.arg(DONE)
            .arg(3)
            .arg(config.jobs())
            .arg(config.journal())
            .arg(config.verdicts(&lease.run))
            .arg(GROUP)
            .arg(&lease.id)
            .arg(&lease.path)
            .arg(verdict.to_string())
            .arg(self.note("done", &lease.id));
        self.redis.ask(&done).await
    }
}
