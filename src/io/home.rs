//! Which runtime somebody waits on.

use std::io;

use compio::driver::{AsRawFd, RawFd};
use compio::runtime::Runtime;

/// A Compio runtime, known by its driver's descriptor.
///
/// It means no other runtime as long as the driver lives, which an operation in flight sees to, and
/// a task of the runtime's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Home(RawFd);

impl Home {
    /// The runtime that one is on.
    pub(super) fn here() -> io::Result<Self> {
        Runtime::try_with_current(|runtime| Self(runtime.as_raw_fd())).map_err(|_| {
            io::Error::other(
                "a Compio stream has to wait, but is polled outside of a Compio runtime",
            )
        })
    }

    /// Whoever waits for an operation of a runtime that does not run waits for ever, so he is told.
    pub(super) fn check(self) -> io::Result<()> {
        if Self::here()? == self {
            return Ok(());
        }
        Err(io::Error::other(
            "a Compio stream is polled on another Compio runtime than the one it waits on",
        ))
    }
}
