//! What direct I/O wants of positions, lengths and buffers.

use std::{fs::File as StdFile, io, ops::Range, sync::Arc};

use bytes::Bytes;
use compio::buf::{IntoInner, IoBuf, IoBufMut, IoVectoredBuf, IoVectoredBufMut};

use super::{
    AlignedBuf, File,
    file::Read,
    op::Op,
    owner::Owner,
    sys::{self, Position},
};
use crate::error::{JoinError, Misaligned};

/// Where the kernel does not say: what every disk that Linux drives is content with.
const SAFE: usize = 4096;

/// Bytes asked for at once, and allocated though the file may not have them.
const PIECE: u64 = 256 << 10;

/// What direct I/O on a file must be aligned to, in bytes; from [`File::direct_alignment`]. Powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectAlignment {
    memory: usize,
    position: usize,
}

impl DirectAlignment {
    /// Of a buffer's address.
    #[must_use]
    pub const fn memory(self) -> usize {
        self.memory
    }

    /// Of the position in the file and of a buffer's length.
    #[must_use]
    pub const fn position(self) -> usize {
        self.position
    }

    /// What fits both.
    #[must_use]
    pub const fn of_both(self) -> usize {
        if self.memory > self.position {
            self.memory
        } else {
            self.position
        }
    }
}

impl File {
    /// What direct I/O on this file must be aligned to, whether or not it was opened for that. Never
    /// waits.
    ///
    /// Linux says since 6.1 (`STATX_DIOALIGN`), for the file systems that know. Otherwise it is 4096
    /// bytes, which may be more than is needed.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) if the file system has no direct I/O for this file.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = landbridge::CompioPool::builder().threads(1).build()?;
    /// let fs = landbridge::fs::Fs::new(&pool);
    /// let file = fs.open("Cargo.toml").await?;
    /// if let Ok(alignment) = file.direct_alignment() {
    ///     assert!(alignment.memory().is_power_of_two());
    ///     assert!(alignment.position().is_power_of_two());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn direct_alignment(&self) -> io::Result<DirectAlignment> {
        let said = sys::direct_alignment(self.inner().owner.file())?;
        Ok(match said {
            Some(said) if said.memory == 0 || said.write == 0 => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "the file system has no direct I/O for this file",
                ));
            }
            Some(said) => DirectAlignment {
                memory: said.memory,
                position: said.write,
            },
            None => DirectAlignment {
                memory: SAFE,
                position: SAFE,
            },
        })
    }

    /// An empty buffer for direct I/O on this file, with room for `capacity` bytes, rounded up.
    ///
    /// # Errors
    ///
    /// As [`direct_alignment`](Self::direct_alignment) and [`AlignedBuf::new`].
    pub fn aligned_buffer(&self, capacity: usize) -> io::Result<AlignedBuf> {
        AlignedBuf::new(capacity, self.direct_alignment()?.of_both())
    }
}

/// What the kernel says about a file, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) memory: usize,
    /// Of positions and lengths.
    pub(super) read: usize,
    pub(super) write: usize,
}

/// That a file was opened for direct I/O, and what it then wants; powers of two. Where the kernel does not
/// say it is left to the kernel: 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Direct(Said);

impl Direct {
    pub(super) fn of(file: &StdFile) -> Self {
        let said = sys::direct_alignment(file).ok().flatten();
        let any = Said {
            memory: 1,
            read: 1,
            write: 1,
        };
        let all_said = |said: &Said| {
            [said.memory, said.read, said.write]
                .into_iter()
                .all(usize::is_power_of_two)
        };
        Self(said.filter(all_said).unwrap_or(any))
    }

    pub(super) fn check_read(self, buffer: &mut impl IoBufMut, position: u64) -> io::Result<()> {
        let buffer = buffer.as_uninit();
        let slice = (buffer.as_ptr().addr(), buffer.len());
        Ok(self.check(self.0.read, [slice], position)?)
    }

    pub(super) fn check_read_vectored(
        self,
        buffers: &mut impl IoVectoredBufMut,
        position: u64,
    ) -> io::Result<()> {
        let slices = buffers
            .iter_uninit_slice()
            .map(|slice| (slice.as_ptr().addr(), slice.len()));
        Ok(self.check(self.0.read, slices, position)?)
    }

    pub(super) fn check_write(self, buffer: &impl IoBuf, position: u64) -> io::Result<()> {
        let slice = (buffer.buf_ptr().addr(), buffer.buf_len());
        Ok(self.check(self.0.write, [slice], position)?)
    }

    pub(super) fn check_write_vectored(
        self,
        buffers: &impl IoVectoredBuf,
        position: u64,
    ) -> io::Result<()> {
        let slices = buffers
            .iter_slice()
            .map(|slice| (slice.as_ptr().addr(), slice.len()));
        Ok(self.check(self.0.write, slices, position)?)
    }

    /// `slices`: address and length of each. Nothing to transfer is never misaligned.
    fn check(
        self,
        alignment: usize,
        slices: impl IntoIterator<Item = (usize, usize)>,
        position: u64,
    ) -> Result<(), Misaligned> {
        let memory = self.0.memory;
        let mut slices = slices
            .into_iter()
            .filter(|(_, length)| *length > 0)
            .peekable();
        if slices.peek().is_some() && !position.is_multiple_of(alignment as u64) {
            return Err(Misaligned::Position {
                position,
                alignment,
            });
        }
        for (address, length) in slices {
            if !length.is_multiple_of(alignment) {
                return Err(Misaligned::Length { length, alignment });
            }
            if !address.is_multiple_of(memory) {
                return Err(Misaligned::Buffer { alignment: memory });
            }
        }
        Ok(())
    }

    /// Whether a read that brought `filled` bytes so far has come to the end of the file: only there does
    /// direct I/O stop within a block.
    pub(super) fn is_at_end(self, filled: usize) -> bool {
        // No disk has smaller blocks.
        const SMALLEST: usize = 512;

        let block = if self.0.read == 1 {
            SMALLEST
        } else {
            self.0.read
        };
        !filled.is_multiple_of(block)
    }

    /// What fits addresses, positions and lengths.
    pub(super) fn buffer(self, capacity: usize) -> io::Result<AlignedBuf> {
        AlignedBuf::new(capacity, self.alignment())
    }

    /// The blocks that these bytes of the file are in.
    pub(super) const fn blocks(self, bytes: &Range<u64>) -> Range<u64> {
        let block = self.alignment() as u64;
        let start = bytes.start - bytes.start % block;
        start..bytes.end.div_ceil(block).saturating_mul(block)
    }

    const fn alignment(self) -> usize {
        let Said { memory, read, .. } = self.0;
        match memory {
            1 => SAFE,
            _ if memory > read => memory,
            _ => read,
        }
    }
}

/// [`read`] as a crossing of its own.
pub(super) struct ReadDirect {
    owner: Arc<Owner>,
    direct: Direct,
    bytes: Range<u64>,
}

impl ReadDirect {
    pub(super) fn new(owner: &Arc<Owner>, direct: Direct, bytes: Range<u64>) -> Self {
        Self {
            owner: Arc::clone(owner),
            direct,
            bytes,
        }
    }
}

impl Op for ReadDirect {
    type Output = io::Result<Bytes>;

    fn run(self) -> impl Future<Output = Self::Output> + 'static {
        read(self.owner, self.direct, self.bytes)
    }

    fn refused(self, error: JoinError) -> Self::Output {
        Err(error.into())
    }

    fn lost(error: JoinError) -> Self::Output {
        Err(error.into())
    }
}

/// The bytes of a file that was opened for direct I/O, wherever they begin and end; fewer if it ends
/// before. On a worker.
pub(super) async fn read(
    owner: Arc<Owner>,
    direct: Direct,
    bytes: Range<u64>,
) -> io::Result<Bytes> {
    let blocks = direct.blocks(&bytes);
    let wanted = blocks.end - blocks.start;
    let known = sys::known_len(owner.file()).map(|end| end.saturating_sub(blocks.start));
    let mut room = wanted.min(known.unwrap_or(0).max(PIECE));
    let mut buffer = direct.buffer(room as usize)?;
    loop {
        let filled = buffer.len();
        if filled as u64 == wanted || direct.is_at_end(filled) {
            break;
        }
        if filled == buffer.capacity() {
            // It has grown, or is about to end.
            room = wanted.min(room.saturating_add(room.max(PIECE)));
            let mut larger = direct.buffer(room as usize)?;
            io::Write::write_all(&mut larger, &buffer)?;
            buffer = larger;
        }
        let end = buffer.capacity().min(filled + PIECE as usize);
        let at = Position::At(blocks.start + filled as u64);
        let read = Read::new(Arc::clone(&owner), buffer.slice(filled..end), at);
        let (n, rest) = read.run().await?;
        buffer = rest.into_inner();
        if n == 0 {
            break;
        }
    }
    let place = |at: u64| ((at - blocks.start) as usize).min(buffer.len());
    let place = place(bytes.start)..place(bytes.end);
    Ok(Bytes::slice(&buffer.freeze(), place))
}
