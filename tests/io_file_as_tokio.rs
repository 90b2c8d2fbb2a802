//! A Compio file behind Tokio's traits does what `tokio::fs::File` does.
#![cfg(unix)]

mod io_support;
mod support;

use std::fmt::Debug;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use compio::driver::DriverType;
use io_support::{Panics, on_each_driver, pattern, runtime_on, settle};
use landbridge::handoff;
use landbridge::io::{FileAsTokio, IntoTokioIo};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncSeek, AsyncSeekExt, AsyncWrite, AsyncWriteExt, ReadBuf,
};

trait File: AsyncRead + AsyncWrite + AsyncSeek + Unpin {
    fn limit(&mut self, bytes: usize);
}

impl File for FileAsTokio {
    fn limit(&mut self, bytes: usize) {
        self.set_max_buf_size(bytes);
    }
}

impl File for tokio::fs::File {
    fn limit(&mut self, bytes: usize) {
        self.set_max_buf_size(bytes);
    }
}

/// What a body has seen.
#[derive(Debug, Default)]
struct Notes(Vec<String>);

impl Notes {
    fn note(&mut self, what: &str, seen: impl Debug) {
        self.0.push(format!("{what}: {seen:?}"));
    }

    /// Of an error its kind and the operating system's code; texts may differ.
    fn result<T: Debug>(&mut self, what: &str, seen: io::Result<T>) {
        self.note(what, seen.map_err(|e| (e.kind(), e.raw_os_error())));
    }

    /// Of an error that was kept for later, Tokio knows the kind only.
    fn kind<T: Debug>(&mut self, what: &str, seen: io::Result<T>) {
        self.note(what, seen.map_err(|e| e.kind()));
    }
}

async fn wrapped(file: std::fs::File) -> FileAsTokio {
    handoff::file_to_compio(file).await.unwrap().into_tokio_io()
}

/// The same body against Tokio's file and against ours on each driver, and the same notes.
macro_rules! twins {
    ($options:expr, $body:expr) => {{
        let _watchdog = support::watchdog();
        let run = async |ours: bool| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("file");
            std::fs::write(&path, "0123456789").unwrap();
            let file: std::fs::File = $options.open(&path).unwrap();
            let mut notes = Notes::default();
            if ours {
                $body(&mut wrapped(file).await, &path, &mut notes).await;
            } else {
                $body(&mut tokio::fs::File::from_std(file), &path, &mut notes).await;
            }
            assert!(!notes.0.is_empty());
            notes.0
        };
        on_each_driver(async || {
            assert_eq!(run(true).await, run(false).await, "as against tokio::fs");
        });
    }};
}

fn both() -> std::fs::OpenOptions {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true);
    options
}

async fn read_some(file: &mut impl File, len: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; len];
    let n = file.read(&mut buffer).await?;
    buffer.truncate(n);
    Ok(buffer)
}

/// A log that is being written is read to its end many times.
#[test]
fn the_end_of_a_file_is_not_sticky() {
    async fn body(file: &mut impl File, path: &Path, notes: &mut Notes) {
        for _ in 0..5 {
            notes.result("read", read_some(file, 4).await);
        }
        let mut more = std::fs::OpenOptions::new().append(true).open(path).unwrap();
        more.write_all(b"more").unwrap();
        for _ in 0..3 {
            notes.result("read what came", read_some(file, 3).await);
        }
        notes.result("position", file.stream_position().await);
    }
    twins!(both(), body);
}

/// All three kinds, before the start, after the end, and what a refused one leaves behind.
#[test]
fn a_seek_leads_where_tokios_does() {
    async fn body(file: &mut impl File, _: &Path, notes: &mut Notes) {
        for to in [
            SeekFrom::Start(3),
            SeekFrom::Current(2),
            SeekFrom::Current(-1),
            SeekFrom::Current(0),
            SeekFrom::End(-2),
            SeekFrom::End(0),
            SeekFrom::End(10),
            SeekFrom::Start(0),
            SeekFrom::Current(-1),
            SeekFrom::End(-11),
            SeekFrom::End(i64::MIN),
            SeekFrom::Start(u64::MAX),
            SeekFrom::Current(i64::MIN),
            SeekFrom::Start(1 << 40),
        ] {
            notes.result(&format!("{to:?}"), file.seek(to).await);
            notes.result("position", file.stream_position().await);
            notes.result("then", read_some(file, 2).await);
        }
        notes.result("back", file.rewind().await);
        notes.result("then", read_some(file, 2).await);
        let again = poll_fn(|cx| Pin::new(&mut *file).poll_complete(cx)).await;
        notes.result("without a seek", again);
        // Begun, and not waited for.
        Pin::new(&mut *file).start_seek(SeekFrom::End(-3)).unwrap();
        notes.result("from there", read_some(file, 9).await);
    }
    twins!(both(), body);
}

/// One cursor for both.
#[test]
fn reads_and_writes_are_in_order() {
    async fn body(file: &mut impl File, path: &Path, notes: &mut Notes) {
        notes.result("read", read_some(file, 2).await);
        notes.result("write", file.write(b"ab").await);
        notes.result("read", read_some(file, 2).await);
        notes.result("write", file.write(b"cd").await);
        notes.result("write", file.write(b"ef").await);
        notes.result("seek", file.seek(SeekFrom::Current(-3)).await);
        notes.result("write", file.write(b"X").await);
        notes.result("read", read_some(file, 9).await);
        notes.result("write", file.write_all(b"tail").await);
        notes.result("flush", file.flush().await);
        notes.result("what std sees", std::fs::read_to_string(path));
        notes.result("position", file.stream_position().await);
        let slices = [IoSlice::new(b"one, "), IoSlice::new(b"two")];
        notes.result("vectored", file.write_vectored(&slices).await);
        notes.note("is vectored", file.is_write_vectored());
        notes.result("shutdown", file.shutdown().await);
        notes.result("after it", file.write(b", three").await);
        notes.result("flush", file.flush().await);
        notes.result("nothing", file.write(b"").await);
        notes.result("nothing", read_some(file, 0).await);
        notes.result("what std sees", std::fs::read_to_string(path));
    }
    twins!(both(), body);
}

/// Wherever the cursor is.
#[test]
fn what_is_appended_goes_to_the_end_and_the_cursor_with_it() {
    async fn body(file: &mut impl File, path: &Path, notes: &mut Notes) {
        notes.result("read", read_some(file, 3).await);
        notes.result("append", file.write(b"abc").await);
        notes.result("flush", file.flush().await);
        notes.result("position", file.stream_position().await);
        notes.result("seek", file.seek(SeekFrom::Start(1)).await);
        notes.result("append", file.write_all(b"def").await);
        notes.result("position", file.stream_position().await);
        notes.result("read", read_some(file, 3).await);
        notes.result("what std sees", std::fs::read_to_string(path));
    }
    twins!(std::fs::OpenOptions::new().read(true).append(true), body);
}

/// A write is accepted before the file system has refused it.
#[test]
fn a_late_error_is_told_once() {
    async fn body(file: &mut impl File, _: &Path, notes: &mut Notes) {
        notes.kind("write", file.write(b"refused").await);
        notes.kind("flush", file.flush().await);
        notes.kind("again", file.flush().await);
        notes.kind("write", file.write(b"refused").await);
        notes.kind("write", file.write(b"too").await);
        notes.kind("write", file.write(b"three").await);
        notes.kind("read", read_some(file, 3).await);
        notes.kind("told by the shutdown", file.shutdown().await);
        notes.kind("again", file.shutdown().await);
        notes.kind("seek", file.seek(SeekFrom::Start(1)).await);
        notes.kind("read", read_some(file, 3).await);
    }
    twins!(std::fs::OpenOptions::new().read(true), body);
}

/// The other direction of a handle that has only one.
#[test]
fn a_read_of_what_is_only_written_is_refused() {
    async fn body(file: &mut impl File, _: &Path, notes: &mut Notes) {
        notes.result("read", read_some(file, 3).await);
        notes.result("again", read_some(file, 3).await);
        notes.result("write", file.write(b"abc").await);
        notes.result("flush", file.flush().await);
    }
    twins!(std::fs::OpenOptions::new().write(true), body);
}

/// Callers bound their memory with it.
#[test]
fn one_operation_carries_no_more_than_its_limit() {
    async fn body(file: &mut impl File, path: &Path, notes: &mut Notes) {
        file.limit(3);
        notes.result("read", read_some(file, 9).await);
        notes.result("write", file.write(b"abcdef").await);
        let slices = [IoSlice::new(b"gh"), IoSlice::new(b"ij")];
        notes.result("vectored", file.write_vectored(&slices).await);
        notes.result("flush", file.flush().await);
        notes.result("what std sees", std::fs::read_to_string(path));
    }
    twins!(both(), body);
}

/// `start_seek` has no way to wait. (Of Tokio's own read nobody knows whether it is done already.)
#[test]
fn a_seek_while_something_is_pending_is_refused() {
    let _watchdog = support::watchdog();
    on_each_driver(async || {
        let mut file = wrapped(file_of(b"0123456789")).await;
        assert!(poll_read(&mut file, &mut [0; 4]).is_pending());
        let refused = Pin::new(&mut file).start_seek(SeekFrom::Start(0));
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::Other);
        // The extension waits first, and then goes from where the reader was.
        assert_eq!(file.seek(SeekFrom::Current(1)).await.unwrap(), 1);
        assert_eq!(read_some(&mut file, 4).await.unwrap(), b"1234");
    });
}

fn poll_read(file: &mut impl File, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(bytes);
    let mut cx = Context::from_waker(Waker::noop());
    let polled = Pin::new(file).poll_read(&mut cx, &mut buffer);
    polled.map_ok(|()| buffer.filled().len())
}

fn file_of(bytes: &[u8]) -> std::fs::File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

/// `select!` and timeouts drop reads at any time: the bytes must come, in order, each once.
#[test]
fn a_dropped_read_leaves_its_bytes_to_the_next() {
    let _watchdog = support::watchdog();
    on_each_driver(async || {
        let all = pattern(6_000);
        for (first, next) in [(100, 7), (7, 100), (5000, 5000)] {
            let mut file = wrapped(file_of(&all)).await;
            let mut seen = Vec::new();
            for round in 0.. {
                // Sometimes it is dropped under way, sometimes after its end.
                assert!(poll_read(&mut file, &mut vec![0; first]).is_pending());
                if round % 2 == 0 {
                    settle().await;
                }
                let more = read_some(&mut file, next).await.unwrap();
                if more.is_empty() {
                    break;
                }
                seen.extend(more);
                let position = file.stream_position().await.unwrap();
                assert_eq!(position, seen.len() as u64);
            }
            assert!(seen == all, "{first}, then {next}");
        }
    });
}

/// What was read for nobody is not skipped by a write, nor by the next owner.
#[test]
fn what_was_read_ahead_is_given_back_before_anything_else() {
    let _watchdog = support::watchdog();
    on_each_driver(async || {
        let with_bytes_ahead = async || {
            let mut file = wrapped(file_of(b"0123456789")).await;
            assert!(poll_read(&mut file, &mut [0; 8]).is_pending());
            assert_eq!(read_some(&mut file, 2).await.unwrap(), b"01");
            file
        };
        let mut file = with_bytes_ahead().await;
        file.write_all(b"ab").await.unwrap();
        assert_eq!(read_some(&mut file, 9).await.unwrap(), b"456789");

        let mut file = with_bytes_ahead().await;
        assert_eq!(file.seek(SeekFrom::Current(1)).await.unwrap(), 3);

        let file = with_bytes_ahead().await;
        let (file, error) = file.into_parts().unwrap();
        assert!(error.is_none());
        let mut file = handoff::file_to_std(file).await.unwrap();
        let mut rest = String::new();
        file.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "23456789");
    });
}

/// A program that writes and goes away: Tokio's files finish that, so ours do.
#[test]
fn an_accepted_write_goes_out_though_the_file_is_dropped() {
    let _watchdog = support::watchdog();
    on_each_driver(async || {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let all = pattern(1 << 20);
        let mut file = wrapped(std::fs::File::create(&path).unwrap()).await;
        assert_eq!(file.write(&all).await.unwrap(), all.len());
        drop(file);
        while std::fs::metadata(&path).unwrap().len() < all.len() as u64 {
            settle().await;
        }
        assert!(std::fs::read(&path).unwrap() == all);
    });
}

/// Nor does anybody have to poll it again.
#[test]
fn an_accepted_write_goes_out_though_nobody_polls_the_file() {
    let _watchdog = support::watchdog();
    on_each_driver(async || {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let mut file = wrapped(std::fs::File::create(&path).unwrap()).await;
        for (part, len) in [(&b"one, "[..], 5), (b"two", 8)] {
            assert_eq!(file.write(part).await.unwrap(), part.len());
            while std::fs::metadata(&path).unwrap().len() < len {
                settle().await;
            }
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"one, two");
    });
}

/// A waker may be an executor of its own. Its panic is not the end of the file.
#[test]
fn after_a_waker_that_panics_the_file_goes_on() {
    let _watchdog = support::watchdog();
    on_each_driver(async || {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let mut file = wrapped(std::fs::File::create(&path).unwrap()).await;
        file.write_all(b"one, ").await.unwrap();
        let panics = Arc::new(Panics::default());
        let waker = Waker::from(panics.clone());
        let flushed = Pin::new(&mut file).poll_flush(&mut Context::from_waker(&waker));
        assert!(flushed.is_pending());
        while !panics.was_woken() {
            settle().await;
        }
        file.write_all(b"two").await.unwrap();
        file.flush().await.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"one, two");
    });
}

/// Taken apart half-way, the file would have two cursors.
#[test]
fn a_file_is_taken_apart_only_when_nothing_is_in_flight() {
    let _watchdog = support::watchdog();
    on_each_driver(async || {
        let mut file = wrapped(file_of(b"0123456789")).await;
        assert!(poll_read(&mut file, &mut [0; 4]).is_pending());
        let file = file.into_parts().unwrap_err().into_inner();
        let (file, _) = file.into_parts_when_idle().await.unwrap();
        let mut file = file.into_tokio_io();
        assert_eq!(read_some(&mut file, 10).await.unwrap(), b"0123456789");

        let path = tempfile::NamedTempFile::new().unwrap();
        let mut file = wrapped(std::fs::File::open(path.path()).unwrap()).await;
        file.write_all(b"refused").await.unwrap();
        let (_, error) = file.into_parts_when_idle().await.unwrap();
        assert!(error.is_some(), "nobody was told");
    });
}

/// Tokio's reads of a pipe wait in a thread; Compio's positional reads do not know pipes.
#[test]
fn a_file_without_positions_is_refused() {
    on_each_driver(async || {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut file = wrapped(std::os::fd::OwnedFd::from(reader).into()).await;
        let error = read_some(&mut file, 1).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        let mut file = wrapped(std::os::fd::OwnedFd::from(writer).into()).await;
        let error = file.write(b"text").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        assert!(file.seek(SeekFrom::End(0)).await.is_err());
        assert!(file.seek(SeekFrom::Start(0)).await.is_err());
    });
}

/// Compio panics there.
#[test]
fn outside_of_its_runtime_there_are_errors() {
    let _watchdog = support::watchdog();
    for driver in [DriverType::Poll, DriverType::IoUring] {
        let Some(runtime) = runtime_on(driver) else {
            continue;
        };
        let (mut fresh, mut reading, mut writing) = runtime.block_on(async {
            let fresh = wrapped(file_of(b"text")).await;
            let mut reading = wrapped(file_of(b"text")).await;
            assert!(poll_read(&mut reading, &mut [0; 4]).is_pending());
            let mut writing = wrapped(file_of(b"text")).await;
            writing.write_all(b"TEXT").await.unwrap();
            (fresh, reading, writing)
        });
        let errors = |file: &mut FileAsTokio| {
            futures::executor::block_on(async {
                assert!(read_some(file, 4).await.is_err());
                assert!(file.write(b"text").await.is_err());
                assert!(file.seek(SeekFrom::Start(0)).await.is_err());
            });
        };
        errors(&mut fresh);
        errors(&mut reading);
        drop(runtime);
        errors(&mut writing);
        let all = futures::executor::block_on(writing.into_parts_when_idle());
        drop(all.unwrap());
    }
}

/// It would wait for ever: nobody runs the driver that has the operation.
#[test]
fn a_read_in_flight_polled_on_another_runtime_is_an_error() {
    let _watchdog = support::watchdog();
    for driver in [DriverType::Poll, DriverType::IoUring] {
        let Some(runtime) = runtime_on(driver) else {
            continue;
        };
        let mut file = runtime.block_on(async {
            let mut file = wrapped(file_of(b"text")).await;
            assert!(poll_read(&mut file, &mut [0; 4]).is_pending());
            file
        });
        let other = runtime_on(driver).unwrap();
        other.block_on(async {
            assert!(read_some(&mut file, 4).await.is_err());
        });
    }
}

/// Through the extension methods that everybody uses, in sizes around the limit of an operation.
#[test]
fn large_files_are_written_and_read_whole() {
    let _watchdog = support::watchdog();
    on_each_driver(async || {
        let all = pattern(5_000_001);
        let mut file = wrapped(file_of(b"")).await;
        tokio::io::copy(&mut &all[..], &mut file).await.unwrap();
        file.write_all(&all).await.unwrap();
        file.rewind().await.unwrap();
        let mut got = Vec::new();
        assert_eq!(file.read_to_end(&mut got).await.unwrap(), 2 * all.len());
        assert!(got == [&all[..], &all[..]].concat());
    });
}

/// A read, a write or a seek that is dropped after any poll leaves a file that goes on.
#[test]
fn dropped_after_any_poll_it_goes_on() {
    async fn polled<F: Future>(future: F, polls: usize) {
        let mut future = pin!(future);
        for _ in 0..polls {
            let ready = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await;
            if ready {
                break;
            }
            settle().await;
        }
    }
    let _watchdog = support::watchdog();
    on_each_driver(async || {
        for polls in 0..4 {
            let mut file = wrapped(file_of(&pattern(1000))).await;
            polled(file.read(&mut [0; 100]), polls).await;
            polled(file.seek(SeekFrom::End(-5)), polls).await;
            polled(file.write(b"late"), polls).await;
            polled(file.flush(), polls).await;
            polled(file.seek(SeekFrom::Start(500)), polls).await;
            file.seek(SeekFrom::Start(10)).await.unwrap();
            let got = read_some(&mut file, 90).await.unwrap();
            assert_eq!(got, pattern(1000)[10..100]);
        }
    });
}
