//! A loop of calls that need not wait must not keep the task's neighbours waiting, whatever comes of the calls.
#![cfg(all(unix, feature = "net"))]

mod support;

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use landbridge::remote::{
    ListenOptions, Net, TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream,
};
use support::{block_on, for_each_driver};

/// Calls in a row are fewer than this.
const MANY: usize = 1_000;

/// Calls until a neighbour has run, on the one thread that there is.
fn lets_others_run(what: &str, mut call: impl AsyncFnMut()) {
    let tokio = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    tokio.block_on(async {
        let has_run = Arc::new(AtomicBool::new(false));
        let neighbour = Arc::clone(&has_run);
        tokio::spawn(async move { neighbour.store(true, Ordering::Relaxed) });
        for _ in 0..MANY {
            call().await;
            if has_run.load(Ordering::Relaxed) {
                return;
            }
        }
        panic!("{what}: nobody else runs");
    });
}

/// Who sniffs a protocol peeks until there is enough; the peer may be a task of the same thread.
#[test]
fn who_peeks_again_and_again_lets_others_run() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let net = Net::new(&pool);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut far = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let near = TcpStream::from_std_in(&net, listener.accept().unwrap().0).unwrap();
        far.write_all(b"x").unwrap();
        block_on(near.readable()).unwrap();
        lets_others_run("peek", async || {
            assert_eq!(near.peek(&mut [0; 2]).await.unwrap(), 1)
        });
        lets_others_run("readable", async || near.readable().await.unwrap());

        let socket = block_on(UdpSocket::bind_in(&net, "127.0.0.1:0")).unwrap();
        let address = socket.local_addr().unwrap();
        block_on(socket.send_to(b"x", address)).unwrap();
        lets_others_run("peek_from", async || {
            socket.peek_from(&mut [0; 2]).await.unwrap();
        });
    });
}

/// Is the server up yet? It may have to be started by a task of the same thread.
#[test]
fn who_connects_again_and_again_lets_others_run() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let net = Net::new(&pool);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = listener.local_addr().unwrap();
        drop(listener);
        lets_others_run("connect", async || {
            TcpStream::connect_in(&net, closed).await.unwrap_err();
        });
        lets_others_run("connect to nonsense", async || {
            TcpStream::connect_in(&net, "no port").await.unwrap_err();
        });
        lets_others_run("connect to a path", async || {
            UnixStream::connect_in(&net, "no/such/socket")
                .await
                .unwrap_err();
        });
    });
}

/// A datagram that is refused is no reason to wait, and many senders just go on.
#[test]
fn who_sends_what_is_refused_lets_others_run() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let net = Net::new(&pool);
        let socket = block_on(UdpSocket::bind_in(&net, "127.0.0.1:0")).unwrap();
        let address = socket.local_addr().unwrap();
        let too_big = vec![0; 70_000];
        lets_others_run("send_to", async || {
            socket.send_to(&too_big, address).await.unwrap_err();
        });
    });
}

/// Servers log an error of `accept` and go on; what would put an end to the error may be a task of the same thread.
#[test]
#[cfg(target_os = "linux")]
fn who_accepts_with_no_descriptor_left_lets_others_run() {
    use rustix::process::{Resource, getrlimit, setrlimit};

    support::in_child(
        "who_accepts_with_no_descriptor_left_lets_others_run",
        || {
            for driver in support::drivers() {
                let pool = landbridge::CompioPool::builder()
                    .threads(1)
                    .driver(driver)
                    .build()
                    .unwrap();
                let net = Net::new(&pool);
                let listener = block_on(TcpListener::bind_in(&net, "127.0.0.1:0")).unwrap();
                let _far = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                let before = getrlimit(Resource::Nofile);
                let tokio = tokio::runtime::Builder::new_current_thread()
                    .build()
                    .unwrap();
                let few = rustix::process::Rlimit {
                    current: Some(200),
                    ..before
                };
                setrlimit(Resource::Nofile, few).unwrap();
                let mut all = Vec::new();
                while let Ok(file) = std::fs::File::open("/dev/null") {
                    all.push(file);
                }
                tokio.block_on(async {
                    let neighbour = tokio::spawn(async move { drop(all) });
                    for _ in 0..MANY {
                        if listener.accept().await.is_ok() {
                            return;
                        }
                    }
                    panic!("nobody else runs: {neighbour:?}");
                });
                setrlimit(Resource::Nofile, before).unwrap();
            }
        },
    );
}

/// Nor is there an end to errors once the pool is gone.
#[test]
fn who_goes_on_without_a_pool_lets_others_run() {
    for_each_driver(|builder| {
        let pool = builder().threads(2).build().unwrap();
        let net = Net::new(&pool);
        let directory = tempfile::tempdir().unwrap();
        let one = block_on(TcpListener::bind_in(&net, "127.0.0.1:0")).unwrap();
        let mut options = ListenOptions::new();
        options.reuse_port(cfg!(target_os = "linux"));
        let many = block_on(options.bind_in(&net, "127.0.0.1:0")).unwrap();
        let unix = UnixListener::bind_in(&net, directory.path().join("socket")).unwrap();
        let (near, _far) = UnixStream::pair_in(&net).unwrap();
        block_on(pool.shutdown());
        lets_others_run("accept", async || drop(one.accept().await.unwrap_err()));
        lets_others_run("accept from several", async || {
            drop(many.accept().await.unwrap_err())
        });
        lets_others_run("accept from a path", async || {
            drop(unix.accept().await.unwrap_err())
        });
        lets_others_run("readable", async || {
            near.readable()
                .await
                .unwrap_err()
                .kind()
                .to_string()
                .clear()
        });
        lets_others_run("connect", async || {
            TcpStream::connect_in(&net, "127.0.0.1:1")
                .await
                .unwrap_err();
        });
    });
}
