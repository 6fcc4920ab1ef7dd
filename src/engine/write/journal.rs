//! Where intents and IDs are stored, so that an operator that was restarted finds them.

use crate::engine::error::Error;
use crate::engine::view::PlannedView;

/// Stores what is remembered of a set, outside of CMDB and of this process.
pub trait Journal: Send {
    /// Stores the view's memory before a request is sent. Must not store anything when the set has changed.
    fn begin(&mut self, view: &PlannedView) -> impl Future<Output = Result<(), Error>> + Send;

    /// Whether the ID is stored, as that of this item's template or of the one that is to replace it.
    fn holds_id(&self, key: &str, id: i64) -> bool;

    /// Stores what is known after the last request, also when the set has changed meanwhile.
    fn record(&mut self, view: &PlannedView) -> impl Future<Output = Result<(), Error>> + Send;
}

/// A journal together with what it holds: it is written to only when that is out of date.
#[derive(Debug)]
pub(crate) struct Ledger<'a, J> {
    journal: &'a mut J,
    // How many of the created IDs the journal holds.
    recorded: usize,
    // Whether it still holds intents that are over: their requests were never sent, or their outcome is known.
    holds_ended: bool,
}

impl<'a, J: Journal> Ledger<'a, J> {
    /// A ledger of a journal that has not been written to for this view.
    pub fn new(journal: &'a mut J) -> Self {
        Self { journal, recorded: 0, holds_ended: false }
    }

    /// Stores the view's memory before a request is sent, with the IDs of the first `created` creates.
    pub async fn begin(&mut self, view: &PlannedView, created: usize) -> Result<(), Error> {
        self.journal.begin(view).await?;
        (self.recorded, self.holds_ended) = (created, false);
        Ok(())
    }

    /// Stores the view's memory before a template is changed whose ID is not stored yet, with the IDs of `created` creates. Until
    /// then an intent of ours finds the template, by the content that the create sent; once that changes, only the ID does.
    pub async fn begin_change(&mut self, view: &PlannedView, key: &str, id: i64, created: usize) -> Result<(), Error> {
        let is_ours = view.memory.items.get(key).is_some_and(|remembered| remembered.id == id)
            || view.memory.replacements.get(key) == Some(&id);
        if is_ours && !self.journal.holds_id(key, id) {
            self.begin(view, created).await?;
        }
        Ok(())
    }

    /// An intent that was stored is over.
    pub fn note_ended(&mut self) {
        self.holds_ended = true;
    }

    /// Stores the view's memory if the journal lacks one of the IDs of `created` creates, or holds an intent that is over.
    pub async fn record(&mut self, view: &PlannedView, created: usize) -> Result<(), Error> {
        if self.recorded == created && !self.holds_ended {
            return Ok(());
        }
        self.journal.record(view).await
    }
}
