//! Datagrams.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    task::{Context, Poll},
};

use tokio::io::ReadBuf;

use super::{
    Net, ToSocketAddrs,
    addr::{lookup, sealed::Wanted},
    net::open,
    source::{Source, Way},
    stream, sys,
};
use crate::{error::HandoffError, pool::Target};

/// A UDP socket watched by a [`CompioPool`](crate::CompioPool) and used from anywhere: the names and shapes of
/// `tokio::net::UdpSocket`.
///
/// Its functions may be called by several tasks at once: behind an `Arc`, some may send while others receive.
///
/// # Where it runs
///
/// See the [module](super).
///
/// # Cancel safety
///
/// A call that is dropped has sent nothing and received nothing.
///
/// # Errors
///
/// What the operating system says, to the call that it says it to; that nobody listens where an earlier
/// datagram went, for one. [`JoinError::RuntimeGone`](crate::JoinError::RuntimeGone) inside once the worker is
/// gone and the call would have to wait.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use landbridge::remote::{Net, UdpSocket};
///
/// let pool = landbridge::CompioPool::builder().threads(1).build()?;
/// let net = Net::new(&pool);
/// let one = UdpSocket::bind_in(&net, "127.0.0.1:0").await?;
/// let other = UdpSocket::bind_in(&net, "127.0.0.1:0").await?;
/// one.send_to(b"over the bridge", other.local_addr()?).await?;
///
/// let mut room = [0; 64];
/// let (n, from) = other.recv_from(&mut room).await?;
/// assert_eq!((&room[..n], from), (b"over the bridge".as_slice(), one.local_addr()?));
/// # Ok(())
/// # }
/// ```
pub struct UdpSocket {
    source: Source<std::net::UdpSocket>,
    /// Where names are looked up.
    target: Target,
}

impl UdpSocket {
    /// Binds a socket, on the default pool; as `tokio::net::UdpSocket::bind`. Port 0 is any that is free.
    ///
    /// # Errors
    ///
    /// What the operating system says of the last address, if none of them can be bound to;
    /// [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there is none.
    pub async fn bind(addr: impl ToSocketAddrs) -> io::Result<Self> {
        Self::bind_in(&Net::of_default()?, addr).await
    }

    /// The same on a pool of one's choice.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind); [`JoinError`](crate::JoinError) inside if the pool is gone.
    pub async fn bind_in(net: &Net, addr: impl ToSocketAddrs) -> io::Result<Self> {
        let wanted = addr.wanted();
        let found = lookup(net.target()?, wanted).await?;
        Self::from_std_in(net, std::net::UdpSocket::bind(&*found)?)
    }

    /// A socket that std has, on the default pool; as `tokio::net::UdpSocket::from_std`. It is made
    /// non-blocking, which is also so for its duplicates.
    ///
    /// # Errors
    ///
    /// What the operating system says; [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there is
    /// none.
    pub fn from_std(socket: std::net::UdpSocket) -> io::Result<Self> {
        Self::from_std_in(&Net::of_default()?, socket)
    }

    /// The same on a pool of one's choice.
    ///
    /// # Errors
    ///
    /// As [`from_std`](Self::from_std); [`JoinError`](crate::JoinError) inside if the pool is gone.
    pub fn from_std_in(net: &Net, socket: std::net::UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let target = net.target()?;
        Ok(Self {
            source: Source::new(socket, target).closed_at_once(),
            target: target.clone(),
        })
    }

    /// The socket for std, non-blocking; as `tokio::net::UdpSocket::into_std`. While a worker watches it, it may
    /// be a duplicate of the descriptor.
    ///
    /// # Errors
    ///
    /// What the operating system says to the duplicate. The socket is in the [`HandoffError`], which converts into
    /// an [`io::Error`].
    pub fn into_std(self) -> Result<std::net::UdpSocket, HandoffError<Self>> {
        let Self { source, target } = self;
        let socket = source.into_socket(std::net::UdpSocket::try_clone);
        socket.map_err(|(error, source)| HandoffError::new(error, Self { source, target }))
    }

    /// Sets whom [`send`](Self::send) sends to and [`recv`](Self::recv) receives from, and from whom alone
    /// datagrams are taken from then on.
    ///
    /// # Errors
    ///
    /// What the operating system says of the last address, if none of them will do.
    pub async fn connect(&self, addr: impl ToSocketAddrs) -> io::Result<()> {
        let found = lookup(open(&self.target)?, addr.wanted()).await?;
        self.source.socket().connect(&*found)
    }

    /// Sends one datagram to whom the socket is [connected](Self::connect) to; how many bytes.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub async fn send(&self, datagram: &[u8]) -> io::Result<usize> {
        self.source
            .io(Way::Write, |attempt| {
                let n = attempt.socket().send(datagram)?;
                attempt.moved(Way::Write, n);
                Ok(n)
            })
            .await
    }

    /// Receives one datagram from whom the socket is [connected](Self::connect) to; how many bytes. What
    /// there is no room for is lost.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub async fn recv(&self, room: &mut [u8]) -> io::Result<usize> {
        self.source
            .io(Way::Read, |attempt| {
                let n = attempt.socket().recv(room)?;
                attempt.moved(Way::Read, n);
                Ok(n)
            })
            .await
    }

    /// Sends one datagram; how many bytes. Of several addresses the first counts.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub async fn send_to(&self, datagram: &[u8], addr: impl ToSocketAddrs) -> io::Result<usize> {
        let addr = match addr.wanted() {
            Wanted::One(one) => one,
            wanted => lookup(open(&self.target)?, wanted).await?[0],
        };
        self.source
            .io(Way::Write, |attempt| {
                let n = attempt.socket().send_to(datagram, addr)?;
                attempt.moved(Way::Write, n);
                Ok(n)
            })
            .await
    }

    /// Receives one datagram; how many bytes, and from whom. What there is no room for is lost.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub async fn recv_from(&self, room: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.source
            .io(Way::Read, |attempt| {
                let (n, from) = attempt.socket().recv_from(room)?;
                attempt.moved(Way::Read, n);
                Ok((n, from))
            })
            .await
    }

    /// As [`recv_from`](Self::recv_from), and the datagram stays.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub async fn peek_from(&self, room: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.source
            .io(Way::Read, |attempt| attempt.socket().peek_from(room))
            .await
    }

    /// As [`recv`](Self::recv), and the datagram stays.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub async fn peek(&self, room: &mut [u8]) -> io::Result<usize> {
        self.source
            .io(Way::Read, |attempt| attempt.socket().peek(room))
            .await
    }

    /// As [`send`](Self::send), without waiting.
    ///
    /// # Errors
    ///
    /// What the operating system says; [`WouldBlock`](io::ErrorKind::WouldBlock) if it takes nothing now.
    pub fn try_send(&self, datagram: &[u8]) -> io::Result<usize> {
        self.source
            .try_io(Way::Write, |attempt| attempt.socket().send(datagram))
    }

    /// As [`recv`](Self::recv), without waiting.
    ///
    /// # Errors
    ///
    /// What the operating system says; [`WouldBlock`](io::ErrorKind::WouldBlock) if there is nothing yet.
    pub fn try_recv(&self, room: &mut [u8]) -> io::Result<usize> {
        self.source
            .try_io(Way::Read, |attempt| attempt.socket().recv(room))
    }

    /// Waits until a datagram can be received, as far as is known: somebody else may take it.
    ///
    /// # Errors
    ///
    /// [`JoinError`](crate::JoinError) inside if the worker is gone.
    pub async fn readable(&self) -> io::Result<()> {
        self.source.ready(Way::Read).await
    }

    /// Waits until a datagram can be sent, as far as is known.
    ///
    /// # Errors
    ///
    /// [`JoinError`](crate::JoinError) inside if the worker is gone.
    pub async fn writable(&self) -> io::Result<()> {
        self.source.ready(Way::Write).await
    }

    /// As [`send`](Self::send), for those who poll by hand: of several callers only the last one is woken.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn poll_send(&self, cx: &mut Context<'_>, datagram: &[u8]) -> Poll<io::Result<usize>> {
        self.source.poll_io(Way::Write, cx, |attempt| {
            let n = attempt.socket().send(datagram)?;
            attempt.moved(Way::Write, n);
            Ok(n)
        })
    }

    /// As [`send_to`](Self::send_to), for those who poll by hand: of several callers only the last one is woken.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        datagram: &[u8],
        addr: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        self.source.poll_io(Way::Write, cx, |attempt| {
            let n = attempt.socket().send_to(datagram, addr)?;
            attempt.moved(Way::Write, n);
            Ok(n)
        })
    }

    /// As [`recv`](Self::recv), for those who poll by hand: of several callers only the last one is woken.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn poll_recv(&self, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.source.poll_io(Way::Read, cx, |attempt| {
            let n = sys::recv(attempt.socket(), room)?;
            attempt.moved(Way::Read, n);
            Ok(())
        })
    }

    /// As [`recv_from`](Self::recv_from), for those who poll by hand: of several callers only the last one is
    /// woken.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<SocketAddr>> {
        self.source.poll_io(Way::Read, cx, |attempt| {
            let before = room.filled().len();
            let from = sys::recv_from(attempt.socket(), room)?;
            attempt.moved(Way::Read, room.filled().len() - before);
            Ok(from)
        })
    }

    /// As [`send_to`](Self::send_to), without waiting.
    ///
    /// # Errors
    ///
    /// What the operating system says; [`WouldBlock`](io::ErrorKind::WouldBlock) if it takes nothing now.
    pub fn try_send_to(&self, datagram: &[u8], addr: SocketAddr) -> io::Result<usize> {
        self.source.try_io(Way::Write, |attempt| {
            attempt.socket().send_to(datagram, addr)
        })
    }

    /// As [`recv_from`](Self::recv_from), without waiting.
    ///
    /// # Errors
    ///
    /// What the operating system says; [`WouldBlock`](io::ErrorKind::WouldBlock) if there is nothing yet.
    pub fn try_recv_from(&self, room: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.source
            .try_io(Way::Read, |attempt| attempt.socket().recv_from(room))
    }

    /// This end's address.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.socket().local_addr()
    }

    /// Whom it is [connected](Self::connect) to.
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

    /// Whether datagrams may be sent to everybody (`SO_BROADCAST`).
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn broadcast(&self) -> io::Result<bool> {
        self.source.socket().broadcast()
    }

    /// Sets whether datagrams may be sent to everybody (`SO_BROADCAST`).
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn set_broadcast(&self, broadcast: bool) -> io::Result<()> {
        self.source.socket().set_broadcast(broadcast)
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

    /// Whether what is sent to a group also comes to this machine (`IP_MULTICAST_LOOP`).
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn multicast_loop_v4(&self) -> io::Result<bool> {
        self.source.socket().multicast_loop_v4()
    }

    /// Sets whether what is sent to a group also comes to this machine (`IP_MULTICAST_LOOP`).
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn set_multicast_loop_v4(&self, on: bool) -> io::Result<()> {
        self.source.socket().set_multicast_loop_v4(on)
    }

    /// The time to live of what is sent to a group (`IP_MULTICAST_TTL`).
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn multicast_ttl_v4(&self) -> io::Result<u32> {
        self.source.socket().multicast_ttl_v4()
    }

    /// Sets the time to live of what is sent to a group (`IP_MULTICAST_TTL`).
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn set_multicast_ttl_v4(&self, ttl: u32) -> io::Result<()> {
        self.source.socket().set_multicast_ttl_v4(ttl)
    }

    /// Whether what is sent to a group also comes to this machine (`IPV6_MULTICAST_LOOP`).
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn multicast_loop_v6(&self) -> io::Result<bool> {
        self.source.socket().multicast_loop_v6()
    }

    /// Sets whether what is sent to a group also comes to this machine (`IPV6_MULTICAST_LOOP`).
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn set_multicast_loop_v6(&self, on: bool) -> io::Result<()> {
        self.source.socket().set_multicast_loop_v6(on)
    }

    /// Receives what is sent to a group, too (`IP_ADD_MEMBERSHIP`).
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn join_multicast_v4(&self, group: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        let socket = self.source.socket();
        socket.join_multicast_v4(&group, &interface)
    }

    /// Receives what is sent to a group no more (`IP_DROP_MEMBERSHIP`).
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn leave_multicast_v4(&self, group: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        let socket = self.source.socket();
        socket.leave_multicast_v4(&group, &interface)
    }

    /// Receives what is sent to a group, too (`IPV6_ADD_MEMBERSHIP`).
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        let socket = self.source.socket();
        socket.join_multicast_v6(group, interface)
    }

    /// Receives what is sent to a group no more (`IPV6_DROP_MEMBERSHIP`).
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        let socket = self.source.socket();
        socket.leave_multicast_v6(group, interface)
    }
}

stream::socket!(UdpSocket, self => self.source);
