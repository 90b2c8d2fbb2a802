//! An object that stays on its worker, and a handle to it that goes anywhere.
//!
//! The worker keeps the object in a registry that only its own thread touches; what crosses is the key.
//! A key is given up by the last handle, which every call holds one of, so no key outlives its entry
//! while somebody could still use it, and none is given out twice while somebody has it.
//!
//! Calls queue at the object, not at its door: each is a job, and those wait for one another at a lock
//! that is fair. Tokio's, which needs no runtime.

use std::{
    any::Any,
    fmt,
    future::Future,
    marker::PhantomData,
    panic::Location,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::sync::RwLock;

use super::{JoinHandle, run::Crossing, task};
use crate::{
    error::{HostError, JoinError},
    pool::{CompioHandle, CompioPool, Shared, Target, schedule, with_local},
};

/// A handle to an object that lives on a worker; from [`CompioPool::host`].
///
/// `Send`, `Sync` and `Clone` whatever the object is: the object never leaves its worker, only calls
/// go there. It does not keep the pool alive.
///
/// The guide: [work on the other side](crate::guide::spawning).
///
/// # Where it runs
///
/// The object is made, used and dropped on one worker and nowhere else. The closure of a call is
/// called there, and the future that it returns is polled and dropped there, so that it need not be
/// `Send`; the closure must be `Send`, to get there, and the output must be, to get back.
///
/// # Order
///
/// [`call`](Self::call)s run beside each other; [`call_mut`](Self::call_mut) and
/// [`finish`](Self::finish) run alone. Whoever waits is served in order of arrival at the worker, so
/// that a stream of `call`s cannot keep a `call_mut` waiting for ever.
///
/// So a call that waits for another call of the *same* object, from inside, may wait for itself:
/// always if one of the two is exclusive, and otherwise if an exclusive one has come in between. Inside
/// a call, use the object that was passed in. Calls of other objects, also on the same worker, may be
/// waited for anywhere.
///
/// # When the object is dropped
///
/// | event | the object |
/// |---|---|
/// | the last handle and the last call are gone | is dropped by a job of its own, soon after |
/// | the worker ends, with its pool or before | is dropped with the worker's tasks, in the runtime's context |
/// | [`finish`](Self::finish) | is the closure's |
///
/// It does not hold up a [shutdown](CompioPool::shutdown), which waits for calls and not for handles.
/// Afterwards every call gets [`RuntimeGone`](JoinError::RuntimeGone). A panic of its destructor ends
/// there and counts as a job that panicked, unless it is the worker that ends.
///
/// An object that owns a handle to itself is dropped when its worker ends, and not before.
///
/// # Examples
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::{cell::Cell, convert::Infallible, rc::Rc};
///
/// use landbridge::CompioPool;
///
/// let pool = CompioPool::builder().threads(2).build()?;
/// let counter = pool.host(async || Ok::<_, Infallible>(Rc::new(Cell::new(0)))).await?;
/// let others = (1..=3).map(|n| {
///     let counter = counter.clone();
///     // Tokio may move this to any thread of its own; the `Rc` does not notice.
///     tokio::spawn(async move { counter.call(async move |c| c.set(c.get() + n)).await })
/// });
/// for other in others.collect::<Vec<_>>() {
///     other.await??;
/// }
/// assert_eq!(counter.finish(async |c| c.get()).await?, 6);
/// # Ok(())
/// # }
/// ```
pub struct Remote<T> {
    hosted: Arc<Hosted>,
    /// Invariant: the registry knows the object by its very type.
    object: PhantomData<fn(T) -> T>,
}

impl<T: 'static> Remote<T> {
    /// Puts `object` into the registry of the worker whose thread this is.
    fn adopt(object: T, origin: &'static Location<'static>) -> Self {
        let object: Rc<Slot<T>> = Rc::new(RwLock::new(Some(object)));
        let hosted = with_local(|local| Hosted {
            home: Arc::clone(&local.shared),
            key: local.host(object),
            origin,
        });
        Self {
            hosted: Arc::new(hosted.expect("jobs run on workers")),
            object: PhantomData,
        }
    }

    /// Calls `work` with the object, beside other `call`s.
    ///
    /// Lazy: nothing is submitted before the first poll. The future is `Send + 'static` and waits for
    /// a place in a bounded pool, as [`CompioPool::run`] does. While nobody wants the object for
    /// himself, it costs what `run` does.
    ///
    /// # Where it runs
    ///
    /// On the object's worker.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future *requests* the cancellation of this call, and of nothing else.
    ///
    /// # Errors
    ///
    /// [`Panicked`](JoinError::Panicked) if the work panicked (the object stays),
    /// [`RuntimeGone`](JoinError::RuntimeGone) if the worker is gone,
    /// [`Finished`](JoinError::Finished) if the object has been taken by [`finish`](Self::finish).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = landbridge::CompioPool::builder().threads(1).build()?;
    /// let file = pool.host(async || compio::fs::File::open("Cargo.toml").await).await?;
    /// let len = file.call(async |file| file.metadata().await.map(|data| data.len())).await??;
    /// assert_eq!(len, std::fs::metadata("Cargo.toml")?.len());
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn call<F, R>(&self, work: F) -> Call<T, F, R>
    where
        F: AsyncFnOnce(&T) -> R + Send + 'static,
        R: Send + 'static,
    {
        Call::new(self, work, Location::caller())
    }

    /// Calls `work` with the object, alone: after the calls that came before, and before those that
    /// come after.
    ///
    /// Otherwise as [`call`](Self::call).
    ///
    /// # Where it runs
    ///
    /// On the object's worker.
    ///
    /// # Cancel safety
    ///
    /// As [`call`](Self::call). Work that is cancelled at an await point leaves the object as it was at
    /// that point, and the next call gets it.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call). Work that panics leaves the object where it is, half changed perhaps:
    /// nothing is poisoned, and later calls see what the panic left behind. Where that is not good
    /// enough, have the work mark the object before and after, or take it with
    /// [`finish`](Self::finish).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::convert::Infallible;
    /// let pool = landbridge::CompioPool::builder().threads(1).build()?;
    /// let words = pool.host(async || Ok::<_, Infallible>(Vec::new())).await?;
    /// words.call_mut(async |words| words.push("land")).await?;
    /// words.call_mut(async |words| words.push("bridge")).await?;
    /// assert_eq!(words.call(async |words| words.concat()).await?, "landbridge");
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn call_mut<F, R>(&self, work: F) -> CallMut<T, F, R>
    where
        F: AsyncFnOnce(&mut T) -> R + Send + 'static,
        R: Send + 'static,
    {
        CallMut::new(self, work, Location::caller())
    }

    /// Takes the object out and gives it to `work`, once all earlier calls have ended: to close it, as
    /// what must be closed by value demands, or to turn it into something that may leave.
    ///
    /// # Where it runs
    ///
    /// On the object's worker.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future *requests* the cancellation. If the object had not been taken yet, it stays
    /// and later calls get it; otherwise it is dropped on its worker.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call). Calls that come later, by other clones, get
    /// [`Finished`](JoinError::Finished), also if the work panics.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use landbridge::error::JoinError;
    ///
    /// let pool = landbridge::CompioPool::builder().threads(1).build()?;
    /// let file = pool.host(async || compio::fs::File::open("Cargo.toml").await).await?;
    /// let other = file.clone();
    /// file.finish(async |file| file.close().await).await??;
    /// let late = other.call(async |_| ()).await;
    /// assert!(matches!(late, Err(JoinError::Finished)));
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn finish<F, R>(self, work: F) -> Finish<T, F, R>
    where
        F: AsyncFnOnce(T) -> R + Send + 'static,
        R: Send + 'static,
    {
        Finish::new(&self, work, Location::caller())
    }

    /// The worker that the object lives on: for work that is to run beside it.
    pub fn worker(&self) -> CompioHandle {
        CompioHandle::new(Arc::clone(&self.hosted.home))
    }
}

impl<T> Clone for Remote<T> {
    fn clone(&self) -> Self {
        Self {
            hosted: Arc::clone(&self.hosted),
            object: PhantomData,
        }
    }
}

impl<T> fmt::Debug for Remote<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("object", &std::any::type_name::<T>())
            .field("worker", &self.hosted.home.index)
            .finish()
    }
}

impl CompioPool {
    /// Makes an object on a worker that stays there, and returns a handle that may go anywhere.
    ///
    /// For what is not `Send` and lives longer than a call: a database of Compio's files, a connection,
    /// a cache of `Rc`s. `open` is called on the worker; what its future yields is the object, or why
    /// there is none.
    ///
    /// Lazy: nothing is submitted before the first poll. The future is `Send + 'static`, does not keep
    /// the pool alive, and waits for a place in a bounded pool as [`run`](Self::run) does. An object
    /// takes no place: only the opening of it and its calls do.
    ///
    /// # Where it runs
    ///
    /// On a worker of the pool's choice, the object's from then on; [`worker_for`](Self::worker_for)
    /// and [`worker`](Self::worker) have a [`host`](CompioHandle::host) too.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future *requests* the cancellation of the opening; an object that is there already
    /// is dropped on its worker.
    ///
    /// # Errors
    ///
    /// [`Open`](HostError::Open) with the error of opening, [`Join`](HostError::Join) if the opening
    /// panicked or the pool is gone.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use landbridge::{CompioPool, error::HostError};
    ///
    /// let pool = CompioPool::builder().threads(1).build()?;
    /// let file = pool.host(async || compio::fs::File::open("Cargo.toml").await).await?;
    /// assert!(file.call(async |file| file.metadata().await).await??.is_file());
    ///
    /// let none = pool.host(async || compio::fs::File::open("no such file").await).await;
    /// assert!(matches!(none, Err(HostError::Open(_))));
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn host<F, Fut, T, E>(&self, open: F) -> Host<F, Fut, T, E>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + 'static,
        T: 'static,
        E: Send + 'static,
    {
        Host::new(
            Target::Pool(Arc::clone(self.shared())),
            open,
            Location::caller(),
        )
    }
}

impl CompioHandle {
    /// As [`CompioPool::host`], on this runtime.
    #[track_caller]
    pub fn host<F, Fut, T, E>(&self, open: F) -> Host<F, Fut, T, E>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + 'static,
        T: 'static,
        E: Send + 'static,
    {
        Host::new(self.target(), open, Location::caller())
    }
}

/// The future of [`CompioPool::host`] and [`CompioHandle::host`].
///
/// Lazy: nothing is submitted before the first poll.
#[must_use = "nothing is opened unless this is awaited"]
pub struct Host<F, Fut, T, E> {
    crossing: Crossing<F, Result<Remote<T>, E>>,
    /// The future exists on its worker only.
    future: PhantomData<fn() -> Fut>,
}

impl<F, Fut, T, E> Host<F, Fut, T, E> {
    fn new(target: Target, open: F, origin: &'static Location<'static>) -> Self {
        Self {
            crossing: Crossing::new(target, open, origin),
            future: PhantomData,
        }
    }
}

// Nothing in it is pinned: the closure is moved to the worker before it is called.
impl<F, Fut, T, E> Unpin for Host<F, Fut, T, E> {}

impl<F, Fut, T, E> Future for Host<F, Fut, T, E>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, E>> + 'static,
    T: 'static,
    E: Send + 'static,
{
    type Output = Result<Remote<T>, HostError<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let opened = self.crossing.poll(cx, |home, open, origin| {
            let open =
                move || async move { open().await.map(|object| Remote::adopt(object, origin)) };
            task::new(home, open, origin)
        });
        opened.map(|opened| opened?.map_err(HostError::Open))
    }
}

impl<F, Fut, T, E> fmt::Debug for Host<F, Fut, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.crossing.fmt_as("Host", f)
    }
}

/// What the futures of calls have in common: everything but what is done with the object.
macro_rules! call_future {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Lazy: nothing is submitted before the first poll.
        #[must_use = "nothing is called unless this is awaited"]
        pub struct $name<T, F, R> {
            crossing: Crossing<(Arc<Hosted>, F), Result<R, JoinError>>,
            object: PhantomData<fn(T) -> T>,
        }

        impl<T, F, R> $name<T, F, R> {
            fn new(remote: &Remote<T>, work: F, origin: &'static Location<'static>) -> Self {
                let hosted = Arc::clone(&remote.hosted);
                let target = Target::Worker(Arc::clone(&hosted.home));
                Self {
                    crossing: Crossing::new(target, (hosted, work), origin),
                    object: PhantomData,
                }
            }
        }

        // Nothing in it is pinned: the closure is moved to the worker before it is called.
        impl<T, F, R> Unpin for $name<T, F, R> {}

        impl<T, F, R> fmt::Debug for $name<T, F, R> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.crossing.fmt_as(stringify!($name), f)
            }
        }
    };
}

call_future! {
    /// The future of [`Remote::call`].
    Call
}

impl<T, F, R> Future for Call<T, F, R>
where
    T: 'static,
    F: AsyncFnOnce(&T) -> R + Send + 'static,
    R: Send + 'static,
{
    type Output = Result<R, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let called = self.crossing.poll(cx, |home, (hosted, work), origin| {
            let work = move || async move {
                let slot = hosted.slot::<T>()?;
                let object = slot.read().await;
                let object = object.as_ref().ok_or(JoinError::Finished)?;
                Ok(work(object).await)
            };
            task::new(home, work, origin)
        });
        called.map(Result::flatten)
    }
}

call_future! {
    /// The future of [`Remote::call_mut`].
    CallMut
}

impl<T, F, R> Future for CallMut<T, F, R>
where
    T: 'static,
    F: AsyncFnOnce(&mut T) -> R + Send + 'static,
    R: Send + 'static,
{
    type Output = Result<R, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let called = self.crossing.poll(cx, |home, (hosted, work), origin| {
            let work = move || async move {
                let slot = hosted.slot::<T>()?;
                let mut object = slot.write().await;
                let object = object.as_mut().ok_or(JoinError::Finished)?;
                Ok(work(object).await)
            };
            task::new(home, work, origin)
        });
        called.map(Result::flatten)
    }
}

call_future! {
    /// The future of [`Remote::finish`].
    Finish
}

impl<T, F, R> Future for Finish<T, F, R>
where
    T: 'static,
    F: AsyncFnOnce(T) -> R + Send + 'static,
    R: Send + 'static,
{
    type Output = Result<R, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let called = self.crossing.poll(cx, |home, (hosted, work), origin| {
            let work = move || async move {
                let slot = hosted.slot::<T>()?;
                let object = slot.write().await.take().ok_or(JoinError::Finished)?;
                Ok(work(object).await)
            };
            task::new(home, work, origin)
        });
        called.map(Result::flatten)
    }
}

/// An object and the queue for it. Empty once it is finished.
type Slot<T> = RwLock<Option<T>>;

/// The object's entry in its worker's registry, without its type. Dropped by the last handle or call.
#[derive(Debug)]
struct Hosted {
    home: Arc<Shared>,
    key: usize,
    /// Where the user's code asked for the object.
    origin: &'static Location<'static>,
}

impl Hosted {
    /// On the worker itself.
    fn slot<T: 'static>(&self) -> Result<Rc<Slot<T>>, JoinError> {
        debug_assert!(self.home.is_here());
        let object = with_local(|local| local.hosted(self.key)).flatten();
        // A task that is still polled after the worker's end has begun finds it gone.
        let object: Rc<dyn Any> = object.ok_or(JoinError::RuntimeGone)?;
        Ok(object.downcast().expect("the type it was hosted with"))
    }
}

impl Drop for Hosted {
    fn drop(&mut self) {
        let key = self.key;
        // On the worker too: there a destructor in the middle of somebody's poll would be a surprise.
        let evict = move || async move { drop(with_local(|local| local.evict(key))) };
        let (job, task) = task::new(&self.home, evict, self.origin);
        job.header().set_background();
        // Nobody waits; a panic of the object's destructor goes with the result.
        drop(JoinHandle::new(task, &job));
        // Not by way of the admission: a bound that is reached must not keep dead objects alive. A
        // worker that is gone has dropped the object already.
        schedule(job);
    }
}
