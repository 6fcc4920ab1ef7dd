//! What a deletion may act on, and with which client.

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::world::{FOREIGN, Fence, GRANTED, LONG, SHARED_APP, SHOP, spec, to_shared, with};

const DELETE: &str = "delete_proc_template";
const LIST: &str = "list_proc_template";

/// A set that is Ready over a shared connection.
async fn ready() -> (Fence, Value) {
    let fence = Fence::running();
    let set = spec(&to_shared("shared"), GRANTED, "web", "./run");
    fence.apply("web", &set);
    fence.until_ready("web").await;
    (fence, set)
}

#[tokio::test(start_paused = true)]
async fn a_deletion_does_not_use_a_shared_connection_after_its_grant_was_taken_back() {
    let (fence, set) = ready().await;

    fence.share("shared", &json!([]));
    fence.apply("web", &with(set, "connectionRef", json!({ "name": "nothing" })));
    fence.delete("web");
    sleep(LONG).await;

    assert!(fence.calls(DELETE).is_empty(), "{:?}", fence.calls(DELETE));
    assert_eq!(fence.seen(SHOP, "web").unwrap().reason("Ready"), "DeletionBlocked");
}

#[tokio::test(start_paused = true)]
async fn a_deletion_does_not_use_the_client_of_another_connection_of_the_set() {
    let (fence, set) = ready().await;
    let before = fence.requests().len();

    // The grant stays; but the set does not name this connection any more.
    fence.apply("web", &with(set, "connectionRef", json!({ "name": "nothing" })));
    fence.delete("web");
    sleep(LONG).await;

    let after = fence.requests().split_off(before);
    assert!(after.iter().all(|record| record.body["bk_biz_id"] != GRANTED), "{after:?}");
    assert_eq!(fence.seen(SHOP, "web").unwrap().reason("Ready"), "DeletionBlocked");
}

#[tokio::test(start_paused = true)]
async fn a_set_does_not_inherit_the_client_of_another_set_of_its_name() {
    let fence = Fence::running();
    let web = fence.paused.sim().state().service_templates.iter().find(|it| it.bk_biz_id == FOREIGN).unwrap().id;
    let by_hand = fence.by_hand(web, "nginx", "by-hand", "./run");
    let slow = cmdb_sim::Fault::every(LIST, cmdb_sim::Effect::delay(30_000));
    fence.paused.sim().add_fault(slow);
    fence.apply("web", &spec(&to_shared("shared"), GRANTED, "web", "./run"));
    fence.until_in_flight(LIST).await;

    // Another set of the same name, for a business that no grant names, which is deleted at once.
    fence.release("web").await;
    fence.delete("web");
    let mut other = spec(&json!({ "name": "nothing" }), FOREIGN, "web", "./run");
    other["adoptionPolicy"] = json!("Always");
    other["replacePolicy"] = json!("Recreate");
    fence.apply_held("web", &other);
    fence.delete("web");
    sleep(LONG).await;

    let foreign = fence.requests().into_iter().filter(|record| record.body["bk_biz_id"] == FOREIGN);
    assert_eq!(foreign.count(), 0);
    assert!(fence.paused.sim().state().process_templates.iter().any(|template| template.id == by_hand));
}

#[tokio::test(start_paused = true)]
async fn a_deletion_without_memory_finds_what_is_identical_and_nothing_else() {
    let by_hand = [("nginx", "./run", true), ("nginx", "./by-hand", false), ("by-hand", "./run", false)];
    for (function, start_cmd, is_found) in by_hand {
        let fence = Fence::running();
        let web = fence.paused.sim().state().service_templates.iter().find(|it| it.bk_biz_id == GRANTED).unwrap().id;
        fence.by_hand(web, "nginx", function, start_cmd);
        let mut set = spec(&to_shared("shared"), GRANTED, "web", "./run");
        set["adoptionPolicy"] = json!("Always");
        set["replacePolicy"] = json!("Recreate");
        // It is being deleted before the operator has seen it, and its status is empty.
        fence.apply_held("web", &set);
        fence.delete("web");
        fence.until_gone("web").await;
        assert_eq!(fence.calls(DELETE).len(), usize::from(is_found), "{function} {start_cmd}");
        assert!(fence.calls(DELETE).iter().all(|record| record.body["bk_app_code"] == SHARED_APP));
    }
}
