//! Files that move from one runtime to the other, with their cursor where there is one.
#![cfg(unix)]

mod io_support;

use std::future::{Future, poll_fn};
use std::io::{Read, Seek, SeekFrom, Write};
use std::pin::Pin;
use std::task::Poll;

use compio::driver::ToSharedFd;
use compio::io::{AsyncReadAtExt, AsyncWriteAtExt};
use io_support::{on_each_driver, settle};
use landbridge::handoff::{self, HandoffError, NotHandedOver};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

fn file_of(text: &[u8]) -> std::fs::File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text).unwrap();
    file.rewind().unwrap();
    file
}

fn refused<S, T>(result: Result<T, HandoffError<S>>, why: NotHandedOver) -> S {
    let Err(error) = result else {
        panic!("handed over, against {why:?}");
    };
    assert_eq!(error.reason(), Some(why));
    error.into_object()
}

async fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx).is_pending())).await
}

/// Begins a read and drops it under way: Tokio's one blocking thread has something else to do meanwhile.
async fn drop_a_read(file: &mut tokio::fs::File, len: usize) {
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let other = tokio::task::spawn_blocking(move || wait.recv());
    {
        let mut bytes = vec![0; len];
        let mut read = std::pin::pin!(file.read(&mut bytes));
        assert!(is_pending(&mut read).await);
    }
    drop(done);
    assert!(other.await.unwrap().is_err());
}

/// A Tokio runtime with one thread that blocks.
fn one_blocking_thread() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let builder = builder.worker_threads(1).max_blocking_threads(1);
    builder.enable_all().build().unwrap()
}

/// A record that is read in two parts, by two runtimes, is read once.
#[test]
fn the_cursor_goes_along() {
    on_each_driver(async || {
        let mut file = handoff::file_to_tokio(file_of(b"one two three four"))
            .await
            .unwrap();
        let mut word = [0; 4];
        file.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"one ");

        // Compio's files have none; the operating system keeps it.
        let file = handoff::file_to_compio(file).await.unwrap();
        let (_, all) = file.read_to_end_at(Vec::new(), 0).await.unwrap();
        assert_eq!(all, b"one two three four");

        settle().await;
        let mut file = handoff::file_to_std(file).await.unwrap();
        file.read_exact(&mut word).unwrap();
        assert_eq!(&word, b"two ");

        let mut file = handoff::file_to_tokio(file).await.unwrap();
        let mut rest = String::new();
        file.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "three four");
    });
}

/// Tokio reads ahead for a read that is then dropped, and its own `into_std` leaves the cursor after what nobody
/// was given.
#[test]
fn what_tokio_read_for_nobody_is_read_again() {
    let tokio = one_blocking_thread();
    on_each_driver(async || {
        let _context = tokio.enter();
        let mut file = tokio::fs::File::from_std(file_of(b"one two three"));
        let mut word = [0; 4];
        file.read_exact(&mut word).await.unwrap();
        drop_a_read(&mut file, 8).await;
        let mut file = handoff::file_to_std(file).await.unwrap();
        let mut rest = String::new();
        file.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "two three");
    });
}

/// An accepted write is in the file before the next owner reads it.
#[test]
fn a_write_under_way_is_waited_for() {
    on_each_driver(async || {
        let mut file = tokio::fs::File::from_std(file_of(b""));
        file.write_all(b"accepted").await.unwrap();
        let file = handoff::file_to_compio(file).await.unwrap();
        let (_, all) = file.read_to_end_at(Vec::new(), 0).await.unwrap();
        assert_eq!(all, b"accepted");
        let mut file = handoff::file_to_std(file).await.unwrap();
        assert_eq!(file.stream_position().unwrap(), 8);
    });
}

/// The last chance to be told of it.
#[test]
fn a_write_that_failed_is_told_with_the_file() {
    on_each_driver(async || {
        let path = tempfile::NamedTempFile::new().unwrap();
        let read_only = std::fs::File::open(path.path()).unwrap();
        let mut file = tokio::fs::File::from_std(read_only);
        file.write_all(b"refused").await.unwrap();
        let (error, file) = handoff::file_to_std(file).await.unwrap_err().into_parts();
        assert!(error.get_ref().is_none_or(|e| !e.is::<NotHandedOver>()));
        // Told once.
        handoff::file_to_std(file).await.unwrap();
    });
}

/// A FIFO cannot be put back to where its reader was, and nothing says whether there is something to put back.
#[test]
fn a_file_of_tokios_without_a_cursor_stays() {
    let tokio = one_blocking_thread();
    on_each_driver(async || {
        let _context = tokio.enter();
        let (reader, mut writer) = std::io::pipe().unwrap();
        let reader = std::fs::File::from(std::os::fd::OwnedFd::from(reader));
        let mut file = tokio::fs::File::from_std(reader);
        writer.write_all(b"one two").unwrap();
        drop_a_read(&mut file, 7).await;
        let mut file = refused(handoff::file_to_std(file).await, NotHandedOver::NoCursor);
        let mut bytes = [0; 7];
        file.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"one two");
    });
}

/// A clone's operations would go on beside those of the new owner.
#[test]
fn a_file_of_compios_with_a_clone_stays() {
    on_each_driver(async || {
        let mut file = handoff::file_to_compio(file_of(b"text")).await.unwrap();
        let clone = file.clone();
        file = refused(handoff::file_to_std(file).await, NotHandedOver::InUse);
        file = refused(handoff::file_to_tokio(file).await, NotHandedOver::InUse);
        drop(clone);
        let shared = file.to_shared_fd();
        file = refused(handoff::file_to_tokio(file).await, NotHandedOver::InUse);
        drop(shared);
        file.write_all_at(&b"TEXT"[..], 0).await.unwrap();
        settle().await;
        let mut file = handoff::file_to_tokio(file).await.unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "TEXT");
        file.seek(SeekFrom::Start(0)).await.unwrap();
    });
}

/// Tokio's files panic there, Compio's have no driver.
#[test]
fn without_its_runtime_a_file_stays() {
    let block_on = futures::executor::block_on::<std::pin::Pin<Box<dyn Future<Output = ()>>>>;
    block_on(Box::pin(async {
        let file = file_of(b"text");
        let file = refused(handoff::file_to_compio(file).await, NotHandedOver::NoCompio);
        let file = handoff::file_to_tokio(file).await.unwrap();
        let file = refused(handoff::file_to_std(file).await, NotHandedOver::NoTokio);
        let file = refused(handoff::file_to_compio(file).await, NotHandedOver::NoCompio);
        let mut file = file.try_into_std().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
    }));
}

/// POSIX locks of a process end when it closes any descriptor of the file.
#[test]
#[cfg(target_os = "linux")]
fn a_file_keeps_its_descriptor() {
    use std::os::fd::AsRawFd;

    on_each_driver(async || {
        let file = file_of(b"text");
        let number = file.as_raw_fd();
        let file = handoff::file_to_compio(file).await.unwrap();
        assert_eq!(file.as_raw_fd(), number);
        let file = handoff::file_to_tokio(file).await.unwrap();
        let file = handoff::file_to_compio(file).await.unwrap();
        assert_eq!(file.as_raw_fd(), number);
    });
}
