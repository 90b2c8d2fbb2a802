use crate::{Driver, Options};

fn parse(line: &str) -> Result<Option<Options>, String> {
    Options::parse(line.split_whitespace().map(str::to_owned))
}

/// The flags are the template's front door.
#[test]
fn flags_take_their_value_in_either_form() {
    let options = parse("--listen 127.0.0.1:80 --threads=3 --driver polling --dir d --capacity 7");
    let options = options.unwrap().unwrap();
    assert_eq!(options.listen.as_deref(), Some("127.0.0.1:80"));
    assert_eq!((options.threads, options.capacity), (Some(3), Some(7)));
    assert_eq!(options.driver, Driver::Polling);
    assert_eq!(options.dir.as_deref(), Some("d".as_ref()));
    assert!(parse("--threads 2 --help").unwrap().is_none());
}

/// A mistyped flag that is ignored serves the wrong directory.
#[test]
fn what_is_not_understood_is_an_error() {
    for line in [
        "--dirs x",
        "x",
        "--dir",
        "--threads",
        "--threads 0",
        "--threads x",
        "--driver epoll",
        "--timeout 0",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}
