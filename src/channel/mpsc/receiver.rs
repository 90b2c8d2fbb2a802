use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{Stream, stream::FusedStream};

use super::ring::Consumer;
use crate::{
    channel::{
        Look,
        budget::{self, Budget},
    },
    error::TryRecvError,
};

/// While it looks for a message, the receiver looks for the close this rarely: that lies on the cache
/// line which the senders write to.
const LOOKS_PER_LOOK_FOR_THE_CLOSE: u32 = 16;

/// The receiving end; also a [`Stream`].
///
/// Dropping it closes the channel, and drops what has not been received.
///
/// `Send` and `Sync` if `T` is `Send`; always `Unpin`.
pub struct Receiver<T> {
    pub(super) consumer: Consumer<T>,
    pub(super) look: Look,
    pub(super) budget: Budget,
}

impl<T> Receiver<T> {
    /// Receives the next message; `None` when the channel is closed and all have been received.
    ///
    /// # Cancel safety
    ///
    /// Dropping a pending `recv` loses nothing: it never holds a message.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use landbridge::channel;
    ///
    /// let (tx, mut rx) = channel::mpsc(2);
    /// tx.send('a').await?;
    /// drop(tx);
    /// assert_eq!(rx.recv().await, Some('a'));
    /// assert_eq!(rx.recv().await, None);
    /// # Ok::<_, channel::SendError<char>>(()) }).unwrap();
    /// ```
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// [`recv`](Self::recv) for hand-written futures: `Pending` arranges for a wake-up of the task
    /// that polled last.
    #[inline]
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        ready!(self.budget.poll_proceed(cx));
        loop {
            match self.consumer.pop() {
                Ok(value) => return Poll::Ready(Some(value)),
                Err(TryRecvError::Closed) => return Poll::Ready(None),
                Err(TryRecvError::Empty) => {}
            }
            ready!(self.poll_more(cx));
        }
    }

    /// [`recv`](Self::recv), for no longer than `duration`.
    ///
    /// # Where it runs
    ///
    /// The timer is that of the runtime that polls; see [`time`](crate::time#where-it-runs).
    ///
    /// # Cancel safety
    ///
    /// Dropping a pending `recv_timeout` loses nothing.
    ///
    /// # Errors
    ///
    /// `Timeout` if no message came in time, `Closed` when the channel is closed and all have been
    /// received.
    ///
    /// # Panics
    ///
    /// If it has to wait outside of both runtimes' contexts, or on a Tokio without `enable_time`.
    ///
    /// # Examples
    ///
    /// ```
    /// # compio::runtime::Runtime::new().unwrap().block_on(async {
    /// use std::time::Duration;
    ///
    /// use landbridge::channel::{self, RecvTimeoutError};
    ///
    /// let (tx, mut rx) = channel::mpsc(1);
    /// let patience = Duration::from_millis(1);
    /// tx.try_send('a')?;
    /// assert_eq!(rx.recv_timeout(patience).await, Ok('a'));
    /// assert_eq!(rx.recv_timeout(patience).await, Err(RecvTimeoutError::Timeout));
    /// drop(tx);
    /// assert_eq!(rx.recv_timeout(patience).await, Err(RecvTimeoutError::Closed));
    /// # Ok::<_, channel::TrySendError<char>>(()) }).unwrap();
    /// ```
    #[cfg(feature = "pool")]
    pub async fn recv_timeout(
        &mut self,
        duration: std::time::Duration,
    ) -> Result<T, crate::error::RecvTimeoutError> {
        crate::channel::timed::recv(self, duration).await
    }

    /// Receives as many messages as there are, up to `max`, and appends them to `buffer`; waits for the
    /// first of them. Returns how many: 0 when the channel is closed and all have been received, or when
    /// `max` is 0. No more than 128 at once, so that the neighbours have their turn.
    ///
    /// Senders that wait for room are woken once for all of them.
    ///
    /// # Cancel safety
    ///
    /// Dropping a pending `recv_many` loses nothing, and leaves `buffer` as it was.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use landbridge::channel;
    ///
    /// let (tx, mut rx) = channel::mpsc(8);
    /// tx.send_all(1..=5).await?;
    /// drop(tx);
    /// let mut buffer = vec![0];
    /// assert_eq!(rx.recv_many(&mut buffer, 3).await, 3);
    /// assert_eq!(buffer, [0, 1, 2, 3]);
    /// assert_eq!(rx.recv_many(&mut buffer, 3).await, 2);
    /// assert_eq!(rx.recv_many(&mut buffer, 3).await, 0);
    /// # Ok::<_, channel::SendError<i32>>(()) }).unwrap();
    /// ```
    pub async fn recv_many(&mut self, buffer: &mut Vec<T>, max: usize) -> usize {
        poll_fn(|cx| self.poll_recv_many(cx, buffer, max)).await
    }

    /// [`recv_many`](Self::recv_many) for hand-written futures: `Pending` arranges for a wake-up of the
    /// task that polled last.
    pub fn poll_recv_many(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Vec<T>,
        max: usize,
    ) -> Poll<usize> {
        if max == 0 {
            return Poll::Ready(0);
        }
        ready!(self.budget.poll_proceed(cx));
        let most = max.min(1 + budget::left());
        loop {
            let before = buffer.len();
            let mut end = TryRecvError::Empty;
            while buffer.len() - before < most {
                match self.consumer.take() {
                    Ok(value) => buffer.push(value),
                    Err(error) => {
                        end = error;
                        break;
                    }
                }
            }
            let many = buffer.len() - before;
            if many > 0 {
                self.consumer.free();
                budget::spend_many(many - 1);
                return Poll::Ready(many);
            }
            if end == TryRecvError::Closed {
                return Poll::Ready(0);
            }
            ready!(self.poll_more(cx));
        }
    }

    /// To be called when there was no message. `Ready`: there may be one, or the close.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (look, consumer) = (&mut self.look, &mut self.consumer);
        let mut looks = 0;
        let found = look.look_after(consumer.passed(), || {
            looks += 1;
            consumer.has_message() || looks % LOOKS_PER_LOOK_FOR_THE_CLOSE == 0 && consumer.is_end()
        });
        if !found && consumer.park(cx.waker()) {
            budget::give_back();
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Receives the next message if there is one now.
    ///
    /// # Errors
    ///
    /// `Empty` if there is none at the moment, `Closed` if there will be none any more. It may be `Empty`
    /// for a moment although a message is there, while another thread is about to put in the one that
    /// comes before it.
    ///
    /// # Examples
    ///
    /// ```
    /// use landbridge::channel::{self, TryRecvError};
    ///
    /// let (tx, mut rx) = channel::mpsc(1);
    /// assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    /// tx.try_send(7)?;
    /// drop(tx);
    /// assert_eq!(rx.try_recv(), Ok(7));
    /// assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    /// # Ok::<_, channel::TrySendError<i32>>(())
    /// ```
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.consumer.pop()
    }

    /// [`recv`](Self::recv) for a thread without a runtime, which is blocked meanwhile.
    ///
    /// # Panics
    ///
    /// Panics on a thread that runs an executor of the `futures` crate. Those of Tokio and Compio are
    /// not recognized: there it holds up every task of the thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use landbridge::channel;
    ///
    /// let (tx, mut rx) = channel::mpsc(1);
    /// std::thread::spawn(move || tx.blocking_send("from a thread"));
    /// assert_eq!(rx.blocking_recv(), Some("from a thread"));
    /// assert_eq!(rx.blocking_recv(), None);
    /// ```
    pub fn blocking_recv(&mut self) -> Option<T> {
        crate::sync::block_on(self.recv())
    }

    /// Closes the channel: nothing more is sent; what was sent before can still be received.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use landbridge::channel;
    ///
    /// let (tx, mut rx) = channel::mpsc(2);
    /// tx.send("before").await?;
    /// rx.close();
    /// assert!(tx.send("after").await.is_err());
    /// assert_eq!(rx.recv().await, Some("before"));
    /// assert_eq!(rx.recv().await, None);
    /// # Ok::<_, channel::SendError<&str>>(()) }).unwrap();
    /// ```
    pub fn close(&mut self) {
        self.consumer.room().close();
    }

    /// Whether the channel is closed. There may still be messages to receive.
    pub fn is_closed(&self) -> bool {
        self.consumer.room().is_closed()
    }

    /// How many messages are in the channel, with those that are just being put in. With the senders at
    /// work, it may be more by now.
    pub fn len(&self) -> usize {
        self.consumer.room().len() as usize
    }

    /// Whether no message is in the channel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many messages the channel holds.
    pub fn capacity(&self) -> usize {
        self.consumer.room().capacity() as usize
    }

    /// The most messages that have been in the channel at once.
    pub fn high_water(&self) -> usize {
        self.consumer.room().high_water() as usize
    }
}

#[cfg(feature = "pool")]
impl<T> crate::channel::timed::Looks for Receiver<T> {
    fn look(&mut self) -> &mut Look {
        &mut self.look
    }
}

#[cfg(feature = "pool")]
impl<T> crate::channel::timed::Receive for Receiver<T> {
    type Item = T;

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.poll_recv(cx)
    }

    fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.try_recv()
    }

    fn budget(&self) -> &Budget {
        &self.budget
    }
}

impl<T> Stream for Receiver<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.get_mut().poll_recv(cx)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // In this order: once closed, the length only falls.
        let closed = self.is_closed();
        let len = self.len();
        (len, closed.then_some(len))
    }
}

/// At its end when the channel is closed and all has been received.
impl<T> FusedStream for Receiver<T> {
    fn is_terminated(&self) -> bool {
        self.size_hint().1 == Some(0)
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
