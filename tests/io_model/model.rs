//! What anybody may expect of a stream, move by move.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use super::users::{Call, Offers, Patience, User};
use super::wire::{Event, Tag, Wire};

#[derive(Clone, Debug)]
pub enum Move {
    Read {
        room: usize,
        polls: u8,
    },
    ReadOtherwise {
        room: usize,
        polls: u8,
    },
    /// Waits, once it has to, for what the peer then sends.
    ReadWhat {
        room: usize,
        len: usize,
    },
    Write {
        lens: Vec<usize>,
        polls: u8,
    },
    /// Waits, once it has to, for the room that the peer then makes.
    WriteInto {
        len: usize,
        room: usize,
    },
    Flush {
        polls: u8,
    },
    Shutdown {
        polls: u8,
    },
    /// Everything that can run does.
    Settle,
    PeerSends(usize),
    PeerFails,
    PeerEnds,
    PeerTakes(usize),
    WriteFailsIn(usize),
    FlushFails,
    ShutdownFails,
}

/// What stands between the user and the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shim {
    /// Nothing is kept.
    Direct,
    /// At most so many bytes are kept on the way in, and on the way out.
    Buffers { inward: usize, outward: usize },
}

/// The other end of the stream.
pub trait Far {
    /// What the peer has sent; nothing if it cannot now.
    fn send(&self, bytes: &[u8]) -> usize;
    fn end(&self);
    /// Takes so many bytes, now or when they come.
    fn take(&self, count: usize);
    /// Takes what has to be taken so that there is room for so many bytes.
    fn make_room(&self, count: usize) {
        self.take(count);
    }
    /// What has been taken from `from` on.
    fn taken_from(&self, from: usize) -> Vec<u8>;
    /// The stream in memory, if it is one: it can fail, and knows more.
    fn wire(&self) -> Option<&Wire>;
}

impl Far for Rc<Wire> {
    fn send(&self, bytes: &[u8]) -> usize {
        for byte in bytes {
            self.push(Event::Byte(*byte));
        }
        bytes.len()
    }

    fn end(&self) {
        self.push(Event::End);
    }

    fn take(&self, count: usize) {
        self.give_room(count);
    }

    fn taken_from(&self, from: usize) -> Vec<u8> {
        self.taken()[from..].to_vec()
    }

    fn wire(&self) -> Option<&Wire> {
        Some(self)
    }
}

pub struct Model<'a, F> {
    pub far: &'a F,
    shim: Shim,
    /// What the peer did and the user has not been told.
    inbound: RefCell<VecDeque<Event>>,
    ended: Cell<bool>,
    sent: Cell<u8>,
    /// All that was accepted, and how much of it has been compared.
    accepted: Vec<u8>,
    compared: Cell<usize>,
    offers: Offers,
    /// A shutdown was asked for, and no error has put an end to it.
    asked: bool,
}

impl<'a, F: Far> Model<'a, F> {
    pub fn new(far: &'a F, shim: Shim) -> Self {
        Self {
            far,
            shim,
            inbound: RefCell::default(),
            ended: Cell::new(false),
            sent: Cell::new(0),
            accepted: Vec::new(),
            compared: Cell::new(0),
            offers: Offers::default(),
            asked: false,
        }
    }

    pub async fn play(&mut self, user: &mut impl User, moves: &[Move]) {
        for a_move in moves {
            self.make(user, a_move).await;
            self.check();
        }
    }

    async fn make(&mut self, user: &mut impl User, a_move: &Move) {
        match a_move {
            Move::Read { room, polls } => {
                self.read(user, *room, Patience::Polls(*polls), false).await;
            }
            Move::ReadOtherwise { room, polls } => {
                self.read(user, *room, Patience::Polls(*polls), true).await;
            }
            Move::ReadWhat { room, len } => {
                if !self.read(user, *room, Patience::Polls(2), false).await {
                    self.send(*len);
                    if !self.inbound.borrow().is_empty() {
                        self.read(user, *room, Patience::Endless, false).await;
                    }
                }
            }
            Move::Write { lens, polls } => {
                self.write(user, lens, Patience::Polls(*polls)).await;
            }
            Move::WriteInto { len, room } => {
                if !self.write(user, &[*len], Patience::Polls(2)).await {
                    // Enough for what the shim keeps, and one more.
                    self.far.make_room(self.kept_outward() + 1 + room);
                    self.write(user, &[*len], Patience::Endless).await;
                }
            }
            Move::Flush { polls } => _ = self.flush(user, Patience::Polls(*polls)).await,
            Move::Shutdown { polls } => _ = self.shutdown(user, Patience::Polls(*polls)).await,
            Move::Settle => settle().await,
            Move::PeerSends(len) => self.send(*len),
            Move::PeerFails => {
                if let Some(wire) = self.far.wire().filter(|wire| !wire.has_ended()) {
                    let tag = wire.push_error();
                    self.inbound.borrow_mut().push_back(Event::Error(tag));
                }
            }
            Move::PeerEnds => self.end(),
            Move::PeerTakes(count) => self.far.take(*count),
            Move::WriteFailsIn(count) => self.on_wire(|wire| wire.fail_write_in(*count)),
            Move::FlushFails => self.on_wire(Wire::fail_flush),
            Move::ShutdownFails => self.on_wire(Wire::fail_shutdown),
        }
    }

    fn on_wire(&self, act: impl FnOnce(&Wire)) {
        if let Some(wire) = self.far.wire() {
            act(wire);
        }
    }

    pub fn send(&self, len: usize) {
        if self.ended.get() {
            return;
        }
        let first = self.sent.get();
        let bytes: Vec<u8> = (0..len)
            .map(|i| first.wrapping_add((i ^ (i >> 8)) as u8))
            .collect();
        let count = self.far.send(&bytes);
        self.sent
            .set(first.wrapping_add(count as u8).wrapping_mul(3));
        let bytes = bytes[..count].iter().map(|byte| Event::Byte(*byte));
        self.inbound.borrow_mut().extend(bytes);
    }

    pub fn end(&self) {
        if !self.ended.replace(true) {
            self.far.end();
            self.inbound.borrow_mut().push_back(Event::End);
        }
    }

    fn kept_outward(&self) -> usize {
        match self.shim {
            Shim::Direct => 0,
            Shim::Buffers { outward, .. } => outward,
        }
    }

    fn oldest_untold(&self) -> Option<Tag> {
        self.far.wire().and_then(Wire::oldest_untold)
    }

    /// Whether the read came to an end.
    async fn read(
        &self,
        user: &mut impl User,
        room: usize,
        patience: Patience,
        otherwise: bool,
    ) -> bool {
        let call = Call {
            patience,
            before_poll: &|| {},
        };
        let result = match otherwise {
            true => user.read_otherwise(room.max(1), &call).await,
            false => user.read(room.max(1), &call).await,
        };
        let Some(result) = result else {
            return false;
        };
        match result {
            Ok(bytes) if bytes.is_empty() => self.expect(Event::End),
            Ok(bytes) => bytes
                .into_iter()
                .for_each(|byte| self.expect(Event::Byte(byte))),
            Err(error) => self.expect(Event::Error(tag_of(&error))),
        }
        true
    }

    /// What the user has been told is what came next. An end stays.
    pub fn expect(&self, told: Event) {
        let mut inbound = self.inbound.borrow_mut();
        assert_eq!(inbound.front(), Some(&told), "was told what did not come");
        if told != Event::End {
            inbound.pop_front();
        }
    }

    /// What the user has not been told yet.
    pub fn untold_inbound(&self) -> Vec<Event> {
        self.inbound.borrow().iter().cloned().collect()
    }

    /// Whether the write came to an end.
    async fn write(&mut self, user: &mut impl User, lens: &[usize], patience: Patience) -> bool {
        let untold = Cell::new(None);
        let far = self.far;
        let call = Call {
            patience,
            before_poll: &|| untold.set(far.wire().and_then(Wire::oldest_untold)),
        };
        let Some((result, offer)) = user.write(lens, &mut self.offers, &call).await else {
            return false;
        };
        match result {
            Ok(count) => {
                assert_eq!(untold.get(), None, "an error should have been told");
                assert!(count <= offer.len());
                assert!(count > 0 || offer.is_empty(), "nothing was taken");
                assert!(
                    count == 0 || !self.refuses(),
                    "accepted what can no longer go out"
                );
                self.accepted.extend_from_slice(&offer[..count]);
            }
            Err(error) => self.told(&error),
        }
        true
    }

    /// Whether writes have to be refused.
    fn refuses(&self) -> bool {
        let Some(wire) = self.far.wire() else {
            return self.asked;
        };
        match self.shim {
            Shim::Direct => wire.is_shut(),
            // An error that came during the write is told by the next one.
            Shim::Buffers { .. } => {
                self.asked || (wire.is_broken() && wire.oldest_untold().is_none())
            }
        }
    }

    /// `None`: not yet done; else whether it went well.
    async fn flush(&mut self, user: &mut impl User, patience: Patience) -> Option<bool> {
        let untold = Cell::new(None);
        let far = self.far;
        let call = Call {
            patience,
            before_poll: &|| untold.set(far.wire().and_then(Wire::oldest_untold)),
        };
        let result = user.flush(&call).await?;
        if let Err(error) = &result {
            self.told(error);
        } else if let Some(wire) = self.far.wire() {
            assert_eq!(untold.get(), None, "an error should have been told");
            let lost = wire.is_broken() && self.shim != Shim::Direct;
            if !wire.is_shut() && !lost {
                assert_eq!(
                    wire.taken_len(),
                    self.accepted.len(),
                    "flushed, but not out"
                );
                assert!(wire.is_flushed(), "the flush did not reach the stream");
            }
        }
        Some(result.is_ok())
    }

    async fn shutdown(&mut self, user: &mut impl User, patience: Patience) -> Option<bool> {
        let untold = Cell::new(None);
        let far = self.far;
        let call = Call {
            patience,
            before_poll: &|| untold.set(far.wire().and_then(Wire::oldest_untold)),
        };
        self.asked |= self.oldest_untold().is_none();
        let result = user.shutdown(&call).await?;
        if let Err(error) = &result {
            self.told(error);
        } else if let Some(wire) = self.far.wire() {
            assert_eq!(untold.get(), None, "an error should have been told");
            assert!(wire.is_shut(), "the shutdown did not reach the stream");
            assert!(wire.taken_len() == self.accepted.len() || wire.is_broken());
        }
        Some(result.is_ok())
    }

    /// The oldest error that was not told, or one that says why nothing can be written.
    fn told(&mut self, error: &io::Error) {
        match self.oldest_untold() {
            Some(oldest) => {
                assert_eq!(tag_of(error), oldest);
                self.on_wire(Wire::told);
                self.asked = false;
            }
            None => {
                assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "{error}");
                assert!(
                    error
                        .get_ref()
                        .is_none_or(|inner| inner.downcast_ref::<Tag>().is_none())
                );
                assert!(self.refuses(), "told of an error that nobody made: {error}");
            }
        }
    }

    /// What arrived is what was accepted; no more is on the way than was said.
    pub fn check(&self) {
        let compared = self.compared.get();
        let news = self.far.taken_from(compared);
        let taken = compared + news.len();
        assert!(
            taken <= self.accepted.len(),
            "more arrived than was accepted"
        );
        assert!(
            news == self.accepted[compared..taken],
            "other bytes arrived"
        );
        self.compared.set(taken);
        let Some(wire) = self.far.wire() else {
            return;
        };
        if !wire.is_broken() {
            assert!(
                self.accepted.len() - taken <= self.kept_outward(),
                "too much is kept"
            );
        }
        let inward = match self.shim {
            // Behind the bytes of a vectored read there may have been an error.
            Shim::Direct => 1,
            Shim::Buffers { inward, .. } => inward,
        };
        assert!(
            self.inbound.borrow().len() <= wire.unmet().len() + inward,
            "too much is kept"
        );
        assert!(
            wire.late_writes() == 0 || self.shim == Shim::Direct,
            "a write after a shutdown"
        );
    }

    /// From here on all goes well: what is still to come comes, and is told.
    pub async fn finish(&mut self, user: &mut impl User) {
        self.write_out(user).await;
        self.write(user, &[5], Patience::Endless).await;
        self.check();
        self.read_out(user).await;
    }

    /// Whoever has flushed may wait for the answer to what he wrote: its length.
    pub async fn flush_out(&mut self, user: &mut impl User) -> usize {
        self.far.take(usize::MAX);
        assert_eq!(self.flush(user, Patience::Endless).await, Some(true));
        self.accepted.len()
    }

    /// All that was accepted goes out, and the end of it.
    pub async fn write_out(&mut self, user: &mut impl User) {
        self.on_wire(Wire::no_more_faults);
        self.far.take(usize::MAX);
        // Twice, since two errors may be untold, and once to see it well.
        for _ in 0..2 {
            _ = self.flush(user, Patience::Endless).await;
        }
        assert_eq!(self.flush(user, Patience::Endless).await, Some(true));
        self.check();
        for _ in 0..2 {
            assert_eq!(self.shutdown(user, Patience::Endless).await, Some(true));
            assert_eq!(self.flush(user, Patience::Endless).await, Some(true));
        }
    }

    /// All that came is read, and the end of it.
    pub async fn read_out(&mut self, user: &mut impl User) {
        self.end();
        while self.inbound.borrow().front() != Some(&Event::End) {
            self.read(user, 4_000, Patience::Endless, false).await;
        }
        for otherwise in [false, true, false] {
            assert!(self.read(user, 10, Patience::Endless, otherwise).await);
        }
        assert!(self.all_is_told());
    }

    /// Whether everything accepted is out.
    pub fn all_is_out(&self) -> bool {
        self.check();
        self.compared.get() == self.accepted.len()
    }

    pub fn into_accepted(self) -> Vec<u8> {
        self.accepted
    }

    pub fn all_is_told(&self) -> bool {
        self.oldest_untold().is_none()
    }
}

fn tag_of(error: &io::Error) -> Tag {
    let tag = error.get_ref().and_then(|inner| inner.downcast_ref());
    *tag.unwrap_or_else(|| panic!("not an error of the stream's: {error}"))
}

/// Lets everything that can run on this thread run.
pub async fn settle() {
    for _ in 0..6 {
        let mut yielded = false;
        std::future::poll_fn(|cx| {
            if std::mem::replace(&mut yielded, true) {
                return std::task::Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            std::task::Poll::Pending
        })
        .await;
    }
}
