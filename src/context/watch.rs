//! How one hears that a Tokio runtime is gone: from a task of ours, which it drops then.
//!
//! Tokio has no question for that, and most of what waits is told by Tokio itself. Not all: a signal is waited
//! for in a table of the process. So whoever waits in a runtime's context leaves its waker with the runtime's
//! watch, and the watch's task, which does nothing, wakes them all when it is dropped. One task for each runtime,
//! whoever waits there; it is started by the first that has to wait.

use std::{
    collections::HashMap,
    future::Future,
    mem,
    pin::Pin,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use slab::Slab;
use tokio::runtime::{Handle, Id, RuntimeFlavor};

use crate::{error::TokioGone, unwind};

/// Of every runtime that somebody has waited in and that is not gone. Ids are not used again.
static WATCHES: LazyLock<Mutex<HashMap<Id, Arc<Watch>>>> = LazyLock::new(Mutex::default);

/// Whether a runtime is gone, and who wants to hear of it.
struct Watch {
    /// Set under the lock below, before anybody is woken; read without it.
    gone: AtomicBool,
    /// Somebody drives the runtime, or did: the task was polled.
    driven: AtomicBool,
    /// None once it is gone. No waker is called, dropped or cloned under the lock: that may come back here.
    waiting: Mutex<Option<Slab<Waker>>>,
}

/// Nothing of ours panics while it holds one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch {
    fn of(handle: &Handle) -> Arc<Self> {
        let id = handle.id();
        let watch = {
            let mut watches = lock(&WATCHES);
            if let Some(watch) = watches.get(&id) {
                return Arc::clone(watch);
            }
            let watch = Arc::new(Self {
                gone: AtomicBool::new(false),
                // Others have threads of their own.
                driven: AtomicBool::new(handle.runtime_flavor() != RuntimeFlavor::CurrentThread),
                waiting: Mutex::new(Some(Slab::new())),
            });
            watches.insert(id, Arc::clone(&watch));
            watch
        };
        // Not under the lock: a runtime that is gone drops the task at once.
        drop(handle.spawn(Sentinel {
            watch: Arc::clone(&watch),
            id,
        }));
        if watch.gone.load(Ordering::Acquire) {
            // It was before, and nobody knows who drove it.
            watch.driven.store(true, Ordering::Relaxed);
        }
        watch
    }

    fn error(&self) -> Option<TokioGone> {
        self.gone.load(Ordering::Acquire).then(|| TokioGone {
            never_driven: !self.driven.load(Ordering::Relaxed),
        })
    }

    /// Puts the waker in the place `key`, or in a new one; what was there before.
    fn put(&self, key: Option<usize>, waker: Waker) -> Result<(usize, Option<Waker>), Waker> {
        let mut waiting = lock(&self.waiting);
        let Some(waiting) = &mut *waiting else {
            return Err(waker);
        };
        Ok(match key {
            Some(key) => (key, Some(mem::replace(&mut waiting[key], waker))),
            None => (waiting.insert(waker), None),
        })
    }

    fn take(&self, key: usize) -> Option<Waker> {
        let mut waiting = lock(&self.waiting);
        waiting.as_mut().map(|waiting| waiting.remove(key))
    }

    fn close(&self) {
        let waiting = {
            let mut waiting = lock(&self.waiting);
            self.gone.store(true, Ordering::Release);
            waiting.take()
        };
        for (_, waker) in waiting.into_iter().flatten() {
            unwind::wake(waker);
        }
    }
}

/// The task. A runtime drops its tasks when it is shut down, at the latest.
struct Sentinel {
    watch: Arc<Watch>,
    id: Id,
}

impl Future for Sentinel {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        self.watch.driven.store(true, Ordering::Relaxed);
        Poll::Pending
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let watch = lock(&WATCHES).remove(&self.id);
        drop(watch);
        self.watch.close();
    }
}

/// One who may have to wait in a runtime's context.
#[derive(Default)]
pub(super) struct Watcher(Option<Waiting>);

struct Waiting {
    watch: Arc<Watch>,
    key: usize,
    /// What is in that place.
    waker: Waker,
}

impl Watcher {
    /// Has `waker` called when the runtime is gone.
    ///
    /// # Errors
    ///
    /// It is gone.
    #[inline]
    pub(super) fn wait(&mut self, handle: &Handle, waker: &Waker) -> Result<(), TokioGone> {
        match &self.0 {
            // Nearly always. Had it gone after this look, it would have called the waker after it, too.
            Some(waiting) if waiting.waker.will_wake(waker) => {
                waiting.watch.error().map_or(Ok(()), Err)
            }
            _ => self.wait_anew(handle, waker),
        }
    }

    #[cold]
    fn wait_anew(&mut self, handle: &Handle, waker: &Waker) -> Result<(), TokioGone> {
        let gone = |watch: &Watch| watch.error().expect("it takes no waker");
        match &mut self.0 {
            Some(waiting) => {
                let put = waiting.watch.put(Some(waiting.key), waker.clone());
                let (_, before) = put.map_err(|_| gone(&waiting.watch))?;
                waiting.waker = waker.clone();
                drop(before);
            }
            None => {
                let watch = Watch::of(handle);
                let put = watch.put(None, waker.clone());
                let (key, _) = put.map_err(|_| gone(&watch))?;
                self.0 = Some(Waiting {
                    watch,
                    key,
                    waker: waker.clone(),
                });
            }
        }
        Ok(())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let waker = self.watch.take(self.key);
        drop(waker);
    }
}
