//! Builds connections to CMDB from files with their Secrets, or from the command line with credentials of the environment.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use secrecy::SecretString;

use crate::api::{
    ClusterCmdbConnection, CmdbConnection, ConnectionKind, EndpointSpec, Grant, SchemaChoice, SecretRef,
    TransportChoice,
};
use crate::cli::manifest::files::Document;
use crate::cli::manifest::yaml::YamlValue;
use crate::cmdb;
use crate::cmdb::{Credentials, Grants, Limiters, OpenGate, Operation, Refusal, Touched, Unbounded, UrlPolicy};
use crate::controller;
use crate::controller::{Bounds, ConnectionName, Description};
use crate::engine::BareConnection;

/// The value of `--schema`: how the server keeps sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Schema {
    /// As the first listed template shows.
    Auto,
    /// One address and one protocol for all ports of a process: before CMDB 3.8.14 and 3.9.5.
    Flat,
    /// Rows, each with its own.
    BindInfo,
}

/// The value of `--transport`: how CMDB is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Transport {
    /// The BlueKing ESB.
    Esb,
    /// The BlueKing API gateway; the URL has its name and stage.
    Gateway,
    /// CMDB's own API server.
    Direct,
}

/// Options that describe a connection on the command line.
#[derive(clap::Args)]
pub struct ConnectionFlags {
    /// Base URL of CMDB, instead of the connections that are named or in the files
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// How CMDB is reached there
    #[arg(long, value_name = "TRANSPORT", value_enum, default_value_t = Transport::Esb, requires = "url")]
    transport: Transport,
    /// How that server keeps sockets
    #[arg(long, value_name = "SCHEMA", value_enum, default_value_t = Schema::Auto, requires = "url")]
    schema: Schema,
    /// Supplier account there
    #[arg(long, value_name = "ACCOUNT", default_value = "0", requires = "url")]
    supplier_account: String,
}

impl fmt::Debug for ConnectionFlags {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password.
        formatter.debug_struct("ConnectionFlags").field("has_url", &self.url.is_some()).finish_non_exhaustive()
    }
}

/// The connections of the files, with their Secrets, grants and labels of namespaces. A connection is built at its first
/// use, once.
#[derive(Default)]
pub struct Connections {
    descriptions: HashMap<ConnectionName, Description>,
    grants: HashMap<ConnectionName, Vec<Grant>>,
    secrets: HashMap<(String, String), Document>,
    // Labels of the namespaces that are in the files.
    labels: HashMap<String, BTreeMap<String, String>>,
    built: HashMap<Option<ConnectionName>, Result<BareConnection, String>>,
    limiters: Arc<Limiters>,
}

/// The grants of one connection of the files to one namespace.
#[derive(Clone, Debug)]
struct FileGrants {
    grants: Vec<Grant>,
    namespace: String,
    labels: BTreeMap<String, String>,
}

impl Grants for FileGrants {
    fn refusal(&self, touched: Touched<'_>) -> Option<Refusal> {
        let is_covered = controller::cover(&self.grants, &self.namespace, &self.labels, touched);
        (!is_covered).then_some(Refusal::NotGranted)
    }
}

/// An observer that ignores every call.
#[derive(Clone, Copy, Debug)]
pub struct NoObserver;

impl cmdb::Observer for NoObserver {
    fn call_finished(&self, _: Operation, _: &'static str, _: Duration) {}
}

impl ConnectionFlags {
    /// The connection that the options describe; None without `--url`.
    pub fn description(&self) -> Option<Description> {
        let endpoint = EndpointSpec {
            url: self.url.clone()?,
            transport: Some(match self.transport {
                Transport::Esb => TransportChoice::Esb,
                Transport::Gateway => TransportChoice::Gateway,
                Transport::Direct => TransportChoice::Direct,
            }),
            schema: Some(match self.schema {
                Schema::Auto => SchemaChoice::Auto,
                Schema::Flat => SchemaChoice::Flat,
                Schema::BindInfo => SchemaChoice::BindInfo,
            }),
            supplier_account: Some(self.supplier_account.clone()),
            timeout_seconds: None,
            limits: None,
        };
        let nowhere = SecretRef { namespace: String::new(), name: String::new() };
        Some(Description { owner: String::new(), endpoint, ca_bundle: None, credentials: nowhere, certificate: None })
    }
}

impl Connections {
    /// Adds a `CmdbConnection` of a namespace.
    pub fn add(&mut self, namespace: &str, connection: &CmdbConnection) {
        let name = ConnectionName {
            kind: ConnectionKind::CmdbConnection,
            namespace: namespace.to_owned(),
            name: connection.name_any(),
        };
        self.descriptions.insert(name, Description::of(namespace, &connection.spec));
    }

    /// Adds a `ClusterCmdbConnection`.
    pub fn add_cluster_connection(&mut self, connection: &ClusterCmdbConnection) {
        let name = ConnectionName {
            kind: ConnectionKind::ClusterCmdbConnection,
            namespace: String::new(),
            name: connection.name_any(),
        };
        self.grants.insert(name.clone(), connection.spec.grants.clone());
        self.descriptions.insert(name, Description::of_cluster(&connection.spec));
    }

    /// Adds a namespace: grants may select it by its labels.
    pub fn add_namespace(&mut self, document: &Document) {
        let metadata = document.root.get("metadata").map(YamlValue::to_json).unwrap_or_default();
        let name = metadata["name"].as_str().unwrap_or_default().to_owned();
        self.labels.insert(name, serde_json::from_value(metadata["labels"].clone()).unwrap_or_default());
    }

    /// What the sets of a namespace may touch through a connection. Only cluster connections of the files have bounds.
    pub fn grants(&self, namespace: &str, name: &ConnectionName, flags: &ConnectionFlags) -> Arc<dyn Grants> {
        if flags.url.is_some() || !name.is_shared() {
            return Arc::new(Unbounded);
        }
        Arc::new(FileGrants {
            grants: self.grants.get(name).cloned().unwrap_or_default(),
            namespace: namespace.to_owned(),
            labels: self.labels.get(namespace).cloned().unwrap_or_default(),
        })
    }

    /// Adds a Secret of a namespace.
    pub fn add_secret(&mut self, namespace: &str, document: Document) {
        let name = document.root.get("metadata").and_then(|metadata| metadata.text("name")).unwrap_or_default();
        self.secrets.insert((namespace.to_owned(), name.to_owned()), document);
    }

    /// The connection of this name, or that of `--url`. The error says what is missing or wrong.
    pub fn get(&mut self, name: &ConnectionName, flags: &ConnectionFlags) -> Result<BareConnection, String> {
        let key = Some(name.clone()).filter(|_| flags.url.is_none());
        if let Some(built) = self.built.get(&key) {
            return built.clone();
        }
        let built = self.build(name, flags).map_err(|error| format!("{error:#}"));
        self.built.insert(key, built.clone());
        built
    }

    fn build(&self, name: &ConnectionName, flags: &ConnectionFlags) -> anyhow::Result<BareConnection> {
        // Of the command line.
        if let Some(description) = flags.description() {
            let credentials = from_environment(&description.endpoint)?;
            return self.connect("--url", &description, String::new(), credentials, None);
        }

        // Of the files.
        let Some(description) = self.descriptions.get(name) else {
            let place = if name.is_shared() { String::new() } else { format!(" of namespace {:?}", name.namespace) };
            bail!("{name}{place} is not in the files: add it, or give --url");
        };

        // Its Secrets. Credentials of the environment are sent only where the command line says: a file may name any URL.
        let document = |secret: &SecretRef| self.secrets.get(&(secret.namespace.clone(), secret.name.clone()));
        let absent = |secret: &SecretRef| {
            format!("Secret {:?} of namespace {:?} is not in the files", secret.name, secret.namespace)
        };
        let secret = document(&description.credentials).with_context(|| {
            format!("{}: add it, or give --url and credentials in the environment", absent(&description.credentials))
        })?;
        let secret = read_secret(&description.credentials.name, secret)?;
        let with_message = |error: controller::Error| anyhow!(error.message());
        let credentials = description.read_credentials(&secret).map_err(with_message)?;
        let identity = match &description.certificate {
            Some(certificate) => {
                let document = document(certificate).with_context(|| absent(certificate))?;
                let secret = read_secret(&certificate.name, document)?;
                Some(controller::read_identity(&certificate.name, &secret).map_err(with_message)?)
            }
            None => None,
        };

        let key = format!("{}/{name}", name.namespace);
        self.connect(&name.name, description, key, credentials, identity)
    }

    fn connect(
        &self,
        name: &str,
        description: &Description,
        key: String,
        credentials: Credentials,
        identity: Option<SecretString>,
    ) -> anyhow::Result<BareConnection> {
        // No policy of URLs: the user of the command may send requests anywhere.
        let bounds = Bounds {
            url_policy: Arc::new(UrlPolicy::none()),
            limiters: Arc::clone(&self.limiters),
            write_gate: Arc::new(OpenGate),
        };
        let connection = description.connect(credentials, identity, bounds, key, Arc::new(NoObserver));
        connection.map_err(|reason| anyhow!("{name}: {reason}"))
    }
}

/// The Secret in a document, with `stringData` moved into `data`.
pub fn read_secret(name: &str, document: &Document) -> anyhow::Result<Secret> {
    // The reason is left out of the error: it may hold a value.
    let unreadable = |_| anyhow!("Secret {name:?} cannot be read as one");
    let mut secret: Secret = serde_json::from_value(document.root.to_json()).map_err(unreadable)?;
    let data = secret.data.get_or_insert_default();
    for (key, text) in secret.string_data.take().unwrap_or_default() {
        data.insert(key, ByteString(text.into_bytes()));
    }
    Ok(secret)
}

/// Credentials from the environment: for each key of a Secret a variable such as `PTSET_BK_APP_CODE`.
pub fn from_environment(endpoint: &EndpointSpec) -> anyhow::Result<Credentials> {
    let variable = |key: &str| format!("PTSET_{}", key.to_uppercase());
    let read = |key: &str| std::env::var(variable(key)).ok();
    controller::read_credentials(endpoint, read).map_err(|missing| match missing {
        "bk_app_code" | "bk_app_secret" | "bk_username" => anyhow!("{} is not set", variable(missing)),
        _ => anyhow!("none of PTSET_BK_USERNAME, PTSET_BK_TOKEN and PTSET_ACCESS_TOKEN is set"),
    })
}
