//! Generated files are committed as they are generated.

#[path = "../../tools/generate/files/mod.rs"]
mod files;

use std::path::Path;

#[test]
fn every_generated_file_is_committed_as_it_is_generated() {
    for file in files::all().unwrap() {
        let committed = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&file.path));
        assert!(committed.is_ok_and(|text| text == file.text), "{} differs: run make generate", file.path);
    }
}
