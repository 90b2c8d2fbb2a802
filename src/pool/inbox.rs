//! The queue into a worker, and in the same word whether the worker sleeps.
//!
//! Producers push onto a linked stack with one compare-and-swap; the worker takes the whole stack
//! with one swap and reverses it, so that jobs start in the order in which they came. The links live
//! in the nodes themselves: pushing allocates nothing and never fails for want of room, which is what
//! a wake-up needs that may come from under somebody's lock.
//!
//! The word `head` is one of
//!
//! | value | the worker | a push |
//! |---|---|---|
//! | null | awake, nothing queued | queues |
//! | [`ASLEEP`] | about to sleep or asleep | queues, and must ring: it alone has replaced `ASLEEP` |
//! | [`CLOSED`] | gone | is refused, the node handed back |
//! | a node | awake, or rung and about to wake | queues |
//!
//! Many nodes are linked among themselves first, and pushed as one.
//!
//! Because sleeping and pushing change the same word, there is no gap between the worker's last look
//! and its sleep, and no second ring for one sleep; neither needs a fence.
//!
//! Imports neither runtime: loom drives it alone (`docs/loom.md`).

#![expect(
    unsafe_code,
    reason = "an intrusive queue reads its nodes through pointers"
)]

use std::ptr::{self, NonNull};

use crate::sync::atomic::{AtomicPtr, Ordering};

/// A node of an [`Inbox`]: has room for the link.
///
/// # Safety
///
/// `next` returns the same location at every call, and nobody but the queue that holds the node
/// writes to it.
pub(crate) unsafe trait Node: Sized {
    fn next(&self) -> &AtomicPtr<Self>;
}

/// What became of a push.
#[derive(Debug)]
pub(crate) enum Push<N> {
    /// The worker is awake and will see it.
    Queued,
    /// The worker sleeps, and it is up to this caller to ring.
    Ring,
    /// The worker is gone; the node is the caller's again.
    Closed(NonNull<N>),
}

/// What became of a push of many.
#[derive(Debug)]
pub(crate) enum PushAll<N> {
    /// See [`Push::Queued`].
    Queued,
    /// See [`Push::Ring`].
    Ring,
    /// The worker is gone; the nodes are the caller's again, oldest first.
    Closed(Chain<N>),
}

#[derive(Debug)]
pub(crate) struct Inbox<N> {
    head: AtomicPtr<N>,
}

impl<N: Node> Inbox<N> {
    /// An empty inbox of a worker that is awake.
    pub(crate) fn new() -> Self {
        Self {
            head: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Queues `node`.
    ///
    /// # Safety
    ///
    /// `node` is valid until it comes back out of [`take`](Self::take), [`close`](Self::close) or
    /// [`Push::Closed`], and is in no other queue.
    pub(crate) unsafe fn push(&self, node: NonNull<N>) -> Push<N> {
        // SAFETY: this function's contract; a node alone is a stack's top and its bottom.
        match unsafe { self.put(node, node) } {
            Some(true) => Push::Ring,
            Some(false) => Push::Queued,
            None => Push::Closed(node),
        }
    }

    /// Queues all of `stack` at once: one compare-and-swap, at most one ring.
    pub(crate) fn push_all(&self, stack: Stack<N>) -> PushAll<N> {
        let Some((top, bottom)) = stack.ends else {
            return PushAll::Queued;
        };
        // SAFETY: the nodes are valid and nobody else's by `Stack::push`'s contract, and the stack
        // has linked them.
        match unsafe { self.put(top, bottom) } {
            Some(true) => PushAll::Ring,
            Some(false) => PushAll::Queued,
            // The bottom's link may have been set to what was queued when an earlier try failed.
            None => PushAll::Closed(Chain::cut(top, bottom)),
        }
    }

    /// Puts linked nodes on top; whether the worker slept, or nothing if it is gone.
    ///
    /// # Safety
    ///
    /// All nodes from `top` to `bottom` are linked, valid until they come out again, and in no other
    /// queue.
    unsafe fn put(&self, top: NonNull<N>, bottom: NonNull<N>) -> Option<bool> {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            if head == closed() {
                return None;
            }
            let below = if head == asleep() {
                ptr::null_mut()
            } else {
                head
            };
            // SAFETY: valid by this function's contract; the queue does not hold it yet, so that
            // nobody else reads or writes its link.
            let next = unsafe { bottom.as_ref() }.next();
            next.store(below, Ordering::Relaxed);
            // Release: the worker that takes the nodes sees them whole.
            match self.head.compare_exchange_weak(
                head,
                top.as_ptr(),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(head == asleep()),
                Err(now) => head = now,
            }
        }
    }

    /// Takes everything queued, oldest first, and marks the worker awake. Only the worker calls it.
    pub(crate) fn take(&self) -> Chain<N> {
        // A look before the swap: the usual case in a busy loop is an empty inbox, and reading does
        // not take the cache line away from the producers.
        if self.head.load(Ordering::Relaxed).is_null() {
            return Chain::empty();
        }
        // Acquire: pairs with the release of every push in the chain (each push is a
        // read-modify-write of the same word and so continues the release sequence of the others).
        Chain::reversed(self.head.swap(ptr::null_mut(), Ordering::Acquire))
    }

    /// Whether the worker would find nothing now.
    pub(crate) fn is_empty(&self) -> bool {
        let head = self.head.load(Ordering::Relaxed);
        head.is_null() || head == asleep() || head == closed()
    }

    /// Whether a push would have to ring now.
    pub(crate) fn is_asleep(&self) -> bool {
        self.head.load(Ordering::Relaxed) == asleep()
    }

    /// Marks the worker asleep, unless something is queued. Only the worker calls it.
    ///
    /// Whatever was written before a [`nudge`](Self::nudge) that came earlier is visible afterwards.
    pub(crate) fn try_sleep(&self) -> bool {
        self.head
            .compare_exchange(
                ptr::null_mut(),
                asleep(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .is_ok()
    }

    /// Makes a sleeping worker's next look happen; whether the caller must ring for that.
    ///
    /// Always writes the word, if only what it holds already: of a nudge and a
    /// [`try_sleep`](Self::try_sleep) the later one sees the earlier.
    pub(crate) fn nudge(&self) -> bool {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            let new = if head == asleep() {
                ptr::null_mut()
            } else {
                head
            };
            match self
                .head
                .compare_exchange_weak(head, new, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return head == asleep(),
                Err(now) => head = now,
            }
        }
    }

    /// Refuses every later push; what was queued comes back, oldest first. Only the worker calls it.
    pub(crate) fn close(&self) -> Chain<N> {
        Chain::reversed(self.head.swap(closed(), Ordering::Acquire))
    }
}

/// Nodes on their way into an inbox, linked as the inbox links them: the newest on top.
#[derive(Debug)]
pub(crate) struct Stack<N> {
    /// The newest and the oldest.
    ends: Option<(NonNull<N>, NonNull<N>)>,
}

impl<N: Node> Stack<N> {
    pub(crate) fn new() -> Self {
        Self { ends: None }
    }

    /// Adds a node, newer than those there are.
    ///
    /// # Safety
    ///
    /// As for [`Inbox::push`], to which this is the first half.
    pub(crate) unsafe fn push(&mut self, node: NonNull<N>) {
        let Some((top, bottom)) = self.ends else {
            self.ends = Some((node, node));
            return;
        };
        // SAFETY: valid and in no other queue by this function's contract.
        let next = unsafe { node.as_ref() }.next();
        next.store(top.as_ptr(), Ordering::Relaxed);
        self.ends = Some((node, bottom));
    }
}

impl<N: Node> Default for Stack<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// Nodes that came out of an inbox, oldest first; each is the taker's.
#[derive(Debug)]
pub(crate) struct Chain<N> {
    first: *mut N,
}

impl<N: Node> Chain<N> {
    fn empty() -> Self {
        Self {
            first: ptr::null_mut(),
        }
    }

    /// Of the nodes from `top` to `bottom`, which no queue holds.
    fn cut(top: NonNull<N>, bottom: NonNull<N>) -> Self {
        // SAFETY: valid by `Stack::push`'s contract; no queue has taken it.
        let last = unsafe { bottom.as_ref() }.next();
        last.store(ptr::null_mut(), Ordering::Relaxed);
        Self::reversed(top.as_ptr())
    }

    fn reversed(mut top: *mut N) -> Self {
        if top == asleep() || top == closed() {
            return Self::empty();
        }
        let mut first = ptr::null_mut();
        while let Some(node) = NonNull::new(top) {
            // SAFETY: every node in the stack is valid by `push`'s contract, and the swap that took
            // the stack made this thread its only holder.
            let next = unsafe { node.as_ref() }.next();
            top = next.load(Ordering::Relaxed);
            next.store(first, Ordering::Relaxed);
            first = node.as_ptr();
        }
        Self { first }
    }
}

impl<N: Node> Iterator for Chain<N> {
    type Item = NonNull<N>;

    fn next(&mut self) -> Option<NonNull<N>> {
        let node = NonNull::new(self.first)?;
        // SAFETY: the chain owns its nodes (see `reversed`) and has not handed this one out yet.
        let next = unsafe { node.as_ref() }.next();
        self.first = next.load(Ordering::Relaxed);
        Some(node)
    }
}

/// No node: addresses below any type's alignment that has room for a pointer.
fn asleep<N>() -> *mut N {
    ptr::without_provenance_mut(1)
}

fn closed<N>() -> *mut N {
    ptr::without_provenance_mut(2)
}
