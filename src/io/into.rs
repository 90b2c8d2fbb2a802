//! The right wrapper for each of the runtimes' own streams.

use super::TokioAsCompio;

/// From a Compio stream to one that speaks Tokio's traits.
///
/// Implemented stream by stream, so that each gets the way that is fastest for it: sockets become a
/// `SocketAsTokio` on Linux, and a [`CompioAsTokio`](super::CompioAsTokio) elsewhere, which nobody has
/// run on Windows yet. Name the result as `<TcpStream as IntoTokioIo>::Io`. A stream of your own is wrapped with
/// [`CompioAsTokio::new`](super::CompioAsTokio::new).
///
/// The guide: [streams and buffers](crate::guide::io).
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "net")]
/// # compio::runtime::Runtime::new().unwrap().block_on(async {
/// use compio::net::{TcpListener, TcpStream};
/// use landbridge::io::IntoTokioIo;
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let mut client = TcpStream::connect(listener.local_addr()?).await?.into_tokio_io();
/// let mut server = listener.accept().await?.0.into_tokio_io();
///
/// client.write_all(b"over the bridge").await?;
/// client.shutdown().await?;
/// let mut text = String::new();
/// server.read_to_string(&mut text).await?;
/// assert_eq!(text, "over the bridge");
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
#[cfg(feature = "pool")]
pub trait IntoTokioIo {
    /// What speaks Tokio's traits.
    type Io: tokio::io::AsyncRead + tokio::io::AsyncWrite;

    /// Wraps the stream.
    fn into_tokio_io(self) -> Self::Io;
}

#[cfg(feature = "net")]
macro_rules! compio_sockets {
    ($($(#[$attribute:meta])* $socket:ty),* $(,)?) => {$(
        $(#[$attribute])*
        impl IntoTokioIo for $socket {
            #[cfg(target_os = "linux")]
            type Io = super::SocketAsTokio<$socket>;
            #[cfg(not(target_os = "linux"))]
            type Io = super::CompioAsTokio<$socket>;

            fn into_tokio_io(self) -> Self::Io {
                Self::Io::new(self)
            }
        }
    )*};
}

#[cfg(feature = "net")]
compio_sockets!(compio::net::TcpStream, compio::net::UnixStream);

/// From a Tokio stream to one that speaks Compio's traits.
///
/// Implemented stream by stream; a stream of your own is wrapped with [`TokioAsCompio::new`].
///
/// The guide: [streams and buffers](crate::guide::io).
///
/// # Examples
///
/// ```
/// use compio_io::{AsyncRead, AsyncWrite};
/// use landbridge::io::IntoCompioIo;
///
/// # futures::executor::block_on(async {
/// let (left, right) = tokio::io::duplex(64);
/// left.into_compio_io().write("over the bridge").await.0?;
/// let (count, buffer) = right.into_compio_io().read([0; 32]).await.unwrap();
/// assert_eq!(&buffer[..count], b"over the bridge");
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
pub trait IntoCompioIo {
    /// What speaks Compio's traits.
    type Io;

    /// Wraps the stream.
    fn into_compio_io(self) -> Self::Io;
}

macro_rules! tokio_streams {
    ($($stream:ty),* $(,)?) => {$(
        impl IntoCompioIo for $stream {
            type Io = TokioAsCompio<$stream>;

            fn into_compio_io(self) -> Self::Io {
                TokioAsCompio::new(self)
            }
        }
    )*};
}

tokio_streams!(tokio::io::DuplexStream, tokio::io::SimplexStream);

#[cfg(feature = "net")]
tokio_streams!(
    tokio::net::TcpStream,
    tokio::net::tcp::OwnedReadHalf,
    tokio::net::tcp::OwnedWriteHalf,
);

#[cfg(all(feature = "net", unix))]
tokio_streams!(
    tokio::net::UnixStream,
    tokio::net::unix::OwnedReadHalf,
    tokio::net::unix::OwnedWriteHalf,
);
