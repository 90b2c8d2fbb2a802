//! Memory for large answers, used again.
//!
//! To get a page of memory from the kernel costs several times what it takes to copy a page of a file
//! into it. So what large answers were in is kept for the next ones, in a way that lets the kernel take
//! it back whenever it is short of memory.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::sys::Mapping;

/// Bytes in a slab: one that is kept for a small part of it should not keep much more than that, and the
/// kernel should not be asked often.
pub(super) const SLAB: usize = 1 << 20;
/// At most so many are kept for later.
const KEPT: usize = 256;

static SPARE: Mutex<Vec<Mapping>> = Mutex::new(Vec::new());

/// Room for [`SLAB`] bytes.
#[derive(Debug)]
pub(super) struct Slab {
    /// There until the end.
    memory: Option<Mapping>,
}

impl Slab {
    /// None: the kernel has no more.
    pub(super) fn new() -> Option<Self> {
        let spare = spare().pop();
        let memory = spare.or_else(|| Mapping::new(SLAB))?;
        Some(Self {
            memory: Some(memory),
        })
    }

    pub(super) fn memory(&mut self) -> &mut Mapping {
        self.memory.as_mut().expect("it is there until the end")
    }

    /// The memory is used again when the last slice of it is gone.
    pub(super) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Slab {
    fn as_ref(&self) -> &[u8] {
        self.memory.as_ref().map_or(&[], Mapping::filled)
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        let Some(mut memory) = self.memory.take() else {
            return;
        };
        memory.give_up();
        let mut spare = spare();
        if spare.len() < KEPT {
            spare.push(memory);
        }
    }
}

fn spare() -> std::sync::MutexGuard<'static, Vec<Mapping>> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}
