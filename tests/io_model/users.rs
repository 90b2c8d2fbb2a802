//! Who uses a stream: by Tokio's traits or by Compio's, and never with much patience.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use compio::BufResult;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

/// How long somebody waits.
#[derive(Clone, Copy, Debug)]
pub enum Patience {
    /// So many polls, without being woken for them; an odd number is made with a waker that wakes
    /// nobody. Then the call is dropped.
    Polls(u8),
    /// As long as it takes, polled only when woken.
    Endless,
}

/// The bytes of one write that were offered, and how many of them were taken.
pub type Written = (io::Result<usize>, Vec<u8>);

/// One way to use a stream. `None`: the patience was at its end.
pub trait User {
    /// `Ok` with nothing: the end.
    async fn read(&mut self, room: usize, call: &Call<'_>) -> Option<io::Result<Vec<u8>>>;

    /// The same by another of the trait's ways.
    async fn read_otherwise(&mut self, room: usize, call: &Call<'_>)
    -> Option<io::Result<Vec<u8>>>;

    /// Each poll may offer other bytes.
    async fn write(
        &mut self,
        lens: &[usize],
        offers: &mut Offers,
        call: &Call<'_>,
    ) -> Option<Written>;

    async fn flush(&mut self, call: &Call<'_>) -> Option<io::Result<()>>;

    async fn shutdown(&mut self, call: &Call<'_>) -> Option<io::Result<()>>;
}

/// One call: how often it is polled, and what is looked at right before each poll.
pub struct Call<'a> {
    pub patience: Patience,
    pub before_poll: &'a dyn Fn(),
}

impl Call<'_> {
    pub async fn wait<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let (mut left, foreign) = match self.patience {
            Patience::Polls(polls) => (Some(polls), polls % 2 == 1),
            Patience::Endless => (None, false),
        };
        poll_fn(|cx| {
            (self.before_poll)();
            let waker = if foreign { Waker::noop() } else { cx.waker() };
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(waker)) {
                return Poll::Ready(Some(output));
            }
            match &mut left {
                None => return Poll::Pending,
                Some(0 | 1) => return Poll::Ready(None),
                Some(left) => *left -= 1,
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await
    }
}

/// Bytes to write, of which no two offers look alike.
#[derive(Default)]
pub struct Offers(u8);

impl Offers {
    fn next(&mut self, len: usize) -> Vec<u8> {
        self.0 = self.0.wrapping_add(41);
        (0..len)
            .map(|i| self.0.wrapping_add((i ^ (i >> 8)) as u8))
            .collect()
    }
}

/// Cuts `bytes` into slices of these lengths.
fn cut<'a>(mut bytes: &'a [u8], lens: &[usize]) -> Vec<&'a [u8]> {
    lens.iter()
        .map(|len| {
            let (part, rest) = bytes.split_at(*len);
            bytes = rest;
            part
        })
        .collect()
}

/// Takes what a stream has buffered, at most so much.
pub type ReadBuffered<S> = fn(&mut S, &mut Context<'_>, usize) -> Poll<io::Result<Vec<u8>>>;

/// Somebody who polls: with another buffer and other bytes each time.
pub struct TokioUser<S> {
    pub stream: S,
    pub read_buffered: Option<ReadBuffered<S>>,
}

impl<S> TokioUser<S> {
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            read_buffered: None,
        }
    }

    pub fn buffered(stream: S) -> Self
    where
        S: AsyncBufRead + Unpin,
    {
        Self {
            stream,
            read_buffered: Some(|stream, cx, room| {
                let bytes = std::task::ready!(Pin::new(&mut *stream).poll_fill_buf(cx))?;
                let some = bytes[..room.min(bytes.len())].to_vec();
                Pin::new(stream).consume(some.len());
                Poll::Ready(Ok(some))
            }),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> User for TokioUser<S> {
    async fn read(&mut self, room: usize, call: &Call<'_>) -> Option<io::Result<Vec<u8>>> {
        let mut turn = 0;
        call.wait(poll_fn(|cx| {
            turn += 1;
            let mut memory = vec![0; room + turn % 3];
            let mut buffer = ReadBuf::new(&mut memory);
            let result = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
            result.map_ok(|()| buffer.filled().to_vec())
        }))
        .await
    }

    async fn read_otherwise(
        &mut self,
        room: usize,
        call: &Call<'_>,
    ) -> Option<io::Result<Vec<u8>>> {
        match self.read_buffered {
            Some(read) => {
                call.wait(poll_fn(|cx| read(&mut self.stream, cx, room)))
                    .await
            }
            None => self.read(room, call).await,
        }
    }

    async fn write(
        &mut self,
        lens: &[usize],
        offers: &mut Offers,
        call: &Call<'_>,
    ) -> Option<Written> {
        call.wait(poll_fn(|cx| {
            let offer = offers.next(lens.iter().sum());
            let stream = Pin::new(&mut self.stream);
            let result = match lens {
                [_] => stream.poll_write(cx, &offer),
                _ => {
                    let slices: Vec<_> = cut(&offer, lens).into_iter().map(IoSlice::new).collect();
                    stream.poll_write_vectored(cx, &slices)
                }
            };
            result.map(|result| (result, offer))
        }))
        .await
    }

    async fn flush(&mut self, call: &Call<'_>) -> Option<io::Result<()>> {
        call.wait(poll_fn(|cx| Pin::new(&mut self.stream).poll_flush(cx)))
            .await
    }

    async fn shutdown(&mut self, call: &Call<'_>) -> Option<io::Result<()>> {
        call.wait(poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)))
            .await
    }
}

/// Somebody who hands buffers over.
pub struct CompioUser<S>(pub S);

impl<S: compio::io::AsyncRead + compio::io::AsyncWrite> User for CompioUser<S> {
    async fn read(&mut self, room: usize, call: &Call<'_>) -> Option<io::Result<Vec<u8>>> {
        // Bytes are there before, as in a buffer that is used again.
        let mut buffer = Vec::with_capacity(room);
        buffer.resize(room / 2, 0xee);
        let BufResult(result, mut buffer) = call.wait(self.0.read(buffer)).await?;
        Some(result.map(|count| {
            assert!(buffer.len() >= count);
            buffer.truncate(count);
            buffer
        }))
    }

    async fn read_otherwise(
        &mut self,
        room: usize,
        call: &Call<'_>,
    ) -> Option<io::Result<Vec<u8>>> {
        let sizes = [room / 3, 0, room - room / 3];
        let buffers = sizes.map(Vec::with_capacity);
        let BufResult(result, buffers) = call.wait(self.0.read_vectored(buffers)).await?;
        Some(result.map(|count| {
            let bytes = buffers.concat();
            assert_eq!(bytes.len(), count);
            bytes
        }))
    }

    async fn write(
        &mut self,
        lens: &[usize],
        offers: &mut Offers,
        call: &Call<'_>,
    ) -> Option<Written> {
        let offer = offers.next(lens.iter().sum());
        let result = match lens {
            [_] => call.wait(self.0.write(offer.clone())).await?.0,
            _ => {
                let buffers: Vec<Vec<u8>> =
                    cut(&offer, lens).into_iter().map(<[u8]>::to_vec).collect();
                call.wait(self.0.write_vectored(buffers)).await?.0
            }
        };
        Some((result, offer))
    }

    async fn flush(&mut self, call: &Call<'_>) -> Option<io::Result<()>> {
        call.wait(self.0.flush()).await
    }

    async fn shutdown(&mut self, call: &Call<'_>) -> Option<io::Result<()>> {
        call.wait(self.0.shutdown()).await
    }
}
