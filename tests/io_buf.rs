//! Owned buffers from types that Compio does not know.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicPtr, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use compio::buf::{IoBuf, IoBufMut, IoVectoredBuf, SetLen};
use compio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use futures::executor::block_on;
use landbridge::io::buf::{AsBuf, AsBufMut, BufError, BufMutBuf, Chunks};

/// A type that says something else each time it is asked.
struct Fickle {
    bytes: [u8; 16],
    asked: Cell<usize>,
    shrinks: bool,
}

impl AsRef<[u8]> for Fickle {
    fn as_ref(&self) -> &[u8] {
        self.asked.set(self.asked.get() + 1);
        let last = if self.shrinks {
            16 / self.asked.get()
        } else {
            16
        };
        &self.bytes[..last]
    }
}

impl AsMut<[u8]> for Fickle {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..1]
    }
}

fn fickle(shrinks: bool) -> Fickle {
    Fickle {
        bytes: [7; 16],
        asked: Cell::new(0),
        shrinks,
    }
}

/// Compio joins the pointer of one look with the length of another: what differs is refused.
#[test]
#[should_panic(expected = "differ in length")]
fn bytes_whose_two_views_differ_are_refused() {
    let mut buffer = AsBufMut::new(fickle(false));
    let _ = buffer.as_uninit().len();
}

/// The same for a view that differs from itself.
#[test]
#[should_panic(expected = "changed its length")]
fn bytes_that_change_their_length_are_refused() {
    let _ = AsBufMut::new(fickle(true)).as_init();
}

/// The arena at the heart of many programs is one of these.
#[test]
fn a_read_fills_as_mut_bytes_from_their_start() {
    block_on(async {
        let (count, buffer) = (&b"abc"[..]).read(AsBufMut::new([9_u8; 5])).await.unwrap();
        assert_eq!((count, buffer.into_inner()), (3, *b"abc\x09\x09"));
        let (_, buffer) = (&b"abcde"[..])
            .read_exact(AsBufMut::new([0_u8; 5]))
            .await
            .unwrap();
        assert_eq!(buffer.into_inner(), *b"abcde");
    });
}

/// `write_all` looks at its buffer several times.
#[test]
fn as_ref_bytes_are_written() {
    block_on(async {
        let mut out = Vec::new();
        let (_, buffer) = out.write_all(AsBuf::new("text")).await.unwrap();
        assert_eq!((out, buffer.into_inner()), (b"text".to_vec(), "text"));
    });
}

/// Appending is what a `BufMut` is for; what was there stays.
#[test]
fn a_read_is_appended_to_a_buf_mut() {
    block_on(async {
        let mut target = BytesMut::with_capacity(64);
        target.put_slice(b"head ");
        let (count, buffer) = (&b"body"[..]).read(BufMutBuf::new(target)).await.unwrap();
        assert_eq!(count, 4);
        assert_eq!(buffer.as_init(), b"body");
        assert_eq!(&buffer.into_inner()[..], b"head body");
    });
}

/// Its memory may be inside of the value, which moves with the buffer.
#[test]
fn a_buf_mut_of_borrowed_memory_keeps_its_place() {
    block_on(async {
        // Known to somebody, so that it is no leak.
        static KEPT: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
        let memory: &'static mut [u8] = Box::leak(Box::new([0; 8]));
        KEPT.store(memory.as_mut_ptr(), Ordering::Relaxed);
        let buffer = BufMutBuf::new(memory.limit(6));
        let moved = std::thread::spawn(move || buffer).join().unwrap();
        let (_, buffer) = (&b"0123456789"[..]).read_exact(moved).await.unwrap();
        assert_eq!(buffer.as_init(), b"012345");
        assert_eq!(buffer.into_inner().into_inner(), [0, 0]);
    });
}

/// A buffer that is dropped in mid-operation must leave its target as it was, and free it once.
#[test]
fn a_dropped_buf_mut_buf_appends_nothing() {
    let mut buffer = BufMutBuf::new(Vec::with_capacity(16));
    buffer.as_uninit()[0].write(1);
    drop(buffer);
    let mut buffer = BufMutBuf::new(vec![1_u8; 3]);
    buffer.clear();
    assert_eq!(buffer.into_inner(), [1; 3]);
}

/// A body of many chunks goes out in one call.
#[test]
fn chunks_are_written_in_order_without_joining() {
    block_on(async {
        let list = [
            Bytes::from_static(b"a"),
            Bytes::new(),
            Bytes::from_static(b"bc"),
        ];
        let chunks = Chunks::new(std::collections::VecDeque::from(list));
        assert_eq!(chunks.total_len(), 3);
        let mut out = Vec::new();
        let (_, chunks) = out.write_vectored_all(chunks).await.unwrap();
        assert_eq!(out, b"abc");
        assert_eq!(chunks.into_inner().len(), 3);
    });
}

/// `?` in a function of `io::Result`, and the buffer for whoever wants it.
#[test]
fn a_buf_error_gives_back_the_error_and_the_buffer() {
    let error = BufError::new(io::Error::other("full"), Some(vec![1]));
    assert_eq!(error.to_string(), "full");
    let (cause, buffer) = error.into_parts();
    assert_eq!(
        (cause.kind(), buffer),
        (io::ErrorKind::Other, Some(vec![1]))
    );
    let cause: io::Error = BufError::<Vec<u8>>::new(io::ErrorKind::TimedOut.into(), None).into();
    assert_eq!(cause.kind(), io::ErrorKind::TimedOut);
}
