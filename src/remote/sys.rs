//! What is asked of the operating system, where std and socket2 do not.

#![expect(
    unsafe_code,
    reason = "memory that is not initialised is filled by the kernel; and Compio takes operations of one's own \
              through an unsafe trait"
)]

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

use socket2::SockRef;
use tokio::io::ReadBuf;

use super::source::Way;

/// Receives into what is not filled; how many bytes.
pub(super) fn recv(socket: &impl AsFd, buffer: &mut ReadBuf<'_>) -> io::Result<usize> {
    // SAFETY: nothing initialised is made uninitialised: the kernel writes bytes, from the start on.
    let room = unsafe { buffer.unfilled_mut() };
    let n = SockRef::from(socket).recv(room)?;
    // SAFETY: the kernel has written so many bytes from the start of what was not filled.
    unsafe { buffer.assume_init(n) };
    buffer.advance(n);
    Ok(n)
}

/// Whether a try would not have to wait.
pub(super) fn poll_now(socket: BorrowedFd<'_>, way: Way) -> io::Result<()> {
    let mut poll = libc::pollfd {
        fd: socket.as_raw_fd(),
        events: match way {
            Way::Read => libc::POLLIN,
            Way::Write => libc::POLLOUT,
        },
        revents: 0,
    };
    // SAFETY: one entry, which is borrowed exclusively.
    match unsafe { libc::poll(&mut poll, 1, 0) } {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        1 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(target_os = "linux")]
pub(super) use many::{PollMany, has_more};

#[cfg(target_os = "linux")]
mod many {
    use std::{
        io,
        os::fd::{AsFd, AsRawFd},
        task::Poll,
    };

    use compio::{
        buf::BufResult,
        driver::{Decision, Extra, IourOpCode, OpEntry, PollOpCode},
    };
    use io_uring::{opcode, types::Fd};

    use crate::remote::watch::Held;

    const IN: i16 = libc::POLLIN | libc::POLLPRI | libc::POLLRDHUP;
    const MORE: i16 = libc::POLLPRI | libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR;

    /// Whether an event of [`PollMany`] says that behind what is read now there is something else: the end, an
    /// error, or what comes after urgent data.
    pub(in crate::remote) fn has_more(event: usize) -> bool {
        event & usize::from(MORE.cast_unsigned()) != 0
    }

    /// Tells each time that there is something to be read.
    pub(in crate::remote) struct PollMany<S> {
        socket: Held<S>,
        /// What has not been asked for yet, all in one.
        event: Option<(usize, Extra)>,
        failed: Option<(io::Error, Extra)>,
    }

    impl<S> PollMany<S> {
        pub(in crate::remote) fn new(socket: Held<S>) -> Self {
            Self {
                socket,
                event: None,
                failed: None,
            }
        }
    }

    // SAFETY: the entry points to no memory; its descriptor is open for as long as the operation is there.
    unsafe impl<S: AsFd> IourOpCode for PollMany<S> {
        type Control = ();

        fn create_entry(&mut self, (): &mut ()) -> OpEntry {
            let fd = Fd(self.socket.as_fd().as_raw_fd());
            opcode::PollAdd::new(fd, u32::from(IN.cast_unsigned()))
                .multi(true)
                .build()
                .into()
        }

        unsafe fn push_multishot(&mut self, (): &mut (), result: io::Result<usize>, extra: Extra) {
            match result {
                Ok(event) => {
                    let before = self.event.take().map_or(0, |(before, _)| before);
                    self.event = Some((before | event, extra));
                }
                Err(error) => self.failed = Some((error, extra)),
            }
        }

        fn pop_multishot(&mut self, (): &mut ()) -> Option<BufResult<usize, Extra>> {
            let event = self.event.take();
            let event = event.map(|(event, extra)| BufResult(Ok(event), extra));
            event.or_else(|| {
                let (error, extra) = self.failed.take()?;
                Some(BufResult(Err(error), extra))
            })
        }
    }

    // SAFETY: it never waits for a descriptor.
    unsafe impl<S> PollOpCode for PollMany<S> {
        type Control = ();

        fn pre_submit(&mut self, (): &mut ()) -> io::Result<Decision> {
            // Never asked for: see `has_ring`.
            Err(io::ErrorKind::Unsupported.into())
        }

        fn operate(&mut self, (): &mut ()) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
        }
    }
}
