//! Members that all send to each other: see [`channel::mesh`](super::mesh()).
//!
//! | room | concept |
//! |---|---|
//! | `sender` | a member's lanes to its peers |
//! | `receiver` | its peers' lanes to it, merged |

#[cfg(all(test, landbridge_loom))]
mod loom_mesh;
mod receiver;
mod sender;

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{Stream, stream::FusedStream};

pub use self::{receiver::Receiver, sender::Sender};
use super::{Wait, spsc};
use crate::error::{SendError, TryRecvError, TrySendError};

pub(super) fn channel<T>(
    members: usize,
    capacity: usize,
    send_wait: Wait,
    recv_wait: Wait,
) -> Vec<Member<T>> {
    let mut lanes: Vec<Vec<Option<spsc::Sender<T>>>> =
        (0..members).map(|_| Vec::with_capacity(members)).collect();
    let receivers: Vec<_> = (0..members)
        .map(|to| {
            let mut receiver = Receiver::new(to, members, capacity, recv_wait);
            for (from, lanes) in lanes.iter_mut().enumerate() {
                lanes.push((from != to).then(|| receiver.lane(from, send_wait)));
            }
            receiver
        })
        .collect();
    receivers
        .into_iter()
        .zip(lanes)
        .enumerate()
        .map(|(index, (receiver, lanes))| Member {
            sender: Sender::new(index, lanes),
            receiver,
        })
        .collect()
}

/// One of those that [`channel::mesh`](super::mesh()) connects: a [`Sender`] and a [`Receiver`]; also a
/// [`Stream`] of what it receives.
///
/// Peers are named by their index, which is the member's place in the `Vec` that `mesh` returned.
///
/// A member that waits for room at a peer receives nothing meanwhile. If the peer waits for room at this
/// member too, both wait for ever. So a member that sends because of what it has received should
/// [`split`](Self::split), and go on receiving while it sends, or give up with
/// [`try_send`](Self::try_send).
///
/// Dropping it ends its lanes to its peers, which get what was sent before, and before that those from its
/// peers: a peer that has seen the end of this member's lane gets every value back that it sends here.
///
/// `Send` and `Sync` if `T` is `Send`; always `Unpin`.
///
/// # Examples
///
/// ```
/// # futures::executor::block_on(async {
/// use landbridge::channel;
///
/// let mut members = channel::mesh(3, 8);
/// let [a, b, c] = &mut members[..] else { unreachable!() };
/// a.send(2, "from a").await?;
/// b.send(2, "from b").await?;
/// assert_eq!(c.recv().await, Some((0, "from a")));
/// assert_eq!(c.recv().await, Some((1, "from b")));
///
/// let c = members.pop().unwrap();
/// drop(members);
/// assert_eq!(c.split().1.recv().await, None);
/// # Ok::<_, channel::SendError<&str>>(()) }).unwrap();
/// ```
pub struct Member<T> {
    /// Before the sender, because fields are dropped in their order: who has seen the end of its lane from a
    /// member that was dropped finds the lane to that member closed.
    receiver: Receiver<T>,
    sender: Sender<T>,
}

impl<T> Member<T> {
    /// Which member this is.
    pub fn index(&self) -> usize {
        self.receiver.index()
    }

    /// How many members the mesh was made for, this one included.
    pub fn members(&self) -> usize {
        self.receiver.members()
    }

    /// The indices of all members but this one, also of those that are gone.
    pub fn peers(&self) -> impl Iterator<Item = usize> + use<T> {
        self.sender.peers()
    }

    /// The two halves, for tasks of their own. Each end by itself: dropping the sender tells the peers that
    /// nothing more comes from here, and this member still receives.
    pub fn split(self) -> (Sender<T>, Receiver<T>) {
        (self.sender, self.receiver)
    }

    /// The two halves, for one task that uses both at once, as with `select!`; and for what only they have.
    pub fn halves(&mut self) -> (&mut Sender<T>, &mut Receiver<T>) {
        (&mut self.sender, &mut self.receiver)
    }

    /// [`Sender::send`].
    ///
    /// # Cancel safety
    ///
    /// A pending `send` that is dropped drops its value, unsent.
    ///
    /// # Errors
    ///
    /// Gives the value back if the peer is gone, also while this waits.
    ///
    /// # Panics
    ///
    /// If `to` is this member, or no member.
    pub async fn send(&mut self, to: usize, value: T) -> Result<(), SendError<T>> {
        self.sender.send(to, value).await
    }

    /// [`Sender::try_send`].
    ///
    /// # Errors
    ///
    /// Gives the value back if the lane is full, or the peer gone.
    ///
    /// # Panics
    ///
    /// If `to` is this member, or no member.
    pub fn try_send(&mut self, to: usize, value: T) -> Result<(), TrySendError<T>> {
        self.sender.try_send(to, value)
    }

    /// [`Receiver::recv`].
    ///
    /// # Cancel safety
    ///
    /// Dropping a pending `recv` loses nothing: it never holds a message.
    pub async fn recv(&mut self) -> Option<(usize, T)> {
        self.receiver.recv().await
    }

    /// [`Receiver::try_recv`].
    ///
    /// # Errors
    ///
    /// `Empty` if there is no message at the moment, `Closed` if there will be none any more.
    pub fn try_recv(&mut self) -> Result<(usize, T), TryRecvError> {
        self.receiver.try_recv()
    }

    /// [`Receiver::poll_recv`].
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<(usize, T)>> {
        self.receiver.poll_recv(cx)
    }

    /// [`Receiver::recv_many`].
    ///
    /// # Cancel safety
    ///
    /// Dropping a pending `recv_many` loses nothing: it has then taken nothing.
    pub async fn recv_many(&mut self, buffer: &mut Vec<(usize, T)>, max: usize) -> usize {
        self.receiver.recv_many(buffer, max).await
    }
}

impl<T> Stream for Member<T> {
    type Item = (usize, T);

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<(usize, T)>> {
        self.get_mut().poll_recv(cx)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.receiver.size_hint()
    }
}

/// As its [`Receiver`].
impl<T> FusedStream for Member<T> {
    fn is_terminated(&self) -> bool {
        self.receiver.is_terminated()
    }
}

impl<T> fmt::Debug for Member<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("sender", &self.sender)
            .field("receiver", &self.receiver)
            .finish()
    }
}
