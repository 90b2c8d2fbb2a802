//! Waking a worker that sleeps in its driver.
//!
//! Who rings, and that nobody rings twice for one sleep, is the [inbox](super::inbox)'s business;
//! this is only the bell: one system call (a write to the driver's eventfd; on other platforms the
//! driver's own notification).

use std::{
    sync::atomic::{AtomicU64, Ordering},
    task::Waker,
};

#[derive(Debug)]
pub(crate) struct Doorbell {
    /// Wakes the driver itself. It takes no queue of Compio's: that one holds 64 entries and spins
    /// when it is full.
    driver: Waker,
    rings: AtomicU64,
}

impl Doorbell {
    pub(crate) fn new(driver: Waker) -> Self {
        Self {
            driver,
            rings: AtomicU64::new(0),
        }
    }

    pub(crate) fn ring(&self) {
        self.rings.fetch_add(1, Ordering::Relaxed);
        self.driver.wake_by_ref();
    }

    /// Whether `driver` is the waker of the same driver.
    pub(crate) fn wakes(&self, driver: &Waker) -> bool {
        self.driver.will_wake(driver)
    }

    pub(crate) fn rings(&self) -> u64 {
        self.rings.load(Ordering::Relaxed)
    }
}
