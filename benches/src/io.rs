//! What a shim costs a server, message by message.
//!
//! One thread serves 64 connections that echo 64-byte messages; another thread is the client, and
//! sends to all of them before it reads from any. Measured is the CPU time of the server's thread,
//! since the wall clock mostly measures the wake-ups between the two. Left out: accepting, the
//! first rounds, and the client.

pub mod copy;

use std::{
    cell::Cell,
    future::Future,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    rc::Rc,
    time::Duration,
};

use compio::{
    BufResult,
    buf::{IntoInner, IoBuf},
    driver::ProactorBuilder,
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, compat::AsyncStream},
    runtime::{Runtime, RuntimeBuilder},
};
use landbridge::io::{CompioAsTokio, TokioAsCompio};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::compat::FuturesAsyncReadCompatExt;

use crate::{Row, threads::cpu_time};

/// The rows of this group.
pub const ROWS: &[Row] = &[
    Row {
        name: "io.tokio_as_compio_echo",
        unit: "CPU ns/message",
        peer_name: "plain tokio",
        goal: Some(1.10),
        doc: "a server of 64 connections on Tokio's current-thread runtime echoes 64-byte messages through \
              Compio's traits over Tokio sockets; CPU time of its thread for each message. Nothing is pinned.",
        round: |config| {
            let rounds = config.operations(ROUNDS) as usize;
            config.both(
                |_| tokio_as_compio_echo(rounds),
                |_| plain_tokio_echo(rounds),
            )
        },
    },
    Row {
        name: "io.compio_as_tokio_echo",
        unit: "CPU ns/message",
        peer_name: "compio-io AsyncStream, tokio-util compat",
        goal: Some(0.95),
        doc: "the same server on a Compio runtime with the pool's ring flags, through Tokio's traits over \
              Compio sockets, with a flush after each message; CPU time of its thread for each message. \
              Nothing is pinned.",
        round: |config| {
            let rounds = config.operations(ROUNDS) as usize;
            config.both(
                |_| compio_as_tokio_echo(rounds),
                |_| async_stream_echo(rounds),
            )
        },
    },
    Row {
        name: "io.copy_bidirectional",
        unit: "CPU us/MiB",
        peer_name: "tokio::io::copy_bidirectional",
        goal: Some(1.00),
        doc: "copying both ways at once between a socket of Tokio's, driven by a runtime of one thread, and a \
              socket of Compio's on a pool's worker with Tokio's context; the peer has both sockets on a \
              current-thread runtime. CPU time of the process without the client's thread, for each MiB. \
              Nothing is pinned.",
        round: |config| {
            let rounds = config.operations(COPY_ROUNDS) as usize;
            config.both(|_| copy::across(rounds), |_| copy::within_tokio(rounds))
        },
    },
];

/// Bursts each way in a round of the row that copies.
const COPY_ROUNDS: u64 = 500;

/// Messages of each connection in a round of a row.
const ROUNDS: u64 = 2_000;

/// How many connections the server has.
pub const CONNECTIONS: usize = 64;
/// Bytes in a message.
pub const MESSAGE: usize = 64;
/// Rounds before the measurement starts.
const WARM_UP: usize = 50;
/// Bytes that a handler offers to a read.
const ROOM: usize = 1024;

/// CPU nanoseconds of the server for each message.
pub type Cost = f64;

/// Compio's traits over a Tokio socket, on a Tokio current-thread runtime.
pub fn tokio_as_compio_echo(rounds: usize) -> Cost {
    on_tokio(rounds, |stream, meter| {
        compio_echo(TokioAsCompio::new(stream), meter)
    })
}

/// The peer of [`tokio_as_compio_echo`]: the same socket as it is.
pub fn plain_tokio_echo(rounds: usize) -> Cost {
    on_tokio(rounds, |stream, meter| tokio_echo(stream, meter, false))
}

/// Tokio's traits over a Compio socket, on a Compio runtime with the pool's ring flags.
pub fn compio_as_tokio_echo(rounds: usize) -> Cost {
    on_compio(rounds, |stream, meter| {
        tokio_echo(CompioAsTokio::new(stream), meter, true)
    })
}

/// The peer of [`compio_as_tokio_echo`]: Compio's own adapter, with that of tokio-util around it.
pub fn async_stream_echo(rounds: usize) -> Cost {
    on_compio(rounds, |stream, meter| {
        tokio_echo(Box::pin(AsyncStream::new(stream)).compat(), meter, true)
    })
}

/// For orientation: Compio's own traits on the same runtime.
pub fn plain_compio_echo(rounds: usize) -> Cost {
    on_compio(rounds, compio_echo)
}

async fn compio_echo<S>(mut stream: S, meter: Rc<Meter>)
where
    S: AsyncRead + AsyncWrite,
{
    let mut buffer = Vec::with_capacity(ROOM);
    loop {
        buffer.clear();
        let BufResult(count, filled) = stream.read(buffer).await;
        let count = count.expect("a read");
        if count == 0 {
            break;
        }
        let BufResult(sent, slice) = stream.write_all(filled.slice(..count)).await;
        sent.expect("a write");
        buffer = slice.into_inner();
        meter.message();
    }
}

async fn tokio_echo<S>(mut stream: S, meter: Rc<Meter>, flush: bool)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut buffer = [0; ROOM];
    loop {
        let count = stream.read(&mut buffer).await.expect("a read");
        if count == 0 {
            break;
        }
        stream.write_all(&buffer[..count]).await.expect("a write");
        if flush {
            stream.flush().await.expect("a flush");
        }
        meter.message();
    }
}

fn on_tokio<F>(rounds: usize, handler: fn(tokio::net::TcpStream, Rc<Meter>) -> F) -> Cost
where
    F: Future<Output = ()> + 'static,
{
    serve(rounds, move |streams, meter| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a Tokio runtime");
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let mut tasks = tokio::task::JoinSet::new();
            for stream in streams {
                stream.set_nonblocking(true).expect("a socket");
                let stream = tokio::net::TcpStream::from_std(stream).expect("a socket");
                tasks.spawn_local(handler(stream, meter.clone()));
            }
            tasks.join_all().await;
        });
    })
}

fn on_compio<F>(rounds: usize, handler: fn(compio::net::TcpStream, Rc<Meter>) -> F) -> Cost
where
    F: Future<Output = ()> + 'static,
{
    serve(rounds, move |streams, meter| {
        tuned_runtime().block_on(async {
            let tasks: Vec<_> = streams
                .into_iter()
                .map(|stream| {
                    let stream = compio::net::TcpStream::from_std(stream).expect("a socket");
                    compio::runtime::spawn(handler(stream, meter.clone()))
                })
                .collect();
            for task in tasks {
                task.await.expect("a handler");
            }
        });
    })
}

/// As the pool tunes its workers, or plain where the kernel will not have that.
fn tuned_runtime() -> Runtime {
    let mut ring = ProactorBuilder::new();
    ring.coop_taskrun(true).taskrun_flag(true);
    RuntimeBuilder::new()
        .with_proactor(ring)
        .build()
        .or_else(|_| Runtime::new())
        .expect("a Compio runtime")
}

/// Reads the clock after the warm-up.
#[derive(Debug)]
pub struct Meter {
    messages: Cell<usize>,
    start: Cell<Duration>,
}

impl Meter {
    fn message(&self) {
        let messages = self.messages.get() + 1;
        self.messages.set(messages);
        if messages == WARM_UP * CONNECTIONS {
            self.start.set(cpu_time());
        }
    }
}

fn serve(rounds: usize, server: impl FnOnce(Vec<TcpStream>, Rc<Meter>) + Send + 'static) -> Cost {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let serving = std::thread::spawn(move || {
        let streams = (0..CONNECTIONS)
            .map(|_| {
                let stream = listener.accept().expect("a connection").0;
                stream.set_nodelay(true).expect("a socket");
                stream
            })
            .collect();
        let meter = Rc::new(Meter {
            messages: Cell::new(0),
            start: Cell::new(Duration::ZERO),
        });
        server(streams, meter.clone());
        let spent = cpu_time() - meter.start.get();
        spent.as_nanos() as f64 / (rounds * CONNECTIONS) as f64
    });
    client(address, WARM_UP + rounds);
    serving.join().expect("the server")
}

fn client(address: SocketAddr, rounds: usize) {
    let mut streams: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let stream = TcpStream::connect(address).expect("a connection");
            stream.set_nodelay(true).expect("a socket");
            stream
        })
        .collect();
    let (message, mut answer) = ([7; MESSAGE], [0; MESSAGE]);
    for _ in 0..rounds {
        for stream in &mut streams {
            stream.write_all(&message).expect("a message");
        }
        for stream in &mut streams {
            stream.read_exact(&mut answer).expect("an answer");
        }
    }
}
