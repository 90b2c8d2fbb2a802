//! What it costs to copy between a Tokio socket and a Compio socket.
//!
//! A gateway with one connection on either side. A client outside of it sends 64 KiB into each, then reads 64
//! KiB from each, and so on: both directions are busy, and everything fits into the sockets' buffers. Measured is
//! the CPU time of the whole process without the client's thread, so Tokio's thread, the pool's worker and the
//! wake-ups between them are all in it.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use landbridge::{CompioPool, io::copy_bidirectional};

use crate::threads::{cpu_time, process_cpu_time};

/// Bytes that go one way before they are read.
const BURST: usize = 64 << 10;

/// Rounds before the measurement starts.
const WARM_UP: usize = 16;

/// CPU microseconds for each MiB that was copied.
pub type Cost = f64;

/// The connection on the left is Tokio's, driven by a Tokio runtime of one thread; that on the right is Compio's,
/// on a pool's worker with Tokio's context, where the copying is. What a program has that adds a pool to its
/// Tokio runtime.
pub fn across(rounds: usize) -> Cost {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a Tokio runtime");
    let pool = CompioPool::builder()
        .threads(1)
        .tokio(tokio.handle().clone())
        .build()
        .expect("a pool");
    measure(rounds, |left, right| {
        let copied = pool.run(move || async move {
            let mut left = landbridge::handoff::tcp_to_tokio(left).expect("a socket");
            let mut right = landbridge::handoff::tcp_to_compio(right).expect("a socket");
            copy_bidirectional(&mut left, &mut right).await
        });
        tokio.block_on(copied).expect("a pool").expect("a copy")
    })
}

/// The peer: both are Tokio's, and so is the copying, on a current-thread runtime.
pub fn within_tokio(rounds: usize) -> Cost {
    by_tokio(rounds, 8 << 10)
}

/// For orientation: the same with buffers as large as ours become.
pub fn within_tokio_64k(rounds: usize) -> Cost {
    by_tokio(rounds, 64 << 10)
}

fn by_tokio(rounds: usize, buffer: usize) -> Cost {
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a Tokio runtime");
    measure(rounds, |left, right| {
        tokio.block_on(async {
            let mut left = landbridge::handoff::tcp_to_tokio(left).expect("a socket");
            let mut right = landbridge::handoff::tcp_to_tokio(right).expect("a socket");
            let copied =
                tokio::io::copy_bidirectional_with_sizes(&mut left, &mut right, buffer, buffer);
            copied.await.expect("a copy")
        })
    })
}

fn measure(rounds: usize, copy: impl FnOnce(TcpStream, TcpStream) -> (u64, u64)) -> Cost {
    let ((client, left), (server, right)) = (pair(), pair());
    let outside = std::thread::spawn(move || client_of(client, server, rounds));
    let (there, back) = copy(left, right);
    let all = ((WARM_UP + rounds) * BURST) as u64;
    assert_eq!((there, back), (all, all), "every byte is copied");
    let spent = outside.join().expect("the client");
    spent.as_secs_f64() * 1e6 / (2 * rounds * BURST) as f64 * f64::from(1 << 20)
}

/// What the rest of the process has spent after the warm-up.
fn client_of(mut client: TcpStream, mut server: TcpStream, rounds: usize) -> Duration {
    let (message, mut answer) = (vec![7; BURST], vec![0; BURST]);
    let mut start = Duration::ZERO;
    for round in 0..WARM_UP + rounds {
        if round == WARM_UP {
            start = process_cpu_time() - cpu_time();
        }
        client.write_all(&message).expect("a message");
        server.write_all(&message).expect("a message");
        server.read_exact(&mut answer).expect("an answer");
        client.read_exact(&mut answer).expect("an answer");
    }
    process_cpu_time() - cpu_time() - start
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let one = TcpStream::connect(address).expect("a connection");
    (one, listener.accept().expect("a connection").0)
}
