//! The files below a folder.

use std::fs;
use std::path::{Path, PathBuf};

/// Every file below a folder, in order; a file is its own.
pub fn files(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.to_owned()];
    }
    entries(path).iter().flat_map(|path| files(path)).collect()
}

/// What stands in a folder, in order.
pub fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}
