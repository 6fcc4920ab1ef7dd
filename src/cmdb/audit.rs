//! The audit log: one line, target `audit`, for each write that is sent to CMDB: who wrote what, where, for which
//! object, and with what outcome.

use serde::Serialize;
use tracing::field::{DisplayValue, display};

use super::{Credentials, Error, Operation, Transport, UserCredential};

/// The Kubernetes object that a write is made for.
#[derive(Clone, Debug, Default)]
pub struct Behalf {
    /// Namespace of the object.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// What a write changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Subject {
    /// `bk_biz_id`
    pub biz_id: i64,
    /// `service_template_id`. `None`: the write creates it.
    pub service_template_id: Option<i64>,
    /// Name of the service template that the write creates.
    pub service_template: Option<String>,
    /// IDs of the process templates. Those of a create are known once it has succeeded.
    pub ids: Vec<i64>,
    /// `bk_process_name` of each, as far as it is known.
    pub process_names: Vec<String>,
    /// The properties that change, by CMDB's names.
    pub properties: Vec<String>,
}

/// The audit record of one write. It is logged when it is dropped, so that a write whose future is dropped is logged
/// too.
pub(super) struct AuditRecord<'a> {
    pub operation: Operation,
    pub endpoint: &'a str,
    pub transport: Transport,
    pub credentials: &'a Credentials,
    pub correlation_id: &'a str,
    pub behalf: &'a Behalf,
    pub subject: Subject,
    // `None`: the future of the write was dropped.
    result: Option<Result<String, Error>>,
}

impl<'a> AuditRecord<'a> {
    /// The record of a write that is about to be sent.
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

// Whose rights were used. Only CMDB knows the user of a token: its log has the request ID.
fn actor(credentials: &Credentials) -> &str {
    match &credentials.user {
        UserCredential::Username(name) => name,
        UserCredential::Token(_) | UserCredential::AccessToken(_) => &credentials.app_code,
    }
}

fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

// The fields of a log line cannot be lists, so that a list is written as JSON.
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
