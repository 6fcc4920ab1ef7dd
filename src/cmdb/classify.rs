//! The table that gives each answer its class. It reads the text of an answer only for the few codes that mean several
//! things. The codes are those of bk-cmdb 3.14 (`src/common/errInfo.go`), of the ESB and of the API gateway.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::error_class::ErrorClass as Class;
use super::rejected::rejected;
use super::reply::Reply;
use super::{Error, Operation};
use crate::outside;

/// Codes of a row.
#[derive(Clone, Copy, Debug)]
enum Codes {
    Is(i64),
    // A code that no row has.
    Other,
    // No code, or the code of a success although the call failed.
    Absent,
}
use Codes::{Absent, Is, Other};

/// The page of a list is not valid.
const PAGE_LIMIT: i64 = 1_199_059;

/// Longest name of a property or a parameter in a text, in bytes.
const MAX_FIELD: usize = 256;

const ANY: RangeInclusive<u16> = 0..=u16::MAX;

/// Codes, HTTP statuses, their class, whether a single item of a batch may have caused it, and why. The first row that
/// fits counts; for some codes `by_text` then overrides it.
type Row = (Codes, RangeInclusive<u16>, Class, bool, &'static str);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    (Is(1_100_004), ANY, Class::Authentication, false, "the gateway's JWT was rejected"),
    (Is(1_108_014), ANY, Class::OutcomeUnknown, false, "a delete failed, whatever the cause"),
    (Is(1_108_030), ANY, Class::OutcomeUnknown, false, "a service template was not deleted, whatever the cause"),
    (Is(1_108_033), ANY, Class::OutcomeUnknown, false, "a list failed without a more specific code"),
    (Is(1_113_019), ANY, Class::Conflict, true, "the process name is taken"),
    (Is(1_113_020), ANY, Class::Conflict, true, "the pair of function and start parameter is taken"),
    (Is(1_113_032), ANY, Class::Invalid, false, "the service category is not a leaf"),
    (Is(1_199_000), ANY, Class::Invalid, true, "the body does not decode: a value of a wrong type"),
    (Is(1_199_002), ANY, Class::OutcomeUnknown, false, "a server behind did not answer"),
    (Is(1_199_003), ANY, Class::Invalid, false, "an update without property or id"),
    (Is(1_199_006), ANY, Class::Invalid, false, "a parameter or a property is not valid: the text names it"),
    (Is(1_199_010), ANY, Class::Invalid, false, "a required parameter is missing"),
    (Is(1_199_014), ANY, Class::Conflict, false, "the name of the service template is taken"),
    (Is(1_199_017), ANY, Class::OutcomeUnknown, false, "the database did not read"),
    (Is(1_199_018), ANY, Class::OutcomeUnknown, false, "the database did not insert; also a lost race for a name"),
    (Is(1_199_019), ANY, Class::NotFound, false, "it does not exist"),
    (Is(1_199_020), ANY, Class::OutcomeUnknown, false, "the database did not update"),
    (Is(1_199_021), ANY, Class::OutcomeUnknown, false, "the database did not delete"),
    (Is(1_199_027), ANY, Class::Authentication, false, "user or supplier account is missing"),
    (Is(1_199_035), ANY, Class::Invalid, false, "too many items in one call"),
    (Is(1_199_036), ANY, Class::OutcomeUnknown, false, "a server behind was not reached"),
    (Is(1_199_037), ANY, Class::OutcomeUnknown, false, "no server behind is registered"),
    (Is(1_199_045), ANY, Class::Invalid, false, "what to authorise could not be told"),
    (Is(1_199_046), ANY, Class::Permission, false, "denied, or the authorisation failed: one code for both"),
    (Is(1_199_047), ANY, Class::Permission, false, "no permission"),
    (Is(1_199_055), ANY, Class::Conflict, false, "it has children"),
    (Is(1_199_056), ANY, Class::Conflict, false, "it is referred to"),
    (Is(1_199_058), ANY, Class::OutcomeUnknown, false, "no ID could be generated"),
    (Is(PAGE_LIMIT), ANY, Class::Invalid, false, "the page of a list is not valid"),
    (Is(1_199_065), ANY, Class::OutcomeUnknown, false, "a transaction did not start"),
    (Is(1_199_066), ANY, Class::OutcomeUnknown, false, "a transaction did not commit; names may be held for a minute"),
    (Is(1_199_089), ANY, Class::Invalid, false, "too many IDs in one list"),
    (Is(1_199_997), ANY, Class::Throttled, false, "rate limit of the API server"),
    (Is(1_199_998), ANY, Class::OutcomeUnknown, false, "four different things: see the text"),
    (Is(1_199_999), ANY, Class::OutcomeUnknown, false, "a server panicked"),
    (Is(1_306_000), ANY, Class::OutcomeUnknown, false, "the ESB's general error; also failed authentication"),
    (Is(1_306_201), ANY, Class::OutcomeUnknown, false, "the ESB did not reach CMDB, or waited too long"),
    (Is(1_306_203), ANY, Class::OutcomeUnknown, false, "TLS between the ESB and CMDB failed"),
    (Is(1_306_206), ANY, Class::Protocol, false, "the ESB knows no host for CMDB"),
    (Is(1_306_207), ANY, Class::Protocol, false, "the ESB blocks the host"),
    (Is(1_306_208), ANY, Class::OutcomeUnknown, false, "the ESB did not understand CMDB"),
    (Is(1_306_209), ANY, Class::Protocol, false, "the ESB asks CMDB with a method that it does not serve"),
    (Is(1_306_401), ANY, Class::Permission, false, "the operator has no permission"),
    (Is(1_306_402), ANY, Class::Permission, false, "the user has no permission"),
    (Is(1_306_403), ANY, Class::Permission, false, "the application may not use this call"),
    (Is(1_306_404), ANY, Class::Protocol, false, "the ESB does not know this call"),
    (Is(1_306_405), ANY, Class::Protocol, false, "the ESB has this call disabled"),
    (Is(1_306_406), ANY, Class::Invalid, false, "an argument is not valid"),
    (Is(1_306_407), ANY, Class::Protocol, false, "the ESB knows no path of CMDB for this call"),
    (Is(1_306_408), ANY, Class::Authentication, false, "the gateway's JWT was rejected by the ESB"),
    (Is(1_306_429), ANY, Class::Throttled, false, "rate limit of the ESB"),
    (Is(1_640_001), ANY, Class::Authentication, false, "arguments of the gateway: bad credentials arrive here"),
    (Is(1_640_004), ANY, Class::Authentication, false, "the gateway rejected a JWT"),
    (Is(1_640_100), ANY, Class::Authentication, false, "the gateway did not authenticate the application"),
    (Is(1_640_101), ANY, Class::Authentication, false, "the gateway did not authenticate the application"),
    (Is(1_640_102), ANY, Class::Authentication, false, "the gateway did not authenticate the user"),
    (Is(1_640_301), ANY, Class::Permission, false, "the application may not use this resource"),
    (Is(1_640_302), ANY, Class::Permission, false, "address or tenant is not permitted"),
    (Is(1_640_303), ANY, Class::Permission, false, "not permitted"),
    (Is(1_640_304), ANY, Class::Permission, false, "not permitted"),
    (Is(1_640_401), ANY, Class::Protocol, false, "the gateway does not know this path"),
    (Is(1_641_301), ANY, Class::Invalid, false, "the body is too large for the gateway"),
    (Is(1_641_401), ANY, Class::Protocol, false, "the URL is too long for the gateway"),
    (Is(1_642_901), ANY, Class::Throttled, false, "rate limit of the gateway"),
    (Is(1_642_902), ANY, Class::Throttled, false, "rate limit of the gateway"),
    (Is(1_642_903), ANY, Class::Throttled, false, "rate limit of the gateway"),
    (Is(1_642_904), ANY, Class::Throttled, false, "concurrency limit of the gateway"),
    (Is(1_650_000), ANY, Class::OutcomeUnknown, false, "the gateway failed"),
    (Is(1_650_001), ANY, Class::OutcomeUnknown, false, "the gateway failed"),
    (Is(1_650_002), ANY, Class::OutcomeUnknown, false, "the gateway failed"),
    (Is(1_650_200), ANY, Class::OutcomeUnknown, false, "the gateway did not reach CMDB"),
    (Is(1_650_201), ANY, Class::OutcomeUnknown, false, "the gateway did not understand CMDB"),
    (Is(1_650_300), ANY, Class::OutcomeUnknown, false, "the gateway has no server to send to"),
    (Is(1_650_401), ANY, Class::OutcomeUnknown, false, "the gateway waited too long"),
    (Is(1_650_801), ANY, Class::Protocol, false, "the gateway is led back to itself"),
    (Is(9_900_403), ANY, Class::Permission, false, "no permission"),
    (Other, ANY, Class::OutcomeUnknown, false, "a code that is not known may mean anything"),
    // No code: not CMDB, the ESB or the gateway spoke, but what stands before them.
    (Absent, 300..=399, Class::Protocol, false, "redirects are not followed: the URL is another one"),
    (Absent, 401..=401, Class::Authentication, false, "a proxy wants to know who we are"),
    (Absent, 403..=403, Class::Permission, false, "a proxy does not let us through"),
    (Absent, 408..=408, Class::OutcomeUnknown, false, "a proxy waited too long"),
    (Absent, 429..=429, Class::Throttled, false, "rate limit of a proxy"),
    (Absent, 500..=599, Class::OutcomeUnknown, false, "a proxy did not reach the server, or lost it"),
    (Absent, ANY, Class::Protocol, false, "whatever answers here, it is no CMDB"),
];

// Parameters of a create, which are not a property of one process.
const PARAMETERS: &[&str] = &["bk_biz_id", "service_template_id", "property", "processes", "process_property"];

// Go's words for it, those of the ESB, and our own.
const TIMEOUT_TEXTS: &[&str] = &["timeout", "timed out", "deadline exceeded", "no answer in time"];

const JWT_TEXTS: &[&str] = &[
    "crypto/rsa: verification error",
    "token is expired by",
    "illegal base64 data",
    "app is not verified",
    "user is not set",
];

/// The error that an answer means which is not a success.
pub fn classify(reply: Reply, retry_after: Option<Duration>) -> Error {
    let (class, item) = look_up(reply.code.filter(|code| *code != 0), reply.http_status.unwrap_or_default());
    let by_row = Meaning { class, item, field: None };
    let Meaning { class, item, field } = by_text(&reply).unwrap_or(by_row);

    // Only these calls send what belongs to one process.
    let item = item && matches!(reply.operation, Operation::CreateProcessTemplates | Operation::UpdateProcessTemplate);

    let reply = reply.tidied();
    match class {
        Class::Invalid => Error::Invalid { reply, item, field },
        Class::Conflict => Error::Conflict { reply, item },
        Class::NotFound => Error::NotFound { reply },
        Class::Permission => Error::Permission { reply },
        Class::Authentication => Error::Authentication { reply, were_replaced: false },
        Class::Throttled => Error::Throttled { reply, retry_after },
        Class::Unavailable => Error::Unavailable { reply, retry_after },
        Class::Protocol => Error::Protocol { reply },
        // Those of calls that were not sent are no meanings of an answer: no row has them.
        Class::OutcomeUnknown
        | Class::Busy
        | Class::Halted
        | Class::NotGranted
        | Class::Ending
        | Class::Configuration => Error::OutcomeUnknown { reply },
    }
}

/// Whether CMDB was not reached: no answer came, or what is in front of CMDB answered that it did not reach it.
pub fn is_out_of_reach(reply: &Reply) -> bool {
    match reply.code.filter(|code| *code != 0) {
        Some(code) => matches!(code, 1_306_201 | 1_650_200 | 1_650_201 | 1_650_300 | 1_650_401),
        None => matches!(reply.http_status, None | Some(500..=599)),
    }
}

/// A smaller limit for the pages of a list that was refused for its limit: the one that the text suggests, else `small`.
/// None: it was refused for something else, or there is no smaller one.
pub fn page_limit(error: &Error, limit: usize, small: usize) -> Option<usize> {
    let Error::Invalid { reply, .. } = error else { return None };
    if reply.code != Some(PAGE_LIMIT) {
        return None;
    }
    let (_, after) = reply.message.split_once("suggestion").unwrap_or_default();
    let digits = after.trim_start().split(|letter: char| !letter.is_ascii_digit()).next();
    let suggestion = digits.and_then(outside::natural).and_then(|number| usize::try_from(number).ok());
    // Each page repeats an item of the one before it.
    suggestion.filter(|suggestion| *suggestion > 1).or(Some(small)).filter(|suggestion| *suggestion < limit)
}

/// Whether the outcome of a call is not known because a server, or this client, waited too long for it.
#[must_use]
pub fn is_timeout(error: &Error) -> bool {
    let Error::OutcomeUnknown { reply } = error else { return false };
    let text = reply.message.to_ascii_lowercase();
    reply.code == Some(1_650_401)
        || matches!(reply.http_status, Some(408 | 504))
        || TIMEOUT_TEXTS.iter().any(|late| text.contains(late))
}

// The codes of all rows.
#[cfg(test)]
pub(super) fn codes() -> Vec<i64> {
    ROWS.iter().filter_map(|row| if let Is(code) = row.0 { Some(code) } else { None }).collect()
}

struct Meaning {
    class: Class,
    item: bool,
    field: Option<String>,
}

fn look_up(code: Option<i64>, status: u16) -> (Class, bool) {
    let fits = |row: &&Row| {
        row.1.contains(&status)
            && match row.0 {
                Is(known) => code == Some(known),
                Other => code.is_some(),
                Absent => code.is_none(),
            }
    };
    ROWS.iter().find(fits).map_or((Class::Protocol, false), |row| (row.2, row.3))
}

// What the text of a code that means several things says. `None`: what the row says.
fn by_text(reply: &Reply) -> Option<Meaning> {
    let text = reply.message.as_str();
    let authentication = Meaning { class: Class::Authentication, item: false, field: None };
    match reply.code? {
        1_199_006 => {
            let field = quoted(text)?;
            let item = !PARAMETERS.contains(&field);
            Some(Meaning { class: Class::Invalid, item, field: Some(field.to_owned()) })
        }
        1_199_998 => match with_outer_space(text) {
            Some(field) => Some(Meaning { class: Class::Invalid, item: true, field: Some(field.to_owned()) }),
            None => JWT_TEXTS.iter().any(|jwt| text.contains(jwt)).then_some(authentication),
        },
        1_306_000 => rejected(reply).map(|_| authentication),
        _ => None,
    }
}

// The name in the text of 1199006: `'bind_info[0].port' …`.
fn quoted(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('\'')?;
    let (name, _) = rest.split_once('\'')?;
    Some(name).filter(|name| is_name(name) && name.starts_with(|letter: char| letter.is_ascii_alphabetic()))
}

// The name in the text of 1199998, since 3.14.7: `field work_path contains space: …`.
fn with_outer_space(text: &str) -> Option<&str> {
    let (before, _) = text.split_once(" contains space")?;
    let (_, name) = before.rsplit_once("field ")?;
    Some(name).filter(|name| is_name(name))
}

// Whether it can be the name of a property or a parameter.
fn is_name(text: &str) -> bool {
    (1..=MAX_FIELD).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::{Class, ROWS};

    #[test]
    fn no_row_has_the_class_of_a_call_that_was_not_sent() {
        for (codes, _, class, _, why) in ROWS {
            let is_unsent = matches!(class, Class::Busy | Class::Halted | Class::Ending | Class::Configuration);
            assert!(!is_unsent, "{codes:?}: {why}");
        }
    }
}
