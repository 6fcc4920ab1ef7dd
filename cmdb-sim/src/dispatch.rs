//! One call from its request to its reply: admission, faults, dispatch.

use std::time::{Duration, Instant};

use crate::access::admission::{self, Admission};
use crate::access::refusal::{Refusal, code};
use crate::calls::hold;
use crate::cmdb::Cmdb;
use crate::control::effect::{Delay, DropMoment, Effect, Hang, HoldNames, HoldTemplates};
use crate::control::fault::Selection;
use crate::execute;
use crate::http::reply::{Origin, Reply};
use crate::http::request::Request;
use crate::model::holds::Held;
use crate::operation::Operation;

/// Carries a request out. Nothing means that the connection is to be closed without a reply.
pub(crate) async fn answer(cmdb: &Cmdb, request: Request) -> Option<Reply> {
    let started = Instant::now();
    let quota = cmdb.database().state.quota.clone();
    let admission = admission::admit(&cmdb.database().state.accounts, &request);
    let quota_status = admission::charge(cmdb, quota.as_ref(), &request, &admission);

    let mut ids = Vec::new();
    let mut label = None;
    let mut reply = if let Some(code) = quota_status.and_then(|status| status.refusal) {
        // A call over the quota is refused before faults apply.
        Some(Reply::refusal(&request, &Refusal::new(code, &[]), Origin::Frontend))
    } else {
        let selection = cmdb.faults().select(&request.name, &request.body);
        label = selection.label();
        act(cmdb, &request, &admission, selection, &mut ids).await
    };

    if reply.as_ref().is_some_and(|reply| reply.code == Some(code::COMMIT_TRANSACTION)) {
        let conflict = seconds(cmdb.database().state.write_conflict_seconds);
        cmdb.wait(conflict).await;
    }
    if let Some(reply) = &mut reply {
        reply.sign(&request, quota_status.filter(|_| quota.is_some_and(|quota| quota.headers)));
    }

    cmdb.requests().finish(request.sequence, |record| {
        record.http_status = reply.as_ref().map(|reply| reply.http_status);
        record.code = reply.as_ref().and_then(|reply| reply.code);
        record.ids = ids;
        record.fault = label;
        record.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        record.client_hung_up = request.has_hung_up();
    });
    reply
}

async fn act(
    cmdb: &Cmdb,
    request: &Request,
    admission: &Admission,
    selection: Selection,
    ids: &mut Vec<i64>,
) -> Option<Reply> {
    let delay =
        selection.delays.iter().map(|delay| length(delay, request)).fold(Duration::ZERO, Duration::saturating_add);
    if !delay.is_zero() {
        cmdb.wait(delay).await;
        if abandon(cmdb, request) {
            return None;
        }
    }

    let process = |commit: bool, ids: &mut Vec<i64>| {
        let outcome = execute::execute(cmdb, request, admission, commit);
        if commit {
            ids.clone_from(&outcome.ids);
        }
        outcome
    };

    match selection.effect {
        // Delays were taken out when the faults were selected.
        None | Some(Effect::Delay(_)) => Some(process(true, ids).reply(request)),
        Some(Effect::Drop(drop)) => {
            if drop.drop == DropMoment::AfterCommit {
                process(true, ids);
            }
            None
        }
        Some(Effect::HoldNames(HoldNames { hold_names_seconds, stored })) => {
            process(stored, ids);
            block(cmdb, request, hold_names_seconds, |operation| operation == Operation::BatchCreateProcTemplate);
            None
        }
        Some(Effect::HoldTemplates(HoldTemplates { hold_templates_seconds, stored })) => {
            process(stored, ids);
            block(cmdb, request, hold_templates_seconds, |operation| operation != Operation::BatchCreateProcTemplate);
            None
        }
        Some(Effect::SurplusIds(surplus)) => {
            let lost: Vec<i64> = {
                let mut database = cmdb.database();
                (0..surplus.surplus_ids).map(|_| database.next_process_template_id()).collect()
            };
            let mut outcome = process(true, ids);
            outcome.ids.splice(..0, lost);
            Some(outcome.reply(request))
        }
        Some(Effect::ShortIds(short)) => {
            let mut outcome = process(true, ids);
            outcome.ids.truncate(outcome.ids.len().saturating_sub(short.short_ids));
            Some(outcome.reply(request))
        }
        Some(Effect::Refuse(refuse)) => {
            if refuse.after_commit {
                process(true, ids);
            }
            Some(Reply::refused(request, refuse))
        }
        Some(Effect::Raw(raw)) => Some(Reply::raw(raw)),
        Some(Effect::Redirect(redirect)) => Some(Reply::redirect(redirect)),
        Some(Effect::Hang(Hang { hang_seconds, commit: true })) => {
            let outcome = process(true, ids);
            cmdb.wait(seconds(hang_seconds)).await;
            Some(outcome.reply(request))
        }
        Some(Effect::Hang(Hang { hang_seconds, commit: false })) => {
            cmdb.wait(seconds(hang_seconds)).await;
            if abandon(cmdb, request) || request.has_hung_up() {
                return None;
            }
            Some(process(true, ids).reply(request))
        }
    }
}

/// What a call would write stays blocked, if the call is one of these.
fn block(cmdb: &Cmdb, request: &Request, duration: f64, is_held_by: impl FnOnce(Operation) -> bool) {
    if let Ok(operation) = request.operation
        && is_held_by(operation)
    {
        cmdb.database().holds.add(hold::of(operation, &request.body), seconds(duration));
    }
}

/// What a server does when it notices that the caller of a write has gone: it stores nothing, but the transaction stays
/// open and blocks what it has written for a while.
fn abandon(cmdb: &Cmdb, request: &Request) -> bool {
    let (true, Ok(operation)) = (request.has_hung_up(), request.operation) else { return false };
    let mut database = cmdb.database();
    let duration = seconds(match operation {
        Operation::BatchCreateProcTemplate => database.state.hold_names_on_hang_up_seconds,
        _ => database.state.hold_templates_on_hang_up_seconds,
    });
    let held: Vec<Held> = hold::of(operation, &request.body);
    if duration.is_zero() || held.is_empty() {
        return false;
    }
    database.holds.add(held, duration);
    true
}

fn length(delay: &Delay, request: &Request) -> Duration {
    let items = ["processes", "process_templates"].iter().find_map(|key| request.body.get(*key)?.as_array());
    let items = items.map_or(0, Vec::len);
    let items = u64::try_from(items).unwrap_or(u64::MAX).saturating_mul(delay.delay_per_item_ms);
    Duration::from_millis(delay.delay_ms.saturating_add(items))
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
