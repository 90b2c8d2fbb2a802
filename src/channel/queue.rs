//! The queue without a bound, with any number of producers and one consumer.
//!
//! A lock around the messages, which the consumer takes out all at once: so the two sides meet at the
//! lock once a batch, not once a message, and who is first to lock decides every race. The waker that
//! the consumer sleeps with lies under the same lock. Nobody else's code runs under it: wakers are
//! cloned before and woken or dropped after, values are dropped after.
//!
//! The module imports no runtime: loom and the tests drive it alone.

use std::task::{Context, Poll, Waker};

use super::{chunks::Chunks, waiters::Waiters};
use crate::{
    error::TryRecvError,
    pad::Padded,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
        lock,
    },
    unwind::{self, drop_all},
};

/// The two ends of a new queue.
pub(super) fn queue<T>() -> (Producer<T>, Consumer<T>) {
    queue_at(0)
}

/// So many messages are taken to have been in it before.
fn queue_at<T>(first: usize) -> (Producer<T>, Consumer<T>) {
    let queue = Arc::new(Queue {
        inner: Padded(Mutex::new(Inner {
            consumer: None,
            pushed: first,
            look_at: first.wrapping_add(1),
            messages: Chunks::new(),
            watchers: Waiters::new(),
        })),
        hints: Padded(Hints {
            ready: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            producers: AtomicUsize::new(1),
            high_water: AtomicUsize::new(0),
        }),
        popped: Padded(AtomicUsize::new(first)),
    });
    let consumer = Consumer {
        queue: queue.clone(),
        batch: Exclusive::new(Chunks::new()),
        popped: first,
    };
    (Producer { queue }, consumer)
}

struct Queue<T> {
    inner: Padded<Mutex<Inner<T>>>,
    hints: Padded<Hints>,
    /// How many messages the consumer has given out, which wraps. Written for each.
    popped: Padded<AtomicUsize>,
}

/// In this order, what each message touches is together.
#[repr(C)]
struct Inner<T> {
    /// The consumer sleeps, and is to be woken.
    consumer: Option<Waker>,
    /// How many messages there have been, which wraps.
    pushed: usize,
    /// When so many have been pushed, there may for the first time be more of them than ever before.
    look_at: usize,
    messages: Chunks<T>,
    /// Who waits for the close. Once closed, nobody.
    watchers: Waiters<Waker>,
}

/// What can be read without the lock. None of it changes with each message, so that whoever looks at
/// it does not disturb who pushes.
struct Hints {
    /// There is a message under the lock. Written under it.
    ready: AtomicBool,
    /// Nothing is pushed any more. Written under the lock; never cleared.
    closed: AtomicBool,
    /// How many producers there are, without those that are weak.
    producers: AtomicUsize,
    /// The most messages that have been there at once. Written under the lock.
    high_water: AtomicUsize,
}

impl<T> Queue<T> {
    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        lock(&self.inner.0)
    }

    /// What is to be woken comes back with `Ok`.
    #[inline]
    fn push(&self, value: T) -> Result<Option<Waker>, T> {
        let mut inner = self.lock();
        // Relaxed: it is written under the lock.
        if self.hints.0.closed.load(Relaxed) {
            drop(inner);
            return Err(value);
        }
        if inner.messages.is_empty() {
            self.hints.0.ready.store(true, Relaxed);
        }
        inner.messages.push(value);
        inner.pushed = inner.pushed.wrapping_add(1);
        if inner.pushed == inner.look_at {
            self.measure(&mut inner);
        }
        Ok(inner.consumer.take())
    }

    /// Raises the high-water mark if it is time to. It cannot be before as many messages have been
    /// pushed as it lies above what is there now: so while it does not rise, the consumer's own count
    /// is seldom looked at.
    #[cold]
    fn measure(&self, inner: &mut Inner<T>) {
        let len = inner.pushed.wrapping_sub(self.popped.0.load(Acquire));
        let high_water = self.hints.0.high_water.load(Relaxed).max(len);
        self.hints.0.high_water.store(high_water, Relaxed);
        inner.look_at = inner.pushed.wrapping_add(high_water - len + 1);
    }

    /// The consumer's waker, which is to be woken or dropped, comes back.
    fn close(&self) -> Option<Waker> {
        let mut inner = self.lock();
        // Release: who sees it without the lock sees what was pushed before.
        self.hints.0.closed.store(true, Release);
        let consumer = inner.consumer.take();
        let watchers = inner.watchers.take();
        drop(inner);
        watchers.for_each(wake);
        consumer
    }

    fn is_closed(&self) -> bool {
        self.hints.0.closed.load(Acquire)
    }

    fn len(&self) -> usize {
        let inner = self.lock();
        inner.pushed.wrapping_sub(self.popped.0.load(Acquire))
    }

    fn high_water(&self) -> usize {
        self.hints.0.high_water.load(Relaxed)
    }
}

/// An end that pushes. A clone is another one; the queue is closed when the last one goes.
pub(super) struct Producer<T> {
    queue: Arc<Queue<T>>,
}

impl<T> Producer<T> {
    #[inline]
    pub(super) fn push(&self, value: T) -> Result<(), T> {
        if let Some(waker) = self.queue.push(value)? {
            wake(waker);
        }
        Ok(())
    }

    /// Pushes what is to wake the consumer once.
    pub(super) fn batch(&self) -> Batch<'_, T> {
        Batch {
            producer: self,
            waker: None,
        }
    }

    /// Waits for the close.
    pub(super) fn closed(&self) -> Closed<'_, T> {
        Closed {
            queue: &self.queue,
            key: None,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn high_water(&self) -> usize {
        self.queue.high_water()
    }

    pub(super) fn same_queue(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.queue, &other.queue)
    }

    pub(super) fn downgrade(&self) -> WeakProducer<T> {
        WeakProducer {
            queue: self.queue.clone(),
        }
    }
}

impl<T> Clone for Producer<T> {
    fn clone(&self) -> Self {
        // Relaxed: there is one already, which keeps the queue open.
        self.queue.hints.0.producers.fetch_add(1, Relaxed);
        Self {
            queue: self.queue.clone(),
        }
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        // What the others have pushed they have pushed under the lock, so Relaxed would do; this is for
        // those who think about it later.
        if self.queue.hints.0.producers.fetch_sub(1, AcqRel) == 1
            && let Some(waker) = self.queue.close()
        {
            wake(waker);
        }
    }
}

#[cold]
fn wake(waker: Waker) {
    // Its panic is not this side's to carry, and the message is in the queue.
    unwind::wake(waker);
}

/// A run of pushes with one wake-up, at its end; also when that is a panic.
pub(super) struct Batch<'a, T> {
    producer: &'a Producer<T>,
    waker: Option<Waker>,
}

impl<T> Batch<'_, T> {
    pub(super) fn push(&mut self, value: T) -> Result<(), T> {
        if let Some(waker) = self.producer.queue.push(value)? {
            // The one before has not been woken and sleeps again already: it was polled for another
            // reason, perhaps as another task.
            if let Some(earlier) = self.waker.replace(waker) {
                wake(earlier);
            }
        }
        Ok(())
    }
}

impl<T> Drop for Batch<'_, T> {
    fn drop(&mut self) {
        if let Some(waker) = self.waker.take() {
            wake(waker);
        }
    }
}

/// What may become a producer again, as long as there is one.
pub(super) struct WeakProducer<T> {
    queue: Arc<Queue<T>>,
}

impl<T> WeakProducer<T> {
    pub(super) fn upgrade(&self) -> Option<Producer<T>> {
        let producers = &self.queue.hints.0.producers;
        producers
            .fetch_update(Relaxed, Relaxed, |producers| {
                (producers != 0).then(|| producers + 1)
            })
            .ok()?;
        Some(Producer {
            queue: self.queue.clone(),
        })
    }
}

impl<T> Clone for WeakProducer<T> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
        }
    }
}

/// Resolves when the queue is closed.
pub(super) struct Closed<'a, T> {
    queue: &'a Queue<T>,
    key: Option<usize>,
}

impl<T> Future for Closed<'_, T> {
    type Output = ();

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.queue.is_closed() {
            return Poll::Ready(());
        }
        let waker = cx.waker().clone();
        let mut inner = self.queue.lock();
        if self.queue.is_closed() {
            drop(inner);
            return Poll::Ready(());
        }
        let old = match self.key.and_then(|key| inner.watchers.get_mut(key)) {
            Some(old) => Some(std::mem::replace(old, waker)),
            None => {
                self.key = Some(inner.watchers.push(waker));
                None
            }
        };
        drop(inner);
        drop(old);
        Poll::Pending
    }
}

impl<T> Drop for Closed<'_, T> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let mut inner = self.queue.lock();
            let waker = inner.watchers.remove(key);
            drop(inner);
            drop(waker);
        }
    }
}

/// The end that pops. There is one, and it is not `Clone`.
pub(super) struct Consumer<T> {
    queue: Arc<Queue<T>>,
    /// Taken out of the queue, and not yet given out.
    batch: Exclusive<Chunks<T>>,
    popped: usize,
}

/// `Sync` whatever is in it, since only `&mut` leads there: a lock that is never locked.
struct Exclusive<T>(std::sync::Mutex<T>);

impl<T> Exclusive<T> {
    const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    #[inline]
    fn get(&mut self) -> &mut T {
        self.0
            .get_mut()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl<T> Consumer<T> {
    #[inline]
    pub(super) fn pop(&mut self) -> Result<T, TryRecvError> {
        if let Some(value) = self.batch.get().pop() {
            return Ok(self.count(value));
        }
        // In this order: after the close, what is not ready will not be.
        let closed = self.queue.is_closed();
        if !self.is_filled() {
            return Err(if closed {
                TryRecvError::Closed
            } else {
                TryRecvError::Empty
            });
        }
        self.fetch();
        let value = self.batch.get().pop().ok_or(TryRecvError::Empty)?;
        Ok(self.count(value))
    }

    fn count(&mut self, value: T) -> T {
        self.popped = self.popped.wrapping_add(1);
        self.queue.popped.0.store(self.popped, Release);
        value
    }

    /// Takes everything out of the queue; to be called when there is nothing left of the last time.
    fn fetch(&mut self) {
        let mut inner = self.queue.lock();
        inner.messages.swap(self.batch.get());
        self.queue.hints.0.ready.store(false, Relaxed);
    }

    /// Whether there is something in the queue itself.
    fn is_filled(&self) -> bool {
        self.queue.hints.0.ready.load(Relaxed)
    }

    /// How many messages have been popped, which wraps.
    #[inline]
    pub(super) fn passed(&self) -> usize {
        self.popped
    }

    /// Whether [`pop`](Self::pop), which has said `Empty`, would not say so again.
    #[inline]
    pub(super) fn is_ready(&self) -> bool {
        self.is_filled() || self.queue.is_closed()
    }

    /// Arranges for a wake-up once there is a message or the queue is closed. False: there may be
    /// already. To be called when there was none.
    pub(super) fn park(&mut self, waker: &Waker) -> bool {
        let waker = waker.clone();
        let mut inner = self.queue.lock();
        if !inner.messages.is_empty() || self.queue.is_closed() {
            drop(inner);
            return false;
        }
        let old = inner.consumer.replace(waker);
        drop(inner);
        drop(old);
        true
    }

    pub(super) fn close(&mut self) {
        // It sees the close when it polls again; there is nobody to wake.
        drop(self.queue.close());
    }

    pub(super) fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn high_water(&self) -> usize {
        self.queue.high_water()
    }
}

impl<T> Drop for Consumer<T> {
    /// Nothing is pushed after the close, so what is dropped here is all there is.
    fn drop(&mut self) {
        self.close();
        drop_all(std::iter::from_fn(|| self.pop().ok()));
    }
}

#[cfg(all(test, not(landbridge_loom)))]
mod tests {
    use super::*;

    /// Where the counts of messages wrap, which a busy channel comes to within minutes where a `usize` has 32
    /// bits.
    #[test]
    fn lengths_and_the_high_water_mark_are_right_where_the_counts_wrap() {
        for before in 0..20_usize {
            let (tx, mut rx) = queue_at(0_usize.wrapping_sub(before));
            for most in 1..=8 {
                for message in 0..most {
                    assert!(tx.push(message).is_ok());
                    assert_eq!(tx.len(), message + 1);
                }
                assert_eq!(tx.high_water(), most);
                for message in 0..most {
                    assert_eq!(rx.pop(), Ok(message));
                }
                assert_eq!((tx.len(), rx.len()), (0, 0));
            }
        }
    }
}
