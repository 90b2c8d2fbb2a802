//! Streams between processes of one machine.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    os::unix::{ffi::OsStrExt, net::SocketAddr},
    path::Path,
    task::{Context, Poll},
};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::ReadBuf;

use super::{
    Net,
    net::open,
    polite::politely,
    source::{Source, Try, Way},
    stream::{self, Short, sealed},
    sys,
};
use crate::{error::HandoffError, pool::Target};

/// A Unix stream watched by a [`CompioPool`](crate::CompioPool) and used from anywhere: the names and shapes
/// of `tokio::net::UnixStream`. All that is said of [`TcpStream`](super::TcpStream) holds for it, too.
pub struct UnixStream {
    source: Source<std::os::unix::net::UnixStream>,
}

impl UnixStream {
    /// Connects, on the default pool; as `tokio::net::UnixStream::connect`. On Linux, a path that begins with a
    /// zero byte is a name in the abstract namespace.
    ///
    /// # Errors
    ///
    /// What the operating system says; [`WouldBlock`](io::ErrorKind::WouldBlock) if the listener's backlog is
    /// full, for which there is nothing to wait. [`NoDefaultPool`](crate::error::NoDefaultPool) inside if
    /// there is none.
    pub async fn connect(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::connect_in(&Net::of_default()?, path).await
    }

    /// The same on a pool of one's choice.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect); [`JoinError`](crate::JoinError) inside if the pool is gone.
    pub async fn connect_in(net: &Net, path: impl AsRef<Path>) -> io::Result<Self> {
        let stream = Self::connect_now(net, path.as_ref());
        politely(std::future::ready(stream)).await
    }

    /// Connected at once, or not at all.
    fn connect_now(net: &Net, path: &Path) -> io::Result<Self> {
        let target = net.target()?;
        // Looks for zero bytes, at which the kernel would end the path.
        address(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)?;
        Ok(Self {
            source: Source::new(socket.into(), target),
        })
    }

    /// Two streams that are each other's peers, on the default pool; as `tokio::net::UnixStream::pair`.
    ///
    /// # Errors
    ///
    /// What the operating system says; [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there is
    /// none.
    pub fn pair() -> io::Result<(Self, Self)> {
        Self::pair_in(&Net::of_default()?)
    }

    /// The same on a pool of one's choice.
    ///
    /// # Errors
    ///
    /// As [`pair`](Self::pair); [`JoinError`](crate::JoinError) inside if the pool is gone.
    pub fn pair_in(net: &Net) -> io::Result<(Self, Self)> {
        let (one, other) = std::os::unix::net::UnixStream::pair()?;
        Ok((Self::from_std_in(net, one)?, Self::from_std_in(net, other)?))
    }

    /// A stream that std has, on the default pool; as `tokio::net::UnixStream::from_std`. It is made
    /// non-blocking, which is also so for its duplicates.
    ///
    /// # Errors
    ///
    /// What the operating system says; [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there is
    /// none.
    pub fn from_std(stream: std::os::unix::net::UnixStream) -> io::Result<Self> {
        Self::from_std_in(&Net::of_default()?, stream)
    }

    /// The same on a pool of one's choice.
    ///
    /// # Errors
    ///
    /// As [`from_std`](Self::from_std); [`JoinError`](crate::JoinError) inside if the pool is gone.
    pub fn from_std_in(net: &Net, stream: std::os::unix::net::UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            source: Source::new(stream, net.target()?),
        })
    }

    /// The stream for std, non-blocking; as `tokio::net::UnixStream::into_std`. No byte is lost: none was ever
    /// anywhere but in the kernel. While a worker watches it, it is a duplicate of the descriptor.
    ///
    /// # Errors
    ///
    /// What the operating system says to the duplicate. The stream is in the [`HandoffError`], which converts into
    /// an [`io::Error`].
    pub fn into_std(self) -> Result<std::os::unix::net::UnixStream, HandoffError<Self>> {
        let duplicate = std::os::unix::net::UnixStream::try_clone;
        let socket = self.source.into_socket(duplicate);
        socket.map_err(|(error, source)| HandoffError::new(error, Self { source }))
    }

    /// Who the peer was when it connected or, for the end that did, when the other began to listen.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn peer_cred(&self) -> io::Result<UCred> {
        let (uid, gid, pid) = sys::peer_cred(&self.source)?;
        Ok(UCred { uid, gid, pid })
    }

    /// This end's address.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.socket().local_addr()
    }

    /// The other end's address.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.source.socket().peer_addr()
    }

    /// The error that the operating system keeps for the next call, if any.
    ///
    /// # Errors
    ///
    /// What it says to the question.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.source.socket().take_error()
    }
}

/// Which process, and whose, is at a Unix stream's other end; from [`UnixStream::peer_cred`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UCred {
    uid: libc::uid_t,
    gid: libc::gid_t,
    pid: Option<libc::pid_t>,
}

impl UCred {
    /// The user.
    #[must_use]
    pub const fn uid(&self) -> libc::uid_t {
        self.uid
    }

    /// The group.
    #[must_use]
    pub const fn gid(&self) -> libc::gid_t {
        self.gid
    }

    /// The process; Linux alone tells.
    #[must_use]
    pub const fn pid(&self) -> Option<libc::pid_t> {
        self.pid
    }
}

/// Takes Unix streams, watched by a [`CompioPool`](crate::CompioPool) and used from anywhere: the names and
/// shapes of `tokio::net::UnixListener`. The path stays when it is dropped.
///
/// # Where it runs
///
/// See the [module](super). The connections are handed round the pool's workers.
pub struct UnixListener {
    source: Source<std::os::unix::net::UnixListener>,
    /// The workers that connections are handed to.
    target: Target,
}

impl UnixListener {
    /// Listens, on the default pool; as `tokio::net::UnixListener::bind`. On Linux, a path that begins with a
    /// zero byte is a name in the abstract namespace; one zero byte alone is the empty name there, where Tokio has
    /// the system choose a name.
    ///
    /// # Errors
    ///
    /// What the operating system says; [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there is
    /// none.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::bind_in(&Net::of_default()?, path)
    }

    /// The same on a pool of one's choice.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind); [`JoinError`](crate::JoinError) inside if the pool is gone.
    pub fn bind_in(net: &Net, path: impl AsRef<Path>) -> io::Result<Self> {
        // No path is left behind if the pool is gone.
        net.target()?;
        let address = address(path.as_ref())?;
        Self::from_std_in(net, std::os::unix::net::UnixListener::bind_addr(&address)?)
    }

    /// A listener that std has, on the default pool; as `tokio::net::UnixListener::from_std`. It is made
    /// non-blocking, which is also so for its duplicates.
    ///
    /// # Errors
    ///
    /// What the operating system says; [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there is
    /// none.
    pub fn from_std(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        Self::from_std_in(&Net::of_default()?, listener)
    }

    /// The same on a pool of one's choice.
    ///
    /// # Errors
    ///
    /// As [`from_std`](Self::from_std); [`JoinError`](crate::JoinError) inside if the pool is gone.
    pub fn from_std_in(net: &Net, listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let target = net.target()?;
        Ok(Self {
            source: Source::new(listener, target).closed_at_once(),
            target: target.clone(),
        })
    }

    /// The listener for std, non-blocking; as `tokio::net::UnixListener::into_std`. While a worker watches it, it
    /// may be a duplicate of the descriptor.
    ///
    /// # Errors
    ///
    /// What the operating system says to the duplicate. The listener is in the [`HandoffError`], which converts
    /// into an [`io::Error`].
    pub fn into_std(self) -> Result<std::os::unix::net::UnixListener, HandoffError<Self>> {
        let Self { source, target } = self;
        let duplicate = std::os::unix::net::UnixListener::try_clone;
        let socket = source.into_socket(duplicate);
        socket.map_err(|(error, source)| HandoffError::new(error, Self { source, target }))
    }

    /// Takes the next connection, and who made it.
    ///
    /// May be called by several tasks at once.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no connection.
    ///
    /// # Errors
    ///
    /// What the operating system says: that there is no descriptor left, say; the connection stays in the
    /// queue then. [`JoinError`](crate::JoinError) inside if the pool is gone.
    pub async fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        if self.target.is_closed() {
            return poll_fn(|cx| self.source.poll_gone(Way::Read, cx)).await;
        }
        let accepted = self.source.io(Way::Read, accept).await?;
        self.adopt(accepted)
    }

    /// As [`accept`](Self::accept), for those who poll by hand: of several callers only the last one is
    /// woken.
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept).
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(UnixStream, SocketAddr)>> {
        if self.target.is_closed() {
            return self.source.poll_gone(Way::Read, cx);
        }
        let accepted = self.source.poll_io(Way::Read, cx, accept)?;
        accepted.map(|accepted| self.adopt(accepted))
    }

    fn adopt(
        &self,
        (socket, peer): (std::os::unix::net::UnixStream, SocketAddr),
    ) -> io::Result<(UnixStream, SocketAddr)> {
        let source = Source::new(socket, open(&self.target)?);
        Ok((UnixStream { source }, peer))
    }

    /// The address that it listens at.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.socket().local_addr()
    }

    /// The error that the operating system keeps for the next call, if any.
    ///
    /// # Errors
    ///
    /// What it says to the question.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.source.socket().take_error()
    }
}

/// As Tokio's: a path, or a name in the abstract namespace.
fn address(path: &Path) -> io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = path.as_os_str().as_bytes().strip_prefix(b"\0") {
        use std::os::linux::net::SocketAddrExt;

        return SocketAddr::from_abstract_name(name);
    }
    SocketAddr::from_pathname(path)
}

fn accept(
    attempt: Try<'_, std::os::unix::net::UnixListener>,
) -> io::Result<(std::os::unix::net::UnixStream, SocketAddr)> {
    let (socket, peer) = attempt.socket().accept()?;
    socket.set_nonblocking(true)?;
    Ok((socket, peer))
}

impl sealed::Stream for UnixStream {
    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        stream::poll_read(&self.source, Short::IsNothing, cx, buffer)
    }

    fn poll_write(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        stream::poll_write(&self.source, cx, slices)
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        stream::try_read(&self.source, Short::IsNothing, buffer)
    }

    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        stream::try_write(&self.source, slices)
    }

    fn shutdown_write(&self) -> io::Result<()> {
        stream::shutdown_write(self.source.socket())
    }
}

stream::stream!(UnixStream);
stream::socket!(UnixStream, self => self.source);
stream::socket!(UnixListener, self => self.source);
