//! The rights that the chart gives: none is missing, and none is too much.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::audit::{Audit, Request};
use crate::helm::{CHART, Helm, NAMESPACE, objects};
use crate::operator::{Installation, NAME};
use crate::story::{Mode, Story};
use test_support::world::PATIENCE;

/// Longest wait for a refusal that comes after the story was told.
const LATE: Duration = Duration::from_secs(5);

/// One verb for one resource in one rule of a role.
#[derive(Clone, Debug)]
struct Right {
    kind: &'static str,
    /// Namespace of a Role.
    namespace: Option<String>,
    role: String,
    rule: usize,
    request: Request,
}

/// What was learnt of one mode.
#[derive(Default)]
pub struct Learnt {
    pub rules: usize,
    pub forbidden: Vec<Request>,
    pub superfluous: Vec<String>,
}

/// Tells the whole story with all rights, then a short one without each.
pub async fn judge(mode: &Mode) -> Learnt {
    let installation = Installation::with(&mode.values, &mode.namespaces()).await;
    let mut audit = Audit::of(&installation.plane, Installation::user());
    let mut story = Story::begin(&installation, mode).await;
    story.whole().await;
    let mut learnt = Learnt { forbidden: audit.forbidden(), ..Learnt::default() };
    let rights = rights(&installation).await;
    learnt.rules = rights.len();
    for (number, right) in rights.iter().enumerate() {
        let roles = roles(&installation, right);
        let whole = roles.get(&right.role).await.unwrap();
        replace_rules(&roles, &right.role, without(&whole.data["rules"], right)).await;
        let name = whole.data["rules"][right.rule]["resourceNames"][0].as_str();
        until_may(&installation, right, name, false).await;
        delete_lease(&installation).await;
        audit.forbidden();
        let is_seen = if right.request.resource == "endpointslices" {
            story.start_restricted().await;
            timeout(PATIENCE, seen(&mut audit, &right.request)).await.is_ok()
        } else {
            story.start().await;
            tokio::select! {
                () = story.short(number, right.namespace.as_deref()) => timeout(LATE, seen(&mut audit, &right.request)).await.is_ok(),
                () = seen(&mut audit, &right.request) => true,
            }
        };
        if !is_seen {
            learnt.superfluous.push(format!("{}: {right:?}", mode.name));
        }
        story.kill().await;
        replace_rules(&roles, &right.role, whole.data["rules"].clone()).await;
        until_may(&installation, right, name, true).await;
        story.tidy().await;
    }
    story.end().await;
    learnt
}

/// Other tests run the operator with rights of a file: those that the chart gives by default, but for the lease.
pub async fn assert_other_tests_have_the_same() {
    let values = Path::new(CHART).join("ci/default-values.yaml");
    let render = Helm::newest().await.template(&values, "1.37.0").await.good("a render");
    let render = objects(&render);
    let name = format!("{NAMESPACE}:{NAME}");
    let role = render.iter().find(|object| object["kind"] == "ClusterRole" && object["metadata"]["name"] == *name);
    let file: Value = serde_saphyr::from_str(include_str!("../../support/rights/operator.yaml")).unwrap();
    assert_eq!(singly(&file["rules"]), singly(&role.unwrap()["rules"]), "tests/support/rights/operator.yaml");
}

// Each right, with the names that it is bound to.
fn singly(rules: &Value) -> BTreeSet<([String; 3], String)> {
    let rules = rules.as_array().unwrap().iter();
    rules.flat_map(|rule| triples(rule).into_iter().map(|right| (right, rule["resourceNames"].to_string()))).collect()
}

async fn seen(audit: &mut Audit, request: &Request) {
    while !audit.forbidden().contains(request) {
        sleep(Duration::from_millis(50)).await;
    }
}

// Every right that a binding gives to the operator's account.
async fn rights(installation: &Installation) -> Vec<Right> {
    let mut rights = Vec::new();
    for (binding, kind) in [("clusterrolebindings", "ClusterRole"), ("rolebindings", "Role")] {
        let found = installation.kubectl(&["get", binding, "--all-namespaces", "--output", "json"]).await;
        let found: Value = serde_json::from_str(&found).unwrap();
        for binding in found["items"].as_array().unwrap() {
            let subjects = binding["subjects"].as_array().into_iter().flatten();
            let is_ours = |subject: &Value| subject["name"] == NAME && subject["namespace"] == NAMESPACE;
            if !subjects.into_iter().any(is_ours) {
                continue;
            }
            assert_eq!(binding["roleRef"]["kind"], kind);
            let mut right = Right {
                kind,
                namespace: binding["metadata"]["namespace"].as_str().map(str::to_owned),
                role: binding["roleRef"]["name"].as_str().unwrap().to_owned(),
                rule: 0,
                request: Request { group: String::new(), resource: String::new(), verb: String::new() },
            };
            let rules = roles(installation, &right).get(&right.role).await.unwrap().data["rules"].clone();
            for (number, rule) in rules.as_array().unwrap().iter().enumerate() {
                right.rule = number;
                for [group, resource, verb] in triples(rule) {
                    right.request = Request { group, resource, verb };
                    rights.push(right.clone());
                }
            }
        }
    }
    rights
}

fn triples(rule: &Value) -> Vec<[String; 3]> {
    let list = |key: &str| -> Vec<String> { serde_json::from_value(rule[key].clone()).unwrap() };
    let mut triples = Vec::new();
    for group in list("apiGroups") {
        for resource in list("resources") {
            triples.extend(list("verbs").into_iter().map(|verb| [group.clone(), resource.clone(), verb]));
        }
    }
    triples
}

// The same rules, each of one verb and one resource, but for one.
fn without(rules: &Value, right: &Right) -> Value {
    let mut left = Vec::new();
    for (number, rule) in rules.as_array().unwrap().iter().enumerate() {
        for [group, resource, verb] in triples(rule) {
            let request = Request { group, resource, verb };
            if number == right.rule && request == right.request {
                continue;
            }
            let mut one = rule.clone();
            one["resources"] = json!([request.resource]);
            one["verbs"] = json!([request.verb]);
            left.push(one);
        }
    }
    left.into()
}

fn roles(installation: &Installation, right: &Right) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("rbac.authorization.k8s.io", "v1", right.kind));
    let client = installation.client.clone();
    match &right.namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, &resource),
        None => Api::all_with(client, &resource),
    }
}

// A cluster administrator may give what he has not.
async fn replace_rules(roles: &Api<DynamicObject>, role: &str, rules: Value) {
    let mut changed = roles.get(role).await.unwrap();
    changed.data["rules"] = rules;
    roles.replace(role, &PostParams::default(), &changed).await.unwrap();
}

// Waits until the API server's own copy of the roles is as they are now.
async fn until_may(installation: &Installation, right: &Right, name: Option<&str>, expected: bool) {
    let Request { group, resource, verb } = &right.request;
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource.as_str(), ""));
    let asked = json!({ "spec": { "user": Installation::user(), "resourceAttributes": {
        "group": group, "resource": resource, "subresource": subresource, "verb": verb, "name": name.unwrap_or_default(),
        "namespace": right.namespace.as_deref().unwrap_or_default() } } });
    let asked: SubjectAccessReview = serde_json::from_value(asked).unwrap();
    let reviews: Api<SubjectAccessReview> = Api::all(installation.client.clone());
    let deadline = Instant::now() + LATE;
    while reviews.create(&PostParams::default(), &asked).await.unwrap().status.unwrap().allowed != expected {
        assert!(Instant::now() < deadline, "not {expected} within 5 s: {right:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

// So that the next instance creates it.
async fn delete_lease(installation: &Installation) {
    use k8s_openapi::api::coordination::v1::Lease;
    let leases: Api<Lease> = Api::namespaced(installation.client.clone(), NAMESPACE);
    if leases.get_opt(NAME).await.unwrap().is_some() {
        leases.delete(NAME, &DeleteParams::default()).await.unwrap();
    }
}

/// Changes something of an object that the operator does not look at.
pub async fn touch<K>(api: &Api<K>, name: &str, number: usize)
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let touched = Patch::Merge(json!({ "metadata": { "labels": { "touched": number.to_string() } } }));
    // It may be gone.
    let _ = api.patch(name, &PatchParams::default(), &touched).await;
}
