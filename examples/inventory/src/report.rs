//! What was found, by package and module.

use std::{collections::BTreeMap, io, path::Path, thread};

use serde::Serialize;

use crate::{
    resolve::Program,
    source::{self, Kind},
    table::{self, Effort, Way},
    tokens,
    walk::{Tree, shown},
};

/// What source alone does not say.
pub(crate) const UNSEEN: &[&str] = &[
    "what macros make: of their arguments, items are parsed and otherwise only paths are looked for; derives and \
     attributes are not expanded",
    "methods: `stream.read(..)` counts where `AsyncReadExt` is imported, and not where it is called",
    "re-exports of other crates: `other::TcpStream` may be Tokio's, and types that a function returns are not named",
    "the names that a glob brings, but those in the table; the glob itself is counted",
    "a function that is not called where it is named: `map(sleep)`",
    "code in comments, `#[path]`, `include!`, files that a build script makes, `cfg` (all of it is read), and .gitignore",
];

#[derive(Debug, thiserror::Error)]
pub(crate) enum InventoryError {
    #[error("{0}: {1}")]
    Root(std::path::PathBuf, io::Error),
    #[error("no thread to parse in: {0}")]
    Thread(io::Error),
    #[error("the thread that parses has panicked: a defect of this tool")]
    Panicked,
}

/// A file that is not in the report, and why.
#[derive(Debug, Serialize)]
pub(crate) struct Problem {
    pub(crate) file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<usize>,
    pub(crate) why: String,
}

impl Problem {
    pub(crate) fn new(root: &Path, path: &Path, line: Option<usize>, why: String) -> Self {
        Self {
            file: shown(root, path),
            line,
            why,
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) root: String,
    /// Rust files that were read.
    pub(crate) files: usize,
    pub(crate) problems: Vec<Problem>,
    pub(crate) totals: Totals,
    pub(crate) packages: Vec<PackageReport>,
    pub(crate) unseen: &'static [&'static str],
}

/// Places, by what they cost; imports are not among them, since each is used somewhere.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Totals {
    /// Modules with anything of Tokio's in them.
    pub(crate) modules: usize,
    pub(crate) imports: usize,
    pub(crate) places: usize,
    pub(crate) by_effort: BTreeMap<Effort, usize>,
    /// Of the places, those in code for tests.
    pub(crate) in_tests: usize,
}

#[derive(Debug, Serialize)]
pub(crate) struct PackageReport {
    pub(crate) name: String,
    pub(crate) dir: String,
    /// Without one, only Tokio is looked for.
    pub(crate) manifest: bool,
    pub(crate) crates: Vec<CrateReport>,
    pub(crate) modules: Vec<ModuleReport>,
}

impl PackageReport {
    pub(crate) fn is_empty(&self) -> bool {
        self.crates.is_empty() && self.modules.is_empty()
    }
}

/// A dependency that is for Tokio.
#[derive(Debug, Serialize)]
pub(crate) struct CrateReport {
    /// The package, with the part of it, as in `tokio-util::time`.
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    /// Only tests, benches and examples have it.
    pub(crate) dev: bool,
    pub(crate) way: Way,
    /// What uses it cannot move as a whole.
    pub(crate) blocks: bool,
    pub(crate) offers: String,
    pub(crate) used: Vec<Used>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Used {
    pub(crate) module: String,
    pub(crate) file: String,
    /// Imports and places.
    pub(crate) lines: Vec<usize>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ModuleReport {
    pub(crate) module: String,
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) tests: bool,
    /// The most that one of its items asks for.
    pub(crate) effort: Effort,
    pub(crate) items: Vec<ItemReport>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ItemReport {
    /// Whole, whatever the code calls it; ended by `::*` for a glob.
    pub(crate) item: String,
    pub(crate) becomes: &'static str,
    pub(crate) effort: Effort,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) note: &'static str,
    /// The lines of `use`s that name it, once for each.
    pub(crate) imports: Vec<usize>,
    /// The lines where it is used, once for each.
    pub(crate) places: Vec<usize>,
    /// Other modules or crates may have it from here.
    pub(crate) reexported: bool,
}

/// Of the code base under `root`.
pub(crate) fn inventory(root: &Path) -> Result<Report, InventoryError> {
    // With a stack for the deepest tree that is let through.
    let root = root.to_owned();
    let reading = thread::Builder::new()
        .name("read".to_owned())
        .stack_size(tokens::STACK)
        .spawn(move || read(&root));
    let reading = reading.map_err(InventoryError::Thread)?;
    reading.join().map_err(|_| InventoryError::Panicked)?
}

fn read(root: &Path) -> Result<Report, InventoryError> {
    let tree = Tree::of(root).map_err(|it| InventoryError::Root(root.to_owned(), it))?;
    let mut program = Program::new(tree);
    let mut files = 0;
    for file in 0..program.tree.files.len() {
        let path = &program.tree.files[file].path;
        match source::read(path) {
            Ok(source) => {
                files += 1;
                program.add(file, source);
            }
            Err(error) => {
                let why = error.to_string();
                let problem = Problem::new(root, path, error.line(), why);
                program.tree.problems.push(problem);
            }
        }
    }
    let mut found = Found::default();
    for mention in &program.mentions {
        if let Some((package, path)) = program.meaning(mention) {
            found.add(&program, mention, &package, &path);
        }
    }
    Ok(found.report(root, program, files))
}

/// A module: its file, and its path in it.
type InFile = (usize, Vec<String>);
type Items = BTreeMap<String, ItemReport>;
type Lines = BTreeMap<InFile, (usize, Vec<usize>)>;

#[derive(Debug, Default)]
struct Found {
    /// By file and the module in it; with one of its scopes.
    modules: BTreeMap<InFile, (usize, Items)>,
    /// By package, dependency and part.
    crates: BTreeMap<(usize, String, &'static str), Lines>,
}

impl Found {
    fn add(
        &mut self,
        program: &Program,
        mention: &source::Mention,
        package: &str,
        path: &[String],
    ) {
        let placed = &program.scopes[mention.scope];
        let module = (placed.file, placed.scope.module.clone());
        if package != "tokio" {
            if let Some(krate) = table::krate_of(package, path) {
                let owner = program.package_of(mention.scope);
                let key = (owner, package.to_owned(), krate.part);
                let lines = self.crates.entry(key).or_default();
                let (_, lines) = lines.entry(module).or_insert((mention.scope, Vec::new()));
                lines.push(mention.line);
            }
            return;
        }
        let (entry, mut item) = table::item(path);
        if matches!(mention.kind, Kind::Glob { .. }) {
            item = format!("{}::*", path.join("::"));
        } else if path.len() == 1 && mention.kind == Kind::Place {
            // A variable or a module of that name.
            return;
        }
        let (_, items) = self
            .modules
            .entry(module)
            .or_insert((mention.scope, BTreeMap::new()));
        let item = items.entry(item).or_insert_with_key(|item| ItemReport {
            item: item.clone(),
            becomes: entry.becomes,
            effort: entry.effort,
            note: entry.note,
            imports: Vec::new(),
            places: Vec::new(),
            reexported: false,
        });
        match mention.kind {
            Kind::Import { public } | Kind::Glob { public } => {
                item.imports.push(mention.line);
                item.reexported |= public;
            }
            Kind::Place => item.places.push(mention.line),
        }
    }

    fn report(self, root: &Path, mut program: Program, files: usize) -> Report {
        let mut packages: Vec<_> = program
            .tree
            .packages
            .iter()
            .map(|package| PackageReport {
                name: package.name.clone(),
                dir: package.dir.clone(),
                manifest: package.manifest,
                crates: Vec::new(),
                modules: Vec::new(),
            })
            .collect();
        for (place, package) in packages.iter_mut().enumerate() {
            package.crates = self.crates_of(&program, place);
        }
        let mut totals = Totals::default();
        for effort in Effort::ALL {
            totals.by_effort.insert(effort, 0);
        }
        for ((file, _), (scope, items)) in self.modules {
            let mut items: Vec<_> = items.into_values().collect();
            for item in &mut items {
                item.imports.sort_unstable();
                item.places.sort_unstable();
            }
            let module = ModuleReport {
                module: program.module_name(scope),
                file: program.tree.files[file].shown.clone(),
                line: program.scopes[scope].scope.line,
                tests: program.is_for_tests(scope),
                effort: items
                    .iter()
                    .map(|it| it.effort)
                    .max()
                    .unwrap_or(Effort::AsItIs),
                items,
            };
            totals.count(&module);
            packages[program.package_of(scope)].modules.push(module);
        }
        Report {
            root: root.display().to_string(),
            files,
            problems: std::mem::take(&mut program.tree.problems),
            totals,
            packages,
            unseen: UNSEEN,
        }
    }

    /// What of its dependencies is for Tokio; also what is named nowhere, for it may be used by a macro.
    fn crates_of(&self, program: &Program, package: usize) -> Vec<CrateReport> {
        let mut reports = Vec::new();
        for dependency in program.tree.packages[package].dependencies.values() {
            let name = &dependency.package;
            let parts = table::CRATES.iter().map(|it| it.part).chain([""]);
            let mut parts: Vec<_> = parts
                .filter(|part| self.crates.contains_key(&(package, name.clone(), part)))
                .collect();
            parts.sort_unstable();
            parts.dedup();
            if parts.is_empty() {
                parts.push("");
            }
            for part in parts {
                let path = [String::new(), part.to_owned()];
                let Some(krate) = table::krate_of(name, &path) else {
                    continue;
                };
                let dot = if part.is_empty() { "" } else { "::" };
                let shown = format!("{name}{dot}{part}");
                // One package may have two names.
                if reports.iter().any(|it: &CrateReport| it.name == shown) {
                    continue;
                }
                let lines = self.crates.get(&(package, name.clone(), part));
                let used = lines
                    .into_iter()
                    .flatten()
                    .map(|((file, _), (scope, lines))| {
                        let mut lines = lines.clone();
                        lines.sort_unstable();
                        Used {
                            module: program.module_name(*scope),
                            file: program.tree.files[*file].shown.clone(),
                            lines,
                        }
                    });
                let comma = if krate.note.is_empty() { "" } else { "; " };
                reports.push(CrateReport {
                    name: shown,
                    version: dependency.version.clone(),
                    dev: dependency.dev,
                    way: krate.way,
                    blocks: krate.way.blocks(),
                    offers: format!("{}{comma}{}", krate.way.offers(), krate.note),
                    used: used.collect(),
                });
            }
        }
        reports
    }
}

impl Totals {
    fn count(&mut self, module: &ModuleReport) {
        self.modules += 1;
        for item in &module.items {
            self.imports += item.imports.len();
            self.places += item.places.len();
            *self.by_effort.entry(item.effort).or_default() += item.places.len();
            if module.tests {
                self.in_tests += item.places.len();
            }
        }
    }
}
