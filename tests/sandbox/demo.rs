//! The demo: the examples, and what comes of them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use process_template_operator::api::{ProcessTemplateSet, RECONCILE_REQUESTED_AT};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::Sandbox;
use crate::objects::{EXAMPLES, NAMESPACE};
use crate::parts::{Operator, Simulator, Summary};
use crate::say::{say, step};

/// What somebody with a sandbox may do.
pub const WHAT_TO_TRY: &str = "\
What to try, with the lines that make sandbox prints:
  kubectl apply -f examples/shop.yaml && kubectl -n blueking wait --for=condition=Ready ptset/shop
  kubectl -n blueking get ptset shop -o jsonpath='{.status.processes[*].id}'
  # somebody deletes a template in CMDB; the operator is asked to look at once, and makes it again:
  curl -X DELETE $CMDB/sim/process_templates/$(kubectl -n blueking get ptset shop -o jsonpath='{.status.processes[0].id}')
  kubectl -n blueking annotate ptset shop --overwrite cmdb.bk.tencent.com/reconcile-requested-at=\"$(date)\"
  curl \"$CMDB/sim/requests?summary=true\"      # what CMDB was asked
  kubectl explain ptset.spec.processes";

const PATIENCE: Duration = Duration::from_mins(3);
const LOOK: Duration = Duration::from_millis(200);
const CREATE: &str = "batch_create_proc_template";

const COLUMNS: &str = "--output=custom-columns=NAMESPACE:.metadata.namespace,NAME:.metadata.name,\
    READY:.status.conditions[?(@.type==\"Ready\")].status,REASON:.status.conditions[?(@.type==\"Ready\")].reason,\
    TEMPLATES:.status.summary,BUSINESS:.spec.bizId,SERVICE-TEMPLATE:.status.serviceTemplateId,\
    PROCESS-TEMPLATE-IDS:.status.processes[*].id";

/// Calls that change something.
#[derive(Clone, Copy)]
struct Writes {
    create_posts: usize,
    others: usize,
}

/// Runs it; the figures of its last line.
pub async fn run(sandbox: &mut Sandbox, client: &Client) -> anyhow::Result<String> {
    let (simulator, cluster, operator) = sandbox.parts()?;
    let objects = sandbox.objects.as_ref().context("there are no objects")?;
    say(&format!("\n$ kubectl apply -f {}", EXAMPLES.join(" -f ")));
    step("examples: applied", objects.apply_examples(cluster)).await?;
    let sets = step("sets: all Ready", until_ready(client, operator)).await?;

    let table = ["get", "ptset", "--namespace", NAMESPACE, COLUMNS];
    say(&format!("\n$ kubectl get ptset -n {NAMESPACE} -o custom-columns=...\n{}", cluster.kubectl(&table).await?));
    let before = simulator.summary().await?;
    say(&received(&before));

    let (writes, folder) = (writes(&before), simulator.folder().to_owned());
    let (kubeconfig, namespace) = (cluster.kubeconfig.clone(), (!cluster.is_local()).then_some(NAMESPACE));
    let last = last_sequence(simulator).await?;
    let operator = sandbox.operator.take().context("the operator does not run")?;
    step("operator: stopped", operator.stop()).await?;
    let operator = step("operator: started again, ready", Operator::start(&folder, &kubeconfig, namespace)).await?;
    let operator = sandbox.operator.insert(operator);
    let simulator = sandbox.simulator.as_ref().context("the simulator does not run")?;
    // At rest they would be looked at within their interval, which is ten minutes.
    let ask = format!("{RECONCILE_REQUESTED_AT}=after-the-restart");
    let annotate = ["annotate", "ptset", "--all", "--namespace", NAMESPACE, "--overwrite", &ask];
    let cluster = sandbox.cluster.as_ref().context("there is no cluster")?;
    step("sets: all asked to be looked at", cluster.kubectl(&annotate)).await?;
    step("sets: all looked at again", until_seen_again(&sets, simulator, operator, last)).await?;
    // A write that is under way is finished first, so that it is counted.
    let operator = sandbox.operator.take().context("the operator does not run")?;
    step("operator: stopped", operator.stop()).await?;

    let total = self::writes(&simulator.summary().await?);
    let again = (total.create_posts - writes.create_posts, total.others - writes.others);
    say(&format!("\nafter a restart of the operator: create_posts={} other_writes={}\n", again.0, again.1));
    say(&format!("{WHAT_TO_TRY}\n"));
    let processes: usize = sets.iter().map(|set| set.spec.processes.len()).sum();
    let ready = sets.iter().filter(|set| is_ready(set)).count();
    let ids: BTreeSet<i64> = sets.iter().flat_map(ids).collect();
    Ok(format!(
        "demo: sets={} ready={ready} processes={processes} ids={} create_posts={} other_writes={}",
        sets.len(),
        ids.len(),
        total.create_posts,
        total.others
    ))
}

async fn until_ready(client: &Client, operator: &Operator) -> anyhow::Result<Vec<ProcessTemplateSet>> {
    let api: Api<ProcessTemplateSet> = Api::namespaced(client.clone(), NAMESPACE);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let sets = api.list(&ListParams::default()).await?.items;
        let waiting: Vec<&ProcessTemplateSet> = sets.iter().filter(|set| !is_ready(set)).collect();
        if waiting.is_empty() && !sets.is_empty() {
            return Ok(sets);
        }
        let dead = !operator.is_running();
        if dead || Instant::now() > deadline {
            let minutes = PATIENCE.as_secs() / 60;
            let why = if dead { "the operator has ended".into() } else { format!("not within {minutes} minutes") };
            let mut text = format!("{} of {} sets are not Ready: {why}\n", waiting.len(), sets.len());
            for set in waiting {
                let _ = writeln!(text, "  {}: {}", set.name_any(), ready_message(set));
            }
            bail!("{text}The end of the operator's log:\n{}", operator.log_end());
        }
        sleep(LOOK).await;
    }
}

// Each service template was listed again, and as many reconciles have ended well as there are sets.
async fn until_seen_again(
    sets: &[ProcessTemplateSet],
    simulator: &Simulator,
    operator: &Operator,
    last: u64,
) -> anyhow::Result<()> {
    let wanted: BTreeSet<i64> =
        sets.iter().filter_map(|set| set.status.as_ref()).filter_map(|status| status.service_template_id).collect();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let requests = simulator.requests().await?;
        let new = requests.iter().filter(|request| sequence(request) > last);
        let lists = new.filter(|request| request["call"] == "list_proc_template");
        let seen: BTreeSet<i64> = lists.filter_map(|list| list["body"]["service_template_id"].as_i64()).collect();
        if seen.is_superset(&wanted) && operator.good_reconciles().await? >= sets.len() {
            return Ok(());
        }
        if !operator.is_running() || Instant::now() > deadline {
            let missing = wanted.difference(&seen).count();
            bail!(
                "after its restart the operator has not looked at {missing} service templates; the end of its log:\n{}",
                operator.log_end()
            );
        }
        sleep(LOOK).await;
    }
}

async fn last_sequence(simulator: &Simulator) -> anyhow::Result<u64> {
    Ok(simulator.requests().await?.iter().map(sequence).max().unwrap_or_default())
}

fn sequence(request: &Value) -> u64 {
    request["sequence"].as_u64().unwrap_or_default()
}

fn is_ready(set: &ProcessTemplateSet) -> bool {
    let Some(status) = &set.status else { return false };
    let ready = status.conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    ready && status.observed_generation == set.metadata.generation
}

fn ready_message(set: &ProcessTemplateSet) -> String {
    let mut conditions = set.status.iter().flat_map(|status| &status.conditions);
    let ready = conditions.find(|condition| condition.type_ == "Ready");
    ready.map_or("no status yet".to_owned(), |ready| format!("{}: {}", ready.reason, ready.message))
}

fn ids(set: &ProcessTemplateSet) -> impl Iterator<Item = i64> {
    set.status.iter().flat_map(|status| &status.processes).filter_map(|process| process.id)
}

fn writes(summary: &Summary) -> Writes {
    let count = |wanted: fn(&str) -> bool| {
        summary.calls.iter().filter(|(call, _)| wanted(call)).map(|(_, calls)| calls.count).sum()
    };
    Writes {
        create_posts: count(|call| call == CREATE),
        others: count(|call| call != CREATE && !call.starts_with("list_")),
    }
}

fn received(summary: &Summary) -> String {
    let mut text = "What the simulated CMDB received (GET /sim/requests?summary=true):\n".to_owned();
    for (call, calls) in &summary.calls {
        let good = calls.outcomes.get("0").copied().unwrap_or_default();
        let _ = writeln!(text, "  {call:<28} {:>5}    of these with success: {good}", calls.count);
    }
    text
}
