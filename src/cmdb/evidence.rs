//! What an answer must show to be evidence. An answer in the form of CMDB may still be the answer to another request, as a
//! proxy mixes them up, or a part of a list: then nothing follows from it.

use super::intake::too_large::TooLarge;
use super::reply::Reply;
use super::wire::{ProcessTemplate, ServiceCategory, ServiceTemplate};
use super::{Error, Operation, Touched};

/// What is odd about an answer whose form is that of CMDB.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Oddity {
    /// It shows something of another business than the request named.
    #[error("asked about business {asked}, it answered with {what} {id} of business {shown}")]
    OtherBusiness {
        /// `bk_biz_id` of the request.
        asked: i64,
        /// `bk_biz_id` of the item.
        shown: i64,
        /// What the item is.
        what: &'static str,
        /// `id` of the item.
        id: i64,
    },
    /// It shows a process template of another service template than the request named.
    #[error("asked about service template {asked}, it answered with process template {id} of service template {shown}")]
    OtherServiceTemplate {
        /// `service_template_id` of the request.
        asked: i64,
        /// `service_template_id` of the item.
        shown: i64,
        /// `id` of the item.
        id: i64,
    },
    /// It shows another object than was written. Which, is not said: a name may repeat a secret.
    #[error("asked to write {what} {asked}, it answered with another")]
    OtherObject {
        /// What the object is.
        what: &'static str,
        /// The object of the request.
        asked: String,
    },
    /// A list shows less than it counts, and no further page shows more.
    #[error("it counts {count} and shows {shown}")]
    Incomplete {
        /// `count`
        count: u64,
        /// How many different items it has shown.
        shown: usize,
    },
    /// A list shows more than it counts.
    #[error("it counts {count} and shows {shown}")]
    Surplus {
        /// `count`
        count: u64,
        /// How many different items it has shown.
        shown: usize,
    },
    /// A list shows one ID twice.
    #[error("it shows ID {id} twice")]
    Twice {
        /// `id`
        id: i64,
    },
    /// A page is not the continuation of the one before it: the list has changed, or the server ignores where a page starts.
    #[error("{}, and its next page (start {start}) is not the continuation", counted(*.count, *.shown))]
    NoContinuation {
        /// `count`
        count: Option<u64>,
        /// How many different items the pages before it have shown.
        shown: usize,
        /// `page.start` of the request.
        start: usize,
    },
    /// The count of a list is another one on each page.
    #[error("it counts {before}, and on its next page {now}")]
    OtherCount {
        /// `count` before.
        before: u64,
        /// `count` of this page.
        now: u64,
    },
    /// The pages of a list take too much memory together.
    #[error("{0}")]
    TooLarge(TooLarge),
    /// A list has more pages than are read.
    #[error("{}, more than is read", counted(*.count, *.shown))]
    TooLong {
        /// `count`
        count: Option<u64>,
        /// How many different items it has shown.
        shown: usize,
    },
}

fn counted(count: Option<u64>, shown: usize) -> String {
    count.map_or_else(|| format!("it shows {shown}"), |count| format!("it counts {count} and shows {shown}"))
}

impl Oddity {
    /// The error of a call that was answered so.
    pub fn error_of(&self, operation: Operation) -> Error {
        let reply = Reply { http_status: Some(200), ..Reply::local(operation, self.to_string()) };
        match self {
            Self::OtherBusiness { .. }
            | Self::OtherServiceTemplate { .. }
            | Self::OtherObject { .. }
            | Self::TooLarge(_) => Error::Protocol { reply },
            Self::Incomplete { .. }
            | Self::Surplus { .. }
            | Self::Twice { .. }
            | Self::NoContinuation { .. }
            | Self::OtherCount { .. }
            | Self::TooLong { .. } => Error::OutcomeUnknown { reply },
        }
    }
}

/// An object of CMDB that shows where it belongs.
pub trait Scoped {
    /// `id`
    fn id(&self) -> i64;

    /// Whether it may be in an answer about what the request touched. Where it does not show its scope, it may.
    ///
    /// # Errors
    /// What is odd about it.
    fn check_scope(&self, asked: Touched<'_>) -> Result<(), Oddity>;
}

impl Scoped for ProcessTemplate {
    fn id(&self) -> i64 {
        self.id
    }

    fn check_scope(&self, asked: Touched<'_>) -> Result<(), Oddity> {
        check_process_template(asked, self.id, self.bk_biz_id, self.service_template_id)
    }
}

impl Scoped for ServiceTemplate {
    fn id(&self) -> i64 {
        self.id
    }

    fn check_scope(&self, asked: Touched<'_>) -> Result<(), Oddity> {
        check_business(asked, self.bk_biz_id, "service template", self.id)
    }
}

// One of business 0 belongs to all businesses.
impl Scoped for ServiceCategory {
    fn id(&self) -> i64 {
        self.id
    }

    fn check_scope(&self, asked: Touched<'_>) -> Result<(), Oddity> {
        check_business(asked, self.bk_biz_id, "service category", self.id)
    }
}

/// Whether all items of a list may be in an answer about what the request touched.
///
/// # Errors
/// What is odd about the first that may not.
pub fn check_scopes<T: Scoped>(items: &[T], asked: Touched<'_>) -> Result<(), Oddity> {
    items.iter().try_for_each(|item| item.check_scope(asked))
}

/// Whether the answer to a write shows what was written.
///
/// # Errors
/// That it does not.
pub fn check_object<T: PartialEq + ToString + ?Sized>(what: &'static str, asked: &T, shown: &T) -> Result<(), Oddity> {
    if asked == shown {
        return Ok(());
    }
    Err(Oddity::OtherObject { what, asked: asked.to_string() })
}

/// Whether a process template of this business and service template may be in an answer about what the request touched.
///
/// # Errors
/// What is odd about it.
pub fn check_process_template(
    asked: Touched<'_>,
    id: i64,
    bk_biz_id: i64,
    service_template_id: i64,
) -> Result<(), Oddity> {
    check_business(asked, bk_biz_id, "process template", id)?;
    match asked.service_template_id {
        Some(asked) if ![0, asked].contains(&service_template_id) => {
            Err(Oddity::OtherServiceTemplate { asked, shown: service_template_id, id })
        }
        Some(_) | None => Ok(()),
    }
}

fn check_business(asked: Touched<'_>, shown: i64, what: &'static str, id: i64) -> Result<(), Oddity> {
    let asked = asked.biz_id;
    if [0, asked].contains(&shown) { Ok(()) } else { Err(Oddity::OtherBusiness { asked, shown, what, id }) }
}
