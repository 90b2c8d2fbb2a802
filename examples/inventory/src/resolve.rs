//! What a path means: through renames, groups, globs and re-exports, `crate`, `self` and `super`, as far as source alone
//! says it.

use std::{cell::Cell, collections::HashMap};

use crate::{
    manifest::in_code,
    source::{Mention, Scope, Source, Written},
    table,
    walk::Tree,
};

/// No chain of re-exports is longer; circles are.
const MOST_STEPS: u32 = 500;

/// All that was read.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) tree: Tree,
    pub(crate) scopes: Vec<Placed>,
    /// The scope of each counts from the whole program's.
    pub(crate) mentions: Vec<Mention>,
    /// By the root that they belong to, and their path under it.
    modules: Vec<HashMap<Vec<String>, Vec<usize>>>,
    roots: HashMap<(usize, String), usize>,
    /// Of each package: what the code calls a crate that this tool knows, and the package that it is.
    crates: Vec<HashMap<String, String>>,
    /// Modules in files of their own that are for tests only, by their root.
    test_modules: Vec<(usize, Vec<String>)>,
}

/// A scope, and where it is.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) scope: Scope,
    pub(crate) file: usize,
    root: usize,
    /// Under the root.
    path: Vec<String>,
}

enum Meaning {
    /// Of a crate that this tool knows: the package, and the path in code.
    Known(String, Vec<String>),
    /// A module of this program, by its root and path.
    Module(usize, Vec<String>),
}

impl Program {
    pub(crate) fn new(tree: Tree) -> Self {
        let crates = tree.packages.iter().map(|package| {
            let mut crates = HashMap::new();
            for (name, dependency) in &package.dependencies {
                let of = &dependency.package;
                if of == "tokio" || table::is_known_package(of) {
                    crates.insert(name.clone(), of.clone());
                }
            }
            // In a folder without a manifest nothing else is known.
            if !package.manifest {
                crates.insert("tokio".to_owned(), "tokio".to_owned());
            }
            crates
        });
        Self {
            crates: crates.collect(),
            tree,
            scopes: Vec::new(),
            mentions: Vec::new(),
            modules: Vec::new(),
            roots: HashMap::new(),
            test_modules: Vec::new(),
        }
    }

    /// Takes in what `file` says.
    pub(crate) fn add(&mut self, file: usize, source: Source) {
        let place = &self.tree.files[file];
        let new = self.roots.len();
        let root = self.roots.entry((place.package, place.root.clone()));
        let root = *root.or_insert(new);
        if root == new {
            self.modules.push(HashMap::new());
        }
        let first = self.scopes.len();
        for mut scope in source.scopes {
            scope.around = scope.around.map(|around| around + first);
            let path = [&place.module[..], &scope.module].concat();
            if scope.around.is_none() {
                let modules = self.modules[root].entry(path.clone()).or_default();
                modules.push(self.scopes.len());
            }
            self.scopes.push(Placed {
                scope,
                file,
                root,
                path,
            });
        }
        for path in source.test_modules {
            let path = [&place.module[..], &path].concat();
            self.test_modules.push((root, path));
        }
        let mentions = source.mentions.into_iter().map(|it| Mention {
            scope: it.scope + first,
            ..it
        });
        self.mentions.extend(mentions);
    }

    pub(crate) fn package_of(&self, scope: usize) -> usize {
        self.tree.files[self.scopes[scope].file].package
    }

    /// As a reader would write it: the crate's name, or `test name`, and the path under it.
    pub(crate) fn module_name(&self, scope: usize) -> String {
        let placed = &self.scopes[scope];
        let root = &self.tree.files[placed.file].root;
        let path = placed.path.iter().map(String::as_str);
        let all: Vec<_> = std::iter::once(root.as_str()).chain(path).collect();
        all.join("::")
    }

    /// It is there for tests, benchmarks or examples only.
    pub(crate) fn is_for_tests(&self, scope: usize) -> bool {
        let placed = &self.scopes[scope];
        let is_within = |(root, path): &(usize, Vec<String>)| {
            *root == placed.root && placed.path.starts_with(path)
        };
        placed.scope.tests
            || self.tree.files[placed.file].tests
            || self.test_modules.iter().any(is_within)
    }

    /// The package, and the path as if nothing were renamed; nothing for what this tool does not know.
    pub(crate) fn meaning(&self, mention: &Mention) -> Option<(String, Vec<String>)> {
        if self.crates[self.package_of(mention.scope)].is_empty() {
            return None;
        }
        let search = Search {
            program: self,
            steps: Cell::new(MOST_STEPS),
        };
        match search.written(mention.scope, &mention.written)? {
            Meaning::Known(package, path) => Some((package, path)),
            Meaning::Module(..) => None,
        }
    }
}

struct Search<'a> {
    program: &'a Program,
    steps: Cell<u32>,
}

impl Search<'_> {
    fn step(&self) -> Option<()> {
        self.steps.set(self.steps.get().checked_sub(1)?);
        Some(())
    }

    fn written(&self, scope: usize, written: &Written) -> Option<Meaning> {
        let (head, rest) = written.path.split_first()?;
        if written.global {
            return self.of_crate(scope, head, rest);
        }
        self.path(scope, head, rest)
    }

    fn path(&self, scope: usize, head: &str, rest: &[String]) -> Option<Meaning> {
        self.step()?;
        let placed = &self.program.scopes[scope];
        match head {
            "crate" => self.in_module(placed.root, &[], rest),
            "self" => self.in_module(placed.root, &placed.path, rest),
            "super" => {
                let above = rest.iter().take_while(|it| *it == "super").count();
                let left = placed.path.len().checked_sub(above + 1)?;
                self.in_module(placed.root, &placed.path[..left], &rest[above..])
            }
            _ => self.lexically(scope, head, rest),
        }
    }

    /// From the inside out: what is imported or defined around it, then a crate, then what globs bring.
    fn lexically(&self, scope: usize, head: &str, rest: &[String]) -> Option<Meaning> {
        let mut next = Some(scope);
        while let Some(scope) = next {
            if let Some(meaning) = self.in_scope(scope, head, rest) {
                return meaning;
            }
            next = self.program.scopes[scope].scope.around;
        }
        let placed = &self.program.scopes[scope];
        if let Some(module) = self.child(placed.root, &placed.path, head) {
            return self.in_module(placed.root, &module, rest);
        }
        let mut next = Some(scope);
        self.of_crate(scope, head, rest).or_else(|| {
            while let Some(scope) = next {
                if let Some(meaning) = self.by_globs(scope, head, rest) {
                    return Some(meaning);
                }
                next = self.program.scopes[scope].scope.around;
            }
            None
        })
    }

    /// Something if the name is taken there, and within it what it means.
    fn in_scope(&self, scope: usize, name: &str, rest: &[String]) -> Option<Option<Meaning>> {
        let here = &self.program.scopes[scope].scope;
        let Some(imports) = here.imports.get(name) else {
            return here.defined.contains(name).then_some(None);
        };
        Some(imports.iter().find_map(|written| {
            self.step()?;
            let path = [&written.path[..], rest].concat();
            let (head, rest) = path.split_first()?;
            // `use tokio::tokio` and `use fs::fs`: the first is never what it defines.
            if written.global || head == name {
                let placed = &self.program.scopes[scope];
                let module = self.child(placed.root, &placed.path, head);
                return match module.filter(|_| !written.global) {
                    Some(module) => self.in_module(placed.root, &module, rest),
                    None => self.of_crate(scope, head, rest),
                };
            }
            self.path(scope, head, rest)
        }))
    }

    fn by_globs(&self, scope: usize, name: &str, rest: &[String]) -> Option<Meaning> {
        let globs = &self.program.scopes[scope].scope.globs;
        globs.iter().find_map(|glob| {
            self.step()?;
            match self.written(scope, glob)? {
                Meaning::Known(package, mut path) => {
                    path.push(name.to_owned());
                    let is_known = package == "tokio" && table::is_known(&path);
                    path.extend_from_slice(rest);
                    is_known.then_some(Meaning::Known(package, path))
                }
                Meaning::Module(root, module) => {
                    let path = [&[name.to_owned()], rest].concat();
                    self.in_module(root, &module, &path)
                }
            }
        })
    }

    fn in_module(&self, root: usize, module: &[String], rest: &[String]) -> Option<Meaning> {
        self.step()?;
        let Some((name, rest)) = rest.split_first() else {
            return Some(Meaning::Module(root, module.to_owned()));
        };
        let scopes = self.program.modules[root].get(module)?;
        for scope in scopes {
            if let Some(meaning) = self.in_scope(*scope, name, rest) {
                return meaning;
            }
        }
        if let Some(child) = self.child(root, module, name) {
            return self.in_module(root, &child, rest);
        }
        scopes.iter().find_map(|it| self.by_globs(*it, name, rest))
    }

    fn child(&self, root: usize, module: &[String], name: &str) -> Option<Vec<String>> {
        let mut path = module.to_owned();
        path.push(name.to_owned());
        self.program.modules[root]
            .contains_key(&path)
            .then_some(path)
    }

    fn of_crate(&self, scope: usize, head: &str, rest: &[String]) -> Option<Meaning> {
        let package = self.program.package_of(scope);
        let package = self.program.crates[package].get(head)?;
        let path = [&[in_code(package)], rest].concat();
        Some(Meaning::Known(package.clone(), path))
    }
}
