//! A file system that may wait for others is never asked on the caller's thread.

#![cfg(all(feature = "fs", target_os = "linux"))]

mod support;

use std::{
    future::Future,
    pin::pin,
    task::{Context, Waker},
};

use landbridge::fs::Fs;
use support::{block_on, for_each_driver};

/// Whether the first poll is ready while the pool's worker is held, and so was done without it.
fn is_done_here(pool: &landbridge::CompioPool, call: impl Future) -> bool {
    let held = support::hold(pool);
    let mut call = pin!(call);
    let first = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    drop(held);
    let ready = first.is_ready();
    if !ready {
        block_on(call);
    }
    ready
}

/// `/proc` stands for those in user space and on a network, which a test cannot have: like them, it is not
/// among those that are known to answer from memory.
#[test]
fn what_is_not_known_to_be_local_is_opened_by_the_pool() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = Fs::new(&pool);
        for _ in 0..2 {
            let path = "/proc/self/status";
            assert!(!is_done_here(&pool, async { fs.open(path).await.unwrap() }));
            if !support::uses_io_uring(&pool) {
                // A blocking thread, which nobody holds, may be quick.
                continue;
            }
            assert!(!is_done_here(&pool, async { fs.read(path).await.unwrap() }));
            assert!(!is_done_here(&pool, async {
                fs.read_ranges(path, &[0..4, 8..9]).await.unwrap()
            }));
        }
    });
}

/// And what is known to be is not sent across for nothing.
#[test]
fn a_file_in_memory_is_opened_here() {
    let Ok(directory) = tempfile::tempdir_in("/dev/shm") else {
        return eprintln!("not run: no /dev/shm");
    };
    let path = directory.path().join("file");
    std::fs::write(&path, "here").unwrap();
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = Fs::new(&pool);
        for _ in 0..2 {
            assert!(is_done_here(&pool, async { fs.open(&path).await.unwrap() }));
        }
    });
}
