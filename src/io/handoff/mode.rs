//! Non-blocking mode of sockets and pipes.

use std::io;

#[cfg(unix)]
pub(super) use unix::Mode;
#[cfg(windows)]
pub(super) use windows::Mode;

#[cfg(unix)]
mod unix {
    use std::io;
    use std::os::fd::AsFd;

    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

    /// The mode that a descriptor was in.
    pub(in crate::io::handoff) struct Mode(OFlags);

    impl Mode {
        /// Sets the mode of `descriptor` and of its duplicates.
        pub(in crate::io::handoff) fn set(
            descriptor: &impl AsFd,
            nonblocking: bool,
        ) -> io::Result<Self> {
            let before = fcntl_getfl(descriptor)?;
            let mut after = before;
            after.set(OFlags::NONBLOCK, nonblocking);
            if after != before {
                fcntl_setfl(descriptor, after)?;
            }
            Ok(Self(before))
        }

        pub(in crate::io::handoff) fn restore(self, descriptor: &impl AsFd) {
            // It was possible before, and nothing better can be done if it is not now.
            _ = fcntl_setfl(descriptor, self.0);
        }
    }
}

#[cfg(windows)]
mod windows {
    use std::io;
    use std::os::windows::io::AsSocket;

    /// The mode that a socket is taken to have been in: Windows does not tell.
    pub(in crate::io::handoff) struct Mode(bool);

    impl Mode {
        /// Sets the mode of `socket` and of its duplicates.
        pub(in crate::io::handoff) fn set(
            socket: &impl AsSocket,
            nonblocking: bool,
        ) -> io::Result<Self> {
            // The mode is that of any socket, whatever std takes it for.
            let duplicate = socket.as_socket().try_clone_to_owned()?;
            std::net::UdpSocket::from(duplicate).set_nonblocking(nonblocking)?;
            Ok(Self(!nonblocking))
        }

        pub(in crate::io::handoff) fn restore(self, socket: &impl AsSocket) {
            _ = Self::set(socket, self.0);
        }
    }
}

/// What Compio's driver wants on this thread.
pub(super) fn of_compio() -> io::Result<bool> {
    compio::runtime::Runtime::try_with_current(|runtime| runtime.driver_type().is_polling())
        .map_err(|_| crate::error::NotHandedOver::NoCompio.into())
}

/// What Tokio wants, in its context.
pub(super) fn of_tokio() -> io::Result<bool> {
    match tokio::runtime::Handle::try_current() {
        Ok(_) => Ok(true),
        Err(_) => Err(crate::error::NotHandedOver::NoTokio.into()),
    }
}
