//! One set, as the engine needs to know it.

use std::sync::Arc;

use super::error::Error;
use super::grants::{Grants, Touched};
use super::other_sets::OtherSetCandidate;
use super::scope::Connection;
use crate::api::ServiceTemplateSelector;
use crate::plan::{Desired, Place, Policy};

/// One set, as the engine needs to know it.
#[derive(Clone, Debug)]
pub struct Job {
    /// uid of the object.
    pub set: String,
    /// The CMDB that the set uses.
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
    pub others: Vec<OtherSetCandidate>,
    /// What the set may touch.
    pub grants: Arc<dyn Grants>,
    /// Where the set's memory was made.
    pub made_in: Place,
    /// Nothing may be created but process templates: a missing service template is an error.
    pub is_read_only: bool,
}

impl Job {
    /// Whether the set may touch this now: the list of the business, or one service template of it.
    ///
    /// # Errors
    /// [`Error::NotGranted`] when it may not.
    pub(crate) fn check_grant(&self, id: Option<i64>, name: Option<&str>) -> Result<(), Error> {
        let touched = Touched { biz_id: self.biz_id, service_template_id: id, service_template_name: name };
        if self.grants.cover(touched) {
            return Ok(());
        }

        // In the words of the spec: a set that gives an ID must not learn the name that belongs to it.
        let own = &self.service_template;
        let service_template = own.name.as_ref().map(|name| format!("{name:?}")).or(own.id.map(|id| id.to_string()));
        let service_template = service_template.filter(|_| id.is_some() || name.is_some());
        Err(Error::NotGranted { biz_id: self.biz_id, service_template })
    }
}
