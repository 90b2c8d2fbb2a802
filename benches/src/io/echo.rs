//! Messages sent back as they came.

use std::rc::Rc;

use compio::{
    BufResult,
    buf::{IntoInner, IoBuf},
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, compat::AsyncStream},
};
use landbridge::io::{CompioAsTokio, IntoTokioIo, TokioAsCompio};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::compat::FuturesAsyncReadCompatExt;

use super::load::{Cost, Load, Meter, on_compio, on_tokio};
#[cfg(unix)]
use super::load::{on_compat, on_dual};

/// Compio's traits over a Tokio socket, on a Tokio current-thread runtime.
#[must_use]
pub fn tokio_as_compio(load: Load) -> Cost {
    on_tokio(load, |stream, load, meter| {
        compio_echo(TokioAsCompio::new(stream), load, meter)
    })
}

/// The peer of [`tokio_as_compio`]: the same socket as it is.
#[must_use]
pub fn plain_tokio(load: Load) -> Cost {
    on_tokio(load, |stream, load, meter| {
        tokio_echo(stream, load, meter, false)
    })
}

/// Tokio's traits over a Compio socket as users get them, on a Compio runtime with the pool's ring
/// flags.
#[must_use]
pub fn into_tokio_io(load: Load) -> Cost {
    on_compio(load, |stream, load, meter| {
        tokio_echo(stream.into_tokio_io(), load, meter, true)
    })
}

/// The same through the shim that takes any stream.
#[must_use]
pub fn compio_as_tokio(load: Load) -> Cost {
    on_compio(load, |stream, load, meter| {
        tokio_echo(CompioAsTokio::new(stream), load, meter, true)
    })
}

/// The peer of [`compio_as_tokio`]: Compio's own adapter, with that of tokio-util around it.
#[must_use]
pub fn async_stream(load: Load) -> Cost {
    on_compio(load, |stream, load, meter| {
        let stream = Box::pin(AsyncStream::new(stream)).compat();
        tokio_echo(stream, load, meter, true)
    })
}

/// Compio's own traits on the same runtime.
#[must_use]
pub fn plain_compio(load: Load) -> Cost {
    on_compio(load, compio_echo)
}

/// Compio's own traits on a thread that drives both runtimes.
#[cfg(unix)]
#[must_use]
pub fn dual_compio(load: Load) -> Cost {
    on_dual(load, compio_echo)
}

/// The peer of [`dual_compio`]: the same over compio-compat.
#[cfg(unix)]
#[must_use]
pub fn compat_compio(load: Load) -> Cost {
    on_compat(load, compio_echo)
}

async fn compio_echo<S>(mut stream: S, load: Load, meter: Rc<Meter>)
where
    S: AsyncRead + AsyncWrite,
{
    let mut buffer = Vec::with_capacity(load.room);
    loop {
        buffer.clear();
        while buffer.len() < load.message.len() {
            let filled = buffer.len();
            let BufResult(count, slice) = stream.read(buffer.slice(filled..)).await;
            if count.expect("a read") == 0 {
                return;
            }
            buffer = slice.into_inner();
        }
        let BufResult(sent, same) = stream.write_all(buffer).await;
        sent.expect("a write");
        buffer = same;
        meter.message();
    }
}

async fn tokio_echo<S>(mut stream: S, load: Load, meter: Rc<Meter>, flush: bool)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut buffer = vec![0; load.room];
    loop {
        let mut filled = 0;
        while filled < load.message.len() {
            let count = stream.read(&mut buffer[filled..]).await.expect("a read");
            if count == 0 {
                return;
            }
            filled += count;
        }
        let message = &buffer[..filled];
        stream.write_all(message).await.expect("a write");
        if flush {
            stream.flush().await.expect("a flush");
        }
        meter.message();
    }
}
