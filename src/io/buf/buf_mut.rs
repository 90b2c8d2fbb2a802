//! Something to append to, as an owned buffer.
#![expect(unsafe_code, reason = "remembers the memory that a `BufMut` gave it")]

use std::fmt;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use bytes::BufMut;
use compio_buf::{IntoInner, IoBuf, IoBufMut, SetLen};

/// The room at the end of any [`bytes::BufMut`], as an owned buffer to read into.
///
/// The buffer is empty at first. Its capacity is the chunk that the `BufMut` had at hand when it
/// was wrapped: reserve before, if that would be too little. [`into_inner`](Self::into_inner) gives
/// the `BufMut` back with what was read appended to it; dropping the buffer appends nothing.
///
/// It allocates once, so that the `BufMut` stays where it is.
///
/// # Examples
///
/// ```
/// use compio_io::AsyncRead;
/// use landbridge::io::buf::BufMutBuf;
///
/// # futures::executor::block_on(async {
/// let mut page = Vec::with_capacity(64);
/// page.extend_from_slice(b"over ");
/// let mut source = &b"the bridge"[..];
/// let buffer = source.read(BufMutBuf::new(page)).await.unwrap().1;
/// assert_eq!(buffer.into_inner(), b"over the bridge");
/// # });
/// ```
pub struct BufMutBuf<T: BufMut> {
    /// From `Box::into_raw`. Not a `Box`, whose move would claim the memory behind `chunk`.
    target: NonNull<T>,
    /// What `chunk_mut` of `target` gave, once; `target` has not been touched since.
    chunk: NonNull<[MaybeUninit<u8>]>,
    /// How many of the first bytes of `chunk` are initialised.
    length: usize,
}

// SAFETY: it owns its `T` as a box does, and `chunk` is memory of that `T`.
unsafe impl<T: BufMut + Send> Send for BufMutBuf<T> {}
// SAFETY: through a shared reference it only gives bytes of `chunk`, which nobody writes meanwhile.
unsafe impl<T: BufMut + Sync> Sync for BufMutBuf<T> {}

impl<T: BufMut> BufMutBuf<T> {
    /// Wraps the room at the end of `target`.
    #[must_use]
    pub fn new(target: T) -> Self {
        let target = NonNull::from(Box::leak(Box::new(target)));
        // SAFETY: just leaked, so valid and not shared.
        let borrowed = unsafe { &mut *target.as_ptr() };
        let chunk = borrowed.chunk_mut();
        let length = chunk.len();
        let start = chunk.as_mut_ptr().cast::<MaybeUninit<u8>>();
        let chunk = std::ptr::slice_from_raw_parts_mut(start, length);
        // SAFETY: it comes from a reference.
        let chunk = unsafe { NonNull::new_unchecked(chunk) };
        Self {
            target,
            chunk,
            length: 0,
        }
    }

    /// What was wrapped, with what was read appended.
    #[must_use]
    pub fn into_inner(self) -> T {
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: from a leaked box (`new`), and `this` is not dropped, so taken back only once.
        let mut target = unsafe { Box::from_raw(this.target.as_ptr()) };
        // SAFETY: the first `length` bytes of the current chunk are initialised: `set_len` asks it
        // of its caller, and `target` has not moved on since `new`.
        unsafe { target.advance_mut(this.length) };
        *target
    }
}

impl<T: BufMut> Drop for BufMutBuf<T> {
    fn drop(&mut self) {
        // SAFETY: from a leaked box (`new`); `into_inner` forgets `self`.
        drop(unsafe { Box::from_raw(self.target.as_ptr()) });
    }
}

impl<T: BufMut + 'static> IoBuf for BufMutBuf<T> {
    fn as_init(&self) -> &[u8] {
        // SAFETY: `chunk` is memory of `target`, which lives as long as `self`, does not move and
        // is not touched; the first `length` bytes are initialised (`set_len`).
        unsafe { std::slice::from_raw_parts(self.chunk.cast::<u8>().as_ptr(), self.length) }
    }
}

impl<T: BufMut + 'static> IoBufMut for BufMutBuf<T> {
    fn as_uninit(&mut self) -> &mut [MaybeUninit<u8>] {
        // SAFETY: as in `as_init`; `&mut self` makes this the only reference to it.
        unsafe { self.chunk.as_mut() }
    }
}

impl<T: BufMut> SetLen for BufMutBuf<T> {
    unsafe fn set_len(&mut self, len: usize) {
        debug_assert!(len <= self.chunk.len());
        self.length = len;
    }
}

impl<T: BufMut> IntoInner for BufMutBuf<T> {
    type Inner = T;

    fn into_inner(self) -> T {
        self.into_inner()
    }
}

impl<T: BufMut> fmt::Debug for BufMutBuf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufMutBuf")
            .field("length", &self.length)
            .field("capacity", &self.chunk.len())
            .finish_non_exhaustive()
    }
}
