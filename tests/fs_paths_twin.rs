//! What takes a path, the same code against `tokio::fs` and against `landbridge::fs`: whatever can be
//! seen of it is the same, on every driver.
//!
//! Each test is a process of its own for each driver, since there is one default pool in a process.

#![cfg(all(feature = "fs", target_os = "linux"))]

mod support;

use std::{
    ffi::OsStr,
    fmt::Debug,
    fs::{Metadata, Permissions},
    future::Future,
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    pin::Pin,
};

use landbridge::{CompioPool, Driver};
use support::{drivers, in_child, in_child_with};

mod with_tokio {
    use tokio::fs;

    use super::*;

    include!("fs_twin/paths.rs");
}

mod with_landbridge {
    use landbridge::fs;

    use super::*;

    include!("fs_twin/paths.rs");
}

type Body = for<'a> fn(&'a mut Log) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

macro_rules! twins {
    ($($(#[$doc:meta])* $name:ident $(after $prepare:expr)?;)*) => {
        $(
            $(#[$doc])*
            #[test]
            fn $name() {
                #[allow(unused_mut, unused_assignments, reason = "not all have one")]
                let mut prepare: fn() = || {};
                $(prepare = $prepare;)?
                twin(
                    stringify!($name),
                    prepare,
                    |log| Box::pin(with_tokio::$name(log)),
                    |log| Box::pin(with_landbridge::$name(log)),
                );
            }
        )*
    };
}

twins! {
    /// What is written is read, at every size that is treated in a way of its own.
    whole_files;
    /// Its errors are those that callers match on.
    a_directory_as_a_file;
    /// As above.
    a_file_as_a_directory;
    /// `NotFound` is the error that programs know best.
    what_is_not_there;
    /// A path need not be one: the empty one, NUL bytes, too long.
    paths_that_cannot_be;
    /// The kernel takes them seriously.
    trailing_slashes;
    /// A ring's paths begin where the process is.
    relative_paths;
    /// Names are bytes.
    names_that_are_not_utf_8;
    /// Followed by some, not by others; dangling; in a circle.
    links;
    /// Made, made again, removed.
    directories;
    /// The way to replace a file.
    renames;
    /// Read in pieces, seen as one.
    what_is_in_a_directory;
    /// With permissions.
    copies;
    /// As they are set.
    permissions;
    /// A ring must not do what its caller may not.
    permission_denied after become_nobody;
    /// What is too much is said, and what was written stays.
    files_too_large after limit_file_size;
    /// A disk that is full is said, and goes on when there is room again.
    a_full_disk after make_the_disk_small;
}

/// A file system of 64 KiB for temporary files, where this process may mount one.
#[allow(unsafe_code, reason = "mounts of one's own")]
fn make_the_disk_small() {
    use rustix::{mount, thread};

    // SAFETY: no descriptor table is split. It is for this thread and those that it starts.
    let alone = unsafe { thread::unshare_unsafe(thread::UnshareFlags::NEWNS) };
    let mounted = alone
        .and_then(|()| {
            let private = mount::MountPropagationFlags::PRIVATE | mount::MountPropagationFlags::REC;
            mount::mount_change("/", private)
        })
        .and_then(|()| {
            let flags = mount::MountFlags::empty();
            mount::mount("tmpfs", std::env::temp_dir(), "tmpfs", flags, c"size=64k")
        });
    if let Err(error) = mounted {
        eprintln!("with a large disk: {error}");
    }
}

const DRIVER: &str = "LANDBRIDGE_TWIN_DRIVER";

fn twin(test: &str, prepare: fn(), tokio: Body, ours: Body) {
    if let Ok(name) = std::env::var(DRIVER) {
        let driver = drivers()
            .into_iter()
            .find(|driver| format!("{driver:?}") == name)
            .expect("as the parent has it");
        in_child(test, || {
            prepare();
            compare(driver, tokio, ours);
        });
        return;
    }
    for driver in drivers() {
        let name = format!("{driver:?}");
        let prepare = |child: &mut std::process::Command| {
            child.env(DRIVER, name);
        };
        in_child_with(test, prepare, || unreachable!("not the child"));
    }
}

fn compare(driver: Driver, tokio: Body, ours: Body) {
    let pool = CompioPool::builder()
        .threads(2)
        .driver(driver)
        .build()
        .unwrap();
    pool.set_default().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let log = |body: Body| {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log {
            dir: dir.path().canonicalize().unwrap(),
            lines: Vec::new(),
        };
        runtime.block_on(async {
            let work = async move {
                body(&mut log).await;
                log.lines
            };
            runtime.spawn(work).await.unwrap()
        })
    };
    let (theirs, ours) = (log(tokio), log(ours));
    assert!(!theirs.is_empty());
    for (i, (theirs, ours)) in theirs.iter().zip(&ours).enumerate() {
        assert_eq!(ours, theirs, "line {i}");
    }
    assert_eq!(theirs.len(), ours.len());
}

/// What can be seen.
struct Log {
    dir: PathBuf,
    lines: Vec<String>,
}

impl Log {
    fn see<T: Debug>(&mut self, what: &str, result: io::Result<T>) {
        let seen = match result {
            Ok(value) => format!("{what}: {value:?}"),
            Err(error) => format!(
                "{what}: {:?} {:?} {error}",
                error.kind(),
                error.raw_os_error()
            ),
        };
        let dir = self.dir.to_str().expect("UTF-8");
        self.lines.push(seen.replace(dir, "DIR"));
    }
}

/// What of a file's metadata does not differ from one run to the next.
fn facts(metadata: Metadata) -> (bool, bool, bool, u64, u32, u64) {
    let len = match metadata.is_file() {
        true => metadata.len(),
        false => 0,
    };
    (
        metadata.is_file(),
        metadata.is_dir(),
        metadata.is_symlink(),
        len,
        metadata.mode(),
        metadata.nlink(),
    )
}

fn mode(bits: u32) -> Permissions {
    Permissions::from_mode(bits)
}

/// A user that may do little: this thread, and those that it starts.
fn become_nobody() {
    use rustix::process::{Gid, Uid, getuid};

    if getuid().is_root() {
        let (gid, uid) = (Gid::from_raw(65_534), Uid::from_raw(65_534));
        rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
        rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
    }
}

fn limit_file_size() {
    use rustix::process::{Resource, Rlimit, setrlimit};

    ignore_file_size_signal();
    let limit = Rlimit {
        current: Some(10_000),
        maximum: Some(10_000),
    };
    setrlimit(Resource::Fsize, limit).unwrap();
}

#[expect(unsafe_code, reason = "what a signal does is not in std")]
fn ignore_file_size_signal() {
    // SAFETY: no handler is installed.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}
