//! Which runtime somebody waits on.

use std::io;
use std::task::Waker;

use compio::runtime::Runtime;

/// A Compio runtime, known by where its waker points.
///
/// The waker is kept, so that no other runtime's points there meanwhile. Its driver's descriptor would not do:
/// a runtime that is dropped by a panic leaves its tasks behind, ours among them, and the next runtime gets the
/// same number.
#[derive(Debug)]
pub(super) struct Home(Waker);

impl Home {
    pub(super) fn of(runtime: &Runtime) -> Self {
        Self(runtime.waker())
    }

    /// The runtime that one is on.
    pub(super) fn here() -> io::Result<Self> {
        current(Self::of)
    }

    /// Whoever waits for an operation of a runtime that does not run waits for ever, so he is told.
    pub(super) fn check(&self) -> io::Result<()> {
        if Self::here()? == *self {
            return Ok(());
        }
        Err(io::Error::other(
            "a Compio stream is polled on another Compio runtime than the one it waits on",
        ))
    }
}

impl PartialEq for Home {
    fn eq(&self, other: &Self) -> bool {
        // Not `will_wake`: the vtables of equal wakers may differ.
        self.0.data() == other.0.data()
    }
}

/// Does something with the runtime that one is on.
pub(super) fn current<T>(work: impl FnOnce(&Runtime) -> T) -> io::Result<T> {
    Runtime::try_with_current(work).map_err(|_| {
        io::Error::other("a Compio stream has to wait, but is polled outside of a Compio runtime")
    })
}
