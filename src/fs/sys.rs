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
    buf::{BufResult, IntoInner, IoBuf, IoBufMut, IoVectoredBuf, IoVectoredBufMut, SetLen},
    driver::op::{BufResultExt, ReadAt, WriteAt},
    runtime::submit,
};

use tokio::io::ReadBuf;
#[cfg(target_os = "linux")]
use {
    compio::driver::{Decision, IourOpCode, OpEntry, PollOpCode},
    std::task::Poll,
};

#[cfg(target_os = "linux")]
use super::local::Kind;
use super::{direct::Said, owner::Owner};
use crate::unwind::swallow;

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

/// Goes on filling `buffer`, with `limit` bytes at most; how many bytes.
pub(super) fn read_unfilled(
    file: &File,
    buffer: &mut ReadBuf<'_>,
    limit: usize,
    position: Position,
    blocking: Blocking,
) -> io::Result<usize> {
    // SAFETY: nothing that is initialised is made uninitialised again: the kernel only writes there.
    let unfilled = unsafe { buffer.unfilled_mut() };
    let limit = limit.min(unfilled.len());
    let n = read_slice(file, &mut unfilled[..limit], position, blocking)?;
    // SAFETY: the kernel has written the first `n` bytes of what was unfilled.
    unsafe { buffer.assume_init(n) };
    buffer.advance(n);
    Ok(n)
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
    let slices = slices(buffers);
    // SAFETY: the slices are `buffers`, which are borrowed exclusively for the call.
    let n = unsafe { read_into(file.as_raw_fd(), &slices, position, Blocking::Yes) }?;
    // SAFETY: the kernel has written the first `n` bytes of them.
    unsafe { advance(buffers, n) };
    Ok(n)
}

/// Has the buffers show what was read. Compio's own way goes by the sum of their lengths, and hides what
/// went into an empty buffer before a full one (`docs/upstream.md`).
///
/// # Safety
/// The first `n` bytes of the buffers, one after the other, are initialised.
unsafe fn advance(buffers: &mut impl IoVectoredBufMut, n: usize) {
    let shown: Vec<_> = buffers.iter_slice().map(<[u8]>::len).collect();
    let mut left = n;
    let hides = buffers.iter_uninit_slice().zip(shown).any(|(room, shown)| {
        let share = left.min(room.len());
        left -= share;
        share > shown
    });
    if hides {
        // SAFETY: this function's contract.
        unsafe { buffers.set_len(n) };
    }
}

/// Where the buffers are, what is not initialised included.
fn slices(buffers: &mut impl IoVectoredBufMut) -> Vec<libc::iovec> {
    let slice = |buffer: &mut [MaybeUninit<u8>]| libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    buffers.iter_uninit_slice().map(slice).collect()
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
    let slices: Vec<_> = buffers.iter().copied().map(slice).collect();
    let (fd, offset) = (file.as_raw_fd(), position.offset()?.cast_signed());
    retry(|| match position {
        // SAFETY: the slices are `buffers`, which are only read.
        Position::At(_) => unsafe { libc::pwritev(fd, slices.as_ptr(), count(&slices), offset) },
        // SAFETY: as above.
        Position::Cursor => unsafe { libc::writev(fd, slices.as_ptr(), count(&slices)) },
    })
}

/// Where the bytes are, for a call that only reads them.
fn slice(bytes: &[u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    }
}

/// Writes all of it, from that byte of the file on.
pub(super) fn write_all(file: &File, mut bytes: &[u8], mut position: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = write_slices(file, &[bytes], Position::At(position))?;
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[n..];
        position = position.saturating_add(n as u64);
    }
    Ok(())
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

/// Opens for reading what can be opened without waiting for anybody, and is a file or a directory; nothing
/// if it cannot, whatever the reason.
#[cfg(target_os = "linux")]
pub(super) fn open_cached(path: &Path, flags: i32) -> Option<File> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fcntl_setfl, openat2};

    if kind_cached(path, flags)? != Kind::Local {
        return None;
    }
    let flags = OFlags::from_bits_retain(flags.cast_unsigned());
    // Should it be a FIFO by now, the caller would wait for a writer.
    let now = flags | OFlags::NONBLOCK;
    let fd = openat2(CWD, path, now, Mode::empty(), ResolveFlags::CACHED).ok()?;
    if Kind::of(&fd)? != Kind::Local {
        return None;
    }
    if now != flags {
        fcntl_setfl(&fd, flags).ok()?;
    }
    Some(fd.into())
}

/// What opening that path with those flags would open, if the kernel knows without asking a disk.
///
/// Nothing is opened for that: who waits for a FIFO to be opened is not misled, and no file system asked.
#[cfg(target_os = "linux")]
pub(super) fn kind_cached(path: &Path, flags: i32) -> Option<Kind> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};

    let follow = OFlags::from_bits_retain(flags.cast_unsigned()) & OFlags::NOFOLLOW;
    let look = OFlags::PATH | OFlags::CLOEXEC | follow;
    let fd = openat2(CWD, path, look, Mode::empty(), ResolveFlags::CACHED).ok()?;
    Kind::of(&fd)
}

/// Nothing can, here.
#[cfg(not(target_os = "linux"))]
pub(super) fn open_cached(_path: &Path, _flags: i32) -> Option<File> {
    None
}

/// Memory from the kernel that is filled from its start. What is not filled may be anything at any time.
#[derive(Debug)]
pub(super) struct Mapping {
    start: std::ptr::NonNull<u8>,
    len: usize,
    /// So many bytes have been written to since the memory was last given up.
    filled: usize,
}

impl Mapping {
    /// None: there is no more.
    #[cfg(target_os = "linux")]
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
        Some(Self {
            start,
            len,
            filled: 0,
        })
    }

    /// There is none that the kernel may take back, here.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn new(_len: usize) -> Option<Self> {
        None
    }

    /// Forgets what is in it, and lets the kernel take its pages until they are written to again.
    pub(super) fn give_up(&mut self) {
        self.filled = 0;
        // SAFETY: the mapping is this one's alone, and borrowed exclusively. That its bytes may change
        // from now on is nobody's business: none counts as filled, and only filled ones are shown. That
        // nothing happens where it is refused is all right.
        #[cfg(target_os = "linux")]
        let _ = unsafe { libc::madvise(self.start.as_ptr().cast(), self.len, libc::MADV_FREE) };
    }

    pub(super) fn room(&self) -> usize {
        self.len - self.filled
    }

    pub(super) fn filled(&self) -> &[u8] {
        // SAFETY: mapped until `drop`; the kernel has written so many bytes since they were last given up
        // (`append_cached`), and nothing writes there while `self` is borrowed.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.filled) }
    }

    /// Fills `len` further bytes with what the file has there, if all of them can be read without waiting
    /// for the disk; whether it did.
    pub(super) fn append_cached(
        &mut self,
        file: &File,
        len: usize,
        position: Position,
    ) -> io::Result<bool> {
        let room = self.room();
        // SAFETY: inside the mapping, or just behind its end with no room.
        let start = unsafe { self.start.as_ptr().add(self.filled) };
        // SAFETY: mapped until `drop`, borrowed exclusively, and nothing is taken for initialised.
        let room = unsafe { std::slice::from_raw_parts_mut(start.cast(), room) };
        let all = read_slice(file, &mut room[..len], position, Blocking::No)? == len;
        if all {
            self.filled += len;
        }
        Ok(all)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: made by `new`, and nobody borrows it any more.
        _ = unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

// SAFETY: plain memory that it owns; through `&self` it is only read.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

/// Whether it was opened to append.
pub(super) fn appends(file: &File) -> bool {
    flags(file) & libc::O_APPEND != 0
}

/// Whether it was opened for direct I/O.
#[cfg(target_os = "linux")]
pub(super) fn is_direct(file: &File) -> bool {
    flags(file) & libc::O_DIRECT != 0
}

/// There is no such way to open one, here.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_direct(_file: &File) -> bool {
    false
}

fn flags(file: &File) -> i32 {
    // SAFETY: takes no pointer. It does not fail: the descriptor is open.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) }
}

/// What the kernel says about direct I/O on the file; nothing, if it does not say. Does not wait: a file
/// system on a network says what it knows already.
#[cfg(target_os = "linux")]
pub(super) fn direct_alignment(file: &File) -> io::Result<Option<Said>> {
    use rustix::fs::{AtFlags, StatxFlags, statx};

    /// `STATX_DIO_READ_ALIGN`, Linux 6.14.
    const READ_ALIGN: StatxFlags = StatxFlags::from_bits_retain(0x20000);

    let at = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let stat = match statx(file, c"", at, StatxFlags::DIOALIGN | READ_ALIGN) {
        Ok(stat) => stat,
        // Older than 4.11, or a sandbox.
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let told = StatxFlags::from_bits_retain(stat.stx_mask);
    if !told.contains(StatxFlags::DIOALIGN) {
        return Ok(None);
    }
    let write = stat.stx_dio_offset_align as usize;
    let read = match stat.stx_dio_read_offset_align as usize {
        read if told.contains(READ_ALIGN) && read > 0 => read,
        _ => write,
    };
    Ok(Some(Said {
        memory: stat.stx_dio_mem_align as usize,
        read,
        write,
    }))
}

/// How long the file is, as far as is known here; does not wait.
pub(super) fn known_len(file: &File) -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{AtFlags, StatxFlags, statx};

        let at = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let stat = statx(file, c"", at, StatxFlags::SIZE).ok()?;
        Some(stat.stx_size)
    }
    #[cfg(not(target_os = "linux"))]
    {
        _ = file;
        None
    }
}

/// Nothing to say, here.
#[cfg(not(target_os = "linux"))]
pub(super) fn direct_alignment(_file: &File) -> io::Result<Option<Said>> {
    Ok(None)
}

/// Closes it; what the file system has to say to that.
pub(super) fn close(fd: OwnedFd) -> io::Result<()> {
    // SAFETY: nobody else has it, and nobody closes it again: on Linux it is closed whatever the outcome.
    match unsafe { libc::close(fd.into_raw_fd()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A user's buffers while the driver has them. Those of an operation that was cancelled are dropped in the
/// driver, where a panic of theirs would end the worker: here it ends with them.
struct Lent<B>(Option<B>);

impl<B> Lent<B> {
    const fn new(buffers: B) -> Self {
        Self(Some(buffers))
    }

    const fn get(&self) -> &B {
        self.0.as_ref().expect("there until the end")
    }

    const fn get_mut(&mut self) -> &mut B {
        self.0.as_mut().expect("there until the end")
    }

    fn take_back(mut self) -> B {
        self.0.take().expect("there until the end")
    }
}

impl<B> Drop for Lent<B> {
    fn drop(&mut self) {
        swallow(|| drop(self.0.take()));
    }
}

impl<B: IoBuf> IoBuf for Lent<B> {
    fn as_init(&self) -> &[u8] {
        self.get().as_init()
    }
}

impl<B: IoBufMut> IoBufMut for Lent<B> {
    fn as_uninit(&mut self) -> &mut [MaybeUninit<u8>] {
        self.get_mut().as_uninit()
    }
}

impl<B: SetLen> SetLen for Lent<B> {
    unsafe fn set_len(&mut self, len: usize) {
        // SAFETY: the same contract.
        unsafe { self.get_mut().set_len(len) }
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
    let done = submit(ReadAt::new(owner, offset, Lent::new(buffer))).await;
    // SAFETY: so many bytes of the buffer's start the kernel has written.
    let done = unsafe { done.into_inner().map_advanced() };
    done.map_buffer(Lent::take_back)
}

/// [`read_vectored`] through the ring of the worker that this runs on.
#[cfg(target_os = "linux")]
pub(super) async fn ring_read_vectored<B: IoVectoredBufMut>(
    owner: Arc<Owner>,
    buffers: B,
    position: Position,
) -> BufResult<usize, B> {
    let offset = match position.offset() {
        Ok(offset) => offset,
        Err(error) => return BufResult(Err(error), buffers),
    };
    let read = ReadVectored {
        owner,
        buffers: Lent::new(buffers),
        offset,
        slices: Vec::new(),
    };
    let BufResult(result, ReadVectored { buffers, .. }) = submit(read).await;
    let mut buffers = buffers.take_back();
    if let Ok(n) = result {
        // SAFETY: so many bytes of the buffers' start the kernel has written.
        unsafe { advance(&mut buffers, n) };
    }
    BufResult(result, buffers)
}

/// Compio's own reads into what is initialised already, and no further (`docs/upstream.md`).
#[cfg(target_os = "linux")]
struct ReadVectored<B> {
    owner: Arc<Owner>,
    buffers: Lent<B>,
    offset: u64,
    /// For the kernel: where the buffers are.
    slices: Vec<libc::iovec>,
}

// SAFETY: the driver keeps the operation where it is, and with it the descriptor, the buffers and the list
// of them, until the kernel is done.
#[cfg(target_os = "linux")]
unsafe impl<B: IoVectoredBufMut> IourOpCode for ReadVectored<B> {
    type Control = ();

    fn create_entry(&mut self, (): &mut ()) -> OpEntry {
        self.slices = slices(self.buffers.get_mut());
        let fd = io_uring::types::Fd(self.owner.file().as_raw_fd());
        let n = count(&self.slices).cast_unsigned();
        io_uring::opcode::Readv::new(fd, self.slices.as_ptr(), n)
            .offset(self.offset)
            .build()
            .into()
    }
}

// SAFETY: it never waits for a descriptor.
#[cfg(target_os = "linux")]
unsafe impl<B: IoVectoredBufMut> PollOpCode for ReadVectored<B> {
    type Control = ();

    fn pre_submit(&mut self, (): &mut ()) -> io::Result<Decision> {
        // Never asked for: see `has_ring`.
        Err(io::ErrorKind::Unsupported.into())
    }

    fn operate(&mut self, (): &mut ()) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }
}

/// There is no ring here.
#[cfg(not(target_os = "linux"))]
pub(super) async fn ring_read_vectored<B: IoVectoredBufMut>(
    _owner: Arc<Owner>,
    buffers: B,
    _position: Position,
) -> BufResult<usize, B> {
    BufResult(Err(io::ErrorKind::Unsupported.into()), buffers)
}

/// Writes the buffer's start through the ring of the worker that this runs on.
pub(super) async fn ring_write<B: IoBuf>(
    owner: Arc<Owner>,
    buffer: B,
    position: Position,
) -> BufResult<usize, B> {
    match position.offset() {
        Ok(offset) => submit(WriteAt::new(owner, offset, Lent::new(buffer)))
            .await
            .into_inner()
            .map_buffer(Lent::take_back),
        Err(error) => BufResult(Err(error), buffer),
    }
}

/// Writes the buffers' start through the ring of the worker that this runs on.
#[cfg(target_os = "linux")]
pub(super) async fn ring_write_vectored<B: IoVectoredBuf>(
    owner: Arc<Owner>,
    buffers: B,
    position: Position,
) -> BufResult<usize, B> {
    let offset = match position.offset() {
        Ok(offset) => offset,
        Err(error) => return BufResult(Err(error), buffers),
    };
    let write = WriteVectored {
        owner,
        buffers: Lent::new(buffers),
        offset,
        slices: Vec::new(),
    };
    let BufResult(result, WriteVectored { buffers, .. }) = submit(write).await;
    BufResult(result, buffers.take_back())
}

/// Compio's own asks for as many buffers as there are, which is an error beyond what the kernel takes.
#[cfg(target_os = "linux")]
struct WriteVectored<B> {
    owner: Arc<Owner>,
    buffers: Lent<B>,
    offset: u64,
    /// For the kernel: where the buffers are.
    slices: Vec<libc::iovec>,
}

// SAFETY: as for `ReadVectored`.
#[cfg(target_os = "linux")]
unsafe impl<B: IoVectoredBuf> IourOpCode for WriteVectored<B> {
    type Control = ();

    fn create_entry(&mut self, (): &mut ()) -> OpEntry {
        self.slices = self.buffers.get().iter_slice().map(slice).collect();
        let fd = io_uring::types::Fd(self.owner.file().as_raw_fd());
        let n = count(&self.slices).cast_unsigned();
        io_uring::opcode::Writev::new(fd, self.slices.as_ptr(), n)
            .offset(self.offset)
            .build()
            .into()
    }
}

// SAFETY: it never waits for a descriptor.
#[cfg(target_os = "linux")]
unsafe impl<B: IoVectoredBuf> PollOpCode for WriteVectored<B> {
    type Control = ();

    fn pre_submit(&mut self, (): &mut ()) -> io::Result<Decision> {
        // Never asked for: see `has_ring`.
        Err(io::ErrorKind::Unsupported.into())
    }

    fn operate(&mut self, (): &mut ()) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }
}

/// There is no ring here.
#[cfg(not(target_os = "linux"))]
pub(super) async fn ring_write_vectored<B: IoVectoredBuf>(
    _owner: Arc<Owner>,
    buffers: B,
    _position: Position,
) -> BufResult<usize, B> {
    BufResult(Err(io::ErrorKind::Unsupported.into()), buffers)
}
