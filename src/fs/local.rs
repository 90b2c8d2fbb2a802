//! Which files may be opened, and asked about, on a thread that must not wait.
//!
//! The kernel walks a cached path without waiting (`RESOLVE_CACHED`), but then asks the file system to open
//! the file, and one on a network, or in user space, may take its time for that. So the ones that answer
//! from this machine's own memory and disks are listed, and all others are left to threads that may wait.

use std::sync::{PoisonError, RwLock};

use rustix::fs::{AtFlags, FileType, StatxFlags, statx};

/// What opens a cached file from memory. Not in it: what may stand on something that is not (overlayfs, on
/// FUSE where images are fetched as they are read).
const LOCAL: [&str; 15] = [
    "bcachefs", "btrfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "jfs", "ramfs",
    "squashfs", "tmpfs", "vfat", "xfs", "zfs",
];

/// `STATX_MNT_ID_UNIQUE`, Linux 6.8: an identifier that no later mount is given again.
const UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// What is behind a path, as far as opening it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file or a directory that is opened from memory.
    Local,
    /// A file or a directory of a file system that may wait for others.
    Foreign,
    /// A FIFO, a device: opening it may wait for somebody, and somebody may notice.
    Special,
}

impl Kind {
    /// Asks only what is known here: does not wait, whatever the file system. Nothing, if the kernel is
    /// too old to say.
    pub(super) fn of(fd: impl std::os::fd::AsFd) -> Option<Self> {
        let seen = look(&fd, StatxFlags::TYPE | UNIQUE)?;
        let seen = match seen.mount {
            Some(_) => seen,
            None => look(&fd, StatxFlags::TYPE | StatxFlags::MNT_ID)?,
        };
        if !matches!(seen.kind, FileType::RegularFile | FileType::Directory) {
            return Some(Self::Special);
        }
        let is_local = known(&seen.mount?).unwrap_or_else(|| {
            let is_local = look(&fd, StatxFlags::MNT_ID)
                .and_then(|seen| file_system(seen.mount?.id))
                .is_some_and(|name| LOCAL.contains(&name.as_str()));
            learn(seen.mount, is_local);
            is_local
        });
        Some(if is_local { Self::Local } else { Self::Foreign })
    }
}

/// Where older kernels do not tell one mount from a later one, their devices mostly do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mount {
    id: u64,
    device: (u32, u32),
}

struct Seen {
    kind: FileType,
    mount: Option<Mount>,
}

fn look(fd: &impl std::os::fd::AsFd, what: StatxFlags) -> Option<Seen> {
    let at = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let stat = statx(fd, c"", at, what).ok()?;
    let told = StatxFlags::from_bits_retain(stat.stx_mask);
    let mount = told
        .intersects(what & (UNIQUE | StatxFlags::MNT_ID))
        .then_some(Mount {
            id: stat.stx_mnt_id,
            device: (stat.stx_dev_major, stat.stx_dev_minor),
        });
    Some(Seen {
        kind: FileType::from_raw_mode(stat.stx_mode.into()),
        mount,
    })
}

/// What is known of the mounts that were asked about: a process uses a few.
static MOUNTS: RwLock<Vec<(Mount, bool)>> = RwLock::new(Vec::new());
/// More than that, and the oldest is forgotten.
const MOST: usize = 64;

fn known(mount: &Mount) -> Option<bool> {
    let mounts = MOUNTS.read().unwrap_or_else(PoisonError::into_inner);
    mounts
        .iter()
        .find(|(of, _)| of == mount)
        .map(|(_, is_local)| *is_local)
}

fn learn(mount: Option<Mount>, is_local: bool) {
    let Some(mount) = mount else { return };
    let mut mounts = MOUNTS.write().unwrap_or_else(PoisonError::into_inner);
    if mounts.len() == MOST {
        mounts.remove(0);
    }
    mounts.push((mount, is_local));
}

/// The name of a mount's file system: from the kernel's own list, which asks no file system.
fn file_system(mount: u64) -> Option<String> {
    let list = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    named(&list, mount).map(str::to_owned)
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw`, see `proc(5)`.
fn named(list: &str, mount: u64) -> Option<&str> {
    let line = list.lines().find(|line| {
        let id = line.split(' ').next();
        id.and_then(|id| id.parse().ok()) == Some(mount)
    })?;
    line.split_once(" - ")?.1.split(' ').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Taken for another file system, a slow one would be asked on an async thread.
    #[test]
    fn a_mount_is_found_by_its_number_alone() {
        let list = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
                    21 1 0:5 / /net\\040work rw shared:7 - fuse.sshfs host:/ rw,user_id=0\n\
                    211 1 0:9 / /tmp rw master:1 propagate_from:2 - tmpfs tmpfs rw\n";
        assert_eq!(named(list, 1), Some("ext4"));
        assert_eq!(named(list, 21), Some("fuse.sshfs"));
        assert_eq!(named(list, 211), Some("tmpfs"));
        assert_eq!(named(list, 2), None);
    }

    /// `/proc` is made up by the kernel while one asks: nobody says how long that takes.
    #[test]
    fn files_and_their_file_systems_are_told_apart() {
        let kind = |path: &str| Kind::of(std::fs::File::open(path).unwrap());
        assert_eq!(kind("/proc/self/status"), Some(Kind::Foreign));
        assert_eq!(kind("/proc/self/status"), Some(Kind::Foreign));
        assert_eq!(kind("/dev/null"), Some(Kind::Special));
    }
}
