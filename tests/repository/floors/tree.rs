//! The modules of a crate with the names that they bind, and the paths in its code.

use std::collections::{BTreeMap, BTreeSet};

use super::sources::Sources;

/// The segments of a path: `crate::cmdb::Client` has three.
pub type Segments = Vec<String>;

/// A crate as it is written.
#[derive(Default)]
pub struct Tree {
    /// Modules and blocks; the first is the crate's root.
    pub scopes: Vec<Scope>,
    /// Every path in production code.
    pub references: Vec<Reference>,
    /// Where each `macro_rules!` is defined: such a name may be bound by the order of the text.
    pub macros: BTreeMap<String, usize>,
    /// Files that are part of the crate.
    pub files: BTreeSet<String>,
    /// Code that hides dependencies from this test, each with its file.
    pub hidden: BTreeSet<String>,
    /// Types with an inherent `impl`, as a path in a scope.
    pub implemented: Vec<(usize, Segments)>,
}

/// A module, or a block of statements that has items of its own.
pub struct Scope {
    /// File that holds it.
    pub file: String,
    /// The scope around it.
    pub outer: Option<usize>,
    /// Whether names of the scope around it are visible in it.
    pub is_block: bool,
    /// What its names are bound to: a module and a function may share one.
    pub names: BTreeMap<String, Vec<Binding>>,
    /// Paths that are imported with `*`.
    pub globs: Vec<Segments>,
    /// Names that macros may define here.
    pub generated: BTreeSet<String>,
}

/// What a name is bound to.
pub enum Binding {
    /// The module of this scope.
    Module(usize),
    /// An item of the scope's own file.
    Item,
    /// Whatever this path leads to.
    Import(Segments),
}

/// A path in the code.
pub struct Reference {
    /// Scope that has it.
    pub scope: usize,
    /// The path.
    pub path: Segments,
    /// How it was found.
    pub kind: Kind,
}

/// How a path was found.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    /// In a `use`.
    Import,
    /// Elsewhere, where Rust has a path.
    Path,
    /// As the name of a macro that is called.
    Macro,
    /// Among the tokens of a macro or an attribute, where it may be no path at all.
    Guess,
}

impl Tree {
    /// Adds a scope and returns its number.
    pub fn open(&mut self, file: &str, outer: Option<usize>, is_block: bool) -> usize {
        self.scopes.push(Scope {
            file: file.to_owned(),
            outer,
            is_block,
            names: BTreeMap::new(),
            globs: Vec::new(),
            generated: BTreeSet::new(),
        });
        self.scopes.len() - 1
    }

    /// Binds a name in a scope.
    pub fn bind(&mut self, scope: usize, name: &str, binding: Binding) {
        self.scopes[scope].names.entry(name.to_owned()).or_default().push(binding);
    }

    /// The module that a scope belongs to.
    pub fn module(&self, scope: usize) -> usize {
        match self.scopes[scope].outer {
            Some(outer) if self.scopes[scope].is_block => self.module(outer),
            _ => scope,
        }
    }
}

/// The files that are roots of a crate: a library, a program, and the programs in `bin`.
pub fn crate_roots(sources: &Sources) -> impl Iterator<Item = &String> {
    let is_program =
        |path: &str| path.strip_prefix("bin/").is_some_and(|rest| !rest.contains('/') || rest.ends_with("/main.rs"));
    sources.keys().filter(move |path| *path == "lib.rs" || *path == "main.rs" || is_program(path))
}
