//! What the engine needs to know of a set.

use std::time::Duration;

use super::identity::CurrentSet;
use super::other_sets;
use super::status::journal::{StatusJournal, remembered};
use crate::controller::connection::set_connection::SetConnection;
use crate::controller::context::Context;
use crate::engine::Job;
use crate::plan::{Desired, Policy};

// What another set wants is kept for it this long.
const HAND_OVER: Duration = Duration::from_mins(1);

/// The job of a living set that wants this.
pub async fn living(
    set: &CurrentSet<'_>,
    context: &Context,
    connection: &SetConnection,
    desired: Desired,
    journal: &StatusJournal<'_>,
) -> Job {
    let known_for = set.state.known_for();
    // A set that adopts what leaves this one may come a moment later.
    let policy = Policy {
        removals_are_due: known_for >= context.removal_delay,
        hand_overs_are_over: known_for >= HAND_OVER,
        ..Policy::of(&set.object.spec)
    };
    job(set, context, connection, desired, policy, journal).await
}

/// The job of a set that is being deleted: it wants nothing, and nothing new is made for it.
pub async fn leaving(
    set: &CurrentSet<'_>,
    context: &Context,
    connection: &SetConnection,
    journal: &StatusJournal<'_>,
) -> Job {
    let known_for = set.state.known_for();
    let policy =
        Policy { removals_are_due: true, hand_overs_are_over: known_for >= HAND_OVER, ..Policy::of(&set.object.spec) };
    let desired = Desired::nothing(set.set_name(), &set.object.spec);
    Job { is_read_only: true, ..job(set, context, connection, desired, policy, journal).await }
}

async fn job(
    set: &CurrentSet<'_>,
    context: &Context,
    connection: &SetConnection,
    desired: Desired,
    policy: Policy,
    journal: &StatusJournal<'_>,
) -> Job {
    let (_, made_in) = remembered(journal);
    Job {
        set: set.uid.clone(),
        others: other_sets::others(set.object, &context.store, &context.connections, connection.url()).await,
        connection: connection.connection.clone(),
        biz_id: set.object.spec.biz_id,
        service_template: set.object.spec.service_template.clone(),
        desired,
        policy,
        grants: connection.grants.clone(),
        made_in,
        is_read_only: set.object.spec.is_suspended(),
    }
}
