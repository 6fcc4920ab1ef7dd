//! What a write would hold if its transaction were abandoned, and how a write that meets it is refused.

use serde_json::Value;

use crate::access::refusal::{Refusal, code};
use crate::calls::decode::Object;
use crate::model::holds::Held;
use crate::operation::Operation;

/// What the transaction of a write holds, as far as the body can be read.
pub(crate) fn of(operation: Operation, body: &Object) -> Vec<Held> {
    match operation {
        Operation::BatchCreateProcTemplate => {
            let service_template_id = integer(body, "service_template_id");
            let names = array(body, "processes")
                .iter()
                .filter_map(|process| process.pointer("/spec/bk_process_name/value").and_then(Value::as_str));
            names.map(|name| Held::ProcessName { service_template_id, name: name.to_owned() }).collect()
        }
        Operation::UpdateProcTemplate => vec![Held::ProcessTemplate(integer(body, "process_template_id"))],
        Operation::DeleteProcTemplate => {
            array(body, "process_templates").iter().filter_map(Value::as_i64).map(Held::ProcessTemplate).collect()
        }
        Operation::CreateServiceTemplate => {
            let name = body.get("name").and_then(Value::as_str).unwrap_or_default();
            vec![Held::ServiceTemplateName {
                bk_biz_id: integer(body, "bk_biz_id"),
                name: name.trim_matches(' ').to_owned(),
            }]
        }
        Operation::DeleteServiceTemplate
        | Operation::ListProcTemplate
        | Operation::GetProcTemplate
        | Operation::ListServiceTemplate
        | Operation::GetServiceTemplate
        | Operation::ListServiceCategory => Vec::new(),
    }
}

/// What a create answers while an abandoned transaction holds one of its names.
pub(crate) fn name_conflict() -> Refusal {
    Refusal::new(code::COMMIT_TRANSACTION, &["(WriteConflict) WriteConflict"])
}

/// What any other write answers after its last retry against an abandoned transaction.
pub(crate) fn retries_exhausted() -> Refusal {
    Refusal::verbatim(code::COMMIT_TRANSACTION, "retry transaction exceeds maximum count")
}

fn integer(body: &Object, key: &str) -> i64 {
    body.get(key).and_then(Value::as_i64).unwrap_or(0)
}

fn array<'a>(body: &'a Object, key: &str) -> &'a [Value] {
    body.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
