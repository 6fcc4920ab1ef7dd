//! The programs that `make chart` installs.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::helm::Said;

/// Runs a program of Python's registry.
pub async fn run(program: &str, arguments: &[&str]) -> Said {
    let mut command = Command::new(folder("PTSET_CHART_TOOLS").join(program));
    Said::of(command.args(arguments).kill_on_drop(true).output().await.unwrap())
}

/// The CRDs of the Prometheus operator and of Cilium, from their own sources.
pub fn foreign_crds() -> [PathBuf; 4] {
    let monitoring = folder("PTSET_CHART_MONITORING_CRDS");
    let monitoring = |kind: &str| monitoring.join(format!("monitoring.coreos.com_{kind}.yaml"));
    [
        monitoring("servicemonitors"),
        monitoring("podmonitors"),
        monitoring("prometheusrules"),
        folder("PTSET_CHART_CILIUM_CRDS").join("ciliumnetworkpolicies.yaml"),
    ]
}

fn folder(variable: &str) -> PathBuf {
    let folder = std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} is not set: run make chart"));
    Path::new(&folder).to_owned()
}
