//! The gateway: accepts on Compio, answers one line of text with an object, ends without losing an answer.
//!
//! ```text
//! client: /path\n
//! gateway: ok LENGTH\n and so many bytes, or: error WHY\n
//! ```

use std::{future::Future, io, net::SocketAddr, pin::pin, time::Duration};

use bytes::Bytes;
use compio::net::{TcpListener, TcpStream};
use landbridge::{
    context, handoff,
    io::IntoTokioIo,
    rt::spawn_local,
    time::{sleep, timeout},
};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::fetch::{FetchError, Fetcher};

/// A longer line is not a request.
const MAX_LINE: u64 = 8 << 10;
/// How long a client is listened to that has had its last answer, so that what it still sends does not make
/// the system throw that answer away.
const LINGER: Duration = Duration::from_secs(1);
/// Without descriptors there is no accepting for a while.
const PAUSE: Duration = Duration::from_millis(10);
/// At the end: how long those are still accepted that wait in the socket's queue. Closing it resets them.
const LAST: Duration = Duration::from_millis(10);

/// How a connection gets to Tokio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Run,
    InTokio,
    HandOff,
}

impl Way {
    pub(crate) const ALL: [Self; 3] = [Self::Run, Self::InTokio, Self::HandOff];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::InTokio => "in-tokio",
            Self::HandOff => "hand-off",
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum GatewayError {
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    #[error("cannot tell the address: {0}")]
    Address(#[source] io::Error),
}

/// What ends connections; clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ending {
    /// No new connections, no new requests.
    drain: CancellationToken,
    /// What takes too long is cut off.
    cut: CancellationToken,
    connections: TaskTracker,
}

/// A socket that is listened to, on this thread's Compio runtime.
pub(crate) struct Gateway {
    listener: TcpListener,
    addr: SocketAddr,
    fetcher: Fetcher,
    way: Way,
    ending: Ending,
}

impl Gateway {
    pub(crate) async fn bind(
        listen: SocketAddr,
        fetcher: Fetcher,
        way: Way,
    ) -> Result<Self, GatewayError> {
        let listener = TcpListener::bind(listen)
            .await
            .map_err(|error| GatewayError::Listen(listen, error))?;
        let addr = listener.local_addr().map_err(GatewayError::Address)?;
        Ok(Self {
            listener,
            addr,
            fetcher,
            way,
            ending: Ending::default(),
        })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// COPY: serves until `stop`; then what was asked before is answered, for as long as `grace`. Whether all
    /// of it was.
    pub(crate) async fn serve(self, stop: impl Future<Output = ()>, grace: Duration) -> bool {
        let ending = self.ending.clone();
        {
            // One and the same future before and after: an `accept` that is dropped takes the connection with
            // it that the kernel has just given it. With it goes the listener: who comes then is refused.
            let mut accept = pin!(self.accept());
            tokio::select! {
                biased;
                () = stop => {}
                () = accept.as_mut() => {}
            }
            _ = timeout(LAST, accept).await;
        }
        ending.end(grace).await
    }

    async fn accept(self) {
        loop {
            match self.listener.accept().await {
                Ok((socket, _)) => self.start(socket),
                Err(error) => {
                    eprintln!("a connection was not accepted: {error}");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    fn start(&self, socket: TcpStream) {
        _ = socket.set_nodelay(true);
        let (ending, fetcher) = (self.ending.clone(), self.fetcher.clone());
        match self.way {
            // A Compio socket with Tokio's traits, so that the connection's code is the same for all.
            // `spawn_local` and not Compio's own `spawn`: wake-ups that come from Tokio take the inbox of
            // the attached runtime (see `main.rs`), which has room for any number of them.
            Way::Run => {
                let fetch = move |path: String| {
                    let fetcher = fetcher.clone();
                    async move { fetcher.by_run(&path).await }
                };
                drop(spawn_local(ending.track(socket.into_tokio_io(), fetch)));
            }
            Way::InTokio => {
                let fetch = move |path: String| {
                    let fetcher = fetcher.clone();
                    async move { fetcher.in_tokio(&path).await }
                };
                drop(spawn_local(ending.track(socket.into_tokio_io(), fetch)));
            }
            Way::HandOff => hand_off(socket, ending, fetcher),
        }
    }
}

/// COPY: gives the socket to Tokio for good. What the client has sent already goes with it.
fn hand_off(socket: TcpStream, ending: Ending, fetcher: Fetcher) {
    let tokio = fetcher.tokio().clone();
    // Tokio's socket is made in Tokio's context.
    match context::with(&tokio, || handoff::tcp_to_tokio(socket)) {
        Ok(socket) => drop(tokio.spawn(ending.on_tokio(socket, fetcher))),
        // The socket is in the error, as it was, for those who have another use for it.
        Err(error) => eprintln!("a connection was not handed over: {error}"),
    }
}

impl Ending {
    /// A connection on Tokio from its beginning.
    pub(crate) fn on_tokio(
        &self,
        socket: tokio::net::TcpStream,
        fetcher: Fetcher,
    ) -> impl Future<Output = ()> + Send + use<> {
        let fetch = move |path: String| {
            let fetcher = fetcher.clone();
            async move { fetcher.on_tokio(&path).await }
        };
        self.track(socket, fetch)
    }

    fn track<S, F, R>(&self, stream: S, fetch: F) -> impl Future<Output = ()> + use<S, F, R>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        F: Fn(String) -> R,
        R: Future<Output = Result<Bytes, FetchError>>,
    {
        let (drain, cut) = (self.drain.clone(), self.cut.clone());
        self.connections.track_future(async move {
            let ended = cut
                .run_until_cancelled(connection(stream, fetch, drain))
                .await;
            // The others are clients that went away.
            if let Some(Err(error)) = ended
                && error.kind() == io::ErrorKind::InvalidData
            {
                eprintln!("a connection ended: {error}");
            }
        })
    }

    pub(crate) async fn end(&self, grace: Duration) -> bool {
        self.drain.cancel();
        self.connections.close();
        let finished = timeout(grace, self.connections.wait()).await.is_ok();
        self.cut.cancel();
        self.connections.wait().await;
        finished
    }
}

/// Answers line after line, until the client has no more, or `drain`.
async fn connection<S, F, R>(stream: S, fetch: F, drain: CancellationToken) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(String) -> R,
    R: Future<Output = Result<Bytes, FetchError>>,
{
    let mut stream = BufReader::new(stream);
    // Between requests only: what is being answered is answered to its end.
    while let Some(line) = drain.run_until_cancelled(line(&mut stream)).await {
        let Some(path) = line? else {
            return stream.shutdown().await;
        };
        match fetch(path).await {
            Ok(body) => {
                let head = format!("ok {}\n", body.len());
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(&body).await?;
            }
            Err(error) => {
                let line = format!("error {error}\n");
                stream.write_all(line.as_bytes()).await?;
            }
        }
        stream.flush().await?;
    }
    stream.shutdown().await?;
    let mut nowhere = tokio::io::sink();
    let rest = tokio::io::copy(&mut stream, &mut nowhere);
    _ = timeout(LINGER, rest).await;
    Ok(())
}

/// Nothing at the end; half a line there is no request.
async fn line<S: AsyncBufReadExt + Unpin>(stream: &mut S) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    stream.take(MAX_LINE).read_until(b'\n', &mut line).await?;
    match line.pop() {
        Some(b'\n') => {}
        Some(_) if line.len() as u64 + 1 == MAX_LINE => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "too long a line",
            ));
        }
        _ => return Ok(None),
    }
    String::from_utf8(line)
        .map(Some)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
