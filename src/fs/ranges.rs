//! Many reads of one file in one crossing.
//!
//! The ranges become parts: what lies near together is read at once, and the answers are slices of that.
//! Whatever is in the page cache is copied on the thread that looks; what is not goes to the ring of a
//! worker, many reads at a time.

use std::{io, mem, ops::Range, path::Path, sync::Arc, task::Poll};

use bytes::{Bytes, BytesMut};
use compio::buf::{BufResult, IntoInner, IoBuf};
use futures::{
    FutureExt, StreamExt,
    stream::{self, FuturesUnordered},
};

use super::{
    File, Fs, OpenOptions,
    direct::{self, Direct},
    nowait::Nowait,
    op::{Op, RunOp, has_ring},
    options::Open,
    owner::Owner,
    pace,
    slab::{SLAB, Slab},
    sys::{self, Position},
};
use crate::{error::JoinError, spawn::RunBlocking};

/// Two ranges with at most so many bytes between them are read as one: to copy a page more costs about
/// what a further system call does.
const GAP: u64 = 4 << 10;
/// Ranges that do not overlap are not merged to more than this.
const MERGED: u64 = 256 << 10;
/// What a read costs beside its bytes, in bytes that could have been copied meanwhile.
const CALL: u64 = 4 << 10;
/// Bytes that a worker copies before it looks after its other tasks: about 50 µs.
const PACE: u64 = 256 << 10;
/// Reads that one call has on the ring at once: what it takes to keep a disk busy.
const IN_FLIGHT: usize = 64;
/// Small parts share allocations of this size.
const ROOM: u64 = 64 << 10;
/// A call for at least so many bytes copies what is in the page cache to slabs.
const LARGE: u64 = SLAB as u64;
/// Bytes asked for at once.
const PIECE: u64 = 256 << 10;
/// The kernel's offsets end here.
const END: u64 = i64::MAX as u64;

impl File {
    /// The bytes of the file in each of the ranges, in their order: many reads in one call.
    ///
    /// The ranges may be unordered, overlap, repeat and be empty. Where the file ends within a range, or
    /// before it, there are fewer bytes, or none.
    ///
    /// What lies near together (up to 4 KiB apart) is read at once. The answers share memory: one that is
    /// kept keeps its neighbours, up to 256 KiB, or 1 MiB if the call is for more than that. Copy what is
    /// small and kept for long. The memory of large calls is used again by later ones (Linux: 256 MiB at
    /// most in the whole process, of which the kernel may take back what no answer is in).
    ///
    /// # Where it runs
    ///
    /// If all of it is not more than the [limit](Fs::nowait_limit), what is in the page cache is copied
    /// on the calling thread. The rest is one crossing to one worker, which copies what is in the page
    /// cache, letting its other tasks run in between, and has up to 64 reads of the rest on its ring. A
    /// worker without a ring hands the rest to one of the pool's blocking threads.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the reads.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if a range ends before it begins; else what the file
    /// system says to any of the reads; [`JoinError`] inside if the pool is gone.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = landbridge::CompioPool::builder().threads(1).build()?;
    /// let file = landbridge::fs::Fs::new(&pool).open("Cargo.toml").await?;
    /// let [magic, nothing] = &file.read_ranges(&[0..9, 1 << 40..1 << 41]).await?[..] else {
    ///     unreachable!()
    /// };
    /// assert_eq!(magic, "[workspac");
    /// assert!(nothing.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn read_ranges(&self, ranges: &[Range<u64>]) -> io::Result<Vec<Bytes>> {
        self.read_plan(Plan::new(ranges)?).await
    }

    async fn read_plan(&self, mut plan: Plan) -> io::Result<Vec<Bytes>> {
        let inner = self.inner();
        pace::turn().await;
        if plan.read_here(&inner.owner, inner.nowait)? {
            return Ok(plan.finish());
        }
        let op = ReadRanges {
            owner: Arc::clone(&inner.owner),
            nowait: inner.nowait,
            plan,
        };
        RunOp::new(inner.owner.pool(), op).await
    }
}

impl Fs {
    /// [`File::read_ranges`] of a file that is opened for it, and closed: in one crossing, if there need
    /// be one.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the reads and leaves no descriptor open.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open) and [`File::read_ranges`].
    pub async fn read_ranges(
        &self,
        path: impl AsRef<Path>,
        ranges: &[Range<u64>],
    ) -> io::Result<Vec<Bytes>> {
        let plan = Plan::new(ranges)?;
        let (path, pool) = (path.as_ref(), self.shared());
        if pool.is_closed() {
            return Err(JoinError::RuntimeGone.into());
        }
        let mut options = OpenOptions::new();
        options.read(true);
        let flags = options.flags()?;
        let cached = self.nowait().is_on().then(|| sys::open_cached(path, flags));
        if let Some(file) = cached.flatten() {
            pace::spend(0);
            let file = File::new(file, Arc::clone(pool), self.nowait());
            return file.read_plan(plan).await;
        }
        let op = ReadPath {
            open: Open {
                path: path.to_owned(),
                options,
                flags,
                pool: Arc::clone(pool),
                nowait: self.nowait(),
            },
            plan,
        };
        RunOp::new(pool, op).await
    }
}

/// [`File::read_ranges`] of a file that is opened for it, and closed, on the default pool.
///
/// # Errors
///
/// As [`Fs::read_ranges`]; [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there is none.
pub async fn read_ranges(path: impl AsRef<Path>, ranges: &[Range<u64>]) -> io::Result<Vec<Bytes>> {
    Fs::of_default()?.read_ranges(path, ranges).await
}

struct ReadRanges {
    owner: Arc<Owner>,
    nowait: Nowait,
    plan: Plan,
}

impl Op for ReadRanges {
    type Output = io::Result<Vec<Bytes>>;

    async fn run(self) -> Self::Output {
        let Self {
            owner,
            nowait,
            plan,
        } = self;
        plan.read(owner, nowait).await
    }

    fn refused(self, error: JoinError) -> Self::Output {
        Err(error.into())
    }

    fn lost(error: JoinError) -> Self::Output {
        Err(error.into())
    }
}

struct ReadPath {
    open: Open,
    plan: Plan,
}

impl Op for ReadPath {
    type Output = io::Result<Vec<Bytes>>;

    async fn run(self) -> Self::Output {
        let file = self.open.open().await?;
        let owner = Arc::new(Owner::new(file, self.open.pool));
        self.plan.read(owner, self.open.nowait).await
    }

    fn refused(self, error: JoinError) -> Self::Output {
        Err(error.into())
    }

    fn lost(error: JoinError) -> Self::Output {
        Err(error.into())
    }
}

/// What is read, and how the answers are made of it.
#[derive(Debug)]
struct Plan {
    parts: Vec<Part>,
    /// For each range.
    places: Vec<Place>,
    room: Room,
    /// What cached parts of a large call are copied to: those that are full, and the last one.
    slabs: Vec<Bytes>,
    slab: Option<Slab>,
}

/// What is read at once.
#[derive(Debug)]
struct Part {
    start: u64,
    end: u64,
    /// What has been read of it.
    buffer: BytesMut,
    /// All of it, instead: the slab's number, and where in it.
    in_slab: Option<(usize, Range<usize>)>,
    /// All of it, instead: what direct I/O brought.
    direct: Option<Bytes>,
    done: bool,
}

/// Where an answer is.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    part: usize,
    offset: u64,
    len: u64,
}

impl Plan {
    fn new(ranges: &[Range<u64>]) -> io::Result<Self> {
        if let Some(range) = ranges.iter().find(|range| range.start > range.end) {
            let message = format!("the range {range:?} ends before it begins");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let is_something = |range: &Range<u64>| range.start < range.end.min(END);
        let mut order: Vec<usize> = (0..ranges.len())
            .filter(|index| is_something(&ranges[*index]))
            .collect();
        // Finds out in one go that they are in order, as they mostly are.
        order.sort_by_key(|index| ranges[*index].start);
        let mut places = vec![Place::default(); ranges.len()];
        let mut parts: Vec<Part> = Vec::with_capacity(order.len());
        for index in order {
            let Range { start, end } = ranges[index];
            let end = end.min(END);
            match parts.last_mut() {
                Some(part) if part.takes(start, end) => part.end = part.end.max(end),
                _ => parts.push(Part::new(start, end)),
            }
            let part = parts.len() - 1;
            places[index] = Place {
                part,
                offset: start - parts[part].start,
                len: end - start,
            };
        }
        let bytes = parts.iter().map(Part::len).fold(0, u64::saturating_add);
        Ok(Self {
            parts,
            places,
            room: Room::new(bytes),
            slabs: Vec::new(),
            slab: None,
        })
    }

    /// What it would take to copy all of it, in bytes.
    fn cost(&self) -> u64 {
        let costs = self
            .parts
            .iter()
            .map(|part| part.len().saturating_add(CALL));
        costs.fold(0, u64::saturating_add)
    }

    /// Reads what can be read here and now; whether that is all.
    fn read_here(&mut self, owner: &Owner, nowait: Nowait) -> io::Result<bool> {
        if self.parts.is_empty() {
            return Ok(true);
        }
        let cost = usize::try_from(self.cost()).unwrap_or(usize::MAX);
        if !nowait.allows(cost) || owner.pool().is_closed() {
            return Ok(false);
        }
        pace::spend(cost);
        for part in &mut self.parts {
            while owner.may_nowait() && part.read_now(owner, &mut self.room)? == Now::More {}
        }
        Ok(self.parts.iter().all(|part| part.done))
    }

    /// Reads all of it past the page cache, on a worker.
    async fn read_direct(mut self, owner: Arc<Owner>, direct: Direct) -> io::Result<Vec<Bytes>> {
        let reads = self.parts.iter().enumerate().map(|(index, part)| {
            let read = direct::read(Arc::clone(&owner), direct, part.start..part.end);
            read.map(move |read| (index, read))
        });
        let mut reading = stream::iter(reads.collect::<Vec<_>>()).buffer_unordered(IN_FLIGHT);
        while let Some((index, read)) = reading.next().await {
            self.parts[index].direct = Some(read?);
        }
        Ok(self.finish())
    }

    /// Reads all of it, on a worker.
    async fn read(mut self, owner: Arc<Owner>, nowait: Nowait) -> io::Result<Vec<Bytes>> {
        if let Some(direct) = owner.direct() {
            return self.read_direct(owner, direct).await;
        }
        let has_ring = has_ring();
        let uses_slabs = nowait.is_on() && self.room.left >= LARGE;
        let mut reading = FuturesUnordered::new();
        let (mut copied, mut for_a_thread) = (0, Vec::new());
        for index in 0..self.parts.len() {
            let mut now = Now::More;
            if uses_slabs && owner.may_nowait() {
                now = self.read_to_slab(&owner, index)?;
                copied += CALL;
                if now == Now::Done {
                    copied += self.parts[index].len();
                }
            }
            let part = &mut self.parts[index];
            while now == Now::More && nowait.is_on() && owner.may_nowait() {
                let before = part.buffer.len();
                now = part.read_now(&owner, &mut self.room)?;
                copied += (part.buffer.len() - before) as u64 + CALL;
                if now == Now::More && copied >= PACE {
                    copied = 0;
                    yield_now().await;
                }
            }
            if !part.done {
                part.prepare(&mut self.room);
                let part = mem::replace(part, Part::new(0, 0));
                if has_ring {
                    reading.push(part.read_on_ring(Arc::clone(&owner), index));
                } else {
                    for_a_thread.push((index, part));
                }
            }
            // The first look at what was pushed puts it on the ring.
            if copied >= PACE || reading.len() >= IN_FLIGHT {
                copied = 0;
                if reading.len() >= IN_FLIGHT {
                    if let Some(read) = reading.next().await {
                        let (index, part) = read?;
                        self.parts[index] = part;
                    }
                } else {
                    yield_now().await;
                }
                while let Some(Some(read)) = reading.next().now_or_never() {
                    let (index, part) = read?;
                    self.parts[index] = part;
                }
            }
        }
        while let Some(read) = reading.next().await {
            let (index, part) = read?;
            self.parts[index] = part;
        }
        if !for_a_thread.is_empty() {
            let threads = Arc::clone(owner.pool().blocking());
            let work = move || {
                for (_, part) in &mut for_a_thread {
                    part.read_blocking(&owner)?;
                }
                io::Result::Ok(for_a_thread)
            };
            for (index, part) in RunBlocking::new(threads, work).await?? {
                self.parts[index] = part;
            }
        }
        Ok(self.finish())
    }

    /// Reads all of a part to a slab, if that can be done here and now.
    fn read_to_slab(&mut self, owner: &Owner, index: usize) -> io::Result<Now> {
        let part = &mut self.parts[index];
        if part.done {
            return Ok(Now::Done);
        }
        if part.len() > PIECE || !part.buffer.is_empty() {
            return Ok(Now::More);
        }
        let len = part.len() as usize;
        if let Some(full) = self.slab.take_if(|slab| slab.memory().room() < len) {
            self.slabs.push(full.freeze());
        }
        if self.slab.is_none() {
            self.slab = Slab::new();
        }
        let Some(slab) = &mut self.slab else {
            return Ok(Now::More);
        };
        let memory = slab.memory();
        let start = memory.filled().len();
        match memory.append_cached(owner.file(), len, Position::At(part.start)) {
            Ok(true) => {
                part.in_slab = Some((self.slabs.len(), start..start + len));
                part.done = true;
                Ok(Now::Done)
            }
            // The rest is not there, or there is none: as any part.
            Ok(false) => Ok(Now::More),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => Ok(Now::Later),
                io::ErrorKind::Unsupported => {
                    owner.cannot_nowait();
                    Ok(Now::Later)
                }
                _ => Err(error),
            },
        }
    }

    /// The answers.
    fn finish(mut self) -> Vec<Bytes> {
        self.slabs.extend(self.slab.take().map(Slab::freeze));
        let parts: Vec<Bytes> = self
            .parts
            .into_iter()
            .map(|part| match part.in_slab {
                Some((slab, place)) => Bytes::slice(&self.slabs[slab], place),
                None => part.direct.unwrap_or_else(|| part.buffer.freeze()),
            })
            .collect();
        let answer = |place: Place| {
            let Some(part) = parts.get(place.part).filter(|_| place.len > 0) else {
                return Bytes::new();
            };
            // As far as the file goes.
            let there = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(part.len());
            part.slice(there(place.offset)..there(place.offset + place.len))
        };
        self.places.into_iter().map(answer).collect()
    }
}

/// What came of an attempt to read here and now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Now {
    /// Nothing is left to be read.
    Done,
    /// Something was read, and more may be there.
    More,
    /// It is for the disk.
    Later,
}

impl Part {
    fn new(start: u64, end: u64) -> Self {
        Self {
            start,
            end,
            buffer: BytesMut::new(),
            in_slab: None,
            direct: None,
            done: false,
        }
    }

    fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Whether a range that does not begin before this is to be read with it.
    fn takes(&self, start: u64, end: u64) -> bool {
        start < self.end || (start - self.end <= GAP && end - self.start <= MERGED)
    }

    /// Makes room for the next piece: its length and where in the file it is. None: there is none.
    fn prepare(&mut self, room: &mut Room) -> Option<(usize, u64)> {
        if self.buffer.capacity() == 0 && self.len() <= PIECE {
            self.buffer = room.take(self.len() as usize);
        }
        self.next_piece()
    }

    /// The same without the room that is shared.
    fn next_piece(&mut self) -> Option<(usize, u64)> {
        let filled = self.buffer.len();
        let left = self.len().saturating_sub(filled as u64);
        if left == 0 || self.done {
            self.done = true;
            return None;
        }
        let piece = left.min(PIECE) as usize;
        if self.buffer.capacity() - filled < piece {
            // As much again as the file was seen to have, not as much as was asked for: the range may go
            // on far beyond its end.
            let more = left.min(filled.max(piece) as u64);
            self.buffer.reserve(more as usize);
        }
        Some((piece, self.start + filled as u64))
    }

    fn read_so_far(&mut self, n: usize) {
        // None is the end of the file.
        self.done |= n == 0 || self.buffer.len() as u64 == self.len();
    }

    /// Reads a piece of it if that can be done here and now.
    fn read_now(&mut self, owner: &Owner, room: &mut Room) -> io::Result<Now> {
        let Some((piece, at)) = self.prepare(room) else {
            return Ok(Now::Done);
        };
        let at = Position::At(at);
        match sys::append(owner.file(), &mut self.buffer, piece, at, sys::Blocking::No) {
            Ok(n) => self.read_so_far(n),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => return Ok(Now::Later),
                io::ErrorKind::Unsupported => {
                    owner.cannot_nowait();
                    return Ok(Now::Later);
                }
                _ => return Err(error),
            },
        }
        Ok(if self.done { Now::Done } else { Now::More })
    }

    /// Reads all of it.
    fn read_blocking(&mut self, owner: &Owner) -> io::Result<()> {
        while let Some((piece, at)) = self.next_piece() {
            let at = Position::At(at);
            let n = sys::append(
                owner.file(),
                &mut self.buffer,
                piece,
                at,
                sys::Blocking::Yes,
            )?;
            self.read_so_far(n);
        }
        Ok(())
    }

    /// Reads all of it through the ring of this worker; `index` is given back.
    async fn read_on_ring(mut self, owner: Arc<Owner>, index: usize) -> io::Result<(usize, Self)> {
        while let Some((piece, at)) = self.next_piece() {
            let filled = self.buffer.len();
            let buffer = mem::take(&mut self.buffer).slice(filled..filled + piece);
            let read = sys::ring_read(Arc::clone(&owner), buffer, Position::At(at)).await;
            let BufResult(n, buffer) = read;
            self.buffer = buffer.into_inner();
            self.read_so_far(n?);
        }
        Ok((index, self))
    }
}

/// Where small parts get their memory: many of them from one allocation.
#[derive(Debug)]
struct Room {
    spare: BytesMut,
    /// What may still be asked for.
    left: u64,
}

impl Room {
    fn new(bytes: u64) -> Self {
        Self {
            spare: BytesMut::new(),
            left: bytes,
        }
    }

    fn take(&mut self, len: usize) -> BytesMut {
        if self.spare.capacity() < len {
            self.spare = BytesMut::with_capacity(self.left.min(ROOM).max(len as u64) as usize);
        }
        self.left = self.left.saturating_sub(len as u64);
        let rest = self.spare.split_off(len);
        mem::replace(&mut self.spare, rest)
    }
}

/// Lets the worker look after its other tasks.
async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
