//! Waiting for no longer than a certain time.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::{Context, Poll},
    time::Duration,
};

use super::{
    Look,
    budget::{self, Budget},
};
use crate::{
    error::{RecvTimeoutError, TryRecvError},
    time::timeout,
};

/// The time is over.
#[derive(Debug)]
pub(super) struct Over;

/// Waits for `future`, if that is ready in time.
pub(super) async fn within<F: Future>(duration: Duration, future: F) -> Result<F::Output, Over> {
    let mut timed = pin!(timeout(duration, future));
    let mut polls = 0;
    let output = poll_fn(|cx| {
        polls += 1;
        timed.as_mut().poll(cx)
    })
    .await;
    output.map_err(|_| {
        // The task has not slept: an answer like any other, or one that has taken all the time in a look.
        match (polls, duration) {
            (1, Duration::ZERO) => budget::spend_many(1),
            (1, _) => budget::exhaust(),
            _ => {}
        }
        Over
    })
}

/// An end that looks before it sleeps.
pub(super) trait Looks {
    fn look(&mut self) -> &mut Look;
}

/// A receiving end.
pub(super) trait Receive: Looks {
    type Item;

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Self::Item>>;

    fn try_recv(&mut self) -> Result<Self::Item, TryRecvError>;

    fn budget(&self) -> &Budget;
}

/// Receives the next message, if one comes in time.
pub(super) async fn recv<R: Receive>(
    receiver: &mut R,
    duration: Duration,
) -> Result<R::Item, RecvTimeoutError> {
    // Not within the time: where that is over at once, the neighbours would never have their turn.
    poll_fn(|cx| receiver.budget().poll_turn(cx)).await;
    let bound = Bound::new(receiver, duration);
    match within(duration, poll_fn(|cx| bound.0.poll_recv(cx))).await {
        Ok(message) => message.ok_or(RecvTimeoutError::Closed),
        Err(Over) => bound.0.try_recv().map_err(TryRecvError::after_waiting),
    }
}

/// An end whose looks go on for no longer than the wait, until this is dropped.
pub(super) struct Bound<'a, E: Looks>(pub(super) &'a mut E);

impl<'a, E: Looks> Bound<'a, E> {
    pub(super) fn new(end: &'a mut E, duration: Duration) -> Self {
        end.look().bound_by(duration);
        Self(end)
    }
}

impl<E: Looks> Drop for Bound<'_, E> {
    fn drop(&mut self) {
        self.0.look().unbound();
    }
}
