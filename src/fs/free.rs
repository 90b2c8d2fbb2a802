//! The functions of `tokio::fs`, on the default pool.
//!
//! Each is the method of [`Fs`] that has its name.

use std::{
    fs::{Metadata, Permissions},
    io,
    path::{Path, PathBuf},
};

use super::{Fs, ReadDir};

/// [`Fs::read`] on the default pool; as `tokio::fs::read`.
///
/// # Errors
///
/// As there; [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there is none.
pub async fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    Fs::of_default()?.read(path).await
}

/// [`Fs::read_to_string`] on the default pool; as `tokio::fs::read_to_string`.
///
/// # Errors
///
/// As there; [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there is none.
pub async fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    Fs::of_default()?.read_to_string(path).await
}

/// [`Fs::write`] on the default pool; as `tokio::fs::write`.
///
/// # Errors
///
/// As there; [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there is none.
pub async fn write(path: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> io::Result<()> {
    Fs::of_default()?.write(path, contents).await
}

/// [`Fs::write_atomic`] on the default pool.
///
/// # Errors
///
/// As there; [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there is none.
pub async fn write_atomic(path: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> io::Result<()> {
    Fs::of_default()?.write_atomic(path, contents).await
}

/// [`Fs::copy`] on the default pool; as `tokio::fs::copy`.
///
/// # Errors
///
/// As there; [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there is none.
pub async fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<u64> {
    Fs::of_default()?.copy(from, to).await
}

/// [`Fs::metadata`] on the default pool; as `tokio::fs::metadata`.
///
/// # Errors
///
/// As there; [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there is none.
pub async fn metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    Fs::of_default()?.metadata(path).await
}

/// [`Fs::symlink_metadata`] on the default pool; as `tokio::fs::symlink_metadata`.
///
/// # Errors
///
/// As there; [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there is none.
pub async fn symlink_metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    Fs::of_default()?.symlink_metadata(path).await
}

/// [`Fs::try_exists`] on the default pool; as `tokio::fs::try_exists`.
///
/// # Errors
///
/// As there; [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there is none.
pub async fn try_exists(path: impl AsRef<Path>) -> io::Result<bool> {
    Fs::of_default()?.try_exists(path).await
}

/// [`Fs::canonicalize`] on the default pool; as `tokio::fs::canonicalize`.
///
/// # Errors
///
/// As there; [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there is none.
pub async fn canonicalize(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    Fs::of_default()?.canonicalize(path).await
}

/// [`Fs::read_link`] on the default pool; as `tokio::fs::read_link`.
///
/// # Errors
///
/// As there; [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there is none.
pub async fn read_link(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    Fs::of_default()?.read_link(path).await
}

/// [`Fs::set_permissions`] on the default pool; as `tokio::fs::set_permissions`.
///
/// # Errors
///
/// As there; [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there is none.
pub async fn set_permissions(path: impl AsRef<Path>, permissions: Permissions) -> io::Result<()> {
    Fs::of_default()?.set_permissions(path, permissions).await
}

/// [`Fs::read_dir`] on the default pool; as `tokio::fs::read_dir`.
///
/// # Errors
///
/// As there; [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there is none.
pub async fn read_dir(path: impl AsRef<Path>) -> io::Result<ReadDir> {
    Fs::of_default()?.read_dir(path).await
}

/// [`Fs::create_dir`] on the default pool; as `tokio::fs::create_dir`.
///
/// # Errors
///
/// As there; [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there is none.
pub async fn create_dir(path: impl AsRef<Path>) -> io::Result<()> {
    Fs::of_default()?.create_dir(path).await
}

/// [`Fs::create_dir_all`] on the default pool; as `tokio::fs::create_dir_all`.
///
/// # Errors
///
/// As there; [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there is none.
pub async fn create_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    Fs::of_default()?.create_dir_all(path).await
}

/// [`Fs::remove_file`] on the default pool; as `tokio::fs::remove_file`.
///
/// # Errors
///
/// As there; [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there is none.
pub async fn remove_file(path: impl AsRef<Path>) -> io::Result<()> {
    Fs::of_default()?.remove_file(path).await
}

/// [`Fs::remove_dir`] on the default pool; as `tokio::fs::remove_dir`.
///
/// # Errors
///
/// As there; [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there is none.
pub async fn remove_dir(path: impl AsRef<Path>) -> io::Result<()> {
    Fs::of_default()?.remove_dir(path).await
}

/// [`Fs::remove_dir_all`] on the default pool; as `tokio::fs::remove_dir_all`.
///
/// # Errors
///
/// As there; [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there is none.
pub async fn remove_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    Fs::of_default()?.remove_dir_all(path).await
}

/// [`Fs::rename`] on the default pool; as `tokio::fs::rename`.
///
/// # Errors
///
/// As there; [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there is none.
pub async fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    Fs::of_default()?.rename(from, to).await
}

/// [`Fs::hard_link`] on the default pool; as `tokio::fs::hard_link`.
///
/// # Errors
///
/// As there; [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there is none.
pub async fn hard_link(original: impl AsRef<Path>, link: impl AsRef<Path>) -> io::Result<()> {
    Fs::of_default()?.hard_link(original, link).await
}

/// [`Fs::symlink`] on the default pool; as `tokio::fs::symlink`.
///
/// # Errors
///
/// As there; [`NoDefaultPool`](crate::error::NoDefaultPool) inside if there is none.
pub async fn symlink(original: impl AsRef<Path>, link: impl AsRef<Path>) -> io::Result<()> {
    Fs::of_default()?.symlink(original, link).await
}
