//! Taking a shim apart, into its halves or for good.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::task::{Context, Poll};

use super::{CompioSocket, SocketAsTokio, SocketReadAsTokio, SocketWriteAsTokio, Writer};
use crate::io::InFlight;

/// What a [`SocketAsTokio`] was made of, and everything it held.
#[derive(Debug)]
#[non_exhaustive]
pub struct SocketParts<S> {
    /// The socket. The shim has no other reference to it; the driver has one until its next turn
    /// if a write was waiting for room.
    pub stream: S,
    /// Bytes that came from the socket and were not yet read from the shim, oldest first.
    pub unread: Vec<u8>,
    /// Whether the peer's stream has ended; `unread` comes before that end.
    pub ended: bool,
    /// Whether this side has been shut down.
    pub shut_down: bool,
    /// An error that no read was told, after `unread`.
    pub read_error: Option<io::Error>,
}

/// Halves of two different sockets, given back.
#[derive(Debug)]
pub struct ReuniteError<S: CompioSocket>(pub SocketReadAsTokio<S>, pub SocketWriteAsTokio<S>);

impl<S: CompioSocket> fmt::Display for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the halves are of different sockets")
    }
}

impl<S: CompioSocket + fmt::Debug> std::error::Error for ReuniteError<S> {}

impl<S: CompioSocket> SocketAsTokio<S> {
    /// Splits into halves without a lock between them, as `tokio::io::split` has one.
    #[must_use]
    pub fn into_split(self) -> (SocketReadAsTokio<S>, SocketWriteAsTokio<S>) {
        let reader = SocketReadAsTokio {
            socket: self.socket.clone(),
            reader: self.reader,
        };
        let writer = SocketWriteAsTokio {
            socket: self.socket,
            writer: self.writer,
        };
        (reader, writer)
    }

    /// Puts the halves of one socket together again.
    ///
    /// # Errors
    ///
    /// Gives both back if they are of different sockets.
    pub fn reunite(
        reader: SocketReadAsTokio<S>,
        mut writer: SocketWriteAsTokio<S>,
    ) -> Result<Self, ReuniteError<S>> {
        // Both hold their socket open, so equal descriptors are one socket.
        if reader.as_fd().as_raw_fd() != writer.as_fd().as_raw_fd() {
            return Err(ReuniteError(reader, writer));
        }
        Ok(Self {
            socket: reader.socket,
            reader: reader.reader,
            writer: std::mem::replace(&mut writer.writer, Writer::done()),
        })
    }

    /// The socket and every byte that was not yet consumed.
    ///
    /// # Errors
    ///
    /// Gives the shim back while a read is in flight, as one is after any read that had to wait on
    /// a ring; never on Compio's polling driver.
    /// [`into_parts_when_idle`](Self::into_parts_when_idle) waits for it.
    pub fn into_parts(self) -> Result<SocketParts<S>, InFlight<Self>> {
        if self.reader.in_flight() {
            return Err(InFlight(self));
        }
        let ended = self.reader.ended();
        let (unread, read_error) = self.reader.into_rest();
        Ok(SocketParts {
            stream: self.socket,
            unread,
            ended,
            shut_down: self.writer.is_shut(),
            read_error,
        })
    }

    /// Waits until no read is in flight, without starting one.
    ///
    /// A read in flight ends when the peer sends something or closes. What it brings is the next
    /// to be read.
    ///
    /// # Errors
    ///
    /// Fails if what drives the read is not what polls here, so that it can never end.
    pub fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.reader.poll_idle(cx)
    }

    /// [`into_parts`](Self::into_parts), once no read is in flight.
    ///
    /// # Cancel safety
    ///
    /// Dropping this drops the shim. To wait and keep it, use [`poll_idle`](Self::poll_idle).
    ///
    /// # Errors
    ///
    /// Gives the shim back if what it waits for can never come, because this is not polled on the
    /// runtime that the read was begun on.
    pub async fn into_parts_when_idle(mut self) -> Result<SocketParts<S>, InFlight<Self>> {
        if poll_fn(|cx| self.poll_idle(cx)).await.is_err() {
            return Err(InFlight(self));
        }
        self.into_parts()
    }
}
