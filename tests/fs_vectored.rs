//! Reads and writes of several buffers at once, on every driver.

#![cfg(all(feature = "fs", unix))]

mod support;

use landbridge::fs::{Fs, OpenOptions};
use support::{block_on, for_each_driver};

/// Compio's own operation reads into what is initialised only, and its buffers show a read by the sum of
/// their lengths: into empty vectors it reads nothing, and behind a full one it hides.
#[test]
fn a_vectored_read_fills_room_that_is_not_initialised_and_shows_it() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = Fs::new(&pool);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "abcdefghij").unwrap();
        block_on(async {
            let file = fs.open(&path).await.unwrap();
            let empty = vec![Vec::with_capacity(4), Vec::with_capacity(4)];
            let (n, read) = file.read_vectored_at(empty, 1).await.unwrap();
            assert_eq!(
                (n, &read[..]),
                (8, &[b"bcde".to_vec(), b"fghi".to_vec()][..])
            );

            let before_full = [Vec::with_capacity(4), vec![b'-'; 4]];
            let (n, read) = file.read_vectored_at(before_full, 7).await.unwrap();
            assert_eq!((n, &read[0][..]), (3, &b"hij"[..]));

            let full = [vec![b'-'; 4], vec![b'-'; 4]];
            let (n, read) = file.read_vectored_at(full, 7).await.unwrap();
            assert_eq!(
                (n, &read[0][..], &read[1][..]),
                (3, &b"hij-"[..], &b"----"[..])
            );

            let (n, read) = file
                .read_vectored_at(Vec::<Vec<u8>>::new(), 0)
                .await
                .unwrap();
            assert_eq!((n, read.len()), (0, 0));
        });
    });
}

/// The kernel takes 1 024 at most; the rest is a short read or write, and no error.
#[test]
fn more_buffers_than_the_kernel_takes_are_a_short_operation() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = Fs::new(&pool);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        block_on(async {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create_new(true);
            let file = options.open_in(&fs, &path).await.unwrap();
            let (n, _) = file
                .write_vectored_at(vec![vec![b'x'; 2]; 3_000], 0)
                .await
                .unwrap();
            assert!(n > 0 && n <= 6_000, "{n}");
            file.set_len(6_000).await.unwrap();
            let room = (0..3_000)
                .map(|_| Vec::with_capacity(2))
                .collect::<Vec<_>>();
            let (n, _) = file.read_vectored_at(room, 0).await.unwrap();
            assert!(n > 0 && n <= 6_000, "{n}");
        });
    });
}
