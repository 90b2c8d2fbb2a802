//! Calls that take a position, on every driver.

#![cfg(all(feature = "fs", unix))]

mod support;

use landbridge::fs::{Fs, OpenOptions};
use support::{block_on, for_each_driver};

#[test]
fn what_is_written_is_read_back() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = Fs::new(&pool);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        block_on(async {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create_new(true);
            let file = options.open_in(&fs, &path).await.unwrap();
            let page = file.write_all_at(vec![7; 4096], 10).await.unwrap();
            let page = file.read_exact_at(page, 10).await.unwrap();
            assert_eq!(page, [7; 4096]);
            let (n, hole) = file.read_at(Vec::with_capacity(10), 0).await.unwrap();
            assert_eq!((n, hole), (10, vec![0; 10]));
            let end = file.read_bytes_at(100, 4096).await.unwrap();
            assert_eq!(end, [7; 10][..]);
            file.sync_all().await.unwrap();
            file.set_len(3).await.unwrap();
            assert_eq!(file.metadata().await.unwrap().len(), 3);
            file.close().await.unwrap();
        });
    });
}

/// A length that a request names is not one that a file has, nor memory.
#[test]
fn a_read_of_more_bytes_than_there_are_takes_no_more_memory_than_they_need() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for len in [0, 1000, 1 << 20, (3 << 20) + 5] {
            let path = directory.path().join("file");
            let all: Vec<_> = (0..len).map(|n| (n / 7) as u8).collect();
            std::fs::write(&path, &all).unwrap();
            for limit in [0, 256 << 10] {
                let fs = Fs::new(&pool).nowait_limit(limit);
                let file = block_on(fs.open(&path)).unwrap();
                for wanted in [1 << 20, 1 << 40, usize::MAX] {
                    let read = block_on(file.read_bytes_at(wanted, 0)).unwrap();
                    assert!(read == all[..len.min(wanted)], "{wanted} of {len}");
                }
                let rest = block_on(file.read_bytes_at(usize::MAX, 10)).unwrap();
                assert!(rest == all[len.min(10)..]);
            }
        }
    });
}
