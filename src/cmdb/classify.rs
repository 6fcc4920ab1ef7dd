//! The one table that gives answers their meanings, and the one place that reads their text: for the few codes that
//! mean several things. Codes of bk-cmdb 3.14 (`src/common/errInfo.go`), of the ESB and of the API gateway.

use std::time::Duration;

use super::error::{Error, Reply};

/// Meanings of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Invalid,
    Conflict,
    NotFound,
    Permission,
    Authentication,
    Throttled,
    OutcomeUnknown,
    Protocol,
    // As the text says.
    Text,
}

/// Code, its meaning, whether one item of a batch may be to blame, and why.
type Row = (i64, Class, bool, &'static str);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    (1_100_004, Class::Authentication, false, "the gateway's JWT was rejected"),
    (1_108_014, Class::OutcomeUnknown, false, "a delete failed, whatever the cause"),
    (1_108_030, Class::OutcomeUnknown, false, "a service template was not deleted, whatever the cause"),
    (1_108_033, Class::OutcomeUnknown, false, "a list failed without a more specific code"),
    (1_113_019, Class::Conflict, true, "the process name is taken"),
    (1_113_020, Class::Conflict, true, "the pair of function and start parameter is taken"),
    (1_113_032, Class::Invalid, false, "the service category is not a leaf"),
    (1_199_000, Class::Invalid, true, "the body does not decode: a value of a wrong type"),
    (1_199_002, Class::OutcomeUnknown, false, "a server behind did not answer"),
    (1_199_003, Class::Invalid, false, "an update without property or id"),
    (1_199_006, Class::Text, false, "a parameter or a property is not valid: the text names it"),
    (1_199_010, Class::Invalid, false, "a required parameter is missing"),
    (1_199_014, Class::Conflict, false, "the name of the service template is taken"),
    (1_199_017, Class::OutcomeUnknown, false, "the database did not read"),
    (1_199_018, Class::OutcomeUnknown, false, "the database did not insert; also a lost race for a name"),
    (1_199_019, Class::NotFound, false, "it does not exist"),
    (1_199_020, Class::OutcomeUnknown, false, "the database did not update"),
    (1_199_021, Class::OutcomeUnknown, false, "the database did not delete"),
    (1_199_027, Class::Authentication, false, "user or supplier account is missing"),
    (1_199_035, Class::Invalid, false, "too many items in one call"),
    (1_199_036, Class::OutcomeUnknown, false, "a server behind was not reached"),
    (1_199_037, Class::OutcomeUnknown, false, "no server behind is registered"),
    (1_199_045, Class::Invalid, false, "what to authorise could not be told"),
    (1_199_046, Class::Permission, false, "denied, or the authorisation failed: one code for both"),
    (1_199_047, Class::Permission, false, "no permission"),
    (1_199_055, Class::Conflict, false, "it has children"),
    (1_199_056, Class::Conflict, false, "it is referred to"),
    (1_199_058, Class::OutcomeUnknown, false, "no ID could be generated"),
    (1_199_059, Class::Invalid, false, "the page of a list is not valid"),
    (1_199_065, Class::OutcomeUnknown, false, "a transaction did not start"),
    (1_199_066, Class::OutcomeUnknown, false, "a transaction did not commit; names may be held for a minute"),
    (1_199_089, Class::Invalid, false, "too many IDs in one list"),
    (1_199_997, Class::Throttled, false, "rate limit of the API server"),
    (1_199_998, Class::Text, false, "four different things"),
    (1_199_999, Class::OutcomeUnknown, false, "a server panicked"),
    (1_306_000, Class::Text, false, "the ESB's general error; also failed authentication"),
    (1_306_201, Class::OutcomeUnknown, false, "the ESB did not reach CMDB, or waited too long"),
    (1_306_203, Class::OutcomeUnknown, false, "TLS between the ESB and CMDB failed"),
    (1_306_206, Class::Protocol, false, "the ESB knows no host for CMDB"),
    (1_306_207, Class::Protocol, false, "the ESB blocks the host"),
    (1_306_401, Class::Permission, false, "the operator has no permission"),
    (1_306_402, Class::Permission, false, "the user has no permission"),
    (1_306_403, Class::Permission, false, "the application may not use this call"),
    (1_306_404, Class::Protocol, false, "the ESB does not know this call"),
    (1_306_405, Class::Protocol, false, "the ESB has this call disabled"),
    (1_306_406, Class::Invalid, false, "an argument is not valid"),
    (1_306_408, Class::Authentication, false, "the gateway's JWT was rejected by the ESB"),
    (1_306_429, Class::Throttled, false, "rate limit of the ESB"),
    (1_640_001, Class::Authentication, false, "arguments of the gateway: bad credentials arrive here"),
    (1_640_004, Class::Invalid, false, "arguments of the gateway"),
    (1_640_100, Class::Authentication, false, "the gateway did not authenticate the application"),
    (1_640_101, Class::Authentication, false, "the gateway did not authenticate the application"),
    (1_640_102, Class::Authentication, false, "the gateway did not authenticate the user"),
    (1_640_301, Class::Permission, false, "the application may not use this resource"),
    (1_640_302, Class::Permission, false, "address or tenant is not permitted"),
    (1_640_303, Class::Permission, false, "not permitted"),
    (1_640_304, Class::Permission, false, "not permitted"),
    (1_640_401, Class::Protocol, false, "the gateway does not know this path"),
    (1_641_301, Class::Invalid, false, "the body is too large for the gateway"),
    (1_642_901, Class::Throttled, false, "rate limit of the gateway"),
    (1_642_902, Class::Throttled, false, "rate limit of the gateway"),
    (1_642_903, Class::Throttled, false, "rate limit of the gateway"),
    (1_642_904, Class::Throttled, false, "concurrency limit of the gateway"),
    (9_900_403, Class::Permission, false, "no permission"),
];

// Parameters of a call that are not a property of a process.
const PARAMETERS: &[&str] = &[
    "bk_biz_id",
    "service_template_id",
    "property",
    "processes",
    "process_template_ids",
    "name",
    "service_category_id",
];

/// Gives an answer that is not a success its meaning.
pub fn classify(reply: Reply, retry_after: Option<Duration>) -> Error {
    let row = reply.code.and_then(|code| ROWS.iter().find(|row| row.0 == code));
    let (class, item) = match (row, reply.http_status) {
        (Some(&(_, class, item, _)), _) => (class, item),
        (None, Some(429)) => (Class::Throttled, false),
        // A code that is not known is a server's trouble, and so is what a proxy says in its place.
        (None, Some(status)) if reply.code.is_some_and(|code| code != 0) || status >= 500 || status == 408 => {
            (Class::OutcomeUnknown, false)
        }
        (None, Some(401)) => (Class::Authentication, false),
        (None, Some(403)) => (Class::Permission, false),
        (None, _) => (Class::Protocol, false),
    };
    match class {
        Class::Invalid => Error::Invalid { reply, item, field: None },
        Class::Conflict => Error::Conflict { reply, item },
        Class::NotFound => Error::NotFound { reply },
        Class::Permission => Error::Permission { reply },
        Class::Authentication => Error::Authentication { reply },
        Class::Throttled => Error::Throttled { reply, retry_after },
        Class::OutcomeUnknown => Error::OutcomeUnknown { reply },
        Class::Protocol => Error::Protocol { reply },
        Class::Text => classify_text(reply),
    }
}

fn classify_text(reply: Reply) -> Error {
    let text = reply.message.as_str();
    match reply.code {
        Some(1_199_006) => {
            let field = quoted(text).map(str::to_owned);
            let item = field.as_deref().is_some_and(|field| !PARAMETERS.contains(&field));
            Error::Invalid { reply, item, field }
        }
        Some(1_199_998) if text.contains("contains space") => {
            let field = text.split("field ").nth(1).and_then(|rest| rest.split(' ').next()).map(str::to_owned);
            Error::Invalid { reply, item: true, field }
        }
        Some(1_199_998) if JWT_TEXTS.iter().any(|jwt| text.contains(jwt)) => Error::Authentication { reply },
        Some(1_306_000) if ESB_AUTHENTICATION_TEXTS.iter().any(|start| text.contains(start)) => {
            Error::Authentication { reply }
        }
        _ => Error::OutcomeUnknown { reply },
    }
}

const JWT_TEXTS: &[&str] = &[
    "crypto/rsa: verification error",
    "token is expired by",
    "illegal base64 data",
    "app is not verified",
    "user is not set",
];

const ESB_AUTHENTICATION_TEXTS: &[&str] =
    &["APP Secret verification failed", "User authentication failed", "Invalid APP Code"];

// The name that the text of 1199006 gives: `'bind_info[0].port' …`.
fn quoted(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(['\'', '"', '`'])?;
    rest.split_once(['\'', '"', '`']).map(|(name, _)| name)
}
