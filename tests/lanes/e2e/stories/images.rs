//! The image itself.

use std::path::Path;

use rcgen::{ExtendedKeyUsagePurpose, SanType};
use serde_json::{Value, json};

use super::Told;
use crate::cluster::Pods;
use crate::simulator::{NAMESPACE, RESTRICTED};
use crate::stage::Stage;
use test_support::authority::Authority;

/// The digest that an OCI archive names.
fn digest_of(archive: &Path) -> String {
    let output = std::process::Command::new("tar").arg("-xOf").arg(archive).arg("index.json").output().unwrap();
    let index: Value = serde_json::from_slice(&output.stdout).unwrap();
    index["manifests"][0]["digest"].as_str().unwrap().to_owned()
}

pub async fn digests(stage: &Stage) -> Told {
    let Some(node) = stage.cluster.node() else { return Told::NotHere("no node of our own") };
    let loaded = node.digest(&stage.image.full_name()).await;
    assert_eq!(loaded, digest_of(Path::new("target/image/ptset.tar")));
    Told::Whole
}

/// The doctor, in a pod of the operator's image, asks a server whose CA stands in that file or does not.
pub async fn authorities(stage: &Stage) -> Told {
    if matches!(stage.cluster.pods, Pods::None(_)) {
        return Told::NotHere("the image is not run");
    }
    let server = "cmdb-tls";
    let host = "cmdb.example.com";
    let authority = Authority::new();
    let (certificate, key) = authority.sign_with(ExtendedKeyUsagePurpose::ServerAuth, |parameters| {
        parameters.subject_alt_names.push(SanType::DnsName(host.try_into().unwrap()));
    });
    let metadata = |name: &str| json!({ "name": name, "namespace": NAMESPACE, "labels": { "app": name } });
    let restricted: Value = serde_json::from_str(RESTRICTED).unwrap();
    let listen = ["--listen=0.0.0.0:8443", "--tls-certificate=/tls/tls.crt", "--tls-key=/tls/tls.key"];
    let simulator = json!({ "name": server, "image": stage.simulator.image, "args": listen, "securityContext": restricted,
        "volumeMounts": [{ "name": "tls", "mountPath": "/tls" }],
        "readinessProbe": { "tcpSocket": { "port": 8443 }, "periodSeconds": 1 } });
    let objects = [
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata(server),
            "stringData": { "tls.crt": certificate, "tls.key": key } }),
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata("authorities"),
            "data": { "ca-certificates.crt": authority.certificate } }),
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata(server), "spec": { "containers": [simulator],
            "volumes": [{ "name": "tls", "secret": { "secretName": server } }], "automountServiceAccountToken": false } }),
    ];
    stage.cluster.apply(&objects).await;
    let ready = ["wait", "--for=condition=Ready", "pod/cmdb-tls", "--timeout=60s", "--namespace", NAMESPACE];
    stage.cluster.kubectl(&ready).await;

    // A service is not everywhere at once; the address of a pod is.
    let address = stage.cluster.get(&["pod", server, "--namespace", NAMESPACE]).await["status"]["podIP"].take();
    let doctor = |name: &str, mounts: Value| {
        let url = format!("https://{host}:8443");
        let container = json!({ "name": "doctor", "image": stage.image.full_name(), "securityContext": restricted,
            "args": ["doctor", "--url", url, "--transport", "esb", "--biz", "2"], "volumeMounts": mounts,
            "env": [{ "name": "PTSET_BK_APP_CODE", "value": "ptset" }, { "name": "PTSET_BK_APP_SECRET", "value": "a-secret" },
                { "name": "PTSET_BK_USERNAME", "value": "admin" }] });
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata(name), "spec": { "containers": [container],
            "volumes": [{ "name": "authorities", "configMap": { "name": "authorities" } }], "restartPolicy": "Never",
            "hostAliases": [{ "ip": address, "hostnames": [host] }],
            "automountServiceAccountToken": false } })
    };
    let mount = json!([{ "name": "authorities", "mountPath": "/etc/ssl/certs" }]);
    stage.cluster.apply(&[doctor("trusts", mount), doctor("distrusts", json!([]))]).await;
    let trusts = ended(stage, "trusts").await;
    assert!(trusts.contains("ok       tls"), "{trusts}");
    let distrusts = ended(stage, "distrusts").await;
    assert!(distrusts.contains("failed   tls"), "{distrusts}");
    Told::Whole
}

/// What a pod has printed, when it has ended.
async fn ended(stage: &Stage, pod: &str) -> String {
    let ended = async || {
        let pod = stage.cluster.get(&["pod", pod, "--namespace", NAMESPACE]).await;
        matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")).then_some(())
    };
    stage.cluster.until(&format!("{pod} has ended"), ended).await;
    stage.cluster.kubectl(&["logs", pod, "--namespace", NAMESPACE]).await
}
