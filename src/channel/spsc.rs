//! One sender, one receiver: see [`channel::spsc`](super::spsc()).

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::Stream;

use super::{
    Look, Wait,
    budget::Budget,
    ring::{Consumer, Producer, ring},
};
use crate::error::{SendError, TryRecvError, TrySendError};

pub(super) fn channel<T>(
    capacity: usize,
    send_wait: Wait,
    recv_wait: Wait,
) -> (Sender<T>, Receiver<T>) {
    let (producer, consumer) = ring(capacity);
    (
        Sender {
            producer,
            look: Look::new(send_wait),
            budget: Budget::new(),
        },
        Receiver {
            consumer,
            look: Look::new(recv_wait),
            budget: Budget::new(),
        },
    )
}

/// The sending end.
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

    /// Whether the receiver has closed the channel or is gone.
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
            if !look.look(|| producer.has_room() || producer.is_closed())
                && producer.park(cx.waker())
            {
                self.budget.refill();
                return Poll::Pending;
            }
        }
        self.budget.spend();
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
        ready!(self.budget.poll_proceed(cx));
        loop {
            match self.consumer.pop() {
                Ok(value) => {
                    self.budget.spend();
                    return Poll::Ready(Some(value));
                }
                Err(TryRecvError::Closed) => return Poll::Ready(None),
                Err(TryRecvError::Empty) => {}
            }
            let (look, consumer) = (&mut self.look, &mut self.consumer);
            if !look.look(|| consumer.is_ready()) && consumer.park(cx.waker()) {
                self.budget.refill();
                return Poll::Pending;
            }
        }
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

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
