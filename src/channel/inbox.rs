use std::task::{Context, Poll, ready};

use super::{
    Look,
    budget::{self, Budget},
    queue::Consumer,
};
use crate::error::TryRecvError;

/// A receiver's side of a queue without a bound: waits, and lets its neighbours run.
pub(super) struct Inbox<T> {
    pub(super) consumer: Consumer<T>,
    pub(super) look: Look,
    pub(super) budget: Budget,
}

impl<T> Inbox<T> {
    pub(super) fn new(consumer: Consumer<T>, look: Look) -> Self {
        Self {
            consumer,
            look,
            budget: Budget::new(),
        }
    }

    #[inline]
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        ready!(self.budget.poll_proceed(cx));
        loop {
            match self.consumer.pop() {
                Ok(value) => return Poll::Ready(Some(value)),
                Err(TryRecvError::Closed) => return Poll::Ready(None),
                Err(TryRecvError::Empty) => {}
            }
            let (look, consumer) = (&mut self.look, &mut self.consumer);
            if !look.look_after(consumer.passed(), || consumer.is_ready())
                && consumer.park(cx.waker())
            {
                budget::give_back();
                return Poll::Pending;
            }
        }
    }

    /// Gives `each` of 1 to `max` messages, and says how many; 0 at the end, or if `max` is 0.
    ///
    /// No more than are left until the neighbours have their turn.
    pub(super) fn poll_many(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
        mut each: impl FnMut(T),
    ) -> Poll<usize> {
        if max == 0 {
            return Poll::Ready(0);
        }
        let Some(first) = ready!(self.poll(cx)) else {
            return Poll::Ready(0);
        };
        each(first);
        let most = max.min(1 + budget::left());
        let mut count = 1;
        while count < most
            && let Ok(value) = self.consumer.pop()
        {
            each(value);
            count += 1;
        }
        budget::spend_many(count - 1);
        Poll::Ready(count)
    }
}
