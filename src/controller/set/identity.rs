//! Which set a reconcile is about.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::status::compose::Subject;
use crate::api::{ProcessTemplateSet, RECONCILE_REQUESTED_AT};
use crate::cmdb::Behalf;
use crate::controller::connection::name::ConnectionName;
use crate::controller::connection::set_connection::User;
use crate::controller::kubernetes::retry_state::{RetryState, StateHandle};
use crate::controller::kubernetes::status_writer::Target;
use crate::controller::names::ObjectName;
use crate::plan::SetName;

/// A set in its reconcile: the object, its names, and the controller's own state of it.
#[derive(Debug)]
pub struct CurrentSet<'a> {
    /// The object, as it is reconciled.
    pub object: &'a ProcessTemplateSet,
    /// Namespace and name.
    pub name: ObjectName,
    /// uid.
    pub uid: String,
    /// Generation of the spec.
    pub generation: i64,
    /// The connection that it uses.
    pub connection: ConnectionName,
    /// Backoff, and what this process has seen of it.
    pub state: StateHandle<'a>,
}

impl<'a> CurrentSet<'a> {
    /// The set of this object.
    pub fn new(object: &'a ProcessTemplateSet, states: &'a RetryState) -> Self {
        let name = ObjectName { namespace: object.namespace().unwrap_or_default(), name: object.name_any() };
        let uid = object.uid().unwrap_or_default();
        Self {
            object,
            state: states.of(&name, &uid),
            connection: ConnectionName::of_set(&name.namespace, &object.spec),
            generation: generation(object),
            name,
            uid,
        }
    }

    /// Its name, as the planner and its temporary names use it.
    pub fn set_name(&self) -> SetName {
        SetName { namespace: self.name.namespace.clone(), name: self.name.name.clone() }
    }

    /// The set as the user of its connection.
    pub fn user(&self) -> User<'_> {
        let ObjectName { namespace, name } = self.name.clone();
        let behalf = Behalf { namespace, name, uid: self.uid.clone() };
        User { set: &self.name, behalf, name: &self.connection, biz_id: self.object.spec.biz_id }
    }

    /// What the next status is about.
    pub fn subject(&self) -> Subject {
        Subject {
            generation: self.generation,
            keys: self.object.spec.processes.iter().map(|process| process.name.clone()).collect(),
            previous: self.object.status.clone().unwrap_or_default(),
            is_new: self.state.has_made_nothing(),
            requested_at: self.requested_at().cloned(),
            now: Time(Timestamp::now()),
        }
    }

    /// Where its status is written to.
    pub fn target(&self) -> Target {
        Target::of(self.object)
    }

    /// Normalised URL of the CMDB that it was reconciled with last, as its status says.
    pub fn made_in(&self) -> Option<&str> {
        self.object.status.as_ref()?.endpoint.as_deref()
    }

    /// Notes what it reaches, if it was reconciled before.
    pub fn note_reach(&self) {
        if let Some(made_in) = self.made_in() {
            self.state.note_reach(self.object.spec.biz_id, &self.object.spec.service_template, made_in);
        }
    }

    /// Whether somebody has requested a reconcile that the status does not answer yet.
    pub fn is_reconcile_requested(&self) -> bool {
        let status = self.object.status.as_ref();
        self.requested_at() != status.and_then(|status| status.last_handled_reconcile_at.as_ref())
    }

    /// Value of the annotation that requests a reconcile.
    pub fn requested_at(&self) -> Option<&String> {
        self.object.annotations().get(RECONCILE_REQUESTED_AT)
    }
}

/// Generation of a set's spec.
pub fn generation(set: &ProcessTemplateSet) -> i64 {
    set.metadata.generation.unwrap_or_default()
}
