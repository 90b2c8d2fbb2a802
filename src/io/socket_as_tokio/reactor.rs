//! All sockets of a runtime behind one descriptor, which Compio's driver watches.
//!
//! An epoll instance, as Tokio has one: a socket is registered once, edge-triggered, and nothing is
//! armed, allocated or cancelled for a message. One helper task for each runtime waits until the
//! instance has something, fetches all of it with one call, and wakes whoever waits. It begins with
//! the first socket that has to wait and ends with the last socket.

use std::cell::{Cell, RefCell};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use compio::BufResult;
use compio::driver::op::{Interest, PollOnce};
use compio::runtime::{Runtime, Submit};
use rustix::event::{Timespec, epoll};
use slab::Slab;

use super::slot::Slot;
use crate::io::home::{Home, current};

/// What the helper fetches at once. There may be more: then it asks again.
const EVENTS: usize = 128;

thread_local! {
    /// Those with a helper: one for each runtime that has sockets of ours.
    static REACTORS: RefCell<Vec<Rc<Reactor>>> = const { RefCell::new(Vec::new()) };
}

pub(super) struct Reactor {
    home: Home,
    epoll: Rc<OwnedFd>,
    slots: RefCell<Slab<Rc<Slot>>>,
    helper: Cell<Option<Waker>>,
    helper_is_gone: Cell<bool>,
    /// Why, if it was not the end of its runtime or of the last socket.
    failed: Cell<Option<Failure>>,
}

/// An error that everybody is told who waits.
#[derive(Clone, Copy, Debug)]
enum Failure {
    Code(i32),
    Kind(io::ErrorKind),
}

impl Reactor {
    /// That of the current runtime.
    pub(super) fn here() -> io::Result<Rc<Self>> {
        current(Self::of)?
    }

    fn of(runtime: &Runtime) -> io::Result<Rc<Self>> {
        let home = Home::of(runtime);
        let found = REACTORS.try_with(|reactors| {
            let known = reactors.borrow().iter().find(|it| it.home == home).cloned();
            if let Some(known) = known {
                return Ok(known);
            }
            let new = Rc::new(Self {
                home,
                epoll: Rc::new(epoll::create(epoll::CreateFlags::CLOEXEC)?),
                slots: RefCell::default(),
                helper: Cell::new(None),
                helper_is_gone: Cell::new(false),
                failed: Cell::new(None),
            });
            reactors.borrow_mut().push(new.clone());
            crate::rt::spawn_helper(Helper {
                reactor: new.clone(),
                events: None,
            });
            Ok(new)
        });
        found.unwrap_or_else(|_| Err(io::Error::other("this thread is ending")))
    }

    /// Whoever waits for a runtime that does not run waits for ever, so he is told.
    pub(super) fn check(&self) -> io::Result<()> {
        if let Some(failure) = self.failed.get() {
            return Err(failure.into());
        }
        if self.helper_is_gone.get() {
            return Err(io::Error::other(
                "the Compio runtime that a socket waited on is gone, or has lost its tasks to a panic",
            ));
        }
        self.home.check()
    }

    pub(super) fn register(&self, socket: impl AsFd) -> io::Result<(usize, Rc<Slot>)> {
        use epoll::{EventData, EventFlags};
        let mut slots = self.slots.borrow_mut();
        let entry = slots.vacant_entry();
        let key = entry.key();
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&*self.epoll, socket, EventData::new_u64(key as u64), flags)?;
        let slot = Rc::new(Slot::default());
        entry.insert(slot.clone());
        Ok((key, slot))
    }

    pub(super) fn forget(&self, key: usize, socket: impl AsFd) {
        // It is registered, unless the program has closed the descriptor behind our backs.
        let _ = epoll::delete(&*self.epoll, socket);
        let slot = self.slots.borrow_mut().remove(key);
        drop(slot);
        if self.slots.borrow().is_empty()
            && let Some(helper) = self.helper.take()
        {
            helper.wake();
        }
    }

    /// Hands out everything that the instance has to tell.
    fn dispatch(&self) -> io::Result<()> {
        let at_once = Timespec::default();
        let mut room = [const { MaybeUninit::uninit() }; EVENTS];
        loop {
            let (events, rest) = epoll::wait(&*self.epoll, &mut room, Some(&at_once))?;
            for event in &*events {
                let key = event.data.u64() as usize;
                // Whoever is woken may drop sockets, so nothing is borrowed meanwhile. A key that
                // was given away anew after this was fetched costs its new owner one look.
                let slot = self.slots.borrow().get(key).cloned();
                if let Some(slot) = slot {
                    slot.tell(event.flags);
                }
            }
            if !rest.is_empty() {
                return Ok(());
            }
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let code = error.raw_os_error().map(Self::Code);
        code.unwrap_or_else(|| Self::Kind(error.kind()))
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Code(code) => Self::from_raw_os_error(code),
            Failure::Kind(kind) => kind.into(),
        }
    }
}

/// The task that turns what the instance has to tell into wake-ups.
struct Helper {
    reactor: Rc<Reactor>,
    events: Option<Submit<PollOnce<Rc<OwnedFd>>>>,
}

impl Helper {
    fn poll_events(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let events = match &mut self.events {
            Some(events) => events,
            none => none.insert(current(|runtime| {
                let epoll = self.reactor.epoll.clone();
                runtime.submit(PollOnce::new(epoll, Interest::Readable))
            })?),
        };
        let BufResult(result, _) = ready!(Pin::new(events).poll(cx));
        self.events = None;
        Poll::Ready(result.map(|_| ()))
    }
}

impl Future for Helper {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let known = this.reactor.helper.take();
        let known = known.filter(|waker| waker.will_wake(cx.waker()));
        let waker = known.unwrap_or_else(|| cx.waker().clone());
        this.reactor.helper.set(Some(waker));
        while !this.reactor.slots.borrow().is_empty() {
            let told = ready!(this.poll_events(cx)).and_then(|()| this.reactor.dispatch());
            match told {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    this.reactor.failed.set(Some(error.into()));
                    break;
                }
                _ => {}
            }
        }
        Poll::Ready(())
    }
}

impl Drop for Helper {
    /// Also when the runtime ends before the sockets: then nobody may wait any more.
    fn drop(&mut self) {
        self.reactor.helper_is_gone.set(true);
        drop(self.reactor.helper.take());
        // While the thread ends there is no list to be on.
        let _ = REACTORS.try_with(|reactors| {
            let mut reactors = reactors.borrow_mut();
            reactors.retain(|it| !Rc::ptr_eq(it, &self.reactor));
        });
        let slots: Vec<_> = self
            .reactor
            .slots
            .borrow()
            .iter()
            .map(|(_, slot)| slot.clone())
            .collect();
        for slot in slots {
            slot.wake_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use compio::driver::{DriverType, ProactorBuilder};
    use compio::runtime::RuntimeBuilder;

    use super::*;

    /// "The runtime is gone" would send whoever reads it looking in the wrong place.
    #[test]
    fn what_has_failed_is_what_those_who_wait_are_told() {
        for driver in [DriverType::Poll, DriverType::IoUring] {
            let mut proactor = ProactorBuilder::new();
            proactor.driver_type(driver);
            let Ok(runtime) = RuntimeBuilder::new().with_proactor(proactor).build() else {
                continue;
            };
            runtime.block_on(async {
                // Not what it should be, so that waiting for it or asking it fails.
                let file = std::fs::File::open("Cargo.toml").unwrap();
                let reactor = Rc::new(Reactor {
                    home: current(Home::of).unwrap(),
                    epoll: Rc::new(file.into()),
                    slots: RefCell::default(),
                    helper: Cell::new(None),
                    helper_is_gone: Cell::new(false),
                    failed: Cell::new(None),
                });
                reactor.slots.borrow_mut().insert(Rc::default());
                reactor.check().unwrap();
                Helper {
                    reactor: reactor.clone(),
                    events: None,
                }
                .await;
                let error = reactor.check().unwrap_err();
                assert!(error.raw_os_error().is_some(), "{error} on {driver:?}");
            });
        }
    }
}
