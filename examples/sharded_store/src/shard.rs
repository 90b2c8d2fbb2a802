//! What one worker owns: a part of the keys, and the records that are on their way to the disk. COPY: the file,
//! with what your store keeps.
//!
//! Nothing in here waits, and nothing is shared: a shard is a plain value of its thread's. What is asked of it
//! is done in memory at once. Whether it may also be *told* at once is the question of the groups: nobody is told
//! what a crash could still take back, neither the writer nor a reader.

use std::{
    collections::{HashMap, HashSet},
    mem,
};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::record;

/// A group of records that has so many bytes takes no more. Who wants to write then waits for the disk.
pub(crate) const GROUP: usize = 1 << 20;
/// What a key costs beside its bytes, about.
const OVERHEAD: usize = 96;

/// What is asked about one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Get,
    Exists,
    Set(Bytes),
    Delete,
    Add(i64),
}

/// The answer to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Value(Option<Bytes>),
    Number(i64),
    Done,
    Refused(Refusal),
}

/// Why it is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("ERR value is not an integer or out of range")]
    NotANumber,
    #[error("ERR increment or decrement would overflow")]
    Overflow,
    #[error("OOM command not allowed when used memory > 'maxmemory'.")]
    Full,
    /// What is on the disk is not known any more, so nothing is promised any more.
    #[error("MISCONF the log cannot be written")]
    LogFailed,
    #[error("ERR the key's shard has ended")]
    Gone,
}

/// When an outcome may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Now,
    /// When the group is on the disk that is being written.
    Flying,
    /// When the group is that takes records now.
    Gathering,
}

/// Records that are written and synchronised together, and who waits for that.
#[derive(Debug, Default)]
struct Group {
    bytes: Vec<u8>,
    records: u64,
    /// Whose keys are not yet as durable as they look.
    keys: HashSet<Bytes>,
    waiting: Vec<(oneshot::Sender<Outcome>, Outcome)>,
}

/// A part of the keys.
#[derive(Debug)]
pub(crate) struct Shard {
    map: HashMap<Bytes, Bytes>,
    /// About what `map` has of memory, and may have.
    used: usize,
    limit: usize,
    gathering: Group,
    flying: Group,
    failed: bool,
}

impl Shard {
    pub(crate) fn new(map: HashMap<Bytes, Bytes>, limit: usize) -> Self {
        let used = map.iter().map(|(key, value)| cost(key, value)).sum();
        Self {
            map,
            used,
            limit,
            gathering: Group::default(),
            flying: Group::default(),
            failed: false,
        }
    }

    pub(crate) fn keys(&self) -> usize {
        self.map.len()
    }

    /// Whether a write has to wait for the disk.
    pub(crate) fn is_full(&self) -> bool {
        self.gathering.bytes.len() >= GROUP
    }

    /// Does what is asked. The key and the value are parts of a connection's buffer, which would be kept as long as
    /// they are: what is kept is copied.
    pub(crate) fn execute(&mut self, key: &[u8], op: Op) -> (Outcome, When) {
        let seen = self.seen(key);
        if self.failed && (seen != When::Now || !matches!(op, Op::Get | Op::Exists)) {
            return (Outcome::Refused(Refusal::LogFailed), When::Now);
        }
        match op {
            Op::Get => (Outcome::Value(self.map.get(key).cloned()), seen),
            Op::Exists => (Outcome::Number(self.map.contains_key(key).into()), seen),
            Op::Delete => match self.map.remove_entry(key) {
                None => (Outcome::Number(0), seen),
                Some((key, value)) => {
                    self.used -= cost(&key, &value);
                    self.log(key, None);
                    (Outcome::Number(1), When::Gathering)
                }
            },
            Op::Set(value) => match self.put(key, &value) {
                Ok(()) => (Outcome::Done, When::Gathering),
                Err(refusal) => (Outcome::Refused(refusal), seen),
            },
            Op::Add(by) => match self.add(key, by) {
                Ok(sum) => (Outcome::Number(sum), When::Gathering),
                Err(refusal) => (Outcome::Refused(refusal), seen),
            },
        }
    }

    /// Has `outcome` told when it may be; to nobody if the client has gone by then.
    pub(crate) fn tell(&mut self, answer: oneshot::Sender<Outcome>, outcome: Outcome, when: When) {
        match when {
            When::Now => _ = answer.send(outcome),
            When::Flying => self.flying.waiting.push((answer, outcome)),
            When::Gathering => self.gathering.waiting.push((answer, outcome)),
        }
    }

    /// The next group to be written, if there is one, in `spare`'s stead, and how many records it has. From now on
    /// it flies, until it has [`landed`](Self::landed).
    pub(crate) fn take_off(&mut self, mut spare: Vec<u8>) -> Result<(Vec<u8>, u64), Vec<u8>> {
        if self.gathering.bytes.is_empty() || self.failed {
            return Err(spare);
        }
        debug_assert!(self.flying.keys.is_empty() && self.flying.waiting.is_empty());
        spare.clear();
        mem::swap(&mut self.gathering, &mut self.flying);
        let bytes = mem::take(&mut self.flying.bytes);
        self.gathering.bytes = spare;
        Ok((bytes, mem::take(&mut self.flying.records)))
    }

    /// The group that flew is on the disk: everybody hears of it.
    pub(crate) fn landed(&mut self) {
        self.flying.keys.clear();
        for (answer, outcome) in self.flying.waiting.drain(..) {
            _ = answer.send(outcome);
        }
    }

    /// The log cannot be written. What was not told never will be, since nobody knows what of it is on the disk; and
    /// a second attempt to synchronise may succeed without having written what the first one lost.
    pub(crate) fn fail(&mut self) {
        self.failed = true;
        let groups = [&mut self.flying, &mut self.gathering];
        for (answer, _) in groups.into_iter().flat_map(|group| group.waiting.drain(..)) {
            _ = answer.send(Outcome::Refused(Refusal::LogFailed));
        }
        self.gathering.bytes = Vec::new();
    }

    /// When what is in memory for `key` may be told.
    fn seen(&self, key: &[u8]) -> When {
        if self.gathering.keys.contains(key) {
            When::Gathering
        } else if self.flying.keys.contains(key) {
            When::Flying
        } else {
            When::Now
        }
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refusal> {
        let before = self.map.get_key_value(key);
        let freed = before.map_or(0, |(key, value)| cost(key, value));
        let used = self.used - freed + cost(key, value);
        if used > self.limit && used > self.used {
            return Err(Refusal::Full);
        }
        let key = match before {
            Some((key, _)) => key.clone(),
            None => Bytes::copy_from_slice(key),
        };
        let value = Bytes::copy_from_slice(value);
        self.used = used;
        self.log(key.clone(), Some(&value));
        self.map.insert(key, value);
        Ok(())
    }

    fn add(&mut self, key: &[u8], by: i64) -> Result<i64, Refusal> {
        let value = match self.map.get(key) {
            None => 0,
            Some(value) => number(value).ok_or(Refusal::NotANumber)?,
        };
        let sum = value.checked_add(by).ok_or(Refusal::Overflow)?;
        self.put(key, sum.to_string().as_bytes())?;
        Ok(sum)
    }

    fn log(&mut self, key: Bytes, value: Option<&[u8]>) {
        record::push(&mut self.gathering.bytes, &key, value);
        self.gathering.records += 1;
        self.gathering.keys.insert(key);
    }
}

fn cost(key: &[u8], value: &[u8]) -> usize {
    OVERHEAD + key.len() + value.len()
}

/// As Redis takes numbers: nothing but digits, and perhaps a sign in front.
pub(crate) fn number(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    if text.starts_with('+') {
        return None;
    }
    text.parse().ok()
}
