//! A file as a stream of bytes, and a stream of bytes into a file.

use std::{
    collections::VecDeque,
    fmt, io,
    ops::{Bound, RangeBounds},
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use compio::buf::{IntoInner, IoBuf, Slice};
use futures::{
    FutureExt, Stream, StreamExt,
    future::{Either, select},
    stream::{FusedStream, FuturesUnordered},
};

use super::{
    File,
    direct::ReadDirect,
    file::Read,
    op::RunOp,
    pace,
    sys::{self, Position},
};

/// Pieces that are read or written at once: one that is waited for, and one ahead.
const IN_FLIGHT: usize = 2;
/// A buffer for a longer chunk would be made before anybody knows whether the file has so much.
const MAX_CHUNK: usize = 16 << 20;
/// The kernel's offsets end here.
const END: u64 = i64::MAX as u64;

/// The bytes of a file, chunk by chunk; from [`File::read_stream`].
///
/// It is `Send + 'static`, keeps the file open, and ends with the range or the file, or after an error.
/// Does not keep the pool alive.
#[must_use = "nothing is read unless this is polled"]
pub struct ReadStream {
    /// Gone at the end.
    file: Option<File>,
    /// What is asked for next.
    at: u64,
    end: u64,
    chunk: usize,
    /// From the first byte that was not given out, without gaps.
    reading: VecDeque<Piece>,
    /// What is left of buffers whose chunks were given out: their memory, once the chunks are gone.
    spare: VecDeque<BytesMut>,
}

struct Piece {
    at: u64,
    len: usize,
    reading: Reading,
}

enum Reading {
    UnderWay(RunOp<Read<Slice<BytesMut>>>),
    /// The blocks that the piece is in, past the page cache.
    Direct(RunOp<ReadDirect>),
    /// Before it is asked for.
    Done(Option<io::Result<Chunk>>),
}

impl Reading {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Chunk>> {
        Poll::Ready(match self {
            Self::UnderWay(read) => match ready!(read.poll_unpin(cx)) {
                Ok((_, buffer)) => Ok(Chunk::Buffer(buffer.into_inner())),
                Err(error) => Err(error.into()),
            },
            Self::Direct(read) => ready!(read.poll_unpin(cx)).map(Chunk::Blocks),
            Self::Done(outcome) => outcome.take().expect("asked for once"),
        })
    }
}

/// What was read.
enum Chunk {
    /// To a buffer that can be used again.
    Buffer(BytesMut),
    Blocks(Bytes),
}

impl Chunk {
    fn len(&self) -> usize {
        match self {
            Self::Buffer(buffer) => buffer.len(),
            Self::Blocks(bytes) => bytes.len(),
        }
    }
}

impl File {
    /// The bytes of the file in `range`, in chunks of `chunk` bytes; of a shorter one at the end, or
    /// wherever the file system reads less than it was asked for. Where the file ends, so does the stream.
    ///
    /// Neither uses nor moves the cursor. A range that ends before it begins is empty, and a `chunk`
    /// that is not between 1 byte and 16 MiB is taken as the nearest of these.
    ///
    /// As the body of an HTTP answer (`docs/files.md` has it for hyper):
    ///
    /// ```text
    /// let body = axum::body::Body::from_stream(file.read_stream(range, 256 << 10));
    /// ```
    ///
    /// # Where it runs
    ///
    /// A chunk that is in the page cache is copied on the calling thread, if it is not more than the
    /// [limit](super::Fs::nowait_limit). What is not there is read by a worker, one chunk ahead.
    ///
    /// # Cancel safety
    ///
    /// Waiting for a chunk and giving up loses nothing. Dropping the stream cancels the reads.
    ///
    /// # Errors
    ///
    /// What the file system says; [`JoinError`](crate::JoinError) inside if the pool is gone. An error is
    /// the last item.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use futures::TryStreamExt;
    ///
    /// let pool = landbridge::CompioPool::builder().threads(1).build()?;
    /// let file = landbridge::fs::Fs::new(&pool).open("Cargo.toml").await?;
    /// let chunks: Vec<bytes::Bytes> = file.read_stream(1.., 1024).try_collect().await?;
    /// assert_eq!(chunks.concat(), std::fs::read("Cargo.toml")?[1..]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn read_stream(&self, range: impl RangeBounds<u64>, chunk: usize) -> ReadStream {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => END,
        };
        ReadStream {
            file: Some(self.clone()),
            at: start,
            end: end.min(END),
            chunk: chunk.clamp(1, MAX_CHUNK),
            reading: VecDeque::with_capacity(IN_FLIGHT),
            spare: VecDeque::with_capacity(IN_FLIGHT + 1),
        }
    }

    /// Writes what a stream yields to the file, from byte `position` on; how many bytes that were.
    ///
    /// The items are [`Bytes`], or what becomes that, or `Result`s of it. Two writes are in flight at
    /// once; a file that was opened to append gets one after the other, at its end.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the writes in flight, any part of which may have happened, and drops
    /// the stream.
    ///
    /// # Errors
    ///
    /// The stream's first error; what the file system says; [`JoinError`](crate::JoinError) inside if
    /// the pool is gone. Any part of what the stream had yielded may have been written then.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("copy");
    /// let pool = landbridge::CompioPool::builder().threads(1).build()?;
    /// let fs = landbridge::fs::Fs::new(&pool);
    /// let from = fs.open("Cargo.toml").await?;
    /// let to = fs.create(&path).await?;
    /// let written = to.write_stream(0, from.read_stream(.., 1024)).await?;
    /// assert_eq!(written, from.metadata().await?.len());
    /// assert_eq!(std::fs::read(&path)?, std::fs::read("Cargo.toml")?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn write_stream<S>(&self, position: u64, stream: S) -> io::Result<u64>
    where
        S: Stream<Item: IntoChunk>,
    {
        let at_once = match sys::appends(self.inner().owner.file()) {
            true => 1,
            false => IN_FLIGHT,
        };
        let mut stream = pin!(stream.fuse());
        let mut writing = FuturesUnordered::new();
        let mut total = 0_u64;
        loop {
            let next = if writing.is_empty() {
                Either::Left(stream.next().await)
            } else if writing.len() < at_once && !stream.is_done() {
                // Whichever comes first; neither loses anything.
                match select(writing.next(), stream.next()).await {
                    Either::Left((written, _)) => Either::Right(written),
                    Either::Right((item, _)) => Either::Left(item),
                }
            } else {
                Either::Right(writing.next().await)
            };
            match next {
                Either::Left(Some(item)) => {
                    let chunk = item.into_chunk()?;
                    let at = position.saturating_add(total);
                    total += chunk.len() as u64;
                    writing.push(self.write_bytes_at(chunk, at));
                }
                Either::Left(None) if writing.is_empty() => return Ok(total),
                Either::Left(None) | Either::Right(None) => {}
                Either::Right(Some(written)) => written?,
            }
        }
    }
}

impl ReadStream {
    /// Where the next piece is, and how long.
    fn next_piece(&self) -> Option<(u64, usize)> {
        let left = self.end.saturating_sub(self.at);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(self.chunk);
        (len > 0).then_some((self.at, len))
    }

    /// Room for a piece: a buffer that was given out, if it has come back.
    fn buffer(&mut self, len: usize) -> BytesMut {
        for _ in 0..self.spare.len() {
            let mut buffer = self.spare.pop_front().expect("just counted");
            if buffer.try_reclaim(len) {
                return buffer;
            }
            self.spare.push_back(buffer);
        }
        BytesMut::with_capacity(len)
    }

    fn give_out(&mut self, mut buffer: BytesMut) -> Bytes {
        let chunk = buffer.split().freeze();
        self.spare.push_back(buffer);
        if self.spare.len() > IN_FLIGHT {
            self.spare.pop_front();
        }
        chunk
    }

    /// The next chunk, if it can be had here and now.
    fn read_now(&mut self, file: &File, at: u64, len: usize) -> Option<io::Result<Bytes>> {
        let inner = file.inner();
        let mut buffer = self.buffer(len);
        let read = inner.read_now_with(len, |file| {
            let at = Position::At(at);
            sys::append(file, &mut buffer, len, at, sys::Blocking::No)
        });
        match read {
            Some(Ok(n)) => {
                self.at += n as u64;
                Some(Ok(self.give_out(buffer)))
            }
            Some(Err(error)) => Some(Err(error)),
            None => {
                self.spare.push_front(buffer);
                None
            }
        }
    }

    /// Has the worker read the next piece, if there is one.
    fn submit(&mut self, file: &File, cx: &mut Context<'_>) -> bool {
        let Some((at, len)) = self.next_piece() else {
            return false;
        };
        let owner = &file.inner().owner;
        let mut reading = match owner.direct() {
            Some(direct) => {
                let read = ReadDirect::new(owner, direct, at..at + len as u64);
                Reading::Direct(RunOp::new(owner.pool(), read))
            }
            None => {
                let buffer = self.buffer(len).slice(..len);
                Reading::UnderWay(file.inner().read(buffer, Position::At(at)))
            }
        };
        // It does not begin before.
        if let Poll::Ready(outcome) = reading.poll(cx) {
            reading = Reading::Done(Some(outcome));
        }
        self.reading.push_back(Piece { at, len, reading });
        self.at += len as u64;
        true
    }

    /// What became of the first piece that is being read.
    fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let Some(first) = self.reading.front_mut() else {
            return Poll::Ready(None);
        };
        let outcome = ready!(first.reading.poll(cx));
        let Piece { at, len, .. } = self.reading.pop_front().expect("just seen");
        Poll::Ready(Some(outcome.map(|chunk| {
            let n = chunk.len();
            if n < len {
                // What comes behind it was read elsewhere than where this goes on.
                self.reading.clear();
                self.at = at + n as u64;
            }
            match chunk {
                Chunk::Buffer(buffer) => self.give_out(buffer),
                Chunk::Blocks(bytes) => bytes,
            }
        })))
    }

    fn poll_chunk(&mut self, file: &File, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.reading.is_empty() {
            let Some((at, len)) = self.next_piece() else {
                return Poll::Ready(None);
            };
            ready!(pace::poll_turn(cx));
            if let Some(chunk) = self.read_now(file, at, len) {
                return Poll::Ready(Some(chunk));
            }
            self.submit(file, cx);
        }
        if let Poll::Ready(chunk) = self.poll_first(cx) {
            return Poll::Ready(chunk);
        }
        while self.reading.len() < IN_FLIGHT && self.submit(file, cx) {}
        Poll::Pending
    }
}

impl Stream for ReadStream {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(file) = self.file.take() else {
            return Poll::Ready(None);
        };
        let item = match self.poll_chunk(&file, cx) {
            Poll::Ready(Some(Ok(chunk))) if !chunk.is_empty() => Poll::Ready(Some(Ok(chunk))),
            Poll::Pending => Poll::Pending,
            Poll::Ready(last) => {
                self.reading.clear();
                self.spare.clear();
                return Poll::Ready(last.filter(Result::is_err));
            }
        };
        self.file = Some(file);
        item
    }
}

impl FusedStream for ReadStream {
    fn is_terminated(&self) -> bool {
        self.file.is_none()
    }
}

impl fmt::Debug for ReadStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadStream")
            .field("file", &self.file)
            .field("chunk", &self.chunk)
            .finish_non_exhaustive()
    }
}

/// What a stream that is [written](File::write_stream) may yield: [`Bytes`], [`BytesMut`], `Vec<u8>`, or
/// a `Result` of what becomes [`Bytes`].
pub trait IntoChunk: sealed::Sealed {
    #[doc(hidden)]
    fn into_chunk(self) -> io::Result<Bytes>;
}

impl IntoChunk for Bytes {
    fn into_chunk(self) -> io::Result<Bytes> {
        Ok(self)
    }
}

impl IntoChunk for BytesMut {
    fn into_chunk(self) -> io::Result<Bytes> {
        Ok(self.freeze())
    }
}

impl IntoChunk for Vec<u8> {
    fn into_chunk(self) -> io::Result<Bytes> {
        Ok(self.into())
    }
}

impl<B: Into<Bytes>, E: Into<io::Error>> IntoChunk for Result<B, E> {
    fn into_chunk(self) -> io::Result<Bytes> {
        self.map(Into::into).map_err(Into::into)
    }
}

mod sealed {
    use std::io;

    use bytes::{Bytes, BytesMut};

    pub trait Sealed {}

    impl Sealed for Bytes {}
    impl Sealed for BytesMut {}
    impl Sealed for Vec<u8> {}
    impl<B: Into<Bytes>, E: Into<io::Error>> Sealed for Result<B, E> {}
}
