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
    /// The count of a list is wrong.
    CountOff(CountOff),
    /// A list shows items of another business or service template, too.
    ForeignItems(ForeignItems),
    /// A list has a smaller limit than the caller believes.
    PageLimit(PageLimit),
    /// A daemon is killed while it carries the call out, and stays down for the calls after it.
    Killed(Killed),
    /// The call is held back before it is carried out, and then carried out whether its caller is still there or not.
    Late(Late),
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
            Self::CountOff(_) => "count_off",
            Self::ForeignItems(_) => "foreign_items",
            Self::PageLimit(_) => "page_limit",
            Self::Killed(_) => "killed",
            Self::Late(_) => "late",
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

    /// The count of a list is this much too high, or too low.
    #[must_use]
    pub fn count_off(count_off: i64) -> Self {
        Self::CountOff(CountOff { count_off })
    }

    /// A list shows this many items that another scope has, too.
    #[must_use]
    pub fn foreign_items(foreign_items: usize, scope: ForeignScope) -> Self {
        Self::ForeignItems(ForeignItems { foreign_items, scope })
    }

    /// A list shows no more items than this.
    #[must_use]
    pub fn cut_page(page_limit: usize) -> Self {
        Self::PageLimit(PageLimit { page_limit, refuse: false })
    }

    /// A list that asks for more items than this is refused, with this limit as a suggestion.
    #[must_use]
    pub fn refuse_page(page_limit: usize) -> Self {
        Self::PageLimit(PageLimit { page_limit, refuse: true })
    }

    /// A daemon is killed in the first call, and down in the calls after it.
    #[must_use]
    pub fn killed(daemon: Daemon) -> Self {
        Self::Killed(Killed { killed: daemon, hold_names_seconds: transaction_lifetime() })
    }

    /// The call is carried out late, whether its caller is still there or not.
    #[must_use]
    pub fn late(seconds: f64) -> Self {
        Self::Late(Late { late_seconds: seconds })
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

/// See [`Effect::CountOff`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CountOff {
    /// What is added to the true count.
    pub count_off: i64,
}

/// See [`Effect::ForeignItems`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForeignItems {
    /// How many at most; only what is stored can be shown.
    pub foreign_items: usize,
    /// Whose items.
    #[serde(default)]
    pub scope: ForeignScope,
}

/// Where the items come from that a list does not ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForeignScope {
    /// Another business.
    #[default]
    Business,
    /// Another service template of the same business; in a list of service templates, those that the search leaves out.
    ServiceTemplate,
}

/// See [`Effect::PageLimit`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageLimit {
    /// How many items a page has at most.
    pub page_limit: usize,
    /// Whether a list that asks for more, or for all, is refused. If not, it is cut, and its count stays true.
    #[serde(default)]
    pub refuse: bool,
}

/// See [`Effect::Killed`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Killed {
    /// Which daemon.
    pub killed: Daemon,
    /// How long the names of a create stay blocked in which `coreservice` was killed; 60 unless given, as long as the
    /// database keeps an abandoned transaction.
    #[serde(default = "transaction_lifetime")]
    pub hold_names_seconds: f64,
}

/// A daemon of CMDB behind the apiserver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Daemon {
    /// The one that works on the database.
    Coreservice,
    /// The one that answers the calls for process and service templates, through `coreservice`.
    Procserver,
}

/// See [`Effect::Late`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Late {
    /// For how long it is held back.
    pub late_seconds: f64,
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

fn transaction_lifetime() -> f64 {
    60.0
}

fn found() -> u16 {
    302
}
