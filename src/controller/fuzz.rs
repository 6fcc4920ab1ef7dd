//! Objects and Secrets as the watches deliver them, through all that reads them.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::api::core::v1::Secret;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connection::build::{Bounds, Description, read_identity};
use super::connection::grants::cover;
use super::leader::lease::{LeaseObserver, Terms};
use super::set::schedule;
use super::set::status::memory::from_status;
use super::set::stored_set::StoredSet;
use crate::api::{ClusterCmdbConnection, CmdbConnection, ProcessTemplateSet};
use crate::cmdb::hostile::Unobserved;
use crate::cmdb::hostile::fuzz::{client_of, repeat};
use crate::cmdb::{Credentials, OpenGate, Touched, UrlPolicy, UserCredential};
use crate::engine::{Connection, Engine, Freshness, Job, OtherSetCandidate, Progress, ReadRequest, Surroundings};
use crate::outside;
use crate::plan::{Desired, Preview, ServerSchema, SetName, Stage, check_update, explain, forecast};

/// Classes of results that objects and Secrets have to reach.
pub(crate) fn classes() -> BTreeSet<String> {
    let classes = [
        "set",
        "set leaving",
        "set unreadable",
        "claims",
        "violations",
        "planned",
        "not planned",
        "connection",
        "shared connection",
        "connection unreadable",
        "client built",
        "lease",
        "lease unreadable",
        "secret",
        "secret incomplete",
        "secret unreadable",
        "identity",
    ];
    classes.map(str::to_owned).into()
}

/// An object; with what CMDB lists, where a set is planned.
pub(crate) async fn object(kind: usize, bytes: &[u8], templates: Option<String>, reached: &mut BTreeSet<String>) {
    match kind % 4 {
        0 => set(bytes, templates, reached).await,
        1 => connection(bytes, templates.is_some(), reached),
        2 => shared_connection(bytes, reached),
        _ => lease(bytes, reached),
    }
}

async fn set(bytes: &[u8], templates: Option<String>, reached: &mut BTreeSet<String>) {
    let Ok(stored) = serde_json::from_slice::<StoredSet>(bytes) else {
        reached.insert("set unreadable".to_owned());
        return;
    };
    let _ = (stored.reason(), stored.pending());
    if stored.claims().is_some() {
        reached.insert("claims".to_owned());
    }
    if let Ok(set) = stored.read_leniently() {
        reached.insert("set leaving".to_owned());
        let _ = Desired::nothing(SetName { namespace: "a".to_owned(), name: "b".to_owned() }, &set.spec);
    }
    let Ok(set) = stored.read() else {
        reached.insert("set unreadable".to_owned());
        return;
    };
    reached.insert("set".to_owned());

    let (longest, period) = (outside::interval(i64::MAX), schedule::period(&set));
    assert!(period <= outside::fraction(longest, 1.2) && schedule::first_look(&set) <= longest);
    assert!(!set.spec.resync_interval().is_zero());
    let _ = (schedule::is_idle(&set), check_update(&set.spec, &set.spec));
    let desired = Desired::from_spec(SetName { namespace: "a".to_owned(), name: "b".to_owned() }, &set.spec);
    if !desired.violations.is_empty() || desired.items.iter().any(|item| !item.violations.is_empty()) {
        reached.insert("violations".to_owned());
    }
    if let Some(templates) = templates {
        let is_planned = plan(&set, desired, templates).await;
        reached.insert(if is_planned { "planned" } else { "not planned" }.to_owned());
    }
}

// Reads the scope from a server, plans, and renders the plan.
async fn plan(set: &ProcessTemplateSet, desired: Desired, templates: String) -> bool {
    let (memory, made_in) = set.status.as_ref().map(from_status).unwrap_or_default();
    let client = client_of(templates);
    let connection = Connection { key: String::new(), client, schema: ServerSchema::Unknown };
    let others: Vec<OtherSetCandidate> = Vec::new();
    let around = Surroundings { set: "a/b".to_owned(), connection, others: Arc::new(others), made_in };
    let job = Job::preview(around, &set.spec, desired);
    let engine = Engine::new(std::time::Duration::from_secs(150));
    let request = ReadRequest::interactive(Freshness::Since(Instant::now()));
    let progress = Progress::new(CancellationToken::new());
    let Ok(scope) = engine.observe(&job, request, &progress).await else { return false };
    let observed = &scope.list.observed.clone();
    let view = engine.plan(&job, memory, scope);
    for item in &view.plan.items {
        let _ = explain(item);
    }
    let steps = forecast(&job.desired, observed, &view.other_sets, &view.memory, &job.policy);
    let preview = Preview {
        set: SetName { namespace: "a".to_owned(), name: "b".to_owned() },
        biz_id: set.spec.biz_id,
        service_template_id: Some(view.listing.scope.service_template_id),
        service_template: None,
        stage: Stage::Live,
        templates: observed.templates.to_vec(),
        steps,
        plan: view.plan,
    };
    let _ = (preview.to_text(), preview.to_json());
    true
}

fn connection(bytes: &[u8], is_built: bool, reached: &mut BTreeSet<String>) {
    let Ok(connection) = serde_json::from_slice::<CmdbConnection>(bytes) else {
        reached.insert("connection unreadable".to_owned());
        return;
    };
    reached.insert("connection".to_owned());
    let mut description = Description::of("a", &connection.spec);
    if bytes.len().is_multiple_of(5) {
        description.ca_bundle = Some(connection.spec.endpoint.url.clone());
    }
    if is_built {
        let credentials = Credentials {
            app_code: String::new(),
            app_secret: "".into(),
            user: UserCredential::Username("ann".to_owned()),
        };
        let policy = UrlPolicy::around(&[], vec![std::net::Ipv4Addr::new(10, 96, 0, 1).into()]).unwrap();
        let bounds = Bounds { url_policy: Arc::new(policy), limiters: Arc::default(), write_gate: Arc::new(OpenGate) };
        if description.connect(credentials, None, bounds, String::new(), Arc::new(Unobserved)).is_ok() {
            reached.insert("client built".to_owned());
        }
    }
}

fn shared_connection(bytes: &[u8], reached: &mut BTreeSet<String>) {
    let Ok(connection) = serde_json::from_slice::<ClusterCmdbConnection>(bytes) else {
        reached.insert("connection unreadable".to_owned());
        return;
    };
    reached.insert("shared connection".to_owned());
    let _ = Description::of_cluster(&connection.spec);
    for service_template_id in [None, Some(5), Some(i64::MAX)] {
        let touched = Touched { biz_id: 3, service_template_id, service_template_name: Some("web") };
        let _ = cover(&connection.spec.grants, "blueking", &[("a".to_owned(), "b".to_owned())].into(), touched);
    }
}

fn lease(bytes: &[u8], reached: &mut BTreeSet<String>) {
    let Ok(lease) = serde_json::from_slice::<LeaseSpec>(bytes) else {
        reached.insert("lease unreadable".to_owned());
        return;
    };
    reached.insert("lease".to_owned());
    let mut observer = LeaseObserver::new(Terms::of_seconds(15));
    let now = Instant::now();
    let _ = observer.evaluate(Some(&lease), "me", now);
    let _ = observer.evaluate(None, "me", outside::later(now, outside::MAX_WINDOW));
}

/// A Secret: its credentials make a call whose answer repeats them.
pub(crate) async fn secret(transport: usize, bytes: &[u8], reached: &mut BTreeSet<String>) {
    let Ok(secret) = serde_json::from_slice::<Secret>(bytes) else {
        reached.insert("secret unreadable".to_owned());
        return;
    };
    if read_identity("certificate", &secret).is_ok() {
        reached.insert("identity".to_owned());
    }
    let choice = ["Esb", "Gateway", "Direct"][transport % 3];
    let spec =
        serde_json::json!({ "url": "http://cmdb", "transport": choice, "credentialsSecretRef": { "name": "cmdb" } });
    let Ok(spec) = serde_json::from_value(spec) else { return };
    let Ok(credentials) = Description::of("a", &spec).read_credentials(&secret) else {
        reached.insert("secret incomplete".to_owned());
        return;
    };
    reached.insert("secret".to_owned());
    let shown = |key: &str| {
        let data = secret.data.as_ref()?.get(key)?;
        Some(std::str::from_utf8(&data.0).ok()?.trim_end_matches(['\r', '\n']).to_owned())
    };
    let used = match &credentials.user {
        UserCredential::Username(_) => None,
        UserCredential::Token(_) => shown("bk_token"),
        UserCredential::AccessToken(_) => shown("access_token"),
    };
    let secrets: Vec<String> = shown("bk_app_secret").filter(|_| choice != "Direct").into_iter().chain(used).collect();
    let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
    repeat(credentials, transport, &secrets, reached).await;
}

/// A shared connection, made of a connection.
pub(crate) fn shared(connection: &Value) -> Value {
    let mut shared = connection.clone();
    shared["kind"] = "ClusterCmdbConnection".into();
    shared["spec"]["credentialsSecretRef"]["namespace"] = "blueking".into();
    shared["spec"]["tls"]["clientCertificateSecretRef"]["namespace"] = "blueking".into();
    shared["spec"]["grants"] = serde_json::json!([
        { "namespaces": { "names": ["blueking"] }, "bizIds": [3], "serviceTemplates": { "ids": [5], "names": ["web"] } },
    ]);
    shared
}
