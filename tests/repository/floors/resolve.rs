//! Where a path leads: to the file that defines the item.

use super::tree::{Binding, Kind, Reference, Scope, Segments, Tree};

/// What a path leads to.
#[derive(Clone, PartialEq)]
pub enum Target {
    /// The module of this scope.
    Module(usize),
    /// An item: the scope that defines it, and its name.
    Item(usize, String),
    /// Something of another crate, of the language, or of a type.
    Foreign,
}

// Imports that are being followed, each for a name: an import may lead back to itself.
type Followed<'a> = Vec<(usize, &'a Segments, &'a str)>;

impl Tree {
    /// Everything that a path leads to; nothing if it starts in this crate and leads nowhere.
    pub fn resolve<'a>(&'a self, reference: &'a Reference) -> Vec<Target> {
        let found = self.follow(reference.scope, &reference.path, &mut Vec::new());
        let last = &reference.path[reference.path.len() - 1];
        // A macro is also known by the order of the text, and in the root of the crate.
        match self.macros.get(last) {
            Some(scope) if found.is_empty() || reference.kind == Kind::Macro && found == [Target::Foreign] => {
                vec![Target::Item(*scope, last.clone())]
            }
            _ => found,
        }
    }

    fn follow<'a>(&'a self, scope: usize, path: &'a Segments, followed: &mut Followed<'a>) -> Vec<Target> {
        let mut found = match path[0].as_str() {
            "crate" => vec![Target::Module(0)],
            "self" | "super" => self.step(self.module(scope), &path[0], followed),
            name => match self.visible(scope, name, followed) {
                found if found.is_empty() => vec![Target::Foreign],
                found => found,
            },
        };
        for name in &path[1..] {
            // Before `::` a name is that of the module, not that of a function beside it.
            if found.iter().any(|target| matches!(target, Target::Module(_))) {
                found.retain(|target| matches!(target, Target::Module(_)));
            }
            let next = found.into_iter().flat_map(|target| match target {
                Target::Module(module) => self.step(module, name, followed),
                other => vec![other],
            });
            found = next.collect();
        }
        found
    }

    // What a name leads to from a place in the code.
    fn visible<'a>(&'a self, scope: usize, name: &'a str, followed: &mut Followed<'a>) -> Vec<Target> {
        let found = self.member(scope, name, followed);
        match self.scopes[scope] {
            Scope { is_block: true, outer: Some(outer), .. } if found.is_empty() => self.visible(outer, name, followed),
            _ => found,
        }
    }

    // What the next segment of a path leads to from a module.
    fn step<'a>(&'a self, module: usize, name: &'a str, followed: &mut Followed<'a>) -> Vec<Target> {
        match name {
            "self" => vec![Target::Module(module)],
            "super" => self.scopes[module].outer.map(|outer| Target::Module(self.module(outer))).into_iter().collect(),
            name => self.member(module, name, followed),
        }
    }

    fn member<'a>(&'a self, scope: usize, name: &'a str, followed: &mut Followed<'a>) -> Vec<Target> {
        let here = &self.scopes[scope];
        let own = || vec![Target::Item(scope, name.to_owned())];
        let bindings = here.names.get(name).into_iter().flatten();
        let named = bindings.flat_map(|binding| match binding {
            Binding::Module(module) => vec![Target::Module(*module)],
            Binding::Item => own(),
            Binding::Import(path) => self.once((scope, path, name), followed, |found, _| found),
        });
        let named: Vec<_> = named.collect();
        if !named.is_empty() {
            return named;
        }
        let globs = here.globs.iter().flat_map(|path| {
            self.once((scope, path, name), followed, |found, followed| {
                let inside = found.into_iter().flat_map(|target| match target {
                    Target::Module(module) => self.member(module, name, followed),
                    // A variant of an enum, or a name of another crate.
                    other => vec![other],
                });
                inside.collect()
            })
        });
        let globs: Vec<_> = globs.collect();
        if here.generated.contains(name) && !globs.iter().any(|target| matches!(target, Target::Item(..))) {
            return own();
        }
        globs
    }

    // Follows an import, unless that is being done already, and goes on from what it leads to.
    fn once<'a>(
        &'a self,
        import: (usize, &'a Segments, &'a str),
        followed: &mut Followed<'a>,
        then: impl FnOnce(Vec<Target>, &mut Followed<'a>) -> Vec<Target>,
    ) -> Vec<Target> {
        if followed.contains(&import) {
            return Vec::new();
        }
        followed.push(import);
        let found = self.follow(import.0, import.1, followed);
        let found = then(found, followed);
        followed.pop();
        found
    }
}
