//! Objects that stay on the thread they were made on, for handles that go anywhere.
//!
//! A thread keeps its objects in a table of its own, so that nobody else can get at them; what travels is the
//! [`Key`]. An object of a worker, or of an attached runtime, is dropped with it at the latest, inside its
//! context; any other with its thread.

use std::{
    any::Any,
    cell::RefCell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use slab::Slab;

use super::{home_here, worker::Shared};
use crate::unwind::swallow;

thread_local! {
    static OBJECTS: Objects = const { Objects(RefCell::new(Table::new())) };
}

/// What an object is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// In its thread's table.
    place: usize,
    /// No other object's, of any thread: places are used again, and a key may outlive its object and go to
    /// other threads.
    serial: u64,
}

static NEXT_SERIAL: AtomicU64 = AtomicU64::new(0);

/// Keeps an object until it is [evicted](evict), or its home ends, which is returned, too: the worker or
/// attached runtime that this is called on, if any. Drops it on a thread that is about to end.
pub(crate) fn keep(object: Rc<dyn Any>) -> Option<(Key, Option<Arc<Shared>>)> {
    let home = home_here();
    let key = OBJECTS.try_with(|objects| {
        let mut table = objects.0.borrow_mut();
        table.insert(Rc::clone(&object), home.clone())
    });
    Some((key.ok()?, home))
}

/// The object, if it is this thread's and still there.
pub(crate) fn get(key: Key) -> Option<Rc<dyn Any>> {
    OBJECTS
        .try_with(|objects| objects.0.borrow().get(key))
        .ok()
        .flatten()
}

/// Takes the object out. Returned, to be dropped when the table is not borrowed: its destructor may come back
/// here.
pub(crate) fn evict(key: Key) -> Option<Rc<dyn Any>> {
    OBJECTS
        .try_with(|objects| objects.0.borrow_mut().remove(key))
        .ok()
        .flatten()
}

/// As [`evict`], all whose home that is.
pub(super) fn evict_those_of(home: &Shared) -> Vec<Rc<dyn Any>> {
    OBJECTS
        .try_with(|objects| objects.0.borrow_mut().remove_those_of(home))
        .unwrap_or_default()
}

/// Drops them all with the thread.
struct Objects(RefCell<Table>);

impl Drop for Objects {
    fn drop(&mut self) {
        // A destructor finds the table gone. The process would end for a panic that gets out of here.
        for (_, entry) in std::mem::take(&mut self.0.get_mut().entries) {
            swallow(|| drop(entry));
        }
    }
}

struct Table {
    entries: Slab<Entry>,
}

struct Entry {
    object: Rc<dyn Any>,
    home: Option<Arc<Shared>>,
    serial: u64,
}

impl Table {
    const fn new() -> Self {
        Self {
            entries: Slab::new(),
        }
    }

    fn insert(&mut self, object: Rc<dyn Any>, home: Option<Arc<Shared>>) -> Key {
        let serial = NEXT_SERIAL.fetch_add(1, Ordering::Relaxed);
        let entry = Entry {
            object,
            home,
            serial,
        };
        let place = self.entries.insert(entry);
        Key { place, serial }
    }

    fn get(&self, key: Key) -> Option<Rc<dyn Any>> {
        let entry = self.entries.get(key.place)?;
        (entry.serial == key.serial).then(|| Rc::clone(&entry.object))
    }

    fn remove(&mut self, key: Key) -> Option<Rc<dyn Any>> {
        let entry = self.entries.get(key.place)?;
        (entry.serial == key.serial).then(|| self.entries.remove(key.place).object)
    }

    fn remove_those_of(&mut self, home: &Shared) -> Vec<Rc<dyn Any>> {
        let is_home = |entry: &Entry| {
            let own = entry.home.as_deref();
            own.is_some_and(|own| std::ptr::eq(own, home))
        };
        let all = self.entries.iter();
        let theirs = all.filter(|(_, entry)| is_home(entry));
        let places: Vec<_> = theirs.map(|(place, _)| place).collect();
        let mut remove = |place| self.entries.remove(place).object;
        places.into_iter().map(&mut remove).collect()
    }
}
