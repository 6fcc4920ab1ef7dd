//! The client as one set uses it: one method for each call.

use std::sync::Arc;

use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::audit::Subject;
use super::evidence::{Scoped as _, check_object, check_scopes};
use super::grants::Authority;
use super::intake::list_budget::ListShare;
use super::kept::{KeptForm, Listed};
use super::limits::lanes::Lanes;
use super::limits::wait::Wait;
use super::whole_list::{Form, WholeList};
use super::wire::{Ids, List};
use super::{
    Behalf, Client, Error, Grants, Operation, Priority, ProcessTemplate, Properties, SentAt, ServiceCategory,
    ServiceTemplate, ServiceTemplateRef, Touched, UserCredential,
};
use crate::cmdb::http::sender::Sender;

/// A client that one set was given, with what it may touch: all calls that are made for a set. Each asks the grants just
/// before each request is sent, after the wait for the limiter and before each retry. What they refuse is not sent, and the
/// call fails with [`Error::NotGranted`]. Clones share everything.
#[derive(Clone, Debug)]
pub struct GrantedClient {
    client: Client,
    grants: Arc<dyn Grants>,
    behalf: Arc<Behalf>,
    wait: Wait,
}

impl GrantedClient {
    /// A client as one set uses it, within these grants; the audit log names the set, and calls queue in the lane of its
    /// namespace.
    #[must_use]
    pub fn new(client: Client, grants: Arc<dyn Grants>, behalf: Behalf) -> Self {
        let wait = Wait { lanes: Lanes::of(&behalf.namespace), ..Wait::default() };
        Self { client, grants, behalf: Arc::new(behalf), wait }
    }

    /// The same whose calls queue in these lanes.
    #[must_use]
    pub fn in_lanes(&self, lanes: Lanes) -> Self {
        Self { wait: Wait { lanes, ..self.wait.clone() }, ..self.clone() }
    }

    /// The same whose calls wait in the queue until this is cancelled. A call in flight is not cancelled.
    #[must_use]
    pub fn waiting_until(&self, superseded: CancellationToken) -> Self {
        Self { wait: Wait { superseded, ..self.wait.clone() }, ..self.clone() }
    }

    /// The same for one write, which notes here when it is sent.
    #[must_use]
    pub fn noting(&self, sent_at: &SentAt) -> Self {
        Self { wait: Wait { sent_at: sent_at.clone(), ..self.wait.clone() }, ..self.clone() }
    }

    /// Namespace of the set.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.behalf.namespace
    }

    /// The client of the connection, which acts for no set.
    #[must_use]
    pub fn bare(&self) -> &Client {
        &self.client
    }

    /// What the set may touch.
    #[must_use]
    pub fn grants(&self) -> &Arc<dyn Grants> {
        &self.grants
    }

    /// Normalised base URL.
    #[must_use]
    pub fn url(&self) -> &str {
        self.client.url()
    }

    /// `bk_username`. `None`: the credentials have a token.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        match &self.sender().login().credentials.user {
            UserCredential::Username(name) => Some(name.clone()),
            UserCredential::Token(_) | UserCredential::AccessToken(_) => None,
        }
    }

    /// Creates process templates: all or none (CMDB 3.9.17). Returns the IDs of the answer. When CMDB repeated its
    /// transaction they may be more than were sent, and only a list shows which exist.
    pub async fn create_process_templates(
        &self,
        service_template: ServiceTemplateRef<'_>,
        specs: &[Properties],
    ) -> Result<Vec<i64>, Error> {
        let ServiceTemplateRef { biz_id, id: service_template_id, .. } = service_template;
        let processes: Vec<Value> = specs.iter().map(|spec| json!({ "spec": spec })).collect();
        let parameters = object([
            ("bk_biz_id", biz_id.into()),
            ("service_template_id", service_template_id.into()),
            ("processes", processes.into()),
        ]);
        let process_names = specs.iter().filter_map(process_name).collect();
        let subject =
            Subject { biz_id, service_template_id: Some(service_template_id), process_names, ..Subject::default() };
        let operation = Operation::CreateProcessTemplates;
        let authority = self.authority(service_template.touched());
        let ids = |ids: &Ids| Ok(ids.0.clone());
        self.sender().write(operation, &parameters, authority, (&self.behalf, subject), ids).await.map(|ids| ids.0)
    }

    /// Replaces the values of the given properties; CMDB ignores `bk_func_name`. CMDB does not check the business: the
    /// caller has seen the template in its list, under this name. Returns the updated template.
    pub async fn update_process_template(
        &self,
        service_template: ServiceTemplateRef<'_>,
        (id, name): (i64, &str),
        properties: &Properties,
    ) -> Result<ProcessTemplate, Error> {
        let ServiceTemplateRef { biz_id, id: service_template_id, .. } = service_template;
        let parameters = object([
            ("bk_biz_id", biz_id.into()),
            ("process_template_id", id.into()),
            ("process_property", json!(properties)),
        ]);
        let subject = Subject {
            biz_id,
            service_template_id: Some(service_template_id),
            ids: vec![id],
            process_names: vec![name.to_owned()],
            properties: properties.keys().cloned().collect(),
            ..Subject::default()
        };
        let operation = Operation::UpdateProcessTemplate;
        let touched = service_template.touched();
        let authority = self.authority(touched);
        let ids = |updated: &ProcessTemplate| {
            check_object("process template", &id, &updated.id)?;
            updated.check_scope(touched)?;
            Ok(vec![updated.id])
        };
        self.sender().write(operation, &parameters, authority, (&self.behalf, subject), ids).await
    }

    /// Deletes process templates: all or none. An ID that does not exist, or is given twice, fails the whole call. CMDB
    /// does not check the business: the caller has seen the templates in its list, under these names.
    pub async fn delete_process_templates(
        &self,
        service_template: ServiceTemplateRef<'_>,
        templates: &[(i64, &str)],
    ) -> Result<(), Error> {
        let ServiceTemplateRef { biz_id, id: service_template_id, .. } = service_template;
        let ids: Vec<i64> = templates.iter().map(|(id, _)| *id).collect();
        let parameters = object([("bk_biz_id", biz_id.into()), ("process_templates", ids.clone().into())]);
        let subject = Subject {
            biz_id,
            service_template_id: Some(service_template_id),
            ids: ids.clone(),
            process_names: templates.iter().map(|(_, name)| (*name).to_owned()).collect(),
            ..Subject::default()
        };
        let operation = Operation::DeleteProcessTemplates;
        let authority = self.authority(service_template.touched());
        let deleted = |_: &IgnoredAny| Ok(ids);
        self.sender().write(operation, &parameters, authority, (&self.behalf, subject), deleted).await.map(drop)
    }

    /// Lists the process templates of a service template, by ascending ID: all of them. For a program that holds one list at a
    /// time: its memory is not counted from now on.
    ///
    /// # Errors
    /// Those of the call; and when the list is not whole, or not of this service template.
    pub async fn list_process_templates(
        &self,
        priority: Priority,
        service_template: ServiceTemplateRef<'_>,
    ) -> Result<Vec<ProcessTemplate>, Error> {
        self.hold_process_templates(priority, service_template).await.map(|(listed, _)| listed)
    }

    /// The same in a form of the caller's, with its share of the memory for lists, which has to be kept as long as the list.
    ///
    /// # Errors
    /// Those of [`Self::list_process_templates`].
    pub async fn hold_process_templates<T: KeptForm>(
        &self,
        priority: Priority,
        service_template: ServiceTemplateRef<'_>,
    ) -> Result<(Vec<T>, ListShare), Error> {
        let ServiceTemplateRef { biz_id, id: service_template_id, .. } = service_template;
        let parameters = object([("bk_biz_id", biz_id.into()), ("service_template_id", service_template_id.into())]);
        let list = self.whole_list(Operation::ListProcessTemplates, service_template.touched(), parameters);
        let (listed, share) = list.read::<Listed<T>>(Form::AtOnce, priority).await?;
        Ok((listed.into_iter().map(|listed| listed.form).collect(), share))
    }

    /// Lists the service templates of a business, by ascending ID: all of them.
    ///
    /// # Errors
    /// Those of the call; and when the list is not whole, or not of this business.
    pub async fn list_service_templates(&self, priority: Priority, biz_id: i64) -> Result<Vec<ServiceTemplate>, Error> {
        self.hold_service_templates(priority, biz_id).await.map(|(listed, _)| listed)
    }

    /// The same, with its share of the memory for lists.
    ///
    /// # Errors
    /// Those of [`Self::list_service_templates`].
    pub async fn hold_service_templates(
        &self,
        priority: Priority,
        biz_id: i64,
    ) -> Result<(Vec<ServiceTemplate>, ListShare), Error> {
        let parameters = object([("bk_biz_id", biz_id.into())]);
        let list = self.whole_list(Operation::ListServiceTemplates, Touched::business(biz_id), parameters);
        list.read(Form::Paged, priority).await
    }

    /// Lists the service template of this ID: one or none.
    ///
    /// # Errors
    /// As for [`Self::list_service_templates`].
    pub async fn list_service_template(&self, biz_id: i64, id: i64) -> Result<Vec<ServiceTemplate>, Error> {
        let parameters = object([("bk_biz_id", biz_id.into()), ("service_template_ids", json!([id]))]);
        let list = self.whole_list(Operation::ListServiceTemplates, Touched::business(biz_id), parameters);
        let (mut found, _share) = list.read(Form::Paged, Priority::Interactive).await?;
        // A server that does not know the filter lists all.
        found.retain(|template: &ServiceTemplate| template.id == id);
        found.shrink_to_fit();
        Ok(found)
    }

    /// Creates a service template.
    pub async fn create_service_template(
        &self,
        biz_id: i64,
        name: &str,
        category_id: i64,
    ) -> Result<ServiceTemplate, Error> {
        let parameters =
            object([("bk_biz_id", biz_id.into()), ("name", name.into()), ("service_category_id", category_id.into())]);
        let service_template = Some(name.to_owned());
        let subject = Subject { biz_id, service_template, ..Subject::default() };
        let operation = Operation::CreateServiceTemplate;
        let touched = Touched { biz_id, service_template_id: None, service_template_name: Some(name) };
        let authority = self.authority(touched);
        let ids = |created: &ServiceTemplate| {
            created.check_scope(touched)?;
            // CMDB cuts blanks off.
            check_object("service template", name.trim(), created.name.trim())?;
            Ok(vec![created.id])
        };
        self.sender().write(operation, &parameters, authority, (&self.behalf, subject), ids).await
    }

    /// Lists the service categories that a business can use.
    pub async fn list_service_categories(&self, biz_id: i64) -> Result<Vec<ServiceCategory>, Error> {
        self.hold_service_categories(biz_id).await.map(|(listed, _)| listed)
    }

    /// The same, with its share of the memory for lists.
    pub async fn hold_service_categories(&self, biz_id: i64) -> Result<(Vec<ServiceCategory>, ListShare), Error> {
        let operation = Operation::ListServiceCategories;
        let parameters = object([("bk_biz_id", biz_id.into())]);
        let touched = Touched::business(biz_id);
        let read = self.sender().read(operation, Priority::Interactive, &parameters, self.authority(touched));
        let mut list: List<ServiceCategory> = read.await?;
        check_scopes(&list.info, touched).map_err(|odd| odd.error_of(operation))?;
        list.share.finish();
        Ok((list.info, list.share))
    }

    fn sender(&self) -> &Sender {
        self.client.sender()
    }

    fn whole_list<'a>(
        &'a self,
        operation: Operation,
        touched: Touched<'a>,
        parameters: Map<String, Value>,
    ) -> WholeList<'a> {
        let (sender, page_limit) = (self.sender(), self.client.page_limit());
        WholeList { sender, page_limit, operation, touched, authority: self.authority(touched), parameters }
    }

    fn authority<'a>(&'a self, touched: Touched<'a>) -> Authority<'a> {
        Authority::new(&*self.grants, touched, &self.wait)
    }
}

fn object<const N: usize>(entries: [(&str, Value); N]) -> Map<String, Value> {
    entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn process_name(spec: &Properties) -> Option<String> {
    spec.get("bk_process_name")?.value.as_str().map(str::to_owned)
}
