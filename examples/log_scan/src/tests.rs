//! What the demonstration cannot show about itself.

use std::{collections::HashMap, ffi::OsString, path::Path};

use indicatif::ProgressBar;

use super::*;
use crate::{
    scan::{Scan, ScanError},
    tally::{Question, Tally},
};

fn pool() -> CompioPool {
    CompioPool::builder().threads(2).build().unwrap()
}

/// Without ranges and pieces.
fn simply(bytes: &[u8]) -> Tally {
    let mut tally = Tally {
        lines: bytes.split_inclusive(|byte| *byte == b'\n').count() as u64,
        words: HashMap::new(),
    };
    let is_letter = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_' || *byte >= 0x80;
    for word in bytes
        .split(|byte| !is_letter(byte))
        .filter(|word| !word.is_empty())
    {
        let word = &word[..word.len().min(64)];
        *tally.words.entry(word.into()).or_default() += 1;
    }
    tally
}

fn scan(path: &Path, range: u64, piece: usize) -> Scan {
    let length = path.metadata().unwrap().len();
    let stop = CancellationToken::new();
    Scan::new(path, length, Question::Words, ProgressBar::hidden(), stop).sizes(range, piece)
}

/// The template is what it says only while all of it runs.
#[tokio::test(flavor = "multi_thread")]
async fn the_demonstration_ends_well() {
    let plan = Plan {
        bytes: 3 << 20,
        threads: 2,
        rounds: 1,
        cold: true,
        ..Plan::default()
    };
    let mut out = Vec::new();
    demo::run(&plan, &pool(), &CancellationToken::new(), &mut out)
        .await
        .unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(out.lines().last().unwrap().starts_with("ok: "), "{out}");
}

/// Lines and words over the ends of pieces and ranges are where such programs count wrong.
#[tokio::test(flavor = "multi_thread")]
async fn every_way_counts_right_wherever_pieces_and_ranges_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let pool = pool();
    let long = "word".repeat(50) + " tail";
    for text in [
        "",
        "\n",
        "\n\n\n\n\n",
        "no end",
        "one\n",
        "one two\nthree\n\nfour five six\nseven",
        "a\nb\nc\nd\ne\nf\ng\nh\n",
        "a line that is longer than several ranges together\nb\n",
        "caf\u{e9} \u{2603}\ncaf\u{e9}\n",
        &long,
    ] {
        std::fs::write(&path, text).unwrap();
        let expected = simply(text.as_bytes());
        for (range, piece) in [
            (1, 1),
            (1, 3),
            (2, 64),
            (3, 2),
            (7, 5),
            (16, 16),
            (1000, 1),
            (1000, 7),
        ] {
            for way in Way::ALL {
                let tally = scan(&path, range, piece).run(way, &pool, 2).await.unwrap();
                assert_eq!(tally, expected, "{text:?} {range} {piece} {way:?}");
            }
        }
    }
}

/// A file that is not there, and one that cannot be read, are errors that say which; nothing hangs.
#[tokio::test(flavor = "multi_thread")]
async fn errors_name_the_file() {
    let pool = pool();
    for way in Way::ALL {
        let scan = |path| {
            let stop = CancellationToken::new();
            Scan::new(path, 100, Question::Lines, ProgressBar::hidden(), stop)
        };
        let none = Path::new("/nonexistent/log");
        match scan(none).run(way, &pool, 2).await {
            Err(ScanError::Open(path, _)) => assert_eq!(path, none),
            other => panic!("{way:?}: {other:?}"),
        }
        let directory = Path::new("/");
        match scan(directory).run(way, &pool, 2).await {
            Err(ScanError::Read(path, 0, _)) => assert_eq!(path, directory),
            // `landbridge::fs` may say so when it opens it.
            other => panic!("{way:?}: {other:?}"),
        }
    }
}

/// Ctrl-C: no way goes on to the end of a large file, and each leaves the pool usable.
#[tokio::test(flavor = "multi_thread")]
async fn every_way_stops_when_it_is_asked_to() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    std::fs::write(&path, "line\n".repeat(100_000)).unwrap();
    let pool = pool();
    for way in Way::ALL {
        let stop = CancellationToken::new();
        stop.cancel();
        let scan = Scan::new(&path, 500_000, Question::Words, ProgressBar::hidden(), stop);
        let stopped = scan.sizes(1000, 100).run(way, &pool, 2).await;
        assert!(
            matches!(stopped, Err(ScanError::Interrupted)),
            "{way:?}: {stopped:?}"
        );
    }
    pool.shutdown().await;
}

/// What an orchestrator sends: the program ends, and what it has not counted is an error. The only test here that is
/// sent a signal, since it is sent to all of them.
#[test]
fn sigterm_ends_the_program_with_an_error() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ended = runtime.block_on(async {
        let asked = asked_to_end().unwrap();
        examples_support::terminate_this_process().unwrap();
        asked.await;
        let stop = CancellationToken::new();
        stop.cancel();
        let plan = Plan {
            bytes: 1 << 40,
            ..Plan::default()
        };
        demo::run(&plan, &pool(), &stop, &mut Vec::new()).await
    });
    assert!(ended.is_err());
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
        &["--threads", "0"],
        &["--size", "much"],
        &["--way", "by-foot"],
        &["--file"],
    ] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
    assert!(parse(&["-h"]).unwrap().is_none());
    let plan = parse(&["--file=log", "--way", "compio", "--cold"])
        .unwrap()
        .unwrap();
    assert_eq!(plan.ways, [Way::Compio]);
    assert!(plan.cold);
}
