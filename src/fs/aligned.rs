//! A buffer as direct I/O wants it.
//!
//! The invariant: `start` is an allocation of `layout`, this buffer's alone, and its first `filled` bytes
//! are initialised.

#![expect(
    unsafe_code,
    reason = "nothing in std allocates bytes with an alignment of one's choice"
)]

use std::{
    alloc::{Layout, alloc, dealloc},
    fmt, io,
    mem::MaybeUninit,
    ops::{Deref, DerefMut},
    ptr::NonNull,
};

use bytes::Bytes;
use compio::buf::{IoBuf, IoBufMut, SetLen};

/// An owned buffer for direct I/O: its address and its capacity are multiples of an alignment.
///
/// Its length is what it is filled with: by a read, or by writing into it as an [`io::Write`], which ends
/// at the capacity. A direct write wants that to be a multiple, too: [`pad`](Self::pad) makes it one.
/// Nothing is ever filled with zeros unasked.
///
/// # Examples
///
/// ```
/// use std::io::Write;
///
/// use landbridge::fs::AlignedBuf;
///
/// # fn main() -> std::io::Result<()> {
/// let mut block = AlignedBuf::new(1000, 512)?;
/// assert_eq!((block.len(), block.capacity()), (0, 1024));
/// block.write_all(b"a record")?;
/// block.pad(0);
/// assert_eq!(block.len(), 512);
/// assert!(block.starts_with(b"a record\0"));
/// # Ok(())
/// # }
/// ```
pub struct AlignedBuf {
    start: NonNull<u8>,
    layout: Layout,
    filled: usize,
}

// SAFETY: the allocation is this buffer's alone (the module's invariant), and plain bytes.
unsafe impl Send for AlignedBuf {}
// SAFETY: a shared buffer gives out shared slices only.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    /// An empty buffer with room for `capacity` bytes, rounded up to a multiple of `alignment` bytes that
    /// is not 0.
    ///
    /// What a file wants says [`File::direct_alignment`](super::File::direct_alignment), and
    /// [`File::aligned_buffer`](super::File::aligned_buffer) makes such a buffer.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if the alignment is not a power of two, or no memory
    /// could be so large; [`OutOfMemory`](io::ErrorKind::OutOfMemory).
    pub fn new(capacity: usize, alignment: usize) -> io::Result<Self> {
        let layout = capacity
            .max(1)
            .checked_next_multiple_of(alignment.max(1))
            .and_then(|capacity| Layout::from_size_align(capacity, alignment).ok())
            .ok_or_else(|| {
                let message = format!("no buffer can have {capacity} bytes aligned to {alignment}");
                io::Error::new(io::ErrorKind::InvalidInput, message)
            })?;
        // SAFETY: its size is not 0, as the capacity was rounded up from 1 at least, here.
        let start = unsafe { alloc(layout) };
        Ok(Self {
            start: NonNull::new(start).ok_or(io::ErrorKind::OutOfMemory)?,
            layout,
            filled: 0,
        })
    }

    /// How many bytes there is room for.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.layout.size()
    }

    /// What the address and the capacity are multiples of, in bytes.
    #[must_use]
    pub const fn alignment(&self) -> usize {
        self.layout.align()
    }

    /// Makes it empty.
    pub const fn clear(&mut self) {
        self.filled = 0;
    }

    /// Keeps the first `len` bytes, if there are more.
    pub fn truncate(&mut self, len: usize) {
        self.filled = self.filled.min(len);
    }

    /// Fills up with `byte` to the next multiple of the alignment; how many that were. There is always
    /// room.
    pub fn pad(&mut self, byte: u8) -> usize {
        let filled = self.filled;
        let padded = filled.next_multiple_of(self.alignment());
        self.as_uninit()[filled..padded].fill(MaybeUninit::new(byte));
        self.filled = padded;
        padded - filled
    }

    /// The bytes that it is filled with, shared from now on; nothing is copied, and they stay aligned.
    #[must_use]
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the module's invariant: so many bytes are there, initialised, and borrowed with `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.filled) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.filled) }
    }
}

impl AsRef<[u8]> for AlignedBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// Appends what there is room for.
impl io::Write for AlignedBuf {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let filled = self.filled;
        let room = &mut self.as_uninit()[filled..];
        let n = room.len().min(bytes.len());
        room[..n].write_copy_of_slice(&bytes[..n]);
        self.filled += n;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl IoBuf for AlignedBuf {
    fn as_init(&self) -> &[u8] {
        self
    }
}

impl IoBufMut for AlignedBuf {
    fn as_uninit(&mut self) -> &mut [MaybeUninit<u8>] {
        let start = self.start.as_ptr().cast();
        // SAFETY: the module's invariant: so many bytes are there, and borrowed exclusively with `self`.
        unsafe { std::slice::from_raw_parts_mut(start, self.layout.size()) }
    }
}

impl SetLen for AlignedBuf {
    /// # Safety
    ///
    /// The first `len` bytes are there and initialised: what the trait wants of the caller, and this
    /// module's invariant.
    unsafe fn set_len(&mut self, len: usize) {
        debug_assert!(len <= self.capacity());
        self.filled = len;
    }
}

impl From<AlignedBuf> for Bytes {
    fn from(buffer: AlignedBuf) -> Self {
        buffer.freeze()
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlignedBuf")
            .field("len", &self.filled)
            .field("capacity", &self.capacity())
            .field("alignment", &self.alignment())
            .finish_non_exhaustive()
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout (`new`), and nobody else's (the module's invariant).
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}
