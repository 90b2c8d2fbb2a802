//! The borrowed/owned I/O line.
//!
//! The guide: [streams and buffers](crate::guide::io).
//!
//! Tokio lends a buffer to the stream for the time of a poll. Compio gives the buffer to the
//! kernel until the operation is done. These types stand on the line.
//!
//! | you have | you need | use | it costs | it loses |
//! |---|---|---|---|---|
//! | a Tokio stream, or a half of one | Compio's traits | [`TokioAsCompio`] | nothing: no copy, no allocation | – |
//! | a TCP or Unix stream of Compio's | Tokio's traits | `SocketAsTokio` (feature `net`, Linux) | no copy, no allocation; idle, some 250 bytes, less than a waiting read of Compio's | `Send` |
//! | any other Compio stream whose halves are independent | Tokio's traits | [`CompioAsTokio`] | one copy each way; idle, at most 1 KiB | `Send`; the stream's own methods, until [`into_parts`](CompioAsTokio::into_parts) |
//! | a Compio stream that is only read, or only written | Tokio's traits | [`CompioReadAsTokio`], [`CompioWriteAsTokio`] | the same, for one direction | the same |
//! | a stream whose two halves share a lock (TLS of Compio's own, `compio::io::util::split`) | Tokio's traits | none of these: a read that waits would hold up every write. Use TLS of Tokio's over `SocketAsTokio` | | |
//! | a Compio file | Tokio's traits | `FileAsTokio` (feature `fs`) | one copy each way; idle, a buffer as large as its largest operation was | `Send`; calls with a position, but for its `get_ref` |
//! | one of the above | `Send` | `OnThread` around it, of [`context`](crate::context) (feature `pool`) | three allocations, once; a look into a table of the thread's for each poll | nothing on its thread; elsewhere, each call is an error |
//! | Tokio code, on any thread | a socket that a Compio thread watches | `landbridge::remote` (feature `net`, Unix) | no copy, no allocation; a wake-up from another thread for each wait | – |
//! | a Tokio stream and a Compio stream | the bytes of one in the other | [`copy`](copy()), [`copy_bidirectional`] | the one buffer of each direction | dropped half-way, what is in it |
//! | a socket, pipe or file of one runtime | the same of the other, for good | [`handoff`] (features `net`, `fs`) | once, a few system calls | the number of a socket's descriptor |
//! | bytes in a type of somebody else's | an owned buffer | [`buf`] | nothing, but for [`buf::BufMutBuf`] one allocation a buffer | – |
//!
//! [`into_tokio_io`](IntoTokioIo::into_tokio_io) and [`into_compio_io`](IntoCompioIo::into_compio_io)
//! choose for the runtimes' own streams; a stream of your own is wrapped by name.

pub mod buf;
#[cfg(feature = "pool")]
mod compio_as_tokio;
mod copy;
#[cfg(feature = "fs")]
mod file_as_tokio;
#[cfg(all(fuzzing, feature = "pool"))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "pool")]
pub mod handoff;
#[cfg(feature = "pool")]
mod home;
mod into;
mod progress;
#[cfg(all(feature = "net", target_os = "linux"))]
mod socket_as_tokio;
#[cfg(feature = "pool")]
mod state;
mod tokio_as_compio;

#[cfg(feature = "pool")]
pub use compio_as_tokio::{
    CompioAsTokio, CompioReadAsTokio, CompioWriteAsTokio, DROP_GRACE, InFlight, Parts,
};
pub use copy::{
    CopyTo, ToCompio, ToTokio, copy, copy_bidirectional, copy_bidirectional_with_sizes,
};
#[cfg(feature = "fs")]
pub use file_as_tokio::FileAsTokio;
pub use into::IntoCompioIo;
#[cfg(feature = "pool")]
pub use into::IntoTokioIo;
#[cfg(all(feature = "net", target_os = "linux"))]
pub use socket_as_tokio::{
    CompioSocket, ReuniteError, SocketAsTokio, SocketParts, SocketReadAsTokio, SocketWriteAsTokio,
};
pub use tokio_as_compio::TokioAsCompio;
