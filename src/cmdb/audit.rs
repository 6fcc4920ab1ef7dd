//! One log line, target `audit`, for each write that is sent to CMDB: who wrote what, where, for whom, and what came of it.

use serde::Serialize;
use tracing::field::{DisplayValue, display};

use super::{Credentials, Error, Operation, Transport, UserCredential};

/// For whom a call is made.
#[derive(Clone, Debug, Default)]
pub struct Behalf {
    /// Namespace of the object.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// What is written.
#[derive(Clone, Debug, Default)]
pub(super) struct Subject {
    /// `bk_biz_id`
    pub biz_id: i64,
    /// `service_template_id`; None: it is to be created.
    pub service_template_id: Option<i64>,
    /// Name of the service template that is to be created.
    pub service_template: Option<String>,
    /// IDs of the process templates, as far as they are known before.
    pub ids: Vec<i64>,
    /// `bk_process_name` of each, as far as it is known.
    pub process_names: Vec<String>,
    /// The properties that change, by CMDB's names.
    pub properties: Vec<String>,
}

/// The line of one write. It is written when this is dropped: nothing keeps it from being written.
pub(super) struct AuditRecord<'a> {
    pub operation: Operation,
    pub endpoint: &'a str,
    pub transport: Transport,
    pub credentials: &'a Credentials,
    pub correlation_id: &'a str,
    pub behalf: &'a Behalf,
    pub subject: Subject,
    // What came of it; None: it was given up.
    result: Option<Result<String, Error>>,
}

impl<'a> AuditRecord<'a> {
    /// A write that is being sent.
    pub fn new(
        operation: Operation,
        (endpoint, transport): (&'a str, Transport),
        credentials: &'a Credentials,
        correlation_id: &'a str,
        behalf: &'a Behalf,
        subject: Subject,
    ) -> Self {
        Self { operation, endpoint, transport, credentials, correlation_id, behalf, subject, result: None }
    }

    /// The write finished: with the IDs of what was written and CMDB's ID of the request, or with an error.
    pub fn finish(mut self, result: Result<(Vec<i64>, String), Error>) {
        self.result = Some(result.map(|(ids, request_id)| {
            self.subject.ids = ids;
            request_id
        }));
    }
}

impl Drop for AuditRecord<'_> {
    fn drop(&mut self) {
        // Nothing was sent.
        if matches!(self.result, Some(Err(Error::Configuration { .. }))) {
            return;
        }
        let (outcome, request_id, error) = match &self.result {
            Some(Ok(request_id)) => ("ok", Some(request_id.as_str()), None),
            Some(Err(error)) => {
                let request_id = error.reply().and_then(|reply| reply.request_id.as_deref());
                (error.label(), request_id.filter(|id| *id != self.correlation_id), Some(error))
            }
            None => ("outcome_unknown", None, None),
        };
        let Subject { biz_id, service_template_id, service_template, ids, process_names, properties } = &self.subject;
        tracing::info!(
            target: "audit",
            operation = self.operation.as_str(),
            outcome,
            actor = actor(self.credentials),
            bk_app_code = some(&self.credentials.app_code),
            endpoint = self.endpoint,
            transport = self.transport.as_str(),
            biz_id,
            service_template_id,
            service_template,
            ids = json(ids),
            process_names = json(process_names),
            properties = json(properties),
            namespace = some(&self.behalf.namespace),
            name = some(&self.behalf.name),
            uid = some(&self.behalf.uid),
            correlation_id = self.correlation_id,
            request_id,
            error = error.map(display),
            "write to CMDB"
        );
    }
}

// Whose rights were used. A token's user is CMDB's to know: its own log has the request ID.
fn actor(credentials: &Credentials) -> &str {
    match &credentials.user {
        UserCredential::Username(name) => name,
        UserCredential::Token(_) | UserCredential::AccessToken(_) => &credentials.app_code,
    }
}

fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

// A field of a log line has no lists: it holds one as JSON.
fn json(list: &[impl Serialize]) -> Option<DisplayValue<String>> {
    if list.is_empty() { None } else { serde_json::to_string(list).ok().map(display) }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read as _, Seek as _};
    use std::sync::Arc;

    use super::{AuditRecord, Behalf, Subject};
    use crate::cmdb::{Credentials, Error, Operation, Transport, UserCredential};

    fn lines(result: Result<(Vec<i64>, String), Error>) -> String {
        let credentials = Credentials {
            app_code: "ptset".to_owned(),
            app_secret: "secret".into(),
            user: UserCredential::Username("admin".to_owned()),
        };
        let mut file = tempfile::tempfile().unwrap();
        let writer: Arc<File> = Arc::new(file.try_clone().unwrap());
        let logs = tracing_subscriber::fmt().with_writer(writer).finish();
        tracing::subscriber::with_default(logs, || {
            let (operation, to) = (Operation::CreateProcessTemplates, ("http://cmdb", Transport::Esb));
            let behalf = Behalf::default();
            AuditRecord::new(operation, to, &credentials, "1", &behalf, Subject::default()).finish(result);
        });
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn a_request_that_was_not_sent_has_no_line() {
        let sent = lines(Ok((vec![1], "2".to_owned())));
        assert!(sent.contains("audit") && sent.contains("write to CMDB"), "{sent}");
        assert_eq!(lines(Err(Error::Configuration { message: "no request".to_owned() })), "");
    }
}
