//! What a worker does for a socket: it tells what happens.
//!
//! For reads on a ring the watch is one request that goes on and on (a multishot poll): a connection that
//! waits again and again costs no crossing to its worker. It ends when events come that nobody has use for,
//! because the reader is busy with those before: then each would only cost the worker's time, and the reader
//! arms it again when it next has to wait.
//!
//! Everything else is watched until the next event, whoever waits again sets up another watch: writes, which
//! wait once for many bytes, and all on drivers that know nothing better.

use std::{
    future::{Future, poll_fn},
    os::fd::{AsFd, BorrowedFd},
    panic::Location,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
};

use compio::{
    buf::BufResult,
    driver::op::{Interest, PollOnce},
    runtime::submit,
};

use super::{
    direction::{Direction, Event},
    source::{Inner, Way},
};
use crate::{pool::Job, spawn::task};

/// Events in a row that nobody has use for before the watch ends.
#[cfg(target_os = "linux")]
const PATIENCE: u32 = 2;

/// A watch, from the moment that somebody asks for it.
pub(super) struct Watch<S> {
    inner: Arc<Inner<S>>,
    way: Way,
    /// It has said its last word.
    over: bool,
}

impl<S: AsFd + Send + Sync + 'static> Watch<S> {
    pub(super) fn new(inner: Arc<Inner<S>>, way: Way) -> Self {
        Self {
            inner,
            way,
            over: false,
        }
    }

    /// A job of the socket's worker's that is nobody's work.
    pub(super) fn into_job(self) -> Job {
        let home = Arc::clone(self.inner.home());
        task::new_resident(&home, move || self.run(), Location::caller())
    }

    async fn run(mut self) {
        #[cfg(target_os = "linux")]
        if self.way == Way::Read && has_ring() {
            return self.go_on().await;
        }
        self.once().await;
    }

    async fn once(&mut self) {
        let interest = match self.way {
            Way::Read => Interest::Readable,
            Way::Write => Interest::Writable,
        };
        let mut poll = pin!(submit(PollOnce::new(self.held(), interest)));
        let event = self.until_left(|cx| poll.as_mut().poll(cx)).await;
        self.over = true;
        match event {
            None => {}
            Some(BufResult(Ok(_), _)) => {
                let last = Event {
                    more: false,
                    last: true,
                    last_if_unneeded: true,
                };
                self.direction().event(last);
            }
            Some(BufResult(Err(error), _)) => self.direction().fail(error),
        }
    }

    #[cfg(target_os = "linux")]
    async fn go_on(&mut self) {
        use futures::Stream;

        use super::sys::PollMany;

        let mut events = pin!(compio::runtime::submit_multi(PollMany::new(self.held())));
        let mut unneeded = 0;
        while !self.over {
            let event = self
                .until_left(|cx| events.as_mut().poll_next(cx))
                .await
                .flatten();
            match event {
                Some(BufResult(Ok(mask), _)) => {
                    let event = Event {
                        more: super::sys::has_more(mask),
                        // The kernel has run out of room for completions, or the like.
                        last: futures::stream::FusedStream::is_terminated(&*events),
                        last_if_unneeded: unneeded >= PATIENCE,
                    };
                    let told = self.direction().event(event);
                    unneeded = if told.needed { 0 } else { unneeded + 1 };
                    self.over = told.over;
                }
                Some(BufResult(Err(error), _)) => {
                    self.over = true;
                    self.direction().fail(error);
                }
                // Nobody uses the socket any more.
                None => self.over = true,
            }
        }
    }

    /// What `poll` comes to, or nothing if nobody uses the socket any more.
    async fn until_left<T>(&self, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Option<T> {
        let direction = self.direction();
        poll_fn(|cx| {
            if let Poll::Ready(value) = poll(cx) {
                return Poll::Ready(Some(value));
            }
            direction.poll_left(cx).map(|()| None)
        })
        .await
    }

    fn direction(&self) -> &Direction {
        self.inner.direction(self.way)
    }

    fn held(&self) -> Held<S> {
        Held(Arc::clone(&self.inner))
    }
}

impl<S> Drop for Watch<S> {
    fn drop(&mut self) {
        if !self.over {
            // Refused, or dropped with its worker.
            self.inner.direction(self.way).gone();
        }
    }
}

/// What an operation in flight has of the socket: keeps the descriptor open.
pub(super) struct Held<S>(Arc<Inner<S>>);

impl<S: AsFd> AsFd for Held<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(target_os = "linux")]
fn has_ring() -> bool {
    use crate::pool::{DriverKind, with_local};

    with_local(|local| {
        matches!(
            local.shared.driver,
            DriverKind::IoUring | DriverKind::IoUringTuned
        )
    }) == Some(true)
}
