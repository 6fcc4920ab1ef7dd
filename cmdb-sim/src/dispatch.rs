//! One call from its request to its reply: admission, faults, dispatch.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::access::admission::{self, Admission};
use crate::access::refusal::{Refusal, code};
use crate::calls::hold;
use crate::calls::lie;
use crate::cmdb::Cmdb;
use crate::control::effect::{Daemon, Delay, DropMoment, Effect, Hang, HoldNames, HoldTemplates, Killed, PageLimit};
use crate::control::fault::Selection;
use crate::execute::{self, Failure, Outcome};
use crate::http::outage::{self, Loss};
use crate::http::reply::{Origin, Reply};
use crate::http::request::Request;
use crate::operation::Operation;

/// A call on its way through its faults.
struct Call<'a> {
    cmdb: &'a Cmdb,
    request: &'a Request,
    admission: &'a Admission,
    /// Whether it takes longer than the apiserver waits for it.
    is_too_slow: bool,
    /// IDs of what it created, changed or deleted.
    ids: Vec<i64>,
}

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
        let call = Call { cmdb, request: &request, admission: &admission, is_too_slow: false, ids: Vec::new() };
        let (reply, changed) = call.carry_out(selection).await;
        ids = changed;
        reply
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

impl Call<'_> {
    /// Lets the time pass that the call takes, then carries it out with what a fault does to it. Answers the reply, if there
    /// is one, and the IDs of what was created, changed or deleted.
    async fn carry_out(mut self, selection: Selection) -> (Option<Reply>, Vec<i64>) {
        let is_late = match &selection.effect {
            Some(Effect::Late(late)) => {
                self.cmdb.wait(seconds(late.late_seconds)).await;
                true
            }
            _ => false,
        };

        let delays = selection.delays.iter().map(|delay| length(delay, self.request));
        let delay = delays.fold(Duration::ZERO, Duration::saturating_add);
        let (cost, is_too_slow) = self.cost();
        let time = delay.saturating_add(cost);
        if is_late {
            // Who delivers a call late does not tell that its caller has gone.
            self.cmdb.wait(time).await;
        } else if !time.is_zero() && self.is_abandoned_within(time).await {
            return (None, Vec::new());
        }

        self.is_too_slow = is_too_slow;
        let reply = self.apply(selection).await;
        (reply, self.ids)
    }

    /// How long a create takes until it has its reply, and whether that reply is the apiserver's, which has waited too long.
    fn cost(&self) -> (Duration, bool) {
        let Admission::Granted { operation: Operation::BatchCreateProcTemplate, .. } = self.admission else {
            return (Duration::ZERO, false);
        };
        let database = self.cmdb.database();
        let Some(cost) = database.state.create_cost else { return (Duration::ZERO, false) };
        let service_template_id = self.request.body.get("service_template_id").and_then(Value::as_i64).unwrap_or(0);
        let items = self.request.body.get("processes").and_then(Value::as_array).map_or(0, Vec::len);
        let duration = cost.duration(items, database.count_of(service_template_id));
        (duration.min(cost.timeout()), duration > cost.timeout())
    }

    /// Carries the call out; with `commit` unset it has no effect beyond burnt IDs.
    fn execute(&mut self, commit: bool) -> Outcome {
        let commit = commit && !self.is_too_slow;
        let mut outcome = execute::execute(self.cmdb, self.request, self.admission, commit);
        if commit {
            self.ids.clone_from(&outcome.ids);
        }
        if let (true, true, Ok(operation)) = (self.is_too_slow, outcome.result.is_ok(), self.request.operation) {
            outcome.result = Err(Failure::Outage(outage::timed_out(self.request, operation)));
        }
        outcome
    }

    fn executed(&mut self) -> Reply {
        self.execute(true).reply(self.request)
    }

    async fn apply(&mut self, selection: Selection) -> Option<Reply> {
        let Selection { effect, is_first, .. } = selection;
        match effect {
            // Both were waited for.
            None | Some(Effect::Delay(_) | Effect::Late(_)) => Some(self.executed()),
            Some(Effect::Drop(drop)) => {
                if drop.drop == DropMoment::AfterCommit {
                    self.execute(true);
                }
                None
            }
            Some(Effect::HoldNames(HoldNames { hold_names_seconds, stored })) => {
                self.execute(stored);
                self.hold(hold_names_seconds, |operation| operation == Operation::BatchCreateProcTemplate);
                None
            }
            Some(Effect::HoldTemplates(HoldTemplates { hold_templates_seconds, stored })) => {
                self.execute(stored);
                self.hold(hold_templates_seconds, |operation| operation != Operation::BatchCreateProcTemplate);
                None
            }
            Some(Effect::SurplusIds(surplus)) => {
                let lost: Vec<i64> = {
                    let mut database = self.cmdb.database();
                    (0..surplus.surplus_ids).map(|_| database.next_process_template_id()).collect()
                };
                let mut outcome = self.execute(true);
                outcome.ids.splice(..0, lost);
                Some(outcome.reply(self.request))
            }
            Some(Effect::ShortIds(short)) => {
                let mut outcome = self.execute(true);
                outcome.ids.truncate(outcome.ids.len().saturating_sub(short.short_ids));
                Some(outcome.reply(self.request))
            }
            Some(Effect::Refuse(refuse)) => {
                if refuse.after_commit {
                    self.execute(true);
                }
                Some(Reply::refused(self.request, refuse))
            }
            Some(Effect::Raw(raw)) => Some(Reply::raw(raw)),
            Some(Effect::Redirect(redirect)) => Some(Reply::redirect(redirect)),
            Some(Effect::Hang(hang)) => self.hang(&hang).await,
            Some(Effect::Killed(killed)) => {
                Some(self.lose(&killed, if is_first { Loss::InFlight } else { Loss::Down }))
            }
            Some(effect @ (Effect::CountOff(_) | Effect::ForeignItems(_) | Effect::PageLimit(_))) => {
                Some(self.lie(&effect))
            }
        }
    }

    async fn hang(&mut self, hang: &Hang) -> Option<Reply> {
        let pause = seconds(hang.hang_seconds);
        if hang.commit {
            let outcome = self.execute(true);
            self.cmdb.wait(pause).await;
            return Some(outcome.reply(self.request));
        }
        if self.is_abandoned_within(pause).await || self.request.has_hung_up() {
            return None;
        }
        Some(self.executed())
    }

    /// The call meets a lost daemon, unless it is refused before it gets there.
    fn lose(&mut self, killed: &Killed, loss: Loss) -> Reply {
        let Admission::Granted { operation, .. } = *self.admission else { return self.executed() };
        self.execute(false);
        if killed.killed == Daemon::Coreservice && loss == Loss::InFlight {
            self.hold(killed.hold_names_seconds, |operation| operation == Operation::BatchCreateProcTemplate);
        }
        Reply::refused(self.request, outage::lost(self.request, operation, killed.killed, loss))
    }

    /// Answers a list, but not as it is.
    fn lie(&mut self, effect: &Effect) -> Reply {
        let Admission::Granted { operation, .. } = *self.admission else { return self.executed() };
        let body = &self.request.body;
        if let Effect::PageLimit(PageLimit { page_limit, refuse: true }) = effect
            && operation.is_list()
            && lie::exceeds(body, *page_limit)
        {
            return Reply::refusal(self.request, &Refusal::page_limit(*page_limit), Origin::Daemon);
        }

        let outcome = self.execute(true);
        let database = self.cmdb.database();
        let outcome = outcome.edit_list(|list| match effect {
            Effect::CountOff(off) => lie::miscount(list, off.count_off),
            Effect::PageLimit(limit) => lie::cut(list, limit.page_limit),
            Effect::ForeignItems(foreign) => {
                lie::mix(&database, operation, body, foreign.scope, foreign.foreign_items, list);
            }
            _ => {}
        });
        outcome.reply(self.request)
    }

    /// Lets time pass. A server that notices that the caller of a write has gone gives up at once: it stores nothing, but
    /// the transaction stays open and blocks what it has written for a while.
    async fn is_abandoned_within(&self, time: Duration) -> bool {
        let Ok(operation) = self.request.operation else {
            self.cmdb.wait(time).await;
            return false;
        };
        let duration = {
            let state = &self.cmdb.database().state;
            seconds(match operation {
                Operation::BatchCreateProcTemplate => state.hold_names_on_hang_up_seconds,
                _ => state.hold_templates_on_hang_up_seconds,
            })
        };
        let held = hold::of(operation, &self.request.body);
        let is_noticed = !duration.is_zero() && !held.is_empty();

        tokio::select! {
            () = self.cmdb.wait(time) => {}
            () = self.request.hang_up(), if is_noticed => {}
        }
        if !is_noticed || !self.request.has_hung_up() {
            return false;
        }
        self.cmdb.database().holds.add(held, duration);
        true
    }

    /// What the call would write stays blocked, if the call is one of these.
    fn hold(&self, duration: f64, is_held_by: impl FnOnce(Operation) -> bool) {
        if let Ok(operation) = self.request.operation
            && is_held_by(operation)
        {
            self.cmdb.database().holds.add(hold::of(operation, &self.request.body), seconds(duration));
        }
    }
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
