//! Reads a list until it is whole.
//!
//! *Flow.* A list that CMDB gives without pages is asked for in one call, any other page by page in the order of IDs, until as
//! many items were shown as are counted; without a count until a page is empty. What is odd about a list ([`Oddity`]) may be
//! over in a moment, as it is when somebody writes between two pages: the list is then read again from its start, a few times.
//!
//! *Guarantees.* What is returned is as long as its count, has no ID twice, and is of the scope that was asked for. Each page
//! starts with the last item of the page before it: a list that has changed in front of it does not lose an item.
//!
//! *Caveats.* Whether a list without a count and without pages is whole cannot be seen.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use super::classify::page_limit;
use super::evidence::{Oddity, Scoped, check_scopes};
use super::grants::Authority;
use super::intake::footprint::Footprint;
use super::intake::list_budget::ListShare;
use super::intake::too_large::{MAX_LIST, TooLarge};
use super::wire::List;
use super::{Error, Operation, Priority, Touched, jitter};
use crate::cmdb::http::sender::Sender;

/// Items per page: the most that CMDB documents.
pub const PAGE: usize = 500;

/// Items per page of a server that takes fewer and does not say how many: the least that is known (3.10.16).
const SMALL_PAGE: usize = 200;

/// Most pages of one list.
const MOST_PAGES: usize = 200;

/// Waits before an odd list is read again, each up to twice as long by chance.
const WAITS: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(400)];

/// How a list is asked for first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// In one call: CMDB has no limit for it.
    AtOnce,
    /// Page by page.
    Paged,
}

/// One list that is to be read.
pub struct WholeList<'a> {
    /// Who reads.
    pub sender: &'a Sender,
    /// Most items of a page that the server takes, as far as it has said so.
    pub page_limit: &'a AtomicUsize,
    /// The call.
    pub operation: Operation,
    /// What is asked for.
    pub touched: Touched<'a>,
    /// The right to it.
    pub authority: Authority<'a>,
    /// The request but for its page.
    pub parameters: Map<String, Value>,
}

// Why a list was not read.
enum Failure {
    Call(Error),
    Odd(Oddity),
}

impl WholeList<'_> {
    /// The items by ascending ID, with their share of the memory for lists. Only the first call has this priority: a poll that
    /// is rejected between two calls would have to start again.
    pub async fn read<T>(&self, form: Form, priority: Priority) -> Result<(Vec<T>, ListShare), Error>
    where
        T: Scoped + Footprint + DeserializeOwned + Send + 'static,
    {
        let (mut form, mut priority, mut waits) = (form, priority, WAITS.into_iter());
        loop {
            let read = match form {
                Form::AtOnce => self.at_once(priority).await,
                Form::Paged => self.paged(priority).await,
            };
            let odd = match read {
                Ok(found) => return Ok(found),
                Err(Failure::Call(error)) => return Err(error),
                Err(Failure::Odd(odd @ Oddity::TooLarge(_))) => return Err(odd.error_of(self.operation)),
                Err(Failure::Odd(odd)) => odd,
            };
            let Some(wait) = waits.next() else { return Err(odd.error_of(self.operation)) };
            tracing::debug!(operation = self.operation.as_str(), %odd, "a list is no evidence, reading it again");
            sleep(jitter(wait, wait.saturating_mul(2))).await;
            (form, priority) = (Form::Paged, Priority::Interactive);
        }
    }

    async fn at_once<T>(&self, priority: Priority) -> Result<(Vec<T>, ListShare), Failure>
    where
        T: Scoped + Footprint + DeserializeOwned + Send + 'static,
    {
        let list: List<T> = self.call(priority, &self.parameters).await.map_err(Failure::Call)?;
        let has_count = list.count.is_some();
        let mut pages = Pages::default();
        match pages.add(list, self.touched).map_err(Failure::Odd)? {
            Some(_) if has_count => Err(Failure::Odd(pages.incomplete())),
            Some(_) | None => Ok(pages.into_items()),
        }
    }

    async fn paged<T>(&self, mut priority: Priority) -> Result<(Vec<T>, ListShare), Failure>
    where
        T: Scoped + Footprint + DeserializeOwned + Send + 'static,
    {
        let (mut pages, mut start) = (Pages::default(), 0);
        for _ in 0..MOST_PAGES {
            let limit = self.page_limit.load(Ordering::Relaxed);
            let mut parameters = self.parameters.clone();
            parameters.insert("page".to_owned(), json!({ "start": start, "limit": limit, "sort": "id" }));
            let list = match self.call(priority, &parameters).await {
                Ok(list) => list,
                Err(error) => {
                    let smaller = page_limit(&error, limit, SMALL_PAGE).ok_or(Failure::Call(error))?;
                    self.page_limit.store(smaller, Ordering::Relaxed);
                    continue;
                }
            };
            priority = Priority::Interactive;
            match pages.add(list, self.touched).map_err(Failure::Odd)? {
                Some(next) => start = next,
                None => return Ok(pages.into_items()),
            }
        }
        Err(Failure::Odd(Oddity::TooLong { count: pages.count, shown: pages.found.len() }))
    }

    async fn call<T>(&self, priority: Priority, parameters: &Map<String, Value>) -> Result<List<T>, Error>
    where
        T: Footprint + DeserializeOwned + Send + 'static,
    {
        self.sender.read(self.operation, priority, parameters, self.authority).await
    }
}

// The pages of a list so far.
struct Pages<T> {
    found: Vec<T>,
    ids: BTreeSet<i64>,
    bytes: usize,
    share: ListShare,
    // The item with which the next page starts, and that page's start.
    last: Option<(i64, usize)>,
    count: Option<u64>,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self { found: Vec::new(), ids: BTreeSet::new(), bytes: 0, share: ListShare::default(), last: None, count: None }
    }
}

impl<T: Scoped> Pages<T> {
    // Adds a page, and returns the start of the next. None: the list is whole.
    fn add(&mut self, list: List<T>, asked: Touched<'_>) -> Result<Option<usize>, Oddity> {
        let List { count, info, bytes, share } = list;
        check_scopes(&info, asked)?;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > MAX_LIST {
            return Err(Oddity::TooLarge(TooLarge::List));
        }
        self.share.add(share);
        if let (Some(before), Some(now)) = (self.count, count)
            && before != now
        {
            return Err(Oddity::OtherCount { before, now });
        }
        self.count = self.count.or(count);

        // It starts with the last item of the page before it.
        let shown_before = self.found.len();
        let last_id = info.last().map(Scoped::id);
        let mut items = info.into_iter();
        if let Some((id, start)) = self.last
            && let Some(first) = items.next()
            && first.id() != id
        {
            return Err(Oddity::NoContinuation { count: self.count, shown: shown_before, start });
        }
        for item in items {
            let id = item.id();
            if !self.ids.insert(id) {
                return Err(Oddity::Twice { id });
            }
            self.found.push(item);
        }

        let shown = self.found.len();
        let start = shown.saturating_sub(1);
        if let Some(id) = last_id {
            self.last = Some((id, start));
        }
        match self.count.map(|count| (count, (shown as u64).cmp(&count))) {
            Some((_, std::cmp::Ordering::Equal)) => Ok(None),
            Some((count, std::cmp::Ordering::Greater)) => Err(Oddity::Surplus { count, shown }),
            Some((count, std::cmp::Ordering::Less)) if shown == shown_before => {
                Err(Oddity::Incomplete { count, shown })
            }
            None if shown == shown_before => Ok(None),
            Some(_) | None => Ok(Some(start)),
        }
    }

    fn incomplete(&self) -> Oddity {
        Oddity::Incomplete { count: self.count.unwrap_or_default(), shown: self.found.len() }
    }

    fn into_items(mut self) -> (Vec<T>, ListShare) {
        self.found.sort_unstable_by_key(Scoped::id);
        self.found.shrink_to_fit();
        self.share.finish();
        (self.found, self.share)
    }
}
