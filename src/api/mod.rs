//! Floor 0: the vocabulary. The custom resources as people write them, their schema, and the names of everything that
//! we put on Kubernetes objects.

mod cluster_cmdb_connection;
mod cmdb_connection;
mod connection_status;
mod crd;
mod endpoint;
mod process;
mod process_template_set;
mod property;
mod schema;
mod status;

pub use cluster_cmdb_connection::{
    ClusterCmdbConnection, ClusterCmdbConnectionSpec, Grant, LabelExpression, LabelOperator, LabelSelection,
    NamespaceSelection, SecretRef, ServiceTemplateSelection,
};
pub use cmdb_connection::{CmdbConnection, CmdbConnectionSpec, LocalSecretRef};
pub use connection_status::ConnectionStatus;
pub use crd::{crds, yaml};
pub use endpoint::{
    DEFAULT_MAX_CONCURRENT, DEFAULT_REQUESTS_PER_SECOND, DEFAULT_TIMEOUT_SECONDS, EndpointSpec, LimitsSpec,
    SchemaChoice, TlsSpec, TransportChoice,
};
pub use process::{
    BOTH_FORMS_MESSAGE, BindRow, ExtraProperty, FAMILY_MESSAGE, IpAddress, Port, Process, Protocol, TEMPORARY_PREFIX,
};
pub use process_template_set::{
    AdoptionPolicy, CATEGORY_MESSAGE, CREATE_NEEDS_NAME_MESSAGE, CategorySelector, ConnectionKind, ConnectionRef,
    CreateIfMissing, DEFAULT_CONNECTION_NAME, DEFAULT_RESYNC_INTERVAL_SECONDS, DeletionPolicy, DriftPolicy,
    EXACTLY_ONE_MESSAGE, IMMUTABLE_MESSAGE, LockPolicy, MAX_PROCESSES, NEW_NAME_MESSAGE, ProcessTemplateSet,
    ProcessTemplateSetSpec, ReplacePolicy, ServiceTemplateSelector,
};
pub use property::{BindCell, FUNC_NAME, PROCESS_NAME, Property};
pub use schema::{
    EXTRA_IS_MODELLED_MESSAGE, LONG_TEXT_BYTES, MAX_BIND_ROWS, MAX_EXTRA_PROPERTIES, SHORT_TEXT_BYTES,
    TWO_LISTS_MESSAGE, WHITE_SPACE_MESSAGE, bytes_message,
};
pub use status::{Drift, ItemState, PendingIntent, ProcessStatus, ProcessTemplateSetStatus};

/// API group of every custom resource of this project.
pub const GROUP: &str = "cmdb.bk.tencent.com";

/// The one version that is served and stored.
pub const VERSION: &str = "v1alpha1";

/// Who we are in `managedFields`, as reporting controller of events, and as user agent towards the API server.
pub const FIELD_MANAGER: &str = "process-template-operator";

/// `kubectl annotate ptset x cmdb.bk.tencent.com/reconcile-requested-at="$(date)"` reconciles at once; the value is
/// echoed in `status.lastHandledReconcileAt`.
pub const RECONCILE_REQUESTED_AT: &str = "cmdb.bk.tencent.com/reconcile-requested-at";

/// Holds a set with `deletionPolicy: Delete` until its templates are gone. A set with `Orphan` has none.
pub const FINALIZER: &str = "cmdb.bk.tencent.com/process-templates";
