//! The examples that are manifests for the operator; what is for Argo CD and Flux has tests of its own.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::path::{Path, PathBuf};

/// Files of other programs.
const OF_OTHERS: [&str; 2] = ["argocd", "flux"];

/// The files and folders to apply, in order.
pub fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> =
        entries.filter(|path| !OF_OTHERS.iter().any(|name| path.file_name().unwrap() == *name)).collect();
    found.sort();
    found
}

/// The same as arguments of a command, each after `-f`.
pub fn as_arguments() -> Vec<String> {
    examples().iter().flat_map(|path| ["-f".to_owned(), path.to_str().unwrap().to_owned()]).collect()
}
