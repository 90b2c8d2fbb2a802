//! The write half: one long-lived future owns the stream; a helper task sees it through.
//!
//! The future is polled from two places. `poll_write` polls it in place, so that the operation is
//! submitted at once; the helper polls it whenever the operation makes progress, so that the rest
//! of a short write goes out though nobody polls the shim any more. The operation always carries
//! the helper's waker.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use compio::runtime::Runtime;
use compio_buf::{BufResult, IoBuf};
use compio_io::AsyncWrite;

use super::window::Window;
use crate::io::home::Home;
use crate::io::progress::after_write;
use crate::io::state::{Job, LARGE, Wish, WriteSide};
use crate::pool::UnderWay;
use crate::unwind::swallow;

/// How long a dropped shim goes on with the bytes it has accepted: 10 seconds.
pub const DROP_GRACE: Duration = Duration::from_secs(10);
/// The tests here wait for its end.
const GRACE: Duration = if cfg!(test) {
    Duration::from_millis(1)
} else {
    DROP_GRACE
};

/// The write half of [`CompioAsTokio`](super::CompioAsTokio), or a Compio stream that is only
/// written.
///
/// The contract is that of [`CompioAsTokio`](super::CompioAsTokio).
///
/// # Where it runs
///
/// On the thread that made it, within the Compio runtime that its stream belongs to. The first
/// write starts one helper task there, which ends with the writer. A pool's shutdown waits for what a
/// writer has accepted, `shutdown_timeout` as long as it may, and neither for a writer that is idle.
///
/// # Cancel safety
///
/// Dropping a write that has not said how much it took has written nothing. What it has taken goes
/// out as long as the runtime is driven, whatever else is dropped; after a drop of the writer, for
/// [`DROP_GRACE`] at most. A pool's shutdown sees to that. What is still here when a runtime of your
/// own is dropped, or a pool without a shutdown, is lost: flush before. Only what a dropped writer had
/// begun is with the kernel one turn of the runtime later, and the end of `block_on` is one: what a
/// socket takes at once has gone out then.
///
/// # Examples
///
/// ```
/// use landbridge::io::CompioWriteAsTokio;
/// use tokio::io::AsyncWriteExt;
///
/// # compio::runtime::Runtime::new().unwrap().block_on(async {
/// let mut writer = CompioWriteAsTokio::new(Vec::new());
/// writer.write_all(b"over the bridge").await?;
/// writer.flush().await?;
/// let (written, error) = writer.into_parts().expect("nothing is in flight after a flush");
/// assert_eq!(written, b"over the bridge");
/// assert!(error.is_none());
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
pub struct CompioWriteAsTokio<W> {
    /// The stream, until the first write: a shim that is only read needs no helper.
    unused: Option<W>,
    engine: Option<Rc<Engine<W>>>,
    bound: usize,
}

/// What the shim and its helper share.
struct Engine<W> {
    /// Owns the stream, and the buffer while it is in flight. Absent while it is polled, and for
    /// good once the stream has been given back, dropped, or has panicked.
    writing: Cell<Option<Pin<Box<dyn Future<Output = W>>>>>,
    /// Where the helper is.
    home: Home,
    given_back: Cell<Option<W>>,
    desk: Rc<Desk>,
}

/// What engine and future share; the future cannot own the engine that owns it.
struct Desk {
    side: RefCell<WriteSide>,
    give_up_the_stream: Cell<bool>,
    shim_is_gone: Cell<bool>,
    helper_is_gone: Cell<bool>,
    under_way: UnderWay,
    helper: Cell<Option<Waker>>,
    /// Kept when it has been woken, since the same task is likely to wait again.
    caller: Cell<Option<(Option<Wish>, Waker)>>,
}

/// Does as the desk says, until it is told to give the stream back.
///
/// The future of a write borrows `stream`, so it is dropped before it, wherever this one is
/// dropped.
async fn write_loop<W: AsyncWrite>(mut stream: W, desk: Rc<Desk>) -> W {
    let mut window = Box::new(Window::default());
    while let Some(job) = next_job(&desk).await {
        match job {
            Job::Write(buffer) => {
                let len = buffer.len();
                let mut done = 0;
                window.set(buffer.slice(..));
                // Compio's own `write_all` trusts the count that the stream gives.
                let result = loop {
                    let BufResult(result, same) = stream.write(window).await;
                    window = same;
                    match after_write(result, &mut done, len) {
                        Some(result) => break result,
                        None => {
                            let buffer = window.take();
                            window.set(buffer.slice(done..));
                        }
                    }
                };
                desk.side.borrow_mut().wrote(result, window.take());
            }
            Job::Flush => {
                let result = stream.flush().await;
                desk.side.borrow_mut().flushed(result);
            }
            Job::Shutdown => {
                let result = stream.shutdown().await;
                desk.side.borrow_mut().shut(result);
            }
        }
    }
    stream
}

/// No waker is kept: whoever makes work polls the loop right after, or wakes the helper.
async fn next_job(desk: &Desk) -> Option<Job> {
    poll_fn(|_| match desk.side.borrow_mut().next_job() {
        Some(job) => Poll::Ready(Some(job)),
        None if desk.give_up_the_stream.get() => Poll::Ready(None),
        None => Poll::Pending,
    })
    .await
}

impl<W: AsyncWrite + 'static> CompioWriteAsTokio<W> {
    /// Wraps a stream with buffers of at most 64 KiB.
    #[must_use]
    pub fn new(stream: W) -> Self {
        Self::with_capacity(stream, LARGE)
    }

    /// Wraps a stream with buffers of at most `capacity` bytes, and of at least one: one in
    /// flight, one for what is accepted meanwhile.
    #[must_use]
    pub fn with_capacity(stream: W, capacity: usize) -> Self {
        Self {
            unused: Some(stream),
            engine: None,
            bound: capacity,
        }
    }

    /// The engine, with its helper started.
    fn engine(&mut self) -> io::Result<&Rc<Engine<W>>> {
        if self.engine.is_none() {
            let home = Home::here()?;
            let Some(stream) = self.unused.take() else {
                return Err(gone());
            };
            let engine = Rc::new(Engine::new(stream, self.bound, home));
            engine.desk.under_way.belongs_here();
            crate::rt::spawn_helper(Helper {
                engine: engine.clone(),
                grace: None,
            });
            self.engine = Some(engine);
        }
        self.engine.as_ref().ok_or_else(gone)
    }
}

impl<W> CompioWriteAsTokio<W> {
    /// The stream, and an error that nobody was told.
    ///
    /// # Errors
    ///
    /// Gives the writer back while something is in flight or waits to be: flush first.
    pub fn into_parts(self) -> Result<(W, Option<io::Error>), super::InFlight<Self>> {
        self.take().map_err(super::InFlight)
    }

    pub(super) fn take(mut self) -> Result<(W, Option<io::Error>), Self> {
        if let Some(stream) = self.unused.take() {
            return Ok((stream, None));
        }
        if !self.can_be_taken() {
            return Err(self);
        }
        let Some(engine) = &self.engine else {
            return Err(self);
        };
        engine.desk.give_up_the_stream.set(true);
        engine.drive(Waker::noop());
        let Some(stream) = engine.given_back.take() else {
            return Err(self);
        };
        let error = engine.desk.side.borrow_mut().last_error();
        Ok((stream, error))
    }

    pub(super) fn can_be_taken(&self) -> bool {
        match &self.engine {
            Some(engine) => engine.is_idle() && engine.has_the_stream(),
            None => self.unused.is_some(),
        }
    }

    pub(super) fn is_shut_down(&self) -> bool {
        let shut = |engine: &Rc<Engine<W>>| engine.desk.side.borrow().is_shut();
        self.engine.as_ref().is_some_and(shut)
    }

    /// Waits until nothing is in flight, and asks for nothing.
    ///
    /// An error if that can never be, because what drives the writes is gone.
    pub(super) fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(engine) = &self.engine else {
            return Poll::Ready(Ok(()));
        };
        if engine.is_idle() {
            Poll::Ready(Ok(()))
        } else if engine.desk.helper_is_gone.get() {
            Poll::Ready(Err(gone()))
        } else {
            engine.home.check()?;
            engine.wait(Wish::Rest, cx);
            Poll::Pending
        }
    }
}

impl<W> Engine<W> {
    fn is_idle(&self) -> bool {
        self.desk.side.borrow().answers(Wish::Rest)
    }

    fn has_the_stream(&self) -> bool {
        let writing = self.writing.take();
        let has = writing.is_some();
        self.writing.set(writing);
        has
    }

    /// Polls the writer, unless it is being polled further up the stack.
    fn drive(&self, waker: &Waker) {
        let Some(mut writing) = self.writing.take() else {
            return;
        };
        let told = PanicMeansBroken(&self.desk);
        let state = writing.as_mut().poll(&mut Context::from_waker(waker));
        std::mem::forget(told);
        match state {
            Poll::Pending => self.writing.set(Some(writing)),
            Poll::Ready(stream) => self.given_back.set(Some(stream)),
        }
    }

    /// Drives with the helper's waker, or with the caller's until the helper has been polled: it
    /// has been started, so it will be, and then replaces the waker.
    fn drive_inline(&self, cx: &Context<'_>) {
        let helper = Borrowed::from(&self.desk.helper);
        self.drive(helper.waker.as_ref().unwrap_or(cx.waker()));
    }

    fn wait(&self, wish: Wish, cx: &Context<'_>) {
        let waker = match self.desk.caller.take() {
            Some((_, waker)) if waker.will_wake(cx.waker()) => waker,
            _ => cx.waker().clone(),
        };
        self.desk.caller.set(Some((Some(wish), waker)));
    }

    /// Asks, drives if that may help, asks again.
    fn poll_for<T>(
        &self,
        cx: &Context<'_>,
        wish: Wish,
        mut ask: impl FnMut(&mut WriteSide) -> io::Result<Option<T>>,
    ) -> Poll<io::Result<T>> {
        if let Some(answer) = ask(&mut self.desk.side.borrow_mut())? {
            return Poll::Ready(Ok(answer));
        }
        if self.desk.helper_is_gone.get() {
            return Poll::Ready(Err(gone()));
        }
        self.home.check()?;
        // What is in flight is the helper's to see through; only a start can be made here.
        if self.desk.side.borrow().rests() {
            self.drive_inline(cx);
            self.desk.note();
            if let Some(answer) = ask(&mut self.desk.side.borrow_mut())? {
                return Poll::Ready(Ok(answer));
            }
        }
        self.wait(wish, cx);
        Poll::Pending
    }
}

impl<W: AsyncWrite + 'static> Engine<W> {
    fn new(stream: W, bound: usize, home: Home) -> Self {
        let desk = Rc::new(Desk {
            side: RefCell::new(WriteSide::new(bound)),
            give_up_the_stream: Cell::new(false),
            shim_is_gone: Cell::new(false),
            helper_is_gone: Cell::new(false),
            under_way: UnderWay::default(),
            helper: Cell::new(None),
            caller: Cell::new(None),
        });
        Self {
            writing: Cell::new(Some(Box::pin(write_loop(stream, desk.clone())))),
            home,
            given_back: Cell::new(None),
            desk,
        }
    }
}

impl Desk {
    /// Something may have begun, or come to its end.
    fn note(&self) {
        let any = !self.helper_is_gone.get() && !self.side.borrow().answers(Wish::Rest);
        self.under_way.set(any);
    }

    /// Wakes the caller if he would get an answer now. His waker's panic must not be the end of what
    /// sees his bytes through.
    fn tell_the_caller(&self) {
        self.note();
        let Some((wish, waker)) = self.caller.take() else {
            return;
        };
        let waits =
            wish.is_some_and(|wish| self.helper_is_gone.get() || self.side.borrow().answers(wish));
        if waits {
            swallow(|| waker.wake_by_ref());
        }
        // Waking may have come back here and left a newer one.
        let newer = self.caller.take();
        let same = (wish.filter(|_| !waits), waker);
        self.caller.set(Some(newer.unwrap_or(same)));
    }
}

/// A waker that is used without a clone, and in its place again afterwards, also after a panic.
struct Borrowed<'a> {
    place: &'a Cell<Option<Waker>>,
    waker: Option<Waker>,
}

impl<'a> From<&'a Cell<Option<Waker>>> for Borrowed<'a> {
    fn from(place: &'a Cell<Option<Waker>>) -> Self {
        Self {
            place,
            waker: place.take(),
        }
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        // Whoever has left another one meanwhile is later and right.
        let newer = self.place.take();
        self.place.set(newer.or_else(|| self.waker.take()));
    }
}

/// A panic in the user's stream takes the writer with it: nobody may wait for it any more.
struct PanicMeansBroken<'a>(&'a Desk);

impl Drop for PanicMeansBroken<'_> {
    fn drop(&mut self) {
        self.0.helper_is_gone.set(true);
        if let Ok(mut side) = self.0.side.try_borrow_mut() {
            side.fail(io::Error::other("a write on this stream has panicked"));
        }
        self.0.tell_the_caller();
    }
}

/// Gives the kernel what Compio has queued for it.
fn hand_over() {
    _ = Runtime::try_with_current(|runtime| {
        // If the runtime has been woken, that is forgotten hereby.
        if runtime.flush() {
            runtime.waker().wake();
        }
    });
}

fn gone() -> io::Error {
    io::Error::new(
        io::ErrorKind::BrokenPipe,
        "nothing drives the writes of this stream: its Compio runtime is gone, or one panicked",
    )
}

impl<W: AsyncWrite + 'static> tokio::io::AsyncWrite for CompioWriteAsTokio<W> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let engine = self.get_mut().engine()?;
        let slices = bufs.iter().map(|slice| &**slice);
        if engine.desk.helper_is_gone.get() {
            // Nothing would carry it; an error that is still untold goes first.
            let late = engine.desk.side.borrow_mut().take_error();
            return Poll::Ready(Err(late.unwrap_or_else(gone)));
        }
        // Before anything is accepted that could not be begun.
        engine.home.check()?;
        let resting = engine.desk.side.borrow().rests();
        let taken = engine.poll_for(cx, Wish::Room, |side| side.accept(slices.clone()));
        if resting {
            // Submitted here and now: no hop through the helper.
            engine.drive_inline(cx);
        }
        engine.desk.note();
        taken
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let engine = self.get_mut().engine()?;
        engine.poll_for(cx, Wish::Flush, |side| Ok(side.flush()?.then_some(())))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let engine = self.get_mut().engine()?;
        engine.poll_for(cx, Wish::Shutdown, |side| {
            Ok(side.shutdown()?.then_some(()))
        })
    }
}

impl<W> Drop for CompioWriteAsTokio<W> {
    fn drop(&mut self) {
        let Some(engine) = self.engine.take() else {
            return;
        };
        engine.desk.shim_is_gone.set(true);
        drop(engine.desk.caller.take());
        if engine.is_idle() {
            // Closed here and now, not when the helper gets its turn.
            drop(engine.writing.take());
        }
        let helper = Borrowed::from(&engine.desk.helper);
        if let Some(helper) = &helper.waker {
            helper.wake_by_ref();
        }
    }
}

/// The stream is never pinned in its own right: the box that owns it is.
impl<W> Unpin for CompioWriteAsTokio<W> {}

impl<W> fmt::Debug for CompioWriteAsTokio<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompioWriteAsTokio")
            .field(
                "in_flight",
                &self.engine.as_ref().is_some_and(|engine| !engine.is_idle()),
            )
            .finish_non_exhaustive()
    }
}

/// The task that sees accepted bytes through.
struct Helper<W> {
    engine: Rc<Engine<W>>,
    /// Runs once the shim has been dropped with something in flight.
    grace: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl<W> Future for Helper<W> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let desk = &this.engine.desk;
        let old = desk.helper.take();
        let known = old.filter(|old| old.will_wake(cx.waker()));
        desk.helper
            .set(Some(known.unwrap_or_else(|| cx.waker().clone())));
        this.engine.drive(cx.waker());
        desk.tell_the_caller();
        if desk.give_up_the_stream.get() || desk.helper_is_gone.get() {
            return Poll::Ready(());
        }
        if !desk.shim_is_gone.get() {
            return Poll::Pending;
        }
        if this.engine.is_idle() {
            return Poll::Ready(());
        }
        if this.grace.is_none() && !desk.under_way.is_drained() {
            // The end of the program, perhaps, with nobody to drive the runtime any more.
            hand_over();
        }
        this.grace
            .get_or_insert_with(|| Box::pin(compio::time::sleep(GRACE)))
            .as_mut()
            .poll(cx)
    }
}

impl<W> Unpin for Helper<W> {}

impl<W> Drop for Helper<W> {
    /// Also when the runtime ends before the shim: then nobody may wait for the helper any more.
    fn drop(&mut self) {
        let desk = &self.engine.desk;
        desk.helper_is_gone.set(true);
        drop(desk.helper.take());
        if desk.shim_is_gone.get() {
            drop(self.engine.writing.take());
        }
        desk.tell_the_caller();
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::io::AsyncWriteExt;
    use tokio::sync::oneshot::{Sender, channel, error::TryRecvError};

    use super::*;

    /// A stream whose peer takes nothing; the other end of the channel sees it closed.
    struct Stuck(#[expect(dead_code, reason = "for its drop")] Sender<()>);

    impl AsyncWrite for Stuck {
        async fn write<B: IoBuf>(&mut self, _: B) -> BufResult<usize, B> {
            pending().await
        }

        async fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }

        async fn shutdown(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A dead peer is granted a while, not a task and a socket for ever.
    #[test]
    fn a_dropped_shim_whose_peer_takes_nothing_closes_after_a_while() {
        compio::runtime::Runtime::new().unwrap().block_on(async {
            let (open, mut closed) = channel();
            let mut writer = CompioWriteAsTokio::new(Stuck(open));
            writer.write_all(b"accepted").await.unwrap();
            drop(writer);
            assert_eq!(closed.try_recv(), Err(TryRecvError::Empty), "at once");
            let closed = compio::time::timeout(Duration::from_secs(60), closed).await;
            assert!(closed.expect("it stays open").is_err());
        });
    }
}
