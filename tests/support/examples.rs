//! The examples that are manifests for the operator; what is for Argo CD and Flux has tests of its own.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::files::{entries, files};

/// Where an example is applied, and where an administrator keeps the credentials of a shared connection.
pub const NAMESPACES: [&str; 2] = ["blueking", "ptset-system"];

/// Folders for other programs.
const OF_OTHERS: [&str; 3] = ["argocd", "flux", "kustomize"];

pub fn folder() -> PathBuf {
    crate::repository().join("examples")
}

/// The files and folders to apply, in order.
pub fn examples() -> Vec<PathBuf> {
    let is_of_others = |path: &PathBuf| OF_OTHERS.iter().any(|name| path.ends_with(name));
    entries(&folder()).into_iter().filter(|path| !is_of_others(path)).collect()
}

/// The same as arguments of a command, each after `-f`.
pub fn as_arguments() -> Vec<String> {
    examples().iter().flat_map(|path| ["-f".to_owned(), path.to_str().unwrap().to_owned()]).collect()
}

/// Every document of the examples.
pub fn all() -> Vec<Value> {
    examples().iter().flat_map(|path| documents(path)).collect()
}

/// Every document of a file, or of the files of a folder.
pub fn documents(path: &Path) -> Vec<Value> {
    files(path).iter().flat_map(|file| read(file)).collect()
}

fn read(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap();
    let read: Vec<Value> =
        serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    read.into_iter().filter(|document| !document.is_null()).collect()
}
