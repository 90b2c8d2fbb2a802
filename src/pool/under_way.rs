//! What a worker's drain waits for besides jobs: bytes that a shim has accepted and not yet passed on.
//!
//! The helper task of a shim lives as long as the shim does, idle or not, so it is a
//! [resident](super::Header::is_resident), which nobody waits for. What it has to see through is counted here.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use compio::runtime::Runtime;

use super::worker::local;

/// Whether one shim has bytes under way.
#[derive(Debug, Default)]
pub(crate) struct UnderWay {
    any: Cell<bool>,
    /// How many shims of its worker have. None beyond a pool, where nothing is drained.
    worker: OnceCell<Rc<Cell<usize>>>,
}

impl UnderWay {
    /// It belongs to the runtime that this is called on: called once, before anything is under way.
    pub(crate) fn belongs_here(&self) {
        let here = Runtime::try_with_current(|runtime| {
            local().filter(|local| local.shared.is_driven_by(runtime))
        });
        let here = here.ok().flatten();
        if let Some(worker) = here.filter(|local| !local.shared.is_attached()) {
            self.worker.get_or_init(|| worker.under_way());
        }
    }

    /// Whether it belongs to a worker of a pool, which sees everything through before it ends.
    pub(crate) fn is_drained(&self) -> bool {
        self.worker.get().is_some()
    }

    #[cfg(feature = "fs")]
    pub(crate) fn get(&self) -> bool {
        self.any.get()
    }

    pub(crate) fn set(&self, any: bool) {
        if self.any.replace(any) == any {
            return;
        }
        if let Some(count) = self.worker.get() {
            count.set(if any {
                count.get() + 1
            } else {
                count.get() - 1
            });
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.set(false);
    }
}
