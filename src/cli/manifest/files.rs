//! Reads the files and folders that a command is given, and splits them into documents.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::finding::Finding;
use super::yaml;
use super::yaml::{Position, YamlValue};
use crate::api::GROUP;

// Extensions of the files that are read in a folder.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// A Kubernetes object in a file: a YAML document, or an item of a list in one.
#[derive(Debug)]
pub struct Document {
    /// The file, as it was given.
    pub file: String,
    /// `apiVersion`, empty when there is none.
    pub api_version: String,
    /// `kind`, empty when there is none.
    pub kind: String,
    /// The content, from the top of the document.
    pub root: YamlValue,
}

impl Document {
    /// A finding about a value of this document.
    pub fn finding(&self, position: Position, path: String, message: String) -> Finding {
        let metadata = |name| self.root.get("metadata")?.text(name).map(str::to_owned);
        Finding {
            file: self.file.clone(),
            position: Some(position),
            namespace: metadata("namespace"),
            name: metadata("name").or_else(|| metadata("generateName")),
            path,
            message,
        }
    }
}

/// Every document of these files and folders, and a finding for each that cannot be read.
pub fn read(paths: &[PathBuf]) -> (Vec<Document>, Vec<Finding>) {
    let (mut documents, mut findings) = (Vec::new(), Vec::new());
    for path in paths {
        match expand(path) {
            Ok(files) => {
                for file in files {
                    read_file(&file, &mut documents, &mut findings);
                }
            }
            Err(error) => findings.push(Finding::of_file(&display_name(path), None, format!("{error:#}"))),
        }
    }
    (documents, findings)
}

fn display_name(path: &Path) -> String {
    if is_stdin(path) { "stdin".to_owned() } else { path.display().to_string() }
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

// A file as it is; of a folder its manifests, those of subfolders too, sorted by name.
fn expand(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if is_stdin(path) || !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    collect_files(path, &mut files)?;
    anyhow::ensure!(!files.is_empty(), "no .yaml, .yml or .json file in it");
    Ok(files)
}

fn collect_files(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let unreadable = || format!("cannot read {}", folder.display());
    let entries: Result<Vec<_>, _> = std::fs::read_dir(folder).with_context(unreadable)?.collect();
    let mut entries = entries.with_context(unreadable)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
        // A link to a folder is not followed: it may lead back here.
        if entry.file_type().with_context(unreadable)?.is_dir() && !is_hidden {
            collect_files(&path, files)?;
        } else if !is_hidden && path.is_file() && has_known_extension(&path) {
            files.push(path);
        }
    }
    Ok(())
}

fn has_known_extension(path: &Path) -> bool {
    path.extension().is_some_and(|extension| EXTENSIONS.iter().any(|known| extension == *known))
}

fn read_file(path: &Path, documents: &mut Vec<Document>, findings: &mut Vec<Finding>) {
    let file = display_name(path);
    match read_text(path) {
        Ok(text) => match yaml::read(&text) {
            Ok(roots) => {
                for root in roots {
                    add_documents(&file, root, ("", ""), documents, findings);
                }
            }
            Err(error) => findings.push(Finding::of_file(&file, error.position, error.message)),
        },
        Err(error) => findings.push(Finding::of_file(&file, None, format!("cannot be read: {error:#}"))),
    }
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    if is_stdin(path) {
        std::io::stdin().read_to_end(&mut bytes)?;
    } else {
        bytes = std::fs::read(path)?;
    }
    // The byte order marks of UTF-16.
    let is_utf16 = [[0xff, 0xfe], [0xfe, 0xff]].iter().any(|mark| bytes.starts_with(mark));
    anyhow::ensure!(!is_utf16, "it is in UTF-16, as PowerShell's > writes it: save it in UTF-8");
    String::from_utf8(bytes).context("it is not in UTF-8")
}

// Adds an object; of a list each item, which may leave apiVersion and kind to the list.
fn add_documents(
    file: &str,
    root: YamlValue,
    inherited: (&str, &str),
    documents: &mut Vec<Document>,
    findings: &mut Vec<Finding>,
) {
    let api_version = root.text("apiVersion").unwrap_or(inherited.0).to_owned();
    let kind = root.text("kind").unwrap_or(inherited.1).to_owned();

    let list_of = kind.strip_suffix("List").filter(|_| kind == "List" || api_version.starts_with(GROUP));
    if let (Some(item_kind), Some(items)) = (list_of, root.get("items")) {
        let inherited = if item_kind.is_empty() { ("", "") } else { (api_version.as_str(), item_kind) };
        for item in items.items() {
            add_documents(file, item.clone(), inherited, documents, findings);
        }
        return;
    }

    if api_version.is_empty() || kind.is_empty() {
        let message = "not a Kubernetes object: it needs apiVersion and kind".to_owned();
        findings.push(Finding::of_file(file, Some(root.position), message));
        return;
    }
    documents.push(Document { file: file.to_owned(), api_version, kind, root });
}
