//! The whole: recovery, a job on each worker, accepting, and the end. COPY: the file.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    path::PathBuf,
    pin::pin,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use compio::net::{TcpListener, TcpStream};
use futures::future::join_all;
use landbridge::{
    CompioPool, JoinError, JoinHandle,
    channel::{self, mesh},
    error::BuildError,
    pool::Placement,
    rt::spawn_local,
    time::{sleep, timeout},
};
use socket2::{Domain, Socket, Type};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{
    connection::{Connection, STALL},
    listen,
    shard::Shard,
    store::{Found, Part, Store, StoreError, open_log},
    worker::{Home, Request, Router, Stats},
};

/// Requests in each lane of the mesh.
const LANE: usize = 256;
/// Bytes of keys and values that a worker's connections may have on their way to other shards.
const ROOM: usize = 16 << 20;
/// Clients above the limit that are told so at the same time; those above are not told.
const REFUSALS: usize = 64;
/// Without descriptors there is no accepting for a while.
const PAUSE: Duration = Duration::from_millis(10);
/// At the end: how long those are still accepted that wait in the socket's queue. Closing it resets them.
const LAST: Duration = Duration::from_millis(10);

/// What a server is started with.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) data: PathBuf,
    /// Threads, and so shards.
    pub(crate) workers: usize,
    /// Each on a processor of its own.
    pub(crate) pinned: bool,
    /// Of each worker.
    pub(crate) max_connections: usize,
    /// Bytes of keys and values, about, of all shards together.
    pub(crate) max_memory: usize,
    /// How long a client may take for the rest of a request, and to take its answers.
    pub(crate) stall: Duration,
    /// How long connections may go on when the server is drained.
    pub(crate) grace: Duration,
}

impl Config {
    pub(crate) fn new(listen: SocketAddr, data: PathBuf, workers: usize) -> Self {
        Self {
            listen,
            data,
            workers,
            pinned: cfg!(target_os = "linux"),
            max_connections: 4096,
            max_memory: 1 << 30,
            stall: STALL,
            grace: Duration::from_secs(10),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    #[error("cannot start the workers: {0}")]
    Pool(#[from] BuildError),
    #[error("the data: {0}")]
    Store(#[from] StoreError),
}

/// Why a worker has not ended well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkerError {
    #[error("its socket: {0}")]
    Socket(#[source] io::Error),
    #[error("its log: {0}")]
    Open(#[from] StoreError),
    #[error("its log cannot be written: {0}")]
    Log(#[source] io::Error),
    #[error("{0}")]
    Gone(#[from] JoinError),
}

/// A server that runs. Dropped without [`drain`](Self::drain), it cuts everything off.
#[derive(Debug)]
pub(crate) struct Server {
    addr: SocketAddr,
    found: Found,
    workers: Vec<JoinHandle<Result<bool, WorkerError>>>,
    drain: CancellationToken,
    /// The jobs have the pool, too: without this, they would keep each other.
    _cut: DropGuard,
    pool: CompioPool,
}

impl Server {
    /// Recovers what there is, and serves.
    pub(crate) async fn start(config: Config) -> Result<Self, StartError> {
        let pool = CompioPool::builder()
            .threads(config.workers)
            .placement(if config.pinned {
                Placement::Pinned
            } else {
                Placement::Floating
            })
            .thread_name("shard")
            .build()?;
        let store = Arc::new(Store::open(&config.data, &pool).await?);
        let (parts, found) = store.recover(&pool).await?;

        // After the recovery: who is let in is served.
        let refused = |error| StartError::Listen(config.listen, error);
        alone(config.listen).map_err(refused)?;
        let listeners = listen::shared(config.listen, config.workers).map_err(refused)?;
        let addr = listeners[0].local_addr().map_err(refused)?;

        let stats: Arc<[Stats]> = (0..config.workers).map(|_| Stats::default()).collect();
        let (drain, cut) = (CancellationToken::new(), CancellationToken::new());
        let members = channel::mesh(config.workers, LANE);
        let seats = pool.workers().zip(members).zip(parts).zip(listeners);
        let workers = seats.map(|(((worker, member), part), listener)| {
            let worker_of = Worker {
                pool: pool.clone(),
                store: Arc::clone(&store),
                stats: Arc::clone(&stats),
                config: config.clone(),
                drain: drain.clone(),
                cut: cut.clone(),
            };
            // The closure crosses over; what it makes is its thread's.
            worker.spawn(async move || worker_of.run(member, part, listener).await)
        });
        Ok(Self {
            addr,
            found,
            workers: workers.collect(),
            drain,
            _cut: cut.drop_guard(),
            pool,
        })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn found(&self) -> &Found {
        &self.found
    }

    /// Ready when a worker has had to end.
    pub(crate) fn failed(&self) -> impl Future<Output = ()> + use<> {
        self.drain.clone().cancelled_owned()
    }

    /// Ends the server: who comes now is refused, what has been read is done, written and answered. Whether that was
    /// in time, or what went wrong.
    pub(crate) async fn drain(self) -> Result<bool, WorkerError> {
        self.drain.cancel();
        let ended = join_all(self.workers).await;
        // Last of all: nothing is left that it could cut off.
        self.pool.shutdown().await;
        let mut in_time = true;
        for worker in ended {
            in_time &= worker??;
        }
        Ok(in_time)
    }
}

/// Whether nobody listens there. With `SO_REUSEPORT` another process of the same user could: it would get a part of
/// the connections, and its clients another store's answers.
fn alone(addr: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())
}

/// What a worker is started with.
struct Worker {
    pool: CompioPool,
    /// Its directory is this process's as long as anybody writes.
    store: Arc<Store>,
    stats: Arc<[Stats]>,
    config: Config,
    drain: CancellationToken,
    /// What takes too long is cut off.
    cut: CancellationToken,
}

impl Worker {
    /// Until the drain; whether all connections ended in time.
    async fn run(
        self,
        member: mesh::Member<Request>,
        part: Part,
        listener: StdListener,
    ) -> Result<bool, WorkerError> {
        // Whatever ends one of them, the others end, too: a store without one of its shards is none.
        let _end = self.drain.clone().drop_guard();
        let listener = TcpListener::from_std(listener).map_err(WorkerError::Socket)?;
        let file = open_log(&part.log).await?;

        let (to_peers, from_peers) = member.split();
        let limit = self.config.max_memory / self.config.workers;
        let shard = Shard::new(part.map, limit);
        let home = Rc::new(Home::new(to_peers.index(), shard, self.stats));
        let router = Router::new(self.pool, Rc::clone(&home), to_peers, ROOM);
        let (drain, store) = (self.drain.clone(), self.store);
        let writing = spawn_local({
            let home = Rc::clone(&home);
            async move {
                let written = home.write_log(file, part.end).await;
                // If it has failed, all have to end.
                drain.cancel();
                drop(store);
                written
            }
        });
        let peers = spawn_local(Rc::clone(&home).serve_peers(from_peers));
        let front = Front {
            router: Rc::new(router),
            connections: TaskTracker::new(),
            config: self.config,
            drain: self.drain,
            // Each worker's own grace.
            cut: self.cut.child_token(),
        };

        let mut in_time = false;
        let ending = async {
            // With its connections the last senders of its lanes are gone; and when all its peers' are, nothing more
            // can be asked of its shard.
            in_time = front.serve(listener).await;
            peers.await?;
            home.end();
            writing.await?.map_err(WorkerError::Log)
        };
        // Dropped by its owner, without a drain.
        match self.cut.run_until_cancelled(ending).await {
            Some(ended) => ended.map(|()| in_time),
            None => Ok(false),
        }
    }
}

/// Accepts, and has the connections.
struct Front {
    router: Rc<Router>,
    connections: TaskTracker,
    config: Config,
    drain: CancellationToken,
    cut: CancellationToken,
}

impl Front {
    async fn serve(self, listener: TcpListener) -> bool {
        {
            // One and the same future before and after: an `accept` that is dropped takes the connection with
            // it that the kernel has just given it.
            let mut accept = pin!(self.accept(&listener));
            _ = self.drain.run_until_cancelled(accept.as_mut()).await;
            _ = timeout(LAST, accept).await;
        }
        drop(listener);
        self.connections.close();
        let ended = timeout(self.config.grace, self.connections.wait()).await;
        self.cut.cancel();
        self.connections.wait().await;
        ended.is_ok()
    }

    async fn accept(&self, listener: &TcpListener) {
        loop {
            match listener.accept().await {
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
        let open = self.connections.len();
        if open >= self.config.max_connections + REFUSALS {
            return;
        }
        let connection = Connection::new(socket, Rc::clone(&self.router), self.config.stall);
        let (drain, cut) = (self.drain.clone(), self.cut.clone());
        let crowded = open >= self.config.max_connections;
        let router = Rc::clone(&self.router);
        let connection = async move {
            let stats = router.home().stats();
            stats.connections.fetch_add(1, Relaxed);
            // The errors are those of clients that went away.
            _ = cut
                .run_until_cancelled(async {
                    if crowded {
                        connection.refuse("ERR max number of clients reached").await
                    } else {
                        connection.serve(drain).await
                    }
                })
                .await;
            stats.connections.fetch_sub(1, Relaxed);
        };
        drop(spawn_local(self.connections.track_future(connection)));
    }
}
