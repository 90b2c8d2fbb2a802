//! Many reads of one file in one call, beside what std reads one by one.

#![cfg(all(feature = "fs", unix))]
#![allow(
    clippy::single_range_in_vec_init,
    reason = "one range is a list of ranges, too"
)]

mod support;

use std::{io, ops::Range, path::Path};

use bytes::Bytes;
use landbridge::{
    CompioPool, JoinError,
    fs::{File, Fs, read_ranges},
};
use proptest::prelude::*;
use support::{block_on, for_each_driver, watchdog};

/// Bytes in the file: no multiple of a page, and enough for a call to be a large one.
const LEN: usize = 3_000_001;

fn contents() -> Vec<u8> {
    (0..LEN).map(|n| (n ^ (n >> 8) ^ (n >> 16)) as u8).collect()
}

fn file_in(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("file");
    std::fs::write(&path, contents()).unwrap();
    path
}

/// What the answers have to be.
fn expected(contents: &[u8], ranges: &[Range<u64>]) -> Vec<Bytes> {
    let there = |at: u64| {
        usize::try_from(at)
            .unwrap_or(usize::MAX)
            .min(contents.len())
    };
    let answer = |range: &Range<u64>| &contents[there(range.start)..there(range.end)];
    ranges
        .iter()
        .map(|range| Bytes::copy_from_slice(answer(range)))
        .collect()
}

/// With every driver, and each way of reading: on the caller's thread as far as may be, never there, and
/// there with so little allowed that most is for the worker.
fn for_each_way(test: impl Fn(&CompioPool, Fs)) {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        for limit in [256 << 10, 0, 1, usize::MAX] {
            test(&pool, Fs::new(&pool).nowait_limit(limit));
        }
    });
}

/// The promise of the call, in one case after the other.
#[test]
fn answers_are_what_is_in_the_file_in_the_callers_order() {
    let dir = tempfile::tempdir().unwrap();
    let (path, contents) = (file_in(dir.path()), contents());
    let len = LEN as u64;
    let cases: &[&[Range<u64>]] = &[
        &[],
        &[0..0],
        &[0..1],
        &[5..9, 0..3],
        &[0..10, 5..15, 5..15, 2..3, 9..9],
        &[10..20, 4000..4010, 100_000..300_000],
        &[0..len],
        &[0..len, len - 1..len, 0..1],
        &[len - 10..len + 10, len..len + 1, len + 7..len + 9],
        &[0..u64::MAX, u64::MAX - 1..u64::MAX, 1 << 62..1 << 63],
        &[i64::MAX as u64 - 1..i64::MAX as u64 + 1],
    ];
    for_each_way(|_, fs| {
        block_on(async {
            let file = fs.open(&path).await.unwrap();
            for ranges in cases {
                let answers = file.read_ranges(ranges).await.unwrap();
                assert!(answers == expected(&contents, ranges), "{ranges:?}");
                let answers = fs.read_ranges(&path, ranges).await.unwrap();
                assert!(
                    answers == expected(&contents, ranges),
                    "{ranges:?}, by path"
                );
            }
        });
    });
}

/// Far more parts than are in flight at once, in an order that is not the file's.
#[test]
fn thousands_of_ranges_come_back_in_one_call() {
    let dir = tempfile::tempdir().unwrap();
    let (path, contents) = (file_in(dir.path()), contents());
    let mut ranges: Vec<_> = (0..LEN as u64).step_by(200).map(|n| n..n + 90).collect();
    ranges.extend((0..100).map(|n| n * 7000..n * 7000 + 10));
    ranges.reverse();
    for_each_way(|_, fs| {
        block_on(async {
            let file = fs.open(&path).await.unwrap();
            let answers = file.read_ranges(&ranges).await.unwrap();
            assert!(answers == expected(&contents, &ranges));
        });
    });
}

/// The memory of large calls is used again, but not while an answer is in it.
#[test]
fn answers_that_are_kept_stay_what_they_were() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (path, contents) = (file_in(dir.path()), contents());
    let ranges = |offset: u64| -> Vec<_> {
        let starts = (0..200).map(|n| n * 14_000 + offset);
        starts.map(|start| start..start + 8000).collect()
    };
    for_each_way(|_, fs| {
        block_on(async {
            let file = fs.open(&path).await.unwrap();
            let mut kept = Vec::new();
            for call in 0..10 {
                let ranges = ranges(call * 777);
                let answers = file.read_ranges(&ranges).await.unwrap();
                assert!(answers == expected(&contents, &ranges), "call {call}");
                kept.extend(ranges.into_iter().zip(answers).step_by(60));
            }
            for (range, answer) in kept {
                assert_eq!(expected(&contents, &[range])[0], answer);
            }
        });
    });
}

/// What is not in the page cache takes another way: through the ring, or a thread.
#[test]
fn ranges_that_are_not_in_the_page_cache_are_read_too() {
    // Not the system's directory for such files, which may be in memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (path, contents) = (file_in(dir.path()), contents());
    let ranges: Vec<_> = (0..170).map(|n| n * 17_000..n * 17_000 + 9000).collect();
    for_each_way(|_, fs| {
        let std = std::fs::File::open(&path).unwrap();
        std.sync_all().unwrap();
        #[cfg(target_os = "linux")]
        rustix::fs::fadvise(&std, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        block_on(async {
            let file = fs.open(&path).await.unwrap();
            let answers = file.read_ranges(&ranges).await.unwrap();
            assert!(answers == expected(&contents, &ranges));
        });
    });
}

/// Nothing else can be meant by it, and nothing is read then.
#[test]
#[expect(clippy::reversed_empty_ranges, reason = "that is the point")]
fn an_inverted_range_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = file_in(dir.path());
    for_each_way(|_, fs| {
        block_on(async {
            let file = fs.open(&path).await.unwrap();
            let error = file.read_ranges(&[0..1, 9..8]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains("9..8"), "{error}");
        });
    });
}

/// The errors are the file system's.
#[test]
fn what_cannot_be_read_is_the_error_of_std() {
    let dir = tempfile::tempdir().unwrap();
    let path = file_in(dir.path());
    for_each_way(|_, fs| {
        block_on(async {
            let gone = fs.read_ranges(dir.path().join("gone"), &[0..1]).await;
            assert_eq!(gone.unwrap_err().raw_os_error(), Some(libc::ENOENT));
            let not_a_file = fs.read_ranges(dir.path(), &[0..1]).await;
            assert_eq!(not_a_file.unwrap_err().raw_os_error(), Some(libc::EISDIR));
            let mut options = File::options();
            let not_for_reading = options.write(true).open_in(&fs, &path).await.unwrap();
            for ranges in [&[0..1][..], &[0..1, 600_000..700_000]] {
                let error = not_for_reading.read_ranges(ranges).await.unwrap_err();
                assert_eq!(error.raw_os_error(), Some(libc::EBADF));
            }
        });
    });
}

/// A pool that is gone is an error, not a hang; without a default pool there is one, too.
#[test]
fn without_a_pool_it_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = file_in(dir.path());
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = Fs::new(&pool).nowait_limit(0);
        block_on(async {
            let file = fs.open(&path).await.unwrap();
            pool.shutdown().await;
            for error in [
                file.read_ranges(&[0..1]).await.unwrap_err(),
                fs.read_ranges(&path, &[0..1]).await.unwrap_err(),
            ] {
                let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
                assert!(matches!(cause, Some(JoinError::RuntimeGone)), "{error:?}");
            }
            assert!(read_ranges(&path, &[0..1]).await.is_err());
        });
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

/// A caller that gives up leaves nothing behind, wherever the call was.
#[test]
#[cfg(target_os = "linux")]
fn calls_dropped_at_every_poll_leave_no_descriptor_open() {
    support::in_child(
        "calls_dropped_at_every_poll_leave_no_descriptor_open",
        || {
            for_each_driver(|builder| {
                let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
                let path = file_in(dir.path());
                let ranges: Vec<_> = (0..100).map(|n| n * 7000..n * 7000 + 100).collect();
                let pool = builder().build().unwrap();
                support::assert_lives(&pool);
                for limit in [0, 1] {
                    let fs = Fs::new(&pool).nowait_limit(limit);
                    for polls in 0..4 {
                        for _ in 0..20 {
                            support::poll_times(fs.read_ranges(&path, &ranges), polls);
                        }
                    }
                }
                support::eventually("all files are closed", || open_below(dir.path()) == 0);
                block_on(pool.shutdown());
            });
        },
    );
}

/// A batch that is in the page cache is copied on the worker, which has other things to do.
#[test]
fn neighbours_on_the_worker_run_in_between() {
    let _watchdog = watchdog();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, vec![7; 8 << 20]).unwrap();
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = Fs::new(&pool);
        block_on(async {
            let file = fs.open(&path).await.unwrap();
            let release = support::hold(&pool);
            // Both wait in the worker's queue; the reads come first, and are not done when the neighbour
            // is.
            let ranges = [0..8 << 20];
            let mut reading = Box::pin(file.read_ranges(&ranges));
            assert!(
                futures::future::poll_immediate(&mut reading)
                    .await
                    .is_none()
            );
            let inside = pool.clone();
            let neighbour = pool.spawn(async move || {
                // The job that held the worker, and no other.
                let mut turns = 0;
                while inside.metrics().total(|worker| worker.completed) == 1 {
                    turns += 1;
                    support::yield_now().await;
                }
                turns
            });
            drop(release);
            // One for each 256 KiB.
            let turns = neighbour.await.unwrap();
            assert!(turns >= 16, "{turns} turns");
            assert_eq!(reading.await.unwrap()[0].len(), 8 << 20);
        });
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is merged with what, nobody sees it.
    #[test]
    fn any_ranges_are_answered_as_if_read_one_by_one(
        ranges in proptest::collection::vec((0..LEN as u64 + 9000, 0_u64..70_000), 0..80),
        limit in prop_oneof![Just(0_usize), Just(1), Just(256 << 10), Just(usize::MAX)],
        polling: bool,
    ) {
        let ranges: Vec<_> = ranges.into_iter().map(|(at, len)| at..at + len).collect();
        let _watchdog = watchdog();
        let driver = match polling || !support::has_io_uring() {
            true => landbridge::Driver::Polling,
            false => landbridge::Driver::IoUring,
        };
        let pool = CompioPool::builder().threads(1).driver(driver).build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = file_in(dir.path());
        let answers = block_on(Fs::new(&pool).nowait_limit(limit).read_ranges(&path, &ranges)).unwrap();
        prop_assert!(answers == expected(&contents(), &ranges));
    }
}
