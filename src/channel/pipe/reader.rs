use std::{
    fmt,
    future::poll_fn,
    mem,
    task::{Context, Poll, ready},
};

use super::{flow::Flow, gathered::Gathered, spares::Giver};
use crate::{
    channel::{
        Look, Wait,
        budget::{self, Budget},
        ring::Consumer,
    },
    error::TryRecvError,
    sync::{Arc, block_on},
};

/// The end that reads; also Tokio's `AsyncRead` and `AsyncBufRead`, and Compio's `AsyncRead`.
///
/// Dropping it closes the pipe, and drops what has not been read.
///
/// `Send` and `Sync`.
pub struct Reader {
    chunks: Consumer<Vec<u8>>,
    spares: Giver,
    flow: Arc<Flow>,
    gathered: Arc<Gathered>,
    /// The chunk that is being read. It goes back as soon as all of it has been.
    current: Vec<u8>,
    /// How much of it has been read.
    read: usize,
    look: Look,
    budget: Budget,
}

impl Reader {
    pub(super) fn new(
        chunks: Consumer<Vec<u8>>,
        spares: Giver,
        flow: Arc<Flow>,
        gathered: Arc<Gathered>,
        wait: Wait,
    ) -> Self {
        Self {
            chunks,
            spares,
            flow,
            gathered,
            current: Vec::new(),
            read: 0,
            look: Look::new(wait),
            budget: Budget::new(),
        }
    }

    /// Receives the next buffer, as it was sent; `None` at the end of the stream. It is never empty.
    ///
    /// Of a buffer that was partly read through the traits, the rest, moved to its front.
    ///
    /// # Cancel safety
    ///
    /// Dropping a pending `recv` loses nothing: it never holds a buffer.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use landbridge::channel;
    ///
    /// let (mut writer, mut reader) = channel::pipe(64 * 1024);
    /// writer.send(&mut b"last".to_vec()).await?;
    /// drop(writer);
    /// while let Some(buffer) = reader.recv().await {
    ///     assert_eq!(buffer, b"last");
    ///     reader.give_back(buffer);
    /// }
    /// assert_eq!(reader.recv().await, None);
    /// # std::io::Result::Ok(()) }).unwrap();
    /// ```
    pub async fn recv(&mut self) -> Option<Vec<u8>> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// [`recv`](Self::recv) for hand-written futures: `Pending` arranges for a wake-up of the task that
    /// polled last.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        self.poll_chunk(cx)
            .map(|there_is| there_is.then(|| self.take_chunk()))
    }

    /// Receives the next buffer if there is one now.
    ///
    /// # Errors
    ///
    /// `Empty` if there is none at the moment, `Closed` at the end of the stream.
    ///
    /// # Examples
    ///
    /// ```
    /// use landbridge::channel::{self, TryRecvError};
    ///
    /// let (mut writer, mut reader) = channel::pipe(8);
    /// assert_eq!(reader.try_recv(), Err(TryRecvError::Empty));
    /// writer.try_send(&mut b"last".to_vec()).unwrap();
    /// drop(writer);
    /// assert_eq!(reader.try_recv(), Ok(b"last".to_vec()));
    /// assert_eq!(reader.try_recv(), Err(TryRecvError::Closed));
    /// ```
    pub fn try_recv(&mut self) -> Result<Vec<u8>, TryRecvError> {
        self.next_chunk()?;
        Ok(self.take_chunk())
    }

    /// [`recv`](Self::recv), blocking the thread until there is a buffer. For threads that run no runtime.
    ///
    /// # Panics
    ///
    /// If it is called from within `futures::executor::block_on`.
    pub fn blocking_recv(&mut self) -> Option<Vec<u8>> {
        block_on(self.recv())
    }

    /// Gives a buffer back to the writer, to be filled again; what is in it is discarded.
    ///
    /// It may be any buffer. One that would be too many is dropped, as is one when the writer is gone.
    /// See [`Writer::empty`](super::Writer::empty).
    pub fn give_back(&mut self, buffer: Vec<u8>) {
        self.spares.give(buffer);
    }

    /// Closes the pipe: nothing more is written; what was written before can still be read.
    pub fn close(&mut self) {
        // In this order: a writer that is woken finds the ring closed.
        self.chunks.close();
        self.flow.close();
    }

    /// Whether the pipe is closed, by either end. There may still be something to read.
    pub fn is_closed(&self) -> bool {
        self.chunks.is_closed()
    }

    /// How many bytes the pipe holds.
    pub fn capacity(&self) -> usize {
        self.flow.bound()
    }

    /// What can be read of the current chunk.
    pub(in crate::channel) fn unread(&self) -> &[u8] {
        &self.current[self.read..]
    }

    /// Makes sure that there is something [`unread`](Self::unread); false at the end of the stream.
    pub(in crate::channel) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        ready!(self.budget.poll_proceed(cx));
        loop {
            match self.next_chunk() {
                Ok(()) => return Poll::Ready(true),
                Err(TryRecvError::Closed) => return Poll::Ready(false),
                Err(TryRecvError::Empty) => {}
            }
            let (look, chunks) = (&mut self.look, &mut self.chunks);
            if !look.look(|| chunks.is_ready()) && chunks.park(cx.waker()) {
                budget::give_back();
                return Poll::Pending;
            }
        }
    }

    /// The same without waiting.
    fn next_chunk(&mut self) -> Result<(), TryRecvError> {
        if self.unread().is_empty() {
            let chunk = self.chunks.pop()?;
            let is_mark = chunk.capacity() == 0;
            self.current = if is_mark { self.gathered.take() } else { chunk };
            self.read = 0;
        }
        Ok(())
    }

    fn take_chunk(&mut self) -> Vec<u8> {
        let weight = self.flow.weight(self.unread().len());
        let mut chunk = mem::take(&mut self.current);
        chunk.drain(..mem::take(&mut self.read));
        self.flow.give(weight);
        chunk
    }

    /// So many bytes have been read.
    #[cfg_attr(
        not(feature = "shim"),
        allow(dead_code, reason = "only the traits call it")
    )]
    pub(in crate::channel) fn consume(&mut self, count: usize) {
        let freed = self.skip(count);
        self.flow.give(freed);
    }

    /// So many bytes have been read; what they took is to be given to the flow.
    fn skip(&mut self, count: usize) -> usize {
        let before = self.unread().len();
        assert!(count <= before, "more is consumed than there was");
        self.read += count;
        if count == before {
            self.read = 0;
            // Before its room is to be had: who gets that finds the buffer.
            self.spares.give(mem::take(&mut self.current));
        }
        self.flow.weight(before) - self.flow.weight(before - count)
    }

    /// Copies what is there, chunk by chunk, until `buffer` is full; the writer is woken once. To be called
    /// when something is [`unread`](Self::unread).
    #[cfg(feature = "shim")]
    pub(super) fn copy_to(&mut self, buffer: &mut tokio::io::ReadBuf<'_>) {
        let mut freed = 0;
        while buffer.remaining() > 0 && self.next_chunk().is_ok() {
            let count = self.unread().len().min(buffer.remaining());
            buffer.put_slice(&self.unread()[..count]);
            freed += self.skip(count);
        }
        self.flow.give(freed);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.close();
        self.gathered.clear();
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("capacity", &self.capacity())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
