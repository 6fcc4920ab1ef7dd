//! Programs that scripts of these tests build from pinned sources.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Command;

/// Why there is no program.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// It was not built before, and was not to be built now.
    #[error("not built yet: run {script} {programs}")]
    NotBuilt {
        /// What builds it.
        script: &'static str,
        /// What was asked for.
        programs: String,
    },
    /// The script has said why.
    #[error("{0} could not build it")]
    Failed(&'static str),
    /// The script could not be run.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Has a script build what is named, or with `cached_only` find it, and gives the paths that it prints.
pub async fn build(script: &'static str, programs: &[&str], cached_only: bool) -> Result<Vec<PathBuf>, BuildError> {
    let mut command = Command::new(crate::repository().join(script));
    if cached_only {
        command.arg("--cached-only");
    }
    let output = command.args(programs).stdin(Stdio::null()).stderr(Stdio::inherit()).output().await?;
    match output.status.code() {
        Some(0) => Ok(String::from_utf8_lossy(&output.stdout).lines().map(PathBuf::from).collect()),
        Some(3) => Err(BuildError::NotBuilt { script, programs: programs.join(" ") }),
        _ => Err(BuildError::Failed(script)),
    }
}
