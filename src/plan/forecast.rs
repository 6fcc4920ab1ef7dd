//! What a set's plans will write, one after the other, if every write succeeds.

use std::sync::Arc;

use super::{Desired, Memory, Observed, OtherSet, Plan, Policy, Properties, ServerSchema, Step, Template, plan};

/// Plans that are carried out one after the other: a replacement takes two, and what waits for it a third.
pub const MOST_PLANS: usize = 8;

/// The writes until nothing is left to do. Templates that are created on the way get IDs above every listed one.
#[must_use]
pub fn forecast(
    desired: &Desired,
    observed: &Observed,
    other_sets: &[OtherSet],
    memory: &Memory,
    policy: &Policy,
) -> Vec<Step> {
    let (mut observed, mut memory, mut steps) = (observed.clone(), memory.clone(), Vec::new());

    for _ in 0..MOST_PLANS {
        let plan = plan(desired, &observed, other_sets, &memory, policy);
        memory.absorb(&plan);
        if !plan.has_writes() {
            break;
        }
        for step in &plan.steps {
            carry_out(step, &plan, &mut observed, &mut memory);
        }
        // The first template shows how the server keeps sockets: like those of today, as far as anybody knows.
        if observed.schema == ServerSchema::Unknown {
            observed.schema = ServerSchema::BindInfo;
        }
        steps.extend(plan.steps);
    }
    steps
}

// What one write makes of a scope and of what is remembered.
fn carry_out(step: &Step, plan: &Plan, observed: &mut Observed, memory: &mut Memory) {
    let next_id = observed.highest_id().max(plan.highest_id) + 1;
    let user = observed.user.clone().unwrap_or_default();
    let templates = Arc::make_mut(&mut observed.templates);

    match step {
        Step::Create { key, create } => {
            let shown = templates.first().and_then(|template| template.shown.clone());
            let is_shown = |name: &str| shown.as_ref().is_none_or(|shown| shown.contains(name));
            let properties: Properties = create
                .properties
                .iter()
                .filter(|(name, _)| is_shown(name))
                .map(|(name, pair)| (super::interned(name), pair.clone()))
                .collect();
            templates.push(Template {
                id: next_id,
                process_name: create.process_name.clone(),
                properties,
                shown,
                creator: user.clone(),
                created_at: Some(next_id),
                modifier: user,
                changed_at: Some(next_id),
            });
            memory.created(key, &create.process_name, next_id, plan.is_temporary(key, create));
        }
        Step::Update { id, properties, .. } => {
            for template in templates.iter_mut().filter(|template| template.id == *id) {
                template.update(properties);
            }
        }
        Step::Delete { id, .. } => templates.retain(|template| template.id != *id),
    }
}
