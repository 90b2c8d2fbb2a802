//! Which files there are, to which package each belongs, and which module it is.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
};

use walkdir::{DirEntry, WalkDir};

use crate::{
    manifest::{Dependency, Manifest, in_code},
    report::Problem,
};

#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Seen from where the walk began.
    pub(crate) dir: String,
    /// Without one, nothing is known of its dependencies.
    pub(crate) manifest: bool,
    pub(crate) dependencies: BTreeMap<String, Dependency>,
}

#[derive(Debug)]
pub(crate) struct SourceFile {
    pub(crate) path: PathBuf,
    /// Seen from where the walk began, with `/`.
    pub(crate) shown: String,
    pub(crate) package: usize,
    /// What `crate::` means in it: the library, or a test, an example.
    pub(crate) root: String,
    /// Under the root.
    pub(crate) module: Vec<String>,
    /// Of a test, a benchmark or an example.
    pub(crate) tests: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) packages: Vec<Package>,
    pub(crate) files: Vec<SourceFile>,
    pub(crate) problems: Vec<Problem>,
}

type Manifests = HashMap<PathBuf, (usize, Manifest)>;

impl Tree {
    /// What is under `root`, a folder or one file. Links below it are not followed, so none leads in circles.
    pub(crate) fn of(root: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        // A path that is not there is the caller's error; a file in it that goes away is a problem to report.
        fs::metadata(root)?;
        let mut manifests = Vec::new();
        let mut sources = Vec::new();
        for entry in WalkDir::new(root)
            .sort_by_file_name()
            .into_iter()
            .filter_entry(is_wanted)
        {
            match entry {
                Ok(entry) if !entry.file_type().is_file() => {
                    // The root itself may be a link to a file.
                    if entry.depth() == 0 && !entry.path().is_dir() {
                        sources.push(entry.into_path());
                    }
                }
                Ok(entry) if entry.file_name() == "Cargo.toml" => manifests.push(entry.into_path()),
                Ok(entry) => {
                    let is_rust = entry.path().extension().is_some_and(|it| it == "rs");
                    if is_rust || entry.depth() == 0 {
                        sources.push(entry.into_path());
                    }
                }
                Err(error) => {
                    let path = error.path().unwrap_or(root).to_owned();
                    let why = error.to_string();
                    tree.problems.push(Problem::new(root, &path, None, why));
                }
            }
        }
        // Somebody asks for a part of a package.
        if !manifests.iter().any(|it| it.parent() == Some(root)) {
            manifests.extend(above(root));
        }
        let manifests = tree.read_manifests(root, &manifests);
        for path in sources {
            tree.place(root, &manifests, path);
        }
        Ok(tree)
    }

    /// Those that are packages, by their folders, with their places among the packages.
    fn read_manifests(&mut self, root: &Path, paths: &[PathBuf]) -> Manifests {
        let mut all = Vec::new();
        for path in paths {
            match Manifest::read(path) {
                Ok(manifest) => all.push(manifest),
                Err(error) => {
                    let why = error.to_string();
                    self.problems.push(Problem::new(root, path, None, why));
                }
            }
        }
        let shared = all
            .iter()
            .filter_map(|it| Some((it.dir.clone(), it.shared()?.clone())))
            .collect();
        let mut packages = Manifests::new();
        for mut manifest in all {
            let Some(name) = manifest.name.clone() else {
                continue;
            };
            manifest.inherit(&shared);
            self.packages.push(Package {
                name,
                dir: shown(root, &manifest.dir),
                manifest: true,
                dependencies: manifest.dependencies.clone(),
            });
            let place = self.packages.len() - 1;
            packages.insert(manifest.dir.clone(), (place, manifest));
        }
        packages
    }

    fn place(&mut self, root: &Path, manifests: &Manifests, path: PathBuf) {
        let nearest = |path: &Path| path.ancestors().skip(1).find_map(|dir| manifests.get(dir));
        let shown = shown(root, &path);
        // A manifest above the root was found by the root's whole path.
        let owner = nearest(&path).map(|it| (it, path.clone())).or_else(|| {
            let absolute = absolute(&path);
            nearest(&absolute).map(|it| (it, absolute))
        });
        let (package, place) = match owner {
            Some(((package, manifest), path)) => {
                let within = path.strip_prefix(&manifest.dir).unwrap_or(&path);
                (*package, Place::in_package(manifest, within))
            }
            None => {
                let folder = root.file_name().map(|name| name.to_string_lossy().into());
                let folder = folder.unwrap_or_else(|| "sources".to_owned());
                let within = path.strip_prefix(root).unwrap_or(&path);
                let place = Place::under(&folder, within, false);
                (self.nobodys(folder), place)
            }
        };
        self.files.push(SourceFile {
            path,
            shown,
            package,
            root: place.root,
            module: place.module,
            tests: place.tests,
        });
    }

    /// The package of files that belong to none.
    fn nobodys(&mut self, name: String) -> usize {
        let known = self.packages.iter().position(|it| !it.manifest);
        known.unwrap_or_else(|| {
            self.packages.push(Package {
                name,
                dir: ".".to_owned(),
                manifest: false,
                dependencies: BTreeMap::new(),
            });
            self.packages.len() - 1
        })
    }
}

/// Neither hidden nor built.
fn is_wanted(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    let skipped = name.starts_with('.') || (name == "target" && entry.file_type().is_dir());
    entry.depth() == 0 || !skipped
}

/// The manifest of the package that `root` lies in.
fn above(root: &Path) -> Option<PathBuf> {
    let absolute = absolute(root);
    let mut dirs = absolute.ancestors().skip(1);
    dirs.find_map(|dir| {
        let path = dir.join("Cargo.toml");
        path.is_file().then_some(path)
    })
}

fn absolute(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// `path` as seen from `root`, with `/` on every system.
pub(crate) fn shown(root: &Path, path: &Path) -> String {
    let within = path.strip_prefix(root).unwrap_or(path);
    let within = if within.as_os_str().is_empty() && path.is_file() {
        path.file_name().map_or(path, Path::new)
    } else {
        within
    };
    let shown = within.to_string_lossy().replace('\\', "/");
    if shown.is_empty() {
        ".".to_owned()
    } else {
        shown
    }
}

struct Place {
    root: String,
    module: Vec<String>,
    tests: bool,
}

impl Place {
    /// By Cargo's rules for folders; `#[path]` and targets with a `path` of their own are not looked at, but for
    /// the library's.
    fn in_package(manifest: &Manifest, within: &Path) -> Self {
        let name = manifest.name.as_deref().unwrap_or("package");
        let library = manifest.library.clone().unwrap_or_else(|| in_code(name));
        let parts: Vec<_> = within
            .iter()
            .map(|part| part.to_string_lossy().into_owned())
            .collect();
        let parts: Vec<_> = parts.iter().map(String::as_str).collect();
        let library_dir = manifest.library_dir.as_deref().unwrap_or(Path::new("src"));
        let library_dir = library_dir
            .strip_prefix(&manifest.dir)
            .unwrap_or(library_dir);
        match parts[..] {
            ["src", "bin", ..] => Self::target("bin", &within.iter().skip(2).collect::<PathBuf>()),
            ["tests", ..] => Self::target("test", &within.iter().skip(1).collect::<PathBuf>()),
            ["benches", ..] => Self::target("bench", &within.iter().skip(1).collect::<PathBuf>()),
            ["examples", ..] => {
                Self::target("example", &within.iter().skip(1).collect::<PathBuf>())
            }
            ["build.rs"] => Self {
                root: format!("{library} build script"),
                module: Vec::new(),
                tests: false,
            },
            ["src", ..] => {
                Self::under(&library, &within.iter().skip(1).collect::<PathBuf>(), false)
            }
            _ => match within.strip_prefix(library_dir) {
                Ok(within) => Self::under(&library, within, false),
                Err(_) => Self::under(&library, within, false),
            },
        }
    }

    /// `name.rs`, `name/main.rs`, `name/..`: each a crate of its own.
    fn target(kind: &str, within: &Path) -> Self {
        let first = within.iter().next().map(Path::new);
        let name = first.and_then(Path::file_stem).unwrap_or_default();
        let root = format!("{kind} {}", name.to_string_lossy());
        let rest: PathBuf = within.iter().skip(1).collect();
        Self::under(&root, &rest, kind != "bin")
    }

    fn under(root: &str, within: &Path, tests: bool) -> Self {
        let without = within.with_extension("");
        let mut module: Vec<_> = without
            .iter()
            .map(|part| part.to_string_lossy().into_owned())
            .collect();
        let last = module.last().map(String::as_str);
        if last == Some("mod") || (module.len() == 1 && matches!(last, Some("lib" | "main"))) {
            module.pop();
        }
        Self {
            root: root.to_owned(),
            module,
            tests,
        }
    }
}
