//! TCP.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::ReadBuf;

use super::{
    Net, ToSocketAddrs,
    addr::lookup,
    polite::politely,
    source::{Source, Try, Waiting, Way},
    stream::{self, Short, sealed},
};
use crate::{error::HandoffError, pool::Target};

/// A TCP connection watched by a [`CompioPool`](crate::CompioPool) and used from anywhere: the names and
/// shapes of `tokio::net::TcpStream`.
///
/// # Where it runs
///
/// See the [module](super). Bytes go between the caller's buffer and the kernel, on the caller's thread,
/// without a copy in between; only waiting is the worker's.
///
/// # Cancel safety
///
/// A read that is dropped has read nothing, and a write that is dropped has written nothing. What a write
/// has taken is with the kernel: [`flush`](tokio::io::AsyncWriteExt::flush) has nothing to do, and
/// dropping the stream sends it all.
///
/// # Errors
///
/// What the operating system says, to the call that it says it to. Once the worker is gone, a call that
/// would have to wait gets [`JoinError::RuntimeGone`](crate::JoinError::RuntimeGone) inside; what need not
/// wait still works.
pub struct TcpStream {
    source: Source<std::net::TcpStream>,
}

impl TcpStream {
    /// Connects, on the default pool; as `tokio::net::TcpStream::connect`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection.
    ///
    /// # Errors
    ///
    /// What the operating system says of the last address, if none of them can be connected to;
    /// [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there is none.
    pub async fn connect(addr: impl ToSocketAddrs) -> io::Result<Self> {
        Self::connect_in(&Net::of_default()?, addr).await
    }

    /// The same on a pool of one's choice.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect); [`JoinError`](crate::JoinError) inside if the pool is gone.
    pub async fn connect_in(net: &Net, addr: impl ToSocketAddrs) -> io::Result<Self> {
        let wanted = addr.wanted();
        politely(async {
            let mut last = None;
            for addr in lookup(net.target()?, wanted).await? {
                match Self::connect_to(net.target()?, addr).await {
                    Ok(stream) => return Ok(stream),
                    Err(error) => last = Some(error),
                }
            }
            Err(last.expect("there is at least one address"))
        })
        .await
    }

    async fn connect_to(target: &Target, addr: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        match socket.connect(&addr.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        // On one machine it may be there already: tried first, as everything is.
        let source = Source::new(std::net::TcpStream::from(socket), target);
        source
            .io(Way::Write, |attempt| {
                let socket = attempt.socket();
                if let Some(error) = socket.take_error()? {
                    return Err(error);
                }
                match socket.peer_addr() {
                    Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                        Err(io::ErrorKind::WouldBlock.into())
                    }
                    result => result,
                }
            })
            .await?;
        Ok(Self { source })
    }

    /// A connection that std has, on the default pool; as `tokio::net::TcpStream::from_std`. It is made
    /// non-blocking, which is also so for its duplicates.
    ///
    /// # Errors
    ///
    /// What the operating system says; [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there is
    /// none.
    pub fn from_std(stream: std::net::TcpStream) -> io::Result<Self> {
        Self::from_std_in(&Net::of_default()?, stream)
    }

    /// The same on a pool of one's choice.
    ///
    /// # Errors
    ///
    /// As [`from_std`](Self::from_std); [`JoinError`](crate::JoinError) inside if the pool is gone.
    pub fn from_std_in(net: &Net, stream: std::net::TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            source: Source::new(stream, net.target()?),
        })
    }

    /// The connection for std, non-blocking; as `tokio::net::TcpStream::into_std`. No byte is lost: none was
    /// ever anywhere but in the kernel. While a worker watches it, it is a duplicate of the descriptor.
    ///
    /// # Errors
    ///
    /// What the operating system says to the duplicate. The stream is in the [`HandoffError`], which converts into
    /// an [`io::Error`].
    pub fn into_std(self) -> Result<std::net::TcpStream, HandoffError<Self>> {
        let socket = self.source.into_socket(std::net::TcpStream::try_clone);
        socket.map_err(|(error, source)| HandoffError::new(error, Self { source }))
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

    /// Whether small writes go out at once, without waiting for more (`TCP_NODELAY`).
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.source.socket().nodelay()
    }

    /// Sets whether small writes go out at once, without waiting for more (`TCP_NODELAY`).
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.source.socket().set_nodelay(nodelay)
    }

    /// The time to live of packets that are sent (`IP_TTL`).
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn ttl(&self) -> io::Result<u32> {
        self.source.socket().ttl()
    }

    /// Sets the time to live of packets that are sent (`IP_TTL`).
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.source.socket().set_ttl(ttl)
    }

    /// Has the connection reset, not ended, when it is closed (`SO_LINGER` with a time of 0).
    ///
    /// There is no other linger here: closing would block a thread.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn set_zero_linger(&self) -> io::Result<()> {
        SockRef::from(self.source.socket()).set_linger(Some(Duration::ZERO))
    }

    /// The error that the operating system keeps for the next call, if any.
    ///
    /// # Errors
    ///
    /// What it says to the question.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.source.socket().take_error()
    }

    /// Reads without taking: as soon as there is something, how many bytes of it were put into `buffer`.
    ///
    /// # Cancel safety
    ///
    /// Takes nothing, so that nothing can be lost.
    ///
    /// # Errors
    ///
    /// As a read.
    pub async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.source
            .io(Way::Read, |attempt| attempt.socket().peek(buffer))
            .await
    }
}

/// An address that [`TcpListener`] listens at, with a say in how.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use landbridge::remote::{ListenOptions, Net};
///
/// let pool = landbridge::CompioPool::builder().threads(2).build()?;
/// let mut options = ListenOptions::new();
/// options.reuse_port(true).backlog(4096);
/// let listener = options.bind_in(&Net::new(&pool), "127.0.0.1:0").await?;
/// assert_ne!(listener.local_addr()?.port(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ListenOptions {
    reuse_port: bool,
    backlog: i32,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl ListenOptions {
    /// One listening socket, and a backlog of 1 024.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            reuse_port: false,
            backlog: 1024,
        }
    }

    /// Whether there is to be one listening socket for each worker (`SO_REUSEPORT`), among which the kernel
    /// deals the connections out; each then stays with the worker that it came to. Off otherwise.
    ///
    /// Without it, one socket listens, and connections are handed to the worker that watches fewer. That
    /// spreads them more evenly than the kernel's hash does, and no connection is lost with a socket that is
    /// closed; with it, many short connections do not meet at one queue's lock, and another process may
    /// listen beside this one.
    ///
    /// Linux only; elsewhere `bind` fails, since the kernel there does not deal connections out.
    pub const fn reuse_port(&mut self, reuse_port: bool) -> &mut Self {
        self.reuse_port = reuse_port;
        self
    }

    /// How many connections the kernel keeps for each listening socket until they are accepted, at most;
    /// 1 024 otherwise. The system may have a lower bound.
    pub const fn backlog(&mut self, backlog: u32) -> &mut Self {
        self.backlog = if backlog > i32::MAX as u32 {
            i32::MAX
        } else {
            backlog as i32
        };
        self
    }

    /// Listens, on the default pool.
    ///
    /// # Errors
    ///
    /// As [`TcpListener::bind`].
    pub async fn bind(&self, addr: impl ToSocketAddrs) -> io::Result<TcpListener> {
        self.bind_in(&Net::of_default()?, addr).await
    }

    /// Listens, on a pool of one's choice.
    ///
    /// # Errors
    ///
    /// As [`TcpListener::bind_in`].
    pub async fn bind_in(&self, net: &Net, addr: impl ToSocketAddrs) -> io::Result<TcpListener> {
        let wanted = addr.wanted();
        let mut last = None;
        for addr in lookup(net.target()?, wanted).await? {
            match self.listen(net.target()?, addr) {
                Ok(listener) => return Ok(listener),
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("there is at least one address"))
    }

    fn listen(&self, target: &Target, addr: SocketAddr) -> io::Result<TcpListener> {
        if !self.reuse_port {
            let socket = self.socket(addr)?;
            return Ok(TcpListener::one(socket, target));
        }
        if cfg!(not(target_os = "linux")) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        // The first may find a port for them all.
        let mut addr = addr;
        let mut sources = Vec::new();
        for home in target.workers() {
            let socket = self.socket(addr)?;
            addr = socket.local_addr()?;
            sources.push(Source::on(home, socket).closed_at_once());
        }
        Ok(TcpListener {
            sources: sources.into(),
            next: AtomicUsize::new(0),
            target: target.clone(),
        })
    }

    fn socket(&self, addr: SocketAddr) -> io::Result<std::net::TcpListener> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(true)?;
        #[cfg(target_os = "linux")]
        if self.reuse_port {
            socket.set_reuse_port(true)?;
        }
        socket.bind(&addr.into())?;
        socket.listen(self.backlog)?;
        Ok(socket.into())
    }
}

/// Takes TCP connections, watched by a [`CompioPool`](crate::CompioPool) and used from anywhere: the names
/// and shapes of `tokio::net::TcpListener`.
///
/// # Where it runs
///
/// See the [module](super). One socket listens, watched by one worker, and the connections are handed round
/// all of them; [`ListenOptions::reuse_port`] has one for each worker instead.
pub struct TcpListener {
    /// At least one.
    sources: Box<[Source<std::net::TcpListener>]>,
    /// Which of them is tried first next: none is to wait for ever.
    next: AtomicUsize,
    /// The workers that connections are handed to.
    target: Target,
}

impl TcpListener {
    /// Listens, on the default pool; as `tokio::net::TcpListener::bind`. Port 0 is any that is free.
    ///
    /// # Errors
    ///
    /// What the operating system says of the last address, if none of them can be listened at;
    /// [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there is none.
    pub async fn bind(addr: impl ToSocketAddrs) -> io::Result<Self> {
        ListenOptions::new().bind(addr).await
    }

    /// The same on a pool of one's choice.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind); [`JoinError`](crate::JoinError) inside if the pool is gone.
    pub async fn bind_in(net: &Net, addr: impl ToSocketAddrs) -> io::Result<Self> {
        ListenOptions::new().bind_in(net, addr).await
    }

    fn one(socket: std::net::TcpListener, target: &Target) -> Self {
        Self {
            sources: Box::new([Source::new(socket, target).closed_at_once()]),
            next: AtomicUsize::new(0),
            target: target.clone(),
        }
    }

    /// A listener that std has, on the default pool; as `tokio::net::TcpListener::from_std`. It is made
    /// non-blocking, which is also so for its duplicates.
    ///
    /// # Errors
    ///
    /// What the operating system says; [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there is
    /// none.
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<Self> {
        Self::from_std_in(&Net::of_default()?, listener)
    }

    /// The same on a pool of one's choice.
    ///
    /// # Errors
    ///
    /// As [`from_std`](Self::from_std); [`JoinError`](crate::JoinError) inside if the pool is gone.
    pub fn from_std_in(net: &Net, listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self::one(listener, net.target()?))
    }

    /// The listener for std, non-blocking; as `tokio::net::TcpListener::into_std`. While a worker watches it, it
    /// may be a duplicate of the descriptor.
    ///
    /// # Errors
    ///
    /// What the operating system says to the duplicate. With [`ListenOptions::reuse_port`] there are several:
    /// [`Unsupported`](io::ErrorKind::Unsupported). The listener is in the [`HandoffError`], which converts into
    /// an [`io::Error`].
    pub fn into_std(mut self) -> Result<std::net::TcpListener, HandoffError<Self>> {
        let mut sources = self.sources.into_vec();
        let (error, source) = match sources.pop() {
            Some(one) if sources.is_empty() => {
                match one.into_socket(std::net::TcpListener::try_clone) {
                    Ok(socket) => return Ok(socket),
                    Err(why) => why,
                }
            }
            several => (
                io::ErrorKind::Unsupported.into(),
                several.expect("there is at least one"),
            ),
        };
        sources.push(source);
        self.sources = sources.into();
        Err(HandoffError::new(error, self))
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
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let waiting = |source| Waiting::new(source, Way::Read);
        let mut waiting: Vec<_> = self.sources.iter().map(waiting).collect();
        poll_fn(|cx| self.poll_each(cx, |index, cx| waiting[index].poll(cx, accept))).await
    }

    /// As [`accept`](Self::accept), for those who poll by hand: of several callers only the last one is
    /// woken.
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept).
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        self.poll_each(cx, |index, cx| {
            self.sources[index].poll_io(Way::Read, cx, accept)
        })
    }

    fn poll_each(
        &self,
        cx: &mut Context<'_>,
        mut poll: impl FnMut(
            usize,
            &mut Context<'_>,
        ) -> Poll<io::Result<(std::net::TcpStream, SocketAddr)>>,
    ) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        if self.target.is_closed() {
            return self.sources[0].poll_gone(Way::Read, cx);
        }
        // Those that come later in the row are not to stand in for one that lets the neighbours have their turn.
        ready!(self.sources[0].poll_proceed(Way::Read, cx));
        let n = self.sources.len();
        let first = self.next.load(Ordering::Relaxed);
        for index in (first..first.wrapping_add(n)).map(|index| index % n) {
            if let Poll::Ready(accepted) = poll(index, cx) {
                self.next.store(index + 1, Ordering::Relaxed);
                let (socket, peer) = accepted?;
                let source = match &*self.sources {
                    [_] => Source::new(socket, &self.target),
                    // The kernel has dealt it to that worker.
                    sources => Source::on(sources[index].home(), socket),
                };
                return Poll::Ready(Ok((TcpStream { source }, peer)));
            }
        }
        Poll::Pending
    }

    /// The address that it listens at.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.sources[0].socket().local_addr()
    }

    /// The time to live of packets that are sent (`IP_TTL`).
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn ttl(&self) -> io::Result<u32> {
        self.sources[0].socket().ttl()
    }

    /// Sets the time to live of packets that are sent (`IP_TTL`).
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        let mut sources = self.sources.iter();
        sources.try_for_each(|source| source.socket().set_ttl(ttl))
    }
}

fn accept(
    attempt: Try<'_, std::net::TcpListener>,
) -> io::Result<(std::net::TcpStream, SocketAddr)> {
    let (socket, peer) = attempt.socket().accept()?;
    socket.set_nonblocking(true)?;
    Ok((socket, peer))
}

impl sealed::Stream for TcpStream {
    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        stream::poll_read(&self.source, Short::IsAll, cx, buffer)
    }

    fn poll_write(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        stream::poll_write(&self.source, cx, slices)
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        stream::try_read(&self.source, Short::IsAll, buffer)
    }

    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        stream::try_write(&self.source, slices)
    }

    fn shutdown_write(&self) -> io::Result<()> {
        stream::shutdown_write(self.source.socket())
    }
}

stream::stream!(TcpStream);
stream::socket!(TcpStream, self => self.source);
stream::socket!(TcpListener, self => self.sources[0]);
