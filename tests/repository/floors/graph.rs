//! Which file of a source root uses which, and the circles among them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::reader;
use super::resolve::Target;
use super::sources::Sources;
use super::tree::{Kind, Reference, Segments, Tree, crate_roots};

/// The files of a source root, and what they use of each other.
#[derive(Default)]
pub struct Graph {
    /// Files with production code.
    pub files: BTreeSet<String>,
    /// The names that one file uses of another: by user, then by used.
    pub edges: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
    /// Paths that start in the crate and lead nowhere, with their file.
    pub unresolved: BTreeSet<String>,
    /// Code that hides dependencies from this test, with its file.
    pub hidden: BTreeSet<String>,
    /// Paths that start in another crate, each with its file.
    pub foreign: BTreeSet<(String, Segments)>,
}

impl Graph {
    /// Reads every crate of a source root.
    pub fn of(sources: &Sources) -> Self {
        let mut graph = Self::default();
        for root in crate_roots(sources) {
            graph.add(reader::read(sources, root));
        }
        graph
    }

    fn add(&mut self, tree: Tree) {
        for reference in &tree.references {
            let file = &tree.scopes[reference.scope].file;
            let found = tree.resolve(reference);
            if found.is_empty() && (reference.path[0] == "crate" || reference.kind != Kind::Guess) {
                self.unresolved.insert(format!("{file}: {}", reference.path.join("::")));
            }
            // A single name outside of a `use` is a variable, or of the prelude.
            if found == [Target::Foreign] && (reference.path.len() > 1 || reference.kind == Kind::Import) {
                self.foreign.insert((file.clone(), reference.path.clone()));
            }
            for target in found {
                if let Target::Item(scope, name) = target
                    && tree.scopes[scope].file != *file
                {
                    let used = self.edges.entry(file.clone()).or_default();
                    used.entry(tree.scopes[scope].file.clone()).or_default().insert(name);
                }
            }
        }
        // A method call is no path: a use of the type ties its user to the type's own file only.
        for (scope, path) in &tree.implemented {
            let file = &tree.scopes[*scope].file;
            let reference = Reference { scope: *scope, path: path.clone(), kind: Kind::Path };
            let is_elsewhere =
                |target: &Target| matches!(target, Target::Item(scope, _) if tree.scopes[*scope].file != *file);
            if tree.resolve(&reference).iter().any(is_elsewhere) {
                self.hidden.insert(format!("{file}: impl {}, a type of another file", path.join("::")));
            }
        }
        self.hidden.extend(tree.hidden);
        self.files.extend(tree.files);
    }

    /// Every edge: the user, the used, and the names.
    pub fn ties(&self) -> impl Iterator<Item = (&str, &str, &BTreeSet<String>)> {
        let users = self.edges.iter();
        users.flat_map(|(user, used)| used.iter().map(move |(used, names)| (user.as_str(), used.as_str(), names)))
    }

    fn reached_from<'a>(&'a self, file: &'a str) -> BTreeSet<&'a str> {
        let (mut reached, mut open) = (BTreeSet::new(), vec![file]);
        while let Some(from) = open.pop() {
            let used = self.edges.get(from).into_iter().flat_map(BTreeMap::keys).map(String::as_str);
            open.extend(used.filter(|used| reached.insert(*used)));
        }
        reached
    }

    /// Sets of files each of which uses every other, if only through others of the set.
    pub fn circles(&self) -> BTreeSet<BTreeSet<&str>> {
        let reached: BTreeMap<&str, _> =
            self.files.iter().map(|file| (file.as_str(), self.reached_from(file))).collect();
        let circle = |file: &str| reached[file].iter().copied().filter(|other| reached[other].contains(file)).collect();
        reached.keys().map(|file| circle(file)).filter(|circle: &BTreeSet<&str>| !circle.is_empty()).collect()
    }

    /// The circles for people: each with its files and the names that tie them.
    pub fn report(&self) -> String {
        let mut text = String::new();
        for circle in self.circles() {
            writeln!(text, "circle of {} files:", circle.len()).unwrap();
            let is_inside = |(user, used, _): &(&str, &str, _)| circle.contains(user) && circle.contains(used);
            for (user, used, names) in self.ties().filter(is_inside) {
                let names: Vec<_> = names.iter().map(String::as_str).collect();
                writeln!(text, "  {user} -> {used}: {}", names.join(", ")).unwrap();
            }
        }
        text
    }
}
