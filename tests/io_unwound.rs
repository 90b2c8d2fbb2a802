//! Shims and runtimes that went away, by a panic too, or that are not the one they were begun on.

#![cfg(target_os = "linux")]

mod io_support;
mod support;

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use compio::driver::DriverType;
use compio::net::UnixStream;
use compio::runtime::Runtime;
use io_support::runtime_on;
use landbridge::io::{CompioWriteAsTokio, FileAsTokio, SocketAsTokio};
use support::{in_child_that_leaks, watchdog};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWrite, AsyncWriteExt, ReadBuf};

const DRIVERS: [DriverType; 2] = [DriverType::Poll, DriverType::IoUring];

fn pair() -> (UnixStream, std::os::unix::net::UnixStream) {
    let (ours, peer) = std::os::unix::net::UnixStream::pair().unwrap();
    (UnixStream::from_std(ours).unwrap(), peer)
}

async fn file() -> FileAsTokio {
    let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    let mut options = compio::fs::OpenOptions::new();
    let file = options.read(true).write(true).open(&path).await;
    FileAsTokio::new(file.unwrap())
}

/// Uses a runtime that is then dropped by a panic: Compio leaves its tasks behind, for ever. The next one is likely to
/// get its driver's number.
fn unwound<T>(driver: DriverType, used: impl FnOnce(&Runtime) -> T) -> Option<(T, Runtime)> {
    let (mut kept, mut number) = (None, -1);
    let runtime = runtime_on(driver)?;
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let runtime = runtime;
        number = runtime.as_raw_fd();
        kept = Some(used(&runtime));
        panic!("an ordinary panic");
    }));
    assert!(panicked.is_err());
    Some((kept?, with_number(driver, number)?))
}

fn with_number(driver: DriverType, number: RawFd) -> Option<Runtime> {
    let mut lower = Vec::new();
    for _ in 0..100 {
        let runtime = runtime_on(driver)?;
        if runtime.as_raw_fd() >= number {
            return Some(runtime);
        }
        drop(runtime);
        lower.push(File::open("Cargo.toml").unwrap());
    }
    runtime_on(driver)
}

/// It would wait for a helper that is no more.
#[test]
fn a_writer_of_an_unwound_runtime_is_an_error_on_the_next() {
    in_child_that_leaks(
        "a_writer_of_an_unwound_runtime_is_an_error_on_the_next",
        || {
            for driver in DRIVERS {
                let Some(((mut writer, _peer), next)) = unwound(driver, |runtime| {
                    runtime.block_on(async {
                        let (ours, peer) = pair();
                        let mut writer = CompioWriteAsTokio::new(ours);
                        writer.write_all(b"first").await.unwrap();
                        writer.flush().await.unwrap();
                        (writer, peer)
                    })
                }) else {
                    continue;
                };
                next.block_on(async {
                    let written = writer.write_all(&[7; 1 << 20]).await;
                    assert!(written.is_err() || writer.flush().await.is_err());
                });
            }
        },
    );
}

/// What drove the sockets of the runtime before does not drive those of this one.
#[test]
fn sockets_of_the_next_runtime_are_driven() {
    in_child_that_leaks("sockets_of_the_next_runtime_are_driven", || {
        for driver in DRIVERS {
            let Some((_kept, next)) = unwound(driver, |runtime| {
                // Not in a `block_on`, so that the helper is never polled.
                runtime.enter(|| {
                    let (ours, peer) = pair();
                    let mut socket = SocketAsTokio::new(ours);
                    let mut byte = [0];
                    let mut cx = Context::from_waker(Waker::noop());
                    let mut into = ReadBuf::new(&mut byte);
                    let read =
                        tokio::io::AsyncRead::poll_read(Pin::new(&mut socket), &mut cx, &mut into);
                    assert!(read.is_pending());
                    (socket, peer)
                })
            }) else {
                continue;
            };
            next.block_on(async {
                let (ours, mut peer) = pair();
                let mut socket = SocketAsTokio::new(ours);
                let read = async { socket.read_u8().await.unwrap() };
                let written = async { std::io::Write::write_all(&mut peer, b"x").unwrap() };
                assert_eq!(futures::future::join(read, written).await.0, b'x');
            });
        }
    });
}

/// Its writes are driven where they were begun; whoever waits for them elsewhere would wait for ever.
#[test]
fn a_file_is_an_error_on_a_second_runtime_and_goes_on_in_the_first() {
    let _watchdog = watchdog();
    for driver in DRIVERS {
        let (Some(first), Some(second)) = (runtime_on(driver), runtime_on(driver)) else {
            continue;
        };
        let mut file = first.block_on(file());
        first.block_on(async {
            file.write_all(b"one, ").await.unwrap();
            file.flush().await.unwrap();
        });
        second.block_on(async { file.write_all(b"lost").await.unwrap_err() });
        first.block_on(async {
            file.write_all(b"two").await.unwrap();
            file.rewind().await.unwrap();
            let mut text = String::new();
            file.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "one, two");
        });

        // Begun on the first, waited for on the second.
        let begun = first.enter(|| {
            let cx = &mut Context::from_waker(Waker::noop());
            Pin::new(&mut file).poll_write(cx, &vec![7; 1 << 20])
        });
        assert!(begun.is_ready());
        second.block_on(async { file.flush().await.unwrap_err() });
    }
}

struct Panicking;

impl Wake for Panicking {
    fn wake(self: Arc<Self>) {
        panic!("a waker");
    }
}

/// Compio aborts the process if a destructor of one of its tasks panics.
#[test]
fn a_waker_that_panics_as_the_runtime_ends_does_not_end_the_process() {
    let _watchdog = watchdog();
    for driver in DRIVERS {
        let Some(runtime) = runtime_on(driver) else {
            continue;
        };
        let mut file = runtime.block_on(file());
        runtime.enter(|| {
            let cx = &mut Context::from_waker(Waker::noop());
            let written = Pin::new(&mut file).poll_write(cx, &vec![7; 1 << 20]);
            assert!(written.is_ready());
            let waker = Waker::from(Arc::new(Panicking));
            let flushed = Pin::new(&mut file).poll_flush(&mut Context::from_waker(&waker));
            assert!(flushed.is_pending());
        });
        drop(runtime);
    }
}
