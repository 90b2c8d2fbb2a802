//! A server behind the proxy, that does what the first byte of a connection says.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use socket2::{Domain, SockRef, Socket, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::{JoinHandle, JoinSet},
};

/// Sends back what comes.
pub(crate) const ECHO: u8 = b'E';
/// Reads to the end, and only then sends as many bytes as the 8 after this one say.
pub(crate) const ANSWER_AT_THE_END: u8 = b'A';
/// Sends a byte and the end, and only then reads.
pub(crate) const END_FIRST: u8 = b'F';
/// Does nothing for ever.
pub(crate) const HANG: u8 = b'H';

/// Resets the connection at the next byte.
pub(crate) const RESET: u8 = b'R';

/// What a connection has brought.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) bytes: usize,
    /// They were the right ones.
    pub(crate) right: bool,
    /// The error's kind, if it was no clean end.
    pub(crate) failed: Option<io::ErrorKind>,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Connections that have said something: checks of the backend's health do not.
    served: AtomicUsize,
    present: AtomicUsize,
    /// The most that were there at the same time.
    peak: AtomicUsize,
}

/// Stands for its address also while it does not serve.
#[derive(Debug)]
pub(crate) struct Backend {
    addr: SocketAddr,
    /// Bound and not listening: who connects is refused, and nobody else gets the port.
    _holder: Socket,
    serving: Option<JoinHandle<()>>,
    counts: Arc<Counts>,
    send: mpsc::UnboundedSender<Received>,
    received: mpsc::UnboundedReceiver<Received>,
}

impl Backend {
    pub(crate) fn start() -> io::Result<Self> {
        let mut backend = Self::dead()?;
        backend.revive()?;
        Ok(backend)
    }

    /// One that refuses.
    pub(crate) fn dead() -> io::Result<Self> {
        let holder = bound((Ipv4Addr::LOCALHOST, 0).into())?;
        let addr = holder.local_addr()?.as_socket();
        let (send, received) = mpsc::unbounded_channel();
        Ok(Self {
            addr: addr.ok_or(io::ErrorKind::AddrNotAvailable)?,
            _holder: holder,
            serving: None,
            counts: Arc::default(),
            send,
            received,
        })
    }

    pub(crate) fn revive(&mut self) -> io::Result<()> {
        let socket = bound(self.addr)?;
        socket.listen(1024)?;
        socket.set_nonblocking(true)?;
        let listener = TcpListener::from_std(socket.into())?;
        let serving = serve(listener, Arc::clone(&self.counts), self.send.clone());
        self.serving = Some(tokio::spawn(serving));
        Ok(())
    }

    /// Cuts everything off.
    pub(crate) async fn kill(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            _ = serving.await;
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn served(&self) -> usize {
        self.counts.served.load(SeqCst)
    }

    pub(crate) fn peak(&self) -> usize {
        self.counts.peak.load(SeqCst)
    }

    pub(crate) async fn received(&mut self) -> Option<Received> {
        self.received.recv().await
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

/// A socket that shares its port with others of its kind.
fn bound(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

async fn serve(
    listener: TcpListener,
    counts: Arc<Counts>,
    received: mpsc::UnboundedSender<Received>,
) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        connections.spawn(one(stream, Arc::clone(&counts), received.clone()));
    }
}

async fn one(
    mut stream: TcpStream,
    counts: Arc<Counts>,
    received: mpsc::UnboundedSender<Received>,
) {
    _ = stream.set_nodelay(true);
    let Ok(first) = stream.read_u8().await else {
        return;
    };
    counts.served.fetch_add(1, SeqCst);
    let present = counts.present.fetch_add(1, SeqCst) + 1;
    counts.peak.fetch_max(present, SeqCst);
    let result = match first {
        ECHO => echo(&mut stream).await,
        ANSWER_AT_THE_END => answer_at_the_end(&mut stream).await,
        END_FIRST => end_first(&mut stream).await,
        RESET => reset(&mut stream).await,
        _ => std::future::pending().await,
    };
    // Before the proxy can know that this connection is over.
    counts.present.fetch_sub(1, SeqCst);
    if result.is_ok() {
        _ = stream.shutdown().await;
    }
    _ = received.send(result.unwrap_or_else(|error| Received {
        bytes: 0,
        right: false,
        failed: Some(error.kind()),
    }));
}

async fn echo(stream: &mut TcpStream) -> io::Result<Received> {
    let mut buffer = vec![0; 16 * 1024];
    let mut bytes = 0;
    loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            break;
        }
        stream.write_all(&buffer[..n]).await?;
        bytes += n;
    }
    Ok(Received {
        bytes,
        right: true,
        failed: None,
    })
}

async fn answer_at_the_end(stream: &mut TcpStream) -> io::Result<Received> {
    let length = stream.read_u64().await? as usize;
    let bytes = stream.read_to_end(&mut Vec::new()).await?;
    stream.write_all(&pattern(length)).await?;
    Ok(Received {
        bytes,
        right: true,
        failed: None,
    })
}

async fn end_first(stream: &mut TcpStream) -> io::Result<Received> {
    stream.write_u8(END_FIRST).await?;
    stream.shutdown().await?;
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await?;
    Ok(Received {
        bytes: all.len(),
        right: all == pattern(all.len()),
        failed: None,
    })
}

async fn reset(stream: &mut TcpStream) -> io::Result<Received> {
    stream.read_u8().await?;
    SockRef::from(&*stream).set_linger(Some(Duration::ZERO))?;
    Err(io::ErrorKind::ConnectionReset.into())
}

/// Bytes of which none looks like its neighbours, nor like those a buffer further on.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|place| (place % 251) as u8 ^ (place / 251 % 241) as u8)
        .collect()
}
