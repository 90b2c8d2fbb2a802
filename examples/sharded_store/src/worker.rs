//! One worker: its shard, its log, and the lanes to the others. COPY: the file.
//!
//! | task | does | waits for |
//! |---|---|---|
//! | each connection (`connection.rs`) | asks the shard of each key | room in the lane to it |
//! | [`Home::serve_peers`] | does what the others' connections ask | the disk, if a group is full |
//! | [`Home::write_log`] | writes groups | the disk |
//!
//! They wait in this direction only, so they never wait for each other in a circle: who serves the peers sends
//! nothing over the mesh, because an answer has a way of its own.

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use compio::{BufResult, fs::File, io::AsyncWriteAtExt};
use landbridge::{
    CompioPool,
    channel::{mesh, spsc},
};
use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{
    record,
    shard::{Op, Outcome, Refusal, Shard, When},
};

/// What connections ask of another worker's shard.
#[derive(Debug)]
pub(crate) struct Request {
    key: Bytes,
    op: Op,
    answer: oneshot::Sender<Outcome>,
    /// Of the worker that asks: how many bytes of its connections' are on their way.
    _room: OwnedSemaphorePermit,
}

/// An outcome that is there, or will be told.
#[derive(Debug)]
pub(crate) enum Pending {
    Ready(Outcome),
    Later(oneshot::Receiver<Outcome>),
}

impl Pending {
    pub(crate) async fn outcome(self) -> Outcome {
        match self {
            Self::Ready(outcome) => outcome,
            Self::Later(told) => told.await.unwrap_or(Outcome::Refused(Refusal::Gone)),
        }
    }
}

/// What a worker has done, for everybody to read.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) keys: AtomicU64,
    pub(crate) connections: AtomicU64,
    /// Of its connections.
    pub(crate) commands: AtomicU64,
    /// What its connections have asked of other shards.
    pub(crate) forwarded: AtomicU64,
    pub(crate) records: AtomicU64,
    /// How often it has waited for the disk.
    pub(crate) syncs: AtomicU64,
}

/// A worker's shard, and what belongs to it.
#[derive(Debug)]
pub(crate) struct Home {
    index: usize,
    shard: RefCell<Shard>,
    /// There is something to be written, or nothing more will come.
    work: Notify,
    /// There is room for records again.
    room: Notify,
    ending: Cell<bool>,
    stats: Arc<[Stats]>,
}

impl Home {
    pub(crate) fn new(index: usize, shard: Shard, stats: Arc<[Stats]>) -> Self {
        let home = Self {
            index,
            shard: RefCell::new(shard),
            work: Notify::new(),
            room: Notify::new(),
            ending: Cell::new(false),
            stats,
        };
        home.count();
        home
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.stats[self.index]
    }

    /// All workers'.
    pub(crate) fn all_stats(&self) -> &Arc<[Stats]> {
        &self.stats
    }

    /// Asks this shard, for a connection of this worker's.
    pub(crate) async fn ask(&self, key: &[u8], op: Op) -> Pending {
        match self.execute(key, op).await {
            (outcome, When::Now) => Pending::Ready(outcome),
            (outcome, when) => {
                let (answer, told) = oneshot::channel();
                self.shard.borrow_mut().tell(answer, outcome, when);
                Pending::Later(told)
            }
        }
    }

    /// Does what other workers' connections ask, until all of these have ended.
    pub(crate) async fn serve_peers(self: Rc<Self>, mut peers: mesh::Receiver<Request>) {
        while let Some((_, request)) = peers.recv().await {
            let (outcome, when) = self.execute(&request.key, request.op).await;
            self.shard.borrow_mut().tell(request.answer, outcome, when);
        }
    }

    /// COPY: the group commit. While one group is written and synchronised, the next one gathers: the more there is
    /// to do, the larger the groups, and nobody waits for a timer. Ends when there is nothing more to come.
    pub(crate) async fn write_log(self: Rc<Self>, file: File, end: u64) -> io::Result<()> {
        let written = self.write_groups(&file, end).await;
        if written.is_err() {
            self.shard.borrow_mut().fail();
            self.room.notify_waiters();
        }
        written
    }

    async fn write_groups(&self, mut file: &File, mut end: u64) -> io::Result<()> {
        let mut spare = Vec::new();
        loop {
            // In this order: what comes in between leaves a permit.
            let ending = self.ending.get();
            let taken = self.shard.borrow_mut().take_off(spare);
            match taken {
                Ok((mut bytes, records)) => {
                    self.room.notify_waiters();
                    let at = end + bytes.len() as u64;
                    record::push_mark(&mut bytes, at, end);
                    let BufResult(written, bytes) = file.write_all_at(bytes, end).await;
                    written?;
                    file.sync_data().await?;
                    end += bytes.len() as u64;
                    // Before anybody hears of it, who may then ask for the figures.
                    self.stats().records.fetch_add(records, Relaxed);
                    self.stats().syncs.fetch_add(1, Relaxed);
                    self.count();
                    self.shard.borrow_mut().landed();
                    spare = bytes;
                }
                Err(_) if ending => return Ok(()),
                Err(back) => {
                    spare = back;
                    self.work.notified().await;
                }
            }
        }
    }

    /// Nobody asks anything any more.
    pub(crate) fn end(&self) {
        self.ending.set(true);
        self.work.notify_one();
    }

    async fn execute(&self, key: &[u8], op: Op) -> (Outcome, When) {
        if !matches!(op, Op::Get | Op::Exists) {
            self.room_for_records().await;
        }
        let done = self.shard.borrow_mut().execute(key, op);
        if done.1 == When::Gathering {
            self.work.notify_one();
        }
        done
    }

    async fn room_for_records(&self) {
        loop {
            let room = self.room.notified();
            if !self.shard.borrow().is_full() {
                return;
            }
            room.await;
        }
    }

    fn count(&self) {
        let keys = self.shard.borrow().keys();
        self.stats().keys.store(keys as u64, Relaxed);
    }
}

/// The way to all shards, for the connections of one worker. When the last of them drops it, the lanes end, and
/// with them what the others do for this worker.
#[derive(Debug)]
pub(crate) struct Router {
    pool: CompioPool,
    home: Rc<Home>,
    /// By worker. A connection that waits for room in a lane holds its lock, so that they are served in turn.
    lanes: Vec<Option<Mutex<spsc::Sender<Request>>>>,
    /// Bytes that may be on their way at once.
    room: Arc<Semaphore>,
}

impl Router {
    pub(crate) fn new(
        pool: CompioPool,
        home: Rc<Home>,
        peers: mesh::Sender<Request>,
        room: usize,
    ) -> Self {
        let mut lanes: Vec<_> = (0..peers.members()).map(|_| None).collect();
        for (to, lane) in peers.into_lanes() {
            lanes[to] = Some(Mutex::new(lane));
        }
        Self {
            pool,
            home,
            lanes,
            room: Arc::new(Semaphore::new(room)),
        }
    }

    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// COPY: asks the shard of `key`, on this thread or another one. Waits while that one has enough to do; what
    /// is asked by one task is done in its order, for each key.
    pub(crate) async fn ask(&self, key: Bytes, op: Op) -> Pending {
        let shard = self.pool.worker_for(&*key).index();
        let Some(lane) = &self.lanes[shard] else {
            // There is no lane from a worker to itself.
            return self.home.ask(&key, op).await;
        };
        let value = if let Op::Set(value) = &op {
            value.len()
        } else {
            0
        };
        let bytes = (key.len() + value) as u32;
        let Ok(room) = Arc::clone(&self.room).acquire_many_owned(bytes).await else {
            return Pending::Ready(Outcome::Refused(Refusal::Gone));
        };
        let (answer, told) = oneshot::channel();
        let request = Request {
            key,
            op,
            answer,
            _room: room,
        };
        self.home.stats().forwarded.fetch_add(1, Relaxed);
        // A request that comes back is dropped, with the end of `told` that answers it.
        _ = lane.lock().await.send(request).await;
        Pending::Later(told)
    }
}
