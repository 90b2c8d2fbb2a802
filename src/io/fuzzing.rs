//! The buffer machines for the targets of `fuzz/`. Not part of the API: there under `cfg(fuzzing)` only.

use super::state::model::{self, ReadMove, SpareMove, WriteMove};

/// [`model::read_side`] with moves and bound taken from `data`.
pub fn read_side(data: &[u8]) {
    let (bound, moves) = start(data);
    model::read_side(
        bound,
        moves.map(|(kind, size)| match kind % 8 {
            0 | 1 => ReadMove::Step,
            2 | 3 => ReadMove::Deliver(size),
            4 => ReadMove::Lie,
            5 => ReadMove::Fail,
            _ => ReadMove::Consume(size),
        }),
    );
}

/// [`model::write_side`] with moves and bound taken from `data`.
pub fn write_side(data: &[u8]) {
    let (bound, moves) = start(data);
    model::write_side(
        bound,
        moves.map(|(kind, size)| match kind % 8 {
            0 | 1 => WriteMove::Accept(size),
            2 | 3 => WriteMove::Job,
            4 => WriteMove::End(true),
            5 => WriteMove::End(size % 8 != 0),
            6 => WriteMove::Flush,
            _ => WriteMove::Shutdown,
        }),
    );
}

/// [`model::spare`] with moves taken from `data`.
pub fn spare(data: &[u8]) {
    let (_, moves) = start(data);
    model::spare(moves.map(|(kind, size)| match kind % 4 {
        0 => SpareMove::Take(size),
        1 => SpareMove::GiveBack(kind as usize / 4, size),
        2 => SpareMove::Give(size),
        // Sizes on both sides of the classes' bounds.
        _ => SpareMove::Take(1 << (size % 19) | (size >> 15)),
    }));
}

/// Two bytes of bound, then three bytes a move: its kind and its size.
fn start(data: &[u8]) -> (usize, impl Iterator<Item = (u8, usize)> + '_) {
    let (bound, moves) = data.split_at_checked(2).unwrap_or((&[0, 0], &[]));
    let moves = moves
        .chunks_exact(3)
        .map(|a_move| (a_move[0], size_of(&a_move[1..])));
    (size_of(bound), moves)
}

fn size_of(bytes: &[u8]) -> usize {
    usize::from(u16::from_le_bytes([bytes[0], bytes[1]]))
}
