//! Another tenant whose CMDB does not answer, and whose set names our service template. On a clock that jumps.

use std::time::Duration;

use process_template_operator::api::{GROUP, VERSION};
use serde_json::{Value, json};
use test_support::in_process::Place;
use test_support::paused::Paused;
use tokio::net::TcpListener;
use tokio::time::sleep;

/// How long the other's connection waits for an answer.
const TIMEOUT_SECONDS: u64 = 300;

fn spec(process: &str, start_cmd: &str) -> Value {
    json!({ "processes": [{ "name": process, "funcName": process, "startCmd": start_cmd }] })
}

fn put_secret(world: &Paused, key: &str) {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "other" },
        "data": { "bk_app_code": "cHRzZXQ=", "bk_app_secret": key, "bk_username": "YWRtaW4=" },
    });
    world.api.apply(&Place::new("", "secrets", "shop", "other"), &secret);
}

#[tokio::test(start_paused = true)]
async fn another_tenants_cmdb_that_hangs_while_its_credentials_are_exchanged_holds_up_nobody_else() {
    // It takes connections, and no request.
    let black_hole = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut world = Paused::new();
    put_secret(&world, "Zmlyc3Q=");
    let connection = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "CmdbConnection", "metadata": { "name": "other" },
        "spec": {
            "url": format!("http://{}", black_hole.local_addr().unwrap()),
            "credentialsSecretRef": { "name": "other" }, "timeoutSeconds": TIMEOUT_SECONDS,
        },
    });
    world.api.apply(&Place::new(GROUP, "cmdbconnections", "shop", "other"), &connection);
    world.service_templates(["web".to_owned()].into_iter());
    world.start_operator();
    let mut theirs = spec("theirs", "./run");
    theirs["connectionRef"] = json!({ "name": "other" });
    world.apply("theirs", "web", theirs);
    world.apply("ours", "web", spec("ours", "./run"));
    let is_ready = |world: &Paused| world.seen("ours").is_ready();
    world.until(Duration::from_mins(1), "ours is Ready", is_ready).await;

    put_secret(&world, "c2Vjb25k");
    sleep(Duration::from_secs(15)).await;
    world.apply("ours", "web", spec("ours", "./edited"));
    let took = world.until(Duration::from_secs(2 * TIMEOUT_SECONDS), "ours is Ready again", is_ready).await;
    println!("neighbour: timeout_seconds={TIMEOUT_SECONDS} edited_after_ms={}", took.as_millis());
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(!world.seen("theirs").is_ready());
}
