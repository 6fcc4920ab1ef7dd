//! The scripts that build the control plane and the judges: what they do without building anything.

use std::path::Path;

use test_support::pinned::{BuildError, build};

fn build_control_plane(arguments: &[&str], variable: &str, value: &Path) -> (Option<i32>, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/controlplane/build");
    let output = std::process::Command::new(script)
        .args(arguments)
        .env_remove("KUBEBUILDER_ASSETS")
        .env(variable, value)
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn what_of_the_control_plane_was_not_built_is_not_built_in_passing() {
    let empty = tempfile::tempdir().unwrap();
    let (code, _) = build_control_plane(&["--cached-only", "etcd"], "XDG_CACHE_HOME", empty.path());
    assert_eq!(code, Some(3));
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);
}

#[test]
fn a_binary_that_the_assets_lack_is_named_in_one_line() {
    let empty = tempfile::tempdir().unwrap();
    let (code, message) = build_control_plane(&["etcd"], "KUBEBUILDER_ASSETS", empty.path());
    assert_eq!(code, Some(1));
    assert_eq!(message, format!("control plane: KUBEBUILDER_ASSETS={} has no etcd\n", empty.path().display()));
}

#[tokio::test]
async fn a_judge_that_nobody_knows_cannot_be_built() {
    let refused = build("tests/judges/build", &["no-such-judge"], true).await;
    assert!(matches!(refused, Err(BuildError::Failed(_))), "{refused:?}");
}

#[test]
fn a_judge_that_was_not_built_is_not_built_in_passing() {
    let empty = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/judges/build"))
        .args(["--cached-only", "status-judge"])
        .env("XDG_CACHE_HOME", empty.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);
}
