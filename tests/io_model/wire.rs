//! A stream in memory that gives and takes as it likes, and knows what became of every byte.
//!
//! Its Compio face completes operations as a kernel does: bytes are taken from the buffer or out of
//! the stream at one time and the operation ends later. One that is dropped in between has lost them.
//! Its Tokio face has nothing in flight.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use compio::BufResult;
use compio::buf::{IoBuf, IoBufMut};
use tokio::io::ReadBuf;

/// An error that can be told from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(pub u32);

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error {}", self.0)
    }
}

impl std::error::Error for Tag {}

/// What the peer has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Byte(u8),
    Error(Tag),
    End,
}

/// How the next operations go: at most so many bytes, and so many polls put off.
pub type Pace = (usize, u8);

/// The truth about one stream.
pub struct Wire {
    inbound: RefCell<VecDeque<Event>>,
    ended: Cell<bool>,
    /// How often a read has met the end.
    ends: Cell<usize>,
    taken: RefCell<Vec<u8>>,
    room: Cell<usize>,
    flushed: Cell<Option<usize>>,
    shut: Cell<bool>,
    late_writes: Cell<usize>,
    broken: Cell<bool>,
    write_fault: Cell<Option<usize>>,
    flush_faults: Cell<usize>,
    shutdown_faults: Cell<usize>,
    untold: RefCell<VecDeque<Tag>>,
    tags: Cell<u32>,
    paces: Vec<Pace>,
    turn: Cell<usize>,
    reader: RefCell<Option<Waker>>,
    writer: RefCell<Option<Waker>>,
    halves: Cell<usize>,
    closed: RefCell<Option<Waker>>,
    vectored: bool,
}

impl Wire {
    /// `vectored`: whether the Tokio face takes several slices at once.
    pub fn new(paces: Vec<Pace>, vectored: bool) -> Rc<Self> {
        Rc::new(Self {
            inbound: RefCell::default(),
            ended: Cell::new(false),
            ends: Cell::new(0),
            taken: RefCell::default(),
            room: Cell::new(0),
            flushed: Cell::new(None),
            shut: Cell::new(false),
            late_writes: Cell::new(0),
            broken: Cell::new(false),
            write_fault: Cell::new(None),
            flush_faults: Cell::new(0),
            shutdown_faults: Cell::new(0),
            untold: RefCell::default(),
            tags: Cell::new(0),
            paces,
            turn: Cell::new(0),
            reader: RefCell::default(),
            writer: RefCell::default(),
            halves: Cell::new(0),
            closed: RefCell::default(),
            vectored,
        })
    }

    pub fn compio_halves(self: &Rc<Self>) -> (CompioEnd, CompioEnd) {
        (CompioEnd(self.end()), CompioEnd(self.end()))
    }

    pub fn tokio_halves(self: &Rc<Self>) -> (TokioEnd, TokioEnd) {
        (TokioEnd(self.end()), TokioEnd(self.end()))
    }

    fn end(self: &Rc<Self>) -> End {
        self.halves.set(self.halves.get() + 1);
        End {
            wire: self.clone(),
            read_delay: None,
            write_delay: None,
        }
    }

    /// The peer does this next. After its end it does nothing more.
    pub fn push(&self, event: Event) {
        if !self.ended.get() {
            self.ended.set(event == Event::End);
            self.inbound.borrow_mut().push_back(event);
            wake(&self.reader);
        }
    }

    pub fn push_error(&self) -> Tag {
        let tag = self.tag();
        self.push(Event::Error(tag));
        tag
    }

    pub fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// What the peer did and no read has met.
    pub fn unmet(&self) -> Vec<Event> {
        self.inbound.borrow().iter().cloned().collect()
    }

    /// The peer takes so many bytes more.
    pub fn give_room(&self, count: usize) {
        self.room.set(self.room.get().saturating_add(count));
        wake(&self.writer);
    }

    /// A write fails when it comes to this many bytes after those that were taken.
    pub fn fail_write_in(&self, count: usize) {
        let position = self.taken.borrow().len() + count;
        self.write_fault.set(Some(position));
        wake(&self.writer);
    }

    pub fn fail_flush(&self) {
        self.flush_faults.set(self.flush_faults.get() + 1);
    }

    pub fn fail_shutdown(&self) {
        self.shutdown_faults.set(self.shutdown_faults.get() + 1);
    }

    pub fn no_more_faults(&self) {
        self.write_fault.set(None);
        self.flush_faults.set(0);
        self.shutdown_faults.set(0);
    }

    pub fn taken(&self) -> Vec<u8> {
        self.taken.borrow().clone()
    }

    pub fn taken_len(&self) -> usize {
        self.taken.borrow().len()
    }

    /// Whether everything taken has been flushed since.
    pub fn is_flushed(&self) -> bool {
        self.flushed.get() == Some(self.taken_len())
    }

    pub fn is_shut(&self) -> bool {
        self.shut.get()
    }

    /// How many writes came after the shutdown.
    pub fn late_writes(&self) -> usize {
        self.late_writes.get()
    }

    /// Whether a write has failed.
    pub fn is_broken(&self) -> bool {
        self.broken.get()
    }

    /// The oldest error of a write, flush or shutdown that nobody has reported to
    /// [`told`](Self::told).
    pub fn oldest_untold(&self) -> Option<Tag> {
        self.untold.borrow().front().copied()
    }

    pub fn told(&self) {
        self.untold.borrow_mut().pop_front();
    }

    /// Waits until both ends have been dropped.
    pub async fn closed(&self) {
        poll_fn(|cx| {
            *self.closed.borrow_mut() = Some(cx.waker().clone());
            if self.halves.get() == 0 {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    fn tag(&self) -> Tag {
        self.tags.set(self.tags.get() + 1);
        Tag(self.tags.get())
    }

    /// The operation ends like this, and whoever made it sees it now.
    fn delivered<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result
            && let Some(tag) = error.get_ref().and_then(|inner| inner.downcast_ref())
        {
            self.untold.borrow_mut().push_back(*tag);
        }
        result
    }

    fn delivered_write(&self, result: io::Result<usize>) -> io::Result<usize> {
        if result.is_err() {
            self.broken.set(true);
        }
        self.delivered(result)
    }

    fn pace(&self) -> Pace {
        self.turn.set(self.turn.get() + 1);
        let pace = self.paces.get(self.turn.get() % self.paces.len().max(1));
        pace.copied().unwrap_or((usize::MAX, 0))
    }

    fn take_fault(&self, faults: &Cell<usize>) -> Option<io::Error> {
        let left = faults.get().checked_sub(1)?;
        faults.set(left);
        Some(io::Error::other(self.tag()))
    }

    fn poll_receive(&self, cx: &Context<'_>, limit: usize) -> Poll<io::Result<Vec<u8>>> {
        let mut inbound = self.inbound.borrow_mut();
        let result = match inbound.front() {
            None => {
                *self.reader.borrow_mut() = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Some(Event::End) => {
                self.ends.set(self.ends.get() + 1);
                assert!(self.ends.get() < 1_000, "the end is met again and again");
                Ok(Vec::new())
            }
            Some(Event::Error(tag)) => Err(io::Error::other(*tag)),
            Some(Event::Byte(_)) => {
                let mut bytes = Vec::new();
                while let Some(Event::Byte(byte)) = inbound.front()
                    && bytes.len() < limit
                {
                    bytes.push(*byte);
                    inbound.pop_front();
                }
                return Poll::Ready(Ok(bytes));
            }
        };
        if result.is_err() {
            inbound.pop_front();
        }
        Poll::Ready(result)
    }

    fn poll_send(&self, cx: &Context<'_>, bytes: &[u8], limit: usize) -> Poll<io::Result<usize>> {
        if self.shut.get() {
            self.late_writes.set(self.late_writes.get() + 1);
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let mut taken = self.taken.borrow_mut();
        let mut limit = limit.min(bytes.len());
        if let Some(fault) = self.write_fault.get() {
            if fault <= taken.len() {
                self.write_fault.set(None);
                return Poll::Ready(Err(io::Error::other(self.tag())));
            }
            limit = limit.min(fault - taken.len());
        }
        let count = limit.min(self.room.get());
        if count == 0 && limit > 0 {
            *self.writer.borrow_mut() = Some(cx.waker().clone());
            return Poll::Pending;
        }
        self.room.set(self.room.get() - count);
        taken.extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn flush(&self) -> io::Result<()> {
        match self.take_fault(&self.flush_faults) {
            Some(error) => Err(error),
            None => {
                self.flushed.set(Some(self.taken_len()));
                Ok(())
            }
        }
    }

    fn shutdown(&self) -> io::Result<()> {
        match self.take_fault(&self.shutdown_faults) {
            Some(error) => Err(error),
            None => {
                self.shut.set(true);
                Ok(())
            }
        }
    }
}

fn wake(waiter: &RefCell<Option<Waker>>) {
    let waiter = waiter.borrow_mut().take();
    if let Some(waiter) = waiter {
        waiter.wake();
    }
}

/// One half of the stream.
struct End {
    wire: Rc<Wire>,
    read_delay: Option<Pace>,
    write_delay: Option<Pace>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.wire.halves.set(self.wire.halves.get() - 1);
        wake(&self.wire.closed);
    }
}

/// The pace of this operation, once it has been put off often enough.
fn poll_pace(delay: &mut Option<Pace>, wire: &Wire, cx: &Context<'_>) -> Poll<usize> {
    let (limit, left) = *delay.get_or_insert_with(|| wire.pace());
    if left > 0 {
        *delay = Some((limit, left - 1));
        cx.waker().wake_by_ref();
        return Poll::Pending;
    }
    Poll::Ready(limit.max(1))
}

async fn put_off(wire: &Wire) -> usize {
    let mut delay = None;
    poll_fn(|cx| poll_pace(&mut delay, wire, cx)).await
}

/// One half, as Compio sees it.
pub struct CompioEnd(End);

impl compio::io::AsyncRead for CompioEnd {
    async fn read<B: IoBufMut>(&mut self, mut buf: B) -> BufResult<usize, B> {
        let wire = &self.0.wire;
        let limit = put_off(wire).await.min(buf.buf_capacity());
        let start = buf.buf_mut_ptr();
        let result = poll_fn(|cx| wire.poll_receive(cx, limit)).await;
        // The bytes are in the buffer, so to say; the completion has not been seen yet.
        put_off(wire).await;
        assert_eq!(start, buf.buf_mut_ptr(), "the buffer has moved");
        match result {
            Ok(bytes) => compio::io::AsyncRead::read(&mut &bytes[..], buf).await,
            Err(error) => BufResult(Err(error), buf),
        }
    }
}

impl compio::io::AsyncWrite for CompioEnd {
    async fn write<B: IoBuf>(&mut self, buf: B) -> BufResult<usize, B> {
        let wire = &self.0.wire;
        let (start, before) = (buf.buf_ptr(), buf.as_init().to_vec());
        let limit = put_off(wire).await;
        let result = poll_fn(|cx| wire.poll_send(cx, &before, limit)).await;
        put_off(wire).await;
        assert_eq!(start, buf.buf_ptr(), "the buffer has moved");
        assert!(buf.as_init() == before, "the kernel's bytes were changed");
        BufResult(wire.delivered_write(result), buf)
    }

    async fn flush(&mut self) -> io::Result<()> {
        let wire = &self.0.wire;
        put_off(wire).await;
        let result = wire.flush();
        put_off(wire).await;
        wire.delivered(result)
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        let wire = &self.0.wire;
        put_off(wire).await;
        wire.delivered(wire.shutdown())
    }
}

/// One half, as Tokio sees it.
pub struct TokioEnd(End);

impl tokio::io::AsyncRead for TokioEnd {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let end = &mut self.get_mut().0;
        let limit = std::task::ready!(poll_pace(&mut end.read_delay, &end.wire, cx));
        let bytes = std::task::ready!(end.wire.poll_receive(cx, limit.min(buf.remaining())));
        end.read_delay = None;
        bytes.map(|bytes| buf.put_slice(&bytes)).into()
    }
}

impl tokio::io::AsyncWrite for TokioEnd {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let end = &mut self.get_mut().0;
        let limit = std::task::ready!(poll_pace(&mut end.write_delay, &end.wire, cx));
        let result = std::task::ready!(end.wire.poll_send(cx, buf, limit));
        end.write_delay = None;
        end.wire.delivered_write(result).into()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        assert!(self.0.wire.vectored, "it said that it takes no slices");
        let all: Vec<u8> = bufs
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect();
        self.poll_write(cx, &all)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.wire.vectored
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let end = &mut self.get_mut().0;
        std::task::ready!(poll_pace(&mut end.write_delay, &end.wire, cx));
        end.write_delay = None;
        end.wire.delivered(end.wire.flush()).into()
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let end = &mut self.get_mut().0;
        std::task::ready!(poll_pace(&mut end.write_delay, &end.wire, cx));
        end.write_delay = None;
        end.wire.delivered(end.wire.shutdown()).into()
    }
}
