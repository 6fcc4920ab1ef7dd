//! One set, as the engine needs to know it.

use std::sync::Arc;

use super::error::Error;
use super::other_sets::{OtherSets, in_service_template};
use super::scope::{Connection, Scope};
use crate::api::{AdoptionPolicy, ProcessTemplateSetSpec, ServiceTemplateSelector};
use crate::cmdb::{self, Refusal, Touched};
use crate::plan::{Desired, OtherSet, Place, Policy, SetName};

/// What the engine does for a set: [`Job::living`], [`Job::deletion`] or [`Job::preview`].
#[derive(Clone, Debug)]
pub struct Job {
    /// uid of the object.
    pub set: String,
    /// The CMDB that the set uses, with its grants.
    pub connection: Connection,
    /// `bk_biz_id`
    pub biz_id: i64,
    /// The service template.
    pub service_template: ServiceTemplateSelector,
    /// What the set wants.
    pub desired: Desired,
    /// What the set allows.
    pub policy: Policy,
    /// The other live sets that may live in the same service template.
    pub others: Arc<dyn OtherSets>,
    /// Where the set's memory was made.
    pub made_in: Place,
    /// Nothing may be created but process templates: a missing service template is an error.
    pub is_read_only: bool,
}

/// What surrounds a set, whatever is done for it.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// uid of the object.
    pub set: String,
    /// The CMDB that the set uses, with its grants.
    pub connection: Connection,
    /// The other live sets that may live in the same service template.
    pub others: Arc<dyn OtherSets>,
    /// Where the set's memory was made.
    pub made_in: Place,
}

/// Which waits for other sets are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// [`Policy::removals_are_due`]
    pub removals_are_due: bool,
    /// [`Policy::hand_overs_are_over`]
    pub hand_overs_are_over: bool,
}

impl Job {
    /// Keeps a set in step with its spec. A suspended one is only looked at.
    #[must_use]
    pub fn living(around: Surroundings, spec: &ProcessTemplateSetSpec, desired: Desired, waits: Waits) -> Self {
        let Waits { removals_are_due, hand_overs_are_over } = waits;
        let policy = Policy { removals_are_due, hand_overs_are_over, ..Policy::of(spec) };
        Self::new(around, spec, desired, policy, spec.is_suspended())
    }

    /// Deletes what is left of a set: it wants nothing, and no removal waits for another set to take it over.
    #[must_use]
    pub fn deletion(
        around: Surroundings,
        name: SetName,
        spec: &ProcessTemplateSetSpec,
        hand_overs_are_over: bool,
    ) -> Self {
        let policy = Policy { removals_are_due: true, hand_overs_are_over, ..Policy::of(spec) };
        Self::new(around, spec, Desired::nothing(name, spec), policy, true)
    }

    /// Shows what would be done for a set that is not waited for; nothing may be written.
    #[must_use]
    pub fn preview(around: Surroundings, spec: &ProcessTemplateSetSpec, desired: Desired) -> Self {
        Self::new(around, spec, desired, Policy::of(spec), true)
    }

    /// The job that finds what belongs to a set whose status was lost, so that it can be deleted: what is identical to this,
    /// whatever the set would adopt or replace. What it has never made must not be deleted with it.
    #[must_use]
    pub fn recovering(&self, desired: Desired) -> Self {
        let adoption = match self.policy.adoption {
            AdoptionPolicy::Never => AdoptionPolicy::Never,
            AdoptionPolicy::IfIdentical | AdoptionPolicy::Always => AdoptionPolicy::IfIdentical,
        };
        Self { desired, policy: Policy { adoption, ..self.policy }, ..self.clone() }
    }

    fn new(
        around: Surroundings,
        spec: &ProcessTemplateSetSpec,
        desired: Desired,
        policy: Policy,
        is_read_only: bool,
    ) -> Self {
        let Surroundings { set, connection, others, made_in } = around;
        let (biz_id, service_template) = (spec.biz_id, spec.service_template.clone());
        Self { set, connection, biz_id, service_template, desired, policy, others, made_in, is_read_only }
    }

    /// The process templates of the service template with this ID.
    pub(crate) fn scope(&self, service_template_id: i64) -> Scope {
        Scope {
            connection: self.connection.key.clone(),
            endpoint: self.connection.client.url().to_owned(),
            biz_id: self.biz_id,
            service_template_id,
        }
    }

    /// The other sets that live in a service template, and what they claim at this moment.
    pub(crate) async fn other_sets(&self, id: i64, name: Option<&str>) -> Vec<OtherSet> {
        in_service_template(&self.others.candidates().await, self.biz_id, id, name)
    }

    /// Whether the set may touch this now: the list of the business, or one service template of it.
    ///
    /// # Errors
    /// [`Error::NotGranted`] when it may not.
    pub(crate) fn check_grant(&self, id: Option<i64>, name: Option<&str>) -> Result<(), Error> {
        let touched = Touched { biz_id: self.biz_id, service_template_id: id, service_template_name: name };
        match self.connection.client.grants().refusal(touched) {
            None => Ok(()),
            Some(refusal) => Err(self.refused(refusal, id.is_none() && name.is_none())),
        }
    }

    /// The error of a call that was made for this set.
    pub(crate) fn error_of(&self, error: Arc<cmdb::Error>) -> Error {
        match *error {
            cmdb::Error::NotGranted { operation, refusal } => self.refused(refusal, operation.is_of_a_business()),
            _ => error.into(),
        }
    }

    // Why the set may not touch its service template, or even its business.
    fn refused(&self, refusal: Refusal, is_business: bool) -> Error {
        if refusal == Refusal::ConnectionChanged {
            return Error::Outdated;
        }

        // In the words of the spec: a set that gives an ID must not learn the name that belongs to it.
        let own = &self.service_template;
        let service_template = own.name.as_ref().map(|name| format!("{name:?}")).or(own.id.map(|id| id.to_string()));
        let service_template = service_template.filter(|_| !is_business);
        Error::NotGranted { biz_id: self.biz_id, service_template }
    }
}
