//! What the shims ask of the heap.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use compio::{
    BufResult,
    buf::{IntoInner, IoBuf},
    driver::{DriverType, ProactorBuilder},
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::UnixStream,
    runtime::{Runtime, RuntimeBuilder},
};
use futures::future::join;
use landbridge::io::{CompioAsTokio, SocketAsTokio, TokioAsCompio};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::load::tuned_runtime;
use crate::{
    Config,
    allocations::{during, live_during},
};

/// Allocations for a million operations beyond native ones, of the worst shim; and what is granted.
pub(super) fn allocations(config: &Config) -> (f64, f64) {
    const BUDGET: f64 = 10.0;
    let rounds = config.operations(20_000) as usize;
    let mut worst = 0;
    for driver in [DriverType::Poll, DriverType::IoUring] {
        let Some(runtime) = runtime_on(driver) else {
            continue;
        };
        let native = runtime.block_on(async {
            let (stream, peer) = pair();
            let mut stream = compio::net::TcpStream::from_std(stream).expect("a socket");
            let buffer = owned(&mut stream, &peer, Vec::with_capacity(MESSAGE), WARM_UP).await;
            during(owned(&mut stream, &peer, buffer, rounds)).await.0
        });
        for shim in [Shim::Socket, Shim::Buffered] {
            let ours = runtime.block_on(async {
                let (stream, peer) = pair();
                let stream = compio::net::TcpStream::from_std(stream).expect("a socket");
                match shim {
                    Shim::Socket => counted(SocketAsTokio::new(stream), &peer, rounds).await,
                    Shim::Buffered => counted(CompioAsTokio::new(stream), &peer, rounds).await,
                }
            });
            worst = worst.max(ours.saturating_sub(native));
        }
    }
    worst = worst.max(tokio_as_compio(rounds));
    let operations = 2 * rounds;
    (worst as f64 * 1e6 / operations as f64, BUDGET)
}

const MESSAGE: usize = 64;
const WARM_UP: usize = 500;

#[derive(Clone, Copy)]
enum Shim {
    Socket,
    Buffered,
}

fn runtime_on(driver: DriverType) -> Option<Runtime> {
    let mut proactor = ProactorBuilder::new();
    proactor.driver_type(driver);
    RuntimeBuilder::new().with_proactor(proactor).build().ok()
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let one = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
    let other = listener.accept().expect("a connection").0;
    one.set_nodelay(true).expect("a socket");
    other.set_nodelay(true).expect("a socket");
    (one, other)
}

/// Every read has to wait, so that all sides wait equally often: a message comes once it is polled for.
async fn asked<T>(read: impl Future<Output = T>, mut peer: &TcpStream) -> T {
    let asks = async { peer.write_all(&[7; MESSAGE]).expect("a message") };
    join(read, asks).await.0
}

fn answered(mut peer: &TcpStream) {
    let mut answer = [0; MESSAGE];
    peer.read_exact(&mut answer).expect("an answer");
}

/// The operations on Compio's own traits.
async fn owned(
    stream: &mut (impl AsyncRead + AsyncWrite),
    peer: &TcpStream,
    mut buffer: Vec<u8>,
    times: usize,
) -> Vec<u8> {
    for _ in 0..times {
        buffer.clear();
        let read = stream.read_exact(buffer.slice(..MESSAGE));
        let BufResult(got, filled) = asked(read, peer).await;
        got.expect("a message");
        let BufResult(sent, filled) = stream.write_all(filled).await;
        sent.expect("a peer");
        buffer = filled.into_inner();
        answered(peer);
    }
    buffer
}

/// The operations on Tokio's.
async fn borrowed(
    stream: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin),
    peer: &TcpStream,
    times: usize,
) {
    let mut message = [0; MESSAGE];
    for _ in 0..times {
        let read = stream.read_exact(&mut message);
        asked(read, peer).await.expect("a message");
        stream.write_all(&message).await.expect("a peer");
        stream.flush().await.expect("a peer");
        answered(peer);
    }
}

async fn counted(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    peer: &TcpStream,
    rounds: usize,
) -> u64 {
    borrowed(&mut stream, peer, WARM_UP).await;
    during(borrowed(&mut stream, peer, rounds)).await.0
}

fn tokio_as_compio(rounds: usize) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a Tokio runtime");
    runtime.block_on(async {
        let (stream, peer) = pair();
        stream.set_nonblocking(true).expect("a socket");
        let stream = tokio::net::TcpStream::from_std(stream).expect("a socket");
        let mut stream = TokioAsCompio::new(stream);
        let buffer = owned(&mut stream, &peer, Vec::with_capacity(MESSAGE), WARM_UP).await;
        during(owned(&mut stream, &peer, buffer, rounds)).await.0
    })
}

/// Heap bytes of a connection that waits in a read of 64 bytes, beyond a native one; and what is
/// granted.
pub(super) fn idle(config: &Config) -> (f64, f64) {
    const BUDGET: f64 = 1024.0;
    let connections = (config.operations(9_000) as usize).min(most_connections());
    let ours = waiting(connections, |stream| async {
        let mut stream = SocketAsTokio::new(stream);
        let mut message = [0; MESSAGE];
        while stream.read(&mut message).await.expect("a read") > 0 {
            stream.write_all(&message).await.expect("a peer");
        }
    });
    let native = waiting(connections, |mut stream| async move {
        let mut buffer = Vec::with_capacity(MESSAGE);
        loop {
            buffer.clear();
            let BufResult(got, filled) = stream.read(buffer).await;
            if got.expect("a read") == 0 {
                break;
            }
            let BufResult(sent, same) = stream.write_all(filled).await;
            sent.expect("a peer");
            buffer = same;
        }
    });
    (ours - native, BUDGET)
}

/// As many as this process may open both ends of.
fn most_connections() -> usize {
    use rustix::process::{Resource, getrlimit};
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |files| files.saturating_sub(200) as usize / 2)
}

/// Bytes for each connection once it has answered a message and waits for the next.
fn waiting<F: Future<Output = ()> + 'static>(
    connections: usize,
    handler: fn(UnixStream) -> F,
) -> f64 {
    let (ours, peers): (Vec<_>, Vec<_>) = (0..connections)
        .map(|_| std::os::unix::net::UnixStream::pair().expect("sockets"))
        .unzip();
    tuned_runtime().block_on(async {
        let mut tasks = Vec::with_capacity(connections);
        let (bytes, peers) = live_during(async {
            for stream in ours {
                let stream = UnixStream::from_std(stream).expect("a socket");
                tasks.push(compio::runtime::spawn(handler(stream)));
            }
            let peers = compio::runtime::spawn_blocking(move || ask_each_once(peers))
                .await
                .expect("the peers");
            // Whoever answered last is still on his way to the next read.
            compio::time::sleep(Duration::from_millis(20)).await;
            peers
        })
        .await;
        drop(peers);
        for task in tasks {
            task.await.expect("a handler");
        }
        bytes as f64 / connections as f64
    })
}

fn ask_each_once(
    mut peers: Vec<std::os::unix::net::UnixStream>,
) -> Vec<std::os::unix::net::UnixStream> {
    for peer in &mut peers {
        peer.write_all(&[7; MESSAGE]).expect("a message");
    }
    for peer in &mut peers {
        peer.read_exact(&mut [0; MESSAGE]).expect("an answer");
    }
    peers
}
