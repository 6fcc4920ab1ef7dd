//! What a set may ask CMDB for. A [`GrantedClient`](super::GrantedClient) asks it before each request that it sends, because
//! a grant may be taken back at any moment.

use std::fmt::Debug;

use super::limits::wait::Wait;
use super::{Error, Operation, Refusal};

/// What is about to be listed or written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touched<'a> {
    /// `bk_biz_id`
    pub biz_id: i64,
    /// `service_template_id`. None without a name: the list of the business. None with a name: a service template that is to
    /// be created.
    pub service_template_id: Option<i64>,
    /// Name of the service template.
    pub service_template_name: Option<&'a str>,
}

impl Touched<'static> {
    /// The lists of a business.
    #[must_use]
    pub fn business(biz_id: i64) -> Self {
        Self { biz_id, service_template_id: None, service_template_name: None }
    }
}

/// A service template that a call names, as the list of its business shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceTemplateRef<'a> {
    /// `bk_biz_id`
    pub biz_id: i64,
    /// `service_template_id`
    pub id: i64,
    /// Its name.
    pub name: &'a str,
}

impl<'a> ServiceTemplateRef<'a> {
    pub(super) fn touched(self) -> Touched<'a> {
        Touched { biz_id: self.biz_id, service_template_id: Some(self.id), service_template_name: Some(self.name) }
    }
}

/// Says what a set may touch.
pub trait Grants: Debug + Send + Sync {
    /// Why it may not touch this, now. None: it may.
    fn refusal(&self, touched: Touched<'_>) -> Option<Refusal>;

    /// Whether it may touch this, now.
    fn cover(&self, touched: Touched<'_>) -> bool {
        self.refusal(touched).is_none()
    }
}

/// No bounds but those of the credentials.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unbounded;

impl Grants for Unbounded {
    fn refusal(&self, _: Touched<'_>) -> Option<Refusal> {
        None
    }
}

/// The right to make one call: asked before each of its requests; and how the call waits for the limiter.
#[derive(Clone, Copy)]
pub(super) struct Authority<'a> {
    grants: &'a dyn Grants,
    touched: Touched<'a>,
    wait: &'a Wait,
}

impl<'a> Authority<'a> {
    /// The right to touch this, as far as these grants cover it.
    pub fn new(grants: &'a dyn Grants, touched: Touched<'a>, wait: &'a Wait) -> Self {
        Self { grants, touched, wait }
    }

    /// The right of a connection to find out whether CMDB takes its credentials.
    pub fn own() -> Self {
        Self { grants: &Unbounded, touched: Touched::business(0), wait: Wait::of_none() }
    }

    /// How the call waits.
    pub fn wait(self) -> &'a Wait {
        self.wait
    }

    /// Whether a request may be sent now.
    pub fn check(self, operation: Operation) -> Result<(), Error> {
        match self.grants.refusal(self.touched) {
            None => Ok(()),
            Some(refusal) => Err(Error::NotGranted { operation, refusal }),
        }
    }
}
