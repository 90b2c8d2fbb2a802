//! Small files that are written whole and durably, or not at all.

use std::{
    fs::{File as StdFile, OpenOptions, Permissions},
    hash::{BuildHasher, RandomState},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::Fs;

/// As many links lead on at most; the kernel's own limit.
const MAX_LINKS: usize = 40;

impl Fs {
    /// Makes `contents` all that is in a file, durably: whoever reads it, also after a loss of power, finds
    /// what was there before or all of the new bytes. When this returns, the new ones are on the disk.
    ///
    /// They go to a new file in the same directory, which takes the old one's place. It has the old one's
    /// permissions (without set-user-id and the like), and otherwise what a new file gets: the caller as its
    /// owner, none of the old one's further names. A link is followed, and stays.
    ///
    /// The bytes are copied first. A process that is killed may leave a file whose name begins with
    /// `.landbridge-` behind.
    ///
    /// # Where it runs
    ///
    /// On one of the pool's blocking threads.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the old file or the new one, and no other: begun work goes on to its
    /// next step and cleans up.
    ///
    /// # Errors
    ///
    /// What the file system says; [`InvalidInput`](io::ErrorKind::InvalidInput) if there is something
    /// that is not a file, such as a device; [`JoinError`](crate::JoinError) inside if the pool is gone
    /// or has no blocking threads. The old file is as it was then, except if it is the directory that
    /// cannot be written to the disk, last of all: the new file is in place, but may not survive.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// let pool = landbridge::CompioPool::builder().threads(1).build()?;
    /// let fs = landbridge::fs::Fs::new(&pool);
    /// let manifest = dir.path().join("manifest");
    /// fs.write_atomic(&manifest, "first").await?;
    /// fs.write_atomic(&manifest, "second").await?;
    /// assert_eq!(fs.read(&manifest).await?, b"second");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn write_atomic(
        &self,
        path: impl AsRef<Path>,
        contents: impl AsRef<[u8]>,
    ) -> io::Result<()> {
        let (path, bytes) = (path.as_ref().to_owned(), contents.as_ref().to_owned());
        let wanted = Wanted(Arc::new(AtomicBool::new(true)));
        let still_wanted = Arc::clone(&wanted.0);
        let write = self
            .block(move || write_atomic(&path, &bytes, || still_wanted.load(Ordering::Relaxed)));
        let written = write.await;
        drop(wanted);
        written
    }
}

/// With the future that waits for the outcome.
struct Wanted(Arc<AtomicBool>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

fn write_atomic(path: &Path, bytes: &[u8], wanted: impl Fn() -> bool) -> io::Result<()> {
    let path = &resolve(path)?;
    let mode = match std::fs::symlink_metadata(path) {
        Ok(old) if old.is_file() => Some(old.permissions().mode() & 0o777),
        Ok(old) if old.is_dir() => return Err(io::Error::from_raw_os_error(libc::EISDIR)),
        Ok(_) => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a file: nothing can take its place",
            ));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let directory = match path.parent() {
        None => return Err(io::Error::from_raw_os_error(libc::ENOENT)),
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
    };
    // Before anything is changed: it may not be ours to read.
    let synced = StdFile::open(directory)?;
    let mut temporary = Temporary::new(directory, mode)?;
    let check = || match wanted() {
        true => Ok(()),
        // Nobody is told.
        false => Err(io::Error::from(io::ErrorKind::Other)),
    };
    if let Some(mode) = mode {
        // The process's mask does not apply.
        let permissions = Permissions::from_mode(mode);
        temporary.file.set_permissions(permissions)?;
    }
    check()?;
    temporary.file.write_all(bytes)?;
    check()?;
    temporary.file.sync_data()?;
    check()?;
    temporary.replace(path)?;
    synced.sync_all()
}

/// Where the links lead that `path` ends in; nothing need be there.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match std::fs::read_link(&path) {
            Ok(target) => {
                path.pop();
                path.push(target);
            }
            Err(error) => match error.kind() {
                // Not a link; not there.
                io::ErrorKind::InvalidInput | io::ErrorKind::NotFound => return Ok(path),
                _ => return Err(error),
            },
        }
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}

/// The new file, until it takes the old one's place: removed if it does not come to that.
struct Temporary {
    file: StdFile,
    path: PathBuf,
    /// It is no longer there.
    moved: bool,
}

impl Temporary {
    /// As open as `mode`, or for everybody as far as the process's mask allows.
    fn new(directory: &Path, mode: Option<u32>) -> io::Result<Self> {
        loop {
            let number = RandomState::new().hash_one(std::process::id());
            let path = directory.join(format!(".landbridge-{number:016x}.tmp"));
            let mut options = OpenOptions::new();
            options
                .write(true)
                .create_new(true)
                .mode(mode.map_or(0o666, |mode| mode & 0o600));
            match options.open(&path) {
                Ok(file) => {
                    return Ok(Self {
                        file,
                        path,
                        moved: false,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn replace(&mut self, path: &Path) -> io::Result<()> {
        std::fs::rename(&self.path, path)?;
        self.moved = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.moved {
            // The error that brought us here is the one to report.
            _ = std::fs::remove_file(&self.path);
        }
    }
}
