//! A stream of bytes, by owned buffers and through Tokio's traits.

use landbridge::channel;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Measured, cross};

/// A stream of bytes that is measured by its CPU time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bytes {
    /// By owned buffers.
    Ours,
    /// By Tokio's traits.
    OursBorrowed,
    Duplex,
}

/// At most so much is under way.
const UNDER_WAY: usize = 256 * 1024;

/// What the rows of the pipe measure: CPU time of both threads in microseconds. The reader looks at both ends
/// of what it has read.
pub(super) fn cpu_per_mebibyte(stream: Bytes, written: usize, read: usize, mebibytes: u64) -> f64 {
    let total = mebibytes as usize * 1024 * 1024;
    let measured = match stream {
        Bytes::Ours => {
            let (mut writer, mut reader) = channel::pipe(UNDER_WAY);
            cross(
                async move {
                    for chunk in 0..total / written {
                        let mut buffer = writer.empty();
                        buffer.resize(written, chunk as u8);
                        writer.send(&mut buffer).await.expect("a reader");
                    }
                },
                async move {
                    for chunk in 0..total / written {
                        let buffer = reader.recv().await.expect("a chunk");
                        check(&buffer, chunk, chunk);
                        reader.give_back(buffer);
                    }
                },
            )
        }
        Bytes::OursBorrowed => {
            let (writer, reader) = channel::pipe(UNDER_WAY);
            borrowed(writer, reader, total, written, read)
        }
        Bytes::Duplex => {
            let (writer, reader) = tokio::io::duplex(UNDER_WAY);
            borrowed(writer, reader, total, written, read)
        }
    };
    (measured.sender_cpu + measured.receiver_cpu).as_secs_f64() * 1e6 / mebibytes as f64
}

/// `total` bytes by `write_all` and `read_exact`, so many at a time; `read` is a multiple of `written`.
fn borrowed(
    mut writer: impl AsyncWrite + Unpin + Send + 'static,
    mut reader: impl AsyncRead + Unpin + Send + 'static,
    total: usize,
    written: usize,
    read: usize,
) -> Measured {
    cross(
        async move {
            let mut buffer = vec![0; written];
            for chunk in 0..total / written {
                buffer.fill(chunk as u8);
                writer.write_all(&buffer).await.expect("a reader");
            }
        },
        async move {
            let mut buffer = vec![0; read];
            let each = read / written;
            for chunk in 0..total / read {
                reader.read_exact(&mut buffer).await.expect("a chunk");
                check(&buffer, chunk * each, (chunk + 1) * each - 1);
            }
        },
    )
}

fn check(buffer: &[u8], first: usize, last: usize) {
    let expected = (Some(first as u8), Some(last as u8));
    assert_eq!((buffer.first().copied(), buffer.last().copied()), expected);
}
