//! What every generated file holds.

mod authorities;
mod chart;
mod command_line;
mod crds;
mod kustomize;
mod metrics;
mod resources;
mod values;

/// A generated file.
pub struct File {
    /// Its path from the root of the repository.
    pub path: String,
    /// All of its text.
    pub text: String,
}

/// Every generated file, in the order of their subjects.
pub fn all() -> anyhow::Result<Vec<File>> {
    let references = [metrics::files()?, resources::files()?, command_line::files()?];
    Ok([crds::files()?, kustomize::files()?, chart::files()?, authorities::files()]
        .into_iter()
        .chain(references)
        .flatten()
        .collect())
}
