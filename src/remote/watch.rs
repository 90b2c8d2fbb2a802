//! What a worker does for a socket: it tells what happens.
//!
//! For reads on a ring the watch is one request that goes on and on (a multishot poll): a connection that
//! waits again and again costs no crossing to its worker. It ends when events come that nobody has use for,
//! because the reader is busy with those before: then each would only cost the worker's time, and the reader
//! arms it again when it next has to wait.
//!
//! Everything else is watched until the next event, whoever waits again sets up another watch: writes, which
//! wait once for many bytes, all on drivers that know nothing better, and all on runtimes that are attached, whose
//! end is not ours.
//!
//! Unless the event is not what was waited for. A poll also tells, unasked and each time anew, that the peer has
//! sent everything, or that there is an error to be fetched by other means; whoever waits for room to write would
//! be told so for ever. From then on only changes are told: by a request that goes on, or else by an epoll instance.

use std::{
    future::{Future, poll_fn},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
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
    sys,
};
use crate::{pool::Job, spawn::task};

/// Events in a row that nobody has use for before the watch ends.
const PATIENCE: u32 = 2;

/// A watch, from the moment that somebody asks for it.
pub(super) struct Watch {
    inner: Arc<Inner>,
    way: Way,
    held: Held,
    /// Events in a row that nobody had use for.
    unneeded: u32,
    /// It has said its last word.
    over: bool,
}

impl Watch {
    pub(super) fn new(inner: Arc<Inner>, way: Way, held: Held) -> Self {
        Self {
            inner,
            way,
            held,
            unneeded: 0,
            over: false,
        }
    }

    /// A job of the socket's worker's that is nobody's work.
    pub(super) fn into_job(self) -> Job {
        let home = Arc::clone(self.inner.home());
        task::new_resident(&home, move || self.run(), Location::caller())
    }

    #[cfg(target_os = "linux")]
    async fn run(mut self) {
        let may_go_on = may_go_on();
        if self.way == Way::Write || !may_go_on {
            self.once().await;
        }
        if self.over {
        } else if may_go_on {
            self.go_on().await;
        } else {
            self.edges().await;
        }
    }

    #[cfg(not(target_os = "linux"))]
    async fn run(mut self) {
        self.once().await;
    }

    /// Until the first event; goes on if that is not what was waited for.
    async fn once(&mut self) {
        let interest = match self.way {
            Way::Read => Interest::Readable,
            Way::Write => Interest::Writable,
        };
        match self.poll_once(self.held.clone(), interest).await {
            Some(Ok(told)) => match self.is_asked_for(told) {
                Asked::For => self.tell(false, true),
                Asked::Besides => self.tell(false, false),
                Asked::Not => {}
            },
            Some(Err(error)) => self.fail(error),
            None => self.over = true,
        }
    }

    #[cfg(target_os = "linux")]
    async fn go_on(&mut self) {
        use futures::stream::{FusedStream, Stream};

        let request = sys::PollMany::new(self.held.clone(), self.way);
        let mut events = pin!(compio::runtime::submit_multi(request));
        while !self.over {
            let event = self
                .until_left(|cx| events.as_mut().poll_next(cx))
                .await
                .flatten();
            match event {
                Some(BufResult(Ok(mask), _)) => {
                    // The last if the kernel has run out of room for completions, or the like.
                    self.tell(sys::has_more(mask), events.is_terminated());
                }
                Some(BufResult(Err(error), _)) => self.fail(error),
                // Nobody uses the socket any more.
                None => self.over = true,
            }
        }
    }

    #[cfg(target_os = "linux")]
    async fn edges(&mut self) {
        let edges = match sys::Edges::new(self.held.as_fd(), self.way) {
            Ok(edges) => edges,
            Err(error) => return self.fail(error),
        };
        while !self.over {
            let told = self.poll_once(edges.descriptor(), Interest::Readable).await;
            match told.map(|told| told.and_then(|_| edges.take())) {
                // Whatever else there was is not told again.
                Some(Ok(())) => self.tell(true, false),
                Some(Err(error)) => self.fail(error),
                None => self.over = true,
            }
        }
    }

    /// What Compio says of the next event, or nothing if nobody uses the socket any more.
    async fn poll_once(
        &self,
        what: impl AsFd + 'static,
        interest: Interest,
    ) -> Option<io::Result<usize>> {
        let mut poll = pin!(submit(PollOnce::new(what, interest)));
        let BufResult(told, _) = self.until_left(|cx| poll.as_mut().poll(cx)).await?;
        Some(told)
    }

    /// Whether what was waited for is there; a ring has told already.
    #[cfg(target_os = "linux")]
    fn is_asked_for(&self, told: usize) -> Asked {
        let wanted = self.way.events();
        let look = match &self.held {
            Held::StandIn(stand_in) => sys::look_through(stand_in),
            Held::Socket(_) if told & usize::from(wanted.cast_unsigned()) != 0 => Ok(wanted),
            Held::Socket(socket) => sys::look(socket.as_fd(), self.way),
        };
        match look {
            Ok(0) => Asked::Not,
            Ok(now) if now & wanted == 0 => Asked::Besides,
            Ok(_) | Err(_) => Asked::For,
        }
    }

    /// Elsewhere a poll tells nothing unasked that would stay.
    #[cfg(not(target_os = "linux"))]
    fn is_asked_for(&self, _: usize) -> Asked {
        Asked::For
    }

    /// Tells of an event.
    fn tell(&mut self, more: bool, last: bool) {
        let event = Event {
            more,
            last,
            last_if_unneeded: self.unneeded >= PATIENCE,
        };
        let told = self.direction().event(event);
        self.unneeded = if told.needed { 0 } else { self.unneeded + 1 };
        self.over = told.over;
    }

    fn fail(&mut self, error: io::Error) {
        self.over = true;
        self.direction().fail(error);
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
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.over {
            // Refused, or dropped with its worker.
            self.inner.direction(self.way).gone();
        }
    }
}

/// What an event of a poll is.
enum Asked {
    /// What was waited for.
    For,
    /// The end of both directions, or an error, which a try may meet.
    Besides,
    /// Nothing that a try would meet.
    Not,
}

/// What an operation in flight polls: keeps the descriptor open.
#[derive(Clone)]
pub(super) enum Held {
    Socket(Arc<dyn AsFd + Send + Sync>),
    /// Of a socket that is closed at once, for those who read.
    #[cfg(target_os = "linux")]
    StandIn(Arc<OwnedFd>),
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Socket(socket) => socket.as_fd(),
            #[cfg(target_os = "linux")]
            Self::StandIn(stand_in) => stand_in.as_fd(),
        }
    }
}

/// Whether the worker that this runs on may have requests in its ring that go on: only if landbridge sees to the
/// ring's end, since Compio gives such a request up once for each event that is still in the queue then
/// (`docs/upstream.md`). A pool's worker looks at its queue until nothing is in flight.
#[cfg(target_os = "linux")]
fn may_go_on() -> bool {
    use crate::pool::{DriverKind, with_local};

    with_local(|local| {
        let home = &local.shared;
        let has_ring = matches!(home.driver, DriverKind::IoUring | DriverKind::IoUringTuned);
        has_ring && !home.is_attached()
    }) == Some(true)
}
