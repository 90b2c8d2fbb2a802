//! A demonstration that checks nothing would say ok as well.

use std::collections::BTreeMap;

use landbridge::CompioPool;

use crate::{
    demo::{check_journal, check_verdicts},
    job::{Job, Verdict},
    work::scrub,
};

fn journal(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

/// What "nothing is lost, nothing acknowledged is done twice" means, line by line.
#[test]
fn the_journal_tells_what_went_wrong() {
    let good = journal(&[
        "kept 1 a", "kept 2 b", "kept 1 a", "done 2 b", "kept 1 c", "done 1 c",
    ]);
    let again = check_journal(&good, 2).unwrap();
    assert_eq!(again.into_iter().collect::<Vec<_>>(), ["1"]);
    for wrong in [
        // Lost.
        &["kept 1 a", "done 1 a", "kept 2 a"][..],
        // Acknowledged twice.
        &["kept 1 a", "done 1 a", "done 1 a", "kept 2 a", "done 2 a"],
        // Begun again after it was acknowledged.
        &["kept 1 a", "done 1 a", "kept 1 b", "kept 2 a", "done 2 a"],
        // Acknowledged by one who never had it.
        &["done 1 a", "kept 2 a", "done 2 a"],
        &["kept"],
    ] {
        assert!(check_journal(&journal(wrong), 2).is_err(), "{wrong:?}");
    }
}

/// A verdict that is missing, another, or nobody's.
#[test]
fn verdicts_are_compared_one_by_one() {
    let verdicts = |all: &[(&str, Verdict)]| -> BTreeMap<String, Verdict> {
        all.iter()
            .map(|(path, verdict)| ((*path).to_owned(), verdict.clone()))
            .collect()
    };
    let right = verdicts(&[("a", Verdict::Intact), ("b", Verdict::Damaged)]);
    check_verdicts(&right, &right).unwrap();
    for wrong in [
        verdicts(&[("a", Verdict::Intact)]),
        verdicts(&[("a", Verdict::Intact), ("b", Verdict::Intact)]),
        verdicts(&[
            ("a", Verdict::Intact),
            ("b", Verdict::Damaged),
            ("c", Verdict::Intact),
        ]),
    ] {
        assert!(check_verdicts(&wrong, &right).is_err());
    }
}

/// Whoever may write to the queue must not have files read from anywhere.
#[tokio::test]
async fn a_path_does_not_lead_out_of_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    std::fs::write(dir.path().join("secret"), b"").unwrap();
    std::fs::write(inner.join("file"), b"").unwrap();
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let pool = CompioPool::builder().threads(1).build().unwrap();
    for (path, well) in [
        ("file", true),
        ("./file", true),
        ("../secret", false),
        ("x/../../secret", false),
        (dir.path().join("secret").to_str().unwrap(), false),
        ("", false),
    ] {
        let job = Job {
            path: path.to_owned(),
            sha256: empty.to_owned(),
        };
        let inner = inner.clone();
        let verdict = pool
            .run(async move || scrub(&inner, &job).await)
            .await
            .unwrap();
        assert_eq!(verdict == Verdict::Intact, well, "{path}: {verdict}");
    }
    pool.shutdown().await;
}
