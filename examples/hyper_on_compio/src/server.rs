//! The server on Compio. COPY: the file.
//!
//! Each worker of the pool has a socket of its own that listens to the shared address. What it accepts stays
//! on its thread to the end.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    pin::pin,
    time::Duration,
};

use compio::net::{TcpListener, TcpStream};
use futures::future::join_all;
use hyper::service::service_fn;
use hyper_util::{
    rt::TokioIo,
    server::{conn::auto, graceful::GracefulShutdown},
};
use landbridge::{
    CompioPool, JoinError, JoinHandle,
    error::BuildError,
    hyper::{CompioTimer, LocalExecutor},
    io::IntoTokioIo,
    pool::Placement,
    rt::spawn_local,
    time::{sleep, timeout},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{app::App, listen};

/// How long a client may take to say what it wants: for TLS, and for the head of a request.
const HEAD: Duration = Duration::from_secs(10);
/// How often an HTTP/2 client that says nothing is asked whether it is there.
const PING: Duration = Duration::from_secs(30);
/// Without descriptors there is no accepting for a while.
const PAUSE: Duration = Duration::from_millis(10);
/// At the end: how long those are still accepted that wait in the socket's queue. Closing it resets them.
const LAST: Duration = Duration::from_millis(10);

/// What a server is started with.
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) workers: usize,
    /// Without it: HTTP/1, and HTTP/2 for those who know.
    pub(crate) tls: Option<TlsAcceptor>,
    /// How long requests may go on when the server is drained.
    pub(crate) grace: Duration,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    #[error("cannot start the workers: {0}")]
    Pool(#[from] BuildError),
}

/// Why a worker does not serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkerError {
    #[error("its socket: {0}")]
    Socket(#[from] io::Error),
    #[error("{0}")]
    Gone(#[from] JoinError),
}

/// What a worker has done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Served {
    pub(crate) connections: usize,
    /// None was cut off.
    pub(crate) finished: bool,
}

/// A server that runs. Dropped without [`drain`](Self::drain), it cuts everything off.
pub(crate) struct Server {
    addr: SocketAddr,
    pool: CompioPool,
    workers: Vec<JoinHandle<io::Result<Served>>>,
    drain: CancellationToken,
}

impl Server {
    /// Blocks for the few milliseconds that the pool's threads take to start.
    pub(crate) fn start(config: Config, app: App) -> Result<Self, StartError> {
        let refused = |error| StartError::Listen(config.listen, error);
        let listeners = listen::shared(config.listen, config.workers).map_err(refused)?;
        let addr = listeners[0].local_addr().map_err(refused)?;
        let pool = CompioPool::builder()
            .threads(config.workers)
            .placement(Placement::Floating)
            .thread_name("on-compio")
            .build()?;
        let drain = CancellationToken::new();
        let start = |(worker, listener): (landbridge::CompioHandle, StdListener)| {
            let (tls, app, drain) = (config.tls.clone(), app.clone(), drain.clone());
            // The closure crosses over; the sockets that it makes are its thread's.
            worker.spawn(async move || {
                let listener = TcpListener::from_std(listener)?;
                Ok(Worker::new(tls, app)
                    .serve(listener, drain, config.grace)
                    .await)
            })
        };
        Ok(Self {
            addr,
            workers: pool.workers().zip(listeners).map(start).collect(),
            pool,
            drain,
        })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends the server: who comes now is refused, and what was asked before has its time to be answered. Whether
    /// that was enough, and every worker was well.
    pub(crate) async fn drain(self) -> bool {
        let served = self.drain_each().await;
        served.iter().all(|served| match served {
            Ok(served) => served.finished,
            Err(error) => {
                eprintln!("a worker failed: {error}");
                false
            }
        })
    }

    pub(crate) async fn drain_each(self) -> Vec<Result<Served, WorkerError>> {
        self.drain.cancel();
        let served = join_all(self.workers).await;
        // Last of all: nothing is left that it could cut off.
        self.pool.shutdown().await;
        served.into_iter().map(|served| Ok(served??)).collect()
    }
}

/// One worker's part; nothing of it leaves its thread.
struct Worker {
    http: auto::Builder<LocalExecutor>,
    tls: Option<TlsAcceptor>,
    app: App,
    graceful: GracefulShutdown,
    /// What takes too long is cut off.
    cut: CancellationToken,
    connections: TaskTracker,
}

impl Worker {
    fn new(tls: Option<TlsAcceptor>, app: App) -> Self {
        let mut http = auto::Builder::new(LocalExecutor);
        http.http1().timer(CompioTimer).header_read_timeout(HEAD);
        http.http2().timer(CompioTimer).keep_alive_interval(PING);
        Self {
            http,
            tls,
            app,
            graceful: GracefulShutdown::new(),
            cut: CancellationToken::new(),
            connections: TaskTracker::new(),
        }
    }

    async fn serve(
        self,
        listener: TcpListener,
        drain: CancellationToken,
        grace: Duration,
    ) -> Served {
        let mut connections = 0;
        {
            // One and the same future before and after: an `accept` that is dropped takes the connection with
            // it that the kernel has just given it.
            let mut accept = pin!(self.accept(&listener, &mut connections));
            _ = drain.run_until_cancelled(accept.as_mut()).await;
            _ = timeout(LAST, accept).await;
        }
        drop(listener);

        // Tells every connection, those that are still in their handshake too, and waits for their ends.
        let ended = timeout(grace, self.graceful.shutdown()).await;
        self.cut.cancel();
        self.connections.close();
        self.connections.wait().await;
        Served {
            connections,
            finished: ended.is_ok(),
        }
    }

    async fn accept(&self, listener: &TcpListener, connections: &mut usize) {
        loop {
            match listener.accept().await {
                Ok((socket, _)) => {
                    *connections += 1;
                    self.start(socket);
                }
                Err(error) => {
                    eprintln!("a connection was not accepted: {error}");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    fn start(&self, socket: TcpStream) {
        _ = socket.set_nodelay(true);
        let (http, app) = (self.http.clone(), self.app.clone());
        // From now on, so that the end is heard in the handshake, too.
        let watcher = self.graceful.watcher();
        let tls = self.tls.clone();
        let connection = async move {
            let socket = socket.into_tokio_io();
            // rustls and hyper take the socket for one of Tokio's.
            let stream: Box<dyn Stream> = match tls {
                Some(tls) => match timeout(HEAD, tls.accept(socket)).await {
                    Ok(Ok(stream)) => Box::new(stream),
                    // Scanners, and clients that do not believe the certificate: nothing to be done.
                    Ok(Err(_)) | Err(_) => return,
                },
                None => Box::new(socket),
            };
            let service = service_fn(move |request| app.clone().answer(request));
            let connection = http.serve_connection(TokioIo::new(stream), service);
            // The errors are those of clients that went away.
            _ = watcher.watch(connection.into_owned()).await;
        };
        let cut = self.cut.clone();
        let connection = async move { cut.run_until_cancelled(connection).await };
        drop(spawn_local(self.connections.track_future(connection)));
    }
}

/// A socket with TLS, or without.
trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}
