//! The command line.

use std::ffi::OsString;

use crate::Command;

fn parse(args: &[&str]) -> Result<Option<Command>, lexopt::Error> {
    Command::parse(args.iter().map(OsString::from))
}

/// Whoever mistypes an option must not get the demonstration instead, nor a server that lacks what was said.
#[test]
fn wrong_options_are_refused() {
    for wrong in [
        &["--nonsense"][..],
        &["nonsense"],
        &["storage"],
        &["storage", "--socket", "a"],
        &["storage", "--socket", "a", "--dir"],
        &["storage", "--socket", "a", "--dir", "b", "--threads", "0"],
        &[
            "storage", "--socket", "a", "--dir", "b", "--driver", "windows",
        ],
        &[
            "storage",
            "--socket",
            "a",
            "--dir",
            "b",
            "--listen",
            "127.0.0.1:1",
        ],
        &["storage", "--socket", "a", "--dir", "b", "more"],
        &["front", "--storage", "a"],
        &["front", "--listen", "here", "--storage", "a"],
        &[
            "front",
            "--listen",
            "127.0.0.1:1",
            "--storage",
            "a",
            "--live",
        ],
        &["probe"],
        &["--rounds", "0"],
        &["--socket", "a", "storage", "--dir", "b"],
    ] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
    assert!(parse(&["--help"]).unwrap().is_none());
    assert!(parse(&["storage", "--help"]).unwrap().is_none());
    assert!(matches!(parse(&[]), Ok(Some(Command::Demo(_)))));
}
