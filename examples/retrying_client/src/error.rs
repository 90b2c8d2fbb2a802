//! What can go wrong, and whether it is worth another attempt. COPY: the file, with what your server says.

use std::{io, time::Duration};

use hyper::{Method, StatusCode};

/// Why one attempt failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttemptError {
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// Before the request was written: the connection had been kept for too long.
    #[error("not sent: {0}")]
    Unsent(#[source] hyper::Error),
    #[error("the connection broke: {0}")]
    Broken(#[source] hyper::Error),
    #[error("no answer in time")]
    Timeout,
    #[error("the server says {0}")]
    Status(StatusCode, Option<Duration>),
    #[error("that is not HTTP: {0}")]
    Nonsense(#[source] hyper::Error),
    #[error("the answer is too large, or broke off: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl AttemptError {
    /// Whether the server is to blame, and may be well again in a moment. What is wrong with the request stays wrong;
    /// a 500 is a fault in a program, which does not mend itself either.
    pub(crate) fn is_temporary(&self) -> bool {
        use io::ErrorKind as Kind;

        match self {
            Self::Connect(error) => matches!(
                error.kind(),
                Kind::ConnectionRefused
                    | Kind::ConnectionReset
                    | Kind::ConnectionAborted
                    | Kind::HostUnreachable
                    | Kind::NetworkUnreachable
                    | Kind::NetworkDown
                    | Kind::TimedOut
                    // Of this side: no port is free, or no descriptor.
                    | Kind::AddrNotAvailable
                    | Kind::Interrupted
            ),
            Self::Unsent(_) | Self::Broken(_) | Self::Timeout => true,
            Self::Status(status, _) => matches!(
                *status,
                StatusCode::REQUEST_TIMEOUT
                    | StatusCode::TOO_EARLY
                    | StatusCode::TOO_MANY_REQUESTS
                    | StatusCode::BAD_GATEWAY
                    | StatusCode::SERVICE_UNAVAILABLE
                    | StatusCode::GATEWAY_TIMEOUT
            ),
            Self::Nonsense(_) => false,
            Self::Body(error) => !error.is::<http_body_util::LengthLimitError>(),
        }
    }

    /// Whether the same request may be made again. The server may have done what was asked even if nothing was heard
    /// of it; then only what does no harm twice is asked twice.
    pub(crate) fn may_repeat(&self, method: &Method) -> bool {
        let not_done = match self {
            Self::Connect(_) | Self::Unsent(_) => true,
            Self::Status(status, _) => matches!(
                *status,
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
            ),
            Self::Broken(_) | Self::Timeout | Self::Nonsense(_) | Self::Body(_) => false,
        };
        self.is_temporary() && (not_done || method.is_idempotent())
    }

    /// How long the server wants to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status(_, after) => *after,
            _ => None,
        }
    }
}

/// Why a call failed, after how many attempts.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("the server is left alone for a while, after too many failures")]
    CircuitOpen,
    #[error("{0}; another attempt would not help")]
    Permanent(#[source] AttemptError),
    #[error("{last}, after {attempts} attempts")]
    GaveUp {
        attempts: usize,
        #[source]
        last: AttemptError,
    },
    #[error("the deadline has passed, in attempt {attempts}")]
    Deadline { attempts: usize },
}
