//! Backends that echo, and clients that wait for each answer before they ask again.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};

/// Bytes of a request, and of its answer.
const REQUEST: [u8; 256] = [b'r'; 256];
const BACKENDS: usize = 2;

/// A thread for the backends; the clients run on the caller's.
pub(crate) struct Load {
    clients: Runtime,
    addrs: Vec<SocketAddr>,
    _backends: Runtime,
}

impl Load {
    pub(crate) fn start() -> io::Result<Self> {
        let backends = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("backends")
            .enable_all()
            .build()?;
        let mut addrs = Vec::new();
        for _ in 0..BACKENDS {
            let listener = backends.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
            addrs.push(listener.local_addr()?);
            backends.spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    // Its errors are those of a proxy that was stopped.
                    tokio::spawn(echo(stream));
                }
            });
        }
        Ok(Self {
            clients: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
            addrs,
            _backends: backends,
        })
    }

    pub(crate) fn backends(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// How long each answer took. `watch` is called when it begins and when it ends, with all connections open.
    pub(crate) fn run(
        &self,
        addr: SocketAddr,
        connections: usize,
        time: Duration,
        mut watch: impl FnMut(bool) -> io::Result<()>,
    ) -> io::Result<Vec<Duration>> {
        self.clients.block_on(async {
            let mut clients = Vec::with_capacity(connections);
            for _ in 0..connections {
                clients.push(Client::connect(addr).await?);
            }
            watch(true)?;
            let end = Instant::now() + time;
            let latencies = try_join_all(clients.iter_mut().map(|it| it.ask_until(end))).await?;
            watch(false)?;
            Ok(latencies.concat())
        })
    }
}

struct Client(TcpStream);

impl Client {
    /// It has asked once, so it is served.
    async fn connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let mut client = Self(stream);
        client.ask().await?;
        Ok(client)
    }

    async fn ask_until(&mut self, end: Instant) -> io::Result<Vec<Duration>> {
        let mut latencies = Vec::new();
        let mut now = Instant::now();
        while now < end {
            self.ask().await?;
            let answered = Instant::now();
            latencies.push(answered - now);
            now = answered;
        }
        Ok(latencies)
    }

    async fn ask(&mut self) -> io::Result<()> {
        self.0.write_all(&REQUEST).await?;
        self.0.read_exact(&mut [0; REQUEST.len()]).await?;
        Ok(())
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            n => stream.write_all(&buffer[..n]).await?,
        }
    }
}
