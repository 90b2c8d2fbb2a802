//! The server on Compio. COPY: the file.
//!
//! Each worker of the pool has an endpoint of its own, whose socket shares the address with the others. The endpoint
//! and all that belongs to it stay on that thread; Tokio has a [`Remote`] of it, to ask and to end it.

use std::{
    future::IntoFuture,
    io,
    net::{SocketAddr, UdpSocket as StdSocket},
    rc::Rc,
    time::Duration,
};

use compio::net::UdpSocket;
use compio_quic::{Endpoint, EndpointConfig, Incoming, ServerConfig};
use futures::future::{join_all, try_join_all};
use landbridge::{
    CompioPool, JoinError, Remote,
    channel::{self, mpsc},
    error::{BuildError, HostError},
    pool::Placement,
    rt::spawn_local,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::{Limits, code},
    connection::{self, Ended, Shared, Stats},
    listen,
};

/// How many ends of connections wait to be read, before more of them are left out.
const ENDS: usize = 1024;
/// How long the endpoints may take at the end to be sure that their peers know.
const LAST: Duration = Duration::from_secs(5);

/// What a server is started with.
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) workers: usize,
    /// See `config.rs`.
    pub(crate) quic: ServerConfig,
    pub(crate) limits: Limits,
    /// How long streams may go on when the server is drained.
    pub(crate) grace: Duration,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    #[error("cannot start the workers: {0}")]
    Pool(#[from] BuildError),
    #[error("a worker did not start: {0}")]
    Worker(#[from] HostError<io::Error>),
}

/// How a server has ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Drained {
    /// Nothing was cut off.
    pub(crate) finished: bool,
    pub(crate) stats: Stats,
}

/// A server that runs. Dropped without [`drain`](Self::drain), it vanishes: nobody is told.
pub(crate) struct Server {
    addr: SocketAddr,
    grace: Duration,
    workers: Vec<Remote<Worker>>,
    ends: Option<mpsc::Receiver<Ended>>,
    // Last of all: what is dropped with it takes the workers' objects along.
    pool: CompioPool,
}

impl Server {
    pub(crate) async fn start(config: Config) -> Result<Self, StartError> {
        let refused = |error| StartError::Listen(config.listen, error);
        let sockets = listen::shared(config.listen, config.workers).map_err(refused)?;
        let addr = sockets[0].local_addr().map_err(refused)?;
        let pool = CompioPool::builder()
            .threads(config.workers)
            .placement(Placement::Floating)
            .thread_name("on-compio")
            .build()?;
        let (ended, ends) = channel::mpsc(ENDS);
        let workers = pool.workers().zip(sockets).map(|(worker, socket)| {
            let (quic, limits, ended) = (config.quic.clone(), config.limits, ended.clone());
            // The closure crosses over; the endpoint that it makes is its thread's.
            worker.host(async move || Worker::open(socket, quic, limits, ended))
        });
        Ok(Self {
            addr,
            grace: config.grace,
            workers: try_join_all(workers).await?,
            ends: Some(ends),
            pool,
        })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What has become of connections, once; a log, say. What is not read in time is left out.
    pub(crate) fn ends(&mut self) -> Option<mpsc::Receiver<Ended>> {
        self.ends.take()
    }

    /// Of all workers together, as of now.
    pub(crate) async fn stats(&self) -> Result<Stats, JoinError> {
        let stats = self.workers.iter().map(|w| w.call(async |w| w.stats()));
        Ok(try_join_all(stats).await?.into_iter().sum())
    }

    /// Of each worker: how many connections it has had.
    pub(crate) async fn shares(&self) -> Result<Vec<u64>, JoinError> {
        let shares = self.workers.iter();
        try_join_all(shares.map(|w| w.call(async |w| w.stats().accepted))).await
    }

    /// Ends the server: connections are told, new ones and new streams are refused, and what is under way has its
    /// time to finish.
    pub(crate) async fn drain(self) -> Result<Drained, JoinError> {
        let grace = self.grace;
        let drained = self.workers.iter();
        let drained = join_all(drained.map(|w| w.call(async move |w| w.drain(grace).await))).await;
        // All at once, and not before everybody is done: see `listen::shared`.
        let closed = self.workers.into_iter().map(|w| w.finish(Worker::close));
        let closed = join_all(closed).await;
        self.pool.shutdown().await;

        let mut result = Drained {
            finished: true,
            ..Drained::default()
        };
        for drained in drained {
            result.finished &= drained?;
        }
        for closed in closed {
            let (in_time, stats) = closed?;
            result.finished &= in_time;
            result.stats = [result.stats, stats].into_iter().sum();
        }
        Ok(result)
    }
}

/// One worker's part; nothing of it leaves its thread.
struct Worker {
    endpoint: Endpoint,
    shared: Rc<Shared>,
    connections: TaskTracker,
}

impl Worker {
    fn open(
        socket: StdSocket,
        quic: ServerConfig,
        limits: Limits,
        ended: mpsc::Sender<Ended>,
    ) -> io::Result<Self> {
        let socket = UdpSocket::from_std(socket)?;
        // Each endpoint has a reset key of its own, so a datagram that comes to the wrong one ends no connection.
        let endpoint = Endpoint::new(socket, EndpointConfig::default(), Some(quic), None)?;
        let worker = Self {
            endpoint,
            shared: Rc::new(Shared {
                limits,
                drain: CancellationToken::new(),
                cut: CancellationToken::new(),
                counters: connection::Counters::default(),
                ended,
            }),
            connections: TaskTracker::new(),
        };
        drop(spawn_local(accept(
            worker.endpoint.clone(),
            Rc::clone(&worker.shared),
            worker.connections.clone(),
        )));
        Ok(worker)
    }

    fn stats(&self) -> Stats {
        self.shared.counters.get()
    }

    /// Whether everything has come to its own end.
    async fn drain(&self, grace: Duration) -> bool {
        self.shared.drain.cancel();
        self.connections.close();
        let finished = timeout(grace, self.connections.wait()).await.is_ok();
        self.shared.cut.cancel();
        self.connections.wait().await;
        finished
    }

    /// Whether the peers have heard of it, and what has been.
    async fn close(self) -> (bool, Stats) {
        let stats = self.stats();
        // Ends `accept`, too.
        self.endpoint.close(code::GOING_AWAY, b"server ends");
        let idle = timeout(LAST, self.endpoint.shutdown()).await;
        (matches!(idle, Ok(Ok(()))), stats)
    }
}

/// The only one who waits for connections: in compio-quic 0.8.2 a second one, or one that has given up, may get the
/// wake-up that is meant for this one.
async fn accept(endpoint: Endpoint, shared: Rc<Shared>, connections: TaskTracker) {
    while let Some(incoming) = endpoint.wait_incoming().await {
        let open = connections.len();
        let most = shared.limits.connections;
        if shared.drain.is_cancelled() || open >= most {
            shared.counters.add(|stats| stats.refused += 1);
            incoming.refuse();
        } else if open >= most / 2 && !incoming.remote_address_validated() {
            // Costs the client a round trip, and a flood of invented addresses gets no connection.
            shared.counters.add(|stats| stats.retried += 1);
            _ = incoming.retry();
        } else {
            let connection = serve(incoming, Rc::clone(&shared));
            drop(spawn_local(connections.track_future(connection)));
        }
    }
}

async fn serve(incoming: Incoming, shared: Rc<Shared>) {
    let peer = incoming.remote_address();
    // It ends by itself: a peer that says nothing is gone after `Limits::idle`.
    let handshake = shared.cut.run_until_cancelled(incoming.into_future());
    let (established, why) = match handshake.await {
        Some(Ok(connection)) => {
            shared.counters.add(|stats| stats.accepted += 1);
            (true, connection::serve(connection, &shared).await)
        }
        // Another protocol, or a client that does not believe the certificate.
        Some(Err(error)) => (false, error),
        None => return,
    };
    shared.counters.ended(established, &why);
    _ = shared.ended.try_send(Ended {
        peer,
        established,
        why,
    });
}
