//! Grants that are taken back between plan and write.

use kube::api::DeleteParams;
use serde_json::{Value, json};

use super::{CREATE, Crossings, DELETE, LIST, UPDATE, count, named, set, shared, to, with};
use test_support::proxy::{Point, Side};
use test_support::tenants::Tenants;

// The witness tells that the operator has learnt of it.
async fn take_back(world: &Tenants) {
    world.grant(json!([])).await;
    world.shop.until("witness", "WaitingForGrant").await;
    world.sim.clear_requests();
}

async fn give_back(world: &Tenants) {
    world.grant(to(&["shop"], &[2])).await;
    world.shop.until("witness", "InSync").await;
}

fn hold_status_of(world: &Tenants, name: &str) {
    let path_end = format!("/namespaces/shop/processtemplatesets/{name}/status");
    world.api_server.hold(Point { method: "PUT".to_owned(), path_end, nth: 1, side: Side::Reply });
}

fn hold_list(world: &Tenants) {
    world.cmdb.hold(Point { method: "POST".to_owned(), path_end: LIST.to_owned(), nth: 1, side: Side::Reply });
}

pub async fn before_a_create(world: &Tenants, crossings: &mut Crossings) {
    let shop = &world.shop;
    world.service_template(2, "witness");
    world.service_template(2, "taken");
    world.grant(to(&["shop"], &[2])).await;
    shop.apply("witness", &set(&shared("shared"), 2, &named("witness"))).await;
    shop.until("witness", "InSync").await;

    // After the intents are stored, before the create is sent.
    hold_status_of(world, "taken");
    shop.apply("taken", &set(&shared("shared"), 2, &named("taken"))).await;
    world.api_server.reached().await;
    take_back(world).await;
    let announced = shop.sets().get("taken").await.unwrap().status.unwrap().pending.len();
    world.api_server.let_go();
    let seen = shop.until("taken", "WaitingForGrant").await;
    crossings.refused("a create", announced == 1 && world.sim.requests().is_empty());
    crossings.refused("intents that were not sent", seen.status.pending.is_empty());
    give_back(world).await;
    shop.until("taken", "InSync").await;
    let (place, templates) = (seen.status.service_template_id, world.sim.state().process_templates);
    let stored = templates.iter().filter(|template| Some(template.service_template_id) == place).count();
    assert_eq!((stored, count(world, CREATE)), (1, 1));

    // The service template that the set wishes.
    let before = world.sim.state().service_templates;
    world.cmdb.hold(Point {
        method: "POST".to_owned(),
        path_end: "list_service_category".to_owned(),
        nth: 1,
        side: Side::Reply,
    });
    let category = json!({ "parent": "Default", "name": "Default" });
    let wish = json!({ "name": "wished", "createIfMissing": { "category": category } });
    shop.apply("wished", &set(&shared("shared"), 2, &wish)).await;
    world.cmdb.reached().await;
    take_back(world).await;
    world.cmdb.let_go();
    shop.until("wished", "WaitingForGrant").await;
    let is_untouched = world.sim.requests().is_empty() && world.sim.state().service_templates == before;
    crossings.refused("the create of a service template", is_untouched);
    give_back(world).await;
    shop.until("wished", "InSync").await;
    assert_eq!((world.sim.state().service_templates.len(), count(world, CREATE)), (before.len() + 1, 1));
    shop.remove("wished").await;
}

pub async fn before_other_writes(world: &Tenants, crossings: &mut Crossings) {
    let shop = &world.shop;
    let spec = with(set(&shared("shared"), 2, &named("taken")), "deletionPolicy", json!("Delete"));
    let process = |name: &str, command: &str| json!({ "name": name, "funcName": name, "startCmd": command });
    let processes = |processes: Value| with(spec.clone(), "processes", processes);
    shop.apply("taken", &processes(json!([process("nginx", "./run"), process("redis", "./run")]))).await;
    let ids = shop.until("taken", "InSync").await.ids();
    let edited = processes(json!([process("nginx", "./other"), process("redis", "./run")]));
    let shortened = processes(json!([process("nginx", "./other")]));
    for (call, changed) in [(UPDATE, edited), (DELETE, shortened)] {
        hold_list(world);
        shop.ask_for("taken", &changed, call).await;
        world.cmdb.reached().await;
        assert_eq!(count(world, call), 0);
        take_back(world).await;
        world.cmdb.let_go();
        let seen = shop.until("taken", "WaitingForGrant").await;
        crossings.refused(call, world.sim.requests().is_empty());
        assert_eq!(seen.ids(), ids, "what it has made is not forgotten");
        give_back(world).await;
        shop.until("taken", "InSync").await;
        assert_eq!((count(world, call), count(world, CREATE)), (1, 0));
    }
}

pub async fn before_a_deletion(world: &Tenants, crossings: &mut Crossings) {
    let shop = &world.shop;
    let spec = with(set(&shared("shared"), 2, &named("taken")), "deletionPolicy", json!("Delete"));
    shop.apply("taken", &spec).await;
    shop.until("taken", "InSync").await;
    take_back(world).await;
    shop.sets().delete("taken", &DeleteParams::default()).await.unwrap();
    let seen = shop.until("taken", "DeletionBlocked").await;
    crossings.refused("a deletion", world.sim.requests().is_empty() && seen.message().contains("WaitingForGrant"));
    give_back(world).await;
    shop.until_gone("taken").await;
    assert_eq!(count(world, DELETE), 1);

    shop.apply("taken", &spec).await;
    shop.until("taken", "InSync").await;
    hold_list(world);
    shop.sets().delete("taken", &DeleteParams::default()).await.unwrap();
    world.cmdb.reached().await;
    take_back(world).await;
    world.cmdb.let_go();
    shop.until("taken", "DeletionBlocked").await;
    crossings.refused("a deletion that had begun", world.sim.requests().is_empty());
    give_back(world).await;
    shop.until_gone("taken").await;
    assert_eq!(count(world, DELETE), 1);
}
