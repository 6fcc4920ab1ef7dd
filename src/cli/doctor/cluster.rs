//! A connection and what belongs to it, from a cluster, with the rights of whoever asks.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client, Resource};

use super::step::Trouble;
use super::target::{Evidence, Found, Subject, Wanted};
use crate::api::{ClusterCmdbConnection, CmdbConnection, ConnectionKind, GROUP, SecretRef, VERSION};
use crate::cli::manifest::files::Document;
use crate::cli::manifest::validate_object::Judge;
use crate::cli::manifest::yaml;
use crate::controller::{ConnectionName, Error};

// Longest wait for one answer of the API server.
const PATIENCE: Duration = Duration::from_secs(30);

const PLACE: &str = "read from the cluster";

/// The connection that is wanted, in `namespace` or that of the kubeconfig.
pub async fn find(wanted: &Wanted, namespace: Option<&str>) -> anyhow::Result<(Subject, Evidence)> {
    let mut config = kube::Config::infer().await.context("no cluster: set KUBECONFIG, or give -f or --url")?;
    config.read_timeout = Some(PATIENCE);
    let name = wanted.in_namespace(namespace.unwrap_or(&config.default_namespace));
    let client = Client::try_from(config).context("the cluster's configuration cannot be used")?;
    let mut evidence = Evidence { source: "the cluster", ..Evidence::default() };
    let subject = match connection(&client, &name).await? {
        Ok(subject) => subject,
        Err(trouble) => Subject { name: Some(name), found: Err(trouble) },
    };
    if let Ok(Found { description, .. }) = &subject.found {
        for reference in [Some(&description.credentials), description.certificate.as_ref()].into_iter().flatten() {
            if let Some(secret) = secret(&client, reference).await {
                evidence.secrets.insert((reference.namespace.clone(), reference.name.clone()), secret);
            }
        }
        let is_shared = subject.name.as_ref().is_some_and(ConnectionName::is_shared);
        if let Some(namespace) = namespace.filter(|_| is_shared) {
            evidence.labels.insert(namespace.to_owned(), labels(&client, namespace).await);
        }
    }
    Ok((subject, evidence))
}

async fn connection(client: &Client, name: &ConnectionName) -> anyhow::Result<Result<Subject, Trouble>> {
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
            return Ok(Err(Trouble::new(fact, advice)));
        }
        Err(error) => return Ok(Err(unreadable(&name.to_string(), &error))),
    };
    let node = yaml::read(&object).ok().and_then(|nodes| nodes.into_iter().next());
    let node = node.context("the API server's answer cannot be read")?;
    let kind = match name.kind {
        ConnectionKind::CmdbConnection => CmdbConnection::kind(&()),
        ConnectionKind::ClusterCmdbConnection => ClusterCmdbConnection::kind(&()),
    };
    let document =
        Document { file: PLACE.to_owned(), api_version: format!("{GROUP}/{VERSION}"), kind: kind.into_owned(), node };
    let subject = Subject::of(&document, &name.namespace, &Judge::new()?, PLACE);
    Ok(subject.ok_or_else(|| Trouble::new(format!("{name} cannot be read"), "")))
}

fn missing_in(name: &ConnectionName) -> String {
    format!("{name} does not exist in namespace {:?}", name.namespace)
}

async fn secret(client: &Client, reference: &SecretRef) -> Option<Result<Secret, Trouble>> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &reference.namespace);
    let what = format!("Secret {:?} of namespace {:?}", reference.name, reference.namespace);
    api.get_opt(&reference.name).await.map_err(|error| unreadable(&what, &error)).transpose()
}

async fn labels(client: &Client, namespace: &str) -> Result<BTreeMap<String, String>, Trouble> {
    let what = format!("namespace {namespace:?}");
    let api: Api<Namespace> = Api::all(client.clone());
    match api.get_opt(namespace).await {
        Ok(Some(namespace)) => Ok(namespace.metadata.labels.unwrap_or_default()),
        Ok(None) => Err(Trouble::new(format!("{what} does not exist"), "Give another with -n.")),
        Err(error) => Err(unreadable(&what, &error)),
    }
}

// What is in an object that cannot be read is not repeated.
fn unreadable(what: &str, error: &kube::Error) -> Trouble {
    let (reason, advice) = match error {
        kube::Error::Api(status) if status.code == 403 => {
            (status.message.clone(), "You may not read it; ask whoever may, or give files with -f.")
        }
        kube::Error::Api(status) => (status.message.clone(), "Check KUBECONFIG, and whether the CRDs are installed."),
        kube::Error::SerdeError(_) => ("its answer cannot be read".to_owned(), "Check KUBECONFIG."),
        error => (error.to_string(), "Check KUBECONFIG, and the way to the cluster."),
    };
    Trouble::new(format!("{what} cannot be read: {reason}"), advice)
}
