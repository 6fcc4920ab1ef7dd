//! What the API server has refused the operator, read as it comes.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use serde_json::Value;

use test_support::control_plane::ControlPlane;

/// A request that somebody may make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub group: String,
    /// With its subresource: `processtemplatesets/status`.
    pub resource: String,
    pub verb: String,
}

/// The end of an audit log.
pub struct Audit {
    log: PathBuf,
    user: String,
    read: u64,
}

impl Audit {
    pub fn of(plane: &ControlPlane, user: String) -> Self {
        Self { log: plane.folder().join("audit.log"), user, read: 0 }
    }

    /// The user's requests since the last time that were answered with 403.
    pub fn forbidden(&mut self) -> Vec<Request> {
        let mut file = File::open(&self.log).unwrap();
        file.seek(SeekFrom::Start(self.read)).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        // A line that is not complete yet comes with the next.
        let complete = text.rfind('\n').map_or(0, |end| end + 1);
        self.read += u64::try_from(complete).unwrap();
        let events = text[..complete].lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let denied = events
            .filter(|event| event["responseStatus"]["code"] == 403 && event["user"]["username"] == self.user.as_str());
        denied.map(|event| request(&event)).collect()
    }
}

fn request(event: &Value) -> Request {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of = &event["objectRef"];
    let subresource = of["subresource"].as_str().map(|name| format!("/{name}")).unwrap_or_default();
    Request {
        group: text(&of["apiGroup"]),
        resource: format!("{}{subresource}", text(&of["resource"])),
        verb: text(&event["verb"]),
    }
}
