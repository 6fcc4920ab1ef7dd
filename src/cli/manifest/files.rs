//! The files that a command is given, down to their single documents.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::yaml;
use super::yaml::{Node, Place};
use crate::api::GROUP;

// What stands in a folder for manifests.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// A document of a file, or an item of a list in it.
#[derive(Debug)]
pub struct Document {
    /// The file, as it was given.
    pub file: String,
    /// `apiVersion`, empty when there is none.
    pub api_version: String,
    /// `kind`, empty when there is none.
    pub kind: String,
    /// Its content.
    pub node: Node,
}

/// Something that is wrong, and where.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The file, as it was given.
    pub file: String,
    /// The place in it, if it is about one.
    pub place: Option<Place>,
    /// Namespace of the object.
    pub namespace: Option<String>,
    /// Name of the object.
    pub name: Option<String>,
    /// Path in the object: `spec.processes[3].port`.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.file)?;
        if let Some(Place { line, column }) = self.place {
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
    /// As JSON, with null for what it is not about.
    pub fn to_json(&self) -> Value {
        json!({
            "file": self.file,
            "line": self.place.map(|place| place.line),
            "column": self.place.map(|place| place.column),
            "namespace": self.namespace,
            "name": self.name,
            "path": Some(&self.path).filter(|path| !path.is_empty()),
            "message": self.message,
        })
    }

    fn of_file(file: &str, place: Option<Place>, message: String) -> Self {
        let (namespace, name, path) = (None, None, String::new());
        Self { file: file.to_owned(), place, namespace, name, path, message }
    }
}

impl Document {
    /// A finding about a value of this document.
    pub fn finding(&self, place: Place, path: String, message: String) -> Finding {
        let metadata = |name| self.node.get("metadata")?.text(name).map(str::to_owned);
        Finding {
            file: self.file.clone(),
            place: Some(place),
            namespace: metadata("namespace"),
            name: metadata("name").or_else(|| metadata("generateName")),
            path,
            message,
        }
    }
}

/// Every document of these files, and what cannot be read.
pub fn read(paths: &[PathBuf]) -> (Vec<Document>, Vec<Finding>) {
    let (mut documents, mut findings) = (Vec::new(), Vec::new());
    for path in paths {
        match expand(path) {
            Ok(files) => {
                for file in files {
                    read_file(&file, &mut documents, &mut findings);
                }
            }
            Err(error) => findings.push(Finding::of_file(&shown(path), None, format!("{error:#}"))),
        }
    }
    (documents, findings)
}

fn shown(path: &Path) -> String {
    if is_stdin(path) { "stdin".to_owned() } else { path.display().to_string() }
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

// The files of a folder in the order of their names, those of its own folders too.
fn expand(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if is_stdin(path) || !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    walk(path, &mut files)?;
    anyhow::ensure!(!files.is_empty(), "no .yaml, .yml or .json file in it");
    Ok(files)
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let unreadable = || format!("cannot read {}", folder.display());
    let entries: Result<Vec<_>, _> = std::fs::read_dir(folder).with_context(unreadable)?.collect();
    let mut entries = entries.with_context(unreadable)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
        // A link to a folder is not followed: it may lead back here.
        if entry.file_type().with_context(unreadable)?.is_dir() && !is_hidden {
            walk(&path, files)?;
        } else if !is_hidden && path.is_file() && has_ending(&path) {
            files.push(path);
        }
    }
    Ok(())
}

fn has_ending(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known))
}

fn read_file(path: &Path, documents: &mut Vec<Document>, findings: &mut Vec<Finding>) {
    let file = shown(path);
    match text(path) {
        Ok(text) => match yaml::read(&text) {
            Ok(nodes) => {
                for node in nodes {
                    unfold(&file, node, ("", ""), documents, findings);
                }
            }
            Err(error) => findings.push(Finding::of_file(&file, error.place, error.message)),
        },
        Err(error) => findings.push(Finding::of_file(&file, None, format!("cannot be read: {error}"))),
    }
}

fn text(path: &Path) -> std::io::Result<String> {
    if !is_stdin(path) {
        return std::fs::read_to_string(path);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

// A list is its items, which may leave their kind to it.
fn unfold(file: &str, node: Node, inherited: (&str, &str), documents: &mut Vec<Document>, findings: &mut Vec<Finding>) {
    let api_version = node.text("apiVersion").unwrap_or(inherited.0).to_owned();
    let kind = node.text("kind").unwrap_or(inherited.1).to_owned();
    let of_list = kind.strip_suffix("List").filter(|_| kind == "List" || api_version.starts_with(GROUP));
    if let (Some(item_kind), Some(items)) = (of_list, node.get("items")) {
        let inherited = if item_kind.is_empty() { ("", "") } else { (api_version.as_str(), item_kind) };
        for item in items.items() {
            unfold(file, item.clone(), inherited, documents, findings);
        }
        return;
    }
    if api_version.is_empty() || kind.is_empty() {
        let message = "not a Kubernetes object: it needs apiVersion and kind".to_owned();
        findings.push(Finding::of_file(file, Some(node.place), message));
        return;
    }
    documents.push(Document { file: file.to_owned(), api_version, kind, node });
}
