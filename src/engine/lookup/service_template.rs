//! Where a set's templates live: the service template, resolved from CMDB at every reconcile and never read from status.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::Instant;

use super::absences::{Absences, Sought};
use super::read_request::{Freshness, ReadRequest};
use super::snapshot_cache::{Snapshot, SnapshotCache};
use crate::api::{CategorySelector, CreateIfMissing};
use crate::cmdb::{ServiceCategory, ServiceTemplate};
use crate::engine::error::Error;
use crate::engine::job::Job;
use crate::engine::progress::Progress;
use crate::engine::scope::{Scope, object_of};
use crate::engine::write::write_locks::WriteLocks;
use crate::plan::OtherSet;

/// Where a job's templates live.
pub struct Resolved {
    /// The service template.
    pub scope: Scope,
    /// Its name.
    pub name: String,
    /// The other sets that live there.
    pub other_sets: Vec<OtherSet>,
    /// How to read on.
    pub request: ReadRequest,
}

/// Whether a service template is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is, under this name.
    There(String),
    /// It is gone: two lists do not show it, the last of all and by its ID.
    Gone,
}

// A business, as one connection sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Business {
    connection: String,
    biz_id: i64,
}

// Size of the lists that are kept without a reader, in bytes.
const KEPT_SERVICE_TEMPLATES: usize = 2 << 20;
const KEPT_CATEGORIES: usize = 1 << 20;

/// The service templates of each business, and its categories.
#[derive(Debug)]
pub struct ServiceTemplates {
    templates: SnapshotCache<Business, Vec<ServiceTemplate>>,
    categories: SnapshotCache<Business, Vec<ServiceCategory>>,
    // Those that sets do not find any more.
    absences: Absences,
    // By CMDB and business: one service template is created at a time.
    write_locks: WriteLocks<String>,
}

impl Default for ServiceTemplates {
    fn default() -> Self {
        Self {
            templates: SnapshotCache::keeping(KEPT_SERVICE_TEMPLATES),
            categories: SnapshotCache::keeping(KEPT_CATEGORIES),
            absences: Absences::default(),
            write_locks: WriteLocks::default(),
        }
    }
}

impl ServiceTemplates {
    /// Finds the service template of a job, creates it where the set asks for that, and finds the other sets that live
    /// there.
    ///
    /// # Errors
    /// When there is none, when the set may not touch it, and those of the calls.
    pub async fn resolve(&self, job: &Job, request: ReadRequest, progress: &Progress) -> Result<Resolved, Error> {
        progress.checkpoint()?;
        job.check_grant(None, None)?;

        // Find it. A list that was read for another set may be older than the service template.
        let started = Instant::now();
        let (mut known, mut request) = self.known(job, request, progress).await?;
        if find(job, &known.value).is_err() {
            drop(known);
            (known, request) = self.known(job, request.since(started), progress).await?;
        }
        let found = find(job, &known.value);

        // A set that may not touch it must not learn whether it exists; nor may it queue for the creation.
        if !matches!(found, Ok(Some(_))) {
            job.check_grant(job.service_template.id, job.service_template.name.as_deref())?;
        }

        // Create it where it is missing.
        let (id, name) = match found? {
            Some(id) => {
                let name = known.value.iter().find(|template| template.id == id).map(|template| template.name.clone());
                drop(known);
                (id, name)
            }
            None if job.is_read_only => return Err(missing(job, &known.value)),
            None => {
                drop(known);
                (self.create(job, progress).await?, None)
            }
        };
        // What was just created has the name that the set gives.
        let name = name.as_ref().or(job.service_template.name.as_ref()).map(String::as_str);
        job.check_grant(Some(id), name)?;
        self.absences.end(&job.set, id);

        // Find the other sets.
        let other_sets = job.other_sets(id, name).await;
        Ok(Resolved { scope: job.scope(id), other_sets, name: name.unwrap_or_default().to_owned(), request })
    }

    /// Whether a service template is still there: by its ID where that is known, else by the name that the set gives.
    ///
    /// # Errors
    /// [`Error::ServiceTemplateUnconfirmed`] until lists that are some seconds apart have not shown it; and those of the calls.
    pub async fn standing(&self, job: &Job, id: Option<i64>, progress: &Progress) -> Result<Standing, Error> {
        let asked_at = Instant::now();
        let own_name = job.service_template.name.as_deref();
        let is_it = |template: &&ServiceTemplate| match id {
            Some(id) => template.id == id,
            None => own_name == Some(template.name.as_str()),
        };

        // All of the business.
        let request = ReadRequest::interactive(Freshness::Since(asked_at));
        let (known, _) = self.known(job, request, progress).await?;
        let mut found = known.value.iter().find(is_it).cloned();
        drop(known);

        // By the ID.
        if let (None, Some(id)) = (&found, id) {
            progress.checkpoint()?;
            let client = &job.connection.client;
            let listed = progress.excluding_wait(client.list_service_template(job.biz_id, id)).await;
            found = listed.map_err(|error| job.error_of(Arc::new(error)))?.into_iter().next();
            job.check_grant(None, None)?;
        }

        if let Some(found) = found {
            self.absences.end(&job.set, found.id);
            return Ok(Standing::There(found.name));
        }
        let sought = Sought { endpoint: job.connection.client.url().to_owned(), id };
        if self.absences.note(&job.set, &sought, asked_at) {
            return Ok(Standing::Gone);
        }
        let what = id.map(|id| id.to_string()).or(own_name.map(|name| format!("{name:?}"))).unwrap_or_default();
        Err(Error::ServiceTemplateUnconfirmed { biz_id: job.biz_id, what })
    }

    /// Forgets a set that was deleted.
    pub fn forget(&self, set: &str) {
        self.absences.forget(set);
    }

    /// Forgets a connection that is gone, by its uid.
    pub fn forget_connection(&self, uid: &str) {
        self.templates.forget(|business| object_of(&business.connection) == uid);
        self.categories.forget(|business| object_of(&business.connection) == uid);
    }

    /// How many lists and absences are known.
    pub fn len(&self) -> usize {
        self.templates.len() + self.categories.len() + self.absences.len()
    }

    // The service templates of the business, and how to read on.
    async fn known(
        &self,
        job: &Job,
        request: ReadRequest,
        progress: &Progress,
    ) -> Result<(Snapshot<Vec<ServiceTemplate>>, ReadRequest), Error> {
        let has_read = AtomicBool::new(false);
        let cell = self.templates.cell(Business::of(job));
        let client = &job.connection.client;
        let read = async {
            has_read.store(true, Ordering::Relaxed);
            client.in_lanes(cell.lanes()).hold_service_templates(request.priority, job.biz_id).await
        };
        let not_before = request.freshness.not_before();
        let known = cell.get(not_before, client.namespace(), progress, Box::pin(read)).await?;
        let known = known.map_err(|error| job.error_of(error))?;
        // It may have waited long for the list of another set.
        job.check_grant(None, None)?;
        Ok((known, if has_read.load(Ordering::Relaxed) { request.has_begun() } else { request }))
    }

    // Names of service templates are unique in a business, in the database too: what was stored is found by its name.
    async fn create(&self, job: &Job, progress: &Progress) -> Result<i64, Error> {
        // Wait for another set that may be creating the same.
        let client = &job.connection.client;
        let writer_key = format!("{} {}", client.url(), job.biz_id);
        let _write_guard = progress.wait_for(self.write_locks.take(&writer_key)).await?;
        progress.checkpoint()?;
        let (known, _) = self.known(job, ReadRequest::interactive(Freshness::TO_WRITE), progress).await?;
        if let Some(id) = find(job, &known.value)? {
            return Ok(id);
        }

        // Find its category.
        let (Some(name), Some(wish)) = (&job.service_template.name, &job.service_template.create_if_missing) else {
            return Err(missing(job, &known.value));
        };
        drop(known);
        job.check_grant(None, Some(name))?;
        let category_id = self.category(job, name, wish, progress).await?;
        progress.checkpoint()?;

        // Create it.
        let cell = self.templates.cell(Business::of(job));
        match progress.excluding_wait(client.create_service_template(job.biz_id, name, category_id)).await {
            Ok(created) => {
                let id = created.id;
                cell.fold(progress, |known| known.push(created)).await;
                Ok(id)
            }
            Err(error) => {
                cell.forget();
                Err(job.error_of(Arc::new(error)))
            }
        }
    }

    async fn category(&self, job: &Job, name: &str, wish: &CreateIfMissing, progress: &Progress) -> Result<i64, Error> {
        let CategorySelector { id, parent, name: leaf } = &wish.category;
        if let Some(id) = id {
            return Ok(*id);
        }

        let (parent, leaf) = (parent.as_deref().unwrap_or_default(), leaf.as_deref().unwrap_or_default());
        let cell = self.categories.cell(Business::of(job));
        let client = &job.connection.client;
        let reader = client.in_lanes(cell.lanes());
        let (not_before, read) = (Freshness::TO_WRITE.not_before(), reader.hold_service_categories(job.biz_id));
        let known = cell.get(not_before, client.namespace(), progress, Box::pin(read)).await?;
        let known = known.map_err(|error| job.error_of(error))?;
        job.check_grant(None, Some(name))?;

        let is_parent = |id: i64| known.value.iter().any(|category| category.id == id && category.name == parent);
        let found = known.value.iter().find(|category| category.name == leaf && is_parent(category.bk_parent_id));
        found
            .map(|category| category.id)
            .ok_or_else(|| Error::CategoryMissing { category: format!("{parent:?} / {leaf:?}"), name: name.to_owned() })
    }
}

impl Business {
    fn of(job: &Job) -> Self {
        Self { connection: job.connection.key.clone(), biz_id: job.biz_id }
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

    // Renamed since. In another CMDB, the remembered ID belongs to some other service template.
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
