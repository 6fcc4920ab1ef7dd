//! Edits behind the callers' backs, as users of the web interface make them.

use jiff::Timestamp;
use serde_json::Value;

use crate::access::credentials::Caller;
use crate::access::refusal::{Language, Refusal, code};
use crate::calls::create;
use crate::calls::decode::Object;
use crate::calls::update;
use crate::model::database::Database;
use crate::model::property;
use crate::model::state::Property;

/// Why an edit was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// No process template has this ID.
    #[error("there is no process template {0}")]
    NotFound(i64),
    /// The schema has no property of this name.
    #[error("there is no property {0}")]
    UnknownProperty(String),
    /// A rule forbids it.
    #[error("{code}: {message}")]
    Refused {
        /// What a call would be answered.
        code: i64,
        /// Text of the code.
        message: String,
    },
}

impl From<Refusal> for EditError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused { code: refusal.code, message: refusal.message(Language::English) }
    }
}

/// Puts properties in the place of those that a template has; unlike a call, this changes the function name, too.
pub(crate) fn edit(database: &mut Database, id: i64, user: &str, property: &Property) -> Result<(), EditError> {
    let change = property::decode_given(database.state.schema, &spec(database, property)?)?;
    match update::merge(database, id, change, user, Timestamp::now(), true) {
        Err(refusal) if refusal.code == code::NOT_FOUND => Err(EditError::NotFound(id)),
        merged => Ok(merged.map(drop)?),
    }
}

/// Creates a template in the business of its service template and answers its ID.
pub(crate) fn add(
    database: &mut Database,
    service_template_id: i64,
    user: &str,
    property: &Property,
) -> Result<i64, EditError> {
    let property = property::decode(database.state.schema, &spec(database, property)?)?;
    let mut templates = database.state.service_templates.iter();
    let Some(service_template) = templates.find(|template| template.id == service_template_id) else {
        return Err(Refusal::invalid("service_template_id").into());
    };

    let caller = Caller { user: user.to_owned(), supplier_account: service_template.bk_supplier_account.clone() };
    let bk_biz_id = service_template.bk_biz_id;
    Ok(create::create_one(database, &caller, bk_biz_id, service_template_id, Some(property))?)
}

/// The properties as a request has them. Unlike in a call, an unknown name is an error: it cannot be
/// meant for a server of another version.
fn spec(database: &Database, property: &Property) -> Result<Object, EditError> {
    let fields = property::fields(database.state.schema);
    if let Some(name) = property.keys().find(|name| fields.iter().all(|field| field.name != name.as_str())) {
        return Err(EditError::UnknownProperty(name.clone()));
    }
    match serde_json::to_value(property) {
        Ok(Value::Object(spec)) => Ok(spec),
        _ => Err(Refusal::undecodable().into()),
    }
}
