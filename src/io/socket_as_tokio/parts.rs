//! Taking a shim apart, into its halves or for good.

use std::fmt;
use std::future::poll_fn;
use std::os::fd::{AsFd, AsRawFd};

use super::{CompioSocket, SocketAsTokio, SocketReadAsTokio, SocketWriteAsTokio, Writer};
use crate::io::InFlight;

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
            link: self.link.clone(),
            reader: self.reader,
        };
        let writer = SocketWriteAsTokio {
            link: self.link,
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
            link: reader.link,
            reader: reader.reader,
            writer: std::mem::replace(&mut writer.writer, Writer::done()),
        })
    }

    /// The socket. What was not read from the shim is still in it.
    ///
    /// While a read or a write waits, or a read has waited before, Compio's driver has a reference
    /// to the socket too, until it has had its next turn. That matters to whoever must be the only
    /// owner; he uses [`into_parts_when_idle`](Self::into_parts_when_idle).
    #[must_use]
    pub fn into_parts(self) -> SocketParts<S> {
        SocketParts {
            ended: self.reader.ended(),
            shut_down: self.writer.is_shut(),
            stream: self.link.socket,
        }
    }

    /// [`into_parts`](Self::into_parts), once the driver has let go of the socket. That is a
    /// matter of its next turn, whatever the peer does.
    ///
    /// # Cancel safety
    ///
    /// Dropping this drops the shim.
    ///
    /// # Errors
    ///
    /// Gives the shim back, as it was, if this is not polled on the runtime that has the reference.
    ///
    /// # Examples
    ///
    /// ```
    /// use compio::net::{TcpListener, TcpStream};
    /// use landbridge::io::SocketAsTokio;
    /// use tokio::io::AsyncReadExt;
    ///
    /// # compio::runtime::Runtime::new().unwrap().block_on(async {
    /// let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let client = TcpStream::connect(listener.local_addr()?).await?;
    /// let mut server = SocketAsTokio::new(listener.accept().await?.0);
    ///
    /// let read = compio::time::timeout(std::time::Duration::ZERO, server.read_u8()).await;
    /// assert!(read.is_err(), "the client has sent nothing");
    /// let parts = server.into_parts_when_idle().await.expect("the runtime is here");
    /// parts.stream.close().await?;
    /// # drop(client);
    /// # std::io::Result::Ok(()) }).unwrap();
    /// ```
    pub async fn into_parts_when_idle(mut self) -> Result<SocketParts<S>, InFlight<Self>> {
        let at_home = self.reader.check_home().and(self.writer.check_home());
        if at_home.is_err() {
            return Err(InFlight(self));
        }
        self.reader.stop_watching();
        self.writer.stop_watching();
        poll_fn(|cx| self.link.poll_returned(cx)).await;
        Ok(self.into_parts())
    }
}
