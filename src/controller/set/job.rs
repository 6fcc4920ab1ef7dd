//! What the engine needs to know of a set, beside its spec.

use std::sync::Arc;
use std::time::Duration;

use super::identity::CurrentSet;
use super::other_sets::WatchedSets;
use super::status::journal::{StatusJournal, remembered};
use crate::controller::connection::set_connection::SetConnection;
use crate::controller::context::Context;
use crate::engine::{Connection, Progress, Surroundings, Waits};

// What another set wants is kept for it this long.
const HAND_OVER: Duration = Duration::from_mins(1);

/// What surrounds a set: its connection with its grants, the other sets, and where its memory was made. Calls over the connection
/// wait only while the set is as it was.
pub fn surroundings(
    set: &CurrentSet<'_>,
    context: &Context,
    connection: &SetConnection,
    journal: &StatusJournal<'_>,
    progress: &Progress,
) -> Surroundings {
    let (_, made_in) = remembered(journal);
    let (index, store, connections) = (&context.index, context.store.clone(), &context.connections);
    let others = WatchedSets::beside(set, connection.url(), Arc::clone(index), store, Arc::clone(connections));
    let client = connection.connection.client.waiting_until(progress.superseded().clone());
    Surroundings {
        set: set.uid.clone(),
        connection: Connection { client, ..connection.connection.clone() },
        others: Arc::new(others),
        made_in,
    }
}

/// Which waits for other sets are over: a set that adopts what leaves this one may come a moment later.
pub fn waits(set: &CurrentSet<'_>, context: &Context) -> Waits {
    let known_for = set.state.known_for();
    Waits { removals_are_due: known_for >= context.removal_delay, hand_overs_are_over: known_for >= HAND_OVER }
}
