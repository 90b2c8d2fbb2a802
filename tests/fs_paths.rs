//! What takes a path: where it is done, what is left when its caller or its pool goes, and that the ways
//! to the same bytes agree. What it does is in `fs_paths_twin`.

#![cfg(all(feature = "fs", target_os = "linux"))]

mod support;

use std::{
    fmt::Debug,
    fs::Permissions,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    task::{Poll, Waker},
    thread,
};

use landbridge::{
    CompioPool, JoinError,
    fs::{DirBuilder, DirEntry, Fs, ReadDir},
};
use support::{
    block_on, descriptor_count, eventually, for_each_driver, hold, in_child, poll_once, poll_times,
    uses_io_uring,
};

const SIZES: [usize; 6] = [0, 32, 4096, 256 << 10, (256 << 10) + 1, (2 << 20) + 7];

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

/// Whether the file's pages can be asked for without waiting; a note says so where not.
fn has_nowait(path: &Path) -> bool {
    use rustix::{
        fs::{CWD, Mode, OFlags, ResolveFlags, openat2},
        io::{ReadWriteFlags, preadv2},
    };

    let opened = openat2(
        CWD,
        path,
        OFlags::RDONLY,
        Mode::empty(),
        ResolveFlags::CACHED,
    );
    let has = opened.is_ok_and(|file| {
        let mut byte = [0];
        let mut slices = [io::IoSliceMut::new(&mut byte)];
        preadv2(file, &mut slices, 0, ReadWriteFlags::NOWAIT).is_ok()
    });
    if !has {
        eprintln!("not run: nothing can be read here without waiting");
    }
    has
}

/// Writes the file's pages to the disk and drops those from byte `from`.
fn drop_pages(path: &Path, from: u64) {
    let file = std::fs::File::open(path).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, from, None, rustix::fs::Advice::DontNeed).unwrap();
}

#[track_caller]
fn cause<T>(result: io::Result<T>) -> JoinError {
    let error = result.err().expect("it is refused");
    let cause = error.into_inner().expect("the cause is inside");
    *cause.downcast::<JoinError>().expect("of that type")
}

/// The page cache, the ring and the blocking threads give the same bytes, and any mix of them does.
#[test]
fn all_ways_to_a_file_give_the_same_bytes() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for len in SIZES {
            let contents = pattern(len);
            block_on(Fs::new(&pool).write(&path, &contents)).unwrap();
            assert!(std::fs::read(&path).unwrap() == contents);
            for limit in [0, 4096, usize::MAX] {
                let fs = Fs::new(&pool).nowait_limit(limit);
                for dropped_from in [None, Some(0), Some(len as u64 / 2)] {
                    if let Some(from) = dropped_from {
                        drop_pages(&path, from);
                    }
                    let read = block_on(fs.read(&path)).unwrap();
                    assert!(read == contents, "{len} {limit} {dropped_from:?}");
                }
                let proc = block_on(fs.read_to_string("/proc/self/status")).unwrap();
                assert!(proc.starts_with("Name:") && proc.ends_with('\n'));
            }
        }
    });
}

/// What is in memory costs no crossing: the pool has nobody who could do it.
#[test]
fn a_cached_file_is_read_at_the_first_poll() {
    for_each_driver(|builder| {
        let pool = builder().blocking_threads(0).build().unwrap();
        let fs = Fs::new(&pool);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let _held = hold(&pool);
        for len in [0, 1, 4096, 256 << 10] {
            std::fs::write(&path, pattern(len)).unwrap();
            if !has_nowait(&path) {
                return;
            }
            // Once it may be the neighbours' turn.
            let read = poll_times(fs.read(&path), 2).expect("it is in memory");
            assert!(read.unwrap() == pattern(len));
        }
        let error = poll_times(fs.read(dir.path()), 2).expect("known at once");
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::IsADirectory);
        // More than may be copied on the caller's thread.
        std::fs::write(&path, pattern((256 << 10) + 1)).unwrap();
        let read = poll_times(fs.read(&path), 1);
        assert!(read.is_none_or(|read| matches!(cause(read), JoinError::NoBlockingThreads)));
    });
}

/// A caller that may not wait does not: what is on the disk only is for the pool.
#[test]
fn a_file_that_is_not_cached_is_not_waited_for() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = Fs::new(&pool);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let contents = pattern(200_000);
        std::fs::write(&path, &contents).unwrap();
        if !has_nowait(&path) {
            return;
        }
        for from in [0, 100 << 10] {
            // The kernel need not let go of them.
            let gone_to_the_pool = (0..100).any(|_| {
                drop_pages(&path, from);
                let mut read = Box::pin(fs.read(&path));
                match poll_once(&mut read, Waker::noop()) {
                    Poll::Ready(read) => {
                        assert!(read.unwrap() == contents);
                        false
                    }
                    Poll::Pending => {
                        assert!(block_on(read).unwrap() == contents);
                        true
                    }
                }
            });
            assert!(gone_to_the_pool, "from byte {from}");
        }
    });
}

/// A log that is read while it is written is read up to some byte, in order.
#[test]
fn a_file_that_grows_is_read_up_to_some_end() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let all = pattern(1 << 20);
        for limit in [0, 50_000, usize::MAX] {
            let fs = Fs::new(&pool).nowait_limit(limit);
            let mut file = std::fs::File::create(&path).unwrap();
            let done = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| {
                    for part in all.chunks(777) {
                        file.write_all(part).unwrap();
                    }
                    done.store(true, Ordering::Release);
                });
                let mut last = 0;
                while last < all.len() {
                    let complete = done.load(Ordering::Acquire);
                    let read = block_on(fs.read(&path)).unwrap();
                    assert!(read == all[..read.len()], "in order");
                    assert!(read.len() >= last, "what was there is there");
                    last = read.len();
                    assert!(!complete || last == all.len(), "all of it");
                }
            });
        }
    });
}

/// With a ring most of it needs no thread; what does need one says so, and nothing panics or hangs.
#[test]
fn without_blocking_threads_the_ring_does_what_it_can() {
    for_each_driver(|builder| {
        let pool = builder().blocking_threads(0).build().unwrap();
        let fs = Fs::new(&pool).nowait_limit(0);
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let ring = uses_io_uring(&pool);
        let check = |result: io::Result<()>| match ring {
            true => result.unwrap(),
            false => assert!(matches!(cause(result), JoinError::NoBlockingThreads)),
        };
        block_on(async {
            check(fs.write(at("a"), pattern(3 << 20)).await);
            check(
                fs.read(at("a"))
                    .await
                    .map(|read| assert!(read == pattern(3 << 20))),
            );
            check(fs.read_to_string("/proc/self/status").await.map(drop));
            check(fs.rename(at("a"), at("b")).await);
            check(fs.hard_link(at("b"), at("c")).await);
            check(fs.symlink("b", at("d")).await);
            check(fs.remove_file(at("d")).await);
            check(fs.create_dir(at("e")).await);
            check(fs.remove_dir(at("e")).await);
        });
        let names = || std::fs::read_dir(dir.path()).unwrap().count();
        let before = names();
        assert_eq!(before, if ring { 2 } else { 0 });
        for_each_on_threads(&fs, dir.path(), |what, cause| {
            assert!(matches!(cause, JoinError::NoBlockingThreads), "{what}");
        });
        assert_eq!(names(), before);
    });
}

/// Everything that is for the blocking threads on every driver.
fn for_each_on_threads(fs: &Fs, dir: &Path, check: impl Fn(&str, JoinError)) {
    let new = dir.join("new");
    let mode = Permissions::from_mode(0o700);
    block_on(async {
        check("metadata", cause(fs.metadata(dir).await));
        check("symlink_metadata", cause(fs.symlink_metadata(dir).await));
        check("try_exists", cause(fs.try_exists(dir).await));
        check("canonicalize", cause(fs.canonicalize(dir).await));
        check("read_link", cause(fs.read_link(dir).await));
        check(
            "set_permissions",
            cause(fs.set_permissions(dir, mode).await),
        );
        check("read_dir", cause(fs.read_dir(dir).await));
        check("create_dir_all", cause(fs.create_dir_all(&new).await));
        check(
            "builder",
            cause(DirBuilder::new().create_in(fs, &new).await),
        );
        check("remove_dir_all", cause(fs.remove_dir_all(dir).await));
        check("copy", cause(fs.copy("/proc/self/cmdline", &new).await));
        check("write_atomic", cause(fs.write_atomic(&new, "x").await));
    });
}

/// A pool that is gone is an error, also for what would need nobody, and nothing is done.
#[test]
fn a_pool_that_is_shut_down_does_nothing_and_says_so() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = Fs::new(&pool);
        let dir = tempfile::tempdir().unwrap();
        let (file, new) = (dir.path().join("file"), dir.path().join("new"));
        std::fs::write(&file, "old").unwrap();
        block_on(pool.shutdown());
        let check = |what: &str, cause| assert!(matches!(cause, JoinError::RuntimeGone), "{what}");
        for_each_on_threads(&fs, dir.path(), check);
        block_on(async {
            check("open", cause(fs.open(&file).await));
            check("create", cause(fs.create(&file).await));
            check("read", cause(fs.read(&file).await));
            check("read_to_string", cause(fs.read_to_string(&file).await));
            check("write", cause(fs.write(&file, "new").await));
            check("rename", cause(fs.rename(&file, &new).await));
            check("hard_link", cause(fs.hard_link(&file, &new).await));
            check("symlink", cause(fs.symlink(&file, &new).await));
            check("create_dir", cause(fs.create_dir(&new).await));
            check("remove_file", cause(fs.remove_file(&file).await));
            check("remove_dir", cause(fs.remove_dir(dir.path()).await));
        });
        assert_eq!(std::fs::read(&file).unwrap(), b"old");
        assert!(!new.exists());
    });
}

/// It does not keep the pool alive, and does not hang without it.
#[test]
fn a_listing_ends_with_its_pool() {
    for_each_driver(|builder| {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..100 {
            std::fs::write(dir.path().join(i.to_string()), "").unwrap();
        }
        let pool = builder().build().unwrap();
        let mut entries = block_on(Fs::new(&pool).read_dir(dir.path())).unwrap();
        block_on(pool.shutdown());
        drop(pool);
        block_on(async {
            let mut seen = Vec::new();
            let error = loop {
                match entries.next_entry().await {
                    Ok(entry) => seen.push(entry.expect("there are more")),
                    error => break error,
                }
            };
            assert!(matches!(cause(error), JoinError::RuntimeGone));
            assert!(!seen.is_empty() && seen.len() < 100, "{}", seen.len());
            assert!(matches!(
                cause(seen[0].metadata().await),
                JoinError::RuntimeGone
            ));
            assert!(entries.next_entry().await.unwrap().is_none(), "and no more");
        });
    });
}

/// Whoever gives up waiting for an entry finds it later.
#[test]
fn a_dropped_wait_for_an_entry_loses_none() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        for i in 0..100 {
            std::fs::write(dir.path().join(i.to_string()), "").unwrap();
        }
        let mut entries = block_on(Fs::new(&pool).read_dir(dir.path())).unwrap();
        let mut names = Vec::new();
        loop {
            match poll_times(entries.next_entry(), 1) {
                Some(entry) => match entry.unwrap() {
                    Some(entry) => names.push(entry.file_name()),
                    None => break,
                },
                None => thread::yield_now(),
            }
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 100);
    });
}

/// Descriptors are few, and a caller may go at any time.
#[test]
fn dropped_at_any_poll_it_leaves_no_descriptor() {
    in_child("dropped_at_any_poll_it_leaves_no_descriptor", || {
        for_each_driver(|builder| {
            let pool = builder().build().unwrap();
            let fs = Fs::new(&pool).nowait_limit(0);
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("file");
            std::fs::write(&path, pattern(3 << 20)).unwrap();
            // What is opened once and for all.
            block_on(fs.read(&path)).unwrap();
            block_on(fs.metadata(&path)).unwrap();
            let before = descriptor_count();
            for round in 0..100 {
                let polls = round % 3;
                _ = poll_times(fs.read(&path), polls);
                _ = poll_times(fs.write(dir.path().join("new"), pattern(3 << 20)), polls);
                _ = poll_times(fs.read_dir(dir.path()), polls);
                _ = poll_times(fs.copy(&path, dir.path().join("copy")), polls);
                _ = poll_times(fs.write_atomic(dir.path().join("new"), "x"), polls);
                _ = poll_times(Fs::new(&pool).read(&path), polls);
            }
            eventually("all are closed", || descriptor_count() == before);
            assert!(block_on(fs.read(&path)).unwrap() == pattern(3 << 20));
        });
    });
}

/// A FIFO has no length and no positions, and its reader waits; but nobody else.
#[test]
fn a_fifo_is_read_to_its_end() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = Fs::new(&pool);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        let mut read = Box::pin(fs.read(&path));
        assert!(poll_once(&mut read, Waker::noop()).is_pending());
        support::assert_lives(&pool);
        thread::scope(|scope| {
            // Waits for the reader.
            scope.spawn(|| std::fs::write(&path, pattern(300_000)).unwrap());
            assert!(block_on(read).unwrap() == pattern(300_000));
        });
        thread::scope(|scope| {
            let written = scope.spawn(|| std::fs::read(&path).unwrap());
            block_on(fs.write(&path, pattern(300_000))).unwrap();
            assert!(written.join().unwrap() == pattern(300_000));
        });
    });
}

/// A writer that waits for a reader must get one that reads: a look at what the path leads to is none.
#[test]
fn the_writer_of_a_fifo_is_not_met_by_a_reader_that_goes() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = Fs::new(&pool);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        for _ in 0..20 {
            thread::scope(|scope| {
                let (say, hear) = std::sync::mpsc::channel();
                let path = &path;
                let writer = scope.spawn(move || {
                    say.send(rustix::thread::gettid()).unwrap();
                    std::fs::write(path, pattern(100))
                });
                let writer_id = hear.recv().unwrap().as_raw_nonzero();
                let stat = format!("/proc/self/task/{writer_id}/stat");
                eventually("it waits for a reader", || {
                    let stat = std::fs::read_to_string(&stat).unwrap_or_default();
                    stat.rsplit(") ")
                        .next()
                        .is_some_and(|rest| rest.starts_with('S'))
                });
                // Were it met by one that goes, it would fail, and the read below wait for another.
                assert!(block_on(fs.read(path)).unwrap() == pattern(100));
                writer.join().unwrap().unwrap();
            });
        }
    });
}

/// Tasks of Tokio's are moved between threads.
#[test]
fn futures_and_listings_may_be_moved() {
    fn send<T: Send>(_: &T) {}
    fn all<T: Send + Sync + Unpin + Debug + 'static>() {}

    all::<ReadDir>();
    all::<DirEntry>();
    all::<DirBuilder>();
    let pool = CompioPool::builder().threads(1).build().unwrap();
    let fs = Fs::new(&pool);
    send(&fs.read("x"));
    send(&fs.read_to_string("x"));
    send(&fs.write(String::new(), "x"));
    send(&fs.write_atomic("x", vec![1]));
    send(&fs.copy("x", "y"));
    send(&fs.metadata("x"));
    send(&fs.read_dir("x"));
    send(&fs.rename("x", "y"));
    send(&fs.remove_file("x"));
    send(&landbridge::fs::read("x"));
    send(&landbridge::fs::symlink("x", "y"));
}
