//! Start and end of the server.
//!
//! **Copy [`Server::drain`]**, or its order: refuse, wait for what is under way, cut off what takes too
//! long, close the connections, and only then end the pool. Whoever ends the pool first turns its
//! running jobs into errors of clients that did nothing wrong.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use axum::serve::{Listener, ListenerExt};
use landbridge::{CompioPool, Driver, error::BuildError};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

use crate::{
    http::{self, App, Phase},
    store::{Limits, Store, StoreError},
};

/// How long connections may take to close when nothing is under way any more.
const CLOSE: Duration = Duration::from_secs(2);

/// What a server is started with.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) dir: PathBuf,
    pub(crate) listen: SocketAddr,
    /// Storage threads; the pool's own default if not given.
    pub(crate) threads: Option<usize>,
    pub(crate) driver: Driver,
    pub(crate) limits: Limits,
}

impl Config {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            listen: ([127, 0, 0, 1], 0).into(),
            threads: None,
            driver: Driver::Auto,
            limits: Limits::default(),
        }
    }
}

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("cannot start the storage threads: {0}")]
    Pool(#[from] BuildError),
    #[error("cannot open the store: {0}")]
    Store(#[from] StoreError),
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
}

/// A server that runs. Dropped without [`drain`](Self::drain), it cuts everything off.
pub(crate) struct Server {
    addr: SocketAddr,
    store: Store,
    phase: watch::Sender<Phase>,
    serving: JoinHandle<io::Result<()>>,
}

impl Server {
    pub(crate) async fn start(config: &Config) -> Result<Self, StartError> {
        // COPY: the pool stands beside the Tokio runtime. Build it once, hand clones around.
        let mut pool = CompioPool::builder()
            .thread_name("storage")
            .driver(config.driver);
        if let Some(threads) = config.threads {
            pool = pool.threads(threads);
        }
        let pool = pool.build()?;
        let store = Store::open(&config.dir, pool, config.limits.clone()).await?;

        let listen = |error| StartError::Listen(config.listen, error);
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let addr = listener.local_addr().map_err(listen)?;
        let (phase, now) = watch::channel(Phase::Serving);
        let app = App {
            store: store.clone(),
            phase: now,
        };
        let listener = UntilDraining {
            listener: Some(listener),
            addr,
            app: app.clone(),
        }
        .tap_io(|socket| _ = socket.set_nodelay(true));
        let serve = axum::serve(listener, http::router(app.clone()))
            .with_graceful_shutdown(async move { app.reached(Phase::Closing).await });
        Ok(Self {
            addr,
            store,
            phase,
            serving: tokio::spawn(serve.into_future()),
        })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Ends the server: what is under way has `grace` to finish. Whether it did.
    pub(crate) async fn drain(mut self, grace: Duration) -> bool {
        // No new connections; new requests on the old ones get 503.
        self.phase.send_replace(Phase::Draining);
        let finished = timeout(grace, self.store.idle()).await.is_ok();
        // What is left is cut off: its handlers drop their uploads and downloads, and the jobs end
        // by themselves, removing what they had begun.
        self.phase.send_replace(Phase::Closing);
        self.store.idle().await;
        if timeout(CLOSE, &mut self.serving).await.is_err() {
            // Connections that say nothing and do not close.
            self.serving.abort();
        }
        // COPY: last of all the pool. Nothing is lost, since nothing is left.
        self.store.pool().shutdown().await;
        finished
    }
}

/// Closes its socket when the server begins to drain; axum's own shutdown would at the same time close
/// the connections that are kept alive, and their next request would fail instead of getting 503.
struct UntilDraining {
    listener: Option<TcpListener>,
    addr: SocketAddr,
    app: App,
}

impl Listener for UntilDraining {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        if let Some(listener) = &mut self.listener {
            tokio::select! {
                biased;
                () = self.app.reached(Phase::Draining) => self.listener = None,
                accepted = Listener::accept(listener) => return accepted,
            }
        }
        std::future::pending().await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.addr)
    }
}
