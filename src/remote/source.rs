//! A socket whose waiting is done by a worker.

use std::{
    fmt,
    future::poll_fn,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Arc, OnceLock, atomic::Ordering},
    task::{Context, Poll, ready},
};

use super::{
    direction::{Direction, Seat, Seen},
    watch::{Held, Watch},
};
use crate::{
    error::JoinError,
    pool::{Shared, Target, schedule},
};

/// A socket, non-blocking, and the worker that waits for it.
///
/// When it is dropped, the watches end.
pub(super) struct Source<S: AsFd + Send + Sync + 'static> {
    /// A watch that has it, too, closes it when it ends: until then the descriptor is not given to somebody else.
    socket: Arc<S>,
    /// What the watches of reads have in its place, if it is to be closed here and now.
    stand_in: Option<OnceLock<Arc<OwnedFd>>>,
    inner: Owner,
}

/// When it is dropped, nobody uses the socket any more.
struct Owner(Arc<Inner>);

/// What the watches share with the socket's user.
pub(super) struct Inner {
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
        Self::on(target.pick_for_socket(), socket)
    }

    /// On that worker.
    pub(super) fn on(home: &Arc<Shared>, socket: S) -> Self {
        home.counts.0.sockets.fetch_add(1, Ordering::Relaxed);
        let inner = Inner {
            read: Direction::new(),
            write: Direction::new(),
            home: Arc::clone(home),
        };
        Self {
            socket: Arc::new(socket),
            stand_in: None,
            inner: Owner(Arc::new(inner)),
        }
    }

    /// What waits to read from it does not keep it open: its address is free as soon as it is dropped. Takes one
    /// more descriptor once somebody has waited, so it is for listeners and the like, of which there are few.
    pub(super) fn closed_at_once(mut self) -> Self {
        if cfg!(target_os = "linux") {
            self.stand_in = Some(OnceLock::new());
        }
        self
    }

    pub(super) fn socket(&self) -> &S {
        &self.socket
    }

    /// The socket; a duplicate of it if a watch has it, too, and the source again if there can be none.
    pub(super) fn into_socket(
        self,
        duplicate: impl FnOnce(&S) -> io::Result<S>,
    ) -> Result<S, (io::Error, Self)> {
        let socket = match Arc::try_unwrap(self.socket) {
            Ok(socket) => return Ok(socket),
            Err(socket) => socket,
        };
        duplicate(&socket).map_err(|error| (error, Self { socket, ..self }))
    }

    pub(super) fn home(&self) -> &Arc<Shared> {
        &self.inner.0.home
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

    /// The same, of which the last caller counts.
    pub(super) fn poll_ready(&self, way: Way, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_io(way, cx, |attempt| attempt.is_worth_it(way))
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
        attempt: impl FnMut(Try<'_, S>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        ready!(self.poll_proceed(way, cx));
        let result = ready!(self.poll_tries(seat, way, cx, attempt));
        self.direction(way).called();
        Poll::Ready(result)
    }

    /// Whether the neighbours are to have their turn first; a wake-up is on its way then.
    pub(super) fn poll_proceed(&self, way: Way, cx: &mut Context<'_>) -> Poll<()> {
        self.direction(way).poll_proceed(cx)
    }

    /// For who is not to try, since the pool is gone; the neighbours have their turn as with any other call.
    pub(super) fn poll_gone<T>(&self, way: Way, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        ready!(self.poll_proceed(way, cx));
        self.direction(way).called();
        Poll::Ready(Err(JoinError::RuntimeGone.into()))
    }

    fn poll_tries<T>(
        &self,
        seat: &mut Seat,
        way: Way,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut(Try<'_, S>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        let direction = self.direction(way);
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
        schedule(Watch::new(Arc::clone(&self.inner.0), way, self.held(way)).into_job());
    }

    /// What a watch polls.
    fn held(&self, way: Way) -> Held {
        #[cfg(target_os = "linux")]
        if way == Way::Read
            && let Some(stand_in) = &self.stand_in
        {
            if let Some(known) = stand_in.get() {
                return Held::StandIn(Arc::clone(known));
            }
            // With no descriptor left, the socket does.
            if let Ok(new) = super::sys::readable_stand_in(self.as_fd()) {
                return Held::StandIn(Arc::clone(stand_in.get_or_init(|| Arc::new(new))));
            }
        }
        let socket = Arc::clone(&self.socket);
        Held::Socket(socket)
    }

    fn direction(&self, way: Way) -> &Direction {
        self.inner.0.direction(way)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let Inner { read, write, home } = &*self.0;
        home.counts.0.sockets.fetch_sub(1, Ordering::Relaxed);
        read.leave();
        write.leave();
    }
}

impl<S: AsFd + Send + Sync + 'static> AsFd for Source<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl<S: AsFd + fmt::Debug + Send + Sync + 'static> fmt::Debug for Source<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("socket", &self.socket)
            .field("worker", &self.inner.0.home.index)
            .field("read", &self.inner.0.read)
            .field("write", &self.inner.0.write)
            .finish()
    }
}

impl Inner {
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
        self.source.direction(way).moved(bytes);
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
