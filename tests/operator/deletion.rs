//! Sets that go: what happens to their templates, and what may hold them.

use cmdb_sim::{Effect, Fault};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use process_template_operator::api::{CmdbConnection, FINALIZER};
use serde_json::{Value, json};
use test_support::world::{Seen, World};
use tokio::time::{Duration, Instant};

const DELETE: &str = "delete_proc_template";

/// How often a set looks whether another has let a template go: what happens at once comes sooner.
const POLL: Duration = Duration::from_mins(1);

fn spec(deletion: &str) -> Value {
    json!({ "serviceTemplate": { "name": "web" }, "deletionPolicy": deletion, "resyncIntervalSeconds": 5, "processes": [
        { "name": "a", "funcName": "a" }, { "name": "b", "funcName": "b" },
    ] })
}

async fn ready_world(name: &str, deletion: &str) -> World {
    let mut world = World::new(name).await;
    world.service_template("web");
    world.start_operator(&["--removal-delay-seconds", "0", "--create-grace-seconds", "3"]).await;
    world.apply("web", spec(deletion)).await;
    world.until_ready("web").await;
    world
}

fn left(world: &World) -> usize {
    world.sim.state().process_templates.len()
}

async fn let_go_with_orphan(world: &World) {
    let patch = json!({ "spec": { "deletionPolicy": "Orphan" } });
    world.sets().patch("web", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    world.until_gone("web").await;
    assert_eq!(world.requests(DELETE).len(), 0);
    assert_eq!(left(world), 2);
}

async fn until_blocked(world: &World, reason: &str) -> Seen {
    let blocked = |seen: &Seen| seen.reason("Ready") == "DeletionBlocked" && seen.message().contains(reason);
    let seen = world.until("web", reason, blocked).await;
    assert_eq!(
        (seen.condition("Ready"), seen.condition("Reconciling"), seen.condition("Stalled")),
        ("False", "True", "")
    );
    assert!(seen.message().contains("\"deletionPolicy\":\"Orphan\""), "{}", seen.message());
    seen
}

async fn delete<K>(world: &World, name: &str) -> kube::Result<()>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(world.client.clone(), &world.namespace);
    api.delete(name, &DeleteParams::default()).await.map(drop)
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn an_orphaning_set_has_no_finalizer_and_goes_without_a_call() {
    let world = ready_world("go-orphan", "Orphan").await;
    assert!(world.set("web").await.metadata.finalizers.is_none());
    world.delete("web").await;
    world.until_gone("web").await;
    assert_eq!((world.requests(DELETE).len(), left(&world)), (0, 2));
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn the_finalizer_follows_the_policy() {
    let world = ready_world("go-follow", "Orphan").await;
    let has = |seen: &Seen| seen.set.metadata.finalizers.iter().flatten().any(|name| name == FINALIZER);
    world.apply("web", spec("Delete")).await;
    world.until("web", "the finalizer", has).await;
    world.apply("web", spec("Orphan")).await;
    world.until("web", "no finalizer", |seen| !has(seen)).await;
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn while_cmdb_is_down_the_set_stays_and_says_why_and_goes_when_it_is_back() {
    let world = ready_world("go-down", "Delete").await;
    world.sim.add_fault(Fault::every("*", Effect::code(1_199_066)));
    world.delete("web").await;
    until_blocked(&world, "Unavailable").await;
    world.sim.clear_faults();
    world.until_gone("web").await;
    assert_eq!(left(&world), 0);
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn patching_to_orphan_lets_a_blocked_set_go_at_once() {
    let world = ready_world("go-patched", "Delete").await;
    world.sim.add_fault(Fault::every("*", Effect::code(1_199_046)));
    world.delete("web").await;
    until_blocked(&world, "PermissionDenied").await;
    let_go_with_orphan(&world).await;
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn the_last_client_that_worked_deletes_when_connection_and_secret_have_gone() {
    let world = ready_world("go-kept", "Delete").await;
    delete::<Secret>(&world, "cmdb").await.unwrap();
    delete::<CmdbConnection>(&world, "default").await.unwrap();
    // It was in sync, and can only not be checked any more.
    world.until_reason("web", "Stale").await;
    world.delete("web").await;
    world.until_gone("web").await;
    assert_eq!(left(&world), 0);
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn without_a_client_the_deletion_is_blocked_until_there_is_one_or_orphan_is_said() {
    for recovers in [true, false] {
        let name = format!("go-restarted-{recovers}");
        let mut world = ready_world(&name, "Delete").await;
        world.kill_operator().await;
        delete::<Secret>(&world, "cmdb").await.unwrap();
        world.delete("web").await;
        world.start_operator(&[]).await;
        until_blocked(&world, "WaitingForSecret").await;
        if recovers {
            world.put_secret("a-secret").await;
            world.until_gone("web").await;
            assert_eq!(left(&world), 0);
        } else {
            let_go_with_orphan(&world).await;
        }
        world.end().await;
    }
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn what_a_deleted_service_template_has_left_is_deleted_with_its_set() {
    let world = ready_world("go-scope", "Delete").await;
    world.sim.update_state(|state| state.service_templates.clear());
    world.delete("web").await;
    world.until_gone("web").await;
    assert_eq!((world.requests(DELETE).len(), left(&world)), (1, 0));
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_set_whose_connection_leads_to_another_cmdb_does_not_go_by_itself() {
    let world = ready_world("go-endpoint", "Delete").await;
    let other = World::new("go-endpoint-other").await;
    other.service_template("web");
    world.put_connection("default", &other.sim.url()).await;
    world.delete("web").await;
    until_blocked(&world, "EndpointChanged").await;
    world.put_connection("default", &world.sim.url()).await;
    world.until_gone("web").await;
    assert_eq!(left(&world), 0);
    other.end().await;
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_suspended_set_waits_with_delete_and_goes_with_orphan() {
    let world = ready_world("go-suspended", "Delete").await;
    let mut suspended = spec("Delete");
    suspended["suspend"] = true.into();
    world.apply("web", suspended).await;
    world.until_reason("web", "Suspended").await;
    world.delete("web").await;
    until_blocked(&world, "suspended").await;
    let_go_with_orphan(&world).await;
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_set_that_never_reached_cmdb_goes_at_once() {
    let mut world = World::new("go-never").await;
    world.start_operator(&[]).await;
    let mut spec = spec("Delete");
    spec["connectionRef"] = json!({ "name": "absent" });
    world.apply("web", spec).await;
    world.until_reason("web", "WaitingForConnection").await;
    world.delete("web").await;
    world.until_gone("web").await;
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_status_that_was_lost_is_found_again_before_the_set_goes() {
    let mut world = ready_world("go-wiped", "Delete").await;
    world.kill_operator().await;
    let wiped = json!({ "status": null });
    world.sets().patch_status("web", &PatchParams::default(), &Patch::Merge(&wiped)).await.unwrap();
    world.delete("web").await;
    world.start_operator(&[]).await;
    world.until_gone("web").await;
    assert_eq!(left(&world), 0);
    world.end().await;
}

// A create whose connection broke may be stored for as long as the grace period; one that hangs is stored late.
#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn an_undecided_create_holds_the_set_until_its_end_is_known() {
    for (name, effect) in [("broken", Effect::drop_before_commit()), ("late", Effect::hang(8.0, false))] {
        let mut world = World::new(&format!("go-undecided-{name}")).await;
        world.service_template("web");
        world.sim.add_fault(Fault::nth("batch_create_proc_template", 1, effect));
        world.start_operator(&["--create-grace-seconds", "12"]).await;
        world.apply("web", spec("Delete")).await;
        world.until("web", "the create was begun", |seen| !seen.status.pending.is_empty()).await;
        world.delete("web").await;
        world.until_gone("web").await;
        assert_eq!(left(&world), 0, "what was stored late is deleted too");
        assert_eq!(world.requests("batch_create_proc_template").len(), 1, "and nothing is sent again");
        world.end().await;
    }
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn templates_that_somebody_deleted_already_are_no_trouble() {
    let world = ready_world("go-partly", "Delete").await;
    // Between the list and the delete.
    world.sim.add_fault(Fault::nth(DELETE, 1, Effect::code(1_108_014)));
    world.sim.update_state(|state| state.process_templates.truncate(1));
    world.delete("web").await;
    world.until_gone("web").await;
    assert_eq!(left(&world), 0);
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn what_a_set_leaves_behind_goes_to_the_set_that_waits_for_it_also_when_that_wants_it_changed() {
    let world = ready_world("go-handed-over", "Delete").await;
    let mut heir = spec("Delete");
    heir["resyncIntervalSeconds"] = 600.into();
    heir["processes"] = json!([{ "name": "b", "funcName": "b", "startCmd": "./new" }]);
    let id = world.set("web").await.status.unwrap().processes[1].id;
    world.apply("heir", heir).await;
    world.until_reason("heir", "Conflict").await;
    world.sim.clear_requests();
    let deleted = Instant::now();
    world.delete("web").await;
    let seen = world.until_ready("heir").await;
    assert!(deleted.elapsed() < POLL, "{:?}", deleted.elapsed());
    assert_eq!(seen.process("b").id, id);
    world.until_gone("web").await;
    assert_eq!((left(&world), world.requests("batch_create_proc_template").len()), (1, 0));
    assert_eq!(world.requests("update_proc_template").len(), 1);
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn what_an_orphaning_set_leaves_behind_goes_at_once_to_the_set_that_waits_for_it() {
    let world = ready_world("go-left-behind", "Orphan").await;
    let mut seldom = spec("Orphan");
    seldom["resyncIntervalSeconds"] = 600.into();
    world.apply("web", seldom.clone()).await;
    let ids = world.until_ready("web").await.ids();
    world.apply("heir", seldom).await;
    world.until_reason("heir", "Conflict").await;
    let deleted = Instant::now();
    world.delete("web").await;
    assert_eq!(world.until_ready("heir").await.ids(), ids);
    assert!(deleted.elapsed() < POLL, "{:?}", deleted.elapsed());
    world.end().await;
}

/// Every order of four.
fn orders() -> Vec<Vec<&'static str>> {
    let mut orders: Vec<Vec<&str>> = vec![Vec::new()];
    for what in ["set", "secret", "connection", "namespace"] {
        orders = orders
            .into_iter()
            .flat_map(|order| {
                (0..=order.len()).map(move |at| {
                    let mut order = order.clone();
                    order.insert(at, what);
                    order
                })
            })
            .collect();
    }
    orders
}

async fn goes(number: usize, order: Vec<&str>) {
    let deletion = if number % 4 == 3 { "Orphan" } else { "Delete" };
    let world = ready_world(&format!("go-all-{number:02}"), deletion).await;
    for what in &order {
        // Once its namespace goes, it may be gone already.
        match *what {
            "set" => drop(world.sets().delete("web", &DeleteParams::default()).await),
            "secret" => drop(delete::<Secret>(&world, "cmdb").await),
            "connection" => drop(delete::<CmdbConnection>(&world, "default").await),
            _ => {
                let namespaces: Api<Namespace> = Api::all(world.client.clone());
                drop(namespaces.delete(&world.namespace, &DeleteParams::default()).await.unwrap());
            }
        }
    }
    world.until_namespace_gone().await;
    assert_eq!(left(&world), if deletion == "Delete" { 0 } else { 2 }, "{order:?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a control plane: make test"]
async fn a_namespace_goes_by_itself_in_whatever_order_its_objects_go() {
    let runs = futures::stream::iter(orders().into_iter().enumerate()).map(|(number, order)| goes(number, order));
    let done = runs.buffer_unordered(4).count().await;
    println!("namespace deletion: orders={done} stuck=0");
}
