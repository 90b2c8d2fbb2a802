//! That what is to be on the disk is asked of the kernel, and not only of nobody.

#![cfg(all(feature = "fs", target_os = "linux"))]

mod support;

use std::{fs::File as StdFile, io};

use landbridge::{
    CompioPool, Driver,
    fs::{Fs, OpenOptions},
};
use support::{block_on, for_each_driver, in_child};

/// The kernel syncs no device such as this one, and says so to who asks.
#[test]
fn a_sync_is_the_kernels() {
    for_each_driver(|builder| {
        let pool = builder().build().unwrap();
        let fs = Fs::new(&pool);
        let mut options = OpenOptions::new();
        options.write(true);
        block_on(async {
            let file = options.open_in(&fs, "/dev/null").await.unwrap();
            for said in [file.sync_all().await, file.sync_data().await] {
                assert_eq!(said.unwrap_err().raw_os_error(), Some(libc::EINVAL));
            }
            let said = file.write_synced_at(b"gone".to_vec(), 0).await;
            let (error, buffer) = said.unwrap_err().into_parts();
            assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
            assert_eq!(buffer.as_deref(), Some(&b"gone"[..]));
        });
    });
}

/// What [`Fs::write_atomic`] says, and what is in the file then, where the kernel refuses `call`.
fn replaced_without(call: libc::c_long) -> (io::Result<()>, Vec<u8>, usize) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, "old").unwrap();
    let pool = CompioPool::builder()
        .threads(1)
        .driver(Driver::Polling)
        .build()
        .unwrap();
    support::seccomp::refuse_everywhere(call, libc::EIO);
    let file = StdFile::open(&path).unwrap();
    let refused = match call {
        libc::SYS_fsync => file.sync_all(),
        _ => file.sync_data(),
    };
    assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EIO));
    let said = block_on(Fs::new(&pool).write_atomic(&path, "new"));
    let files = std::fs::read_dir(directory.path()).unwrap().count();
    (said, std::fs::read(&path).unwrap(), files)
}

/// Renamed before its bytes are on the disk, the new file could be an empty one after a crash.
#[test]
fn a_replacement_is_synced_before_it_takes_the_name() {
    in_child("a_replacement_is_synced_before_it_takes_the_name", || {
        let (said, contents, files) = replaced_without(libc::SYS_fdatasync);
        assert_eq!(said.unwrap_err().raw_os_error(), Some(libc::EIO));
        assert_eq!((&contents[..], files), (&b"old"[..], 1));
    });
}

/// A name that is not on the disk leads to the old file after a crash, though its writer was told that it
/// is done.
#[test]
fn the_directory_is_synced_after_it() {
    in_child("the_directory_is_synced_after_it", || {
        let (said, contents, files) = replaced_without(libc::SYS_fsync);
        assert_eq!(said.unwrap_err().raw_os_error(), Some(libc::EIO));
        assert_eq!((&contents[..], files), (&b"new"[..], 1));
    });
}
