//! What a set may touch in CMDB, where that is bounded. It is asked before every list and every write, because a grant may
//! be taken back while a reconcile runs.

use std::fmt::Debug;

/// What is about to be listed or written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touched<'a> {
    /// `bk_biz_id`
    pub biz_id: i64,
    /// `service_template_id`. None without a name: the list of the business. None with a name: a service template that is to
    /// be created.
    pub service_template_id: Option<i64>,
    /// Name of the service template.
    pub service_template_name: Option<&'a str>,
}

/// Says what a set may touch.
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
