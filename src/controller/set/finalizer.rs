//! The finalizer: there while a set has `deletionPolicy: Delete`, and not otherwise.

use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::identity::CurrentSet;
use super::status::memory;
use crate::api::{DeletionPolicy, FIELD_MANAGER, FINALIZER, ProcessTemplateSet};
use crate::controller::error::Error;
use crate::controller::kubernetes::api_call::bounded;
use crate::controller::kubernetes::status_writer::{Target, WriteError};

/// Whether our finalizer holds the set.
pub fn holds(set: &ProcessTemplateSet) -> bool {
    set.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

/// Puts the finalizer on or takes it off, as the policy of a living set wants it.
pub async fn follow_policy(client: &Client, set: &CurrentSet<'_>, target: &mut Target) -> Result<(), Error> {
    let is_wanted = set.object.spec.deletion() == DeletionPolicy::Delete;
    if holds(set.object) == is_wanted {
        return Ok(());
    }
    write(client, set, target, is_wanted).await?;
    if is_wanted && memory::says_nothing(set.object.status.as_ref()) {
        set.state.note_made_nothing();
    }
    Ok(())
}

/// Takes the finalizer off. A set that is gone has none.
pub async fn remove(client: &Client, set: &CurrentSet<'_>, target: &mut Target) -> Result<(), WriteError> {
    if !holds(set.object) {
        return Ok(());
    }
    write(client, set, target, false).await?;
    set.state.note_released();
    Ok(())
}

async fn write(client: &Client, set: &CurrentSet<'_>, target: &mut Target, is_wanted: bool) -> Result<(), WriteError> {
    let others = set.object.metadata.finalizers.iter().flatten().filter(|finalizer| *finalizer != FINALIZER).cloned();
    let finalizers: Vec<String> = others.chain(is_wanted.then(|| FINALIZER.to_owned())).collect();
    // The whole list, under the version that it was read from.
    let patch = json!({ "metadata": {
        "uid": target.uid, "resourceVersion": target.resource_version, "finalizers": finalizers,
    } });
    let sets: Api<ProcessTemplateSet> = Api::namespaced(client.clone(), &target.name.namespace);
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match bounded(sets.patch_metadata(&target.name.name, &parameters, &Patch::Merge(&patch))).await {
        Ok(written) => {
            target.resource_version = written.metadata.resource_version.unwrap_or_default();
            set.state.wrote(&target.resource_version);
            Ok(())
        }
        Err(error) if error.is_outdated() => Err(WriteError::Outdated),
        Err(error) => Err(WriteError::Failed(error.to_string())),
    }
}
