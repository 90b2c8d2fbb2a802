//! Streams across: produced on the other runtime, consumed here.
//!
//! Two things cross beside each other: the items, through a channel, and the result of the task that
//! produces them, as that of any other work. The items come first: the channel is emptied before
//! anything is said about the end, so that a panic costs no item that was made before it.

use std::{
    fmt,
    marker::PhantomData,
    panic::Location,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use futures::{Stream, StreamExt, stream::FusedStream};

use super::{
    run::{Crossing, refuse},
    task,
};
use crate::{
    channel::{self, Wait, spsc},
    error::JoinError,
    pool::{CompioHandle, CompioPool, Shared, Target},
};

/// Items that may be made before one is taken: enough for a wake-up to be for many of them, and 4 MiB
/// of the 64 KiB that a read of a file usually is.
pub(super) const CAPACITY: usize = 64;

/// The most items that may be made before one is taken: their room is allocated at the start.
const MAX_CAPACITY: usize = 65_536;

/// The items of a stream on a worker; from [`CompioPool::stream`] and [`CompioHandle::stream`].
///
/// Lazy: nothing is submitted before the first poll. It is `Send + 'static` whatever the stream over
/// there is, and does not keep the pool alive.
#[must_use = "nothing is streamed unless this is polled"]
pub struct RunStream<F, S: Stream> {
    crossing: Crossing<F, ()>,
    items: Items<S::Item>,
    /// The stream exists on its worker only.
    stream: PhantomData<fn() -> S>,
}

impl<F, S: Stream> RunStream<F, S> {
    fn new(target: Target, make: F, origin: &'static Location<'static>) -> Self {
        Self {
            crossing: Crossing::new(target, make, origin),
            items: Items::new(),
            stream: PhantomData,
        }
    }

    /// How many items may be made before one is taken, from 1 to 65 536; what is outside is taken as the
    /// nearest of these. Default: 64. To be called before the first poll; later it changes nothing.
    pub fn capacity(mut self, items: usize) -> Self {
        self.items.set_capacity(items);
        self
    }
}

// Nothing in it is pinned: the closure is moved to the worker before it is called.
impl<F, S: Stream> Unpin for RunStream<F, S> {}

impl<F, S> Stream for RunStream<F, S>
where
    F: FnOnce() -> S + Send + 'static,
    S: Stream + 'static,
    S::Item: Send + 'static,
{
    type Item = Result<S::Item, JoinError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self {
            crossing, items, ..
        } = &mut *self;
        if items.is_before_start() {
            let submitted = crossing.poll_submit(cx, |home, make, origin| {
                let sender = items.start(wait_for(home));
                let work = move || async move { produce(make(), sender).await };
                task::new(home, work, origin)
            });
            match submitted {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(make)) => {
                    items.end();
                    return Poll::Ready(Some(Err(refuse(make))));
                }
            }
        }
        // It looks for items; nobody need look for the end, too.
        items.poll_next(cx, |cx| crossing.poll_result(|work| work.poll_quietly(cx)))
    }
}

impl<F, S> FusedStream for RunStream<F, S>
where
    F: FnOnce() -> S + Send + 'static,
    S: Stream + 'static,
    S::Item: Send + 'static,
{
    fn is_terminated(&self) -> bool {
        self.items.is_over()
    }
}

impl<F, S: Stream> fmt::Debug for RunStream<F, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.crossing.fmt_as("RunStream", f)
    }
}

impl CompioPool {
    /// Runs a stream on a worker, and yields its items here. Structured: it ends with what is returned.
    ///
    /// Lazy: nothing is submitted before the first poll. What is returned is `Send + 'static`, does
    /// not keep the pool alive, and waits for a place in a bounded pool as [`run`](Self::run) does.
    ///
    /// At most 64 items are made before one is taken, unless
    /// [`capacity`](RunStream::capacity) says otherwise: when there is no room, the stream over there
    /// is not polled.
    ///
    /// Costs an allocation for the task and one for the items on their way, and at most a wake-up for
    /// each batch of items; none while both sides are awake.
    ///
    /// # Where it runs
    ///
    /// `make` is called, and the stream polled and dropped, on one worker; so it need not be `Send`.
    /// The items are `Send`, and may be dropped anywhere.
    ///
    /// # Cancel safety
    ///
    /// Waiting for an item and giving up loses nothing. Dropping what is returned *requests* the
    /// cancellation of the stream over there, and drops the items that are on their way.
    ///
    /// # Errors
    ///
    /// The last item is a [`JoinError`] if the stream did not come to its end: it panicked, or the pool
    /// went away, or had been shut down before, or a [`shutdown_timeout`](Self::shutdown_timeout) cut it
    /// off ([`Cancelled`](JoinError::Cancelled)). All items made before that come first.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use compio::io::AsyncReadAt;
    /// use futures::{TryStreamExt, stream};
    ///
    /// let pool = landbridge::CompioPool::builder().threads(1).build()?;
    /// // A file, piece by piece.
    /// let pieces = pool.stream(|| {
    ///     stream::try_unfold((None, 0), async |(file, at)| {
    ///         let file = match file {
    ///             Some(file) => file,
    ///             None => compio::fs::File::open("Cargo.toml").await?,
    ///         };
    ///         let (n, piece) = compio::buf::buf_try!(@try file.read_at(Vec::with_capacity(1024), at).await);
    ///         std::io::Result::Ok((n > 0).then_some((piece, (Some(file), at + n as u64))))
    ///     })
    /// });
    /// let pieces: Vec<Vec<u8>> = pieces.map_err(std::io::Error::from).and_then(async |piece| piece).try_collect().await?;
    /// assert_eq!(pieces.concat(), std::fs::read("Cargo.toml")?);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn stream<F, S>(&self, make: F) -> RunStream<F, S>
    where
        F: FnOnce() -> S + Send + 'static,
        S: Stream + 'static,
        S::Item: Send + 'static,
    {
        let target = Target::Pool(Arc::clone(self.shared()));
        RunStream::new(target, make, Location::caller())
    }
}

impl CompioHandle {
    /// As [`CompioPool::stream`], on this runtime.
    #[track_caller]
    pub fn stream<F, S>(&self, make: F) -> RunStream<F, S>
    where
        F: FnOnce() -> S + Send + 'static,
        S: Stream + 'static,
        S::Item: Send + 'static,
    {
        RunStream::new(self.target(), make, Location::caller())
    }
}

/// The receiving side, whichever runtime the stream is on.
#[derive(Debug)]
pub(super) struct Items<T> {
    capacity: usize,
    state: State<T>,
}

#[derive(Debug)]
enum State<T> {
    BeforeStart,
    Receiving(spsc::Receiver<T>),
    /// The result is there already; what is in the channel comes first.
    Emptying(spsc::Receiver<T>, Option<JoinError>),
    Over,
}

impl<T> Items<T> {
    pub(super) fn new() -> Self {
        Self {
            capacity: CAPACITY,
            state: State::BeforeStart,
        }
    }

    pub(super) fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity.clamp(1, MAX_CAPACITY);
    }

    pub(super) fn is_before_start(&self) -> bool {
        matches!(self.state, State::BeforeStart)
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// What the stream over there sends its items with.
    pub(super) fn start(&mut self, wait: Wait) -> spsc::Sender<T> {
        let channel = channel::builder().capacity(self.capacity).wait(wait);
        let (sender, receiver) = channel.spsc();
        self.state = State::Receiving(receiver);
        sender
    }

    pub(super) fn end(&mut self) {
        self.state = State::Over;
    }

    /// The next item, or how the work ended, which `result` polls for.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        result: impl FnOnce(&mut Context<'_>) -> Poll<Result<(), JoinError>>,
    ) -> Poll<Option<Result<T, JoinError>>> {
        if let State::Receiving(receiver) = &mut self.state {
            // Not from the closed channel alone: the result comes after that. And not from the result
            // alone: a task whose worker is gone may be leaked, and its sender with it.
            if let Poll::Ready(Some(item)) = receiver.poll_recv(cx) {
                return Poll::Ready(Some(Ok(item)));
            }
            let Poll::Ready(result) = result(cx) else {
                return Poll::Pending;
            };
            let State::Receiving(receiver) = std::mem::replace(&mut self.state, State::Over) else {
                unreachable!("just seen");
            };
            self.state = State::Emptying(receiver, result.err());
        }
        let State::Emptying(receiver, error) = &mut self.state else {
            return Poll::Ready(None);
        };
        // All that was sent was sent before the result was handed over.
        if let Ok(item) = receiver.try_recv() {
            return Poll::Ready(Some(Ok(item)));
        }
        let error = error.take();
        self.end();
        Poll::Ready(error.map(Err))
    }
}

/// Sends the stream's items for as long as somebody takes them.
pub(super) async fn produce<S: Stream>(stream: S, mut sender: spsc::Sender<S::Item>) {
    let mut stream = pin!(stream);
    // Room first: an item that is made must find a place.
    while let Ok(room) = sender.reserve().await {
        let Some(item) = stream.next().await else {
            return;
        };
        if room.send(item).is_err() {
            return;
        }
    }
}

/// What the two sides do before they sleep. A worker cannot make an item while it looks for it.
fn wait_for(home: &Shared) -> Wait {
    if home.is_here() {
        Wait::Park
    } else {
        home.wait
    }
}
