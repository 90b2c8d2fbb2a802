//! The read direction: at most one operation in flight, its bytes kept until they are consumed.

use std::io;

use super::{MIDDLE, SMALL, give_back, take};

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
    /// The last burst filled a buffer of the middle size.
    bulk: bool,
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
            bulk: false,
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
        self.ask = self.next_ask(count);
        if count == 0 {
            self.consume(0);
        }
    }

    /// A full buffer means that there is more: ask for more at once. Anything else means that the
    /// next operation will wait, and a small buffer is all that may wait in an idle shim.
    ///
    /// From the small one it goes to the middle, and to the bound only where the last burst was
    /// worth it: a message that happens to fill the small buffer is followed by a long wait.
    fn next_ask(&mut self, count: usize) -> usize {
        let waited = self.ask <= SMALL;
        let full = count >= self.ask;
        if !waited {
            self.bulk = count >= MIDDLE;
        }
        let next = match (full, waited && !self.bulk) {
            (false, _) => SMALL,
            (true, true) => MIDDLE,
            (true, false) => self.bound,
        };
        next.min(self.bound)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets a read bring as many bytes as it may, up to `most`, and says how many it had asked for.
    fn asked(side: &mut ReadSide, most: usize) -> usize {
        assert!(matches!(side.step(), ReadStep::Order));
        let (mut buffer, limit) = side.order();
        let count = most.min(limit);
        buffer.resize(count, 1);
        side.deliver(Ok(count), buffer);
        side.consume(count);
        limit
    }

    /// Every read of a burst is an operation, so a shim that has seen one takes the next in two.
    #[test]
    fn the_second_large_message_is_read_in_two() {
        let mut side = ReadSide::new(64 * 1024);
        let asks = |side: &mut ReadSide| {
            let (mut left, mut asks) = (64 * 1024, Vec::new());
            while left > 0 {
                let ask = asked(side, left);
                left -= ask.min(left);
                asks.push(ask);
            }
            asks
        };
        assert_eq!(asks(&mut side), [SMALL, MIDDLE, 64 * 1024]);
        assert_eq!(asks(&mut side), [SMALL, 64 * 1024]);
        assert_eq!(asks(&mut side), [SMALL, 64 * 1024]);
    }

    /// What follows a message of just that length is a wait, and a wait must not hold much.
    #[test]
    fn messages_that_fill_the_small_buffer_never_take_the_large_one() {
        let mut side = ReadSide::new(64 * 1024);
        for _ in 0..10 {
            assert!(asked(&mut side, SMALL) <= MIDDLE);
        }
    }

    /// One large message must not make every later wait a large one.
    #[test]
    fn a_shim_whose_bursts_become_small_forgets_the_large_one() {
        let mut side = ReadSide::new(64 * 1024);
        for most in [SMALL, MIDDLE, 64 * 1024, 1] {
            asked(&mut side, most);
        }
        assert_eq!(asked(&mut side, SMALL), SMALL);
        assert_eq!(asked(&mut side, 10), MIDDLE, "the large burst is over");
    }
}
