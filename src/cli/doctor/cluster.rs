//! Loads a connection and the objects that belong to it from a cluster, with the rights of the kubeconfig's user.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client, Resource};

use super::step::Problem;
use super::target::{ConnectionArgument, LoadedConnection, RelatedObjects, Target};
use crate::api::{ClusterCmdbConnection, CmdbConnection, ConnectionKind, GROUP, SecretRef, VERSION};
use crate::cli::manifest::files::Document;
use crate::cli::manifest::validate_object::Validator;
use crate::cli::manifest::yaml;
use crate::controller::{ConnectionName, Error};

// Longest wait for one answer of the API server.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

const ORIGIN: &str = "read from the cluster";

/// Loads the `wanted` connection; it is in `namespace`, or in that of the kubeconfig.
pub async fn load(wanted: &ConnectionArgument, namespace: Option<&str>) -> anyhow::Result<(Target, RelatedObjects)> {
    let mut config = kube::Config::infer().await.context("no cluster: set KUBECONFIG, or give -f or --url")?;
    config.read_timeout = Some(READ_TIMEOUT);
    let name = wanted.in_namespace(namespace.unwrap_or(&config.default_namespace));
    let client = Client::try_from(config).context("the cluster's configuration cannot be used")?;
    let mut related = RelatedObjects { source: "the cluster", ..RelatedObjects::default() };

    let target = match connection(&client, &name).await? {
        Ok(target) => target,
        Err(problem) => Target { name: Some(name), connection: Err(problem) },
    };

    if let Ok(LoadedConnection { description, .. }) = &target.connection {
        for reference in [Some(&description.credentials), description.certificate.as_ref()].into_iter().flatten() {
            if let Some(secret) = secret(&client, reference).await {
                related.secrets.insert((reference.namespace.clone(), reference.name.clone()), secret);
            }
        }
        let is_shared = target.name.as_ref().is_some_and(ConnectionName::is_shared);
        if let Some(namespace) = namespace.filter(|_| is_shared) {
            related.namespace_labels.insert(namespace.to_owned(), labels(&client, namespace).await);
        }
    }
    Ok((target, related))
}

async fn connection(client: &Client, name: &ConnectionName) -> anyhow::Result<Result<Target, Problem>> {
    let api: Api<DynamicObject> = match name.kind {
        ConnectionKind::CmdbConnection => {
            Api::namespaced_with(client.clone(), &name.namespace, &ApiResource::erase::<CmdbConnection>(&()))
        }
        ConnectionKind::ClusterCmdbConnection => {
            Api::all_with(client.clone(), &ApiResource::erase::<ClusterCmdbConnection>(&()))
        }
    };
    let object = match api.get_opt(&name.name).await {
        Ok(Some(object)) => serde_json::to_string(&object)?,
        Ok(None) => {
            let missing = Error::ConnectionMissing { connection: name.clone() };
            let advice = "Create it, or give another name or namespace (-n); are the CRDs installed?";
            let fact = if name.is_shared() { missing.to_string() } else { missing_in(name) };
            return Ok(Err(Problem::new(fact, advice)));
        }
        Err(error) => return Ok(Err(unreadable(&name.to_string(), &error))),
    };

    let root = yaml::read(&object).ok().and_then(|roots| roots.into_iter().next());
    let root = root.context("the API server's answer cannot be read")?;
    let kind = match name.kind {
        ConnectionKind::CmdbConnection => CmdbConnection::kind(&()),
        ConnectionKind::ClusterCmdbConnection => ClusterCmdbConnection::kind(&()),
    };
    let document =
        Document { file: ORIGIN.to_owned(), api_version: format!("{GROUP}/{VERSION}"), kind: kind.into_owned(), root };
    let target = Target::from_document(&document, &name.namespace, &Validator::new()?, ORIGIN);
    Ok(target.ok_or_else(|| Problem::new(format!("{name} cannot be read"), "")))
}

fn missing_in(name: &ConnectionName) -> String {
    format!("{name} does not exist in namespace {:?}", name.namespace)
}

async fn secret(client: &Client, reference: &SecretRef) -> Option<Result<Secret, Problem>> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &reference.namespace);
    let what = format!("Secret {:?} of namespace {:?}", reference.name, reference.namespace);
    api.get_opt(&reference.name).await.map_err(|error| unreadable(&what, &error)).transpose()
}

async fn labels(client: &Client, namespace: &str) -> Result<BTreeMap<String, String>, Problem> {
    let what = format!("namespace {namespace:?}");
    let api: Api<Namespace> = Api::all(client.clone());
    match api.get_opt(namespace).await {
        Ok(Some(namespace)) => Ok(namespace.metadata.labels.unwrap_or_default()),
        Ok(None) => Err(Problem::new(format!("{what} does not exist"), "Give another with -n.")),
        Err(error) => Err(unreadable(&what, &error)),
    }
}

// The content of an object that cannot be read is not repeated: it may be secret.
fn unreadable(what: &str, error: &kube::Error) -> Problem {
    let (reason, advice) = match error {
        kube::Error::Api(status) if status.code == 403 => {
            (status.message.clone(), "You may not read it; ask whoever may, or give files with -f.")
        }
        kube::Error::Api(status) => (status.message.clone(), "Check KUBECONFIG, and whether the CRDs are installed."),
        kube::Error::SerdeError(_) => ("its answer cannot be read".to_owned(), "Check KUBECONFIG."),
        error => (error.to_string(), "Check KUBECONFIG, and the way to the cluster."),
    };
    Problem::new(format!("{what} cannot be read: {reason}"), advice)
}
