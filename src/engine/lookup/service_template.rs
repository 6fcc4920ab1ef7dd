//! Where a set's templates live: the service template, resolved anew from CMDB, never read from status.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::Instant;

use crate::api::{CategorySelector, CreateIfMissing};
use crate::cmdb::{Client, ServiceCategory, ServiceTemplate};
use crate::engine::other_sets::in_service_template;
use crate::engine::{Engine, Error, Freshness, Job, Progress, ReadRequest, SnapshotCache, cell};
use crate::plan::{OtherSet, Place, ServerSchema};

/// A CMDB that can be talked to.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Identity of the connection with its credentials: what one has read is not shown to another.
    pub key: String,
    /// The client.
    pub client: Client,
    /// How the server keeps sockets, if the connection says so.
    pub schema: ServerSchema,
}

/// One service template of one business in one CMDB, as one connection sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Identity of the connection with its credentials.
    pub connection: String,
    /// Normalised URL of the CMDB.
    pub endpoint: String,
    /// `bk_biz_id`
    pub biz_id: i64,
    /// `service_template_id`
    pub service_template_id: i64,
}

impl Scope {
    pub(in crate::engine) fn place(&self) -> Place {
        Place { endpoint: Some(self.endpoint.clone()), service_template_id: Some(self.service_template_id) }
    }

    // Whatever the connection: two of them may lead to one CMDB.
    pub(in crate::engine) fn writer_key(&self) -> String {
        format!("{} {} {}", self.endpoint, self.biz_id, self.service_template_id)
    }
}

/// Where a job's templates live.
pub(in crate::engine) struct Resolved {
    /// The service template.
    pub scope: Scope,
    /// Its name.
    pub name: String,
    /// The other sets that live there.
    pub other_sets: Vec<OtherSet>,
    /// How to look on.
    pub look: ReadRequest,
}

/// The service templates of each business that somebody asks for, by (connection, business).
pub type ServiceTemplates = SnapshotCache<(String, i64), Vec<ServiceTemplate>>;

/// The service categories of each business, likewise.
pub type ServiceCategories = SnapshotCache<(String, i64), Vec<ServiceCategory>>;

impl Engine {
    /// Finds the service template of a job, creates it where the set wishes it, and tells which other sets live there.
    pub(in crate::engine) async fn resolve(
        &self,
        job: &Job,
        look: ReadRequest,
        progress: &Progress,
    ) -> Result<Resolved, Error> {
        progress.checkpoint()?;
        job.check_grant(None, None)?;
        let begun = Instant::now();
        let (mut known, mut look) = self.known_service_templates(job, look, progress).await?;
        if find(job, &known).is_err() {
            // A list that was read for others may be older than what was made since.
            (known, look) = self.known_service_templates(job, look.since(begun), progress).await?;
        }
        let found = find(job, &known);
        if found.is_err() {
            // Whoever may not touch it is not told whether there is one.
            job.check_grant(job.service_template.id, job.service_template.name.as_deref())?;
        }
        let service_template_id = match found? {
            Some(id) => id,
            None if job.is_read_only => return Err(missing(job, &known)),
            None => self.create_service_template(job, progress).await?,
        };
        let name = known.iter().find(|template| template.id == service_template_id).map(|template| &template.name);
        // What was just created has the name that the set gives.
        let name = name.or(job.service_template.name.as_ref());
        job.check_grant(Some(service_template_id), name.map(String::as_str))?;

        let name = name.map(String::as_str);
        let other_sets = in_service_template(&job.others, job.biz_id, service_template_id, name);
        let scope = Scope {
            connection: job.connection.key.clone(),
            endpoint: job.connection.client.url().to_owned(),
            biz_id: job.biz_id,
            service_template_id,
        };
        Ok(Resolved { scope, other_sets, name: name.unwrap_or_default().to_owned(), look })
    }

    async fn known_service_templates(
        &self,
        job: &Job,
        look: ReadRequest,
        progress: &Progress,
    ) -> Result<(Arc<Vec<ServiceTemplate>>, ReadRequest), Error> {
        let key = (job.connection.key.clone(), job.biz_id);
        let has_read = AtomicBool::new(false);
        let read = async {
            has_read.store(true, Ordering::Relaxed);
            job.connection.client.list_service_templates(look.priority, job.biz_id).await
        };
        let templates = cell(&self.service_templates, key);
        let known = progress.excluding_wait(templates.get(look.freshness.not_before(), read)).await?.value;
        Ok((known, if has_read.load(Ordering::Relaxed) { look.has_begun() } else { look }))
    }

    // Names of service templates are unique in a business, in the database too: what was stored is found by name.
    async fn create_service_template(&self, job: &Job, progress: &Progress) -> Result<i64, Error> {
        let client = &job.connection.client;
        let writer_key = format!("{} {}", client.url(), job.biz_id);
        let _write_guard = progress.excluding_wait(self.write_locks.take(&writer_key)).await;
        progress.checkpoint()?;
        let look = ReadRequest::interactive(Freshness::AtMost(crate::engine::WRITE_FRESHNESS));
        let (known, _) = self.known_service_templates(job, look, progress).await?;
        if let Some(id) = find(job, &known)? {
            return Ok(id);
        }
        let (Some(name), Some(wish)) = (&job.service_template.name, &job.service_template.create_if_missing) else {
            return Err(missing(job, &known));
        };
        let category_id = self.category(job, name, wish, progress).await?;
        progress.checkpoint()?;
        let cell = cell(&self.service_templates, (job.connection.key.clone(), job.biz_id));
        job.check_grant(None, Some(name))?;
        match progress.excluding_wait(client.create_service_template(job.biz_id, name, category_id)).await {
            Ok(created) => {
                let id = created.id;
                progress.excluding_wait(cell.fold(|known| known.push(created))).await;
                Ok(id)
            }
            Err(error) => {
                progress.excluding_wait(cell.forget()).await;
                Err(Arc::new(error).into())
            }
        }
    }

    async fn category(&self, job: &Job, name: &str, wish: &CreateIfMissing, progress: &Progress) -> Result<i64, Error> {
        let CategorySelector { id, parent, name: leaf } = &wish.category;
        if let Some(id) = id {
            return Ok(*id);
        }
        let (parent, leaf) = (parent.as_deref().unwrap_or_default(), leaf.as_deref().unwrap_or_default());
        let key = (job.connection.key.clone(), job.biz_id);
        let read = job.connection.client.list_service_categories(job.biz_id);
        let not_before = Freshness::AtMost(crate::engine::WRITE_FRESHNESS).not_before();
        let categories = cell(&self.service_categories, key);
        let known = progress.excluding_wait(categories.get(not_before, read)).await?.value;
        let is_parent = |id: i64| known.iter().any(|category| category.id == id && category.name == parent);
        let found = known.iter().find(|category| category.name == leaf && is_parent(category.bk_parent_id));
        found
            .map(|category| category.id)
            .ok_or_else(|| Error::CategoryMissing { category: format!("{parent:?} / {leaf:?}"), name: name.to_owned() })
    }
}

// None: it does not exist, and may be created.
fn find(job: &Job, known: &[ServiceTemplate]) -> Result<Option<i64>, Error> {
    let selector = &job.service_template;
    if let Some(id) = selector.id {
        let exists = known.iter().any(|template| template.id == id);
        let unknown = Error::ServiceTemplateUnknown { biz_id: job.biz_id, id };
        return if exists { Ok(Some(id)) } else { Err(unknown) };
    }
    let name = selector.name.as_deref().unwrap_or_default();
    if let Some(template) = known.iter().find(|template| template.name == name) {
        return Ok(Some(template.id));
    }
    // In another CMDB, an ID that we remember is a stranger's.
    let same_endpoint = job.made_in.endpoint.as_deref() == Some(job.connection.client.url());
    let remembered = job.made_in.service_template_id.filter(|_| same_endpoint);
    if let Some(renamed) = known.iter().find(|template| Some(template.id) == remembered) {
        let (name, now) = (name.to_owned(), renamed.name.clone());
        return Err(Error::ServiceTemplateRenamed { id: renamed.id, name, now });
    }
    if selector.create_if_missing.is_some() { Ok(None) } else { Err(missing(job, known)) }
}

fn missing(job: &Job, known: &[ServiceTemplate]) -> Error {
    let name = job.service_template.name.clone().unwrap_or_default();
    Error::ServiceTemplateMissing { biz_id: job.biz_id, name, none_at_all: known.is_empty() }
}
