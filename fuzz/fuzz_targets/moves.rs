//! Moves out of bytes.

use crate::model::Move;

pub fn moves(mut next: impl FnMut() -> Option<u8>) -> Vec<Move> {
    let mut moves = Vec::new();
    while let Some(kind) = next()
        && moves.len() < 60
    {
        moves.push(a_move(kind, &mut next));
    }
    moves
}

fn a_move(kind: u8, next: &mut impl FnMut() -> Option<u8>) -> Move {
    let mut size = || {
        let size = next().unwrap_or(0);
        // Small ones as they are, some large ones.
        usize::from(size) * if size >= 224 { 9 } else { 1 }
    };
    let polls = kind / 16 % 7 + 1;
    match kind % 16 {
        0 => Move::Read {
            room: size(),
            polls,
        },
        1 => Move::ReadOtherwise {
            room: size(),
            polls,
        },
        2 => Move::ReadWhat {
            room: size(),
            len: size(),
        },
        3 | 4 => Move::Write {
            lens: vec![size()],
            polls,
        },
        5 => Move::Write {
            lens: vec![size(), size(), size()],
            polls,
        },
        6 => Move::WriteInto {
            len: size(),
            room: size(),
        },
        7 => Move::Flush { polls },
        8 => Move::PeerTakes(size()),
        9 => Move::PeerSends(size()),
        10 => Move::WriteFailsIn(size()),
        11 => Move::FlushFails,
        12 => Move::ShutdownFails,
        13 => Move::PeerFails,
        14 => Move::Settle,
        _ if polls < 4 => Move::PeerEnds,
        _ => Move::Shutdown { polls },
    }
}
