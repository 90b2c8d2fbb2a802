//! From what a client asks for to an open file, and never to one outside of the root. COPY: the file.
//!
//! Two lines of defence. [`Name::parse`] takes names apart *once*, after decoding them once, and refuses what no honest
//! client sends. [`Root::open`] has the kernel resolve what is left beneath the root's descriptor, so that
//! neither `..` nor a symbolic link leads out, also if somebody changes the tree meanwhile: there is no moment
//! between a check and its use. On Linux that is `openat2` with `RESOLVE_BENEATH`; where that is missing, each component
//! is opened by itself, and symbolic links are not followed at all.

use std::{
    fs::{File, Metadata},
    io,
    os::fd::OwnedFd,
    path::Path,
    sync::Arc,
};

use landbridge::CompioPool;
use percent_encoding::percent_decode_str;
use rustix::{
    fs::{Mode, OFlags, open, openat},
    io::Errno,
};

/// What a directory has in its place.
const INDEX: &str = "index.html";
/// A FIFO would wait for its writer; a terminal shall not become this process's.
const FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// Why a name is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NameError {
    #[error("the path cannot be decoded")]
    Malformed,
    #[error("the path leads out of the root")]
    Outside,
    #[error("there is no such path")]
    None,
}

/// A path beneath the root: components that are not empty, and neither `.` nor `..`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name(String);

impl Name {
    /// Of the path of a URI. A directory is its index, with a `/` at its end.
    pub(crate) fn parse(path: &str) -> Result<Self, NameError> {
        let digits = |at: usize| path.as_bytes().get(at + 1..at + 3);
        let whole = |(at, _)| digits(at).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
        if !path.match_indices('%').all(whole) {
            return Err(NameError::Malformed);
        }
        // Once: `%252e` is a name with a `%` in it. Names that are not UTF-8 are not served.
        let decoded = percent_decode_str(path).decode_utf8();
        let decoded = decoded.map_err(|_| NameError::None)?;
        // A NUL would end the path for the kernel; a `\` is a `/` elsewhere, and in a proxy, perhaps.
        if decoded.contains(['\0', '\\']) {
            return Err(NameError::Malformed);
        }
        let path = decoded.strip_prefix('/').ok_or(NameError::Malformed)?;
        if path.split('/').any(|component| component == "..") {
            return Err(NameError::Outside);
        }
        let mut name = path.to_owned();
        if name.is_empty() || name.ends_with('/') {
            name.push_str(INDEX);
        }
        // `.git` and `.env` are in many a root by mistake; RFC 8615 is not one.
        let served = |component: &str| match component {
            "" => false,
            ".well-known" => true,
            other => !other.starts_with('.'),
        };
        if !name.split('/').all(served) {
            return Err(NameError::None);
        }
        Ok(Self(name))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The directory that is served; clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    /// Names are looked up from here: that the directory is moved, or another takes its place, changes nothing.
    dir: Arc<OwnedFd>,
}

impl Root {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY;
        Ok(Self {
            dir: Arc::new(open(path, flags, Mode::empty())?),
        })
    }

    /// Opens a file to be read. On this thread if the kernel need not ask a disk, else on one of the pool's that may
    /// block.
    pub(crate) async fn find(
        &self,
        pool: &CompioPool,
        name: &Name,
    ) -> io::Result<(File, Metadata)> {
        if let Some(found) = self.find_now(name) {
            return found;
        }
        let (root, name) = (self.clone(), name.clone());
        let found = pool.run_blocking(move || root.find_blocking(&name));
        found.await.map_err(io::Error::from)?
    }

    #[cfg(target_os = "linux")]
    fn find_now(&self, name: &Name) -> Option<io::Result<(File, Metadata)>> {
        match self.beneath(name, rustix::fs::ResolveFlags::CACHED) {
            // Of a kernel before 5.12 EINVAL, and of one before 5.6, or in a sandbox, ENOSYS or EPERM.
            Err(Errno::AGAIN | Errno::INVAL | Errno::NOSYS | Errno::PERM) => None,
            opened => Some(regular(opened)),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn find_now(&self, _: &Name) -> Option<io::Result<(File, Metadata)>> {
        None
    }

    fn find_blocking(&self, name: &Name) -> io::Result<(File, Metadata)> {
        #[cfg(target_os = "linux")]
        match self.beneath(name, rustix::fs::ResolveFlags::empty()) {
            Err(Errno::NOSYS | Errno::PERM) => {}
            opened => return regular(opened),
        }
        regular(self.step_by_step(name))
    }

    #[cfg(target_os = "linux")]
    fn beneath(&self, name: &Name, how: rustix::fs::ResolveFlags) -> rustix::io::Result<OwnedFd> {
        use rustix::fs::{ResolveFlags, openat2};

        let how = how | ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let mut tries = 0;
        loop {
            match openat2(&*self.dir, name.as_str(), FLAGS, Mode::empty(), how) {
                // Somebody renames directories meanwhile, or it is not in memory; a blocking thread tries again.
                Err(Errno::AGAIN) if tries < 16 && !how.contains(ResolveFlags::CACHED) => {
                    tries += 1
                }
                opened => return opened,
            }
        }
    }

    /// Without `openat2`: a descriptor for each component, none of which is a symbolic link.
    fn step_by_step(&self, name: &Name) -> rustix::io::Result<OwnedFd> {
        let flags = FLAGS | OFlags::NOFOLLOW;
        let mut dir = None;
        let mut components = name.as_str().split('/').peekable();
        while let Some(component) = components.next() {
            let from = dir.as_ref().unwrap_or(&*self.dir);
            let kind = match components.peek() {
                Some(_) => OFlags::DIRECTORY,
                None => OFlags::empty(),
            };
            dir = Some(openat(from, component, flags | kind, Mode::empty())?);
        }
        dir.ok_or(Errno::NOENT)
    }

    #[cfg(test)]
    pub(crate) fn find_without_openat2(&self, name: &Name) -> io::Result<(File, Metadata)> {
        regular(self.step_by_step(name))
    }
}

/// Only files: no directory, device or FIFO.
fn regular(opened: rustix::io::Result<OwnedFd>) -> io::Result<(File, Metadata)> {
    let file = File::from(opened?);
    // Of an open file, which asks no disk.
    let data = file.metadata()?;
    if !data.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok((file, data))
}
