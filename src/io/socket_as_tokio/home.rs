//! Which runtime an operation was given to.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use compio::runtime::Runtime;

/// The driver of a Compio runtime, known by its descriptor.
///
/// An operation in flight keeps its driver, so the descriptor means no other one meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Home(RawFd);

impl Home {
    pub(super) fn of(runtime: &Runtime) -> Self {
        Self(runtime.as_raw_fd())
    }

    /// Whoever waits for an operation of a runtime that does not run waits for ever, so he is told.
    pub(super) fn check(self) -> io::Result<()> {
        match current(|runtime| Self::of(runtime) == self)? {
            true => Ok(()),
            false => Err(io::Error::other(
                "a Compio socket is polled on another runtime than the one it waits on",
            )),
        }
    }
}

/// Does something with the runtime that one is on.
pub(super) fn current<T>(work: impl FnOnce(&Runtime) -> T) -> io::Result<T> {
    Runtime::try_with_current(work).map_err(|_| {
        io::Error::other("a Compio socket has to wait, but is polled outside of a Compio runtime")
    })
}
