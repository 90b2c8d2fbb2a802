//! The directory: which logs there are, what is in them, and a fresh set of them at each start. COPY: the file.
//!
//! ```text
//! CURRENT         the number of the generation that counts, and of its logs
//! LOCK            held by the process that uses the directory
//! 17/0 17/1 ..    a log for each shard
//! ```
//!
//! A start reads the logs of the last generation, deals the keys out to the shards that there are *now* (another
//! number of cores, or another compiler's hash, and a key has another home), writes a new generation that has
//! each key once, and then names it in `CURRENT`. So a start that is interrupted at any place leaves a generation
//! that is whole, and logs are as short as they can be once in every run.

use std::{
    collections::HashMap,
    fs::{File as StdFile, TryLockError},
    io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use compio::{
    BufResult,
    buf::IntoInner,
    fs::{File, OpenOptions},
    io::{AsyncReadAt, AsyncReadAtExt, AsyncWriteAtExt},
};
use futures::future::try_join_all;
use landbridge::{CompioPool, JoinError, fs::Fs};

use crate::{
    record::{self, Next},
    shard::GROUP,
};

/// At the beginning of each log: what it is, and the form of its records.
const MAGIC: &[u8; 8] = b"shards-2";
/// Bytes that are read or written at a time.
const PIECE: usize = 1 << 20;
/// The most that a crash can leave unfinished: one group, and the record that made it full.
const TAIL: u64 = (GROUP + record::MAX_BODY + 64) as u64;

pub(crate) type Map = HashMap<Bytes, Bytes>;

#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("another process uses {0}")]
    InUse(PathBuf),
    #[error("{0}: {1}")]
    File(PathBuf, #[source] io::Error),
    #[error("{0} does not name a generation")]
    Current(PathBuf),
    #[error("{0} is not a log of this program")]
    NotALog(PathBuf),
    /// What was promised is lost, and not by a crash. To go on would make it look as if it never had been there.
    #[error("{0} is damaged at byte {1} of {2}, before its end")]
    Damaged(PathBuf, u64, u64),
    #[error("a worker: {0}")]
    Worker(#[from] JoinError),
}

type Result<T, E = StoreError> = std::result::Result<T, E>;

/// A directory that this process uses.
#[derive(Debug)]
pub(crate) struct Store {
    dir: PathBuf,
    /// Let go of by the system, whatever ends the process.
    _lock: StdFile,
}

/// What a start has found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) records: u64,
    pub(crate) keys: usize,
    /// Bytes of records that were never finished.
    pub(crate) cut_off: u64,
}

/// A shard that is ready to start.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) map: Map,
    pub(crate) log: PathBuf,
    /// Where its log ends.
    pub(crate) end: u64,
}

impl Store {
    pub(crate) async fn open(dir: &Path, pool: &CompioPool) -> Result<Self> {
        let fs = Fs::new(pool);
        let failed = |error| StoreError::File(dir.to_path_buf(), error);
        fs.create_dir_all(dir).await.map_err(failed)?;
        // Of the standard library: a lock is not an operation of a ring. This is the start; nothing else waits.
        let lock = StdFile::create(dir.join("LOCK")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse(dir.to_path_buf())),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        Ok(Self {
            dir: dir.to_path_buf(),
            _lock: lock,
        })
    }

    /// A part for each worker of the pool, each with its log.
    pub(crate) async fn recover(&self, pool: &CompioPool) -> Result<(Vec<Part>, Found)> {
        let fs = &Fs::new(pool);
        let (last, logs) = self.current(fs).await?;
        let mut found = Found::default();
        let mut maps = vec![Map::new(); pool.workers().len()];
        // All at the same time, wherever there is least to do.
        let replays = (0..logs).map(|log| {
            let path = self.log(last, log);
            pool.spawn(async move || replay(&path).await)
        });
        for replayed in try_join_all(replays.collect::<Vec<_>>()).await? {
            let replayed = replayed?;
            found.records += replayed.records;
            found.cut_off += replayed.cut_off;
            for (key, value) in replayed.map {
                maps[pool.worker_for(&*key).index()].insert(key, value);
            }
        }
        found.keys = maps.iter().map(Map::len).sum();
        Ok((self.begin(pool, fs, last + 1, maps).await?, found))
    }

    /// Writes a generation, and has it count.
    async fn begin(
        &self,
        pool: &CompioPool,
        fs: &Fs,
        number: u64,
        maps: Vec<Map>,
    ) -> Result<Vec<Part>> {
        let dir = self.dir.join(number.to_string());
        // Of a start that was interrupted.
        Self::remove(fs, &dir).await?;
        let made = fs.create_dir(&dir).await;
        made.map_err(|error| StoreError::File(dir.clone(), error))?;
        let logs = maps.len();
        let writes = pool.workers().zip(maps).map(|(worker, map)| {
            let log = self.log(number, worker.index());
            worker.spawn(async move || write(log, map).await)
        });
        let mut parts = Vec::with_capacity(logs);
        for part in try_join_all(writes.collect::<Vec<_>>()).await? {
            parts.push(part?);
        }
        // First what is named, with the names on the way to it, then the name.
        for dir in [dir, self.dir.clone()] {
            let (path, sync) = (dir.clone(), pool.run(async move || sync(&dir).await));
            sync.await?.map_err(|error| StoreError::File(path, error))?;
        }
        let path = self.dir.join("CURRENT");
        let named = fs.write_atomic(&path, format!("{number} {logs}\n"));
        named.await.map_err(|error| StoreError::File(path, error))?;
        self.remove_all_but(fs, number).await?;
        Ok(parts)
    }

    /// The generations before; more than one if a start was interrupted.
    async fn remove_all_but(&self, fs: &Fs, number: u64) -> Result<()> {
        let failed = |error| StoreError::File(self.dir.clone(), error);
        let mut entries = fs.read_dir(&self.dir).await.map_err(failed)?;
        while let Some(entry) = entries.next_entry().await.map_err(failed)? {
            let name = entry.file_name();
            let other = name.to_str().and_then(|name| name.parse::<u64>().ok());
            if other.is_some_and(|other| other != number) {
                Self::remove(fs, &entry.path()).await?;
            }
        }
        Ok(())
    }

    /// The number of the generation that counts, and how many logs it has.
    async fn current(&self, fs: &Fs) -> Result<(u64, usize)> {
        let path = self.dir.join("CURRENT");
        let text = match fs.read_to_string(&path).await {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((0, 0)),
            Err(error) => return Err(StoreError::File(path, error)),
        };
        let numbers = text.trim_end().split_once(' ');
        let numbers =
            numbers.and_then(|(number, logs)| Some((number.parse().ok()?, logs.parse().ok()?)));
        numbers.ok_or(StoreError::Current(path))
    }

    async fn remove(fs: &Fs, dir: &Path) -> Result<()> {
        match fs.remove_dir_all(dir).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::File(dir.to_path_buf(), error))
            }
            _ => Ok(()),
        }
    }

    fn log(&self, generation: u64, shard: usize) -> PathBuf {
        self.dir
            .join(generation.to_string())
            .join(shard.to_string())
    }
}

#[derive(Debug, Default)]
pub(crate) struct Replayed {
    pub(crate) map: Map,
    pub(crate) records: u64,
    pub(crate) cut_off: u64,
}

/// Reads a log from its beginning to its end, or to where a crash has torn it.
pub(crate) async fn replay(path: &Path) -> Result<Replayed> {
    let failed = |error| StoreError::File(path.to_path_buf(), error);
    let file = File::open(path).await.map_err(failed)?;
    let end = file.metadata().await.map_err(failed)?.len();
    let mut replayed = Replayed::default();
    let mut buffer = Vec::with_capacity(PIECE);
    let mut at = 0;
    // What of the buffer has been replayed.
    let mut done = 0;
    loop {
        buffer.drain(..done);
        done = 0;
        let from = buffer.len();
        buffer.reserve(PIECE);
        let BufResult(read, slice) = file.read_at(slice_from(buffer, from), at).await;
        let read = read.map_err(failed)?;
        buffer = slice.into_inner();
        let first = at == 0;
        at += read as u64;
        if first {
            if !buffer.starts_with(MAGIC) {
                return Err(StoreError::NotALog(path.to_path_buf()));
            }
            done = MAGIC.len();
        }
        loop {
            match record::next(&buffer[done..]) {
                Next::Record(key, value, size) => {
                    done += size;
                    replayed.records += 1;
                    match value {
                        Some(value) => {
                            let value = Bytes::copy_from_slice(value);
                            match replayed.map.get_mut(key) {
                                Some(old) => *old = value,
                                None => _ = replayed.map.insert(Bytes::copy_from_slice(key), value),
                            }
                        }
                        None => _ = replayed.map.remove(key),
                    }
                }
                Next::Mark(size) => done += size,
                Next::Short if read > 0 => break,
                Next::Short | Next::Bad => {
                    let good = at - (buffer.len() - done) as u64;
                    replayed.cut_off = end.saturating_sub(good);
                    // All groups but the last one were on the disk before that one was begun. What comes after it
                    // may say so itself; so it does, but for the last one of all.
                    if replayed.cut_off > TAIL
                        || marked(&file, good, end).await.map_err(failed)? > good
                    {
                        return Err(StoreError::Damaged(path.to_path_buf(), good, end));
                    }
                    return Ok(replayed);
                }
            }
        }
    }
}

/// How much of a log was on the disk, by what there is from `good` on to its end.
async fn marked(file: &File, good: u64, end: u64) -> io::Result<u64> {
    let rest = Vec::with_capacity(end.saturating_sub(good) as usize);
    let BufResult(read, rest) = file.read_to_end_at(rest, good).await;
    read?;
    Ok(record::marked(&rest, good))
}

fn slice_from(buffer: Vec<u8>, from: usize) -> compio::buf::Slice<Vec<u8>> {
    use compio::buf::IoBuf;

    buffer.slice(from..)
}

/// Writes a shard's log, each key once. It is on the disk when this returns; its name may not be.
async fn write(path: PathBuf, map: Map) -> Result<Part> {
    let failed = |error| StoreError::File(path.clone(), error);
    let mut file = &File::create(&path).await.map_err(failed)?;
    let mut end = 0;
    let mut bytes = MAGIC.to_vec();
    let mut left = map.iter();
    loop {
        let next = left.next();
        if let Some((key, value)) = next {
            record::push(&mut bytes, key, Some(value));
        }
        if next.is_none() {
            // All of it will be on the disk before it counts.
            let at = end + bytes.len() as u64;
            record::push_mark(&mut bytes, at, at);
        }
        if bytes.len() >= PIECE || next.is_none() {
            let BufResult(written, back) = file.write_all_at(bytes, end).await;
            written.map_err(failed)?;
            bytes = back;
            end += bytes.len() as u64;
            bytes.clear();
        }
        if next.is_none() {
            break;
        }
    }
    file.sync_all().await.map_err(failed)?;
    Ok(Part {
        map,
        log: path,
        end,
    })
}

/// Has the names in a directory on the disk.
async fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir).await?.sync_all().await
}

/// A log that is written on: to its end, and never over what is there.
pub(crate) async fn open_log(path: &Path) -> Result<File> {
    let opened = OpenOptions::new().write(true).open(path).await;
    opened.map_err(|error| StoreError::File(path.to_path_buf(), error))
}
