//! What a set has made in a service template that somebody has deleted since. CMDB keeps the process templates of such a
//! service template; they are listed by its ID, and they are still the set's own.
//!
//! *Guarantees.* The ID is from the status, which may have been edited or restored. So nothing is touched unless lists of the
//! business show that there is no such service template any more; and of its process templates only those that the status
//! remembers with their creation times, in this business, within the set's grants.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::time::Instant;

use super::apply::carry_out;
use super::journal::Journal;
use super::writes::{Carried, Tally, Writer};
use crate::engine::error::Error;
use crate::engine::job::Job;
use crate::engine::lookup::read_request::{Freshness, ReadRequest};
use crate::engine::lookup::service_template::{ServiceTemplates, Standing};
use crate::engine::other_sets::{OtherSetCandidate, OtherSets};
use crate::engine::progress::Progress;
use crate::plan::{Conflict, Decision, Fate, Item, Memory, Owner, Plan, Removal};

/// What came of a service template in which a set was created, and to which its selector does not lead any more.
#[derive(Debug)]
pub enum Former {
    /// It is still there, under this name: nothing in it is touched.
    There(String),
    /// It is gone, and its ID is not known: nothing in it can be found.
    Unknown,
    /// It is gone, and so are the set's templates.
    Cleared {
        /// What was deleted.
        tally: Tally,
        /// What stays because another set has it.
        left_to_others: Vec<Removal>,
        /// What stays because the status was lost and it differs from what the set says.
        strangers: Vec<Removal>,
    },
    /// It is gone, and something of the set is left.
    Left(Box<Carried>),
}

/// Deletes what a set has made in a service template that is gone. `job` wants nothing; `recovering` finds what belongs to a set
/// whose status was lost.
pub async fn clear_former<J: Journal>(
    (service_templates, writer): (&ServiceTemplates, &Writer),
    job: &Job,
    mut memory: Memory,
    recovering: Option<&Job>,
    progress: &Progress,
    journal: &mut J,
) -> Result<Former, Error> {
    // Find out whether it is gone.
    let id = job.made_in.service_template_id.or(job.service_template.id);
    if let Standing::There(name) = service_templates.standing(job, id, progress).await? {
        // The list that did not lead there was wrong, or is not any more.
        let is_named = job.service_template.id.is_none() && job.service_template.name.as_ref() != Some(&name);
        let contradiction = Error::ServiceTemplateUnconfirmed { biz_id: job.biz_id, what: format!("{name:?}") };
        return if is_named { Ok(Former::There(name)) } else { Err(contradiction) };
    }
    let Some(id) = id else { return Ok(Former::Unknown) };
    progress.checkpoint()?;

    // List what is left of it.
    let name = job.service_template.name.clone().unwrap_or_default();
    let request = ReadRequest::interactive(Freshness::Since(Instant::now()));
    let list = writer.lists.observe(job, job.scope(id), &name, request, progress).await?;
    let mut strangers = Vec::new();
    if let Some(recovering) = recovering {
        let view = writer.plan(recovering, memory, &list, Vec::new(), name.clone());
        strangers = differing(&view.plan);
        memory = view.memory;
        memory.absorb(&view.plan);
    }

    // Delete it, but for what another set has.
    let job = &Job { others: Arc::new(Holders(Arc::clone(&job.others))), ..job.clone() };
    let others = job.other_sets(id, Some(&name)).await;
    let view = writer.plan(job, memory, &list, others, name);
    drop(list);
    let carried = carry_out(writer, job, view, progress, journal).await;
    let plan = &carried.view.plan;
    if carried.stopped.is_some() || plan.has_removals() || !plan.undecided.is_empty() {
        return Ok(Former::Left(Box::new(carried)));
    }
    Ok(Former::Cleared { tally: carried.tally, left_to_others: carried.released, strangers })
}

// The other sets with what they have: what they want by name, they want in another service template.
#[derive(Debug)]
struct Holders(Arc<dyn OtherSets>);

impl OtherSets for Holders {
    fn candidates(&self) -> BoxFuture<'_, Vec<OtherSetCandidate>> {
        let without_wants = |mut other: OtherSetCandidate| {
            other.claims.wants.clear();
            other
        };
        self.0.candidates().map(move |all| all.into_iter().map(without_wants).collect()).boxed()
    }
}

/// The templates that have the name of an item and differ from it: what was recovered without them stays.
#[must_use]
pub fn differing(plan: &Plan) -> Vec<Removal> {
    let stranger = |item: &Item| match &item.decision {
        Decision::Conflict(Conflict { id: Some(id), owner: Owner::Stranger, .. }) => {
            let (key, process_name) = (item.key.clone(), item.process_name.clone());
            Some(Removal { key, id: *id, process_name, fate: Fate::Orphan })
        }
        _ => None,
    };
    plan.items.iter().filter_map(stranger).collect()
}
