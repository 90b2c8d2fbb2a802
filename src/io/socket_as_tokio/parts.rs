//! Taking a shim apart, into its halves or for good.

use std::fmt;
use std::rc::Rc;

use super::{CompioSocket, SocketAsTokio, SocketReadAsTokio, SocketWriteAsTokio, Writer};

/// What a [`SocketAsTokio`] was made of. It never held a byte.
#[derive(Debug)]
#[non_exhaustive]
pub struct SocketParts<S> {
    /// The socket, and all that is yet to be read from it.
    pub stream: S,
    /// Whether a read has met the end of the peer's stream.
    pub ended: bool,
    /// Whether this side has been shut down.
    pub shut_down: bool,
}

/// Halves of two different shims, given back.
#[derive(Debug)]
pub struct ReuniteError<S: CompioSocket>(pub SocketReadAsTokio<S>, pub SocketWriteAsTokio<S>);

impl<S: CompioSocket> fmt::Display for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the halves are of different sockets or shims")
    }
}

impl<S: CompioSocket + fmt::Debug> std::error::Error for ReuniteError<S> {}

impl<S: CompioSocket> SocketAsTokio<S> {
    /// Splits into halves without a lock between them, as `tokio::io::split` has one.
    #[must_use]
    pub fn into_split(self) -> (SocketReadAsTokio<S>, SocketWriteAsTokio<S>) {
        let reader = SocketReadAsTokio {
            link: self.link.clone(),
            reader: self.reader,
        };
        let writer = SocketWriteAsTokio {
            link: self.link,
            writer: self.writer,
        };
        (reader, writer)
    }

    /// Puts the halves of one shim together again.
    ///
    /// # Errors
    ///
    /// Gives both back if they are of different sockets, or of two shims over clones of one socket.
    pub fn reunite(
        reader: SocketReadAsTokio<S>,
        mut writer: SocketWriteAsTokio<S>,
    ) -> Result<Self, ReuniteError<S>> {
        // Not by the descriptor: a clone of the socket in another shim has the same, and news of its own.
        if !Rc::ptr_eq(&reader.link, &writer.link) {
            return Err(ReuniteError(reader, writer));
        }
        Ok(Self {
            link: reader.link,
            reader: reader.reader,
            writer: std::mem::replace(&mut writer.writer, Writer::done()),
        })
    }

    /// The socket. What was not read from the shim is still in it.
    ///
    /// Nothing is ever in flight, so this is the only reference to the socket unless the program
    /// has made another.
    #[must_use]
    pub fn into_parts(self) -> SocketParts<S> {
        SocketParts {
            ended: self.reader.ended(),
            shut_down: self.writer.is_shut(),
            stream: self.link.socket.clone(),
        }
    }
}
