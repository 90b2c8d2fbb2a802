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
