//! The cursor of an open file: dropped operations, clones on several tasks, pools that go away.

#![cfg(all(feature = "fs", target_os = "linux"))]

mod support;

use std::{
    future::poll_fn,
    io::{self, IoSlice, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use landbridge::{
    CompioPool,
    error::{CloseError, JoinError},
    fs::{File, Fs, OpenOptions},
};
use support::{
    CountingWaker, assert_lives, block_on, eventually, for_each_driver, hold, poll_times,
    uses_io_uring, watchdog,
};
use tempfile::TempDir;
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncSeek, AsyncSeekExt, AsyncWrite, AsyncWriteExt, ReadBuf,
};

const _: () = {
    const fn is<T: Clone + Send + Sync + Unpin>() {}
    is::<File>();
};

/// Bytes that are all different from their neighbours, a page and a half of them.
fn pattern() -> Vec<u8> {
    (0..6000_u32).map(|n| (n % 251) as u8).collect()
}

/// A directory with a file of that pattern.
fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, pattern()).unwrap();
    (dir, path)
}

/// Nothing is read on the caller's thread: so everything has to be waited for.
fn never_at_once(pool: &CompioPool) -> Fs {
    Fs::new(pool).nowait_limit(0)
}

fn open(fs: &Fs, path: &Path) -> File {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    block_on(options.open_in(fs, path)).unwrap()
}

/// A FIFO with both ends open, so that opening does not wait, and nothing in it.
fn fifo(dir: &Path) -> std::fs::File {
    let path = dir.join("fifo");
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
    rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).unwrap();
    std::fs::File::options()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap()
}

fn poll_read(file: &mut File, waker: &Waker, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(bytes);
    let polled = Pin::new(file).poll_read(&mut Context::from_waker(waker), &mut buffer);
    polled.map_ok(|()| buffer.filled().len())
}

fn read_some(file: &mut File, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let n = block_on(file.read(&mut bytes))?;
    bytes.truncate(n);
    Ok(bytes)
}

fn is_gone(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|e| e.downcast_ref());
    matches!(inner, Some(JoinError::RuntimeGone))
}

/// `select!` and timeouts drop reads at any time: the bytes must come, in order, each once.
#[test]
fn a_dropped_read_leaves_its_bytes_to_the_next() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (_dir, path) = place();
        for polls in 0..4 {
            for (first, next) in [(100, 7), (7, 100), (5000, 5000)] {
                let mut file = open(&never_at_once(&pool), &path);
                let mut seen = Vec::new();
                loop {
                    let mut bytes = vec![0; first];
                    if let Some(n) = poll_times(file.read(&mut bytes), polls) {
                        seen.extend_from_slice(&bytes[..n.unwrap()]);
                    }
                    let position = block_on(file.stream_position()).unwrap();
                    assert_eq!(position, seen.len() as u64);
                    let more = read_some(&mut file, next).unwrap();
                    if more.is_empty() {
                        break;
                    }
                    seen.extend(more);
                }
                assert!(seen == pattern(), "{polls} polls of {first}, then {next}");
            }
        }
    });
}

/// The bytes of a read that was dropped while it was certainly under way, for all that may come next.
#[test]
fn what_was_read_ahead_is_given_back_before_anything_else() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (_dir, path) = place();
        // 100 bytes are on their way to nobody.
        let with_bytes_ahead = || {
            let mut file = open(&never_at_once(&pool), &path);
            let held = hold(&pool);
            let waker = CountingWaker::new();
            let polled = poll_read(&mut file, &waker.clone().into(), &mut [0; 100]);
            assert!(polled.is_pending());
            drop(held);
            waker.wait_for(1);
            assert_eq!(read_some(&mut file, 10).unwrap(), pattern()[..10]);
            file
        };

        let mut file = with_bytes_ahead();
        assert_eq!(block_on(file.seek(SeekFrom::Current(5))).unwrap(), 15);
        assert_eq!(read_some(&mut file, 5).unwrap(), pattern()[15..20]);

        let mut file = with_bytes_ahead();
        assert!(block_on(file.seek(SeekFrom::Current(-11))).is_err());
        assert_eq!(block_on(file.stream_position()).unwrap(), 10);

        let mut file = with_bytes_ahead();
        block_on(file.set_len(12)).unwrap();
        assert_eq!(read_some(&mut file, 5).unwrap(), pattern()[10..12]);
        std::fs::write(&path, pattern()).unwrap();

        let file = with_bytes_ahead();
        let mut file = file.try_into_std().unwrap();
        assert_eq!(file.stream_position().unwrap(), 10);

        let file = with_bytes_ahead();
        let clone = file.clone();
        let mut file = block_on(file.into_std()).unwrap();
        drop(clone);
        let mut rest = Vec::new();
        file.read_to_end(&mut rest).unwrap();
        assert_eq!(rest.len(), 5990, "all that nobody was given");

        let mut file = with_bytes_ahead();
        block_on(file.write_all(b"!")).unwrap();
        block_on(file.flush()).unwrap();
        let written = std::fs::read(&path).unwrap();
        assert_eq!(written[9..12], [9, b'!', 11]);
        std::fs::write(&path, pattern()).unwrap();

        let file = with_bytes_ahead();
        let mut clone = block_on(file.try_clone()).unwrap();
        assert_eq!(read_some(&mut clone, 5).unwrap(), pattern()[10..15]);
    });
}

/// What has been read from a pipe cannot be put back.
#[test]
fn a_fifos_bytes_outlive_a_dropped_read_and_a_write() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut other = fifo(dir.path());
        let mut file = never_at_once(&pool).from_std(other.try_clone().unwrap());
        let waker = CountingWaker::new();
        let polled = poll_read(&mut file, &waker.clone().into(), &mut [0; 100]);
        assert!(polled.is_pending());
        other.write_all(b"0123456789").unwrap();
        waker.wait_for(1);
        assert_eq!(read_some(&mut file, 4).unwrap(), b"0123");
        block_on(file.write_all(b"written")).unwrap();
        block_on(file.flush()).unwrap();
        assert!(block_on(file.seek(SeekFrom::Start(0))).is_err());
        assert_eq!(read_some(&mut file, 100).unwrap(), b"456789");
        assert_eq!(read_some(&mut file, 100).unwrap(), b"written");
    });
}

/// A write that was not ready has taken nothing: who sends it again must not have sent it twice.
#[test]
fn a_dropped_write_is_whole_or_not_reported() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (_dir, path) = place();
        for polls in 0..4 {
            std::fs::write(&path, "").unwrap();
            let mut file = open(&never_at_once(&pool), &path);
            let mut expected = Vec::new();
            for round in 0..20 {
                let record = [round; 10];
                if let Some(n) = poll_times(file.write(&record), polls) {
                    assert_eq!(n.unwrap(), 10);
                    expected.extend_from_slice(&record);
                }
                let slices = [IoSlice::new(b"a"), IoSlice::new(b"b")];
                if let Some(n) = poll_times(file.write_vectored(&slices), polls) {
                    assert_eq!(n.unwrap(), 2);
                    expected.extend_from_slice(b"ab");
                }
                poll_times(file.flush(), polls).transpose().unwrap();
            }
            block_on(file.flush()).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), expected, "{polls} polls");
            if polls > 1 {
                assert!(!expected.is_empty());
            }
        }
    });
}

/// It has happened, or it has not, and the cursor is usable.
#[test]
fn a_dropped_seek_leaves_a_cursor() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (_dir, path) = place();
        for polls in 0..4 {
            let mut file = open(&never_at_once(&pool), &path);
            for (to, led) in [
                (SeekFrom::Start(10), 10),
                (SeekFrom::End(-1), 5999),
                (SeekFrom::Current(0), 20),
            ] {
                block_on(file.seek(SeekFrom::Start(20))).unwrap();
                let ended = poll_times(file.seek(to), polls);
                let position = block_on(file.stream_position()).unwrap();
                match ended {
                    Some(ended) => assert_eq!((ended.unwrap(), position), (led, led)),
                    None => assert!([20, led].contains(&position)),
                }
                let byte = read_some(&mut file, 1).unwrap();
                assert_eq!(byte[0], pattern()[position as usize]);
            }
        }
    });
}

/// Tokio's file has written what it accepted when it is dropped: so does ours.
#[test]
fn an_accepted_write_outlives_its_file() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (_dir, path) = place();
        let mut file = open(&Fs::new(&pool), &path);
        let held = hold(&pool);
        block_on(file.write_all(b"accepted")).unwrap();
        drop(file);
        assert_eq!(std::fs::read(&path).unwrap(), pattern());
        drop(held);
        eventually("it is written", || {
            std::fs::read(&path).unwrap().starts_with(b"accepted")
        });
    });
}

/// Nobody else will: a reader that is gone must not keep its file open until something comes.
#[test]
fn the_last_drop_cancels_a_read() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        // A blocking thread cannot be stopped.
        if !uses_io_uring(&pool) {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let both = fifo(dir.path());
        let path = dir.path().join("fifo");
        let mut file = block_on(Fs::new(&pool).open(&path)).unwrap();
        // Without a writer the read would come to the pipe's end.
        let writer = std::fs::File::options().write(true).open(&path).unwrap();
        drop(both);
        let polled = poll_read(&mut file, Waker::noop(), &mut [0; 10]);
        assert!(polled.is_pending());
        drop(file);
        eventually("nobody has it open to read", || {
            let mut another = std::fs::File::options();
            let another = another.write(true).custom_flags(libc::O_NONBLOCK);
            another
                .open(&path)
                .is_err_and(|e| e.raw_os_error() == Some(libc::ENXIO))
        });
        drop(writer);
    });
}

/// The file may have been polled last by another task: whoever waits must be told.
#[test]
fn everybody_who_waits_is_woken() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut other = fifo(dir.path());
        let mut one = Fs::new(&pool).from_std(other.try_clone().unwrap());
        let (mut two, mut three, four) = (one.clone(), one.clone(), one.clone());
        let wakers: [_; 6] = std::array::from_fn(|_| CountingWaker::new());
        let waker = |n: usize| Waker::from(Arc::clone(&wakers[n]));
        assert!(poll_read(&mut one, &waker(0), &mut [0; 1]).is_pending());
        assert!(poll_read(&mut two, &waker(1), &mut [0; 1]).is_pending());
        // A reader and a writer of one handle, as `tokio::io::split` makes them.
        let write = Pin::new(&mut two).poll_write(&mut Context::from_waker(&waker(2)), b"x");
        assert!(write.is_pending());
        let mut flush = pin!(three.flush());
        let polled = flush.as_mut().poll(&mut Context::from_waker(&waker(3)));
        assert!(polled.is_pending());
        let mut sync = pin!(four.sync_all());
        let polled = sync.as_mut().poll(&mut Context::from_waker(&waker(4)));
        assert!(polled.is_pending());
        // Of one reader only who polled last.
        assert!(poll_read(&mut one, &waker(5), &mut [0; 1]).is_pending());
        other.write_all(b"y").unwrap();
        for waker in &wakers[1..] {
            waker.wait_for(1);
        }
        assert_eq!(wakers[0].wakes(), 0);
        assert_eq!(read_some(&mut one, 5).unwrap(), b"y");
    });
}

/// A waker that panics is somebody else's mistake.
#[test]
fn a_waker_that_panics_harms_nobody() {
    struct Panics(AtomicBool);

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
            panic!("a waker that panics");
        }
    }

    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut other = fifo(dir.path());
        let mut one = Fs::new(&pool).from_std(other.try_clone().unwrap());
        let (mut two, waker) = (one.clone(), CountingWaker::new());
        let panics = Arc::new(Panics(AtomicBool::new(false)));
        assert!(poll_read(&mut one, &panics.clone().into(), &mut [0; 1]).is_pending());
        assert!(poll_read(&mut two, &waker.clone().into(), &mut [0; 1]).is_pending());
        other.write_all(b"y").unwrap();
        waker.wait_for(1);
        assert!(panics.0.load(Ordering::SeqCst));
        assert_eq!(read_some(&mut two, 5).unwrap(), b"y");
        assert_lives(&pool);
    });
}

/// Many tasks on one FIFO: each byte to one of them, and none of them left behind.
#[test]
fn clones_on_several_tasks_share_what_comes() {
    const READERS: usize = 8;
    const EACH: usize = 100;

    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut other = fifo(dir.path());
        let file = Fs::new(&pool).from_std(other.try_clone().unwrap());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(3)
            .build()
            .unwrap();
        let readers = (0..READERS).map(|_| {
            let mut file = file.clone();
            runtime.spawn(async move {
                let mut bytes = [0; EACH];
                file.read_exact(&mut bytes).await.unwrap();
                bytes
            })
        });
        let readers: Vec<_> = readers.collect();
        for n in 0..READERS * EACH {
            other.write_all(&[(n % 256) as u8]).unwrap();
        }
        let mut seen = Vec::new();
        for reader in readers {
            seen.extend(runtime.block_on(reader).unwrap());
        }
        let mut expected: Vec<_> = (0..READERS * EACH).map(|n| (n % 256) as u8).collect();
        expected.sort_unstable();
        seen.sort_unstable();
        assert_eq!(seen, expected);
    });
}

/// Records that are written with one call each do not mix.
#[test]
fn clones_on_several_tasks_write_one_after_the_other() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (_dir, path) = place();
        std::fs::write(&path, "").unwrap();
        let file = open(&Fs::new(&pool), &path);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(3)
            .build()
            .unwrap();
        let writers = (0..8_u8).map(|writer| {
            let mut file = file.clone();
            runtime.spawn(async move {
                for _ in 0..50 {
                    file.write_all(&[writer; 100]).await.unwrap();
                }
                file.flush().await.unwrap();
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            runtime.block_on(writer).unwrap();
        }
        let written = std::fs::read(&path).unwrap();
        assert_eq!(written.len(), 8 * 50 * 100);
        let mut records = [0; 8];
        for record in written.chunks(100) {
            assert!(record.iter().all(|byte| *byte == record[0]));
            records[usize::from(record[0])] += 1;
        }
        assert_eq!(records, [50; 8]);
    });
}

/// `start_seek` cannot wait: with clones it would fail for what another task does.
#[test]
fn a_seek_waits_for_the_operation_of_a_clone() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (_dir, path) = place();
        let mut one = open(&never_at_once(&pool), &path);
        let mut two = one.clone();
        let held = hold(&pool);
        let waker = CountingWaker::new();
        assert!(poll_read(&mut one, &waker.clone().into(), &mut [0; 9]).is_pending());
        assert!(Pin::new(&mut one).start_seek(SeekFrom::Start(1)).is_err());
        Pin::new(&mut two).start_seek(SeekFrom::Start(30)).unwrap();
        assert!(Pin::new(&mut two).start_seek(SeekFrom::Start(1)).is_err());
        let mut complete = poll_fn(|cx| Pin::new(&mut two).poll_complete(cx));
        let polled = support::poll_once(&mut complete, &waker.clone().into());
        assert!(polled.is_pending());
        drop(held);
        assert_eq!(block_on(complete).unwrap(), 30);
        assert_eq!(read_some(&mut one, 5).unwrap(), pattern()[30..35]);
        // One that was put off, and then only read.
        let held = hold(&pool);
        assert!(poll_read(&mut one, &waker.into(), &mut [0; 9]).is_pending());
        Pin::new(&mut two).start_seek(SeekFrom::Start(50)).unwrap();
        drop(held);
        assert_eq!(read_some(&mut two, 5).unwrap(), pattern()[50..55]);
    });
}

/// Who asked is told, though another clone was there first.
#[test]
fn what_became_of_a_seek_is_for_who_began_it() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (_dir, path) = place();
        let mut one = open(&Fs::new(&pool), &path);
        let mut two = one.clone();
        let complete =
            |file: &mut File| block_on(poll_fn(|cx| Pin::new(&mut *file).poll_complete(cx)));
        Pin::new(&mut one)
            .start_seek(SeekFrom::Current(-1))
            .unwrap();
        assert_eq!(read_some(&mut two, 2).unwrap(), pattern()[..2]);
        assert!(complete(&mut one).is_err());
        Pin::new(&mut one).start_seek(SeekFrom::Start(7)).unwrap();
        assert_eq!(read_some(&mut two, 2).unwrap(), pattern()[7..9]);
        assert_eq!(block_on(two.seek(SeekFrom::Start(1))).unwrap(), 1);
        assert_eq!(complete(&mut one).unwrap(), 7);
        // Nobody is left to be told.
        Pin::new(&mut one).start_seek(SeekFrom::Start(9)).unwrap();
        drop(one);
        assert_eq!(read_some(&mut two, 2).unwrap(), pattern()[9..11]);
    });
}

/// Once: to one of the clones, or to what makes sure that the file is as it should be.
#[test]
fn a_failed_write_is_reported_once() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (_dir, path) = place();
        let mut one = block_on(Fs::new(&pool).open(&path)).unwrap();
        let mut two = one.clone();
        let refused =
            |result: io::Result<()>| result.unwrap_err().raw_os_error() == Some(libc::EBADF);

        block_on(one.write_all(b"x")).unwrap();
        assert!(refused(block_on(two.flush())));
        block_on(one.flush()).unwrap();

        block_on(one.write_all(b"x")).unwrap();
        assert!(refused(block_on(two.sync_all())));
        block_on(two.sync_all()).unwrap();
        block_on(one.shutdown()).unwrap();

        block_on(one.write_all(b"x")).unwrap();
        drop(block_on(one.try_clone()).unwrap());
        assert_eq!(read_some(&mut two, 2).unwrap(), pattern()[..2]);
        assert!(refused(block_on(two.write_all(b"x"))));
        block_on(one.flush()).unwrap();

        drop(two);
        block_on(one.write_all(b"x")).unwrap();
        let Err(CloseError::Io(error)) = block_on(one.close()) else {
            panic!("it was refused");
        };
        assert!(refused(Err(error)));
    });
}

/// Nobody polls it any more; the pool's other callers must not wait for that.
#[test]
fn a_dropped_read_holds_no_place_in_the_pool() {
    for_each_driver(|builder| {
        let pool = builder().max_in_flight(1).build().unwrap();
        let (_dir, path) = place();
        let mut file = open(&never_at_once(&pool), &path);
        let held = hold(&pool);
        assert!(poll_read(&mut file, Waker::noop(), &mut [0; 9]).is_pending());
        drop(held);
        assert_lives(&pool);
        assert_eq!(read_some(&mut file, 9).unwrap(), pattern()[..9]);
        let held = hold(&pool);
        assert!(poll_read(&mut file, Waker::noop(), &mut [0; 9]).is_pending());
        drop(file);
        drop(held);
        assert_lives(&pool);
    });
}

/// Never a hang.
#[test]
fn a_pool_that_goes_away_takes_its_operations_along() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (dir, path) = place();
        let mut pipe = fifo(dir.path());
        let fs = Fs::new(&pool);
        let mut waiting = fs.from_std(pipe.try_clone().unwrap());
        let (mut written, mut read) = (open(&fs, &path), open(&never_at_once(&pool), &path));
        let waker = CountingWaker::new();
        assert!(poll_read(&mut waiting, &waker.clone().into(), &mut [0; 9]).is_pending());
        // It is with the kernel, or with a blocking thread.
        assert_lives(&pool);
        let held = hold(&pool);
        assert!(poll_read(&mut read, &waker.into(), &mut [0; 9]).is_pending());
        block_on(written.write_all(b"x")).unwrap();
        drop(fs);
        drop(pool);
        drop(held);
        assert!(is_gone(&read_some(&mut waiting, 9).unwrap_err()));
        assert!(is_gone(&read_some(&mut read, 9).unwrap_err()));
        assert!(is_gone(&block_on(written.flush()).unwrap_err()));
        block_on(written.flush()).unwrap();
        // And from now on.
        assert!(is_gone(&read_some(&mut read, 9).unwrap_err()));
        assert!(is_gone(&block_on(written.write(b"x")).unwrap_err()));
        block_on(written.flush()).unwrap();
        assert!(is_gone(&block_on(read.seek(SeekFrom::End(0))).unwrap_err()));
        assert_eq!(block_on(read.stream_position()).unwrap(), 0);
        assert_eq!(std::fs::read(&path).unwrap(), pattern());
        // For a thread that is still blocked.
        pipe.write_all(b"x").unwrap();
    });
}

/// Not while it is under way: it would be lost.
#[test]
fn std_gets_a_file_only_when_nothing_is_under_way() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (_dir, path) = place();
        let mut file = open(&Fs::new(&pool), &path);
        let held = hold(&pool);
        block_on(file.write_all(b"under way")).unwrap();
        let file = file.try_into_std().unwrap_err();
        let clone = file.clone();
        drop(held);
        block_on(clone.sync_all()).unwrap();
        let file = file.try_into_std().unwrap_err();
        drop(clone);
        let mut file = file.try_into_std().unwrap();
        assert_eq!(file.stream_position().unwrap(), 9);

        // Done, though nobody has looked.
        let mut file = never_at_once(&pool).from_std(file);
        let (held, waker) = (hold(&pool), CountingWaker::new());
        assert!(poll_read(&mut file, &waker.clone().into(), &mut [0; 9]).is_pending());
        drop(held);
        waker.wait_for(1);
        let mut file = file.try_into_std().unwrap();
        assert_eq!(file.stream_position().unwrap(), 9);
    });
}

/// A task that reads what is in memory never waits; its neighbours must not, either.
#[test]
fn a_reader_that_never_waits_lets_its_neighbours_run() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let (_dir, path) = place();
        std::fs::write(&path, vec![1; 2 << 20]).unwrap();
        for len in [1, 4096, 64 << 10, 256 << 10] {
            let mut file = block_on(Fs::new(&pool).open(&path)).unwrap();
            let (mut bytes, mut in_a_row) = (vec![0; len], 0);
            let waker = CountingWaker::new();
            while poll_read(&mut file, &waker.clone().into(), &mut bytes).is_ready() {
                in_a_row += 1;
                assert!(in_a_row <= 128 && in_a_row * len < (1 << 20));
            }
            waker.wait_for(1);
            assert!(!read_some(&mut file, 1).unwrap().is_empty());
        }
    });
}

/// The kernel does not refuse a direct read that was not to wait: it waits for the disk.
#[test]
fn direct_reads_are_not_tried_on_the_callers_thread() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, [1; 4096]).unwrap();
        // What is to be written first would be a reason to refuse.
        std::fs::File::open(&path).unwrap().sync_all().unwrap();
        let mut options = OpenOptions::new();
        options.read(true).direct(true);
        let Ok(mut file) = block_on(options.open_in(&Fs::new(&pool), &path)) else {
            eprintln!("not run: no direct I/O here");
            return;
        };
        let held = hold(&pool);
        // Refused at once, if it were tried: it is not aligned.
        assert!(poll_read(&mut file, Waker::noop(), &mut [0; 9]).is_pending());
        drop(held);
    });
}

/// Past the page cache the kernel does not move a cursor for a ring: reading must get on all the same.
#[test]
fn reading_and_writing_get_on_with_direct_io() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        // Not a tmpfs, which has no such thing.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = dir.path().join("file");
        let blocks: Vec<u8> = (0..64).flat_map(|block| [block; 4096]).collect();
        std::fs::write(&path, &blocks).unwrap();
        let mut options = OpenOptions::new();
        options.read(true).write(true).direct(true);
        let Ok(mut file) = block_on(options.open_in(&never_at_once(&pool), &path)) else {
            eprintln!("not run: no direct I/O here");
            return;
        };
        let mut seen = Vec::new();
        loop {
            match read_some(&mut file, 16 * 4096) {
                Ok(bytes) if bytes.is_empty() => break,
                Ok(bytes) => seen.extend(bytes),
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
                    eprintln!("not run: no memory that is aligned as this disk wants it");
                    return;
                }
            }
            assert!(seen.len() <= blocks.len());
        }
        assert!(seen == blocks);
        block_on(file.rewind()).unwrap();
        for block in 0..4 {
            block_on(file.write_all(&[100 + block; 4096])).unwrap();
        }
        block_on(file.flush()).unwrap();
        let written = std::fs::read(&path).unwrap();
        let firsts: Vec<_> = written.chunks(4096).map(|block| block[0]).take(6).collect();
        assert_eq!(firsts, [100, 101, 102, 103, 4, 5]);
    });
}

/// A handle that is polled again and again by ever new tasks, on a pipe that stays empty, keeps no more
/// than the last of them.
#[test]
fn who_waits_no_more_is_forgotten() {
    let _watchdog = watchdog();
    let pool = CompioPool::builder().threads(1).build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut other = fifo(dir.path());
    let file = Fs::new(&pool).from_std(other.try_clone().unwrap());
    let wakers: Vec<_> = (0..100).map(|_| CountingWaker::new()).collect();
    let mut same = file.clone();
    for (n, waker) in wakers.iter().enumerate() {
        let mut another = file.clone();
        let which = if n % 2 == 0 { &mut same } else { &mut another };
        assert!(poll_read(which, &waker.clone().into(), &mut [0; 1]).is_pending());
    }
    let kept = wakers.iter().filter(|waker| Arc::strong_count(waker) > 1);
    assert_eq!(kept.count(), 1);
    other.write_all(b"x").unwrap();
    wakers[98].wait_for(1);
    assert_eq!(read_some(&mut same, 1).unwrap(), b"x");
}
