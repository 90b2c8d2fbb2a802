//! `write_atomic`: old or new, whole, and nothing else left behind.

#![cfg(all(feature = "fs", unix))]

mod support;

use std::{
    io::ErrorKind,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

use landbridge::{JoinError, fs::Fs};
use support::{block_on, eventually, for_each_driver, poll_times};

/// What is in a directory.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The point of it.
#[test]
fn the_file_has_the_new_contents_and_nothing_else_is_there() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = Fs::new(&pool);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let large = vec![7; 3 << 20];
        for contents in [&b"new"[..], b"", &large, b"newer"] {
            block_on(fs.write_atomic(&path, contents)).unwrap();
            assert!(std::fs::read(&path).unwrap() == contents);
            assert_eq!(names(dir.path()), ["file"]);
        }
    });
}

/// A file that only its owner could read stays so, from the first moment; a new one is as `write` makes it.
#[test]
fn permissions_stay_and_new_files_get_the_usual_ones() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = Fs::new(&pool);
        let dir = tempfile::tempdir().unwrap();
        let (path, usual) = (dir.path().join("file"), dir.path().join("usual"));
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o7777;
        std::fs::write(&usual, "").unwrap();
        block_on(fs.write_atomic(&path, "new")).unwrap();
        assert_eq!(mode(&path), mode(&usual));
        // Also those that the process's mask takes away.
        for (old, new) in [
            (0o600, 0o600),
            (0o666, 0o666),
            (0o640, 0o640),
            (0o4755, 0o755),
        ] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(old)).unwrap();
            block_on(fs.write_atomic(&path, "newer")).unwrap();
            assert_eq!(mode(&path), new);
        }
    });
}

/// Configuration is often a link into somewhere else.
#[test]
fn links_are_followed_and_stay() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = Fs::new(&pool);
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("there")).unwrap();
        symlink("there/file", at("link")).unwrap();
        symlink(at("link"), at("link to a link")).unwrap();
        block_on(async {
            // Dangling, at first.
            fs.write_atomic(at("link to a link"), "new").await.unwrap();
            assert_eq!(std::fs::read(at("there/file")).unwrap(), b"new");
            fs.write_atomic(at("link"), "newer").await.unwrap();
            assert_eq!(std::fs::read(at("there/file")).unwrap(), b"newer");
            symlink("circle", at("circle")).unwrap();
            let error = fs.write_atomic(at("circle"), "x").await.unwrap_err();
            assert_eq!(
                error.kind(),
                fs.read(at("circle")).await.unwrap_err().kind()
            );
        });
        assert!(at("link").is_symlink() && at("link to a link").is_symlink());
        assert_eq!(names(&at("there")), ["file"]);
        assert_eq!(
            names(dir.path()),
            ["circle", "link", "link to a link", "there"]
        );
    });
}

/// What cannot be replaced is not, and the error says why.
#[test]
fn what_cannot_be_written_is_left_alone() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = Fs::new(&pool);
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), "old").unwrap();
        std::fs::create_dir(at("dir")).unwrap();
        let socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for (path, kind) in [
            ("missing/file", ErrorKind::NotFound),
            ("file/below", ErrorKind::NotADirectory),
            ("file/", ErrorKind::NotADirectory),
            ("new/", ErrorKind::NotADirectory),
            ("dir", ErrorKind::IsADirectory),
            ("dir/..", ErrorKind::IsADirectory),
            ("socket", ErrorKind::InvalidInput),
            ("a\0b", ErrorKind::InvalidInput),
            (&"long".repeat(100), ErrorKind::InvalidFilename),
        ] {
            let error = block_on(fs.write_atomic(at(path), "new")).unwrap_err();
            assert_eq!(error.kind(), kind, "{path}: {error}");
            assert_eq!(names(dir.path()), ["dir", "file", "socket"], "{path}");
        }
        for (path, kind) in [("", ErrorKind::NotFound), ("/", ErrorKind::IsADirectory)] {
            let error = block_on(fs.write_atomic(path, "new")).unwrap_err();
            assert_eq!(error.kind(), kind, "{path}: {error}");
        }
        assert_eq!(std::fs::read(at("file")).unwrap(), b"old");
        assert!(names(&at("dir")).is_empty());
        drop(socket);
    });
}

/// A full disk, that is: the old contents are all there is.
#[cfg(target_os = "linux")]
#[test]
fn a_write_that_fails_leaves_the_old_file_and_no_other() {
    use rustix::process::{Resource, Rlimit, setrlimit};

    let test = "a_write_that_fails_leaves_the_old_file_and_no_other";
    support::in_child(test, || {
        let limit = Rlimit {
            current: Some(10_000),
            maximum: Some(10_000),
        };
        ignore_file_size_signal();
        setrlimit(Resource::Fsize, limit).unwrap();
        for_each_driver(|builder| {
            let pool = builder().build().unwrap();
            let fs = Fs::new(&pool);
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("file");
            block_on(fs.write_atomic(&path, vec![1; 10_000])).unwrap();
            let inode = std::fs::metadata(&path).unwrap().ino();
            let error = block_on(fs.write_atomic(&path, vec![2; 10_001])).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EFBIG));
            assert_eq!(std::fs::read(&path).unwrap(), [1; 10_000]);
            assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode);
            assert_eq!(names(dir.path()), ["file"]);
        });
    });
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "what a signal does is not in std")]
fn ignore_file_size_signal() {
    // SAFETY: no handler is installed.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Whoever gives up gets the old file or the new one, and no other file.
#[test]
fn dropped_at_any_poll_it_leaves_one_whole_file() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = Fs::new(&pool);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let (old, new) = (vec![1; 1 << 20], vec![2; 1 << 20]);
        for round in 0..40 {
            std::fs::write(&path, &old).unwrap();
            let done = poll_times(fs.write_atomic(&path, &new), round % 3);
            eventually("it is over", || pool.metrics().blocking_running == 0);
            let there = std::fs::read(&path).unwrap();
            match done {
                Some(done) => {
                    done.unwrap();
                    assert!(there == new);
                }
                None => assert!(there == old || there == new),
            }
            assert_eq!(names(dir.path()), ["file"]);
        }
    });
}

/// Whoever gives up before it has been begun finds that nothing happens any more.
#[test]
fn dropped_before_it_is_begun_it_does_nothing() {
    for_each_driver(|builder| {
        let pool = builder().blocking_threads(1).build().unwrap();
        let fs = Fs::new(&pool);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "old").unwrap();
        let (release, wait) = mpsc::channel::<()>();
        let mut held = Box::pin(pool.run_blocking(move || wait.recv()));
        _ = support::poll_once(&mut held, std::task::Waker::noop());
        assert!(poll_times(fs.write_atomic(&path, "new"), 1).is_none());
        drop(release);
        _ = block_on(held);
        // Whatever was queued has been done then.
        block_on(pool.run_blocking(|| ())).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(names(dir.path()), ["file"]);
    });
}

/// The reason why it takes another file's place.
#[test]
fn readers_see_one_whole_version() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = Fs::new(&pool);
        let dir = tempfile::tempdir().unwrap();
        let path = Arc::new(dir.path().join("file"));
        std::fs::write(&*path, vec![0; 64 << 10]).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let reader = thread::spawn({
            let (path, stop) = (Arc::clone(&path), Arc::clone(&stop));
            move || {
                let mut versions = 0;
                let mut last = 0;
                while !stop.load(Ordering::Relaxed) {
                    let bytes = std::fs::read(&*path).unwrap();
                    assert_eq!(bytes.len(), 64 << 10);
                    assert!(bytes.iter().all(|byte| *byte == bytes[0]), "torn");
                    assert!(bytes[0] >= last, "back in time");
                    versions += usize::from(bytes[0] != last);
                    last = bytes[0];
                }
                versions
            }
        });
        for version in 1..=100 {
            block_on(fs.write_atomic(&*path, vec![version; 64 << 10])).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0, "it has read something");
    });
}

/// Many at once, one after the other in the end.
#[test]
fn writers_do_not_disturb_each_other() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = Fs::new(&pool);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let writes = (0..32).map(|i| fs.write_atomic(&path, vec![i; 10_000]));
        for written in block_on(futures::future::join_all(writes)) {
            written.unwrap();
        }
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 10_000);
        assert!(bytes.iter().all(|byte| *byte == bytes[0]));
        assert_eq!(names(dir.path()), ["file"]);
    });
}

/// Never a panic, never a hang.
#[test]
fn without_blocking_threads_and_without_a_pool_it_is_a_typed_error() {
    for_each_driver(|builder| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "old").unwrap();
        let cause = |fs: &Fs| {
            let error = block_on(fs.write_atomic(&path, "new")).unwrap_err();
            let cause = error.into_inner().expect("the cause is inside");
            *cause.downcast::<JoinError>().expect("of that type")
        };
        let pool = builder().blocking_threads(0).build().unwrap();
        assert!(matches!(
            cause(&Fs::new(&pool)),
            JoinError::NoBlockingThreads
        ));
        let pool = builder().build().unwrap();
        let fs = Fs::new(&pool);
        block_on(pool.shutdown());
        assert!(matches!(cause(&fs), JoinError::RuntimeGone));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(names(dir.path()), ["file"]);
    });
}
