//! Taking a shim apart again.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use compio_io::util::Splittable;

use super::CompioAsTokio;

/// What a [`CompioAsTokio`] was made of, and everything it held.
#[derive(Debug)]
#[non_exhaustive]
pub struct Parts<R, W> {
    /// The half that was read.
    pub reader: R,
    /// The half that was written.
    pub writer: W,
    /// Bytes that came from the reader and were not yet read from the shim, oldest first.
    pub unread: Vec<u8>,
    /// Whether the reader has ended; `unread` comes before that end.
    pub ended: bool,
    /// Whether the writer has been shut down.
    pub shut_down: bool,
    /// An error of the reader that no read was told, after `unread`.
    pub read_error: Option<io::Error>,
    /// An error of the writer that no write, flush or shutdown was told.
    pub write_error: Option<io::Error>,
}

/// An operation is in flight, so what was to be taken apart comes back whole.
#[derive(Debug)]
pub struct InFlight<T>(pub T);

impl<T> InFlight<T> {
    /// What came back.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> fmt::Display for InFlight<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an operation is in flight")
    }
}

impl<T: fmt::Debug> std::error::Error for InFlight<T> {}

impl<S: Splittable> CompioAsTokio<S> {
    /// The halves of the stream and every byte that was not yet consumed.
    ///
    /// # Errors
    ///
    /// Gives the shim back while an operation is in flight, as one is after any read that had to
    /// wait. [`into_parts_when_idle`](Self::into_parts_when_idle) waits for it.
    pub fn into_parts(self) -> Result<Parts<S::ReadHalf, S::WriteHalf>, InFlight<Self>> {
        if !(self.read.can_be_taken() && self.write.can_be_taken()) {
            return Err(InFlight(self));
        }
        let Self { read, write } = self;
        let ended = read.ended();
        let shut_down = write.is_shut_down();
        match (read.take(), write.take()) {
            (Ok((reader, unread, read_error)), Ok((writer, write_error))) => Ok(Parts {
                reader,
                writer,
                unread,
                ended,
                shut_down,
                read_error,
                write_error,
            }),
            _ => unreachable!("both said that they can be taken"),
        }
    }

    /// Waits until no operation is in flight, without starting one.
    ///
    /// A read in flight ends when the peer sends something or closes. What it brings is the next
    /// to be read.
    ///
    /// # Errors
    ///
    /// Fails if what drives the writes is gone, or if this is not polled on the runtime that the
    /// operation in flight was begun on, so that it can never end.
    pub fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.write.poll_idle(cx))?;
        self.read.poll_idle(cx)
    }

    /// [`into_parts`](Self::into_parts), once no operation is in flight.
    ///
    /// # Cancel safety
    ///
    /// Dropping this drops the shim. To wait and keep it, use [`poll_idle`](Self::poll_idle).
    ///
    /// # Errors
    ///
    /// Gives the shim back if what it waits for can never come, because the runtime is gone or
    /// another one, or the stream has panicked.
    ///
    /// # Examples
    ///
    /// ```
    /// use landbridge::io::CompioAsTokio;
    /// use tokio::io::AsyncReadExt;
    ///
    /// # compio::runtime::Runtime::new().unwrap().block_on(async {
    /// let mut stream = CompioAsTokio::new((&b"head, body"[..], Vec::new()));
    /// let mut head = [0; 4];
    /// stream.read_exact(&mut head).await?;
    /// let parts = stream.into_parts_when_idle().await.expect("the runtime is here");
    /// assert_eq!(parts.unread, b", body");
    /// # std::io::Result::Ok(()) }).unwrap();
    /// ```
    pub async fn into_parts_when_idle(
        mut self,
    ) -> Result<Parts<S::ReadHalf, S::WriteHalf>, InFlight<Self>> {
        if poll_fn(|cx| self.poll_idle(cx)).await.is_err() {
            return Err(InFlight(self));
        }
        self.into_parts()
    }
}
