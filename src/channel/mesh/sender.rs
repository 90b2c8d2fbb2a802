use std::{fmt, mem};

use crate::{
    channel::spsc,
    error::{SendError, TrySendError},
    unwind::drop_all,
};

/// A member's sending half: a lane to each of its peers.
///
/// A lane is an [`spsc::Sender`], with all that it can do: [`lane`](Self::lane) to ask it,
/// [`lane_mut`](Self::lane_mut) to send in another way than here, [`into_lanes`](Self::into_lanes) to
/// send to several peers at once, from a task each.
///
/// Dropping it ends all lanes; each peer gets what was sent, and then has one lane fewer.
///
/// `Send` and `Sync` if `T` is `Send`.
pub struct Sender<T> {
    index: usize,
    /// One for each member, but none to itself.
    lanes: Vec<Option<spsc::Sender<T>>>,
}

impl<T> Sender<T> {
    pub(super) fn new(index: usize, lanes: Vec<Option<spsc::Sender<T>>>) -> Self {
        Self { index, lanes }
    }

    /// Whose half this is.
    pub fn index(&self) -> usize {
        self.index
    }

    /// How many members the mesh was made for, this one included.
    pub fn members(&self) -> usize {
        self.lanes.len()
    }

    /// The indices of all members but this one, also of those that are gone.
    pub fn peers(&self) -> impl Iterator<Item = usize> + use<T> {
        let index = self.index;
        (0..self.members()).filter(move |peer| *peer != index)
    }

    /// Sends `value` to the member `to`, once there is room for it in the lane.
    ///
    /// # Cancel safety
    ///
    /// A pending `send` that is dropped drops its value, unsent. Where the value must not be lost, use
    /// `lane_mut(to).reserve()`, and send through the permit.
    ///
    /// # Errors
    ///
    /// Gives the value back if the peer is gone or has closed its receiver, also while this waits.
    ///
    /// # Panics
    ///
    /// If `to` is this member, or no member.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use landbridge::channel::{self, SendError};
    ///
    /// let mut members = channel::mesh(2, 8).into_iter();
    /// let (mut tx, _) = members.next().unwrap().split();
    /// let mut peer = members.next().unwrap();
    /// assert_eq!(tx.send(1, "hello").await, Ok(()));
    /// assert_eq!(peer.recv().await, Some((0, "hello")));
    ///
    /// drop(peer);
    /// assert_eq!(tx.send(1, "nobody").await, Err(SendError("nobody")));
    /// # });
    /// ```
    pub async fn send(&mut self, to: usize, value: T) -> Result<(), SendError<T>> {
        self.lane_mut(to).send(value).await
    }

    /// Sends `value` to the member `to` if there is room for it in the lane now.
    ///
    /// # Errors
    ///
    /// Gives the value back if the lane is full, or the peer is gone or has closed its receiver.
    ///
    /// # Panics
    ///
    /// If `to` is this member, or no member.
    pub fn try_send(&mut self, to: usize, value: T) -> Result<(), TrySendError<T>> {
        self.lane_mut(to).try_send(value)
    }

    /// The lane to the member `to`: how full it is, whether the peer is gone.
    ///
    /// # Panics
    ///
    /// If `to` is this member, or no member.
    #[track_caller]
    pub fn lane(&self, to: usize) -> &spsc::Sender<T> {
        match self.lanes.get(to) {
            Some(Some(lane)) => lane,
            _ => no_lane(self.index, to, self.members()),
        }
    }

    /// The lane to the member `to`, for `send_all`, `reserve`, `send_timeout`, `blocking_send`, `closed` and
    /// the rest.
    ///
    /// # Panics
    ///
    /// If `to` is this member, or no member.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use landbridge::channel;
    ///
    /// let mut members = channel::mesh(2, 8);
    /// let (tx, _) = members[0].halves();
    /// tx.lane_mut(1).send_all(1..=5).await?;
    /// assert_eq!(tx.lane(1).len(), 5);
    /// assert_eq!(members[1].try_recv(), Ok((0, 1)));
    /// # Ok::<_, channel::SendError<i32>>(()) }).unwrap();
    /// ```
    #[track_caller]
    pub fn lane_mut(&mut self, to: usize) -> &mut spsc::Sender<T> {
        let members = self.members();
        match self.lanes.get_mut(to) {
            Some(Some(lane)) => lane,
            _ => no_lane(self.index, to, members),
        }
    }

    /// Takes the lanes apart: each peer's index, and the lane to it.
    pub fn into_lanes(mut self) -> Vec<(usize, spsc::Sender<T>)> {
        mem::take(&mut self.lanes)
            .into_iter()
            .enumerate()
            .filter_map(|(to, lane)| Some((to, lane?)))
            .collect()
    }
}

#[cold]
#[track_caller]
fn no_lane(from: usize, to: usize, members: usize) -> ! {
    if from == to {
        panic!("member {from} of a mesh has no lane to itself");
    }
    panic!("a mesh of {members} has no member {to}");
}

impl<T> Drop for Sender<T> {
    /// Every lane ends, whatever a waker's destructor does.
    fn drop(&mut self) {
        drop_all(self.lanes.drain(..));
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("index", &self.index)
            .field("members", &self.members())
            .finish_non_exhaustive()
    }
}
