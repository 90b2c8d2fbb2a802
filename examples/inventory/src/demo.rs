//! A small code base, `fixture`, whose counts are known. Nothing in here is for copying.

use std::{
    fmt::Debug,
    io::{self, Write},
    path::Path,
};

use crate::{
    print::{self, Format, PrintError},
    report::{self, InventoryError, ModuleReport, Report},
    table::Effort,
};

/// By hand: module, effort, imports and places.
const EXPECTED: [(&str, Effort, usize, usize); 7] = [
    ("small_gateway", Effort::Rewrite, 2, 5),
    ("small_gateway::lines", Effort::AsItIs, 2, 2),
    ("small_gateway::proxy", Effort::Rewrite, 5, 4),
    ("small_gateway::proxy::tests", Effort::UseLine, 0, 4),
    ("small_gateway::store", Effort::Rewrite, 3, 2),
    ("small_gateway::store::index", Effort::UseLine, 3, 4),
    ("test end_to_end", Effort::UseLine, 0, 3),
];

/// Crates for Tokio, whether they block, and how often they are named.
const CRATES: [(&str, bool, usize); 4] = [
    ("reqwest", true, 3),
    ("tokio-postgres", true, 2),
    ("tokio-util::codec", false, 6),
    ("tokio-util::time", true, 3),
];

/// In the order of [`Effort::ALL`].
const BY_EFFORT: [usize; 4] = [8, 13, 3, 0];

#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error("{0}")]
    Mismatch(String),
    #[error("{0}")]
    Inventory(#[from] InventoryError),
    #[error("{0}")]
    Print(#[from] PrintError),
    #[error("the output: {0}")]
    Output(#[from] io::Error),
}

/// Reports on the fixture; the last line that it writes is `ok: ...`.
pub(crate) fn run(format: Format, out: &mut impl Write) -> Result<(), DemoError> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixture");
    let mut report = report::inventory(&root)?;
    report.root = "the demonstration's fixture".to_owned();
    check(&report)?;
    out.write_all(print::print(&report, format)?.as_bytes())?;
    let totals = &report.totals;
    writeln!(
        out,
        "\nok: {} modules, {} imports and {} places of Tokio's, as counted by hand",
        totals.modules, totals.imports, totals.places
    )?;
    Ok(())
}

fn check(report: &Report) -> Result<(), DemoError> {
    let modules = report.packages.iter().flat_map(|it| &it.modules);
    let counted = modules.map(|module| {
        let ModuleReport {
            module: name,
            effort,
            items,
            ..
        } = module;
        let imports = items.iter().map(|it| it.imports.len()).sum();
        let places = items.iter().map(|it| it.places.len()).sum();
        (name.as_str(), *effort, imports, places)
    });
    let mut counted: Vec<_> = counted.collect();
    counted.sort_unstable();
    same("modules", &counted[..], &EXPECTED)?;

    let crates = report.packages.iter().flat_map(|it| &it.crates);
    let crates = crates.map(|it| {
        let named = it.used.iter().map(|used| used.lines.len()).sum();
        (it.name.as_str(), it.blocks, named)
    });
    let mut crates: Vec<_> = crates.collect();
    crates.sort_unstable();
    same("crates", &crates[..], &CRATES)?;

    let efforts: Vec<_> = report.totals.by_effort.values().copied().collect();
    same("efforts", &efforts[..], &BY_EFFORT)?;
    same("places in tests", &report.totals.in_tests, &7)?;
    // It has a file that does not parse.
    let problems: Vec<_> = report.problems.iter().map(|it| it.file.as_str()).collect();
    same("problems", &problems[..], &["src/unfinished.rs"])?;
    same("files", &report.files, &7)
}

fn same<T, U>(what: &str, counted: &T, expected: &U) -> Result<(), DemoError>
where
    T: PartialEq<U> + Debug + ?Sized,
    U: Debug + ?Sized,
{
    if counted == expected {
        return Ok(());
    }
    let why = format!("{what}: {counted:?}, and by hand {expected:?}");
    Err(DemoError::Mismatch(why))
}
