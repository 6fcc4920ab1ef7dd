//! What a set does at CMDB, from a start that is prepared to its rest: together, every call that a reconcile and a deletion
//! can make.

use std::time::Duration;

use cmdb_sim::{Effect, Fault};
use process_template_operator::api::RECONCILE_REQUESTED_AT;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::world::{Fence, GRANTED, SHOP, spec, with};

/// The set of every story.
pub const SET: &str = "web";

// CMDB's code for a pair of function and start parameter that another template has.
const PAIR_TAKEN: i64 = 1_113_020;

// CMDB's service templates are listed in pages of this size.
const PAGE: i64 = 500;

/// What a set does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Story {
    /// A set whose service template is missing: it is created, and the process templates in it.
    Create,
    /// The list of service templates has two pages.
    Pages,
    /// The answer of the create is lost: a list shows its outcome.
    CreateUnclear,
    /// CMDB refuses a create of two items: it is halved.
    CreateRefused,
    /// A property changes.
    Update,
    /// The answer of the update is lost.
    UpdateUnclear,
    /// The executable changes: another template takes the place of the present one.
    Replace,
    /// A process leaves the set.
    Prune,
    /// A person asks for a reconcile of a set in sync.
    Check,
    /// The set is deleted.
    Delete,
    /// The answer of the delete is lost.
    DeleteUnclear,
    /// The set is deleted after its status was lost.
    DeleteWithoutStatus,
}

impl Story {
    /// Every story.
    pub const ALL: &[Self] = &[
        Self::Create,
        Self::Pages,
        Self::CreateUnclear,
        Self::CreateRefused,
        Self::Update,
        Self::UpdateUnclear,
        Self::Replace,
        Self::Prune,
        Self::Check,
        Self::Delete,
        Self::DeleteUnclear,
        Self::DeleteWithoutStatus,
    ];

    /// Whether the set is deleted.
    pub fn is_deletion(self) -> bool {
        matches!(self, Self::Delete | Self::DeleteUnclear | Self::DeleteWithoutStatus)
    }

    /// Brings the world to the start of the story. The operator runs.
    pub async fn prepare(self, fence: &Fence, connection: &Value) {
        let web = fence.id_of(GRANTED, "web");
        match self {
            Self::Create | Self::CreateUnclear | Self::CreateRefused => {}
            Self::Pages => {
                let names: Vec<String> = (0..PAGE).map(|number| format!("t{number}")).collect();
                fence.service_templates(GRANTED, names.iter().map(String::as_str));
            }
            Self::DeleteWithoutStatus => {
                fence.by_hand(web, "nginx", "nginx", "./run");
            }
            Self::Prune => {
                fence.apply(SET, &of_two(connection));
                fence.until_ready(SET).await;
            }
            Self::Update | Self::UpdateUnclear | Self::Replace | Self::Check | Self::Delete | Self::DeleteUnclear => {
                fence.apply(SET, &first(connection));
                fence.until_ready(SET).await;
            }
        }
        // The connection has been checked, and no list is young.
        sleep(Duration::from_secs(30)).await;
    }

    /// Starts the story.
    pub fn start(self, fence: &Fence, connection: &Value) {
        let sim = fence.paused.sim();
        match self {
            Self::Create => {
                let category = json!({ "category": { "parent": "Default", "name": "Default" } });
                let missing = json!({ "name": "new", "createIfMissing": category });
                fence.apply(SET, &with(of_two(connection), "serviceTemplate", missing));
            }
            Self::Pages | Self::Prune => fence.apply(SET, &first(connection)),
            Self::CreateUnclear => {
                sim.add_fault(Fault::nth("batch_create_proc_template", 1, Effect::drop_after_commit()));
                fence.apply(SET, &first(connection));
            }
            Self::CreateRefused => {
                sim.add_fault(Fault::nth("batch_create_proc_template", 1, Effect::code(PAIR_TAKEN)));
                fence.apply(SET, &of_two(connection));
            }
            Self::Update => fence.apply(SET, &spec(connection, GRANTED, "web", "./edited")),
            Self::UpdateUnclear => {
                sim.add_fault(Fault::nth("update_proc_template", 1, Effect::drop_before_commit()));
                fence.apply(SET, &spec(connection, GRANTED, "web", "./edited"));
            }
            Self::Replace => {
                let other = json!([{ "name": "nginx", "funcName": "other", "startCmd": "./run" }]);
                let set = with(first(connection), "processes", other);
                fence.apply(SET, &with(set, "replacePolicy", json!("Recreate")));
            }
            Self::Check => {
                let metadata = json!({ "name": SET, "annotations": { RECONCILE_REQUESTED_AT: "now" } });
                fence.apply_object(SHOP, SET, &metadata, &first(connection));
            }
            Self::Delete => fence.delete(SET),
            Self::DeleteUnclear => {
                sim.add_fault(Fault::nth("delete_proc_template", 1, Effect::drop_before_commit()));
                fence.delete(SET);
            }
            Self::DeleteWithoutStatus => {
                fence.apply_held(SET, &first(connection));
                fence.delete(SET);
            }
        }
    }

    /// Whether the story has come to its rest.
    pub fn is_over(self, fence: &Fence) -> bool {
        let seen = fence.seen(SHOP, SET);
        match self {
            _ if self.is_deletion() => seen.is_none(),
            Self::Check => seen.is_some_and(|seen| seen.status.last_handled_reconcile_at.as_deref() == Some("now")),
            _ => seen.is_some_and(|seen| seen.is_ready()),
        }
    }
}

fn first(connection: &Value) -> Value {
    spec(connection, GRANTED, "web", "./run")
}

fn of_two(connection: &Value) -> Value {
    let processes = ["nginx", "second"].map(|name| json!({ "name": name, "funcName": name, "startCmd": "./run" }));
    with(first(connection), "processes", json!(processes))
}
