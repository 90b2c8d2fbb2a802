//! The buffer of an operation, as small as a pointer while it travels.
//!
//! Every layer of `async fn` keeps room for its buffer, and an idle shim keeps all of that room. A
//! box that is made once takes eight bytes a layer instead of forty-eight.

use std::mem::MaybeUninit;

use compio_buf::{IntoInner, IoBuf, IoBufMut, SetLen, Slice};

/// A part of a vector, or nothing yet.
#[derive(Debug, Default)]
pub(super) struct Window(Option<Slice<Vec<u8>>>);

impl Window {
    pub(super) fn set(&mut self, part: Slice<Vec<u8>>) {
        self.0 = Some(part);
    }

    pub(super) fn take(&mut self) -> Vec<u8> {
        self.0.take().map(IntoInner::into_inner).unwrap_or_default()
    }
}

impl IoBuf for Window {
    fn as_init(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], IoBuf::as_init)
    }
}

impl IoBufMut for Window {
    fn as_uninit(&mut self) -> &mut [MaybeUninit<u8>] {
        self.0.as_mut().map_or(&mut [], IoBufMut::as_uninit)
    }
}

#[expect(
    unsafe_code,
    reason = "the trait's method is unsafe to call, and to hand on"
)]
impl SetLen for Window {
    unsafe fn set_len(&mut self, len: usize) {
        if let Some(part) = &mut self.0 {
            // SAFETY: what the caller promises of this view holds for the part it is a view of.
            unsafe { part.set_len(len) };
        }
    }
}
