//! A bare `cargo test` needs nothing but cargo: tests that need a control plane or a judge are ignored there, and no others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use syn::visit::{self, Visit};
use syn::{Attribute, Expr, ItemFn, ItemUse, Lit, Meta, UseTree};
use test_support::files::{entries, files};

/// Why a test is ignored.
const REASON: &str = "needs a control plane: make test";

/// What of `test-support` starts a control plane, or asks for a judge.
const GIVERS: &[(&str, &[&str])] = &[
    ("control_plane", &["ControlPlane", "own", "shared", "with_controller_manager"]),
    ("hunt_cluster", &["Cluster"]),
    ("judges", &["Judge"]),
    ("pod", &["command", "kubeconfig"]),
    ("stories", &["Run"]),
    ("tenants", &["Tenants"]),
    ("world", &["World"]),
];

/// The module of a file: its names below the root of its crate.
type Module = Vec<String>;

/// What a file says.
#[derive(Default)]
struct Source {
    module: Module,
    /// Paths that it names, from the root of their crate; that of its own crate is `crate`.
    paths: Vec<Vec<String>>,
    /// Its tests, with why each is ignored.
    tests: Vec<(String, Option<String>)>,
}

impl Source {
    fn read(root: &Path, file: &Path) -> Self {
        let below = file.strip_prefix(root).unwrap().with_extension("");
        let mut module: Module = below.iter().map(|name| name.to_str().unwrap().to_owned()).collect();
        module.retain(|name| !["main", "lib", "mod"].contains(&name.as_str()));
        let mut source = Self { module, ..Self::default() };
        let text = fs::read_to_string(file).unwrap();
        source.visit_file(&syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display())));
        source
    }

    fn name(&mut self, path: Vec<String>) {
        let (mut depth, mut rest) = (self.module.len(), path.as_slice());
        match path.first().map(String::as_str) {
            Some("super" | "self") => {}
            _ => return self.paths.push(path),
        }
        while let Some(first) = rest.first().filter(|first| ["super", "self"].contains(&first.as_str())) {
            depth -= usize::from(first == "super");
            rest = &rest[1..];
        }
        let own = self.module[..depth].iter().cloned();
        self.paths.push(std::iter::once("crate".to_owned()).chain(own).chain(rest.iter().cloned()).collect());
    }

    fn name_all(&mut self, mut before: Vec<String>, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.name_all(before, &path.tree);
            }
            UseTree::Name(name) => {
                before.push(name.ident.to_string());
                self.name(before);
            }
            UseTree::Rename(rename) => {
                before.push(rename.ident.to_string());
                self.name(before);
            }
            UseTree::Glob(_) => self.name(before),
            UseTree::Group(group) => group.items.iter().for_each(|item| self.name_all(before.clone(), item)),
        }
    }

    /// Whether it names what gives a control plane in this crate.
    fn asks(&self, support: &str) -> bool {
        self.paths.iter().any(|path| {
            let Some(([first, module], item)) = path.split_first_chunk::<2>() else { return false };
            let gives = GIVERS.iter().find(|(giver, _)| giver == module);
            first == support && gives.is_some_and(|(_, items)| item.first().is_none_or(|item| items.contains(&&**item)))
        })
    }
}

impl<'ast> Visit<'ast> for Source {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.name_all(Vec::new(), &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.name(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        let is_test = |attribute: &Attribute| attribute.path().segments.last().is_some_and(|last| last.ident == "test");
        let ignored = function.attrs.iter().find(|attribute| attribute.path().is_ident("ignore"));
        if function.attrs.iter().any(is_test) {
            self.tests.push((function.sig.ident.to_string(), ignored.map(reason)));
        }
        visit::visit_item_fn(self, function);
    }
}

fn reason(ignore: &Attribute) -> String {
    if let Meta::NameValue(meta) = &ignore.meta
        && let Expr::Lit(literal) = &meta.value
        && let Lit::Str(text) = &literal.lit
    {
        return text.value();
    }
    String::new()
}

/// The sources below a folder, by their modules.
fn sources(root: &Path) -> BTreeMap<Module, Source> {
    let is_source = |path: &Path| path.extension().is_some_and(|extension| extension == "rs");
    let all = files(root).into_iter().filter(|path| is_source(path)).map(|path| Source::read(root, &path));
    all.map(|source| (source.module.clone(), source)).collect()
}

/// The modules that take a control plane, by themselves or from another module of their crate.
fn takers(sources: &BTreeMap<Module, Source>) -> BTreeSet<Module> {
    let asks = sources.values().filter(|source| source.asks("test_support"));
    let mut takers: BTreeSet<Module> = asks.map(|source| source.module.clone()).collect();
    loop {
        let is_from_a_taker = |path: &Vec<String>| {
            let (item, module) = path.split_last().unwrap();
            let own = module.strip_prefix(&["crate".to_owned()]);
            own.is_some_and(|own| takers.contains(own) || takers.contains(&[own, std::slice::from_ref(item)].concat()))
        };
        let more: Vec<Module> = sources
            .values()
            .filter(|source| !takers.contains(&source.module) && source.paths.iter().any(is_from_a_taker))
            .map(|source| source.module.clone())
            .collect();
        if more.is_empty() {
            return takers;
        }
        takers.extend(more);
    }
}

#[test]
fn what_needs_a_control_plane_is_ignored_by_a_bare_cargo_test_and_nothing_else() {
    let (mut wrong, mut ignored) = (Vec::new(), 0);
    let tests = entries(&test_support::repository().join("tests"));
    // Lanes are no part of `cargo test`.
    let binaries = tests.iter().filter(|path| path.join("main.rs").exists());
    for binary in binaries {
        let sources = sources(binary);
        let takers = takers(&sources);
        for source in sources.values() {
            let wanted = takers.contains(&source.module).then_some(REASON);
            for (test, found) in &source.tests {
                ignored += usize::from(found.is_some());
                if found.as_deref() != wanted {
                    wrong.push(format!("{} {} {test}: {found:?}", binary.display(), source.module.join("::")));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "#[ignore = {REASON:?}] belongs on each test of a module that takes one: {wrong:#?}");
    assert!(ignored > 100, "only {ignored} tests are ignored");
}

#[test]
fn no_unit_test_is_ignored() {
    for folder in ["src", "cmdb-sim"].map(|folder| test_support::repository().join(folder)) {
        for source in sources(&folder).values() {
            assert!(source.tests.iter().all(|(_, ignored)| ignored.is_none()), "{:?}", source.tests);
        }
    }
}

// Else a new way to a control plane would go unnoticed above.
#[test]
fn every_part_of_the_support_that_gives_a_control_plane_is_known() {
    let own = |source: &Source| source.module.first().cloned().unwrap_or_default();
    for source in
        sources(&test_support::repository().join("tests/support")).values().filter(|source| source.asks("crate"))
    {
        assert!(GIVERS.iter().any(|(module, _)| *module == own(source)), "{:?} is not in the list", source.module);
    }
}
