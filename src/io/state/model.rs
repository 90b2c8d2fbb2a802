//! The two buffer machines beside plain models of them.

use std::collections::VecDeque;
use std::io;

use proptest::prelude::*;

use super::{Job, ReadSide, ReadStep, Wish, WriteSide};

#[derive(Clone, Debug)]
enum ReadMove {
    Step,
    Deliver(usize),
    Fail,
    Consume(usize),
}

fn read_moves() -> impl Strategy<Value = Vec<ReadMove>> {
    let a_move = prop_oneof![
        3 => Just(ReadMove::Step),
        3 => (0..2_000_usize).prop_map(ReadMove::Deliver),
        1 => Just(ReadMove::Fail),
        3 => (0..2_000_usize).prop_map(ReadMove::Consume),
    ];
    prop::collection::vec(a_move, 0..200)
}

#[derive(Clone, Debug)]
enum WriteMove {
    Accept(usize),
    Job,
    End(bool),
    Flush,
    Shutdown,
}

fn write_moves() -> impl Strategy<Value = Vec<WriteMove>> {
    let a_move = prop_oneof![
        4 => (0..500_usize).prop_map(WriteMove::Accept),
        4 => Just(WriteMove::Job),
        4 => prop::bool::weighted(0.97).prop_map(WriteMove::End),
        1 => Just(WriteMove::Flush),
        1 => prop::bool::weighted(0.1).prop_map(|yes| if yes { WriteMove::Shutdown } else { WriteMove::Flush }),
    ];
    prop::collection::vec(a_move, 0..200)
}

proptest! {
    /// Bytes come out as they went in, errors once and in their place, ends for ever.
    #[test]
    fn a_read_side_is_a_queue_of_bytes(moves in read_moves(), bound in 1..5_000_usize) {
        let mut side = ReadSide::new(bound);
        let mut model = VecDeque::new();
        let (mut error, mut ended, mut flying, mut next) = (false, false, None, 0_u8);
        for a_move in moves {
            match a_move {
                ReadMove::Step => match side.step() {
                    ReadStep::Data => prop_assert!(!model.is_empty()),
                    ReadStep::Failed(_) => {
                        prop_assert!(model.is_empty() && error);
                        error = false;
                    }
                    ReadStep::End => prop_assert!(model.is_empty() && !error && ended),
                    ReadStep::Wait => prop_assert!(flying.is_some()),
                    ReadStep::Order => {
                        prop_assert!(model.is_empty() && !error && !ended && flying.is_none());
                        let (buffer, limit) = side.order();
                        prop_assert!(buffer.is_empty() && buffer.capacity() >= limit);
                        prop_assert!(0 < limit && limit <= bound);
                        flying = Some((buffer, limit));
                    }
                },
                ReadMove::Deliver(count) => if let Some((mut buffer, limit)) = flying.take() {
                    let count = count.min(limit);
                    for _ in 0..count {
                        next = next.wrapping_add(1);
                        buffer.push(next);
                        model.push_back(next);
                    }
                    ended = count == 0;
                    side.deliver(Ok(count), buffer);
                },
                ReadMove::Fail => if let Some((buffer, _)) = flying.take() {
                    error = true;
                    side.deliver(Err(io::ErrorKind::Other.into()), buffer);
                },
                ReadMove::Consume(count) => {
                    side.consume(count);
                    model.drain(..count.min(model.len()));
                }
            }
            prop_assert!(side.unread().iter().eq(&model));
            prop_assert_eq!(side.in_flight(), flying.is_some());
        }
    }

    /// What was accepted goes out once and in order, up to the first error, which is told once;
    /// nothing is accepted after it or after a shutdown; a flush is done only when all is out.
    #[test]
    fn a_write_side_is_a_queue_of_bytes(moves in write_moves(), bound in 1..1_000_usize) {
        let mut side = WriteSide::new(bound);
        let (mut accepted, mut out, mut next) = (Vec::new(), Vec::new(), 0_u8);
        let (mut untold, mut broken, mut shutdown) = (0, false, false);
        let mut flying = None;
        for a_move in moves {
            match a_move {
                WriteMove::Accept(count) => {
                    let bytes: Vec<u8> = (0..count).map(|i| next.wrapping_add(i as u8)).collect();
                    let (one, other) = bytes.split_at(count / 3);
                    match side.accept([one, other].into_iter()) {
                        Ok(Some(taken)) => {
                            prop_assert!(taken <= count && !broken && !shutdown && untold == 0);
                            prop_assert!(taken > 0 || count == 0);
                            accepted.extend_from_slice(&bytes[..taken]);
                            next = next.wrapping_add(taken as u8);
                        }
                        Ok(None) => prop_assert!(!side.answers(Wish::Room)),
                        Err(_) if untold > 0 => untold -= 1,
                        Err(_) => prop_assert!(broken || shutdown),
                    }
                }
                WriteMove::Job => if let Some(job) = side.next_job() {
                    prop_assert!(flying.is_none());
                    prop_assert!(matches!(job, Job::Write(_)) || out == accepted || broken);
                    flying = Some(job);
                },
                WriteMove::End(well) => {
                    let result = || if well { Ok(()) } else { Err(io::ErrorKind::Other.into()) };
                    match flying.take() {
                        Some(Job::Write(buffer)) => {
                            prop_assert!(!buffer.is_empty() && buffer.len() <= bound);
                            if well {
                                out.extend_from_slice(&buffer);
                            } else {
                                broken = true;
                                untold = 1;
                                shutdown = false;
                            }
                            side.wrote(result(), buffer);
                        }
                        Some(Job::Flush) => {
                            side.flushed(result());
                            if !well { untold = 1; shutdown = false; }
                        }
                        Some(Job::Shutdown) => {
                            side.shut(result());
                            if !well { untold = 1; shutdown = false; }
                        }
                        None => {}
                    }
                }
                WriteMove::Flush => match side.flush() {
                    Ok(true) => prop_assert!((out == accepted || broken) && untold == 0),
                    Ok(false) => prop_assert!(untold == 0),
                    Err(_) => { prop_assert_eq!(untold, 1); untold = 0; }
                },
                WriteMove::Shutdown => match side.shutdown() {
                    Ok(_) => { prop_assert!(untold == 0); shutdown = true; }
                    Err(_) => { prop_assert_eq!(untold, 1); untold = 0; }
                },
            }
            prop_assert!(accepted.starts_with(&out));
        }
    }
}
