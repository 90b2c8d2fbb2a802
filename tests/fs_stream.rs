//! A file as a stream of bytes, and a stream of bytes into a file.

#![cfg(all(feature = "fs", unix))]

mod support;

use std::{
    io,
    ops::{Bound, RangeBounds},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream, stream::FusedStream};
use landbridge::{
    CompioPool, JoinError,
    fs::{File, Fs},
};
use support::{block_on, for_each_driver};

/// Bytes in the file: no multiple of a page or a chunk.
const LEN: usize = 700_001;

fn contents() -> Vec<u8> {
    (0..LEN).map(|n| (n ^ (n >> 8) ^ (n >> 16)) as u8).collect()
}

fn file_in(dir: &Path) -> PathBuf {
    let path = dir.join("file");
    std::fs::write(&path, contents()).unwrap();
    path
}

/// Not the system's directory for such files, which may be in memory.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

#[cfg(target_os = "linux")]
fn forget_pages(path: &Path) {
    let file = std::fs::File::open(path).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
}

#[cfg(not(target_os = "linux"))]
fn forget_pages(_path: &Path) {}

/// With every driver, and each way of reading: on the caller's thread as far as may be, never there, and
/// there if it is little.
fn for_each_way(test: impl Fn(&CompioPool, Fs)) {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        for limit in [256 << 10, 0, 5000, usize::MAX] {
            test(&pool, Fs::new(&pool).nowait_limit(limit));
        }
    });
}

/// The promise of the call, for every kind of range and chunks that divide it or do not.
#[test]
fn a_stream_is_what_is_in_the_range() {
    let dir = directory();
    let (path, contents) = (file_in(dir.path()), contents());
    let len = LEN as u64;
    let ranges: &[(Bound<u64>, Bound<u64>)] = &[
        (Bound::Unbounded, Bound::Unbounded),
        (Bound::Included(0), Bound::Excluded(0)),
        (Bound::Included(7), Bound::Excluded(90_000)),
        (Bound::Excluded(7), Bound::Included(90_000)),
        (Bound::Included(len - 1), Bound::Unbounded),
        (Bound::Included(len), Bound::Unbounded),
        (Bound::Included(len - 5), Bound::Excluded(len + 5)),
        (Bound::Included(len + 5), Bound::Included(u64::MAX)),
        (Bound::Included(u64::MAX), Bound::Unbounded),
        (Bound::Included(9), Bound::Excluded(3)),
    ];
    for_each_way(|_, fs| {
        block_on(async {
            let file = fs.open(&path).await.unwrap();
            for range in ranges {
                let there = contents.iter().copied().zip(0..);
                let expected: Vec<u8> = there
                    .filter(|(_, at)| range.contains(at))
                    .map(|(byte, _)| byte)
                    .collect();
                for chunk in [4096, 65_536, 300_007, usize::MAX] {
                    let stream = file.read_stream(*range, chunk);
                    let chunks: Vec<Bytes> = stream.try_collect().await.unwrap();
                    assert!(chunks.concat() == expected, "{range:?} by {chunk}");
                    assert!(chunks.iter().all(|c| !c.is_empty() && c.len() <= chunk));
                }
            }
        });
    });
}

/// What is not in the page cache takes another way, with a chunk read ahead.
#[test]
fn a_stream_of_what_is_not_in_the_page_cache_has_every_byte_once() {
    let dir = directory();
    let (path, contents) = (file_in(dir.path()), contents());
    for_each_way(|_, fs| {
        forget_pages(&path);
        block_on(async {
            let file = fs.open(&path).await.unwrap();
            let mut stream = file.read_stream(3.., 10_000);
            let mut all = Vec::new();
            while let Some(chunk) = stream.next().await {
                all.extend_from_slice(&chunk.unwrap());
            }
            assert!(all == contents[3..]);
            assert!(stream.is_terminated());
            assert!(stream.next().await.is_none());
        });
    });
}

/// What was read ahead of a short chunk is of no use: it is not what comes next.
#[test]
fn a_stream_goes_on_where_a_short_chunk_ended() {
    use std::io::Write;

    let dir = directory();
    let path = dir.path().join("file");
    for_each_way(|_, fs| {
        std::fs::write(&path, vec![1; 1500]).unwrap();
        block_on(async {
            let file = fs.open(&path).await.unwrap();
            let mut stream = file.read_stream(.., 1000);
            assert_eq!(stream.next().await.unwrap().unwrap(), [1; 1000][..]);
            assert_eq!(stream.next().await.unwrap().unwrap(), [1; 500][..]);
            let mut growing = std::fs::File::options().append(true).open(&path).unwrap();
            growing.write_all(&[2; 1500]).unwrap();
            let rest: Vec<Bytes> = stream.try_collect().await.unwrap();
            assert_eq!(rest.concat(), [2; 1500]);
        });
    });
}

/// Chunks that are kept must not be written over by later ones, whose memory may be theirs.
#[test]
fn chunks_that_are_kept_stay_what_they_were() {
    let dir = directory();
    let (path, contents) = (file_in(dir.path()), contents());
    for_each_way(|_, fs| {
        block_on(async {
            let file = fs.open(&path).await.unwrap();
            let mut stream = file.read_stream(.., 4096);
            let (mut kept, mut at) = (Vec::new(), 0);
            while let Some(chunk) = stream.try_next().await.unwrap() {
                let len = chunk.len();
                // Two of three are dropped, so that their memory is used again.
                if at % 3 == 0 {
                    kept.push((at, chunk));
                }
                at += len;
            }
            assert_eq!(at, LEN);
            for (at, chunk) in kept {
                assert!(chunk == contents[at..at + chunk.len()]);
            }
        });
    });
}

/// A reader of a stream that never waits for anything has neighbours.
#[test]
#[cfg(target_os = "linux")]
fn a_stream_from_the_page_cache_lets_neighbours_run() {
    let dir = directory();
    let path = dir.path().join("long");
    std::fs::write(&path, vec![7; 2 << 20]).unwrap();
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let file = block_on(Fs::new(&pool).open(&path)).unwrap();
        let waker = support::CountingWaker::new();
        let mut polls_in_a_row = 0;
        let mut stream = file.read_stream(.., 4096);
        let mut wakes = 0;
        loop {
            let waker = std::sync::Arc::clone(&waker).into();
            match support::poll_once(&mut stream.next(), &waker) {
                std::task::Poll::Ready(Some(chunk)) => {
                    assert!(!chunk.unwrap().is_empty());
                    polls_in_a_row += 1;
                    assert!(polls_in_a_row <= 128, "more than half a megabyte at once");
                }
                std::task::Poll::Ready(None) => break,
                std::task::Poll::Pending => {
                    polls_in_a_row = 0;
                    wakes += 1;
                }
            }
            drop(waker);
        }
        assert!(wakes >= 3);
    });
}

/// An error is said once, and then it is over.
#[test]
fn an_error_ends_the_stream() {
    let dir = directory();
    let path = file_in(dir.path());
    for_each_way(|_, fs| {
        block_on(async {
            let mut options = File::options();
            let file = options.write(true).open_in(&fs, &path).await.unwrap();
            let mut stream = file.read_stream(.., 1000);
            let error = stream.next().await.unwrap().unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EBADF));
            assert!(stream.next().await.is_none());
        });
    });
}

/// A pool that is gone is an error, not a hang.
#[test]
fn without_its_pool_a_stream_ends_with_an_error() {
    let dir = directory();
    let path = file_in(dir.path());
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = Fs::new(&pool).nowait_limit(0);
        block_on(async {
            let mut options = File::options();
            let options = options.read(true).write(true);
            let file = options.open_in(&fs, &path).await.unwrap();
            let mut stream = file.read_stream(.., 1000);
            stream.next().await.unwrap().unwrap();
            pool.shutdown().await;
            // One may have been read ahead.
            let chunks: Vec<_> = stream.collect().await;
            let write = file.write_stream(0, stream::iter([Bytes::from_static(b"x")]));
            let errors = [
                chunks.into_iter().last().unwrap().unwrap_err(),
                write.await.unwrap_err(),
            ];
            for error in errors {
                let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
                assert!(matches!(cause, Some(JoinError::RuntimeGone)), "{error:?}");
            }
        });
    });
}

/// What is written is what was yielded, wherever it begins, and however small the pieces are.
#[test]
fn what_is_written_is_what_the_stream_yields() {
    let dir = directory();
    let (path, contents) = (dir.path().join("file"), contents());
    for_each_way(|_, fs| {
        block_on(async {
            let file = fs.create(&path).await.unwrap();
            let chunks = contents.chunks(10_007).map(Bytes::copy_from_slice);
            let written = file.write_stream(5, stream::iter(chunks)).await.unwrap();
            assert_eq!(written, LEN as u64);
            let found = std::fs::read(&path).unwrap();
            assert!(found[..5] == [0; 5] && found[5..] == contents);
            let results =
                stream::iter([Ok("ab"), Ok(""), Ok("c")]).map_err(|()| io::Error::other("no"));
            assert_eq!(file.write_stream(0, results).await.unwrap(), 3);
            assert_eq!(
                file.write_stream(9, stream::empty::<Bytes>())
                    .await
                    .unwrap(),
                0
            );
            assert_eq!(std::fs::read(&path).unwrap()[..5], *b"abc\0\0");
        });
    });
}

/// Two writes in flight must not change places where the file's end is the place.
#[test]
fn a_file_opened_to_append_gets_the_pieces_in_their_order() {
    let dir = directory();
    let contents = contents();
    for_each_way(|_, fs| {
        let path = dir.path().join("appended");
        std::fs::write(&path, b"before").unwrap();
        block_on(async {
            let mut options = File::options();
            let file = options.append(true).open_in(&fs, &path).await.unwrap();
            let chunks = contents.chunks(1009).map(Bytes::copy_from_slice);
            file.write_stream(0, stream::iter(chunks)).await.unwrap();
        });
        let found = std::fs::read(&path).unwrap();
        assert!(found[..6] == *b"before" && found[6..] == contents);
    });
}

/// The stream's error is the caller's, whatever was written before.
#[test]
fn an_error_of_the_stream_is_the_error_of_the_write() {
    let dir = directory();
    for_each_way(|_, fs| {
        block_on(async {
            let file = fs.create(dir.path().join("file")).await.unwrap();
            let items = [
                Ok(Bytes::from_static(b"a")),
                Err(io::Error::other("broken")),
            ];
            let error = file.write_stream(0, stream::iter(items)).await;
            assert_eq!(error.unwrap_err().to_string(), "broken");
        });
    });
}

/// A stream that is slow is waited for while writes are in flight, and the other way round.
#[test]
fn a_stream_that_waits_is_written_too() {
    let dir = directory();
    let path = dir.path().join("file");
    for_each_way(|_, fs| {
        block_on(async {
            let file = fs.create(&path).await.unwrap();
            let slow = stream::iter(0..50_u8).then(async |n| {
                for _ in 0..n % 5 {
                    support::yield_now().await;
                }
                vec![n; 100]
            });
            assert_eq!(file.write_stream(0, slow).await.unwrap(), 5000);
        });
        let expected: Vec<u8> = (0..50).flat_map(|n| [n; 100]).collect();
        assert!(std::fs::read(&path).unwrap() == expected);
    });
}

/// Descriptors of this process that are open on something in `dir`.
#[cfg(target_os = "linux")]
fn open_below(dir: &Path) -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    // Some are closed meanwhile.
    let targets = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    targets.filter(|target| target.starts_with(dir)).count()
}

/// Whoever gives up leaves nothing behind, wherever the stream was.
#[test]
#[cfg(target_os = "linux")]
fn streams_dropped_at_every_poll_leave_no_descriptor_open() {
    support::in_child(
        "streams_dropped_at_every_poll_leave_no_descriptor_open",
        || {
            for_each_driver(|builder| {
                let dir = directory();
                let path = file_in(dir.path());
                let pool = builder().build().unwrap();
                support::assert_lives(&pool);
                for limit in [0, 5000] {
                    let fs = Fs::new(&pool).nowait_limit(limit);
                    for polls in 0..12 {
                        forget_pages(&path);
                        let reading = async {
                            let file = fs.open(&path).await.unwrap();
                            let stream = file.read_stream(.., 50_000);
                            drop(file);
                            let other = fs.create(dir.path().join("other")).await.unwrap();
                            other.write_stream(0, stream).await.unwrap();
                        };
                        support::poll_times(reading, polls);
                    }
                }
                support::eventually("all files are closed", || open_below(dir.path()) == 0);
                block_on(pool.shutdown());
            });
        },
    );
}
