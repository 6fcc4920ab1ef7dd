//! `ptset plan`: shows what the controller would do, with the controller's own engine in read-only mode.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connect::ConnectionFlags;
use super::exit_status::ExitStatus;
use super::output;
use super::output::Output;
use crate::api::ProcessTemplateSet;
use crate::cli::manifest::finding::Finding;
use crate::cli::manifest::inventory::{Inventory, Set, by_service_template, is_being_deleted, other_sets};
use crate::cmdb::Behalf;
use crate::controller;
use crate::controller::{ConnectionName, from_status};
use crate::engine;
use crate::engine::{
    Connection, Engine, Freshness, Job, OtherSetCandidate, Progress, ReadRequest, Surroundings, in_new_service_template,
};
use crate::plan::{Counts, Desired, Memory, Observed, Preview, SetName, Stage, count, forecast, plan as plan_for};

// The default of `ptset run --create-grace-seconds`.
const CREATE_GRACE: Duration = Duration::from_secs(150);

// Sets that are planned at the same time. Calls in flight are bounded by each connection's limits.
const CONCURRENCY: usize = 8;

/// Options of `ptset plan`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Nothing is written, neither to CMDB nor to a cluster. Credentials are those of the Secret that the CmdbConnection names, \
which must be in the files; with --url, those of the environment: PTSET_BK_APP_CODE, PTSET_BK_APP_SECRET and one of \
PTSET_BK_USERNAME, PTSET_BK_TOKEN, PTSET_ACCESS_TOKEN.

What the operator remembers of a set stands in its status: give the sets as the cluster has them, and after them the \
manifests that are to be applied. Of a set that stands twice, the later spec counts with the earlier status. Without a \
status, templates that leave a set cannot be told. Other sets are seen only if they are in the files.

  +  would be created        !  something stands in the way
  ~  would be changed        =  nothing would be written
  -  would be deleted        a -> b  what CMDB has, and what the set says

Exit status: 0 nothing would be written; 2 something would; 1 a set could not be planned, or a file not be read.

Example:
  $ kubectl get ptset -A -o yaml > live.yaml
  $ ptset plan -f live.yaml -f manifests/ --url https://cmdb.example.com
  blueking/web: business 2, service template 5 \"web-frontend\"
    ~ update nginx: template 52 \"nginx\"
        startCmd: \"./start.sh\" -> \"./start.sh -d\"
    = 3 of 4 in sync
  1 set: 0 to create, 1 to update, 0 to delete, 0 with trouble")]
pub struct Options {
    /// A file, a folder with .yaml, .yml and .json files, or - for standard input; may be repeated
    #[arg(short, long, value_name = "FILE", required = true)]
    filename: Vec<PathBuf>,
    /// Namespace of what names none
    #[arg(short, long, value_name = "NAME", default_value = "default")]
    namespace: String,
    #[command(flatten)]
    flags: ConnectionFlags,
    /// How it is printed
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Output::Text)]
    output: Output,
}

// The plan of one set, or why there is none.
type Outcome<'a> = (&'a SetName, Result<Preview, String>);

/// Shows what the controller would do.
pub fn plan(options: &Options) -> anyhow::Result<ExitStatus> {
    let mut inventory = Inventory::read(&options.filename, &options.namespace)?;

    let mut accesses = Vec::new();
    for set in &inventory.sets {
        accesses.push(match &set.object {
            Ok(object) => {
                let name = ConnectionName::of_set(&set.name.namespace, &object.spec);
                let grants = inventory.connections.grants(&set.name.namespace, &name, &options.flags);
                inventory
                    .connections
                    .get(&name, &options.flags)
                    .map(|connection| connection.granted(grants, Behalf::default()))
            }
            Err(findings) => Err(lines(findings)),
        });
    }

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcomes = runtime.block_on(preview_all(&inventory.sets, &accesses));
    output::print(&match options.output {
        Output::Text => to_text(&outcomes, &inventory.findings),
        Output::Json => format!("{:#}\n", to_json(&outcomes, &inventory.findings)),
    })?;

    let has_failed = !inventory.findings.is_empty() || outcomes.iter().any(|(_, outcome)| outcome.is_err());
    let has_changes = outcomes.iter().any(|(_, outcome)| outcome.as_ref().is_ok_and(Preview::has_changes));
    Ok(match (has_failed, has_changes) {
        (true, _) => ExitStatus::Failure,
        (false, true) => ExitStatus::Changes,
        (false, false) => ExitStatus::Success,
    })
}

fn lines(findings: &[Finding]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

async fn preview_all<'a>(sets: &'a [Set], accesses: &[Result<Connection, String>]) -> Vec<Outcome<'a>> {
    let engine = Engine::new(CREATE_GRACE);
    let begun = Instant::now();
    let index = by_service_template(sets, accesses);
    let previews = sets.iter().zip(accesses).enumerate().map(|(position, (set, access))| {
        let (engine, index) = (&engine, &index);
        async move {
            let outcome = match (&set.object, access) {
                (Ok(object), Ok(access)) => {
                    let others = other_sets(index, position, access);
                    preview(engine, &set.name, object, access, others, begun).await
                }
                (_, Err(reason)) => Err(reason.clone()),
                (Err(findings), _) => Err(lines(findings)),
            };
            (&set.name, outcome)
        }
    });
    futures::stream::iter(previews).buffered(CONCURRENCY).collect().await
}

async fn preview(
    engine: &Engine,
    name: &SetName,
    set: &ProcessTemplateSet,
    access: &Connection,
    others: Vec<OtherSetCandidate>,
    begun: Instant,
) -> Result<Preview, String> {
    // Validate.
    let desired = if is_being_deleted(set) {
        Desired::nothing(name.clone(), &set.spec)
    } else {
        Desired::from_spec(name.clone(), &set.spec)
    };
    if !desired.violations.is_empty() {
        return Err(controller::Error::Invalid(desired.violations).message());
    }

    // Observe and plan.
    let (memory, made_in) = set.status.as_ref().map(from_status).unwrap_or_default();
    let around = Surroundings {
        set: format!("{}/{}", name.namespace, name.name),
        connection: access.clone(),
        others: Arc::new(others),
        made_in,
    };
    let job = Job::preview(around, &set.spec, desired);
    let progress = Progress::new(CancellationToken::new());
    let may_create = set.spec.service_template.create_if_missing.is_some() && !is_being_deleted(set);
    let (service_template_id, observed, other_sets, memory, plan) =
        match engine.observe(&job, ReadRequest::interactive(Freshness::Since(begun)), &progress).await {
            Ok(scope) => {
                let observed = scope.list.observed.clone();
                let view = engine.plan(&job, memory.clone(), scope);
                let id = Some(view.listing.scope.service_template_id);
                (id, observed, view.other_sets, view.memory, view.plan)
            }
            Err(engine::Error::ServiceTemplateMissing { .. }) if may_create => {
                let (observed, memory) = (new_service_template(&job), Memory::default());
                let name = job.service_template.name.as_deref().unwrap_or_default();
                let other_sets = in_new_service_template(&job.others.candidates().await, job.biz_id, name);
                let plan = plan_for(&job.desired, &observed, &other_sets, &memory, &job.policy);
                (None, observed, Arc::new(other_sets), memory, plan)
            }
            Err(error) => return Err(controller::Error::from(error).message()),
        };

    // Describe.
    let stage = match set.spec.is_suspended() {
        _ if is_being_deleted(set) => Stage::Deleting,
        true => Stage::Suspended,
        false => Stage::Live,
    };
    Ok(Preview {
        set: name.clone(),
        biz_id: set.spec.biz_id,
        service_template_id,
        service_template: set.spec.service_template.name.clone(),
        stage,
        steps: forecast(&job.desired, &observed, &other_sets, &memory, &job.policy),
        templates: observed.templates.to_vec(),
        plan,
    })
}

// What a service template shows that was just created.
fn new_service_template(job: &Job) -> Observed {
    Observed { schema: job.connection.schema, templates: Arc::default(), user: job.connection.client.user() }
}

fn total(outcomes: &[Outcome<'_>]) -> (Counts, usize) {
    let (mut counts, mut failed) = (Counts::default(), 0);
    for (_, outcome) in outcomes {
        match outcome {
            Ok(preview) => counts.add(preview.counts()),
            Err(_) => failed += 1,
        }
    }
    (counts, failed)
}

fn to_text(outcomes: &[Outcome<'_>], findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let _ = writeln!(text, "{finding}");
    }
    for (SetName { namespace, name }, outcome) in outcomes {
        match outcome {
            Ok(preview) => text.push_str(&preview.to_text()),
            Err(reason) => {
                let _ = writeln!(text, "{namespace}/{name}: cannot be planned:");
                for line in reason.lines() {
                    let _ = writeln!(text, "  ! {line}");
                }
            }
        }
    }
    let (Counts { create, update, delete, trouble }, failed) = total(outcomes);
    let sets = outcomes.len();
    let _ = write!(
        text,
        "{}: {create} to create, {update} to update, {delete} to delete, {trouble} with trouble",
        count(sets, "set")
    );
    if failed > 0 {
        let _ = write!(text, "; {failed} could not be planned");
    }
    text.push('\n');
    text
}

fn to_json(outcomes: &[Outcome<'_>], findings: &[Finding]) -> Value {
    let sets = outcomes.iter().map(|(SetName { namespace, name }, outcome)| match outcome {
        Ok(preview) => preview.to_json(),
        Err(reason) => json!({
            "namespace": namespace, "name": name, "serviceTemplateId": null,
            "steps": [], "items": [], "removals": [], "error": reason,
        }),
    });
    let (Counts { create, update, delete, trouble }, failed) = total(outcomes);
    json!({
        "sets": sets.collect::<Value>(),
        "findings": findings.iter().map(Finding::to_json).collect::<Value>(),
        "summary": {
            "sets": outcomes.len(), "create": create, "update": update, "delete": delete, "trouble": trouble,
            "failed": failed,
        },
    })
}
