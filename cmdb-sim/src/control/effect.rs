//! What a fault does to the calls that it applies to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a fault does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Effect {
    /// The connection is closed without a reply.
    Drop(Drop),
    /// The connection is closed without a reply, and the names of the create stay blocked for a while.
    HoldNames(HoldNames),
    /// The connection is closed without a reply, and what an update, a delete or a create of a service template was to write
    /// stays blocked for a while.
    HoldTemplates(HoldTemplates),
    /// A create answers with IDs in front that never existed.
    SurplusIds(SurplusIds),
    /// A create answers with fewer IDs than it stored.
    ShortIds(ShortIds),
    /// An error in the envelope of the transport that was asked.
    Refuse(Refuse),
    /// Some other body, as a proxy sends it.
    Raw(Raw),
    /// Another address, as a proxy sends callers away.
    Redirect(Redirect),
    /// Time passes first; combines with other effects.
    Delay(Delay),
    /// The reply comes late.
    Hang(Hang),
}

impl Effect {
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Drop(_) => "drop",
            Self::HoldNames(_) => "hold_names",
            Self::HoldTemplates(_) => "hold_templates",
            Self::SurplusIds(_) => "surplus_ids",
            Self::ShortIds(_) => "short_ids",
            Self::Refuse(_) => "code",
            Self::Raw(_) => "http_status",
            Self::Redirect(_) => "redirect",
            Self::Delay(_) => "delay",
            Self::Hang(_) => "hang",
        }
    }

    /// The connection is closed before the call takes effect.
    #[must_use]
    pub fn drop_before_commit() -> Self {
        Self::Drop(Drop { drop: DropMoment::BeforeCommit })
    }

    /// The connection is closed after the call took effect.
    #[must_use]
    pub fn drop_after_commit() -> Self {
        Self::Drop(Drop { drop: DropMoment::AfterCommit })
    }

    /// The names of a create stay blocked, stored or not.
    #[must_use]
    pub fn hold_names(seconds: f64, stored: bool) -> Self {
        Self::HoldNames(HoldNames { hold_names_seconds: seconds, stored })
    }

    /// What an update, a delete or a create of a service template was to write stays blocked, written or not.
    #[must_use]
    pub fn hold_templates(seconds: f64, stored: bool) -> Self {
        Self::HoldTemplates(HoldTemplates { hold_templates_seconds: seconds, stored })
    }

    /// An error envelope with a code and its usual text, instead of the call.
    #[must_use]
    pub fn code(code: i64) -> Self {
        Self::Refuse(Refuse { code, ..Refuse::default() })
    }

    /// A body that is not CMDB's, instead of the call.
    #[must_use]
    pub fn raw(http_status: u16, content_type: &str, body: &str) -> Self {
        Self::Raw(Raw {
            http_status,
            body: body.to_owned(),
            content_type: Some(content_type.to_owned()),
            headers: BTreeMap::new(),
        })
    }

    /// Another address with HTTP status 302, instead of the call.
    #[must_use]
    pub fn redirect(url: &str) -> Self {
        Self::Redirect(Redirect { redirect: url.to_owned(), http_status: found() })
    }

    /// Time passes before the call.
    #[must_use]
    pub fn delay(milliseconds: u64) -> Self {
        Self::Delay(Delay { delay_ms: milliseconds, delay_per_item_ms: 0 })
    }

    /// The reply comes late; the call takes effect before the wait or, if the caller is still there, after it.
    #[must_use]
    pub fn hang(seconds: f64, commit: bool) -> Self {
        Self::Hang(Hang { hang_seconds: seconds, commit })
    }
}

/// See [`Effect::Drop`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drop {
    /// When.
    pub drop: DropMoment,
}

/// When a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropMoment {
    /// The call has no effect.
    BeforeCommit,
    /// The call has its effect.
    AfterCommit,
}

/// See [`Effect::HoldNames`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldNames {
    /// For how long.
    pub hold_names_seconds: f64,
    /// Whether the batch is stored all the same.
    #[serde(default)]
    pub stored: bool,
}

/// See [`Effect::HoldTemplates`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldTemplates {
    /// For how long.
    pub hold_templates_seconds: f64,
    /// Whether the write takes effect all the same.
    #[serde(default)]
    pub stored: bool,
}

/// See [`Effect::SurplusIds`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SurplusIds {
    /// How many.
    pub surplus_ids: usize,
}

/// See [`Effect::ShortIds`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShortIds {
    /// How many are missing at the end.
    pub short_ids: usize,
}

/// See [`Effect::Refuse`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refuse {
    /// Code.
    pub code: i64,
    /// Text; the code's usual one unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// HTTP status. Unless given 200, but for a code of the gateway (16xxxxx) through the gateway the status that the code contains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// Whether the call takes effect before it is refused.
    #[serde(default)]
    pub after_commit: bool,
    /// Headers of the reply.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The `permission` of the envelope.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub permission: Value,
}

/// See [`Effect::Raw`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// HTTP status.
    pub http_status: u16,
    /// Body.
    #[serde(default)]
    pub body: String,
    /// `text/html` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// More headers of the reply.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// See [`Effect::Redirect`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// The `Location` of the reply.
    pub redirect: String,
    /// HTTP status; 302 unless given.
    #[serde(default = "found")]
    pub http_status: u16,
}

/// See [`Effect::Delay`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delay {
    /// For every call.
    pub delay_ms: u64,
    /// For every process of a create, and every ID of a delete, on top.
    #[serde(default)]
    pub delay_per_item_ms: u64,
}

/// See [`Effect::Hang`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hang {
    /// For how long.
    pub hang_seconds: f64,
    /// Whether the call takes effect before the wait. If not, it does so after it, unless the caller has gone.
    #[serde(default)]
    pub commit: bool,
}

fn found() -> u16 {
    302
}
