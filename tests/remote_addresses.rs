//! What the sockets of `landbridge::remote` are called, and when a name is free again.
#![cfg(all(target_os = "linux", feature = "net"))]

mod support;

use std::{io::ErrorKind, os::unix, pin::pin, task::Waker};

use landbridge::remote::{ListenOptions, Net, TcpListener, UdpSocket, UnixListener, UnixStream};
use support::{assert_lives, block_on, for_each_driver, hold};

/// Cut off at the zero byte, the name of one socket would be that of another.
#[test]
fn a_path_with_a_zero_byte_is_refused() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let net = Net::new(&pool);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = unix::net::UnixListener::bind(&path).unwrap();
        let other = format!("{}\0.other", path.display());
        let error = block_on(UnixStream::connect_in(&net, &other)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        let error = UnixListener::bind_in(&net, &other).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}

/// Names that are in no file system are common between processes of one machine; Tokio takes them, too.
#[test]
fn names_in_the_abstract_namespace_work() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let net = Net::new(&pool);
        let name = format!("\0landbridge-{}-\0-{:?}", std::process::id(), net);
        let name: String = name.chars().take(80).collect();
        let listener = UnixListener::bind_in(&net, &name).unwrap();
        block_on(async {
            let there = UnixStream::connect_in(&net, &name).await.unwrap();
            let (here, _) = listener.accept().await.unwrap();
            let tokio = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .build()
                .unwrap();
            tokio.block_on(async { tokio::net::UnixStream::connect(&name).await.unwrap() });
            here.try_write(b"x").unwrap();
            there.readable().await.unwrap();
            assert_eq!(there.try_read(&mut [0; 8]).unwrap(), 1);
        });
    });
}

/// A server that starts anew in the same process binds what it has just dropped; that a worker has not come to
/// letting go of it, or is kept by a job that blocks, is no concern of its.
#[test]
fn an_address_is_free_as_soon_as_its_socket_is_dropped() {
    // In a process of its own: one that is about to be started by another test has all descriptors for a moment.
    support::in_child(
        "an_address_is_free_as_soon_as_its_socket_is_dropped",
        || {
            for_each_driver(|builder| {
                let pool = builder().build().unwrap();
                let net = Net::new(&pool);
                for reuse_port in [false, true] {
                    let mut options = ListenOptions::new();
                    options.reuse_port(reuse_port);
                    let listener = block_on(options.bind_in(&net, "127.0.0.1:0")).unwrap();
                    let address = listener.local_addr().unwrap();
                    waits(pin!(listener.accept()));
                    assert_lives(&pool);
                    let _held = hold(&pool);
                    drop(listener);
                    std::net::TcpStream::connect(address).unwrap_err();
                    block_on(TcpListener::bind_in(&net, address)).unwrap();
                }

                let directory = tempfile::tempdir().unwrap();
                let path = directory.path().join("socket");
                let listener = UnixListener::bind_in(&net, &path).unwrap();
                waits(pin!(listener.accept()));
                assert_lives(&pool);
                let held = hold(&pool);
                drop(listener);
                unix::net::UnixStream::connect(&path).unwrap_err();
                drop(held);

                let socket = block_on(UdpSocket::bind_in(&net, "127.0.0.1:0")).unwrap();
                let address = socket.local_addr().unwrap();
                waits(pin!(socket.recv_from(&mut [0])));
                assert_lives(&pool);
                let _held = hold(&pool);
                drop(socket);
                block_on(UdpSocket::bind_in(&net, address)).unwrap();
            });
        },
    );
}

fn waits(mut future: std::pin::Pin<&mut impl Future>) {
    assert!(support::poll_once(&mut future, Waker::noop()).is_pending());
}

/// What stands for a dropped socket with its worker must go, too.
#[test]
fn nothing_is_left_of_sockets_that_are_dropped() {
    support::in_child("nothing_is_left_of_sockets_that_are_dropped", || {
        let start = support::descriptor_count();
        for_each_driver(|builder| {
            support::eventually("no pool is left", || support::descriptor_count() <= start);
            let pool = builder().build().unwrap();
            let net = Net::new(&pool);
            assert_lives(&pool);
            let before = support::descriptor_count();
            for _ in 0..20 {
                let socket = block_on(UdpSocket::bind_in(&net, "127.0.0.1:0")).unwrap();
                let listener = block_on(TcpListener::bind_in(&net, "127.0.0.1:0")).unwrap();
                for _ in 0..3 {
                    waits(pin!(socket.recv_from(&mut [0])));
                    waits(pin!(listener.accept()));
                }
                assert_lives(&pool);
            }
            support::eventually("everything is closed", || {
                support::descriptor_count() == before
            });
        });
    });
}
