//! Sockets for Tokio code, driven by a [`CompioPool`](crate::CompioPool): the names and shapes of `tokio::net`.
//!
//! The guide: [streams and buffers](crate::guide::io).
//!
//! A module moves by its `use` line, once the program has made a pool its default, unless it uses what is
//! [not there](#what-is-not-there). On Unix.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use landbridge::remote::{TcpListener, TcpStream}; // was: use tokio::net::{..};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! let pool = landbridge::CompioPool::builder().threads(1).build()?;
//! pool.set_default()?;
//!
//! let listener = TcpListener::bind("127.0.0.1:0").await?;
//! let address = listener.local_addr()?;
//! let server = tokio::spawn(async move {
//!     let (mut stream, _peer) = listener.accept().await?;
//!     let mut word = [0; 4];
//!     stream.read_exact(&mut word).await?;
//!     stream.write_all(&word).await
//! });
//! let mut stream = TcpStream::connect(address).await?;
//! stream.write_all(b"echo").await?;
//! let mut word = String::new();
//! stream.read_to_string(&mut word).await?;
//! assert_eq!(word, "echo");
//! server.await??;
//! # Ok(())
//! # }
//! ```
//!
//! # Where it runs
//!
//! Every call first tries, on the caller's thread and without waiting: bytes go between the caller's buffer and
//! the kernel, and nowhere else. Only what has to wait is the worker's, which watches the socket:
//!
//! | to be waited for | worker with a ring (Linux) | worker without, attached runtime |
//! |---|---|---|
//! | something to be read, connections, datagrams | one request for as long as somebody waits for each event; no crossing | a poll, one crossing each time |
//! | room to write, being connected | a poll, one crossing each time | the same |
//! | room to write, where the peer has sent all it has | one request for as long as somebody waits | on Linux, an epoll instance for as long as somebody waits: one more descriptor |
//!
//! On Linux, a listener or a datagram socket that has waited takes one more descriptor, by which the worker watches it.
//! Where that, or the epoll instance, cannot be had (`EMFILE`), the call that has to wait fails with the system's error.
//!
//! After 128 calls on a socket that did not have to wait, the next says `Pending` once, and wakes its task at once: so
//! that a socket that is always ready lets the task's neighbours run. Whoever polls once and gives up may see that
//! though there is something; the `try_` calls never say so.
//!
//! Each socket stays with one worker, see [`Net`]; connections are handed round the workers, or
//! [dealt out by the kernel](ListenOptions::reuse_port). The handles work in a task of any runtime, and on the
//! pool's own workers. They do not keep the pool alive.
//!
//! # Shutdown
//!
//! A [shutdown](crate::CompioPool::shutdown) waits for jobs and not for sockets. Once their worker is gone,
//! who waits gets [`JoinError::RuntimeGone`](crate::JoinError::RuntimeGone) inside the
//! [`io::Error`](std::io::Error), and so does every call that would have to wait from then on. What the kernel
//! has or takes at once can still be read and written, and the other end is told nothing before the socket is
//! dropped.
//!
//! # Being dropped
//!
//! A stream that is dropped is closed when its worker has let go of it: soon after, but not while a job blocks that
//! worker. It is closed here and now if nobody ever waited. Where the peer is to be told at once, shut it down first.
//!
//! On Linux, a listener is closed here and now, and so is a datagram socket that nobody waits to send by: the
//! address is free again. On other systems it is as for streams.
//!
//! # What is not there
//!
//! | of `tokio::net` | here |
//! |---|---|
//! | `TcpSocket` | [`ListenOptions`], or a socket of `socket2` by `from_std` |
//! | `UnixDatagram`, `unix::pipe` | nothing |
//! | `tcp::{OwnedReadHalf, ..}`, `unix::{OwnedReadHalf, ..}` | [`OwnedReadHalf<S>`], [`OwnedWriteHalf<S>`], [`ReadHalf<'_, S>`], [`WriteHalf<'_, S>`] |
//! | `unix::SocketAddr` | [std's](std::os::unix::net::SocketAddr) |
//! | `unix::UCred` | [`UCred`] |
//! | `into_std`'s `io::Result` | [`HandoffError`](crate::error::HandoffError), which `?` makes an `io::Error` |
//! | `ready`, `Interest`, `try_io`, `async_io` | `readable`, `writable`, `poll_read_ready`, `poll_write_ready`, `try_read`, `try_write` |
//! | `try_read_vectored`, `try_read_buf` and the like | `try_read` |
//! | the halves' own `readable`, `try_read`, `peek` | by `as_ref()`, the stream's |
//! | of `UdpSocket`: `poll_peek*`, `try_peek*`, `poll_recv_ready`, `poll_send_ready`, `*_buf*`, `tos`, `device` | `peek`, `peek_from`, `try_recv`, `readable`, `writable`; options by [`socket2::SockRef`](https://docs.rs/socket2) |
//! | of `TcpStream`: `linger`, `quickack` | [`set_zero_linger`](TcpStream::set_zero_linger); options by `SockRef` |

mod addr;
mod direction;
#[cfg(all(test, landbridge_loom))]
mod loom_direction;
mod net;
mod polite;
mod source;
mod split;
mod stream;
mod sys;
mod tcp;
mod udp;
mod unix;
mod watch;

pub use addr::ToSocketAddrs;
pub use net::Net;
pub use split::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
pub use stream::Stream;
pub use tcp::{ListenOptions, TcpListener, TcpStream};
pub use udp::UdpSocket;
pub use unix::{UCred, UnixListener, UnixStream};
