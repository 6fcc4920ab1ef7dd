//! Writes every generated file of this repository: `make generate`.

mod files;

use std::path::Path;

fn main() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in files::all()? {
        let path = root.join(&file.path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        if std::fs::read_to_string(&path).is_ok_and(|committed| committed == file.text) {
            continue;
        }
        std::fs::write(&path, file.text)?;
        println!("{} is written", file.path);
    }
    Ok(())
}
