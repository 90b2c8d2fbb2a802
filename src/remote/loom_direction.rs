//! Models of a socket's direction; see `docs/loom.md` for what each has been seen to catch.

use std::{future::poll_fn, io, task::Poll};

use loom::{
    future::block_on,
    model,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use super::direction::{Direction, Event, Seat};

/// What a kernel has of a socket and of its watch.
struct Socket {
    direction: Direction,
    /// What has arrived and was not read.
    bytes: AtomicUsize,
    /// Whether the watch is set up; under the lock the watch speaks, as it does on its worker.
    watched: Mutex<bool>,
    watch: Watch,
}

#[derive(Clone, Copy)]
enum Watch {
    /// Goes on.
    GoesOn,
    /// Goes on until an event has found nobody who has use for it.
    UntilUnneeded,
    /// Tells once.
    Once,
}

impl Socket {
    fn new(watch: Watch) -> Arc<Self> {
        Arc::new(Self {
            direction: Direction::new(),
            bytes: AtomicUsize::new(0),
            watched: Mutex::new(false),
            watch,
        })
    }

    /// One byte more.
    fn arrive(&self) {
        let mut watched = self.watched.lock().unwrap();
        self.bytes.fetch_add(1, Ordering::AcqRel);
        if *watched {
            *watched = self.tell();
        }
    }

    /// The watch is set up: what is there already is an event.
    fn arm(&self) {
        let mut watched = self.watched.lock().unwrap();
        *watched = true;
        if self.bytes.load(Ordering::Acquire) > 0 {
            *watched = self.tell();
        }
    }

    /// Whether the watch goes on.
    fn tell(&self) -> bool {
        let event = Event {
            more: false,
            last: matches!(self.watch, Watch::Once),
            last_if_unneeded: matches!(self.watch, Watch::UntilUnneeded),
        };
        !self.direction.event(event).over
    }

    /// Takes all there is, as soon as there is something.
    fn read(&self) -> usize {
        let mut seat = Seat::Own(None);
        let n = block_on(poll_fn(|cx| {
            loop {
                let ready = self.direction.poll_ready(&mut seat, cx, || self.arm());
                let Poll::Ready(seen) = ready else {
                    return Poll::Pending;
                };
                let seen = seen.unwrap();
                match self.bytes.swap(0, Ordering::AcqRel) {
                    0 => assert!(self.direction.not_now(seen)),
                    n => {
                        self.direction.took_all(seen);
                        return Poll::Ready(n);
                    }
                }
            }
        }));
        self.direction.stand_up(&mut seat);
        n
    }
}

fn nothing_is_lost(watch: Watch, arrivals: usize) {
    model(move || {
        let socket = Socket::new(watch);
        let peer = {
            let socket = socket.clone();
            thread::spawn(move || (0..arrivals).for_each(|_| socket.arrive()))
        };
        let mut read = 0;
        while read < arrivals {
            read += socket.read();
        }
        peer.join().unwrap();
    });
}

/// No lost wake-up: a reader that waits gets every byte, though it is told of several at once, or of one that
/// it has read already.
#[test]
fn a_reader_gets_every_byte_of_a_watch_that_goes_on() {
    nothing_is_lost(Watch::GoesOn, 2);
}

/// The same where the watch ends when nobody has use for it.
#[test]
fn a_reader_gets_every_byte_of_a_watch_that_ends_for_want_of_use() {
    nothing_is_lost(Watch::UntilUnneeded, 2);
}

/// The same where the watch ends with each event and is set up again.
#[test]
fn a_reader_gets_every_byte_of_watches_that_tell_once() {
    nothing_is_lost(Watch::Once, 2);
}

/// An event is everybody's: who gets nothing waits on, and who gets something leaves the next byte to others.
#[test]
fn two_readers_share_the_events() {
    let mut builder = loom::model::Builder::new();
    // Three threads and a lock: with three preemptions it takes minutes.
    builder.preemption_bound = Some(2);
    builder.check(|| {
        let socket = Socket::new(Watch::Once);
        let peer = {
            let socket = socket.clone();
            thread::spawn(move || socket.arrive())
        };
        let got = Arc::new(AtomicBool::new(false));
        let reader = || {
            let (socket, got) = (socket.clone(), got.clone());
            // The byte is for one; the other is told by it, which is an event, too.
            move || {
                let mut seat = Seat::Own(None);
                block_on(poll_fn(|cx| {
                    loop {
                        if got.load(Ordering::Acquire) {
                            return Poll::Ready(());
                        }
                        let ready = socket.direction.poll_ready(&mut seat, cx, || socket.arm());
                        let Poll::Ready(seen) = ready else {
                            return Poll::Pending;
                        };
                        let seen = seen.unwrap();
                        if socket.bytes.swap(0, Ordering::AcqRel) > 0 {
                            got.store(true, Ordering::Release);
                            socket.direction.gone();
                            return Poll::Ready(());
                        }
                        _ = socket.direction.not_now(seen);
                    }
                }));
                socket.direction.stand_up(&mut seat);
            }
        };
        let other = thread::spawn(reader());
        reader()();
        other.join().unwrap();
        peer.join().unwrap();
    });
}

/// Never a hang: who waits when the worker goes is told, and so is who comes later.
#[test]
fn a_reader_is_told_that_the_worker_is_gone() {
    model(|| {
        let direction = Arc::new(Direction::waiting());
        let worker = {
            let direction = direction.clone();
            thread::spawn(move || direction.gone())
        };
        let mut seat = Seat::Last;
        let seen = block_on(poll_fn(|cx| direction.poll_ready(&mut seat, cx, || ())));
        assert!(!direction.not_now(seen.unwrap()));
        worker.join().unwrap();
    });
}

/// A watch that cannot be set up is told of once, and may be tried again.
#[test]
fn a_failure_is_told_once() {
    model(|| {
        let direction = Arc::new(Direction::waiting());
        let arms = Arc::new(AtomicUsize::new(0));
        let mut worker = None;
        let mut seat = Seat::Last;
        let mut errors = 0;
        block_on(poll_fn(|cx| {
            loop {
                let arm = || {
                    let first = arms.fetch_add(1, Ordering::Relaxed) == 0;
                    let direction = direction.clone();
                    let watch = move || {
                        if first {
                            direction.fail(io::ErrorKind::OutOfMemory.into());
                        } else {
                            direction.gone();
                        }
                    };
                    match &worker {
                        None => worker = Some(thread::spawn(watch)),
                        Some(_) => watch(),
                    }
                };
                match direction.poll_ready(&mut seat, cx, arm) {
                    Poll::Ready(Err(_)) => errors += 1,
                    Poll::Ready(Ok(_)) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        }));
        assert_eq!(errors, 1);
        worker.unwrap().join().unwrap();
    });
}

/// The watch of a socket that is dropped ends, and its descriptor with it.
#[test]
fn a_watch_ends_with_its_socket() {
    model(|| {
        let direction = Arc::new(Direction::new());
        let user = {
            let direction = direction.clone();
            thread::spawn(move || direction.leave())
        };
        block_on(poll_fn(|cx| direction.poll_left(cx)));
        user.join().unwrap();
    });
}
