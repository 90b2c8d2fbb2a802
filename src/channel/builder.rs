use super::{Wait, mpsc, spsc};

/// A channel's options; made by [`channel::builder`](super::builder()).
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    capacity: usize,
    send_wait: Wait,
    recv_wait: Wait,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            capacity: 1024,
            send_wait: Wait::default(),
            recv_wait: Wait::default(),
        }
    }

    /// How many messages the channel holds; 0 is taken as 1. Default: 1024.
    pub fn capacity(mut self, messages: usize) -> Self {
        self.capacity = messages;
        self
    }

    /// What either end does before it sleeps. Default: [`Wait::Adaptive`].
    pub fn wait(self, wait: Wait) -> Self {
        self.send_wait(wait).recv_wait(wait)
    }

    /// What a sender does before it sleeps, where it differs.
    pub fn send_wait(mut self, wait: Wait) -> Self {
        self.send_wait = wait;
        self
    }

    /// What the receiver does before it sleeps, where it differs.
    pub fn recv_wait(mut self, wait: Wait) -> Self {
        self.recv_wait = wait;
        self
    }

    /// A channel with one sender and one receiver; see [`channel::spsc`](super::spsc()).
    ///
    /// # Panics
    ///
    /// Panics if the capacity, rounded up to a power of two, does not fit into the address space.
    pub fn spsc<T>(self) -> (spsc::Sender<T>, spsc::Receiver<T>) {
        spsc::channel(self.capacity, self.send_wait, self.recv_wait)
    }

    /// A channel with many senders and one receiver; see [`channel::mpsc`](super::mpsc()).
    ///
    /// # Panics
    ///
    /// Panics if the capacity is more than 2^29, or its memory cannot be had.
    pub fn mpsc<T>(self) -> (mpsc::Sender<T>, mpsc::Receiver<T>) {
        mpsc::channel(self.capacity, self.send_wait, self.recv_wait)
    }
}
