//! What stands in the folder of examples.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Where an example is applied, and where an administrator keeps the credentials of a shared connection.
pub const NAMESPACES: [&str; 2] = ["blueking", "ptset-system"];

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// Every document of every YAML file below a folder.
pub fn documents(path: &Path) -> Vec<Value> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(documents(&path));
        } else if path.extension().is_some_and(|ending| ending == "yaml") {
            let text = fs::read_to_string(&path).unwrap();
            let read: Vec<Value> =
                serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            found.extend(read.into_iter().filter(|document| !document.is_null()));
        }
    }
    found
}
