//! What the guides say of this repository.

#![cfg(not(landbridge_loom))]

use std::{fs, path::Path};

/// A reader who looks for the proof has to find it.
#[test]
fn every_test_that_a_guide_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = fs::read_to_string(root.join("docs/pitfalls.md")).unwrap();
    let mut named = 0;
    for code in guide.split('`').skip(1).step_by(2) {
        let Some((file, test)) = code.split_once(": ").filter(|it| it.0.ends_with(".rs")) else {
            continue;
        };
        let source = fs::read_to_string(root.join("tests").join(file))
            .unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(
            source.contains(&format!("fn {test}(")),
            "{file} has no {test}"
        );
        named += 1;
    }
    assert!(named > 30, "{named} tests are named");
}

/// So has who follows a link from one guide to another.
#[test]
fn every_link_between_the_guides_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).unwrap();
    let guides = docs.map(|entry| entry.unwrap().path());
    for guide in guides.chain([root.join("README.md"), root.join("CONTRIBUTING.md")]) {
        if guide.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let text = fs::read_to_string(&guide).unwrap();
        for link in inline_links(&text).chain(definitions(&text).map(|it| it.1)) {
            if link.contains("://") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => guide.clone(),
                file => guide.parent().unwrap().join(file),
            };
            assert!(target.exists(), "{}: {link}", guide.display());
            if heading.is_empty() || target.is_dir() {
                continue;
            }
            let text = fs::read_to_string(&target).unwrap();
            let mut headings = text
                .lines()
                .filter(|line| line.starts_with('#'))
                .map(anchor);
            assert!(
                headings.any(|anchor| anchor == heading),
                "{}: no heading for {link}",
                guide.display()
            );
        }
    }
}

/// In rustdoc's pages there are no files beside a guide: what it links to by a file's name is another page
/// there, by a definition that comes first.
#[test]
fn every_link_of_a_guide_leads_somewhere_in_the_documentation_too() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = fs::read_to_string(root.join("src/guide/mod.rs")).unwrap();
    let links = fs::read_to_string(root.join("src/guide/links.md")).unwrap();
    let there: Vec<_> = definitions(&links).map(|it| it.0).collect();
    let mut guides = 0;
    for name in pages
        .split("\"../../docs/")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
    {
        let text = fs::read_to_string(root.join("docs").join(name)).unwrap();
        for link in inline_links(&text) {
            let elsewhere = link.contains("://") || link.starts_with('#');
            assert!(elsewhere, "{name}: {link} is to be a reference");
        }
        for (label, _) in definitions(&text) {
            assert!(
                there.contains(&label),
                "links.md has no [{label}] of {name}"
            );
        }
        guides += 1;
    }
    assert!(guides > 5, "{guides} guides");
}

/// What `[text](link)` leads to.
fn inline_links(text: &str) -> impl Iterator<Item = &str> {
    let rests = text.split("](").skip(1);
    rests.filter_map(|rest| rest.split(')').next())
}

/// Label and link of each `[label]: link`.
fn definitions(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = text.lines().filter_map(|line| line.strip_prefix('['));
    lines.filter_map(|line| line.split_once("]: "))
}

/// As GitHub makes it.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}
