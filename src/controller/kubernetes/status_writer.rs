//! Writing the status of an object: replaced as a whole, from the resource version that it was computed from.

use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, GetParams, PostParams};
use kube::core::Request;
use kube::{Api, Client, Resource};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::api::{FIELD_MANAGER, GROUP, ProcessTemplateSet, ProcessTemplateSetStatus, VERSION};
use crate::controller::{Context, Error};

/// Longest wait for one answer of the API server.
pub const API_SERVER_TIMEOUT: Duration = Duration::from_secs(30);

/// One object, for writing its status.
#[derive(Clone, Debug)]
pub struct Target {
    /// Namespace; empty for an object of the cluster.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// uid: an object of the same name that was made anew is another.
    pub uid: String,
    /// Resource version that the next write is computed from.
    pub resource_version: String,
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

/// Replaces the status of a set.
pub async fn replace(
    context: &Context,
    target: &mut Target,
    status: &ProcessTemplateSetStatus,
) -> Result<(), WriteError> {
    replace_status::<ProcessTemplateSet>(&context.client, target, status).await?;
    context.observer.status_written("ProcessTemplateSet");
    context.objects.wrote(&target.namespace, &target.name, &target.uid, &target.resource_version);
    context.objects.wrote_status(&target.namespace, &target.name, &target.uid, status);
    Ok(())
}

/// Replaces the status of an object of this project.
pub async fn replace_status<K: Resource<DynamicType = ()>>(
    client: &Client,
    target: &mut Target,
    status: &impl Serialize,
) -> Result<(), WriteError> {
    let Target { namespace, name, uid, resource_version } = target;
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

/// Reads the set anew; None when it is gone or another of the same name.
pub async fn read(client: &Client, target: &Target) -> Result<Option<ProcessTemplateSet>, WriteError> {
    let api: Api<ProcessTemplateSet> = Api::namespaced(client.clone(), &target.namespace);
    let found = bounded(api.get_opt(&target.name)).await.map_err(|error| WriteError::Failed(error.to_string()))?;
    Ok(found.filter(|set| set.meta().uid.as_deref() == Some(&target.uid)))
}

/// Size of the set as it is stored, in bytes.
pub async fn stored_size(client: &Client, target: &Target) -> Result<usize, WriteError> {
    let failed = |error: &dyn std::fmt::Display| WriteError::Failed(error.to_string());
    let url = ProcessTemplateSet::url_path(&(), Some(&target.namespace));
    let request = Request::new(url).get(&target.name, &GetParams::default()).map_err(|error| failed(&error))?;
    let text = bounded(client.request_text(request)).await.map_err(|error| failed(&error))?;
    Ok(text.len())
}

/// Reads the status of an object that cannot be read as a set; None when it is gone or another of the same name.
pub async fn read_status(client: &Client, target: &Target) -> Result<Option<ProcessTemplateSetStatus>, Failure> {
    let resource = ApiResource::erase::<ProcessTemplateSet>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &target.namespace, &resource);
    let found = bounded(api.get_opt(&target.name)).await?;
    let found = found.filter(|object| object.metadata.uid.as_deref() == Some(&target.uid));
    Ok(found.map(|object| serde_json::from_value(object.data["status"].clone()).unwrap_or_default()))
}

/// Why the API server gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What the client says.
    #[error("{}", words(.0))]
    Kube(#[from] kube::Error),
    /// It took too long.
    #[error("no answer within {} s", API_SERVER_TIMEOUT.as_secs())]
    Late(#[from] tokio::time::error::Elapsed),
}

// The client repeats the whole answer after its message.
fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        error => error.to_string(),
    }
}

impl Failure {
    /// Whether the object has changed or is gone.
    pub fn is_outdated(&self) -> bool {
        matches!(self, Self::Kube(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found())
    }
}

/// Bounds a call to the API server; the client itself would wait and retry for minutes.
pub async fn bounded<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Failure> {
    Ok(tokio::time::timeout(API_SERVER_TIMEOUT, call).await??)
}
