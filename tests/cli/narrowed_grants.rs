//! `ptset plan` over a shared connection whose grants name single service templates: a set outside its grants is not planned,
//! and claims nothing in a service template that does not exist yet.

use std::fs;

use cmdb_sim::{Options, Simulator};
use serde_json::{Value, json};
use test_support::command::{Said, ptset};

/// ID of service template "web", the only one there is.
const WEB: i64 = 1;

fn connection(url: &str, shop: &Value) -> [Value; 2] {
    let grant = |namespace: &str, chosen: &Value| json!({ "namespaces": { "matchNames": [namespace] }, "bizIds": [2], "serviceTemplates": chosen });
    let spec = json!({
        "url": url, "credentialsSecretRef": { "namespace": "system", "name": "cmdb" },
        "grants": [grant("shop", shop), grant("bank", &json!({ "matchNames": ["new"] }))],
    });
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "cmdb", "namespace": "system" },
        "stringData": { "bk_app_code": "ptset", "bk_app_secret": "the-app-secret", "bk_username": "admin" },
    });
    [object("ClusterCmdbConnection", &json!({ "name": "shared" }), &spec), secret]
}

fn object(kind: &str, metadata: &Value, spec: &Value) -> Value {
    json!({ "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec })
}

// A set for service template "new". The cluster has had that of the shop for longer.
fn set(namespace: &str, created_at: &str) -> Value {
    let metadata = json!({ "name": "web", "namespace": namespace, "uid": namespace, "creationTimestamp": created_at });
    let spec = json!({
        "connectionRef": { "kind": "ClusterCmdbConnection", "name": "shared" }, "bizId": 2,
        "serviceTemplate": { "name": "new", "createIfMissing": { "category": { "id": 2 } } },
        "processes": [{ "name": "nginx", "funcName": "nginx" }],
    });
    object("ProcessTemplateSet", &metadata, &spec)
}

async fn planned(shop: &Value) -> Said {
    let (sim, folder) = (Simulator::start(Options::default()).unwrap(), tempfile::tempdir().unwrap());
    sim.update_state(|state| {
        let template = json!({ "id": WEB, "name": "web", "bk_biz_id": 2, "service_category_id": 2 });
        state.service_templates.push(serde_json::from_value(template).unwrap());
    });
    let sets = [set("shop", "2024-01-01T00:00:00Z"), set("bank", "2025-01-01T00:00:00Z")];
    let documents: Vec<String> = connection(&sim.url(), shop).iter().chain(&sets).map(Value::to_string).collect();
    fs::write(folder.path().join("all.yaml"), documents.join("\n---\n")).unwrap();
    let mut command = ptset(&["plan", "-f", "all.yaml"]);
    Said::by(command.current_dir(folder.path()), &["the-app-secret"]).await
}

#[tokio::test]
async fn a_set_outside_its_grants_claims_nothing_in_a_new_service_template() {
    for chosen in [json!({ "matchNames": ["web"] }), json!({ "matchIds": [WEB] })] {
        let said = planned(&chosen).await;
        let lines = said.lines();
        assert_eq!(lines[0], "shop/web: cannot be planned:", "{chosen}: {said:?}");
        assert!(lines[1].contains("grants this namespace no service template \"new\""), "{chosen}: {said:?}");
        let bank = [
            "bank/web: business 2, no service template yet",
            "  + create service template \"new\"",
            "  + create nginx",
        ];
        assert_eq!(lines[2..5], bank, "{chosen}: {said:?}");
    }
}

#[tokio::test]
async fn a_set_within_its_grants_claims_a_name_in_a_new_service_template() {
    let said = planned(&json!({ "matchNames": ["new"] })).await;
    assert!(said.lines().iter().any(|line| line.starts_with("  ! nginx: conflict")), "{said:?}");
    assert!(said.text.contains("1 to create, 0 to update, 0 to delete, 1 with trouble"), "{said:?}");
}
