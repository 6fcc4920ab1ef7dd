//! `make bench`: the operator under load, and beside it a bare loop that makes only the unavoidable calls.

mod bare;
mod large;
mod measure;
mod newcomer;
mod quota;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use process_template_operator::api::ProcessTemplateSet;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use measure::{Cost, IN_FLIGHT, api_writes, client_of};
use test_support::control_plane::install_crds;
use test_support::control_plane::{ControlPlane, Options};
use test_support::held::Held;

/// Longest wait for one run.
const PATIENCE: Duration = Duration::from_mins(5);

struct Scenario {
    name: &'static str,
    sets: usize,
    processes: usize,
    service_templates: usize,
}

const SCENARIOS: &[Scenario] = &[
    Scenario { name: "one-set-of-500", sets: 1, processes: 500, service_templates: 1 },
    Scenario { name: "300-sets-of-10", sets: 300, processes: 10, service_templates: 300 },
    Scenario { name: "1000-sets-on-50-service-templates", sets: 1000, processes: 10, service_templates: 50 },
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Operator,
    Bare,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if let [mode, kubeconfig, url, namespace] = &arguments[..] {
        ensure!(mode == "bare", "the only mode is bare");
        return bare::run(Path::new(kubeconfig), url, namespace).await;
    }
    println!(
        "bench: starts a control plane; CMDB simulated with 20 ms a call and 2 ms an item, {IN_FLIGHT} calls in flight"
    );
    let plane = ControlPlane::start(Options::default()).await?;
    install_crds(&plane.client().await).await;
    let wanted = |scenario: &&Scenario| arguments.is_empty() || arguments.iter().any(|name| name == scenario.name);
    let mut lines = Vec::new();
    for scenario in SCENARIOS.iter().filter(wanted) {
        let bare = run(&plane, scenario, Who::Bare).await?;
        row(scenario, "bare loop", &bare);
        let operator = run(&plane, scenario, Who::Operator).await?;
        row(scenario, "operator", &operator);
        lines.push(format!(
            "bench: scenario={} ids_seconds={:.2} ready_seconds={:.2} bare_seconds={:.2} ratio={:.2} calls={} bare_calls={} \
             status_writes={} bare_status_writes={} events={} peak_mib={:.0} bare_peak_mib={:.0} cpu_seconds={:.1} \
             bare_cpu_seconds={:.1}",
            scenario.name,
            operator.ids.as_secs_f64(),
            operator.ready.as_secs_f64(),
            bare.ids.as_secs_f64(),
            operator.ids.as_secs_f64() / bare.ids.as_secs_f64(),
            operator.calls,
            bare.calls,
            operator.status_writes,
            bare.status_writes,
            operator.events,
            operator.peak_mib,
            bare.peak_mib,
            operator.cpu_seconds,
            bare.cpu_seconds,
        ));
    }
    let wanted =
        |scenario: &&quota::QuotaScenario| arguments.is_empty() || arguments.iter().any(|name| name == scenario.name);
    for scenario in quota::SCENARIOS.iter().filter(wanted) {
        lines.push(quota::run(&plane, scenario).await?);
    }
    if arguments.is_empty() || arguments.iter().any(|name| name == large::NAME) {
        lines.push(large::run(&plane).await?);
    }
    if arguments.is_empty() || arguments.iter().any(|name| name == newcomer::NAME) {
        lines.push(newcomer::run(&plane).await?);
    }
    plane.stop().await;
    println!();
    for line in lines {
        println!("{line}");
    }
    Ok(())
}

fn row(scenario: &Scenario, who: &str, cost: &Cost) {
    println!(
        "{:<34} {who:<10} ids {:>6.2} s  ready {:>6.2} s  calls {:>5}  status writes {:>5}  events {:>5}  peak {:>4.0} MiB  cpu {:>5.1} s",
        scenario.name,
        cost.ids.as_secs_f64(),
        cost.ready.as_secs_f64(),
        cost.calls,
        cost.status_writes,
        cost.events,
        cost.peak_mib,
        cost.cpu_seconds
    );
}

async fn run(plane: &ControlPlane, scenario: &Scenario, who: Who) -> anyhow::Result<Cost> {
    let agent = if who == Who::Operator { "process-template-operator" } else { "bare-loop" };
    let namespace = format!("{}-{agent}", scenario.name);
    let file = |name: &str| plane.folder().join(format!("{namespace}.{name}"));
    let client = client_of(&plane.kubeconfig_path(), "bench").await?;
    let (simulator, url) = simulator(scenario, &file("simulator")).await?;
    // As fast as it can: the limits are not what is measured.
    let limits = json!({ "maxConcurrent": IN_FLIGHT, "requestsPerSecond": 1000 });
    prepare(&client, &namespace, json!({ "url": url, "limits": limits })).await?;
    let measured = match who {
        Who::Operator => operator(plane, &namespace, &file("log")).await?,
        Who::Bare => {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("bare").arg(plane.kubeconfig_path()).args([&url, &namespace]);
            started(command, plane, &file("log")).await?
        }
    };

    let mut cost = Cost::default();
    let sets: Api<ProcessTemplateSet> = Api::namespaced(client, &namespace);
    let begun = Instant::now();
    let watched = tokio::spawn(watch(sets.clone(), scenario.sets, who, begun));
    create(&sets, scenario, &json!({})).await?;
    let (ids, ready) = timeout(PATIENCE, watched).await.context("not all sets have their IDs in time")???;
    (cost.ids, cost.ready) = (ids, ready);
    measure::process(measured.pid(), &mut cost)?;
    api_writes(plane, &namespace, agent, &mut cost);
    let summary: Value = reqwest::get(format!("{url}/sim/requests?summary=true")).await?.json().await?;
    cost.calls = summary["total"].as_u64().unwrap_or_default();
    measured.stop().await;
    simulator.stop().await;
    Ok(cost)
}

// The operator, for the sets of one namespace.
async fn operator(plane: &ControlPlane, namespace: &str, log: &Path) -> anyhow::Result<Held> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ptset"));
    command.args(["run", "--connections-anywhere", "--listen", "127.0.0.1:0", "--watch-namespaces", namespace]);
    started(command, plane, log).await
}

async fn started(mut command: Command, plane: &ControlPlane, log: &Path) -> anyhow::Result<Held> {
    command.env("KUBECONFIG", plane.kubeconfig_path());
    let process = Held::start(&command, log, None).await?;
    line_with(log, "begins").await?;
    Ok(process)
}

async fn simulator(scenario: &Scenario, log: &Path) -> anyhow::Result<(Held, String)> {
    // Another package's program: cargo builds it beside the folder of this one, but only when it is asked to.
    let program = std::env::current_exe()?.parent().and_then(Path::parent).context("its folder")?.join("cmdb-sim");
    ensure!(program.exists(), "{} is missing: run `make bench`", program.display());
    let mut command = Command::new(program);
    command.args(["--listen", "127.0.0.1:0"]);
    let simulator = Held::start(&command, log, None).await?;
    let line = line_with(log, "listening on ").await?;
    let url = line.split("listening on ").nth(1).context("its address")?.trim().to_owned();
    let templates = (1..=scenario.service_templates)
        .map(|id| json!({ "id": id, "name": format!("t{id}"), "bk_biz_id": 2, "service_category_id": 2 }));
    let http = reqwest::Client::new();
    let state = json!({ "service_templates": templates.collect::<Value>() });
    http.put(format!("{url}/sim/state")).json(&state).send().await?.error_for_status()?;
    let delay = json!({ "call": "*", "every": true, "do": { "delay_ms": 20, "delay_per_item_ms": 2 } });
    http.post(format!("{url}/sim/faults")).json(&delay).send().await?.error_for_status()?;
    Ok((simulator, url))
}

async fn prepare(client: &Client, namespace: &str, mut reached: Value) -> anyhow::Result<()> {
    let object: Namespace = serde_json::from_value(json!({ "metadata": { "name": namespace } }))?;
    Api::all(client.clone()).create(&PostParams::default(), &object).await?;
    let secret = json!({ "metadata": { "name": "cmdb" },
        "stringData": { "bk_app_code": "bench", "bk_app_secret": "bench", "bk_username": "bench" } });
    let secret: k8s_openapi::api::core::v1::Secret = serde_json::from_value(secret)?;
    Api::namespaced(client.clone(), namespace).create(&PostParams::default(), &secret).await?;
    reached["credentialsSecretRef"] = json!({ "name": "cmdb" });
    let connection = json!({
        "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "CmdbConnection", "metadata": { "name": "default" },
        "spec": reached,
    });
    let connection: process_template_operator::api::CmdbConnection = serde_json::from_value(connection)?;
    Api::namespaced(client.clone(), namespace).create(&PostParams::default(), &connection).await?;
    Ok(())
}

async fn create(sets: &Api<ProcessTemplateSet>, scenario: &Scenario, more: &Value) -> anyhow::Result<()> {
    let all = (0..scenario.sets).map(|number| set(number, scenario, more));
    futures::stream::iter(all)
        .map(|set| async move { sets.create(&PostParams::default(), &set?).await.map_err(anyhow::Error::from) })
        .buffer_unordered(20)
        .try_for_each(|_| futures::future::ready(Ok(())))
        .await
}

fn set(number: usize, scenario: &Scenario, more: &Value) -> anyhow::Result<ProcessTemplateSet> {
    let processes = (0..scenario.processes).map(|process| {
        json!({ "name": format!("s{number:04}-p{process:03}"), "funcName": format!("s{number:04}-f{process:03}"),
            "startCmd": "./start.sh", "stopCmd": "./stop.sh", "workPath": "/data/app", "user": "app", "procNum": 1,
            "bindInfo": [{ "ip": "0.0.0.0", "port": 8000 + process, "protocol": "TCP", "enable": true }] })
    });
    let template = format!("t{}", 1 + number % scenario.service_templates);
    let mut set = json!({
        "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "ProcessTemplateSet",
        "metadata": { "name": format!("s{number:04}") },
        "spec": { "bizId": 2, "serviceTemplate": { "name": template }, "processes": processes.collect::<Value>() },
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        set["spec"][name] = value.clone();
    }
    Ok(serde_json::from_value(set)?)
}

// One watch sees when every set has all its IDs, and when every set is Ready.
async fn watch(
    sets: Api<ProcessTemplateSet>,
    count: usize,
    who: Who,
    begun: Instant,
) -> anyhow::Result<(Duration, Duration)> {
    let mut changes = std::pin::pin!(watcher(sets, watcher::Config::default()).default_backoff().applied_objects());
    let (mut with_ids, mut ready) = (BTreeSet::new(), BTreeSet::new());
    let mut ids_after = None;
    while let Some(set) = changes.try_next().await? {
        let Some(status) = &set.status else { continue };
        if status.processes.iter().filter(|process| process.id.is_some()).count() == set.spec.processes.len() {
            with_ids.insert(set.name_any());
        }
        if status.conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True") {
            ready.insert(set.name_any());
        }
        if with_ids.len() == count && ids_after.is_none() {
            ids_after = Some(begun.elapsed());
        }
        if let Some(ids) = ids_after.filter(|_| who == Who::Bare || ready.len() == count) {
            return Ok((ids, if who == Who::Bare { ids } else { begun.elapsed() }));
        }
    }
    anyhow::bail!("the watch ended")
}

async fn line_with(log: &Path, text: &str) -> anyhow::Result<String> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let all = std::fs::read_to_string(log).unwrap_or_default();
        if let Some(line) = all.lines().find(|line| line.contains(text)) {
            return Ok(line.to_owned());
        }
        ensure!(Instant::now() < deadline, "{} has no line with {text:?}:\n{all}", log.display());
        sleep(Duration::from_millis(20)).await;
    }
}
