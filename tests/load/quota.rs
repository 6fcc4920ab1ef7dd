//! A quota that the checks of many sets use up, and edits meanwhile: how well it is used, how little is refused, and how
//! long an edit takes.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use cmdb_sim::QuotaWindow;
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::measure::{IN_FLIGHT, client_of};
use super::{PATIENCE, Scenario, Who};
use process_template_operator::api::ProcessTemplateSet;
use test_support::control_plane::ControlPlane;
use test_support::held::Held;

/// Calls of a window, and its length: less than half of what the checks ask for.
const LIMIT: u64 = 100;
const WINDOW: Duration = Duration::from_secs(5);

/// What the connection allows: the quota is lower.
const REQUESTS_PER_SECOND: u32 = 60;

const EDITS: usize = 100;

/// A quota that sets at rest use up.
pub struct QuotaScenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What begins its line.
    pub label: &'static str,
    /// Whether the gateway says what is left.
    pub headers: bool,
    // Before it is measured: time to learn.
    settles: Duration,
}

/// With and without the gateway's headers.
pub const SCENARIOS: &[QuotaScenario] = &[
    QuotaScenario { name: "quota", label: "quota", headers: true, settles: Duration::from_secs(30) },
    QuotaScenario {
        name: "quota-without-headers",
        label: "quota without headers",
        headers: false,
        settles: Duration::from_secs(90),
    },
];

const SETS: Scenario = Scenario { name: "quota", sets: 500, processes: 1, service_templates: 500 };

/// Runs it and gives its line.
pub async fn run(plane: &ControlPlane, scenario: &QuotaScenario) -> anyhow::Result<String> {
    let namespace = scenario.name;
    let file = |name: &str| plane.folder().join(format!("{namespace}.{name}"));
    let client = client_of(&plane.kubeconfig_path(), "bench").await?;
    let (simulator, url) = super::simulator(&SETS, &file("simulator")).await?;
    let limits = json!({ "maxConcurrent": IN_FLIGHT, "requestsPerSecond": REQUESTS_PER_SECOND });
    let reached = json!({ "url": format!("{url}/api/bk-cmdb/prod"), "transport": "Gateway", "limits": limits });
    super::prepare(&client, namespace, reached).await?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_ptset"));
    command.args(["run", "--connections-anywhere", "--listen", "127.0.0.1:0", "--watch-namespaces", namespace]);
    command.env("KUBECONFIG", plane.kubeconfig_path());
    let operator = Held::start(&command, &file("log"), None).await?;
    super::line_with(&file("log"), "begins").await?;
    let sets = kube::Api::<ProcessTemplateSet>::namespaced(client, namespace);
    let watched = tokio::spawn(super::watch(sets.clone(), SETS.sets, Who::Operator, Instant::now()));
    super::create(&sets, &SETS, &json!({ "resyncIntervalSeconds": 5 })).await?;
    timeout(PATIENCE, watched).await.context("not all sets are Ready in time")???;

    let cmdb = Cmdb { http: reqwest::Client::new(), url };
    let quota = json!({ "limit": LIMIT, "windowSeconds": WINDOW.as_secs(), "headers": scenario.headers });
    cmdb.put_state(&json!({ "quota": quota })).await?;
    sleep(scenario.settles).await;
    let before = cmdb.windows().await?.len();
    let mut times = Vec::new();
    for edit in 0..EDITS {
        // Any order does that is not theirs.
        let name = format!("s{:04}", (edit * 193 + 71) % SETS.sets);
        times.push(cmdb.until_edited(&sets, &name, edit).await?);
        sleep(Duration::from_millis(600)).await;
    }
    let windows = cmdb.windows().await?;
    operator.stop().await;
    simulator.stop().await;
    line(scenario, windows.get(before..).unwrap_or_default(), times)
}

// The last window has only begun.
fn line(scenario: &QuotaScenario, windows: &[QuotaWindow], mut times: Vec<Duration>) -> anyhow::Result<String> {
    let [whole @ .., last] = windows else { anyhow::bail!("no window") };
    ensure!(whole.len() >= 3, "only {} windows", whole.len());
    let start = |window: &QuotaWindow| window.start.parse::<Timestamp>();
    let time = start(last)?.duration_since(start(&whole[0])?).as_secs_f64();
    let sum = |count: fn(&QuotaWindow) -> u64| -> anyhow::Result<f64> {
        Ok(u32::try_from(whole.iter().map(count).sum::<u64>())?.into())
    };
    let (taken, refused) = (sum(|window| window.taken)?, sum(|window| window.refused)?);
    let allowed = f64::from(u32::try_from(LIMIT)?) * time / WINDOW.as_secs_f64();
    times.sort_unstable();
    let p99 = times.get(times.len() * 99 / 100 - 1).context("edits")?.as_millis();
    let counts: Vec<String> = whole.iter().map(|window| format!("{}+{}", window.taken, window.refused)).collect();
    println!("  {}: calls taken and refused, by window: {}", scenario.name, counts.join(" "));
    let (half, longest) = (times[times.len() / 2].as_millis(), times[times.len() - 1].as_millis());
    println!("  {}: edits took {half} ms by the median, {longest} ms at most", scenario.name);
    Ok(format!(
        "{}: sets={} throttled_percent={:.2} used_percent={:.1} edit_p99_ms={p99}",
        scenario.label,
        SETS.sets,
        100.0 * refused / (taken + refused),
        100.0 * taken / allowed,
    ))
}

// The simulator, from behind.
struct Cmdb {
    http: reqwest::Client,
    url: String,
}

impl Cmdb {
    async fn put_state(&self, state: &Value) -> anyhow::Result<()> {
        self.http.put(format!("{}/sim/state", self.url)).json(state).send().await?.error_for_status()?;
        Ok(())
    }

    async fn windows(&self) -> anyhow::Result<Vec<QuotaWindow>> {
        let mut windows: Value = self.http.get(format!("{}/sim/quota", self.url)).send().await?.json().await?;
        Ok(serde_json::from_value(windows["windows"].take())?)
    }

    // From the apply of a change until CMDB has stored it.
    async fn until_edited(
        &self,
        sets: &kube::Api<ProcessTemplateSet>,
        name: &str,
        edit: usize,
    ) -> anyhow::Result<Duration> {
        let command = format!("./edit-{edit}.sh");
        let mut set = sets.get(name).await?;
        set.spec.processes[0].start_cmd = Some(command.clone());
        let change = json!({ "spec": { "processes": set.spec.processes } });
        self.http.delete(format!("{}/sim/requests", self.url)).send().await?.error_for_status()?;
        let begun = Instant::now();
        sets.patch(name, &PatchParams::default(), &Patch::Merge(&change)).await?;
        loop {
            let seen: Value = self.http.get(format!("{}/sim/requests", self.url)).send().await?.json().await?;
            let is_ours = |record: &&Value| {
                let value = &record["body"]["process_property"]["start_cmd"]["value"];
                record["code"] == json!(0) && *value == json!(command)
            };
            if seen["requests"].as_array().context("requests")?.iter().find(is_ours).is_some() {
                return Ok(begun.elapsed());
            }
            ensure!(begun.elapsed() < PATIENCE, "{name} was not changed in CMDB");
            sleep(Duration::from_millis(10)).await;
        }
    }
}
