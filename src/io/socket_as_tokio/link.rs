//! The socket, and how many operations of ours still refer to it.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::task::Waker;
use std::task::{Context, Poll};

use super::CompioSocket;

/// What a shim, or a half of one, knows its socket by.
#[derive(Clone)]
pub(super) struct Link<S> {
    pub(super) socket: S,
    loans: Rc<Loans>,
}

#[derive(Default)]
struct Loans {
    count: Cell<usize>,
    waiter: Cell<Option<Waker>>,
}

/// A reference to the socket for the driver, which drops it when it is done with the descriptor.
pub(super) struct Loan<S> {
    socket: Option<S>,
    loans: Rc<Loans>,
}

impl<S: CompioSocket> Link<S> {
    pub(super) fn new(socket: S) -> Self {
        Self {
            socket,
            loans: Rc::default(),
        }
    }

    pub(super) fn loan(&self) -> Loan<S> {
        self.loans.count.set(self.loans.count.get() + 1);
        Loan {
            socket: Some(self.socket.clone()),
            loans: self.loans.clone(),
        }
    }

    /// Ready when the driver has no reference any more. One waits at a time.
    pub(super) fn poll_returned(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.loans.count.get() == 0 {
            return Poll::Ready(());
        }
        self.loans.waiter.set(Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl<S: AsFd> AsFd for Loan<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        let socket = self.socket.as_ref();
        socket.expect("here until it is dropped").as_fd()
    }
}

impl<S> Drop for Loan<S> {
    fn drop(&mut self) {
        drop(self.socket.take());
        self.loans.count.set(self.loans.count.get() - 1);
        if let Some(waiter) = self.loans.waiter.take() {
            waiter.wake();
        }
    }
}
