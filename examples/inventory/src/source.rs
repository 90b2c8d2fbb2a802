//! One file: its modules and blocks, what their `use` lines bring in, and every path in them. Nothing is resolved here.

use std::collections::{HashMap, HashSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Attribute, Block, Expr, ExprCall, File, Item, ItemExternCrate, ItemMod, ItemUse, Macro, Meta,
    Path, Stmt, UseTree, Visibility, visit::Visit,
};

use crate::tokens::{self, name};

#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error("cannot be read: {0}")]
    Read(#[from] std::io::Error),
    #[error("is not UTF-8 from byte {0} on")]
    Encoding(usize),
    #[error("does not parse: {why}")]
    Syntax { line: usize, why: String },
    #[error("nests too deep to be parsed")]
    TooDeep,
}

impl SourceError {
    pub(crate) fn line(&self) -> Option<usize> {
        match self {
            Self::Syntax { line, .. } => Some(*line),
            Self::Read(_) | Self::Encoding(_) | Self::TooDeep => None,
        }
    }
}

/// A path as it is written. It begins with a crate if it is `global`.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) path: Vec<String>,
    pub(crate) global: bool,
}

/// A module, or a block with items of its own.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    /// Of a block, what is around it.
    pub(crate) around: Option<usize>,
    /// Within the file.
    pub(crate) module: Vec<String>,
    pub(crate) line: usize,
    /// Behind `#[cfg(test)]`.
    pub(crate) tests: bool,
    /// By the name that it has here. With `#[cfg]`, there may be several.
    pub(crate) imports: HashMap<String, Vec<Written>>,
    pub(crate) globs: Vec<Written>,
    /// What is written here itself and is no module.
    pub(crate) defined: HashSet<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Import { public: bool },
    Glob { public: bool },
    Place,
}

#[derive(Debug)]
pub(crate) struct Mention {
    pub(crate) written: Written,
    pub(crate) line: usize,
    pub(crate) scope: usize,
    pub(crate) kind: Kind,
}

#[derive(Debug, Default)]
pub(crate) struct Source {
    /// The first is the file's own module.
    pub(crate) scopes: Vec<Scope>,
    pub(crate) mentions: Vec<Mention>,
    /// Modules in other files that are there for tests only, within this one.
    pub(crate) test_modules: Vec<Vec<String>>,
}

pub(crate) fn read(path: &std::path::Path) -> Result<Source, SourceError> {
    let bytes = std::fs::read(path)?;
    let text = String::from_utf8(bytes)
        .map_err(|it| SourceError::Encoding(it.utf8_error().valid_up_to()))?;
    parse(&text)
}

pub(crate) fn parse(text: &str) -> Result<Source, SourceError> {
    // Lines are counted per thread, and each text would be kept for as long as it lives.
    proc_macro2::extra::invalidate_current_thread_spans();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = without_shebang(text);
    let tokens: TokenStream = text.parse().map_err(|error: proc_macro2::LexError| {
        let line = error.span().start().line;
        let why = "a bracket, a quote or a character is out of place".to_owned();
        SourceError::Syntax { line, why }
    })?;
    if !tokens::is_shallow(&tokens) {
        return Err(SourceError::TooDeep);
    }
    let file: File = syn::parse2(tokens).map_err(|error| SourceError::Syntax {
        line: error.span().start().line,
        why: error.to_string(),
    })?;
    let mut reader = Reader::default();
    reader.source.scopes.push(Scope {
        line: 1,
        tests: is_for_tests(&file.attrs),
        ..Scope::default()
    });
    reader.visit_file(&file);
    Ok(reader.source)
}

/// `#!/usr/bin/..`, but not `#![..]`. The line stays, so that lines are counted right.
fn without_shebang(text: &str) -> &str {
    let is_shebang = text.starts_with("#!") && !text[2..].trim_start().starts_with('[');
    match text.find('\n') {
        Some(end) if is_shebang => &text[end..],
        None if is_shebang => "",
        _ => text,
    }
}

#[derive(Default)]
struct Reader {
    source: Source,
    scope: usize,
}

impl Reader {
    fn mention(&mut self, path: Vec<String>, global: bool, line: usize, kind: Kind) {
        self.source.mentions.push(Mention {
            written: Written { path, global },
            line,
            scope: self.scope,
            kind,
        });
    }

    fn within(&mut self, scope: Scope, visit: impl FnOnce(&mut Self)) {
        self.source.scopes.push(scope);
        let around = self.scope;
        self.scope = self.source.scopes.len() - 1;
        visit(self);
        self.scope = around;
    }

    fn path(&mut self, path: &Path) {
        let names = path.segments.iter().map(|it| name(&it.ident)).collect();
        let global = path.leading_colon.is_some();
        if let Some(first) = path.segments.first() {
            self.mention(names, global, first.ident.span().start().line, Kind::Place);
        }
    }

    /// The leaves of a `use`, with what is before them.
    fn tree(&mut self, tree: &UseTree, before: &Written, public: bool) {
        let with = |name: String| {
            let mut path = before.path.clone();
            path.push(name);
            let global = before.global;
            Written { path, global }
        };
        match tree {
            UseTree::Path(it) => self.tree(&it.tree, &with(name(&it.ident)), public),
            UseTree::Group(it) => {
                for tree in &it.items {
                    self.tree(tree, before, public);
                }
            }
            UseTree::Name(it) => {
                let line = it.ident.span().start().line;
                let named = name(&it.ident);
                if named == "self" {
                    if let Some(named) = before.path.last() {
                        self.import(named.clone(), before.clone(), line, public);
                    }
                } else {
                    self.import(named.clone(), with(named), line, public);
                }
            }
            UseTree::Rename(it) => {
                let line = it.ident.span().start().line;
                let named = name(&it.ident);
                let written = match named.as_str() {
                    "self" => before.clone(),
                    _ => with(named),
                };
                self.import(name(&it.rename), written, line, public);
            }
            UseTree::Glob(it) => {
                let line = it.star_token.span.start().line;
                let scope = &mut self.source.scopes[self.scope];
                scope.globs.push(before.clone());
                let kind = Kind::Glob { public };
                self.mention(before.path.clone(), before.global, line, kind);
            }
        }
    }

    fn import(&mut self, named: String, written: Written, line: usize, public: bool) {
        let kind = Kind::Import { public };
        self.mention(written.path.clone(), written.global, line, kind);
        // `as _` brings a trait in without a name.
        if named != "_" {
            let imports = &mut self.source.scopes[self.scope].imports;
            imports.entry(named).or_default().push(written);
        }
    }

    /// What nobody has parsed: the arguments of a macro or an attribute.
    fn tokens(&mut self, tokens: TokenStream) {
        let (mut found, mut uses) = (Vec::new(), Vec::new());
        tokens::paths(tokens, &mut found, &mut uses);
        for found in found {
            self.mention(found.path, found.global, found.line, Kind::Place);
        }
        for tokens in uses {
            if tokens::is_shallow(&tokens)
                && let Ok(item) = syn::parse2::<ItemUse>(tokens)
            {
                self.visit_item_use(&item);
            }
        }
    }

    fn define(&mut self, ident: &proc_macro2::Ident) {
        let scope = &mut self.source.scopes[self.scope];
        scope.defined.insert(name(ident));
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            Item::Const(it) => self.define(&it.ident),
            Item::Enum(it) => self.define(&it.ident),
            Item::Fn(it) => self.define(&it.sig.ident),
            Item::Static(it) => self.define(&it.ident),
            Item::Struct(it) => self.define(&it.ident),
            Item::Trait(it) => self.define(&it.ident),
            Item::TraitAlias(it) => self.define(&it.ident),
            Item::Type(it) => self.define(&it.ident),
            Item::Union(it) => self.define(&it.ident),
            _ => {}
        }
        syn::visit::visit_item(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let nothing = Written {
            path: Vec::new(),
            global: item.leading_colon.is_some(),
        };
        let public = !matches!(item.vis, Visibility::Inherited);
        self.tree(&item.tree, &nothing, public);
        for attribute in &item.attrs {
            self.visit_attribute(attribute);
        }
    }

    fn visit_item_extern_crate(&mut self, item: &'ast ItemExternCrate) {
        let written = Written {
            path: vec![name(&item.ident)],
            global: true,
        };
        let named = item.rename.as_ref().map_or(&item.ident, |(_, it)| it);
        let public = !matches!(item.vis, Visibility::Inherited);
        self.import(name(named), written, item.ident.span().start().line, public);
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let around = &self.source.scopes[self.scope];
        let mut module = around.module.clone();
        module.push(name(&item.ident));
        let is_for_tests = is_for_tests(&item.attrs);
        if item.content.is_none() {
            if is_for_tests {
                self.source.test_modules.push(module);
            }
            return;
        }
        let scope = Scope {
            module,
            line: item.ident.span().start().line,
            tests: around.tests || is_for_tests,
            ..Scope::default()
        };
        self.within(scope, |this| syn::visit::visit_item_mod(this, item));
    }

    fn visit_block(&mut self, block: &'ast Block) {
        let has_items = |it: &Stmt| matches!(it, Stmt::Item(_) | Stmt::Macro(_));
        if !block.stmts.iter().any(has_items) {
            return syn::visit::visit_block(self, block);
        }
        let around = &self.source.scopes[self.scope];
        let scope = Scope {
            around: Some(self.scope),
            module: around.module.clone(),
            line: around.line,
            tests: around.tests,
            ..Scope::default()
        };
        self.within(scope, |this| syn::visit::visit_block(this, block));
    }

    fn visit_path(&mut self, path: &'ast Path) {
        // A single small word is a variable, if it is not called.
        let is_a_name = |it: &syn::PathSegment| name(&it.ident).starts_with(char::is_uppercase);
        if path.segments.len() > 1 || path.segments.first().is_some_and(is_a_name) {
            self.path(path);
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_expr_call(&mut self, call: &'ast ExprCall) {
        if let Expr::Path(called) = &*call.func
            && called.qself.is_none()
            && called.path.segments.len() == 1
            && !name(&called.path.segments[0].ident).starts_with(char::is_uppercase)
        {
            self.path(&called.path);
        }
        syn::visit::visit_expr_call(self, call);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        self.path(attribute.path());
        match &attribute.meta {
            Meta::List(list) => self.tokens(list.tokens.clone()),
            // A comment may be an `include_str!`.
            Meta::NameValue(it) => self.visit_expr(&it.value),
            Meta::Path(_) => {}
        }
    }

    fn visit_macro(&mut self, it: &'ast Macro) {
        self.path(&it.path);
        // Items are often wrapped, for the sake of a `cfg`: then they are seen as if they were not.
        if begins_an_item(&it.tokens)
            && tokens::is_shallow(&it.tokens)
            && let Ok(file) = syn::parse2::<File>(it.tokens.clone())
        {
            for item in &file.items {
                self.visit_item(item);
            }
        } else {
            self.tokens(it.tokens.clone());
        }
    }
}

fn begins_an_item(tokens: &TokenStream) -> bool {
    let words = [
        "async", "const", "enum", "extern", "fn", "impl", "mod", "pub", "static", "struct",
        "trait", "type", "unsafe", "use",
    ];
    match tokens.clone().into_iter().next() {
        Some(TokenTree::Ident(ident)) => words.iter().any(|word| ident == word),
        Some(TokenTree::Punct(punct)) => punct.as_char() == '#',
        _ => false,
    }
}

/// `#[cfg(test)]`, or with more conditions that all have to hold.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let Meta::List(list) = &attribute.meta else {
            return false;
        };
        let words: Vec<_> = list
            .tokens
            .to_string()
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        let condition = words.concat();
        list.path.is_ident("cfg") && (condition == "test" || condition.starts_with("all(test,"))
    })
}
