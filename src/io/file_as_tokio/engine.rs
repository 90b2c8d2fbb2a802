//! What does the operations: one long-lived future, polled by whoever reads or, for writes, by a helper task.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use compio::fs::File;
use compio_buf::{BufResult, IntoInner, IoBuf};
use compio_io::{AsyncReadAt, AsyncWriteAt};

use crate::io::home::Home;
use crate::io::progress::after_write;
use crate::pool::UnderWay;
use crate::unwind;

/// What is to be done.
pub(super) enum Order {
    /// So many bytes, at most, into the empty buffer.
    Read {
        buffer: Vec<u8>,
        wanted: usize,
        at: u64,
    },
    /// All of the buffer.
    Write {
        buffer: Vec<u8>,
        at: u64,
        appends: bool,
    },
    /// Where is the end?
    Size,
}

/// How it ended.
pub(super) enum End {
    Read(io::Result<usize>, Vec<u8>),
    /// And where the cursor is after it.
    Write(io::Result<()>, u64, Vec<u8>),
    /// None for what has one that only the kernel knows.
    Size(io::Result<Option<u64>>),
}

/// What the shim and its helper share.
pub(super) struct Engine {
    /// Absent while it is polled, and for good after a panic in it.
    working: Cell<Option<Pin<Box<dyn Future<Output = ()>>>>>,
    desk: Rc<Desk>,
    /// Where the helper runs.
    helper: OnceCell<Home>,
    /// Where the last order was given.
    home: RefCell<Option<Home>>,
}

/// What engine and future share; the future cannot own the engine that owns it.
#[derive(Default)]
struct Desk {
    order: Cell<Option<Order>>,
    delivery: Cell<Option<End>>,
    /// Waits for the end of what the helper does.
    caller: Cell<Option<Waker>>,
    helper: Cell<Option<Waker>>,
    helper_is_gone: Cell<bool>,
    shim_is_gone: Cell<bool>,
    /// A write has been ordered and not been delivered: the helper's to see through.
    writing: UnderWay,
}

/// Does as the desk says, for ever. The futures of operations own their buffers and share the file.
async fn work(file: File, desk: Rc<Desk>) {
    loop {
        let end = match next_order(&desk).await {
            Order::Read { buffer, wanted, at } => read(&file, buffer, wanted, at).await,
            Order::Write {
                buffer,
                at,
                appends,
            } => write(&file, buffer, at, appends).await,
            Order::Size => End::Size(size(&file).await),
        };
        desk.writing.set(false);
        desk.delivery.set(Some(end));
    }
}

/// No waker is kept: whoever leaves an order polls the loop right after.
async fn next_order(desk: &Desk) -> Order {
    poll_fn(|_| desk.order.take().map_or(Poll::Pending, Poll::Ready)).await
}

async fn read(file: &File, mut buffer: Vec<u8>, wanted: usize, at: u64) -> End {
    loop {
        let BufResult(result, slice) = file.read_at(buffer.slice(..wanted), at).await;
        buffer = slice.into_inner();
        if !matches!(&result, Err(e) if e.kind() == io::ErrorKind::Interrupted) {
            return End::Read(result, buffer);
        }
    }
}

/// Linux appends wherever it is told to write; others write where they are told.
const LINUX: bool = cfg!(any(target_os = "linux", target_os = "android"));

async fn write(mut file: &File, mut buffer: Vec<u8>, at: u64, appends: bool) -> End {
    let at = match appends && !LINUX {
        true => size(file).await.ok().flatten().unwrap_or(at),
        false => at,
    };
    let (len, mut done) = (buffer.len(), 0);
    let result = loop {
        let BufResult(result, slice) = file.write_at(buffer.slice(done..), at + done as u64).await;
        buffer = slice.into_inner();
        if let Some(result) = after_write(result, &mut done, len) {
            break result;
        }
    };
    let after = at + done as u64;
    let after = match appends && done > 0 {
        // Only the kernel knows where that was.
        true => size(file).await.ok().flatten().unwrap_or(after),
        false => after,
    };
    End::Write(result, after, buffer)
}

async fn size(file: &File) -> io::Result<Option<u64>> {
    let metadata = file.metadata().await?;
    // A device has one too, which its metadata does not say.
    Ok((metadata.is_file() || cfg!(windows)).then(|| metadata.len()))
}

impl Engine {
    pub(super) fn new(file: File) -> Rc<Self> {
        let desk = Rc::<Desk>::default();
        Rc::new(Self {
            working: Cell::new(Some(Box::pin(work(file, desk.clone())))),
            desk,
            helper: OnceCell::new(),
            home: RefCell::new(None),
        })
    }

    pub(super) fn order(&self, order: Order) {
        let writing = matches!(order, Order::Write { .. });
        *self.home.borrow_mut() = Home::here().ok();
        self.desk.writing.set(writing);
        self.desk.order.set(Some(order));
    }

    pub(super) fn delivery(&self) -> Option<End> {
        self.desk.delivery.take()
    }

    /// Polls what was ordered, to wake the caller; an error if it can never come to an end.
    pub(super) fn poll_here(&self, cx: &Context<'_>) -> Poll<io::Result<End>> {
        let home = self.home.borrow();
        let at_home = home.as_ref().is_some_and(|home| home.check().is_ok());
        drop(home);
        if !at_home {
            return Poll::Ready(Err(self.lost(ELSEWHERE)));
        }
        self.drive(cx.waker());
        match self.delivery() {
            Some(end) => Poll::Ready(Ok(end)),
            None if self.is_broken() => {
                Poll::Ready(Err(self.lost("an operation on this file has panicked")))
            }
            None => Poll::Pending,
        }
    }

    /// Waits for what the helper does; an error if it can never come to an end.
    pub(super) fn poll_helper(&self, cx: &Context<'_>) -> Poll<io::Result<End>> {
        if self.desk.helper_is_gone.get() || self.is_broken() {
            return Poll::Ready(Err(self.lost(GONE)));
        }
        if self.helper.get().is_some_and(|home| home.check().is_err()) {
            return Poll::Ready(Err(self.lost(ELSEWHERE)));
        }
        let known = self.desk.caller.take();
        let known = known.filter(|known| known.will_wake(cx.waker()));
        let waker = known.unwrap_or_else(|| cx.waker().clone());
        self.desk.caller.set(Some(waker));
        Poll::Pending
    }

    /// Begins what was ordered here and now: no hop through the helper.
    ///
    /// With the helper's waker, or with the caller's until the helper has been polled: it has been started, so
    /// it will be, and then replaces the waker.
    pub(super) fn submit(&self, cx: &Context<'_>) {
        let helper = self.desk.helper.take();
        self.drive(helper.as_ref().unwrap_or(cx.waker()));
        let newer = self.desk.helper.take();
        self.desk.helper.set(newer.or(helper));
    }

    /// What sees writes through though nobody polls the file.
    pub(super) fn start_helper(self: &Rc<Self>) -> io::Result<()> {
        if self.desk.helper_is_gone.get() {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, GONE));
        }
        if let Some(home) = self.helper.get() {
            return home.check();
        }
        let here = Home::here()?;
        self.helper.get_or_init(|| {
            self.desk.writing.belongs_here();
            crate::rt::spawn_helper(Helper(self.clone()));
            here
        });
        Ok(())
    }

    /// The shim is gone: a write goes on, anything else is cancelled.
    pub(super) fn close(&self) {
        let desk = &self.desk;
        desk.shim_is_gone.set(true);
        drop(desk.caller.take());
        if !desk.writing.get() {
            drop(self.working.take());
        }
        if let Some(helper) = desk.helper.take() {
            helper.wake();
        }
    }

    fn is_broken(&self) -> bool {
        let working = self.working.take();
        let broken = working.is_none();
        self.working.set(working);
        broken
    }

    fn drive(&self, waker: &Waker) {
        // Not in its place while it is polled, so a panic leaves the engine without it.
        let Some(mut working) = self.working.take() else {
            return;
        };
        let over = PanicMeansOver(&self.desk);
        let _for_ever = working.as_mut().poll(&mut Context::from_waker(waker));
        std::mem::forget(over);
        self.working.set(Some(working));
    }

    /// What was under way will never come to its end; its buffer goes with it.
    fn lost(&self, why: &'static str) -> io::Error {
        self.desk.writing.set(false);
        drop(self.working.take());
        io::Error::new(io::ErrorKind::BrokenPipe, why)
    }
}

/// What was under way went with the panic: nobody may wait for it any more.
struct PanicMeansOver<'a>(&'a Desk);

impl Drop for PanicMeansOver<'_> {
    fn drop(&mut self) {
        self.0.writing.set(false);
    }
}

const ELSEWHERE: &str = "this file's Compio runtime is not here";
const GONE: &str = "what drives the writes of this file has ended";

/// The task that sees accepted bytes through.
struct Helper(Rc<Engine>);

impl Future for Helper {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self(engine) = &*self;
        let desk = &engine.desk;
        let known = desk.helper.take();
        let known = known.filter(|known| known.will_wake(cx.waker()));
        desk.helper
            .set(Some(known.unwrap_or_else(|| cx.waker().clone())));
        if desk.writing.get() {
            // Gone if it panics, with whoever waits for it told.
            engine.drive(cx.waker());
        }
        if desk.writing.get() {
            return Poll::Pending;
        }
        if let Some(caller) = desk.caller.take() {
            // The helper is there for the next write, too.
            unwind::wake(caller);
        }
        if desk.shim_is_gone.get() {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Drop for Helper {
    /// Also when the runtime ends before the shim: then nobody may wait for the helper any more.
    fn drop(&mut self) {
        let desk = &self.0.desk;
        desk.helper_is_gone.set(true);
        desk.writing.set(false);
        drop(desk.helper.take());
        if desk.shim_is_gone.get() {
            drop(self.0.working.take());
        }
        if let Some(caller) = desk.caller.take() {
            // Compio aborts if a destructor of its tasks panics at the runtime's end.
            unwind::wake(caller);
        }
    }
}
