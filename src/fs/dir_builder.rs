//! How a directory is made.

use std::{io, os::unix::fs::DirBuilderExt, path::Path};

use super::Fs;

/// How a directory is made; as `tokio::fs::DirBuilder`.
#[derive(Clone, Debug, Default)]
pub struct DirBuilder {
    recursive: bool,
    mode: Option<u32>,
}

impl DirBuilder {
    /// As [`create_dir`](super::create_dir) does it.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            recursive: false,
            mode: None,
        }
    }

    /// With those above it that are not there; no error if it is there.
    pub const fn recursive(&mut self, recursive: bool) -> &mut Self {
        self.recursive = recursive;
        self
    }

    /// Who may do what with the directory, before the process's mask; 0o777 otherwise.
    pub const fn mode(&mut self, mode: u32) -> &mut Self {
        self.mode = Some(mode);
        self
    }

    /// Makes the directory, on the default pool; as `tokio::fs::DirBuilder::create`.
    ///
    /// # Errors
    ///
    /// As [`create_in`](Self::create_in); [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there
    /// is none.
    pub async fn create(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.create_in(&Fs::of_default()?, path).await
    }

    /// Makes the directory, on the pool of `fs`.
    ///
    /// # Cancel safety
    ///
    /// As [`Fs::create_dir_all`].
    ///
    /// # Errors
    ///
    /// As [`Fs::create_dir_all`].
    pub async fn create_in(&self, fs: &Fs, path: impl AsRef<Path>) -> io::Result<()> {
        let path = path.as_ref().to_owned();
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(self.recursive);
        if let Some(mode) = self.mode {
            builder.mode(mode);
        }
        fs.block(move || builder.create(path)).await
    }
}
