//! Being told that a socket may have become readable, again and again, by one operation.
//!
//! On a ring this is a poll that stays armed (`IORING_POLL_ADD_MULTI`): nothing is submitted and
//! nothing allocated for a message. It tells of every change once, as an edge-triggered epoll does,
//! so whoever has been told looks until there is nothing. On the other drivers it is told once and
//! armed anew; there it is told as long as there is something.

#![expect(
    unsafe_code,
    reason = "Compio takes operations of one's own through an unsafe trait"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use compio::BufResult;
use compio::driver::{Decision, OpType, PollOpCode};
use compio::runtime::SubmitMulti;
use futures::Stream;
use futures::stream::FusedStream;

use super::CompioSocket;
use super::home::{Home, current};
use super::link::{Link, Loan};

/// What is known of a socket that may be readable.
#[derive(Clone, Copy, Debug)]
pub(super) struct News {
    /// The stream ends behind what is there, or has failed. This is not told again, so it must not
    /// be taken for everything when a read is short.
    pub(super) closing: bool,
    /// There will be no more news.
    pub(super) last: bool,
}

/// A watch that was set up on the current runtime.
pub(super) struct Watch<S: CompioSocket> {
    news: SubmitMulti<Readable<S>>,
    home: Home,
}

impl<S: CompioSocket> Watch<S> {
    pub(super) fn start(link: &Link<S>) -> io::Result<Self> {
        current(|runtime| Self {
            news: runtime.submit_multi(Readable::new(link.loan())),
            home: Home::of(runtime),
        })
    }

    pub(super) fn check_home(&self) -> io::Result<()> {
        self.home.check()
    }

    /// Ready when there may be something.
    pub(super) fn poll_news(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<News>> {
        self.home.check()?;
        let events = match ready!(Pin::new(&mut self.news).poll_next(cx)) {
            Some(BufResult(events, _)) => events?,
            None => 0,
        };
        Poll::Ready(Ok(News {
            closing: events & !(libc::POLLIN as usize) != 0,
            last: self.news.is_terminated(),
        }))
    }
}

/// The operation. Owns a reference to the socket.
struct Readable<S> {
    socket: Loan<S>,
    /// The events that were told and not yet asked for, in one.
    #[cfg(target_os = "linux")]
    told: Option<(io::Result<usize>, compio::driver::Extra)>,
}

impl<S> Readable<S> {
    fn new(socket: Loan<S>) -> Self {
        Self {
            socket,
            #[cfg(target_os = "linux")]
            told: None,
        }
    }
}

// SAFETY: the entry points to no memory, and the descriptor in it is open as long as the operation
// is there, which owns a reference to the socket.
#[cfg(target_os = "linux")]
unsafe impl<S: CompioSocket> compio::driver::IourOpCode for Readable<S> {
    type Control = ();

    fn create_entry(&mut self, (): &mut ()) -> compio::driver::OpEntry {
        let socket = io_uring::types::Fd(self.socket.as_fd().as_raw_fd());
        let events = (libc::POLLIN | libc::POLLRDHUP) as u32;
        io_uring::opcode::PollAdd::new(socket, events)
            .multi(true)
            .build()
            .into()
    }

    unsafe fn push_multishot(
        &mut self,
        (): &mut (),
        result: io::Result<usize>,
        extra: compio::driver::Extra,
    ) {
        let earlier = match self.told.take() {
            Some((Ok(events), _)) => events,
            _ => 0,
        };
        self.told = Some((result.map(|events| events | earlier), extra));
    }

    fn pop_multishot(&mut self, (): &mut ()) -> Option<BufResult<usize, compio::driver::Extra>> {
        let (result, extra) = self.told.take()?;
        Some(BufResult(result, extra))
    }
}

// SAFETY: the descriptor is open as long as the operation is there, as above.
unsafe impl<S: CompioSocket> PollOpCode for Readable<S> {
    type Control = ();

    fn pre_submit(&mut self, (): &mut ()) -> io::Result<Decision> {
        Ok(Decision::wait_readable(self.socket.as_fd().as_raw_fd()))
    }

    fn op_type(&mut self, (): &mut ()) -> Option<OpType> {
        Some(OpType::fd(self.socket.as_fd().as_raw_fd()))
    }

    fn operate(&mut self, (): &mut ()) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(0))
    }
}
