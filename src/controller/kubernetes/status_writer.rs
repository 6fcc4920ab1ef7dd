//! Writing the status of an object: replaced as a whole, from the resource version that it was computed from.

use kube::api::PostParams;
use kube::core::Request;
use kube::runtime::reflector::ObjectRef;
use kube::{Client, Resource};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::api_call::bounded;
use crate::api::{FIELD_MANAGER, GROUP, VERSION};
use crate::controller::error::Error;
use crate::controller::names::ObjectName;

/// One object, for writing its status.
#[derive(Clone, Debug)]
pub struct Target {
    /// Namespace and name.
    pub name: ObjectName,
    /// uid: an object of the same name with another uid is another object.
    pub uid: String,
    /// Resource version that the next write is computed from.
    pub resource_version: String,
}

impl Target {
    /// An object as it was read.
    pub fn of<K: Resource<DynamicType = ()>>(object: &K) -> Self {
        let metadata = object.meta();
        Self {
            name: ObjectName::of(&ObjectRef::from_obj(object)),
            uid: metadata.uid.clone().unwrap_or_default(),
            resource_version: metadata.resource_version.clone().unwrap_or_default(),
        }
    }
}

/// Why a status was not written.
#[derive(Debug)]
pub enum WriteError {
    /// The object has changed or is gone.
    Outdated,
    /// The API server did not take it.
    Failed(String),
}

impl From<WriteError> for Error {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Outdated => Self::Engine(crate::engine::Error::Outdated),
            WriteError::Failed(reason) => Self::ApiServer(reason),
        }
    }
}

// The answer repeats the whole object; only its version is of interest.
#[derive(Deserialize)]
struct Written {
    metadata: WrittenMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenMetadata {
    resource_version: String,
}

/// Replaces the status of an object of this project.
pub async fn replace_status<K: Resource<DynamicType = ()>>(
    client: &Client,
    target: &mut Target,
    status: &impl Serialize,
) -> Result<(), WriteError> {
    let Target { name: ObjectName { namespace, name }, uid, resource_version } = target;
    let namespace = Some(namespace.as_str()).filter(|namespace| !namespace.is_empty());
    // The API server takes only the status from such a request.
    let body = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": K::kind(&()),
        "metadata": { "namespace": namespace, "name": name, "uid": uid, "resourceVersion": resource_version },
        "status": status,
    });
    let url = K::url_path(&(), namespace);
    let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    let failed = |error: &dyn std::fmt::Display| WriteError::Failed(error.to_string());
    let bytes = serde_json::to_vec(&body).map_err(|error| failed(&error))?;
    let request = Request::new(url).replace_subresource("status", name, &parameters, bytes);
    let request = request.map_err(|error| failed(&error))?;
    match bounded(client.request::<Written>(request)).await {
        Ok(written) => {
            target.resource_version = written.metadata.resource_version;
            Ok(())
        }
        Err(error) if error.is_outdated() => Err(WriteError::Outdated),
        Err(error) => Err(failed(&error)),
    }
}
