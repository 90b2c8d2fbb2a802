//! The system calls, and every `unsafe` of this module.
//!
//! They block, but for those that are asked not to.

#![expect(
    unsafe_code,
    reason = "reads into memory that is not initialised, and opening without blocking, are not in std"
)]

use std::{
    fs::File,
    io,
    mem::MaybeUninit,
    os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd},
    path::Path,
    sync::Arc,
};

use bytes::BytesMut;
use compio::{
    buf::{BufResult, IntoInner, IoBuf, IoBufMut, IoVectoredBuf, IoVectoredBufMut},
    driver::op::{BufResultExt, ReadAt, ReadVectoredAt, VecBufResultExt, WriteAt, WriteVectoredAt},
    runtime::submit,
};

use super::owner::Owner;

/// Where in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// At this byte; the file's own cursor is neither used nor moved.
    At(u64),
    /// At the file's own cursor, which moves. For what has no positions, such as a FIFO, the next byte.
    Cursor,
}

/// What the kernel takes for "at the cursor": -1.
const CURSOR: u64 = u64::MAX;

impl Position {
    fn offset(self) -> io::Result<u64> {
        match self {
            // The kernel's offsets are signed, and -1 is not an offset.
            Self::At(offset) if i64::try_from(offset).is_err() => {
                Err(io::Error::from_raw_os_error(libc::EINVAL))
            }
            Self::At(offset) => Ok(offset),
            Self::Cursor => Ok(CURSOR),
        }
    }
}

/// Whether a read may wait for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocking {
    Yes,
    /// What is not in the page cache is [`WouldBlock`](io::ErrorKind::WouldBlock), what the file system
    /// cannot tell is [`Unsupported`](io::ErrorKind::Unsupported).
    No,
}

/// Fills the start of `buffer`; how many bytes.
pub(super) fn read_slice(
    file: &File,
    buffer: &mut [MaybeUninit<u8>],
    position: Position,
    blocking: Blocking,
) -> io::Result<usize> {
    let slice = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: the one slice is `buffer`, which is borrowed exclusively for the call.
    unsafe { read_into(file.as_raw_fd(), &[slice], position, blocking) }
}

/// Fills the buffer from its start; how many bytes, which its length is then at least.
pub(super) fn read_buffer(
    file: &File,
    buffer: &mut impl IoBufMut,
    position: Position,
    blocking: Blocking,
) -> io::Result<usize> {
    let n = read_slice(file, buffer.as_uninit(), position, blocking)?;
    // SAFETY: the kernel has written the first `n` bytes of it.
    unsafe { buffer.advance_to(n) };
    Ok(n)
}

/// Fills the start of `bytes` with what can be read without waiting for the disk; how many.
pub(super) fn read_cached(file: &File, bytes: &mut [u8], position: Position) -> io::Result<usize> {
    let slice = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: the one slice is `bytes`, which is borrowed exclusively for the call.
    unsafe { read_into(file.as_raw_fd(), &[slice], position, Blocking::No) }
}

/// Reads at most `len` bytes behind what is in the buffer, which has room for them; how many.
pub(super) fn append(
    file: &File,
    buffer: &mut BytesMut,
    len: usize,
    position: Position,
    blocking: Blocking,
) -> io::Result<usize> {
    let room = &mut buffer.spare_capacity_mut()[..len];
    let n = read_slice(file, room, position, blocking)?;
    let filled = buffer.len() + n;
    // SAFETY: the kernel has written the `n` bytes behind those that were initialised before.
    unsafe { buffer.set_len(filled) };
    Ok(n)
}

/// Fills the buffers from their start, one after the other.
pub(super) fn read_vectored(
    file: &File,
    buffers: &mut impl IoVectoredBufMut,
    position: Position,
) -> io::Result<usize> {
    let slices: Vec<_> = buffers
        .iter_uninit_slice()
        .map(|buffer| libc::iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: buffer.len(),
        })
        .collect();
    // SAFETY: the slices are `buffers`, which are borrowed exclusively for the call.
    let n = unsafe { read_into(file.as_raw_fd(), &slices, position, Blocking::Yes) }?;
    // SAFETY: the kernel has written the first `n` bytes of them.
    unsafe { buffers.advance_vec_to(n) };
    Ok(n)
}

/// # Safety
/// The slices may be written to.
#[cfg(target_os = "linux")]
unsafe fn read_into(
    fd: RawFd,
    slices: &[libc::iovec],
    position: Position,
    blocking: Blocking,
) -> io::Result<usize> {
    let offset = position.offset()?;
    let flags = match blocking {
        Blocking::Yes => 0,
        Blocking::No => libc::RWF_NOWAIT,
    };
    retry(|| {
        // SAFETY: by this function's contract. The offset's bits are meant: -1 is the cursor.
        unsafe {
            libc::preadv2(
                fd,
                slices.as_ptr(),
                count(slices),
                offset.cast_signed(),
                flags,
            )
        }
    })
}

/// # Safety
/// The slices may be written to.
#[cfg(not(target_os = "linux"))]
unsafe fn read_into(
    fd: RawFd,
    slices: &[libc::iovec],
    position: Position,
    blocking: Blocking,
) -> io::Result<usize> {
    if blocking == Blocking::No {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let offset = position.offset()?.cast_signed();
    retry(|| match position {
        // SAFETY: by this function's contract.
        Position::At(_) => unsafe { libc::preadv(fd, slices.as_ptr(), count(slices), offset) },
        // SAFETY: by this function's contract.
        Position::Cursor => unsafe { libc::readv(fd, slices.as_ptr(), count(slices)) },
    })
}

/// Writes the buffers' start; how many bytes.
pub(super) fn write_slices(
    file: &File,
    buffers: &[&[u8]],
    position: Position,
) -> io::Result<usize> {
    let slices: Vec<_> = buffers
        .iter()
        .map(|buffer| libc::iovec {
            iov_base: buffer.as_ptr().cast_mut().cast(),
            iov_len: buffer.len(),
        })
        .collect();
    let (fd, offset) = (file.as_raw_fd(), position.offset()?.cast_signed());
    retry(|| match position {
        // SAFETY: the slices are `buffers`, which are only read.
        Position::At(_) => unsafe { libc::pwritev(fd, slices.as_ptr(), count(&slices), offset) },
        // SAFETY: as above.
        Position::Cursor => unsafe { libc::writev(fd, slices.as_ptr(), count(&slices)) },
    })
}

/// How many the kernel takes at once (`IOV_MAX` of Linux and macOS); more are a short read or write.
fn count(slices: &[libc::iovec]) -> i32 {
    slices.len().min(1024) as i32
}

fn retry(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        match usize::try_from(call()) {
            Ok(n) => return Ok(n),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

/// Opens for reading what can be opened without waiting for a disk, and is a file or a directory; nothing
/// if it cannot, whatever the reason.
#[cfg(target_os = "linux")]
pub(super) fn open_cached(path: &Path, flags: i32) -> Option<File> {
    use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fcntl_setfl, fstat, openat2};

    let flags = OFlags::from_bits_retain(flags.cast_unsigned());
    // A FIFO would have the caller wait for a writer.
    let now = flags | OFlags::NONBLOCK;
    let fd = openat2(CWD, path, now, Mode::empty(), ResolveFlags::CACHED).ok()?;
    let kind = FileType::from_raw_mode(fstat(&fd).ok()?.st_mode);
    if !matches!(kind, FileType::RegularFile | FileType::Directory) {
        return None;
    }
    if now != flags {
        fcntl_setfl(&fd, flags).ok()?;
    }
    Some(fd.into())
}

/// Nothing can, here.
#[cfg(not(target_os = "linux"))]
pub(super) fn open_cached(_path: &Path, _flags: i32) -> Option<File> {
    None
}

/// Memory from the kernel: initialised, though nobody knows with what.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub(super) struct Mapping {
    start: std::ptr::NonNull<u8>,
    len: usize,
}

#[cfg(target_os = "linux")]
impl Mapping {
    /// None: there is no more.
    pub(super) fn new(len: usize) -> Option<Self> {
        let (access, kind) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        // SAFETY: new memory, where the kernel likes.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, access, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            return None;
        }
        let start = std::ptr::NonNull::new(start.cast())?;
        Some(Self { start, len })
    }

    /// Lets the kernel take the pages, and zeros be there instead, as long as nobody writes to them.
    pub(super) fn may_be_taken(&mut self) {
        let start = self.start.as_ptr().cast();
        // SAFETY: the mapping is this one's alone, and borrowed exclusively: nobody sees it change.
        // That it does nothing where it is refused is all right.
        _ = unsafe { libc::madvise(start, self.len, libc::MADV_FREE) };
    }
}

#[cfg(target_os = "linux")]
impl std::ops::Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: mapped until `drop`, initialised by the kernel, and written to through `&mut self` only.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

#[cfg(target_os = "linux")]
impl std::ops::DerefMut for Mapping {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

#[cfg(target_os = "linux")]
impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: made by `new`, and nobody borrows it any more.
        _ = unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

// SAFETY: plain memory that it owns; through `&self` it is only read.
#[cfg(target_os = "linux")]
unsafe impl Send for Mapping {}
// SAFETY: as above.
#[cfg(target_os = "linux")]
unsafe impl Sync for Mapping {}

/// Elsewhere the allocator has it, or there is none.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
pub(super) struct Mapping(std::convert::Infallible);

#[cfg(not(target_os = "linux"))]
impl Mapping {
    pub(super) fn new(_len: usize) -> Option<Self> {
        None
    }

    pub(super) fn may_be_taken(&mut self) {
        match self.0 {}
    }
}

#[cfg(not(target_os = "linux"))]
impl std::ops::Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self.0 {}
    }
}

#[cfg(not(target_os = "linux"))]
impl std::ops::DerefMut for Mapping {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self.0 {}
    }
}

/// Whether every write goes to the file's end, wherever it is meant to go.
#[cfg(target_os = "linux")]
pub(super) fn appends(file: &File) -> bool {
    rustix::fs::fcntl_getfl(file).is_ok_and(|flags| flags.contains(rustix::fs::OFlags::APPEND))
}

/// To be on the safe side.
#[cfg(not(target_os = "linux"))]
pub(super) fn appends(_file: &File) -> bool {
    true
}

/// Closes it; what the file system has to say to that.
pub(super) fn close(fd: OwnedFd) -> io::Result<()> {
    // SAFETY: nobody else has it, and nobody closes it again: on Linux it is closed whatever the outcome.
    match unsafe { libc::close(fd.into_raw_fd()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// [`read_buffer`] through the ring of the worker that this runs on.
pub(super) async fn ring_read<B: IoBufMut>(
    owner: Arc<Owner>,
    buffer: B,
    position: Position,
) -> BufResult<usize, B> {
    let offset = match position.offset() {
        Ok(offset) => offset,
        Err(error) => return BufResult(Err(error), buffer),
    };
    let done = submit(ReadAt::new(owner, offset, buffer)).await;
    // SAFETY: so many bytes of the buffer's start the kernel has written.
    unsafe { done.into_inner().map_advanced() }
}

/// [`read_vectored`] through the ring of the worker that this runs on.
pub(super) async fn ring_read_vectored<B: IoVectoredBufMut>(
    owner: Arc<Owner>,
    buffers: B,
    position: Position,
) -> BufResult<usize, B> {
    let offset = match position.offset() {
        Ok(offset) => offset,
        Err(error) => return BufResult(Err(error), buffers),
    };
    let done = submit(ReadVectoredAt::new(owner, offset, buffers)).await;
    // SAFETY: so many bytes of the buffers' start the kernel has written.
    unsafe { done.into_inner().map_vec_advanced() }
}

/// Writes the buffer's start through the ring of the worker that this runs on.
pub(super) async fn ring_write<B: IoBuf>(
    owner: Arc<Owner>,
    buffer: B,
    position: Position,
) -> BufResult<usize, B> {
    match position.offset() {
        Ok(offset) => submit(WriteAt::new(owner, offset, buffer))
            .await
            .into_inner(),
        Err(error) => BufResult(Err(error), buffer),
    }
}

/// Writes the buffers' start through the ring of the worker that this runs on.
pub(super) async fn ring_write_vectored<B: IoVectoredBuf>(
    owner: Arc<Owner>,
    buffers: B,
    position: Position,
) -> BufResult<usize, B> {
    match position.offset() {
        Ok(offset) => submit(WriteVectoredAt::new(owner, offset, buffers))
            .await
            .into_inner(),
        Err(error) => BufResult(Err(error), buffers),
    }
}
