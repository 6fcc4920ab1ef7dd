//! Reads the version of CMDB's own API server. It needs no credentials, and its format is not documented, so any is
//! accepted.

use std::time::Duration;

use regex::Regex;
use reqwest::{Method, Request, StatusCode, Url};
use tokio::time::timeout;

use super::http_client::HttpClient;
use crate::cmdb::intake::body;
use crate::cmdb::intake::budget::Share;

/// Timeout. The version is not needed for anything.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Largest answer that is read, in bytes.
const MAX_BODY_BYTES: usize = 64 << 10;

/// Longest version, in characters.
const MAX_LENGTH: usize = 64;

/// Asks the server with this base URL. `None`: it does not answer, or not with a version.
pub async fn ask(http: &HttpClient, url: &str, share: &mut Share) -> Option<String> {
    timeout(TIMEOUT, answer(http, url, share)).await.ok().flatten()
}

async fn answer(http: &HttpClient, url: &str, share: &mut Share) -> Option<String> {
    let request = Request::new(Method::GET, Url::parse(&format!("{url}/version")).ok()?);
    let response = http.send(request).await.ok()?;
    if response.status() != StatusCode::OK {
        return None;
    }
    let bytes = body::read(response, MAX_BODY_BYTES, share).await.ok()?;
    parse(std::str::from_utf8(&bytes).ok()?)
}

// From JSON, or from lines of names and values. An HTML page contains versions too, but of other things.
fn parse(text: &str) -> Option<String> {
    if text.trim_start().starts_with('<') {
        return None;
    }
    let form = Regex::new(r#"(?i)(?:^|[^a-z])version["']?\s*[:=]\s*["']?([0-9a-z.+-]+)"#).ok()?;
    let version = form.captures(text)?.get(1)?.as_str();
    let has_digit = version.contains(|letter: char| letter.is_ascii_digit());
    (has_digit && version.len() <= MAX_LENGTH).then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_version_is_found_in_json_and_in_text() {
        for text in [
            r#"{"result":true,"data":{"version":"3.14.7-beta+1","goVersion":"go1.21"}}"#,
            "GoVersion: go1.21\nVersion  : 3.14.7-beta+1\nTag: x\n",
            "version=3.14.7-beta+1",
            r#"{"Version": "3.14.7-beta+1 (built today)"}"#,
        ] {
            assert_eq!(parse(text).as_deref(), Some("3.14.7-beta+1"), "{text}");
        }
    }

    #[test]
    fn an_answer_without_a_version_has_none() {
        let long = format!("version: {}", "9".repeat(65));
        for text in ["", "ok", "version", r#"{"version":null, "x":1}"#, r#"<?xml version="1.0"?>"#, &long] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
