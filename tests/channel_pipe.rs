//! The pipe: bytes between two tasks, as owned buffers and through both runtimes' traits.

#![cfg(not(landbridge_loom))]

mod channel_support;

use std::{
    collections::{HashSet, VecDeque},
    io::{ErrorKind, IoSlice},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
};

use channel_support::{
    Wakes, cancel_after,
    ends::{ENDS, WAITS, every_pair},
    poll, poll_once,
};
use compio::buf::BufResult;
use futures::executor::block_on;
use landbridge::channel::{
    self, TryRecvError, TrySendError, Wait,
    pipe::{Reader, Writer},
};
use proptest::prelude::*;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// The most chunks that are under way, which the docs promise.
const CHUNKS: usize = 32;

/// Byte number `i` of the stream that most tests send.
fn byte(i: usize) -> u8 {
    (i ^ (i >> 8).wrapping_mul(31) ^ (i >> 16)) as u8
}

fn bytes(range: std::ops::Range<usize>) -> Vec<u8> {
    range.map(byte).collect()
}

fn try_read(reader: &mut Reader, max: usize) -> Poll<Vec<u8>> {
    let mut buffer = vec![0; max];
    poll(reader.read(&mut buffer)).map(|count| {
        buffer.truncate(count.unwrap());
        buffer
    })
}

// ---- owned buffers ---------------------------------------------------------------------------------

/// Not to copy is what the owned calls are for, and a copy would not be noticed otherwise.
#[test]
fn the_very_buffer_that_was_sent_is_received_and_comes_back() {
    let (mut writer, mut reader) = channel::pipe(1 << 16);
    let mut buffer = Vec::with_capacity(9000);
    buffer.extend(bytes(0..5000));
    let there = buffer.as_ptr();
    block_on(writer.send(&mut buffer)).unwrap();
    assert_eq!((buffer.len(), buffer.capacity()), (0, 0));

    let received = block_on(reader.recv()).unwrap();
    assert_eq!((received.as_ptr(), received.capacity()), (there, 9000));
    assert_eq!(received, bytes(0..5000));
    reader.give_back(received);

    let back = writer.empty();
    assert_eq!(
        (back.as_ptr(), back.len(), back.capacity()),
        (there, 0, 9000)
    );
    assert_eq!(writer.empty().capacity(), 0, "there was only one");
}

/// The promise that a steady stream allocates nothing: whatever lap, it is the same few buffers.
#[test]
fn a_steady_stream_goes_round_with_the_same_buffers() {
    const CHUNK: usize = 4096;
    let (mut writer, mut reader) = channel::pipe(4 * CHUNK);
    let mut seen = HashSet::new();
    for lap in 0..500 {
        for _ in 0..1 + lap % 4 {
            let mut buffer = writer.empty();
            buffer.reserve_exact(CHUNK);
            seen.insert(buffer.as_ptr() as usize);
            buffer.resize(CHUNK, lap as u8);
            writer.try_send(&mut buffer).unwrap();
        }
        while let Ok(buffer) = reader.try_recv() {
            reader.give_back(buffer);
        }
    }
    assert!(seen.len() <= 4, "{} buffers", seen.len());
}

/// The same of borrowed writes and reads, whose buffers nobody sees: what comes out at last was not made
/// for the last write.
#[test]
fn borrowed_calls_use_the_buffers_that_come_back() {
    let (mut writer, mut reader) = channel::pipe(1 << 16);
    let mut first = Vec::with_capacity(5000);
    first.push(0);
    let there = first.as_ptr();
    writer.try_send(&mut first).unwrap();
    for _ in 0..100 {
        assert!(try_read(&mut reader, 9000).is_ready());
        assert!(poll(writer.write(&[1; 3000])).is_ready());
    }
    let last = reader.try_recv().unwrap();
    assert_eq!(last.as_ptr(), there);
}

/// One large message must not be remembered for ever, 32 times over, by a pipe that is bounded.
#[test]
fn what_is_kept_for_reuse_is_bounded() {
    let (mut writer, mut reader) = channel::pipe(320);
    let kept = |writer: &mut Writer| -> Vec<usize> {
        std::iter::from_fn(|| Some(writer.empty().capacity()).filter(|it| *it > 0)).collect()
    };
    for _ in 0..10 {
        reader.give_back(Vec::with_capacity(200));
    }
    assert_eq!(kept(&mut writer), [200; 3]);
    for _ in 0..10 {
        reader.give_back(Vec::with_capacity(10_000));
    }
    assert_eq!(kept(&mut writer), [10_000]);
    for _ in 0..100 {
        reader.give_back(Vec::with_capacity(1));
    }
    assert_eq!(kept(&mut writer), [1; CHUNKS]);
    drop(writer);
    reader.give_back(Vec::with_capacity(1));
}

/// What was read of a buffer through the traits must not come again.
#[test]
fn a_buffer_that_was_partly_read_is_received_without_what_was_read() {
    let (mut writer, mut reader) = channel::pipe(100);
    writer.try_send(&mut b"abcdef".to_vec()).unwrap();
    assert_eq!(try_read(&mut reader, 2), Poll::Ready(b"ab".to_vec()));
    let rest = reader.try_recv().unwrap();
    assert_eq!(rest, b"cdef");
    reader.give_back(rest);
    assert_eq!(reader.try_recv(), Err(TryRecvError::Empty));
    // All of its room is free again.
    writer.try_send(&mut vec![0; 100]).unwrap();
}

// ---- the bound -------------------------------------------------------------------------------------

/// Whoever sets a bound means it, and whoever has room must get it.
#[test]
fn no_more_is_under_way_than_the_capacity() {
    for capacity in [1, 2, 7, 31, 32, 33, 100, 64 * 1024] {
        let (mut writer, mut reader) = channel::pipe(capacity);
        assert_eq!((writer.capacity(), reader.capacity()), (capacity, capacity));
        let mut written = 0;
        while let Poll::Ready(count) = poll(writer.write(&bytes(written..written + 3000))) {
            written += count.unwrap();
        }
        assert_eq!(written, capacity);
        assert_eq!(
            try_read(&mut reader, 1 << 17),
            Poll::Ready(bytes(0..written))
        );
        let mut whole = vec![7; capacity];
        writer.try_send(&mut whole).unwrap();
        assert_eq!(writer.try_send(&mut vec![1]), Err(TrySendError::Full(())));
    }
    assert_eq!(channel::pipe(0).0.capacity(), 1);
}

/// A buffer of any size can be sent, or the largest message would be a matter of configuration.
#[test]
fn a_buffer_heavier_than_the_capacity_is_sent_alone() {
    let (mut writer, mut reader) = channel::pipe(10);
    let mut heavy = bytes(0..1000);
    writer.try_send(&mut vec![9]).unwrap();
    assert_eq!(writer.try_send(&mut heavy), Err(TrySendError::Full(())));
    assert!(poll(writer.send(&mut heavy)).is_pending());
    assert_eq!(heavy, bytes(0..1000));
    assert_eq!(reader.try_recv(), Ok(vec![9]));
    writer.try_send(&mut heavy).unwrap();
    assert_eq!(writer.try_send(&mut vec![1]), Err(TrySendError::Full(())));
    // Until less of it is left than the capacity.
    assert_eq!(
        try_read(&mut reader, 995).map(|it| it.len()),
        Poll::Ready(995)
    );
    writer.try_send(&mut vec![1; 5]).unwrap();
    assert_eq!(
        try_read(&mut reader, 99),
        Poll::Ready([&bytes(995..1000)[..], &[1; 5]].concat())
    );
}

/// Bytes are not all that a chunk costs: a send of one byte each would make a buffer of each byte.
#[test]
fn small_chunks_do_not_pile_up() {
    let (mut writer, mut reader) = channel::pipe(1 << 20);
    let mut sent = 0;
    while writer.try_send(&mut vec![byte(sent)]).is_ok() {
        sent += 1;
    }
    assert_eq!(sent, CHUNKS);
    // A read takes them as one.
    assert_eq!(try_read(&mut reader, 100), Poll::Ready(bytes(0..CHUNKS)));
    writer.try_send(&mut vec![1]).unwrap();
}

/// Whoever writes byte by byte gets all of the room, and not a wake-up of the reader for each.
#[test]
fn small_writes_gather_until_they_are_read() {
    let (mut writer, mut reader) = channel::pipe(100 * CHUNKS);
    let (wakes, waker) = Wakes::new();
    for lap in 0..3 {
        assert!(poll_once(&waker, reader.recv()).is_pending());
        let (mut written, mut pending) = (0, 0);
        // Once it is only the neighbours' turn.
        while pending < 2 {
            match poll(writer.write(&[byte(written)])) {
                Poll::Ready(count) => {
                    written += count.unwrap();
                    pending = 0;
                }
                Poll::Pending => pending += 1,
            }
        }
        assert_eq!(written, 100 * CHUNKS);
        assert_eq!(wakes.count(), lap + 1);
        let mut chunks = 0;
        let mut read = Vec::new();
        while let Ok(chunk) = reader.try_recv() {
            read.extend(chunk);
            chunks += 1;
        }
        assert_eq!((chunks, read), (CHUNKS, bytes(0..written)));
    }
}

/// It is one stream of bytes, so nothing may gather ahead of what was sent before it.
#[test]
fn small_writes_gather_behind_nothing_that_was_followed() {
    let (mut writer, mut reader) = channel::pipe(100 * CHUNKS);
    assert!(poll(writer.write(b"one ")).is_ready());
    assert!(poll(writer.write(b"two ")).is_ready());
    writer.try_send(&mut b"three ".to_vec()).unwrap();
    assert!(poll(writer.write(b"four ")).is_ready());
    assert!(poll(writer.write(&[b'5'; 101])).is_ready());
    assert!(poll(writer.write(b" six")).is_ready());
    writer.shut_down();
    for expected in [&b"one two "[..], b"three ", b"four ", &[b'5'; 101], b" six"] {
        assert_eq!(reader.try_recv().as_deref(), Ok(expected));
    }
    assert_eq!(reader.try_recv(), Err(TryRecvError::Closed));
}

/// A write is not accepted that nobody can read, also where there would be no need to ask the reader.
#[test]
fn a_small_write_after_the_end_is_refused() {
    for shut_down in [false, true] {
        let (mut writer, mut reader) = channel::pipe(100 * CHUNKS);
        assert!(poll(writer.write(b"before")).is_ready());
        if shut_down {
            writer.shut_down();
        } else {
            reader.close();
        }
        let error = block_on(writer.write(b"after")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        assert_eq!(reader.try_recv().as_deref(), Ok(&b"before"[..]));
        assert_eq!(reader.try_recv(), Err(TryRecvError::Closed));
    }
}

/// A wake-up costs more than the bytes: one for a read, and none before there is what is waited for.
#[test]
fn a_writer_that_waits_is_woken_once_and_only_when_there_is_what_it_needs() {
    let (mut writer, mut reader) = channel::pipe(320);
    for _ in 0..CHUNKS {
        writer.try_send(&mut vec![0; 10]).unwrap();
    }
    let (wakes, waker) = Wakes::new();
    let mut buffer = vec![1; 100];
    assert!(poll_once(&waker, writer.send(&mut buffer)).is_pending());
    for _ in 0..99 {
        assert!(try_read(&mut reader, 1).is_ready());
    }
    assert_eq!(wakes.count(), 0);
    assert!(try_read(&mut reader, 1).is_ready());
    assert_eq!(wakes.count(), 1);
    assert!(poll(writer.send(&mut buffer)).is_ready());

    // Many chunks at once, and one wake-up.
    assert!(poll_once(&waker, writer.send(&mut vec![1; 10])).is_pending());
    assert_eq!(
        try_read(&mut reader, 300).map(|it| it.len()),
        Poll::Ready(300)
    );
    assert_eq!(wakes.count(), 2);
}

/// The need that counts is that of the last wait.
#[test]
fn a_wait_for_less_than_an_earlier_one_is_woken_by_less() {
    let (mut writer, mut reader) = channel::pipe(100);
    writer.try_send(&mut vec![0; 100]).unwrap();
    assert!(poll(writer.send(&mut vec![1; 90])).is_pending());
    let (wakes, waker) = Wakes::new();
    assert!(poll_once(&waker, writer.send(&mut vec![1; 10])).is_pending());
    assert!(try_read(&mut reader, 10).is_ready());
    assert_eq!(wakes.count(), 1);
}

// ---- the traits ------------------------------------------------------------------------------------

/// Memory that was not initialised stays the caller's: it is neither read nor filled with zeros.
#[test]
fn a_read_initialises_what_it_fills_and_nothing_else() {
    let (mut writer, mut reader) = channel::pipe(100);
    writer.try_send(&mut b"abc".to_vec()).unwrap();
    let mut memory = [const { std::mem::MaybeUninit::uninit() }; 50];
    let mut buffer = ReadBuf::uninit(&mut memory);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(
        Pin::new(&mut reader)
            .poll_read(&mut cx, &mut buffer)
            .is_ready()
    );
    assert_eq!(
        (buffer.filled(), buffer.initialized().len()),
        (&b"abc"[..], 3)
    );
}

/// A header and a body in two chunks would be two messages for the reader.
#[test]
fn a_vectored_write_makes_one_chunk_of_its_slices() {
    let slices = [b"".as_slice(), b"ov", b"er", b"", b" the bridge"].map(IoSlice::new);
    let (mut writer, mut reader) = channel::pipe(100);
    assert!(writer.is_write_vectored());
    assert_eq!(block_on(writer.write_vectored(&slices)).unwrap(), 15);
    assert_eq!(reader.try_recv(), Ok(b"over the bridge".to_vec()));

    let owned = [b"ov".to_vec(), Vec::new(), b"er".to_vec()];
    let BufResult(count, owned) =
        block_on(compio::io::AsyncWrite::write_vectored(&mut writer, owned));
    assert_eq!((count.unwrap(), owned[0].as_slice()), (4, &b"ov"[..]));
    assert_eq!(reader.try_recv(), Ok(b"over".to_vec()));

    // As much as there is room for, across a border.
    let (mut writer, mut reader) = channel::pipe(3);
    assert_eq!(block_on(writer.write_vectored(&slices)).unwrap(), 3);
    assert_eq!(reader.try_recv(), Ok(b"ove".to_vec()));
}

/// Compio's callers hand over a buffer and rely on getting that one back, longer by what was read.
#[test]
fn a_read_of_compios_fills_the_buffer_from_its_start() {
    let (mut writer, mut reader) = channel::pipe(100);
    writer.try_send(&mut b"abcdefgh".to_vec()).unwrap();
    let BufResult(count, buffer) = block_on(compio::io::AsyncRead::read(
        &mut reader,
        Vec::with_capacity(3),
    ));
    assert_eq!((count.unwrap(), buffer), (3, b"abc".to_vec()));
    let parts = [Vec::with_capacity(2), Vec::with_capacity(100)];
    let BufResult(count, parts) =
        block_on(compio::io::AsyncRead::read_vectored(&mut reader, parts));
    assert_eq!(
        (count.unwrap(), parts),
        (5, [b"de".to_vec(), b"fgh".to_vec()])
    );
}

/// A parser holds what it peeked at, and consumes it later.
#[test]
fn what_was_peeked_at_and_not_consumed_is_read_again() {
    let (mut writer, mut reader) = channel::pipe(100);
    writer.try_send(&mut b"line\nrest".to_vec()).unwrap();
    block_on(async {
        assert_eq!(reader.fill_buf().await.unwrap(), b"line\nrest");
        let mut line = String::new();
        reader.read_line(&mut line).await.unwrap();
        assert_eq!(line, "line\n");
        assert_eq!(reader.fill_buf().await.unwrap(), b"rest");
        assert_eq!(reader.recv().await.as_deref(), Some(&b"rest"[..]));
        drop(writer);
        assert_eq!(reader.fill_buf().await.unwrap(), b"");
    });
    let consumed = catch_unwind(AssertUnwindSafe(|| {
        tokio::io::AsyncBufRead::consume(Pin::new(&mut reader), 1);
    }));
    assert!(consumed.is_err(), "more than there was");
}

/// Each call's bytes are a part of one stream, whichever trait or method it belongs to.
#[test]
fn all_ways_of_writing_and_reading_are_one_stream() {
    block_on(async {
        let (mut writer, mut reader) = channel::pipe(1 << 12);
        writer.write_all(b"one ").await.unwrap();
        writer.send(&mut b"two ".to_vec()).await.unwrap();
        let result = compio::io::AsyncWriteExt::write_all(&mut writer, "three").await;
        result.0.unwrap();
        compio::io::AsyncWrite::shutdown(&mut writer).await.unwrap();
        let mut start = [0; 6];
        AsyncReadExt::read_exact(&mut reader, &mut start)
            .await
            .unwrap();
        assert_eq!(&start, b"one tw");
        assert_eq!(reader.recv().await.as_deref(), Some(&b"o "[..]));
        let mut rest = String::new();
        AsyncReadExt::read_to_string(&mut reader, &mut rest)
            .await
            .unwrap();
        assert_eq!(rest, "three");
    });
}

// ---- the end ---------------------------------------------------------------------------------------

/// A read after the end must not wait for ever, by whatever call.
#[test]
fn the_end_comes_after_what_was_written_and_stays() {
    for shut_down in [false, true] {
        let (mut writer, mut reader) = channel::pipe(100);
        let (wakes, waker) = Wakes::new();
        assert!(poll_once(&waker, reader.recv()).is_pending());
        writer.try_send(&mut b"last".to_vec()).unwrap();
        assert_eq!(wakes.count(), 1);
        let writer = if shut_down {
            writer.shut_down();
            block_on(writer.shutdown()).unwrap();
            assert_eq!(writer.try_send(&mut vec![1]), Err(TrySendError::Closed(())));
            let error = block_on(writer.write(b"late")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
            block_on(writer.flush()).unwrap();
            Some(writer)
        } else {
            drop(writer);
            None
        };
        assert!(reader.is_closed());
        assert_eq!(block_on(reader.recv()), Some(b"last".to_vec()));
        for _ in 0..3 {
            assert_eq!(try_read(&mut reader, 10), Poll::Ready(vec![]));
            assert_eq!(block_on(reader.recv()), None);
            assert_eq!(reader.try_recv(), Err(TryRecvError::Closed));
            assert_eq!(block_on(reader.fill_buf()).unwrap(), b"");
        }
        drop(writer);
    }
}

/// A writer that waits when the reader goes would otherwise wait for ever, and its bytes are its own.
#[test]
fn a_reader_that_goes_gives_a_waiting_writer_its_buffer_back() {
    for close in [false, true] {
        let (mut writer, mut reader) = channel::pipe(4);
        writer.try_send(&mut b"full".to_vec()).unwrap();
        let mut buffer = b"more".to_vec();
        let (wakes, waker) = Wakes::new();
        assert!(poll_once(&waker, writer.send(&mut buffer)).is_pending());
        assert!(!writer.is_closed());
        let reader = if close {
            reader.close();
            Some(reader)
        } else {
            drop(reader);
            None
        };
        assert_eq!(wakes.count(), 1);
        assert!(writer.is_closed());
        block_on(writer.closed());
        for _ in 0..2 {
            let error = block_on(writer.send(&mut buffer)).unwrap_err();
            assert_eq!(
                (error.kind(), &buffer[..]),
                (ErrorKind::BrokenPipe, &b"more"[..])
            );
            let error = block_on(writer.write(b"x")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
            assert_eq!(writer.try_send(&mut buffer), Err(TrySendError::Closed(())));
        }
        assert_eq!(buffer, b"more");
        if let Some(mut reader) = reader {
            assert_eq!(reader.try_recv(), Ok(b"full".to_vec()));
            assert_eq!(reader.try_recv(), Err(TryRecvError::Closed));
        }
    }
}

/// A thread that dies in the middle must not leave the other side waiting.
#[test]
fn an_end_that_is_dropped_by_a_panic_closes_the_pipe() {
    let (writer, mut reader) = channel::pipe(4);
    let panicked = thread::spawn(move || {
        let mut writer = writer;
        writer.try_send(&mut vec![1]).unwrap();
        panic!("the writer's thread");
    });
    assert_eq!(reader.blocking_recv(), Some(vec![1]));
    assert_eq!(reader.blocking_recv(), None);
    assert!(panicked.join().is_err());

    let (mut writer, reader) = channel::pipe(1);
    let panicked = thread::spawn(move || {
        let _reader = reader;
        panic!("the reader's thread");
    });
    let error = loop {
        if let Err(error) = writer.blocking_send(&mut vec![1]) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    assert!(panicked.join().is_err());
}

// ---- futures that are dropped ----------------------------------------------------------------------

/// Enough to wait, to get room or bytes, and to finish.
const POLLS: usize = 5;

/// `select!` drops writes all the time: the bytes are with the caller or on their way, never both or neither.
#[test]
fn a_send_cancelled_at_any_poll_has_sent_all_or_kept_all() {
    for room_at in 1..POLLS {
        for polls in 0..POLLS {
            let (mut writer, mut reader) = channel::pipe(4);
            writer.try_send(&mut b"full".to_vec()).unwrap();
            let mut buffer = b"next".to_vec();
            let sent = cancel_after(polls, writer.send(&mut buffer), |poll| {
                if poll == room_at {
                    assert_eq!(reader.try_recv(), Ok(b"full".to_vec()));
                }
            });
            assert_eq!(sent.is_some(), polls > room_at);
            assert_eq!(buffer.is_empty(), sent.is_some());
            let _ = reader.try_recv();
            if sent.is_none() {
                writer.try_send(&mut buffer).unwrap();
                assert_eq!(reader.try_recv(), Ok(b"next".to_vec()));
            }
            assert_eq!(reader.try_recv(), Err(TryRecvError::Empty));
        }
    }
}

/// The same of the traits' writes: what was not accepted was not sent.
#[test]
fn a_write_cancelled_at_any_poll_has_written_what_it_said() {
    for room_at in 1..POLLS {
        for polls in 0..POLLS {
            for compio in [false, true] {
                let (mut writer, mut reader) = channel::pipe(4);
                writer.try_send(&mut b"full".to_vec()).unwrap();
                let between = |poll| {
                    if poll == room_at {
                        assert_eq!(reader.try_recv(), Ok(b"full".to_vec()));
                    }
                };
                let written = if compio {
                    let write = compio::io::AsyncWrite::write(&mut writer, "longer");
                    cancel_after(polls, async { write.await.0 }, between)
                } else {
                    cancel_after(polls, writer.write(b"longer"), between)
                };
                assert_eq!(written.is_some(), polls > room_at);
                let mut expected = if polls > room_at {
                    vec![]
                } else {
                    b"full".to_vec()
                };
                if let Some(count) = written {
                    assert_eq!(count.unwrap(), 4);
                    expected.extend(b"long");
                }
                drop(writer);
                let mut read = Vec::new();
                block_on(reader.read_to_end(&mut read)).unwrap();
                assert_eq!(read, expected);
            }
        }
    }
}

/// And of reads: the bytes go to the next one.
#[test]
fn a_read_cancelled_at_any_poll_has_taken_nothing_unless_it_was_ready() {
    for sent_at in 1..POLLS {
        for polls in 0..POLLS {
            for kind in 0..3 {
                let (mut writer, mut reader) = channel::pipe(100);
                let between = |poll| {
                    if poll == sent_at {
                        writer.try_send(&mut b"some".to_vec()).unwrap();
                    }
                };
                let read = match kind {
                    0 => cancel_after(polls, reader.recv(), between).flatten(),
                    1 => {
                        let mut buffer = [0; 3];
                        let count = cancel_after(polls, reader.read(&mut buffer), between);
                        count.map(|count| buffer[..count.unwrap()].to_vec())
                    }
                    _ => {
                        let buffer = Vec::with_capacity(3);
                        let read = compio::io::AsyncRead::read(&mut reader, buffer);
                        cancel_after(polls, read, between).map(|BufResult(count, buffer)| {
                            assert_eq!(count.unwrap(), buffer.len());
                            buffer
                        })
                    }
                };
                assert_eq!(read.is_some(), polls > sent_at);
                let mut all = read.unwrap_or_default();
                drop(writer);
                block_on(reader.read_to_end(&mut all)).unwrap();
                let expected = if polls > sent_at { "some" } else { "" };
                assert_eq!(all, expected.as_bytes());
            }
        }
    }
}

/// The wake-up that a dropped future has asked for belongs to the next one.
#[test]
fn a_wait_after_a_cancelled_wait_is_woken() {
    let (mut writer, mut reader) = channel::pipe(1);
    let (wakes, waker) = Wakes::new();
    assert!(poll(reader.recv()).is_pending());
    assert!(poll_once(&waker, reader.read(&mut [0])).is_pending());
    writer.try_send(&mut vec![1]).unwrap();
    assert_eq!(wakes.count(), 1);

    let (wakes, waker) = Wakes::new();
    assert!(poll(writer.send(&mut vec![2])).is_pending());
    assert!(poll(writer.closed()).is_pending());
    assert!(poll_once(&waker, writer.write(&[2])).is_pending());
    assert_eq!(reader.try_recv(), Ok(vec![1]));
    assert_eq!(wakes.count(), 1);
}

// ---- others' code ----------------------------------------------------------------------------------

/// A waker that panics as it is woken, or dropped.
struct Panics {
    woken: AtomicUsize,
    in_drop: bool,
}

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, SeqCst);
        assert!(self.in_drop, "in the waker");
    }
}

impl Drop for Panics {
    fn drop(&mut self) {
        assert!(!self.in_drop || thread::panicking(), "in the waker's drop");
    }
}

fn panics(in_drop: bool) -> Arc<Panics> {
    Arc::new(Panics {
        woken: AtomicUsize::new(0),
        in_drop,
    })
}

/// The other side's executor is none of this side's business: its panic must not cost a byte here.
#[test]
fn a_waker_that_panics_does_not_stop_the_side_that_wakes() {
    let panicking = panics(false);
    let waker = Waker::from(panicking.clone());
    let (mut writer, mut reader) = channel::pipe(1);
    assert!(poll_once(&waker, reader.recv()).is_pending());
    writer.try_send(&mut vec![1]).unwrap();
    assert_eq!(panicking.woken.load(SeqCst), 1);

    let mut buffer = vec![2];
    assert!(poll_once(&waker, writer.send(&mut buffer)).is_pending());
    assert_eq!(reader.try_recv(), Ok(vec![1]));
    assert_eq!(panicking.woken.load(SeqCst), 2);
    writer.try_send(&mut buffer).unwrap();

    buffer = vec![3];
    assert!(poll_once(&waker, writer.send(&mut buffer)).is_pending());
    drop(reader);
    assert_eq!(panicking.woken.load(SeqCst), 3);
    assert_eq!(writer.try_send(&mut buffer), Err(TrySendError::Closed(())));
    assert_eq!(buffer, [3]);
}

/// A waker's destructor runs where it is replaced, and may leave nothing half done there.
#[test]
fn a_waker_that_panics_when_it_is_dropped_leaves_the_pipe_as_it_was() {
    let (mut writer, mut reader) = channel::pipe(1);
    let (wakes, waker) = Wakes::new();
    let panicking = Waker::from(panics(true));
    assert!(poll_once(&panicking, reader.recv()).is_pending());
    drop(panicking);
    let polled = catch_unwind(AssertUnwindSafe(|| poll_once(&waker, reader.recv())));
    assert!(polled.is_err());
    writer.try_send(&mut vec![1]).unwrap();
    assert_eq!(wakes.count(), 1);

    let panicking = Waker::from(panics(true));
    let mut buffer = vec![2];
    assert!(poll_once(&panicking, writer.send(&mut buffer)).is_pending());
    drop(panicking);
    let polled = catch_unwind(AssertUnwindSafe(|| {
        poll_once(&waker, writer.send(&mut buffer))
    }));
    assert!(polled.is_err());
    assert_eq!(buffer, [2]);
    assert_eq!(reader.try_recv(), Ok(vec![1]));
    writer.try_send(&mut buffer).unwrap();
    assert_eq!(reader.try_recv(), Ok(vec![2]));
}

// ---- beside a queue of bytes -----------------------------------------------------------------------

#[derive(Clone, Debug)]
enum Step {
    Send(usize),
    Write(usize),
    Recv { give_back: bool },
    Read(usize),
    Peek(usize),
    ShutDown,
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..60_usize).prop_map(Step::Send),
        6 => (0..60_usize).prop_map(Step::Write),
        4 => any::<bool>().prop_map(|give_back| Step::Recv { give_back }),
        6 => (0..80_usize).prop_map(Step::Read),
        3 => (0..40_usize).prop_map(Step::Peek),
        1 => Just(Step::ShutDown),
        1 => Just(Step::Close),
    ]
}

proptest! {
    /// Whatever the calls and their order: the bytes that come out are those that went in, within the bound.
    #[test]
    fn it_is_a_queue_of_bytes(
        capacity in 1..100_usize,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let (mut writer, mut reader) = channel::builder().bytes(capacity).wait(Wait::Park).pipe();
        let (mut queue, mut next, mut closed) = (VecDeque::new(), 0, false);
        for step in steps {
            match step {
                Step::Send(length) => {
                    let mut buffer = writer.empty();
                    prop_assert!(buffer.is_empty());
                    buffer.extend(bytes(next..next + length));
                    match writer.try_send(&mut buffer) {
                        Ok(()) => {
                            prop_assert!(!closed || length == 0);
                            prop_assert!(
                                length == 0 || queue.is_empty() || queue.len() + length <= capacity
                            );
                            queue.extend(bytes(next..next + length));
                            next += length;
                        }
                        Err(error) => {
                            prop_assert_eq!(error.is_closed(), closed);
                            prop_assert!(closed || !queue.is_empty());
                            prop_assert_eq!(buffer, bytes(next..next + length));
                        }
                    }
                }
                Step::Write(length) => match poll(writer.write(&bytes(next..next + length))) {
                    Poll::Ready(Ok(count)) => {
                        prop_assert!(count > 0 || length == 0);
                        prop_assert!(count == 0 || queue.len() + count <= capacity);
                        queue.extend(bytes(next..next + count));
                        next += count;
                    }
                    Poll::Ready(Err(error)) => {
                        prop_assert!(closed);
                        prop_assert_eq!(error.kind(), ErrorKind::BrokenPipe);
                    }
                    Poll::Pending => prop_assert!(!queue.is_empty()),
                },
                Step::Recv { give_back } => match reader.try_recv() {
                    Ok(chunk) => {
                        prop_assert!(!chunk.is_empty());
                        prop_assert!(chunk.len() <= queue.len());
                        prop_assert!(chunk.iter().copied().eq(queue.drain(..chunk.len())));
                        if give_back {
                            reader.give_back(chunk);
                        }
                    }
                    Err(TryRecvError::Empty) => prop_assert!(queue.is_empty() && !closed),
                    Err(TryRecvError::Closed) => prop_assert!(queue.is_empty() && closed),
                },
                Step::Read(max) => match try_read(&mut reader, max) {
                    Poll::Ready(read) => {
                        // All that is there, chunk or not.
                        prop_assert_eq!(read.len(), max.min(queue.len()));
                        prop_assert!(read.into_iter().eq(queue.drain(..max.min(queue.len()))));
                    }
                    Poll::Pending => prop_assert!(queue.is_empty() && !closed),
                },
                Step::Peek(max) => match poll(async { reader.fill_buf().await.unwrap().to_vec() }) {
                    Poll::Ready(peeked) => {
                        prop_assert_eq!(peeked.is_empty(), queue.is_empty());
                        prop_assert!(peeked.iter().eq(queue.iter().take(peeked.len())));
                        let count = max.min(peeked.len());
                        tokio::io::AsyncBufRead::consume(Pin::new(&mut reader), count);
                        queue.drain(..count);
                    }
                    Poll::Pending => prop_assert!(queue.is_empty() && !closed),
                },
                Step::ShutDown => {
                    writer.shut_down();
                    closed = true;
                }
                Step::Close => {
                    reader.close();
                    closed = true;
                }
            }
        }
        // Once it is empty it has all of its room again.
        while reader.try_recv().is_ok() {}
        let mut whole = vec![0; capacity];
        prop_assert_eq!(writer.try_send(&mut whole).is_ok(), !closed);
    }
}

// ---- both runtimes, both drivers -------------------------------------------------------------------

const STREAM: usize = 40_000;

/// Sizes from one byte to more than the whole pipe.
fn sizes() -> impl Iterator<Item = usize> {
    [1, 50, 3, 700, 64, 1100, 2, 256].into_iter().cycle()
}

async fn write_owned(mut writer: Writer) {
    let mut sent = 0;
    for size in sizes() {
        let end = STREAM.min(sent + size);
        let mut buffer = writer.empty();
        assert!(buffer.is_empty());
        buffer.extend((sent..end).map(byte));
        writer.send(&mut buffer).await.unwrap();
        sent = end;
        if sent == STREAM {
            break;
        }
    }
}

async fn write_as_tokio(mut writer: Writer) {
    let mut sent = 0;
    for size in sizes() {
        let end = STREAM.min(sent + size);
        writer.write_all(&bytes(sent..end)).await.unwrap();
        sent = end;
        if sent == STREAM {
            break;
        }
    }
    writer.shutdown().await.unwrap();
}

async fn write_as_compio(mut writer: Writer) {
    let mut sent = 0;
    for size in sizes() {
        let end = STREAM.min(sent + size);
        let write = compio::io::AsyncWriteExt::write_all(&mut writer, bytes(sent..end));
        write.await.0.unwrap();
        sent = end;
        if sent == STREAM {
            break;
        }
    }
    compio::io::AsyncWrite::shutdown(&mut writer).await.unwrap();
}

async fn read_owned(mut reader: Reader) {
    let mut received = 0;
    while let Some(buffer) = reader.recv().await {
        for it in &buffer {
            assert_eq!(*it, byte(received));
            received += 1;
        }
        reader.give_back(buffer);
    }
    assert_eq!(received, STREAM);
}

async fn read_as_tokio(mut reader: Reader) {
    let mut received = 0;
    for size in sizes() {
        let mut buffer = vec![0; size];
        let count = reader.read(&mut buffer).await.unwrap();
        if count == 0 {
            break;
        }
        assert_eq!(buffer[..count], bytes(received..received + count));
        received += count;
    }
    assert_eq!(received, STREAM);
}

async fn read_as_compio(mut reader: Reader) {
    let mut received = 0;
    for size in sizes() {
        let buffer = Vec::with_capacity(size);
        let BufResult(count, buffer) = compio::io::AsyncRead::read(&mut reader, buffer).await;
        if count.unwrap() == 0 {
            break;
        }
        assert_eq!(buffer, bytes(received..received + buffer.len()));
        received += buffer.len();
    }
    assert_eq!(received, STREAM);
}

/// Both ends sleep all the time, each on a runtime of its own; who loses a wake-up hangs.
fn all_bytes_arrive<W, R>(write: impl Fn(Writer) -> W, read: impl Fn(Reader) -> R)
where
    W: Future<Output = ()> + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    for wait in WAITS {
        every_pair(|writing, reading| {
            let (writer, reader) = channel::builder().bytes(1000).wait(wait).pipe();
            let writing = writing.run(write(writer));
            reading.run(read(reader)).join().unwrap();
            writing.join().unwrap();
        });
    }
}

/// The calls that this exists for.
#[test]
fn all_bytes_arrive_between_any_two_runtimes_in_owned_buffers() {
    all_bytes_arrive(write_owned, read_owned);
}

/// A Tokio library on one side, a Compio program on the other.
#[test]
fn all_bytes_arrive_between_any_two_runtimes_from_tokios_traits_to_compios() {
    all_bytes_arrive(write_as_tokio, read_as_compio);
}

/// And the other way round.
#[test]
fn all_bytes_arrive_between_any_two_runtimes_from_compios_traits_to_tokios() {
    all_bytes_arrive(write_as_compio, read_as_tokio);
}

/// An end may be owned while the other is not: one migrates before the other.
#[test]
fn all_bytes_arrive_between_any_two_runtimes_from_owned_to_borrowed_and_back() {
    all_bytes_arrive(write_owned, read_as_tokio);
    all_bytes_arrive(write_as_tokio, read_owned);
}

/// A reader that closes from afar wakes the writer, at whatever point it is.
#[test]
fn a_reader_that_goes_is_noticed_between_any_two_runtimes() {
    for wait in WAITS {
        every_pair(|writing, reading| {
            let (mut writer, mut reader) = channel::builder().bytes(100).wait(wait).pipe();
            let writing = writing.run(async move {
                let mut buffer = Vec::new();
                loop {
                    buffer.resize(60, 7);
                    if let Err(error) = writer.send(&mut buffer).await {
                        assert_eq!((error.kind(), buffer.len()), (ErrorKind::BrokenPipe, 60));
                        break;
                    }
                }
                writer.closed().await;
            });
            let reading = reading.run(async move {
                for _ in 0..20 {
                    assert_eq!(reader.recv().await, Some(vec![7; 60]));
                }
            });
            reading.join().unwrap();
            writing.join().unwrap();
        });
    }
}

/// A thread that has no runtime can be either end.
#[test]
fn a_plain_thread_writes_and_reads_blocking_to_and_from_any_runtime() {
    for end in ENDS {
        let ((mut writer, reader), (writer_back, mut back)) =
            (channel::pipe(50), channel::pipe(50));
        let echo = end.run(async move {
            let (mut reader, mut writer) = (reader, writer_back);
            while let Some(mut buffer) = reader.recv().await {
                writer.send(&mut buffer).await.unwrap();
            }
        });
        let writing = thread::spawn(move || {
            for lap in 0..300 {
                writer.blocking_send(&mut vec![lap as u8; 20]).unwrap();
            }
        });
        for lap in 0..300 {
            assert_eq!(back.blocking_recv(), Some(vec![lap as u8; 20]));
        }
        assert_eq!(back.blocking_recv(), None);
        writing.join().unwrap();
        echo.join().unwrap();
    }
}

/// A pipe that is always ready must not keep the others of its thread from running.
#[test]
fn an_end_that_never_waits_makes_way_for_its_neighbours() {
    let (mut writer, mut reader) = channel::pipe(1 << 12);
    let tasks = [Wakes::new(), Wakes::new()];
    let [(wakes, waker), (other_wakes, other)] = tasks;
    let rounds = |calls: &mut dyn FnMut() -> bool| (0..1000).take_while(|_| calls()).count();
    let written = rounds(&mut || {
        let written = poll_once(&waker, writer.send(&mut vec![1])).is_ready();
        let _ = reader.try_recv();
        written
    });
    assert_eq!((written, wakes.count()), (128, 1));
    let read = rounds(&mut || {
        let _ = writer.try_send(&mut vec![1]);
        poll_once(&other, reader.read(&mut [0; 8])).is_ready()
    });
    assert_eq!((read, other_wakes.count()), (128, 1));
}
