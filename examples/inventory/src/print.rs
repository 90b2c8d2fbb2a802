//! The report as text, JSON and Markdown.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
};

use crate::{
    report::{CrateReport, ItemReport, ModuleReport, Report},
    table::Effort,
};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Format {
    Text,
    Json,
    Markdown,
}

impl Format {
    pub(crate) const ALL: [Self; 3] = [Self::Text, Self::Json, Self::Markdown];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Markdown => "markdown",
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PrintError {
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("{0}")]
    Format(#[from] fmt::Error),
}

/// Of the efforts.
const LEGEND: &str = "\
The effort is that of moving the code itself to Compio. To change `use` lines only, and let the code stay on Tokio's
threads, is the first step: then what says `use line` is changed, and all the rest stays as it is.";

/// Ends with a new line.
pub(crate) fn print(report: &Report, format: Format) -> Result<String, PrintError> {
    let mut out = String::new();
    match format {
        Format::Text => text(report, &mut out)?,
        Format::Json => {
            out = serde_json::to_string_pretty(report)?;
            out.push('\n');
        }
        Format::Markdown => markdown(report, &mut out)?,
    }
    Ok(out)
}

fn text(report: &Report, out: &mut String) -> fmt::Result {
    let Report { root, files, .. } = report;
    writeln!(
        out,
        "{root}: {files} files read, {}\n{LEGEND}",
        totals(report)
    )?;
    for package in report.packages.iter().filter(|it| !it.is_empty()) {
        writeln!(out, "\npackage {} ({})", package.name, package.dir)?;
        if !package.manifest {
            writeln!(out, "  no Cargo.toml: crates for Tokio are not known")?;
        }
        for krate in &package.crates {
            writeln!(
                out,
                "\n  {} ({})\n    {}",
                named(krate),
                said(krate),
                krate.offers
            )?;
            for used in &krate.used {
                let lines = lines(&used.lines);
                writeln!(out, "    {}  {}: {lines}", used.module, used.file)?;
            }
        }
        for module in &package.modules {
            writeln!(out, "\n  {}", title(module))?;
            let width =
                |of: fn(&ItemReport) -> usize| module.items.iter().map(of).max().unwrap_or(0);
            let (items, becomes) = (width(|it| it.item.len()), width(|it| it.becomes.len()));
            for item in &module.items {
                writeln!(
                    out,
                    "    {:items$}  {:8}  {:becomes$}  {}",
                    item.item,
                    item.effort.name(),
                    item.becomes,
                    at(item)
                )?;
            }
        }
    }
    let notes = notes(report);
    if !notes.is_empty() {
        writeln!(
            out,
            "\nwhat to know, above all of futures that are dropped:"
        )?;
        for (note, items) in notes {
            writeln!(out, "  {}\n    {note}", items.join(", "))?;
        }
    }
    if !report.problems.is_empty() {
        writeln!(out, "\nnot read:")?;
        for problem in &report.problems {
            let line = problem
                .line
                .map_or(String::new(), |line| format!(":{line}"));
            writeln!(out, "  {}{line}: {}", problem.file, problem.why)?;
        }
    }
    writeln!(out, "\nwhat it cannot see:")?;
    for unseen in report.unseen {
        writeln!(out, "  - {unseen}")?;
    }
    Ok(())
}

fn markdown(report: &Report, out: &mut String) -> fmt::Result {
    let Report { root, files, .. } = report;
    writeln!(out, "# What `{root}` uses of Tokio\n")?;
    writeln!(out, "{files} files read, {}.\n\n{LEGEND}", totals(report))?;
    for package in report.packages.iter().filter(|it| !it.is_empty()) {
        writeln!(out, "\n## `{}`", package.name)?;
        if !package.manifest {
            writeln!(out, "\nNo `Cargo.toml`: crates for Tokio are not known.")?;
        }
        if !package.crates.is_empty() {
            writeln!(
                out,
                "\n| crate | | what landbridge offers | used in |\n|---|---|---|---|"
            )?;
        }
        for krate in &package.crates {
            let used = krate.used.iter();
            let used =
                used.map(|it| format!("`{}` ({}: {})", it.module, it.file, lines(&it.lines)));
            let used: Vec<_> = used.collect();
            let (name, said, offers) = (named(krate), said(krate), cell(&krate.offers));
            writeln!(
                out,
                "| {name} | {said} | {offers} | {} |",
                used.join("<br>")
            )?;
        }
        for module in &package.modules {
            writeln!(out, "\n### {}\n", title(module))?;
            writeln!(
                out,
                "| Tokio | effort | becomes | where | what to know |\n|---|---|---|---|---|"
            )?;
            for item in &module.items {
                let (name, effort, at) = (&item.item, item.effort.name(), at(item));
                let (becomes, note) = (cell(item.becomes), cell(item.note));
                writeln!(out, "| `{name}` | {effort} | {becomes} | {at} | {note} |")?;
            }
        }
    }
    if !report.problems.is_empty() {
        writeln!(out, "\n## Not read\n")?;
        for problem in &report.problems {
            let line = problem
                .line
                .map_or(String::new(), |line| format!(":{line}"));
            writeln!(out, "- `{}{line}`: {}", problem.file, problem.why)?;
        }
    }
    writeln!(out, "\n## What it cannot see\n")?;
    for unseen in report.unseen {
        writeln!(out, "- {unseen}")?;
    }
    Ok(())
}

fn totals(report: &Report) -> String {
    let totals = &report.totals;
    let efforts = Effort::ALL.iter().map(|effort| {
        let places = totals.by_effort.get(effort).copied().unwrap_or(0);
        format!("{} {places}", effort.name())
    });
    let efforts: Vec<_> = efforts.collect();
    format!(
        "{} not; {} modules with {} imports and {} places of Tokio's ({} in tests): {}",
        report.problems.len(),
        totals.modules,
        totals.imports,
        totals.places,
        totals.in_tests,
        efforts.join(", ")
    )
}

fn title(module: &ModuleReport) -> String {
    let line = match module.line {
        1 => String::new(),
        line => format!(":{line}"),
    };
    let tests = if module.tests { ", for tests" } else { "" };
    let effort = module.effort.name();
    format!("{} ({}{line}{tests}): {effort}", module.module, module.file)
}

fn said(krate: &CrateReport) -> &'static str {
    if krate.blocks { "blocks" } else { "goes along" }
}

fn named(krate: &CrateReport) -> String {
    let version = krate.version.iter().map(|version| format!(" {version}"));
    let tests = if krate.dev { " (tests)" } else { "" };
    let nowhere = if krate.used.is_empty() {
        " (named nowhere)"
    } else {
        ""
    };
    krate.name.clone() + &version.collect::<String>() + tests + nowhere
}

/// Places and imports of an item.
fn at(item: &ItemReport) -> String {
    let mut parts = Vec::new();
    if !item.places.is_empty() {
        parts.push(format!("{}x at {}", item.places.len(), lines(&item.places)));
    }
    if !item.imports.is_empty() {
        parts.push(format!("use at {}", lines(&item.imports)));
    }
    if item.reexported {
        parts.push("re-exported".to_owned());
    }
    parts.join(", ")
}

/// A few of them; JSON has all.
fn lines(lines: &[usize]) -> String {
    const MOST: usize = 6;
    let mut different = lines.to_vec();
    different.dedup();
    let shown = different.iter().take(MOST).map(usize::to_string);
    let mut shown = shown.collect::<Vec<_>>().join(" ");
    if let Some(more) = different.len().checked_sub(MOST + 1) {
        shown += &format!(" +{}", more + 1);
    }
    shown
}

/// Each note once, with the items that it is about.
fn notes(report: &Report) -> BTreeMap<&'static str, Vec<&str>> {
    let mut notes: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let modules = report.packages.iter().flat_map(|it| &it.modules);
    for item in modules.flat_map(|it| &it.items) {
        let items = notes.entry(item.note).or_default();
        if !item.note.is_empty() && !items.contains(&item.item.as_str()) {
            items.push(&item.item);
        }
    }
    notes.remove("");
    for items in notes.values_mut() {
        items.sort_unstable();
    }
    notes
}

/// What would end a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
