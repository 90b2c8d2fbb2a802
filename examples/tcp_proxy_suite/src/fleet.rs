//! Backends, a configuration file and a proxy in front.

use std::{
    fmt::Write as _,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use socket2::SockRef;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    Error, Status, Stopped, Subject,
    backend::{Backend, ECHO},
};

/// So seldom that it does not happen.
pub(crate) const NEVER: u64 = 3_600_000;

/// What the configuration file says.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) connections: usize,
    pub(crate) drain_ms: u64,
    pub(crate) interval_ms: u64,
    pub(crate) lines: usize,
    pub(crate) delay_ms: u64,
    pub(crate) backends: Vec<(SocketAddr, u16)>,
}

/// A proxy and what is around it.
#[derive(Debug)]
pub(crate) struct Fleet<P> {
    pub(crate) proxy: P,
    pub(crate) settings: Settings,
    pub(crate) backends: Vec<Backend>,
    files: Files,
}

/// A directory with the configuration and the access log.
#[derive(Debug)]
pub(crate) struct Files(TempDir);

impl Files {
    fn config(&self) -> PathBuf {
        self.0.path().join("proxy.toml")
    }

    fn write(&self, settings: &Settings) -> io::Result<()> {
        fs::write(
            self.config(),
            settings.text(&self.0.path().join("access.log")),
        )
    }

    /// The lines of the access log.
    fn log(&self) -> Vec<String> {
        let log = fs::read_to_string(self.0.path().join("access.log"));
        // The last line may be on its way.
        let log = log.unwrap_or_default();
        let whole = log.rfind('\n').map_or(0, |newline| newline + 1);
        log[..whole].lines().map(str::to_owned).collect()
    }
}

impl Settings {
    pub(crate) fn new(backends: &[Backend], weights: &[u16]) -> Self {
        let backends = backends.iter().map(Backend::addr);
        Self {
            connections: 1000,
            drain_ms: 30_000,
            interval_ms: NEVER,
            lines: 1,
            delay_ms: NEVER,
            backends: backends.zip(weights.iter().copied()).collect(),
        }
    }

    /// For a port of its own choosing, so that a file can be read again with the same one.
    pub(crate) fn text(&self, log: &Path) -> String {
        let mut text = format!(
            "listen = \"127.0.0.1:0\"\nconnections = {}\nconnect_ms = 10000\ndrain_ms = {}\n\n\
             [health]\ninterval_ms = {}\n\n\
             [log]\nfile = {:?}\nlines = {}\ndelay_ms = {}\n",
            self.connections, self.drain_ms, self.interval_ms, log, self.lines, self.delay_ms,
        );
        for (addr, weight) in &self.backends {
            _ = write!(
                text,
                "\n[[backend]]\naddr = \"{addr}\"\nweight = {weight}\n"
            );
        }
        text
    }
}

impl<P: Subject> Fleet<P> {
    /// With a backend for each weight.
    pub(crate) async fn start(
        weights: &[u16],
        change: impl FnOnce(&mut Settings),
    ) -> Result<Self, Error> {
        let backends = weights.iter().map(|_| Backend::start());
        Self::with(backends.collect::<io::Result<_>>()?, weights, change).await
    }

    pub(crate) async fn with(
        backends: Vec<Backend>,
        weights: &[u16],
        change: impl FnOnce(&mut Settings),
    ) -> Result<Self, Error> {
        let files = Files(TempDir::new()?);
        let mut settings = Settings::new(&backends, weights);
        change(&mut settings);
        files.write(&settings)?;
        Ok(Self {
            proxy: P::start(&files.config()).await?,
            settings,
            backends,
            files,
        })
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.files.config()
    }

    /// Writes the file; nobody is told.
    pub(crate) fn write(&mut self, change: impl FnOnce(&mut Settings)) -> io::Result<()> {
        change(&mut self.settings);
        self.files.write(&self.settings)
    }

    pub(crate) fn reload(&mut self, change: impl FnOnce(&mut Settings)) -> Result<(), Error> {
        self.write(change)?;
        self.proxy.reload(&self.file())
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.files.log()
    }

    pub(crate) async fn client(&self, first: u8) -> io::Result<TcpStream> {
        client(self.proxy.addr(), first).await
    }

    /// Waits until the proxy's state is as it should be. Who waits in vain hangs, and is given up.
    pub(crate) async fn until(&self, right: impl Fn(&Status) -> bool) {
        eventually(|| right(&self.proxy.status())).await;
    }

    /// Ends the proxy; how, its log, and the backends.
    pub(crate) async fn stop(self) -> (Stopped, Vec<String>, Vec<Backend>) {
        let stopped = self.proxy.stop().await;
        (stopped, self.files.log(), self.backends)
    }
}

pub(crate) async fn eventually(right: impl Fn() -> bool) {
    while !right() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A connection that has said what it wants.
pub(crate) async fn client(proxy: SocketAddr, first: u8) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(proxy).await?;
    stream.set_nodelay(true)?;
    stream.write_u8(first).await?;
    Ok(stream)
}

/// One that is surely served, since it has got an answer.
pub(crate) async fn echoing(proxy: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = client(proxy, ECHO).await?;
    round_trip(&mut stream, b"x").await?;
    Ok(stream)
}

/// Sends something and waits until it is back.
pub(crate) async fn round_trip(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).await?;
    if back != bytes {
        return Err(io::Error::other("an echo of something else"));
    }
    Ok(())
}

/// Ends an echo's connection in order: nothing comes but the end.
pub(crate) async fn finish(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    match stream.read(&mut [0; 1]).await? {
        0 => Ok(()),
        _ => Err(io::Error::other("bytes that nobody has sent")),
    }
}

/// Closes it with a reset.
pub(crate) fn reset(stream: TcpStream) -> io::Result<()> {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))
}
