//! Records of requests and their outcomes.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::http::transport::Transport;

/// Bodies beyond this many bytes in all push the oldest requests out.
const MAXIMUM_BYTES: usize = 64 << 20;

/// Keys of a body whose values are masked in records and logs.
const SECRETS: &[&str] = &["bk_app_secret", "app_secret", "bk_token", "bk_ticket", "bk_access_token", "access_token"];

/// One request to the API.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// Its number since the simulator started, from 1.
    pub sequence: u64,
    /// When it came.
    pub time: String,
    /// The transport of the request.
    #[serde(default)]
    pub transport: Transport,
    /// Name of the call in the ESB's words, whatever the transport; empty when the path names none.
    pub call: String,
    /// HTTP method.
    pub method: String,
    /// Path.
    pub path: String,
    /// Those headers that matter, by their lower-case names.
    pub headers: BTreeMap<String, String>,
    /// First 8 hexadecimal digits of the SHA-256 digest of the caller's secret; empty without one.
    pub credential: String,
    /// The body as it came, secrets masked; a string when it was not JSON.
    pub body: Value,
    /// Whether the simulator is done with it.
    pub finished: bool,
    /// HTTP status of the reply; nothing when there was none.
    pub http_status: Option<u16>,
    /// Code in the reply's envelope; nothing when there was no envelope.
    pub code: Option<i64>,
    /// IDs of what it created, changed or deleted, whatever the reply said.
    pub ids: Vec<i64>,
    /// What a fault did to it.
    pub fault: Option<String>,
    /// How long it took.
    pub duration_ms: u64,
    /// Whether the caller hung up before the reply.
    pub client_hung_up: bool,
}

impl RequestRecord {
    /// The outcome in one word: a code, `http <status>`, `no reply`, `hung up` or `pending`.
    #[must_use]
    pub fn outcome(&self) -> String {
        match (self.finished, self.client_hung_up, self.code, self.http_status) {
            (false, ..) => "pending".to_owned(),
            (_, true, ..) => "hung up".to_owned(),
            (.., Some(code), _) => code.to_string(),
            (.., Some(status)) => format!("http {status}"),
            _ => "no reply".to_owned(),
        }
    }
}

/// The body with its secrets masked.
pub(crate) fn masked(body: &Map<String, Value>) -> Value {
    let mask = |(key, value): (&String, &Value)| {
        let value = if SECRETS.contains(&key.as_str()) { Value::from("***") } else { value.clone() };
        (key.clone(), value)
    };
    Value::Object(body.iter().map(mask).collect())
}

/// The recorded requests, oldest first.
pub(crate) struct RequestBook {
    records: VecDeque<(RequestRecord, usize)>,
    bytes: usize,
    limit: usize,
    last_sequence: u64,
    log: Option<File>,
}

impl RequestBook {
    pub fn open(limit: usize, log: Option<&Path>) -> io::Result<Self> {
        let log = log.map(|path| OpenOptions::new().create(true).append(true).open(path)).transpose()?;
        Ok(Self { records: VecDeque::new(), bytes: 0, limit, last_sequence: 0, log })
    }

    /// Records a request whose body has this many bytes, and answers its number.
    pub fn begin(&mut self, mut record: RequestRecord, bytes: usize) -> u64 {
        self.last_sequence += 1;
        record.sequence = self.last_sequence;
        self.bytes += bytes;
        self.records.push_back((record, bytes));
        while self.records.len() > 1 && (self.records.len() > self.limit || self.bytes > MAXIMUM_BYTES) {
            if let Some((_, bytes)) = self.records.pop_front() {
                self.bytes -= bytes;
            }
        }
        self.last_sequence
    }

    /// Records the outcome of a request and logs it, unless the request was pushed out or cleared in the meantime.
    pub fn finish(&mut self, sequence: u64, outcome: impl FnOnce(&mut RequestRecord)) {
        let at = self.records.partition_point(|(record, _)| record.sequence < sequence);
        let Some((record, _)) = self.records.get_mut(at).filter(|(record, _)| record.sequence == sequence) else {
            return;
        };
        outcome(record);
        record.finished = true;
        let (duration, outcome) = (record.duration_ms, record.outcome());
        tracing::info!(sequence, call = record.call, outcome, duration_ms = duration, fault = record.fault, "request");
        if let (Some(log), Ok(mut line)) = (&mut self.log, serde_json::to_vec(record)) {
            line.push(b'\n');
            if let Err(error) = log.write_all(&line).and_then(|()| log.flush()) {
                tracing::error!(%error, "cannot write the request log");
            }
        }
    }

    pub fn all(&self) -> impl Iterator<Item = &RequestRecord> {
        self.records.iter().map(|(record, _)| record)
    }

    pub fn clear(&mut self) {
        self.records.clear();
        self.bytes = 0;
    }

    /// Counts per call and outcome.
    pub fn summary(&self) -> Summary {
        let mut summary = Summary { total: self.records.len(), calls: BTreeMap::new() };
        for record in self.all() {
            let call = summary.calls.entry(record.call.clone()).or_default();
            call.count += 1;
            *call.outcomes.entry(record.outcome()).or_default() += 1;
        }
        summary
    }
}

/// Counts of requests.
#[derive(Serialize)]
pub(crate) struct Summary {
    total: usize,
    calls: BTreeMap<String, CallSummary>,
}

#[derive(Default, Serialize)]
struct CallSummary {
    count: usize,
    outcomes: BTreeMap<String, usize>,
}
