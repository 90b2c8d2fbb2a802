//! The server: a listener for each worker, connections that stay on their thread, a graceful end. COPY: the file.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    path::PathBuf,
    pin::pin,
    time::Duration,
};

use compio::net::{TcpListener, TcpStream};
use futures::future::join_all;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::{rt::TokioIo, server::graceful::GracefulShutdown};
use landbridge::{
    CompioPool, JoinError, JoinHandle,
    error::BuildError,
    hyper::CompioTimer,
    io::IntoTokioIo,
    rt::spawn_local,
    time::{sleep, timeout},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{files::Files, listen, path::Root, stall::Impatient};

/// Without descriptors there is no accepting for a while.
const PAUSE: Duration = Duration::from_millis(10);
/// At the end: how long those are still accepted that wait in the socket's queue. Closing it resets them.
const LAST: Duration = Duration::from_millis(10);

/// What a server is started with.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) root: PathBuf,
    pub(crate) workers: usize,
    /// Files that are sent at the same time, by all workers.
    pub(crate) places: usize,
    /// How long a request waits for a place.
    pub(crate) queue: Duration,
    /// How long a client may take for the head of its next request.
    pub(crate) head: Duration,
    /// How long a client may take nothing of its answer.
    pub(crate) stall: Duration,
    /// Of each worker.
    pub(crate) max_connections: usize,
    /// How long requests may go on when the server is drained.
    pub(crate) grace: Duration,
}

impl Config {
    pub(crate) fn new(listen: SocketAddr, root: PathBuf, workers: usize) -> Self {
        Self {
            listen,
            root,
            workers,
            places: 64,
            queue: Duration::from_secs(5),
            head: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            max_connections: 4096,
            grace: Duration::from_secs(10),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    #[error("cannot serve {0}: {1}")]
    Root(PathBuf, #[source] io::Error),
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

/// A server that runs. Dropped without [`drain`](Self::drain), it cuts everything off.
#[derive(Debug)]
pub(crate) struct Server {
    addr: SocketAddr,
    #[cfg(test)]
    pub(crate) files: Files,
    workers: Vec<JoinHandle<io::Result<bool>>>,
    drain: CancellationToken,
    /// The jobs have the pool, too: without this, they would keep each other.
    _cut: DropGuard,
    pool: CompioPool,
}

impl Server {
    /// Blocks for the few milliseconds that the pool's threads take to start.
    pub(crate) fn start(config: Config) -> Result<Self, StartError> {
        let refused = |error| StartError::Listen(config.listen, error);
        let listeners = listen::shared(config.listen, config.workers).map_err(refused)?;
        let addr = listeners[0].local_addr().map_err(refused)?;
        let root = Root::open(&config.root);
        let root = root.map_err(|error| StartError::Root(config.root.clone(), error))?;
        let pool = CompioPool::builder()
            .threads(config.workers)
            .thread_name("files")
            .build()?;
        let files = Files::new(root, &pool, config.places, config.queue);
        let (drain, cut) = (CancellationToken::new(), CancellationToken::new());
        let start = |(worker, listener): (landbridge::CompioHandle, StdListener)| {
            let worker_of = Worker {
                files: files.clone(),
                config: config.clone(),
                graceful: GracefulShutdown::new(),
                connections: TaskTracker::new(),
                cut: cut.child_token(),
            };
            let drain = drain.clone();
            // The closure crosses over; the sockets that it makes are its thread's.
            worker.spawn(async move || {
                let listener = TcpListener::from_std(listener)?;
                Ok(worker_of.serve(listener, drain).await)
            })
        };
        Ok(Self {
            addr,
            workers: pool.workers().zip(listeners).map(start).collect(),
            #[cfg(test)]
            files,
            drain,
            _cut: cut.drop_guard(),
            pool,
        })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends the server: who comes now is refused, and what was asked before has its time to be answered. Whether
    /// that was enough.
    pub(crate) async fn drain(self) -> Result<bool, WorkerError> {
        self.drain.cancel();
        let served = join_all(self.workers).await;
        // Last of all: nothing is left that it could cut off.
        self.pool.shutdown().await;
        let mut in_time = true;
        for served in served {
            in_time &= served??;
        }
        Ok(in_time)
    }
}

/// One worker's part.
struct Worker {
    files: Files,
    config: Config,
    graceful: GracefulShutdown,
    connections: TaskTracker,
    /// What takes too long is cut off.
    cut: CancellationToken,
}

impl Worker {
    /// Whether all requests were answered before the grace was over.
    async fn serve(self, listener: TcpListener, drain: CancellationToken) -> bool {
        let serving = async {
            // One and the same future before and after: an `accept` that is dropped takes the connection with
            // it that the kernel has just given it.
            let mut accept = pin!(self.accept(&listener));
            _ = drain.run_until_cancelled(accept.as_mut()).await;
            _ = timeout(LAST, accept).await;
        };
        _ = self.cut.run_until_cancelled(serving).await;
        drop(listener);

        let ended = timeout(self.config.grace, self.graceful.shutdown()).await;
        self.cut.cancel();
        self.connections.close();
        self.connections.wait().await;
        ended.is_ok()
    }

    async fn accept(&self, listener: &TcpListener) {
        loop {
            match listener.accept().await {
                // Too many: without an answer, which would cost what there is too little of.
                Ok(_) if self.connections.len() >= self.config.max_connections => {}
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
        let files = self.files.clone();
        let service = service_fn(move |request| files.clone().answer(request));
        let stream = Impatient::new(socket.into_tokio_io(), self.config.stall);
        let connection = http1::Builder::new()
            .timer(CompioTimer)
            .header_read_timeout(self.config.head)
            .serve_connection(TokioIo::new(Box::pin(stream)), service);
        let connection = self.graceful.watch(connection);
        let cut = self.cut.clone();
        let connection = async move {
            // The errors are those of clients that went away, or are too slow.
            _ = cut.run_until_cancelled(connection).await;
        };
        drop(spawn_local(self.connections.track_future(connection)));
    }
}
