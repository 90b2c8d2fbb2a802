//! One stream of bytes between two tasks: see [`channel::pipe`](super::pipe()).
//!
//! # Owned buffers
//!
//! [`Writer::send`] hands over a whole buffer, [`Reader::recv`] gets that very buffer: no byte is copied.
//! [`Reader::give_back`] returns it when it has been read, and [`Writer::empty`] is where it comes out, to be
//! filled again. So a steady stream allocates nothing.
//!
//! The buffers are `Vec<u8>`: both runtimes' calls take them, an emptied one has all of its capacity again, and
//! none is shared with anybody. (Of `BytesMut`, what was read off its front is gone until it is copied
//! or reclaimed, and a part that somebody still holds keeps the rest from being used.)
//!
//! # Borrowed slices
//!
//! Either end, or both, may be used through the traits instead (feature `shim`): Tokio's `AsyncRead`,
//! `AsyncBufRead` and `AsyncWrite`, Compio's `AsyncRead` and `AsyncWrite`. A write copies into one of the buffers
//! that came back, a read copies out of them. All of it is one stream of bytes, in order.
//!
//! A write that has been accepted is there to be read; flushing does nothing. Small writes gather in one
//! buffer, of a 32nd of the capacity or 8 KiB, for as long as the reader has not come to it. A read takes from as
//! many buffers as fill its own.
//!
//! # What fits
//!
//! The capacity bounds the bytes that have been written and not read. A buffer that is heavier is sent alone,
//! once all before it has been read. At most 32 buffers are under way: each takes a 32nd of the capacity at
//! least. On their way back are buffers of at most twice the capacity, or a single larger one; what is more is freed.
//!
//! # The end
//!
//! Shutting the writer down, or dropping it, also as its thread panics, is the end of the stream: the reader gets
//! what was written, then the end, again and again. Once the reader is gone or closed, writes fail with
//! [`BrokenPipe`](std::io::ErrorKind::BrokenPipe), and the buffer stays with the caller.

mod flow;
mod gathered;
#[cfg(feature = "shim")]
mod io;
mod reader;
mod spares;
mod writer;

pub use reader::Reader;
pub use writer::Writer;

use self::{flow::Flow, gathered::Gathered, spares::spares};
use super::{Wait, ring::ring};
use crate::sync::Arc;

pub(super) fn channel(capacity: usize, write_wait: Wait, read_wait: Wait) -> (Writer, Reader) {
    let flow = Arc::new(Flow::new(capacity));
    // There is a slot for every chunk that there may be.
    let (producer, consumer) = ring(flow.chunks());
    let (giver, taker) = spares(flow.chunks(), flow.bound().saturating_mul(2));
    let gathered = Arc::new(Gathered::new(flow.chunks()));
    (
        Writer::new(producer, taker, flow.clone(), gathered.clone(), write_wait),
        Reader::new(consumer, giver, flow, gathered, read_wait),
    )
}
