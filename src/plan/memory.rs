//! What a set's status remembers, and what this process learnt meanwhile. A cache: checked against a list before use.

use std::collections::BTreeMap;

/// What is remembered of one set in one scope.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// Templates that were ours, by key.
    pub items: BTreeMap<String, Remembered>,
    /// Creates that were begun, by key.
    pub intents: BTreeMap<String, Intent>,
    /// Items that CMDB refused and that are not sent again yet, by key, with its reason.
    pub refused: BTreeMap<String, String>,
}

/// A template that was ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Remembered {
    /// `id`
    pub id: i64,
    /// `create_time` in milliseconds since 1970. None: the create was answered, but not listed yet.
    pub created_at: Option<i64>,
    /// `bk_process_name`
    pub process_name: String,
    /// Hash of the wanted state when the template was last in line with it.
    pub applied_hash: Option<String>,
}

/// A create that was begun. It stands for one request, ever.
#[derive(Clone, Debug, PartialEq)]
pub struct Intent {
    /// `bk_process_name` that was sent.
    pub process_name: String,
    /// [`super::intent_hash`] of what was sent.
    pub hash: String,
    /// Highest template ID in the list that showed the name free.
    pub after_id: i64,
    /// What is known of its end.
    pub fate: IntentFate,
}

/// What is known of a begun create's end, for a list that was taken since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntentFate {
    /// It may still be stored.
    Open,
    /// CMDB answered that it was not stored, or no server can still be working on it: not listed means not stored.
    Over,
}
