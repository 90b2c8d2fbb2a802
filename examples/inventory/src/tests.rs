//! What the demonstration does not show.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::*;
use crate::report::{InventoryError, Report, inventory};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A code base of these files.
fn of(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Report) {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let report = inventory(dir.path()).unwrap();
    (dir, report)
}

/// Imports and places by item, of the modules that `wanted` names by their file.
fn counts(report: &Report, wanted: impl Fn(&str) -> bool) -> BTreeMap<&str, (usize, usize)> {
    let mut counts: BTreeMap<_, (usize, usize)> = BTreeMap::new();
    let modules = report.packages.iter().flat_map(|it| &it.modules);
    for item in modules
        .filter(|it| wanted(&it.file))
        .flat_map(|it| &it.items)
    {
        let count = counts.entry(item.item.as_str()).or_default();
        count.0 += item.imports.len();
        count.1 += item.places.len();
    }
    counts
}

/// The tool is what it says only while all of it runs.
#[test]
fn the_demonstration_ends_well() {
    for format in Format::ALL {
        let mut out = Vec::new();
        demo::run(format, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.lines().last().unwrap().starts_with("ok: "), "{out}");
    }
}

/// Code that others have written, with imports, macros and tests in it as they are in the wild.
///
/// Counted by hand, once, in the sources of these very versions:
/// `grep -rnE 'TcpStream|UnixStream|tokio::(net|io)' src` and the like, less the comments, the names of other types
/// (`TcpListenerStream`) and the lines with `use`, which are the imports.
#[test]
fn three_published_crates_have_the_counts_that_were_taken_by_hand() {
    let sources = sources();
    for (krate, expected) in [
        (
            "tokio-postgres",
            &[
                ("tokio::net", 1, 0),
                ("tokio::net::TcpStream", 2, 3),
                ("tokio::net::UnixStream", 2, 3),
                ("tokio::net::lookup_host", 0, 1),
                ("tokio::io::AsyncReadExt", 1, 0),
                ("tokio::io::AsyncWriteExt", 2, 0),
                ("tokio::io::ReadBuf", 3, 3),
            ][..],
        ),
        (
            "tokio-stream",
            &[
                ("tokio::fs::DirEntry", 1, 1),
                ("tokio::fs::ReadDir", 1, 7),
                ("tokio::net::TcpListener", 1, 7),
                ("tokio::net::TcpStream", 1, 2),
                ("tokio::net::UnixListener", 1, 7),
                ("tokio::net::UnixStream", 1, 2),
            ],
        ),
        (
            "tokio-tungstenite",
            &[
                // Five in connect.rs, six in the tests of lib.rs.
                ("tokio::net::TcpStream", 1, 11),
                ("tokio::io::ReadBuf", 2, 2),
            ],
        ),
    ] {
        let root = &sources[krate];
        let report = inventory(root).unwrap();
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        let counts = counts(&report, |file| file.starts_with("src/"));
        for (item, imports, places) in expected {
            assert_eq!(
                counts.get(item),
                Some(&(*imports, *places)),
                "{krate} {item}"
            );
        }
        let sockets_and_files = |path: &&&str| path.contains("::net") || path.contains("::fs");
        let known: Vec<_> = expected.iter().map(|(item, ..)| item).collect();
        for item in counts.keys().filter(sockets_and_files) {
            assert!(known.contains(&item), "{krate} has {item}, too");
        }
    }
}

/// Where Cargo keeps the sources of this package's dependencies.
fn sources() -> BTreeMap<String, PathBuf> {
    let cargo = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO"));
        command.current_dir(env!("CARGO_MANIFEST_DIR")).args(args);
        let output = command.output().unwrap();
        let problems = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{problems}");
        String::from_utf8(output.stdout).unwrap()
    };
    let version = cargo(&["-vV"]);
    let host = version.lines().find_map(|it| it.strip_prefix("host: "));
    // Everything is there, since it was built: other systems' dependencies need not be.
    let metadata = cargo(&[
        "metadata",
        "--format-version=1",
        "--offline",
        "--filter-platform",
        host.unwrap(),
    ]);
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    let packages = packages.map(|it| {
        let manifest = Path::new(it["manifest_path"].as_str().unwrap());
        let name = it["name"].as_str().unwrap().to_owned();
        (name, manifest.parent().unwrap().to_owned())
    });
    packages.collect()
}

/// What clippy forbids must be found, and become what clippy says.
#[test]
fn every_entry_of_the_list_for_clippy_is_in_the_table() {
    let list = workspace().join("docs/clippy/no-tokio-io.toml");
    let text = fs::read_to_string(list).unwrap();
    let list: toml_edit::DocumentMut = text.parse().unwrap();
    let mut seen = 0;
    for key in ["disallowed-types", "disallowed-methods"] {
        for entry in list[key].as_array().unwrap() {
            let of = |key| entry.as_inline_table().unwrap().get(key)?.as_str();
            let (path, reason) = (of("path").unwrap(), of("reason").unwrap());
            let row = table::TOKIO.iter().find(|row| row.path == path);
            let row = row.unwrap_or_else(|| panic!("{path} is not in the table"));
            for item in reason
                .split('`')
                .filter(|it| it.starts_with("landbridge::"))
            {
                assert!(row.becomes.contains(item), "{path}: {item}, {row:?}");
            }
            assert!(row.effort > table::Effort::AsItIs, "{path}");
            seen += 1;
        }
    }
    assert!(seen > 40, "{seen}");
}

/// The guide and its tool must not say different things.
#[test]
fn every_item_of_the_guides_table_is_in_the_table() {
    let text = fs::read_to_string(workspace().join("docs/migrating.md")).unwrap();
    let rows = text
        .lines()
        .skip_while(|it| !it.starts_with("| Tokio | becomes"));
    let rows = rows.take_while(|it| it.starts_with('|')).skip(2);
    let mut seen = 0;
    for row in rows {
        let cells: Vec<_> = row.split('|').collect();
        let becomes = |row: &table::Entry| {
            let names = cells[2]
                .split('`')
                .filter(|it| it.starts_with("landbridge::"));
            names.for_each(|name| assert!(row.becomes.contains(name), "{row:?}: {name}"));
        };
        for path in cells[1].split('`').filter(|it| it.starts_with("tokio::")) {
            let (module, names) = path.split_once('{').unwrap_or((path, ""));
            let module = module.trim_end_matches("::");
            let row = table::TOKIO.iter().find(|row| row.path == module);
            becomes(row.unwrap_or_else(|| panic!("{module} is not in the table")));
            for name in names.trim_end_matches('}').split(", ") {
                let path = format!("{module}::{name}");
                let is_known = table::TOKIO.iter().any(|row| row.path == path);
                assert!(is_known || name.is_empty() || name == "..", "{path}");
            }
            seen += 1;
        }
    }
    assert!(seen >= 5, "{seen}");
}

/// A report that sends people to what is not there is worse than none.
#[test]
fn all_of_landbridge_that_the_table_names_is_public() {
    let public = fs::read_to_string(workspace().join("docs/public-api.txt")).unwrap();
    for row in table::TOKIO {
        for rest in row.becomes.split("landbridge::").skip(1) {
            let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
            let name = rest.split(|c| !is_name(c)).next().unwrap();
            let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
            // What the root re-exports is listed with its methods where it is.
            let module = if name.starts_with("CompioPool::") {
                "pool::"
            } else {
                ""
            };
            let whole = format!("landbridge::{module}{name}");
            let mut found = public.split(&whole).skip(1);
            assert!(found.any(ends), "{}: {whole}", row.path);
        }
    }
}

/// The ways in which code says `TcpStream`.
#[test]
fn names_are_followed_through_renames_groups_globs_and_modules() {
    let (_dir, report) = of(&[
        ("Cargo.toml", b"[package]\nname = 'a-b'\n[dependencies]\ntokio1 = { package = 'tokio', version = '1' }"),
        ("src/lib.rs", b"
            extern crate tokio1 as t;
            use t::net::{self, TcpStream as Stream, tcp::{OwnedReadHalf as _, *}};
            use ::tokio1::fs as files;
            mod deep;
            pub mod prelude { pub use super::net::UdpSocket; pub use crate::files::*; }
            fn one(_: Stream, _: net::UnixStream, _: OwnedWriteHalf) {
                let sleep = t::time::sleep(D);
                sleep;
                fn inner() { use t::time::*; timeout(); }
                t::select! { x = files::read(\"tokio1::fs::write\") => { use t::sync::Notify; Notify::new() } _ = sleep => {} }
                wrapped! { pub mod inner { use tokio1::io::AsyncRead; fn f(_: impl AsyncRead) {} } }
                let timeout = 1; vec![timeout, self.files.metadata, Vec::<Stream>::new()];
            }
            struct UnixListener; // not net's
        "),
        ("src/deep/mod.rs", b"mod er;"),
        ("src/deep/er.rs", b"use super::super::prelude::*; use crate::UnixListener;
            fn f(_: UdpSocket, _: File, _: UnixListener, _: tokio::fs::File) {}"),
    ]);
    let expected = [
        ("tokio", 1, 0),
        ("tokio::fs", 1, 0),
        ("tokio::fs::*", 1, 0),
        ("tokio::fs::File", 0, 1),
        ("tokio::fs::read", 0, 1),
        ("tokio::io::AsyncRead", 1, 1),
        ("tokio::net", 1, 0),
        ("tokio::net::TcpStream", 1, 2),
        ("tokio::net::UdpSocket", 1, 1),
        ("tokio::net::UnixStream", 0, 1),
        ("tokio::net::tcp::*", 1, 0),
        ("tokio::net::tcp::OwnedReadHalf", 1, 0),
        ("tokio::net::tcp::OwnedWriteHalf", 0, 1),
        ("tokio::select", 0, 1),
        ("tokio::sync::Notify", 1, 1),
        ("tokio::time::*", 1, 0),
        ("tokio::time::sleep", 0, 1),
    ];
    let mut counts = counts(&report, |_| true);
    for (item, imports, places) in expected {
        let counted = counts.remove(item);
        assert_eq!(counted, Some((imports, places)), "{item}");
    }
    assert!(counts.is_empty(), "{counts:?}");
    // Items in a macro are items.
    let mut modules = report.packages[0].modules.iter();
    assert!(modules.any(|it| it.module == "a_b::inner"), "{report:?}");
}

/// A circle of re-exports, and a crate that only has Tokio's name.
#[test]
fn circles_end_and_other_crates_are_not_tokio() {
    let (_dir, report) = of(&[
        ("Cargo.toml", b"[package]\nname = 'a'\n[dependencies]\ntokio = { package = 'madsim-tokio', version = '1' }"),
        ("src/lib.rs", b"mod a; mod b; use a::*; fn f(_: Thing, _: tokio::net::TcpStream) {}"),
        ("src/a.rs", b"pub use super::b::*; pub use super::b::Thing; use self::x as x;"),
        ("src/b.rs", b"pub use super::a::*; pub use super::*; pub use crate::a::Thing;"),
    ]);
    assert!(report.packages[0].modules.is_empty(), "{report:?}");
    assert!(report.problems.is_empty());
}

/// One bad file must not hide the others, and none may end the program.
#[test]
fn odd_files_are_named_and_the_rest_goes_on() {
    let parens = format!("fn f() {{ {}0{} }}", "(".repeat(50_000), ")".repeat(50_000));
    let signs = format!("fn f() {{ {}0 }}", "-".repeat(100_000));
    let calls = format!("fn f() {{ x{} }}", ".a()".repeat(100_000));
    let types = format!("type T = {}u8{};", "B<".repeat(50_000), ">".repeat(50_000));
    let (_dir, report) = of(&[
        ("Cargo.toml", b"[package\nname"),
        ("bytes.rs", b"fn f() {}\xff"),
        ("calls.rs", calls.as_bytes()),
        ("empty.rs", b""),
        ("half.rs", b"\n\nfn f( {}"),
        (
            "good.rs",
            b"\xef\xbb\xbf#!/usr/bin/env run\nfn f(_: tokio::fs::File) {}",
        ),
        ("parens.rs", parens.as_bytes()),
        ("signs.rs", signs.as_bytes()),
        ("target/debug/built.rs", b"fn f(_: tokio::fs::File) {}"),
        (".git/hidden.rs", b"fn f(_: tokio::fs::File) {}"),
        ("types.rs", types.as_bytes()),
        ("wrong.rs", b"fn f() {}\nstruct 1;"),
    ]);
    let problems: Vec<_> = report
        .problems
        .iter()
        .map(|it| (it.file.as_str(), it.line))
        .collect();
    assert_eq!(
        problems,
        [
            ("Cargo.toml", None),
            ("bytes.rs", None),
            ("calls.rs", None),
            ("half.rs", Some(3)),
            ("parens.rs", None),
            ("signs.rs", None),
            ("types.rs", None),
            ("wrong.rs", Some(2)),
        ]
    );
    assert_eq!(report.files, 2);
    assert_eq!(report.totals.places, 1);
    let module = &report.packages[0].modules[0];
    assert_eq!(
        module.items[0].places,
        [2],
        "the line of a file with a shebang"
    );
}

/// What the limits let through has to fit on the stack.
#[test]
fn trees_just_below_the_limits_are_read() {
    let of_depth = |groups: usize, chain: usize| {
        let (open, close) = ("(".repeat(groups), ")".repeat(groups));
        let minus = "-".repeat(chain);
        let returns = "return ".repeat(chain);
        let calls = ".a()".repeat(chain / 3);
        let refs = "&".repeat(chain);
        format!(
            "fn f() {{ {open}tokio::spawn(){close}; {minus}1; {returns}1; x{calls}; }} type T = {refs}u8; type U = {}u8{};",
            "B<".repeat(chain / 3),
            ">".repeat(chain / 3)
        )
    };
    let text = of_depth(190, 3_900);
    let (_dir, report) = of(&[("src/deep.rs", text.as_bytes())]);
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    assert_eq!(report.totals.places, 1);
}

/// Nothing in it, a single file, a part of a package, and nothing there at all.
#[test]
fn any_path_is_an_answer_or_an_error() {
    let (dir, report) = of(&[]);
    assert_eq!((report.files, report.totals.modules), (0, 0));
    match inventory(&dir.path().join("none")) {
        Err(InventoryError::Root(path, _)) => assert_eq!(path, dir.path().join("none")),
        other => panic!("{other:?}"),
    }
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixture/src");
    let report = inventory(&fixture.join("store.rs")).unwrap();
    assert_eq!(report.packages[0].modules[0].module, "small_gateway::store");
    let report = inventory(&fixture.join("store")).unwrap();
    assert_eq!(
        report.packages[0].modules[0].module,
        "small_gateway::store::index"
    );
}

/// A folder that links to itself would be read for ever.
#[cfg(unix)]
#[test]
fn links_are_not_followed_in_circles() {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(dir.path(), dir.path().join("again")).unwrap();
    std::os::unix::fs::symlink("self.rs", dir.path().join("self.rs")).unwrap();
    fs::write(dir.path().join("one.rs"), "use tokio::fs;").unwrap();
    let report = inventory(dir.path()).unwrap();
    assert_eq!(report.files, 1);
    // The path itself may be a link.
    let report = inventory(&dir.path().join("again")).unwrap();
    assert_eq!(report.files, 1);
}

/// Another program reads it.
#[test]
fn json_has_all_of_it_and_markdown_has_whole_rows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixture");
    let report = inventory(&root).unwrap();
    let json = print::print(&report, Format::Json).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["totals"]["places"], 24);
    assert_eq!(json["totals"]["by_effort"]["use line"], 13);
    assert_eq!(
        json["packages"][0]["modules"][0]["items"][0]["item"],
        "tokio::io::AsyncRead"
    );
    assert_eq!(json["problems"][0]["file"], "src/unfinished.rs");
    assert!(!json["unseen"].as_array().unwrap().is_empty());
    let markdown = print::print(&report, Format::Markdown).unwrap();
    for row in markdown.lines().filter(|it| it.starts_with("| `tokio::")) {
        assert_eq!(row.matches(" | ").count(), 4, "{row}");
    }
}

/// Whoever mistypes an option must not get the demonstration instead.
#[test]
fn wrong_options_are_refused() {
    let parse = |args: &[&str]| {
        let args = args.iter().map(OsString::from);
        parse(lexopt::Parser::from_args(args))
    };
    for wrong in [
        &["--nonsense"][..],
        &["--format", "xml"],
        &["a", "b"],
        &["--format"],
    ] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
    assert!(parse(&["-h"]).unwrap().is_none());
    let plan = parse(&["src", "--format=json", "--strict"])
        .unwrap()
        .unwrap();
    assert_eq!(plan.path.as_deref(), Some(Path::new("src")));
    assert_eq!(plan.format, Some(Format::Json));
    assert!(plan.strict);
}
