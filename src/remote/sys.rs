//! What is asked of the operating system, where std and socket2 do not.

#![expect(
    unsafe_code,
    reason = "memory that is not initialised is filled by the kernel; and Compio takes operations of one's own \
              through an unsafe trait"
)]

use std::{
    io,
    net::SocketAddr,
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

/// Receives a datagram into what is not filled; from whom.
pub(super) fn recv_from(socket: &impl AsFd, buffer: &mut ReadBuf<'_>) -> io::Result<SocketAddr> {
    // SAFETY: nothing initialised is made uninitialised: the kernel writes bytes, from the start on.
    let room = unsafe { buffer.unfilled_mut() };
    let (n, from) = SockRef::from(socket).recv_from(room)?;
    // SAFETY: the kernel has written so many bytes from the start of what was not filled.
    unsafe { buffer.assume_init(n) };
    buffer.advance(n);
    let from = from.as_socket();
    from.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Who the peer was when it connected, or listened: user, group, process.
#[cfg(target_os = "linux")]
pub(super) fn peer_cred(
    socket: &impl AsFd,
) -> io::Result<(libc::uid_t, libc::gid_t, Option<libc::pid_t>)> {
    let mut cred = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut size = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: a live descriptor, and a value of the size that is told, both borrowed exclusively.
    let done = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut cred).cast(),
            &raw mut size,
        )
    };
    match done {
        0 => Ok((cred.uid, cred.gid, Some(cred.pid))),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Who the peer was when it connected, or listened: user, group.
#[cfg(not(target_os = "linux"))]
pub(super) fn peer_cred(
    socket: &impl AsFd,
) -> io::Result<(libc::uid_t, libc::gid_t, Option<libc::pid_t>)> {
    let (mut uid, mut gid) = (0, 0);
    // SAFETY: a live descriptor, and two values that are borrowed exclusively.
    match unsafe { libc::getpeereid(socket.as_fd().as_raw_fd(), &raw mut uid, &raw mut gid) } {
        0 => Ok((uid, gid, None)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether a try would not have to wait.
pub(super) fn poll_now(socket: BorrowedFd<'_>, way: Way) -> io::Result<()> {
    match look(socket, way)? {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        _ => Ok(()),
    }
}

/// What `poll` says without waiting: what was asked for, and of what it tells unasked an error and the end of
/// both directions.
pub(super) fn look(socket: BorrowedFd<'_>, way: Way) -> io::Result<i16> {
    let mut poll = libc::pollfd {
        fd: socket.as_raw_fd(),
        events: way.events(),
        revents: 0,
    };
    // SAFETY: one entry, which is borrowed exclusively.
    match unsafe { libc::poll(&mut poll, 1, 0) } {
        0 | 1 => Ok(poll.revents),
        _ => Err(io::Error::last_os_error()),
    }
}

impl Way {
    /// What there is to wait for.
    pub(super) const fn events(self) -> i16 {
        match self {
            Self::Read => libc::POLLIN,
            Self::Write => libc::POLLOUT,
        }
    }
}

#[cfg(target_os = "linux")]
pub(super) use epoll::{Edges, look_through, readable_stand_in};

#[cfg(target_os = "linux")]
mod epoll {
    use std::{
        io,
        mem::MaybeUninit,
        os::fd::{BorrowedFd, OwnedFd},
        sync::Arc,
    };

    use rustix::event::{Timespec, epoll};

    use super::Way;

    /// A descriptor that has something to be read whenever the socket has, and that does not keep it open.
    pub(in crate::remote) fn readable_stand_in(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
        watching(socket, epoll::EventFlags::IN)
    }

    /// What [`look`](super::look) says of the socket that it stands for.
    pub(in crate::remote) fn look_through(stand_in: &OwnedFd) -> io::Result<i16> {
        let mut room = [const { MaybeUninit::uninit() }; 1];
        let (events, _) = epoll::wait(stand_in, &mut room, Some(&Timespec::default()))?;
        // The flags are those of `poll`.
        let flags = events.first().map(|event| event.flags);
        Ok(flags.map_or(0, |flags| flags.bits() as i16))
    }

    /// Tells what happens from now on, and once what there is now. A poll would tell again and again of what stays,
    /// such as that the peer has sent everything.
    pub(in crate::remote) struct Edges(Arc<OwnedFd>);

    impl Edges {
        pub(in crate::remote) fn new(socket: BorrowedFd<'_>, way: Way) -> io::Result<Self> {
            let flags = match way {
                Way::Read => epoll::EventFlags::IN | epoll::EventFlags::RDHUP,
                Way::Write => epoll::EventFlags::OUT,
            };
            let edges = watching(socket, flags | epoll::EventFlags::ET)?;
            Ok(Self(Arc::new(edges)))
        }

        /// Has something to be read as long as there is something to be told.
        pub(in crate::remote) fn descriptor(&self) -> Arc<OwnedFd> {
            Arc::clone(&self.0)
        }

        /// It is told.
        pub(in crate::remote) fn take(&self) -> io::Result<()> {
            let mut room = [const { MaybeUninit::uninit() }; 1];
            epoll::wait(&self.0, &mut room, Some(&Timespec::default()))?;
            Ok(())
        }
    }

    fn watching(socket: BorrowedFd<'_>, flags: epoll::EventFlags) -> io::Result<OwnedFd> {
        let instance = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&instance, socket, epoll::EventData::new_u64(0), flags)?;
        Ok(instance)
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

    use super::Way;
    use crate::remote::watch::Held;

    /// With all that lets a read go on.
    const IN: i16 = libc::POLLIN | libc::POLLPRI | libc::POLLRDHUP;
    const MORE: i16 = libc::POLLPRI | libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR;

    /// Whether an event of [`PollMany`] says that behind what is read now there is something else: the end, an
    /// error, or what comes after urgent data.
    pub(in crate::remote) fn has_more(event: usize) -> bool {
        event & usize::from(MORE.cast_unsigned()) != 0
    }

    /// Tells each time that a try is worth it.
    pub(in crate::remote) struct PollMany {
        socket: Held,
        way: Way,
        /// What has not been asked for yet, all in one.
        event: Option<(usize, Extra)>,
        failed: Option<(io::Error, Extra)>,
    }

    impl PollMany {
        pub(in crate::remote) fn new(socket: Held, way: Way) -> Self {
            Self {
                socket,
                way,
                event: None,
                failed: None,
            }
        }
    }

    // SAFETY: the entry points to no memory; its descriptor is open for as long as the operation is there.
    unsafe impl IourOpCode for PollMany {
        type Control = ();

        fn create_entry(&mut self, (): &mut ()) -> OpEntry {
            let fd = Fd(self.socket.as_fd().as_raw_fd());
            let events = match self.way {
                Way::Read => IN,
                Way::Write => Way::Write.events(),
            };
            opcode::PollAdd::new(fd, u32::from(events.cast_unsigned()))
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
    unsafe impl PollOpCode for PollMany {
        type Control = ();

        fn pre_submit(&mut self, (): &mut ()) -> io::Result<Decision> {
            // Never asked for: see `may_go_on`.
            Err(io::ErrorKind::Unsupported.into())
        }

        fn operate(&mut self, (): &mut ()) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
        }
    }
}
