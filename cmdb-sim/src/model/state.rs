//! The simulator's state as plain data: what the state file holds and what `/sim/state` shows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::now;
use crate::control::quota::Quota;
use crate::model::category::{self, ServiceCategory};
use crate::model::cost::CreateCost;
use crate::model::schema::Schema;

/// Everything the simulated CMDB knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(clippy::struct_excessive_bools, reason = "they are switches, each its own")]
pub struct State {
    /// Schema of process properties.
    pub schema: Schema,
    /// Create refuses strings with outer white space, as CMDB 3.14.7 does.
    #[serde(rename = "whitespaceRule")]
    pub whitespace_rule: bool,
    /// Create takes at most 100 processes and delete 1 to 500 IDs, as CMDB 3.10.16 and later do.
    #[serde(rename = "createLimit")]
    pub create_limit: bool,
    /// List by `process_template_ids` works; before CMDB 3.9.13 it found nothing.
    #[serde(rename = "idFilter")]
    pub id_filter: bool,
    /// Create answers `[[1, 2]]`, as the old API document shows it.
    #[serde(rename = "nestedIds")]
    pub nested_ids: bool,
    /// No two process templates of a service template have the same name. Before CMDB 3.9.18 the database did not know
    /// that rule, and two creates at the same time could store a name twice.
    #[serde(rename = "uniqueNames")]
    pub unique_names: bool,
    /// Update changes `bk_process_name`; before CMDB 3.9.27 it ignored that as it still does `bk_func_name`.
    pub rename: bool,
    /// Create and delete work without a transaction, as up to CMDB 3.8.3: what comes before the item that fails stays
    /// stored or deleted.
    #[serde(rename = "nonAtomic")]
    pub non_atomic: bool,
    /// How long a create's names stay blocked when its caller hangs up before the reply; 0 means that the server does
    /// not notice and carries on.
    #[serde(rename = "holdNamesOnHangUpSeconds")]
    pub hold_names_on_hang_up_seconds: f64,
    /// How long a process template stays blocked for updates and deletes, and the name of a service template for creates,
    /// when the caller of such a write hangs up before the reply; 0 means that the server does not notice and carries on.
    #[serde(rename = "holdTemplatesOnHangUpSeconds")]
    pub hold_templates_on_hang_up_seconds: f64,
    /// How long a write takes that is refused because an abandoned transaction holds what it would write.
    #[serde(rename = "writeConflictSeconds")]
    pub write_conflict_seconds: f64,
    /// Distance between two IDs.
    #[serde(rename = "idStep")]
    pub id_step: i64,
    /// The version that `GET /version` of the apiserver answers; when empty, there is no such page.
    pub version: String,
    /// What a create costs; nothing means no time.
    #[serde(rename = "createCost")]
    pub create_cost: Option<CreateCost>,
    /// How many calls a caller has; nothing means no limit.
    pub quota: Option<Quota>,
    /// Applications that may call; an empty list lets every non-empty code and secret in.
    pub accounts: Vec<Account>,
    /// Businesses.
    pub businesses: Vec<Business>,
    /// Service categories, a tree of two levels.
    pub service_categories: Vec<ServiceCategory>,
    /// Service templates.
    pub service_templates: Vec<ServiceTemplate>,
    /// Process templates by ascending ID.
    pub process_templates: Vec<ProcessTemplate>,
    /// Next ID of each kind.
    pub next_ids: NextIds,
}

impl Default for State {
    fn default() -> Self {
        Self::of_schema(Schema::default())
    }
}

impl State {
    /// A fresh server of one schema: a business and the twenty built-in categories.
    #[must_use]
    pub fn of_schema(schema: Schema) -> Self {
        // The last flat servers are older than each of these rules.
        let current = schema == Schema::BindInfo;
        Self {
            schema,
            whitespace_rule: current,
            create_limit: current,
            id_filter: current,
            nested_ids: false,
            unique_names: true,
            rename: true,
            non_atomic: false,
            hold_names_on_hang_up_seconds: 0.0,
            hold_templates_on_hang_up_seconds: 0.0,
            write_conflict_seconds: 0.0,
            id_step: 1,
            version: if current { "3.14.7-simulated" } else { "3.8.3-simulated" }.to_owned(),
            create_cost: None,
            quota: None,
            accounts: Vec::new(),
            businesses: vec![Business {
                bk_biz_id: 2,
                bk_biz_name: "BlueKing".to_owned(),
                bk_data_status: DataStatus::Enable,
            }],
            service_categories: category::built_in(),
            service_templates: Vec::new(),
            process_templates: Vec::new(),
            next_ids: NextIds::default(),
        }
    }
}

/// An application that may call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Its `bk_app_code`.
    pub app_code: String,
    /// Its `bk_app_secret`.
    pub app_secret: String,
}

/// A business.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Business {
    /// ID.
    pub bk_biz_id: i64,
    /// Name.
    #[serde(default)]
    pub bk_biz_name: String,
    /// Whether it is in use. CMDB writes to an archived one as to any other.
    #[serde(default)]
    pub bk_data_status: DataStatus,
}

/// Whether a business is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataStatus {
    /// It is.
    #[default]
    Enable,
    /// It was archived.
    Disabled,
}

/// A service template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceTemplate {
    /// Business.
    pub bk_biz_id: i64,
    /// ID; 0 or absent in a state that is put means the next one.
    #[serde(default)]
    pub id: i64,
    /// Name, unique in its business.
    pub name: String,
    /// Service category, a leaf.
    #[serde(default)]
    pub service_category_id: i64,
    /// User who created it.
    #[serde(default = "user")]
    pub creator: String,
    /// User who changed it last.
    #[serde(default = "user")]
    pub modifier: String,
    /// Time of its creation.
    #[serde(default = "now")]
    pub create_time: String,
    /// Time of its last change.
    #[serde(default = "now")]
    pub last_time: String,
    /// Supplier account.
    #[serde(default = "supplier_account")]
    pub bk_supplier_account: String,
    /// Whether hosts' properties follow the template.
    #[serde(default)]
    pub host_apply_enabled: bool,
}

/// A process template.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessTemplate {
    /// ID; 0 or absent in a state that is put means the next one.
    #[serde(default)]
    pub id: i64,
    /// Copy of the property of the same name; taken from there when empty or absent in a state that is put.
    #[serde(default)]
    pub bk_process_name: String,
    /// Business.
    pub bk_biz_id: i64,
    /// Service template.
    pub service_template_id: i64,
    /// Properties by their CMDB names.
    #[serde(default)]
    pub property: Property,
    /// User who created it.
    #[serde(default = "user")]
    pub creator: String,
    /// User who changed it last.
    #[serde(default = "user")]
    pub modifier: String,
    /// Time of its creation.
    #[serde(default = "now")]
    pub create_time: String,
    /// Time of its last change.
    #[serde(default = "now")]
    pub last_time: String,
    /// Supplier account.
    #[serde(default = "supplier_account")]
    pub bk_supplier_account: String,
}

/// The properties of a process template; one that is missing here is empty and unlocked.
pub type Property = BTreeMap<String, Attribute>;

/// One property: a value and whether instances are locked to it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attribute {
    /// The value; rows for `bind_info`.
    pub value: Value,
    /// Locked, unlocked, or unlocked because the request did not say.
    pub as_default_value: Option<bool>,
}

/// The next ID of each kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NextIds {
    /// Of service templates.
    pub service_template: i64,
    /// Of process templates, one counter for all service templates.
    pub process_template: i64,
}

impl Default for NextIds {
    fn default() -> Self {
        Self { service_template: 1, process_template: 1 }
    }
}

fn user() -> String {
    "admin".to_owned()
}

fn supplier_account() -> String {
    "0".to_owned()
}
