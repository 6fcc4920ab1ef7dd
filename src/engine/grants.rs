//! What a set may touch in CMDB, where that is bounded: asked anew before every look and every write, for it may be taken
//! back meanwhile.

use std::fmt::Debug;

use super::{Error, Job};

/// What is about to be looked at or written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touched<'a> {
    /// `bk_biz_id`
    pub biz_id: i64,
    /// `service_template_id`; None, without a name too: whatever the business has; with a name: one that is to be created.
    pub service_template_id: Option<i64>,
    /// Name of the service template.
    pub service_template_name: Option<&'a str>,
}

/// Tells what a set may touch.
pub trait Grants: Debug + Send + Sync {
    /// Whether it may touch this, now.
    fn cover(&self, touched: Touched<'_>) -> bool;
}

/// No bounds but those of the credentials.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unbounded;

impl Grants for Unbounded {
    fn cover(&self, _: Touched<'_>) -> bool {
        true
    }
}

impl Job {
    /// Whether the set may touch this now: whatever the business has, or one service template of it.
    ///
    /// # Errors
    /// [`Error::NotGranted`] when it may not.
    pub(super) fn check_grant(&self, id: Option<i64>, name: Option<&str>) -> Result<(), Error> {
        let touched = Touched { biz_id: self.biz_id, service_template_id: id, service_template_name: name };
        if self.grants.cover(touched) {
            return Ok(());
        }
        // In the set's own words: who gives an ID does not learn whose it is.
        let own = &self.service_template;
        let service_template = own.name.as_ref().map(|name| format!("{name:?}")).or(own.id.map(|id| id.to_string()));
        let service_template = service_template.filter(|_| id.is_some() || name.is_some());
        Err(Error::NotGranted { biz_id: self.biz_id, service_template })
    }
}
