//! The socket, and its place among those that its runtime watches.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll};

use super::CompioSocket;
use super::reactor::Reactor;
use super::slot::{Direction, Slot};

/// What a shim, or each half of one, knows its socket by.
pub(super) struct Link<S: CompioSocket> {
    pub(super) socket: S,
    /// Since somebody had to wait for the first time.
    place: RefCell<Option<Place>>,
}

struct Place {
    reactor: Rc<Reactor>,
    key: usize,
    slot: Rc<Slot>,
    /// What is registered if the socket's own descriptor is already, by another shim over a clone.
    twin: Option<OwnedFd>,
}

impl<S: CompioSocket> Link<S> {
    pub(super) fn new(socket: S) -> Self {
        Self {
            socket,
            place: RefCell::new(None),
        }
    }

    /// Ready when there may be something to read: whether it is all that there will ever be.
    pub(super) fn poll_readable(&self, cx: &Context<'_>) -> Poll<io::Result<bool>> {
        self.poll_news(cx, |slot| &slot.readable)
            .map_ok(|slot| slot.is_closing())
    }

    /// Ready when there may be room to write.
    pub(super) fn poll_writable(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.poll_news(cx, |slot| &slot.writable).map_ok(|_| ())
    }

    fn poll_news(
        &self,
        cx: &Context<'_>,
        direction: fn(&Slot) -> &Direction,
    ) -> Poll<io::Result<Rc<Slot>>> {
        let slot = self.slot()?;
        let news = direction(&slot);
        if !news.take() {
            news.wait(cx);
            // Foreign code has run meanwhile, so it is asked last.
            self.check()?;
            if !news.take() {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(slot))
    }

    /// The socket's place, from the first wait on. No borrow outlives this.
    fn slot(&self) -> io::Result<Rc<Slot>> {
        if let Some(place) = &*self.place.borrow() {
            return Ok(place.slot.clone());
        }
        let place = Place::register(&self.socket)?;
        let slot = place.slot.clone();
        *self.place.borrow_mut() = Some(place);
        Ok(slot)
    }

    fn check(&self) -> io::Result<()> {
        let place = self.place.borrow();
        place.as_ref().map_or(Ok(()), |place| place.reactor.check())
    }
}

impl Place {
    fn register(socket: &impl AsFd) -> io::Result<Self> {
        let reactor = Reactor::here()?;
        let ((key, slot), twin) = match reactor.register(socket) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let twin = socket.as_fd().try_clone_to_owned()?;
                (reactor.register(&twin)?, Some(twin))
            }
            place => (place?, None),
        };
        Ok(Self {
            reactor,
            key,
            slot,
            twin,
        })
    }
}

impl<S: CompioSocket> Drop for Link<S> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            match &place.twin {
                Some(twin) => place.reactor.forget(place.key, twin),
                None => place.reactor.forget(place.key, &self.socket),
            }
        }
    }
}
