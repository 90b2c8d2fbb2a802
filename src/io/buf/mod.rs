//! Owned buffers from types that Compio does not know.
//!
//! | you have | use | as |
//! |---|---|---|
//! | bytes to write, in any `AsRef<[u8]>` | [`AsBuf`] | [`IoBuf`](compio_buf::IoBuf) |
//! | bytes to fill, in any `AsRef<[u8]> + AsMut<[u8]>` | [`AsBufMut`] | [`IoBufMut`](compio_buf::IoBufMut) |
//! | something to append to, any [`bytes::BufMut`] | [`BufMutBuf`] | [`IoBufMut`](compio_buf::IoBufMut) |
//! | a list of [`Bytes`](bytes::Bytes) to write at once | [`Chunks`] | [`IoVectoredBuf`](compio_buf::IoVectoredBuf) |
//!
//! Compio takes a pointer from a buffer and gives it to the kernel, and touches the buffer no more
//! until the kernel is done. So a type may be handed over if its bytes stay where they are while
//! nobody touches it, which holds for every safe type that is not moved: whatever could free or
//! move them needs the value itself.

mod as_buf;
mod buf_mut;
mod chunks;
mod error;

pub use as_buf::{AsBuf, AsBufMut};
pub use buf_mut::BufMutBuf;
pub use chunks::Chunks;
pub use error::BufError;
