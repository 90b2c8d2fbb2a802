//! The read direction: at most one operation in flight, its bytes kept until they are consumed.

use std::io;

use super::{SMALL, give_back, take};

/// What a reader does next.
#[derive(Debug)]
pub(crate) enum ReadStep {
    /// There are unread bytes.
    Data,
    /// The stream has ended.
    End,
    /// An operation failed; this is said once.
    Failed(io::Error),
    /// Start an operation with [`ReadSide::order`].
    Order,
    /// An operation is in flight.
    Wait,
}

/// The buffer of one direction, and where it is.
#[derive(Debug)]
pub(crate) struct ReadSide {
    /// The bytes of the last operation, those before `at` consumed.
    buffer: Vec<u8>,
    at: usize,
    in_flight: bool,
    ended: bool,
    error: Option<io::Error>,
    /// How much the next operation asks for, at most `bound`.
    ask: usize,
    bound: usize,
}

impl ReadSide {
    pub(crate) fn new(bound: usize) -> Self {
        let bound = bound.max(1);
        Self {
            buffer: Vec::new(),
            at: 0,
            in_flight: false,
            ended: false,
            error: None,
            ask: SMALL.min(bound),
            bound,
        }
    }

    pub(crate) fn step(&mut self) -> ReadStep {
        if !self.unread().is_empty() {
            ReadStep::Data
        } else if let Some(error) = self.error.take() {
            ReadStep::Failed(error)
        } else if self.ended {
            ReadStep::End
        } else if self.in_flight {
            ReadStep::Wait
        } else {
            ReadStep::Order
        }
    }

    pub(crate) fn unread(&self) -> &[u8] {
        &self.buffer[self.at..]
    }

    pub(crate) fn in_flight(&self) -> bool {
        self.in_flight
    }

    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    /// Drops `amount` unread bytes, or as many as there are.
    pub(crate) fn consume(&mut self, amount: usize) {
        self.at = self.buffer.len().min(self.at.saturating_add(amount));
        if self.at == self.buffer.len() {
            self.at = 0;
            self.buffer.clear();
            // What a burst needed is the thread's again before the next wait, which may be long.
            if self.buffer.capacity() >= 2 * SMALL {
                give_back(std::mem::take(&mut self.buffer));
            }
        }
    }

    /// The empty buffer and the bound, in bytes, of the operation to start now.
    pub(crate) fn order(&mut self) -> (Vec<u8>, usize) {
        debug_assert!(!self.in_flight && self.unread().is_empty());
        self.in_flight = true;
        let mut buffer = std::mem::take(&mut self.buffer);
        if buffer.capacity() < self.ask {
            give_back(buffer);
            buffer = take(self.ask);
        }
        (buffer, self.ask)
    }

    /// The operation has ended: `buffer` holds what it read.
    ///
    /// The count comes from a stream that anybody may have written: one that says more than the
    /// buffer holds is an error, not a panic and not a read of what was never written.
    pub(crate) fn deliver(&mut self, result: io::Result<usize>, buffer: Vec<u8>) {
        debug_assert!(self.in_flight);
        self.in_flight = false;
        self.buffer = buffer;
        self.at = 0;
        let count = match result {
            Ok(count) if count <= self.buffer.len() => count,
            Ok(_) => {
                self.error = Some(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the stream says it read more than it put into the buffer",
                ));
                0
            }
            Err(error) => {
                self.error = Some(error);
                0
            }
        };
        self.buffer.truncate(count);
        self.ended = count == 0 && self.error.is_none();
        // A full buffer means that there is more: ask for more at once. Anything else means that
        // the next operation will wait, and a small buffer is all that may wait in an idle shim.
        self.ask = if count >= self.ask {
            (self.ask * 16).min(self.bound)
        } else {
            SMALL.min(self.bound)
        };
        if count == 0 {
            self.consume(0);
        }
    }

    /// The unread bytes and the error that nobody was told, at the end of the shim.
    pub(crate) fn into_rest(mut self) -> (Vec<u8>, Option<io::Error>) {
        let at = std::mem::take(&mut self.at);
        let mut unread = std::mem::take(&mut self.buffer);
        unread.drain(..at);
        (unread, self.error.take())
    }
}

impl Drop for ReadSide {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.buffer));
    }
}
