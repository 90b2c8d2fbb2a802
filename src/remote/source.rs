//! A socket whose waiting is done by a worker.

use std::{
    fmt,
    future::poll_fn,
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
};

use super::{
    direction::{Direction, Seat, Seen},
    watch::Watch,
};
use crate::{
    error::JoinError,
    pool::{Shared, Target, schedule},
};

/// A socket, non-blocking, and the worker that waits for it.
///
/// The owner of the descriptor as far as its user is concerned: when it is dropped, the watches end.
pub(super) struct Source<S: AsFd + Send + Sync + 'static> {
    inner: Arc<Inner<S>>,
}

/// What the watches share with the socket's user. The descriptor is closed when the last of them is gone,
/// so that it is not given to somebody else under them.
pub(super) struct Inner<S> {
    socket: S,
    read: Direction,
    write: Direction,
    home: Arc<Shared>,
}

/// Which direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Read,
    Write,
}

impl<S: AsFd + Send + Sync + 'static> Source<S> {
    /// Of a socket that is non-blocking, on one of those workers.
    pub(super) fn new(socket: S, target: &Target) -> Self {
        Self::at(target.pick_for_socket(), socket, Direction::new())
    }

    /// Of a socket that is being connected.
    pub(super) fn connecting(socket: S, target: &Target) -> Self {
        Self::at(target.pick_for_socket(), socket, Direction::waiting())
    }

    /// On that worker.
    pub(super) fn on(home: &Arc<Shared>, socket: S) -> Self {
        Self::at(home, socket, Direction::new())
    }

    fn at(home: &Arc<Shared>, socket: S, write: Direction) -> Self {
        home.counts.0.sockets.fetch_add(1, Ordering::Relaxed);
        let inner = Inner {
            socket,
            read: Direction::new(),
            write,
            home: Arc::clone(home),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    pub(super) fn socket(&self) -> &S {
        &self.inner.socket
    }

    pub(super) fn home(&self) -> &Arc<Shared> {
        &self.inner.home
    }

    /// Tries until it need not wait; the waker is left for the traits with `poll` in their names, of which
    /// the last caller counts.
    pub(super) fn poll_io<T>(
        &self,
        way: Way,
        cx: &mut Context<'_>,
        attempt: impl FnMut(Try<'_, S>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        self.poll_in(&mut Seat::Last, way, cx, attempt)
    }

    /// The same to be awaited, beside any number of others.
    pub(super) async fn io<T>(
        &self,
        way: Way,
        mut attempt: impl FnMut(Try<'_, S>) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut waiting = Waiting::new(self, way);
        poll_fn(|cx| waiting.poll(cx, &mut attempt)).await
    }

    /// Waits until a try is worth it.
    pub(super) async fn ready(&self, way: Way) -> io::Result<()> {
        // Not by what was said before alone: it may have been used up.
        self.io(way, |attempt| attempt.is_worth_it(way)).await
    }

    /// Tries once, and does not wait.
    pub(super) fn try_io<T>(
        &self,
        way: Way,
        mut attempt: impl FnMut(Try<'_, S>) -> io::Result<T>,
    ) -> io::Result<T> {
        let direction = self.direction(way);
        loop {
            let seen = direction.look();
            let result = attempt(Try { source: self, seen });
            match &result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    _ = direction.not_now(seen);
                }
                _ => {}
            }
            return result;
        }
    }

    fn poll_in<T>(
        &self,
        seat: &mut Seat,
        way: Way,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut(Try<'_, S>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        let direction = self.direction(way);
        ready!(direction.poll_proceed(cx));
        loop {
            let seen = ready!(direction.poll_ready(seat, cx, || self.arm(way)))?;
            match attempt(Try { source: self, seen }) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !direction.not_now(seen) {
                        return Poll::Ready(Err(JoinError::RuntimeGone.into()));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// Has the worker watch.
    fn arm(&self, way: Way) {
        // A worker that is gone drops it here, and that tells those who wait.
        schedule(Watch::new(Arc::clone(&self.inner), way).into_job());
    }

    fn direction(&self, way: Way) -> &Direction {
        self.inner.direction(way)
    }
}

impl<S: AsFd + Send + Sync + 'static> Drop for Source<S> {
    fn drop(&mut self) {
        let home = &self.inner.home;
        home.counts.0.sockets.fetch_sub(1, Ordering::Relaxed);
        self.inner.read.leave();
        self.inner.write.leave();
    }
}

impl<S: AsFd + Send + Sync + 'static> AsFd for Source<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.socket.as_fd()
    }
}

impl<S: AsFd + fmt::Debug + Send + Sync + 'static> fmt::Debug for Source<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("socket", &self.inner.socket)
            .field("worker", &self.inner.home.index)
            .field("read", &self.inner.read)
            .field("write", &self.inner.write)
            .finish()
    }
}

impl<S> Inner<S> {
    pub(super) fn direction(&self, way: Way) -> &Direction {
        match way {
            Way::Read => &self.read,
            Way::Write => &self.write,
        }
    }

    pub(super) fn home(&self) -> &Arc<Shared> {
        &self.home
    }
}

impl<S: AsFd> AsFd for Inner<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A try to move bytes without waiting.
pub(super) struct Try<'a, S: AsFd + Send + Sync + 'static> {
    source: &'a Source<S>,
    seen: Seen,
}

impl<'a, S: AsFd + Send + Sync + 'static> Try<'a, S> {
    pub(super) fn socket(&self) -> &'a S {
        self.source.socket()
    }

    /// So many bytes were moved.
    pub(super) fn moved(&self, way: Way, bytes: usize) {
        self.source.direction(way).spend(bytes);
    }

    /// There is nothing left to be read.
    pub(super) fn took_all(&self, way: Way) {
        self.source.direction(way).took_all(self.seen);
    }

    fn is_worth_it(&self, way: Way) -> io::Result<()> {
        super::sys::poll_now(self.source.as_fd(), way)
    }
}

/// A place among those who wait, given back when it is dropped.
pub(super) struct Waiting<'a, S: AsFd + Send + Sync + 'static> {
    source: &'a Source<S>,
    way: Way,
    seat: Seat,
}

impl<'a, S: AsFd + Send + Sync + 'static> Waiting<'a, S> {
    pub(super) fn new(source: &'a Source<S>, way: Way) -> Self {
        Self {
            source,
            way,
            seat: Seat::Own(None),
        }
    }

    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        attempt: impl FnMut(Try<'_, S>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        self.source.poll_in(&mut self.seat, self.way, cx, attempt)
    }
}

impl<S: AsFd + Send + Sync + 'static> Drop for Waiting<'_, S> {
    fn drop(&mut self) {
        self.source.direction(self.way).stand_up(&mut self.seat);
    }
}
