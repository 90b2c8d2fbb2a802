//! Runs clippy with each list over this package.

#![cfg(unix)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// A list that misses something says that a module is clean when it is not.
#[test]
fn every_entry_of_the_lists_finds_its_line_and_nothing_else_is_found() {
    for (list, module) in [("no-tokio-io", "tokio_io"), ("no-compio", "outside")] {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let list = here.join(format!("../../docs/clippy/{list}.toml"));
        let source = fs::read_to_string(here.join(format!("src/{module}.rs"))).unwrap();
        let marked: BTreeSet<_> = (1..)
            .zip(source.lines())
            .filter(|(_, line)| line.ends_with("// found"))
            .collect();
        for path in paths(&list) {
            assert!(
                marked.iter().any(|(_, line)| names(line, &path)),
                "no line of {module}.rs has {path}"
            );
        }
        let Some(found) = found(&list, &format!("src/{module}.rs")) else {
            println!("skipped: clippy is not installed");
            return;
        };
        let marked: BTreeSet<_> = marked.into_iter().map(|(number, _)| number).collect();
        assert_eq!(found, marked, "the lines of {module}.rs by {list:?}");
    }
}

/// Of a list.
fn paths(list: &Path) -> Vec<String> {
    let text = fs::read_to_string(list).unwrap();
    let paths = text.split("{ path = \"").skip(1);
    paths
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect()
}

fn names(line: &str, path: &str) -> bool {
    let is_longer = |rest: &str| rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    line.split(path).skip(1).any(|rest| !is_longer(rest))
}

/// The lines of that file in which clippy finds what the list disallows; nothing without clippy.
fn found(list: &Path, file: &str) -> Option<BTreeSet<u64>> {
    let cargo = || Command::new(env!("CARGO"));
    let version = cargo().args(["clippy", "--version"]).output();
    if !version.is_ok_and(|output| output.status.success()) {
        return None;
    }
    let work = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("lists");
    let name = list.file_stem().unwrap();
    let conf = work.join(name);
    fs::create_dir_all(&conf).unwrap();
    fs::copy(list, conf.join("clippy.toml")).unwrap();
    // Of its own, so that nobody waits for another's lock. Only this package is looked at again.
    let clippy = |args: &[&str]| {
        cargo()
            .args(args)
            .args(["--package", env!("CARGO_PKG_NAME"), "--lib"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("CARGO_TARGET_DIR", work.join("target"))
            .env("CLIPPY_CONF_DIR", &conf)
            .env_remove("RUSTFLAGS")
            .output()
            .unwrap()
    };
    // What has been found before would not be found again.
    let _ = clippy(&["clean"]);
    let output = clippy(&["clippy", "--quiet", "--message-format=json"]);
    let messages = String::from_utf8(output.stdout).unwrap();
    let lints = ["clippy::disallowed_types", "clippy::disallowed_methods"];
    let lines: BTreeSet<_> = messages
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|it| {
            let code = it["message"]["code"]["code"].as_str();
            code.is_some_and(|code| lints.contains(&code))
        })
        .flat_map(|it| {
            let spans = it["message"]["spans"].as_array().cloned();
            spans.unwrap_or_default()
        })
        .filter(|span| span["file_name"].as_str().unwrap().ends_with(file))
        .map(|span| span["line_start"].as_u64().unwrap())
        .collect();
    let problems = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{problems}");
    assert!(!problems.contains("warning"), "{problems}");
    Some(lines)
}
