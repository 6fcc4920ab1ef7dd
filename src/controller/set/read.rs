//! Reads a set from the API server, past the cache.

use kube::api::{ApiResource, DynamicObject, GetParams};
use kube::core::Request;
use kube::{Api, Client, Resource as _};

use super::stored_set::{StoredSet, WholeSet};
use crate::api::{ProcessTemplateSet, ProcessTemplateSetStatus};
use crate::controller::kubernetes::api_call::{Failure, bounded};
use crate::controller::kubernetes::status_writer::{Target, WriteError};

/// Reads a set; None when it is gone or another of the same name.
pub async fn read(client: &Client, target: &Target) -> Result<Option<ProcessTemplateSet>, WriteError> {
    let api: Api<ProcessTemplateSet> = Api::namespaced(client.clone(), &target.name.namespace);
    let found = bounded(api.get_opt(&target.name.name)).await.map_err(|error| WriteError::Failed(error.to_string()))?;
    Ok(found.filter(|set| set.meta().uid.as_deref() == Some(&target.uid)))
}

/// Reads a set whose text is not kept, as text; None when it is gone or another of the same name.
pub async fn whole(client: &Client, target: &Target) -> Result<Option<StoredSet>, Failure> {
    let url = ProcessTemplateSet::url_path(&(), Some(&target.name.namespace));
    let request = Request::new(url).get(&target.name.name, &GetParams::default());
    let request = request.map_err(|error| Failure::Kube(kube::Error::BuildRequest(error)))?;
    match bounded(client.request::<WholeSet>(request)).await {
        Ok(read) => Ok(Some(read.into_set()).filter(|set| set.meta().uid.as_deref() == Some(&target.uid))),
        Err(error) if error.is_gone() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Size of the set as it is stored, in bytes.
pub async fn stored_size(client: &Client, target: &Target) -> Result<usize, WriteError> {
    let failed = |error: &dyn std::fmt::Display| WriteError::Failed(error.to_string());
    let url = ProcessTemplateSet::url_path(&(), Some(&target.name.namespace));
    let request = Request::new(url).get(&target.name.name, &GetParams::default()).map_err(|error| failed(&error))?;
    let text = bounded(client.request_text(request)).await.map_err(|error| failed(&error))?;
    Ok(text.len())
}

/// Reads the resource version and the status of an object that may not be readable as a set; None when it is gone or another
/// of the same name.
pub async fn read_status(
    client: &Client,
    target: &Target,
) -> Result<Option<(String, ProcessTemplateSetStatus)>, Failure> {
    let resource = ApiResource::erase::<ProcessTemplateSet>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &target.name.namespace, &resource);
    let found = bounded(api.get_opt(&target.name.name)).await?;
    let found = found.filter(|object| object.metadata.uid.as_deref() == Some(&target.uid));
    Ok(found.map(|object| {
        let status = serde_json::from_value(object.data["status"].clone()).unwrap_or_default();
        (object.metadata.resource_version.unwrap_or_default(), status)
    }))
}
