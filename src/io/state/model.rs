//! Plain models of the buffer machines, which proptest and the fuzzers of `fuzz/` drive.
//!
//! Each takes a list of moves, makes them on the machine and on the model, and panics where the
//! two part. A move that makes no sense in its place is none.

use std::collections::VecDeque;
use std::fmt;
use std::io;

use super::spare::{KEPT, Spare};
use super::{Job, LARGE, ReadSide, ReadStep, Wish, WriteSide};

#[derive(Clone, Copy, Debug)]
pub(crate) enum ReadMove {
    Step,
    /// The operation in flight brings so many bytes, or the end.
    Deliver(usize),
    /// It says that it has brought more than there is.
    Lie,
    Fail,
    Consume(usize),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum WriteMove {
    Accept(usize),
    /// Takes the next job, if there is none in flight.
    Job,
    /// Ends the job in flight, well or not.
    End(bool),
    Flush,
    Shutdown,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum SpareMove {
    Take(usize),
    /// Gives back one of the buffers that were taken, with so many bytes in it.
    GiveBack(usize, usize),
    /// Gives a buffer that was made elsewhere.
    Give(usize),
}

/// An error that can be told from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tag(u32);

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error {}", self.0)
    }
}

impl std::error::Error for Tag {}

fn tag_of(error: &io::Error) -> Option<Tag> {
    error.get_ref()?.downcast_ref().copied()
}

/// Bytes come out as they went in, errors once and in their place, ends for ever.
pub(crate) fn read_side(bound: usize, moves: impl IntoIterator<Item = ReadMove>) {
    let mut side = ReadSide::new(bound);
    let bound = bound.max(1);
    let mut model = VecDeque::new();
    let (mut error, mut ended, mut flying, mut next) = (None, false, None, 0_u8);
    for (turn, a_move) in (0..).zip(moves) {
        match a_move {
            ReadMove::Step => match side.step() {
                ReadStep::Data => assert!(!model.is_empty()),
                ReadStep::Failed(told) => {
                    assert!(model.is_empty());
                    assert_eq!(Some(tag_of(&told)), error.take());
                }
                ReadStep::End => assert!(model.is_empty() && error.is_none() && ended),
                ReadStep::Wait => {
                    assert!(model.is_empty() && error.is_none() && !ended && flying.is_some());
                }
                ReadStep::Order => {
                    assert!(model.is_empty() && error.is_none() && !ended && flying.is_none());
                    let (buffer, limit) = side.order();
                    assert!(buffer.is_empty() && buffer.capacity() >= limit);
                    assert!(0 < limit && limit <= bound);
                    flying = Some((buffer, limit));
                }
            },
            ReadMove::Deliver(count) => {
                if let Some((mut buffer, limit)) = flying.take() {
                    let count = count.min(limit);
                    for _ in 0..count {
                        next = next.wrapping_add(1);
                        buffer.push(next);
                        model.push_back(next);
                    }
                    ended = count == 0;
                    side.deliver(Ok(count), buffer);
                }
            }
            ReadMove::Lie => {
                if let Some((mut buffer, limit)) = flying.take() {
                    buffer.extend_from_slice(b"lies");
                    buffer.truncate(limit);
                    error = Some(None);
                    side.deliver(Ok(buffer.len() + 1), buffer);
                }
            }
            ReadMove::Fail => {
                if let Some((buffer, _)) = flying.take() {
                    error = Some(Some(Tag(turn)));
                    side.deliver(Err(io::Error::other(Tag(turn))), buffer);
                }
            }
            ReadMove::Consume(count) => {
                side.consume(count);
                model.drain(..count.min(model.len()));
            }
        }
        assert!(side.unread().iter().eq(&model));
        assert_eq!(side.in_flight(), flying.is_some());
        assert_eq!(side.ended(), ended);
    }
    if flying.is_none() {
        let (unread, untold) = side.into_rest();
        assert!(unread.iter().eq(&model));
        assert_eq!(untold.as_ref().map(tag_of), error);
    }
}

/// What was accepted goes out once and in order, up to the first write that fails; every error is
/// told once and in order; a flush is done only when all is out and flushed; what is asked for is
/// done in the end.
pub(crate) fn write_side(bound: usize, moves: impl IntoIterator<Item = WriteMove>) {
    let mut model = WriteModel::new(bound);
    for (turn, a_move) in (0..).zip(moves) {
        match a_move {
            WriteMove::Accept(count) => model.accept(count),
            WriteMove::Job => model.job(),
            WriteMove::End(well) => model.end(if well { None } else { Some(Tag(turn)) }),
            WriteMove::Flush => _ = model.flush(),
            WriteMove::Shutdown => _ = model.shutdown(),
        }
        assert!(model.accepted.starts_with(&model.out));
    }
    model.finish();
}

struct WriteModel {
    side: WriteSide,
    bound: usize,
    accepted: Vec<u8>,
    out: Vec<u8>,
    /// How much of `out` a flush has covered.
    flushed: Option<usize>,
    flying: Option<Job>,
    untold: VecDeque<Tag>,
    broken: bool,
    shutdown: bool,
    shut: bool,
}

impl WriteModel {
    fn new(bound: usize) -> Self {
        Self {
            side: WriteSide::new(bound),
            bound: bound.max(1),
            accepted: Vec::new(),
            out: Vec::new(),
            flushed: None,
            flying: None,
            untold: VecDeque::new(),
            broken: false,
            shutdown: false,
            shut: false,
        }
    }

    fn accept(&mut self, count: usize) {
        let start = self.accepted.len();
        let bytes: Vec<u8> = (start..start + count)
            .map(|i| (i ^ (i >> 8)) as u8)
            .collect();
        let (one, other) = bytes.split_at(count / 3);
        let untold = !self.untold.is_empty();
        match self.side.accept([one, &[], other].into_iter()) {
            Ok(taken) => {
                assert!(!untold && !self.broken && !self.shutdown);
                let flying = match &self.flying {
                    Some(Job::Write(buffer)) => buffer.len(),
                    _ => 0,
                };
                let waiting = start - self.out.len() - flying;
                let room = self.bound - waiting;
                let expected = (count == 0 || room > 0).then_some(count.min(room));
                assert_eq!(taken, expected);
                self.accepted
                    .extend_from_slice(&bytes[..taken.unwrap_or(0)]);
            }
            Err(error) if untold => self.told(&error),
            Err(error) => {
                assert!(self.broken || self.shutdown);
                assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
            }
        }
    }

    fn job(&mut self) {
        let Some(job) = self.side.next_job() else {
            return;
        };
        assert!(self.flying.is_none());
        match &job {
            Job::Write(buffer) => {
                assert!(!buffer.is_empty() && buffer.len() <= self.bound && !self.broken);
            }
            Job::Flush => assert!(self.out == self.accepted && !self.broken && !self.shut),
            Job::Shutdown => assert!(self.shutdown && (self.out == self.accepted || self.broken)),
        }
        self.flying = Some(job);
    }

    fn end(&mut self, error: Option<Tag>) {
        let Some(job) = self.flying.take() else {
            return;
        };
        let result = error.map_or(Ok(()), |tag| Err(io::Error::other(tag)));
        if let Some(tag) = error {
            self.untold.push_back(tag);
            self.shutdown = false;
        }
        match job {
            Job::Write(buffer) => {
                match error {
                    None => self.out.extend_from_slice(&buffer),
                    Some(_) => self.broken = true,
                }
                self.side.wrote(result, buffer);
            }
            Job::Flush => {
                if error.is_none() {
                    self.flushed = Some(self.out.len());
                }
                self.side.flushed(result);
            }
            Job::Shutdown => {
                self.shut = error.is_none();
                self.side.shut(result);
            }
        }
        assert_eq!(self.side.is_shut(), self.shut);
    }

    fn flush(&mut self) -> bool {
        match self.side.flush() {
            Ok(done) => {
                assert!(self.untold.is_empty());
                let all = self.out == self.accepted && self.flushed == Some(self.out.len());
                assert!(!done || all || self.broken || self.shut);
                done
            }
            Err(error) => {
                self.told(&error);
                false
            }
        }
    }

    fn shutdown(&mut self) -> bool {
        match self.side.shutdown() {
            Ok(done) => {
                assert!(self.untold.is_empty());
                assert_eq!(done, self.shut);
                self.shutdown = true;
                done
            }
            Err(error) => {
                self.told(&error);
                false
            }
        }
    }

    fn told(&mut self, error: &io::Error) {
        assert_eq!(tag_of(error), self.untold.pop_front(), "{error}");
    }

    /// All goes well from here on, so all that is asked for is done.
    fn finish(mut self) {
        for _ in 0..8 {
            self.run_dry();
            _ = self.flush();
        }
        assert!(self.untold.is_empty(), "an error was not told");
        assert!(self.flush(), "a flush waits for nothing");
        for _ in 0..2 {
            _ = self.shutdown();
            self.run_dry();
        }
        assert!(self.shutdown(), "a shutdown waits for nothing");
        assert!(self.side.answers(Wish::Rest));
        assert!(self.out == self.accepted || self.broken);
        assert!(self.side.last_error().is_none());
    }

    fn run_dry(&mut self) {
        self.end(None);
        loop {
            self.job();
            if self.flying.is_none() {
                return;
            }
            self.end(None);
        }
    }
}

/// A buffer is empty and as large as it was asked for, and no more is kept than was said.
pub(crate) fn spare(moves: impl IntoIterator<Item = SpareMove>) {
    let mut spare = Spare::new();
    let mut taken: Vec<Vec<u8>> = Vec::new();
    for a_move in moves {
        match a_move {
            SpareMove::Take(capacity) => {
                let buffer = spare.take(capacity);
                assert!(buffer.is_empty() && buffer.capacity() >= capacity);
                // As far as it goes: a wait must not keep a large buffer for a small need.
                assert!(capacity > super::SMALL || buffer.capacity() < 2 * LARGE);
                taken.push(buffer);
            }
            SpareMove::GiveBack(which, filled) if !taken.is_empty() => {
                let mut buffer = taken.swap_remove(which % taken.len());
                buffer.resize(filled.min(buffer.capacity()), 1);
                spare.give_back(buffer);
            }
            SpareMove::GiveBack(..) => {}
            SpareMove::Give(capacity) => spare.give_back(Vec::with_capacity(capacity)),
        }
        for (kept, (size, most)) in spare.kept().zip(KEPT) {
            assert!(kept.len() <= most);
            assert!(
                kept.iter()
                    .all(|buffer| buffer.is_empty() && buffer.capacity() >= size)
            );
        }
        let bytes: usize = spare.kept().flatten().map(Vec::capacity).sum();
        assert!(bytes <= 4_864 * 1024, "{bytes} bytes kept");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_moves() -> impl Strategy<Value = Vec<ReadMove>> {
        let a_move = prop_oneof![
            6 => Just(ReadMove::Step),
            6 => (0..2_000_usize).prop_map(ReadMove::Deliver),
            1 => Just(ReadMove::Lie),
            1 => Just(ReadMove::Fail),
            6 => (0..2_000_usize).prop_map(ReadMove::Consume),
        ];
        prop::collection::vec(a_move, 0..200)
    }

    fn write_moves() -> impl Strategy<Value = Vec<WriteMove>> {
        use WriteMove::{Accept, End, Flush, Job, Shutdown};
        let few = || 1..8_usize;
        let some = prop_oneof![
            8 => (0..500_usize).prop_map(|count| vec![Accept(count)]),
            8 => Just(vec![Job]),
            8 => prop::bool::weighted(0.8).prop_map(|well| vec![End(well)]),
            6 => Just(vec![Flush]),
            1 => Just(vec![Shutdown]),
            // Two errors that nobody asks for: that of a flush, and that of a write behind it. Chance
            // seldom brings this together.
            1 => (few(), few()).prop_map(|(first, second)| {
                let out = [End(true), Job, End(true), Accept(first), Job, End(true)];
                let two = [Flush, Job, Accept(second), End(false), Job, End(false)];
                [out, two].concat()
            }),
        ];
        prop::collection::vec(some, 0..200).prop_map(|some| some.concat())
    }

    fn spare_moves() -> impl Strategy<Value = Vec<SpareMove>> {
        let a_move = prop_oneof![
            (0..3 * LARGE).prop_map(SpareMove::Take),
            (0..200_usize).prop_map(SpareMove::Take),
            (any::<usize>(), 0..LARGE)
                .prop_map(|(which, filled)| SpareMove::GiveBack(which, filled)),
            (0..3 * LARGE).prop_map(SpareMove::Give),
        ];
        prop::collection::vec(a_move, 0..200)
    }

    fn config() -> ProptestConfig {
        // A counterexample belongs into a test, not into a file of seeds.
        ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        }
    }

    proptest! {
        #![proptest_config(config())]

        /// What a shim reads goes through it; a byte out of place is a corrupt file.
        #[test]
        fn a_read_side_is_a_queue_of_bytes(bound in 0..5_000_usize, moves in read_moves()) {
            read_side(bound, moves);
        }

        /// What a shim has accepted is a promise.
        #[test]
        fn a_write_side_is_a_queue_of_bytes(bound in 0..1_000_usize, moves in write_moves()) {
            write_side(bound, moves);
        }

        /// Spares are memory that no socket asked for.
        #[test]
        fn spare_buffers_are_empty_large_enough_and_few(moves in spare_moves()) {
            spare(moves);
        }
    }
}
