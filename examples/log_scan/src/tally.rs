//! What is counted, piece by piece, however the pieces were read.
//!
//! The file is cut into ranges of equal length, wherever their ends fall. A line belongs to the range that it
//! begins in, so that no line is counted twice and none is lost. Nothing as long as a line is kept in memory.

use std::{
    collections::HashMap,
    ops::{ControlFlow, Range},
};

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// How many lines: next to no work beside the reading.
    Lines,
    /// How often each word, too.
    Words,
}

/// Of a longer run of letters only so much is a word.
const MAX_WORD: usize = 64;

/// The answer for a part of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) lines: u64,
    pub(crate) words: HashMap<Box<[u8]>, u64>,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.lines += other.lines;
        for (word, times) in other.words {
            *self.words.entry(word).or_default() += times;
        }
    }

    fn count(&mut self, word: &[u8]) {
        let word = &word[..word.len().min(MAX_WORD)];
        match self.words.get_mut(word) {
            Some(times) => *times += 1,
            // The only allocation, once for each word that there is.
            None => drop(self.words.insert(word.into(), 1)),
        }
    }

    /// The most frequent ones, and of those alike the first in the alphabet.
    pub(crate) fn top(&self, most: usize) -> Vec<(String, u64)> {
        let mut words: Vec<_> = self.words.iter().collect();
        words.sort_unstable_by(|(word, times), (other, of_other)| {
            of_other.cmp(times).then_with(|| word.cmp(other))
        });
        words.truncate(most);
        let text = |word: &[u8]| String::from_utf8_lossy(word).into_owned();
        words
            .into_iter()
            .map(|(word, times)| (text(word), *times))
            .collect()
    }
}

/// Counts what belongs to a range, and says when it has had that.
#[derive(Debug)]
pub(crate) struct Counter {
    tally: Tally,
    question: Question,
    /// Where the next piece begins.
    at: u64,
    /// Where lines belong to the next range.
    end: u64,
    /// In a line of the range before.
    skips: bool,
    /// In a line of this range.
    in_line: bool,
    /// A word that the next piece may go on with; its first letters.
    word: Vec<u8>,
}

impl Counter {
    pub(crate) fn new(range: &Range<u64>, question: Question) -> Self {
        Self {
            tally: Tally::default(),
            question,
            at: Self::first(range),
            end: range.end,
            skips: range.start > 0,
            in_line: false,
            word: Vec::new(),
        }
    }

    /// Where to read from: the byte before the range says whether a line begins with it.
    pub(crate) fn first(range: &Range<u64>) -> u64 {
        range.start.saturating_sub(1)
    }

    /// Takes the file's next bytes; `Break` if no more of them belong to the range.
    pub(crate) fn take(&mut self, mut piece: &[u8]) -> ControlFlow<()> {
        if self.skips {
            let Some(end) = memchr::memchr(b'\n', piece) else {
                self.at += piece.len() as u64;
                return ControlFlow::Continue(());
            };
            self.skips = false;
            self.at += end as u64 + 1;
            piece = &piece[end + 1..];
        }
        // The first line end from the last byte of the range on is the end of its last line.
        let before_last = self.end.saturating_sub(self.at).saturating_sub(1);
        let (mine, flow) = match usize::try_from(before_last) {
            _ if !self.in_line && self.at >= self.end => (0, ControlFlow::Break(())),
            Ok(from) if from < piece.len() => match memchr::memchr(b'\n', &piece[from..]) {
                Some(end) => (from + end + 1, ControlFlow::Break(())),
                None => (piece.len(), ControlFlow::Continue(())),
            },
            _ => (piece.len(), ControlFlow::Continue(())),
        };
        self.at += mine as u64;
        self.count(&piece[..mine]);
        flow
    }

    fn count(&mut self, piece: &[u8]) {
        let Some(last) = piece.last() else {
            return;
        };
        self.in_line = *last != b'\n';
        self.tally.lines += memchr::memchr_iter(b'\n', piece).count() as u64;
        if self.question == Question::Words {
            self.count_words(piece);
        }
    }

    fn count_words(&mut self, piece: &[u8]) {
        let mut rest = piece;
        if !self.word.is_empty() {
            let (more, after) = split_word(rest);
            self.keep(more);
            rest = after;
            if !rest.is_empty() {
                self.end_word();
            }
        }
        while let Some(start) = rest.iter().position(|byte| is_letter(*byte)) {
            let (word, after) = split_word(&rest[start..]);
            if after.is_empty() {
                self.keep(word);
            } else {
                self.tally.count(word);
            }
            rest = after;
        }
    }

    fn keep(&mut self, letters: &[u8]) {
        let room = MAX_WORD - self.word.len();
        self.word.extend(&letters[..letters.len().min(room)]);
    }

    fn end_word(&mut self) {
        self.tally.count(&self.word);
        self.word.clear();
    }

    /// After `Break`, or the end of the file.
    pub(crate) fn finish(mut self) -> Tally {
        if !self.word.is_empty() {
            self.end_word();
        }
        // The last line of a file may have no end.
        self.tally.lines += u64::from(self.in_line);
        self.tally
    }
}

fn split_word(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| !is_letter(*byte));
    bytes.split_at(end.unwrap_or(bytes.len()))
}

/// Also every byte of a letter outside of ASCII.
fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}
