//! The free functions of `fs` without a default pool: a binary of its own, in which there never is one.

#![cfg(all(feature = "fs", unix))]

mod support;

use std::{
    error::Error,
    fs::Permissions,
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
};

use landbridge::{error::NoDefaultPool, fs};
use support::block_on;

#[track_caller]
fn refused<T>(result: io::Result<T>) {
    let error = result.err().expect("there is no pool");
    let cause = error.get_ref().expect("the cause is inside");
    assert!(cause.is::<NoDefaultPool>(), "{cause}");
    // For those who only print it.
    assert!(error.to_string().contains("set_default"), "{error}");
    assert!(error.source().is_none());
}

/// Nothing is started behind a program's back, and nothing is done without a pool: not even what could
/// be done on the caller's thread.
#[test]
fn without_a_default_pool_nothing_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let (file, new) = (dir.path().join("file"), dir.path().join("new"));
    std::fs::write(&file, "old").unwrap();
    let before = std::fs::metadata(&file).unwrap();
    block_on(async {
        refused(fs::File::open(&file).await);
        refused(fs::File::create(&file).await);
        refused(fs::OpenOptions::new().read(true).open(&file).await);
        refused(fs::read(&file).await);
        refused(fs::read_to_string(&file).await);
        refused(fs::write(&file, "new").await);
        refused(fs::write_atomic(&file, "new").await);
        refused(fs::copy(&file, &new).await);
        refused(fs::metadata(&file).await);
        refused(fs::symlink_metadata(&file).await);
        refused(fs::try_exists(&file).await);
        refused(fs::canonicalize(&file).await);
        refused(fs::read_link(&file).await);
        refused(fs::set_permissions(&file, Permissions::from_mode(0o000)).await);
        refused(fs::read_dir(dir.path()).await);
        refused(fs::create_dir(&new).await);
        refused(fs::create_dir_all(&new).await);
        refused(fs::DirBuilder::new().create(&new).await);
        refused(fs::remove_file(&file).await);
        refused(fs::remove_dir(dir.path()).await);
        refused(fs::remove_dir_all(dir.path()).await);
        refused(fs::rename(&file, &new).await);
        refused(fs::hard_link(&file, &new).await);
        refused(fs::symlink(&file, &new).await);
    });
    assert_eq!(std::fs::read(&file).unwrap(), b"old");
    let after = std::fs::metadata(&file).unwrap();
    assert_eq!((after.ino(), after.mode()), (before.ino(), before.mode()));
    assert!(!new.exists());
}
