//! Carries the call of an admitted request out on the database.

use serde_json::Value;

use crate::access::admission::Admission;
use crate::access::credentials::Caller;
use crate::access::refusal::Refusal;
use crate::calls::create;
use crate::calls::delete;
use crate::calls::list;
use crate::calls::service_category;
use crate::calls::service_template;
use crate::calls::update;
use crate::cmdb::Cmdb;
use crate::control::effect::Refuse;
use crate::http::envelope;
use crate::http::reply::{Origin, Reply};
use crate::http::request::Request;
use crate::model::database::Database;
use crate::operation::Operation;

/// How the call itself went, before anything happened to its reply.
pub(crate) struct Outcome {
    pub result: Result<Data, Failure>,
    /// IDs of what was created, changed or deleted, even if the call was refused then.
    pub ids: Vec<i64>,
}

/// What a call answers.
pub(crate) enum Data {
    /// The `data` of the reply.
    Json(String),
    /// The reply lists the IDs.
    Ids { nested: bool },
    /// The whole reply, without an envelope.
    Plain(&'static str),
}

/// Why a call failed.
pub(crate) enum Failure {
    /// It was refused.
    Refused(Refusal, Origin),
    /// A daemon was lost or too slow, and nothing was stored.
    Outage(Refuse),
}

/// Carries a call out; with `commit` unset it has no effect beyond burnt IDs.
pub(crate) fn execute(cmdb: &Cmdb, request: &Request, admission: &Admission, commit: bool) -> Outcome {
    let mut ids = Vec::new();
    let result = match admission {
        Admission::NoRoute(text) => Ok(Data::Plain(text)),
        Admission::Refused(refusal) => Err(Failure::Refused(refusal.clone(), Origin::Frontend)),
        Admission::Granted { operation, caller } => {
            let result = carry_out(&mut cmdb.database(), *operation, caller, request, commit, &mut ids);
            // A refused create may have burnt IDs, which are part of the state.
            if !ids.is_empty()
                || matches!(operation, Operation::BatchCreateProcTemplate | Operation::CreateServiceTemplate)
            {
                cmdb.save();
            }
            result.map_err(|refusal| Failure::Refused(refusal, Origin::Daemon))
        }
    };
    Outcome { result, ids }
}

/// Adds the IDs of what is created, changed or deleted to `ids`.
fn carry_out(
    database: &mut Database,
    operation: Operation,
    caller: &Caller,
    request: &Request,
    commit: bool,
    ids: &mut Vec<i64>,
) -> Result<Data, Refusal> {
    if request.is_broken {
        return Err(Refusal::undecodable());
    }
    let body = &request.body;
    match operation {
        Operation::BatchCreateProcTemplate => {
            create::create(database, caller, body, commit, ids)?;
            Ok(Data::Ids { nested: database.state.nested_ids })
        }
        Operation::UpdateProcTemplate => {
            let (id, data) = update::update(database, caller, body, commit)?;
            ids.push(id);
            Ok(Data::Json(data))
        }
        Operation::DeleteProcTemplate => {
            delete::delete(database, body, commit, ids)?;
            Ok(Data::Json("null".to_owned()))
        }
        Operation::ListProcTemplate => list::list(database, body).map(Data::Json),
        Operation::GetProcTemplate => list::get(database, request.path_id.as_deref()).map(Data::Json),
        Operation::ListServiceTemplate => service_template::list(database, body).map(Data::Json),
        Operation::GetServiceTemplate => service_template::get(database, request.path_id.as_deref()).map(Data::Json),
        Operation::ListServiceCategory => service_category::list(database, body).map(Data::Json),
        Operation::CreateServiceTemplate => {
            let (id, data) = service_template::create(database, caller, body, commit)?;
            ids.push(id);
            Ok(Data::Json(data))
        }
        Operation::DeleteServiceTemplate => {
            ids.push(service_template::delete(database, body, commit)?);
            Ok(Data::Json("null".to_owned()))
        }
    }
}

impl Outcome {
    /// Changes the list that is answered, if it is one.
    pub fn edit_list(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        if let Ok(Data::Json(data)) = &mut self.result
            && let Ok(mut list) = serde_json::from_str::<Value>(data)
            && list.get("info").is_some()
        {
            edit(&mut list);
            *data = list.to_string();
        }
        self
    }

    pub fn reply(self, request: &Request) -> Reply {
        let data = match self.result {
            Ok(Data::Json(data)) => data,
            Ok(Data::Ids { nested }) if nested && !self.ids.is_empty() => envelope::data(&[self.ids]),
            Ok(Data::Ids { .. }) => envelope::data(&self.ids),
            Ok(Data::Plain(text)) => return Reply::plain(text),
            Err(Failure::Refused(refusal, origin)) => return Reply::refusal(request, &refusal, origin),
            Err(Failure::Outage(outage)) => return Reply::refused(request, outage),
        };
        Reply::success(request, &data)
    }
}
