//! What a crossing does to the slowest requests of a server.

use std::{
    convert::Infallible,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::spawn::{Cpus, tokio_side};

/// How many clients ask at once.
pub const CONNECTIONS: usize = 64;
/// Requests of each connection before the measurement starts.
const WARM_UP: u64 = 10;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
/// The head's end, and the body, which is what every crossing answers.
const END: &[u8] = b"\r\n\r\n1";

/// Serves HTTP on Tokio with a handler that awaits `cross` once for each request, and asks it from
/// [`CONNECTIONS`] connections, `requests` times each, the next as soon as the last is answered. The
/// 99th percentile of the latency in microseconds, as seen by the clients.
///
/// # Panics
/// When a connection breaks.
pub fn p99<F>(requests: u64, cross: impl Fn() -> F + Clone + Send + 'static) -> f64
where
    F: Future<Output = u64> + Send + 'static,
{
    let server = tokio_side(Cpus::Any);
    let listener = server
        .block_on(TcpListener::bind("127.0.0.1:0"))
        .expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    server.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a client");
            stream.set_nodelay(true).expect("a socket");
            let cross = cross.clone();
            let handler = service_fn(move |_: Request<Incoming>| {
                let answer = cross();
                async move { Ok::<_, Infallible>(Response::new(answer.await.to_string())) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), handler));
        }
    });
    let clients = thread::spawn(move || ask(address, requests));
    let mut latencies = clients.join().expect("no connection breaks");
    // Who asks and who serves end together.
    server.shutdown_background();
    let place = latencies.len() * 99 / 100;
    let (_, p99, _) = latencies.select_nth_unstable(place);
    p99.as_secs_f64() * 1e6
}

/// All clients on one thread: as few threads as a load can be made of, to leave the CPUs to the server.
fn ask(address: SocketAddr, requests: u64) -> Vec<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a Tokio runtime starts");
    runtime.block_on(async move {
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|_| tokio::spawn(client(address, requests)))
            .collect();
        let mut all = Vec::new();
        for client in clients {
            all.extend(client.await.expect("no panic"));
        }
        all
    })
}

async fn client(address: SocketAddr, requests: u64) -> Vec<Duration> {
    let mut stream = TcpStream::connect(address).await.expect("a server");
    stream.set_nodelay(true).expect("a socket");
    let mut latencies = Vec::with_capacity(requests as usize);
    let mut answer = [0; 1024];
    for request in 0..WARM_UP + requests {
        let start = Instant::now();
        stream.write_all(REQUEST).await.expect("a server");
        let mut filled = 0;
        while !answer[..filled].ends_with(END) {
            let n = stream.read(&mut answer[filled..]).await.expect("an answer");
            assert!(n > 0, "the server hung up");
            filled += n;
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"));
        if request >= WARM_UP {
            latencies.push(start.elapsed());
        }
    }
    latencies
}
