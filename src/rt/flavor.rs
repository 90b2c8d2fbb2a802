use compio::runtime::Runtime;
use tokio::runtime::Handle;

/// A kind of runtime; [`current`](Self::current) is the one whose things work here.
///
/// # Examples
///
/// ```
/// use landbridge::rt::Flavor;
///
/// async fn where_am_i() -> Option<Flavor> {
///     Flavor::current()
/// }
///
/// # fn main() -> std::io::Result<()> {
/// let compio = compio::runtime::Runtime::new()?;
/// assert_eq!(compio.block_on(where_am_i()), Some(Flavor::Compio));
///
/// let tokio = tokio::runtime::Builder::new_current_thread().build()?;
/// assert_eq!(tokio.block_on(where_am_i()), Some(Flavor::Tokio));
///
/// assert_eq!(futures::executor::block_on(where_am_i()), None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flavor {
    /// Tokio, of any kind: several threads, the current thread, a local runtime.
    Tokio,
    /// Compio, on any driver; a [`CompioPool`](crate::CompioPool)'s worker too.
    Compio,
}

impl Flavor {
    /// The runtime whose timers, tasks and I/O are to be used here and now; `None` outside of both.
    ///
    /// The rule of the whole crate, for [`spawn_local`](crate::rt::spawn_local) and [`time`](crate::time)
    /// too: Compio if its context is set, which it is while that thread drives it, else Tokio if its
    /// context is set.
    ///
    /// A future may be polled by one runtime now and by another later, so ask in each poll rather than
    /// keep the answer. It costs two looks at variables of the thread and never panics.
    ///
    /// # Where it runs
    ///
    /// | asked in | answer |
    /// |---|---|
    /// | a task of Compio's, its `block_on`, a job of a pool or of an [attached](crate::CompioHandle::attach) runtime | `Compio` |
    /// | anything on the thread of a [`DualRuntime`](crate::context::DualRuntime) | `Compio` |
    /// | the same, with Tokio's context set as well ([`in_tokio`](crate::context::in_tokio()), a pool's [`tokio`](crate::pool::Builder::tokio)) | `Compio` |
    /// | a task of Tokio's, its `block_on`, [`TokioHandleExt::run`](crate::TokioHandleExt::run) | `Tokio` |
    /// | a closure of Tokio's `spawn_blocking`, `Handle::enter`: nobody polls, but what looks for Tokio finds it | `Tokio` |
    /// | a Compio runtime's `block_on` inside one of those | `Compio` |
    /// | another executor, a plain thread, a closure of [`run_blocking`](crate::CompioPool::run_blocking) or of Compio's `spawn_blocking` | `None` |
    ///
    /// Another executor's `block_on` in a task is taken for that task's runtime. So is a `block_on` of
    /// Tokio's in a task of Compio's: it stops Compio on that thread, and timers of this crate with it.
    pub fn current() -> Option<Self> {
        if Runtime::try_with_current(|_| ()).is_ok() {
            return Some(Self::Compio);
        }
        Handle::try_current().ok().map(|_| Self::Tokio)
    }
}
