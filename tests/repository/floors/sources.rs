//! The source files of each crate of the repository.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The source root of each crate, from the repository's root.
pub const ROOTS: &[&str] = &["src", "cmdb-sim/src"];

/// The text of each source file, by its path below the source root.
pub type Sources = BTreeMap<String, String>;

/// The repository's root.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What a folder contains, in order.
pub fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

/// The files and folders below a folder, at any depth.
pub fn below(folder: &Path) -> Vec<PathBuf> {
    let inside = |path: PathBuf| if path.is_dir() { [below(&path), vec![path]].concat() } else { vec![path] };
    entries(folder).into_iter().flat_map(inside).collect()
}

/// Reads the Rust files below a folder.
pub fn read(folder: &Path) -> Sources {
    let rust = below(folder).into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "rs"));
    rust.map(|path| {
        let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(&path).unwrap())
    })
    .collect()
}

/// A crate that is not in the list would not be checked.
#[test]
fn every_crate_is_in_the_list_of_roots() {
    // What is built, and the crates of the tests.
    let is_left_out = |path: &PathBuf| ["target", ".git", "tests"].iter().any(|name| path.ends_with(name));
    let tops = entries(repository()).into_iter().filter(|path| path.is_dir() && !is_left_out(path));
    let folders = tops.flat_map(|top| [below(&top), vec![top]].concat()).chain([repository().to_owned()]);
    for folder in folders.filter(|folder| folder.join("Cargo.toml").exists()) {
        let root = folder.join("src");
        let root = root.strip_prefix(repository()).unwrap().to_str().unwrap();
        assert!(ROOTS.contains(&root), "{root} is not in ROOTS");
    }
}
