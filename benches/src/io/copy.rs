//! What it costs to copy between a Tokio socket and a Compio socket.
//!
//! A gateway with one connection on either side. A client outside of it sends 256 KiB into each, then reads 256
//! KiB from each, and so on: both directions are busy, and everything fits into the sockets' buffers, which are as
//! large as that: with the system's default the loopback device drops packets, and a round waits 200 ms for them
//! now and then, whoever copies. Measured is
//! the CPU time of the whole process without the client's thread, so Tokio's thread, the pool's worker and the
//! wake-ups between them are all in it.

use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use landbridge::{CompioPool, io::copy_bidirectional};

use crate::threads::{cpu_time, process_cpu_time};

/// Bytes that go one way before they are read.
const BURST: usize = 256 << 10;

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
        read_now_and_then(&mut server, &mut answer);
        read_now_and_then(&mut client, &mut answer);
    }
    process_cpu_time() - cpu_time() - start
}

/// Whoever sends to somebody who sleeps in a read on the same machine pays for waking him, chunk by chunk. The
/// clients of a gateway are elsewhere, so nobody sleeps in a read here.
fn read_now_and_then(stream: &mut TcpStream, mut answer: &mut [u8]) {
    stream.set_nonblocking(true).expect("a socket");
    while !answer.is_empty() {
        match stream.read(answer) {
            Ok(0) => panic!("the gateway has hung up"),
            Ok(count) => answer = &mut answer[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_micros(100));
            }
            Err(error) => panic!("an answer: {error}"),
        }
    }
    stream.set_nonblocking(false).expect("a socket");
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let one = TcpStream::connect(address).expect("a connection");
    let other = listener.accept().expect("a connection").0;
    for stream in [&one, &other] {
        let duplicate = stream.try_clone().expect("a descriptor");
        let socket = tokio::net::TcpSocket::from_std_stream(duplicate);
        let size = 4 * BURST as u32;
        socket.set_recv_buffer_size(size).expect("a buffer");
        socket.set_send_buffer_size(size).expect("a buffer");
    }
    (one, other)
}
