/// Those who wait for the same thing, in the order of their coming.
///
/// A slab with links: who leaves from the middle does so in constant time, and what is free is used
/// again, so that nothing is allocated once there have been as many waiters as there ever are.
#[derive(Debug)]
pub(super) struct Waiters<T> {
    entries: Vec<Entry<T>>,
    front: usize,
    back: usize,
    /// The first of the free entries, which are linked by `next`.
    free: usize,
}

#[derive(Debug)]
struct Entry<T> {
    /// `None`: the entry is free.
    waiter: Option<T>,
    /// In the queue, where `prev` and `next` are its neighbours.
    queued: bool,
    prev: usize,
    next: usize,
}

/// No entry.
const NONE: usize = usize::MAX;

impl<T> Waiters<T> {
    pub(super) const fn new() -> Self {
        Self {
            entries: Vec::new(),
            front: NONE,
            back: NONE,
            free: NONE,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.front == NONE
    }

    /// The waiter's key until it is taken out.
    pub(super) fn push(&mut self, waiter: T) -> usize {
        let entry = Entry {
            waiter: Some(waiter),
            queued: true,
            prev: self.back,
            next: NONE,
        };
        let key = match self.entries.get_mut(self.free) {
            Some(free) => {
                let key = std::mem::replace(&mut self.free, free.next);
                *free = entry;
                key
            }
            None => {
                self.entries.push(entry);
                self.entries.len() - 1
            }
        };
        match self.entries.get_mut(self.back) {
            Some(back) => back.next = key,
            None => self.front = key,
        }
        self.back = key;
        key
    }

    pub(super) fn get_mut(&mut self, key: usize) -> Option<&mut T> {
        self.entries.get_mut(key)?.waiter.as_mut()
    }

    /// Who has waited longest.
    pub(super) fn front(&self) -> Option<(usize, &T)> {
        let waiter = self.entries.get(self.front)?.waiter.as_ref()?;
        Some((self.front, waiter))
    }

    /// Takes it out of the queue; the key stays good until it is removed.
    pub(super) fn unqueue(&mut self, key: usize) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        if !std::mem::take(&mut entry.queued) {
            return;
        }
        let (prev, next) = (entry.prev, entry.next);
        match self.entries.get_mut(prev) {
            Some(prev) => prev.next = next,
            None => self.front = next,
        }
        match self.entries.get_mut(next) {
            Some(next) => next.prev = prev,
            None => self.back = prev,
        }
    }

    pub(super) fn remove(&mut self, key: usize) -> Option<T> {
        self.unqueue(key);
        let entry = self.entries.get_mut(key)?;
        let waiter = entry.waiter.take()?;
        entry.next = std::mem::replace(&mut self.free, key);
        Some(waiter)
    }

    /// Those that were taken out of the queue and have not been removed.
    pub(super) fn unqueued(&self) -> impl Iterator<Item = &T> {
        let unqueued = self.entries.iter().filter(|entry| !entry.queued);
        unqueued.filter_map(|entry| entry.waiter.as_ref())
    }

    /// All in the queue, in order; no key means anything any more.
    pub(super) fn take(&mut self) -> impl Iterator<Item = T> + use<T> {
        let mut all = std::mem::replace(self, Self::new());
        std::iter::from_fn(move || all.remove(all.front))
    }
}

#[cfg(all(test, not(landbridge_loom)))]
mod tests {
    use super::*;

    /// Who leaves from the front, the middle or the end leaves the others in their order.
    #[test]
    fn the_order_is_that_of_coming_whoever_leaves() {
        for leaves in 0..5 {
            let mut waiters = Waiters::new();
            let keys: Vec<usize> = (0..5).map(|waiter| waiters.push(waiter)).collect();
            assert_eq!(waiters.remove(keys[leaves]), Some(leaves));
            assert_eq!(waiters.remove(keys[leaves]), None);
            waiters.push(5);
            let expected: Vec<usize> = (0..6).filter(|waiter| *waiter != leaves).collect();
            assert_eq!(
                waiters.front().map(|(_, waiter)| *waiter),
                Some(expected[0])
            );
            assert_eq!(waiters.take().collect::<Vec<_>>(), expected);
            assert!(waiters.is_empty());
        }
    }

    /// Waiting is what a busy channel does all the time.
    #[test]
    fn entries_are_used_again() {
        let mut waiters = Waiters::new();
        let mut keys: Vec<usize> = (0..4).map(|waiter| waiters.push(waiter)).collect();
        let capacity = waiters.entries.capacity();
        for round in 0..100 {
            let key = keys.remove(round % 4);
            assert!(waiters.remove(key).is_some());
            keys.push(waiters.push(round));
        }
        assert_eq!(waiters.entries.len(), 4);
        assert_eq!(waiters.entries.capacity(), capacity);
    }
}
