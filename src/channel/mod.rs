//! Channels between the two sides, and the wait policy that every crossing shares.
//!
//! The guide: [channels](crate::guide::channels).
//!
//! # When to use this
//!
//! When a stream of messages crosses from one runtime to the other (or between any two threads or
//! tasks: nothing here depends on a runtime). For one question and one answer, run the question on
//! the other side instead. A channel of another crate is right just as well where messages are rare:
//! when both ends sleep between messages, two kernel wake-ups are all that is to be measured, and
//! every channel ties. This one differs when there is traffic:
//!
//! - its ends look again for a moment before they go to sleep, as long as that pays ([`Wait`]), so
//!   that two busy threads hand messages over without a system call;
//! - a wake-up is sent only to an end that sleeps: one per batch, not one per message;
//! - its protocol is model-checked under every interleaving, on the real code.
//!
//! | channel | ends | bounded by |
//! |---|---|---|
//! | [`spsc()`] | one sender, one receiver | number of messages |
//! | [`mpsc()`] | senders that can be cloned, one receiver | number of messages |
//! | [`unbounded()`] | any number of senders, one receiver | nothing: a send never waits |
//! | [`builder()`]`.bytes(..).mpsc()` | any number of senders, one receiver | what the messages weigh ([`weighted`]) |
//! | [`pipe()`] | one writer, one reader, of bytes | number of bytes |
//! | [`mesh()`] | a number of members, each with a sender to every other and one receiver for all | number of messages between each two |
//! | [`oneshot`] | one sender, one receiver | one message |
//! | [`watch`] | many senders, many receivers, each of which sees the latest | one message |
//! | [`broadcast`] | many senders, many receivers, each of which sees all | number of messages; who is slow misses the oldest |
//!
//! `oneshot`, `watch` and `broadcast` are those of `tokio::sync`, with feature `pool`: nothing of Tokio's
//! runtime is in them, and there is nothing to be gained by others. The same holds for the rest of
//! `tokio::sync` (`mpsc`, `Semaphore`, `Notify`, `Mutex`, `RwLock`, `Barrier`, `OnceCell`) and for
//! tokio-util's `CancellationToken`: each works in a Compio task, waiting for a Tokio task or waited for by
//! one, without Tokio's context. What needs it is time (`mpsc::Sender::send_timeout`,
//! `tokio::time::timeout` around anything: use [`time::timeout`](crate::time::timeout())) and spawning
//! (`JoinSet::spawn`: use `spawn_on` with a `Handle`; joining needs nothing).
//!
//! Options other than the capacity are set with [`builder()`].
//!
//! # What a wait policy costs
//!
//! [`Wait`] has the table. The default, `Adaptive`, can hold up the other tasks of a thread for at
//! most 20 µs in one poll; where that is too much, take `Park`, which costs a wake-up each time an
//! end has nothing to do.
//!
//! # Closing
//!
//! A channel is closed when its receiver or its last sender is dropped, or by the receiver's `close`. The receiver still
//! gets everything that was sent before, then `None`; what is sent afterwards comes back in the error.
//! There is no in between: a `send` that said `Ok` before the receiver was told `None` has been
//! received. Messages that nobody receives are dropped, each exactly once.
//!
//! # Neighbours
//!
//! A task that never has to wait lets the other tasks of its thread run after 128 messages, on every runtime, over
//! however many channels and handles, and in a `select!` over them. An answer that there is nothing more counts, too. So
//! polling once and giving up on `Pending` is no way to drain a channel: use `try_recv`. A batch counts as its messages,
//! and is not interrupted.
//!
//! # Time-outs and threads without a runtime
//!
//! `send_timeout` and `recv_timeout` (feature `pool`) use the timer of the runtime that polls; see
//! [`time`](crate::time#where-it-runs). On a thread that runs none, `blocking_send` and `blocking_recv`
//! block it.

pub(crate) mod budget;
mod builder;
mod chunks;
mod inbox;
#[cfg(all(test, landbridge_loom))]
mod loom_pipe;
#[cfg(all(test, landbridge_loom))]
mod loom_spsc;
#[cfg(all(test, landbridge_loom))]
mod loom_support;
#[cfg(all(test, landbridge_loom))]
mod loom_unbounded;
#[cfg(all(test, landbridge_loom))]
mod loom_weighted;
mod memory;
pub mod mesh;
pub mod mpsc;
pub mod pipe;
mod queue;
mod ring;
mod room;
mod sleeper;
pub mod spsc;
#[cfg(feature = "pool")]
mod timed;
pub mod unbounded;
mod wait;
mod waiters;
mod weight;
pub mod weighted;

pub use builder::{Builder, WeightBuilder};
#[cfg(feature = "pool")]
pub use tokio::sync::{broadcast, oneshot, watch};
#[allow(unused_imports, reason = "the pool's idle workers look too")]
pub(crate) use wait::Look;
pub use wait::Wait;
pub use weight::Weight;

pub use crate::error::{RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError};

/// A channel with one sender and one receiver, for `capacity` messages.
///
/// Both ends can be sent to another thread, and used on any runtime or none, if `T` is `Send`.
///
/// A capacity of 0 is taken as 1. It is not a rendezvous: there, a message that has been accepted
/// from a sender is always in a receiver's hands, so that dropping a pending `recv` would lose it, and
/// a pending `send` could not take its value back. One slot keeps both promises.
///
/// The guide: [channels](crate::guide::channels).
///
/// # Panics
///
/// Panics if the capacity, rounded up to a power of two, does not fit into the address space, or its memory
/// cannot be had.
///
/// # Examples
///
/// ```
/// # futures::executor::block_on(async {
/// use landbridge::channel;
///
/// let (mut tx, mut rx) = channel::spsc::<String>(1024);
/// tx.send("over".into()).await?;
/// drop(tx);
///
/// assert_eq!(rx.recv().await.as_deref(), Some("over"));
/// assert_eq!(rx.recv().await, None);
/// # Ok::<_, channel::SendError<String>>(()) }).unwrap();
/// ```
pub fn spsc<T>(capacity: usize) -> (spsc::Sender<T>, spsc::Receiver<T>) {
    builder().capacity(capacity).spsc()
}

/// A channel with any number of senders and one receiver, for `capacity` messages.
///
/// All memory is taken at once: a message's size and a byte for each of `capacity`, rounded up to a power
/// of two. A capacity of 0 is taken as 1, as in [`spsc()`].
///
/// All ends can be sent to other threads, and used on any runtime or none, if `T` is `Send`.
///
/// The guide: [channels](crate::guide::channels).
///
/// # Panics
///
/// Panics if the capacity is more than 2^29, or its memory cannot be had.
///
/// # Examples
///
/// ```
/// # futures::executor::block_on(async {
/// use landbridge::channel;
///
/// let (tx, mut rx) = channel::mpsc::<String>(1024);
/// for name in ["one", "other"] {
///     let tx = tx.clone();
///     std::thread::spawn(move || tx.blocking_send(name.into()));
/// }
/// drop(tx);
///
/// let mut received = vec![rx.recv().await, rx.recv().await];
/// received.sort();
/// assert_eq!(received, [Some("one".into()), Some("other".into())]);
/// assert_eq!(rx.recv().await, None);
/// # });
/// ```
pub fn mpsc<T>(capacity: usize) -> (mpsc::Sender<T>, mpsc::Receiver<T>) {
    builder().capacity(capacity).mpsc()
}

/// `n` members, each of which sends to each other, through a lane of its own for `capacity` messages.
///
/// For threads that share nothing: with one member for each worker of a pool, say, each of which has its
/// part of the data. Each lane is as [`spsc()`]: no two members ever write the same word, and who is slow
/// holds up only those that send to it. A member receives from all its peers in turn, and is told from
/// whom; see [`mesh::Member`].
///
/// A member has no lane to itself: what is its own to do it does, or puts into a queue of its own. A lane
/// to itself would keep its receiver open as long as it lives, and waiting for room in it would be waiting
/// for itself.
///
/// All memory is taken at once: `n * (n - 1)` lanes, each for `capacity` messages, rounded up to a power of
/// two, and somewhat less than a KiB. A capacity of 0 is taken as 1, as in [`spsc()`].
///
/// Members can be sent to other threads, and used on any runtime or none, if `T` is `Send`.
///
/// The guide: [channels](crate::guide::channels).
///
/// # Panics
///
/// Panics if the capacity, rounded up to a power of two, does not fit into the address space, or its memory
/// cannot be had. The tables for very many members are asked for as a `Vec` asks.
///
/// # Examples
///
/// A member for each worker of a pool. Each owns the keys that lead to it, and tells the owners of the rest.
///
#[cfg_attr(feature = "pool", doc = "```")]
#[cfg_attr(not(feature = "pool"), doc = "```ignore")]
/// use std::collections::HashMap;
///
/// use futures::future::{join, try_join_all};
/// use landbridge::{CompioPool, channel};
///
/// /// A key, and what is to be added to what its owner has there.
/// type Add = (u64, u64);
///
/// #[tokio::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let pool = CompioPool::builder().threads(3).build()?;
///     let members = channel::mesh::<Add>(3, 64);
///     let shards = pool.workers().zip(members).map(|(worker, member)| {
///         worker.spawn(move || async move {
///             let (me, n) = (member.index(), member.members());
///             let (mut tx, mut rx) = member.split();
///             let mut mine = HashMap::new();
///             let mut elsewhere = Vec::new();
///             for key in 0..30 {
///                 match key as usize % n {
///                     owner if owner == me => *mine.entry(key).or_insert(0) += 1,
///                     owner => elsewhere.push((owner, (key, 1))),
///                 }
///             }
///             // Sending and receiving at once: neither waits for the other.
///             let send = async {
///                 for (owner, add) in elsewhere {
///                     tx.send(owner, add).await?;
///                 }
///                 drop(tx);
///                 Ok::<_, channel::SendError<Add>>(())
///             };
///             let receive = async {
///                 while let Some((_from, (key, count))) = rx.recv().await {
///                     *mine.entry(key).or_insert(0) += count;
///                 }
///             };
///             let (sent, ()) = join(send, receive).await;
///             sent.map(|()| mine)
///         })
///     });
///     for mine in try_join_all(shards).await? {
///         let mine = mine?;
///         assert_eq!(mine.len(), 10);
///         assert!(mine.values().all(|count| *count == 3));
///     }
///     Ok(())
/// }
/// ```
pub fn mesh<T>(n: usize, capacity: usize) -> Vec<mesh::Member<T>> {
    builder().capacity(capacity).mesh(n)
}

/// A channel with any number of senders and one receiver, without a bound: a send never waits.
///
/// Without a bound nothing holds up a sender that is faster than the receiver, until memory is used up.
/// It is for where the number of messages is bounded by something else, or where a sender can do
/// nothing but send. The channel takes memory as it fills and gives it back as it is emptied, but for
/// about 32 KiB (or four times 32 messages, if they are large).
///
/// All ends can be sent to another thread, and used on any runtime or none, if `T` is `Send`.
///
/// The guide: [channels](crate::guide::channels).
///
/// # Examples
///
/// ```
/// # futures::executor::block_on(async {
/// use landbridge::channel;
///
/// let (tx, mut rx) = channel::unbounded();
/// let other = tx.clone();
/// tx.send(1)?;
/// other.send(2)?;
/// drop((tx, other));
///
/// assert_eq!(rx.recv().await, Some(1));
/// assert_eq!(rx.recv().await, Some(2));
/// assert_eq!(rx.recv().await, None);
/// # Ok::<_, channel::SendError<i32>>(()) }).unwrap();
/// ```
pub fn unbounded<T>() -> (unbounded::Sender<T>, unbounded::Receiver<T>) {
    builder().unbounded()
}

/// A stream of bytes from one writer to one reader, of which `capacity` are under way at most.
///
/// [`pipe`](mod@pipe) says what it does: owned buffers cross without a copy and come back empty, and both ends
/// speak both runtimes' I/O traits. A capacity of 0 is taken as 1; the largest is a quarter of the address space.
///
/// Both ends can be sent to another thread, and used on any runtime or none.
///
/// The guide: [channels](crate::guide::channels).
///
/// # Examples
///
/// ```
/// # futures::executor::block_on(async {
/// use landbridge::channel;
///
/// let (mut writer, mut reader) = channel::pipe(64 * 1024);
/// for line in ["one\n", "other\n"] {
///     let mut buffer = writer.empty();
///     buffer.extend(line.as_bytes());
///     writer.send(&mut buffer).await?;
/// }
/// drop(writer);
///
/// let mut text: Vec<u8> = Vec::new();
/// while let Some(buffer) = reader.recv().await {
///     text.extend(&buffer);
///     reader.give_back(buffer);
/// }
/// assert_eq!(text, b"one\nother\n");
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
pub fn pipe(capacity: usize) -> (pipe::Writer, pipe::Reader) {
    builder().bytes(capacity).pipe()
}

/// Starts to describe a channel.
///
/// # Examples
///
/// ```
/// use landbridge::channel::{self, Wait};
///
/// let (tx, rx) = channel::builder().capacity(64).wait(Wait::Park).spsc::<u32>();
/// assert_eq!((tx.capacity(), rx.capacity()), (64, 64));
/// ```
pub fn builder() -> Builder {
    Builder::new()
}
