use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use futures::{Stream, stream::FusedStream};

#[cfg(feature = "pool")]
use crate::error::RecvTimeoutError;
use crate::{
    channel::{
        Look, Wait,
        budget::{self, Budget},
        ring::{Consumer, ring_into},
        sleeper::{Bed, Sleeper},
        spsc,
    },
    error::TryRecvError,
    sync::{Arc, block_on},
    unwind::{drop_all, swallow},
};
#[cfg(feature = "pool")]
use std::time::Duration;

/// A member's receiving half: the lanes of all its peers, merged; also a [`Stream`].
///
/// Peers are served in turn, from behind the one that was served last: of a peer that floods its lane one
/// message is received, and then one of each other that has some. Each peer's messages come in its order.
///
/// Dropping it closes the lanes to this member, and drops what has not been received.
///
/// `Send` and `Sync` if `T` is `Send`; always `Unpin`.
pub struct Receiver<T> {
    index: usize,
    members: usize,
    capacity: usize,
    /// Of the lanes that have ended, and are no longer among `lanes`.
    high_water: usize,
    /// Those that have not ended, in the order of their peers.
    lanes: Vec<Lane<T>>,
    /// Where the next turn begins: an index in `lanes`, or the one after the last.
    next: usize,
    sleeper: Arc<Sleeper>,
    look: Look,
    budget: Budget,
}

struct Lane<T> {
    from: usize,
    consumer: Consumer<T>,
}

impl<T> Receiver<T> {
    pub(super) fn new(index: usize, members: usize, capacity: usize, wait: Wait) -> Self {
        Self {
            index,
            members,
            capacity: capacity.max(1),
            high_water: 0,
            lanes: Vec::with_capacity(members.saturating_sub(1)),
            next: 0,
            sleeper: Arc::new(Sleeper::new()),
            look: Look::new(wait),
            budget: Budget::new(),
        }
    }

    /// Opens the lane of the member `from`.
    pub(super) fn lane(&mut self, from: usize, send_wait: Wait) -> spsc::Sender<T> {
        let bed = Bed::Shared(self.sleeper.clone());
        let (producer, consumer) = ring_into(self.capacity, bed);
        self.lanes.push(Lane { from, consumer });
        spsc::Sender::new(producer, send_wait)
    }

    /// Whose half this is.
    pub fn index(&self) -> usize {
        self.index
    }

    /// How many members the mesh was made for, this one included.
    pub fn members(&self) -> usize {
        self.members
    }

    /// Receives the next message, and who sent it; `None` when all lanes are closed, by their senders' end
    /// or by [`close`](Self::close), and all has been received.
    ///
    /// A peer that is gone is skipped once its lane is empty.
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
    /// let mut members = channel::mesh(3, 8);
    /// let (_, mut rx) = members.pop().unwrap().split();
    /// for n in 1..=3 {
    ///     members[0].send(2, n).await?;
    /// }
    /// members[1].send(2, 4).await?;
    /// drop(members);
    ///
    /// assert_eq!(rx.recv().await, Some((0, 1)));
    /// assert_eq!(rx.recv().await, Some((1, 4)));
    /// assert_eq!(rx.recv().await, Some((0, 2)));
    /// assert_eq!(rx.recv().await, Some((0, 3)));
    /// assert_eq!(rx.recv().await, None);
    /// # Ok::<_, channel::SendError<i32>>(()) }).unwrap();
    /// ```
    pub async fn recv(&mut self) -> Option<(usize, T)> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Receives the next message if there is one now.
    ///
    /// # Errors
    ///
    /// `Empty` if there is none at the moment, `Closed` if there will be none any more.
    pub fn try_recv(&mut self) -> Result<(usize, T), TryRecvError> {
        self.pop()
    }

    /// [`recv`](Self::recv) for hand-written futures: `Pending` arranges for a wake-up of the task that
    /// polled last.
    #[inline]
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<(usize, T)>> {
        self.poll_pop(cx, Self::pop)
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
    /// `Timeout` if no message came in time, `Closed` when all lanes are closed and all has been received.
    ///
    /// # Panics
    ///
    /// If it has to wait outside of both runtimes' contexts, or on a Tokio without `enable_time`.
    #[cfg(feature = "pool")]
    pub async fn recv_timeout(
        &mut self,
        duration: Duration,
    ) -> Result<(usize, T), RecvTimeoutError> {
        crate::channel::timed::recv(self, duration).await
    }

    /// Waits for a message, and receives up to `max` of those that are there, which are appended to
    /// `buffer`. Returns how many; none only when all lanes are closed and all has been received, or if
    /// `max` is 0.
    ///
    /// Where there are more than `max`, each peer has the same share, and what one does not use of it is
    /// the others'. A peer's messages come together. Each sender is told about its room, and woken, once.
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
    /// let mut members = channel::mesh(3, 8);
    /// members[0].halves().0.lane_mut(2).send_all(1..=8).await?;
    /// members[1].send(2, 9).await?;
    ///
    /// let mut batch = Vec::new();
    /// assert_eq!(members[2].recv_many(&mut batch, 4).await, 4);
    /// assert_eq!(batch, [(0, 1), (0, 2), (0, 3), (1, 9)]);
    /// # Ok::<_, channel::SendError<i32>>(()) }).unwrap();
    /// ```
    pub async fn recv_many(&mut self, buffer: &mut Vec<(usize, T)>, max: usize) -> usize {
        poll_fn(|cx| self.poll_recv_many(cx, buffer, max)).await
    }

    /// [`recv_many`](Self::recv_many) for hand-written futures: `Pending` arranges for a wake-up of the
    /// task that polled last.
    pub fn poll_recv_many(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Vec<(usize, T)>,
        max: usize,
    ) -> Poll<usize> {
        if max == 0 {
            return Poll::Ready(0);
        }
        let popped = self.poll_pop(cx, |this| this.pop_many(buffer, max));
        popped.map(|count| {
            let count = count.unwrap_or(0);
            budget::spend_many(count.saturating_sub(1));
            count
        })
    }

    /// [`recv`](Self::recv), blocking the thread until there is a message. For threads that run no runtime;
    /// see [`blocking_send`](spsc::Sender::blocking_send).
    ///
    /// # Panics
    ///
    /// If it is called from within `futures::executor::block_on`.
    pub fn blocking_recv(&mut self) -> Option<(usize, T)> {
        block_on(self.recv())
    }

    /// Closes all lanes to this member: nothing more is sent; what was sent before can still be received.
    pub fn close(&mut self) {
        for lane in &mut self.lanes {
            lane.consumer.close();
        }
    }

    /// Whether all lanes are closed. There may still be messages to receive.
    pub fn is_closed(&self) -> bool {
        self.lanes.iter().all(|lane| lane.consumer.is_closed())
    }

    /// How many messages can be received without waiting. With senders at work, it may be more by now.
    pub fn len(&self) -> usize {
        self.lanes
            .iter()
            .fold(0, |len, lane| len.saturating_add(lane.consumer.len()))
    }

    /// Whether no message can be received without waiting.
    pub fn is_empty(&self) -> bool {
        self.lanes.iter().all(|lane| lane.consumer.len() == 0)
    }

    /// How many messages each lane holds.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The most messages that have been in one lane at once.
    pub fn high_water(&self) -> usize {
        let marks = self.lanes.iter().map(|lane| lane.consumer.high_water());
        marks.fold(self.high_water, usize::max)
    }

    fn poll_pop<R>(
        &mut self,
        cx: &mut Context<'_>,
        mut pop: impl FnMut(&mut Self) -> Result<R, TryRecvError>,
    ) -> Poll<Option<R>> {
        ready!(self.budget.poll_proceed(cx));
        let mut may_look = true;
        loop {
            match pop(self) {
                Ok(popped) => return Poll::Ready(Some(popped)),
                Err(TryRecvError::Closed) => return Poll::Ready(None),
                Err(TryRecvError::Empty) => {}
            }
            // One look, though what it finds may be the end of a lane, for it has a bound.
            let Self { look, lanes, .. } = self;
            let found = std::mem::take(&mut may_look)
                && look.look(|| lanes.iter().any(|lane| lane.consumer.is_ready()));
            if !found && self.park(cx.waker()) {
                budget::give_back();
                return Poll::Pending;
            }
        }
    }

    /// One message, of the first lane that has one, from `next` on.
    #[inline]
    fn pop(&mut self) -> Result<(usize, T), TryRecvError> {
        let mut at = self.next;
        for _ in 0..self.lanes.len() {
            if at >= self.lanes.len() {
                at = 0;
            }
            match self.lanes[at].consumer.pop() {
                Ok(value) => {
                    self.next = at + 1;
                    return Ok((self.lanes[at].from, value));
                }
                Err(TryRecvError::Empty) => at += 1,
                Err(TryRecvError::Closed) => self.end_lane(at),
            }
        }
        Err(self.nothing())
    }

    fn pop_many(
        &mut self,
        buffer: &mut Vec<(usize, T)>,
        max: usize,
    ) -> Result<usize, TryRecvError> {
        let mut seen = 0_usize;
        let mut at = 0;
        while let Some(lane) = self.lanes.get_mut(at) {
            match lane.consumer.available(max) {
                Ok(count) => {
                    seen = seen.saturating_add(count);
                    at += 1;
                }
                Err(TryRecvError::Empty) => at += 1,
                Err(TryRecvError::Closed) => self.end_lane(at),
            }
        }
        if seen == 0 {
            return Err(self.nothing());
        }
        let count = max.min(seen);
        // May panic; nothing has been taken yet.
        buffer.reserve(count);
        let share = self.share(count);
        // From so many lanes, the first in turn, one message more is taken.
        let mut more = count - self.shares(share);
        let first = self.next;
        for turn in 0..self.lanes.len() {
            let at = (first + turn) % self.lanes.len();
            let Lane { from, consumer } = &mut self.lanes[at];
            let mut popped = consumer.seen().min(share);
            if more > 0 && consumer.seen() > share {
                popped += 1;
                more -= 1;
                self.next = at + 1;
            }
            if popped > 0 {
                consumer.pop_into(buffer, popped, |value| (*from, value));
            }
        }
        Ok(count)
    }

    /// The largest share for each lane with which no more than `count` messages are taken.
    fn share(&self, count: usize) -> usize {
        let (mut fits, mut largest) = (0, count);
        while fits < largest {
            let share = largest - (largest - fits) / 2;
            if self.shares(share) <= count {
                fits = share;
            } else {
                largest = share - 1;
            }
        }
        fits
    }

    /// How many messages are taken with this share for each lane.
    fn shares(&self, share: usize) -> usize {
        let of = |lane: &Lane<T>| lane.consumer.seen().min(share);
        self.lanes
            .iter()
            .fold(0, |sum, lane| sum.saturating_add(of(lane)))
    }

    /// A lane has been emptied, and nothing more comes from it: it costs no further looks, and no memory.
    #[cold]
    fn end_lane(&mut self, at: usize) {
        let lane = self.lanes.remove(at);
        self.high_water = self.high_water.max(lane.consumer.high_water());
        if at < self.next {
            self.next -= 1;
        }
    }

    fn nothing(&self) -> TryRecvError {
        if self.lanes.is_empty() {
            TryRecvError::Closed
        } else {
            TryRecvError::Empty
        }
    }

    /// Arranges for a wake-up once there is a message, or a lane is closed. False: there may be already. To
    /// be called when all lanes were empty.
    fn park(&mut self, waker: &Waker) -> bool {
        // First the waker, then the flags: whoever takes one finds it, or a later one.
        self.sleeper.register(waker);
        self.lanes
            .iter_mut()
            .all(|lane| lane.consumer.park_registered())
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        // No peer waits while another's messages are dropped.
        self.close();
        swallow(|| self.sleeper.forget());
        drop_all(self.lanes.drain(..));
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
    type Item = (usize, T);

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<(usize, T)>> {
        self.poll_recv(cx)
    }

    fn try_recv(&mut self) -> Result<(usize, T), TryRecvError> {
        self.try_recv()
    }

    fn budget(&self) -> &Budget {
        &self.budget
    }
}

impl<T> Stream for Receiver<T> {
    type Item = (usize, T);

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<(usize, T)>> {
        self.get_mut().poll_recv(cx)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // In this order: from then on the length only falls.
        let sealed = self.lanes.iter().all(|lane| lane.consumer.is_sealed());
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
            .field("index", &self.index)
            .field("len", &self.len())
            .field("capacity", &self.capacity)
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
