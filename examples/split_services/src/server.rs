//! The storage process: a Unix socket, workers that serve gRPC, and an end that finishes what was begun.
//! COPY: the file.
//!
//! A Unix socket cannot be shared out by the kernel as TCP's `SO_REUSEPORT` does it. And a gRPC client has one
//! connection for all its calls, so chance would often give all of them to one worker. So one worker accepts, and
//! gives the connections to all in turn, itself included: the way from one Compio runtime to another is the standard
//! library's socket.

use std::{
    convert::Infallible,
    fs, io,
    os::unix::net::UnixListener as StdListener,
    path::{Path, PathBuf},
    time::Duration,
};

use compio::net::UnixListener;
use futures::future::join_all;
use hyper::server::conn::http2;
use hyper_util::{rt::TokioIo, server::graceful::GracefulShutdown, service::TowerToHyperService};
use landbridge::{
    CompioPool, Driver, JoinError, JoinHandle, Remote,
    error::{BuildError, HostError},
    handoff,
    hyper::{CompioTimer, LocalExecutor},
    io::IntoTokioIo,
    rt::spawn_local,
    time::{sleep, timeout},
};
use tokio::sync::watch;
use tonic::{server::NamedService, service::Routes};
use tonic_health::server::HealthReporter;

use crate::{
    proto::storage_server::StorageServer,
    service::Service,
    store::{Limits, Store},
};

/// How long calls may go on when the process is asked to end.
pub(crate) const GRACE: Duration = Duration::from_secs(10);
/// How often a client that says nothing is asked whether it is there.
const PING: Duration = Duration::from_secs(30);
/// Without descriptors there is no accepting for a while.
const PAUSE: Duration = Duration::from_millis(10);

/// What the health service calls the storage.
pub(crate) const SERVICE: &str = <StorageServer<Service> as NamedService>::NAME;

#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) socket: PathBuf,
    pub(crate) dir: PathBuf,
    pub(crate) threads: Option<usize>,
    pub(crate) driver: Driver,
    pub(crate) limits: Limits,
}

impl Config {
    pub(crate) fn new(socket: impl Into<PathBuf>, dir: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
            dir: dir.into(),
            threads: None,
            driver: Driver::Auto,
            limits: Limits {
                object: 5 << 30,
                in_flight: 64,
            },
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error("cannot listen on {0}: {1}")]
    Listen(PathBuf, #[source] io::Error),
    #[error("cannot open {0}: {1}")]
    Open(PathBuf, #[source] io::Error),
    #[error("cannot start the workers: {0}")]
    Pool(#[from] BuildError),
    #[error("a worker failed: {0}")]
    Worker(#[from] JoinError),
    #[error("accepting failed: {0}")]
    Accept(io::Error),
}

/// A server that runs. Dropped without [`drain`](Self::drain), it cuts everything off.
pub(crate) struct Server {
    pool: CompioPool,
    workers: Vec<Remote<Worker>>,
    accepting: JoinHandle<io::Result<()>>,
    drain: watch::Sender<bool>,
    health: HealthReporter,
    socket: PathBuf,
    driver: String,
}

impl Server {
    /// Blocks for the few milliseconds that the start takes.
    pub(crate) async fn start(config: &Config) -> Result<Self, ServerError> {
        let opened = Store::open(&config.dir, config.limits);
        let store = opened.map_err(|error| ServerError::Open(config.dir.clone(), error))?;
        let mut pool = CompioPool::builder()
            .thread_name("storage")
            .driver(config.driver);
        if let Some(threads) = config.threads {
            pool = pool.threads(threads);
        }
        let pool = pool.build()?;
        let metrics = pool.metrics();
        // io_uring may be refused, by seccomp for example. Then it polls, and an operator wants to know.
        let driver = format!("{:?}", metrics.workers[0].driver);
        let service = Service::new(store, driver.clone(), metrics.workers.len());

        let health = HealthReporter::new();
        health.set_serving::<StorageServer<Service>>().await;
        let reporter = tonic_health::pb::health_server::HealthServer::new(
            tonic_health::server::HealthService::from_health_reporter(health.clone()),
        );
        let routes = Routes::new(StorageServer::new(service.clone()))
            .add_service(reporter)
            .prepare();

        let mut workers = Vec::new();
        for (index, worker) in pool.workers().enumerate() {
            let (routes, service) = (routes.clone(), service.clone());
            let open = async move || Ok::<_, Infallible>(Worker::new(index, routes, service));
            let opened = worker.host(open).await;
            workers.push(opened.map_err(|error| match error {
                HostError::Join(error) => error,
                HostError::Open(never) => match never {},
            })?);
        }

        let listen = |error| ServerError::Listen(config.socket.clone(), error);
        let listener = listen_on(&config.socket).map_err(listen)?;
        let (drain, drained) = watch::channel(false);
        let accepting = {
            let workers = workers.clone();
            workers[0]
                .worker()
                .spawn(async move || accept(listener, &workers, drained).await)
        };
        Ok(Self {
            pool,
            workers,
            accepting,
            drain,
            health,
            socket: config.socket.clone(),
            driver,
        })
    }

    /// What the workers drive their I/O with.
    pub(crate) fn driver(&self) -> &str {
        &self.driver
    }

    /// Ends the server: who comes now is refused, and what was asked before has `grace` to be answered. Whether that
    /// was enough.
    pub(crate) async fn drain(self, grace: Duration) -> Result<bool, ServerError> {
        self.health
            .set_not_serving::<StorageServer<Service>>()
            .await;
        // Nobody finds the way any more. Who was in the socket's queue is told by its end, and has asked nothing.
        _ = fs::remove_file(&self.socket);
        self.drain.send_replace(true);
        let accepted = self.accepting.await;
        let ends = self
            .workers
            .into_iter()
            .map(|worker| worker.finish(async move |worker| worker.drain(grace).await));
        let mut finished = true;
        for end in join_all(ends).await {
            finished &= end?;
        }
        // Last of all: what was cut off takes its uploads back.
        self.pool.shutdown().await;
        accepted?.map_err(ServerError::Accept)?;
        Ok(finished)
    }
}

/// A socket that a process before this one has left behind is in the way; the lock on the directory says that it is
/// left behind.
fn listen_on(path: &Path) -> io::Result<StdListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => StdListener::bind(path),
    }
}

async fn accept(
    listener: StdListener,
    workers: &[Remote<Worker>],
    mut drained: watch::Receiver<bool>,
) -> io::Result<()> {
    let listener = UnixListener::from_std(listener)?;
    let mut turn = workers.iter().cycle();
    loop {
        let accepted = tokio::select! {
            biased;
            // An error: the server was dropped.
            _ = drained.wait_for(|drained| *drained) => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, _)) => match (handoff::unix_to_std(socket), turn.next()) {
                // A worker that is gone takes its connections with it: the client connects again.
                (Ok(socket), Some(worker)) => {
                    _ = worker.call(async move |worker| worker.serve(socket)).await;
                }
                (Err(error), _) => eprintln!("a connection was not handed over: {error}"),
                (_, None) => return Ok(()),
            },
            Err(error) => {
                eprintln!("a connection was not accepted: {error}");
                sleep(PAUSE).await;
            }
        }
    }
}

/// One worker's part; nothing of it leaves its thread.
struct Worker {
    index: usize,
    http: http2::Builder<LocalExecutor>,
    routes: Routes,
    service: Service,
    graceful: GracefulShutdown,
    /// What takes too long is cut off.
    cut: watch::Sender<bool>,
}

impl Worker {
    fn new(index: usize, routes: Routes, service: Service) -> Self {
        let mut http = http2::Builder::new(LocalExecutor);
        http.timer(CompioTimer)
            .keep_alive_interval(PING)
            // The store refuses, and says so; hyper would have the client wait.
            .max_concurrent_streams(4096);
        Self {
            index,
            http,
            routes,
            service,
            graceful: GracefulShutdown::new(),
            cut: watch::Sender::new(false),
        }
    }

    fn serve(&self, socket: std::os::unix::net::UnixStream) {
        let socket = match handoff::unix_to_compio(socket) {
            Ok(socket) => socket,
            Err(error) => return eprintln!("a connection was not taken over: {error}"),
        };
        self.service.has_connection(self.index);
        let io = TokioIo::new(socket.into_tokio_io());
        let service = TowerToHyperService::new(self.routes.clone());
        let connection = self.graceful.watch(self.http.serve_connection(io, service));
        let mut cut = self.cut.subscribe();
        drop(spawn_local(async move {
            tokio::select! {
                // The errors are those of clients that went away.
                _ = connection => {}
                _ = cut.wait_for(|cut| *cut) => {}
            }
        }));
    }

    async fn drain(self, grace: Duration) -> bool {
        // Tells every connection, and waits for their ends.
        let ended = timeout(grace, self.graceful.shutdown()).await;
        self.cut.send_replace(true);
        ended.is_ok()
    }
}
