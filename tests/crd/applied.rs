//! What the real API server says of the table of manifests, and of the examples.

use k8s_openapi::api::core::v1::Namespace;
use kube::Resource as _;
use kube::api::{Api, DeleteParams, PostParams};
use kube::core::Request;
use process_template_operator::api::{
    ClusterCmdbConnection, ClusterCmdbConnectionSpec, CmdbConnection, CmdbConnectionSpec, ProcessTemplateSet,
    ProcessTemplateSetSpec,
};
use serde_json::{Value, json};
use test_support::control_plane::shared;
use test_support::examples::{NAMESPACES, all, as_arguments};

use crate::manifests::Verdict::{Accepted, AcceptedOnceStored, OfflineOnly, Refused, ServerOnly, Unreadable};
use crate::manifests::{Subject, UNKNOWN, complaint, table};

struct Server {
    client: kube::Client,
    namespace: &'static str,
}

impl Server {
    /// A dry run in which unknown fields are refused: the path and the text of each complaint.
    async fn judge(&self, subject: &Subject) -> Result<(), Vec<(String, String)>> {
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let (kind, spec, old) = match subject {
            Subject::Set(spec) => ("ProcessTemplateSet", spec, None),
            Subject::Update(old, new) => ("ProcessTemplateSet", new, Some(old)),
            Subject::Connection(spec) => ("CmdbConnection", spec, None),
            Subject::Shared(spec) => ("ClusterCmdbConnection", spec, None),
        };
        let mut object = json!({
            "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": kind, "metadata": { "name": "case" }, "spec": spec,
        });
        let namespace = Some(self.namespace);
        let requests = Request::new(match subject {
            Subject::Connection(_) => CmdbConnection::url_path(&(), namespace),
            Subject::Shared(_) => ClusterCmdbConnection::url_path(&(), None),
            _ => ProcessTemplateSet::url_path(&(), namespace),
        });
        let sets: Api<ProcessTemplateSet> = Api::namespaced(self.client.clone(), self.namespace);
        let mut request = if let Some(old) = old {
            let old: ProcessTemplateSetSpec = serde_json::from_value(old.clone()).unwrap();
            let stored = sets.create(&PostParams::default(), &ProcessTemplateSet::new("case", old)).await.unwrap();
            object["metadata"]["resourceVersion"] = stored.metadata.resource_version.into();
            requests.replace("case", &dry, object.to_string().into_bytes()).unwrap()
        } else {
            requests.create(&dry, object.to_string().into_bytes()).unwrap()
        };
        *request.uri_mut() = format!("{}&fieldValidation=Strict", request.uri()).parse().unwrap();
        let answer = self.client.request::<Value>(request).await;
        if old.is_some() {
            sets.delete("case", &DeleteParams::default()).await.unwrap();
        }
        let status = match answer {
            Ok(stored) => {
                // Whatever is stored can be read.
                let spec = stored["spec"].clone();
                match subject {
                    Subject::Connection(_) => serde_json::from_value::<CmdbConnectionSpec>(spec).map(drop),
                    Subject::Shared(_) => serde_json::from_value::<ClusterCmdbConnectionSpec>(spec).map(drop),
                    _ => serde_json::from_value::<ProcessTemplateSetSpec>(spec).map(drop),
                }
                .unwrap_or_else(|error| panic!("{}: {error}", stored["spec"]));
                return Ok(());
            }
            Err(kube::Error::Api(status)) => status,
            Err(error) => panic!("no answer: {error}"),
        };
        let causes = status.details.map(|details| details.causes).unwrap_or_default();
        if causes.is_empty() {
            // What the strict reading refuses: unknown field "spec.x".
            let path = status
                .message
                .split(UNKNOWN)
                .nth(1)
                .and_then(|rest| rest.split('"').nth(1))
                .unwrap_or_default()
                .to_owned();
            return Err(vec![(path, status.message)]);
        }
        Err(causes.into_iter().map(|cause| (cause.field, cause.message)).collect())
    }
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn the_real_api_server_judges_every_manifest_as_the_table_says() {
    let plane = shared().await;
    let client = plane.client().await;
    let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": "manifests" } })).unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    let server = Server { client, namespace: "manifests" };
    let mut complaints = Vec::new();
    for case in table() {
        let text = match case.verdict {
            Accepted | AcceptedOnceStored | OfflineOnly(_) => None,
            Refused(text) | Unreadable(text) | ServerOnly(text) => Some(text),
        };
        complaints.extend(complaint(&case, text, &server.judge(&case.subject).await));
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn the_real_api_server_takes_every_example_strictly() {
    let plane = shared().await;
    let client = plane.client().await;
    for name in NAMESPACES {
        let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
        Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    }
    let output = plane
        .kubectl()
        .args(["apply", "--server-side", "--dry-run=server", "--validate=strict", "--recursive"])
        .args(as_arguments())
        .output()
        .await
        .unwrap();
    let (taken, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.is_empty(), "{said}");
    let count = taken.lines().filter(|line| line.contains("serverside-applied")).count();
    assert_eq!(count, all().len());
    println!("examples: documents={count} refused=0");
}
