//! The objects of a hostile tenant, as manifests.

use process_template_operator::api::{FINALIZER, LONG_TEXT_BYTES};
use serde_json::{Value, json};

/// Number of businesses, and of service templates in the first of them, that the CMDB has.
pub const BUSINESSES: usize = 160;

/// The port of the CMDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Serves HTTP.
    Http,
    /// Never answers a TLS handshake.
    TlsStall,
    /// Answers a TLS handshake with garbage.
    TlsGarbage,
}

/// `bk_app_secret`, which the tenant chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secret {
    /// A short one.
    Usual,
    /// This text, repeated, and a digit.
    Long(&'static str, usize),
    /// There is no Secret.
    Missing,
}

/// What the tenant keeps doing. Numbers without a unit are times per second, over all sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meanwhile {
    /// Nothing.
    Nothing,
    /// Edit sets.
    EditSets(u32),
    /// Request a reconcile of sets, with an annotation of this many bytes.
    Annotate(usize, u32),
    /// Delete sets and create them again.
    Recreate(u32),
    /// Edit the limits of every connection each second.
    EditConnections,
    /// Change the URL of every connection each second.
    ChangeUrls,
    /// Change the secret each second.
    RotateSecret,
}

/// The objects of a tenant.
#[derive(Clone, Copy, Debug)]
pub struct Objects {
    /// Number of sets.
    pub sets: usize,
    /// Number of connections that sets use, each with its own URL. One more is used by no set.
    pub connections: usize,
    /// Whether each set has its own business.
    pub has_businesses: bool,
    /// Whether all sets declare the same processes of one service template.
    pub is_contended: bool,
    /// Whether URL, business and service template are those of the healthy tenant.
    pub uses_healthy_cmdb: bool,
    /// Processes of each set.
    pub processes: usize,
    /// Approximate size of each set; 0: small.
    pub bytes: usize,
    /// `bk_app_secret`
    pub secret: Secret,
    /// `transport`
    pub transport: &'static str,
    /// The port of the CMDB.
    pub port: Port,
    /// `limits.maxConcurrent` of each connection.
    pub max_concurrent: Option<u32>,
    /// `timeoutSeconds` of each connection.
    pub timeout_seconds: Option<u32>,
    /// What the tenant keeps doing.
    pub meanwhile: Meanwhile,
}

/// A few sets on one connection.
pub const FEW: Objects = Objects {
    sets: 6,
    connections: 1,
    has_businesses: false,
    is_contended: false,
    uses_healthy_cmdb: false,
    processes: 2,
    bytes: 0,
    secret: Secret::Usual,
    transport: "Esb",
    port: Port::Http,
    max_concurrent: None,
    timeout_seconds: None,
    meanwhile: Meanwhile::Nothing,
};

/// Many sets on one connection, each with its own business.
pub const MANY: Objects = Objects { sets: 110, has_businesses: true, processes: 1, ..FEW };

impl Objects {
    /// The nth connection.
    pub fn connection(&self, nth: usize, url: &str) -> Value {
        let mut spec = json!({ "url": url, "transport": self.transport, "credentialsSecretRef": { "name": "cmdb" } });
        if let Some(seconds) = self.timeout_seconds {
            spec["timeoutSeconds"] = json!(seconds);
        }
        if let Some(most) = self.max_concurrent {
            spec["limits"] = json!({ "maxConcurrent": most });
        }
        json!({
            "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "CmdbConnection",
            "metadata": { "name": format!("c{nth}") }, "spec": spec,
        })
    }

    /// The Secret of this turn, if there is one.
    pub fn secret(&self, turn: usize) -> Option<Value> {
        let secret = match self.secret {
            Secret::Usual => format!("hostile-secret-{turn}"),
            Secret::Long(text, times) => format!("{}{turn}", text.repeat(times)),
            Secret::Missing => return None,
        };
        Some(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "cmdb" },
            "stringData": { "bk_app_code": "hostile", "bk_app_secret": secret, "bk_username": "hostile" },
        }))
    }

    /// The name of a set.
    pub fn set_name(nth: usize) -> String {
        format!("s{nth:03}")
    }

    /// Whether the set has `deletionPolicy: Delete`; every third has `Orphan`.
    pub fn deletes(nth: usize) -> bool {
        nth % 3 != 2
    }

    /// The set of this turn.
    pub fn set(&self, nth: usize, turn: usize) -> Value {
        let template = if self.is_contended || self.uses_healthy_cmdb { 0 } else { nth % BUSINESSES };
        let biz = if self.has_businesses { template + 3 } else { 2 };
        let longs = ["startCmd", "stopCmd", "restartCmd", "reloadCmd", "forceStopCmd", "workPath", "pidFile"];
        let processes = self.processes.max(self.bytes / (longs.len() * LONG_TEXT_BYTES));
        let processes = (0..processes).map(|number| {
            let name = if self.is_contended { format!("p{number}") } else { format!("s{nth}-p{number}") };
            let mut process = json!({ "name": name, "funcName": name, "startCmd": format!("./run {turn}") });
            if self.bytes > 0 {
                for long in longs {
                    process[long] = format!("{}{turn:06}", "x".repeat(LONG_TEXT_BYTES - 6)).into();
                }
            }
            process
        });
        let deletes = Self::deletes(nth);
        let template = if self.uses_healthy_cmdb { "healthy".to_owned() } else { format!("t{template}") };
        json!({
            "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "ProcessTemplateSet",
            // The operator adds the finalizer before it creates templates. A tenant can write it too.
            "metadata": { "name": Self::set_name(nth), "finalizers": if deletes { vec![FINALIZER] } else { vec![] } },
            "spec": {
                "bizId": biz, "serviceTemplate": { "name": template },
                "connectionRef": { "name": format!("c{}", nth % self.connections.max(1)) },
                "adoptionPolicy": "Always", "deletionPolicy": if deletes { "Delete" } else { "Orphan" },
                "processes": processes.collect::<Value>(),
            },
        })
    }
}
