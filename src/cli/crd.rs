//! `ptset crd`: prints the CRDs, or writes them into files.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::api;

/// Options of `ptset crd`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Folder to write the files into; without it they are printed
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints or writes the CRDs.
pub fn crd(options: &Options) -> anyhow::Result<()> {
    for (file, crd) in api::crds()? {
        let yaml = api::yaml(&crd)?;
        match &options.dir {
            Some(dir) => {
                let path = dir.join(file);
                std::fs::write(&path, yaml).with_context(|| format!("cannot write {}", path.display()))?;
            }
            None => println!("---\n{}", yaml.trim_end()),
        }
    }
    Ok(())
}
