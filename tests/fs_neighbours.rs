//! Calls that never wait, because what they want is in memory, still let others run.

#![cfg(all(feature = "fs", target_os = "linux"))]

mod support;

use std::{
    cell::Cell,
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use futures::StreamExt;
use landbridge::fs::{File, Fs};
use support::{block_on, for_each_driver};

/// Ends of `call` in a row before one poll of the loop around it is `Pending`.
fn in_a_row<F: Future>(mut call: impl FnMut() -> F) -> usize {
    let ended = Cell::new(0);
    let mut endless = pin!(async {
        loop {
            call().await;
            ended.set(ended.get() + 1);
            assert!(ended.get() < 10_000, "nobody else would ever run");
        }
    });
    let first: Poll<()> = endless
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    assert!(first.is_pending());
    ended.get()
}

fn with_a_cached_file(test: impl Fn(&Fs, &File, &std::path::Path)) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, vec![7; 64 << 10]).unwrap();
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = Fs::new(&pool);
        let file = block_on(fs.open(&path)).unwrap();
        let cached = block_on(file.read_bytes_at(64 << 10, 0)).unwrap();
        assert_eq!(cached.len(), 64 << 10);
        test(&fs, &file, &path);
    });
}

/// A timeout around a loop that reads what is in memory must still come.
#[test]
fn reads_at_positions_take_turns_with_others() {
    with_a_cached_file(|_, file, _| {
        let calls = in_a_row(|| async { file.read_at(Vec::with_capacity(4096), 0).await.unwrap() });
        assert!((1..=128).contains(&calls), "{calls}");
        in_a_row(|| async { file.read_bytes_at(100, 5).await.unwrap() });
        in_a_row(|| async { file.read_ranges(&[0..10, 20_000..20_010]).await.unwrap() });
    });
}

/// The more is copied, the sooner it is the others' turn.
#[test]
fn large_reads_take_fewer_turns_than_small_ones() {
    with_a_cached_file(|_, file, _| {
        in_a_row(|| async { file.read_bytes_at(1, 0).await.unwrap() });
        let calls = in_a_row(|| async { file.read_bytes_at(64 << 10, 0).await.unwrap() });
        assert!((1..=8).contains(&calls), "{calls}");
    });
}

/// A new file, or a new stream, for each read is no way around it.
#[test]
fn what_opens_each_time_takes_turns_with_others() {
    with_a_cached_file(|fs, file, path| {
        in_a_row(|| async { fs.open(path).await.unwrap() });
        in_a_row(|| async { fs.read(path).await.unwrap() });
        in_a_row(|| async { fs.read_ranges(path, &[0..1, 5..6]).await.unwrap() });
        in_a_row(|| async {
            let mut stream = file.read_stream(.., 4096);
            stream.next().await.unwrap().unwrap()
        });
    });
}
