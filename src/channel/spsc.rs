//! One sender, one receiver: see [`channel::spsc`](super::spsc()).

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{Sink, Stream, stream::FusedStream};

#[cfg(feature = "pool")]
use super::timed::{Bound, within};
use super::{
    Look, Wait,
    budget::{self, Budget},
    ring::{Consumer, Producer, ring},
};
#[cfg(feature = "pool")]
use crate::error::{RecvTimeoutError, SendTimeoutError};
use crate::{
    error::{SendError, TryRecvError, TrySendError},
    sync::block_on,
};
#[cfg(feature = "pool")]
use std::time::Duration;

pub(super) fn channel<T>(
    capacity: usize,
    send_wait: Wait,
    recv_wait: Wait,
) -> (Sender<T>, Receiver<T>) {
    let (producer, consumer) = ring(capacity);
    (
        Sender::new(producer, send_wait),
        Receiver {
            consumer,
            look: Look::new(recv_wait),
            budget: Budget::new(),
        },
    )
}

/// The sending end; also a [`Sink`].
///
/// Closing the sink closes the channel, and flushing it does nothing: what is sent is there to be
/// received.
///
/// Sending takes `&mut self`: that there is one sender at a time is checked by the compiler, and the
/// channel need not. Dropping it closes the channel, also when its thread panics; the receiver gets
/// what was sent, then `None`.
///
/// `Send` and `Sync` if `T` is `Send`.
pub struct Sender<T> {
    producer: Producer<T>,
    look: Look,
    budget: Budget,
}

impl<T> Sender<T> {
    pub(super) fn new(producer: Producer<T>, wait: Wait) -> Self {
        Self {
            producer,
            look: Look::new(wait),
            budget: Budget::new(),
        }
    }

    /// Sends `value`, once there is room for it.
    ///
    /// # Cancel safety
    ///
    /// A pending `send` that is dropped drops its value, unsent. Where the value must not be lost,
    /// use [`reserve`](Self::reserve), and send through the permit.
    ///
    /// # Errors
    ///
    /// Gives the value back if the channel is closed, also while this waits.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use landbridge::channel::{self, SendError};
    ///
    /// let (mut tx, mut rx) = channel::spsc(2);
    /// assert_eq!(tx.send(1).await, Ok(()));
    /// rx.close();
    /// assert_eq!(tx.send(2).await, Err(SendError(2)));
    /// # });
    /// ```
    pub async fn send(&mut self, value: T) -> Result<(), SendError<T>> {
        match poll_fn(|cx| self.poll_room(cx)).await {
            Ok(()) => self.push(value),
            Err(SendError(())) => Err(SendError(value)),
        }
    }

    /// Sends `value` if there is room for it now.
    ///
    /// # Errors
    ///
    /// Gives the value back if the channel is full or closed.
    ///
    /// # Examples
    ///
    /// ```
    /// use landbridge::channel::{self, TrySendError};
    ///
    /// let (mut tx, rx) = channel::spsc(1);
    /// assert_eq!(tx.try_send("a"), Ok(()));
    /// assert_eq!(tx.try_send("b"), Err(TrySendError::Full("b")));
    /// drop(rx);
    /// assert_eq!(tx.try_send("c"), Err(TrySendError::Closed("c")));
    /// ```
    pub fn try_send(&mut self, value: T) -> Result<(), TrySendError<T>> {
        self.producer.push(value)
    }

    /// [`send`](Self::send), for no longer than `duration`.
    ///
    /// # Where it runs
    ///
    /// The timer is that of the runtime that polls; see [`time`](crate::time#where-it-runs).
    ///
    /// # Cancel safety
    ///
    /// As with [`send`](Self::send), a pending `send_timeout` that is dropped drops its value, unsent.
    ///
    /// # Errors
    ///
    /// Gives the value back if there was no room in time, or if the channel is closed.
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
    /// use landbridge::channel::{self, SendTimeoutError};
    ///
    /// let (mut tx, _rx) = channel::spsc(1);
    /// let patience = Duration::from_millis(1);
    /// assert_eq!(tx.send_timeout("a", patience).await, Ok(()));
    /// assert_eq!(tx.send_timeout("b", patience).await, Err(SendTimeoutError::Timeout("b")));
    /// # });
    /// ```
    #[cfg(feature = "pool")]
    pub async fn send_timeout(
        &mut self,
        value: T,
        duration: Duration,
    ) -> Result<(), SendTimeoutError<T>> {
        // Not within the time: where that is over at once, the neighbours would never have their turn.
        poll_fn(|cx| self.budget.poll_turn(cx)).await;
        let bound = Bound::new(self, duration);
        let _ = within(duration, poll_fn(|cx| bound.0.poll_room(cx))).await;
        // In or out of time, what counts is whether there is room now.
        bound.0.try_send(value).map_err(TrySendError::after_waiting)
    }

    /// Sends every value of `values`, in batches: as many as there is room for are published as one, and
    /// wake the receiver once.
    ///
    /// The iterator is asked for values while there is room for them, and should not block: what it has
    /// given for a batch is received when the batch is over. While the channel is full this waits for
    /// room before it asks for the next value, also where there is none, unless the iterator's
    /// `size_hint` says so.
    ///
    /// # Cancel safety
    ///
    /// A pending `send_all` that is dropped has sent all that it took from the iterator; the rest is
    /// dropped with the iterator, or is still there if that was passed by `&mut`.
    ///
    /// # Errors
    ///
    /// Gives the value back that was refused, if the channel is closed; what came before has been sent,
    /// the rest is as above. No error if there was nothing left to send.
    ///
    /// # Panics
    ///
    /// If the iterator panics. What it gave before that is sent.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use landbridge::channel::{self, SendError};
    ///
    /// let (mut tx, mut rx) = channel::spsc(8);
    /// tx.send_all(1..=3).await?;
    /// assert_eq!(rx.len(), 3);
    ///
    /// rx.close();
    /// let mut rest = 4..10;
    /// assert_eq!(tx.send_all(&mut rest).await, Err(SendError(4)));
    /// assert_eq!(rest, 5..10);
    /// # Ok::<_, SendError<i32>>(()) }).unwrap();
    /// ```
    pub async fn send_all(
        &mut self,
        values: impl IntoIterator<Item = T>,
    ) -> Result<(), SendError<T>> {
        let mut values = values.into_iter();
        let mut at_end = false;
        while !at_end && values.size_hint() != (0, Some(0)) {
            let room = poll_fn(|cx| self.poll_room(cx)).await;
            match room.and_then(|()| self.producer.push_batch(&mut values)) {
                Ok(pushed) => {
                    at_end = pushed.at_end;
                    // The first has been paid for.
                    budget::spend_many(pushed.count.saturating_sub(1));
                }
                Err(SendError(())) => return values.next().map_or(Ok(()), |it| Err(SendError(it))),
            }
        }
        Ok(())
    }

    /// [`send`](Self::send), blocking the thread until there is room. For threads that run no runtime.
    ///
    /// # Errors
    ///
    /// Gives the value back if the channel is closed, also while this waits.
    ///
    /// # Panics
    ///
    /// If it is called from within `futures::executor::block_on`. On a thread of a runtime it is a
    /// mistake that is not noticed: it holds up the other tasks there, the receiver perhaps.
    ///
    /// # Examples
    ///
    /// ```
    /// use landbridge::channel;
    ///
    /// let (mut tx, mut rx) = channel::spsc(1);
    /// let sender = std::thread::spawn(move || (0..10).try_for_each(|n| tx.blocking_send(n)));
    /// let mut sum = 0;
    /// while let Some(n) = rx.blocking_recv() {
    ///     sum += n;
    /// }
    /// assert_eq!(sum, 45);
    /// sender.join().unwrap()?;
    /// # Ok::<_, channel::SendError<i32>>(())
    /// ```
    pub fn blocking_send(&mut self, value: T) -> Result<(), SendError<T>> {
        block_on(self.send(value))
    }

    /// Waits for room for one message, and keeps it.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: the value is handed over only to the [`Permit`], which does not wait. A
    /// permit that is dropped gives its room back.
    ///
    /// # Errors
    ///
    /// Fails if the channel is closed, also while this waits.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use landbridge::channel;
    ///
    /// let (mut tx, mut rx) = channel::spsc(1);
    /// tx.reserve().await?.send("there is room")?;
    /// assert_eq!(rx.recv().await, Some("there is room"));
    ///
    /// drop(tx.reserve().await?);
    /// assert_eq!(tx.try_send("still"), Ok(()));
    /// # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub async fn reserve(&mut self) -> Result<Permit<'_, T>, SendError<()>> {
        poll_fn(|cx| self.poll_room(cx)).await?;
        if self.is_closed() {
            return Err(SendError(()));
        }
        Ok(Permit { sender: self })
    }

    /// Keeps room for one message if there is some now.
    ///
    /// # Errors
    ///
    /// `Full` if there is none at the moment, `Closed` if nothing is received any more.
    ///
    /// # Examples
    ///
    /// ```
    /// use landbridge::channel::{self, TrySendError};
    ///
    /// let (mut tx, mut rx) = channel::spsc(1);
    /// tx.try_reserve()?.send("there is room").unwrap();
    /// assert_eq!(tx.try_reserve().unwrap_err(), TrySendError::Full(()));
    /// assert_eq!(rx.try_recv(), Ok("there is room"));
    /// # Ok::<_, TrySendError<()>>(())
    /// ```
    pub fn try_reserve(&mut self) -> Result<Permit<'_, T>, TrySendError<()>> {
        if self.is_closed() {
            Err(TrySendError::Closed(()))
        } else if self.producer.has_room() {
            Ok(Permit { sender: self })
        } else {
            Err(TrySendError::Full(()))
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
    /// let (mut tx, rx) = channel::spsc::<u32>(1);
    /// drop(rx);
    /// tx.closed().await;
    /// assert!(tx.is_closed());
    /// # });
    /// ```
    pub async fn closed(&mut self) {
        poll_fn(|cx| {
            if self.is_closed() || !self.producer.watch_close(cx.waker()) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Whether the channel is closed: by the receiver, by its end, or through this sender as a [`Sink`].
    pub fn is_closed(&self) -> bool {
        self.producer.is_closed()
    }

    /// How many messages are in the channel. With the receiver at work, it may be fewer by now.
    pub fn len(&self) -> usize {
        self.producer.len()
    }

    /// Whether no message is in the channel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many messages the channel holds.
    pub fn capacity(&self) -> usize {
        self.producer.capacity()
    }

    /// The most messages that have been in the channel at once.
    pub fn high_water(&self) -> usize {
        self.producer.high_water()
    }

    #[inline]
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError<()>>> {
        ready!(self.budget.poll_proceed(cx));
        while !self.producer.has_room() {
            if self.producer.is_closed() {
                return Poll::Ready(Err(SendError(())));
            }
            let (look, producer) = (&mut self.look, &mut self.producer);
            if !look.look_after(producer.passed(), || {
                producer.has_room() || producer.is_closed()
            }) && producer.park(cx.waker())
            {
                budget::give_back();
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// To be called when there is room, which only the sender itself can take away.
    #[inline]
    fn push(&mut self, value: T) -> Result<(), SendError<T>> {
        self.producer
            .push(value)
            .map_err(|error| SendError(error.into_inner()))
    }
}

#[cfg(feature = "pool")]
impl<T> super::timed::Looks for Sender<T> {
    fn look(&mut self) -> &mut Look {
        &mut self.look
    }
}

/// Errors carry no value: one that meets the close in `start_send` is dropped.
impl<T> Sink<T> for Sender<T> {
    type Error = SendError<()>;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError<()>>> {
        let this = self.get_mut();
        ready!(this.poll_room(cx))?;
        Poll::Ready(if this.is_closed() {
            Err(SendError(()))
        } else {
            Ok(())
        })
    }

    fn start_send(self: Pin<&mut Self>, value: T) -> Result<(), SendError<()>> {
        match self.get_mut().try_send(value) {
            Ok(()) => Ok(()),
            Err(TrySendError::Closed(_)) => Err(SendError(())),
            Err(TrySendError::Full(_)) => panic!("`start_send` without a `poll_ready` before it"),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), SendError<()>>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), SendError<()>>> {
        self.get_mut().producer.close();
        Poll::Ready(Ok(()))
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

/// Room for one message; made by [`Sender::reserve`]. Dropped unused, it gives the room back.
#[must_use = "dropping a permit gives its room back"]
pub struct Permit<'a, T> {
    sender: &'a mut Sender<T>,
}

impl<T> Permit<'_, T> {
    /// Sends `value`, without waiting.
    ///
    /// # Errors
    ///
    /// Gives the value back if the channel has been closed since the room was reserved. (A permit does
    /// not hold up the close: a receiver that is told `None` has not to fear a late message.)
    pub fn send(self, value: T) -> Result<(), SendError<T>> {
        self.sender.push(value)
    }
}

impl<T> fmt::Debug for Permit<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}

/// The receiving end; also a [`Stream`].
///
/// Dropping it closes the channel, and drops what has not been received.
///
/// `Send` and `Sync` if `T` is `Send`; always `Unpin`.
pub struct Receiver<T> {
    consumer: Consumer<T>,
    look: Look,
    budget: Budget,
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
    /// let (mut tx, mut rx) = channel::spsc(2);
    /// tx.send('a').await?;
    /// drop(tx);
    /// assert_eq!(rx.recv().await, Some('a'));
    /// assert_eq!(rx.recv().await, None);
    /// # Ok::<_, channel::SendError<char>>(()) }).unwrap();
    /// ```
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Receives the next message if there is one now.
    ///
    /// # Errors
    ///
    /// `Empty` if there is none at the moment, `Closed` if there will be none any more.
    ///
    /// # Examples
    ///
    /// ```
    /// use landbridge::channel::{self, TryRecvError};
    ///
    /// let (mut tx, mut rx) = channel::spsc(1);
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

    /// [`recv`](Self::recv) for hand-written futures: `Pending` arranges for a wake-up of the task
    /// that polled last.
    #[inline]
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.poll_pop(cx, Consumer::pop)
    }

    #[inline]
    fn poll_pop<R>(
        &mut self,
        cx: &mut Context<'_>,
        mut pop: impl FnMut(&mut Consumer<T>) -> Result<R, TryRecvError>,
    ) -> Poll<Option<R>> {
        ready!(self.budget.poll_proceed(cx));
        loop {
            match pop(&mut self.consumer) {
                Ok(popped) => return Poll::Ready(Some(popped)),
                Err(TryRecvError::Closed) => return Poll::Ready(None),
                Err(TryRecvError::Empty) => {}
            }
            let (look, consumer) = (&mut self.look, &mut self.consumer);
            if !look.look_after(consumer.passed(), || consumer.is_ready())
                && consumer.park(cx.waker())
            {
                budget::give_back();
                return Poll::Pending;
            }
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
    /// let (mut tx, mut rx) = channel::spsc(1);
    /// let patience = Duration::from_millis(1);
    /// tx.try_send('a')?;
    /// assert_eq!(rx.recv_timeout(patience).await, Ok('a'));
    /// assert_eq!(rx.recv_timeout(patience).await, Err(RecvTimeoutError::Timeout));
    /// drop(tx);
    /// assert_eq!(rx.recv_timeout(patience).await, Err(RecvTimeoutError::Closed));
    /// # Ok::<_, channel::TrySendError<char>>(()) }).unwrap();
    /// ```
    #[cfg(feature = "pool")]
    pub async fn recv_timeout(&mut self, duration: Duration) -> Result<T, RecvTimeoutError> {
        super::timed::recv(self, duration).await
    }

    /// Waits for a message, and receives up to `max` of those that are there, which are appended to
    /// `buffer`. Returns how many; none only when the channel is closed and all have been received, or if
    /// `max` is 0.
    ///
    /// The sender is told about their room, and woken, once.
    ///
    /// # Cancel safety
    ///
    /// Dropping a pending `recv_many` loses nothing: it has then taken nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use landbridge::channel;
    ///
    /// let (mut tx, mut rx) = channel::spsc(8);
    /// tx.send_all(1..=3).await?;
    /// drop(tx);
    /// let mut batch = Vec::with_capacity(2);
    /// assert_eq!(rx.recv_many(&mut batch, 2).await, 2);
    /// assert_eq!(rx.recv_many(&mut batch, 2).await, 1);
    /// assert_eq!(batch, [1, 2, 3]);
    /// assert_eq!(rx.recv_many(&mut batch, 2).await, 0);
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
        let popped = self.poll_pop(cx, |consumer| consumer.pop_many(buffer, max));
        popped.map(|count| {
            let count = count.unwrap_or(0);
            budget::spend_many(count.saturating_sub(1));
            count
        })
    }

    /// [`recv`](Self::recv), blocking the thread until there is a message. For threads that run no
    /// runtime; see [`blocking_send`](Sender::blocking_send).
    ///
    /// # Panics
    ///
    /// If it is called from within `futures::executor::block_on`.
    pub fn blocking_recv(&mut self) -> Option<T> {
        block_on(self.recv())
    }

    /// Closes the channel: nothing more is sent; what was sent before can still be received.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use landbridge::channel;
    ///
    /// let (mut tx, mut rx) = channel::spsc(2);
    /// tx.send("before").await?;
    /// rx.close();
    /// assert!(tx.send("after").await.is_err());
    /// assert_eq!(rx.recv().await, Some("before"));
    /// assert_eq!(rx.recv().await, None);
    /// # Ok::<_, channel::SendError<&str>>(()) }).unwrap();
    /// ```
    pub fn close(&mut self) {
        self.consumer.close();
    }

    /// Whether the channel is closed. There may still be messages to receive.
    pub fn is_closed(&self) -> bool {
        self.consumer.is_closed()
    }

    /// How many messages can be received without waiting. With the sender at work, it may be more by
    /// now.
    pub fn len(&self) -> usize {
        self.consumer.len()
    }

    /// Whether no message can be received without waiting.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many messages the channel holds.
    pub fn capacity(&self) -> usize {
        self.consumer.capacity()
    }

    /// The most messages that have been in the channel at once.
    pub fn high_water(&self) -> usize {
        self.consumer.high_water()
    }
}

#[cfg(feature = "pool")]
impl<T> super::timed::Looks for Receiver<T> {
    fn look(&mut self) -> &mut Look {
        &mut self.look
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
        &self.budget
    }
}

impl<T> Stream for Receiver<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.get_mut().poll_recv(cx)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // In this order: from then on the length only falls.
        let sealed = self.consumer.is_sealed();
        let len = self.len();
        (len, sealed.then_some(len))
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
