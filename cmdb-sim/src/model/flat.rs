//! The property schema of servers before `bind_info`.

use crate::model::field::{Field, Kind};
use crate::model::port;
use crate::model::state::Property;

/// Properties in the server's own order.
pub(crate) const FIELDS: &[Field] = &[
    Field { name: "proc_num", kind: Kind::Integer },
    Field { name: "stop_cmd", kind: Kind::Text },
    Field { name: "restart_cmd", kind: Kind::Text },
    Field { name: "face_stop_cmd", kind: Kind::Text },
    Field { name: "bk_func_name", kind: Kind::Text },
    Field { name: "work_path", kind: Kind::Text },
    Field { name: "bind_ip", kind: Kind::Text },
    Field { name: "priority", kind: Kind::Integer },
    Field { name: "reload_cmd", kind: Kind::Text },
    Field { name: "bk_process_name", kind: Kind::Text },
    Field { name: "port", kind: Kind::Text },
    Field { name: "pid_file", kind: Kind::Text },
    Field { name: "auto_start", kind: Kind::Flag },
    Field { name: "auto_time_gap", kind: Kind::Integer },
    Field { name: "start_cmd", kind: Kind::Text },
    Field { name: "bk_func_id", kind: Kind::Text },
    Field { name: "user", kind: Kind::Text },
    Field { name: "timeout", kind: Kind::Integer },
    Field { name: "protocol", kind: Kind::Text },
    Field { name: "description", kind: Kind::Text },
    Field { name: "bk_start_param_regex", kind: Kind::Text },
    Field { name: "bk_enable_port", kind: Kind::Flag },
    Field { name: "bk_gateway_ip", kind: Kind::Text },
    Field { name: "bk_gateway_port", kind: Kind::Text },
    Field { name: "bk_gateway_protocol", kind: Kind::Text },
    Field { name: "bk_gateway_city", kind: Kind::Text },
];

/// Integers that have a range, in the order in which the server checks them.
pub(crate) const RANGES: &[(&str, i64, i64)] =
    &[("auto_time_gap", 1, 10_000), ("timeout", 1, 10_000), ("proc_num", 1, 10_000), ("priority", 1, 10_000)];

/// The name of the first socket property that breaks a rule.
pub(crate) fn violation(property: &Property) -> Option<&'static str> {
    let text = |name: &str| property.get(name).and_then(|attribute| attribute.value.as_str());
    let protocol = |name: &str| text(name).is_none_or(|value| matches!(value, "1" | "2"));
    if !matches!(text("bind_ip").unwrap_or_default(), "" | "1" | "2" | "3" | "4") {
        return Some("bind_ip");
    }
    if !text("port").is_none_or(|value| value.is_empty() || port::is_valid(value)) {
        return Some("port");
    }
    ["protocol", "bk_gateway_protocol"].into_iter().find(|name| !protocol(name))
}
