//! `delete_proc_template`.

use crate::access::refusal::{Refusal, code};
use crate::calls::decode::{self, Object};
use crate::calls::hold;
use crate::model::database::Database;
use crate::model::holds::Held;

const MAXIMUM: usize = 500;

/// Deletes every process template or none, and adds the IDs of those that are gone for good to `deleted`. With `commit`
/// unset the transaction is rolled back at its very end.
pub(crate) fn delete(
    database: &mut Database,
    body: &Object,
    commit: bool,
    deleted: &mut Vec<i64>,
) -> Result<(), Refusal> {
    let bk_biz_id = decode::integer(body, "bk_biz_id")?;
    let ids = decode::integers(body, "process_templates")?;

    if database.state.create_limit {
        if ids.is_empty() {
            return Err(Refusal::new(code::NEED_SET, &["process_templates"]));
        }
        if ids.len() > MAXIMUM {
            return Err(Refusal::new(code::EXCEED_LIMIT, &["delete process template", &MAXIMUM.to_string()]));
        }
    }

    // Any other business will do: the server only asks it for permissions.
    if bk_biz_id == 0 {
        return Err(Refusal::invalid("bk_biz_id"));
    }

    let non_atomic = database.state.non_atomic;
    let mut removed = Vec::with_capacity(ids.len());
    let mut outcome = Ok(());
    for id in ids {
        if database.holds.has(&Held::ProcessTemplate(id)) {
            outcome = Err(hold::retries_exhausted());
            break;
        }
        // An ID that comes twice is unknown the second time.
        let Some(template) = database.remove(id) else {
            // A transaction hides the cause behind one code.
            let code = if non_atomic { code::NOT_FOUND } else { code::DELETE_PROCESS_TEMPLATE };
            outcome = Err(Refusal::new(code, &[]));
            break;
        };
        removed.push(template);
    }

    if commit && (outcome.is_ok() || non_atomic) {
        deleted.extend(removed.iter().map(|template| template.id));
    } else {
        for template in removed {
            database.insert(template);
        }
    }
    outcome
}
