use std::{
    fmt,
    future::poll_fn,
    task::{Context, Poll, ready},
};

use super::{
    OwnedPermit, Permit, SendSink,
    ring::{Claim, Producer, WeakProducer},
    room::{Closed, Place, Refused, Turn, Turned, Watch},
};
use crate::{
    channel::{
        budget::{self, Budget},
        wait::SharedLook,
    },
    error::{SendError, TrySendError},
};

/// The sending end; clones send into the same channel.
///
/// The channel is closed when its last sender is dropped; the receiver gets what was sent, then `None`.
///
/// Senders that wait for room get it in the order in which they came. (One that
/// [looks](crate::channel::Wait) before it sleeps is not in the line yet.)
///
/// `Send` and `Sync` if `T` is `Send`.
pub struct Sender<T> {
    pub(super) producer: Producer<T>,
    pub(super) look: SharedLook,
    pub(super) budget: Budget,
}

impl<T> Sender<T> {
    /// Sends `value`, once there is room for it.
    ///
    /// # Cancel safety
    ///
    /// A pending `send` that is dropped drops its value, unsent, and loses its place in the line. Where
    /// the value must not be lost, use [`reserve`](Self::reserve), and send through the permit.
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
    /// let (tx, mut rx) = channel::mpsc(2);
    /// assert_eq!(tx.send(1).await, Ok(()));
    /// rx.close();
    /// assert_eq!(tx.send(2).await, Err(SendError(2)));
    /// # });
    /// ```
    pub async fn send(&self, value: T) -> Result<(), SendError<T>> {
        let mut turn = Turn::new(self.producer.room());
        match poll_fn(|cx| self.poll_claim(turn.place(), cx)).await {
            Ok(claim) => self.fill(claim, value),
            Err(Closed) => Err(SendError(value)),
        }
    }

    /// Sends `value` if there is room for it now, and nobody waits for that.
    ///
    /// # Errors
    ///
    /// Gives the value back if the channel is full or closed. It may be found full for a moment while
    /// another thread is about to take over the room that the receiver has made.
    ///
    /// # Examples
    ///
    /// ```
    /// use landbridge::channel::{self, TrySendError};
    ///
    /// let (tx, rx) = channel::mpsc(1);
    /// assert_eq!(tx.try_send("a"), Ok(()));
    /// assert_eq!(tx.try_send("b"), Err(TrySendError::Full("b")));
    /// drop(rx);
    /// assert_eq!(tx.try_send("c"), Err(TrySendError::Closed("c")));
    /// ```
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        match self.producer.claim() {
            Ok(claim) => Ok(self.fill(claim, value)?),
            Err(Refused::Full) => Err(TrySendError::Full(value)),
            Err(Refused::Closed) => Err(TrySendError::Closed(value)),
        }
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
    /// let (tx, _rx) = channel::mpsc(1);
    /// let patience = Duration::from_millis(1);
    /// assert_eq!(tx.send_timeout("a", patience).await, Ok(()));
    /// assert_eq!(tx.send_timeout("b", patience).await, Err(SendTimeoutError::Timeout("b")));
    /// # });
    /// ```
    #[cfg(feature = "pool")]
    pub async fn send_timeout(
        &self,
        value: T,
        duration: std::time::Duration,
    ) -> Result<(), crate::error::SendTimeoutError<T>> {
        use crate::{
            channel::timed::{Over, within},
            error::SendTimeoutError,
        };

        // Not within the time: where that is over at once, the neighbours would never have their turn.
        poll_fn(|cx| self.budget.poll_turn(cx)).await;
        let bound = self.look.bound_by(duration);
        let room = self.room(bound.as_ref().unwrap_or(&self.look));
        match within(duration, room).await {
            Ok(Ok(())) => Permit::new(self)
                .send(value)
                .map_err(|SendError(value)| SendTimeoutError::Closed(value)),
            Ok(Err(SendError(()))) => Err(SendTimeoutError::Closed(value)),
            Err(Over) => self.try_send(value).map_err(TrySendError::after_waiting),
        }
    }

    /// Sends every value of `values`, each once there is room for it.
    ///
    /// A receiver that sleeps is woken once for as many of them as there is room for, or when as many as
    /// one task may send in a row are in the channel; not once for each. While the channel is full this
    /// waits for room before it asks for the next value, also where there is none, unless the iterator's
    /// `size_hint` says so.
    ///
    /// # Cancel safety
    ///
    /// A pending `send_all` that is dropped has sent all that it took from the iterator; the rest is
    /// dropped with the iterator, or is still there if that was passed by `&mut`.
    ///
    /// # Errors
    ///
    /// Gives the value that was refused back if the channel is closed; what came before has been sent, the
    /// rest is as above. No error if there was nothing left to send.
    ///
    /// # Panics
    ///
    /// If the iterator panics. What it gave before that is sent.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use landbridge::channel;
    ///
    /// let (tx, mut rx) = channel::mpsc(4);
    /// tx.send_all(["one", "two"]).await?;
    /// assert_eq!(rx.recv().await, Some("one"));
    /// assert_eq!(rx.recv().await, Some("two"));
    /// # Ok::<_, channel::SendError<&str>>(()) }).unwrap();
    /// ```
    pub async fn send_all(&self, values: impl IntoIterator<Item = T>) -> Result<(), SendError<T>> {
        let mut batch = Batch {
            sender: self,
            parked: false,
        };
        let mut values = values.into_iter();
        // From here on the answers are this task's.
        poll_fn(|cx| self.budget.poll_turn(cx)).await;
        while values.size_hint().1 != Some(0) {
            let permit = match self.reserve_now() {
                Some(permit) => permit,
                None => {
                    // Whoever is to make room must be awake.
                    batch.wake();
                    match self.reserve().await {
                        Ok(permit) => permit,
                        Err(SendError(())) => {
                            return values.next().map_or(Ok(()), |value| Err(SendError(value)));
                        }
                    }
                }
            };
            let Some(value) = values.next() else {
                break;
            };
            batch.parked |= permit.fill(value)?;
        }
        Ok(())
    }

    /// [`send`](Self::send) for a thread without a runtime, which is blocked meanwhile.
    ///
    /// # Errors
    ///
    /// Gives the value back if the channel is closed, also while this waits.
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
    /// let sender = std::thread::spawn(move || (0..3).try_for_each(|i| tx.blocking_send(i)));
    /// assert_eq!(rx.blocking_recv(), Some(0));
    /// assert_eq!(rx.blocking_recv(), Some(1));
    /// assert_eq!(rx.blocking_recv(), Some(2));
    /// assert_eq!(rx.blocking_recv(), None);
    /// assert!(sender.join().unwrap().is_ok());
    /// ```
    pub fn blocking_send(&self, value: T) -> Result<(), SendError<T>> {
        crate::sync::block_on(self.send(value))
    }

    /// Waits for room for one message, and keeps it.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost but the place in the line: the value is handed over only to the [`Permit`], which
    /// does not wait. A permit that is dropped gives its room back.
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
    /// let (tx, mut rx) = channel::mpsc(1);
    /// tx.reserve().await?.send("there is room")?;
    /// assert_eq!(rx.recv().await, Some("there is room"));
    ///
    /// drop(tx.reserve().await?);
    /// assert_eq!(tx.try_send("still"), Ok(()));
    /// # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub async fn reserve(&self) -> Result<Permit<'_, T>, SendError<()>> {
        self.room(&self.look).await?;
        Ok(Permit::new(self))
    }

    /// Keeps room for one message if there is some now, and nobody waits for that.
    ///
    /// # Errors
    ///
    /// Fails if the channel is full or closed, as [`try_send`](Self::try_send) does.
    ///
    /// # Examples
    ///
    /// ```
    /// use landbridge::channel::{self, TrySendError};
    ///
    /// let (tx, _rx) = channel::mpsc(1);
    /// let permit = tx.try_reserve()?;
    /// assert_eq!(tx.try_send("other"), Err(TrySendError::Full("other")));
    /// permit.send("first").unwrap();
    /// # Ok::<_, TrySendError<()>>(())
    /// ```
    pub fn try_reserve(&self) -> Result<Permit<'_, T>, TrySendError<()>> {
        match self.producer.room().reserve() {
            Ok(()) => Ok(Permit::new(self)),
            Err(Refused::Full) => Err(TrySendError::Full(())),
            Err(Refused::Closed) => Err(TrySendError::Closed(())),
        }
    }

    /// [`reserve`](Self::reserve) for a permit that has the sender in it, so that it may be kept in a
    /// structure or sent to another task.
    ///
    /// # Cancel safety
    ///
    /// As `reserve`; the sender is dropped with the pending future. Clone it first.
    ///
    /// # Errors
    ///
    /// Fails if the channel is closed, also while this waits. The sender is of no more use then.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use landbridge::channel;
    ///
    /// let (tx, mut rx) = channel::mpsc(1);
    /// let permit = tx.clone().reserve_owned().await?;
    /// std::thread::spawn(move || permit.send("from afar")).join().unwrap()?;
    /// assert_eq!(rx.recv().await, Some("from afar"));
    /// # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub async fn reserve_owned(self) -> Result<OwnedPermit<T>, SendError<()>> {
        self.room(&self.look).await?;
        Ok(OwnedPermit::new(self))
    }

    /// A [`Sink`](futures::Sink) over this sender.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use futures::{StreamExt, stream};
    /// use landbridge::channel;
    ///
    /// let (tx, rx) = channel::mpsc(8);
    /// stream::iter(1..4).map(Ok).forward(tx.into_sink()).await?;
    /// assert_eq!(rx.collect::<Vec<_>>().await, [1, 2, 3]);
    /// # Ok::<_, channel::SendError<()>>(()) }).unwrap();
    /// ```
    pub fn into_sink(self) -> SendSink<T> {
        SendSink::new(self)
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
    /// let (tx, rx) = channel::mpsc::<u32>(1);
    /// drop(rx);
    /// tx.closed().await;
    /// assert!(tx.is_closed());
    /// # });
    /// ```
    pub async fn closed(&self) {
        let mut watch = Watch::new(self.producer.room());
        poll_fn(|cx| watch.poll(cx)).await;
    }

    /// Whether the receiver has closed the channel or is gone.
    pub fn is_closed(&self) -> bool {
        self.producer.room().is_closed()
    }

    /// How many messages are in the channel, with those that other threads are just putting in. With the
    /// other ends at work, the number may be another one by now.
    pub fn len(&self) -> usize {
        self.producer.room().len() as usize
    }

    /// Whether no message is in the channel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many messages the channel holds.
    pub fn capacity(&self) -> usize {
        self.producer.room().capacity() as usize
    }

    /// The most messages that have been in the channel at once.
    pub fn high_water(&self) -> usize {
        self.producer.room().high_water() as usize
    }

    /// Whether both send into the same channel.
    ///
    /// # Examples
    ///
    /// ```
    /// use landbridge::channel;
    ///
    /// let (tx, _rx) = channel::mpsc::<u32>(1);
    /// let (other, _other) = channel::mpsc::<u32>(1);
    /// assert!(tx.same_channel(&tx.clone()));
    /// assert!(!tx.same_channel(&other));
    /// ```
    pub fn same_channel(&self, other: &Self) -> bool {
        self.producer.is_same(&other.producer)
    }

    /// A handle that does not keep the channel open.
    ///
    /// # Examples
    ///
    /// ```
    /// use landbridge::channel;
    ///
    /// let (tx, rx) = channel::mpsc::<u32>(1);
    /// let weak = tx.downgrade();
    /// assert!(weak.upgrade().is_some());
    /// drop(tx);
    /// assert!(rx.is_closed());
    /// assert!(weak.upgrade().is_none());
    /// ```
    pub fn downgrade(&self) -> WeakSender<T> {
        WeakSender {
            producer: self.producer.downgrade(),
            look: self.look.another(),
        }
    }

    /// Room for one message, if there is some at once and it is not the neighbours' turn.
    #[inline]
    fn reserve_now(&self) -> Option<Permit<'_, T>> {
        if budget::left() == 0 {
            return None;
        }
        self.producer.room().reserve().ok()?;
        budget::spend_many(1);
        Some(Permit::new(self))
    }

    #[inline]
    fn poll_claim<'a>(
        &'a self,
        place: &mut Place,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Claim<'a, T>, Closed>> {
        let (free, called) = (|| self.producer.claim(), || self.producer.claim_reserved());
        self.poll_room(place, &self.look, cx, free, called)
    }

    /// Room that is the caller's when this says `Ok`.
    async fn room(&self, look: &SharedLook) -> Result<(), SendError<()>> {
        let mut turn = Turn::new(self.producer.room());
        poll_fn(|cx| self.poll_reserve(turn.place(), look, cx)).await
    }

    pub(super) fn poll_reserve(
        &self,
        place: &mut Place,
        look: &SharedLook,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError<()>>> {
        let room = self.producer.room();
        let free = || room.reserve();
        let called = || {
            if room.is_closed() {
                Err(Closed)
            } else {
                Ok(())
            }
        };
        self.poll_room(place, look, cx, free, called)
            .map_err(|Closed| SendError(()))
    }

    /// What `free` gives if there is room; else, once it is the turn of this one, what `called` makes of
    /// its unit of room.
    #[inline]
    fn poll_room<R>(
        &self,
        place: &mut Place,
        look: &SharedLook,
        cx: &mut Context<'_>,
        free: impl Fn() -> Result<R, Refused>,
        called: impl FnOnce() -> Result<R, Closed>,
    ) -> Poll<Result<R, Closed>> {
        let is_new = place.is_none();
        if is_new {
            ready!(self.budget.poll_proceed(cx));
            match free() {
                Ok(room) => return Poll::Ready(Ok(room)),
                Err(Refused::Closed) => return Poll::Ready(Err(Closed)),
                Err(Refused::Full) => {}
            }
        }
        let polled = self.poll_turn(place, look, cx, free, called);
        if is_new && polled.is_pending() {
            budget::give_back();
        }
        polled
    }

    fn poll_turn<R>(
        &self,
        place: &mut Place,
        look: &SharedLook,
        cx: &mut Context<'_>,
        free: impl Fn() -> Result<R, Refused>,
        called: impl FnOnce() -> Result<R, Closed>,
    ) -> Poll<Result<R, Closed>> {
        let room = self.producer.room();
        // One look, however often others are faster, for it has a bound. And none behind a line.
        let mut may_look = place.is_none() && !room.has_line();
        loop {
            let found = std::mem::take(&mut may_look) && look.look(|| room.has_changed());
            if !found {
                match room.poll_turn(place, cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Turned::Called) => return Poll::Ready(called()),
                    Poll::Ready(Turned::TryAgain) => {}
                }
            }
            match free() {
                Ok(room) => return Poll::Ready(Ok(room)),
                Err(Refused::Closed) => return Poll::Ready(Err(Closed)),
                Err(Refused::Full) => {}
            }
        }
    }

    #[inline]
    pub(super) fn fill(&self, claim: Claim<'_, T>, value: T) -> Result<(), SendError<T>> {
        if claim.fill(value).map_err(SendError)? {
            self.wake_receiver();
        }
        Ok(())
    }

    #[cold]
    fn wake_receiver(&self) {
        self.producer.room().sleeper().wake();
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self {
            producer: self.producer.clone(),
            look: self.look.another(),
            budget: Budget::new(),
        }
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

/// Messages of which the receiver has not been told yet. It is, also when an iterator panics.
struct Batch<'a, T> {
    sender: &'a Sender<T>,
    parked: bool,
}

impl<T> Batch<'_, T> {
    fn wake(&mut self) {
        if std::mem::take(&mut self.parked) {
            self.sender.wake_receiver();
        }
    }
}

impl<T> Drop for Batch<'_, T> {
    fn drop(&mut self) {
        self.wake();
    }
}

/// A handle that does not keep the channel open; made by [`Sender::downgrade`].
pub struct WeakSender<T> {
    producer: WeakProducer<T>,
    look: SharedLook,
}

impl<T> WeakSender<T> {
    /// A sender, unless the last one is gone. (There may be senders of a channel that the receiver has
    /// closed.)
    pub fn upgrade(&self) -> Option<Sender<T>> {
        Some(Sender {
            producer: self.producer.upgrade()?,
            look: self.look.another(),
            budget: Budget::new(),
        })
    }
}

impl<T> Clone for WeakSender<T> {
    fn clone(&self) -> Self {
        Self {
            producer: self.producer.clone(),
            look: self.look.another(),
        }
    }
}

impl<T> fmt::Debug for WeakSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakSender").finish_non_exhaustive()
    }
}
