use super::{Wait, Weight, mesh, mpsc, pipe, spsc, unbounded, weighted};

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
    /// Panics if the capacity, rounded up to a power of two, does not fit into the address space, or its memory
    /// cannot be had.
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

    /// A channel with any number of senders, without a bound; see [`channel::unbounded`](super::unbounded()).
    ///
    /// The capacity does not matter, nor what a sender does before it sleeps: it never does.
    pub fn unbounded<T>(self) -> (unbounded::Sender<T>, unbounded::Receiver<T>) {
        unbounded::channel(self.recv_wait)
    }

    /// A channel between each two of `members`; see [`channel::mesh`](super::mesh()). The capacity is that of
    /// each lane.
    ///
    /// # Panics
    ///
    /// Panics if the capacity, rounded up to a power of two, does not fit into the address space, or its memory
    /// cannot be had. The tables for very many members are asked for as a `Vec` asks.
    pub fn mesh<T>(self, members: usize) -> Vec<mesh::Member<T>> {
        mesh::channel(members, self.capacity, self.send_wait, self.recv_wait)
    }

    /// Bounds the channel by what its messages weigh together, not by their number: by their bytes, or
    /// whatever their [`Weight`] counts. 0 is taken as 1; the largest bound is a quarter of the address space.
    ///
    /// [`weighted`] says what fits, and who is first.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use landbridge::channel;
    ///
    /// let (tx, mut rx) = channel::builder().bytes(8 << 20).mpsc::<Vec<u8>>();
    /// tx.send(vec![0; 6 << 20]).await?;
    /// assert!(tx.try_send(vec![0; 3 << 20]).is_err());
    /// assert_eq!(rx.recv().await.map(|message| message.len()), Some(6 << 20));
    /// tx.send(vec![0; 3 << 20]).await?;
    /// # Ok::<_, channel::SendError<Vec<u8>>>(()) }).unwrap();
    /// ```
    pub fn bytes(self, bound: usize) -> WeightBuilder {
        WeightBuilder {
            bound,
            send_wait: self.send_wait,
            recv_wait: self.recv_wait,
        }
    }
}

/// The options of a channel that is bounded by weight; made by [`Builder::bytes`].
#[derive(Clone, Debug)]
#[must_use]
pub struct WeightBuilder {
    bound: usize,
    send_wait: Wait,
    recv_wait: Wait,
}

impl WeightBuilder {
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

    /// A channel with any number of senders and one receiver.
    pub fn mpsc<T: Weight>(self) -> (weighted::Sender<T>, weighted::Receiver<T>) {
        weighted::channel(self.bound, self.send_wait, self.recv_wait)
    }

    /// A stream of bytes from one writer to one reader; see [`channel::pipe`](super::pipe()).
    pub fn pipe(self) -> (pipe::Writer, pipe::Reader) {
        pipe::channel(self.bound, self.send_wait, self.recv_wait)
    }
}
