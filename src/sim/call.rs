//! One call from its body to its reply: faults, credentials, dispatch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::create;
use super::credentials;
use super::database::Database;
use super::decode::Object;
use super::delete;
use super::envelope;
use super::fault::{Delay, DropMoment, Effect, Hang, HoldNames, Raw, Refuse, Selection};
use super::list;
use super::refusal::{Language, Refusal, code, default_text};
use super::service_category;
use super::service_template;
use super::shared::Shared;
use super::update;

/// The calls of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    BatchCreateProcTemplate,
    UpdateProcTemplate,
    DeleteProcTemplate,
    ListProcTemplate,
    ListServiceTemplate,
    CreateServiceTemplate,
    ListServiceCategory,
}

impl Call {
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "batch_create_proc_template" => Some(Self::BatchCreateProcTemplate),
            "update_proc_template" => Some(Self::UpdateProcTemplate),
            "delete_proc_template" => Some(Self::DeleteProcTemplate),
            "list_proc_template" => Some(Self::ListProcTemplate),
            "list_service_template" => Some(Self::ListServiceTemplate),
            "create_service_template" => Some(Self::CreateServiceTemplate),
            "list_service_category" => Some(Self::ListServiceCategory),
            _ => None,
        }
    }
}

/// A request, read.
pub(super) struct Request {
    pub sequence: u64,
    pub name: String,
    pub body: Object,
    /// Set when the body was to be JSON and is not.
    pub is_broken: bool,
    pub authorization: Option<Map<String, Value>>,
    pub language: Language,
    /// Set as soon as the caller is gone.
    pub hung_up: Arc<AtomicBool>,
}

/// What goes back to the caller.
pub(super) struct Reply {
    pub http_status: u16,
    pub content_type: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
    code: Option<i64>,
}

/// How the call itself went, before anything happened to its reply.
struct Outcome {
    result: Result<Data, Refusal>,
    /// IDs of what was created, changed or deleted, even if the call was refused then.
    ids: Vec<i64>,
}

enum Data {
    /// The `data` of the reply.
    Json(String),
    /// The reply lists the IDs.
    Ids { nested: bool },
}

/// Carries a request out. Nothing means that the connection is to be closed without a reply.
pub(super) async fn answer(shared: &Shared, request: Request) -> Option<Reply> {
    let started = Instant::now();
    let selection = shared.faults().select(&request.name, &request.body);
    let label = selection.label();
    let mut ids = Vec::new();
    let reply = act(shared, &request, selection, &mut ids).await;
    shared.requests().finish(request.sequence, |record| {
        record.http_status = reply.as_ref().map(|reply| reply.http_status);
        record.code = reply.as_ref().and_then(|reply| reply.code);
        record.ids = ids;
        record.fault = label;
        record.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        record.client_hung_up = request.has_hung_up();
    });
    reply
}

async fn act(shared: &Shared, request: &Request, selection: Selection, ids: &mut Vec<i64>) -> Option<Reply> {
    let delay =
        selection.delays.iter().map(|delay| length(delay, request)).fold(Duration::ZERO, Duration::saturating_add);
    if !delay.is_zero() {
        shared.wait(delay).await;
        if abandon(shared, request) {
            return None;
        }
    }
    let process = |commit: bool, ids: &mut Vec<i64>| {
        let outcome = dispatch(shared, request, commit);
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
            let (service_template_id, names) = create::names(&request.body);
            shared.database().hold(service_template_id, names, seconds(hold_names_seconds));
            None
        }
        Some(Effect::SurplusIds(surplus)) => {
            let lost: Vec<i64> = {
                let mut database = shared.database();
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
            Some(Reply::refused(refuse, request.language))
        }
        Some(Effect::Raw(raw)) => Some(Reply::raw(raw)),
        Some(Effect::Hang(Hang { hang_seconds, commit: true })) => {
            let outcome = process(true, ids);
            shared.wait(seconds(hang_seconds)).await;
            Some(outcome.reply(request))
        }
        Some(Effect::Hang(Hang { hang_seconds, commit: false })) => {
            shared.wait(seconds(hang_seconds)).await;
            if abandon(shared, request) || request.has_hung_up() {
                return None;
            }
            Some(process(true, ids).reply(request))
        }
    }
}

impl Request {
    fn has_hung_up(&self) -> bool {
        self.hung_up.load(Ordering::Acquire)
    }
}

/// What a server does that notices that the caller of a create has gone: it stores nothing, but the transaction stays
/// open and blocks the names for a while.
fn abandon(shared: &Shared, request: &Request) -> bool {
    if !request.has_hung_up() || Call::from_name(&request.name) != Some(Call::BatchCreateProcTemplate) {
        return false;
    }
    let mut database = shared.database();
    let hold = seconds(database.state.hold_names_on_hang_up_seconds);
    if hold.is_zero() {
        return false;
    }
    let (service_template_id, names) = create::names(&request.body);
    database.hold(service_template_id, names, hold);
    true
}

fn dispatch(shared: &Shared, request: &Request, commit: bool) -> Outcome {
    let mut ids = Vec::new();
    let mut database = shared.database();
    let result = carry_out(&mut database, request, commit, &mut ids);
    drop(database);
    if !ids.is_empty() || is_create(&request.name) {
        shared.save();
    }
    Outcome { result, ids }
}

/// A refused create may have burnt IDs, which are part of the state.
fn is_create(name: &str) -> bool {
    matches!(Call::from_name(name), Some(Call::BatchCreateProcTemplate | Call::CreateServiceTemplate))
}

/// Adds the IDs of what is created, changed or deleted to `ids`.
fn carry_out(database: &mut Database, request: &Request, commit: bool, ids: &mut Vec<i64>) -> Result<Data, Refusal> {
    let Some(call) = Call::from_name(&request.name) else {
        return Err(Refusal::new(code::ESB_COMPONENT_NOT_FOUND, &[]));
    };
    if request.is_broken {
        return Err(Refusal::esb("Request JSON string is wrong in format, which cannot be analyzed."));
    }
    let body = &request.body;
    let caller = credentials::authenticate(&database.state.accounts, request.authorization.as_ref(), body)?;
    match call {
        Call::BatchCreateProcTemplate => {
            create::create(database, &caller, body, commit, ids)?;
            Ok(Data::Ids { nested: database.state.nested_ids })
        }
        Call::UpdateProcTemplate => {
            let (id, data) = update::update(database, &caller, body, commit)?;
            ids.push(id);
            Ok(Data::Json(data))
        }
        Call::DeleteProcTemplate => {
            delete::delete(database, body, commit, ids)?;
            Ok(Data::Json("null".to_owned()))
        }
        Call::ListProcTemplate => list::list(database, body).map(Data::Json),
        Call::ListServiceTemplate => service_template::list(database, body).map(Data::Json),
        Call::ListServiceCategory => service_category::list(database, body).map(Data::Json),
        Call::CreateServiceTemplate => {
            let (id, data) = service_template::create(database, &caller, body)?;
            ids.push(id);
            Ok(Data::Json(data))
        }
    }
}

impl Outcome {
    fn reply(self, request: &Request) -> Reply {
        let request_id = envelope::request_id();
        match self.result {
            Ok(data) => {
                let data = match data {
                    Data::Json(data) => data,
                    Data::Ids { nested } if nested && !self.ids.is_empty() => envelope::data(&[self.ids]),
                    Data::Ids { .. } => envelope::data(&self.ids),
                };
                Reply::json(0, envelope::success(&data, &request_id))
            }
            Err(refusal) => {
                let message = refusal.message(request.language);
                Reply::json(refusal.code, envelope::failure(refusal.code, &message, &Value::Null, &request_id))
            }
        }
    }
}

impl Reply {
    fn json(code: i64, body: String) -> Self {
        Self {
            http_status: 200,
            content_type: "application/json".to_owned(),
            headers: BTreeMap::new(),
            body,
            code: Some(code),
        }
    }

    fn refused(refuse: Refuse, language: Language) -> Self {
        let message = refuse.message.unwrap_or_else(|| default_text(refuse.code, language).replace("%s", ""));
        let body = envelope::failure(refuse.code, &message, &refuse.permission, &envelope::request_id());
        Self {
            http_status: refuse.http_status.unwrap_or(200),
            headers: refuse.headers,
            ..Self::json(refuse.code, body)
        }
    }

    fn raw(raw: Raw) -> Self {
        Self {
            http_status: raw.http_status,
            content_type: raw.content_type.unwrap_or_else(|| "text/html".to_owned()),
            headers: raw.headers,
            body: raw.body,
            code: None,
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
