//! Planted secrets, and the search for them in whatever form they are written.

use std::io::Write;
use std::sync::{Arc, Mutex};

use k8s_openapi::ByteString;
use process_template_operator::telemetry::{self, LogFormat};
use serde_json::Value;

/// Secrets that are to be found nowhere.
pub struct Hunt {
    forms: Vec<String>,
    /// Texts that were searched.
    pub places: usize,
    /// Where something was found.
    pub found: Vec<String>,
}

impl Hunt {
    /// A hunt for these.
    pub fn new(secrets: &[&str]) -> Self {
        let hunt =
            Self { forms: secrets.iter().flat_map(|secret| searched(secret)).collect(), places: 0, found: Vec::new() };
        // A search that finds nothing must be able to find something.
        for form in secrets.iter().flat_map(|secret| repeated(secret)) {
            let told = format!("before {form} after");
            assert!(hunt.found_in(&told).is_some(), "{form} is not found");
        }
        assert!(hunt.found_in("nothing is planted here").is_none());
        hunt
    }

    /// Adds what another hunt has searched and found.
    pub fn add(&mut self, other: Self) {
        self.places += other.places;
        self.found.extend(other.found);
    }

    fn found_in(&self, text: &str) -> Option<&str> {
        self.forms.iter().map(String::as_str).find(|form| text.contains(form))
    }

    /// Searches a text, which holds `witness` if it is what the search was meant for.
    pub fn search(&mut self, place: &str, text: &str, witness: &str) {
        assert!(!witness.is_empty() && text.contains(witness), "{place}: no {witness:?} in {text}");
        if let Some(form) = self.found_in(text) {
            let line: String =
                text.lines().find(|line| line.contains(form)).unwrap_or_default().chars().take(2000).collect();
            self.found.push(format!("{place}: {form:?} is in {line}"));
        }
        self.places += 1;
    }
}

/// The forms in which others may repeat a secret.
pub fn repeated(secret: &str) -> Vec<String> {
    let json = |text: &str| Value::from(text).to_string().trim_matches('"').to_owned();
    let percent = |text: &str, is_kept: fn(u8) -> bool| -> String {
        let letter = |byte: u8| {
            if is_kept(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
        };
        text.bytes().map(letter).collect()
    };
    let escaped = percent(secret, |byte| byte.is_ascii_alphanumeric());
    let mut forms = vec![
        secret.to_owned(),
        json(secret),
        json(&json(secret)),
        json(secret).replace('/', "\\/"),
        in_small_digits(&escaped),
        percent(secret, |byte| byte.is_ascii_alphanumeric() || b"-_.~!*'()".contains(&byte)),
        percent(&escaped, |byte| byte != b'%'),
        escaped.replace("%20", "+"),
        escaped,
        secret.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;"),
    ];
    for before in ["", "a", "ab"] {
        let whole = base64(format!("{before}{secret}").as_bytes());
        forms.push(whole.replace('+', "-").replace('/', "_").trim_end_matches('=').to_owned());
        forms.push(whole);
    }
    forms
}

// The digits after each % as some write them.
fn in_small_digits(escaped: &str) -> String {
    let mut parts = escaped.split('%');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| format!("{text}%{}{}", part[..2].to_lowercase(), &part[2..]))
}

// What is looked for: also the parts of a secret that look the same in most forms.
fn searched(secret: &str) -> Vec<String> {
    let is_alone = |part: &&str| part.len() >= 10;
    let parts = secret.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(is_alone).map(str::to_owned);
    let mut forms: Vec<String> = parts.collect();
    assert!(!forms.is_empty(), "a planted secret needs a part that is told from all other text");
    // In base64 it has three looks, by what stands before it; without what others share with it.
    for before in 0..3 {
        let text = base64(&[vec![b'.'; before], secret.as_bytes().to_vec()].concat());
        let own = text.trim_end_matches('=');
        let own = own[(before * 8).div_ceil(6)..own.len() - 1].to_owned();
        forms.push(own.replace('+', "-").replace('/', "_"));
        forms.push(own);
    }
    forms.extend(repeated(secret).into_iter().take(10).filter(|form| !form.is_empty()));
    forms
}

fn base64(bytes: &[u8]) -> String {
    serde_json::to_value(ByteString(bytes.to_vec())).unwrap().as_str().unwrap().to_owned()
}

/// What is logged, from the lowest level on.
#[derive(Clone, Default)]
pub struct Logged(Arc<Mutex<Vec<u8>>>);

impl Logged {
    /// Logs of this thread come here, as the operator writes them at level trace, until the guard is dropped.
    pub fn begin(format: LogFormat) -> (Self, tracing::subscriber::DefaultGuard) {
        let logged = Self::default();
        let writer = logged.clone();
        let logs = telemetry::logs("trace", format, false, move || writer.clone()).unwrap();
        (logged, tracing::subscriber::set_default(logs))
    }

    /// Gives what was logged since the last time.
    pub fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
