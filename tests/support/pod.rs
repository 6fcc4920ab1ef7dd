//! The operator as its pods would run it, where there is no node: with their arguments, environment and account.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::PodSpec;
use serde_json::json;
use tokio::process::Command;

use super::control_plane::ControlPlane;

/// What the operator's container of a pod runs. The pod would have an address of its own; here it listens where it is told.
pub fn command(pod: &PodSpec, namespace: &str, name: &str, listen: &str) -> Command {
    let container = pod.containers.iter().find(|container| container.name == "operator").unwrap();
    let mut environment = BTreeMap::new();
    for variable in container.env.iter().flatten() {
        let field = variable.value_from.as_ref().and_then(|from| from.field_ref.as_ref());
        let value = match field.map(|field| field.field_path.as_str()) {
            Some("metadata.name") => name.to_owned(),
            Some("metadata.namespace") => namespace.to_owned(),
            Some(other) => panic!("{other} cannot be stood in for"),
            None => variable.value.clone().unwrap_or_default(),
        };
        environment.insert(variable.name.clone(), value);
    }
    let mut arguments = container.args.clone().unwrap_or_default();
    for argument in &mut arguments {
        for (name, value) in &environment {
            *argument = argument.replace(&format!("$({name})"), value);
        }
    }
    arguments.retain(|argument| !argument.starts_with("--listen="));
    arguments.push(format!("--listen={listen}"));
    let mut command = Command::new(crate::ptset());
    command.args(arguments).envs(environment);
    command
}

/// A kubeconfig in this folder, with a token of the account as its pods have one.
pub async fn kubeconfig(plane: &ControlPlane, folder: &Path, namespace: &str, account: &str) -> PathBuf {
    let arguments = ["create", "token", account, "--namespace", namespace];
    let output = plane.kubectl().args(arguments).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let token = String::from_utf8(output.stdout).unwrap();
    let authority = plane.folder().join("ca.crt");
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "pod",
        "clusters": [{ "name": "pod", "cluster": { "server": plane.server_url(), "certificate-authority": authority } }],
        "users": [{ "name": "pod", "user": { "token": token.trim() } }],
        "contexts": [{ "name": "pod", "context": { "cluster": "pod", "user": "pod", "namespace": namespace } }],
    });
    let path = folder.join(format!("{namespace}-{account}.kubeconfig"));
    std::fs::write(&path, kubeconfig.to_string()).unwrap();
    path
}
