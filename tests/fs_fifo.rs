//! What is neither a file nor a directory is opened as std opens it.

#![cfg(all(feature = "fs", target_os = "linux"))]
#![allow(unsafe_code, reason = "std makes no FIFO")]

mod support;

use std::{
    ffi::CString,
    io::{Read, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    task::Waker,
    thread,
};

use landbridge::fs::{Fs, OpenOptions};
use support::{block_on, for_each_driver};

fn fifo(directory: &Path) -> PathBuf {
    let path = directory.join("fifo");
    let name = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: the name is alive.
    let made = unsafe { libc::mkfifo(name.as_ptr(), 0o600) };
    assert_eq!(made, 0, "{}", std::io::Error::last_os_error());
    path
}

/// io_uring opens a FIFO at once, and a look that opens and closes lets a writer loose on nobody: its bytes
/// are lost, and it is told so with a broken pipe.
#[test]
fn who_opens_a_fifo_to_read_waits_for_a_writer_and_loses_nothing() {
    for limit in [0, 256 << 10] {
        for_each_driver(|builder| {
            let pool = builder().build().unwrap();
            let fs = Fs::new(&pool).nowait_limit(limit);
            let directory = tempfile::tempdir().unwrap();
            let path = fifo(directory.path());
            for round in 0..50 {
                let writing = path.clone();
                let writer = thread::spawn(move || {
                    let mut file = std::fs::File::options().write(true).open(writing)?;
                    file.write_all(b"not lost")
                });
                // Now before the writer, now after it.
                (0..round % 5).for_each(|_| thread::yield_now());
                let file = block_on(fs.open(&path)).unwrap();
                let mut file = block_on(file.into_std()).unwrap();
                let mut read = String::new();
                file.read_to_string(&mut read).unwrap();
                writer.join().unwrap().unwrap();
                assert_eq!(read, "not lost", "round {round}");
            }
        });
    }
}

/// The ring says `ENXIO`, std waits.
#[test]
fn who_opens_a_fifo_to_write_waits_for_a_reader() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = Fs::new(&pool);
        let directory = tempfile::tempdir().unwrap();
        let path = fifo(directory.path());
        for _ in 0..20 {
            let reading = path.clone();
            let reader = thread::spawn(move || std::fs::read(reading));
            let mut options = OpenOptions::new();
            let file = block_on(options.write(true).open_in(&fs, &path)).unwrap();
            let mut file = block_on(file.into_std()).unwrap();
            file.write_all(b"read").unwrap();
            drop(file);
            assert_eq!(reader.join().unwrap().unwrap(), b"read");
        }
    });
}

/// A whole FIFO is read as a whole, and not found empty because nobody has opened the other end yet.
#[test]
fn a_whole_fifo_is_what_its_writer_writes() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = Fs::new(&pool);
        let directory = tempfile::tempdir().unwrap();
        let path = fifo(directory.path());
        for _ in 0..20 {
            let mut read = Box::pin(fs.read(&path));
            for _ in 0..50 {
                // Whatever the worker would do about it, it has done by now.
                assert!(support::poll_once(&mut read, Waker::noop()).is_pending());
                block_on(pool.run(|| async {})).unwrap();
            }
            let writing = path.clone();
            let writer = thread::spawn(move || std::fs::write(writing, "through the pipe"));
            assert_eq!(block_on(read).unwrap(), b"through the pipe");
            writer.join().unwrap().unwrap();
            let reading = path.clone();
            let reader = thread::spawn(move || std::fs::read(reading));
            block_on(fs.write(&path, "and back")).unwrap();
            assert_eq!(reader.join().unwrap().unwrap(), b"and back");
        }
    });
}

/// Who closes does not wait for what nobody wants to read any more.
#[test]
fn a_close_does_not_wait_for_a_read_that_was_dropped() {
    use tokio::io::AsyncReadExt;

    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        if !support::uses_io_uring(&pool) {
            // A thread that waits in `read(2)` cannot be called back.
            return;
        }
        let fs = Fs::new(&pool);
        let directory = tempfile::tempdir().unwrap();
        let path = fifo(directory.path());
        let both_ends = std::fs::File::options().read(true).write(true).open(&path);
        let mut file = fs.from_std(both_ends.unwrap());
        let mut some = [0; 4];
        assert!(support::poll_times(file.read(&mut some), 1).is_none());
        block_on(file.close()).unwrap();
    });
}
