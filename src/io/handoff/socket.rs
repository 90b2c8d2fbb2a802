//! Sockets, and what is handed over as they are.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::mode::Mode;
use crate::error::{HandoffError, NotHandedOver};

/// A socket or an end of a pipe, of std, of Tokio or of Compio.
///
/// Not to be implemented elsewhere.
pub trait Handoff: Sized + Steps {
    /// What it is in the standard library.
    type Std;
}

#[cfg(unix)]
use std::os::fd::{AsFd as AsOwned, OwnedFd};
#[cfg(windows)]
use std::os::windows::io::{AsSocket as AsOwned, OwnedSocket};

#[cfg(unix)]
pub(super) type Owned = OwnedFd;
#[cfg(windows)]
pub(super) type Owned = OwnedSocket;

pub(super) use steps::Steps;

mod steps {
    use super::{AsOwned, Owned, io};
    use crate::error::HandoffError;

    /// What a hand-off does with either side.
    pub trait Steps: AsOwned + Sized {
        /// The object, if nobody else uses it.
        fn alone(self) -> Result<Self, HandoffError<Self>> {
            Ok(self)
        }

        fn duplicate(&self) -> io::Result<Owned>;

        /// Whether it is to be in non-blocking mode; an error if its runtime is not here.
        fn nonblocking() -> io::Result<bool>;

        /// `socket` is in that mode.
        fn adopt(socket: Owned) -> io::Result<Self>;
    }
}

/// Gives a duplicate to the new owner, and then drops the object: so it is there until nothing can fail.
pub(super) fn hand_over<S, T>(object: S) -> Result<T, HandoffError<S>>
where
    S: Handoff,
    T: Handoff<Std = S::Std>,
{
    let nonblocking = match T::nonblocking() {
        Ok(nonblocking) => nonblocking,
        Err(error) => return Err(HandoffError::new(error, object)),
    };
    let object = object.alone()?;
    match adopt(&object, nonblocking) {
        Ok(adopted) => Ok(adopted),
        Err(error) => Err(HandoffError::new(error, object)),
    }
}

fn adopt<T: Steps>(object: &impl Steps, nonblocking: bool) -> io::Result<T> {
    let duplicate = object.duplicate()?;
    let before = Mode::set(&duplicate, nonblocking)?;
    T::adopt(duplicate).inspect_err(|_| before.restore(object))
}

/// Tokio panics where its runtime has no I/O, and nothing else says so.
pub(super) fn registered<T>(register: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    // What it was to register is dropped there, and nothing else is touched.
    catch_unwind(AssertUnwindSafe(register))
        .unwrap_or_else(|_| Err(NotHandedOver::NoTokioIo.into()))
}

/// The three of a kind, and the functions that hand it over.
macro_rules! kind {
    (
        $what:literal, $a:literal, $std:ty, $tokio:ty, $compio:ty,
        $to_compio:ident, $to_tokio:ident, $to_std:ident
    ) => {
        kind!(@std $std);
        kind!(@tokio $tokio, $std, |fd| <$tokio>::from_std(fd.into()));
        kind!(@compio $compio, $std, |fd| <$compio>::from_std(fd.into()));
        kind!(
            @functions $what, $a, $std, $tokio, $compio, $to_compio, $to_tokio, $to_std
        );
    };

    (@std $std:ty) => {
        impl $crate::io::handoff::socket::Handoff for $std {
            type Std = Self;
        }

        impl $crate::io::handoff::socket::Steps for $std {
            kind!(@duplicate);

            fn nonblocking() -> std::io::Result<bool> {
                Ok(false)
            }

            fn adopt(
                socket: $crate::io::handoff::socket::Owned,
            ) -> std::io::Result<Self> {
                Ok(socket.into())
            }
        }
    };

    (@tokio $tokio:ty, $std:ty, |$fd:ident| $adopt:expr) => {
        impl $crate::io::handoff::socket::Handoff for $tokio {
            type Std = $std;
        }

        impl $crate::io::handoff::socket::Steps for $tokio {
            kind!(@duplicate);

            fn nonblocking() -> std::io::Result<bool> {
                $crate::io::handoff::mode::of_tokio()
            }

            fn adopt(
                $fd: $crate::io::handoff::socket::Owned,
            ) -> std::io::Result<Self> {
                $crate::io::handoff::socket::registered(|| $adopt)
            }
        }
    };

    (@compio $compio:ty, $std:ty, |$fd:ident| $windows:expr) => {
        impl $crate::io::handoff::socket::Handoff for $compio {
            type Std = $std;
        }

        impl $crate::io::handoff::socket::Steps for $compio {
            kind!(@duplicate);

            #[cfg(unix)]
            fn alone(
                self,
            ) -> Result<Self, $crate::error::HandoffError<Self>> {
                match $crate::io::handoff::alone::take(self) {
                    Ok(descriptor) => Ok($crate::io::handoff::alone::give(descriptor)),
                    Err(object) => Err($crate::error::HandoffError::new(
                        $crate::error::NotHandedOver::InUse.into(),
                        object,
                    )),
                }
            }

            #[cfg(windows)]
            fn alone(
                self,
            ) -> Result<Self, $crate::error::HandoffError<Self>> {
                Err($crate::error::HandoffError::new(
                    $crate::error::NotHandedOver::Bound.into(),
                    self,
                ))
            }

            fn nonblocking() -> std::io::Result<bool> {
                $crate::io::handoff::mode::of_compio()
            }

            #[cfg(unix)]
            fn adopt(
                socket: $crate::io::handoff::socket::Owned,
            ) -> std::io::Result<Self> {
                Ok($crate::io::handoff::alone::give(socket))
            }

            #[cfg(windows)]
            fn adopt(
                $fd: $crate::io::handoff::socket::Owned,
            ) -> std::io::Result<Self> {
                $windows
            }
        }
    };

    (@duplicate) => {
        #[cfg(unix)]
        fn duplicate(&self) -> std::io::Result<$crate::io::handoff::socket::Owned> {
            std::os::fd::AsFd::as_fd(self).try_clone_to_owned()
        }

        #[cfg(windows)]
        fn duplicate(&self) -> std::io::Result<$crate::io::handoff::socket::Owned> {
            std::os::windows::io::AsSocket::as_socket(self).try_clone_to_owned()
        }
    };

    (
        @functions $what:literal, $a:literal, $std:ty, $tokio:ty, $compio:ty,
        $to_compio:ident, $to_tokio:ident, $to_std:ident
    ) => {
        #[doc = concat!("Hands ", $a, " ", $what, " of Tokio's or std's over to the Compio runtime of this thread.")]
        ///
        /// What must be true, and what changes, is said in the [module](crate::handoff)'s documentation.
        ///
        /// # Errors
        ///
        /// With the object: [`NotHandedOver`](crate::error::NotHandedOver) inside outside of a Compio runtime,
        /// or if it is of Compio's and something uses it; what the operating system says, if it has no
        /// descriptors left.
        pub fn $to_compio<S>(object: S) -> Result<$compio, $crate::error::HandoffError<S>>
        where
            S: $crate::io::handoff::socket::Handoff<Std = $std>,
        {
            $crate::io::handoff::socket::hand_over(object)
        }

        #[doc = concat!("Hands ", $a, " ", $what, " of Compio's or std's over to the Tokio runtime in whose context this is.")]
        ///
        /// What must be true, and what changes, is said in the [module](crate::handoff)'s documentation.
        ///
        /// # Errors
        ///
        /// With the object: [`NotHandedOver`](crate::error::NotHandedOver) inside outside of Tokio's context,
        /// if that runtime's I/O is not enabled, or if it is of Compio's and something uses it; what the
        /// operating system says, if it has no descriptors left; what Tokio says, if its runtime is gone.
        ///
        /// That I/O is not enabled only Tokio's own panic says. It is caught here, after the panic hook has
        /// seen it; with `panic = "abort"` it is not.
        pub fn $to_tokio<S>(object: S) -> Result<$tokio, $crate::error::HandoffError<S>>
        where
            S: $crate::io::handoff::socket::Handoff<Std = $std>,
        {
            $crate::io::handoff::socket::hand_over(object)
        }

        #[doc = concat!("Takes ", $a, " ", $what, " from its runtime, Tokio or Compio. It is in blocking mode.")]
        ///
        /// What must be true, and what changes, is said in the [module](crate::handoff)'s documentation.
        ///
        /// # Errors
        ///
        /// With the object: [`NotHandedOver`](crate::error::NotHandedOver) inside if it is of Compio's and
        /// something uses it; what the operating system says, if it has no descriptors left.
        pub fn $to_std<S>(object: S) -> Result<$std, $crate::error::HandoffError<S>>
        where
            S: $crate::io::handoff::socket::Handoff<Std = $std>,
        {
            $crate::io::handoff::socket::hand_over(object)
        }
    };
}

#[cfg(all(feature = "fs", unix))]
pub(super) use kind;

kind!(
    "TCP stream",
    "a",
    std::net::TcpStream,
    tokio::net::TcpStream,
    compio::net::TcpStream,
    tcp_to_compio,
    tcp_to_tokio,
    tcp_to_std
);

kind!(
    "TCP listener",
    "a",
    std::net::TcpListener,
    tokio::net::TcpListener,
    compio::net::TcpListener,
    tcp_listener_to_compio,
    tcp_listener_to_tokio,
    tcp_listener_to_std
);

kind!(
    "UDP socket",
    "a",
    std::net::UdpSocket,
    tokio::net::UdpSocket,
    compio::net::UdpSocket,
    udp_to_compio,
    udp_to_tokio,
    udp_to_std
);

#[cfg(unix)]
kind!(
    "Unix stream",
    "a",
    std::os::unix::net::UnixStream,
    tokio::net::UnixStream,
    compio::net::UnixStream,
    unix_to_compio,
    unix_to_tokio,
    unix_to_std
);

#[cfg(unix)]
kind!(
    "Unix listener",
    "a",
    std::os::unix::net::UnixListener,
    tokio::net::UnixListener,
    compio::net::UnixListener,
    unix_listener_to_compio,
    unix_listener_to_tokio,
    unix_listener_to_std
);
