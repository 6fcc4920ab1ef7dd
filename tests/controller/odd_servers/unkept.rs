//! A CMDB that stores other values than it was sent, and answers with a success. On a clock that jumps.

use std::time::Duration;

use serde_json::{Value, json};
use test_support::in_process::Place;
use test_support::paused::Paused;
use tokio::time::sleep;

const PATIENCE: Duration = Duration::from_mins(10);

/// Time for many polls of a set: it is polled each minute.
const MANY_POLLS: Duration = Duration::from_mins(8);

/// How a server rewrites one property.
#[derive(Clone, Copy)]
struct Rewrite {
    property: &'static str,
    cmdb_name: &'static str,
    sent: &'static str,
    edited: &'static str,
    change: fn(&str) -> String,
}

const REWRITES: &[Rewrite] = &[
    Rewrite {
        property: "workPath",
        cmdb_name: "work_path",
        sent: r"D:\Srv\Bin\",
        edited: r"E:\Srv\Bin\",
        change: |text| text.replace('\\', "/"),
    },
    Rewrite {
        property: "startCmd",
        cmdb_name: "start_cmd",
        sent: "./run  --all",
        edited: "./run  --none",
        change: |text| text.split_whitespace().collect::<Vec<_>>().join(" "),
    },
    Rewrite {
        property: "user",
        cmdb_name: "user",
        sent: "WebUser",
        edited: "OtherUser",
        change: |text| text.to_lowercase(),
    },
];

fn spec(rewrite: Rewrite, value: &str, policy: &str) -> Value {
    let mut process = json!({ "name": "nginx", "funcName": "nginx", "description": "one" });
    process[rewrite.property] = value.into();
    json!({ "driftPolicy": policy, "resyncIntervalSeconds": 60, "processes": [process] })
}

fn updates(world: &Paused) -> usize {
    world.sim().requests().iter().filter(|record| record.call == "update_proc_template").count()
}

// Rewrites what was stored, before a list can show it.
async fn rewrite(world: &Paused, rewrite: Rewrite) {
    loop {
        world.sim().update_state(|state| {
            for template in &mut state.process_templates {
                let stored = template.property.get_mut(rewrite.cmdb_name).unwrap();
                if let Some(text) = stored.value.as_str() {
                    stored.value = (rewrite.change)(text).into();
                }
            }
        });
        sleep(Duration::from_millis(10)).await;
    }
}

async fn until_unkept(world: &Paused, what: &str) {
    until_stalled(world, "Refused", what).await;
}

async fn until_stalled(world: &Paused, reason: &str, what: &str) {
    let is_unkept = |world: &Paused| {
        let seen = world.seen("web");
        seen.is_current() && seen.reason("Stalled") == reason
    };
    world.until(PATIENCE, what, is_unkept).await;
}

async fn scenario(world: &mut Paused, of: Rewrite, policy: &str) -> Vec<usize> {
    let mut sent = Vec::new();
    let world_of = &*world;
    tokio::select! {
        () = rewrite(world_of, of) => {}
        () = async {
            world_of.apply("web", "web", spec(of, of.sent, policy));
            until_unkept(world_of, "it is not kept").await;
            let seen = world_of.seen("web");
            let kept = (of.change)(of.sent);
            for part in [json!(of.sent).to_string(), json!(kept).to_string(), of.property.to_owned(), "unmanaged".to_owned()] {
                assert!(seen.message().contains(&part), "{part}: {}", seen.message());
            }
            println!("unkept: {policy}: {}", seen.message());
            sleep(MANY_POLLS).await;
            sent.push(updates(world_of));
        } => {}
    }
    for event in world.api.list(&Place::new("events.k8s.io", "events", "", "")) {
        let said = format!("{}: {}", event["reason"], event["note"]);
        for blamed in ["Drift", "somebody", "admin"] {
            assert!(!said.contains(blamed), "{blamed}: {said}");
        }
    }

    // After a restart nothing is remembered of it.
    world.stop_operator().await;
    world.start_operator();
    let world_of = &*world;
    tokio::select! {
        () = rewrite(world_of, of) => {}
        () = async {
            sleep(MANY_POLLS).await;
            // Without a write it cannot be told from drift.
            let reason = if policy == "Detect" { "Drifted" } else { "Refused" };
            until_stalled(world_of, reason, "it is not kept after a restart").await;
            sent.push(updates(world_of));

            world_of.apply("web", "web", spec(of, of.edited, policy));
            sleep(Duration::from_secs(1)).await;
            until_unkept(world_of, "an edit is not kept").await;
            sleep(MANY_POLLS).await;
            sent.push(updates(world_of));
            assert!(world_of.seen("web").message().contains(&json!(of.edited).to_string()));

            // Nothing else is left to itself.
            let mut other = spec(of, of.edited, policy);
            other["processes"][0]["description"] = "two".into();
            world_of.apply("web", "web", other.clone());
            sleep(Duration::from_mins(2)).await;
            let stored = world_of.sim().state().process_templates;
            assert_eq!(stored[0].property["description"].value, "two");

            other["processes"][0]["unmanaged"] = json!([of.property]);
            other["processes"][0].as_object_mut().unwrap().remove(of.property);
            world_of.apply("web", "web", other);
            world_of.until_all_ready(PATIENCE).await;
        } => {}
    }
    sent
}

#[tokio::test(start_paused = true)]
async fn what_cmdb_does_not_keep_is_said_after_two_updates_and_not_written_for_ever() {
    for rewrite in REWRITES {
        for policy in ["Correct", "Detect"] {
            let mut world = Paused::new();
            world.service_templates(["web".to_owned()].into_iter());
            world.start_operator();
            let sent = scenario(&mut world, *rewrite, policy).await;
            println!("unkept: {} {policy}: updates={sent:?}", rewrite.property);
            assert!(sent[0] <= 2 && sent[1] <= sent[0] + 2 && sent[2] <= sent[1] + 2, "{sent:?}");
            assert!(sent[2] > sent[1], "an edit is sent: {sent:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_changes_back_again_and_again_is_drift() {
    let mut world = Paused::new();
    world.service_templates(["web".to_owned()].into_iter());
    world.start_operator();
    world.apply("web", "web", spec(REWRITES[0], "/data", "Correct"));
    world.until_all_ready(PATIENCE).await;
    for times in 1..=4 {
        let stored = &world.sim().state().process_templates[0];
        let mut property = stored.property.clone();
        property.retain(|name, _| name == "work_path");
        property.get_mut("work_path").unwrap().value = "/tmp".into();
        world.sim().edit_process_template(stored.id, "bob", &property).unwrap();
        sleep(Duration::from_mins(3)).await;
        assert!(world.seen("web").is_ready(), "{}", world.seen("web").describe());
        assert_eq!(updates(&world), times);
    }
}
