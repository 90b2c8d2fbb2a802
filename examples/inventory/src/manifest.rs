//! `Cargo.toml`: what a package is called, where its library begins, and what it depends on by which name.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use toml_edit::{DocumentMut, Item, TableLike};

#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestError {
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("is no TOML: {0}")]
    Syntax(#[from] toml_edit::TomlError),
}

/// What one `Cargo.toml` says of one dependency.
#[derive(Clone, Debug)]
pub(crate) struct Dependency {
    /// As the registry knows it.
    pub(crate) package: String,
    pub(crate) version: Option<String>,
    /// Only tests, benches and examples have it.
    pub(crate) dev: bool,
}

#[derive(Debug)]
pub(crate) struct Manifest {
    pub(crate) dir: PathBuf,
    /// Of the package; a workspace without one has none.
    pub(crate) name: Option<String>,
    /// What the code of other packages calls the library.
    pub(crate) library: Option<String>,
    /// The folder that the library begins in, if it is not `src`.
    pub(crate) library_dir: Option<PathBuf>,
    /// By the name that the code uses.
    pub(crate) dependencies: BTreeMap<String, Dependency>,
    /// Those that say `workspace = true`.
    inherited: Vec<(String, bool)>,
    /// What members may inherit.
    shared: Option<BTreeMap<String, Dependency>>,
}

impl Manifest {
    pub(crate) fn read(path: &Path) -> Result<Self, ManifestError> {
        let text = fs::read_to_string(path)?;
        let document: DocumentMut = text.parse()?;
        let dir = path.parent().unwrap_or(Path::new("")).to_owned();
        let package = table(document.get("package"));
        let name = package.map(|package| {
            let name = package.get("name").and_then(Item::as_str);
            let folder = || dir.file_name().map(|name| name.to_string_lossy().into());
            name.map(str::to_owned)
                .or_else(folder)
                .unwrap_or_else(|| "package".to_owned())
        });
        let lib = table(document.get("lib"));
        let of_lib = |key| lib.and_then(|lib| lib.get(key)?.as_str());
        let mut manifest = Self {
            library: of_lib("name").map(str::to_owned),
            library_dir: of_lib("path").and_then(|path| Some(dir.join(path).parent()?.to_owned())),
            dependencies: BTreeMap::new(),
            inherited: Vec::new(),
            shared: None,
            dir,
            name,
        };
        manifest.read_dependencies(document.as_table());
        for (_, target) in table(document.get("target"))
            .into_iter()
            .flat_map(|targets| targets.iter())
        {
            if let Some(target) = target.as_table_like() {
                manifest.read_dependencies(target);
            }
        }
        if let Some(workspace) = table(document.get("workspace")) {
            let mut shared = BTreeMap::new();
            for (key, item) in table(workspace.get("dependencies"))
                .into_iter()
                .flat_map(|dependencies| dependencies.iter())
            {
                shared.insert(in_code(key), dependency(key, item, false));
            }
            manifest.shared = Some(shared);
        }
        Ok(manifest)
    }

    fn read_dependencies(&mut self, of: &dyn TableLike) {
        for (section, dev) in [
            ("dependencies", false),
            ("build-dependencies", false),
            ("dev-dependencies", true),
        ] {
            for (key, item) in table(of.get(section))
                .into_iter()
                .flat_map(|dependencies| dependencies.iter())
            {
                let inherits = table(Some(item))
                    .and_then(|item| item.get("workspace"))
                    .and_then(Item::as_bool);
                if inherits == Some(true) {
                    self.inherited.push((in_code(key), dev));
                }
                // What the library has is no longer only for tests.
                self.add(in_code(key), dependency(key, item, dev));
            }
        }
    }

    fn add(&mut self, key: String, dependency: Dependency) {
        let known = self.dependencies.get(&key);
        if known.is_none_or(|known| known.dev && !dependency.dev) {
            self.dependencies.insert(key, dependency);
        }
    }

    /// Takes what it inherits from the nearest workspace above it, of `known` or of the file system.
    pub(crate) fn inherit(&mut self, known: &BTreeMap<PathBuf, BTreeMap<String, Dependency>>) {
        if self.inherited.is_empty() {
            return;
        }
        let Some(shared) = self.dir.ancestors().find_map(|dir| {
            let known = known.get(dir).cloned();
            known.or_else(|| Self::read(&dir.join("Cargo.toml")).ok()?.shared)
        }) else {
            return;
        };
        for (key, dev) in &self.inherited {
            if let Some(dependency) = shared.get(key) {
                let dev = self.dependencies.get(key).map_or(*dev, |known| known.dev);
                let dependency = dependency.clone();
                self.dependencies
                    .insert(key.clone(), Dependency { dev, ..dependency });
            }
        }
    }

    /// What its members may inherit.
    pub(crate) fn shared(&self) -> Option<&BTreeMap<String, Dependency>> {
        self.shared.as_ref()
    }
}

fn dependency(key: &str, item: &Item, dev: bool) -> Dependency {
    let of = |name| table(Some(item)).and_then(|item| item.get(name)?.as_str());
    Dependency {
        package: of("package").unwrap_or(key).to_owned(),
        version: item.as_str().or_else(|| of("version")).map(str::to_owned),
        dev,
    }
}

fn table(item: Option<&Item>) -> Option<&dyn TableLike> {
    item?.as_table_like()
}

/// The name of a package, or of a key, as code has it.
pub(crate) fn in_code(name: &str) -> String {
    name.replace('-', "_")
}
