//! The client: one method for each call.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::audit::Subject;
use super::wire::{Ids, List};
use super::{
    Behalf, Config, Error, Observer, Operation, Priority, ProcessTemplate, Properties, ServiceCategory,
    ServiceTemplate, Transport, UserCredential,
};
use crate::cmdb::http::sender::Sender;

/// Service templates per page: the most that CMDB documents.
const PAGE: usize = 500;

/// A client of one CMDB. Clones share everything.
#[derive(Clone)]
pub struct Client {
    sender: Arc<Sender>,
    behalf: Arc<Behalf>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Client").field("url", &self.url()).finish_non_exhaustive()
    }
}

impl Client {
    /// A client. It sends nothing yet.
    ///
    /// # Errors
    /// [`Error::Configuration`] when the URL cannot be used.
    pub fn new(config: Config, observer: Arc<dyn Observer>) -> Result<Self, Error> {
        Ok(Self { sender: Arc::new(Sender::new(config, observer)?), behalf: Arc::default() })
    }

    /// A client that gets scripted answers.
    #[cfg(test)]
    pub(in crate::cmdb) fn scripted(
        config: Config,
        observer: Arc<dyn Observer>,
        script: super::http::scripted::Script,
    ) -> Result<Self, Error> {
        let http = super::http::http_client::HttpClient::scripted(script);
        Ok(Self { sender: Arc::new(Sender::with(config, http, observer)?), behalf: Arc::default() })
    }

    /// A client whose writes are made for this object, as the audit log says.
    #[must_use]
    pub fn on_behalf_of(&self, behalf: Behalf) -> Self {
        Self { sender: Arc::clone(&self.sender), behalf: Arc::new(behalf) }
    }

    /// Normalised base URL.
    #[must_use]
    pub fn url(&self) -> &str {
        self.sender.url()
    }

    /// How CMDB is reached.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.sender.transport()
    }

    /// `bk_username`. `None`: the credentials have a token.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        match &self.sender.login().credentials.user {
            UserCredential::Username(name) => Some(name.clone()),
            UserCredential::Token(_) | UserCredential::AccessToken(_) => None,
        }
    }

    /// Replaces the login by that of another client of the same URL and transport: credentials, client certificate and
    /// limiter. All requests from now on use it, also the retries of calls in flight.
    pub fn switch_login(&self, other: &Self) {
        self.sender.switch_login(&other.sender);
    }

    /// The present rate, in requests per second: adapted to the server, at most the limit, and 0 while its quota is
    /// exhausted.
    #[must_use]
    pub fn learned_rate(&self) -> f64 {
        self.sender.login().limiter.rate()
    }

    /// Creates process templates: all or none (CMDB 3.9.17). Returns the IDs of the answer. When CMDB repeated its
    /// transaction they may be more than were sent, and only a list shows which exist.
    pub async fn create_process_templates(
        &self,
        biz_id: i64,
        service_template_id: i64,
        specs: &[Properties],
    ) -> Result<Vec<i64>, Error> {
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
        self.sender
            .write(operation, &parameters, (&self.behalf, subject), |ids: &Ids| ids.0.clone())
            .await
            .map(|ids| ids.0)
    }

    /// Replaces the values of the given properties; CMDB ignores `bk_func_name`. CMDB does not check the business: the
    /// caller has seen the template in its list, under this name. Returns the updated template.
    pub async fn update_process_template(
        &self,
        biz_id: i64,
        service_template_id: i64,
        (id, name): (i64, &str),
        properties: &Properties,
    ) -> Result<ProcessTemplate, Error> {
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
        let ids = |updated: &ProcessTemplate| vec![updated.id];
        self.sender.write(operation, &parameters, (&self.behalf, subject), ids).await
    }

    /// Deletes process templates: all or none. An ID that does not exist, or is given twice, fails the whole call. CMDB
    /// does not check the business: the caller has seen the templates in its list, under these names.
    pub async fn delete_process_templates(
        &self,
        biz_id: i64,
        service_template_id: i64,
        templates: &[(i64, &str)],
    ) -> Result<(), Error> {
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
        self.sender.write(operation, &parameters, (&self.behalf, subject), |_: &IgnoredAny| ids).await.map(drop)
    }

    /// Lists the process templates of a service template, by ascending ID.
    pub async fn list_process_templates(
        &self,
        priority: Priority,
        biz_id: i64,
        service_template_id: i64,
    ) -> Result<Vec<ProcessTemplate>, Error> {
        let parameters = object([("bk_biz_id", biz_id.into()), ("service_template_id", service_template_id.into())]);
        let operation = Operation::ListProcessTemplates;
        let list: List<ProcessTemplate> = self.sender.read(operation, priority, &parameters).await?;
        let mut found = list.info;
        found.sort_by_key(|template| template.id);
        Ok(found)
    }

    /// Lists the service templates of a business, all pages.
    pub async fn list_service_templates(&self, priority: Priority, biz_id: i64) -> Result<Vec<ServiceTemplate>, Error> {
        let mut found: BTreeMap<i64, ServiceTemplate> = BTreeMap::new();
        let mut priority = priority;
        loop {
            let (before, page) = (found.len(), json!({ "start": found.len(), "limit": PAGE, "sort": "id" }));
            let parameters = object([("bk_biz_id", biz_id.into()), ("page", page)]);
            let operation = Operation::ListServiceTemplates;
            let list: List<ServiceTemplate> = self.sender.read(operation, priority, &parameters).await?;
            // A poll that is rejected between two pages would have to start from the first.
            priority = Priority::Interactive;
            let is_last = list.info.len() < PAGE;
            found.extend(list.info.into_iter().map(|template| (template.id, template)));
            let has_all = list.count.is_some_and(|count| found.len() as u64 >= count);
            // A server that ignores `start` returns the same page each time.
            if is_last || has_all || found.len() == before {
                return Ok(found.into_values().collect());
            }
        }
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
        let ids = |created: &ServiceTemplate| vec![created.id];
        self.sender.write(operation, &parameters, (&self.behalf, subject), ids).await
    }

    /// Checks that CMDB is reachable and accepts the credentials, by a read that every user may make. An error of CMDB
    /// itself about the business counts as success: the business may be 0.
    pub async fn check(&self, biz_id: i64) -> Result<(), Error> {
        match self.list_service_categories(biz_id).await {
            Ok(_) | Err(Error::Invalid { .. } | Error::NotFound { .. } | Error::Conflict { .. }) => Ok(()),
            // The permission to see a business is not checked here.
            Err(Error::Permission { reply }) if reply.is_from_cmdb() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes the read of [`check`](Self::check) without retries, and returns its error as it is, whichever server
    /// answered.
    pub async fn try_once(&self, biz_id: i64) -> Result<(), Error> {
        let parameters = object([("bk_biz_id", biz_id.into())]);
        let tried = self.sender.read_once::<List<IgnoredAny>>(Operation::ListServiceCategories, &parameters).await;
        tried.map(|_| ())
    }

    /// The version of CMDB, as its own API server reports it. `None` over other transports, and when it does not
    /// answer.
    pub async fn version(&self) -> Option<String> {
        self.sender.version().await
    }

    /// Lists the service categories that a business can use.
    pub async fn list_service_categories(&self, biz_id: i64) -> Result<Vec<ServiceCategory>, Error> {
        let operation = Operation::ListServiceCategories;
        let parameters = object([("bk_biz_id", biz_id.into())]);
        let list: List<ServiceCategory> = self.sender.read(operation, Priority::Interactive, &parameters).await?;
        Ok(list.info)
    }
}

fn object<const N: usize>(entries: [(&str, Value); N]) -> Map<String, Value> {
    entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn process_name(spec: &Properties) -> Option<String> {
    spec.get("bk_process_name")?.value.as_str().map(str::to_owned)
}
