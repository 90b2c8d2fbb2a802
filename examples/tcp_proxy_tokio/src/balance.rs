//! Which backend is next. COPY: the file.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use crate::{
    config,
    count::{Count, Counted},
};

/// A backend as long as it is configured, whatever else a reload changes.
#[derive(Debug)]
pub(crate) struct Backend {
    addr: SocketAddr,
    /// Taken for well until something says that it is not.
    down: AtomicBool,
    open: Count,
}

/// A connection's claim on a backend; the backend is told when it ends.
#[derive(Debug)]
pub(crate) struct Lease {
    backend: Arc<Backend>,
    _open: Counted,
}

/// Backends in turns by their weights, smoothly: 3 and 1 are `a a b a` and not `a a a b`.
#[derive(Debug, Default)]
pub(crate) struct Balance(Mutex<Vec<Slot>>);

#[derive(Debug)]
struct Slot {
    backend: Arc<Backend>,
    weight: i64,
    credit: i64,
}

impl Backend {
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn open(&self) -> usize {
        self.open.get()
    }

    pub(crate) fn is_up(&self) -> bool {
        !self.down.load(Relaxed)
    }

    pub(crate) fn set_up(&self) {
        if self.down.swap(false, Relaxed) {
            eprintln!("backend {} is back", self.addr);
        }
    }

    pub(crate) fn set_down(&self, why: &impl std::fmt::Display) {
        if !self.down.swap(true, Relaxed) {
            eprintln!("backend {} is down: {why}", self.addr);
        }
    }
}

impl Lease {
    pub(crate) fn backend(&self) -> &Backend {
        &self.backend
    }
}

impl Balance {
    /// With the backends of `before` that stay: what is known of them, and who is connected to them, stays too.
    pub(crate) fn new(backends: &[config::Backend], before: &Self) -> Self {
        let before = before.backends();
        let slot = |config: &config::Backend| {
            let addr = *config.addr.get_ref();
            let known = before.iter().find(|backend| backend.addr == addr);
            Slot {
                backend: known.cloned().unwrap_or_else(|| {
                    Arc::new(Backend {
                        addr,
                        down: AtomicBool::new(false),
                        open: Count::default(),
                    })
                }),
                weight: config.weight.get().into(),
                credit: 0,
            }
        };
        Self(Mutex::new(backends.iter().map(slot).collect()))
    }

    pub(crate) fn backends(&self) -> Vec<Arc<Backend>> {
        let slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots.iter().map(|slot| Arc::clone(&slot.backend)).collect()
    }

    /// The next one of those that are up.
    pub(crate) fn next(&self) -> Option<Lease> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut total = 0;
        let mut best: Option<&mut Slot> = None;
        for slot in slots.iter_mut().filter(|slot| slot.backend.is_up()) {
            total += slot.weight;
            slot.credit += slot.weight;
            if best.as_ref().is_none_or(|best| slot.credit > best.credit) {
                best = Some(slot);
            }
        }
        let best = best?;
        best.credit -= total;
        Some(Lease {
            _open: best.backend.open.one_more(),
            backend: Arc::clone(&best.backend),
        })
    }
}
