//! What a file does for Tokio code: the same bodies against `tokio::fs` and against `landbridge::fs`.
//!
//! A body notes everything it sees, and the two lists must be equal: results, error kinds, the operating
//! system's codes, positions, contents. Ours runs on the default pool, on the polling driver, and without
//! reading on the caller's thread.

#![cfg(all(feature = "fs", target_os = "linux"))]
#![allow(
    clippy::duplicate_mod,
    reason = "the same bodies, compiled against two modules of the same shape"
)]
#![allow(
    unreachable_pub,
    reason = "as in `support`: modules that are files of their own"
)]

mod support;

#[path = "fs_file_twin/ours.rs"]
mod ours;
#[path = "fs_file_twin/theirs.rs"]
mod theirs;

use std::{fmt::Debug, io};

use support::{in_child, watchdog};

/// What a body has seen.
#[derive(Debug, Default)]
pub struct Notes(Vec<String>);

impl Notes {
    fn note(&mut self, what: &str, seen: impl Debug) {
        self.0.push(format!("{what}: {seen:?}"));
    }

    /// Of an error its kind and the operating system's code; texts may differ.
    fn result<T: Debug>(&mut self, what: &str, seen: io::Result<T>) {
        self.note(what, seen.map_err(|e| (e.kind(), e.raw_os_error())));
    }

    /// Of an error that was kept for later, Tokio knows the kind only.
    fn kind<T: Debug>(&mut self, what: &str, seen: io::Result<T>) {
        self.note(what, seen.map_err(|e| e.kind()));
    }
}

macro_rules! twins {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[test]
        fn $name() {
            let _watchdog = watchdog();
            let expected = theirs::run(async |setting, dir, notes| {
                theirs::bodies::$name(setting, dir, notes).await;
            });
            for (variant, seen) in ours::run(async |setting, dir, notes| {
                ours::bodies::$name(setting, dir, notes).await;
            }) {
                assert!(!expected.0.is_empty());
                assert_eq!(seen.0, expected.0, "{variant}, as against tokio::fs");
            }
        }
    )*};
}

twins! {
    /// A log that is being written is read to its end many times.
    the_end_of_a_file_is_not_sticky;
    /// All three kinds, before the start, after the end, and what a refused one leaves behind.
    a_seek_leads_where_tokios_does;
    /// One cursor for both.
    reads_and_writes_of_one_handle_are_in_order;
    /// Wherever the cursor is.
    what_is_appended_goes_to_the_end;
    /// Programs look at the kind and at the code.
    opening_fails_in_the_same_way;
    /// Links to nothing, in a circle, to a directory.
    links_are_followed_in_the_same_way;
    /// On Unix a name is bytes.
    names_need_not_be_utf8;
    /// A write is accepted before the file system has refused it.
    a_late_error_is_reported_once;
    /// The other direction of a handle that has only one.
    a_read_of_what_is_only_written_is_refused;
    /// What a library passes when it has nothing to pass.
    empty_buffers_do_nothing;
    /// More than the first slice, no more than the buffer takes.
    vectored_writes_take_all_slices;
    /// Callers bound their memory with it.
    one_operation_carries_no_more_than_its_limit;
    /// `start_seek` has no way to wait.
    a_seek_while_something_is_pending_is_refused;
    /// A file has no end to send.
    shutdown_is_a_flush;
    /// Cutting and stretching leave the cursor where it is.
    a_files_length_can_be_set;
    /// Holes are zeros.
    what_was_never_written_is_zeros;
    /// As with std: one cursor for all.
    a_clone_has_the_same_cursor;
    /// To std and back, with its cursor.
    a_file_goes_to_std_and_comes_back;
    /// Pipes have no positions.
    a_fifo_is_read_as_it_is_written;
    /// Through the extension methods that everybody uses.
    whole_files_are_copied_and_read_by_line;
    /// Directories can be opened, and not read.
    a_directory_is_no_file;
    /// The bits of `chmod`, and what a stat says.
    permissions_and_metadata_agree;
}

/// A full disk: part of what was accepted is written, and the flush says what became of the rest.
#[test]
fn a_file_size_limit_is_reported_by_the_flush() {
    in_child("a_file_size_limit_is_reported_by_the_flush", || {
        // SAFETY: nothing else runs in this process that would want the signal.
        #[expect(unsafe_code, reason = "std cannot ignore a signal")]
        unsafe {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN)
        };
        let limit = rustix::process::Rlimit {
            current: Some(10),
            maximum: None,
        };
        // The watchdog's, the pools' and this test's own output go to pipes, which have no limit.
        rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
        let expected = theirs::run(async |setting, dir, notes| {
            theirs::bodies::a_file_size_limit(setting, dir, notes).await;
        });
        for (variant, seen) in ours::run(async |setting, dir, notes| {
            ours::bodies::a_file_size_limit(setting, dir, notes).await;
        }) {
            assert_eq!(seen.0, expected.0, "{variant}, as against tokio::fs");
        }
    });
}
