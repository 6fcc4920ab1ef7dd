//! What a set allows.

use crate::api::{AdoptionPolicy, DeletionPolicy, DriftPolicy, ProcessTemplateSetSpec, ReplacePolicy};

/// What a set allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What happens to templates that leave the set, or with it.
    pub deletion: DeletionPolicy,
    /// What happens to a template of the same name that is not ours.
    pub adoption: AdoptionPolicy,
    /// What happens when somebody else changed a template.
    pub drift: DriftPolicy,
    /// What happens when a property changes that CMDB does not update.
    pub replace: ReplacePolicy,
    /// Whether what has left the set is deleted now, or later: another set may be about to take it over.
    pub removals_are_due: bool,
    /// Whether a template that another set wants has waited long enough for it: then it is released.
    pub hand_overs_are_over: bool,
}

impl Policy {
    /// What a spec allows.
    #[must_use]
    pub fn of(spec: &ProcessTemplateSetSpec) -> Self {
        Self {
            deletion: spec.deletion(),
            adoption: spec.adoption_policy.unwrap_or_default(),
            drift: spec.drift_policy.unwrap_or_default(),
            replace: spec.replace_policy.unwrap_or_default(),
            removals_are_due: true,
            hand_overs_are_over: false,
        }
    }
}
