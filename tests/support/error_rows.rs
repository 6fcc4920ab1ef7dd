//! The answers that are no successes, each with what it must lead to. Written from the sources of those who give them,
//! independent of the client's own table:
//!
//! * CMDB (`bk-cmdb`): codes in `src/common/errInfo.go`, their use in `src/scene_server/proc_server/service` and
//!   `src/source_controller/coreservice`. An error of its daemons has HTTP status 200; the API server itself answers 500
//!   when it reaches no daemon or is not told who calls (`src/apiserver/service`), and 200 with no JSON for a path that a
//!   daemon does not serve. The ESB passes these codes on with HTTP status 200.
//! * The ESB (`legacy-bk-paas`): `esb/common/errors.py`; HTTP status 200 for all. Its general code 1306000 is, but for
//!   those texts that refuse an application or a user, whatever has no code: also a server's answer that is not JSON,
//!   which is an outage.
//! * The gateway (`blueking-apigateway-apisix`): `bk-core/errorx.lua`, where each code has its HTTP status, which
//!   `bk_status_rewrite_200` makes 200, and a status without an error of its own has 1650070; `bk-rate-limit/init.lua`
//!   for the header that says how long to wait.
//! * What stands before them: a proxy has no code, only an HTTP status.

use std::collections::BTreeMap;

use cmdb_sim::{Effect, Raw, Redirect, Refuse};
use process_template_operator::cmdb::{Transport, WriteOutcome};

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// A code in the transport's own envelope. The text is the message; when empty, the code's usual one.
    Code(i64),
    /// No envelope: a body of this type. The text is the body.
    Body(&'static str),
    /// Another address, which would carry the call out.
    Elsewhere,
    /// Nothing: the connection is closed.
    Nothing,
}
use Sent::{Body, Code, Elsewhere, Nothing};

/// The condition that a set gets beside Ready, which is False.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// It is tried again.
    Reconciling,
    /// It waits until somebody changes something.
    Stalled,
}
use Beside::{Reconciling, Stalled};

/// What an answer must lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// Class: its name in metrics of calls and in logs.
    pub label: &'static str,
    /// Reason of the conditions and of the event, label of the metric of reconciles.
    pub reason: &'static str,
    /// Which condition there is, and so whether it is tried again.
    pub beside: Beside,
    /// How many seconds to wait at least, where the answer says so.
    pub after: Option<u64>,
    /// What a write that ended so has done.
    pub outcome: WriteOutcome,
    /// Whether one item of a create or an update may be to blame.
    pub item: bool,
}

const fn meaning(label: &'static str, reason: &'static str, beside: Beside, outcome: WriteOutcome) -> Meaning {
    Meaning { label, reason, beside, after: None, outcome, item: false }
}

impl Meaning {
    const fn of_item(self) -> Self {
        Self { item: true, ..self }
    }

    const fn after(self, seconds: u64) -> Self {
        Self { after: Some(seconds), ..self }
    }

    // Said by the gateway or a proxy: it may concern another try of theirs, so nobody knows what a write has done.
    const fn on_the_way(self) -> Self {
        Self { outcome: WriteOutcome::Unknown, ..self }
    }
}

const INVALID: Meaning = meaning("invalid", "Invalid", Stalled, WriteOutcome::NotStored);
const PERMISSION: Meaning = meaning("permission", "PermissionDenied", Stalled, WriteOutcome::NotStored);
const AUTHENTICATION: Meaning = meaning("authentication", "Unauthorized", Stalled, WriteOutcome::NotStored);
// A name that is taken or a template that is gone is tried again: with another call, after a list.
const CONFLICT: Meaning = meaning("conflict", "Conflict", Reconciling, WriteOutcome::NotStored);
const NOT_FOUND: Meaning = meaning("not_found", "NotFound", Reconciling, WriteOutcome::Unknown);
const THROTTLED: Meaning = meaning("throttled", "Throttled", Reconciling, WriteOutcome::NotStored);
const UNKNOWN: Meaning = meaning("outcome_unknown", "Unavailable", Reconciling, WriteOutcome::Unknown);
const PROTOCOL: Meaning = meaning("protocol", "NotCmdb", Stalled, WriteOutcome::Unknown);

const ALL: &[Transport] = Transport::ALL;
const ESB: &[Transport] = &[Transport::Esb];
const GATEWAY: &[Transport] = &[Transport::Gateway];
const DIRECT: &[Transport] = &[Transport::Direct];
const APISERVER: &[Transport] = &[Transport::Gateway, Transport::Direct];

const TEXT: Sent = Body("text/plain");
const JSON: Sent = Body("application/json");
const PAGE: Sent = Body("text/html");

/// What is sent, over which transports it can come, its HTTP status and text, and what it must lead to.
pub type Row = (Sent, &'static [Transport], u16, &'static str, Meaning);

#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    // The ESB
    (Code(1_306_000), ESB, 200, "APP Secret verification failed, pelase confirm if the APP Secret is right", AUTHENTICATION),
    (Code(1_306_000), ESB, 200, "User authentication failed, please provide a valid user identity", AUTHENTICATION),
    (Code(1_306_000), ESB, 200, "Invalid APP Code [bk_app_code=ptset]", AUTHENTICATION),
    (Code(1_306_000), ESB, 200, "Third-party system interface response is not JSON", UNKNOWN),
    (Code(1_306_000), ESB, 200, "System error", UNKNOWN),
    (Code(1_306_000), ESB, 200, "field user contains space: ' x'", UNKNOWN),
    (Code(1_306_201), ESB, 200, "", UNKNOWN),
    (Code(1_306_203), ESB, 200, "", UNKNOWN),
    (Code(1_306_206), ESB, 200, "", PROTOCOL),
    (Code(1_306_207), ESB, 200, "", PROTOCOL),
    (Code(1_306_208), ESB, 200, "cc system interface results in an unknown format", UNKNOWN),
    (Code(1_306_209), ESB, 200, "The system interface does not support the request method", PROTOCOL),
    (Code(1_306_401), ESB, 200, "", PERMISSION),
    (Code(1_306_402), ESB, 200, "", PERMISSION),
    (Code(1_306_403), ESB, 200, "", PERMISSION),
    (Code(1_306_404), ESB, 200, "", PROTOCOL),
    (Code(1_306_405), ESB, 200, "", PROTOCOL),
    (Code(1_306_406), ESB, 200, "", INVALID),
    (Code(1_306_407), ESB, 200, "The component's destination request path cannot be formatted", PROTOCOL),
    (Code(1_306_408), ESB, 200, "", AUTHENTICATION),
    (Code(1_306_429), ESB, 200, "", THROTTLED),
    // The gateway
    (Code(1_640_001), GATEWAY, 400, "Parameters error [reason=\"please provide bk_app_code\"]", AUTHENTICATION.on_the_way()),
    (Code(1_640_004), GATEWAY, 400, "", AUTHENTICATION.on_the_way()),
    (Code(1_640_100), GATEWAY, 401, "", AUTHENTICATION.on_the_way()),
    (Code(1_640_101), GATEWAY, 401, "", AUTHENTICATION.on_the_way()),
    (Code(1_640_102), GATEWAY, 401, "", AUTHENTICATION.on_the_way()),
    (Code(1_640_301), GATEWAY, 403, "", PERMISSION.on_the_way()),
    (Code(1_640_302), GATEWAY, 403, "Request rejected by ip restriction", PERMISSION.on_the_way()),
    (Code(1_640_302), GATEWAY, 403, "Cross tenant forbidden", PERMISSION.on_the_way()),
    (Code(1_640_303), GATEWAY, 403, "", PERMISSION.on_the_way()),
    (Code(1_640_304), GATEWAY, 403, "", PERMISSION.on_the_way()),
    (Code(1_640_401), GATEWAY, 404, "", PROTOCOL),
    (Code(1_641_301), GATEWAY, 413, "", INVALID.on_the_way()),
    (Code(1_641_401), GATEWAY, 414, "Request uri size too large.", PROTOCOL),
    (Code(1_642_901), GATEWAY, 429, "", THROTTLED),
    (Code(1_642_901), GATEWAY, 429, "", THROTTLED.after(17)),
    (Code(1_642_902), GATEWAY, 429, "", THROTTLED),
    (Code(1_642_902), GATEWAY, 429, "", THROTTLED.after(0)),
    (Code(1_642_903), GATEWAY, 429, "", THROTTLED),
    (Code(1_642_903), GATEWAY, 429, "", THROTTLED.after(300)),
    (Code(1_642_904), GATEWAY, 429, "", THROTTLED),
    (Code(1_650_000), GATEWAY, 500, "", UNKNOWN),
    (Code(1_650_001), GATEWAY, 500, "", UNKNOWN),
    (Code(1_650_002), GATEWAY, 500, "", UNKNOWN),
    (Code(1_650_070), GATEWAY, 499, "unknown error", UNKNOWN),
    (Code(1_650_070), GATEWAY, 403, "unknown error", UNKNOWN),
    (Code(1_650_200), GATEWAY, 502, "", UNKNOWN),
    (Code(1_650_201), GATEWAY, 502, "", UNKNOWN),
    (Code(1_650_300), GATEWAY, 503, "", UNKNOWN),
    (Code(1_650_401), GATEWAY, 504, "", UNKNOWN),
    (Code(1_650_801), GATEWAY, 508, "", PROTOCOL),
    (Code(1_640_001), GATEWAY, 200, "", AUTHENTICATION.on_the_way()),
    (Code(1_640_301), GATEWAY, 200, "", PERMISSION.on_the_way()),
    (Code(1_642_901), GATEWAY, 200, "", THROTTLED.after(5)),
    (Code(1_650_401), GATEWAY, 200, "", UNKNOWN),
    // CMDB
    (Code(1_100_004), GATEWAY, 200, "", AUTHENTICATION),
    (Code(1_108_014), ALL, 200, "", UNKNOWN),
    (Code(1_108_030), ALL, 200, "", UNKNOWN),
    (Code(1_108_033), ALL, 200, "", UNKNOWN),
    (Code(1_113_019), ALL, 200, "process name [web] unique validation failed", CONFLICT.of_item()),
    (Code(1_113_020), ALL, 200, "process name [web] and start parameter [] unique validation failed", CONFLICT.of_item()),
    (Code(1_113_032), ALL, 200, "", INVALID),
    (Code(1_199_000), ALL, 200, "", INVALID.of_item()),
    (Code(1_199_002), ALL, 200, "", UNKNOWN),
    (Code(1_199_003), ALL, 200, "", INVALID),
    (Code(1_199_006), ALL, 200, "'bk_process_name' data parameter verification does not pass", INVALID.of_item()),
    (Code(1_199_006), ALL, 200, "'bind_info[0].port' data parameter verification does not pass", INVALID.of_item()),
    (Code(1_199_006), ALL, 200, "'bk_biz_id' data parameter verification does not pass", INVALID),
    (Code(1_199_006), ALL, 200, "'service_template_id' data parameter verification does not pass", INVALID),
    (Code(1_199_006), ALL, 200, "'property' data parameter verification does not pass", INVALID),
    (Code(1_199_006), ALL, 200, "'processes' data parameter verification does not pass", INVALID),
    (Code(1_199_006), ALL, 200, "'process_property' data parameter verification does not pass", INVALID),
    (Code(1_199_006), ALL, 200, "a text that names nothing", INVALID),
    (Code(1_199_010), ALL, 200, "", INVALID),
    (Code(1_199_014), ALL, 200, "", CONFLICT),
    (Code(1_199_017), ALL, 200, "", UNKNOWN),
    (Code(1_199_018), ALL, 200, "", UNKNOWN),
    (Code(1_199_019), ALL, 200, "", NOT_FOUND),
    (Code(1_199_020), ALL, 200, "", UNKNOWN),
    (Code(1_199_021), ALL, 200, "", UNKNOWN),
    (Code(1_199_027), DIRECT, 500, "'BK_User' authorization information query failed", AUTHENTICATION),
    (Code(1_199_035), ALL, 200, "", INVALID),
    (Code(1_199_036), APISERVER, 500, "", UNKNOWN),
    (Code(1_199_036), ESB, 200, "", UNKNOWN),
    (Code(1_199_037), APISERVER, 500, "", UNKNOWN),
    (Code(1_199_037), ESB, 200, "", UNKNOWN),
    (Code(1_199_045), ALL, 200, "", INVALID),
    (Code(1_199_046), ALL, 200, "", PERMISSION),
    (Code(1_199_047), ALL, 200, "", PERMISSION),
    (Code(1_199_055), ALL, 200, "", CONFLICT),
    (Code(1_199_056), ALL, 200, "", CONFLICT),
    (Code(1_199_058), ALL, 200, "", UNKNOWN),
    (Code(1_199_059), ALL, 200, "", INVALID),
    (Code(1_199_065), ALL, 200, "", UNKNOWN),
    (Code(1_199_066), ALL, 200, "", UNKNOWN),
    (Code(1_199_089), ALL, 200, "", INVALID),
    (Code(1_199_997), ALL, 200, "", THROTTLED),
    (Code(1_199_998), ALL, 200, "field bk_process_name contains space: ' web'", INVALID.of_item()),
    (Code(1_199_998), GATEWAY, 200, "crypto/rsa: verification error", AUTHENTICATION),
    (Code(1_199_998), GATEWAY, 200, "token is expired by 1m2s", AUTHENTICATION),
    (Code(1_199_998), GATEWAY, 200, "illegal base64 data at input byte 4", AUTHENTICATION),
    (Code(1_199_998), GATEWAY, 200, "app is not verified", AUTHENTICATION),
    (Code(1_199_998), GATEWAY, 200, "user is not set", AUTHENTICATION),
    (Code(1_199_998), ALL, 200, "Post \"http://10.0.0.1/transaction/abort\": dial tcp: connect: connection refused", UNKNOWN),
    (Code(1_199_998), APISERVER, 500, "proxy request failed, err: net/http: timeout awaiting response headers", UNKNOWN),
    (Code(1_199_998), APISERVER, 500, "rewrite request failed, err: no server", UNKNOWN),
    (Code(1_199_998), ESB, 200, "proxy request failed, err: net/http: timeout awaiting response headers", UNKNOWN),
    (Code(1_199_998), ALL, 200, "APP Secret verification failed", UNKNOWN),
    (Code(1_199_999), ALL, 200, "", UNKNOWN),
    (Code(9_900_403), ALL, 200, "", PERMISSION),
    // Codes that nobody knows, also with texts that mean something beside another code
    (Code(4_711), ALL, 200, "no idea", UNKNOWN),
    (Code(-1), ALL, 200, "no idea", UNKNOWN),
    (Code(4_711), ALL, 401, "no idea", UNKNOWN),
    (Code(4_711), ALL, 429, "no idea", UNKNOWN),
    (Code(4_711), ALL, 200, "field user contains space: ' x'", UNKNOWN),
    (Code(4_711), ALL, 200, "APP Secret verification failed", UNKNOWN),
    // No code: a path or a method that CMDB does not serve, and what only looks like an envelope
    (TEXT, DIRECT, 200, "404: Page Not Found", PROTOCOL),
    (TEXT, DIRECT, 200, "405: Method Not Allowed", PROTOCOL),
    (JSON, GATEWAY, 200, r#"{"code":,"message":}"#, PROTOCOL),
    (JSON, ALL, 200, "", PROTOCOL),
    (JSON, ALL, 200, r#"{"result":false,"message":"no code"}"#, PROTOCOL),
    (JSON, ALL, 200, r#"{"result":false,"code":0,"message":"no","data":null}"#, PROTOCOL),
    (JSON, DIRECT, 200, r#"{"result":false,"bk_error_code":0,"bk_error_msg":"no","data":null}"#, PROTOCOL),
    // No code: a proxy
    (PAGE, ALL, 200, "<html>please log in</html>", PROTOCOL),
    (PAGE, ALL, 400, "<html>bad request</html>", PROTOCOL),
    (PAGE, ALL, 401, "<html>who are you?</html>", AUTHENTICATION.on_the_way()),
    (PAGE, ALL, 403, "<html>forbidden</html>", PERMISSION.on_the_way()),
    (PAGE, ALL, 404, "<html>not found</html>", PROTOCOL),
    (PAGE, ALL, 405, "<html>not allowed</html>", PROTOCOL),
    (PAGE, ALL, 408, "<html>too slow</html>", UNKNOWN),
    (PAGE, ALL, 413, "<html>too large</html>", PROTOCOL),
    (PAGE, ALL, 429, "<html>too often</html>", THROTTLED.on_the_way()),
    (PAGE, GATEWAY, 429, "", THROTTLED.on_the_way().after(17)),
    (PAGE, ALL, 500, "<html>failed</html>", UNKNOWN),
    (PAGE, ALL, 502, "<html>bad gateway</html>", UNKNOWN),
    (PAGE, ALL, 503, "<html>down</html>", UNKNOWN),
    (PAGE, ALL, 504, "<html>no answer in time</html>", UNKNOWN),
    (Elsewhere, ALL, 301, "", PROTOCOL),
    (Elsewhere, ALL, 302, "", PROTOCOL),
    (Elsewhere, ALL, 307, "", PROTOCOL),
    (Elsewhere, ALL, 308, "", PROTOCOL),
    (Code(1_199_046), ALL, 302, "what comes with another address is none of CMDB's answers", PROTOCOL),
    // No answer
    (Nothing, ALL, 0, "", UNKNOWN),
];

/// What the simulator does to give an answer.
pub fn effect(row: &Row, url: &str) -> Effect {
    let (sent, _, http_status, text, meaning) = *row;
    let seconds = meaning.after.map(|seconds| ("X-Bkapi-RateLimit-Reset".to_owned(), seconds.to_string()));
    let headers: BTreeMap<_, _> = seconds.into_iter().collect();
    let text = text.to_owned();
    match sent {
        Code(code) => {
            let message = Some(text).filter(|text| !text.is_empty());
            Effect::Refuse(Refuse { code, message, http_status: Some(http_status), headers, ..Refuse::default() })
        }
        Body(content_type) => {
            Effect::Raw(Raw { http_status, body: text, content_type: Some(content_type.to_owned()), headers })
        }
        Elsewhere => {
            let redirect = format!("{url}/api/c/compapi/v2/cc/batch_create_proc_template/");
            Effect::Redirect(Redirect { redirect, http_status })
        }
        Nothing => Effect::drop_after_commit(),
    }
}
