//! What every generated file holds.

mod chart;
mod crds;
mod metrics;
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
    Ok([crds::files()?, chart::files()?, metrics::files()?].into_iter().flatten().collect())
}
