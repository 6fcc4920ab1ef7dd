//! The connections of `ptset plan`: from the files, or from the command line.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use secrecy::SecretString;

use super::files::Document;
use crate::api::{CmdbConnection, CmdbConnectionSpec, LocalSecretRef, SchemaChoice, TransportChoice};
use crate::cmdb::{self, Credentials, Fence, Limiters, Operation};
use crate::controller;
use crate::engine::Connection;

/// How sockets are kept, as the command line says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Schema {
    /// As the first listed template shows.
    Auto,
    /// One address and one protocol for all ports of a process: before CMDB 3.8.14 and 3.9.5.
    Flat,
    /// Rows, each with its own.
    BindInfo,
}

/// How CMDB is reached, as the command line says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Transport {
    /// The BlueKing ESB.
    Esb,
    /// The BlueKing API gateway; the URL has its name and stage.
    Gateway,
    /// CMDB's own API server.
    Direct,
}

/// A connection that the command line gives for every set.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Base URL of CMDB, for all sets; without it, the connection that each set names is looked for in the files
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

/// The connections of the files by namespace and name, with their Secrets.
#[derive(Default)]
pub struct Connections {
    objects: HashMap<(String, String), CmdbConnection>,
    secrets: HashMap<(String, String), Document>,
    built: HashMap<(String, String), Result<Connection, String>>,
    limiters: Arc<Limiters>,
}

struct Silent;

impl cmdb::Observer for Silent {
    fn call_finished(&self, _: Operation, _: &'static str, _: Duration) {}
}

impl Connections {
    /// Adds a connection.
    pub fn add(&mut self, namespace: &str, connection: CmdbConnection) {
        let name = connection.metadata.name.clone().unwrap_or_default();
        self.objects.insert((namespace.to_owned(), name), connection);
    }

    /// Adds a Secret.
    pub fn add_secret(&mut self, namespace: &str, document: Document) {
        let name = document.node.get("metadata").and_then(|metadata| metadata.text("name")).unwrap_or_default();
        self.secrets.insert((namespace.to_owned(), name.to_owned()), document);
    }

    /// The CMDB that a set of this namespace uses under this name of a connection.
    pub fn get(&mut self, namespace: &str, name: &str, flags: &Flags) -> Result<Connection, String> {
        let key = if flags.url.is_some() { Default::default() } else { (namespace.to_owned(), name.to_owned()) };
        if let Some(built) = self.built.get(&key) {
            return built.clone();
        }
        let built = self.build(namespace, name, flags).map_err(|error| format!("{error:#}"));
        self.built.insert(key, built.clone());
        built
    }

    fn build(&self, namespace: &str, name: &str, flags: &Flags) -> anyhow::Result<Connection> {
        let limiters = Arc::clone(&self.limiters);
        if let Some(url) = &flags.url {
            let spec = CmdbConnectionSpec {
                url: url.clone(),
                transport: Some(match flags.transport {
                    Transport::Esb => TransportChoice::Esb,
                    Transport::Gateway => TransportChoice::Gateway,
                    Transport::Direct => TransportChoice::Direct,
                }),
                schema: Some(match flags.schema {
                    Schema::Auto => SchemaChoice::Auto,
                    Schema::Flat => SchemaChoice::Flat,
                    Schema::BindInfo => SchemaChoice::BindInfo,
                }),
                supplier_account: Some(flags.supplier_account.clone()),
                credentials_secret_ref: LocalSecretRef { name: String::new() },
                tls: None,
                timeout_seconds: None,
                limits: None,
            };
            return connect("--url", &spec, String::new(), from_environment(&spec)?, None, limiters);
        }
        let Some(connection) = self.objects.get(&(namespace.to_owned(), name.to_owned())) else {
            bail!("CmdbConnection {name:?} of namespace {namespace:?} is not in the files: add it, or give --url");
        };
        let spec = &connection.spec;
        let secret = &spec.credentials_secret_ref.name;
        let document = |name: &String| self.secrets.get(&(namespace.to_owned(), name.clone()));
        let absent = |name: &String| format!("Secret {name:?} of namespace {namespace:?} is not in the files");
        // Those of the environment go only where the command line says: a file may name any URL.
        let document_of_secret = document(secret)
            .with_context(|| format!("{}: add it, or give --url and credentials in the environment", absent(secret)))?;
        let credentials = from_secret(spec, document_of_secret)?;
        let certificate = spec.tls.as_ref().and_then(|tls| tls.client_certificate_secret_ref.as_ref());
        let identity = match certificate.map(|reference| &reference.name) {
            Some(certificate) => {
                let document = document(certificate).with_context(|| absent(certificate))?;
                let identity = controller::secret_identity(certificate, &read_secret(certificate, document)?);
                Some(identity.map_err(|error| anyhow!(error.message()))?)
            }
            None => None,
        };
        connect(name, spec, format!("{namespace}/{name}"), credentials, identity, limiters)
    }
}

fn connect(
    name: &str,
    spec: &CmdbConnectionSpec,
    key: String,
    credentials: Credentials,
    identity: Option<SecretString>,
    limiters: Arc<Limiters>,
) -> anyhow::Result<Connection> {
    // Whoever calls the command may send requests anywhere.
    let fence = Arc::new(Fence::none());
    let connected = controller::connect(name, spec, credentials, identity, fence, limiters, key, Arc::new(Silent));
    connected.map_err(|error| match error {
        controller::Error::ConnectionInvalid { reason, .. } => anyhow!("{name}: {reason}"),
        error => anyhow!(error.message()),
    })
}

fn from_secret(spec: &CmdbConnectionSpec, document: &Document) -> anyhow::Result<Credentials> {
    let secret = read_secret(&spec.credentials_secret_ref.name, document)?;
    controller::secret_credentials(spec, &secret).map_err(|error| anyhow!(error.message()))
}

fn read_secret(name: &str, document: &Document) -> anyhow::Result<Secret> {
    // Why it cannot be read is not repeated: the reason may hold a value.
    let unreadable = |_| anyhow!("Secret {name:?} cannot be read as one");
    let mut secret: Secret = serde_json::from_value(document.node.to_json()).map_err(unreadable)?;
    let data = secret.data.get_or_insert_default();
    for (key, text) in secret.string_data.take().unwrap_or_default() {
        data.insert(key, ByteString(text.into_bytes()));
    }
    Ok(secret)
}

// The keys of a Secret, as variables: PTSET_BK_APP_CODE.
fn from_environment(spec: &CmdbConnectionSpec) -> anyhow::Result<Credentials> {
    let variable = |key: &str| format!("PTSET_{}", key.to_uppercase());
    let read = |key: &str| std::env::var(variable(key)).ok();
    controller::read_credentials(spec, read).map_err(|missing| match missing {
        "bk_app_code" | "bk_app_secret" | "bk_username" => anyhow!("{} is not set", variable(missing)),
        _ => anyhow!("none of PTSET_BK_USERNAME, PTSET_BK_TOKEN and PTSET_ACCESS_TOKEN is set"),
    })
}
