//! Moving a live socket, pipe or file from one runtime to the other, for good.
//!
//! The guide: [streams and buffers](crate::guide::io).
//!
//! A shim stands between two runtimes for as long as it is used, and costs something each time. A hand-off is
//! done once: the object leaves its runtime, through the standard library's type, and belongs to the other.
//! What the kernel holds for it, such as bytes that were received and not yet read, goes with it.
//!
//! | | to Compio | to Tokio | to std |
//! |---|---|---|---|
//! | TCP stream | `tcp_to_compio` | `tcp_to_tokio` | `tcp_to_std` |
//! | TCP listener | `tcp_listener_to_compio` | `tcp_listener_to_tokio` | `tcp_listener_to_std` |
//! | UDP socket | `udp_to_compio` | `udp_to_tokio` | `udp_to_std` |
//! | Unix stream | `unix_to_compio` | `unix_to_tokio` | `unix_to_std` |
//! | Unix listener | `unix_listener_to_compio` | `unix_listener_to_tokio` | `unix_listener_to_std` |
//! | reading end of a pipe | `pipe_receiver_to_compio` | `pipe_receiver_to_tokio` | `pipe_receiver_to_std` |
//! | writing end of a pipe | `pipe_sender_to_compio` | `pipe_sender_to_tokio` | `pipe_sender_to_std` |
//! | file | `file_to_compio` | `file_to_tokio` | `file_to_std` |
//!
//! Each takes the object of either runtime, or of std: an object of Compio's is not `Send`, so the way from one
//! thread's Compio runtime to another's is to std here and to Compio there. The way from one Tokio runtime to
//! another is the same function, in the other's context. The last five rows are for Unix; pipes need the
//! features `net` and `fs`, files need `fs`, the others `net`.
//!
//! # What must be true
//!
//! - *Nobody else uses it.* An object of Compio's has no clone (nor a half, a `PollFd` or a stream of accepted
//!   connections made of it), and no operation on it is in flight: not even one that was dropped, until the
//!   kernel has given it back, since it may still take bytes with it. This is checked;
//!   [`InUse`](NotHandedOver::InUse) if it is not so. Let the runtime turn, and try again. Objects of Tokio's
//!   and std's have no clones; duplicates made with `try_clone` are the caller's business.
//! - *Nothing is buffered in the process.* That is so for sockets and pipes. A shim has buffers: take it apart
//!   first, with its `into_parts`. A `tokio::fs::File` may have read ahead for a read that was then dropped;
//!   its cursor is set back.
//! - *The other runtime is there*: to Compio within its runtime, to Tokio within its context, with I/O enabled.
//!
//! Where one of them does not hold, the object comes back in the [`HandoffError`], usable as before.
//!
//! # What does not change, and what does
//!
//! Socket options stay. Non-blocking mode is what the new owner wants: on for Tokio and for Compio's polling
//! driver, off for std and for Compio's io_uring driver, which would otherwise answer `WouldBlock` where it
//! should wait. The mode belongs to what the descriptors are duplicates of, so duplicates see it change.
//! The number of a socket's or pipe's descriptor changes; a file keeps it, since closing a duplicate would
//! give up the process's `fcntl` locks on it.
//!
//! On Windows a handle belongs to the completion port that it was first used with, for good. There, what
//! belongs to Compio cannot be handed over: an error, [`Bound`](NotHandedOver::Bound).
//!
//! # Examples
//!
//! ```
//! # #[cfg(feature = "net")]
//! # {
//! use compio::io::AsyncReadExt;
//! use landbridge::handoff;
//! use tokio::io::AsyncWriteExt;
//!
//! # let tokio = tokio::runtime::Runtime::new()?;
//! # let _context = tokio.enter();
//! # compio::runtime::Runtime::new()?.block_on(async {
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let mut client = tokio::net::TcpStream::connect(listener.local_addr()?).await?;
//! client.write_all(b"over the bridge").await?;
//!
//! // Accepted by Tokio, served by Compio.
//! let mut server = handoff::tcp_to_compio(listener.accept().await?.0)?;
//! let (_, text) = server.read_exact(Vec::with_capacity(15)).await.unwrap();
//! assert_eq!(text, b"over the bridge");
//!
//! // A clone still uses the connection, so it stays where it is.
//! let clone = server.clone();
//! let (error, server) = handoff::tcp_to_tokio(server).unwrap_err().into_parts();
//! assert_eq!(error.kind(), std::io::ErrorKind::ResourceBusy);
//!
//! drop(clone);
//! let mut server: tokio::net::TcpStream = handoff::tcp_to_tokio(server)?;
//! server.shutdown().await?;
//! # Ok::<_, std::io::Error>(()) })?;
//! # }
//! # Ok::<(), std::io::Error>(())
//! ```

#[cfg(all(any(feature = "net", feature = "fs"), unix))]
mod alone;
#[cfg(all(feature = "fs", unix))]
mod file;
#[cfg(feature = "net")]
mod mode;
#[cfg(all(feature = "net", feature = "fs", unix))]
mod pipe;
#[cfg(feature = "net")]
mod socket;

#[cfg(all(feature = "fs", unix))]
pub use file::{HandoffFile, file_to_compio, file_to_std, file_to_tokio};
#[cfg(all(feature = "net", feature = "fs", unix))]
pub use pipe::{
    pipe_receiver_to_compio, pipe_receiver_to_std, pipe_receiver_to_tokio, pipe_sender_to_compio,
    pipe_sender_to_std, pipe_sender_to_tokio,
};
#[cfg(feature = "net")]
pub use socket::{
    Handoff, tcp_listener_to_compio, tcp_listener_to_std, tcp_listener_to_tokio, tcp_to_compio,
    tcp_to_std, tcp_to_tokio, udp_to_compio, udp_to_std, udp_to_tokio,
};
#[cfg(all(feature = "net", unix))]
pub use socket::{
    unix_listener_to_compio, unix_listener_to_std, unix_listener_to_tokio, unix_to_compio,
    unix_to_std, unix_to_tokio,
};

pub use crate::error::{HandoffError, NotHandedOver};
