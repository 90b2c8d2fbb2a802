use std::{
    fmt,
    future::poll_fn,
    io, mem,
    task::{Context, Poll, ready},
};

use super::{
    flow::Flow,
    gathered::{self, Gathered},
    spares::Taker,
};
use crate::{
    channel::{
        Look, Wait,
        budget::{self, Budget},
        ring::Producer,
    },
    error::TrySendError,
    sync::{Arc, block_on},
};

/// A borrowed write copies no more than this at once: some tens of microseconds of the thread.
const COPIED_AT_ONCE: usize = 256 * 1024;

/// The end that writes; also Tokio's and Compio's `AsyncWrite`.
///
/// Dropping it ends the stream, also when its thread panics.
///
/// `Send` and `Sync`.
pub struct Writer {
    chunks: Producer<Vec<u8>>,
    spares: Taker,
    flow: Arc<Flow>,
    gathered: Arc<Gathered>,
    /// What was sent last was a mark, behind which more may gather.
    gathers: bool,
    look: Look,
    budget: Budget,
}

impl Writer {
    pub(super) fn new(
        chunks: Producer<Vec<u8>>,
        spares: Taker,
        flow: Arc<Flow>,
        gathered: Arc<Gathered>,
        wait: Wait,
    ) -> Self {
        Self {
            chunks,
            spares,
            flow,
            gathered,
            gathers: false,
            look: Look::new(wait),
            budget: Budget::new(),
        }
    }

    /// Hands over what is in `buffer`, and the buffer, once there is room for all of it; an empty `Vec`
    /// without capacity is left in its place. An empty buffer stays where it is.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: until it is sent, `buffer` is as it was.
    ///
    /// # Errors
    ///
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe) if the reader is closed or gone, also while this waits, or
    /// after a [`shut_down`](Self::shut_down). `buffer` is as it was.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use landbridge::channel;
    ///
    /// let (mut writer, mut reader) = channel::pipe(64 * 1024);
    /// let mut buffer = b"over".to_vec();
    /// let there = buffer.as_ptr();
    /// writer.send(&mut buffer).await?;
    /// assert!(buffer.is_empty());
    ///
    /// let received = reader.recv().await.unwrap();
    /// assert_eq!(received, b"over");
    /// assert_eq!(received.as_ptr(), there);
    ///
    /// drop(reader);
    /// buffer.extend(b"late");
    /// let error = writer.send(&mut buffer).await.unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    /// assert_eq!(buffer, b"late");
    /// # std::io::Result::Ok(()) }).unwrap();
    /// ```
    pub async fn send(&mut self, buffer: &mut Vec<u8>) -> io::Result<()> {
        poll_fn(|cx| self.poll_send(cx, buffer)).await
    }

    /// [`send`](Self::send) for hand-written futures: `Pending` arranges for a wake-up of the task that
    /// polled last.
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Vec<u8>,
    ) -> Poll<io::Result<()>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_room(cx, self.flow.weight(buffer.len())))?;
        Poll::Ready(self.push(mem::take(buffer)).map_err(|refused| {
            *buffer = refused;
            broken_pipe()
        }))
    }

    /// Hands `buffer` over if there is room for all of it now, and leaves an empty one in its place.
    ///
    /// # Errors
    ///
    /// `Full` if there is too little room at the moment, `Closed` if nothing can be written any more.
    /// `buffer` is as it was.
    ///
    /// # Examples
    ///
    /// ```
    /// use landbridge::channel::{self, TrySendError};
    ///
    /// let (mut writer, _reader) = channel::pipe(5);
    /// let mut buffer = b"abc".to_vec();
    /// assert_eq!(writer.try_send(&mut buffer), Ok(()));
    /// buffer.extend(b"def");
    /// assert_eq!(writer.try_send(&mut buffer), Err(TrySendError::Full(())));
    /// assert_eq!(buffer, b"def");
    /// ```
    pub fn try_send(&mut self, buffer: &mut Vec<u8>) -> Result<(), TrySendError<()>> {
        if buffer.is_empty() {
            return Ok(());
        }
        if self.chunks.is_closed() {
            return Err(TrySendError::Closed(()));
        }
        if !self.flow.has_room(self.flow.weight(buffer.len())) {
            return Err(TrySendError::Full(()));
        }
        self.push(mem::take(buffer)).map_err(|refused| {
            *buffer = refused;
            TrySendError::Closed(())
        })
    }

    /// [`send`](Self::send), blocking the thread until there is room. For threads that run no runtime.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// # Panics
    ///
    /// If it is called from within `futures::executor::block_on`.
    pub fn blocking_send(&mut self, buffer: &mut Vec<u8>) -> io::Result<()> {
        block_on(self.send(buffer))
    }

    /// An empty buffer to be filled: one that the reader has given back, or else a new one without capacity.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use landbridge::channel;
    ///
    /// let (mut writer, mut reader) = channel::pipe(64 * 1024);
    /// let mut buffer = Vec::with_capacity(4096);
    /// buffer.extend(b"first");
    /// writer.send(&mut buffer).await?;
    /// let received = reader.recv().await.unwrap();
    /// reader.give_back(received);
    ///
    /// let buffer = writer.empty();
    /// assert_eq!((buffer.len(), buffer.capacity()), (0, 4096));
    /// # std::io::Result::Ok(()) }).unwrap();
    /// ```
    #[must_use = "dropping a buffer frees it"]
    pub fn empty(&mut self) -> Vec<u8> {
        self.spares.take().unwrap_or_default()
    }

    /// Ends the stream; the reader gets what was written, then the end. A second time it does nothing.
    ///
    /// Both traits' `shutdown` does the same; this one is for who has neither trait at hand.
    pub fn shut_down(&mut self) {
        self.chunks.close();
    }

    /// Waits until the reader is closed or gone.
    ///
    /// # Cancel safety
    ///
    /// Yes.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let (mut writer, reader) = landbridge::channel::pipe(1);
    /// drop(reader);
    /// writer.closed().await;
    /// assert!(writer.is_closed());
    /// # });
    /// ```
    pub async fn closed(&mut self) {
        poll_fn(|cx| {
            if self.flow.watch_close(cx.waker()) {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
    }

    /// Whether nothing can be written any more: the reader is closed or gone, or this end was shut down.
    pub fn is_closed(&self) -> bool {
        self.chunks.is_closed()
    }

    /// How many bytes the pipe holds.
    pub fn capacity(&self) -> usize {
        self.flow.bound()
    }

    fn poll_room(&mut self, cx: &mut Context<'_>, weight: usize) -> Poll<io::Result<()>> {
        ready!(self.budget.poll_proceed(cx));
        loop {
            if self.chunks.is_closed() {
                return Poll::Ready(Err(broken_pipe()));
            }
            let (flow, chunks) = (&self.flow, &self.chunks);
            if flow.has_room(weight) {
                break;
            }
            if !self
                .look
                .look(|| flow.has_room(weight) || chunks.is_closed())
                && flow.park(weight, cx.waker())
            {
                budget::give_back();
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// To be called when there is room, which only the writer itself can take away.
    fn push(&mut self, chunk: Vec<u8>) -> Result<(), Vec<u8>> {
        self.gathers = false;
        self.push_as(self.flow.weight(chunk.len()), chunk)
    }

    fn push_as(&mut self, weight: usize, chunk: Vec<u8>) -> Result<(), Vec<u8>> {
        // Before it is there to be read, and given back.
        self.flow.take(weight);
        self.chunks.push(chunk).map_err(|error| {
            debug_assert!(error.is_closed(), "a slot for each chunk");
            self.flow.give(weight);
            error.into_inner()
        })
    }

    /// Copies as much of the slices as there is room for into one chunk; they are `total` bytes.
    #[cfg_attr(
        not(feature = "shim"),
        allow(dead_code, reason = "only the traits call it")
    )]
    pub(in crate::channel) fn poll_write_slices<'a>(
        &mut self,
        cx: &mut Context<'_>,
        total: usize,
        slices: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Poll<io::Result<usize>> {
        if total == 0 {
            return Poll::Ready(Ok(0));
        }
        ready!(self.budget.poll_turn(cx));
        // What is gathered takes no more than it has taken at first.
        let small = self.flow.share().min(gathered::MOST);
        if self.gathers
            && !self.chunks.is_closed()
            && self.gathered.append(total, slices.clone(), small)
        {
            budget::spend_many(1);
            return Poll::Ready(Ok(total));
        }
        ready!(self.poll_room(cx, self.flow.share()))?;
        let length = total.min(self.flow.room()).min(COPIED_AT_ONCE);
        let mut chunk = self.empty();
        chunk.reserve_exact(length.max(small));
        for slice in slices {
            let rest = length - chunk.len();
            chunk.extend_from_slice(&slice[..slice.len().min(rest)]);
        }
        let pushed = if length > small {
            self.push(chunk).is_ok()
        } else {
            self.push_gathered(chunk)
        };
        Poll::Ready(if pushed {
            Ok(length)
        } else {
            Err(broken_pipe())
        })
    }

    /// Whether it is on its way.
    fn push_gathered(&mut self, chunk: Vec<u8>) -> bool {
        // Before its mark is there to be found.
        self.gathered.begin(chunk);
        self.gathers = self.push_as(self.flow.share(), Vec::new()).is_ok();
        if !self.gathers {
            self.gathered.take_back();
        }
        self.gathers
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // The ring's end closes with it.
        self.flow.forget();
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("capacity", &self.capacity())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

fn broken_pipe() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}
