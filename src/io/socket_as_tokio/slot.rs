//! What has been told of one socket, and who waits to hear it.

use std::cell::Cell;
use std::task::{Context, Waker};

use rustix::event::epoll::EventFlags;

use crate::unwind::swallow;

#[derive(Default)]
pub(super) struct Slot {
    pub(super) readable: Direction,
    pub(super) writable: Direction,
    /// The peer's stream ends behind what is there, or the connection has failed. This is not told
    /// again, so it must not be taken for everything when a read is short.
    closing: Cell<bool>,
}

/// One direction: something may be possible since somebody looked last.
#[derive(Default)]
pub(super) struct Direction {
    news: Cell<bool>,
    /// Kept when it has been woken, since the same task is likely to wait again.
    waker: Cell<Option<Waker>>,
    waits: Cell<bool>,
}

impl Slot {
    pub(super) fn tell(&self, events: EventFlags) {
        let failed = EventFlags::HUP | EventFlags::ERR;
        let closing = failed | EventFlags::RDHUP;
        if events.intersects(closing) {
            self.closing.set(true);
        }
        if events.intersects(closing | EventFlags::IN) {
            self.readable.tell();
        }
        if events.intersects(failed | EventFlags::OUT) {
            self.writable.tell();
        }
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// There will be no more news; whoever waits is to find that out.
    pub(super) fn wake_all(&self) {
        self.readable.wake();
        self.writable.wake();
    }
}

impl Direction {
    fn tell(&self) {
        self.news.set(true);
        self.wake();
    }

    fn wake(&self) {
        if !self.waits.replace(false) {
            return;
        }
        if let Some(waker) = self.waker.take() {
            // One waiter's panic is not to be the end of what wakes all the others.
            swallow(|| waker.wake_by_ref());
            // Waking may have come back here and left a newer one.
            match self.waker.take() {
                None => self.waker.set(Some(waker)),
                newer => {
                    self.waker.set(newer);
                    swallow(|| drop(waker));
                }
            }
        }
    }

    /// Whether there is news; it is no news then.
    pub(super) fn take(&self) -> bool {
        self.news.replace(false)
    }

    /// A waker's clone and its drop are foreign code, which may come back here or bring news.
    pub(super) fn wait(&self, cx: &Context<'_>) {
        let known = self.waker.take();
        let (known, other) = match known {
            Some(known) if known.will_wake(cx.waker()) => (Some(known), None),
            other => (None, other),
        };
        let waker = known.unwrap_or_else(|| cx.waker().clone());
        let newer = self.waker.replace(Some(waker));
        self.waits.set(true);
        drop((other, newer));
    }
}
