//! A hand-off in a process that has no descriptors left: a binary of its own, since the limit is the process's.
#![cfg(target_os = "linux")]

mod io_support;

use std::io::Write;

use compio::io::AsyncReadExt as _;
use io_support::{on_each_driver, settle};
use landbridge::handoff;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::AsyncReadExt as _;

/// A server at its limit keeps the connections that it has.
#[test]
fn without_a_descriptor_to_spare_the_object_comes_back_as_it_was() {
    on_each_driver(async || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let stream = handoff::tcp_to_tokio(listener.accept().unwrap().0).unwrap();

        let limit = getrlimit(Resource::Nofile);
        let none = Rlimit {
            current: Some(4),
            ..limit
        };
        setrlimit(Resource::Nofile, none).unwrap();
        let to_compio = handoff::tcp_to_compio(stream);
        setrlimit(Resource::Nofile, limit).unwrap();
        let (error, mut stream) = to_compio.unwrap_err().into_parts();
        assert_eq!(
            error.raw_os_error(),
            Some(rustix::io::Errno::MFILE.raw_os_error())
        );
        peer.write_all(b"one").unwrap();
        let mut bytes = [0; 3];
        stream.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"one");

        let stream = handoff::tcp_to_compio(stream).unwrap();
        setrlimit(Resource::Nofile, none).unwrap();
        let to_tokio = handoff::tcp_to_tokio(stream);
        setrlimit(Resource::Nofile, limit).unwrap();
        let mut stream = to_tokio.unwrap_err().into_object();
        peer.write_all(b"two").unwrap();
        let (_, bytes) = stream.read_exact(Vec::with_capacity(3)).await.unwrap();
        assert_eq!(bytes, b"two");
        settle().await;
        handoff::tcp_to_std(stream).unwrap();
    });
}
