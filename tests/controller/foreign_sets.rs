//! What the sets of other tenants cost and decide: no read of their Secrets, no end of a backoff, no veto without a connection
//! that ever worked. On a clock that jumps.

use std::time::Duration;

use cmdb_sim::Simulator;
use process_template_operator::controller::SecretAccess;
use serde_json::{Value, json};
use test_support::in_process::Place;
use test_support::paused::Paused;
use test_support::paused::tenant::{Tenant, cmdb, serve_businesses, spec};
use tokio::time::{Instant, sleep};

const PATIENCE: Duration = Duration::from_mins(10);

/// How long CMDB takes for each call.
const LATENCY: Duration = Duration::from_millis(20);

/// `bk_app_code` of the tenant whose calls are counted.
const OURS: &str = "ptset";

/// Reads of Secrets that all looks of a few minutes may cost.
const A_HANDFUL: usize = 10;

fn world() -> Paused {
    let mut world = Paused::new();
    start_operator(&mut world);
    world
}

fn start_operator(world: &mut Paused) {
    world.start_operator_with(|settings| settings.namespaces = Vec::new());
}

fn service() -> Simulator {
    let sim = cmdb(LATENCY);
    serve_businesses(&sim, 2..3);
    sim
}

fn over(connection: &str, process: &str, start_cmd: &str) -> Value {
    let mut spec = spec(2, process, start_cmd);
    spec["connectionRef"] = json!({ "name": connection });
    spec
}

fn deleting(mut spec: Value) -> Value {
    spec["deletionPolicy"] = json!("Delete");
    spec
}

fn secret(namespace: &str, name: &str) -> Place {
    Place::new("", "secrets", namespace, name)
}

fn put_secret(world: &Paused, namespace: &str, name: &str, app_secret: &str) {
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name },
        "data": { "bk_app_code": "b3RoZXI=", "bk_app_secret": app_secret, "bk_username": "YWRtaW4=" },
    });
    world.api.apply(&secret(namespace, name), &object);
}

// From now on CMDB takes the credentials that `connect` gives, and no others.
fn refuse_others(sim: &Simulator) {
    let accounts = json!([{ "app_code": OURS, "app_secret": "secret" }]);
    sim.update_state(|state| state.accounts = serde_json::from_value(accounts).unwrap());
}

fn secret_reads(world: &Paused, since: Instant) -> usize {
    let requests = world.api.requests();
    let reads = requests.iter().filter(|request| request.method == "GET" && request.path.contains("/secrets/"));
    reads.filter(|request| request.at >= since).count()
}

fn calls(sim: &Simulator) -> usize {
    sim.requests().iter().filter(|record| record.body["bk_app_code"] == OURS).count()
}

fn events(world: &Paused, reason: &str) -> Vec<String> {
    let events = world.api.list(&Place::new("events.k8s.io", "events", "", ""));
    let of_reason = events.iter().filter(|event| event["reason"] == reason);
    of_reason.map(|event| event["note"].as_str().unwrap().to_owned()).collect()
}

async fn until_gone(tenant: &Tenant<'_>, name: &str) {
    let deleted = Instant::now();
    while tenant.seen(name).is_some() {
        assert!(deleted.elapsed() < PATIENCE, "{}", tenant.seen(name).unwrap().describe());
        sleep(Duration::from_secs(1)).await;
    }
}

async fn until_reason(tenant: &Tenant<'_>, name: &str, reason: &str) {
    let begun = Instant::now();
    while tenant.seen(name).is_none_or(|set| set.reason("Ready") != reason) {
        assert!(begun.elapsed() < PATIENCE, "{}", tenant.seen(name).unwrap().describe());
        sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn sets_of_others_over_a_missing_secret_cost_no_reads_of_secrets() {
    const SETS: usize = 150;
    let (world, sim) = (world(), service());
    let ours = world.tenant("bank");
    ours.connect("default", &sim.url(), json!({}));
    ours.edit("web", &spec(2, "nginx", "./run"), PATIENCE).await;
    let theirs = world.tenant("shop");
    theirs.connect_without_secret("broken", &sim.url(), json!({}));
    for number in 0..SETS {
        theirs.apply(&format!("s{number:03}"), &over("broken", &format!("p{number:03}"), "./run"));
    }
    sleep(Duration::from_secs(10)).await;

    let (begun, mut longest) = (Instant::now(), Duration::ZERO);
    for edit in 0..4 {
        longest = longest.max(ours.edit("web", &spec(2, "nginx", &format!("./edit-{edit}")), PATIENCE).await);
        sleep(Duration::from_secs(7)).await;
    }
    let reads = secret_reads(&world, begun);
    println!("foreign sets: sets={SETS} secret_reads={reads} longest_edit_ms={}", longest.as_millis());
    assert!(reads <= A_HANDFUL, "{reads}");

    // The Secret is seen as soon as it is there.
    put_secret(&world, "shop", "broken", "c2VjcmV0");
    let put = Instant::now();
    world.until(Duration::from_mins(2), "their sets are Ready", |world| world.not_ready_in("shop") == 0).await;
    println!("foreign sets: ready_after_ms={}", put.elapsed().as_millis());
}

#[tokio::test(start_paused = true)]
async fn incomplete_credentials_cost_no_read_for_each_set() {
    const SETS: usize = 50;
    let mut world = Paused::new();
    world.start_operator_with(|settings| {
        settings.namespaces = Vec::new();
        settings.secrets = SecretAccess::Read;
    });
    let theirs = world.tenant("shop");
    theirs.connect_without_secret("broken", "http://127.0.0.1:9", json!({}));
    let empty = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "broken" }, "data": {} });
    world.api.apply(&secret("shop", "broken"), &empty);
    for number in 0..SETS {
        theirs.apply(&format!("s{number:03}"), &over("broken", &format!("p{number:03}"), "./run"));
    }
    let begun = Instant::now();
    until_reason(&theirs, "s049", "CredentialsIncomplete").await;
    sleep(Duration::from_secs(5)).await;
    let reads = secret_reads(&world, begun);
    println!("foreign sets: incomplete={SETS} secret_reads={reads}");
    assert!(reads <= A_HANDFUL, "{reads}");
}

// Sets that wait for a service template which does not exist, long enough for their backoff to be minutes.
async fn waiting<'a>(world: &'a Paused, sim: &Simulator) -> Tenant<'a> {
    refuse_others(sim);
    let ours = world.tenant("bank");
    ours.connect("default", &sim.url(), json!({}));
    for name in ["one", "two", "three"] {
        let mut spec = spec(2, name, "./run");
        spec["serviceTemplate"] = json!({ "name": "nowhere" });
        ours.apply(name, &spec);
    }
    sleep(Duration::from_hours(1)).await;
    ours
}

// How many calls our sets make while a tenant edits a set of the same service template again and again.
async fn calls_during_edits(sim: &Simulator, tenant: &Tenant<'_>, connection: &Value) -> usize {
    let put = |edit: usize| {
        let mut spec = spec(2, "theirs", &format!("./edit-{edit}"));
        spec["connectionRef"] = connection.clone();
        spec["serviceTemplate"] = json!({ "name": "nowhere" });
        tenant.apply("theirs", &spec);
    };
    put(0);
    sleep(Duration::from_secs(30)).await;
    let before = calls(sim);
    for edit in 1..=20 {
        put(edit);
        sleep(Duration::from_secs(3)).await;
    }
    calls(sim) - before
}

#[tokio::test(start_paused = true)]
async fn an_edit_without_a_grant_does_not_end_the_backoff_of_others() {
    let (world, sim, elsewhere) = (world(), service(), service());
    let ours = waiting(&world, &sim).await;
    let theirs = world.tenant("shop");
    world.share("shared", &sim.url(), json!({ "grants": [] }));
    theirs.connect_without_secret("broken", &sim.url(), json!({}));
    theirs.connect_without_secret("refused", &sim.url(), json!({}));
    put_secret(&world, "shop", "refused", "Z3Vlc3NlZA==");
    theirs.connect("elsewhere", &elsewhere.url(), json!({}));
    let shared = json!({ "kind": "ClusterCmdbConnection", "name": "shared" });
    let named = |name: &str| json!({ "name": name });
    for (what, connection) in [
        ("without a grant", shared),
        ("without a Secret", named("broken")),
        ("with refused credentials", named("refused")),
        ("in another CMDB", named("elsewhere")),
    ] {
        let calls = calls_during_edits(&sim, &theirs, &connection).await;
        println!("foreign edits: {what}: calls={calls}");
        // Each set polls once at most in that time of its own.
        assert!(calls <= 3, "{what}: {calls}");
    }

    let mut beside = spec(2, "beside", "./run");
    beside["serviceTemplate"] = json!({ "name": "nowhere" });
    ours.apply("beside", &beside);
    sleep(Duration::from_secs(30)).await;
    let before = calls(&sim);
    beside["processes"][0]["startCmd"] = json!("./edited");
    ours.apply("beside", &beside);
    sleep(Duration::from_secs(20)).await;
    println!("foreign edits: with a grant: calls={}", calls(&sim) - before);
    assert!(calls(&sim) - before > 3, "an edit that may give something up wakes the sets that may wait for it");
}

#[tokio::test(start_paused = true)]
async fn a_set_whose_connection_never_worked_blocks_neither_a_create_nor_a_deletion_of_others() {
    let (world, sim, elsewhere) = (world(), service(), service());
    refuse_others(&sim);
    let theirs = world.tenant("shop");
    theirs.connect_without_secret("broken", &sim.url(), json!({}));
    theirs.connect_without_secret("refused", &sim.url(), json!({}));
    put_secret(&world, "shop", "refused", "Z3Vlc3NlZA==");
    for connection in ["broken", "refused", "nothing"] {
        theirs.apply(connection, &over(connection, "nginx", "./theirs"));
    }
    // One whose connection has worked, but never with this URL.
    theirs.connect("moved", &elsewhere.url(), json!({}));
    theirs.edit("moved", &over("moved", "nginx", "./theirs"), PATIENCE).await;
    put_secret(&world, "shop", "moved", "Z3Vlc3NlZA==");
    theirs.connect_without_secret("moved", &sim.url(), json!({}));
    sleep(Duration::from_secs(30)).await;

    let ours = world.tenant("bank");
    ours.connect("default", &sim.url(), json!({}));
    ours.edit("web", &deleting(spec(2, "nginx", "./run")), PATIENCE).await;
    ours.edit("web", &deleting(spec(2, "other", "./run")), PATIENCE).await;
    let names = |sim: &Simulator| -> Vec<String> {
        sim.state().process_templates.iter().map(|template| template.bk_process_name.clone()).collect()
    };
    world.until(PATIENCE, "nginx is deleted", |_| names(&sim) == ["other"]).await;
    ours.edit("web", &deleting(spec(2, "nginx", "./run")), PATIENCE).await;
    ours.delete("web");
    until_gone(&ours, "web").await;
    assert_eq!(names(&sim), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_set_that_was_reconciled_keeps_its_claim_without_its_secret_and_across_a_restart() {
    for is_restarted in [false, true] {
        let (mut world, sim) = (world(), service());
        {
            let (ours, theirs) = (world.tenant("bank"), world.tenant("shop"));
            ours.connect("default", &sim.url(), json!({}));
            theirs.connect("own", &sim.url(), json!({}));
            ours.edit("web", &deleting(spec(2, "nginx", "./run")), PATIENCE).await;
            theirs.apply("claims", &over("own", "nginx", "./run"));
            until_reason(&theirs, "claims", "Conflict").await;
            world.api.delete(&secret("shop", "own"));
        }
        sleep(Duration::from_mins(2)).await;
        if is_restarted {
            world.stop_operator().await;
            world.api.fail("get", "secrets", 500, 3);
            start_operator(&mut world);
        }
        let ours = world.tenant("bank");
        ours.delete("web");
        until_gone(&ours, "web").await;
        sleep(Duration::from_secs(5)).await;
        assert_eq!(sim.state().process_templates.len(), 1, "restarted: {is_restarted}");
        let said = events(&world, "Released");
        assert!(said.iter().any(|note| note.contains("another set")), "{said:?}");
        assert!(!said.iter().any(|note| note.contains("claims")), "{said:?}");
    }
}
