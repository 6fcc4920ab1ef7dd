//! A finding: a rule that a manifest breaks, or a file that cannot be read.

use std::fmt;

use serde_json::{Value, json};

use super::yaml::Position;

/// One problem of a manifest, with its place in the file and in the object.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The file, as it was given on the command line.
    pub file: String,
    /// The position in the file; None: the finding is about the file as a whole.
    pub position: Option<Position>,
    /// Namespace of the object.
    pub namespace: Option<String>,
    /// Name of the object.
    pub name: Option<String>,
    /// Path in the object, such as `spec.processes[3].port`; empty: the object as a whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.file)?;
        if let Some(Position { line, column }) = self.position {
            write!(formatter, ":{line}:{column}")?;
        }
        match (&self.namespace, &self.name) {
            (Some(namespace), Some(name)) => write!(formatter, ": {namespace}/{name}")?,
            (None, Some(name)) => write!(formatter, ": {name}")?,
            (_, None) => {}
        }
        if !self.path.is_empty() {
            write!(formatter, ": {}", self.path)?;
        }
        write!(formatter, ": {}", self.message)
    }
}

impl Finding {
    /// A finding about a file, not about an object in it.
    pub fn of_file(file: &str, position: Option<Position>, message: String) -> Self {
        let (namespace, name, path) = (None, None, String::new());
        Self { file: file.to_owned(), position, namespace, name, path, message }
    }

    /// The finding as a JSON object; what does not apply to it is null.
    pub fn to_json(&self) -> Value {
        json!({
            "file": self.file,
            "line": self.position.map(|position| position.line),
            "column": self.position.map(|position| position.column),
            "namespace": self.namespace,
            "name": self.name,
            "path": Some(&self.path).filter(|path| !path.is_empty()),
            "message": self.message,
        })
    }
}
