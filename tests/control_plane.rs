//! The control plane that the other tests stand on.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]

mod support;

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use support::control_plane::{ControlPlane, Options, StartError, client, shared};
use support::held::is_running;
use tokio::time::{Instant, sleep};

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !holds().await {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_namespace_is_deleted_to_the_end() {
    let Some(plane) = shared().await else { return };
    let namespaces: Api<Namespace> = Api::all(plane.client().await);
    let namespace: Namespace =
        serde_json::from_value(serde_json::json!({ "metadata": { "name": "short-lived" } })).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    namespaces.delete("short-lived", &DeleteParams::default()).await.unwrap();
    eventually("the namespace is gone", async || namespaces.get_opt("short-lived").await.unwrap().is_none()).await;
}

#[tokio::test]
async fn a_user_without_a_role_is_refused_and_the_audit_log_tells_of_it() {
    let Some(plane) = shared().await else { return };
    let kubeconfig = plane.kubeconfig_for("nobody", &[]).unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client(&kubeconfig).await, "default");
    let refused = maps.list(&ListParams::default()).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.is_forbidden()));
    eventually("the audit log has it", async || {
        plane.audit_events().iter().any(|event| event["user"]["username"] == "nobody")
    })
    .await;
}

#[tokio::test]
async fn kubectl_speaks_to_a_server_of_the_pinned_version() {
    let Some(plane) = shared().await else { return };
    let output = plane.kubectl().arg("version").output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("Server Version: v1.36.3"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

// Run by the test below as a process of its own, which is then killed.
#[tokio::test]
async fn holder() {
    let Some(note) = std::env::var_os("PTSET_TEST_HOLDER") else { return };
    let plane = ControlPlane::start(Options { cached_only: true, ..Options::default() }).await.unwrap();
    let lines: Vec<String> = plane.pids().iter().map(ToString::to_string).collect();
    let folder = plane.folder().display().to_string();
    std::fs::write(&note, format!("{}\n{folder}", lines.join(" "))).unwrap();
    sleep(Duration::from_mins(5)).await;
}

#[tokio::test]
async fn a_test_run_that_is_killed_leaves_no_process_behind() {
    let Some(_) = shared().await else { return };
    let note = tempfile::NamedTempFile::new().unwrap();
    let mut holder = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "holder"])
        .env("PTSET_TEST_HOLDER", note.path())
        .spawn()
        .unwrap();
    let read = || std::fs::read_to_string(note.path()).unwrap();
    eventually("the holder has started its own", async || read().contains('\n')).await;
    let text = read();
    let (pids, folder) = text.split_once('\n').unwrap();
    let pids: Vec<u32> = pids.split(' ').map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), 2);
    assert!(pids.iter().all(|&pid| is_running(pid)));
    holder.kill().await.unwrap();
    eventually("its processes are gone", async || !pids.iter().any(|&pid| is_running(pid))).await;
    eventually("its folder is gone", async || !std::path::Path::new(folder).exists()).await;
}

#[tokio::test]
async fn what_was_not_built_is_said_and_not_built_in_passing() {
    let empty = tempfile::tempdir().unwrap();
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/controlplane/build");
    let output = std::process::Command::new(script)
        .args(["--cached-only", "etcd"])
        .env("XDG_CACHE_HOME", empty.path())
        .env_remove("KUBEBUILDER_ASSETS")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", StartError::NotBuilt);
}
