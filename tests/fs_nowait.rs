//! What may be read on the caller's thread, and that nothing else ever is.
//!
//! A crossing is the proof: a read that was done here needs none, one that was left to the pool does.

#![cfg(all(feature = "fs", target_os = "linux"))]
#![allow(unsafe_code, reason = "dropping pages from memory is not in std")]

mod support;

use std::{
    fs::File as StdFile,
    future::Future,
    io,
    os::fd::AsRawFd,
    path::Path,
    pin::pin,
    task::{Context, Poll, Waker},
};

use landbridge::{
    CompioPool,
    fs::{File, Fs},
};
use support::{block_on, for_each_driver};

const PAGE: usize = 4096;
const PAGES: usize = 256;

fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn crossings(pool: &CompioPool) -> u64 {
    pool.metrics().total(|worker| worker.crossings_in)
}

/// What a read that may not wait says.
fn read_nowait(file: &StdFile, position: usize) -> io::Result<usize> {
    let mut page = [0_u8; PAGE];
    let slice = libc::iovec {
        iov_base: page.as_mut_ptr().cast(),
        iov_len: PAGE,
    };
    let position = position.try_into().unwrap();
    // SAFETY: the one slice is alive.
    let n = unsafe {
        libc::preadv2(
            file.as_raw_fd(),
            &raw const slice,
            1,
            position,
            libc::RWF_NOWAIT,
        )
    };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// A file on the disk that has none of its pages in memory but the first; nothing, with a note, if the kernel keeps them.
fn cold_file(path: &Path) -> Option<()> {
    std::fs::write(path, vec![7; PAGES * PAGE]).unwrap();
    let file = StdFile::open(path).unwrap();
    file.sync_data().unwrap();
    // SAFETY: plain numbers.
    let done = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    assert_eq!(done, 0);
    // SAFETY: as above. The question has the kernel fetch the page that it is about, and no other one.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_RANDOM) };
    let cold = read_nowait(&file, 0);
    let is_cold = cold
        .as_ref()
        .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
    if !is_cold {
        eprintln!("not run: the kernel keeps the pages, or cannot say: {cold:?}");
    }
    is_cold.then_some(())
}

/// Polls once, as an async thread does that has other things to do; then waits for the end.
fn first_poll_is_ready<T>(future: impl Future<Output = T>) -> (bool, T) {
    let mut future = pin!(future);
    match future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(output) => (true, output),
        Poll::Pending => (false, block_on(future)),
    }
}

async fn read_page(file: &File, page: usize) -> Vec<u8> {
    file.read_exact_at(Vec::with_capacity(PAGE), (page * PAGE) as u64)
        .await
        .unwrap()
}

/// The promise: an async thread never waits for a disk.
#[test]
fn a_page_that_is_not_in_memory_is_left_to_the_pool() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = Fs::new(&pool);
        let directory = directory();
        let path = directory.path().join("cold");
        if cold_file(&path).is_none() {
            return;
        }
        let file = block_on(fs.open(&path)).unwrap();
        // With the worker held, a read that needs it cannot end: what is ready at once was done here.
        let before = crossings(&pool);
        let held = support::hold(&pool);
        let position = ((PAGES - 1) * PAGE) as u64;
        let mut read = pin!(file.read_at(Vec::with_capacity(PAGE), position));
        let first = read.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(first.is_pending());
        drop(held);
        let (n, page) = block_on(read).unwrap();
        assert_eq!((n, page), (PAGE, vec![7; PAGE]));
        // The one that held it, and the read.
        assert!(crossings(&pool) >= before + 2);

        // Now it is in memory.
        let before = crossings(&pool);
        let (ready, page) = first_poll_is_ready(read_page(&file, PAGES - 1));
        assert!(ready);
        assert_eq!(page, [7; PAGE]);
        assert_eq!(crossings(&pool), before);
    });
}

/// What is partly there is a short read, from here; the rest is for the pool.
#[test]
fn a_read_of_pages_of_which_some_are_in_memory_is_whole_in_the_end() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = Fs::new(&pool);
        let directory = directory();
        let path = directory.path().join("half");
        if cold_file(&path).is_none() {
            return;
        }
        let file = block_on(fs.open(&path)).unwrap();
        block_on(read_page(&file, 0));
        let before = crossings(&pool);
        let pages = file.read_exact_at(Vec::with_capacity(32 * PAGE), 0);
        assert_eq!(block_on(pages).unwrap(), vec![7; 32 * PAGE]);
        assert!(crossings(&pool) > before);
    });
}

/// The common case, and the reason for all this: no hop at all, even with a pool that is busy.
#[test]
fn what_is_in_memory_needs_no_crossing_and_no_worker() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = Fs::new(&pool);
        let directory = directory();
        let path = directory.path().join("warm");
        std::fs::write(&path, vec![7; PAGES * PAGE]).unwrap();
        let file = block_on(fs.open(&path)).unwrap();
        let warm = StdFile::open(&path).unwrap();
        if let Err(error) = read_nowait(&warm, 0) {
            return eprintln!("not run: {error}");
        }
        let held = support::hold(&pool);
        let before = crossings(&pool);
        for page in 0..32 {
            assert_eq!(block_on(read_page(&file, page)), [7; PAGE]);
        }
        let bytes = block_on(file.read_bytes_at(PAGE, 10)).unwrap();
        assert_eq!(bytes, [7; PAGE][..]);
        let end = file.read_at(Vec::with_capacity(PAGE), (PAGES * PAGE) as u64);
        assert_eq!(block_on(end).unwrap().0, 0);
        assert_eq!(crossings(&pool), before);
        drop(held);
    });
}

/// A large copy holds up the neighbours on its thread, whether or not the disk is asked.
#[test]
fn reads_above_the_limit_cross_and_without_a_limit_all_do() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let directory = directory();
        let path = directory.path().join("warm");
        std::fs::write(&path, vec![7; PAGES * PAGE]).unwrap();
        for (limit, at_once) in [
            (None, &[(256 << 10, true), ((256 << 10) + 1, false)][..]),
            (Some(PAGE), &[(1, true), (PAGE, true), (PAGE + 1, false)]),
            (Some(0), &[(0, false), (1, false), (PAGE, false)]),
        ] {
            let mut fs = Fs::new(&pool);
            if let Some(limit) = limit {
                fs = fs.nowait_limit(limit);
            }
            let file = block_on(fs.open(&path)).unwrap();
            for (len, expected) in at_once {
                let held = support::hold(&pool);
                let mut read = pin!(file.read_at(vec![0; *len], 0));
                let first = read.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                assert_eq!(first.is_ready(), *expected, "{len} bytes, limit {limit:?}");
                drop(held);
                let done = match first {
                    Poll::Ready(done) => done,
                    Poll::Pending => block_on(read),
                };
                assert_eq!(done.unwrap(), (*len, vec![7; *len]));
            }
            block_on(file.close()).unwrap();
        }
    });
}

/// Where the file system cannot say, it is asked once, and not before every read.
#[test]
fn a_file_system_that_cannot_say_is_asked_once() {
    let Ok(directory) = tempfile::tempdir_in("/dev/shm") else {
        return eprintln!("not run: no /dev/shm");
    };
    let path = directory.path().join("file");
    std::fs::write(&path, [7; PAGE]).unwrap();
    let can_say = read_nowait(&StdFile::open(&path).unwrap(), 0);
    eprintln!("/dev/shm says {can_say:?}");
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let file = block_on(Fs::new(&pool).open(&path)).unwrap();
        for _ in 0..3 {
            let held = support::hold(&pool);
            let mut read = pin!(read_page(&file, 0));
            let first = read.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert_eq!(first.is_ready(), can_say.is_ok());
            drop(held);
            let page = match first {
                Poll::Ready(page) => page,
                Poll::Pending => block_on(read),
            };
            assert_eq!(page, [7; PAGE]);
        }
    });
}

/// That it was remembered can be seen by a kernel that ends whoever asks again.
#[test]
fn the_answer_is_remembered_for_the_file() {
    support::in_child("the_answer_is_remembered_for_the_file", || {
        let Ok(directory) = tempfile::tempdir_in("/dev/shm") else {
            return eprintln!("not run: no /dev/shm");
        };
        let path = directory.path().join("file");
        std::fs::write(&path, [7; PAGE]).unwrap();
        let pool = CompioPool::builder().threads(1).build().unwrap();
        let file = block_on(Fs::new(&pool).open(&path)).unwrap();
        assert_eq!(block_on(read_page(&file, 0)), [7; PAGE]);
        if read_nowait(&StdFile::open(&path).unwrap(), 0).is_ok() {
            return eprintln!("not run: /dev/shm can say");
        }
        // A read that asked now would fail with this. Blocking threads do not use the ring, so they
        // would, too.
        if support::uses_io_uring(&pool) {
            support::seccomp::refuse_everywhere(libc::SYS_preadv2, libc::EIO);
            assert_eq!(block_on(read_page(&file, 0)), [7; PAGE]);
        }
    });
}
