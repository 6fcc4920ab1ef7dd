//! What is seen of the operator.

use k8s_openapi::api::core::v1::EnvVar;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Strings;

/// Metrics, alerts and the dashboard.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metrics {
    /// A `ServiceMonitor`.
    pub service_monitor: Monitor,
    /// A `PodMonitor`, where services are not to be scraped.
    pub pod_monitor: Monitor,
    /// A `PrometheusRule` with the alerts.
    pub prometheus_rule: Rule,
    /// A `ConfigMap` with the dashboard, for Grafana's sidecar. Of one release only: it shows all installations.
    pub dashboard: Dashboard,
}

/// When an object of a kind is made that a cluster may not have.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub enum Create {
    Never,
    WhenPresent,
    Always,
}

/// A monitor.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Monitor {
    /// When it is made. `WhenPresent`: where the cluster has its kind.
    pub create: Create,
    /// Further labels, by which Prometheus chooses.
    pub labels: Strings,
    /// How often is scraped, such as `30s`. Empty: as Prometheus does.
    #[schemars(regex(pattern = r"^([0-9]+(ms|s|m|h))*$"))]
    pub interval: String,
}

/// The alerts.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// When it is made. `WhenPresent`: where the cluster has its kind.
    pub create: Create,
    /// Further labels, by which Prometheus chooses.
    pub labels: Strings,
    /// The label `job` of the scrape. Empty: that of the monitor above.
    #[schemars(regex(pattern = r"^[^\s{}]*$"))]
    pub job: String,
    /// Where the files of the source are read, such as `https://git.example.com/ptset/blob/main`; `docs/operations/alerts.md`
    /// and the alert follow. Empty: the annotation is `runbook`, with the file alone.
    #[schemars(regex(pattern = r"^(https?://\S+)?$"))]
    pub runbook_base_url: String,
}

/// The dashboard.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Dashboard {
    /// Whether it is made.
    pub create: bool,
    /// Labels by which the sidecar finds it.
    pub labels: Strings,
    /// Annotations, such as that of the folder.
    pub annotations: Strings,
}

impl Default for Metrics {
    fn default() -> Self {
        let monitor = || Monitor { create: Create::Never, labels: Strings::new(), interval: String::new() };
        Self {
            service_monitor: monitor(),
            pod_monitor: monitor(),
            prometheus_rule: Rule {
                create: Create::Never,
                labels: Strings::new(),
                job: String::new(),
                runbook_base_url: String::new(),
            },
            dashboard: Dashboard {
                create: false,
                labels: Strings::from([("grafana_dashboard".to_owned(), "1".to_owned())]),
                annotations: Strings::new(),
            },
        }
    }
}

/// What `helm test` asks.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Test {
    /// Whether there is a test.
    pub enabled: bool,
    /// Arguments of `ptset doctor`, such as `[--url, "https://cmdb.example.com", --biz, "2"]`. Empty: only whether the operator
    /// is ready is asked.
    pub doctor_args: Vec<String>,
    /// Its environment, with the credentials: `PTSET_BK_APP_CODE` and others, taken from a Secret.
    pub doctor_env: Vec<EnvVar>,
}

impl Default for Test {
    fn default() -> Self {
        Self { enabled: true, doctor_args: Vec::new(), doctor_env: Vec::new() }
    }
}
