//! Files for Tokio code, driven by a [`CompioPool`]: the names and shapes of `tokio::fs`.
//!
//! The guide: [files](crate::guide::files).
//!
//! A module moves by its `use` line, once the program has made a pool its default:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use landbridge::fs; // was: use tokio::fs;
//!
//! let pool = landbridge::CompioPool::builder().threads(1).build()?;
//! pool.set_default()?;
//!
//! let manifest = fs::read_to_string("Cargo.toml").await?;
//! assert!(manifest.contains("[package]"));
//! # Ok(())
//! # }
//! ```
//!
//! # Where it runs
//!
//! | operation | caller's thread | worker with a ring | worker without |
//! |---|---|---|---|
//! | [`File::open`], [`OpenOptions::open`] | to read, if the path is cached and the file system local | ring; blocking threads for a FIFO or a device, or if the file system is not local | blocking threads |
//! | [`File::read_at`] and what is made of it | what is cached, up to the [limit](Fs::nowait_limit) | ring | blocking threads |
//! | [`File::write_at`] and what is made of it, [`sync_all`](File::sync_all), [`sync_data`](File::sync_data), [`close`](File::close) | | ring | blocking threads |
//! | [`read_ranges`], [`File::read_ranges`], [`File::read_stream`] | what is cached, up to the limit | what is cached, the rest on the ring | what is cached, the rest on blocking threads |
//! | reading and writing at the cursor | reads of what is cached, up to the limit | ring; blocking threads for a file that came [from std](File::from_std), whose position others may move | blocking threads |
//! | seeking | but from the end | blocking threads from the end | the same |
//! | [`File::write_synced_at`] | | blocking threads | blocking threads |
//! | [`File::metadata`], [`set_len`](File::set_len), [`set_permissions`](File::set_permissions) | | blocking threads | blocking threads |
//! | [`read`], [`read_to_string`] | what is cached, up to the limit | ring, one crossing | blocking threads |
//! | [`write()`] | | ring, one crossing | blocking threads |
//! | [`create_dir`], [`remove_file`], [`remove_dir`], [`rename`], [`hard_link`], [`symlink`] | | ring | blocking threads |
//! | [`metadata`], [`symlink_metadata`], [`try_exists`], [`canonicalize`], [`read_link`], [`set_permissions`] | | blocking threads | blocking threads |
//! | [`create_dir_all`], [`DirBuilder`], [`remove_dir_all`], [`copy`], [`write_atomic`] | | blocking threads, one crossing | blocking threads |
//! | [`read_dir`], [`ReadDir`], [`DirEntry`] | entries that are read already | blocking threads, 32 at a time | blocking threads |
//!
//! The blocking threads are the pool's, as many as
//! [`blocking_threads`](crate::pool::Builder::blocking_threads) says: never more work at once than there
//! are. What needs them on every driver goes to them directly, without a worker. Opening a FIFO holds one
//! until somebody opens the other end. With none, what needs one is
//! [`JoinError::NoBlockingThreads`](crate::JoinError::NoBlockingThreads) inside the [`io::Error`]. A pool
//! that is gone is [`JoinError::RuntimeGone`](crate::JoinError::RuntimeGone) there. All other errors are
//! what [`std::fs`] gives, kind and code.
//!
//! Cached is what the kernel finds in memory without waiting for a disk (Linux only: `openat2` with
//! `RESOLVE_CACHED`, `preadv2` with `RWF_NOWAIT`). Local are the file systems that open such a file from
//! memory (ext4, XFS, btrfs, tmpfs and others): not those in user space, on a network, or on top of others.
//! The kernel's list of mounts says which it is, once for each.
//!
//! What is done on the caller's thread takes turns with its neighbours: after 512 KiB, or 128 calls, a call
//! is `Pending` once, so that a timeout around a loop of them comes.

mod aligned;
mod atomic;
mod cursor;
mod dir_builder;
mod direct;
mod file;
mod free;
#[cfg(target_os = "linux")]
mod local;
mod nowait;
mod op;
mod options;
mod owner;
mod pace;
mod paths;
mod ranges;
mod read_dir;
mod slab;
mod stream;
mod sys;
mod whole;

use std::{io, path::Path, sync::Arc};

pub use aligned::AlignedBuf;
pub use dir_builder::DirBuilder;
pub use direct::DirectAlignment;
pub use file::File;
pub use free::{
    canonicalize, copy, create_dir, create_dir_all, hard_link, metadata, read, read_dir, read_link,
    read_to_string, remove_dir, remove_dir_all, remove_file, rename, set_permissions, symlink,
    symlink_metadata, try_exists, write, write_atomic,
};
use nowait::Nowait;
pub use options::OpenOptions;
pub use ranges::read_ranges;
pub use read_dir::{DirEntry, ReadDir};
pub use stream::{IntoChunk, ReadStream};

use crate::{
    CompioPool,
    error::NoDefaultPool,
    pool::{PoolShared, default_pool},
};

/// A pool as a file system: the functions of this module as methods, for those who do not want a default
/// pool, or have several.
///
/// A clone of the pool: keeps it alive. The files that it opens do not.
///
/// The guide: [files](crate::guide::files).
#[derive(Clone, Debug)]
pub struct Fs {
    pool: CompioPool,
    nowait: Nowait,
}

impl Fs {
    /// Files driven by `pool`.
    #[must_use]
    pub fn new(pool: &CompioPool) -> Self {
        Self {
            pool: pool.clone(),
            nowait: Nowait::default(),
        }
    }

    /// The same with a say in what may be read on the caller's thread: reads of at most so many bytes,
    /// if they are in the page cache (`RWF_NOWAIT`, Linux). 256 KiB otherwise; 0 turns it off, and
    /// opening on the caller's thread with it.
    #[must_use]
    pub fn nowait_limit(mut self, bytes: usize) -> Self {
        self.nowait = Nowait::up_to(bytes);
        self
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    ///
    /// What the file system says; [`JoinError`](crate::JoinError) inside if the pool is gone.
    pub async fn open(&self, path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new().read(true).open_in(self, path).await
    }

    /// Opens a file for writing: made if it is not there, emptied if it is.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn create(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        options.open_in(self, path).await
    }

    pub(crate) fn of_default() -> io::Result<Self> {
        let pool = default_pool().ok_or(NoDefaultPool)?;
        Ok(Self::new(pool))
    }

    fn shared(&self) -> &Arc<PoolShared> {
        self.pool.shared()
    }

    fn nowait(&self) -> Nowait {
        self.nowait
    }
}
