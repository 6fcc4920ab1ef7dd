//! Intents: creates that were announced in a status before their request was sent.

use super::{Template, intent_hash};

/// A create that was announced. It stands for one request, which is sent at most once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// `bk_process_name` that was sent.
    pub process_name: String,
    /// [`super::intent_hash`] of what was sent.
    pub hash: String,
    /// Highest template ID in the list that showed the name free.
    pub after_id: i64,
    /// The user who sends it; empty: the credentials name none. None: an older version has announced it.
    pub user: Option<String>,
    /// What is known of its outcome.
    pub fate: IntentFate,
}

impl Intent {
    /// Whether the template has the name and the content that were sent, and was not there before.
    pub(super) fn describes(&self, template: &Template) -> bool {
        template.process_name == self.process_name
            && template.id > self.after_id
            && intent_hash(&template.properties) == self.hash
    }
}

/// What is known of an intent's outcome, for a list that was taken since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntentFate {
    /// It may still be stored.
    Open,
    /// CMDB answered that it was not stored, or no server can still be working on it: not listed means not stored.
    Over,
}
