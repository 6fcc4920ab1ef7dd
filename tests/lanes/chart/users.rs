//! What the cluster's own roles for users may do with our objects, once the chart is there.

use std::collections::BTreeSet;

use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::json;
use tokio::time::{Duration, Instant, sleep};

use test_support::world::PATIENCE;

const RESOURCES: [&str; 5] = [
    "processtemplatesets",
    "processtemplatesets/status",
    "cmdbconnections",
    "cmdbconnections/status",
    "clustercmdbconnections",
];
const READ: [&str; 3] = ["get", "list", "watch"];
const WRITE: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];

// A role of the cluster, and of what it may write everything.
const ROLES: [(&str, &[&str]); 3] =
    [("view", &[]), ("edit", &["processtemplatesets"]), ("admin", &["processtemplatesets", "cmdbconnections"])];

/// Binds each role in a namespace, and asks the API server about everything that its user may do there: reading sets and
/// connections, writing as the role says, and nothing else.
pub async fn assert_roles(client: &Client, namespace: &str) {
    for (role, written) in ROLES {
        let binding = json!({
            "metadata": { "name": role },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": role }],
        });
        let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), namespace);
        bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
        let of =
            |resource: &'static str, verbs: &'static [&'static str]| verbs.iter().map(move |verb| (resource, *verb));
        let mut expected: BTreeSet<(&str, &str)> =
            of("processtemplatesets", &READ).chain(of("cmdbconnections", &READ)).collect();
        expected.extend(written.iter().flat_map(|resource| of(resource, &WRITE)));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let may = allowed(client, namespace, role).await;
            if may == expected {
                break;
            }
            assert!(Instant::now() < deadline, "{role} may {may:?}, not {expected:?}");
            sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn allowed(client: &Client, namespace: &str, user: &str) -> BTreeSet<(&'static str, &'static str)> {
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let mut allowed = BTreeSet::new();
    for resource in RESOURCES {
        for verb in READ.into_iter().chain(WRITE) {
            let (name, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            let asked = json!({ "spec": { "user": user, "resourceAttributes": { "namespace": namespace,
                "group": "cmdb.bk.tencent.com", "resource": name, "subresource": subresource, "verb": verb } } });
            let asked = serde_json::from_value(asked).unwrap();
            if reviews.create(&PostParams::default(), &asked).await.unwrap().status.unwrap().allowed {
                allowed.insert((resource, verb));
            }
        }
    }
    allowed
}
