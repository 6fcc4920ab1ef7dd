//! Reads a crate from its root file along its `mod` declarations.

use proc_macro2::TokenStream;
use syn::visit::{self, Visit};
use syn::{
    Attribute, Block, ImplItemFn, Item, ItemMacro, ItemMod, ItemUse, Macro, Meta, PatIdent, Path, Stmt, Type, UseTree,
    WhereClause,
};

use super::item::{head, is_for_tests};
use super::sources::Sources;
use super::tokens::{has_variable_in_path, paths, strings};
use super::tree::{Binding, Kind, Reference, Segments, Tree};

/// Reads the crate with this root file.
pub fn read(sources: &Sources, root: &str) -> Tree {
    let mut reader = Reader { sources, tree: Tree::default(), scope: 0, folder: String::new() };
    reader.scope = reader.tree.open(root, None, false);
    let folder = root.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
    reader.file(root, folder);
    reader.tree
}

struct Reader<'a> {
    sources: &'a Sources,
    tree: Tree,
    // The scope that is being read, and the folder of the files of its child modules.
    scope: usize,
    folder: String,
}

impl Reader<'_> {
    fn file(&mut self, path: &str, folder: String) {
        let file = syn::parse_file(&self.sources[path]).unwrap_or_else(|error| panic!("{path}: {error}"));
        self.tree.files.insert(path.to_owned());
        let outer = std::mem::replace(&mut self.folder, folder);
        self.visit_file(&file);
        self.folder = outer;
    }

    // Reads what is inside a new scope.
    fn inside(&mut self, file: &str, is_block: bool, read: impl FnOnce(&mut Self)) -> usize {
        let outer = self.scope;
        self.scope = self.tree.open(file, Some(outer), is_block);
        read(self);
        std::mem::replace(&mut self.scope, outer)
    }

    fn refer(&mut self, path: Segments, kind: Kind) {
        self.tree.references.push(Reference { scope: self.scope, path, kind });
    }

    fn hidden(&mut self, what: &str) {
        let file = &self.tree.scopes[self.scope].file;
        self.tree.hidden.insert(format!("{file}: {what}"));
    }

    fn guess(&mut self, tokens: TokenStream) {
        for (path, kind) in paths(tokens) {
            self.refer(path, kind);
        }
    }

    fn import(&mut self, tree: &UseTree, mut path: Segments) {
        let (last, name) = match tree {
            UseTree::Path(step) => {
                path.push(step.ident.to_string());
                return self.import(&step.tree, path);
            }
            UseTree::Group(group) => return group.items.iter().for_each(|tree| self.import(tree, path.clone())),
            UseTree::Glob(_) => {
                self.hidden(&format!("use {}::*", path.join("::")));
                self.tree.scopes[self.scope].globs.push(path.clone());
                return self.refer(path, Kind::Import);
            }
            UseTree::Name(name) => (name.ident.to_string(), None),
            UseTree::Rename(rename) => (rename.ident.to_string(), Some(rename.rename.to_string())),
        };
        if last != "self" || path.is_empty() {
            path.push(last);
        }
        let name = name.unwrap_or_else(|| path[path.len() - 1].clone());
        if name != "_" {
            self.tree.bind(self.scope, &name, Binding::Import(path.clone()));
        }
        self.refer(path, Kind::Import);
    }

    // A custom resource is generated from its specification, under its kind.
    fn generated_by(&mut self, attribute: &Attribute) {
        if let Meta::List(list) = &attribute.meta
            && list.path.is_ident("kube")
        {
            let text = list.tokens.to_string();
            let kind = text.split_once("kind = \"").and_then(|(_, rest)| rest.split_once('"'));
            self.tree.scopes[self.scope].generated.extend(kind.map(|(kind, _)| kind.to_owned()));
        }
    }
}

fn segments(path: &Path) -> Segments {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect()
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let (name, attributes) = head(item);
        if is_for_tests(attributes) {
            return;
        }
        if let Some(name) = name.filter(|_| !matches!(item, Item::Mod(_))) {
            self.tree.bind(self.scope, &name.to_string(), Binding::Item);
        }
        for attribute in attributes {
            self.generated_by(attribute);
        }
        if let Item::Impl(block) = item
            && block.trait_.is_none()
            && let Type::Path(named) = &*block.self_ty
        {
            self.tree.implemented.push((self.scope, segments(&named.path)));
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        if !is_for_tests(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        module.attrs.iter().for_each(|attribute| self.visit_attribute(attribute));
        let name = module.ident.to_string();
        let folder = format!("{}/{name}", self.folder).trim_start_matches('/').to_owned();
        let scope = if let Some((_, items)) = &module.content {
            let file = self.tree.scopes[self.scope].file.clone();
            let outer = std::mem::replace(&mut self.folder, folder);
            let scope = self.inside(&file, false, |reader| items.iter().for_each(|item| reader.visit_item(item)));
            self.folder = outer;
            scope
        } else {
            let path = [format!("{folder}.rs"), format!("{folder}/mod.rs")];
            let path = path.iter().find(|path| self.sources.contains_key(*path));
            let path = path.unwrap_or_else(|| panic!("no file of the module {folder}"));
            self.inside(path, false, |reader| reader.file(path, folder))
        };
        self.tree.bind(self.scope, &name, Binding::Module(scope));
    }

    fn visit_item_use(&mut self, import: &'ast ItemUse) {
        if import.leading_colon.is_none() {
            self.import(&import.tree, Vec::new());
        }
    }

    fn visit_item_macro(&mut self, item: &'ast ItemMacro) {
        if let Some(name) = &item.ident {
            self.tree.macros.insert(name.to_string(), self.scope);
        } else {
            let names = item.mac.tokens.clone().into_iter().map(|token| token.to_string());
            self.tree.scopes[self.scope].generated.extend(names);
        }
        visit::visit_item_macro(self, item);
    }

    fn visit_block(&mut self, block: &'ast Block) {
        if block.stmts.iter().any(|statement| matches!(statement, Stmt::Item(_))) {
            let file = self.tree.scopes[self.scope].file.clone();
            self.inside(&file, true, |reader| visit::visit_block(reader, block));
        } else {
            visit::visit_block(self, block);
        }
    }

    fn visit_path(&mut self, path: &'ast Path) {
        if path.leading_colon.is_none() {
            self.refer(segments(path), Kind::Path);
        }
        visit::visit_path(self, path);
    }

    // A constant in a pattern looks like a variable.
    fn visit_pat_ident(&mut self, pattern: &'ast PatIdent) {
        let name = pattern.ident.to_string();
        if name.starts_with(char::is_uppercase) {
            self.refer(vec![name], Kind::Path);
        }
        visit::visit_pat_ident(self, pattern);
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
        if called.path.is_ident("include") {
            self.hidden("include!");
        }
        if has_variable_in_path(called.tokens.clone()) {
            self.hidden("a variable of a macro in a path");
        }
        self.refer(segments(&called.path), Kind::Macro);
        self.guess(called.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        visit::visit_attribute(self, attribute);
        if attribute.path().is_ident("path") {
            self.hidden("#[path]");
        }
        if let Meta::List(list) = &attribute.meta {
            self.guess(list.tokens.clone());
            for text in strings(list.tokens.clone()) {
                if let Ok(named) = syn::parse_str::<Type>(&text) {
                    self.visit_type(&named);
                } else if let Ok(bounds) = syn::parse_str::<WhereClause>(&format!("where {text}")) {
                    self.visit_where_clause(&bounds);
                }
                // A module that `serde(with)` names.
                if let Ok(module) = syn::parse_str::<Path>(&text) {
                    for function in ["serialize", "deserialize"] {
                        self.refer([segments(&module), vec![function.to_owned()]].concat(), Kind::Guess);
                    }
                }
            }
        }
    }
}
