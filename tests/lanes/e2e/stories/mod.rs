//! The stories, in the order in which they are told: each begins where the one before it has ended.

mod images;
mod install;
mod leaders;
mod removal;
mod sets;
mod upgrades;

use futures::FutureExt as _;
use futures::future::LocalBoxFuture;

use crate::stage::Stage;

/// A story. It panics where it does not go as it should.
pub struct Story {
    pub name: &'static str,
    pub tell: for<'a> fn(&'a Stage) -> LocalBoxFuture<'a, Told>,
}

/// Whether a story could be told to its end.
pub enum Told {
    Whole,
    /// Not on this cluster, for that reason.
    NotHere(&'static str),
}

macro_rules! story {
    ($name:literal, $tell:path) => {
        Story { name: $name, tell: |stage| $tell(stage).boxed_local() }
    };
}

/// All of them.
pub fn stories() -> Vec<Story> {
    vec![
        story!("images that were loaded have the digests that they were built with", images::digests),
        story!("an installation in a restricted namespace becomes ready", install::install),
        story!("its processes may do nothing but what they are for", install::confinement),
        story!("helm test is content", install::helm_test),
        story!("sets get their IDs, and each write has one line in the log", sets::ids),
        story!("one leads, and the other is ready and does nothing", leaders::standby),
        story!("the leader's pod is deleted by force in the middle of work: the other finishes it", leaders::deleted),
        story!("the leader's process is killed in the middle of work: the other finishes it", leaders::killed),
        story!("an upgrade, with a field more in the CRD, writes nothing to CMDB and keeps all IDs", upgrades::upgrade),
        story!("an upgrade that cannot start is rolled back, and the operator serves on", upgrades::broken),
        story!("a rollback, without that field, writes nothing to CMDB and keeps all IDs", upgrades::rollback),
        story!("a set that is deleted takes its templates along where it says so", sets::deletion),
        story!("TLS trusts whom the image's CA file names", images::authorities),
        story!("two installations side by side each serve their own namespace", install::side_by_side),
        story!("sets, CRDs and templates survive the operator, and a new one finds them", removal::comes_back),
        story!("nothing that the operator asked of Kubernetes was forbidden", install::permissions),
    ]
}
