//! openraft's idea of a runtime, over this crate's: what a library for both that has such a trait would write.

use std::{
    fmt::Debug,
    future::Future,
    ops::{Add, AddAssign, Sub, SubAssign},
    time::Duration,
};

use compio::driver::{DriverType, ProactorBuilder};
use landbridge::{
    CompioHandle, JoinError,
    channel::{self, mpsc, oneshot, watch},
    rt::{self, LocalJoinHandle},
    time,
};
use openraft_rt::{
    AsyncRuntime, Mpsc, MpscReceiver, MpscSender, MpscWeakSender, Mutex, Oneshot, OneshotSender,
    OptionalSend, OptionalSync, SendError, TryRecvError, Watch, WatchReceiver, WatchSender,
    watch as raft_watch,
};
use rand::rngs::ThreadRng;
use tokio::{sync, task::LocalSet};

/// Whatever runtime `P` is.
#[derive(Debug)]
pub(crate) struct Over<P>(P);

/// Where the tests run. This alone knows the runtimes by their names.
pub(crate) trait Place: Debug + 'static {
    fn new() -> Self;
    fn block_on<F: Future>(&self, future: F) -> F::Output;
}

impl<P: Place> AsyncRuntime for Over<P> {
    type JoinError = JoinError;
    type JoinHandle<T: OptionalSend + 'static> = LocalJoinHandle<T>;
    type Sleep = time::Sleep;
    type Instant = Instant;
    type TimeoutError = time::Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = time::Timeout<T>;
    type ThreadLocalRng = ThreadRng;
    type Mpsc = Channels;
    type Watch = Channels;
    type Oneshot = Channels;
    type Mutex<T: OptionalSend + 'static> = Locked<T>;

    fn spawn<T>(future: T) -> LocalJoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        rt::spawn_local(future)
    }

    fn sleep(duration: Duration) -> time::Sleep {
        time::sleep(duration)
    }

    fn sleep_until(deadline: Instant) -> time::Sleep {
        time::sleep_until(deadline.0)
    }

    fn timeout<R, F>(duration: Duration, future: F) -> time::Timeout<F>
    where
        F: Future<Output = R> + OptionalSend,
    {
        time::timeout(duration, future)
    }

    fn timeout_at<R, F>(deadline: Instant, future: F) -> time::Timeout<F>
    where
        F: Future<Output = R> + OptionalSend,
    {
        time::timeout_at(deadline.0, future)
    }

    fn is_panic(error: &JoinError) -> bool {
        matches!(error, JoinError::Panicked(_))
    }

    fn thread_rng() -> ThreadRng {
        rand::rng()
    }

    fn new(_threads: usize) -> Self {
        Self(P::new())
    }

    fn block_on<F: Future<Output = T>, T>(&mut self, future: F) -> T {
        self.0.block_on(future)
    }
}

/// [`time::Instant`], which is Tokio's and so has no trait of openraft's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(time::Instant);

impl openraft_rt::Instant for Instant {
    fn now() -> Self {
        Self(time::Instant::now())
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0 + duration)
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        self.0 += duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0 - duration)
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.0 - earlier.0
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, duration: Duration) {
        self.0 -= duration;
    }
}

/// All that are in [`channel`] and of which openraft has a trait.
#[derive(Debug)]
pub(crate) struct Channels;

impl Mpsc for Channels {
    type Sender<T: OptionalSend> = mpsc::Sender<T>;
    type Receiver<T: OptionalSend> = Receiver<T>;
    type WeakSender<T: OptionalSend> = mpsc::WeakSender<T>;

    fn channel<T: OptionalSend>(buffer: usize) -> (mpsc::Sender<T>, Receiver<T>) {
        let (sender, receiver) = channel::mpsc(buffer);
        (sender, Receiver(receiver))
    }
}

impl<T: OptionalSend> MpscSender<Channels, T> for mpsc::Sender<T> {
    async fn send(&self, message: T) -> Result<(), SendError<T>> {
        let sent = self.send(message).await;
        sent.map_err(|channel::SendError(message)| SendError(message))
    }

    fn downgrade(&self) -> mpsc::WeakSender<T> {
        self.downgrade()
    }
}

impl<T: OptionalSend> MpscWeakSender<Channels, T> for mpsc::WeakSender<T> {
    fn upgrade(&self) -> Option<mpsc::Sender<T>> {
        self.upgrade()
    }
}

/// Of this crate, because the trait has no parameter that is.
pub(crate) struct Receiver<T>(mpsc::Receiver<T>);

impl<T: OptionalSend> MpscReceiver<T> for Receiver<T> {
    async fn recv(&mut self) -> Option<T> {
        self.0.recv().await
    }

    fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.0.try_recv().map_err(|error| match error {
            channel::TryRecvError::Empty => TryRecvError::Empty,
            channel::TryRecvError::Closed => TryRecvError::Disconnected,
        })
    }
}

impl Watch for Channels {
    type Sender<T: OptionalSend + OptionalSync> = watch::Sender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = watch::Receiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = watch::Ref<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(init: T) -> (watch::Sender<T>, watch::Receiver<T>) {
        watch::channel(init)
    }
}

impl<T: OptionalSend + OptionalSync> WatchSender<Channels, T> for watch::Sender<T> {
    fn send(&self, value: T) -> Result<(), raft_watch::SendError<T>> {
        let sent = self.send(value);
        sent.map_err(|watch::error::SendError(value)| raft_watch::SendError(value))
    }

    fn send_if_modified<F: FnOnce(&mut T) -> bool>(&self, modify: F) -> bool {
        self.send_if_modified(modify)
    }

    fn borrow_watched(&self) -> watch::Ref<'_, T> {
        self.borrow()
    }

    fn subscribe(&self) -> watch::Receiver<T> {
        self.subscribe()
    }
}

impl<T: OptionalSend + OptionalSync> WatchReceiver<Channels, T> for watch::Receiver<T> {
    async fn changed(&mut self) -> Result<(), raft_watch::RecvError> {
        let changed = self.changed().await;
        changed.map_err(|_| raft_watch::RecvError(()))
    }

    fn borrow_watched(&self) -> watch::Ref<'_, T> {
        self.borrow()
    }

    fn borrow_and_update(&mut self) -> watch::Ref<'_, T> {
        self.borrow_and_update()
    }
}

impl Oneshot for Channels {
    type Sender<T: OptionalSend> = Sender<T>;
    type Receiver<T: OptionalSend> = oneshot::Receiver<T>;
    type ReceiverError = oneshot::error::RecvError;

    fn channel<T: OptionalSend>() -> (Sender<T>, oneshot::Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        (Sender(sender), receiver)
    }
}

/// As [`Receiver`].
pub(crate) struct Sender<T>(oneshot::Sender<T>);

impl<T: OptionalSend> OneshotSender<T> for Sender<T> {
    fn send(self, value: T) -> Result<(), T> {
        self.0.send(value)
    }
}

/// As [`Receiver`]. There is no mutex in [`channel`], which says that Tokio's is as good.
pub(crate) struct Locked<T>(sync::Mutex<T>);

impl<T: OptionalSend + 'static> Mutex<T> for Locked<T> {
    type Guard<'a> = sync::MutexGuard<'a, T>;

    fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    async fn lock(&self) -> sync::MutexGuard<'_, T> {
        self.0.lock().await
    }
}

/// Compio as it is, on io_uring or polling.
#[derive(Debug)]
pub(crate) struct Compio<const RING: bool>(compio::runtime::Runtime);

impl<const RING: bool> Place for Compio<RING> {
    fn new() -> Self {
        let mut proactor = ProactorBuilder::new();
        if RING {
            proactor.driver_type(DriverType::IoUring);
        } else if cfg!(unix) {
            proactor.driver_type(DriverType::Poll);
        }
        let mut builder = compio::runtime::Runtime::builder();
        Self(builder.with_proactor(proactor).build().unwrap())
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }
}

/// The same, whose tasks are landbridge's.
#[derive(Debug)]
pub(crate) struct AttachedCompio<const RING: bool>(Compio<RING>);

impl<const RING: bool> Place for AttachedCompio<RING> {
    fn new() -> Self {
        let compio = Compio::new();
        compio.block_on(async { CompioHandle::attach().unwrap() });
        Self(compio)
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }
}

/// Both on one thread.
#[cfg(unix)]
#[derive(Debug)]
pub(crate) struct Dual<const RING: bool>(landbridge::context::DualRuntime);

#[cfg(unix)]
impl<const RING: bool> Place for Dual<RING> {
    fn new() -> Self {
        let driver = if RING {
            landbridge::Driver::IoUring
        } else {
            landbridge::Driver::Polling
        };
        let builder = landbridge::context::DualRuntime::builder();
        Self(builder.driver(driver).build().unwrap())
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }
}

/// Tokio, on the calling thread.
#[derive(Debug)]
pub(crate) struct TokioCurrentThread(LocalSet, tokio::runtime::Runtime);

impl Place for TokioCurrentThread {
    fn new() -> Self {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        Self(LocalSet::new(), builder.enable_all().build().unwrap())
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(&self.1, future)
    }
}

/// Tokio, with its reactor on other threads.
#[derive(Debug)]
pub(crate) struct TokioManyThreads(LocalSet, tokio::runtime::Runtime);

impl Place for TokioManyThreads {
    fn new() -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).enable_all();
        Self(LocalSet::new(), builder.build().unwrap())
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(&self.1, future)
    }
}
