//! Any number of senders, one receiver, no bound: see [`channel::unbounded`](super::unbounded()).

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{Sink, Stream, stream::FusedStream};

use super::{
    Look, Wait,
    budget::Budget,
    inbox::Inbox,
    queue::{Producer, WeakProducer, queue},
};
use crate::error::{SendError, TryRecvError};

/// In [`Sender::send_all`], the receiver is woken after so many messages at the latest.
const BATCH: usize = 128;

pub(super) fn channel<T>(recv_wait: Wait) -> (Sender<T>, Receiver<T>) {
    let (producer, consumer) = queue();
    let receiver = Receiver {
        inbox: Inbox::new(consumer, Look::new(recv_wait)),
    };
    let sender = Sender {
        producer,
        budget: Budget::new(),
    };
    (sender, receiver)
}

/// A sending end. A clone is another one.
///
/// Dropping the last one closes the channel, also when its thread panics; the receiver gets what was
/// sent, then `None`.
///
/// Also a [`Sink`], which is always ready until the channel is closed, but that it lets the other tasks of
/// its thread run now and then.
///
/// `Send` and `Sync` if `T` is `Send`.
pub struct Sender<T> {
    producer: Producer<T>,
    /// Of the sink: the others do not wait.
    budget: Budget,
}

impl<T> Sender<T> {
    /// Sends `value`. Never waits; takes memory where it must.
    ///
    /// # Errors
    ///
    /// Gives the value back if the channel is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use landbridge::channel::{self, SendError};
    ///
    /// let (tx, mut rx) = channel::unbounded();
    /// assert_eq!(tx.send(1), Ok(()));
    /// rx.close();
    /// assert_eq!(tx.send(2), Err(SendError(2)));
    /// assert_eq!(rx.recv().await, Some(1));
    /// # });
    /// ```
    #[inline]
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.producer.push(value).map_err(SendError)
    }

    /// Sends what the iterator gives, in order, with one wake-up of the receiver for up to 128 messages.
    ///
    /// Other senders' messages may come between. The receiver is not woken before the batch is
    /// complete: an iterator that takes its time is better sent one by one.
    ///
    /// # Errors
    ///
    /// Gives the first value back that was not sent because the channel is closed. The rest stays in
    /// the iterator, if it is passed by `&mut`.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use landbridge::channel;
    ///
    /// let (tx, mut rx) = channel::unbounded();
    /// tx.send_all(0..3)?;
    /// let mut received = Vec::new();
    /// assert_eq!(rx.recv_many(&mut received, 10).await, 3);
    /// assert_eq!(received, [0, 1, 2]);
    /// # Ok::<_, channel::SendError<i32>>(()) }).unwrap();
    /// ```
    pub fn send_all(&self, values: impl IntoIterator<Item = T>) -> Result<(), SendError<T>> {
        let mut values = values.into_iter();
        loop {
            let mut batch = self.producer.batch();
            for _ in 0..BATCH {
                let Some(value) = values.next() else {
                    return Ok(());
                };
                batch.push(value).map_err(SendError)?;
            }
        }
    }

    /// Waits until the channel is closed by the receiver.
    ///
    /// # Cancel safety
    ///
    /// Yes.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use landbridge::channel;
    ///
    /// let (tx, rx) = channel::unbounded::<u32>();
    /// drop(rx);
    /// tx.closed().await;
    /// assert!(tx.is_closed());
    /// # });
    /// ```
    pub async fn closed(&self) {
        self.producer.closed().await;
    }

    /// Whether the receiver has closed the channel or is gone.
    pub fn is_closed(&self) -> bool {
        self.producer.is_closed()
    }

    /// How many messages are in the channel. With the others at work, it may be another number by now.
    pub fn len(&self) -> usize {
        self.producer.len()
    }

    /// Whether no message is in the channel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most messages that have been in the channel at once.
    pub fn high_water(&self) -> usize {
        self.producer.high_water()
    }

    /// Whether both send to the same receiver.
    pub fn same_channel(&self, other: &Self) -> bool {
        self.producer.same_queue(&other.producer)
    }

    /// A handle that does not keep the channel open.
    ///
    /// # Examples
    ///
    /// ```
    /// use landbridge::channel;
    ///
    /// let (tx, mut rx) = channel::unbounded();
    /// let weak = tx.downgrade();
    /// weak.upgrade().expect("there is a sender").send(1)?;
    /// drop(tx);
    /// assert!(weak.upgrade().is_none());
    /// assert_eq!(rx.try_recv(), Ok(1));
    /// assert!(rx.is_closed());
    /// # Ok::<_, channel::SendError<i32>>(())
    /// ```
    pub fn downgrade(&self) -> WeakSender<T> {
        WeakSender {
            producer: self.producer.downgrade(),
        }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self {
            producer: self.producer.clone(),
            budget: Budget::new(),
        }
    }
}

impl<T> Sink<T> for Sender<T> {
    type Error = SendError<()>;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError<()>>> {
        if self.is_closed() {
            return Poll::Ready(Err(SendError(())));
        }
        ready!(self.budget.poll_proceed(cx));
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, value: T) -> Result<(), SendError<()>> {
        self.send(value).map_err(|_| SendError(()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), SendError<()>>> {
        Poll::Ready(Ok(()))
    }

    /// Does nothing: the channel is closed when all its senders are gone.
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), SendError<()>>> {
        Poll::Ready(Ok(()))
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("len", &self.len())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

/// A handle that becomes a [`Sender`] again as long as there is one; made by [`Sender::downgrade`].
pub struct WeakSender<T> {
    producer: WeakProducer<T>,
}

impl<T> WeakSender<T> {
    /// A sender, unless all are gone.
    pub fn upgrade(&self) -> Option<Sender<T>> {
        Some(Sender {
            producer: self.producer.upgrade()?,
            budget: Budget::new(),
        })
    }
}

impl<T> Clone for WeakSender<T> {
    fn clone(&self) -> Self {
        Self {
            producer: self.producer.clone(),
        }
    }
}

impl<T> fmt::Debug for WeakSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakSender").finish_non_exhaustive()
    }
}

/// The receiving end; also a [`Stream`].
///
/// Dropping it closes the channel, and drops what has not been received.
///
/// `Send` and `Sync` if `T` is `Send`; always `Unpin`.
pub struct Receiver<T> {
    inbox: Inbox<T>,
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
    /// let (tx, mut rx) = channel::unbounded();
    /// tx.clone().send('a')?;
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
        self.inbox.poll(cx)
    }

    /// Receives the next message if there is one now.
    ///
    /// # Errors
    ///
    /// `Empty` if there is none at the moment, `Closed` if there will be none any more.
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.inbox.consumer.pop()
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
    /// let (tx, mut rx) = channel::unbounded();
    /// let patience = Duration::from_millis(1);
    /// tx.send("a")?;
    /// assert_eq!(rx.recv_timeout(patience).await, Ok("a"));
    /// assert_eq!(rx.recv_timeout(patience).await, Err(RecvTimeoutError::Timeout));
    /// drop(tx);
    /// assert_eq!(rx.recv_timeout(patience).await, Err(RecvTimeoutError::Closed));
    /// # Ok::<_, channel::SendError<&str>>(()) }).unwrap();
    /// ```
    #[cfg(feature = "pool")]
    pub async fn recv_timeout(
        &mut self,
        duration: std::time::Duration,
    ) -> Result<T, crate::error::RecvTimeoutError> {
        super::timed::recv(self, duration).await
    }

    /// Waits for a message, then appends what is there to `messages`, up to `max`; says how many.
    ///
    /// 0 only if the channel is closed and all have been received, or if `max` is 0. No more than 128
    /// at once, so that the neighbours have their turn.
    ///
    /// # Cancel safety
    ///
    /// Dropping it while it is pending loses nothing.
    pub async fn recv_many(&mut self, messages: &mut Vec<T>, max: usize) -> usize {
        poll_fn(|cx| {
            self.inbox
                .poll_many(cx, max, |message| messages.push(message))
        })
        .await
    }

    /// [`recv`](Self::recv) for a thread without a runtime, which it blocks.
    ///
    /// # Panics
    ///
    /// May panic inside a future that `futures::executor` runs.
    ///
    /// # Examples
    ///
    /// ```
    /// use landbridge::channel;
    ///
    /// let (tx, mut rx) = channel::unbounded();
    /// let thread = std::thread::spawn(move || tx.send(1));
    /// assert_eq!(rx.blocking_recv(), Some(1));
    /// # thread.join().unwrap().unwrap();
    /// ```
    pub fn blocking_recv(&mut self) -> Option<T> {
        crate::sync::block_on(self.recv())
    }

    /// Closes the channel: nothing more is sent; what was sent before can still be received.
    pub fn close(&mut self) {
        self.inbox.consumer.close();
    }

    /// Whether the channel is closed. There may still be messages to receive.
    pub fn is_closed(&self) -> bool {
        self.inbox.consumer.is_closed()
    }

    /// How many messages can be received without waiting. With senders at work, it may be more by now.
    pub fn len(&self) -> usize {
        self.inbox.consumer.len()
    }

    /// Whether no message can be received without waiting.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most messages that have been in the channel at once.
    pub fn high_water(&self) -> usize {
        self.inbox.consumer.high_water()
    }
}

#[cfg(feature = "pool")]
impl<T> super::timed::Looks for Receiver<T> {
    fn look(&mut self) -> &mut Look {
        &mut self.inbox.look
    }
}

#[cfg(feature = "pool")]
impl<T> super::timed::Receive for Receiver<T> {
    type Item = T;

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.poll_recv(cx)
    }

    fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.try_recv()
    }

    fn budget(&self) -> &Budget {
        &self.inbox.budget
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

impl<T> Unpin for Receiver<T> {}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("len", &self.len())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
