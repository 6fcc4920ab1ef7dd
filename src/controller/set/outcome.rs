//! What came of a reconcile that looked at CMDB.

use crate::controller::error::Error;
use crate::engine::{PlannedView, Tally};
use crate::plan::Removal;

/// What came of a reconcile that looked at CMDB.
pub struct Outcome {
    /// What was seen and planned last.
    pub view: PlannedView,
    /// What was written.
    pub tally: Tally,
    /// What has left the set and stays in CMDB.
    pub released: Vec<Removal>,
    /// What stopped the reconcile.
    pub stopped: Option<Error>,
}
