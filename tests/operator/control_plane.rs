//! The control plane that the other tests stand on.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::TokenReview;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use test_support::control_plane::{ControlPlane, Options, StartError, client, shared};
use test_support::held::is_running;
use test_support::world::PATIENCE;
use tokio::time::{Instant, sleep};

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_namespace_is_deleted_to_the_end() {
    let plane = shared().await;
    let namespaces: Api<Namespace> = Api::all(plane.client().await);
    let namespace: Namespace =
        serde_json::from_value(serde_json::json!({ "metadata": { "name": "short-lived" } })).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    namespaces.delete("short-lived", &DeleteParams::default()).await.unwrap();
    eventually("the namespace is gone", async || namespaces.get_opt("short-lived").await.unwrap().is_none()).await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn the_api_server_says_that_it_is_ready() {
    let plane = shared().await;
    let request = axum::http::Request::get("/readyz").body(Vec::new()).unwrap();
    assert_eq!(plane.client().await.request_text(request).await.unwrap(), "ok");
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn the_audit_log_tells_who_called_and_with_what_program() {
    let plane = shared().await;
    let output = plane.kubectl().args(["get", "configmaps", "--namespace", "kube-public"]).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    eventually("the audit log has it", async || {
        plane.audit_events("kubectl").iter().any(|event| {
            event["userAgent"].as_str().is_some_and(|agent| agent.starts_with("kubectl/v1.36.3"))
                && event["user"]["username"] == "admin"
                && event["verb"] == "list"
                && event["objectRef"]["namespace"] == "kube-public"
        })
    })
    .await;
    assert!(plane.audit_events("RequestReceived").iter().all(|event| event["stage"] != "RequestReceived"));
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_user_is_in_every_group_that_was_asked_for() {
    let plane = shared().await;
    let kubeconfig = plane.kubeconfig_for("somebody", &["readers", "writers"]).unwrap();
    let output =
        plane.kubectl().env("KUBECONFIG", kubeconfig).args(["auth", "whoami", "-o", "json"]).output().await.unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let user = &answer["status"]["userInfo"];
    assert_eq!(user["username"], "somebody");
    assert_eq!(user["groups"], serde_json::json!(["readers", "writers", "system:authenticated"]));
    assert!(matches!(plane.kubeconfig_for("somebody", &["a", "b", "c"]), Err(StartError::Groups(3))));
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_service_account_token_is_accepted() {
    let plane = shared().await;
    let output = async |arguments: &[&str]| plane.kubectl().args(arguments).output().await.unwrap();
    let mut token = String::new();
    eventually("the default service account has a token", async || {
        token = String::from_utf8(output(&["create", "token", "default"]).await.stdout).unwrap();
        !token.is_empty()
    })
    .await;
    let review = serde_json::json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": { "token": token.trim() },
    });
    let review: TokenReview = serde_json::from_value(review).unwrap();
    let reviews: Api<TokenReview> = Api::all(plane.client().await);
    let status = reviews.create(&PostParams::default(), &review).await.unwrap().status.unwrap();
    assert_eq!(status.user.unwrap().username.unwrap(), "system:serviceaccount:default:default");
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_data_folder_of_ones_own_stays_and_is_private() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let options = Options { cached_only: true, data_dir: Some(data.clone()), audit: false, ..Options::default() };
    let plane = ControlPlane::start(options.clone()).await.unwrap();
    let output = plane.kubectl().args(["create", "namespace", "kept"]).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(plane.audit_events(""), Vec::<serde_json::Value>::new());
    let mode = std::fs::metadata(plane.kubeconfig_path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let pids = plane.pids();
    plane.stop().await;
    assert!(!pids.into_iter().any(is_running), "they are gone when stop returns");
    assert!(data.join("admin.kubeconfig").exists());

    let again = ControlPlane::start(options).await.unwrap();
    let output = again.kubectl().args(["get", "namespace", "kept"]).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    again.stop().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_process_that_does_not_start_is_reported_with_the_end_of_its_log() {
    let extra_apiserver_args = vec!["--no-such-flag".to_owned()];
    let options = Options { cached_only: true, extra_apiserver_args, ..Options::default() };
    let Err(error) = ControlPlane::start(options).await else { panic!("it started") };
    let text = error.to_string();
    assert!(text.starts_with("kube-apiserver") && text.contains("unknown flag: --no-such-flag"), "{text}");
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_user_without_a_role_is_refused_and_the_audit_log_tells_of_it() {
    let plane = shared().await;
    let kubeconfig = plane.kubeconfig_for("nobody", &[]).unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client(&kubeconfig).await, "default");
    let refused = maps.list(&ListParams::default()).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.is_forbidden()));
    eventually("the audit log has it", async || {
        plane.audit_events("nobody").iter().any(|event| event["user"]["username"] == "nobody")
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn kubectl_speaks_to_a_server_of_the_pinned_version() {
    let plane = shared().await;
    let output = plane.kubectl().arg("version").output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("Server Version: v1.36.3"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

// Run by the test below as a process of its own, which is then killed.
#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn holder() {
    let Some(note) = std::env::var_os("PTSET_TEST_HOLDER") else { return };
    let plane = ControlPlane::start(Options { cached_only: true, ..Options::default() }).await.unwrap();
    let lines: Vec<String> = plane.pids().iter().map(ToString::to_string).collect();
    let folder = plane.folder().display().to_string();
    std::fs::write(&note, format!("{}\n{folder}", lines.join(" "))).unwrap();
    sleep(Duration::from_mins(5)).await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_test_run_that_is_killed_leaves_no_process_behind() {
    let note = tempfile::NamedTempFile::new().unwrap();
    let mut holder = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--include-ignored", "--exact", "control_plane::holder"])
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
    eventually("its folder is gone", async || !Path::new(folder).exists()).await;
}
