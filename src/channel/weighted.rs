//! Any number of senders, one receiver, bounded by what the messages weigh: see
//! [`Builder::bytes`](super::Builder::bytes).
//!
//! # What fits
//!
//! The messages in the channel, and the room that is reserved, weigh no more than the bound together.
//! A message that is heavier than the whole bound takes all of it: it waits until nothing else is in
//! the channel and nothing is reserved, and then is admitted alone. A message of weight 0 takes as much
//! room as one of weight 1, so that there are never more messages than the bound.
//!
//! # Who is first
//!
//! Senders that wait are admitted in the order of their coming: a light message does not overtake a heavy
//! one that waits, also by [`try_send`](Sender::try_send). A sender that gives up makes way for those
//! behind it. One that [looks](super::Wait) before it sleeps is not in the line yet.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{Stream, stream::FusedStream};

use super::{
    Look, Wait, Weight,
    budget::{self, Budget},
    inbox::Inbox,
    queue::{Producer, WeakProducer, queue},
    room::{MOST, Refused, Room, Turn},
    wait::SharedLook,
};
use crate::{
    error::{SendError, TryRecvError, TrySendError},
    sync::Arc,
    unwind::drop_all,
};

pub(super) fn channel<T: Weight>(
    bound: usize,
    send_wait: Wait,
    recv_wait: Wait,
) -> (Sender<T>, Receiver<T>) {
    let (producer, consumer) = queue();
    let room = Arc::new(Room::new(bound.clamp(1, MOST)));
    (
        Sender {
            producer,
            room: room.clone(),
            look: SharedLook::new(send_wait),
            budget: Budget::new(),
        },
        Receiver {
            inbox: Inbox::new(consumer, Look::new(recv_wait)),
            room,
        },
    )
}

/// A message, and the room that it takes.
struct Weighed<T> {
    value: T,
    taken: usize,
}

/// A sending end. A clone is another one.
///
/// Dropping the last one closes the channel, also when its thread panics; the receiver gets what was
/// sent, then `None`.
///
/// `Send` and `Sync` if `T` is `Send`.
pub struct Sender<T> {
    producer: Producer<Weighed<T>>,
    room: Arc<Room>,
    look: SharedLook,
    budget: Budget,
}

impl<T: Weight> Sender<T> {
    /// Sends `value`, once there is room for it and everybody who waited before has theirs.
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
    /// let (tx, mut rx) = channel::builder().bytes(5).mpsc();
    /// assert_eq!(tx.send("hello").await, Ok(()));
    /// assert_eq!(rx.recv().await, Some("hello"));
    ///
    /// // Heavier than the whole bound, and admitted alone.
    /// assert_eq!(tx.send("hello again").await, Ok(()));
    /// rx.close();
    /// assert_eq!(tx.send("too late").await, Err(SendError("too late")));
    /// # });
    /// ```
    pub async fn send(&self, value: T) -> Result<(), SendError<T>> {
        let taken = self.takes(value.weight());
        match self.take(taken, &self.look).await {
            Ok(()) => self.push(value, taken),
            Err(SendError(())) => Err(SendError(value)),
        }
    }

    /// Sends `value` if there is room for it now, and nobody waits.
    ///
    /// # Errors
    ///
    /// Gives the value back if there is too little room, or if the channel is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// use landbridge::channel::{self, TrySendError};
    ///
    /// let (tx, _rx) = channel::builder().bytes(5).mpsc();
    /// assert_eq!(tx.try_send("abc"), Ok(()));
    /// assert_eq!(tx.try_send("def"), Err(TrySendError::Full("def")));
    /// assert_eq!(tx.try_send("de"), Ok(()));
    /// ```
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        let taken = self.takes(value.weight());
        self.try_send_weighed(value, taken)
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
    /// Gives the value back if there was too little room in time, or if the channel is closed.
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
    /// let (tx, _rx) = channel::builder().bytes(5).mpsc();
    /// let patience = Duration::from_millis(1);
    /// assert_eq!(tx.send_timeout("abc", patience).await, Ok(()));
    /// assert_eq!(tx.send_timeout("def", patience).await, Err(SendTimeoutError::Timeout("def")));
    /// # });
    /// ```
    #[cfg(feature = "pool")]
    pub async fn send_timeout(
        &self,
        value: T,
        duration: std::time::Duration,
    ) -> Result<(), crate::error::SendTimeoutError<T>> {
        let taken = self.takes(value.weight());
        // Not within the time: where that is over at once, the neighbours would never have their turn.
        poll_fn(|cx| self.budget.poll_turn(cx)).await;
        let bound = self.look.bound_by(duration);
        let room = self.take(taken, bound.as_ref().unwrap_or(&self.look));
        match super::timed::within(duration, room).await {
            Ok(Ok(())) => Ok(self.push(value, taken)?),
            Ok(Err(SendError(()))) => Err(SendError(value).into()),
            Err(super::timed::Over) => self
                .try_send_weighed(value, taken)
                .map_err(TrySendError::after_waiting),
        }
    }

    /// Sends what the iterator gives, in order; waits where there is too little room. Wakes the receiver
    /// once for what fits.
    ///
    /// Other senders' messages may come between.
    ///
    /// # Cancel safety
    ///
    /// If it is dropped while it waits, what it has sent is sent, and the value that it waits with is
    /// dropped. The rest stays in the iterator, if that was passed by `&mut`, or else is dropped with it.
    ///
    /// # Errors
    ///
    /// Gives the first value back that was not sent because the channel is closed. The rest stays in
    /// the iterator, if it is passed by `&mut`.
    pub async fn send_all(&self, values: impl IntoIterator<Item = T>) -> Result<(), SendError<T>> {
        let weigh = |value: T| (self.takes(value.weight()), value);
        let mut values = values.into_iter().map(weigh);
        let mut next = values.next();
        while let Some((taken, value)) = next.take() {
            // One at least, for which this waits; then what there is room for.
            if let Err(SendError(())) = self.take(taken, &self.look).await {
                return Err(SendError(value));
            }
            let mut batch = self.producer.batch();
            let mut fits = Some((taken, value));
            while let Some((taken, value)) = fits.take() {
                if let Err(weighed) = batch.push(Weighed { value, taken }) {
                    self.room.give(taken);
                    return Err(SendError(weighed.value));
                }
                let Some((taken, value)) = values.next() else {
                    return Ok(());
                };
                if budget::left() > 0 && self.room.try_take(taken).is_ok() {
                    budget::spend_many(1);
                    fits = Some((taken, value));
                } else {
                    next = Some((taken, value));
                }
            }
        }
        Ok(())
    }

    /// [`send`](Self::send) for a thread without a runtime, which it blocks.
    ///
    /// # Errors
    ///
    /// Gives the value back if the channel is closed, also while this waits.
    ///
    /// # Panics
    ///
    /// May panic inside a future that `futures::executor` runs.
    pub fn blocking_send(&self, value: T) -> Result<(), SendError<T>> {
        crate::sync::block_on(self.send(value))
    }
}

impl<T> Sender<T> {
    /// Waits for room for a message of up to `weight`, and keeps it.
    ///
    /// A weight above the bound takes all of it, and stands for a message of this weight.
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
    /// let (tx, mut rx) = channel::builder().bytes(100).mpsc();
    /// let permit = tx.reserve(80).await?;
    /// assert!(tx.try_send(vec![0; 21]).is_err());
    /// permit.send(vec![0; 10])?;
    /// // What the message did not need is free again.
    /// assert!(tx.try_send(vec![0; 90]).is_ok());
    /// # rx.close();
    /// # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub async fn reserve(&self, weight: usize) -> Result<Permit<'_, T>, SendError<()>> {
        let taken = self.takes(weight);
        self.take(taken, &self.look).await?;
        let permit = Permit {
            sender: self,
            weight,
            taken,
        };
        if self.is_closed() {
            return Err(SendError(()));
        }
        Ok(permit)
    }

    /// Keeps room for a message of up to `weight` if it is there now, and nobody waits.
    ///
    /// # Errors
    ///
    /// Fails if there is too little room, or if the channel is closed.
    pub fn try_reserve(&self, weight: usize) -> Result<Permit<'_, T>, TrySendError<()>> {
        let taken = self.takes(weight);
        match self.room.try_take(taken) {
            Ok(()) => Ok(Permit {
                sender: self,
                weight,
                taken,
            }),
            Err(Refused::Full) => Err(TrySendError::Full(())),
            Err(Refused::Closed) => Err(TrySendError::Closed(())),
        }
    }

    /// Waits until the channel is closed by the receiver.
    ///
    /// # Cancel safety
    ///
    /// Yes.
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

    /// The bound, in units of weight.
    pub fn capacity(&self) -> usize {
        self.room.bound()
    }

    /// How much of the bound is taken, by messages and by what is reserved.
    pub fn weight(&self) -> usize {
        self.room.taken()
    }

    /// The most of the bound that has been taken at once.
    pub fn high_water(&self) -> usize {
        self.room.high_water()
    }

    /// Whether both send to the same receiver.
    pub fn same_channel(&self, other: &Self) -> bool {
        self.producer.same_queue(&other.producer)
    }

    /// A handle that does not keep the channel open.
    pub fn downgrade(&self) -> WeakSender<T> {
        WeakSender {
            producer: self.producer.downgrade(),
            room: self.room.clone(),
            look: self.look.another(),
        }
    }

    /// The room that a message of this weight takes.
    fn takes(&self, weight: usize) -> usize {
        weight.clamp(1, self.room.bound())
    }

    async fn take(&self, taken: usize, look: &SharedLook) -> Result<(), SendError<()>> {
        let mut turn = Turn::new(&self.room, taken);
        poll_fn(|cx| self.poll_take(&mut turn, taken, look, cx)).await
    }

    fn poll_take(
        &self,
        turn: &mut Turn<'_>,
        taken: usize,
        look: &SharedLook,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError<()>>> {
        let is_new = !turn.is_queued();
        if is_new {
            ready!(self.budget.poll_proceed(cx));
            let mut may_look = !self.room.has_line();
            loop {
                match self.room.try_take(taken) {
                    Ok(()) => return Poll::Ready(Ok(())),
                    Err(Refused::Closed) => return Poll::Ready(Err(SendError(()))),
                    Err(Refused::Full) => {}
                }
                // One look, however often others are faster, for it has a bound. And none behind a line.
                let looks = std::mem::take(&mut may_look);
                if !looks || !look.look(|| self.room.is_ready(taken)) {
                    break;
                }
            }
        }
        let taken = turn.poll(cx);
        if is_new && taken.is_pending() {
            budget::give_back();
        }
        taken.map_err(|_| SendError(()))
    }

    fn try_send_weighed(&self, value: T, taken: usize) -> Result<(), TrySendError<T>> {
        match self.room.try_take(taken) {
            Ok(()) => Ok(self.push(value, taken)?),
            Err(Refused::Full) => Err(TrySendError::Full(value)),
            Err(Refused::Closed) => Err(TrySendError::Closed(value)),
        }
    }

    /// To be called with the room for it.
    fn push(&self, value: T, taken: usize) -> Result<(), SendError<T>> {
        self.producer
            .push(Weighed { value, taken })
            .map_err(|weighed| {
                self.room.give(taken);
                SendError(weighed.value)
            })
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self {
            producer: self.producer.clone(),
            room: self.room.clone(),
            look: self.look.another(),
            budget: Budget::new(),
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("len", &self.len())
            .field("weight", &self.weight())
            .field("capacity", &self.capacity())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

/// Room for one message; made by [`Sender::reserve`]. Dropped unused, it gives the room back.
#[must_use = "dropping a permit gives its room back"]
pub struct Permit<'a, T> {
    sender: &'a Sender<T>,
    weight: usize,
    taken: usize,
}

impl<T: Weight> Permit<'_, T> {
    /// Sends `value`, without waiting. What it does not need of the room is given back.
    ///
    /// # Errors
    ///
    /// Gives the value back: `Full` if it is heavier than what was reserved; `Closed` if the channel has
    /// been closed since. (A permit does not hold up the close: a receiver that is told `None` has not to
    /// fear a late message.)
    pub fn send(self, value: T) -> Result<(), TrySendError<T>> {
        let weight = value.weight();
        if weight > self.weight.max(1) {
            return Err(TrySendError::Full(value));
        }
        let taken = self.sender.takes(weight);
        let mut this = self;
        // The rest stays the permit's, and goes with it.
        this.taken -= taken;
        Ok(this.sender.push(value, taken)?)
    }
}

impl<T> Permit<'_, T> {
    /// The heaviest message that this is for, as it was reserved.
    pub fn weight(&self) -> usize {
        self.weight
    }
}

impl<T> Drop for Permit<'_, T> {
    fn drop(&mut self) {
        if self.taken > 0 {
            self.sender.room.give(self.taken);
        }
    }
}

impl<T> fmt::Debug for Permit<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("weight", &self.weight)
            .finish_non_exhaustive()
    }
}

/// A handle that becomes a [`Sender`] again as long as there is one; made by [`Sender::downgrade`].
pub struct WeakSender<T> {
    producer: WeakProducer<Weighed<T>>,
    room: Arc<Room>,
    look: SharedLook,
}

impl<T> WeakSender<T> {
    /// A sender, unless all are gone.
    pub fn upgrade(&self) -> Option<Sender<T>> {
        Some(Sender {
            producer: self.producer.upgrade()?,
            room: self.room.clone(),
            look: self.look.another(),
            budget: Budget::new(),
        })
    }
}

impl<T> Clone for WeakSender<T> {
    fn clone(&self) -> Self {
        Self {
            producer: self.producer.clone(),
            room: self.room.clone(),
            look: self.look.another(),
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
    inbox: Inbox<Weighed<T>>,
    room: Arc<Room>,
}

impl<T> Receiver<T> {
    /// Receives the next message; `None` when the channel is closed and all have been received.
    ///
    /// # Cancel safety
    ///
    /// Dropping a pending `recv` loses nothing: it never holds a message.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// [`recv`](Self::recv) for hand-written futures: `Pending` arranges for a wake-up of the task
    /// that polled last.
    #[inline]
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.inbox.poll(cx).map(|message| {
            let Weighed { value, taken } = message?;
            self.room.give(taken);
            Some(value)
        })
    }

    /// Receives the next message if there is one now.
    ///
    /// # Errors
    ///
    /// `Empty` if there is none at the moment, `Closed` if there will be none any more.
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        let Weighed { value, taken } = self.inbox.consumer.pop()?;
        self.room.give(taken);
        Ok(value)
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
    /// let (tx, mut rx) = channel::builder().bytes(5).mpsc();
    /// let patience = Duration::from_millis(1);
    /// tx.try_send("a")?;
    /// assert_eq!(rx.recv_timeout(patience).await, Ok("a"));
    /// assert_eq!(rx.recv_timeout(patience).await, Err(RecvTimeoutError::Timeout));
    /// drop(tx);
    /// assert_eq!(rx.recv_timeout(patience).await, Err(RecvTimeoutError::Closed));
    /// # Ok::<_, channel::TrySendError<&str>>(()) }).unwrap();
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
    /// at once, so that the neighbours have their turn. Their room is given back as one.
    ///
    /// # Cancel safety
    ///
    /// Dropping it while it is pending loses nothing.
    pub async fn recv_many(&mut self, messages: &mut Vec<T>, max: usize) -> usize {
        poll_fn(|cx| {
            let mut freed = 0;
            let count = self.inbox.poll_many(cx, max, |message| {
                freed += message.taken;
                messages.push(message.value);
            });
            if freed > 0 {
                self.room.give(freed);
            }
            count
        })
        .await
    }

    /// [`recv`](Self::recv) for a thread without a runtime, which it blocks.
    ///
    /// # Panics
    ///
    /// May panic inside a future that `futures::executor` runs.
    pub fn blocking_recv(&mut self) -> Option<T> {
        crate::sync::block_on(self.recv())
    }

    /// Closes the channel: nothing more is sent; what was sent before can still be received.
    pub fn close(&mut self) {
        // The room first: the other drops a waker, which may panic.
        self.room.close();
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

    /// The bound, in units of weight.
    pub fn capacity(&self) -> usize {
        self.room.bound()
    }

    /// How much of the bound is taken, by messages and by what is reserved.
    pub fn weight(&self) -> usize {
        self.room.taken()
    }

    /// The most of the bound that has been taken at once.
    pub fn high_water(&self) -> usize {
        self.room.high_water()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.close();
        // Here and not with the queue: what they weigh is not in the channel any more.
        drop_all(std::iter::from_fn(|| self.try_recv().ok()));
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
            .field("weight", &self.weight())
            .field("capacity", &self.capacity())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
