//! A server's thread under load, and its clock.

use std::{
    cell::Cell,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    rc::Rc,
    time::Duration,
};

use compio::{
    driver::ProactorBuilder,
    runtime::{Runtime, RuntimeBuilder},
};

use crate::{
    Config,
    threads::{cpu_time, pin_to},
};

/// CPU time of the server: nanoseconds for each message, or microseconds for each MiB.
pub type Cost = f64;

/// What clients send, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Clients at once.
    pub connections: usize,
    /// What each of them sends in a round.
    pub message: &'static [u8],
    /// What it waits for then: as many bytes, or bytes that end like this.
    pub answer: Answer,
    /// Bytes that a handler offers to a read.
    pub room: usize,
    /// Rounds that are measured.
    pub rounds: usize,
    warm_up: usize,
    unit: Unit,
}

/// How a client knows that it has been answered.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// By the number of bytes.
    Bytes(usize),
    /// By the last ones.
    EndsWith(&'static [u8]),
}

#[derive(Clone, Copy, Debug)]
enum Unit {
    NsPerMessage,
    UsPerMib,
}

impl Load {
    /// 64 connections, 64 bytes a message.
    #[must_use]
    pub const fn echo64(config: &Config) -> Self {
        Self {
            connections: 64,
            message: &[7; 64],
            answer: Answer::Bytes(64),
            room: 1024,
            rounds: config.operations(2_000) as usize,
            warm_up: 50,
            unit: Unit::NsPerMessage,
        }
    }

    /// 64 connections, 64 KiB a message.
    #[must_use]
    pub const fn bulk(config: &Config) -> Self {
        Self {
            connections: 64,
            message: &[7; 64 * 1024],
            answer: Answer::Bytes(64 * 1024),
            room: 64 * 1024,
            rounds: config.operations(300) as usize,
            warm_up: 10,
            unit: Unit::UsPerMib,
        }
    }

    /// 64 connections, a request without a body.
    #[must_use]
    pub const fn http(config: &Config) -> Self {
        Self {
            connections: 64,
            message: b"GET / HTTP/1.1\r\nhost: localhost\r\naccept: */*\r\n\r\n",
            answer: Answer::EndsWith(b"\r\n\r\nhello"),
            room: 0,
            rounds: config.operations(1_000) as usize,
            warm_up: 50,
            unit: Unit::NsPerMessage,
        }
    }

    fn cost(&self, spent: Duration) -> Cost {
        let messages = (self.rounds * self.connections) as f64;
        match self.unit {
            Unit::NsPerMessage => spent.as_nanos() as f64 / messages,
            Unit::UsPerMib => {
                let mib = 2.0 * messages * self.message.len() as f64 / (1024.0 * 1024.0);
                spent.as_nanos() as f64 / 1_000.0 / mib
            }
        }
    }
}

/// Reads the clock after the warm-up.
#[derive(Debug)]
pub(super) struct Meter {
    left_to_warm_up: Cell<usize>,
    start: Cell<Duration>,
}

impl Meter {
    /// One more has been answered.
    pub(super) fn message(&self) {
        let left = self.left_to_warm_up.get();
        if left == 1 {
            self.start.set(cpu_time());
        }
        self.left_to_warm_up.set(left.saturating_sub(1));
    }
}

/// Puts the load on a server that gets its connections and a meter.
fn serve(load: Load, server: impl FnOnce(Vec<TcpStream>, Rc<Meter>) + Send + 'static) -> Cost {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let serving = std::thread::spawn(move || {
        pin_to(0);
        let streams = (0..load.connections)
            .map(|_| {
                let stream = listener.accept().expect("a connection").0;
                stream.set_nodelay(true).expect("a socket");
                stream
            })
            .collect();
        let meter = Rc::new(Meter {
            left_to_warm_up: Cell::new(load.warm_up * load.connections),
            start: Cell::new(Duration::ZERO),
        });
        server(streams, meter.clone());
        load.cost(cpu_time() - meter.start.get())
    });
    let asking = std::thread::spawn(move || {
        pin_to(1);
        client(address, load);
    });
    asking.join().expect("the client");
    serving.join().expect("the server")
}

fn client(address: SocketAddr, load: Load) {
    let mut streams: Vec<_> = (0..load.connections)
        .map(|_| {
            let stream = TcpStream::connect(address).expect("a connection");
            stream.set_nodelay(true).expect("a socket");
            stream
        })
        .collect();
    let mut room = vec![0; 64 * 1024];
    for _ in 0..load.warm_up + load.rounds {
        for stream in &mut streams {
            stream.write_all(load.message).expect("a message");
        }
        for stream in &mut streams {
            read_answer(stream, load.answer, &mut room);
        }
    }
}

fn read_answer(stream: &mut TcpStream, answer: Answer, room: &mut [u8]) {
    match answer {
        Answer::Bytes(count) => stream.read_exact(&mut room[..count]).expect("an answer"),
        Answer::EndsWith(end) => {
            let mut filled = 0;
            while !room[..filled].ends_with(end) {
                let count = stream.read(&mut room[filled..]).expect("an answer");
                assert!(count > 0, "the server hung up");
                filled += count;
            }
        }
    }
}

/// As the pool tunes its workers, or plain where the kernel will not have that.
pub(super) fn tuned_runtime() -> Runtime {
    let mut ring = ProactorBuilder::new();
    ring.coop_taskrun(true).taskrun_flag(true);
    RuntimeBuilder::new()
        .with_proactor(ring)
        .build()
        .or_else(|_| Runtime::new())
        .expect("a Compio runtime")
}

/// Serves on a Tokio current-thread runtime, a task for each connection.
pub(super) fn on_tokio<F>(
    load: Load,
    handler: fn(tokio::net::TcpStream, Load, Rc<Meter>) -> F,
) -> Cost
where
    F: Future<Output = ()> + 'static,
{
    serve(load, move |streams, meter| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a Tokio runtime");
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let mut tasks = tokio::task::JoinSet::new();
            for stream in streams {
                stream.set_nonblocking(true).expect("a socket");
                let stream = tokio::net::TcpStream::from_std(stream).expect("a socket");
                tasks.spawn_local(handler(stream, load, meter.clone()));
            }
            tasks.join_all().await;
        });
    })
}

/// Has each connection served by the task that `spawn` makes for it, and waits for all.
async fn all_of<T, E>(
    streams: Vec<std::net::TcpStream>,
    spawn: impl Fn(compio::net::TcpStream) -> T,
) where
    T: Future<Output = Result<(), E>>,
    E: std::fmt::Debug,
{
    let sockets = streams
        .into_iter()
        .map(|stream| compio::net::TcpStream::from_std(stream).expect("a socket"));
    let tasks: Vec<_> = sockets.map(spawn).collect();
    for task in tasks {
        task.await.expect("a handler");
    }
}

/// Serves on a Compio runtime with the pool's ring flags, a task for each connection.
pub(super) fn on_compio<F>(
    load: Load,
    handler: fn(compio::net::TcpStream, Load, Rc<Meter>) -> F,
) -> Cost
where
    F: Future<Output = ()> + 'static,
{
    serve(load, move |streams, meter| {
        tuned_runtime().block_on(async {
            let spawn = |stream| compio::runtime::spawn(handler(stream, load, meter.clone()));
            all_of(streams, spawn).await;
        });
    })
}

/// Serves on a [`DualRuntime`](landbridge::context::DualRuntime), a task of its own for each connection.
#[cfg(unix)]
pub(super) fn on_dual<F>(
    load: Load,
    handler: fn(compio::net::TcpStream, Load, Rc<Meter>) -> F,
) -> Cost
where
    F: Future<Output = ()> + 'static,
{
    serve(load, move |streams, meter| {
        let dual = landbridge::context::DualRuntime::new().expect("a dual runtime");
        dual.block_on(async {
            let spawn = |stream| landbridge::rt::spawn_local(handler(stream, load, meter.clone()));
            all_of(streams, spawn).await;
        });
    })
}

/// Serves on compio-compat over a Tokio current-thread runtime, a task of Compio's for each connection.
#[cfg(unix)]
pub(super) fn on_compat<F>(
    load: Load,
    handler: fn(compio::net::TcpStream, Load, Rc<Meter>) -> F,
) -> Cost
where
    F: Future<Output = ()> + 'static,
{
    use compio_compat::{RuntimeCompat, TokioAdapter};

    serve(load, move |streams, meter| {
        let tokio = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a Tokio runtime");
        tokio.block_on(async {
            let compio = Runtime::new().expect("a Compio runtime");
            let both = RuntimeCompat::<TokioAdapter>::new(compio).expect("an adapter");
            both.execute(async {
                let spawn = |stream| compio::runtime::spawn(handler(stream, load, meter.clone()));
                all_of(streams, spawn).await;
            })
            .await;
        });
    })
}
