//! Reads the Secrets that a connection names.

use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;
use kube::{Api, Client};

use super::build::Description;
use super::name::ConnectionName;
use crate::api::SecretRef;
use crate::controller::error::Error;
use crate::controller::kubernetes::api_call::{Failure, bounded};

/// The Secrets of a connection.
pub struct Secrets {
    /// That with the credentials.
    pub secret: Secret,
    /// That with our certificate and its key.
    pub certificate: Option<Secret>,
}

impl Secrets {
    /// Tells these versions of them from all others.
    pub fn key(&self) -> String {
        format!("{} {}", version(&self.secret), self.certificate.as_ref().map(version).unwrap_or_default())
    }
}

/// Reads all Secrets of a connection.
pub async fn read_all(client: &Client, name: &ConnectionName, description: &Description) -> Result<Secrets, Error> {
    let secret = read(client, name, &description.credentials).await?;
    let certificate = match &description.certificate {
        Some(certificate) => Some(read(client, name, certificate).await?),
        None => None,
    };
    Ok(Secrets { secret, certificate })
}

/// Reads one Secret of a connection.
pub async fn read(client: &Client, connection: &ConnectionName, reference: &SecretRef) -> Result<Secret, Error> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &reference.namespace);
    let secret = bounded(secrets.get_opt(&reference.name)).await.map_err(|failure| match failure {
        // Why it cannot be read is not repeated: the reason may hold a value.
        Failure::Kube(kube::Error::SerdeError(_)) => {
            Error::ApiServer(format!("Secret {:?} cannot be read as one", reference.name))
        }
        failure => Error::ApiServer(failure.to_string()),
    })?;
    let missing = || Error::SecretMissing { connection: connection.clone(), secret: reference.clone() };
    secret.ok_or_else(missing)
}

/// The version of a Secret.
pub fn version(secret: &Secret) -> String {
    version_of(&secret.metadata)
}

/// The version of a Secret, by its metadata.
pub fn version_of(metadata: &ObjectMeta) -> String {
    let ObjectMeta { uid, resource_version, .. } = metadata;
    format!("{}/{}", uid.as_deref().unwrap_or_default(), resource_version.as_deref().unwrap_or_default())
}
