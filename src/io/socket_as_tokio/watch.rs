//! Being told once that a socket may be ready.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use compio::BufResult;
use compio::driver::op::{Interest, PollOnce};
use compio::runtime::Submit;

use super::CompioSocket;
use super::home::{Home, current};
use super::link::{Link, Loan};

/// A poll of the driver's that was begun on one runtime. It owns a reference to the socket and no
/// bytes, and it looks at the socket when it begins, so nothing that was there before is missed.
pub(super) struct Watch<S: CompioSocket> {
    operation: Submit<PollOnce<Loan<S>>>,
    home: Home,
}

impl<S: CompioSocket> Watch<S> {
    pub(super) fn begin(link: &Link<S>, interest: Interest) -> io::Result<Self> {
        current(|runtime| Self {
            operation: runtime.submit(PollOnce::new(link.loan(), interest)),
            home: Home::of(runtime),
        })
    }

    pub(super) fn check_home(&self) -> io::Result<()> {
        self.home.check()
    }
}

/// Waits for the watch, if there is one, and takes it away then. Polled elsewhere than where it was
/// begun, it stays.
pub(super) fn poll_watch<S: CompioSocket>(
    place: &mut Option<Watch<S>>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    let Some(watch) = place else {
        return Poll::Ready(Ok(()));
    };
    watch.check_home()?;
    let BufResult(result, _) = ready!(Pin::new(&mut watch.operation).poll(cx));
    *place = None;
    Poll::Ready(result.map(|_| ()))
}
