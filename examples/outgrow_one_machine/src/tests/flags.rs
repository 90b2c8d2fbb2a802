//! The command line.

use std::ffi::OsString;

use crate::Command;

fn parse(args: &[&str]) -> Result<Option<Command>, lexopt::Error> {
    Command::parse(args.iter().map(OsString::from))
}

/// Whoever mistypes an option must not get the demonstration instead.
#[test]
fn wrong_options_are_refused() {
    for wrong in [
        &["--nonsense"][..],
        &["nonsense"],
        &["here", "--dir", "a"],
        &["here", "--sums", "a"],
        &["here", "--dir", "a", "--sums", "b", "--threads", "0"],
        &["here", "--dir", "a", "--sums", "b", "--redis", "c"],
        &["work", "--dir", "a"],
        &["work", "--redis", "a", "--dir", "b", "--lease", "soon"],
        &["produce", "--redis", "a", "--sums", "b", "more"],
    ] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
    assert!(parse(&["--help"]).unwrap().is_none());
    assert!(parse(&["work", "-h"]).unwrap().is_none());
    assert!(matches!(parse(&[]), Ok(Some(Command::Demo))));
}

/// Two workers of one name would take each other's jobs for their own.
#[test]
fn a_worker_without_a_name_gets_one_that_nobody_has() {
    let name = || match parse(&["work", "--redis", "a", "--dir", "b"]) {
        Ok(Some(Command::Work(work))) => work.consumer,
        other => panic!("{other:?}"),
    };
    assert_ne!(name(), name());
}
