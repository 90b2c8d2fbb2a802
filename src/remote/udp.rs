//! Datagrams.

use std::{io, net::SocketAddr};

use super::{
    Net, ToSocketAddrs,
    addr::{lookup, sealed::Wanted},
    net::open,
    source::{Source, Way},
    stream,
};
use crate::pool::Target;

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
            source: Source::new(socket, target),
            target: target.clone(),
        })
    }

    /// The socket for std, by a duplicate of the descriptor, non-blocking; as
    /// `tokio::net::UdpSocket::into_std`.
    ///
    /// # Errors
    ///
    /// What the operating system says to the duplicate.
    pub fn into_std(self) -> io::Result<std::net::UdpSocket> {
        self.source.socket().try_clone()
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
}

stream::socket!(UdpSocket, self => self.source);
