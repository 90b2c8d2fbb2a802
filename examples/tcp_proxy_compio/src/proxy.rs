//! The control plane: accepting, reloading, ending. COPY: the file.

use std::{io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use landbridge::{CompioPool, error::BuildError};
use tokio::{net::TcpListener, select, signal::unix, sync::watch, task::JoinHandle, time::sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    balance::{Backend, Balance},
    config::{Config, ConfigError},
    count::Count,
    health,
    log::Log,
    relay,
    session::Session,
};

/// Without descriptors there is no accepting for a while.
const PAUSE: Duration = Duration::from_millis(10);

/// What a reload replaces, as a whole.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) config: Config,
    pub(crate) balance: Balance,
}

/// What everybody here knows.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Tells its readers of a reload. Who was slow sees the last one only, and that is enough.
    settings: watch::Sender<Arc<Settings>>,
    pub(crate) open: Count,
    pub(crate) log: Log,
}

impl Shared {
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.settings.borrow().clone()
    }

    fn status(&self) -> Status {
        let backends = self.settings().balance.backends();
        let status = |backend: &Arc<Backend>| BackendStatus {
            addr: backend.addr(),
            open: backend.open(),
            up: backend.is_up(),
        };
        Status {
            open: self.open.get(),
            backends: backends.iter().map(status).collect(),
        }
    }
}

/// A proxy that runs. Dropped without [`stop`](Self::stop), it stops by itself, and logs nothing more.
#[derive(Debug)]
pub(crate) struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    /// Tells everybody that this is the end.
    stop: DropGuard,
    accepting: JoinHandle<usize>,
    checking: JoinHandle<Option<()>>,
    /// Tells the log that nobody writes to it any more.
    end_of_log: DropGuard,
    logging: JoinHandle<()>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    #[error("cannot start the workers: {0}")]
    Pool(#[from] BuildError),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{0} listens on what it was started with, and not on {1}: start another one")]
    Listen(SocketAddr, SocketAddr),
}

#[derive(Clone, Debug)]
pub(crate) struct Status {
    /// Connections.
    pub(crate) open: usize,
    pub(crate) backends: Vec<BackendStatus>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct BackendStatus {
    pub(crate) addr: SocketAddr,
    pub(crate) open: usize,
    pub(crate) up: bool,
}

/// How it ended.
#[derive(Clone, Debug)]
pub(crate) struct Stopped {
    /// Connections that took longer than they were given.
    pub(crate) cut_off: usize,
    pub(crate) status: Status,
}

impl Proxy {
    /// Blocks for the few milliseconds that the workers' threads take to start.
    pub(crate) async fn start(config: Config, workers: usize) -> Result<Self, StartError> {
        let pool = CompioPool::builder()
            .threads(workers)
            .thread_name("proxy")
            .build()?;
        let refused = |error| StartError::Listen(config.listen, error);
        let listener = TcpListener::bind(config.listen).await.map_err(refused)?;
        let addr = listener.local_addr().map_err(refused)?;
        let balance = Balance::new(config.backends.get_ref(), &Balance::default());
        let (settings, changes) = watch::channel(Arc::new(Settings { config, balance }));

        let end_of_log = CancellationToken::new();
        let (log, logging) = Log::start(changes.clone(), end_of_log.clone());
        let shared = Arc::new(Shared {
            settings,
            open: Count::default(),
            log,
        });
        let stop = CancellationToken::new();
        let checking = {
            let (stop, changes) = (stop.clone(), changes.clone());
            tokio::spawn(async move { stop.run_until_cancelled(health::check(changes)).await })
        };
        let accepting = tokio::spawn(accept(
            listener,
            pool,
            Arc::clone(&shared),
            changes,
            stop.clone(),
        ));
        Ok(Self {
            addr,
            shared,
            stop: stop.drop_guard(),
            accepting,
            checking,
            end_of_log: end_of_log.drop_guard(),
            logging,
        })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn status(&self) -> Status {
        self.shared.status()
    }

    /// From now on by that file. Connections go on as they are, also those to backends that are not in it any more. In
    /// case of an error, everything stays as it was.
    pub(crate) fn reload(&self, file: &Path) -> Result<(), ReloadError> {
        let config = Config::read(file)?;
        let before = self.shared.settings();
        if config.listen != before.config.listen {
            return Err(ReloadError::Listen(self.addr, config.listen));
        }
        let balance = Balance::new(config.backends.get_ref(), &before.balance);
        let settings = Settings { config, balance };
        self.shared.settings.send_replace(Arc::new(settings));
        Ok(())
    }

    /// Reloads that file whenever SIGHUP comes, from now on and for as long as the future is polled.
    pub(crate) fn reload_on_hangup(&self, file: &Path) -> io::Result<impl Future<Output = ()>> {
        let mut hangup = unix::signal(unix::SignalKind::hangup())?;
        Ok(async move {
            while hangup.recv().await.is_some() {
                match self.reload(file) {
                    Ok(()) => eprintln!("reloaded {}", file.display()),
                    Err(error) => eprintln!("everything stays as it was: {error}"),
                }
            }
        })
    }

    /// Ends it: who comes now is refused, and who is here has the configured time to finish.
    pub(crate) async fn stop(self) -> Stopped {
        drop(self.stop);
        // Neither panics.
        let cut_off = self.accepting.await.unwrap_or(0);
        _ = self.checking.await;
        let status = self.shared.status();
        // Last of all: every session has said what it has to say.
        drop(self.end_of_log);
        _ = self.logging.await;
        Stopped { cut_off, status }
    }
}

/// Accepts until `stop`, and waits for what was accepted; how many were cut off.
async fn accept(
    listener: TcpListener,
    pool: CompioPool,
    shared: Arc<Shared>,
    mut settings: watch::Receiver<Arc<Settings>>,
    stop: CancellationToken,
) -> usize {
    loop {
        let limit = settings.borrow_and_update().config.connections.get();
        // Who comes in excess waits in the socket's queue.
        let accepted = async {
            shared.open.below(limit).await;
            listener.accept().await
        };
        select! {
            () = stop.cancelled() => break,
            accepted = accepted => match accepted {
                Ok((client, addr)) => {
                    let session = Session::new(&shared, addr);
                    // Its future is made on a worker, and stays there.
                    drop(pool.spawn(|| relay::serve(session, client)));
                }
                Err(error) => {
                    eprintln!("a connection was not accepted: {error}");
                    sleep(PAUSE).await;
                }
            },
            Ok(()) = settings.changed() => {}
        }
    }
    drop(listener);

    let grace = shared.settings().config.drain;
    pool.shutdown_timeout(grace).await
}
