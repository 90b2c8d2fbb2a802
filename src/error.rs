//! Every public error of this crate.

use std::fmt;

use thiserror::Error;

// ---- channel ---------------------------------------------------------------------------------------

/// The channel is closed; the value that was not sent.
#[derive(Clone, Copy, Error, PartialEq, Eq)]
#[error("the channel is closed")]
pub struct SendError<T>(pub T);

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError").finish_non_exhaustive()
    }
}

/// Why a value was not sent at once, with the value.
#[derive(Clone, Copy, Error, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// There is no room at the moment.
    #[error("the channel is full")]
    Full(T),
    /// Nothing is received any more.
    #[error("the channel is closed")]
    Closed(T),
}

impl<T> TrySendError<T> {
    /// The value that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(value) | Self::Closed(value) => value,
        }
    }

    /// Whether a later attempt may succeed.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }

    /// Whether the channel is closed.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }
}

impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> From<SendError<T>> for TrySendError<T> {
    fn from(SendError(value): SendError<T>) -> Self {
        Self::Closed(value)
    }
}

/// Why no message was received at once.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TryRecvError {
    /// There is none at the moment.
    #[error("the channel is empty")]
    Empty,
    /// There will be none any more: the channel is closed, and what was sent has been received.
    #[error("the channel is closed and empty")]
    Closed,
}
