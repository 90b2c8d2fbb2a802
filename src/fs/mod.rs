//! Files for Tokio code, driven by a [`CompioPool`]: the names and shapes of [`tokio::fs`].
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

mod cursor;
mod file;
mod nowait;
mod op;
mod options;
mod owner;
mod ranges;
mod slab;
mod stream;
mod sys;

use std::{io, path::Path, sync::Arc};

pub use file::File;
use nowait::Nowait;
pub use options::OpenOptions;
pub use ranges::read_ranges;
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
