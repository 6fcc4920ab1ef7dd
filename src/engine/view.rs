//! What was observed of a scope, and a plan together with the list that it was made from.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::Error;
use super::job::Job;
use super::lookup::observe::{ListInUse, Listing};
use crate::plan::{Memory, OtherSet, Plan, Provenance};

/// What was observed for a set.
#[derive(Clone, Debug)]
pub struct ScopeView {
    /// The process templates of the scope.
    pub list: ListInUse,
    /// Name of the service template in the list of the business.
    pub service_template_name: String,
    /// The other live sets of the service template.
    pub other_sets: Vec<OtherSet>,
}

/// A set's plan, without the list that it was made from: what is left of that is in proportion to the set.
#[derive(Clone, Debug)]
pub struct PlannedView {
    /// The list that the plan was made from.
    pub listing: Listing,
    /// Process names of the templates that this plan is about, or one before it was, and that the list shows.
    pub names: BTreeMap<i64, String>,
    /// Name of the service template in the list of the business.
    pub service_template_name: String,
    /// The other live sets of the service template.
    pub other_sets: Arc<Vec<OtherSet>>,
    /// What is remembered, as far as it was made in this place.
    pub memory: Memory,
    /// Where the memory of the status was made.
    pub provenance: Provenance,
    /// What is to be done.
    pub plan: Plan,
    /// Whether the plan was made under the write lock, from claims as they were then: only such a plan decides about claims.
    pub is_decided: bool,
}

impl PlannedView {
    /// Whether there is nothing to do, nothing to confirm, nothing to wait for, and nothing to decide about claims.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.plan.is_settled() && !self.has_claims_to_decide()
    }

    pub(crate) fn has_claims_to_decide(&self) -> bool {
        !self.is_decided && self.plan.moves_claims()
    }

    // The process name that a template of the plan had in the last list.
    pub(crate) fn name_of(&self, id: i64) -> String {
        self.names.get(&id).cloned().unwrap_or_default()
    }

    // A grant may have been taken back since the plan was made.
    pub(crate) fn check_grant(&self, job: &Job) -> Result<(), Error> {
        job.check_grant(Some(self.listing.scope.service_template_id), Some(&self.service_template_name))
    }
}
