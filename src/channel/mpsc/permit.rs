use std::fmt;

use super::Sender;
use crate::error::SendError;

/// Room for one message; made by [`Sender::reserve`] and [`Sender::try_reserve`]. Dropped unused, it
/// gives the room back.
#[must_use = "dropping a permit gives its room back"]
pub struct Permit<'a, T> {
    /// `None` once the room is spent.
    sender: Option<&'a Sender<T>>,
}

impl<'a, T> Permit<'a, T> {
    /// Takes over a unit of the channel's room.
    pub(super) fn new(sender: &'a Sender<T>) -> Self {
        Self {
            sender: Some(sender),
        }
    }

    /// Sends `value`, without waiting.
    ///
    /// # Errors
    ///
    /// Gives the value back if the channel has been closed since the room was reserved. (A permit does
    /// not hold up the close: a receiver that is told `None` has not to fear a late message.)
    pub fn send(mut self, value: T) -> Result<(), SendError<T>> {
        match self.sender.take() {
            Some(sender) => spend(sender, value),
            None => unreachable!("it is taken only by what takes the permit"),
        }
    }
}

impl<T> Permit<'_, T> {
    /// [`send`](Self::send), but the caller wakes the receiver, if this says so.
    pub(super) fn fill(mut self, value: T) -> Result<bool, SendError<T>> {
        match self.sender.take() {
            Some(sender) => match sender.producer.claim_reserved() {
                Ok(claim) => claim.fill(value).map_err(SendError),
                Err(_) => Err(SendError(value)),
            },
            None => unreachable!("it is taken only by what takes the permit"),
        }
    }
}

impl<T> Drop for Permit<'_, T> {
    fn drop(&mut self) {
        if let Some(sender) = self.sender {
            sender.producer.room().give(1);
        }
    }
}

impl<T> fmt::Debug for Permit<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}

/// Room for one message, with its sender; made by [`Sender::reserve_owned`]. Dropped unused, it gives the
/// room back.
///
/// It keeps the channel open, as its sender did.
#[must_use = "dropping a permit gives its room back"]
pub struct OwnedPermit<T> {
    /// `None` once the room is spent.
    sender: Option<Sender<T>>,
}

impl<T> OwnedPermit<T> {
    /// Takes over a unit of the channel's room.
    pub(super) fn new(sender: Sender<T>) -> Self {
        Self {
            sender: Some(sender),
        }
    }

    /// Sends `value`, without waiting, and gives the sender back.
    ///
    /// # Errors
    ///
    /// Gives the value back if the channel has been closed since the room was reserved. The sender is of
    /// no more use then.
    pub fn send(mut self, value: T) -> Result<Sender<T>, SendError<T>> {
        let sender = self.take();
        spend(&sender, value)?;
        Ok(sender)
    }

    /// Gives the room back, and the sender.
    pub fn release(mut self) -> Sender<T> {
        let sender = self.take();
        sender.producer.room().give(1);
        sender
    }

    fn take(&mut self) -> Sender<T> {
        match self.sender.take() {
            Some(sender) => sender,
            None => unreachable!("it is taken only by what takes the permit"),
        }
    }
}

impl<T> Drop for OwnedPermit<T> {
    fn drop(&mut self) {
        if let Some(sender) = &self.sender {
            sender.producer.room().give(1);
        }
    }
}

impl<T> fmt::Debug for OwnedPermit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedPermit").finish_non_exhaustive()
    }
}

pub(super) fn spend<T>(sender: &Sender<T>, value: T) -> Result<(), SendError<T>> {
    match sender.producer.claim_reserved() {
        Ok(claim) => sender.fill(claim, value),
        Err(_) => Err(SendError(value)),
    }
}
