//! One process template as it is written in a manifest.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;
use super::{BindCell, Property};

macro_rules! wire_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident $text:literal $code:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// Every value.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The value in a manifest.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// CMDB's code for it on the wire.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// The value that CMDB writes as this code.
            #[must_use]
            pub fn from_code(code: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.code() == code)
            }
        }
    };
}

wire_enum! {
    /// The address that a socket listens on. The IPv6 values need CMDB 3.11.1.
    IpAddress {
        /// 127.0.0.1
        Loopback "127.0.0.1" "1",
        /// 0.0.0.0
        Any "0.0.0.0" "2",
        /// The host's first inner IP.
        FirstInnerIp "FirstInnerIP" "3",
        /// The host's first outer IP.
        FirstOuterIp "FirstOuterIP" "4",
        /// `::1`
        LoopbackV6 "::1" "5",
        /// `::`
        AnyV6 "::" "6",
        /// The host's first inner IPv6 address.
        FirstInnerIpV6 "FirstInnerIPv6" "7",
        /// The host's first outer IPv6 address.
        FirstOuterIpV6 "FirstOuterIPv6" "8",
    }
}

wire_enum! {
    /// The transport protocol of a socket. The IPv6 values need CMDB 3.11.1.
    Protocol {
        /// TCP over IPv4
        Tcp "TCP" "1",
        /// UDP over IPv4
        Udp "UDP" "2",
        /// TCP over IPv6
        Tcp6 "TCP6" "3",
        /// UDP over IPv6
        Udp6 "UDP6" "4",
    }
}

impl IpAddress {
    /// Whether it is an IPv6 address, which only goes with an IPv6 protocol.
    #[must_use]
    pub fn is_v6(self) -> bool {
        matches!(self, Self::LoopbackV6 | Self::AnyV6 | Self::FirstInnerIpV6 | Self::FirstOuterIpV6)
    }
}

impl Protocol {
    /// Whether it is an IPv6 protocol.
    #[must_use]
    pub fn is_v6(self) -> bool {
        matches!(self, Self::Tcp6 | Self::Udp6)
    }
}

fn names<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str) -> schemars::Schema {
    let names: Vec<&str> = all.iter().map(|value| name(*value)).collect();
    schemars::json_schema!({ "type": "string", "enum": names })
}

fn any_ip(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    names(IpAddress::ALL, IpAddress::name)
}

fn any_protocol(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    names(Protocol::ALL, Protocol::name)
}

fn v4_ip(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let v4: Vec<IpAddress> = IpAddress::ALL.iter().copied().filter(|ip| !ip.is_v6()).collect();
    names(&v4, IpAddress::name)
}

fn v4_protocol(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let v4: Vec<Protocol> = Protocol::ALL.iter().copied().filter(|protocol| !protocol.is_v6()).collect();
    names(&v4, Protocol::name)
}

/// A port as people write it: `8000`, `"8000"` or `"8000-8010"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Port {
    /// A single port.
    Number(i64),
    /// A port or a range as text; a comma list where the older property is meant.
    Text(String),
}

impl std::fmt::Display for Port {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(formatter, "{number}"),
            Self::Text(text) => formatter.write_str(text),
        }
    }
}

/// What is said when an address and a protocol are of different families.
pub const FAMILY_MESSAGE: &str = "an IPv6 ip goes with TCP6 or UDP6, an IPv4 ip with TCP or UDP";

/// What is said when both socket forms are used.
pub const BOTH_FORMS_MESSAGE: &str = "bindInfo and bindIp, port, protocol are two forms of one thing: use one of them";

/// One listening socket of a process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    schema::rule(
        "!has(self.ip) || (self.ip in ['::1', '::', 'FirstInnerIPv6', 'FirstOuterIPv6']) == (self.protocol in ['TCP6', 'UDP6'])",
        FAMILY_MESSAGE,
    ),
    schema::lists_disjoint(&["locked", "unlocked"]),
]))]
pub struct BindRow {
    /// `ip`: the address, for example 0.0.0.0 or `FirstInnerIP`. Absent: none; where it is locked, "" is sent. The IPv6 values need
    /// CMDB 3.11.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_ip")]
    pub ip: Option<IpAddress>,
    /// `port`: one port or one range, 1 to 65535 without leading zeros, for example 8000 or "8000-8010". A range must not end before
    /// it begins.
    #[schemars(schema_with = "schema::row_port")]
    pub port: Port,
    /// `protocol`: TCP, UDP, TCP6 or UDP6.
    #[schemars(schema_with = "any_protocol")]
    pub protocol: Protocol,
    /// `enable`: whether the socket is in use. Absent: empty, which instances take for false; where it is locked, false is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable: Option<bool>,
    /// `as_default_value` = true: cells that instances must follow, before what the process or the set says of `bindInfo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::cell_names")]
    pub locked: Option<Vec<BindCell>>,
    /// `as_default_value` = false: cells in which instances may differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::cell_names")]
    pub unlocked: Option<Vec<BindCell>>,
}

/// How the process names start under which the operator parks a template, while its name is still taken. No set may use one.
pub const TEMPORARY_PREFIX: &str = "ptset-";

/// A property that this schema does not model: a private build's own, or one that the server ignores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExtraProperty {
    /// `<name>`: the property's CMDB name, lower case with underscores, at most 64 characters.
    #[schemars(schema_with = "schema::extra_name")]
    pub name: String,
    /// `value`: any JSON value. Absent: empty (null).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_value")]
    pub value: Option<serde_json::Value>,
    /// `as_default_value`: true locks instances to the value. Absent: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_default_value: Option<bool>,
}

/// One process that the service template must have. A property that is absent is empty and unlocked in CMDB, unless `unmanaged`
/// names it. Instances keep a value that is taken out: `locked` clears it there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    schema::rule(
        "!has(self.bindInfo) || !(has(self.bindIp) || has(self.port) || has(self.protocol))",
        BOTH_FORMS_MESSAGE,
    ),
    schema::lists_disjoint(&["locked", "unlocked", "unmanaged"]),
]))]
pub struct Process {
    /// `bk_process_name`, unless processName is set: the stable key of this process in the set. Not empty.
    #[schemars(schema_with = "schema::name_text")]
    pub name: String,
    /// `bk_process_name`: the process name where it differs from the key. Absent: the key. Not empty, unique in the
    /// service template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::name_text")]
    pub process_name: Option<String>,
    /// `bk_func_name`: the name of the executable. Not empty. CMDB never changes it on a template that exists.
    #[schemars(schema_with = "schema::name_text")]
    pub func_name: String,
    /// `bk_start_param_regex`: the start parameters that tell this process from others of the same executable. Processes of a set with the same funcName must give different ones, or none of them any: an empty one is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::short_text")]
    pub start_param_regex: Option<String>,
    /// `auto_start`: whether the process is started with its host. Absent: empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_start: Option<bool>,
    /// `auto_time_gap`: start interval, 1 to 10000. Only older servers have it (before CMDB 3.9.13).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub auto_time_gap: Option<i32>,
    /// `bind_info`: the sockets that the process listens on, at most 64. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = schema::MAX_BIND_ROWS), extend("x-kubernetes-list-type" = "atomic"))]
    pub bind_info: Option<Vec<BindRow>>,
    /// `bind_ip`: the address in the form of older servers (before CMDB 3.8.14 and 3.9.5). IPv4 values only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "v4_ip")]
    pub bind_ip: Option<IpAddress>,
    /// `description`: free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::short_text")]
    pub description: Option<String>,
    /// `face_stop_cmd`: the command that stops the process by force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::long_text")]
    pub force_stop_cmd: Option<String>,
    /// `bk_func_id`: function ID. Only older servers have it (before CMDB 3.9.13).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::short_text")]
    pub func_id: Option<String>,
    /// `pid_file`: path of the PID file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::long_text")]
    pub pid_file: Option<String>,
    /// `port`: ports and ranges, separated by commas, in the form of older servers, for example "8000,8010-8020"; 1 to 65535 without
    /// leading zeros, not overlapping, at most 256 characters. Newer servers get one bindInfo row for each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::flat_port")]
    pub port: Option<Port>,
    /// `priority`: start order, -100 to 10000 (below 1 needs CMDB 3.9.26).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -100, max = 10_000))]
    pub priority: Option<i32>,
    /// `proc_num`: number of processes, 1 to 10000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub proc_num: Option<i32>,
    /// `protocol`: TCP or UDP, in the form of older servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "v4_protocol")]
    pub protocol: Option<Protocol>,
    /// `reload_cmd`: the command that reloads the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::long_text")]
    pub reload_cmd: Option<String>,
    /// `restart_cmd`: the command that restarts the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::long_text")]
    pub restart_cmd: Option<String>,
    /// `bk_start_check_secs`: seconds to wait before the process counts as started, 1 to 600 (since CMDB 3.9.13).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 600))]
    pub start_check_seconds: Option<i32>,
    /// `start_cmd`: the command that starts the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::long_text")]
    pub start_cmd: Option<String>,
    /// `stop_cmd`: the command that stops the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::long_text")]
    pub stop_cmd: Option<String>,
    /// `timeout`: seconds that an operation on the process may take, 1 to 10000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub timeout_seconds: Option<i32>,
    /// `user`: the account that the process runs as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::short_text")]
    pub user: Option<String>,
    /// `work_path`: the working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::long_text")]
    pub work_path: Option<String>,
    /// `<name>`: properties that have no field here, at most 16; managed only while they are named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = schema::MAX_EXTRA_PROPERTIES),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub extra_properties: Option<Vec<ExtraProperty>>,
    /// `as_default_value` = true: properties that instances must follow, before what the set says. With no value given: empty and
    /// locked, which clears it on instances.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::property_names")]
    pub locked: Option<Vec<Property>>,
    /// `as_default_value` = false: properties in which instances may differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::property_names")]
    pub unlocked: Option<Vec<Property>>,
    /// Properties that are neither sent to CMDB, nor compared, nor reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::property_names")]
    pub unmanaged: Option<Vec<Property>>,
}
