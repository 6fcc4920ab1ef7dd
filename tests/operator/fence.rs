//! The fence between tenants, tried at every crossing on the real API server: whoever has no right gets nothing, and no
//! request leaves for it.

mod taken_back;
mod urls;

use std::collections::BTreeSet;

use cmdb_sim::{self as sim, Effect, Fault, Simulator};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use process_template_operator::api::{CmdbConnection, ProcessTemplateSet};
use serde_json::{Value, json};
use test_support::tenants::{OPERATOR, RIGHTS, SHARED_APP, SHARED_SECRET, SYSTEM, Tenant, Tenants, yaml};

const CREATE: &str = "batch_create_proc_template";
const UPDATE: &str = "update_proc_template";
const DELETE: &str = "delete_proc_template";
const LIST: &str = "list_proc_template";

/// A business that nobody is ever granted.
const FOREIGN: i64 = 3;

const OWN_SECRET: &str = "the-secret-of-shop";

/// What was tried, and what of it was refused.
#[derive(Default)]
struct Crossings {
    tried: usize,
    refused: usize,
}

impl Crossings {
    fn refused(&mut self, what: &str, is_refused: bool) {
        self.tried += 1;
        self.refused += usize::from(is_refused);
        if !is_refused {
            println!("not refused: {what}");
        }
    }

    fn forbidden<T>(&mut self, what: &str, answer: Result<T, kube::Error>) {
        let is_forbidden = matches!(answer, Err(kube::Error::Api(status)) if status.code == 403);
        self.refused(what, is_forbidden);
    }
}

fn shared(name: &str) -> Value {
    json!({ "kind": "ClusterCmdbConnection", "name": name })
}

fn set(connection: &Value, biz_id: i64, service_template: &Value) -> Value {
    json!({
        "connectionRef": connection, "bizId": biz_id, "serviceTemplate": service_template,
        "processes": [{ "name": "nginx", "funcName": "nginx", "startCmd": "./run" }],
    })
}

fn named(name: &str) -> Value {
    json!({ "name": name })
}

fn with(mut spec: Value, field: &str, value: Value) -> Value {
    spec[field] = value;
    spec
}

fn running(spec: Value, command: &str) -> Value {
    with(spec, "processes", json!([{ "name": "nginx", "funcName": "nginx", "startCmd": command }]))
}

fn to(namespaces: &[&str], biz_ids: &[i64]) -> Value {
    json!([{ "namespaces": { "matchNames": namespaces }, "bizIds": biz_ids }])
}

fn count(world: &Tenants, call: &str) -> usize {
    world.requests(|record| record.call == call).len()
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn nothing_crosses_the_fence_between_tenants() {
    let mut world = Tenants::new().await;
    world.sim.update_state(|state| {
        state.businesses.push(serde_json::from_value(json!({ "bk_biz_id": FOREIGN })).unwrap());
    });
    world.service_template(FOREIGN, "web");
    let mut crossings = Crossings::default();
    world.shop.put_secret("cmdb", "shop-app", OWN_SECRET).await;

    the_roles_are_real(&world, &mut crossings).await;
    world.start_operator(&[]).await;
    urls::of_no_connection(&world, &mut crossings).await;
    world.start_operator(&["--connection-urls", "https://cmdb.example.com/api"]).await;
    urls::beside_the_list(&world, &mut crossings).await;
    world.start_operator(&["--connections-anywhere"]).await;
    without_any_grant(&world, &mut crossings).await;
    secrets_of_others(&world, &mut crossings).await;
    connections_of_others(&world, &mut crossings).await;
    businesses_and_service_templates(&world, &mut crossings).await;
    labels(&world, &mut crossings).await;
    taken_back::before_a_create(&world, &mut crossings).await;
    taken_back::before_other_writes(&world, &mut crossings).await;
    taken_back::before_a_deletion(&world, &mut crossings).await;
    redirects(&world, &mut crossings).await;
    other_sets(&world, &mut crossings).await;
    strangers(&world, &mut crossings).await;
    words(&world, &mut crossings).await;
    rights_of_the_operator(&world);

    let foreign = world.requests(|record| record.body["bk_biz_id"] == FOREIGN);
    crossings.refused("calls in a business that nobody is granted", foreign.is_empty());
    println!("tenants: crossings={} refused={}", crossings.tried, crossings.refused);
    assert_eq!(crossings.refused, crossings.tried);
    world.end().await;
}

async fn the_roles_are_real(world: &Tenants, crossings: &mut Crossings) {
    let (shop, bank) = (&world.shop, &world.bank);
    let apply = PatchParams::apply("test").force();
    let cluster = Api::all(bank.client.clone());
    let connection = world.shared_connections().get("shared").await.unwrap();
    crossings.forbidden("reads a shared connection", cluster.get("shared").await);
    let mut own = connection.clone();
    own.metadata = serde_json::from_value(json!({ "name": "own" })).unwrap();
    crossings.forbidden("makes a shared connection", cluster.create(&PostParams::default(), &own).await);
    let grants = Patch::Merge(json!({ "spec": { "grants": to(&["bank"], &[2]) } }));
    crossings.forbidden("grants itself something", cluster.patch("shared", &PatchParams::default(), &grants).await);

    let secrets: Api<Secret> = Api::namespaced(bank.client.clone(), SYSTEM);
    crossings.forbidden("reads the shared Secret", secrets.get("cmdb").await);
    crossings.forbidden("lists Secrets beside the shared one", secrets.list(&ListParams::default()).await);
    let secrets: Api<Secret> = Api::namespaced(bank.client.clone(), &shop.namespace);
    crossings.forbidden("reads another tenant's Secret", secrets.get("cmdb").await);

    let sets: Api<ProcessTemplateSet> = Api::namespaced(bank.client.clone(), &shop.namespace);
    let object = Patch::Apply(json!({
        "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "ProcessTemplateSet", "metadata": { "name": "x" },
        "spec": set(&shared("shared"), 2, &named("web")),
    }));
    crossings.forbidden("makes a set in another namespace", sets.patch("x", &apply, &object).await);
    crossings.forbidden("lists another namespace's sets", sets.list(&ListParams::default()).await);
    crossings.forbidden("deletes another's set", sets.delete("x", &DeleteParams::default()).await);
    let connections: Api<CmdbConnection> = Api::namespaced(bank.client.clone(), &shop.namespace);
    crossings.forbidden("lists another's connections", connections.list(&ListParams::default()).await);
    let status = Patch::Merge(json!({ "status": { "serviceTemplateId": 1 } }));
    crossings.forbidden("writes a status", bank.sets().patch_status("x", &PatchParams::default(), &status).await);
}

async fn without_any_grant(world: &Tenants, crossings: &mut Crossings) {
    world.bank.apply("greedy", &set(&shared("shared"), FOREIGN, &named("web"))).await;
    let seen = world.bank.until("greedy", "WaitingForGrant").await;
    crossings.refused("a shared connection without a grant", seen.status.pending.is_empty());
    // It is looked after all the same, and not in the name of that set.
    world.until_shared("shared", "Reachable").await;
    let called = world.requests(|record| record.body["bk_biz_id"] != 0);
    crossings.refused("calls for a set without a grant", called.is_empty());

    world.put_shared("hollow", "https://cmdb.example.com").await;
    let nowhere = Patch::Merge(json!({ "spec": { "credentialsSecretRef": { "name": "a-name-of-the-system" } } }));
    world.shared_connections().patch("hollow", &PatchParams::default(), &nowhere).await.unwrap();
    world.bank.apply("curious", &set(&shared("hollow"), 2, &named("web"))).await;
    let seen = world.bank.until("curious", "WaitingForGrant").await;
    crossings.refused("what is wrong with a shared connection", !seen.message().contains("of-the-system"));
    world.shared_connections().delete("hollow", &DeleteParams::default()).await.unwrap();
    world.bank.remove("curious").await;
}

async fn secrets_of_others(world: &Tenants, crossings: &mut Crossings) {
    world.sim.clear_requests();
    let url = world.sim.url();
    let bank = &world.bank;
    let references = [
        ("by its name", json!({ "credentialsSecretRef": { "name": "cmdb" } })),
        (
            "with the namespace of the system",
            json!({ "credentialsSecretRef": { "name": "cmdb", "namespace": SYSTEM } }),
        ),
        ("with another tenant's namespace", json!({ "credentialsSecretRef": { "name": "cmdb", "namespace": "shop" } })),
    ];
    for (how, spec) in references {
        bank.create("CmdbConnection", "borrowed", &with(spec, "url", json!(url))).await;
        bank.apply("borrower", &set(&named("borrowed"), 2, &named("web"))).await;
        bank.until_connection("borrowed", "WaitingForSecret").await;
        bank.until("borrower", "WaitingForSecret").await;
        crossings.refused(how, world.sim.requests().is_empty());
        bank.remove("borrower").await;
        bank.connections().delete("borrowed", &DeleteParams::default()).await.unwrap();
    }
    bank.put_secret("own", "bank-app", "the-secret-of-bank").await;
    let certificate = json!({ "clientCertificateSecretRef": { "name": "cmdb", "namespace": SYSTEM } });
    let spec = json!({ "url": url, "tls": certificate, "credentialsSecretRef": { "name": "own" } });
    bank.create("CmdbConnection", "borrowed", &spec).await;
    bank.until_connection("borrowed", "WaitingForSecret").await;
    crossings.refused("as a certificate", world.sim.requests().is_empty());
    bank.connections().delete("borrowed", &DeleteParams::default()).await.unwrap();
}

async fn connections_of_others(world: &Tenants, crossings: &mut Crossings) {
    let (shop, bank) = (&world.shop, &world.bank);
    let spec = json!({ "url": world.sim.url(), "credentialsSecretRef": { "name": "cmdb" } });
    shop.put_connection("private", &spec).await;
    shop.until_connection("private", "Reachable").await;
    world.sim.clear_requests();
    let references = [
        ("by its name", json!({ "name": "private" }), "WaitingForConnection"),
        ("with its namespace", json!({ "name": "private", "namespace": "shop" }), "WaitingForConnection"),
        // Nor does it learn that there is no such connection of the cluster.
        (
            "as one of the cluster",
            json!({ "kind": "ClusterCmdbConnection", "name": "private", "namespace": "shop" }),
            "WaitingForGrant",
        ),
    ];
    for (how, reference, reason) in references {
        bank.create("ProcessTemplateSet", "borrower", &set(&reference, 2, &named("web"))).await;
        bank.until("borrower", reason).await;
        crossings.refused(how, world.sim.requests().is_empty());
        bank.remove("borrower").await;
    }
    for reference in [
        json!({ "name": "shop/private" }),
        json!({ "name": "../shop/private" }),
        json!({ "kind": "ClusterCmdbConnection", "name": "../../namespaces/shop/cmdbconnections/private" }),
        json!({ "kind": "Secret", "name": "cmdb" }),
    ] {
        let answer = bank.try_apply("borrower", &set(&reference, 2, &named("web"))).await;
        let is_invalid = matches!(answer, Err(kube::Error::Api(status)) if status.code == 422);
        crossings.refused(&reference.to_string(), is_invalid);
    }
}

// Applies a set that has no grant for what it names, and counts what it has had CMDB do for its creates.
/// A service template that no grant names.
const UNGRANTED: &str = "not-granted";

async fn waits_for_a_grant(world: &Tenants, crossings: &mut Crossings, tenant: &Tenant, what: &str, spec: &Value) {
    let before = world.sim.state();
    tenant.apply("greedy", spec).await;
    let told = serde_json::to_string(&tenant.until("greedy", "WaitingForGrant").await.status).unwrap();
    crossings.refused(
        "a name that the set does not give",
        spec.to_string().contains(UNGRANTED) || !told.contains(UNGRANTED),
    );
    let writes = world.requests(|record| record.call.contains("create_"));
    let after = world.sim.state();
    let is_untouched =
        before.process_templates == after.process_templates && before.service_templates == after.service_templates;
    crossings.refused(what, writes.is_empty() && is_untouched);
    tenant.remove("greedy").await;
}

async fn businesses_and_service_templates(world: &Tenants, crossings: &mut Crossings) {
    let (shop, bank) = (&world.shop, &world.bank);
    bank.remove("greedy").await;
    let (web, other) = (world.service_template(2, "granted"), world.service_template(2, UNGRANTED));
    world.sim.clear_requests();
    let through = |biz_id: i64, service_template: Value| set(&shared("shared"), biz_id, &service_template);
    let wish = |name: &str| json!({ "name": name, "createIfMissing": { "category": { "id": 2 } } });

    world.grant(to(&["shop"], &[2])).await;
    waits_for_a_grant(world, crossings, shop, "a business beside", &through(FOREIGN, named("web"))).await;
    waits_for_a_grant(world, crossings, shop, "a wish beside", &through(FOREIGN, wish("new"))).await;
    waits_for_a_grant(world, crossings, bank, "another namespace's grant", &through(2, named("granted"))).await;
    let called = world.requests(|record| record.body["bk_app_code"] == SHARED_APP);
    crossings.refused("calls for sets without a grant", called.is_empty());

    for (how, chosen) in [("names", json!({ "matchNames": ["granted"] })), ("IDs", json!({ "matchIds": [web] }))] {
        let grants = json!([{ "namespaces": { "matchNames": ["shop"] }, "bizIds": [2], "serviceTemplates": chosen }]);
        world.grant(grants).await;
        // Nor is it told whether there is one.
        let unknown = [named("nowhere"), json!({ "id": 99_999 })];
        let known = [named(UNGRANTED), json!({ "id": other }), wish("new"), wish(UNGRANTED)];
        let selectors = known.into_iter().chain(unknown);
        for selector in selectors {
            let what = format!("{selector}, granted by {how}");
            waits_for_a_grant(world, crossings, shop, &what, &through(2, selector)).await;
        }
        let looked_into = world.requests(|record| record.call == LIST);
        crossings.refused(how, looked_into.is_empty());
        shop.apply("entitled", &through(2, named("granted"))).await;
        shop.until("entitled", "InSync").await;
        shop.remove("entitled").await;
        world.sim.update_state(|state| state.process_templates.clear());
        world.sim.clear_requests();
    }
}

async fn labels(world: &Tenants, crossings: &mut Crossings) {
    let bank = &world.bank;
    world.service_template(2, "labelled");
    world.grant(json!([{ "namespaces": { "selector": { "matchLabels": { "team": "shop" } } }, "bizIds": [2] }])).await;
    let spec = set(&shared("shared"), 2, &named("labelled"));
    waits_for_a_grant(world, crossings, bank, "a namespace without the label", &spec).await;
    let own: Api<Namespace> = Api::all(bank.client.clone());
    let label = Patch::Merge(json!({ "metadata": { "labels": { "team": "shop" } } }));
    crossings.forbidden("labels itself", own.patch("bank", &PatchParams::default(), &label).await);

    world.label("bank", "team", Some("shop")).await;
    bank.apply("labelled", &spec).await;
    bank.until("labelled", "InSync").await;
    world.label("bank", "team", None).await;
    bank.until("labelled", "WaitingForGrant").await;
    world.sim.clear_requests();
    bank.apply("labelled", &running(spec, "./other")).await;
    bank.until("labelled", "WaitingForGrant").await;
    crossings.refused("a label that is gone", world.sim.requests().is_empty());
    bank.remove("labelled").await;
}

async fn redirects(world: &Tenants, crossings: &mut Crossings) {
    let (moved, elsewhere) = (Simulator::start(sim::Options::default()), Simulator::start(sim::Options::default()));
    let (moved, elsewhere) = (moved.unwrap(), elsewhere.unwrap());
    let shop = &world.shop;
    for http_status in [301, 302, 307, 308] {
        let target = format!("{}/api/c/compapi/v2/cc/list_service_template/", elsewhere.url());
        let mut effect = Effect::redirect(&target);
        if let Effect::Redirect(redirect) = &mut effect {
            redirect.http_status = http_status;
        }
        moved.clear_faults();
        moved.add_fault(Fault::every("*", effect));
        shop.put_connection("moved", &json!({ "url": moved.url(), "credentialsSecretRef": { "name": "cmdb" } })).await;
        shop.apply("moved", &set(&named("moved"), 2, &named("web"))).await;
        shop.until("moved", "NotCmdb").await;
        crossings.refused(&format!("a redirect, HTTP {http_status}"), elsewhere.requests().is_empty());
        shop.remove("moved").await;
        shop.connections().delete("moved", &DeleteParams::default()).await.unwrap();
    }
    assert!(!moved.requests().is_empty());
}

async fn other_sets(world: &Tenants, crossings: &mut Crossings) {
    let (shop, bank) = (&world.shop, &world.bank);
    let front = world.service_template(2, "front");
    let spec = set(&shared("shared"), 2, &json!({ "id": front }));
    let greedy = with(set(&shared("shared"), 2, &named("front")), "adoptionPolicy", json!("Always"));
    bank.apply("older", &greedy).await;
    bank.until("older", "WaitingForGrant").await;
    world.sim.clear_requests();
    shop.apply("younger", &spec).await;
    let seen = shop.until("younger", "InSync").await;
    crossings.refused("an older set without a grant blocks", count(world, CREATE) == 1 && seen.ids().len() == 1);
    bank.apply("older", &running(greedy.clone(), "./other")).await;
    let rival = bank.until("older", "WaitingForGrant").await;
    crossings.refused("and takes over", rival.ids().is_empty() && count(world, UPDATE) == 0);

    // With a grant it is a rival, and still takes nothing that another has made: be that granted by name and named by ID.
    let mut grants = to(&["shop", "bank"], &[2]);
    grants[0]["serviceTemplates"] = json!({ "matchNames": ["front"] });
    world.grant(grants).await;
    let rival = bank.until("older", "Conflict").await;
    crossings.refused("with a grant, takes over", rival.ids().is_empty() && count(world, UPDATE) == 0);
    assert_eq!(shop.until("younger", "InSync").await.ids(), seen.ids());
}

// Whoever knows the URL can have a connection to it; without credentials its sets claim nothing.
async fn strangers(world: &Tenants, crossings: &mut Crossings) {
    let (shop, bank) = (&world.shop, &world.bank);
    world.grant(to(&["shop"], &[2])).await;
    world.service_template(2, "back");
    world.sim.update_state(|state| {
        let accounts = json!([{ "app_code": SHARED_APP, "app_secret": SHARED_SECRET }]);
        state.accounts = serde_json::from_value(accounts).unwrap();
    });
    bank.put_secret("cmdb", "bank-app", "guessed").await;
    let connection = json!({ "url": world.cmdb.url(), "credentialsSecretRef": { "name": "cmdb" } });
    bank.put_connection("intruding", &connection).await;
    bank.apply("stranger", &set(&named("intruding"), 2, &named("back"))).await;
    bank.until("stranger", "Unauthorized").await;
    // Creation times count whole seconds.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    shop.apply("rightful", &set(&shared("shared"), 2, &named("back"))).await;
    let seen = shop.until("rightful", "InSync").await;
    crossings.refused("an older set whose credentials are refused blocks", seen.ids().len() == 1);
    world.sim.update_state(|state| state.accounts.clear());
}

async fn words(world: &Tenants, crossings: &mut Crossings) {
    let (shop, bank) = (world.shop.all_words().await, world.bank.all_words().await);
    for (whose, words) in [("shop", &shop), ("bank", &bank)] {
        crossings.refused(&format!("the shared secret, told to {whose}"), !words.contains(SHARED_SECRET));
        crossings.refused(&format!("where it is kept, told to {whose}"), !words.contains(SYSTEM));
    }
    crossings.refused("its own secret in words", !shop.contains(OWN_SECRET));
    let of_shop = ["younger", "witness", "entitled", OWN_SECRET, "shop-app"];
    crossings.refused("what is shop's, told to bank", !of_shop.iter().any(|name| bank.contains(name)));
    let of_bank = ["older", "the-secret-of-bank"];
    crossings.refused("what is bank's, told to shop", !of_bank.iter().any(|name| shop.contains(name)));
}

// None is missing, and every right is used but the one that only a watch which lags behind takes.
fn rights_of_the_operator(world: &Tenants) {
    let events = world.plane.audit_events(OPERATOR);
    let of_operator: Vec<&Value> = events.iter().filter(|event| event["user"]["username"] == OPERATOR).collect();
    let denied: Vec<&&Value> = of_operator.iter().filter(|event| event["responseStatus"]["code"] == 403).collect();
    assert!(denied.is_empty(), "{denied:#?}");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let used: BTreeSet<[String; 3]> = of_operator
        .iter()
        .map(|event| {
            let of = &event["objectRef"];
            let subresource = of["subresource"].as_str().map(|name| format!("/{name}")).unwrap_or_default();
            [text(&of["apiGroup"]), format!("{}{subresource}", text(&of["resource"])), text(&event["verb"])]
        })
        .collect();
    let own_get = ["cmdb.bk.tencent.com", "processtemplatesets", "get"].map(str::to_owned);
    let role = yaml(RIGHTS);
    let mut granted = BTreeSet::new();
    let list = |value: &Value| value.as_array().unwrap().clone();
    for rule in list(&role["rules"]) {
        for group in list(&rule["apiGroups"]) {
            for resource in list(&rule["resources"]) {
                granted.extend(list(&rule["verbs"]).iter().map(|verb| [text(&group), text(&resource), text(verb)]));
            }
        }
    }
    granted.remove(&own_get);
    let used: BTreeSet<_> = used.into_iter().filter(|right| *right != own_get).collect();
    assert_eq!(used, granted);
}
