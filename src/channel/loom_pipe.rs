//! Models of the pipe: what is under way, the writer that waits for less, and the way back of its buffers.
//!
//! Each has been seen to fail: `docs/loom.md` has the mutations. A wake-up that is lost shows as a
//! deadlock, which loom reports. The ring that carries the chunks has models of its own.

use std::{
    future::poll_fn,
    io::{self, ErrorKind},
};

use loom::{future::block_on, thread};

use super::loom_support::poll_and_drop;
use crate::{
    channel::{
        self,
        pipe::{Reader, Writer},
    },
    error::TryRecvError,
};

/// Reads so many bytes, one at a time, each of which gives its room back.
async fn read(reader: &mut Reader, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < count && poll_fn(|cx| reader.poll_chunk(cx)).await {
        bytes.push(reader.unread()[0]);
        reader.consume(1);
    }
    bytes
}

/// A borrowed write of one byte.
async fn write(writer: &mut Writer, byte: u8) -> io::Result<()> {
    let slice = [byte];
    let count = poll_fn(|cx| writer.poll_write_slices(cx, 1, std::iter::once(&slice[..]))).await?;
    assert_eq!(count, 1);
    Ok(())
}

/// A writer that sleeps at a full pipe is woken by the next chunk that is received.
#[test]
fn no_wake_up_of_the_writer_is_lost() {
    loom::model(|| {
        let (mut writer, mut reader) = channel::pipe(1);
        let writing = thread::spawn(move || {
            block_on(async {
                for byte in 0..3 {
                    writer.send(&mut vec![byte]).await.unwrap();
                }
            });
            writer
        });
        // The reader never sleeps here, so that only what it gives to the flow can wake the writer.
        let mut received = 0;
        while received < 3 {
            match reader.try_recv() {
                Ok(chunk) => {
                    assert_eq!(chunk, [received]);
                    received += 1;
                }
                Err(_) => thread::yield_now(),
            }
        }
        drop(writing.join().unwrap());
    });
}

/// A writer that needs more than the next byte read gives back is woken when all of it is there.
#[test]
fn a_writer_that_waits_for_much_is_woken_when_it_is_there() {
    loom::model(|| {
        let (mut writer, mut reader) = channel::pipe(2);
        let writing = thread::spawn(move || {
            block_on(async {
                writer.send(&mut vec![0, 1]).await.unwrap();
                writer.send(&mut vec![2, 3]).await.unwrap();
            });
            writer
        });
        assert_eq!(block_on(read(&mut reader, 4)), [0, 1, 2, 3]);
        drop(writing.join().unwrap());
    });
}

/// A writer that gave up waiting for much, and now waits for little, is woken by little.
#[test]
fn a_wait_for_little_after_one_for_much_is_woken_by_little() {
    loom::model(|| {
        let (mut writer, mut reader) = channel::pipe(2);
        writer.try_send(&mut vec![0, 1]).unwrap();
        let writing = thread::spawn(move || {
            let mut much = vec![2, 3];
            assert!(poll_and_drop(writer.send(&mut much)).is_pending());
            assert_eq!(much, [2, 3]);
            block_on(writer.send(&mut vec![4])).unwrap();
            writer
        });
        // No more than that is read while it waits.
        assert_eq!(block_on(read(&mut reader, 1)), [0]);
        drop(writing.join().unwrap());
        assert_eq!(block_on(read(&mut reader, 9)), [1, 4]);
    });
}

/// Whoever finds the room of a chunk that was read finds its buffer: a steady writer allocates nothing.
#[test]
fn who_gets_the_room_of_a_chunk_gets_its_buffer() {
    loom::model(|| {
        let (mut writer, mut reader) = channel::pipe(1);
        let mut first = Vec::with_capacity(8);
        first.push(0);
        writer.try_send(&mut first).unwrap();
        let writing = thread::spawn(move || {
            block_on(writer.send(&mut vec![1])).unwrap();
            let buffer = writer.empty();
            assert_eq!((buffer.len(), buffer.capacity()), (0, 8));
            writer
        });
        assert_eq!(block_on(read(&mut reader, 1)), [0]);
        drop(writing.join().unwrap());
    });
}

/// Over two laps, with both ends asleep in between and buffers going round: each byte once, in order, then the end.
#[test]
fn no_byte_is_lost_or_doubled_while_buffers_go_round() {
    loom::model(|| {
        let (mut writer, mut reader) = channel::pipe(1);
        let writing = thread::spawn(move || {
            block_on(async {
                for byte in 0..2 {
                    let mut buffer = writer.empty();
                    assert!(buffer.is_empty());
                    buffer.push(byte);
                    writer.send(&mut buffer).await.unwrap();
                }
            });
        });
        block_on(async {
            for byte in 0..2 {
                let chunk = reader.recv().await.unwrap();
                assert_eq!(chunk, [byte]);
                reader.give_back(chunk);
            }
            assert_eq!(reader.recv().await, None);
        });
        writing.join().unwrap();
    });
}

/// A writer that sleeps at a full pipe is told that the reader is gone, and keeps its buffer.
#[test]
fn a_reader_that_goes_wakes_a_sleeping_writer() {
    loom::model(|| {
        let (mut writer, reader) = channel::pipe(1);
        writer.try_send(&mut vec![0]).unwrap();
        let writing = thread::spawn(move || {
            let mut buffer = vec![1];
            let error = block_on(writer.send(&mut buffer)).unwrap_err();
            assert_eq!((error.kind(), buffer), (ErrorKind::BrokenPipe, vec![1]));
        });
        drop(reader);
        writing.join().unwrap();
    });
}

/// A write that says `Ok` as the reader closes is read; one that fails has its buffer.
#[test]
fn a_chunk_sent_as_the_reader_closes_is_received_or_kept() {
    loom::model(|| {
        let (mut writer, mut reader) = channel::pipe(2);
        let writing = thread::spawn(move || {
            let mut sent = 0;
            for byte in 0..2 {
                let mut buffer = vec![byte];
                match writer.try_send(&mut buffer) {
                    Ok(()) => sent += 1,
                    Err(error) => assert!(error.is_closed() && buffer == [byte]),
                }
            }
            sent
        });
        reader.close();
        let mut received = 0;
        let end = loop {
            match reader.try_recv() {
                Ok(chunk) => assert_eq!(chunk, [received]),
                Err(end) => break end,
            }
            received += 1;
        };
        assert_eq!(end, TryRecvError::Closed);
        assert_eq!(writing.join().unwrap(), received);
    });
}

/// Whoever waits for the close only is woken by it.
#[test]
fn no_wake_up_by_the_close_is_lost() {
    loom::model(|| {
        let (mut writer, reader) = channel::pipe(1);
        let watching = thread::spawn(move || block_on(writer.closed()));
        drop(reader);
        watching.join().unwrap();
    });
}

/// Small writes that gather as the reader takes them out: each byte once, in order, and a reader that sleeps is
/// woken.
#[test]
fn no_byte_is_lost_or_doubled_while_small_writes_gather() {
    loom::model(|| {
        // A share is two bytes.
        let (mut writer, mut reader) = channel::pipe(64);
        let writing = thread::spawn(move || {
            block_on(async {
                for byte in 0..2 {
                    write(&mut writer, byte).await.unwrap();
                }
            });
        });
        assert_eq!(block_on(read(&mut reader, 9)), [0, 1]);
        writing.join().unwrap();
    });
}

/// What is sent after small writes comes after them, and small writes after that.
#[test]
fn nothing_gathers_behind_what_was_sent_later() {
    loom::model(|| {
        let (mut writer, mut reader) = channel::pipe(64);
        let writing = thread::spawn(move || {
            block_on(async {
                write(&mut writer, 0).await.unwrap();
                writer.send(&mut vec![1]).await.unwrap();
                write(&mut writer, 2).await.unwrap();
            });
            writer
        });
        assert_eq!(block_on(read(&mut reader, 3)), [0, 1, 2]);
        drop(writing.join().unwrap());
    });
}

/// A small write that says `Ok` as the reader closes is read.
#[test]
fn what_has_gathered_as_the_reader_closes_is_received_or_refused() {
    loom::model(|| {
        let (mut writer, mut reader) = channel::pipe(64);
        let writing = thread::spawn(move || {
            block_on(async {
                let mut written = 0;
                while written < 2 && write(&mut writer, written).await.is_ok() {
                    written += 1;
                }
                written
            })
        });
        reader.close();
        let mut received = Vec::new();
        let end = loop {
            match reader.try_recv() {
                Ok(chunk) => received.extend(chunk),
                Err(end) => break end,
            }
        };
        assert_eq!(end, TryRecvError::Closed);
        let written = writing.join().unwrap();
        assert_eq!(received, (0..written).collect::<Vec<_>>());
    });
}
