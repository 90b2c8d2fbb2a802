//! This test binary, started once more, as the storage process.

use std::{env, ffi::OsString, io};

use tokio::process::Command;

const ARGS: &str = "SPLIT_SERVICES_TEST_ARGS";

/// Not a test of its own: without arguments in the environment it has nothing to do.
#[test]
fn this_binary_is_the_storage_when_it_is_asked_to() {
    if let Ok(args) = env::var(ARGS) {
        let args = args.lines().map(OsString::from);
        let command = crate::Command::parse(args).unwrap().unwrap();
        crate::run(command).unwrap();
    }
}

pub(crate) fn command(args: &[OsString]) -> io::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    let test = "tests::child::this_binary_is_the_storage_when_it_is_asked_to";
    command
        .args(["--exact", test, "--nocapture"])
        .env(ARGS, args.join("\n".as_ref()));
    Ok(command)
}
