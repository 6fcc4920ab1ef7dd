//! Why a set cannot be brought in sync.

use std::sync::Arc;
use std::time::Duration;

use super::lookup::absences::APART;
use crate::cmdb;

/// Why a set cannot be brought in sync.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A call to CMDB failed.
    #[error(transparent)]
    Cmdb(Arc<cmdb::Error>),
    /// The business has no service template of that name.
    #[error("business {biz_id} has no service template named {name:?}")]
    ServiceTemplateMissing {
        /// `bk_biz_id`
        biz_id: i64,
        /// Name that the set gives.
        name: String,
        /// Whether the business has no service template at all, like a business that does not exist.
        none_at_all: bool,
    },
    /// The business has no service template of that ID.
    #[error("business {biz_id} has no service template with ID {id}")]
    ServiceTemplateUnknown {
        /// `bk_biz_id`
        biz_id: i64,
        /// ID that the set gives.
        id: i64,
    },
    /// The service template that the set was created in is not listed any more. One list is no evidence that it is gone.
    #[error("business {biz_id} does not list service template {what} any more")]
    ServiceTemplateUnconfirmed {
        /// `bk_biz_id`
        biz_id: i64,
        /// The service template, by ID or name.
        what: String,
    },
    /// The service template that the set was created in is gone, and creates in it are undecided.
    #[error(
        "service template {id}, in which this set was created, is gone, and the outcome of creates in it is not known"
    )]
    FormerUndecided {
        /// `service_template_id`
        id: i64,
    },
    /// The service template that the set was created in has another name now.
    #[error("service template {id}, in which this set was created, is named {now:?} now, no longer {name:?}")]
    ServiceTemplateRenamed {
        /// `service_template_id`
        id: i64,
        /// Name that the set gives.
        name: String,
        /// Name that it has.
        now: String,
    },
    /// The set may not touch it through this connection.
    #[error("the connection grants this namespace {}business {biz_id}", not_granted(service_template.as_deref()))]
    NotGranted {
        /// `bk_biz_id`
        biz_id: i64,
        /// The service template, by name or ID; None: the whole business.
        service_template: Option<String>,
    },
    /// The category for a new service template does not exist.
    #[error("CMDB has no service category {category} for the new service template {name:?}")]
    CategoryMissing {
        /// The category, as the set names it.
        category: String,
        /// Name of the service template that is to be created.
        name: String,
    },
    /// The set is to be deleted, and its templates were made in another CMDB.
    #[error("the templates of this set were made in {made_in}, and its connection leads to {here} now")]
    EndpointChanged {
        /// Normalised URL of the CMDB that its status names.
        made_in: String,
        /// Normalised URL of the CMDB that its connection leads to.
        here: String,
    },
    /// The set's status could not be written, so nothing may be sent.
    #[error("the status could not be written: {0}")]
    Journal(String),
    /// The set or its connection has changed meanwhile; start again with what they are now.
    #[error("the set or its connection has changed meanwhile")]
    Outdated,
    /// The set's object would become too large to keep the IDs.
    #[error("the object would grow to {bytes} bytes, more than the {limit} that can be stored")]
    TooLarge {
        /// Size at the end, in bytes.
        bytes: usize,
        /// Limit, in bytes.
        limit: usize,
    },
    /// The operator is stopping, or this reconcile made no progress for too long.
    #[error("stopped between two calls")]
    Stopped,
}

/// What is to be done about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Start again at once.
    RetryNow,
    /// Time alone may correct it: try again, after this time if there is one.
    RetryLater(Option<Duration>),
    /// Only a person can correct it; reconcile again at the set's own interval.
    WaitForChange,
}

impl From<Arc<cmdb::Error>> for Error {
    fn from(error: Arc<cmdb::Error>) -> Self {
        match *error {
            cmdb::Error::Ending { .. } => Self::Stopped,
            cmdb::Error::NotGranted { refusal: cmdb::Refusal::ConnectionChanged, .. }
            | cmdb::Error::Authentication { were_replaced: true, .. } => Self::Outdated,
            _ => Self::Cmdb(error),
        }
    }
}

fn not_granted(service_template: Option<&str>) -> String {
    service_template.map_or_else(|| "nothing in ".to_owned(), |name| format!("no service template {name} of "))
}

impl Error {
    /// When to reconcile again, neither sooner nor later: an endpoint that is down is tried again then, or a call that was
    /// rate limited can start then.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        let Self::Cmdb(error) = self else { return None };
        match error.as_ref() {
            cmdb::Error::Unavailable { retry_after, .. } => *retry_after,
            cmdb::Error::Busy { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// Whether nothing has failed, and a call was only rate limited locally.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Cmdb(error) if matches!(**error, cmdb::Error::Busy { .. }))
    }

    /// What is to be done about it.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Cmdb(error) => match error.disposition() {
                cmdb::Disposition::RetryLater { after } => Disposition::RetryLater(after),
                cmdb::Disposition::WaitForChange => Disposition::WaitForChange,
            },
            Self::ServiceTemplateMissing { .. }
            | Self::FormerUndecided { .. }
            | Self::NotGranted { .. }
            | Self::Journal(_) => Disposition::RetryLater(None),
            Self::ServiceTemplateUnconfirmed { .. } => Disposition::RetryLater(Some(APART)),
            Self::Outdated | Self::Stopped => Disposition::RetryNow,
            Self::ServiceTemplateUnknown { .. }
            | Self::ServiceTemplateRenamed { .. }
            | Self::CategoryMissing { .. }
            | Self::EndpointChanged { .. }
            | Self::TooLarge { .. } => Disposition::WaitForChange,
        }
    }
}
