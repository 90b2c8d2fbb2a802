//! Waking a worker that sleeps in its driver.
//!
//! Who rings, and that nobody rings twice for one sleep, is the [inbox](super::inbox)'s business;
//! this is only the bell: one system call (a write to the driver's eventfd; on other platforms the
//! driver's own notification).

use std::{
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
};

use crate::unwind::{self, swallow};

#[derive(Debug)]
pub(crate) struct Doorbell {
    /// Wakes the driver itself. It takes no queue of Compio's: that one holds 64 entries and spins
    /// when it is full.
    ///
    /// Gone once the worker is: it holds a descriptor, which handles that are kept would keep.
    driver: Mutex<Option<Waker>>,
    /// On a runtime whose loop is not ours: what wakes the task that looks into the inbox.
    pump: Option<Mutex<Option<Waker>>>,
    rings: AtomicU64,
}

impl Doorbell {
    pub(crate) fn new(driver: Waker) -> Self {
        Self {
            driver: Mutex::new(Some(driver)),
            pump: None,
            rings: AtomicU64::new(0),
        }
    }

    /// For a runtime whose loop is not ours: rings for a task of its.
    pub(crate) fn for_pump(driver: Waker) -> Self {
        Self {
            pump: Some(Mutex::new(None)),
            ..Self::new(driver)
        }
    }

    /// Whether it is of a runtime whose loop is not ours.
    pub(crate) fn is_for_pump(&self) -> bool {
        self.pump.is_some()
    }

    pub(crate) fn ring(&self) {
        self.rings.fetch_add(1, Ordering::Relaxed);
        match &self.pump {
            // The driver's own waker: a system call, and nobody's code.
            None => {
                if let Some(driver) = &*lock(&self.driver) {
                    driver.wake_by_ref();
                }
            }
            Some(pump) => {
                // Not woken under the lock: Compio's queue may make this wait.
                if let Some(waker) = lock(pump).clone() {
                    unwind::wake(waker);
                }
            }
        }
    }

    /// The task that looks into the inbox sleeps with this waker from now on. In place before the
    /// inbox is marked asleep: who finds it so rings with this waker or a later one.
    pub(crate) fn set_pump(&self, waker: Option<Waker>) {
        if let Some(pump) = &self.pump {
            let before = mem::replace(&mut *lock(pump), waker);
            swallow(|| drop(before));
        }
    }

    /// There is nobody to wake any more.
    pub(crate) fn dismantle(&self) {
        let driver = lock(&self.driver).take();
        drop(driver);
        self.set_pump(None);
    }

    /// Whether `driver` is the waker of the same driver.
    pub(crate) fn wakes(&self, driver: &Waker) -> bool {
        let own = lock(&self.driver);
        own.as_ref().is_some_and(|own| own.will_wake(driver))
    }

    pub(crate) fn rings(&self) -> u64 {
        self.rings.load(Ordering::Relaxed)
    }
}

/// Nothing panics under this lock.
fn lock(pump: &Mutex<Option<Waker>>) -> MutexGuard<'_, Option<Waker>> {
    pump.lock().unwrap_or_else(PoisonError::into_inner)
}
