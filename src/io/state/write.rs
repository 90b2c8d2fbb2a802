//! The write direction: bytes accepted, at most one operation in flight, an error kept until it
//! is told.

use std::io;

use super::{SMALL, give_back, take};

/// What the writer does next.
#[derive(Debug)]
pub(crate) enum Job {
    /// Write all of this.
    Write(Vec<u8>),
    Flush,
    Shutdown,
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Room for at least one byte.
    Room,
    Flush,
    Shutdown,
    /// Nothing in flight, nothing left to start.
    Rest,
}

/// The buffers of one direction and what has been asked of it.
///
/// One buffer is in flight and one takes what is accepted meanwhile.
#[derive(Debug)]
pub(crate) struct WriteSide {
    accepted: Vec<u8>,
    bound: usize,
    busy: bool,
    /// Bytes have gone out since the last flush.
    unflushed: bool,
    flush: bool,
    shutdown: bool,
    shut: bool,
    /// Accepted bytes were lost: whatever came after them would be out of place.
    broken: bool,
    error: Option<io::Error>,
    /// That of the write that broke it, if it came upon an untold one of a flush.
    second_error: Option<io::Error>,
}

impl WriteSide {
    pub(crate) fn new(bound: usize) -> Self {
        Self {
            accepted: Vec::new(),
            bound: bound.max(1),
            busy: false,
            // The stream may have been handed over with bytes in a buffer of its own.
            unflushed: true,
            flush: false,
            shutdown: false,
            shut: false,
            broken: false,
            error: None,
            second_error: None,
        }
    }

    /// Copies as much of `slices` as there is room for; `None` if there is none.
    pub(crate) fn accept<'a>(
        &mut self,
        slices: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> io::Result<Option<usize>> {
        self.late_error()?;
        if self.broken {
            return Err(refused("an earlier write on this stream failed"));
        }
        if self.shutdown || self.shut {
            return Err(refused("this stream has been shut down"));
        }
        let offered = slices
            .clone()
            .fold(0, |sum: usize, slice| sum.saturating_add(slice.len()));
        let count = offered.min(self.bound - self.accepted.len());
        if count == 0 {
            return Ok((offered == 0).then_some(0));
        }
        self.make_room(count);
        let mut left = count;
        for slice in slices {
            let part = &slice[..left.min(slice.len())];
            self.accepted.extend_from_slice(part);
            left -= part.len();
            if left == 0 {
                break;
            }
        }
        self.unflushed = true;
        Ok(Some(count))
    }

    fn make_room(&mut self, count: usize) {
        let needed = self.accepted.len() + count;
        if self.accepted.capacity() >= needed {
            return;
        }
        // The second time round it is a burst: take what the burst will need.
        let wanted = if self.accepted.is_empty() {
            needed
        } else {
            (16 * SMALL.max(self.accepted.len()))
                .min(self.bound)
                .max(needed)
        };
        let mut larger = take(wanted);
        larger.extend_from_slice(&self.accepted);
        give_back(std::mem::replace(&mut self.accepted, larger));
    }

    /// What to do now, if nothing is being done.
    pub(crate) fn next_job(&mut self) -> Option<Job> {
        if self.busy {
            return None;
        }
        let job = if !self.accepted.is_empty() {
            Job::Write(std::mem::take(&mut self.accepted))
        } else if (self.flush || self.shutdown) && self.unflushed {
            self.unflushed = false;
            Job::Flush
        } else if self.shutdown && !self.shut {
            Job::Shutdown
        } else {
            self.flush = false;
            return None;
        };
        self.busy = true;
        Some(job)
    }

    /// A write has ended, with all of its bytes out or an error.
    pub(crate) fn wrote(&mut self, result: io::Result<()>, buffer: Vec<u8>) {
        self.busy = false;
        give_back(buffer);
        if let Err(error) = result {
            self.fail(error);
        }
    }

    pub(crate) fn flushed(&mut self, result: io::Result<()>) {
        self.busy = false;
        if let Err(error) = result {
            // What the stream still holds is not flushed; whoever asks again gets another attempt.
            self.unflushed = !self.broken;
            self.note(error);
        }
    }

    pub(crate) fn shut(&mut self, result: io::Result<()>) {
        self.busy = false;
        match result {
            Ok(()) => self.shut = true,
            Err(error) => self.note(error),
        }
    }

    /// Accepted bytes can no longer go out.
    pub(crate) fn fail(&mut self, error: io::Error) {
        self.broken = true;
        self.unflushed = false;
        give_back(std::mem::take(&mut self.accepted));
        self.note(error);
    }

    /// Keeps an error for the next caller, who then asks again if he still wants to.
    ///
    /// Nobody has to ask for what was accepted during a flush to be written, so two errors can be
    /// untold, but no more: then it is broken, and does nothing that it is not asked for.
    fn note(&mut self, error: io::Error) {
        self.flush = false;
        self.shutdown = false;
        match self.error {
            None => self.error = Some(error),
            Some(_) => self.second_error = Some(error),
        }
    }

    /// Whether the flush that is asked for hereby is done.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        self.late_error()?;
        self.flush = !self.answers(Wish::Flush);
        Ok(!self.flush)
    }

    /// Whether the shutdown that is asked for hereby is done.
    pub(crate) fn shutdown(&mut self) -> io::Result<bool> {
        self.late_error()?;
        self.shutdown = true;
        Ok(self.shut)
    }

    fn late_error(&mut self) -> io::Result<()> {
        self.take_error().map_or(Ok(()), Err)
    }

    /// Whether somebody who wishes for this would get an answer now.
    pub(crate) fn answers(&self, wish: Wish) -> bool {
        let out = !self.busy && self.accepted.is_empty();
        match wish {
            Wish::Rest => {
                let flushed = !self.flush || !self.unflushed;
                let shut = !self.shutdown || self.shut;
                out && flushed && shut
            }
            _ if self.error.is_some() => true,
            Wish::Room => self.accepted.len() < self.bound || self.broken || self.shut,
            Wish::Flush => self.shut || (out && !self.unflushed),
            Wish::Shutdown => self.shut,
        }
    }

    /// Whether nothing is in flight.
    pub(crate) fn rests(&self) -> bool {
        !self.busy
    }

    pub(crate) fn is_shut(&self) -> bool {
        self.shut
    }

    /// The oldest error that nobody was told.
    pub(crate) fn take_error(&mut self) -> Option<io::Error> {
        std::mem::replace(&mut self.error, self.second_error.take())
    }

    /// The gravest error that nobody was told, at the end of the shim: the one that lost bytes.
    pub(crate) fn last_error(&mut self) -> Option<io::Error> {
        let flush = self.error.take();
        self.second_error.take().or(flush)
    }
}

fn refused(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, why)
}

impl Drop for WriteSide {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.accepted));
    }
}
