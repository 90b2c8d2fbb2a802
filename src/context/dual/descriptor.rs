//! The descriptor of a Compio runtime's driver: readable when something has completed.
#![expect(
    unsafe_code,
    reason = "Compio hands its descriptor out as a number only"
)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use compio::runtime::Runtime;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

#[derive(Debug)]
pub(super) struct Descriptor {
    runtime: Runtime,
}

impl Descriptor {
    pub(super) fn new(runtime: Runtime) -> Self {
        Self { runtime }
    }

    /// Asks the kernel, without waiting.
    pub(super) fn is_readable(&self) -> bool {
        let mut this = [PollFd::new(self, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut this, Some(&now)).is_ok_and(|ready| ready > 0)
    }
}

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.runtime.as_raw_fd()
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the driver owns the descriptor and closes it when it is dropped, which the runtime that
        // this holds prevents for as long as the borrow lasts; no driver exchanges its descriptor.
        unsafe { BorrowedFd::borrow_raw(self.as_raw_fd()) }
    }
}
