//! No folder of a source root has more files beside each other than are taken in at a glance.

use super::sources::{ROOTS, below, entries, repository};

const MOST_FILES: usize = 17;

#[test]
fn no_folder_has_too_many_files() {
    for root in ROOTS.iter().map(|root| repository().join(root)) {
        let folders = below(&root).into_iter().filter(|path| path.is_dir()).chain([root]);
        let files = folders.map(|folder| (entries(&folder).iter().filter(|path| path.is_file()).count(), folder));
        let large = files.filter(|(files, _)| *files > MOST_FILES);
        let large: Vec<_> = large.map(|(files, folder)| format!("{}: {files}", folder.display())).collect();
        assert!(large.is_empty(), "folders with more than {MOST_FILES} files beside each other: {large:#?}");
    }
}
